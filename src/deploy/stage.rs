//! The files of a release.

use super::{Here, Said, Tell, text};
use crate::config::Repo;
use crate::name::Rev;
use crate::release::{Held, Record};
use crate::tree::{self, Listing, Source};

impl Here<'_> {
    /// Writes the files of `record`'s commit, from the retired tree if there is one.
    pub(super) fn write_files(
        &self,
        held: &Held,
        record: &mut Record,
        from_spare: bool,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let commit = commit_of(record)?;
        let (folder, index) = (held.release(&record.release), held.index(&record.release));
        let mut listing = None;
        if from_spare {
            match tree::renew(&self.clone_of(), &commit, &folder, &index) {
                Ok(renewed) => listing = Some(renewed),
                Err(error) => {
                    tell(Said::Step(&format!("staging in full, because the retired tree is of no use: {error}")));
                    held.begin_again(record).map_err(text)?;
                }
            }
        }
        let listing = match listing {
            Some(listing) => listing,
            None => tree::write(&self.clone_of(), &commit, &folder, &index).map_err(text)?,
        };
        self.complete(held, record, &commit, listing)?;
        tell(Said::Step(&format!("staged {} files", record.files)));
        Ok(())
    }

    /// Adds what git leaves out of a tree, and refuses what it leaves out in silence.
    pub(super) fn complete(
        &self,
        held: &Held,
        record: &mut Record,
        commit: &Rev,
        listing: Listing,
    ) -> Result<(), String> {
        let clones: Vec<Source<'_>> = self.repos.values().map(|repo| self.source(repo)).collect();
        let (folder, part) = (held.release(&record.release), held.part_index(&record.release));
        let sum = tree::complete(&self.source(self.repo), &clones, commit, &folder, &part, &listing).map_err(text)?;
        (record.files, record.bytes) = sum;
        Ok(())
    }

    fn source<'a>(&'a self, repo: &'a Repo) -> Source<'a> {
        Source { name: repo.name.as_str(), url: repo.url.as_deref(), clone: self.clone_at(repo) }
    }
}

pub(super) fn commit_of(record: &Record) -> Result<Rev, String> {
    let commit = record.commit.as_deref().ok_or_else(|| format!("release {} has no commit", record.release))?;
    commit.parse().map_err(text)
}
