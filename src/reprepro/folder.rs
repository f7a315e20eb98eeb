//! A folder that others write to: held open, so that nothing done in it leaves it, and no link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// Not to be led elsewhere by a link, nor to wait for a pipe's other end.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
const WRITE: OFlag =
    OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_TRUNC).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Names that are tried for one that is taken: `x.deb`, `x.deb.1`, ….
const NAMES: u32 = 10_000;
/// A name is cut to so many octets before something is appended: file systems take 255.
const STEM: usize = 230;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// The folder at a path that the configuration or a person gave.
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { fd: open(path, DIRECTORY, Mode::empty())?, path: path.to_owned() })
    }

    /// A folder in this one.
    pub(super) fn below(&self, name: &OsStr) -> io::Result<Folder> {
        let fd = openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Folder { fd, path: self.path.join(name) })
    }

    /// The same; made if it is not there.
    pub(super) fn make_below(&self, name: &OsStr) -> io::Result<Folder> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => self.sync()?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.below(name)
    }

    /// The names in it, in their order.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut folder = nix::dir::Dir::openat(&self.fd, ".", DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What stands there; of a link the link itself.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Opens a file to read; a link is an error.
    pub(super) fn read(&self, name: &OsStr) -> io::Result<File> {
        Ok(File::from(openat(&self.fd, name, READ, Mode::empty())?))
    }

    /// Opens a file to write, from its beginning; a link is an error.
    pub(super) fn write(&self, name: &OsStr) -> io::Result<File> {
        Ok(File::from(openat(&self.fd, name, WRITE, Mode::from_bits_truncate(0o644))?))
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// What was done in it survives a power loss from here on. Some network file systems can't (EINVAL).
    pub(super) fn sync(&self) -> io::Result<()> {
        match fsync(&self.fd) {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes `name` if `is_it` says so of what is there, and says whether it did. It is out of the way while it is
    /// looked at, so what somebody puts in its place at that moment stays.
    ///
    /// Killed in between: a `.failcake-…` is left, which the next call takes up.
    pub(super) fn remove_if(&self, name: &OsStr, is_it: impl Fn(&FileStat) -> bool) -> io::Result<bool> {
        let away = hidden(name);
        let settle = || match self.stat(&away) {
            Ok(stat) if is_it(&stat) => self.remove(&away).map(|()| true),
            Ok(_) => self.move_to(&away, self, name).map(|_| false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        let before = settle()?;
        match self.stat(name) {
            Ok(stat) if is_it(&stat) => renameat(&self.fd, name, &self.fd, away.as_os_str())?,
            Ok(_) => return Ok(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(before),
            Err(error) => return Err(error),
        }
        settle()
    }

    /// Moves a file into another folder under that name, or where it is taken with a number behind it; the name that it
    /// got. Across file systems it is copied, made durable and renamed, then removed here.
    ///
    /// Killed in between: it is in one of the two places or in both, and a `.failcake-…` may be left that the next
    /// call writes anew.
    pub(super) fn move_to(&self, name: &OsStr, to: &Folder, wanted: &OsStr) -> io::Result<OsString> {
        match to.place(self, name, wanted) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                let mut from = self.read(name)?;
                let placed = to.put(wanted, |file| io::copy(&mut from, file).map(drop))?;
                self.remove(name)?;
                Ok(placed)
            }
            placed => placed,
        }
    }

    /// A new file with what `write` puts into it, whole and durable; the name that it got.
    pub(super) fn put(&self, wanted: &OsStr, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<OsString> {
        let temporary = hidden(wanted);
        let mut file = self.write(&temporary)?;
        let placed =
            write(&mut file).and_then(|()| file.sync_all()).and_then(|()| self.place(self, &temporary, wanted));
        if placed.is_err() {
            let _ = self.remove(&temporary);
        }
        placed
    }

    /// Renames `name` of `from` into this folder without replacing anything.
    fn place(&self, from: &Folder, name: &OsStr, wanted: &OsStr) -> io::Result<OsString> {
        for number in 0..NAMES {
            let to = if number == 0 { wanted.to_owned() } else { with_end(wanted, &format!(".{number}")) };
            match renameat2(&from.fd, name, &self.fd, to.as_os_str(), RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => return self.sync().map(|()| to),
                Err(Errno::EEXIST) => {}
                // Not on every file system: there one look before must do.
                Err(Errno::EINVAL | Errno::ENOSYS) if self.stat(&to).is_ok() => {}
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    renameat(&from.fd, name, &self.fd, to.as_os_str())?;
                    return self.sync().map(|()| to);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other(format!("{NAMES} files of that name are there already")))
    }
}

fn hidden(name: &OsStr) -> OsString {
    let mut octets = b".failcake-".to_vec();
    octets.extend_from_slice(&name.as_bytes()[..name.len().min(STEM)]);
    OsString::from_vec(octets)
}

/// `name` with something behind it, cut to what file systems take.
pub(super) fn with_end(name: &OsStr, end: &str) -> OsString {
    let mut octets = name.as_bytes()[..name.len().min(STEM)].to_vec();
    octets.extend_from_slice(end.as_bytes());
    OsString::from_vec(octets)
}
