//! What the broker keeps for a command: on each broker, drained, killed, and with the broker killed.

use super::*;
use crate::sandbox::brokers::{Kind, Real, shared};

/// A machine at a broker, with topics of its own.
struct Machine {
    world: Sandbox,
    url: String,
    topic: String,
    note: String,
}

impl Machine {
    fn new(url: &str, topic: &str) -> Machine {
        let world = Sandbox::new();
        let topic = format!("/topic/tail.{topic}");
        let text = format!(
            "node: {}\nheart-beat: 1s\nbroker: {url}\ntopics: {{ commits: {topic} }}\n",
            topic.replace(['/', '.'], "-").trim_matches('-')
        );
        world.write("failcake.yaml", text);
        let note = script(&world, "note", r#"echo "$FAILCAKE_EVENT_ID" >>"$(dirname "$0")/notes"; cat >/dev/null"#);
        Machine { world, url: url.to_owned(), topic, note }
    }

    fn send(&self, ids: &[EventId]) {
        let frame = |id: &EventId| {
            let mut frame = push("spog", "refs/heads/x", *id);
            frame.headers.iter_mut().find(|(name, _)| name == "destination").unwrap().1.clone_from(&self.topic);
            frame
        };
        send(&self.url, ids.iter().map(frame).collect());
    }

    fn chain(&self) -> Running {
        tail(&self.world, &["commits", "--durable", "--exec", &self.note])
    }

    fn drain(&self, code: i32) {
        let words = ["tail", "commits", "--drain", "--retries", "0", "--exec", &self.note];
        drop(self.world.failcake(words).run().code(code));
    }

    fn noted(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.world.path("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    fn wait_for_notes(&self, count: usize) -> Vec<String> {
        wait_for(&self.world, "notes", |notes| notes.lines().count() >= count);
        self.noted()
    }
}

fn ids(count: usize) -> Vec<EventId> {
    (0..count).map(|_| EventId::new()).collect()
}

fn words(ids: &[EventId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn what_was_missed_is_drained_in_order(url: &str, name: &str) {
    let machine = Machine::new(url, name);
    machine.drain(0);
    // More than a broker sends ahead.
    let sent = ids(130);
    machine.send(&sent);
    machine.drain(0);
    assert_eq!(machine.noted(), words(&sent));
    machine.drain(0);
    assert_eq!(machine.noted().len(), sent.len(), "acknowledged: nothing comes again");
    script(&machine.world, "note", "exit 3");
    machine.send(&ids(1));
    machine.drain(1);
    machine.drain(0);
    let listed = machine.world.failcake(["spool", "list"]).run().success().text();
    assert_eq!(listed.matches("set aside: ").count(), 1, "{listed}");
}

#[test]
fn activemq_keeps_for_a_drain_what_it_missed() {
    what_was_missed_is_drained_in_order(&shared(Kind::ActiveMq).url, "drain-a");
}

#[test]
fn rabbitmq_keeps_for_a_drain_what_it_missed() {
    what_was_missed_is_drained_in_order(&shared(Kind::RabbitMq).url, "drain-r");
}

/// Killed at any moment: nothing is missing, and nothing is done twice but what ran at a kill.
fn killed_at_any_moment(url: &str, name: &str) {
    let machine = Machine::new(url, name);
    machine.drain(0);
    let (mut sent, kills) = (Vec::new(), 10);
    for round in 0..kills {
        let mut chain = machine.chain();
        let more = ids(4);
        machine.send(&more);
        sent.extend(more);
        std::thread::sleep(Duration::from_millis(round * 13));
        chain.signal(Signal::SIGKILL);
        chain.wait();
    }
    machine.drain(0);
    let mut noted = machine.noted();
    let runs = noted.len();
    noted.sort();
    noted.dedup();
    assert_eq!(noted, {
        let mut sent = words(&sent);
        sent.sort();
        sent
    });
    assert!(runs <= sent.len() + usize::try_from(kills).unwrap(), "{runs} runs for {} events", sent.len());
}

#[test]
fn killed_at_any_moment_with_activemq() {
    killed_at_any_moment(&shared(Kind::ActiveMq).url, "kill-a");
}

#[test]
fn killed_at_any_moment_with_rabbitmq() {
    killed_at_any_moment(&shared(Kind::RabbitMq).url, "kill-r");
}

/// Asked to end in the middle of a run, it leaves the event with the broker.
#[test]
fn what_a_stop_has_ended_comes_again() {
    let machine = Machine::new(&shared(Kind::RabbitMq).url, "stop-r");
    script(&machine.world, "note", r#"cd "$(dirname "$0")"; echo begun >>log; exec sleep 300"#);
    let mut chain = machine.chain();
    let sent = ids(2);
    machine.send(&sent);
    wait_for(&machine.world, "log", |log| log.contains("begun"));
    chain.signal(Signal::SIGTERM);
    assert_eq!(chain.wait().code(), Some(0));
    assert_eq!(String::from_utf8(chain.stderr()).unwrap(), "");
    script(&machine.world, "note", r#"echo "$FAILCAKE_EVENT_ID" >>"$(dirname "$0")/notes""#);
    machine.drain(0);
    assert_eq!(machine.noted(), words(&sent));
}

/// What the disk does not take is not acknowledged.
#[test]
fn what_fails_and_finds_no_room_on_disk_stays_with_the_broker() {
    let machine = Machine::new(&shared(Kind::RabbitMq).url, "full-r");
    machine.drain(0);
    let sent = ids(1);
    machine.send(&sent);
    let roomy = machine.world.read("failcake.yaml");
    machine.world.write("failcake.yaml", format!("spool-max-bytes: 100\n{roomy}"));
    let words = ["tail", "commits", "--drain", "--retries", "0", "--name", "note", "--exec", "/bin/false"];
    let told = machine.world.failcake(words).run().code(1);
    told.stderr_has("false failed (exit status: 1)").stderr_has("could not be set aside: the spool");
    machine.drain(0);
    assert_eq!(machine.noted(), self::words(&sent));
}

fn broker_killed_in_the_middle(kind: Kind, name: &str) {
    let mut broker = Real::start(kind);
    let machine = Machine::new(&broker.url, name);
    script(&machine.world, "note", r#"sleep 0.1; echo "$FAILCAKE_EVENT_ID" >>"$(dirname "$0")/notes""#);
    let mut chain = machine.chain();
    let sent = ids(12);
    machine.send(&sent);
    machine.wait_for_notes(3);
    broker.stop("KILL");
    chain.stderr_line("no broker: ");
    broker.restart();
    chain.stderr_line("listening to");
    let more = ids(3);
    machine.send(&more);
    let all = [words(&sent), words(&more)].concat();
    machine.wait_for_notes(all.len());
    std::thread::sleep(Duration::from_millis(500));
    let mut noted = machine.noted();
    noted.sort();
    assert_eq!(
        noted,
        {
            let mut all = all;
            all.sort();
            all
        },
        "each once"
    );
}

#[test]
fn activemq_killed_in_the_middle_loses_and_doubles_nothing() {
    broker_killed_in_the_middle(Kind::ActiveMq, "crash-a");
}

#[test]
fn rabbitmq_killed_in_the_middle_loses_and_doubles_nothing() {
    broker_killed_in_the_middle(Kind::RabbitMq, "crash-r");
}

/// Only a chain is durable because the configuration says so: whoever just looks on leaves no subscription behind.
#[test]
fn looking_on_subscribes_durably_only_when_told_to() {
    let machine = Machine::new(&shared(Kind::ActiveMq).url, "look-a");
    machine.world.write("failcake.yaml", machine.world.read("failcake.yaml") + "durable: true\n");
    for (words, kept) in [(&["tail", "commits"][..], false), (&["tail", "commits", "--durable"], true)] {
        let mut looking = machine.world.failcake(words).start();
        looking.stderr_line("listening to");
        looking.signal(Signal::SIGTERM);
        looking.wait();
        machine.send(&ids(1));
        let mut looking = machine.world.failcake(words).start();
        looking.stderr_line("listening to");
        machine.send(&ids(1));
        looking.stdout_line("[spog]");
        if kept {
            looking.stdout_line("[spog]");
        }
        looking.signal(Signal::SIGTERM);
        looking.wait();
        assert_eq!(String::from_utf8(looking.rest()).unwrap(), "");
    }
    machine.send(&ids(2));
    let drained = machine.world.failcake(["tail", "commits", "--drain", "--json"]).run().success().text();
    assert_eq!(drained.lines().count(), 2, "{drained}");
}
