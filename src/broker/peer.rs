//! What the broker knows of one connection, beside what waits to be written to it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Limits;
use super::message::{Charge, Memory, Message};
use super::store::{ConsumerId, Delivery, Verdict};
use crate::stomp::Version;
use crate::stomp::frame::Decoder;

/// From the last word to the end: time for the peer to read it. Closing at once could make the kernel throw the
/// ERROR away that says why (RFC 1122, 4.2.2.13: a close with unread input resets the connection).
const LINGER: Duration = Duration::from_secs(30);
/// The same for who never logged in: strangers do not keep a place for long.
const LINGER_STRANGER: Duration = Duration::from_secs(5);
/// A client is given up after twice its heart-beat and this.
const MARGIN: Duration = Duration::from_secs(1);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not logged in, and gone if it isn't by then.
    Greeting { until: Instant },
    /// Logged in.
    Open(Version),
    /// Nothing is read any more; what waits is written, and at that time it is over.
    Ending { until: Instant },
}

/// A step of a transaction, done at COMMIT.
#[derive(Debug)]
pub(super) enum Step {
    Send { message: Message, is_topic: bool },
    Settle { delivery: Delivery, verdict: Verdict, _charge: Charge },
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stage: Stage,
    pub(super) decoder: Decoder,
    /// What the decoder holds of a frame that is half here.
    pub(super) held: Charge,
    pub(super) client_id: Option<String>,
    /// By `id`; on 1.0, where there may be none, by destination.
    pub(super) subscriptions: HashMap<String, ConsumerId>,
    pub(super) transactions: HashMap<String, Vec<Step>>,
    pub(super) send_every: Option<Duration>,
    pub(super) expect_every: Option<Duration>,
    pub(super) last_sent: Instant,
    pub(super) last_received: Instant,
    /// It will send no more.
    pub(super) input_closed: bool,
    /// The earliest time that is set in the hub's alarms for it.
    pub(super) alarm: Option<Instant>,
}

/// What a connection is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    LoginTimeout,
    LingerOver,
    HeartBeat,
    /// The client was silent for so long.
    Silent(Duration),
}

impl Peer {
    pub(super) fn new(limits: &Limits, memory: &Memory, now: Instant) -> Peer {
        Peer {
            stage: Stage::Greeting { until: now + limits.login },
            decoder: Decoder::new(limits.frame),
            held: memory.charge(0),
            client_id: None,
            subscriptions: HashMap::new(),
            transactions: HashMap::new(),
            send_every: None,
            expect_every: None,
            last_sent: now,
            last_received: now,
            input_closed: false,
            alarm: None,
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Gives back what it holds and begins the end.
    pub(super) fn end(&mut self, limits: &Limits, now: Instant) {
        let linger = if let Stage::Greeting { .. } = self.stage { LINGER_STRANGER } else { LINGER };
        self.stage = Stage::Ending { until: now + linger };
        self.decoder = Decoder::new(limits.frame);
        self.held.resize(0);
        self.transactions.clear();
    }

    /// What comes next, and when.
    pub(super) fn next_due(&self) -> Option<(Instant, Due)> {
        match self.stage {
            Stage::Greeting { until } => Some((until, Due::LoginTimeout)),
            Stage::Ending { until } => Some((until, Due::LingerOver)),
            Stage::Open(_) => {
                // At half the agreed time: ActiveMQ's clients, for one, have no grace at all.
                let send = self.send_every.map(|every| (self.last_sent + every / 2, Due::HeartBeat));
                let silent = |every: Duration| 2 * every + MARGIN;
                let expect = self.expect_every.map(silent).map(|time| (self.last_received + time, Due::Silent(time)));
                send.into_iter().chain(expect).min_by_key(|(when, _)| *when)
            }
        }
    }
}
