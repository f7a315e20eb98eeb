//! `state --on`: what is live on many machines.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::command::FAILED;
use crate::config::Config;
use crate::fleet::{newest, survey};
use crate::message::deploy::{Answer, SiteState, Subject};
use crate::message::terminal::{printable, printable_json};
use crate::name::{NodeName, SiteName};

#[derive(Serialize)]
struct Row {
    node: NodeName,
    /// By something that counts.
    answered: bool,
    /// The node's own key says so.
    verified: bool,
    /// `None`: no answer, or no such site there.
    #[serde(flatten)]
    site: Option<SiteState>,
    /// It serves another commit than the one that went live last somewhere.
    behind: bool,
    /// It said nothing.
    silent: bool,
}

/// Prints a line for each site of each machine that `filter` means.
pub(super) fn run(
    site: Option<&SiteName>,
    filter: &str,
    config: &Config,
    patience: Duration,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let survey = survey(Some(filter), Subject::State { site: site.cloned() }, config, patience)?;
    let mut rows = Vec::new();
    for (node, told) in survey.said {
        let silent = told.is_none();
        let answered = told.as_ref().is_some_and(|told| told.counts);
        let verified = told.as_ref().is_some_and(|told| told.is_verified);
        let sites = match told.map(|told| told.answer) {
            Some(Answer::State { sites }) => sites,
            _ => Vec::new(),
        };
        let row = |site| Row { node: node.clone(), answered, verified, site, behind: false, silent };
        if sites.is_empty() {
            rows.push(row(None));
        }
        rows.extend(sites.into_iter().map(|site| row(Some(site))));
    }
    // Nobody's word must not make all others look behind.
    let newest = newest(rows.iter().filter(|row| row.answered).flat_map(|row| &row.site));
    for row in &mut rows {
        row.behind = row.site.as_ref().is_some_and(|it| newest.get(&it.site).is_some_and(|commit| it.commit.as_ref() != Some(commit)));
    }
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", printable_json(serde_json::to_string(&rows)?))?;
    } else {
        for row in &rows {
            let doubt = if row.verified || row.silent { "" } else { "  (not signed)" };
            let Some(site) = &row.site else {
                let why = if row.silent { "no answer" } else { "has no such site" };
                writeln!(stdout, "{}  {why}{doubt}", row.node)?;
                continue;
            };
            let behind = if row.behind { "  behind" } else { "" };
            let note = site.note.as_ref().map_or_else(String::new, |note| format!("  {note}"));
            let (words, note) = (printable(&site.in_words()), printable(&note));
            writeln!(stdout, "{}  {}  {words}{behind}{note}{doubt}", row.node, site.site)?;
        }
    }
    Ok(if survey.is_complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
