//! Brokers for tests: the embedded one, and real ActiveMQ and RabbitMQ through `tests/brokers`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use failcake::bus::{Connection, Incoming, Target};
use failcake::config::{Secret, Tls};
use failcake::stomp::{AckMode, Frame, Subscription};

use super::{Running, Sandbox};

/// No broker takes longer to deliver.
const PATIENCE: Duration = Duration::from_secs(60);

impl Sandbox {
    /// The embedded broker on a free port; it ends when what comes back is dropped.
    pub fn broker(&self) -> Embedded {
        let mut running = self.failcake(["broker", "--listen", "127.0.0.1:0"]).start();
        let line = running.stdout_line("stomp://");
        let at = line.find("stomp://").unwrap();
        let url = line[at..].split_whitespace().next().unwrap().to_owned();
        Embedded { running, url }
    }
}

/// An embedded broker that runs.
pub struct Embedded {
    pub running: Running,
    pub url: String,
}

/// Which real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ActiveMq,
    RabbitMq,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::ActiveMq => "activemq",
            Kind::RabbitMq => "rabbitmq",
        }
    }
}

/// The one of its kind that all tests share. Use destinations of your own.
///
/// # Panics
/// When it is not installed: a missing broker fails the tests, it is never skipped.
pub fn shared(kind: Kind) -> &'static Real {
    static ACTIVEMQ: OnceLock<Real> = OnceLock::new();
    static RABBITMQ: OnceLock<Real> = OnceLock::new();
    match kind {
        Kind::ActiveMq => ACTIVEMQ.get_or_init(|| Real::start(kind)),
        Kind::RabbitMq => RABBITMQ.get_or_init(|| Real::start(kind)),
    }
}

/// A real broker. It stops when this process ends: `tests/brokers serve` waits for the end of its input.
pub struct Real {
    pub kind: Kind,
    /// With login and passcode.
    pub url: String,
    /// With login and passcode; trust [`ca`](Self::ca).
    pub tls_url: String,
    /// The root of its certificate.
    pub ca: PathBuf,
    folder: tempfile::TempDir,
    script: Child,
}

impl Real {
    /// One of its own, for tests that stop or kill it.
    pub fn start(kind: Kind) -> Real {
        let folder = tempfile::Builder::new().prefix("failcake-broker-").tempdir().unwrap();
        let (script, facts) = serve(kind, folder.path());
        let fact = |name: &str| {
            let line = facts.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {facts:?}")).to_owned()
        };
        Real { kind, url: fact("URL"), tls_url: fact("TLS_URL"), ca: fact("CA").into(), folder, script }
    }

    /// The process that serves, for signals: RabbitMQ's is behind a shell script.
    pub fn pid(&self) -> nix::unistd::Pid {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
        let id = read("beam.pid").or_else(|_| read("pid")).unwrap();
        nix::unistd::Pid::from_raw(id.trim().parse().unwrap())
    }

    /// Stops it, or with `KILL` crashes it. What it stored stays.
    pub fn stop(&mut self, signal: &str) {
        run_script(&["stop", self.folder.path().to_str().unwrap(), signal]);
        drop(self.script.stdin.take());
        self.script.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        (self.script, _) = serve(self.kind, self.folder.path());
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/brokers"))
}

fn run_script(words: &[&str]) {
    let output = script().args(words).output().unwrap();
    assert!(output.status.success(), "tests/brokers {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn serve(kind: Kind, folder: &Path) -> (Child, Vec<String>) {
    let mut command = script();
    command.arg("serve").arg(kind.word()).arg(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    assert_eq!(lines.len(), 3, "{} did not start: see the message of tests/brokers above", kind.word());
    (child, lines)
}

/// Whom to connect to, for tests that use the library.
pub fn target(url: &str, ca: Option<&Path>) -> Target {
    Target {
        url: url.parse().unwrap(),
        tls: Tls { ca_file: ca.map(Path::to_owned), verify: true },
        passcode: None::<Secret>,
        vhost: "/".to_owned(),
        heart_beat: Duration::from_secs(10),
        client_id: None,
    }
}

/// Collects what passes on some destinations.
pub struct Listener {
    connection: Connection,
}

impl Listener {
    /// Subscribes, and waits until the broker has confirmed it: what is sent after this is seen.
    pub fn open(url: &str, destinations: &[&str]) -> Listener {
        let subscriptions = destinations.iter().map(|destination| Subscription {
            destination: (*destination).to_owned(),
            durable: None,
            ack: AckMode::Auto,
            prefetch: None,
        });
        let connection = Connection::open(target(url, None), subscriptions.collect()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
                Some(Incoming::Connected(_)) => return Listener { connection },
                Some(Incoming::Lost { .. }) => {}
                other => panic!("not connected to {url}: {other:?}"),
            }
        }
    }

    /// The next `count` messages.
    pub fn take(&self, count: usize) -> Vec<Frame> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames: Vec<Frame> = Vec::new();
        while frames.len() < count {
            match self.connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
                Some(Incoming::Message(message)) => frames.push(message.frame),
                Some(_) => {}
                None => panic!("only {} of {count} messages came: {frames:?}", frames.len()),
            }
        }
        frames
    }

    /// What comes within `time`, for tests that nothing (more) does.
    pub fn within(&self, time: Duration) -> Vec<Frame> {
        let deadline = Instant::now() + time;
        let mut frames = Vec::new();
        while let Some(incoming) = self.connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
            if let Incoming::Message(message) = incoming {
                frames.push(message.frame);
            }
        }
        frames
    }
}
