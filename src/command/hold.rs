use std::io::Write as _;
use std::process::ExitCode;

use crate::config::Source;
use crate::deploy::person::{find, me};
use crate::deploy::{become_owner, make_folder, place};
use crate::name::SiteName;

/// Freeze a site: nothing is deployed or rolled back until `unhold`.
///
/// What is under way goes on, but does not switch any more. Whoever is refused is told who froze it, since when and why;
/// `failcake state` shows it.
///
/// Example: failcake hold www.example.org --reason 'database migration until noon'
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of `sites:`.
    site: SiteName,
    /// Why: it is told to whoever is refused.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// It is frozen already.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let (site, _) = find(&config, &args.site)?;
    let who = me();
    make_folder(site)?;
    become_owner(site)?;
    // One line: it becomes a part of messages.
    let reason: String = args.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    let hold = place(site).put_on_hold(&who, &reason)?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&hold)?)?;
    } else {
        writeln!(stdout, "{} is {hold}", site.name)?;
    }
    Ok(ExitCode::SUCCESS)
}
