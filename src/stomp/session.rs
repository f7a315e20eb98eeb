//! The client's side of one connection, as a machine: what [`crate::bus`] drives with a real socket.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::dialect::{read_error, write_login_value};
use super::frame::{Decoder, Item};
use super::{
    AckMode, AckToken, CloseReason, Dialect, Event, Frame, Limits, Login, Message, ReceiptId, Subscription,
    SubscriptionId, Version,
};

/// Beside twice the agreed interval, for a broker or a network that was busy.
const SILENCE_MARGIN: Duration = Duration::from_secs(1);

/// A buffer that grew for one large burst is given back when it is empty again.
const KEPT_CAPACITY: usize = 256 * 1024;

/// The client's side of one connection.
///
/// Nothing in it grows by what the broker does alone: drain [`poll_event`](Self::poll_event) after each
/// [`handle_input`](Self::handle_input), which then holds what one piece of input said; give no more to
/// [`send`](Self::send) while [`poll_transmit`](Self::poll_transmit) is longer than the driver wants to hold.
pub struct Session {
    decoder: Decoder,
    /// Bytes for the broker; those before `sent` are gone.
    out: Vec<u8>,
    sent: usize,
    /// Frames that were given before CONNECTED: how to escape them is not known yet.
    held: Vec<Frame>,
    events: VecDeque<Event>,
    state: State,
    version: Option<Version>,
    dialect: Option<Dialect>,
    server: Option<String>,
    subscriptions: Vec<Registered>,
    last_receipt: u64,
    outstanding: BTreeSet<ReceiptId>,
    beats: Beats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    /// DISCONNECT is on its way, with this receipt.
    Disconnecting(ReceiptId),
    Closed,
}

/// A subscription of this connection.
struct Registered {
    id: SubscriptionId,
    /// Its `id` header; none on 1.0.
    wire_id: Option<String>,
    destination: String,
    ack: AckMode,
}

/// The clock's side. No interval: no heart-beat in that direction.
struct Beats {
    /// What CONNECT asks for, in milliseconds.
    asked: u64,
    send_every: Option<Duration>,
    expect_every: Option<Duration>,
    last_out: Instant,
    last_in: Instant,
}

impl Beats {
    fn new(asked: Duration, now: Instant) -> Beats {
        // RabbitMQ counts whole seconds and rounds down; the clamp keeps Instant arithmetic far from its end.
        let seconds = (asked.as_secs() + u64::from(asked.subsec_nanos() > 0)).min(24 * 3600);
        Beats { asked: seconds * 1000, send_every: None, expect_every: None, last_out: now, last_in: now }
    }

    /// Each way the greater of what one side offers and the other wants, unless one of them says 0 (STOMP 1.2,
    /// "Heart-beating"). What can't be read counts as 0.
    fn agree(&mut self, header: Option<&str>) {
        let (offers, wants) = header.and_then(|text| text.split_once(',')).unwrap_or(("0", "0"));
        let agree = |theirs: &str| match theirs.trim().parse::<u32>() {
            Ok(theirs) if theirs > 0 && self.asked > 0 => {
                Some(Duration::from_millis(u64::from(theirs).max(self.asked)))
            }
            _ => None,
        };
        (self.send_every, self.expect_every) = (agree(wants), agree(offers));
    }

    /// At half the interval: ActiveMQ has no grace.
    fn send_at(&self) -> Option<Instant> {
        self.send_every.map(|every| self.last_out + every / 2)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.expect_every.map(|every| self.last_in + 2 * every + SILENCE_MARGIN)
    }
}

impl Session {
    /// Begins: a CONNECT frame waits in [`poll_transmit`](Self::poll_transmit).
    ///
    /// How long to wait for [`Event::Connected`] is the driver's affair: heart-beats are agreed with it.
    pub fn new(login: Login, limits: Limits, now: Instant) -> Session {
        let beats = Beats::new(login.heart_beat, now);
        let mut connect = Frame::new("CONNECT")
            .with("accept-version", "1.0,1.1,1.2")
            .with("host", write_login_value(&login.vhost))
            .with("heart-beat", format!("{0},{0}", beats.asked));
        for (name, value) in [("login", &login.login), ("passcode", &login.passcode), ("client-id", &login.client_id)] {
            if let Some(value) = value {
                connect = connect.with(name, write_login_value(value));
            }
        }
        let mut out = Vec::new();
        connect.encode(Version::V1_0, &mut out);
        let mut decoder = Decoder::new(limits);
        // For an ERROR instead of CONNECTED, which is read as 1.0 whatever stands here.
        decoder.set_version(Version::V1_2);
        Session {
            decoder,
            out,
            sent: 0,
            held: Vec::new(),
            events: VecDeque::new(),
            state: State::Connecting,
            version: None,
            dialect: None,
            server: None,
            subscriptions: Vec::new(),
            last_receipt: 0,
            outstanding: BTreeSet::new(),
            beats,
        }
    }

    /// Bytes came from the broker. Drain [`poll_event`](Self::poll_event) after it.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        if self.state == State::Closed {
            return;
        }
        if !bytes.is_empty() {
            self.beats.last_in = now;
        }
        self.decoder.push(bytes);
        while self.state != State::Closed {
            match self.decoder.poll() {
                Ok(Some(Item::Frame(frame))) => self.handle_frame(frame),
                Ok(Some(Item::Eol)) => {}
                Ok(None) => return,
                Err(error) => self.close(CloseReason::Protocol(error)),
            }
        }
    }

    /// Bytes wait, but the driver leaves them unread on purpose (its own queue is full): they are a sign of life all
    /// the same. To be called instead of [`handle_input`](Self::handle_input), before
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn handle_input_waits(&mut self, now: Instant) {
        self.beats.last_in = now;
    }

    /// The broker closed its side.
    pub fn handle_eof(&mut self) {
        let reason = match self.state {
            // Brokers may close without the receipt (ActiveMQ does under load); nothing else is unanswered.
            State::Disconnecting(_) if self.outstanding.is_empty() => CloseReason::Disconnected,
            _ if self.decoder.is_mid_frame() => CloseReason::MidFrame,
            _ => CloseReason::EndOfStream,
        };
        self.close(reason);
    }

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        if self.beats.silent_at().is_some_and(|at| at <= now) {
            let silence = now.duration_since(self.beats.last_in);
            return self.close(CloseReason::Silent(silence));
        }
        // Bytes that wait for the socket are as good as a heart-beat, and one more would only pile up behind them.
        if self.poll_transmit().is_empty() && self.beats.send_at().is_some_and(|at| at <= now) {
            self.out.push(b'\n');
        }
    }

    /// Bytes for the broker; say with [`transmitted`](Self::transmitted) how many of them went out. Empty once the
    /// connection is over.
    pub fn poll_transmit(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// So many bytes of [`poll_transmit`](Self::poll_transmit) are on their way.
    pub fn transmitted(&mut self, count: usize, now: Instant) {
        self.sent = (self.sent + count).min(self.out.len());
        if count > 0 {
            self.beats.last_out = now;
        }
        if self.sent == self.out.len() {
            self.sent = 0;
            self.out.clear();
            if self.out.capacity() > KEPT_CAPACITY {
                self.out = Vec::new();
            }
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): a heart-beat to send, or one that is missing. `None`:
    /// no heart-beats are agreed, or the connection is over. A driver that stops reading on purpose says so with
    /// [`handle_input_waits`](Self::handle_input_waits).
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Closed {
            return None;
        }
        let send_at = if self.poll_transmit().is_empty() { self.beats.send_at() } else { None };
        send_at.into_iter().chain(self.beats.silent_at()).min()
    }

    /// Queues a SEND (or any client frame). With `receipt`, [`Event::Receipt`] tells when it is processed.
    ///
    /// Before [`Event::Connected`] it is held back; after [`disconnect`](Self::disconnect) or the end of the connection
    /// it is dropped, and its receipt never comes.
    pub fn send(&mut self, mut frame: Frame, receipt: bool) -> Option<ReceiptId> {
        if !receipt {
            self.queue(frame);
            return None;
        }
        // The first of repeated headers counts: one that came with the frame would hide ours.
        frame.headers.retain(|(name, _)| name != "receipt");
        let id = self.next_receipt();
        self.outstanding.insert(id);
        self.queue(frame.with("receipt", id.0.to_string()));
        Some(id)
    }

    /// Queues a SUBSCRIBE with a receipt, in the words of the broker at hand; after [`Event::Connected`] only (before
    /// it the broker is not known, and the specification's words are used).
    pub fn subscribe(&mut self, subscription: &Subscription) -> (SubscriptionId, ReceiptId) {
        let number = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        let version = self.version.unwrap_or(Version::V1_2);
        let dialect = self.dialect.unwrap_or(Dialect::Other);
        let (frame, wire_id) = dialect.subscribe(version, number, subscription);
        // Known before SUBSCRIBE leaves: its first MESSAGE may come before its RECEIPT.
        let id = SubscriptionId(number);
        self.subscriptions.push(Registered {
            id,
            wire_id,
            destination: subscription.destination.clone(),
            ack: subscription.ack,
        });
        let receipt = self.next_receipt();
        self.outstanding.insert(receipt);
        self.queue(frame.with("receipt", receipt.0.to_string()));
        (id, receipt)
    }

    /// Queues the ACK of one message. The token must come from this connection.
    pub fn ack(&mut self, token: &AckToken) {
        let mut ack = Frame::new("ACK");
        ack = match self.version {
            Some(Version::V1_0) => ack.with("message-id", token.id.as_str()),
            Some(Version::V1_1) => ack
                .with("subscription", token.subscription.as_deref().unwrap_or_default())
                .with("message-id", token.id.as_str()),
            Some(Version::V1_2) | None => ack.with("id", token.id.as_str()),
        };
        self.queue(ack);
    }

    /// Queues a DISCONNECT with a receipt; before [`Event::Connected`] there is nothing to take leave of, and the
    /// connection is over at once.
    pub fn disconnect(&mut self) {
        match self.state {
            State::Connecting => self.close(CloseReason::Disconnected),
            State::Connected => {
                let receipt = self.next_receipt();
                self.queue(Frame::new("DISCONNECT").with("receipt", receipt.0.to_string()));
                self.state = State::Disconnecting(receipt);
            }
            State::Disconnecting(_) | State::Closed => {}
        }
    }

    /// The agreed version, once connected.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Which broker it is, once connected.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The `server` header as the broker wrote it, once connected (`ActiveMQ/5.17.2`).
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn handle_frame(&mut self, frame: Frame) {
        match (frame.command.as_str(), self.state) {
            ("ERROR", _) => self.handle_error(&frame),
            ("CONNECTED", State::Connecting) => self.handle_connected(&frame),
            ("CONNECTED", _) => self.close(CloseReason::Unexpected("a second CONNECTED".to_owned())),
            (other, State::Connecting) => self.close(CloseReason::Unexpected(format!("{other} before CONNECTED"))),
            ("MESSAGE", _) => {
                let message = self.read_message(frame);
                self.events.push_back(Event::Message(message));
            }
            ("RECEIPT", _) => self.handle_receipt(&frame),
            (other, _) => self.close(CloseReason::Unexpected(other.to_owned())),
        }
    }

    fn handle_connected(&mut self, frame: &Frame) {
        // A 1.0 broker names no version.
        let Some(version) = frame.header("version").map_or(Some(Version::V1_0), Version::parse) else {
            return self.close(CloseReason::Unexpected("CONNECTED in a version that was not offered".to_owned()));
        };
        self.version = Some(version);
        self.decoder.set_version(version);
        self.server = frame.header("server").map(str::to_owned);
        self.dialect = Some(Dialect::from_server(self.server.as_deref()));
        self.beats.agree(frame.header("heart-beat"));
        self.state = State::Connected;
        self.events.push_back(Event::Connected);
        for frame in std::mem::take(&mut self.held) {
            self.queue(frame);
        }
    }

    fn handle_receipt(&mut self, frame: &Frame) {
        // One that was not asked for says nothing: ActiveMQ answers a DISCONNECT twice.
        let Some(id) = frame.header("receipt-id").and_then(parse_receipt) else { return };
        if self.state == State::Disconnecting(id) {
            self.close(CloseReason::Disconnected);
        } else if self.outstanding.remove(&id) {
            self.events.push_back(Event::Receipt(id));
        }
    }

    fn handle_error(&mut self, frame: &Frame) {
        let error = read_error(frame, self.version.is_some());
        let receipt = match frame.header("receipt-id") {
            Some(id) => parse_receipt(id).filter(|id| self.outstanding.contains(id)),
            // RabbitMQ names none.
            None if self.outstanding.len() == 1 => self.outstanding.first().copied(),
            None => None,
        };
        self.events.push_back(Event::Refused { error: error.clone(), receipt });
        self.close(CloseReason::Refused(error));
    }

    fn read_message(&self, frame: Frame) -> Message {
        let registered = self.find_subscription(&frame);
        let ack_id = match self.version {
            Some(Version::V1_2) => frame.header("ack"),
            _ => frame.header("message-id"),
        };
        let ack = match (registered, ack_id) {
            (Some(registered), Some(id)) if registered.ack == AckMode::Individual => {
                Some(AckToken { subscription: registered.wire_id.clone(), id: id.to_owned() })
            }
            _ => None,
        };
        Message { subscription: registered.map(|s| s.id), ack, frame }
    }

    /// By its id; on 1.0, where it may have none, by its destination, which need not be the same text (wildcards): an
    /// only subscription gets whatever comes.
    fn find_subscription(&self, message: &Frame) -> Option<&Registered> {
        let by_id = message
            .header("subscription")
            .and_then(|id| self.subscriptions.iter().find(|registered| registered.wire_id.as_deref() == Some(id)));
        let mut nameless = self.subscriptions.iter().filter(|registered| registered.wire_id.is_none());
        let destination = message.header("destination");
        let by_destination = nameless.clone().find(|registered| Some(registered.destination.as_str()) == destination);
        by_id.or(by_destination).or_else(|| nameless.next().filter(|_| self.subscriptions.len() == 1))
    }

    fn next_receipt(&mut self) -> ReceiptId {
        self.last_receipt += 1;
        ReceiptId(self.last_receipt)
    }

    fn queue(&mut self, mut frame: Frame) {
        match (self.state, self.version) {
            (State::Disconnecting(_) | State::Closed, _) => {}
            (State::Connecting, _) | (_, None) => self.held.push(frame),
            (_, Some(version)) => {
                self.dialect.unwrap_or(Dialect::Other).complete_send(&mut frame);
                frame.encode(version, &mut self.out);
            }
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.out = Vec::new();
            self.sent = 0;
            self.held = Vec::new();
            self.events.push_back(Event::Closed(reason));
        }
    }
}

impl fmt::Debug for Session {
    /// Without the bytes that wait: a passcode may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("version", &self.version)
            .field("server", &self.server)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

fn parse_receipt(text: &str) -> Option<ReceiptId> {
    text.trim().parse().ok().map(ReceiptId)
}
