//! What `jenkins:` says: where the controller is, and which pushes start which jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::word::one_of;
use super::{SecretFile, SecretPlace};
use crate::name::RepoName;

/// `jenkins:`.
#[derive(Debug, Clone, Default)]
pub struct Jenkins {
    /// `url:` of the controller.
    pub url: Option<String>,
    /// `user:` of the API token.
    pub user: Option<String>,
    /// `token-file:` API token.
    pub token: Option<SecretFile>,
    /// `ca-file:` PEM; only these roots count then. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// `projects:` by repository, or by any name when they say `repo:`.
    pub projects: BTreeMap<RepoName, Project>,
}

/// One of `jenkins: projects:`. A project of an svn repository with several is called `REPOSITORY/PROJECT`.
#[derive(Debug, Clone)]
pub struct Project {
    /// `repo:` whose pushes count; default the entry's own name.
    pub repo: RepoName,
    /// `job:` or `jobs:` to start; at least one.
    pub jobs: Vec<JobName>,
    /// `ignore-refs:` refs that start nothing.
    pub ignore_refs: Option<Pattern>,
    /// `only-refs:` refs that start something; `None`: all.
    pub only_refs: Option<Pattern>,
    /// `parameters:` of the job, by name.
    pub parameters: BTreeMap<String, Template>,
    /// `token-file:` the job's own build token.
    pub token: Option<SecretPlace>,
}

/// A regular expression, found anywhere in a ref's full name.
#[derive(Debug, Clone)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        regex_lite::Regex::new(text).map(Pattern).map_err(|error| format!("{text:?} is no regular expression: {error}"))
    }

    /// Does it fit somewhere in `name`?
    pub fn fits(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// What an event can put into a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// `refs/heads/master`; svn: `trunk`, `branches/NAME`, `tags/NAME`.
    Ref,
    /// The branch's or tag's own name.
    Branch,
    /// The commit, or svn's revision.
    Commit,
    /// Who pushed.
    Who,
    /// The event's name.
    EventId,
    /// The repository's name on the bus.
    Repo,
}

const WORDS: [(&str, Word); 6] = [
    ("ref", Word::Ref),
    ("branch", Word::Branch),
    ("commit", Word::Commit),
    ("who", Word::Who),
    ("event-id", Word::EventId),
    ("repo", Word::Repo),
];

/// Text with places for words: `{branch}-{commit}`; `{{` is a brace.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Word(Word),
}

impl Template {
    /// # Errors
    /// A word that is not known, a brace that is not closed.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if let Some(after) = after.strip_prefix('{') {
                pieces.push(Piece::Text(format!("{before}{{")));
                rest = after;
                continue;
            }
            let Some((word, after)) = after.split_once('}') else {
                return Err(format!("{text:?} has a {{ without its }}: write a word such as {{ref}}, or {{{{"));
            };
            let known = WORDS.iter().find(|(name, _)| *name == word);
            let (_, word) =
                known.ok_or_else(|| one_of("word for braces", word, WORDS.iter().map(|(name, _)| *name)))?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Word(*word));
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Template { text: text.to_owned(), pieces })
    }

    /// The text with each word's value in its place. A value is not looked at for further words.
    pub fn fill(&self, value: impl Fn(Word) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Word(word) => value(*word),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Does it have a place for `word`?
    pub fn uses(&self, word: Word) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Word(there) if *there == word))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A job with its folders, `team/spog`, perhaps with the branch in it: `team/spog/{branch}`.
#[derive(Debug, Clone)]
pub struct JobName {
    text: String,
    parts: Vec<Template>,
}

impl JobName {
    /// # Errors
    /// Says what is no job's name.
    pub(super) fn parse(text: &str) -> Result<JobName, String> {
        let refuse = |what: &str| Err(format!("{text:?} is no job: {what}; write its full name, such as team/spog"));
        let mut parts = Vec::new();
        for part in text.trim_matches('/').split('/') {
            if part.is_empty() || part == "." || part == ".." {
                return refuse("a part of it is empty, '.' or '..'");
            }
            if part.chars().any(char::is_control) {
                return refuse("it holds a control character");
            }
            parts.push(Template::parse(part)?);
        }
        let odd = [Word::Ref, Word::Commit, Word::Who, Word::EventId];
        if parts.iter().any(|part| odd.into_iter().any(|word| part.uses(word))) {
            return refuse("only {branch} and {repo} can be part of a job's name");
        }
        Ok(JobName { text: text.trim_matches('/').to_owned(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Is it another job for each branch?
    pub fn uses_branch(&self) -> bool {
        self.parts.iter().any(|part| part.uses(Word::Branch))
    }

    /// The job's items, from the outermost folder inwards. A value that holds `/` stays within its part.
    pub fn fill(&self, value: impl Fn(Word) -> String) -> Vec<String> {
        self.parts.iter().map(|part| part.fill(&value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(word: Word) -> String {
        match word {
            Word::Branch => "{ref}/x".to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn templates_are_filled_once() {
        assert_eq!(Template::parse("a{branch}b{commit}").unwrap().fill(value), "a{ref}/xbCommit");
        assert_eq!(Template::parse("").unwrap().fill(value), "");
        assert_eq!(Template::parse("{{ref}{{{ref}").unwrap().fill(value), "{ref}{Ref");
        assert_eq!(Template::parse("plain }").unwrap().fill(value), "plain }");
        for (text, said) in
            [("{brnch}", "did you mean \"branch\"?"), ("{", "without its }"), ("{event_id}", "event-id")]
        {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_branchs_slash_makes_no_folder() {
        let job = JobName::parse("/team/spog {repo}/{branch}/").unwrap();
        assert_eq!(job.as_str(), "team/spog {repo}/{branch}");
        assert_eq!(job.fill(value), ["team", "spog Repo", "{ref}/x"]);
        for text in ["", "/", "a//b", "../a", "a/.", "a\nb", "a/{commit}"] {
            assert!(JobName::parse(text).is_err(), "{text:?}");
        }
    }
}
