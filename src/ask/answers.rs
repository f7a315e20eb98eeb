//! What came of a question so far: no clock, no socket.
//!
//! Whoever may write to the replies' topic can send any number of replies in anybody's name, and to check one may cost a
//! call of ssh-keygen. So only replies are checked that can still change something, a few at a time, each node's in its
//! turn: who floods in one node's name holds up no other node, nor whoever asks.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::hear::{Ear, Heard};
use crate::message::cut;
use crate::message::deploy::{Answer, Document as _, HOSTS_MAX, PlanId, Reply, Report, Step};
use crate::message::terminal::printable;
use crate::name::NodeName;

/// So many replies are checked before the clock and Ctrl-C get their turn.
const PORTION: usize = 16;
/// So many unchecked replies are kept in one node's name; an honest node gives one.
const IN_ONE_NAME: usize = 100;
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
    /// Signed, and not checked yet.
    waiting: BTreeMap<NodeName, VecDeque<Reply>>,
    /// Whose replies wait, in the order that they have their turn.
    turn: VecDeque<NodeName>,
    heard: BTreeMap<NodeName, Told>,
    doubted: BTreeMap<Option<NodeName>, String>,
}

impl Listening {
    pub fn new(about: PlanId, expected: &[NodeName], is_checked: bool) -> Listening {
        Listening {
            about,
            expected: expected.iter().cloned().collect(),
            is_checked,
            waiting: BTreeMap::new(),
            turn: VecDeque::new(),
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

    /// Replies wait to be checked.
    pub fn is_behind(&self) -> bool {
        !self.turn.is_empty()
    }

    /// A reply came. What needs no ssh-keygen is heard at once.
    pub fn came(&mut self, reply: Reply, ear: &mut Ear, now: jiff::Timestamp) {
        let node = match Report::from_text(&reply.report.document) {
            Ok(report) if report.about == self.about && self.is_open(&report.node) => report.node,
            // Of another question, of nobody who was asked, or of somebody who has answered.
            Ok(_) => return,
            Err(error) => return self.doubt(None, &error.to_string()),
        };
        if !self.is_checked || reply.vouch.is_none() {
            let heard = ear.hear(&reply, now);
            return self.take(heard);
        }
        // Of names that anybody can make up not all can be kept.
        let is_full = self.expected.is_empty() && self.waiting.len() >= HOSTS_MAX;
        if is_full && !self.waiting.contains_key(&node) {
            return self.doubt(Some(node), "too many others wait to be checked");
        }
        let replies = self.waiting.entry(node.clone()).or_default();
        if replies.len() >= IN_ONE_NAME {
            return self.doubt(Some(node), "too many came in that name");
        }
        if replies.is_empty() {
            self.turn.push_back(node);
        }
        replies.push_back(reply);
    }

    /// Checks a few of those that wait.
    pub fn check(&mut self, ear: &mut Ear, now: jiff::Timestamp) {
        let portion = self.portion();
        for heard in ear.hear_all(&portion, now) {
            self.take(heard);
        }
    }

    /// Time is over: of what came in it, one reply of each node that is expected is still to be checked.
    pub fn close(&mut self) {
        let (expected, doubtful): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.turn).into_iter().partition(|node| self.expected.contains(node));
        for node in doubtful {
            self.waiting.remove(&node);
            self.doubt(Some(node), UNCHECKED);
        }
        for node in &expected {
            let Some(replies) = self.waiting.get_mut(node).filter(|replies| replies.len() > 1) else { continue };
            replies.truncate(1);
            self.doubt(Some(node.clone()), UNCHECKED);
        }
        self.turn = expected.into();
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

    /// One reply of each node in its turn, round after round.
    fn portion(&mut self) -> Vec<Reply> {
        let mut portion = Vec::new();
        while portion.len() < PORTION
            && let Some(node) = self.turn.pop_front()
        {
            // It has answered meanwhile.
            let Some(replies) = self.waiting.get_mut(&node) else { continue };
            portion.extend(replies.pop_front());
            if replies.is_empty() {
                self.waiting.remove(&node);
            } else {
                self.turn.push_back(node);
            }
        }
        portion
    }

    fn take(&mut self, heard: Heard) {
        let (Report { about, step, node, time, answer, .. }, is_verified) = match heard {
            Heard::Verified(report) => (report, true),
            Heard::Unsigned(report) => (report, false),
            Heard::Doubted { node, why } => return self.doubt(node, &why),
        };
        let counts = is_verified || !self.is_checked;
        if about != self.about || !self.is_open(&node) {
            return;
        }
        if counts {
            self.waiting.remove(&node);
        } else if self.heard.contains_key(&node) || (self.expected.is_empty() && self.heard.len() >= HOSTS_MAX) {
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
