//! The broker as a pure machine. It owns no socket and reads no clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use super::login::{Login, VERSIONS};
use super::message::Message;
use super::output::Outputs;
use super::peer::{Due, Peer, Stage, Step};
use super::store::{Store, Verdict};
use super::wish;
use super::{ConnectionId, Options, Refusal};
use crate::stomp::frame::{FrameError, Item};
use crate::stomp::{Frame, Version};

/// Octets that may wait for the rest of a frame before the login, which needs few, and uncounted after it.
const SMALL: usize = 64 * 1024;
/// Octets of one header as it is written, escaped and with U+FFFD for what was no UTF-8: the line that clients take, and
/// ActiveMQ. Who gets a message must be able to read it, or it would come again for ever.
const HEADER: usize = 10 * 1024 - 16;
/// Octets of all headers of a SEND.
const HEADERS: usize = 64 * 1024;

/// What the edge has to do for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It lives. `read`: it is to be read from; not while it floods the broker with questions and reads no answer.
    Open {
        /// Wait for its input.
        read: bool,
    },
    /// All is said: close the sending side, read until the peer closes its own.
    Finished,
    /// Close it.
    Gone,
}

/// What a frame leads to, when it is not refused.
enum Then {
    Stay,
    Leave,
}

/// Topics, queues and the connections that use them.
#[derive(Debug)]
pub struct Hub {
    options: Options,
    instance: String,
    peers: HashMap<ConnectionId, Peer>,
    outputs: Outputs,
    store: Store,
    /// When to look at which connection. An entry that is no peer's `alarm` is void: moving a time costs nothing.
    alarms: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    numbers: u64,
}

impl Hub {
    /// An empty broker. `instance` is a word that no other run has: message ids begin with it.
    pub fn new(options: Options, instance: &str) -> Hub {
        Hub {
            store: Store::new(&options.limits, instance),
            options,
            instance: instance.to_owned(),
            peers: HashMap::new(),
            outputs: Outputs::default(),
            alarms: BinaryHeap::new(),
            numbers: 0,
        }
    }

    /// Somebody connected. When there are too many, what waits for it is an ERROR.
    pub fn handle_connection(&mut self, now: Instant) -> ConnectionId {
        self.numbers += 1;
        let id = ConnectionId(self.numbers);
        self.peers.insert(id, Peer::new(&self.options.limits, &self.store.memory, now));
        self.outputs.open(id);
        if self.peers.len() > self.options.limits.connections {
            let text = format!("{} are connected already (--max-connections)", self.options.limits.connections);
            self.refuse(id, &Refusal::new("too many connections", text), None, now);
        }
        self.set_alarm(id);
        id
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }

    /// Octets kept for others: messages, subscriptions, frames that are half here.
    pub fn memory_used(&self) -> usize {
        self.store.memory.used()
    }

    /// Octets came.
    pub fn handle_input(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.is_ending() {
            return;
        }
        peer.last_received = now;
        peer.decoder.push(bytes);
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if peer.is_ending() {
                return;
            }
            match peer.decoder.poll() {
                Ok(Some(Item::Frame(frame))) => self.handle_frame(id, frame, now),
                Ok(Some(Item::Eol)) => {}
                Ok(None) => break,
                Err(error) => return self.refuse(id, &Refusal::from(error), None, now),
            }
        }
        if let Err(refusal) = self.count_input(id) {
            self.refuse(id, &refusal, None, now);
        }
    }

    /// Counts what waits for the rest of its frame.
    fn count_input(&mut self, id: ConnectionId) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let waiting = peer.decoder.buffered();
        if waiting <= SMALL {
            peer.held.resize(0);
            return Ok(());
        }
        if let Stage::Greeting { .. } = peer.stage {
            return Err(Refusal::new("log in first", format!("{waiting} octets came and no whole CONNECT frame")));
        }
        peer.held.resize(waiting);
        self.store.check_memory(0)
    }

    /// The peer closed its sending side. What it has asked for is answered, then it is over.
    pub fn handle_eof(&mut self, id: ConnectionId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.input_closed = true;
            self.end(id, now);
        }
    }

    /// The connection is lost, or closed by the edge.
    pub fn handle_lost(&mut self, id: ConnectionId) {
        self.release(id);
        self.peers.remove(&id);
        self.outputs.close(id);
    }

    /// The next connection to look at: it has something to write, or its [`status`](Self::status) changed.
    pub fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.outputs.next_dirty()
    }

    /// What to write to it next; empty when there is nothing. Say with [`transmitted`](Self::transmitted) how much
    /// went out, and ask again.
    pub fn poll_transmit(&self, id: ConnectionId) -> &[u8] {
        self.outputs.chunk(id)
    }

    /// So many octets of [`poll_transmit`](Self::poll_transmit) went out.
    pub fn transmitted(&mut self, id: ConnectionId, count: usize, now: Instant) {
        self.outputs.consume(id, count);
        self.store.resume(id, &mut self.outputs);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.last_sent = now;
        }
    }

    /// What the edge has to do for it, once all of [`poll_transmit`](Self::poll_transmit) that it takes is out.
    pub fn status(&mut self, id: ConnectionId) -> Status {
        let (Some(peer), Some(output)) = (self.peers.get(&id), self.outputs.get(id)) else { return Status::Gone };
        match (peer.is_ending(), output.is_empty(), peer.input_closed) {
            (false, ..) => Status::Open { read: !output.is_flooded() },
            (true, false, closed) => Status::Open { read: !closed },
            (true, true, false) => Status::Finished,
            (true, true, true) => {
                self.handle_lost(id);
                Status::Gone
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((when, _))| *when)
    }

    /// Time has passed: heart-beats are sent, and who is silent or late is let go.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((when, id))) = self.alarms.peek().copied() {
            if when > now {
                return;
            }
            self.alarms.pop();
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.alarm != Some(when) {
                continue;
            }
            peer.alarm = None;
            match peer.next_due() {
                Some((when, due)) if when <= now => self.handle_due(id, due, now),
                _ => {}
            }
            self.set_alarm(id);
        }
    }

    fn handle_due(&mut self, id: ConnectionId, due: Due, now: Instant) {
        match due {
            Due::LoginTimeout => {
                let text = format!("no CONNECT came within {:?}", self.options.limits.login);
                self.refuse(id, &Refusal::new("login timed out", text), None, now);
            }
            Due::LingerOver => self.handle_lost(id),
            Due::Silent(time) => {
                let text = format!("neither a frame nor a heart-beat came for {time:?}");
                self.refuse(id, &Refusal::new("heart-beat missing", text), None, now);
            }
            Due::HeartBeat => {
                // While octets wait, they are as good as a heart-beat; one more would not come sooner.
                if self.outputs.get(id).is_some_and(super::output::Output::is_empty) {
                    self.outputs.heart_beat(id);
                }
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.last_sent = now;
                }
            }
        }
    }

    fn set_alarm(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some((when, _)) = peer.next_due() else { return };
        if peer.alarm.is_none_or(|set| when < set) {
            peer.alarm = Some(when);
            self.alarms.push(Reverse((when, id)));
            if self.alarms.len() > 2 * self.peers.len() + 1000 {
                // Mostly of connections that are gone: they would stay until their time comes.
                let alarms = self.peers.iter().filter_map(|(id, peer)| Some(Reverse((peer.alarm?, *id))));
                self.alarms = alarms.collect();
            }
        }
    }

    /// ERROR, and the end of the connection (STOMP 1.2, "ERROR": the server must then close it).
    fn refuse(&mut self, id: ConnectionId, refusal: &Refusal, receipt: Option<String>, now: Instant) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.is_ending() {
            return;
        }
        // Quoted: what a peer says must not pose as another line of a log.
        log::warn!("connection {}: {}: {:?}", id.0, refusal.message, refusal.detail);
        let mut error = Frame::new("ERROR").with("message", &refusal.message).with("content-type", "text/plain");
        if let Stage::Greeting { .. } = peer.stage {
            error = error.with("version", VERSIONS);
        }
        if let Some(receipt) = receipt {
            error = error.with("receipt-id", receipt);
        }
        error.body = format!("{}\n", refusal.detail.replace('\0', " ")).into_bytes();
        self.outputs.frame(id, &error);
        self.end(id, now);
    }

    /// From here on nothing that it says counts.
    fn end(&mut self, id: ConnectionId, now: Instant) {
        self.release(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            if !peer.is_ending() {
                peer.end(&self.options.limits, now);
            }
            self.outputs.touch(id);
            self.set_alarm(id);
        }
    }

    /// Takes its consumers away.
    fn release(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for (_, consumer) in std::mem::take(&mut peer.subscriptions) {
            self.store.unsubscribe(consumer, &mut self.outputs);
        }
    }

    fn handle_frame(&mut self, id: ConnectionId, frame: Frame, now: Instant) {
        let Some(peer) = self.peers.get(&id) else { return };
        let receipt = frame.header("receipt").map(str::to_owned);
        let done = match (peer.stage, frame.command.as_str()) {
            (Stage::Greeting { .. }, "CONNECT" | "STOMP") => self.log_in(id, &frame, now),
            (Stage::Greeting { .. }, other) => {
                Err(Refusal::new("log in first", format!("{other} came before CONNECT")))
            }
            (Stage::Open(_), "SEND") => self.send(id, frame, now),
            (Stage::Open(version), other) => self.handle_open(id, version, other, &frame, now),
            (Stage::Ending { .. }, _) => return,
        };
        match (done, receipt) {
            (Err(refusal), receipt) => self.refuse(id, &refusal, receipt, now),
            (Ok(then), receipt) => {
                // It may have been too slow for its own message.
                let lives = self.peers.get(&id).is_some_and(|peer| !peer.is_ending());
                if let (true, Some(receipt)) = (lives, receipt) {
                    self.outputs.frame(id, &Frame::new("RECEIPT").with("receipt-id", receipt));
                }
                if let Then::Leave = then {
                    self.end(id, now);
                }
            }
        }
    }

    fn handle_open(
        &mut self,
        id: ConnectionId,
        version: Version,
        command: &str,
        frame: &Frame,
        now: Instant,
    ) -> Result<Then, Refusal> {
        match command {
            "SUBSCRIBE" => self.subscribe(id, version, frame)?,
            "UNSUBSCRIBE" => self.unsubscribe(id, version, frame)?,
            "ACK" => self.settle(id, version, frame, Verdict::Done)?,
            "NACK" if frame.header("requeue") == Some("false") => self.settle(id, version, frame, Verdict::Done)?,
            "NACK" => self.settle(id, version, frame, Verdict::Again)?,
            "BEGIN" => self.begin(id, frame)?,
            "COMMIT" => self.commit(id, frame, now)?,
            "ABORT" => drop(self.take_transaction(id, frame)?),
            "DISCONNECT" => return Ok(Then::Leave),
            "CONNECT" | "STOMP" => return Err(Refusal::new("logged in already", "a connection has one CONNECT")),
            other => return Err(Refusal::new("unknown command", format!("{other:?} is no frame of a client"))),
        }
        Ok(Then::Stay)
    }

    fn log_in(&mut self, id: ConnectionId, frame: &Frame, now: Instant) -> Result<Then, Refusal> {
        let login = Login::read(frame, &self.options.users)?;
        let mut answer = Frame::new("CONNECTED");
        if login.tell_version {
            answer = answer.with("version", login.version.as_str());
        }
        answer = answer
            .with("session", format!("{}-{}", self.instance, id.0))
            .with("server", concat!("failcake/", env!("CARGO_PKG_VERSION")));
        if login.version > Version::V1_0 {
            answer = answer.with("heart-beat", login.heart_beat());
        }
        if let (Some(peer), Some(output)) = (self.peers.get_mut(&id), self.outputs.get_mut(id)) {
            peer.stage = Stage::Open(login.version);
            peer.decoder.set_version(login.version);
            output.version = login.version;
            peer.client_id = login.client_id;
            (peer.send_every, peer.expect_every) = (login.send_every, login.expect_every);
            peer.last_sent = now;
        }
        self.outputs.frame(id, &answer);
        self.set_alarm(id);
        Ok(Then::Stay)
    }

    fn send(&mut self, id: ConnectionId, frame: Frame, now: Instant) -> Result<Then, Refusal> {
        let is_topic = wish::is_topic(frame.header("destination"))?;
        let sizes = frame.headers.iter().map(|(name, value)| written(name) + written(value) + 1);
        let (total, largest) = sizes.fold((0, 0), |(total, largest), size| (total + size, largest.max(size)));
        if largest > HEADER || total > HEADERS {
            let text = format!("{largest} octets in one, {total} in all; at most {HEADER} and {HEADERS}: use the body");
            return Err(Refusal::new("headers too large", text));
        }
        let cost = Message::cost(&frame);
        let Some(transaction) = frame.header("transaction") else {
            self.make_memory(cost, now)?;
            self.publish(Message::new(frame, &self.store.memory), is_topic, now)?;
            return Ok(Then::Stay);
        };
        let transaction = transaction.to_owned();
        self.store.check_memory(cost)?;
        let step = Step::Send { message: Message::new(frame, &self.store.memory), is_topic };
        self.transaction(id, &transaction)?.push(step);
        Ok(Then::Stay)
    }

    /// Sees to it that there is memory for `bytes`, if need be by letting go of those topic subscribers that use most
    /// of it for being slow.
    fn make_memory(&mut self, bytes: usize, now: Instant) -> Result<(), Refusal> {
        while let Err(refusal) = self.store.check_memory(bytes) {
            let Some(slowest) = self.store.slowest() else { return Err(refusal) };
            self.refuse_slow(slowest, now);
        }
        Ok(())
    }

    fn publish(&mut self, message: Message, is_topic: bool, now: Instant) -> Result<(), Refusal> {
        let mut slow = Vec::new();
        self.store.check_room(message.destination(), message.size(), &mut slow)?;
        for slow in slow {
            self.refuse_slow(slow, now);
        }
        self.store.publish(message, is_topic, &mut self.outputs);
        Ok(())
    }

    fn refuse_slow(&mut self, id: ConnectionId, now: Instant) {
        let limit = self.options.limits.backlog;
        let text = format!(
            "the messages that wait for this topic subscriber pass the limit of {limit} octets, or all memory is used: \
             read and acknowledge faster, or subscribe durably"
        );
        self.refuse(id, &Refusal::new("slow consumer", text), None, now);
    }

    fn subscribe(&mut self, id: ConnectionId, version: Version, frame: &Frame) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let wish = wish::read(frame, version > Version::V1_0, peer.client_id.as_deref())?;
        let name = wish.id.clone().unwrap_or_else(|| wish.destination.clone());
        if peer.subscriptions.contains_key(&name) {
            return Err(Refusal::new("subscription exists", format!("this connection has a subscription {name:?}")));
        }
        if peer.subscriptions.len() >= self.options.limits.subscriptions {
            let text = format!("one connection has at most {}", self.options.limits.subscriptions);
            return Err(Refusal::new("too many subscriptions", text));
        }
        let consumer = self.store.subscribe(id, &wish, &mut self.outputs)?;
        peer.subscriptions.insert(name, consumer);
        Ok(())
    }

    fn unsubscribe(&mut self, id: ConnectionId, version: Version, frame: &Frame) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let name = match (frame.header("id"), version) {
            (None, Version::V1_0) => frame.header("destination"),
            (id, _) => id,
        };
        let live = name.and_then(|name| peer.subscriptions.remove(name));
        // RabbitMQ's clients need not repeat the destination: it is known from the live subscription.
        let read_from = live.and_then(|consumer| self.store.unsubscribe(consumer, &mut self.outputs));
        let spoken_of = match wish::durable(frame, peer.client_id.as_deref()) {
            Err(_) if read_from.is_some() => read_from,
            other => other?,
        };
        match (live, spoken_of) {
            (_, Some(key)) => self.store.forget_durable(&key),
            (Some(_), None) => Ok(()),
            (None, None) => Err(Refusal::new(
                "no such subscription",
                format!("{:?} is none of this connection", name.unwrap_or("")),
            )),
        }
    }

    fn settle(&mut self, id: ConnectionId, version: Version, frame: &Frame, verdict: Verdict) -> Result<(), Refusal> {
        let ack_id = match version {
            Version::V1_2 => frame.header("id").or_else(|| frame.header("message-id")),
            _ => frame.header("message-id"),
        };
        let found = ack_id.and_then(|ack_id| self.store.delivery(ack_id)).filter(|(owner, _)| *owner == id);
        let Some((_, delivery)) = found else {
            let text = format!("no message with the id {:?} waits for an ACK on this connection", ack_id.unwrap_or(""));
            return Err(Refusal::new("nothing to acknowledge", text));
        };
        let Some(transaction) = frame.header("transaction") else {
            self.store.settle(delivery, verdict, &mut self.outputs);
            return Ok(());
        };
        self.store.check_memory(STEP)?;
        let step = Step::Settle { delivery, verdict, _charge: self.store.memory.charge(STEP) };
        self.transaction(id, transaction)?.push(step);
        Ok(())
    }

    fn transaction(&mut self, id: ConnectionId, name: &str) -> Result<&mut Vec<Step>, Refusal> {
        let open = self.peers.get_mut(&id).and_then(|peer| peer.transactions.get_mut(name));
        open.ok_or_else(|| no_transaction(name))
    }

    fn take_transaction(&mut self, id: ConnectionId, frame: &Frame) -> Result<Vec<Step>, Refusal> {
        let name = frame.header("transaction").unwrap_or_default();
        let open = self.peers.get_mut(&id).and_then(|peer| peer.transactions.remove(name));
        open.ok_or_else(|| no_transaction(name))
    }

    fn begin(&mut self, id: ConnectionId, frame: &Frame) -> Result<(), Refusal> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let Some(name) = frame.header("transaction") else {
            return Err(Refusal::new("BEGIN without transaction", "the frame has no transaction header"));
        };
        if peer.transactions.contains_key(name) {
            return Err(Refusal::new("transaction exists", format!("{name:?} is open already")));
        }
        if peer.transactions.len() >= self.options.limits.transactions {
            let text = format!("one connection has at most {} open", self.options.limits.transactions);
            return Err(Refusal::new("too many transactions", text));
        }
        peer.transactions.insert(name.to_owned(), Vec::new());
        Ok(())
    }

    /// All or nothing: room is looked for before the first step is done.
    fn commit(&mut self, id: ConnectionId, frame: &Frame, now: Instant) -> Result<(), Refusal> {
        let steps = self.take_transaction(id, frame)?;
        let sends = || {
            steps.iter().filter_map(|step| match step {
                Step::Send { message, .. } => Some(message),
                Step::Settle { .. } => None,
            })
        };
        // As if all went to one place: it may refuse what would just have fitted, never the other way round.
        let total = sends().map(Message::size).sum();
        for message in sends() {
            self.store.check_room(message.destination(), total, &mut Vec::new())?;
        }
        for step in steps {
            match step {
                Step::Send { message, is_topic } => self.publish(message, is_topic, now)?,
                Step::Settle { delivery, verdict, .. } => self.store.settle(delivery, verdict, &mut self.outputs),
            }
        }
        Ok(())
    }
}

/// What an ACK in a transaction costs until it ends, in octets.
const STEP: usize = 64;

/// Octets of a header's name or value on the wire; what can't matter is not looked at.
fn written(text: &str) -> usize {
    if text.len() <= HEADER / 4 {
        return text.len();
    }
    text.len() + text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r' | b':' | b'\\')).count()
}

fn no_transaction(name: &str) -> Refusal {
    Refusal::new("no such transaction", format!("{name:?} is not open on this connection: BEGIN it first"))
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Refusal {
        Refusal::new("malformed frame", error.to_string())
    }
}
