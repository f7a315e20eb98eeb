//! `failcake jenkins-status`: how a build went.

use std::process::ExitCode;

use crate::command::FAILED;
use crate::config::Source;
use crate::message::build::{Build, Status};
use crate::message::{Event, EventId};
use crate::name::{RefName, RepoName};
use crate::outbox::{Delivery, Outbox};
use crate::stomp::Frame;

/// Tells how a build went, from the variables that Jenkins sets in a job's shell step.
///
/// The repository is the last part of GIT_URL, the ref TAG_NAME, CHANGE_BRANCH, BRANCH_NAME or GIT_BRANCH without the
/// remote's name; each variable may be missing. A build never fails because of the bus: with no broker the event waits
/// in the spool and the exit status is 0.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("fate").required(true).args(["status", "begin", "profit", "cake"])),
    after_help = "\
Example, as a job's first and last shell step:
  failcake jenkins-status started
  failcake jenkins-status success

The older tool's --begin, --profit and --cake are started, success and failure."
)]
pub struct Args {
    /// How it went.
    status: Option<Status>,
    /// started
    #[arg(long, hide = true)]
    begin: bool,
    /// success
    #[arg(long, hide = true)]
    profit: bool,
    /// failure
    #[arg(long, hide = true)]
    cake: bool,
    /// The repository's name on the bus, in place of GIT_URL's last part.
    #[arg(long)]
    repo: Option<RepoName>,
    /// The branch, in place of what the variables say.
    #[arg(long, value_parser = RefName::branch)]
    branch: Option<RefName>,
}

/// Tells it.
///
/// # Errors
/// The configuration; neither delivered nor spooled.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let status = match args.status {
        Some(status) => status,
        None if args.begin => Status::Started,
        None if args.profit => Status::Success,
        None => Status::Failure,
    };
    let bus = source.bus()?;
    let told = Build::from_environment(status, |name| std::env::var(name).ok());
    let build = Build { repo: args.repo.or(told.repo), refname: args.branch.or(told.refname), ..told };
    let now = jiff::Timestamp::now();
    let frame = |key: &str, event: Event| Frame::send(&bus.topics.get(key), event.headers, event.body.into_bytes());
    let frames = vec![
        frame(status.topic(), build.event(EventId::new(), now)),
        frame("events-jenkins", Event::human(now, &build.subject())),
    ];
    match Outbox::new(&bus).emit(frames, &build.subject())? {
        Delivery::Delivered | Delivery::Spooled { .. } => Ok(ExitCode::SUCCESS),
        Delivery::Refused { .. } => Ok(ExitCode::from(FAILED)),
    }
}
