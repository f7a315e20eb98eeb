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
    let said = survey(Some(filter), Subject::State { site: site.cloned() }, config, patience)?.said;
    let mut rows = Vec::new();
    for (node, told) in said {
        let silent = told.is_none();
        let verified = told.as_ref().is_some_and(|told| told.is_verified);
        let sites = match told.map(|told| told.answer) {
            Some(Answer::State { sites }) => sites,
            _ => Vec::new(),
        };
        let row = |site| Row { node: node.clone(), verified, site, behind: false, silent };
        if sites.is_empty() {
            rows.push(row(None));
        }
        rows.extend(sites.into_iter().map(|site| row(Some(site))));
    }
    let newest = newest(rows.iter().flat_map(|row| &row.site));
    for row in &mut rows {
        row.behind = row.site.as_ref().is_some_and(|it| newest.get(&it.site).is_some_and(|commit| it.commit.as_ref() != Some(commit)));
    }
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", printable_json(serde_json::to_string(&rows)?))?;
    } else {
        for row in &rows {
            let Some(site) = &row.site else {
                let why = if row.silent { "no answer" } else { "has no such site" };
                writeln!(stdout, "{}  {why}", row.node)?;
                continue;
            };
            let behind = if row.behind { "  behind" } else { "" };
            let doubt = if row.verified { "" } else { "  (not signed)" };
            let note = site.note.as_ref().map_or_else(String::new, |note| format!("  {note}"));
            let (words, note) = (printable(&site.in_words()), printable(&note));
            writeln!(stdout, "{}  {}  {words}{behind}{note}{doubt}", row.node, site.site)?;
        }
    }
    Ok(if rows.iter().any(|row| row.silent) { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
