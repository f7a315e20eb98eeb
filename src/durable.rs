//! One file replaced as a whole: a reader, and whoever comes after a crash, finds the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Of a replaced file and of what else is made beside its place.
const TEMPORARY: &str = ".tmp-";
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
    let temporary = folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        if durable != Durable::Later {
            file.sync_all()?;
        }
        fs::rename(&temporary, folder.join(name))?;
        if durable == Durable::Now { File::open(folder)?.sync_all() } else { Ok(()) }
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
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
