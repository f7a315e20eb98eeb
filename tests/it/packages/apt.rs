//! `apt-update` with the real apt of this machine, in a folder of its own, and the repository of `notify-package`.

use super::*;
use crate::sandbox::Running;
use crate::sandbox::brokers::{Kind, shared};

/// A server whose apt knows the host's two distributions, each by a list of its own.
pub(super) struct Server {
    pub(super) host: Host,
}

pub(super) fn server() -> Server {
    let server = Server { host: host() };
    let world = &server.host.world;
    for folder in ["etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial"]
    {
        std::fs::create_dir_all(world.path("apt").join(folder)).unwrap();
    }
    std::fs::create_dir_all(world.path("apt/var/cache/apt/archives/partial")).unwrap();
    let status = world.write("apt/var/lib/dpkg/status", "");
    let config = format!(
        "Dir \"{}\";\nDir::State::status \"{}\";\nAPT::Sandbox::User \"root\";\nAPT::Architecture \"amd64\";\n",
        world.path("apt").display(),
        status.display()
    );
    world.write("apt.conf", config);
    let uri = format!("file:{}", world.path("repository").display());
    world.write("apt/etc/apt/sources.list.d/bookworm.list", format!("deb [trusted=yes] {uri} bookworm main\n"));
    let sources = format!("Types: deb\nURIs: {uri}\nSuites: sid\nComponents: main\nTrusted: yes\n");
    world.write("apt/etc/apt/sources.list.d/sid.sources", sources);
    server.configure("");
    server
}

impl Server {
    pub(super) fn list(&self, name: &str) -> PathBuf {
        self.host.path("apt/etc/apt/sources.list.d").join(name)
    }

    /// The packages of interest, and more lines of the configuration.
    pub(super) fn configure(&self, more: &str) {
        self.configure_with(&self.host.broker.url, more);
    }

    fn configure_with(&self, broker: &str, more: &str) {
        self.host.configure_with(
            broker,
            &format!(
                "  splay: 100ms\n  interest:\n  - {{ name: 'myapp*', distribution: bookworm, list: {} }}\n  - {{ name: libmyapp, distribution: sid, list: {} }}\n{more}",
                self.list("bookworm.list").display(),
                self.list("sid.sources").display()
            ),
        );
    }

    pub(super) fn update(&self, words: &[&str]) -> Call<'_> {
        self.host.world.failcake([&["apt-update"], words].concat()).env("APT_CONFIG", self.host.path("apt.conf"))
    }

    /// A watcher that has made its first looks.
    pub(super) fn watch(&self) -> Running {
        let mut running = self.update(&["--watch", "--json"]).start();
        running.stderr_line("listening to");
        for _ in 0..2 {
            running.stdout_line("\"what\":\"updated\"");
        }
        running
    }

    /// Puts a package in, and tells the bus.
    pub(super) fn release(&self, distribution: &str, name: &str, version: &str) {
        let file = self.host.package("build", name, version);
        let _ = self.host.notify(&[distribution, file.to_str().unwrap()]).run().success();
    }

    /// What apt would install.
    fn candidate(&self, name: &str) -> String {
        let call = self.host.world.program("apt-cache", ["policy", name]).env("APT_CONFIG", self.host.path("apt.conf"));
        let said = call.run().success().text();
        let line = said.lines().find_map(|line| line.strip_prefix("  Candidate: "));
        line.unwrap_or("unknown").to_owned()
    }
}

#[test]
fn once_the_lists_of_all_interests_are_renewed_and_the_candidates_told() {
    let server = server();
    server.release("bookworm", "myapp", "1.0");
    server.release("bookworm", "myapp-data", "1.0");
    server.release("bookworm", "other", "1.0");
    server.release("sid", "libmyapp", "2.0");
    let said = server.update(&[]).run().success().stderr("");
    said.stdout(
        "package myapp: candidate 1.0, installed none\npackage myapp-data: candidate 1.0, installed none\n\
         updated [SANDBOX]/apt/etc/apt/sources.list.d/bookworm.list\npackage libmyapp: candidate 2.0, installed none\n\
         updated [SANDBOX]/apt/etc/apt/sources.list.d/sid.sources\n",
    );
    assert_eq!(server.candidate("other"), "1.0", "the whole list is known");
    let lines = server.update(&["--json"]).run().success().text();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["name"], &first["candidate"]), (&"myapp".into(), &"1.0".into()));
    assert!(first["installed"].is_null());
}

#[test]
fn an_event_renews_the_one_list_of_its_interest_and_the_candidate_is_told() {
    let server = server();
    let events = Listener::open(&server.host.broker.url, &[EVENTS]);
    let mut running = server.watch();
    // Something that nobody tells of: only an update of that list can show it.
    let quiet = server.host.package("build", "quiet", "1.0");
    let _ = server.host.reprepro(&["includedeb", "sid", quiet.to_str().unwrap()]).success();
    server.release("bookworm", "myapp", "1.0");
    let told: serde_json::Value = serde_json::from_str(&running.stdout_line("candidate")).unwrap();
    assert_eq!((&told["name"], &told["candidate"], &told["told"]), (&"myapp".into(), &"1.0".into(), &"1.0".into()));
    running.stdout_line("bookworm.list");
    let lines: Vec<String> = events.take(2).iter().map(body).collect();
    assert!(lines.contains(&"web01 package myapp: candidate 1.0, installed none".to_owned()), "{lines:?}");
    assert_eq!((server.candidate("myapp").as_str(), server.candidate("quiet").as_str()), ("1.0", "unknown"));
    server.release("sid", "libmyapp", "2.0");
    running.stdout_line("sid.sources");
    assert_eq!(server.candidate("quiet"), "1.0");
    assert_eq!(server.candidate("myapp"), "1.0", "what is known of the other list stays");
    // Nothing is ever installed.
    assert_eq!(server.host.world.read("apt/var/lib/dpkg/status"), "");
    assert_eq!(server.host.files("apt/var/cache/apt/archives"), [""; 0]);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(running.wait().success());
}

/// Such lists have the same size and, for apt, the same time.
#[test]
fn of_two_versions_within_a_second_the_second_is_known() {
    let server = server();
    let index = server.host.path("repository/dists/bookworm/main/binary-amd64");
    for version in ["1.0", "1.1"] {
        let file = server.host.package("build", "myapp", version);
        let _ = server.host.reprepro(&["includedeb", "bookworm", file.to_str().unwrap()]).success();
        for file in ["Packages", "Packages.gz"] {
            let at = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            std::fs::File::open(index.join(file)).unwrap().set_modified(at).unwrap();
        }
        let said = server.update(&[]).run().success().text();
        assert!(said.starts_with(&format!("package myapp: candidate {version},")), "{said}");
        assert_eq!(server.candidate("myapp"), version);
    }
    assert!(server.host.path("apt/var/cache/apt/pkgcache.bin").exists(), "apt keeps a cache here");
}

#[test]
fn what_is_of_no_interest_here_renews_nothing() {
    let server = server();
    let mut running = server.watch();
    server.release("bookworm", "other", "1.0");
    server.release("sid", "myapp", "1.0");
    server.release("bookworm", "libmyapp", "1.0");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.candidate("other"), "unknown");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(running.wait().success());
    assert_eq!(String::from_utf8(running.rest()).unwrap(), "");
}

#[test]
fn a_burst_is_one_update() {
    let server = server();
    let mut running = server.watch();
    let files: Vec<String> = (0..20)
        .map(|n| server.host.package("build", &format!("myapp{n}"), "1.0").to_str().unwrap().to_owned())
        .collect();
    let words: Vec<&str> = ["bookworm"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let _ = server.host.notify(&words).run().success();
    for _ in 0..20 {
        running.stdout_line("\"what\":\"candidate\"");
    }
    running.stdout_line("\"what\":\"updated\"");
    std::thread::sleep(Duration::from_secs(3));
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(running.wait().success());
    assert_eq!(String::from_utf8(running.rest()).unwrap(), "", "one update covered them all");
}

#[test]
fn a_message_of_the_older_tool_counts_for_every_distribution() {
    let server = server();
    let mut running = server.watch();
    let file = server.host.package("build", "myapp", "1.0");
    let _ = server.host.reprepro(&["includedeb", "bookworm", file.to_str().unwrap()]).success();
    let subject = "Package update: [myapp_1.0_all.deb]";
    let _ =
        server.host.world.failcake(["publish", PACKAGES, "--subject", subject]).stdin("new package").run().success();
    let told: serde_json::Value = serde_json::from_str(&running.stdout_line("candidate")).unwrap();
    assert_eq!((&told["candidate"], &told["told"]), (&"1.0".into(), &"1.0".into()));
}

#[test]
fn what_comes_unheard_is_found_by_the_clock_and_told() {
    let server = server();
    server.configure("reconcile: 1s\n");
    let events = Listener::open(&server.host.broker.url, &[EVENTS]);
    let _running = server.watch();
    let file = server.host.package("build", "myapp", "1.0");
    let _ = server.host.reprepro(&["includedeb", "bookworm", file.to_str().unwrap()]).success();
    assert_eq!(body(&events.take(1)[0]), "web01 package myapp: candidate 1.0, installed none");
    assert!(events.within(Duration::from_secs(3)).is_empty(), "it is news once");
}

#[test]
fn each_real_broker_wakes_a_watcher_and_keeps_events_for_a_drain() {
    for kind in [Kind::ActiveMq, Kind::RabbitMq] {
        let (server, broker) = (server(), shared(kind));
        let id = format!("{:?}{}", kind, std::process::id()).to_lowercase();
        let topics = format!("topics: {{ packages: /topic/apt{id}, events-repository: /topic/aptevents{id} }}\n");
        let configure = |more: &str| {
            server.configure_with(&broker.url, "");
            let config = server.host.world.read("failcake.yaml").replace("node: web01", &format!("node: {id}"));
            server.host.world.write("failcake.yaml", format!("{config}{topics}{more}"));
        };
        configure("");
        let events = Listener::open(&broker.url, &[&format!("/topic/aptevents{id}")]);
        let mut running = server.watch();
        server.release("bookworm", "myapp", "1.0");
        running.stdout_line("\"candidate\":\"1.0\"");
        let lines: Vec<String> = events.take(2).iter().map(body).collect();
        assert!(lines.contains(&format!("{id} package myapp: candidate 1.0, installed none")), "{kind:?}: {lines:?}");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(running.wait().success());

        // The first drain makes the subscription; what comes after it waits for the second.
        let drain = || server.update(&["--drain", "--json"]).run().success().text();
        drain();
        server.release("bookworm", "myapp", "1.1");
        let said = drain();
        assert!(said.contains("\"candidate\":\"1.1\""), "{kind:?}: {said}");
        assert!(said.contains("\"told\":\"1.1\""), "{kind:?}: the event was kept: {said}");
        assert!(!drain().contains("\"told\":\"1.1\""), "{kind:?}: it was acknowledged");
    }
}

#[test]
fn hup_reads_the_interest_again() {
    let server = server();
    let mut running = server.watch();
    let config = server.host.world.read("failcake.yaml");
    server.host.world.write("failcake.yaml", config.replace("name: libmyapp", "name: another"));
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.stderr_line("the configuration was read again");
    running.stderr_line("listening to");
    server.release("sid", "another", "1.0");
    running.stdout_line("\"name\":\"another\"");
    server.host.world.write("failcake.yaml", config.replace("name: libmyapp", "nam: another"));
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.stderr_line("the new configuration is bad, the old one goes on");
    server.host.world.write("failcake.yaml", config);
    server.release("sid", "another", "1.1");
    running.stdout_line("\"candidate\":\"1.1\"");
}
