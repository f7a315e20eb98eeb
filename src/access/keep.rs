//! The disk: what is known is written first, then the file follows, then who reads it is told.
//!
//! Killed, or the disk full, at any step:
//!
//! 1. the ledger is replaced as a whole, and durable; *then* an order counts as taken. Before: nothing has happened, and
//!    the order comes again or is lost with its sender told nothing, as if this machine had been away;
//! 2. the new file is written beside the ledger, checked, and put in its place as a whole. Before: the old file serves, and
//!    the next run sees that it differs from what is known;
//! 3. the reload. The ledger says since step 1 that it is owed, until it succeeded.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::file;
use super::ledger::{Ledger, Login, Verdict, Wish};
use crate::config::Access;
use crate::durable::{Draft, TEMPORARY};
use crate::name::{LoginName, SiteName};
use crate::process::{self, Limits, Run, Stop};

const LEDGER: &str = "logins.json";
const LOCK: &str = "lock";
/// No file of logins is longer, in octets; nor is a ledger.
const LONGEST_FILE: u64 = 16 << 20;
/// For the check and the reload, each.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(60), grace: Duration::from_secs(5), output: 64 * 1024 };
/// How long another run may hold the lock: its check and its reload, and a little.
const PATIENCE: Duration = Duration::from_secs(150);
/// In the environment of check and reload: the file, by which is known what they start.
const MARK: &str = "FAILCAKE_ACCESS";
/// In the words of `check:`, the new file.
const PLACEHOLDER: &str = "{file}";

/// Why the logins are not as they should be. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("can't {what} {}: {source}{}", path.display(), remedy(source))]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("another failcake is at work on {} for too long: is its `check:` or `reload:` stuck?", .0.display())]
    Busy(PathBuf),
    #[error("failcake was told to stop")]
    Stopped,
    #[error("{} is not this user's folder: what keeps {} is to run as one user, or as root", folder.display(), file.display())]
    NotOurs { folder: PathBuf, file: PathBuf },
    #[error("{} can't be understood: {why}; move it away, then all of failcake's logins in the file end", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} is larger than 16 MiB: is it the right file?", .0.display())]
    TooLarge(PathBuf),
    #[error("{}: `check:` refuses the new file, and the old one stays: {said}", file.display())]
    Check { file: PathBuf, said: String },
    #[error("{} is new, and `reload:` failed, which is tried again: {said}", file.display())]
    Reload { file: PathBuf, said: String },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => ": the disk is full: free some space",
        Some(libc::EACCES | libc::EPERM) => ": run failcake as the user who keeps the file, or as root",
        Some(libc::EROFS) => ": mount it writable (under systemd: ReadWritePaths=)",
        _ => "",
    }
}

fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// What came of it. The ledger is on the disk.
#[derive(Debug)]
pub struct Kept {
    /// Of each wish.
    pub verdicts: Vec<Verdict>,
    /// Whose time was up.
    pub ended: Vec<LoginName>,
    /// The file is a new one.
    pub changed: bool,
    /// When the next login ends.
    pub next_end: Option<Timestamp>,
    /// The file does not follow yet: for the next run.
    pub trouble: Option<Error>,
}

/// Takes `wishes`, ends what is over, and makes the file follow. With no wishes it mends what an earlier run left.
///
/// # Errors
/// Nothing was taken. What went wrong after that is [`Kept::trouble`].
pub fn keep(
    site: &SiteName,
    access: &Access,
    wishes: &[Wish],
    now: Timestamp,
    stop: Option<&Stop>,
) -> Result<Kept, Error> {
    let place = Place::find(access)?;
    let lock = place.lock(stop)?;
    place.end_leftovers(&lock);
    place.clear_leftovers();
    let mut ledger = place.ledger()?;
    let known = ledger.clone();
    let old = place.read(&place.target)?;
    let text = old.as_deref().unwrap_or_default();
    let foreign = file::foreign(access.kind, site, text);
    let ended = ledger.expire(now);
    let verdicts = wishes.iter().map(|wish| ledger.take(wish, &foreign, now)).collect();
    ledger.forget(now);
    let new = file::render(access.kind, site, text, ledger.live());
    let changed = old.as_ref() != Some(&new);
    ledger.owes_reload = (ledger.owes_reload || changed) && !access.reload.is_empty();
    if ledger != known {
        place.save(&ledger)?;
    }
    let next_end = ledger.next_end();
    // A crash leaves it, so that the next run ends what the check or the reload had started.
    mark(&lock, process::session());
    let followed = place.follow(&mut ledger, old.as_deref(), changed.then_some(&new), stop);
    mark(&lock, None);
    Ok(Kept { verdicts, ended, changed: changed && followed.is_ok(), next_end, trouble: followed.err() })
}

/// Whose check and reload may run. Best effort: on a full disk they do so all the same.
fn mark(mut lock: &File, session: Option<i32>) {
    let text = session.map(|session| session.to_string()).unwrap_or_default();
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(text.as_bytes()));
}

/// What is known, and how far the file follows.
#[derive(Debug)]
pub struct Survey {
    /// All that is remembered.
    pub logins: BTreeMap<LoginName, Login>,
    /// Lines of ours in the file.
    pub in_file: usize,
    /// Logins in it that are not ours.
    pub foreign: usize,
    /// The file is not what it should be now.
    pub differs: bool,
    /// Who reads it was not told yet.
    pub owes_reload: bool,
    /// Of the file; `None`: there is none.
    pub mode: Option<u32>,
}

/// Looks, and changes nothing.
///
/// # Errors
/// Something can't be read.
pub fn survey(site: &SiteName, access: &Access, now: Timestamp) -> Result<Survey, Error> {
    let place = Place::find(access)?;
    let mut ledger = place.ledger()?;
    let old = place.read(&place.target)?;
    let text = old.as_deref().unwrap_or_default();
    let logins = ledger.clone().into_logins();
    ledger.expire(now);
    Ok(Survey {
        in_file: file::count(access.kind, text),
        foreign: file::foreign(access.kind, site, text).len(),
        differs: old.as_ref() != Some(&file::render(access.kind, site, text, ledger.live())),
        owes_reload: ledger.owes_reload,
        mode: fs::metadata(&place.target).ok().map(|metadata| metadata.mode() & 0o777),
        logins,
    })
}

struct Place<'a> {
    access: &'a Access,
    /// The file itself: a link in its place stays one.
    target: PathBuf,
    parent: PathBuf,
    folder: PathBuf,
}

impl<'a> Place<'a> {
    fn find(access: &'a Access) -> Result<Place<'a>, Error> {
        let file = &access.file;
        let target = match fs::canonicalize(file) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = file.parent().unwrap_or(Path::new("/"));
                let parent = fs::canonicalize(parent).map_err(at("find the folder", parent))?;
                parent.join(file.file_name().unwrap_or_default())
            }
            Err(error) => return Err(at("find", file)(error)),
        };
        let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".failcake");
        Ok(Place { access, folder: parent.join(name), target, parent })
    }

    /// Makes the folder, and takes the lock. It dies with this process.
    fn lock(&self, stop: Option<&Stop>) -> Result<File, Error> {
        let owner = self.make_folder()?;
        let path = self.folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(at("open the lock", &path))?;
        if nix::unistd::geteuid().is_root() {
            let (uid, gid) = (Some(owner.uid()), Some(owner.gid()));
            std::os::unix::fs::fchown(&file, uid, gid).map_err(at("give away", &path))?;
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= patience => {
                    return Err(Error::Busy(self.target.clone()));
                }
                Err(TryLockError::WouldBlock) => {
                    let pause = Duration::from_millis(20);
                    match stop {
                        Some(stop) if stop.wait(pause) => return Err(Error::Stopped),
                        Some(_) => {}
                        None => std::thread::sleep(pause),
                    }
                }
            }
        }
    }

    /// Made by root it belongs to whoever owns the file, or its folder: a service's user goes on with it.
    fn make_folder(&self) -> Result<Metadata, Error> {
        let made = DirBuilder::new().mode(0o700).create(&self.folder);
        let me = nix::unistd::geteuid();
        match made {
            Ok(()) if me.is_root() => {
                let owner = fs::metadata(&self.target).or_else(|_| fs::metadata(&self.parent));
                let owner = owner.map_err(at("look at", &self.parent))?;
                std::os::unix::fs::chown(&self.folder, Some(owner.uid()), Some(owner.gid()))
                    .map_err(at("give away", &self.folder))?;
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at("make the folder", &self.folder)(error)),
        }
        let metadata = fs::symlink_metadata(&self.folder).map_err(at("look at", &self.folder))?;
        if !metadata.is_dir() || !(me.is_root() || metadata.uid() == me.as_raw()) {
            return Err(Error::NotOurs { folder: self.folder.clone(), file: self.target.clone() });
        }
        Ok(metadata)
    }

    /// What a killed run's check or reload had started.
    fn end_leftovers(&self, lock: &File) {
        let mut text = String::new();
        let session = lock.take(20).read_to_string(&mut text).ok().and_then(|_| text.parse().ok());
        let Some(session) = session else { return };
        let wanted = [format!("{MARK}=").as_bytes(), self.target.as_os_str().as_bytes()].concat();
        let what = self.target.display().to_string();
        process::end_left(session, &what, |environment| environment.contains(&wanted.as_slice()));
    }

    /// What a killed run was writing: under the lock there is no other.
    fn clear_leftovers(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes())) {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }

    fn ledger(&self) -> Result<Ledger, Error> {
        let path = self.folder.join(LEDGER);
        let Some(text) = self.read(&path)? else { return Ok(Ledger::default()) };
        let damaged = |why: String| Error::Damaged { path: path.clone(), why };
        let ledger: Ledger = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if !ledger.is_of_this_version() {
            return Err(damaged("it is of another version of failcake".to_owned()));
        }
        Ok(ledger)
    }

    /// Durable when it returns.
    fn save(&self, ledger: &Ledger) -> Result<(), Error> {
        let path = self.folder.join(LEDGER);
        // Names, times and words: serde_json fails on maps with other keys and on failing writers.
        let text = serde_json::to_vec_pretty(ledger).unwrap_or_default();
        let written = || {
            let owner = fs::metadata(&self.folder)?;
            let draft = Draft::owned(&self.folder, 0o600, Some(owner.uid()), Some(owner.gid()))?;
            draft.write(&text, true)?;
            draft.put(&path)?;
            File::open(&self.folder)?.sync_all()?;
            // The folder may be new.
            File::open(&self.parent)?.sync_all()
        };
        written().map_err(at("write", &path))
    }

    /// `None`: there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("read", path)(error)),
        };
        let mut text = Vec::new();
        file.take(LONGEST_FILE + 1).read_to_end(&mut text).map_err(at("read", path))?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(Error::TooLarge(path.to_owned()));
        }
        Ok(Some(text))
    }

    /// Puts the new file in its place, and tells who reads it.
    fn follow(
        &self,
        ledger: &mut Ledger,
        old: Option<&[u8]>,
        new: Option<&Vec<u8>>,
        stop: Option<&Stop>,
    ) -> Result<(), Error> {
        if let Some(new) = new {
            let draft = self.draft(new)?;
            if self.checks_first() {
                self.check(draft.path(), stop)?;
            }
            draft
                .put(&self.target)
                .and_then(|()| File::open(&self.parent)?.sync_all())
                .map_err(at("replace", &self.target))?;
        }
        // A check that looks at the file in its place also goes before a reload that an earlier run owes.
        if !self.checks_first()
            && (new.is_some() || ledger.owes_reload)
            && let Err(error) = self.check(&self.target, stop)
        {
            if new.is_some() {
                self.put_back(old)?;
            }
            return Err(error);
        }
        if ledger.owes_reload {
            let reload = |said| Error::Reload { file: self.target.clone(), said };
            self.run(&self.access.reload, &self.target, stop, reload)?;
            ledger.owes_reload = false;
            self.save(ledger)?;
        }
        Ok(())
    }

    /// With the owner, the mode, the access list and the attributes of the old one. A new one is its folder's group's to read.
    fn draft(&self, text: &[u8]) -> Result<Draft, Error> {
        let made = || {
            let draft = match fs::metadata(&self.target) {
                Ok(like) => Draft::like(&self.folder, &self.target, &like)?,
                Err(_) if nix::unistd::geteuid().is_root() => {
                    let owner = fs::metadata(&self.parent)?;
                    Draft::owned(&self.folder, 0o640, Some(owner.uid()), Some(owner.gid()))?
                }
                Err(_) => Draft::create(&self.folder, 0o640)?,
            };
            draft.write(text, true)?;
            Ok(draft)
        };
        made().map_err(at("write anew", &self.target))
    }

    fn put_back(&self, old: Option<&[u8]>) -> Result<(), Error> {
        match old {
            Some(old) => self.draft(old)?.put(&self.target),
            None => fs::remove_file(&self.target),
        }
        .map_err(at("put back", &self.target))
    }

    fn checks_first(&self) -> bool {
        self.access.check.iter().any(|word| word.contains(PLACEHOLDER))
    }

    fn check(&self, file: &Path, stop: Option<&Stop>) -> Result<(), Error> {
        let refused = |said| Error::Check { file: self.target.clone(), said };
        self.run(&self.access.check, file, stop, refused)
    }

    /// Runs a configured program, if there is one.
    fn run(
        &self,
        words: &[String],
        file: &Path,
        stop: Option<&Stop>,
        failed: impl Fn(String) -> Error,
    ) -> Result<(), Error> {
        let Some((program, arguments)) = words.split_first() else { return Ok(()) };
        let mut command = process::command(program);
        command.env(MARK, &self.target);
        for word in arguments {
            // Paths of files that an administrator named: what is not UTF-8 in them fails there, told.
            command.arg(word.replace(PLACEHOLDER, &file.to_string_lossy()));
        }
        process::without_terminal(&mut command);
        let run = Run { user: None, input: None, limits: LIMITS, stop, lines: None };
        let outcome = run.run(command).map_err(|error| failed(error.to_string()))?;
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(failed(format!("{program} took longer than {} s", LIMITS.timeout.as_secs())));
        }
        if !outcome.status.success() {
            return Err(failed(format!(
                "{program}: {} ({})",
                last_words(&outcome.stderr, &outcome.stdout),
                outcome.status
            )));
        }
        Ok(())
    }
}

/// The end of what it said, in one line.
fn last_words(stderr: &[u8], stdout: &[u8]) -> String {
    let said = if stderr.trim_ascii().is_empty() { stdout } else { stderr };
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(4)..].join("; ").replace(char::is_control, " ");
    let skip = last.chars().count().saturating_sub(400);
    last.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests;
