//! `failcake config`, and what a wrong configuration does to every other verb.

mod page;

use super::sandbox::Sandbox;

#[test]
fn show_prints_what_counts_and_where_it_came_from() {
    let world = Sandbox::new();
    world.write("passcode", "geheim\n");
    world.write(
        "failcake.yaml",
        "broker: stomp://git:letmein@broker01:61614\npasscode-file: passcode\nprefix: future\n\
         repos:\n  spog: { path: /data/spog, url: 'https://ann:token@git/spog', mode: normal }\n",
    );
    let text = world.failcake(["config", "show"]).run().success().stderr("").text();
    assert!(text.starts_with("# from [SANDBOX]/failcake.yaml\n"), "{text}");
    for line in ["prefix: future", "commits: /topic/future.git.commits", "reconcile: 5m", "mode: fetch"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    for secret in ["geheim", "letmein", "token@"] {
        assert!(!text.contains(secret), "{secret:?} is shown:\n{text}");
    }
    let json = world.failcake(["config", "show", "--json"]).run().success().json();
    assert_eq!(json["config"]["repos"]["spog"]["path"], "/data/spog");
    assert_eq!(json["files"], serde_json::json!(["[SANDBOX]/failcake.yaml"]));
}

#[test]
fn what_show_prints_is_a_configuration_itself() {
    let world = Sandbox::new();
    world.write(
        "failcake.yaml",
        "repos:\n  spog: { path: /data/spog }\nsites:\n  www: { repo: spog, path: /srv/www, shared: [uploads] }\n\
         inventory: { web01: { groups: [web] } }\nallow: [ { who: ann, sites: ['*'], hosts: ['*'] } ]\n\
         keepalive: [ { destination: /topic/a } ]\naccess: { www: { type: haproxy, file: /etc/list } }\n",
    );
    let first = world.failcake(["config", "show", "--json"]).run().success().json();
    let text = world.failcake(["config", "show"]).run().success().text();
    world.write("failcake.yaml", text.replace("[SANDBOX]", world.path("").to_str().unwrap().trim_end_matches('/')));
    let second = world.failcake(["config", "show", "--json"]).run().success().json();
    assert_eq!(first, second);
}

#[test]
fn the_file_may_be_named_before_or_after_the_verb_or_by_the_environment() {
    let world = Sandbox::new();
    let file = world.write("own.yaml", "prefix: own\n");
    let file = file.to_str().unwrap();
    world.failcake(["-c", file, "config", "show"]).run().success().stdout_has("prefix: own");
    world.failcake(["config", "show", "--config", file]).run().success().stdout_has("prefix: own");
    world.failcake(["config", "show"]).env("FAILCAKE_CONFIG", file).run().success().stdout_has("prefix: own");
    let unset = world.failcake(["config", "show"]).env("FAILCAKE_CONFIG", "").env("FAILCAKE_BROKER", "");
    unset.run().success().stdout_has("prefix: failcake").stdout_has("stomp://localhost:61613");
}

#[test]
fn a_mistake_exits_with_2_and_says_where_and_what_to_do() {
    let world = Sandbox::new();
    world.write("failcake.yaml", "prefix: x\nrepos:\n  spog: { pth: /data/spog }\n");
    let said = world.failcake(["config", "show"]).run().code(2).stdout("");
    said.stderr("failcake: [SANDBOX]/failcake.yaml:3: unknown key \"pth\": did you mean \"path\"?\n");
    world.failcake(["config"]).run().code(2).stdout("");
    world.failcake(["no-such-verb"]).run().code(2).stdout("");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = Sandbox::new();
    let script = format!("{} config show --json | head -c 1; exit ${{PIPESTATUS[0]}}", super::sandbox::FAILCAKE);
    // The first octet is gone before the rest is written only by chance, so many times.
    for _ in 0..10 {
        world.program("bash", ["-c", &script]).run().success().stdout("{").stderr("");
    }
    let script = format!("exec {} config show >/dev/full", super::sandbox::FAILCAKE);
    world.program("bash", ["-c", &script]).run().code(1).stderr_has("failcake: No space left on device");
}
