use std::process::ExitCode;
use std::time::Duration;

use super::only_printed;
use crate::conduct::{self, Finish};
use crate::config::{Source, parse_duration};
use crate::message::deploy::PlanId;

/// Deploys on several hosts after the fact: how far they came, and going on with one that was left.
///
/// What is needed for it is kept in the spool folder of who began it, for 30 days.
///
/// Example: failcake rollout resume 0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show each host of a plan: what was heard of it, and what it says now.
    ///
    /// Example: failcake rollout status 0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17
    Status {
        /// Which plan [default: the newest].
        id: Option<PlanId>,
        /// Print an event on each line, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a plan whose process was left or killed, by the same rules; no host does anything twice. One that was being
    /// stopped goes on being stopped. Hosts of one that is over are told so again: one that was away then keeps its site from
    /// other plans until it hears it. Hosts that another plan has taken over say so, and do nothing.
    ///
    /// Example: failcake rollout resume 0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17 --patience 5m
    Resume {
        /// Which plan.
        id: PlanId,
        /// A host at work that says nothing for so long went silent [default: 1m].
        #[arg(long, value_name = "D", value_parser = parse_duration)]
        patience: Option<Duration>,
        /// Print an event on each line, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the plans that are kept, newest first.
    ///
    /// Example: failcake rollout list --json | jq -r .id
    List {
        /// Print a plan on each line, as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
///
/// # Errors
/// There is no such plan; there is no broker to go on over.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    match args.what {
        What::Status { id, json } => only_printed(conduct::status(&config, id, json))?,
        What::List { json } => only_printed(conduct::list(&config, json))?,
        What::Resume { id, patience, json } => {
            let finish = conduct::resume(&config, id, patience, json)?;
            return Ok(if finish == Finish::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}
