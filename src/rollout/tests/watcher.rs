//! What must be so after every event and at every order, whatever hosts and network do.

use std::collections::HashSet;

use super::super::{Answer, Event, Outcome, Policy, Rollout, State, Step};
use super::node::{Node, Truth};
use super::{host, number};

/// Knows what was sent, what arrived and what is true; the machine knows only what arrived.
pub struct Watcher {
    policy: Policy,
    hosts: Vec<Watched>,
    stopping: Option<bool>,
    /// Who may switch now: the canary, then a batch.
    turn: HashSet<usize>,
    canary: Option<Vec<usize>>,
    batches: usize,
    verdicts: usize,
    /// This operator took over from one that was killed.
    resumed: bool,
}

#[derive(Clone)]
struct Watched {
    state: State,
    heard: bool,
    prepared: bool,
    /// Told to switch, or seen in its turn, and no outcome was heard.
    open: bool,
    /// An outcome was heard.
    closed: bool,
    was_lost: bool,
    /// Told to switch by the operator that was killed.
    before: bool,
    verdicts: usize,
}

const NEW: Watched = Watched {
    state: State::Waiting,
    heard: false,
    prepared: false,
    open: false,
    closed: false,
    was_lost: false,
    before: false,
    verdicts: 0,
};

impl Watcher {
    pub fn new(hosts: usize, policy: &Policy) -> Watcher {
        Watcher {
            policy: policy.clone(),
            hosts: vec![NEW; hosts],
            stopping: None,
            turn: HashSet::new(),
            canary: None,
            batches: 0,
            verdicts: 0,
            resumed: false,
        }
    }

    pub fn resumes(&mut self) {
        let before: Vec<Watched> =
            self.hosts.iter().map(|it| Watched { before: it.before || it.open || it.closed, ..NEW }).collect();
        *self = Watcher { hosts: before, resumed: true, ..Watcher::new(0, &self.policy) };
    }

    pub fn hears(&mut self, at: usize, answer: &Answer) {
        if self.verdicts > 0 {
            return;
        }
        let it = &mut self.hosts[at];
        it.heard = true;
        match answer {
            Answer::Prepared => it.prepared = true,
            Answer::Accepted { step } | Answer::Progress { step } => it.open |= *step == Step::Switch && !it.closed,
            _ => (it.open, it.closed) = (false, true),
        }
    }

    fn failures(&self) -> usize {
        self.hosts.iter().filter(|it| it.state.is_failure()).count()
    }

    /// Before a group of hosts begins.
    fn may_begin(&self) {
        assert_eq!(self.stopping, None, "hosts begin after a stop rule fired");
        assert!(self.failures() <= self.policy.max_failures, "hosts begin after too many failures");
        let at_it = self.hosts.iter().position(|it| it.state == State::Switching);
        assert_eq!(at_it, None, "hosts begin while another is in its turn");
    }

    pub fn sees(&mut self, event: &Event, rollout: &Rollout, nodes: &[Node]) {
        match event {
            Event::Host { host, state, .. } => {
                let at = number(host);
                let it = &mut self.hosts[at];
                it.was_lost |= matches!(state, State::Silent | State::Unreachable | State::Failed);
                if *state == State::Prepared && it.open {
                    let truth = nodes[at].truth;
                    assert!(
                        nodes[at].fate.lies || !matches!(truth, Truth::Switching | Truth::Live),
                        "{host} is believed never to have had its turn, and is {truth:?}"
                    );
                    it.open = false;
                }
                it.state = *state;
            }
            Event::Canary { hosts } => {
                self.may_begin();
                assert!(self.canary.is_none() && self.batches == 0 && hosts.len() <= self.policy.canary);
                let canary: Vec<usize> = hosts.iter().map(number).collect();
                let refused = self.hosts.iter().filter(|it| it.state == State::Refused).count();
                assert!(refused == 0, "the canary begins although {refused} hosts refused");
                self.turn = canary.iter().copied().collect();
                self.canary = Some(canary);
            }
            Event::Bake { .. } => {
                let canary = self.canary.as_ref().expect("a canary before its bake");
                assert!(canary.iter().all(|&at| self.hosts[at].state == State::Live), "a bake without a live canary");
            }
            Event::Batch { number: batch, of, hosts } => {
                self.may_begin();
                self.batches += 1;
                assert!(*batch == self.batches && of >= batch);
                let size = self.policy.batches.size(*batch, self.hosts.len());
                assert!((1..=size).contains(&hosts.len()), "{} hosts in a batch of {size}", hosts.len());
                self.turn = hosts.iter().map(number).collect();
                assert_eq!(self.turn.len(), hosts.len());
                let prepared = self.turn.iter().all(|&at| self.hosts[at].state == State::Prepared);
                assert!(prepared, "a batch with hosts that are not prepared");
                if let (1, Some(canary)) = (self.batches, &self.canary) {
                    assert!(
                        canary.iter().all(|&at| self.hosts[at].state == State::Live),
                        "batches without a live canary"
                    );
                } else if self.batches == 1 && self.policy.canary > 0 {
                    // Hosts that say they are live, all of them, say that this is a resume.
                    let liars = nodes.iter().any(|node| node.fate.lies);
                    assert!(self.resumed || liars, "batches without a canary");
                }
            }
            Event::Stopping { rolls_back, .. } => {
                assert!(self.stopping.is_none() || (self.stopping == Some(false) && *rolls_back));
                self.stopping = Some(*rolls_back);
                assert!(rollout.stopping().is_some());
            }
            Event::Verdict => {
                self.verdicts += 1;
                assert!(self.verdicts == 1 && rollout.verdict().is_some());
            }
        }
    }

    pub fn sends(&mut self, step: Step, hosts: &[usize], canary: bool, rollout: &Rollout, nodes: &[Node]) {
        assert!(!hosts.is_empty() && hosts.iter().collect::<HashSet<_>>().len() == hosts.len());
        assert_eq!(step == Step::Verdict, rollout.verdict().is_some(), "{step}");
        assert!(!canary || step == Step::Switch);
        match step {
            Step::Switch => {
                assert_eq!(self.stopping, None, "told to switch after a stop rule fired");
                assert_eq!(canary, self.batches == 0, "only the first ones are the canary");
                for &at in hosts {
                    assert!(self.turn.contains(&at), "{} switches, and it is not its turn", host(at));
                    assert!(self.hosts[at].prepared, "{} switches before it is prepared", host(at));
                    self.hosts[at].open = true;
                }
                for (at, node) in nodes.iter().enumerate() {
                    let it = &self.hosts[at];
                    let at_it = node.up && node.truth == Truth::Switching && !node.fate.lies;
                    assert!(!at_it || self.turn.contains(&at) || it.was_lost || it.before, "{} out of turn", host(at));
                }
            }
            Step::Abort => {
                for &at in hosts {
                    let it = &self.hosts[at];
                    assert!(!it.open, "{} drops its release in the middle of its turn", host(at));
                    // Only what an operator who was killed has told it may be under way unknown.
                    let unknown = it.before || nodes[at].fate.lies;
                    assert!(nodes[at].truth != Truth::Switching || unknown, "{} is in its turn", host(at));
                }
                assert!(self.stopping.is_some(), "nobody stopped it");
            }
            Step::Rollback => assert_eq!(self.stopping, Some(true), "nobody goes back"),
            Step::Verdict => {
                for &at in hosts {
                    self.hosts[at].verdicts += 1;
                    assert!(self.hosts[at].verdicts <= 2);
                }
            }
            Step::Prepare => {}
        }
    }

    /// Do the machine's own counts and the view agree?
    pub fn counts(&self, rollout: &Rollout) {
        if self.hosts.len() > 50 {
            return;
        }
        for (watched, host) in self.hosts.iter().zip(rollout.hosts()) {
            assert_eq!(watched.state, host.state(), "{}", host.name());
        }
        let failures = self.failures();
        assert_eq!(rollout.failures(), failures);
        let open = rollout.stopping().is_none() && rollout.verdict().is_none();
        assert!(!open || failures <= self.policy.max_failures, "a stop rule that did not fire");
    }

    pub fn look_at_the_end(&self, rollout: &Rollout, nodes: &[Node], liars: bool) {
        let verdict = rollout.verdict().expect("a verdict");
        assert!(rollout.poll_timeout().is_none());
        let names: Vec<_> = verdict.hosts.iter().map(|it| it.host.clone()).collect();
        assert_eq!(names, (0..nodes.len()).map(host).collect::<Vec<_>>());
        let live = verdict.hosts.iter().filter(|it| it.state == State::Live).count();
        match &verdict.outcome {
            Outcome::Success => assert!(live == nodes.len() && self.stopping.is_none()),
            Outcome::Incomplete { .. } => {
                assert!(live < nodes.len() && self.stopping.is_none() && self.failures() <= self.policy.max_failures);
            }
            Outcome::Stopped { .. } => assert!(self.stopping.is_some()),
            Outcome::RolledBack { .. } => assert_eq!(self.stopping, Some(true)),
        }
        assert!(self.stopping != Some(true) || live == 0, "a live host in {:?}", verdict.outcome);
        for (at, ended) in verdict.hosts.iter().enumerate() {
            let (truth, lost) = (nodes[at].truth, rollout.hosts()[at].lost);
            assert!(!ended.state.is_failure() || ended.why.is_some(), "{ended:?}");
            let right = match ended.state {
                State::Waiting => self.stopping.is_some() && (truth == Truth::Fresh || self.resumed),
                State::Live => matches!(truth, Truth::Live | Truth::Failed(_)),
                State::Aborted => truth == Truth::Dropped,
                State::RolledBack => truth == Truth::RolledBack,
                State::RollbackFailed => truth == Truth::RollbackFailed,
                State::Refused => truth == Truth::Refused,
                // Whoever said that the new release serves all the same went back with the others.
                State::Failed => {
                    lost || matches!(truth, Truth::Failed(_)) && !(self.stopping == Some(true) && nodes[at].was_live)
                }
                State::Silent => self.hosts[at].heard,
                State::Unreachable => !self.hosts[at].heard,
                State::Asked | State::Preparing | State::Prepared => false,
                State::Switching | State::Aborting | State::RollingBack => false,
            };
            assert!(right || liars, "{ended:?} is {truth:?}");
        }
    }
}
