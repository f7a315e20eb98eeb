//! How long until the next try. Pure: no clock, no dice.

use std::time::Duration;

use crate::stomp::url::Reconnect;

/// A connection that lived this long was a good one.
///
/// Being confirmed is not enough: a broker may accept login and subscriptions and then close (over its memory limit,
/// or because two machines take the same durable name from each other), and with the delay reset each time that
/// would be a storm of logins.
const GOOD: Duration = Duration::from_secs(5);

/// Less would be a busy loop against a broker that refuses at once.
const LEAST: Duration = Duration::from_millis(10);

/// The delay between tries, as the `failover:` options have it.
#[derive(Debug)]
pub(super) struct Backoff {
    options: Reconnect,
    delay: Duration,
    failed: u32,
}

impl Backoff {
    pub(super) fn new(options: Reconnect) -> Backoff {
        Backoff { delay: options.initial_delay, failed: 0, options }
    }

    /// A connection that was confirmed ended after `lifetime`.
    pub(super) fn ended(&mut self, lifetime: Duration) {
        self.failed = 0;
        if lifetime >= GOOD {
            self.delay = self.options.initial_delay;
        }
    }

    /// The delay before the next try, or `None` when the tries are used up. `dice` is from 0 to 1: a fleet that lost
    /// its broker must not come back in one moment, so each waits between half of the delay and all of it.
    pub(super) fn next(&mut self, dice: f64) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if self.options.max_attempts.is_some_and(|most| self.failed >= most) {
            return None;
        }
        let delay = self.delay.min(self.options.max_delay);
        if self.options.exponential {
            let factor = if self.options.multiplier >= 1.0 { self.options.multiplier } else { 1.0 };
            let grown = delay.max(LEAST).as_secs_f64() * factor;
            self.delay =
                Duration::try_from_secs_f64(grown).unwrap_or(self.options.max_delay).min(self.options.max_delay);
        }
        Some(delay.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Reconnect {
        Reconnect {
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(1),
            exponential: true,
            multiplier: 2.0,
            max_attempts: None,
            randomize: false,
            timeout: None,
        }
    }

    fn delays(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| backoff.next(1.0).unwrap().as_millis()).collect()
    }

    #[test]
    fn grows_to_the_limit_and_stays_there() {
        assert_eq!(delays(&mut Backoff::new(options()), 6), [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_is_between_half_and_all() {
        assert_eq!(Backoff::new(options()).next(0.0), Some(Duration::from_millis(50)));
        assert_eq!(Backoff::new(options()).next(0.5), Some(Duration::from_millis(75)));
    }

    #[test]
    fn only_a_connection_that_lasted_resets_the_delay() {
        let mut backoff = Backoff::new(options());
        delays(&mut backoff, 3);
        backoff.ended(Duration::from_millis(5));
        assert_eq!(delays(&mut backoff, 1), [800]);
        backoff.ended(Duration::from_secs(60));
        assert_eq!(delays(&mut backoff, 2), [100, 200]);
    }

    #[test]
    fn gives_up_after_the_tries_that_are_allowed() {
        let mut backoff = Backoff::new(Reconnect { max_attempts: Some(3), ..options() });
        assert!(backoff.next(1.0).is_some());
        assert!(backoff.next(1.0).is_some());
        assert_eq!(backoff.next(1.0), None);
        backoff.ended(Duration::ZERO);
        assert!(backoff.next(1.0).is_some(), "a connection between the tries begins the count anew");
    }

    #[test]
    fn senseless_options_neither_panic_nor_spin() {
        for multiplier in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            let mut backoff = Backoff::new(Reconnect { multiplier, initial_delay: Duration::ZERO, ..options() });
            for _ in 0..100 {
                let delay = backoff.next(0.0).unwrap();
                assert!((LEAST..=Duration::from_secs(1)).contains(&delay), "{multiplier}: {delay:?}");
            }
        }
    }

    #[test]
    fn without_exponential_the_delay_stays() {
        assert_eq!(delays(&mut Backoff::new(Reconnect { exponential: false, ..options() }), 3), [100, 100, 100]);
    }
}
