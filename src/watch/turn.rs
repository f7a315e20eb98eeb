//! One process for a durable subscription at a time.
//!
//! Brokers know a subscriber by its name, which is the verb's and the node's. Of two with the same name some brokers refuse
//! the second, and others share the events out between them. So whoever subscribes durably holds a lock (`flock`, it
//! dies with its holder) on `SPOOL/UID/subscriber-VERB-NODE`, whose text is the holder's process id.
//!
//! Another user's process of the same name is not seen. Nothing is lost even then, since what was not acknowledged is sent again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Signals;
use super::supervisor::{self, Watchdog};
use crate::config::Config;
use crate::spool::{Limits, Spool};

/// How often a turn that another process has is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// The right to be the subscriber, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] Option<Flock<File>>);

impl Turn {
    /// For `verb`, if it is to subscribe durably. `None`: another process has the turn, and a `drain` leaves the work to that;
    /// or it is time to stop before it was had. Without a place for the lock it goes on without one.
    pub fn take(config: &Config, verb: &str, durable: bool, drain: bool, signals: &Signals) -> Option<Turn> {
        if !durable {
            return Some(Turn(None));
        }
        let place = &config.bus.spool;
        let limits = Limits { count: place.max_count, bytes: place.max_bytes };
        let folder = match Spool::open(&place.parent, limits) {
            Ok(spool) => spool.path().to_owned(),
            Err(error) => {
                log::warn!("nothing keeps a second {verb} of this node away: {error}");
                return Some(Turn(None));
            }
        };
        let path = folder.join(format!("subscriber-{verb}-{}", config.node));
        let mut watchdog = Watchdog::asked_for(Instant::now());
        let mut told = false;
        loop {
            match lock(&path) {
                Ok(Some(lock)) => return Some(Turn(Some(lock))),
                Ok(None) => {}
                Err(error) => {
                    log::warn!("nothing keeps a second {verb} of this node away: {}: {error}", path.display());
                    return Some(Turn(None));
                }
            }
            if !std::mem::replace(&mut told, true) {
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = format!("failcake {verb} of process {} takes what the bus has kept", holder.trim());
                if drain {
                    log::warn!("{holder}; this one leaves it to that");
                    return None;
                }
                log::warn!("{holder}; this one waits for its end");
                supervisor::ready();
                supervisor::status(&holder);
            }
            if let Some(watchdog) = &mut watchdog {
                watchdog.beat(Instant::now());
            }
            if signals.stop().wait(RETRY) {
                return None;
            }
        }
    }
}

/// `None`: another process has it.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    match Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // For people only: whether it could be written makes no difference.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(Some(file))
        }
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}
