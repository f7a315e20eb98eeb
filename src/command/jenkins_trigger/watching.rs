//! `jenkins-trigger --watch` and `--drain`: start builds when the bus tells of a push.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::following::{Until, follow};
use super::order::{Change, Order, Wish, of_change, of_revision};
use super::report::{Report, Teller};
use super::sending::{Refusals, pass};
use super::store::Store;
use super::Setup;
use crate::bus::{AckToken, Connection, Message};
use crate::command::{FAILED, complain};
use crate::config::{Config, Jenkins, Source};
use crate::message::push::Push;
use crate::message::revision::Revision;
use crate::message::{Envelope, EventType};
use crate::stomp::Subscription;
use crate::watch::{self, Pace, Schedule, Signals, Step, Watch};

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

/// What a piece of work tells.
enum Told {
    Report(Box<Report>),
    /// The pass over what is kept left something, or nothing.
    Left(bool),
}

type Loop = Watch<Work, (), Told>;

/// Watches until TERM or INT, or drains.
pub(super) fn run(setup: Setup, source: &Source, config: &Config, drain: bool, json: bool) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!drain)?;
    let stop = signals.stop().clone();
    let setup = Arc::new(RwLock::new(Arc::new(setup)));
    let store = Store::open(&config.bus.spool)?;
    let durable = config.durable || drain;
    let subscription = Subscription {
        prefetch: durable.then_some(PREFETCH),
        ..watch::subscription(config, VERB, "commits", durable)
    };
    let pace = Pace { workers: 2, gap: GAP, reconcile: config.reconcile, splay: Duration::ZERO };
    let keys = [Some(Work::Send), current(&setup).follow.then_some(Work::Follow)];
    let schedule = Schedule::new(keys.into_iter().flatten(), pace, (), |(), ()| (), Box::new(watch::random), Instant::now());
    let connection = Connection::open(watch::target(config, VERB, durable), vec![subscription])?;
    let mut watch: Loop = Watch::new(connection, signals.clone(), schedule, drain)?;
    let mut shared = watch::Teller::new(config, "events-jenkins");
    let mut teller = Teller::new(config, json);
    let refusals = Arc::new(Mutex::new(Refusals::default()));
    let mut unkept: VecDeque<(Option<AckToken>, Vec<Order>)> = VecDeque::new();
    let mut left = false;

    let result = loop {
        match watch.step() {
            Err(error) => break Err(error),
            Ok(Step::Ended(_)) => break Ok(()),
            Ok(Step::Message(message)) => {
                match wish(&message, &current(&setup).jenkins) {
                    Ok(Wish::Orders(orders)) => {
                        unkept.push_back((message.ack, orders));
                        // While Jenkins is away only the clock asks it, however many pushes come.
                        if keep(&store, &mut unkept, &mut watch, &mut teller) && !left {
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
                keep(&store, &mut unkept, &mut watch, &mut teller);
                let (setup, place, stop) = (current(&setup), config.bus.spool.clone(), stop.clone());
                let (refusals, blocked) = (refusals.clone(), !unkept.is_empty());
                watch.work(Work::Send, move |reporter| {
                    let tell = |report| reporter.tell(Told::Report(Box::new(report)));
                    let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
                    let sent = Store::open(&place)
                        .and_then(|store| Ok(pass(&setup, &store, &mut refusals, &stop, drain, tell)?));
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
                let (setup, bus, stop) = (setup.clone(), config.bus.clone(), stop.clone());
                let until = if drain { Until::LookedAt } else { Until::Ended };
                watch.work(Work::Follow, move |reporter| {
                    let tell = |report| reporter.tell(Told::Report(Box::new(report)));
                    let followed = Store::open(&bus.spool)
                        .and_then(|store| Ok(follow(&setup, &bus, &store, &stop, until, tell)?));
                    if let Err(error) = &followed {
                        tell(Report::Problem { key: "follow".to_owned(), text: error.to_string() });
                    }
                    followed.is_ok()
                });
            }
            Ok(Step::Report(_, Told::Report(report))) => {
                teller.tell(&report, Some(watch.connection()));
                if matches!(*report, Report::Started { item: Some(_), .. }) && current(&setup).follow {
                    watch.want(&Work::Follow, ());
                }
            }
            Ok(Step::Report(_, Told::Left(more))) => left = more,
            Ok(Step::Connected(peer)) => shared.connected(&peer),
            Ok(Step::Lost { cause, retry_in }) => {
                // The broker sends again what it wants to see acknowledged.
                unkept.retain(|(token, _)| token.is_none());
                shared.lost(&cause, retry_in);
            }
            Ok(Step::Reload) => {
                let follow = current(&setup).follow;
                match source.load().and_then(|config| Setup::new(&config, follow)) {
                    Ok(new) => {
                        *setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                        complain("the configuration of jenkins was read again");
                    }
                    Err(error) => complain(&format!("the old configuration counts on: {error}")),
                }
                // The next pass takes what is there; the connection stays.
                watch.reload(false);
            }
        }
    };
    watch.close();
    result?;
    let failed = drain && (teller.failed || left || !unkept.is_empty());
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn current(setup: &RwLock<Arc<Setup>>) -> Arc<Setup> {
    setup.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps what waits for the disk, and acknowledges what is kept. Says whether something new is kept.
fn keep(
    store: &Store,
    unkept: &mut VecDeque<(Option<AckToken>, Vec<Order>)>,
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
