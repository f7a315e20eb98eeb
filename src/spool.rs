//! A folder of waiting messages: one file for one emission, in the order of spooling.
//!
//! ```text
//! PARENT/                      1777, like /tmp
//!   UID/                       0700, that user's
//!     00001795…-EVENT-ID       an entry: written as tmp-…, then renamed
//!     tmp-PID-EVENT-ID         being written; its writer holds the lock on `sequence`
//!     sequence                 last number given, and an upper bound of count and octets; flock'ed while one spools
//!     drain.lock               flock'ed by whoever sends
//!     broker-HASH.down         that broker did not answer, and why; counts for 15 s from its mtime
//!     NAME/                    what a verb keeps for itself: a folder like this one
//!     refused/NAME             what a broker refused, a power loss damaged, or a watcher heard and could not use;
//!                              refused/NAME.reason says why
//! ```
//!
//! The room knows no frames and no brokers: a payload is octets. Locks are flocks, so they die with their holders.
//! Another user's folder is outside data: it is opened without following links, and only regular files that belong
//! to its owner are read.

mod entry;
mod folder;
mod marker;
mod refused;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{Uid, UnlinkatFlags, fsync, geteuid, setfsuid, unlinkat};

pub use entry::{Content, Name, is_id};
use folder::Folder;
pub use refused::{MAKE_ROOM, NEARLY_FULL, Used, Waiting};

/// How much one user's spool may hold, what was set aside included.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub count: usize,
    /// Octets.
    pub bytes: u64,
}

/// Why something can't wait here. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What stands at the folder's place is not this user's folder.
    #[error("the spool {path:?} is {what}: somebody else made it; remove it (as root: rm -r {path:?}) and try again")]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Over a limit.
    #[error(
        "the spool {path:?} is full: {what}; `failcake spool flush` sends what waits, `failcake spool drop` removes \
         it, spool-max-count and spool-max-bytes raise the limits"
    )]
    Full {
        /// Where.
        path: PathBuf,
        /// Which limit, and how far it is used.
        what: String,
    },
    /// The file system refused.
    #[error("can't {what} {path:?}: {source}{}", remedy(source))]
    Io {
        /// `write`, `open`, ….
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no place for the fallback.
    #[error(
        "the configured spool folder is missing, and user {0} has no home folder to use instead: make the folder (as \
         root: install -d -m 1777 /var/spool/failcake)"
    )]
    NoHome(u32),
    /// An entry is not what was once written.
    #[error("{0}")]
    Damaged(String),
    /// A message that is not worth its place.
    #[error("{0} octets are too many to keep")]
    TooLong(usize),
}

impl Error {
    fn io(what: &'static str, path: &Path, source: std::io::Error) -> Error {
        Error::Io { what, path: path.to_owned(), source }
    }
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => "; make room there",
        Some(Errno::EROFS) => "; mount it writable, or set `spool:` to a place that is",
        Some(Errno::EACCES | Errno::EPERM) => "; the parent folder must be writable by every user (chmod 1777)",
        _ => "",
    }
}

/// One user's folder.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    limits: Limits,
    sequence: OnceCell<File>,
}

/// An entry that was just spooled, still open so that it can be made durable without a look-up.
#[derive(Debug)]
pub struct Entry {
    /// Its file's name.
    pub name: Name,
    file: File,
}

/// While it lives, nobody else sends from this folder.
#[derive(Debug)]
pub struct DrainLock(#[expect(dead_code, reason = "closing it unlocks")] File);

/// Ends with the rights of the process again. They are the thread's own (setfsuid(2)), other threads see nothing.
struct OwnersRights;

impl Drop for OwnersRights {
    fn drop(&mut self) {
        setfsuid(geteuid());
    }
}

/// What one look at the folder saw.
#[derive(Debug, Default)]
pub struct Listing {
    /// Waiting entries, oldest first.
    pub entries: Vec<Name>,
    /// Half-written files, of a living writer or of a dead one.
    temporaries: Vec<String>,
    markers: Vec<String>,
}

/// The file `sequence`: fixed width, written in one go.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Last number given.
    number: u64,
    /// At least as many entries as there are; only grows until it reaches the limit, then all are counted again. So
    /// spooling looks at one file however many wait.
    count: u64,
    /// The same for octets.
    bytes: u64,
}

const SEQUENCE: &str = "sequence";
const DRAIN_LOCK: &str = "drain.lock";
const TEMPORARY: &str = "tmp-";
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
const LOCK: OFlag =
    OFlag::O_RDWR.union(OFlag::O_CREAT).union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
const CREATE: OFlag =
    OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

impl Spool {
    /// Opens this user's folder below `parent`, and makes it if need be. Where `parent` does not exist, the folder is
    /// below `$XDG_STATE_HOME/failcake/spool` or `~/.local/state/failcake/spool`.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Io`], [`Error::NoHome`].
    pub fn open(parent: &Path, limits: Limits) -> Result<Spool, Error> {
        folder::open_own(parent).map(|folder| Spool::of(folder, limits))
    }

    /// A folder of its own inside this one, for a verb's own waiting things: whoever sends from here does not see it.
    ///
    /// `name` is a literal, or a checked name.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn inner(&self, name: &str) -> Result<Spool, Error> {
        folder::open_inner(&self.folder, name).map(|folder| Spool::of(folder, self.limits))
    }

    /// The same, if it is there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find_inner(&self, name: &str) -> Result<Option<Spool>, Error> {
        let _rights = self.as_owner();
        Ok(folder::find_inner(&self.folder, name)?.map(|folder| Spool::of(folder, self.limits)))
    }

    /// The folders that exist and that this user may see: for root everybody's below `parent`, else the user's own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find_all(parent: &Path, limits: Limits) -> Result<Vec<Spool>, Error> {
        let mut folders = Vec::from_iter(folder::find_own(parent)?);
        if geteuid().is_root() {
            folders.extend(folder::find_others(parent)?);
        }
        Ok(folders.into_iter().map(|folder| Spool::of(folder, limits)).collect())
    }

    fn of(folder: Folder, limits: Limits) -> Spool {
        Spool { folder, limits, sequence: OnceCell::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Whose it is.
    pub fn owner(&self) -> Uid {
        self.folder.owner
    }

    /// Is it the folder of the user who runs this?
    pub fn is_own(&self) -> bool {
        self.folder.own
    }

    /// Puts one entry into the folder. It then survives `kill -9`, not yet a power loss: see
    /// [`make_durable`](Self::make_durable).
    ///
    /// The number, the file and its name are made under the lock on `sequence`, so entries appear in their order. A
    /// holder that does not let go within `patience` (somebody stopped it) costs the order, not the event.
    ///
    /// Killed here: before the rename a `tmp-` file is left, which the next sender clears; after it, the entry waits.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Io`]; nothing is left behind then.
    pub fn put(&self, id: &str, about: &str, payload: &[u8], patience: Duration) -> Result<Entry, Error> {
        self.in_turn(patience, |sequence| {
            self.put_numbered(sequence, id, &entry::encode(about, payload), |from, to| {
                renameat(&self.folder.fd, from, &self.folder.fd, to)
            })
        })
    }

    fn in_turn<T>(&self, patience: Duration, put: impl FnOnce(&File) -> Result<T, Error>) -> Result<T, Error> {
        let sequence = self.sequence()?;
        let locked = lock_within(sequence, patience);
        let outcome = put(sequence);
        if locked {
            let _ = sequence.unlock();
        }
        outcome
    }

    fn put_numbered(
        &self,
        sequence: &File,
        id: &str,
        bytes: &[u8],
        rename: impl FnOnce(&str, &str) -> Result<(), Errno>,
    ) -> Result<Entry, Error> {
        let length = bytes.len() as u64;
        let mut tally = match Tally::read(sequence) {
            Some(tally) if self.limits.hold(tally, length) => tally,
            known => {
                let counted = self.count()?;
                Tally { number: counted.number.max(known.unwrap_or_default().number), ..counted }
            }
        };
        if !self.limits.hold(tally, length) {
            return Err(self.full(tally, length));
        }
        // The clock, so that a `sequence` that a power loss threw back gives no number twice; the number before, so
        // that a clock that was set back gives none either.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        tally.number = tally.number.saturating_add(1).max(clock);
        tally.count += 1;
        tally.bytes += length;
        let name = Name { number: tally.number, id: id.to_owned() };
        let temporary = format!("{TEMPORARY}{}-{id}", std::process::id());
        let written = self.write_temporary(&temporary, bytes).and_then(|file| {
            tally.write(sequence);
            rename(&temporary, &name.to_string()).map_err(|errno| self.error("rename an entry in", "", errno))?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(Entry { name, file }),
            Err(error) => {
                let _ = self.unlink(&temporary);
                Err(error)
            }
        }
    }

    fn write_temporary(&self, name: &str, bytes: &[u8]) -> Result<File, Error> {
        let create = || openat(&self.folder.fd, name, CREATE, PRIVATE);
        let fd = match create() {
            // Of a dead process that had our number: a living one would hold the lock.
            Err(Errno::EEXIST) => self.unlink(name).and_then(|()| create()),
            other => other,
        };
        let mut file = File::from(fd.map_err(|errno| self.error("write", name, errno))?);
        file.write_all(bytes).map_err(|source| Error::io("write", &self.folder.path.join(name), source))?;
        Ok(file)
    }

    /// Makes an entry survive a power loss: its file, the folder, and the folder's own name if it is new.
    ///
    /// # Errors
    /// [`Error::Io`]: the disk did not take it.
    pub fn make_durable(&self, entry: &Entry) -> Result<(), Error> {
        let failed = |source| Error::io("make durable", &self.folder.path.join(entry.name.to_string()), source);
        entry.file.sync_all().map_err(failed)?;
        // Some network file systems have no fsync of a folder: EINVAL, and nothing more that can be done.
        match fsync(&self.folder.fd) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        if self.folder.fresh
            && let Some(parent) = self.folder.path.parent()
        {
            // Best effort: a parent that may be written to but not read can't be opened.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Ok(())
    }

    /// Looks at the folder once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Listing, Error> {
        let _rights = self.as_owner();
        let mut listing = Listing::default();
        // The owner keeps to the limit; whoever fills a folder by other means does not decide how much memory we use.
        let most = self.limits.count.saturating_mul(2).saturating_add(100);
        self.each_name(|name| {
            if let Some(entry) = Name::parse(name) {
                listing.entries.push(entry);
            } else if name.starts_with(TEMPORARY) {
                listing.temporaries.push(name.to_owned());
            } else if marker::is_marker(name) {
                listing.markers.push(name.to_owned());
            }
            listing.entries.len() + listing.temporaries.len() + listing.markers.len() < most
        })?;
        listing.entries.sort_unstable();
        Ok(listing)
    }

    fn each_name(&self, mut see: impl FnMut(&str) -> bool) -> Result<(), Error> {
        let failed = |errno| self.error("read", "", errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.folder.fd, ".", flags, Mode::empty()).map_err(failed)?;
        for item in dir.iter() {
            let item = item.map_err(failed)?;
            if let Ok(name) = item.file_name().to_str()
                && !see(name)
            {
                break;
            }
        }
        Ok(())
    }

    /// Reads an entry; `None` when it is gone.
    ///
    /// # Errors
    /// [`Error::Damaged`]: it will never be readable. [`Error::Io`]: this time.
    pub fn read(&self, name: &Name) -> Result<Option<Content>, Error> {
        let _rights = self.as_owner();
        let path = name.to_string();
        let fd = match openat(&self.folder.fd, path.as_str(), READ, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(Error::Damaged("it is a link".to_owned())),
            Err(errno) => return Err(self.error("read", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| self.error("read", &path, errno))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Error::Damaged("it is no regular file".to_owned()));
        }
        if stat.st_uid != self.folder.owner.as_raw() {
            return Err(Error::Damaged(format!("it belongs to user {}", stat.st_uid)));
        }
        let most = self.limits.bytes.saturating_add(entry::HEAD as u64);
        if stat.st_size as u64 > most {
            return Err(Error::Damaged(format!("its {} octets are over the limit", stat.st_size)));
        }
        let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
        let read = File::from(fd).take(most).read_to_end(&mut bytes);
        read.map_err(|source| Error::io("read", &self.folder.path.join(&path), source))?;
        entry::decode(&bytes).map(Some).map_err(Error::Damaged)
    }

    /// Removes an entry that was delivered. One that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::Io`]: it will be sent again.
    pub fn remove(&self, name: &Name) -> Result<(), Error> {
        let _rights = self.as_owner();
        let name = name.to_string();
        self.unlink(&name).map_err(|errno| self.error("remove", &name, errno))
    }

    /// Does the entry still wait?
    pub fn holds(&self, name: &Name) -> bool {
        let _rights = self.as_owner();
        self.exists(&name.to_string())
    }

    /// Takes the right to send from this folder; `None` while somebody else has it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lock_drain(&self) -> Result<Option<DrainLock>, Error> {
        let _rights = self.as_owner();
        let file = self.open_lock(DRAIN_LOCK)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            // A file system without locks: an event may go out twice, which receivers bear.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(DrainLock(file))),
        }
    }

    /// The last number that was given: whether something was spooled since a [`list`](Self::list), for one read.
    pub fn last_number(&self) -> Option<u64> {
        let _rights = self.as_owner();
        self.sequence().ok().and_then(Tally::read).map(|tally| tally.number)
    }

    /// Clears what dead writers left of this user's.
    pub fn clear_leftovers(&self, listing: &Listing) {
        if listing.temporaries.is_empty() || !self.is_own() {
            return;
        }
        let Ok(sequence) = self.sequence() else { return };
        // Whoever writes one holds this lock: with it in hand, those that are still there have no writer.
        if sequence.try_lock().is_ok() {
            for name in &listing.temporaries {
                let _ = self.unlink(name);
            }
            let _ = sequence.unlock();
        }
    }

    fn sequence(&self) -> Result<&File, Error> {
        if let Some(file) = self.sequence.get() {
            return Ok(file);
        }
        let file = self.open_lock(SEQUENCE)?;
        Ok(self.sequence.get_or_init(|| file))
    }

    fn open_lock(&self, name: &str) -> Result<File, Error> {
        let fd = openat(&self.folder.fd, name, LOCK, PRIVATE).map_err(|errno| self.error("open", name, errno))?;
        Ok(fd.into())
    }

    /// Root works in another user's folder with that user's rights on files: what it makes there is that user's, and
    /// what that user puts there leads to nothing that they could not reach themselves.
    fn as_owner(&self) -> Option<OwnersRights> {
        (!self.is_own()).then(|| {
            setfsuid(self.folder.owner);
            OwnersRights
        })
    }

    /// Counts what is there, what was set aside included.
    fn count(&self) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for name in self.list()?.entries {
            tally.number = tally.number.max(name.number);
            tally.count += 1;
            tally.bytes += self.size(&name.to_string());
        }
        self.each_refused(|_, size| {
            tally.count += 1;
            tally.bytes += size;
        })?;
        Ok(tally)
    }

    fn size(&self, name: &str) -> u64 {
        fstatat(&self.folder.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_size as u64)
    }

    fn exists(&self, name: &str) -> bool {
        fstatat(&self.folder.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) != Err(Errno::ENOENT)
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.folder.fd, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn full(&self, tally: Tally, length: u64) -> Error {
        let Limits { count, bytes } = self.limits;
        let what = if tally.count >= count as u64 {
            format!("{} events wait or were set aside, {count} may", tally.count)
        } else {
            format!("{} octets are used of {bytes}, this event has {length}", tally.bytes)
        };
        Error::Full { path: self.folder.path.clone(), what }
    }

    fn error(&self, what: &'static str, name: &str, errno: Errno) -> Error {
        Error::io(what, &self.folder.path.join(name), errno.into())
    }
}

impl Limits {
    fn hold(self, tally: Tally, length: u64) -> bool {
        tally.count < self.count as u64 && tally.bytes.saturating_add(length) <= self.bytes
    }
}

impl Tally {
    const WIDTH: usize = 63;

    /// `None`: empty or torn, so the folder itself must tell.
    fn read(file: &File) -> Option<Tally> {
        let mut bytes = [0; Tally::WIDTH + 1];
        let length = file.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?.strip_suffix('\n')?;
        if length != Tally::WIDTH {
            return None;
        }
        let mut words = text.split(' ').map(|word| word.parse().ok());
        Some(Tally { number: words.next()??, count: words.next()??, bytes: words.next()?? })
    }

    /// That it fails (a full disk) costs a recount, or nothing: the clock gives the next number.
    fn write(&self, file: &File) {
        let line = format!("{:020} {:020} {:020}\n", self.number, self.count, self.bytes);
        let _ = file.write_all_at(line.as_bytes(), 0);
    }
}

/// `false`: not had in time, or a file system without locks.
fn lock_within(file: &File, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::Error(_)) => return false,
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return false,
            // A holder keeps it for one small write.
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(500)),
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version. It finds accidents, not enemies.
pub fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
