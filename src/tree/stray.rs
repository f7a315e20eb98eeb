//! What no commit put into a tree.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{SUBMODULE, entries};

/// Removes from `tree` what `index` (its content) does not name, other repositories and ignored files included, in a fraction
/// of the time that `git clean -ffdx` takes. A submodule's folder is left as it is: whoever fills it empties it first.
///
/// # Errors
/// What can't be read or removed, and why.
pub(super) fn remove(tree: &Path, index: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    let damaged = || (tree.to_owned(), io::Error::other("its index is damaged"));
    let (mut files, mut folders) = (HashSet::new(), HashSet::new());
    for entry in entries(index).ok_or_else(damaged)? {
        files.insert((entry.name, entry.mode == SUBMODULE));
        let mut name = entry.name;
        while let Some(slash) = name.iter().rposition(|b| *b == b'/') {
            name = &name[..slash];
            if !folders.insert(name) {
                break;
            }
        }
    }
    let mut left = vec![Vec::new()];
    while let Some(folder) = left.pop() {
        let path = tree.join(OsStr::from_bytes(&folder));
        let fail = |source| (path.clone(), source);
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let is_folder = entry.file_type().map_err(fail)?.is_dir();
            let mut name = folder.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(entry.file_name().as_bytes());
            if is_folder && folders.contains(name.as_slice()) {
                left.push(name);
            } else if !files.contains(&(name.as_slice(), is_folder)) {
                let path = entry.path();
                let done = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                done.map_err(|source| (path, source))?;
            }
        }
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
