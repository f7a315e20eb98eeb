//! On the real brokers, and without any for a while.

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
    let v1 = world.release(
        "v1",
        &[("pre-deploy", "touch ../../../../at-work; while test ! -e ../../../../go; do sleep 0.02; done")],
    );
    let broker = world.broker.take().unwrap();
    let world = world;
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    ann.run(&plan, Step::Prepare);
    ann.say(&plan, Step::Switch);
    wait_for(|| host.path("at-work").exists());
    drop(broker);
    node.stderr_line("no broker");
    std::fs::write(host.path("go"), "").unwrap();
    wait_for(|| host.serves().is_some_and(|served| served == "v1"));
    let port = world.url.rsplit(':').next().unwrap();
    let mut broker = world.sandbox.failcake(["broker", "--listen", &format!("127.0.0.1:{port}")]).start();
    broker.stdout_line("stomp://");
    // Whether the operator or the node is back first, asking again tells.
    node.stderr_line("listening to");
    ann.wait_until_connected();
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    assert_eq!(ann.run(&plan, Step::Verdict), Answer::Noted);
}
