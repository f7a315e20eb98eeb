use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use super::only_printed;
use crate::conduct::{self, Finish, Wish};
use crate::config::Source;
use crate::deploy::person::{ask, find, tell};
use crate::deploy::Owner;
use crate::name::SiteName;
use crate::process::Stop;
use crate::release::ReleaseName;

/// Switch a site back to an earlier release, on this machine or with --on on others.
///
/// Goes to the last release that was live and is good: never to one that failed or that was rolled back from. Once more
/// goes further back. It is one rename; of the scripts, only post-deploy of the release returned to runs, with
/// FAILCAKE_ROLLBACK=1.
///
/// With --on it goes over the bus, as a deploy does: each host to its own last good release, one first, the rest only if
/// that worked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  failcake rollback www.example.org\n  \
                        failcake rollback www.example.org --on 'role=web and dc!=lon'")]
pub struct Args {
    /// One of `sites:`.
    site: SiteName,
    /// This release, which was live once; also one that was rolled back from.
    #[arg(long, value_name = "RELEASE")]
    to: Option<ReleaseName>,
    /// Wait while a deploy or another rollback of the site is under way, instead of giving up.
    #[arg(long, conflicts_with = "on")]
    wait: bool,
    /// With --on: say what would be done, on which hosts; send nothing.
    #[arg(long, requires = "on")]
    dry_run: bool,
    /// Print the result as JSON; with --on, an event on each line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    across: conduct::Options,
}

/// Runs it.
///
/// # Errors
/// There is nothing to go back to, or post-deploy failed after the switch.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    if args.across.on.is_some() {
        let wish = Wish::Rollback(args.to.map(|release| release.to_string()));
        let finish = conduct::begin(&config, &args.site, wish, &args.across, args.dry_run, args.json);
        let finish = if args.dry_run { only_printed(finish)? } else { finish? };
        return Ok(if finish == Finish::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (site, origin) = find(&config, &args.site)?;
    let request = ask(String::new(), args.wait);
    let owner = Owner::become_of(site, false, Stop::on_signals()?)?;
    let here = owner.here(site, &origin, &config.repos, config.node.as_str());
    let done = here.rollback(args.to.as_ref(), &request, &mut tell(Instant::now()));
    let done = done.with_context(|| site.name.to_string())?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&done)?)?;
    } else {
        writeln!(stdout, "{} serves {} as release {} again", done.site, done.reference, done.release)?;
    }
    Ok(ExitCode::SUCCESS)
}
