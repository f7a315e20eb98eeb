//! One file replaced as a whole: a reader, and whoever comes after a crash, finds the old one or the new one.

mod attributes;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nobody writes for so long.
const STALE: Duration = Duration::from_secs(3600);

/// What of a replaced file survives a power cut from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// The new content.
    Now,
    /// The old content or the new one; which, the next write that is durable at once decides.
    Soon,
    /// Perhaps neither, until a `syncfs`: for what is of no use before that anyway.
    Later,
}

/// What [`Draft`]s are called until they have their place: a crash leaves one, and the next run clears it.
pub const TEMPORARY: &str = ".tmp-";

/// Replaces `folder/name` as a whole. A crash leaves the old file, and a `.tmp-…` beside it that the next run clears.
///
/// # Errors
/// The disk says no; the old file is still there.
pub fn replace(folder: &Path, name: &str, content: &[u8], durable: Durable) -> io::Result<()> {
    replace_as(0o666, folder, name, content, durable)
}

/// As [`replace`], with a file that nobody else may read.
///
/// # Errors
/// As [`replace`].
pub fn replace_private(folder: &Path, name: &str, content: &[u8], durable: Durable) -> io::Result<()> {
    replace_as(0o600, folder, name, content, durable)
}

fn replace_as(mode: u32, folder: &Path, name: &str, content: &[u8], durable: Durable) -> io::Result<()> {
    let draft = Draft::create(folder, mode)?;
    draft.write(content, durable != Durable::Later)?;
    draft.put(&folder.join(name))?;
    if durable == Durable::Now { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A new file that has no place yet. Dropped before it has one, it is removed.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
    has_place: bool,
}

impl Draft {
    /// A draft in `folder`, on the file system of its later place, for whom `model` lets in: with the owner, the group, the
    /// mode (these of `like`, its metadata), the access list and the attributes of that file.
    ///
    /// # Errors
    /// The disk says no; only root may give a file to another owner.
    pub fn like(folder: &Path, model: &Path, like: &fs::Metadata) -> io::Result<Draft> {
        let mode = like.mode() & 0o777;
        let draft = Draft::owned(folder, mode, Some(like.uid()), Some(like.gid()))?;
        // What the folder gives to new files is not what the model has.
        if attributes::copy(model, &draft.file)? {
            draft.file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Ok(draft)
    }

    /// A draft in `folder` with this mode, this owner and this group.
    ///
    /// # Errors
    /// As [`like`](Self::like).
    pub fn owned(folder: &Path, mode: u32, uid: Option<u32>, gid: Option<u32>) -> io::Result<Draft> {
        let draft = Draft::create(folder, 0o600)?;
        let own = draft.file.metadata()?;
        let (uid, gid) = (uid.filter(|uid| *uid != own.uid()), gid.filter(|gid| *gid != own.gid()));
        if uid.is_some() || gid.is_some() {
            std::os::unix::fs::fchown(&draft.file, uid, gid)?;
        }
        // After the owner, whose change may take bits away.
        draft.file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(draft)
    }

    /// A draft in `folder` with this mode, as far as the umask leaves it.
    ///
    /// # Errors
    /// The disk says no.
    pub fn create(folder: &Path, mode: u32) -> io::Result<Draft> {
        let path = folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Draft { path, file, has_place: false })
    }

    /// Its content; with `durable`, on the disk.
    ///
    /// # Errors
    /// The disk says no.
    pub fn write(&self, content: &[u8], durable: bool) -> io::Result<()> {
        (&self.file).write_all(content)?;
        if durable { self.file.sync_all() } else { Ok(()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the place of `target`, in one step.
    ///
    /// # Errors
    /// The disk says no; what was there still is.
    pub fn put(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.has_place = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.has_place {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes from `folder` what a crash left there. Best effort: what stays is looked at again next time.
pub fn clear_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_left = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if is_left && age.is_some_and(|age| age > STALE) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_draft_has_its_models_mode_and_is_gone_unless_it_was_put() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let like = fs::metadata(&target).unwrap();
        let draft = Draft::like(folder.path(), &target, &like).unwrap();
        draft.write(b"dropped", true).unwrap();
        drop(draft);
        assert_eq!((names(folder.path()), fs::read(&target).unwrap()), (vec!["file".to_owned()], b"old".to_vec()));
        let draft = Draft::like(folder.path(), &target, &like).unwrap();
        draft.write(b"new", true).unwrap();
        draft.put(&target).unwrap();
        assert_eq!((names(folder.path()), fs::read(&target).unwrap()), (vec!["file".to_owned()], b"new".to_vec()));
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn it_has_its_models_attributes() {
        use rustix::fs::{XattrFlags, getxattr, setxattr};
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "old").unwrap();
        if setxattr(&target, c"user.long", &[7; 2000], XattrFlags::empty()) == Err(rustix::io::Errno::OPNOTSUPP) {
            eprintln!("not run: this file system has no attributes");
            return;
        }
        setxattr(&target, c"user.empty", b"", XattrFlags::empty()).unwrap();
        Draft::like(folder.path(), &target, &fs::metadata(&target).unwrap()).unwrap().put(&target).unwrap();
        let get = |name: &std::ffi::CStr| {
            let mut value = vec![0; 4000];
            getxattr(&target, name, value.as_mut_slice()).map(|length| value[..length].to_vec())
        };
        assert_eq!(fs::read(&target).unwrap(), b"");
        assert_eq!((get(c"user.long"), get(c"user.empty")), (Ok(vec![7; 2000]), Ok(Vec::new())));
        assert_eq!(get(c"user.other"), Err(rustix::io::Errno::NODATA));
    }

    #[test]
    fn root_gives_it_to_the_owner_of_the_old_one() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not run: needs root to give a file away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::chown(&target, Some(1234), Some(4321)).unwrap();
        let draft = Draft::like(folder.path(), &target, &fs::metadata(&target).unwrap()).unwrap();
        draft.write(b"new", true).unwrap();
        draft.put(&target).unwrap();
        let new = fs::metadata(&target).unwrap();
        assert_eq!((new.uid(), new.gid()), (1234, 4321));
    }
}
