//! A process that works on one site, and nothing else any more.

use std::collections::BTreeMap;

use super::{Error, Here, Origin, become_owner, make_folder};
use crate::config::{Repo, Site};
use crate::name::RepoName;
use crate::process::{Stop, User};

/// Whom this process became for a site, and what ends its work early.
#[derive(Debug)]
pub struct Owner {
    user: Option<User>,
    stop: Stop,
}

impl Owner {
    /// Makes this process the site's user's, for good. With `makes`, the site's folder is made first if need be.
    ///
    /// # Errors
    /// There is no such user, this runs neither as that user nor as root, or the disk says no.
    pub fn become_of(site: &Site, makes: bool, stop: Stop) -> Result<Owner, Error> {
        if makes {
            make_folder(site)?;
        }
        Ok(Owner { user: become_owner(site)?, stop })
    }

    /// The site, for whatever is done to it.
    pub fn here<'a>(
        &'a self,
        site: &'a Site,
        repo: &'a Origin<'a>,
        repos: &'a BTreeMap<RepoName, Repo>,
        host: &'a str,
    ) -> Here<'a> {
        Here { site, repo, repos, host, user: self.user.as_ref(), stop: Some(&self.stop) }
    }
}
