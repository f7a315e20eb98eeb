//! `failcake notify-commit post-receive`: git's hook on the server.

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

use super::Telling;
use crate::command::{FAILED, complain};
use crate::config::Source;
use crate::git::history::History;
use crate::git::hook;
use crate::name::RefKind;

/// Tells a push: reads `<old> <new> <ref>` lines on stdin, as git gives them to the hook post-receive.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Install it as REPO/hooks/post-receive:
    #!/bin/sh
    exec failcake notify-commit post-receive

gitolite: the same file as ~/.gitolite/local/hooks/common/post-receive, then `gitolite setup --hooks-only`.
GitLab: the same file as custom_hooks/post-receive.d/failcake of the repository or of Gitaly.
Before a hook that is there already: rename that one and name it with --next.
    exec failcake notify-commit post-receive --next ./hooks/post-receive.mine

A push of many refs costs one connection. Branches and tags are told, deleted ones first; each commit of the push once.")]
pub struct Args {
    #[command(flatten)]
    telling: Telling,
    /// Tell also refs that are neither branch nor tag (notes, pull requests, changes).
    #[arg(long)]
    all_refs: bool,
    /// Then run this hook with the same lines on its stdin; its exit status counts.
    #[arg(long, value_name = "PROGRAM")]
    next: Option<PathBuf>,
}

/// No more is read, in octets: some 400,000 refs.
const INPUT_MAX: u64 = 64 * 1024 * 1024;

pub fn run(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    let mut input = Vec::new();
    std::io::stdin().lock().take(INPUT_MAX).read_to_end(&mut input).context("can't read the refs on stdin")?;
    let told = tell(args, &input, source);
    let Some(next) = &args.next else { return told };
    // Whatever became of the event, the other hook has its own work to do.
    if let Err(error) = &told {
        complain(&format!("{error:#}"));
    }
    match run_next(next, &input)? {
        ExitCode::SUCCESS => told.or(Ok(ExitCode::from(FAILED))),
        status => Ok(status),
    }
}

fn tell(args: &Args, input: &[u8], source: &Source) -> anyhow::Result<ExitCode> {
    let (mut updates, errors) = hook::parse_lines(input);
    for error in &errors {
        complain(&format!("a line on stdin is skipped: {error}"));
    }
    updates.retain(|update| args.all_refs || update.refname.kind() != RefKind::Other);
    let mut status = ExitCode::SUCCESS;
    if !updates.is_empty() {
        status = args.telling.tell(History::open_from_env(), &updates, source)?;
    }
    if input.len() as u64 == INPUT_MAX {
        complain("more than 64 MiB of refs: the rest of the push is not told");
        return Ok(ExitCode::from(FAILED));
    }
    Ok(if errors.is_empty() { status } else { ExitCode::from(FAILED) })
}

/// Runs the next hook where git runs hooks, with what was read and what is still to be read on its stdin.
fn run_next(program: &Path, input: &[u8]) -> anyhow::Result<ExitCode> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run the next hook {}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its lines: it may be gone already.
        let _ = stdin.write_all(input).and_then(|()| std::io::copy(&mut std::io::stdin().lock(), &mut stdin));
    }
    let status = child.wait().context("can't wait for the next hook")?;
    // As a shell reports a signal.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED)))
}
