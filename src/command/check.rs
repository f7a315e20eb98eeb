//! `failcake check`: is all well, and if not, what to do.

use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::config::Source;

mod access;
mod bus;
mod jenkins;
mod packages;
mod place;

/// Look whether everything that is configured works: a line each, with its remedy.
///
/// Looks at the configuration, each broker (reached, logged in, which one, which protocol), the spool (writable, how
/// many wait, how old), each repository, each site, the Jenkins controller (reached, credential taken), the package repository with its
/// incoming folder, the source lists of interest, and each file of temporary logins. Changes nothing. Exits with 1 if a line says FAIL.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  failcake check\n  failcake check --round-trip --json | jq '.[] | select(.level == \"fail\")'"
)]
pub struct Args {
    /// Also send a message over the broker to ourselves.
    #[arg(long)]
    round_trip: bool,
    /// Print JSON: a list of objects with `level` (ok, warn, fail), `about`, `text` and `remedy`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was seen of one thing.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// `broker`, `repo spog`, ….
    about: String,
    text: String,
    remedy: Option<String>,
}

impl Finding {
    fn ok(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, about: about.into(), text: text.into(), remedy: None }
    }

    fn warn(about: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, about: about.into(), text: text.into(), remedy: Some(remedy.into()) }
    }

    fn fail(about: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Fail, about: about.into(), text: text.into(), remedy: Some(remedy.into()) }
    }
}

/// Runs it.
///
/// # Errors
/// stdout is closed. Whatever is wrong with the machine is a line.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let findings = look(source, args.round_trip);
    let mut stdout = anstream::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or_default();
        for finding in &findings {
            print(&mut stdout, finding, width)?;
        }
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look(source: &Source, round_trip: bool) -> Vec<Finding> {
    let config = match source.load() {
        Ok(config) => config,
        // An emitter may still work then, so what it needs is looked at all the same.
        Err(error) => {
            let mut findings =
                vec![Finding::fail("config", error.0, "correct it there, then run failcake check again")];
            if let Ok(bus) = source.bus() {
                findings.extend(bus::brokers(&bus, round_trip));
                findings.extend(bus::spool(&bus));
            }
            return findings;
        }
    };
    let mut findings: Vec<Finding> =
        config.files.iter().map(|file| Finding::ok("config", file.display().to_string())).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("config", "no file: the defaults count"));
    }
    findings.extend(bus::brokers(&config.bus, round_trip));
    findings.extend(bus::spool(&config.bus));
    findings.extend(config.repos.values().flat_map(place::repo));
    findings.extend(config.sites.values().flat_map(place::site));
    findings.extend(jenkins::controller(&config.jenkins));
    findings.extend(packages::repository(&config.packages));
    findings.extend(packages::interest(&config.packages));
    findings.extend(access::all(&config));
    findings
}

fn print(out: &mut impl std::io::Write, finding: &Finding, width: usize) -> std::io::Result<()> {
    let (word, style) = match finding.level {
        Level::Ok => ("ok  ", Style::new().fg_color(Some(AnsiColor::Green.into()))),
        Level::Warn => ("warn", Style::new().fg_color(Some(AnsiColor::Yellow.into()))),
        Level::Fail => ("FAIL", Style::new().fg_color(Some(AnsiColor::Red.into())).bold()),
    };
    write!(out, "{style}{word}{style:#}  {:width$}  {}", finding.about, finding.text)?;
    if let Some(remedy) = &finding.remedy {
        write!(out, "; {remedy}")?;
    }
    writeln!(out)
}
