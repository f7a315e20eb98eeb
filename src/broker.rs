//! The embedded broker: STOMP 1.0, 1.1 and 1.2 for one machine (the demo, tests, a small office). In memory only.
//!
//! [`Hub`] is the broker as a pure machine: octets and the time in, octets out. [`Server`] is its edge: one thread,
//! one epoll, the sockets and the clock.
//!
//! | what | how it is here |
//! |---|---|
//! | destinations | `/topic/X` to every subscriber; `/queue/X` to one, round robin, kept until somebody comes. Anything else is refused. Names are literal: no percent-decoding, wildcards refused |
//! | durable | on topics, in ActiveMQ's, Artemis' and RabbitMQ's words; it outlives a disconnect, not the broker. One reader at a time |
//! | UNSUBSCRIBE | leaves a durable subscription in place; with its durable words repeated it deletes it (as all three do) |
//! | ack | `auto` (written towards the socket is done), `client` (cumulative), `client-individual`; what a consumer leaves unacknowledged comes again, `redelivered:true` |
//! | NACK | as RabbitMQ: back to the head of its queue, for whose turn it is; with `requeue:false` it is dropped |
//! | ack id | one per delivery; `message-id` is the same word in every version. A redelivery has a new one |
//! | transactions | SEND, ACK, NACK; all or nothing at COMMIT |
//! | refused, never ignored | selectors, browsing, no-local, exclusive and retroactive consumers, wildcards |
//! | content-length | on MESSAGE if the SEND had it, or if the body holds a NUL |
//! | a queue or durable subscription that is full | the SEND gets ERROR and the sender keeps the event |
//! | a topic subscriber that is too slow | gets ERROR and is disconnected: it knows that it missed something and looks at the truth when it is back; the sender is not held up |
//! | CONNECT | its backslashes may be doubled (which ActiveMQ and RabbitMQ need) or not (the specification) |

mod hub;
mod login;
mod message;
mod output;
mod peer;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod wish;

use std::time::Duration;

pub use hub::{Hub, Status};
pub use login::Users;
pub use server::{BindError, Running, Server};

use crate::stomp::frame;

/// Names one connection, for as long as the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Who may come in, and how much they may use.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who may log in; none: everybody.
    pub users: Users,
    /// The limits.
    pub limits: Limits,
}

/// How much the outside may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Octets of everything that is kept for others: messages, subscriptions, frames that are half here.
    pub memory: usize,
    /// Octets that wait for one subscription or queue.
    pub backlog: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Open transactions of one connection.
    pub transactions: usize,
    /// From the connection to the login.
    pub login: Duration,
    /// One frame.
    pub frame: frame::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            memory: 256 * 1024 * 1024,
            backlog: 64 * 1024 * 1024,
            subscriptions: 1000,
            transactions: 100,
            login: Duration::from_secs(10),
            // Fewer headers than any client takes: a message is delivered with a few more than it came with.
            frame: frame::Limits { headers: 200, ..frame::Limits::default() },
        }
    }
}

/// Why a frame is refused: becomes an ERROR, after which the connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// The ERROR's `message` header.
    message: String,
    /// Its body: what exactly, and what to do.
    detail: String,
}

impl Refusal {
    fn new(message: &str, detail: impl Into<String>) -> Refusal {
        Refusal { message: message.to_owned(), detail: detail.into() }
    }
}
