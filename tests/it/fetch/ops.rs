//! A watcher as a service: HUP, what the service manager is told, messages that are set aside.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::signal::Signal;

use super::*;

/// Stands in for systemd.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn at(path: &std::path::Path) -> Supervisor {
        Supervisor::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Supervisor {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Supervisor(socket)
    }

    fn next(&self) -> String {
        let mut octets = [0; 4096];
        let length = self.0.recv(&mut octets).expect("the service manager is told something");
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    /// The next that begins so; what else was told before it.
    #[track_caller]
    fn until(&self, begin: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let told = self.next();
            if told.starts_with(begin) {
                return (told, before);
            }
            before.push(told);
            assert!(before.len() < 1000, "no {begin:?}: {before:?}");
        }
    }

    /// What is told within a while.
    fn within(&self, time: Duration) -> Vec<String> {
        self.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (until, mut all, mut octets) = (Instant::now() + time, Vec::new(), [0; 4096]);
        while Instant::now() < until {
            if let Ok(length) = self.0.recv(&mut octets) {
                all.push(String::from_utf8(octets[..length].to_vec()).unwrap());
            }
        }
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        all
    }
}

impl Machine {
    fn watch_with(&self, environment: &[(&str, &str)]) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command_fetch(&["--watch"]);
        command.envs(environment.iter().copied());
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn spool(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(BINARY);
        command.arg("-c").arg(self.path("failcake.yaml")).arg("spool").args(arguments);
        Said::new(&command.output().unwrap())
    }

    /// How often the log says it.
    fn said(&self, what: &str) -> usize {
        self.read("log").matches(what).count()
    }
}

const READ_AGAIN: &str = "the configuration was read again";

#[test]
fn hup_brings_the_new_configuration_in_the_same_process() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let mut watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let url = format!("file://{}", machine.path("spog.git").display());
    machine.configure(&broker.configuration(), &(machine.spog() + &machine.repo("more", &url)));
    watcher.signal(Signal::SIGHUP);
    events.next("web01 cloned: [more]");
    let commit = machine.push("second");
    machine.says(READ_AGAIN);
    broker.tell("more", &commit);
    events.next(&format!("web01 fetched change: [more] refs/heads/master {commit}"));
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.ends(), Some(0));
}

#[test]
fn a_bad_configuration_is_told_with_its_place_and_the_old_one_goes_on() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let mut watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let good = machine.read("failcake.yaml");
    for (bad, place) in [
        (format!("{good}reconcil: 5m\n"), format!("failcake.yaml:{}", good.lines().count() + 1)),
        (good.replace("repos:", "repos: ["), "failcake.yaml".to_owned()),
        (String::new(), "no repository is configured".to_owned()),
    ] {
        machine.write("failcake.yaml", &bad);
        watcher.signal(Signal::SIGHUP);
        let told = events.next("web01 problem: the new configuration is bad, the old one goes on: ");
        assert!(told.contains(&place), "{told:?} does not say {place:?}");
        assert!(machine.read("log").contains(&place));
        let commit = machine.push("goes on");
        broker.tell("spog", &commit);
        events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
    }
    fs::remove_file(machine.path("failcake.yaml")).unwrap();
    watcher.signal(Signal::SIGHUP);
    events.next("web01 problem: the new configuration is bad");
    assert_eq!(machine.said(READ_AGAIN), 0);
    machine.write("failcake.yaml", &good);
    watcher.signal(Signal::SIGHUP);
    machine.says(READ_AGAIN);
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.ends(), Some(0));
}

#[test]
fn a_storm_of_hups_is_one_reload() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    machine.says("listening to");
    for _ in 0..500 {
        watcher.signal(Signal::SIGHUP);
    }
    wait_for("new connection", || machine.read("log"), || machine.said("listening to") >= 2);
    std::thread::sleep(Duration::from_secs(1));
    // A second one where this machine was too busy to send 500 signals in 200 ms.
    assert!(machine.said(READ_AGAIN) <= 2 && machine.said("listening to") <= 3, "{}", machine.read("log"));
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
}

#[test]
fn work_in_hand_is_finished_before_a_reload_and_durable_events_are_not_lost() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let top = broker.configuration() + "durable: true\nreconcile: 1h\n";
    machine.configure(&top, &machine.spog());
    // Its clone waits for us.
    let slow = "case \"$*\" in *' clone '*) touch \"$HOME/clones-now\"; while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done;; esac";
    machine.script("bin/git", &format!("echo \"$*\" >>\"$CALLS\"\n{slow}\nPATH=${{PATH#*:}}\nexec git \"$@\""));
    let mut watcher = machine.watch(&[]);
    wait_for("clone", || machine.read("log"), || machine.path("clones-now").exists());
    machine.says("listening to");
    watcher.signal(Signal::SIGHUP);
    machine.says(READ_AGAIN);
    let commit = machine.push("while it reloads");
    broker.tell("spog", &commit);
    assert_eq!(machine.said("listening to"), 1, "it waits for its work");
    machine.write("go", "");
    machine.says("cloned: [spog]");
    wait_for("new connection", || machine.read("log"), || machine.said("listening to") == 2);
    wait_for("fetch", || machine.read("log"), || machine.cloned() == commit);
    // And TERM does not wait for a reload that waits.
    fs::remove_file(machine.path("go")).unwrap();
    fs::remove_file(machine.path("clones-now")).unwrap();
    fs::remove_dir_all(machine.path("clones/spog")).unwrap();
    broker.tell("spog", &commit);
    wait_for("second clone", || machine.read("log"), || machine.path("clones-now").exists());
    watcher.signal(Signal::SIGHUP);
    wait_for("second reload", || machine.read("log"), || machine.said(READ_AGAIN) == 2);
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.ends(), Some(0));
}

#[test]
fn the_service_manager_is_told_of_every_state() {
    let abstract_name = format!("failcake-test-{}", std::process::id());
    for is_abstract in [false, true] {
        let (machine, broker) = (Machine::new(), Broker::start());
        let (supervisor, name) = if is_abstract {
            let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
            (Supervisor::of(UnixDatagram::bind_addr(&address).unwrap()), format!("@{abstract_name}"))
        } else {
            let path = machine.path("notify");
            (Supervisor::at(&path), path.display().to_string())
        };
        machine.configure(&broker.configuration(), &machine.spog());
        // Children must not speak for it.
        machine.script("bin/git", "env | grep -E '^(NOTIFY|WATCHDOG)' >>\"$CALLS\"\nPATH=${PATH#*:}\nexec git \"$@\"");
        let mut watcher = machine.watch_with(&[("NOTIFY_SOCKET", &name)]);
        assert_eq!(supervisor.until("READY").0, "READY=1");
        let address = broker.url.trim_start_matches("stomp://").to_owned();
        assert_eq!(supervisor.until("STATUS=conn").0, format!("STATUS=connected to {address}"));
        let cloned = format!("STATUS=connected to {address}; last: cloned: [spog] 1 branches, 0 tags");
        assert_eq!(supervisor.until("STATUS=").0, cloned);
        watcher.signal(Signal::SIGHUP);
        let told = supervisor.until("RELOADING=1\nMONOTONIC_USEC=").0;
        let usec: u64 = told.rsplit('=').next().unwrap().parse().unwrap();
        assert!(usec > 0 && supervisor.until("READY=1").1.iter().all(|told| told.starts_with("STATUS=")));
        // A bad one is an end of the reload, too.
        let good = machine.read("failcake.yaml");
        machine.write("failcake.yaml", "nonsense: 1\n");
        watcher.signal(Signal::SIGHUP);
        supervisor.until("RELOADING=1");
        supervisor.until("READY=1");
        machine.write("failcake.yaml", &good);
        drop(broker);
        assert!(supervisor.until("STATUS=no broker: ").0.contains(&address));
        watcher.signal(Signal::SIGTERM);
        let (_, before) = supervisor.until("STOPPING=1");
        assert!(before.iter().all(|told| told.starts_with("STATUS=")), "nobody asked for a watchdog: {before:?}");
        assert_eq!(watcher.ends(), Some(0));
        assert_eq!(machine.read("calls"), "");
    }
}

#[test]
fn the_watchdog_is_fed_when_it_is_asked_for() {
    let machine = Machine::new();
    let path = machine.path("notify");
    let supervisor = Supervisor::at(&path);
    let name = path.to_str().unwrap();
    // Without a broker, too; and git that hangs is no reason to be killed.
    machine.script("ssh", "sleep 1000");
    machine.configure("broker: stomp://127.0.0.1:1\n", &machine.repo("spog", "git@localhost:spog"));
    let ssh = machine.path("ssh").display().to_string();
    let watcher =
        machine.watch_with(&[("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "200000"), ("GIT_SSH_COMMAND", &ssh)]);
    supervisor.until("READY=1");
    for _ in 0..10 {
        supervisor.until("WATCHDOG=1");
    }
    // One that is stopped is not fed, so that it would be killed.
    watcher.signal(Signal::SIGSTOP);
    supervisor.within(Duration::from_millis(200));
    assert_eq!(supervisor.within(Duration::from_secs(1)), Vec::<String>::new());
    watcher.signal(Signal::SIGCONT);
    supervisor.until("WATCHDOG=1");
    drop(watcher);
    // Asked of another process.
    let _watcher = machine.watch_with(&[("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")]);
    supervisor.until("READY=1");
    let told = supervisor.within(Duration::from_secs(1));
    assert!(!told.iter().any(|told| told.starts_with("WATCHDOG")), "{told:?}");
}

#[test]
fn a_service_manager_that_is_not_there_stops_nothing() {
    for name in ["/nowhere/notify", "@nobody-listens-here", "relative", "@", ""] {
        let machine = Machine::new();
        machine.configure("broker: stomp://127.0.0.1:1\n", &machine.spog());
        let mut watcher = machine.watch_with(&[("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "nonsense")]);
        machine.says("cloned: [spog]");
        watcher.signal(Signal::SIGTERM);
        assert_eq!(watcher.ends(), Some(0), "{name:?}");
    }
}

#[test]
fn keepalive_and_webhook_tell_when_they_are_ready_and_when_they_stop() {
    let machine = Machine::new();
    machine.write("failcake.yaml", "broker: stomp://127.0.0.1:1\n");
    for arguments in [&["keepalive", "--every", "1h"][..], &["webhook", "--listen", "127.0.0.1:0", "--insecure"]] {
        let path = machine.path(arguments[0]);
        let supervisor = Supervisor::at(&path);
        let mut command = machine.command(BINARY);
        command.arg("-c").arg(machine.path("failcake.yaml")).args(arguments).env("NOTIFY_SOCKET", &path);
        let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        supervisor.until("READY=1");
        running.signal(Signal::SIGTERM);
        supervisor.until("STOPPING=1");
        assert_eq!(running.ends(), Some(0), "{arguments:?}");
    }
}

#[test]
fn malformed_messages_are_kept_for_a_person_and_can_be_said_again() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let headers = [("subject", "[spog]\u{1b}[31m"), ("reply-to", "/queue/x"), ("event-type", "push")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    broker.publish(vec![Frame::send(COMMITS, headers, b"repo: spog\nJSON: [".to_vec())]);
    let told = events.next("web01 problem: dropped a malformed message: ");
    assert!(told.ends_with("; `failcake spool list` shows it"), "{told}");
    let listed = machine.spool(&["list", "--json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["state"]), (1, &"refused".into()), "{listed}");
    assert!(machine.spool(&["list"]).ok().contains(COMMITS) && !machine.spool(&["list"]).ok().contains('\u{1b}'));
    // Said again: it is heard again, without the headers that are a stranger's wishes.
    let subscription =
        Subscription { destination: COMMITS.to_owned(), durable: None, ack: AckMode::Auto, prefetch: None };
    let hook = Connection::open(broker.target(), vec![subscription]).unwrap();
    assert!(matches!(hook.receive(Some(PATIENCE)), Some(Incoming::Connected(_))));
    assert_eq!(machine.spool(&["flush", "--refused"]).status, Some(0));
    let Some(Incoming::Message(message)) = hook.receive(Some(PATIENCE)) else { panic!("it is not said again") };
    assert_eq!(message.frame.body, b"repo: spog\nJSON: [");
    assert_eq!((message.frame.header("reply-to"), message.frame.header("event-type")), (None, Some("push")));
    wait_for("second copy", String::new, || machine.spool(&["list", "--json"]).out.contains("refused"));
    assert_eq!(machine.spool(&["drop", "--all", "--yes"]).status, Some(0));
    assert_eq!(machine.spool(&["list"]).ok(), "nothing waits\n");
}

#[test]
fn a_flood_of_garbage_fills_neither_disk_nor_spool_nor_the_events_topic() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let large = vec![b'x'; 100_000];
    for _ in 0..20 {
        broker.publish((0..1000).map(|_| Frame::send(COMMITS, Vec::new(), b"garbage".to_vec())).collect());
        broker.publish((0..10).map(|_| Frame::send(COMMITS, Vec::new(), large.clone())).collect());
    }
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
    let kept = machine.spool(&["list", "--json"]).ok();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert!((1..=100).contains(&kept.as_array().unwrap().len()), "{kept}");
    assert!(machine.said("dropped a malformed message") <= 20, "{}", machine.read("log"));
}

#[test]
fn a_spool_that_takes_nothing_stops_no_watcher() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    fs::remove_dir(machine.path("spool")).unwrap();
    machine.write("spool", "");
    machine.configure(&broker.configuration(), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    broker.publish(vec![Frame::send(COMMITS, Vec::new(), b"garbage".to_vec())]);
    let told = events.next("web01 problem: dropped a malformed message: ");
    assert!(told.contains("; it could not be kept: "), "{told}");
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    events.next(&format!("web01 fetched change: [spog] refs/heads/master {commit}"));
}

#[test]
fn an_event_that_comes_twice_is_one_fetch() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&(broker.configuration() + "reconcile: 1h\n"), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    let commit = machine.push("second");
    let event = event("spog", &commit);
    broker.publish(vec![event.clone()]);
    events.next("web01 fetched change: [spog]");
    std::thread::sleep(Duration::from_millis(2500));
    let before = machine.calls("fetch") + machine.calls("ls-remote");
    broker.publish(vec![event; 50]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.calls("fetch") + machine.calls("ls-remote"), before, "{}", machine.read("calls"));
}
