//! Replies whose vouch nobody has checked yet.
//!
//! Each new vouch costs a run of ssh-keygen, and whoever may write to the topic makes up as many as they like, in anybody's
//! name. So few are kept of each name, and each name has its turn. In one name those go first that look good: a flood of others
//! does not hold up the node itself. Where all look alike the newest are kept: a node says what matters again when it is asked
//! again.

use std::collections::{BTreeMap, VecDeque};

use super::known::Seal;
use crate::message::deploy::{HOSTS_MAX, Report, Signed, Vouch};
use crate::name::NodeName;

/// Names can be made up as well.
const NAMES: usize = HOSTS_MAX;
/// Vouches of one name.
const VOUCHES: usize = 4;
/// Reports that came with one of them.
const REPORTS: usize = 8;

/// A vouch, and what was said with it, oldest first.
#[derive(Debug)]
pub(super) struct Held {
    pub seal: Seal,
    pub vouch: Vouch,
    pub signed: Signed,
    pub reports: VecDeque<Report>,
    looks_good: bool,
}

impl Held {
    pub fn new(seal: Seal, vouch: Vouch, signed: &Signed, report: Report, looks_good: bool) -> Held {
        Held { seal, vouch, signed: signed.clone(), reports: VecDeque::from([report]), looks_good }
    }
}

/// By name.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    held: BTreeMap<NodeName, VecDeque<Held>>,
    /// Who had the last turn.
    last: Option<NodeName>,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Of a name too many nothing is kept; that name.
    pub fn push(&mut self, new: Held) -> Result<(), NodeName> {
        if self.held.len() >= NAMES && !self.held.contains_key(&new.vouch.node) {
            return Err(new.vouch.node);
        }
        let of_node = self.held.entry(new.vouch.node.clone()).or_default();
        if let Some(held) = of_node.iter_mut().find(|held| held.seal == new.seal) {
            for report in new.reports {
                // Said again: that is no news, and pushes out none.
                if !held.reports.contains(&report) {
                    held.reports.push_back(report);
                }
            }
            if held.reports.len() > REPORTS {
                held.reports.pop_front();
            }
            return Ok(());
        }
        if of_node.len() == VOUCHES {
            match of_node.iter().position(|held| !held.looks_good) {
                Some(worst) => drop(of_node.remove(worst)),
                None if new.looks_good => drop(of_node.pop_front()),
                None => return Ok(()),
            }
        }
        of_node.push_back(new);
        Ok(())
    }

    /// The best of whose turn it is, and of those the oldest: one name after another.
    pub fn pop(&mut self) -> Option<Held> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.last.as_ref().map_or(Unbounded, Excluded);
        let next = self.held.range::<NodeName, _>((after, Unbounded)).next();
        let node = next.or_else(|| self.held.iter().next())?.0.clone();
        let of_node = self.held.get_mut(&node)?;
        let held = of_node.remove(best(of_node));
        if of_node.is_empty() {
            self.held.remove(&node);
        }
        self.last = Some(node);
        held
    }

    /// Keeps the best of each name that is `meant`. Gives the names of which something was dropped.
    pub fn narrow(&mut self, meant: impl Fn(&NodeName) -> bool) -> Vec<NodeName> {
        let mut dropped = Vec::new();
        self.held.retain(|node, held| {
            let best = meant(node).then(|| held.remove(best(held))).flatten();
            if !held.is_empty() {
                dropped.push(node.clone());
            }
            *held = best.into_iter().collect();
            !held.is_empty()
        });
        dropped
    }
}

/// Which of them is checked next: of those that look good the oldest.
fn best(held: &VecDeque<Held>) -> usize {
    held.iter().position(|held| held.looks_good).unwrap_or(0)
}
