//! Killed, or refused by the disk, at every system call that touches it: of failcake and of each git and svn that it runs.
//!
//! A run is recorded once; each of its calls is a point, named by process, call and how many of that call came before in
//! that process (which is how strace's fault injection counts). Then the run is made again for each point.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::sandbox::Sandbox;

/// Calls by which a process changes the disk. Of `openat` only those that create or empty a file count, of `write` only
/// those to a file. `pidfd_open` changes nothing, but it is the first call after a child was started.
const CALLS: &str = "mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat,unlink,unlinkat,rmdir,chmod,\
    fchmod,fchmodat,chown,fchown,fchownat,lchown,utimensat,truncate,ftruncate,fallocate,copy_file_range,sendfile,write,\
    pwrite64,writev,openat,syncfs,sync,fsync,fdatasync,pidfd_open";

/// One call of one process of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// 0 is failcake, 1 the first git or svn that it runs, and so on.
    pub process: usize,
    pub call: String,
    nth: usize,
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; with `all`, failcake with it.
    Kill { all: bool },
    /// The call fails with this error.
    Refuse(&'static str),
}

/// The points of a run of failcake, in the order of processes.
pub fn record(site: &Sandbox, args: &[&str]) -> Vec<Point> {
    let log = site.root.join("strace.log");
    let failcake = site.command(args);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(&log).args(["-e", &format!("trace=execve,{CALLS}")]);
    let output = strace.arg(failcake.get_program()).args(failcake.get_args()).output();
    let output = output.expect("strace is needed: apt-get install strace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&fs::read_to_string(log).unwrap())
}

fn parse(log: &str) -> Vec<Point> {
    let mut processes: Vec<&str> = Vec::new();
    let mut starting: Vec<&str> = Vec::new();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in log.lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        // `<... openat resumed>` is the end of a call that was counted when it began; of `execve`, it says how it ended.
        if rest.starts_with("<... execve resumed>") && rest.ends_with(" = 0") && starting.contains(&pid) {
            processes.push(pid);
        }
        let Some((call, args)) = rest.split_once('(') else { continue };
        if call == "execve" {
            // The search of PATH shows one that fails for each folder before the right one.
            let is_ours = processes.is_empty() || args.contains("/git\"") || args.contains("/svn\"");
            if is_ours && rest.ends_with("<unfinished ...>") {
                starting.push(pid);
            } else if is_ours && rest.ends_with(" = 0") && !processes.contains(&pid) {
                processes.push(pid);
            }
            continue;
        }
        let nth = counts.entry((pid, call)).and_modify(|n| *n += 1).or_insert(1);
        let is_file = || args.split_once('<').is_some_and(|(_, to)| to.starts_with('/') && !to.starts_with("/dev/"));
        let touches = match call {
            "openat" => args.contains("O_CREAT") || args.contains("O_TRUNC"),
            "write" | "writev" => is_file(),
            _ => call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
        };
        if let (true, Some(process)) = (touches, processes.iter().position(|known| *known == pid)) {
            points.push(Point { process, call: call.to_owned(), nth: *nth });
        }
    }
    points
}

/// Runs failcake once more, with `fault` at `point`.
pub fn run(site: &Sandbox, args: &[&str], point: &Point, fault: Fault) -> Output {
    let Point { process, call, nth } = point;
    let what = match fault {
        Fault::Kill { .. } => format!("inject={call}:signal=KILL:when={nth}"),
        Fault::Refuse(error) => format!("inject={call}:error={error}:when={nth}"),
    };
    let trace =
        ["-qq".into(), "-o".into(), "/dev/null".into(), "-e".into(), format!("trace={call}"), "-e".into(), what];
    let failcake = site.command(args);
    if *process == 0 {
        return Command::new("strace")
            .args(trace)
            .arg(failcake.get_program())
            .args(failcake.get_args())
            .output()
            .unwrap();
    }
    let bin = site.root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let kill_all = if fault == (Fault::Kill { all: true }) { "kill -9 $PPID" } else { ":" };
    let count = bin.join("count");
    let _ = fs::remove_file(&count);
    let _ = fs::remove_file(bin.join("met"));
    for program in ["git", "svn"] {
        let script = format!(
            "#!/bin/sh\nn=$(($(cat {count} 2>/dev/null || echo 0) + 1)); echo $n > {count}\n\
             [ $n = {process} ] || exec {real} \"$@\"\nstrace {trace} {real} \"$@\"; s=$?; echo $s > {met}; {kill_all}; exit $s\n",
            count = count.display(),
            met = site.root.join("bin/met").display(),
            real = found(program).display(),
            trace = trace.join(" "),
        );
        // Written under another name and by a rename: a file that is still open for writing anywhere can't be run.
        fs::write(bin.join("new"), script).unwrap();
        fs::set_permissions(bin.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(bin.join("new"), bin.join(program)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = failcake;
    command.env("PATH", path).output().unwrap()
}

/// The program that failcake finds.
fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists()).unwrap()
}

/// A site of two commits with scripts and something shared; small, so that the points are few.
pub struct Swept {
    pub site: Sandbox,
    /// What REVISION says of each, and the text of its files.
    commits: Vec<(String, &'static str)>,
    /// What they are deployed as.
    refs: [&'static str; 2],
    /// What was live before the first of them, so that the second one's run has something to remove.
    older: &'static str,
    /// Files that hold the text.
    files: &'static [&'static str],
}

const FILES: &[&str] = &["index.html", "a/b", "c"];

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The first release ever.
    First,
    /// A release that is made of a retired one.
    Steady,
    Rollback,
}

impl Swept {
    pub fn new() -> Swept {
        let site = Sandbox::new().shared("[uploads]").keep(1);
        let script = "#!/bin/sh\nexit 0\n";
        let commits = ["one", "two"].map(|text| {
            let files = [("index.html", text), ("a/b", text), ("c", text), ("deploy/pre-deploy", script)];
            let commit = site.commit(text, &[&files[..], &[("deploy/post-deploy", script)]].concat());
            (commit, text)
        });
        Swept { site, commits: commits.to_vec(), refs: ["v-one", "v-two"], older: "v-two", files: FILES }
    }

    /// The same of a Subversion repository.
    pub fn svn() -> Swept {
        let project = super::svn::Project::new();
        let script = "#!/bin/sh\nexit 0\n";
        let commits = ["one", "two"].map(|text| {
            let files = [("index.html", text), ("a/b", text), ("c", text), ("deploy/pre-deploy", script)];
            project.commit("trunk", &[&files[..], &[("deploy/post-deploy", script)]].concat());
            (project.tag(text).to_string(), text)
        });
        let site = project.site.shared("[uploads]").keep(1);
        Swept { site, commits: commits.to_vec(), refs: ["tags/one", "tags/two"], older: "tags/two", files: FILES }
    }

    /// A link farm of which both the files in it and a tree that it leads to are exchanged.
    pub fn farm() -> Swept {
        let repos = "[ { repo: app, target: . }, { repo: lib, target: d/lib } ]";
        let farm = super::farm::Farm::of(repos, "d/files");
        let script = "#!/bin/sh\nexit 0\n";
        let commits = ["zero", "one", "two"].map(|text| {
            let files = [("index.html", text), ("a/b", text), ("deploy/pre-deploy", script)];
            let app = farm.commit("app", text, &[&files[..], &[("deploy/post-deploy", script)]].concat());
            let lib = farm.commit("lib", text, &[("c", text)]);
            (format!("app v-{text} {app} .\nlib v-{text} {lib} d/lib"), text)
        });
        let refs = ["app=v-one lib=v-one", "app=v-two lib=v-two"];
        let site = farm.site.shared("[uploads]").keep(1);
        let files = &["index.html", "a/b", "d/lib/c"];
        Swept { site, commits: commits.to_vec(), refs, older: "app=v-zero lib=v-zero", files }
    }

    /// What `current` shows is whole: its `REVISION` is the commit that its files are of.
    pub fn served(&self) -> Option<&'static str> {
        fs::symlink_metadata(self.site.path("current")).ok()?;
        let revision = self.site.read("current/REVISION");
        let (_, text) =
            self.commits.iter().find(|(commit, _)| revision.trim_end() == commit).expect("a commit of ours");
        for file in self.files {
            assert_eq!(self.site.read(&format!("current/{file}")), *text);
        }
        assert!(self.site.path("current/uploads").is_dir());
        Some(text)
    }

    fn prepare(&self, run: Run) {
        if run == Run::First {
            fs::remove_dir_all(self.site.path("")).unwrap();
            return;
        }
        self.site.deploy(if run == Run::Steady { self.older } else { self.refs[1] }).ok();
        self.site.deploy(self.refs[0]).ok();
    }

    /// Does `fault` at each point of `run` that `wanted` takes; gives how many there were.
    pub fn sweep(&self, run: Run, faults: &[Fault], wanted: impl Fn(&Point) -> bool) -> usize {
        let args: &[&str] = if run == Run::Rollback { &["rollback", "www"] } else { &["deploy", "www", self.refs[1]] };
        for _ in 0..3 {
            self.site.deploy(self.refs[0]).ok();
        }
        self.prepare(run);
        let points = record(&self.site, args);
        let has_git = points.iter().any(|point| point.process > 0);
        assert_eq!(has_git, run != Run::Rollback, "what a deploy runs is found: {points:?}");
        let mut done = 0;
        for point in points.iter().filter(|point| wanted(point)) {
            for fault in faults {
                // That it dies together with itself says nothing new.
                if *fault == (Fault::Kill { all: true }) && point.process == 0 {
                    continue;
                }
                self.prepare(run);
                let before = self.served();
                let output = super::sweep::run(&self.site, args, point, *fault);
                let about = format!("{run:?} {point:?} {fault:?}: {}", String::from_utf8_lossy(&output.stderr));
                let after = self.served();
                assert!(after == before || after == Some("two"), "{about}");
                if output.status.success() {
                    assert_eq!(after, Some("two"), "it said that it had done it: {about}");
                } else if matches!(fault, Fault::Refuse(_)) {
                    assert_eq!(output.status.code(), Some(1), "{about}");
                    assert!(about.contains("failcake: "), "it says why: {about}");
                }
                let is_dead = output.status.signal() == Some(9) || output.status.code() == Some(137);
                assert!(
                    is_dead || point.process > 0 || matches!(fault, Fault::Refuse(_)),
                    "the point was met: {about}"
                );
                // One normal run, and nothing is left.
                if run == Run::Rollback && after == before {
                    self.site.run(args).ok();
                } else {
                    let said = self.site.deploy(self.refs[1]);
                    assert_eq!(said.code, Some(0), "{}\nafter {about}", said.err);
                }
                assert_eq!(self.served(), Some("two"), "{about}");
                self.tidy(&about);
                done += 1;
            }
        }
        done
    }

    fn tidy(&self, about: &str) {
        let tidy = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.site.assert_tidy()));
        assert!(tidy.is_ok(), "left over after {about}");
    }
}

#[test]
#[ignore = "long: make sweep"]
fn whole_sweep_of_kills_and_of_a_disk_that_refuses() {
    whole_sweep(&Swept::new());
}

#[test]
#[ignore = "long: make sweep"]
fn whole_sweep_of_a_subversion_site() {
    whole_sweep(&Swept::svn());
}

#[test]
#[ignore = "long: make sweep"]
fn whole_sweep_of_a_link_farm() {
    whole_sweep(&Swept::farm());
}

fn whole_sweep(swept: &Swept) {
    for run in [Run::First, Run::Steady, Run::Rollback] {
        let kills = swept.sweep(run, &[Fault::Kill { all: false }, Fault::Kill { all: true }], |_| true);
        println!("{run:?}: {kills} kills, each followed by one normal run; a whole, right release at every moment");
        let refused = swept.sweep(run, &[Fault::Refuse("ENOSPC"), Fault::Refuse("EROFS")], |_| true);
        println!("{run:?}: {refused} refusals of the disk (ENOSPC, EROFS), the same");
        assert!(kills > 20 && refused > 20, "the sweep found its points");
    }
}

/// What the sweep finds where it finds something: Capistrano's `deploy:symlink:release` is `ln -s RELEASE
/// releases/current` and `mv releases/current SITE`. Source: capistrano 3.17.2, tasks/deploy.rake.
#[test]
fn the_sweep_finds_what_capistrano_serves_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let release = |n: usize| root.join(format!("releases/{n}"));
    let new = root.join("releases/current");
    let steps = |n: usize| {
        [vec!["ln".into(), "-s".into(), release(n), new.clone()], vec!["mv".into(), new.clone(), root.into()]]
    };
    let healthy = |n: usize| {
        fs::create_dir_all(release(n)).unwrap();
        steps(n).iter().all(|words| Command::new(&words[0]).args(&words[1..]).status().unwrap().success())
    };
    let reset = || {
        let _ = fs::remove_dir_all(root.join("releases"));
        let _ = fs::remove_file(root.join("current"));
        assert!(healthy(1));
    };
    reset();
    fs::create_dir_all(release(2)).unwrap();
    let (mut kills, mut wrong) = (0, 0);
    for number in 0..2 {
        // Every `openat` of these two is of a library; the end is a point too: all is done, and what was to follow is not.
        for call in format!("{CALLS},exit_group").split(',').filter(|call| *call != "openat") {
            for nth in 1.. {
                reset();
                fs::create_dir_all(release(2)).unwrap();
                let ended_well = steps(2).iter().enumerate().all(|(at, words)| {
                    let mut command = Command::new("strace");
                    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                    if at == number {
                        command.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]);
                    }
                    command.args(words).status().expect("strace is needed: apt-get install strace").success()
                });
                if ended_well {
                    // There is no such point.
                    break;
                }
                kills += 1;
                let said_done = healthy(3);
                if said_done && fs::read_link(root.join("current")).unwrap() != release(3) {
                    assert_eq!(fs::read_link(root.join("current")).unwrap(), release(2), "the one that crashed");
                    wrong += 1;
                }
            }
        }
    }
    println!(
        "Capistrano's ln and mv: {kills} kills; after {wrong} of them the next healthy run serves the crashed release"
    );
    assert!(wrong > 0 && kills > wrong);
}
