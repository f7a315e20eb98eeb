//! Files of temporary logins: do they follow what is known, and who may change what is known?

use jiff::Timestamp;

use super::Finding;
use crate::access::{SKEW, State, Survey, survey};
use crate::config::{Access, AccessKind, Config};
use crate::name::SiteName;

/// Nothing where no file is configured.
pub fn all(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = config.access.iter().flat_map(|(site, access)| one(config, site, access)).collect();
    if !config.access.is_empty() && !config.durable {
        findings.push(Finding::warn(
            "access",
            "access --watch misses what is ordered while it is away, revocations too",
            "say durable: true, or run access --drain from cron, which is durable anyhow",
        ));
    }
    findings
}

fn one(config: &Config, site: &SiteName, access: &Access) -> Vec<Finding> {
    let about = format!("access {site}");
    let now = Timestamp::now();
    let survey = match survey(site, access, now) {
        Ok(survey) => survey,
        Err(error) => return vec![Finding::fail(about, error.to_string(), "correct that, then run failcake check again")],
    };
    let mut findings = vec![state(&about, access, &survey, now)];
    findings.extend(givers(&about, config, site, access));
    findings.extend(readers(&about, access, &survey));
    if access.kind == AccessKind::Haproxy && access.reload.is_empty() {
        findings.push(Finding::warn(
            about,
            "HAProxy reads the file only when it starts or is reloaded, and nothing reloads it",
            "say reload: (and check:), such as [/usr/bin/systemctl, reload, haproxy]",
        ));
    }
    findings
}

/// Does the file say what is known?
fn state(about: &str, access: &Access, survey: &Survey, now: Timestamp) -> Finding {
    let file = access.file.display();
    let mend = "mend it with failcake access expire, and keep failcake access --watch running";
    let late = |until: Timestamp| now.duration_since(until) > SKEW;
    let overdue = survey.logins.values().any(|login| matches!(login.state, State::Live { expires, .. } if late(expires)));
    if overdue {
        return Finding::fail(about, format!("{file} lets people in whose time is up"), mend);
    }
    if survey.owes_reload {
        return Finding::fail(about, format!("{file} is new, and its reload has not succeeded"), mend);
    }
    if survey.mode.is_none() {
        return Finding::warn(about, format!("{file} is not there yet"), "make it with failcake access expire");
    }
    if survey.differs {
        return Finding::fail(about, format!("{file} is not as it should be"), mend);
    }
    let others = if survey.foreign > 0 { format!(", {} not failcake's", survey.foreign) } else { String::new() };
    Finding::ok(about, format!("{file}: temporary logins: {}{others}", survey.in_file))
}

/// May anybody let people in?
fn givers(about: &str, config: &Config, site: &SiteName, access: &Access) -> Vec<Finding> {
    let mut findings = Vec::new();
    let node = &config.node;
    let rule = config.allow.iter().any(|rule| rule.grants(&rule.who, site, node));
    match &config.signing.allowed_signers {
        _ if !rule => findings.push(Finding::warn(
            about,
            format!("no rule lets anybody grant access to it on {node}"),
            "name who may in allow:, with access: and hosts:",
        )),
        None => findings.push(Finding::fail(
            about,
            "there is no signing: allowed-signers:, so no signature counts",
            "name that file, as ssh-keygen(1) has it",
        )),
        Some(path) => {
            if let Err(error) = std::fs::File::open(path) {
                let text = format!("can't read {}: {error}, so no signature counts", path.display());
                findings.push(Finding::fail(about, text, "make it readable for who runs failcake"));
            }
        }
    }
    if access.accept_cleartext {
        findings.push(Finding::warn(
            about,
            "accept-cleartext: is on: whoever may write to that topic lets in whom they like, and everybody reads it",
            "turn it off when the last of the old tools is gone",
        ));
    }
    findings
}

/// Who reads the file, as far as its mode tells?
fn readers(about: &str, access: &Access, survey: &Survey) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(&access.file).ok()?;
    let file = access.file.display();
    match survey.mode? {
        mode if mode & 0o004 != 0 => Some(Finding::warn(
            about,
            format!("every user here may read {file}, hashes and all"),
            "chmod 640, and chgrp to the group that reads it: failcake keeps both",
        )),
        // Its workers have a user of their own; HAProxy reads before it becomes another.
        mode if access.kind == AccessKind::Nginx && (mode & 0o040 == 0 || metadata.gid() == 0) && metadata.uid() == 0 => {
            Some(Finding::warn(
                about,
                format!("only root may read {file}, and nginx's workers are somebody else"),
                "chgrp www-data (or who they are), and chmod 640: failcake keeps both",
            ))
        }
        _ => None,
    }
}
