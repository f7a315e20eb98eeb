//! The operator's side is killed, stopped and left, and another process goes on.

use nix::sys::signal::Signal;

use super::fleet::{Fleet, wait_for};
use super::phases::{Held, Phase};
use crate::sandbox::Running;
use crate::sandbox::brokers::Listener;

const WEB: [&str; 3] = ["web01", "web02", "web03"];

fn killed_and_gone_on_with(phase: Phase) {
    let held = Held::new(Fleet::new(&WEB), phase);
    let mut operator = held.begin();
    operator.signal(Signal::SIGKILL);
    operator.wait();
    held.go_on();
    if phase == Phase::Canary {
        // A node never waits for the operator in the middle of its turn, and nobody else begins.
        wait_for("the end of web01's turn", || held.fleet.serves("web01") == "v2");
        assert_eq!(held.fleet.all_serve(), ["v2", "v1", "v1"]);
    }
    let plan = held.fleet.newest_plan();
    held.fleet
        .operator(["rollout", "status", &plan])
        .run()
        .success()
        .stdout_has("left in the middle")
        .stderr_has("rollout resume");
    let said = held.fleet.operator(["rollout", "resume", &plan]).run().code(held.status());
    said.stdout_has(if held.status() == 0 { "3 of 3 hosts live; success" } else { "0 of 3 hosts live; rolled-back: " });
    held.assert_done();
}

#[test]
fn killed_while_hosts_prepare() {
    killed_and_gone_on_with(Phase::Prepare);
}

#[test]
fn killed_in_the_canarys_turn() {
    killed_and_gone_on_with(Phase::Canary);
}

#[test]
fn killed_while_the_canary_is_watched() {
    killed_and_gone_on_with(Phase::Bake);
}

#[test]
fn killed_in_a_batch() {
    killed_and_gone_on_with(Phase::Batch);
}

#[test]
fn killed_while_hosts_go_back() {
    killed_and_gone_on_with(Phase::WindUp);
}

#[test]
fn one_process_at_a_time_conducts_a_plan() {
    let held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let mut operator = held.begin();
    let plan = held.fleet.newest_plan();
    held.fleet.operator(["rollout", "resume", &plan]).run().code(1).stderr_has("another process conducts plan ");
    held.fleet
        .operator(["rollout", "status"])
        .run()
        .success()
        .stdout_has("; under way\n")
        .stdout_has("\n  web01  switching");
    held.fleet.operator(["rollout", "list"]).run().success().stdout_has(": under way\n");
    let told = lines(&held.fleet.operator(["rollout", "status", "--json"]).run().success().text()).remove(0);
    assert_eq!((&told["is_conducted"], &told["is_left"], &told["stopped"]), (&true.into(), &false.into(), &().into()));
    held.go_on();
    assert_eq!(operator.wait().code(), Some(0));
    held.assert_done();
}

#[test]
fn ctrl_c_stops_before_the_next_host() {
    let held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let mut operator = held.begin();
    operator.signal(Signal::SIGINT);
    operator.stderr_line("stopping: no further host begins");
    held.go_on();
    assert_eq!(operator.wait().code(), Some(1));
    let said = String::from_utf8(operator.rest()).unwrap();
    assert!(said.contains("1 of 3 hosts live; stopped: the operator stopped it\n"), "{said}");
    assert!(said.contains("\n  web01  live ") && said.contains("\n  web02  dropped\n  web03  dropped\n"), "{said}");
    assert_eq!(held.fleet.all_serve(), ["v2", "v1", "v1"]);
    assert_eq!(held.fleet.releases("web02"), 1);
}

#[test]
fn ctrl_c_twice_leaves_and_says_what_runs_on() {
    let held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let mut operator: Running = held.begin();
    operator.signal(Signal::SIGINT);
    operator.stderr_line("stopping: no further host begins");
    operator.signal(Signal::SIGINT);
    assert_eq!(operator.wait().code(), Some(1));
    let (said, told) = (operator.rest(), operator.stderr());
    let (said, told) = (String::from_utf8(said).unwrap(), String::from_utf8(told).unwrap());
    assert!(said.contains("; left: ") && said.contains("\n  web01  switching"), "{said}");
    assert!(told.contains("runs on by itself: web01\n"), "{told}");
    assert!(told.contains(": web02, web03\n"), "{told}");
    let plan = held.fleet.newest_plan();
    assert!(told.contains(&format!("to go on: failcake rollout resume {plan}\n")), "{told}");
    held.go_on();
    // It was being stopped: whoever goes on with it goes on with that.
    let resumed = held.fleet.operator(["rollout", "resume", &plan]).run().code(1);
    let resumed =
        resumed.stderr_has("it was being stopped, and that is gone on with; to deploy it after all, make a new plan");
    resumed
        .stderr_has("stopping: the operator stopped it; no further host begins\n")
        .stdout_has("1 of 3 hosts live; stopped: the operator stopped it\n")
        .stdout_has("\n  web02  dropped\n  web03  dropped\n");
    assert_eq!(held.fleet.all_serve(), ["v2", "v1", "v1"]);
    held.fleet.deploy("v2", "web*", &["--batch", "1"]).run().success();
    assert_eq!(held.fleet.all_serve(), ["v2"; 3]);
}

#[test]
fn programs_are_told_what_runs_on() {
    let held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let mut operator = held.fleet.deploy("v2", "web*", &["--json"]).start();
    operator.stdout_line("\"event\":\"canary\"");
    operator.signal(Signal::SIGTERM);
    operator.stdout_line("\"event\":\"stopping\"");
    operator.signal(Signal::SIGTERM);
    let left: serde_json::Value = serde_json::from_str(&operator.stdout_line("\"event\":\"left\"")).unwrap();
    assert_eq!((&left["runs_on"][0], &left["staged"][0]), (&"web01".into(), &"web02".into()));
    assert_eq!(left["resume"], format!("failcake rollout resume {}", held.fleet.newest_plan()));
    assert_eq!(operator.wait().code(), Some(1));

    let plan =
        |held: &Held| lines(&held.fleet.operator(["rollout", "status", "--json"]).run().success().text()).remove(0);
    let told = plan(&held);
    assert_eq!(
        (&told["event"], &told["is_conducted"], &told["is_left"]),
        (&"plan".into(), &false.into(), &true.into())
    );
    assert_eq!((&told["stopped"], &told["rolls_back"]), (&"the operator stopped it".into(), &false.into()));
    held.go_on();
    let resumed = held.fleet.operator(["rollout", "resume", told["id"].as_str().unwrap(), "--json"]).run().code(1);
    assert!(lines(&resumed.text()).iter().any(|line| line["event"] == "ended" && line["outcome"] == "stopped"));
    let told = plan(&held);
    assert_eq!((&told["is_conducted"], &told["is_left"]), (&false.into(), &false.into()));

    // Once more, of what is over: nothing happens to a host, so none is told.
    let again = held.fleet.operator(["rollout", "resume", told["id"].as_str().unwrap(), "--json"]).run().success();
    let again = lines(&again.text());
    let events: Vec<_> = again.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["plan", "note", "ended"], "{again:?}");
    assert_eq!((&again[0]["id"], &again[2]["outcome"]), (&told["id"], &"stopped".into()));
    assert_eq!(again[2]["why"], "the operator stopped it");
}

/// What `--json` printed.
fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Its own clock went on meanwhile, and nobody was heard.
#[test]
fn an_operator_that_stood_still_for_longer_than_the_patience_makes_nobody_silent() {
    let held = Held::new(Fleet::new(&WEB), Phase::Canary);
    let more = ["--batch", "1", "--patience", "3s", "--on-failure", "rollback"];
    let mut operator = held.fleet.deploy("v2", "web*", &more).start();
    operator.stderr_line("web01 switching");
    operator.signal(Signal::SIGSTOP);
    std::thread::sleep(std::time::Duration::from_secs(5));
    operator.signal(Signal::SIGCONT);
    operator.stderr_line("this process stood still for ");
    held.go_on();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    held.assert_done();
}

/// It may be asked to try so often and no more: then nobody hears anything any more, which is not the same as having heard it.
#[test]
fn a_broker_that_is_given_up_on_leaves_hosts_that_have_not_heard_the_end() {
    let mut fleet = Fleet::new(&["web01"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.deploy("v1", "web01", &[]).run().success();
    let plan = fleet.newest_plan();
    fleet.node("web01").signal(Signal::SIGKILL);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let few = format!("broker: failover:({url})?maxReconnectAttempts=1\n");
    let config = fleet.world.read("operator/failcake.yaml").replace(&format!("broker: {url}\n"), &few);
    assert!(config.contains(&few), "{config}");
    fleet.world.write("operator/failcake.yaml", config);
    let orders = Listener::open(&url, &["/topic/failcake.deploy.requests"]);
    let mut operator = fleet.operator(["rollout", "resume", &plan]).start();
    orders.take(1);
    fleet.kill_broker();
    assert_eq!(operator.wait().code(), Some(1));
    let told = String::from_utf8(operator.stderr()).unwrap();
    assert!(told.contains(&format!("plan {plan} is over, and did not answer to that: web01\n")), "{told}");
}

#[test]
fn ctrl_c_before_anything_was_sent_ends_it_at_once() {
    let mut fleet = Fleet::new(&["web01"]);
    fleet.release("v1", &[]);
    drop(fleet.embedded.take());
    let mut operator = fleet.deploy("v1", "web01", &[]).start();
    // It waits for the broker for seconds; it has its own handler by the time that it has signed.
    std::thread::sleep(std::time::Duration::from_secs(2));
    operator.signal(Signal::SIGINT);
    assert_eq!(operator.wait().code(), Some(1));
    assert!(String::from_utf8(operator.stderr()).unwrap().contains("stopped before anything was sent"));
}

#[test]
fn a_host_that_missed_the_end_is_told_again() {
    let mut fleet = Fleet::new(&WEB);
    for node in WEB {
        let who = |name: &str| format!("{{ who: {name}@example.org, sites: ['*'], hosts: ['*'] }}");
        fleet = fleet.line(node, &format!("allow: [{}, {}]", who("ops"), who("bob")));
    }
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST = web01 ] || {{ {}; }}", gate.script()))]);
    fleet.start();
    let mut operator = fleet.deploy("v1", "web*", &["--batch", "1", "--patience", "2s"]).start();
    gate.wait_for("web02");
    // The machine dies in the middle of it, and is there again when all is over.
    fleet.node("web02").signal(Signal::SIGKILL);
    assert_eq!(operator.wait().code(), Some(1));
    gate.open();
    fleet.start_node("web02");
    fleet.listens("web02");
    let plan = fleet.newest_plan();
    fleet.release("v2", &[]);
    // Somebody else can't know that it is over.
    fleet.second_operator("bob");
    let words = ["deploy", "www", "v2", "--on", "web*"];
    let said = fleet.as_who("bob", words).run().code(1);
    said.stdout_has(&format!("stopped: web02 refused: www is in plan {plan} of ops@example.org (deploy v1 ("))
        .stdout_has(&format!("`failcake rollout resume {plan}` goes on with it, or says that it is over"));
    fleet.operator(["rollout", "resume", &plan]).run().success().stderr_has("is over, and every host knows it");
    fleet.as_who("bob", words).run().success();
    assert_eq!(fleet.all_serve(), ["v2"; 3]);
}

/// What it prepared keeps the site, until whoever began that comes again.
#[test]
fn a_host_that_is_away_when_it_ends_is_told_by_the_next_deploy() {
    let mut fleet = Fleet::new(&WEB);
    fleet.release("v1", &[("pre-deploy", "[ $FAILCAKE_HOST != web01 ] || sleep 2; exit 1")]);
    fleet.start();
    let mut operator = fleet.deploy("v1", "web*", &["--patience", "3s"]).start();
    operator.stderr_line("web01 switching");
    fleet.node("web02").signal(Signal::SIGKILL);
    assert_eq!(operator.wait().code(), Some(1));
    fleet.start_node("web02");
    fleet.listens("web02");
    let plan = fleet.newest_plan();
    assert_eq!(fleet.releases("web02"), 1, "it is still staged");
    fleet.release("v2", &[]);
    let told = format!("told web02 first that plan {plan} is over\n");
    fleet.deploy("v2", "web*", &[]).run().success().stderr_has(&told);
    assert_eq!(fleet.all_serve(), ["v2"; 3]);
    // Once.
    fleet.release("v3", &[]);
    let mut operator = fleet.deploy("v3", "web*", &[]).start();
    assert_eq!(operator.wait().code(), Some(0));
    let said = String::from_utf8(operator.stderr()).unwrap();
    assert!(!said.contains("told "), "{said}");
}
