//! Orders whose plan nobody has checked yet.
//!
//! To check one costs a run of ssh-keygen, of which there are few a second, and whoever may write to the topic sends as many as
//! they like. So few are kept, and those that can hold go first: made-up ones delay no real one.

use std::collections::VecDeque;

use super::trust::Mark;
use crate::message::deploy::{Order, Plan, PlanId, Signed};
use crate::name::Principal;

/// Each may be large.
const MOST: usize = 16;

/// An order whose plan's signature is not checked yet.
pub(super) struct Unchecked {
    pub plan: Plan,
    pub signed: Signed,
    pub order: Order,
    pub who: Principal,
    pub mark: Mark,
    /// Of the message that it came with.
    pub fingerprint: String,
    /// ssh-keygen may find its signature good.
    pub looks_good: bool,
}

/// In the order that they came.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<Unchecked>);

/// There are too many.
pub(super) struct Full;

impl Waiting {
    /// What is said again meanwhile waits once. One that can hold pushes out one that can't.
    pub fn push(&mut self, new: Unchecked) -> Result<(), Full> {
        let same = |other: &Unchecked| other.mark == new.mark && other.order.step == new.order.step;
        if self.0.iter().any(same) {
            return Ok(());
        }
        let mut pushed_out = Ok(());
        if self.0.len() >= MOST {
            let worst = self.0.iter().rposition(|held| !held.looks_good).filter(|_| new.looks_good).ok_or(Full)?;
            self.0.remove(worst);
            pushed_out = Err(Full);
        }
        self.0.push_back(new);
        pushed_out
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one to check.
    pub fn first(&self) -> Option<&Unchecked> {
        self.0.iter().find(|held| held.looks_good).or_else(|| self.0.front())
    }

    /// The plan of that name, as it came.
    pub fn plan(&self, id: PlanId) -> Option<&Signed> {
        self.0.iter().find(|held| held.order.plan == id).map(|held| &held.signed)
    }

    /// Takes out all orders of a plan that was checked.
    pub fn take(&mut self, mark: Mark) -> VecDeque<Unchecked> {
        let (taken, rest) = self.0.drain(..).partition(|held| held.mark == mark);
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::plans::tests::plan;
    use super::*;
    use crate::message::deploy::{Document as _, Step};

    fn unchecked(number: u8, looks_good: bool) -> Unchecked {
        let plan = plan(Timestamp::MAX);
        let order = Order {
            plan: plan.id,
            step: Step::Prepare,
            hosts: plan.hosts.clone(),
            canary: false,
            outcome: None,
            issued: plan.issued,
            not_after: plan.not_after,
        };
        let signed = Signed { document: plan.to_text(), signature: String::new() };
        let (who, fingerprint) = ("ann@example.org".parse().unwrap(), String::new());
        Unchecked { plan, signed, order, who, mark: [number; 32], fingerprint, looks_good }
    }

    #[test]
    fn those_that_can_hold_go_first_and_find_room() {
        let mut waiting = Waiting::default();
        for number in 0..MOST as u8 {
            assert!(waiting.push(unchecked(number, false)).is_ok());
        }
        assert!(waiting.push(unchecked(0, false)).is_ok(), "said again");
        assert!(waiting.push(unchecked(99, false)).is_err());
        assert_eq!((waiting.0.len(), waiting.first().unwrap().mark), (MOST, [0; 32]));

        // Each pushes one out, which is told.
        for number in 100..100 + MOST as u8 {
            assert!(waiting.push(unchecked(number, true)).is_err());
            assert_eq!((waiting.0.len(), waiting.first().unwrap().mark), (MOST, [100; 32]));
        }
        assert!(waiting.push(unchecked(200, true)).is_err());
        let marks: Vec<u8> = waiting.0.iter().map(|held| held.mark[0]).collect();
        assert_eq!(marks, (100..100 + MOST as u8).collect::<Vec<_>>(), "of those that can hold the first are kept");

        assert_eq!(waiting.take([100; 32]).len(), 1);
        assert_eq!(waiting.first().unwrap().mark, [101; 32]);
    }
}
