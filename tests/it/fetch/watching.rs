//! `--watch` and `--drain`.

use nix::sys::signal::Signal;

use super::*;

/// A watcher that listens and has looked once, so that only events move it from here on.
fn settled(machine: &Machine, broker: &Broker, arguments: &[&str]) -> Running {
    machine.configure(&broker.configuration(), &machine.spog());
    let watcher = machine.watch(arguments);
    machine.says("listening to");
    machine.says("cloned: [spog]");
    // The look after the connect may be another one.
    let looked = || machine.calls("ls-remote") + machine.calls("clone") >= 1;
    wait_for("look", || machine.read("calls"), looked);
    watcher
}

#[test]
fn a_push_is_fetched_and_told() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    let mut watcher = settled(&machine, &broker, &[]);
    assert_eq!(events.next("web01 "), "web01 cloned: [spog] 1 branches, 0 tags");
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    assert_eq!(events.next("web01 fetched"), format!("web01 fetched change: [spog] refs/heads/master {commit}"));
    assert_eq!(machine.cloned(), commit);
    machine.git("work", &["push", "-q", "origin", "HEAD:refs/heads/gone"]);
    machine.git("work", &["push", "-q", "origin", ":refs/heads/gone"]);
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.ends(), Some(0));
}

#[test]
fn a_burst_of_a_thousand_is_at_most_three_fetches() {
    for durable in ["durable: false\n", "durable: true\n"] {
        let (machine, broker) = (Machine::new(), Broker::start());
        machine.configure(&(broker.configuration() + durable), &machine.spog());
        let _watcher = machine.watch(&[]);
        machine.says("cloned: [spog]");
        let commit = machine.push("second");
        broker.publish((0..1000).map(|_| event("spog", &commit)).collect());
        machine.says(&commit);
        // What is still to come would come a second after the first.
        std::thread::sleep(Duration::from_secs(3));
        let calls = machine.calls("fetch");
        assert!((1..=3).contains(&calls), "{durable}{calls} fetches: {}", machine.read("calls"));
    }
}

#[test]
fn garbage_and_the_business_of_others_do_no_harm() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    let _watcher = settled(&machine, &broker, &[]);
    let garbage: [&[u8]; 6] = [
        b"\xff\xfe\x00\x01",
        b"repo: spog\n",
        b"\n",
        b"{\"repository\":{\"name\":\"../../etc\"}}",
        b"JSON: [",
        b"repo: ../../etc",
    ];
    let frame = |body: &&[u8]| Frame::send(COMMITS, vec![("subject".into(), "[spog]".into())], body.to_vec());
    broker.publish(garbage.iter().map(frame).collect());
    events.next("web01 problem: dropped a malformed message: ");
    broker.publish((0..5000).map(|_| event("other", NOTHING)).collect());
    let before = machine.calls("fetch");
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
    assert!(machine.calls("fetch") <= before + 1);
}

#[test]
fn a_broker_that_was_killed_is_found_again_and_what_was_missed_is_caught_up() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let _watcher = settled(&machine, &broker, &[]);
    let restart = broker.killed();
    machine.says("no broker: ");
    let commit = machine.push("nobody heard of it");
    fs::remove_file(machine.path("log")).unwrap_or(());
    let broker = restart();
    wait_for("catch-up", || machine.read("calls"), || machine.cloned() == commit);
    let commit = machine.push("and this was told");
    wait_for(
        "fetch",
        || machine.read("calls"),
        || {
            broker.tell("spog", &commit);
            machine.cloned() == commit
        },
    );
}

#[test]
fn a_remote_that_goes_away_is_told_once_and_forgiven() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    let _watcher = settled(&machine, &broker, &[]);
    fs::rename(machine.path("spog.git"), machine.path("away")).unwrap();
    broker.tell("spog", NOTHING);
    events.next("web01 problem: [spog] git ls-remote: fatal: ");
    fs::rename(machine.path("away"), machine.path("spog.git")).unwrap();
    // Not told by any event: the failure itself is tried again.
    let commit = machine.push("second");
    events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
    assert_eq!(machine.read("log").matches("problem: ").count(), 1);
}

#[test]
fn a_deletion_told_by_the_bus_deletes() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.git("work", &["push", "-q", "origin", "HEAD:refs/heads/foo"]);
    let _watcher = settled(&machine, &broker, &[]);
    machine.git("work", &["push", "-q", "origin", ":refs/heads/foo"]);
    broker.tell("spog", NOTHING);
    events.next("web01 fetched change: [spog] refs/heads/foo deleted");
    machine.git("work", &["push", "-q", "origin", "HEAD:refs/heads/foo/bar"]);
    broker.tell("spog", &machine.git("work", &["rev-parse", "HEAD"]));
    events.next("web01 fetched change: [spog] refs/heads/foo/bar ");
}

#[test]
fn drain_takes_what_waited_and_ends_with_the_worst_outcome() {
    let (machine, broker) = (Machine::new(), Broker::start());
    machine.configure(&broker.configuration(), &machine.spog());
    let drain = || machine.fetch(&["--drain"]);
    assert_eq!(drain().status, Some(0));
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    let said = drain();
    assert_eq!((said.status, machine.cloned()), (Some(0), commit), "{said:?}");
    fs::rename(machine.path("spog.git"), machine.path("away")).unwrap();
    assert_eq!(drain().status, Some(1));
    machine.configure("broker: failover:(stomp://127.0.0.1:1)?maxReconnectAttempts=1\n", &machine.spog());
    let said = drain();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.err.contains("127.0.0.1:1"), "{said:?}");
}

#[test]
fn without_a_broker_it_fetches_by_the_clock() {
    let machine = Machine::new();
    machine.configure("broker: stomp://127.0.0.1:1\nreconcile: 1s\n", &machine.spog());
    let _watcher = machine.watch(&[]);
    machine.says("cloned: [spog]");
    let commit = machine.push("second");
    machine.says(&format!("fetched change: [spog] refs/heads/master {commit}"));
}

#[test]
fn term_ends_it_while_git_hangs() {
    let (machine, broker) = (Machine::new(), Broker::start());
    machine.script("ssh", "touch \"$HOME/hangs\"\nsleep 1000");
    machine.configure(&broker.configuration(), &machine.repo("spog", "git@localhost:spog"));
    let mut command = machine.command_fetch(&["--watch"]);
    let mut watcher =
        Running(command.env("GIT_SSH_COMMAND", machine.path("ssh")).stderr(Stdio::null()).spawn().unwrap());
    wait_for("call of ssh", String::new, || machine.path("hangs").exists());
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.ends(), Some(0));
    assert_eq!(fs::read_dir(machine.path("clones")).unwrap().count(), 0);
}

#[test]
fn an_idle_watcher_sleeps() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let watcher = settled(&machine, &broker, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let switches = || -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", watcher.0.id())).unwrap();
        let of = |path: PathBuf| -> u64 {
            let status = fs::read_to_string(path.join("status")).unwrap();
            let lines = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
            lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
        };
        threads.map(|thread| of(thread.unwrap().path())).sum()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(4));
    // A heart-beat each way, perhaps; a poll that spins would make thousands.
    let count = switches() - before;
    assert!(count <= 10, "{count} wake-ups in 4 s");
}

#[test]
fn a_second_drain_leaves_the_work_to_the_first_and_a_watcher_waits_for_it() {
    let (machine, broker) = (Machine::new(), Broker::start());
    machine.configure(&(broker.configuration() + "durable: true\nreconcile: 1h\n"), &machine.spog());
    assert_eq!(machine.fetch(&["--drain"]).status, Some(0));
    let usual = machine.read("bin/git");
    // Its fetch waits for us.
    let slow =
        "case \"$*\" in *' fetch '*) touch \"$HOME/here\"; while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done;; esac";
    machine.script("bin/git", &format!("echo \"$*\" >>\"$CALLS\"\n{slow}\nPATH=${{PATH#*:}}\nexec git \"$@\""));
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    let mut first = Running(machine.command_fetch(&["--drain"]).stdout(Stdio::null()).spawn().unwrap());
    wait_for("fetch", String::new, || machine.path("here").exists());
    let second = machine.fetch(&["--drain"]);
    let said = format!("fetch of process {} takes what the bus has kept; this one leaves it to that", first.0.id());
    assert!(second.status == Some(0) && second.out.is_empty() && second.err.contains(&said), "{second:?}");
    let mut watcher = machine.watch(&[]);
    machine.says("takes what the bus has kept; this one waits for its end");
    let calls = machine.calls("fetch");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((machine.calls("fetch"), machine.cloned() == commit), (calls, false), "{}", machine.read("log"));
    machine.script("bin/git", &usual[usual.find('\n').unwrap() + 1..]);
    machine.write("go", "");
    assert_eq!((first.ends(), machine.cloned()), (Some(0), commit.clone()));
    machine.says("listening to");
    // And what the watcher hears while it has its turn.
    let third = machine.push("third");
    broker.tell("spog", &third);
    machine.says(&format!("fetched change: [spog] refs/heads/master {third}"));
    assert!(machine.fetch(&["--drain"]).err.contains("this one leaves it to that"));
    watcher.signal(Signal::SIGKILL);
    watcher.ends();
    assert_eq!(machine.fetch(&["--drain"]).status, Some(0));
}
