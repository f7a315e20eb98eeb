//! `failcake fetch`: keeps local clones fresh.

mod report;
mod watching;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::command::FAILED;
use crate::config::{self, Config, Mode, Source};
use crate::git::remote::{Look, Repo};
use crate::name::RepoName;
use crate::process::{Stop, User};
use report::Report;

/// Repositories that are worked on at a time: git and the network do the waiting, and a git server has other clients.
const WORKERS: usize = 4;

/// Keeps local clones fresh: clones what is missing, fetches what is new, removes what is gone.
///
/// Without --watch or --drain it looks at the remotes now, once, and needs no broker.
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
    /// Print one JSON object on a line for each repository that was looked at.
    #[arg(long)]
    json: bool,
}

/// A repository with its user looked up.
struct Job {
    repo: config::Repo,
    user: Option<User>,
}

type Jobs = BTreeMap<RepoName, Arc<Job>>;

/// Runs it.
///
/// # Errors
/// Of the configuration; a repository that can't be fetched is told, and the exit status is 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let jobs = select(&config, &args.repos)?;
    if args.watch || args.drain {
        return watching::run(jobs, &config, args.drain, args.json);
    }
    once(&jobs, args.json)
}

/// The named repositories, or all.
fn select(config: &Config, names: &[String]) -> Result<Jobs, config::Error> {
    if config.repos.is_empty() {
        return Err(config::Error("no repository is configured: name one with its path and url below `repos:`".into()));
    }
    let mut chosen: Vec<&config::Repo> = Vec::new();
    for name in names {
        let found = config.repos.values().find(|repo| repo.name.as_str() == name);
        chosen.push(found.ok_or_else(|| unknown(config, name))?);
    }
    if names.is_empty() {
        chosen.extend(config.repos.values());
    }
    chosen.into_iter().map(|repo| Ok((repo.name.clone(), Arc::new(Job::new(repo)?)))).collect()
}

fn unknown(config: &Config, name: &str) -> config::Error {
    let known = config.repos.keys().map(RepoName::as_str);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default();
    config::Error(format!("no repository is called {name:?} below `repos:`; is it {nearest:?}?"))
}

impl Job {
    fn new(repo: &config::Repo) -> Result<Job, config::Error> {
        if repo.mode != Mode::Fetch {
            let text = format!("repository {}: only `mode: fetch` is in this version", repo.name);
            return Err(config::Error(text));
        }
        let user = User::find(repo.user.as_deref());
        let user = user.map_err(|error| config::Error(format!("repository {}: {error}", repo.name)))?;
        Ok(Job { repo: repo.clone(), user })
    }

    fn git<'a>(&'a self, stop: &'a Stop) -> Repo<'a> {
        Repo {
            path: &self.repo.path,
            url: self.repo.url.as_deref(),
            user: self.user.as_ref(),
            timeout: self.repo.timeout,
            stop: Some(stop),
        }
    }

    /// Brings it up to date, tells, then repacks when that is due. Says whether it succeeded.
    fn work(&self, look: Look, stop: &Stop, tell: impl FnOnce(Report)) -> bool {
        let git = self.git(stop);
        let result = git.update(look);
        let (succeeded, brought) = (result.is_ok(), result.as_ref().is_ok_and(|updated| !updated.changes.is_empty()));
        tell(Report { repo: self.repo.name.clone(), result });
        if brought && let Err(error) = git.tidy() {
            log::warn!("[{}] could not be repacked: {error}", self.repo.name);
        }
        succeeded
    }
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
                    job.work(Look::Thorough, stop, |report| drop(teller.send(report)));
                }
            });
        }
        drop(teller);
        for report in told {
            failed |= report.result.is_err();
            report.print(json, true);
        }
    });
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
