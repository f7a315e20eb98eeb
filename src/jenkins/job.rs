//! A job's place in Jenkins.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::percent;

/// A job as its items, from the outermost folder inwards, each with the name that Jenkins has for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Job(pub Vec<String>);

impl Job {
    /// The item that a multibranch project makes of a branch: what no item's name may hold is `%XX` in it, so that
    /// `feature/x` is the item `feature%2Fx`, and `feature%252Fx` in an address.
    ///
    /// Source: `Jenkins.checkGoodName`, and the Branch API plugin's `NameEncoder`.
    pub fn item_of_branch(name: &str) -> String {
        let mut item = String::with_capacity(name.len());
        for c in name.chars() {
            if c.is_ascii_control() || "?*/\\%!@#$^&|<>[]:;".contains(c) {
                item.push_str(&format!("%{:02X}", u32::from(c)));
            } else {
                item.push(c);
            }
        }
        item
    }

    /// `/job/team/job/spog`.
    pub(super) fn path(&self) -> String {
        self.0.iter().map(|item| format!("/job/{}", percent(item))).collect()
    }
}

impl fmt::Display for Job {
    /// As Jenkins' `JOB_NAME` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}
