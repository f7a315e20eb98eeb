//! One wire with the Ruby daemons of 2012: Debian's ruby-stomp hears failcake and failcake hears it, on each broker, with
//! the old configuration files as they are.

use std::path::Path;

use serde_json::Value;

use super::sandbox::brokers::{Kind, Listener, shared};
use super::sandbox::{FAILCAKE, Running, Sandbox};

pub const RUBY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/old_machine.rb");

/// `HOST:PORT` behind the login that every test broker takes.
fn address(url: &str) -> &str {
    url.rsplit_once(['@', '/']).map_or(url, |(_, address)| address)
}

pub fn ruby_url(url: &str) -> String {
    format!("stomp://gituser:gitpw@{}", address(url))
}

fn rserver(url: &str) -> String {
    let url = ruby_url(url);
    format!(
        "rserver: failover://({url},{url})\nstomp-options: initialReconnectDelay=0.01&randomize=false&\
         useExponentialBackOff=true&MaxReconnectDelay=30&BackOffMultiplier=2&MaxReconnectAttempts=0&Backup=false&Timeout=-1\n"
    )
}

fn stompconnector(url: &str) -> String {
    let (host, port) = address(url).split_once(':').unwrap();
    format!(
        "stompconnector:\n  :connect_headers:\n    :accept-version: '1.1'\n    :host: /\n    :heart-beat: '30500,29500'\n  \
         :reliable: true\n  :hosts:\n  - :login: gituser\n    :passcode: gitpw\n    :host: {host}\n    :port: {port}\n    :ssl: false\n"
    )
}

/// Names that no other test listens to.
fn topics(test: &str) -> (String, String) {
    let id = std::process::id();
    (format!("future.{test}{id}.git.commits"), format!("future.{test}{id}.events.stomp-git"))
}

fn listen(world: &Sandbox, url: &str, topics: &(String, String), count: usize) -> Running {
    let count = count.to_string();
    let words = [RUBY, &ruby_url(url), "listen", &topics.0, &topics.1, &count];
    let mut running = world.program("ruby", words).start();
    running.stdout_line("ready");
    running
}

/// A push to the server is told by failcake's hook, which has the old emitter's file, and read by the old daemon's rules.
fn ruby_hears(test: &str, url: &str) {
    let (world, topics) = (Sandbox::new(), topics(test));
    world.repository("spog");
    let old = world.read_commit("HEAD");
    let told = format!("trigger-topic: {}\nreport-topic: {}\n", topics.0, topics.1);
    let config = world.write("stomp-postrec.yaml", format!("---\n{}{told}", rserver(url)));
    world.install_old_hook(&config);
    let mut daemon = listen(&world, url, &topics, 2);
    let new = world.commit(
        "spog",
        "Say\n\nrepo: other\nJSON: {\"repository\": {\"name\": \"other\"}}\n",
        &[("file", "two\n")],
    );
    world.git("spog", ["push", "-q", "origin", "master"]).run().success().stderr("");

    let mut heard: Vec<Value> = (0..2).map(|_| serde_json::from_str(&daemon.stdout_line("{")).unwrap()).collect();
    heard.sort_by_key(|heard| heard["subject"] == "Talking to eventbot");
    let [push, line] = heard.as_slice() else { unreachable!() };
    assert_eq!(push["subject"], format!("[spog] refs/heads/master {new}"));
    assert_eq!(
        (&push["repo"], &push["branch"], &push["commit"]),
        (&Value::from(vec!["spog"]), &"master".into(), &new.clone().into())
    );
    assert_eq!(
        (&push["oldrev"], &push["newrev"], &push["refname"]),
        (&old.into(), &new.clone().into(), &"refs/heads/master".into())
    );
    let json = push["json"].as_array().unwrap();
    assert_eq!(json.len(), 1, "no line of a commit's message is taken for one of ours: {push}");
    assert_eq!((&json[0]["repository"]["name"], &json[0]["after"]), (&"spog".into(), &new.clone().into()));
    assert_eq!((&json[0]["ref"], &json[0]["before"]), (&"refs/heads/master".into(), &push["oldrev"]));
    // RabbitMQ writes its own; ActiveMQ would have made bytes of a text that came with one.
    assert!(push["binary"] == false || test.starts_with("rabbitmq"), "{push}");
    assert_eq!(line["text"], format!("[spog] refs/heads/master {new}"));
    assert!(daemon.wait().success());
}

/// A watcher with the old daemon's file fetches what the old emitters tell, in both forms, and tells the old chat bot.
fn ruby_is_heard(test: &str, url: &str, connection: &str, log: &str) {
    let (world, topics) = (Sandbox::new(), topics(test));
    world.repository("spog");
    world.git("", ["clone", "-q", "spog.git", "clone"]).run().success();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let (clone, target) = (world.path("clone"), world.path("environments"));
    let config = format!(
        "---\n{connection}{log}listen-topic: {}\nreport-topic: {}\nrepo-list:\n  spog:\n    user: {user}\n    repo: {}\n    \
         mode: normal\n    target: {}\n",
        topics.0,
        topics.1,
        clone.display(),
        target.display(),
    );
    let config = world.write("stomp-git.yaml", config);
    let events = Listener::open(&ruby_url(url), &[&format!("/topic/{}", topics.1)]);
    let mut old = world.commit("spog", "before", &[("file", "before\n")]);
    world.git("spog", ["push", "-q", "origin", "master"]).run().success();
    let mut watcher = world.failcake(["-c", config.to_str().unwrap(), "fetch", "--watch"]).start();
    // What was missed is fetched at the start; from here on only messages move it.
    watcher.stdout_line(&old);
    for form in ["text", "json"] {
        let new = world.commit("spog", form, &[("file", form)]);
        world.git("spog", ["push", "-q", "origin", "master"]).run().success();
        let words = [RUBY, &ruby_url(url), form, &topics.0, "spog", &old, &new, "refs/heads/master"];
        world.program("ruby", words).run().success();
        watcher.stdout_line(&format!("fetched change: [spog] refs/heads/master {new}"));
        let fetched = world.git("clone", ["rev-parse", "origin/master"]).run().success().text();
        assert_eq!(fetched.trim(), new, "{form}");
        old = new;
    }
    let told = events.take(3);
    let last = String::from_utf8_lossy(&told[2].body).into_owned();
    assert_eq!(told[2].header("subject"), Some("Talking to eventbot"));
    assert!(last.ends_with(&format!(" fetched change: [spog] refs/heads/master {old}")), "{last}");
}

trait OldMachines {
    fn read_commit(&self, name: &str) -> String;
    fn install_old_hook(&self, config: &Path);
}

impl OldMachines for Sandbox {
    fn read_commit(&self, name: &str) -> String {
        self.git("spog", ["rev-parse", name]).run().success().text().trim().to_owned()
    }

    fn install_old_hook(&self, config: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let script = format!("#!/bin/sh\nexec {FAILCAKE} notify-commit post-receive -c {}\n", config.display());
        let hook = self.write("spog.git/hooks/post-receive", script);
        std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn ruby_hears_a_push_over_the_embedded_broker() {
    let world = Sandbox::new();
    ruby_hears("embedded-hears", &world.broker().url);
}

#[test]
fn ruby_hears_a_push_over_activemq() {
    ruby_hears("activemq-hears", &shared(Kind::ActiveMq).url);
}

#[test]
fn ruby_hears_a_push_over_rabbitmq() {
    ruby_hears("rabbitmq-hears", &shared(Kind::RabbitMq).url);
}

#[test]
fn ruby_is_heard_over_the_embedded_broker() {
    let world = Sandbox::new();
    let broker = world.broker();
    ruby_is_heard("embedded-heard", &broker.url, &rserver(&broker.url), "");
    ruby_is_heard("embedded-heard-2", &broker.url, &stompconnector(&broker.url), "log-file: /var/log/stomp-git.log\n");
}

#[test]
fn ruby_is_heard_over_activemq() {
    let url = &shared(Kind::ActiveMq).url;
    ruby_is_heard("activemq-heard", url, &rserver(url), "");
    ruby_is_heard("activemq-heard-2", url, &stompconnector(url), "fluent-name: stomp-git\n");
}

#[test]
fn ruby_is_heard_over_rabbitmq() {
    let url = &shared(Kind::RabbitMq).url;
    ruby_is_heard("rabbitmq-heard", url, &rserver(url), "");
    ruby_is_heard("rabbitmq-heard-2", url, &stompconnector(url), "fluent-name: stomp-git\n");
}

#[test]
fn an_old_file_becomes_a_new_one() {
    let world = Sandbox::new();
    let broker = world.broker();
    let old = format!("{}repo-lst:\nlisten-topic: future.git.commits\n", rserver(&broker.url));
    let old = world.write("stomp-git.yaml", old);
    let old = old.to_str().unwrap();
    let shown = world.failcake(["config", "import", old]).run().success();
    let shown = shown.stderr_has("stomp-git.yaml:3: unknown key \"repo-lst\" is left out: did you mean \"repo-list\"?");
    let shown = shown.stdout_has("prefix: future\n").stdout_has("# Left out: the passcode for broker").text();
    assert!(!shown.contains("gitpw"), "{shown}");
    let import = ["config", "import", old, "--output", "failcake.yaml"];
    world.failcake(import).run().success().stdout("wrote failcake.passcode\nwrote failcake.yaml\n");
    assert_eq!(world.read("failcake.passcode"), "gitpw\n");
    // Under its usual name it is found from here on, and works.
    world.failcake(["publish", "/topic/future.git.commits"]).stdin("hello").run().success().stderr("");
    let again = world.failcake(import).run().code(1).stdout("");
    again.stderr_has("failcake.yaml is there already: name another file, or say --force to replace it");
    world.failcake([&import[..], &["--force"]].concat()).run().success();
    world.failcake(["config", "import", "failcake.yaml"]).run().code(2).stderr_has("failcake.yaml is no old file");
    world.failcake(["config", "import", "nowhere.yaml"]).run().code(2).stderr_has("can't read the configuration");
}
