//! What is listened to, and what of it is wanted.

use std::collections::BTreeMap;

use super::Args;
use crate::bus::{AckToken, Message};
use crate::config::{self, Config, Topics};
use crate::message::summary::Summary;
use crate::spool::fnv64;
use crate::stomp::{Frame, Subscription};
use crate::watch;

/// Durable events that the broker may send ahead: so many wait in memory at most.
const PREFETCH: u32 = 100;

/// A message that passed the filters.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) frame: Frame,
    /// `None`: there is nothing to acknowledge.
    pub(super) token: Option<AckToken>,
    pub(super) summary: Summary,
    pub(super) destination: String,
    /// The destination's key.
    pub(super) topic: Option<String>,
    pub(super) received: jiff::Timestamp,
}

/// Who listens to what.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) durable: bool,
    /// By destination.
    keys: BTreeMap<String, String>,
}

impl Ears {
    pub(super) fn new(args: &Args, config: &Config, verb: &str) -> Result<Ears, config::Error> {
        let durable = args.durable || args.drain || (config.durable && !args.exec.is_empty());
        let topics = &config.bus.topics;
        // Two keys may have been given one destination: the first names it.
        let mut keys = BTreeMap::new();
        for (key, _) in Topics::KEYS {
            keys.entry(topics.get(key)).or_insert_with(|| key.to_owned());
        }
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for word in &args.destinations {
            let destination = destination(word, topics)?;
            let label = keys.get(&destination).cloned().unwrap_or_else(|| label(&destination));
            wanted.insert(destination, label);
        }
        if args.destinations.is_empty() {
            wanted.clone_from(&keys);
        }
        let subscription = |(destination, label): (String, String)| Subscription {
            prefetch: durable.then_some(PREFETCH),
            ..watch::subscription_to(config, verb, &label, &destination, durable)
        };
        Ok(Ears { subscriptions: wanted.into_iter().map(subscription).collect(), durable, keys })
    }

    /// What a message says; `None`: nobody wants it.
    pub(super) fn hear(&self, message: &Message, args: &Args) -> Option<Summary> {
        let summary = Summary::of(&message.frame.headers, &message.frame.body)?;
        let is_kind = |kind: &String| summary.kind.as_ref() == Some(kind);
        let is_since = |since: &jiff::Timestamp| summary.time.is_none_or(|time| time >= *since);
        let passes = (args.kinds.is_empty() || args.kinds.iter().any(is_kind))
            && (args.repos.is_empty() || args.repos.iter().any(|pattern| summary.is_about(pattern)))
            && args.since.as_ref().is_none_or(is_since);
        passes.then_some(summary)
    }

    pub(super) fn event(&self, message: Message, summary: Summary) -> Event {
        let asked = message.subscription.and_then(|id| self.subscriptions.get(usize::try_from(id.0).ok()?));
        let asked = asked.map_or("", |subscription| subscription.destination.as_str());
        let destination = message.frame.header("destination").unwrap_or(asked).to_owned();
        let topic = self.keys.get(&destination).or_else(|| self.keys.get(asked)).cloned();
        let received = jiff::Timestamp::now();
        Event { frame: message.frame, token: message.ack, summary, destination, topic, received }
    }
}

/// A key's destination, or the word itself.
fn destination(word: &str, topics: &Topics) -> Result<String, config::Error> {
    if word.starts_with('/') && !word.chars().any(char::is_control) {
        return Ok(word.to_owned());
    }
    if Topics::KEYS.iter().any(|(key, _)| *key == word) {
        return Ok(topics.get(word));
    }
    let known = Topics::KEYS.iter().map(|(key, _)| *key);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, word)).unwrap_or_default();
    Err(config::Error(format!(
        "{word:?} is neither the key of a topic nor a destination such as /topic/NAME; did you mean {nearest}?"
    )))
}

/// Names the subscription to a destination that has no key.
fn label(destination: &str) -> String {
    let word: String = destination.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("{}-{:08x}", word.trim_matches('-'), fnv64(destination.as_bytes()) >> 32)
}
