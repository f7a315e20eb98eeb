//! What becomes of an order whose signatures are good.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Desk;
use crate::bus::Connection;
use crate::message::deploy::{Action, Answer, Code, Order, Outcome, Plan, PlanId, Signed, Step};
use crate::node::errand::about;
use crate::node::jobs::Job;
use crate::node::plans::{self, Known};
use crate::node::rules::{self, Next, Refusal, refuse};
use crate::node::turn;

impl Desk {
    /// An order whose signatures are good. `signed`: of a plan that is new.
    pub(super) fn decide(
        &mut self,
        plan: Plan,
        signed: Option<Signed>,
        order: &Order,
        known: Option<Known>,
        connection: &Connection,
    ) -> Result<(), Refusal> {
        let (now, time) = (Instant::now(), Timestamp::now());
        let step = order.step;
        let config = &self.setup.clone().config;
        rules::names(&plan, &config.node)?;
        rules::allowed(&plan, step, &config.allow, &config.node)?;
        match (&known, rules::in_time(order, time)) {
            // A clock that stepped must not keep it from being told that it is over.
            (Some(known), _) if known.has_site(time) && rules::is_due(step, known) => {}
            // Sent again by somebody, perhaps, to make this node say no in the middle of it. It is a question, no more.
            (Some(known), Err(refusal)) if refusal.code == Code::Expired => {
                if known.taken(step).is_none() {
                    self.problem(&format!("{step} of plan {} is not done: {}", plan.id, refusal.why), connection);
                }
                let (step, answer) = known.stands();
                self.answer_again(plan.id, step, answer, connection, now);
                return Ok(());
            }
            (_, timely) => timely?,
        }
        if let Some(known) = &known {
            let answer = match known.taken(step) {
                Some(_) if step == Step::Prepare => Some(known.stands()),
                Some(taken) => Some((step, taken.answer.clone().unwrap_or(Answer::Accepted))),
                None => None,
            };
            if let Some((step, answer)) = answer {
                self.answer_again(plan.id, step, answer, connection, now);
                return Ok(());
            }
        }
        if self.jobs.find(plan.id, step).is_some() {
            // It waits for another step.
            self.reply(plan.id, Some(step), Answer::Accepted, "waits for its turn", connection);
            return Ok(());
        }
        // What is refused from here on is so for good, however often it is asked for: the plan is remembered.
        let ahead = rules::timely("the plan", plan.issued, plan.not_after, time);
        if let (None, Err(refusal)) = (&known, &ahead)
            && refusal.code == Code::Expired
        {
            // It can't come to life again.
            return ahead;
        }
        let turn = rules::source(&plan, config).as_ref().map_or(Duration::ZERO, turn::limit);
        let is_new = known.is_none();
        let known = match (known, signed) {
            (Some(known), _) => known,
            (None, Some(signed)) => match self.plans.meet(plan.clone(), signed, turn, time, now) {
                Ok(known) => known,
                Err(error) => return refuse(Code::NotPossible, error.to_string()),
            },
            (None, None) => return refuse(Code::UnknownPlan, "this node knows no such plan"),
        };
        match self.fits(&plan, step, (!is_new).then_some(&known), time) {
            Ok(Next::Begin) => {}
            Ok(Next::Stands) => {
                let (step, answer) = known.stands();
                self.answer_again(plan.id, step, answer, connection, now);
                return Ok(());
            }
            Err(refusal) if is_new => {
                let answer = Answer::Refused { code: refusal.code, why: refusal.why.clone() };
                let kept = self.plans.begin(known, step, order.canary, Some(answer), time);
                return kept.map_err(|error| not_possible(&error)).and(Err(refusal));
            }
            Err(refusal) => return Err(refusal),
        }
        if step == Step::Verdict && order.outcome == Some(Outcome::RolledBack) && rules::owes_rollback(&known) {
            return self.go_back_and_end(known, order, connection, now, time);
        }
        self.accept(known, order, connection, now, time)
    }

    /// This host was silent when the others went back: it does so now. That is written down before the verdict, which
    /// ends the plan.
    fn go_back_and_end(
        &mut self,
        known: Known,
        order: &Order,
        connection: &Connection,
        now: Instant,
        time: Timestamp,
    ) -> Result<(), Refusal> {
        self.plans
            .begin(known.clone(), Step::Rollback, order.canary, None, time)
            .map_err(|error| not_possible(&error))?;
        let back = Order { step: Step::Rollback, ..order.clone() };
        self.accept(known, &back, connection, now, time)?;
        match self.plans.get(order.plan) {
            Some(Ok(known)) => self.accept(known, order, connection, now, time),
            _ => Ok(()),
        }
    }

    /// Is the site there and free, and is it the time for the step?
    pub(super) fn fits(
        &self,
        plan: &Plan,
        step: Step,
        known: Option<&Known>,
        time: Timestamp,
    ) -> Result<Next, Refusal> {
        if matches!(step, Step::Abort | Step::Verdict) {
            // What ends needs nothing but to be in order.
            return rules::in_order(step, known);
        }
        rules::begins(plan, step, time)?;
        rules::source(plan, &self.setup.config)?;
        if let Some(holder) = self.plans.holder(&plan.site, time).filter(|holder| holder.plan.id != plan.id) {
            return Err(rules::busy(&plan.site, holder));
        }
        match self.jobs.on(&plan.site).filter(|job| job.plan != plan.id) {
            Some(job) => {
                refuse(Code::Busy, format!("{} of plan {} is still under way on {}", job.step, job.plan, plan.site))
            }
            None => rules::in_order(step, known),
        }
    }

    /// It is to be done.
    pub(super) fn accept(
        &mut self,
        known: Known,
        order: &Order,
        connection: &Connection,
        now: Instant,
        time: Timestamp,
    ) -> Result<(), Refusal> {
        let (id, step) = (order.plan, order.step);
        let is_here = self.setup.config.sites.contains_key(&known.plan.site);
        let preparing = self.jobs.find(id, Step::Prepare);
        let ends = matches!(step, Step::Abort | Step::Verdict);
        let stands_ready = known.prepared().is_some_and(|release| !release.is_empty())
            && !matches!(known.plan.action, Action::Rollback { .. })
            && is_here
            && match known.taken(Step::Switch) {
                None => true,
                // A turn that ended early may have left it.
                Some(taken) => !matches!(taken.answer, None | Some(Answer::Live { .. })),
            };
        if let Some(job) = preparing.filter(|_| ends) {
            job.stop.set();
        } else if ends && !stands_ready {
            // There is nothing to be done.
            let answer = if step == Step::Abort { Answer::Aborted } else { Answer::Noted };
            let plan = known.plan.clone();
            self.plans
                .begin(known, step, order.canary, Some(answer.clone()), time)
                .map_err(|error| not_possible(&error))?;
            self.tell(&plan, step, &answer, connection);
            return Ok(());
        }
        let job = Job::new(id, known.plan.site.clone(), (step, order.canary), false, now);
        let job = job.map_err(|error| Refusal { code: Code::NotPossible, why: error.to_string() })?;
        if self.plans.get(id).is_none() {
            // It is known from here on, so that whatever comes next finds it.
            self.plans.begin(known.clone(), step, order.canary, None, time).map_err(|error| not_possible(&error))?;
        }
        self.jobs.add(job);
        self.reply(id, Some(step), Answer::Accepted, &format!("accepted {step} of {}", about(&known.plan)), connection);
        Ok(())
    }

    /// What came of a step, once more.
    fn answer_again(&mut self, id: PlanId, step: Step, answer: Answer, connection: &Connection, now: Instant) {
        if !self.repeated.take(now) {
            return self.pass_over(connection, now);
        }
        self.reply(id, Some(step), answer, &format!("says again what came of {step}"), connection);
    }
}

fn not_possible(error: &plans::Error) -> Refusal {
    Refusal { code: Code::NotPossible, why: error.to_string() }
}
