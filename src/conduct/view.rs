//! What the operator sees while it goes on: a line per host on a terminal, plain lines elsewhere, JSON for programs.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::said::Detail;
use super::screen::Screen;
use crate::deploy::person::is_quiet;
use crate::message::deploy::{Outcome, Plan, PlanId};
use crate::name::{NodeName, SiteName};
use crate::rollout::{Event, Rollout, State};

/// What is known of each host beside its state.
pub(super) type Details = BTreeMap<NodeName, Detail>;

/// One line of `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line<'a> {
    /// The first one.
    Plan {
        id: PlanId,
        site: &'a SiteName,
        action: String,
        who: &'a str,
        hosts: &'a [NodeName],
        not_after: jiff::Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        takes_over: Option<PlanId>,
        /// Of a plan after the fact.
        #[serde(flatten)]
        standing: Option<Standing<'a>>,
    },
    /// A host's state changed.
    Host { host: &'a NodeName, state: State, why: Option<&'a str> },
    /// A host says what it does.
    Progress { host: &'a NodeName, text: &'a str },
    /// They go first.
    Canary { hosts: &'a [NodeName] },
    /// The canary is watched for so long.
    Bake { seconds: u64 },
    /// They are next.
    Batch { number: usize, of: usize, hosts: &'a [NodeName] },
    /// No host begins any more.
    Stopping { why: &'a str, rolls_back: bool },
    /// Something that is worth being told.
    Note { text: &'a str },
    /// The last one but the hosts' results.
    Ended { outcome: Outcome, why: Option<&'a str> },
    /// This process left in the middle of it.
    Left { why: &'a str, runs_on: &'a [NodeName], staged: &'a [NodeName], resume: &'a str },
    /// What became of one host.
    Result(super::table::Row<'a>),
}

impl<'a> Line<'a> {
    pub fn plan(plan: &'a Plan, standing: Option<Standing<'a>>) -> Line<'a> {
        let Plan { id, site, who, hosts, not_after, takes_over, .. } = plan;
        let (id, not_after, takes_over, action) = (*id, *not_after, *takes_over, plan.action.to_string());
        Line::Plan { id, site, action, who, hosts, not_after, takes_over, standing }
    }
}

/// How a plan stands in the journal.
#[derive(Debug, Serialize)]
pub(super) struct Standing<'a> {
    /// A process conducts it right now.
    pub is_conducted: bool,
    /// None does, and it is not over.
    pub is_left: bool,
    /// Why no further host begins.
    pub stopped: Option<&'a str>,
    /// Live hosts were to go back then.
    pub rolls_back: bool,
}

/// Where it goes.
pub(super) enum View {
    Screen(Screen),
    Lines(Instant),
    Json,
}

impl View {
    /// JSON on stdout if it is asked for; else on stderr, which leaves stdout to the result.
    pub fn new(json: bool) -> View {
        if json {
            return View::Json;
        }
        // A dumb terminal (Emacs' shell, say) can't go back.
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if io::stderr().is_terminal() && moves && !is_quiet() {
            View::Screen(Screen::new())
        } else {
            View::Lines(Instant::now())
        }
    }

    pub fn begin(&mut self, plan: &Plan) {
        match self {
            View::Json => print(&Line::plan(plan, None)),
            _ => {
                let Plan { id, site, who, hosts, action, .. } = plan;
                let over = plan.takes_over.map_or_else(String::new, |before| format!(", taking over plan {before}"));
                self.say(&format!("plan {id}: {site}: {action} on {}, by {who}{over}", count(hosts.len(), "host")));
            }
        }
    }

    /// Something of the machine's.
    pub fn event(&mut self, event: &Event) {
        if let View::Json = self {
            return print(&match event {
                Event::Host { host, state, why } => Line::Host { host, state: *state, why: why.as_deref() },
                Event::Canary { hosts } => Line::Canary { hosts },
                Event::Bake { until } => {
                    Line::Bake { seconds: until.saturating_duration_since(Instant::now()).as_secs_f64().round() as u64 }
                }
                Event::Batch { number, of, hosts } => Line::Batch { number: *number, of: *of, hosts },
                Event::Stopping { why, rolls_back } => Line::Stopping { why, rolls_back: *rolls_back },
                Event::Verdict => return,
            });
        }
        match event {
            // Each has a line of its own there.
            Event::Host { .. } if matches!(self, View::Screen(_)) => {}
            Event::Host { host, state, why } => {
                let why =
                    why.as_deref().filter(|why| !why.is_empty()).map_or_else(String::new, |why| format!(": {why}"));
                self.say(&format!("{host} {state}{why}"));
            }
            Event::Canary { hosts } => self.say(&format!("first: {}", names(hosts))),
            Event::Bake { until } => {
                let left = until.saturating_duration_since(Instant::now());
                self.say(&format!("the canary is watched for {} s", left.as_secs_f64().round()));
            }
            Event::Batch { number, of, hosts } => self.say(&format!("batch {number} of {of}: {}", names(hosts))),
            Event::Stopping { why, rolls_back } => {
                let then = if *rolls_back { "; hosts that are done go back" } else { "" };
                self.say(&format!("stopping: {why}; no further host begins{then}"));
            }
            Event::Verdict => {}
        }
    }

    /// What a host does right now.
    pub fn progress(&mut self, host: &NodeName, text: &str) {
        match self {
            View::Json => print(&Line::Progress { host, text }),
            View::Lines(_) => self.say(&format!("{host}: {text}")),
            View::Screen(_) => {}
        }
    }

    /// A line for people.
    pub fn note(&mut self, text: &str) {
        match self {
            View::Json => print(&Line::Note { text }),
            _ => self.say(text),
        }
    }

    fn say(&mut self, text: &str) {
        match self {
            View::Screen(screen) => screen.say(text),
            // The table on stdout says how it ended.
            View::Lines(_) if is_quiet() => {}
            // Nobody who stopped reading may stop the rollout.
            View::Lines(start) => drop(writeln!(anstream::stderr(), "{:8.3}s {text}", start.elapsed().as_secs_f64())),
            View::Json => {}
        }
    }

    /// Shows how things stand; says when to show it again.
    pub fn draw(&mut self, rollout: &Rollout, details: &Details, bake: Option<Instant>) -> Option<Instant> {
        match self {
            View::Screen(screen) => Some(screen.draw(rollout, details, bake)),
            _ => None,
        }
    }

    /// Leaves the terminal to what comes next.
    pub fn end(&mut self) {
        if let View::Screen(screen) = self {
            screen.clear();
        }
    }
}

/// One line of JSON on stdout.
pub(super) fn print(line: &Line<'_>) {
    let mut stdout = io::stdout().lock();
    // Nobody who stopped reading may stop the rollout.
    let _ = serde_json::to_writer(&mut stdout, line).map_err(io::Error::from).and_then(|()| writeln!(stdout));
}

/// A few names, then how many more.
pub(super) fn names(hosts: &[NodeName]) -> String {
    crate::message::deploy::hosts_in_words(hosts)
}

/// `1 host`, `2 hosts`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The shortest wait between two pictures.
pub(super) const FRAME: Duration = Duration::from_millis(100);
