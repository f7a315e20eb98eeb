//! What git leaves out of a tree: the files of submodules, and those that Git LFS keeps.

use super::publishing::{configure, list, publishing};
use super::*;

/// A second repository at the git server, with a work tree `lib` to push from.
fn with_lib(machine: &Machine) {
    machine.git(".", &["init", "-q", "--bare", "lib.git"]);
    machine.git(".", &["init", "-q", "lib"]);
    machine.git("lib", &["remote", "add", "origin", "../lib.git"]);
}

fn push_lib(machine: &Machine, text: &str) -> String {
    machine.write("lib/lib.txt", text);
    machine.git("lib", &["add", "-A"]);
    machine.git("lib", &["commit", "-qm", text]);
    machine.git("lib", &["push", "-q", "origin", "HEAD:refs/heads/master"]);
    machine.git("lib", &["rev-parse", "HEAD"])
}

/// Commits that `vendor/lib` is this commit of the other repository, and pushes it to a branch.
fn pin(machine: &Machine, branch: &str, lib: &str) -> String {
    machine.write("work/.gitmodules", "[submodule \"l\"]\n\tpath = vendor/lib\n\turl = ../lib.git\n");
    machine.git("work", &["add", ".gitmodules"]);
    machine.git("work", &["update-index", "--add", "--cacheinfo", &format!("160000,{lib},vendor/lib")]);
    machine.git("work", &["commit", "-q", "--allow-empty", "-m", "pin"]);
    machine.git("work", &["push", "-q", "-f", "origin", &format!("HEAD:refs/heads/{branch}")]);
    machine.git("work", &["rev-parse", "HEAD"])
}

/// Both repositories, the first publishing its branches.
fn configure_both(machine: &Machine, top: &str) {
    let keys = format!("mode: branches, target: {}, grace: 0s", machine.path("env").display());
    let spog = format!("{}, {keys} }}\n", machine.spog().trim_end().trim_end_matches('}'));
    let lib = machine.repo("lib", &format!("file://{}", machine.path("lib.git").display()));
    machine.configure(top, &(spog + &lib));
}

#[test]
fn submodules_are_published_with_their_files_and_follow() {
    let machine = Machine::new();
    with_lib(&machine);
    let first = push_lib(&machine, "1");
    pin(&machine, "master", &first);
    configure_both(&machine, "");
    // In one run, whichever of the two is first.
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env/master"), [".gitmodules", "REVISION", "vendor"]);
    assert_eq!(machine.read("env/master/vendor/lib/lib.txt"), "1");
    for round in 2..6 {
        let next = push_lib(&machine, &round.to_string());
        pin(&machine, "master", &next);
        pin(&machine, "other", &next);
        machine.fetch(&[]).ok();
        for branch in ["master", "other"] {
            assert_eq!(machine.read(&format!("env/{branch}/vendor/lib/lib.txt")), round.to_string());
        }
    }
    // Alone, it looks for what it lacks itself; what that brings is told.
    let next = push_lib(&machine, "alone");
    pin(&machine, "master", &next);
    let said = machine.fetch(&["spog"]).ok();
    assert!(said.contains(&format!("fetched change: [lib] refs/heads/master {next}\n")), "{said}");
    assert_eq!(machine.read("env/master/vendor/lib/lib.txt"), "alone");
    // Gone again.
    machine.git("work", &["rm", "-q", "--cached", "vendor/lib", ".gitmodules"]);
    fs::remove_file(machine.path("work/.gitmodules")).unwrap();
    machine.git("work", &["commit", "-qm", "none"]);
    machine.git("work", &["push", "-q", "origin", "HEAD:refs/heads/master"]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env/master"), ["REVISION"]);
}

#[test]
fn a_submodule_that_can_not_be_had_leaves_the_last_tree_and_is_named() {
    let machine = Machine::new();
    with_lib(&machine);
    let first = push_lib(&machine, "1");
    pin(&machine, "master", &first);
    configure_both(&machine, "");
    machine.fetch(&[]).ok();
    let nowhere = "1234567890123456789012345678901234567890";
    pin(&machine, "master", nowhere);
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains(&format!("submodule vendor/lib at {nowhere}")), "{}", said.err);
    assert_eq!(machine.read("env/master/vendor/lib/lib.txt"), "1");
    // Its repository is not among ours any more.
    configure(&machine, "mode: branches, target: ROOT/env");
    let said = machine.fetch(&[]);
    assert!(said.err.contains("and no repository of `repos:` has that url: add it there"), "{}", said.err);
    assert_eq!(machine.read("env/master/vendor/lib/lib.txt"), "1");
}

#[test]
fn a_watcher_publishes_a_submodule_that_was_pushed_a_moment_ago_without_a_problem() {
    let (machine, broker) = (Machine::new(), Broker::start());
    with_lib(&machine);
    let first = push_lib(&machine, "1");
    pin(&machine, "master", &first);
    configure_both(&machine, &(broker.configuration() + "reconcile: 1h\n"));
    let _watcher = machine.watch(&[]);
    machine.says("listening to");
    machine.says("published: [spog] refs/heads/master ");
    let next = push_lib(&machine, "2");
    let commit = pin(&machine, "master", &next);
    // Its own event comes late, or not at all.
    broker.tell("spog", &commit);
    machine.says(&format!("published: [spog] refs/heads/master {commit} to "));
    assert_eq!(machine.read("env/master/vendor/lib/lib.txt"), "2");
    assert!(!machine.read("log").contains("problem: "), "{}", machine.read("log"));
}

/// A machine whose git knows LFS, and a server that keeps files in it.
fn with_lfs(keys: &str) -> Machine {
    let machine = publishing(keys);
    machine.git("work", &["remote", "set-url", "origin", &format!("file://{}", machine.path("spog.git").display())]);
    // As `git lfs install` writes it.
    machine.git("work", &["lfs", "install", "--skip-repo"]);
    machine
}

/// Commits a file that LFS keeps, with `text` in it, and pushes both.
fn push_lfs(machine: &Machine, branch: &str, text: &str) -> String {
    machine.write("work/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    machine.write("work/a.bin", text);
    machine.write("work/plain", text);
    machine.git("work", &["add", "-A"]);
    machine.git("work", &["commit", "-qm", text]);
    machine.git("work", &["lfs", "push", "origin", "HEAD"]);
    machine.git("work", &["push", "-q", "-f", "origin", &format!("HEAD:refs/heads/{branch}")]);
    machine.git("work", &["rev-parse", "HEAD"])
}

#[test]
fn files_in_lfs_are_published_as_they_are() {
    let machine = with_lfs("mode: branches, target: ROOT/env, grace: 0s");
    let branches = ["master", "one", "two", "three", "four"];
    for round in 0..3 {
        for branch in branches {
            push_lfs(&machine, branch, &format!("{branch} {round}"));
        }
        machine.fetch(&[]).ok();
        for branch in branches {
            let files = ["a.bin", "plain"].map(|name| machine.read(&format!("env/{branch}/{name}")));
            assert_eq!(files, [format!("{branch} {round}"), format!("{branch} {round}")]);
        }
    }
    let stored = machine.git("spog.git", &["cat-file", "blob", "master:a.bin"]);
    assert!(stored.starts_with("version https://git-lfs"), "it is in LFS: {stored}");
}

#[test]
fn a_file_that_lfs_lacks_leaves_the_last_tree_until_it_is_there() {
    let machine = with_lfs("mode: branch, target: ROOT/site");
    push_lfs(&machine, "master", "first");
    machine.fetch(&[]).ok();
    push_lfs(&machine, "master", "second");
    let (objects, away) = (machine.path("spog.git/lfs/objects"), machine.path("away"));
    fs::rename(&objects, &away).unwrap();
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.err.contains("refs/heads/master was not published to "), "{}", said.err);
    assert_eq!((machine.read("site/a.bin"), machine.read("site/plain")), ("first".into(), "first".into()));
    fs::remove_dir_all(&objects).unwrap_or(());
    fs::rename(&away, &objects).unwrap();
    machine.fetch(&[]).ok();
    assert_eq!((machine.read("site/a.bin"), machine.read("site/plain")), ("second".into(), "second".into()));
}

#[test]
fn without_lfs_no_pointer_is_published() {
    let machine = with_lfs("mode: branch, target: ROOT/site");
    push_lfs(&machine, "master", "first");
    machine.fetch(&[]).ok();
    push_lfs(&machine, "master", "second");
    let mut command = machine.command_fetch(&[]);
    let said = Said::new(&command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap());
    assert!(
        said.err.contains("keeps files in Git LFS, which git here does not know: apt-get install git-lfs"),
        "{said:?}"
    );
    assert_eq!(machine.read("site/a.bin"), "first");
}
