//! How much is done at a time, over all repositories: one hand, one git.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::process::User;

/// So many gits run at a time. Each repository's work has one hand from its beginning to its end; whoever has several
/// trees to write borrows those that nobody wants.
#[derive(Debug)]
pub struct Hands {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
}

/// The right to run one git; given back when it is dropped.
#[derive(Debug)]
pub struct Hand<'a>(&'a Hands);

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        self.0.state().free += 1;
        self.0.freed.notify_one();
    }
}

impl Hands {
    /// So many.
    pub fn new(count: usize) -> Hands {
        Hands { state: Mutex::new(State { free: count, waiting: 0 }), freed: Condvar::new() }
    }

    /// Waits for one. Whoever has borrowed gives back first.
    pub fn take(&self) -> Hand<'_> {
        let mut state = self.state();
        state.waiting += 1;
        let wait = self.freed.wait_while(state, |state| state.free == 0);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.free -= 1;
        Hand(self)
    }

    /// One that nobody wants now.
    fn borrow(&self) -> Option<Hand<'_>> {
        let mut state = self.state();
        if state.waiting > 0 || state.free == 0 {
            return None;
        }
        state.free -= 1;
        Some(Hand(self))
    }

    fn is_awaited(&self) -> bool {
        self.state().waiting > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on each of `tasks`, in this thread, which has a hand, and in as many more as hands can be borrowed, with
    /// `user`'s rights on files there too. What comes of them, in their order.
    pub(super) fn share<T: Send, R: Send>(
        &self,
        user: Option<&User>,
        tasks: Vec<T>,
        work: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        let queue = Mutex::new(tasks.into_iter().enumerate());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let is_left = || queue.lock().unwrap_or_else(PoisonError::into_inner).len() > 0;
        let done = Mutex::new(Vec::new());
        let do_one = |(nth, task)| {
            let result = work(task);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((nth, result));
        };
        let help = |hand: Hand<'_>| {
            while let Some(task) = next() {
                do_one(task);
                if self.is_awaited() {
                    break;
                }
            }
            drop(hand);
        };
        // Where no thread can be had, or not with these rights, this one does it all.
        let can_help = AtomicBool::new(true);
        std::thread::scope(|scope| {
            while let Some(task) = next() {
                while can_help.load(Ordering::Relaxed) && is_left() {
                    let Some(hand) = self.borrow() else { break };
                    let (help, can_help) = (&help, &can_help);
                    let helper = std::thread::Builder::new().name("tree".to_owned()).spawn_scoped(scope, move || {
                        let helped = match user {
                            None => {
                                help(hand);
                                Ok(())
                            }
                            Some(user) => user.with_rights(|| help(hand)),
                        };
                        can_help.fetch_and(helped.is_ok(), Ordering::Relaxed);
                    });
                    can_help.fetch_and(helper.is_ok(), Ordering::Relaxed);
                }
                do_one(task);
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(nth, _)| *nth);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_is_done_in_order_by_no_more_than_there_are_hands() {
        let hands = Hands::new(3);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let _mine = hands.take();
        let results = hands.share(None, (0..50).collect(), |n| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            n * 2
        });
        assert_eq!(results, (0..50).map(|n| n * 2).collect::<Vec<_>>());
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "{most:?} at a time");
        assert_eq!(hands.state().free, 2);
    }

    #[test]
    fn what_was_borrowed_is_given_back_to_whoever_waits() {
        let hands = Hands::new(2);
        let _mine = hands.take();
        let begun = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                while begun.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                drop(hands.take());
                begun.load(Ordering::SeqCst)
            });
            hands.share(None, (0..200).collect(), |_: i32| {
                begun.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            });
            assert!(other.join().unwrap() < 200, "it waited for the end");
        });
    }
}
