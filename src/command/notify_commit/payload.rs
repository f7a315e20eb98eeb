//! `failcake notify-commit payload`: what a forge delivers, on stdin or as a CGI program.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::told_to_nobody;
use crate::command::{FAILED, complain};
use crate::config::Source;
use crate::forge::{Headers, Provider};
use crate::http::delivery::Door;
use crate::http::desk::Desk;
use crate::http::{Answer, BODY_MAX};
use crate::outbox::{Delivery, Outbox};

/// Tells what a webhook's body says (GitHub, GitLab, Gitea, Forgejo): the body comes on stdin, or the web server runs this
/// as a CGI program.
///
/// As a CGI program (GATEWAY_INTERFACE is set) it checks the signature or token, answers over HTTP, and then asks the
/// bus. On stdin the body is believed: whoever can run this may say what they like.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  failcake notify-commit payload --provider gitlab < push.json
  #!/bin/sh
  exec failcake notify-commit payload        as /usr/lib/cgi-bin/webhook

Exit status: 0 delivered, safely spooled, nothing to tell, or answered (CGI); 1 not understood, or the broker refused
it; 2 usage or configuration; 75 neither delivered nor spooled.")]
pub struct Args {
    /// Who sends it; auto: what the headers (CGI) or the body (stdin) look like.
    #[arg(long, value_name = "FORGE", default_value = "auto", value_parser = provider)]
    provider: Forge,
    /// CGI: accept unsigned deliveries where no secret is configured.
    #[arg(long)]
    insecure: bool,
    /// The largest body, in octets.
    #[arg(long, value_name = "OCTETS", default_value_t = BODY_MAX)]
    max_body: usize,
}

/// `None`: as it looks.
type Forge = Option<Provider>;

fn provider(word: &str) -> Result<Forge, String> {
    match word {
        "auto" => Ok(None),
        "github" => Ok(Some(Provider::Github)),
        "gitlab" => Ok(Some(Provider::Gitlab)),
        "gitea" | "forgejo" => Ok(Some(Provider::Gitea)),
        _ => Err("one of auto, github, gitlab, gitea".to_owned()),
    }
}

/// For a body, as a CGI program; web servers have time-outs of their own.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    match variable("GATEWAY_INTERFACE") {
        Some(_) => as_cgi(args, source),
        None => on_stdin(args, source),
    }
}

fn on_stdin(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    let again = "by having it delivered again";
    let config = source.load().map_err(|error| told_to_nobody(error, "the delivery on stdin is", again))?;
    let mut body = Vec::new();
    let most = args.max_body as u64;
    std::io::stdin().lock().take(most + 1).read_to_end(&mut body).context("can't read the body on stdin")?;
    if body.len() as u64 > most {
        complain(&format!("the body on stdin has more than {most} octets (--max-body)"));
        return Ok(ExitCode::from(FAILED));
    }
    let provider = args.provider.or_else(|| Provider::detect_body(&body));
    let letter = match Door::new(&config, true)?.read(provider, &Headers::default(), &body) {
        Ok(letter) => letter,
        Err(answer) if answer.status == 200 => {
            log::info!("{}", answer.text);
            return Ok(ExitCode::SUCCESS);
        }
        Err(answer) => {
            complain(&format!("the body on stdin is not understood: {}; --provider says whose it is", answer.text));
            return Ok(ExitCode::from(FAILED));
        }
    };
    match Outbox::new(&config.bus).emit(letter.frames, &letter.label)? {
        Delivery::Delivered | Delivery::Spooled { .. } => Ok(ExitCode::SUCCESS),
        Delivery::Refused { .. } => Ok(ExitCode::from(FAILED)),
    }
}

/// RFC 3875. Killed here: before the spool nobody was told that it was accepted; after it, it waits there.
fn as_cgi(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    let opened = source.load().and_then(|config| Ok((Door::new(&config, args.insecure)?, Outbox::new(&config.bus))));
    let (door, outbox) = match opened {
        Ok(opened) => opened,
        // The world is told no path and no line of the configuration; the web server's log is.
        Err(error) => {
            say(&Answer::new(500, "failcake is not configured; the web server's log says why"));
            return Err(error.into());
        }
    };
    let answer = receive(args, &door, &outbox).unwrap_or_else(|answer| answer);
    if answer.status >= 400 {
        complain(&format!("a delivery was answered with {} {}: {}", answer.status, answer.reason(), answer.text));
    }
    say(&answer);
    if matches!(answer.status, 202 | 503) {
        let sent = outbox.send_briefly();
        if let Some(cause) = sent.map_or_else(|error| Some(error.to_string()), |sent| sent.cause) {
            complain(&format!("the event waits in the spool: {cause}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn receive(args: &Args, door: &Door, outbox: &Outbox) -> Result<Answer, Answer> {
    if variable("REQUEST_METHOD").as_deref() != Some("POST") {
        return Err(Answer::only_post());
    }
    let body = read_body(args.max_body)?;
    let variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let letter = door.judge(args.provider, &Headers::from_cgi(variables), &body)?;
    Ok(Desk::new(outbox.clone()).take(vec![letter]).remove(0))
}

/// `CONTENT_LENGTH` octets and no more, as the server may keep stdin open; without it (a chunked body) to the end.
fn read_body(most: usize) -> Result<Vec<u8>, Answer> {
    let told = match variable("CONTENT_LENGTH").map(|text| text.parse::<usize>()) {
        Some(Err(_)) => return Err(Answer::new(400, "CONTENT_LENGTH is no number")),
        Some(Ok(told)) if told > most => return Err(Answer::too_large(most)),
        Some(Ok(told)) => Some(told),
        None => None,
    };
    let end = Instant::now() + PATIENCE;
    let stdin = std::io::stdin();
    let mut body = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let wanted = told.unwrap_or(most + 1);
    while body.len() < wanted {
        let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left) {
            Ok(0) => return Err(Answer::new(408, "the body took too long")),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(Answer::new(500, format!("the body can't be read: {error}"))),
        }
        // Not through std's buffer: what that holds, poll does not see.
        let most_now = buffer.len().min(wanted - body.len());
        match nix::unistd::read(stdin.as_fd(), &mut buffer[..most_now]) {
            Ok(0) => break,
            Ok(count) => body.extend_from_slice(&buffer[..count]),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Answer::new(500, format!("the body can't be read: {error}"))),
        }
    }
    match told {
        Some(told) if body.len() < told => Err(Answer::new(400, "the body ended early")),
        None if body.len() > most => Err(Answer::too_large(most)),
        _ => Ok(body),
    }
}

/// Answers, and closes stdout, so that the client has its answer before the bus is asked. A client that is gone changes
/// nothing.
fn say(answer: &Answer) {
    let mut text = format!("Status: {} {}\r\nContent-Type: text/plain; charset=utf-8\r\n", answer.status, answer.reason());
    for (name, value) in answer.headers() {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{}\n", answer.text.len() + 1, answer.text));
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if let Ok(nothing) = File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(nothing);
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}
