//! Asking nodes over the bus: one question, and answers from whoever is there.
//!
//! Where it is known who must answer, the last answer ends it: there is no fixed wait. A node that does not answer in
//! time is named, so that silence is a result. A broker that breaks off is waited for, and the question asked again.
//!
//! Where there are allowed signers, only what is signed is an answer. Anybody else's word ends no question, and is kept for
//! eyes only.

mod answers;

use std::time::{Duration, Instant};

use crate::bus::{Connection, Incoming, Target};
use crate::config::Config;
use crate::hear::Ear;
use crate::message::deploy::{PlanId, Query, Reply, Request, Subject};
use crate::message::{self, Envelope};
use crate::name::NodeName;
use crate::process::Stop;
use crate::stomp::{AckMode, Frame, Subscription};
use answers::Listening;

pub use answers::{Answers, Told};

/// How long the broker may take to be there.
const CONNECT: Duration = Duration::from_secs(10);
/// Where nobody knows who is there, this much silence after an answer means that all have answered.
const QUIET: Duration = Duration::from_millis(500);
/// How soon Ctrl-C is seen.
const SLICE: Duration = Duration::from_millis(100);
/// So many messages are taken before the clock and Ctrl-C get their turn.
const IN_A_ROW: usize = 1000;

/// Why nothing could be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No broker.
    #[error("no broker was reached, nobody was asked: {0}")]
    NoBroker(String),
    /// Ctrl-C.
    #[error("stopped by a signal")]
    Stopped,
    /// Out of descriptors or memory.
    #[error("can't ask: {0}")]
    System(#[from] std::io::Error),
}

/// A question to the nodes.
#[derive(Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub subject: Subject,
    /// Who must answer; empty: nobody knows who is there, so whoever answers counts.
    pub expected: &'a [NodeName],
    /// How long to wait for the last of them.
    pub patience: Duration,
}

impl Question<'_> {
    /// Asks.
    ///
    /// # Errors
    /// See [`Error`]. A node that says nothing is no error.
    pub fn ask(&self, config: &Config, ear: &mut Ear, stop: &Stop) -> Result<Answers, Error> {
        let replies = Subscription {
            destination: config.bus.topics.get("deploy-replies"),
            durable: None,
            ack: AckMode::Auto,
            prefetch: None,
        };
        let connection = Connection::open(Target::from(&config.bus), vec![replies])?;
        let query = Query { id: PlanId::new(), subject: self.subject.clone(), hosts: self.expected.to_vec() };
        let is_checked = config.signing.allowed_signers.is_some();
        let mut listening = Listening::new(query.id, self.expected, is_checked);
        let mut until = Instant::now() + CONNECT;
        let (mut quiet, mut count) = (None, 0);
        let mut no_broker = Some("it did not answer".to_owned());
        let mut lost = None;
        while !listening.is_complete() {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_quiet = quiet.is_some_and(|quiet| Instant::now() >= quiet) && !ear.is_behind();
            if left.is_zero() || is_quiet {
                break;
            }
            // In slices, so that Ctrl-C is seen.
            let mut wait = if ear.is_behind() { Duration::ZERO } else { left.min(SLICE) };
            // Not without end: whoever floods the topic holds up neither the clock nor Ctrl-C.
            for _ in 0..IN_A_ROW {
                let Some(incoming) = connection.receive(Some(wait)) else { break };
                wait = Duration::ZERO;
                match incoming {
                    Incoming::Connected(_) => {
                        if no_broker.take().is_some() {
                            until = Instant::now() + self.patience;
                        }
                        connection.send(self.request(&query, config));
                    }
                    Incoming::Message(message) => match reply_to(&message.frame, &query) {
                        Some(Ok(reply)) => listening.came(&reply, ear, jiff::Timestamp::now()),
                        Some(Err(error)) => listening.doubt(None, &error.to_string()),
                        None => {}
                    },
                    Incoming::Lost { cause, .. } => {
                        lost = Some(cause.clone());
                        no_broker = no_broker.map(|_| cause);
                    }
                    // Nothing comes any more.
                    Incoming::GaveUp { cause } => {
                        no_broker = no_broker.map(|_| cause);
                        until = Instant::now();
                    }
                }
            }
            listening.check(ear);
            if self.expected.is_empty() && listening.count() > count {
                count = listening.count();
                quiet = Some(Instant::now() + QUIET);
            }
        }
        // One that takes the login and refuses the question: nobody heard it.
        if let Some(cause) = no_broker.or(lost.filter(|_| listening.count() == 0)) {
            return Err(Error::NoBroker(cause));
        }
        listening.close(ear);
        while ear.is_behind() {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            listening.check(ear);
        }
        Ok(listening.end())
    }

    fn request(&self, query: &Query, config: &Config) -> Frame {
        let about = match &self.subject {
            Subject::Nodes => "who is there?".to_owned(),
            Subject::State { site: None } => "what is live?".to_owned(),
            Subject::State { site: Some(site) } => format!("what is live at {site}?"),
            Subject::Tags { repo } => format!("which tags has {repo}?"),
            Subject::Plan { plan } => format!("how far is plan {plan}?"),
        };
        let event = Request::Query(query.clone()).event(jiff::Timestamp::now(), &query.id.to_string(), &about);
        Frame::send(&config.bus.topics.get("deploy-requests"), event.headers, event.body.into_bytes())
    }
}

/// A reply to `query`, or `None`: everybody's replies pass here.
fn reply_to(frame: &Frame, query: &Query) -> Option<Result<Reply, message::Error>> {
    // By its subject, before anything is parsed: a rollout of thousands may be under way beside.
    if frame.header("subject")? != query.id.to_string() {
        return None;
    }
    let envelope = Envelope::read(&frame.headers, &frame.body).transpose()?;
    Some(envelope.and_then(|envelope| Reply::parse(&envelope)))
}
