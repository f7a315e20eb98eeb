//! `failcake config`: what is configured, and old files made new.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::complain;
use crate::config::{Source, import};

/// Show the configuration that counts, or make a new file of old ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  failcake config show\n  failcake -c ./failcake.yaml config show --json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print all keys with the values that count, as YAML that could be a configuration file.
    #[command(after_help = "Example:\n  failcake config show")]
    Show {
        /// Print JSON: an object with `files`, `passcode-set` and `config`.
        #[arg(long)]
        json: bool,
    },
    /// Make one new file of the Ruby daemons' old ones: stomp-git.yaml, stomp-postrec.yaml and their like.
    ///
    /// Files that contradict each other (another broker, another login) are refused: import them apart. Every old file also
    /// works as it is, with `-c FILE`.
    #[command(after_help = "\
Examples:
  failcake config import /etc/stomp-git/stomp-git.yaml
  failcake config import /etc/stomp-*/*.yaml --output /etc/failcake/failcake.yaml

On the terminal a comment stands for each secret. With --output each is written into a file beside the new one that only
you can read.")]
    Import {
        /// Old files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write the new file there [default: standard output].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace files that are there.
        #[arg(long, requires = "output")]
        force: bool,
    },
}

/// Runs it.
///
/// # Errors
/// The configuration is wrong; a file can't be written; stdout is closed.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Show { json } => show(source, json),
        What::Import { files, output, force } => {
            let import = import(&files)?;
            import.warnings().iter().for_each(|warning| complain(&format!("warning: {warning}")));
            let mut stdout = std::io::stdout().lock();
            match output {
                None => write!(stdout, "{}", import.text()?)?,
                Some(output) => {
                    for path in import.write(&output, force)? {
                        writeln!(stdout, "wrote {}", path.display())?;
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(source: &Source, json: bool) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let value = config.to_json();
    let mut stdout = std::io::stdout().lock();
    if json {
        let all = json!({ "files": config.files, "passcode-set": config.bus.passcode.is_some(), "config": value });
        writeln!(stdout, "{all:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if config.files.is_empty() {
        writeln!(stdout, "# no file: these are the defaults")?;
    }
    for file in &config.files {
        writeln!(stdout, "# from {}", file.display())?;
    }
    if config.bus.passcode.is_some() {
        writeln!(stdout, "# a passcode is set, and not shown")?;
    }
    write!(stdout, "{}", serde_saphyr::to_string(&value)?)?;
    Ok(ExitCode::SUCCESS)
}
