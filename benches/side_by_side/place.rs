//! Where the contenders meet: a scratch folder, compiled yardsticks, repositories, brokers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program under test, built with the release profile.
pub const FAILCAKE: &str = env!("CARGO_BIN_EXE_failcake");
/// The project's own folder.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A scratch folder that is gone at the end.
pub struct Place {
    folder: tempfile::TempDir,
}

/// A running broker; stopped when dropped.
pub struct Broker {
    /// `embedded`, `activemq` or `rabbitmq`.
    pub kind: &'static str,
    /// `stomp://login:passcode@127.0.0.1:port`
    pub url: String,
    /// Its port.
    pub port: u16,
    child: Option<Child>,
    folder: PathBuf,
}

impl Place {
    /// Makes the folder and compiles the yardsticks.
    pub fn new() -> Place {
        let folder = tempfile::tempdir().expect("a scratch folder");
        for name in ["least", "empty"] {
            let status = Command::new("cc")
                .args(["-O2", "-o"])
                .arg(folder.path().join(name))
                .arg(Path::new(ROOT).join(format!("benches/rivals/{name}.c")))
                .status();
            assert!(status.is_ok_and(|status| status.success()), "cc can't build benches/rivals/{name}.c");
        }
        Place { folder }
    }

    /// A path in the scratch folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A source of `benches/rivals`.
    pub fn rival(&self, name: &str) -> PathBuf {
        Path::new(ROOT).join("benches/rivals").join(name)
    }

    /// A program with nothing of the caller's configuration.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("FAILCAKE_") || name.starts_with("GIT_")) {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Bench").env(format!("GIT_{who}_EMAIL"), "bench@example.org");
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs git and gives its output.
    pub fn git(&self, folder: &Path, words: &[&str]) -> String {
        let output =
            self.command("git").current_dir(folder).args(words).stdout(Stdio::piped()).output().expect("git runs");
        assert!(output.status.success(), "git {words:?} in {}: {}", folder.display(), output.status);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A work tree with `commits` commits of one small change each, oldest first.
    pub fn history(&self, name: &str, commits: usize) -> (PathBuf, Vec<String>) {
        let work = self.path(name);
        std::fs::create_dir(&work).expect("a work tree");
        self.git(&work, &["init", "--quiet", "--initial-branch=master"]);
        let ids = (0..commits).map(|number| {
            std::fs::write(work.join("page.txt"), format!("{number}\n")).expect("a file");
            self.git(&work, &["add", "page.txt"]);
            self.git(&work, &["commit", "--quiet", "--message", &format!("change {number}")]);
            self.git(&work, &["rev-parse", "HEAD"])
        });
        let ids = ids.collect();
        (work, ids)
    }

    /// A configuration file that leads to `url`, with more lines.
    pub fn config(&self, name: &str, url: &str, rest: &str) -> PathBuf {
        let file = self.path(&format!("{name}.yaml"));
        let spool = self.path(&format!("{name}.spool"));
        std::fs::create_dir_all(&spool).expect("a spool");
        std::fs::write(&file, format!("broker: {url}\nspool: {}\n{rest}", spool.display())).expect("a config");
        file
    }

    /// The embedded broker, as a process of its own.
    pub fn embedded(&self) -> Broker {
        let mut child = self
            .command(FAILCAKE)
            .args(["broker", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the embedded broker");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its first line");
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("stomp://")).expect("its address");
        let port =
            address.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("its port");
        let url = format!("stomp://gituser:gitpw@127.0.0.1:{port}");
        Broker { kind: "embedded", url, port, child: Some(child), folder: PathBuf::new() }
    }

    /// ActiveMQ or RabbitMQ from Debian's packages.
    pub fn real(&self, kind: &'static str) -> Broker {
        let folder = self.path(kind);
        let mut brokers = Command::new(Path::new(ROOT).join("tests/brokers"));
        let output = brokers.args(["start", kind]).arg(&folder).output().expect("tests/brokers");
        assert!(output.status.success(), "{kind} did not start: {}", String::from_utf8_lossy(&output.stderr));
        let facts = String::from_utf8_lossy(&output.stdout).into_owned();
        let url = facts.lines().find_map(|line| line.strip_prefix("URL=")).expect("its URL").to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its port");
        Broker { kind, url, port, child: None, folder }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => {
                let _ = Command::new(Path::new(ROOT).join("tests/brokers")).arg("stop").arg(&self.folder).status();
            }
        }
    }
}

/// A port that nobody listens on now, for a rival that can't be told to take any.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}
