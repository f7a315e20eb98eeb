//! Many machines over the bus, as processes on this one, beside Debian's MCollective on the same ActiveMQ.
//!
//! MCollective's `ping` and `rpc` ask nobody's disk and deploy nothing; they are what it does at best. Its `rpc --batch 1`
//! goes from host to host, as `--batch 1` does here, where each host stages, switches and records a release.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Contender, Sample, median, ms, once, race};
use crate::place::{Broker, FAILCAKE, Place};

/// Node processes.
const NODES: usize = 100;
/// Of them, hosts that are deployed to one after another.
const TURNS: usize = 10;
/// MCollective's daemons: 28 MB each.
const DAEMONS: usize = 10;
const ROUNDS: usize = 9;
/// MCollective waits for five seconds each time.
const RIVAL_ROUNDS: usize = 3;

/// On the embedded broker and on ActiveMQ.
pub fn run(place: &Place) {
    let field = Field::new(place);
    for broker in [place.embedded(), place.real("activemq")] {
        let fleet = Fleet::start(&field, &broker);
        fleet.ask();
        fleet.deploy();
        drop(fleet);
        if broker.kind == "activemq" {
            rivals(place, &broker);
        }
    }
}

/// What is the same on every broker: keys, a repository with two tags, who may sign what.
struct Field<'a> {
    place: &'a Place,
    bare: PathBuf,
    signers: PathBuf,
}

impl<'a> Field<'a> {
    fn new(place: &'a Place) -> Field<'a> {
        let (work, ids) = place.history("fleet-work", 2);
        for (tag, id) in ["one", "two"].into_iter().zip(&ids) {
            place.git(&work, &["tag", tag, id]);
        }
        let bare = place.path("fleet.git");
        place.git(&work, &["clone", "--quiet", "--bare", ".", bare.to_str().expect("UTF-8")]);
        let mut lines = String::new();
        let mut key = |who: &str, namespace: &str| {
            let file = place.path(&format!("fleet-{who}.key"));
            let made = place
                .command("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", who, "-f"])
                .arg(&file)
                .status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
            let public = fs::read_to_string(file.with_extension("key.pub")).expect("a public key");
            lines += &format!("{who} namespaces=\"{namespace}\" {public}");
        };
        key("ann@example.org", "failcake-plan");
        (0..NODES).for_each(|number| key(&node(number), "failcake-reply"));
        let signers = place.path("fleet-signers");
        fs::write(&signers, lines).expect("a file");
        Field { place, bare, signers }
    }

    /// Lines that operator and nodes share.
    fn common(&self, who: &str) -> String {
        let key = self.place.path(&format!("fleet-{who}.key"));
        format!(
            "signing: {{ key: {}, allowed-signers: {} }}\nrepos: {{ app: {{ path: {bare}, url: {bare} }} }}\n",
            key.display(),
            self.signers.display(),
            bare = self.bare.display()
        )
    }
}

fn node(number: usize) -> String {
    format!("host{number:02}")
}

struct Fleet<'a> {
    field: &'a Field<'a>,
    kind: &'static str,
    nodes: Vec<Child>,
    configs: Vec<PathBuf>,
    operator: PathBuf,
}

impl<'a> Fleet<'a> {
    fn start(field: &'a Field<'a>, broker: &Broker) -> Fleet<'a> {
        let place = field.place;
        let config = |number: usize| {
            let site = place.path(&format!("fleet-{}-site-{number}", broker.kind));
            let rest = format!(
                "node: {}\n{}sites: {{ www: {{ repo: app, path: {}, keep: 2, grace: 0s }} }}\n\
                 allow: [ {{ who: ann@example.org, sites: ['*'], hosts: ['*'] }} ]\n",
                node(number),
                field.common(&node(number)),
                site.display()
            );
            place.config(&format!("fleet-{}-{number}", broker.kind), &broker.url, &rest)
        };
        let configs: Vec<PathBuf> = (0..NODES).map(config).collect();
        let inventory: String = (0..NODES).map(|number| format!("  {}: {{}}\n", node(number))).collect();
        let rest = format!(
            "{}sites: {{ www: {{ repo: app, path: {} }} }}\ninventory:\n{inventory}",
            field.common("ann@example.org"),
            place.path("fleet-nowhere").display()
        );
        let operator = place.config(&format!("fleet-{}-operator", broker.kind), &broker.url, &rest);
        let start = |config: &PathBuf| {
            place.command(FAILCAKE).arg("-c").arg(config).args(["deploy", "--watch"]).spawn().expect("a node")
        };
        let nodes = configs.iter().map(start).collect();
        let fleet = Fleet { field, kind: broker.kind, nodes, configs, operator };
        let end = Instant::now() + Duration::from_secs(120);
        while !fleet.failcake(&["nodes"]).status.success() {
            assert!(Instant::now() < end, "the nodes do not come");
        }
        fleet
    }

    fn failcake(&self, words: &[&str]) -> Sample {
        once(self.field.place.command(FAILCAKE).arg("-c").arg(&self.operator).args(words), b"")
    }

    fn ask(&self) {
        let memory: Vec<f64> = self.nodes.iter().map(resident).collect();
        let most = memory.iter().copied().fold(0.0, f64::max);
        println!(
            "\n{NODES} nodes on {}: at most {most:.1} MB resident each, {:.0} MB in all",
            self.kind,
            memory.iter().sum::<f64>()
        );
        // The first in a new state folder has every node's signature checked by ssh-keygen.
        let spool = self.operator.with_extension("spool");
        let mut fresh: Vec<Duration> = (0..3)
            .map(|_| {
                fs::remove_dir_all(&spool).expect("the operator's state");
                fs::create_dir(&spool).expect("the operator's state");
                self.failcake(&["nodes"]).wall
            })
            .collect();
        println!("  nodes, never heard before: {:.0} ms", ms(median(&mut fresh)));
        let nodes = Contender::new(format!("failcake nodes, {NODES} of them"), || self.failcake(&["nodes"]));
        let state = Contender::new("failcake state www --on '*'", || self.failcake(&["state", "www", "--on", "*"]));
        race(&format!("asking on {}", self.kind), ROUNDS, vec![nodes, state]);
    }

    /// Both ways deploy for real, each between two commits.
    fn deploy(&self) {
        let hosts = (0..TURNS).map(node).collect::<Vec<_>>().join(",");
        let (mut alone, mut bus) = (["one", "two"].into_iter().cycle(), ["one", "two"].into_iter().cycle());
        let without = Contender::new(format!("{TURNS} deploys, without a bus"), || {
            let tag = alone.next().expect("a round");
            let begun = Instant::now();
            let mut last = None;
            for config in &self.configs[..TURNS] {
                let mut command = self.field.place.command(FAILCAKE);
                let sample = once(command.arg("-c").arg(config).args(["deploy", "www", tag]), b"");
                assert!(sample.status.success(), "deploy {tag} with {}", config.display());
                last = Some(sample);
            }
            let last = last.expect("a host");
            Sample { wall: begun.elapsed(), ..last }
        });
        let over = Contender::new(format!("deploy --on {TURNS} hosts --batch 1"), || {
            let tag = bus.next().expect("a round");
            self.failcake(&["deploy", "www", tag, "--on", &hosts, "--batch", "1"])
        });
        race(&format!("ten hosts one after another, {}", self.kind), ROUNDS, vec![without, over]);
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| drop(node.kill()));
        self.nodes.iter_mut().for_each(|node| drop(node.wait()));
    }
}

/// Megabytes.
fn resident(child: &Child) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process lives");
    let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// MCollective's client and daemons.
fn rivals(place: &Place, broker: &Broker) {
    let config = |name: &str| {
        let file = place.path(&format!("mco-{name}.cfg"));
        let text = format!(
            "main_collective = mcollective\ncollectives = mcollective\nlibdir = /usr/share/mcollective/plugins\n\
             logfile = {log}\nloglevel = warn\ndaemonize = 0\nidentity = {name}\nsecurityprovider = psk\nplugin.psk = bench\n\
             connector = activemq\nplugin.activemq.pool.size = 1\nplugin.activemq.pool.1.host = 127.0.0.1\n\
             plugin.activemq.pool.1.port = {port}\nplugin.activemq.pool.1.user = gituser\n\
             plugin.activemq.pool.1.password = gitpw\nfactsource = yaml\nplugin.yaml = {facts}\nregisterinterval = 0\n",
            log = place.path(&format!("mco-{name}.log")).display(),
            port = broker.port,
            facts = place.path("mco-facts.yaml").display()
        );
        fs::write(&file, text).expect("a configuration");
        file
    };
    fs::write(place.path("mco-facts.yaml"), "--- {}\n").expect("facts");
    let daemon = |number: usize| {
        let file = config(&format!("rival{number}"));
        place.command("mcollectived").arg("--config").arg(file).spawn().expect("mcollectived")
    };
    let mut daemons: Vec<Child> = (0..DAEMONS).map(daemon).collect();
    let client = config("client");
    let mco = |words: &[&str]| {
        let mut command: Command = place.command("mco");
        command.args(words).arg("--config").arg(&client);
        command
    };
    let all_there = || {
        let output = mco(&["find"]).stdout(Stdio::piped()).output().expect("mco");
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("rival")).count() == DAEMONS
    };
    let end = Instant::now() + Duration::from_secs(120);
    while !all_there() {
        assert!(Instant::now() < end, "MCollective's daemons do not come");
    }
    let memory: f64 = daemons.iter().map(resident).sum();
    println!("\n{DAEMONS} MCollective daemons: {:.1} MB resident each", memory / DAEMONS as f64);
    let run = |words: &'static [&'static str]| move || once(&mut mco(words), b"");
    race(
        &format!("MCollective, {DAEMONS} nodes, {}", broker.kind),
        RIVAL_ROUNDS,
        vec![
            Contender::new("mco ping", run(&["ping"])),
            Contender::new("mco rpc rpcutil ping", run(&["rpc", "rpcutil", "ping"])),
            Contender::new("mco rpc --batch 1", run(&["rpc", "rpcutil", "ping", "--batch", "1", "--batch-sleep", "0"])),
        ],
    );
    daemons.iter_mut().for_each(|daemon| drop(daemon.kill()));
    daemons.iter_mut().for_each(|daemon| drop(daemon.wait()));
}
