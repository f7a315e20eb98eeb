//! The tips of branches, read from git's files.
//!
//! libgit2 reads all of packed-refs before it gives the first branch: a second in a repository with 300,000 pull
//! requests. git's own program is quick there and costs a process everywhere else.
//!
//! Formats: gitrepository-layout(5), "refs" and "packed-refs"; git's refs/packed-backend.c for the traits in its first
//! line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use git2::Oid;

use super::oid;

const BRANCHES: &[u8] = b"refs/heads/";

/// Longest line of packed-refs that is read, in octets; git's names are shorter.
const LINE_MAX: u64 = 8192;

/// At most `limit` ids that branches have, those of names that `skip` knows left out. Of a branch that is both loose
/// and packed, an older value may be among them. What can't be read is left out.
pub fn tips(common_dir: &Path, skip: impl Fn(&[u8]) -> bool, limit: usize) -> Vec<Oid> {
    let mut tips = Vec::new();
    loose(common_dir, &skip, limit, &mut tips);
    if let Ok(file) = File::open(common_dir.join("packed-refs")) {
        packed(BufReader::with_capacity(64 * 1024, file), &skip, limit, &mut tips);
    }
    tips
}

fn loose(common_dir: &Path, skip: &impl Fn(&[u8]) -> bool, limit: usize, tips: &mut Vec<Oid>) {
    let mut folders = vec![common_dir.join("refs/heads")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            if tips.len() >= limit {
                return;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(common_dir).unwrap_or(&path).as_os_str();
            if !skip(name.as_bytes()) {
                tips.extend(fs::read(&path).ok().and_then(|text| id(text.trim_ascii_end())));
            }
        }
    }
}

fn packed(mut file: impl BufRead, skip: &impl Fn(&[u8]) -> bool, limit: usize, tips: &mut Vec<Oid>) {
    let (mut line, mut sorted) = (Vec::new(), false);
    while tips.len() < limit {
        line.clear();
        match file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = line.trim_ascii_end();
        if line.starts_with(b"#") {
            sorted = line.windows(7).any(|word| word == b" sorted");
            continue;
        }
        let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
        let name = &line[space + 1..];
        if name.starts_with(BRANCHES) {
            if !skip(name) {
                tips.extend(id(&line[..space]));
            }
        } else if sorted && name > BRANCHES {
            return;
        }
    }
}

fn id(digits: &[u8]) -> Option<Oid> {
    oid(&std::str::from_utf8(digits).ok()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_and_packed_branches_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let id = |digit: &str| digit.repeat(40);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("refs/heads/loose", &format!("{}\n", id("1")));
        write("refs/heads/deep/er", &format!("{}\n", id("2")));
        write("refs/heads/symbolic", "ref: refs/heads/loose\n");
        write("refs/heads/broken", "");
        write("refs/heads/touched", &id("9"));
        write("refs/tags/tag", &id("8"));
        let packed = format!(
            "# pack-refs with: peeled fully-peeled sorted \n{} refs/changes/1\n{} refs/heads/packed\n^{}\n{} \
             refs/heads/touched\n{} refs/tags/t\n{} refs/heads/unsorted\n",
            id("8"),
            id("3"),
            id("8"),
            id("9"),
            id("8"),
            id("4"),
        );
        write("packed-refs", &packed);
        let found = |limit| {
            let skip = |name: &[u8]| name == b"refs/heads/touched";
            let mut tips: Vec<String> = tips(folder.path(), skip, limit).iter().map(Oid::to_string).collect();
            tips.sort();
            tips
        };
        assert_eq!(found(100), [id("1"), id("2"), id("3")], "a sorted file is read no further than its branches");
        assert_eq!(found(2).len(), 2);
        write("packed-refs", &packed.replace(" sorted", ""));
        assert_eq!(found(100), [id("1"), id("2"), id("3"), id("4")]);
    }
}
