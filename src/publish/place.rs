//! Where published directories stand, and what may be done there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::state::Published;
use super::{Error, at};
use crate::config::{self, Repo};
use crate::name::Rev;
use crate::process::User;

/// The folders of one repository's publications.
#[derive(Debug)]
pub(super) struct Place {
    target: PathBuf,
    parent: PathBuf,
    mode: config::Mode,
    work: PathBuf,
    /// Whose rights root has while it works here.
    owner: Option<Uid>,
}

/// How a tree of ours and a directory change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// The tree goes where nothing is, or an empty folder.
    Put,
    /// Both go to where the other was, in one system call.
    Exchange,
    /// The directory becomes a tree.
    Take,
}

/// A name in an open folder.
struct Spot {
    folder: OwnedFd,
    name: OsString,
}

/// What is at a directory's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or an empty folder.
    Free,
    /// What was published there.
    Ours,
    /// Something that was not published from here.
    Foreign,
}

impl Place {
    pub(super) fn of(repo: &Repo, user: Option<&User>) -> Result<Place, Error> {
        let target = repo.target.clone().unwrap_or_default();
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::NoTarget(target));
        };
        let base = match repo.mode {
            config::Mode::Branches | config::Mode::Tags => target.join(".failcake"),
            _ => {
                let hidden = [b".", name.as_bytes(), b".failcake"].concat();
                parent.join(std::ffi::OsStr::from_bytes(&hidden))
            }
        };
        // A comma is in no repository's name.
        let work = base.join(repo.name.as_str().replace('/', ","));
        let owner = user.map(|user| user.uid);
        Ok(Place { parent: parent.to_owned(), target, mode: repo.mode, work, owner })
    }

    /// The folder of our own: state, lock, trees.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    pub(super) fn trees(&self) -> PathBuf {
        self.work.join("trees")
    }

    pub(super) fn tree(&self, id: &str) -> PathBuf {
        self.trees().join(id)
    }

    pub(super) fn index(&self, id: &str) -> PathBuf {
        self.trees().join(format!("{id}.index"))
    }

    /// The folder that the published directories are in.
    pub(super) fn folder(&self) -> &Path {
        match self.mode {
            config::Mode::Branches | config::Mode::Tags => &self.target,
            _ => &self.parent,
        }
    }

    /// Where a directory is published; `dir` is nothing in mode `branch`.
    pub(super) fn path(&self, dir: &str) -> PathBuf {
        match self.mode {
            config::Mode::Branches | config::Mode::Tags => self.target.join(dir),
            config::Mode::BranchesFlat => {
                let mut path = self.target.clone().into_os_string();
                path.push("_");
                path.push(dir);
                path.into()
            }
            _ => self.target.clone(),
        }
    }

    /// Makes the folders. As root, those that the user may not make are made and handed over: the last part of the target,
    /// and the folder of our own beside it.
    pub(super) fn prepare(&self, user: Option<&User>) -> Result<(), Error> {
        let base = self.work.parent().unwrap_or(&self.work).to_owned();
        let mut folders = vec![base];
        if self.folder() == self.target {
            folders.insert(0, self.target.clone());
        }
        let make = |path: &Path| match fs::DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            done => done.map(|()| true),
        };
        for path in &folders {
            let made = match user {
                None => make(path),
                Some(user) => match user.with_rights(|| make(path)).and_then(|made| made) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_roots(path.parent()) => {
                        make(path).and_then(|made| {
                            // Nobody but root can have changed what is there since: the folder around it is root's.
                            let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
                            if made { std::os::unix::fs::lchown(path, uid, gid).map(|()| made) } else { Ok(made) }
                        })
                    }
                    done => done,
                },
            };
            made.map_err(at("make", path))?;
        }
        let trees = || {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(self.trees())?;
            spread(&self.trees());
            Ok(())
        };
        match user {
            None => trees(),
            Some(user) => user.with_rights(trees).and_then(|made| made),
        }
        .map_err(at("make", &self.trees()))
    }

    /// The inode of what is at a directory's place.
    pub(super) fn inode(&self, dir: &str) -> Option<u64> {
        fs::symlink_metadata(self.path(dir)).ok().map(|meta| meta.ino())
    }

    /// What is at a directory's place?
    pub(super) fn standing(&self, dir: &str, published: Option<&Published>) -> Result<Standing, Error> {
        let path = self.path(dir);
        let meta = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Free),
            meta => meta.map_err(at("look at", &path))?,
        };
        if !meta.is_dir() {
            return Ok(Standing::Foreign);
        }
        if let Some(published) = published {
            // Not by the inode: that of a folder that was removed is soon another's, and after a restore from a backup
            // it is another one.
            if is_of(&path, &published.commit) {
                return Ok(Standing::Ours);
            }
        }
        let is_empty = fs::read_dir(&path).map_err(at("look into", &path))?.next().is_none();
        Ok(if is_empty { Standing::Free } else { Standing::Foreign })
    }

    /// Moves a tree and a directory. Of what is known, it is known that the directory is empty, or of this commit; if somebody
    /// has put something else there a moment ago, that goes back.
    pub(super) fn change(&self, how: Move, id: &str, dir: &str, known: Option<&Rev>) -> io::Result<()> {
        let tree = Spot { folder: open_folder(&self.trees())?, name: id.into() };
        let path = self.path(dir);
        let directory =
            Spot { folder: open_folder(self.folder())?, name: path.file_name().unwrap_or_default().to_owned() };
        let moves = |how: Move| match how {
            Move::Put => self.rename(&tree, &directory, RenameFlags::empty()),
            Move::Exchange => self.rename(&tree, &directory, RenameFlags::RENAME_EXCHANGE),
            Move::Take => self.rename(&directory, &tree, RenameFlags::empty()),
        };
        moves(how)?;
        if let Some(commit) = known
            && how != Move::Put
            && !is_of(&self.tree(id), commit)
        {
            moves(if how == Move::Take { Move::Put } else { how })?;
            return Err(io::Error::other("something else has been put there meanwhile"));
        }
        Ok(())
    }

    /// Moves to the things kept what was in the way and has the place of a tree now.
    pub(super) fn keep(&self, id: &str, dir: &str) -> io::Result<PathBuf> {
        let folder = self.work.join("adopted");
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let name = if dir.is_empty() { "target" } else { dir };
        let name = format!("{name}-{}-{}", jiff::Timestamp::now().as_second(), &id[..8]);
        let from = Spot { folder: open_folder(&self.trees())?, name: id.into() };
        let to = Spot { folder: open_folder(&folder)?, name: name.clone().into() };
        self.rename(&from, &to, RenameFlags::RENAME_NOREPLACE)?;
        Ok(folder.join(name))
    }

    /// Renames, as root where the user may not and only root may. The user's own folders may be links by now, and lead
    /// anywhere: so root looks at the open folders, and renames between those that are the user's or only root's.
    fn rename(&self, from: &Spot, to: &Spot, flags: RenameFlags) -> io::Result<()> {
        let rename = || -> io::Result<()> {
            Ok(renameat2(&from.folder, from.name.as_os_str(), &to.folder, to.name.as_os_str(), flags)?)
        };
        match (rename(), self.owner) {
            (Err(error), Some(owner)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let is_good = |spot: &Spot| {
                    let stat = nix::sys::stat::fstat(&spot.folder);
                    stat.is_ok_and(|stat| stat.st_uid == owner.as_raw() || is_only_roots(stat.st_uid, stat.st_mode))
                };
                let is_ours =
                    |spot: &Spot| nix::sys::stat::fstat(&spot.folder).is_ok_and(|stat| stat.st_uid == owner.as_raw());
                // One of the two is ours in any case.
                let may = is_good(from) && is_good(to) && (is_ours(from) || is_ours(to));
                if may { crate::process::as_root(rename)? } else { Err(error) }
            }
            (done, _) => done,
        }
    }

    /// Makes what was moved between the folder and ours durable.
    pub(super) fn sync_folder(&self) -> Result<(), Error> {
        let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all());
        let trees = self.trees();
        sync(&trees).map_err(at("sync", &trees))?;
        if sync(self.folder()).is_err() {
            // One that the user may not read: then everything on the disk.
            let file = fs::File::open(&trees).map_err(at("open", &trees))?;
            nix::unistd::syncfs(&file).map_err(|errno| at("sync", &trees)(errno.into()))?;
        }
        Ok(())
    }

    /// Deletes what a killed run has left of files that were to be replaced. The caller has the lock.
    pub(super) fn clear_temporary(&self) {
        for entry in fs::read_dir(&self.work).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp-") {
                self.delete(&entry.path());
            }
        }
    }

    /// Deletes trees and indexes that no state speaks of: a killed run's, after their grace, since one may have been replaced by it.
    pub(super) fn clear_unknown(&self, known: &BTreeSet<String>, grace: Duration) -> Result<(), Error> {
        let trees = self.trees();
        for entry in fs::read_dir(&trees).map_err(at("list", &trees))? {
            let entry = entry.map_err(at("list", &trees))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| known.contains(name)) {
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            // A rename sets it too.
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0));
            if changed.elapsed().is_ok_and(|age| age >= grace) {
                self.delete(&entry.path());
            }
        }
        Ok(())
    }

    /// Is what has its name among ours the new tree itself, and not what it was exchanged with?
    pub(super) fn is_new(&self, new: &Published) -> bool {
        fs::symlink_metadata(self.tree(&new.tree)).is_ok_and(|meta| meta.ino() == new.inode)
    }

    /// Deletes a tree that did not get its place.
    pub(super) fn delete_new(&self, new: &Published) {
        if self.is_new(new) {
            self.delete(&self.tree(&new.tree));
            self.delete(&self.index(&new.tree));
        }
    }

    /// Best effort: what can't be deleted now (an application wrote files there as another user) is tried again next time.
    pub(super) fn delete(&self, path: &Path) {
        let done = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(_) => Ok(()),
        };
        if let Err(error) = done {
            log::warn!("can't remove {}: {error}", path.display());
        }
    }
}

/// May only root change what is in it?
fn is_roots(folder: Option<&Path>) -> bool {
    let meta = folder.and_then(|folder| fs::symlink_metadata(folder).ok());
    meta.is_some_and(|meta| meta.is_dir() && is_only_roots(meta.uid(), meta.mode()))
}

fn is_only_roots(uid: u32, mode: u32) -> bool {
    uid == 0 && mode & 0o022 == 0
}

/// To rename in it: nobody has to be able to read it.
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Is this a tree of that commit?
fn is_of(tree: &Path, commit: &Rev) -> bool {
    let revision = read(&tree.join("REVISION"), 128).unwrap_or_default();
    revision.trim_ascii_end() == commit.as_str().as_bytes()
}

/// Reads a file of at most so many octets. What else may lie there (a pipe, a link) is the user's, and must not hold us up.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut octets = Vec::new();
    file.take(most).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Asks the file system to keep the trees in `folder` apart from each other. ext4 then gives each a block group of its own.
/// Otherwise all share one, and it looks for each new file's inode beginning at the first, past all that were freed in the
/// last minutes: a hundred trees written soon after a hundred were deleted take ten times as long.
fn spread(folder: &Path) {
    use std::os::fd::AsRawFd as _;
    // Source: ioctl_iflags(2), which is also where they are said to take an `int`, whatever their numbers say.
    const TOPDIR: libc::c_int = 0x0002_0000;
    const GET: libc::Ioctl = nix::request_code_read!(b'f', 1, size_of::<libc::c_long>()) as libc::Ioctl;
    const SET: libc::Ioctl = nix::request_code_write!(b'f', 2, size_of::<libc::c_long>()) as libc::Ioctl;
    let Ok(folder) = fs::File::open(folder) else { return };
    let mut flags: libc::c_int = 0;
    // SAFETY: the descriptor is open, and both calls read or write the one number.
    unsafe {
        // A file system that does not know it says no, and nothing is lost.
        if libc::ioctl(folder.as_raw_fd(), GET, &raw mut flags) == 0 && flags & TOPDIR == 0 {
            flags |= TOPDIR;
            libc::ioctl(folder.as_raw_fd(), SET, &raw const flags);
        }
    }
}
