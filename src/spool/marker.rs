//! The markers: a broker that did not answer is not asked again for 15 s by hooks.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::{Listing, PRIVATE, READ, Spool, fnv64};

/// How long a marker counts.
pub const MARKER_LIFE: Duration = Duration::from_secs(15);

/// Longest cause kept, in octets.
const CAUSE: usize = 1000;

fn file_name(broker: &str) -> String {
    format!("broker-{:016x}.down", fnv64(broker.as_bytes()))
}

pub(super) fn is_marker(name: &str) -> bool {
    name.starts_with("broker-") && name.ends_with(".down")
}

impl Spool {
    /// Why this broker is not to be asked now; `None` when it may be. `broker` is any text that tells brokers apart.
    pub fn marker(&self, broker: &str) -> Option<String> {
        let name = file_name(broker);
        let set = self.mtime(&name)?;
        // A clock that was set back would make a marker of the future last: it does not count.
        let age = SystemTime::now().duration_since(set).ok()?;
        (age < MARKER_LIFE).then(|| self.cause(&name).unwrap_or_default())
    }

    /// Says that this broker does not answer. Killed here: an empty cause. One that can't be written costs the next
    /// hook its budget, nothing else.
    pub fn set_marker(&self, broker: &str, cause: &str) {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        if let Ok(fd) = openat(&self.folder.fd, file_name(broker).as_str(), flags, PRIVATE) {
            let end = cause.len().min(CAUSE);
            let _ = File::from(fd).write_all(&cause.as_bytes()[..end]);
        }
    }

    /// The broker answered: hooks may ask it again at once.
    pub fn clear_marker(&self, broker: &str, listing: &Listing) {
        let _rights = self.as_owner();
        let name = file_name(broker);
        if listing.markers.contains(&name) {
            let _ = self.unlink(&name);
        }
    }

    /// The last failure that a marker tells of, however old: when, and why.
    pub fn last_failure(&self, listing: &Listing) -> Option<(SystemTime, String)> {
        let _rights = self.as_owner();
        let newest = listing.markers.iter().filter_map(|name| Some((self.mtime(name)?, name))).max()?;
        Some((newest.0, self.cause(newest.1)?))
    }

    fn mtime(&self, name: &str) -> Option<SystemTime> {
        let stat = fstatat(&self.folder.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        super::refused::time(stat.st_mtime, stat.st_mtime_nsec)
    }

    fn cause(&self, name: &str) -> Option<String> {
        let fd = openat(&self.folder.fd, name, READ, Mode::empty()).ok()?;
        let mut bytes = Vec::with_capacity(CAUSE);
        File::from(fd).take(CAUSE as u64).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control(), " "))
    }
}
