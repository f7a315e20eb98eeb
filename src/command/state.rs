mod across;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Site, Source, parse_duration};
use crate::deploy;
use crate::deploy::person::{find, print_parts};
use crate::name::SiteName;
use crate::release::{Hold, Record, ReleaseName, State, short};

/// What is live on this machine, and what became of each release; with --on, what is live on others.
///
/// Across machines a site whose commit is not the one that went live last somewhere is marked: behind. Where `signing:
/// allowed-signers:` is configured, only a signed answer counts: what is not signed is shown as such.
///
/// Exit status, across machines: 0 when each gave an answer that counts; 1 when one did not, or when one that did not say its
/// facts may be meant by --on.
///
/// Examples: failcake state www.example.org; failcake state www.example.org --on 'web*'
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of `sites:` [default: all].
    site: Option<SiteName>,
    /// On these machines, over the bus: names, globs, groups, facts (`role=web and dc!=lon`), @FILE.
    #[arg(long, value_name = "FILTER")]
    on: Option<String>,
    /// With --on: how long to wait for the last answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration, requires = "on")]
    within: Duration,
    /// Print JSON: a list of sites, each with `current`, `holder`, `hold`, `problem` and `releases`; with --on one of what each
    /// machine says, with `node`, `silent`, `answered` (in a way that counts), `verified` (signed by it) and `behind`.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Seen {
    site: SiteName,
    /// The release that is live.
    current: Option<ReleaseName>,
    /// Who deploys or rolls back right now.
    holder: Option<String>,
    /// The freeze that is on.
    hold: Option<Hold>,
    /// Why the site can't be looked at or deployed to.
    problem: Option<String>,
    /// Oldest first.
    releases: Vec<Record>,
}

/// Runs it.
///
/// # Errors
/// There is no such site; one that can't be read is told and exits with 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    if let Some(filter) = &args.on {
        return across::run(args.site.as_ref(), filter, &config, args.within, args.json);
    }
    let sites: Vec<&Site> = match &args.site {
        Some(name) => vec![find(&config, name)?.0],
        None => config.sites.values().collect(),
    };
    let seen: Vec<Seen> = sites.into_iter().map(look).collect();
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&seen)?)?;
    } else {
        for site in &seen {
            print(&mut stdout, site)?;
        }
    }
    Ok(if seen.iter().any(|site| site.problem.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look(site: &Site) -> Seen {
    let place = deploy::place(site);
    let (hold, hold_problem) = split(place.hold());
    let (current, current_problem) = split(place.current());
    let (releases, history_problem) = split(place.history());
    Seen {
        site: site.name.clone(),
        current: current.flatten(),
        holder: place.holder(),
        hold: hold.flatten(),
        problem: current_problem.or(history_problem).or(hold_problem),
        releases: releases.unwrap_or_default(),
    }
}

fn split<T>(result: Result<T, crate::release::Error>) -> (Option<T>, Option<String>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn print(out: &mut impl std::io::Write, seen: &Seen) -> std::io::Result<()> {
    writeln!(out, "{}: {}", seen.site, seen.current.as_ref().map_or("nothing is live", |name| name.as_str()))?;
    if let Some(problem) = &seen.problem {
        writeln!(out, "  problem: {problem}")?;
    }
    if let Some(hold) = &seen.hold {
        writeln!(out, "  {hold}")?;
    }
    if let Some(holder) = &seen.holder {
        writeln!(out, "  busy: {holder}")?;
    }
    for record in seen.releases.iter().rev() {
        let commit = record.commit.as_deref().map_or("?", short);
        let is_current = seen.current.as_ref() == Some(&record.release);
        let mark = if is_current { '*' } else { ' ' };
        let became = became(record, is_current);
        writeln!(out, "{mark} {}  {} ({commit}) by {}: {became}", record.release, record.reference, record.who)?;
        if is_current {
            print_parts(out, &record.parts)?;
        }
    }
    Ok(())
}

/// What became of a release, in words.
fn became(record: &Record, is_current: bool) -> String {
    let live = || record.live_since.map_or_else(String::new, |since| format!(" since {since}"));
    let mut text = match (record.state, record.failed_at, &record.rolled_back) {
        (State::Failed, step, _) => {
            let step = step.map_or("an unknown step", |step| step.as_str());
            format!("failed at {step}: {}", record.why.as_deref().unwrap_or("?"))
        }
        (_, _, Some(back)) => format!("rolled back from by {} at {}, to {}", back.by, back.at, back.to),
        (State::Building, ..) => format!("being built since {}", record.begun),
        (State::Staged, ..) => format!("staged for the plan {}", record.request_id),
        (State::Ready, ..) if is_current => "switched to, post-deploy runs".to_owned(),
        (State::Ready, ..) => "ready".to_owned(),
        (State::Live, ..) if is_current => format!("live{}", live()),
        (State::Live, ..) => format!("was live{}", live()),
    };
    if record.unfinished {
        text.push_str("; its deploy was killed after the switch, so post-deploy may not have run");
    }
    text
}
