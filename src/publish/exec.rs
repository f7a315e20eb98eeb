//! `exec:`: programs of the administrator's, run around the publication of a directory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Publisher;
use crate::name::Rev;
use crate::process::{Limits, Run, Stream};

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(5);
/// The wait before the first retry; it doubles, up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a program is told of.
pub(super) struct Scene<'a> {
    /// `before` or `after`.
    pub(super) key: &'static str,
    pub(super) reference: &'a str,
    pub(super) commit: &'a Rev,
    pub(super) previous: Option<&'a Rev>,
    /// Where it is published.
    pub(super) target: &'a Path,
    /// Where its files are now.
    pub(super) tree: &'a Path,
}

impl Publisher<'_> {
    /// Runs a program until it succeeds or its retries are used up; says what failed. No words are no program.
    pub(super) fn run_exec(&self, words: &[String], scene: &Scene<'_>) -> Result<(), String> {
        let Some((program, args)) = words.split_first() else { return Ok(()) };
        let mut wait = WAIT;
        let mut attempt = 1;
        loop {
            let why = match self.run_once(program, args, scene, attempt) {
                Ok(()) => return Ok(()),
                Err(why) => format!("exec: {}: {program} {why}", scene.key),
            };
            if attempt > self.repo.exec.retries || self.is_stopped() {
                return Err(why);
            }
            log::warn!("[{}] {why}; again in {} s", self.repo.name, wait.as_secs());
            if self.wait(wait) {
                return Err(why);
            }
            wait = (wait * 2).min(WAIT_MAX);
            attempt += 1;
        }
    }

    fn run_once(&self, program: &str, args: &[String], scene: &Scene<'_>, attempt: u32) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(args).current_dir(scene.tree);
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy();
            // A broker's password; the repository of a hook that called us.
            if key.starts_with("FAILCAKE_") || key.starts_with("GIT_") {
                command.env_remove(&*key);
            }
        }
        command
            .env("FAILCAKE_REPO", self.repo.name.as_str())
            .env("FAILCAKE_MODE", self.repo.mode.to_string())
            .env("FAILCAKE_REF", scene.reference)
            .env("FAILCAKE_COMMIT", scene.commit.as_str())
            .env("FAILCAKE_PREVIOUS_COMMIT", scene.previous.map(Rev::as_str).unwrap_or_default())
            .env("FAILCAKE_TARGET", scene.target)
            .env("FAILCAKE_TREE", scene.tree)
            .env("FAILCAKE_HOST", self.host)
            .env("FAILCAKE_ATTEMPT", attempt.to_string());
        let mut last = String::new();
        let mut lines = |_: Stream, line: &[u8]| {
            let text: String =
                String::from_utf8_lossy(line).chars().filter(|c| !c.is_control() || *c == '\t').collect();
            log::info!("[{}] exec: {}: {text}", self.repo.name, scene.key);
            if !text.trim().is_empty() {
                last = text;
            }
        };
        let timeout = self.repo.exec.timeout;
        let limits = Limits { timeout, grace: GRACE, output: 0 };
        let run = Run { user: self.user, input: None, limits, stop: self.stop, lines: Some(&mut lines) };
        let outcome = run.run(command).map_err(|error| error.to_string())?;
        if outcome.timed_out {
            return Err(format!("was ended after {} s", timeout.as_secs_f64()));
        }
        if outcome.stopped {
            return Err("was ended, because failcake was told to stop".to_owned());
        }
        if outcome.status.success() {
            return Ok(());
        }
        let said = if last.is_empty() { String::new() } else { format!(": {last}") };
        Err(format!("failed ({}){said}", outcome.status))
    }
}
