//! Walks over commits: which are new, and how two of them are related.
//!
//! libgit2 has both, but neither can be stopped before it has seen everything, and both fail as a whole on one missing
//! object. A hook must be quick whatever is pushed, and tell what can be told.

use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use git2::{Oid, Repository};

use super::object;

/// A commit's place in [`Graph`].
pub type Node = usize;

struct Commit {
    id: Oid,
    /// Committer's time, seconds since 1970.
    time: i64,
    parents: Vec<Node>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Read,
    Missing,
}

/// How an old value and a new one are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The old one is the new one's ancestor, or the same.
    Forward,
    /// The new one is the old one's ancestor.
    Back,
    /// Neither, or it could not be found out.
    Apart,
}

/// The commits seen so far; each is read once, however many walks pass it.
pub struct Graph<'r> {
    repo: &'r Repository,
    shallow: bool,
    deadline: Instant,
    commits: Vec<Commit>,
    places: HashMap<Oid, Node>,
    steps: u32,
    problem: Option<String>,
}

/// So many hidden commits below the last new one are looked at before a walk believes that all is told: commits whose
/// clocks were wrong are found that way. git does the same (`SLOP` in its revision.c).
const SLOP: u32 = 5;

/// Reachable from a hidden commit (walk), or from both ends (relation).
const HIDDEN: u8 = 1;
const SEEN: u8 = 2;
const QUEUED: u8 = 4;

const FROM_OLD: u8 = 1;
const FROM_NEW: u8 = 2;
const FROM_BOTH: u8 = FROM_OLD | FROM_NEW;

impl<'r> Graph<'r> {
    /// Reads from `repo` until `deadline`; walks end there, and [`take_problem`](Self::take_problem) says so.
    pub fn new(repo: &'r Repository, deadline: Instant) -> Graph<'r> {
        let shallow = repo.is_shallow();
        Graph { repo, shallow, deadline, commits: vec![], places: HashMap::new(), steps: 0, problem: None }
    }

    /// The place of a commit, which need not exist.
    pub fn node(&mut self, id: Oid) -> Node {
        let commits = &mut self.commits;
        *self.places.entry(id).or_insert_with(|| {
            commits.push(Commit { id, time: 0, parents: Vec::new(), state: State::Unread });
            commits.len() - 1
        })
    }

    /// The id at a place.
    pub fn id(&self, node: Node) -> Oid {
        self.commits[node].id
    }

    /// The parents of a commit that a walk has passed.
    pub fn parents(&self, node: Node) -> &[Node] {
        &self.commits[node].parents
    }

    /// What went wrong since it was last asked, for people.
    pub fn take_problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Reads a commit when it is first needed. One that is missing has no parents.
    fn read(&mut self, node: Node) {
        if self.commits[node].state != State::Unread {
            return;
        }
        let format = self.repo.object_format();
        match object::commit(self.repo, self.commits[node].id, |data| object::links(data, format)) {
            Ok((time, parents)) => {
                let parents = parents.into_iter().map(|id| self.node(id)).collect();
                let commit = &mut self.commits[node];
                (commit.time, commit.parents, commit.state) = (time, parents, State::Read);
            }
            Err(error) => {
                self.commits[node].state = State::Missing;
                // In a shallow repository the history ends at objects that are not there.
                if !self.shallow {
                    self.problem.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }

    fn out_of_time(&mut self) -> bool {
        self.steps = self.steps.wrapping_add(1);
        let over = self.steps.is_multiple_of(64) && Instant::now() >= self.deadline;
        if over {
            self.problem = Some("there was no time to read all of the history".to_owned());
        }
        over
    }

    /// The commits that can be reached from `wanted` and not from `hidden`, newest first.
    pub fn new_commits(&mut self, wanted: &[Node], hidden: &[Node]) -> Vec<Node> {
        let mut walk = Walk { flags: Vec::new(), queue: BinaryHeap::new(), waiting: 0 };
        hidden.iter().for_each(|node| walk.hide(self, *node));
        wanted.iter().for_each(|node| walk.want(self, *node));
        let (mut found, mut oldest, mut slop) = (Vec::new(), i64::MAX, SLOP);
        while let Some((time, node)) = walk.queue.pop() {
            if self.out_of_time() {
                break;
            }
            let is_hidden = walk.flags[node] & HIDDEN != 0;
            walk.flags[node] &= !QUEUED;
            if !is_hidden {
                walk.waiting -= 1;
                oldest = time;
                if self.commits[node].state == State::Read {
                    found.push(node);
                }
            }
            for parent in self.commits[node].parents.clone() {
                if is_hidden { walk.hide(self, parent) } else { walk.want(self, parent) }
            }
            if walk.waiting == 0 {
                let may_meet = walk.queue.peek().is_some_and(|(next, _)| *next >= oldest);
                slop = if may_meet { SLOP } else { slop - 1 };
                if found.is_empty() || slop == 0 {
                    break;
                }
            }
        }
        found.retain(|node| walk.flags[*node] & HIDDEN == 0);
        found
    }

    /// How `old` and `new` are related: paints from both ends until what is left was reached from both.
    pub fn relation(&mut self, old: Node, new: Node) -> Relation {
        if old == new {
            return Relation::Forward;
        }
        let mut flags = vec![0; self.commits.len()];
        let mut queue = BinaryHeap::new();
        // Queued commits that were not reached from both ends.
        let mut open = 2;
        for (node, from) in [(old, FROM_OLD), (new, FROM_NEW)] {
            self.read(node);
            flags[node] = from | QUEUED;
            queue.push((self.commits[node].time, node));
        }
        while open > 0 {
            let Some((_, node)) = queue.pop() else { break };
            if self.out_of_time() {
                break;
            }
            let from = flags[node] & FROM_BOTH;
            flags[node] &= !QUEUED;
            open -= usize::from(from != FROM_BOTH);
            for parent in self.commits[node].parents.clone() {
                self.read(parent);
                flags.resize(self.commits.len(), 0);
                let before = flags[parent];
                if before & from == from {
                    continue;
                }
                flags[parent] |= from | QUEUED;
                if flags[parent] & FROM_BOTH == FROM_BOTH {
                    match parent {
                        _ if parent == old => return Relation::Forward,
                        _ if parent == new => return Relation::Back,
                        _ => open -= usize::from(before & QUEUED != 0),
                    }
                } else {
                    // Not reached before: of one colour and not the other, it is in the queue for the first time.
                    open += 1;
                }
                if before & QUEUED == 0 {
                    queue.push((self.commits[parent].time, parent));
                }
            }
        }
        Relation::Apart
    }
}

struct Walk {
    flags: Vec<u8>,
    /// Newest first.
    queue: BinaryHeap<(i64, Node)>,
    /// Queued commits that are not hidden.
    waiting: usize,
}

impl Walk {
    /// Queues a commit that was not met before; false when it was.
    fn meet(&mut self, graph: &mut Graph<'_>, node: Node, flag: u8) -> bool {
        graph.read(node);
        self.flags.resize(graph.commits.len(), 0);
        if self.flags[node] & SEEN != 0 {
            return false;
        }
        self.flags[node] = SEEN | QUEUED | flag;
        self.queue.push((graph.commits[node].time, node));
        true
    }

    fn want(&mut self, graph: &mut Graph<'_>, node: Node) {
        if self.meet(graph, node, 0) {
            self.waiting += 1;
        }
    }

    /// Hides a commit, and of its ancestors those that the walk has passed already.
    fn hide(&mut self, graph: &mut Graph<'_>, node: Node) {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            if self.meet(graph, node, HIDDEN) || self.flags[node] & HIDDEN != 0 {
                continue;
            }
            self.flags[node] |= HIDDEN;
            if self.flags[node] & QUEUED != 0 {
                self.waiting -= 1;
            } else {
                stack.extend(&graph.commits[node].parents);
            }
        }
    }
}
