//! The folder per user: where it is, whose it is, and why it is refused.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Uid, User, geteuid, mkdir};

use super::Error;

/// An open folder that was checked to be a real one and the owner's. All work is done relative to `fd`, so it stays
/// this folder whatever its path becomes.
#[derive(Debug)]
pub(super) struct Folder {
    pub fd: OwnedFd,
    pub path: PathBuf,
    pub owner: Uid,
    /// The owner is who runs this.
    pub own: bool,
    /// Made just now: its own name in the parent is not durable yet.
    pub fresh: bool,
}

/// Never follows a link in the last component, never opens a FIFO or a device.
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens this user's folder below `parent`, or below the fallback where `parent` does not exist; makes it if need be.
pub(super) fn open_own(parent: &Path) -> Result<Folder, Error> {
    match open_or_make(parent)? {
        Some(folder) => Ok(folder),
        None => {
            let fallback = fallback_parent()?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&fallback)
                .map_err(|e| Error::io("make", &fallback, e))?;
            open_or_make(&fallback)?.ok_or_else(|| Error::io("open", &fallback, Errno::ENOENT.into()))
        }
    }
}

/// A folder of the same owner inside `outer`; made if need be.
pub(super) fn open_inner(outer: &Folder, name: &str) -> Result<Folder, Error> {
    let path = outer.path.join(name);
    let fresh = match mkdirat(&outer.fd, name, Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(Error::io("make", &path, errno.into())),
    };
    let fd = openat(&outer.fd, name, FOLDER, Mode::empty()).map_err(|errno| refusal(&path, errno))?;
    check(fd, path, outer.owner, fresh)
}

/// The same, if it is there.
pub(super) fn find_inner(outer: &Folder, name: &str) -> Result<Option<Folder>, Error> {
    let path = outer.path.join(name);
    match openat(&outer.fd, name, FOLDER, Mode::empty()) {
        Ok(fd) => check(fd, path, outer.owner, false).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(refusal(&path, errno)),
    }
}

/// This user's folder, if there is one already.
pub(super) fn find_own(parent: &Path) -> Result<Option<Folder>, Error> {
    let parent = if parent.exists() { parent.to_owned() } else { fallback_parent()? };
    let path = parent.join(geteuid().to_string());
    match open(&path, FOLDER, Mode::empty()) {
        Ok(fd) => check(fd, path, geteuid(), false).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(refusal(&path, errno)),
    }
}

/// The folders of all other users below `parent`. What is no folder of the user that its name says is passed over:
/// anybody may put anything into a 1777 folder.
pub(super) fn find_others(parent: &Path) -> Result<Vec<Folder>, Error> {
    let mut dir = match Dir::open(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(Error::io("read", parent, errno.into())),
    };
    let mut uids = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(|errno| Error::io("read", parent, errno.into()))?;
        if let Some(uid) = entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()) {
            uids.push(uid);
        }
    }
    uids.sort_unstable();
    let mut folders = Vec::new();
    for uid in uids.into_iter().map(Uid::from_raw).filter(|uid| *uid != geteuid()) {
        let name = uid.to_string();
        let Ok(fd) = openat(&dir, name.as_str(), FOLDER, Mode::empty()) else { continue };
        if let Ok(folder) = check(fd, parent.join(name), uid, false) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// `None`: there is no `parent`.
fn open_or_make(parent: &Path) -> Result<Option<Folder>, Error> {
    let path = parent.join(geteuid().to_string());
    let mut fresh = false;
    // The second turn is for the folder that was just made, by us or by another emitter of this user.
    for _ in 0..2 {
        match open(&path, FOLDER, Mode::empty()) {
            Ok(fd) => return check(fd, path, geteuid(), fresh).map(Some),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(refusal(&path, errno)),
        }
        match mkdir(&path, Mode::S_IRWXU) {
            Ok(()) => fresh = true,
            Err(Errno::EEXIST) => {}
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("make", &path, errno.into())),
        }
    }
    Err(Error::io("open", &path, Errno::ENOENT.into()))
}

fn refusal(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => {
            Error::NotOurs { path: path.to_owned(), what: "a link or a file, no folder".to_owned() }
        }
        other => Error::io("open", path, other.into()),
    }
}

fn check(fd: OwnedFd, path: PathBuf, owner: Uid, fresh: bool) -> Result<Folder, Error> {
    let stat: FileStat = fstat(&fd).map_err(|errno| Error::io("look at", &path, errno.into()))?;
    if stat.st_uid != owner.as_raw() {
        return Err(Error::NotOurs { path, what: format!("a folder of user {}, not of {owner}", stat.st_uid) });
    }
    let own = owner == geteuid();
    if own && stat.st_mode & 0o777 != 0o700 {
        fchmod(&fd, Mode::S_IRWXU).map_err(|errno| Error::io("close to others", &path, errno.into()))?;
    }
    Ok(Folder { fd, path, owner, own, fresh })
}

/// `$XDG_STATE_HOME/failcake/spool`, else `~/.local/state/failcake/spool`.
fn fallback_parent() -> Result<PathBuf, Error> {
    fallback_from(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"), geteuid())
}

/// A hook of Subversion has an empty environment: HOME is then what the user database says.
pub(super) fn fallback_from(state_home: Option<OsString>, home: Option<OsString>, uid: Uid) -> Result<PathBuf, Error> {
    // The XDG base directory specification: relative paths are to be ignored.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(state_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .or_else(|| Some(User::from_uid(uid).ok()??.dir.join(".local/state")))
        .ok_or(Error::NoHome(uid.as_raw()))?;
    Ok(state.join("failcake/spool"))
}
