//! What comes next: the phases, the stop rules, and what time alone does.

use std::time::{Duration, Instant};

use super::host::Turn;
use super::verdict::{Verdict, name_failures, tell};
use super::{Event, Host, OnFailure, Phase, Rollout, State, Step, Stop, after};

impl Rollout {
    /// Applies the rules to what has changed, and begins whatever can begin.
    pub(super) fn go_on(&mut self, now: Instant) {
        loop {
            while let Some(at) = self.trouble.pop_front() {
                self.judge(at, now);
            }
            if !self.advance(now) && self.trouble.is_empty() {
                return;
            }
        }
    }

    /// One step further, if there is one.
    fn advance(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Preparing => {
                self.ask_more(now);
                // In its turn: told to by one who was killed.
                let unsettled = [State::Waiting, State::Asked, State::Preparing, State::Switching];
                if unsettled.iter().any(|state| self.count(*state) > 0) {
                    return false;
                }
                if !self.stop_as_before(now) {
                    self.begin_canary(now);
                }
            }
            Phase::Canary if self.count(State::Switching) > 0 => return false,
            Phase::Canary => self.begin_bake(now),
            Phase::Baking { until } if now < until => return false,
            Phase::Baking { .. } => self.check_canary(now),
            Phase::Checking if self.awaited > 0 => return false,
            Phase::Checking => self.phase = Phase::Batches,
            Phase::Batches if self.count(State::Switching) > 0 => return false,
            Phase::Batches => {
                if !self.begin_batch(now) {
                    // A late host that prepares is worth the wait.
                    if self.count(State::Preparing) > 0 {
                        return false;
                    }
                    self.conclude(now);
                }
            }
            Phase::Draining if self.count(State::Switching) > 0 => return false,
            Phase::Draining => self.wind_up(now),
            Phase::WindingUp => {
                let unsettled = [State::Aborting, State::RollingBack, State::Switching];
                if unsettled.iter().any(|state| self.count(*state) > 0) || self.awaited > 0 {
                    return false;
                }
                self.conclude(now);
            }
            Phase::Farewell { again } if now < again && self.awaited > 0 => return false,
            Phase::Farewell { .. } => {
                self.say_verdict();
                self.phase = Phase::Over;
            }
            Phase::Over => return false,
        }
        true
    }

    fn ask_more(&mut self, now: Instant) {
        let most = self.policy.prepare_parallel.map_or(usize::MAX, |most| most.get());
        while self.next_to_ask < self.hosts.len() && self.count(State::Asked) + self.count(State::Preparing) < most {
            let at = self.next_to_ask;
            self.next_to_ask += 1;
            if self.hosts[at].state == State::Waiting {
                self.set_state(at, State::Asked, None);
                self.ask(at, Step::Prepare, now);
            }
        }
    }

    /// After a resume: it was being stopped, or hosts that dropped their release or went back say that it was.
    fn stop_as_before(&mut self, now: Instant) -> bool {
        let went_back = self.count(State::RolledBack) + self.count(State::RollbackFailed);
        // Only a failure makes hosts go back; a rollout that its operator stopped is only stopped.
        let rolls_back = went_back > 0 && self.policy.on_failure == OnFailure::Rollback;
        if let Some(stop) = &mut self.stop {
            stop.rolls_back |= rolls_back;
            self.drain(now);
            // Since then, perhaps: as with one that fails after the operator stopped it.
            let hosts = self.hosts.iter().enumerate();
            let failed = hosts.filter(|(_, host)| host.state == State::Failed && host.turned).map(|(at, _)| at);
            self.trouble.extend(failed);
            return true;
        }
        let Some(host) = self.hosts.iter().find(|host| is_undone(host.state)) else { return false };
        self.stop_for(format!("it was stopped before: {} {}", host.name, host.state), rolls_back, now);
        true
    }

    fn begin_canary(&mut self, now: Instant) {
        let had_its_turn = |host: &Host| host.was_live || host.turned;
        let mut canary = Vec::new();
        let mut others_had_theirs = false;
        for (at, host) in self.hosts.iter_mut().enumerate() {
            if host.state == State::Prepared || had_its_turn(host) {
                if canary.len() < self.policy.canary {
                    host.canary = true;
                    canary.push(at);
                } else {
                    others_had_theirs |= had_its_turn(host);
                    if host.state == State::Prepared {
                        self.queue.push_back(at);
                    }
                }
            }
        }
        // After a resume: where others had their turn already, the bake is over.
        self.canary_passed = canary.is_empty() || (others_had_theirs && self.all_live(&canary));
        self.phase = Phase::Canary;
        if self.canary_passed {
            return;
        }
        let hosts = canary.iter().map(|&at| self.hosts[at].name.clone()).collect();
        self.events.push_back(Event::Canary { hosts });
        for &at in &canary {
            if self.hosts[at].state == State::Prepared {
                self.switch(at, now);
            }
            // One that failed before a resume is judged now that it is known to be of the canary.
            self.trouble.push_back(at);
        }
    }

    fn all_live(&self, hosts: &[usize]) -> bool {
        hosts.iter().all(|&at| self.hosts[at].state == State::Live)
    }

    fn begin_bake(&mut self, now: Instant) {
        if self.canary_passed || self.policy.bake.is_zero() {
            self.phase = Phase::Batches;
            return;
        }
        let until = after(now, self.policy.bake);
        self.phase = Phase::Baking { until };
        self.events.push_back(Event::Bake { until: until + self.clock.skipped });
        for at in 0..self.hosts.len() {
            if self.hosts[at].canary {
                self.ask(at, Step::Prepare, now);
                // They have just spoken: a question is due when they fall silent.
                if let Some(ask) = &mut self.hosts[at].ask {
                    (ask.heard, ask.queued) = (true, false);
                }
                self.set_timer(at);
            }
        }
    }

    fn check_canary(&mut self, now: Instant) {
        self.phase = Phase::Checking;
        for at in 0..self.hosts.len() {
            if self.hosts[at].canary {
                self.ask(at, Step::Prepare, now);
                self.set_awaited(at, true);
            }
        }
    }

    fn begin_batch(&mut self, now: Instant) -> bool {
        let (all, mut left) = (self.hosts.len(), self.count(State::Prepared));
        let size = self.policy.batches.size(self.batch + 1, all);
        let mut hosts = Vec::new();
        while hosts.len() < size.min(left) {
            let Some(at) = self.queue.pop_front() else { break };
            let host = &mut self.hosts[at];
            if host.state == State::Prepared && host.batch != Some(self.batch + 1) {
                host.batch = Some(self.batch + 1);
                hosts.push(at);
            }
        }
        if hosts.is_empty() {
            return false;
        }
        // Up to here a canary that fails stops it, whatever may fail.
        self.canary_passed = true;
        self.batch += 1;
        left -= hosts.len();
        let of = self.batch + self.policy.batches.after(self.batch, left, all);
        let names = hosts.iter().map(|&at| self.hosts[at].name.clone()).collect();
        self.events.push_back(Event::Batch { number: self.batch, of, hosts: names });
        for at in hosts {
            self.switch(at, now);
        }
        true
    }

    fn switch(&mut self, at: usize, now: Instant) {
        let host = &mut self.hosts[at];
        host.turn = Some(Turn { since: now, asked: now, sent: false, worked: None });
        host.turns = host.turns.saturating_add(1);
        self.set_state(at, State::Switching, None);
        self.ask(at, Step::Switch, now);
    }

    /// Does what has become of this host stop the rollout?
    fn judge(&mut self, at: usize, now: Instant) {
        let host = &self.hosts[at];
        let failure = host.state.is_failure();
        let goes_back = self.policy.on_failure == OnFailure::Rollback;
        // All that can still change is that hosts go back after all.
        if self.stop.as_ref().is_some_and(|stop| stop.rolls_back || !goes_back) {
            return;
        }
        let why = match self.phase {
            Phase::WindingUp | Phase::Farewell { .. } | Phase::Over => return,
            // Others may know more: how it was stopped is decided when all have said how they stand.
            Phase::Preparing if is_undone(host.state) || self.stop.is_some() => return,
            // Somebody else decides there now, and may want the others to stay as they are: as when the operator stops it.
            _ if host.taken => return self.stop_for(tell(host), false, now),
            _ if is_undone(host.state) => {
                let why = format!("{} {} without being told to", host.name, host.state);
                return self.stop_for(why, goes_back && host.state != State::Aborted, now);
            }
            Phase::Preparing if host.state == State::Refused => tell(host),
            _ if failure && host.canary && !self.canary_passed => format!("of the canary, {}", tell(host)),
            _ if failure && self.failures() > self.policy.max_failures => self.tell_failures(),
            _ => return,
        };
        self.stop_for(why, goes_back, now);
    }

    fn tell_failures(&self) -> String {
        let (count, most) = (self.failures(), self.policy.max_failures);
        match most {
            0 => name_failures(&self.hosts),
            _ => format!("{count} hosts are lost, and no more than {most} may be: {}", name_failures(&self.hosts)),
        }
    }

    pub(super) fn stop_for(&mut self, why: String, rolls_back: bool, now: Instant) {
        match (self.phase, &self.stop) {
            (Phase::Farewell { .. } | Phase::Over, _) => return,
            // The operator stopped it, and then one of those in their turn failed: what `on_failure` says holds.
            (_, Some(stop)) if rolls_back && !stop.rolls_back => {
                let why = format!("{}; then {why}", stop.why);
                self.stop = Some(Stop { why, rolls_back });
            }
            (_, Some(_)) => return,
            (_, None) => self.stop = Some(Stop { why, rolls_back }),
        }
        if let Some(Stop { why, rolls_back }) = self.stop.clone() {
            self.events.push_back(Event::Stopping { why, rolls_back });
        }
        if self.phase != Phase::Draining {
            self.drain(now);
        }
    }

    /// Nobody begins from here on.
    fn drain(&mut self, now: Instant) {
        self.phase = Phase::Draining;
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            match (host.state, host.turn) {
                // Not on its way yet: it need not begin.
                (State::Switching, Some(turn)) if !turn.sent => {
                    host.turn = None;
                    self.set_state(at, State::Prepared, None);
                    self.ask_nothing(at);
                }
                // From here on it is asked how it stands, and not told to switch again: the order may be lost.
                (State::Switching, Some(_)) => {
                    let heard = host.ask.is_some_and(|ask| ask.heard);
                    self.ask(at, Step::Prepare, now);
                    if let Some(ask) = &mut self.hosts[at].ask {
                        (ask.heard, ask.queued) = (heard, !heard);
                    }
                    self.set_timer(at);
                }
                (State::Live, _) => self.ask_nothing(at),
                _ => {}
            }
        }
    }

    /// Nobody is in their turn any more: what is live goes back if it is to, what is staged is dropped.
    fn wind_up(&mut self, now: Instant) {
        self.phase = Phase::WindingUp;
        if self.rolls_back() {
            for at in 0..self.hosts.len() {
                let host = &self.hosts[at];
                match host.state {
                    _ if host.taken => {}
                    State::Live | State::Failed | State::Silent if host.was_live => self.roll_back(at, now),
                    // Perhaps it is at it. Should it say anything soon, it is told to go back.
                    State::Silent | State::Failed if host.is_lost_in_turn() => {
                        self.ask(at, Step::Prepare, now);
                        self.set_awaited(at, true);
                        self.set_timer(at);
                    }
                    _ => {}
                }
            }
        }
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            match host.state {
                State::Asked if !host.told => {
                    self.set_state(at, State::Waiting, None);
                    self.ask_nothing(at);
                }
                State::Asked | State::Preparing | State::Prepared => self.abort(at, now),
                // Nobody waits for these, but they may hear it.
                State::Unreachable | State::Silent | State::Failed if host.is_lost_before_turn() => {
                    self.ask(at, Step::Abort, now);
                }
                _ => {}
            }
        }
    }

    pub(super) fn abort(&mut self, at: usize, now: Instant) {
        self.set_state(at, State::Aborting, None);
        self.ask(at, Step::Abort, now);
    }

    pub(super) fn roll_back(&mut self, at: usize, now: Instant) {
        // What was wrong with it stays in sight.
        let why = self.hosts[at].why.take().filter(|_| self.hosts[at].state.is_failure());
        self.set_awaited(at, false);
        self.set_state(at, State::RollingBack, why);
        self.ask(at, Step::Rollback, now);
    }

    fn conclude(&mut self, now: Instant) {
        self.verdict = Some(Verdict::of(&self.hosts, self.stop.as_ref()));
        self.events.push_back(Event::Verdict);
        self.timers.clear();
        self.outgoing.clear();
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            (host.ask, host.timer) = (None, None);
            let told = host.told;
            self.set_awaited(at, told);
        }
        self.say_verdict();
        self.phase = Phase::Farewell { again: after(now, self.policy.resend) };
    }

    /// To those who may know of the plan and have not been heard since.
    fn say_verdict(&mut self) {
        let hosts: Vec<usize> = (0..self.hosts.len()).filter(|&at| self.hosts[at].awaited).collect();
        if !hosts.is_empty() {
            self.outgoing.push_back(super::Outgoing { step: Step::Verdict, canary: false, hosts });
        }
    }

    /// A host's timer has come.
    pub(super) fn look_at(&mut self, at: usize, now: Instant) {
        let host = &self.hosts[at];
        if host.gives_up_at(&self.policy).is_some_and(|end| end <= now) {
            return self.give_up(at, now);
        }
        let (Some(ask), Some(due)) = (host.ask, host.ask_again_at(&self.policy)) else { return };
        if due > now {
            return;
        }
        let interval = match ask.heard && !ask.reminding {
            true => self.policy.resend,
            false => (ask.interval * 2).min(self.policy.resend_most),
        };
        if let Some(ask) = &mut self.hosts[at].ask {
            ask.reminding = ask.heard;
        }
        self.ask_again(at, interval, now);
    }

    /// It took too long.
    fn give_up(&mut self, at: usize, now: Instant) {
        let policy = &self.policy;
        let host = &self.hosts[at];
        let quiet_for = |time: Duration| host.heard.is_none_or(|heard| now >= heard + time);
        let silent = |doing: &str| format!("{doing}, and then said nothing for {:?}", policy.silence);
        let (state, why) = match host.state {
            State::Asked => (State::Unreachable, format!("it said nothing within {:?}", policy.answer_within)),
            State::Preparing if quiet_for(policy.silence) => (State::Silent, silent("it was preparing")),
            State::Preparing => (State::Failed, format!("it was not prepared within {:?}", policy.prepare_within)),
            State::Switching if quiet_for(policy.silence) => (State::Silent, silent("it was told to switch")),
            State::Switching => (State::Failed, format!("its turn was not over within {:?}", policy.turn_within)),
            State::Aborting if host.heard.is_none() => {
                (State::Unreachable, format!("it said nothing within {:?}", policy.answer_within))
            }
            State::Aborting => (State::Silent, "it did not say that it dropped its staged release".to_owned()),
            State::RollingBack => (State::Silent, "it did not say that it went back: look what it serves".to_owned()),
            State::Live => (State::Silent, "it was live, and then did not answer".to_owned()),
            _ => return self.ask_nothing(at),
        };
        let before = host.state;
        self.set_state(at, state, Some(why));
        self.hosts[at].lost = true;
        match before {
            // Questions go on: it may come back.
            State::Asked | State::Preparing => {}
            State::Switching => {
                self.ask(at, Step::Prepare, now);
                if let Some(ask) = &mut self.hosts[at].ask {
                    ask.interval = self.policy.resend_most;
                }
            }
            _ => self.ask_nothing(at),
        }
        self.set_timer(at);
    }
}

/// What only a stopped rollout makes of a host.
fn is_undone(state: State) -> bool {
    matches!(state, State::Aborted | State::RolledBack | State::RollbackFailed)
}
