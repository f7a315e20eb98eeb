//! Somebody else may write to the replies' topic, and machines are frozen.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use failcake::bus::Publisher;
use failcake::message::Envelope;
use failcake::message::deploy::{
    Answer, Document as _, NodeState, Offered, PlanId, Reply, Report, Request, Signed, SiteState, Subject, Vouch,
};
use failcake::signature::{PATIENCE, StepKey};
use failcake::stomp::Frame;
use nix::sys::signal::Signal;

use super::{INVENTORY, ann, world};
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
    Report { about, step: None, node: node.parse().unwrap(), time: jiff::Timestamp::now(), refuses: None, answer }
        .to_text()
}

fn unsigned(document: String) -> Reply {
    Reply { vouch: None, report: Signed { document, signature: String::new() } }
}

/// All but the SSH signature is as it should be: only ssh-keygen can tell.
fn vouched_by_nobody(document: String, node: &str) -> Reply {
    let (key, now) = (StepKey::generate().unwrap(), jiff::Timestamp::now());
    let not_after = now + jiff::SignedDuration::from_hours(1);
    let vouch = Vouch { node: node.parse().unwrap(), key: key.public_base64(), issued: now, not_after }.to_text();
    let signature = key.sign(document.as_bytes());
    Reply {
        vouch: Some(Signed { document: vouch, signature: "none".to_owned() }),
        report: Signed { document, signature },
    }
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
fn what_is_not_signed_ends_no_question_about_machines_that_are_there() {
    let world = world();
    let facts = world.sandbox.write("facts.yaml", "role: web\n");
    let more = format!("facts-file: {}", facts.display());
    let (one, two) = (world.host("web01", "", &more), world.host("web02", "", &more));
    let nodes = [one.watch(), two.watch()];
    let enemy = Enemy::of(&world);
    let inventory = "inventory: { web01: {}, web02: {} }\n";
    for words in [&["nodes", "--within", "50s"][..], &["nodes", "--within", "50s", "--on", "role=web"]] {
        nodes.iter().for_each(|node| node.signal(Signal::SIGSTOP));
        let mut asking = ann(&world, inventory, words).start();
        let (about, subject) = enemy.question();
        let forged = |node: &str| document(about, node, answer(&subject));
        let flood = (0..50).map(|_| vouched_by_nobody(forged("web01"), "web01"));
        enemy.say(about, ["web01", "web02", "db01"].map(|node| unsigned(forged(node))).into_iter().chain(flood));
        nodes.iter().for_each(|node| node.signal(Signal::SIGCONT));
        assert_eq!(asking.wait().code(), Some(0), "{words:?}");
        let said = String::from_utf8(asking.rest()).unwrap();
        for node in ["web01", "web02"] {
            assert!(said.lines().any(|line| line.starts_with(&format!("{node}  failcake 0.1.0 since "))), "{said}");
        }
        assert!(!said.contains("not signed") && !said.contains("db01"), "{said}");
        if words.len() > 3 {
            enemy.question();
        }
    }
}

#[test]
fn who_is_frozen_or_not_signed_is_named_and_is_no_success() {
    let world = world();
    let facts = world.sandbox.write("facts.yaml", "role: web\n");
    let more = format!("facts-file: {}", facts.display());
    let (one, two, nine) =
        (world.host("web01", "", &more), world.host("web02", "", &more), world.host("web09", "", &more));
    let (_one, two, _nine) = (one.watch(), two.watch(), nine.watch());
    two.signal(Signal::SIGSTOP);
    let inventory = "inventory: { web01: {}, web02: {}, web09: {} }\n";

    let said = ann(&world, inventory, &["nodes"]).run().code(1).stderr("").text();
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(lines[0].starts_with("web01  failcake ") && lines[0].ends_with("  role=web"), "{said}");
    assert_eq!(lines[1], "web02  no answer");
    assert!(lines[2].starts_with("web09  failcake ") && lines[2].ends_with("  role=web  (not signed)"), "{said}");
    let json = ann(&world, inventory, &["nodes", "--json"]).run().code(1).json();
    let seen =
        |at: usize| (json[at]["node"].as_str().unwrap(), json[at]["answered"] == true, json[at]["verified"] == true);
    assert_eq!([seen(0), seen(1), seen(2)], [("web01", true, true), ("web02", false, false), ("web09", false, false)]);

    // What they are is not known, so they may be meant.
    ann(&world, inventory, &["nodes", "--on", "role=web"])
        .run()
        .code(1)
        .stdout_has("web01  failcake ")
        .stderr_has("web02 is left out, its facts are not known: no answer")
        .stderr_has("web09 is left out, its facts are not known: its answer is not signed");

    let state = ann(&world, inventory, &["state", "--on", "web*"]).run().code(1).stderr("");
    state.stdout("web01  www  nothing is live\nweb02  no answer\nweb09  www  nothing is live  (not signed)\n");
    let tags = ann(&world, inventory, &["tags", "spog", "--on", "web*"]).run().code(1);
    tags.stderr_has("web02: no answer").stderr_has("web09: its answer is not signed");
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

/// Each forged vouch costs a call of ssh-keygen.
#[test]
fn a_flood_in_one_name_holds_up_neither_the_others_nor_the_deadline_nor_ctrl_c() {
    let world = world();
    let (one, two) = (world.host("web01", "", ""), world.host("web02", "", ""));
    let (one, _two) = (one.watch(), two.watch());
    one.signal(Signal::SIGSTOP);
    let enemy = Enemy::of(&world);
    let (url, topic) = (&world.url, &world.topic("deploy.replies"));
    for within in ["2s", "55s"] {
        let mut asking = ann(&world, "inventory: { web01: {}, web02: {} }\n", &["nodes", "--within", within]).start();
        let (about, subject) = enemy.question();
        let document = &document(about, "web01", answer(&subject));
        let (over, begun) = (&AtomicBool::new(false), Instant::now());
        let (send, flooded) = std::sync::mpsc::channel();
        let code = std::thread::scope(|scope| {
            scope.spawn(move || {
                while !over.load(Relaxed) && begun.elapsed() < PATIENCE * 10 {
                    say(url, topic, about, (0..500).map(|_| vouched_by_nobody(document.clone(), "web01")));
                    let _ = send.send(());
                }
            });
            if within == "55s" {
                (0..5).for_each(|_| flooded.recv().unwrap());
                asking.signal(Signal::SIGINT);
            }
            let code = asking.wait().code();
            over.store(true, Relaxed);
            code
        });
        assert_eq!(code, Some(1));
        let (said, told) = (String::from_utf8(asking.rest()).unwrap(), String::from_utf8(asking.stderr()).unwrap());
        if within == "55s" {
            assert!(told.contains("stopped by a signal"), "{told}");
        } else {
            assert!(said.starts_with("web01  no answer\nweb02  failcake ") && !said.contains("not signed"), "{said}");
            assert_eq!(told.matches("a reply in the name of web01 was dropped: ").count(), 1, "{told}");
        }
    }
}
