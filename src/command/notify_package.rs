//! `failcake notify-package`: says that a package can be had, and takes it into the repository first.

mod telling;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::command::complain;
use crate::config::{self, Config, Packages, Source, parse_duration};
use crate::name::Distribution;
use crate::process::{Stop, User};
use crate::reprepro::desk::{Desk, Trouble};
use crate::reprepro::{self, look_at};
use crate::watch::supervisor;
use telling::Telling;

/// Takes packages into a reprepro repository, archives them, and tells the bus.
///
/// With --incoming it takes each DIR/DIST/*.deb, and each .changes with the files that it names, into the distribution
/// DIST. Only what is whole is taken: at rest for two seconds (`rest:`), open for writing by nobody, complete by its own table and
/// checksums. What reprepro took goes to DIR/DIST/archive (or `archive:`); what it refused, and what is no package, to
/// DIR/DIST/refused with the reason beside it. Nothing is announced that the distribution does not have.
///
/// With DIST and FILE it does the same with files that stay where they are. Where no `repository:` is configured below
/// `packages:`, it only tells of them.
///
/// One run at a time; one that is killed is finished by the next.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  failcake notify-package --incoming                     from cron: what lies in the `incoming:` folder
  failcake notify-package --incoming --every 10s         the same, until TERM
  failcake notify-package bookworm myapp_1.0_amd64.deb   these files, now

Exit status: 0 all that was whole is taken and told, or safely spooled; 1 something was refused or failed; 2 usage or
configuration; 75 neither delivered nor spooled: the next run tells it.")]
pub struct Args {
    /// The distribution, by its codename.
    #[arg(value_name = "DIST", requires = "files", required_unless_present = "incoming")]
    distribution: Option<Distribution>,
    /// Packages, or .changes files.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take what lies in the folders of DIR [default: `incoming:` below `packages:`].
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "distribution")]
    #[expect(clippy::option_option, reason = "not there, there without a folder, there with one")]
    incoming: Option<Option<PathBuf>>,
    /// Go on, with this pause: 10s, 1m.
    #[arg(long, value_name = "DURATION", value_parser = pause, requires = "incoming", conflicts_with = "distribution")]
    every: Option<Duration>,
    /// Print one JSON object on a line for each thing that happened.
    #[arg(long)]
    json: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        pause if pause < Duration::from_secs(1) => Err("the least pause is 1s".to_owned()),
        pause => Ok(pause),
    }
}

/// Runs it.
///
/// # Errors
/// The configuration, the repository's folder; neither delivered nor spooled.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let packages = &config.packages;
    // Before anything is opened: the spool, the locks and the copies are that user's.
    if let Some(user) = User::find(packages.user.as_deref())? {
        user.switch().with_context(|| format!("can't become {}", user.name))?;
    }
    let stop = Stop::on_signals()?;
    let mut telling = Telling::new(&config, args.json);
    let Some(wanted) = args.incoming else {
        let Some(distribution) = args.distribution else { anyhow::bail!("DIST and FILE, or --incoming") };
        match &packages.repository {
            Some(base) => named(packages, base, &distribution, &args.files, &stop, &mut telling)?,
            None => telling.only(&distribution, &args.files, |file| look_at(file, packages.timeout, &stop))?,
        }
        return Ok(telling.code());
    };
    let (base, incoming) = places(&config, wanted)?;
    let Some(pause) = args.every else {
        round(packages, base, &incoming, &stop, &mut telling)?;
        return Ok(telling.code());
    };
    supervisor::ready();
    loop {
        telling.begin();
        if let Err(error) = round(packages, base, &incoming, &stop, &mut telling)
            && !stop.is_set()
        {
            telling.problem(&format!("{error:#}"));
        }
        if stop.wait(pause) {
            supervisor::stopping();
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The repository, and the folder to look into.
fn places(config: &Config, wanted: Option<PathBuf>) -> anyhow::Result<(&Path, PathBuf)> {
    let lacks = |key: &str, what: &str| config::Error(format!("packages: there is no {key}: say {what}"));
    let base = config.packages.repository.as_deref();
    let base = base.ok_or_else(|| lacks("repository", "where reprepro's conf/ and db/ are"))?;
    let incoming = wanted.or_else(|| config.packages.incoming.clone());
    let incoming = incoming.ok_or_else(|| lacks("incoming", "where DIST/*.deb come, here or behind --incoming"))?;
    let real = incoming.canonicalize().with_context(|| format!("can't open the incoming folder {}", incoming.display()))?;
    Ok((base, real))
}

/// Takes the named files, and what an earlier run left.
fn named(
    packages: &Packages,
    base: &Path,
    distribution: &Distribution,
    files: &[PathBuf],
    stop: &Stop,
    telling: &mut Telling,
) -> anyhow::Result<()> {
    let Some(desk) = Desk::open(packages, base, stop)? else {
        anyhow::bail!("another notify-package works on {}, and did not end in time: try again", base.display());
    };
    desk.tidy()?.iter().for_each(|error| telling.problem(&error.to_string()));
    telling.troubles(&desk, &desk.take_named(distribution, files)?)?;
    include(&desk, telling)
}

/// Takes what came in, and what an earlier run left.
fn round(packages: &Packages, base: &Path, incoming: &Path, stop: &Stop, telling: &mut Telling) -> anyhow::Result<()> {
    let Some(desk) = Desk::open(packages, base, stop)? else {
        complain(&format!("another notify-package works on {}, and takes what is there", base.display()));
        return Ok(());
    };
    desk.tidy()?.iter().for_each(|error| telling.problem(&error.to_string()));
    match desk.take_incoming(incoming) {
        Ok(troubles) => telling.troubles(&desk, &troubles)?,
        // What was taken already need not wait.
        Err(error) if !matches!(error, reprepro::Error::Stopped) => telling.problem(&error.to_string()),
        Err(error) => return Err(error.into()),
    }
    include(&desk, telling)
}

/// All that was taken: to reprepro, to the bus, to the archive. One distribution's trouble holds up no other.
fn include(desk: &Desk<'_>, telling: &mut Telling) -> anyhow::Result<()> {
    for (distribution, jobs) in desk.batches()? {
        let verdicts = match desk.include(&distribution, jobs) {
            Ok(verdicts) => verdicts,
            Err(error @ reprepro::Error::Stopped) => return Err(error.into()),
            Err(error) => {
                telling.problem(&format!("{distribution}: {error}; what was taken for it is kept, and the next run tries again"));
                continue;
            }
        };
        telling.verdicts(&distribution, &verdicts)?;
        for verdict in &verdicts {
            match desk.close(verdict) {
                Ok(place) => telling.closed(verdict, place.as_deref()),
                Err(error) => telling.problem(&format!("{}: {error}; the next run puts it there", verdict.job.file())),
            }
        }
    }
    Ok(())
}

impl Telling {
    /// Tells why things were not taken; what is no upload is put out of the way after that.
    fn troubles(&mut self, desk: &Desk<'_>, troubles: &[Trouble]) -> anyhow::Result<()> {
        let mut refusals = Vec::new();
        for trouble in troubles {
            match trouble {
                Trouble::Waits { file, distribution, why } => self.waits(distribution, file, why),
                Trouble::Failed(error) => self.problem(&error.to_string()),
                Trouble::Refused(refusal) => refusals.push(refusal),
            }
        }
        self.refused(&refusals)?;
        for refusal in refusals {
            if let Err(error) = desk.set_aside(refusal) {
                self.problem(&error.to_string());
            }
        }
        Ok(())
    }
}
