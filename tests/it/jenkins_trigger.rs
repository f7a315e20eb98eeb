//! `failcake jenkins-trigger`: the real program, the embedded broker and both real ones, and a stand-in for Jenkins.

mod brokers;
mod controller;
mod following;
mod refusals;
mod watching;

use std::time::{Duration, Instant};

use failcake::bus::Publisher;
use failcake::message::EventId;
use failcake::message::push::{Author, Commit, Kind, Push};
use failcake::stomp::Frame;

use super::sandbox::brokers::{Embedded, Listener, target};
use super::sandbox::{Running, Sandbox};
use controller::{Controller, Job, Mood};

/// For what must happen: long, since the machine may be busy. No test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);
const COMMITS: &str = "/topic/failcake.git.commits";
const EVENTS: &str = "/topic/failcake.events.jenkins";
const COMMIT: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";

/// A machine beside a controller, with a broker.
struct Machine {
    world: Sandbox,
    _embedded: Option<Embedded>,
    broker: String,
    commits: String,
    jenkins: Controller,
}

impl Machine {
    /// With those projects, and the API token of ann.
    fn new(projects: &str) -> Machine {
        let world = Sandbox::new();
        let broker = world.broker();
        let url = broker.url.clone();
        Machine::at(world, Some(broker), &url, COMMITS, projects)
    }

    /// At a broker that others use too, with topics of its own.
    fn beside_others(url: &str, name: &str, projects: &str) -> Machine {
        Machine::at(Sandbox::new(), None, url, &format!("/topic/jenkins-trigger.{name}"), projects)
    }

    fn at(world: Sandbox, embedded: Option<Embedded>, broker: &str, commits: &str, projects: &str) -> Machine {
        let (broker, commits) = (broker.to_owned(), commits.to_owned());
        let machine = Machine { world, _embedded: embedded, broker, commits, jenkins: Controller::start() };
        machine.world.write("token", "sesame\n");
        std::fs::create_dir(machine.world.path("spool")).unwrap();
        machine.configure("user: ann, token-file: token, ", projects);
        machine
    }

    fn configure(&self, login: &str, projects: &str) {
        let (broker, commits, url) = (&self.broker, &self.commits, &self.jenkins.url);
        // Brokers know a durable subscriber by its node.
        let node = if commits == COMMITS { "ci01".to_owned() } else { commits.replace("/topic/", "") };
        self.world.write(
            "failcake.yaml",
            format!("node: {node}\nbroker: {broker}\ntopics: {{ commits: {commits} }}\njenkins: {{ {login}url: '{url}', projects: {{ {projects} }} }}\n"),
        );
    }

    fn watch(&self, words: &[&str]) -> Running {
        let mut watcher = self.world.failcake([&["jenkins-trigger", "--watch"], words].concat()).start();
        watcher.stderr_line("listening to");
        watcher
    }

    fn publish(&self, mut frames: Vec<Frame>) {
        for frame in &mut frames {
            frame.headers.iter_mut().find(|(name, _)| name == "destination").unwrap().1.clone_from(&self.commits);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut publisher = Publisher::connect(&target(&self.broker, None), deadline).unwrap();
        publisher.publish(frames, deadline).unwrap();
        publisher.close();
    }

    fn push(&self, refname: &str, commit: &str) -> EventId {
        let id = EventId::new();
        self.publish(vec![frame(&push("spog", refname, commit), id)]);
        id
    }

    fn events(&self) -> Listener {
        Listener::open(&self.broker, &[EVENTS])
    }

    /// What waits, or was set aside, as `--list` says it.
    fn listed(&self) -> String {
        self.world.failcake(["jenkins-trigger", "--list"]).run().success().text()
    }

    /// The folder of waiting orders.
    fn orders(&self) -> std::path::PathBuf {
        self.world.path(format!("spool/{}/jenkins", nix::unistd::geteuid()))
    }

    /// As if what waits had been kept an hour ago.
    fn age_orders(&self) {
        for entry in std::fs::read_dir(self.orders()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some((number, id)) = name.split_at_checked(20)
                && let Ok(number) = number.parse::<u64>()
            {
                std::fs::rename(&path, path.with_file_name(format!("{:020}{id}", number - 3_600_000_000_000))).unwrap();
            }
        }
    }
}

fn push(repo: &str, refname: &str, commit: &str) -> Push {
    let tip = Commit {
        id: commit.parse().unwrap(),
        message: "second\n".to_owned(),
        timestamp: String::new(),
        author: Author::default(),
        added: Vec::new(),
        modified: Vec::new(),
        removed: Vec::new(),
    };
    Push {
        repo: repo.parse().unwrap(),
        refname: refname.parse().unwrap(),
        old: "b".repeat(40).parse().unwrap(),
        new: commit.parse().unwrap(),
        kind: Kind::Update,
        commits: vec![tip],
        total: 1,
        tag_object: None,
        peeled: commit.parse().ok(),
        tag_message: None,
        user_name: Some("Ada L".to_owned()),
        options: Vec::new(),
        note: None,
    }
}

fn frame(push: &Push, id: EventId) -> Frame {
    let event = push.event(id, jiff::Timestamp::now());
    Frame::send(COMMITS, event.headers, event.body.into_bytes())
}

fn other(number: u32) -> String {
    format!("{number:040x}")
}
