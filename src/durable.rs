//! One file replaced as a whole: a reader, and whoever comes after a crash, finds the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

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
    let temporary = folder.join(format!(".tmp-{}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
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
