//! From what happened to the builds that it asks for.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::{Jenkins, JobName, Project, Word};
use crate::jenkins::Job;
use crate::message::EventId;
use crate::message::push::Push;
use crate::message::revision::{Line, LineChange, Revision};
use crate::name::{RefKind, RepoName};
use crate::seen;

/// One build that is to be started, as it waits on disk. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// The event that asked for it.
    pub(super) event: String,
    /// The entry of `jenkins: projects:`, where its build token is found.
    pub(super) project: RepoName,
    pub(super) job: Job,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) repo: String,
    pub(super) refname: String,
    pub(super) commit: String,
}

impl Order {
    /// The same however often the event comes: what an entry of the spool is called by.
    pub(super) fn id(&self) -> String {
        let job = self.hash("job");
        let short: String = job[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{short}", self.event)
    }

    /// What names a fact about this order, the same each time.
    pub(super) fn hash(&self, fact: &str) -> seen::Key {
        let text = format!("{}\n{}\n{}\n{fact}", self.event, self.project, self.job);
        let mut key = seen::Key::default();
        key.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        key
    }

    /// `[spog] refs/heads/master aa79…`
    pub(super) fn about(&self) -> String {
        about(&self.repo, &self.refname, &self.commit)
    }
}

fn about(repo: &str, refname: &str, commit: &str) -> String {
    format!("[{repo}] {refname} {commit}").trim_end().to_owned()
}

/// What an event asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing here.
    Nothing,
    /// No build, and why: a person would wonder.
    Skipped(String),
    /// These builds.
    Orders(Vec<Order>),
}

/// What happened, whatever told of it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) event: EventId,
    pub(super) repo: String,
    pub(super) refname: String,
    /// The branch's or tag's own name; `None` for other refs and for what is not UTF-8.
    pub(super) branch: Option<String>,
    pub(super) commit: String,
    pub(super) who: String,
    /// The newest commit's.
    pub(super) message: String,
    pub(super) options: Vec<String>,
}

impl Change {
    /// `None`: the ref was deleted.
    pub(super) fn of_push(push: Push, event: EventId) -> Option<Change> {
        if push.new.is_zero() {
            return None;
        }
        let commit = push.peeled.unwrap_or(push.new);
        let branch = match push.refname.kind() {
            RefKind::Other => None,
            _ => std::str::from_utf8(push.refname.short_bytes()).ok().map(str::to_owned),
        };
        // A push of commits that are there already brings no message of its tip, and the tip's first push was heeded.
        let tip = push.commits.into_iter().next().filter(|tip| tip.id == commit);
        Some(Change {
            event,
            repo: push.repo.to_string(),
            refname: push.refname.to_string(),
            branch,
            commit: commit.to_string(),
            who: push.user_name.unwrap_or_default(),
            message: tip.map(|tip| tip.message).unwrap_or_default(),
            options: push.options,
        })
    }

    /// One for each trunk, branch or tag that is still there; the older hook tells of none.
    fn of_revision(revision: &Revision, event: EventId) -> Vec<Change> {
        let change = |refname: String, branch: String| Change {
            event,
            repo: revision.project.clone(),
            refname,
            branch: (!branch.is_empty()).then_some(branch),
            commit: revision.rev.to_string(),
            who: revision.author.clone().unwrap_or_default(),
            message: revision.message.clone(),
            options: Vec::new(),
        };
        if revision.lines.is_empty() {
            return vec![change(String::new(), String::new())];
        }
        let lines = revision.lines.iter().filter(|line| line.change != LineChange::Delete);
        let name = |line: &Line| if line.name.is_empty() { "trunk".to_owned() } else { line.name.clone() };
        lines.map(|line| change(line.path(), name(line))).collect()
    }

    fn value(&self, word: Word) -> String {
        match word {
            Word::Ref => self.refname.clone(),
            Word::Branch => self.branch.clone().unwrap_or_default(),
            Word::Commit => self.commit.clone(),
            Word::Who => self.who.clone(),
            Word::EventId => self.event.to_string(),
            Word::Repo => self.repo.clone(),
        }
    }

    /// Why nobody wants a build of it.
    fn unwanted(&self) -> Option<&'static str> {
        let message = self.message.to_ascii_lowercase();
        if message.contains("[skip ci]") || message.contains("[ci skip]") {
            return Some("its commit's message says [skip ci]");
        }
        self.options.iter().any(|option| option == "ci.skip").then_some("it was pushed with the option ci.skip")
    }

    fn order(&self, name: &RepoName, project: &Project, job: &JobName) -> Order {
        let item = |word| match word {
            Word::Branch => Job::item_of_branch(&self.value(word)),
            _ => self.value(word),
        };
        let parameters = project.parameters.iter();
        Order {
            event: self.event.to_string(),
            project: name.clone(),
            job: Job(job.fill(item)),
            parameters: parameters.map(|(name, value)| (name.clone(), value.fill(|word| self.value(word)))).collect(),
            repo: self.repo.clone(),
            refname: self.refname.clone(),
            commit: self.commit.clone(),
        }
    }

    fn about(&self) -> String {
        about(&self.repo, &self.refname, &self.commit)
    }
}

/// Does a ref start anything of this project?
fn passes(project: &Project, refname: &str) -> bool {
    project.only_refs.as_ref().is_none_or(|pattern| pattern.fits(refname))
        && !project.ignore_refs.as_ref().is_some_and(|pattern| pattern.fits(refname))
}

/// The builds that a push asks for.
pub(super) fn of_change(change: &Change, jenkins: &Jenkins) -> Wish {
    let projects = jenkins.projects.iter().filter(|(_, project)| project.repo.as_str() == change.repo);
    of_changes(&projects.collect::<Vec<_>>(), std::slice::from_ref(change))
}

/// The builds that a commit to Subversion asks for. Its project is looked for as `REPOSITORY/PROJECT`, then as `PROJECT`.
/// A project is built once for a revision, whatever the number of branches that it touches.
pub(super) fn of_revision(revision: &Revision, event: EventId, jenkins: &Jenkins) -> Wish {
    let named = |wanted: &str| -> Vec<_> {
        jenkins.projects.iter().filter(|(_, project)| project.repo.as_str() == wanted).collect()
    };
    let mut projects = named(&format!("{}/{}", revision.repository, revision.project));
    if projects.is_empty() {
        projects = named(&revision.project);
    }
    of_changes(&projects, &Change::of_revision(revision, event))
}

/// Of each project the first change that passes is built.
fn of_changes(projects: &[(&RepoName, &Project)], changes: &[Change]) -> Wish {
    let mut orders = Vec::new();
    let mut skipped = None;
    for (name, project) in projects {
        let Some(change) = changes.iter().find(|change| passes(project, &change.refname)) else { continue };
        if let Some(why) = change.unwanted() {
            skipped = Some(format!("no build of {}: {why}", change.about()));
            continue;
        }
        for job in &project.jobs {
            if job.uses_branch() && change.branch.is_none() {
                let why = "is another job for each branch, and this ref is none";
                skipped = Some(format!("no build of {}: {} {why}", change.about(), job.as_str()));
                continue;
            }
            let order = change.order(name, project, job);
            // `{branch}` of a name such as `..` would lead elsewhere; git allows none, svn does.
            if order.job.0.iter().any(|item| matches!(item.as_str(), "" | "." | "..")) {
                skipped = Some(format!("no build of {}: it gives {} an impossible name", change.about(), job.as_str()));
                continue;
            }
            orders.push(order);
        }
    }
    match (orders.is_empty(), skipped) {
        (false, _) => Wish::Orders(orders),
        (true, Some(why)) => Wish::Skipped(why),
        (true, None) => Wish::Nothing,
    }
}

#[cfg(test)]
mod tests;
