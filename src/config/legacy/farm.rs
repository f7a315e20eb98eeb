//! The file of a site that is built of several repositories: one file a site, named after it, with no word about a broker.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::entries::{checked, word};
use super::new::sparse;
use super::ruby::{Node, Value};
use super::{New, Place, unknown};
use crate::config::Error;
use crate::config::farm::Base;
use crate::config::word::{Absolute, Below};
use crate::name::{RepoName, SiteName};

/// Keys that only such a file has.
const MARKS: [&str; 6] = ["site-root", "repo-root", "deploy-root", "user-root", "directorymap", "controldir"];

/// What the old agent refused to do without.
const REQUIRED: [&str; 3] = ["pre-deploy", "pre-link", "post-deploy"];

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Farm {
    /// Of the site.
    path: PathBuf,
    pub repos: Vec<Placed>,
    user_root: Option<PathBuf>,
    /// Source and target.
    directories: Vec<(PathBuf, PathBuf)>,
    scripts: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub repo: RepoName,
    /// Of the clone.
    pub path: PathBuf,
    target: PathBuf,
    base: Option<String>,
}

/// Is it such a file? Its `repo-list` has no names for keys, as the fetching daemon's has.
pub fn is_site(root: &Node) -> bool {
    let is_list = root.get("repo-list").is_some_and(|node| matches!(node.value, Value::List(_)));
    is_list || root.map().unwrap_or_default().iter().any(|(key, _)| MARKS.contains(&key.as_str()))
}

/// Reads all of it.
pub fn take(new: &mut New, place: Place, root: &Node) -> Result<(), Error> {
    let line = root.map().unwrap_or_default().first().map_or(root.line, |(_, node)| node.line);
    let name = place.path.file_stem().unwrap_or_default().to_string_lossy();
    let site: SiteName = name
        .parse()
        .map_err(|error| place.error(line, "the file", format_args!("is named after the site, and {error}")))?;
    let folder = |key: &str| root.get(key).map(|node| word(place, key, node).map(|Absolute(path)| path)).transpose();
    let needed = |key: &str| folder(key)?.ok_or_else(|| place.error(line, key, "is missing in the file of a site"));
    let (repo_root, deploy_root) = (needed("repo-root")?, needed("deploy-root")?);
    let user_root = folder("user-root")?;

    let mut repos = Vec::new();
    for entry in list(place, root, "repo-list")? {
        repos.push(placed(new, place, &repo_root, entry)?);
    }
    if repos.is_empty() {
        return Err(place.error(line, "repo-list", "is missing in the file of a site, or has nothing"));
    }
    let mut directories = Vec::new();
    for entry in list(place, root, "directorymap")? {
        let known = ["source", "target"];
        warn_of_others(new, place, entry, &known);
        let both = known.map(|key| below(place, entry, key));
        let [source, target] = both;
        directories.push((source?, target?));
    }
    if !directories.is_empty() && user_root.is_none() {
        return Err(place.error(line, "user-root", "is missing, and directorymap needs it"));
    }
    let scripts = folder("controldir")?.map(|control| scripts(&control, &deploy_root, &repos));
    let mut farm = Farm { path: deploy_root.join(site.as_str()), repos, user_root, directories, scripts };
    farm.go_into(Path::new(site.as_str()));
    new.farms.insert(site, farm);
    Ok(())
}

fn list<'a>(place: Place, root: &'a Node, key: &str) -> Result<&'a [Node], Error> {
    match root.get(key) {
        None => Ok(&[]),
        Some(Node { value: Value::List(entries), .. }) => Ok(entries),
        Some(node) => Err(place.error(node.line, key, "a list is wanted: lines that begin with a dash")),
    }
}

fn placed(new: &mut New, place: Place, repo_root: &Path, entry: &Node) -> Result<Placed, Error> {
    warn_of_others(new, place, entry, &["name", "target", "base_tag"]);
    let Some(name) = entry.get("name") else { return Err(place.error(entry.line, "name", "a repository has none")) };
    let repo: RepoName =
        word::<String>(place, "name", name)?.parse().map_err(|error| place.error(name.line, "name", error))?;
    let base = entry.get("base_tag").map(|node| {
        // A version number without quotes: Ruby put it into a text.
        let text = match &node.value {
            Value::Float(number) => format!("{number:?}"),
            _ => word(place, "base_tag", node)?,
        };
        checked::<Base>(&text).map(|base| base.0).map_err(|what| place.error(node.line, "base_tag", what))
    });
    let target = below(place, entry, "target")?;
    Ok(Placed { path: repo_root.join(repo.as_str()), repo, target, base: base.transpose()? })
}

fn warn_of_others(new: &mut New, place: Place, entry: &Node, known: &[&str]) {
    let keys = entry.map().unwrap_or_default();
    for (key, node) in keys.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        unknown(new, place, node.line, key, known.iter().copied());
    }
}

/// The agent put a slash before it, so that one more did no harm.
fn below(place: Place, entry: &Node, key: &str) -> Result<PathBuf, Error> {
    let Some(node) = entry.get(key) else { return Err(place.error(entry.line, key, "is missing")) };
    let text: String = word(place, key, node)?;
    let Below(path) = checked(text.trim_start_matches('/')).map_err(|what| place.error(node.line, key, what))?;
    Ok(path)
}

/// In the tree of a base tag, as the agent had it, they stand in the release itself.
fn scripts(control: &Path, deploy_root: &Path, repos: &[Placed]) -> PathBuf {
    let tree = |placed: &Placed| {
        let base = placed.base.as_ref()?;
        let inside = control.strip_prefix(deploy_root.join(format!("{}_{base}", placed.repo))).ok()?;
        Some(placed.target.join(inside))
    };
    repos.iter().find_map(tree).unwrap_or_else(|| control.to_owned())
}

impl Farm {
    /// Targets were below `site-root`, which several sites may share. Where all are below the site's own folder there, the
    /// release is that folder; otherwise it is what `site-root` was. Users' directories were always below the site's.
    fn go_into(&mut self, site: &Path) {
        let is_own = self.repos.iter().all(|placed| placed.target.starts_with(site));
        if !is_own {
            self.directories.iter_mut().for_each(|(_, target)| *target = site.join(&*target));
            return;
        }
        let inside = |path: &Path| match path.strip_prefix(site) {
            Ok(inside) if inside.as_os_str().is_empty() => PathBuf::from("."),
            Ok(inside) => inside.to_owned(),
            Err(_) => path.to_owned(),
        };
        self.repos.iter_mut().for_each(|placed| placed.target = inside(&placed.target));
        if let Some(scripts) = self.scripts.as_mut().filter(|scripts| scripts.is_relative()) {
            *scripts = inside(scripts);
        }
    }

    /// As an entry of `sites:`.
    pub(super) fn json(&self) -> Json {
        let repos = self
            .repos
            .iter()
            .map(|placed| sparse(json!({ "repo": placed.repo, "target": placed.target, "base": placed.base })));
        let directories: Vec<Json> =
            self.directories.iter().map(|(source, target)| json!({ "source": source, "target": target })).collect();
        let farm = sparse(json!({
            "repos": repos.collect::<Vec<_>>(),
            "user-root": self.user_root,
            "directories": (!directories.is_empty()).then_some(directories),
        }));
        sparse(json!({
            "path": self.path,
            "farm": farm,
            "scripts": self.scripts,
            "required": self.scripts.is_some().then_some(REQUIRED),
        }))
    }
}

#[cfg(test)]
mod tests;
