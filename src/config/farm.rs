//! Link farms: sites that are built of several repositories and of directories with users' files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::file::{self, section};
use super::show::sparse;
use super::word::{Absolute, Below, nearest, word};
use super::{Repo, SvnRepo};
use crate::name::{RefName, RepoName, Rev};

/// `farm:` of a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Farm {
    /// `repos:`, at least one, each once.
    pub repos: Vec<Placed>,
    /// `user-root:` below which all directories are; there when there are some.
    pub user_root: PathBuf,
    /// `directories:` that no repository has.
    pub directories: Vec<Directory>,
}

/// A repository of a farm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placed {
    /// `repo:`, one of `repos:` of git.
    pub repo: RepoName,
    /// `target:` in the release; empty for the release itself (`.`).
    pub target: PathBuf,
    /// `base:` the tag, branch or commit that it has in the first farm.
    pub base: Option<String>,
}

/// A directory of users' files in a farm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directory {
    /// `source:` below `user-root:`.
    pub source: PathBuf,
    /// `target:` in the release.
    pub target: PathBuf,
}

impl Farm {
    /// Has something else its place inside this repository's files? Then they are in the farm itself: programs look for
    /// their neighbours by a file's real path (PHP's `__FILE__`), which a link leads away from the farm.
    pub fn holds_others(&self, placed: &Placed, shared: &[PathBuf]) -> bool {
        let others = self.repos.iter().map(|other| &other.target);
        let inner = others.chain(self.directories.iter().map(|directory| &directory.target)).chain(shared);
        placed.target.as_os_str().is_empty()
            || inner.into_iter().any(|inner| *inner != placed.target && inner.starts_with(&placed.target))
    }
}

section!(
    /// `farm:` of a site.
    FarmKeys {
        repos: Vec<PlacedKeys>,
        user_root: Absolute,
        directories: Vec<DirectoryKeys>,
    }
);

/// One of `farm: repos:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlacedKeys {
    repo: RepoName,
    target: Target,
    base: Option<Base>,
}

/// One of `farm: directories:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DirectoryKeys {
    source: Below,
    target: Below,
}

word!(
    /// A path in a release, or `.` for the release itself.
    Target(PathBuf), |word| {
        if Path::new(word) == Path::new(".") {
            return Ok(PathBuf::new());
        }
        let below: Result<Below, serde::de::value::Error> =
            Below::deserialize(serde::de::IntoDeserializer::into_deserializer(word));
        below.map(|below| below.0).map_err(|error| error.to_string())
    }
);
word!(
    /// What git may call a tag or a branch, or a full commit id.
    Base(String), |word| {
        if RefName::tag(word).is_err() && word.parse::<Rev>().is_err() {
            return Err(format!("{word:?} is no tag, no branch and no full commit id"));
        }
        Ok(word.to_owned())
    }
);

/// The farm, if it makes sense together with the site's other keys.
pub fn farm(
    keys: file::FarmKeys,
    shared: &[PathBuf],
    git: &BTreeMap<RepoName, Repo>,
    svn: &BTreeMap<RepoName, SvnRepo>,
) -> Result<Farm, String> {
    let directories: Vec<Directory> = keys
        .directories
        .unwrap_or_default()
        .into_iter()
        .map(|keys| Directory { source: keys.source.0, target: keys.target.0 })
        .collect();
    let user_root = match keys.user_root {
        Some(Absolute(root)) => root,
        None if directories.is_empty() => PathBuf::new(),
        None => return Err("directories: needs user-root:, the folder that they are below".to_owned()),
    };
    let mut repos: Vec<Placed> = Vec::new();
    for PlacedKeys { repo, target: Target(target), base } in keys.repos.unwrap_or_default() {
        if svn.contains_key(&repo) {
            return Err(format!("{repo} is of Subversion, and a farm is built of repositories of git"));
        }
        if !git.contains_key(&repo) {
            let hint = match nearest(repo.as_str(), git.keys().map(RepoName::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "add it there".to_owned(),
            };
            return Err(format!("{repo} is not in repos: {hint}"));
        }
        if repos.iter().any(|other| other.repo == repo) {
            return Err(format!("{repo} is in it twice, and a deploy could not tell which one is meant"));
        }
        repos.push(Placed { repo, target, base: base.map(|base| base.0) });
    }
    if repos.is_empty() {
        return Err("it has no repos: say which repositories it is built of, and where".to_owned());
    }
    check_places(&repos, &directories, shared)?;
    Ok(Farm { repos, user_root, directories })
}

/// A repository may have its place inside another one, but nothing inside what is somebody else's.
fn check_places(repos: &[Placed], directories: &[Directory], shared: &[PathBuf]) -> Result<(), String> {
    let show = |path: &Path| if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() };
    let linked: Vec<&PathBuf> = directories.iter().map(|directory| &directory.target).chain(shared).collect();
    let all: Vec<&PathBuf> = repos.iter().map(|placed| &placed.target).chain(linked.iter().copied()).collect();
    for (at, one) in all.iter().enumerate() {
        if all[at + 1..].contains(one) {
            return Err(format!("{} is the target of two", show(one)));
        }
        if one.starts_with("REVISION") {
            return Err("REVISION is the name of the file that says what a release is of".to_owned());
        }
    }
    for outer in linked {
        if let Some(inner) = all.iter().find(|inner| **inner != outer && inner.starts_with(outer)) {
            return Err(format!(
                "{} would be inside of {}, which belongs to the users' files",
                show(inner),
                show(outer)
            ));
        }
    }
    Ok(())
}

/// As the configuration has it.
pub fn show(farm: &Farm) -> Value {
    let target = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let repos = farm
        .repos
        .iter()
        .map(|placed| sparse(json!({ "repo": placed.repo, "target": target(&placed.target), "base": placed.base })));
    let directories =
        farm.directories.iter().map(|directory| json!({ "source": directory.source, "target": directory.target }));
    sparse(json!({
        "repos": repos.collect::<Vec<_>>(),
        "user-root": (!farm.directories.is_empty()).then_some(&farm.user_root),
        "directories": directories.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Source};

    fn load(farm: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failcake.yaml");
        let repos = "repos: { app: { path: /r/app }, lib: { path: /r/lib }, theme: { path: /r/theme }, code: { svn: 'svn://h/p' } }";
        std::fs::write(&path, format!("{repos}\nsites:\n  www: {{ path: /srv/www, {farm} }}\n")).unwrap();
        let loaded = Source { file: Some(path) }.load_in(&|_| None, std::path::Path::new("/nonexistent"));
        loaded.map_err(|error| error.0.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn what_holds_others_is_in_the_farm_itself() {
        let config = load(
            "shared: [app/cache], farm: { user-root: /data/user, directories: [ { source: a b, target: theme/img/ } ], repos: [ \
             { repo: app, target: app, base: v1 }, { repo: lib, target: ./app/lib }, { repo: theme, target: theme } ] }",
        )
        .unwrap();
        let site = &config.sites[&"www".parse().unwrap()];
        let farm = site.farm.as_ref().unwrap();
        assert_eq!((site.repo.as_str(), farm.repos[1].target.to_str()), ("app", Some("app/lib")));
        let holding = |farm: &super::Farm, shared| -> Vec<String> {
            farm.repos.iter().filter(|one| farm.holds_others(one, shared)).map(|one| one.repo.to_string()).collect()
        };
        assert_eq!(holding(farm, &site.shared), ["app", "theme"]);
        let shown = config.to_json()["sites"]["www"].clone();
        assert_eq!(shown["farm"]["repos"][0], serde_json::json!({ "repo": "app", "target": "app", "base": "v1" }));
        assert_eq!((&shown["repo"], &shown["farm"]["user-root"]), (&serde_json::Value::Null, &"/data/user".into()));
        let config = load("farm: { repos: [ { repo: app, target: . }, { repo: lib, target: apple } ] }").unwrap();
        let farm = config.sites[&"www".parse().unwrap()].farm.clone().unwrap();
        assert_eq!(holding(&farm, &[]), ["app"], "the release itself is no link");
        assert_eq!(config.to_json()["sites"]["www"]["farm"]["repos"][0]["target"], ".");
    }

    #[test]
    fn what_makes_no_farm_is_refused() {
        let app = "{ repo: app, target: . }";
        for (farm, wanted) in [
            ("repo: app, farm: { repos: [ { repo: app, target: . } ] }".to_owned(), "has repo: and farm:, keep one"),
            ("farm: { repos: [] }".to_owned(), "it has no repos"),
            ("farm: {}".to_owned(), "it has no repos"),
            ("farm: { repos: [ { repo: ap, target: . } ] }".to_owned(), "ap is not in repos: did you mean app?"),
            ("farm: { repos: [ { repo: code, target: . } ] }".to_owned(), "code is of Subversion"),
            (format!("farm: {{ repos: [ {app}, {{ repo: app, target: x }} ] }}"), "app is in it twice"),
            (format!("farm: {{ repos: [ {app}, {{ repo: lib, target: ./. }} ] }}"), ". is the target of two"),
            (
                format!("farm: {{ repos: [ {app}, {{ repo: lib, target: REVISION/x }} ] }}"),
                "REVISION is the name of the file",
            ),
            (format!("farm: {{ repos: [ {app}, {{ repo: lib, target: ../x }} ] }}"), "leaves its folder"),
            (format!("farm: {{ repos: [ {app}, {{ repo: lib, target: /x }} ] }}"), "leaves its folder"),
            (format!("farm: {{ repos: [ {app}, {{ repo: lib, target: x, base: 'v1^' }} ] }}"), "is no tag, no branch"),
            (format!("farm: {{ repos: [ {app} ], directories: [ {{ source: x, target: x }} ] }}"), "needs user-root:"),
            (
                format!("farm: {{ repos: [ {app} ], user-root: /u, directories: [ {{ source: ../x, target: x }} ] }}"),
                "leaves its folder",
            ),
            (
                format!(
                    "farm: {{ repos: [ {app}, {{ repo: lib, target: a/b/c }} ], user-root: /u, directories: [ {{ source: x, target: a/b }} ] }}"
                ),
                "a/b/c would be inside of a/b",
            ),
            (
                format!("shared: [a], farm: {{ repos: [ {app}, {{ repo: lib, target: a/b }} ] }}"),
                "a/b would be inside of a",
            ),
            (format!("mode: in-place, farm: {{ repos: [ {app} ] }}"), "a farm is switched"),
        ] {
            let error = load(&farm).unwrap_err();
            assert!(error.contains(wanted) && error.starts_with("failcake.yaml:"), "{farm}: {error}");
        }
    }
}
