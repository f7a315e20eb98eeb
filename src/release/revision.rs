//! What the files of a release are, and how that is written down.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trees::TreeName;
use crate::name::{RepoName, Rev};

/// What the files of a release are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// A commit of git.
    Commit(Rev),
    /// The last revision of Subversion that changed what was exported.
    Svn(u64),
    /// The parts of a link farm.
    Farm(Vec<Part>),
}

/// A repository of a link farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which.
    pub repo: RepoName,
    /// The tag, branch or commit that was asked for.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its commit.
    pub commit: Rev,
    /// Where in the release; `.` for the release itself.
    pub target: PathBuf,
    /// The tree that a link leads to from there; `None` when its files are in the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeName>,
}

impl Revision {
    /// What records, scripts and people are told. That of a farm is the SHA-256 of its [`text`](Self::text), so that two
    /// machines can be compared.
    pub fn id(&self) -> String {
        match self {
            Revision::Commit(commit) => commit.to_string(),
            Revision::Svn(number) => number.to_string(),
            Revision::Farm(_) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, self.text().as_bytes());
                digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }
    }

    /// What stands in `REVISION`.
    pub fn text(&self) -> String {
        match self {
            Revision::Commit(_) | Revision::Svn(_) => format!("{}\n", self.id()),
            Revision::Farm(parts) => parts.iter().map(Part::line).collect(),
        }
    }

    /// The end of the release's name.
    pub(super) fn short(&self) -> String {
        match self {
            Revision::Svn(number) => format!("r{number}"),
            Revision::Commit(_) | Revision::Farm(_) => short(&self.id()).to_owned(),
        }
    }

    /// Can it be made of a retired release, by git's index?
    pub(super) fn is_indexed(&self) -> bool {
        match self {
            Revision::Commit(_) => true,
            Revision::Svn(_) => false,
            Revision::Farm(parts) => parts.iter().any(Part::is_release),
        }
    }

    /// Reads what [`text`](Self::text) wrote. The trees of a farm's parts are not in it.
    pub fn parse(text: &str) -> Option<Revision> {
        let text = text.trim_end();
        if let Ok(commit) = text.parse() {
            return Some(Revision::Commit(commit));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(Revision::Svn);
        }
        let parts: Option<Vec<Part>> = text.lines().map(Part::read).collect();
        parts.filter(|parts| !parts.is_empty()).map(Revision::Farm)
    }
}

impl Part {
    /// Are its files those of the release itself?
    pub fn is_release(&self) -> bool {
        self.target == Path::new(".")
    }

    /// As it is asked for.
    pub fn asked(&self) -> String {
        format!("{}={}", self.repo, self.reference)
    }

    /// The target stands last: only it may hold spaces.
    fn line(&self) -> String {
        format!("{} {} {} {}\n", self.repo, self.reference, self.commit, self.target.display())
    }

    fn read(line: &str) -> Option<Part> {
        let mut words = line.splitn(4, ' ');
        let (repo, reference) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let (commit, target) = (words.next()?.parse().ok()?, PathBuf::from(words.next()?));
        Some(Part { repo, reference, commit, target, tree: None })
    }
}

/// A [`Revision::id`] for people: seven digits of a commit, a number as it is.
pub fn short(id: &str) -> &str {
    if id.len() >= 40 { id.get(..7).unwrap_or(id) } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(repo: &str, target: &str) -> Part {
        let commit = "a".repeat(40).parse().unwrap();
        Part { repo: repo.parse().unwrap(), reference: "v1".to_owned(), commit, target: target.into(), tree: None }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_is_nothing() {
        let farm = Revision::Farm(vec![part("app", "."), part("web/lib", "wp content/plugins/x")]);
        for revision in [Revision::Commit("b".repeat(64).parse().unwrap()), Revision::Svn(42), farm.clone()] {
            assert_eq!(Revision::parse(&revision.text()), Some(revision));
        }
        assert_eq!(farm.id().len(), 64);
        assert_ne!(farm.id(), Revision::Farm(vec![part("app", "."), part("web/lib", "wp content/plugins/y")]).id());
        assert_eq!((farm.short().len(), Revision::Svn(42).short().as_str()), (7, "r42"));
        for text in ["", "\n", "-1", "abc", "4 2", "app v1 nonsense .", "a v1 aaaa", "é\n\n"] {
            assert_eq!(Revision::parse(text), None, "{text:?}");
        }
    }
}
