//! How it ends: all of it, or this side alone; and telling hosts that it is over.

use std::io;
use std::time::{Duration, Instant};

use super::{Conductor, Finish, outcome};
use crate::bus::Connection;
use crate::conduct::Error;
use crate::conduct::store::{Note, stopped, verdict};
use crate::conduct::table;
use crate::conduct::view::{Line, View, print};
use crate::message::deploy::{Action, Outcome};
use crate::name::NodeName;
use crate::rollout::{self, State};

/// How long hosts that were there a moment ago are told that it is over.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often.
const SAY_AGAIN: Duration = Duration::from_secs(1);
/// And how long those that may have missed the end of an earlier plan.
const SETTLE: Duration = Duration::from_secs(3);

impl Conductor<'_> {
    pub(super) fn finish(mut self) -> Result<Finish, Error> {
        let Some(verdict) = self.rollout.verdict().cloned() else { return Ok(Finish::Failure) };
        let (word, why) = (outcome(&verdict.outcome), verdict.outcome.why());
        self.notes.push(Note::Ended(word));
        self.write_notes();
        let plan = self.kept.plan.clone();
        let ended = verdict.outcome.to_string();
        self.announce(&format!("{}: {} of {}: {ended}", plan.who, plan.action, plan.site));
        // The machine says it twice. Who was away just then would keep the site from the next plan.
        let lost = [State::Waiting, State::Unreachable, State::Silent];
        let there = self.rollout.hosts().iter().filter(|host| !lost.contains(&host.state()));
        let there = there.map(|host| host.name().clone()).collect();
        let left = self.part(there, self.for_hosts(&verdict.outcome), FAREWELL)?;
        self.view.end();
        match self.tell(&ended, Some(Line::Ended { outcome: word, why })) {
            // Whoever read it has gone; the exit status still says how it went.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            told => told?,
        }
        let apart = table::apart(&table::rows(self.rollout.hosts(), &self.details));
        if let (Action::Rollback { .. }, Some(apart)) = (&plan.action, apart) {
            self.view.note(&format!("not one version: {apart}; rollback {} --to REF goes back to one", plan.site));
        }
        if !left.is_empty() {
            let (all, id) = (all(&left), plan.id);
            self.view.note(&format!("not heard that it is over: {all}; failcake rollout resume {id} tells again"));
        }
        let lost = self.rollout.hosts().iter().filter(|host| host.state() == State::Silent);
        let lost: Vec<NodeName> = lost.map(|host| host.name().clone()).collect();
        if self.rollout.rolls_back() && !lost.is_empty() {
            let (all, id) = (all(&lost), plan.id);
            self.view.note(&format!(
                "what {all} will serve is not known: failcake rollout resume {id} tells to go back as well"
            ));
        }
        Ok(if verdict.outcome == rollout::Outcome::Success { Finish::Success } else { Finish::Failure })
    }

    /// Tells once more that it is over: for hosts that were away when it ended, and keep the site from the next plan.
    pub fn say_it_is_over(mut self, outcome: Outcome, notes: &[Note]) -> Result<Finish, Error> {
        let plan = self.kept.plan.clone();
        self.is_past = true;
        self.view.begin(&plan);
        let verdict = verdict(notes).unwrap_or(outcome);
        let left = self.part(plan.hosts, verdict, FAREWELL)?;
        let (finish, how) = match left.is_empty() {
            true if verdict == Outcome::RolledBack => {
                (Finish::Success, "every host knows it; whoever still served its release goes back now".to_owned())
            }
            true => (Finish::Success, "every host knows it".to_owned()),
            false => (Finish::Failure, format!("did not answer to that: {}", all(&left))),
        };
        self.view.note(&format!("plan {} is over, and {how}", plan.id));
        if let View::Json = self.view {
            print(&Line::Ended { outcome, why: stopped(notes).map(|(why, _)| why) });
        }
        Ok(finish)
    }

    /// The same before the next plan for the site, to some of them; gives those that did not answer, and back what the
    /// next one needs.
    pub fn settle(
        mut self,
        hosts: Vec<NodeName>,
        outcome: Outcome,
    ) -> Result<(Vec<NodeName>, Connection, View), Error> {
        self.is_past = true;
        let left = self.part(hosts, outcome, SETTLE)?;
        if !self.parted.is_empty() {
            let told: Vec<NodeName> = self.parted.iter().cloned().collect();
            self.view.note(&format!("told {} first that plan {} is over", all(&told), self.kept.plan.id));
        }
        Ok((left, self.connection, self.view))
    }

    /// Says the verdict until all of these hosts have heard it, for a while; gives those that have not. Who has is noted.
    fn part(&mut self, hosts: Vec<NodeName>, outcome: Outcome, patience: Duration) -> Result<Vec<NodeName>, Error> {
        let left = self.say_verdict(hosts, outcome, patience)?;
        if !self.parted.is_empty() {
            self.notes.push(Note::Parted(self.parted.iter().cloned().collect()));
            self.write_notes();
        }
        Ok(left)
    }

    fn say_verdict(
        &mut self,
        hosts: Vec<NodeName>,
        outcome: Outcome,
        patience: Duration,
    ) -> Result<Vec<NodeName>, Error> {
        let mut until = Instant::now() + patience;
        let mut next = Instant::now();
        let mut gave_up = false;
        loop {
            let left: Vec<NodeName> = hosts.iter().filter(|host| !self.parted.contains(*host)).cloned().collect();
            let now = Instant::now();
            if left.is_empty() || gave_up || now >= until || self.interrupts.count() > 1 {
                return Ok(left);
            }
            if now >= next {
                next = now + SAY_AGAIN;
                self.send(rollout::Order { step: rollout::Step::Verdict, hosts: left, canary: false }, Some(outcome));
            }
            until += self.wait(Some(next.min(until)))?;
            gave_up = self.listen().is_err();
        }
    }

    /// In the middle. What hosts do they do to the end, and what is staged stays until the plan's time is over.
    pub(super) fn leave(mut self, why: &str) -> Finish {
        self.write_notes();
        self.view.end();
        let plan = &self.kept.plan;
        let of = |states: &[State]| {
            let hosts = self.rollout.hosts().iter().filter(|host| states.contains(&host.state()));
            hosts.map(|host| host.name().clone()).collect::<Vec<_>>()
        };
        let mut runs_on = of(&[State::Asked, State::Preparing, State::Switching, State::Aborting, State::RollingBack]);
        if self.refusals > 0 {
            // What was sent last reached nobody.
            runs_on.retain(|host| self.rollout.host(host).is_some_and(|host| host.state() != State::Asked));
        }
        let staged = of(&[State::Prepared]);
        let resume = format!("failcake rollout resume {}", plan.id);
        let line = Line::Left { why, runs_on: &runs_on, staged: &staged, resume: &resume };
        // Nobody may be there any more to read it.
        let _ = self.tell(why, Some(line));
        if !matches!(self.view, View::Json) {
            if !runs_on.is_empty() {
                self.view.note(&format!("runs on by itself: {}", all(&runs_on)));
            }
            if !staged.is_empty() {
                self.view.note(&format!(
                    "staged, and holding the site until {:.0} and the time of one turn: {}",
                    plan.not_after,
                    all(&staged)
                ));
            }
            self.view.note(&format!("to go on: {resume}"));
        }
        Finish::Failure
    }

    /// Each host by name.
    fn tell(&self, ended: &str, line: Option<Line<'_>>) -> io::Result<()> {
        let rows = table::rows(self.rollout.hosts(), &self.details);
        if !matches!(self.view, View::Json) {
            return table::print(&self.kept.plan, ended, &rows);
        }
        line.iter().for_each(print);
        rows.into_iter().map(Line::Result).for_each(|row| print(&row));
        Ok(())
    }
}

fn all(hosts: &[NodeName]) -> String {
    hosts.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
