//! Was this process there all the time? One that was stopped (Ctrl-Z, SIGSTOP), whose machine slept, or whose terminal took no
//! lines heard nobody meanwhile: then silence means as little as with no broker.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::rollout::Policy;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Stands still while the machine sleeps: no timer of ours comes to an end then.
    awake: Instant,
    /// Does not.
    since_boot: Duration,
}

impl Moment {
    pub fn now() -> Moment {
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        Moment { awake: Instant::now(), since_boot }
    }
}

/// What time it is: by the machine's clock when this process began, and what has passed since. Nodes took the plan by that
/// clock; one that steps in the middle must not make them refuse the rest of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Timestamp,
    moment: Moment,
}

impl Clock {
    pub fn new(began: Timestamp, moment: Moment) -> Clock {
        Clock { began, moment }
    }

    /// What it was in the beginning.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    pub fn read(&self, now: Moment) -> Timestamp {
        let passed = now.since_boot.saturating_sub(self.moment.since_boot);
        self.began.saturating_add(passed).unwrap_or(self.began)
    }
}

/// Looks at both clocks after each wait.
#[derive(Debug)]
pub(super) struct Presence {
    last: Moment,
    /// A gap that is no longer makes nobody silent who is not so anyway.
    least: Duration,
}

/// Late by less are busy machines and slow disks, again and again, and then time must go on all the same.
const BUSY: Duration = Duration::from_secs(1);

impl Presence {
    pub fn new(policy: &Policy, now: Moment) -> Presence {
        Presence { last: now, least: (policy.silence.min(policy.answer_within) / 4).max(BUSY) }
    }

    /// After a wait that was to end at `until` or before: for how long nobody was there, if that matters.
    pub fn look(&mut self, until: Option<Instant>, now: Moment) -> Option<Duration> {
        let before = std::mem::replace(&mut self.last, now);
        let passed = now.awake.saturating_duration_since(before.awake);
        let asleep = now.since_boot.saturating_sub(before.since_boot).saturating_sub(passed);
        let meant = until.map_or(passed, |until| until.saturating_duration_since(before.awake));
        let away = asleep + passed.saturating_sub(meant);
        (away > self.least).then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// `awake` and `asleep` seconds later.
    fn later(from: Moment, awake: u64, asleep: u64) -> Moment {
        Moment { awake: from.awake + seconds(awake), since_boot: from.since_boot + seconds(awake + asleep) }
    }

    #[test]
    fn a_gap_is_what_is_beyond_the_wait_that_was_meant() {
        let start = Moment::now();
        // Its shortest patience is that for a first answer: ten seconds.
        let mut presence = Presence::new(&Policy::default(), start);
        let on_time = later(start, 30, 0);
        assert_eq!(presence.look(Some(on_time.awake), on_time), None);
        // Something came before it was time, and nobody knew when it would be time.
        let early = later(on_time, 5, 0);
        assert_eq!(presence.look(Some(later(early, 60, 0).awake), early), None);
        let long = later(early, 500, 0);
        assert_eq!(presence.look(None, long), None);
        // Load.
        let late = later(long, 12, 0);
        assert_eq!(presence.look(Some(later(long, 10, 0).awake), late), None);
        // SIGSTOP: this process' own time went on.
        let stopped = later(late, 50, 0);
        assert_eq!(presence.look(Some(later(late, 10, 0).awake), stopped), Some(seconds(40)));
        // What was due before the wait even began: the loop itself was held up.
        let held_up = later(stopped, 8, 0);
        assert_eq!(presence.look(Some(start.awake), held_up), Some(seconds(8)));
        // The lid: it did not, whatever the wait was for.
        let slept = later(held_up, 3, 3600);
        assert_eq!(presence.look(Some(later(held_up, 10, 0).awake), slept), Some(seconds(3600)));
        let slept_again = later(slept, 3, 100);
        assert_eq!(presence.look(None, slept_again), Some(seconds(100)));
        assert_eq!(presence.look(Some(slept_again.awake), slept_again), None);
    }

    #[test]
    fn time_passes_while_the_machine_sleeps() {
        let start = Moment::now();
        let clock = Clock::new(Timestamp::UNIX_EPOCH, start);
        assert_eq!((clock.began(), clock.read(start)), (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH));
        assert_eq!(clock.read(later(start, 10, 3600)).as_second(), 3610);
    }

    #[test]
    fn whoever_is_less_patient_is_away_sooner() {
        let start = Moment::now();
        let policy = Policy { silence: seconds(4), ..Policy::default() };
        let late = later(start, 2, 0);
        assert_eq!(Presence::new(&policy, start).look(Some(start.awake), late), Some(seconds(2)));
        assert_eq!(Presence::new(&Policy::default(), start).look(Some(start.awake), late), None);
    }
}
