//! `failcake completions`: what the shell completes.

mod candidates;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, ArgValueCompleter, Shell};

use super::Cli;
use crate::config::Source;

/// With a shell's name in it, and a command line behind `--`, that is completed instead of run.
const VARIABLE: &str = "FAILCAKE_COMPLETE";

/// Print what makes a shell complete failcake's commands, and the names of this machine's sites, repositories, hosts, releases
/// and plans.
///
/// It asks failcake at each Tab: there is nothing to print anew when the configuration changes.
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
    let (shells, shell) = (Shells::builtins(), args.shell.to_string());
    let shell = shells.completer(&shell).with_context(|| format!("{shell} can't be taught"))?;
    let mut text = Vec::new();
    shell.write_registration(VARIABLE, "failcake", "failcake", "failcake", &mut text)?;
    if args.shell == Shell::Zsh {
        // As a file of its function path it is run at the first Tab, which is to be answered as well.
        writeln!(text, "[[ $funcstack[1] == _failcake ]] && _clap_dynamic_completer_failcake \"$@\"\ntrue")?;
    }
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Completes and ends the process, if that is what a shell called it for.
pub fn answer() {
    CompleteEnv::with_factory(|| taught(Cli::command())).var(VARIABLE).complete();
}

/// With what each argument can be: it is called the same wherever it is the same. Whoever has not begun an option gets names
/// alone, where there are any.
fn taught(command: Command) -> Command {
    let is_option = words().last().is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let is_named = command.get_positionals().next().is_some() && !is_option;
    let bare = command.disable_help_flag(is_named).disable_version_flag(is_named);
    let taught = bare.mut_args(|arg| {
        let hidden = arg.is_hide_set() || (!arg.is_positional() && (is_named || arg.is_global_set() && !is_option));
        teach(arg).hide(hidden)
    });
    taught.mut_subcommands(self::taught)
}

/// The command line that is completed.
fn words() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1)
}

fn teach(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "site" => arg.add(ArgValueCandidates::new(candidates::sites)),
        "repo" | "repos" => arg.add(ArgValueCandidates::new(candidates::repos)),
        "reference" | "references" | "to" => arg.add(ArgValueCandidates::new(candidates::references)),
        "on" => arg.add(ArgValueCompleter::new(candidates::hosts)),
        "id" => arg.add(ArgValueCandidates::new(candidates::plans)),
        "destination" | "destinations" => arg.add(ArgValueCandidates::new(candidates::topics)),
        _ => arg,
    }
}
