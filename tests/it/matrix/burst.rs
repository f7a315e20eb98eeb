//! A thousand events for one repository are not a thousand fetches.

use std::os::unix::fs::PermissionsExt as _;

use failcake::message::EventId;
use failcake::message::push::{Kind as PushKind, Push};

use super::pushes::{Server, with_path};
use super::*;

matrix! {
    on all: a_thousand_events_are_at_most_three_fetches, the_same_kept_durably, a_backlog_is_one_fetch;
}

fn a_thousand_events_are_at_most_three_fetches(on: Which) {
    burst(&on.shared(), "matrix-burst", false);
}

fn the_same_kept_durably(on: Which) {
    burst(&on.shared(), "matrix-burst-durable", true);
}

/// A machine with a clone of the server's repository, and a git in its PATH that counts how it is called. (git's own
/// children don't come that way.)
struct Machine {
    world: Sandbox,
}

impl Machine {
    fn new(broker: &Broker, prefix: &str, durable: bool, server: &Server) -> Machine {
        let world = Sandbox::new();
        world.write(
            "failcake.yaml",
            format!(
                "broker: {}\nprefix: {prefix}\nnode: web01\ndurable: {durable}\nrepos:\n  spog: {{ path: {}, url: '{}' }}\n",
                broker.url(),
                world.path("clones/spog").display(),
                server.remote()
            ),
        );
        let calls = world.path("calls");
        let script = format!("#!/bin/sh\necho \" $* \" >>{}\nPATH=${{PATH#*:}}\nexec git \"$@\"\n", calls.display());
        let git = world.write("bin/git", script);
        std::fs::set_permissions(git, std::fs::Permissions::from_mode(0o755)).unwrap();
        Machine { world }
    }

    fn watch(&self) -> Running {
        let mut watcher = with_path(self.world.failcake(["fetch", "--watch"]), &self.world).start();
        watcher.stderr_line("listening to");
        watcher
    }

    fn fetches(&self) -> usize {
        let calls = std::fs::read_to_string(self.world.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains(" fetch ")).count()
    }
}

fn thousand(prefix: &str, commit: &str) -> Vec<Frame> {
    let destination = format!("/topic/{prefix}.git.commits");
    let one = |_| {
        let push = Push {
            repo: "spog".parse().unwrap(),
            refname: "refs/heads/master".parse().unwrap(),
            old: "0".repeat(40).parse().unwrap(),
            new: commit.parse().unwrap(),
            kind: PushKind::Create,
            commits: Vec::new(),
            total: 0,
            tag_object: None,
            peeled: None,
            tag_message: None,
            user_name: None,
            options: Vec::new(),
            note: None,
        };
        let event = push.event(EventId::new(), jiff::Timestamp::now());
        Frame::send(&destination, event.headers, event.body.into_bytes())
    };
    (0..1000).map(one).collect()
}

fn burst(broker: &Broker, prefix: &str, durable: bool) {
    // Nobody hears of its own pushes: the events are made here.
    let server = Server::new("stomp://127.0.0.1:1", prefix);
    let machine = Machine::new(broker, prefix, durable, &server);
    let mut watcher = machine.watch();
    watcher.stdout_line("cloned: [spog]");
    let before = machine.fetches();
    let (commit, _) = server.push("second");
    broker.publish(thousand(prefix, &commit));
    watcher.stdout_line(&format!("refs/heads/master {commit}"));
    // What is still to come would come a second after the last.
    std::thread::sleep(Duration::from_secs(3));
    let fetches = machine.fetches() - before;
    assert!((1..=3).contains(&fetches), "{fetches} fetches");
}

/// What a durable subscription kept while the machine was off.
fn a_backlog_is_one_fetch(on: Which) {
    let broker = on.shared();
    let prefix = "matrix-backlog";
    let server = Server::new("stomp://127.0.0.1:1", prefix);
    let machine = Machine::new(&broker, prefix, true, &server);
    let mut watcher = machine.watch();
    watcher.stdout_line("cloned: [spog]");
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), Some(0));

    let (commit, _) = server.push("second");
    broker.publish(thousand(prefix, &commit));
    let before = machine.fetches();
    let drain = || with_path(machine.world.failcake(["fetch", "--drain"]), &machine.world).run().success();
    drain().stdout_has(&format!("refs/heads/master {commit}")).stderr_has("listening to");
    let fetches = machine.fetches() - before;
    assert!((1..=3).contains(&fetches), "{fetches} fetches");
    // All of it was acknowledged: nothing waits there any more.
    let target = Target { client_id: Some("failcake-web01-fetch".to_owned()), ..broker.target() };
    let durable = Some("failcake-web01-fetch-commits".to_owned());
    let wanted = Subscription { durable, ..subscription(&format!("/topic/{prefix}.git.commits")) };
    let connection = Connection::open(target, vec![wanted]).unwrap();
    await_connected(&connection);
    let left = connection.receive(Some(Duration::from_secs(1)));
    assert!(left.is_none(), "{left:?}");
}
