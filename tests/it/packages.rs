//! `notify-package` and `apt-update` with real packages, the real reprepro and the real apt.

mod apt;
mod apt_faults;
mod changes;
mod incoming;
mod kills;
mod named;
mod reprepro;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use failcake::stomp::Frame;

use super::sandbox::brokers::{Embedded, Listener};
use super::sandbox::{Call, Ran, Said, Sandbox};

const PATIENCE: Duration = Duration::from_secs(60);
const PACKAGES: &str = "/topic/failcake.package.updates";
const EVENTS: &str = "/topic/failcake.events.repository";

/// A host with a repository of two distributions, and an incoming folder.
struct Host {
    world: Sandbox,
    broker: Embedded,
}

/// A host where nothing is signed.
fn host() -> Host {
    let world = Sandbox::new();
    let broker = world.broker();
    for folder in ["incoming/bookworm", "incoming/sid", "repository/conf", "spool"] {
        std::fs::create_dir_all(world.path(folder)).unwrap();
    }
    let host = Host { world, broker };
    host.distributions("");
    host.configure("");
    for distribution in ["bookworm", "sid"] {
        let _ = host.reprepro(&["export", distribution]).success();
    }
    host
}

impl Host {
    /// What reprepro knows: bookworm and sid, each with some more lines.
    fn distributions(&self, more: &str) {
        let each = ["bookworm", "sid"]
            .map(|name| format!("Codename: {name}\nComponents: main\nArchitectures: amd64 source\n{more}"));
        self.world.write("repository/conf/distributions", each.join("\n"));
    }

    /// Keys below `packages:`, one on a line.
    fn configure(&self, more: &str) {
        self.configure_with(&self.broker.url, more);
    }

    fn configure_with(&self, broker: &str, more: &str) {
        let (repository, incoming) = (self.path("repository"), self.path("incoming"));
        let rest = if more.contains("rest:") { "" } else { "  rest: 100ms\n" };
        let packages =
            format!("  repository: {}\n  incoming: {}\n{rest}{more}", repository.display(), incoming.display());
        self.world.write("failcake.yaml", format!("node: web01\nbroker: {broker}\nbudget: 10s\npackages:\n{packages}"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// Both topics, from now on.
    fn listen(&self) -> Listener {
        Listener::open(&self.broker.url, &[PACKAGES, EVENTS])
    }

    /// Builds a package and puts it there; its path.
    fn package(&self, to: &str, name: &str, version: &str) -> PathBuf {
        build(&self.world, to, name, version, "all", "")
    }

    fn notify<'a>(&'a self, words: &[&str]) -> Call<'a> {
        self.world.failcake([&["notify-package"], words].concat())
    }

    /// One run over the incoming folder that goes well.
    fn take(&self) -> Said {
        self.notify(&["--incoming"]).run().success()
    }

    /// reprepro by hand.
    fn reprepro(&self, words: &[&str]) -> Ran {
        let base = self.path("repository");
        self.world.program("reprepro", [&["--basedir", base.to_str().unwrap()], words].concat()).run()
    }

    /// What a distribution has, `name version` on a line.
    fn has(&self, distribution: &str) -> Vec<String> {
        let format = ["--list-format", "${package} ${version}\\n", "listfilter", distribution, "Package"];
        self.reprepro(&format).success().text().lines().map(str::to_owned).collect()
    }

    /// The files of a folder, with those in its folders.
    fn files(&self, folder: &str) -> Vec<String> {
        files_of(&self.path(folder))
    }

    /// Nothing of a run is left.
    #[track_caller]
    fn is_tidy(&self) {
        assert_eq!(self.files("repository/.failcake"), ["lock"]);
    }
}

/// `name_version_architecture.deb` in the folder `to` of the sandbox, with `more` lines in its control file.
fn build(world: &Sandbox, to: &str, name: &str, version: &str, architecture: &str, more: &str) -> PathBuf {
    let tree = format!("build-{name}-{version}-{architecture}");
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: misc\nPriority: optional\n\
         Maintainer: Ada <ada@example.org>\n{more}Description: a package\n"
    );
    world.write(&format!("{tree}/DEBIAN/control"), control);
    world.write(&format!("{tree}/usr/share/{name}/version"), version);
    std::fs::create_dir_all(world.path(to)).unwrap();
    let file = world.path(to).join(format!("{name}_{version}_{architecture}.deb"));
    // Not into its place at once: dpkg-deb writes it bit by bit.
    let built = world.path("built.deb");
    let words = ["--root-owner-group", "--build", &tree, built.to_str().unwrap()];
    let _ = world.program("dpkg-deb", words).run().success();
    std::fs::rename(built, &file).unwrap();
    file
}

fn files_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_of(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// What a message says.
fn body(frame: &Frame) -> String {
    String::from_utf8(frame.body.clone()).unwrap()
}

/// The JSON line of an event.
fn json(frame: &Frame) -> serde_json::Value {
    let body = body(frame);
    serde_json::from_str(body.lines().next_back().unwrap().strip_prefix("JSON: ").unwrap()).unwrap()
}

/// Those of a topic.
fn on<'a>(frames: &'a [Frame], topic: &str) -> Vec<&'a Frame> {
    frames.iter().filter(|frame| frame.header("destination") == Some(topic)).collect()
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn sha256(path: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &std::fs::read(path).unwrap());
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}
