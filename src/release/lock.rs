//! One deploy at a time per site: a lock that dies with its holder, and says who that is.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::record::When;
use super::{Error, at, open};
use crate::process::{self, Stop};

/// How long a lock may be held by somebody who has not yet written who it is (or, dead slow, has just erased it).
const NAMELESS: Duration = Duration::from_millis(500);

/// Who holds a site, since when, and what for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Who asked for it.
    pub who: String,
    /// Its process.
    pub pid: u32,
    /// From when.
    pub since: When,
    /// What it does: `deploy v2`, `rollback`.
    pub what: String,
    /// Its session (getsid): tells what it left behind, when it was killed, from a daemon that a script started. 0 is
    /// one that was begun outside this PID namespace (`docker exec`, `unshare`).
    #[serde(default)]
    pub session: Option<i32>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, process {}, since {})", self.who, self.what, self.pid, self.since)
    }
}

/// The lock of one site, held. The kernel lets go of it when this process ends, however it does: the descriptor is
/// close-on-exec, so no child keeps it.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    /// Who had it before and did not let go of it: killed, or cut off from power.
    pub(super) killed: Option<Holder>,
}

impl Lock {
    /// Takes the lock at `path` for `who` to do `what`. With `wait`, waits for as long as others hold it, or until `stop`.
    ///
    /// # Errors
    /// [`Error::Busy`] names the holder.
    pub(super) fn take(path: &Path, who: &str, what: &str, wait: bool, stop: Option<&Stop>) -> Result<Lock, Error> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(at("open the lock", path))?;
        let patience = Instant::now() + NAMELESS;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    let killed = read(&mut lock);
                    let holder = Holder {
                        who: who.into(),
                        pid: std::process::id(),
                        since: When::now(),
                        what: what.into(),
                        session: process::session(),
                    };
                    // Only told to people: a lock whose holder can't be written (full disk) is as good.
                    let _ = serde_json::to_vec(&holder)
                        .map(|text| lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(&text)));
                    return Ok(Lock { file: lock, killed });
                }
                Err((mut unlocked, nix::errno::Errno::EWOULDBLOCK)) => match read(&mut unlocked) {
                    Some(holder) if !wait => return Err(Error::Busy { holder: holder.to_string() }),
                    None if !wait && Instant::now() > patience => {
                        return Err(Error::Busy { holder: "somebody".to_owned() });
                    }
                    _ => file = unlocked,
                },
                Err((_, error)) => return Err(at("lock", path)(error.into())),
            }
            // Looking again is simpler than a blocking flock, which a stop could not interrupt.
            let pause = Duration::from_millis(50);
            match stop {
                Some(stop) if stop.wait(pause) => return Err(Error::Stopped),
                Some(_) => {}
                None => std::thread::sleep(pause),
            }
        }
    }

    /// Who holds the lock at `path` now, if anybody.
    pub(super) fn holder(path: &Path) -> Option<String> {
        let mut file = open(path).ok()?;
        // Looked at first: to try the lock is to hold it for a moment, which could refuse a deploy that begins in it.
        read(&mut file)?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => read(&mut file).map(|holder| holder.to_string()),
            _ => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that nobody reads yesterday's holder in the moment between the next one's lock and its name.
        let _ = self.file.set_len(0);
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
