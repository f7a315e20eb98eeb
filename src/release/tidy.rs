//! Keeping a site in order: what a killed run left behind, and releases that are no longer needed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::held::Held;
use super::lock::Lock;
use super::record::{Record, ReleaseName, State, Step, When};
use super::{Error, KEEP_FAILED, NEW_LINK, Place, at, deployed_line, list, read_revision};
use crate::process::{self, Stop};

/// Files beside a release's record that only its staging needs: git's indexes, and their locks, which a killed git leaves.
const STAGED: [&str; 4] = ["index", "index.lock", "part", "part.lock"];

/// The entry of the environment that tells what is run around a host's turn from its scripts.
pub const AROUND: &str = "FAILCAKE_STEP";

impl Place {
    /// Takes the lock of what is run around a host's turn, beside the site's lock: whoever deploys at the host meanwhile is not
    /// held up. What a killed run of that kind left running is ended.
    ///
    /// # Errors
    /// [`Error::Busy`], and whatever the disk says.
    pub fn turn(&self, who: &str, what: &str, wait: bool, stop: Option<&Stop>) -> Result<Lock, Error> {
        let lock = Lock::take(&self.turn_lock(), who, what, wait, stop)?;
        if let Some(session) = lock.killed.as_ref().and_then(|killed| killed.session) {
            end_leftovers(&self.current_link(), session, format!("{AROUND}=").as_bytes());
        }
        Ok(lock)
    }

    fn turn_lock(&self) -> PathBuf {
        self.root.join(".failcake/turn.lock")
    }
}

impl Held {
    /// Clears what a killed run left behind. Killed itself, the next one does the rest.
    ///
    /// Only the run that has the lock builds, so whatever looks unfinished now has nobody working on it.
    pub(super) fn repair(&self) -> Result<(), Error> {
        if let Some(session) = self.killed().and_then(|killed| killed.session) {
            end_leftovers(&self.current_link(), session, b"");
        }
        // One that can be taken is nobody's; one that can't is of a turn, which does the same.
        if self.turn_lock().exists() {
            let _ = self.turn("somebody", "look what a killed run left", false, None);
        }
        for (folder, prefix) in [(self.root.clone(), NEW_LINK), (self.records(), ".tmp-")] {
            for name in list(&folder)? {
                if name.as_bytes().starts_with(prefix.as_bytes()) {
                    let path = folder.join(name);
                    fs::remove_file(&path).map_err(at("remove", &path))?;
                }
            }
        }
        self.empty_trash();
        self.clear_new_trees()?;
        if self.in_place {
            let _ = fs::remove_file(self.root.join(".failcake/in-place.index.lock"));
        }
        if !self.has_spare() {
            self.drop_spare();
        }
        let current = self.current()?;
        for name in list(&self.records())? {
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(name) = name.and_then(|name| name.parse::<ReleaseName>().ok()) {
                self.repair_release(&name, current.as_ref() == Some(&name))?;
            }
        }
        if let Some(current) = current.filter(|current| !self.in_place && !self.json(current).exists()) {
            self.adopt(&current)?;
        }
        Ok(())
    }

    fn repair_release(&self, name: &ReleaseName, is_current: bool) -> Result<(), Error> {
        let there = self.release(name).is_dir();
        let Some(mut record) = self.record(name) else {
            // A power cut can leave the record of a release that was being built empty: it was not yet synced.
            let empty = fs::metadata(self.json(name)).is_ok_and(|meta| meta.len() == 0);
            return if empty && !is_current { self.discard(name) } else { Ok(()) };
        };
        match record.state {
            // The tree of one that failed early is not worth keeping; that it failed is.
            State::Failed if !there => self.remove_files(name, &STAGED),
            State::Failed => Ok(()),
            State::Building | State::Staged | State::Ready if self.in_place => {
                let why = "its run was killed, so current/ may hold a mixture of two commits: deploy again";
                self.record_failure(&mut record, Step::Stage, why)
            }
            _ if !there => self.forget(name),
            State::Staged if !is_current && record.staged_until.is_some_and(|until| until > When::now()) => Ok(()),
            State::Building | State::Staged | State::Ready => {
                if !is_current {
                    return self.discard(name);
                }
                // Killed after the switch.
                record.go_live(self.in_order(switched_at(&self.current_link())));
                record.unfinished = true;
                self.append(&deployed_line(&record))?;
                self.write(&record)
            }
            // Killed between the mark and the switch of a rollback, or after its switch and before the record.
            State::Live if is_current && (record.rolled_back.is_some() || record.left.is_some()) => {
                record.go_live(self.in_order(switched_at(&self.current_link())));
                self.write(&record)
            }
            // Killed before it was told that another one is live.
            State::Live if !is_current && record.left.is_none() => {
                record.left = Some(self.in_order(When::now()));
                self.write(&record)
            }
            State::Live => Ok(()),
        }
    }

    /// Writes a record for a live release that somebody else made (Capistrano, a person).
    fn adopt(&self, name: &ReleaseName) -> Result<(), Error> {
        let since = switched_at(&self.current_link());
        let mut record = Record {
            release: name.clone(),
            reference: "(adopted)".into(),
            commit: read_revision(&self.release(name)).map(|revision| revision.id()),
            parts: self.parts(name),
            previous: None,
            who: "(adopted)".into(),
            request_id: String::new(),
            state: State::Live,
            failed_at: None,
            why: None,
            begun: since,
            first_live: None,
            live_since: None,
            left: None,
            rolled_back: None,
            staged_until: None,
            unfinished: false,
            files: 0,
            bytes: 0,
        };
        record.go_live(since);
        self.write(&record)
    }

    /// Removes what is over `keep` good releases and over [`KEEP_FAILED`] others. Never removed: the live one, the one a
    /// rollback goes to, one that was live less than `grace` ago, one that a process stands in, and folders that no
    /// record speaks of. Gives the names of what it removed.
    ///
    /// # Errors
    /// The disk says no.
    pub fn prune(&self, keep: usize, grace: Duration) -> Result<Vec<ReleaseName>, Error> {
        let Some(current) = self.current()? else { return Ok(Vec::new()) };
        let before = self.before(&current).ok();
        let now = jiff::Timestamp::now();
        let in_grace = |record: &Record| {
            record.left.is_some_and(|left| {
                now.duration_since(left.0) < jiff::SignedDuration::try_from(grace).unwrap_or(jiff::SignedDuration::MAX)
            })
        };
        let mut history = self.history()?;
        history.retain(|record| record.state != State::Staged);
        history.sort_by_key(|record| std::cmp::Reverse(record.first_live.unwrap_or(record.begun)));
        let (good, bad): (Vec<_>, Vec<_>) = history.into_iter().partition(Record::is_good);
        let surplus = good.into_iter().skip(keep.max(1)).chain(bad.into_iter().skip(KEEP_FAILED));
        let surplus: Vec<_> = surplus
            .filter(|record| record.release != current && Some(&record.release) != before.as_ref())
            .filter(|record| self.in_place || !(record.first_live.is_some() && in_grace(record)))
            .collect();
        if surplus.is_empty() {
            return Ok(Vec::new());
        }
        if self.in_place {
            return surplus.into_iter().map(|record| self.forget(&record.release).map(|()| record.release)).collect();
        }
        let used = process::folders_in_use();
        let mut removed = Vec::new();
        for record in surplus {
            let folder = self.release(&record.release);
            let real = folder.canonicalize().unwrap_or(folder);
            if !used.iter().any(|used| used.starts_with(&real)) {
                if record.is_good() && !self.has_spare() && self.index(&record.release).exists() {
                    self.set_aside(&record.release)?;
                } else {
                    self.discard(&record.release)?;
                }
                removed.push(record.release);
            }
        }
        Ok(removed)
    }

    /// Is there a tree to make the next release of?
    pub fn has_spare(&self) -> bool {
        self.spare().join("tree").is_dir() && self.spare().join("index").is_file()
    }

    /// Makes the spare of a release, so that the next one costs what differs. A crash leaves an index without a tree,
    /// which is no spare, or a record without a folder; the next run clears both.
    pub(super) fn set_aside(&self, name: &ReleaseName) -> Result<(), Error> {
        self.drop_spare();
        let spare = self.spare();
        fs::create_dir_all(&spare).map_err(at("create", &spare))?;
        fs::rename(self.index(name), spare.join("index")).map_err(at("move", &self.index(name)))?;
        fs::rename(self.release(name), spare.join("tree")).map_err(at("move", &self.release(name)))?;
        self.forget(name)
    }

    pub(super) fn drop_spare(&self) {
        // By way of the trash: half a spare would be taken for a whole one.
        if self.put_into_trash(&self.spare()).is_ok() {
            self.empty_trash();
        }
    }

    /// Takes a release away: at once out of `releases/` by a rename, so that no half of it is ever there; then its record.
    /// A crash between the two leaves a record without a folder, which the next run forgets.
    ///
    /// # Errors
    /// The disk says no.
    pub fn discard(&self, name: &ReleaseName) -> Result<(), Error> {
        self.discard_tree(name)?;
        self.forget(name)
    }

    /// Takes only a release's folder away.
    ///
    /// # Errors
    /// The disk says no.
    pub fn discard_tree(&self, name: &ReleaseName) -> Result<(), Error> {
        if self.in_place {
            // The one folder that is served.
            return Ok(());
        }
        self.put_into_trash(&self.release(name))?;
        self.empty_trash();
        Ok(())
    }

    /// Takes a folder out of sight at once, if it is there.
    pub(super) fn put_into_trash(&self, folder: &Path) -> Result<(), Error> {
        match fs::rename(folder, self.trash().join(uuid::Uuid::new_v4().simple().to_string())) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", folder)(e)),
            _ => Ok(()),
        }
    }

    /// Takes away what was staged of a release that failed; its record stays.
    ///
    /// # Errors
    /// The disk says no.
    pub fn discard_staged(&self, name: &ReleaseName) -> Result<(), Error> {
        self.discard_tree(name)?;
        self.remove_files(name, &STAGED)
    }

    fn forget(&self, name: &ReleaseName) -> Result<(), Error> {
        self.remove_files(name, &STAGED)?;
        // The record last: as long as it is there, the next run finds the others.
        self.remove_files(name, &["log", "json"])
    }

    fn remove_files(&self, name: &ReleaseName, kinds: &[&str]) -> Result<(), Error> {
        for kind in kinds {
            let path = self.records().join(format!("{name}.{kind}"));
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// What can't be deleted (an application wrote files there as another user) stays in the trash and stops nothing.
    pub(super) fn empty_trash(&self) {
        for name in list(&self.trash()).unwrap_or_default() {
            let path = self.trash().join(name);
            if let Err(error) = fs::remove_dir_all(&path) {
                log::warn!("can't remove {}: {error}; remove it by hand", path.display());
            }
        }
    }
}

/// When the link was made: the best guess for a switch that nobody lived to record.
fn switched_at(link: &Path) -> When {
    let made = fs::symlink_metadata(link).and_then(|meta| meta.modified()).ok();
    made.and_then(|made| jiff::Timestamp::try_from(made).ok()).map_or_else(When::now, When)
}

/// Ends what a killed run's scripts left running. `step`: the begin of one more entry of their environment, for those that are
/// run beside the lock.
fn end_leftovers(current: &Path, session: i32, step: &[u8]) {
    let mut wanted = b"FAILCAKE_CURRENT=".to_vec();
    wanted.extend_from_slice(current.as_os_str().as_bytes());
    process::end_left(session, &current.display().to_string(), |environment| {
        environment.contains(&wanted.as_slice()) && environment.iter().any(|entry| entry.starts_with(step))
    });
}
