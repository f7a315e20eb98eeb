use super::*;
use crate::stomp::AckMode;
use crate::stomp::SubscriptionId;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const NONE: &str = "0000000000000000000000000000000000000000";

fn ears() -> Ears {
    let subscription =
        |name: &str| Subscription { destination: name.into(), durable: None, ack: AckMode::Auto, prefetch: None };
    Ears {
        subscriptions: vec![subscription("/topic/c"), subscription("/topic/ok")],
        commits: "/topic/c".into(),
        repos: [("spog", "/topic/c"), ("tested", "/topic/ok")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
    }
}

fn message(subscription: u32, subject: &str, body: &[u8]) -> Message {
    let mut frame = Frame::new("MESSAGE").with("subject", subject);
    frame.body = body.to_vec();
    Message { subscription: Some(SubscriptionId(subscription)), ack: None, frame }
}

fn push(repo: &str, new: &str) -> Vec<u8> {
    format!("repo: {repo}\noldrev: {OLD}\nnewrev: {new}\nrefname: refs/heads/x;$(touch${{IFS}}PWNED)\n\n    log\n")
        .into_bytes()
}

fn name(name: &str) -> RepoName {
    name.parse().unwrap()
}

#[test]
fn our_pushes_ask_for_a_quick_look_and_deletions_for_a_thorough_one() {
    let ears = ears();
    let hear = |new| ears.hear(&message(0, "", &push("spog", new)));
    assert_eq!(hear(NEW), Heard::Wanted(name("spog"), Want::look(Look::Quick)));
    assert_eq!(hear(NONE), Heard::Wanted(name("spog"), Want::look(Look::Thorough)));
}

#[test]
fn what_is_for_others_is_left_by_its_first_line_or_subject() {
    let ears = ears();
    assert_eq!(ears.hear(&message(0, "", b"repo: other\ngarbage")), Heard::Foreign);
    assert_eq!(ears.hear(&message(0, "[other] refs/heads/x 1", b"{}")), Heard::Foreign);
    assert_eq!(ears.hear(&message(0, "[spog] x", b"\n")), Heard::Foreign, "a beat");
    assert_eq!(ears.hear(&message(0, "", b"")), Heard::Foreign);
}

#[test]
fn a_repository_that_waits_for_its_tests_is_not_moved_by_pushes() {
    let ears = ears();
    assert_eq!(ears.hear(&message(0, "", &push("tested", NEW))), Heard::Foreign);
    let built = |repo: &str| format!("Repo: {repo}\nURL: \nStatus: Success\n").into_bytes();
    let want = |refname: &str, commit: &str| {
        let passed = [(refname.parse().ok(), commit.parse().ok())].into();
        Heard::Wanted(name("tested"), Want { look: Look::Quick, passed })
    };
    let hear = |subject: &str, repo: &str| ears.hear(&message(1, subject, &built(repo)));
    assert_eq!(hear("", "tested"), want("", ""), "an old daemon's words");
    assert_eq!(hear(&format!("Complete job 12 - [t] x {NEW}"), "tested"), want("refs/heads/x", NEW));
    assert_eq!(hear("", "spog"), Heard::Foreign);
}

#[test]
fn garbage_is_malformed_and_kills_nobody() {
    let ears = ears();
    let garbage: [&[u8]; 8] = [
        b"\xff\xfe\x00garbage",
        b"repo: spog\n",
        b"repo: spog\noldrev: x\nnewrev: y\nrefname: z\n",
        b"repo: spog\nJSON: {\"repository\":[[[[",
        b"JSON: {}",
        b"{\"repository\":{\"name\":\"../../etc\"},\"before\":1}",
        b"x",
        &[b'\n'; 100],
    ];
    for body in garbage {
        assert!(matches!(ears.hear(&message(0, "[spog]", body)), Heard::Malformed(_)), "{}", body.escape_ascii());
        assert!(matches!(ears.hear(&message(1, "[", body)), Heard::Malformed(_) | Heard::Foreign));
    }
    let flood = vec![b'x'; 5 << 20];
    assert!(matches!(ears.hear(&message(0, "", &flood)), Heard::Malformed(_)));
}

#[test]
fn few_repositories_are_looked_at_soon_and_many_are_spread() {
    assert_eq!(splay(1, false), Duration::from_secs(2));
    assert_eq!(splay(500, false), Duration::from_secs(30));
    assert_eq!(splay(500, true), Duration::ZERO);
    assert!((0..1000).all(|_| (0.0..=1.0).contains(&random())));
}
