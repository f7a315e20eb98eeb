//! `check --nagios`, and what it measures.

use nix::sys::signal::Signal;

use super::*;

/// A machine that keeps a clone of `spog`, fetched once.
struct Machine {
    world: Sandbox,
    broker: brokers::Embedded,
}

impl Machine {
    fn new(more: &str) -> Machine {
        let world = world();
        let broker = world.broker();
        let machine = Machine { world, broker };
        machine.world.repository("spog");
        machine.configure(more);
        machine.world.failcake(["fetch"]).run().success();
        machine
    }

    fn configure(&self, more: &str) {
        let folder = self.world.path("").display().to_string().trim_end_matches('/').to_owned();
        let repo = format!("path: '{folder}/clone', url: '{folder}/spog.git'");
        let more = more.replace("ROOT", &folder);
        self.world.write("failcake.yaml", format!("broker: {}\nrepos:\n  spog: {{ {repo}{more} }}\n", self.broker.url));
    }

    fn nagios(&self, words: &[&str], code: i32) -> String {
        let words = [&["check", "--nagios"], words].concat();
        let text = self.world.failcake(words).run().code(code).stderr("").text();
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim_end().to_owned()
    }

    fn branches(&self, names: &[&str], gone: bool) {
        let refs = names.iter().map(|name| if gone { format!(":{name}") } else { format!("master:{name}") });
        let words = ["push", "-q", "origin"].into_iter().map(str::to_owned).chain(refs);
        self.world.git("spog", words).run().success();
    }
}

/// `'label'=value[unit];[warn];[crit];[min];[max]`
fn numbers(line: &str) -> Vec<(String, u64)> {
    let (_, numbers) = line.split_once(" | ").unwrap_or_else(|| panic!("no numbers in {line}"));
    let mut found = Vec::new();
    let mut rest = numbers;
    while let Some(start) = rest.strip_prefix('\'') {
        let (label, after) = start.split_once("'=").unwrap();
        let (number, after) = after.split_once(' ').unwrap_or((after, ""));
        let parts: Vec<&str> = number.split(';').collect();
        assert_eq!(parts.len(), 5, "{line}");
        let value = parts[0].trim_end_matches(['s', 'B', '%']).parse().unwrap_or_else(|_| panic!("{number} in {line}"));
        assert!(
            parts[1..].iter().all(|part| part.trim_end_matches(':').parse::<u64>().is_ok() || part.is_empty()),
            "{line}"
        );
        found.push((label.to_owned(), value));
        rest = after;
    }
    assert_eq!(rest, "", "{line}");
    found
}

#[test]
fn ok_warning_critical_and_unknown() {
    let machine = Machine::new("");
    let line = machine.nagios(&[], 0);
    assert!(line.starts_with("FAILCAKE OK - "), "{line}");
    let names: Vec<String> = numbers(&line).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..5], ["spool_waiting", "spool_set_aside", "spool_oldest", "spool_used", "look"]);
    assert!(names[5].starts_with("free "), "{line}");

    machine
        .world
        .failcake(["publish", "/topic/x"])
        .stdin("x")
        .env("FAILCAKE_BROKER", "stomp://127.0.0.1:1")
        .run()
        .success();
    let line = machine.nagios(&["--oldest", "1ms,1h"], 1);
    assert!(line.starts_with("FAILCAKE WARNING - spool: ") && line.contains("failcake spool flush"), "{line}");
    assert!(numbers(&line).contains(&("spool_waiting".to_owned(), 1)), "{line}");
    assert!(machine.nagios(&["--oldest", "1ms"], 2).starts_with("FAILCAKE CRITICAL - spool: "));
    machine.nagios(&["--oldest", "off"], 0);

    machine.broker.running.signal(Signal::SIGSTOP);
    assert!(machine.nagios(&["--round-trip"], 2).starts_with("FAILCAKE CRITICAL - broker: "));
    machine.broker.running.signal(Signal::SIGCONT);

    machine.world.write("failcake.yaml", "broker: [\n");
    assert!(machine.nagios(&[], 3).starts_with("FAILCAKE UNKNOWN - config: "));
    let line = machine.world.failcake(["check", "--nagios", "--look", "soon"]).run().code(3).text();
    assert!(line.starts_with("FAILCAKE UNKNOWN - error: invalid value 'soon'"), "{line}");
}

#[test]
fn a_spool_that_fills_up_warns_and_a_full_one_fails() {
    let machine = Machine::new("");
    let world = &machine.world;
    world.write("failcake.yaml", format!("broker: {}\nspool-max-count: 5\n", machine.broker.url));
    let push = |code: i32| {
        let away = world.failcake(["publish", "/topic/x"]).stdin("x").env("FAILCAKE_BROKER", "stomp://127.0.0.1:1");
        drop(away.run().code(code));
    };
    (0..3).for_each(|_| push(0));
    assert!(numbers(&machine.nagios(&[], 0)).contains(&("spool_used".to_owned(), 60)));
    world.failcake(["spool", "list"]).run().success().stderr("");
    push(0);
    let line = machine.nagios(&[], 1);
    assert!(
        line.starts_with("FAILCAKE WARNING - spool: ") && line.contains("; nearly full: 4 of 5 events and "),
        "{line}"
    );
    assert!(line.contains("failcake spool flush") && line.contains("spool-max-count"), "{line}");
    push(0);
    push(75);
    let line = machine.nagios(&[], 2);
    assert!(line.starts_with("FAILCAKE CRITICAL - spool: ") && line.contains("; full: 5 of 5 events and "), "{line}");
    let seen = finding(world.failcake(["check", "--json"]).run().code(1), "spool");
    assert!(seen["remedy"].as_str().unwrap().contains("spool drop"), "{seen}");
    let listed = world.failcake(["spool", "list"]).run().success();
    listed.stderr_has("is full: 5 of 5 events").stderr_has("spool-max-bytes");
    world.failcake(["spool", "flush"]).run().success();
    machine.nagios(&[], 0);
}

#[test]
fn free_space_is_told_for_each_file_system_once() {
    let machine = Machine::new("");
    let line = machine.nagios(&["--free", "100%,0%"], 1);
    assert!(line.starts_with("FAILCAKE WARNING - free space: ") && line.contains("(spool, repo spog)"), "{line}");
    let free: Vec<_> = numbers(&line).into_iter().filter(|(name, _)| name.starts_with("free ")).collect();
    assert!(free.len() == 1 && free[0].1 > 0, "{line}");
    machine.nagios(&["--free", "100%"], 2);
    machine.nagios(&["--free", "off"], 0);
    machine.nagios(&["--free", "1B,1B"], 0);
}

#[test]
fn the_last_look_is_told_with_its_age_and_what_was_wrong() {
    let machine = Machine::new("");
    let world = &machine.world;
    let text = |code: i32, words: &[&str]| {
        let said = world.failcake([&["check", "--json"], words].concat()).run().code(code);
        let found = finding(said, "repo spog");
        format!("{}: {}", found["level"].as_str().unwrap(), found["text"].as_str().unwrap())
    };
    assert!(text(0, &[]).starts_with("ok: [SANDBOX]/clone, mode fetch, looked at "));
    assert!(text(0, &["--look", "1ms,1h"]).starts_with("warn: "));
    assert!(text(1, &["--look", "1ms"]).starts_with("fail: "));
    // A look that fails is told with its cause, and fails when there was no good one for long.
    std::fs::rename(world.path("spog.git"), world.path("away.git")).unwrap();
    drop(world.failcake(["fetch"]).run().code(1));
    let seen = text(0, &[]);
    assert!(seen.starts_with("warn: the last look, ") && seen.contains("spog.git' does not"), "{seen}");
    assert!(text(1, &["--look", "1ms"]).starts_with("fail: the last look, "));
    std::fs::rename(world.path("away.git"), world.path("spog.git")).unwrap();
    world.failcake(["fetch"]).run().success();
    assert!(text(0, &[]).starts_with("ok: "));
    // A link in its place is not followed, and no look fails for it.
    let note = world.path("clone/failcake.look");
    std::fs::remove_file(&note).unwrap();
    std::os::unix::fs::symlink(world.write("victim", "precious"), &note).unwrap();
    world.failcake(["fetch"]).run().success();
    assert_eq!(world.read("victim"), "precious");
    // Nor is what stands in it trusted.
    std::fs::remove_file(&note).unwrap();
    world.write("clone/failcake.look", r#"{"problem":{"since":"2012-01-01T00:00:00Z","last":"2012-01-01T00:00:00Z","text":"a\u001b[31m\nb","is_mass_removal":false}}"#);
    let said = world.failcake(["check"]).run().code(1).text();
    assert!(said.contains("failed: a [31m b (since ") && !said.contains('\u{1b}'), "{said}");
    world.write("clone/failcake.look", vec![0xff; 100_000]);
    assert!(text(0, &[]).starts_with("ok: ") && text(0, &[]).ends_with("never looked at by fetch"));
}

#[test]
fn a_held_mass_removal_fails_until_it_is_decided() {
    let machine = Machine::new(", mode: branches, target: 'ROOT/env'");
    let world = &machine.world;
    let many = ["a", "b", "c", "d", "e"];
    machine.branches(&many, false);
    world.failcake(["fetch"]).run().success();
    machine.nagios(&[], 0);
    machine.branches(&many, true);
    drop(world.failcake(["fetch"]).run().code(1));
    let found = finding(world.failcake(["check", "--json"]).run().code(1), "repo spog");
    assert_eq!(found["level"], "fail");
    let text = found["text"].as_str().unwrap();
    assert!(text.starts_with("a mass removal is held: the branches or tags of 5 directories are gone"), "{found}");
    assert!(
        text.contains("[SANDBOX]/env/a, ") && found["remedy"].as_str().unwrap().contains("--allow-mass-removal"),
        "{found}"
    );
    assert!(machine.nagios(&[], 2).starts_with("FAILCAKE CRITICAL - repo spog: a mass removal is held"));
    world.failcake(["fetch", "--allow-mass-removal"]).run().success();
    machine.nagios(&[], 0);
}

#[test]
fn a_remote_that_lists_no_branch_any_more_fails() {
    let machine = Machine::new("");
    let world = &machine.world;
    world.git("spog.git", ["update-ref", "-d", "refs/heads/master"]).run().success();
    drop(world.failcake(["fetch"]).run().code(1));
    let found = finding(world.failcake(["check", "--json"]).run().code(1), "repo spog");
    assert!(
        found["level"] == "fail" && found["text"].as_str().unwrap().contains("lists no branch any more"),
        "{found}"
    );
    world.git("spog", ["push", "-q", "origin", "master"]).run().success();
    world.failcake(["fetch"]).run().success();
    machine.nagios(&[], 0);
}

/// Root keeps the clone for another user, in whose folder it writes nothing as root.
#[test]
fn the_note_of_a_look_is_the_users() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root keeps clones for others");
        return;
    }
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let machine = Machine::new("");
    let open = |name: &str| {
        std::fs::set_permissions(machine.world.path(name), std::fs::Permissions::from_mode(0o777)).unwrap()
    };
    open("");
    machine.world.write("clones/.keep", "");
    open("clones");
    machine.world.program("chmod", ["-R", "go+rX", "spog.git"]).run().success();
    let folder = machine.world.path("").display().to_string();
    let repo = format!("path: '{folder}/clones/spog', url: '{folder}/spog.git', user: nobody");
    machine.world.write("failcake.yaml", format!("broker: {}\nrepos:\n  spog: {{ {repo} }}\n", machine.broker.url));
    machine.world.write("gitconfig", "[safe]\ndirectory = *\n");
    machine.world.failcake(["fetch"]).run().success();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let note = machine.world.path("clones/spog/failcake.look").metadata().unwrap();
    assert_eq!((note.uid(), note.gid()), (nobody.uid.as_raw(), nobody.gid.as_raw()));
    machine.nagios(&[], 0);
}
