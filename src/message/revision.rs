//! One revision of a Subversion repository touched one project.

use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BODY_MAX, Envelope, Error, Event, EventId, EventType, cut, indent, json_line};
use crate::name::RepoName;

/// No more lines, directories and paths are told, of each; the totals are.
pub const LISTED: usize = 1000;

/// What one revision did to one project.
///
/// Repository and project are free text, for Subversion allows nearly every name; [`Revision::project_name`] is the
/// checked one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// The repository's name.
    pub repository: String,
    /// The project: its directory in the repository, or the repository's name for what lies at its root.
    pub project: String,
    /// The revision's number.
    pub rev: u64,
    /// Who committed.
    pub author: Option<String>,
    /// When.
    pub date: Option<Timestamp>,
    /// The log message.
    pub message: String,
    /// Trunk, branches and tags that were touched: trunk first. Bounded.
    pub lines: Vec<Line>,
    /// How many in all.
    pub total_lines: u64,
    /// Directories whose entries or properties changed. Bounded.
    pub dirs: Vec<String>,
    /// How many in all.
    pub total_dirs: u64,
    /// What changed. Bounded.
    pub paths: Vec<Changed>,
    /// How many in all.
    pub total_paths: u64,
    /// Why something is missing, for people.
    pub note: Option<String>,
}

/// Trunk, branch or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// `trunk`
    Trunk,
    /// `branches/NAME`
    Branch,
    /// `tags/NAME`
    Tag,
}

/// What happened to a trunk, branch or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineChange {
    /// It is new.
    Create,
    /// Something in it changed.
    Update,
    /// It is gone.
    Delete,
    /// It was removed and made anew.
    Replace,
}

/// A trunk, a branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which of them.
    #[serde(rename = "type")]
    pub kind: LineKind,
    /// The branch's or tag's name; empty for trunk.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happened to it.
    pub change: LineChange,
    /// Of which path it is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_from: Option<String>,
    /// Of which revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_from_rev: Option<u64>,
}

impl Line {
    /// `trunk`, `branches/NAME`, `tags/NAME`.
    pub fn path(&self) -> String {
        match self.kind {
            LineKind::Trunk => "trunk".to_owned(),
            LineKind::Branch => format!("branches/{}", self.name),
            LineKind::Tag => format!("tags/{}", self.name),
        }
    }
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Add,
    /// Its text changed.
    Modify,
    /// It is gone.
    Delete,
    /// Only its properties changed.
    Properties,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What happened to it.
    pub change: Action,
    /// In the repository; a directory ends with `/`.
    pub path: String,
    /// Its properties changed (also).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub properties: bool,
    /// Of which path it is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_from: Option<String>,
    /// Of which revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_from_rev: Option<u64>,
}

impl Revision {
    /// `[repo] REV `, with the space at its end that the old daemons know: the subject, and the human line. The
    /// repository's name in it holds no space.
    pub fn subject(&self) -> String {
        format!("[{}] {} ", told(&self.repository), self.rev)
    }

    /// The project as a name to look things up by, if it is one.
    pub fn project_name(&self) -> Option<RepoName> {
        self.project.parse().ok()
    }

    /// The event that tells of it.
    pub fn event(&self, id: EventId, time: Timestamp) -> Event {
        Event::new(id, EventType::Revision, time, &self.subject(), self.format(id))
    }

    /// The body: the old `key: value` lines, the log, what changed, the JSON line. Never over [`BODY_MAX`]: lists and
    /// log are cut by a quarter until it fits; the totals stay exact.
    pub fn format(&self, id: EventId) -> String {
        let body = self.render(id);
        if body.len() <= BODY_MAX {
            return body;
        }
        let mut shorter = self.clone();
        let mut most = LISTED;
        loop {
            shorter.lines.truncate(most);
            shorter.dirs.truncate(most);
            shorter.paths.truncate(most);
            cut(&mut shorter.message, most * 64);
            if most == 0 {
                for text in [&mut shorter.repository, &mut shorter.project] {
                    cut(text, 1024);
                }
                for text in [&mut shorter.author, &mut shorter.note] {
                    text.iter_mut().for_each(|text| cut(text, 1024));
                }
            }
            let body = shorter.render(id);
            if body.len() <= BODY_MAX || most == 0 {
                return body;
            }
            most = most * 3 / 4;
        }
    }

    fn render(&self, id: EventId) -> String {
        let mut body = String::new();
        field(&mut body, "repo", &told(&self.repository));
        field(&mut body, "revname", &self.rev.to_string());
        field(&mut body, "Author", self.author.as_deref().unwrap_or_default());
        field(&mut body, "Date", &self.date.map(written).unwrap_or_default());
        field(&mut body, "Project", &told(&self.project));
        body.push_str("\nDirs:\n");
        self.dirs.iter().for_each(|dir| indent(&mut body, dir));
        more(&mut body, self.dirs.len(), self.total_dirs);
        body.push('\n');
        indent(&mut body, self.message.trim_end());
        body.push('\n');
        for line in &self.lines {
            let change = format!("{:?}", line.change).to_lowercase();
            indent(&mut body, &format!("{change} {}{}", line.path(), origin(&line.copy_from, line.copy_from_rev)));
        }
        more(&mut body, self.lines.len(), self.total_lines);
        for changed in &self.paths {
            let letter = match changed.change {
                Action::Add => 'A',
                Action::Modify => 'M',
                Action::Delete => 'D',
                Action::Properties => '_',
            };
            let properties = if changed.properties { 'U' } else { ' ' };
            let origin = origin(&changed.copy_from, changed.copy_from_rev);
            indent(&mut body, &format!("{letter}{properties}  {}{origin}", changed.path));
        }
        more(&mut body, self.paths.len(), self.total_paths);
        if let Some(note) = &self.note {
            indent(&mut body, note);
        }
        json_line(&mut body, &self.wire(id));
        body
    }

    fn wire(&self, id: EventId) -> Wire {
        Wire {
            kind: Svn::Svn,
            repository: Repository { name: self.project.clone() },
            svn_repository: self.repository.clone(),
            project: self.project.clone(),
            rev: self.rev,
            before: self.rev.saturating_sub(1).to_string(),
            after: self.rev.to_string(),
            reference: self.lines.first().map(Line::path).unwrap_or_default(),
            user_name: self.author.clone(),
            author: self.author.clone(),
            date: self.date.map(|date| date.to_string()),
            message: self.message.clone(),
            lines: self.lines.clone(),
            total_lines_count: self.total_lines,
            dirs: self.dirs.clone(),
            total_dirs_count: self.total_dirs,
            paths: self.paths.clone(),
            total_paths_count: self.total_paths,
            note: self.note.clone(),
            event_id: Some(id.to_string()),
        }
    }

    /// Reads the event: the JSON line if it is there and sound, else the text of the older hook.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Bad`] for what the text lacks when there is no sound JSON either.
    pub fn parse(envelope: &Envelope<'_>) -> Result<Revision, Error> {
        match envelope.json().and_then(|json| serde_json::from_str::<Wire>(json).ok()) {
            Some(wire) => Revision::from_wire(wire),
            None => Revision::from_text(&envelope.text),
        }
    }

    fn from_wire(wire: Wire) -> Result<Revision, Error> {
        let date = wire.date.map(|date| date.parse().map_err(|_| Error::bad("date", &date, "it is no RFC 3339 date")));
        let at_least = |told: u64, listed: usize| told.max(listed as u64);
        Ok(Revision {
            repository: wire.svn_repository,
            project: wire.repository.name,
            rev: wire.rev,
            author: wire.author,
            date: date.transpose()?,
            message: wire.message,
            total_lines: at_least(wire.total_lines_count, wire.lines.len()),
            lines: wire.lines,
            total_dirs: at_least(wire.total_dirs_count, wire.dirs.len()),
            dirs: wire.dirs,
            total_paths: at_least(wire.total_paths_count, wire.paths.len()),
            paths: wire.paths,
            note: wire.note,
        })
    }

    /// The older hook wrote ` Author:` with a space before it, and neither the log nor the directories indented.
    fn from_text(text: &str) -> Result<Revision, Error> {
        let head = || {
            let lines = text.lines().take_while(|line| !line.trim().is_empty());
            lines.filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()))
        };
        let find =
            |key| head().find(|(name, _)| *name == key).map(|(_, value)| value).filter(|value| !value.is_empty());
        let repository = find("repo").ok_or(Error::Missing("repo"))?;
        let rev = find("revname").ok_or(Error::Missing("revname"))?;
        let rest = text.split_once("\nDirs:\n").map_or("", |(_, rest)| rest);
        let (dirs, message) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let dirs: Vec<String> = dirs.lines().map(|dir| dir.trim().to_owned()).filter(|dir| !dir.is_empty()).collect();
        Ok(Revision {
            repository: repository.to_owned(),
            project: find("Project").unwrap_or(repository).to_owned(),
            rev: rev.parse().map_err(|_| Error::bad("revname", rev, "it is no revision's number"))?,
            author: find("Author").map(str::to_owned),
            date: find("Date").and_then(read_date),
            message: message.trim().to_owned(),
            total_dirs: dirs.len() as u64,
            dirs: dirs.into_iter().take(LISTED).collect(),
            ..Revision::default()
        })
    }
}

/// A name as text has it. What is no name of ours gets U+FFFD for all that such a name can't hold, so that it is one word,
/// ends no line, and is never somebody else's name.
fn told(name: &str) -> String {
    if name.parse::<RepoName>().is_ok() {
        return name.to_owned();
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '~' | '@');
    let mut told: String = name.chars().take(1024).map(|c| if fits(c) { c } else { '\u{fffd}' }).collect();
    if !told.contains('\u{fffd}') {
        told.push('\u{fffd}');
    }
    told
}

fn field(out: &mut String, key: &str, value: &str) {
    let value = value.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), "\u{fffd}");
    let _ = writeln!(out, "{key}: {value}");
}

fn more(out: &mut String, listed: usize, total: u64) {
    let hidden = total.saturating_sub(listed as u64);
    if hidden > 0 {
        indent(out, &format!("({hidden} more, {total} in all)"));
    }
}

fn origin(path: &Option<String>, rev: Option<u64>) -> String {
    match (path, rev) {
        (Some(path), Some(rev)) => format!(" (from {path}:r{rev})"),
        _ => String::new(),
    }
}

/// As svnlook writes it: `2024-02-29 12:00:00 +0000 (Thu, 29 Feb 2024)`.
fn written(date: Timestamp) -> String {
    date.strftime("%Y-%m-%d %H:%M:%S +0000 (%a, %d %b %Y)").to_string()
}

fn read_date(text: &str) -> Option<Timestamp> {
    let moment = text.split_once(" (").map_or(text, |(moment, _)| moment);
    Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", moment).ok()
}

/// The JSON line. `repository.name`, `before`, `after`, `ref` and `user_name` are what the newer Ruby daemon reads.
#[derive(Serialize, Deserialize)]
struct Wire {
    kind: Svn,
    repository: Repository,
    svn_repository: String,
    project: String,
    rev: u64,
    before: String,
    after: String,
    /// The first of `lines`.
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    user_name: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    lines: Vec<Line>,
    #[serde(default)]
    total_lines_count: u64,
    #[serde(default)]
    dirs: Vec<String>,
    #[serde(default)]
    total_dirs_count: u64,
    #[serde(default)]
    paths: Vec<Changed>,
    #[serde(default)]
    total_paths_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
}

/// What tells this JSON from a push's.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Svn {
    Svn,
}

#[derive(Serialize, Deserialize)]
struct Repository {
    name: String,
}

#[cfg(test)]
mod tests;
