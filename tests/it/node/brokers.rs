//! On the real brokers, and without any for a while.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failcake::message::deploy::{Answer, Step, Subject};

use super::operator::{World, wait_for};
use crate::sandbox::Sandbox;
use crate::sandbox::brokers::{Kind, shared};

fn a_plan_on(kind: Kind) {
    let world = World::on(Sandbox::new(), None, shared(kind).url.clone());
    let v1 = world.release("v1", &[("post-deploy", "echo done")]);
    world.key("web02");
    world.allow_signers(&[
        "ann@example.org ann failcake-plan",
        "web01 web01 failcake-reply",
        "web02 web02 failcake-reply",
    ]);
    let hosts = ["web01", "web02"].map(|node| world.host(node, "", ""));
    let _nodes = hosts.each_ref().map(|host| host.watch());
    let ann = world.operator();
    for node in ["web01", "web02"] {
        assert!(matches!(ann.ask(Subject::Nodes, node).answer, Answer::Node(_)));
    }
    let plan = ann.plan("v1", &v1, &["web01", "web02"]);
    for step in [Step::Prepare, Step::Switch, Step::Verdict] {
        ann.say(&plan, step);
        for node in ["web01", "web02"] {
            let answer = ann.answer_of(&plan, step, node);
            let is_good = matches!(
                (step, &answer),
                (Step::Prepare, Answer::Prepared { .. })
                    | (Step::Switch, Answer::Live { .. })
                    | (Step::Verdict, Answer::Noted)
            );
            assert!(is_good, "{node}: {answer:?}");
        }
    }
    assert!(hosts.iter().all(|host| host.serves().unwrap() == "v1"));
}

#[test]
fn activemq() {
    a_plan_on(Kind::ActiveMq);
}

#[test]
fn rabbitmq() {
    a_plan_on(Kind::RabbitMq);
}

#[test]
fn what_ended_while_the_broker_was_away_is_said_when_it_is_back() {
    let mut world = World::new();
    let wire = Wire::to(&world.url);
    let broker = std::mem::replace(&mut world.url, wire.url.clone());
    let at_work = "touch ../../../../at-work; while test ! -e ../../../../go; do sleep 0.02; done";
    let v1 = world.release("v1", &[("pre-deploy", at_work)]);
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    // The operator's way to the broker is another one.
    world.url = broker;
    let host = super::operator::Host { world: &world, node: "web01".to_owned() };
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    ann.run(&plan, Step::Prepare);
    ann.say(&plan, Step::Switch);
    wait_for(|| host.path("at-work").exists());
    wire.cut();
    node.stderr_line("no broker");
    std::fs::write(host.path("go"), "").unwrap();
    wait_for(|| std::fs::read_to_string(host.plan_file(&plan)).is_ok_and(|kept| kept.contains(r#""is":"live""#)));
    assert!(ann.within(Duration::from_millis(100)).iter().all(|report| !matches!(report.answer, Answer::Live { .. })));
    wire.mend();
    node.stderr_line("listening to");
    assert!(matches!(ann.answer(&plan, Step::Switch), Answer::Live { .. }), "without being asked");
    assert_eq!(ann.run(&plan, Step::Verdict), Answer::Noted);
}

/// A way to a broker that can be cut.
struct Wire {
    url: String,
    open: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(url: &str) -> Wire {
        let there = url.trim_start_matches("stomp://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("stomp://{}", listener.local_addr().unwrap());
        let wire = Wire { url, open: Arc::new(AtomicBool::new(true)), ends: Arc::default() };
        let (open, ends) = (wire.open.clone(), wire.ends.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let far = TcpStream::connect(&there).unwrap();
                for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    ends.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
                }
            }
        });
        wire
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}
