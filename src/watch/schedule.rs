//! When which work is due: a machine without threads, sockets and clocks.
//!
//! Events only mark a key as wanted, so however many come, at most one piece of work runs for a key, begins at most
//! once per gap, and covers all that came before it began.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first wait after a failure; it doubles up to the time between two looks by the clock.
const RETRY: Duration = Duration::from_secs(5);

/// Acknowledgements of failed work that are held back, of one key: what so many events want is not forgotten with us.
const HELD_BACK: usize = 64;

/// Longer than any loop is about to end.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Pieces of work that run at a time.
    pub workers: usize,
    /// At least so long from one beginning to the next of the same key.
    pub gap: Duration,
    /// Every key is worked on once in this time (a tenth more or less) without any event.
    pub reconcile: Duration,
    /// After a connect the keys are worked on at random moments within this time: a broker's restart must not bring
    /// a whole fleet to the git server at once.
    pub splay: Duration,
}

/// What there is to do. `K` names a piece of work, `W` says what is wanted, `T` acknowledges an event.
pub struct Schedule<K, W, T> {
    pace: Pace,
    entries: BTreeMap<K, Entry<W, T>>,
    running: usize,
    /// What the clock wants.
    look: W,
    merge: fn(&mut W, W),
    /// Is it lost when the work fails, since no look finds it again?
    is_lost: fn(&W) -> bool,
    /// From 0 to 1.
    random: Box<dyn FnMut() -> f64>,
}

struct Entry<W, T> {
    wanted: Option<W>,
    /// Of events that wait for work to begin.
    waiting: Vec<T>,
    /// Of events that the work which runs now takes care of.
    carried: Vec<T>,
    /// What it was begun for, while it runs; what it failed at and is not to be forgotten, after that.
    begun: Option<W>,
    running: bool,
    /// Not before.
    earliest: Instant,
    /// When the clock wants a look.
    due: Instant,
    failures: u32,
}

impl<K: Ord + Clone, W: Clone, T> Schedule<K, W, T> {
    /// All keys are due within the splay, for `look`; `merge` adds what a further event wants.
    pub fn new(
        keys: impl IntoIterator<Item = K>,
        pace: Pace,
        look: W,
        merge: fn(&mut W, W),
        mut random: Box<dyn FnMut() -> f64>,
        now: Instant,
    ) -> Schedule<K, W, T> {
        let entry = |key| {
            let due = now + pace.splay.mul_f64(random());
            let (waiting, carried) = (Vec::new(), Vec::new());
            let (wanted, begun) = (None, None);
            (key, Entry { wanted, waiting, carried, begun, running: false, earliest: now, due, failures: 0 })
        };
        let entries = keys.into_iter().map(entry).collect();
        Schedule { pace, entries, running: 0, look, merge, is_lost: |_| false, random }
    }

    /// What events want that `is_lost` when the work fails is wanted again by the next try, and their tokens are given back
    /// when that succeeds.
    #[must_use]
    pub fn keeping(self, is_lost: fn(&W) -> bool) -> Schedule<K, W, T> {
        Schedule { is_lost, ..self }
    }

    /// An event wants something of `key`; `token` is given back when it is done. An unknown key gives it back at once.
    pub fn want(&mut self, key: &K, what: W, token: Option<T>) -> Option<T> {
        let Some(entry) = self.entries.get_mut(key) else { return token };
        match &mut entry.wanted {
            Some(wanted) => (self.merge)(wanted, what),
            None => entry.wanted = Some(what),
        }
        entry.waiting.extend(token);
        None
    }

    /// Events may have been missed: everything is looked at within the splay.
    pub fn look_at_all(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.due = entry.due.min(now + self.pace.splay.mul_f64((self.random)()));
        }
    }

    /// The clock wants `key` looked at then, if it does not want so earlier.
    pub fn look_by(&mut self, key: &K, at: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.due = entry.due.min(at);
        }
    }

    /// The connection is gone, and the use of all tokens with it.
    pub fn forget_tokens(&mut self) {
        for entry in self.entries.values_mut() {
            entry.waiting.clear();
            entry.carried.clear();
        }
    }

    /// Begins the next piece of work, if one is due and a worker is free. What events want goes first.
    pub fn begin(&mut self, now: Instant) -> Option<(K, W)> {
        if self.running >= self.pace.workers {
            return None;
        }
        let is_due = |entry: &Entry<W, T>| entry.starts().is_some_and(|at| at <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| is_due(entry));
        let (key, entry) = due.min_by_key(|(_, entry)| (entry.wanted.is_none(), entry.earliest))?;
        let mut what = entry.wanted.take();
        if entry.due <= now {
            match &mut what {
                Some(what) => (self.merge)(what, self.look.clone()),
                None => what = Some(self.look.clone()),
            }
            entry.due = now + jitter(self.pace.reconcile, &mut self.random);
        }
        let mut what = what?;
        if let Some(mut earlier) = entry.begun.take() {
            (self.merge)(&mut earlier, what);
            what = earlier;
        }
        entry.begun = Some(what.clone());
        entry.carried.append(&mut entry.waiting);
        entry.running = true;
        entry.earliest = now + self.pace.gap;
        self.running += 1;
        Some((key.clone(), what))
    }

    /// The work on `key` has ended; gives the tokens of the events that it took care of. A failure is tried again by
    /// the clock, so its events are done with too, unless what they want would be [lost](Self::keeping).
    pub fn end(&mut self, key: &K, succeeded: bool, now: Instant) -> Vec<T> {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.running) else { return Vec::new() };
        entry.running = false;
        self.running -= 1;
        // Work that events wanted does not put off the next look, nor does a connect meanwhile bring none.
        let begun = entry.begun.take();
        if succeeded {
            entry.failures = 0;
        } else {
            let wait = RETRY.saturating_mul(1 << entry.failures.min(16)).min(self.pace.reconcile);
            entry.failures = entry.failures.saturating_add(1);
            entry.due = entry.due.min(now + jitter(wait, &mut self.random));
            if begun.as_ref().is_some_and(self.is_lost) {
                entry.begun = begun;
                let held_back = entry.carried.len().min(HELD_BACK);
                return entry.carried.drain(held_back..).collect();
            }
        }
        std::mem::take(&mut entry.carried)
    }

    /// When [`begin`](Self::begin) will have something; `None` when only an event or a worker's end can bring it.
    pub fn wakes(&self) -> Option<Instant> {
        if self.running >= self.pace.workers {
            return None;
        }
        self.entries.values().filter_map(Entry::starts).min()
    }

    /// Is any work running?
    pub fn is_working(&self) -> bool {
        self.running > 0
    }

    /// Only what events want is still begun: for a loop that is about to start over, and looks at everything then.
    pub fn drop_looks(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.due = now + FOREVER;
        }
    }

    /// Is anything running or wanted by events?
    pub fn has_work(&self) -> bool {
        self.running > 0 || self.entries.values().any(|entry| entry.wanted.is_some())
    }

    /// Is nothing running, wanted or due?
    pub fn is_idle(&self, now: Instant) -> bool {
        self.running == 0 && self.entries.values().all(|entry| entry.wanted.is_none() && entry.due > now)
    }
}

impl<W, T> Entry<W, T> {
    fn starts(&self) -> Option<Instant> {
        match (self.running, &self.wanted) {
            (true, _) => None,
            (false, Some(_)) => Some(self.earliest),
            (false, None) => Some(self.due.max(self.earliest)),
        }
    }
}

/// A tenth more or less.
fn jitter(time: Duration, random: &mut dyn FnMut() -> f64) -> Duration {
    time.mul_f64(0.9 + 0.2 * random())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn schedule(keys: &[&'static str], workers: usize, now: Instant) -> Schedule<&'static str, u32, u32> {
        let pace = Pace { workers, gap: S, reconcile: 300 * S, splay: 2 * S };
        Schedule::new(keys.to_vec(), pace, 100, |a, b| *a = (*a).max(b), Box::new(|| 0.5), now)
    }

    /// Past the first looks.
    fn settled(keys: &[&'static str], workers: usize, now: Instant) -> Schedule<&'static str, u32, u32> {
        let mut schedule = schedule(keys, workers, now);
        while let Some((key, what)) = schedule.begin(now + 2 * S) {
            assert_eq!(what, 100);
            schedule.end(&key, true, now + 2 * S);
        }
        schedule
    }

    #[test]
    fn everything_is_looked_at_within_the_splay_and_then_by_the_clock() {
        let now = Instant::now();
        let mut schedule = schedule(&["a"], 1, now);
        assert_eq!(schedule.begin(now), None);
        assert_eq!(schedule.wakes(), Some(now + S));
        assert_eq!(schedule.begin(now + S), Some(("a", 100)));
        assert_eq!((schedule.begin(now + 500 * S), schedule.wakes()), (None, None), "it runs");
        schedule.end(&"a", true, now + S);
        assert_eq!(schedule.wakes(), Some(now + 301 * S));
    }

    #[test]
    fn a_burst_is_one_piece_of_work_now_and_one_a_gap_later() {
        let now = Instant::now() + 10 * S;
        let mut schedule = settled(&["a"], 4, now - 10 * S);
        schedule.want(&"a", 1, Some(0));
        assert_eq!(schedule.begin(now), Some(("a", 1)));
        for token in 1..1000 {
            schedule.want(&"a", 1, Some(token));
            assert_eq!(schedule.begin(now), None);
        }
        assert_eq!(schedule.end(&"a", true, now + 30 * MS), [0]);
        assert_eq!(schedule.begin(now + 30 * MS), None);
        assert_eq!(schedule.wakes(), Some(now + S));
        assert_eq!(schedule.begin(now + S), Some(("a", 1)));
        assert_eq!(schedule.end(&"a", true, now + S).len(), 999);
        assert!(schedule.is_idle(now + 2 * S));
    }

    #[test]
    fn no_more_workers_than_allowed_and_events_before_looks() {
        let now = Instant::now();
        let mut schedule = schedule(&["a", "b", "c"], 2, now);
        schedule.want(&"c", 1, None);
        assert_eq!(schedule.begin(now + S), Some(("c", 100)), "the look that is due is merged in");
        assert!(schedule.begin(now + S).is_some());
        assert_eq!(schedule.begin(now + S), None);
        schedule.end(&"c", true, now + S);
        assert!(schedule.begin(now + S).is_some());
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later() {
        let now = Instant::now();
        let mut schedule = schedule(&["a"], 1, now);
        let (mut at, mut waits) = (now + S, Vec::new());
        for _ in 0..9 {
            assert!(schedule.begin(at).is_some());
            schedule.end(&"a", false, at);
            let next = schedule.wakes().unwrap();
            waits.push((next - at).as_secs_f64().round() as u64);
            at = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert!(schedule.begin(at).is_some());
        schedule.end(&"a", true, at);
        assert_eq!(schedule.wakes(), Some(at + 300 * S), "and one success forgets them");
    }

    #[test]
    fn what_would_be_lost_is_tried_again_with_all_that_came_since() {
        let now = Instant::now();
        let mut schedule = settled(&["a"], 1, now).keeping(|what| *what == 7);
        let mut at = now + 10 * S;
        schedule.want(&"a", 7, Some(1));
        assert_eq!(schedule.begin(at), Some(("a", 7)));
        assert!(schedule.end(&"a", false, at).is_empty(), "it is not done with");
        assert!(schedule.is_idle(at), "nor is it hurried");
        at += 5 * S;
        assert_eq!(schedule.begin(at), Some(("a", 100)), "the clock's look does it too, and here hides it");
        assert_eq!(schedule.end(&"a", true, at), [1]);
        schedule.want(&"a", 7, Some(2));
        assert_eq!(schedule.begin(at + S), Some(("a", 7)));
        schedule.end(&"a", false, at + S);
        schedule.want(&"a", 3, Some(3));
        assert_eq!(schedule.begin(at + 2 * S), Some(("a", 7)), "an event does not wait for the clock");
        assert_eq!(schedule.end(&"a", true, at + 2 * S), [2, 3]);
        schedule.want(&"a", 3, Some(4));
        assert_eq!(schedule.begin(at + 3 * S), Some(("a", 3)), "and then it is done");
    }

    #[test]
    fn of_a_crowd_that_fails_only_some_tokens_are_held_back() {
        let now = Instant::now();
        let mut schedule = settled(&["a"], 1, now).keeping(|_| true);
        for token in 0..1000 {
            schedule.want(&"a", 1, Some(token));
        }
        assert!(schedule.begin(now + 10 * S).is_some());
        let given: Vec<u32> = schedule.end(&"a", false, now + 10 * S);
        assert_eq!(given, (HELD_BACK as u32..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_connect_while_work_runs_brings_another_look() {
        let now = Instant::now();
        let mut schedule = schedule(&["a"], 1, now);
        assert!(schedule.begin(now + S).is_some());
        schedule.look_at_all(now + 2 * S);
        schedule.end(&"a", true, now + 10 * S);
        assert_eq!(schedule.begin(now + 10 * S), Some(("a", 100)));
    }

    #[test]
    fn a_look_can_be_wanted_by_a_time_and_is_then_over() {
        let now = Instant::now();
        let mut schedule = settled(&["a"], 1, now);
        schedule.look_by(&"a", now + 100 * S);
        schedule.look_by(&"a", now + 200 * S);
        schedule.look_by(&"x", now);
        assert_eq!(schedule.wakes(), Some(now + 100 * S));
        assert_eq!(schedule.begin(now + 100 * S), Some(("a", 100)));
        schedule.end(&"a", true, now + 100 * S);
        assert!(schedule.wakes().unwrap() > now + 300 * S, "the next is by the usual pace");
    }

    #[test]
    fn without_looks_only_what_events_want_is_begun() {
        let now = Instant::now();
        let mut schedule = schedule(&["a", "b", "c"], 1, now);
        schedule.want(&"a", 1, None);
        assert!(schedule.begin(now).is_some());
        schedule.want(&"b", 1, None);
        schedule.drop_looks(now);
        schedule.end(&"a", true, now + S);
        assert!(schedule.has_work());
        assert_eq!(schedule.begin(now + 500 * S), Some(("b", 1)));
        schedule.end(&"b", true, now + 500 * S);
        assert_eq!(schedule.begin(now + 1000 * S), None);
        assert!(!schedule.has_work());
    }

    #[test]
    fn tokens_of_a_lost_connection_are_forgotten_and_unknown_keys_give_theirs_back() {
        let now = Instant::now() + 10 * S;
        let mut schedule = settled(&["a"], 1, now - 10 * S);
        assert_eq!(schedule.want(&"x", 1, Some(7)), Some(7));
        schedule.want(&"a", 1, Some(1));
        assert!(schedule.begin(now).is_some());
        schedule.want(&"a", 1, Some(2));
        schedule.forget_tokens();
        assert!(schedule.end(&"a", true, now).is_empty());
        assert!(!schedule.is_idle(now), "what was wanted still is");
    }
}
