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
    clap_complete::generate(args.shell, &mut visible(&Cli::command()), "failcake", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Without the commands that only failcake calls: not every shell's generator leaves them out.
fn visible(command: &clap::Command) -> clap::Command {
    let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).cloned();
    let bare = clap::Command::new("failcake").version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    bare.args(command.get_arguments().cloned()).subcommands(shown)
}
