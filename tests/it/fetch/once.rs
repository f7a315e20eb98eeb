//! Once, now, without the bus.

use nix::sys::signal::Signal;

use super::*;

#[test]
fn it_clones_then_fetches_then_has_nothing_to_do() {
    let machine = Machine::new();
    assert_eq!(machine.fetch(&[]).ok(), "cloned: [spog] 1 branches, 0 tags\n");
    assert_eq!(machine.fetch(&["spog"]).ok(), "unchanged: [spog]\n");
    let commit = machine.push("second");
    assert_eq!(machine.fetch(&[]).ok(), format!("fetched change: [spog] refs/heads/master {commit}\n"));
    assert_eq!(machine.cloned(), commit);
    machine.git("work", &["push", "-q", "origin", "HEAD:refs/heads/x;$(touch${IFS}PWNED)"]);
    machine.fetch(&[]).ok();
    machine.git("work", &["push", "-q", "origin", ":refs/heads/x;$(touch${IFS}PWNED)"]);
    let gone = "fetched change: [spog] refs/heads/x;$(touch${IFS}PWNED) deleted\n";
    assert_eq!(machine.fetch(&[]).ok(), gone);
    assert!(!machine.path("PWNED").exists() && !machine.path("clones/spog/PWNED").exists());
}

#[test]
fn nothing_changed_is_one_call_of_git() {
    let machine = Machine::new();
    machine.fetch(&[]).ok();
    let _ = fs::remove_file(machine.path("calls"));
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("calls").lines().count(), 1, "{}", machine.read("calls"));
    assert_eq!(machine.calls("ls-remote"), 1);
}

#[test]
fn json_is_one_object_on_a_line() {
    let machine = Machine::new();
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let first = parse(machine.fetch(&["--json"]).ok());
    assert_eq!((first["repo"].as_str(), first["cloned"].as_bool()), (Some("spog"), Some(true)));
    let old = machine.cloned();
    let new = machine.push("second");
    let change = serde_json::json!({ "ref": "refs/heads/master", "old": old, "new": new });
    assert_eq!(parse(machine.fetch(&["--json"]).ok())["changes"], serde_json::json!([change]));
}

#[test]
fn one_that_fails_does_not_stop_the_others_and_shows_in_the_exit_status() {
    let machine = Machine::new();
    let nowhere = machine.repo("nowhere", &format!("file://{}/nowhere", machine.folder.path().display()));
    machine.configure("", &(nowhere + &machine.spog()));
    let said = machine.fetch(&[]);
    assert_eq!((said.status, said.out.as_str()), (Some(1), "cloned: [spog] 1 branches, 0 tags\n"));
    assert!(said.err.starts_with("failcake: problem: [nowhere] git clone: fatal: '"), "{}", said.err);
}

#[test]
fn mistakes_of_the_caller_are_told_with_what_to_do() {
    let machine = Machine::new();
    let said = machine.fetch(&["spgo"]);
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("\"spgo\"") && said.err.contains("is it \"spog\"?"), "{}", said.err);
    machine.configure("", "  spog: { path: /srv/spog, mode: tags }\n");
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("mode tags and no target"), "{}", said.err);
    machine.configure("", "  {}\n");
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(2));
    assert!(said.err.contains("no repository is configured"), "{}", said.err);
}

/// A configuration whose git server is reached by ssh, and ssh is this script.
fn over_ssh(machine: &Machine, script: &str, timeout: &str) {
    machine.script("ssh", script);
    machine.write(
        "gitconfig",
        &format!("{}[core]\nsshCommand = {}\n", machine.read("gitconfig"), machine.path("ssh").display()),
    );
    let repo = machine.repo("spog", &format!("git@localhost:{}", machine.path("spog.git").display()));
    machine.configure("", &repo.replace("20s", timeout));
}

/// ssh as git calls it, without ssh: the last word is the command for the other side.
const HERE: &str = "for command; do :; done\nexec sh -c \"$command\"";

#[test]
fn the_configured_ssh_command_is_used() {
    let machine = Machine::new();
    over_ssh(&machine, HERE, "20s");
    assert_eq!(machine.fetch(&[]).ok(), "cloned: [spog] 1 branches, 0 tags\n");
}

#[test]
fn an_ssh_that_hangs_is_ended_in_time_with_all_that_hangs_on_it() {
    let machine = Machine::new();
    over_ssh(&machine, "echo $$ >>\"$HOME/pids\"\nsleep 1000", "1s");
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("git clone was ended after 1 s"), "{}", said.err);
    for pid in machine.read("pids").lines() {
        let path = PathBuf::from(format!("/proc/{pid}"));
        wait_for("end of ssh", String::new, || !path.exists());
    }
    assert_eq!(fs::read_dir(machine.path("clones")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn term_ends_it_while_git_hangs() {
    let machine = Machine::new();
    over_ssh(&machine, "touch \"$HOME/hangs\"\nsleep 1000", "600s");
    let mut run = Running(machine.command_fetch(&[]).stderr(Stdio::null()).spawn().unwrap());
    wait_for("call of ssh", String::new, || machine.path("hangs").exists());
    run.signal(Signal::SIGTERM);
    assert_eq!(run.ends(), Some(1));
    assert_eq!(fs::read_dir(machine.path("clones")).unwrap().count(), 0);
}

#[test]
fn killed_in_a_clone_and_in_a_fetch_the_next_run_makes_it_good() {
    let machine = Machine::new();
    let hang_once = format!("if [ -e \"$HOME/hang\" ]; then rm \"$HOME/hang\"; sleep 1000; fi\n{HERE}");
    over_ssh(&machine, &hang_once, "600s");
    for _ in 0..2 {
        machine.write("hang", "");
        let mut run = Running(machine.command_fetch(&[]).stderr(Stdio::null()).spawn().unwrap());
        wait_for("call of ssh", String::new, || !machine.path("hang").exists());
        run.signal(Signal::SIGKILL);
        assert_eq!(run.ends(), None);
        let commit = machine.git("work", &["rev-parse", "HEAD"]);
        machine.fetch(&[]).ok();
        assert_eq!(machine.cloned(), commit);
        let names = fs::read_dir(machine.path("clones")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["spog"]);
        machine.push("next");
    }
}

#[test]
fn two_at_once_are_one_after_the_other() {
    let machine = Machine::new();
    let mut runs: Vec<_> =
        (0..4).map(|_| Running(machine.command_fetch(&[]).stdout(Stdio::null()).spawn().unwrap())).collect();
    for run in &mut runs {
        assert_eq!(run.ends(), Some(0));
    }
    assert_eq!(machine.fetch(&[]).ok(), "unchanged: [spog]\n");
}
