//! The loop: the machine decides, this signs and sends, listens, and keeps what was heard.

mod hearing;
mod parting;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Error;
use super::interrupt::Interrupts;
use super::presence::{Clock, Moment, Presence};
use super::said::wire;
use super::store::{Kept, Note, stopped};
use super::view::{Details, View, names};
use crate::bus::{Connection, Incoming, Target};
use crate::config::Config;
use crate::hear::Ear;
use crate::message::Event;
use crate::message::deploy::{Answer, Document as _, Order, Outcome, Request, Signed, Step, fingerprint};
use crate::name::NodeName;
use crate::rollout::{self, Rollout};
use crate::stomp::{AckMode, Frame, Subscription};

/// How long the broker may take to be there before anything was said.
const CONNECT: Duration = Duration::from_secs(10);
/// An order is good for so long: it is sent again for as long as it is meant.
const ORDER: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Nodes come back to a broker that was away after as long again, at most.
const COME_BACK: Duration = Duration::from_secs(30);
/// A broker that ends the connection so often in a row, for what is sent, will go on with that.
const REFUSALS_MAX: u32 = 3;
/// How often they are asked again meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Opens the connection; it comes up while other things are looked at.
pub(super) fn connect(config: &Config) -> io::Result<Connection> {
    let replies = Subscription {
        destination: config.bus.topics.get("deploy-replies"),
        durable: None,
        ack: AckMode::Auto,
        prefetch: None,
    };
    Connection::open(Target::from(&config.bus), vec![replies])
}

/// Waits until replies would be heard: only then the first order may leave.
pub(super) fn wait_for_broker(connection: &Connection, interrupts: &mut Interrupts) -> Result<(), Error> {
    let until = Instant::now() + CONNECT;
    let mut cause = "it did not answer in time".to_owned();
    loop {
        match connection.receive(Some(Duration::ZERO)) {
            Some(Incoming::Connected(_)) => return Ok(()),
            Some(Incoming::Message(_)) => continue,
            Some(Incoming::Lost { cause: lost, .. }) => cause = lost,
            Some(Incoming::GaveUp { cause }) => return Err(Error::NoBroker(cause)),
            None => {}
        }
        if interrupts.count() > 0 {
            return Err(Error::Interrupted);
        }
        if Instant::now() >= until {
            return Err(Error::NoBroker(cause));
        }
        wait(connection, interrupts, Some(until))?;
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// Every host did it.
    Success,
    /// Some did not, or it was left in the middle.
    Failure,
}

/// The broker is back (or this process is), and nodes are still on their way to it: silence means nothing yet, so time goes
/// on standing still in the machine.
#[derive(Debug, Clone, Copy)]
struct Grace {
    until: Instant,
    /// When all that is open is asked again.
    next: Instant,
}

impl Grace {
    fn after(away: Duration, now: Instant) -> Grace {
        Grace { until: now + away.min(COME_BACK) + ASK_AGAIN, next: now + ASK_AGAIN }
    }
}

/// One rollout.
pub(super) struct Conductor<'a> {
    config: &'a Config,
    connection: Connection,
    ear: Ear,
    kept: Kept,
    rollout: Rollout,
    view: View,
    interrupts: &'a mut Interrupts,
    details: Details,
    /// The connection is up.
    live: bool,
    /// What was noted of each host last, so that nothing is noted twice.
    noted: BTreeMap<NodeName, (Option<Step>, Answer)>,
    /// To be noted.
    notes: Vec<Note>,
    /// The fingerprints of what was sent, for refusals to name.
    sent: BTreeSet<String>,
    /// The disk took no notes, and that was told.
    mute: bool,
    /// So often in a row the broker has ended the connection with ERROR, and no host was heard between.
    refusals: u32,
    /// In whose names rubbish came; each is told once.
    doubted: BTreeSet<Option<NodeName>>,
    /// Whose clock was told to be another.
    apart: BTreeSet<NodeName>,
    clock: Clock,
    /// Since when the broker is gone, and why, as it was told.
    lost: Option<(Instant, String)>,
    grace: Option<Grace>,
    presence: Presence,
    /// They know that it is over.
    parted: BTreeSet<NodeName>,
    bake: Option<Instant>,
    stopped: bool,
    /// Another process ended it: the machine begins nothing here, and what it thinks is not shown.
    is_past: bool,
}

impl<'a> Conductor<'a> {
    pub fn new(
        config: &'a Config,
        connection: Connection,
        kept: Kept,
        policy: rollout::Policy,
        view: View,
        interrupts: &'a mut Interrupts,
    ) -> Result<Conductor<'a>, Error> {
        let presence = Presence::new(&policy, Moment::now());
        let rollout = Rollout::new(kept.plan.hosts.clone(), policy, Instant::now())?;
        Ok(Conductor {
            config,
            connection,
            ear: Ear::new(config)?,
            kept,
            rollout,
            view,
            interrupts,
            details: Details::new(),
            live: true,
            noted: BTreeMap::new(),
            notes: Vec::new(),
            sent: BTreeSet::new(),
            mute: false,
            refusals: 0,
            doubted: BTreeSet::new(),
            apart: BTreeSet::new(),
            clock: Clock::new(jiff::Timestamp::now(), Moment::now()),
            lost: None,
            grace: None,
            presence,
            parted: BTreeSet::new(),
            bake: None,
            stopped: false,
            is_past: false,
        })
    }

    /// Goes through with it. `before` is what another process noted of it.
    pub fn run(mut self, before: &[Note]) -> Result<Finish, Error> {
        let plan = self.kept.plan.clone();
        self.view.begin(&plan);
        self.announce(&format!("{} begins {} of {} on {}", plan.who, plan.action, plan.site, names(&plan.hosts)));
        if let Some((why, rolls_back)) = stopped(before) {
            self.view.note("it was being stopped, and that is gone on with; to deploy it after all, make a new plan");
            self.rollout.was_stopping(why.to_owned(), rolls_back);
        }
        self.speak();
        // A host that failed is not asked whether it still has: it may not even be there any more.
        for note in before {
            if let Note::Heard(report) = note
                && matches!(
                    report.answer,
                    Answer::Failed { .. } | Answer::Refused { .. } | Answer::RollbackFailed { .. }
                )
            {
                self.take(report.clone());
            }
        }
        loop {
            self.be_patient();
            self.speak();
            if self.grace.is_some() {
                self.rollout.disconnected(Instant::now());
            }
            if self.rollout.is_over() {
                return self.finish();
            }
            if self.is_interrupted() {
                return Ok(self.leave("left: what hosts have begun they end by themselves"));
            }
            if let Some((_, cause)) = self.lost.as_ref().filter(|_| self.refusals >= REFUSALS_MAX) {
                let topic = self.config.bus.topics.get("deploy-requests");
                let why = format!(
                    "left: the broker ends the connection each time: {cause}; may this login write to {topic}?"
                );
                return Ok(self.leave(&why));
            }
            let picture = self.view.draw(&self.rollout, &self.details, self.bake);
            let again = self.grace.map(|grace| grace.next);
            let alone = self.left_alone_at();
            let until = picture.into_iter().chain(self.rollout.poll_timeout()).chain(again).chain(alone).min();
            self.wait(until)?;
            let heard = Instant::now();
            if let Err(cause) = self.listen() {
                return Ok(self.leave(&format!("no broker any more: {cause}")));
            }
            // Stopped while it listened, it has heard nobody since either.
            self.look_whether_it_was_away(Some(heard), heard);
            let now = Instant::now();
            if self.rollout.poll_timeout().is_some_and(|due| due <= now) {
                self.rollout.handle_timeout(now);
            }
        }
    }

    /// Sends what is to be sent, shows what happened, and notes it: in this order, since no host waits for our disk, and
    /// what the journal lacks the nodes tell again.
    fn speak(&mut self) {
        while self.live
            && let Some(order) = self.rollout.poll_order()
        {
            let over = self.rollout.verdict().map(|verdict| self.for_hosts(&verdict.outcome));
            self.send(order, over);
        }
        self.show();
        self.write_notes();
    }

    fn show(&mut self) {
        if self.is_past {
            return;
        }
        while let Some(event) = self.rollout.poll_event() {
            match &event {
                rollout::Event::Stopping { why, rolls_back } => {
                    self.notes.push(Note::Stopped { why: why.clone(), rolls_back: *rolls_back });
                }
                // Told once: it comes again with each moment that time stood still.
                rollout::Event::Bake { until } if self.bake.replace(*until).is_some() => continue,
                rollout::Event::Batch { .. } => self.bake = None,
                _ => {}
            }
            self.view.event(&event);
        }
    }

    fn write_notes(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        if let Err(error) = self.kept.note(&self.notes)
            && !std::mem::replace(&mut self.mute, true)
        {
            self.view.note(&format!("{error}; it goes on, and `rollout resume` would ask the nodes"));
        }
        self.notes.clear();
    }

    fn send(&mut self, order: rollout::Order, outcome: Option<Outcome>) {
        let plan = &self.kept.plan;
        let now = self.time();
        let about = format!("{} {}: {}: {}", order.step, plan.site, plan.action, names(&order.hosts));
        let order = Order {
            plan: plan.id,
            step: wire(order.step),
            hosts: order.hosts,
            canary: order.canary,
            outcome,
            issued: now,
            not_after: now + ORDER,
        };
        let document = order.to_text();
        let signature = self.kept.key.sign(document.as_bytes());
        let plan = (order.step == Step::Prepare).then(|| self.kept.signed.clone());
        let request = Request::Order { plan, order: Signed { document, signature } };
        let event = request.event(now, &order.plan.to_string(), &about);
        let requests = self.config.bus.topics.get("deploy-requests");
        let body = event.body.into_bytes();
        self.sent.insert(fingerprint(&body));
        self.connection.send(Frame::send(&requests, event.headers, body));
    }

    /// A line for whoever listens to the events topic.
    fn announce(&self, line: &str) {
        let event = Event::human(self.time(), &format!("{line} (plan {})", self.kept.plan.id));
        let events = self.config.bus.topics.get("events-deploys");
        self.connection.send(Frame::send(&events, event.headers, event.body.into_bytes()));
    }

    fn is_connected(&mut self, address: &str) {
        let now = Instant::now();
        // That it was lost may not have been told: then what was sent last is asked for again all the same.
        self.rollout.disconnected(now);
        self.rollout.connected(now);
        self.live = true;
        let mut away = Duration::ZERO;
        if let Some((since, _)) = self.lost.take() {
            away = now.saturating_duration_since(since);
            self.view.note(&format!("connected to {address} again"));
        }
        self.grace = Some(Grace::after(away, now));
    }

    fn is_lost(&mut self, cause: String) {
        let now = Instant::now();
        self.live = false;
        self.grace = None;
        self.rollout.disconnected(now);
        let since = self.lost.as_ref().map_or(now, |(since, _)| *since);
        if self.lost.as_ref().is_none_or(|(_, told)| *told != cause) {
            self.view.note(&format!("no broker: {cause}; hosts go on with what they began, this waits"));
        }
        self.lost = Some((since, cause));
    }

    /// Until something comes, a signal does, or it is time. Says for how long this process was away, if it was.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<Duration> {
        let since = Instant::now();
        let at_once = self.ear.is_behind().then_some(since);
        wait(&self.connection, self.interrupts, at_once.or(until))?;
        Ok(self.look_whether_it_was_away(until, since))
    }

    /// Time passed, no more than to `until` on purpose; `since`: from when on nobody was heard, if this process was away.
    fn look_whether_it_was_away(&mut self, until: Option<Instant>, since: Instant) -> Duration {
        let Some(away) = self.presence.look(until, Moment::now()) else { return Duration::ZERO };
        // Without a broker time stands still already.
        if self.live {
            let now = Instant::now();
            let seconds = away.as_secs_f64();
            self.view.note(&format!(
                "this process stood still for {seconds:.1} s; nobody is silent for that, hosts are asked again"
            ));
            self.rollout.disconnected(since);
            self.rollout.connected(now);
            self.grace = Some(Grace::after(away, now));
        }
        away
    }

    /// Asks again those that may just have come back to the broker, and ends the grace.
    fn be_patient(&mut self) {
        let now = Instant::now();
        let Some(grace) = self.grace.as_mut().filter(|grace| now >= grace.next) else { return };
        grace.next = now + ASK_AGAIN;
        if now >= grace.until {
            self.grace = None;
        }
        self.rollout.connected(now);
    }

    /// The machine's time, whatever became of its clock since the beginning.
    fn time(&self) -> jiff::Timestamp {
        self.clock.read(Moment::now())
    }

    /// It is to stop, and has had no broker to say so to: nobody waits for that for ever.
    fn left_alone_at(&self) -> Option<Instant> {
        let (since, _) = self.lost.as_ref().filter(|_| self.stopped)?;
        Some(*since + CONNECT)
    }

    /// For the nodes: whoever is live although the others were told to go back is to do so.
    fn for_hosts(&self, how: &rollout::Outcome) -> Outcome {
        if self.rollout.rolls_back() { Outcome::RolledBack } else { outcome(how) }
    }

    /// Ctrl-C: once stops it, twice says `true`.
    fn is_interrupted(&mut self) -> bool {
        let count = self.interrupts.count();
        if count == 1 && !self.stopped {
            self.stopped = true;
            self.view.note("stopping: no further host begins, those in their turn are waited for; Ctrl-C again leaves");
            self.rollout.stop("the operator stopped it", Instant::now());
            self.speak();
        }
        let is_alone = self.left_alone_at().is_some_and(|at| at <= Instant::now());
        (count > 1 || is_alone) && !self.rollout.is_over()
    }
}

/// For the nodes: that some hosts never did it is a stop as well.
fn outcome(outcome: &rollout::Outcome) -> Outcome {
    match outcome {
        rollout::Outcome::Success => Outcome::Success,
        rollout::Outcome::Incomplete { .. } | rollout::Outcome::Stopped { .. } => Outcome::Stopped,
        rollout::Outcome::RolledBack { .. } => Outcome::RolledBack,
    }
}

/// Until something comes, a signal does, or it is time.
fn wait(connection: &Connection, interrupts: &Interrupts, until: Option<Instant>) -> io::Result<()> {
    let time = until.map_or(PollTimeout::NONE, |until| {
        // Rounded up: a timer that is not quite due must not make a busy loop.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let poll_for = |fd| PollFd::new(fd, PollFlags::POLLIN);
    match poll(&mut [poll_for(connection.wake_fd()), poll_for(interrupts.as_fd())], time) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
