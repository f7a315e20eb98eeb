//! One update of one list: what is wanted, the tries, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::apt::{Apt, Error, Policy};
use crate::command::complain;
use crate::config::{Interest, Packages};
use crate::message::package::Package;
use crate::name::PackageName;
use crate::process::Stop;
use crate::watch::random;

/// Tries of one update; between them 1 s, 2 s, 4 s, ….
const TRIES: u32 = 6;
/// A pattern that more packages match tells only of those that the bus told of.
const MOST: usize = 500;

/// A source list, by its place among those of interest.
pub(super) type List = usize;

/// What is known of one list.
#[derive(Debug, Default)]
struct Known {
    /// Packages that the bus told of since the last update began, with the version that it told.
    heard: BTreeMap<PackageName, String>,
    /// What apt would install, after the last update.
    policies: Option<BTreeMap<PackageName, Policy>>,
}

/// All lists of interest; the watcher and the work share it.
pub(super) struct Renewal {
    apt: Apt,
    stop: Stop,
    splay: Duration,
    interest: Vec<Interest>,
    lists: Vec<Option<PathBuf>>,
    /// Also what did not change.
    tells_all: bool,
    known: Mutex<Vec<Known>>,
}

/// Something that people want to know.
#[derive(Debug)]
pub(super) enum Report {
    /// Which version apt would install.
    Policy { name: PackageName, policy: Policy, told: Option<String> },
    /// No update.
    Problem { list: String, text: String },
    /// The update was done.
    Done { list: String },
}

impl Renewal {
    pub(super) fn new(packages: &Packages, stop: Stop, tells_all: bool) -> Renewal {
        let lists: BTreeSet<Option<PathBuf>> = packages.interest.iter().map(|it| it.list.clone()).collect();
        Renewal {
            apt: Apt { timeout: packages.timeout, stop: stop.clone() },
            stop,
            splay: packages.splay,
            interest: packages.interest.clone(),
            tells_all,
            known: Mutex::new(lists.iter().map(|_| Known::default()).collect()),
            lists: lists.into_iter().collect(),
        }
    }

    pub(super) fn lists(&self) -> std::ops::Range<List> {
        0..self.lists.len()
    }

    /// Notes a package that the bus told of; the lists that are to be renewed for it.
    pub(super) fn hear(&self, package: &Package) -> BTreeSet<List> {
        let is_wanted = |it: &&Interest| {
            let elsewhere = |told| it.distribution.as_ref().is_some_and(|wanted| wanted != told);
            // The older tool does not say which distribution it is.
            it.name.matches(package.name.as_str()) && !package.distribution.as_ref().is_some_and(elsewhere)
        };
        let lists: BTreeSet<List> = self
            .interest
            .iter()
            .filter(is_wanted)
            .filter_map(|it| self.lists.iter().position(|list| *list == it.list))
            .collect();
        let mut known = self.known();
        for list in &lists {
            let heard = &mut known[*list].heard;
            // Whoever sends them decides how many come; the update is one all the same.
            if heard.len() < MOST || heard.contains_key(&package.name) {
                heard.insert(package.name.clone(), package.version.to_string());
            }
        }
        lists
    }

    /// For what the bus told of, at a random moment within the splay: a fleet hears it all at once, and so does the
    /// repository. What is told meanwhile is covered, too.
    pub(super) fn answer(&self, list: List, splay: bool, tell: impl FnMut(Report)) -> bool {
        let wait = if splay { self.splay.mul_f64(random()) } else { Duration::ZERO };
        if self.stop.wait(wait) {
            return false;
        }
        // An update that began after the event has covered it.
        if self.known()[list].heard.is_empty() {
            return true;
        }
        self.look(list, tell)
    }

    /// Renews a list, and tells what that changed; did it succeed?
    pub(super) fn look(&self, list: List, mut tell: impl FnMut(Report)) -> bool {
        let heard = std::mem::take(&mut self.known()[list].heard);
        let renewed = self.renew(list, &heard);
        let label = self.label(list);
        match renewed {
            Ok(reports) => {
                reports.into_iter().for_each(&mut tell);
                tell(Report::Done { list: label });
                true
            }
            Err(error) => {
                // The next try tells of them; of one that was told meanwhile the later word counts.
                let mut known = self.known();
                for (name, version) in heard {
                    known[list].heard.entry(name).or_insert(version);
                }
                drop(known);
                if !matches!(error, Error::Stopped) {
                    tell(Report::Problem { list: label, text: error.to_string() });
                }
                false
            }
        }
    }

    fn renew(&self, list: List, heard: &BTreeMap<PackageName, String>) -> Result<Vec<Report>, Error> {
        let known = self.known()[list].policies.clone();
        let before = match (self.tells_all, known) {
            (true, _) => BTreeMap::new(),
            (false, Some(known)) => known,
            // Without something to compare with, what came while nobody watched would be no news.
            (false, None) => self.policies(list, heard)?,
        };
        self.update(list)?;
        let after = self.policies(list, heard)?;
        let mut reports = Vec::new();
        for name in after.keys().chain(heard.keys()).collect::<BTreeSet<_>>() {
            let policy = after.get(name).cloned().unwrap_or_default();
            let told = heard.get(name).cloned();
            let is_new = before.get(name).is_none_or(|before| before.candidate != policy.candidate);
            if told.is_some() || is_new {
                reports.push(Report::Policy { name: name.clone(), policy, told });
            }
        }
        self.known()[list].policies = Some(after);
        Ok(reports)
    }

    /// Tries again while what is wrong may be gone in a moment.
    fn update(&self, list: List) -> Result<(), Error> {
        let mut wait = Duration::from_secs(1);
        let mut tried = 1;
        loop {
            match self.apt.update(self.lists[list].as_deref()) {
                Err(error) if error.is_passing() && tried < TRIES => {
                    log::info!("{}: {error}; the next try follows", self.label(list));
                    if self.stop.wait(wait.mul_f64(0.5 + random())) {
                        return Err(Error::Stopped);
                    }
                    (wait, tried) = (wait * 2, tried + 1);
                }
                other => return other,
            }
        }
    }

    /// What apt would install of the packages that are of interest in this list.
    fn policies(
        &self,
        list: List,
        heard: &BTreeMap<PackageName, String>,
    ) -> Result<BTreeMap<PackageName, Policy>, Error> {
        let mut names: BTreeSet<PackageName> = heard.keys().cloned().collect();
        for it in self.interest.iter().filter(|it| it.list == self.lists[list]) {
            match it.name.as_str().parse() {
                Ok(name) => drop(names.insert(name)),
                Err(_) => names.extend(Some(self.apt.names(&it.name)?).filter(|names| names.len() <= MOST).into_iter().flatten()),
            }
        }
        self.apt.policies(&names.into_iter().collect::<Vec<_>>())
    }

    /// The list, for people.
    fn label(&self, list: List) -> String {
        self.lists[list].as_ref().map_or_else(|| "all source lists".to_owned(), |list| list.display().to_string())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// For people.
    pub(super) fn line(&self) -> String {
        match self {
            Report::Policy { name, policy, told } => {
                let installed = policy.installed.as_deref().unwrap_or("none");
                let candidate = policy.candidate.as_deref().unwrap_or("none");
                // The older tool's version has no epoch.
                let is_it = |told: &&String| candidate == *told || candidate.split_once(':').is_some_and(|(_, rest)| rest == *told);
                let told = told.as_ref().filter(|told| !is_it(told));
                let told = told.map_or_else(String::new, |told| format!(", not {told}, of which the bus told"));
                format!("package {name}: candidate {candidate}, installed {installed}{told}")
            }
            Report::Problem { list, text } => format!("problem: {list}: {text}"),
            Report::Done { list } => format!("updated {list}"),
        }
    }

    /// On stdout, problems on stderr.
    pub(super) fn print(&self, json: bool) {
        if let Report::Problem { list, text } = self {
            complain(&format!("{list}: {text}"));
        }
        let value = match self {
            Report::Policy { name, policy, told } => json!({
                "what": "candidate", "name": name, "candidate": policy.candidate, "installed": policy.installed, "told": told,
            }),
            Report::Problem { list, text } => json!({ "what": "problem", "list": list, "why": text }),
            Report::Done { list } => json!({ "what": "updated", "list": list }),
        };
        // A closed pipe ends no watcher.
        let _ = match (json, self) {
            (true, _) => writeln!(std::io::stdout(), "{value}"),
            (false, Report::Problem { .. }) => Ok(()),
            (false, _) => writeln!(std::io::stdout(), "{}", self.line()),
        };
    }
}
