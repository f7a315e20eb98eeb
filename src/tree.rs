//! A commit, or a tree of Subversion, as a directory: written anew, or from a tree of another commit by what differs.
//!
//! Nothing here is atomic: whoever calls decides which name the folder gets, and when.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::git::{self, local::Local};
use crate::name::Rev;
use crate::svn;

mod stray;
mod whole;

pub use whole::{Source, complete};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Git(#[from] git::Error),
    #[error(transparent)]
    Svn(#[from] svn::remote::Error),
    #[error("can't write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the index {} is none that this program wrote", .0.display())]
    Index(PathBuf),
    #[error("{0}")]
    Incomplete(String),
    /// The clone that the configuration calls so has not all that is needed.
    #[error("{why}")]
    Lacking { clone: String, why: String },
}

/// What is in a tree, as its index has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files, links included.
    pub files: u64,
    /// Their bytes; files are counted modulo 4 GiB, as git's index has them.
    pub bytes: u64,
    /// Folders that are left empty for another repository's commit.
    pub submodules: Vec<(PathBuf, Rev)>,
    /// Files called `.gitattributes`.
    pub attributes: Vec<PathBuf>,
}

/// Writes the files of `commit` and `REVISION` into the empty folder `tree`, and their list to `index`.
///
/// A crash leaves a part of it, and perhaps `INDEX.lock`; the caller's record says that it is not whole.
/// Nothing is synced: the caller does that once, for all it has written.
///
/// # Errors
/// git failed or the disk is full; the folder then holds a part.
pub fn write(clone: &Local<'_>, commit: &Rev, tree: &Path, index: &Path) -> Result<Listing, Error> {
    clone.read_tree(commit, tree, index)?;
    write_revision(tree, &format!("{commit}\n"))?;
    list(index)
}

/// Turns `tree`, written from another commit with its list in `index`, into that of `commit`. It costs what differs:
/// files that are as the index says are not touched, all others are replaced (so none keeps an inode that
/// something else shares), and what no commit put there is removed.
///
/// A crash leaves a mixture, as with [`write`].
///
/// # Errors
/// As [`write`], and when something there can't be removed. The tree is then of no use.
pub fn renew(clone: &Local<'_>, commit: &Rev, tree: &Path, index: &Path) -> Result<Listing, Error> {
    clone.read_tree(commit, tree, index)?;
    let listed = read(index)?;
    stray::remove(tree, &listed).map_err(|(path, source)| Error::Io { path, source })?;
    write_revision(tree, &format!("{commit}\n"))?;
    add_up(&listed).ok_or_else(|| Error::Index(index.to_owned()))
}

/// Writes the files of a tree of Subversion and `REVISION` into the empty folder `tree`. Gives their number and bytes.
///
/// A crash leaves a part of it, as with [`write`].
///
/// # Errors
/// svn failed or the disk is full; the folder then holds a part.
pub fn export(project: &svn::remote::Remote<'_>, found: &svn::remote::Found, tree: &Path) -> Result<(u64, u64), Error> {
    project.export(found, tree)?;
    let weight = weigh(tree)?;
    write_revision(tree, &format!("{}\n", found.changed))?;
    Ok(weight)
}

/// Files and bytes below a folder; links are files, and not followed.
fn weigh(folder: &Path) -> Result<(u64, u64), Error> {
    let fail = |source| Error::Io { path: folder.to_owned(), source };
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let meta = entry.metadata().map_err(fail)?;
        let (more_files, more_bytes) = if meta.is_dir() { weigh(&entry.path())? } else { (1, meta.len()) };
        files += more_files;
        bytes += more_bytes;
    }
    Ok((files, bytes))
}

/// `REVISION`, as Capistrano has it. One that the commit has is replaced, and never written through: it may be a link.
///
/// # Errors
/// The disk is full, or has a folder there.
pub fn write_revision(tree: &Path, text: &str) -> Result<(), Error> {
    let path = tree.join("REVISION");
    let written = match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
    };
    written.map_err(|source| Error::Io { path, source })
}

/// [`renew`] without the removal of what no commit put there: for a tree in which others keep files too. What the commit
/// of `index` had and the new one has not is removed.
///
/// A crash leaves a mixture, without `REVISION`.
///
/// # Errors
/// As [`write`].
pub fn overlay(clone: &Local<'_>, commit: &Rev, tree: &Path, index: &Path) -> Result<Listing, Error> {
    let revision = tree.join("REVISION");
    match fs::remove_file(&revision) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(Error::Io { path: revision, source }),
        _ => {}
    }
    clone.read_tree(commit, tree, index)?;
    write_revision(tree, &format!("{commit}\n"))?;
    list(index)
}

/// The files of a submodule's `commit` in the folder that its parent left for it, `tree`; what is there goes. `index` is
/// scratch.
///
/// # Errors
/// As [`write`].
pub fn fill(clone: &Local<'_>, commit: &Rev, tree: &Path, index: &Path) -> Result<Listing, Error> {
    let fail = |source| Error::Io { path: tree.to_owned(), source };
    // The parent's commit can't have a link here; a script of an earlier release can have left one.
    match fs::symlink_metadata(tree) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(tree).map_err(fail)?,
        Ok(_) => fs::remove_file(tree).map_err(fail)?,
        Err(_) => {}
    }
    fs::create_dir(tree).map_err(fail)?;
    match fs::remove_file(index) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(Error::Io { path: index.to_owned(), source });
        }
        _ => {}
    }
    clone.read_tree(commit, tree, index)?;
    let listing = list(index);
    let _ = fs::remove_file(index);
    listing
}

/// Bytes and files that a user may still write on the disk of `path`; `None` when it does not say.
pub fn free(path: &Path) -> Option<(u64, u64)> {
    let disk = nix::sys::statvfs::statvfs(path).ok()?;
    // Some file systems (btrfs) have no number of files and say 0.
    let files = if disk.files() == 0 { u64::MAX } else { disk.files_available() };
    Some((disk.blocks_available() * disk.fragment_size(), files))
}

fn read(index: &Path) -> Result<Vec<u8>, Error> {
    fs::read(index).map_err(|source| Error::Io { path: index.to_owned(), source })
}

/// Adds up what is in an index file.
fn list(index: &Path) -> Result<Listing, Error> {
    add_up(&read(index)?).ok_or_else(|| Error::Index(index.to_owned()))
}

fn add_up(index: &[u8]) -> Option<Listing> {
    let mut listing = Listing::default();
    for entry in entries(index)? {
        if entry.mode == SUBMODULE {
            let hex: String = entry.id.iter().map(|byte| format!("{byte:02x}")).collect();
            listing.submodules.push((PathBuf::from(OsStr::from_bytes(entry.name)), hex.parse().ok()?));
        } else {
            listing.files += 1;
            listing.bytes += u64::from(entry.size);
        }
        if entry.name.rsplit(|b| *b == b'/').next() == Some(b".gitattributes") {
            listing.attributes.push(PathBuf::from(OsStr::from_bytes(entry.name)));
        }
    }
    Some(listing)
}

/// What an index says of one file.
struct Entry<'a> {
    mode: u32,
    size: u32,
    id: &'a [u8],
    name: &'a [u8],
}

/// Reads an index of version 2 or 3. Source: gitformat-index(5).
fn entries(index: &[u8]) -> Option<Vec<Entry<'_>>> {
    let number = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    if index.get(..4)? != b"DIRC" || !matches!(number(4)?, 2 | 3) {
        return None;
    }
    // Ten numbers, the object id, the flags and the name, padded with at least one NUL to a multiple of eight. Its
    // length is not told, and a SHA-256 id is longer: the end of the entry is where its name's first NUL is.
    let mut at = 12;
    let id = id_length(index)?;
    let mut entries = Vec::new();
    for _ in 0..number(8)? {
        let flags = u16::from_be_bytes(index.get(at + 40 + id..at + 42 + id)?.try_into().ok()?);
        let begin = at + 42 + id + if flags & 0x4000 == 0 { 0 } else { 2 };
        let length = index.get(begin..)?.iter().position(|b| *b == 0)?;
        let name = &index[begin..begin + length];
        let (mode, size) = (number(at + 24)?, number(at + 36)?);
        entries.push(Entry { mode, size, id: &index[at + 40..at + 40 + id], name });
        at += (begin + length - at) / 8 * 8 + 8;
    }
    Some(entries)
}

/// The mode of an entry that is another repository's commit.
const SUBMODULE: u32 = 0o160_000;

/// 20 or 32: which of the two makes the first entry's name as long as its flags say. 20 when there is no entry.
fn id_length(index: &[u8]) -> Option<usize> {
    if index.get(8..12)? == [0; 4] {
        return Some(20);
    }
    [20, 32].into_iter().find(|id| {
        let flags = 12 + 40 + id;
        let Some(flag) = index.get(flags..flags + 2) else { return false };
        let told = usize::from(u16::from_be_bytes([flag[0], flag[1]]) & 0xfff);
        let name = index[flags + 2..].iter().position(|b| *b == 0);
        told > 0 && name.is_some_and(|length| length == told || (told == 0xfff && length >= told))
    })
}

#[cfg(test)]
mod tests;
