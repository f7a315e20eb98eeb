//! Who is trusted, and with what: `signing:` and `allow:`.

use std::path::PathBuf;

use crate::name::{Glob, NodeName, Principal, SiteName};

/// `signing:`.
#[derive(Debug, Clone, Default)]
pub struct Signing {
    /// `key:` private SSH key; `None`: ssh-agent.
    pub key: Option<PathBuf>,
    /// `principal:` who signs with it; `None`: who the allowed signers file says has that key.
    pub principal: Option<Principal>,
    /// `allowed-signers:` as ssh-keygen(1) has it.
    pub allowed_signers: Option<PathBuf>,
}

/// One of `allow:`: who may deploy what where, and who may grant access to what.
#[derive(Debug, Clone)]
pub struct Allow {
    /// `who:` principal of the allowed signers file.
    pub who: Principal,
    /// `sites:` that they may deploy.
    pub sites: Vec<Glob>,
    /// `access:` sites that they may let people into.
    pub access: Vec<Glob>,
    /// `hosts:` on which this counts.
    pub hosts: Vec<Glob>,
}

impl Allow {
    /// May `who` deploy `site` on `host`, as far as this rule goes?
    pub fn deploys(&self, who: &Principal, site: &SiteName, host: &NodeName) -> bool {
        self.counts(who, host) && self.sites.iter().any(|glob| glob.matches(site.as_str()))
    }

    /// May `who` let people into `site` on `host`, as far as this rule goes?
    pub fn grants(&self, who: &Principal, site: &SiteName, host: &NodeName) -> bool {
        self.counts(who, host) && self.access.iter().any(|glob| glob.matches(site.as_str()))
    }

    fn counts(&self, who: &Principal, host: &NodeName) -> bool {
        self.who == *who && self.hosts.iter().any(|glob| glob.matches(host.as_str()))
    }
}
