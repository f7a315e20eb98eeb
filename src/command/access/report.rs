//! What happened, in the words of each who wants to know.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::name::{LoginName, Principal, SiteName};
use crate::watch::say;

/// Something that people want to know.
#[derive(Debug, Clone)]
pub(super) enum Report {
    /// Somebody is let in.
    Granted { site: SiteName, user: LoginName, until: Timestamp, who: Option<Principal> },
    /// And no longer; `had`: was, before.
    Revoked { site: SiteName, user: LoginName, who: Principal, had: bool },
    /// A login's time was up.
    Expired { site: SiteName, user: LoginName },
    /// An order is not taken.
    Refused { what: String, why: String },
    /// Something does not work, `about` a name of the configuration.
    Problem { about: String, why: String },
    /// Nothing is wrong with that (any more).
    Fine { about: String },
}

impl Report {
    pub(super) fn problem(about: &str, why: &dyn std::fmt::Display) -> Report {
        Report::Problem { about: about.to_owned(), why: why.to_string() }
    }

    /// For people; nothing for what only ends a problem.
    pub(super) fn line(&self) -> Option<String> {
        Some(match self {
            Report::Granted { site, user, until, who: Some(who) } => {
                format!("allowed access to {site} for {user} until {until:.0} ({who})")
            }
            Report::Granted { site, user, until, who: None } => format!(
                "allowed access to {site} for {user} until {until:.0}, in the clear: everybody on the bus could read that password"
            ),
            Report::Revoked { site, user, who, had: true } => format!("ended access to {site} for {user} (revoked by {who})"),
            Report::Revoked { site, user, who, had: false } => {
                format!("no access to {site} for {user}, which was revoked by {who} and not there")
            }
            Report::Expired { site, user } => format!("ended access to {site} for {user} (expired)"),
            Report::Refused { what, why } => format!("refused {what}: {why}"),
            Report::Problem { about, why } => format!("access {about}: {why}"),
            Report::Fine { .. } => return None,
        })
    }

    fn is_problem(&self) -> bool {
        matches!(self, Report::Refused { .. } | Report::Problem { .. })
    }

    /// To stdout; with `problems`, those to stderr.
    pub(super) fn print(&self, as_json: bool, problems: bool) {
        let Some(line) = self.line() else { return };
        if as_json {
            say(&mut std::io::stdout(), &self.json().to_string());
        } else if !self.is_problem() {
            say(&mut std::io::stdout(), &line);
        }
        if problems && self.is_problem() {
            say(&mut std::io::stderr(), &format!("failcake: problem: {line}"));
        }
    }

    fn json(&self) -> Value {
        match self {
            Report::Granted { site, user, until, who } => {
                json!({ "what": "granted", "site": site, "user": user, "expires": until.to_string(), "who": who })
            }
            Report::Revoked { site, user, who, had } => {
                json!({ "what": "revoked", "site": site, "user": user, "who": who, "had": had })
            }
            Report::Expired { site, user } => json!({ "what": "expired", "site": site, "user": user }),
            Report::Refused { what, why } => json!({ "what": "refused", "about": what, "why": why }),
            Report::Problem { about, why } => json!({ "what": "problem", "about": about, "why": why }),
            Report::Fine { about } => json!({ "what": "fine", "about": about }),
        }
    }
}
