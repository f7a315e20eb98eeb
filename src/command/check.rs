//! `failcake check`: is all well, and if not, what to do.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Source};

mod access;
mod bus;
mod jenkins;
mod packages;
mod limits;
mod node;
mod place;
pub(crate) mod report;
mod room;
mod topics;

use limits::{Limits, Room};
use report::Measure;

/// Look whether everything that is configured works: a line each, with its remedy.
///
/// Looks at the configuration, each broker (reached, logged in, which one, which protocol), the spool (writable, how
/// many wait, how old), each repository (readable, when it was looked at last, whether a mass removal is held), each site, free
/// space, the Jenkins controller (reached, credential taken) with the builds that wait for it, the package repository with its
/// incoming folder, the source lists of interest, each file of temporary logins, and what deploys over the bus need: who is
/// trusted and allowed, whether the key signs, the facts. Changes nothing. Exits with 1 if a line says FAIL.
///
/// Limits are WARN,FAIL; either may be off, and one word is both.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  failcake check
  failcake check --round-trip --json | jq '.[] | select(.level == \"fail\")'
  failcake check --nagios --look 20m,2h --free 10%,2%      one line for a monitor

Exit status: 0 nothing fails; 1 something does. With --nagios, by the convention of monitors' plugins, and unlike all
else here: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN, nothing could be looked at.")]
pub struct Args {
    /// Also send a beat over each topic that the configuration has this machine use, and wait for it: a missing permission
    /// is silent otherwise. Nobody takes a beat for an event.
    #[arg(long)]
    round_trip: bool,
    /// Print JSON: a list of objects with `level` (ok, warn, fail), `about`, `text`, `remedy` and what was measured.
    #[arg(long)]
    json: bool,
    /// Print one line with status and numbers, as Nagios, Icinga and their like want it.
    #[arg(long, conflicts_with = "json")]
    nagios: bool,
    /// How long the oldest event may wait in the spool, and the oldest build for Jenkins.
    #[arg(long, value_name = "WARN,FAIL", default_value = "5m,1h")]
    oldest: Limits<Duration>,
    /// How long ago the last good look at a repository may be [default: three times `reconcile:`, at least 15m; 1d].
    #[arg(long, value_name = "WARN,FAIL")]
    look: Option<Limits<Duration>>,
    /// How much room there must be, as part or size, on each file system that is written to [default: 5% or 1GiB,
    /// whichever is less; 1% or 100MiB].
    #[arg(long, value_name = "WARN,FAIL")]
    free: Option<Limits<Room>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    /// What a value says that is to stay below the limits.
    fn of<T: PartialOrd>(value: T, limits: &Limits<T>) -> Level {
        let over = |limit: &Option<T>| limit.as_ref().is_some_and(|limit| value > *limit);
        match (over(&limits.fail), over(&limits.warn)) {
            (true, _) => Level::Fail,
            (false, true) => Level::Warn,
            (false, false) => Level::Ok,
        }
    }
}

/// What was seen of one thing.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// `broker`, `repo spog`, ….
    about: String,
    text: String,
    remedy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measures: Vec<Measure>,
}

impl Finding {
    fn ok(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, about: about.into(), text: text.into(), remedy: None, measures: Vec::new() }
    }

    fn warn(about: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, remedy: Some(remedy.into()), ..Finding::ok(about, text) }
    }

    fn fail(about: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Fail, remedy: Some(remedy.into()), ..Finding::ok(about, text) }
    }

    /// The remedy is for what is not well.
    fn at(level: Level, about: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let remedy = (level != Level::Ok).then(|| remedy.into());
        Finding { level, remedy, ..Finding::ok(about, text) }
    }

    fn with(mut self, measure: Measure) -> Finding {
        self.measures.push(measure);
        self
    }
}

/// What this machine is to deploys over the bus, as far as the configuration tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Plans reach it.
    Node,
    /// Plans begin at it.
    Operator,
    /// One of both.
    Either,
    Unknown,
}

impl Role {
    fn of(config: &Config) -> Role {
        // A rule may also be for logins only.
        let is_allowed = config.allow.iter().any(|rule| !rule.sites.is_empty());
        match (is_allowed, !config.inventory.is_empty()) {
            (true, false) => Role::Node,
            (false, true) => Role::Operator,
            (true, true) => Role::Either,
            (false, false) => Role::Unknown,
        }
    }
}

/// Runs it.
///
/// # Errors
/// stdout is closed. Whatever is wrong with the machine is a line.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let (findings, could_look) = look(source, &args);
    let mut stdout = anstream::stdout().lock();
    if args.nagios {
        let (line, status) = report::monitor(&findings, could_look);
        writeln!(stdout, "{line}")?;
        return Ok(status.into());
    }
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        report::lines(&mut stdout, &findings)?;
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was found; and whether the configuration said what to look at.
fn look(source: &Source, args: &Args) -> (Vec<Finding>, bool) {
    match source.load() {
        Ok(config) => (look_at_all(&config, args), true),
        // An emitter may still work then, so what it needs is looked at all the same.
        Err(error) => {
            let mut findings =
                vec![Finding::fail("config", error.0, "correct it there, then run failcake check again")];
            let bus = source.bus();
            if let Ok(bus) = &bus {
                findings.extend(bus::brokers(bus, args.round_trip.then(|| topics::of_a_hook(bus))));
                findings.extend(bus::spool(bus, &args.oldest));
            }
            (findings, bus.is_ok())
        }
    }
}

fn look_at_all(config: &Config, args: &Args) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        config.files.iter().map(|file| Finding::ok("config", file.display().to_string())).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("config", "no file: the defaults count"));
    }
    let looks = args.look.unwrap_or_else(|| place::looks(config.reconcile));
    findings.extend(bus::brokers(&config.bus, args.round_trip.then(|| topics::uses(config))));
    findings.extend(bus::spool(&config.bus, &args.oldest));
    findings.extend(config.repos.values().flat_map(|repo| place::repo(repo, &looks, Role::of(config))));
    findings.extend(config.svn.values().flat_map(place::svn));
    findings.extend(config.sites.values().flat_map(|site| place::site(site, Role::of(config))));
    findings.extend(room::free(config, args.free.unwrap_or(limits::ROOM)));
    findings.extend(node::node(config));
    findings.extend(jenkins::controller(&config.jenkins));
    findings.extend(packages::repository(&config.packages));
    findings.extend(packages::interest(&config.packages));
    findings.extend(access::all(config));
    findings.extend(jenkins::builds(config, &args.oldest));
    findings
}
