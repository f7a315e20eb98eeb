//! Real brokers: what they keep, drained and watched, and killed in the middle.

use nix::sys::signal::Signal;

use super::*;
use crate::sandbox::brokers::{Kind, Real, shared};

/// Jenkins merges equal items: with the event's id among the parameters what was asked for twice is seen.
const SPOG: &str = "spog: { job: spog-tests, parameters: { ID: '{event-id}' } }";

impl Machine {
    fn durable(&self) {
        let text = self.world.read("failcake.yaml");
        self.world.write("failcake.yaml", format!("durable: true\nheart-beat: 1s\n{text}"));
        self.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    }

    fn drain(&self) {
        self.world.failcake(["jenkins-trigger", "--drain"]).run().success();
    }

    fn say(&self, count: usize) -> Vec<String> {
        let ids: Vec<EventId> = (0..count).map(|_| EventId::new()).collect();
        self.publish(ids.iter().map(|id| frame(&push("spog", "refs/heads/master", COMMIT), *id)).collect());
        ids.iter().map(ToString::to_string).collect()
    }

    /// The events that builds were started for, in the order of the queue.
    fn built(&self) -> Vec<String> {
        self.jenkins.leave_queue();
        let state = self.jenkins.state();
        state.jobs["spog-tests"].builds.iter().map(|build| build.parameters[0].1.clone()).collect()
    }

    fn posts(&self) -> usize {
        self.jenkins.asked("/buildWithParameters").len()
    }
}

fn drained(kind: Kind, name: &str) {
    let machine = Machine::beside_others(&shared(kind).url, name, SPOG);
    machine.durable();
    machine.drain();
    let said = machine.say(5);
    machine.drain();
    assert_eq!(machine.built(), said);
    machine.drain();
    assert_eq!(machine.posts(), said.len(), "acknowledged: nothing comes again");
    // What a watcher missed waits for it as well.
    let mut watcher = machine.watch(&[]);
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), Some(0));
    let missed = machine.say(3);
    let _watcher = machine.watch(&[]);
    machine.jenkins.wait_for_waiting(3);
    assert_eq!(machine.built(), [said, missed].concat());
}

#[test]
fn activemq_keeps_pushes_for_a_drain_and_a_watcher() {
    drained(Kind::ActiveMq, "drain-a");
}

#[test]
fn rabbitmq_keeps_pushes_for_a_drain_and_a_watcher() {
    drained(Kind::RabbitMq, "drain-r");
}

fn watcher_killed_at_any_moment(kind: Kind, name: &str) {
    let machine = Machine::beside_others(&shared(kind).url, name, SPOG);
    machine.durable();
    machine.drain();
    let (mut said, kills) = (Vec::new(), 6);
    for round in 0..kills {
        let mut watcher = machine.watch(&[]);
        said.extend(machine.say(2));
        std::thread::sleep(Duration::from_millis(round * 29));
        watcher.signal(Signal::SIGKILL);
        watcher.wait();
    }
    machine.drain();
    assert_eq!(machine.listed(), "");
    let mut built = machine.built();
    built.sort();
    said.sort();
    assert_eq!(built, said);
    assert!(machine.posts() <= said.len() + usize::try_from(kills).unwrap(), "{} requests", machine.posts());
}

#[test]
fn killed_at_any_moment_with_activemq_every_push_is_one_build() {
    watcher_killed_at_any_moment(Kind::ActiveMq, "kill-a");
}

#[test]
fn killed_at_any_moment_with_rabbitmq_every_push_is_one_build() {
    watcher_killed_at_any_moment(Kind::RabbitMq, "kill-r");
}

fn broker_killed_in_the_middle(kind: Kind, name: &str) {
    let mut broker = Real::start(kind);
    let machine = Machine::beside_others(&broker.url, name, SPOG);
    machine.durable();
    let mut watcher = machine.watch(&[]);
    let mut said = machine.say(4);
    watcher.stdout_line("triggered");
    broker.stop("KILL");
    watcher.stderr_line("no broker: ");
    broker.restart();
    watcher.stderr_line("listening to");
    said.extend(machine.say(2));
    machine.jenkins.wait_for_waiting(6);
    // Long enough for one too many.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(machine.posts(), 6);
    let mut built = machine.built();
    built.sort();
    said.sort();
    assert_eq!(built, said);
}

#[test]
fn activemq_killed_in_the_middle_loses_and_doubles_nothing() {
    broker_killed_in_the_middle(Kind::ActiveMq, "crash-a");
}

#[test]
fn rabbitmq_killed_in_the_middle_loses_and_doubles_nothing() {
    broker_killed_in_the_middle(Kind::RabbitMq, "crash-r");
}
