//! `failcake tail`: events as they pass, printed, or each given to a command.

mod chain;
mod ears;
mod output;
mod watching;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Source, parse_duration};
use crate::name::{ChainName, Glob};

/// Prints events as they pass; with --exec, runs a command for each.
///
/// Colours are for terminals only; whatever a message holds that could disturb one is written out, and beats are not
/// shown. On stdout each event is a line: when, on which topic, what.
///
/// With --exec the command is started without a shell, one at a time, in the order of events. It gets the message's body
/// on stdin (with --json, the object that --json prints) and in its environment, where the message says so:
/// FAILCAKE_EVENT_ID, FAILCAKE_TYPE, FAILCAKE_TIME, FAILCAKE_DESTINATION, FAILCAKE_TOPIC (the destination's key),
/// FAILCAKE_SUBJECT, FAILCAKE_REPO, FAILCAKE_REF, FAILCAKE_COMMIT; also FAILCAKE_HOST and FAILCAKE_ATTEMPT. Names are checked: one that
/// is no legal name of a repository, ref or commit is left out. Success is exit status 0. An event that comes again
/// runs nothing: its id is noted on disk, by --name. One whose command failed --retries times more is set aside (`failcake
/// spool list`) and the next goes on. HUP reads the configuration again. Nothing is said on the bus.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  failcake tail                                          all topics, until Ctrl-C
  failcake tail commits --repo 'web/*' --since 1h        pushes to some repositories
  failcake tail --json jenkins-failure | jq .data.url
  failcake tail commits --durable --name docs --exec /usr/local/bin/build-docs --quick
  failcake tail commits --drain --name docs --exec /usr/local/bin/build-docs        the same from cron")]
pub struct Args {
    /// A topic's key (commits, events-fetch, …) or a destination as the broker writes it [default: all topics]. A
    /// queue's messages are taken from it.
    #[arg(value_name = "DESTINATION")]
    destinations: Vec<String>,
    /// Only of such repositories (for Subversion: repositories or projects); * stands for any characters. May be repeated.
    #[arg(long = "repo", value_name = "NAME")]
    repos: Vec<Glob>,
    /// Only of this type: push, revision, build, human, …. May be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Only what happened since then: so long before the start (1h), or a time (2026-03-02T10:00:00Z). What does not say
    /// when it happened passes.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<jiff::Timestamp>,
    /// One JSON object a line: id, type, time, destination, subject, repo, ref, commit, all headers, the body, and as
    /// `data` what its JSON line says.
    #[arg(long)]
    json: bool,
    /// The broker keeps what is missed; a message is acknowledged when it was printed, or its command has run. `durable:
    /// true` in the configuration means --exec too.
    #[arg(long)]
    durable: bool,
    /// Take what waits on the durable subscription, then exit: for cron.
    #[arg(long)]
    drain: bool,
    /// What the durable subscription and the notes on disk are called; each command on a machine needs its own [default:
    /// the program's name].
    #[arg(long, value_name = "NAME")]
    name: Option<ChainName>,
    /// How long one run may take; then it is ended, and has failed.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5m", requires = "exec")]
    timeout: Duration,
    /// How often a run that failed is tried again, after 1, 2, 4, … seconds.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "exec")]
    retries: u32,
    /// Runs this for each event; all words that follow are its own, so it comes last.
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    exec: Vec<OsString>,
}

fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let no_time = |_| format!("{text:?} is neither a duration such as 90s, 15m or 2h nor a time such as 2026-03-02T10:00:00Z");
    let ago = parse_duration(text).map_err(no_time)?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

impl Args {
    /// What brokers and the disk know it by.
    fn verb(&self) -> Result<String, String> {
        let program = self.exec.first().and_then(|program| std::path::Path::new(program).file_name());
        let name = match (&self.name, program) {
            (Some(name), _) => name.to_string(),
            (None, None) => return Ok("tail".to_owned()),
            (None, Some(program)) => {
                let name: Result<ChainName, _> = program.to_string_lossy().parse();
                name.map_err(|error| format!("{error}; say what to call it: --name NAME"))?.to_string()
            }
        };
        Ok(format!("tail-{name}"))
    }
}

/// Runs it.
///
/// # Errors
/// The configuration, the state on disk; a broker that gives up.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    watching::run(&args, source)
}
