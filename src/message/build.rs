//! A build's fate: the event that `jenkins-status` sends from a job's shell step.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Envelope, Error, Event, EventId, EventType};
use crate::name::{RefKind, RefName, RepoName, Rev};

/// What became of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Status {
    /// It has begun.
    Started,
    /// It passed.
    Success,
    /// It failed.
    Failure,
    /// It was built, and tests failed.
    Unstable,
    /// A person or a time-out ended it.
    Aborted,
}

impl Status {
    /// The topic key: what is neither begun nor passed goes to the failures, with its own status in the text.
    pub fn topic(self) -> &'static str {
        match self {
            Status::Started => "jenkins-started",
            Status::Success => "jenkins-success",
            Status::Failure | Status::Unstable | Status::Aborted => "jenkins-failure",
        }
    }

    /// The first word of the subject, as the old daemons split it.
    fn verb(self) -> &'static str {
        match self {
            Status::Started => "Begin",
            Status::Success => "Complete",
            Status::Failure | Status::Unstable | Status::Aborted => "Fail",
        }
    }

    /// The value of the text's `Status:`; `Cake` is what the old daemons call a failure.
    fn text(self) -> &'static str {
        match self {
            Status::Started => "Start job",
            Status::Success => "Success",
            Status::Failure => "Cake",
            Status::Unstable => "Unstable",
            Status::Aborted => "Aborted",
        }
    }
}

impl FromStr for Status {
    type Err = Error;
    fn from_str(word: &str) -> Result<Status, Error> {
        let all = [Status::Started, Status::Success, Status::Failure, Status::Unstable, Status::Aborted];
        all.into_iter().find(|s| s.text() == word).ok_or_else(|| Error::bad("Status", word, "no status of a build"))
    }
}

/// One build, as far as its job told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its fate.
    pub status: Status,
    /// `JOB_NAME`, folders and all.
    pub job: Option<String>,
    /// `BUILD_NUMBER`.
    pub number: Option<String>,
    /// `BUILD_URL`.
    pub url: Option<String>,
    /// What was built.
    pub repo: Option<RepoName>,
    /// Branch or tag that was built.
    pub refname: Option<RefName>,
    /// Commit that was built.
    pub commit: Option<Rev>,
    /// `CHANGE_ID`: the pull or merge request that was built.
    pub change: Option<String>,
    /// `FAILCAKE_EVENT_ID`: the push that it was started for, when failcake started it.
    pub cause: Option<EventId>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    repository: Option<Repository>,
    #[serde(rename = "ref")]
    refname: Option<String>,
    /// Under the name that a push has, so that a watcher of pushes can listen to passed builds instead.
    after: Option<String>,
    kind: String,
    status: String,
    job: Option<String>,
    number: Option<String>,
    url: Option<String>,
    change: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Repository {
    name: String,
}

impl Build {
    /// Reads the variables that Jenkins documents; each may be missing, and one that makes no sense counts as missing.
    ///
    /// Sources: Jenkins' "Using environment variables", the Git plugin's and the Branch API plugin's variables.
    pub fn from_environment(status: Status, variable: impl Fn(&str) -> Option<String>) -> Build {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        Build {
            status,
            job: variable("JOB_NAME"),
            number: variable("BUILD_NUMBER"),
            url: variable("BUILD_URL"),
            repo: variable("GIT_URL").and_then(|url| repo_of_url(&url)),
            refname: refname(&variable),
            commit: variable("GIT_COMMIT").and_then(|id| id.parse().ok()),
            change: variable("CHANGE_ID"),
            cause: variable("FAILCAKE_EVENT_ID").and_then(|id| id.parse().ok()),
        }
    }

    /// `Complete job 12 - [spog-tests] master 1a2b…`: what a person reads, and the old daemons split at spaces.
    pub fn subject(&self) -> String {
        let word = |value: &Option<String>, missing: &str| {
            value.as_deref().map_or_else(|| missing.to_owned(), |value| value.replace(char::is_whitespace, "_"))
        };
        let number = word(&self.number, "?");
        let job = word(&self.job, "unknown");
        let branch = self.refname.as_ref().map_or_else(|| "?".into(), |name| name.short());
        let commit = self.commit.as_ref().map_or("?", |commit| commit.as_str());
        format!("{} job {number} - [{job}] {branch} {commit}", self.status.verb())
    }

    /// The event for the status' topic.
    pub fn event(&self, id: EventId, time: jiff::Timestamp) -> Event {
        let json = Json {
            repository: self.repo.as_ref().map(|repo| Repository { name: repo.to_string() }),
            refname: self.refname.as_ref().map(|name| name.to_string()),
            after: self.commit.as_ref().map(|commit| commit.to_string()),
            kind: "build".to_owned(),
            status: self.status.text().to_owned(),
            job: self.job.clone(),
            number: self.number.clone(),
            url: self.url.clone(),
            change: self.change.clone(),
            cause: self.cause.map(|cause| cause.to_string()),
        };
        let json = serde_json::to_string(&json).unwrap_or_default();
        let line = |value: Option<&str>| value.unwrap_or_default().replace(char::is_control, " ");
        let body = format!(
            "Repo: {}\nURL: {}\nStatus: {}\nJSON: {json}\n",
            line(self.repo.as_ref().map(RepoName::as_str)),
            line(self.url.as_deref()),
            self.status.text(),
        );
        Event::new(id, EventType::Build, time, &self.subject(), body)
    }

    /// Reads a message of the `jenkins-*` topics: the JSON line if it is sound, else the text and the subject.
    ///
    /// # Errors
    /// No status, or one that is none.
    pub fn parse(envelope: &Envelope<'_>) -> Result<Build, Error> {
        let json = envelope.json().and_then(|text| serde_json::from_str::<Json>(text).ok());
        if let Some(json) = json.filter(|json| json.kind == "build") {
            return Ok(Build {
                status: json.status.parse()?,
                job: json.job,
                number: json.number,
                url: json.url,
                repo: json.repository.and_then(|repo| repo.name.parse().ok()),
                refname: json.refname.and_then(|name| name.parse().ok()),
                commit: json.after.and_then(|commit| commit.parse().ok()),
                change: json.change,
                cause: json.cause.and_then(|cause| cause.parse().ok()),
            });
        }
        let status = envelope.field("Status").ok_or(Error::Missing("Status"))?.parse()?;
        let repo = envelope.field("Repo").and_then(|repo| repo.parse().ok());
        let url = envelope.field("URL").filter(|url| !url.is_empty()).map(str::to_owned);
        // `Complete job 12 - [spog-tests] master 1a2b…`
        let words: Vec<&str> = envelope.header("subject").unwrap_or_default().split(' ').collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let known = |word: &str| Some(word.to_owned()).filter(|word| !matches!(word.as_str(), "" | "?" | "unknown"));
        Ok(Build {
            status,
            job: known(word(4).trim_start_matches('[').trim_end_matches(']')),
            number: known(word(2)),
            url,
            repo,
            refname: known(word(5)).and_then(|name| RefName::branch(&name).ok()),
            commit: word(6).parse().ok(),
            change: None,
            cause: None,
        })
    }
}

/// `git@git.example.org:web/spog.git` is `spog`: the last part, as a hook in that folder calls it.
fn repo_of_url(url: &str) -> Option<RepoName> {
    let url = url.trim_end_matches('/');
    let last = url.rsplit(['/', ':']).next()?;
    last.strip_suffix(".git").unwrap_or(last).parse().ok()
}

/// Branch or tag, without the remote's name.
fn refname(variable: &impl Fn(&str) -> Option<String>) -> Option<RefName> {
    if let Some(tag) = variable("TAG_NAME") {
        return RefName::tag(&tag).ok();
    }
    // In a multibranch job BRANCH_NAME is the branch itself, or PR-12 when a change is built.
    if let Some(branch) = variable("CHANGE_BRANCH").or_else(|| variable("BRANCH_NAME")) {
        return RefName::branch(&branch).ok();
    }
    let name = variable("GIT_BRANCH").filter(|name| name != "detached")?;
    if let Ok(full) = name.parse::<RefName>()
        && full.kind() != RefKind::Other
    {
        return Some(full);
    }
    let name = name.strip_prefix("refs/remotes/").or_else(|| name.strip_prefix("remotes/")).unwrap_or(&name);
    if let Some(tag) = name.strip_prefix("tags/") {
        return RefName::tag(tag).ok();
    }
    RefName::branch(name.strip_prefix("origin/").unwrap_or(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(variables: &[(&str, &str)]) -> Build {
        Build::from_environment(Status::Success, |name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn branch_of(variables: &[(&str, &str)]) -> Option<String> {
        build(variables).refname.map(|name| name.to_string())
    }

    fn parse(headers: &[(String, String)], body: &str) -> Result<Build, Error> {
        Build::parse(&Envelope::read(headers, body.as_bytes()).unwrap().unwrap())
    }

    const COMMIT: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";

    #[test]
    fn a_freestyle_job_tells_repository_branch_and_commit() {
        let built = build(&[
            ("JOB_NAME", "spog-tests"),
            ("BUILD_NUMBER", "12"),
            ("BUILD_URL", "https://jenkins.example.org/job/spog-tests/12/"),
            ("GIT_URL", "git@git.example.org:web/spog.git"),
            ("GIT_BRANCH", "origin/feature/x"),
            ("GIT_COMMIT", COMMIT),
        ]);
        assert_eq!(built.subject(), format!("Complete job 12 - [spog-tests] feature/x {COMMIT}"));
        let event = built.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        assert!(
            event.body.starts_with(
                "Repo: spog\nURL: https://jenkins.example.org/job/spog-tests/12/\nStatus: Success\nJSON: {"
            )
        );
        assert_eq!(parse(&event.headers, &event.body).unwrap(), built);
        let text = event.body.split("JSON:").next().unwrap();
        assert_eq!(parse(&event.headers, text).unwrap(), built, "the old text form");
    }

    #[test]
    fn the_branch_is_without_the_remotes_name() {
        assert_eq!(branch_of(&[("GIT_BRANCH", "origin/x")]).as_deref(), Some("refs/heads/x"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "x")]).as_deref(), Some("refs/heads/x"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "refs/heads/x")]).as_deref(), Some("refs/heads/x"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "refs/remotes/origin/a/b")]).as_deref(), Some("refs/heads/a/b"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "refs/tags/v1")]).as_deref(), Some("refs/tags/v1"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "tags/v1")]).as_deref(), Some("refs/tags/v1"));
        assert_eq!(branch_of(&[("GIT_BRANCH", "detached")]), None);
        assert_eq!(branch_of(&[("GIT_BRANCH", "")]), None);
        assert_eq!(branch_of(&[]), None);
        assert_eq!(branch_of(&[("GIT_BRANCH", "a b")]), None);
    }

    #[test]
    fn a_multibranch_job_tells_branch_tag_or_change() {
        assert_eq!(branch_of(&[("BRANCH_NAME", "a/b"), ("GIT_BRANCH", "a/b")]).as_deref(), Some("refs/heads/a/b"));
        assert_eq!(branch_of(&[("TAG_NAME", "v1"), ("BRANCH_NAME", "v1")]).as_deref(), Some("refs/tags/v1"));
        let change = build(&[("CHANGE_ID", "12"), ("CHANGE_BRANCH", "fix"), ("BRANCH_NAME", "PR-12")]);
        assert_eq!(
            (change.change.as_deref(), change.refname.unwrap().to_string().as_str()),
            (Some("12"), "refs/heads/fix")
        );
    }

    #[test]
    fn every_variable_may_be_missing_or_hostile() {
        let nothing = build(&[]);
        assert_eq!(nothing.subject(), "Complete job ? - [unknown] ? ?");
        let event = nothing.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(parse(&event.headers, &event.body).unwrap(), nothing);
        let hostile = build(&[
            ("JOB_NAME", "a\nStatus: Success b"),
            ("BUILD_URL", "http://x\nStatus: Cake"),
            ("GIT_URL", "x/../-rf"),
        ]);
        assert_eq!(hostile.repo, None);
        let event = hostile.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(event.subject.split(' ').count(), 7, "{}", event.subject);
        assert_eq!(event.body.lines().count(), 4);
    }

    #[test]
    fn what_failed_says_how() {
        for (status, topic, text) in [
            (Status::Started, "jenkins-started", "Start job"),
            (Status::Failure, "jenkins-failure", "Cake"),
            (Status::Unstable, "jenkins-failure", "Unstable"),
            (Status::Aborted, "jenkins-failure", "Aborted"),
        ] {
            assert_eq!((status.topic(), status.text()), (topic, text));
            assert_eq!(text.parse::<Status>().unwrap(), status);
        }
        assert!(parse(&[], "Repo: x\nStatus: Great\n").is_err());
    }
}
