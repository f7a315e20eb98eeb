//! The configuration files of the Ruby daemons of 2012, taken as they are.
//!
//! [`read`] turns one into the keys of today ([`New`]); the same reader as for every other file then takes those, so
//! that `-c OLD` and `config import OLD` can't come to mean different things. What an old key means is in [`KEYS`], which
//! topic an old tool's words name is in [`TOOLS`], and nowhere else.
//!
//! The daemons wrote `/topic/` before each topic's name, so names here have none. A name that is some prefix and the
//! default's rest (`future.git.commits`) sets `prefix:`, so that topics which the old tools did not have go beside it.

use std::path::Path;

use super::Error;
use super::word::nearest;

mod connection;
mod entries;
mod farm;
mod import;
mod new;
mod ruby;
#[cfg(test)]
mod tests;

pub use import::{Import, WriteError, import};
pub use new::New;

use ruby::Node;

/// What to do with an old key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// `broker:`, with its options behind it.
    Url,
    Options,
    /// The Ruby client's own parameters: `broker:`, `vhost:`, `heart-beat:`, `ca-file:`.
    Connector,
    /// Host and port for each beat, and for `broker:`.
    Server,
    /// `keepalive:`.
    Beats,
    /// The topics of `topics:` that [`TOOLS`] says.
    Trigger,
    Listen,
    Report,
    /// This topic of `topics:`.
    Topic(&'static str),
    /// `repos:`.
    Repos,
    /// `jenkins: url:`.
    JenkinsUrl,
    /// `jenkins: projects:`.
    Projects,
    /// `packages: incoming:`; the repository's place stood in the old tool's code.
    Incoming,
    /// `access:`.
    Sites,
    /// `sites:` with `farm:`.
    Farm,
    /// Nothing, for this reason.
    Dropped(&'static str),
}

/// Every key of the old files.
const KEYS: [(&str, Use); 28] = [
    ("rserver", Use::Url),
    ("stomp-options", Use::Options),
    ("stompconnector", Use::Connector),
    ("stompserver1", Use::Server),
    ("stompserver2", Use::Server),
    ("stompport1", Use::Server),
    ("stompport2", Use::Server),
    ("topics", Use::Beats),
    ("trigger-topic", Use::Trigger),
    ("listen-topic", Use::Listen),
    ("report-topic", Use::Report),
    ("package-topic", Use::Topic("packages")),
    ("user-topic", Use::Topic("access")),
    ("repo-list", Use::Repos),
    ("jenkins-url", Use::JenkinsUrl),
    ("jenkins-projects", Use::Projects),
    ("incoming-dir", Use::Incoming),
    ("sites", Use::Sites),
    ("repo-root", Use::Farm),
    ("deploy-root", Use::Farm),
    ("user-root", Use::Farm),
    ("directorymap", Use::Farm),
    ("controldir", Use::Farm),
    ("site-root", Use::Dropped("the web server is to serve current/ in the site's path; see docs/migrating.md")),
    ("distro-list", Use::Dropped("the folders in packages: incoming: say which distributions there are")),
    ("log-file", Use::Dropped("failcake writes to stderr: systemd keeps that in the journal, cron sends it by mail")),
    ("fluent-name", Use::Dropped("failcake sends nothing to fluentd: the same lines are on the topic events-fetch")),
    ("puppetenv", Use::Dropped("only repositories of mode branches are published: give theirs a target")),
];

/// Keys that the new files have too, with another meaning.
const SHARED: [&str; 2] = ["topics", "sites"];

/// An old tool, and what its words for topics name today.
struct Tool {
    /// What its file's name holds.
    name: &'static str,
    /// Keys that only its file has.
    marks: &'static [&'static str],
    trigger: &'static [&'static str],
    listen: &'static [&'static str],
    report: &'static [&'static str],
}

const BUILDS: &[&str] = &["jenkins-started", "jenkins-success", "jenkins-failure"];

/// In the order that they are looked for: first by keys, then by the file's name.
const TOOLS: [Tool; 12] = [
    tool("reprepro", &["incoming-dir", "distro-list", "package-topic"], &["commits"], &[], &["events-repository"]),
    tool("keepalive", &["stompserver1", "stompserver2"], &["commits"], &[], &[]),
    tool("stomp-jenkins", &["jenkins-url", "jenkins-projects"], &["commits"], &["commits"], &["events-jenkins"]),
    tool("access", &["sites", "user-topic"], &["commits"], &["access"], &["events-access"]),
    tool("git-agent", &[], &[], &[], &["events-deploys"]),
    tool("stomp-git", &["repo-list", "puppetenv"], &["commits"], &["commits"], &["events-fetch"]),
    tool("postrec", &[], &["commits"], &[], &["events-git"]),
    tool("svn", &[], &["commits"], &[], &["events-svn"]),
    tool("gitlab", &[], &["commits"], &[], &["events-webhook"]),
    tool("github", &[], &["commits"], &[], &["events-webhook"]),
    tool("jenkins-helper", &[], BUILDS, &[], &["events-jenkins"]),
    // A hook's file under another name: it tells what this file's user sends, whichever verb that is; a file with only
    // a listen-topic was stomp-git's.
    tool("", &[], &["commits"], &["commits"], &["events-git", "events-svn", "events-webhook", "events-fetch"]),
];

const fn tool(
    name: &'static str,
    marks: &'static [&'static str],
    trigger: &'static [&'static str],
    listen: &'static [&'static str],
    report: &'static [&'static str],
) -> Tool {
    Tool { name, marks, trigger, listen, report }
}

impl Tool {
    fn of(path: &Path, root: &Node) -> &'static Tool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let marked = |tool: &&Tool| {
            // "sites:" with nothing below it is a mark too: the files came so.
            let entries = root.map().unwrap_or_default();
            tool.marks.iter().any(|mark| entries.iter().any(|(key, _)| key == mark))
        };
        let by_mark = TOOLS.iter().find(marked);
        by_mark.or_else(|| TOOLS.iter().find(|tool| name.contains(tool.name))).unwrap_or(&TOOLS[TOOLS.len() - 1])
    }
}

fn use_of(key: &str) -> Option<Use> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| *meaning)
}

/// Does an emitter need it?
pub fn is_emitters(key: &str) -> bool {
    use Use::{Connector, Listen, Options, Report, Server, Topic, Trigger, Url};
    matches!(use_of(key), Some(Url | Options | Connector | Server | Trigger | Listen | Report | Topic(_)))
}

/// Does a line of it begin with a key that only the old files have? It costs an emitter one look at each line.
pub fn is_old(text: &str) -> bool {
    text.lines().any(|line| {
        let word = line.trim_start_matches(['-', ' ', '{']).split(':').next().unwrap_or_default();
        let top = !line.starts_with(' ') && !line.starts_with("- ");
        top && only_old(word.trim_end().trim_matches(['"', '\'']))
    })
}

fn only_old(key: &str) -> bool {
    use_of(key).is_some() && !SHARED.contains(&key)
}

/// Where a mistake in an old file is told.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
}

impl Place<'_> {
    fn error(&self, line: u64, key: &str, what: impl std::fmt::Display) -> Error {
        Error(format!("{}: {key}: {what}", self.line(line)))
    }

    fn line(&self, line: u64) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// Reads an old file; `None` when it is none after all. An emitter does not want it `all`: a mistake in what it does not
/// need costs no hook its event.
pub fn read(path: &Path, text: &str, all: bool) -> Result<Option<New>, Error> {
    let place = Place { path };
    let root = ruby::parse(text).map_err(|error| super::mistake::tell(path, text, &error))?;
    let Some((first, line)) =
        root.map().unwrap_or_default().iter().find_map(|(key, node)| only_old(key).then_some((key, node.line)))
    else {
        return Ok(None);
    };
    let mut new = New::of(path);
    let tool = Tool::of(path, &root);
    if all && farm::is_site(&root) {
        farm::take(&mut new, place, &root)?;
    }
    for (key, node) in root.map().unwrap_or_default() {
        if !SHARED.contains(&key.as_str()) && super::file::is_key(key) {
            return Err(place.error(
                node.line,
                key,
                format_args!(
                    "is a key of today in a file of the old ones ({first}: in line {line}): keep to one kind; \
                     `failcake config import` makes an old file a new one"
                ),
            ));
        }
        if all || is_emitters(key) {
            take(&mut new, place, tool, key, node)?;
        }
    }
    connection::finish(&mut new, place, &root, all)?;
    Ok(Some(new))
}

/// One key of the file, those of the connection excepted: they depend on each other.
fn take(new: &mut New, place: Place, tool: &Tool, key: &str, node: &Node) -> Result<(), Error> {
    let Some(meaning) = use_of(key) else { return entries::stray(new, place, tool, key, node) };
    if let Use::Dropped(reason) = meaning {
        new.dropped.push((key.to_owned(), reason));
        return Ok(());
    }
    if node.is_nothing() {
        return Ok(());
    }
    match meaning {
        Use::Url | Use::Options | Use::Connector | Use::Server | Use::Beats | Use::Farm | Use::Dropped(_) => Ok(()),
        Use::Repos if matches!(node.value, ruby::Value::List(_)) => Ok(()),
        Use::Trigger => entries::topics(new, place, tool.trigger, key, node),
        Use::Listen => entries::topics(new, place, tool.listen, key, node),
        Use::Report => entries::topics(new, place, tool.report, key, node),
        Use::Topic(topic) => entries::topics(new, place, &[topic], key, node),
        Use::Repos => entries::repos(new, place, key, node),
        Use::JenkinsUrl => entries::jenkins_url(new, place, key, node),
        Use::Projects => entries::projects(new, place, key, node),
        Use::Incoming => entries::incoming(new, place, key, node),
        Use::Sites => entries::sites(new, place, key, node),
    }
}

/// A key that nobody knows, among those that may stand there.
fn unknown<'a>(new: &mut New, place: Place, line: u64, key: &str, known: impl Iterator<Item = &'a str>) {
    let hint = match nearest(key, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "the old tools did not read it either".to_owned(),
    };
    new.warnings.push(format!("{}: unknown key {key:?} is left out: {hint}", place.line(line)));
}
