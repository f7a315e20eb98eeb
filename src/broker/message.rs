//! A message as the broker keeps it: one copy in memory, however many subscribers it has, and every octet counted.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use crate::stomp::{Frame, Version};

/// Octets that the broker keeps because somebody outside asked for it.
#[derive(Debug, Clone)]
pub(super) struct Memory(Rc<Account>);

#[derive(Debug)]
struct Account {
    used: Cell<usize>,
    limit: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Memory {
        Memory(Rc::new(Account { used: Cell::new(0), limit }))
    }

    pub(super) fn used(&self) -> usize {
        self.0.used.get()
    }

    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.0.limit
    }

    /// Counts `bytes` until the charge is dropped. It never refuses: who may say no asks [`has_room`](Self::has_room).
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        self.0.used.set(self.used() + bytes);
        Charge { memory: self.clone(), bytes }
    }
}

/// A part of [`Memory`], given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    memory: Memory,
    bytes: usize,
}

impl Charge {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn resize(&mut self, bytes: usize) {
        let account = &self.memory.0;
        account.used.set(account.used.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// Headers of a SEND that are the sender's or the broker's business and never reach a subscriber.
const NOT_PASSED_ON: [&str; 7] =
    ["receipt", "transaction", "content-length", "message-id", "subscription", "ack", "redelivered"];

/// A SEND, ready to be delivered.
#[derive(Debug)]
pub(super) struct Message {
    /// The headers that every subscriber gets, in the sender's order. Its body is empty: see `body`.
    frame: Frame,
    body: Vec<u8>,
    /// MESSAGE says content-length: the sender did, or a NUL in the body makes it needed. Not otherwise, because
    /// clients written for ActiveMQ take a frame with content-length for octets, and one without for text.
    pub(super) sized: bool,
    /// The header lines by version, made when the first subscriber of that version gets the message.
    lines: [OnceCell<Vec<u8>>; 3],
    charge: Charge,
}

impl Message {
    /// What [`Message::new`] will charge for `frame`, in octets: its text, and what keeping it costs.
    pub(super) fn cost(frame: &Frame) -> usize {
        // Headers twice: as they came and as they are written.
        frame.body.len() + frame.headers.iter().map(|(n, v)| 2 * (n.len() + v.len()) + 64).sum::<usize>() + 256
    }

    pub(super) fn new(mut frame: Frame, memory: &Memory) -> Message {
        let charge = memory.charge(Message::cost(&frame));
        let body = std::mem::take(&mut frame.body);
        let sized = frame.header("content-length").is_some() || body.contains(&0);
        frame.headers.retain(|(name, _)| !NOT_PASSED_ON.contains(&name.as_str()));
        "MESSAGE".clone_into(&mut frame.command);
        Message { frame, body, sized, lines: Default::default(), charge }
    }

    pub(super) fn destination(&self) -> &str {
        self.frame.header("destination").unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn size(&self) -> usize {
        self.charge.bytes()
    }

    /// The header lines that all subscribers of one version share: `name:value LF`, escaped.
    pub(super) fn lines(&self, version: Version) -> &[u8] {
        let slot = match version {
            Version::V1_0 => &self.lines[0],
            Version::V1_1 => &self.lines[1],
            Version::V1_2 => &self.lines[2],
        };
        slot.get_or_init(|| {
            if version == Version::V1_0 && self.frame.headers.iter().any(|(name, _)| name.contains(':')) {
                // 1.0 can't say a colon in a name: what stands before it would pose as another header.
                let mut frame = self.frame.clone();
                frame.headers.retain(|(name, _)| !name.contains(':'));
                return header_lines(&frame, version);
            }
            header_lines(&self.frame, version)
        })
    }
}

/// The lines between the command and the empty line, in the codec's own encoding.
pub(super) fn header_lines(frame: &Frame, version: Version) -> Vec<u8> {
    debug_assert!(frame.body.is_empty());
    let mut bytes = Vec::with_capacity(256);
    frame.encode(version, &mut bytes);
    bytes.truncate(bytes.len() - b"\n\0".len());
    bytes.drain(..=frame.command.len());
    bytes
}

/// A message's place in one queue.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Rc<Message>,
    /// It was delivered before, and not acknowledged.
    pub(super) redelivered: bool,
}

impl Entry {
    /// What a place costs beside the message, in octets: a tiny message in ten thousand queues is not tiny.
    const COST: usize = 64;

    pub(super) fn new(message: &Rc<Message>) -> Entry {
        let account = &message.charge.memory.0;
        account.used.set(account.used.get() + Entry::COST);
        Entry { message: message.clone(), redelivered: false }
    }

    /// What it weighs in its queue's backlog, in octets.
    pub(super) fn size(&self) -> usize {
        self.message.size() + Entry::COST
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let account = &self.message.charge.memory.0;
        account.used.set(account.used.get() - Entry::COST);
    }
}
