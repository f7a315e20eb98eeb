//! `failcake notify-commit`: says what happened to a repository.

mod payload;
mod post_commit;
mod post_receive;
mod svn;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::command::{complain, quote};
use crate::config::{self, Source};
use crate::git::history::{self, Change, History};
use crate::git::hook::{self, Update};
use crate::message::EventId;
use crate::message::push::{Author, Commit, Kind, Push};
use crate::name::{RefKind, RepoName};
use crate::outbox::Outbox;
use crate::stomp::Frame;

/// Says on the bus what happened to a repository: from a hook, it never slows or refuses what happened.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    PostReceive(post_receive::Args),
    PostCommit(post_commit::Args),
    Svn(svn::Args),
    Payload(payload::Args),
}

/// Runs it.
///
/// # Errors
/// What the hooks say; the exit statuses are the usual ones.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    match args.from {
        From::PostReceive(args) => post_receive::run(&args, source),
        From::PostCommit(args) => post_commit::run(&args, source),
        From::Svn(args) => svn::run(&args, source),
        From::Payload(args) => payload::run(&args, source),
    }
}

/// What the git hooks have in common.
#[derive(Debug, clap::Args)]
struct Telling {
    /// The repository's name on the bus [default: failcake.repo-name in its git config, $GL_REPO, $GL_PROJECT_PATH, its
    /// folder].
    #[arg(long, value_name = "NAME")]
    repo_name: Option<RepoName>,
    /// Commits told of one ref; the total is told in any case.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print what is said, one JSON object for each ref.
    #[arg(long)]
    json: bool,
    /// Say nothing; print what would be said.
    #[arg(long)]
    dry_run: bool,
}

/// Reading the history may take so long; what is not read by then is not told, and the event says so. Enough for some
/// 100,000 commits, and no pusher waits longer.
const READING: Duration = Duration::from_secs(2);

/// Frames of one emission, in octets of their bodies; a larger push makes several, so that memory stays bounded.
const EMISSION_MAX: usize = 8 * 1024 * 1024;

impl Telling {
    /// Says what `updates` did: one event and one line for people for each, all in one emission.
    fn tell(&self, opened: Result<History, history::Error>, updates: &[Update], source: &Source) -> anyhow::Result<ExitCode> {
        let (pusher, options) = (who_pushed(), hook::push_options(&hook::environment));
        let repo = self.name(opened.as_ref().ok())?;
        let bus = source.bus().map_err(|error| {
            let folder = opened.as_ref().map(History::common_dir).or_else(|_| git_dir()).unwrap_or_default();
            let what = format!("what happened to {} refs of {repo} is", updates.len());
            told_to_nobody(error, &what, &format!("in {}: {}", folder.display(), self.again(updates, &repo, source)))
        })?;
        let outbox = Outbox::new(&bus);
        let (commits_topic, human_topic) = (bus.topics.get("commits"), bus.topics.get("events-git"));

        let deadline = Instant::now() + READING;
        let changes = match &opened {
            Ok(history) => history.changes(updates, self.limit, deadline),
            Err(error) => updates.iter().map(|update| Change::unread(update, error.to_string())).collect(),
        };
        let (mut frames, mut size) = (Vec::new(), 0);
        for (update, change) in updates.iter().zip(changes) {
            if let Some(problem) = &change.problem {
                complain(&format!("{}: told without its whole log: {problem}", update.refname));
            }
            let commits = opened.as_ref().map_or_else(|_| Vec::new(), |history| history.commits(&change.commits, deadline));
            let push = Push {
                repo: repo.clone(),
                refname: update.refname.clone(),
                old: update.old.clone(),
                new: update.new.clone(),
                kind: kind(change.kind),
                commits: commits.into_iter().map(commit).collect(),
                total: change.total,
                tag_object: change.tag.as_ref().map(|tag| tag.object.clone()),
                peeled: change.peeled,
                tag_message: change.tag.map(|tag| tag.message),
                user_name: pusher.clone(),
                options: options.clone(),
                note: change.problem,
            };
            let time = jiff::Timestamp::now();
            let event = push.event(EventId::new(), time);
            self.print(&event.body);
            let human = crate::message::Event::human(time, &event.subject);
            size += event.body.len() + human.body.len();
            frames.push(Frame::send(&commits_topic, event.headers, event.body.into_bytes()));
            frames.push(Frame::send(&human_topic, human.headers, human.body.into_bytes()));
            if size > EMISSION_MAX {
                self.emit(&outbox, std::mem::take(&mut frames), &repo)?;
                size = 0;
            }
        }
        self.emit(&outbox, frames, &repo)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The command that tells `updates` by hand.
    fn again(&self, updates: &[Update], repo: &RepoName, source: &Source) -> String {
        let line = |update: &Update| quote(&format!("{} {} {}", update.old, update.new, update.refname));
        let lines: Vec<String> = updates.iter().take(SHOWN).map(line).collect();
        let more = match updates.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("  (and the lines of {more} more refs)"),
        };
        let all = if updates.iter().any(|update| update.refname.kind() == RefKind::Other) { " --all-refs" } else { "" };
        let file = source.file.as_ref().map(|file| format!(" -c {}", quote(&file.display().to_string()))).unwrap_or_default();
        let tell = format!("failcake{file} notify-commit post-receive{all} --repo-name {}", quote(repo.as_str()));
        format!("printf '%s\\n' {} | {tell}{more}", lines.join(" "))
    }

    fn emit(&self, outbox: &Outbox, frames: Vec<Frame>, repo: &RepoName) -> anyhow::Result<()> {
        if self.dry_run || frames.is_empty() {
            return Ok(());
        }
        let label = format!("push to {repo}, refs: {}", frames.len() / 2);
        // Sent, or kept and told on stderr: for a hook both are done.
        let _ = outbox.emit(frames, &label)?;
        Ok(())
    }

    fn print(&self, body: &str) {
        let text = match (self.json, self.dry_run) {
            (true, _) => body.lines().next_back().and_then(|line| line.strip_prefix("JSON: ")).unwrap_or_default(),
            (false, true) => body,
            (false, false) => return,
        };
        // The pusher may be gone, and stdout with it: what is told is told.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// The repository's name, from the first place that has one.
    fn name(&self, history: Option<&History>) -> anyhow::Result<RepoName> {
        if let Some(name) = &self.repo_name {
            return Ok(name.clone());
        }
        let configured = history.and_then(History::configured_name).map(|name| name.parse());
        let (found, place) = match (configured, hook::name_by_server(&hook::environment)) {
            (Some(name), _) => (name, "failcake.repo-name in its git config".to_owned()),
            (None, Some(name)) => (name, "the server's environment".to_owned()),
            (None, None) => {
                let folder = match history {
                    Some(history) => history.common_dir(),
                    None => git_dir().context("can't find the repository's folder")?,
                };
                (hook::name_by_folder(&folder), format!("its folder {}", folder.display()))
            }
        };
        let remedy = "say what it is called with `git config failcake.repo-name NAME` or --repo-name";
        Ok(found.map_err(|error| config::Error(format!("no name for the repository in {place}: {error}; {remedy}")))?)
    }
}

/// Refs that a message shows.
const SHOWN: usize = 20;

/// Without the configuration nobody knows where to: with half of it, the event might go to another's broker or topic.
fn told_to_nobody(error: config::Error, what: &str, again: &str) -> config::Error {
    config::Error(format!("{error}; {what} told to nobody and kept nowhere: correct that, then tell it {again}"))
}

/// The repository's folder as git names it, for when libgit2 can't open it.
fn git_dir() -> std::io::Result<PathBuf> {
    let dir = hook::environment("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    dir.canonicalize()
}

/// As the server calls them, else the login.
fn who_pushed() -> Option<String> {
    hook::pusher(&hook::environment)
        .or_else(|| Some(nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten()?.name))
}

fn kind(kind: history::Kind) -> Kind {
    match kind {
        history::Kind::Create => Kind::Create,
        history::Kind::Update => Kind::Update,
        history::Kind::Rewind => Kind::Rewind,
        history::Kind::Rewrite => Kind::Rewrite,
        history::Kind::Delete => Kind::Delete,
    }
}

fn commit(commit: history::Commit) -> Commit {
    Commit {
        id: commit.id,
        message: commit.message,
        timestamp: commit.timestamp,
        author: Author { name: commit.name, email: commit.email },
        added: commit.added,
        modified: commit.modified,
        removed: commit.removed,
    }
}
