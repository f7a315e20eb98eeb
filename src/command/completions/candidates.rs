//! What a word of the command line can be.
//!
//! A shell asks at every Tab: nothing here asks the network, and what can't be read offers nothing, for there is nobody to
//! tell.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;

use super::words;
use crate::conduct;
use crate::config::{Config, Source, Topics};
use crate::deploy::place;
use crate::git::local::Local;
use crate::name::RepoName;
use crate::process::User;

/// So many references of a repository are enough to choose from.
const MOST: usize = 200;

pub(super) fn sites() -> Vec<CompletionCandidate> {
    all(config().map(|config| config.sites.into_keys()))
}

pub(super) fn repos() -> Vec<CompletionCandidate> {
    all(config().map(|config| config.repos.into_keys().chain(config.svn.into_keys())))
}

pub(super) fn topics() -> Vec<CompletionCandidate> {
    all(config().map(|config| Topics::KEYS.map(|(key, _)| config.bus.topics.get(key))))
}

pub(super) fn plans() -> Vec<CompletionCandidate> {
    let plans = config().and_then(|config| conduct::kept(&config).ok()).into_iter().flatten();
    let shown = plans.enumerate().map(|(at, plan)| {
        let help = format!("{}: {} by {}", plan.site, plan.action, plan.who);
        CompletionCandidate::new(plan.id.to_string()).help(Some(help.into())).display_order(Some(at))
    });
    shown.collect()
}

/// The last of several, between commas: a machine or a group.
pub(super) fn hosts(word: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(config), Some(word)) = (config(), word.to_str()) else { return Vec::new() };
    let (before, last) = word.rfind(',').map_or(("", word), |at| word.split_at(at + 1));
    let groups = config.inventory.values().flat_map(|machine| machine.groups.iter().map(ToString::to_string));
    let names = config.inventory.keys().map(ToString::to_string).chain(groups);
    let is_new = |name: &String| name.starts_with(last) && !before.split(',').any(|before| before == name);
    names.filter(is_new).map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// Of the site or repository that is named before: what was deployed, newest first, then the tags and branches of the clone here.
pub(super) fn references() -> Vec<CompletionCandidate> {
    let Some(config) = config() else { return Vec::new() };
    let words: Vec<String> = words().filter_map(|word| word.into_string().ok()).collect();
    let site = config.sites.values().find(|site| words.iter().any(|word| word == site.name.as_str()));
    let mut names = Vec::new();
    if let Some(site) = site {
        let records = place(site).history().unwrap_or_default();
        if words.iter().any(|word| word == "--to") {
            names.extend(records.iter().rev().map(|record| record.release.to_string()));
        }
        names.extend(records.into_iter().rev().map(|record| record.reference));
    }
    if let Some(farm) = site.and_then(|site| site.farm.as_ref()) {
        names.extend(farm.repos.iter().map(|placed| format!("{}=", placed.repo)));
    } else {
        let named = config.repos.keys().find(|name| words.iter().any(|word| word == name.as_str()));
        names.extend(site.map(|site| &site.repo).or(named).map(|repo| of_clone(&config, repo)).unwrap_or_default());
    }
    let mut seen = BTreeSet::new();
    let ordered = names.into_iter().filter(|name| seen.insert(name.clone())).take(MOST).enumerate();
    ordered.map(|(at, name)| CompletionCandidate::new(name).display_order(Some(at))).collect()
}

fn of_clone(config: &Config, repo: &RepoName) -> Vec<String> {
    let Some(repo) = config.repos.get(repo) else { return Vec::new() };
    let Ok(user) = User::find(repo.user.as_deref()) else { return Vec::new() };
    Local { path: &repo.path, user: user.as_ref(), timeout: repo.timeout, stop: None }.names().unwrap_or_default()
}

fn all<T: ToString>(names: Option<impl IntoIterator<Item = T>>) -> Vec<CompletionCandidate> {
    names.into_iter().flatten().map(|name| CompletionCandidate::new(name.to_string())).collect()
}

/// By `--config`, if it is there.
fn config() -> Option<Config> {
    let mut words = words();
    let file = words.find(|word| word == "-c" || word == "--config").and_then(|_| words.next()).map(PathBuf::from);
    Source { file }.load().ok()
}
