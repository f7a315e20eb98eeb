//! The kit: a repository, an operator, and nodes as processes with folders and keys of their own.
//!
//! ```ignore
//! let mut fleet = Fleet::new(&["web01", "web02"]);
//! fleet.release("v1", &[]);
//! fleet.start();
//! fleet.operator(["deploy", "www", "v1", "--on", "web*"]).run().success();
//! assert_eq!(fleet.serves("web01"), "v1");
//! ```

#![allow(dead_code, reason = "a kit: what one test leaves another needs")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::sandbox::brokers::{Embedded, Kind, Real, shared};
use crate::sandbox::clock::Clock;
use crate::sandbox::{Call, FAILCAKE, Running, Sandbox};

/// How long anything may take that is waited for; no test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fleet {
    pub world: Sandbox,
    /// Of the embedded broker, when that is the one.
    pub embedded: Option<Embedded>,
    operators: String,
    nodes: String,
    prefix: String,
    names: Vec<String>,
    pub running: BTreeMap<String, Running>,
    /// More keys of the site, by node, and more lines of the node's configuration.
    site: BTreeMap<String, String>,
    lines: BTreeMap<String, String>,
    /// Lines of `repos:` and of the site; `WHO` is the folder of whoever it is.
    origin: Option<(String, String)>,
    inventory: bool,
    /// By whom; others have the machine's.
    clocks: BTreeMap<String, Clock>,
}

impl Fleet {
    /// On an embedded broker of their own.
    pub fn new(names: &[&str]) -> Fleet {
        let world = Sandbox::new();
        let embedded = world.broker();
        let url = embedded.url.clone();
        Fleet::with(world, Some(embedded), &url, &url, "failcake", names)
    }

    /// On the real one that all tests share, with the logins that docs/rollouts.md gives operators and nodes.
    pub fn on(kind: Kind, names: &[&str]) -> Fleet {
        let prefix = format!("fleet.{}", uuid::Uuid::new_v4().simple());
        let url = &shared(kind).url;
        let login = |login: &str| url.replace("gituser:gitpw", login);
        Fleet::with(Sandbox::new(), None, &login("ops:opspw"), &login("node:nodepw"), &prefix, names)
    }

    /// On a real one of the test's own.
    pub fn at(broker: &Real, names: &[&str]) -> Fleet {
        let login = |login: &str| broker.url.replace("gituser:gitpw", login);
        Fleet::with(Sandbox::new(), None, &login("ops:opspw"), &login("node:nodepw"), "failcake", names)
    }

    fn with(
        world: Sandbox,
        embedded: Option<Embedded>,
        operators: &str,
        nodes: &str,
        prefix: &str,
        names: &[&str],
    ) -> Fleet {
        world.repository("app");
        let fleet = Fleet {
            world,
            embedded,
            operators: operators.to_owned(),
            nodes: nodes.to_owned(),
            prefix: prefix.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            running: BTreeMap::new(),
            site: BTreeMap::new(),
            lines: BTreeMap::new(),
            origin: None,
            inventory: true,
            clocks: BTreeMap::new(),
        };
        fs::create_dir_all(fleet.world.path("operator/spool")).unwrap();
        fleet.make_key("operator/id", "ops@example.org", "failcake-plan");
        for name in &fleet.names {
            fs::create_dir_all(fleet.world.path(format!("{name}/spool"))).unwrap();
            fleet.make_key(&format!("{name}/id"), name, "failcake-reply");
        }
        fleet.configure_operator();
        fleet
    }

    /// A new SSH key, allowed for one purpose.
    pub fn make_key(&self, path: &str, principal: &str, namespace: &str) {
        let path = self.world.path(path);
        let words = ["-q", "-t", "ed25519", "-N", "", "-C", principal, "-f", path.to_str().unwrap()];
        self.world.program("ssh-keygen", words).run().success();
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        let signers = self.world.path("allowed_signers");
        let line = format!("{principal} namespaces=\"{namespace}\" {public}");
        fs::write(&signers, fs::read_to_string(&signers).unwrap_or_default() + &line).unwrap();
    }

    /// The operator expects nobody in particular.
    pub fn without_inventory(mut self) -> Fleet {
        self.inventory = false;
        self.configure_operator();
        self
    }

    /// The site's files come from elsewhere than the one repository of git.
    pub fn of(mut self, repos: &str, site: &str) -> Fleet {
        self.origin = Some((repos.to_owned(), site.to_owned()));
        self.configure_operator();
        self
    }

    /// One more key of the node's site.
    pub fn site(mut self, node: &str, line: &str) -> Fleet {
        self.site.entry(node.to_owned()).or_default().push_str(&format!("    {line}\n"));
        self
    }

    /// One more line of the node's configuration; `allow:` is all that is there otherwise.
    pub fn line(mut self, node: &str, line: &str) -> Fleet {
        self.lines.entry(node.to_owned()).or_default().push_str(&format!("{line}\n"));
        self
    }

    fn shared_lines(&self, who: &str, url: &str) -> String {
        let path = |name: &str| self.world.path(name).display().to_string();
        let (id, signers) = (path(&format!("{who}/id")), path("allowed_signers"));
        let git = || (format!("app: {{ path: WHO/app.git, url: '{}' }}", path("app.git")), "repo: app".to_owned());
        let (repos, site) = self.origin.clone().unwrap_or_else(git);
        let text = format!(
            "broker: {url}\nprefix: {}\nspool: WHO/spool\nsigning: {{ key: {id}, allowed-signers: {signers} }}\nrepos:\n  {repos}\n\
             sites:\n  www:\n    {site}\n    path: WHO/site\n    grace: 0s\n",
            self.prefix,
        );
        text.replace("WHO", &path(who))
    }

    fn configure_operator(&self) {
        let mut text = self.shared_lines("operator", &self.operators);
        if self.inventory {
            text.push_str("inventory:\n");
            for (at, name) in self.names.iter().enumerate() {
                let dc = if at % 2 == 0 { "lon" } else { "ams" };
                text.push_str(&format!("  {name}: {{ groups: [web], facts: {{ dc: {dc} }} }}\n"));
            }
        }
        self.world.write("operator/failcake.yaml", text);
    }

    /// Another person with a key and a configuration of their own.
    pub fn second_operator(&self, name: &str) {
        fs::create_dir_all(self.world.path(format!("{name}/spool"))).unwrap();
        self.make_key(&format!("{name}/id"), &format!("{name}@example.org"), "failcake-plan");
        let text = self.world.read("operator/failcake.yaml").replace("/operator/", &format!("/{name}/"));
        self.world.write(&format!("{name}/failcake.yaml"), text);
    }

    fn configure_node(&self, name: &str) {
        let mut text = self.shared_lines(name, &self.nodes);
        text.push_str(self.site.get(name).map_or("", String::as_str));
        let allow = "allow: [{ who: '*@example.org', sites: ['*'], hosts: ['*'] }]\n";
        let allow = allow.replace("'*@example.org'", "ops@example.org");
        text.push_str(&format!("node: {name}\n"));
        let lines = self.lines.get(name).map_or("", String::as_str);
        text.push_str(if lines.contains("allow:") { "" } else { &allow });
        text.push_str(lines);
        self.world.write(&format!("{name}/failcake.yaml"), text);
    }

    /// Starts all nodes, and waits until they listen.
    pub fn start(&mut self) {
        for name in self.names.clone() {
            self.start_node(&name);
        }
        for name in self.names.clone() {
            self.listens(&name);
        }
    }

    /// Starts one, without waiting.
    pub fn start_node(&mut self, name: &str) {
        self.configure_node(name);
        let running = self.as_who(name, ["deploy", "--watch"]).start();
        self.running.insert(name.to_owned(), running);
    }

    /// Waits until it listens.
    pub fn listens(&mut self, name: &str) {
        self.running.get_mut(name).unwrap().stderr_line("listening to");
    }

    pub fn node(&mut self, name: &str) -> &mut Running {
        self.running.get_mut(name).unwrap()
    }

    /// Kills the embedded broker.
    pub fn kill_broker(&mut self) {
        self.embedded.as_mut().unwrap().running.signal(nix::sys::signal::Signal::SIGKILL);
        self.embedded.as_mut().unwrap().running.wait();
    }

    /// Starts it again where it was.
    pub fn restart_broker(&mut self) {
        let url = self.embedded.as_ref().unwrap().url.clone();
        let address = url.trim_start_matches("stomp://").to_owned();
        let mut running = self.world.failcake(["broker", "--listen", &address]).start();
        running.stdout_line("stomp://");
        self.embedded = Some(Embedded { running, url });
    }

    /// Gives a node, or the operator, a clock of its own that is so many seconds ahead. Given again, it steps.
    pub fn clock(&mut self, who: &str, seconds: i64) {
        self.clocks.entry(who.to_owned()).or_insert_with(|| self.world.clock(seconds)).set(seconds);
    }

    /// failcake with the configuration and spool of `who`.
    pub fn as_who<S: AsRef<OsStr>>(&self, who: &str, words: impl IntoIterator<Item = S>) -> Call<'_> {
        let config = self.world.path(format!("{who}/failcake.yaml"));
        let call = self
            .world
            .program(FAILCAKE, words)
            .env("FAILCAKE_CONFIG", config)
            .env("FAILCAKE_SPOOL", self.world.path(format!("{who}/spool")));
        match self.clocks.get(who) {
            Some(clock) => call.by(clock),
            None => call,
        }
    }

    /// failcake as the operator.
    pub fn operator<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call<'_> {
        self.as_who("operator", words)
    }

    /// `deploy www REF --on FILTER` and more words.
    pub fn deploy(&self, reference: &str, on: &str, more: &[&str]) -> Call<'_> {
        self.operator([&["deploy", "www", reference, "--on", on], more].concat())
    }

    /// A commit whose `index.html` is `tag`, with these scripts, tagged and pushed; its id.
    pub fn release(&self, tag: &str, scripts: &[(&str, &str)]) -> String {
        let _ = fs::remove_dir_all(self.world.path("app/deploy"));
        for (name, text) in scripts {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.world.write(&format!("app/deploy/{name}"), format!("#!/bin/sh\n{text}\n"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let commit = self.world.commit("app", tag, &[("index.html", tag)]);
        self.world.git("app", ["tag", tag]).run().success();
        self.world.git("app", ["push", "-q", "origin", "master", tag]).run().success();
        commit
    }

    /// What the node's site serves on its disk; empty: nothing.
    pub fn serves(&self, node: &str) -> String {
        fs::read_to_string(self.world.path(format!("{node}/site/current/index.html"))).unwrap_or_default()
    }

    /// What all of them serve.
    pub fn all_serve(&self) -> Vec<String> {
        self.names.iter().map(|name| self.serves(name)).collect()
    }

    /// How many releases stand on the node's disk.
    pub fn releases(&self, node: &str) -> usize {
        fs::read_dir(self.world.path(format!("{node}/site/releases"))).map_or(0, Iterator::count)
    }

    /// The newest plan's id, from the operator's list.
    pub fn newest_plan(&self) -> String {
        let list = self.operator(["rollout", "list"]).run().success().text();
        list.split_whitespace().next().unwrap_or_else(|| panic!("no plan: {list:?}")).to_owned()
    }

    /// Where a test's scripts say that they are at work, and wait until they may go on.
    pub fn gate(&self, name: &str) -> Gate {
        let path = self.world.path(format!("gate-{name}"));
        fs::create_dir_all(&path).unwrap();
        Gate { path }
    }
}

/// A script that says it is there, and goes on when it may.
pub struct Gate {
    path: PathBuf,
}

impl Gate {
    /// For a script: `$FAILCAKE_HOST` is in its environment.
    pub fn script(&self) -> String {
        let path = self.path.display();
        format!("touch {path}/at-$FAILCAKE_HOST; while [ ! -e {path}/open ]; do sleep 0.02; done")
    }

    /// Waits until that node's script is there.
    pub fn wait_for(&self, node: &str) {
        wait_for(&format!("{node} at the gate"), || self.path.join(format!("at-{node}")).exists());
    }

    pub fn is_at(&self, node: &str) -> bool {
        self.path.join(format!("at-{node}")).exists()
    }

    pub fn open(&self) {
        fs::write(self.path.join("open"), "").unwrap();
    }
}

pub fn wait_for(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
