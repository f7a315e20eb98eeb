//! What is published where: one file, replaced as a whole.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::place::{self, Place};
use super::{Error, at};
use crate::durable::{self, Durable};
use crate::name::Rev;

const FILE: &str = "state.json";
/// In octets; some hundred for each directory.
const LONGEST: u64 = 256 << 20;

/// All publications of one repository.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// By directory.
    pub(super) published: BTreeMap<String, Published>,
    /// Trees that are about to take a directory's place.
    pub(super) under_way: BTreeMap<String, Published>,
    /// Trees that were replaced.
    pub(super) retired: Vec<Retired>,
    /// Directories that would have been removed, were they not so many.
    pub(super) held: Vec<String>,
}

/// One directory's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    /// The branch or tag.
    pub(super) reference: String,
    /// What it named: a commit, or a tag's own object.
    pub(super) id: Rev,
    pub(super) commit: Rev,
    /// The tree's name among ours.
    pub(super) tree: String,
    pub(super) inode: u64,
    pub(super) files: u64,
    pub(super) since: Timestamp,
    /// The commit that was there before.
    #[serde(default)]
    pub(super) previous: Option<Rev>,
    /// What is to be run after it has not succeeded yet.
    #[serde(default)]
    pub(super) owes_after: bool,
    /// What is in its way is somebody's, and is to be kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) adopts: bool,
}

/// A tree that was replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) tree: String,
    /// Whose place it had.
    pub(super) dir: String,
    pub(super) files: u64,
    pub(super) since: Timestamp,
}

impl State {
    pub(super) fn load(place: &Place) -> Result<State, Error> {
        let path = place.work().join(FILE);
        let wrong = |why: String| Error::State { path: path.clone(), why };
        let state: State = match place::read(&path, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(at("read", &path)(error)),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?,
        };
        // It is the user's file. What it names is moved about, by root perhaps, and stays in its folders.
        let both = || state.published.iter().chain(&state.under_way);
        let mut trees = both().map(|(_, it)| &it.tree).chain(state.retired.iter().map(|it| &it.tree));
        let mut dirs = both().map(|(dir, _)| dir);
        if let Some(tree) = trees.find(|tree| uuid::Uuid::try_parse(tree).is_err() || tree.len() != 32) {
            return Err(wrong(format!("{tree:?} is no tree")));
        }
        if let Some(dir) = dirs.find(|dir| dir.contains('/') || *dir == "." || *dir == "..") {
            return Err(wrong(format!("{dir:?} is no directory")));
        }
        drop((trees, dirs));
        Ok(state)
    }

    /// Durable when it returns.
    pub(super) fn save(&self, place: &Place) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| at("write", place.work())(error.into()))?;
        let path = place.work().join(FILE);
        durable::replace(place.work(), FILE, &text, Durable::Now).map_err(at("write", &path))
    }
}
