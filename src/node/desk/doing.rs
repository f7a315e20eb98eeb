//! Steps and answers that run beside the loop: begun, heard of, ended.

use std::time::Instant;

use jiff::Timestamp;

use super::{Desk, QUERIES};
use crate::bus::Connection;
use crate::message::deploy::{Answer, Code, PlanId, Step};
use crate::node::census::{self, Holders};
use crate::node::errand::{Errand, Work};
use crate::node::jobs::Lines;
use crate::node::{Loop, Task, Told, rules, turn};
use crate::process;

impl Desk {
    pub(super) fn begin_jobs(&mut self, watch: &mut Loop) {
        let now = Instant::now();
        while let Some(job) = self.jobs.begin(now) {
            let (id, step, canary, killed, stop) = (job.plan, job.step, job.canary, job.killed, job.stop.clone());
            let answer = match self.prepare_job(id, step, canary, killed) {
                Ok(errand) => {
                    let begun = watch.errand(Task::Plan(id), move |reporter| {
                        // Cut down here: what a script says must not pile up before the loop.
                        let mut lines = Lines::new(Instant::now());
                        let mut tell = |text| {
                            if let Some(text) = lines.pass(text, Instant::now()) {
                                reporter.tell(Told::Progress(id, step, text));
                            }
                        };
                        let answer = turn::carry_out(&errand, step, killed, &stop, &mut tell);
                        reporter.tell(Told::Done(id, step, answer));
                    });
                    match begun {
                        Ok(()) => continue,
                        Err(error) => turn::no_thread(&error),
                    }
                }
                Err(answer) => answer,
            };
            self.done(id, step, answer, watch.connection());
        }
    }

    /// Writes down that a step begins. From here on it happened, even if this node is killed in the next moment.
    pub(super) fn prepare_job(&mut self, id: PlanId, step: Step, canary: bool, killed: bool) -> Result<Errand, Answer> {
        let no = |why: String| Answer::Refused { code: Code::NotPossible, why };
        let known = match self.plans.get(id) {
            Some(Ok(known)) => known,
            Some(Err(why)) => return Err(no(why)),
            None => return Err(no("the plan is not known any more".to_owned())),
        };
        if !killed && known.taken(step).is_none() {
            self.plans
                .begin(known.clone(), step, canary, None, Timestamp::now())
                .map_err(|error| no(error.to_string()))?;
        }
        let config = &self.setup.config;
        let source = rules::source(&known.plan, config);
        let source =
            source.map_err(|refusal| turn::failed("begin", format!("since the last step: {}", refusal.why)))?;
        let release = |name: Option<&str>| name.and_then(|name| name.parse().ok());
        let previous = match known.answer(Step::Switch) {
            Some(Answer::Live { previous, .. }) => previous.as_deref(),
            _ => None,
        };
        Ok(Errand {
            work: match step {
                Step::Prepare => Work::Prepare,
                Step::Switch => Work::Switch,
                Step::Abort | Step::Verdict => Work::Drop,
                Step::Rollback if known.went_live() == Some(false) => Work::Drop,
                Step::Rollback => Work::TakeBack,
            },
            site: source.site.clone(),
            svn: source.svn.cloned(),
            repos: config.repos.clone(),
            limit: turn::limit(&source),
            host: config.node.clone(),
            plan: id,
            who: known.plan.who.clone(),
            action: known.plan.action.clone(),
            canary,
            until: known.until(),
            prepared: release(known.prepared()),
            previous: release(previous),
        })
    }

    pub(super) fn told(&mut self, told: Told, connection: &Connection) {
        let now = Instant::now();
        match told {
            Told::Progress(id, step, text) => {
                if let Some(job) = self.jobs.find(id, step) {
                    job.is_said(now);
                    self.reply(id, Some(step), Answer::Progress { text: text.clone() }, &text, connection);
                }
            }
            Told::Done(id, step, answer) => self.done(id, step, answer, connection),
            Told::Checked(mark, found) => self.checked(mark, found, connection),
            Told::Answered(query, answer) => {
                self.answering -= 1;
                self.reply(query.id, None, answer, "answers", connection);
            }
        }
    }

    /// A step has ended: remembered, then told.
    pub(super) fn done(&mut self, id: PlanId, step: Step, answer: Answer, connection: &Connection) {
        let known = self.plans.get(id).and_then(Result::ok);
        let is_begun = known.as_ref().is_some_and(|known| known.taken(step).is_some());
        let answer = match (step, answer) {
            // It was dropped, or will be when its time is over: the plan has ended either way.
            (Step::Verdict, Answer::Failed { why, .. }) => {
                self.problem(&format!("what was prepared for plan {id} could not be dropped: {why}"), connection);
                Answer::Noted
            }
            // It could not be written down: it has to be said again.
            (Step::Verdict, refused @ Answer::Refused { .. }) if !is_begun => refused,
            (Step::Verdict, _) => Answer::Noted,
            (_, answer) => answer,
        };
        if let Err(error) = self.plans.answer(id, step, answer.clone(), Timestamp::now()) {
            self.problem(&format!("what came of {step} of plan {id} could not be written down: {error}"), connection);
        }
        self.jobs.end(id, step);
        match known.map(|known| (known.lost(), known.plan)) {
            // People were told when it was taken over, and have the site's new plan to look at.
            Some((Some(lost), plan)) => {
                if let (Step::Abort, Answer::Failed { why, .. }) = (step, &answer) {
                    let why = format!("what was prepared for plan {} could not be dropped: {why}", plan.id);
                    self.problem(&why, connection);
                }
                self.reply(id, Some(step), lost, &format!("says again that plan {id} was taken over"), connection);
            }
            Some((None, plan)) => self.tell(&plan, step, &answer, connection),
            None => {}
        }
        process::let_go_of_code();
    }

    pub(super) fn beat(&mut self, connection: &Connection, now: Instant) {
        for (id, step) in self.jobs.silent(now) {
            self.reply(id, Some(step), Answer::Progress { text: String::new() }, "goes on", connection);
        }
    }

    pub(super) fn begin_answers(&mut self, watch: &mut Loop) {
        while self.answering < QUERIES.0
            && let Some(query) = self.queries.pop_front()
        {
            let holders: Holders =
                self.plans.live(Timestamp::now()).map(|known| (known.plan.site.clone(), known.plan.id)).collect();
            let setup = self.setup.clone();
            let begun = watch.errand(Task::Query, move |reporter| {
                let answer = census::answer(&query.subject, &setup, &holders);
                reporter.tell(Told::Answered(Box::new(query), answer));
            });
            match begun {
                Ok(()) => self.answering += 1,
                Err(error) => return self.problem(&format!("a question is not answered: {error}"), watch.connection()),
            }
        }
    }
}
