//! What is on this machine: repositories and sites.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::limits::Limits;
use super::report::{Measure, Unit};
use super::{Finding, Level, Role};
use crate::config::{Mode, Repo, Site, SvnRepo};
use crate::deploy::{self, Project};
use crate::git::local::Local;
use crate::git::remote::{self, Looked, Problem};
use crate::process::{self, User};
use crate::publish;
use crate::svn::LineKind;
use crate::svn::reference::Reference;
use crate::svn::remote::Remote;

/// A person waits for the answer.
const TIME: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);
/// Held directories that are told by name.
const NAMED: usize = 5;

/// When a look is overdue, where nobody says: a watcher looks each `reconcile`, and cron may come every ten minutes.
pub fn looks(reconcile: Duration) -> Limits<Duration> {
    let warn = (reconcile * 3).max(Duration::from_secs(900));
    Limits { warn: Some(warn), fail: Some(DAY.max(warn)) }
}

pub fn repo(repo: &Repo, looks: &Limits<Duration>, role: Role) -> Vec<Finding> {
    let about = format!("repo {}", repo.name);
    // Its url is asked what a ref is, which needs no clone.
    if role == Role::Operator && repo.mode == Mode::Fetch && repo.url.is_some() && !repo.path.exists() {
        return vec![Finding::ok(about, format!("{} is not there: right for an operator", repo.path.display()))];
    }
    let user = match become_user(&about, repo.user.as_deref()) {
        Ok(user) => user,
        Err(finding) => return vec![finding],
    };
    let path = repo.path.display();
    let mut findings = Vec::new();
    if !repo.path.exists() {
        findings.push(match &repo.url {
            None => Finding::fail(about.as_str(), format!("{path} is not there"), "add url: to have it cloned"),
            Some(_) => match writable(repo.path.parent().and_then(nearest_existing), user.as_ref()) {
                Ok(()) => Finding::warn(
                    about.as_str(),
                    format!("{path} is not there yet"),
                    format!("clone it with failcake fetch {}", repo.name),
                ),
                Err(text) => Finding::fail(about.as_str(), format!("{path} is not there: {text}"), "make its folder"),
            },
        });
    } else {
        // Any name will do: git reads the repository to look it up.
        let local = Local { path: &repo.path, user: user.as_ref(), timeout: TIME.min(repo.timeout), stop: None };
        findings.push(match local.resolve("master") {
            Ok(_) => match writable(Some(&repo.path), user.as_ref()) {
                Ok(()) => {
                    let looked = looked(&about, repo, user.as_ref(), looks);
                    match held(&about, repo, user.as_ref()) {
                        // The look's problem is the same.
                        Some(held) => Finding { measures: looked.measures, ..held },
                        None => looked,
                    }
                }
                Err(text) => Finding::fail(about.as_str(), text, "give it to the user who runs git: chown -R"),
            },
            Err(error) => Finding::fail(about.as_str(), error.to_string(), "make it a repository that git can read"),
        });
    }
    // `branches-flat` makes folders beside its target.
    if let Some(target) = repo.target.as_deref()
        && let Err(text) = writable(nearest_existing(target), user.as_ref())
    {
        findings.push(Finding::fail(
            about,
            format!("target {}: {text}", target.display()),
            "let that user write there",
        ));
    }
    findings
}

/// What became of the last looks at it.
fn looked(about: &str, repo: &Repo, user: Option<&User>, limits: &Limits<Duration>) -> Finding {
    let git = remote::Repo {
        path: &repo.path,
        url: repo.url.as_deref(),
        user,
        timeout: TIME.min(repo.timeout),
        stop: None,
        work_tree: repo.mode == Mode::InPlace,
    };
    let looked = match git.looked() {
        Ok(looked) => looked,
        Err(error) => return Finding::warn(about, error.to_string(), "run failcake check as root, or as its user"),
    };
    let now = Timestamp::now();
    let place = format!("{}, mode {}", repo.path.display(), repo.mode);
    let since = looked.good.or(looked.problem.as_ref().map(|problem| problem.since));
    let Some(since) = since else { return Finding::ok(about, format!("{place}, never looked at by fetch")) };
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let overdue = Level::of(age, limits);
    let finding = match looked {
        Looked { problem: Some(Problem { text, is_mass_removal: true, .. }), .. } => {
            let remedy = "bring the branches back, or correct url:; to give them all up, remove the clone by hand";
            Finding::fail(about, text, remedy)
        }
        Looked { problem: Some(Problem { text, since, last, .. }), .. } => {
            let last = Duration::try_from(now.duration_since(last)).unwrap_or_default();
            let began = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            let text = format!("the last look, {} ago, failed: {text} (since {})", span(last), span(began));
            let remedy = format!("mend that, then failcake fetch {}", repo.name);
            Finding::at(overdue.max(Level::Warn), about, text, remedy)
        }
        _ => {
            let remedy = "run fetch --watch (failcake-fetch.service), or fetch from cron";
            Finding::at(overdue, about, format!("{place}, looked at {} ago", span(age)), remedy)
        }
    };
    finding.with(Measure {
        name: "look".to_owned(),
        value: age.as_secs(),
        unit: Unit::Seconds,
        warn: limits.warn.map(|limit| limit.as_secs()),
        fail: limits.fail.map(|limit| limit.as_secs()),
        most: None,
    })
}

/// Directories that were not removed because they were too many at once.
fn held(about: &str, repo: &Repo, user: Option<&User>) -> Option<Finding> {
    if !repo.mode.has_target() {
        return None;
    }
    let held = match publish::held(repo, user) {
        Ok(held) if held.is_empty() => return None,
        Ok(held) => held,
        Err(error) => return Some(Finding::warn(about, error.to_string(), "run failcake check as root, or as its user")),
    };
    let named: Vec<String> = held.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = held.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!(" and {more} more"));
    Some(Finding::fail(
        about,
        format!(
            "a mass removal is held: the branches or tags of {} directories are gone, and none was removed: {}{}",
            held.len(),
            named.join(", "),
            more.unwrap_or_default()
        ),
        format!("bring them back, or let them go with failcake fetch {} --allow-mass-removal", repo.name),
    ))
}

/// About how long, for people.
fn span(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

pub fn svn(repo: &SvnRepo) -> Vec<Finding> {
    let about = format!("repo {}", repo.name);
    let user = match become_user(&about, repo.user.as_deref()) {
        Ok(user) => user,
        Err(finding) => return vec![finding],
    };
    let project = Project::of(repo);
    let remote = match project.remote(user.as_ref(), None) {
        Ok(remote) => Remote { timeout: TIME.min(repo.timeout), ..remote },
        Err(error) => return vec![Finding::fail(about, error.0, "correct password-file:")],
    };
    // A trunk without a deploy of it is no mistake; that there is none at all is worth a look.
    vec![match remote.resolve(&Reference::Line(LineKind::Trunk, String::new()), None) {
        Ok(Some(found)) => Finding::ok(about, format!("{}, trunk changed in r{}", remote.url, found.changed)),
        Ok(None) => Finding::warn(
            about,
            format!("there is no trunk in {}", remote.url),
            "name the folder above trunk, branches and tags",
        ),
        Err(error) => Finding::fail(about, error.to_string(), "a deploy asks that server"),
    }]
}

pub fn site(site: &Site, role: Role) -> Vec<Finding> {
    let about = format!("site {}", site.name);
    if role == Role::Operator && !site.path.exists() {
        return vec![Finding::ok(about, format!("{} is not there: right for an operator", site.path.display()))];
    }
    let user = match become_user(&about, site.user.as_deref()) {
        Ok(user) => user,
        Err(finding) => return vec![finding],
    };
    let path = site.path.display();
    if let Err(text) = writable(nearest_existing(&site.path), user.as_ref()) {
        return vec![Finding::fail(about, format!("{path}: {text}"), "let that user write there")];
    }
    let place = deploy::place(site);
    if let Err(error) = place.check_shared(&site.shared) {
        return vec![Finding::fail(about, error.to_string(), "make it, or take it out of shared:")];
    }
    if let Err(error) = deploy::check_directories(site) {
        return vec![Finding::fail(about, error.to_string(), "correct directories: of its farm:")];
    }
    let hold = match place.hold() {
        Ok(hold) => hold.map(|hold| Finding::ok(about.as_str(), format!("{}; failcake unhold {} lifts that", hold.to_string().replace(char::is_control, " "), site.name))),
        Err(error) => Some(Finding::warn(about.as_str(), error.to_string(), "run failcake check as root, or as its user")),
    };
    let state = match place.current() {
        Ok(Some(release)) if place.release(&release).is_dir() => {
            Finding::ok(about.as_str(), format!("{path} serves {}", release.as_str()))
        }
        Ok(Some(release)) => Finding::fail(
            about.as_str(),
            format!("{path}/current points to {}, which is gone", release.as_str()),
            format!("failcake deploy {} REF", site.name),
        ),
        Ok(None) => Finding::ok(about.as_str(), format!("{path} is writable, nothing is deployed yet")),
        Err(error) => Finding::fail(about.as_str(), error.to_string(), "move what stands there out of the way"),
    };
    [state].into_iter().chain(hold).collect()
}

pub(super) fn become_user(about: &str, name: Option<&str>) -> Result<Option<User>, Finding> {
    User::find(name).map_err(|error| {
        let remedy = match &error {
            process::Error::NotRoot { .. } => "run failcake as that user, or as root",
            _ => "create the user, or correct user:",
        };
        Finding::fail(about, error.to_string(), remedy)
    })
}

pub(super) fn nearest_existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

/// May that user (`None`: whoever runs this) make files in this folder, as far as its owner, group and mode tell?
pub(super) fn writable(folder: Option<&Path>, user: Option<&User>) -> Result<(), String> {
    let Some(folder) = folder else { return Err("it has no folder".to_owned()) };
    let Some(user) = user else {
        return nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK)
            .map_err(|error| format!("{} can't be written: {}", folder.display(), error.desc()));
    };
    let metadata = folder.metadata().map_err(|error| format!("{}: {error}", folder.display()))?;
    let bit = if metadata.uid() == user.uid.as_raw() {
        0o200
    } else if user.gid.as_raw() == metadata.gid() || user.groups.iter().any(|group| group.as_raw() == metadata.gid()) {
        0o020
    } else {
        0o002
    };
    if metadata.mode() & bit == 0 {
        return Err(format!("user {} may not write to {}", user.name, folder.display()));
    }
    Ok(())
}
