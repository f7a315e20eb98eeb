//! `failcake keepalive`: the beat for firewalls, and the spool's regular way out.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{FAILED, complain};
use crate::bus::{Publisher, Target};
use crate::config::{Config, Keepalive, Source, parse_duration};
use crate::outbox::Outbox;
use crate::stomp::Frame;
use crate::watch::supervisor;

/// Send a beat (a body of one newline, which every listener ignores) to each `keepalive:` destination, so that firewalls
/// between the broker and its listeners see no idle link; and send what waits in the spool first.
///
/// With no `keepalive:` in the configuration the beat goes to the `commits` topic. Run by root it sends what waits in
/// every user's spool. A destination with a `broker:` of its own is reached with that URL's login and its own
/// passcode-file. A destination that fails is told; the others get their beat all the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  failcake keepalive                 once, from cron or a systemd timer
  failcake keepalive --every 30s     until Ctrl-C or TERM

Exit status: 0 everything was sent; 1 something was not (once), 0 when a signal ended it (--every).")]
pub struct Args {
    /// Go on, with this pause: 30s, 5m, 1h.
    #[arg(long, value_name = "DURATION", value_parser = pause)]
    every: Option<Duration>,
}

fn pause(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        pause if pause < Duration::from_secs(1) => Err("the least pause is 1s".to_owned()),
        pause => Ok(pause),
    }
}

/// Runs it.
///
/// # Errors
/// The configuration.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let Some(pause) = args.every else {
        return Ok(if round(&config) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
    };
    let (wake, signalled) = UnixStream::pair()?;
    let twice = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first ends it after the round at hand, the second at once: nothing is lost by that either.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&twice))?;
        signal_hook::flag::register(signal, Arc::clone(&twice))?;
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    supervisor::ready();
    let mut next = Instant::now();
    loop {
        round(&config);
        // What was missed while a round took long is not made up for.
        next = (next + pause).max(Instant::now());
        if was_signalled(&wake, next) {
            supervisor::stopping();
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits until `end` or a signal.
fn was_signalled(wake: &UnixStream, end: Instant) -> bool {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up: poll(2) counts in milliseconds, and a zero would spin.
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(3600)) + Duration::from_millis(1));
        let mut fds = [PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout.unwrap_or(PollTimeout::ZERO)).is_ok_and(|ready| ready > 0) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
    }
}

/// The spool, then every destination. Did all of it work?
fn round(config: &Config) -> bool {
    let outbox = Outbox::new(&config.bus);
    let mut well = match outbox.flush(false, |_, _| {}) {
        Ok(flushed) => {
            if flushed.left > 0 {
                let cause = flushed.cause.as_deref().unwrap_or("more came meanwhile");
                complain(&format!("{} events wait in the spool: {cause}; `failcake check` tells more", flushed.left));
            }
            flushed.left == 0 && flushed.set_aside.is_empty()
        }
        Err(error) => {
            complain(&error.to_string());
            false
        }
    };
    let commits = [Keepalive { destination: config.bus.topics.get("commits"), broker: None, passcode: None }];
    let destinations = if config.keepalive.is_empty() { commits.as_slice() } else { &config.keepalive };
    for keepalive in destinations {
        if let Err(error) = beat(config, keepalive, outbox.patience()) {
            complain(&format!("no beat on {}: {error:#}", keepalive.destination));
            well = false;
        }
    }
    well
}

fn beat(config: &Config, keepalive: &Keepalive, patience: Duration) -> anyhow::Result<()> {
    let mut target = Target::from(&config.bus);
    if let Some(broker) = &keepalive.broker {
        target.url = broker.clone();
        // Another broker is not told the passcode of this one.
        target.passcode = None;
    }
    if let Some(file) = &keepalive.passcode {
        target.passcode = Some(file.read()?);
    }
    let deadline = Instant::now() + patience;
    let mut publisher = Publisher::connect(&target, deadline)?;
    publisher.publish(vec![Frame::send(&keepalive.destination, Vec::new(), b"\n".to_vec())], deadline)?;
    publisher.close();
    Ok(())
}
