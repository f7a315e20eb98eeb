//! Link farms: several repositories and users' directories as one release.

use std::path::{Path, PathBuf};

use super::origin::Wanted;
use super::{Expected, Here, Request, Said, Tell, text};
use crate::config::{Directory, Farm, Placed, Repo, Site};
use crate::name::{RepoName, Rev};
use crate::release::{Held, Part, Record, Revision, TreeName};
use crate::tree;

/// Why a farm can't be made as it was asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("say which repository: {known}")]
    NothingAsked { known: String },
    #[error("the farm has no repository {repo:?}: it has {known}")]
    NoPart { repo: String, known: String },
    #[error("{repo} is named twice: say it once")]
    Twice { repo: RepoName },
    #[error(
        "no repository of the farm has a tag, a branch or a full commit id {reference:?}: say which one you mean: {known}"
    )]
    NoneHasIt { reference: String, known: String },
    #[error("several repositories of the farm have {reference:?}: say which one you mean: {which}")]
    SeveralHaveIt { reference: String, which: String },
    #[error("not all of the farm was ever deployed, and there is no base: to begin with: name {lacking} too")]
    Lacking { lacking: String },
    #[error("commit {expected} was asked for, which can be of one repository only: deploy one at a time")]
    NotOne { expected: Rev },
    #[error("users' directory {}: {source}: make it first, for failcake makes none below user-root:", path.display())]
    NoDirectory { path: PathBuf, source: std::io::Error },
    #[error("users' directory {} leads to {}, out of user-root:", path.display(), to.display())]
    DirectoryOutside { path: PathBuf, to: PathBuf },
}

impl Here<'_> {
    /// What a request for a farm means: the repositories that it names as it says, the others as they are live, or as their
    /// `base:` says where they were never.
    pub(super) fn resolve_farm(&self, farm: &Farm, request: &Request) -> Result<Wanted, super::Error> {
        let mut asked: Vec<(&Placed, &str, Rev)> = Vec::new();
        for word in request.reference.split_whitespace() {
            let (placed, reference, commit) = self.look_up_word(farm, word)?;
            if asked.iter().any(|(other, ..)| other.repo == placed.repo) {
                return Err(Error::Twice { repo: placed.repo.clone() }.into());
            }
            asked.push((placed, reference, commit));
        }
        if asked.is_empty() {
            return Err(Error::NothingAsked { known: known(farm) }.into());
        }
        match (&request.expected, &asked[..]) {
            (None, _) => {}
            (Some(Expected::Git(_, expected)), [(_, reference, found)]) if found != expected => {
                let (reference, expected, found) = ((*reference).to_owned(), expected.clone(), found.clone());
                return Err(super::Error::Moved { reference, expected, found });
            }
            (Some(Expected::Git(..)), [_]) => {}
            (Some(Expected::Git(_, expected)), _) => return Err(Error::NotOne { expected: expected.clone() }.into()),
            (Some(expected), _) => {
                let from = "several repositories of git".to_owned();
                return Err(super::Error::OtherOrigin { expected: expected.clone(), from });
            }
        }
        let place = super::place(self.site);
        let live = place.current()?.map(|name| place.parts(&name)).unwrap_or_default();
        let (mut parts, mut lacking) = (Vec::new(), Vec::new());
        for placed in &farm.repos {
            let wanted = asked.iter().find(|(other, ..)| other.repo == placed.repo);
            let is_live = live.iter().find(|part| part.repo == placed.repo);
            let (reference, commit) = match (wanted, is_live, &placed.base) {
                (Some((_, reference, commit)), ..) => ((*reference).to_owned(), commit.clone()),
                (None, Some(part), _) => (part.reference.clone(), part.commit.clone()),
                (None, None, Some(base)) => (base.clone(), self.look_up(placed, base)?),
                (None, None, None) => {
                    lacking.push(format!("{}=REF", placed.repo));
                    continue;
                }
            };
            let is_link = !farm.holds_others(placed, &self.site.shared);
            let tree = is_link.then(|| TreeName::new(&placed.repo, &commit));
            let target = if placed.target.as_os_str().is_empty() { PathBuf::from(".") } else { placed.target.clone() };
            parts.push(Part { repo: placed.repo.clone(), reference, commit, target, tree });
        }
        if !lacking.is_empty() {
            return Err(Error::Lacking { lacking: lacking.join(" ") }.into());
        }
        let asked: Vec<String> =
            asked.iter().map(|(placed, reference, _)| format!("{}={reference}", placed.repo)).collect();
        Ok(Wanted::Farm { parts, reference: asked.join(" ") })
    }

    /// `REPO=REF`; or a bare REF, which is taken where only one repository has it: version numbers of different projects
    /// are equal by accident.
    fn look_up_word<'a>(&self, farm: &'a Farm, word: &'a str) -> Result<(&'a Placed, &'a str, Rev), super::Error> {
        if let Some((repo, reference)) = word.split_once('=') {
            let placed = farm.repos.iter().find(|placed| placed.repo.as_str() == repo);
            let no = || Error::NoPart { repo: repo.to_owned(), known: known(farm) };
            let placed = placed.ok_or_else(no)?;
            return Ok((placed, reference, self.look_up(placed, reference)?));
        }
        let mut found = Vec::new();
        for placed in &farm.repos {
            match self.look_up(placed, word) {
                Ok(commit) => found.push((placed, word, commit)),
                Err(super::Error::NoSuchRef { .. }) => {}
                // Perhaps it is the one that is meant.
                Err(other) => return Err(other),
            }
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Error::NoneHasIt { reference: word.to_owned(), known: known(farm) }.into()),
            _ => {
                let all: Vec<String> = found.iter().map(|(placed, ..)| format!("{}={word}", placed.repo)).collect();
                Err(Error::SeveralHaveIt { reference: word.to_owned(), which: all.join(" or ") }.into())
            }
        }
    }

    fn look_up(&self, placed: &Placed, reference: &str) -> Result<Rev, super::Error> {
        let repo = self.repo_of(&placed.repo)?;
        let found = self.clone_at(repo).resolve(reference)?;
        let (reference, name, path) = (reference.to_owned(), repo.name.to_string(), repo.path.clone());
        found.map(|(_, commit)| commit).ok_or(super::Error::NoSuchRef { reference, repo: name, path })
    }

    pub(super) fn repo_of(&self, name: &RepoName) -> Result<&Repo, Error> {
        // One that was taken out of the configuration, when a release is gone back to.
        let no = || Error::NoPart { repo: name.to_string(), known: "those of repos:".to_owned() };
        self.repos.get(name).ok_or_else(no)
    }

    /// A release of links and of the files that can be none.
    pub(super) fn stage_farm(
        &self,
        held: &Held,
        record: &mut Record,
        farm: &Farm,
        from_spare: bool,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let parts = record.parts.clone();
        self.stage_trees(held, &parts, tell)?;
        (record.files, record.bytes) = (0, 0);
        // What something is placed in comes before it, whatever the order in the configuration.
        let mut in_order: Vec<&Part> = parts.iter().collect();
        in_order.sort_by_key(|part| if part.is_release() { 0 } else { part.target.components().count() });
        for part in in_order {
            let repo = self.repo_of(&part.repo).map_err(text)?;
            match &part.tree {
                Some(tree) => held.link_tree(&record.release, &part.target, tree).map_err(text)?,
                None if part.is_release() => self.stage_commit(held, record, repo, &part.commit, from_spare, tell)?,
                None => {
                    let folder = held.make_way(&record.release, &part.target).map_err(text)?;
                    let index = held.part_index(&record.release);
                    let listing = tree::fill(&self.clone_at(repo), &part.commit, &folder, &index).map_err(text)?;
                    let (files, bytes) = self.complete(repo, &part.commit, &folder, &index, &listing)?;
                    record.files += files;
                    record.bytes += bytes;
                }
            }
        }
        for directory in &farm.directories {
            let source = find(farm, directory).map_err(text)?;
            held.link_out(&record.release, &directory.target, &source).map_err(text)?;
        }
        let folder = held.release(&record.release);
        tree::write_revision(&folder, &Revision::Farm(parts).text()).map_err(text)
    }

    /// Publishes the trees that are not there yet.
    fn stage_trees(&self, held: &Held, parts: &[Part], tell: Tell<'_>) -> Result<(), String> {
        let mut written = Vec::new();
        for part in parts {
            let Some(name) = part.tree.as_ref().filter(|name| !held.has_tree(name)) else { continue };
            let repo = self.repo_of(&part.repo).map_err(text)?;
            let folder = held.begin_tree(name).map_err(text)?;
            let index = held.tree_index();
            let _ = std::fs::remove_file(&index);
            let listing = tree::write(&self.clone_at(repo), &part.commit, &folder, &index).map_err(text)?;
            let (files, _) = self.complete(repo, &part.commit, &folder, &index, &listing)?;
            tell(Said::Step(&format!("staged {} of {}, {files} files", part.reference, part.repo)));
            written.push(name);
        }
        held.publish_trees(&written).map_err(text)
    }
}

/// Are the users' directories of a site there, and where they should be?
///
/// # Errors
/// One is missing, or a link leads out of `user-root:`.
pub fn check_directories(site: &Site) -> Result<(), Error> {
    let farm = site.farm.as_ref();
    farm.map_or(Ok(()), |farm| farm.directories.iter().try_for_each(|one| find(farm, one).map(drop)))
}

fn known(farm: &Farm) -> String {
    let all: Vec<String> = farm.repos.iter().map(|placed| format!("{}=REF", placed.repo)).collect();
    all.join(", ")
}

/// A users' directory as a link is to name it.
fn find(farm: &Farm, directory: &Directory) -> Result<PathBuf, Error> {
    let path = farm.user_root.join(&directory.source);
    let missing = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::NoDirectory { path, source }
    };
    let root = farm.user_root.canonicalize().map_err(missing(&farm.user_root))?;
    let real = path.canonicalize().map_err(missing(&path))?;
    if !real.starts_with(&root) {
        return Err(Error::DirectoryOutside { path, to: real });
    }
    if !real.is_dir() {
        return Err(missing(&path)(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
