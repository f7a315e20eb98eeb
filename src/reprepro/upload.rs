//! What was put into the incoming folder, or named by somebody: is it whole?

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::{Error, at, changes, deb};
use crate::name::PackageFile;

/// A .changes file is no larger, in octets.
const CHANGES_MAX: u64 = 1 << 20;
/// Source: Linux' `asm-generic/fcntl.h`; the crate libc lacks it.
const F_SETSIG: libc::c_int = 10;

/// Why an upload is not taken.
#[derive(Debug)]
pub(super) enum Not {
    /// It is not whole, and may become so.
    Yet(String),
    /// It becomes no upload, whatever comes.
    Ever(String),
    /// The disk or the machine says no.
    Now(Error),
}

impl From<Error> for Not {
    fn from(error: Error) -> Not {
        Not::Now(error)
    }
}

/// What tells a file from another that is put in its place, and from itself when more was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    size: i64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(stat: &nix::sys::stat::FileStat) -> Stamp {
        Stamp {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub(super) fn at(folder: &Folder, name: &OsStr) -> Option<Stamp> {
        folder.stat(name).ok().map(|stat| Stamp::of(&stat))
    }

    fn of_open(file: &File) -> io::Result<Stamp> {
        Ok(Stamp::of(&nix::sys::stat::fstat(file)?))
    }

    /// Is it the same file with the same content? Its ctime alone changes when it is renamed or linked.
    pub(super) fn is_same(&self, other: &Stamp) -> bool {
        Stamp { ctime: (0, 0), ..*self } == Stamp { ctime: (0, 0), ..*other }
    }

    /// When it was written to the last time: only the kernel sets a ctime.
    pub(super) fn changed(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.ctime;
        let since = u64::try_from(seconds).unwrap_or_default();
        UNIX_EPOCH + Duration::new(since, u32::try_from(nanoseconds).unwrap_or_default())
    }

    /// For the order of uploads.
    pub(super) fn modified(&self) -> (i64, i64) {
        self.mtime
    }
}

/// One file of an upload, open.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: PackageFile,
    pub(super) file: File,
    pub(super) stamp: Stamp,
    /// What its .changes says it is.
    pub(super) sha256: Option<String>,
    /// It came with an earlier upload, and lies in the archive.
    pub(super) is_archived: bool,
}

/// A package, or a .changes file and what it names; all of it there and at rest.
#[derive(Debug)]
pub(super) struct Upload {
    /// The .changes file, or the only one, is the first.
    pub(super) parts: Vec<Part>,
}

impl Upload {
    /// Opens `name` in `folder`, and what it names. What an earlier upload brought is taken from `archive`.
    pub(super) fn open(folder: &Folder, name: &OsStr, archive: Option<&Folder>) -> Result<Upload, Not> {
        let text = name.to_string_lossy();
        let main: PackageFile = text.parse().map_err(|error| Not::Ever(format!("{error}")))?;
        let part = open_part(folder, main, false)?;
        if !is_changes(name) {
            return match deb::shape(&part.file).map_err(at("read", &folder.path.join(name)))? {
                deb::Shape::Whole => Ok(Upload { parts: vec![part] }),
                deb::Shape::Short => Err(Not::Yet("its end is missing".to_owned())),
                deb::Shape::Other(why) => Err(Not::Ever(why.to_owned())),
            };
        }
        let text = read_changes(&part.file).map_err(at("read", &folder.path.join(name)))?;
        let named = changes::parse(&text).map_err(|unread| match unread {
            changes::Unread::Short => Not::Yet("its end is missing, or it has no Checksums-Sha256".to_owned()),
            changes::Unread::Wrong(why) => Not::Ever(why),
        })?;
        let mut parts = vec![part];
        for named in named {
            let part = match (open_part(folder, named.file.clone(), false), archive) {
                (Err(Not::Yet(_)), Some(archive)) => open_part(archive, named.file.clone(), true),
                (opened, _) => opened,
            };
            let part = Part { sha256: Some(named.sha256), ..part? };
            if u64::try_from(part.stamp.size) != Ok(named.size) {
                let (there, wanted) = (part.stamp.size, named.size);
                return Err(Not::Yet(format!("{} has {there} octets, and should have {wanted}", named.file)));
            }
            parts.push(part);
        }
        Ok(Upload { parts })
    }
}

/// The text of a .changes file; what is not UTF-8 is in nobody's checksums or file names.
pub(super) fn read_changes(file: &File) -> io::Result<String> {
    let mut octets = Vec::new();
    file.take(CHANGES_MAX).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

pub(super) fn is_changes(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "changes")
}

pub(super) fn is_package(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "deb" || end == "udeb")
}

/// Hidden names are of uploads that are under way.
pub(super) fn is_upload(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b".") && (is_package(name) || is_changes(name))
}

fn open_part(folder: &Folder, name: PackageFile, is_archived: bool) -> Result<Part, Not> {
    let path = folder.path.join(name.as_str());
    let file = match folder.read(OsStr::new(name.as_str())) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Not::Yet(format!("{name} is not there"))),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(Not::Ever(format!(
                "{name} is a symbolic link, which is not followed: put the file itself there"
            )));
        }
        Err(error) => return Err(at("open", &path)(error).into()),
    };
    if !file.metadata().map_err(at("read", &path))?.is_file() {
        return Err(Not::Ever(format!("{name} is no file")));
    }
    if is_written(&file) {
        return Err(Not::Yet(format!("somebody has {name} open to write")));
    }
    let stamp = Stamp::of_open(&file).map_err(at("read", &path))?;
    Ok(Part { name, file, stamp, sha256: None, is_archived })
}

impl Part {
    /// Copies it while nobody writes to it; the SHA-256 of the copy. `to` has what it has now, whatever becomes of it.
    pub(super) fn copy(&self, to: &mut impl io::Write) -> Result<String, Not> {
        let path = Path::new(self.name.as_str());
        let mut from = &self.file;
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; 1 << 20];
        io::Seek::rewind(&mut from).map_err(at("read", path))?;
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    digest.update(&buffer[..count]);
                    to.write_all(&buffer[..count]).map_err(at("copy", path))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(at("read", path)(error).into()),
            }
        }
        let after = Stamp::of_open(&self.file).map_err(at("read", path))?;
        if !after.is_same(&self.stamp) || is_written(&self.file) {
            return Err(Not::Yet(format!("{} was written to while it was read", self.name)));
        }
        let sha256: String = digest.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        match &self.sha256 {
            Some(wanted) if *wanted != sha256 => {
                Err(Not::Yet(format!("{} is not what its .changes says (SHA-256)", self.name)))
            }
            _ => Ok(sha256),
        }
    }
}

/// Has anybody it open to write? The kernel gives a read lease only where nobody has; `false` also where it may not be
/// asked: a file of another user without CAP_LEASE, some network file systems. Source: fcntl(2).
fn is_written(file: &File) -> bool {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl(2) on an open descriptor and integers. Whoever opens the file to write while the lease is held makes the
    // kernel send a signal: SIGURG, which nobody hears, in place of SIGIO, which ends a process.
    unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG);
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}
