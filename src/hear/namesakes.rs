//! Two machines with one name and one key, such as a machine and its clone: each does what is asked of the name, and what one of
//! them answers is taken for the other's.
//!
//! A node that is started again has a new vouch, and never again says anything with the old one. So an old vouch that speaks
//! after a new one did is another machine. What it said before, said again by anybody, has its old time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::known::Seal;
use crate::name::NodeName;

#[derive(Debug, Default)]
pub(super) struct Namesakes {
    /// Vouches of each name in the order that they were first heard, with the time of what came with them first.
    vouches: BTreeMap<NodeName, Vec<(Seal, Timestamp)>>,
    /// Names that were shown to be of two.
    double: BTreeSet<NodeName>,
}

impl Namesakes {
    /// A report of that time was found good. Does it show, the first time, that there are two?
    pub fn hear(&mut self, node: &NodeName, seal: Seal, time: Timestamp) -> bool {
        let vouches = self.vouches.entry(node.clone()).or_default();
        let Some(at) = vouches.iter().position(|(known, _)| *known == seal) else {
            vouches.push((seal, time));
            return false;
        };
        vouches[at + 1..].iter().any(|(_, first)| *first < time) && self.double.insert(node.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_and_its_clone_are_told_from_one_that_is_started_again() {
        let (node, other): (NodeName, NodeName) = ("web01".parse().unwrap(), "web02".parse().unwrap());
        let (old, new) = ([1; 32], [2; 32]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut namesakes = Namesakes::default();
        for (seal, second) in [(old, 1), (old, 2), (new, 5), (new, 6)] {
            assert!(!namesakes.hear(&node, seal, at(second)));
        }
        assert!(!namesakes.hear(&node, old, at(2)), "said again by somebody");
        assert!(!namesakes.hear(&other, old, at(7)), "another name");
        assert!(namesakes.hear(&node, old, at(7)));
        assert!(!namesakes.hear(&node, old, at(8)), "it is told once");
    }
}
