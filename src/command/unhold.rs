use std::io::Write as _;
use std::process::ExitCode;

use crate::config::Source;
use crate::deploy::person::find;
use crate::deploy::{become_owner, place};
use crate::name::SiteName;

/// Lift the freeze of a site.
///
/// Example: failcake unhold www.example.org
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of `sites:`.
    site: SiteName,
    /// Print the freeze that was lifted as JSON; `null` when there was none.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// The file can't be removed.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let (site, _) = find(&config, &args.site)?;
    become_owner(site)?;
    let lifted = place(site).lift_hold()?;
    let mut stdout = std::io::stdout().lock();
    match lifted {
        lifted if args.json => writeln!(stdout, "{}", serde_json::to_string(&lifted)?)?,
        Some(hold) => writeln!(stdout, "{} is free again; it was {hold}", site.name)?,
        None => writeln!(stdout, "{} was not held", site.name)?,
    }
    Ok(ExitCode::SUCCESS)
}
