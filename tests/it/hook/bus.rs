//! The hook as it is installed, over a broker: what arrives, and what a push feels of a broker that is not there.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use failcake::message::Envelope;
use failcake::message::push::{Kind, Push};
use failcake::stomp::Frame;

use super::Server;
use crate::sandbox::Sandbox;
use crate::sandbox::brokers::Listener;

const COMMITS: &str = "/topic/failcake.git.commits";
const EVENTS: &str = "/topic/failcake.events.gitolite";

impl Server {
    /// The shipped hook, on a machine where failcake is in the PATH and the broker is at `url`.
    fn install_shipped(&self, url: &str) {
        let bin = self.path("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let _ = std::os::unix::fs::symlink(super::BINARY, bin.join("failcake"));
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks/git-post-receive");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let lines: Vec<&str> = shipped.lines().skip(1).collect();
        self.install_script(&format!(
            "PATH={}:$PATH FAILCAKE_BROKER={url}; export PATH FAILCAKE_BROKER\n{}",
            bin.display(),
            lines.join("\n")
        ));
    }

    /// Pushes; what git shows of the hook's stderr. The push itself must work.
    fn push_shown(&self, arguments: &[&str]) -> String {
        let mut command = self.command("git", &self.path("work"));
        let output = command.args(["push", "-q", "origin"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn parse(frame: &Frame) -> Push {
    Push::parse(&Envelope::read(&frame.headers, &frame.body).unwrap().unwrap()).unwrap()
}

#[test]
fn an_event_and_a_line_for_people_arrive_for_each_ref() {
    let world = Sandbox::new();
    let broker = world.broker();
    let listener = Listener::open(&broker.url, &[COMMITS, EVENTS]);
    let server = Server::new();
    server.install_shipped(&broker.url);
    let one = server.commit("one");
    assert_eq!(server.push_shown(&["master", "master:refs/heads/b"]), "", "the hook says nothing when all is well");
    let frames = listener.take(4);
    let on = |topic: &str| frames.iter().filter(|frame| frame.header("destination") == Some(topic)).collect::<Vec<_>>();
    let (commits, events) = (on(COMMITS), on(EVENTS));
    assert_eq!((commits.len(), events.len()), (2, 2));

    let subject = format!("[spog] refs/heads/master {one}");
    assert_eq!(commits[0].header("subject"), Some(&*subject));
    assert_eq!(commits[0].header("event-type"), Some("push"));
    assert_eq!(commits[0].header("persistent"), Some("true"));
    assert_eq!(commits[0].header("content-length"), None);
    assert!(commits[0].header("event-time").unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(events[0].header("subject"), Some("Talking to eventbot"));
    assert_eq!(String::from_utf8_lossy(&events[0].body), subject);
    let ids: std::collections::HashSet<_> = frames.iter().map(|frame| frame.header("event-id").unwrap()).collect();
    assert_eq!(ids.len(), 4, "each has a name of its own");

    let push = parse(commits[0]);
    assert_eq!((push.kind, push.total, push.commits[0].message.trim()), (Kind::Create, 1, "one"));
    assert_ne!(commits[0].body, commits[1].body);
    assert_eq!(parse(commits[1]).refname.to_str(), Some("refs/heads/b"), "ref 2 does not repeat ref 1");
    let json: serde_json::Value =
        serde_json::from_str(Envelope::read(&[], &commits[0].body).unwrap().unwrap().json().unwrap()).unwrap();
    assert_eq!(json["event_id"].as_str(), commits[0].header("event-id"));
}

#[test]
fn a_deleted_ref_costs_the_others_nothing() {
    let world = Sandbox::new();
    let broker = world.broker();
    let listener = Listener::open(&broker.url, &[COMMITS, EVENTS]);
    let server = Server::new();
    server.commit("one");
    server.push(&["master", "master:old"]);
    server.install_shipped(&broker.url);
    server.commit("two");
    server.push_shown(&["master", ":old", "master:new"]);
    let frames = listener.take(6);
    let told: Vec<_> = frames.iter().filter(|frame| frame.header("destination") == Some(COMMITS)).map(parse).collect();
    let kinds: Vec<_> = told.iter().map(|push| (push.refname.short().into_owned(), push.kind)).collect();
    let expected = [("old", Kind::Delete), ("master", Kind::Update), ("new", Kind::Create)];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn hundreds_of_refs_are_one_spool_file() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    server.install_shipped("stomp://127.0.0.1:1");
    for number in 0..150 {
        server.git(&["branch", &format!("b{number}")]);
    }
    let shown = server.push_shown(&["--all"]);
    assert!(shown.contains("remote: "), "a warning is shown: {shown}");
    let list = server.command(super::BINARY, &server.path("work")).args(["spool", "list", "--json"]).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    assert!(text.contains("push") || text.contains("spog"), "{text}");
    let waiting = walk(&server.path("spool")).into_iter().filter(|(_, size)| *size > 50_000).count();
    assert_eq!(waiting, 1, "{:?}", walk(&server.path("spool")));
}

/// All files below a folder with their sizes.
fn walk(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap() {
            data if data.is_dir() => files.extend(walk(&entry.path())),
            data => files.push((entry.path(), data.len())),
        }
    }
    files
}

#[test]
fn without_a_broker_the_push_works_and_the_event_waits() {
    let server = Server::new();
    let one = server.commit("one");
    server.install_shipped("stomp://127.0.0.1:1");
    let shown = server.push_shown(&["master"]);
    assert!(shown.contains("127.0.0.1:1"), "the warning names the broker: {shown}");
    // The objects may be gone when it is sent at last: nothing is read again.
    server.push_shown(&["--delete", "master"]);
    server.git_in(&server.path("spog.git"), &["gc", "-q", "--prune=now"]);

    let world = Sandbox::new();
    let broker = world.broker();
    let listener = Listener::open(&broker.url, &[COMMITS, EVENTS]);
    let mut flush = server.command(super::BINARY, &server.path("work"));
    let flushed = flush.args(["spool", "flush"]).env("FAILCAKE_BROKER", &broker.url).output().unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    let frames = listener.take(4);
    let first = frames.iter().find(|frame| frame.header("destination") == Some(COMMITS)).map(parse).unwrap();
    assert_eq!((first.new.as_str(), first.commits.len()), (&*one, 1));
}

#[test]
fn a_silent_broker_holds_a_push_no_longer_than_the_budget() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::new();
    server.commit("one");
    server.install_shipped(&format!("stomp://{}", silent.local_addr().unwrap()));
    let start = Instant::now();
    server.push_shown(&["master"]);
    assert!(start.elapsed() < Duration::from_secs(30), "2 s are the budget");
    assert!(!walk(&server.path("spool")).is_empty());
}
