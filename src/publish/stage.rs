//! One tree, written beside the others.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;

use super::Publisher;
use super::choose::Wish;
use super::exec::Scene;
use super::place::Place;
use super::state::{Published, Retired};
use crate::name::{RefKind, Rev};
use crate::tree::{self, Listing};

/// Octets; with less than this a disk is full.
const FULL: u64 = 256 * 1024;

/// A tree that is being written.
pub(super) struct Stage<'a> {
    pub(super) place: &'a Place,
    pub(super) publisher: &'a Publisher<'a>,
    pub(super) wish: &'a Wish,
    /// Its name among ours.
    pub(super) id: String,
}

/// One that is written.
pub(super) struct Written {
    commit: Rev,
    files: u64,
}

/// Why there is none.
pub(super) struct Refused {
    pub(super) why: String,
    /// The clone that has not all that is needed.
    pub(super) lacking: Option<String>,
}

impl From<String> for Refused {
    fn from(why: String) -> Refused {
        Refused { why, lacking: None }
    }
}

impl Stage<'_> {
    /// Writes it, from the one that was replaced the last time if that is given.
    pub(super) fn write(&self, spare: Option<Retired>) -> Result<Written, Refused> {
        let commit = self.commit()?;
        let written = self.write_files(spare, &commit).and_then(|listing| {
            let part = self.place.index(&format!("{}.part", self.id));
            let publisher = self.publisher;
            tree::complete(&publisher.source, publisher.clones, &commit, &self.folder(), &part, &listing)
        });
        match written {
            Ok((files, _)) => Ok(Written { commit, files }),
            Err(error) => {
                let why = self.give_up(error.to_string());
                let lacking = if let tree::Error::Lacking { clone, .. } = error { Some(clone) } else { None };
                Err(Refused { why, lacking })
            }
        }
    }

    /// Lets `exec: before` look at it. What comes of it is ready to take its place.
    pub(super) fn check(&self, written: Written, previous: Option<Rev>) -> Result<Published, Refused> {
        let Written { commit, files } = written;
        let (target, folder) = (self.place.path(&self.wish.dir), self.folder());
        let reference = self.wish.reference.to_string_lossy().into_owned();
        let scene = Scene {
            key: "before",
            reference: &reference,
            commit: &commit,
            previous: previous.as_ref(),
            target: &target,
            tree: &folder,
        };
        let exec = &self.publisher.repo.exec;
        let checked = self.publisher.run_exec(&exec.before, &scene).and_then(|()| {
            let meta = fs::symlink_metadata(&folder).map_err(|error| error.to_string())?;
            Ok(std::os::unix::fs::MetadataExt::ino(&meta))
        });
        let inode = checked.map_err(|why| self.give_up(why))?;
        let (id, tree, since) = (self.wish.id.clone(), self.id.clone(), Timestamp::now());
        let (owes_after, adopts) = (!exec.after.is_empty(), false);
        Ok(Published { reference, id, commit, tree, inode, files, since, previous, owes_after, adopts })
    }

    fn folder(&self) -> PathBuf {
        self.place.tree(&self.id)
    }

    fn commit(&self) -> Result<Rev, String> {
        let Wish { reference, id, .. } = self.wish;
        if reference.kind() != RefKind::Tag {
            return Ok(id.clone());
        }
        let found = self.publisher.source.clone.resolve(&reference.short()).map_err(|error| error.to_string())?;
        found.map(|(_, commit)| commit).ok_or_else(|| "it is no tag of a commit".to_owned())
    }

    fn write_files(&self, spare: Option<Retired>, commit: &Rev) -> Result<Listing, tree::Error> {
        let clone = &self.publisher.source.clone;
        let (folder, index) = (self.folder(), self.place.index(&self.id));
        if let Some(spare) = spare {
            let (old, old_index) = (self.place.tree(&spare.tree), self.place.index(&spare.tree));
            if fs::rename(&old, &folder).is_ok() && fs::rename(&old_index, &index).is_ok() {
                match tree::renew(clone, commit, &folder, &index) {
                    Ok(listing) => return Ok(listing),
                    Err(error) => log::warn!("writing {commit} in full: the replaced tree is of no use: {error}"),
                }
            }
            for path in [&old, &old_index, &folder, &index] {
                self.place.delete(path);
            }
        }
        let io = |source| tree::Error::Io { path: folder.clone(), source };
        fs::create_dir(&folder).map_err(io)?;
        tree::write(clone, commit, &folder, &index)
    }

    /// Half a tree helps nobody, and a full disk needs the room.
    fn give_up(&self, mut why: String) -> String {
        // git does not say why it could not write a file.
        if tree::free(self.place.work()).is_some_and(|(bytes, files)| bytes < FULL || files == 0) {
            why.push_str(" (the disk is full: free some space)");
        }
        self.place.delete(&self.folder());
        self.place.delete(&self.place.index(&self.id));
        why
    }
}
