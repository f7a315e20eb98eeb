//! `failcake webhook`: the listener for what forges deliver.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Source, parse_duration};
use crate::http::delivery::Door;
use crate::http::desk::Desk;
use crate::http::listener::{Limits, Listener};
use crate::outbox::Outbox;
use crate::watch::supervisor;

/// Listen for webhooks of GitHub, GitLab, Gitea and Forgejo: pushes become events, merge and pull requests lines for
/// people.
///
/// A delivery is checked against its repository's secret, spooled so that it survives a power loss, answered with 202,
/// and only then sent over the bus: a broker that is down costs neither time nor events. The same delivery within ten
/// minutes is answered with 200 and not told again. Any path will do. There is no TLS: put it behind a proxy that has it.
///
/// Prints its URL on stdout when it is ready, and serves until Ctrl-C or TERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  failcake webhook --listen 127.0.0.1:8008

The secret is that of `webhook: { secret-file: FILE }`, or of `secret-file:` under the repository in `repos:`; a
repository with `url:` gets its name from there.

Answers: 202 accepted; 200 nothing to tell, or told before; 400 not understood; 401 wrong signature or token; 405 no
POST; 408 too slow; 413 too large; 503 can't be kept now.
Exit status: 0 a signal ended it; 1 it failed; 2 usage or configuration.")]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: String,
    /// Accept unsigned deliveries where no secret is configured: whoever reaches the port can say anything.
    #[arg(long)]
    insecure: bool,
    /// The largest body.
    #[arg(long, value_name = "OCTETS", default_value_t = Limits::default().body)]
    max_body: usize,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,
    /// How long a body, and half of it how long a header, may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    patience: Duration,
}

/// Runs it.
///
/// # Errors
/// The configuration, the spool, the address.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let door = Door::new(&config, args.insecure)?;
    door.try_secrets()?;
    let outbox = Outbox::new(&config.bus);
    Desk::new(outbox.clone()).try_spool()?;
    let limits = Limits {
        body: args.max_body,
        connections: usize::from(args.max_connections),
        header_time: args.patience / 2,
        body_time: args.patience,
    };
    let listener = Listener::bind(&args.listen, door, outbox, limits)
        .with_context(|| format!("can't listen on {}: is the port free, and yours to take?", args.listen))?;
    let address = listener.local_addr()?;
    listener.run(|| {
        // Who started it may have closed its stdout: no reason not to serve.
        let _ = writeln!(std::io::stdout(), "http://{address}/");
        supervisor::status(&format!("listening on http://{address}/"));
        supervisor::ready();
    })?;
    Ok(ExitCode::SUCCESS)
}
