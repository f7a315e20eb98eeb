//! One failcake at a time in a repository, and clearing what a killed git has left locked.
//!
//! The lock is a `flock` on `failcake.lock` in the git directory: it dies with its holder. While it is held the file
//! says who holds it; a clean end empties the file. So a file that is not empty and not locked tells that the last
//! run was killed in the middle of a git call, and its time tells when that run began.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Error;
use crate::process::{Stop, User};

const NAME: &str = "failcake.lock";
/// How often a lock that another holds is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a git that survived its killed failcake is waited for.
const SURVIVOR: Duration = Duration::from_secs(10);
/// Deeper than any reference is nested.
const DEPTH_MAX: usize = 64;

/// The right to change one repository.
#[derive(Debug)]
pub(super) struct Lock {
    file: Flock<File>,
    /// When the run that was killed began, if the last one was.
    pub(super) interrupted: Option<Moment>,
}

/// A file's modification time: seconds and nanoseconds.
pub(super) type Moment = (i64, i64);

impl Lock {
    /// Takes the lock of the repository in `git_dir`, within `patience`. A crash leaves the file with our name in it.
    pub(super) fn take(
        git_dir: &Path,
        user: Option<&User>,
        patience: Duration,
        stop: Option<&Stop>,
    ) -> Result<Lock, Error> {
        loop {
            let lock = Lock::take_once(git_dir, user, patience, stop)?;
            // Whoever had it may have put another repository in this one's place: then this lock is of the old one.
            let here = std::fs::symlink_metadata(git_dir.join(NAME));
            let ours = lock.file.metadata();
            if here.is_ok_and(|here| ours.is_ok_and(|ours| (here.dev(), here.ino()) == (ours.dev(), ours.ino()))) {
                return Ok(lock);
            }
        }
    }

    fn take_once(git_dir: &Path, user: Option<&User>, patience: Duration, stop: Option<&Stop>) -> Result<Lock, Error> {
        let path = git_dir.join(NAME);
        let fail = |what, source: io::Error| Error::Io { what, path: path.clone(), source };
        // The folder belongs to `user`, we may be root: what lies there may be a trap.
        let open = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let mut file = open.map_err(|e| fail("open the lock", e))?;
        let found = file.metadata().map_err(|e| fail("open the lock", e))?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(fail("use the lock", io::Error::other("it is no plain file: remove it")));
        }
        if let Some(user) = user.filter(|user| user.uid.as_raw() != found.uid()) {
            // So that the user's own failcake can open it too.
            nix::unistd::fchown(&file, Some(user.uid), Some(user.gid)).map_err(|e| fail("hand over", e.into()))?;
        }
        let until = Instant::now() + patience;
        let mut file = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((back, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(fail("lock", errno.into())),
            }
            if Instant::now() >= until {
                let holder = read_holder(&mut file);
                return Err(Error::Busy { path: git_dir.to_owned(), holder });
            }
            match stop {
                Some(stop) if stop.wait(RETRY) => return Err(Error::Stopped),
                Some(_) => {}
                None => std::thread::sleep(RETRY),
            }
        };
        let found = file.metadata().map_err(|e| fail("read", e))?;
        let interrupted = (found.len() > 0).then(|| (found.mtime(), found.mtime_nsec()));
        let lock = |file: &mut File| {
            file.set_len(0)?;
            file.write_all(format!("pid {}\n", std::process::id()).as_bytes())
        };
        lock(&mut file).map_err(|e| fail("write", e))?;
        Ok(Lock { file, interrupted })
    }

    /// Gives it back and says that nothing was left half done. Merely dropping it says that something may have been.
    pub(super) fn release(self) {
        // If this fails, the next run looks for stale locks and finds none.
        let _ = self.file.set_len(0);
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(100).read_to_string(&mut text);
    if text.trim().is_empty() { "it has not said who it is".to_owned() } else { super::one_line(text.trim()) }
}

/// Removes git's own locks that nobody holds, while ours is held. Stale are those
///
/// - from before this machine was started, and
/// - from after `since`, when the failcake that began then was killed: they are its git's.
///
/// Others may be those of a person who works in the repository: git's error then names the file, and stays. So does
/// everything as long as any git works in `repo`: it may have survived the failcake that started it. A crash here
/// leaves fewer locks.
pub(super) fn clear_stale(git_dir: &Path, repo: &Path, since: Option<Moment>) -> usize {
    let until = Instant::now() + SURVIVOR;
    while git_works_in(repo) {
        if Instant::now() >= until {
            return 0;
        }
        std::thread::sleep(RETRY);
    }
    let boot = boot_time();
    let is_stale = |stat: &FileStat| {
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        since.is_some_and(|since| time >= since) || boot.is_some_and(|boot| time.0 < boot)
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match Dir::open(git_dir, flags, Mode::empty()) {
        Ok(mut dir) => clear_in(&mut dir, &is_stale, DEPTH_MAX),
        Err(_) => 0,
    }
}

/// Descriptor by descriptor, never through a symbolic link: the folder's owner must not lead root elsewhere.
fn clear_in(dir: &mut Dir, is_stale: &dyn Fn(&FileStat) -> bool, depth: usize) -> usize {
    let entries: Vec<_> = dir.iter().flatten().map(|entry| (entry.file_name().to_owned(), entry.file_type())).collect();
    let mut cleared = 0;
    for (name, kind) in entries {
        let name: &CStr = &name;
        let bytes = name.to_bytes();
        let is_lock = bytes.ends_with(b".lock") && bytes != NAME.as_bytes();
        let may_hold_locks = !matches!(bytes, b"." | b".." | b"pack" | b"hooks") && !is_fan_out(bytes);
        if !is_lock && (matches!(kind, Some(Type::File)) || !may_hold_locks) {
            continue;
        }
        let Ok(stat) = fstatat(&*dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG if is_lock && is_stale(&stat) => {
                cleared += usize::from(unlinkat(&*dir, name, UnlinkatFlags::NoRemoveDir).is_ok());
            }
            libc::S_IFDIR if depth > 0 => {
                let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                if let Ok(mut below) = Dir::openat(&*dir, name, flags, Mode::empty()) {
                    cleared += clear_in(&mut below, is_stale, depth - 1);
                }
            }
            _ => {}
        }
    }
    cleared
}

/// `objects/00` to `objects/ff`: many, and without locks. A reference's folder of such a name is looked at in vain at
/// worst: its lock is then told by git.
fn is_fan_out(name: &[u8]) -> bool {
    name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit)
}

/// When this machine was started, in seconds since 1970.
fn boot_time() -> Option<i64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Does any git process stand in `repo` or below? The processes of others, of which that can't be seen, don't count.
fn git_works_in(repo: &Path) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let path = process.path();
        std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(repo))
            && std::fs::read(path.join("comm")).is_ok_and(|comm| comm.starts_with(b"git"))
    })
}
