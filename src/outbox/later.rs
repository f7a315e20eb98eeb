//! For who answers first and sends afterwards: spool now, durably; ask the bus later.

use std::time::Instant;

use uuid::Uuid;

use super::drain::Pace;
use super::{Flushed, LOCK_PATIENCE, Outbox, describe, encode};
use crate::spool::{self, Spool, is_id};
use crate::stomp::Frame;

impl Outbox {
    /// Opens this user's spool folder.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open(&self) -> Result<Spool, spool::Error> {
        Spool::open(&self.place.parent, self.limits())
    }

    /// Puts `frames` into `spool` as one entry that survives a power loss when this returns, and asks no broker. Many
    /// events in one entry share one fsync; where a broker refuses one of them, [`flush`](Self::flush) takes the entry
    /// apart.
    ///
    /// # Errors
    /// As [`Spool::put`]; or the disk did not take it, and it may be sent all the same.
    pub fn keep_for_later(&self, spool: &Spool, frames: &[Frame], label: &str) -> Result<(), spool::Error> {
        let Some(first) = frames.first() else { return Ok(()) };
        let id = match first.header("event-id") {
            Some(id) if is_id(id) => id.to_owned(),
            _ => Uuid::now_v7().to_string(),
        };
        let entry = spool.put(&id, &describe(first, label), &encode(frames), LOCK_PATIENCE)?;
        spool.make_durable(&entry)
    }

    /// Sends what waits in this user's own folder, for as long as it takes; nobody waits for it.
    ///
    /// # Errors
    /// The spool can't be read.
    pub fn send_waiting(&self) -> Result<Flushed, spool::Error> {
        Ok(self.flush_folders(&[self.open()?], Pace::Each(self.patience()), |_, _| {}))
    }

    /// The same within the budget of one emission, and not at all while the broker is marked as down.
    ///
    /// # Errors
    /// The spool can't be read.
    pub fn send_briefly(&self) -> Result<Flushed, spool::Error> {
        let spool = self.open()?;
        if spool.marker(&self.broker).is_some() {
            return Ok(Flushed::default());
        }
        Ok(self.flush_folders(&[spool], Pace::Until(Instant::now() + self.budget), |_, _| {}))
    }
}
