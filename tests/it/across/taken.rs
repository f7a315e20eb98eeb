//! A second operator takes hosts over from a plan whose operator is gone, or is not gone after all.

use nix::sys::signal::Signal;

use super::fleet::{Fleet, wait_for};
use super::phases::{Held, Phase};

const WEB: [&str; 3] = ["web01", "web02", "web03"];

/// Three hosts that both operators may deploy to.
fn of_both() -> Fleet {
    let mut fleet = Fleet::new(&WEB);
    for node in WEB {
        let who = |name: &str| format!("{{ who: {name}@example.org, sites: ['*'], hosts: ['*'] }}");
        fleet = fleet.line(node, &format!("allow: [{}, {}]", who("ops"), who("bob")));
    }
    fleet
}

fn held_in(phase: Phase) -> Held {
    let held = Held::new(of_both(), phase);
    held.fleet.second_operator("bob");
    held
}

/// Ann's rollout, in the middle of which her process is killed.
fn killed(held: &Held) {
    let mut operator = held.begin();
    operator.signal(Signal::SIGKILL);
    operator.wait();
}

/// Bob's `deploy www REF --on web*` and more words.
fn bob<'a>(fleet: &'a Fleet, reference: &str, more: &[&str]) -> crate::sandbox::Call<'a> {
    fleet.as_who("bob", [&["deploy", "www", reference, "--on", "web*"], more].concat())
}

/// Bob's newest plan.
fn bobs(fleet: &Fleet) -> String {
    let list = fleet.as_who("bob", ["rollout", "list"]).run().success().text();
    list.split_whitespace().next().unwrap().to_owned()
}

/// Ann is there again: every host tells who has it, and none does anything.
fn ann_hears(fleet: &Fleet, plan: &str, by: &str) {
    let served = fleet.all_serve();
    let why = format!("taken over by plan {by} of bob@example.org at ");
    let status = fleet.operator(["rollout", "status", plan]).run().success().text();
    assert_eq!(status.matches(&why).count(), 3, "{status}");
    let resumed = fleet.operator(["rollout", "resume", plan]).run().code(1);
    resumed.stderr_has("stopping: web0").stdout_has("stopped: web0").stdout_has(&why);
    assert_eq!(fleet.all_serve(), served);
    // Once more, now that it is over for her as well.
    fleet.operator(["rollout", "resume", plan]).run().success().stderr_has("is over, and every host knows it");
    assert_eq!(fleet.all_serve(), served);
}

#[test]
fn from_one_that_was_killed_while_hosts_prepared() {
    let held = held_in(Phase::Prepare);
    killed(&held);
    held.go_on();
    let fleet = &held.fleet;
    wait_for("all to have it staged", || WEB.iter().all(|node| fleet.releases(node) == 2));
    let plan = fleet.newest_plan();
    let status = || fleet.operator(["rollout", "status", &plan]).run().success().text();
    wait_for("all to be prepared", || status().matches("  prepared").count() == 3);
    fleet.release("v3", &[]);
    // What he is to do is said to him, word for word.
    let refused = bob(fleet, "v3", &[]).run().code(1);
    let hint = format!("or, if nobody conducts it any more, add --take-over {plan}");
    refused.stdout_has(&hint);
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    let said = bob(fleet, "v3", &["--take-over", &plan]).run().success();
    said.stderr_has(&format!(", by bob@example.org, taking over plan {plan}\n"))
        .stdout_has("3 of 3 hosts live; success\n");
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
    assert!(WEB.iter().all(|node| fleet.releases(node) == 2), "v1 and v3: what she had staged is dropped");
    let by = bobs(fleet);
    let told = fleet.as_who("bob", ["rollout", "status", &by]).run().success();
    told.stderr_has(&format!(", taking over plan {plan}\n"));
    ann_hears(fleet, &plan, &by);
    // And the site is free for anybody.
    fleet.deploy("v1", "web*", &[]).run().success();
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn from_one_that_was_killed_after_the_canary() {
    let held = held_in(Phase::Bake);
    killed(&held);
    let fleet = &held.fleet;
    assert_eq!(fleet.all_serve(), ["v2", "v1", "v1"]);
    let plan = fleet.newest_plan();
    // Back to one version: what was live there goes back as any release does.
    let words = ["rollback", "www", "--to", "v1", "--on", "web*", "--take-over", &plan, "--json"];
    let said = fleet.as_who("bob", words).run().success().text();
    let first: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["takes_over"]), (&"plan".into(), &plan.as_str().into()));
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    ann_hears(fleet, &plan, &bobs(fleet));
}

#[test]
fn from_one_that_was_killed_while_a_host_is_in_its_turn() {
    let held = held_in(Phase::Canary);
    killed(&held);
    let fleet = &held.fleet;
    let plan = fleet.newest_plan();
    fleet.release("v3", &[]);
    let refused = bob(fleet, "v3", &["--take-over", &plan]).run().code(1);
    refused.stdout_has(&format!(
        "web01 refused: www can't be taken over from plan {plan} now: it is in its turn here (switch), which ends by itself; \
         try again then"
    ));
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    held.go_on();
    wait_for("the end of web01's turn", || fleet.serves("web01") == "v2");
    wait_for("web01 to say so", || {
        fleet.operator(["rollout", "status", &plan]).run().success().text().contains("web01  live")
    });
    bob(fleet, "v3", &["--take-over", &plan]).run().success();
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
    // web02 and web03 went to the first try, and were given back by it.
    let status = fleet.operator(["rollout", "status", &plan]).run().success().text();
    assert_eq!(status.matches("taken over by plan ").count(), 3, "{status}");
    fleet.operator(["rollout", "resume", &plan]).run().code(1).stdout_has("taken over by plan ");
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
}

/// She would let one host fail, and take back what is live: neither is hers to decide any more.
#[test]
fn from_one_that_conducts_it_after_all() {
    let held = held_in(Phase::Batch);
    let fleet = &held.fleet;
    let more = ["--batch", "1", "--max-failures", "1", "--on-failure", "rollback"];
    let mut operator = fleet.deploy("v2", "web*", &more).start();
    held.wait_for("web02");
    let plan = fleet.newest_plan();
    fleet.release("v3", &[]);
    let words = ["deploy", "www", "v3", "--on", "web01,web03", "--take-over", &plan];
    fleet.as_who("bob", words).run().success().stdout_has("2 of 2 hosts live; success\n");
    operator.stderr_line("stopping: web0");
    // The one in its turn is left in peace, and is still hers.
    assert_eq!(fleet.all_serve(), ["v3", "v1", "v3"]);
    held.go_on();
    assert_eq!(operator.wait().code(), Some(1));
    let said = String::from_utf8(operator.rest()).unwrap();
    let by = format!("taken over by plan {} of bob@example.org at ", bobs(fleet));
    assert!(said.contains("2 of 3 hosts live; stopped: web0"), "{said}");
    let line = |node: &str| said.lines().find(|line| line.starts_with(&format!("  {node}"))).unwrap();
    assert!(line("web01").starts_with("  web01  live") && line("web01").contains(&by), "{said}");
    assert!(line("web02").starts_with("  web02  live") && !line("web02").contains(&by), "{said}");
    assert!(line("web03").starts_with("  web03  refused") && line("web03").contains(&by), "{said}");
    assert!(!said.contains("silent"), "{said}");
    assert_eq!(fleet.all_serve(), ["v3", "v2", "v3"]);
    fleet.deploy("v1", "web*", &[]).run().success();
}

/// Her rollout is held while it goes back from a failure; the host that is on its way back is not taken in the middle.
#[test]
fn a_host_on_its_way_back_ends_that_first() {
    let held = held_in(Phase::WindUp);
    killed(&held);
    let fleet = &held.fleet;
    let plan = fleet.newest_plan();
    fleet.release("v3", &[]);
    let refused = bob(fleet, "v3", &["--take-over", &plan]).run().code(1);
    refused.stdout_has("it is in its turn here (rollback), which ends by itself; try again then");
    held.go_on();
    wait_for("web01 to be back", || {
        fleet.operator(["rollout", "status", &plan]).run().success().text().contains("web01  rolled back")
    });
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    bob(fleet, "v3", &["--take-over", &plan]).run().success();
    assert_eq!(fleet.all_serve(), ["v3"; 3]);
}

/// The node is killed when it has just heard it, at moments that nobody chose.
#[test]
fn a_node_that_is_killed_meanwhile_is_in_one_plan_afterwards() {
    let mut held = held_in(Phase::Bake);
    for pause in [0, 20, 60, 120] {
        killed(&held);
        let plan = held.fleet.newest_plan();
        let mut taking = bob(&held.fleet, "v1", &["--take-over", &plan, "--patience", "4s"]).start();
        taking.stderr_line("web02 asked");
        std::thread::sleep(std::time::Duration::from_millis(pause));
        held.fleet.node("web02").signal(Signal::SIGKILL);
        held.fleet.node("web02").wait();
        held.fleet.start_node("web02");
        held.fleet.listens("web02");
        taking.wait();
        // Whatever came of that: it is his plan's, or still hers, and never does what she had begun.
        let fleet = &held.fleet;
        let resumed = fleet.operator(["rollout", "resume", &plan]).run().code(1);
        resumed.stdout_has("taken over by plan ");
        assert_ne!(fleet.serves("web02"), "v2", "{pause}");
        let last = bobs(fleet);
        let _ = fleet.as_who("bob", ["rollout", "resume", &last]).run();
        fleet.deploy("v1", "web*", &[]).run().success();
        assert_eq!(fleet.all_serve(), ["v1"; 3]);
    }
}

#[test]
fn who_may_not_deploy_there_takes_nothing_over() {
    let held = Held::new(Fleet::new(&WEB), Phase::Bake);
    held.fleet.second_operator("bob");
    killed(&held);
    let fleet = &held.fleet;
    let plan = fleet.newest_plan();
    let refused = bob(fleet, "v1", &["--take-over", &plan]).run().code(1);
    refused.stdout_has("`allow:` of web01 has no entry for bob@example.org on www");
    fleet.operator(["rollout", "resume", &plan]).run().success();
    held.assert_done();
}

#[test]
fn hosts_that_are_not_in_that_plan_are_taken_as_ever() {
    let mut fleet = of_both();
    fleet.second_operator("bob");
    fleet.release("v1", &[]);
    fleet.start();
    let nobodys = "0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17";
    bob(&fleet, "v1", &["--take-over", nobodys]).run().success();
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    // One's own, which is over.
    let own = bobs(&fleet);
    bob(&fleet, "v1", &["--take-over", &own]).run().success();
    fleet.as_who("bob", ["rollout", "resume", &own]).run().success().stderr_has("every host knows it");
}

#[test]
fn a_dry_run_shows_it_and_nonsense_is_refused_before_anything_is_sent() {
    let fleet = Fleet::new(&["web01"]);
    fleet.release("v1", &[]);
    let id = "0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17";
    let dry = |more: &[&str]| fleet.deploy("v1", "web01", &[&["--dry-run", "--take-over", id], more].concat()).run();
    dry(&[]).success().stdout_has(&format!("\ntakes over: plan {id}, where that has the site\n"));
    assert_eq!(dry(&["--json"]).success().json()["takes_over"], id);
    let rollback = ["rollback", "www", "--on", "web01", "--dry-run", "--take-over", id];
    fleet.operator(rollback).run().success().stdout_has("takes over: plan ");
    for words in [
        &["deploy", "www", "v1", "--on", "web01", "--take-over", "../x"][..],
        &["rollback", "www", "--on", "web01", "--take-over", "v1"],
    ] {
        fleet.operator(words).run().code(2).stderr_has("it is no UUID");
    }
    for words in [&["deploy", "www", "v1", "--take-over", id][..], &["rollback", "www", "--take-over", id]] {
        fleet.operator(words).run().code(2).stderr_has("--on <FILTER>");
    }
    fleet.operator(["deploy", "--watch", "--take-over", id]).run().code(2);
    fleet.operator(["rollout", "list"]).run().success().stdout("");
}
