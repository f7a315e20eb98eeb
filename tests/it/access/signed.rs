//! Only who may, lets in: forged, altered, stale, replayed and hostile orders, and keys that can't sign.

use super::*;

/// Each with the words of its refusal.
#[test]
fn forged_altered_and_foreign_orders_are_refused_with_the_reason() {
    let world = World::new();
    world.key("id_eve");
    world.key("id_old");
    let (eve, old) = (world.sandbox.read("id_eve.pub"), world.sandbox.read("id_old.pub"));
    let signers = world.sandbox.read("allowed_signers");
    world.sandbox.write(
        "allowed_signers",
        format!("{signers}eve@example.org {eve}old@example.org valid-before=\"20200101\" {old}"),
    );
    let rule = |who: &str| format!("  - {{ who: {who}, access: ['*'], hosts: ['*'] }}\n");
    let rules = format!("allow:\n{}{}", rule("ops@example.org"), rule("old@example.org"));
    world.node_with("web01", &world.entry("web01", "preview", "nginx", ""), &rules);
    let mut watcher = world.watch("web01");
    let heard = Listener::open(&world.url, &[&world.events]);

    let order = || world.order("ann", SignedDuration::from_hours(1));
    let by = |who: &str| Order { who: who.parse().unwrap(), ..order() };
    let altered = |order: &Order, from: &str, to: &str| {
        let mut frame = world.signed(order);
        let text = String::from_utf8(frame.body).unwrap();
        assert!(text.contains(from), "{text}");
        frame.body = text.replace(from, to).into_bytes();
        frame
    };
    let (asked, eves, stale) = (
        order(),
        by("eve@example.org"),
        Order { not_after: Timestamp::now() - SignedDuration::from_secs(5), ..order() },
    );
    let future = Order { issued: Timestamp::now() + SignedDuration::from_mins(10), ..order() };
    let future = Order { not_after: future.issued + SignedDuration::from_mins(1), ..future };
    let olds = by("old@example.org");
    for (frame, said) in [
        (world.frame(&asked, world.signature(&asked, "id_eve", NAMESPACE)), "gives that key to no ops@example.org"),
        (world.frame(&asked, world.signature(&asked, "id_ops", "failcake-plan")), "namespace does not match"),
        (world.frame(&asked, String::new()), "the signature does not hold"),
        (altered(&asked, "\\\"user\\\":\\\"ann\\\"", "\\\"user\\\":\\\"bob\\\""), "incorrect signature"),
        (world.frame(&eves, world.signature(&eves, "id_eve", NAMESPACE)), "no rule of `allow:` lets eve@example.org"),
        (world.frame(&olds, world.signature(&olds, "id_old", NAMESPACE)), "key has expired"),
        (world.signed(&stale), "s ago: this machine was away for too long, or clocks are apart"),
        (world.signed(&future), "s from now: clocks are apart"),
    ] {
        world.send(frame);
        watcher.stderr_line(said);
        let line = String::from_utf8(heard.take(1).remove(0).body).unwrap();
        assert!(line.starts_with("web01 problem: refused access to preview for ") && line.contains(said), "{line}");
    }
    // The sound one among them, at last: so all before it were looked at.
    world.send(world.signed(&asked));
    watcher.stdout_line("allowed access to preview for ann");
    assert_eq!(world.text("web01", "preview").lines().count(), 1);
}

#[test]
fn what_makes_no_sense_is_told_by_what_is_wrong_with_it() {
    for (from, to, said) in [
        ("$6$rounds=1000", "$6$rounds=500000", "its rounds are not from 1000 to 10000"),
        ("\"version\":1", "\"version\":2", "it is written in version 2"),
        ("\\\"ann\\\"", "\\\"an\\\\nn\\\"", "is no login name"),
        ("\\\"preview\\\"", "\\\"../../etc\\\"", "is no site name"),
        ("ops@example.org", "-Oprint-pubkey", "it begins with '-'"),
        ("\"access\"", "\"deploy\"", "missing field `access`"),
    ] {
        let world = World::new();
        world.node("web01", &world.entry("web01", "preview", "nginx", ""));
        let mut watcher = world.watch("web01");
        let mut frame = world.signed(&world.order("ann", SignedDuration::from_hours(1)));
        frame.body = String::from_utf8(frame.body).unwrap().replace(from, to).into_bytes();
        world.send(frame);
        let line = watcher.stderr_line("dropped a malformed message");
        assert!(line.contains(said), "{line}");
        assert_eq!(world.text("web01", "preview"), "");
    }
}

#[test]
fn an_order_counts_once_across_kills_and_whatever_is_said_again() {
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    let mut watcher = world.watch("web01");
    let granted = world.signed(&world.order("ann", SignedDuration::from_hours(1)));
    world.send(granted.clone());
    watcher.stdout_line("allowed access to preview for ann");
    let text = world.text("web01", "preview");
    world.send(granted.clone());
    world.access("ops", &["revoke", "preview", "ann"]).success();
    watcher.stdout_line("ended access to preview for ann (revoked by ops@example.org)");
    watcher.signal(nix::sys::signal::Signal::SIGKILL);
    watcher.wait();
    // Whoever recorded it says it again, to a node that was started anew.
    let mut watcher = world.watch("web01");
    world.send(granted);
    watcher.stderr_line("and a later order of");
    assert_eq!(world.text("web01", "preview"), "");
    // And a file that was played back from a backup does not stay.
    std::fs::write(world.file("web01", "preview"), text).unwrap();
    watcher.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("mended", || world.text("web01", "preview").is_empty());
}

#[test]
fn hostile_words_on_the_command_line_go_nowhere() {
    let world = World::new();
    for words in [
        &["grant", "../x", "ann"][..],
        &["grant", "a b", "ann"],
        &["grant", "preview", "an:n"],
        &["grant", "preview", "ann\nroot"],
        &["grant", "preview", "#ann"],
        &["grant", "preview", "an n"],
        &["grant", "--", "preview", "-ann"],
        &["revoke", "preview", "an:n"],
        &["grant", "preview", "ann", "--for", "367d"],
        &["grant", "preview", "ann", "--for", "5s"],
        &["grant", "preview", "ann", "--within", "8d"],
        &["--watch", "--drain"],
        &[],
    ] {
        world.access("ops", words).code(2).stdout("");
    }
    // An operator's machine keeps no file.
    world.access("ops", &["--watch"]).code(2).stderr_has("below `access:`");
    world.access("ops", &["list"]).code(2).stderr_has("below `access:`");
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    world.access("web01", &["expire", "previw"]).code(2).stderr_has("there is no previw below `access:`, only preview");
}

#[test]
fn an_order_is_never_spooled() {
    let world = World::new();
    let text = world.sandbox.read("ops.yaml");
    world.sandbox.write("ops.yaml", text.replace(&world.url, "stomp://127.0.0.1:1"));
    for words in [&["grant", "preview", "ann"][..], &["revoke", "preview", "ann"]] {
        let ran = world.access("ops", words).code(1).stdout("");
        ran.stderr_has("nothing was sent, nothing has changed, and nothing is tried later");
    }
    assert!(!world.sandbox.path("spool").exists(), "not even a spool");
}

#[test]
fn who_signs_is_known_or_asked_for() {
    let world = World::new();
    let bus = world.bus();
    world.sandbox.write("ops.yaml", format!("{bus}signing: {{ key: id_ops }}\n"));
    world.access("ops", &["grant", "preview", "ann"]).code(2).stderr_has("who are you?");
    world.key("id_eve");
    world.sandbox.write("ops.yaml", format!("{bus}signing: {{ key: id_eve, allowed-signers: allowed_signers }}\n"));
    world.access("ops", &["grant", "preview", "ann"]).code(1).stdout("").stderr_has("can't tell whose key");
    let as_ops =
        format!("{bus}signing: {{ key: id_eve, principal: ops@example.org, allowed-signers: allowed_signers }}\n");
    world.sandbox.write("ops.yaml", as_ops);
    world.access("ops", &["grant", "preview", "ann"]).code(1).stdout("").stderr_has("no node would take it");
    world.sandbox.write("ops.yaml", format!("{bus}signing: {{ principal: ops@example.org }}\n"));
    world.access("ops", &["grant", "preview", "ann"]).code(1).stdout("").stderr_has("start an ssh-agent and `ssh-add`");
}

/// On a terminal that could be asked, a passphrase is asked of nobody.
#[test]
fn a_key_with_a_passphrase_is_refused_at_once_also_on_a_terminal() {
    let world = World::new();
    let words = ["-q", "-t", "ed25519", "-N", "secret", "-C", "", "-f", "id_locked"];
    world.sandbox.program("ssh-keygen", words).run().success();
    let bus = world.bus();
    world.sandbox.write("ops.yaml", format!("{bus}signing: {{ key: id_locked, principal: ops@example.org }}\n"));
    let command = format!("{} -c ops.yaml access grant preview ann", crate::sandbox::FAILCAKE);
    let started = Instant::now();
    // script(1) runs it on a terminal of its own.
    let ran = world.sandbox.program("script", ["-qec", &command, "/dev/null"]).run();
    ran.code(1).stdout_has("passphrase").stdout_has("ssh-add");
    assert!(started.elapsed() < Duration::from_secs(25), "it waited for a person");
}
