//! Sending what waits: oldest first, over one connection, each entry removed on its receipt.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Outbox, decode, one_line, tell};
use crate::bus::{self, Publisher};
use crate::spool::{DrainLock, Error, Listing, Name, Spool};
use crate::stomp::{ErrorKind, Frame};

/// Entries that share one receipt when many wait. Where it does not come, they go again one by one.
const BATCH: usize = 64;
/// Octets of frames that share one receipt, beyond the first entry.
const BATCH_BYTES: usize = 1024 * 1024;

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// All of it, to this moment: an emission.
    Until(Instant),
    /// Each connection and each receipt: a flush.
    Each(Duration),
}

impl Pace {
    fn deadline(self) -> Instant {
        match self {
            Pace::Until(deadline) => deadline,
            Pace::Each(patience) => Instant::now() + patience,
        }
    }
}

/// What became of the caller's own entry in a drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    SetAside(String),
}

/// The caller's own entry, with its frames still at hand.
pub(super) struct Own {
    pub name: Name,
    pub frames: Option<Vec<Frame>>,
    pub fate: Option<Fate>,
}

/// One run of sending, over one folder or several.
pub(super) struct Drain<'a> {
    outbox: &'a Outbox,
    pace: Pace,
    started: Instant,
    publisher: Option<Publisher>,
    progress: &'a mut dyn FnMut(usize),
    /// Entries sent.
    pub sent: usize,
    /// Entries set aside, each with its cause.
    pub set_aside: Vec<(Name, String)>,
    /// Why it stopped before the end; nothing more is tried then.
    pub failure: Option<String>,
}

/// Entries on their way to one receipt.
struct Batch {
    names: Vec<Name>,
    frames: Vec<Frame>,
}

impl<'a> Drain<'a> {
    pub fn new(outbox: &'a Outbox, pace: Pace, progress: &'a mut dyn FnMut(usize)) -> Drain<'a> {
        let started = Instant::now();
        Drain { outbox, pace, started, publisher: None, progress, sent: 0, set_aside: Vec::new(), failure: None }
    }

    /// Sends what waits in one folder. Whoever spooled meanwhile and found the lock held may have gone: so, once it is
    /// let go, the folder is looked at again.
    ///
    /// Killed here: what has no receipt yet still waits; what has one but is not removed yet goes out twice, with the
    /// same event-id.
    pub fn folder(&mut self, spool: &Spool, lock: DrainLock, mut own: Option<&mut Own>) {
        let mut lock = Some(lock);
        while let Some(held) = lock.take() {
            let listing = match spool.list() {
                Ok(listing) => listing,
                Err(error) if spool.is_own() => return self.fail(error.to_string()),
                Err(error) => return tell(&format!("warning: {error}")),
            };
            spool.clear_leftovers(&listing);
            let newest = listing.entries.last().map_or(0, |name| name.number);
            let outcome = self.entries(spool, &listing, own.as_deref_mut());
            drop(held);
            match outcome {
                // The broker hangs up on what stands here. It is told, and keeps no other user's events back.
                Err(error @ bus::Error::Lost(_)) if !spool.is_own() => {
                    return tell(&format!("warning: {}: {}", spool.path().display(), one_line(&error.to_string())));
                }
                Err(error) => return self.give_up(spool, &error),
                Ok(()) => {}
            }
            // A folder of somebody else is looked at once: nobody keeps root here by spooling on.
            if self.failure.is_none() && spool.is_own() && spool.last_number().is_some_and(|last| last > newest) {
                lock = spool
                    .list()
                    .is_ok_and(|again| !again.entries.is_empty())
                    .then(|| spool.lock_drain().ok()?)
                    .flatten();
            }
        }
    }

    /// Says goodbye to the broker.
    pub fn close(self) {
        if let Some(publisher) = self.publisher {
            publisher.close();
        }
    }

    fn entries(&mut self, spool: &Spool, listing: &Listing, mut own: Option<&mut Own>) -> Result<(), bus::Error> {
        let mut queue: VecDeque<Name> = listing.entries.iter().cloned().collect();
        let mut size = 1;
        // How many of the next entries go one by one, to find the one that is refused.
        let mut alone = 0_usize;
        let mut lost_on: Option<Name> = None;
        // Lost the connection twice; set aside if the next one passes.
        let mut suspect: Option<(Name, String)> = None;
        while !queue.is_empty() {
            if matches!(self.pace, Pace::Until(deadline) if Instant::now() >= deadline) {
                self.fail("older events went first and took the time".to_owned());
                return Ok(());
            }
            let batch = self.take(spool, &mut queue, if alone > 0 { 1 } else { size }, own.as_deref_mut());
            if batch.names.is_empty() {
                continue;
            }
            alone = alone.saturating_sub(1);
            match self.publish(batch.frames) {
                Ok(()) => {
                    if self.sent == 0 && spool.is_own() {
                        spool.clear_marker(&self.outbox.broker, listing);
                    }
                    for name in &batch.names {
                        self.receipted(spool, name, own.as_deref_mut());
                    }
                    if let Some((name, cause)) = suspect.take() {
                        self.put_aside(spool, &name, &cause, own.as_deref_mut());
                    }
                    size = (size * 2).min(BATCH);
                }
                Err(bus::Error::Refused(error)) if error.kind != ErrorKind::Login => {
                    self.publisher = None;
                    match batch.names.as_slice() {
                        [name] if self.take_apart(spool, name) => {}
                        [name] => self.put_aside(spool, name, &error.to_string(), own.as_deref_mut()),
                        _ => alone = back(&mut queue, batch.names),
                    }
                }
                // Some brokers close the connection on a frame that they find too large, without an ERROR. That must
                // not block the rest, and a broker that merely went down must not cost an event.
                Err(bus::Error::Lost(cause)) => {
                    self.publisher = None;
                    match batch.names.as_slice() {
                        [name] if lost_on.as_ref() == Some(name) && suspect.is_none() && !queue.is_empty() => {
                            suspect = Some((name.clone(), cause));
                        }
                        [name] if lost_on.as_ref() == Some(name) || suspect.is_some() => {
                            return Err(bus::Error::Lost(cause));
                        }
                        names => {
                            lost_on = names.first().cloned();
                            alone = back(&mut queue, batch.names);
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the next entries off the queue. What is gone is passed over; what is damaged is set aside.
    fn take(&mut self, spool: &Spool, queue: &mut VecDeque<Name>, most: usize, mut own: Option<&mut Own>) -> Batch {
        let mut batch = Batch { names: Vec::new(), frames: Vec::new() };
        let mut bytes = 0;
        while batch.names.len() < most && bytes < BATCH_BYTES {
            let Some(name) = queue.pop_front() else { break };
            let at_hand = own.as_deref_mut().filter(|own| own.name == name).and_then(|own| own.frames.take());
            let frames = match at_hand {
                Some(frames) => Ok(Some(frames)),
                None => match spool.read(&name) {
                    Ok(content) => content.map(|content| decode(&content.payload)).transpose(),
                    Err(Error::Damaged(damage)) => Err(damage),
                    // Not readable this time; the others need not wait for it.
                    Err(error) => {
                        tell(&format!("warning: {error}"));
                        Ok(None)
                    }
                },
            };
            match frames {
                Ok(Some(frames)) => {
                    bytes += frames.iter().map(|frame| frame.body.len()).sum::<usize>();
                    batch.frames.extend(frames);
                    batch.names.push(name);
                }
                Ok(None) => {}
                Err(damage) => self.put_aside(spool, &name, &format!("damaged: {damage}"), own.as_deref_mut()),
            }
        }
        batch
    }

    fn publish(&mut self, frames: Vec<Frame>) -> Result<(), bus::Error> {
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(Publisher::connect(&self.outbox.target, self.pace.deadline())?),
        };
        publisher.publish(frames, self.pace.deadline())
    }

    fn receipted(&mut self, spool: &Spool, name: &Name, own: Option<&mut Own>) {
        if let Err(error) = spool.remove(name) {
            tell(&format!("warning: {error}: the event was delivered and will be sent again"));
        }
        settle(own, name, Fate::Sent);
        self.sent += 1;
        (self.progress)(self.sent);
    }

    /// Of an entry of many events only the one that is refused is to be set aside: each gets an entry of its own, to be
    /// sent after the others. Only where nobody waits, for each is made durable by itself.
    ///
    /// Killed here: some go out twice, with the same event-id.
    fn take_apart(&self, spool: &Spool, name: &Name) -> bool {
        if !matches!(self.pace, Pace::Each(_)) {
            return false;
        }
        let frames = spool.read(name).ok().flatten().and_then(|content| decode(&content.payload).ok());
        let Some(frames) = frames.filter(|frames| frames.len() > 1 && spool.is_own()) else { return false };
        frames.iter().all(|frame| self.outbox.keep_for_later(spool, std::slice::from_ref(frame), "").is_ok())
            && spool.remove(name).is_ok()
    }

    fn put_aside(&mut self, spool: &Spool, name: &Name, cause: &str, own: Option<&mut Own>) {
        let cause = one_line(cause);
        match spool.set_aside(name, &cause) {
            Ok(()) => {
                tell(&format!(
                    "warning: event {} was set aside in {}: {cause}; `failcake spool list` shows it, `failcake spool \
                     flush --refused` tries it again",
                    name.id,
                    spool.path().display()
                ));
                settle(own, name, Fate::SetAside(cause.clone()));
                self.set_aside.push((name.clone(), cause));
            }
            Err(error) => tell(&format!("warning: event {} was refused ({cause}), and {error}", name.id)),
        }
    }

    fn give_up(&mut self, spool: &Spool, error: &bus::Error) {
        let cause = one_line(&error.to_string());
        // Time that ran out says nothing of the broker when it answered before, or was asked late.
        let asked_late = matches!(self.pace, Pace::Until(_)) && self.started.elapsed() < self.outbox.budget / 2;
        let slow = matches!(error, bus::Error::TimedOut(_)) && (self.sent > 0 || asked_late);
        if spool.is_own() && !slow {
            spool.set_marker(&self.outbox.broker, &cause);
        }
        self.fail(cause);
    }

    fn fail(&mut self, cause: String) {
        self.failure = Some(cause);
    }
}

/// Puts entries back where they were; says how many.
fn back(queue: &mut VecDeque<Name>, names: Vec<Name>) -> usize {
    let count = names.len();
    for name in names.into_iter().rev() {
        queue.push_front(name);
    }
    count
}

fn settle(own: Option<&mut Own>, name: &Name, fate: Fate) {
    if let Some(own) = own.filter(|own| own.name == *name) {
        own.fate = Some(fate);
    }
}
