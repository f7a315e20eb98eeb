//! `failcake man`: the manual, from the same definitions as `--help`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::Cli;
use crate::config::Source;

/// Print the manual page, or write the pages of all commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  failcake man | man -l -\n  failcake man --dir /usr/local/share/man/man1")]
pub struct Args {
    /// Write one page per command into this folder instead.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// A page can't be written.
pub fn run(args: Args, _source: &Source) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    // Names the pages of subcommands in full: failcake-spool-list.
    command.build();
    let Some(folder) = args.dir else {
        std::io::stdout().write_all(&page(command)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    write_pages(command, &folder)?;
    Ok(ExitCode::SUCCESS)
}

/// Killed here: some pages are new and some old; another run writes them all.
fn write_pages(command: clap::Command, folder: &std::path::Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help" && !it.is_hide_set()) {
        write_pages(subcommand.clone(), folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).with_context(|| format!("can't write {}", path.display()))
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    // A date would make the page differ with every build.
    let man = clap_mangen::Man::new(command)
        .date("")
        .manual("failcake")
        .source(concat!("failcake ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok(text)
}
