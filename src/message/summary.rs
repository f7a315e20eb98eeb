//! What any message says, as far as it can be told without knowing its kind: for people who look on, and for commands
//! that are run for it.
//!
//! Names are checked ones or missing: a command gets none that it could not join to a folder. What is told to people holds
//! no character that could disturb a terminal or reorder what stands beside it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::build::Build;
use super::push::{Kind, Push};
use super::revision::Revision;
use super::terminal::printable;
use super::{BODY_MAX, Envelope, EventId, EventType, HUMAN_SUBJECT, READ_MAX};
use crate::name::{Glob, RefName, RepoName, Rev};

/// Longest line for people, in characters.
const LINE_MAX: usize = 500;
/// Longest type that counts as one, in octets.
const TYPE_MAX: usize = 40;

/// What is known of a message that is no beat.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Its name, if it has a sound one.
    pub id: Option<EventId>,
    /// `push`, `revision`, `build`, `human` or another word: what it says of itself, or what it looks like.
    pub kind: Option<String>,
    /// When it happened.
    pub time: Option<jiff::Timestamp>,
    /// Its subject, in one line.
    pub subject: Option<String>,
    /// Which repository it is about; for Subversion which project.
    pub repo: Option<RepoName>,
    /// Which branch or tag.
    pub reference: Option<RefName>,
    /// Which commit; for Subversion which revision.
    pub commit: Option<String>,
    /// For people: one line.
    pub line: String,
    /// Its JSON line.
    pub json: Option<serde_json::Value>,
    /// What a repository's pattern is compared to.
    names: Vec<String>,
}

/// The parts that differ by kind.
#[derive(Default)]
struct Parts {
    repo: Option<RepoName>,
    reference: Option<RefName>,
    commit: Option<String>,
    names: Vec<String>,
    /// What the line says after the subject.
    more: String,
}

impl Summary {
    /// Reads what there is; `None` for a beat.
    pub fn of(headers: &[(String, String)], body: &[u8]) -> Option<Summary> {
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        // A message without a body, unlike a beat, says something in its headers.
        let is_beat = body == b"\n" || body == b"\r\n";
        if is_beat || (body.is_empty() && header("subject").is_none() && header("event-id").is_none()) {
            return None;
        }
        // One that is too large is not read, and told all the same.
        let readable = if body.len() > READ_MAX { b"" } else { body };
        let envelope = Envelope { headers, text: String::from_utf8_lossy(readable) };
        let json = envelope.json().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let kind = kind(&envelope, json.as_ref());
        let parts = match kind.as_deref() {
            Some("push") => Push::parse(&envelope).ok().map(of_push),
            Some("revision") => Revision::parse(&envelope).ok().map(of_revision),
            Some("build") => Build::parse(&envelope).ok().map(of_build),
            _ => None,
        };
        let parts = parts.unwrap_or_else(|| json.as_ref().map(of_json).unwrap_or_default());
        let subject = header("subject").map(|subject| one_line(subject).into_owned());
        let said = envelope.text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        // Of human lines the subject is always the same, and the body is the line.
        let first = header("subject").map(str::trim).filter(|subject| !subject.is_empty() && *subject != HUMAN_SUBJECT);
        let mut line = short(first.unwrap_or(said), LINE_MAX).into_owned();
        line.push_str(&parts.more);
        if body.len() > READ_MAX {
            let _ = write!(line, " ({} octets, not read)", body.len());
        }
        Some(Summary {
            id: envelope.event_id(),
            kind,
            time: header("event-time").and_then(|time| time.parse().ok()),
            subject,
            repo: parts.repo,
            reference: parts.reference,
            commit: parts.commit,
            line: printable(&short(&line, LINE_MAX)),
            json,
            names: parts.names,
        })
    }

    /// Is it about a repository of such a name?
    pub fn is_about(&self, pattern: &Glob) -> bool {
        self.names.iter().any(|name| pattern.matches(name))
    }
}

/// What it says, or what the older senders' messages look like.
fn kind(envelope: &Envelope<'_>, json: Option<&serde_json::Value>) -> Option<String> {
    if let Some(word) = envelope.header("event-type") {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = !word.is_empty() && word.len() <= TYPE_MAX && word.chars().all(is_word);
        return fits.then(|| word.to_owned());
    }
    let has = |key: &str| json.is_some_and(|json| json.get(key).is_some());
    let kind = if envelope.header("subject") == Some(HUMAN_SUBJECT) {
        EventType::Human
    } else if envelope.field("revname").is_some() {
        EventType::Revision
    } else if envelope.field("newrev").is_some() || (has("before") && has("after") && has("ref")) {
        EventType::Push
    } else if envelope.field("Status").is_some() {
        EventType::Build
    } else {
        return None;
    };
    Some(kind.as_str().to_owned())
}

fn of_push(push: Push) -> Parts {
    let commit = push.peeled.as_ref().unwrap_or(&push.new);
    let mut more = String::new();
    if push.kind == Kind::Delete {
        more.push_str(" deleted");
    }
    if let Some(newest) = push.commits.first() {
        let who = push.user_name.as_deref().filter(|who| !who.is_empty()).unwrap_or(&newest.author.name);
        let _ = write!(more, "  {}: {}", short(who, 60), short(first_line(&newest.message), 100));
        if push.total > 1 {
            let _ = write!(more, " (and {} more)", push.total - 1);
        }
    }
    Parts {
        commit: (!commit.is_zero()).then(|| commit.to_string()),
        names: vec![push.repo.to_string()],
        repo: Some(push.repo),
        reference: Some(push.refname),
        more,
    }
}

fn of_revision(revision: Revision) -> Parts {
    let who = revision.author.as_deref().unwrap_or_default();
    let more = format!(
        "  {} {}: {}",
        short(&revision.project, 100),
        short(who, 60),
        short(first_line(&revision.message), 100)
    );
    Parts {
        repo: revision.project_name(),
        reference: None,
        commit: Some(revision.rev.to_string()),
        more,
        names: vec![format!("{}/{}", revision.repository, revision.project), revision.project, revision.repository],
    }
}

fn of_build(build: Build) -> Parts {
    Parts {
        names: build.repo.iter().map(ToString::to_string).collect(),
        repo: build.repo,
        reference: build.refname,
        commit: build.commit.map(|commit| commit.to_string()),
        more: build.url.map(|url| format!("  {}", short(&url, 200))).unwrap_or_default(),
    }
}

/// What events of other kinds say under the names that a push has.
fn of_json(json: &serde_json::Value) -> Parts {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let repo: Option<RepoName> = text(&json["repository"]["name"]).and_then(|name| name.parse().ok());
    let commit: Option<Rev> = ["commit", "after"].iter().find_map(|key| text(&json[*key])?.parse().ok());
    Parts {
        names: repo.iter().map(ToString::to_string).collect(),
        repo,
        reference: text(&json["ref"]).and_then(|name| name.parse().ok()),
        commit: commit.filter(|commit| !commit.is_zero()).map(|commit| commit.to_string()),
        more: String::new(),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

fn short(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

fn one_line(text: &str) -> Cow<'_, str> {
    // A subject is no place for a body.
    let end = text.floor_char_boundary(text.len().min(BODY_MAX / 64));
    super::one_line(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn of(headers: &[(&str, &str)], body: &str) -> Summary {
        let headers: Vec<_> = headers.iter().map(|(name, value)| header(name, value)).collect();
        Summary::of(&headers, body.as_bytes()).unwrap()
    }

    #[test]
    fn a_beat_says_nothing_and_a_message_of_headers_only_does() {
        assert!(Summary::of(&[], b"\n").is_none() && Summary::of(&[], b"").is_none());
        assert!(Summary::of(&[header("subject", "x")], b"\n").is_none());
        assert_eq!(of(&[("subject", "hello")], "").line, "hello");
    }

    #[test]
    fn what_older_senders_say_is_told_by_its_looks() {
        let zero = "0".repeat(40);
        let push = of(
            &[("subject", "[spog] refs/heads/x 0")],
            &format!("repo: spog\noldrev: {zero}\nnewrev: {COMMIT}\nrefname: refs/heads/x\n"),
        );
        assert_eq!((push.kind.as_deref(), push.commit.as_deref()), (Some("push"), Some(COMMIT)));
        assert_eq!(push.reference.unwrap().to_string(), "refs/heads/x");
        let revision =
            of(&[("subject", "[old] 12 ")], "repo: old\nrevname: 12\n Author: ann\nProject: awful\n\nDirs:\n\ntypo\n");
        assert_eq!((revision.kind.as_deref(), revision.commit.as_deref()), (Some("revision"), Some("12")));
        for pattern in ["old", "awful", "old/awful", "o*"] {
            assert!(revision.is_about(&pattern.parse().unwrap()), "{pattern}");
        }
        assert!(!revision.is_about(&"awf".parse().unwrap()));
        let build = of(&[("subject", "Fail job 1 - [j] x ?")], "Repo: spog\nURL: http://a/1\nStatus: Cake\n");
        assert_eq!((build.kind.as_deref(), build.line.as_str()), (Some("build"), "Fail job 1 - [j] x ?  http://a/1"));
        let human = of(&[("subject", "Talking to eventbot")], "web01 fetched change: [spog]");
        assert_eq!((human.kind.as_deref(), human.line.as_str()), (Some("human"), "web01 fetched change: [spog]"));
        assert_eq!(of(&[], "{\"before\":1,\"after\":2,\"ref\":3}").kind.as_deref(), Some("push"));
        assert_eq!(of(&[], "hello").kind, None);
    }

    #[test]
    fn names_that_break_their_rules_are_missing() {
        let body = r#"{"repository":{"name":"../../etc"},"ref":"refs/heads/a b","after":"x;y"}"#;
        let summary = of(&[("event-type", "package")], body);
        assert!(summary.repo.is_none() && summary.reference.is_none() && summary.commit.is_none());
        assert!(summary.json.is_some());
        let body = format!(r#"{{"repository":{{"name":"spog"}},"ref":"refs/tags/v1","commit":"{COMMIT}"}}"#);
        let summary = of(&[("event-type", "package")], &body);
        assert_eq!(summary.repo.unwrap().as_str(), "spog");
        assert_eq!(summary.commit.as_deref(), Some(COMMIT));
        assert_eq!(of(&[("event-type", "a b")], "x").kind, None);
    }

    #[test]
    fn nothing_disturbs_a_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}gpj.\u{200b}\u{e0041}";
        let summary = of(&[("subject", hostile)], "x");
        assert_eq!(summary.line, printable(hostile));
        assert!(!summary.subject.unwrap().contains(char::is_control));
        assert_eq!(of(&[], hostile).line, printable(hostile));
        assert!(of(&[("subject", &"x".repeat(60_000))], "x").line.chars().count() <= LINE_MAX + 1, "bounded");
    }

    #[test]
    fn what_is_too_large_is_told_and_not_read() {
        let body = "x".repeat(READ_MAX + 1);
        assert_eq!(of(&[("subject", "big")], &body).line, format!("big ({} octets, not read)", READ_MAX + 1));
    }
}
