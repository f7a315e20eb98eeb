//! What became of each host, by name.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use super::said::{Detail, plain};
use super::view::{Details, names};
use crate::message::deploy::Plan;
use crate::name::NodeName;
use crate::rollout::{Host, State};

/// One host's result.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row<'a> {
    pub host: &'a NodeName,
    pub state: State,
    /// Why, or what it said of its release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a str>,
    #[serde(flatten)]
    pub detail: &'a Detail,
}

const NOTHING: &Detail = &Detail {
    release: None,
    reference: None,
    commit: None,
    previous: None,
    failed_at: None,
    refused: None,
    scripts: Vec::new(),
    milliseconds: None,
    furthest: None,
    doing: String::new(),
};

/// All hosts, in the plan's order.
pub(super) fn rows<'a>(hosts: &'a [Host], details: &'a Details) -> Vec<Row<'a>> {
    let row = |host: &'a Host| {
        let detail = details.get(host.name()).unwrap_or(NOTHING);
        Row { host: host.name(), state: host.state(), why: host.why(), detail }
    };
    hosts.iter().map(row).collect()
}

/// The table, for people, on stdout. `ended`: how it ended, in words.
pub(super) fn print(plan: &Plan, ended: &str, rows: &[Row<'_>]) -> io::Result<()> {
    let live = rows.iter().filter(|row| row.state == State::Live).count();
    let (name, state) = (width(rows, |row| row.host.as_str()), width(rows, |row| row.state.words()));
    let mut text = format!("{}: {}: {live} of {} hosts live; {ended}\n", plan.site, plan.action, rows.len());
    for row in rows {
        let again = || row.detail.release.as_ref().filter(|_| row.state == State::RolledBack);
        let again = || again().map(|release| format!("release {release} serves again"));
        let why = row.why.map(plain).or_else(again).unwrap_or_default();
        let line = format!("  {:name$}  {:state$}  {why}", row.host, row.state);
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some((script, lines)) = row.detail.last_words().filter(|_| row.state != State::Live) {
            let exit = script
                .exit
                .map_or_else(|| "was killed or could not be run".to_owned(), |exit| format!("ended with {exit}"));
            let said = if lines.is_empty() { ", and said nothing" } else { ", and said at last:" };
            let _ = writeln!(text, "  {:name$}  {} {exit}{said}", "", plain(&script.name));
            for line in lines {
                let _ = writeln!(text, "  {:name$}  | {line}", "");
            }
        }
    }
    io::stdout().lock().write_all(text.as_bytes())
}

/// Which hosts serve what, where those that are live do not all serve the same.
pub(super) fn apart(rows: &[Row<'_>]) -> Option<String> {
    let mut groups: Vec<(&Detail, Vec<NodeName>)> = Vec::new();
    for row in rows.iter().filter(|row| row.state == State::Live) {
        match groups.iter_mut().find(|(detail, _)| is_same(detail, row.detail)) {
            Some((_, hosts)) => hosts.push(row.host.clone()),
            None => groups.push((row.detail, vec![row.host.clone()])),
        }
    }
    if groups.len() < 2 {
        return None;
    }
    let says = |(detail, hosts): &(&Detail, Vec<NodeName>)| {
        let commit = detail.commit.as_deref().map(|id| if id.len() < 40 { id } else { id.get(..7).unwrap_or(id) });
        let namesakes = groups.iter().filter(|(other, _)| other.reference == detail.reference).count();
        let what = match (detail.reference.as_deref(), commit) {
            (Some(reference), Some(commit)) if namesakes > 1 => format!("{reference} ({commit})"),
            (Some(reference), _) => reference.to_owned(),
            (None, commit) => commit.or(detail.release.as_deref()).unwrap_or("?").to_owned(),
        };
        let verb = if hosts.len() == 1 { "serves" } else { "serve" };
        let hosts = match &hosts[..] {
            [first @ .., last] if (1..5).contains(&first.len()) => format!("{} and {last}", names(first)),
            hosts => names(hosts),
        };
        format!("{hosts} {verb} {what}")
    };
    Some(groups.iter().map(says).collect::<Vec<_>>().join(", "))
}

fn is_same(one: &Detail, other: &Detail) -> bool {
    match (&one.commit, &other.commit) {
        (Some(one), Some(other)) => one == other,
        _ => one.reference == other.reference,
    }
}

fn width<'a>(rows: &'a [Row<'_>], word: impl Fn(&'a Row<'_>) -> &'a str) -> usize {
    rows.iter().map(|row| word(row).len()).max().unwrap_or(0)
}
