//! Which project a path belongs to: the directory above the first `trunk`, `branches` or `tags`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use super::look::{Action, Changed};

/// What stands below a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// `trunk`
    Trunk,
    /// `branches/NAME`
    Branch,
    /// `tags/NAME`
    Tag,
}

/// What happened to a line as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineChange {
    /// It is new.
    Create,
    /// Something in it changed.
    Update,
    /// It is gone.
    Delete,
    /// It was removed and made anew in one revision.
    Replace,
}

/// A trunk, a branch or a tag that a revision touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which of them.
    pub kind: LineKind,
    /// The branch's or the tag's name, one path component; empty for trunk.
    pub name: String,
    /// What happened to it.
    pub change: LineChange,
    /// Path and revision of which it is a copy.
    pub copied: Option<(String, u64)>,
}

/// What a revision did to one project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its directory, without `/` at either end. Empty for what lies at the repository's root, and for what belongs to
    /// no project.
    pub directory: String,
    /// Trunk, then branches, then tags; bounded.
    pub lines: Vec<Line>,
    /// How many there are in all.
    pub total_lines: u64,
    /// Directories whose entries or properties changed, each with a `/` at its end; bounded.
    pub dirs: Vec<String>,
    /// How many there are in all.
    pub total_dirs: u64,
    /// What changed, in svnlook's order; bounded.
    pub paths: Vec<Changed<'static>>,
    /// How many there are in all.
    pub total_paths: u64,
}

/// What a revision did, by project.
#[derive(Debug, Default)]
pub struct Projects {
    /// In the order of their directories; bounded.
    pub listed: Vec<Project>,
    /// How many there are in all.
    pub total: usize,
}

/// A path's place: its project's directory, and the line with whether the path is the whole of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) project: &'a str,
    pub(super) line: Option<(LineKind, &'a str, bool)>,
}

/// `None` for a path that is in no trunk, branches or tags. A plain file of such a name is none.
pub(super) fn place(path: &str) -> Option<Place<'_>> {
    let mut start = 0;
    while let Some(length) = path[start..].find('/') {
        let (word, rest) = (&path[start..start + length], &path[start + length + 1..]);
        let project = path[..start].trim_end_matches('/');
        let kind = match word {
            "trunk" => return Some(Place { project, line: Some((LineKind::Trunk, "", rest.is_empty())) }),
            "branches" => LineKind::Branch,
            "tags" => LineKind::Tag,
            _ => {
                start += length + 1;
                continue;
            }
        };
        let line = rest.split_once('/').map(|(name, below)| (kind, name, below.is_empty()));
        return Some(Place { project, line });
    }
    None
}

/// Sorts what changed by project, in two readings so that only what is listed is kept: at most `most_projects`, and of
/// each at most `most` lines, directories and paths. The totals are exact.
///
/// A new directory above a project of the same revision (`svn mkdir --parents`) is told with that project, for it is no
/// news of its own; whatever else is in no project is told of the repository itself.
pub fn projects<'a, I>(read: impl Fn() -> I, most_projects: usize, most: usize) -> Projects
where
    I: Iterator<Item = Changed<'a>>,
{
    let mut names = BTreeSet::new();
    for changed in read() {
        if let Some(place) = place(&changed.path)
            && !names.contains(place.project)
        {
            names.insert(place.project.to_owned());
        }
    }
    let mut building: HashMap<String, Building> = HashMap::new();
    let mut untold = HashSet::new();
    for changed in read() {
        let found = place(&changed.path);
        let project = match &found {
            Some(place) => place.project,
            None => project_below(&names, &changed).unwrap_or(""),
        };
        if !building.contains_key(project) {
            if building.len() >= most_projects {
                untold.insert(project.to_owned());
                continue;
            }
            building.insert(project.to_owned(), Building::default());
        }
        if let Some(building) = building.get_mut(project) {
            building.take(&changed, found.and_then(|place| place.line), most);
        }
    }
    let total = building.len() + untold.len();
    let mut listed: Vec<Project> = building.into_iter().map(|(name, building)| building.finish(name, most)).collect();
    listed.sort_by(|a, b| a.directory.cmp(&b.directory));
    Projects { listed, total }
}

/// The first touched project in or below a directory that the revision adds.
fn project_below<'n>(names: &'n BTreeSet<String>, changed: &Changed<'_>) -> Option<&'n str> {
    if changed.action != Action::Add {
        return None;
    }
    let directory = changed.path.strip_suffix('/')?;
    if let Some(itself) = names.get(directory) {
        return Some(itself);
    }
    let below = names.range::<str, _>((Bound::Included(changed.path.as_ref()), Bound::Unbounded)).next()?;
    below.starts_with(changed.path.as_ref()).then_some(below)
}

#[derive(Default)]
struct Building {
    project: Project,
    dirs: HashSet<String>,
    lines: HashMap<(LineKind, String), Line>,
}

impl Building {
    fn take(&mut self, changed: &Changed<'_>, line: Option<(LineKind, &str, bool)>, most: usize) {
        let path = changed.path.as_ref();
        self.dir(parent(path), most);
        if changed.properties && path.ends_with('/') {
            self.dir(path, most);
        }
        if let Some((kind, name, whole)) = line {
            self.line(kind, name, whole, changed);
        }
        self.project.total_paths += 1;
        if self.project.paths.len() < most {
            self.project.paths.push(changed.clone().into_owned());
        }
    }

    fn dir(&mut self, dir: &str, most: usize) {
        if !self.dirs.contains(dir) {
            self.dirs.insert(dir.to_owned());
            if self.project.dirs.len() < most {
                self.project.dirs.push(dir.to_owned());
            }
        }
    }

    fn line(&mut self, kind: LineKind, name: &str, whole: bool, changed: &Changed<'_>) {
        let change = match changed.action {
            Action::Add if whole => LineChange::Create,
            Action::Delete if whole => LineChange::Delete,
            _ => LineChange::Update,
        };
        let copied = changed.copied.as_ref().filter(|_| whole).map(|from| (from.path.clone().into_owned(), from.rev));
        match self.lines.get_mut(&(kind, name.to_owned())) {
            None => {
                let line = Line { kind, name: name.to_owned(), change, copied };
                self.lines.insert((kind, name.to_owned()), line);
            }
            Some(known) => {
                known.change = match (known.change, change) {
                    (LineChange::Delete, LineChange::Create) | (LineChange::Create, LineChange::Delete) => {
                        LineChange::Replace
                    }
                    (whole, LineChange::Update) => whole,
                    (_, other) => other,
                };
                known.copied = copied.or(known.copied.take());
            }
        }
    }

    fn finish(mut self, directory: String, most: usize) -> Project {
        let mut lines: Vec<Line> = self.lines.into_values().collect();
        lines.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        self.project.total_lines = lines.len() as u64;
        lines.truncate(most);
        Project { directory, lines, total_dirs: self.dirs.len() as u64, ..self.project }
    }
}

/// The directory that a path stands in; the root's own is the root.
fn parent(path: &str) -> &str {
    let bare = path.strip_suffix('/').unwrap_or(path);
    bare.rfind('/').map_or("/", |at| &path[..=at])
}

impl Changed<'_> {
    fn into_owned(self) -> Changed<'static> {
        let copied = self.copied.map(|from| super::Copied { path: from.path.into_owned().into(), rev: from.rev });
        Changed { action: self.action, properties: self.properties, path: self.path.into_owned().into(), copied }
    }
}
