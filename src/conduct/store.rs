//! What is kept of a plan on the operator's side, so that another process can go on with it.
//!
//! ```text
//! SPOOL/UID/rollouts/
//!   ID/            made as a whole: .tmp-ID, then renamed
//!     plan         the plan as it was signed
//!     key          the private half that signs its orders; only its owner may read it
//!     journal      what nodes said and what was decided, a line of JSON each; flock'ed by whoever conducts
//! ```
//!
//! Killed here: a folder without its name yet is a `.tmp-…` that a later command clears; nothing has been sent then. The
//! journal's last line may be half a line, which is left out: each new one begins with a line feed. What the journal lacks
//! the nodes tell again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::SpoolPlace;
use crate::durable;
use crate::message::deploy::{Document as _, Outcome, Plan, PlanId, Report, Signed};
use crate::name::{NodeName, SiteName};
use crate::signature::StepKey;
use crate::spool::{self, Limits, Spool};

/// How long a plan is kept after its last line.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often, and how long each time, a lock is waited for.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(20);
/// No host has a plan's site for longer after the plan's time: that is one turn.
const HELD: SignedDuration = SignedDuration::from_hours(24);
/// No plan of ours is longer.
const FILE_MAX: u64 = 1024 * 1024;

/// Why a plan can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No place for it.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// There is no such plan here.
    #[error(
        "no plan {0} is kept in {1:?}: plans of another user or machine are not, nor those of more than 30 days ago (failcake rollout list)"
    )]
    NoPlan(PlanId, PathBuf),
    /// There is none at all.
    #[error("no plan is kept in {0:?}: `failcake deploy SITE REF --on FILTER` makes one")]
    None(PathBuf),
    /// Another process is at it.
    #[error("another process conducts plan {0} right now: look at it with `failcake rollout status {0}`")]
    Busy(PlanId),
    /// It is not what was once written.
    #[error("what is kept of a plan in {path:?} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk.
    #[error("can't {what} {path:?}: {source}")]
    Io {
        /// `write`, `open`, ….
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// A node said so, and it was verified.
    Heard(Report),
    /// It was decided that no further host begins.
    Stopped {
        /// Why, for people.
        why: String,
        /// Hosts that are live are to go back.
        #[serde(default)]
        rolls_back: bool,
    },
    /// It is over.
    Ended(Outcome),
    /// These know that it is.
    Parted(Vec<NodeName>),
}

/// Why no further host was to begin, and whether live ones were to go back: as it was noted last.
pub fn stopped(notes: &[Note]) -> Option<(&str, bool)> {
    notes.iter().rev().find_map(|note| match note {
        Note::Stopped { why, rolls_back } => Some((why.as_str(), *rolls_back)),
        _ => None,
    })
}

/// How it ended, if it did.
pub fn ended(notes: &[Note]) -> Option<Outcome> {
    notes.iter().rev().find_map(|note| if let Note::Ended(outcome) = note { Some(*outcome) } else { None })
}

/// What hosts are to hear of it: one that is live although the rest was told to go back goes back then.
pub fn verdict(notes: &[Note]) -> Option<Outcome> {
    match stopped(notes) {
        Some((_, true)) => ended(notes).map(|_| Outcome::RolledBack),
        _ => ended(notes),
    }
}

/// All plans of this user.
#[derive(Debug)]
pub struct Store(PathBuf);

/// A plan that is over, and hosts that may not know it: they keep the site from the next one.
#[derive(Debug)]
pub struct Owed {
    /// The plan.
    pub kept: Kept,
    /// How it ended.
    pub outcome: Outcome,
    /// Who may not know.
    pub hosts: Vec<NodeName>,
}

/// A plan that this process conducts: nobody else can, until this is dropped.
#[derive(Debug)]
pub struct Kept {
    /// The plan.
    pub plan: Plan,
    /// As it was signed.
    pub signed: Signed,
    /// Signs its orders.
    pub key: StepKey,
    journal: File,
    path: PathBuf,
}

/// A plan as it is told.
#[derive(Debug)]
pub struct Seen {
    /// The plan.
    pub plan: Plan,
    /// What came of it so far.
    pub notes: Vec<Note>,
    /// A process conducts it right now.
    pub is_conducted: bool,
}

impl Store {
    /// Opens the folder; removes what is too old.
    ///
    /// # Errors
    /// [`Error::Spool`].
    pub fn open(place: &SpoolPlace) -> Result<Store, Error> {
        let limits = Limits { count: place.max_count, bytes: place.max_bytes };
        let store = Store(Spool::open(&place.parent, limits)?.inner("rollouts")?.path().to_owned());
        store.prune();
        Ok(store)
    }

    /// Keeps a new plan, durably: what is sent of it can be gone on with after any crash.
    ///
    /// # Errors
    /// [`Error::Io`]: nothing is kept, and nothing may be sent.
    pub fn keep(&self, plan: Plan, signed: Signed, key: StepKey) -> Result<Kept, Error> {
        let (temporary, path) = (self.0.join(format!(".tmp-{}", plan.id)), self.0.join(plan.id.to_string()));
        let written = (|| {
            DirBuilder::new().mode(0o700).create(&temporary).map_err(at("make", &temporary))?;
            let text = serde_json::to_string(&signed).unwrap_or_default();
            for (name, content) in [("plan", text.as_bytes()), ("key", key.pkcs8()), ("journal", b"")] {
                let file = temporary.join(name);
                let mut options = OpenOptions::new();
                let file_of = options.write(true).create_new(true).mode(0o600).open(&file);
                file_of
                    .and_then(|mut opened| opened.write_all(content).and_then(|()| opened.sync_all()))
                    .map_err(at("write", &file))?;
            }
            let journal = lock(&temporary, plan.id)?;
            File::open(&temporary).and_then(|folder| folder.sync_all()).map_err(at("sync", &temporary))?;
            fs::rename(&temporary, &path).map_err(at("rename", &temporary))?;
            File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(at("sync", &self.0))?;
            Ok(journal)
        })();
        match written {
            Ok(journal) => Ok(Kept { plan, signed, key, journal, path: path.join("journal") }),
            Err(error) => {
                let _ = fs::remove_dir_all(&temporary);
                Err(error)
            }
        }
    }

    /// The plan of that name, to go on with, and what came of it so far.
    ///
    /// # Errors
    /// [`Error::NoPlan`], [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn take(&self, id: PlanId) -> Result<(Kept, Vec<Note>), Error> {
        let folder = self.folder(id)?;
        let mut journal = lock(&folder, id);
        // Whoever only looks has it for a moment.
        for _ in 0..LOOKS {
            if !matches!(journal, Err(Error::Busy(_))) {
                break;
            }
            std::thread::sleep(LOOK);
            journal = lock(&folder, id);
        }
        let journal = journal?;
        let (plan, signed) = read_plan(&folder, id)?;
        let path = folder.join("key");
        let key = StepKey::from_pkcs8(&read(&path)?).map_err(|error| damaged(&path, error))?;
        let path = folder.join("journal");
        let notes = read_notes(&path)?;
        Ok((Kept { plan, signed, key, journal, path }, notes))
    }

    /// The plan of that name, whoever conducts it.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn look(&self, id: PlanId) -> Result<Seen, Error> {
        let folder = self.folder(id)?;
        let is_conducted = matches!(lock(&folder, id), Err(Error::Busy(_)));
        let (plan, _) = read_plan(&folder, id)?;
        Ok(Seen { plan, notes: read_notes(&folder.join("journal"))?, is_conducted })
    }

    /// All that are kept, newest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<PlanId>, Error> {
        let names = fs::read_dir(&self.0).map_err(at("read", &self.0))?.flatten().map(|entry| entry.file_name());
        // Names are of the time that they were made.
        let mut ids: Vec<PlanId> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// The plans of a site that are over, though not for all of `hosts`, newest first. What can't be read is left out, and
    /// so is what another process is at.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn owed(&self, site: &SiteName, hosts: &[NodeName], now: Timestamp) -> Result<Vec<Owed>, Error> {
        let may_be_held = |plan: &Plan| plan.site == *site && plan.not_after.duration_until(now) < HELD;
        let mut owed = Vec::new();
        for id in self.list()? {
            if !read_plan(&self.0.join(id.to_string()), id).is_ok_and(|(plan, _)| may_be_held(&plan)) {
                continue;
            }
            let Ok((kept, notes)) = self.take(id) else { continue };
            let Some(outcome) = verdict(&notes) else { continue };
            let parted =
                |host: &NodeName| notes.iter().any(|note| matches!(note, Note::Parted(all) if all.contains(host)));
            let left = kept.plan.hosts.iter().filter(|host| hosts.contains(host) && !parted(host));
            let left: Vec<NodeName> = left.cloned().collect();
            if !left.is_empty() {
                owed.push(Owed { kept, outcome, hosts: left });
            }
        }
        Ok(owed)
    }

    /// The newest.
    ///
    /// # Errors
    /// [`Error::None`], [`Error::Io`].
    pub fn newest(&self) -> Result<PlanId, Error> {
        self.list()?.first().copied().ok_or_else(|| Error::None(self.0.clone()))
    }

    fn folder(&self, id: PlanId) -> Result<PathBuf, Error> {
        let folder = self.0.join(id.to_string());
        if folder.is_dir() { Ok(folder) } else { Err(Error::NoPlan(id, self.0.clone())) }
    }

    /// Best effort: what can't be removed now is looked at again next time.
    fn prune(&self) {
        durable::clear_leftovers(&self.0);
        for id in self.list().unwrap_or_default() {
            let folder = self.0.join(id.to_string());
            let modified = fs::metadata(folder.join("journal")).and_then(|metadata| metadata.modified());
            let is_old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
            // Whoever still conducts it has the lock.
            if is_old && lock(&folder, id).is_ok() {
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
}

impl Kept {
    /// Writes lines down, durably.
    ///
    /// # Errors
    /// [`Error::Io`]. The nodes tell again what is missing then.
    pub fn note(&mut self, notes: &[Note]) -> Result<(), Error> {
        let mut text = String::new();
        for note in notes {
            text.push('\n');
            text.push_str(&serde_json::to_string(note).unwrap_or_default());
        }
        let written = self.journal.write_all(text.as_bytes()).and_then(|()| self.journal.sync_data());
        written.map_err(at("write", &self.path))
    }
}

/// Opens the journal to append to it, and locks it until it is closed.
fn lock(folder: &Path, id: PlanId) -> Result<File, Error> {
    let path = folder.join("journal");
    let file = OpenOptions::new().append(true).open(&path).map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy(id)),
        Err(TryLockError::Error(source)) => Err(at("lock", &path)(source)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(at("open", path))?;
    file.take(FILE_MAX).read_to_end(&mut content).map_err(at("read", path))?;
    Ok(content)
}

fn read_plan(folder: &Path, id: PlanId) -> Result<(Plan, Signed), Error> {
    let path = folder.join("plan");
    let signed: Signed = serde_json::from_slice(&read(&path)?).map_err(|error| damaged(&path, error))?;
    let plan = Plan::from_text(&signed.document).map_err(|error| damaged(&path, error))?;
    if plan.id != id {
        return Err(damaged(&path, format!("it is plan {}", plan.id)));
    }
    Ok((plan, signed))
}

/// What can't be read is a line that a crash cut off, or one of a newer failcake.
fn read_notes(path: &Path) -> Result<Vec<Note>, Error> {
    let lines = BufReader::new(File::open(path).map_err(at("open", path))?).split(b'\n');
    let mut notes = Vec::new();
    for line in lines {
        notes.extend(serde_json::from_slice(&line.map_err(at("read", path))?).ok());
    }
    Ok(notes)
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Damaged { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests;
