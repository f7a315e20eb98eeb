//! A watcher is killed in the middle of a check or a reload that has started something.

use nix::sys::signal::Signal;

use super::*;

fn killed_in(key: &str) {
    let world = World::new();
    let at = world.sandbox.path("").display().to_string();
    let script = "[ -e stay ] || exit 0; sleep 1000 & echo $! >left.new; mv left.new left; wait";
    let command = format!(", {key}: [/bin/sh, -c, 'cd {at}; {script}']");
    world.node("web01", &world.entry("web01", "preview", "haproxy", &command));
    // The header, with a check and a reload that nobody is to wait in.
    world.access("web01", &["expire"]).success();
    assert!(world.text("web01", "preview").contains("userlist"));
    let mut watcher = world.watch("web01");
    // Ended well, what it starts is a server's, perhaps.
    world.sandbox.write("stay", "");
    world.grant("preview", "ann", &[]);
    wait_for("the program", || world.sandbox.path("left").exists());
    watcher.signal(Signal::SIGKILL);
    watcher.wait();
    let left = world.sandbox.read("left").trim().to_owned();
    let is_alive = || std::fs::read_to_string(format!("/proc/{left}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(is_alive(), "it was left behind");
    std::fs::remove_file(world.sandbox.path("stay")).unwrap();
    let mut watcher = world.sandbox.failcake(["-c", "web01.yaml", "access", "--watch"]).start();
    watcher.stderr_line(&format!("ending process {left}, which a killed run on "));
    wait_for("its end", || !is_alive());
    wait_for("the login", || world.text("web01", "preview").contains("ann"));
}

#[test]
fn what_a_killed_check_had_started_ends_when_it_watches_again() {
    killed_in("check");
}

#[test]
fn what_a_killed_reload_had_started_ends_when_it_watches_again() {
    killed_in("reload");
}

#[test]
fn what_a_reload_that_ended_well_has_started_is_left_in_peace() {
    let world = World::new();
    let at = world.sandbox.path("").display().to_string();
    // As a server's own script begins a server.
    let script = format!(
        "cd {at}; [ -e left ] || setsid sh -c \"echo \\$\\$ >left.new; mv left.new left; exec sleep 60\" >/dev/null 2>&1 & until [ -e left ]; do sleep 0.01; done"
    );
    world.node("web01", &world.entry("web01", "preview", "haproxy", &format!(", reload: [/bin/sh, -c, '{script}']")));
    world.access("web01", &["expire"]).success();
    wait_for("the server", || world.sandbox.path("left").exists());
    let mut watcher = world.watch("web01");
    world.grant("preview", "ann", &[]);
    watcher.stdout_line("allowed access to preview for ann");
    let left = world.sandbox.read("left").trim().to_owned();
    let stat = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap();
    assert!(!stat.contains(") Z "), "{stat}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left.parse().unwrap()), Signal::SIGKILL).unwrap();
}
