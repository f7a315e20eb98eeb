//! What was seen in the last minutes, in one file that several processes share. It never grows beyond 8 MiB, is never
//! rewritten, and costs one read of 512 octets to ask, however much it holds.
//!
//! The file is a table of buckets, and a bucket is 32 slots: four octets of time (seconds since 1970) and twelve of
//! the key. A new key takes the slot that was taken the longest ago, so what is too old need not be cleared. At 500 keys
//! a second for ten minutes one in a thousand is forgotten early.
//!
//! Killed here: a slot is one small write inside a page, so it is there or not. A power loss may forget what was seen.
//! Forgetting is harmless by contract: what is told twice has the same name both times.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BUCKETS: u64 = 16 * 1024;
const SLOTS: usize = 32;
const SLOT: usize = 16;
const TIME: usize = 4;

/// What identifies something: octets of a good hash, for they choose the bucket too.
pub type Key = [u8; 16];

/// The open file.
#[derive(Debug)]
pub struct Seen {
    file: File,
    window: Duration,
}

/// While it lives, no other process asks or remembers.
#[derive(Debug)]
pub struct Turn<'a>(&'a Seen);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.file.unlock();
    }
}

impl Seen {
    /// Opens the file, and makes it if need be; only its owner may read it. `window` is how long a key counts as seen.
    ///
    /// # Errors
    /// As `open(2)`; a symbolic link is not followed.
    pub fn open(path: &Path, window: Duration) -> io::Result<Seen> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        Ok(Seen { file: options.open(path)?, window })
    }

    /// Waits for its turn; `None` when another process does not let go within `patience`, or the file system has no
    /// locks. Without a turn two processes may both take the same key for new.
    pub fn lock(&self, patience: Duration) -> Option<Turn<'_>> {
        let end = Instant::now() + patience;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Some(Turn(self)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
            }
        }
    }

    /// Was `key` remembered within the window before `now`?
    ///
    /// # Errors
    /// The file can't be read.
    pub fn holds(&self, key: &Key, now: SystemTime) -> io::Result<bool> {
        let bucket = self.bucket(key)?;
        Ok(slots(&bucket).any(|(time, rest)| rest == tail(key) && self.is_fresh(time, now)))
    }

    /// Remembers `key`.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn remember(&self, key: &Key, now: SystemTime) -> io::Result<()> {
        let bucket = self.bucket(key)?;
        let age = |(time, rest): (u32, &[u8])| match rest == tail(key) || !self.is_fresh(time, now) {
            true => u32::MAX,
            false => seconds(now).saturating_sub(time),
        };
        let oldest = slots(&bucket).map(age).enumerate().max_by_key(|(_, age)| *age).map_or(0, |(at, _)| at);
        let mut slot = [0; SLOT];
        slot[..TIME].copy_from_slice(&seconds(now).to_le_bytes());
        slot[TIME..].copy_from_slice(tail(key));
        self.file.write_all_at(&slot, place(key) + (oldest * SLOT) as u64)
    }

    /// What lies beyond the end was never written: zeros.
    fn bucket(&self, key: &Key) -> io::Result<[u8; SLOTS * SLOT]> {
        let mut bucket = [0; SLOTS * SLOT];
        let mut have = 0;
        while have < bucket.len() {
            match self.file.read_at(&mut bucket[have..], place(key) + have as u64) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bucket)
    }

    /// A time that is far in the future is of a clock that has been set back since: it does not count.
    fn is_fresh(&self, time: u32, now: SystemTime) -> bool {
        time != 0 && u64::from(seconds(now).abs_diff(time)) < self.window.as_secs()
    }
}

fn slots(bucket: &[u8; SLOTS * SLOT]) -> impl Iterator<Item = (u32, &[u8])> {
    bucket.chunks_exact(SLOT).map(|slot| {
        let (time, rest) = slot.split_at(TIME);
        (time.iter().rev().fold(0, |sum, octet| sum << 8 | u32::from(*octet)), rest)
    })
}

fn tail(key: &Key) -> &[u8] {
    &key[TIME..]
}

fn place(key: &Key) -> u64 {
    let head = key[..TIME].iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
    head % BUCKETS * (SLOTS * SLOT) as u64
}

fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn start() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn key(number: u64) -> Key {
        let digest = ring::digest::digest(&ring::digest::SHA256, &number.to_le_bytes());
        digest.as_ref()[..16].try_into().unwrap()
    }

    #[test]
    fn a_key_counts_for_the_window_in_every_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        let one = Seen::open(&path, WINDOW).unwrap();
        assert!(!one.holds(&key(1), start()).unwrap());
        one.remember(&key(1), start()).unwrap();
        let other = Seen::open(&path, WINDOW).unwrap();
        assert!(other.holds(&key(1), start() + WINDOW - Duration::from_secs(1)).unwrap());
        assert!(!other.holds(&key(1), start() + WINDOW).unwrap());
        assert!(!other.holds(&key(2), start()).unwrap());
    }

    #[test]
    fn a_clock_that_was_set_back_by_years_brings_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::open(&folder.path().join("seen"), WINDOW).unwrap();
        seen.remember(&key(1), start() + Duration::from_secs(100_000_000)).unwrap();
        assert!(!seen.holds(&key(1), start()).unwrap());
    }

    #[test]
    fn many_keys_stay_within_the_bound_and_the_newest_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        let seen = Seen::open(&path, WINDOW).unwrap();
        // All in one bucket: an enemy who could choose hashes, or bad luck.
        let crowded = |number: u64| {
            let mut key = key(number);
            key[..TIME].fill(7);
            key
        };
        for number in 0..100 {
            seen.remember(&crowded(number), start() + Duration::from_secs(number)).unwrap();
        }
        let now = start() + Duration::from_secs(100);
        let held: Vec<u64> = (0..100).filter(|number| seen.holds(&crowded(*number), now).unwrap()).collect();
        assert_eq!(held, (68..100).collect::<Vec<_>>());
        for number in 0..20_000 {
            seen.remember(&key(number), now).unwrap();
        }
        assert!((0..20_000).all(|number| seen.holds(&key(number), now).unwrap()));
        assert!(path.metadata().unwrap().len() <= BUCKETS * (SLOTS * SLOT) as u64);
    }

    #[test]
    fn a_second_telling_takes_no_second_slot() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::open(&folder.path().join("seen"), WINDOW).unwrap();
        for _ in 0..2 * SLOTS {
            seen.remember(&key(1), start()).unwrap();
        }
        let bucket = seen.bucket(&key(1)).unwrap();
        assert_eq!(slots(&bucket).filter(|(time, _)| *time != 0).count(), 1);
    }

    #[test]
    fn rubbish_in_the_file_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        std::fs::write(&path, vec![0xff; 100_001]).unwrap();
        let seen = Seen::open(&path, WINDOW).unwrap();
        assert!((0..1000).all(|number| !seen.holds(&key(number), start()).unwrap()));
        seen.remember(&key(1), start()).unwrap();
        assert!(seen.holds(&key(1), start()).unwrap());
    }

    #[test]
    fn one_turn_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        let (one, other) = (Seen::open(&path, WINDOW).unwrap(), Seen::open(&path, WINDOW).unwrap());
        let turn = one.lock(Duration::ZERO).unwrap();
        assert!(other.lock(Duration::from_millis(5)).is_none());
        drop(turn);
        assert!(other.lock(Duration::ZERO).is_some());
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(Seen::open(&path, WINDOW).is_err());
    }
}
