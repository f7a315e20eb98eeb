//! `jenkins-trigger --watch` and `--drain`: start builds when the bus tells of a push.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::following::{Until, follow};
use super::order::{Change, Order, Wish, of_change, of_revision};
use super::report::{Report, Teller};
use super::sending::{Refusals, pass};
use super::store::Store;
use super::Setup;
use crate::bus::{AckToken, Connection, Message};
use crate::command::FAILED;
use crate::config::{Config, Jenkins, Source};
use crate::message::push::Push;
use crate::message::revision::Revision;
use crate::message::{Envelope, EventType};
use crate::stomp::Subscription;
use crate::watch::{self, Ended, Pace, Schedule, Signals, Step, Turn, Watch};

/// What brokers know its connection and subscription by.
const VERB: &str = "jenkins-trigger";
/// Durable events that the broker may send ahead; so many wait at most for a disk that takes nothing.
const PREFETCH: u32 = 100;
/// Events that wait for the disk; where the broker does not keep them, more than these are lost, and told.
const UNKEPT: usize = 1000;
/// From one pass over what is kept to the next.
const GAP: Duration = Duration::from_millis(200);

/// What there is to do: one piece of work of each kind at a time, so one POST at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Send,
    Follow,
}

/// Events that wait for the disk, each with what it asks for.
type Unkept = VecDeque<(Option<AckToken>, Vec<Order>)>;

/// What a piece of work tells.
enum Told {
    Report(Box<Report>),
    /// The pass over what is kept left something, or nothing.
    Left(bool),
}

type Loop = Watch<Work, (), Told>;

/// Watches until TERM or INT, or drains.
pub(super) fn run(setup: Setup, source: &Source, config: Config, drain: bool, json: bool) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!drain)?;
    let follow = setup.follow;
    let (mut setup, mut config) = (Arc::new(setup), config);
    let mut unkept = Unkept::new();
    loop {
        let mut next = None;
        let mut reload = || {
            let config = source.load()?;
            next = Some((Arc::new(Setup::new(&config, follow)?), config));
            Ok(())
        };
        let (ended, failed) = watch(&setup, &config, &signals, &mut unkept, drain, json, &mut reload)?;
        match next.filter(|_| ended == Ended::Reload) {
            Some(loaded) => (setup, config) = loaded,
            None if drain && failed => return Ok(ExitCode::from(FAILED)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Watches with one configuration. Says why it ended, and whether something is left to do.
fn watch(
    setup: &Arc<Setup>,
    config: &Config,
    signals: &Signals,
    unkept: &mut Unkept,
    drain: bool,
    json: bool,
    reload: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Ended, bool)> {
    let store = Store::open(&config.bus.spool)?;
    let durable = config.durable || drain;
    let Some(_turn) = Turn::take(config, VERB, durable, drain, signals) else { return Ok((Ended::Stopped, false)) };
    let subscription = Subscription {
        prefetch: durable.then_some(PREFETCH),
        ..watch::subscription(config, VERB, "commits", durable)
    };
    let pace = Pace { workers: 2, gap: GAP, reconcile: config.reconcile, splay: Duration::ZERO };
    let keys = [Some(Work::Send), setup.follow.then_some(Work::Follow)];
    let schedule = Schedule::new(keys.into_iter().flatten(), pace, (), |(), ()| (), Box::new(watch::random), Instant::now());
    let connection = Connection::open(watch::target(config, VERB, durable), vec![subscription])?;
    let mut watch: Loop = Watch::new(connection, signals.clone(), schedule, drain)?;
    let mut shared = watch::Teller::new(config, "events-jenkins");
    let mut teller = Teller::new(config, json);
    let refusals = Arc::new(Mutex::new(Refusals::default()));
    // A reload does not wait for a build's end, nor for all that is kept to be sent: the next loop goes on with both.
    let halt = signals.stop().narrower()?;
    let mut left = false;

    let result = loop {
        match watch.step() {
            Err(error) => break Err(error),
            Ok(Step::Ended(ended)) => break Ok(ended),
            Ok(Step::Message(message)) => {
                match wish(&message, &setup.jenkins) {
                    Ok(Wish::Orders(orders)) => {
                        unkept.push_back((message.ack, orders));
                        // While Jenkins is away only the clock asks it, however many pushes come.
                        if keep(&store, unkept, &mut watch, &mut teller) && !left {
                            watch.want(&Work::Send, ());
                        }
                        continue;
                    }
                    Ok(Wish::Nothing) => {}
                    Ok(Wish::Skipped(why)) => teller.tell(&Report::Skipped(why), Some(watch.connection())),
                    Err(why) => shared.malformed(&message, &why.to_string(), watch.connection()),
                }
                watch.dismiss(message);
            }
            Ok(Step::Begin(Work::Send, ())) => {
                // What the disk did not take may fit now.
                keep(&store, unkept, &mut watch, &mut teller);
                let (setup, place, halt) = (setup.clone(), config.bus.spool.clone(), halt.clone());
                let (refusals, blocked) = (refusals.clone(), !unkept.is_empty());
                watch.work(Work::Send, move |reporter| {
                    let tell = |report| reporter.tell(Told::Report(Box::new(report)));
                    let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
                    let sent = Store::open(&place)
                        .and_then(|store| Ok(pass(&setup, &store, &mut refusals, &halt, drain, tell)?));
                    let left = sent.unwrap_or_else(|error| {
                        tell(Report::Problem { key: "spool".to_owned(), text: error.to_string() });
                        true
                    });
                    reporter.tell(Told::Left(left));
                    // A failure is tried again by the clock, later and later; a drain has no later.
                    !(left || blocked) || drain
                });
            }
            Ok(Step::Begin(Work::Follow, ())) => {
                let (setup, bus, halt) = (setup.clone(), config.bus.clone(), halt.clone());
                let until = if drain { Until::LookedAt } else { Until::Ended };
                watch.work(Work::Follow, move |reporter| {
                    let tell = |report| reporter.tell(Told::Report(Box::new(report)));
                    let followed = Store::open(&bus.spool)
                        .and_then(|store| Ok(follow(&setup, &bus, &store, &halt, until, tell)?));
                    if let Err(error) = &followed {
                        tell(Report::Problem { key: "follow".to_owned(), text: error.to_string() });
                    }
                    followed.is_ok()
                });
            }
            Ok(Step::Report(_, Told::Report(report))) => {
                teller.tell(&report, Some(watch.connection()));
                if matches!(*report, Report::Started { item: Some(_), .. }) && setup.follow {
                    watch.want(&Work::Follow, ());
                }
            }
            Ok(Step::Report(_, Told::Left(more))) => left = more,
            Ok(Step::Connected(peer)) => shared.connected(&peer),
            Ok(Step::Lost { cause, retry_in }) => {
                forget_durable(unkept);
                shared.lost(&cause, retry_in);
            }
            Ok(Step::Reload) => {
                let loaded = reload();
                shared.reloaded(&loaded, watch.connection());
                if loaded.is_ok() {
                    halt.set();
                }
                watch.reload(loaded.is_ok());
            }
        }
    };
    watch.close();
    forget_durable(unkept);
    Ok((result?, teller.failed || left || !unkept.is_empty()))
}

/// The broker sends again what it wants to see acknowledged.
fn forget_durable(unkept: &mut Unkept) {
    unkept.retain(|(token, _)| token.is_none());
}

/// Keeps what waits for the disk, and acknowledges what is kept. Says whether something new is kept.
fn keep(
    store: &Store,
    unkept: &mut Unkept,
    watch: &mut Loop,
    teller: &mut Teller,
) -> bool {
    let mut any = false;
    while let Some((_, orders)) = unkept.front() {
        for order in orders {
            match store.keep(order) {
                Ok(new) => any |= new,
                Err(error) => {
                    let text = format!("a build can't be kept and waits in memory: {error}");
                    teller.tell(&Report::Problem { key: "keep".to_owned(), text }, Some(watch.connection()));
                    if unkept.len() > UNKEPT
                        && let Some((_, orders)) = unkept.pop_front()
                    {
                        let about = orders.first().map(Order::about).unwrap_or_default();
                        let text = format!("no build of {about}: the disk takes nothing, and memory holds no more");
                        teller.tell(&Report::Problem { key: "lost".to_owned(), text }, Some(watch.connection()));
                    }
                    // The pass tries again by the clock.
                    return true;
                }
            }
        }
        if let Some((Some(token), _)) = unkept.pop_front() {
            watch.connection().ack(token);
        }
    }
    any
}

/// What a message asks for.
fn wish(message: &Message, jenkins: &Jenkins) -> Result<Wish, crate::message::Error> {
    let frame = &message.frame;
    let Some(envelope) = Envelope::read(&frame.headers, &frame.body)? else { return Ok(Wish::Nothing) };
    let event = watch::name_of(frame);
    let is_revision = match frame.header("event-type") {
        Some(kind) => kind == EventType::Revision.as_str(),
        // The older hook of Subversion says no type.
        None => envelope.field("revname").is_some(),
    };
    if is_revision {
        return Ok(of_revision(&Revision::parse(&envelope)?, event, jenkins));
    }
    let change = Change::of_push(Push::parse(&envelope)?, event);
    Ok(change.map_or(Wish::Nothing, |change| of_change(&change, jenkins)))
}
