use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use crate::config::Source;
use crate::deploy::person::{ask, find, tell};
use crate::deploy::Owner;
use crate::name::SiteName;
use crate::process::Stop;
use crate::release::ReleaseName;

/// Switch a site back to an earlier release.
///
/// Goes to the last release that was live and is good: never to one that failed or that was rolled back from. Once more
/// goes further back. It is one rename; of the scripts, only post-deploy of the release returned to runs, with
/// FAILCAKE_ROLLBACK=1.
///
/// Example: failcake rollback www.example.org
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of `sites:`.
    site: SiteName,
    /// This release, which was live once; also one that was rolled back from.
    #[arg(long, value_name = "RELEASE")]
    to: Option<ReleaseName>,
    /// Wait while a deploy or another rollback of the site is under way, instead of giving up.
    #[arg(long)]
    wait: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// There is nothing to go back to, or post-deploy failed after the switch.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let (site, repo) = find(&config, &args.site)?;
    let request = ask(String::new(), args.wait);
    let owner = Owner::become_of(site, false, Stop::on_signals()?)?;
    let here = owner.here(site, repo, &config.repos, config.node.as_str());
    let done = here.rollback(args.to.as_ref(), &request, &mut tell(Instant::now()))?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&done)?)?;
    } else {
        writeln!(stdout, "{} serves {} as release {} again", done.site, done.reference, done.release)?;
    }
    Ok(ExitCode::SUCCESS)
}
