//! Sending until the receipt, in the caller's thread.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFd;

use super::link::{Link, wait};
use super::race::{self, Pace};
use super::{Error, Peer, Target, named};
use crate::stomp::{Event, Frame};

/// After so much silence of one host the next is tried beside it: a hook has two seconds for all of them.
const STAGGER: Duration = Duration::from_millis(250);

/// A short connection for sending: one thread, no heart-beats, gone when dropped.
pub struct Publisher {
    link: Link,
    peer: Peer,
}

impl Publisher {
    /// Tries all hosts, the next started after 250 ms of silence, the first that logs in wins.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Login`], [`Error::TimedOut`] at `deadline`.
    pub fn connect(target: &Target, deadline: Instant) -> Result<Publisher, Error> {
        // The client id belongs to the subscriber: a second client that uses it is refused by ActiveMQ.
        let target = Target { heart_beat: Duration::ZERO, client_id: None, ..target.clone() };
        let each = deadline.saturating_duration_since(Instant::now());
        let pace = Pace { stagger: STAGGER, each, deadline: Some(deadline) };
        match race::log_in(&target, pace, None)? {
            Some(link) => Ok(Publisher { peer: link.peer(), link }),
            None => Err(Error::Unreachable("stopped".to_owned())),
        }
    }

    /// Sends `frames`, in order, and waits for one receipt behind the last.
    ///
    /// # Errors
    /// After [`Error::Refused`], [`Error::Lost`] and [`Error::TimedOut`] the publisher is of no more use.
    pub fn publish(&mut self, frames: Vec<Frame>, deadline: Instant) -> Result<(), Error> {
        let last = frames.len().saturating_sub(1);
        let mut wanted = None;
        for (at, frame) in frames.into_iter().enumerate() {
            wanted = self.link.session.send(frame, at == last);
        }
        if wanted.is_none() {
            return Ok(());
        }
        let address = &self.peer.address;
        let lost = |cause: String| Error::Lost(format!("{address}: {cause}"));
        let mut buffer = [0; 8 * 1024];
        loop {
            while let Some(event) = self.link.session.poll_event() {
                match event {
                    Event::Receipt(id) if Some(id) == wanted => return Ok(()),
                    Event::Refused { error, .. } => return Err(Error::Refused(named(address, error))),
                    Event::Closed(reason) => return Err(lost(format!("{reason}, before its receipt"))),
                    Event::Connected | Event::Receipt(_) | Event::Message(_) => {}
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::TimedOut(format!("{address}: no receipt for the message: does the broker hang?")));
            }
            self.link.flush(now).map_err(lost)?;
            let mut fds = [PollFd::new(self.link.as_fd(), self.link.interest(true))];
            wait(&mut fds, Some(deadline)).map_err(|error| lost(error.to_string()))?;
            self.link.fill(&mut buffer, Instant::now()).map_err(lost)?;
        }
    }

    /// Who answered.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// DISCONNECT without waiting for more than the socket's buffer.
    pub fn close(mut self) {
        // Without a receipt: nobody would be there to read it, and the broker would log a reset connection.
        self.link.session.send(Frame::new("DISCONNECT"), false);
        self.link.finish();
    }
}
