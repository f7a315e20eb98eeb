//! `failcake spool`: what waits, and what to do with it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::{FAILED, USAGE, complain};
use crate::config::{self, Source};
use crate::outbox::Outbox;
use crate::spool::{Limits, Spool, Waiting};

/// Look at, send or drop the events that wait for the broker.
///
/// Every event is a file in the spool until the broker has it. Root sees every user's, others see their own.
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

fn folders(bus: &config::Bus) -> anyhow::Result<Vec<Spool>> {
    let limits = Limits { count: bus.spool.max_count, bytes: bus.spool.max_bytes };
    Ok(Spool::find_all(&bus.spool.parent, limits)?)
}

/// Destination and subject, as the outbox wrote them into the entry's line.
fn split(about: &str) -> (&str, &str) {
    about.split_once('\t').unwrap_or(("", about))
}

fn list(bus: &config::Bus, as_json: bool) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let mut out = String::new();
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for spool in folders(bus)? {
        let entries = survey(&spool, &mut code);
        let failure = spool.list().ok().and_then(|listing| spool.last_failure(&listing));
        let cause = failure.as_ref().map_or("nothing was sent since", |(_, cause)| cause);
        if as_json {
            rows.extend(entries.iter().map(|entry| row(&spool, entry, cause, now)));
            continue;
        }
        if entries.is_empty() {
            continue;
        }
        out += &format!("{}\n", spool.path().display());
        for entry in &entries {
            let (destination, subject) = split(&entry.about);
            let age = age(now, entry.since);
            out += &format!("  {}  {age:>4}  {:>8}  {destination}  {subject}\n", entry.name.id, size(entry.bytes));
            if let Some(reason) = &entry.refused {
                out += &format!("    set aside: {reason}\n");
            }
        }
        let waiting = entries.iter().filter(|entry| entry.refused.is_none()).count();
        if waiting > 0 {
            let when = failure.as_ref().map(|(when, _)| format!(" ({} ago)", age(now, *when))).unwrap_or_default();
            out += &format!("  {waiting} waiting: {cause}{when}; `failcake spool flush` sends now\n");
        }
        if waiting < entries.len() {
            let aside = entries.len() - waiting;
            out += &format!("  {aside} set aside; `failcake spool flush --refused` tries again, `drop` gives up\n");
        }
    }
    if as_json {
        out = format!("{}\n", serde_json::to_string_pretty(&rows)?);
    } else if out.is_empty() {
        out = "nothing waits\n".to_owned();
    }
    print(&out)?;
    Ok(code)
}

/// One user's odd folder is told and hides nobody else's.
fn survey(spool: &Spool, code: &mut ExitCode) -> Vec<Waiting> {
    spool.survey().unwrap_or_else(|error| {
        complain(&error.to_string());
        *code = ExitCode::from(FAILED);
        Vec::new()
    })
}

fn row(spool: &Spool, entry: &Waiting, cause: &str, now: SystemTime) -> serde_json::Value {
    let (destination, subject) = split(&entry.about);
    json!({
        "id": entry.name.id,
        "state": if entry.refused.is_some() { "refused" } else { "waiting" },
        "since": jiff::Timestamp::try_from(entry.since).ok().map(|since| since.to_string()),
        "age_seconds": now.duration_since(entry.since).unwrap_or_default().as_secs(),
        "bytes": entry.bytes,
        "destination": destination,
        "subject": subject,
        "cause": entry.refused.as_deref().unwrap_or(cause),
        "uid": spool.owner().as_raw(),
        "file": spool.file(entry).to_string_lossy(),
    })
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

fn age(now: SystemTime, since: SystemTime) -> String {
    match now.duration_since(since).unwrap_or_default().as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}
