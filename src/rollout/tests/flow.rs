//! One rollout after another, as an operator sees them.

use super::*;

#[test]
fn one_first_then_the_others_in_batches() {
    let mut stage = Stage::new(6, Policy { batches: "1,3".parse().unwrap(), ..Policy::default() });
    assert_eq!(stage.orders(), ["prepare web01 web02 web03 web04 web05 web06"]);
    stage.all_say(1..=5, &Answer::Prepared);
    assert!(stage.orders().is_empty());
    stage.say(6, Answer::Prepared);
    assert_eq!(stage.orders(), ["switch! web01"]);
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch web02"]);
    stage.events();
    stage.say(2, live());
    let hosts = vec![host(3), host(4), host(5)];
    assert!(stage.events().contains(&Event::Batch { number: 2, of: 3, hosts }));
    assert_eq!(stage.orders(), ["switch web03 web04 web05"]);
    stage.all_say([4, 3], &live());
    assert!(stage.orders().is_empty());
    stage.say(5, live());
    assert_eq!(stage.orders(), ["switch web06"]);
    stage.say(6, live());
    assert_eq!(stage.outcome(), "success");
    assert_eq!(stage.orders(), ["verdict web01 web02 web03 web04 web05 web06"]);
    stage.say(3, live());
    assert!(!stage.rollout.is_over());
    // Said again to those that were not heard since, and then no more.
    assert_eq!(stage.timeline(seconds(60)), ["1 verdict web01 web02 web04 web05 web06"]);
    assert!(stage.rollout.is_over() && stage.rollout.poll_timeout().is_none());
}

#[test]
fn a_verdict_that_all_have_heard_is_said_once() {
    let mut stage = Stage::prepared(1, Policy::default());
    stage.say(1, live());
    stage.say(1, live());
    assert_eq!(stage.orders(), ["verdict web01"]);
    assert!(stage.rollout.is_over());
}

#[test]
fn a_canary_that_fails_is_the_only_host_that_was_touched() {
    let mut stage = Stage::prepared(3, Policy { max_failures: 2, ..Policy::default() });
    assert_eq!(stage.orders(), ["switch! web01"]);
    stage.say(1, failed(Step::Switch));
    assert_eq!(stage.orders(), ["abort web02 web03"]);
    stage.all_say([2, 3], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: of the canary, web01 failed: the disk is full");
    assert_eq!(stage.states(), [State::Failed, State::Aborted, State::Aborted]);
}

#[test]
fn a_refusal_stops_before_the_canary_whatever_is_allowed_to_fail() {
    let mut stage = Stage::new(3, Policy { max_failures: 3, ..Policy::default() });
    stage.orders();
    stage.say(1, Answer::Prepared);
    stage.say(2, refused());
    assert_eq!(stage.orders(), ["abort web01 web03"]);
    stage.all_say([1, 3], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: web02 refused: ann holds the site");
    assert_eq!(stage.why(2), "ann holds the site");
    // One that never said anything is not waited for longer than otherwise.
    let mut stage = Stage::new(3, Policy::default());
    stage.wait(seconds(8));
    stage.say(1, Answer::Prepared);
    stage.say(2, refused());
    stage.say(1, Answer::Aborted);
    stage.wait(seconds(2));
    assert_eq!(stage.states(), [State::Aborted, State::Refused, State::Unreachable]);
    assert!(stage.rollout.verdict().is_some());
}

#[test]
fn a_host_that_fails_before_its_turn_has_none() {
    let mut stage = Stage::prepared(4, Policy { max_failures: 1, batches: "2".parse().unwrap(), ..Policy::default() });
    stage.orders();
    stage.say(2, failed(Step::Prepare));
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch web03 web04"]);
}

#[test]
fn hosts_that_cannot_prepare_are_left_out_if_so_many_may_fail() {
    let policy = Policy { max_failures: 2, batches: "5".parse().unwrap(), ..Policy::default() };
    let mut stage = Stage::new(5, policy.clone());
    stage.orders();
    stage.all_say([2, 4, 5], &Answer::Prepared);
    stage.say(1, failed(Step::Prepare));
    assert!(stage.orders().is_empty());
    // The first in the plan's order that did prepare is the canary.
    assert_eq!(stage.timeline(seconds(10)).last().unwrap(), "10 switch! web02");
    assert_eq!(stage.state(3), State::Unreachable);
    stage.say(2, live());
    assert_eq!(stage.orders(), ["switch web04 web05"]);
    stage.all_say([4, 5], &live());
    assert_eq!(
        stage.outcome(),
        "incomplete: 2 of 5 hosts are not live: web01 failed: the disk is full; \
         web03 unreachable: it said nothing within 10s"
    );
    assert_eq!([stage.why(1), stage.why(3)], ["the disk is full", "it said nothing within 10s"]);

    let mut stage = Stage::new(5, Policy { max_failures: 1, ..policy });
    stage.orders();
    stage.all_say([2, 4, 5], &Answer::Prepared);
    stage.say(1, failed(Step::Prepare));
    stage.wait(seconds(10));
    stage.all_say([2, 4, 5], &Answer::Aborted);
    assert_eq!(
        stage.outcome(),
        "stopped: 2 hosts are lost, and no more than 1 may be: web01 failed: the disk is full; \
         web03 unreachable: it said nothing within 10s"
    );
}

#[test]
fn three_words_for_three_things() {
    let mut stage = Stage::new(5, Policy { max_failures: 5, prepare_within: seconds(100), ..Policy::default() });
    stage.orders();
    stage.all_say([2, 3, 4], &Answer::Accepted { step: Step::Prepare });
    stage.say(4, failed(Step::Prepare));
    stage.say(5, Answer::Prepared);
    stage.wait(seconds(9));
    assert_eq!(stage.state(1), State::Asked);
    stage.wait(seconds(1));
    assert_eq!(stage.state(1), State::Unreachable);
    for _ in 0..5 {
        stage.wait(seconds(9));
        stage.say(3, at(Step::Prepare));
    }
    assert_eq!(stage.state(2), State::Preparing);
    stage.wait(seconds(5));
    assert_eq!((stage.state(2), stage.why(2)), (State::Silent, "it was preparing, and then said nothing for 60s"));
    // Always at it is not enough.
    assert_eq!(stage.state(3), State::Preparing);
    stage.wait(seconds(40));
    assert_eq!((stage.state(3), stage.why(3)), (State::Failed, "it was not prepared within 100s"));
    stage.say(3, at(Step::Prepare));
    assert_eq!(stage.state(3), State::Failed);
    assert_eq!(stage.state(5), State::Switching);
    stage.wait(seconds(60));
    assert_eq!((stage.state(5), stage.why(5)), (State::Silent, "it was told to switch, and then said nothing for 60s"));
    assert_eq!(stage.state(4), State::Failed);
}

#[test]
fn a_turn_that_never_ends_is_failed_and_waited_for_no_longer() {
    let policy = Policy { turn_within: seconds(120), max_failures: 1, ..Policy::default() };
    let mut stage = Stage::prepared(3, policy);
    stage.say(1, live());
    for _ in 0..13 {
        assert_eq!(stage.state(2), State::Switching);
        stage.wait(seconds(9));
        stage.say(2, at(Step::Switch));
    }
    stage.wait(seconds(3));
    assert_eq!((stage.state(2), stage.why(2)), (State::Failed, "its turn was not over within 120s"));
    assert_eq!(stage.state(3), State::Switching);
    // It was long, and it came to a good end.
    stage.say(2, live());
    stage.say(3, live());
    assert_eq!(stage.outcome(), "success");
}

#[test]
fn orders_are_repeated_until_something_is_heard() {
    let mut stage = Stage::new(2, Policy { answer_within: seconds(30), ..Policy::default() });
    stage.say(2, Answer::Prepared);
    let lines = ["0 prepare web01", "1 prepare web01", "3 prepare web01", "7 prepare web01", "12 prepare web01"];
    assert_eq!(stage.timeline(seconds(15)), lines);
    // At work it has its peace, until it misses its own word.
    stage.say(1, Answer::Accepted { step: Step::Prepare });
    assert_eq!(stage.timeline(seconds(14)), [] as [&str; 0]);
    stage.say(1, at(Step::Prepare));
    assert_eq!(stage.timeline(seconds(20)), ["15 prepare web01", "16 prepare web01", "18 prepare web01"]);
    stage.say(1, Answer::Prepared);
    assert_eq!(stage.timeline(seconds(2)), ["0 switch! web01", "1 switch! web01"]);
    // From before the order: that may be lost.
    stage.say(1, Answer::Prepared);
    stage.say(1, at(Step::Prepare));
    assert_eq!(stage.timeline(seconds(2)), ["1 switch! web01"]);
    stage.say(1, at(Step::Switch));
    assert_eq!(stage.timeline(seconds(14)), [] as [&str; 0]);
}

#[test]
fn only_so_many_prepare_at_once() {
    let policy = Policy { prepare_parallel: std::num::NonZeroUsize::new(2), max_failures: 9, ..Policy::default() };
    let mut stage = Stage::new(5, policy);
    assert_eq!(stage.orders(), ["prepare web01 web02"]);
    stage.say(2, Answer::Accepted { step: Step::Prepare });
    assert!(stage.orders().is_empty());
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.orders(), ["prepare web03"]);
    stage.say(3, failed(Step::Prepare));
    assert_eq!(stage.orders(), ["prepare web04"]);
    // One that says nothing holds up the next no longer than it takes to count it.
    let lines = stage.timeline(seconds(10));
    assert!(lines.contains(&"10 prepare web05".to_owned()), "{lines:?}");
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.all_say([2, 4], &Answer::Aborted);
    stage.wait(seconds(10));
    let states = [State::Unreachable, State::Aborted, State::Failed, State::Aborted, State::Waiting];
    // Its order never left: it knows nothing of the plan.
    assert_eq!(&stage.states()[..4], &states[..4]);
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
}

#[test]
fn a_batch_waits_for_all_of_the_one_before_and_failures_are_counted() {
    let policy = Policy { batches: "2".parse().unwrap(), max_failures: 1, ..Policy::default() };
    let mut stage = Stage::prepared(7, policy);
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch! web01", "switch web02 web03"][1..]);
    stage.say(2, failed(Step::Switch));
    assert!(stage.orders().is_empty());
    stage.say(3, live());
    assert_eq!(stage.orders(), ["switch web04 web05"]);
    // One more than may: the other one of the batch is waited for, and is not disturbed.
    stage.say(5, failed(Step::Switch));
    stage.wait(seconds(10));
    stage.say(4, at(Step::Switch));
    assert_eq!(stage.state(4), State::Switching);
    assert!(stage.orders().iter().all(|order| !order.starts_with("abort")));
    stage.say(4, live());
    assert_eq!(stage.orders(), ["abort web06 web07"]);
    stage.say(6, Answer::Aborted);
    assert_eq!(stage.rollout.verdict(), None);
    // It never answered: it is named.
    stage.wait(seconds(10));
    assert_eq!((stage.state(7), stage.why(7)), (State::Silent, "it did not say that it dropped its staged release"));
    assert!(stage.outcome().starts_with("stopped: 2 hosts are lost, and no more than 1 may be: web02 failed"));
    assert_eq!([1, 3, 4].map(|it| stage.state(it)), [State::Live; 3]);
}

#[test]
fn what_is_live_goes_back_if_that_was_asked_for() {
    let policy = Policy { batches: "2".parse().unwrap(), on_failure: OnFailure::Rollback, ..Policy::default() };
    let mut stage = Stage::prepared(6, policy);
    stage.say(1, live());
    stage.all_say([2, 3], &live());
    stage.orders();
    stage.say(4, failed(Step::Switch));
    stage.events();
    assert!(stage.orders().iter().all(|order| order == "prepare web05"));
    stage.say(5, live());
    assert_eq!(stage.orders(), ["rollback web01 web02 web03 web05", "abort web06"]);
    stage.say(6, Answer::Aborted);
    stage.say(1, Answer::RolledBack);
    stage.say(2, Answer::RollbackFailed { why: "no release before this one".to_owned() });
    stage.say(3, at(Step::Rollback));
    // From before it went back.
    stage.say(1, failed(Step::Switch));
    stage.wait(seconds(50));
    stage.say(3, Answer::RolledBack);
    assert_eq!(stage.rollout.verdict(), None);
    stage.wait(seconds(10));
    let states =
        [State::RolledBack, State::RollbackFailed, State::RolledBack, State::Failed, State::Silent, State::Aborted];
    assert_eq!(stage.states(), states);
    assert_eq!(stage.why(5), "it did not say that it went back: look what it serves");
    assert_eq!(stage.outcome(), "rolled-back: web04 failed: the disk is full");
}

#[test]
fn the_bake_is_watched() {
    let bake = || {
        let mut stage = Stage::prepared(3, Policy { bake: seconds(300), max_failures: 2, ..Policy::default() });
        stage.orders();
        stage.events();
        stage.say(1, live());
        let until = stage.now + seconds(300);
        assert_eq!(stage.events().last(), Some(&Event::Bake { until }));
        stage
    };
    // It is asked how it stands now and then, and once more at the end.
    let mut stage = bake();
    for minute in 0..20 {
        assert_eq!(stage.timeline(seconds(15)), ["15 prepare web01"], "{minute}");
        stage.say(1, live());
        assert_eq!(stage.rollout.count(State::Prepared), if minute < 19 { 2 } else { 1 });
    }
    assert_eq!(stage.orders(), ["switch web02"]);
    // It does not last.
    let mut stage = bake();
    stage.wait(seconds(50));
    stage.say(1, failed(Step::Switch));
    assert_eq!(stage.rollout.stopping(), Some("of the canary, web01 failed: the disk is full"));
    // It is gone.
    let mut stage = bake();
    stage.wait(seconds(60));
    assert_eq!(
        stage.rollout.stopping(),
        Some("of the canary, web01 went silent: it was live, and then did not answer")
    );
    // It was gone by the end.
    let mut stage = bake();
    for _ in 0..29 {
        stage.wait(seconds(10));
        stage.say(1, live());
    }
    assert_eq!(stage.timeline(seconds(19)).last().unwrap(), "17 prepare web01");
    assert_eq!(stage.states(), [State::Live, State::Prepared, State::Prepared]);
    stage.wait(seconds(1));
    assert!(stage.rollout.stopping().unwrap().contains("web01 went silent"));
}

#[test]
fn the_operator_stops_it() {
    let policy = Policy { batches: "2".parse().unwrap(), on_failure: OnFailure::Rollback, ..Policy::default() };
    // While they prepare.
    let mut stage = Stage::new(2, policy.clone());
    stage.orders();
    stage.say(1, Answer::Prepared);
    stage.rollout.stop("the operator stopped it", stage.now);
    assert_eq!(stage.orders(), ["abort web01 web02"]);
    stage.all_say([1, 2], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
    // In a batch: those in their turn are waited for, and nobody goes back.
    let mut stage = Stage::prepared(5, policy.clone());
    stage.say(1, live());
    stage.orders();
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.say(2, live());
    assert!(stage.orders().iter().all(|order| order.starts_with("prepare")));
    stage.say(3, live());
    assert_eq!(stage.orders(), ["abort web04 web05"]);
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.all_say([4, 5], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: the operator stopped it");
    assert_eq!(stage.states()[..3], [State::Live; 3]);
    // One of those fails after that: what was to happen on a failure happens.
    let mut stage = Stage::prepared(5, policy.clone());
    stage.say(1, live());
    stage.orders();
    stage.rollout.stop("the operator stopped it", stage.now);
    stage.say(2, failed(Step::Switch));
    stage.say(3, live());
    assert!(stage.orders().ends_with(&["rollback web01 web03".to_owned(), "abort web04 web05".to_owned()]));
    assert_eq!(stage.rollout.stopping(), Some("the operator stopped it; then web02 failed: the disk is full"));
    // Before the order was taken it is called off.
    let mut stage = Stage::prepared(2, policy);
    assert_eq!(stage.state(1), State::Switching);
    stage.rollout.stop("the operator stopped it", stage.now);
    assert_eq!(stage.orders(), ["abort web01 web02"]);
    // Before anything was said to anybody.
    let mut stage = Stage::new(2, Policy::default());
    stage.rollout.stop("the operator stopped it", stage.now);
    assert!(stage.orders().is_empty() && stage.rollout.is_over());
    assert_eq!(stage.states(), [State::Waiting; 2]);
}

#[test]
fn without_a_canary_and_with_nothing_but_canaries() {
    let mut stage = Stage::prepared(3, Policy { canary: 0, batches: "100%".parse().unwrap(), ..Policy::default() });
    assert_eq!(stage.orders(), ["switch web01 web02 web03"]);
    let mut stage = Stage::prepared(3, Policy { canary: 9, bake: seconds(1), ..Policy::default() });
    assert_eq!(stage.orders(), ["switch! web01 web02 web03"]);
    stage.all_say(1..=3, &live());
    assert_eq!(stage.timeline(seconds(1)), ["1 prepare web01 web02 web03"]);
    stage.all_say(1..=3, &live());
    assert_eq!(stage.outcome(), "success");
}
