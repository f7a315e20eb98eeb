//! Ctrl-C: once is a wish to stop, twice is a wish to leave.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::process::Stop;

/// Counts the signals that ask this process to end.
#[derive(Debug)]
pub struct Interrupts {
    pipe: OwnedFd,
    count: usize,
    stop: Stop,
}

impl Interrupts {
    /// From now to the end of this process, TERM, INT and HUP (the terminal is gone) are counted and end nothing.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn listen() -> io::Result<Interrupts> {
        let (pipe, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Interrupts { pipe, count: 0, stop: Stop::on_signals()? })
    }

    /// How many came so far.
    pub(super) fn count(&mut self) -> usize {
        let mut octets = [0; 64];
        while let Ok(more @ 1..) = nix::unistd::read(&self.pipe, &mut octets) {
            self.count += more;
        }
        self.count
    }

    /// Set by the first: for what is to end at once.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl AsFd for Interrupts {
    /// Readable when [`count`](Self::count) has news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
