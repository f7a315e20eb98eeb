//! How a rollout ended, with each host by name.

use std::fmt;

use super::{Host, State, Stop};
use crate::name::NodeName;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// In one word.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Each host of the plan once, in its order.
    pub hosts: Vec<Ended>,
}

/// In one word, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Every host is live.
    Success,
    /// Every host had its chance, but some, no more than were allowed, are not live.
    Incomplete {
        /// Who.
        why: String,
    },
    /// A stop rule fired, or the operator stopped it. What was live stays.
    Stopped {
        /// The rule.
        why: String,
    },
    /// A stop rule fired, and what was live was told to go back.
    RolledBack {
        /// The rule.
        why: String,
    },
}

impl Outcome {
    /// `success`, `incomplete`, `stopped` or `rolled-back`.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Incomplete { .. } => "incomplete",
            Outcome::Stopped { .. } => "stopped",
            Outcome::RolledBack { .. } => "rolled-back",
        }
    }

    /// The reason; a success needs none.
    pub fn why(&self) -> Option<&str> {
        match self {
            Outcome::Success => None,
            Outcome::Incomplete { why } | Outcome::Stopped { why } | Outcome::RolledBack { why } => Some(why),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why() {
            Some(why) => write!(f, "{}: {why}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// Where a host is at the end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ended {
    /// Who.
    pub host: NodeName,
    /// Where.
    pub state: State,
    /// Why, or what it said of its release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Verdict {
    pub(super) fn of(hosts: &[Host], stop: Option<&Stop>) -> Verdict {
        let ended = |host: &Host| Ended { host: host.name.clone(), state: host.state, why: host.why.clone() };
        let live = hosts.iter().filter(|host| host.state == State::Live).count();
        let went_back = |host: &Host| matches!(host.state, State::RolledBack | State::RollbackFailed);
        let outcome = match stop {
            Some(stop) if stop.rolls_back && hosts.iter().any(went_back) => {
                Outcome::RolledBack { why: stop.why.clone() }
            }
            Some(stop) => Outcome::Stopped { why: stop.why.clone() },
            None if live == hosts.len() => Outcome::Success,
            None => {
                let (lost, all) = (hosts.len() - live, hosts.len());
                Outcome::Incomplete { why: format!("{lost} of {all} hosts are not live: {}", name_failures(hosts)) }
            }
        };
        Verdict { outcome, hosts: hosts.iter().map(ended).collect() }
    }
}

/// So many hosts are named in a reason; the verdict names all.
const NAMED: usize = 3;

/// `web01 failed: the disk is full; web02 unreachable: it said nothing within 10s; and 3 more`
pub(super) fn name_failures(hosts: &[Host]) -> String {
    let failures = || hosts.iter().filter(|host| host.state.is_failure());
    let mut words: Vec<String> = failures().take(NAMED).map(tell).collect();
    match failures().count().saturating_sub(NAMED) {
        0 => {}
        more => words.push(format!("and {more} more")),
    }
    words.join("; ")
}

/// `web01 failed: the disk is full`
pub(super) fn tell(host: &Host) -> String {
    match &host.why {
        Some(why) => format!("{} {}: {why}", host.name, host.state),
        None => format!("{} {}", host.name, host.state),
    }
}
