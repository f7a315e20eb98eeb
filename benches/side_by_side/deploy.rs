//! What making a revision live costs on one machine, beside what people would pick instead.
//!
//! Capistrano is Debian's, in its own default shape: `cap production deploy` with the git plugin, to a server called
//! `:local`, which SSHKit runs here without ssh. So it pays for Ruby, its bare mirror and `git archive`, and for no network.
//! `git archive | tar`, `git worktree add` and `git checkout` in place are what a shell script would call: they link
//! nothing, record nothing, sync nothing and switch nothing, except where a row says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Contender, Sample, once, race};
use crate::place::{FAILCAKE, Place};

const ROUNDS: usize = 15;
/// A big tree takes seconds each.
const BIG_ROUNDS: usize = 3;
const KEEP: usize = 2;

/// Races deploys of one file, of 50,000 files with ten changed, and rollbacks.
pub fn run(place: &Place) {
    let small = Field::new(place, "small", 1);
    small.race_deploys("deploy of a site of one file", ROUNDS);
    small.race_rollbacks(true);
    let big = Field::new(place, "big", 50_000);
    big.race_first(BIG_ROUNDS);
    big.race_deploys("50,000 files, 10 changed, after keep + 1 deploys", BIG_ROUNDS);
    // Capistrano's is the same two commands at any size, and the deploys before it take half a minute a round.
    big.race_rollbacks(false);
}

/// A repository with two commits to go between, and everybody's site of it.
struct Field<'a> {
    place: &'a Place,
    name: &'a str,
    bare: PathBuf,
    config: PathBuf,
}

const COMMITS: [&str; 2] = ["one", "two"];

impl<'a> Field<'a> {
    fn new(place: &'a Place, name: &'a str, files: usize) -> Field<'a> {
        let work = place.path(&format!("deploy-{name}-work"));
        fs::create_dir(&work).expect("a work tree");
        place.git(&work, &["init", "--quiet", "--initial-branch=master"]);
        for number in 0..files {
            let folder = work.join(format!("d{:02}/e{:02}", number % 50, number / 50 % 20));
            fs::create_dir_all(&folder).expect("a folder");
            let text = format!("{number} {}\n", "some text ".repeat(number % 300));
            fs::write(folder.join(format!("f{number}.txt")), text).expect("a file");
        }
        for (nth, tag) in COMMITS.into_iter().enumerate() {
            for number in 0..files.min(10) {
                let folder = work.join(format!("d{:02}/e{:02}", number % 50, number / 50 % 20));
                fs::write(folder.join(format!("f{number}.txt")), format!("{nth}\n")).expect("a file");
            }
            place.git(&work, &["add", "."]);
            place.git(&work, &["commit", "--quiet", "--message", tag]);
            place.git(&work, &["tag", tag]);
        }
        let bare = place.path(&format!("deploy-{name}.git"));
        place.git(&work, &["clone", "--quiet", "--bare", ".", bare.to_str().expect("UTF-8")]);
        let site = place.path(&format!("deploy-{name}-site"));
        let config = place.config(
            &format!("deploy-{name}"),
            "stomp://localhost:1",
            &format!(
                "repos: {{ app: {{ path: {} }} }}\nsites: {{ www: {{ repo: app, path: {}, keep: {KEEP}, grace: 0s }} }}\n",
                bare.display(),
                site.display()
            ),
        );
        Field { place, name, bare, config }
    }

    fn path(&self, what: &str) -> PathBuf {
        self.place.path(&format!("deploy-{}-{what}", self.name))
    }

    fn failcake(&self, words: &[&str]) -> Sample {
        once(self.place.command(FAILCAKE).arg("-c").arg(&self.config).args(words), b"")
    }

    fn git(&self, words: &[&str]) -> Command {
        let mut command = self.place.command("git");
        command.arg("--git-dir").arg(&self.bare).args(words);
        command
    }

    fn sh(&self, script: &str) -> Sample {
        once(self.place.command("sh").args(["-ec", script]), b"")
    }

    /// `git --work-tree checkout -f` over the same folder, with an index of its own.
    fn in_place(&self, tag: &str) -> Sample {
        let tree = self.path("in-place");
        fs::create_dir_all(&tree).expect("a folder");
        let index = self.path("in-place.index");
        let mut command = self.place.command("git");
        command.arg("--git-dir").arg(&self.bare).arg("--work-tree").arg(&tree).env("GIT_INDEX_FILE", index);
        once(command.args(["checkout", "--quiet", "--force", tag, "--", "."]), b"")
    }

    /// A Capfile and a stage whose branch is `$TAG`.
    fn capistrano(&self) -> PathBuf {
        let folder = self.path("cap");
        fs::create_dir_all(folder.join("config/deploy")).expect("a folder");
        let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("a file");
        write(
            "Capfile",
            "require 'capistrano/setup'\nrequire 'capistrano/deploy'\nrequire 'capistrano/scm/git'\n\
             install_plugin Capistrano::SCM::Git\n"
                .to_owned(),
        );
        write(
            "config/deploy.rb",
            format!(
                "set :application, 'app'\nset :repo_url, '{}'\nset :deploy_to, '{}'\nset :keep_releases, {KEEP}\nset :branch, \
                 ENV['TAG']\n",
                self.bare.display(),
                self.path("cap-site").display()
            ),
        );
        write("config/deploy/production.rb", "server :local, roles: %w{app web}\n".to_owned());
        folder
    }

    fn cap(&self, folder: &Path, task: &str, tag: &str) -> Sample {
        once(self.place.command("cap").current_dir(folder).args(["production", task]).env("TAG", tag), b"")
    }

    /// Everybody goes to and fro between two commits, on a site that has had some deploys.
    fn race_deploys(&self, title: &str, rounds: usize) {
        let cap = self.capistrano();
        for turn in 0..KEEP + 2 {
            assert!(self.failcake(&["deploy", "www", COMMITS[turn % 2]]).status.success(), "failcake deploy");
        }
        for tag in COMMITS {
            assert!(self.cap(&cap, "deploy", tag).status.success(), "cap deploy: apt-get install capistrano");
            assert!(self.in_place(tag).status.success(), "git checkout");
        }
        let mut turns = [0_usize; 5];
        let tag = |turn: &mut usize| {
            *turn += 1;
            COMMITS[*turn % 2]
        };
        let [ours, git, cap_turn, archive, worktree] = &mut turns;
        let fresh = self.path("fresh");
        let mut runs = vec![
            Contender::new("git checkout -f in place", move || self.in_place(tag(git))),
            Contender::new("failcake deploy", move || self.failcake(&["deploy", "www", tag(ours)])),
            Contender::new("Capistrano (:local)", {
                let cap = cap.clone();
                move || self.cap(&cap, "deploy", tag(cap_turn))
            }),
        ];
        runs.push(Contender::new("git archive | tar, a fresh folder", {
            let fresh = fresh.clone();
            move || {
                let _ = fs::remove_dir_all(&fresh);
                let (tag, to) = (tag(archive), fresh.display());
                self.sh(&format!("mkdir {to}; git --git-dir {} archive {tag} | tar -x -C {to}", self.bare.display()))
            }
        }));
        runs.push(Contender::new("git worktree add, a fresh folder", move || self.worktree(&fresh, tag(worktree), "")));
        race(title, rounds, runs);
    }

    fn worktree(&self, to: &Path, tag: &str, then: &str) -> Sample {
        let _ = fs::remove_dir_all(to);
        let pruned = self.git(&["worktree", "prune"]).status();
        assert!(pruned.is_ok_and(|status| status.success()), "git worktree prune");
        let (bare, to) = (self.bare.display(), to.display());
        self.sh(&format!("git --git-dir {bare} worktree add --quiet --detach {to} {tag}{then}"))
    }

    /// The first release of all.
    fn race_first(&self, rounds: usize) {
        let (fresh, site) = (self.path("first"), self.path("site"));
        let runs = vec![
            Contender::new("git worktree add; sync -f", move || {
                let then = format!("; sync -f {}", fresh.display());
                self.worktree(&fresh, "one", &then)
            }),
            Contender::new("failcake deploy, nothing there yet", move || {
                let _ = fs::remove_dir_all(&site);
                // What was removed is not to be paid for by whoever syncs next.
                nix::unistd::sync();
                self.failcake(&["deploy", "www", "one"])
            }),
        ];
        race("50,000 files, the first release", rounds, runs);
    }

    /// Back and forth between the two newest releases.
    fn race_rollbacks(&self, beside: bool) {
        let cap = self.path("cap");
        let mut runs = vec![Contender::new("failcake rollback", move || {
            for tag in COMMITS {
                assert!(self.failcake(&["deploy", "www", tag]).status.success(), "failcake deploy");
            }
            self.failcake(&["rollback", "www"])
        })];
        if beside {
            runs.push(Contender::new("Capistrano deploy:rollback (:local)", move || {
                for tag in COMMITS {
                    assert!(self.cap(&cap, "deploy", tag).status.success(), "cap deploy");
                }
                self.cap(&cap, "deploy:rollback", "one")
            }));
        }
        race(&format!("rollback ({} site)", self.name), 2 * BIG_ROUNDS, runs);
    }
}
