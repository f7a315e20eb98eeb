//! What operators and nodes say to each other about deploys over the bus; docs/rollouts.md is the page for people.
//!
//! A request holds a [`Plan`] (signed with the operator's SSH key) and a [`Order`] (signed with the plan's own key), or
//! a [`Query`], which anybody may ask who may write to the topic. A reply holds a [`Report`], signed with a node's key
//! for which a [`Vouch`] (signed with the node's SSH key) speaks. Documents travel as text inside the JSON line, so
//! what was signed is octet for octet what is checked.
//!
//! Nothing here signs or checks: [`Signed`] carries, whoever trusts has to check.

mod answer;
mod plan;

#[cfg(test)]
mod tests;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Code, NodeState, Offered, Report, ScriptRun, SiteState};
pub use plan::{Action, OnFailure, Order, Outcome, Plan, PlanId, Policy, Query, RefKind, Step, Subject, Vouch};

pub use super::signed::{Document, Signed, VERSION};

use super::signed::{body, parse};
use super::{Envelope, Error, Event, EventId, EventType};
use crate::name::NodeName;

/// A plan, an SSH signature over it, and the namespace of that signature.
pub const PLAN_NAMESPACE: &str = "failcake-plan";
/// The namespace of a vouch's SSH signature.
pub const REPLY_NAMESPACE: &str = "failcake-reply";

impl Document for Plan {
    const WHAT: &'static str = "plan";
}
impl Document for Order {
    const WHAT: &'static str = "order";
}
impl Document for Vouch {
    const WHAT: &'static str = "vouch";
}
impl Document for Report {
    const WHAT: &'static str = "report";
}

/// A message of the requests' topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Do a step of a plan.
    Order {
        /// A [`Plan`]: with `prepare`, so that nodes come to know it; later they have it on disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Signed>,
        /// An [`Order`].
        order: Signed,
    },
    /// Say how things are.
    Query(Query),
}

/// A message of the replies' topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// A [`Vouch`]; without one (a node without a key) the report's signature is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouch: Option<Signed>,
    /// A [`Report`].
    pub report: Signed,
}

impl Request {
    /// The message; `about` is the line for people, and the subject is the id of the plan or query.
    pub fn event(&self, time: jiff::Timestamp, subject: &str, about: &str) -> Event {
        event(self, EventType::DeployRequest, time, subject, about)
    }

    /// Reads a message of the requests' topic.
    ///
    /// # Errors
    /// [`Error::Version`] of another failcake; [`Error::Bad`] and [`Error::Missing`].
    pub fn parse(envelope: &Envelope<'_>) -> Result<Request, Error> {
        parse(envelope, "request")
    }
}

impl Reply {
    /// The message; its subject is the id of the plan or query.
    pub fn event(&self, time: jiff::Timestamp, subject: &str, about: &str) -> Event {
        event(self, EventType::DeployReply, time, subject, about)
    }

    /// Reads a message of the replies' topic.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse(envelope: &Envelope<'_>) -> Result<Reply, Error> {
        parse(envelope, "reply")
    }
}

fn event(rest: &impl Serialize, kind: EventType, time: jiff::Timestamp, subject: &str, about: &str) -> Event {
    Event::new(EventId::new(), kind, time, subject, body(about, rest))
}

/// What a message is told from others by: the SHA-256 of its body, in hexadecimal digits.
pub fn fingerprint(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// May a plan name so many hosts? A request with all of them must fit into one message.
pub const HOSTS_MAX: usize = 2000;

/// The hosts of an order or plan as a line for people: the first few, then how many more.
pub fn hosts_in_words(hosts: &[NodeName]) -> String {
    const SHOWN: usize = 5;
    let shown = hosts.iter().take(SHOWN).map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    match hosts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
