//! `failcake access`: temporary logins for nginx and HAProxy, granted over the bus.

mod desk;
mod here;
mod order;
mod report;
mod watching;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use crate::access::{LONGEST, LONGEST_WAIT};
use crate::config::{self, Config, Source, parse_duration};
use crate::name::{LoginName, SiteName};

/// Let people into a site for a while: temporary logins for nginx and HAProxy, granted over the bus.
///
/// `grant` makes a password, prints it once, and sends only its hash, signed with your SSH key. Nodes (`--watch`, or `--drain`
/// from cron) check the signature and their `allow:`, keep the files of `access:`, and end each login when its time is up.
/// `list` and `expire` look at and mend what is kept on this machine.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  failcake access grant preview ann --for 14d     a login for two weeks; the password is shown now and never again
  failcake access revoke preview ann              end it before its time
  failcake access --watch                         be a node: take orders, keep the files, end what is over
  failcake access --drain                         the same from cron: what the bus has kept, then exit
  failcake access list                            who is let in on this machine, and until when"
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Stay, take orders from the bus, and end each login when its time is up. HUP reads the configuration again.
    #[arg(long, conflicts_with = "drain")]
    watch: bool,
    /// Take what waits on the durable subscription, end what is over, and exit.
    #[arg(long)]
    drain: bool,
    /// Print one JSON object on a line for each thing that happened.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let USER into SITE: makes a password, prints it once, sends its hash.
    ///
    /// It is sent now or not at all (exit status 1): an order is never spooled. Nodes that are away take it when they come
    /// back within --within, if they have a durable subscription. A second grant for the same user has a new password,
    /// and the older one no longer counts.
    #[command(
        after_help = "Examples:\n  failcake access grant preview ann\n  failcake access grant preview ann --for 8h --json | jq -r .password"
    )]
    Grant {
        /// One of the nodes' `access:`.
        site: SiteName,
        /// Who logs in.
        user: LoginName,
        /// For how long; at most 366d.
        #[arg(long = "for", value_name = "DURATION", default_value = "14d", value_parser = lasts)]
        lasts: Duration,
        /// How long a node that is away may take it late; at most 7d.
        #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = waits)]
        within: Duration,
        /// Print {site, user, password, expires} as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End the login of USER to SITE before its time.
    ///
    /// Sent now or not at all, as `grant` is. A node that is away takes it when it comes back, however late, if it has a
    /// durable subscription.
    #[command(after_help = "Example:\n  failcake access revoke preview ann")]
    Revoke {
        /// One of the nodes' `access:`.
        site: SiteName,
        /// Who is let in no longer.
        user: LoginName,
        /// Print {site, user} as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Who is let in on this machine, by whom, until when; and who was, lately.
    #[command(after_help = "Example:\n  failcake access list --json | jq '.[] | select(.state == \"live\")'")]
    List {
        /// Of this one only.
        site: Option<SiteName>,
        /// One JSON array.
        #[arg(long)]
        json: bool,
    },
    /// End what is over on this machine, and mend its files; for cron, where nothing watches. Needs no broker.
    #[command(after_help = "Example:\n  failcake access expire")]
    Expire {
        /// Of this one only.
        site: Option<SiteName>,
        /// Print one JSON object on a line for each thing that happened.
        #[arg(long)]
        json: bool,
    },
}

fn lasts(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        time if time < Duration::from_secs(60) => Err("the least is 1m: nodes' clocks may be as far apart".to_owned()),
        time if time > LONGEST.unsigned_abs() => Err("the most is 366d".to_owned()),
        time => Ok(time),
    }
}

fn waits(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        time if time < Duration::from_secs(1) => Err("the least is 1s".to_owned()),
        time if time > LONGEST_WAIT.unsigned_abs() => Err("the most is 7d".to_owned()),
        time => Ok(time),
    }
}

/// Runs it.
///
/// # Errors
/// The configuration, the key, the broker; what can't be done to a file is told, and the exit status is 1.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    match args.what {
        Some(What::Grant { site, user, lasts, within, json }) => {
            order::grant(&source.load()?, site, user, lasts, within, json)
        }
        Some(What::Revoke { site, user, json }) => order::revoke(&source.load()?, site, user, json),
        Some(What::List { site, json }) => here::list(&node(source)?, site.as_ref(), json),
        Some(What::Expire { site, json }) => here::expire(&node(source)?, site.as_ref(), json),
        None => watching::run(node(source)?, || Ok(node(source)?), args.drain, args.json),
    }
}

/// The configuration of a machine that keeps files.
fn node(source: &Source) -> Result<Config, config::Error> {
    let config = source.load()?;
    if config.access.is_empty() {
        let text = "no file of logins is configured: name a site with its type and file below `access:`";
        return Err(config::Error(text.to_owned()));
    }
    Ok(config)
}
