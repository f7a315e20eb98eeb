//! The owner's side of a lasting connection, and the inbox between the owner and the pump.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::link::wait;
use super::pump::Pump;
use super::{AckToken, Incoming, Message, Target};
use crate::stomp::{self, Frame, Subscription};

/// Messages that wait for the owner; over it (or over [`OCTETS`]) the pump reads no more, and TCP tells the broker.
const MESSAGES: usize = 1024;
/// Octets of messages that wait for the owner.
const OCTETS: usize = 8 * 1024 * 1024;
/// Octets of the owner's frames that wait for the pump; what comes after them is dropped.
const ORDER_OCTETS: usize = 8 * 1024 * 1024;

/// A lasting connection: a pump thread owns the socket and beats, whatever the owner does; it reconnects by itself.
///
/// Each round of tries goes through all hosts of the URL, in its order. Dropping it closes it.
pub struct Connection {
    shared: Arc<Shared>,
    pump: Option<JoinHandle<()>>,
}

impl Connection {
    /// Starts the pump. Returns at once; [`Incoming::Connected`] tells when it is there.
    ///
    /// # Errors
    /// When the thread or its wake-up descriptor can't be made.
    pub fn open(target: Target, subscriptions: Vec<Subscription>) -> io::Result<Connection> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            owner: EventFd::from_value_and_flags(0, flags)?,
            pump: EventFd::from_value_and_flags(0, flags)?,
            stop: EventFd::from_value_and_flags(0, flags)?,
        });
        let pump = Pump::new(target, subscriptions, shared.clone());
        let pump = thread::Builder::new().name("bus".to_owned()).spawn(move || pump.run())?;
        Ok(Connection { shared, pump: Some(pump) })
    }

    /// The next thing that happened; `None` when `timeout` is over first (`None` waits for ever) or when nothing
    /// comes any more because [`Incoming::GaveUp`] was told.
    ///
    /// Of news about the connection that no message stands between, an owner that comes late finds the last only.
    pub fn receive(&self, timeout: Option<Duration>) -> Option<Incoming> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut inbox = self.shared.lock();
            if let Some(item) = inbox.pop() {
                if inbox.full && inbox.items.len() <= MESSAGES / 2 && inbox.octets <= OCTETS / 2 {
                    inbox.full = false;
                    self.shared.wake_pump();
                }
                return Some(item);
            }
            let _ = self.shared.owner.read();
            if inbox.over {
                return None;
            }
            drop(inbox);
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            // An error here can only be want of memory for poll: the next round tries again.
            let _ = wait(&mut [PollFd::new(self.wake_fd(), PollFlags::POLLIN)], until);
        }
    }

    /// Readable (for poll) while [`receive`](Self::receive) has something; reset by receiving until `None`.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.shared.owner.as_fd()
    }

    /// Acknowledges a message. One that came over an earlier connection is left: the broker sends it again, and
    /// would end this connection over an ACK that it does not know.
    pub fn ack(&self, token: AckToken) {
        let mut inbox = self.shared.lock();
        if inbox.live == Some(token.connection) {
            self.shared.order(&mut inbox, Order::Ack(token.token), 0);
        }
    }

    /// Sends without a receipt; dropped when there is no connection (an event of ours that must not be lost goes
    /// through the outbox), or when 8 MiB of earlier frames still wait for the broker to take them.
    pub fn send(&self, frame: Frame) {
        let mut inbox = self.shared.lock();
        let octets = size(&frame);
        if inbox.live.is_none() {
            return;
        }
        if inbox.order_octets + octets > ORDER_OCTETS && inbox.order_octets > 0 {
            log::warn!("a frame for the broker was dropped: it does not take the ones before");
            return;
        }
        self.shared.order(&mut inbox, Order::Send(frame), octets);
    }

    /// Stops: DISCONNECT, at most a second, then closed. Acks that were given before it are sent.
    pub fn close(self) {}
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.shared.stop.write(1);
        if let Some(pump) = self.pump.take() {
            // A pump that panicked has told so on stderr already.
            let _ = pump.join();
        }
    }
}

/// What the owner wants of the pump.
pub(super) enum Order {
    Ack(stomp::AckToken),
    Send(Frame),
}

/// What owner and pump share.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    /// Readable while the inbox holds something.
    owner: EventFd,
    /// Readable when orders wait, or when there is room again.
    pub(super) pump: EventFd,
    /// Readable for ever once the owner closes.
    pub(super) stop: EventFd,
}

#[derive(Default)]
pub(super) struct Inbox {
    items: VecDeque<Incoming>,
    octets: usize,
    /// The pump found no room and does not read.
    full: bool,
    over: bool,
    /// The connection whose acks and frames are taken.
    pub(super) live: Option<u64>,
    orders: Vec<Order>,
    order_octets: usize,
}

impl Shared {
    /// Nothing that holds the lock can panic half-way, so a poisoned inbox is sound.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake_owner(&self) {
        let _ = self.owner.write(1);
    }

    fn wake_pump(&self) {
        let _ = self.pump.write(1);
    }

    /// Wakes the pump for the first order only: it takes all of them together, and writes them in one piece.
    fn order(&self, inbox: &mut Inbox, order: Order, octets: usize) {
        inbox.orders.push(order);
        inbox.order_octets += octets;
        if inbox.orders.len() == 1 {
            self.wake_pump();
        }
    }

    /// Tells the owner how the connection is.
    pub(super) fn tell(&self, item: Incoming) {
        let mut inbox = self.lock();
        inbox.over |= matches!(item, Incoming::GaveUp { .. });
        inbox.push_state(item);
        drop(inbox);
        self.wake_owner();
    }

    /// From here on acks and frames are for this connection, or for none.
    pub(super) fn set_live(&self, connection: Option<u64>) {
        let mut inbox = self.lock();
        inbox.live = connection;
        inbox.take_orders();
    }
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Is there room for a message? If not, the pump will be woken when there is.
    pub(super) fn has_room(&mut self) -> bool {
        self.full = self.items.len() >= MESSAGES || self.octets >= OCTETS;
        !self.full
    }

    pub(super) fn push(&mut self, message: Message) {
        self.octets += size(&message.frame);
        self.items.push_back(Incoming::Message(message));
    }

    /// State needs no room: of states that follow each other only the last is kept, so an owner that sleeps through
    /// a night of failing tries finds one line, not thousands.
    pub(super) fn push_state(&mut self, item: Incoming) {
        while self.items.back().is_some_and(|last| !matches!(last, Incoming::Message(_))) {
            self.items.pop_back();
        }
        self.items.push_back(item);
    }

    pub(super) fn take_orders(&mut self) -> Vec<Order> {
        self.order_octets = 0;
        std::mem::take(&mut self.orders)
    }

    fn pop(&mut self) -> Option<Incoming> {
        let item = self.items.pop_front()?;
        if let Incoming::Message(message) = &item {
            self.octets -= size(&message.frame);
        }
        Some(item)
    }
}

/// About what a frame takes in memory.
fn size(frame: &Frame) -> usize {
    let headers: usize = frame.headers.iter().map(|(name, value)| 64 + name.len() + value.len()).sum();
    frame.body.len() + headers
}
