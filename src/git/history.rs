//! What a push brought, read from the repository through libgit2: no process, and no work that grows with the number
//! of refs or the size of files.
//!
//! The rules, which people see in every event:
//!
//! - A branch that moved tells what came into it: the commits from its old value to its new one, like a forge does.
//! - A new branch, and any other ref, tells what no branch had before the push. So a tag on a known commit tells none.
//! - A commit is told once in a push: with a branch that moved, else with a new branch, else with a tag.

mod branches;
mod graph;
mod object;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use git2::{ErrorCode, ObjectFormat, ObjectType, Oid, Repository};

use self::graph::{Graph, Node, Relation};
use super::hook::Update;
use crate::name::{RefKind, RefName, Rev};

/// At most so many branches of the repository are compared with a new one. Reading a branch's tip costs about 20 µs;
/// a repository may have hundreds of thousands. What is missed is only told once more.
const BRANCHES_MAX: usize = 1000;

/// Paths told of one commit, and of all commits of one ref.
const PATHS_MAX: (usize, usize) = (200, 2000);

/// For the two questions that only git itself answers in a repository with reftables.
const GIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest chain of tags of tags that is followed.
const TAG_CHAIN_MAX: usize = 32;

/// Why a repository can't be read through libgit2. The push is told all the same, without its log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be opened.
    #[error("libgit2 can't open the repository: {0}")]
    Open(String),
    /// HEAD can't be read.
    #[error("HEAD can't be read: {0}")]
    Head(String),
}

/// What happened to a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Create,
    /// Forward.
    Update,
    /// Back.
    Rewind,
    /// Aside, or nobody knows.
    Rewrite,
    /// Gone.
    Delete,
}

/// An annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag object's own id.
    pub object: Rev,
    /// Its message, or its first 64 KiB.
    pub message: String,
}

/// What one update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// The newest commits that are told with this ref, newest first; read them with [`History::commits`].
    pub commits: Vec<Rev>,
    /// How many there are in all.
    pub total: u64,
    /// Set when the new value is an annotated tag.
    pub tag: Option<Tag>,
    /// The commit behind the new value.
    pub peeled: Option<Rev>,
    /// Why the log is missing or incomplete.
    pub problem: Option<String>,
}

impl Change {
    /// All that can be said of an update without looking into the repository.
    pub fn unread(update: &Update, problem: String) -> Change {
        let kind = match (update.old.is_zero(), update.new.is_zero()) {
            (_, true) => Kind::Delete,
            (true, false) => Kind::Create,
            (false, false) => Kind::Rewrite,
        };
        // What is gone has no log that could be missing.
        let problem = (kind != Kind::Delete).then_some(problem);
        Change { kind, commits: Vec::new(), total: 0, tag: None, peeled: None, problem }
    }
}

/// One commit, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: Rev,
    /// The message, or its first 64 KiB, in UTF-8.
    pub message: String,
    /// When the author wrote it: RFC 3339 with the author's offset, or empty.
    pub timestamp: String,
    /// The author's name; may be empty.
    pub name: String,
    /// The author's address; may be empty.
    pub email: String,
    /// New paths. The three lists hold at most 200 paths together, and none for a merge, as in `git log`.
    pub added: Vec<String>,
    /// Changed paths.
    pub modified: Vec<String>,
    /// Removed paths.
    pub removed: Vec<String>,
}

/// Where HEAD of a work tree stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The branch; `None` when HEAD is detached.
    pub branch: Option<RefName>,
    /// The commit.
    pub commit: Rev,
    /// Its first parent; zeros for a first commit.
    pub parent: Rev,
    /// A rebase, cherry-pick, bisect or the like is going on.
    pub busy: bool,
}

/// A repository, opened for reading.
pub struct History {
    repo: Repository,
}

/// Sets libgit2's process-wide options, which have no other way.
fn set_options() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The ids come from git, which has checked them; reading a commit costs a fifth less.
        git2::opts::strict_hash_verification(false);
        // SAFETY: libgit2 keeps these in plain statics. No other thread of this process uses libgit2 yet: this runs
        // before the first repository is opened, and only here.
        let results = unsafe {
            [
                // git has let the push in, so this repository is trusted already, whoever owns it; nothing that it
                // configures is ever run.
                git2::opts::set_verify_owner_validation(false),
                // Reftable: objects are found by their ids, refs are never looked up through libgit2 then. A partial
                // clone: what is missing is told as missing.
                git2::opts::set_extensions(&["refstorage", "partialclone", "compatobjectformat"]),
                // All that is wanted is in the repository's own config: three files less to look for.
                git2::opts::set_search_path(git2::ConfigLevel::System, ""),
                git2::opts::set_search_path(git2::ConfigLevel::Global, ""),
                git2::opts::set_search_path(git2::ConfigLevel::XDG, ""),
                git2::opts::set_search_path(git2::ConfigLevel::ProgramData, ""),
            ]
        };
        for error in results.into_iter().filter_map(Result::err) {
            log::debug!("libgit2 does not take an option: {error}");
        }
    });
}

impl History {
    /// Opens the repository that `GIT_DIR` names, as git does for its hooks, else the one around the current folder.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open_from_env() -> Result<History, Error> {
        set_options();
        let repo = Repository::open_from_env().map_err(|error| Error::Open(error.message().to_owned()))?;
        Ok(History { repo })
    }

    /// Opens the repository at `path`: a bare one, a `.git`, or a work tree.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path) -> Result<History, Error> {
        set_options();
        let repo = Repository::open(path).map_err(|error| Error::Open(error.message().to_owned()))?;
        Ok(History { repo })
    }

    /// The folder that all work trees share, absolute.
    pub fn common_dir(&self) -> PathBuf {
        let dir = self.repo.commondir();
        dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
    }

    /// `failcake.repo-name` in the repository's own config.
    pub fn configured_name(&self) -> Option<String> {
        self.repo.config().ok()?.get_string("failcake.repo-name").ok()
    }

    /// Compares the old and new values of all refs of one push, in the order of `updates`. At most `limit` commits are
    /// listed for each; totals are exact unless [`Change::problem`] says otherwise. Ends at about `deadline`.
    pub fn changes(&self, updates: &[Update], limit: usize, deadline: Instant) -> Vec<Change> {
        let mut graph = Graph::new(&self.repo, deadline);
        let mut ends: Vec<Ends> = updates.iter().map(|update| self.compare(&mut graph, update)).collect();
        let mut told = HashSet::new();
        let keep = |change: &mut Change, graph: &Graph<'_>, found: &[Node]| {
            change.total = found.len() as u64;
            change.commits = found.iter().take(limit).map(|node| rev(graph.id(*node))).collect();
        };
        let is_branch = |update: &Update| update.refname.kind() == RefKind::Branch;

        for (end, _) in ends.iter_mut().zip(updates).filter(|(end, update)| end.old.is_some() && is_branch(update)) {
            let Some(new) = end.new else { continue };
            let mut found = graph.new_commits(&[new], end.old.as_slice());
            found.retain(|node| told.insert(*node));
            keep(&mut end.change, &graph, &found);
            end.change.problem = end.change.problem.take().or(graph.take_problem());
        }

        let is_other = |end: &Ends, update: &Update| end.new.is_some() && (end.old.is_none() || !is_branch(update));
        let wanted: Vec<Node> = ends
            .iter()
            .zip(updates)
            .filter(|(end, update)| is_other(end, update))
            .filter_map(|(end, _)| end.new)
            .collect();
        if !wanted.is_empty() {
            let mut hidden: Vec<Node> = ends.iter().filter_map(|end| end.old).collect();
            hidden.extend(told.iter().copied());
            hidden.extend(self.other_branches(updates).into_iter().map(|id| graph.node(id)));
            let found = graph.new_commits(&wanted, &hidden);
            let problem = graph.take_problem();
            // One walk for all of them, for there may be thousands; then each takes what it reaches and no one took.
            let mut untold: HashMap<Node, usize> = found.iter().enumerate().map(|(at, node)| (*node, at)).collect();
            for branches in [true, false] {
                let others = ends.iter_mut().zip(updates).filter(|(end, update)| is_other(end, update));
                for (end, _) in others.filter(|(_, update)| is_branch(update) == branches) {
                    let mut places = Vec::new();
                    let mut stack = Vec::from_iter(end.new);
                    while let Some(node) = stack.pop() {
                        if let Some(place) = untold.remove(&node) {
                            places.push(place);
                            stack.extend(graph.parents(node));
                        }
                    }
                    places.sort_unstable();
                    let reached: Vec<Node> = places.into_iter().map(|place| found[place]).collect();
                    keep(&mut end.change, &graph, &reached);
                    end.change.problem = end.change.problem.take().or(problem.clone());
                }
            }
        }
        ends.into_iter().map(|end| end.change).collect()
    }

    /// Finds the commits behind both values, and the kind.
    fn compare(&self, graph: &mut Graph<'_>, update: &Update) -> Ends {
        let mut change = Change::unread(update, String::new());
        change.problem = None;
        let mut peel = |value| {
            self.peel(value).unwrap_or_else(|error: object::Error| {
                // What is gone has no log that could be missing.
                change.problem = (!update.is_delete()).then(|| error.to_string());
                Peeled::default()
            })
        };
        let (old, new) = (peel(&update.old), peel(&update.new));
        change.tag = new.tag;
        change.peeled = new.commit.map(rev);
        let (old, new) = (old.commit.map(|id| graph.node(id)), new.commit.map(|id| graph.node(id)));
        if let (Kind::Rewrite, Some(old), Some(new)) = (change.kind, old, new) {
            change.kind = match graph.relation(old, new) {
                Relation::Forward => Kind::Update,
                Relation::Back => Kind::Rewind,
                Relation::Apart => Kind::Rewrite,
            };
            change.problem = change.problem.take().or(graph.take_problem());
        }
        Ends { change, old, new }
    }

    /// Follows tags to what they stand for.
    fn peel(&self, value: &Rev) -> Result<Peeled, object::Error> {
        let mut peeled = Peeled::default();
        let Some(mut id) = oid(value).filter(|id| !id.is_zero()) else { return Ok(peeled) };
        for _ in 0..TAG_CHAIN_MAX {
            match object::header(&self.repo, id)?.1 {
                ObjectType::Commit => {
                    peeled.commit = Some(id);
                    break;
                }
                ObjectType::Tag => {
                    let data = object::read(&self.repo, id, ObjectType::Tag)?;
                    let (target, message) = object::tag_text(&data, self.repo.object_format());
                    peeled.tag.get_or_insert_with(|| Tag { object: rev(id), message });
                    let Some(target) = target else { break };
                    id = target;
                }
                _ => break,
            }
        }
        Ok(peeled)
    }

    /// Tips of branches that this push did not touch.
    fn other_branches(&self, updates: &[Update]) -> Vec<Oid> {
        let touched: HashSet<&[u8]> = updates.iter().map(|update| update.refname.as_bytes()).collect();
        if self.has_reftable() {
            return self.branches_by_git(&touched);
        }
        branches::tips(self.repo.commondir(), |name| touched.contains(name), BRANCHES_MAX)
    }

    fn has_reftable(&self) -> bool {
        let storage = self.repo.config().and_then(|config| config.get_string("extensions.refstorage"));
        storage.is_ok_and(|storage| storage == "reftable")
    }

    /// libgit2 can't read reftables: one run of git for the push.
    fn branches_by_git(&self, touched: &HashSet<&[u8]>) -> Vec<Oid> {
        let count = format!("--count={}", BRANCHES_MAX + touched.len());
        let arguments = ["--format=%(objectname) %(refname)", &count, "refs/heads"];
        let Ok(output) = self.git("for-each-ref", &arguments) else { return Vec::new() };
        let lines = output.split(|byte| *byte == b'\n');
        let words = lines.filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b' ')?));
        words
            .filter(|(_, name)| !touched.contains(&name[1..]))
            .filter_map(|(id, _)| oid(&String::from_utf8_lossy(id).parse().ok()?))
            .take(BRANCHES_MAX)
            .collect()
    }

    fn git(&self, verb: &str, arguments: &[&str]) -> Result<Vec<u8>, super::Error> {
        let mut command = super::create_command(None);
        // By its folder and not by looking for it: this repository is trusted already, whoever owns it.
        command.arg("--git-dir").arg(self.repo.path()).arg(verb).args(arguments);
        super::Call { user: None, timeout: GIT_TIMEOUT, stop: None }.run(verb, command, None)
    }

    /// Reads commits for people, with the paths that each changes against its parent. Ends at about `deadline`: later
    /// commits then have no paths.
    pub fn commits(&self, ids: &[Rev], deadline: Instant) -> Vec<Commit> {
        let mut paths_left = PATHS_MAX.1;
        ids.iter().filter_map(|id| self.commit(id, deadline, &mut paths_left).ok()).collect()
    }

    fn commit(&self, id: &Rev, deadline: Instant, paths_left: &mut usize) -> Result<Commit, object::Error> {
        let format = self.repo.object_format();
        let read = |id| object::commit(&self.repo, id, |data| object::commit_text(data, format));
        let oid = oid(id).ok_or(object::Error::Missing(Oid::ZERO_SHA1))?;
        let text = read(oid)?;
        let mut paths = object::Paths::default();
        if text.parents.len() < 2 && *paths_left > 0 && Instant::now() < deadline {
            let before = match text.parents.first() {
                Some(parent) => read(*parent).map(|parent| parent.tree),
                None => Ok(None),
            };
            let limit = PATHS_MAX.0.min(*paths_left);
            let compared = before.and_then(|before| object::changed_paths(&self.repo, before, text.tree, limit));
            // A parent or tree that is not there (shallow, partial) costs the paths and no more.
            paths = compared.unwrap_or_default();
        }
        *paths_left -= paths.added.len() + paths.modified.len() + paths.removed.len();
        Ok(Commit {
            id: id.clone(),
            message: text.message,
            timestamp: text.timestamp,
            name: text.name,
            email: text.email,
            added: paths.added,
            modified: paths.modified,
            removed: paths.removed,
        })
    }

    /// Where HEAD stands.
    ///
    /// # Errors
    /// [`Error::Head`]: there is no commit yet, or HEAD is broken.
    pub fn head(&self) -> Result<Head, Error> {
        let (branch, commit) = if self.has_reftable() { self.head_by_git()? } else { self.head_by_libgit2()? };
        let format = self.repo.object_format();
        let links = object::commit(&self.repo, commit, |data| object::links(data, format));
        let parent = links.map_err(|error| Error::Head(error.to_string()))?.1.first().copied();
        let zero = match format {
            ObjectFormat::Sha1 => Oid::ZERO_SHA1,
            ObjectFormat::Sha256 => Oid::ZERO_SHA256,
        };
        let busy = self.repo.state() != git2::RepositoryState::Clean;
        Ok(Head { branch, commit: rev(commit), parent: rev(parent.unwrap_or(zero)), busy })
    }

    fn head_by_libgit2(&self) -> Result<(Option<RefName>, Oid), Error> {
        let head = self.repo.head().map_err(|error| match error.code() {
            ErrorCode::UnbornBranch => Error::Head("there is no commit yet".to_owned()),
            _ => Error::Head(error.message().to_owned()),
        })?;
        let commit = head.target().ok_or_else(|| Error::Head("it names no commit".to_owned()))?;
        Ok((RefName::from_bytes(head.name_bytes()).ok(), commit))
    }

    fn head_by_git(&self) -> Result<(Option<RefName>, Oid), Error> {
        let output = self.git("rev-parse", &["HEAD", "--symbolic-full-name", "HEAD"]);
        let output = output.map_err(|error| Error::Head(error.to_string()))?;
        let mut lines = output.split(|byte| *byte == b'\n');
        let mut line = || lines.next().unwrap_or_default();
        let commit = String::from_utf8_lossy(line()).parse::<Rev>().ok().and_then(|commit| oid(&commit));
        let commit = commit.ok_or_else(|| Error::Head("it names no commit".to_owned()))?;
        Ok((RefName::from_bytes(line()).ok(), commit))
    }
}

/// An update while it is being looked at: the commits behind its two values.
struct Ends {
    change: Change,
    old: Option<Node>,
    new: Option<Node>,
}

#[derive(Default)]
struct Peeled {
    commit: Option<Oid>,
    tag: Option<Tag>,
}

fn oid(rev: &Rev) -> Option<Oid> {
    let format = if rev.as_str().len() == 40 { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 };
    Oid::from_str_ext(rev.as_str(), format).ok()
}

/// An id as git writes it.
fn rev(id: Oid) -> Rev {
    match id.to_string().parse() {
        Ok(rev) => rev,
        Err(error) => unreachable!("libgit2 writes 40 or 64 hexadecimal digits: {error}"),
    }
}
