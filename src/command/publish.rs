//! `failcake publish`: any message.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{FAILED, USAGE};
use crate::config::Source;
use crate::outbox::{Delivery, Outbox};
use crate::stomp::Frame;

/// Largest body, in octets: what the codec accepts as well.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Publish any message: the body is what comes on stdin, at most 16 MiB.
///
/// It goes the way of every event: spooled first, removed when the broker has it; with no broker it waits and the exit
/// status is 0. Only `persistent:true` is added, so that brokers keep it over their restart; --header persistent:false
/// takes that back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echo 'the build is broken' | failcake publish /topic/failcake.events.jenkins --subject 'Talking to eventbot'
  failcake publish /queue/jobs --header 'priority:9' --header 'x-site:www.example.org' < job.json

Exit status: 0 delivered, or safely spooled; 1 the broker refused it (it is set aside: failcake spool list);
2 usage or configuration; 75 neither delivered nor spooled.")]
pub struct Args {
    /// Where to, as the broker writes it: /topic/NAME, /queue/NAME, …
    #[arg(value_parser = destination)]
    destination: String,
    /// The `subject` header.
    #[arg(long)]
    subject: Option<String>,
    /// One more header; may be repeated.
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
}

fn destination(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a destination is one line, such as /topic/NAME or /queue/NAME".to_owned());
    }
    Ok(text.to_owned())
}

/// Headers that are between the client and the broker, or have an option of their own.
const OURS: [&str; 5] = ["destination", "content-length", "receipt", "transaction", "subject"];

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, _)) if OURS.contains(&name) => Err(format!("{name} is set by failcake itself")),
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("a header is NAME:VALUE, as in priority:9".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// The configuration, stdin, or neither delivered nor spooled.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let bus = source.bus()?;
    let mut body = Vec::new();
    std::io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut body).context("can't read the body from stdin")?;
    if body.len() as u64 > MAX_BODY {
        super::complain("the body on stdin is larger than 16 MiB: publish where it can be fetched instead");
        return Ok(ExitCode::from(USAGE));
    }
    let mut headers: Vec<_> = args.subject.map(|subject| ("subject".to_owned(), subject)).into_iter().collect();
    if !args.headers.iter().any(|(name, _)| name == "persistent") {
        headers.push(("persistent".to_owned(), "true".to_owned()));
    }
    headers.extend(args.headers);
    match Outbox::new(&bus).emit(vec![Frame::send(&args.destination, headers, body)], "")? {
        Delivery::Delivered | Delivery::Spooled { .. } => Ok(ExitCode::SUCCESS),
        Delivery::Refused { .. } => Ok(ExitCode::from(FAILED)),
    }
}
