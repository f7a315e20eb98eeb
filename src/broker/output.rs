//! What waits to be written to each connection. Large bodies are shared, not copied: a thousand subscribers that do
//! not read cost one body.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::ConnectionId;
use super::message::{Entry, Message};
use super::store::ConsumerId;
use crate::stomp::{Frame, Version};

/// Over so many octets a connection gets no more messages until its socket takes some.
const HIGH_WATER: usize = 256 * 1024;
/// Over so many, which only answers that nobody reads can reach, the connection is not read from either.
const FLOOD: usize = 4 * HIGH_WATER;
/// Octets in a part before the next one is begun, and so the most that usually goes into one write.
const PART: usize = 64 * 1024;
/// From this size on a body is shared instead of copied.
const SHARED_BODY: usize = 16 * 1024;

/// Octets for one connection, in order.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) version: Version,
    parts: VecDeque<Part>,
    len: usize,
    /// Consumers that had to stop because of [`HIGH_WATER`], the one that waits longest first.
    pub(super) blocked: VecDeque<ConsumerId>,
    /// It stands in [`Outputs::dirty`].
    listed: bool,
}

#[derive(Debug)]
struct Part {
    content: Content,
    written: usize,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Body(Rc<Message>),
}

impl Part {
    fn rest(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => &bytes[self.written..],
            Content::Body(message) => &message.body()[self.written..],
        }
    }
}

impl Output {
    fn new() -> Output {
        Output { version: Version::V1_0, parts: VecDeque::new(), len: 0, blocked: VecDeque::new(), listed: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No more messages for now.
    pub(super) fn is_full(&self) -> bool {
        self.len >= HIGH_WATER
    }

    /// The peer asks and asks, and reads no answer.
    pub(super) fn is_flooded(&self) -> bool {
        self.len >= FLOOD
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        // A part has an end: one that is written to and read from for ever would grow for ever.
        let open = |part: &Part| matches!(&part.content, Content::Bytes(bytes) if bytes.len() < PART);
        if !self.parts.back().is_some_and(open) {
            self.parts.push_back(Part { content: Content::Bytes(Vec::new()), written: 0 });
        }
        if let Some(Part { content: Content::Bytes(bytes), .. }) = self.parts.back_mut() {
            let before = bytes.len();
            write(bytes);
            self.len += bytes.len() - before;
        }
    }

    fn consume(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(front) = self.parts.front_mut() {
            let rest = front.rest().len();
            if count < rest {
                front.written += count;
                return;
            }
            count -= rest;
            match &mut front.content {
                // The usual case: all is out, and the buffer serves again.
                Content::Bytes(bytes) if self.len == 0 && bytes.capacity() <= 2 * PART => {
                    bytes.clear();
                    front.written = 0;
                    return;
                }
                _ => drop(self.parts.pop_front()),
            }
        }
    }

    /// Writes one MESSAGE. The broker's own headers come first, and the first of repeated headers counts: no header
    /// of the sender can take their place.
    pub(super) fn message(&mut self, entry: &Entry, subscription: &[u8], id: &str, ack: bool) {
        let message = &entry.message;
        let lines = message.lines(self.version);
        let body = message.body();
        let shared = body.len() >= SHARED_BODY;
        let ack = ack && self.version == Version::V1_2;
        self.append(|out| {
            out.extend_from_slice(b"MESSAGE\n");
            out.extend_from_slice(subscription);
            for (wanted, name) in [(true, &b"message-id:"[..]), (ack, b"ack:")] {
                if wanted {
                    out.extend_from_slice(name);
                    out.extend_from_slice(id.as_bytes());
                    out.push(b'\n');
                }
            }
            if entry.redelivered {
                out.extend_from_slice(b"redelivered:true\n");
            }
            if message.sized {
                out.extend_from_slice(format!("content-length:{}\n", body.len()).as_bytes());
            }
            out.extend_from_slice(lines);
            out.push(b'\n');
            if !shared {
                out.extend_from_slice(body);
                out.push(0);
            }
        });
        if shared {
            self.len += body.len();
            self.parts.push_back(Part { content: Content::Body(message.clone()), written: 0 });
            self.append(|out| out.push(0));
        }
    }
}

/// The outputs of all connections, and which of them the edge has to look at.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    map: HashMap<ConnectionId, Output>,
    dirty: VecDeque<ConnectionId>,
}

impl Outputs {
    pub(super) fn open(&mut self, id: ConnectionId) {
        self.map.insert(id, Output::new());
    }

    /// Forgets the connection and lets the edge know.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if self.map.remove(&id).is_some_and(|output| !output.listed) {
            self.dirty.push_back(id);
        }
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Output> {
        self.map.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Output> {
        self.map.get_mut(&id)
    }

    /// To write to: the edge will be told to look.
    pub(super) fn touch(&mut self, id: ConnectionId) -> Option<&mut Output> {
        let output = self.map.get_mut(&id)?;
        if !output.listed {
            output.listed = true;
            self.dirty.push_back(id);
        }
        Some(output)
    }

    pub(super) fn frame(&mut self, id: ConnectionId, frame: &Frame) {
        if let Some(output) = self.touch(id) {
            let version = output.version;
            output.append(|out| frame.encode(version, out));
        }
    }

    pub(super) fn heart_beat(&mut self, id: ConnectionId) {
        if let Some(output) = self.touch(id) {
            output.append(|out| out.push(b'\n'));
        }
    }

    pub(super) fn next_dirty(&mut self) -> Option<ConnectionId> {
        let id = self.dirty.pop_front()?;
        if let Some(output) = self.map.get_mut(&id) {
            output.listed = false;
        }
        Some(id)
    }

    pub(super) fn chunk(&self, id: ConnectionId) -> &[u8] {
        self.get(id).and_then(|output| output.parts.front()).map_or(&[], Part::rest)
    }

    pub(super) fn consume(&mut self, id: ConnectionId, count: usize) {
        if let Some(output) = self.map.get_mut(&id) {
            output.consume(count);
        }
    }
}
