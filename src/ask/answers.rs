//! What came of a question so far: no clock, no socket.
//!
//! Whoever may write to the replies' topic can send any number of replies in anybody's name, and to check one may cost a
//! call of ssh-keygen. So only replies are checked that can still change something; which of them and when, [`Ear`] knows.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::hear::{Ear, Heard};
use crate::message::cut;
use crate::message::deploy::{Answer, HOSTS_MAX, PlanId, Reply, Report, Step};
use crate::message::terminal::printable;
use crate::name::NodeName;

/// Where nobody knows who is there, rubbish in so many names is told by name.
const NAMES_TOLD: usize = 20;
/// Octets of one reason.
const WHY_MAX: usize = 500;
/// Why a reply counts for nothing.
const UNCHECKED: &str = "there was no time to check it";

/// What came of it.
#[derive(Debug, Default)]
pub struct Answers {
    /// By node.
    pub heard: BTreeMap<NodeName, Told>,
    /// Expected, and silent.
    pub silent: Vec<NodeName>,
    /// Replies that were dropped, and why, for people: one line for each name.
    pub doubted: Vec<String>,
}

/// What one node told.
#[derive(Debug)]
pub struct Told {
    /// It.
    pub answer: Answer,
    /// When, by the node's clock.
    pub time: jiff::Timestamp,
    /// Of which step of a plan, when it was asked for one.
    pub step: Option<Step>,
    /// The node's own key says that it did.
    pub is_verified: bool,
    /// It is an answer: the node's own key says so, or there are no allowed signers to tell by. Anything else is for eyes
    /// only.
    pub counts: bool,
}

/// Answers on their way.
#[derive(Debug)]
pub(super) struct Listening {
    about: PlanId,
    /// Empty: nobody knows who is there.
    expected: BTreeSet<NodeName>,
    /// There are allowed signers: what is not signed is nobody's word.
    is_checked: bool,
    heard: BTreeMap<NodeName, Told>,
    doubted: BTreeMap<Option<NodeName>, String>,
}

impl Listening {
    pub fn new(about: PlanId, expected: &[NodeName], is_checked: bool) -> Listening {
        Listening {
            about,
            expected: expected.iter().cloned().collect(),
            is_checked,
            heard: BTreeMap::new(),
            doubted: BTreeMap::new(),
        }
    }

    /// All that are expected have answered.
    pub fn is_complete(&self) -> bool {
        !self.expected.is_empty() && self.expected.iter().all(|node| self.has_answered(node))
    }

    /// So many nodes have answered.
    pub fn count(&self) -> usize {
        self.heard.values().filter(|told| told.counts).count()
    }

    /// A reply came. One that needs ssh-keygen waits for [`check`](Self::check).
    pub fn came(&mut self, reply: &Reply, ear: &mut Ear, now: jiff::Timestamp) {
        let is_meant = |report: &Report| report.about == self.about && self.is_open(&report.node);
        if let Some(heard) = ear.hear(reply, now, is_meant) {
            self.take(heard);
        }
    }

    /// Checks a few of those that wait.
    pub fn check(&mut self, ear: &mut Ear) {
        for heard in ear.check_some() {
            self.take(heard);
        }
    }

    /// Time is over: of what came in it, one reply of each node that is expected is still to be checked.
    pub fn close(&mut self, ear: &mut Ear) {
        for node in ear.narrow(|node| self.expected.contains(node) && self.is_open(node)) {
            if self.is_open(&node) {
                self.doubt(Some(node), UNCHECKED);
            }
        }
    }

    /// What came of it.
    pub fn end(self) -> Answers {
        let silent = self.expected.iter().filter(|node| !self.heard.contains_key(node)).cloned().collect();
        let line = |(node, why): (Option<NodeName>, String)| {
            let name = node.as_ref().map_or("somebody", NodeName::as_str);
            format!("a reply in the name of {name} was dropped: {why} (told once)")
        };
        Answers { silent, doubted: self.doubted.into_iter().map(line).collect(), heard: self.heard }
    }

    fn has_answered(&self, node: &NodeName) -> bool {
        self.heard.get(node).is_some_and(|told| told.counts)
    }

    /// It was asked, and has not answered.
    fn is_open(&self, node: &NodeName) -> bool {
        (self.expected.is_empty() || self.expected.contains(node)) && !self.has_answered(node)
    }

    fn take(&mut self, heard: Heard) {
        let (Report { about, step, node, time, answer, .. }, is_verified) = match heard {
            Heard::Verified(report) => (report, true),
            Heard::Unsigned(report) => (report, false),
            // Whoever is not asked, or has answered, costs not even a line.
            Heard::Doubted { node: Some(node), .. } if !self.is_open(&node) => return,
            Heard::Doubted { node, why } => return self.doubt(node, &why),
        };
        let counts = is_verified || !self.is_checked;
        if about != self.about || !self.is_open(&node) {
            return;
        }
        if !counts && (self.heard.contains_key(&node) || (self.expected.is_empty() && self.heard.len() >= HOSTS_MAX)) {
            // The first of them is shown, and names can be made up without end.
            return;
        }
        self.heard.insert(node, Told { answer, time, step, is_verified, counts });
    }

    /// Something came that nobody can be held to. It costs itself; the node is heard all the same.
    pub fn doubt(&mut self, node: Option<NodeName>, why: &str) {
        // Names that were not asked are anybody's invention, and there may be any number.
        let node = node.filter(|node| match self.expected.is_empty() {
            false => self.expected.contains(node),
            true => self.doubted.contains_key(&Some(node.clone())) || self.doubted.len() < NAMES_TOLD,
        });
        self.doubted.entry(node).or_insert_with(|| {
            let mut why = printable(why);
            cut(&mut why, WHY_MAX);
            why
        });
    }
}
