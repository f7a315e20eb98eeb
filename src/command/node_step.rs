use std::process::ExitCode;

use crate::config::Source;
use crate::node::child;

/// One step of a plan, for `failcake deploy --watch`, which starts this and says on stdin what is to be done.
///
/// Example: failcake deploy --watch
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// stdin says nothing that makes sense. What fails after that is told on stdout.
pub fn run(_args: Args, _source: &Source) -> anyhow::Result<ExitCode> {
    child::run()?;
    Ok(ExitCode::SUCCESS)
}
