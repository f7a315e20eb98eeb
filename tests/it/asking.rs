//! `nodes`, `state --on` and `tags --on`: what many machines say to one question.

mod enemies;

use crate::node::operator::World;
use crate::sandbox::{Call, FAILCAKE};

const INVENTORY: &str =
    "inventory:\n  web01: { groups: [web] }\n  web02: { groups: [web], facts: { dc: lon } }\n  db01: {}\n";

/// failcake as the operator has it.
fn ann<'a>(world: &'a World, inventory: &str, words: &[&str]) -> Call<'a> {
    let signers = world.sandbox.path("allowed_signers");
    let text = format!(
        "broker: {}\nprefix: {}\nsigning: {{ allowed-signers: {} }}\n{inventory}",
        world.url,
        world.prefix,
        signers.display()
    );
    let config = world.sandbox.write("ann/failcake.yaml", text);
    world
        .sandbox
        .program(FAILCAKE, words)
        .env("FAILCAKE_CONFIG", config)
        .env("FAILCAKE_SPOOL", world.sandbox.path("ann/spool"))
}

fn world() -> World {
    let world = World::new();
    std::fs::create_dir_all(world.sandbox.path("ann/spool")).unwrap();
    world.key("web02");
    let web02 = "web02 web02 failcake-reply";
    world.allow_signers(&["ann@example.org ann failcake-plan", "web01 web01 failcake-reply", web02]);
    world
}

#[test]
fn every_machine_of_the_inventory_is_named_and_who_lags_is_marked() {
    let world = world();
    world.release("v1", &[]);
    let (one, two) = (world.host("web01", "", ""), world.host("web02", "", ""));
    for host in [&one, &two] {
        host.failcake(&["fetch"]).run().success();
        host.failcake(&["deploy", "www", "v1"]).run().success();
    }
    world.release("v2", &[]);
    one.failcake(&["fetch"]).run().success();
    one.failcake(&["deploy", "www", "v2"]).run().success();
    let (_one, _two) = (one.watch(), two.watch());

    let nodes = ann(&world, INVENTORY, &["nodes"]).run().code(1).stderr("");
    let lines: Vec<String> = nodes.text().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "db01  no answer");
    let since = lines[1].strip_prefix("web01  failcake 0.1.0 since ").unwrap_or_else(|| panic!("{lines:?}"));
    assert!(since.len() == "2026-03-02T10:00:00Z".len() && since.ends_with('Z'), "whole seconds, for people: {since}");
    assert!(lines[2].starts_with("  www  v2 (") && !lines[2].contains("behind"), "{lines:?}");
    assert!(lines[4].starts_with("  www  v1 (") && lines[4].ends_with("  behind"), "{lines:?}");

    let state = ann(&world, INVENTORY, &["state", "www", "--on", "web*", "--json"]).run().success().json();
    assert_eq!(
        (&state[0]["node"], &state[0]["behind"], &state[0]["verified"]),
        (&"web01".into(), &false.into(), &true.into())
    );
    assert_eq!((&state[1]["ref"], &state[1]["behind"]), (&"v1".into(), &true.into()));
    ann(&world, INVENTORY, &["state", "other", "--on", "web01"]).run().success().stdout_has("web01  has no such site");

    let tags = ann(&world, INVENTORY, &["tags", "spog", "--on", "web"]).run().success();
    let lines: Vec<String> = tags.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("v2  ") && lines[0].ends_with("  live on web01  not on web02"), "{lines:?}");
    assert!(lines[1].starts_with("v1  ") && lines[1].ends_with("  live on web02"), "{lines:?}");
    ann(&world, INVENTORY, &["tags", "nope", "--on", "web01"]).run().code(1).stderr_has("web01: ");
}

#[test]
fn without_an_inventory_whoever_answers_counts_and_facts_are_asked_for() {
    let world = world();
    let facts = world.sandbox.write("facts.yaml", "role: web\ndc: ams\n");
    let one = world.host("web01", "", &format!("facts-file: {}", facts.display()));
    let two = world.host("web02", "", "");
    let (_one, _two) = (one.watch(), two.watch());
    let names = |words: &[&str], inventory: &str, code: i32| -> Vec<String> {
        let nodes = ann(&world, inventory, words).run().code(code).json();
        nodes.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["nodes", "--json"], "", 0), ["web01", "web02"]);
    assert_eq!(names(&["nodes", "--json", "--on", "dc=ams"], "", 0), ["web01"]);
    // db01 may be one of them.
    assert_eq!(names(&["nodes", "--json", "--on", "role=web or dc=lon"], INVENTORY, 1), ["web01", "web02"]);
    ann(&world, "", &["nodes", "--on", "web3"]).run().code(2).stderr_has("web3");
    ann(&world, INVENTORY, &["state", "--on", "wbe01"]).run().code(2).stderr_has("web01");
}

#[test]
fn a_machine_without_a_key_is_shown_as_such_and_nobody_trusts_its_facts() {
    let world = World::new();
    std::fs::create_dir_all(world.sandbox.path("ann/spool")).unwrap();
    let facts = world.sandbox.write("facts.yaml", "role: web\n");
    let host = world.host("web09", "", &format!("facts-file: {}", facts.display()));
    let _node = host.watch();
    ann(&world, "", &["nodes"]).run().code(1).stdout_has("(not signed)");
    ann(&world, "", &["nodes", "--on", "role=web"]).run().code(2).stderr_has("role");
}

#[test]
fn without_a_broker_nobody_is_asked() {
    let world = world();
    let config = world
        .sandbox
        .write("ann/failcake.yaml", "broker: stomp://127.0.0.1:1?maxReconnectAttempts=0\ninventory: { web01: {} }\n");
    let call = world.sandbox.program(FAILCAKE, ["nodes"]).env("FAILCAKE_CONFIG", config);
    call.env("FAILCAKE_SPOOL", world.sandbox.path("ann/spool")).run().code(1).stderr_has("no broker was reached");
}
