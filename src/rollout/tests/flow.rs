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
    stage.say(2, live());
    assert_eq!(stage.orders(), ["switch web03 web04 web05"]);
    stage.all_say([4, 3], &live());
    assert!(stage.orders().is_empty());
    stage.say(5, live());
    assert_eq!(stage.orders(), ["switch web06"]);
    stage.say(6, live());
    assert_eq!(stage.outcome(), "success");
    assert_eq!(stage.orders(), ["verdict web01 web02 web03 web04 web05 web06"]);
    assert_eq!(stage.wait(seconds(5)), ["verdict web01 web02 web03 web04 web05 web06"]);
    assert!(stage.rollout.is_over() && stage.rollout.poll_timeout().is_none());
}

#[test]
fn a_canary_that_fails_is_the_only_host_that_was_touched() {
    let mut stage = Stage::new(3, Policy { max_failures: 2, ..Policy::default() });
    stage.orders();
    stage.all_say(1..=3, &Answer::Prepared);
    assert_eq!(stage.orders(), ["switch! web01"]);
    stage.say(1, failed(Step::Switch));
    assert_eq!(stage.orders(), ["abort web02 web03"]);
    stage.all_say([2, 3], &Answer::Aborted);
    assert_eq!(stage.outcome(), "stopped: of the canary, web01 failed: the disk is full");
    assert_eq!([1, 2, 3].map(|it| stage.state(it)), [State::Failed, State::Aborted, State::Aborted]);
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
}
