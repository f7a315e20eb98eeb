//! What is said goes through here: spooled first, then sent over the bus, oldest first, and removed on the receipt.
//!
//! ```text
//! spool it ─ marker? ── yes ──────────────────────────────┐
//!    └ no ─ lock the folder ─ send all that waits ─ receipt │ no receipt
//!                     └ held by another: wait ─┐     │      ├─ fsync, marker, warning
//!                            budget is over ───┼─────┼──────┘
//!                                              └─ delivered
//! ```
//!
//! Invariant: when [`Outbox::emit`] returns `Ok`, every frame was receipted, or is in a file that survives a power loss.

mod drain;
mod incoming;
mod later;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::bus::{Publisher, Target};
use crate::config;
use crate::spool::{self, DrainLock, Entry, Name, Spool};
use crate::stomp::Frame;
use crate::stomp::frame::{Decoder, Item, Limits, Version};

use drain::{Drain, Fate, Own, Pace};
pub use incoming::Heard;

/// Longest wait for the lock under which numbers are given: its holders write one file.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// What became of an emission.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The broker has it.
    Delivered,
    /// It waits in the spool and survives a power loss; the next emission, `spool flush` or `keepalive` sends it.
    Spooled {
        /// Why it was not delivered, in one line.
        cause: String,
        /// What a person can do.
        remedy: String,
    },
    /// The broker said ERROR to it: it was set aside and is not sent again by itself.
    Refused {
        /// What the broker said, in one line.
        cause: String,
        /// What a person can do.
        remedy: String,
    },
}

/// Neither delivered nor spooled: the event is lost unless the caller keeps it. Exit status 75.
#[derive(Debug, thiserror::Error)]
#[error("neither delivered nor spooled: {bus}; and {spool}; `failcake check` tells more")]
pub struct Error {
    /// Why it could not wait.
    pub spool: spool::Error,
    /// Why it could not be sent, in one line.
    pub bus: String,
}

/// What one flush did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Entries that the broker has now.
    pub sent: usize,
    /// Entries that were set aside, each with its cause.
    pub set_aside: Vec<(String, String)>,
    /// Entries that still wait.
    pub left: usize,
    /// Why they wait.
    pub cause: Option<String>,
}

/// The way of one configuration's events to its broker.
#[derive(Debug, Clone)]
pub struct Outbox {
    target: Target,
    place: config::SpoolPlace,
    budget: Duration,
    /// Tells brokers apart for the markers.
    broker: String,
}

impl Outbox {
    /// Opens nothing yet.
    pub fn new(bus: &config::Bus) -> Outbox {
        // The passcode is left out: this text becomes a file's name, if only as a hash.
        let hosts = bus.broker.hosts.iter();
        let hosts = hosts.map(|h| format!("{} {} {} {:?} {:?}", h.tls, h.host, h.port, h.login, h.vhost));
        let broker = format!("{} {}", bus.vhost, hosts.collect::<Vec<_>>().join(","));
        Outbox { target: Target::from(bus), place: bus.spool.clone(), budget: bus.budget, broker }
    }

    /// Says `frames` as one emission, in one file. `label` is what `spool list` shows. Returns within the budget; what
    /// a person should know of it is on stderr then, a line each.
    ///
    /// # Errors
    /// [`Error`]: neither delivered nor spooled.
    pub fn emit(&self, frames: Vec<Frame>, label: &str) -> Result<Delivery, Error> {
        let deadline = Instant::now() + self.budget;
        let Some(first) = frames.first() else { return Ok(Delivery::Delivered) };
        let id = match first.header("event-id") {
            Some(id) if spool::is_id(id) => id.to_owned(),
            _ => Uuid::now_v7().to_string(),
        };
        let about = describe(first, label);
        let payload = encode(&frames);
        let spool = match Spool::open(&self.place.parent, self.limits()) {
            Ok(spool) => spool,
            Err(error) => return self.send_directly(frames, error, deadline),
        };
        let put = || spool.put(&id, &about, &payload, self.budget.min(LOCK_PATIENCE));
        let entry = put().or_else(|error| match error {
            // The bus may be back: what waits goes out, and there is room.
            spool::Error::Full { .. } => {
                if let Ok(Some(lock)) = spool.lock_drain() {
                    let mut unheard = |_| {};
                    Drain::new(self, Pace::Until(deadline), &mut unheard).folder(&spool, lock, None);
                }
                put()
            }
            other => Err(other),
        });
        match entry {
            Ok(entry) => self.deliver(&spool, &entry, frames, deadline),
            Err(error) => self.send_directly(frames, error, deadline),
        }
    }

    /// Sends everything that waits, for root everybody's, whatever the markers say. With `refused`, what was set aside
    /// is tried again too. `progress` hears how many of how many are sent.
    ///
    /// # Errors
    /// The spool can't be read.
    pub fn flush(&self, refused: bool, progress: impl FnMut(usize, usize)) -> Result<Flushed, spool::Error> {
        let folders = Spool::find_all(&self.place.parent, self.limits())?;
        for spool in &folders {
            // One user's odd folder does not keep back what others said.
            if refused && let Err(error) = spool.readmit() {
                tell(&format!("warning: {error}"));
            }
        }
        Ok(self.flush_folders(&folders, Pace::Each(self.patience()), progress))
    }

    fn flush_folders(&self, folders: &[Spool], pace: Pace, mut progress: impl FnMut(usize, usize)) -> Flushed {
        let mut all = 0;
        for spool in folders {
            all += spool.list().map_or(0, |listing| listing.entries.len());
        }
        let mut cause = None;
        let mut heard = |sent: usize| progress(sent, all.max(sent));
        let mut drain = Drain::new(self, pace, &mut heard);
        for spool in folders {
            match spool.lock_drain() {
                Ok(Some(lock)) => drain.folder(spool, lock, None),
                Ok(None) => cause = Some(format!("another failcake is sending from {}", spool.path().display())),
                Err(error) => cause = Some(error.to_string()),
            }
            if drain.failure.is_some() {
                break;
            }
        }
        let (sent, failure) = (drain.sent, drain.failure.take());
        let set_aside = std::mem::take(&mut drain.set_aside);
        drain.close();
        let left = folders.iter().filter_map(|spool| spool.list().ok()).map(|listing| listing.entries.len()).sum();
        let set_aside = set_aside.into_iter().map(|(name, cause)| (name.id, cause)).collect();
        Flushed { sent, set_aside, left, cause: failure.or(cause).filter(|_| left > 0) }
    }

    /// How long a connection or a receipt may take when nobody waits for it.
    pub fn patience(&self) -> Duration {
        self.budget * 5
    }

    fn deliver(&self, spool: &Spool, entry: &Entry, frames: Vec<Frame>, deadline: Instant) -> Result<Delivery, Error> {
        if let Some(cause) = spool.marker(&self.broker) {
            return self.keep(spool, entry, &format!("{cause} (moments ago, so it was not asked again)"));
        }
        let lock = match self.wait_for_turn(spool, &entry.name, deadline) {
            Turn::Ours(lock) => lock,
            Turn::Gone => return Ok(sent_by_another(spool, &entry.name)),
            Turn::Never(cause) => return self.keep(spool, entry, &cause),
        };
        let mut unheard = |_| {};
        let mut drain = Drain::new(self, Pace::Until(deadline), &mut unheard);
        let mut own = Own { name: entry.name.clone(), frames: Some(frames), fate: None };
        drain.folder(spool, lock, Some(&mut own));
        let failure = drain.failure.take();
        drain.close();
        match own.fate {
            Some(Fate::Sent) => Ok(Delivery::Delivered),
            Some(Fate::SetAside(cause)) => Ok(refused(cause)),
            None if spool.holds(&entry.name) => {
                self.keep(spool, entry, failure.as_deref().unwrap_or("it could not be read back"))
            }
            None => Ok(sent_by_another(spool, &entry.name)),
        }
    }

    fn wait_for_turn(&self, spool: &Spool, name: &Name, deadline: Instant) -> Turn {
        let mut pause = Duration::from_millis(1);
        loop {
            match spool.lock_drain() {
                // Whoever had it may have learnt meanwhile that the broker does not answer.
                Ok(Some(lock)) if pause > Duration::from_millis(1) => match spool.marker(&self.broker) {
                    Some(cause) => return Turn::Never(cause),
                    None => return Turn::Ours(lock),
                },
                Ok(Some(lock)) => return Turn::Ours(lock),
                Err(error) => return Turn::Never(error.to_string()),
                Ok(None) => {}
            }
            if !spool.holds(name) {
                return Turn::Gone;
            }
            if Instant::now() >= deadline {
                return Turn::Never("another failcake is still sending what was spooled before".to_owned());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The end without a receipt: from here on it survives a power loss too.
    fn keep(&self, spool: &Spool, entry: &Entry, cause: &str) -> Result<Delivery, Error> {
        if let Err(error) = spool.make_durable(entry) {
            return Err(Error { spool: error, bus: cause.to_owned() });
        }
        let remedy = "`failcake check` tells what is wrong, `failcake spool flush` sends it".to_owned();
        tell(&format!(
            "warning: {cause}; the event is kept in {} and goes out later; {remedy}",
            spool.path().display()
        ));
        Ok(Delivery::Spooled { cause: cause.to_owned(), remedy })
    }

    /// Without a spool there is one chance left.
    fn send_directly(&self, frames: Vec<Frame>, spool: spool::Error, deadline: Instant) -> Result<Delivery, Error> {
        let sent = Publisher::connect(&self.target, deadline).and_then(|mut publisher| {
            publisher.publish(frames, deadline)?;
            publisher.close();
            Ok(())
        });
        match sent {
            Ok(()) => {
                tell(&format!("warning: the event was delivered, but it could not have waited: {spool}"));
                Ok(Delivery::Delivered)
            }
            Err(error) => Err(Error { spool, bus: one_line(&error.to_string()) }),
        }
    }

    fn limits(&self) -> spool::Limits {
        spool::Limits { count: self.place.max_count, bytes: self.place.max_bytes }
    }
}

enum Turn {
    Ours(DrainLock),
    /// Whoever had the lock has dealt with the entry.
    Gone,
    Never(String),
}

fn sent_by_another(spool: &Spool, name: &Name) -> Delivery {
    spool.reason(name).map_or(Delivery::Delivered, refused)
}

fn refused(cause: String) -> Delivery {
    Delivery::Refused { cause, remedy: "`failcake spool flush --refused` tries it again".to_owned() }
}

/// The line of an entry: where it goes, a tab, what it is.
fn describe(first: &Frame, label: &str) -> String {
    let label = if label.is_empty() { first.header("subject").unwrap_or_default() } else { label };
    format!("{}\t{}", first.header("destination").unwrap_or_default().replace('\t', " "), label.replace('\t', " "))
}

/// The payload of an entry: SEND frames of STOMP 1.2, one after the other.
fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(Version::V1_2, &mut bytes);
    }
    bytes
}

/// Reads a payload. Root reads everybody's, so nothing but SEND passes, and no header that is between us and the broker.
fn decode(payload: &[u8]) -> Result<Vec<Frame>, String> {
    // It was written by ourselves, or is bounded by the spool's limit: no line of it is refused for its length.
    let most = payload.len();
    let mut decoder = Decoder::new(Limits { line: most, headers: most, head: most, body: most });
    decoder.set_version(Version::V1_2);
    decoder.push(payload);
    let mut frames = Vec::new();
    while let Some(item) = decoder.poll().map_err(|error| error.to_string())? {
        let Item::Frame(mut frame) = item else { continue };
        if frame.command != "SEND" || frame.header("destination").is_none() {
            return Err(format!("{} is no message to a destination", frame.command));
        }
        frame.headers.retain(|(name, _)| name != "receipt" && name != "transaction");
        frames.push(frame);
    }
    if decoder.is_mid_frame() || frames.is_empty() {
        return Err("its last message is not whole".to_owned());
    }
    Ok(frames)
}

/// What a broker says goes to a terminal: no line break and no escape sequence passes.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").replace(char::is_control, " ")
}

/// One line for people, in one write. A hook's stderr may be closed: no reason to fail.
fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("failcake: {line}\n").as_bytes());
}
