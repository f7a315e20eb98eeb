//! `failcake fetch`: keeps local clones fresh, and publishes their branches or tags as directories.

mod job;
mod report;
mod watching;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::command::FAILED;
use crate::config::{self, Config, Source};
use crate::git::remote::Look;
use crate::name::RepoName;
use crate::process::Stop;
use crate::publish::Hands;
use job::{Job, Want};

/// Gits that run at a time, and so repositories that are worked on: git and the network do the waiting, and a git server has
/// other clients.
const WORKERS: usize = 4;

/// Keeps local clones fresh, and publishes their branches or tags as directories, by `mode:`.
///
/// Clones what is missing, fetches what is new, removes what is gone. Each directory is exchanged as a whole, in one system
/// call; what stands in its place and was not published from here is never touched.
///
/// Without --watch or --drain it looks at the remotes now, once, and needs no broker. Of a Subversion repository nothing is
/// kept here, so there is nothing to fetch: a deploy exports what it wants.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  failcake fetch               all configured repositories, now\n  \
                        failcake fetch spog          one of them\n  \
                        failcake fetch --watch       whenever the bus tells of a push, until TERM\n  \
                        failcake fetch --drain       from cron: what the bus has kept, then exit")]
pub struct Args {
    /// Repositories, as the configuration calls them [default: all].
    #[arg(value_name = "REPO")]
    repos: Vec<String>,
    /// Stay, and fetch when the bus tells of a push; look at the remotes after each connect and every `reconcile:`.
    #[arg(long, conflicts_with = "drain")]
    watch: bool,
    /// Take what waits on the durable subscription, fetch, and exit.
    #[arg(long)]
    drain: bool,
    /// Remove published directories however many of them have no branch or tag any more.
    #[arg(long)]
    allow_mass_removal: bool,
    /// Move aside what is in the way of a directory to be published, and tell where it is kept.
    #[arg(long)]
    adopt: bool,
    /// Print one JSON object on a line for each repository that was looked at.
    #[arg(long)]
    json: bool,
}

/// What all repositories' publications need.
struct Shared {
    /// All that are configured: one may be another's submodule.
    repos: BTreeMap<RepoName, config::Repo>,
    node: String,
    allow_mass_removal: bool,
    adopt: bool,
    hands: Hands,
}

type Jobs = BTreeMap<RepoName, Arc<Job>>;

/// Runs it.
///
/// # Errors
/// Of the configuration; a repository that can't be fetched is told, and the exit status is 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let load = || -> anyhow::Result<(Config, Jobs)> {
        let config = source.load()?;
        let shared = Arc::new(Shared {
            repos: config.repos.clone(),
            node: config.node.to_string(),
            allow_mass_removal: args.allow_mass_removal,
            adopt: args.adopt,
            hands: Hands::new(WORKERS),
        });
        let jobs = select(&config, &args.repos, &shared)?;
        Ok((config, jobs))
    };
    let (config, jobs) = load()?;
    if args.watch || args.drain {
        if jobs.is_empty() {
            return Err(config::Error("there is nothing to watch: no repository of git is configured, or named".into()).into());
        }
        return watching::run(config, jobs, load, args.drain, args.json);
    }
    for repo in config.svn.values().filter(|repo| args.repos.is_empty() || args.repos.iter().any(|name| repo.name.as_str() == name)) {
        tell_of(repo, args.json)?;
    }
    once(&jobs, args.json)
}

/// That there is nothing to do is no failure.
fn tell_of(repo: &config::SvnRepo, json: bool) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    if json {
        return writeln!(stdout, "{}", serde_json::json!({ "repo": repo.name, "svn": true, "ok": true }));
    }
    writeln!(stdout, "nothing to fetch: [{}] a deploy exports from its Subversion server", repo.name)
}

/// The named repositories, or all.
fn select(config: &Config, names: &[String], shared: &Arc<Shared>) -> Result<Jobs, config::Error> {
    if config.repos.is_empty() && config.svn.is_empty() {
        return Err(config::Error("no repository is configured: name one with its path and url below `repos:`".into()));
    }
    let mut chosen: Vec<&config::Repo> = Vec::new();
    for name in names.iter().filter(|name| !config.svn.keys().any(|repo| repo.as_str() == *name)) {
        let found = config.repos.values().find(|repo| repo.name.as_str() == name);
        chosen.push(found.ok_or_else(|| unknown(config, name))?);
    }
    if names.is_empty() {
        chosen.extend(config.repos.values());
    }
    chosen.into_iter().map(|repo| Ok((repo.name.clone(), Arc::new(Job::new(repo, shared.clone())?)))).collect()
}

fn unknown(config: &Config, name: &str) -> config::Error {
    let known = config.repos.keys().chain(config.svn.keys()).map(RepoName::as_str);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default();
    config::Error(format!("no repository is called {name:?} below `repos:`; is it {nearest:?}?"))
}

/// Looks at each once, several at a time.
fn once(jobs: &Jobs, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let jobs: Vec<&Arc<Job>> = jobs.values().collect();
    let next = AtomicUsize::new(0);
    let mut failed = false;
    std::thread::scope(|scope| {
        let (teller, told) = mpsc::channel();
        for _ in 0..WORKERS.min(jobs.len()) {
            let teller = teller.clone();
            let (next, jobs, stop) = (&next, &jobs, &stop);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver outlives the threads.
                    job.work(&Want::look(Look::Thorough), stop, |report| drop(teller.send(report)));
                }
            });
        }
        drop(teller);
        for report in told {
            failed |= !report.is_good();
            report.print(json, true, true);
        }
    });
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
