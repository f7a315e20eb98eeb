//! Answers to questions: who is there, what is live, what could be deployed. Nothing here changes anything.

use std::collections::BTreeMap;

use super::Setup;
use crate::config::Site;
use crate::deploy;
use crate::git::local::Local;
use crate::message::deploy::{Answer, NodeState, Offered, PlanId, SiteState, Subject};
use crate::name::{RepoName, SiteName};
use crate::process::User;

/// Tags in one answer: the newest.
const TAGS_MAX: usize = 500;
/// Sites in one answer.
const SITES_MAX: usize = 400;

/// Octets of an answer, as JSON inside of JSON: it has to fit into one message.
const OCTETS_MAX: usize = 150 * 1024;

/// The plans that have a site.
pub(super) type Holders = BTreeMap<SiteName, PlanId>;

/// The answer to everything but [`Subject::Plan`]. Looks at disks, and asks git for tags: off the loop.
pub(super) fn answer(subject: &Subject, setup: &Setup, holders: &Holders) -> Answer {
    let mut answer = look_up(subject, setup, holders);
    // Names may be long.
    while serde_json::to_string(&answer).map_or(0, |text| text.len()) > OCTETS_MAX {
        match &mut answer {
            Answer::Node(NodeState { sites, .. }) | Answer::State { sites } => sites.truncate(sites.len() / 2),
            Answer::Tags { tags, problem } => {
                tags.truncate(tags.len() / 2);
                *problem = Some(format!("only the newest {} tags", tags.len()));
            }
            _ => break,
        }
    }
    answer
}

fn look_up(subject: &Subject, setup: &Setup, holders: &Holders) -> Answer {
    let config = &setup.config;
    match subject {
        Subject::Nodes => Answer::Node(NodeState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: setup.since,
            facts: setup.facts.clone(),
            sites: states(config.sites.values(), holders),
        }),
        Subject::State { site } => {
            let asked = config.sites.values().filter(|known| site.as_ref().is_none_or(|site| *site == known.name));
            Answer::State { sites: states(asked, holders) }
        }
        Subject::Tags { repo } => match tags(setup, repo) {
            Ok((tags, problem)) => Answer::Tags { tags, problem },
            Err(problem) => Answer::Tags { tags: Vec::new(), problem: Some(problem) },
        },
        Subject::Plan { .. } => Answer::UnknownPlan,
    }
}

fn states<'a>(sites: impl Iterator<Item = &'a Site>, holders: &Holders) -> Vec<SiteState> {
    sites.take(SITES_MAX).map(|site| SiteState { plan: holders.get(&site.name).copied(), ..state(site) }).collect()
}

/// What a site serves, read with no more rights than its user has: whoever owns a folder can lay a link in it.
fn state(site: &Site) -> SiteState {
    let looked = match User::find(site.user.as_deref()) {
        Ok(None) => look(site),
        Ok(Some(user)) => user.with_rights(|| look(site)).unwrap_or_else(|error| Err(error.to_string())),
        Err(error) => Err(error.to_string()),
    };
    looked.unwrap_or_else(|problem| SiteState { note: Some(problem), ..empty(site) })
}

fn empty(site: &Site) -> SiteState {
    SiteState {
        site: site.name.clone(),
        release: None,
        reference: None,
        commit: None,
        since: None,
        note: None,
        plan: None,
    }
}

fn look(site: &Site) -> Result<SiteState, String> {
    let place = deploy::place(site);
    let text = |error: crate::release::Error| error.to_string();
    let frozen = place.hold().map_err(text)?.map(|hold| hold.to_string());
    let note = frozen.or_else(|| place.holder().map(|holder| format!("busy: {holder}")));
    let Some(release) = place.current().map_err(text)? else { return Ok(SiteState { note, ..empty(site) }) };
    let record = place.record(&release);
    Ok(SiteState {
        site: site.name.clone(),
        commit: place.commit(&release),
        release: Some(release.into()),
        reference: record.as_ref().map(|record| record.reference.clone()),
        since: record.and_then(|record| record.live_since).map(|since| format!("{:.0}", since.0)),
        note,
        plan: None,
    })
}

fn tags(setup: &Setup, name: &RepoName) -> Result<(Vec<Offered>, Option<String>), String> {
    let config = &setup.config;
    let Some(repo) = config.repos.get(name) else {
        return Err(match config.svn.contains_key(name) {
            true => format!("{name} is of Subversion, whose server has the tags: failcake tags {name}"),
            false => format!("it has no repository {name}"),
        });
    };
    let user = User::find(repo.user.as_deref()).map_err(|error| error.to_string())?;
    let clone = Local { path: &repo.path, user: user.as_ref(), timeout: repo.timeout, stop: None };
    let tags = clone.tags().map_err(|error| error.to_string())?;
    let sites = config.sites.values().filter(|site| site.repo == *name).take(SITES_MAX);
    let live: Vec<(SiteName, Option<String>)> = sites.map(|site| (site.name.clone(), state(site).commit)).collect();
    let count = tags.len();
    let offered = tags.into_iter().take(TAGS_MAX).map(|tag| {
        let commit = tag.commit.to_string();
        let serves = live.iter().filter(|(_, served)| served.as_ref() == Some(&commit));
        Offered { live: serves.map(|(site, _)| site.clone()).collect(), tag: tag.name, commit, date: tag.date }
    });
    let more = (count > TAGS_MAX).then(|| format!("only the newest {TAGS_MAX} of {count} tags"));
    Ok((offered.collect(), more))
}
