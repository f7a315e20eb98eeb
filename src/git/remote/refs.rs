//! What a clone knows of its remote's branches and tags, and which of their commits have passed their tests.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Error, Layout, Refs, Repo, create_command, os, parse_refs};
use crate::name::{RefName, Rev};

/// Below it, by the ref's name without `refs/`, the commit that passed last. As references they keep what they name from
/// being cleared away, and change as a whole.
const PASSED: &[u8] = b"refs/failcake/passed/";

impl Repo<'_> {
    /// The remote's branches and tags as of the last update, by their names at the remote.
    ///
    /// # Errors
    /// There is no clone; git.
    pub fn refs(&self) -> Result<BTreeMap<RefName, Rev>, Error> {
        self.local_refs(&self.found()?)
    }

    /// The remote's default branch, as far as the clone knows.
    ///
    /// # Errors
    /// As [`refs`](Self::refs).
    pub fn default_branch(&self) -> Result<Option<RefName>, Error> {
        let layout = self.found()?;
        let mut command = create_command(Some(&layout.repo));
        let head = if layout.own { "HEAD" } else { "refs/remotes/origin/HEAD" };
        command.args(["symbolic-ref", "--quiet", head]);
        let outcome = self.call().outcome("symbolic-ref", command, None)?;
        Ok(layout.remote_name(outcome.stdout.trim_ascii_end()))
    }

    /// Of each branch and tag, the commit that passed its tests last.
    ///
    /// # Errors
    /// As [`refs`](Self::refs).
    pub fn passed(&self) -> Result<BTreeMap<RefName, Rev>, Error> {
        self.passed_in(&self.found()?)
    }

    /// Notes that `commit` of `name` has passed. Says whether that is news: not so when it is no commit of that ref (any
    /// more), or older than one that has passed already, for a message may come late or twice.
    ///
    /// # Errors
    /// As [`refs`](Self::refs); another run in the same repository.
    pub fn pass(&self, name: &RefName, commit: &Rev) -> Result<bool, Error> {
        let layout = self.found()?;
        self.locked(&layout, || {
            let Some(tip) = self.local_refs(&layout)?.remove(name) else { return Ok(false) };
            if !self.contains(&layout.repo, &tip, commit)? {
                return Ok(false);
            }
            let passed = self.passed_in(&layout)?;
            if let Some(before) = passed.get(name)
                && self.contains(&layout.repo, before, commit)?
                && self.contains(&layout.repo, &tip, before)?
            {
                return Ok(false);
            }
            // `foo` passed, and is `foo/bar` now: git keeps only one of the two.
            self.forget(&layout, passed.iter().filter(|(other, _)| is_below(other, name) || is_below(name, other)))?;
            let mut command = create_command(Some(&layout.repo));
            command.arg("update-ref").arg(os(&passed_name(name))).arg(commit.as_str());
            self.call().run("update-ref", command, None)?;
            Ok(true)
        })
    }

    /// Forgets what has passed of branches and tags that are gone.
    ///
    /// # Errors
    /// As [`refs`](Self::refs); another run in the same repository.
    pub fn forget_passed(&self) -> Result<(), Error> {
        let layout = self.found()?;
        let is_gone = |refs: &Refs, passed: &Refs| passed.keys().any(|name| !refs.contains_key(name));
        if !is_gone(&self.local_refs(&layout)?, &self.passed_in(&layout)?) {
            return Ok(());
        }
        self.locked(&layout, || {
            let (refs, passed) = (self.local_refs(&layout)?, self.passed_in(&layout)?);
            self.forget(&layout, passed.iter().filter(|(name, _)| !refs.contains_key(*name)))
        })
    }

    fn forget<'a>(&self, layout: &Layout, passed: impl Iterator<Item = (&'a RefName, &'a Rev)>) -> Result<(), Error> {
        let names: Vec<_> = passed.map(|(name, commit)| (passed_name(name), commit)).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.delete_refs(layout, names.iter().map(|(name, commit)| (name.as_slice(), *commit)))
    }

    pub(super) fn found(&self) -> Result<Layout, Error> {
        self.find()?.ok_or_else(|| Error::NotRepository(self.path.to_owned()))
    }

    fn passed_in(&self, layout: &Layout) -> Result<BTreeMap<RefName, Rev>, Error> {
        let mut command = create_command(Some(&layout.repo));
        command.args(["for-each-ref", "--format=%(objectname) refs/%(refname:lstrip=3)", "--", "refs/failcake/passed"]);
        Ok(parse_refs(&self.call().run("for-each-ref", command, None)?))
    }

    /// Takes over what has passed from a clone that this one replaces: the remote does not know it. What can't be read
    /// there, and commits that are not here, are left.
    pub(super) fn inherit_passed(&self, layout: &Layout, damaged: &Path) -> Result<(), Error> {
        for (name, commit) in read_passed(damaged) {
            let mut command = create_command(Some(&layout.repo));
            command.args(["cat-file", "-e"]).arg(format!("{commit}^{{commit}}"));
            if self.call().outcome("cat-file", command, None)?.status.success() {
                let mut command = create_command(Some(&layout.repo));
                command.arg("update-ref").arg(os(&passed_name(&name))).arg(commit.as_str());
                self.call().run("update-ref", command, None)?;
            }
        }
        Ok(())
    }

    /// Is `commit` in the history of `tip`? One that is not here is in nobody's.
    fn contains(&self, repo: &Path, tip: &Rev, commit: &Rev) -> Result<bool, Error> {
        let mut command = create_command(Some(repo));
        command.args(["merge-base", "--is-ancestor", commit.as_str(), tip.as_str()]);
        Ok(self.call().outcome("merge-base", command, None)?.status.success())
    }
}

/// Is `name` in the folder that `other` would have to be?
fn is_below(name: &RefName, other: &RefName) -> bool {
    name.as_bytes().strip_prefix(other.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

fn passed_name(name: &RefName) -> Vec<u8> {
    let rest = name.as_bytes().strip_prefix(b"refs/").unwrap_or(name.as_bytes());
    [PASSED, rest].concat()
}

/// What git can't tell of a damaged clone, from its files: loose references are newer than packed ones.
fn read_passed(git_dir: &Path) -> BTreeMap<RefName, Rev> {
    // Reading a pipe that the owner put there would not end.
    let packed = Some(git_dir.join("packed-refs")).filter(|path| path.is_file());
    let packed = packed.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    let mut found = BTreeMap::new();
    let mut add = |name: &[u8], commit: &[u8]| {
        let name = name.strip_prefix(PASSED).and_then(|rest| RefName::from_bytes(&[b"refs/", rest].concat()).ok());
        let commit = std::str::from_utf8(commit.trim_ascii()).ok().and_then(|commit| commit.parse().ok());
        found.extend(name.zip(commit));
    };
    for line in packed.split(|b| *b == b'\n') {
        if let Some(space) = line.iter().position(|b| *b == b' ') {
            add(&line[space + 1..], &line[..space]);
        }
    }
    let mut folders = vec![git_dir.join(os(PASSED))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let name = path.strip_prefix(git_dir).map(|name| name.as_os_str().as_encoded_bytes().to_owned());
                    if let (Ok(name), Ok(commit)) = (name, std::fs::read(&path)) {
                        add(&name, &commit);
                    }
                }
                _ => {}
            }
        }
    }
    found
}
