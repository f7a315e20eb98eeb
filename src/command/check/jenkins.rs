//! The Jenkins controller: is it there, does it take our credential, and what waits for it?

use std::time::Duration;

use super::bus::Tally;
use super::limits::Limits;
use super::{Finding, Level};
use crate::config::{Config, Jenkins};
use crate::jenkins::{Controller, FOLDER};
use crate::spool::{self, Spool};

/// What `jenkins-trigger` keeps, of each user; nothing where it never kept anything.
pub fn builds(config: &Config, oldest: &Limits<Duration>) -> Vec<Finding> {
    let place = &config.bus.spool;
    let limits = spool::Limits { count: place.max_count, bytes: place.max_bytes };
    let spools = Spool::find_all(&place.parent, limits).unwrap_or_default();
    let kept = spools.iter().filter_map(|spool| spool.find_inner(FOLDER).transpose());
    kept.map(|kept| {
        let entries = match kept.and_then(|kept| kept.survey()) {
            Ok(entries) => entries,
            Err(error) => return Finding::fail("jenkins builds", error.to_string(), "make it readable"),
        };
        let tally = Tally::of(&entries);
        let mut level = Level::of(tally.oldest, oldest);
        let mut text = match tally.count {
            0 => "none waits".to_owned(),
            count => format!("{count} wait, the oldest for {} s", tally.oldest.as_secs()),
        };
        if tally.aside > 0 {
            text += &format!("; {} were set aside", tally.aside);
            level = level.max(Level::Warn);
        }
        let remedy = "see why with failcake jenkins-trigger --list; --retry tries again what was set aside";
        let finding = Finding::at(level, "jenkins builds", text, remedy);
        tally.measures("jenkins", oldest).into_iter().fold(finding, Finding::with)
    })
    .collect()
}

/// Nothing where no controller is configured.
pub fn controller(config: &Jenkins) -> Vec<Finding> {
    let Some(url) = &config.url else {
        let needed = (!config.projects.is_empty()).then(|| {
            Finding::fail("jenkins", "projects are configured and no controller", "say url: below jenkins:")
        });
        return needed.into_iter().collect();
    };
    let controller = match Controller::new(config) {
        Ok(controller) => controller,
        Err(error) => return vec![Finding::fail("jenkins", error.0, "correct it there, then run failcake check again")],
    };
    let mut findings = vec![match controller.identity() {
        Ok(identity) => {
            let what = identity.version.map_or_else(|| "a Jenkins".to_owned(), |version| format!("Jenkins {version}"));
            Finding::ok("jenkins", format!("{url} is {what}, we are {}", identity.name))
        }
        // Each error says what to do.
        Err(error) => Finding::fail("jenkins", error.to_string(), "then run failcake check again"),
    }];
    let secret = config.token.is_some() || config.projects.values().any(|project| project.token.is_some());
    if secret && url.starts_with("http:") {
        let remedy = "use https://, or keep to a network that nobody else hears";
        findings.push(Finding::warn("jenkins", format!("tokens go to {url} in the clear"), remedy));
    }
    findings
}
