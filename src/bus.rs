//! Real connections to a broker: name look-up, TCP, TLS, failover. Threads, sockets and clocks are here.
//!
//! | room | what it does |
//! |---|---|
//! | `look_up` | host names to addresses, in threads that may be left behind |
//! | `tls` | whom to trust, and what went wrong in words |
//! | `link` | one socket, its TLS and its STOMP session |
//! | `race` | all hosts, staggered; the first that logs in wins |
//! | [`Publisher`] | send until the receipt: the caller's thread, no other |
//! | [`Connection`] | the owner's side of a lasting connection |
//! | `pump` | its one thread: poll(2) over the socket and two eventfds |
//! | `backoff` | how long until the next try |
//!
//! One pump thread, not a reader and a pump: with poll(2) the thread that waits for bytes also waits for the owner's
//! orders and for the next heart-beat, so nothing is shared but the inbox, no byte changes threads twice, and an idle
//! connection wakes for its heart-beats only.

mod backoff;
mod connection;
mod link;
mod look_up;
mod publisher;
mod pump;
mod race;
mod tls;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::config;
use crate::stomp::url::{BrokerUrl, Host};
use crate::stomp::{self, Dialect, Frame, Login, ServerError, SubscriptionId, Version};

pub use connection::Connection;
pub use publisher::Publisher;

/// Whom to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// Hosts and reconnect options.
    pub url: BrokerUrl,
    /// Trust.
    pub tls: config::Tls,
    /// For hosts whose URL has no passcode.
    pub passcode: Option<config::Secret>,
    /// For hosts whose URL has no vhost.
    pub vhost: String,
    /// Heart-beat to ask for.
    pub heart_beat: Duration,
    /// For durable subscriptions.
    pub client_id: Option<String>,
}

impl From<&config::Bus> for Target {
    fn from(bus: &config::Bus) -> Target {
        Target {
            url: bus.broker.clone(),
            tls: bus.tls.clone(),
            passcode: bus.passcode.clone(),
            vhost: bus.vhost.clone(),
            heart_beat: bus.heart_beat,
            client_id: None,
        }
    }
}

impl Target {
    fn login(&self, host: &Host) -> Login {
        let passcode = host.passcode.clone().or_else(|| self.passcode.as_ref().map(|secret| secret.0.clone()));
        Login {
            login: host.login.clone(),
            passcode,
            vhost: host.vhost.clone().unwrap_or_else(|| self.vhost.clone()),
            client_id: self.client_id.clone(),
            heart_beat: self.heart_beat,
        }
    }
}

/// Why nothing could be sent. Every text names the `host:port` it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No host could be used: one line per host with its cause.
    #[error("{0}")]
    Unreachable(String),
    /// The login was refused by a host, and no other could be used.
    #[error("the broker refused the login (check login, passcode and vhost): {0}")]
    Login(ServerError),
    /// This message was refused by ERROR; others may pass.
    #[error("the broker refused the message: {0}")]
    Refused(ServerError),
    /// The connection was lost before the receipt.
    #[error("{0}")]
    Lost(String),
    /// The time is up: one line per host with what it was that did not come.
    #[error("{0}")]
    TimedOut(String),
}

/// What a connected broker said of itself.
#[derive(Debug, Clone)]
pub struct Peer {
    /// `host:port` that answered, as the URL has it.
    pub address: String,
    /// Agreed version.
    pub version: Version,
    /// Its habits.
    pub dialect: Dialect,
    /// Its `server` header.
    pub server: Option<String>,
}

/// What it takes to acknowledge one message. Good for the one connection that the message came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckToken {
    /// Which of a [`Connection`]'s successive connections.
    connection: u64,
    token: stomp::AckToken,
}

/// A message that came for a subscription.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which of the subscriptions given to [`Connection::open`] it came for, by the numbers that every connection
    /// gives them anew in the same order; `None` when the broker named none that is known.
    pub subscription: Option<SubscriptionId>,
    /// For [`Connection::ack`]; `None` where the broker acknowledged it already.
    pub ack: Option<AckToken>,
    /// The MESSAGE frame.
    pub frame: Frame,
}

/// What a [`Connection`] tells its owner.
#[derive(Debug)]
pub enum Incoming {
    /// Connected and every subscription confirmed: look at the state of things now, events may have been missed.
    /// Messages of the subscriptions that were confirmed first may have come before it.
    Connected(Peer),
    /// A message.
    Message(Message),
    /// The connection is gone, or a try to make it failed; the next try comes after `retry_in`.
    Lost {
        /// For people.
        cause: String,
        /// The broker answered to what was sent, or to a subscription, with ERROR.
        is_refusal: bool,
        /// How long until the next try.
        retry_in: Duration,
    },
    /// The tries that the URL allows are used up; nothing comes after this.
    GaveUp {
        /// For people.
        cause: String,
    },
}

/// The broker's words with the name of the broker before them: with several hosts it matters who said it.
fn named(address: &str, error: ServerError) -> ServerError {
    ServerError { text: format!("{address}: {}", error.text), kind: error.kind }
}
