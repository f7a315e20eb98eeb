//! The loop that every reacting verb shares: listen, merge, work, report, acknowledge.
//!
//! [`Watch`] is driven like a machine: [`Watch::step`] says what happened, and the verb decides. It sorts a message
//! with [`Watch::wanted`] or [`Watch::dismiss`], runs a piece of work with [`Watch::work`], and tells what came of it.
//! Messages are acknowledged after the work that they asked for. Work runs in threads of its own; heart-beats go on in
//! the connection's. While nothing is due, nothing wakes up.
//!
//! HUP is [`Step::Reload`]: the verb reads its configuration and says with [`Watch::reload`] whether it is good. If so,
//! the work in hand is finished, and the loop ends with [`Ended::Reload`] for the verb to start over.

mod recent;
mod schedule;
mod signals;
pub mod supervisor;
mod teller;
mod turn;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::bus::{AckToken, Connection, Incoming, Message, Peer, Target};
use crate::config::Config;
use crate::stomp::{AckMode, Subscription};
use supervisor::Watchdog;

pub use recent::{Recent, name_of};
pub use schedule::{Pace, Schedule};
pub use signals::Signals;
pub use teller::{Teller, say};
pub use turn::Turn;

/// So many messages are taken before work, reports and the wish to stop get their turn.
const IN_A_ROW: u32 = 256;
/// A broker has sent all that waited when it has been silent for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How long work may take to end after the wish to stop: git gets half of it from TERM to KILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long a drain waits for a broker that can't be reached.
const DRAIN_CONNECT: Duration = Duration::from_secs(30);
/// A storm of HUPs is one reload: so long after the first, all that came are taken together.
const SETTLE: Duration = Duration::from_millis(200);
/// Durable events that the broker may send ahead: a burst must be here whole to be merged into one piece of work.
const PREFETCH: u32 = 5000;

/// Whom `verb` (`fetch`, say) connects to, and as whom. Brokers allow one live connection with a client id, so each
/// verb on each node has its own.
pub fn target(config: &Config, verb: &str, durable: bool) -> Target {
    let mut target = Target::from(&config.bus);
    target.client_id = durable.then(|| format!("failcake-{}-{verb}", config.node));
    target
}

/// What `verb` subscribes to: the destination that is configured for `topic`, a key below `topics:`.
pub fn subscription(config: &Config, verb: &str, topic: &str, durable: bool) -> Subscription {
    subscription_to(config, verb, topic, &config.bus.topics.get(topic), durable)
}

/// As [`subscription`], to any destination; `label` tells it from the verb's others.
pub fn subscription_to(config: &Config, verb: &str, label: &str, destination: &str, durable: bool) -> Subscription {
    Subscription {
        destination: destination.to_owned(),
        durable: durable.then(|| format!("failcake-{}-{verb}-{label}", config.node)),
        // Without a durable subscription nothing that was not acknowledged comes again: acks would say nothing.
        ack: if durable { AckMode::Individual } else { AckMode::Auto },
        prefetch: durable.then_some(PREFETCH),
    }
}

/// One key is looked at within 2 s of a connect, many within up to 30 s; a drain ends soon, so it waits for none.
pub fn splay(keys: usize, drain: bool) -> Duration {
    let seconds = u64::try_from(keys).unwrap_or(u64::MAX).saturating_mul(2).min(30);
    if drain { Duration::ZERO } else { Duration::from_secs(seconds) }
}

/// From 0 to 1; good enough to spread load.
pub fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

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
    /// HUP: read the configuration again, and say with [`Watch::reload`] whether it is good.
    Reload,
    /// Nothing comes any more.
    Ended(Ended),
}

/// Why the loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was to stop; the work in hand has ended, or its grace is over.
    Stopped,
    /// All that waited is done.
    Drained,
    /// It is to start over with the new configuration; the work in hand is finished.
    Reload,
}

/// The loop. `K` names a piece of work, `W` says what is wanted of it, `R` is what it has to tell.
pub struct Watch<K, W, R> {
    connection: Connection,
    signals: Signals,
    schedule: Schedule<K, W, AckToken>,
    told: mpsc::Receiver<Told<K, R>>,
    teller: mpsc::Sender<Told<K, R>>,
    /// Readable when `told` has something.
    wake: Arc<EventFd>,
    in_a_row: u32,
    ending: Option<Ending>,
    /// A HUP came, and is taken then.
    hangup: Option<Instant>,
    drain: Option<Drain>,
    watchdog: Option<Watchdog>,
    ready: bool,
    /// Work that runs and that no schedule knows.
    errands: usize,
    grace: Duration,
}

/// No work begins any more.
#[derive(Debug, Clone, Copy)]
struct Ending {
    why: Ended,
    /// Work that takes longer is left; `None` waits for it, and for what events want.
    until: Option<Instant>,
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
    /// An errand has ended.
    Done,
}

/// By which a piece of work tells.
pub struct Reporter<K, R> {
    key: Option<K>,
    succeeded: bool,
    /// The schedule does not know of it.
    errand: bool,
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
            self.send(if self.errand { Told::Done } else { Told::End(key, self.succeeded) });
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
        signals: Signals,
        schedule: Schedule<K, W, AckToken>,
        drain: bool,
    ) -> Result<Watch<K, W, R>, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(std::io::Error::from)?);
        let (teller, told) = mpsc::channel();
        let now = Instant::now();
        let begin = Drain { connected: false, cause: "it did not answer".to_owned(), last: now };
        let drain = drain.then_some(begin);
        let watchdog = Watchdog::asked_for(now);
        let (ending, hangup) = (None, None);
        Ok(Watch {
            connection,
            signals,
            schedule,
            told,
            teller,
            wake,
            in_a_row: 0,
            ending,
            hangup,
            drain,
            watchdog,
            ready: false,
            errands: 0,
            grace: GRACE,
        })
    }

    /// For work that takes longer to end after the wish to stop than git does.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Watch { grace, ..self }
    }

    /// What happened next.
    ///
    /// # Errors
    /// [`Error::GaveUp`], [`Error::NotDrained`], [`Error::System`].
    pub fn step(&mut self) -> Result<Step<K, W, R>, Error> {
        loop {
            if let Some(step) = self.step_until(None)? {
                return Ok(step);
            }
        }
    }

    /// What happened next; `None` when nothing has by `alarm`, or when it is to stop and work is to be told so.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_until(&mut self, alarm: Option<Instant>) -> Result<Option<Step<K, W, R>>, Error> {
        // Not when the broker is there: without one it works by the clock.
        if !std::mem::replace(&mut self.ready, true) {
            supervisor::ready();
        }
        loop {
            if self.ending.is_none() && self.in_a_row < IN_A_ROW {
                self.in_a_row += 1;
                if let Some(incoming) = self.connection.receive(Some(Duration::ZERO)) {
                    return self.came(incoming).map(Some);
                }
            }
            let drained_inbox = self.in_a_row < IN_A_ROW;
            self.in_a_row = 0;
            let now = Instant::now();
            let beat = self.watchdog.as_mut().map(|watchdog| watchdog.beat(now));
            match self.told.try_recv() {
                Ok(Told::Report(key, report)) => return Ok(Some(Step::Report(key, report))),
                Ok(Told::Done) => {
                    self.errands -= 1;
                    continue;
                }
                Ok(Told::End(key, succeeded)) => {
                    for token in self.schedule.end(&key, succeeded, now) {
                        self.connection.ack(token);
                    }
                    continue;
                }
                Err(_) => {}
            }
            let was_stopping = self.is_stopping();
            if self.is_hung_up(now) {
                supervisor::reloading();
                return Ok(Some(Step::Reload));
            }
            if (self.is_stopping() && !was_stopping) || alarm.is_some_and(|alarm| now >= alarm) {
                return Ok(None);
            }
            let wakes = match self.ending {
                Some(ending) if self.has_ended(ending, now) => return Ok(Some(Step::Ended(ending.why))),
                Some(Ending { why: Ended::Stopped, until }) => until,
                _ => {
                    if let Some((key, what)) = self.schedule.begin(now) {
                        return Ok(Some(Step::Begin(key, what)));
                    }
                    let drained = self.drained(now)?;
                    if drained == Some(now) {
                        return Ok(Some(Step::Ended(Ended::Drained)));
                    }
                    self.schedule.wakes().into_iter().chain(drained).min()
                }
            };
            if drained_inbox {
                self.sleep(wakes.into_iter().chain(beat).chain(self.hangup).chain(alarm).min())?;
            }
        }
    }

    /// The answer to [`Step::Reload`]: is the new configuration good? A bad one changes nothing.
    pub fn reload(&mut self, is_good: bool) {
        if is_good && self.ending.is_none() {
            self.ending = Some(Ending { why: Ended::Reload, until: None });
            self.schedule.drop_looks(Instant::now());
        }
        // After a good one the next loop is ready when it runs.
        if !is_good {
            supervisor::ready();
        }
    }

    /// The message asks for work on `key`. It is acknowledged after the work; at once when there is no such key.
    pub fn wanted(&mut self, message: Message, key: &K, what: W) {
        if let Some(token) = self.schedule.want(key, what, message.ack) {
            self.connection.ack(token);
        }
    }

    /// Work on `key` is wanted, whatever the messages say.
    pub fn want(&mut self, key: &K, what: W) {
        self.schedule.want(key, what, None);
    }

    /// `key` is to be looked at by then, whatever the messages and the usual pace say.
    pub fn look_by(&mut self, key: &K, at: Instant) {
        self.schedule.look_by(key, at);
    }

    /// The message asks for nothing here.
    pub fn dismiss(&mut self, message: Message) {
        if let Some(token) = message.ack {
            self.connection.ack(token);
        }
    }

    /// Runs a piece of work in a thread; it says whether it succeeded. One that failed is tried again later.
    pub fn work(&mut self, key: K, work: impl FnOnce(&Reporter<K, R>) -> bool + Send + 'static) {
        let reporter = self.reporter(key, false);
        // When no thread can be had the closure is dropped, the reporter with it: that is a failure like others.
        let _ = std::thread::Builder::new().name("work".to_owned()).spawn(move || {
            let mut reporter = reporter;
            reporter.succeeded = work(&reporter);
        });
    }

    /// Runs a piece of work in a thread that the schedule does not know: at once, once, beside whatever runs. The loop
    /// waits for it when it ends.
    ///
    /// # Errors
    /// No thread can be had; nothing was begun.
    pub fn errand(&mut self, key: K, work: impl FnOnce(&Reporter<K, R>) + Send + 'static) -> std::io::Result<()> {
        let reporter = self.reporter(key, true);
        // Before it begins, since it may end at once; a thread that can't be had drops the reporter, which counts back.
        self.errands += 1;
        std::thread::Builder::new().name("errand".to_owned()).spawn(move || work(&reporter)).map(drop)
    }

    fn reporter(&self, key: K, errand: bool) -> Reporter<K, R> {
        let (teller, wake) = (self.teller.clone(), self.wake.clone());
        Reporter { key: Some(key), succeeded: false, errand, teller, wake }
    }

    /// The connection, to report over.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says goodbye to the broker.
    pub fn close(self) {
        self.connection.close();
    }

    /// Looks at the signals. Is there a HUP to take?
    fn is_hung_up(&mut self, now: Instant) -> bool {
        if self.ending.is_none_or(|ending| ending.why != Ended::Stopped) && self.signals.stop().is_set() {
            self.ending = Some(Ending { why: Ended::Stopped, until: Some(now + self.grace) });
            supervisor::stopping();
        }
        if self.is_stopping() {
            self.hangup = None;
            return false;
        }
        if self.signals.take_hangup() && self.hangup.is_none() {
            self.hangup = Some(now + SETTLE);
        }
        self.hangup.take_if(|at| now >= *at).is_some()
    }

    fn is_stopping(&self) -> bool {
        self.ending.is_some_and(|ending| ending.why == Ended::Stopped)
    }

    fn has_ended(&self, ending: Ending, now: Instant) -> bool {
        let waits = match ending.until {
            Some(until) => (self.schedule.is_working() || self.errands > 0) && now < until,
            None => self.schedule.has_work() || self.errands > 0,
        };
        // The HUP that came last counts: it is told of a configuration that the earlier ones may not have seen.
        !waits && self.hangup.is_none()
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
            Incoming::Lost { cause, retry_in, .. } => {
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
        let Some(drain) = self.drain.as_ref().filter(|_| self.ending.is_none()) else { return Ok(None) };
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
        let poll_for = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![poll_for(self.wake.as_fd())];
        fds.extend(self.signals.hangup_fd().map(poll_for));
        // Once it is set it stays readable; and while the loop ends only the work counts.
        fds.extend((!self.is_stopping()).then(|| poll_for(self.signals.stop().as_fd())));
        fds.extend(self.ending.is_none().then(|| poll_for(self.connection.wake_fd())));
        match poll(&mut fds, time) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        // Nothing to reset (EAGAIN) is fine.
        let _ = self.wake.read();
        Ok(())
    }
}
