//! One host first, the rest only because it worked: on every broker.

use super::fleet::Fleet;
use crate::sandbox::brokers::Kind;

const HOSTS: [&str; 4] = ["web01", "web02", "web03", "old01"];

/// Deploys twice and goes back, and looks at the disks each time.
fn deploys_and_goes_back(fleet: Fleet) {
    let mut fleet = fleet.line("old01", "allow: []");
    let first = fleet.release("v1", &[]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &[]).run().success();
    said.stdout_has(&format!("www: deploy v1 ({}): 3 of 3 hosts live; success\n", &first[..7]))
        .stdout_has("\n  web01  live  release ")
        .stderr_has("first: web01\n")
        .stderr_has("batch 1 of 2: web02\n")
        .stderr_has("batch 2 of 2: web03\n");
    assert_eq!(fleet.all_serve(), ["v1", "v1", "v1", ""]);
    fleet
        .deploy("v1", "old01", &[])
        .run()
        .code(1)
        .stdout_has("stopped: old01 refused: `allow:` of old01 has no entry for ");

    fleet.release(
        "v2",
        &[("post-deploy", "echo \"canary=$FAILCAKE_CANARY who=$FAILCAKE_WHO\" >\"$FAILCAKE_SHARED/post\"")],
    );
    let said = fleet.deploy("master", "web*", &["--canary", "2", "--batch", "100%"]).run().success();
    said.stderr_has("first: web01, web02\n").stderr_has("batch 1 of 1: web03\n");
    assert_eq!(fleet.all_serve(), ["v2", "v2", "v2", ""]);
    for (node, canary) in [("web01", 1), ("web02", 1), ("web03", 0)] {
        assert_eq!(
            fleet.world.read(format!("{node}/site/shared/post")),
            format!("canary={canary} who=ops@example.org\n")
        );
    }

    // Some stay where they are.
    let said = fleet.operator(["rollback", "www", "--on", "dc=lon"]).run().success();
    said.stdout_has("www: rollback: 2 of 2 hosts live; success\n");
    assert_eq!(fleet.all_serve(), ["v1", "v2", "v1", ""]);
}

#[test]
fn on_the_embedded_broker() {
    deploys_and_goes_back(Fleet::new(&HOSTS));
}

#[test]
fn on_activemq_with_the_logins_of_the_page() {
    deploys_and_goes_back(Fleet::on(Kind::ActiveMq, &HOSTS));
}

#[test]
fn on_rabbitmq_with_the_logins_of_the_page() {
    deploys_and_goes_back(Fleet::on(Kind::RabbitMq, &HOSTS));
}

#[test]
fn programs_read_an_event_on_each_line_and_each_hosts_result() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let commit =
        fleet.release("v1", &[("pre-deploy", "echo checking $FAILCAKE_HOST; [ $FAILCAKE_HOST = web01 ] || exit 3")]);
    fleet.start();
    let said = fleet.deploy("v1", "web*", &["--json"]).run().code(1).stderr("").text();
    let events: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!(events[0]["event"], "plan");
    assert_eq!((&events[0]["site"], &events[0]["who"]), (&"www".into(), &"ops@example.org".into()));
    assert_eq!(of("canary")[0]["hosts"][0], "web01");
    assert_eq!(of("batch")[0]["hosts"][0], "web02");
    let states: Vec<String> =
        of("host").iter().map(|event| format!("{} {}", event["host"], event["state"]).replace('"', "")).collect();
    for state in
        ["web01 prepared", "web01 switching", "web01 live", "web02 prepared", "web02 switching", "web02 failed"]
    {
        assert!(states.iter().any(|known| known == state), "{state}: {states:?}");
    }
    assert!(of("stopping")[0]["why"].as_str().unwrap().starts_with("web02 failed: pre-deploy failed: "), "{said}");
    assert_eq!(of("ended")[0]["outcome"], "stopped");
    let results = of("result");
    assert_eq!(
        (&results[0]["host"], &results[0]["state"], &results[0]["commit"]),
        (&"web01".into(), &"live".into(), &commit.into())
    );
    assert_eq!(
        (&results[1]["host"], &results[1]["state"], &results[1]["failed_at"]),
        (&"web02".into(), &"failed".into(), &"pre-deploy".into())
    );
    assert_eq!(results[1]["scripts"][0]["exit"], 3);
    assert!(
        results[1]["scripts"][0]["output"].as_str().unwrap().ends_with(
            "
checking web02
"
        ),
        "{said}"
    );

    // The same after the fact, from what was kept and from the nodes.
    let said = fleet.operator(["rollout", "status", "--json"]).run().success().text();
    let after: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(after[0]["id"], events[0]["id"]);
    assert_eq!(after[1]["outcome"], "stopped");
    assert_eq!(after[2..], results, "{said}");
}

#[test]
fn a_plan_is_told_after_the_fact_and_can_not_be_gone_on_with_once_it_is_over() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.deploy("v1", "web*", &[]).run().success();
    fleet.release("v2", &[]);
    fleet.deploy("v2", "web*", &["-q"]).run().success().stdout_has("2 of 2 hosts live").stderr("");
    fleet.deploy("v1", "web*", &[]).run().success();
    let plan = fleet.newest_plan();
    fleet.operator(["rollout", "list"]).run().success().stdout_has(" on 2 hosts by ops@example.org: success\n");
    // Who reads no further ends it quietly.
    for words in [&["rollout", "list"][..], &["rollout", "list", "--json"], &["rollout", "status"], &["nodes"]] {
        fleet.operator(words).run_unread().success().stderr("");
    }
    fleet.deploy("v1", "web*", &["--dry-run"]).run_unread().success().stderr("");
    let status = |fleet: &Fleet| fleet.operator(["rollout", "status", &plan]).run().success();
    status(&fleet).stdout_has("2 of 2 hosts live; success\n").stdout_has("  web02  live  release ").stderr_has(&plan);
    fleet.operator(["rollout", "resume", &plan]).run().success().stderr_has(" is over, and every host knows it\n");
    fleet.running.remove("web02");
    status(&fleet).stdout_has("as of last heard, it does not answer now");
}

#[test]
fn without_an_inventory_those_that_answer_are_meant() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]).without_inventory();
    fleet.release("v1", &[]);
    fleet.start();
    fleet.running.remove("web02");
    let said = fleet.deploy("v1", "web*", &[]).run().success();
    said.stderr_has("there is no inventory: only hosts that answered just now are meant")
        .stdout_has("2 of 2 hosts live");
    assert_eq!(fleet.all_serve(), ["v1", "", "v1"]);
    fleet.deploy("v1", "db*", &[]).run().code(2);
}
