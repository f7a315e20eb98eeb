//! How often something may happen: whoever writes to the bus decides how often it is asked for.

use std::time::{Duration, Instant};

/// A number of times that grows with time up to a limit.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    most: f64,
    left: f64,
    counted: Instant,
}

impl Allowance {
    pub(super) fn new(per_second: u32, most: u32, now: Instant) -> Allowance {
        let most = f64::from(most);
        Allowance { per_second: f64::from(per_second), most, left: most, counted: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.count(now);
        let any = self.left >= 1.0;
        if any {
            self.left -= 1.0;
        }
        any
    }

    /// When there is one.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        self.count(now);
        let missing = (1.0 - self.left).max(0.0);
        // Rounded up, so that it is there then.
        now + Duration::from_secs_f64(missing / self.per_second) + Duration::from_millis(1)
    }

    fn count(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.counted).as_secs_f64();
        self.left = (self.left + time * self.per_second).min(self.most);
        self.counted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let now = Instant::now();
        let mut allowance = Allowance::new(5, 10, now);
        let taken = |allowance: &mut Allowance, at| (0..100).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(&mut allowance, now), 10);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(1)), 5);
        let next = allowance.next(now + Duration::from_secs(1));
        assert!(next > now + Duration::from_secs(1));
        assert_eq!(taken(&mut allowance, next), 1);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(3600)), 10);
        assert_eq!(taken(&mut allowance, now), 0, "a clock that stands still gives nothing");
    }
}
