//! `failcake deploy SITE REF --on FILTER`.

use std::process::ExitCode;

use crate::command::only_printed;
use crate::conduct::{self, Finish, Options, Wish};
use crate::config::Source;
use crate::name::SiteName;

/// Runs it.
///
/// # Errors
/// Nothing was done on any host. What failed on a host is told by name, and the exit status is 1.
pub(super) fn run(
    source: &Source,
    site: &SiteName,
    reference: String,
    options: &Options,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let finish = conduct::begin(&config, site, Wish::Deploy(reference), options, dry_run, json);
    let finish = if dry_run { only_printed(finish)? } else { finish? };
    Ok(if finish == Finish::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
