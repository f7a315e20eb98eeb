//! A clone with a work tree that is changed where it is.

use super::{Error, Layout, Repo, create_command, os};
use crate::name::{RefName, Rev};

/// The commit that was put here last, and the one that is being put here. Their commits are the remote's, even when the
/// remote has them no more; and a `next` that is there tells that a run was killed half-way.
const NOW: &str = "refs/failcake/in-place/now";
const NEXT: &str = "refs/failcake/in-place/next";
/// Changed files that a refusal names.
const NAMED_MAX: usize = 5;

impl Repo<'_> {
    /// Makes the work tree the files of the commit `tip` on the branch `branch`, and gives that commit if it changed anything. With
    /// `force`, local changes go, and local commits leave the branch; without, they are an error. `tip` is asked when no
    /// other run is at work here any more; it says nothing when there is nothing to be done.
    ///
    /// Killed here, it leaves a mixture of two commits, which the next run completes.
    ///
    /// # Errors
    /// [`Error::LocalChanges`], [`Error::LocalCommits`], [`Error::NoWorkTree`]; git.
    pub fn check_out(
        &self,
        branch: &RefName,
        tip: impl Fn() -> Result<Option<Rev>, Error>,
        force: bool,
    ) -> Result<Option<Rev>, Error> {
        let layout = self.found()?;
        if layout.repo == layout.git_dir {
            return Err(Error::NoWorkTree(layout.repo));
        }
        self.locked(&layout, || {
            let Some(commit) = tip()? else { return Ok(None) };
            Ok(self.check_out_in(&layout, branch, &commit, force)?.then_some(commit))
        })
    }

    fn check_out_in(&self, layout: &Layout, branch: &RefName, commit: &Rev, force: bool) -> Result<bool, Error> {
        let head = self.ask(layout, &["rev-parse", "--quiet", "--verify", "HEAD^{commit}"])?;
        let interrupted = !self.ask(layout, &["rev-parse", "--quiet", "--verify", NEXT])?.is_empty();
        // A new clone has no index yet, and every file seems to be deleted.
        let is_new = !layout.git_dir.join("index").exists();
        let is_there = !is_new && !interrupted && head == commit.as_str().as_bytes();
        let on = self.ask(layout, &["symbolic-ref", "--quiet", "HEAD"])?;
        let is_there = is_there && on == branch.as_bytes();
        if is_there && !force {
            return Ok(false);
        }
        let mut force = force || interrupted;
        if !is_new && !interrupted {
            let changes =
                self.must(layout, &["status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames"])?;
            if !changes.is_empty() && !force {
                return Err(Error::LocalChanges { path: layout.repo.clone(), files: name_files(&changes) });
            }
            if is_there && changes.is_empty() {
                return Ok(false);
            }
            let ours =
                ["rev-list", "--max-count=1", "HEAD", "--not", "--remotes=origin", "--glob=refs/failcake/in-place/*"];
            if !head.is_empty() && !force && !self.must(layout, &ours)?.is_empty() {
                return Err(Error::LocalCommits { path: layout.repo.clone() });
            }
        }
        self.must(layout, &["update-ref", NEXT, commit.as_str()])?;
        // Nothing is lost by force in a tree that was just seen to be clean; without it, an untracked file that is in the
        // way stops git before it has written anything.
        force |= is_new;
        let mut command = create_command(Some(&layout.repo));
        command.args(["checkout", "--quiet", "--no-track", "-B"]).arg(os(branch.short_bytes())).arg(commit.as_str());
        if force {
            command.arg("--force");
        }
        command.arg("--");
        if let Err(error) = self.call().run("checkout", command, None) {
            if !error.was_cut() && !force {
                // It refused, and did nothing.
                self.must(layout, &["update-ref", "-d", NEXT])?;
            }
            return Err(error);
        }
        if layout.repo.join(".gitmodules").is_file() {
            let mut command = self.remote_command(Some(layout))?;
            command.args(["submodule", "--quiet", "update", "--init", "--recursive", "--force"]);
            self.call().run("submodule", command, None)?;
        }
        self.must(layout, &["update-ref", NOW, commit.as_str()])?;
        self.must(layout, &["update-ref", "-d", NEXT])?;
        Ok(true)
    }

    fn must(&self, layout: &Layout, words: &[&str]) -> Result<Vec<u8>, Error> {
        let mut command = create_command(Some(&layout.repo));
        command.args(words);
        self.call().run(words[0], command, None)
    }

    /// What git says to a question; nothing where it says no.
    fn ask(&self, layout: &Layout, words: &[&str]) -> Result<Vec<u8>, Error> {
        let mut command = create_command(Some(&layout.repo));
        command.args(words);
        let outcome = self.call().outcome(words[0], command, None)?;
        Ok(if outcome.status.success() { outcome.stdout.trim_ascii_end().to_vec() } else { Vec::new() })
    }
}

/// From `XY NAME` entries, each ended by NUL.
fn name_files(status: &[u8]) -> String {
    let names: Vec<String> = status
        .split(|b| *b == 0)
        .filter_map(|entry| Some(String::from_utf8_lossy(entry.get(3..)?).escape_debug().to_string()))
        .collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let mut text = names.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
