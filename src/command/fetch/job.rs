//! One repository's work: bring the clone up to date, then its directories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shared;
use super::report::Report;
use crate::config::{self, Mode};
use crate::git;
use crate::git::local::Local;
use crate::git::remote::{Look, Looked, Repo};
use crate::name::{RefName, Rev};
use crate::process::{Stop, User};
use crate::publish::{self, Outcome, Publisher, Wanted};
use crate::tree::Source;

/// Branches and tags of which builds are noted at a time.
const PASSED_MAX: usize = 10_000;

/// A repository with its user looked up.
pub(super) struct Job {
    pub(super) repo: config::Repo,
    user: Option<User>,
    shared: Arc<Shared>,
}

/// What is wanted of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) look: Look,
    /// What has passed its tests, for a repository that listens for that: of which branch or tag, which commit. What an event
    /// does not say is taken from the configuration and from the clone.
    pub(super) passed: BTreeMap<Option<RefName>, Option<Rev>>,
}

impl Want {
    pub(super) fn look(look: Look) -> Want {
        Want { look, passed: BTreeMap::new() }
    }

    /// What one event wants, and what a later one adds.
    pub(super) fn merge(&mut self, more: Want) {
        self.look = self.look.max(more.look);
        for (name, commit) in more.passed {
            // While a remote is away this grows by whatever strangers say.
            if self.passed.len() < PASSED_MAX || self.passed.contains_key(&name) {
                self.passed.insert(name, commit);
            }
        }
    }
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Git(#[from] git::Error),
    #[error(transparent)]
    Publish(#[from] publish::Error),
}

impl Error {
    pub(super) fn is_stop(&self) -> bool {
        matches!(self, Error::Git(git::Error::Stopped) | Error::Publish(publish::Error::Stopped))
    }
}

impl Job {
    pub(super) fn new(repo: &config::Repo, shared: Arc<Shared>) -> Result<Job, config::Error> {
        let user = User::find(repo.user.as_deref());
        let user = user.map_err(|error| config::Error(format!("repository {}: {error}", repo.name)))?;
        Ok(Job { repo: repo.clone(), user, shared })
    }

    /// Does it move only when its tests have passed?
    pub(super) fn waits_for_tests(&self) -> bool {
        self.repo.listen != "commits"
    }

    /// Brings it up to date, publishes, tells, then repacks when that is due. Says whether it succeeded.
    pub(super) fn work(&self, want: &Want, stop: &Stop, tell: impl Fn(Report)) -> bool {
        let _hand = self.shared.hands.take();
        let git = self.git(stop);
        let result = git.update(want.look);
        let brought = result.as_ref().is_ok_and(|updated| !updated.changes.is_empty());
        let published = if result.is_ok() { self.publish(&git, want, stop, &tell) } else { Ok(Vec::new()) };
        let report = Report { repo: self.repo.name.clone(), result, published };
        let succeeded = report.is_good();
        note(&git, &report);
        tell(report);
        if brought && let Err(error) = git.tidy() {
            log::warn!("[{}] could not be repacked: {error}", self.repo.name);
        }
        succeeded
    }

    fn git<'a>(&'a self, stop: &'a Stop) -> Repo<'a> {
        Repo {
            path: &self.repo.path,
            url: self.repo.url.as_deref(),
            user: self.user.as_ref(),
            timeout: self.repo.timeout,
            stop: Some(stop),
            work_tree: self.repo.mode == Mode::InPlace,
        }
    }

    /// Makes the directories what the clone says.
    fn publish(
        &self,
        git: &Repo<'_>,
        want: &Want,
        stop: &Stop,
        tell: &impl Fn(Report),
    ) -> Result<Vec<Outcome>, Error> {
        if self.repo.mode == Mode::Fetch {
            return Ok(Vec::new());
        }
        let branch = self.branch(git)?;
        if self.waits_for_tests() {
            self.note_passed(git, want, branch.as_ref())?;
        }
        let outcomes = match self.repo.mode {
            Mode::InPlace => self.check_out(git, branch)?,
            _ => self.publish_whole(git, &branch, stop, tell)?,
        };
        // Whoever makes a branch of that name again has to pass anew. Directories that are held come back with their branches.
        if self.waits_for_tests() && !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Held(_))) {
            git.forget_passed()?;
        }
        Ok(outcomes)
    }

    /// Publishes; once more when a submodule's clone lacked something and has been brought up to date: whoever pushes both
    /// pushes the submodule a moment before.
    fn publish_whole(
        &self,
        git: &Repo<'_>,
        branch: &Option<RefName>,
        stop: &Stop,
        tell: &impl Fn(Report),
    ) -> Result<Vec<Outcome>, Error> {
        let clones = self.clones(stop);
        let publisher = self.publisher(stop, &clones);
        let publish = || publisher.publish(|| self.wanted(git, branch.clone()));
        let mut outcomes = publish()?;
        let lacking = |outcome: &Outcome| match outcome {
            Outcome::Lacking { clone, .. } => Some(clone.clone()),
            _ => None,
        };
        let lacking: BTreeSet<String> = outcomes.iter().filter_map(lacking).collect();
        let mut brought = false;
        for name in &lacking {
            let Some(repo) = self.shared.repos.values().find(|repo| repo.name.as_str() == name) else { continue };
            let Ok(other) = Job::new(repo, self.shared.clone()) else { continue };
            // What goes wrong there is told by its own look.
            let Ok(updated) = other.git(stop).update(Look::Quick) else { continue };
            brought = true;
            if updated.cloned || !updated.changes.is_empty() {
                tell(Report { repo: repo.name.clone(), result: Ok(updated), published: Ok(Vec::new()) });
            }
        }
        if brought {
            outcomes.retain(|outcome| {
                matches!(outcome, Outcome::Published { .. } | Outcome::Removed { .. } | Outcome::Adopted { .. })
            });
            outcomes.extend(publish()?);
        }
        Ok(outcomes)
    }

    fn publisher<'a>(&'a self, stop: &'a Stop, clones: &'a [Source<'a>]) -> Publisher<'a> {
        Publisher {
            repo: &self.repo,
            source: self.source(&self.repo, stop),
            clones,
            user: self.user.as_ref(),
            hands: &self.shared.hands,
            host: &self.shared.node,
            allow_mass_removal: self.shared.allow_mass_removal,
            adopt: self.shared.adopt,
            stop: Some(stop),
        }
    }

    fn clones<'a>(&'a self, stop: &'a Stop) -> Vec<Source<'a>> {
        self.shared.repos.values().map(|repo| self.source(repo, stop)).collect()
    }

    /// Notes in the clone what events say has passed.
    fn note_passed(&self, git: &Repo<'_>, want: &Want, branch: Option<&RefName>) -> Result<(), Error> {
        let refs = git.refs()?;
        for (name, commit) in &want.passed {
            let name = name.as_ref().or(branch);
            let tip = name.and_then(|name| refs.get(name));
            if let (Some(name), Some(commit)) = (name, commit.as_ref().or(tip)) {
                git.pass(name, commit)?;
            }
        }
        Ok(())
    }

    /// What is to be published, by the clone.
    fn wanted(&self, git: &Repo<'_>, branch: Option<RefName>) -> Result<Wanted, Error> {
        let mut wanted = Wanted { refs: git.refs()?, waiting: BTreeSet::new(), branch };
        if self.waits_for_tests() {
            let mut passed = git.passed()?;
            for (name, _) in std::mem::take(&mut wanted.refs) {
                match passed.remove(&name) {
                    Some(commit) => drop(wanted.refs.insert(name, commit)),
                    None => drop(wanted.waiting.insert(name)),
                }
            }
        }
        Ok(wanted)
    }

    /// The one branch of a mode that has one.
    fn branch(&self, git: &Repo<'_>) -> Result<Option<RefName>, Error> {
        if !matches!(self.repo.mode, Mode::Branch | Mode::InPlace) {
            return Ok(None);
        }
        match self.repo.branch.as_ref().and_then(|branch| RefName::branch(branch).ok()) {
            None => Ok(git.default_branch()?),
            named => Ok(named),
        }
    }

    fn source<'a>(&'a self, repo: &'a config::Repo, stop: &'a Stop) -> Source<'a> {
        let (user, timeout) = (self.user.as_ref(), repo.timeout);
        let clone = Local { path: &repo.path, user, timeout, stop: Some(stop) };
        Source { name: repo.name.as_str(), url: repo.url.as_deref(), clone }
    }

    fn check_out(&self, git: &Repo<'_>, branch: Option<RefName>) -> Result<Vec<Outcome>, Error> {
        let branch = branch.ok_or(publish::Error::NoBranch)?;
        if !self.wanted(git, None)?.refs.contains_key(&branch) {
            return Ok(vec![Outcome::Problem(format!("{branch} is not there (yet), nothing was checked out"))]);
        }
        let tip = || {
            let mut refs = if self.waits_for_tests() { git.passed()? } else { git.refs()? };
            Ok(refs.remove(&branch))
        };
        Ok(match git.check_out(&branch, tip, self.repo.force)? {
            None => Vec::new(),
            Some(commit) => {
                let path = self.repo.path.clone();
                vec![Outcome::Published { path, reference: branch, commit, previous: None }]
            }
        })
    }
}

/// For `failcake check`. Best effort: what keeps it from being written is told by the look itself.
fn note(git: &Repo<'_>, report: &Report) {
    // Our own end says nothing of the repository.
    if report.is_stopped() {
        return;
    }
    let now = jiff::Timestamp::now();
    let problems = report.problems();
    let noted = git.note_look(|last| match problems.first() {
        None => Looked::well(now),
        Some(problem) => {
            let is_mass_removal = matches!(report.result, Err(git::Error::NoBranches(_)));
            let text = problem.strip_prefix(&format!("problem: [{}] ", report.repo)).unwrap_or(problem);
            last.failed(now, text, is_mass_removal)
        }
    });
    if let Err(error) = noted {
        log::info!("[{}] when it was looked at can't be noted: {error}", report.repo);
    }
}
