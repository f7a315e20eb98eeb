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

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Code, NodeState, Offered, Report, ScriptRun, SiteState};
pub use plan::{Action, OnFailure, Order, Outcome, Plan, PlanId, Policy, Query, RefKind, Step, Subject, Vouch};

use super::{Envelope, Error, Event, EventId, EventType, json_line};
use crate::name::NodeName;

/// The version of all documents and messages here. Another one is refused politely: see [`Error::Version`].
pub const VERSION: u32 = 1;

/// A plan, an SSH signature over it, and the namespace of that signature.
pub const PLAN_NAMESPACE: &str = "failcake-plan";
/// The namespace of a vouch's SSH signature.
pub const REPLY_NAMESPACE: &str = "failcake-reply";

/// A document as it was signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// JSON text.
    pub document: String,
    /// An armored SSH signature (plan, vouch), or an Ed25519 signature in base64 (order, report).
    pub signature: String,
}

/// Anything that is signed: one JSON object with the version in it.
pub trait Document: Serialize + DeserializeOwned {
    /// For messages: `plan`, `order`.
    const WHAT: &'static str;

    /// The text that is to be signed.
    fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            rest: &'a T,
        }
        // Strings, numbers and lists: serde_json fails on maps with other keys and on failing writers.
        serde_json::to_string(&Versioned { version: VERSION, rest: self }).unwrap_or_default()
    }

    /// Reads what [`to_text`](Self::to_text) wrote. The signature is to be checked by the caller, over the same text.
    ///
    /// # Errors
    /// [`Error::Version`] of a newer failcake; [`Error::Bad`].
    fn from_text(text: &str) -> Result<Self, Error> {
        check_version(text)?;
        serde_json::from_str(text).map_err(|error| Error::Bad { key: Self::WHAT, why: error.to_string() })
    }
}

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

fn check_version(text: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Only {
        version: u32,
    }
    let only: Only = serde_json::from_str(text).map_err(|_| Error::Missing("version"))?;
    if only.version == VERSION { Ok(()) } else { Err(Error::Version(only.version)) }
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

#[derive(Serialize, Deserialize)]
struct Wire<T> {
    version: u32,
    #[serde(flatten)]
    rest: T,
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
    let mut body = super::one_line(about).into_owned();
    body.push('\n');
    json_line(&mut body, &Wire { version: VERSION, rest });
    Event::new(EventId::new(), kind, time, subject, body)
}

fn parse<T: DeserializeOwned>(envelope: &Envelope<'_>, key: &'static str) -> Result<T, Error> {
    let text = envelope.json().ok_or(Error::Missing("JSON line"))?;
    check_version(text)?;
    let wire: Wire<T> = serde_json::from_str(text).map_err(|error| Error::Bad { key, why: error.to_string() })?;
    Ok(wire.rest)
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
