//! `apt-update --watch` and `--drain`: update when the bus tells of a package, and by the clock all the same.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::renewal::{List, Renewal, Report};
use crate::bus::{Connection, Message};
use crate::command::FAILED;
use crate::config::Config;
use crate::message::package::Package;
use crate::message::{Envelope, Error};
use crate::watch::{
    Ended, Pace, Recent, Schedule, Signals, Step, Teller, Turn, Watch, random, splay, subscription, target,
};

/// Of one list: however many events come, the repository is asked once in this time.
const GAP: Duration = Duration::from_secs(2);
/// Lines of one update that go to the events topic.
const LINES: usize = 20;

/// What is wanted of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    /// What the bus told of.
    Answer,
    /// An update in any case.
    Look,
}

/// Watches until TERM or INT, or drains. `load` reads the configuration again, on HUP.
pub(super) fn run(
    mut config: Config,
    load: impl Fn() -> anyhow::Result<Config>,
    drain: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!drain)?;
    loop {
        let mut next = None;
        let mut teller = Teller::new(&config, "events-repository");
        let ended =
            watch(&config, &signals, &mut teller, drain, json, || load().map(|loaded| next = Some(loaded)))?;
        match next.filter(|_| ended == Ended::Reload) {
            Some(loaded) => config = loaded,
            None if drain && teller.has_failures() => return Ok(ExitCode::from(FAILED)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Watches with one configuration.
fn watch(
    config: &Config,
    signals: &Signals,
    teller: &mut Teller,
    drain: bool,
    json: bool,
    mut reload: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let renewal = Arc::new(Renewal::new(&config.packages, signals.stop().clone(), false));
    let durable = config.durable || drain;
    let Some(_turn) = Turn::take(config, "apt-update", durable, drain, signals) else { return Ok(Ended::Stopped) };
    let lists = renewal.lists();
    // apt has one lock for all lists.
    let pace = Pace { workers: 1, gap: GAP, reconcile: config.reconcile, splay: splay(lists.len(), drain) };
    let merge = |wanted: &mut Want, more: Want| *wanted = (*wanted).max(more);
    let schedule = Schedule::new(lists, pace, Want::Look, merge, Box::new(random), Instant::now());
    let subscription = subscription(config, "apt-update", "packages", durable);
    let connection = Connection::open(target(config, "apt-update", durable), vec![subscription])?;
    let mut watch: Watch<List, Want, Report> = Watch::new(connection, signals.clone(), schedule, drain)?;
    let mut recent = Recent::default();
    let mut lines = 0;

    let ended = loop {
        match watch.step() {
            Err(error) => break Err(error),
            Ok(Step::Ended(ended)) => break Ok(ended),
            Ok(Step::Message(message)) if !recent.is_new(&message.frame) => watch.dismiss(message),
            Ok(Step::Message(message)) => match hear(&message) {
                Ok(package) => {
                    let lists = package.map(|package| renewal.hear(&package)).unwrap_or_default();
                    // Acknowledged after the work on the last of them. Killed before that of the others: they are looked at
                    // after the next connect.
                    let mut lists = lists.into_iter().rev();
                    match lists.next() {
                        None => watch.dismiss(message),
                        Some(last) => {
                            lists.for_each(|list| watch.want(&list, Want::Answer));
                            watch.wanted(message, &last, Want::Answer);
                        }
                    }
                }
                Err(error) => {
                    teller.malformed(&message, &error.to_string(), watch.connection());
                    watch.dismiss(message);
                }
            },
            Ok(Step::Begin(list, want)) => {
                lines = 0;
                let renewal = renewal.clone();
                watch.work(list, move |reporter| match want {
                    Want::Answer => renewal.answer(list, !drain, |report| reporter.tell(report)),
                    Want::Look => renewal.look(list, |report| reporter.tell(report)),
                });
            }
            Ok(Step::Report(_, report)) => tell(teller, &report, json, &mut lines, watch.connection()),
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

/// What a message tells of; `None`: nothing, it is a beat.
fn hear(message: &Message) -> Result<Option<Package>, Error> {
    let envelope = Envelope::read(&message.frame.headers, &message.frame.body)?;
    envelope.map(|envelope| Package::parse(&envelope)).transpose()
}

/// Tells people what came of an update.
fn tell(teller: &mut Teller, report: &Report, json: bool, lines: &mut usize, connection: &Connection) {
    match report {
        Report::Problem { list, text } => {
            if teller.failed(list, text) {
                report.print(json);
                teller.event(&report.line(), connection);
            }
        }
        Report::Done { list } => {
            teller.succeeded(list);
            if json {
                report.print(json);
            }
        }
        Report::Policy { .. } => {
            report.print(json);
            *lines += 1;
            if *lines <= LINES {
                teller.event(&report.line(), connection);
            }
        }
    }
}
