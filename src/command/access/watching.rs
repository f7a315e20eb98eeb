//! `access --watch` and `--drain`: take orders from the bus, and end logins by the clock.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::desk::{Desk, Pending, Told};
use super::report::Report;
use crate::bus::{Connection, Message};
use crate::command::FAILED;
use crate::config::Config;
use crate::message::access::Heard;
use crate::message::Envelope;
use crate::watch::{self, Ended, Pace, Schedule, Signals, Step, Teller, Watch};

/// What brokers know its connection and subscription by, and the topic.
const VERB: &str = "access";
/// From one round to the next: a burst of orders is one change of the file, and one reload.
const GAP: Duration = Duration::from_millis(200);
/// While somebody is let in, the clock is asked so often whether it was set: a look at two files.
const ASK_CLOCK: Duration = Duration::from_secs(15);

/// Watches until TERM or INT, or drains. `load` reads the configuration again, on HUP.
pub(super) fn run(
    config: Config,
    load: impl Fn() -> anyhow::Result<Config>,
    drain: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!drain)?;
    let desk = Arc::new(Desk::default());
    let mut config = Arc::new(config);
    loop {
        let mut next = None;
        let mut teller = Teller::new(&config, "events-access");
        let ended = watch(&config, &desk, &signals, &mut teller, drain, json, || {
            load().map(|loaded| next = Some(Arc::new(loaded)))
        })?;
        match next.filter(|_| ended == Ended::Reload) {
            Some(loaded) => config = loaded,
            None if drain && (teller.has_failures() || !desk.is_empty()) => return Ok(ExitCode::from(FAILED)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Watches with one configuration.
fn watch(
    config: &Arc<Config>,
    desk: &Arc<Desk>,
    signals: &Signals,
    teller: &mut Teller,
    drain: bool,
    json: bool,
    mut reload: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let durable = config.durable || drain;
    let Some(_turn) = watch::Turn::take(config, VERB, durable, drain, signals) else { return Ok(Ended::Stopped) };
    // One round at a time, now and after each connect: what is over must not wait.
    let pace = Pace { workers: 1, gap: GAP, reconcile: config.reconcile, splay: Duration::ZERO };
    let schedule = Schedule::new([()], pace, (), |(), ()| (), Box::new(watch::random), Instant::now());
    let subscription = watch::subscription(config, VERB, "access", durable);
    let connection = Connection::open(watch::target(config, VERB, durable), vec![subscription])?;
    let mut watch = Watch::new(connection, signals.clone(), schedule, drain)?;

    let ended = loop {
        match watch.step() {
            Err(error) => break Err(error),
            Ok(Step::Ended(ended)) => break Ok(ended),
            Ok(Step::Message(message)) => match hear(config, &message) {
                Ok(None) => watch.dismiss(message),
                Ok(Some(pending)) => {
                    if desk.put(pending) {
                        watch.want(&(), ());
                    } else {
                        teller.refused("an order: too many wait already", watch.connection());
                        watch.dismiss(message);
                    }
                }
                Err(Unheard::Clear(why)) => {
                    teller.refused(&format!("a message that is no order: {why}"), watch.connection());
                    watch.dismiss(message);
                }
                Err(Unheard::Malformed(why)) => {
                    teller.malformed(&message, &why, watch.connection());
                    watch.dismiss(message);
                }
            },
            Ok(Step::Begin((), ())) => {
                let (config, desk, stop) = (config.clone(), desk.clone(), signals.stop().clone());
                watch.work((), move |reporter| desk.round(&config, &stop, |told| reporter.tell(told)));
            }
            Ok(Step::Report((), Told::Done(token))) => watch.connection().ack(token),
            Ok(Step::Report((), Told::NextEnd(end))) => {
                let left = end.duration_since(Timestamp::now());
                let left = if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() };
                // The clock may be set meanwhile: it is asked anew before long.
                watch.look_by(&(), Instant::now() + left.min(ASK_CLOCK));
            }
            Ok(Step::Report((), Told::Report(report))) => tell(teller, &report, json, watch.connection()),
            Ok(Step::Connected(peer)) => teller.connected(&peer),
            Ok(Step::Lost { cause, retry_in }) => teller.lost(&cause, retry_in),
            Ok(Step::Reload) => {
                let loaded = reload();
                teller.reloaded(&loaded, watch.connection());
                watch.reload(loaded.is_ok());
            }
        }
    };
    watch.close();
    Ok(ended?)
}

/// Why a message asks for nothing.
enum Unheard {
    /// It may hold a password, so it is kept nowhere.
    Clear(String),
    /// It is to be kept for a person.
    Malformed(String),
}

/// What a message asks for; nothing for what is about other machines' sites.
fn hear(config: &Config, message: &Message) -> Result<Option<Pending>, Unheard> {
    let frame = &message.frame;
    let envelope = match Envelope::read(&frame.headers, &frame.body) {
        Ok(Some(envelope)) => envelope,
        Ok(None) => return Ok(None),
        Err(error) => return Err(Unheard::Malformed(error.to_string())),
    };
    let heard = Heard::parse(&envelope).map_err(|error| match envelope.json() {
        None => Unheard::Clear(error.to_string()),
        Some(_) => Unheard::Malformed(error.to_string()),
    })?;
    let is_ours = config.access.contains_key(heard.site());
    let id = envelope.event_id().unwrap_or_default();
    Ok(is_ours.then(|| Pending { heard, id, token: message.ack.clone() }))
}

fn tell(teller: &mut Teller, report: &Report, json: bool, connection: &Connection) {
    let Some(line) = report.line() else {
        if let Report::Fine { about } = report {
            teller.succeeded(about);
        }
        return;
    };
    match report {
        Report::Refused { what, why } => {
            report.print(json, false);
            teller.refused(&format!("{what}: {why}"), connection);
        }
        Report::Problem { about, why } => {
            // The same problem is told once an hour, whatever else happens.
            if teller.failed(about, why) {
                report.print(json, false);
                teller.problem(&line, connection);
            }
        }
        _ => {
            report.print(json, true);
            teller.event(&line, connection);
        }
    }
}
