//! A publication killed, or refused by the disk, at each system call by which failcake itself changes the disk (of git's own
//! there is a sweep in `deploy`). Every directory is whole at every moment, and one normal run finishes.

use std::os::unix::process::ExitStatusExt as _;

use super::publishing::{list, publishing, push};
use super::*;

/// Two branches change, one goes, one comes.
const BEFORE: [(&str, usize); 3] = [("a", 0), ("b", 0), ("gone", 0)];
const AFTER: [(&str, usize); 3] = [("a", 1), ("b", 1), ("new", 1)];
/// No publication makes so many of one call in one thread.
const POINTS_MAX: usize = 60;

struct Swept {
    machine: Machine,
    /// What is in each file of a commit is its number here.
    commits: [String; 2],
}

impl Swept {
    fn new() -> Swept {
        let machine = publishing("mode: branches, target: ROOT/env, grace: 0s");
        let files = |text| [("first", text), ("folder/second", text), ("third", text)];
        let commits = ["0", "1"].map(|text| push(&machine, "kept", &files(text)));
        machine.git("work", &["push", "-qf", "origin", &format!("{}:refs/heads/master", commits[1])]);
        machine.git("spog.git", &["update-ref", "-d", "refs/heads/kept"]);
        machine.git("spog.git", &["config", "gc.auto", "0"]);
        machine.write("gitconfig", &(machine.read("gitconfig") + "[gc]\nauto = 0\n"));
        Swept { machine, commits }
    }

    /// Makes the server's branches these.
    fn serve(&self, branches: &[(&str, usize)]) {
        for (name, _) in BEFORE.iter().chain(&AFTER) {
            let _ = fs::remove_file(self.machine.path("spog.git/refs/heads").join(name));
        }
        for (name, commit) in branches {
            self.machine.write(&format!("spog.git/refs/heads/{name}"), &format!("{}\n", self.commits[*commit]));
        }
    }

    /// Every directory is whole, and these are there; what it is of.
    fn whole(&self, must: &[&str], about: &str) -> Vec<(String, usize)> {
        let machine = &self.machine;
        let names: Vec<String> = list(machine, "env").into_iter().filter(|name| !name.starts_with('.')).collect();
        assert!(must.iter().all(|name| names.iter().any(|it| it == name)), "{names:?} {about}");
        let of = |name: String| {
            let [revision, first, second, third] = ["REVISION", "first", "folder/second", "third"]
                .map(|file| machine.read(&format!("env/{name}/{file}")).trim_end().to_owned());
            let commit = self.commits.iter().position(|commit| *commit == revision);
            let commit = commit.unwrap_or_else(|| panic!("{name} is of {revision:?} {about}"));
            let text = commit.to_string();
            assert!(first == text && second == text && third == text, "{name} is a mixture {about}");
            (name, commit)
        };
        names.into_iter().map(of).collect()
    }

    /// Does `fault` at each of these calls; how many there were.
    fn sweep(&self, calls: &[&str], fault: &str) -> usize {
        let mut points = 0;
        for call in calls {
            for nth in 1.. {
                self.serve(&BEFORE);
                let said = self.machine.fetch(&[]);
                assert_eq!(said.status, Some(0), "{said:?}");
                self.serve(&AFTER);
                let about = format!("after {fault} at {call} {nth}");
                let (said, was_met) = struck(&self.machine, &[], call, fault, nth);
                self.whole(&["a", "b", "master"], &format!("{about}: {said}"));
                let again = self.machine.fetch(&[]);
                assert_eq!(again.status, Some(0), "{about}: {again:?}");
                let wanted = ["a", "b", "master", "new"].map(|name| (name.to_owned(), 1));
                assert_eq!(self.whole(&[], &about), wanted, "{about}");
                // What was only replaced in that run is deleted by the next.
                self.machine.fetch(&[]).ok();
                assert_eq!(list(&self.machine, "env/.failcake/spog"), ["lock", "state.json", "trees"], "{about}");
                let trees = list(&self.machine, "env/.failcake/spog/trees");
                assert!(trees.len() == 4 && trees.iter().all(|name| name.ends_with(".index")), "{trees:?} {about}");
                if !was_met {
                    break;
                }
                points += 1;
                assert!(nth < POINTS_MAX, "{about}");
            }
        }
        points
    }
}

/// Runs `fetch` with `fault` at the `nth` of these calls that one of its threads makes. What it said, and whether there
/// was such a call.
fn struck(machine: &Machine, arguments: &[&str], call: &str, fault: &str, nth: usize) -> (String, bool) {
    let mut command = machine.command("strace");
    // Its threads, and not its children.
    command.args(["-f", "-b", "execve", "-qq", "-o", "trace", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:{fault}:when={nth}")]);
    let failcake = machine.command_fetch(arguments);
    let output = command.arg(failcake.get_program()).args(failcake.get_args()).output();
    let output = output.expect("strace is needed: apt-get install strace");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let was_killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
    let code = output.status.code();
    assert!(was_killed || code == Some(0) || (code == Some(1) && said.contains("failcake: ")), "{call} {nth}: {said}");
    (said, was_killed || machine.read("trace").contains("(INJECTED)"))
}

#[test]
fn what_is_moved_aside_is_never_lost() {
    let mut points = 0;
    for (call, fault) in [
        ("renameat2", "signal=KILL"),
        ("rename", "signal=KILL"),
        ("mkdir", "signal=KILL"),
        ("fsync", "signal=KILL"),
        ("renameat2", "error=ENOSPC"),
        ("mkdir", "error=ENOSPC"),
    ] {
        for nth in 1..POINTS_MAX {
            let machine = publishing("mode: branches, target: ROOT/env, grace: 0s");
            machine.write("env/master/mine", "mine");
            let (said, was_met) = struck(&machine, &["--adopt"], call, fault, nth);
            // Whatever comes next: a run that clears what is left over, and one that adopts.
            machine.fetch(&[]);
            machine.fetch(&[]);
            machine.fetch(&["--adopt"]).ok();
            let adopted = list(&machine, "env/.failcake/spog/adopted");
            let [kept] = adopted.as_slice() else { panic!("{adopted:?} after {fault} at {call} {nth}: {said}") };
            assert_eq!(machine.read(&format!("env/.failcake/spog/adopted/{kept}/mine")), "mine");
            assert!(machine.path("env/master/REVISION").exists());
            if !was_met {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 10, "only {points} points were met");
}

#[test]
fn killed_or_refused_at_each_rename_every_directory_is_whole_and_one_run_finishes() {
    let swept = Swept::new();
    let points = swept.sweep(&["renameat2", "rename", "syncfs"], "signal=KILL");
    assert!(points >= 8, "only {points} points were met");
    let points = swept.sweep(&["renameat2", "rename"], "error=ENOSPC");
    assert!(points >= 4, "only {points} points were met");
}

#[test]
#[ignore = "long: make sweep"]
fn whole_sweep_of_kills_and_of_a_disk_that_refuses() {
    let swept = Swept::new();
    let calls =
        ["renameat2", "rename", "syncfs", "fsync", "mkdir", "unlink", "unlinkat", "rmdir", "ftruncate", "flock"];
    let kills = swept.sweep(&calls, "signal=KILL");
    println!("publication: {kills} kills, each followed by one normal run; whole directories at every moment");
    let (mut refused, calls) = (0, ["renameat2", "rename", "syncfs", "fsync", "mkdir"]);
    for error in ["ENOSPC", "EIO", "EROFS"] {
        refused += swept.sweep(&calls, &format!("error={error}"));
    }
    println!("publication: {refused} refusals of the disk (ENOSPC, EIO, EROFS), the same");
    assert!(kills > 20 && refused > 20, "the sweep found its points");
}
