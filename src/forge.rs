//! What the forges (GitHub, GitLab, Gitea and Forgejo) say in their webhooks, told apart and checked. No sockets, no files:
//! headers and body go in, what happened comes out.
//!
//! Sources: GitHub "Webhook events and payloads" and "Validating webhook deliveries"; GitLab "Webhook events" and
//! "Delivery headers"; Gitea "Webhooks".

#[cfg(test)]
mod hostile;
mod payload;
mod signature;
#[cfg(test)]
mod tests;

pub use signature::is_authentic;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::message::push::Push;
use crate::name::RepoName;

/// Who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// GitHub, and GitHub Enterprise.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

/// The headers of one delivery. Of names the case does not matter.
#[derive(Debug, Clone, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Takes name and value pairs, as HTTP has them.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Headers {
        Headers(pairs.into_iter().collect())
    }

    /// Takes what a CGI program is given: `HTTP_X_GITHUB_EVENT` and `CONTENT_TYPE` (RFC 3875, section 4.1.18).
    pub fn from_cgi(variables: impl IntoIterator<Item = (String, String)>) -> Headers {
        let name = |variable: String| {
            let name = variable.strip_prefix("HTTP_").or((variable == "CONTENT_TYPE").then_some(&variable))?;
            Some(name.replace('_', "-"))
        };
        Headers(variables.into_iter().filter_map(|(variable, value)| Some((name(variable)?, value))).collect())
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Provider {
    /// Who sent a delivery with these headers. Gitea first: it sends GitHub's headers too.
    pub fn detect(headers: &Headers) -> Option<Provider> {
        let has = |name| headers.get(name).is_some();
        if has("X-Gitea-Event") || has("X-Forgejo-Event") {
            Some(Provider::Gitea)
        } else if has("X-Gitlab-Event") {
            Some(Provider::Gitlab)
        } else if has("X-GitHub-Event") {
            Some(Provider::Github)
        } else {
            None
        }
    }

    /// Who sent a body that came without headers, by what only that forge writes into it.
    pub fn detect_body(body: &[u8]) -> Option<Provider> {
        #[derive(Deserialize)]
        struct Marks {
            object_kind: Option<IgnoredAny>,
            event_name: Option<IgnoredAny>,
            total_commits: Option<IgnoredAny>,
            zen: Option<IgnoredAny>,
            repository: Option<RepositoryMarks>,
        }
        #[derive(Deserialize)]
        struct RepositoryMarks {
            default_merge_style: Option<IgnoredAny>,
            object_format_name: Option<IgnoredAny>,
            node_id: Option<IgnoredAny>,
        }
        let marks: Marks = serde_json::from_slice(body).ok()?;
        let has = |mark: fn(&RepositoryMarks) -> bool| marks.repository.as_ref().is_some_and(mark);
        if marks.object_kind.is_some() || marks.event_name.is_some() {
            Some(Provider::Gitlab)
        } else if marks.total_commits.is_some()
            || has(|r| r.default_merge_style.is_some() || r.object_format_name.is_some())
        {
            Some(Provider::Gitea)
        } else if marks.zen.is_some() || has(|r| r.node_id.is_some()) {
            Some(Provider::Github)
        } else {
            None
        }
    }

    /// The name of one delivery, the same when the forge sends it again.
    pub fn delivery_id(self, headers: &Headers) -> Option<&str> {
        let names: &[&str] = match self {
            Provider::Github => &["X-GitHub-Delivery"],
            // The event's id is shared by all webhooks that one event reaches; the key is this delivery's, and its retries'.
            Provider::Gitlab => &["Idempotency-Key", "X-Gitlab-Event-UUID"],
            Provider::Gitea => &["X-Gitea-Delivery", "X-Forgejo-Delivery"],
        };
        names.iter().find_map(|name| headers.get(name)).filter(|id| !id.is_empty())
    }

    /// The event's name in the headers, such as `push`.
    fn event(self, headers: &Headers) -> Option<&str> {
        match self {
            Provider::Github => headers.get("X-GitHub-Event"),
            Provider::Gitlab => headers.get("X-Gitlab-Event"),
            Provider::Gitea => headers.get("X-Gitea-Event").or_else(|| headers.get("X-Forgejo-Event")),
        }
    }
}

/// A repository as a forge names it, before it has a name on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `group/project`.
    pub full_name: String,
    /// Every URL that it can be cloned from.
    pub urls: Vec<String>,
}

/// What a delivery tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A ref changed.
    Push(Box<Push>),
    /// Something that only people care about: a merge request, a branch's creation. One line.
    Human(String),
    /// Nothing to tell (a ping, an event that nobody needs), and why.
    Nothing(String),
}

/// Why a body is no delivery of that forge. Answered with 400.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither headers nor body tell who sent it.
    #[error("it has no X-GitHub-Event, X-Gitlab-Event or X-Gitea-Event header, and its body is of none of the three")]
    Provider,
    /// A form without a payload.
    #[error("the form has no field \"payload\"")]
    Form,
    /// The JSON is broken, or lacks what a push must have.
    #[error("the body is no {provider:?} {event} event: {source}")]
    Json {
        /// Who seems to have sent it.
        provider: Provider,
        /// Which event its header names.
        event: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
}

/// The repository that a delivery is about, looked at before anything else is believed: it decides whose secret counts.
///
/// # Errors
/// As [`read`].
pub fn origin(provider: Provider, headers: &Headers, body: &[u8]) -> Result<Option<Origin>, Error> {
    payload::origin(provider, headers, body)
}

impl Origin {
    /// What the repository is called where the configuration has no name for it: `project` of `group/project`.
    ///
    /// # Errors
    /// It is no name.
    pub fn own_name(&self) -> Result<RepoName, Error> {
        Ok(self.full_name.rsplit('/').next().unwrap_or_default().parse()?)
    }
}

/// Reads a delivery about the repository that the bus calls `repo`.
///
/// # Errors
/// The body is not what its headers say, or a name in it is hostile.
pub fn read(provider: Provider, headers: &Headers, body: &[u8], repo: RepoName) -> Result<Happened, Error> {
    payload::read(provider, headers, body, repo)
}
