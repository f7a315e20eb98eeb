//! An operator takes over from one that was killed: the same hosts, asked how they stand.

use super::*;

/// As they say.
fn resumed(policy: Policy, answers: impl IntoIterator<Item = Answer>) -> Stage {
    let answers: Vec<Answer> = answers.into_iter().collect();
    let mut stage = Stage::new(answers.len(), policy);
    stage.orders();
    answers.into_iter().enumerate().for_each(|(at, answer)| stage.say(at + 1, answer));
    stage
}

fn one_by_one() -> Policy {
    Policy { batches: "1".parse().unwrap(), bake: seconds(60), ..Policy::default() }
}

#[test]
fn what_is_live_is_done() {
    // The bake was over when others had their turn.
    let mut stage = resumed(one_by_one(), [live(), live(), Answer::Prepared, Answer::Prepared]);
    assert_eq!(stage.orders(), ["switch web03"]);
    // Nobody knows how long the canary has baked: once more.
    let mut stage = resumed(one_by_one(), [live(), Answer::Prepared]);
    stage.wait(seconds(40));
    stage.say(1, live());
    assert_eq!(stage.timeline(seconds(20)).last().unwrap(), "20 prepare web01");
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch web02"]);
    // The canary had not begun.
    let mut stage = resumed(one_by_one(), [Answer::Prepared, Answer::Prepared]);
    assert_eq!(stage.orders(), ["switch! web01"]);
    // Two of three canaries had.
    let policy = Policy { canary: 3, ..Policy::default() };
    let mut stage = resumed(policy, [live(), Answer::Prepared, live(), Answer::Prepared]);
    let canary = Event::Canary { hosts: vec![host(1), host(2), host(3)] };
    assert!(stage.events().contains(&canary));
    assert_eq!(stage.orders(), ["switch! web02"]);
    let stage = resumed(one_by_one(), [live(), live()]);
    assert_eq!(stage.outcome(), "success");
}

#[test]
fn a_host_in_its_turn_is_waited_for() {
    let mut stage = resumed(one_by_one(), [live(), at(Step::Switch), Answer::Prepared]);
    assert_eq!(stage.states(), [State::Live, State::Switching, State::Prepared]);
    assert!(stage.orders().is_empty());
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.wait(seconds(20));
    stage.say(2, at(Step::Switch));
    assert!(!stage.orders().iter().any(|order| order.starts_with("abort")));
    stage.say(2, live());
    assert_eq!(stage.orders(), ["abort web03"]);
    // Told to drop, for it had said that it is prepared; but the order to switch of the one before had overtaken.
    stage.say(3, at(Step::Switch));
    stage.wait(seconds(50));
    assert_eq!((stage.state(3), stage.rollout.verdict()), (State::Switching, None));
    stage.say(3, live());
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
    assert_eq!(stage.states(), [State::Live; 3]);
}

#[test]
fn a_host_that_prepares_already_is_not_asked_in_its_turn() {
    let policy = Policy { prepare_parallel: std::num::NonZeroUsize::new(1), ..Policy::default() };
    let mut stage = Stage::new(3, policy);
    assert_eq!(stage.orders(), ["prepare web01"]);
    stage.say(3, at(Step::Prepare));
    stage.say(1, Answer::Prepared);
    assert_eq!(stage.states(), [State::Prepared, State::Waiting, State::Preparing]);
    stage.wait(seconds(60));
    assert_eq!(stage.state(3), State::Silent);
}

#[test]
fn a_canary_that_failed_stops_it_again() {
    let policy = Policy { max_failures: 2, ..one_by_one() };
    let mut stage = resumed(policy.clone(), [failed(Step::Switch), Answer::Prepared, Answer::Prepared]);
    assert_eq!(stage.orders(), ["abort web02 web03"]);
    assert_eq!(stage.rollout.stopping(), Some("of the canary, web01 failed: the disk is full"));
    // One that never prepared was no canary.
    let mut stage = resumed(policy.clone(), [failed(Step::Prepare), Answer::Prepared, Answer::Prepared]);
    assert_eq!(stage.orders(), ["switch! web02"]);
    // It was live, and others after it; that one of them failed is counted.
    let mut stage = resumed(policy, [live(), failed(Step::Switch), Answer::Prepared]);
    assert_eq!(stage.orders(), ["switch web03"]);
}

#[test]
fn what_was_being_stopped_is_stopped() {
    let answers = [live(), Answer::Aborted, Answer::Prepared];
    let policy = Policy { on_failure: OnFailure::Rollback, max_failures: 1, ..one_by_one() };
    // Nothing failed: its operator had stopped it.
    let mut stage = resumed(policy.clone(), answers.clone());
    assert_eq!(stage.orders(), ["abort web03"]);
    stage.say(3, Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: it was stopped before: web02 dropped");
    assert_eq!(stage.state(1), State::Live);
    // They were going back.
    let mut stage = resumed(policy.clone(), [live(), Answer::RolledBack, Answer::Aborted, failed(Step::Switch)]);
    assert_eq!(stage.orders(), ["rollback web01"]);
    stage.say(1, Answer::RolledBack);
    assert_eq!(stage.outcome(), "rolled-back: it was stopped before: web02 rolled back");
    // The failures that stopped it are there.
    let policy = Policy { max_failures: 0, ..policy };
    let mut stage = resumed(policy, [live(), Answer::Aborted, failed(Step::Switch)]);
    assert_eq!(stage.orders(), ["rollback web01"]);
}

/// As they say, and the one before was stopping it.
fn stopping(policy: Policy, rolls_back: bool, answers: impl IntoIterator<Item = Answer>) -> Stage {
    let answers: Vec<Answer> = answers.into_iter().collect();
    let mut stage = Stage::new(answers.len(), policy);
    stage.rollout.was_stopping("the operator stopped it".to_owned(), rolls_back);
    stage.orders();
    answers.into_iter().enumerate().for_each(|(at, answer)| stage.say(at + 1, answer));
    stage
}

#[test]
fn a_stop_that_no_host_tells_of_is_remembered() {
    let policy = Policy { on_failure: OnFailure::Rollback, ..one_by_one() };
    // Nobody had begun: nobody does.
    let mut stage = stopping(policy.clone(), false, [Answer::Prepared, Answer::Prepared]);
    assert!(stage.events().iter().any(|event| matches!(event, Event::Stopping { rolls_back: false, .. })));
    assert_eq!(stage.orders(), ["abort web01 web02"]);
    stage.all_say([1, 2], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
    // One in its turn is waited for, and stays; one that refuses or is away does not send it back.
    let mut stage = stopping(policy.clone(), false, [at(Step::Switch), Answer::Prepared, refused()]);
    assert!(stage.orders().is_empty());
    stage.say(1, live());
    assert_eq!(stage.orders(), ["abort web02"]);
    stage.say(2, Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
    assert_eq!(stage.states(), [State::Live, State::Aborted, State::Refused]);
    // One fails in its turn after it.
    let mut stage = stopping(policy.clone(), false, [live(), at(Step::Switch), Answer::Prepared]);
    stage.say(2, failed(Step::Switch));
    assert_eq!(stage.orders(), ["rollback web01", "abort web03"]);
    assert_eq!(stage.rollout.stopping(), Some("the operator stopped it; then web02 failed: the disk is full"));
    // They were to go back, and none had.
    let mut stage = stopping(policy, true, [live(), Answer::Prepared]);
    assert_eq!(stage.orders(), ["rollback web01", "abort web02"]);
    // Ctrl-C once more changes nothing, in the middle of the questions neither.
    let mut stage = Stage::new(2, one_by_one());
    stage.rollout.was_stopping("web09 failed".to_owned(), false);
    stage.orders();
    stage.say(1, live());
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.orders(), ["abort web02"]);
}
