//! Several nodes, nodes that are away, both real brokers, the old tools.

use super::*;

#[test]
fn two_nodes_take_what_is_theirs_and_leave_the_rest() {
    let world = World::new();
    for node in ["web01", "web02"] {
        world.node(node, &world.entry(node, "preview", "nginx", ""));
    }
    world.node("web03", &world.entry("web03", "other", "nginx", ""));
    world.node("db01", &world.entry("db01", "preview", "nginx", ""));
    let mut watchers = ["web01", "web02", "web03", "db01"].map(|node| world.watch(node));
    // At the same time, by several operators.
    let users: Vec<String> = (0..8).map(|n| format!("user{n}")).collect();
    let grant = |user| world.sandbox.failcake(["-c", "ops.yaml", "access", "grant", "preview", user]).start();
    let running: Vec<Running> = users.iter().map(|user| grant(user)).collect();
    for mut grant in running {
        assert!(grant.wait().success(), "{}", String::from_utf8_lossy(&grant.stderr()));
    }
    for node in ["web01", "web02"] {
        wait_for("all are in", || world.text(node, "preview").lines().count() == users.len());
    }
    assert_eq!(world.text("web01", "preview"), world.text("web02", "preview"));
    watchers[3].stderr_line("no rule of `allow:` lets ops@example.org grant access to preview on db01");
    assert_eq!((world.text("web03", "other"), world.text("db01", "preview")), (String::new(), String::new()));
    let list = world.access("web02", &["list", "--json"]).success().json();
    let of =
        |key: &str| -> Vec<&str> { list.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap()).collect() };
    assert_eq!((of("user"), of("state")), (users.iter().map(String::as_str).collect(), vec!["live"; 8]));
}

/// Away for both orders, with a durable subscription; away for too long; away while it was killed.
fn away_and_back(kind: Kind, name: &str) {
    let world = World::at_real(kind, name);
    world.node(&format!("web01{name}"), &world.entry(&format!("web01{name}"), "preview", "nginx", ""));
    let node = &format!("web01{name}");
    // The first drain makes the subscription.
    world.access(node, &["--drain"]).success();
    assert_eq!(world.text(node, "preview"), "");
    world.grant("preview", "ann", &[]);
    world.grant("preview", "bob", &[]);
    world.grant("preview", "eve", &["--within", "1s"]);
    world.access("ops", &["revoke", "preview", "bob"]).success();
    std::thread::sleep(Duration::from_millis(1500));
    let said = world.access(node, &["--drain"]).success().stderr_has("eve by ops@example.org: it could be taken until");
    let said = said.text();
    assert!(said.contains("allowed access to preview for ann until"), "{said}");
    let text = world.text(node, "preview");
    assert!(text.starts_with("ann:") && text.lines().count() == 1, "{text}");
    // A watcher of the same node goes on with the same subscription.
    let config = world.sandbox.read(format!("{node}.yaml"));
    world.sandbox.write(&format!("{node}.yaml"), format!("durable: true\n{config}"));
    let mut watcher = world.watch(node);
    world.grant("preview", "carl", &[]);
    watcher.stdout_line("allowed access to preview for carl");
    watcher.signal(nix::sys::signal::Signal::SIGKILL);
    watcher.wait();
    world.access("ops", &["revoke", "preview", "carl"]).success();
    let mut watcher = world.watch(node);
    watcher.stdout_line("ended access to preview for carl");
    assert_eq!(world.text(node, "preview"), text);
    // What it told, everybody could hear.
    let heard = Listener::open(&world.url, &[&world.events]);
    world.access("ops", &["revoke", "preview", "ann"]).success();
    let lines: Vec<String> = heard.take(2).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    assert!(lines.contains(&"Revoke access to preview for ann".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&format!("{node} ended access to preview for ann (revoked by ops@example.org)")),
        "{lines:?}"
    );
}

#[test]
fn a_node_that_was_away_catches_up_through_activemq() {
    away_and_back(Kind::ActiveMq, "amq");
}

#[test]
fn a_node_that_was_away_catches_up_through_rabbitmq() {
    away_and_back(Kind::RabbitMq, "rmq");
}

/// No broker, and cron instead of a watcher.
#[test]
fn what_is_over_ends_without_a_broker() {
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    let mut watcher = world.watch("web01");
    world.send(world.signed(&world.order("ann", SignedDuration::from_secs(6))));
    world.send(world.signed(&world.order("bob", SignedDuration::from_secs(3))));
    watcher.stdout_line("for bob until");
    wait_for("both are in", || world.text("web01", "preview").lines().count() == 2);
    let World { sandbox, _broker, .. } = &world;
    let broker = _broker.as_ref().unwrap();
    broker.running.signal(nix::sys::signal::Signal::SIGKILL);
    watcher.stderr_line("no broker");
    watcher.stdout_line("ended access to preview for bob (expired)");
    watcher.signal(nix::sys::signal::Signal::SIGTERM);
    watcher.wait();
    assert!(world.text("web01", "preview").starts_with("ann:"));
    wait_for("overdue", || {
        let list = sandbox.failcake(["-c", "web01.yaml", "access", "list"]).run().success().text();
        list.contains("overdue since")
    });
    // Told by check only when it is late by more than clocks may be apart; here the file is what tells.
    let all = sandbox.failcake(["-c", "web01.yaml", "check", "--json"]).run().code(1).json();
    let rows: Vec<String> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["about"] == "access preview")
        .map(|row| row["level"].to_string())
        .collect();
    assert_eq!(rows[0], "\"fail\"", "{all}");
    world.access("web01", &["expire"]).success().stdout("ended access to preview for ann (expired)\n").stderr("");
    assert_eq!(world.text("web01", "preview"), "");
    world.access("web01", &["expire"]).success().stdout("").stderr("");
}

#[test]
fn the_old_tools_passwords_are_taken_only_where_that_is_allowed() {
    let world = World::new();
    let access = world.entry("web01", "preview", "nginx", "")
        + &world.entry("web01", "old", "haproxy", ", accept-cleartext: true");
    world.node("web01", &access);
    let mut watcher = world.watch("web01");
    let tell = |body: &str| {
        world.sandbox.failcake(["-c", "ops.yaml", "publish", &world.topic]).stdin(body).run().success();
    };
    tell("Site: preview\nUser: ann\nPassword: geheim\n");
    watcher.stderr_line("refused access to preview for ann, which nobody signed: the password is in the clear");
    // As Debian's ruby-stomp says it.
    let ruby = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/old_machine.rb");
    let url = world.url.replace("stomp://", "stomp://gituser:gitpw@");
    let words = [ruby, &url, "access", world.topic.trim_start_matches("/topic/"), "old", "ann", "geheim"];
    world.sandbox.program("ruby", words).run().success();
    let line = watcher.stdout_line("allowed access to old for ann until");
    assert!(line.contains("in the clear: everybody on the bus could read that password"), "{line}");
    tell("Site: old\nUser: ann:x\nPassword: geheim\n");
    watcher.stderr_line("refused a message that is no order: User: ");
    let text = world.text("web01", "old");
    let hash = text.split_whitespace().find(|word| word.starts_with("$6$")).unwrap();
    let script = "print crypt($ARGV[0], $ARGV[1])";
    world.sandbox.program("perl", ["-e", script, "geheim", hash]).run().success().stdout(hash);
    assert_eq!(world.text("web01", "preview"), "");
    // A signed order ends it, and after that nothing unsigned counts.
    world.access("ops", &["revoke", "old", "ann"]).success();
    watcher.stdout_line("ended access to old for ann");
    tell("Site: old\nUser: ann\nPassword: geheim\n");
    watcher.stderr_line("it is in the clear, and a signed order for that login counts");
    // Nobody kept the password: not the ledger, not the spool.
    let folder = world.sandbox.path("").display().to_string();
    world.sandbox.program("grep", ["-rl", "geheim", &folder]).run().code(1).stdout("");
}

#[test]
fn a_reload_brings_new_sites_and_keeps_the_old_configuration_when_the_new_one_is_bad() {
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    let mut watcher = world.watch("web01");
    let good = world.sandbox.read("web01.yaml");
    world.sandbox.write("web01.yaml", format!("{good}  other: {{ type: apache, file: /x }}\n"));
    watcher.signal(nix::sys::signal::Signal::SIGHUP);
    watcher.stderr_line("the new configuration is bad, the old one goes on");
    world.grant("preview", "ann", &[]);
    watcher.stdout_line("allowed access to preview for ann");
    world.sandbox.write("web01.yaml", good + &world.entry("web01", "other", "nginx", ""));
    watcher.signal(nix::sys::signal::Signal::SIGHUP);
    watcher.stderr_line("the configuration was read again");
    watcher.stderr_line("listening to");
    world.grant("other", "ann", &[]);
    watcher.stdout_line("allowed access to other for ann");
    watcher.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), Some(0));
}

#[test]
fn check_tells_who_may_who_reads_and_what_is_owed() {
    let world = World::new();
    let reload = ", reload: [/bin/false]";
    let access = world.entry("web01", "preview", "nginx", reload)
        + &world.entry("web01", "old", "haproxy", ", accept-cleartext: true");
    world.node_with("web01", &access, "allow: [ { who: ops@example.org, access: [preview], hosts: ['*'] } ]\n");
    let rows = |code| -> Vec<String> {
        let all = world.sandbox.failcake(["-c", "web01.yaml", "check", "--json"]).run().code(code).json();
        let rows = all.as_array().unwrap().iter().filter(|row| row["about"].as_str().unwrap().starts_with("access "));
        rows.map(|row| format!("{} {} {}", row["level"], row["about"], row["text"]).replace('"', "")).collect()
    };
    let has = |rows: &[String], begin: &str, words: &str| {
        assert!(rows.iter().any(|row| row.starts_with(begin) && row.contains(words)), "{begin:?} {words:?}: {rows:#?}");
    };
    let seen = rows(0);
    has(&seen, "warn access preview", "is not there yet");
    has(&seen, "warn access old", "no rule lets anybody grant access to it on web01");
    has(&seen, "warn access old", "accept-cleartext: is on");
    has(&seen, "warn access old", "nothing reloads it");
    world.access("web01", &["expire"]).code(1).stderr_has("`reload:` failed, which is tried again");
    let seen = rows(1);
    has(&seen, "fail access preview", "its reload has not succeeded");
    has(&seen, "ok access old", "temporary logins: 0");
    std::fs::set_permissions(world.file("web01", "old"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::remove_file(world.sandbox.path("allowed_signers")).unwrap();
    let seen = rows(1);
    has(&seen, "warn access old", "every user here may read");
    has(&seen, "fail access preview", "so no signature counts");
}
