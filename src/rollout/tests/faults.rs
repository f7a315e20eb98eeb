//! Thousands of rollouts through every fault.

use proptest::prelude::*;

use super::network::{Faults, World};
use super::*;

fn policies() -> impl Strategy<Value = Policy> {
    let batches = prop::sample::select(vec!["1", "2", "5", "25%", "100%", "1,2,50%"]);
    let bake = prop::sample::select(vec![0, 5, 40, 200]);
    (0..4usize, bake, batches, 0..4usize, any::<bool>(), prop::option::of(1..4usize)).prop_map(
        |(canary, bake, batches, max_failures, stops, parallel)| Policy {
            canary,
            bake: seconds(bake),
            batches: batches.parse().unwrap(),
            max_failures,
            on_failure: if stops { OnFailure::Stop } else { OnFailure::Rollback },
            prepare_parallel: parallel.and_then(std::num::NonZeroUsize::new),
            prepare_within: seconds(300),
            turn_within: seconds(300),
            ..Policy::default()
        },
    )
}

fn faults() -> impl Strategy<Value = Faults> {
    let network = (prop::sample::select(vec![0.0, 0.1, 0.3]), prop::sample::select(vec![0.0, 0.3]));
    let delay = prop::sample::select(vec![5u64, 500, 8_000]);
    let bad = prop::sample::select(vec![0.0, 0.1, 0.3, 0.8]);
    let moment = || prop::option::weighted(0.4, (1..200_000u64).prop_map(Duration::from_millis));
    let span = || prop::option::weighted(0.3, (1..150_000u64, 1..200_000u64));
    (network, delay, bad, moment(), span(), span()).prop_map(|((loss, twice), delay, bad, stop, killed, offline)| {
        let span = |(at, gone)| (Duration::from_millis(at), Duration::from_millis(gone));
        Faults { loss, twice, delay, bad, liars: false, stop, killed: killed.map(span), offline: offline.map(span) }
    })
}

/// Each host has its turn after the other, and each of them takes as long as it may.
fn limit(hosts: usize) -> Duration {
    seconds(400 * (2 * hosts as u64 + 10))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_happens_it_keeps_its_promises(hosts in 1..14usize, policy in policies(), faults in faults(), seed: u64) {
        World::new(hosts, policy, faults, seed).run(limit(hosts));
    }

    #[test]
    fn nothing_that_hosts_say_breaks_it(hosts in 1..8usize, policy in policies(), faults in faults(), seed: u64) {
        World::new(hosts, policy, Faults { liars: true, bad: 0.8, ..faults }, seed).run(limit(hosts));
    }

    #[test]
    fn without_faults_all_are_live(hosts in 1..30usize, policy in policies(), delay in 1..900u64, seed: u64) {
        let mut world = World::new(hosts, policy, Faults { delay, ..Faults::default() }, seed);
        prop_assert_eq!(world.run(limit(hosts)), Outcome::Success);
    }

    #[test]
    fn a_network_that_loses_and_doubles_changes_nothing(hosts in 1..10usize, policy in policies(), seed: u64) {
        // Patience makes up for losses: so that none of ten hosts is counted lost by a run of bad luck.
        let policy = Policy { answer_within: seconds(60), ..policy };
        let mut world = World::new(hosts, policy, Faults { loss: 0.1, twice: 0.2, delay: 900, ..Faults::default() }, seed);
        prop_assert_eq!(world.run(limit(hosts)), Outcome::Success);
    }
}

#[test]
fn thousands_of_hosts_through_every_fault() {
    for seed in 0..6 {
        let faults = Faults { loss: 0.05, twice: 0.05, delay: 2_000, bad: 0.02, ..Faults::default() };
        let policy = Policy {
            canary: 2,
            bake: seconds(60),
            batches: "5,10%".parse().unwrap(),
            max_failures: [0, 30, 2_000][seed as usize % 3],
            on_failure: if seed % 2 == 0 { OnFailure::Rollback } else { OnFailure::Stop },
            ..Policy::default()
        };
        World::new(2_000, policy, faults, seed).run(seconds(24 * 3600));
    }
}

#[test]
fn ten_thousand_hosts() {
    let policy = Policy { batches: "1,10,1000".parse().unwrap(), ..Policy::default() };
    let mut world = World::new(10_000, policy, Faults { delay: 50, ..Faults::default() }, 1);
    assert_eq!(world.run(seconds(3600)), Outcome::Success);
    assert!(world.answers >= 20_000, "{}", world.answers);
}
