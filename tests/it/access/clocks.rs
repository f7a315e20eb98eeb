//! The node's clock is another than the operator's, or steps.

use super::*;
use crate::sandbox::clock::Clock;

/// A node that listens, by that clock.
fn watch(world: &World, clock: &Clock) -> Running {
    let mut watcher = world.sandbox.failcake(["-c", "web01.yaml", "access", "--watch"]).by(clock).start();
    watcher.stderr_line("listening to");
    watcher
}

fn world() -> World {
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    world
}

#[test]
fn a_clock_that_steps_over_the_end_ends_it_and_nothing_comes_back_with_it() {
    let world = world();
    let clock = world.sandbox.clock(0);
    let mut watcher = watch(&world, &clock);
    // An order that may be taken for a week, and is recorded.
    let mut order = world.order("ann", SignedDuration::from_hours(1));
    order.not_after = order.issued + SignedDuration::from_hours(7 * 24);
    let frame = world.signed(&order);
    world.send(frame.clone());
    watcher.stdout_line("allowed access to preview for ann");
    assert!(world.text("web01", "preview").starts_with("ann:"));
    // It has nothing to do but to wait for the end.
    std::thread::sleep(Duration::from_secs(2));
    clock.set(2 * 3600);
    watcher.stdout_line("ended access to preview for ann (expired)");
    assert_eq!(world.text("web01", "preview"), "");
    for seconds in [0, -3600, 30 * 86400, 0] {
        clock.set(seconds);
        // Whatever is to be forgotten, is, and what is said again is no news: also to a node that was started anew.
        world.sandbox.failcake(["-c", "web01.yaml", "access", "expire"]).by(&clock).run().success().stderr("");
        world.send(frame.clone());
        watcher.signal(nix::sys::signal::Signal::SIGTERM);
        watcher.wait();
        watcher = watch(&world, &clock);
        world.send(frame.clone());
        world.send(world.signed(&world.order("bob", SignedDuration::from_hours(1))));
        match seconds {
            0 => drop(watcher.stdout_line("allowed access to preview for bob until")),
            -3600 => drop(watcher.stderr_line("for bob by ops@example.org: it was given 3")),
            _ => drop(watcher.stderr_line("for bob by ops@example.org: it could be taken until ")),
        }
        assert!(!world.text("web01", "preview").contains("ann"), "{seconds}");
    }
}

#[test]
fn what_was_revoked_stays_so_when_the_clock_was_ahead_by_weeks() {
    let world = world();
    let clock = world.sandbox.clock(0);
    let mut watcher = watch(&world, &clock);
    let mut order = world.order("ann", SignedDuration::from_hours(24));
    order.not_after = order.issued + SignedDuration::from_hours(7 * 24);
    let frame = world.signed(&order);
    world.send(frame.clone());
    watcher.stdout_line("allowed access to preview for ann");
    world.access("ops", &["revoke", "preview", "ann"]).success();
    watcher.stdout_line("ended access to preview for ann (revoked by ops@example.org)");
    clock.set(20 * 86400);
    world.sandbox.failcake(["-c", "web01.yaml", "access", "expire"]).by(&clock).run().success();
    clock.set(0);
    world.send(frame);
    watcher.stderr_line("refused access to preview for ann by ops@example.org: it is of ");
    assert_eq!(world.text("web01", "preview"), "");
}

#[test]
fn a_node_whose_clock_is_apart_says_by_how_much() {
    let world = world();
    let clock = world.sandbox.clock(-120);
    let mut watcher = watch(&world, &clock);
    world.grant("preview", "ann", &[]);
    let line = watcher.stderr_line("refused access to preview for ann by ops@example.org: it was given 1");
    assert!(
        line.contains(" s from now: clocks are apart, look at the one of this machine and at its giver's"),
        "{line}"
    );
    clock.set(30);
    world.grant("preview", "ann", &[]);
    watcher.stdout_line("allowed access to preview for ann");
}
