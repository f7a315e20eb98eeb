//! Clocks that are apart, and clocks that step while a plan is under way.

use failcake::bus::Publisher;
use failcake::stomp::Frame;

use super::fleet::{Fleet, Gate};
use crate::sandbox::brokers::{Listener, target};
use crate::sandbox::{Running, Said};

const WEB: [&str; 3] = ["web01", "web02", "web03"];

/// With v1 to be deployed, and these clocks so many seconds ahead.
fn fleet(clocks: &[(&str, i64)]) -> Fleet {
    let mut fleet = Fleet::new(&WEB);
    for (who, seconds) in clocks {
        fleet.clock(who, *seconds);
    }
    fleet.release("v1", &[]);
    fleet.start();
    fleet
}

/// What it said on stderr, ended.
fn log_of(fleet: &mut Fleet, node: &str) -> String {
    fleet.node(node).signal(nix::sys::signal::Signal::SIGTERM);
    fleet.node(node).wait();
    String::from_utf8(fleet.node(node).stderr()).unwrap()
}

/// A number of seconds that is told: time passed between, and is cut.
#[track_caller]
fn tells(text: &str, before: &str, seconds: std::ops::RangeInclusive<i64>, after: &str) {
    let is_told = seconds.clone().any(|seconds| text.contains(&format!("{before}{seconds}{after}")));
    assert!(is_told, "{before}{seconds:?}{after} is not in:\n{text}");
}

/// Its clock is so many seconds off, less what the answer took.
#[track_caller]
fn tells_of(said: &Said, node: &str, seconds: i64, how: &str) {
    let before = format!("the clock of {node} is ");
    tells(said.told(), &before, seconds - 20..=seconds, &format!(" s {how} this machine's"));
}

#[test]
fn clocks_that_are_half_a_minute_apart_do_no_harm() {
    let fleet = fleet(&[("web01", 28), ("web02", -28)]);
    fleet.deploy("v1", "web*", &[]).run().success().stderr_lacks("clock");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    fleet.operator(["nodes"]).run().success().stderr("");
}

#[test]
fn a_node_that_is_two_minutes_behind_refuses_and_says_by_how_much() {
    let mut fleet = fleet(&[("web02", -120)]);
    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    let said = said.stdout_has("\n  web01  dropped\n").stdout_has("\n  web03  dropped\n");
    tells_of(&said, "web02", 120, "behind");
    let said = said.text();
    const WHY: (&str, &str) = ("the order is from ", " s in the future: the clocks differ by that");
    tells(&said, &format!("\n  web02  refused  {}", WHY.0), 100..=120, WHY.1);
    assert_eq!(fleet.all_serve(), [""; 3]);
    for verb in [["nodes"].as_slice(), &["state", "www", "--on", "web*"]] {
        let said = fleet.operator(verb).run().success().stdout_has("web02");
        tells_of(&said.stderr_lacks("clock of web01"), "web02", 120, "behind");
    }
    // Set right while it runs, it needs nothing else.
    fleet.clock("web02", 0);
    fleet.deploy("v1", "web*", &[]).run().success().stderr_lacks("clock");
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
    tells(
        &log_of(&mut fleet, "web02"),
        &format!("refused prepare of plan {}: {}", nth_plan(&fleet, 1), WHY.0),
        100..=120,
        WHY.1,
    );
}

/// The newest is 0.
fn nth_plan(fleet: &Fleet, n: usize) -> String {
    let list = fleet.operator(["rollout", "list"]).run().success().text();
    list.lines().nth(n).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_node_that_is_two_hours_ahead_refuses_and_says_so() {
    let mut fleet = fleet(&[("web02", 7200)]);
    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    tells_of(&said, "web02", 7200, "ahead of");
    let said = said.text();
    assert!(said.contains("\n  web02  refused  the order was good until 20"), "{said}");
    tells(&said, "; it was given ", 7200..=7220, " s ago by this clock: late, or the clocks differ by that\n");
    assert_eq!(fleet.all_serve(), [""; 3]);
    let said = fleet.operator(["state", "www", "--on", "web02"]).run().success();
    tells_of(&said, "web02", 7200, "ahead of");
    tells(&log_of(&mut fleet, "web02"), "; it was given ", 7200..=7220, " s ago by this clock");
}

#[test]
fn an_operator_whose_clock_is_wrong_is_told_by_every_host() {
    let mut fleet = fleet(&[("operator", 0)]);
    for (seconds, how) in [(120, "behind"), (-7200, "ahead of")] {
        fleet.clock("operator", seconds);
        let mut said = fleet.deploy("v1", "web*", &[]).run().code(1).stdout_has("0 of 3 hosts live");
        for node in WEB {
            tells_of(&said, node, i64::abs(seconds), how);
            said = said.stdout_has(&format!("\n  {node}  refused  the order "));
        }
    }
    assert_eq!(fleet.all_serve(), [""; 3]);
    fleet.clock("operator", 0);
    fleet.deploy("v1", "web*", &[]).run().success();
}

/// A rollout of v2 whose canary, web01, is held in its turn; v1 serves.
struct Turn {
    fleet: Fleet,
    gate: Gate,
    operator: Running,
}

impl Turn {
    fn of(fleet: Fleet, more: &str) -> Turn {
        let gate = fleet.gate("turn");
        fleet.deploy("v1", "web*", &["--batch", "2"]).run().success();
        let wait = gate.script();
        let script =
            format!("echo turn >>\"$FAILCAKE_SHARED/turns\"; if [ $FAILCAKE_HOST = web01 ]; then {wait}; fi; {more}");
        fleet.release("v2", &[("pre-deploy", &script)]);
        let operator = fleet.deploy("v2", "web*", &["--patience", "20s", "--on-failure", "rollback"]).start();
        gate.wait_for("web01");
        Turn { fleet, gate, operator }
    }

    /// Lets it go on, to its end; what it said on stdout and on stderr.
    fn end(&mut self, code: i32) -> (String, String) {
        self.gate.open();
        let status = self.operator.wait();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (said, told) = (text(self.operator.rest()), text(self.operator.stderr()));
        assert_eq!(status.code(), Some(code), "{said}{told}");
        assert!(!said.contains("silent") && !told.contains("silent"), "{said}{told}");
        (said, told)
    }

    fn turns(&self) -> [usize; 3] {
        WEB.map(|node| {
            let path = self.fleet.world.path(format!("{node}/site/shared/turns"));
            std::fs::read_to_string(path).unwrap_or_default().lines().count()
        })
    }

    /// Nobody keeps the site, and no staged release is left.
    fn is_over(&self) {
        assert_eq!(WEB.map(|node| self.fleet.releases(node)).iter().max(), Some(&2));
        self.fleet.deploy("v2", "web*", &["--batch", "2"]).run().success();
        assert_eq!(self.fleet.all_serve(), ["v2"; 3]);
    }
}

#[test]
fn a_nodes_clock_that_steps_before_its_turn_stops_the_rollout_and_everybody_goes_back() {
    for (seconds, why, how) in [
        (3600, "its clock went ahead: each order is over before it comes", " s ahead of this machine's"),
        (-3600, "the order is from 3", " s behind this machine's"),
    ] {
        let mut turn = Turn::of(fleet(&[("web02", 0)]), "true");
        turn.fleet.clock("web02", seconds);
        let (said, told) = turn.end(1);
        // What passed since the beginning may have been on the way.
        tells(&told, "the clock of web02 is ", 3550..=3600, how);
        assert!(said.contains(&format!("; rolled-back: web02 refused: {why}")), "{said}");
        assert!(said.contains("\n  web01  rolled back  ") && said.contains("\n  web03  dropped\n"), "{said}");
        assert_eq!((turn.fleet.all_serve(), turn.turns()), (vec!["v1".to_owned(); 3], [1, 0, 0]));
        let log = log_of(&mut turn.fleet, "web02");
        tells(&log, if seconds > 0 { "; it was given " } else { "the order is from " }, 3550..=3650, " s ");
        // It was told that the plan is over, whatever its clock says: nobody has to wait for anything.
        turn.fleet.clock("web02", 0);
        turn.fleet.start_node("web02");
        turn.fleet.listens("web02");
        turn.is_over();
    }
}

#[test]
fn a_nodes_clock_that_steps_in_its_turn_changes_nothing() {
    for seconds in [3600, -3600] {
        let mut turn = Turn::of(fleet(&[("web01", 0)]), "true");
        turn.fleet.clock("web01", seconds);
        turn.end(0);
        assert_eq!((turn.fleet.all_serve(), turn.turns()), (vec!["v2".to_owned(); 3], [1, 1, 1]));
        turn.fleet.clock("web01", 0);
        turn.fleet.operator(["rollback", "www", "--on", "web*"]).run().success();
        assert_eq!(turn.fleet.all_serve(), ["v1"; 3]);
    }
}

#[test]
fn a_node_whose_clock_stepped_in_its_turn_goes_back_with_the_others() {
    for seconds in [3600, -3600] {
        let mut turn = Turn::of(fleet(&[("web01", 0)]), "[ $FAILCAKE_HOST != web02 ]");
        turn.fleet.clock("web01", seconds);
        let (said, _) = turn.end(1);
        assert!(said.contains("\n  web01  rolled back  ") && said.contains("\n  web03  dropped\n"), "{said}");
        assert_eq!((turn.fleet.all_serve(), turn.turns()), (vec!["v1".to_owned(); 3], [1, 1, 0]));
    }
}

#[test]
fn an_operators_clock_that_steps_changes_nothing() {
    for seconds in [3600, -3600] {
        let mut turn = Turn::of(fleet(&[("operator", 0)]), "true");
        turn.fleet.clock("operator", seconds);
        let (_, told) = turn.end(0);
        assert!(!told.contains("clock"), "{told}");
        assert_eq!((turn.fleet.all_serve(), turn.turns()), (vec!["v2".to_owned(); 3], [1, 1, 1]));
        turn.fleet.clock("operator", 0);
        turn.is_over();
    }
}

/// What was ordered an hour ago is in time again, by the clock of a node that was ahead and was set back.
#[test]
fn orders_that_are_said_again_by_somebody_are_done_once_whatever_the_clock_does() {
    let mut fleet = fleet(&[("web01", 0)]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let topic = "/topic/failcake.deploy.requests";
    let requests = Listener::open(&url, &[topic]);
    fleet.deploy("v1", "web01", &[]).run().success();
    let said = requests.within(std::time::Duration::from_millis(300));
    let plan = fleet.newest_plan();
    fleet.release("v2", &[]);
    fleet.deploy("v2", "web01", &[]).run().success();
    for seconds in [3600, 400 * 86400, 0] {
        fleet.clock("web01", seconds);
        if seconds > 86400 {
            // What it forgets, it forgets when it starts, and when a plan comes.
            drop(fleet.running.remove("web01"));
            fleet.start_node("web01");
            fleet.listens("web01");
        }
        let until = std::time::Instant::now() + failcake::signature::PATIENCE;
        let mut publisher = Publisher::connect(&target(&url, None), until).unwrap();
        for frame in &said {
            let headers = ["subject", "event-type", "event-id"].into_iter();
            let headers = headers.filter_map(|name| Some((name.to_owned(), frame.header(name)?.to_owned())));
            let again = Frame::send(topic, headers.collect::<Vec<_>>(), frame.body.clone());
            publisher.publish(vec![again], until).unwrap();
            // As long as the step itself may take.
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        assert_eq!((fleet.serves("web01"), fleet.releases("web01")), ("v2".to_owned(), 2), "{seconds}");
    }
    let status = fleet.operator(["rollout", "status", &plan]).run().success().text();
    assert!(status.contains("web01") && !status.contains("no such plan"), "{status}");
}
