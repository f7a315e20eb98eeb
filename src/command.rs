//! The words typed: the command line's definition, one file per verb, and the exit statuses.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::LevelFilter;

use crate::conduct;
use crate::config::Source;
use crate::journal;

/// It failed.
pub const FAILED: u8 = 1;
/// Usage or configuration.
pub const USAGE: u8 = 2;
/// Neither delivered nor spooled: sysexits' EX_TEMPFAIL.
pub const UNSENT: u8 = 75;

macro_rules! verbs {
    ($($(#[$attr:meta])* $module:ident $variant:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// The verbs, in the order that help shows them.
        #[derive(Debug, Subcommand)]
        pub enum Verb {
            $(#[allow(missing_docs)] $(#[$attr])* $variant($module::Args),)*
        }

        impl Verb {
            fn run(self, source: &Source) -> anyhow::Result<ExitCode> {
                match self {
                    $(Verb::$variant(args) => $module::run(args, source),)*
                }
            }
        }
    };
}

verbs! {
    notify_commit NotifyCommit,
    jenkins_status JenkinsStatus,
    jenkins_trigger JenkinsTrigger,
    notify_package NotifyPackage,
    webhook Webhook,
    keepalive Keepalive,
    publish Publish,
    fetch Fetch,
    tail Tail,
    apt_update AptUpdate,
    deploy Deploy,
    rollback Rollback,
    rollout Rollout,
    state State,
    tags Tags,
    nodes Nodes,
    hold Hold,
    unhold Unhold,
    access Access,
    check Check,
    spool Spool,
    config Config,
    broker Broker,
    demo Demo,
    completions Completions,
    man Man,
    #[command(hide = true)]
    node_step NodeStep,
}

/// Turns a message broker into a deploy bus: hooks say what happened, servers fetch and deploy because of it.
#[derive(Debug, Parser)]
#[command(
    name = "failcake",
    version,
    propagate_version = true,
    after_help = "\
Exit status: 0 done, or safely spooled; 1 it failed; 2 usage or configuration; 75 neither delivered nor spooled.
The exception is check --nagios, which ends as a monitor's plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
Try it: failcake demo. Is all well? failcake check."
)]
pub struct Cli {
    /// Configuration file [default: $FAILCAKE_CONFIG, a person's own, /etc/failcake/failcake.yaml and conf.d].
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say more on stderr; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only errors on stderr.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    fn level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Error,
            (false, 0) => LevelFilter::Warn,
            (false, 1) => LevelFilter::Info,
            (false, _) => LevelFilter::Debug,
        }
    }
}

/// Parses the command line, runs the verb, tells the error and picks the exit status.
pub fn main() -> ExitCode {
    completions::answer();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // To a monitor a slip of the pen must not look like a machine that is down.
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--nagios") => {
            let text = error.to_string();
            let line = check::report::unknown(text.lines().next().unwrap_or_default());
            let _ = writeln!(std::io::stdout(), "{line}");
            return check::report::Status::Unknown.into();
        }
        Err(error) => error.exit(),
    };
    journal::start(cli.level());
    let source = Source { file: cli.config };
    match cli.verb.run(&source) {
        Ok(code) => code,
        Err(error) if is_closed_stdout(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&tell(&error));
            ExitCode::from(exit_status(&error))
        }
    }
}

/// The error and its causes in one line, each cause once: most rooms' errors name theirs already.
fn tell(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// `failcake state | head` is no failure. Only a verb's own write to stdout gives a bare I/O error: rooms wrap theirs.
fn is_closed_stdout(error: &anyhow::Error) -> bool {
    let bare = error.downcast_ref::<std::io::Error>().filter(|_| error.chain().count() == 1);
    bare.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What does nothing but print ends as the printing did. Of a rollout that went on, the end counts, whoever reads of it.
fn only_printed<T>(outcome: Result<T, conduct::Error>) -> anyhow::Result<T> {
    match outcome {
        Err(conduct::Error::System(error)) => Err(error.into()),
        other => Ok(other?),
    }
}

/// The one table of exit statuses; the exception is [`check::report::Status`].
fn exit_status(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<crate::config::Error>()) {
        USAGE
    } else if error.chain().any(|cause| cause.is::<crate::outbox::Error>()) {
        UNSENT
    } else {
        FAILED
    }
}

/// One line for people. `eprintln!` panics on a closed stderr, and a hook may well have one.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "failcake: {text}");
}

/// One word for sh(1).
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
