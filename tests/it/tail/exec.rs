//! `--exec`: once for each event, in order, and what fails blocks nothing.

use super::*;

/// Notes what it gets; `FAIL` in the sandbox decides what it fails for.
const NOTE: &str = r#"cd "$(dirname "$0")" || exit 9
body=$(cat)
printf '%s|%s|%s|%s|%s|%s\n' "$FAILCAKE_EVENT_ID" "$FAILCAKE_REPO" "$FAILCAKE_REF" "$FAILCAKE_COMMIT" "$FAILCAKE_ATTEMPT" "$*" >>notes
printf '%s\n' "$body" >>bodies
if [ -e FAIL ] && grep -qxF "$FAILCAKE_REF" FAIL; then echo "no room for $FAILCAKE_REF" >&2; exit 3; fi"#;

struct Machine {
    world: Sandbox,
    broker: crate::sandbox::brokers::Embedded,
    note: String,
}

impl Machine {
    fn new() -> Machine {
        let world = Sandbox::new();
        let broker = world.broker();
        world.write("failcake.yaml", format!("node: web01\nbroker: {}\n", broker.url));
        let note = script(&world, "note", NOTE);
        Machine { world, broker, note }
    }

    fn chain(&self, words: &[&str]) -> Running {
        tail(&self.world, &[words, &["--exec", &self.note]].concat())
    }

    fn send(&self, frames: Vec<Frame>) {
        send(&self.broker.url, frames);
    }

    /// A ref that is pushed, and the whole of the notes once it is noted.
    fn until(&self, refname: &str) -> String {
        self.send(vec![push("spog", refname, EventId::new())]);
        wait_for(&self.world, "notes", |notes| notes.contains(refname))
    }
}

#[test]
fn the_command_gets_the_event_and_no_shell_sees_it() {
    let machine = Machine::new();
    let (world, id) = (&machine.world, EventId::new());
    world.write("failcake.yaml", world.read("failcake.yaml") + "passcode: secret\n");
    let all = script(world, "all", r#"env | grep ^FAILCAKE_ | sort; printf '[%s]' "$@"; echo; cat; echo the-end"#);
    let mut chain = tail(world, &["commits", "--exec", &all, "--json", "a b", "$(touch PWNED)", "-c"]);
    let odd = "refs/heads/x;$(touch${IFS}PWNED)";
    machine.send(vec![push("web/spog", odd, id)]);
    let mut lines = Vec::new();
    while lines.last().map(String::as_str) != Some("the-end") {
        lines.push(chain.stdout_line(""));
    }
    let time = lines.iter().find_map(|line| line.strip_prefix("FAILCAKE_TIME=")).unwrap().to_owned();
    assert!(time.parse::<jiff::Timestamp>().is_ok());
    let expected = [
        "FAILCAKE_ATTEMPT=1".to_owned(),
        format!("FAILCAKE_COMMIT={COMMIT}"),
        format!("FAILCAKE_DESTINATION={COMMITS}"),
        format!("FAILCAKE_EVENT_ID={id}"),
        "FAILCAKE_HOST=web01".to_owned(),
        format!("FAILCAKE_REF={odd}"),
        "FAILCAKE_REPO=web/spog".to_owned(),
        format!("FAILCAKE_SUBJECT=[web/spog] {odd} {COMMIT}"),
        format!("FAILCAKE_TIME={time}"),
        "FAILCAKE_TOPIC=commits".to_owned(),
        "FAILCAKE_TYPE=push".to_owned(),
        "[--json][a b][$(touch PWNED)][-c]".to_owned(),
        "repo: web/spog".to_owned(),
    ];
    assert_eq!(lines[..expected.len()], expected);
    assert_eq!(lines[lines.len() - 2], "log");
    assert!(!world.path("PWNED").exists());
}

#[test]
fn hostile_events_give_a_command_no_names() {
    let machine = Machine::new();
    let _chain = machine.chain(&["commits"]);
    let zero = "0".repeat(40);
    let lie = |repo: &str, refname: &str, new: &str| {
        plain(COMMITS, format!("repo: {repo}\noldrev: {zero}\nnewrev: {new}\nrefname: {refname}\n").as_bytes())
    };
    let mut nul = plain(
        COMMITS,
        b"{\"repository\":{\"name\":\"a\\u0000b\"},\"ref\":\"refs/heads/a\\u0000b\",\"after\":\"x\",\"before\":1}",
    );
    nul.headers.push(("subject".to_owned(), "a\nb\u{1b}[31m".to_owned()));
    nul.headers.push(("event-type".to_owned(), "../../x y".to_owned()));
    machine.send(vec![
        lie("../../etc", "refs/heads/x", COMMIT),
        lie("spog", "refs/heads/../../x", COMMIT),
        lie("-fr", "refs/heads/x", "; rm -rf /"),
        nul,
        plain(COMMITS, b"\xff\xfe\0"),
    ]);
    let notes = machine.until("refs/heads/last");
    let of: Vec<&str> = notes.lines().map(|line| line.split_once('|').unwrap().1).collect();
    assert_eq!(of[..5], ["|||1|"; 5], "{notes}");
    assert_eq!(of[5], format!("spog|refs/heads/last|{COMMIT}|1|"));
}

#[test]
fn an_event_that_comes_again_runs_nothing_not_even_after_a_restart() {
    let machine = Machine::new();
    let (one, two) = (EventId::new(), EventId::new());
    let frames = || vec![push("spog", "refs/heads/one", one), push("spog", "refs/heads/two", two)];
    let chain = machine.chain(&["commits"]);
    machine.send([frames(), frames()].concat());
    machine.until("refs/heads/third");
    drop(chain);
    let chain = machine.chain(&["commits"]);
    machine.send(frames());
    let notes = machine.until("refs/heads/fourth");
    let refs: Vec<&str> = notes.lines().map(|line| line.split('|').nth(2).unwrap()).collect();
    assert_eq!(refs, ["refs/heads/one", "refs/heads/two", "refs/heads/third", "refs/heads/fourth"], "in their order");
    // Another command has not done it.
    drop(chain);
    let other = script(&machine.world, "other/note", "echo other $FAILCAKE_REF");
    let mut chain = tail(&machine.world, &["commits", "--name", "note", "--exec", &other]);
    machine.send(frames());
    chain.stdout_line("other refs/heads/two");
}

#[test]
fn what_fails_again_and_again_is_set_aside_and_blocks_nothing() {
    let machine = Machine::new();
    let world = &machine.world;
    world.write("FAIL", "refs/heads/bad\n");
    let bus =
        Listener::open(&machine.broker.url, &["/topic/failcake.events.stomp-git", "/topic/failcake.events.deploys"]);
    let mut chain = machine.chain(&["--retries", "1"]);
    let bad = EventId::new();
    machine.send(vec![push("spog", "refs/heads/bad", bad), push("spog", "refs/heads/good", EventId::new())]);
    let told = chain.stderr_line("problem: set aside");
    assert!(
        told.contains("note failed (exit status: 3): no room for refs/heads/bad, for [spog] refs/heads/bad"),
        "{told}"
    );
    let notes = wait_for(world, "notes", |notes| notes.contains("refs/heads/good"));
    assert_eq!(notes.matches("refs/heads/bad").count(), 2, "{notes}");
    let listed = world.failcake(["spool", "list"]).run().success().text();
    assert!(
        listed.contains("failed-") && listed.contains("set aside: ") && listed.contains("exit status: 3"),
        "{listed}"
    );
    assert!(
        bus.within(Duration::from_millis(200)).is_empty(),
        "a chain that listens to everything must not hear itself"
    );
    // Once the cause is mended it is said again, and runs.
    world.write("FAIL", "");
    world.failcake(["spool", "flush", "--refused"]).run().success().stdout("1 sent\n");
    wait_for(world, "notes", |notes| notes.matches(&bad.to_string()).count() == 3);
    machine.until("refs/heads/last");
    world.failcake(["spool", "list"]).run().success().stdout("nothing waits\n");
}

#[test]
fn what_takes_too_long_is_ended_with_all_that_it_started() {
    let machine = Machine::new();
    let slow = script(&machine.world, "slow", r#"cd "$(dirname "$0")"; sleep 300 & echo $! >child; wait"#);
    let mut chain = tail(&machine.world, &["commits", "--timeout", "300ms", "--retries", "0", "--exec", &slow]);
    machine.send(vec![push("spog", "refs/heads/x", EventId::new())]);
    assert!(chain.stderr_line("set aside").contains("was ended after 0.3 s"));
    let child: i32 = machine.world.read("child").trim().parse().unwrap();
    let gone = || nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), None).is_err();
    let deadline = Instant::now() + PATIENCE;
    while !gone() {
        assert!(Instant::now() < deadline, "{child} still runs");
    }
}

#[test]
fn one_of_a_name_at_a_time() {
    let machine = Machine::new();
    let _chain = machine.chain(&["commits"]);
    let words = ["tail", "commits", "--exec", &machine.note];
    machine.world.failcake(words).run().code(1).stderr_has("another tail-note is at it: --name NAME tells two apart");
    // A drain from cron that comes too early leaves its events to the one before it.
    let words = ["tail", "commits", "--drain", "--exec", &machine.note];
    machine.world.failcake(words).run().success().stdout("").stderr("");
    let _other = machine.chain(&["commits", "--name", "second"]);
}

#[test]
fn hup_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let machine = Machine::new();
    let world = &machine.world;
    let good = world.read("failcake.yaml");
    let mut chain = machine.chain(&["commits"]);
    machine.until("refs/heads/one");
    world.write("failcake.yaml", "broker: [\n");
    chain.signal(Signal::SIGHUP);
    chain.stderr_line("the new configuration is bad, the old one goes on");
    machine.until("refs/heads/two");
    let other = world.broker();
    world.write("failcake.yaml", good.replace(&machine.broker.url, &other.url) + "topics: { commits: /topic/moved }\n");
    chain.signal(Signal::SIGHUP);
    chain.stderr_line("listening to");
    let mut moved = push("spog", "refs/heads/three", EventId::new());
    moved.headers.iter_mut().find(|(name, _)| name == "destination").unwrap().1 = "/topic/moved".to_owned();
    send(&other.url, vec![moved]);
    wait_for(world, "notes", |notes| notes.contains("refs/heads/three"));
    chain.signal(Signal::SIGTERM);
    assert_eq!(chain.wait().code(), Some(0));
}

#[test]
fn a_stop_ends_the_command_and_what_waits_is_told() {
    let machine = Machine::new();
    let world = &machine.world;
    let slow = script(
        world,
        "slow",
        r#"cd "$(dirname "$0")"; echo begun >>slow.log; trap 'echo ended >>slow.log; exit 1' TERM; sleep 300 & wait"#,
    );
    let mut chain = tail(world, &["commits", "--exec", &slow]);
    machine.send((0..3).map(|_| push("spog", "refs/heads/x", EventId::new())).collect());
    wait_for(world, "slow.log", |log| log.contains("begun"));
    chain.signal(Signal::SIGTERM);
    assert_eq!(chain.wait().code(), Some(0));
    assert_eq!(world.read("slow.log"), "begun\nended\n", "asked to end, and nothing else was begun");
    assert!(String::from_utf8(chain.stderr()).unwrap().contains("2 events were not taken any more"));
}
