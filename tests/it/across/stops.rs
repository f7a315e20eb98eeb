//! What stops a rollout, and what each host's disk has then.

use std::fs;

use nix::sys::signal::Signal;

use super::fleet::{Fleet, wait_for};

/// A pre-deploy that fails on these hosts.
fn fails_on(hosts: &str) -> String {
    format!(
        "echo at work; for h in {hosts}; do if [ $FAILCAKE_HOST = $h ]; then echo 'no room for this'; exit 7; fi; done"
    )
}

#[test]
fn a_canary_that_fails_leaves_every_other_host_untouched() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.deploy("v1", "web*", &[]).run().success();
    fleet.release("v2", &[("pre-deploy", &format!("touch \"$FAILCAKE_SHARED/began\"; {}", fails_on("web01")))]);
    let said = fleet.deploy("v2", "web*", &[]).run().code(1);
    said.stdout_has(
        "0 of 3 hosts live; stopped: of the canary, web01 failed: pre-deploy failed: it exited with status 7",
    )
    .stdout_has("\n         pre-deploy ended with 7, and said at last:\n         | ")
    .stdout_has("\n         | at work\n         | no room for this\n")
    .stdout_has("\n  web02  dropped\n  web03  dropped\n");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    let began = |node: &str| fleet.world.path(format!("{node}/site/shared/began")).exists();
    assert!(began("web01") && !began("web02") && !began("web03"));
    // What was staged is gone again, and the site is free.
    assert_eq!(["web02", "web03"].map(|node| fleet.releases(node)), [1, 1]);
    fleet.release("v3", &[]);
    fleet.deploy("v3", "web*", &[]).run().success();
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
}

/// Longer than the site's `timeout:`, and deaf to TERM; so is what it started.
#[test]
fn a_script_that_hangs_fails_its_host_by_name_and_leaves_nothing() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    let log = fleet.world.path("lb.log").display().to_string();
    let lb = fleet.world.write("lb", format!("#!/bin/sh\necho $1 $FAILCAKE_HOST >>{log}\n"));
    fs::set_permissions(&lb, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (key, word) in [("drain", "out"), ("undrain", "in")] {
        fleet = fleet.site("web02", &format!("{key}: [{}, {word}]", lb.display()));
    }
    let mut fleet = fleet.site("web02", "timeout: 1s");
    fleet.release("v1", &[]);
    fleet.start();
    fleet.deploy("v1", "web*", &[]).run().success();
    let hangs = "trap '' TERM; sleep 1000 & echo $$ $! >\"$FAILCAKE_SHARED/pids\"; wait";
    fleet.release("v2", &[("pre-link", &format!("[ $FAILCAKE_HOST != web02 ] || {{ {hangs}; }}"))]);
    let said = fleet.deploy("v2", "web*", &["--batch", "1"]).run().code(1);
    said.stdout_has(
        "1 of 3 hosts live; stopped: web02 failed: pre-link failed: it took longer than 1 s and was ended (`timeout:` of the site)",
    )
    .stdout_has("\n  web03  dropped\n");
    assert_eq!(fleet.all_serve(), ["v2", "v1", "v1"]);
    assert_eq!(fleet.world.read("lb.log"), "out web02\nin web02\n".repeat(2));
    for pid in fleet.world.read("web02/site/shared/pids").split_whitespace() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    fleet.release("v3", &[]);
    fleet.deploy("v3", "web*", &[]).run().success();
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
}

#[test]
fn a_batch_with_a_failure_is_the_last_one() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03", "web04", "web05"]);
    fleet.release("v1", &[("pre-deploy", &fails_on("web03"))]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &["--batch", "2"]).run().code(1);
    said.stdout_has("2 of 5 hosts live; stopped: web03 failed: pre-deploy failed: ");
    // Its neighbour in the batch came to its end.
    assert_eq!(fleet.all_serve(), ["v1", "v1", "", "", ""]);
    assert_eq!(["web04", "web05"].map(|node| fleet.releases(node)), [0, 0]);
}

#[test]
fn as_many_as_may_fail_stop_nothing() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03", "web04"]);
    fleet.release("v1", &[("pre-deploy", &fails_on("web02"))]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &["--batch", "1", "--max-failures", "1"]).run().code(1);
    said.stdout_has("3 of 4 hosts live; incomplete: 1 of 4 hosts are not live: web02 failed: pre-deploy failed");
    assert_eq!(fleet.all_serve(), ["v1", "", "v1", "v1"]);
    fleet.operator(["rollout", "status"]).run().success().stdout_has("3 of 4 hosts live; incomplete\n");
}

#[test]
fn hosts_that_are_done_go_back_when_that_is_asked_for() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.deploy("v1", "web*", &[]).run().success();
    fleet.release("v2", &[("pre-deploy", &fails_on("web02"))]);
    let said = fleet.deploy("v2", "web*", &["--on-failure", "rollback", "--batch", "1"]).run().code(1);
    said.stdout_has("0 of 3 hosts live; rolled-back: web02 failed: pre-deploy failed: ")
        .stdout_has("\n  web01  rolled back")
        .stdout_has("\n  web03  dropped")
        .stderr_has("; hosts that are done go back\n");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn a_host_that_has_nothing_to_go_back_to_says_what_it_serves() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[("pre-deploy", &fails_on("web02"))]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &["--on-failure", "rollback"]).run().code(1).text();
    let why = "\n  web01  rollback failed  there is no earlier good release to roll back to; release 2";
    assert!(said.contains(why) && said.contains(" serves on\n"), "{said}");
    assert_eq!(fleet.all_serve(), ["v1", ""]);
}

#[test]
fn a_host_that_failed_after_its_switch_goes_back_with_the_others() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"])
        .site("web02", "on-post-failure: keep")
        .site("web03", "undrain: ['/bin/false']");
    fleet.release("v1", &[]);
    fleet.start();
    // web03 can't be brought back behind its load balancer, whatever it serves.
    let said = fleet.deploy("v1", "web*", &["--batch", "3"]).run().code(1);
    said.stdout_has("\n  web03  failed  undrain: it exited with status 1; the switch is done\n");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    fleet.release("v2", &[("post-deploy", "if [ $FAILCAKE_HOST = web02 ]; then exit 7; fi")]);
    let said = fleet.deploy("v2", "web*", &["--on-failure", "rollback", "--batch", "3"]).run().code(1);
    said.stdout_has("\n  web01  rolled back")
        .stdout_has("\n  web02  rolled back  post-deploy failed: it exited with status 7. Release ")
        .stdout_has("\n  web03  rolled back  undrain: it exited with status 1; the switch is done\n");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn a_host_that_was_never_reached_stops_it_before_the_canary() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.running.remove("web03");
    let said = fleet.deploy("v1", "web*", &["--patience", "2s"]).run().code(1);
    said.stdout_has("stopped: web03 unreachable: it said nothing within 2s\n")
        .stdout_has("\n  web03  unreachable  it said nothing");
    assert_eq!(fleet.all_serve(), ["", "", ""]);
    assert_eq!(["web01", "web02"].map(|node| fleet.releases(node)), [0, 0]);
    // One that is away may be passed over. It does nothing late.
    fleet
        .deploy("v1", "web*", &["--patience", "2s", "--max-failures", "1"])
        .run()
        .code(1)
        .stdout_has("2 of 3 hosts live; incomplete");
    fleet.start_node("web03");
    fleet.listens("web03");
    fleet.deploy("v1", "web01", &[]).run().success();
    assert_eq!(fleet.all_serve(), ["v1", "v1", ""]);
}

#[test]
fn a_host_that_falls_silent_in_its_turn_is_told_from_one_that_failed() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST = web01 ] || {{ {}; }}", gate.script()))]);
    fleet.start();
    let mut operator = fleet.deploy("v1", "web*", &["--batch", "1", "--patience", "3s"]).start();
    gate.wait_for("web02");
    fleet.node("web02").signal(Signal::SIGSTOP);
    operator.stderr_line("web02 went silent");
    assert_eq!(operator.wait().code(), Some(1));
    let said = String::from_utf8(operator.rest()).unwrap();
    assert!(said.contains("1 of 3 hosts live; stopped: web02 went silent: "), "{said}");
    assert!(said.contains("\n  web03  dropped"), "{said}");
    // It comes back, ends its turn, and is in nobody's way.
    gate.open();
    fleet.node("web02").signal(Signal::SIGCONT);
    wait_for("the end of web02's turn", || fleet.serves("web02") == "v1");
    assert_eq!(fleet.all_serve(), ["v1", "v1", ""]);
    let status = || fleet.operator(["rollout", "status"]).run().success().text();
    wait_for("web02 to say so", || status().contains("\n  web02  live"));
}

#[test]
fn a_host_that_refuses_stops_it_before_the_canary_and_names_the_reason() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    fleet.start();
    std::fs::create_dir_all(fleet.world.path("web02/site")).unwrap();
    fleet.as_who("web02", ["hold", "www", "--reason", "the disk is being changed"]).run().success();
    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    said.stdout_has("stopped: web02 refused: ").stdout_has("the disk is being changed");
    assert_eq!(fleet.all_serve(), ["", ""]);
}

#[test]
fn nobody_deploys_where_allow_does_not_say_so() {
    let mut fleet = Fleet::new(&["web01", "web02"])
        .line("web02", "allow: [{ who: ops@example.org, sites: ['shop*'], hosts: ['*'] }]");
    fleet.release("v1", &[]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    said.stdout_has("stopped: web02 refused: `allow:` of web02 has no entry for ops@example.org on www\n");
    assert_eq!((fleet.all_serve(), fleet.releases("web02")), (vec![String::new(); 2], 0));
}

#[test]
fn two_operators_at_once_get_one_plan_and_a_name() {
    let fleet = Fleet::new(&["web01", "web02"]);
    fleet.second_operator("ann");
    let allow = "allow: [{ who: ops@example.org, sites: ['*'], hosts: ['*'] }, { who: ann@example.org, sites: ['*'], hosts: ['*'] }]";
    let mut fleet = fleet.line("web01", allow).line("web02", allow);
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &gate.script())]);
    fleet.start();
    let mut first = fleet.deploy("v1", "web*", &[]).start();
    gate.wait_for("web01");
    let second = fleet.as_who("ann", ["deploy", "www", "v1", "--on", "web*"]).run().code(1);
    second.stdout_has("refused: www is in plan ").stdout_has(" of ops@example.org (deploy v1 ");
    let held = format!("nothing is live  in plan {}\n", fleet.newest_plan());
    fleet.operator(["state", "www", "--on", "web02"]).run().success().stdout_has(&held);
    fleet.operator(["nodes"]).run().success().stdout_has(&held);
    gate.open();
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(fleet.all_serve(), ["v1"; 2]);
    fleet.as_who("ann", ["deploy", "www", "v1", "--on", "web*"]).run().success();
}

#[test]
fn a_host_leaves_its_load_balancer_for_its_turn_and_always_comes_back() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let log = fleet.world.path("lb.log");
    let lb = fleet.world.write("lb", format!("#!/bin/sh\necho \"$1 $FAILCAKE_HOST\" >>{}\n", log.display()));
    std::fs::set_permissions(&lb, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for node in ["web01", "web02"] {
        fleet = fleet
            .site(node, &format!("drain: [{}, out]", lb.display()))
            .site(node, &format!("undrain: [{}, in]", lb.display()));
    }
    fleet.release("v1", &[("pre-deploy", &fails_on("web02"))]);
    fleet.start();
    fleet.deploy("v1", "web*", &[]).run().code(1);
    assert_eq!(fleet.world.read("lb.log"), "out web01\nin web01\nout web02\nin web02\n");
}
