//! The git hooks: real git, real repositories, the hook installed as git runs it.
//!
//! Most tests look at what the hook would say (`--dry-run --json`), which needs no broker.

mod bus;
mod commits;
mod edges;
mod refs;
mod work_tree;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_failcake");

/// A bare repository `spog.git` with the hook, and a clone `work` to push from.
struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        Server::with(&[])
    }

    /// `init` goes to `git init` of both repositories.
    fn with(init: &[&str]) -> Server {
        let server = Server { folder: tempfile::tempdir().unwrap() };
        fs::write(
            server.path("gitconfig"),
            "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = master\n[advice]\ndetachedHead = false\n\
             [gc]\nauto = 0\n[safe]\ndirectory = *\n",
        )
        .unwrap();
        fs::create_dir(server.path("work")).unwrap();
        fs::create_dir(server.path("spool")).unwrap();
        let root = server.folder.path();
        server.git_in(root, &[&["init", "-q", "--bare"], init, &["spog.git"]].concat());
        server.git_in(root, &[&["init", "-q"], init, &["work"]].concat());
        server.git(&["remote", "add", "origin", "../spog.git"]);
        server.git_in(&server.path("spog.git"), &["config", "receive.advertisePushOptions", "true"]);
        server.git_in(&server.path("spog.git"), &["config", "receive.denyDeleteCurrent", "ignore"]);
        server.install("");
        server
    }

    /// Installs a hook that writes what it would say to `told`; `options` go to it.
    fn install(&self, options: &str) {
        let told = self.path("told");
        self.install_script(&format!(
            "exec {BINARY} notify-commit post-receive --dry-run --json {options} >>{}",
            told.display()
        ));
    }

    fn install_script(&self, script: &str) {
        let hook = self.path("spog.git/hooks/post-receive");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Any program in a world of its own, standing in `folder`.
    fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null());
        for name in ["GL_USER", "GL_USERNAME", "GL_REPO", "GL_PROJECT_PATH", "REMOTE_USER", "FAILCAKE_BROKER"] {
            command.env_remove(name);
        }
        command.env("HOME", self.folder.path()).env("GIT_CONFIG_GLOBAL", self.path("gitconfig"));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("FAILCAKE_SPOOL", self.path("spool"));
        command
    }

    fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.command("git", folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// git in the work tree.
    fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.path("work"), arguments)
    }

    /// Commits a new file with that name and message; its id.
    fn commit(&self, name: &str) -> String {
        fs::write(self.path("work").join(name), name).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", name]);
        self.id("HEAD")
    }

    fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", revision])
    }

    /// Pushes; what the hook said of it, in order.
    fn push(&self, arguments: &[&str]) -> Vec<Value> {
        self.git(&[&["push", "-q", "origin"], arguments].concat());
        self.told()
    }

    /// What was said since it was last asked.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("told")).unwrap_or_default();
        let _ = fs::remove_file(self.path("told"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Pushes one ref; what the hook said of it.
    fn push_one(&self, arguments: &[&str]) -> Value {
        let told = self.push(arguments);
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter().next().unwrap()
    }

    /// The hook without git: `lines` on stdin, standing in the bare repository.
    fn hook(&self, options: &[&str], environment: &[(&str, &str)], lines: &[u8]) -> Output {
        use std::io::Write as _;
        let mut command = self.command(BINARY, &self.path("spog.git"));
        command.args(["notify-commit", "post-receive"]).args(options).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines).unwrap();
        child.wait_with_output().unwrap()
    }

    /// As [`hook`](Self::hook), with `--dry-run --json`: the only thing that was said, and stderr.
    fn says(&self, options: &[&str], environment: &[(&str, &str)], lines: &str) -> (Value, String) {
        let output = self.hook(&[&["--dry-run", "--json"], options].concat(), environment, lines.as_bytes());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let value = serde_json::from_slice(&output.stdout);
        (value.unwrap_or_else(|error| panic!("{error}: {:?} {stderr}", output.stdout)), stderr)
    }
}

/// `[kind, total]` of one ref's event.
fn summary(told: &Value) -> (&str, u64) {
    (told["kind"].as_str().unwrap(), told["total_commits_count"].as_u64().unwrap())
}

/// The first lines of the messages of its commits.
fn titles(told: &Value) -> Vec<&str> {
    let commits = told["commits"].as_array().unwrap();
    commits.iter().map(|commit| commit["message"].as_str().unwrap().lines().next().unwrap_or_default()).collect()
}

fn refs(told: &[Value]) -> Vec<&str> {
    told.iter().map(|value| value["ref"].as_str().unwrap()).collect()
}

fn zeros(id: &str) -> String {
    "0".repeat(id.len())
}
