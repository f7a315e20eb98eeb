//! The rights of docs/rollouts.md, on the real brokers: a node's login can't send requests, an operator's no replies.
//! `tests/brokers` reads them from that page, so what it has is what is tested.

use std::time::Duration;

use super::fleet::Fleet;
use crate::sandbox::Sandbox;
use crate::sandbox::brokers::{Kind, Listener, shared};

/// With a prefix of its own, since the brokers are shared.
fn topic(name: &str) -> String {
    format!("/topic/fleet.rights.{name}")
}

fn logins_have_their_rights_and_no_others(kind: Kind) {
    let world = Sandbox::new();
    let broker = shared(kind);
    let publish = |login: &str, destination: &str| {
        let url = broker.url.replace("gituser:gitpw", login);
        world
            .failcake(["publish", destination])
            .env("FAILCAKE_BROKER", url)
            .stdin(format!("{login} to {destination}"))
            .run()
    };
    // Both may hear. They come before anybody with more rights, who would make ActiveMQ's advisory topics for them.
    for login in ["ops:opspw", "node:nodepw"] {
        let url = broker.url.replace("gituser:gitpw", login);
        let hears = Listener::open(&url, &[&topic("deploy.requests"), &topic("deploy.replies")]);
        publish("ops:opspw", &topic("deploy.requests")).success();
        assert_eq!(hears.take(1)[0].body, format!("ops:opspw to {}", topic("deploy.requests")).into_bytes());
    }
    let heard = Listener::open(
        &broker.url,
        &["deploy.requests", "deploy.replies", "events.deploys"].map(topic).each_ref().map(String::as_str),
    );
    for (login, may, may_not) in
        [("ops:opspw", "deploy.requests", "deploy.replies"), ("node:nodepw", "deploy.replies", "deploy.requests")]
    {
        publish(login, &topic(may)).success();
        publish(login, &topic("events.deploys")).success();
        for refused in [may_not, "git.commits"] {
            publish(login, &topic(refused)).code(1).stderr_has("was set aside");
        }
    }
    // Roundabout ways: several destinations in one, patterns, an exchange and a queue by name.
    let ways = match kind {
        Kind::ActiveMq => vec![
            format!("{},{}", topic("deploy.replies"), topic("deploy.requests")),
            format!("{},topic://fleet.rights.deploy.requests", topic("deploy.replies")),
            topic(">"),
            "/topic/fleet.*.deploy.requests".to_owned(),
        ],
        Kind::RabbitMq => [
            "/exchange/amq.topic/fleet.rights.deploy.requests",
            "/queue/fleet.rights.deploy.requests",
            "/amq/queue/stomp-subscription-x",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    for way in ways {
        // ActiveMQ takes what goes to a pattern that the node may write to, and gives it to nobody.
        let _ = publish("node:nodepw", &way);
    }
    let mut bodies: Vec<String> =
        heard.take(4).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    bodies.extend(heard.within(Duration::from_secs(1)).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()));
    bodies.sort();
    let mut expected = [
        ("ops:opspw", "deploy.requests"),
        ("ops:opspw", "events.deploys"),
        ("node:nodepw", "deploy.replies"),
        ("node:nodepw", "events.deploys"),
    ]
    .map(|(login, name)| format!("{login} to {}", topic(name)));
    expected.sort();
    assert_eq!(bodies, expected);
}

#[test]
fn on_activemq_a_nodes_login_can_not_send_requests() {
    logins_have_their_rights_and_no_others(Kind::ActiveMq);
}

#[test]
fn on_rabbitmq_a_nodes_login_can_not_send_requests() {
    logins_have_their_rights_and_no_others(Kind::RabbitMq);
}

/// Whoever has the wrong login is told, and is not kept waiting.
fn an_operator_with_a_nodes_login_ends(kind: Kind) {
    let mut fleet = Fleet::on(kind, &["web01"]);
    fleet.release("v1", &[]);
    fleet.start();
    let config = fleet.world.read("operator/failcake.yaml").replace("ops:opspw", "node:nodepw");
    fleet.world.write("operator/failcake.yaml", config);
    let said = fleet.deploy("v1", "web01", &[]).run().code(1);
    said.stdout_has("left: the broker ends the connection each time: ")
        .stdout_has("deploy.requests?\n")
        .stderr_lacks("runs on by itself");
    let said = fleet.operator(["nodes", "--within", "3s"]).run().code(1);
    said.stderr_has("no broker");
    assert_eq!(fleet.serves("web01"), "");
}

#[test]
fn on_activemq_an_operator_with_a_nodes_login_ends() {
    an_operator_with_a_nodes_login_ends(Kind::ActiveMq);
}

#[test]
fn on_rabbitmq_an_operator_with_a_nodes_login_ends() {
    an_operator_with_a_nodes_login_ends(Kind::RabbitMq);
}
