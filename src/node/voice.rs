//! What this node says, signed so that nobody else can say it: reports with an Ed25519 key made at the start, for which the
//! node's SSH key vouches.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::plans::later;
use crate::message::deploy::{Answer, Document as _, PlanId, REPLY_NAMESPACE, Reply, Report, Signed, Step, Vouch};
use crate::name::NodeName;
use crate::signature::{self, Key, StepError, StepKey};
use crate::stomp::Frame;

/// How long a vouch is good.
const GOOD: SignedDuration = SignedDuration::from_hours(48);
/// After so long there is a new one.
const RENEWED: SignedDuration = SignedDuration::from_hours(24);
/// Signing with a file takes some milliseconds; an agent's key may take longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A key that can't be used is tried again after so long.
const AGAIN: Duration = Duration::from_secs(600);

/// Who speaks.
#[derive(Debug)]
pub(super) struct Voice {
    node: NodeName,
    topic: String,
    ssh: Option<PathBuf>,
    key: StepKey,
    vouch: Option<Signed>,
    renew: Timestamp,
    /// Not before, after a failure.
    earliest: Option<Instant>,
}

impl Voice {
    /// `ssh`: the node's own SSH key; without one nothing that it says is signed.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new(node: NodeName, topic: String, ssh: Option<PathBuf>) -> Result<Voice, StepError> {
        let key = StepKey::generate()?;
        Ok(Voice { node, topic, ssh, key, vouch: None, renew: Timestamp::MIN, earliest: None })
    }

    /// Sees to it that its key is vouched for: some milliseconds, once a day.
    ///
    /// # Errors
    /// The SSH key can't be used: told once in ten minutes.
    pub(super) fn refresh(&mut self, time: Timestamp, now: Instant) -> Result<(), String> {
        let Some(ssh) = &self.ssh else { return Ok(()) };
        // A clock that was set back is no reason to sign anew: what was vouched for is good for longer then.
        if time < self.renew || self.earliest.is_some_and(|earliest| now < earliest) {
            return Ok(());
        }
        let vouch = Vouch {
            node: self.node.clone(),
            key: self.key.public_base64(),
            issued: time,
            not_after: later(time, GOOD),
        };
        let document = vouch.to_text();
        match signature::sign(document.as_bytes(), REPLY_NAMESPACE, &Key::File(ssh.clone()), PATIENCE) {
            Ok(signature) => {
                self.vouch = Some(Signed { document, signature });
                self.renew = later(time, RENEWED);
                self.earliest = None;
                Ok(())
            }
            Err(error) => {
                self.earliest = Some(now + AGAIN);
                Err(error.to_string())
            }
        }
    }

    /// A reply, ready to be sent. `words`: the line for people.
    pub(super) fn reply(
        &self,
        about: PlanId,
        step: Option<Step>,
        refuses: Option<String>,
        answer: Answer,
        time: Timestamp,
        words: &str,
    ) -> Frame {
        let report = Report { about, step, node: self.node.clone(), time, refuses, answer };
        let document = report.to_text();
        let signature = self.vouch.as_ref().map(|_| self.key.sign(document.as_bytes())).unwrap_or_default();
        let reply = Reply { vouch: self.vouch.clone(), report: Signed { document, signature } };
        let event = reply.event(time, &about.to_string(), &format!("{} {words}", self.node));
        Frame::send(&self.topic, event.headers, event.body.into_bytes())
    }
}
