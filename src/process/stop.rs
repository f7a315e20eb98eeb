//! The wish to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// A wish to stop that children and waits heed: set once, never unset. Clones are the same wish.
///
/// It is a pipe: readable for ever from the moment it is set, so any number of `poll`s can wait for it.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Wish>);

#[derive(Debug)]
struct Wish {
    read: OwnedFd,
    write: OwnedFd,
    /// Readable when this one is, or the wider one.
    either: Option<Epoll>,
    /// Kept open for it.
    _wider: Option<Stop>,
}

impl Stop {
    /// A wish nobody has yet.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn new() -> io::Result<Stop> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Stop(Arc::new(Wish { read, write, either: None, _wider: None })))
    }

    /// A wish that TERM, INT (Ctrl-C) and HUP (the terminal is gone) express, from now to the end of this process.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn on_signals() -> io::Result<Stop> {
        Stop::on(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
    }

    /// A wish that these signals express, from now to the end of this process.
    ///
    /// # Errors
    /// No file descriptors left; a signal that can't be caught.
    pub fn on(signals: &[libc::c_int]) -> io::Result<Stop> {
        let stop = Stop::new()?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, stop.0.write.try_clone()?)?;
        }
        Ok(stop)
    }

    /// A narrower wish: set when this one is, and by itself without it.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn narrower(&self) -> io::Result<Stop> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let either = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        either.add(&read, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        either.add(self, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
        Ok(Stop(Arc::new(Wish { read, write, either: Some(either), _wider: Some(self.clone()) })))
    }

    /// Sets it.
    pub fn set(&self) {
        // A full pipe (EAGAIN) says the same already.
        let _ = nix::unistd::write(&self.0.write, b"!");
    }

    /// Is it set?
    pub fn is_set(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits until it is set, at most `time`; says whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, super::poll_time(until)) {
                Ok(0) if Instant::now() >= until => return false,
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Stop {
    /// Readable once it is set; not to be read from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.either.as_ref().map_or_else(|| self.0.read.as_fd(), |either| either.0.as_fd())
    }
}
