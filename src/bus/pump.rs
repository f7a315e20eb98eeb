//! The one thread of a lasting connection: it owns the socket, beats, delivers, and comes back after a loss.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use uuid::Uuid;

use super::backoff::Backoff;
use super::connection::{Order, Shared};
use super::link::{Link, is_ready, wait};
use super::race::{self, Pace};
use super::{AckToken, Incoming, Message, Target};
use crate::stomp::{self, Event, ReceiptId, Subscription};

/// For one address to connect and log in, and then for the receipts of the subscriptions, unless the URL says it.
const LIMIT: Duration = Duration::from_secs(10);
/// A watcher is in no hurry: a broker that was just started, with a fleet at its door, may be slow, and a second login
/// of each of them at its twin would not help.
const STAGGER: Duration = Duration::from_secs(2);
/// For DISCONNECT and its receipt.
const FAREWELL: Duration = Duration::from_secs(1);
/// Unsent octets over which the owner's orders stay with the owner, who is told when they are too many.
const BACKLOG: usize = 1024 * 1024;

pub(super) struct Pump {
    target: Target,
    subscriptions: Vec<Subscription>,
    shared: Arc<Shared>,
    backoff: Backoff,
    /// Counts the connections: the acks of one are not valid on another.
    connection: u64,
    buffer: Vec<u8>,
}

/// How a connection ended.
enum End {
    Stopped,
    Lost(String),
    /// By an ERROR of the broker.
    Refused(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Lost(error.to_string())
    }
}

impl Pump {
    pub(super) fn new(target: Target, subscriptions: Vec<Subscription>, shared: Arc<Shared>) -> Pump {
        let backoff = Backoff::new(target.url.reconnect.clone());
        Pump { target, subscriptions, shared, backoff, connection: 0, buffer: vec![0; 64 * 1024] }
    }

    pub(super) fn run(mut self) {
        let each = self.limit();
        loop {
            let pace = Pace { stagger: STAGGER.min(each), each, deadline: None };
            let (cause, is_refusal) = match race::log_in(&self.target, pace, Some(self.shared.stop.as_fd())) {
                Ok(None) => return,
                Ok(Some(link)) => match self.serve(link) {
                    End::Stopped => return,
                    End::Lost(cause) => (cause, false),
                    End::Refused(cause) => (cause, true),
                },
                Err(error) => (error.to_string().replace('\n', "; "), false),
            };
            let dice = Uuid::new_v4().as_u64_pair().0 as f64 / u64::MAX as f64;
            let Some(retry_in) = self.backoff.next(dice) else {
                return self.shared.tell(Incoming::GaveUp { cause });
            };
            self.shared.tell(Incoming::Lost { cause, is_refusal, retry_in });
            if self.rest(Instant::now() + retry_in) {
                return;
            }
        }
    }

    fn limit(&self) -> Duration {
        self.target.url.reconnect.timeout.unwrap_or(LIMIT)
    }

    /// Waits for the next try; true when the owner closed.
    fn rest(&self, until: Instant) -> bool {
        loop {
            let mut fds = [PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN)];
            // Where even poll fails there is nothing left to wait with.
            if wait(&mut fds, Some(until)).is_err() || is_ready(&fds[0]) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    fn serve(&mut self, link: Link) -> End {
        self.connection += 1;
        self.shared.set_live(Some(self.connection));
        let mut served = Served::new(link, self.limit());
        for subscription in &self.subscriptions {
            let (_, receipt) = served.link.session.subscribe(subscription);
            served.unconfirmed.insert(receipt, subscription.destination.clone());
        }
        let end = loop {
            if let Err(end) = self.turn(&mut served) {
                break end;
            }
        };
        self.shared.set_live(None);
        if let Some(since) = served.confirmed {
            self.backoff.ended(since.elapsed());
        }
        match end {
            End::Lost(cause) => End::Lost(format!("{}: {cause}", served.link.address)),
            End::Refused(cause) => End::Refused(format!("{}: {cause}", served.link.address)),
            End::Stopped => End::Stopped,
        }
    }

    /// One round: deliver what came, take orders, write, wait, read, and look at the clock last, so that nobody is
    /// called silent whose bytes lay unread while this machine slept.
    fn turn(&mut self, served: &mut Served) -> Result<(), End> {
        let reading = self.deliver(served)?;
        let link = &mut served.link;
        if link.session.poll_transmit().len() < BACKLOG {
            let orders = self.shared.lock().take_orders();
            place(link, orders);
        }
        link.flush(Instant::now()).map_err(End::Lost)?;

        let mut until = link.session.poll_timeout();
        if let (None, true) = (served.confirmed, reading) {
            until = Some(until.map_or(served.confirm_by, |until| until.min(served.confirm_by)));
        }
        let mut fds = [
            PollFd::new(link.as_fd(), link.interest(reading)),
            PollFd::new(self.shared.pump.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN),
        ];
        wait(&mut fds, until)?;
        let [socket, orders, stop] = [is_ready(&fds[0]), is_ready(&fds[1]), is_ready(&fds[2])];
        // poll reports these even when nobody asked, so to go on waiting for room would be a busy loop.
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let gone = fds[0].revents().is_some_and(|flags| flags.intersects(gone));

        if stop {
            self.leave(link);
            return Err(End::Stopped);
        }
        if orders {
            let _ = self.shared.pump.read();
        }
        if socket && reading {
            link.fill(&mut self.buffer, Instant::now()).map_err(End::Lost)?;
        } else if gone {
            return Err(End::Lost("closed the connection while messages waited for this program".to_owned()));
        }

        let now = Instant::now();
        if link.session.poll_timeout().is_some_and(|due| now >= due) {
            if !reading && link.has_unread() {
                // The silence is ours: what the broker said waits in the socket.
                link.session.handle_input_waits(now);
            }
            link.session.handle_timeout(now);
        }
        if served.confirmed.is_none() && reading && now >= served.confirm_by {
            let missing: Vec<&str> = served.unconfirmed.values().map(String::as_str).collect();
            return Err(End::Lost(format!("does not confirm the subscription to {}", missing.join(", "))));
        }
        Ok(())
    }

    /// Moves events to the owner while there is room; false when there is none, and so nothing is to be read.
    fn deliver(&self, served: &mut Served) -> Result<bool, End> {
        let mut inbox = self.shared.lock();
        let was_empty = inbox.is_empty();
        let result = loop {
            if served.confirmed.is_none() && served.unconfirmed.is_empty() {
                served.confirmed = Some(Instant::now());
                inbox.push_state(Incoming::Connected(served.link.peer()));
            }
            if !inbox.has_room() {
                break Ok(false);
            }
            match served.link.session.poll_event() {
                None => break Ok(true),
                Some(Event::Connected) => {}
                Some(Event::Receipt(receipt)) => {
                    served.unconfirmed.remove(&receipt);
                }
                Some(Event::Message(stomp::Message { subscription, ack, frame })) => {
                    let ack = ack.map(|token| AckToken { connection: self.connection, token });
                    inbox.push(Message { subscription, ack, frame });
                }
                Some(Event::Refused { error, receipt }) => {
                    let destination = receipt.and_then(|receipt| served.unconfirmed.get(&receipt));
                    break Err(End::Refused(match destination {
                        Some(destination) => format!("refused the subscription to {destination}: {}", error.text),
                        None => format!("ended the connection: {}", error.text),
                    }));
                }
                Some(Event::Closed(reason)) => break Err(End::Lost(reason.to_string())),
            }
        };
        let wake = was_empty && !inbox.is_empty();
        drop(inbox);
        if wake {
            self.shared.wake_owner();
        }
        result
    }

    /// DISCONNECT behind the last orders; what still comes from the broker is not wanted any more.
    fn leave(&mut self, link: &mut Link) {
        place(link, self.shared.lock().take_orders());
        link.session.disconnect();
        let until = Instant::now() + FAREWELL;
        loop {
            let now = Instant::now();
            if now >= until || link.flush(now).is_err() {
                return;
            }
            let mut fds = [PollFd::new(link.as_fd(), link.interest(true))];
            if wait(&mut fds, Some(until)).is_err() || link.fill(&mut self.buffer, Instant::now()).is_err() {
                return;
            }
            while let Some(event) = link.session.poll_event() {
                if let Event::Closed(_) = event {
                    return link.finish();
                }
            }
        }
    }
}

fn place(link: &mut Link, orders: Vec<Order>) {
    for order in orders {
        match order {
            Order::Ack(token) => link.session.ack(&token),
            Order::Send(frame) => {
                link.session.send(frame, false);
            }
        }
    }
}

/// A link and how far its subscriptions are.
struct Served {
    link: Link,
    unconfirmed: HashMap<ReceiptId, String>,
    confirm_by: Instant,
    confirmed: Option<Instant>,
}

impl Served {
    fn new(link: Link, limit: Duration) -> Served {
        Served { link, unconfirmed: HashMap::new(), confirm_by: Instant::now() + limit, confirmed: None }
    }
}
