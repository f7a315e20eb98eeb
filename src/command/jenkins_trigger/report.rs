//! What became of it, in the words of each who wants to know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::order::Order;
use crate::bus::Connection;
use crate::config::Config;
use crate::message::Event;
use crate::message::build::Status;
use crate::stomp::Frame;

/// The same problem is told again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// No more problems are remembered at a time.
const PROBLEMS: usize = 10_000;

/// Something that people want to know.
#[derive(Debug, Clone)]
pub(super) enum Report {
    /// Jenkins has it in its queue.
    Started { order: Order, item: Option<u64> },
    /// It was refused, and is tried again.
    Kept { order: Order, why: String },
    /// It was refused for too long.
    SetAside { order: Order, why: String },
    /// No build, and why.
    Skipped(String),
    /// Jenkins does nothing for anybody.
    Down(String),
    /// A followed build has begun or ended, and was told to the bus.
    Build { order: Order, number: u64, status: Status, url: String },
    /// A followed build will not be heard of again, or waits.
    Lost { order: Order, why: String },
    /// Anything else; one with the same key and text is told once.
    Problem { key: String, text: String },
}

impl Report {
    /// For people.
    pub(super) fn line(&self) -> String {
        match self {
            Report::Started { order, .. } => format!("triggered job {} for {}", order.job, order.about()),
            Report::Kept { order, why } => {
                format!("problem: job {} for {} is kept and tried again: {why}", order.job, order.about())
            }
            Report::SetAside { order, why } => format!(
                "problem: job {} for {} was set aside: {why}; then: failcake jenkins-trigger --retry",
                order.job,
                order.about()
            ),
            Report::Skipped(why) => why.clone(),
            Report::Down(why) => format!("problem: builds are kept until Jenkins is back: {why}"),
            Report::Build { order, number, status, url } => {
                let status = format!("{status:?}").to_lowercase();
                format!("job {} build {number} {status} for {}: {url}", order.job, order.about())
            }
            Report::Lost { order, why } => format!("job {} for {}: {why}", order.job, order.about()),
            Report::Problem { text, .. } => format!("problem: {text}"),
        }
    }

    /// Is it one that a person must see to?
    pub(super) fn is_problem(&self) -> bool {
        !matches!(
            self,
            Report::Started { .. }
                | Report::Skipped(_)
                | Report::Build { status: Status::Started | Status::Success, .. }
        )
    }

    /// What a problem is about.
    fn key(&self) -> Option<String> {
        match self {
            Report::Kept { order, .. } => Some(format!("{} {}", order.project, order.job)),
            Report::Down(_) => Some(String::new()),
            Report::Problem { key, .. } => Some(key.clone()),
            _ => None,
        }
    }

    fn json(&self) -> serde_json::Value {
        let of = |what: &str, order: &Order| {
            serde_json::json!({
                "what": what, "job": order.job.to_string(), "repo": order.repo, "ref": order.refname,
                "commit": order.commit, "event-id": order.event,
            })
        };
        let with = |mut value: serde_json::Value, key: &str, more: serde_json::Value| {
            value[key] = more;
            value
        };
        match self {
            Report::Started { order, item } => with(of("triggered", order), "queue-item", (*item).into()),
            Report::Kept { order, why } => with(of("kept", order), "why", why.as_str().into()),
            Report::SetAside { order, why } => with(of("set-aside", order), "why", why.as_str().into()),
            Report::Lost { order, why } => with(of("lost-sight", order), "why", why.as_str().into()),
            Report::Build { order, number, status, url } => {
                let status = format!("{status:?}").to_lowercase();
                let value = with(with(of("build", order), "number", (*number).into()), "status", status.into());
                with(value, "url", url.as_str().into())
            }
            Report::Skipped(why) => serde_json::json!({ "what": "skipped", "why": why }),
            Report::Down(why) | Report::Problem { text: why, .. } => {
                serde_json::json!({ "what": "problem", "why": why })
            }
        }
    }
}

/// Tells people: on stdout and stderr, and on the events topic.
pub(super) struct Teller {
    json: bool,
    node: String,
    events: String,
    /// What each thing's problem is, and when that was told.
    problems: BTreeMap<String, (String, Instant)>,
    /// Something went wrong since the beginning.
    pub(super) failed: bool,
}

impl Teller {
    pub(super) fn new(config: &Config, json: bool) -> Teller {
        Teller {
            json,
            node: config.node.to_string(),
            events: config.bus.topics.get("events-jenkins"),
            problems: BTreeMap::new(),
            failed: false,
        }
    }

    /// `connection`: where the line for people goes too; builds that are followed have told theirs.
    pub(super) fn tell(&mut self, report: &Report, connection: Option<&Connection>) {
        self.failed |= report.is_problem();
        if let Report::Started { order, .. } = report {
            self.problems.remove("");
            self.problems.remove(&format!("{} {}", order.project, order.job));
        }
        let line = report.line();
        if let Some(key) = report.key() {
            let now = Instant::now();
            let told = self.problems.get(&key);
            if told.is_some_and(|(known, when)| *known == line_without_order(report) && now < *when + TELL_AGAIN) {
                return;
            }
            // Forgetting costs a line told twice.
            if self.problems.len() >= PROBLEMS {
                self.problems.clear();
            }
            self.problems.insert(key, (line_without_order(report), now));
        }
        if self.json {
            say(&mut std::io::stdout(), &report.json().to_string());
        }
        if report.is_problem() {
            say(&mut std::io::stderr(), &format!("failcake: {line}"));
        } else if !self.json {
            say(&mut std::io::stdout(), &line);
        }
        if let Some(connection) = connection
            && !matches!(report, Report::Build { .. })
        {
            // Best effort: who misses it can ask for the state of things.
            let event = Event::human(jiff::Timestamp::now(), &format!("{} {line}", self.node));
            connection.send(Frame::send(&self.events, event.headers, event.body.into_bytes()));
        }
    }
}

/// A job that refuses a hundred orders for one reason has one problem.
fn line_without_order(report: &Report) -> String {
    match report {
        Report::Kept { why, .. } => why.clone(),
        other => other.line(),
    }
}

/// A line for whoever still reads: a closed pipe ends no watcher.
pub(super) fn say(to: &mut dyn std::io::Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
