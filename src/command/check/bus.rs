//! The way out: brokers and the spool.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::limits;
use super::report::{Measure, Unit};
use super::topics::{Uses, round_trips};
use super::{Finding, Level};
use crate::bus::{self, Publisher, Target};
use crate::config::{Bus, DEFAULT_SPOOL};
use crate::spool::{Limits, MAKE_ROOM, NEARLY_FULL, Spool, Used, Waiting};
use crate::stomp::url::{BrokerUrl, Host};

/// A person waits for the answer: longer than a hook's budget, shorter than patience.
const TIME: Duration = Duration::from_secs(5);

/// Each host by itself: a failover list hides a dead one until it is needed. `round_trip`: over which topics to send.
pub fn brokers(bus: &Bus, round_trip: Option<Uses>) -> Vec<Finding> {
    let hosts = bus.broker.hosts.iter().map(|host| {
        let url = BrokerUrl { hosts: vec![host.clone()], reconnect: bus.broker.reconnect.clone() };
        (host, Target { url, ..Target::from(bus) })
    });
    // All at once: a monitor does not wait for one silent host after the other.
    let tries: Vec<(&Host, Target, Result<Publisher, bus::Error>)> = std::thread::scope(|scope| {
        let try_it = |target: Target| {
            let publisher = Publisher::connect(&target, Instant::now() + TIME);
            (target, publisher)
        };
        let tries: Vec<_> = hosts.map(|(host, target)| (host, scope.spawn(move || try_it(target)))).collect();
        tries.into_iter().filter_map(|(host, tried)| tried.join().ok().map(|(target, it)| (host, target, it))).collect()
    });
    let any = tries.iter().any(|(_, _, publisher)| publisher.is_ok());
    let mut findings = Vec::new();
    for (host, target, publisher) in tries {
        match publisher {
            Ok(publisher) => {
                findings.push(reached(host, &publisher));
                publisher.close();
                if let Some(uses) = &round_trip {
                    findings.extend(round_trips(bus, &target, uses));
                }
            }
            Err(error) => {
                let remedy = match &error {
                    bus::Error::Login(_) => "correct the login in broker: and the passcode",
                    _ if host.tls => "start it, open the way to it, or correct broker: and ca-file:",
                    _ => "start it, open the way to it, or correct broker:",
                };
                let text = error.to_string();
                findings.push(if any {
                    Finding::warn("broker", text, remedy)
                } else {
                    Finding::fail("broker", text, remedy)
                });
            }
        }
    }
    if !bus.tls.verify && bus.broker.hosts.iter().any(|host| host.tls) {
        findings.push(Finding::warn(
            "broker",
            "insecure: its certificate is not verified",
            "remove tls-verify: false and name its root in ca-file:",
        ));
    }
    findings
}

fn reached(host: &Host, publisher: &Publisher) -> Finding {
    let peer = publisher.peer();
    let server = peer.server.clone().unwrap_or_else(|| "a broker of unknown make".to_owned());
    let login =
        host.login.as_ref().map_or_else(|| "without a login".to_owned(), |login| format!("logged in as {login}"));
    let tls = if host.tls { ", TLS" } else { "" };
    Finding::ok("broker", format!("{} is {server}, STOMP {}{tls}, {login}", peer.address, peer.version))
}

/// This user's spool, and for root everybody's.
pub fn spool(bus: &Bus, oldest: &limits::Limits<Duration>) -> Vec<Finding> {
    let limits = Limits { count: bus.spool.max_count, bytes: bus.spool.max_bytes };
    let remedy = "correct that, or set spool: to a folder where every user may write";
    if let Err(error) = Spool::open(&bus.spool.parent, limits) {
        return vec![Finding::fail("spool", error.to_string(), remedy)];
    }
    match Spool::find_all(&bus.spool.parent, limits) {
        Ok(spools) => {
            let elsewhere = spools.iter().find_map(|spool| elsewhere(&bus.spool.parent, spool));
            spools.iter().map(|spool| one_spool(spool, oldest)).chain(elsewhere).collect()
        }
        Err(error) => vec![Finding::fail("spool", error.to_string(), remedy)],
    }
}

/// A missing folder is replaced by the home folder's, where all that this user runs meets.
fn elsewhere(parent: &Path, spool: &Spool) -> Option<Finding> {
    (spool.is_own() && !spool.path().starts_with(parent)).then(|| {
        let text = format!("{} is not there, {} is used instead", parent.display(), spool.path().display());
        // Nobody asked for it, and one person's machine does well without.
        if parent == Path::new(DEFAULT_SPOOL) {
            return Finding::ok("spool", text);
        }
        let text = text + ": all that this user runs with a missing folder shares that one, and root's flush does not see it";
        let remedy = format!("make it, as root: install -d -m 1777 {}; or correct spool:", parent.display());
        Finding::warn("spool", text, remedy)
    })
}

fn one_spool(spool: &Spool, oldest: &limits::Limits<Duration>) -> Finding {
    let path = spool.path().display();
    let entries = match spool.survey() {
        Ok(entries) => entries,
        Err(error) => return Finding::fail("spool", error.to_string(), "make it readable"),
    };
    if spool.is_own()
        && let Err(error) = nix::unistd::access(spool.path(), nix::unistd::AccessFlags::W_OK)
    {
        return Finding::fail("spool", format!("{path} can't be written: {error}"), "make it writable");
    }
    let waiting = Tally::of(&entries);
    let mut text = match waiting.count {
        0 => format!("{path} is writable, nothing waits"),
        count => format!("{path} is writable, {count} wait, the oldest for {} s", waiting.oldest.as_secs()),
    };
    let mut level = Level::of(waiting.oldest, oldest);
    let mut remedies = Vec::new();
    if level != Level::Ok {
        remedies.push("send them with failcake spool flush, and run keepalive from cron");
    }
    if waiting.aside > 0 {
        text += &format!("; {} were set aside", waiting.aside);
        level = level.max(Level::Warn);
        remedies.push("see why with failcake spool list");
    }
    let used = spool.used(&entries);
    if let Some(concern) = used.concern() {
        text += &format!("; {concern}");
        level = level.max(if used.is_full() { Level::Fail } else { Level::Warn });
        remedies.push(MAKE_ROOM);
    }
    let finding = Finding::at(level, "spool", text, remedies.join("; "));
    waiting.measures("spool", oldest).into_iter().fold(finding, Finding::with).with(filled(&used))
}

fn filled(used: &Used) -> Measure {
    Measure {
        name: "spool_used".to_owned(),
        value: used.percent(),
        unit: Unit::Percent,
        warn: Some(NEARLY_FULL),
        fail: Some(100),
        most: Some(100),
    }
}

/// What a folder of waiting things holds.
pub(super) struct Tally {
    pub(super) count: usize,
    pub(super) aside: usize,
    /// Of those that wait.
    pub(super) oldest: Duration,
}

impl Tally {
    pub(super) fn of(entries: &[Waiting]) -> Tally {
        let waiting = || entries.iter().filter(|entry| entry.refused.is_none());
        let since = waiting().map(|entry| entry.since).min();
        let oldest = since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default();
        let count = waiting().count();
        Tally { count, aside: entries.len() - count, oldest }
    }

    pub(super) fn measures(&self, of: &str, oldest: &limits::Limits<Duration>) -> [Measure; 3] {
        let count = |name: &str, value: usize| Measure {
            name: format!("{of}_{name}"),
            value: value as u64,
            unit: Unit::Count,
            warn: None,
            fail: None,
            most: None,
        };
        [
            count("waiting", self.count),
            count("set_aside", self.aside),
            Measure {
                unit: Unit::Seconds,
                warn: oldest.warn.map(|limit| limit.as_secs()),
                fail: oldest.fail.map(|limit| limit.as_secs()),
                value: self.oldest.as_secs(),
                ..count("oldest", 0)
            },
        ]
    }
}
