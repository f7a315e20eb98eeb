//! What was set aside, and the view of the folder for people.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{CREATE, Error, Limits, Name, PRIVATE, READ, Spool, entry};

/// An entry as `spool list` shows it.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its file's name.
    pub name: Name,
    /// Octets on disk.
    pub bytes: u64,
    /// When it was spooled.
    pub since: SystemTime,
    /// The line it was spooled with, or how it is damaged.
    pub about: String,
    /// Why it was set aside; `None`: it waits to be sent.
    pub refused: Option<String>,
}

/// From so many of a hundred on a folder is nearly full.
pub const NEARLY_FULL: u64 = 80;
/// What to do about [`Used::concern`].
pub const MAKE_ROOM: &str = "what comes while it is full and the broker away is lost: mend the broker, send with failcake spool \
                             flush, give up with failcake spool drop, or raise spool-max-count and spool-max-bytes";

/// How much of what a folder may hold is used; what was set aside counts.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    count: u64,
    bytes: u64,
    limits: Limits,
}

impl Used {
    /// Of a hundred, by whichever limit is nearer.
    pub fn percent(&self) -> u64 {
        let part = |used: u64, most: u64| (u128::from(used) * 100 / u128::from(most.max(1))) as u64;
        part(self.count, self.limits.count as u64).max(part(self.bytes, self.limits.bytes))
    }

    /// One more like those that are here would not be taken.
    pub fn is_full(&self) -> bool {
        let usual = self.bytes.checked_div(self.count).unwrap_or_default();
        self.count >= self.limits.count as u64 || self.bytes.saturating_add(usual) > self.limits.bytes
    }

    /// What people should know of it, if anything: it is full, or soon will be.
    pub fn concern(&self) -> Option<String> {
        let how = match self.percent() {
            _ if self.is_full() => "full",
            NEARLY_FULL.. => "nearly full",
            _ => return None,
        };
        let Limits { count, bytes } = self.limits;
        Some(format!("{how}: {} of {count} events and {} of {bytes} octets are used", self.count, self.bytes))
    }
}

const REFUSED: &str = "refused";
/// Longest reason kept, in octets.
const REASON: usize = 2000;
/// Longest wait for the lock under which numbers are given.
const PATIENCE: Duration = Duration::from_millis(500);

impl Spool {
    /// Sets an entry aside, so that it blocks nothing. Killed here: at worst a reason without its entry, which nobody
    /// reads.
    ///
    /// # Errors
    /// [`Error::Io`]: the entry stays where it is.
    pub fn set_aside(&self, name: &Name, reason: &str) -> Result<(), Error> {
        let _rights = self.as_owner();
        let name = name.to_string();
        let refused = self.open_refused(true)?.ok_or_else(|| self.error("open", REFUSED, Errno::ENOENT))?;
        self.write_reason(&refused, &name, reason);
        match renameat(&self.folder.fd, name.as_str(), &refused, name.as_str()) {
            Ok(()) => Ok(()),
            Err(errno) => {
                let _ = unlinkat(&refused, reason_name(&name).as_str(), UnlinkatFlags::NoRemoveDir);
                if errno == Errno::ENOENT { Ok(()) } else { Err(self.error("set aside", &name, errno)) }
            }
        }
    }

    /// Keeps what came in and was of no use, beside what a broker refused; it never waits to be sent. `kind` begins
    /// its id: at most `most` of a kind are kept, those that came last.
    ///
    /// Killed here: a `tmp-` file, which the next sender clears; or a reason without its entry, which nobody reads; or
    /// one more than `most`.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn keep(&self, kind: &str, payload: &[u8], about: &str, reason: &str, most: Limits) -> Result<(), Error> {
        let refused = self.open_refused(true)?.ok_or_else(|| self.error("open", REFUSED, Errno::ENOENT))?;
        let mut kept = Vec::new();
        let prefix = format!("{kind}-");
        self.each_refused(|name, size| {
            if name.id.starts_with(&prefix) {
                kept.push((name.clone(), size));
            }
        })?;
        let bytes = entry::encode(about, payload);
        let mut tally = (kept.len() as u64 + 1, kept.iter().map(|(_, size)| size).sum::<u64>() + bytes.len() as u64);
        for (name, size) in kept {
            if tally.0 <= most.count as u64 && tally.1 <= most.bytes {
                break;
            }
            let file = name.to_string();
            let _ = unlinkat(&refused, reason_name(&file).as_str(), UnlinkatFlags::NoRemoveDir);
            let _ = unlinkat(&refused, file.as_str(), UnlinkatFlags::NoRemoveDir);
            tally = (tally.0 - 1, tally.1 - size);
        }
        let id = format!("{prefix}{}", uuid::Uuid::now_v7());
        self.in_turn(PATIENCE, |sequence| {
            self.put_numbered(sequence, &id, &bytes, |from, to| {
                self.write_reason(&refused, to, reason);
                renameat(&self.folder.fd, from, &refused, to)
            })
        })
        .map(drop)
    }

    fn write_reason(&self, refused: &OwnedFd, name: &str, reason: &str) {
        let note = reason_name(name);
        let _ = unlinkat(refused, note.as_str(), UnlinkatFlags::NoRemoveDir);
        // Without its reason an entry is still better here than in everybody's way.
        if let Ok(fd) = openat(refused, note.as_str(), CREATE, PRIVATE) {
            let _ = File::from(fd).write_all(&reason.as_bytes()[..reason.len().min(REASON)]);
        }
    }

    /// Why this entry was set aside; `None` when it was not.
    pub fn reason(&self, name: &Name) -> Option<String> {
        let _rights = self.as_owner();
        let refused = self.open_refused(false).ok()??;
        let name = name.to_string();
        fstatat(&refused, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        Some(reason(&refused, &name))
    }

    /// Lets everything that was set aside wait again, in its old place of the order. Returns how many.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn readmit(&self) -> Result<usize, Error> {
        let _rights = self.as_owner();
        let Some(refused) = self.open_refused(false)? else { return Ok(0) };
        let mut count = 0;
        for name in self.refused_names()? {
            let file = name.to_string();
            match renameat(&refused, file.as_str(), &self.folder.fd, file.as_str()) {
                Ok(()) => count += 1,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.error("take back", &file, errno)),
            }
            let _ = unlinkat(&refused, reason_name(&file).as_str(), UnlinkatFlags::NoRemoveDir);
        }
        Ok(count)
    }

    /// Removes an entry for good, set aside or waiting.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn discard(&self, waiting: &Waiting) -> Result<(), Error> {
        if waiting.refused.is_none() {
            return self.remove(&waiting.name);
        }
        let _rights = self.as_owner();
        let Some(refused) = self.open_refused(false)? else { return Ok(()) };
        let file = waiting.name.to_string();
        let _ = unlinkat(&refused, reason_name(&file).as_str(), UnlinkatFlags::NoRemoveDir);
        match unlinkat(&refused, file.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.error("remove", &format!("{REFUSED}/{file}"), errno)),
        }
    }

    /// Where an entry's file is.
    pub fn file(&self, waiting: &Waiting) -> PathBuf {
        let folder = if waiting.refused.is_some() { self.folder.path.join(REFUSED) } else { self.folder.path.clone() };
        folder.join(waiting.name.to_string())
    }

    /// Everything that is here, oldest first: what waits, then what was set aside.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn survey(&self) -> Result<Vec<Waiting>, Error> {
        let waiting = self.list()?.entries;
        let _rights = self.as_owner();
        let waiting = waiting.into_iter().filter_map(|name| self.look(&self.folder.fd, name, None));
        let mut all: Vec<Waiting> = waiting.collect();
        if let Some(refused) = self.open_refused(false)? {
            for name in self.refused_names()? {
                let reason = reason(&refused, &name.to_string());
                all.extend(self.look(&refused, name, Some(reason)));
            }
        }
        Ok(all)
    }

    /// How full the folder is with `all` that a [`survey`](Self::survey) saw.
    pub fn used(&self, all: &[Waiting]) -> Used {
        let bytes = all.iter().map(|waiting| waiting.bytes).sum();
        Used { count: all.len() as u64, bytes, limits: self.limits }
    }

    fn look(&self, dir: &OwnedFd, name: Name, refused: Option<String>) -> Option<Waiting> {
        let file = name.to_string();
        let stat = fstatat(dir, file.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let about = match head(dir, &file, entry::HEAD) {
            Some(bytes) => entry::about(&bytes).unwrap_or_else(|damage| damage),
            None => "it can't be read".to_owned(),
        };
        let since = time(stat.st_mtime, stat.st_mtime_nsec).unwrap_or(UNIX_EPOCH);
        Some(Waiting { name, bytes: stat.st_size as u64, since, about, refused })
    }

    pub(super) fn each_refused(&self, mut see: impl FnMut(&Name, u64)) -> Result<(), Error> {
        let Some(refused) = self.open_refused(false)? else { return Ok(()) };
        for name in self.refused_names()? {
            let stat = fstatat(&refused, name.to_string().as_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            see(&name, stat.map_or(0, |stat| stat.st_size as u64));
        }
        Ok(())
    }

    fn refused_names(&self) -> Result<Vec<Name>, Error> {
        let failed = |errno| self.error("read", REFUSED, errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut dir = match Dir::openat(&self.folder.fd, REFUSED, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(failed(errno)),
        };
        let most = self.limits.count.saturating_mul(2).saturating_add(100);
        let mut names = Vec::new();
        for item in dir.iter().take(most.saturating_mul(2)) {
            names.extend(item.map_err(failed)?.file_name().to_str().ok().and_then(Name::parse));
        }
        names.sort_unstable();
        names.truncate(most);
        Ok(names)
    }

    fn open_refused(&self, make: bool) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(&self.folder.fd, REFUSED, flags, Mode::empty());
        match open() {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::ENOENT) if !make => return Ok(None),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(self.error("open", REFUSED, errno)),
        }
        match mkdirat(&self.folder.fd, REFUSED, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(self.error("make", REFUSED, errno)),
        }
        open().map(Some).map_err(|errno| self.error("open", REFUSED, errno))
    }
}

/// Names of reasons are no names of entries: those hold no dot.
fn reason_name(name: &str) -> String {
    format!("{name}.reason")
}

fn reason(refused: &OwnedFd, name: &str) -> String {
    let bytes = head(refused, &reason_name(name), REASON).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control(), " ")
}

/// The first octets of a file.
fn head(dir: &OwnedFd, name: &str, most: usize) -> Option<Vec<u8>> {
    let fd = openat(dir, name, READ, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    File::from(fd).take(most as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// `None` before 1970.
pub(super) fn time(seconds: i64, nanoseconds: i64) -> Option<SystemTime> {
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?))
}
