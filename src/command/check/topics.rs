//! The topics that this machine uses: may its login write there, and does it hear what is said?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Finding, Role};
use crate::bus::{self, Connection, Incoming, Publisher, Target};
use crate::config::{Bus, Config};
use crate::stomp::{AckMode, Frame, Subscription};

/// A person waits for the answer: longer than a hook's budget, shorter than patience.
const TIME: Duration = Duration::from_secs(5);
/// Tells our beat from others.
const MARK: &str = "failcake-check";

/// What the configuration has this machine do with a destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    reads: bool,
    writes: bool,
    /// Why it may be right that it can't be written to.
    spared: Option<&'static str>,
}

/// By destination.
pub(super) type Uses = BTreeMap<String, Use>;

const READS: Use = Use { reads: true, writes: false, spared: None };
const WRITES: Use = Use { reads: false, writes: true, spared: None };
/// Logins for deploys hear of pushes, and say none.
const HEARD: Use = Use { spared: Some("this login can't say that something was pushed: right where no hook runs"), ..READS };
/// Of plans and of answers to them: docs/rollouts.md has operators' logins write the one and nodes' the other.
const REQUESTS: Use = Use { spared: Some("this login can't send plans: right for a node"), ..READS };
const REPLIES: Use = Use { spared: Some("this login can't answer plans: right for an operator"), ..READS };

/// Which the configuration speaks of. Where it speaks of none, there are hooks, or nothing yet.
pub(super) fn uses(config: &Config) -> Uses {
    let topics = &config.bus.topics;
    let mut uses = Uses::new();
    let role = Role::of(config);
    let mut add = |destination: String, what: Use| {
        let known: &mut Use = uses.entry(destination).or_default();
        *known = Use {
            reads: known.reads || what.reads,
            writes: known.writes || what.writes,
            spared: known.spared.or(what.spared),
        };
    };
    let mut add_keys = |what: Use, keys: &[&str]| keys.iter().for_each(|key| add(topics.get(key), what));
    for repo in config.repos.values() {
        add_keys(if role == Role::Unknown { READS } else { HEARD }, &[&repo.listen]);
        add_keys(WRITES, &["events-fetch"]);
    }
    if !config.jenkins.projects.is_empty() {
        add_keys(READS, &["commits"]);
        add_keys(WRITES, &["events-jenkins", "jenkins-started", "jenkins-success", "jenkins-failure"]);
    }
    if config.webhook.secret.is_some() || config.repos.values().any(|repo| repo.webhook_secret.is_some()) {
        add_keys(WRITES, &["commits", "events-webhook"]);
    }
    if !config.access.is_empty() {
        add_keys(READS, &["access"]);
        add_keys(WRITES, &["events-access"]);
    }
    if config.packages.repository.is_some() || config.packages.incoming.is_some() {
        add_keys(WRITES, &["packages", "events-repository"]);
    }
    if !config.packages.interest.is_empty() {
        add_keys(READS, &["packages"]);
    }
    // One file for all machines does not say which of them this is.
    if let Role::Node | Role::Either = role {
        add_keys(REQUESTS, &["deploy-requests"]);
        add_keys(if role == Role::Node { WRITES } else { REPLIES }, &["deploy-replies"]);
        add_keys(WRITES, &["events-deploys"]);
    }
    if role == Role::Operator {
        add_keys(WRITES, &["deploy-requests"]);
        add_keys(REPLIES, &["deploy-replies"]);
    }
    // One with a broker of its own has a login of its own: `keepalive` itself tells.
    for keepalive in config.keepalive.iter().filter(|keepalive| keepalive.broker.is_none()) {
        add(keepalive.destination.clone(), WRITES);
    }
    if uses.is_empty() { of_a_hook(&config.bus) } else { uses }
}

/// What a hook says.
pub(super) fn of_a_hook(bus: &Bus) -> Uses {
    ["commits", "events-git"].map(|key| (bus.topics.get(key), WRITES)).into()
}

/// A beat for each of them, all at once: one that is silent keeps the others waiting no longer.
pub(super) fn round_trips(bus: &Bus, target: &Target, uses: &Uses) -> Vec<Finding> {
    std::thread::scope(|scope| {
        let trips: Vec<_> = uses
            .iter()
            .map(|(destination, what)| (destination, scope.spawn(|| round_trip(bus, target, destination, *what))))
            .collect();
        let lost = |destination: &str| Finding::fail(about(bus, destination), "it was not looked at", "try again");
        trips.into_iter().map(|(destination, trip)| trip.join().unwrap_or_else(|_| lost(destination))).collect()
    })
}

fn round_trip(bus: &Bus, target: &Target, destination: &str, what: Use) -> Finding {
    let about = about(bus, destination);
    let seen = Seen::of(target, destination, Instant::now() + TIME);
    let login = target.url.hosts.iter().find_map(|host| host.login.clone()).unwrap_or_else(|| "anybody".to_owned());
    let let_it = |may: &str| format!("let {login} {may} {destination}");
    match (&seen.heard, &seen.written) {
        (Ok(time), Ok(())) => Finding::ok(about, format!("{destination}: a beat came back in {} ms", time.as_millis())),
        (Err(Deaf::Queue), Ok(())) => {
            Finding::ok(about, format!("{destination}: a beat was taken; a queue is not read here, its reader would miss it"))
        }
        (Err(Deaf::Refused(why)), written) if what.reads => {
            let both = if written.is_err() && what.spared.is_none() { "read and write" } else { "read" };
            Finding::fail(about, format!("{destination} may not be read: {why}"), let_it(both))
        }
        (_, Err(why)) if what.writes => {
            Finding::fail(about, format!("{destination} may not be written to: {why}"), let_it("write to"))
        }
        (_, Err(_)) if let Some(why) = what.spared => Finding::ok(about, format!("{destination} may not be written to; {why}")),
        (Err(Deaf::Refused(_)), Ok(())) => {
            Finding::ok(about, format!("{destination}: a beat was taken; it may not be read, and nothing here does"))
        }
        (_, Err(why)) => Finding::warn(
            about,
            format!("{destination} may not be written to, so whether it is heard was not seen: {why}"),
            let_it("write to") + ", should a hook or a person here say something there",
        ),
        (Err(Deaf::Silent(why)), Ok(())) if what.reads => Finding::fail(
            about,
            format!("{destination}: a beat was taken and did not come back: {why}"),
            let_it("read") + ", and look into the broker's log",
        ),
        (Err(Deaf::Silent(why)), Ok(())) => Finding::warn(
            about,
            format!("{destination}: a beat was taken and did not come back: {why}"),
            "look into the broker's log",
        ),
    }
}

/// Its key if it has one.
fn about(bus: &Bus, destination: &str) -> String {
    let keys = crate::config::Topics::KEYS.iter().map(|(key, _)| *key);
    let key = keys.into_iter().find(|key| bus.topics.get(key) == destination);
    format!("topic {}", key.unwrap_or(destination))
}

/// Why a beat was not heard.
#[derive(Debug)]
enum Deaf {
    /// Nobody listened: it would be taken from whoever does.
    Queue,
    /// The subscription was refused.
    Refused(String),
    /// It was not.
    Silent(String),
}

/// What came of one round trip.
struct Seen {
    heard: Result<Duration, Deaf>,
    written: Result<(), String>,
}

impl Seen {
    fn of(target: &Target, destination: &str, deadline: Instant) -> Seen {
        let mark = uuid::Uuid::new_v4().to_string();
        let ears = if destination.starts_with("/queue/") { Err(Deaf::Queue) } else { listen(target, destination, deadline) };
        let begun = Instant::now();
        let written = say(target, destination, &mark, deadline);
        let heard = ears.and_then(|connection| match &written {
            Err(_) => Err(Deaf::Silent("it was not sent".to_owned())),
            Ok(()) => hear(&connection, &mark, deadline).map(|()| begun.elapsed()),
        });
        Seen { heard, written }
    }
}

/// The confirmed subscription.
fn listen(target: &Target, destination: &str, deadline: Instant) -> Result<Connection, Deaf> {
    let destination = destination.to_owned();
    let subscription = Subscription { destination, durable: None, ack: AckMode::Auto, prefetch: None };
    let connection = Connection::open(target.clone(), vec![subscription]);
    let connection = connection.map_err(|error| Deaf::Silent(error.to_string()))?;
    loop {
        match connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
            Some(Incoming::Connected(_)) => return Ok(connection),
            Some(Incoming::Message(_)) => {}
            Some(Incoming::Lost { cause, .. } | Incoming::GaveUp { cause }) => return Err(Deaf::Refused(cause)),
            None => return Err(Deaf::Refused(format!("the subscription was not confirmed in {} s", TIME.as_secs()))),
        }
    }
}

/// With a receipt: without one a refusal is silent.
fn say(target: &Target, destination: &str, mark: &str, deadline: Instant) -> Result<(), String> {
    let beat = Frame::send(destination, vec![(MARK.to_owned(), mark.to_owned())], b"\n".to_vec());
    let publish = || -> Result<(), bus::Error> {
        let mut publisher = Publisher::connect(target, deadline)?;
        publisher.publish(vec![beat], deadline)?;
        publisher.close();
        Ok(())
    };
    publish().map_err(|error| error.to_string())
}

fn hear(connection: &Connection, mark: &str, deadline: Instant) -> Result<(), Deaf> {
    loop {
        match connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
            Some(Incoming::Message(message)) if message.frame.header(MARK) == Some(mark) => return Ok(()),
            Some(Incoming::Message(_) | Incoming::Connected(_)) => {}
            Some(Incoming::Lost { cause, .. } | Incoming::GaveUp { cause }) => return Err(Deaf::Silent(cause)),
            None => return Err(Deaf::Silent(format!("nothing in {} s", TIME.as_secs()))),
        }
    }
}
