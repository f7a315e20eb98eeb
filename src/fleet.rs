//! Which machines `--on` means: those of the inventory, or, where there is none, those that answer now.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use crate::ask::{self, Question, Told};
use crate::config::{self, Config, Machine};
use crate::hear::{Ear, apart};
use crate::message::deploy::{Answer, SiteState, Subject, hosts_in_words};
use crate::name::{NodeName, SiteName};
use crate::process::Stop;
use crate::select::{Candidate, Filter};
use crate::signature;

/// Of `@FILE`, in octets.
const LIST_MAX: u64 = 1 << 20;

/// Why nobody is meant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter, or the inventory.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// Nobody could be asked who is there.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// What answers are checked by can't be had.
    #[error(transparent)]
    Signature(#[from] signature::Error),
}

/// What machines say to one question.
#[derive(Debug)]
pub struct Survey {
    /// By name. Where there is an inventory, each of its machines that are meant: `None` is silence. Not all that is said
    /// [counts](Told::counts).
    pub said: BTreeMap<NodeName, Option<Told>>,
    /// Who is meant is known, and each of them gave an answer that counts.
    pub is_complete: bool,
}

/// Asks those that `filter` means. Replies that were dropped are told in the log.
///
/// # Errors
/// As [`pick`].
pub fn survey(filter: Option<&str>, subject: Subject, config: &Config, patience: Duration) -> Result<Survey, Error> {
    let stop = Stop::on_signals().map_err(ask::Error::from)?;
    let mut ear = Ear::new(config)?;
    let picked = match filter {
        // Who answers this question is there: no need to ask first.
        None => Picked {
            hosts: config.inventory.keys().cloned().collect(),
            is_expected: !config.inventory.is_empty(),
            unsure: Vec::new(),
        },
        Some(_) => pick(filter, config, &mut ear, &stop, patience)?,
    };
    let asked = jiff::Timestamp::now();
    let answers = Question { subject, expected: &picked.hosts, patience }.ask(config, &mut ear, &stop)?;
    answers.doubted.iter().for_each(|why| log::warn!("{why}"));
    let counts = answers.heard.iter().filter(|(_, told)| told.counts);
    let apart = counts.filter_map(|(node, told)| apart(node, told.time, asked, jiff::Timestamp::now()));
    apart.for_each(|why| log::warn!("{why}"));
    let heard = answers.heard.into_iter().map(|(name, told)| (name, Some(told)));
    let said: BTreeMap<_, _> = heard.chain(answers.silent.into_iter().map(|name| (name, None))).collect();
    let is_complete =
        picked.unsure.is_empty() && said.values().all(|told| told.as_ref().is_some_and(|told| told.counts));
    Ok(Survey { said, is_complete })
}

/// For each site the commit that went live last somewhere: who serves another one is behind.
pub fn newest<'a>(sites: impl Iterator<Item = &'a SiteState>) -> BTreeMap<SiteName, String> {
    let mut newest: BTreeMap<SiteName, (jiff::Timestamp, String)> = BTreeMap::new();
    for site in sites {
        let since = site.since.as_deref().and_then(|since| since.parse::<jiff::Timestamp>().ok());
        let (Some(since), Some(commit)) = (since, &site.commit) else { continue };
        if newest.get(&site.site).is_none_or(|(latest, _)| since > *latest) {
            newest.insert(site.site.clone(), (since, commit.clone()));
        }
    }
    newest.into_iter().map(|(site, (_, commit))| (site, commit)).collect()
}

/// The machines that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// In the order of the filter's words, then of their names: the first is a rollout's canary.
    pub hosts: Vec<NodeName>,
    /// They are the inventory's: one that is silent is missed. Otherwise nobody knows who should be there.
    pub is_expected: bool,
    /// Not among the hosts, perhaps only because they did not say, in a way that counts, which facts they have.
    pub unsure: Vec<NodeName>,
}

/// Whom `filter` means; everybody without one. `@FILE` in it is read.
///
/// The bus is asked when there is no inventory, or when the filter wants to know facts: what a machine says of itself counts
/// more than what the inventory says of it. Who does not say it, and is not meant by what the inventory says, is told in the
/// log: no machine falls out without a word.
///
/// # Errors
/// A filter that can't be read, names a machine that nobody knows, or means nobody; no broker.
pub fn pick(
    filter: Option<&str>,
    config: &Config,
    ear: &mut Ear,
    stop: &Stop,
    patience: Duration,
) -> Result<Picked, Error> {
    let mut read = |path: &Path| read_list(path);
    let filter = filter.map(|text| Filter::parse(text, &mut read)).transpose();
    let filter = filter.map_err(|error| config::Error(format!("--on: {error}")))?;
    let mut machines = config.inventory.clone();
    let is_expected = !machines.is_empty();
    let mut unsure = Vec::new();
    if !is_expected || filter.as_ref().is_some_and(Filter::asks_facts) {
        let expected: Vec<NodeName> = machines.keys().cloned().collect();
        let question = Question { subject: Subject::Nodes, expected: &expected, patience };
        let answers = question.ask(config, ear, stop)?;
        answers.doubted.iter().for_each(|why| log::warn!("{why}"));
        unsure = learn(&mut machines, answers);
    }
    let hosts = choose(filter.as_ref(), &machines);
    unsure.retain(|(node, _)| !hosts.as_ref().is_ok_and(|hosts| hosts.contains(node)));
    for (node, why) in &unsure {
        log::warn!("{node} is left out, its facts are not known: {why}");
    }
    let unsure = unsure.into_iter().map(|(node, _)| node).collect();
    Ok(Picked { hosts: hosts?, is_expected, unsure })
}

/// A file of names has an end: `@/dev/zero` is a mistake.
fn read_list(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIST_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Adds what machines say of themselves; gives those that say nothing that counts, and what they did instead.
fn learn(machines: &mut BTreeMap<NodeName, Machine>, answers: ask::Answers) -> Vec<(NodeName, &'static str)> {
    let mut mute: Vec<_> = answers.silent.into_iter().map(|node| (node, "no answer")).collect();
    for (name, told) in answers.heard {
        // Facts decide where a site is deployed.
        if !told.counts {
            mute.push((name, "its answer is not signed"));
        } else if let Answer::Node(node) = told.answer {
            machines.entry(name).or_default().facts.extend(node.facts);
        }
    }
    mute
}

fn choose(filter: Option<&Filter>, machines: &BTreeMap<NodeName, Machine>) -> Result<Vec<NodeName>, config::Error> {
    let Some(filter) = filter else { return Ok(machines.keys().cloned().collect()) };
    let candidates = machines.iter().map(|(name, it)| Candidate { name, groups: &it.groups, facts: &it.facts });
    let selection = filter.select(&candidates.collect::<Vec<_>>());
    if let Some(unknown) = selection.unknown.first() {
        return Err(config::Error(format!("--on: {unknown}")));
    }
    if selection.hosts.is_empty() {
        let known = machines.keys().cloned().collect::<Vec<_>>();
        let known = if known.is_empty() {
            "nobody is there".to_owned()
        } else {
            format!("known are {}", hosts_in_words(&known))
        };
        return Err(config::Error(format!("--on {filter} means no machine: {known}")));
    }
    Ok(selection.hosts)
}
