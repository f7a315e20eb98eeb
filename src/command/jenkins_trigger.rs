//! `failcake jenkins-trigger`: a push starts its Jenkins jobs.

mod following;
mod order;
mod report;
mod sending;
mod store;
mod watching;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::command::FAILED;
use crate::config::{self, Config, Source};
use crate::jenkins::Controller;
use crate::message::EventId;
use crate::name::{RefKind, RefName, RepoName, Rev};
use crate::process::Stop;
use following::Until;
use order::{Change, Wish};
use report::{Report, Teller};
use sending::Refusals;
use store::Store;

/// How long a run without --watch waits for another that is sending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a project's Jenkins jobs when the bus tells of a push to its repository.
///
/// What Jenkins does not take is kept on disk and tried again. Without --watch or --drain it sends what is kept, now; with
/// REPO and REF it first keeps the builds of that ref, as if it had been pushed. Needs `url:` and `projects:` below
/// `jenkins:`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  failcake jenkins-trigger --watch --follow        whenever the bus tells of a push, \
                        until TERM; tells the bus the results\n  failcake jenkins-trigger --drain                 from \
                        cron: what the bus has kept, then exit\n  failcake jenkins-trigger spog master --follow    one \
                        ref, now, and wait for the result\n  failcake jenkins-trigger --list                  what is \
                        kept, and what was set aside\n  failcake jenkins-trigger --retry                 what was set \
                        aside is tried again")]
pub struct Args {
    /// The repository, as the bus calls it.
    #[arg(requires = "reference", conflicts_with_all = ["watch", "drain", "list"])]
    repo: Option<RepoName>,
    /// Its branch, or a full name such as refs/tags/v1.
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// The commit to be built, for jobs that have it as a parameter.
    #[arg(long, value_name = "ID", requires = "repo")]
    commit: Option<Rev>,
    /// Stay, and start builds when the bus tells of a push. HUP reads the configuration again.
    #[arg(long, conflicts_with_all = ["drain", "list", "retry"])]
    watch: bool,
    /// Take what waits on the durable subscription, start its builds, and exit.
    #[arg(long, conflicts_with_all = ["list", "retry"])]
    drain: bool,
    /// Follow each build and tell the bus how it goes. With --drain: one look at each, the next run goes on.
    #[arg(long, conflicts_with = "list")]
    follow: bool,
    /// Only show what is kept and what was set aside.
    #[arg(long, conflicts_with = "retry")]
    list: bool,
    /// Let what was set aside be tried again, too.
    #[arg(long)]
    retry: bool,
    /// Print one JSON object on a line for each thing that happened, or is listed.
    #[arg(long)]
    json: bool,
}

/// What it takes to send and to follow; a reload makes a new one.
struct Setup {
    jenkins: config::Jenkins,
    controller: Controller,
    follow: bool,
}

impl Setup {
    fn new(config: &Config, follow: bool) -> Result<Setup, config::Error> {
        let controller = Controller::new(&config.jenkins)?;
        if config.jenkins.projects.is_empty() {
            let text = "jenkins: no project is configured: name a repository and its job below `projects:`";
            return Err(config::Error(text.to_owned()));
        }
        Ok(Setup { jenkins: config.jenkins.clone(), controller, follow })
    }
}

/// Runs it.
///
/// # Errors
/// Of the configuration and of the disk; what Jenkins refuses is told, and the exit status is 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    if args.list {
        return list(&Store::open(&config.bus.spool)?, args.json);
    }
    let setup = Setup::new(&config, args.follow)?;
    if args.watch || args.drain {
        return watching::run(setup, source, config, args.drain, args.json);
    }
    now(&args, setup, &config)
}

/// Without the bus: keeps what is asked for, and sends all that is kept.
fn now(args: &Args, setup: Setup, config: &Config) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let store = Store::open(&config.bus.spool)?;
    let mut teller = Teller::new(config, args.json);
    if args.retry {
        store.readmit()?;
    }
    if let (Some(repo), Some(reference)) = (&args.repo, &args.reference) {
        let change = change(repo, reference, args.commit.as_ref())?;
        match order::of_change(&change, &setup.jenkins) {
            Wish::Orders(orders) => {
                for order in orders {
                    store.keep(&order)?;
                }
            }
            Wish::Skipped(why) => anyhow::bail!("{why}"),
            Wish::Nothing => anyhow::bail!("{}", unknown(&setup.jenkins, repo, &change.refname)),
        }
    }
    let mut refusals = Refusals::default();
    let patience = Instant::now() + PATIENCE;
    let left = loop {
        // A watcher that sends at this moment is done soon, and has sent ours then, too.
        match store.lock()? {
            Some(free) => drop(free),
            None if Instant::now() < patience && !stop.wait(Duration::from_millis(50)) => continue,
            None => anyhow::bail!("another failcake is sending what is kept: it sends this too"),
        }
        break sending::pass(&setup, &store, &mut refusals, &stop, true, |report| teller.tell(&report, None))?;
    };
    if args.follow {
        let (tell, until) = (|report: Report| teller.tell(&report, None), Until::Ended);
        following::follow(&setup, &config.bus, &store, &stop, until, tell)?;
    }
    Ok(if left || teller.failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// A ref as if it had been pushed now by whoever runs this.
fn change(repo: &RepoName, reference: &str, commit: Option<&Rev>) -> anyhow::Result<Change> {
    let name = if reference.starts_with("refs/") { reference.parse() } else { RefName::branch(reference) };
    let name: RefName = name.with_context(|| "REF is a branch, or a full name such as refs/tags/v1")?;
    let who = ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
    Ok(Change {
        event: EventId::new(),
        repo: repo.to_string(),
        refname: name.to_string(),
        branch: (name.kind() != RefKind::Other).then(|| name.short().into_owned()),
        commit: commit.map(ToString::to_string).unwrap_or_default(),
        who: who.unwrap_or_default(),
        message: String::new(),
        options: Vec::new(),
    })
}

fn unknown(jenkins: &config::Jenkins, repo: &RepoName, refname: &str) -> String {
    if jenkins.projects.values().any(|project| project.repo == *repo) {
        return format!("{refname} of {repo} starts nothing: see only-refs and ignore-refs of its projects");
    }
    let known = jenkins.projects.values().map(|project| project.repo.as_str());
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, repo.as_str())).unwrap_or_default();
    format!("no project below `jenkins: projects:` is of the repository {repo}; is it {nearest:?}?")
}

/// What waits, and what was set aside.
fn list(store: &Store, json: bool) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    for waiting in store.survey()? {
        let age = store::age(&waiting.name).as_secs();
        if json {
            let value = serde_json::json!({
                "id": waiting.name.id, "about": waiting.about, "age-seconds": age, "set-aside": waiting.refused,
            });
            writeln!(stdout, "{value}")?;
            continue;
        }
        match waiting.refused {
            None => writeln!(stdout, "kept for {age} s: {}", waiting.about)?,
            Some(why) => writeln!(stdout, "set aside after {age} s: {}: {why}", waiting.about)?,
        }
    }
    for name in store.builds()? {
        if let Ok(Some(followed)) = store.build(&name) {
            let about = format!("{} for {}", followed.order.job, followed.order.about());
            if json {
                writeln!(stdout, "{}", serde_json::json!({ "id": name.id, "about": about, "build": followed.number }))?;
            } else {
                writeln!(stdout, "followed: {about}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
