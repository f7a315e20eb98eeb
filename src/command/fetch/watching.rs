//! `fetch --watch` and `--drain`: fetch when the bus tells of a push, and look by the clock all the same.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::job::Want;
use super::report::Report;
use super::{Jobs, WORKERS};
use crate::bus::{Connection, Message};
use crate::command::FAILED;
use crate::config::Config;
use crate::git::remote::Look;
use crate::message::build::Build;
use crate::message::push::Push;
use crate::message::{Envelope, EventType};
use crate::name::RepoName;
use crate::stomp::{Frame, Subscription};
use crate::watch::{
    Ended, Pace, Recent, Schedule, Signals, Step, Teller, Turn, Watch, random, splay, subscription, target,
};

/// Of one repository: however many events come, the git server is asked once in this time.
const GAP: Duration = Duration::from_secs(1);

/// Watches until TERM or INT, or drains. `load` reads the configuration again, on HUP.
pub(super) fn run(
    mut config: Config,
    mut jobs: Jobs,
    load: impl Fn() -> anyhow::Result<(Config, Jobs)>,
    drain: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen(!drain)?;
    loop {
        let mut next = None;
        let mut teller = Teller::new(&config, "events-fetch");
        let ended = watch(&config, &jobs, &signals, &mut teller, drain, json, || {
            load().map(|loaded| next = Some(loaded))
        })?;
        match next.filter(|_| ended == Ended::Reload) {
            Some(loaded) => (config, jobs) = loaded,
            None if drain && teller.has_failures() => return Ok(ExitCode::from(FAILED)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Watches with one configuration.
fn watch(
    config: &Config,
    jobs: &Jobs,
    signals: &Signals,
    teller: &mut Teller,
    drain: bool,
    json: bool,
    mut reload: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let durable = config.durable || drain;
    let Some(_turn) = Turn::take(config, "fetch", durable, drain, signals) else { return Ok(Ended::Stopped) };
    let ears = Ears::new(jobs, config, durable);
    let pace = Pace { workers: WORKERS, gap: GAP, reconcile: config.reconcile, splay: splay(jobs.len(), drain) };
    let keys: Vec<RepoName> = jobs.keys().cloned().collect();
    let schedule = Schedule::new(keys, pace, Want::look(Look::Thorough), Want::merge, Box::new(random), Instant::now());
    // No look finds out which commits have passed.
    let schedule = schedule.keeping(|want| !want.passed.is_empty());
    let connection = Connection::open(target(config, "fetch", durable), ears.subscriptions.clone())?;
    let mut watch = Watch::new(connection, signals.clone(), schedule, drain)?;
    let mut recent = Recent::default();

    let ended = loop {
        match watch.step() {
            Err(error) => break Err(error),
            Ok(Step::Ended(ended)) => break Ok(ended),
            Ok(Step::Message(message)) if !recent.is_new(&message.frame) => watch.dismiss(message),
            Ok(Step::Message(message)) => match ears.hear(&message) {
                Heard::Foreign => watch.dismiss(message),
                Heard::Wanted(repo, want) => watch.wanted(message, &repo, want),
                Heard::Malformed(why) => {
                    teller.malformed(&message, &why, watch.connection());
                    watch.dismiss(message);
                }
            },
            Ok(Step::Begin(repo, want)) => {
                let (job, stop) = (jobs[&repo].clone(), signals.stop().clone());
                watch.work(repo, move |reporter| job.work(&want, &stop, |report| reporter.tell(report)));
            }
            Ok(Step::Report(_, report)) => tell(teller, &report, json, watch.connection()),
            Ok(Step::Connected(peer)) => teller.connected(&peer),
            Ok(Step::Lost { cause, retry_in }) => {
                // What was not acknowledged comes again, and its acknowledgement is wanted then.
                recent = Recent::default();
                teller.lost(&cause, retry_in);
            }
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
        let repos = jobs.iter().map(|(name, job)| (name.to_string(), topics.get(&job.repo.listen))).collect();
        let subscriptions = listens.into_values().map(|key| subscription(config, "fetch", key, durable)).collect();
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

/// Tells people what became of a look.
fn tell(teller: &mut Teller, report: &Report, json: bool, connection: &Connection) {
    // Our own end is no problem of the repository.
    if report.is_stopped() {
        return;
    }
    let problems = report.problems();
    let is_news = match problems.is_empty() {
        true => {
            teller.succeeded(report.repo.as_str());
            false
        }
        false => teller.failed(report.repo.as_str(), &problems.join("\n")),
    };
    report.print(json, false, is_news);
    for line in report.news().iter().chain(problems.iter().filter(|_| is_news)) {
        teller.event(line, connection);
    }
}

#[cfg(test)]
mod tests;
