//! `failcake tail`: what passes, printed, or each given to a command.

mod durable;
mod exec;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use failcake::bus::Publisher;
use failcake::message::EventId;
use failcake::stomp::Frame;
use nix::sys::signal::Signal;

use super::sandbox::brokers::{Listener, target};
use super::sandbox::{FAILCAKE, Running, Sandbox};

const COMMITS: &str = "/topic/failcake.git.commits";
const COMMIT: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";
/// For what must happen: long, since the machine may be busy. No test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn send(url: &str, frames: Vec<Frame>) {
    let deadline = Instant::now() + PATIENCE;
    let mut publisher = Publisher::connect(&target(url, None), deadline).unwrap();
    publisher.publish(frames, deadline).unwrap();
    publisher.close();
}

/// A push as the older hooks tell it, with a name.
fn push(repo: &str, refname: &str, id: EventId) -> Frame {
    let body = format!("repo: {repo}\noldrev: {}\nnewrev: {COMMIT}\nrefname: {refname}\n\nlog\n", "b".repeat(40));
    let headers = [
        ("subject", format!("[{repo}] {refname} {COMMIT}")),
        ("event-id", id.to_string()),
        ("event-type", "push".to_owned()),
        ("event-time", jiff::Timestamp::now().to_string()),
        ("persistent", "true".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Frame::send(COMMITS, headers, body.into_bytes())
}

fn plain(destination: &str, body: &[u8]) -> Frame {
    Frame::send(destination, Vec::new(), body.to_vec())
}

/// A script in the sandbox.
fn script(world: &Sandbox, name: &str, text: &str) -> String {
    let path = world.write(name, format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn tail(world: &Sandbox, words: &[&str]) -> Running {
    let mut tail = world.failcake([&["tail"], words].concat()).start();
    tail.stderr_line("listening to");
    tail
}

fn wait_for(world: &Sandbox, file: &str, good: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(world.path(file)).unwrap_or_default();
        if good(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{file} is not as it should be:\n{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_push_is_a_line_and_a_beat_is_none() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let mut tail = tail(&world, &[]);
    world.failcake(["keepalive"]).run().success();
    world.repository("spog");
    world.install_hook("spog");
    let commit = world.commit("spog", "mend the door\n\nat last", &[("file", "two\n")]);
    let url = broker.url.clone();
    world.git("spog", ["push", "-q"]).env("FAILCAKE_BROKER", &url).run().success();
    let line = tail.stdout_line(" ");
    let (time, rest) = line.split_at(19);
    assert!(time.parse::<jiff::civil::DateTime>().is_ok(), "{line}");
    let (start, said) = rest.split_once(&commit).unwrap();
    assert_eq!(start.split_whitespace().collect::<Vec<_>>(), ["commits", "[spog]", "refs/heads/master"], "{line}");
    assert!(said.ends_with(": mend the door"), "{line}");
    // The line for people beside it.
    assert!(tail.stdout_line(" ").contains(" events-git "));
    tail.signal(Signal::SIGTERM);
    assert_eq!(tail.wait().code(), Some(0));
    assert_eq!(String::from_utf8(tail.rest()).unwrap(), "");
}

#[test]
fn nothing_that_is_said_disturbs_a_terminal_and_colours_are_for_terminals() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let hostile = "\u{1b}]0;owned\u{7}\r\u{9b}2J\u{202e}gpj.exe";
    let say = || {
        let mut frame = plain(COMMITS, format!("{hostile}\n{hostile}").as_bytes());
        frame.headers.push(("subject".to_owned(), hostile.to_owned()));
        frame.headers.push((hostile.to_owned(), hostile.to_owned()));
        send(&broker.url, vec![frame, plain(COMMITS, b"\x1b[31m\xff\xfe\0x"), plain(COMMITS, b"the last")]);
    };
    let on_a_terminal = |words: &str, no_color: &str| {
        let mut call = world.program("script", ["-qec", &format!("{FAILCAKE} tail {words}"), "/dev/null"]);
        if !no_color.is_empty() {
            call = call.env("NO_COLOR", no_color);
        }
        let mut tail = call.env("TERM", "xterm-256color").start();
        tail.stdout_line("listening to");
        say();
        let lines = [tail.stdout_line("owned"), tail.stdout_line("31m"), tail.stdout_line("the last")];
        tail.signal(Signal::SIGTERM);
        lines.map(|line| line.trim_end().to_owned())
    };
    for (words, no_color, colours) in [("", "", true), ("", "1", false), ("--json", "", false)] {
        let [first, second, _] = on_a_terminal(words, no_color);
        for line in [first, second] {
            let rest: String = line
                .split("\u{1b}[")
                .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'))
                .collect();
            assert_eq!(line.contains("\u{1b}["), colours, "{line:?}");
            assert!(!rest.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
            assert!(!line.contains("\u{1b}[31m\u{fffd}"), "{line:?}");
        }
    }
    let mut tail = tail(&world, &[]);
    say();
    assert!(tail.stdout_line("owned").ends_with(r"\u{1b}]0;owned\u{7}\r\u{9b}2J\u{202e}gpj.exe"));
}

#[test]
fn filters_let_through_what_is_asked_for() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\ntopics: {{ events-git: /topic/elsewhere }}\n", broker.url));
    let long_ago = {
        let mut frame = push("web/spog", "refs/heads/old", EventId::new());
        frame.headers.iter_mut().find(|(name, _)| name == "event-time").unwrap().1 = "2012-06-01T00:00:00Z".to_owned();
        frame
    };
    let frames = || {
        vec![
            push("web/spog", "refs/heads/x", EventId::new()),
            push("other", "refs/heads/x", EventId::new()),
            long_ago.clone(),
            plain(
                COMMITS,
                format!("repo: web/spog\noldrev: {COMMIT}\nnewrev: {COMMIT}\nrefname: refs/heads/older-hook\n")
                    .as_bytes(),
            ),
            plain("/topic/elsewhere", b"not a push"),
            plain("/topic/failcake.git.commits.not", b"nobody listens"),
            plain("/queue/failcake.end", b"the end"),
        ]
    };
    let all = ["commits", "events-git", "/queue/failcake.end"];
    for (words, expected) in [
        (&[][..], &["x", "other", "old", "older-hook", "not a push", "the end"][..]),
        (&["--repo", "web/*"], &["x", "old", "older-hook"]),
        (&["--repo", "web/*", "--repo", "other", "--type", "push"], &["x", "other", "old", "older-hook"]),
        (&["--since", "1h"], &["x", "other", "older-hook", "not a push", "the end"]),
        (&["--since", "2013-01-01T00:00:00Z", "--type", "push"], &["x", "other", "older-hook"]),
    ] {
        let words = [words, &["--json"], &all].concat();
        let mut tail = tail(&world, &words);
        send(&broker.url, frames());
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let line: serde_json::Value = serde_json::from_str(&tail.stdout_line("{")).unwrap();
            seen.push(line);
        }
        for (line, expected) in seen.iter().zip(expected) {
            assert!(line.to_string().contains(expected), "{words:?}: {expected:?} is not {line}");
        }
        tail.signal(Signal::SIGTERM);
        tail.wait();
        assert_eq!(String::from_utf8(tail.rest()).unwrap(), "", "{words:?}");
    }
}

#[test]
fn json_holds_all_headers_and_what_could_be_read() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let mut tail = tail(&world, &["--json", "commits", "jenkins-failure"]);
    let id = EventId::new();
    let mut odd = push("spog", "refs/tags/v1", id);
    odd.headers.push(("x-mine".to_owned(), "a:b\nc".to_owned()));
    send(&broker.url, vec![odd, plain(COMMITS, b"{\"after\": [1, {\"deep\": null}]}")]);
    let jenkins = world.failcake(["jenkins-status", "failure", "--repo", "spog"]);
    jenkins.env("JOB_NAME", "tests").env("BUILD_URL", "http://ci/1/").run().success();
    let mut next = || serde_json::from_str::<serde_json::Value>(&tail.stdout_line("{")).unwrap();
    let first = next();
    assert_eq!((&first["id"], &first["type"]), (&id.to_string().into(), &"push".into()), "{first}");
    assert_eq!((&first["ref"], &first["commit"]), (&"refs/tags/v1".into(), &COMMIT.into()), "{first}");
    assert_eq!((&first["topic"], &first["destination"]), (&"commits".into(), &COMMITS.into()), "{first}");
    assert_eq!(first["headers"]["x-mine"], "a:b\nc");
    assert!(first["body"].as_str().unwrap().starts_with("repo: spog\n"), "{first}");
    assert_eq!(next()["data"]["after"][1], serde_json::json!({ "deep": null }));
    let build = next();
    assert_eq!((&build["data"]["url"], &build["type"]), (&"http://ci/1/".into(), &"build".into()), "{build}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let mut both = world.program("sh", ["-c", &format!("{FAILCAKE} tail commits | head -n 1; echo over")]).start();
    both.stderr_line("listening to");
    let deadline = Instant::now() + PATIENCE;
    let mut publisher = Publisher::connect(&target(&broker.url, None), deadline).unwrap();
    publisher.publish(vec![plain(COMMITS, b"one")], deadline).unwrap();
    assert!(both.stdout_line("one").ends_with("  one"));
    publisher.publish(vec![plain(COMMITS, b"two")], deadline).unwrap();
    both.stdout_line("over");
    both.wait();
    assert_eq!(String::from_utf8(both.stderr()).unwrap(), "");
}

#[test]
fn a_reader_that_stands_still_keeps_neither_the_broker_nor_the_end_waiting() {
    let world = Sandbox::new();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let mut command = std::process::Command::new(FAILCAKE);
    command.args(["tail", "commits"]).env("FAILCAKE_CONFIG", world.path("failcake.yaml"));
    command.env("FAILCAKE_SPOOL", world.path("spool")).stdout(std::process::Stdio::piped());
    command.stderr(std::fs::File::create(world.path("log")).unwrap());
    let mut tail = command.spawn().unwrap();
    wait_for(&world, "log", |log| log.contains("listening to"));
    // More than pipe, queue and the broker's patience hold; each is sent with a receipt.
    let line = "x".repeat(400);
    for _ in 0..30 {
        send(&broker.url, (0..500).map(|_| plain(COMMITS, line.as_bytes())).collect());
    }
    wait_for(&world, "log", |log| log.contains("some are dropped"));
    let begun = Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(tail.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < PATIENCE, "it hung");
}

#[test]
fn what_is_no_topic_is_told() {
    let world = Sandbox::new();
    let said = world.failcake(["tail", "comits"]).run().code(2);
    said.stderr_has("\"comits\" is neither the key of a topic").stderr_has("did you mean commits?");
    world.failcake(["tail", "--since", "yesterday"]).run().code(2).stderr_has("neither a duration");
    let said = world.failcake(["tail", "--exec", "no-such-program x"]).run().code(2);
    said.stderr_has("--name");
    let said = world.failcake(["tail", "--name", "x", "--exec", "no-such-program x"]).run().code(1);
    said.stderr_has("there is no program no-such-program x here; no shell takes words apart");
}
