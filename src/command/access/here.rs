//! `access list` and `access expire`: what is kept on this machine, without the bus.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::report::Report;
use crate::access::{How, Login, State, keep, survey};
use crate::command::FAILED;
use crate::config::{self, Access, Config};
use crate::name::{LoginName, SiteName};
use crate::process::Stop;

/// That site, or all.
fn chosen<'a>(config: &'a Config, site: Option<&SiteName>) -> anyhow::Result<Vec<(&'a SiteName, &'a Access)>> {
    let Some(site) = site else { return Ok(config.access.iter().collect()) };
    let found = config.access.get_key_value(site).ok_or_else(|| {
        let known = config.access.keys().map(SiteName::as_str).collect::<Vec<_>>().join(", ");
        config::Error(format!("there is no {site} below `access:`, only {known}"))
    })?;
    Ok(vec![found])
}

pub(super) fn list(config: &Config, site: Option<&SiteName>, as_json: bool) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for (site, access) in chosen(config, site)? {
        let survey = survey(site, access, now).with_context(|| format!("access {site}"))?;
        rows.extend(survey.logins.into_iter().map(|(user, login)| (site, user, login)));
    }
    let mut stdout = std::io::stdout().lock();
    if as_json {
        let rows: Vec<_> = rows.iter().map(|(site, user, login)| row(site, user, login, now)).collect();
        writeln!(stdout, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |each: fn(&(&SiteName, LoginName, Login)) -> usize| rows.iter().map(each).max().unwrap_or_default();
    let (sites, users) = (width(|(site, ..)| site.as_str().len()), width(|(_, user, _)| user.as_str().len()));
    for (site, user, login) in &rows {
        let who = login.who.as_ref().map_or_else(|| "nobody signed it".to_owned(), |who| format!("by {who}"));
        let (site, user) = (site.as_str(), user.as_str());
        writeln!(stdout, "{site:sites$}  {user:users$}  {}  ({who})", tell(&login.state, now))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(state: &State, now: Timestamp) -> String {
    match state {
        State::Live { expires, .. } if *expires <= now => format!("overdue since {expires:.0}"),
        State::Live { expires, .. } => format!("until {expires:.0}"),
        State::Ended { at, how: How::Expired } => format!("expired at {at:.0}"),
        State::Ended { at, how: How::Revoked } => format!("revoked at {at:.0}"),
    }
}

fn row(site: &SiteName, user: &LoginName, login: &Login, now: Timestamp) -> serde_json::Value {
    let (state, time, name) = match &login.state {
        State::Live { expires, .. } if *expires <= now => ("overdue", expires, "expires"),
        State::Live { expires, .. } => ("live", expires, "expires"),
        State::Ended { at, how: How::Expired } => ("expired", at, "ended"),
        State::Ended { at, how: How::Revoked } => ("revoked", at, "ended"),
    };
    json!({
        "site": site, "user": user, "state": state, name: time.to_string(), "who": login.who,
        "issued": login.issued.to_string(), "id": login.id,
    })
}

pub(super) fn expire(config: &Config, site: Option<&SiteName>, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let mut failed = false;
    for (site, access) in chosen(config, site)? {
        let problem = |error: &dyn std::fmt::Display| Report::problem(site.as_str(), error);
        match keep(site, access, &[], Timestamp::now(), Some(&stop)) {
            Err(error) => {
                failed = true;
                problem(&error).print(json, true);
            }
            Ok(kept) => {
                for user in kept.ended {
                    Report::Expired { site: site.clone(), user }.print(json, true);
                }
                if let Some(trouble) = kept.trouble {
                    failed = true;
                    problem(&trouble).print(json, true);
                }
            }
        }
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
