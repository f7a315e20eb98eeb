//! What became of each release: one JSON file beside the releases, never inside a served folder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::revision::{Part, Revision};

/// A moment, in JSON as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct When(pub jiff::Timestamp);

impl When {
    /// Now, to the microsecond.
    pub fn now() -> When {
        When(jiff::Timestamp::now())
    }
}

impl TryFrom<String> for When {
    type Error = jiff::Error;
    fn try_from(text: String) -> Result<When, jiff::Error> {
        text.parse().map(When)
    }
}

impl From<When> for String {
    fn from(when: When) -> String {
        format!("{:.6}", when.0)
    }
}

impl fmt::Display for When {
    /// For people: to the second, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// A folder in `releases/`: one path component. Ours are `YYYYmmddHHMMSS-HASH`, but others' are accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseName(String);

/// Why a word is no release's name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no release: a name such as 20260131120000-1a2b3c4 is expected; `failcake state SITE` lists them")]
pub struct NoReleaseName(String);

impl ReleaseName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a release of `revision` made at `when`.
    pub(super) fn new(when: jiff::Timestamp, revision: &Revision) -> ReleaseName {
        ReleaseName(format!("{}-{}", when.strftime("%Y%m%d%H%M%S"), revision.short()))
    }

    /// The moment in the name, if it has one.
    pub(super) fn moment(&self) -> Option<jiff::Timestamp> {
        let digits = self.0.get(..14)?;
        let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }
}

impl FromStr for ReleaseName {
    type Err = NoReleaseName;
    fn from_str(word: &str) -> Result<Self, NoReleaseName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if word.is_empty() || word.len() > 200 || word.starts_with(['.', '-']) || !word.chars().all(legal) {
            return Err(NoReleaseName(word.chars().take(100).collect()));
        }
        Ok(ReleaseName(word.to_owned()))
    }
}

impl TryFrom<String> for ReleaseName {
    type Error = NoReleaseName;
    fn try_from(word: String) -> Result<Self, NoReleaseName> {
        word.parse()
    }
}

impl From<ReleaseName> for String {
    fn from(name: ReleaseName) -> String {
        name.0
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a release came. Whether it is served now is what `current` says, not this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its run works on it, or died while it did.
    Building,
    /// Whole and durable, and waits for its turn in a plan that several hosts follow.
    Staged,
    /// Whole and durable, but never switched to.
    Ready,
    /// It was or is live.
    Live,
    /// A step failed; see [`Record::failed_at`].
    Failed,
}

/// The steps at which a deploy can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Writing the tree.
    Stage,
    /// Linking what is shared.
    Shared,
    /// The script of this name.
    PreDeploy,
    /// The script of this name.
    PreLink,
    /// Making everything durable and switching.
    Switch,
    /// The script of this name.
    PostDeploy,
}

impl Step {
    /// As in JSON, and as the scripts are named.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Stage => "stage",
            Step::Shared => "shared",
            Step::PreDeploy => "pre-deploy",
            Step::PreLink => "pre-link",
            Step::Switch => "switch",
            Step::PostDeploy => "post-deploy",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// That a release was rolled back from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolledBack {
    /// Who did it.
    pub by: String,
    /// When.
    pub at: When,
    /// To which release.
    pub to: ReleaseName,
}

/// The history of one release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its folder in `releases/`.
    pub release: ReleaseName,
    /// The tag, branch or commit that was asked for.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The [`Revision::id`]; unknown for an adopted release without `REVISION`.
    pub commit: Option<String>,
    /// The parts of a link farm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The release that was live when it was begun.
    pub previous: Option<ReleaseName>,
    /// Who asked.
    pub who: String,
    /// Of the request.
    pub request_id: String,
    /// How far it came.
    pub state: State,
    /// Where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Step>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When its run began.
    pub begun: When,
    /// When it was first switched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_live: Option<When>,
    /// When it was last switched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_since: Option<When>,
    /// When another one was switched to. Unset while it is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<When>,
    /// It was rolled back from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// Staged ahead of its turn: kept until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_until: Option<When>,
    /// It went live, but its run died before `post-deploy` had ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Files of the commit.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
}

impl Record {
    /// May a rollback pick it: it was live, nothing failed, and nobody rolled back from it.
    pub fn is_good(&self) -> bool {
        self.state == State::Live && self.rolled_back.is_none()
    }

    /// What it is of; `None` for an adopted release without `REVISION`.
    pub fn revision(&self) -> Option<Revision> {
        if self.parts.is_empty() {
            return Revision::parse(self.commit.as_deref()?);
        }
        Some(Revision::Farm(self.parts.clone()))
    }

    /// The parts that its deploy was asked for, in that order; the others were left as they were.
    pub fn asked(&self) -> Vec<&Part> {
        let words = self.reference.split(' ');
        words.filter_map(|word| self.parts.iter().find(|part| part.asked() == word)).collect()
    }

    /// The commit that was deployed; of a link farm, those of the repositories that were asked for.
    pub fn commits(&self) -> String {
        let asked: Vec<&str> = self.asked().into_iter().map(|part| part.commit.as_str()).collect();
        if asked.is_empty() { self.commit.clone().unwrap_or("?".to_owned()) } else { asked.join(" ") }
    }

    /// Marks it as served from now on.
    pub(super) fn go_live(&mut self, now: When) {
        self.state = State::Live;
        self.first_live.get_or_insert(now);
        self.live_since = Some(now);
        self.left = None;
        self.rolled_back = None;
    }
}
