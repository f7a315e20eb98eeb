//! The trees that a link farm leads to: one commit of one repository each, never changed, shared by all releases of the site
//! that have it.
//!
//! ```text
//! SITE/trees/REPO-COMMIT                              published whole, by a rename
//! SITE/.failcake/trees/REPO-COMMIT                    being written; cleared by the next run
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::held::Held;
use super::{Error, Place, ReleaseName, at, list};
use crate::name::{RepoName, Rev};
use crate::process;

/// A folder in `trees/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeName(String);

impl TreeName {
    /// The tree of a commit. No repository's name holds a `=`, so no two trees have one name.
    pub fn new(repo: &RepoName, commit: &Rev) -> TreeName {
        TreeName(format!("{}-{commit}", repo.as_str().replace('/', "=")))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TreeName {
    type Err = String;
    fn from_str(word: &str) -> Result<TreeName, String> {
        if word.is_empty() || word.starts_with('.') || word.contains(['/', '\0']) {
            return Err(format!("{word:?} is no tree"));
        }
        Ok(TreeName(word.to_owned()))
    }
}

impl TryFrom<String> for TreeName {
    type Error = String;
    fn try_from(word: String) -> Result<TreeName, String> {
        word.parse()
    }
}

impl From<TreeName> for String {
    fn from(name: TreeName) -> String {
        name.0
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    /// The folder of all trees.
    pub fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    /// Is that tree there? Then it is whole: it got its name when it was.
    pub fn has_tree(&self, name: &TreeName) -> bool {
        fs::symlink_metadata(self.trees().join(name.as_str())).is_ok_and(|meta| meta.is_dir())
    }

    /// For the git index of a tree that is being written.
    pub fn tree_index(&self) -> PathBuf {
        self.new_trees().join(".index")
    }

    pub(super) fn new_trees(&self) -> PathBuf {
        self.root.join(".failcake/trees")
    }
}

impl Held {
    /// An empty folder for a tree that is to be written. A crash leaves a part of it, which the next run clears.
    ///
    /// # Errors
    /// The disk says no.
    pub fn begin_tree(&self, name: &TreeName) -> Result<PathBuf, Error> {
        for folder in [self.new_trees(), self.trees()] {
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        }
        let folder = self.new_trees().join(name.as_str());
        fs::create_dir(&folder).map_err(at("create", &folder))?;
        Ok(folder)
    }

    /// Gives trees that are written their names. First all of them are made durable: a name in `trees/` is the promise that
    /// a tree is whole, also after a power cut. A crash leaves some published, which no release refers to yet, and the rest
    /// where the next run clears it.
    ///
    /// # Errors
    /// The disk says no.
    pub fn publish_trees(&self, names: &[&TreeName]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        self.sync()?;
        for name in names {
            let from = self.new_trees().join(name.as_str());
            fs::rename(&from, self.trees().join(name.as_str())).map_err(at("publish", &from))?;
        }
        Ok(())
    }

    /// Clears trees that were never finished.
    pub(super) fn clear_new_trees(&self) -> Result<(), Error> {
        if list(&self.new_trees())?.is_empty() {
            return Ok(());
        }
        self.put_into_trash(&self.new_trees())?;
        self.empty_trash();
        Ok(())
    }

    /// Removes trees that no release refers to any more, and that no process stands in. A release goes only when its grace is
    /// over, so nobody was sent here for as long.
    ///
    /// # Errors
    /// The disk says no.
    pub fn prune_trees(&self) -> Result<(), Error> {
        self.clear_new_trees()?;
        let names = list(&self.trees())?;
        if names.is_empty() {
            return Ok(());
        }
        let mut kept = BTreeSet::new();
        for release in list(&self.root.join("releases"))? {
            if let Some(name) = release.to_str().and_then(|name| name.parse::<ReleaseName>().ok()) {
                kept.extend(self.parts(&name).into_iter().filter_map(|part| part.tree));
            }
        }
        let surplus = names.iter().filter_map(|name| name.to_str()?.parse::<TreeName>().ok());
        let surplus: Vec<PathBuf> =
            surplus.filter(|name| !kept.contains(name)).map(|name| self.trees().join(name.as_str())).collect();
        if surplus.is_empty() {
            return Ok(());
        }
        let used = process::folders_in_use();
        for tree in surplus {
            let real = tree.canonicalize().unwrap_or_else(|_| tree.clone());
            if !used.iter().any(|used| used.starts_with(&real)) {
                self.put_into_trash(&tree)?;
            }
        }
        self.empty_trash();
        Ok(())
    }

    /// Puts a link to a tree into a release.
    ///
    /// # Errors
    /// As [`make_way`](Self::make_way).
    pub fn link_tree(&self, release: &ReleaseName, target: &Path, name: &TreeName) -> Result<(), Error> {
        self.link_up(release, target, &Path::new("trees").join(name.as_str()))
    }
}
