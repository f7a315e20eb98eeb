//! What is on this machine: repositories and sites.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::config::{Repo, Site};
use crate::deploy;
use crate::git::local::Local;
use crate::process::{self, User};

/// A person waits for the answer.
const TIME: Duration = Duration::from_secs(10);

pub fn repo(repo: &Repo) -> Vec<Finding> {
    let about = format!("repo {}", repo.name);
    let user = match become_user(&about, repo.user.as_deref()) {
        Ok(user) => user,
        Err(finding) => return vec![finding],
    };
    let path = repo.path.display();
    let mut findings = Vec::new();
    if !repo.path.exists() {
        findings.push(match &repo.url {
            None => Finding::fail(about.as_str(), format!("{path} is not there"), "add url: to have it cloned"),
            Some(_) => match writable(repo.path.parent(), user.as_ref()) {
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
                Ok(()) => Finding::ok(about.as_str(), format!("{path}, mode {}", repo.mode)),
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

pub fn site(site: &Site) -> Vec<Finding> {
    let about = format!("site {}", site.name);
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
    vec![match place.current() {
        Ok(Some(release)) if place.release(&release).is_dir() => {
            Finding::ok(about, format!("{path} serves {}", release.as_str()))
        }
        Ok(Some(release)) => Finding::fail(
            about,
            format!("{path}/current points to {}, which is gone", release.as_str()),
            format!("failcake deploy {} REF", site.name),
        ),
        Ok(None) => Finding::ok(about, format!("{path} is writable, nothing is deployed yet")),
        Err(error) => Finding::fail(about, error.to_string(), "move what stands there out of the way"),
    }]
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
