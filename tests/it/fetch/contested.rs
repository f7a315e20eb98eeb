//! Publishing where others are at work too: another failcake, a person, whoever names the branches.

use nix::fcntl::{Flock, FlockArg};

use super::publishing::{configure, list, publishing, push};
use super::*;

#[test]
fn a_run_that_waited_for_another_one_does_not_go_back_behind_it() {
    let machine = publishing("mode: branch, target: ROOT/site");
    push(&machine, "master", &[("a", "1")]);
    machine.fetch(&[]).ok();
    let lock = fs::File::open(machine.path(".site.failcake/spog/lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let second = push(&machine, "master", &[("a", "2")]);
    let log = fs::File::create(machine.path("log")).unwrap();
    let mut waits = Running(machine.command_fetch(&[]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    wait_for("fetch", || machine.read("log"), || machine.cloned() == second);
    // It has seen what the clone has now.
    std::thread::sleep(Duration::from_millis(300));
    let third = push(&machine, "master", &[("a", "3")]);
    machine.git("clones/spog", &["fetch", "-q", "origin", "+refs/heads/*:refs/heads/*"]);
    drop(lock);
    assert_eq!(waits.ends(), Some(0), "{}", machine.read("log"));
    assert_eq!((machine.read("site/a"), machine.read("site/REVISION")), ("3".into(), third + "\n"));
}

#[test]
fn many_at_once_publish_one_after_the_other() {
    let machine = publishing("mode: branches, target: ROOT/env, grace: 0s");
    for round in 0..3 {
        let branches: Vec<String> = (0..6).map(|n| format!("b{n}")).collect();
        let text = round.to_string();
        for branch in &branches {
            push(&machine, branch, &[("a", &text), ("z", &text)]);
        }
        let runs: Vec<_> =
            (0..5).map(|_| Running(machine.command_fetch(&[]).stdout(Stdio::null()).spawn().unwrap())).collect();
        for mut run in runs {
            assert_eq!(run.ends(), Some(0));
        }
        for branch in &branches {
            let [a, z] = ["a", "z"].map(|name| machine.read(&format!("env/{branch}/{name}")));
            assert_eq!((a, z), (text.clone(), text.clone()), "{branch}");
        }
    }
    machine.fetch(&[]).ok();
    let trees = list(&machine, "env/.failcake/spog/trees");
    assert!(trees.len() == 7 && trees.iter().all(|name| name.ends_with(".index")), "{trees:?}");
}

#[test]
fn what_concerns_one_directory_stops_no_other() {
    let long = "t".repeat(60);
    let machine = publishing(&format!("mode: branches-flat, target: ROOT/www/{long}"));
    fs::create_dir(machine.path("www")).unwrap();
    // Together with the target's name it is longer than a name may be.
    push(&machine, &"b".repeat(200), &[("a", "1")]);
    push(&machine, "good", &[("a", "1")]);
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("bbb was not published: "), "{}", said.err);
    assert_eq!(machine.read(&format!("www/{long}_good/a")), "1");
    assert_eq!(machine.read(&format!("www/{long}_master/REVISION")).len(), 41);
}

#[test]
fn a_directory_that_was_emptied_or_removed_is_published_again() {
    let machine = publishing("mode: branch, target: ROOT/site");
    push(&machine, "master", &[("a", "1")]);
    machine.fetch(&[]).ok();
    for remade in [false, true, true] {
        fs::remove_dir_all(machine.path("site")).unwrap();
        if remade {
            fs::create_dir(machine.path("site")).unwrap();
        }
        let said = machine.fetch(&[]).ok();
        assert!(said.starts_with("published: [spog] refs/heads/master "), "{said}");
        assert_eq!(machine.read("site/a"), "1");
    }
}

#[test]
fn a_remote_that_goes_back_takes_the_directories_with_it() {
    let machine = publishing("mode: branches, target: ROOT/env");
    let first = push(&machine, "master", &[("a", "1"), ("old", "1")]);
    push(&machine, "master", &[("a", "2"), ("new", "2")]);
    machine.fetch(&[]).ok();
    machine.git("work", &["push", "-qf", "origin", &format!("{first}:refs/heads/master")]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env/master"), ["REVISION", "a", "old"]);
    assert_eq!(machine.read("env/master/REVISION").trim_end(), first);
}

#[test]
fn a_branch_makes_room_for_branches_below_it_and_they_for_it() {
    let machine = publishing("mode: branches, target: ROOT/env");
    push(&machine, "foo", &[("a", "foo")]);
    machine.fetch(&[]).ok();
    machine.git("work", &["push", "-q", "origin", ":refs/heads/foo"]);
    push(&machine, "foo/bar", &[("a", "foo/bar")]);
    push(&machine, "foo/baz", &[("a", "foo/baz")]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env"), [".failcake", "foo_bar", "foo_baz", "master"]);
    machine.git("work", &["push", "-q", "origin", ":refs/heads/foo/bar", ":refs/heads/foo/baz"]);
    push(&machine, "foo", &[("a", "again")]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env"), [".failcake", "foo", "master"]);
    assert_eq!(machine.read("env/foo/a"), "again");
}

#[test]
fn half_a_file_of_a_killed_run_does_not_stay() {
    let machine = publishing("mode: branch, target: ROOT/site, grace: 0s");
    machine.fetch(&[]).ok();
    machine.write(".site.failcake/spog/.tmp-00", "{");
    machine.write(".site.failcake/spog/trees/0123.index.lock", "");
    machine.write(".site.failcake/spog/trees/0123/half", "");
    configure(&machine, "mode: branch, target: ROOT/site, grace: 0s");
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, ".site.failcake/spog"), ["lock", "state.json", "trees"]);
    assert_eq!(list(&machine, ".site.failcake/spog/trees").len(), 1);
}

#[test]
fn a_pipe_where_a_file_should_be_holds_nobody_up() {
    let machine = publishing("mode: branches, target: ROOT/env");
    push(&machine, "other", &[("a", "1")]);
    machine.fetch(&[]).ok();
    let pipe = |name: &str| {
        fs::remove_file(machine.path(name)).unwrap();
        nix::unistd::mkfifo(&machine.path(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    pipe("env/master/REVISION");
    push(&machine, "master", &[("a", "2")]);
    push(&machine, "other", &[("a", "2")]);
    let said = machine.fetch(&[]);
    assert!(said.err.contains("env/master is there and was not published from here"), "{said:?}");
    assert_eq!(machine.read("env/other/a"), "2");
    pipe("env/.failcake/spog/state.json");
    let said = machine.fetch(&[]);
    assert!(said.status == Some(1) && said.err.contains("state.json: it is no file"), "{said:?}");
}
