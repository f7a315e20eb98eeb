//! A repository's branches or tags as directories that are always whole.
//!
//! ```text
//! mode branch          TARGET          its own files in  PARENT/.NAME.failcake/REPO/
//! mode branches, tags  TARGET/<name>                     TARGET/.failcake/REPO/
//! mode branches-flat   TARGET_<name>                     PARENT/.NAME.failcake/REPO/
//!
//! …/state.json       what is published where
//! …/lock             held (flock) while that changes
//! …/trees/ID         a tree that is being written, or was replaced
//! …/trees/ID.index   git's list of what is in it
//! …/adopted/…        what was in the way, kept for whoever put it there
//! ```
//!
//! A tree is written beside the others, made durable, and exchanged with the one that is there: one system call, so whoever
//! opened the directory before reads the old tree to its end, and whoever opens it after finds the new one. The old one
//! is left alone for its grace; then a big one becomes the next tree by what differs, and a small one is deleted.
//!
//! Killed at any moment, every directory is a whole tree, the old or the new one; the next run finishes or clears the
//! rest. What is in the way and was not made here is never touched.

mod choose;
mod exec;
mod hands;
mod place;
mod stage;
mod state;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::config::Repo;
use crate::name::{RefName, Rev};
use crate::process::{self, Stop, User};
use crate::tree::Source;

pub use hands::{Hand, Hands};
use place::Place;
use state::State;
use steps::Run;

/// Why nothing could be published at all.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("can't {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no state of ours ({why}): move it away; directories then count as made by somebody else", path.display())]
    State { path: PathBuf, why: String },
    #[error("another failcake publishes to {}", .0.display())]
    Busy(PathBuf),
    #[error("stopped")]
    Stopped,
    #[error("the default branch is not known: name one with `branch:`")]
    NoBranch,
    #[error("{0:?} can't be published to: name a directory below another one as `target:`")]
    NoTarget(PathBuf),
    #[error(transparent)]
    User(#[from] process::Error),
}

fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// What became of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It now has the files of this commit.
    Published {
        /// Where.
        path: PathBuf,
        /// Of which branch or tag.
        reference: RefName,
        /// The commit.
        commit: Rev,
        /// What was there before, if it was ours.
        previous: Option<Rev>,
    },
    /// Its branch or tag is gone, and so is it.
    Removed {
        /// Where it was.
        path: PathBuf,
        /// Of which branch or tag.
        reference: String,
    },
    /// What somebody else had put there is now there.
    Adopted {
        /// What was in the way.
        path: PathBuf,
        /// Where it is kept.
        kept: PathBuf,
    },
    /// It was left as it was, or something after its publication failed.
    Problem(String),
    /// It was left as it was, because of a clone (as the configuration calls it) that has not all that is needed. When it has
    /// been brought up to date it is worth to publish again.
    Lacking {
        /// Which.
        clone: String,
        /// For people.
        why: String,
    },
    /// Directories whose branch or tag is gone were left as they are, because they are so many.
    Held(String),
}

/// What the directories are to be.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Branches and tags, and what each names.
    pub refs: BTreeMap<RefName, Rev>,
    /// Those that are there, too, but for which nothing is to be published now: what was published of them stays.
    pub waiting: BTreeSet<RefName>,
    /// The one of mode `branch`.
    pub branch: Option<RefName>,
}

/// Directories that were not removed the last time because they were too many at once. `user`: whose the trees are.
///
/// # Errors
/// The state can't be read.
pub fn held(repo: &Repo, user: Option<&User>) -> Result<Vec<PathBuf>, Error> {
    let place = Place::of(repo, user)?;
    Ok(State::load(&place)?.held.iter().map(|dir| place.path(dir)).collect())
}

/// Everything that one publication needs.
pub struct Publisher<'a> {
    /// The repository, with mode and target.
    pub repo: &'a Repo,
    /// Its clone.
    pub source: Source<'a>,
    /// All clones on this machine, for submodules.
    pub clones: &'a [Source<'a>],
    /// Whose the trees are.
    pub user: Option<&'a User>,
    /// Whoever publishes has taken one of them.
    pub hands: &'a Hands,
    /// This machine's name, for `exec:`.
    pub host: &'a str,
    /// Remove directories however many they are.
    pub allow_mass_removal: bool,
    /// Move aside what is in the way.
    pub adopt: bool,
    /// Ends it early.
    pub stop: Option<&'a Stop>,
}

impl Publisher<'_> {
    /// Makes the directories what `look` says. It is asked when nobody else publishes there any more: what it said before
    /// another run had its turn may be older than what that one has published.
    ///
    /// # Errors
    /// What stops everything. What concerns one directory is an [`Outcome::Problem`].
    pub fn publish<E: From<Error>>(&self, look: impl FnOnce() -> Result<Wanted, E>) -> Result<Vec<Outcome>, E> {
        let place = Place::of(self.repo, self.user)?;
        place.prepare(self.user)?;
        let _lock = self.as_user(|| self.lock(&place))?;
        let wanted = look()?;
        Ok(self.as_user(|| self.publish_to(&place, &wanted))?)
    }

    fn as_user<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let Some(user) = self.user else { return work() };
        user.with_rights(work).map_err(at("take the rights of", &user.home))?
    }

    fn publish_to(&self, place: &Place, wanted: &Wanted) -> Result<Vec<Outcome>, Error> {
        let mut state = State::load(place)?;
        steps::repair(place, &mut state, self.repo.grace)?;
        let choice = choose::choose(self.repo, wanted, &state)?;
        let mut outcomes = choice.refused;
        let mut run = Run { publisher: self, place, state: &mut state, outcomes: &mut outcomes };
        run.stage_changed(choice.wishes.values())?;
        run.exchange_staged()?;
        run.remove_gone(|dir| choice.wishes.contains_key(dir) || choice.kept.contains(dir))?;
        run.run_after()?;
        run.clear_retired()?;
        Ok(outcomes)
    }

    fn lock(&self, place: &Place) -> Result<Flock<File>, Error> {
        let path = place.work().join("lock");
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(at("open", &path))?;
        let until = std::time::Instant::now() + self.repo.timeout;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((_, errno)) if errno != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(at("lock", &path)(errno.into()));
                }
                Err((back, _)) => file = back,
            }
            if std::time::Instant::now() > until {
                return Err(Error::Busy(place.folder().to_owned()));
            }
            if self.wait(Duration::from_millis(50)) {
                return Err(Error::Stopped);
            }
        }
    }

    /// Waits, or says that it is time to stop.
    fn wait(&self, time: Duration) -> bool {
        match self.stop {
            Some(stop) => stop.wait(time),
            None => {
                std::thread::sleep(time);
                false
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(Stop::is_set)
    }
}
