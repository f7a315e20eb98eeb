//! Somebody else may write to the replies' topic.

use std::time::Instant;

use failcake::bus::Publisher;
use failcake::message::Envelope;
use failcake::message::deploy::{
    Answer, Document as _, NodeState, Offered, PlanId, Reply, Report, Request, Signed, SiteState, Subject,
};
use failcake::signature::PATIENCE;
use failcake::stomp::Frame;

use super::INVENTORY;
use crate::node::operator::World;
use crate::sandbox::FAILCAKE;
use crate::sandbox::brokers::{Listener, target};

const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\r";

struct Enemy<'a> {
    world: &'a World,
    requests: Listener,
}

impl Enemy<'_> {
    fn of(world: &World) -> Enemy<'_> {
        Enemy { world, requests: Listener::open(&world.url, &[&world.topic("deploy.requests")]) }
    }

    /// Waits for the next question.
    fn question(&self) -> (PlanId, Subject) {
        let frame = self.requests.take(1).remove(0);
        match Request::parse(&Envelope::read(&frame.headers, &frame.body).unwrap().unwrap()).unwrap() {
            Request::Query(query) => (query.id, query.subject),
            other => panic!("{other:?}"),
        }
    }

    fn say(&self, about: PlanId, replies: impl IntoIterator<Item = Reply>) {
        say(&self.world.url, &self.world.topic("deploy.replies"), about, replies);
    }
}

fn say(url: &str, topic: &str, about: PlanId, replies: impl IntoIterator<Item = Reply>) {
    let frame = |reply: Reply| {
        let event = reply.event(jiff::Timestamp::now(), &about.to_string(), "trust me");
        Frame::send(topic, event.headers, event.body.into_bytes())
    };
    let mut publisher = Publisher::connect(&target(url, None), Instant::now() + PATIENCE).unwrap();
    publisher.publish(replies.into_iter().map(frame).collect(), Instant::now() + PATIENCE).unwrap();
}

fn document(about: PlanId, node: &str, answer: Answer) -> String {
    Report { about, step: None, node: node.parse().unwrap(), time: jiff::Timestamp::now(), answer }.to_text()
}

fn unsigned(document: String) -> Reply {
    Reply { vouch: None, report: Signed { document, signature: String::new() } }
}

fn hostile_site() -> SiteState {
    let word = || Some(HOSTILE.to_owned());
    let site = "www".parse().unwrap();
    SiteState { site, release: word(), reference: word(), commit: word(), since: word(), note: word(), plan: None }
}

fn hostile_node() -> Answer {
    let facts = [("role".to_owned(), "web".to_owned()), (HOSTILE.to_owned(), HOSTILE.to_owned())].into();
    Answer::Node(NodeState {
        version: HOSTILE.to_owned(),
        since: jiff::Timestamp::now(),
        facts,
        sites: vec![hostile_site()],
    })
}

fn answer(subject: &Subject) -> Answer {
    match subject {
        Subject::Nodes => hostile_node(),
        Subject::State { .. } => Answer::State { sites: vec![hostile_site()] },
        _ => {
            let (tag, commit, date) = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
            Answer::Tags { tags: vec![Offered { tag, commit, date, live: Vec::new() }], problem: None }
        }
    }
}

#[test]
fn what_comes_from_the_bus_moves_no_cursor() {
    let world = World::new();
    std::fs::create_dir_all(world.sandbox.path("ann/spool")).unwrap();
    let enemy = Enemy::of(&world);
    // There is nothing to tell by: whoever answers counts.
    let text = format!("broker: {}\nprefix: {}\n{INVENTORY}", world.url, world.prefix);
    let config = world.sandbox.write("ann/failcake.yaml", text);
    for words in [&["nodes"][..], &["state", "--on", "web01,web02,db01"], &["tags", "spog", "--on", "web01,web02,db01"]]
    {
        for json in [false, true] {
            let words: Vec<&str> = words.iter().copied().chain(json.then_some("--json")).collect();
            let call = world.sandbox.program(FAILCAKE, &words).env("FAILCAKE_CONFIG", &config);
            let mut asking = call.env("FAILCAKE_SPOOL", world.sandbox.path("ann/spool")).start();
            let (about, subject) = enemy.question();
            let unknown = document(about, "db01", Answer::Noted).replace("noted", r"\u001b[2J\u202e");
            let replies = ["web01", "web02", "db01"].map(|node| unsigned(document(about, node, answer(&subject))));
            enemy.say(about, [unsigned(unknown)].into_iter().chain(replies));
            let code = asking.wait().code();
            let (stdout, stderr) = (asking.rest(), asking.stderr());
            let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
            assert_eq!(code, Some(0), "{words:?}: {stderr}");
            let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!stdout.contains(moves) && !stderr.contains(moves), "{words:?}: {stdout:?} {stderr:?}");
            let seen = if json { r"\u001b[2J\u009b31m\u202e\r" } else { r"\u{1b}[2J\u{9b}31m\u{202e}\r" };
            assert!(stdout.contains(seen), "{words:?}: {stdout:?}");
            assert!(stderr.contains(r"unknown variant `\u{1b}[2J\u{202e}`"), "{words:?}: {stderr:?}");
        }
    }
}
