//! `failcake spool`: what waits, and what to do with it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

mod listing;

use super::{FAILED, USAGE, complain};
use crate::config::{self, Source};
use crate::jenkins;
use crate::outbox::Outbox;
use crate::spool::{Limits, Spool};
use listing::{list, split, survey};

/// Look at, send or drop the events that wait for the broker.
///
/// Every event is a file in the spool until the broker has it. Root sees every user's, others see their own. Builds that
/// jenkins-trigger keeps for Jenkins are shown and can be dropped, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  failcake spool list                 what waits, since when, and why
  failcake spool flush                send it now, oldest first
  failcake spool flush --refused      also what the broker refused, once the reason is mended
  failcake spool drop 0193ab --yes    give one up")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What waits or was set aside: id, age, size, destination, subject, and why.
    #[command(after_help = "Example:\n  failcake spool list --json | jq '.[] | select(.state == \"refused\")'")]
    List {
        /// One JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Send what waits now, oldest first. Exit status 1 when something is left or was refused.
    #[command(after_help = "Example:\n  failcake spool flush --refused")]
    Flush {
        /// Try again what was set aside, too.
        #[arg(long)]
        refused: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove events for good, waiting or set aside.
    #[command(after_help = "Examples:\n  failcake spool drop 0193ab 77\n  failcake spool drop --all --yes")]
    Drop {
        /// Event ids, or their beginnings.
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it.
///
/// # Errors
/// The configuration, or a folder that can't be read.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let bus = source.bus()?;
    match args.what {
        What::List { json } => list(&bus, json),
        What::Flush { refused, json } => flush(&bus, refused, json),
        What::Drop { ids, all, yes } => discard(&bus, &ids, all, yes),
    }
}

/// Each user's folder, with that of the builds behind it.
fn folders(bus: &config::Bus) -> anyhow::Result<Vec<Spool>> {
    let limits = Limits { count: bus.spool.max_count, bytes: bus.spool.max_bytes };
    let mut folders = Vec::new();
    for spool in Spool::find_all(&bus.spool.parent, limits)? {
        // An odd folder of one user hides nobody else's.
        let builds = spool.find_inner(jenkins::FOLDER).unwrap_or_else(|error| {
            complain(&error.to_string());
            None
        });
        folders.push(spool);
        folders.extend(builds);
    }
    Ok(folders)
}

fn flush(bus: &config::Bus, refused: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let on_terminal = std::io::stderr().is_terminal();
    let mut shown = false;
    let flushed = Outbox::new(bus).flush(refused, |sent, all| {
        // A few are sent before anybody could read it.
        if on_terminal && all >= 50 && (sent % 50 == 0 || sent == all) {
            let _ = write!(std::io::stderr(), "\r{sent} of {all} sent");
            shown = true;
        }
    })?;
    if shown {
        let _ = writeln!(std::io::stderr());
    }
    if as_json {
        let set_aside: Vec<_> = flushed.set_aside.iter().map(|(id, cause)| json!({"id": id, "cause": cause})).collect();
        let all = json!({
            "sent": flushed.sent, "set_aside": set_aside, "left": flushed.left, "cause": flushed.cause,
        });
        print(&format!("{all}\n"))?;
    } else {
        let mut line = format!("{} sent", flushed.sent);
        if !flushed.set_aside.is_empty() {
            line += &format!(", {} set aside", flushed.set_aside.len());
        }
        if flushed.left > 0 {
            let cause = flushed.cause.as_deref().unwrap_or("more came meanwhile");
            line += &format!(", {} still waiting: {cause}; `failcake check` tells what is wrong", flushed.left);
        }
        print(&format!("{line}\n"))?;
    }
    let well = flushed.left == 0 && flushed.set_aside.is_empty();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn discard(bus: &config::Bus, ids: &[String], all: bool, yes: bool) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for spool in folders(bus)? {
        let entries = survey(&spool, &mut code);
        found.extend(entries.into_iter().map(|entry| (spool.path().to_owned(), entry)));
    }
    if !all {
        for id in ids {
            let matching = found.iter().filter(|(_, entry)| entry.name.id.starts_with(id.as_str())).count();
            anyhow::ensure!(
                !id.is_empty() && matching > 0,
                "no event {id:?} is in the spool; `failcake spool list` shows"
            );
            anyhow::ensure!(matching == 1, "{matching} events begin with {id:?}: give more of the id");
        }
        found.retain(|(_, entry)| ids.iter().any(|id| entry.name.id.starts_with(id.as_str())));
    }
    if found.is_empty() {
        print("nothing waits\n")?;
        return Ok(code);
    }
    if !yes {
        if !std::io::stdin().is_terminal() {
            complain(&format!("{} events would be lost for good: say --yes if that is meant", found.len()));
            return Ok(ExitCode::from(USAGE));
        }
        for (_, entry) in found.iter().take(20) {
            let (destination, subject) = split(&entry.about);
            let _ = writeln!(std::io::stderr(), "  {}  {destination}  {subject}", entry.name.id);
        }
        let _ = write!(std::io::stderr(), "Drop {} events for good? [y/N] ", found.len());
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(ExitCode::from(FAILED));
        }
    }
    for spool in folders(bus)? {
        for (_, entry) in found.iter().filter(|(path, _)| path == spool.path()) {
            spool.discard(entry)?;
        }
    }
    print(&format!("{} dropped\n", found.len()))?;
    Ok(code)
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
