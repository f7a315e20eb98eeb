//! A deploy across hosts as a pure state machine: prepare, canary, bake, batches, verdict.
//!
//! Answers and the time go in; orders, events for the view and the moment to look again come out. It owns no socket and
//! reads no clock, so losses, repetitions, reorderings and hours of waiting are tested at any speed. Whoever drives it
//! signs and sends what [`Rollout::poll_order`] gives, and maps what hosts say to [`Answer`].
//!
//! What it promises, whatever hosts and network do:
//!
//! - No host is told to switch before it said that it is prepared, and none after a stop rule fired.
//! - The canary is alone. A batch begins when every host of the one before has ended its turn or counts as lost.
//! - No host is told to drop its release while its turn may be under way.
//! - A host that another plan has taken over is told nothing more but that it is over, and nobody begins after that.
//! - It ends, and its verdict names each host once.
//!
//! Loss is harmless because orders are repeated until something is heard, and repetition because a node answers an
//! order that it has carried out with how it stands. So the order to prepare, repeated, is a question that changes
//! nothing; and a rollout whose operator was killed goes on as a new machine over the same hosts.

mod answer;
mod flow;
mod host;
mod policy;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use host::Ask;
pub use host::{Host, State};
use policy::FOREVER;
pub use policy::{Batches, NoBatches, NoOnFailure, OnFailure, Policy};
pub use verdict::{Ended, Outcome, Verdict};

use crate::name::NodeName;

/// What hosts are told to do. Each may be said again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Fetch, verify, stage; no script runs. To a host that has done so, or more: say how you stand.
    Prepare,
    /// Have your turn: scripts and switch.
    Switch,
    /// Drop what was staged; your turn will not come.
    Abort,
    /// Go back to the last good release from before this plan, after your turn if it is under way; if it never came, as `Abort`.
    Rollback,
    /// It is over: forget the plan's claim on the site. Whoever holds a release that was only staged drops it.
    Verdict,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Prepare => "prepare",
            Step::Switch => "switch",
            Step::Abort => "abort",
            Step::Rollback => "rollback",
            Step::Verdict => "verdict",
        })
    }
}

/// To be signed and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub step: Step,
    /// Who is to do it, at least one.
    pub hosts: Vec<NodeName>,
    /// They are the first to switch.
    pub canary: bool,
}

/// What a host says, in answer to an order or on its own. Texts are stored as they are: whoever reads them from the bus
/// bounds and cleans them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Heard the order, begins.
    Accepted {
        /// What it was told to do.
        step: Step,
    },
    /// Still at it.
    Progress {
        /// What it does.
        step: Step,
    },
    /// The release is staged.
    Prepared,
    /// Will not.
    Refused {
        /// The reason.
        why: String,
    },
    /// Another plan has the site instead: nothing more of this one is done there.
    TakenOver {
        /// By which, and how far this one had come.
        why: String,
    },
    /// The release serves.
    Live {
        /// What it says of it, such as the release's name. May be empty.
        summary: String,
    },
    /// Could not.
    Failed {
        /// At which step: before its turn (`Prepare`), or in it.
        during: Step,
        /// The new release serves all the same; otherwise what served before the plan.
        switched: bool,
        /// The reason.
        why: String,
    },
    /// The staged release is dropped.
    Aborted,
    /// Serves the last good release from before the plan.
    RolledBack,
    /// Could not go back.
    RollbackFailed {
        /// The reason.
        why: String,
    },
}

/// What happened, for the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A host's state changed, or what is known of it.
    Host {
        /// Who.
        host: NodeName,
        /// Where it is now.
        state: State,
        /// The reason, or what it says of its release.
        why: Option<String>,
    },
    /// These go first. Those that are live already, from before a resume, are among them.
    Canary {
        /// In the plan's order.
        hosts: Vec<NodeName>,
    },
    /// The canary is live and is watched until then. Comes again with a later moment when the connection was gone.
    Bake {
        /// By the driver's clock.
        until: Instant,
    },
    /// The next ones begin.
    Batch {
        /// From 1.
        number: usize,
        /// How many there will be as things stand.
        of: usize,
        /// Who.
        hosts: Vec<NodeName>,
    },
    /// No host begins from here on; those in their turn are waited for.
    Stopping {
        /// The rule that fired.
        why: String,
        /// Will live hosts go back?
        rolls_back: bool,
    },
    /// It is decided: [`Rollout::verdict`] has it.
    Verdict,
}

/// The rollout can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The list is empty.
    #[error("a rollout needs at least one host")]
    NoHosts,
    /// It stands twice in the list.
    #[error("the host {0} stands in the plan twice")]
    Twice(NodeName),
    /// More than anybody has.
    #[error("a plan has at most {MOST_HOSTS} hosts")]
    TooMany,
}

/// Largest plan.
const MOST_HOSTS: usize = 1_000_000;

/// Where the rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Canary,
    Baking {
        until: Instant,
    },
    /// The bake is over: is the canary still live?
    Checking,
    Batches,
    /// A stop rule fired: hosts in their turn are waited for.
    Draining,
    /// They drop and go back.
    WindingUp,
    /// The verdict was sent once, and is repeated then.
    Farewell {
        again: Instant,
    },
    Over,
}

/// Why no further host begins.
#[derive(Debug, Clone)]
struct Stop {
    why: String,
    rolls_back: bool,
}

/// A deploy across hosts.
///
/// Feed it with [`handle_answer`](Self::handle_answer) and [`handle_timeout`](Self::handle_timeout); after each, drain
/// [`poll_order`](Self::poll_order) and [`poll_event`](Self::poll_event), and look at
/// [`poll_timeout`](Self::poll_timeout). The driver's first orders wait as soon as it is made.
pub struct Rollout {
    policy: Policy,
    hosts: Vec<Host>,
    index: HashMap<NodeName, usize>,
    phase: Phase,
    stop: Option<Stop>,
    verdict: Option<Verdict>,
    /// How many hosts are in each state.
    counts: [usize; State::COUNT],
    /// Lost hosts that the end waits for all the same.
    awaited: usize,
    /// Hosts that have not been asked at all, from here on.
    next_to_ask: usize,
    /// Prepared hosts whose turn comes in a batch; some may have changed since.
    queue: VecDeque<usize>,
    /// The number of the last batch.
    batch: usize,
    /// The canary is live and has baked; what happens to it now counts as with any other host.
    canary_passed: bool,
    /// Hosts whose change may fire a stop rule.
    trouble: VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    clock: Clock,
}

/// An order with the numbers of its hosts.
struct Outgoing {
    step: Step,
    canary: bool,
    hosts: Vec<usize>,
}

/// The driver's time without the spans in which it had no connection: nobody can be silent in those.
#[derive(Debug, Default)]
struct Clock {
    skipped: Duration,
    stopped: Option<Instant>,
}

impl Clock {
    fn read(&self, now: Instant) -> Instant {
        let now = self.stopped.unwrap_or(now);
        now.checked_sub(self.skipped).unwrap_or(now)
    }
}

impl Rollout {
    /// A rollout to `hosts`, in this order: the first ones that prepare are the canary.
    ///
    /// # Errors
    /// When there is no host, or one stands there twice.
    pub fn new(hosts: Vec<NodeName>, policy: Policy, now: Instant) -> Result<Rollout, Error> {
        if hosts.is_empty() {
            return Err(Error::NoHosts);
        }
        if hosts.len() > MOST_HOSTS {
            return Err(Error::TooMany);
        }
        let mut index = HashMap::with_capacity(hosts.len());
        for (at, host) in hosts.iter().enumerate() {
            if index.insert(host.clone(), at).is_some() {
                return Err(Error::Twice(host.clone()));
            }
        }
        let mut counts = [0; State::COUNT];
        counts[State::Waiting as usize] = hosts.len();
        let mut rollout = Rollout {
            policy: policy.sound(),
            hosts: hosts.into_iter().map(Host::new).collect(),
            index,
            phase: Phase::Preparing,
            stop: None,
            verdict: None,
            counts,
            awaited: 0,
            next_to_ask: 0,
            queue: VecDeque::new(),
            batch: 0,
            canary_passed: false,
            trouble: VecDeque::new(),
            timers: BTreeSet::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            clock: Clock::default(),
        };
        rollout.go_on(now);
        Ok(rollout)
    }

    /// A host said something. `false`: it is none of this plan's, and nothing came of it.
    pub fn handle_answer(&mut self, host: &NodeName, answer: Answer, now: Instant) -> bool {
        let Some(&at) = self.index.get(host) else { return false };
        let now = self.clock.read(now);
        self.take_answer(at, answer, now);
        self.set_timer(at);
        self.go_on(now);
        true
    }

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.clock.stopped.is_some() {
            return;
        }
        let now = self.clock.read(now);
        // All that are due first, and only then the rules: hosts that are lost at the same moment are told together.
        while let Some(&(at, host)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.hosts[host].timer = None;
            self.look_at(host, now);
            self.set_timer(host);
        }
        self.go_on(now);
    }

    /// No further host is to begin, because of something that is not seen here: `why` is for people. Those in their turn are
    /// waited for, those that only prepared drop their release, those that are live stay, whatever `on_failure` says.
    pub fn stop(&mut self, why: &str, now: Instant) {
        let now = self.clock.read(now);
        self.stop_for(why.to_owned(), false, now);
        self.go_on(now);
    }

    /// The operator before was stopping it when they left: nobody begins now either. All hosts are asked how they stand
    /// first, as after any resume. To be said before any answer is.
    pub fn was_stopping(&mut self, why: String, rolls_back: bool) {
        self.stop = Some(Stop { why: why.clone(), rolls_back });
        self.events.push_back(Event::Stopping { why, rolls_back });
    }

    /// The driver has no connection: until [`connected`](Self::connected) time stands still here, because silence means
    /// nothing. Take no orders in the meantime.
    pub fn disconnected(&mut self, now: Instant) {
        if self.clock.stopped.is_none() {
            self.clock.stopped = Some(now);
        }
    }

    /// The connection is back: what was ordered last may be lost, and is repeated. Nobody's silence counts from before.
    pub fn connected(&mut self, now: Instant) {
        let Some(stopped) = self.clock.stopped.take() else { return };
        self.clock.skipped += now.saturating_duration_since(stopped);
        let now = self.clock.read(now);
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            let Some(ask) = &mut host.ask else { continue };
            // What they said while the loss went unnoticed is gone too: their silence begins anew.
            if !ask.heard {
                ask.since = now;
            }
            host.heard = host.heard.map(|_| now);
            self.ask_again(at, self.policy.resend, now);
            self.set_timer(at);
        }
        if let Phase::Baking { until } = self.phase {
            self.events.push_back(Event::Bake { until: until + self.clock.skipped });
        }
        self.go_on(now);
    }

    /// What to sign and send now. A host stands in one order of a step at a time.
    pub fn poll_order(&mut self) -> Option<Order> {
        while let Some(Outgoing { step, canary, hosts }) = self.outgoing.pop_front() {
            let mut names = Vec::with_capacity(hosts.len());
            for at in hosts {
                let host = &mut self.hosts[at];
                if step != Step::Verdict {
                    // Another step may have taken its place since.
                    let Some(ask) = host.ask.as_mut().filter(|ask| ask.step == step && ask.queued) else { continue };
                    ask.queued = false;
                    host.told = true;
                    if let (Step::Switch, Some(turn)) = (step, &mut host.turn) {
                        turn.sent = true;
                    }
                }
                names.push(host.name.clone());
            }
            if !names.is_empty() {
                return Some(Order { step, hosts: names, canary });
            }
        }
        None
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). `None`: it is over, or there is no connection.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.clock.stopped.is_some() {
            return None;
        }
        let own = match self.phase {
            Phase::Baking { until: at } | Phase::Farewell { again: at } => Some(at),
            Phase::Over => return None,
            _ => None,
        };
        own.into_iter().chain(self.timers.first().map(|(at, _)| *at)).min().map(|at| at + self.clock.skipped)
    }

    /// All hosts, in the plan's order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One host.
    pub fn host(&self, name: &NodeName) -> Option<&Host> {
        self.index.get(name).map(|&at| &self.hosts[at])
    }

    /// How many hosts are in a state.
    pub fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    /// Why it stops or was stopped, once a rule fired.
    pub fn stopping(&self) -> Option<&str> {
        self.stop.as_ref().map(|stop| stop.why.as_str())
    }

    /// Is what is live to go back, by a stop rule?
    pub fn rolls_back(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.rolls_back)
    }

    /// How it ended, once that is decided; from then on [`Step::Verdict`] is ordered, at most twice.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Nothing more will be ordered: the driver can leave.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.outgoing.is_empty()
    }

    /// Hosts that count against `max_failures`.
    fn failures(&self) -> usize {
        [State::Unreachable, State::Silent, State::Failed, State::Refused].iter().map(|state| self.count(*state)).sum()
    }

    /// The one place where a state changes, so that counts, view and rules agree.
    fn set_state(&mut self, at: usize, state: State, why: Option<String>) {
        let host = &mut self.hosts[at];
        host.lost = false;
        if host.state == state && host.why == why {
            return;
        }
        self.counts[host.state as usize] -= 1;
        self.counts[state as usize] += 1;
        (host.state, host.why) = (state, why.clone());
        self.events.push_back(Event::Host { host: host.name.clone(), state, why });
        if state.is_failure() || matches!(state, State::Aborted | State::RolledBack | State::RollbackFailed) {
            self.trouble.push_back(at);
        }
    }

    /// Orders a step of one host; whatever it was asked before is taken back.
    fn ask(&mut self, at: usize, step: Step, now: Instant) {
        let interval = self.policy.resend;
        let host = &mut self.hosts[at];
        // Whoever never said anything is given no more time by being asked something else.
        let since = host.ask.filter(|_| host.heard.is_none()).map_or(now, |ask| ask.since);
        host.ask = Some(Ask { step, since, sent: now, queued: true, heard: false, reminding: false, interval });
        self.put_out(step, at);
        self.set_timer(at);
    }

    /// Repeats what the host was asked, and waits for `interval` before the next time.
    fn ask_again(&mut self, at: usize, interval: Duration, now: Instant) {
        let Some(ask) = &mut self.hosts[at].ask else { return };
        ask.sent = now;
        ask.interval = interval;
        let (step, waits) = (ask.step, std::mem::replace(&mut ask.queued, true));
        if let (Step::Switch, Some(turn)) = (step, &mut self.hosts[at].turn) {
            turn.asked = now;
        }
        if !waits {
            self.put_out(step, at);
        }
    }

    fn put_out(&mut self, step: Step, at: usize) {
        let canary = step == Step::Switch && self.hosts[at].canary;
        match self.outgoing.back_mut() {
            Some(last) if last.step == step && last.canary == canary => last.hosts.push(at),
            _ => self.outgoing.push_back(Outgoing { step, canary, hosts: vec![at] }),
        }
    }

    /// Nothing is wanted of the host any more.
    fn ask_nothing(&mut self, at: usize) {
        self.hosts[at].ask = None;
        self.set_awaited(at, false);
        self.set_timer(at);
    }

    fn set_awaited(&mut self, at: usize, awaited: bool) {
        let host = &mut self.hosts[at];
        match (std::mem::replace(&mut host.awaited, awaited), awaited) {
            (false, true) => self.awaited += 1,
            (true, false) => self.awaited -= 1,
            _ => {}
        }
    }

    fn set_timer(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let next = host.ask_again_at(&self.policy).into_iter().chain(host.gives_up_at(&self.policy)).min();
        if host.timer == next {
            return;
        }
        if let Some(old) = std::mem::replace(&mut host.timer, next) {
            self.timers.remove(&(old, at));
        }
        if let Some(next) = next {
            self.timers.insert((next, at));
        }
    }
}

/// `now` and `time` later, for any time.
fn after(now: Instant, time: Duration) -> Instant {
    now + time.min(FOREVER)
}

impl fmt::Debug for Rollout {
    /// Without its thousands of hosts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollout")
            .field("phase", &self.phase)
            .field("hosts", &self.hosts.len())
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}
