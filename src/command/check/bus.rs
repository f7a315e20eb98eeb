//! The way out: brokers and the spool.

use std::time::{Duration, Instant, SystemTime};

use super::Finding;
use crate::bus::{self, Connection, Incoming, Publisher, Target};
use crate::config::Bus;
use crate::spool::{Limits, Spool};
use crate::stomp::url::{BrokerUrl, Host};
use crate::stomp::{AckMode, Frame, Subscription};

/// A person waits for the answer: longer than a hook's budget, shorter than patience.
const TIME: Duration = Duration::from_secs(5);
/// What waits longer than this is not about to be sent by itself.
const STUCK: Duration = Duration::from_secs(300);

/// Each host by itself: a failover list hides a dead one until it is needed.
pub fn brokers(bus: &Bus, round_trip: bool) -> Vec<Finding> {
    let tries: Vec<(&Host, Target, Result<Publisher, bus::Error>)> = bus
        .broker
        .hosts
        .iter()
        .map(|host| {
            let url = BrokerUrl { hosts: vec![host.clone()], reconnect: bus.broker.reconnect.clone() };
            let target = Target { url, ..Target::from(bus) };
            let publisher = Publisher::connect(&target, Instant::now() + TIME);
            (host, target, publisher)
        })
        .collect();
    let any = tries.iter().any(|(_, _, publisher)| publisher.is_ok());
    let mut findings = Vec::new();
    for (host, target, publisher) in tries {
        match publisher {
            Ok(publisher) => {
                findings.push(reached(host, &publisher));
                publisher.close();
                if round_trip {
                    findings.push(around(bus, target));
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

/// Sends a message that nobody else listens to, and waits for it.
fn around(bus: &Bus, target: Target) -> Finding {
    let destination = format!("/topic/{}.check.{}", bus.topics.prefix, uuid::Uuid::new_v4());
    let begun = Instant::now();
    match pass(&destination, target, begun + TIME) {
        Ok(()) => Finding::ok("round trip", format!("a message came back in {} ms", begun.elapsed().as_millis())),
        Err(text) => Finding::fail(
            "round trip",
            format!("no message came back over {destination}: {text}"),
            "let this login write to and read from topics that begin with the prefix",
        ),
    }
}

fn pass(destination: &str, target: Target, deadline: Instant) -> Result<(), String> {
    let subscription =
        Subscription { destination: destination.to_owned(), durable: None, ack: AckMode::Auto, prefetch: None };
    let connection = Connection::open(target, vec![subscription]).map_err(|error| error.to_string())?;
    while let Some(incoming) = connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
        match incoming {
            // Only now is the subscription confirmed.
            Incoming::Connected(_) => {
                let mut frame = Frame::new("SEND");
                frame.headers.push(("destination".to_owned(), destination.to_owned()));
                frame.body = b"failcake check".to_vec();
                connection.send(frame);
            }
            Incoming::Message(_) => {
                connection.close();
                return Ok(());
            }
            Incoming::Lost { cause, .. } | Incoming::GaveUp { cause } => return Err(cause),
        }
    }
    Err(format!("nothing in {} s", TIME.as_secs()))
}

/// This user's spool, and for root everybody's.
pub fn spool(bus: &Bus) -> Vec<Finding> {
    let limits = Limits { count: bus.spool.max_count, bytes: bus.spool.max_bytes };
    let remedy = "correct that, or set spool: to a folder where every user may write";
    if let Err(error) = Spool::open(&bus.spool.parent, limits) {
        return vec![Finding::fail("spool", error.to_string(), remedy)];
    }
    match Spool::find_all(&bus.spool.parent, limits) {
        Ok(spools) => spools.iter().map(one_spool).collect(),
        Err(error) => vec![Finding::fail("spool", error.to_string(), remedy)],
    }
}

fn one_spool(spool: &Spool) -> Finding {
    let path = spool.path().display();
    let waiting = match spool.survey() {
        Ok(waiting) => waiting,
        Err(error) => return Finding::fail("spool", error.to_string(), "make it readable"),
    };
    if spool.is_own()
        && let Err(error) = nix::unistd::access(spool.path(), nix::unistd::AccessFlags::W_OK)
    {
        return Finding::fail("spool", format!("{path} can't be written: {error}"), "make it writable");
    }
    if nix::sys::statvfs::statvfs(spool.path()).is_ok_and(|fs| fs.blocks_available() == 0) {
        return Finding::fail("spool", format!("no room is left for {path}"), "make room on that file system");
    }
    let refused = waiting.iter().filter(|entry| entry.refused.is_some()).count();
    let count = waiting.len() - refused;
    if refused > 0 {
        return Finding::warn(
            "spool",
            format!("{path}: the broker refused {refused}, {count} more wait"),
            "see why with failcake spool list",
        );
    }
    let oldest = waiting.iter().map(|entry| entry.since).min();
    let age = oldest.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default();
    if count == 0 {
        return Finding::ok("spool", format!("{path} is writable, nothing waits"));
    }
    let text = format!("{path} is writable, {count} wait, the oldest for {} s", age.as_secs());
    if age > STUCK {
        return Finding::warn("spool", text, "send them with failcake spool flush, and run keepalive from cron");
    }
    Finding::ok("spool", text)
}
