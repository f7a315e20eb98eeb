//! A plan after the fact: what its journal says, and what the nodes say now.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde::Serialize;

use super::interrupt::Interrupts;
use super::said::{Detail, failure, plain};
use super::store::{Note, Seen, Store, ended, stopped};
use super::table::{self, Row};
use super::view::{Line, Standing, count, print};
use super::{Error, PATIENCE};
use crate::ask::{self, Question};
use crate::config::Config;
use crate::hear::Ear;
use crate::message::deploy::{Answer, Outcome, Plan, PlanId, Report, Step, Subject};
use crate::name::{NodeName, SiteName};
use crate::rollout::State;

/// What is known of one host.
struct Known {
    state: State,
    why: Option<String>,
    detail: Detail,
}

/// Shows how far a plan came, the newest one if none is named.
///
/// # Errors
/// There is no such plan.
pub fn status(config: &Config, id: Option<PlanId>, json: bool) -> Result<(), Error> {
    let store = Store::open(&config.bus.spool)?;
    let id = id.map_or_else(|| store.newest(), Ok)?;
    let seen = store.look(id)?;
    let mut known: BTreeMap<NodeName, Known> = BTreeMap::new();
    for note in &seen.notes {
        if let Note::Heard(report) = note {
            let known = known.entry(report.node.clone()).or_insert_with(Known::new);
            known.take(report);
        }
    }
    match ask(config, &seen) {
        Ok(reports) => {
            for report in &reports {
                known.entry(report.node.clone()).or_insert_with(Known::new).take(report);
            }
            for host in seen.plan.hosts.iter().filter(|host| !reports.iter().any(|report| report.node == **host)) {
                known.entry(host.clone()).or_insert_with(Known::new).is_silent();
            }
        }
        Err(error) => log::warn!("{error}: this is what was heard last"),
    }
    let hosts: Vec<(&NodeName, Known)> =
        seen.plan.hosts.iter().map(|host| (host, known.remove(host).unwrap_or_else(Known::new))).collect();
    let rows = hosts.iter().map(|(host, known)| {
        let Known { state, why, detail } = known;
        Row { host, state: *state, why: why.as_deref(), detail }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    tell(&seen, rows, json)?;
    Ok(())
}

fn tell(seen: &Seen, rows: Vec<Row<'_>>, json: bool) -> io::Result<()> {
    let (plan, how) = (&seen.plan, how(seen));
    if !json {
        table::print(plan, &how, &rows)?;
        let mut stderr = anstream::stderr();
        let over = plan.takes_over.map_or_else(String::new, |before| format!(", taking over plan {before}"));
        let _ = writeln!(stderr, "plan {} by {}, {:.0}{over}", plan.id, plan.who, plan.issued);
        if !seen.is_conducted && ended(&seen.notes).is_none() {
            let _ = writeln!(stderr, "to go on: failcake rollout resume {}", plan.id);
        }
        return Ok(());
    }
    let (ended, stopped) = (ended(&seen.notes), stopped(&seen.notes));
    let standing = Standing {
        is_conducted: seen.is_conducted,
        is_left: !seen.is_conducted && ended.is_none(),
        stopped: stopped.map(|(why, _)| why),
        rolls_back: stopped.is_some_and(|(_, rolls_back)| rolls_back),
    };
    print(&Line::plan(plan, Some(standing)));
    if let Some(outcome) = ended {
        print(&Line::Ended { outcome, why: stopped.map(|(why, _)| why) });
    }
    rows.into_iter().map(Line::Result).for_each(|row| print(&row));
    Ok(())
}

/// How it ended, in words, or how it stands.
fn how(seen: &Seen) -> String {
    let word = match (ended(&seen.notes), seen.is_conducted) {
        (Some(Outcome::Success), _) => "success",
        // The word for nodes is the same.
        (Some(Outcome::Stopped), _) if stopped(&seen.notes).is_none() => "incomplete",
        (Some(Outcome::Stopped), _) => "stopped",
        (Some(Outcome::RolledBack), _) => "rolled back",
        (None, true) => "under way",
        (None, false) => "left in the middle",
    };
    let why = stopped(&seen.notes).map(|(why, _)| why).filter(|_| ended(&seen.notes) != Some(Outcome::Success));
    why.map_or_else(|| word.to_owned(), |why| format!("{word}: {}", plain(why)))
}

/// Asks the nodes. What is not signed does not count.
fn ask(config: &Config, seen: &Seen) -> Result<Vec<Report>, Error> {
    let interrupts = Interrupts::listen()?;
    let mut ear = Ear::new(config)?;
    let (subject, expected) = (Subject::Plan { plan: seen.plan.id }, &seen.plan.hosts[..]);
    let answers = Question { subject, expected, patience: PATIENCE }.ask(config, &mut ear, interrupts.stop());
    let answers = answers.map_err(|error| match error {
        ask::Error::NoBroker(why) => Error::NoBroker(why),
        ask::Error::Stopped => Error::Interrupted,
        ask::Error::System(error) => Error::System(error),
    })?;
    for why in &answers.doubted {
        log::warn!("{why}");
    }
    let verified = answers.heard.into_iter().filter(|(_, told)| told.is_verified);
    let time = jiff::Timestamp::now();
    Ok(verified
        .map(|(node, told)| Report {
            about: seen.plan.id,
            step: told.step,
            node,
            time,
            refuses: None,
            answer: told.answer,
        })
        .collect())
}

impl Known {
    fn new() -> Known {
        Known { state: State::Waiting, why: None, detail: Detail::default() }
    }

    fn take(&mut self, report: &Report) {
        let Some(_) = self.detail.take(report) else { return };
        let at_work = match report.step {
            Some(Step::Switch) => State::Switching,
            Some(Step::Rollback) => State::RollingBack,
            Some(Step::Abort) => State::Aborting,
            Some(Step::Prepare | Step::Verdict) | None => State::Preparing,
        };
        (self.state, self.why) = match &report.answer {
            Answer::Accepted | Answer::Progress { .. } => (at_work, None),
            Answer::Prepared { .. } => (State::Prepared, None),
            Answer::Refused { why, .. } => (State::Refused, Some(plain(why))),
            Answer::Live { .. } => (State::Live, self.detail.summary()),
            Answer::Failed { at, why, .. } => (State::Failed, Some(failure(at, why))),
            Answer::RolledBack { .. } => (State::RolledBack, None),
            Answer::RollbackFailed { why } => (State::RollbackFailed, Some(plain(why))),
            Answer::Aborted => (State::Aborted, None),
            Answer::UnknownPlan => (State::Waiting, Some("it knows no such plan".to_owned())),
            Answer::Noted | Answer::Node(_) | Answer::State { .. } | Answer::Tags { .. } => return,
        };
    }

    /// It did not answer just now.
    fn is_silent(&mut self) {
        match self.state {
            State::Waiting => self.state = State::Unreachable,
            _ => {
                let why = self.why.take().map_or_else(String::new, |why| format!("; {why}"));
                self.why = Some(format!("as of last heard, it does not answer now{why}"));
            }
        }
    }
}

/// One plan of the list.
#[derive(Serialize)]
struct Entry<'a> {
    id: PlanId,
    issued: jiff::Timestamp,
    site: &'a SiteName,
    action: String,
    who: &'a str,
    hosts: usize,
    how: String,
    is_conducted: bool,
}

/// Lists the plans that are kept, newest first.
///
/// # Errors
/// The disk.
pub fn list(config: &Config, json: bool) -> Result<(), Error> {
    let store = Store::open(&config.bus.spool)?;
    let mut stdout = io::stdout().lock();
    for id in store.list()? {
        let seen = match store.look(id) {
            Ok(seen) => seen,
            // One that is damaged hides no other.
            Err(error) => {
                log::warn!("{error}");
                continue;
            }
        };
        let (plan, how) = (&seen.plan, how(&seen));
        let entry = Entry {
            id,
            issued: plan.issued,
            site: &plan.site,
            action: plan.action.to_string(),
            who: &plan.who,
            hosts: plan.hosts.len(),
            how,
            is_conducted: seen.is_conducted,
        };
        if json {
            writeln!(stdout, "{}", serde_json::to_string(&entry).map_err(io::Error::from)?)?;
        } else {
            let hosts = count(entry.hosts, "host");
            writeln!(
                stdout,
                "{id}  {:.0}  {}: {} on {hosts} by {}: {}",
                entry.issued, entry.site, entry.action, entry.who, entry.how
            )?;
        }
    }
    Ok(())
}

/// The plans that are kept and can be read, newest first.
///
/// # Errors
/// The disk.
pub fn kept(config: &Config) -> Result<Vec<Plan>, Error> {
    let store = Store::open(&config.bus.spool)?;
    Ok(store.list()?.into_iter().filter_map(|id| Some(store.look(id).ok()?.plan)).collect())
}
