//! What becomes of an order whose signatures are good.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Desk;
use crate::bus::Connection;
use crate::message::deploy::{Answer, Code, Order, Outcome, Plan, PlanId, Signed, Step};
use crate::node::errand::about;
use crate::node::jobs::Job;
use crate::node::plans::{self, Known, TakenOver};
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
        if let Some(answer) = known.as_ref().and_then(Known::lost) {
            self.answer_again(plan.id, step, answer, connection, now);
            return Ok(());
        }
        if let Some(known) = &known {
            // Its turn stands in line behind those of other sites: too late to be called off, as if it were under way.
            let is_in_line = known.taken(Step::Switch).is_none() && self.jobs.find(plan.id, Step::Switch).is_some();
            let answer = match known.taken(step) {
                _ if is_in_line && matches!(step, Step::Prepare | Step::Abort) => {
                    Some((Step::Switch, Answer::Accepted))
                }
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
        let fits = self.fits(&plan, step, (!is_new).then_some(&known), time);
        let fits = match (fits, step) {
            (Ok(Next::Begin), Step::Prepare) => self.take_over(&plan, connection, now, time).map(|()| Next::Begin),
            (fits, _) => fits,
        };
        match fits {
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
        let is_meant = |id: PlanId| id == plan.id || plan.takes_over == Some(id);
        if let Some(holder) = self.plans.holder(&plan.site, time).filter(|holder| !is_meant(holder.plan.id)) {
            return Err(rules::busy(&plan.site, holder));
        }
        match rules::in_the_way(plan, self.jobs.on(&plan.site).map(|job| (job.plan, job.step))) {
            Some(refusal) => Err(refusal),
            None => rules::in_order(step, known),
        }
    }

    /// Ends the plan that the new one says it takes the site over from, if that has it here: like an abort before its turn,
    /// like its verdict after it. Written down before the new plan is: killed between the two, the site is nobody's, what was
    /// staged is dropped at the next start, and the new plan's order, which is said again, finds it free.
    fn take_over(
        &mut self,
        plan: &Plan,
        connection: &Connection,
        now: Instant,
        time: Timestamp,
    ) -> Result<(), Refusal> {
        let holder = self.plans.holder(&plan.site, time).filter(|holder| plan.takes_over == Some(holder.plan.id));
        let Some(before) = holder.cloned() else { return Ok(()) };
        let id = before.plan.id;
        let ends = [Step::Abort, Step::Verdict];
        if ends.into_iter().any(|step| self.jobs.find(id, step).is_some()) {
            // Its own operator was quicker.
            return Ok(());
        }
        let had_turn = [Step::Switch, Step::Rollback].into_iter().any(|step| before.taken(step).is_some());
        let (step, answer) = if had_turn { (Step::Verdict, Answer::Noted) } else { (Step::Abort, Answer::Aborted) };
        let is_preparing = self.jobs.find(id, Step::Prepare).is_some();
        let has_work = is_preparing || before.may_be_staged();
        let job = has_work.then(|| Job::new(id, plan.site.clone(), (step, false), false, now)).transpose();
        let job = job.map_err(|error| Refusal { code: Code::NotPossible, why: error.to_string() })?;
        let to = TakenOver { by: plan.id, who: plan.who.clone(), at: time };
        let answer = (!has_work).then_some(answer);
        self.plans.hand_over(id, step, answer, to, time).map_err(|error| not_possible(&error))?;
        if let Some(preparing) = self.jobs.find(id, Step::Prepare) {
            preparing.stop.set();
        }
        if let Some(job) = job {
            self.jobs.add(job);
        }
        // Whoever conducts it after all hears it from here, without asking.
        if let Some(lost) = self.plans.get(id).and_then(Result::ok).and_then(|known| known.lost()) {
            self.tell(&before.plan, step, &lost, connection);
        }
        Ok(())
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
        if let Some(job) = preparing.filter(|_| ends) {
            job.stop.set();
        } else if ends && !(is_here && known.may_be_staged()) {
            // There is nothing to be done.
            let answer = if step == Step::Abort { Answer::Aborted } else { Answer::Noted };
            let (plan, had_site) = (known.plan.clone(), known.has_site(time));
            let kept = self.plans.begin(known, step, order.canary, Some(answer.clone()), time);
            // Of what a full disk holds, the next start of this node would hold the site again: it has to be said again.
            kept.or_else(|error| if had_site { Err(not_possible(&error)) } else { Ok(()) })?;
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
