//! Ahead of its turn in a plan that several hosts follow: a host fetches, checks and stages, and runs no script.

use super::origin::Wanted;
use super::{Error, Expected, Here, Plan, Request, Tell, place};
use crate::config::{Repo, Site, SiteMode};
use crate::git::local::{Kind, Local};
use crate::git::remote::{self, Look};
use crate::name::Rev;
use crate::process::{Stop, User};
use crate::release::{self, ReleaseName, Target, When};

/// What stands ready.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The release that is staged, or that a rollback would go to; none yet for a site that is changed in place.
    pub release: Option<ReleaseName>,
    /// What is live meanwhile.
    pub previous: Option<ReleaseName>,
    /// Its commit.
    pub previous_commit: Option<String>,
}

/// Fetches what the clone lacks for `request`. To be called before [`become_owner`](super::become_owner): the clone may
/// be another user's than the site.
///
/// # Errors
/// git failed. That the remote has not what is asked for is found by [`Here::prepare`].
pub fn fetch_missing(repo: &Repo, request: &Request, stop: Option<&Stop>) -> Result<(), Error> {
    let user = User::find(repo.user.as_deref())?;
    let clone = Local { path: &repo.path, user: user.as_ref(), timeout: repo.timeout, stop };
    if resolve(&clone, repo, request).is_ok() {
        return Ok(());
    }
    let remote = remote::Repo {
        path: &repo.path,
        url: repo.url.as_deref(),
        user: user.as_ref(),
        timeout: repo.timeout,
        stop,
        work_tree: false,
    };
    remote.update(Look::Thorough)?;
    Ok(())
}

/// The commit that `request` means in this clone.
pub(super) fn resolve(clone: &Local<'_>, repo: &Repo, request: &Request) -> Result<Rev, Error> {
    let reference = request.reference.clone();
    let Some((kind, found)) = clone.resolve(&reference)? else {
        return Err(Error::NoSuchRef { reference, repo: repo.name.to_string(), path: repo.path.clone() });
    };
    let (expected_kind, expected) = match request.expected.clone() {
        None => return Ok(found),
        Some(Expected::Git(kind, commit)) => (kind, commit),
        Some(expected) => {
            return Err(Error::OtherOrigin { expected, from: format!("repository {} of git", repo.name) });
        }
    };
    if found == expected {
        return Ok(found);
    }
    match (expected_kind, kind) {
        // The operator saw an older tip of it, or a newer one that is not here yet.
        (Kind::Branch, Kind::Branch) if clone.contains(&found, &expected)? => Ok(expected),
        (Kind::Branch, Kind::Branch) => Err(Error::NotContained { reference, expected, found }),
        _ => Err(Error::Moved { reference, expected, found }),
    }
}

impl Here<'_> {
    /// Stages `request` for a later [`deploy`](Self::deploy) with the same id, which keeps it until then or `until`.
    /// Killed at any moment, it leaves what the next run clears.
    ///
    /// # Errors
    /// Whatever would make the deploy fail and can be known before its scripts run.
    pub fn prepare(&self, request: &Request, until: When, tell: Tell<'_>) -> Result<Prepared, Error> {
        let place = place(self.site);
        let what = format!("prepare {}", request.reference.escape_debug());
        if !self.site.path.exists() {
            self.resolve(request)?;
            place.make()?;
        }
        let held = place.lock(&request.who, &what, request.wait, self.stop)?;
        let wanted = self.resolve(request)?;
        let previous = held.current()?;
        let previous_commit = previous.as_ref().and_then(|name| held.commit(name));
        if self.site.mode == SiteMode::InPlace {
            return Ok(Prepared { release: None, previous, previous_commit });
        }
        held.check_shared(&self.site.shared)?;
        let release = match held.staged(&request.id)? {
            Some(staged) if wanted.is(&staged) => staged.release,
            _ => {
                self.check_space(&held)?;
                let mut record = self.stage(&held, &wanted, request, tell)?;
                held.keep_staged(&mut record, until)?;
                record.release
            }
        };
        Ok(Prepared { release: Some(release), previous, previous_commit })
    }

    /// What a rollback would go to: the release that is live, if that is the one asked for.
    ///
    /// # Errors
    /// There is nothing to go back to, or the site is frozen or busy.
    pub fn prepare_rollback(&self, to: Option<&Target>, request: &Request) -> Result<Prepared, Error> {
        let held = place(self.site).lock(&request.who, "prepare rollback", request.wait, self.stop)?;
        let current = held.current()?.ok_or(release::Error::NothingBefore)?;
        let to = to.map(|to| held.meant(&current, to)).transpose()?;
        let release = match to {
            // Of several hosts, some may serve it.
            Some(to) if to == current => to,
            to => held.rollback_target(&current, to.as_ref())?.release,
        };
        let previous_commit = held.commit(&current);
        Ok(Prepared { release: Some(release), previous: Some(current), previous_commit })
    }

    /// What [`rollback`](Self::rollback) would do. Touches nothing.
    ///
    /// # Errors
    /// What would be refused.
    pub fn plan_rollback(&self, to: Option<&Target>) -> Result<Plan, Error> {
        let place = place(self.site);
        let current = place.current()?.ok_or(release::Error::NothingBefore)?;
        place.check_hold()?;
        let to = to.map(|to| place.meant(&current, to)).transpose()?;
        let target = place.rollback_target(&current, to.as_ref())?;
        let wanted = Wanted::of(&target);
        let changes = wanted.map(|wanted| self.changes(&place, &current, &wanted)).unwrap_or_default();
        Ok(Plan {
            site: self.site.name.to_string(),
            reference: target.reference,
            commit: target.commit.unwrap_or_else(|| "unknown commit".to_owned()),
            parts: target.parts,
            release: Some(target.release),
            previous_commit: place.commit(&current),
            previous: Some(current),
            changes: changes.lines().map(str::to_owned).collect(),
        })
    }
}

/// Drops what was staged for the request of this id; there may be nothing.
///
/// # Errors
/// The site is busy, or the disk says no.
pub fn drop_prepared(site: &Site, request: &Request, stop: Option<&Stop>) -> Result<(), Error> {
    let place = place(site);
    // A freeze must not keep what nobody wants any more; the next run clears it when its time is over.
    if !site.path.exists() || site.mode == SiteMode::InPlace || place.hold()?.is_some() {
        return Ok(());
    }
    let held = place.lock(&request.who, "drop what was prepared", true, stop)?;
    if let Some(staged) = held.staged(&request.id)? {
        held.drop_staged(&staged)?;
    }
    Ok(())
}
