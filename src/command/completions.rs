//! `failcake completions`: what the shell completes.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::config::Source;

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  failcake completions bash >/etc/bash_completion.d/failcake")]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// Runs it.
///
/// # Errors
/// stdout is closed.
pub fn run(args: Args, _source: &Source) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "failcake", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
