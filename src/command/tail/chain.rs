//! A command that is run for each event, once.
//!
//! ```text
//! SPOOL/UID/tail-NAME/drain.lock   held while a chain of that name is there
//! SPOOL/UID/tail-NAME/done         which events' commands have succeeded: seen.rs
//! ```
//!
//! A run that succeeded is noted, *then* its message is acknowledged. Killed before the note: the broker sends the event
//! again, where it is durable, and the command runs again. Killed after it: the event comes again and is known. What
//! failed is not noted, so that it can be said again.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ring::digest::{Context, SHA256};

use super::Args;
use super::ears::Event;
use super::output::json_line;
use crate::config::Config;
use crate::exec;
use crate::process::{self, Stop, Stream};
use crate::seen::{Key, Seen};
use crate::spool::{DrainLock, Limits, Spool};
use crate::watch::name_of;

/// Longer than any broker keeps an event for somebody who does not come.
const REMEMBERED: Duration = Duration::from_secs(60 * 86_400);
/// Octets of a subject that a command gets.
const SUBJECT: usize = 4096;

/// What became of an event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The command has succeeded.
    Done,
    /// It had, before.
    Known,
    /// It was not run to its end: this process is to end.
    Stopped,
    /// It failed, and failed again.
    Failed(String),
}

/// The command, and what it has done.
pub(super) struct Chain {
    words: Vec<OsString>,
    timeout: Duration,
    retries: u32,
    as_json: bool,
    host: String,
    done: Seen,
    _lock: DrainLock,
}

impl Chain {
    /// `None`: another one of that name is at it.
    pub(super) fn open(args: &Args, config: &Config, verb: &str) -> anyhow::Result<Option<Chain>> {
        let place = &config.bus.spool;
        let limits = Limits { count: place.max_count, bytes: place.max_bytes };
        let folder = Spool::open(&place.parent, limits)?.inner(verb)?;
        let Some(lock) = folder.lock_drain()? else { return Ok(None) };
        let path = folder.path().join("done");
        let done = Seen::open(&path, REMEMBERED).with_context(|| format!("can't open {}", path.display()))?;
        Ok(Some(Chain {
            words: args.exec.clone(),
            timeout: args.timeout,
            retries: args.retries,
            as_json: args.json,
            host: config.node.to_string(),
            done,
            _lock: lock,
        }))
    }

    /// Runs the command for an event, unless it has been.
    pub(super) fn run(&self, event: &Event, stop: &Stop) -> Outcome {
        let key = self.key(event);
        // What can't be read is not remembered: once too often is better than never.
        if self.done.holds(&key, SystemTime::now()).unwrap_or(false) {
            return Outcome::Known;
        }
        if stop.is_set() {
            return Outcome::Stopped;
        }
        let input = if self.as_json { (json_line(event) + "\n").into_bytes() } else { event.frame.body.clone() };
        let call = exec::Call { user: None, input: Some(&input), timeout: self.timeout, stop: Some(stop) };
        let ran = exec::retry(
            self.retries,
            Some(stop),
            |attempt| call.run(self.command(event, attempt), &mut pass_on),
            |why, wait| log::warn!("{} {why}, for {}; again in {} s", self.program(), event.summary.line, wait.as_secs()),
        );
        match ran {
            Ok(()) => {
                if let Err(error) = self.done.remember(&key, SystemTime::now()) {
                    log::warn!("{} runs again should its event come again: {error}", self.program());
                }
                Outcome::Done
            }
            Err(exec::Error::Stopped) => Outcome::Stopped,
            // It failed, and the next try was not waited for.
            Err(_) if stop.is_set() => Outcome::Stopped,
            Err(why) => Outcome::Failed(format!("{} {why}, for {}", self.program(), event.summary.line)),
        }
    }

    pub(super) fn program(&self) -> String {
        self.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn command(&self, event: &Event, attempt: u32) -> Command {
        let summary = &event.summary;
        let (program, args) = self.words.split_first().map_or_else(Default::default, |(word, rest)| (word.clone(), rest));
        let mut command = process::command(program);
        command.args(args);
        let mut set = |name: &str, value: &OsStr| {
            command.env(format!("FAILCAKE_{name}"), value);
        };
        set("EVENT_ID", name_of(&event.frame).to_string().as_ref());
        set("DESTINATION", one_line(&event.destination).as_ref());
        set("HOST", self.host.as_ref());
        set("ATTEMPT", attempt.to_string().as_ref());
        if let Some(name) = &summary.reference {
            set("REF", name.as_os_str());
        }
        let known = [
            ("TYPE", summary.kind.clone()),
            ("TIME", summary.time.map(|time| time.to_string())),
            ("TOPIC", event.topic.clone()),
            ("SUBJECT", summary.subject.as_deref().map(one_line)),
            ("REPO", summary.repo.as_ref().map(ToString::to_string)),
            ("COMMIT", summary.commit.clone()),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                set(name, value.as_ref());
            }
        }
        command
    }

    /// Another command of the same name has not done what this one has.
    fn key(&self, event: &Event) -> Key {
        let mut context = Context::new(&SHA256);
        context.update(name_of(&event.frame).to_string().as_bytes());
        for word in &self.words {
            context.update(b"\0");
            context.update(word.as_encoded_bytes());
        }
        let mut key = Key::default();
        key.copy_from_slice(&context.finish().as_ref()[..16]);
        key
    }
}

/// What the command says is said here. A closed pipe ends no watcher.
fn pass_on(stream: Stream, line: &str) {
    let _ = match stream {
        Stream::Out => writeln!(io::stdout(), "{line}"),
        Stream::Err => writeln!(io::stderr(), "{line}"),
    };
}

/// NUL would keep the command from being started, and nobody expects lines here.
fn one_line(text: &str) -> String {
    text[..text.floor_char_boundary(SUBJECT.min(text.len()))].replace(char::is_control, " ")
}
