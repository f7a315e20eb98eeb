//! `exec:`: programs of the administrator's, run around the publication of a directory.

use std::path::Path;

use super::Publisher;
use crate::exec;
use crate::name::Rev;
use crate::process;

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
        let tell = |why: &exec::Error| format!("exec: {}: {program} {why}", scene.key);
        exec::retry(
            self.repo.exec.retries,
            self.stop,
            |attempt| self.run_once(program, args, scene, attempt),
            |why, wait| log::warn!("[{}] {}; again in {} s", self.repo.name, tell(why), wait.as_secs()),
        )
        .map_err(|why| tell(&why))
    }

    fn run_once(&self, program: &str, args: &[String], scene: &Scene<'_>, attempt: u32) -> Result<(), exec::Error> {
        let mut command = process::command(program);
        command
            .args(args)
            .current_dir(scene.tree)
            .env("FAILCAKE_REPO", self.repo.name.as_str())
            .env("FAILCAKE_MODE", self.repo.mode.to_string())
            .env("FAILCAKE_REF", scene.reference)
            .env("FAILCAKE_COMMIT", scene.commit.as_str())
            .env("FAILCAKE_PREVIOUS_COMMIT", scene.previous.map(Rev::as_str).unwrap_or_default())
            .env("FAILCAKE_TARGET", scene.target)
            .env("FAILCAKE_TREE", scene.tree)
            .env("FAILCAKE_HOST", self.host)
            .env("FAILCAKE_ATTEMPT", attempt.to_string());
        let call = exec::Call { user: self.user, input: None, timeout: self.repo.exec.timeout, stop: self.stop };
        call.run(command, &mut |_, line| log::info!("[{}] exec: {}: {line}", self.repo.name, scene.key))
    }
}
