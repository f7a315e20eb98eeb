//! Changing a site, under its lock.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::lock::{Holder, Lock};
use super::record::{Record, ReleaseName, RolledBack, State, Step, When};
use super::{Error, NEW_LINK, Place, Revision, at, list};
use crate::durable::{Durable, replace};

/// A site that is locked and in order: the only thing that changes it.
#[derive(Debug)]
pub struct Held {
    place: Place,
    lock: Lock,
}

/// A release that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Its record.
    pub record: Record,
    /// Its folder holds the files of another commit, and its index names them; otherwise it is empty.
    pub from_spare: bool,
}

impl std::ops::Deref for Held {
    type Target = Place;
    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Held {
    pub(super) fn new(place: Place, lock: Lock) -> Held {
        Held { place, lock }
    }

    /// Who was killed while it had the lock, before us.
    pub(super) fn killed(&self) -> Option<&Holder> {
        self.lock.killed.as_ref()
    }

    /// Begins a release: from here on its record says `building`, so that a crash at any later point is recognised.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn begin(&self, revision: &Revision, reference: &str, who: &str, request_id: &str) -> Result<Begun, Error> {
        let now = When::now();
        let record = Record {
            release: self.fresh_name(revision, now)?,
            reference: reference.to_owned(),
            commit: Some(revision.id()),
            parts: if let Revision::Farm(parts) = revision { parts.clone() } else { Vec::new() },
            previous: self.current()?,
            who: who.to_owned(),
            request_id: request_id.to_owned(),
            state: State::Building,
            failed_at: None,
            why: None,
            begun: now,
            first_live: None,
            live_since: None,
            left: None,
            rolled_back: None,
            staged_until: None,
            unfinished: false,
            files: 0,
            bytes: 0,
        };
        let folder = self.release(&record.release);
        // The record first: a folder without a record would be taken for somebody else's and stay for ever.
        self.write_later(&record)?;
        if self.in_place {
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
            return Ok(Begun { record, from_spare: false });
        }
        if !revision.is_indexed() {
            self.drop_spare();
        } else if self.has_spare() {
            let (tree, index) = (self.spare().join("tree"), self.spare().join("index"));
            fs::rename(&tree, &folder).map_err(at("move", &tree))?;
            fs::rename(&index, self.index(&record.release)).map_err(at("move", &index))?;
            return Ok(Begun { record, from_spare: true });
        }
        fs::create_dir(&folder).map_err(at("create", &folder))?;
        Ok(Begun { record, from_spare: false })
    }

    /// Empties a release that could not be made of the spare.
    ///
    /// # Errors
    /// The disk says no.
    pub fn begin_again(&self, record: &Record) -> Result<(), Error> {
        self.discard_staged(&record.release)?;
        let folder = self.release(&record.release);
        fs::create_dir(&folder).map_err(at("create", &folder))
    }

    /// A name that sorts after all others: two releases in one second, or a clock that was set back, push it ahead.
    fn fresh_name(&self, revision: &Revision, now: When) -> Result<ReleaseName, Error> {
        // Records too: one that failed early has no folder any more.
        let names = [list(&self.root.join("releases"))?, list(&self.records())?].concat();
        let names = names.iter().filter_map(|name| name.to_str()?.parse::<ReleaseName>().ok());
        let newest = names.filter_map(|name| name.moment()).max();
        let after_newest = newest.and_then(|newest| newest.checked_add(jiff::SignedDuration::from_secs(1)).ok());
        Ok(ReleaseName::new(after_newest.map_or(now.0, |after| after.max(now.0)), revision))
    }

    /// Makes the shared folders that are missing and links every shared path into `release`, in place of what the
    /// commit has there. A crash leaves a release that is still being built.
    ///
    /// # Errors
    /// The commit has something else on the way to a shared path; the disk says no.
    pub fn link_shared(&self, release: &ReleaseName, shared: &[PathBuf]) -> Result<(), Error> {
        self.check_shared(shared)?;
        for name in shared {
            let target = self.shared().join(name);
            if !target.exists() {
                fs::create_dir_all(&target).map_err(at("create", &target))?;
            }
            self.link_up(release, name, &Path::new("shared").join(name))?;
        }
        Ok(())
    }

    /// Keeps a release that was staged ahead of its turn. A crash before it leaves one that is being built, which the
    /// next run clears.
    ///
    /// # Errors
    /// As [`make_durable`](Self::make_durable).
    pub fn keep_staged(&self, record: &mut Record, until: When) -> Result<(), Error> {
        record.state = State::Staged;
        record.staged_until = Some(until);
        self.write_later(record)?;
        self.sync()
    }

    /// The release that `request` staged ahead.
    ///
    /// # Errors
    /// The records can't be read.
    pub fn staged(&self, request: &str) -> Result<Option<Record>, Error> {
        let found = self.history()?.into_iter().find(|it| it.state == State::Staged && it.request_id == request);
        Ok(found.filter(|record| self.whole(&record.release).is_ok()))
    }

    /// From here on a staged release is built like any other.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn take_up(&self, record: &mut Record) -> Result<(), Error> {
        record.state = State::Building;
        record.staged_until = None;
        // Another release may have gone live meanwhile.
        record.previous = self.current()?;
        self.write_later(record)
    }

    /// Drops a staged release; its tree is of use for the next one.
    ///
    /// # Errors
    /// The disk says no.
    pub fn drop_staged(&self, record: &Record) -> Result<(), Error> {
        if self.has_spare() { self.discard(&record.release) } else { self.set_aside(&record.release) }
    }

    /// Puts a link at `name` of a release that leads to `to` of the site.
    pub(super) fn link_up(&self, release: &ReleaseName, name: &Path, to: &Path) -> Result<(), Error> {
        let link = self.make_way(release, name)?;
        let up: PathBuf = std::iter::repeat_n("..", name.components().count() + 1).collect();
        std::os::unix::fs::symlink(up.join(to), &link).map_err(at("create", &link))
    }

    /// Puts a link at `name` of a release that leads to `to`, which is elsewhere.
    ///
    /// # Errors
    /// As [`make_way`](Self::make_way).
    pub fn link_out(&self, release: &ReleaseName, name: &Path, to: &Path) -> Result<(), Error> {
        let link = self.make_way(release, name)?;
        std::os::unix::fs::symlink(to, &link).map_err(at("create", &link))
    }

    /// Makes the folders on the way to `name` of a release, and removes what the commit has there; gives its path.
    ///
    /// # Errors
    /// The commit has something on the way that is no folder; the disk says no.
    pub fn make_way(&self, release: &ReleaseName, name: &Path) -> Result<PathBuf, Error> {
        let mut folder = self.release(release);
        // Without a trailing slash, which would make `folder/name/` of a link.
        let clean: PathBuf = name.components().collect();
        for part in clean.parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            match fs::symlink_metadata(&folder) {
                Ok(meta) if meta.is_dir() => {}
                // A link of the commit could lead anywhere.
                Ok(_) => return Err(Error::InTheWay { name: name.to_owned(), part: Path::new(&part).to_owned() }),
                Err(_) => fs::create_dir(&folder).map_err(at("create", &folder))?,
            }
        }
        let path = self.release(release).join(&clean);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).map_err(at("remove", &path))?,
            Ok(_) => fs::remove_file(&path).map_err(at("remove", &path))?,
            Err(_) => {}
        }
        Ok(path)
    }

    /// Everything of a release on the disk, then its record says `ready`.
    ///
    /// # Errors
    /// The disk says no: also with what it had promised to write before.
    pub fn make_durable(&self, record: &mut Record) -> Result<(), Error> {
        record.state = State::Ready;
        self.write_later(record)?;
        self.sync()
    }

    /// Everything on the site's disk that was written so far.
    ///
    /// # Errors
    /// As [`make_durable`](Self::make_durable).
    pub fn sync(&self) -> Result<(), Error> {
        let folder = File::open(&self.root).map_err(at("open", &self.root))?;
        // One call for the tree, its index, the record and the folders. What is elsewhere (a mount below `shared/`) is
        // not the release's.
        nix::unistd::syncfs(&folder).map_err(|e| at("sync", &self.root)(e.into()))
    }

    /// Points `current` at `to` and makes that durable. It is one rename: whoever looks sees the old release or the new
    /// one. A crash before it leaves a temporary link that the next run clears; after it, a record that lags behind
    /// and that the next run puts right.
    ///
    /// # Errors
    /// The disk says no; `current` is then what it was.
    pub fn switch(&self, to: &ReleaseName) -> Result<(), Error> {
        self.whole(to)?;
        self.point(&Path::new("releases").join(to.as_str()))
    }

    /// Points `current` back at `target`, or removes it when there was none.
    ///
    /// # Errors
    /// As [`switch`](Self::switch).
    pub fn switch_back(&self, target: Option<&Path>) -> Result<(), Error> {
        let link = self.current_link();
        match target {
            Some(target) => self.point(target),
            None => fs::remove_file(&link).map_err(at("remove", &link)),
        }
    }

    fn point(&self, target: &Path) -> Result<(), Error> {
        self.current_target()?;
        let link = self.current_link();
        let new = self.root.join(format!("{NEW_LINK}{}", uuid::Uuid::new_v4().simple()));
        std::os::unix::fs::symlink(target, &new).map_err(at("create", &new))?;
        if let Err(error) = fs::rename(&new, &link) {
            let _ = fs::remove_file(&new);
            return Err(at("switch", &link)(error));
        }
        let folder = File::open(&self.root).map_err(at("open", &self.root))?;
        folder.sync_all().map_err(at("sync", &self.root))
    }

    /// Records that a release is no longer the live one. Durable with the next record: lost, the next run sees it by the
    /// link.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn record_left(&self, name: &ReleaseName) -> Result<(), Error> {
        let Some(mut record) = self.record(name) else { return Ok(()) };
        record.left = Some(self.in_order(When::now()));
        self.put(&record, Durable::Soon)
    }

    /// Records, before the switch, that a release is rolled back from; or only that it is left, when `to` is the newer one
    /// (a rollback that is taken back). Durable with the next record. A crash between the two leaves the mark on the live
    /// release, from which the next run takes it away.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn record_rolled_back(&self, name: &ReleaseName, by: &str, to: &Record) -> Result<(), Error> {
        let Some(mut record) = self.record(name) else { return Ok(()) };
        let now = self.in_order(When::now());
        record.left = Some(now);
        if to.first_live < record.first_live || record.first_live.is_none() {
            record.rolled_back = Some(RolledBack { by: by.to_owned(), at: now, to: to.release.clone() });
        }
        self.put(&record, Durable::Soon)
    }

    /// That moment, or one just after the last that the records tell of: their order says which release came after which, also
    /// when the clock was set back since. Not for a clock that was off by days: that is a moment nobody wants to go on from.
    pub(super) fn in_order(&self, now: When) -> When {
        const OFF: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
        let history = self.history().unwrap_or_default();
        let moments =
            history.into_iter().flat_map(|record| [record.first_live, record.live_since, record.left]).flatten();
        let last = moments.filter(|moment| moment.0.duration_since(now.0) < OFF).max();
        let after = last.and_then(|last| last.0.checked_add(jiff::SignedDuration::from_micros(1)).ok());
        after.map_or(now, |after| now.max(When(after)))
    }

    /// Records that a release is live since now.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn record_live(&self, record: &mut Record) -> Result<(), Error> {
        record.go_live(self.in_order(When::now()));
        self.write(record)
    }

    /// Records that a step failed.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn record_failure(&self, record: &mut Record, step: Step, why: &str) -> Result<(), Error> {
        record.state = State::Failed;
        record.failed_at = Some(step);
        record.why = Some(why.to_owned());
        record.left = Some(When::now());
        self.write(record)
    }

    /// Writes a record durably.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn write(&self, record: &Record) -> Result<(), Error> {
        self.put(record, Durable::Now)
    }

    /// Records that a release is live all the same, though its `post-deploy` failed.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn record_kept(&self, record: &mut Record, why: &str) -> Result<(), Error> {
        record.go_live(self.in_order(When::now()));
        record.state = State::Failed;
        record.failed_at = Some(Step::PostDeploy);
        record.why = Some(why.to_owned());
        self.write(record)
    }

    fn write_later(&self, record: &Record) -> Result<(), Error> {
        self.put(record, Durable::Later)
    }

    fn put(&self, record: &Record, durable: Durable) -> Result<(), Error> {
        let path = self.json(&record.release);
        let text = serde_json::to_vec_pretty(record).map_err(|e| at("write", &path)(e.into()))?;
        replace(&self.records(), &format!("{}.json", record.release), &text, durable).map_err(at("write", &path))
    }

    pub(super) fn json(&self, name: &ReleaseName) -> PathBuf {
        self.records().join(format!("{name}.json"))
    }

    /// Adds a line to `revisions.log`, durably. A power cut can leave a part of a line; the next line starts anew.
    ///
    /// # Errors
    /// The disk says no.
    pub fn append(&self, line: &str) -> Result<(), Error> {
        let path = self.root.join("revisions.log");
        let appended = (|| {
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
            let mut last = [b'\n'];
            if file.seek(SeekFrom::End(-1)).is_ok() {
                file.read_exact(&mut last)?;
            }
            let new_line = if last == [b'\n'] { "" } else { "\n" };
            file.write_all(format!("{new_line}{line}\n").as_bytes())?;
            file.sync_data()
        })();
        appended.map_err(at("write", &path))
    }
}
