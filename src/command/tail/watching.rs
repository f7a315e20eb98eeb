//! The loop: events come in, wait for their turn, and are printed or given to the command in their order.
//!
//! Both are work in a thread of its own, so a reader of stdout that stands still and a command that takes long keep neither
//! the broker nor the wish to stop waiting.

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Args;
use super::chain::{Chain, Outcome};
use super::ears::{Ears, Event};
use super::output;
use crate::bus::Connection;
use crate::command::{FAILED, complain};
use crate::config::{self, Config, Source};
use crate::exec;
use crate::message::READ_MAX;
use crate::process::Stop;
use crate::watch::{self, Ended, Pace, Schedule, Signals, Step, Teller, Watch};

/// Events that wait for their turn, where the broker does not keep them; what comes then is dropped, and told.
const WAITING: usize = 10_000;
/// Octets of them.
const OCTETS: usize = 64 << 20;
/// Events that are printed in one piece.
const PIECE: usize = 256;

/// One configuration's.
struct Setup {
    config: Config,
    ears: Ears,
    verb: String,
}

impl Setup {
    fn load(args: &Args, source: &Source) -> anyhow::Result<Setup> {
        let config = source.load()?;
        let verb = args.verb().map_err(config::Error)?;
        let ears = Ears::new(args, &config, &verb)?;
        Ok(Setup { config, ears, verb })
    }
}

/// What is done with events.
enum Worker {
    Print { as_json: bool },
    Run(Box<Chain>),
}

/// What a piece of work tells.
enum Told {
    Printed(Vec<Event>),
    Ran(Box<Event>, Outcome),
    /// stdout takes nothing more.
    Closed(io::Error),
}

/// Events that wait for their turn.
#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    octets: usize,
    dropped: u64,
}

/// Watches until TERM or INT, or drains.
pub(super) fn run(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!args.drain)?;
    let mut setup = Setup::load(args, source)?;
    if let Some(program) = args.exec.first().filter(|program| !exec::is_there(program)) {
        let words = "; no shell takes words apart: --exec CMD ARG…";
        let hint = if program.to_string_lossy().contains(' ') { words } else { "" };
        anyhow::bail!("there is no program {} here{hint}", program.display());
    }
    let mut queue = Queue::default();
    loop {
        let worker = match args.exec.is_empty() {
            true => Worker::Print { as_json: args.json },
            false => match Chain::open(args, &setup.config, &setup.verb)? {
                Some(chain) => Worker::Run(Box::new(chain)),
                // The drain before it takes long: it takes this one's events, too.
                None if args.drain => {
                    log::info!("another {} drains", setup.verb);
                    return Ok(ExitCode::SUCCESS);
                }
                None => anyhow::bail!("another {} is at it: --name NAME tells two apart", setup.verb),
            },
        };
        let mut next = None;
        let (ended, failed) = watch(args, &setup, Arc::new(worker), &signals, &mut queue, || {
            Setup::load(args, source).map(|loaded| next = Some(loaded))
        })?;
        match next.filter(|_| ended == Ended::Reload) {
            Some(loaded) => setup = loaded,
            None if args.drain && failed => return Ok(ExitCode::from(FAILED)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Watches with one configuration. Says why it ended, and whether a command has failed.
fn watch(
    args: &Args,
    setup: &Setup,
    worker: Arc<Worker>,
    signals: &Signals,
    queue: &mut Queue,
    mut reload: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Ended, bool)> {
    let (config, ears) = (&setup.config, &setup.ears);
    let pace = Pace { workers: 1, gap: Duration::ZERO, reconcile: config.reconcile, splay: Duration::ZERO };
    let schedule = Schedule::new([()], pace, (), |(), ()| (), Box::new(watch::random), Instant::now());
    let connection = Connection::open(watch::target(config, &setup.verb, ears.durable), ears.subscriptions.clone())?;
    let mut watch: Watch<(), (), Told> = Watch::new(connection, signals.clone(), schedule, args.drain)?;
    let mut teller = Teller::quiet(config);
    let most = if matches!(*worker, Worker::Run(_)) { 1 } else { PIECE };
    let (mut failed, mut reloads) = (false, false);

    let ended: anyhow::Result<Ended> = loop {
        match watch.step() {
            Err(error) => break Err(error.into()),
            Ok(Step::Ended(ended)) => break Ok(ended),
            Ok(Step::Message(message)) => {
                let is_huge = message.frame.body.len() > READ_MAX && !args.exec.is_empty();
                match ears.hear(&message, args) {
                    None => watch.dismiss(message),
                    Some(summary) if is_huge => {
                        teller.malformed(&message, &summary.line, watch.connection());
                        watch.dismiss(message);
                    }
                    Some(summary) => {
                        queue.push(ears.event(message, summary));
                        watch.want(&(), ());
                    }
                }
            }
            // The clock asks too: for what a reload has left, say.
            Ok(Step::Begin((), ())) => {
                let (events, worker, stop) = (queue.take(most), worker.clone(), signals.stop().clone());
                watch.work((), move |reporter| {
                    worker.work(events, &stop, |told| reporter.tell(told));
                    true
                });
            }
            Ok(Step::Report((), told)) => {
                match told {
                    Told::Closed(error) => break Err(error.into()),
                    Told::Printed(events) => events.into_iter().for_each(|event| acknowledge(&watch, event)),
                    Told::Ran(event, outcome) => {
                        failed |= matches!(outcome, Outcome::Failed(_));
                        if settle(&mut teller, &event, outcome, watch.connection()) {
                            acknowledge(&watch, *event);
                        }
                    }
                }
                if !queue.events.is_empty() && !reloads {
                    watch.want(&(), ());
                }
            }
            Ok(Step::Connected(peer)) => teller.connected(&peer),
            Ok(Step::Lost { cause, retry_in }) => {
                queue.forget_durable();
                teller.lost(&cause, retry_in);
            }
            Ok(Step::Reload) => {
                let loaded = reload();
                teller.reloaded(&loaded, watch.connection());
                reloads = loaded.is_ok();
                watch.reload(reloads);
            }
        }
    };
    watch.close();
    queue.forget_durable();
    let missed = queue.events.len() as u64 + queue.dropped;
    if matches!(ended, Ok(Ended::Stopped)) && missed > 0 {
        complain(&format!("{missed} events were not taken any more; --durable has the broker keep them"));
    }
    Ok((ended?, failed))
}

fn acknowledge(watch: &Watch<(), (), Told>, event: Event) {
    if let Some(token) = event.token {
        watch.connection().ack(token);
    }
}

/// Tells what became of a run. Is the event done with?
fn settle(teller: &mut Teller, event: &Event, outcome: Outcome, connection: &Connection) -> bool {
    match outcome {
        Outcome::Known => true,
        Outcome::Stopped => false,
        Outcome::Done => {
            log::info!("done: {}", event.summary.line);
            teller.event(&format!("done: {}", event.summary.line), connection);
            true
        }
        Outcome::Failed(why) => teller.set_aside(&event.frame, &why, connection),
    }
}

impl Worker {
    /// Works on them until it is to stop.
    fn work(&self, events: Vec<Event>, stop: &Stop, tell: impl Fn(Told)) {
        match self {
            Worker::Print { as_json } => match output::print(&events, *as_json) {
                Ok(()) => tell(Told::Printed(events)),
                Err(error) => tell(Told::Closed(error)),
            },
            Worker::Run(chain) => {
                for event in events {
                    let outcome = chain.run(&event, stop);
                    tell(Told::Ran(Box::new(event), outcome));
                }
            }
        }
    }
}

impl Queue {
    fn push(&mut self, event: Event) {
        let octets = event.frame.body.len();
        let is_full = self.events.len() >= WAITING || self.octets + octets > OCTETS;
        // What the broker sends ahead is bounded by its prefetch.
        if is_full && event.token.is_none() {
            if self.dropped == 0 {
                complain("events come faster than they are taken here: some are dropped");
            }
            self.dropped += 1;
            return;
        }
        self.octets += octets;
        self.events.push_back(event);
    }

    /// What the broker wants to see acknowledged it sends again.
    fn forget_durable(&mut self) {
        self.events.retain(|event| event.token.is_none());
        self.octets = self.events.iter().map(|event| event.frame.body.len()).sum();
    }

    fn take(&mut self, most: usize) -> Vec<Event> {
        let events: Vec<Event> = self.events.drain(..most.min(self.events.len())).collect();
        self.octets -= events.iter().map(|event| event.frame.body.len()).sum::<usize>();
        if self.events.is_empty() && self.dropped > 0 {
            complain(&format!("{} events were dropped; --durable has the broker keep them", self.dropped));
            self.dropped = 0;
        }
        events
    }
}
