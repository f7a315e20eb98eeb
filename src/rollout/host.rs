//! One host in the rollout.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Policy, Step};
use crate::name::NodeName;

/// Where a host is. Three words for three things: unreachable, went silent, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not asked yet.
    Waiting,
    /// Asked to prepare; has said nothing yet.
    Asked,
    /// At it: fetch, verify, stage.
    Preparing,
    /// The release is staged; it waits for its turn.
    Prepared,
    /// In its turn: scripts and switch.
    Switching,
    /// Done.
    Live,
    /// Never said anything.
    Unreachable,
    /// Said something once, and then nothing when it should have.
    Silent,
    /// Said that it could not, or took too long.
    Failed,
    /// Would not: not allowed, held, another plan, expired…
    Refused,
    /// Asked to drop the staged release.
    Aborting,
    /// Dropped it; nothing changed there.
    Aborted,
    /// Asked to go back.
    RollingBack,
    /// Went back.
    RolledBack,
    /// Could not go back.
    RollbackFailed,
}

impl State {
    /// How many there are, for a table of counts.
    pub(super) const COUNT: usize = State::RollbackFailed as usize + 1;

    /// Does it count against `max_failures`?
    pub fn is_failure(self) -> bool {
        matches!(self, State::Unreachable | State::Silent | State::Failed | State::Refused)
    }

    /// One or two words for people.
    pub fn words(self) -> &'static str {
        match self {
            State::Waiting => "not asked",
            State::Asked => "asked",
            State::Preparing => "preparing",
            State::Prepared => "prepared",
            State::Switching => "switching",
            State::Live => "live",
            State::Unreachable => "unreachable",
            State::Silent => "went silent",
            State::Failed => "failed",
            State::Refused => "refused",
            State::Aborting => "dropping",
            State::Aborted => "dropped",
            State::RollingBack => "rolling back",
            State::RolledBack => "rolled back",
            State::RollbackFailed => "rollback failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

/// One host of a rollout, for the view.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) name: NodeName,
    pub(super) state: State,
    pub(super) why: Option<String>,
    pub(super) canary: bool,
    pub(super) batch: Option<usize>,
    /// What it was asked last, while an answer is wanted.
    pub(super) ask: Option<Ask>,
    /// When it last said anything, and when first.
    pub(super) heard: Option<Instant>,
    pub(super) first_heard: Option<Instant>,
    /// An order has been taken for it: it may know of the plan.
    pub(super) told: bool,
    /// Its state was concluded from time passing, not from what it said.
    pub(super) lost: bool,
    pub(super) turn: Option<Turn>,
    /// Turns begun.
    pub(super) turns: u8,
    /// It said at some time that it is live, so that it may be the new release that it serves.
    pub(super) was_live: bool,
    /// It was in its turn, or failed there, here or before a resume.
    pub(super) turned: bool,
    /// Another plan has its site: nothing is asked of it any more, and what it still says is from before.
    pub(super) taken: bool,
    /// The end of the rollout waits for it, although it counts as lost already.
    pub(super) awaited: bool,
    /// When it is looked at next.
    pub(super) timer: Option<Instant>,
}

/// A turn without an outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub since: Instant,
    /// The last moment at which the order to switch was repeated: one may be under way since then.
    pub asked: Instant,
    /// The order was taken by the driver. Before that the turn can still be called off.
    pub sent: bool,
    /// When it last said that it works.
    pub worked: Option<Instant>,
}

/// An order that wants an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub step: Step,
    pub since: Instant,
    pub sent: Instant,
    /// Waits to be taken by the driver.
    pub queued: bool,
    /// Something was said to it, so that it is only repeated when the host falls silent.
    pub heard: bool,
    /// It fell silent, and is being reminded.
    pub reminding: bool,
    /// Until the next repetition.
    pub interval: Duration,
}

impl Host {
    pub(super) fn new(name: NodeName) -> Host {
        Host {
            name,
            state: State::Waiting,
            why: None,
            canary: false,
            batch: None,
            ask: None,
            heard: None,
            first_heard: None,
            told: false,
            lost: false,
            turn: None,
            turns: 0,
            was_live: false,
            turned: false,
            taken: false,
            awaited: false,
            timer: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is there, or what it said of its release.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Is it one of those that go first?
    pub fn is_canary(&self) -> bool {
        self.canary
    }

    /// The batch in which it had its turn, from 1.
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// It counts as lost, and its turn has no outcome.
    pub(super) fn is_lost_in_turn(&self) -> bool {
        self.lost && self.turn.is_some()
    }

    /// It counts as lost, and it never had a turn.
    pub(super) fn is_lost_before_turn(&self) -> bool {
        self.lost && self.turn.is_none() && !self.was_live
    }

    /// When to repeat what it was asked.
    pub(super) fn ask_again_at(&self, policy: &Policy) -> Option<Instant> {
        let ask = self.ask?;
        Some(if ask.heard && !ask.reminding {
            ask.sent.max(self.heard.unwrap_or(ask.sent)) + policy.progress + policy.progress / 2
        } else {
            ask.sent + ask.interval
        })
    }

    /// When its silence, or its work, has lasted too long.
    pub(super) fn gives_up_at(&self, policy: &Policy) -> Option<Instant> {
        let ask = self.ask?;
        let quiet = |since: Instant| self.heard.unwrap_or(since).max(since) + policy.silence;
        // Whoever has said nothing at all is given the short time, and no more of it than once.
        let answer = if ask.heard { quiet(ask.since) } else { ask.since + policy.answer_within };
        match self.state {
            State::Asked => Some(ask.since + policy.answer_within),
            State::Preparing => {
                let begun = self.first_heard.unwrap_or(ask.since).max(ask.since);
                Some(quiet(ask.since).min(begun + policy.prepare_within))
            }
            State::Switching => {
                let turn = self.turn?;
                Some(quiet(turn.since).min(turn.since + policy.turn_within))
            }
            State::Aborting => Some(answer.min(ask.since + policy.prepare_within)),
            State::RollingBack => Some(quiet(ask.since).min(ask.since + policy.turn_within)),
            // A canary that bakes.
            State::Live => Some(answer),
            State::Silent | State::Failed if self.awaited => Some(answer.min(ask.since + policy.turn_within)),
            _ => None,
        }
    }
}
