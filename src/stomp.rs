//! The STOMP client as a pure state machine: bytes and the time go in, bytes and events come out.
//!
//! It owns no socket and reads no clock, so every rule of it (login, receipts, heart-beats, errors, each broker's
//! habits) is tested at any speed. [`crate::bus`] drives it with real sockets.

pub mod dialect;
pub mod frame;
mod session;
#[cfg(test)]
mod tests;
pub mod url;

use std::fmt;
use std::time::Duration;

pub use dialect::Dialect;
pub use frame::{Frame, Limits, Version};
pub use session::Session;

/// What the client says in its CONNECT frame. No control characters: whoever reads it from outside refuses them, and
/// here they become spaces.
#[derive(Clone)]
pub struct Login {
    /// `login` header; left out when `None`.
    pub login: Option<String>,
    /// `passcode` header; left out when `None`.
    pub passcode: Option<String>,
    /// `host` header: RabbitMQ's vhost, ignored by the others.
    pub vhost: String,
    /// `client-id` header, for durable subscriptions on ActiveMQ and Artemis.
    pub client_id: Option<String>,
    /// Heart-beat asked for in both directions, rounded up to whole seconds; zero asks for none.
    pub heart_beat: Duration,
}

impl fmt::Debug for Login {
    /// Without the passcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("login", &self.login)
            .field("passcode", &self.passcode.as_ref().map(|_| "…"))
            .field("vhost", &self.vhost)
            .field("client_id", &self.client_id)
            .field("heart_beat", &self.heart_beat)
            .finish()
    }
}

/// Who acknowledges a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckMode {
    /// The broker, when it has sent it.
    Auto,
    /// The client, one message at a time (`client-individual`; on 1.0 `client`).
    Individual,
}

/// What to listen to. The dialect of the broker decides which headers say it.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Destination as the configuration has it.
    pub destination: String,
    /// `Some(name)`: the broker keeps messages under this name while nobody is connected.
    pub durable: Option<String>,
    /// Who acknowledges.
    pub ack: AckMode,
    /// Messages that the broker may send ahead of the acks; `None` leaves the broker's default.
    pub prefetch: Option<u32>,
}

/// Names a subscription on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u32);

/// Names a receipt that was asked for on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptId(pub u64);

/// What it takes to acknowledge one message, on the connection it came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckToken {
    subscription: Option<String>,
    id: String,
}

/// A message that came for a subscription.
#[derive(Debug, Clone)]
pub struct Message {
    /// Which subscription it came for; `None` when the broker named none that is known.
    pub subscription: Option<SubscriptionId>,
    /// For [`Session::ack`]; `None` where the broker acknowledged it already.
    pub ack: Option<AckToken>,
    /// The MESSAGE frame.
    pub frame: Frame,
}

/// An ERROR frame, told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ServerError {
    /// The broker's `message` header and, where it says more, the first line of the body: one line for people, at
    /// most 602 characters, none of them a control character.
    pub text: String,
    /// What kind of refusal it is, as far as the dialects tell.
    pub kind: ErrorKind,
}

/// What an ERROR is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The login was refused: another try with the same words is refused too.
    Login,
    /// This user may not do that on this destination.
    Permission,
    /// A durable subscription of this name is in use by another live connection.
    InUse,
    /// Anything else.
    Other,
}

/// What the machine has to tell.
#[derive(Debug, Clone)]
pub enum Event {
    /// The login was accepted.
    Connected,
    /// The broker has processed the frame (and all before it) that this receipt was asked for.
    Receipt(ReceiptId),
    /// A message came.
    Message(Message),
    /// The broker said ERROR. `receipt` names the frame that it refuses, where that is known: by `receipt-id`, or
    /// because only one receipt was outstanding. The connection is over after it.
    Refused {
        /// What the broker said.
        error: ServerError,
        /// The frame that it refuses.
        receipt: Option<ReceiptId>,
    },
    /// The connection is over, and why. Nothing comes after it.
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// We said DISCONNECT and the broker agreed.
    #[error("disconnected")]
    Disconnected,
    /// The broker closed the stream.
    #[error("the broker closed the connection")]
    EndOfStream,
    /// The broker closed the stream in the middle of a frame.
    #[error("the broker closed the connection in the middle of a frame")]
    MidFrame,
    /// Neither a frame nor a heart-beat came in time.
    #[error("the broker was silent for {0:?}")]
    Silent(Duration),
    /// The bytes are no STOMP.
    #[error(transparent)]
    Protocol(#[from] frame::FrameError),
    /// A frame that has no place here, such as a MESSAGE before CONNECTED.
    #[error("the broker sent {0}, which has no place here")]
    Unexpected(String),
    /// The broker said ERROR (told by [`Event::Refused`] before).
    #[error("the broker refused: {0}")]
    Refused(ServerError),
}
