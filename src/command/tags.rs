mod across;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::config::{self, Config, Source, parse_duration};
use crate::deploy::place;
use crate::git::local::{Local, Tag};
use crate::name::{RepoName, SiteName};
use crate::process::User;

/// What could be deployed: the tags of a repository's clone here, newest first, and which site serves which;
/// with --on, those of other machines.
///
/// Across machines a tag that not every one has is marked; the repository need not be configured here.
///
/// Examples: failcake tags spog | head; failcake tags spog --on 'web*'
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of `repos:`.
    repo: RepoName,
    /// On these machines, over the bus: names, globs, groups, facts (`role=web and dc!=lon`), @FILE.
    #[arg(long, value_name = "FILTER")]
    on: Option<String>,
    /// With --on: how long to wait for the last answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration, requires = "on")]
    within: Duration,
    /// Print JSON: a list of tags, each with `tag`, `commit`, `date` and `live`, the sites that serve it.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Offered {
    tag: String,
    commit: String,
    date: String,
    /// Sites of this machine that serve this commit.
    live: Vec<SiteName>,
}

/// Runs it.
///
/// # Errors
/// There is no such repository, or it is not cloned yet.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    if let Some(filter) = &args.on {
        return across::run(&args.repo, filter, &config, args.within, args.json);
    }
    let repo = config.repos.get(&args.repo).ok_or_else(|| {
        let known: Vec<&str> = config.repos.keys().map(RepoName::as_str).collect();
        config::Error(format!("there is no repository {}: known are {}", args.repo, known.join(", ")))
    })?;
    let user = User::find(repo.user.as_deref())?;
    let clone = Local { path: &repo.path, user: user.as_ref(), timeout: repo.timeout, stop: None };
    let tags = clone.tags().with_context(|| format!("repository {}", repo.name))?;
    let live = live(&config, &args.repo);
    let mut stdout = std::io::stdout().lock();
    let offered = tags.into_iter().map(|tag| offer(tag, &live));
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&offered.collect::<Vec<_>>())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for tag in offered {
        let live: String = tag.live.iter().map(|site| format!("  live on {site}")).collect();
        writeln!(stdout, "{}  {}  {}{live}", tag.tag, tag.commit.get(..7).unwrap_or("?"), tag.date)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The sites of a repository, and the commit that each serves.
fn live(config: &Config, repo: &RepoName) -> Vec<(SiteName, String)> {
    let sites = config.sites.values().filter(|site| site.repo == *repo);
    // A site that can't be read is `state`'s to tell.
    let served = sites.filter_map(|site| {
        let place = place(site);
        Some((site.name.clone(), place.commit(&place.current().ok()??)?))
    });
    served.collect()
}

fn offer(tag: Tag, live: &[(SiteName, String)]) -> Offered {
    let commit = tag.commit.to_string();
    let live = live.iter().filter(|(_, served)| *served == commit).map(|(site, _)| site.clone()).collect();
    Offered { tag: tag.name, commit, date: tag.date, live }
}
