//! `failcake notify-commit svn`: Subversion's hook.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::told_to_nobody;
use crate::command::{complain, quote};
use crate::config::Source;
use crate::message::revision::{self, LISTED, Revision};
use crate::message::{Event, EventId};
use crate::name::RepoName;
use crate::outbox::Outbox;
use crate::stomp::Frame;
use crate::svn::{self, Changed, Project, Repository};

/// Tells a revision: as Subversion calls the hook post-commit.
///
/// The project is the directory above the first trunk, branches or tags of a path; each project that the revision
/// touched is one event. What lies at the repository's root, or in no project, is told under the repository's name.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Install it as REPOS/hooks/post-commit, with the full path, for Subversion runs hooks with an empty environment:
    #!/bin/sh
    exec /usr/local/bin/failcake notify-commit svn \"$@\"

Example: what revision 42 would say:
    failcake notify-commit svn --dry-run /srv/svn/code 42")]
pub struct Args {
    /// The repository's folder.
    repos: PathBuf,
    /// The revision.
    rev: u64,
    /// The transaction that became the revision. It is gone by then, and not looked at.
    txn: Option<String>,
    /// The repository's name on the bus [default: its folder's].
    #[arg(long, value_name = "NAME")]
    repo_name: Option<RepoName>,
    /// svnlook, where it is neither in /usr/bin, nor in /usr/local/bin, nor in PATH.
    #[arg(long, value_name = "PROGRAM")]
    svnlook: Option<PathBuf>,
    /// Print what is said, one JSON object for each project.
    #[arg(long)]
    json: bool,
    /// Say nothing; print what would be said.
    #[arg(long)]
    dry_run: bool,
}

/// More projects are not told of one revision.
const PROJECTS: usize = 1000;

/// Frames of one emission, in octets of their bodies; a revision that says more makes several, so that memory stays bounded.
const EMISSION_MAX: usize = 8 * 1024 * 1024;

pub fn run(args: &Args, source: &Source) -> anyhow::Result<ExitCode> {
    if args.rev == 0 {
        complain("revision 0 is the empty repository: nothing to tell");
        return Ok(ExitCode::SUCCESS);
    }
    let repository = Repository::open(&args.repos, args.svnlook.as_deref())?;
    let name = match &args.repo_name {
        Some(name) => name.to_string(),
        None => repository.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let bus = source.bus().map_err(|error| {
        let path = quote(&repository.path().display().to_string());
        let again = format!("with failcake notify-commit svn --repo-name {} {path} {}", quote(&name), args.rev);
        told_to_nobody(error, &format!("r{} of {name} is", args.rev), &again)
    })?;
    let outbox = Outbox::new(&bus);
    let (commits_topic, human_topic) = (bus.topics.get("commits"), bus.topics.get("events-svn"));

    // Each takes some milliseconds, most of them in starting.
    let (info, (projects, note)) = std::thread::scope(|scope| {
        let info = scope.spawn(|| repository.info(args.rev));
        let projects = read_projects(&repository, args.rev);
        (info.join().unwrap_or(Err(svn::Error::Nonsense(args.rev))), projects)
    });
    let info = info?;
    if let Some(note) = &note {
        complain(&format!("r{} of {name}: {note}", args.rev));
    }
    let about = Revision {
        repository: name,
        rev: args.rev,
        author: info.author,
        date: info.date,
        message: info.log,
        note,
        ..Revision::default()
    };

    let (mut frames, mut size) = (Vec::new(), 0);
    for project in projects {
        let event = revision(&about, project).event(EventId::new(), jiff::Timestamp::now());
        args.print(&event.body);
        size += event.body.len();
        frames.push(Frame::send(&commits_topic, event.headers, event.body.into_bytes()));
        if size > EMISSION_MAX {
            args.emit(&outbox, std::mem::take(&mut frames), &about)?;
            size = 0;
        }
    }
    // One line for people, however many projects.
    let human = Event::human(jiff::Timestamp::now(), &about.subject());
    frames.push(Frame::send(&human_topic, human.headers, human.body.into_bytes()));
    args.emit(&outbox, frames, &about)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn print(&self, body: &str) {
        let text = match (self.json, self.dry_run) {
            (true, _) => body.lines().next_back().and_then(|line| line.strip_prefix("JSON: ")).unwrap_or_default(),
            (false, true) => body,
            (false, false) => return,
        };
        // The committer may be gone, and stdout with it: what is told is told.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn emit(&self, outbox: &Outbox, frames: Vec<Frame>, about: &Revision) -> anyhow::Result<()> {
        if !self.dry_run {
            // Sent, or kept and told on stderr: for a hook both are done.
            let _ = outbox.emit(frames, &format!("r{} of {}", about.rev, about.repository))?;
        }
        Ok(())
    }
}

/// What the revision did, by project, and why something is missing. Without its paths it is told of the repository
/// itself: an event that says less is better than none.
fn read_projects(repository: &Repository, rev: u64) -> (Vec<Project>, Option<String>) {
    let said = match repository.changed(rev) {
        Ok(said) => said,
        Err(error) => return (vec![Project::default()], Some(format!("told without its paths: {error}"))),
    };
    let found = svn::projects(|| svn::parse_changed(&said.text), PROJECTS, LISTED);
    let mut notes = Vec::new();
    if said.cut {
        notes.push("only its first 64 MiB of paths are told".to_owned());
    }
    if said.lossy {
        notes.push("no UTF-8 locale on this machine (C.UTF-8): names that are not ASCII are told wrongly".to_owned());
    }
    if found.total > found.listed.len() {
        notes.push(format!("{} projects were touched, {} are told", found.total, found.listed.len()));
    }
    // A revision need not change anything.
    let projects = if found.listed.is_empty() { vec![Project::default()] } else { found.listed };
    (projects, (!notes.is_empty()).then(|| notes.join("; ")))
}

fn revision(about: &Revision, project: Project) -> Revision {
    let name = if project.directory.is_empty() { about.repository.clone() } else { project.directory };
    Revision {
        project: name,
        lines: project.lines.into_iter().map(line).collect(),
        total_lines: project.total_lines,
        dirs: project.dirs,
        total_dirs: project.total_dirs,
        paths: project.paths.into_iter().map(changed).collect(),
        total_paths: project.total_paths,
        ..about.clone()
    }
}

fn line(line: svn::Line) -> revision::Line {
    let (copy_from, copy_from_rev) = line.copied.unzip();
    revision::Line {
        kind: match line.kind {
            svn::LineKind::Trunk => revision::LineKind::Trunk,
            svn::LineKind::Branch => revision::LineKind::Branch,
            svn::LineKind::Tag => revision::LineKind::Tag,
        },
        name: line.name,
        change: match line.change {
            svn::LineChange::Create => revision::LineChange::Create,
            svn::LineChange::Update => revision::LineChange::Update,
            svn::LineChange::Delete => revision::LineChange::Delete,
            svn::LineChange::Replace => revision::LineChange::Replace,
        },
        copy_from,
        copy_from_rev,
    }
}

fn changed(changed: Changed<'_>) -> revision::Changed {
    let (copy_from, copy_from_rev) = changed.copied.map(|from| (from.path.into_owned(), from.rev)).unzip();
    revision::Changed {
        change: match changed.action {
            svn::Action::Add => revision::Action::Add,
            svn::Action::Modify => revision::Action::Modify,
            svn::Action::Delete => revision::Action::Delete,
            svn::Action::Properties => revision::Action::Properties,
        },
        path: changed.path.into_owned(),
        properties: changed.properties,
        copy_from,
        copy_from_rev,
    }
}
