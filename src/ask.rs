//! Asking nodes over the bus: one question, and answers from whoever is there.
//!
//! Where it is known who must answer, the last answer ends it: there is no fixed wait. A node that does not answer in
//! time is named, so that silence is a result. A broker that breaks off is waited for, and the question asked again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bus::{Connection, Incoming, Target};
use crate::config::Config;
use crate::hear::{Ear, Heard};
use crate::message::Envelope;
use crate::message::deploy::{Answer, PlanId, Query, Reply, Report, Request, Step, Subject};
use crate::name::NodeName;
use crate::process::Stop;
use crate::stomp::{AckMode, Frame, Subscription};

/// How long the broker may take to be there.
const CONNECT: Duration = Duration::from_secs(10);
/// Where nobody knows who is there, this much silence after an answer means that all have answered.
const QUIET: Duration = Duration::from_millis(500);
/// How soon Ctrl-C is seen.
const SLICE: Duration = Duration::from_millis(100);

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

/// What came of it.
#[derive(Debug, Default)]
pub struct Answers {
    /// By node.
    pub heard: BTreeMap<NodeName, Told>,
    /// Expected, and silent.
    pub silent: Vec<NodeName>,
    /// Replies that were dropped, and why, for people.
    pub doubted: Vec<String>,
}

/// What one node told.
#[derive(Debug)]
pub struct Told {
    /// It.
    pub answer: Answer,
    /// Of which step of a plan, when it was asked for one.
    pub step: Option<Step>,
    /// The node's own key says that it did.
    pub is_verified: bool,
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
        let mut answers = Answers::default();
        let mut until = Instant::now() + CONNECT;
        let mut no_broker = Some("it did not answer".to_owned());
        while !self.is_complete(&answers) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // In slices, so that Ctrl-C is seen.
            let mut next = connection.receive(Some(left.min(SLICE)));
            let mut came = Vec::new();
            while let Some(incoming) = next {
                match incoming {
                    Incoming::Connected(_) => {
                        if no_broker.take().is_some() {
                            until = Instant::now() + self.patience;
                        }
                        connection.send(self.request(&query, config));
                    }
                    Incoming::Message(message) => came.extend(reply_to(&message.frame, &query)),
                    Incoming::Lost { cause, .. } | Incoming::GaveUp { cause } => {
                        no_broker = no_broker.map(|_| cause);
                    }
                }
                // All that is here already: ssh-keygen is then asked for several nodes side by side.
                next = connection.receive(Some(Duration::ZERO));
            }
            for heard in ear.hear_all(&came, jiff::Timestamp::now()) {
                answers.take(heard, &query);
            }
            if self.expected.is_empty() && !came.is_empty() {
                until = until.min(Instant::now() + QUIET);
            }
        }
        if let Some(cause) = no_broker {
            return Err(Error::NoBroker(cause));
        }
        let silent = self.expected.iter().filter(|node| !answers.heard.contains_key(node));
        answers.silent = silent.cloned().collect();
        Ok(answers)
    }

    fn is_complete(&self, answers: &Answers) -> bool {
        !self.expected.is_empty() && self.expected.iter().all(|node| answers.heard.contains_key(node))
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

impl Answers {
    fn take(&mut self, heard: Heard, query: &Query) {
        let (Report { about, step, node, answer, .. }, is_verified) = match heard {
            Heard::Verified(report) => (report, true),
            Heard::Unsigned(report) => (report, false),
            Heard::Doubted { node, why } => {
                let node = node.as_ref().map_or("somebody", NodeName::as_str);
                return self.doubted.push(format!("a reply in the name of {node} was dropped: {why}"));
            }
        };
        let is_asked = query.hosts.is_empty() || query.hosts.contains(&node);
        let is_better = |known: &Told| is_verified && !known.is_verified;
        if about == query.id && is_asked && self.heard.get(&node).is_none_or(is_better) {
            self.heard.insert(node, Told { answer, step, is_verified });
        }
    }
}

/// A reply to `query`, or `None`: everybody's replies pass here.
fn reply_to(frame: &Frame, query: &Query) -> Option<Reply> {
    // By its subject, before anything is parsed: a rollout of thousands may be under way beside.
    if frame.header("subject")? != query.id.to_string() {
        return None;
    }
    Reply::parse(&Envelope::read(&frame.headers, &frame.body).ok()??).ok()
}
