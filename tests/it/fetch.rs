//! `failcake fetch`: real git, the embedded broker as a program of its own, watchers that are killed and remotes that
//! go away.

mod brokers;
mod contested;
mod gated;
mod limits;
mod once;
mod ops;
mod parts;
mod publishing;
mod repair;
mod sweep;
mod watching;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use failcake::bus::{Connection, Incoming, Publisher, Target};
use failcake::config::Tls;
use failcake::message::EventId;
use failcake::message::push::{Kind, Push};
use failcake::stomp::{AckMode, Frame, Subscription};

const BINARY: &str = env!("CARGO_BIN_EXE_failcake");
const COMMITS: &str = "/topic/failcake.git.commits";
const EVENTS: &str = "/topic/failcake.events.stomp-git";
const NOTHING: &str = "0000000000000000000000000000000000000000";
/// For what must happen: long, since the machine may be busy. No test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A git server's repository `spog`, somebody's work tree to push from, and a machine that keeps a clone.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { folder: tempfile::tempdir().unwrap() };
        machine.write("gitconfig", "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = master\n");
        // Stands before git in the PATH and counts: git's own children don't come this way.
        machine.script("bin/git", "echo \"$*\" >>\"$CALLS\"\nPATH=${PATH#*:}\nexec git \"$@\"");
        fs::create_dir(machine.path("spool")).unwrap();
        fs::set_permissions(machine.path("spool"), fs::Permissions::from_mode(0o1777)).unwrap();
        machine.git(".", &["init", "-q", "--bare", "spog.git"]);
        machine.git(".", &["init", "-q", "work"]);
        machine.git("work", &["remote", "add", "origin", "../spog.git"]);
        machine.push("first");
        machine.configure("broker: stomp://127.0.0.1:1\n", &machine.spog());
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The usual entry below `repos:`.
    fn spog(&self) -> String {
        self.repo("spog", &format!("file://{}", self.path("spog.git").display()))
    }

    fn repo(&self, name: &str, url: &str) -> String {
        format!("  {name}: {{ path: {}, url: '{url}', timeout: 20s }}\n", self.path("clones").join(name).display())
    }

    fn configure(&self, top: &str, repos: &str) {
        self.write("failcake.yaml", &format!("node: web01\n{top}repos:\n{repos}"));
    }

    /// Any program in a world of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("FAILCAKE_BROKER").env_remove("GIT_SSH_COMMAND").env("HOME", self.folder.path());
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("CALLS", self.path("calls")).env("FAILCAKE_SPOOL", self.path("spool"));
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path);
        command
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let output = self.command("git").arg("-C").arg(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let _ = fs::remove_file(self.path("calls"));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A new commit on the server's master; its id.
    fn push(&self, text: &str) -> String {
        self.git("work", &["commit", "-q", "--allow-empty", "-m", text]);
        self.git("work", &["push", "-q", "-f", "origin", "HEAD:refs/heads/master"]);
        self.git("work", &["rev-parse", "HEAD"])
    }

    /// What master is in the clone.
    fn cloned(&self) -> String {
        let output =
            self.command("/usr/bin/git").args(["-C", "clones/spog", "rev-parse", "-q", "--verify", "master"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim_end().to_owned()
    }

    fn command_fetch(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.arg("-c").arg(self.path("failcake.yaml")).arg("fetch").args(arguments);
        command
    }

    fn fetch(&self, arguments: &[&str]) -> Said {
        Said::new(&self.command_fetch(arguments).output().unwrap())
    }

    /// How often git was called with that verb.
    fn calls(&self, verb: &str) -> usize {
        let verb = format!(" {verb} ");
        self.read("calls").lines().filter(|line| line.contains(&verb)).count()
    }

    /// A watcher whose words go to the file `log`.
    fn watch(&self, arguments: &[&str]) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command_fetch(&[&["--watch"], arguments].concat());
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Waits until `log` says it.
    fn says(&self, what: &str) {
        let said = || self.read("log");
        wait_for(&format!("{what:?} in the log"), said, || said().contains(what));
    }
}

/// What a program said, and its exit status.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn new(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// stdout of a run that went well and had nothing to complain about.
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.status == Some(0) && self.err.is_empty(), "{self:?}");
        self.out
    }
}

/// A child that does not outlive the test.
struct Running(Child);

impl Running {
    fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    fn ends(&mut self) -> Option<i32> {
        wait_for("the end of the program", String::new, || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait_for(what: &str, seen: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "no {what}; seen: {}", seen());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The embedded broker.
struct Broker {
    child: Running,
    url: String,
}

impl Broker {
    fn start() -> Broker {
        Broker::listen("127.0.0.1:0")
    }

    fn listen(address: &str) -> Broker {
        let mut command = Command::new(BINARY);
        let mut child = command.args(["broker", "--listen", address]).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("stomp://"), "{url:?}");
        Broker { child: Running(child), url }
    }

    /// Killed, and another one at the same place.
    fn killed(self) -> impl FnOnce() -> Broker {
        let address = self.url.trim_start_matches("stomp://").to_owned();
        drop(self.child);
        move || Broker::listen(&address)
    }

    fn configuration(&self) -> String {
        format!("broker: {}\n", self.url)
    }

    fn target(&self) -> Target {
        Target {
            url: self.url.parse().unwrap(),
            tls: Tls { ca_file: None, verify: true },
            passcode: None,
            vhost: "/".into(),
            heart_beat: Duration::ZERO,
            client_id: None,
        }
    }

    fn publish(&self, frames: Vec<Frame>) {
        let until = Instant::now() + PATIENCE;
        let mut publisher = Publisher::connect(&self.target(), until).unwrap();
        publisher.publish(frames, until).unwrap();
        publisher.close();
    }

    /// Tells that master of `repo` moved.
    fn tell(&self, repo: &str, new: &str) {
        self.publish(vec![event(repo, new)]);
    }

    /// Listens to what machines report.
    fn events(&self) -> Events {
        let destination = EVENTS.to_owned();
        let subscription = Subscription { destination, durable: None, ack: AckMode::Auto, prefetch: None };
        let events = Events { connection: Connection::open(self.target(), vec![subscription]).unwrap() };
        assert!(matches!(events.connection.receive(Some(PATIENCE)), Some(Incoming::Connected(_))));
        events
    }
}

struct Events {
    connection: Connection,
}

impl Events {
    /// The next line that begins so, which must be an event for the old chat bot too.
    #[track_caller]
    fn next(&self, begin: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < until {
            if let Some(Incoming::Message(message)) = self.connection.receive(Some(Duration::from_millis(100))) {
                assert_eq!(message.frame.header("subject"), Some("Talking to eventbot"));
                let line = String::from_utf8(message.frame.body).unwrap();
                if line.starts_with(begin) {
                    return line;
                }
                seen.push(line);
            }
        }
        panic!("nothing that begins with {begin:?}; seen: {seen:?}");
    }
}

/// What a hook says of a push to master.
fn event(repo: &str, new: &str) -> Frame {
    let push = Push {
        repo: repo.parse().unwrap(),
        refname: "refs/heads/master".parse().unwrap(),
        old: NOTHING.parse().unwrap(),
        new: new.parse().unwrap(),
        kind: Kind::Create,
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
    Frame::send(COMMITS, event.headers, event.body.into_bytes())
}
