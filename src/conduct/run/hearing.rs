//! What comes from the hosts: whose it is, what it says, and what is odd about it.

use std::time::{Duration, Instant};

use super::{Conductor, ORDER};
use crate::bus::Incoming;
use crate::conduct::said::plain;
use crate::conduct::store::Note;
use crate::hear::{Heard, apart};
use crate::message::Envelope;
use crate::message::deploy::{Answer, Code, Reply, Report, Step};
use crate::name::NodeName;
use crate::rollout::{self, State};
use crate::stomp::Frame;

/// So many messages are taken before the clock and Ctrl-C get their turn: none of them costs a process.
const IN_A_ROW: usize = 1000;

impl Conductor<'_> {
    /// Takes what came. An error: nothing will come any more.
    pub(super) fn listen(&mut self) -> Result<(), String> {
        let (now, mut end) = (self.time(), Ok(()));
        // Not without end: whoever floods the topic holds up neither the clock nor Ctrl-C.
        for _ in 0..IN_A_ROW {
            let Some(incoming) = self.connection.receive(Some(Duration::ZERO)) else { break };
            match incoming {
                Incoming::Message(message) => {
                    let Some(reply) = self.read(&message.frame) else { continue };
                    let (plan, rollout) = (self.kept.plan.id, &self.rollout);
                    let is_meant = |report: &Report| report.about == plan && rollout.host(&report.node).is_some();
                    if let Some(heard) = self.ear.hear(&reply, now, is_meant) {
                        self.hear(heard);
                    }
                }
                Incoming::Connected(peer) => self.is_connected(&peer.address),
                Incoming::Lost { cause, is_refusal, .. } => {
                    self.refusals = if is_refusal { self.refusals + 1 } else { 0 };
                    self.is_lost(cause);
                }
                Incoming::GaveUp { cause } => end = Err(cause),
            }
        }
        // Whose key is not known yet comes after all that are, and only a few at a time.
        for heard in self.ear.check_some() {
            self.hear(heard);
        }
        for node in self.ear.doubles() {
            self.is_double(&node);
        }
        end
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Verified(Report { refuses: Some(refused), node, .. }) if !self.sent.contains(&refused) => {
                self.doubt(Some(node), "it refuses a message that was not sent from here");
            }
            Heard::Verified(report) => {
                self.refusals = 0;
                self.take(report);
            }
            Heard::Unsigned(report) => self.doubt(Some(report.node), "it is not signed"),
            Heard::Doubted { node, why } => self.doubt(node, &why),
        }
    }

    /// A reply about this plan. By its subject, before anything is parsed: others may be under way beside.
    fn read(&mut self, frame: &Frame) -> Option<Reply> {
        if frame.header("subject")? != self.kept.plan.id.to_string() {
            return None;
        }
        let envelope = Envelope::read(&frame.headers, &frame.body)
            .and_then(|envelope| envelope.map(|envelope| Reply::parse(&envelope)).transpose());
        envelope.unwrap_or_else(|error| {
            self.doubt(None, &error.to_string());
            None
        })
    }

    pub(super) fn take(&mut self, report: Report) {
        let Report { about, step, node, answer, .. } = &report;
        if *about != self.kept.plan.id || self.rollout.host(node).is_none() {
            return;
        }
        let hears_nothing = self.hears_nothing_in_time(&report);
        self.compare_clocks(&report);
        let detail = self.details.entry(node.clone()).or_default();
        let was_taken = detail.refused == Some(Code::TakenOver);
        let Some(mut said) = detail.take(&report) else { return };
        if hears_nothing {
            said =
                rollout::Answer::Refused { why: "its clock went ahead: each order is over before it comes".to_owned() };
        }
        // Preparing was cut short because it was told to drop it all: that it did is still to come.
        let is_aborting = self.rollout.host(node).is_some_and(|host| host.state() == State::Aborting);
        if is_aborting && *step == Some(Step::Prepare) && matches!(answer, Answer::Failed { .. }) {
            said = rollout::Answer::Progress { step: rollout::Step::Abort };
        }
        // A host whose disk is full can't remember that it is over; one that refuses it for another reason has no plan to end.
        let is_kept = matches!(
            answer,
            Answer::Accepted | Answer::Progress { .. } | Answer::Refused { code: Code::NotPossible, .. }
        );
        let is_parting = *step == Some(Step::Verdict) && !is_kept;
        if is_parting {
            self.parted.insert(node.clone());
        }
        // The machine, which would tell it, is not asked any more.
        if let (rollout::Answer::TakenOver { why }, false) = (&said, was_taken)
            && (self.is_past || self.rollout.verdict().is_some())
        {
            self.view.note(&format!("{node}: plan {about} was {why}"));
        }
        let doing = match answer {
            Answer::Progress { text } if !text.is_empty() => Some((node.clone(), detail.doing.clone())),
            Answer::Accepted | Answer::Progress { .. } | Answer::Noted => None,
            _ => {
                let note = (*step, answer.clone());
                if self.noted.get(node) != Some(&note) {
                    self.noted.insert(node.clone(), note);
                    self.notes.push(Note::Heard(report.clone()));
                }
                None
            }
        };
        // What a host says again when it comes back is no answer to the verdict.
        if self.rollout.verdict().is_none() || is_parting {
            self.rollout.handle_answer(node, said, Instant::now());
            self.show();
        }
        if let Some((node, doing)) = doing {
            self.view.progress(&node, &doing);
        }
    }

    /// Tells once of each host whose clock is another: that is why it refuses, or soon will.
    fn compare_clocks(&mut self, report: &Report) {
        if let Some(why) = apart(&report.node, report.time, self.clock.began(), self.time())
            && self.apart.insert(report.node.clone())
        {
            self.view.note(&why);
        }
    }

    /// Its clock went ahead after it prepared: orders are over for it before they come, and it says again how it stands.
    fn hears_nothing_in_time(&self, report: &Report) -> bool {
        let is_told = self.rollout.host(&report.node).is_some_and(|host| host.state() == State::Switching);
        is_told && matches!(report.answer, Answer::Prepared { .. }) && report.time > self.time() + ORDER
    }

    /// Something came that nobody can be held to. It costs itself; the node is heard all the same.
    pub(super) fn doubt(&mut self, node: Option<NodeName>, why: &str) {
        // Names that are not in the plan are anybody's invention, and there may be any number.
        let node = node.filter(|node| self.rollout.host(node).is_some());
        if self.doubted.insert(node.clone()) {
            let name = node.as_ref().map_or("somebody", NodeName::as_str);
            self.view.note(&format!("a reply in the name of {name} was dropped: {} (told once)", plain(why)));
        }
    }

    /// What one of them did is not what the other did, and here they look like one host.
    fn is_double(&mut self, node: &NodeName) {
        let why = format!(
            "two machines answer as {node}, with one key: look at both, and give each its own `node:` and `signing: key:`"
        );
        match self.rollout.stopping() {
            Some(_) => self.view.note(&why),
            None => self.rollout.stop(&why, Instant::now()),
        }
    }
}
