//! The operator's side of a deploy or rollback on several hosts: whom it means, what exactly, and seeing it through.
//!
//! Nothing of it is spooled. What is kept (`store`) is what another process needs to go on: the plan, the key that signs
//! its orders, and what nodes said. Nodes never wait for this side in the middle of a turn.

mod draft;
mod interrupt;
mod options;
mod presence;
mod run;
mod said;
mod screen;
mod status;
mod store;
mod table;
mod view;

use std::io::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, Config};
use crate::deploy::Origin;
use crate::deploy::person::find;
use crate::fleet;
use crate::git;
use crate::hear::Ear;
use crate::message::deploy::{Action, HOSTS_MAX, OnFailure, Plan, PlanId};
use crate::name::{NodeName, SiteName};
use crate::process;
use crate::rollout;
use crate::signature::{self, StepError};
use crate::svn;

use interrupt::Interrupts;
use run::Conductor;
use store::{Owed, Store};
use view::{View, count};

pub use options::Options;
pub use run::Finish;
pub use status::{kept, list, status};

/// How long a node may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing was done on any host, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for can't be, or the configuration lacks something.
    #[error("{0}")]
    Config(#[source] config::Error),
    /// REF means nothing.
    #[error("{reference:?} is no tag, no branch and no full commit id of {place}")]
    NoSuchRef {
        /// As it was typed.
        reference: String,
        /// Where it was looked for.
        place: String,
    },
    /// REF means nothing to Subversion.
    #[error("there is no {reference} in {url}")]
    NoSuchLine {
        /// As it was typed.
        reference: String,
        /// The project's.
        url: String,
    },
    /// No broker.
    #[error("no broker was reached, and nothing was sent or kept: {0}")]
    NoBroker(String),
    /// Ctrl-C before the first order.
    #[error("stopped before anything was sent")]
    Interrupted,
    /// A plan of a newer failcake, most likely.
    #[error("plan {id} can't be gone on with by this failcake: {why}")]
    Unknown {
        /// Which.
        id: PlanId,
        /// What is strange about it.
        why: String,
    },
    /// Whom it means.
    #[error(transparent)]
    Fleet(fleet::Error),
    /// The state folder.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Keys.
    #[error(transparent)]
    Signature(#[from] signature::Error),
    /// Keys.
    #[error("can't make a key for the plan: {0}")]
    Key(#[from] StepError),
    /// REF.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// REF.
    #[error(transparent)]
    Svn(#[from] svn::remote::Error),
    /// A user that is not there.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The machine.
    #[error(transparent)]
    Rollout(#[from] rollout::Error),
    /// Out of descriptors or memory; stdout is closed.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<fleet::Error> for Error {
    fn from(error: fleet::Error) -> Error {
        match error {
            fleet::Error::Config(error) => Error::Config(error),
            other => Error::Fleet(other),
        }
    }
}

/// What is asked for.
#[derive(Debug)]
pub enum Wish {
    /// REF goes live.
    Deploy(String),
    /// An earlier release goes live again: of this name or tag, branch or commit, or each host's own last good one.
    Rollback(Option<String>),
}

/// What would be done.
#[derive(Serialize)]
struct DryRun<'a> {
    site: &'a SiteName,
    action: String,
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    takes_over: Option<PlanId>,
    hosts: &'a [NodeName],
    canary: &'a [NodeName],
    batches: &'a [&'a [NodeName]],
}

/// Does it on the hosts that `options` mean, or with `dry_run` says what would be done.
///
/// # Errors
/// See [`Error`]: nothing was done then. What failed on a host is no error.
pub fn begin(
    config: &Config,
    site: &SiteName,
    wish: Wish,
    options: &Options,
    dry_run: bool,
    json: bool,
) -> Result<Finish, Error> {
    let policy = options.policy();
    let machine = options::for_machine(&policy, options.patience, script(config, site)).map_err(unknown_batches)?;
    if matches!(wish, Wish::Rollback(_)) && policy.on_failure == OnFailure::Rollback {
        return Err(usage("--on-failure rollback: a rollback is not taken back; leave it out"));
    }
    let issued = jiff::Timestamp::now();
    let not_after = draft::not_after(issued, options.within())?;
    let mut interrupts = Interrupts::listen()?;
    let (_, origin) = find(config, site).map_err(Error::Config)?;
    // It comes up while git and ssh-keygen work.
    let connection = if dry_run { None } else { Some(run::connect(config)?) };
    let action = match wish {
        Wish::Deploy(reference) => match origin {
            Origin::Git(repo) => draft::resolve(repo, &reference, interrupts.stop())?,
            Origin::Svn(project) => draft::resolve_svn(&project, &reference, interrupts.stop())?,
            Origin::Farm(farm) => draft::resolve_part(config, farm, &reference, interrupts.stop())?,
        },
        Wish::Rollback(to) => Action::Rollback { to },
    };
    let mut view = View::new(json);
    let hosts = expected(config, options, &mut view, &interrupts)?;
    if dry_run {
        say_what_would_be(site, &action, options.take_over, &hosts, &machine, json)?;
        return Ok(Finish::Success);
    }
    let plan = Plan {
        id: PlanId::new(),
        site: site.clone(),
        action,
        hosts,
        policy,
        who: String::new(),
        issued,
        not_after,
        key: String::new(),
        takes_over: options.take_over,
    };
    let (plan, signed, key) = draft::sign(config, plan)?;
    let Some(mut connection) = connection else { return Ok(Finish::Success) };
    run::wait_for_broker(&connection, &mut interrupts)?;
    let store = Store::open(&config.bus.spool)?;
    // Hosts that were away when an earlier plan ended would refuse this one for its sake.
    let mut away = Vec::new();
    for Owed { kept, outcome, mut hosts } in store.owed(site, &plan.hosts, issued)? {
        hosts.retain(|host| !away.contains(host));
        if !hosts.is_empty() {
            let before = Conductor::new(config, connection, kept, machine.clone(), view, &mut interrupts)?;
            let left;
            (left, connection, view) = before.settle(hosts, outcome)?;
            away.extend(left);
        }
    }
    if interrupts.count() > 0 {
        return Err(Error::Interrupted);
    }
    let kept = store.keep(plan, signed, key)?;
    Conductor::new(config, connection, kept, machine, view, &mut interrupts)?.run(&[])
}

/// Goes on with a plan that another process has left, by the same rules. Of one that is over the hosts are told that it is.
///
/// # Errors
/// As [`begin`]; another process has not left it.
pub fn resume(config: &Config, id: PlanId, patience: Option<Duration>, json: bool) -> Result<Finish, Error> {
    let mut interrupts = Interrupts::listen()?;
    let (kept, notes) = Store::open(&config.bus.spool)?.take(id)?;
    let machine = options::for_machine(&kept.plan.policy, patience, script(config, &kept.plan.site));
    let machine = machine.map_err(|error| Error::Unknown { id, why: error.to_string() })?;
    let connection = run::connect(config)?;
    run::wait_for_broker(&connection, &mut interrupts)?;
    let conductor = Conductor::new(config, connection, kept, machine, View::new(json), &mut interrupts)?;
    match store::ended(&notes) {
        Some(outcome) => conductor.say_it_is_over(outcome, &notes),
        None => conductor.run(&notes),
    }
}

/// Every host that is meant: one that is silent will be missed.
fn expected(
    config: &Config,
    options: &Options,
    view: &mut View,
    interrupts: &Interrupts,
) -> Result<Vec<NodeName>, Error> {
    let mut ear = Ear::new(config)?;
    let picked = fleet::pick(options.on.as_deref(), config, &mut ear, interrupts.stop(), PATIENCE)?;
    let hosts = picked.hosts;
    if hosts.len() > HOSTS_MAX {
        let (many, most) = (hosts.len(), HOSTS_MAX);
        return Err(usage(&format!("--on names {many} hosts, and a plan has at most {most}: ask for less at a time")));
    }
    if !picked.is_expected {
        view.note(
            "there is no inventory: only hosts that answered just now are meant, and one that is away is not missed",
        );
    }
    Ok(hosts)
}

/// How long one script of the site may take.
fn script(config: &Config, site: &SiteName) -> Option<Duration> {
    config.sites.get(site).map(|site| site.timeout)
}

fn unknown_batches(error: rollout::NoBatches) -> Error {
    usage(&error.to_string())
}

fn usage(text: &str) -> Error {
    Error::Config(config::Error(text.to_owned()))
}

fn say_what_would_be(
    site: &SiteName,
    action: &Action,
    takes_over: Option<PlanId>,
    hosts: &[NodeName],
    policy: &rollout::Policy,
    json: bool,
) -> io::Result<()> {
    let (canary, mut rest) = hosts.split_at(policy.canary.min(hosts.len()));
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(policy.batches.size(batches.len() + 1, hosts.len()).min(rest.len()));
        batches.push(batch);
        rest = after;
    }
    let commit = match action {
        Action::Deploy { commit, .. } => Some(commit.as_str()),
        Action::DeploySvn { .. } | Action::Rollback { .. } => None,
    };
    let mut stdout = io::stdout().lock();
    if json {
        let would = DryRun { site, action: action.to_string(), commit, takes_over, hosts, canary, batches: &batches };
        return writeln!(stdout, "{}", serde_json::to_string(&would)?);
    }
    let all = |hosts: &[NodeName]| hosts.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    writeln!(stdout, "{site}: would {action} on {}", count(hosts.len(), "host"))?;
    commit.map_or(Ok(()), |commit| writeln!(stdout, "commit: {commit}"))?;
    takes_over.map_or(Ok(()), |plan| writeln!(stdout, "takes over: plan {plan}, where that has the site"))?;
    if !canary.is_empty() {
        let bake =
            if policy.bake.is_zero() { String::new() } else { format!(", watched for {} s", policy.bake.as_secs()) };
        writeln!(stdout, "first: {}{bake}", all(canary))?;
    }
    for (number, batch) in batches.iter().enumerate() {
        writeln!(stdout, "batch {}: {}", number + 1, all(batch))?;
    }
    let then = match policy.on_failure {
        rollout::OnFailure::Stop => "hosts that are done stay",
        rollout::OnFailure::Rollback => "hosts that are done go back",
    };
    writeln!(stdout, "stops when more than {} fail; {then}", policy.max_failures)
}
