//! The machine alone: ten thousand simulated hosts, from the first order to the verdict. There is nothing beside it: the
//! row is to show that the machine is never what a rollout waits for.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use failcake::name::NodeName;
use failcake::rollout::{Answer, Outcome, Policy, Rollout, Step};

use crate::measure::{median, ms};

const HOSTS: usize = 10_000;
const ROUNDS: usize = 5;

/// Measures it with several sizes of batches and a lossy network.
pub fn run() {
    println!("\nrollout, the machine alone, {HOSTS} simulated hosts ({ROUNDS} rounds)");
    println!("  {:<44} {:>10} {:>10} {:>10}", "", "median ms", "fastest", "answers");
    for (name, batches, lost_of_100) in [
        ("batches of 25%", "25%", 0),
        ("batches of 1,10,1000", "1,10,1000", 0),
        ("one host after another", "1", 0),
        ("batches of 1000, 5 of 100 messages lost", "1000", 5),
    ] {
        let mut times = Vec::new();
        let mut answers = 0;
        for round in 0..ROUNDS {
            let policy = Policy { batches: batches.parse().expect("sizes"), ..Policy::default() };
            let begun = Instant::now();
            answers = roll_out(policy, lost_of_100, round as u64);
            times.push(begun.elapsed());
        }
        let middle = median(&mut times);
        println!("  {name:<44} {:>10.1} {:>10.1} {answers:>10}", ms(middle), ms(times[0]));
    }
}

/// How far a host is; it answers an order that it has carried out with that.
#[derive(Clone, Copy, PartialEq)]
enum Done {
    Nothing,
    Preparing,
    Prepared,
    Switching,
    Live,
}

enum Happening {
    Arrives(usize, Step),
    IsDone(usize),
    Answers(usize, Answer),
}

/// From the first order to the verdict, in simulated time; how many answers it took.
fn roll_out(policy: Policy, lost_of_100: u64, seed: u64) -> usize {
    let names: Vec<NodeName> = (0..HOSTS).map(|at| format!("web{at:05}").parse().expect("a name")).collect();
    let index: HashMap<NodeName, usize> = names.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect();
    let mut hosts = vec![Done::Nothing; HOSTS];
    let mut now = Instant::now();
    let mut rollout = Rollout::new(names.clone(), policy, now).expect("a plan");
    let mut queue: BTreeMap<(Instant, u64), Happening> = BTreeMap::new();
    let (mut serial, mut dice, mut answers) = (0u64, seed, 0);
    let mut later = |queue: &mut BTreeMap<_, _>, at: Instant, what: Happening| {
        // Knuth's generator: the upper half is random enough here.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lost = (dice >> 33) % 100 < lost_of_100 && !matches!(what, Happening::IsDone(_));
        serial += 1;
        if !lost {
            queue.insert((at + Duration::from_micros((dice >> 40) % 20_000), serial), what);
        }
    };
    while !rollout.is_over() {
        while rollout.poll_event().is_some() {}
        while let Some(order) = rollout.poll_order() {
            for name in &order.hosts {
                later(&mut queue, now, Happening::Arrives(index[name], order.step));
            }
        }
        let due = rollout.poll_timeout();
        let Some((&(at, _), _)) = queue.first_key_value().filter(|((at, _), _)| due.is_none_or(|due| *at <= due))
        else {
            now = due.unwrap_or(now);
            rollout.handle_timeout(now);
            continue;
        };
        now = at;
        let Some((_, what)) = queue.pop_first() else { continue };
        match what {
            Happening::Answers(at, answer) => {
                answers += 1;
                rollout.handle_answer(&names[at], answer, now);
            }
            Happening::IsDone(at) => {
                hosts[at] = if hosts[at] == Done::Preparing { Done::Prepared } else { Done::Live };
                later(&mut queue, now, Happening::Answers(at, report(hosts[at])));
            }
            Happening::Arrives(at, step) => {
                let begins = match (step, hosts[at]) {
                    (Step::Prepare, Done::Nothing) => Some(Done::Preparing),
                    (Step::Switch, Done::Prepared) => Some(Done::Switching),
                    _ => None,
                };
                if let Some(work) = begins {
                    hosts[at] = work;
                    later(&mut queue, now + Duration::from_millis(500), Happening::IsDone(at));
                }
                later(&mut queue, now, Happening::Answers(at, report(hosts[at])));
            }
        }
    }
    assert_eq!(rollout.verdict().expect("a verdict").outcome, Outcome::Success);
    answers
}

fn report(host: Done) -> Answer {
    match host {
        Done::Nothing | Done::Preparing => Answer::Progress { step: Step::Prepare },
        Done::Prepared => Answer::Prepared,
        Done::Switching => Answer::Progress { step: Step::Switch },
        Done::Live => Answer::Live { summary: "20240101-120000".to_owned() },
    }
}
