//! `check --round-trip`: which topic it is that a login may not read or write.

use super::*;

/// What is found about each topic, by its key: level and text.
fn topics(world: &Sandbox, code: i32) -> Vec<(String, String, String)> {
    let all = world.failcake(["check", "--round-trip", "--json"]).run().code(code).json();
    let word = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let of_topics = all.as_array().unwrap().iter().filter(|finding| word(finding, "about").starts_with("topic "));
    of_topics
        .map(|finding| {
            let text = format!("{}; {}", word(finding, "text"), word(finding, "remedy"));
            (word(finding, "about").replace("topic ", ""), word(finding, "level"), text)
        })
        .collect()
}

/// A machine that fetches, whose login has half of the rights.
fn machine(kind: Kind, user: &str, commits: &str, events: &str) -> Sandbox {
    let world = world();
    let url = brokers::shared(kind).url.replace("gituser:gitpw", user);
    world.repository("spog");
    world.write(
        "failcake.yaml",
        format!(
            "broker: {url}\ntopics: {{ commits: {commits}, events-fetch: {events} }}\nrepos:\n  spog: {{ path: '{}' }}\n",
            world.path("spog.git").display()
        ),
    );
    world
}

fn each_missing_permission_is_named(kind: Kind) {
    const HALF: &str = "halfuser:halfpw";
    let (both, read, write) = ("/topic/half.both.x", "/topic/half.read.x", "/topic/half.write.x");
    // All that is needed is there. That nobody here could say a push is worth a word.
    assert_eq!(levels(&topics(&machine(kind, HALF, both, "/topic/half.both.y"), 0)), ["commits ok", "events-fetch ok"]);
    let seen = topics(&machine(kind, HALF, read, write), 0);
    assert_eq!(levels(&seen), ["commits warn", "events-fetch ok"]);
    assert!(seen[0].2.contains(&format!("{read} may not be written to")), "{seen:?}");
    assert!(seen[1].2.contains("a beat was taken; it may not be read, and nothing here does"), "{seen:?}");
    // The one that may not be read.
    let seen = topics(&machine(kind, HALF, write, both), 1);
    assert_eq!(levels(&seen), ["events-fetch ok", "commits fail"]);
    assert!(seen[1].2.contains(&format!("{write} may not be read: ")), "{seen:?}");
    assert!(seen[1].2.ends_with(&format!("let halfuser read {write}")), "{seen:?}");
    // The one that may not be written to.
    let seen = topics(&machine(kind, HALF, both, read), 1);
    assert_eq!(levels(&seen), ["commits ok", "events-fetch fail"]);
    assert!(seen[1].2.contains(&format!("{read} may not be written to: ")), "{seen:?}");
    assert!(seen[1].2.ends_with(&format!("let halfuser write to {read}")), "{seen:?}");
    // Neither.
    let seen = topics(&machine(kind, HALF, "/topic/other.x", "/topic/other.y"), 1);
    assert_eq!(levels(&seen), ["commits fail", "events-fetch fail"]);
    assert!(seen[0].2.ends_with("let halfuser read and write /topic/other.x"), "{seen:?}");
}

fn levels(seen: &[(String, String, String)]) -> Vec<String> {
    seen.iter().map(|(about, level, _)| format!("{about} {level}")).collect()
}

#[test]
fn activemq_permissions_are_told_one_by_one() {
    each_missing_permission_is_named(Kind::ActiveMq);
}

#[test]
fn rabbitmq_topic_permissions_are_told_one_by_one() {
    each_missing_permission_is_named(Kind::RabbitMq);
}

#[test]
fn a_login_that_may_write_to_no_exchange_of_rabbitmq_is_told() {
    let seen = topics(&machine(Kind::RabbitMq, "muteuser:mutepw", "/topic/mute.x", "/topic/mute.y"), 1);
    assert_eq!(levels(&seen), ["commits warn", "events-fetch fail"]);
    assert!(seen[1].2.contains("access to exchange 'amq.topic'"), "{seen:?}");
}

#[test]
fn each_topic_that_the_configuration_speaks_of_is_tried_and_nobody_takes_a_beat_for_an_event() {
    let world = world();
    let broker = world.broker();
    world.write("secret", "x\n");
    world.write(
        "failcake.yaml",
        format!(
            "broker: {}\nrepos:\n  tested: {{ path: /nowhere/t, url: /nowhere, listen: jenkins-success }}\n\
             webhook: {{ secret-file: secret }}\nkeepalive:\n  - {{ destination: /topic/alive }}\n  - {{ destination: /queue/alive }}\n\
             jenkins: {{ url: 'http://127.0.0.1:1/', projects: {{ spog: {{ job: x }} }} }}\n",
            broker.url
        ),
    );
    let listener = brokers::Listener::open(&broker.url, &["/topic/failcake.git.commits", "/queue/alive"]);
    let seen = topics(&world, 1);
    let mut names: Vec<&str> =
        seen.iter().map(|(name, level, _)| (level == "ok").then_some(name.as_str()).unwrap()).collect();
    names.sort_unstable();
    let expected = [
        "/queue/alive",
        "/topic/alive",
        "commits",
        "events-fetch",
        "events-jenkins",
        "events-webhook",
        "jenkins-failure",
        "jenkins-started",
        "jenkins-success",
    ];
    assert_eq!(names, expected);
    for frame in listener.take(2) {
        assert_eq!(frame.body, b"\n", "a beat");
    }
}

#[test]
fn a_machine_without_sections_is_a_hooks() {
    let world = world();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    assert_eq!(levels(&topics(&world, 0)), ["events-git ok", "commits ok"]);
}

/// The logins of docs/rollouts.md, in the sections that make a node and an operator.
fn the_rights_for_deploys_are_right(kind: Kind) {
    const NODE: &str = "allow: [ { who: ann, sites: ['*'], hosts: ['*'] } ]\n";
    const OPERATOR: &str = "inventory: { web01: {} }\n";
    let world = world();
    let look = |login: &str, sections: &str, code: i32| {
        let url = brokers::shared(kind).url.replace("gituser:gitpw", login);
        world.write("signers", "");
        let rest = "prefix: fleet.rights\nrepos: { spog: { path: /nowhere/spog, url: /nowhere } }\n\
                    sites: { www: { repo: spog, path: /nowhere/www } }\nsigning: { allowed-signers: signers }\n";
        world.write("failcake.yaml", format!("broker: {url}\n{rest}{sections}"));
        topics(&world, code)
    };
    let of = |seen: &[(String, String, String)], topic: &str| {
        let (_, level, text) = seen.iter().find(|(about, ..)| about == topic).unwrap_or_else(|| panic!("{seen:?}"));
        (level.clone(), text.clone())
    };
    let operator = look("ops:opspw", OPERATOR, 0);
    assert!(operator.iter().all(|(_, level, _)| level == "ok"), "{operator:?}");
    assert!(
        of(&operator, "deploy-replies").1.contains("this login can't answer plans: right for an operator"),
        "{operator:?}"
    );
    let node = look("node:nodepw", NODE, 0);
    assert!(node.iter().all(|(_, level, _)| level == "ok"), "{node:?}");
    assert!(of(&node, "deploy-requests").1.contains("this login can't send plans: right for a node"), "{node:?}");
    for login in ["ops:opspw", "node:nodepw"] {
        let either = look(login, &format!("{NODE}{OPERATOR}"), 0);
        assert!(either.iter().all(|(_, level, _)| level == "ok"), "{either:?}");
    }
    // The other's login is of no use.
    assert_eq!(of(&look("node:nodepw", OPERATOR, 1), "deploy-requests").0, "fail");
    assert_eq!(of(&look("ops:opspw", NODE, 1), "deploy-replies").0, "fail");
    // Nothing that is not on an operator's machine is missed there.
    let url = brokers::shared(kind).url.replace("gituser:gitpw", "ops:opspw");
    let text = world.read("failcake.yaml").replace(NODE, OPERATOR);
    let text = text.lines().filter(|line| !line.starts_with("broker:")).collect::<Vec<_>>().join("\n");
    world.write("failcake.yaml", format!("broker: {url}\n{text}\n"));
    let line = world.failcake(["check", "--nagios", "--round-trip"]).run().success().text();
    assert!(line.starts_with("FAILCAKE OK - "), "{line}");
}

#[test]
fn the_rights_for_deploys_are_right_on_activemq() {
    the_rights_for_deploys_are_right(Kind::ActiveMq);
}

#[test]
fn the_rights_for_deploys_are_right_on_rabbitmq() {
    the_rights_for_deploys_are_right(Kind::RabbitMq);
}
