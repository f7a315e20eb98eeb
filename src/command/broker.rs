//! `failcake broker`: the embedded broker as a program of its own.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::broker::{BindError, Limits, Options, Server, Users};
use crate::config::{self, Source};

/// Run the embedded STOMP broker, for one machine: a demo, tests, a small office.
///
/// Topics and queues, durable subscriptions, receipts, acknowledgement, transactions, heart-beats; STOMP 1.0, 1.1 and
/// 1.2. All of it is in memory: what waits is gone when the broker ends. Prints its URL on stdout when it is ready,
/// and serves until Ctrl-C or TERM.
///
/// On a loopback address with no --user, every login, none, and any vhost is accepted. An address that other machines
/// reach needs users; there is no TLS, so put it behind something that has it, or stay on one machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  failcake broker --listen 127.0.0.1:61613
  failcake broker --listen 0.0.0.0:61613 --user git=/etc/failcake/passcode

When to move on: more than one machine that matters, events that must outlive a
restart, TLS, permissions per destination, or selectors: use ActiveMQ, Artemis or
RabbitMQ. Nothing else changes: put its URL under broker: in
/etc/failcake/failcake.yaml, and every command works as before.")]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:61613")]
    listen: String,
    /// Who may log in, with the file that holds the passcode; may be repeated. With none, everybody may, but only
    /// from this machine.
    #[arg(long = "user", value_name = "NAME=PASSCODE_FILE", value_parser = user)]
    users: Vec<(String, PathBuf)>,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Memory for everything that waits. A SEND that does not fit is refused, and failcake's senders keep it.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().memory / MIB)]
    max_memory: usize,
    /// Memory for what waits for one queue or subscription. Over it, a SEND to a queue or a durable subscription is
    /// refused; any other subscriber is disconnected for being too slow.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().backlog / MIB)]
    max_backlog: usize,
    /// The largest body of a message.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().frame.body / MIB)]
    max_message: usize,
}

const MIB: usize = 1024 * 1024;

/// `NAME=PASSCODE_FILE`.
fn user(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("it is NAME=PASSCODE_FILE, as in git=/etc/failcake/passcode".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// A passcode file can't be read, the address can't be had.
pub fn run(args: Args, _source: &Source) -> anyhow::Result<ExitCode> {
    let mut limits = Limits { connections: args.max_connections.max(1), ..Limits::default() };
    limits.memory = args.max_memory.max(1).saturating_mul(MIB);
    limits.backlog = args.max_backlog.max(1).saturating_mul(MIB);
    limits.frame.body = args.max_message.max(1).saturating_mul(MIB);
    let mut users = Users::default();
    for (name, file) in args.users {
        let passcode = passcode(&file)?;
        users.add(name, passcode);
    }
    raise_file_limit(limits.connections);

    let server = Server::bind(&args.listen, Options { users, limits }).map_err(|error| match error {
        BindError::Open(_) => config::Error(error.to_string()).into(),
        BindError::Listen { .. } => anyhow::Error::from(error),
    })?;
    let (stop, signals) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, signals.try_clone()?)?;
    }
    // Who started it may have closed its stdout: no reason not to serve.
    let _ = writeln!(std::io::stdout(), "stomp://{}", server.local_addr());
    server.run(&stop)?;
    Ok(ExitCode::SUCCESS)
}

fn passcode(file: &Path) -> Result<String, config::Error> {
    let wrong = |what: &dyn std::fmt::Display| config::Error(format!("passcode file {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err(wrong(&"it is empty, and anybody could log in")),
        passcode => Ok(passcode.to_owned()),
    }
}

/// As many files as there may be connections. Where the system allows less, connections wait until others end.
fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + 128;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}
