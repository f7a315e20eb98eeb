//! The machine by hand (hosts say what the test says, time passes when the test says so), and in a simulated network.

mod faults;
mod flow;
mod late;
mod network;
mod node;
mod policy;
mod resume;
mod taken;
mod watcher;

use std::time::{Duration, Instant};

use super::*;

/// A rollout and a clock that stands still until it is told.
struct Stage {
    rollout: Rollout,
    now: Instant,
}

fn host(number: usize) -> NodeName {
    format!("web{number:02}").parse().unwrap()
}

fn number(name: &NodeName) -> usize {
    name.as_str().strip_prefix("web").unwrap().parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn live() -> Answer {
    Answer::Live { summary: String::new() }
}

fn at(step: Step) -> Answer {
    Answer::Progress { step }
}

fn failed(during: Step) -> Answer {
    Answer::Failed { during, switched: false, why: "the disk is full".to_owned() }
}

fn refused() -> Answer {
    Answer::Refused { why: "ann holds the site".to_owned() }
}

impl Stage {
    /// `web01` to `webNN`.
    fn new(hosts: usize, policy: Policy) -> Stage {
        let now = Instant::now();
        let rollout = Rollout::new((1..=hosts).map(host).collect(), policy, now).unwrap();
        Stage { rollout, now }
    }

    fn say(&mut self, number: usize, answer: Answer) {
        assert!(self.rollout.handle_answer(&host(number), answer, self.now));
    }

    fn all_say(&mut self, numbers: impl IntoIterator<Item = usize>, answer: &Answer) {
        numbers.into_iter().for_each(|number| self.say(number, answer.clone()));
    }

    /// All orders that wait, as `switch! web01` (the canary) or `prepare web01 web02`.
    fn orders(&mut self) -> Vec<String> {
        let mut orders = Vec::new();
        while let Some(order) = self.rollout.poll_order() {
            let names: Vec<_> = order.hosts.iter().map(NodeName::as_str).collect();
            orders.push(format!("{}{} {}", order.step, if order.canary { "!" } else { "" }, names.join(" ")));
        }
        orders
    }

    /// Lets time pass, with everything that is due in it; the orders of that time.
    fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut orders = self.orders();
        while let Some(at) = self.rollout.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.rollout.handle_timeout(self.now);
            orders.extend(self.orders());
        }
        self.now = end;
        orders
    }

    /// As far as the canary's turn.
    fn prepared(hosts: usize, policy: Policy) -> Stage {
        let mut stage = Stage::new(hosts, policy);
        stage.orders();
        stage.all_say(1..=hosts, &Answer::Prepared);
        stage
    }

    /// The orders and the moments of them, in seconds from now, until `time` has passed.
    fn timeline(&mut self, time: Duration) -> Vec<String> {
        let (begun, end) = (self.now, self.now + time);
        let mut lines = Vec::new();
        loop {
            let at = (self.now - begun).as_secs_f64();
            lines.extend(self.orders().into_iter().map(|order| format!("{at} {order}")));
            match self.rollout.poll_timeout().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.rollout.handle_timeout(self.now);
        }
        self.now = end;
        lines
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.rollout.poll_event()).collect()
    }

    fn states(&self) -> Vec<State> {
        self.rollout.hosts().iter().map(Host::state).collect()
    }

    fn state(&self, number: usize) -> State {
        self.rollout.host(&host(number)).unwrap().state()
    }

    fn why(&self, number: usize) -> &str {
        self.rollout.host(&host(number)).unwrap().why().unwrap_or_default()
    }

    fn outcome(&self) -> String {
        self.rollout.verdict().expect("a verdict").outcome.to_string()
    }
}
