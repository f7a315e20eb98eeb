//! What the service manager is told: sd_notify(3), over the socket that `$NOTIFY_SOCKET` names.
//!
//! Without such a socket nothing happens. Nothing here fails: a manager that does not listen stops no watcher.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// How long a manager whose socket is full is waited for: that is a busy boot, or one that hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest status line, in octets.
const STATUS_MAX: usize = 500;

/// It does what it is there for.
pub fn ready() {
    tell("READY=1");
}

/// It reads its configuration again; [`ready`] follows, whatever becomes of it.
pub fn reloading() {
    // MONOTONIC_USEC is what `Type=notify-reload` tells this reload from an earlier one by.
    let usec = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_micros());
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
}

/// It is about to end.
pub fn stopping() {
    tell("STOPPING=1");
}

/// One line for people: `systemctl status` shows it.
pub fn status(line: &str) {
    let mut line = line.replace(char::is_control, " ");
    line.truncate(line.floor_char_boundary(STATUS_MAX));
    tell(&format!("STATUS={line}"));
}

/// Proof of life, for a manager that asked for it (`WatchdogSec=`).
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// `None` when nobody asked.
    pub(super) fn asked_for(now: Instant) -> Option<Watchdog> {
        // sd_watchdog_enabled(3): WATCHDOG_PID is of whom it is asked, and half of the time is a good pace.
        let of_another = std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != std::process::id().to_string());
        let usec: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        let wanted = usec > 0 && !of_another && std::env::var_os("NOTIFY_SOCKET").is_some();
        wanted.then(|| Watchdog { every: Duration::from_micros(usec) / 2, next: now })
    }

    /// Tells when it is time; gives when that is the next time.
    pub(super) fn beat(&mut self, now: Instant) -> Instant {
        if now >= self.next {
            tell("WATCHDOG=1");
            self.next = now + self.every;
        }
        self.next
    }
}

fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&name, state) {
        log::debug!("the service manager was not told {state:?}: {error}");
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
