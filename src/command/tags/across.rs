//! `tags --on`: what could be deployed on many machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::command::{FAILED, complain};
use crate::config::Config;
use crate::fleet::survey;
use crate::message::deploy::{Answer, Subject, hosts_in_words};
use crate::message::terminal::{printable, printable_json};
use crate::name::{NodeName, RepoName};

#[derive(Serialize)]
struct Row {
    tag: String,
    commit: String,
    date: String,
    /// Machines that answered and do not have it, or have it at another commit.
    missing: Vec<NodeName>,
    /// Machines that serve it.
    live: Vec<NodeName>,
}

/// Prints the tags, newest first, and marks those that not every machine has.
pub(super) fn run(repo: &RepoName, filter: &str, config: &Config, patience: Duration, json: bool) -> anyhow::Result<ExitCode> {
    let survey = survey(Some(filter), Subject::Tags { repo: repo.clone() }, config, patience)?;
    // A tag that was moved is one row for each commit: nodes that differ must be seen.
    let mut rows: BTreeMap<(String, String), (Row, BTreeSet<NodeName>)> = BTreeMap::new();
    let (mut able, mut is_complete) = (BTreeSet::new(), survey.is_complete);
    for (node, told) in survey.said {
        let (answer, counts) = told.map_or((None, true), |told| (Some(told.answer), told.counts));
        let tags = match answer {
            Some(Answer::Tags { tags, problem: None }) if counts => tags,
            other => {
                is_complete = false;
                let why = match other {
                    Some(_) if !counts => "its answer is not signed".to_owned(),
                    Some(Answer::Tags { problem: Some(problem), .. }) => printable(&problem),
                    _ => "no answer".to_owned(),
                };
                complain(&format!("{node}: {why}"));
                continue;
            }
        };
        able.insert(node.clone());
        for tag in tags {
            let key = (tag.tag.clone(), tag.commit.clone());
            let new = || (Row { tag: tag.tag, commit: tag.commit, date: tag.date, missing: Vec::new(), live: Vec::new() }, BTreeSet::new());
            let (row, having) = rows.entry(key).or_insert_with(new);
            having.insert(node.clone());
            if !tag.live.is_empty() {
                row.live.push(node.clone());
            }
        }
    }
    let mut rows: Vec<Row> = rows
        .into_values()
        .map(|(row, having)| Row { missing: able.difference(&having).cloned().collect(), ..row })
        .collect();
    rows.sort_by(|a, b| when(b).cmp(&when(a)).then_with(|| b.tag.cmp(&a.tag)));
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", printable_json(serde_json::to_string(&rows)?))?;
    } else {
        for row in &rows {
            let list = |what: &str, nodes: &[NodeName]| match nodes {
                [] => String::new(),
                nodes => format!("  {what} {}", hosts_in_words(nodes)),
            };
            let tag = printable(&format!("{}  {}  {}", row.tag, row.commit.get(..7).unwrap_or("?"), row.date));
            writeln!(stdout, "{tag}{}{}", list("live on", &row.live), list("not on", &row.missing))?;
        }
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Times of different zones compare by what they are, not by how they are written.
fn when(row: &Row) -> Option<jiff::Timestamp> {
    row.date.parse().ok()
}
