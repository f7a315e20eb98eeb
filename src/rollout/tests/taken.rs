//! Somebody else's plan takes hosts over while this one is conducted after all.

use super::*;

fn taken() -> Answer {
    Answer::TakenOver { why: "taken over by plan 2 of bob".to_owned() }
}

fn one_by_one() -> Policy {
    Policy { batches: "1".parse().unwrap(), on_failure: OnFailure::Rollback, max_failures: 3, ..Policy::default() }
}

#[test]
fn it_stops_whatever_may_fail_and_nobody_goes_back() {
    let mut stage = Stage::prepared(4, one_by_one());
    assert_eq!(stage.orders(), ["switch! web01"]);
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch web02"]);
    stage.say(3, taken());
    assert_eq!(stage.rollout.stopping(), Some("web03 refused: taken over by plan 2 of bob"));
    assert!(!stage.rollout.rolls_back());
    // The one in its turn is waited for.
    assert_eq!(stage.orders(), ["prepare web02"]);
    stage.say(2, live());
    assert_eq!(stage.orders(), ["abort web04"]);
    stage.say(4, Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: web03 refused: taken over by plan 2 of bob");
    assert_eq!(stage.states(), [State::Live, State::Live, State::Refused, State::Aborted]);
    // It hears that it is over like the others.
    assert_eq!(stage.orders(), ["verdict web01 web02 web03 web04"]);
}

#[test]
fn what_a_host_had_done_stands_and_nothing_more_is_asked_of_it() {
    let mut stage = Stage::prepared(3, Policy { max_failures: 0, ..one_by_one() });
    stage.orders();
    stage.say(1, Answer::Live { summary: "release 1".to_owned() });
    stage.orders();
    stage.say(1, taken());
    assert_eq!((stage.state(1), stage.why(1)), (State::Live, "release 1; taken over by plan 2 of bob"));
    // One in its turn fails after that: those that are live go back, but for the one that is somebody else's.
    stage.say(2, Answer::Failed { during: Step::Switch, switched: true, why: "no".to_owned() });
    assert_eq!(stage.orders(), ["rollback web02", "abort web03"]);
    stage.say(2, Answer::RolledBack);
    // What it said before arrives late, and twice.
    stage.all_say([1, 1], &live());
    stage.say(1, Answer::RolledBack);
    stage.say(1, taken());
    assert_eq!((stage.state(1), stage.why(1)), (State::Live, "release 1; taken over by plan 2 of bob"));
    stage.say(3, Answer::Aborted);
    let why = "web01 live: release 1; taken over by plan 2 of bob; then web02 failed: no";
    assert_eq!(stage.outcome(), format!("rolled-back: {why}"));
}

#[test]
fn in_each_state() {
    let mut stage = Stage::new(2, one_by_one());
    stage.orders();
    stage.say(1, taken());
    assert_eq!(stage.state(1), State::Refused, "asked");
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.orders(), ["abort web02"]);
    stage.say(2, taken());
    assert_eq!(stage.state(2), State::Refused, "told to drop");
    assert!(stage.rollout.verdict().is_some());

    // Told to go back when it was taken: it does not.
    let mut stage = Stage::prepared(2, Policy { max_failures: 0, ..one_by_one() });
    stage.orders();
    stage.say(1, live());
    stage.orders();
    stage.say(2, failed(Step::Switch));
    assert_eq!(stage.orders(), ["rollback web01"]);
    stage.say(1, taken());
    assert_eq!(
        (stage.state(1), stage.why(1)),
        (State::RollbackFailed, "it did not go back; taken over by plan 2 of bob")
    );
    assert!(stage.rollout.verdict().is_some());

    // The canary that is watched.
    let mut stage = Stage::prepared(2, Policy { bake: seconds(30), ..one_by_one() });
    stage.orders();
    stage.say(1, live());
    stage.wait(seconds(30));
    stage.say(1, taken());
    assert_eq!(stage.orders().last().unwrap(), "abort web02");
    stage.say(2, Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: web01 live: taken over by plan 2 of bob");

    // In its turn, as far as anybody knows; and after it counted as lost.
    let mut stage = Stage::prepared(1, one_by_one());
    stage.orders();
    stage.say(1, taken());
    assert_eq!(stage.outcome(), "stopped: web01 refused: taken over by plan 2 of bob");
    let mut stage = Stage::prepared(2, one_by_one());
    stage.orders();
    stage.wait(seconds(61));
    assert_eq!(stage.state(1), State::Silent);
    stage.say(1, taken());
    assert_eq!(stage.state(1), State::Refused);
}

#[test]
fn after_a_resume_it_is_heard_from_whoever_is_asked() {
    let mut stage = Stage::new(3, one_by_one());
    stage.orders();
    stage.say(1, live());
    stage.say(2, taken());
    stage.say(3, Answer::Prepared);
    assert_eq!(stage.orders(), ["abort web03"]);
    stage.say(3, Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: web02 refused: taken over by plan 2 of bob");
    assert_eq!(stage.state(1), State::Live);
    // It was being stopped before, for another reason.
    let mut stage = Stage::new(2, one_by_one());
    stage.rollout.was_stopping("the operator stopped it".to_owned(), false);
    stage.orders();
    stage.all_say(1..=2, &taken());
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
}
