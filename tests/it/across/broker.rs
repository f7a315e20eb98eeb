//! The broker goes away and comes back in the middle of it.

use std::time::Duration;

use super::fleet::{Fleet, wait_for};
use super::phases::{Held, Phase};
use crate::sandbox::brokers::{Kind, Real};

const WEB: [&str; 3] = ["web01", "web02", "web03"];

/// The hosts go on meanwhile, so that what they say of it is lost. Without a `real` one it is the embedded broker.
fn restarted_in(phase: Phase, mut real: Option<&mut Real>) {
    let fleet = real.as_deref().map_or_else(|| Fleet::new(&WEB), |broker| Fleet::at(broker, &WEB));
    let mut held = Held::new(fleet, phase);
    let mut operator = held.begin();
    match &mut real {
        Some(broker) => broker.stop("KILL"),
        None => held.fleet.kill_broker(),
    }
    operator.stderr_line("hosts go on with what they began, this waits");
    held.go_on();
    if phase == Phase::Canary {
        wait_for("the end of web01's turn", || held.fleet.serves("web01") == "v2");
    }
    std::thread::sleep(Duration::from_millis(500));
    match real {
        Some(broker) => broker.restart(),
        None => held.fleet.restart_broker(),
    }
    operator.stderr_line("connected to ");
    let status = operator.wait().code();
    assert_eq!(status, Some(held.status()), "{phase:?}: {}", String::from_utf8_lossy(&operator.stderr()));
    held.assert_done();
}

#[test]
fn restarted_while_hosts_prepare() {
    restarted_in(Phase::Prepare, None);
}

#[test]
fn restarted_in_the_canarys_turn() {
    restarted_in(Phase::Canary, None);
}

#[test]
fn restarted_while_the_canary_is_watched() {
    restarted_in(Phase::Bake, None);
}

#[test]
fn restarted_in_a_batch() {
    restarted_in(Phase::Batch, None);
}

#[test]
fn restarted_while_hosts_go_back() {
    restarted_in(Phase::WindUp, None);
}

/// Silence means nothing while this side has no connection.
#[test]
fn a_broker_that_is_away_for_longer_than_the_patience_makes_nobody_silent() {
    let mut held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let mut operator = held.fleet.deploy("v2", "web*", &["--batch", "1", "--patience", "3s"]).start();
    operator.stderr_line("web01 switching");
    held.fleet.kill_broker();
    operator.stderr_line("hosts go on with what they began, this waits");
    held.go_on();
    std::thread::sleep(Duration::from_secs(4));
    held.fleet.restart_broker();
    assert_eq!(operator.wait().code(), Some(0));
    held.assert_done();
}

/// One broker for all phases: it takes long to start.
fn restarted_for_real(kind: Kind) {
    let mut broker = Real::start(kind);
    for phase in [Phase::Prepare, Phase::Canary, Phase::Bake, Phase::Batch, Phase::WindUp] {
        restarted_in(phase, Some(&mut broker));
    }
}

#[test]
fn activemq_crashes_and_comes_back_in_every_phase() {
    restarted_for_real(Kind::ActiveMq);
}

#[test]
fn rabbitmq_crashes_and_comes_back_in_every_phase() {
    restarted_for_real(Kind::RabbitMq);
}

#[test]
fn one_broker_of_two_is_enough() {
    let mut held = Held::new(Fleet::new(&WEB), Phase::Batch);
    let second = held.fleet.world.broker();
    let both = |url: &str| format!("failover:({url},{})", second.url);
    let first = held.fleet.embedded.as_ref().unwrap().url.clone();
    for who in ["operator", "web01", "web02", "web03"] {
        let path = format!("{who}/failcake.yaml");
        let text =
            held.fleet.world.read(&path).replace(&format!("broker: {first}\n"), &format!("broker: {}\n", both(&first)));
        held.fleet.world.write(&path, text);
    }
    for node in WEB {
        held.fleet.running.remove(node);
        let running = held.fleet.as_who(node, ["deploy", "--watch"]).start();
        held.fleet.running.insert(node.to_owned(), running);
        held.fleet.listens(node);
    }
    let mut operator = held.begin();
    held.fleet.kill_broker();
    operator.stderr_line("connected to ");
    held.go_on();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    held.assert_done();
}
