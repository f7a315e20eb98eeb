//! Builds followed from the queue to their result.

use nix::sys::signal::Signal;

use super::*;

const STARTED: &str = "/topic/failcake.jenkins.started";
const SUCCESS: &str = "/topic/failcake.jenkins.success";
const FAILURE: &str = "/topic/failcake.jenkins.failure";

fn machine() -> Machine {
    let machine = Machine::new("spog: { job: team/spog, parameters: { ID: '{event-id}' } }");
    machine.jenkins.job("team/spog", Job { parameterized: true, ..Job::default() });
    machine
}

fn json(frame: &Frame) -> serde_json::Value {
    let body = std::str::from_utf8(&frame.body).unwrap();
    serde_json::from_str(body.lines().last().unwrap().strip_prefix("JSON: ").unwrap()).unwrap()
}

#[test]
fn a_build_is_told_from_its_start_to_its_result_with_the_pushs_name() {
    let machine = machine();
    for (result, topic, status) in [
        ("SUCCESS", SUCCESS, "Success"),
        ("FAILURE", FAILURE, "Cake"),
        ("UNSTABLE", FAILURE, "Unstable"),
        ("ABORTED", FAILURE, "Aborted"),
        ("NOT_BUILT", FAILURE, "Aborted"),
    ] {
        let (begun, ended) = (Listener::open(&machine.broker, &[STARTED]), Listener::open(&machine.broker, &[topic]));
        let mut watcher = machine.watch(&["--follow"]);
        let push = machine.push("refs/heads/master", COMMIT);
        machine.jenkins.wait_for_waiting(1);
        machine.jenkins.leave_queue();
        let begun = begun.take(1).remove(0);
        let number = machine.jenkins.state().jobs["team/spog"].builds.len();
        assert_eq!(begun.header("subject").unwrap(), format!("Begin job {number} - [team/spog] master {COMMIT}"));
        assert_eq!(json(&begun)["cause"], push.to_string());
        machine.jenkins.finish("team/spog", number, result);
        let ended = json(&ended.take(1).remove(0));
        let url = format!("{}job/team/job/spog/{number}/", machine.jenkins.url);
        assert_eq!(
            (&ended["status"], &ended["url"], &ended["after"], &ended["cause"]),
            (&status.into(), &url.into(), &COMMIT.into(), &push.to_string().into()),
            "{result}"
        );
        // Killed now, it might tell the result again under the same name.
        watcher.signal(Signal::SIGTERM);
        assert_eq!(watcher.wait().code(), Some(0));
        machine.jenkins.forget_items();
    }
    assert!(machine.jenkins.asked("steal").is_empty());
}

#[test]
fn a_killed_watcher_goes_on_where_it_was() {
    let machine = machine();
    let ended = Listener::open(&machine.broker, &[SUCCESS]);
    let mut watcher = machine.watch(&["--follow"]);
    machine.push("refs/heads/one", COMMIT);
    machine.push("refs/heads/two", COMMIT);
    machine.jenkins.wait_for_waiting(2);
    watcher.stdout_line("triggered");
    watcher.stdout_line("triggered");
    watcher.signal(Signal::SIGKILL);
    watcher.wait();
    // Meanwhile the builds ran, and Jenkins forgot how they came.
    machine.jenkins.leave_queue();
    machine.jenkins.finish("team/spog", 1, "SUCCESS");
    machine.jenkins.finish("team/spog", 2, "SUCCESS");
    machine.jenkins.forget_items();
    let mut watcher = machine.watch(&["--follow"]);
    watcher.stdout_line("success for [spog] refs/heads/");
    watcher.stdout_line("success for [spog] refs/heads/");
    assert_eq!(ended.take(2).len(), 2);
    assert_eq!(machine.jenkins.asked("buildWithParameters").len(), 2);
    assert_eq!(machine.listed(), "");
}

#[test]
fn a_person_waits_for_the_result_and_gets_it_as_exit_status() {
    let machine = machine();
    for (number, result, code) in [(1, "SUCCESS", 0), (2, "FAILURE", 1)] {
        let words = ["jenkins-trigger", "spog", "master", "--follow", "--json"];
        let mut running = machine.world.failcake(words).start();
        machine.jenkins.wait_for_waiting(1);
        machine.jenkins.leave_queue();
        running.stdout_line("\"status\":\"started\"");
        machine.jenkins.finish("team/spog", number, result);
        let line: serde_json::Value = serde_json::from_str(&running.stdout_line("\"what\":\"build\"")).unwrap();
        assert_eq!((&line["number"], &line["status"]), (&number.into(), &result.to_lowercase().into()));
        assert_eq!(running.wait().code(), Some(code));
        machine.jenkins.forget_items();
    }
}

#[test]
fn what_leaves_the_queue_without_a_build_is_told() {
    let machine = machine();
    let events = machine.events();
    let mut watcher = machine.watch(&["--follow"]);
    machine.push("refs/heads/master", COMMIT);
    machine.jenkins.wait_for_waiting(1);
    machine.jenkins.cancel_all();
    watcher.stderr_line("somebody took it out of Jenkins' queue");
    let told: Vec<_> = events.take(2).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    assert!(told[1].ends_with("somebody took it out of Jenkins' queue"), "{told:?}");
    assert_eq!(machine.listed(), "");
}

#[test]
fn old_versions_that_tell_no_item_are_not_followed() {
    let machine = machine();
    for mood in [Mood::NoLocation, Mood::Old] {
        machine.jenkins.mood(mood);
        machine
            .world
            .failcake(["jenkins-trigger", "spog", "master", "--follow"])
            .run()
            .success()
            .stdout_has("triggered");
    }
    assert_eq!(machine.jenkins.waiting(), 2);
}

#[test]
fn cron_looks_once_and_the_next_run_goes_on() {
    let machine = machine();
    let drain = || machine.world.failcake(["jenkins-trigger", "--drain", "--follow"]).run();
    drain().success();
    machine.push("refs/heads/master", COMMIT);
    drain().success().stdout_has("triggered");
    assert!(machine.listed().starts_with("followed: team/spog for [spog]"), "{}", machine.listed());
    machine.jenkins.leave_queue();
    machine.jenkins.finish("team/spog", 1, "UNSTABLE");
    drain().code(1).stderr_has("build 1 unstable");
    assert_eq!(machine.listed(), "");
}

#[test]
fn a_jenkins_that_goes_away_while_a_build_runs_is_asked_again() {
    let machine = machine();
    let mut watcher = machine.watch(&["--follow"]);
    machine.push("refs/heads/master", COMMIT);
    machine.jenkins.wait_for_waiting(1);
    machine.jenkins.leave_queue();
    watcher.stdout_line("started");
    machine.jenkins.mood(Mood::Starting);
    watcher.stderr_line("builds can't be followed");
    machine.jenkins.finish("team/spog", 1, "SUCCESS");
    machine.jenkins.mood(Mood::Up);
    watcher.stdout_line("build 1 success");
}
