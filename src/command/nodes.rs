use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::FAILED;
use crate::config::{Source, parse_duration};
use crate::fleet::{newest, survey};
use crate::message::deploy::{Answer, NodeState, Subject};
use crate::message::terminal::{printable, printable_json};
use crate::name::{NodeName, SiteName};

/// Who is there: the machines that watch for deploys, since when, and what they serve.
///
/// With an `inventory:` each of its machines is named, the silent ones too, and the last answer ends it; others are not
/// asked. Without one nobody knows who should be there, so whoever answers counts. A site whose commit is not the one that went live last
/// somewhere is marked: behind.
///
/// Where `signing: allowed-signers:` is configured, only a signed answer counts: what is not signed is shown as such, and
/// the machine is waited for.
///
/// Exit status: 0 when each machine gave an answer that counts; 1 when one did not, when none is there, or when one that did
/// not say its facts may be meant by --on.
///
/// Example: failcake nodes --on 'web*'
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these: names, globs, groups, facts (`role=web and dc!=lon`), @FILE.
    #[arg(long, value_name = "FILTER")]
    on: Option<String>,
    /// How long to wait for the last answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    within: Duration,
    /// Print JSON: a list of nodes, each with `node`, `answered` (in a way that counts), `verified` (signed by it) and what it
    /// said.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Seen {
    node: NodeName,
    /// By something that counts.
    answered: bool,
    /// The node's own key says so.
    verified: bool,
    #[serde(flatten)]
    state: Option<NodeState>,
    /// Sites that serve another commit than the one that went live last.
    behind: Vec<SiteName>,
}

/// Runs it.
///
/// # Errors
/// No broker; a filter that means nobody.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let survey = survey(args.on.as_deref(), Subject::Nodes, &config, args.within)?;
    let mut seen: Vec<Seen> = Vec::new();
    for (node, told) in survey.said {
        let answered = told.as_ref().is_some_and(|told| told.counts);
        let verified = told.as_ref().is_some_and(|told| told.is_verified);
        let state = told.and_then(|told| if let Answer::Node(state) = told.answer { Some(state) } else { None });
        seen.push(Seen { node, answered, verified, state, behind: Vec::new() });
    }
    // Nobody's word must not make all others look behind.
    let answers = seen.iter().filter(|seen| seen.answered);
    let newest = newest(answers.flat_map(|seen| &seen.state).flat_map(|state| &state.sites));
    for seen in &mut seen {
        let sites = seen.state.iter().flat_map(|state| &state.sites);
        let behind = sites.filter(|site| newest.get(&site.site).is_some_and(|commit| site.commit.as_ref() != Some(commit)));
        seen.behind = behind.map(|site| site.site.clone()).collect();
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", printable_json(serde_json::to_string(&seen)?))?;
    } else {
        seen.iter().try_for_each(|seen| print(&mut stdout, seen))?;
        if seen.is_empty() {
            writeln!(std::io::stderr(), "nobody answered: does `failcake deploy --watch` run on the nodes?")?;
        }
    }
    Ok(if survey.is_complete && !seen.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn print(out: &mut impl std::io::Write, seen: &Seen) -> std::io::Result<()> {
    let Some(state) = &seen.state else { return writeln!(out, "{}  no answer", seen.node) };
    let doubt = if seen.verified { "" } else { "  (not signed)" };
    let facts: String = state.facts.iter().map(|(name, value)| format!("  {name}={value}")).collect();
    let (version, facts) = (printable(&state.version), printable(&facts));
    writeln!(out, "{}  failcake {version} since {:.0}{facts}{doubt}", seen.node, state.since)?;
    for site in &state.sites {
        let behind = if seen.behind.contains(&site.site) { "  behind" } else { "" };
        let note = site.note.as_ref().map_or_else(String::new, |note| format!("  {note}"));
        writeln!(out, "  {}  {}{behind}{}", site.site, printable(&site.in_words()), printable(&note))?;
    }
    Ok(())
}
