//! What a watcher heard and could not use, kept for a person beside what a broker refused: `spool list` shows it,
//! `spool flush --refused` says it again, `spool drop` gives it up.

use crate::spool::{self, Limits, Spool};
use crate::stomp::Frame;

use super::{Outbox, describe, encode};

/// Why it is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It makes no sense.
    Malformed,
    /// The work that it asked for failed for good.
    Failed,
}

impl Heard {
    /// Begins the ids of such entries.
    fn kind(self) -> &'static str {
        match self {
            Heard::Malformed => "heard",
            Heard::Failed => "failed",
        }
    }

    /// Kept of them: those that came last. Whoever sends them must not fill the spool, which our own events need; nor is
    /// work that failed to make room for a stranger's garbage.
    fn most(self) -> Limits {
        match self {
            Heard::Malformed => Limits { count: 100, bytes: 4 << 20 },
            Heard::Failed => Limits { count: 1000, bytes: 32 << 20 },
        }
    }
}

/// A longer message is not kept, in octets: no emitter sends one.
const LONGEST: usize = 1 << 20;
/// What goes into the file of a message's headers. The others are between it and its broker, or say how the broker is
/// to treat it: a stranger's wish that must not be repeated with our login.
const HEADERS: [&str; 6] = ["subject", "event-id", "event-type", "event-time", "persistent", "content-type"];

impl Outbox {
    /// Sets a MESSAGE aside, on disk, with the reason.
    ///
    /// # Errors
    /// As [`Spool::keep`]; and a message that is too long.
    pub fn set_aside(&self, message: &Frame, heard: Heard, reason: &str) -> Result<(), spool::Error> {
        let headers = message.headers.iter().filter(|(name, _)| HEADERS.contains(&name.as_str())).cloned().collect();
        let destination = message.header("destination").unwrap_or_default();
        let frame = Frame::send(destination, headers, message.body.clone());
        let (about, payload) = (describe(&frame, ""), encode(&[frame]));
        if payload.len() > LONGEST {
            return Err(spool::Error::TooLong(payload.len()));
        }
        Spool::open(&self.place.parent, self.limits())?.keep(heard.kind(), &payload, &about, reason, heard.most())
    }
}
