//! What a host's word makes of what is known of it.
//!
//! Answers come late, twice and in any order, and two of them may contradict. Good news from before a step is stale and
//! is passed over; bad news stays; a host that says both that it is live and that it never was is failed, for somebody
//! to look at.

use std::time::Instant;

use super::host::Turn;
use super::{Answer, Phase, Rollout, State, Step};

impl Rollout {
    pub(super) fn take_answer(&mut self, at: usize, answer: Answer, now: Instant) {
        let host = &mut self.hosts[at];
        host.heard = Some(now);
        host.first_heard.get_or_insert(now);
        if matches!(self.phase, Phase::Farewell { .. } | Phase::Over) {
            return self.set_awaited(at, false);
        }
        if host.taken {
            return;
        }
        if let Some(ask) = &mut host.ask {
            // From before the order, perhaps: then the order may be lost, and is still to be repeated soon.
            let stale = match (ask.step, &answer) {
                (Step::Prepare | Step::Verdict, _) => false,
                (_, Answer::Prepared) => true,
                (_, Answer::Accepted { step } | Answer::Progress { step }) => *step == Step::Prepare,
                (Step::Rollback, Answer::Live { .. }) => true,
                _ => false,
            };
            if !stale {
                (ask.heard, ask.reminding) = (true, false);
            }
        }
        match answer {
            Answer::Accepted { step: Step::Switch } | Answer::Progress { step: Step::Switch } => self.switches(at, now),
            Answer::Accepted { .. } | Answer::Progress { .. } => self.works(at, now),
            Answer::Prepared => self.is_prepared(at, now),
            Answer::Refused { why } => self.refuses(at, why),
            Answer::TakenOver { why } => self.is_taken_over(at, &why),
            Answer::Live { summary } => self.is_live(at, summary, now),
            Answer::Failed { during, switched, why } => self.fails(at, during, switched, why, now),
            Answer::Aborted => self.is_aborted(at),
            Answer::RolledBack => self.is_rolled_back(at),
            Answer::RollbackFailed { why } => self.fails(at, Step::Rollback, false, why, now),
        }
    }

    /// It is at work, but not in its turn.
    fn works(&mut self, at: usize, now: Instant) {
        let host = &self.hosts[at];
        match host.state {
            State::Asked => self.set_state(at, State::Preparing, None),
            // The one who asked it was killed, and this is a resume.
            State::Waiting if self.phase == Phase::WindingUp => self.abort(at, now),
            State::Waiting => {
                self.set_state(at, State::Preparing, None);
                self.ask(at, Step::Prepare, now);
            }
            State::Unreachable | State::Silent | State::Failed if host.is_lost_before_turn() => {
                let begun = host.first_heard.unwrap_or(now).max(host.ask.map_or(now, |ask| ask.since));
                if self.phase == Phase::WindingUp {
                    self.abort(at, now);
                } else if now < begun + self.policy.prepare_within {
                    self.set_state(at, State::Preparing, None);
                }
            }
            _ => {}
        }
    }

    /// It is in its turn.
    fn switches(&mut self, at: usize, now: Instant) {
        let host = &mut self.hosts[at];
        let stale = match host.state {
            State::Waiting | State::Asked | State::Preparing | State::Prepared => false,
            State::Switching | State::Aborting => false,
            State::Unreachable | State::Silent | State::Failed => !host.lost || host.was_live,
            _ => true,
        };
        if stale {
            return;
        }
        // Not told to by us: the one who told it was killed, and this is a resume.
        let began = Turn { since: now, asked: now, sent: true, worked: Some(now) };
        let turn = host.turn.get_or_insert(began);
        turn.worked = Some(now);
        if host.state == State::Switching || now >= turn.since + self.policy.turn_within {
            return;
        }
        host.turned = true;
        // It is at it: from here on it is asked how it stands, and not told to switch.
        self.set_awaited(at, false);
        self.set_state(at, State::Switching, None);
        self.ask(at, Step::Prepare, now);
        if let Some(ask) = &mut self.hosts[at].ask {
            (ask.heard, ask.queued) = (true, false);
        }
        self.set_timer(at);
    }

    fn is_prepared(&mut self, at: usize, now: Instant) {
        let winding_up = self.phase == Phase::WindingUp;
        let host = &mut self.hosts[at];
        let joins = match host.state {
            State::Waiting | State::Asked | State::Preparing => true,
            State::Unreachable | State::Silent | State::Failed if host.is_lost_before_turn() => true,
            // Lost in its turn. At the end it goes back, whatever the order to switch still does to it.
            State::Silent if host.awaited && winding_up => return self.roll_back(at, now),
            // It says so long after the last order to switch: that never reached it, and no longer can.
            State::Silent | State::Switching if !winding_up => {
                let silence = self.policy.silence;
                let never_began = host.turn.is_some_and(|turn| {
                    now >= turn.asked + silence && turn.worked.is_none_or(|worked| now >= worked + silence)
                });
                // While the rollout goes on, the order is repeated anyway. One that it never hears is not given again.
                let joins = match host.state {
                    State::Switching => self.stop.is_some(),
                    _ => self.stop.is_some() || host.turns < 2,
                };
                if never_began && joins {
                    host.turn = None;
                }
                never_began && joins
            }
            _ => false,
        };
        if joins && winding_up {
            self.abort(at, now);
        } else if joins {
            self.set_state(at, State::Prepared, None);
            self.ask_nothing(at);
            if self.phase != Phase::Preparing {
                self.queue.push_back(at);
            }
        }
    }

    fn is_live(&mut self, at: usize, summary: String, now: Instant) {
        let goes_back = self.phase == Phase::WindingUp && self.rolls_back();
        let host = &mut self.hosts[at];
        let before = std::mem::replace(&mut host.was_live, true);
        match host.state {
            State::RolledBack | State::RollbackFailed | State::RollingBack => return,
            State::Failed if !host.lost && before => return,
            State::Failed if !host.lost => return self.contradicts(at, "then it said that it is live"),
            State::Refused | State::Aborted => return self.contradicts(at, "then it said that it is live"),
            _ => {}
        }
        host.turn = None;
        if goes_back {
            return self.roll_back(at, now);
        }
        let bakes = matches!(self.phase, Phase::Baking { .. }) && host.state == State::Live;
        self.set_state(at, State::Live, Some(summary).filter(|summary| !summary.is_empty()));
        if !bakes {
            self.ask_nothing(at);
        }
    }

    fn fails(&mut self, at: usize, during: Step, switched: bool, why: String, now: Instant) {
        let goes_back = self.phase == Phase::WindingUp && self.rolls_back();
        let host = &mut self.hosts[at];
        let state = match host.state {
            State::Refused | State::Aborted | State::RollbackFailed => return,
            State::RolledBack if during != Step::Rollback => return,
            State::Failed if !(host.lost || host.was_live && during == Step::Rollback) => return,
            _ if during == Step::Rollback => State::RollbackFailed,
            // It is to go back because it was live: that it failed after that changes nothing.
            State::RollingBack if host.was_live => return,
            _ => State::Failed,
        };
        host.turned |= matches!(during, Step::Switch | Step::Rollback) || host.turn.is_some();
        host.was_live |= switched;
        host.turn = None;
        self.set_state(at, state, Some(why));
        if switched && goes_back {
            return self.roll_back(at, now);
        }
        self.ask_nothing(at);
    }

    fn refuses(&mut self, at: usize, why: String) {
        let host = &mut self.hosts[at];
        let state = match host.state {
            State::Live | State::Refused | State::Aborted | State::RolledBack | State::RollbackFailed => return,
            State::Failed if !host.lost => return,
            State::RollingBack if host.was_live => State::RollbackFailed,
            _ => State::Refused,
        };
        host.turned |= host.turn.is_some();
        host.turn = None;
        let why = if state == State::RollbackFailed { format!("it refused to go back: {why}") } else { why };
        self.set_state(at, state, Some(why));
        self.ask_nothing(at);
    }

    /// What it has done stands; what it has not done it will not do.
    fn is_taken_over(&mut self, at: usize, why: &str) {
        let host = &mut self.hosts[at];
        (host.taken, host.turned) = (true, host.turned || host.turn.is_some());
        host.turn = None;
        let (state, before) = match host.state {
            State::RollingBack if host.was_live => (State::RollbackFailed, Some("it did not go back".to_owned())),
            State::Failed if host.lost => (State::Refused, None),
            State::Live
            | State::Failed
            | State::Refused
            | State::Aborted
            | State::RolledBack
            | State::RollbackFailed => (host.state, host.why.clone()),
            _ => (State::Refused, None),
        };
        let why = before.map_or_else(|| why.to_owned(), |before| format!("{before}; {why}"));
        self.set_state(at, state, Some(why));
        self.ask_nothing(at);
        self.trouble.push_back(at);
    }

    fn is_aborted(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        match host.state {
            State::Refused | State::Aborted | State::RolledBack | State::RollbackFailed => return,
            State::Failed if !host.lost => return,
            _ if host.was_live => return self.contradicts(at, "it was live, and then it said that it never went live"),
            _ => {}
        }
        host.turn = None;
        self.set_state(at, State::Aborted, None);
        self.ask_nothing(at);
    }

    fn is_rolled_back(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        match host.state {
            State::Refused | State::Aborted | State::RolledBack | State::RollbackFailed => return,
            State::Failed if !host.lost && !host.was_live => return,
            _ => {}
        }
        host.turn = None;
        // What was wrong with it is worth more than what it said of its release.
        let was_wrong = host.state.is_failure() || host.state == State::RollingBack;
        let why = host.why.take().filter(|_| was_wrong);
        self.set_state(at, State::RolledBack, why);
        self.ask_nothing(at);
    }

    fn contradicts(&mut self, at: usize, what: &str) {
        let host = &self.hosts[at];
        let why = match (&host.why, host.state) {
            (Some(why), State::Failed | State::Refused) => format!("{why}; {what}"),
            (_, State::Aborted) => format!("it said that it dropped the release; {what}"),
            _ => what.to_owned(),
        };
        self.set_state(at, State::Failed, Some(why));
        self.ask_nothing(at);
    }
}
