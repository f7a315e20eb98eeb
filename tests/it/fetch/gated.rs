//! `listen: jenkins-success`: directories that move only to what has passed its tests, whatever else happens.

use nix::sys::signal::Signal;

use super::publishing::{list, push};
use super::*;

/// A machine that keeps a directory for each branch that has passed, and the git server's broker.
fn gated(top: &str) -> (Machine, Broker) {
    let (machine, broker) = (Machine::new(), Broker::start());
    let spog = machine.spog();
    let keys = format!("mode: branches, listen: jenkins-success, target: {}", machine.path("env").display());
    let repos = format!("{}, {keys} }}\n", spog.trim_end().trim_end_matches('}'));
    machine.configure(&(broker.configuration() + top), &repos);
    (machine, broker)
}

/// What Jenkins says when the tests of a branch have passed.
fn passed(machine: &Machine, branch: &str, commit: &str) {
    let mut command = machine.command(BINARY);
    command.arg("-c").arg(machine.path("failcake.yaml")).args(["jenkins-status", "success"]);
    command.env("JOB_NAME", "spog-tests").env("BUILD_NUMBER", "7");
    command.env("GIT_URL", format!("file://{}", machine.path("spog.git").display()));
    command.env("GIT_BRANCH", format!("origin/{branch}")).env("GIT_COMMIT", commit);
    assert_eq!(Said::new(&command.output().unwrap()).status, Some(0));
}

fn published(branch: &str, commit: &str) -> String {
    format!("published: [spog] refs/heads/{branch} {commit} to ")
}

#[test]
fn a_branch_that_is_made_again_has_to_pass_again() {
    let (machine, _broker) = gated("reconcile: 1s\n");
    let first = push(&machine, "foo", &[("a", "1")]);
    let _watcher = machine.watch(&[]);
    machine.says("listening to");
    passed(&machine, "foo", &first);
    machine.says(&published("foo", &first));

    machine.git("work", &["push", "-q", "origin", ":refs/heads/foo"]);
    let second = push(&machine, "foo/bar", &[("a", "2")]);
    machine.says("removed: [spog] refs/heads/foo from ");
    machine.says(&format!("fetched change: [spog] refs/heads/foo/bar {second}"));
    passed(&machine, "foo/bar", &second);
    machine.says(&published("foo/bar", &second));

    machine.git("work", &["push", "-q", "origin", ":refs/heads/foo/bar"]);
    machine.says("removed: [spog] refs/heads/foo/bar from ");
    let third = push(&machine, "foo", &[("a", "3")]);
    machine.says(&format!("fetched change: [spog] refs/heads/foo {third}"));
    // By a look that finds nothing new, too.
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env"), [".failcake"], "{}", machine.read("log"));
    passed(&machine, "foo", &third);
    machine.says(&published("foo", &third));
}

#[test]
fn a_mark_that_is_lost_takes_no_directory_away() {
    let (machine, _broker) = gated("reconcile: 1h\n");
    let mut watcher = machine.watch(&[]);
    machine.says("listening to");
    machine.says("cloned: [spog]");
    for branch in ["a", "b", "c"] {
        let commit = push(&machine, branch, &[("file", branch)]);
        passed(&machine, branch, &commit);
        machine.says(&published(branch, &commit));
    }
    watcher.signal(Signal::SIGTERM);
    watcher.ends();
    let whole = [".failcake", "a", "b", "c"];
    machine.git("clones/spog", &["update-ref", "-d", "refs/failcake/passed/heads/a"]);
    assert_eq!(machine.fetch(&[]).ok(), "unchanged: [spog]\n");
    assert_eq!(list(&machine, "env"), whole);
    // Together with the clone, so that its marks can't be read.
    fs::remove_file(machine.path("clones/spog/refs/failcake/passed/heads/b")).unwrap();
    fs::write(machine.path("clones/spog/HEAD"), "").unwrap();
    assert!(machine.fetch(&[]).ok().starts_with("set aside: [spog]"));
    assert_eq!(list(&machine, "env"), whole);
    // One that is gone from the remote goes from here.
    machine.git("work", &["push", "-q", "origin", ":refs/heads/a"]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env"), [".failcake", "b", "c"]);
}

#[test]
fn a_build_that_is_told_while_the_remote_is_away_counts_when_it_is_back() {
    for durable in [false, true] {
        let (machine, _broker) = gated(&format!("reconcile: 1h\ndurable: {durable}\n"));
        let mut watcher = machine.watch(&[]);
        machine.says("listening to");
        machine.says("cloned: [spog]");
        let commit = push(&machine, "master", &[("a", "1")]);
        fs::rename(machine.path("spog.git"), machine.path("away")).unwrap();
        passed(&machine, "master", &commit);
        machine.says("problem: [spog] git ");
        if durable {
            // And the watcher does not live to see it.
            watcher.signal(Signal::SIGKILL);
            watcher.ends();
        }
        fs::rename(machine.path("away"), machine.path("spog.git")).unwrap();
        let _next = durable.then(|| machine.watch(&[]));
        machine.says(&published("master", &commit));
    }
}
