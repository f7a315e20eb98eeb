//! The files of a release.

use std::path::Path;

use super::origin::{Origin, Project, Wanted};
use super::{Here, Said, Tell, text};
use crate::config::{Externals, Repo};
use crate::name::Rev;
use crate::release::{Held, Record};
use crate::svn::remote::Found;
use crate::tree::{self, Listing, Source};

impl Here<'_> {
    /// Writes the files of what is wanted, from the retired tree if there is one.
    pub(super) fn write_files(
        &self,
        held: &Held,
        record: &mut Record,
        wanted: &Wanted,
        from_spare: bool,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        match (self.repo, wanted) {
            (Origin::Git(repo), Wanted::Git(commit)) => {
                self.stage_commit(held, record, repo, commit, from_spare, tell)?;
            }
            (Origin::Farm(farm), Wanted::Farm { .. }) => self.stage_farm(held, record, farm, from_spare, tell)?,
            (Origin::Svn(project), Wanted::Svn(found)) => self.export(held, record, project, found, tell)?,
            _ => return Err("what is wanted is of another origin than the site".to_owned()),
        }
        tell(Said::Step(&format!("staged {} files", record.files)));
        Ok(())
    }

    /// The files of a commit.
    pub(super) fn stage_commit(
        &self,
        held: &Held,
        record: &mut Record,
        repo: &Repo,
        commit: &Rev,
        from_spare: bool,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let clone = self.clone_at(repo);
        let (folder, index) = (held.release(&record.release), held.index(&record.release));
        let mut listing = None;
        if from_spare {
            match tree::renew(&clone, commit, &folder, &index) {
                Ok(renewed) => listing = Some(renewed),
                Err(error) => {
                    tell(Said::Step(&format!("staging in full, because the retired tree is of no use: {error}")));
                    held.begin_again(record).map_err(text)?;
                }
            }
        }
        let listing = match listing {
            Some(listing) => listing,
            None => tree::write(&clone, commit, &folder, &index).map_err(text)?,
        };
        let part = held.part_index(&record.release);
        (record.files, record.bytes) = self.complete(repo, commit, &folder, &part, &listing)?;
        Ok(())
    }

    /// The files that the server has. Everything is written anew: svn has no list by which a retired tree could be
    /// brought up to date.
    fn export(
        &self,
        held: &Held,
        record: &mut Record,
        project: &Project<'_>,
        found: &Found,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let remote = project.remote(self.user, self.stop).map_err(text)?;
        let externals = remote.externals(found).map_err(text)?;
        if !externals.is_empty() {
            let folders = externals.join(", ").replace(char::is_control, "?");
            if project.repo.externals == Externals::Refuse {
                return Err(format!(
                    "it has svn:externals on {folders}, and failcake follows none: have the files in the project, or leave them out \
                     with externals: leave-out of the repository"
                ));
            }
            tell(Said::Step(&format!("left out: svn:externals on {folders}")));
        }
        let folder = held.release(&record.release);
        (record.files, record.bytes) = tree::export(&remote, found, &folder).map_err(text)?;
        Ok(())
    }

    /// Adds to `folder` what git leaves out of a tree, and refuses what it leaves out in silence. `index` is scratch. Gives
    /// files and bytes.
    pub(super) fn complete(
        &self,
        repo: &Repo,
        commit: &Rev,
        folder: &Path,
        index: &Path,
        listing: &Listing,
    ) -> Result<(u64, u64), String> {
        let clones: Vec<Source<'_>> = self.repos.values().map(|repo| self.source(repo)).collect();
        tree::complete(&self.source(repo), &clones, commit, folder, index, listing).map_err(text)
    }

    fn source<'a>(&'a self, repo: &'a Repo) -> Source<'a> {
        Source { name: repo.name.as_str(), url: repo.url.as_deref(), clone: self.clone_at(repo) }
    }
}

pub(super) fn commit_of(record: &Record) -> Result<Rev, String> {
    let commit = record.commit.as_deref().ok_or_else(|| format!("release {} has no commit", record.release))?;
    commit.parse().map_err(text)
}
