//! What an operator says: the plan, the orders that carry it out, and questions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::message::Error;
use crate::name::{NodeName, RepoName, Rev, SiteName};

/// The name of a plan or query: a UUID of version 7. Safe as a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(uuid::Uuid);

impl PlanId {
    /// A new one; reads the clock and the kernel's random numbers.
    pub fn new() -> PlanId {
        PlanId(uuid::Uuid::now_v7())
    }
}

impl Default for PlanId {
    fn default() -> PlanId {
        PlanId::new()
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PlanId {
    type Err = Error;
    fn from_str(word: &str) -> Result<PlanId, Error> {
        uuid::Uuid::try_parse(word).map(PlanId).map_err(|_| Error::bad("plan", word, "it is no UUID"))
    }
}

/// One deploy or rollback on several hosts: what the operator signs, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name; a node does a plan once.
    pub id: PlanId,
    /// Which site.
    pub site: SiteName,
    /// What is to be done to it.
    pub action: Action,
    /// On these hosts and no others, in this order.
    pub hosts: Vec<NodeName>,
    /// How fast, and when to stop.
    pub policy: Policy,
    /// The operator, a principal of the allowed signers file.
    pub who: String,
    /// When it was made: a node whose clock is far off refuses it.
    pub issued: jiff::Timestamp,
    /// No host begins later.
    pub not_after: jiff::Timestamp,
    /// The public half of the plan's own Ed25519 key, in base64: orders are signed with the other half.
    pub key: String,
    /// A plan that nobody conducts any more: where it has the site, it ends, and this one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_over: Option<PlanId>,
}

/// What a plan does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Makes a revision live.
    Deploy {
        /// The tag, branch or commit that was asked for.
        #[serde(rename = "ref")]
        reference: String,
        /// What it is: decides how a node checks the commit against it.
        kind: RefKind,
        /// The commit that the operator resolved it to.
        commit: Rev,
    },
    /// Makes a tree of a Subversion project live.
    DeploySvn {
        /// Trunk, the branch, tag or revision that was asked for.
        #[serde(rename = "ref")]
        reference: String,
        /// The revision at which every host takes it.
        revision: u64,
    },
    /// Goes back to an earlier release.
    Rollback {
        /// To the release of this name, or that was deployed as this tag, branch or commit; `None`: each host's own last good
        /// one.
        to: Option<String>,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Deploy { reference, commit, .. } => {
                write!(f, "deploy {} ({})", reference.escape_debug(), commit.short())
            }
            Action::DeploySvn { reference, revision } => {
                write!(f, "deploy {} (r{revision})", reference.escape_debug())
            }
            Action::Rollback { to: None } => f.write_str("rollback"),
            Action::Rollback { to: Some(release) } => write!(f, "rollback to {}", release.escape_debug()),
        }
    }
}

/// What an operator's REF was. On a node a tag must be that commit, a branch must contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefKind {
    /// A tag.
    Tag,
    /// A branch of the remote.
    Branch,
    /// A full commit id.
    Commit,
}

/// The rules that the operator's side keeps to. They are in the plan so that `rollout resume` keeps to the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// So many hosts go first.
    pub canary: usize,
    /// How long the canary is watched before the others follow, in seconds.
    pub bake_seconds: u64,
    /// `5`, `25%`, `1,5,25%`: how many at a time after it.
    pub batches: String,
    /// More hosts than that failed or silent stop it.
    pub max_failures: usize,
    /// What becomes of the hosts that are done when it stops.
    pub on_failure: OnFailure,
}

/// What happens to hosts that are done when a rollout stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They stay at the new release.
    Stop,
    /// They go back to the release before.
    Rollback,
}

/// A step of a plan, for some of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Of this plan, whose key signs it.
    pub plan: PlanId,
    /// What to do.
    pub step: Step,
    /// Who is to do it.
    pub hosts: Vec<NodeName>,
    /// They are the first ones.
    #[serde(default)]
    pub canary: bool,
    /// With [`Step::Verdict`]: how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When this was sent.
    pub issued: jiff::Timestamp,
    /// Who gets it later does nothing: an order is sent again for as long as it is meant.
    pub not_after: jiff::Timestamp,
}

/// The steps of a plan. A node does each once; the same step again is answered with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Fetch, check, stage. No script runs.
    Prepare,
    /// The host's turn: drain, pre-deploy, pre-link, switch, post-deploy, undrain.
    Switch,
    /// Drop what was prepared.
    Abort,
    /// Go back to the release before this plan's.
    Rollback,
    /// It is over, one way or another: the site is free for other plans.
    Verdict,
}

impl Step {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Prepare => "prepare",
            Step::Switch => "switch",
            Step::Abort => "abort",
            Step::Rollback => "rollback",
            Step::Verdict => "verdict",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every host did it.
    Success,
    /// It stopped; the hosts that were done stay.
    Stopped,
    /// It stopped, and the hosts that were done went back.
    RolledBack,
}

/// A question to nodes. Not signed: the broker's permissions say who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Its name; answers carry it.
    pub id: PlanId,
    /// What is asked.
    pub subject: Subject,
    /// Who is to answer; empty: everybody.
    #[serde(default)]
    pub hosts: Vec<NodeName>,
}

/// What a [`Query`] asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Who is there.
    Nodes,
    /// What is live.
    State {
        /// Of this site; `None`: of each.
        site: Option<SiteName>,
    },
    /// Which tags the clone has.
    Tags {
        /// Of this repository.
        repo: RepoName,
    },
    /// How far a plan came.
    Plan {
        /// This one.
        plan: PlanId,
    },
}

/// A node's SSH key says: that Ed25519 key is mine, for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// The node; also the principal of the signature.
    pub node: NodeName,
    /// The public key, in base64.
    pub key: String,
    /// When it was made.
    pub issued: jiff::Timestamp,
    /// It signs nothing later than that.
    pub not_after: jiff::Timestamp,
}
