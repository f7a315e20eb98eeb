//! One ref of one repository changed: the event that everything else follows from.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{BODY_MAX, Envelope, Error, Event, EventId, EventType, cut, indent, json_line};
use crate::name::{RefName, RepoName, Rev};

/// What happened to the ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Create,
    /// It moved forward: the old value is an ancestor of the new one.
    Update,
    /// It moved back: the new value is an ancestor of the old one.
    Rewind,
    /// It moved to where neither is an ancestor of the other, or where that could not be found out.
    Rewrite,
    /// It is gone.
    Delete,
}

/// One commit, as far as an event tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Full object id.
    pub id: Rev,
    /// The whole message, or its beginning.
    #[serde(default)]
    pub message: String,
    /// When the author wrote it, RFC 3339 with the author's own offset; empty when the commit does not say.
    #[serde(default)]
    pub timestamp: String,
    /// Who wrote it.
    #[serde(default)]
    pub author: Author,
    /// Paths that it adds. The three lists are bounded together, and empty for a merge.
    #[serde(default)]
    pub added: Vec<String>,
    /// Paths that it changes.
    #[serde(default)]
    pub modified: Vec<String>,
    /// Paths that it removes.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// Who wrote a commit; either may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Author {
    /// `Ada Lovelace`.
    pub name: String,
    /// `ada@example.org`.
    pub email: String,
}

/// One ref's change, with the new commits that it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository's name on the bus.
    pub repo: RepoName,
    /// Which ref.
    pub refname: RefName,
    /// What it was before; zeros when it was not there.
    pub old: Rev,
    /// What it is now (a tag object's own id for an annotated tag); zeros when it is gone.
    pub new: Rev,
    /// What happened.
    pub kind: Kind,
    /// The newest of the commits that the push brought to this ref, newest first. A commit that came with two refs of
    /// one push is told with one of them.
    pub commits: Vec<Commit>,
    /// How many there are in all.
    pub total: u64,
    /// The annotated tag's own id, when the new value is one.
    pub tag_object: Option<Rev>,
    /// The commit behind the new value; `None` for a tag of a tree or a blob, and for a deleted ref.
    pub peeled: Option<Rev>,
    /// The annotated tag's message.
    pub tag_message: Option<String>,
    /// Who pushed.
    pub user_name: Option<String>,
    /// `git push -o`.
    pub options: Vec<String>,
    /// Why the log is missing or incomplete, for people; `total` is then only what was seen.
    pub note: Option<String>,
}

impl Push {
    /// `[repo] REF NEWREV`: the subject, and the human line.
    pub fn subject(&self) -> String {
        format!("[{}] {} {}", self.repo, self.refname, self.new)
    }

    /// The event that tells of it.
    pub fn event(&self, id: EventId, time: jiff::Timestamp) -> Event {
        Event::new(id, EventType::Push, time, &self.subject(), self.format(id))
    }

    /// The body: old `key: value` lines, a log for people, the JSON line. Never over [`BODY_MAX`]: older commits are
    /// left out first, then messages are cut; the total stays exact.
    pub fn format(&self, id: EventId) -> String {
        let whole = self.render(id, self);
        if whole.len() <= BODY_MAX {
            return whole;
        }
        let mut shorter = self.clone();
        shorter.commits.truncate(self.how_many_fit(id));
        let body = self.render(id, &shorter);
        if body.len() <= BODY_MAX {
            return body;
        }
        for commit in &mut shorter.commits {
            cut(&mut commit.message, 4096);
            cut(&mut commit.author.name, 256);
            cut(&mut commit.author.email, 256);
            for paths in [&mut commit.added, &mut commit.modified, &mut commit.removed] {
                paths.clear();
            }
        }
        shorter.tag_message.iter_mut().for_each(|message| cut(message, 4096));
        let body = self.render(id, &shorter);
        if body.len() <= BODY_MAX {
            return body;
        }
        // What is left can only be huge because of what the pusher said about itself.
        shorter.commits.clear();
        shorter.options.clear();
        for text in [&mut shorter.tag_message, &mut shorter.user_name, &mut shorter.note] {
            text.iter_mut().for_each(|text| cut(text, 1024));
        }
        self.render(id, &shorter)
    }

    /// The number of commits, at least one, with which the body stays below [`BODY_MAX`], found without rendering twice.
    fn how_many_fit(&self, id: EventId) -> usize {
        let bare = self.render(id, &Push { commits: Vec::new(), ..self.clone() }).len();
        let mut left = BODY_MAX.saturating_sub(bare);
        let fits = self.commits.iter().take_while(|commit| {
            let mut text = String::new();
            log_entry(&mut text, commit);
            let json = serde_json::to_string(commit).map_or(0, |json| json.len() + 1);
            let enough = left.checked_sub(text.len() + json);
            left = enough.unwrap_or(0);
            enough.is_some()
        });
        fits.count().max(1)
    }

    /// `shorter` is `self` with some of its texts cut.
    fn render(&self, id: EventId, shorter: &Push) -> String {
        let mut body =
            format!("repo: {}\noldrev: {}\nnewrev: {}\nrefname: {}\n\n", self.repo, self.old, self.new, self.refname);
        if let Some(tag) = &self.tag_object {
            let _ = writeln!(body, "tag {tag}");
            indent(&mut body, shorter.tag_message.as_deref().unwrap_or_default());
        }
        for commit in &shorter.commits {
            log_entry(&mut body, commit);
        }
        let hidden = self.total.saturating_sub(shorter.commits.len() as u64);
        if hidden > 0 && !shorter.commits.is_empty() {
            let _ = writeln!(body, "({hidden} more, {} in all)", self.total);
        }
        if let Some(note) = &shorter.note {
            indent(&mut body, note);
        }
        let wire = Wire {
            repository: Repository { name: self.repo.as_str().to_owned() },
            before: self.old.clone(),
            after: self.new.clone(),
            reference: self.refname.to_string_lossy().into_owned(),
            ref_hex: self.refname.to_str().is_none().then(|| hex(self.refname.as_bytes())),
            kind: Some(self.kind),
            user_name: shorter.user_name.clone(),
            commits: Some(shorter.commits.clone()),
            total_commits_count: Some(self.total),
            tag_object: self.tag_object.clone(),
            peeled: self.peeled.clone(),
            message: shorter.tag_message.clone(),
            push_options: Some(PushOptions::List(shorter.options.clone())),
            note: shorter.note.clone(),
            event_id: Some(id.to_string()),
        };
        json_line(&mut body, &wire);
        body
    }

    /// Reads a push event: the JSON line if it is there and sound, else the `key: value` lines of the older hooks.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Bad`] for what the lines lack when there is no sound JSON either.
    pub fn parse(envelope: &Envelope<'_>) -> Result<Push, Error> {
        let json = envelope.json().and_then(|json| serde_json::from_str::<Wire>(json).ok());
        match json.map(Push::from_wire) {
            Some(Ok(push)) => Ok(push),
            // A forge's own name for the repository may be none of ours while the line above it is.
            Some(Err(error)) => Push::from_lines(envelope).map_err(|_| error),
            None => Push::from_lines(envelope),
        }
    }

    fn from_wire(wire: Wire) -> Result<Push, Error> {
        let refname = match &wire.ref_hex {
            Some(digits) => {
                let bytes = unhex(digits).ok_or_else(|| Error::bad("ref_hex", digits, "it is not hexadecimal"))?;
                RefName::from_bytes(&bytes)
            }
            None => wire.reference.parse(),
        };
        let commits = wire.commits.unwrap_or_default();
        Ok(Push {
            repo: wire.repository.name.parse().map_err(|e| bad("repository.name", &e))?,
            refname: refname.map_err(|e| bad("ref", &e))?,
            kind: kind_said(wire.kind, &wire.before, &wire.after),
            total: wire.total_commits_count.unwrap_or(commits.len() as u64),
            commits,
            old: wire.before,
            new: wire.after,
            tag_object: wire.tag_object,
            peeled: wire.peeled,
            tag_message: wire.message,
            user_name: wire.user_name,
            options: match wire.push_options {
                Some(PushOptions::List(options)) => options,
                _ => Vec::new(),
            },
            note: wire.note,
        })
    }

    fn from_lines(envelope: &Envelope<'_>) -> Result<Push, Error> {
        let field = |key| envelope.field(key).ok_or(Error::Missing(key));
        let repo: RepoName = field("repo")?.parse().map_err(|e| bad("repo", &e))?;
        let old: Rev = field("oldrev")?.parse().map_err(|e| bad("oldrev", &e))?;
        let new: Rev = field("newrev")?.parse().map_err(|e| bad("newrev", &e))?;
        let refname: RefName = field("refname")?.parse().map_err(|e| bad("refname", &e))?;
        Ok(Push {
            kind: kind_of(&old, &new),
            repo,
            refname,
            old,
            new,
            commits: Vec::new(),
            total: 0,
            tag_object: None,
            peeled: None,
            tag_message: None,
            user_name: None,
            options: Vec::new(),
            note: None,
        })
    }
}

fn bad(key: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Bad { key, why: error.to_string() }
}

/// What the sender says, unless its own values contradict it.
fn kind_said(said: Option<Kind>, old: &Rev, new: &Rev) -> Kind {
    match (said, kind_of(old, new)) {
        (Some(kind @ (Kind::Rewind | Kind::Rewrite)), Kind::Update) => kind,
        (_, seen) => seen,
    }
}

/// For senders that do not say the kind: their old value and their new one are all there is to see.
fn kind_of(old: &Rev, new: &Rev) -> Kind {
    match (old.is_zero(), new.is_zero()) {
        (_, true) => Kind::Delete,
        (true, false) => Kind::Create,
        (false, false) => Kind::Update,
    }
}

/// One commit of the log. All of it that somebody else wrote is indented, so that no line of it can pose as a header
/// or as the JSON line, whatever a message says.
fn log_entry(out: &mut String, commit: &Commit) {
    let _ = writeln!(out, "commit {}", commit.id);
    indent(out, &format!("Author: {} <{}>", commit.author.name, commit.author.email));
    indent(out, &format!("Date: {}", commit.timestamp));
    out.push('\n');
    indent(out, commit.message.trim_end());
    for (letter, paths) in [('A', &commit.added), ('M', &commit.modified), ('D', &commit.removed)] {
        for path in paths {
            indent(out, &format!("{letter}\t{path}"));
        }
    }
    out.push('\n');
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect())
        .flatten()
}

/// The JSON line. `repository.name`, `before`, `after`, `ref` and `user_name` are what the newer Ruby daemon reads
/// (GitLab's names, as are `commits`, `total_commits_count`, `message` and `push_options`); the others are ours.
#[derive(Serialize, Deserialize)]
struct Wire {
    repository: Repository,
    before: Rev,
    after: Rev,
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ref_hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commits: Option<Vec<Commit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_commits_count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag_object: Option<Rev>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peeled: Option<Rev>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push_options: Option<PushOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
}

/// GitLab writes an object where git has a list of strings.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PushOptions {
    List(Vec<String>),
    #[serde(skip_serializing)]
    Other(serde::de::IgnoredAny),
}

#[derive(Serialize, Deserialize)]
struct Repository {
    name: String,
}

#[cfg(test)]
mod tests;
