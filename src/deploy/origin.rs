//! Where a site's files come from, and what a request means there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use super::{Error, Here, Request, prepare};
use crate::config::{self, Config, Farm, Repo, Secret, Site, SvnRepo};
use crate::git::local::{Kind, Local};
use crate::name::{RepoName, Rev};
use crate::process::{Stop, User};
use crate::release::{Part, Place, Record, ReleaseName, Revision};
use crate::svn::reference::Reference;
use crate::svn::remote::{Found, Remote};

/// Where a site's files come from.
#[derive(Debug)]
pub enum Origin<'a> {
    /// A clone on this machine.
    Git(&'a Repo),
    /// A project on its server.
    Svn(Project<'a>),
    /// Several clones on this machine.
    Farm(&'a Farm),
}

/// A project of Subversion, with what it takes to read it.
#[derive(Debug)]
pub struct Project<'a> {
    /// As it is configured.
    pub repo: &'a SvnRepo,
    /// Read at once: who becomes the site's user may not be allowed to, later. A rollback does without it.
    password: Result<Option<Secret>, config::Error>,
}

impl<'a> Origin<'a> {
    /// The origin of a site of `config`.
    ///
    /// # Errors
    /// Its repository is not configured.
    pub fn of(config: &'a Config, site: &'a Site) -> Result<Origin<'a>, config::Error> {
        Origin::among(&config.repos, config.svn.get(&site.repo), site)
    }

    /// As [`of`](Self::of): the site's project is `svn`, or its repositories are among `repos`.
    ///
    /// # Errors
    /// As there.
    pub fn among(
        repos: &'a BTreeMap<RepoName, Repo>,
        svn: Option<&'a SvnRepo>,
        site: &'a Site,
    ) -> Result<Origin<'a>, config::Error> {
        if let Some(farm) = &site.farm {
            return Ok(Origin::Farm(farm));
        }
        if let Some(repo) = svn {
            return Ok(Origin::Svn(Project::of(repo)));
        }
        let no_repo = || config::Error(format!("site {}: its repo {} is not among `repos:`", site.name, site.repo));
        Ok(Origin::Git(repos.get(&site.repo).ok_or_else(no_repo)?))
    }
}

impl<'a> Project<'a> {
    /// The project, with its password.
    pub fn of(repo: &'a SvnRepo) -> Project<'a> {
        Project { repo, password: repo.password.as_ref().map(|file| file.read()).transpose() }
    }

    /// To ask the server.
    ///
    /// # Errors
    /// The password's file can't be read.
    pub fn remote<'b>(&'b self, user: Option<&'b User>, stop: Option<&'b Stop>) -> Result<Remote<'b>, config::Error> {
        let password = self.password.as_ref().map_err(|error| config::Error(error.0.clone()))?;
        let password = password.as_ref().map(|secret| secret.0.as_str());
        let login = self.repo.login.as_deref().map(|login| (login, password));
        Ok(Remote { url: &self.repo.url, login, user, timeout: self.repo.timeout, stop })
    }
}

/// What a request's reference was where it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Here a tag must be that commit, and a branch must contain it.
    Git(Kind, Rev),
    /// Here it is taken as it was in that revision.
    Svn(u64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Git(_, commit) => write!(f, "commit {commit}"),
            Expected::Svn(revision) => write!(f, "revision {revision} of Subversion"),
        }
    }
}

/// What a request turned out to mean.
#[derive(Debug)]
pub(super) enum Wanted {
    /// This commit of the site's repository.
    Git(Rev),
    /// This tree of the site's project.
    Svn(Found),
    /// These commits of a farm's repositories.
    Farm {
        parts: Vec<Part>,
        /// What was asked for, with the repository of each.
        reference: String,
    },
}

impl Wanted {
    /// What a release is; `None` where its record does not say.
    pub(super) fn of(record: &Record) -> Option<Wanted> {
        Some(match record.revision()? {
            Revision::Commit(commit) => Wanted::Git(commit),
            Revision::Svn(changed) => {
                let reference = match record.reference.parse().ok()? {
                    Reference::Revision(_) => Reference::Revision(changed),
                    line => line,
                };
                Wanted::Svn(Found { reference, at: changed, changed })
            }
            Revision::Farm(parts) => Wanted::Farm { parts, reference: record.reference.clone() },
        })
    }

    pub(super) fn revision(&self) -> Revision {
        match self {
            Wanted::Git(commit) => Revision::Commit(commit.clone()),
            Wanted::Svn(found) => Revision::Svn(found.changed),
            Wanted::Farm { parts, .. } => Revision::Farm(parts.clone()),
        }
    }

    /// Is it what was staged?
    pub(super) fn is(&self, staged: &Record) -> bool {
        staged.commit.as_ref() == Some(&self.revision().id())
    }

    /// What records call it.
    pub(super) fn reference(&self, request: &Request) -> String {
        match self {
            Wanted::Git(_) | Wanted::Svn(_) => request.reference.clone(),
            Wanted::Farm { reference, .. } => reference.clone(),
        }
    }
}

impl Here<'_> {
    pub(super) fn resolve(&self, request: &Request) -> Result<Wanted, Error> {
        let reference = request.reference.clone();
        match self.repo {
            Origin::Git(repo) => prepare::resolve(&self.clone_at(repo), repo, request).map(Wanted::Git),
            Origin::Svn(project) => {
                let at = match &request.expected {
                    None => None,
                    Some(Expected::Svn(at)) => Some(*at),
                    Some(expected) => {
                        let from = format!("{}, which is Subversion", project.repo.url);
                        return Err(Error::OtherOrigin { expected: expected.clone(), from });
                    }
                };
                let found = project.remote(self.user, self.stop)?.resolve(&reference.parse()?, at)?;
                let no = || Error::NoSuchLine { reference, url: project.repo.url.clone() };
                found.map(Wanted::Svn).ok_or_else(no)
            }
            Origin::Farm(farm) => self.resolve_farm(farm, request),
        }
    }

    /// `STATUS<tab>NAME` for each file in which `wanted` differs from a release; nothing when that can't be known.
    pub(super) fn changes(&self, place: &Place, from: &ReleaseName, wanted: &Wanted) -> String {
        match (self.repo, wanted) {
            (Origin::Git(repo), Wanted::Git(commit)) => {
                let from = place.commit(from).and_then(|commit| commit.parse().ok());
                // A commit that the clone has no more can't be compared; that must not stop the deploy.
                from.and_then(|from| self.clone_at(repo).changes(&from, commit).ok()).unwrap_or_default()
            }
            (Origin::Svn(project), Wanted::Svn(found)) => {
                let Some(Wanted::Svn(was)) = place.record(from).and_then(|record| Wanted::of(&record)) else {
                    return String::new();
                };
                let changes = project.remote(self.user, self.stop).map(|remote| remote.changes(&was, found));
                changes.ok().and_then(Result::ok).unwrap_or_default()
            }
            (Origin::Farm(_), Wanted::Farm { parts, .. }) => {
                let was = place.parts(from);
                parts.iter().map(|part| self.part_changes(&was, part)).collect()
            }
            _ => String::new(),
        }
    }

    /// Those of one part of a farm, where they are in the release.
    fn part_changes(&self, was: &[Part], part: &Part) -> String {
        let old = was.iter().find(|old| old.repo == part.repo);
        let (Some(old), Ok(repo)) = (old, self.repo_of(&part.repo)) else {
            return format!("A\t{}\n", part.target.display());
        };
        let changes = self.clone_at(repo).changes(&old.commit, &part.commit).unwrap_or_default();
        let place = |line: &str| match line.split_once('\t') {
            Some((status, path)) if !part.is_release() => format!("{status}\t{}\n", part.target.join(path).display()),
            _ => format!("{line}\n"),
        };
        changes.lines().map(place).collect()
    }

    /// What scripts know as `FAILCAKE_REPO`; of a farm, the clone of `part`.
    pub(super) fn repo_for_scripts(&self, part: Option<&Part>) -> OsString {
        match self.repo {
            Origin::Git(repo) => repo.path.clone().into(),
            Origin::Svn(project) => project.repo.url.clone().into(),
            Origin::Farm(_) => {
                let repo = part.and_then(|part| self.repos.get(&part.repo));
                repo.map(|repo| repo.path.clone().into()).unwrap_or_default()
            }
        }
    }

    pub(super) fn clone_at<'a>(&'a self, repo: &'a Repo) -> Local<'a> {
        Local { path: &repo.path, user: self.user, timeout: repo.timeout, stop: self.stop }
    }
}
