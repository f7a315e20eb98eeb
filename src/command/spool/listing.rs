//! What waits, for people and for programs.

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;

use super::{folders, print};
use crate::command::{FAILED, complain};
use crate::config;
use crate::jenkins;
use crate::spool::{MAKE_ROOM, Spool, Waiting};

/// Destination and subject, as the outbox wrote them into the entry's line; a build has no destination.
pub(super) fn split(about: &str) -> (&str, &str) {
    about.split_once('\t').unwrap_or(("", about))
}

/// What waits, by user.
pub(super) fn list(bus: &config::Bus, as_json: bool) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let mut out = String::new();
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for spool in folders(bus)? {
        let entries = survey(&spool, &mut code);
        if let Some(concern) = spool.used(&entries).concern() {
            complain(&format!("warning: {} is {concern}; {MAKE_ROOM}", spool.path().display()));
        }
        let is_builds = spool.path().ends_with(jenkins::FOLDER);
        let failure = spool.list().ok().and_then(|listing| spool.last_failure(&listing));
        let cause = match &failure {
            Some((_, cause)) => cause,
            None if is_builds => "Jenkins has not taken it yet",
            None => "nothing was sent since",
        };
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
        let (again, send) = match is_builds {
            true => ("failcake jenkins-trigger --retry", "failcake jenkins-trigger"),
            false => ("failcake spool flush --refused", "failcake spool flush"),
        };
        let waiting = entries.iter().filter(|entry| entry.refused.is_none()).count();
        if waiting > 0 {
            let when = failure.as_ref().map(|(when, _)| format!(" ({} ago)", age(now, *when))).unwrap_or_default();
            out += &format!("  {waiting} waiting: {cause}{when}; `{send}` sends now\n");
        }
        if waiting < entries.len() {
            let aside = entries.len() - waiting;
            out += &format!("  {aside} set aside; `{again}` tries again, `drop` gives up\n");
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
pub(super) fn survey(spool: &Spool, code: &mut ExitCode) -> Vec<Waiting> {
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
        "for": if spool.path().ends_with(jenkins::FOLDER) { "jenkins" } else { "broker" },
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
