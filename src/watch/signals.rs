//! What a watcher is told by signals: TERM and INT stop it, HUP has it read its configuration again.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;

use crate::process::Stop;

/// Both wishes. Clones are the same.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: Stop,
    /// Readable while a HUP was not taken; `None` where HUP is one more way to stop.
    hangup: Option<Arc<OwnedFd>>,
}

impl Signals {
    /// From now to the end of this process. `reload`: HUP has the configuration read again; but where stdin is a
    /// terminal HUP says that the terminal is gone, and without `reload` there is nothing to go on with: then it stops.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn listen(reload: bool) -> io::Result<Signals> {
        if !reload || io::stdin().is_terminal() {
            return Ok(Signals { stop: Stop::on_signals()?, hangup: None });
        }
        let stop = Stop::on(&[libc::SIGTERM, libc::SIGINT])?;
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        signal_hook::low_level::pipe::register(libc::SIGHUP, write)?;
        Ok(Signals { stop, hangup: Some(Arc::new(read)) })
    }

    /// The wish to stop, for the work.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Has HUP come since it was asked last? However many came, they are one.
    pub(super) fn take_hangup(&self) -> bool {
        let Some(pipe) = &self.hangup else { return false };
        let mut octets = [0; 256];
        let mut came = false;
        while nix::unistd::read(pipe.as_fd(), &mut octets).is_ok_and(|count| count > 0) {
            came = true;
        }
        came
    }

    /// Readable while [`take_hangup`](Self::take_hangup) has something.
    pub(super) fn hangup_fd(&self) -> Option<BorrowedFd<'_>> {
        self.hangup.as_ref().map(|pipe| pipe.as_fd())
    }
}
