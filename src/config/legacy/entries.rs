//! The old sections, one function each: repositories, projects, sites, topics.

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::new::{Access, Project, Repo};
use super::ruby::{Node, Value, symbol};
use super::{KEYS, New, Place, Tool, unknown};
use crate::config::word::{
    Absolute, AccessWord, Branch, Destination, ModeWord, PatternWord, UserName, WebUrl, nearest,
};
use crate::config::{Error, JobName, Mode, Secret};
use crate::name::{RepoName, SiteName};

/// Checks a word by the rules of the new key that it is for.
pub fn word<T: DeserializeOwned>(place: Place, key: &str, node: &Node) -> Result<T, Error> {
    let text = node.text().map_err(|what| place.error(node.line, key, what))?;
    checked(text).map_err(|what| place.error(node.line, key, what))
}

/// Checks a text by the rules of a new key.
pub fn checked<T: DeserializeOwned>(text: &str) -> Result<T, WordError> {
    let words: StrDeserializer<'_, WordError> = text.into_deserializer();
    T::deserialize(words)
}

fn optional<T: DeserializeOwned>(place: Place, entry: &Node, key: &str) -> Result<Option<T>, Error> {
    entry.get(key).map(|node| word(place, key, node)).transpose()
}

/// `/topic/` and the name, as the daemons wrote it. One that begins with a slash says itself what it is.
pub fn destination(kind: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("/{kind}/{name}") }
}

pub fn topics(new: &mut New, place: Place, topics: &[&'static str], key: &str, node: &Node) -> Result<(), Error> {
    let Destination(name) = word(place, key, node)?;
    for topic in topics {
        new.topics.insert(topic, destination("topic", &name));
    }
    if topics.is_empty() {
        new.warnings.push(format!("{}: {key}: the tool that this file is for never used it", place.line(node.line)));
    }
    Ok(())
}

pub fn repos(new: &mut New, place: Place, key: &str, node: &Node) -> Result<(), Error> {
    for (name, entry) in node.map().map_err(|what| place.error(node.line, key, what))? {
        let repo = repo(new, place, name, entry)?;
        new.repos.insert(repo_name(place, name, entry)?, repo);
    }
    Ok(())
}

fn repo_name(place: Place, name: &str, node: &Node) -> Result<RepoName, Error> {
    name.parse().map_err(|error| place.error(node.line, name, error))
}

fn repo(new: &mut New, place: Place, name: &str, entry: &Node) -> Result<Repo, Error> {
    const KNOWN: [&str; 5] = ["user", "repo", "target", "mode", "branch"];
    let keys = entry.map().map_err(|what| place.error(entry.line, name, what))?;
    for (key, node) in keys.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        unknown(new, place, node.line, key, KNOWN.into_iter());
    }
    let Some(Absolute(path)) = optional(place, entry, "repo")? else {
        return Err(place.error(entry.line, name, "the repository has no repo: say where its clone is"));
    };
    let target = optional(place, entry, "target")?.map(|Absolute(path)| path);
    let branch = optional(place, entry, "branch")?.map(|Branch(branch)| branch);
    // Without a mode the daemon fetched, and told that nothing is no mode.
    let mut mode = match entry.get("mode") {
        Some(node) => {
            let text = node.text().map_err(|what| place.error(node.line, "mode", what))?;
            checked::<ModeWord>(symbol(text)).map_err(|what| place.error(node.line, "mode", what))?.0
        }
        None => Mode::Fetch,
    };
    let branch_wanted = entry.get("mode").is_some_and(|node| node.text() == Ok("branch"));
    if branch_wanted && branch.is_none() {
        // No branch's name was ever equal to none.
        new.warnings.push(format!(
            "{}: {name}: mode branch without a branch never checked anything out: it is taken for mode normal",
            place.line(entry.line)
        ));
        mode = Mode::Fetch;
    }
    if mode.has_target() && target.is_none() {
        return Err(place.error(entry.line, name, format_args!("mode {mode} needs a target: say where to publish")));
    }
    Ok(Repo { path, user: optional(place, entry, "user")?.map(|UserName(user)| user), mode, target, branch })
}

pub fn jenkins_url(new: &mut New, place: Place, key: &str, node: &Node) -> Result<(), Error> {
    let WebUrl(url) = word(place, key, node)?;
    new.jenkins_url = Some(url);
    Ok(())
}

/// By repository; an svn repository has its projects one level deeper, which become `REPOSITORY/PROJECT`.
pub fn projects(new: &mut New, place: Place, key: &str, node: &Node) -> Result<(), Error> {
    for (name, entry) in node.map().map_err(|what| place.error(node.line, key, what))? {
        let keys = entry.map().map_err(|what| place.error(entry.line, name, what))?;
        let flat = keys.iter().any(|(_, node)| matches!(node.value, Value::Text(_)));
        if flat {
            let project = project(new, place, name, entry)?;
            new.projects.insert(repo_name(place, name, entry)?, project);
            continue;
        }
        for (below, entry) in keys {
            let project = project(new, place, below, entry)?;
            new.projects.insert(repo_name(place, &format!("{name}/{below}"), entry)?, project);
        }
    }
    Ok(())
}

fn project(new: &mut New, place: Place, name: &str, entry: &Node) -> Result<Project, Error> {
    const KNOWN: [&str; 3] = ["project", "ticket", "ignore_refs"];
    let keys = entry.map().map_err(|what| place.error(entry.line, name, what))?;
    for (key, node) in keys.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        unknown(new, place, node.line, key, KNOWN.into_iter());
    }
    let Some(job) = optional::<String>(place, entry, "project")? else {
        return Err(place.error(entry.line, name, "it has no project: say which Jenkins job to start"));
    };
    // Braces have a meaning in a new file.
    let job = job_name(&job).replace('{', "{{");
    JobName::parse(&job).map_err(|what| place.error(entry.line, name, what))?;
    Ok(Project {
        job,
        ignore_refs: optional::<PatternWord>(place, entry, "ignore_refs")?
            .map(|PatternWord(pattern)| pattern.as_str().replace("\\/", "/")),
        ticket: optional::<String>(place, entry, "ticket")?.filter(|ticket| !ticket.is_empty()).map(Secret),
    })
}

/// The daemon pasted the name into the path of a URL, so the old files have `%20` for a space and `a/job/b` for a job in
/// a folder.
fn job_name(pasted: &str) -> String {
    let mut name = String::with_capacity(pasted.len());
    let mut rest = pasted;
    while let Some(at) = rest.find('%') {
        name.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits.filter(u8::is_ascii_graphic).or(digits.filter(|byte| *byte == b' ')) {
            Some(byte) => {
                name.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                name.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    name.push_str(rest);
    name.replace("/job/", "/")
}

/// The daemon joined folder and distribution with nothing between: the folder ends in a slash there.
pub fn incoming(new: &mut New, place: Place, key: &str, node: &Node) -> Result<(), Error> {
    let Absolute(path) = word(place, key, node)?;
    new.incoming = Some(path.components().collect());
    Ok(())
}

pub fn sites(new: &mut New, place: Place, key: &str, node: &Node) -> Result<(), Error> {
    const KNOWN: [&str; 3] = ["file", "users", "type"];
    for (name, entry) in node.map().map_err(|what| place.error(node.line, key, what))? {
        if matches!(entry.value, Value::Text(_)) {
            // The web page's file: a label for people and the site behind it.
            new.dropped.push((format!("sites: {name}"), "a label of the old web page"));
            continue;
        }
        let keys = entry.map().map_err(|what| place.error(entry.line, name, what))?;
        for (key, node) in keys.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
            unknown(new, place, node.line, key, KNOWN.into_iter());
        }
        let site: SiteName = name.parse().map_err(|error| place.error(entry.line, name, error))?;
        let (Some(Absolute(file)), Some(kind)) = (optional(place, entry, "file")?, entry.get("type")) else {
            return Err(place.error(entry.line, name, "the site needs file and type (nginx or haproxy)"));
        };
        let kind = kind.text().map(symbol).map_err(|what| place.error(entry.line, name, what))?;
        let AccessWord(kind) = checked(kind).map_err(|what| place.error(entry.line, name, what))?;
        if entry.get("users").is_some() {
            new.dropped
                .push((format!("sites: {name}: users"), "failcake keeps who has access, and until when, itself"));
        }
        new.access.insert(site, Access { kind, file });
    }
    Ok(())
}

/// A key that the table does not have. The first generation had no lists: there a repository was a key whose value is
/// its folder, and a Jenkins job one whose value is its token.
pub fn stray(new: &mut New, place: Place, tool: &Tool, key: &str, node: &Node) -> Result<(), Error> {
    let known = || KEYS.iter().map(|(known, _)| *known);
    if nearest(key, known()).is_none()
        && let Value::Text(text) = &node.value
        && let Ok(name) = key.parse::<RepoName>()
    {
        if tool.name == "stomp-jenkins" {
            let project = Project { job: key.to_owned(), ignore_refs: None, ticket: Some(Secret(text.clone())) };
            new.projects.insert(name, project);
            return Ok(());
        }
        if tool.listen.contains(&"commits") && text.starts_with('/') {
            let Absolute(path) = word(place, key, node)?;
            new.repos.insert(name, Repo { path, user: None, mode: Mode::Fetch, target: None, branch: None });
            return Ok(());
        }
    }
    unknown(new, place, node.line, key, known());
    Ok(())
}
