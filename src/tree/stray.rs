//! What no commit put into a tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Entry, SUBMODULE, entries};

/// Removes from `tree` what `index` (its content) does not name, other repositories and ignored files included, as
/// `git clean -ffdx` does, in half the time. A submodule's folder is left as it is: whoever fills it empties it first.
///
/// # Errors
/// What can't be read or removed, and why.
pub(super) fn remove(tree: &Path, index: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    let entries = entries(index).ok_or_else(|| (tree.to_owned(), io::Error::other("its index is damaged")))?;
    let fail = |errno: nix::Error| (tree.to_owned(), errno.into());
    let folder = Dir::open(tree, FOLDER, Mode::empty()).map_err(fail)?;
    clear(folder, tree, &entries, 0)
}

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What the index has under a name.
enum Kind<'e, 'i> {
    File,
    Submodule,
    Folder(&'e [Entry<'i>]),
}

/// Clears a folder. `entries` are what the index has in it, and their names have so many octets before those in it.
fn clear(mut folder: Dir, path: &Path, entries: &[Entry<'_>], depth: usize) -> Result<(), (PathBuf, io::Error)> {
    let fail = |errno: nix::Error| (path.to_owned(), errno.into());
    let mut wanted: HashMap<&[u8], Kind<'_, '_>> = HashMap::new();
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let name = &first.name[depth..];
        let (name, kind, count) = match name.iter().position(|b| *b == b'/') {
            None if first.mode == SUBMODULE => (name, Kind::Submodule, 1),
            None => (name, Kind::File, 1),
            Some(slash) => {
                // git sorts by the whole name, so what is in a folder is together.
                let begin = &first.name[..=depth + slash];
                let count = rest.partition_point(|entry| entry.name.starts_with(begin));
                (&name[..slash], Kind::Folder(&rest[..count]), count)
            }
        };
        wanted.insert(name, kind);
        rest = &rest[count..];
    }
    let (mut stray, mut below) = (Vec::new(), Vec::new());
    for entry in folder.iter() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // A file system that does not say.
            None => fs::symlink_metadata(path.join(OsStr::from_bytes(name))).is_ok_and(|meta| meta.is_dir()),
        };
        match (wanted.get(name), is_folder) {
            (Some(Kind::File), false) | (Some(Kind::Submodule), true) => {}
            (Some(Kind::Folder(entries)), true) => below.push((name.to_owned(), *entries)),
            (_, is_folder) => stray.push((name.to_owned(), is_folder)),
        }
    }
    for (name, is_folder) in stray {
        let path = path.join(OsStr::from_bytes(&name));
        let done = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        done.map_err(|source| (path, source))?;
    }
    for (name, entries) in below {
        let path = path.join(OsStr::from_bytes(&name));
        let below = Dir::openat(&folder, name.as_slice(), FOLDER, Mode::empty());
        let below = below.map_err(|errno| (path.clone(), errno.into()))?;
        clear(below, &path, entries, depth + name.len() + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of version 2 with these names; one that ends in `@` is a submodule.
    fn index(names: &[&str]) -> Vec<u8> {
        let mut index = [b"DIRC".as_slice(), &2_u32.to_be_bytes(), &(names.len() as u32).to_be_bytes()].concat();
        for name in names {
            let begin = index.len();
            let mode = if name.ends_with('@') { SUBMODULE } else { 0o100_644 };
            let name = name.trim_end_matches('@');
            index.extend([0; 24]);
            index.extend(mode.to_be_bytes());
            index.extend([0; 12 + 20]);
            index.extend((name.len() as u16).to_be_bytes());
            index.extend(name.as_bytes());
            index.resize(begin + (index.len() - begin) / 8 * 8 + 8, 0);
        }
        index
    }

    #[test]
    fn what_the_index_names_stays_and_all_else_goes() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), name).unwrap();
        };
        for name in ["a", "d/e/f", "sub/theirs", "stray", "d/stray", "d/e/stray/more", "repo/.git/HEAD", "ab", "d/e/f2"]
        {
            make(name);
        }
        // A folder where a file is to be, a file where a folder is to be, links to what must not be touched.
        make("file/x");
        make("folder");
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("d/link")).unwrap();
        fs::create_dir_all(dir.path().join("empty/er")).unwrap();
        remove(dir.path(), &index(&["a", "d/e/f", "d/link", "file", "folder/x", "sub@"])).unwrap();
        let mut found = Vec::new();
        let mut folders = vec![dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        assert_eq!(found, ["a", "d/e/f", "d/link", "sub/theirs"]);
        assert!(outside.path().join("kept").exists() && !dir.path().join("empty").exists());
        assert!(remove(dir.path(), b"DIRC").is_err());
    }
}
