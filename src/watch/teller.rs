//! What a watcher tells people: on stderr, on its events topic, and in the service manager's status line.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::supervisor;
use crate::bus::{Connection, Message, Peer};
use crate::config::Config;
use crate::message::Event;
use crate::outbox::{Heard, Outbox};
use crate::stomp::Frame;

/// Messages that are of no use are told at most so often, and how many there were: whoever sends them decides how many come.
const TELL_MALFORMED: Duration = Duration::from_secs(10);
/// So many that were understood and refused are told in that time: each may be somebody's who waits for it.
const TELL_REFUSED: u64 = 10;
/// So many are kept in that time: each is a file.
const KEEP_MALFORMED: u64 = 10;
/// The same problem is told again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(3600);

/// Tells each thing once.
#[derive(Debug)]
pub struct Teller {
    node: String,
    /// `None`: nothing is said on the bus.
    events: Option<String>,
    /// What each piece of work last failed with, and when that was told.
    problems: BTreeMap<String, (String, Instant)>,
    /// Where what makes no sense is kept.
    outbox: Outbox,
    /// Since when, and how many messages came since that are of no use.
    flood: Option<(Instant, u64)>,
    /// Such messages that were not told.
    untold: u64,
    lost: Option<String>,
    /// How the connection is, and the last outcome.
    status: (String, String),
    shown: String,
}

impl Teller {
    /// `topic`: the key of its events topic, `events-fetch` say.
    pub fn new(config: &Config, topic: &str) -> Teller {
        Teller { events: Some(config.bus.topics.get(topic)), ..Teller::quiet(config) }
    }

    /// For a watcher that may listen to any topic: it says nothing on the bus, lest it hears itself.
    pub fn quiet(config: &Config) -> Teller {
        Teller {
            node: config.node.to_string(),
            events: None,
            problems: BTreeMap::new(),
            outbox: Outbox::new(&config.bus),
            flood: None,
            untold: 0,
            lost: None,
            status: ("no broker yet".to_owned(), String::new()),
            shown: String::new(),
        }
    }

    /// `HOST what happened`, to whoever listens, and in the status line. Best effort: who misses it can ask for the state of things.
    pub fn event(&mut self, line: &str, connection: &Connection) {
        if let Some(events) = &self.events {
            let event = Event::human(jiff::Timestamp::now(), &format!("{} {line}", self.node));
            connection.send(Frame::send(events, event.headers, event.body.into_bytes()));
        }
        line.clone_into(&mut self.status.1);
        self.show();
    }

    /// A line on stderr and the same on the events topic.
    pub fn problem(&mut self, line: &str, connection: &Connection) {
        say(&mut std::io::stderr(), &format!("failcake: problem: {line}"));
        self.event(&format!("problem: {line}"), connection);
    }

    /// The work on `about` (a name from the configuration, never one from the bus: each is remembered) failed. Is
    /// that news? The same problem is so once an hour.
    pub fn failed(&mut self, about: &str, problem: &str) -> bool {
        let now = Instant::now();
        let told = self.problems.get(about);
        if told.is_some_and(|(known, when)| known == problem && now < *when + TELL_AGAIN) {
            return false;
        }
        self.problems.insert(about.to_owned(), (problem.to_owned(), now));
        true
    }

    /// The work on `about` was done.
    pub fn succeeded(&mut self, about: &str) {
        self.problems.remove(about);
    }

    /// Has the last work on anything failed? A drain ends with that.
    pub fn has_failures(&self) -> bool {
        !self.problems.is_empty()
    }

    /// A message makes no sense: told, set aside on disk, and dropped. Of a flood some are told and kept, the others
    /// counted.
    pub fn malformed(&mut self, message: &Message, why: &str, connection: &Connection) {
        let told = self.flood(Instant::now());
        let kept = (told <= KEEP_MALFORMED).then(|| self.outbox.set_aside(&message.frame, Heard::Malformed, why));
        let kept = match kept {
            Some(Err(error)) => format!("it could not be kept: {error}"),
            _ => "`failcake spool list` shows it".to_owned(),
        };
        self.tell(told <= 1, &format!("dropped a malformed message: {why}"), &format!("; {kept}"), connection);
    }

    /// A message was understood and nothing comes of it: `what` says of whom, and why. It is not kept; of a flood some are
    /// told, the others counted.
    pub fn refused(&mut self, what: &str, connection: &Connection) {
        let told = self.flood(Instant::now());
        self.tell(told <= TELL_REFUSED, &format!("refused {what}"), "", connection);
    }

    /// The how many-th it is since the flood began.
    fn flood(&mut self, now: Instant) -> u64 {
        let (began, told) = self.flood.filter(|(began, _)| now < *began + TELL_MALFORMED).unwrap_or((now, 0));
        self.flood = Some((began, told + 1));
        told + 1
    }

    fn tell(&mut self, is_told: bool, line: &str, end: &str, connection: &Connection) {
        if !is_told {
            self.untold += 1;
            return;
        }
        let many = if self.untold > 0 { format!(" (and {} more before)", self.untold) } else { String::new() };
        self.untold = 0;
        self.problem(&format!("{line}{many}{end}"), connection);
    }

    /// The work that a message asked for failed for good: it is told, and set aside on disk, so that it blocks nothing;
    /// `failcake spool flush --refused` says it again. `false`: the disk did not take it.
    pub fn set_aside(&mut self, message: &Frame, why: &str, connection: &Connection) -> bool {
        let kept = self.outbox.set_aside(message, Heard::Failed, why);
        let told = match &kept {
            Ok(()) => format!("set aside: {why}; `failcake spool flush --refused` tries it again"),
            Err(error) => format!("{why}; and the message could not be set aside: {error}"),
        };
        self.problem(&told, connection);
        kept.is_ok()
    }

    /// The broker is there.
    pub fn connected(&mut self, peer: &Peer) {
        self.lost = None;
        say(&mut std::io::stderr(), &format!("failcake: listening to {}", peer.address));
        self.status.0 = format!("connected to {}", peer.address);
        self.show();
    }

    /// A broker that stays away for the same reason is told of once.
    pub fn lost(&mut self, cause: &str, retry_in: Duration) {
        if self.lost.as_deref() != Some(cause) {
            let wait = retry_in.as_secs_f64();
            say(&mut std::io::stderr(), &format!("failcake: no broker: {cause}; next try in {wait:.1} s"));
            self.lost = Some(cause.to_owned());
        }
        self.status.0 = format!("no broker: {cause}");
        self.show();
    }

    /// What became of a HUP: a bad configuration is told with its place, and the old one goes on.
    pub fn reloaded<T>(&mut self, loaded: &anyhow::Result<T>, connection: &Connection) {
        match loaded {
            Ok(_) => say(&mut std::io::stderr(), "failcake: the configuration was read again"),
            Err(error) => {
                self.problem(&format!("the new configuration is bad, the old one goes on: {error:#}"), connection)
            }
        }
    }

    fn show(&mut self) {
        let (connection, last) = &self.status;
        let line = if last.is_empty() { connection.clone() } else { format!("{connection}; last: {last}") };
        if line != self.shown {
            supervisor::status(&line);
            self.shown = line;
        }
    }
}

/// A line for whoever still reads: a closed pipe ends no watcher.
pub fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
}
