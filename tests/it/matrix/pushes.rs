//! The whole way, with the real binary: `git push`, the shipped hook, the broker, `fetch --watch` on another machine;
//! and the outbox when the broker is away.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use failcake::message::Envelope;
use failcake::message::push::{Kind as PushKind, Push};

use super::*;
use crate::sandbox::{Call, FAILCAKE};

matrix! {
    on all: a_push_is_fetched_on_another_machine, while_the_broker_is_away_pushes_wait_in_order,
        a_refused_login_keeps_the_event_and_tells, a_watcher_outlives_its_broker,
        a_frozen_broker_costs_the_budget_once_and_no_event;
}

/// A git server: the bare repository `spog.git` with the shipped hook, failcake in the PATH, and a work tree `spog`.
pub struct Server {
    world: Sandbox,
}

impl Server {
    /// One commit is there already, which nobody was told of.
    pub fn new(broker_url: &str, prefix: &str) -> Server {
        let server = Server { world: Sandbox::new() };
        server.configure(broker_url, prefix);
        server.world.repository("spog");
        std::fs::create_dir(server.world.path("bin")).unwrap();
        symlink(FAILCAKE, server.world.path("bin/failcake")).unwrap();
        let hook = server.world.path("spog.git/hooks/post-receive");
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks/git-post-receive");
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::copy(shipped, &hook).unwrap();
        std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        server
    }

    fn configure(&self, broker_url: &str, prefix: &str) {
        self.world.write("failcake.yaml", format!("broker: {broker_url}\nprefix: {prefix}\nbudget: 10s\n"));
    }

    /// `file://…`, for the other machine.
    pub fn remote(&self) -> String {
        format!("file://{}", self.world.path("spog.git").display())
    }

    /// Commits and pushes to master: the new id, and what the pusher was shown. The push works, whatever the broker does.
    pub fn push(&self, message: &str) -> (String, String) {
        let id = self.world.commit("spog", message, &[("file", message)]);
        (id, self.push_shown(&["master"]))
    }

    pub fn push_shown(&self, refs: &[&str]) -> String {
        let words = [&["push", "-q", "origin"], refs].concat();
        let mut pushing = with_path(self.world.git("spog", words), &self.world).start();
        let status = pushing.wait();
        let shown = String::from_utf8(pushing.stderr()).unwrap();
        assert!(status.success(), "{shown}");
        shown
    }

    fn head(&self) -> String {
        self.world.git("spog", ["rev-parse", "HEAD"]).run().success().text().trim().to_owned()
    }

    fn waiting(&self) -> serde_json::Value {
        self.world.failcake(["spool", "list", "--json"]).run().success().json()
    }
}

/// `bin` of that world first.
pub fn with_path<'a>(call: Call<'a>, world: &Sandbox) -> Call<'a> {
    call.env("PATH", format!("{}:{}", world.path("bin").display(), std::env::var("PATH").unwrap()))
}

fn parse(frame: &Frame) -> Push {
    Push::parse(&Envelope::read(&frame.headers, &frame.body).unwrap().unwrap()).unwrap()
}

fn a_push_is_fetched_on_another_machine(on: Which) {
    let broker = on.shared();
    let server = Server::new(&broker.url(), "matrix-push");
    let machine = Sandbox::new();
    machine.write(
        "failcake.yaml",
        format!(
            "broker: {}\nprefix: matrix-push\nnode: web01\nrepos:\n  spog: {{ path: {}, url: '{}' }}\n",
            broker.url(),
            machine.path("clones/spog").display(),
            server.remote()
        ),
    );
    let [commits, human, told] = ["git.commits", "events.gitolite", "events.stomp-git"]
        .map(|name| broker.listen(&[&format!("/topic/matrix-push.{name}")]));
    let mut watcher = machine.failcake(["fetch", "--watch"]).start();
    assert!(watcher.stderr_line("listening to").contains(&broker.address()));
    watcher.stdout_line("cloned: [spog] 1 branches");

    let first = server.head();
    let (second, shown) = server.push("second: ü, a\\b\n\nand more");
    assert_eq!(shown, "", "the hook says nothing when all is well");
    assert_eq!(server.waiting(), serde_json::json!([]), "what has its receipt is in no spool");

    let event = commits.take(1).remove(0);
    let subject = format!("[spog] refs/heads/master {second}");
    assert_eq!(event.header("subject"), Some(&*subject));
    assert_eq!(event.header("event-type"), Some("push"));
    assert_eq!(event.header("persistent"), Some("true"));
    assert_eq!(event.header("event-id").map(str::len), Some(36));
    assert!(event.header("event-time").unwrap().parse::<jiff::Timestamp>().is_ok());
    // RabbitMQ counts whatever it delivers.
    assert_eq!(event.header("content-length").is_some(), on == Which::rabbitmq());
    let text = String::from_utf8(event.body.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let fields = [
        "repo: spog".to_owned(),
        format!("oldrev: {first}"),
        format!("newrev: {second}"),
        "refname: refs/heads/master".to_owned(),
    ];
    assert_eq!(lines[..4], fields, "{text}");
    assert!(text.contains("second: ü, a\\b") && text.contains("and more"), "{text}");
    let json: serde_json::Value = serde_json::from_str(lines.last().unwrap().strip_prefix("JSON: ").unwrap()).unwrap();
    for (pointer, value) in
        [("/repository/name", "spog"), ("/before", &first), ("/after", &second), ("/ref", "refs/heads/master")]
    {
        assert_eq!(json.pointer(pointer).and_then(serde_json::Value::as_str), Some(value), "{pointer}: {json}");
    }
    let push = parse(&event);
    assert_eq!((push.kind, push.total, push.commits.len()), (PushKind::Update, 1, 1));
    assert_eq!(push.commits[0].author.email, "ada@example.org");
    assert_eq!(json["event_id"].as_str(), event.header("event-id"));

    let line = human.take(1).remove(0);
    assert_eq!(line.header("subject"), Some("Talking to eventbot"));
    assert_eq!(String::from_utf8(line.body).unwrap(), subject);

    watcher.stdout_line(&format!("fetched change: [spog] refs/heads/master {second}"));
    let cloned = machine.git("clones/spog", ["rev-parse", "master"]).run().success().text();
    assert_eq!(cloned.trim(), second);
    let lines: Vec<String> = told.take(2).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    assert_eq!(lines[1], format!("web01 fetched change: [spog] refs/heads/master {second}"), "{lines:?}");

    // A tag, a new branch and a deletion, in one push.
    server.push_shown(&["master:refs/heads/gone"]);
    watcher.stdout_line("refs/heads/gone");
    server.world.git("spog", ["tag", "-a", "-m", "one", "v1"]).run().success();
    server.push_shown(&["v1", "master:refs/heads/new", ":gone"]);
    let mut kinds: Vec<(String, PushKind)> =
        commits.take(4).iter().skip(1).map(parse).map(|push| (push.refname.to_string(), push.kind)).collect();
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("refs/heads/gone", PushKind::Delete),
        ("refs/heads/new", PushKind::Create),
        ("refs/tags/v1", PushKind::Create),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    let refs = || machine.git("clones/spog", ["for-each-ref", "--format=%(refname)"]).run().success().text();
    eventually("the three refs", refs, |refs| refs == "refs/heads/master\nrefs/heads/new\nrefs/tags/v1\n");
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), Some(0));
}

#[track_caller]
pub fn eventually<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, done: impl Fn(&T) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if done(&seen) {
            return;
        }
        assert!(Instant::now() < deadline, "never {what}; seen: {seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn while_the_broker_is_away_pushes_wait_in_order(on: Which) {
    let mut broker = on.own();
    let server = Server::new(&broker.url(), "matrix-away");
    broker.stop(Signal::SIGTERM);
    let (one, shown) = server.push("one");
    assert!(shown.contains(&format!("warning: {}", broker.address())), "{shown}");
    assert!(shown.contains("is kept in") && shown.contains("failcake spool flush"), "{shown}");
    assert!(!shown.contains("gitpw"), "no passcode is shown: {shown}");
    let (two, _) = server.push("two");
    let (three, _) = server.push("three");
    assert_eq!(server.waiting().as_array().unwrap().len(), 3, "one file for each push");
    server.world.failcake(["spool", "flush"]).run().code(1).stdout_has(&broker.address());

    broker.restart();
    let listener = broker.listen(&["/topic/matrix-away.git.commits"]);
    server.world.failcake(["spool", "flush"]).run().success().stdout_has("3").stderr("");
    let came: Vec<String> = listener.take(3).iter().map(|frame| parse(frame).new.to_string()).collect();
    assert_eq!(came, [one, two, three.clone()]);
    assert_eq!(server.waiting(), serde_json::json!([]));

    // The next push goes straight through: no mark is left of the bad time.
    let (four, shown) = server.push("four");
    assert_eq!(shown, "");
    assert_eq!(parse(&listener.take(1)[0]).new.as_str(), four);
    assert!(listener.within(Duration::from_millis(300)).is_empty(), "each came once");
}

fn a_refused_login_keeps_the_event_and_tells(on: Which) {
    let broker = on.shared();
    let server = Server::new(&broker.url().replace(LOGIN, "gituser:wr0ng@"), "matrix-refused");
    let (id, shown) = server.push("second");
    assert!(shown.contains("refused the login") && shown.contains(&broker.address()), "{shown}");
    assert!(shown.contains("is kept in") && !shown.contains("wr0ng"), "{shown}");
    let list = server.world.failcake(["spool", "list"]).run().success();
    list.stdout_has("1 waiting: ").stdout_has("refused the login");
    // Flushing asks again, and is refused again; nothing is lost by it.
    server.world.failcake(["spool", "flush"]).run().code(1).stdout_has("refused the login");

    let listener = broker.listen(&["/topic/matrix-refused.git.commits"]);
    server.configure(&broker.url(), "matrix-refused");
    server.world.failcake(["spool", "flush"]).run().success().stderr("");
    assert_eq!(parse(&listener.take(1)[0]).new.as_str(), id);
}

/// It takes the connection and says nothing: only the clock tells.
fn a_frozen_broker_costs_the_budget_once_and_no_event(on: Which) {
    let broker = on.own();
    let listener = broker.listen(&["/topic/matrix-frozen.git.commits"]);
    let server = Server::new(&broker.url(), "matrix-frozen");
    server.world.write("failcake.yaml", format!("broker: {}\nprefix: matrix-frozen\nbudget: 2s\n", broker.url()));
    broker.signal(Signal::SIGSTOP);
    let (one, shown) = server.push("one");
    assert!(shown.contains(&broker.address()) && shown.contains("is kept in"), "{shown}");
    let (two, shown) = server.push("two");
    assert!(shown.contains("it was not asked again"), "{shown}");
    broker.signal(Signal::SIGCONT);
    server.world.failcake(["spool", "flush"]).run().success().stdout("2 sent\n").stderr("");
    let came: Vec<String> = listener.take(2).iter().map(|frame| parse(frame).new.to_string()).collect();
    assert_eq!(came, [one, two]);
    assert!(listener.within(Duration::from_millis(300)).is_empty(), "each came once");
}

/// What is pushed while the broker is down is there after it, by the look after each connect, before anybody flushes.
fn a_watcher_outlives_its_broker(on: Which) {
    let mut broker = on.own();
    let server = Server::new(&broker.url(), "matrix-outlives");
    let machine = Sandbox::new();
    machine.write(
        "failcake.yaml",
        format!(
            "broker: failover:({})?maxReconnectDelay=1\nprefix: matrix-outlives\nnode: web01\ndurable: true\nrepos:\n  \
             spog: {{ path: {}, url: '{}' }}\n",
            broker.url(),
            machine.path("clones/spog").display(),
            server.remote()
        ),
    );
    let mut watcher = machine.failcake(["fetch", "--watch"]).start();
    watcher.stderr_line("listening to");
    watcher.stdout_line("cloned: [spog]");
    broker.stop(Signal::SIGKILL);
    watcher.stderr_line("no broker: ");
    let (missed, shown) = server.push("missed");
    assert!(shown.contains("is kept in"), "{shown}");
    broker.restart();
    watcher.stderr_line("listening to");
    watcher.stdout_line(&format!("fetched change: [spog] refs/heads/master {missed}"));
    // Flushing also forgets that the broker was away; a push does so by itself only after 15 s.
    server.world.failcake(["spool", "flush"]).run().success().stderr("");
    let (seen, _) = server.push("seen");
    watcher.stdout_line(&format!("fetched change: [spog] refs/heads/master {seen}"));
}
