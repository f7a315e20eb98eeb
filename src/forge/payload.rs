//! The bodies, as far as they matter here. What is not read is not required: forges add and drop fields.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Error, Happened, Headers, Origin, Provider};
use crate::message::cut;
use crate::message::push::{Author, Commit, Kind, Push};
use crate::name::{RefKind, RefName, RepoName, Rev};

/// Commits that an event describes, the newest, as the git hook's `--limit` has it; GitHub sends up to 2,048.
const COMMITS_MAX: usize = 100;
/// Octets of a title or a name in a line for people.
const WORDS_MAX: usize = 300;

/// A push as all three write it, more or less.
#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    refname: String,
    before: Rev,
    after: Rev,
    #[serde(default)]
    forced: bool,
    commits: Option<Vec<PushedCommit>>,
    /// GitLab's.
    total_commits_count: Option<u64>,
    /// Gitea's.
    total_commits: Option<u64>,
    /// GitLab's.
    user_username: Option<String>,
    user_name: Option<String>,
    /// GitHub's and Gitea's.
    pusher: Option<Person>,
    /// GitLab's: the commit behind the new value; null when the ref is gone.
    checkout_sha: Option<Rev>,
    /// GitLab's: the annotated tag's.
    message: Option<String>,
    /// GitHub's and Gitea's: the newest commit, also when `commits` is empty.
    head_commit: Option<HeadCommit>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: Rev,
}

/// Gitea writes `null` where a list is empty.
#[derive(Deserialize)]
struct PushedCommit {
    id: Rev,
    message: Option<String>,
    timestamp: Option<String>,
    author: Option<PushedAuthor>,
    added: Option<Vec<String>>,
    modified: Option<Vec<String>>,
    removed: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct PushedAuthor {
    name: Option<String>,
    email: Option<String>,
}

impl From<PushedCommit> for Commit {
    fn from(pushed: PushedCommit) -> Commit {
        let author =
            pushed.author.map(|a| Author { name: a.name.unwrap_or_default(), email: a.email.unwrap_or_default() });
        Commit {
            id: pushed.id,
            message: pushed.message.unwrap_or_default(),
            timestamp: pushed.timestamp.unwrap_or_default(),
            author: author.unwrap_or_default(),
            added: pushed.added.unwrap_or_default(),
            modified: pushed.modified.unwrap_or_default(),
            removed: pushed.removed.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Person {
    name: Option<String>,
    login: Option<String>,
    username: Option<String>,
}

/// Where a body names its repository.
#[derive(Deserialize)]
struct OriginBody {
    /// GitLab's. On GitHub it is a board with cards, and no repository.
    project: Option<Repository>,
    repository: Option<Repository>,
}

/// Read before the sender has proved anything, so each field is named: text that is not wanted is passed over, and
/// costs no memory.
#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
    path_with_namespace: Option<String>,
    name: Option<String>,
    clone_url: Option<String>,
    ssh_url: Option<String>,
    git_url: Option<String>,
    html_url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
    url: Option<String>,
    homepage: Option<String>,
}

impl Repository {
    fn into_origin(self) -> Option<Origin> {
        let urls = [
            self.clone_url,
            self.ssh_url,
            self.git_url,
            self.html_url,
            self.git_http_url,
            self.git_ssh_url,
            self.web_url,
            self.url,
            self.homepage,
        ];
        let full_name = self.path_with_namespace.or(self.full_name).or(self.name)?;
        Some(Origin { full_name, urls: urls.into_iter().flatten().collect() })
    }
}

/// A branch or tag that came or went, as GitHub and Gitea tell beside the push.
#[derive(Deserialize)]
struct RefBody {
    #[serde(rename = "ref")]
    name: String,
    ref_type: String,
    sender: Option<Person>,
    repository: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    /// Gitea's: `sha1` or `sha256`.
    object_format_name: Option<String>,
}

#[derive(Deserialize)]
struct ChangeBody {
    action: Option<String>,
    number: Option<u64>,
    pull_request: Option<Change>,
    object_attributes: Option<Change>,
    sender: Option<Person>,
    user: Option<Person>,
}

#[derive(Deserialize)]
struct Change {
    iid: Option<u64>,
    title: Option<String>,
    action: Option<String>,
    state: Option<String>,
    merged: Option<bool>,
}

impl Person {
    fn known_as(&self) -> Option<String> {
        [&self.username, &self.login, &self.name].into_iter().flatten().find(|name| !name.is_empty()).cloned()
    }
}

pub(super) fn origin(provider: Provider, headers: &Headers, body: &[u8]) -> Result<Option<Origin>, Error> {
    let body: OriginBody = json(provider, headers, &unwrap_form(headers, body)?)?;
    let project = body.project.filter(|_| provider == Provider::Gitlab);
    Ok(project.or(body.repository).and_then(Repository::into_origin))
}

pub(super) fn read(provider: Provider, headers: &Headers, body: &[u8], repo: RepoName) -> Result<Happened, Error> {
    let body = unwrap_form(headers, body)?;
    let event = event(provider, headers, &body);
    match event.as_str() {
        "push" | "Push Hook" | "Tag Push Hook" | "tag_push" => {
            let push = push(repo, json(provider, headers, &body)?)?;
            Ok(match push.refname.kind() {
                // As the git hook has it: notes, pull requests and changes are nobody's deploy.
                RefKind::Other => {
                    Happened::Nothing(format!("[{}] {} is no branch and no tag", push.repo, push.refname))
                }
                RefKind::Branch | RefKind::Tag => Happened::Push(Box::new(push)),
            })
        }
        // Gitea tells of a deleted ref by this event alone, and not what it was.
        "delete" if provider == Provider::Gitea => {
            let gone: RefBody = json(provider, headers, &body)?;
            Ok(Happened::Push(Box::new(deletion(repo, gone)?)))
        }
        // GitHub (and for a creation Gitea) sends a push as well.
        "create" | "delete" => {
            let body: RefBody = json(provider, headers, &body)?;
            let what = if event == "create" { "created" } else { "deleted" };
            let (kind, name) = (short(body.ref_type), short(body.name));
            Ok(Happened::Human(format!("[{repo}] {kind} {name} {what}{}", by(body.sender.as_ref()))))
        }
        "pull_request" | "Merge Request Hook" | "merge_request" => change(&repo, json(provider, headers, &body)?),
        _ => Ok(Happened::Nothing(format!("[{repo}] {}", short(event)))),
    }
}

/// Which event it is: what the header says, or where there is none (a body on stdin) what it looks like.
fn event(provider: Provider, headers: &Headers, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Marks {
        // GitLab's.
        object_kind: Option<String>,
        event_name: Option<String>,
        #[serde(rename = "ref")]
        reference: Option<IgnoredAny>,
        ref_type: Option<IgnoredAny>,
        master_branch: Option<IgnoredAny>,
        sha: Option<IgnoredAny>,
        before: Option<IgnoredAny>,
        pull_request: Option<IgnoredAny>,
        zen: Option<IgnoredAny>,
    }
    let named = provider.event(headers);
    let by_body = match named {
        None => true,
        // A system hook carries every kind of event.
        Some(name) => provider == Provider::Gitlab && name == "System Hook",
    };
    if !by_body {
        return named.unwrap_or_default().to_owned();
    }
    let seen = serde_json::from_slice(body).ok().and_then(|marks: Marks| match marks {
        Marks { object_kind: Some(kind), .. } | Marks { event_name: Some(kind), .. } => Some(kind),
        Marks { before: Some(_), reference: Some(_), .. } => Some("push".to_owned()),
        Marks { pull_request: Some(_), .. } => Some("pull_request".to_owned()),
        // GitHub's and Gitea's mark of what was created.
        Marks { ref_type: Some(_), master_branch: Some(_), .. } | Marks { ref_type: Some(_), sha: Some(_), .. } => {
            Some("create".to_owned())
        }
        Marks { ref_type: Some(_), .. } => Some("delete".to_owned()),
        Marks { zen: Some(_), .. } => Some("ping".to_owned()),
        _ => None,
    });
    seen.or_else(|| named.map(str::to_owned)).unwrap_or_else(|| "push".to_owned())
}

fn push(repo: RepoName, body: PushBody) -> Result<Push, Error> {
    let refname: RefName = body.refname.parse()?;
    let kind = match (body.before.is_zero(), body.after.is_zero()) {
        (_, true) => Kind::Delete,
        (true, false) => Kind::Create,
        (false, false) if body.forced => Kind::Rewrite,
        (false, false) => Kind::Update,
    };
    let listed = body.commits.unwrap_or_default();
    let total = body.total_commits_count.or(body.total_commits).unwrap_or(0).max(listed.len() as u64);
    // Forges list the oldest first.
    let commits: Vec<Commit> = listed.into_iter().rev().take(COMMITS_MAX).map(Commit::from).collect();
    let peeled = match (kind, refname.kind()) {
        (Kind::Delete, _) => None,
        // `after` is the tag object of an annotated tag; these two are the commit behind it.
        (_, RefKind::Tag) => body.checkout_sha.or(body.head_commit.map(|commit| commit.id)),
        _ => Some(body.after.clone()),
    };
    let tag_object = peeled.as_ref().filter(|commit| **commit != body.after).map(|_| body.after.clone());
    let tag_message = body.message.filter(|_| tag_object.is_some());
    let names = [body.user_username, body.pusher.as_ref().and_then(Person::known_as), body.user_name];
    Ok(Push {
        repo,
        refname,
        old: body.before,
        new: body.after,
        kind,
        commits,
        total,
        tag_object,
        peeled,
        tag_message,
        user_name: names.into_iter().flatten().find(|name| !name.is_empty()),
        options: Vec::new(),
        note: None,
    })
}

fn deletion(repo: RepoName, gone: RefBody) -> Result<Push, Error> {
    let refname = match gone.ref_type.as_str() {
        _ if gone.name.starts_with("refs/") => gone.name.parse()?,
        "tag" => RefName::tag(&gone.name)?,
        _ => RefName::branch(&gone.name)?,
    };
    let sha256 = gone.repository.is_some_and(|r| r.object_format_name.as_deref() == Some("sha256"));
    let zeros: Rev = "0".repeat(if sha256 { 64 } else { 40 }).parse()?;
    Ok(Push {
        repo,
        refname,
        old: zeros.clone(),
        new: zeros,
        kind: Kind::Delete,
        commits: Vec::new(),
        total: 0,
        tag_object: None,
        peeled: None,
        tag_message: None,
        user_name: gone.sender.as_ref().and_then(Person::known_as),
        options: Vec::new(),
        note: None,
    })
}

fn change(repo: &RepoName, body: ChangeBody) -> Result<Happened, Error> {
    let who = by(body.sender.as_ref().or(body.user.as_ref()));
    let Some(change) = body.pull_request.or(body.object_attributes) else {
        return Ok(Happened::Nothing(format!("[{repo}] a change without attributes")));
    };
    let number = body.number.or(change.iid).map_or("?".to_owned(), |number| number.to_string());
    let action = body.action.or(change.action).or(change.state).unwrap_or_else(|| "changed".to_owned());
    let action = if change.merged == Some(true) && action == "closed" { "merged".to_owned() } else { action };
    Ok(Happened::Human(format!(
        "[{repo}] change {number} {}{who}: {}",
        short(action),
        short(change.title.unwrap_or_default())
    )))
}

fn by(person: Option<&Person>) -> String {
    person.and_then(Person::known_as).map_or_else(String::new, |name| format!(" by {}", short(name)))
}

/// A line for people stays a line, whatever a title is.
fn short(mut text: String) -> String {
    cut(&mut text, WORDS_MAX);
    text
}

fn json<T: DeserializeOwned>(provider: Provider, headers: &Headers, body: &[u8]) -> Result<T, Error> {
    let event = || provider.event(headers).unwrap_or("push").to_owned();
    serde_json::from_slice(body).map_err(|source| Error::Json { provider, event: event(), source })
}

/// GitHub's and Gitea's other content type: the JSON as the field `payload` of a form.
pub(super) fn unwrap_form<'a>(headers: &Headers, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let form = headers.get("Content-Type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !form {
        return Ok(Cow::Borrowed(body));
    }
    let field = body.split(|b| *b == b'&').find_map(|field| field.strip_prefix(b"payload="));
    field.map(|field| Cow::Owned(decode_form(field))).ok_or(Error::Form)
}

/// application/x-www-form-urlencoded: `+` is a space, `%XX` an octet; what is no octet stays as it is.
fn decode_form(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octet = (byte == b'%' && after.len() >= 2)
            .then(|| std::str::from_utf8(&after[..2]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match (byte, octet) {
            (_, Some(octet)) => {
                out.push(octet);
                rest = &after[2..];
            }
            (b'+', None) => out.push(b' '),
            (other, None) => out.push(other),
        }
    }
    out
}
