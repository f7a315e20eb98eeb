//! What comes late, twice, out of order, or not at all.

use super::*;

fn rollback() -> Policy {
    Policy { on_failure: OnFailure::Rollback, ..Policy::default() }
}

#[test]
fn a_host_that_comes_late_joins_the_last_batch() {
    let mut stage = Stage::new(4, Policy { max_failures: 1, batches: "1".parse().unwrap(), ..Policy::default() });
    stage.orders();
    stage.all_say([1, 3, 4], &Answer::Prepared);
    stage.wait(seconds(10));
    assert_eq!(stage.state(2), State::Unreachable);
    stage.say(1, live());
    assert_eq!(stage.orders(), ["switch web03"]);
    // It is still asked, now and then.
    assert!(stage.wait(seconds(10)).contains(&"prepare web02".to_owned()));
    stage.say(2, Answer::Accepted { step: Step::Prepare });
    stage.say(3, live());
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.orders(), ["switch web04"]);
    stage.say(4, live());
    assert_eq!(stage.orders(), ["switch web02"]);
    stage.say(2, live());
    assert_eq!(stage.outcome(), "success");
}

#[test]
fn a_late_host_is_waited_for_while_it_prepares() {
    let mut stage = Stage::new(2, Policy { max_failures: 1, ..Policy::default() });
    stage.orders();
    stage.say(1, Answer::Prepared);
    stage.wait(seconds(10));
    stage.say(2, at(Step::Prepare));
    stage.say(1, live());
    assert_eq!(stage.rollout.verdict(), None);
    stage.wait(seconds(60));
    assert_eq!(
        stage.outcome(),
        "incomplete: 1 of 2 hosts are not live: web02 went silent: it was preparing, and then said nothing for 60s"
    );
    assert_eq!(stage.state(2), State::Silent);
}

#[test]
fn a_canary_that_does_not_last_until_the_first_batch_stops_it() {
    let mut stage = Stage::new(3, Policy { max_failures: 2, canary: 2, ..Policy::default() });
    stage.orders();
    stage.all_say([1, 2], &Answer::Prepared);
    stage.wait(seconds(10));
    stage.say(3, at(Step::Prepare));
    stage.all_say([1, 2], &live());
    stage.say(1, failed(Step::Switch));
    assert_eq!(stage.rollout.stopping(), Some("of the canary, web01 failed: the disk is full"));
}

#[test]
fn a_host_that_comes_late_after_a_stop_drops_its_release() {
    let mut stage = Stage::new(3, Policy { max_failures: 1, ..Policy::default() });
    stage.orders();
    stage.all_say([1, 3], &Answer::Prepared);
    stage.wait(seconds(10));
    stage.say(1, failed(Step::Switch));
    // Nobody waits for it, but it may hear it.
    assert_eq!(stage.orders(), ["abort web02 web03"]);
    stage.say(2, Answer::Prepared);
    assert_eq!((stage.state(2), stage.orders()), (State::Aborting, vec!["abort web02".to_owned()]));
    stage.say(3, Answer::Aborted);
    assert_eq!(stage.rollout.verdict(), None);
    stage.say(2, Answer::Aborted);
    assert_eq!(stage.states(), [State::Failed, State::Aborted, State::Aborted]);
}

#[test]
fn a_host_that_went_silent_in_its_turn_and_comes_back() {
    let policy = Policy { max_failures: 1, batches: "1".parse().unwrap(), ..Policy::default() };
    let silent = || {
        let mut stage = Stage::prepared(4, policy.clone());
        stage.say(1, live());
        assert!(stage.wait(seconds(1)).contains(&"switch web02".to_owned()));
        // It may be at it, or have heard nothing: it is asked, not told.
        let lines = stage.timeline(seconds(75));
        assert!(lines.iter().any(|line| line.ends_with("prepare web02")), "{lines:?}");
        assert!(!lines.iter().skip_while(|line| !line.contains("web03")).any(|line| line.contains("switch web02")));
        assert_eq!((stage.state(2), stage.state(3)), (State::Silent, State::Switching));
        stage
    };
    // It was busy.
    let mut stage = silent();
    stage.say(2, live());
    stage.say(3, live());
    stage.say(4, live());
    assert_eq!(stage.outcome(), "success");
    // It still is: no further batch begins before it is done.
    let mut stage = silent();
    stage.say(2, at(Step::Switch));
    stage.say(3, live());
    assert_eq!((stage.state(2), stage.state(4)), (State::Switching, State::Prepared));
    stage.say(2, live());
    assert_eq!(stage.state(4), State::Switching);
    // The order never reached it; but one may still be under way.
    let mut stage = silent();
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.state(2), State::Silent);
    stage.say(3, live());
    stage.wait(seconds(50));
    stage.say(2, Answer::Prepared);
    stage.say(4, live());
    assert_eq!(stage.state(2), State::Switching);
    // Once more, and no more.
    stage.wait(seconds(60));
    assert_eq!(stage.state(2), State::Silent);
    assert!(stage.outcome().starts_with("incomplete: 1 of 4 hosts are not live: web02 went silent: it was told to"));
    // It failed.
    let mut stage = silent();
    stage.say(2, failed(Step::Switch));
    assert_eq!(stage.state(2), State::Failed);
}

#[test]
fn hosts_that_never_hear_their_order_do_not_take_turns_for_ever() {
    let policy = Policy { canary: 0, batches: "1".parse().unwrap(), max_failures: 4, ..Policy::default() };
    let mut stage = Stage::prepared(4, policy);
    for _ in 0..3000 {
        for order in stage.wait(seconds(1)) {
            let asked = |number: &usize| order.starts_with("prepare") && order.contains(host(*number).as_str());
            (1..=4).filter(asked).for_each(|number| stage.say(number, Answer::Prepared));
        }
    }
    assert_eq!(stage.states(), [State::Silent; 4]);
    assert!(stage.outcome().starts_with("incomplete: 4 of 4"));
}

#[test]
fn a_host_that_went_silent_in_its_turn_goes_back_when_it_speaks() {
    let silent = || {
        let mut stage = Stage::prepared(3, rollback());
        stage.say(1, live());
        stage.orders();
        stage.timeline(seconds(61));
        assert_eq!(stage.states(), [State::RollingBack, State::Silent, State::Aborting]);
        stage.say(1, Answer::RolledBack);
        stage.say(3, Answer::Aborted);
        stage
    };
    let mut stage = silent();
    assert_eq!(stage.rollout.verdict(), None);
    stage.say(2, live());
    assert_eq!(stage.orders(), ["rollback web02"]);
    stage.say(2, Answer::RolledBack);
    assert_eq!(stage.states(), [State::RolledBack, State::RolledBack, State::Aborted]);
    // At it: when it is done.
    let mut stage = silent();
    stage.say(2, at(Step::Switch));
    stage.wait(seconds(30));
    assert_eq!((stage.state(2), stage.rollout.verdict()), (State::Switching, None));
    stage.say(2, live());
    assert_eq!(stage.orders(), ["rollback web02"]);
    // It never began: told to go back, in case the order to switch is still under way.
    let mut stage = silent();
    stage.say(2, Answer::Prepared);
    assert_eq!(stage.orders(), ["rollback web02"]);
    stage.say(2, Answer::Aborted);
    assert_eq!(stage.state(2), State::Aborted);
    // It says nothing: soon nobody waits any more, and it is named.
    let mut stage = silent();
    stage.wait(seconds(10));
    assert_eq!(stage.state(2), State::Silent);
    assert!(stage.outcome().starts_with("rolled-back: web02 went silent"));
}

#[test]
fn after_a_stop_nobody_is_told_to_switch_again() {
    let mut stage = Stage::prepared(4, Policy { batches: "2".parse().unwrap(), ..Policy::default() });
    stage.say(1, live());
    stage.orders();
    stage.say(2, failed(Step::Switch));
    // The order to web03 may be lost. It is asked how it stands.
    let lines = stage.timeline(seconds(59));
    assert_eq!(lines[0], "0 prepare web03");
    assert!(lines.len() > 5 && lines.iter().all(|line| line.ends_with(" prepare web03")), "{lines:?}");
    stage.say(3, Answer::Prepared);
    assert_eq!(stage.state(3), State::Switching);
    // Now that order can't arrive any more.
    stage.wait(seconds(1));
    stage.say(3, Answer::Prepared);
    assert_eq!(stage.orders().last().unwrap(), "abort web03 web04");
}

#[test]
fn bad_news_stays_and_stale_news_is_passed_over() {
    let both = |first: Answer, then: Answer| {
        let mut stage = Stage::prepared(3, Policy { max_failures: 3, ..Policy::default() });
        stage.say(1, live());
        stage.say(2, first);
        stage.say(2, then);
        (stage.state(2), stage.why(2).to_owned())
    };
    for stale in [Answer::Prepared, at(Step::Prepare), at(Step::Switch), live(), refused()] {
        assert_eq!(both(live(), stale).0, State::Live);
    }
    assert_eq!(both(live(), failed(Step::Switch)).0, State::Failed);
    for stale in [Answer::Prepared, at(Step::Switch), refused(), Answer::Aborted, failed(Step::Prepare)] {
        assert_eq!(both(failed(Step::Switch), stale), (State::Failed, "the disk is full".to_owned()));
    }
    let (state, why) = both(failed(Step::Switch), live());
    assert_eq!((state, why.as_str()), (State::Failed, "the disk is full; then it said that it is live"));
    let (state, why) = both(refused(), live());
    assert_eq!((state, why.as_str()), (State::Failed, "ann holds the site; then it said that it is live"));
    let (state, why) = both(live(), Answer::Aborted);
    let contradiction = "it was live, and then it said that it never went live";
    assert_eq!((state, why.as_str()), (State::Failed, contradiction));
    let (state, why) = both(Answer::Aborted, live());
    let contradiction = "it said that it dropped the release; then it said that it is live";
    assert_eq!((state, why.as_str()), (State::Failed, contradiction));
}

#[test]
fn a_host_that_failed_after_its_switch_goes_back_with_the_others() {
    let policy = Policy { batches: "2".parse().unwrap(), on_failure: OnFailure::Rollback, ..Policy::default() };
    let kept = Answer::Failed { during: Step::Switch, switched: true, why: "undrain failed".to_owned() };
    let mut stage = Stage::prepared(3, policy);
    stage.say(1, live());
    stage.orders();
    // One is silent, and says only while the others go back already that it serves the new one.
    stage.say(2, kept.clone());
    stage.wait(seconds(60));
    assert_eq!((stage.state(2), stage.state(3)), (State::RollingBack, State::Silent));
    stage.say(3, kept);
    assert_eq!((stage.state(3), stage.orders().last().unwrap().as_str()), (State::RollingBack, "rollback web03"));
    stage.all_say(1..=3, &Answer::RolledBack);
    assert_eq!(stage.states(), [State::RolledBack; 3]);
    assert_eq!([2, 3].map(|it| stage.why(it)), ["undrain failed"; 2]);
}

#[test]
fn a_host_that_was_live_and_failed_goes_back_with_the_others() {
    let mut stage = Stage::prepared(3, rollback());
    stage.say(1, live());
    stage.say(2, live());
    stage.orders();
    stage.say(1, failed(Step::Switch));
    stage.say(3, live());
    assert_eq!(stage.orders().last().unwrap(), "rollback web01 web02 web03");
    stage.say(1, failed(Step::Switch));
    assert_eq!(stage.state(1), State::RollingBack);
    stage.all_say(1..=3, &Answer::RolledBack);
    assert_eq!((stage.state(1), stage.why(1)), (State::RolledBack, "the disk is full"));
}

#[test]
fn a_host_that_undoes_its_release_by_itself_stops_the_rollout() {
    for (answer, said) in [
        (Answer::RolledBack, "stopped: web02 rolled back without being told to"),
        (Answer::Aborted, "stopped: web02 dropped without being told to"),
    ] {
        let mut stage = Stage::prepared(3, Policy { max_failures: 3, ..Policy::default() });
        stage.say(1, live());
        stage.orders();
        stage.say(2, answer);
        assert_eq!(stage.orders(), ["abort web03"]);
        stage.say(3, Answer::Aborted);
        assert_eq!(stage.outcome(), said);
    }
    let mut stage = Stage::prepared(1, Policy { bake: seconds(60), ..Policy::default() });
    stage.say(1, Answer::Live { summary: "release 7".to_owned() });
    stage.say(1, Answer::RolledBack);
    assert_eq!((stage.state(1), stage.why(1)), (State::RolledBack, ""));
}

#[test]
fn without_a_connection_nobody_is_silent() {
    let mut stage = Stage::new(2, Policy { bake: seconds(100), ..Policy::default() });
    stage.orders();
    stage.say(2, Answer::Prepared);
    stage.wait(seconds(9));
    stage.rollout.disconnected(stage.now);
    stage.rollout.disconnected(stage.now);
    assert_eq!(stage.rollout.poll_timeout(), None);
    stage.now += seconds(3600);
    stage.rollout.handle_timeout(stage.now);
    stage.rollout.connected(stage.now);
    stage.rollout.connected(stage.now);
    // What was said last may be lost, in both directions.
    assert_eq!(stage.timeline(seconds(4)), ["0 prepare web01", "1 prepare web01", "3 prepare web01"]);
    assert_eq!(stage.state(1), State::Asked);
    stage.say(1, Answer::Accepted { step: Step::Prepare });
    stage.wait(seconds(59));
    stage.rollout.disconnected(stage.now);
    stage.rollout.connected(stage.now);
    stage.wait(seconds(59));
    assert_eq!(stage.state(1), State::Preparing);
    stage.say(1, Answer::Prepared);
    stage.say(1, live());
    stage.wait(seconds(50));
    stage.say(1, live());
    stage.events();
    stage.rollout.disconnected(stage.now);
    stage.now += seconds(1000);
    stage.rollout.connected(stage.now);
    assert_eq!(stage.events(), [Event::Bake { until: stage.now + seconds(50) }]);
    stage.wait(seconds(49));
    stage.say(1, live());
    assert_eq!(stage.state(2), State::Prepared);
    stage.wait(seconds(1));
    stage.say(1, live());
    assert_eq!(stage.state(2), State::Switching);
}

#[test]
fn hosts_that_are_lost_at_the_same_moment_are_told_together() {
    let mut stage = Stage::new(12, Policy::default());
    stage.orders();
    stage.say(12, Answer::Prepared);
    stage.wait(seconds(10));
    assert_eq!(stage.rollout.count(State::Unreachable), 11);
    assert!(stage.rollout.stopping().unwrap().ends_with("; and 8 more"), "{:?}", stage.rollout.stopping());
}
