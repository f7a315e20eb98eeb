//! A network with every fault, the same each time for one seed, and hosts behind it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{Event, Order, Outcome, Policy, Rollout, Step};
use super::node::{Alarm, Deeds, Fate, Node};
use super::watcher::Watcher;
use super::{Answer, host};

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn is(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }

    /// Up to so many milliseconds.
    pub fn time(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most) + 1)
    }
}

/// What goes wrong between operator and hosts.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub loss: f64,
    pub twice: f64,
    /// Longest way of a message, in milliseconds; each takes its own time, so that they overtake each other.
    pub delay: u64,
    /// Share of hosts with a bad fate.
    pub bad: f64,
    /// Some of them say what is not so.
    pub liars: bool,
    /// The operator's first Ctrl-C.
    pub stop: Option<Duration>,
    /// The operator is killed then, and resumes so much later.
    pub killed: Option<(Duration, Duration)>,
    /// The operator's connection is gone then, for so long.
    pub offline: Option<(Duration, Duration)>,
}

enum Happening {
    ToNode { at: usize, step: Step },
    ToOperator { at: usize, answer: Answer },
    Alarm { at: usize, alarm: Alarm, work: u32 },
    Stop,
    Killed,
    Resumes,
    Offline,
    Online,
}

/// Everything there is.
pub struct World {
    pub policy: Policy,
    pub faults: Faults,
    pub random: Random,
    pub nodes: Vec<Node>,
    pub begun: Instant,
    pub now: Instant,
    pub rollout: Option<Rollout>,
    pub watcher: Watcher,
    online: bool,
    serial: u64,
    happenings: BTreeMap<(Instant, u64), Happening>,
    /// How many messages reached the operator.
    pub answers: usize,
}

impl World {
    pub fn new(hosts: usize, policy: Policy, faults: Faults, seed: u64) -> World {
        let mut random = Random(seed);
        let fates = (0..hosts).map(|_| Fate::any(&mut random, faults.bad, faults.liars));
        let nodes: Vec<Node> = fates.collect::<Vec<_>>().into_iter().map(Node::new).collect();
        let begun = Instant::now();
        let watcher = Watcher::new(hosts, &policy);
        let mut world = World {
            policy,
            faults,
            random,
            nodes,
            begun,
            now: begun,
            rollout: None,
            watcher,
            online: true,
            serial: 0,
            happenings: BTreeMap::new(),
            answers: 0,
        };
        for at in 0..hosts {
            let arrives = world.nodes[at].fate.arrives;
            if !arrives.is_zero() {
                world.later(arrives, Happening::Alarm { at, alarm: Alarm::Returns, work: 0 });
            }
        }
        if let Some(at) = world.faults.stop {
            world.later(at, Happening::Stop);
        }
        if let Some((at, gone)) = world.faults.killed {
            world.later(at, Happening::Killed);
            world.later(at + gone, Happening::Resumes);
        }
        if let Some((at, gone)) = world.faults.offline {
            world.later(at, Happening::Offline);
            world.later(at + gone, Happening::Online);
        }
        world.start();
        world
    }

    fn start(&mut self) {
        let hosts = (0..self.nodes.len()).map(host).collect();
        self.rollout = Some(Rollout::new(hosts, self.policy.clone(), self.now).unwrap());
        if !self.online {
            self.rollout.as_mut().unwrap().disconnected(self.now);
        }
    }

    fn later(&mut self, after: Duration, what: Happening) {
        self.serial += 1;
        self.happenings.insert((self.now + after, self.serial), what);
    }

    /// Lets everything happen until the rollout is over, within `limit` of its time.
    pub fn run(&mut self, limit: Duration) -> Outcome {
        self.drain();
        let mut steps = 0u64;
        while self.rollout.as_ref().is_none_or(|rollout| !rollout.is_over()) {
            steps += 1;
            assert!(self.now - self.begun < limit && steps < 100_000_000, "no end: {:?}", self.rollout);
            let due = self.rollout.as_ref().and_then(Rollout::poll_timeout);
            let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
            match (due, next) {
                (Some(due), next) if next.is_none_or(|next| due < next) => {
                    self.now = self.now.max(due);
                    self.rollout.as_mut().unwrap().handle_timeout(self.now);
                }
                (_, Some(_)) => {
                    let ((at, _), what) = self.happenings.pop_first().unwrap();
                    self.now = self.now.max(at);
                    self.happens(what);
                }
                _ => panic!("it waits for nothing: {:?}", self.rollout),
            }
            self.drain();
        }
        let rollout = self.rollout.as_ref().unwrap();
        self.watcher.look_at_the_end(rollout, &self.nodes, self.faults.liars);
        rollout.verdict().expect("a verdict").outcome.clone()
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::ToNode { at, step } => {
                let deeds = self.nodes[at].hear(step, &mut self.random);
                self.take(at, deeds);
            }
            Happening::Alarm { at, alarm, work } => {
                let deeds = self.nodes[at].alarm(alarm, work, &mut self.random);
                self.take(at, deeds);
            }
            Happening::ToOperator { at, answer } => {
                if let Some(rollout) = self.rollout.as_mut().filter(|_| self.online) {
                    self.answers += 1;
                    self.watcher.hears(at, &answer);
                    assert!(rollout.handle_answer(&host(at), answer, self.now));
                }
            }
            Happening::Stop => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.stop("the operator stopped it", self.now);
                }
            }
            Happening::Killed => self.rollout = None,
            Happening::Resumes => {
                self.watcher.resumes();
                self.start();
            }
            Happening::Offline => {
                self.online = false;
                if let Some(rollout) = &mut self.rollout {
                    rollout.disconnected(self.now);
                }
            }
            Happening::Online => {
                self.online = true;
                if let Some(rollout) = &mut self.rollout {
                    rollout.connected(self.now);
                }
            }
        }
    }

    fn take(&mut self, at: usize, deeds: Deeds) {
        for answer in deeds.says {
            self.send(|| Happening::ToOperator { at, answer: answer.clone() });
        }
        for (after, alarm) in deeds.alarms {
            let work = self.nodes[at].work;
            self.later(after, Happening::Alarm { at, alarm, work });
        }
    }

    fn send(&mut self, message: impl Fn() -> Happening) {
        let copies = if self.random.is(self.faults.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.random.is(self.faults.loss) {
                let way = self.random.time(self.faults.delay);
                self.later(way, message());
            }
        }
    }

    /// Takes what the machine has to say, under the watcher's eyes.
    fn drain(&mut self) {
        let Some(mut rollout) = self.rollout.take() else { return };
        loop {
            while let Some(event) = rollout.poll_event() {
                self.watcher.sees(&event, &rollout, &self.nodes);
                if let Event::Bake { until } = event {
                    assert!(until >= self.now);
                }
            }
            let order = if self.online { rollout.poll_order() } else { None };
            let Some(Order { step, hosts, canary }) = order else { break };
            let hosts: Vec<usize> = hosts.iter().map(super::number).collect();
            self.watcher.sends(step, &hosts, canary, &rollout, &self.nodes);
            for at in hosts {
                self.send(|| Happening::ToNode { at, step });
            }
        }
        self.watcher.counts(&rollout);
        self.rollout = Some(rollout);
    }
}
