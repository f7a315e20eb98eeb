//! A machine that deploys when it is told to over the bus: the node's side of docs/rollouts.md.
//!
//! | room | what it does |
//! |---|---|
//! | `desk` | takes requests, decides, answers: the loop's side |
//! | `rules` | what is refused |
//! | `trust` | whether a plan was signed by who it says, so often a second at most |
//! | `plans` | the plans that were seen, on the disk: each step happens once |
//! | `jobs` | one thing at a time on a site |
//! | `turn` | a step in a process of its own, whatever becomes of that process |
//! | [`child`] | that process |
//! | `voice` | answers, signed |
//! | `census` | answers to questions |
//!
//! The loop never waits: signatures are checked, questions answered and steps carried out beside it. Only what makes a step
//! happen once is written by it, before the step begins and before its answer is told.

mod census;
pub mod child;
mod desk;
mod errand;
mod jobs;
mod limit;
mod plans;
mod rules;
mod trust;
mod turn;
mod unchecked;
mod voice;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::bus::Connection;
use crate::config::{self, Config};
use crate::message::deploy::{Answer, PlanId, Query, Step};
use crate::watch::{self, Ended, Pace, Schedule, Signals, Watch};
use desk::Desk;

pub use plans::Error as PlansError;

/// What brokers know its connection by.
const VERB: &str = "deploy";
/// From the wish to stop to the end: a script is given ten seconds, and what is to be run after it its share.
const GRACE: Duration = Duration::from_secs(40);

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Plans(#[from] plans::Error),
    #[error(transparent)]
    Watch(#[from] watch::Error),
    #[error("can't watch: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Random(#[from] crate::signature::StepError),
}

/// What counts for a node.
#[derive(Debug, Clone)]
pub struct Setup {
    config: Config,
    /// Of `facts-file:`.
    facts: BTreeMap<String, String>,
    /// Since when it watches.
    since: Timestamp,
}

impl Setup {
    /// `since`: when the node was started.
    ///
    /// # Errors
    /// The facts can't be read.
    pub fn new(config: Config, since: Timestamp) -> Result<Setup, config::Error> {
        let facts = config.facts()?;
        Ok(Setup { config, facts, since })
    }
}

/// What runs beside the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// A step of a plan.
    Plan(PlanId),
    /// A check of a signature.
    Check,
    /// An answer to a question.
    Query,
}

/// What it tells.
enum Told {
    Progress(PlanId, Step, String),
    Done(PlanId, Step, Answer),
    Checked(trust::Mark, Result<Result<(), String>, String>),
    Answered(Box<Query>, Answer),
}

type Loop = Watch<Task, (), Told>;

/// Is a node until TERM or INT. `load` reads the configuration again, on HUP. `json`: what is done is told on stdout as JSON.
///
/// # Errors
/// It can't begin, or the broker's URL allows no more tries.
pub fn run(mut setup: Setup, load: impl Fn() -> anyhow::Result<Setup>, json: bool) -> Result<(), Error> {
    let signals = Signals::listen(true)?;
    loop {
        match watch(setup, &signals, &load, json)? {
            Some(next) => setup = next,
            None => return Ok(()),
        }
    }
}

/// Watches with one configuration; gives the next.
fn watch(
    setup: Setup,
    signals: &Signals,
    load: &impl Fn() -> anyhow::Result<Setup>,
    json: bool,
) -> Result<Option<Setup>, Error> {
    let config = &setup.config;
    // No work by the clock: orders are done when they come, or not at all.
    let pace = Pace { workers: 0, gap: Duration::ZERO, reconcile: config.reconcile, splay: Duration::ZERO };
    let schedule = Schedule::new([], pace, (), |(), ()| (), Box::new(watch::random), Instant::now());
    // Not durable: a host that was away does nothing late.
    let requests = watch::subscription(config, VERB, "deploy-requests", false);
    let target = watch::target(config, VERB, false);
    let mut desk = Desk::new(setup, json)?;
    let connection = Connection::open(target, vec![requests])?;
    let mut watch: Loop = Watch::new(connection, signals.clone(), schedule, false)?.with_grace(GRACE);
    let ended = desk.attend(&mut watch, signals.stop(), load);
    watch.close();
    Ok(match ended? {
        Ended::Reload => desk.into_next(),
        Ended::Stopped | Ended::Drained => None,
    })
}
