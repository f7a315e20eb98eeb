//! Where requests are taken, decided and answered.

mod deciding;
mod doing;
mod saying;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::jobs::{Job, Jobs};
use super::limit::Allowance;
use super::plans::{Known, Plans};
use super::rules::{self, Refusal, refuse};
use super::trust::{self, Mark, Trust};
use super::unchecked::{Unchecked, Waiting};
use super::voice::Voice;
use super::{Error, Loop, Setup, Task, Told};
use crate::bus::{Connection, Message};
use crate::config::DEFAULT_SPOOL;
use crate::message::deploy::{
    Answer, Code, Document as _, Order, Plan, PlanId, Query, Request, Signed, Step, Subject, fingerprint,
};
use crate::message::{self, Envelope};
use crate::process::{self, Stop};
use crate::signature::verify_step;
use crate::spool::Limits;
use crate::watch::{self, Ended, Teller, say};

/// Questions that are answered at a time, and that wait for it.
const QUERIES: (usize, usize) = (4, 32);
/// Questions a second, in the long run and at once.
const ASKED: (u32, u32) = (20, 60);
/// Repeated answers a second, in the long run and at once.
const REPEATED: (u32, u32) = (20, 100);
/// Refusals a second, in the long run and at once. Apart from the answers to orders that are good, so that a flood of bad
/// ones silences nobody.
const REFUSED: (u32, u32) = (20, 100);
/// Problems that are told a second, in the long run and at once: whoever sends requests decides how many there are.
const PROBLEMS: (u32, u32) = (1, 10);

/// What a refusal is about.
struct Asked {
    plan: PlanId,
    step: Option<Step>,
    /// Of the message.
    fingerprint: String,
}

/// An order that names this node, as it came.
struct Arrived {
    signed: Option<Signed>,
    text: Signed,
    order: Order,
    fingerprint: String,
}

impl Asked {
    fn to(order: &Order, fingerprint: String) -> Asked {
        Asked { plan: order.plan, step: Some(order.step), fingerprint }
    }
}

pub(super) struct Desk {
    setup: Arc<Setup>,
    next: Option<Setup>,
    json: bool,
    plans: Plans,
    jobs: Jobs,
    trust: Trust,
    unchecked: Waiting,
    checking: bool,
    voice: Voice,
    teller: Teller,
    /// The broker is there.
    is_heard: bool,
    /// What ended while it was not.
    unheard: VecDeque<(PlanId, Step)>,
    queries: VecDeque<Query>,
    answering: usize,
    asked: Allowance,
    repeated: Allowance,
    refused: Allowance,
    problems: Allowance,
    /// Problems that were not told.
    untold: u64,
    /// Requests that were passed over, and when that was told last.
    passed_over: u64,
    overload_told: Option<Instant>,
}

impl Desk {
    pub(super) fn new(setup: Setup, json: bool) -> Result<Desk, Error> {
        let (now, time) = (Instant::now(), Timestamp::now());
        let config = &setup.config;
        let spool = &config.bus.spool;
        let limits = Limits { count: spool.max_count, bytes: spool.max_bytes };
        let (plans, problems) = Plans::open(&spool.parent, limits, time, now)?;
        problems.iter().for_each(|problem| complain(&format!("problem: {problem}")));
        if spool.parent != Path::new(DEFAULT_SPOOL) && !plans.folder().starts_with(&spool.parent) {
            let (meant, used) = (spool.parent.display(), plans.folder().display());
            complain(&format!(
                "{meant} (`spool:`) is not there: plans are remembered in {used}, and forgotten as soon as it is; \
                 `failcake check` says how to make it"
            ));
        }
        let replies = config.bus.topics.get("deploy-replies");
        let mut voice = Voice::new(config.node.clone(), replies, config.signing.key.clone())?;
        if config.signing.key.is_none() {
            complain(
                "no `signing: key:` is configured: what this node answers is not signed, and operators may not believe it",
            );
        } else if let Err(why) = voice.refresh(time, now) {
            complain(&format!("problem: answers can't be signed: {why}"));
        }
        let allowance = |(per_second, most)| Allowance::new(per_second, most, now);
        let mut desk = Desk {
            next: None,
            json,
            plans,
            jobs: Jobs::default(),
            trust: Trust::new(config.signing.allowed_signers.as_deref(), now),
            unchecked: Waiting::default(),
            checking: false,
            voice,
            teller: Teller::new(config, "events-deploys"),
            is_heard: false,
            unheard: VecDeque::new(),
            queries: VecDeque::new(),
            answering: 0,
            asked: allowance(ASKED),
            repeated: allowance(REPEATED),
            refused: allowance(REFUSED),
            problems: allowance(PROBLEMS),
            untold: 0,
            passed_over: 0,
            overload_told: None,
            setup: Arc::new(setup),
        };
        for (id, step) in desk.plans.unfinished() {
            let Some(Ok(known)) = desk.plans.get(id) else { continue };
            let canary = known.taken(step).is_some_and(|taken| taken.canary);
            desk.jobs.add(Job::new(id, known.plan.site, (step, canary), true, now)?);
        }
        Ok(desk)
    }

    /// The configuration to start over with.
    pub(super) fn into_next(self) -> Option<Setup> {
        self.next
    }

    /// Does what comes, until it is to end.
    pub(super) fn attend(
        &mut self,
        watch: &mut Loop,
        stop: &Stop,
        load: &impl Fn() -> anyhow::Result<Setup>,
    ) -> Result<Ended, watch::Error> {
        loop {
            let now = Instant::now();
            if !stop.is_set() {
                self.begin_checks(watch, now);
                self.begin_answers(watch);
                self.begin_jobs(watch);
            }
            self.beat(watch.connection(), now);
            if self.next.is_some() && self.is_idle() {
                watch.reload(true);
            }
            match watch.step_until(self.alarm(now))? {
                None if stop.is_set() => self.jobs.stop_all(),
                None => {}
                Some(watch::Step::Ended(ended)) => return Ok(ended),
                Some(watch::Step::Message(message)) => self.hear(&message, watch.connection()),
                Some(watch::Step::Report(_, told)) => self.told(told, watch.connection()),
                Some(watch::Step::Connected(peer)) => {
                    self.teller.connected(&peer);
                    self.is_heard = true;
                    process::let_go_of_code();
                    self.say_all_again(watch.connection());
                }
                Some(watch::Step::Lost { cause, retry_in }) => {
                    self.is_heard = false;
                    self.teller.lost(&cause, retry_in);
                }
                Some(watch::Step::Reload) => {
                    let loaded = load();
                    self.teller.reloaded(&loaded, watch.connection());
                    if let Ok(setup) = loaded {
                        if setup.config.node == self.setup.config.node {
                            // What is allowed counts from now on; the rest when the steps under way have ended.
                            self.setup = Arc::new(setup.clone());
                        }
                        self.next = Some(setup);
                    }
                    watch.reload(false);
                }
                // Nothing is done by the clock.
                Some(watch::Step::Begin(..)) => {}
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.answering == 0 && self.queries.is_empty() && self.unchecked.is_empty()
    }

    fn alarm(&mut self, now: Instant) -> Option<Instant> {
        let check = (!self.checking && !self.unchecked.is_empty()).then(|| self.trust.next_check(now));
        self.jobs.next_beat().into_iter().chain(check).min()
    }

    // What comes.

    fn hear(&mut self, message: &Message, connection: &Connection) {
        let now = Instant::now();
        let frame = &message.frame;
        let request = match Envelope::read(&frame.headers, &frame.body) {
            Ok(None) => return,
            Ok(Some(envelope)) => Request::parse(&envelope),
            Err(error) => Err(error),
        };
        match request {
            Ok(Request::Query(query)) => self.ask(query, connection, now),
            Ok(Request::Order { plan, order }) => match Order::from_text(&order.document) {
                Ok(read) if !read.hosts.contains(&self.setup.config.node) => {}
                Ok(read) => {
                    let fingerprint = fingerprint(&frame.body);
                    self.consider(Arrived { signed: plan, text: order, order: read, fingerprint }, connection, now);
                }
                Err(error) => self.not_understood(message, &error, connection, now),
            },
            Err(error) => self.not_understood(message, &error, connection, now),
        }
    }

    /// Another version is answered, where it can be told what it is about; nonsense is not.
    fn not_understood(&mut self, message: &Message, error: &message::Error, connection: &Connection, now: Instant) {
        let about = message.frame.header("subject").and_then(|subject| subject.parse::<PlanId>().ok());
        let (message::Error::Version(_), Some(about)) = (error, about) else {
            return self.teller.malformed(message, &error.to_string(), connection);
        };
        let refusal = Refusal { code: Code::UnknownVersion, why: error.to_string() };
        let asked = Asked { plan: about, step: None, fingerprint: fingerprint(&message.frame.body) };
        self.refuse(asked, refusal, connection, now);
    }

    fn ask(&mut self, query: Query, connection: &Connection, now: Instant) {
        if !query.hosts.is_empty() && !query.hosts.contains(&self.setup.config.node) {
            return;
        }
        if !self.asked.take(now) || self.queries.len() >= QUERIES.1 {
            return self.pass_over(connection, now);
        }
        if let Subject::Plan { plan } = query.subject {
            let (step, answer) = self.how_far(plan);
            return self.reply(query.id, step, answer, "says how far it came", connection);
        }
        self.queries.push_back(query);
    }

    /// How this host stands in a plan.
    fn how_far(&self, plan: PlanId) -> (Option<Step>, Answer) {
        match self.plans.get(plan) {
            None => (None, Answer::UnknownPlan),
            Some(Err(why)) => (None, Answer::Refused { code: Code::NotPossible, why }),
            Some(Ok(known)) => {
                let (step, answer) = known.stands();
                (Some(step), answer)
            }
        }
    }

    fn consider(&mut self, arrived: Arrived, connection: &Connection, now: Instant) {
        let id = arrived.order.plan;
        let asked = Asked::to(&arrived.order, arrived.fingerprint.clone());
        let known = match self.plans.get(id) {
            Some(Err(why)) => {
                return self.refuse(asked, Refusal { code: Code::NotPossible, why }, connection, now);
            }
            Some(Ok(known)) => Some(known),
            None => None,
        };
        let decided = match known {
            Some(known) => same_plan(&known, arrived.signed.as_ref())
                .and_then(|()| by_plan(&arrived.text, &known.plan))
                .map(|()| self.decide(known.plan.clone(), None, &arrived.order, Some(known), connection)),
            None => match self.unchecked(self.with_plan(arrived)) {
                Ok(unchecked) => match self.trust.known(&unchecked.mark, now) {
                    Some(Ok(())) => {
                        let Unchecked { plan, signed, order, .. } = unchecked;
                        Ok(self.decide(plan, Some(signed), &order, None, connection))
                    }
                    Some(Err(why)) => refuse(Code::BadSignature, why),
                    None => return self.put_off(unchecked, connection, now),
                },
                Err(refusal) => Err(refusal),
            },
        };
        if let Err(refusal) = decided.flatten() {
            self.refuse(asked, refusal, connection, now);
        }
    }

    /// An order may come while the signature of its plan, which came with the one before, is still being checked.
    fn with_plan(&self, arrived: Arrived) -> Arrived {
        let before = || self.unchecked.plan(arrived.order.plan).cloned();
        Arrived { signed: arrived.signed.clone().or_else(before), ..arrived }
    }

    /// What can be told of a new plan without ssh-keygen, which is kept for plans that could be done.
    fn unchecked(&mut self, arrived: Arrived) -> Result<Unchecked, Refusal> {
        let Arrived { signed, text, order, fingerprint } = arrived;
        let Some(signed) = signed else {
            return refuse(Code::UnknownPlan, "this node knows no such plan, and none came with the order");
        };
        let plan = Plan::from_text(&signed.document).map_err(|error| {
            let version = matches!(error, message::Error::Version(_));
            let code = if version { Code::UnknownVersion } else { Code::BadSignature };
            Refusal { code, why: format!("the plan can't be read: {error}") }
        })?;
        let config = &self.setup.config;
        rules::belongs(&order, &plan)?;
        rules::names(&plan, &config.node)?;
        let who = rules::sound(&plan)?;
        by_plan(&text, &plan)?;
        rules::allowed(&plan, order.step, &config.allow, &config.node)?;
        rules::in_time(&order, Timestamp::now())?;
        let mark = Trust::mark(&signed, &who);
        let looks_good = self.trust.looks_good(&signed, &who);
        Ok(Unchecked { plan, signed, order, who, mark, fingerprint, looks_good })
    }

    /// Its signature is checked when it is its turn.
    fn put_off(&mut self, unchecked: Unchecked, connection: &Connection, now: Instant) {
        if self.unchecked.push(unchecked).is_err() {
            self.pass_over(connection, now);
        }
    }

    fn begin_checks(&mut self, watch: &mut Loop, now: Instant) {
        let Some(first) = self.unchecked.first().filter(|_| !self.checking) else { return };
        if !self.trust.may_check(now) {
            return;
        }
        let (signed, who, mark) = (first.signed.clone(), first.who.clone(), first.mark);
        let allowed_signers = self.trust.allowed_signers();
        let begun = watch.errand(Task::Check, move |reporter| {
            let found = trust::check(&signed, &who, allowed_signers.as_deref());
            reporter.tell(Told::Checked(mark, found.map_err(|trust::Blind(why)| why)));
        });
        // Without a thread it waits; whoever sent it says it again.
        self.checking = begun.is_ok();
    }

    fn checked(&mut self, mark: Mark, found: Result<Result<(), String>, String>, connection: &Connection) {
        let now = Instant::now();
        self.checking = false;
        if let Ok(result) = &found {
            self.trust.remember(mark, result.clone(), now);
        }
        for Unchecked { plan, signed, order, fingerprint, .. } in self.unchecked.take(mark) {
            let id = order.plan;
            let decided = match &found {
                // It may have become known meanwhile.
                Ok(Ok(())) => match self.plans.get(id) {
                    Some(Ok(known)) => same_plan(&known, Some(&signed))
                        .and_then(|()| self.decide(known.plan.clone(), None, &order, Some(known), connection)),
                    Some(Err(why)) => refuse(Code::NotPossible, why),
                    None => self.decide(plan, Some(signed), &order, None, connection),
                },
                Ok(Err(why)) => refuse(Code::BadSignature, why.clone()),
                Err(why) => refuse(Code::NotPossible, format!("this node can't check signatures: {why}")),
            };
            if let Err(refusal) = decided {
                self.refuse(Asked::to(&order, fingerprint), refusal, connection, now);
            }
        }
    }
}

/// Is the plan that came with an order the one that is known by its name?
fn same_plan(known: &Known, signed: Option<&Signed>) -> Result<(), Refusal> {
    match signed {
        Some(signed) if signed.document != known.document() => {
            refuse(Code::BadSignature, "this node knows another plan with that id")
        }
        _ => Ok(()),
    }
}

/// Was the order signed with the plan's key?
fn by_plan(order: &Signed, plan: &Plan) -> Result<(), Refusal> {
    verify_step(&plan.key, order.document.as_bytes(), &order.signature).map_err(|error| Refusal {
        code: Code::BadSignature,
        why: format!("the order is not signed with the plan's key: {error}"),
    })
}

fn complain(line: &str) {
    say(&mut std::io::stderr(), &format!("failcake: {line}"));
}
