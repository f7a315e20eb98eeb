//! The loop that every reacting verb shares: listen, merge, work, report, acknowledge.
//!
//! [`Watch`] is driven like a machine: [`Watch::step`] says what happened, and the verb decides. It sorts a message
//! with [`Watch::wanted`] or [`Watch::dismiss`], runs a piece of work with [`Watch::work`], and tells what came of it.
//! Messages are acknowledged after the work that they asked for. Work runs in threads of its own; heart-beats go on in
//! the connection's. While nothing is due, nothing wakes up.

mod schedule;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::bus::{AckToken, Connection, Incoming, Message, Peer};
use crate::process::Stop;

pub use schedule::{Pace, Schedule};

/// So many messages are taken before work, reports and the wish to stop get their turn.
const IN_A_ROW: u32 = 256;
/// A broker has sent all that waited when it has been silent for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How long work may take to end after the wish to stop: git gets half of it from TERM to KILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long a drain waits for a broker that can't be reached.
const DRAIN_CONNECT: Duration = Duration::from_secs(30);

/// Why the loop ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tries that the broker's URL allows are used up.
    #[error("{0}")]
    GaveUp(String),
    /// A drain has not reached the broker.
    #[error("no broker was reached in time, nothing was drained: {0}")]
    NotDrained(String),
    /// Out of descriptors or memory.
    #[error("can't watch: {0}")]
    System(#[from] std::io::Error),
}

/// What happened.
#[derive(Debug)]
pub enum Step<K, W, R> {
    /// A message came: give it to [`Watch::wanted`] or [`Watch::dismiss`].
    Message(Message),
    /// This work is due: give it to [`Watch::work`].
    Begin(K, W),
    /// A piece of work has something to tell.
    Report(K, R),
    /// The broker is there; looks are scheduled.
    Connected(Peer),
    /// The broker is gone, or was not reached.
    Lost {
        /// For people.
        cause: String,
        /// How long until the next try.
        retry_in: Duration,
    },
}

/// The loop. `K` names a piece of work, `W` says what is wanted of it, `R` is what it has to tell.
pub struct Watch<K, W, R> {
    connection: Connection,
    stop: Stop,
    schedule: Schedule<K, W, AckToken>,
    told: mpsc::Receiver<Told<K, R>>,
    teller: mpsc::Sender<Told<K, R>>,
    /// Readable when `told` has something.
    wake: Arc<EventFd>,
    in_a_row: u32,
    stopping: Option<Instant>,
    drain: Option<Drain>,
}

struct Drain {
    connected: bool,
    cause: String,
    /// The last thing that came, or the beginning.
    last: Instant,
}

enum Told<K, R> {
    Report(K, R),
    End(K, bool),
}

/// By which a piece of work tells.
pub struct Reporter<K, R> {
    key: Option<K>,
    succeeded: bool,
    teller: mpsc::Sender<Told<K, R>>,
    wake: Arc<EventFd>,
}

impl<K: Clone, R> Reporter<K, R> {
    /// Tells; the loop gets it as [`Step::Report`].
    pub fn tell(&self, report: R) {
        if let Some(key) = self.key.clone() {
            self.send(Told::Report(key, report));
        }
    }
}

impl<K, R> Reporter<K, R> {
    fn send(&self, told: Told<K, R>) {
        // Neither fails while the loop is there; after it nobody listens.
        let _ = self.teller.send(told);
        let _ = self.wake.write(1);
    }
}

impl<K, R> Drop for Reporter<K, R> {
    /// However the work ends, its key becomes free.
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.send(Told::End(key, self.succeeded));
        }
    }
}

impl<K, W, R> Watch<K, W, R>
where
    K: Ord + Clone + Send + 'static,
    W: Clone,
    R: Send + 'static,
{
    /// `drain`: end when the broker has sent all that waited and the work is done.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new(
        connection: Connection,
        stop: Stop,
        schedule: Schedule<K, W, AckToken>,
        drain: bool,
    ) -> Result<Watch<K, W, R>, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(std::io::Error::from)?);
        let (teller, told) = mpsc::channel();
        let begin = Drain { connected: false, cause: "it did not answer".to_owned(), last: Instant::now() };
        let drain = drain.then_some(begin);
        Ok(Watch { connection, stop, schedule, told, teller, wake, in_a_row: 0, stopping: None, drain })
    }

    /// What happened next; `None` after the wish to stop, when the work in hand has ended or the grace is over, and
    /// when all is drained.
    ///
    /// # Errors
    /// [`Error::GaveUp`], [`Error::NotDrained`], [`Error::System`].
    pub fn step(&mut self) -> Result<Option<Step<K, W, R>>, Error> {
        loop {
            if self.stopping.is_none() && self.in_a_row < IN_A_ROW {
                self.in_a_row += 1;
                if let Some(incoming) = self.connection.receive(Some(Duration::ZERO)) {
                    return self.came(incoming).map(Some);
                }
            }
            let drained_inbox = self.in_a_row < IN_A_ROW;
            self.in_a_row = 0;
            let now = Instant::now();
            match self.told.try_recv() {
                Ok(Told::Report(key, report)) => return Ok(Some(Step::Report(key, report))),
                Ok(Told::End(key, succeeded)) => {
                    for token in self.schedule.end(&key, succeeded, now) {
                        self.connection.ack(token);
                    }
                    continue;
                }
                Err(_) => {}
            }
            if self.stopping.is_none() && self.stop.is_set() {
                self.stopping = Some(now + GRACE);
            }
            let wakes = match self.stopping {
                Some(until) if !self.schedule.is_working() || now >= until => return Ok(None),
                Some(until) => Some(until),
                None => {
                    if let Some((key, what)) = self.schedule.begin(now) {
                        return Ok(Some(Step::Begin(key, what)));
                    }
                    let drained = self.drained(now)?;
                    if drained == Some(now) {
                        return Ok(None);
                    }
                    self.schedule.wakes().into_iter().chain(drained).min()
                }
            };
            if drained_inbox {
                self.sleep(wakes)?;
            }
        }
    }

    /// The message asks for work on `key`. It is acknowledged after the work; at once when there is no such key.
    pub fn wanted(&mut self, message: Message, key: &K, what: W) {
        if let Some(token) = self.schedule.want(key, what, message.ack) {
            self.connection.ack(token);
        }
    }

    /// The message asks for nothing here.
    pub fn dismiss(&mut self, message: Message) {
        if let Some(token) = message.ack {
            self.connection.ack(token);
        }
    }

    /// Runs a piece of work in a thread; it says whether it succeeded. One that failed is tried again later.
    pub fn work(&mut self, key: K, work: impl FnOnce(&Reporter<K, R>) -> bool + Send + 'static) {
        let (teller, wake) = (self.teller.clone(), self.wake.clone());
        let reporter = Reporter { key: Some(key), succeeded: false, teller, wake };
        // When no thread can be had the closure is dropped, the reporter with it: that is a failure like others.
        let _ = std::thread::Builder::new().name("work".to_owned()).spawn(move || {
            let mut reporter = reporter;
            reporter.succeeded = work(&reporter);
        });
    }

    /// The connection, to report over.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says goodbye to the broker.
    pub fn close(self) {
        self.connection.close();
    }

    fn came(&mut self, incoming: Incoming) -> Result<Step<K, W, R>, Error> {
        if let Some(drain) = &mut self.drain {
            drain.last = Instant::now();
        }
        match incoming {
            Incoming::Message(message) => Ok(Step::Message(message)),
            Incoming::Connected(peer) => {
                self.schedule.look_at_all(Instant::now());
                if let Some(drain) = &mut self.drain {
                    drain.connected = true;
                }
                Ok(Step::Connected(peer))
            }
            Incoming::Lost { cause, retry_in } => {
                self.schedule.forget_tokens();
                if let Some(drain) = &mut self.drain {
                    drain.cause.clone_from(&cause);
                }
                Ok(Step::Lost { cause, retry_in })
            }
            Incoming::GaveUp { cause } => Err(Error::GaveUp(cause)),
        }
    }

    /// When a drain is to be looked at again: `now` when it is complete. `None` without one, or while work runs.
    fn drained(&self, now: Instant) -> Result<Option<Instant>, Error> {
        let Some(drain) = &self.drain else { return Ok(None) };
        if !drain.connected {
            let until = drain.last + DRAIN_CONNECT;
            return if now < until { Ok(Some(until)) } else { Err(Error::NotDrained(drain.cause.clone())) };
        }
        let until = drain.last + QUIET;
        if now < until {
            return Ok(Some(until));
        }
        Ok(self.schedule.is_idle(now).then_some(now))
    }

    fn sleep(&self, until: Option<Instant>) -> Result<(), Error> {
        let time = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            // Rounded up: a timer that is not quite due must not make a busy loop.
            Some(time) => PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        };
        let mut fds = [
            PollFd::new(self.connection.wake_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        // While stopping only the work counts.
        let from = usize::from(self.stopping.is_some());
        let to = fds.len() - from;
        match poll(&mut fds[from..to], time) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        // Nothing to reset (EAGAIN) is fine.
        let _ = self.wake.read();
        Ok(())
    }
}
