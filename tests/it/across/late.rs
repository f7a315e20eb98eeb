//! Hosts that are late, or fall silent, in each phase; and a plan whose time is over.

use std::fs;

use nix::sys::signal::Signal;

use super::fleet::{Fleet, wait_for};
use super::phases::{Held, Phase};
use crate::sandbox::FAILCAKE;

const WEB: [&str; 3] = ["web01", "web02", "web03"];

#[test]
fn a_host_that_comes_late_has_its_turn_with_the_others() {
    let mut fleet = Fleet::new(&WEB);
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST != web01 ] || {{ {}; }}", gate.script()))]);
    fleet.start_node("web01");
    fleet.start_node("web02");
    fleet.listens("web01");
    fleet.listens("web02");
    let mut operator = fleet.deploy("v1", "web*", &["--max-failures", "1", "--patience", "2s"]).start();
    operator.stderr_line("web03 unreachable");
    gate.wait_for("web01");
    fleet.start_node("web03");
    operator.stderr_line("web03 prepared");
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn a_host_that_falls_silent_while_it_prepares_stops_it_before_the_canary() {
    let mut held = Held::new(Fleet::new(&WEB), Phase::Prepare);
    let mut operator = held.fleet.deploy("v2", "web*", &["--patience", "3s"]).start();
    operator.stderr_line("web02 preparing");
    held.fleet.node("web02").signal(Signal::SIGSTOP);
    held.go_on();
    operator.stderr_line("stopping: web02 went silent: it was preparing");
    assert_eq!(operator.wait().code(), Some(1));
    assert_eq!(held.fleet.all_serve(), ["v1"; 3]);
    // Back again, it has heard that it is over.
    held.fleet.node("web02").signal(Signal::SIGCONT);
    let again = || held.fleet.deploy("v2", "web*", &["--batch", "2"]).run();
    wait_for("web02 to be free", || {
        held.fleet.operator(["state", "www", "--on", "web02"]).run().success().text().contains("web02")
    });
    again().success();
    assert_eq!(held.fleet.all_serve(), ["v2"; 3]);
}

/// It was silent when the others went back, and comes up on the new release.
#[test]
fn a_host_that_was_silent_in_its_turn_goes_back_when_it_hears_how_it_ended() {
    let mut held = Held::new(Fleet::new(&WEB), Phase::Batch);
    let more = ["--batch", "1", "--on-failure", "rollback", "--patience", "3s"];
    let mut operator = held.fleet.deploy("v2", "web*", &more).start();
    operator.stderr_line("web02 switching");
    held.wait_for("web02");
    held.fleet.node("web02").signal(Signal::SIGSTOP);
    operator.stderr_line("stopping: web02 went silent: it was told to switch");
    assert_eq!(operator.wait().code(), Some(1));
    let plan = held.fleet.newest_plan();
    let said = String::from_utf8(operator.stderr()).unwrap();
    let hint = format!("what web02 will serve is not known: failcake rollout resume {plan} tells to go back as well");
    assert!(said.contains(&hint), "{said}");
    held.go_on();
    held.fleet.node("web02").signal(Signal::SIGCONT);
    // Its turn ends first: v1 serves until then, too.
    held.fleet.node("web02").stdout_line("rolled back www to release ");
    let said = held.fleet.operator(["rollout", "resume", plan.as_str()]).run().success();
    said.stderr_has("every host knows it; whoever still served its release goes back now\n");
    assert_eq!(held.fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn a_host_that_falls_silent_while_it_goes_back_is_named() {
    let mut held = Held::new(Fleet::new(&WEB), Phase::WindUp);
    let mut operator =
        held.fleet.deploy("v2", "web*", &["--batch", "1", "--on-failure", "rollback", "--patience", "3s"]).start();
    operator.stderr_line("web01 rolling back");
    held.fleet.node("web01").signal(Signal::SIGSTOP);
    assert_eq!(operator.wait().code(), Some(1));
    let said = String::from_utf8(operator.rest()).unwrap();
    assert!(said.contains("\n  web01  went silent  it did not say that it went back: look what it serves\n"), "{said}");
    held.go_on();
    held.fleet.node("web01").signal(Signal::SIGCONT);
    wait_for("web01 to go back", || held.fleet.serves("web01") == "v1");
}

#[test]
fn nobody_begins_after_the_plans_time() {
    let mut fleet = Fleet::new(&WEB);
    fleet.release("v1", &[]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &["--bake", "3s", "--within", "2s"]).run().code(1);
    said.stdout_has("1 of 3 hosts live; stopped: web02 refused: the plan was good until ");
    assert_eq!(fleet.all_serve(), ["v1", "", ""]);
    assert_eq!(["web02", "web03"].map(|node| fleet.releases(node)), [0, 0]);
}

/// Full in the middle of it, its disk holds the plan as it was before: so does the node, once it has started anew.
#[test]
fn a_host_that_could_not_write_down_that_it_is_over_is_told_by_the_next_deploy() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.node("web02").signal(Signal::SIGKILL);
    fleet.node("web02").wait();
    let spool = fleet.world.path("web02/spool");
    let run = format!("mount -t tmpfs -o size=200k tmpfs {} && exec {FAILCAKE} deploy --watch", spool.display());
    let call = fleet.world.program("unshare", ["-m", "sh", "-c", &run]);
    let config = fleet.world.path("web02/failcake.yaml");
    let mut node = call.env("FAILCAKE_CONFIG", config).env("FAILCAKE_SPOOL", &spool).start();
    node.stderr_line("listening to");
    // Its own view of the disk.
    let fill = format!("/proc/{}/root{}/fill", node.id(), spool.display());
    let mut operator = fleet.deploy("v1", "web*", &["--bake", "2s"]).start();
    operator.stderr_line("the canary is watched");
    let _ = fs::write(&fill, vec![0; 400 * 1024]);
    assert_eq!(operator.wait().code(), Some(1));
    let said = String::from_utf8(operator.stderr()).unwrap();
    assert!(said.contains("No space left") && said.contains("not heard that it is over: web02; "), "{said}");
    fs::remove_file(&fill).unwrap();
    node.signal(Signal::SIGHUP);
    node.stderr_line("listening to");
    let said = fleet.deploy("v1", "web*", &[]).run().success();
    said.stderr_has("told web02 first that plan ");
    assert_eq!(fleet.all_serve(), ["v1"; 2]);
}
