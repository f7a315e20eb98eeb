//! Sizes and words.

use proptest::prelude::*;

use super::*;

#[test]
fn sizes_of_batches() {
    for (text, hosts, sizes) in [
        ("5", 20, [5, 5, 5, 5]),
        ("25%", 20, [5, 5, 5, 5]),
        ("25%", 10, [3, 3, 3, 3]),
        ("1%", 10, [1, 1, 1, 1]),
        ("100%", 7, [7, 7, 7, 7]),
        ("1,5,25%", 40, [1, 5, 10, 10]),
        (" 1, 2 ,3 % ", 100, [1, 2, 3, 3]),
        ("99999999999999999999", 3, [u32::MAX as usize; 4]),
    ] {
        let batches: Batches = text.parse().unwrap();
        assert_eq!([1, 2, 3, 4].map(|number| batches.size(number, hosts)), sizes, "{text} of {hosts}");
        assert_eq!(batches.to_string().parse::<Batches>().unwrap(), batches);
    }
    for text in ["", " ", "0", "0%", "101%", "-1", "+5", "5,", ",5", "5,,5", "a", "5%%", "%", "1.5", "0.5%", "1 2", "٣"]
    {
        let error = text.parse::<Batches>().unwrap_err().to_string();
        assert!(error.contains("is no batch size") && error.contains("5, 25% or 1,5,25%"), "{text:?}: {error}");
    }
    assert_eq!("rollback".parse::<OnFailure>().unwrap().to_string(), "rollback");
    assert!("go on".parse::<OnFailure>().unwrap_err().to_string().contains("'stop'"));
}

#[test]
fn a_plan_has_hosts_and_each_of_them_once() {
    let now = Instant::now();
    assert_eq!(Rollout::new(Vec::new(), Policy::default(), now).unwrap_err(), Error::NoHosts);
    let twice = Rollout::new(vec![host(1), host(2), host(1)], Policy::default(), now).unwrap_err();
    assert_eq!(twice.to_string(), "the host web01 stands in the plan twice");
    let mut stage = Stage::new(1, Policy::default());
    assert!(!stage.rollout.handle_answer(&host(2), live(), stage.now));
    assert_eq!(stage.states(), [State::Asked]);
}

#[test]
fn times_that_make_no_sense_harm_nobody() {
    let zero = Policy {
        answer_within: Duration::ZERO,
        silence: Duration::ZERO,
        prepare_within: Duration::ZERO,
        turn_within: Duration::ZERO,
        resend: Duration::ZERO,
        resend_most: Duration::ZERO,
        progress: Duration::ZERO,
        ..Policy::default()
    };
    let mut stage = Stage::new(2, zero);
    assert!(stage.wait(seconds(1)).len() < 10);
    assert!(stage.rollout.is_over());
    let most = Policy {
        bake: Duration::MAX,
        answer_within: Duration::MAX,
        silence: Duration::MAX,
        prepare_within: Duration::MAX,
        turn_within: Duration::MAX,
        resend: Duration::MAX,
        resend_most: Duration::ZERO,
        progress: Duration::MAX,
        ..Policy::default()
    };
    let mut stage = Stage::prepared(2, most);
    stage.say(1, live());
    stage.wait(seconds(3600));
    assert_eq!(stage.states(), [State::Live, State::Prepared]);
}

#[test]
fn states_and_verdicts_are_written_in_plain_words() {
    let mut stage = Stage::prepared(2, Policy { max_failures: 1, ..Policy::default() });
    stage.say(1, Answer::Live { summary: "release 7".to_owned() });
    stage.orders();
    stage.say(2, failed(Step::Switch));
    let json = serde_json::to_value(stage.rollout.verdict().unwrap()).unwrap();
    let expected = serde_json::json!({
        "outcome": "incomplete", "why": "1 of 2 hosts are not live: web02 failed: the disk is full",
        "hosts": [
            {"host": "web01", "state": "live", "why": "release 7"},
            {"host": "web02", "state": "failed", "why": "the disk is full"},
        ],
    });
    assert_eq!(json, expected);
    assert_eq!(stage.outcome(), "incomplete: 1 of 2 hosts are not live: web02 failed: the disk is full");
    assert_eq!(format!("{:>12}|{}", State::Silent, Step::Rollback), " went silent|rollback");
}

proptest! {
    #[test]
    fn batches_are_read_as_they_are_written(text in "([0-9]{1,2}%?,){0,3}[0-9]{1,2}%?|[0-9%, ]{0,12}|\\PC{0,12}", number in 0..20usize, hosts in 1..100_000usize) {
        if let Ok(batches) = text.parse::<Batches>() {
            prop_assert_eq!(&batches.to_string().parse::<Batches>().unwrap(), &batches);
            prop_assert!(batches.size(number, hosts) >= 1);
            let (mut left, mut count) = (hosts.min(500), 0);
            while left > 0 {
                count += 1;
                left = left.saturating_sub(batches.size(number + count, hosts));
            }
            prop_assert_eq!(batches.after(number, hosts.min(500), hosts), count);
        }
    }
}
