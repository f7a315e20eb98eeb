//! Watchers and brokers that freeze, die and move, and what an enemy says over them.

use nix::sys::signal::{Signal, kill};

use super::*;
use crate::sandbox::brokers::{Kind, Real};

/// A watcher at a broker that beats every second, so that a frozen one is found out soon.
fn watch(machine: &Machine, url: &str, topic: &str) -> Running {
    let commits = format!("topics: {{ commits: /topic/{topic} }}\n");
    machine.configure(&format!("broker: {url}\nheart-beat: 1s\nreconcile: 1h\n{commits}"), &machine.spog());
    let watcher = machine.watch(&[]);
    machine.says("cloned: [spog]");
    machine.says("listening to");
    watcher
}

fn tell(url: &str, topic: &str, repo: &str, commit: &str) {
    let mut frame = event(repo, commit);
    let destination = frame.headers.iter_mut().find(|(name, _)| name == "destination").unwrap();
    destination.1 = format!("/topic/{topic}");
    let until = Instant::now() + PATIENCE;
    let mut publisher = Publisher::connect(&crate::sandbox::brokers::target(url, None), until).unwrap();
    publisher.publish(vec![frame], until).unwrap();
    publisher.close();
}

fn frozen_and_thawed(url: &str, pid: nix::unistd::Pid, topic: &str) {
    let machine = Machine::new();
    let _watcher = watch(&machine, url, topic);
    kill(pid, Signal::SIGSTOP).unwrap();
    machine.says("no broker: ");
    let missed = machine.push("nobody heard of it");
    kill(pid, Signal::SIGCONT).unwrap();
    wait_for("catch-up", || machine.read("log"), || machine.cloned() == missed);
    let told = machine.push("told");
    wait_for(
        "fetch",
        || machine.read("log"),
        || {
            tell(url, topic, "spog", &told);
            machine.cloned() == told
        },
    );
}

#[test]
fn a_frozen_embedded_broker_is_left_and_found_again() {
    let broker = Broker::start();
    frozen_and_thawed(&broker.url, nix::unistd::Pid::from_raw(broker.child.0.id().cast_signed()), "frozen.embedded");
}

#[test]
fn a_frozen_activemq_is_left_and_found_again() {
    let broker = Real::start(Kind::ActiveMq);
    frozen_and_thawed(&broker.url, broker.pid(), "frozen.activemq");
}

#[test]
fn a_frozen_rabbitmq_is_left_and_found_again() {
    let broker = Real::start(Kind::RabbitMq);
    frozen_and_thawed(&broker.url, broker.pid(), "frozen.rabbitmq");
}

#[test]
fn a_watcher_goes_to_the_second_host_when_the_first_dies() {
    let (machine, first, second) = (Machine::new(), Broker::start(), Broker::start());
    let url = format!("failover:({},{})", first.url, second.url);
    let address = second.url.trim_start_matches("stomp://").to_owned();
    let _watcher = watch(&machine, &url, "failcake.git.commits");
    drop(first);
    let missed = machine.push("between the two");
    machine.says(&format!("listening to {address}"));
    wait_for("catch-up", || machine.read("log"), || machine.cloned() == missed);
    let told = machine.push("at the second");
    second.tell("spog", &told);
    machine.says(&format!("fetched change: [spog] refs/heads/master {told}"));
}

#[test]
fn ten_watchers_on_one_machine_all_get_it() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    let url = format!("file://{}", machine.path("spog.git").display());
    let start = |node: usize, verb: &[&str]| {
        let name = format!("node{node}.yaml");
        let path = machine.path("fleet").join(node.to_string());
        let repos = format!("  spog: {{ path: {}, url: '{url}' }}\n", path.display());
        machine.write(&name, &format!("node: n{node}\n{}durable: true\nrepos:\n{repos}", broker.configuration()));
        let mut command = machine.command(BINARY);
        command.arg("-c").arg(machine.path(&name)).arg("fetch").args(verb);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let mut fleet: Vec<Running> = (0..10).map(|node| start(node, &["--watch"])).collect();
    let at = |node: usize| {
        let folder = machine.path("fleet").join(node.to_string());
        let output = machine.command("/usr/bin/git").arg("-C").arg(folder).args(["rev-parse", "-q", "master"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    let first = machine.git("work", &["rev-parse", "HEAD"]);
    wait_for("clones", String::new, || (0..10).all(|node| at(node) == first));
    let told = machine.push("told once");
    broker.tell("spog", &told);
    wait_for("fetches", String::new, || (0..10).all(|node| at(node) == told));
    // Half of them die; what they missed waits for them.
    fleet.truncate(5);
    let missed = machine.push("five missed it");
    broker.tell("spog", &missed);
    wait_for("fetches", String::new, || (0..5).all(|node| at(node) == missed));
    for node in 5..10 {
        assert_eq!((start(node, &["--drain"]).ends(), at(node)), (Some(0), missed.clone()), "{node}");
    }
    events.next("n9 fetched change: [spog]");
}

#[test]
fn branch_names_that_are_attacks_do_nothing() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let commit = machine.push("second");
    // Legal for git: fetched as what they are, names.
    let names = ["x;$(touch${IFS}PWNED)", "-fr", "--upload-pack=touch${IFS}PWNED", "a`touch${IFS}PWNED`", "&&touch"];
    for name in names {
        let written = machine.path("spog.git/refs/heads").join(name);
        fs::create_dir_all(written.parent().unwrap()).unwrap();
        fs::write(written, format!("{commit}\n")).unwrap();
    }
    // Illegal, and only said.
    let said =
        ["../../etc", "x;$(touch PWNED)", "-fr", "refs/heads/../../../etc/passwd", "a\u{7f}b", "/", "", "x.lock"];
    let bodies = said.iter().flat_map(|name| {
        let line = |name: &str| format!("repo: spog\noldrev: {NOTHING}\nnewrev: {commit}\nrefname: {name}\n\n");
        [line(name), line(&format!("refs/heads/{name}")), line("refs/heads/x").replace("spog", name)]
    });
    broker.publish(bodies.map(|body| Frame::send(COMMITS, Vec::new(), body.into_bytes())).collect());
    events.next("web01 problem: dropped a malformed message: ");
    broker.tell("spog", &commit);
    for name in names {
        wait_for(
            "branch",
            || machine.read("log"),
            || machine.read("log").contains(&format!("refs/heads/{name} {commit}")),
        );
    }
    let listed = machine.git("clones/spog", &["for-each-ref", "--format=%(refname)", "refs/heads"]);
    assert_eq!(listed.lines().count(), names.len() + 1, "{listed}");
    let found =
        Command::new("find").arg(machine.folder.path()).args(["-name", "PWNED*", "-o", "-name", "etc"]).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "");
}
