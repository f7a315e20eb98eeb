//! What a rollback is asked to go back to, and which release that is on this machine.

use std::fmt;
use std::fs;
use std::str::FromStr;

use super::{Error, Place, Record, ReleaseName, Revision, State, read_revision, short};

/// Octets of what is asked for: a few words `REPO=REF` fit.
const LENGTH_MAX: usize = 2048;
/// So many releases are named when there is none like it.
const NAMED_MAX: usize = 8;

/// A release's name, or what a release was deployed as: `v7`, `tags/v7`, `lib=v2`, a commit id or seven digits of one or more.
/// Whoever deployed gave it its name, so it may hold what a name of git or Subversion may; it is compared with records, and
/// is never a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(String);

/// Why a word is no [`Target`].
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is neither a release's name nor a tag, branch or commit: {why}")]
pub struct NoTarget {
    word: String,
    why: &'static str,
}

impl FromStr for Target {
    type Err = NoTarget;
    fn from_str(word: &str) -> Result<Target, NoTarget> {
        let no = |why| Err(NoTarget { word: word.chars().take(100).collect(), why });
        if word.len() > LENGTH_MAX {
            return no("it is longer than 2048 bytes");
        }
        if word.chars().any(char::is_control) {
            return no("it holds a control character");
        }
        if word.starts_with('-') || word.trim() != word {
            return no("it begins with '-' or a space, or ends with a space");
        }
        if word.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return no("it, or a part of it, is empty, '.' or '..'");
        }
        Ok(Target(word.to_owned()))
    }
}

impl From<ReleaseName> for Target {
    fn from(name: ReleaseName) -> Target {
        Target(name.into())
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().fmt(f)
    }
}

impl Target {
    /// Was it deployed as that?
    fn is_reference_of(&self, record: &Record) -> bool {
        if record.reference == self.0 {
            return true;
        }
        match record.revision() {
            // Of a farm, among others.
            Some(Revision::Farm(_)) => {
                let asked: Vec<String> = record.asked().into_iter().map(|part| part.asked()).collect();
                self.0.split(' ').all(|word| asked.iter().any(|asked| asked == word))
            }
            Some(Revision::Svn(_)) => self.number().is_some_and(|number| number == digits(&record.reference)),
            _ => false,
        }
    }

    /// The commit of the release that it names, if it does.
    fn commit_of<'a>(&self, record: &'a Record) -> Option<&'a str> {
        if let Some(Revision::Svn(_)) = record.revision() {
            return record.commit.as_deref().filter(|commit| self.number() == Some(commit));
        }
        if self.0.len() < 7 || !self.0.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let begins = self.0.to_ascii_lowercase();
        let asked = record.asked().into_iter().map(|part| part.commit.as_str());
        record.commit.as_deref().into_iter().chain(asked).find(|commit| commit.starts_with(&begins))
    }

    /// The digits of a revision of Subversion: `12`, `r12`.
    fn number(&self) -> Option<&str> {
        Some(digits(&self.0)).filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    }
}

fn digits(word: &str) -> &str {
    word.strip_prefix('r').unwrap_or(word)
}

impl Place {
    /// The release that a rollback goes to: `to`, which must have been live and not have failed, or the one
    /// [`before`](Self::before).
    ///
    /// # Errors
    /// [`Error::NoRelease`], [`Error::Unfit`], [`Error::NothingBefore`], [`Error::NotWhole`].
    pub fn rollback_target(&self, current: &ReleaseName, to: Option<&ReleaseName>) -> Result<Record, Error> {
        let name = match to {
            Some(to) => to.clone(),
            None => self.before(current)?,
        };
        let called = |record: &Record| format!("release {name} ({})", record.reference.escape_debug());
        let record = self.record(&name);
        let called = record.as_ref().map_or_else(|| format!("release {name}"), called);
        if name == *current {
            return Err(Error::Unfit(format!("{called} is live already")));
        }
        let unfit = |why: String| Err(Error::Unfit(format!("{called} can't be rolled back to: {why}")));
        match record {
            Some(record) if record.state == State::Live => {
                self.is_there(&name)?;
                Ok(record)
            }
            Some(Record { failed_at: Some(step), .. }) => unfit(format!("it failed at {step}")),
            Some(_) => unfit("it never was live".into()),
            None if self.has_folder(&name) => unfit("it has no record, so nobody knows whether it ever worked".into()),
            None => self.no_release(current, &Target::from(name)),
        }
    }

    /// Which release is meant: the one of this name; else the newest good one that was deployed as that; else of that commit.
    /// One that was rolled back from comes after all others. What is live is meant before any other.
    ///
    /// # Errors
    /// [`Error::NoRelease`] names those that there are, [`Error::Unfit`] says that several commits begin so.
    pub fn meant(&self, current: &ReleaseName, target: &Target) -> Result<ReleaseName, Error> {
        if let Ok(name) = target.0.parse::<ReleaseName>()
            && (self.has_folder(&name) || self.record(&name).is_some())
        {
            return Ok(name);
        }
        let good = self.good(current)?;
        let mut meant: Vec<&Record> = good.iter().filter(|record| target.is_reference_of(record)).collect();
        if meant.is_empty() {
            meant = good.iter().filter(|record| target.commit_of(record).is_some()).collect();
            let mut commits: Vec<&str> = meant.iter().filter_map(|record| target.commit_of(record)).collect();
            commits.sort_unstable();
            commits.dedup();
            if commits.len() > 1 {
                let all = commits.join(", ");
                return Err(Error::Unfit(format!("several commits begin with {target}: {all}; name one in full")));
            }
        }
        // `good` has the best one first.
        meant.first().map_or_else(|| self.no_release(current, target), |record| Ok(record.release.clone()))
    }

    /// What was live once, is whole and did not fail: the live one, then those that nobody rolled back from, the newest of
    /// each first.
    fn good(&self, current: &ReleaseName) -> Result<Vec<Record>, Error> {
        let mut good = self.history()?;
        good.retain(|record| record.state == State::Live && self.is_there(&record.release).is_ok());
        good.sort_by_key(|record| (record.release == *current, record.rolled_back.is_none(), record.first_live));
        good.reverse();
        Ok(good)
    }

    fn no_release<T>(&self, current: &ReleaseName, target: &Target) -> Result<T, Error> {
        let good = self.good(current)?;
        let others: Vec<&Record> = good.iter().filter(|record| record.release != *current).collect();
        let name = |record: &&Record| {
            let commit = record.commit.as_deref().map_or("?", short);
            format!("{} ({commit}, release {})", record.reference.escape_debug(), record.release)
        };
        let named: Vec<String> = others.iter().take(NAMED_MAX).map(name).collect();
        let known = match others.len().saturating_sub(NAMED_MAX) {
            _ if named.is_empty() => "there is nothing to go back to".to_owned(),
            0 => format!("there are {}", named.join(", ")),
            more => format!("there are {} and {more} more", named.join(", ")),
        };
        Err(Error::NoRelease { target: target.clone(), known })
    }

    fn has_folder(&self, name: &ReleaseName) -> bool {
        !self.in_place && self.release(name).is_dir()
    }

    /// In place there is one folder, and the releases are in the clone.
    fn is_there(&self, name: &ReleaseName) -> Result<(), Error> {
        if self.in_place { Ok(()) } else { self.whole(name) }
    }

    /// Is the release a folder with its `REVISION`, and are the trees there that it leads to? A script may have removed
    /// something.
    ///
    /// # Errors
    /// [`Error::NotWhole`].
    pub fn whole(&self, name: &ReleaseName) -> Result<(), Error> {
        let folder = self.release(name);
        let no = |why: &str| Err(Error::NotWhole(name.clone(), why.to_owned()));
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir()) {
            return no("its folder is gone");
        }
        let Some(record) = self.record(name) else { return Ok(()) };
        if record.revision().is_some_and(|of| read_revision(&folder).is_none_or(|there| there.text() != of.text())) {
            return no("its REVISION is gone or another one");
        }
        match record.parts.iter().filter_map(|part| part.tree.as_ref()).find(|tree| !self.has_tree(tree)) {
            Some(tree) => no(&format!("trees/{tree}, to which it leads, is gone")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
