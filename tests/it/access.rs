//! Temporary logins: granted over the bus, taken by nodes, asked for by real web servers.

mod clocks;
mod disk;
mod left;
mod lists;
mod nodes;
mod servers;
mod signed;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use failcake::bus::Publisher;
use failcake::message::EventId;
use failcake::message::access::{Action, NAMESPACE, Order};
use failcake::message::signed::Document as _;
use failcake::name::PasswordHash;
use failcake::signature::{Key, PATIENCE, sign};
use failcake::stomp::Frame;
use jiff::{SignedDuration, Timestamp};

use super::sandbox::brokers::{self, Embedded, Kind, Listener};
use super::sandbox::{Ran, Running, Sandbox};

/// Nothing that is waited for takes longer.
const LONG: Duration = Duration::from_secs(60);

/// A sandbox with an operator (`ops.yaml`), a key, and nodes.
struct World {
    sandbox: Sandbox,
    url: String,
    topic: String,
    events: String,
    _broker: Option<Embedded>,
}

impl World {
    /// With an embedded broker.
    fn new() -> World {
        let sandbox = Sandbox::new();
        let broker = sandbox.broker();
        let url = broker.url.clone();
        World::at(sandbox, url, "x", Some(broker))
    }

    /// At a real one that other tests use too.
    fn at_real(kind: Kind, name: &str) -> World {
        let name = format!("{name}{}", std::process::id());
        World::at(Sandbox::new(), brokers::shared(kind).url.clone(), &name, None)
    }

    fn at(sandbox: Sandbox, url: String, name: &str, broker: Option<Embedded>) -> World {
        let world = World {
            sandbox,
            url,
            topic: format!("/topic/failcake.{name}.access"),
            events: format!("/topic/failcake.{name}.events"),
            _broker: broker,
        };
        world.key("id_ops");
        let public = world.sandbox.read("id_ops.pub");
        world.sandbox.write("allowed_signers", format!("ops@example.org namespaces=\"failcake-*\" {public}"));
        world.sandbox.write(
            "ops.yaml",
            format!("{}signing: {{ key: id_ops, allowed-signers: allowed_signers }}\n", world.bus()),
        );
        world
    }

    fn bus(&self) -> String {
        format!("broker: {}\ntopics: {{ access: {}, events-access: {} }}\n", self.url, self.topic, self.events)
    }

    /// Makes a key pair.
    fn key(&self, name: &str) {
        let words = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name];
        self.sandbox.program("ssh-keygen", words).run().success();
    }

    /// A node with this below `access:`, and a rule that lets ops do everything.
    fn node(&self, name: &str, access: &str) {
        self.node_with(name, access, "allow: [ { who: ops@example.org, access: ['*'], hosts: ['web*'] } ]\n");
    }

    fn node_with(&self, name: &str, access: &str, more: &str) {
        std::fs::create_dir_all(self.sandbox.path(name)).unwrap();
        let signing = "signing: { allowed-signers: allowed_signers }\n";
        let text = format!("{}node: {name}\n{signing}{more}access:\n{access}", self.bus());
        self.sandbox.write(&format!("{name}.yaml"), text);
    }

    /// An entry of `access:` with a file of the node.
    fn entry(&self, node: &str, site: &str, kind: &str, more: &str) -> String {
        format!("  {site}: {{ type: {kind}, file: {}{more} }}\n", self.file(node, site).display())
    }

    fn file(&self, node: &str, site: &str) -> PathBuf {
        self.sandbox.path(format!("{node}/{site}.access"))
    }

    fn text(&self, node: &str, site: &str) -> String {
        std::fs::read_to_string(self.file(node, site)).unwrap_or_default()
    }

    /// `failcake access …` of the machine with that configuration.
    fn access(&self, machine: &str, words: &[&str]) -> Ran {
        let config = format!("{machine}.yaml");
        self.sandbox.failcake([&["-c", &config, "access"], words].concat()).run()
    }

    /// A node that listens.
    fn watch(&self, node: &str) -> Running {
        let config = format!("{node}.yaml");
        let mut watcher = self.sandbox.failcake(["-c", &config, "access", "--watch"]).start();
        watcher.stderr_line("listening to");
        watcher
    }

    /// Grants, and gives the password.
    fn grant(&self, site: &str, user: &str, more: &[&str]) -> String {
        let words = [&["grant", site, user, "--json"], more].concat();
        let value = self.access("ops", &words).success().json();
        assert_eq!((&value["site"], &value["user"]), (&site.into(), &user.into()));
        value["password"].as_str().unwrap().to_owned()
    }

    /// An order of ops', for now and a minute, of the password `open sesame`.
    fn order(&self, user: &str, lasts: SignedDuration) -> Order {
        let issued = Timestamp::now();
        Order {
            id: EventId::new(),
            site: "preview".parse().unwrap(),
            user: user.parse().unwrap(),
            action: Action::Grant { hash: sesame(), expires: issued + lasts },
            who: "ops@example.org".parse().unwrap(),
            issued,
            not_after: issued + SignedDuration::from_mins(1),
        }
    }

    fn signature(&self, order: &Order, key: &str, namespace: &str) -> String {
        sign(order.to_text().as_bytes(), namespace, &Key::File(self.sandbox.path(key)), PATIENCE).unwrap()
    }

    /// The message as `access grant` would send it.
    fn frame(&self, order: &Order, signature: String) -> Frame {
        let event = order.event(signature);
        Frame::send(&self.topic, event.headers, event.body.into_bytes())
    }

    fn signed(&self, order: &Order) -> Frame {
        self.frame(order, self.signature(order, "id_ops", NAMESPACE))
    }

    fn send(&self, frame: Frame) {
        let until = Instant::now() + LONG;
        let mut publisher = Publisher::connect(&brokers::target(&self.url, None), until).unwrap();
        publisher.publish(vec![frame], until).unwrap();
        publisher.close();
    }
}

/// Of `open sesame`, by Perl's crypt(3).
fn sesame() -> PasswordHash {
    let script = "print crypt('open sesame', '$6$rounds=1000$saltsalt')";
    let output = std::process::Command::new("perl").args(["-e", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
