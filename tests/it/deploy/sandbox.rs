//! A scratch folder with a repository, a configuration and a site.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn me() -> String {
    std::env::var("SUDO_USER")
        .unwrap_or_else(|_| nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name)
}

pub struct Sandbox {
    /// The scratch folder.
    pub root: PathBuf,
    pub config: PathBuf,
    site: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

/// What a command said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[must_use = "say whether it should have worked: ok() or fails(status)"]
    pub fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn ok(self) -> Said {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    pub fn fails(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }
}

impl Sandbox {
    /// A bare repository `repo.git`, a work tree `work` that pushes to it, and the site `www` in `site`, still empty.
    pub fn new() -> Sandbox {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let sandbox = Sandbox { config: root.join("c.yaml"), site: root.join("site"), root, _dir: Some(dir) };
        fs::create_dir(&sandbox.site).unwrap();
        sandbox.git(&["init", "-q", "--bare", "-b", "master", "../repo.git"]);
        sandbox.git(&["init", "-q", "-b", "master", "."]);
        sandbox.git(&["remote", "add", "origin", "../repo.git"]);
        let repo = sandbox.root.join("repo.git");
        sandbox.config(&format!("repos: {{ spog: {{ path: {} }} }}", repo.display()), "grace: 0s")
    }

    /// Sets more keys of the site; a `repos:` line replaces the one that there is.
    pub fn config(self, repos: &str, site: &str) -> Sandbox {
        self.write_config(&self.config.clone(), repos, site);
        self
    }

    /// Another configuration of the same site.
    pub fn clone_with(&self, site: &str) -> Sandbox {
        let config = self.root.join("other.yaml");
        self.write_config(&config, "", site);
        self.at_config(&config)
    }

    /// The same with that configuration.
    pub fn at_config(&self, config: &Path) -> Sandbox {
        Sandbox { root: self.root.clone(), config: config.to_owned(), site: self.site.clone(), _dir: None }
    }

    fn write_config(&self, to: &Path, repos: &str, site: &str) {
        let old = fs::read_to_string(&self.config).unwrap_or_default();
        let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
        if lines.is_empty() {
            lines = ["repos: {}", "sites:", "  www:", "    repo: spog"].map(str::to_owned).to_vec();
            lines.push(format!("    path: {}", self.site.display()));
        }
        if !repos.is_empty() {
            lines[0] = repos.to_owned();
        }
        if let Some((key, _)) = site.split_once(':') {
            lines.retain(|line| !line.starts_with(&format!("    {key}:")));
            lines.push(format!("    {site}"));
        }
        fs::write(to, lines.join("\n") + "\n").unwrap();
    }

    pub fn shared(self, list: &str) -> Sandbox {
        self.config("", &format!("shared: {list}"))
    }

    pub fn keep(self, count: usize) -> Sandbox {
        self.config("", &format!("keep: {count}"))
    }

    pub fn git(&self, args: &[&str]) -> String {
        let work = self.root.join("work");
        fs::create_dir_all(&work).unwrap();
        let mut command = Command::new("git");
        command.args(["-c", "user.name=A U Thor", "-c", "user.email=a@example.org"]).args(args).current_dir(work);
        let said = Said::of(command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", &self.root).output().unwrap()).ok();
        said.out.trim_end().to_owned()
    }

    /// Writes files (one that begins with `#!` is executable), commits, tags it `v-NAME` and pushes both; gives the commit.
    pub fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.root.join("work").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(if text.starts_with("#!") { 0o755 } else { 0o644 }))
                .unwrap();
        }
        self.git(&["add", "-A", "."]);
        self.git(&["commit", "-q", "--allow-empty", "-m", name]);
        self.git(&["tag", &format!("v-{name}")]);
        self.git(&["push", "-q", "origin", "HEAD:refs/heads/master", &format!("refs/tags/v-{name}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A release whose script `name` is `text` and whose `index.html` says `commit`.
    pub fn commit_script(&self, commit: &str, name: &str, text: &str) -> String {
        let _ = fs::remove_dir_all(self.root.join("work/deploy"));
        self.commit(commit, &[("index.html", commit), (&format!("deploy/{name}"), &format!("#!/bin/sh\n{text}\n"))])
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_failcake"));
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("FAILCAKE_")) {
            command.env_remove(key);
        }
        command.arg("-c").arg(&self.config).args(args).stdin(Stdio::null());
        command
    }

    #[must_use = "say whether it should have worked: ok() or fails(status)"]
    pub fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    #[must_use = "say whether it should have worked: ok() or fails(status)"]
    pub fn deploy(&self, reference: &str) -> Said {
        self.run(&["deploy", "www", reference])
    }

    /// A path of the site.
    pub fn path(&self, path: &str) -> PathBuf {
        self.site.join(path)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// A folder's names, sorted; none when it is not there.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The live release's name.
    pub fn current(&self) -> String {
        let target = fs::read_link(self.path("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// What `state --json` says of each release: its ref and what became of it.
    pub fn became(&self) -> Vec<(String, String)> {
        let state: serde_json::Value = serde_json::from_str(&self.run(&["state", "www", "--json"]).ok().out).unwrap();
        assert_eq!(state[0]["current"], self.current());
        let releases = state[0]["releases"].as_array().unwrap();
        let became = |record: &serde_json::Value| {
            let text = |key: &str| record[key].as_str().map(str::to_owned);
            let rolled_back = record["rolled_back"].is_object().then(|| "rolled back".to_owned());
            let failed = text("failed_at").map(|step| format!("failed at {step}"));
            (text("ref").unwrap(), failed.or(rolled_back).or(text("state")).unwrap())
        };
        releases.iter().map(became).collect()
    }

    /// Nothing is left of runs that died: each release has a record that says what became of it, and the other way round.
    pub fn assert_tidy(&self) {
        let releases = self.list("releases");
        for name in self.list(".failcake/releases") {
            let (release, kind) = name.rsplit_once('.').unwrap();
            assert!(["json", "log", "index"].contains(&kind), "{name}");
            if kind == "json" {
                let record = self.read(&format!(".failcake/releases/{name}"));
                let record: serde_json::Value = serde_json::from_str(&record).unwrap();
                assert!(["live", "failed"].contains(&record["state"].as_str().unwrap()), "{record}");
                assert!(
                    releases.iter().any(|r| r == release)
                        || ["stage", "shared"].contains(&record["failed_at"].as_str().unwrap_or_default()),
                    "{record}"
                );
            } else {
                assert!(releases.iter().any(|r| r == release), "{name}");
            }
        }
        for release in &releases {
            assert!(self.path(&format!(".failcake/releases/{release}.json")).exists(), "{release}");
        }
        assert!(self.list(".failcake/trash").is_empty());
        for name in self.list("") {
            let known = [".failcake", "current", "releases", "revisions.log", "shared", "trees"];
            assert!(known.contains(&name.as_str()), "{name}");
        }
        assert!(self.list(".failcake/trees").is_empty());
        let records: String = self
            .list(".failcake/releases")
            .iter()
            .filter(|name| name.ends_with(".json"))
            .map(|name| self.read(&format!(".failcake/releases/{name}")))
            .collect();
        for tree in self.list("trees") {
            assert!(records.contains(&format!("\"tree\": \"{tree}\"")), "{tree}");
        }
    }
}
