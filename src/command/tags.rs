mod across;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::config::{self, Config, Source, parse_duration};
use crate::deploy::{Project, place};
use crate::git::local::{self, Local};
use crate::name::{RepoName, SiteName};
use crate::process::User;
use crate::release::short;
use crate::svn::remote;

/// What could be deployed: the tags of a repository, newest first, and which site serves which; with --on, those of
/// other machines.
///
/// Of git they are those of the clone here; of Subversion the server is asked, and they are called as a deploy wants
/// them, `tags/NAME`.
///
/// Across machines a tag that not every one has is marked; the repository need not be configured here. Where `signing:
/// allowed-signers:` is configured, only signed answers are taken.
///
/// Exit status, across machines: 0 when each gave its tags; 1 when one did not (stderr says which, and why), or when one that
/// did not say its facts may be meant by --on.
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
    /// Print JSON: a list of tags, each with `tag`, `commit` (of Subversion the revision), `date` and `live`, the sites that
    /// serve it; with --on, the machines that do, and `missing`, those that do not have it.
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
    let tags = tags(&config, &args.repo)?;
    let live = live(&config, &args.repo);
    let mut stdout = std::io::stdout().lock();
    let offered = tags.into_iter().map(|tag| Offered { live: serving(&tag, &live), ..tag });
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&offered.collect::<Vec<_>>())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for tag in offered {
        let live: String = tag.live.iter().map(|site| format!("  live on {site}")).collect();
        writeln!(stdout, "{}  {}  {}{live}", tag.tag, short(&tag.commit), tag.date)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tags, whoever has them.
fn tags(config: &Config, name: &RepoName) -> anyhow::Result<Vec<Offered>> {
    if let Some(repo) = config.svn.get(name) {
        let project = Project::of(repo);
        let user = User::find(repo.user.as_deref())?;
        let tags = project.remote(user.as_ref(), None)?.tags().with_context(|| format!("repository {name}"))?;
        let offer = |tag: remote::Tag| Offered {
            tag: format!("tags/{}", tag.name),
            commit: tag.changed.to_string(),
            date: tag.date,
            live: Vec::new(),
        };
        return Ok(tags.into_iter().map(offer).collect());
    }
    let repo = config.repos.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.repos.keys().chain(config.svn.keys()).map(RepoName::as_str).collect();
        config::Error(format!("there is no repository {name}: known are {}", known.join(", ")))
    })?;
    let user = User::find(repo.user.as_deref())?;
    let clone = Local { path: &repo.path, user: user.as_ref(), timeout: repo.timeout, stop: None };
    let tags = clone.tags().with_context(|| format!("repository {name}"))?;
    let offer = |tag: local::Tag| Offered {
        tag: tag.name,
        commit: tag.commit.to_string(),
        date: tag.date,
        live: Vec::new(),
    };
    Ok(tags.into_iter().map(offer).collect())
}

/// What a site serves of a repository.
struct Served {
    site: SiteName,
    commit: String,
    /// As it was deployed; a revision of Subversion alone says nothing about the tag.
    reference: Option<String>,
}

/// The sites of a repository, and what each serves.
fn live(config: &Config, repo: &RepoName) -> Vec<Served> {
    // A site that can't be read is `state`'s to tell.
    let served = config.sites.values().filter_map(|site| {
        let place = place(site);
        let current = place.current().ok()??;
        if site.farm.is_some() {
            let part = place.parts(&current).into_iter().find(|part| part.repo == *repo)?;
            return Some(Served { site: site.name.clone(), commit: part.commit.to_string(), reference: None });
        }
        if site.repo != *repo {
            return None;
        }
        let reference = config.svn.contains_key(repo).then(|| place.record(&current).map(|record| record.reference));
        Some(Served { site: site.name.clone(), commit: place.commit(&current)?, reference: reference.flatten() })
    });
    served.collect()
}

fn serving(tag: &Offered, live: &[Served]) -> Vec<SiteName> {
    let serves = |served: &&Served| {
        served.commit == tag.commit && served.reference.as_ref().is_none_or(|reference| *reference == tag.tag)
    };
    live.iter().filter(serves).map(|served| served.site.clone()).collect()
}
