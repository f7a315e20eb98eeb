//! `failcake apt-update`: apt knows of a new package soon after it can be had.

mod renewal;
mod watching;

use std::process::ExitCode;

use crate::command::FAILED;
use crate::config::{self, Config, Source};
use crate::process::Stop;
use renewal::{Renewal, Report};

/// Runs apt-get update when the bus tells of a package of interest, and tells which version apt would install then.
///
/// Only the source list of that interest is renewed, if it names one: what apt knows of the others stays. A burst of events is
/// one update. A repository that is just being written (hash mismatch) and a lock that another apt holds are waited for.
/// It never installs anything. Which apt that is, APT_CONFIG in the environment may say.
///
/// Without --watch or --drain it renews the lists of all interests now, once, and needs no broker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  failcake apt-update               the lists of all interests, now\n  \
                        failcake apt-update --watch       whenever the bus tells of a package, until TERM\n  \
                        failcake apt-update --drain       from cron: what the bus has kept, then exit")]
pub struct Args {
    /// Stay, and update when the bus tells of a package; and after each connect and every `reconcile:`.
    #[arg(long, conflicts_with = "drain")]
    watch: bool,
    /// Take what waits on the durable subscription, update, and exit.
    #[arg(long)]
    drain: bool,
    /// Print one JSON object on a line for each package whose version is told.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Of the configuration; an update that fails is told, and the exit status is 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let load = || -> anyhow::Result<Config> {
        let config = source.load()?;
        if config.packages.interest.is_empty() {
            let text = "packages: nothing is of interest: name a package and its list below `interest:`";
            return Err(config::Error(text.to_owned()).into());
        }
        Ok(config)
    };
    let config = load()?;
    if args.watch || args.drain {
        return watching::run(config, load, args.drain, args.json);
    }
    let stop = Stop::on_signals()?;
    let renewal = Renewal::new(&config.packages, stop, true);
    let mut failed = false;
    for list in renewal.lists() {
        renewal.look(list, |report| {
            failed |= matches!(report, Report::Problem { .. });
            report.print(args.json);
        });
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
