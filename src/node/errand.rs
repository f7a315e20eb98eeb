//! One piece of work on a site, as it is handed to a process of its own, and what that process says: JSON on its stdin,
//! lines of JSON on its stdout.
//!
//! A process of its own, because root becomes the site's user for good before it touches the site.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Repo, Site, SvnRepo};
use crate::deploy::Expected;
use crate::git::local::Kind;
use crate::message::deploy::{Action, Answer, Plan, PlanId, RefKind, Step};
use crate::name::{NodeName, RepoName};
use crate::release::ReleaseName;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// Fetch, check, stage.
    Prepare,
    /// The host's turn, but for what comes after it whatever happened.
    Switch,
    /// What comes after it whatever happened.
    Undrain,
    /// Drop what was prepared.
    Drop,
    /// Go back to the release before the plan's.
    TakeBack,
    /// The process that did a step was killed: what came of it?
    Look(Step),
}

/// All that it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    pub(super) work: Work,
    pub(super) site: Site,
    /// Of a site of Subversion, its project.
    pub(super) svn: Option<SvnRepo>,
    /// All of them: submodules and the parts of farms come from their clones.
    pub(super) repos: BTreeMap<RepoName, Repo>,
    pub(super) host: NodeName,
    pub(super) plan: PlanId,
    pub(super) who: String,
    pub(super) action: Action,
    /// No process may take longer.
    pub(super) limit: Duration,
    pub(super) canary: bool,
    /// What is staged is kept until then.
    pub(super) until: Timestamp,
    /// What [`Work::Prepare`] found: the release that is staged, or the one to go back to.
    pub(super) prepared: Option<ReleaseName>,
    /// What was live before the plan's turn.
    pub(super) previous: Option<ReleaseName>,
}

impl Errand {
    /// As a local deploy is asked for.
    pub(super) fn request(&self) -> crate::deploy::Request {
        let (reference, expected) = match &self.action {
            Action::Deploy { reference, kind, commit } => {
                let kind = match kind {
                    RefKind::Tag => Kind::Tag,
                    RefKind::Branch => Kind::Branch,
                    RefKind::Commit => Kind::Commit,
                };
                (reference.clone(), Some(Expected::Git(kind, commit.clone())))
            }
            Action::DeploySvn { reference, revision } => (reference.clone(), Some(Expected::Svn(*revision))),
            Action::Rollback { .. } => (String::new(), None),
        };
        crate::deploy::Request {
            reference,
            expected,
            who: self.who.clone(),
            id: self.plan.to_string(),
            wait: false,
            canary: self.canary,
            attempt: 1,
        }
    }

    /// The release that a rollback goes back to; `None` for a deploy.
    pub(super) fn target(&self) -> Option<&ReleaseName> {
        match self.action {
            Action::Deploy { .. } | Action::DeploySvn { .. } => None,
            Action::Rollback { .. } => self.prepared.as_ref(),
        }
    }

    /// The same for other work.
    pub(super) fn but(&self, work: Work) -> Errand {
        Errand { work, ..self.clone() }
    }
}

/// One line of what the process says. None is longer than what [`crate::process`] gives in one piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// What happens now.
    Step(String),
    /// A line of a script.
    Script(String, String),
    /// A script has ended.
    Ran(String, Option<i32>),
    /// What came of it, but for the scripts, which were told.
    Answer(Answer),
}

/// Octets of a text in a [`Line`]: escaped, it is twice as long at most.
pub(super) const TEXT_MAX: usize = 3000;

/// Of a plan: what is deployed, for people.
pub(super) fn about(plan: &Plan) -> String {
    format!("plan {} ({} on {}) of {}", plan.id, plan.action, plan.site, plan.who)
}
