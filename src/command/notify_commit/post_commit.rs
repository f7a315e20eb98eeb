//! `failcake notify-commit post-commit`: git's hook in a work tree.

use std::process::ExitCode;

use super::Telling;
use crate::command::complain;
use crate::config::Source;
use crate::git::history::History;
use crate::git::hook::Update;

/// Tells the commit that HEAD of this repository stands on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Install it as REPO/.git/hooks/post-commit:
    #!/bin/sh
    exec failcake notify-commit post-commit

Commits without a branch (a detached HEAD, the steps of a rebase) are not told: no ref has moved.")]
pub struct Args {
    #[command(flatten)]
    telling: Telling,
}

pub fn run(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    let history = History::open_from_env()?;
    let head = history.head()?;
    let Some(refname) = head.branch else {
        if !head.busy {
            complain("HEAD is on no branch: nothing to tell");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let update = Update { refname, old: head.parent, new: head.commit };
    args.telling.tell(Ok(history), &[update], source)
}
