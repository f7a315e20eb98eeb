//! `fetch --watch` and `--drain`: fetch when the bus tells of a push, and look by the clock all the same.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::job::Want;
use super::report::{Report, say};
use super::{Jobs, WORKERS};
use crate::bus::{Connection, Message, Target};
use crate::command::FAILED;
use crate::config::Config;
use crate::git::remote::Look;
use crate::message::build::Build;
use crate::message::push::Push;
use crate::message::{Envelope, Event, EventType};
use crate::name::RepoName;
use crate::process::Stop;
use crate::stomp::{AckMode, Frame, Subscription};
use crate::watch::{Pace, Schedule, Step, Watch};

/// Of one repository: however many events come, the git server is asked once in this time.
const GAP: Duration = Duration::from_secs(1);
/// Durable events that the broker may send ahead: a burst must be here whole to be merged into one fetch.
const PREFETCH: u32 = 5000;
/// Malformed messages are told at most so often, and how many there were: whoever sends them decides how many come.
const TELL_MALFORMED: Duration = Duration::from_secs(10);
/// The same problem of a repository is told again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// Watches until TERM or INT, or drains.
pub(super) fn run(jobs: Jobs, config: &Config, drain: bool, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let ears = Ears::new(&jobs, config, config.durable || drain);
    let mut target = Target::from(&config.bus);
    // Brokers allow one live connection with a client id: each verb has its own.
    target.client_id = (config.durable || drain).then(|| format!("failcake-{}-fetch", config.node));
    let pace = Pace { workers: WORKERS, gap: GAP, reconcile: config.reconcile, splay: splay(jobs.len(), drain) };
    let keys: Vec<RepoName> = jobs.keys().cloned().collect();
    let schedule = Schedule::new(keys, pace, Want::look(Look::Thorough), Want::merge, Box::new(random), Instant::now());
    let connection = Connection::open(target, ears.subscriptions.clone())?;
    let mut watch = Watch::new(connection, stop.clone(), schedule, drain)?;
    let mut teller = Teller::new(config, json);

    let result = loop {
        match watch.step() {
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
            Ok(Some(Step::Message(message))) => match ears.hear(&message) {
                Heard::Foreign => watch.dismiss(message),
                Heard::Wanted(repo, want) => watch.wanted(message, &repo, want),
                Heard::Malformed(why) => {
                    teller.malformed(&why, watch.connection());
                    watch.dismiss(message);
                }
            },
            Ok(Some(Step::Begin(repo, want))) => {
                let (job, stop) = (jobs[&repo].clone(), stop.clone());
                watch.work(repo, move |reporter| job.work(&want, &stop, |report| reporter.tell(report)));
            }
            Ok(Some(Step::Report(_, report))) => teller.report(&report, watch.connection()),
            Ok(Some(Step::Connected(peer))) => teller.connected(&peer.address),
            Ok(Some(Step::Lost { cause, retry_in })) => teller.lost(&cause, retry_in),
        }
    };
    watch.close();
    result?;
    let failed = drain && !teller.problems.is_empty();
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// One repository is looked at within 2 s of a connect, many within up to 30 s; a drain ends soon, so it waits for none.
fn splay(repos: usize, drain: bool) -> Duration {
    let seconds = u64::try_from(repos).unwrap_or(u64::MAX).saturating_mul(2).min(30);
    if drain { Duration::ZERO } else { Duration::from_secs(seconds) }
}

/// From 0 to 1; good enough to spread load.
fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing here.
    Foreign,
    /// A look at this repository.
    Wanted(RepoName, Want),
    /// It makes no sense.
    Malformed(String),
}

/// Who listens to what.
struct Ears {
    subscriptions: Vec<Subscription>,
    /// Where pushes are told.
    commits: String,
    /// By name, the destination that moves the repository.
    repos: HashMap<String, String>,
}

impl Ears {
    fn new(jobs: &Jobs, config: &Config, durable: bool) -> Ears {
        let topics = &config.bus.topics;
        // Two keys may have been given one destination.
        let listens: BTreeMap<String, &str> =
            jobs.values().map(|job| (topics.get(&job.repo.listen), job.repo.listen.as_str())).collect();
        let subscription = |(destination, key): (String, &str)| Subscription {
            destination,
            durable: durable.then(|| format!("failcake-{}-fetch-{key}", config.node)),
            // Without a durable subscription nothing that was not acknowledged comes again: acks would say nothing.
            ack: if durable { AckMode::Individual } else { AckMode::Auto },
            prefetch: durable.then_some(PREFETCH),
        };
        let repos = jobs.iter().map(|(name, job)| (name.to_string(), topics.get(&job.repo.listen))).collect();
        let subscriptions = listens.into_iter().map(subscription).collect();
        Ears { subscriptions, commits: topics.get("commits"), repos }
    }

    /// Most messages on a bus are about other machines' repositories: those are told by the first line or the subject,
    /// and cost nothing more.
    fn hear(&self, message: &Message) -> Heard {
        let frame = &message.frame;
        if claimed_repo(frame).is_some_and(|name| !self.repos.contains_key(name)) {
            return Heard::Foreign;
        }
        let envelope = match Envelope::read(&frame.headers, &frame.body) {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return Heard::Foreign,
            Err(error) => return Heard::Malformed(error.to_string()),
        };
        // What a svn hook says on the same topic, perhaps of a repository with the same name.
        if frame.header("event-type") == Some(EventType::Revision.as_str()) {
            return Heard::Foreign;
        }
        let destination = self.destination(message);
        let heard = if destination.is_none_or(|destination| destination == self.commits) {
            Push::parse(&envelope).map(|push| {
                // Only a thorough look removes what is gone.
                let look = if push.new.is_zero() { Look::Thorough } else { Look::Quick };
                (push.repo, Want::look(look))
            })
        } else {
            Build::parse(&envelope).and_then(|build| {
                let repo = build.repo.ok_or(crate::message::Error::Missing("repo"))?;
                let passed = [(build.refname, build.commit)].into();
                Ok((repo, Want { look: Look::Quick, passed }))
            })
        };
        match heard {
            Err(error) => Heard::Malformed(error.to_string()),
            Ok((repo, want)) => match self.repos.get(repo.as_str()) {
                Some(listen) if destination.is_none_or(|destination| destination == listen) => Heard::Wanted(repo, want),
                _ => Heard::Foreign,
            },
        }
    }

    /// Which of the subscriptions' destinations it came from.
    fn destination(&self, message: &Message) -> Option<&str> {
        let id = message.subscription?;
        self.subscriptions.get(usize::try_from(id.0).ok()?).map(|subscription| subscription.destination.as_str())
    }
}

/// Which repository a message claims to be about, as far as that can be seen without reading it.
fn claimed_repo(frame: &Frame) -> Option<&str> {
    if let Some(rest) = frame.body.strip_prefix(b"repo: ") {
        let line = rest.split(|b| *b == b'\n').next()?;
        return std::str::from_utf8(line).ok().map(str::trim);
    }
    let (name, _) = frame.header("subject")?.strip_prefix('[')?.split_once(']')?;
    (!frame.body.is_empty() && frame.body != b"\n").then_some(name)
}

/// Tells people: on stdout and stderr, and on the events topic.
struct Teller {
    json: bool,
    node: String,
    events: String,
    /// What each repository's last look failed with, and when that was told.
    problems: BTreeMap<RepoName, (String, Instant)>,
    malformed: u64,
    told_malformed: Option<Instant>,
    lost: Option<String>,
}

impl Teller {
    fn new(config: &Config, json: bool) -> Teller {
        Teller {
            json,
            node: config.node.to_string(),
            events: config.bus.topics.get("events-fetch"),
            problems: BTreeMap::new(),
            malformed: 0,
            told_malformed: None,
            lost: None,
        }
    }

    fn report(&mut self, report: &Report, connection: &Connection) {
        // Our own end is no problem of the repository.
        if report.is_stopped() {
            return;
        }
        let (text, now) = (report.problems().join("\n"), Instant::now());
        let told = self.problems.get(&report.repo);
        let is_known = told.is_some_and(|(known, when)| *known == text && now < *when + TELL_AGAIN);
        if text.is_empty() {
            self.problems.remove(&report.repo);
        } else if !is_known {
            self.problems.insert(report.repo.clone(), (text, now));
        }
        report.print(self.json, false, !is_known);
        let problems = if is_known { Vec::new() } else { report.problems() };
        for line in [report.news(), problems].concat() {
            self.event(&line, connection);
        }
    }

    fn malformed(&mut self, why: &str, connection: &Connection) {
        self.malformed += 1;
        let now = Instant::now();
        if self.told_malformed.is_some_and(|when| now < when + TELL_MALFORMED) {
            return;
        }
        let many = if self.malformed > 1 { format!(" (and {} more)", self.malformed - 1) } else { String::new() };
        let line = format!("problem: dropped a malformed message: {why}{many}");
        say(&mut std::io::stderr(), &format!("failcake: {line}"));
        self.event(&line, connection);
        (self.malformed, self.told_malformed) = (0, Some(now));
    }

    /// Best effort: who misses it can ask for the state of things.
    fn event(&self, line: &str, connection: &Connection) {
        let event = Event::human(jiff::Timestamp::now(), &format!("{} {line}", self.node));
        connection.send(Frame::send(&self.events, event.headers, event.body.into_bytes()));
    }

    fn connected(&mut self, address: &str) {
        self.lost = None;
        say(&mut std::io::stderr(), &format!("failcake: listening to {address}"));
    }

    /// A broker that stays away for the same reason is told of once.
    fn lost(&mut self, cause: &str, retry_in: Duration) {
        if self.lost.as_deref() != Some(cause) {
            let wait = retry_in.as_secs_f64();
            say(&mut std::io::stderr(), &format!("failcake: no broker: {cause}; next try in {wait:.1} s"));
            self.lost = Some(cause.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
