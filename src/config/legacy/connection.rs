//! How an old file says where the brokers are: a URL with options, the Ruby client's parameters, or two servers.

use std::path::Path;
use std::time::Duration;

use super::entries::{destination, word};
use super::new::Beat;
use super::ruby::{Node, Value, symbol};
use super::{New, Place, unknown};
use crate::config::Error;
use crate::config::word::{Destination, parse_broker};
use crate::stomp::url::{BrokerUrl, Host, Reconnect};

/// Parameters of the Ruby client that have no effect here. Those for reconnecting are [`Reconnect::apply`]'s.
const NO_EFFECT: [&str; 17] = [
    "accept-version",
    "logger",
    "closed_check",
    "hbser",
    "stompconn",
    "usecrlf",
    "max_hbread_fails",
    "max_hbrlck_fails",
    "fast_hbs_adjust",
    "connread_timeout",
    "tcp_nodelay",
    "start_timeout",
    "sslctx_newparm",
    "ssl_post_conn_check",
    "nto_cmd_read",
    "client-id",
    "autoflush",
];

/// Reads all of the connection; there is exactly one.
pub fn finish(new: &mut New, place: Place, root: &Node, all: bool) -> Result<(), Error> {
    let mut said = Vec::new();
    if let Some(node) = root.get("rserver") {
        new.broker = Some(url(place, node)?);
        said.push(("rserver", node.line));
    }
    if let Some(node) = root.get("stompconnector") {
        connector(new, place, node)?;
        said.push(("stompconnector", node.line));
    }
    if let Some(node) = root.get("stompserver1").or_else(|| root.get("stompserver2")) {
        servers(new, place, root, all)?;
        said.push(("stompserver1", node.line));
    }
    match said.as_slice() {
        [] if super::farm::is_site(root) => return Ok(()),
        [] => return Err(Error(format!("{}: no broker: say rserver or stompconnector", place.path.display()))),
        [_] => {}
        [(first, _), (second, line), ..] => {
            return Err(place.error(*line, second, format_args!("{first} is there as well: keep one")));
        }
    }
    if let Some(node) = root.get("stomp-options") {
        let text: String = word(place, "stomp-options", node)?;
        let mut reconnect = Reconnect::default();
        for option in text.split('&') {
            apply(new, place, node.line, &mut reconnect, option);
        }
        for broker in new.broker.iter_mut().chain(new.beats.iter_mut().map(|beat| &mut beat.broker)) {
            broker.reconnect = reconnect.clone();
        }
    }
    Ok(())
}

/// The daemons' client passed over what it did not know.
fn apply(new: &mut New, place: Place, line: u64, reconnect: &mut Reconnect, option: &str) {
    let mut changed = reconnect.clone();
    match changed.apply(option) {
        Ok(()) => *reconnect = changed,
        Err(error) => new.warnings.push(format!("{}: {error}: it is left out", place.line(line))),
    }
}

fn url(place: Place, node: &Node) -> Result<BrokerUrl, Error> {
    let text: String = word(place, "rserver", node)?;
    // The Ruby client took a percent sign for itself, today's URL for an escape.
    parse_broker(&text.replace('%', "%25")).map_err(|what| place.error(node.line, "rserver", what))
}

fn connector(new: &mut New, place: Place, node: &Node) -> Result<(), Error> {
    let keys = node.map().map_err(|what| place.error(node.line, "stompconnector", what))?;
    let mut reconnect = Reconnect::default();
    let mut hosts = Vec::new();
    for (key, node) in keys.iter().filter(|(_, node)| !node.is_nothing()) {
        match key.as_str() {
            "hosts" => {
                let Value::List(entries) = &node.value else {
                    return Err(place.error(node.line, "hosts", "a list is wanted"));
                };
                for entry in entries {
                    hosts.push(host(new, place, entry)?);
                }
            }
            "connect_headers" => connect_headers(new, place, node)?,
            key if NO_EFFECT.contains(&key) => {}
            key => {
                // A number with a fraction is a number here: `:max_reconnect_delay: 30.0`.
                let value = match &node.value {
                    Value::Float(number) => number.to_string(),
                    _ => word(place, key, node)?,
                };
                apply(new, place, node.line, &mut reconnect, &format!("{key}={value}"));
            }
        }
    }
    if hosts.is_empty() {
        return Err(place.error(node.line, "stompconnector", "it has no hosts"));
    }
    new.broker = Some(BrokerUrl { hosts, reconnect });
    Ok(())
}

fn host(new: &mut New, place: Place, entry: &Node) -> Result<Host, Error> {
    const KNOWN: [&str; 5] = ["login", "passcode", "host", "port", "ssl"];
    let keys = entry.map().map_err(|what| place.error(entry.line, "hosts", what))?;
    for (key, node) in keys.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        unknown(new, place, node.line, key, KNOWN.into_iter());
    }
    let Some(name) = entry.get("host") else { return Err(place.error(entry.line, "hosts", "one has no host")) };
    let tls = entry.get("ssl").map_or(Ok(false), |node| ssl(new, place, node))?;
    let text = |key: &str| entry.get(key).map(|node| word::<String>(place, key, node)).transpose();
    let host = Host {
        tls,
        host: word(place, "host", name)?,
        port: entry.get("port").map_or(Ok(if tls { 61614 } else { 61613 }), |node| port(place, "port", node))?,
        login: text("login")?,
        passcode: text("passcode")?,
        vhost: None,
    };
    check(place, entry.line, "hosts", host)
}

/// true, false, or the client's object with the files of trusted roots.
fn ssl(new: &mut New, place: Place, node: &Node) -> Result<bool, Error> {
    if let Ok("false") = node.text() {
        return Ok(false);
    }
    if let Some(roots) = node.get("ts_files") {
        let text: String = word(place, "ts_files", roots)?;
        if text.contains(',') {
            return Err(place.error(roots.line, "ts_files", "several files: join them and name the one"));
        }
        let near = place.path.parent().unwrap_or(Path::new("")).join(text);
        new.ca_file = Some(std::path::absolute(&near).unwrap_or(near));
    }
    if new.ca_file.is_none() {
        new.warnings.push(format!(
            "{}: ssl: the Ruby client trusted every certificate, failcake does not: if the system's roots don't know the \
             broker's, say ca-file: in a new configuration",
            place.line(node.line)
        ));
    }
    Ok(true)
}

fn port(place: Place, key: &str, node: &Node) -> Result<u16, Error> {
    let text: String = word(place, key, node)?;
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| place.error(node.line, key, "no number from 1 to 65535"))
}

/// The URL's own rules, without its escapes. No message shows the passcode.
fn check(place: Place, line: u64, key: &str, host: Host) -> Result<Host, Error> {
    parse_broker(&host.to_string()).map_err(|what| place.error(line, key, what))?;
    if host.passcode.as_ref().is_some_and(|passcode| passcode.contains(char::is_control)) {
        return Err(place.error(line, key, "the passcode holds a control character, which STOMP can't carry at login"));
    }
    // An empty one is none, as in a URL.
    let some = |word: Option<String>| word.filter(|word| !word.is_empty());
    Ok(Host { login: some(host.login), passcode: some(host.passcode), ..host })
}

/// What the client sent when it logged in: there `host` is the virtual host.
fn connect_headers(new: &mut New, place: Place, node: &Node) -> Result<(), Error> {
    for (key, node) in node.map().map_err(|what| place.error(node.line, "connect_headers", what))? {
        match key.as_str() {
            _ if node.is_nothing() => {}
            "host" => new.vhost = Some(word(place, key, node)?),
            "heart-beat" => {
                let text: String = word(place, key, node)?;
                let beats: Option<Vec<u64>> = text.split(',').map(|beat| beat.trim().parse().ok()).collect();
                let Some(beat) = beats.and_then(|beats| beats.into_iter().max()) else {
                    return Err(place.error(node.line, key, "two numbers of milliseconds are wanted"));
                };
                // RabbitMQ counts in whole seconds, and over an hour none is any use.
                new.heart_beat = Some(Duration::from_secs((beat / 1000).min(3600)));
            }
            key if NO_EFFECT.contains(&key) => {}
            key => unknown(new, place, node.line, key, ["host", "heart-beat"].into_iter()),
        }
    }
    Ok(())
}

/// Two servers without a login; each beat has its own.
fn servers(new: &mut New, place: Place, root: &Node, all: bool) -> Result<(), Error> {
    let mut hosts = Vec::new();
    for (server, key) in [("stompserver1", "stompport1"), ("stompserver2", "stompport2")] {
        let Some(node) = root.get(server) else { continue };
        let port = root.get(key).map_or(Ok(61613), |node| port(place, key, node))?;
        let host =
            Host { tls: false, host: word(place, server, node)?, port, login: None, passcode: None, vhost: None };
        hosts.push(check(place, node.line, server, host)?);
    }
    if let Some(node) = root.get("topics").filter(|_| all) {
        for (name, entry) in node.map().map_err(|what| place.error(node.line, "topics", what))? {
            beat(new, place, &hosts, name, entry)?;
        }
    }
    new.broker = Some(BrokerUrl { hosts, reconnect: Reconnect::default() });
    new.weak_broker = true;
    Ok(())
}

fn beat(new: &mut New, place: Place, hosts: &[Host], name: &str, entry: &Node) -> Result<(), Error> {
    const KNOWN: [&str; 3] = ["user", "pass", "type"];
    let keys = entry.map().map_err(|what| place.error(entry.line, name, what))?;
    for (key, node) in keys.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        unknown(new, place, node.line, key, KNOWN.into_iter());
    }
    let kind = entry.get("type").map_or(Ok("topic"), Node::text).map(symbol);
    let kind = kind.map_err(|what| place.error(entry.line, name, what))?;
    if !["topic", "queue"].contains(&kind) {
        return Err(place.error(entry.line, name, "its type is topic or queue"));
    }
    let text = |key: &str| entry.get(key).map(|node| word::<String>(place, key, node)).transpose();
    let (login, passcode) = (text("user")?, text("pass")?);
    let hosts = hosts.iter().map(|host| {
        check(place, entry.line, name, Host { login: login.clone(), passcode: passcode.clone(), ..host.clone() })
    });
    let name_node = Node { line: entry.line, value: Value::Text(destination(kind, name)) };
    let Destination(destination) = word(place, name, &name_node)?;
    let broker = BrokerUrl { hosts: hosts.collect::<Result<_, _>>()?, reconnect: Reconnect::default() };
    new.beats.push(Beat { destination, broker });
    Ok(())
}
