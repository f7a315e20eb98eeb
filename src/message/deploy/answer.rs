//! What a node says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PlanId, Step};
use crate::name::{NodeName, SiteName};

/// One thing that a node has to say about a plan's step, or to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The plan, or the query.
    pub about: PlanId,
    /// The step; `None` in an answer to a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Who says it.
    pub node: NodeName,
    /// When.
    pub time: jiff::Timestamp,
    /// The [`fingerprint`](super::fingerprint) of the message that is refused at the door. Anybody may send one about
    /// anybody's plan: only who sent that very message is concerned. `None` in what a node says on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses: Option<String>,
    /// What.
    pub answer: Answer,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Answer {
    /// The step has begun; progress follows at least every ten seconds.
    Accepted,
    /// It goes on.
    Progress {
        /// What happens now, or a line of a script; empty: nothing new.
        text: String,
    },
    /// Fetched, checked, staged.
    Prepared {
        /// The release that is staged (deploy) or that would be gone back to (rollback).
        release: String,
        /// The commit that is live now.
        previous_commit: Option<String>,
    },
    /// Nothing was done, and nothing will be.
    Refused {
        /// For programs.
        code: Code,
        /// For people.
        why: String,
    },
    /// The turn succeeded.
    Live {
        /// What is served now.
        release: String,
        /// The tag, branch or commit that it was deployed as.
        #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
        // Boxed to keep the enum small: answers travel as errors too.
        reference: Option<Box<str>>,
        /// Its commit.
        commit: Option<String>,
        /// What was served before.
        previous: Option<String>,
        /// What was run.
        scripts: Vec<ScriptRun>,
        /// How long the turn took.
        milliseconds: u64,
    },
    /// A step failed.
    Failed {
        /// Which: `stage`, `pre-deploy`, …, `drain`, `undrain`.
        at: String,
        /// For people.
        why: String,
        /// The release that is served now.
        serving: Option<String>,
        /// That release is what the plan brought: it failed after the switch, and nothing went back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        switched: bool,
        /// What was run.
        scripts: Vec<ScriptRun>,
    },
    /// The last good release from before this plan is served again.
    RolledBack {
        /// Which.
        release: String,
    },
    /// It could not be gone back.
    RollbackFailed {
        /// For people.
        why: String,
    },
    /// What was prepared is dropped.
    Aborted,
    /// The verdict was heard.
    Noted,
    /// To [`Subject::Nodes`](super::Subject::Nodes).
    Node(NodeState),
    /// To [`Subject::State`](super::Subject::State).
    State {
        /// What is live.
        sites: Vec<SiteState>,
    },
    /// To [`Subject::Tags`](super::Subject::Tags).
    Tags {
        /// Newest first.
        tags: Vec<Offered>,
        /// Why there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// To [`Subject::Plan`](super::Subject::Plan): this node never heard of it.
    UnknownPlan,
}

/// Why a node refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Another version of failcake's messages.
    UnknownVersion,
    /// A signature is not what it should be.
    BadSignature,
    /// `allow:` has no entry for it.
    NotAllowed,
    /// It came after its time.
    Expired,
    /// It comes before its time: the clocks differ.
    NotYetValid,
    /// An order for a host that the plan does not name.
    WrongHost,
    /// The node knows no such plan.
    UnknownPlan,
    /// The node has no such site.
    NoSuchSite,
    /// Another plan, or a person at the host, works on the site.
    Busy,
    /// Another plan has taken the site over from this one, which is over here.
    TakenOver,
    /// A person's freeze is on.
    OnHold,
    /// The ref is another commit here, or the branch does not contain it.
    WrongCommit,
    /// A step that makes no sense now: a switch before it was prepared, or after it was aborted.
    OutOfOrder,
    /// Nothing to go back to, no space, and what else is not as it must be.
    NotPossible,
}

/// One script of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptRun {
    /// `pre-deploy`, …, `drain`, `undrain`.
    pub name: String,
    /// Its exit status; `None`: it was killed, or could not be run.
    pub exit: Option<i32>,
    /// The end of what it said, at most 4 KiB.
    pub output: String,
}

/// Who is there, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Of failcake.
    pub version: String,
    /// Since when it watches.
    pub since: jiff::Timestamp,
    /// `facts-file:`.
    pub facts: BTreeMap<String, String>,
    /// Its sites.
    pub sites: Vec<SiteState>,
}

/// What a site serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteState {
    /// Which.
    pub site: SiteName,
    /// The live release.
    pub release: Option<String>,
    /// The tag, branch or commit that it was deployed as.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Its commit.
    pub commit: Option<String>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// A freeze, who works on it, or why it can't be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The plan that has the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanId>,
}

impl SiteState {
    /// `v1.2 (1a2b3c4) since …`, or that nothing is live.
    pub fn in_words(&self) -> String {
        let plan = self.plan.map_or_else(String::new, |plan| format!("  in plan {plan}"));
        if self.release.is_none() {
            return format!("nothing is live{plan}");
        }
        let reference = self.reference.as_deref().unwrap_or("?").escape_debug();
        let commit = self.commit.as_deref().and_then(|commit| commit.get(..7)).unwrap_or("?");
        let since = self.since.as_ref().map_or_else(String::new, |since| format!(" since {}", since.escape_debug()));
        format!("{reference} ({commit}){since}{plan}")
    }
}

/// A tag that could be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its name.
    pub tag: String,
    /// Its commit.
    pub commit: String,
    /// ISO 8601.
    pub date: String,
    /// Sites of the node that serve this commit.
    #[serde(default)]
    pub live: Vec<SiteName>,
}
