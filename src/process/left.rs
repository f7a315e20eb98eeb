//! What programs left running whose failcake was killed: the kernel ended them, and not what they had started.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

/// The session of this process, and of what it starts: for [`end_left`] of a later run. 0 is one that was begun outside this
/// PID namespace (`docker exec`, `unshare`).
pub fn session() -> Option<i32> {
    getsid(None).ok().map(Pid::as_raw)
}

/// Ends what a killed run on `what` left running, and waits for its end. They are known by their environment (`is_ours` gets its
/// entries), and told from a daemon that a program started on purpose by the session, which a daemon leaves.
pub fn end_left(session: i32, what: &str, is_ours: impl Fn(&[&[u8]]) -> bool) {
    let is_left = |pid: i32, proc: &Path| {
        let environment = || std::fs::read(proc.join("environ")).unwrap_or_default();
        getsid(Some(Pid::from_raw(pid))).is_ok_and(|sid| sid.as_raw() == session)
            && is_ours(&environment().split(|octet| *octet == 0).collect::<Vec<_>>())
    };
    // More than once: one may just be starting another. Two seconds at most, for one that is stuck in the kernel.
    for _ in 0..200 {
        let left: Vec<i32> = super::all().filter(|(pid, proc)| is_left(*pid, proc)).map(|(pid, _)| pid).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            log::warn!("ending process {pid}, which a killed run on {what} left behind");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
