//! The steps of one publication, in their order.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::choose::Wish;
use super::exec::Scene;
use super::place::{Move, Place, Standing};
use super::stage::{Refused, Stage};
use super::state::{Published, Retired, State};
use super::{Error, Outcome, Publisher, at};
use crate::name::RefName;
use crate::process;

/// Trees from this many files on are kept to become the next one; smaller ones are written anew as fast.
const SPARE_FROM: u64 = 2000;
/// Directories that may always be removed at once; beyond them, a quarter of all.
const REMOVALS: usize = 3;

/// Finishes what a killed run had begun, and clears what it left.
pub(super) fn repair(place: &Place, state: &mut State, grace: Duration) -> Result<(), Error> {
    let interrupted = std::mem::take(&mut state.under_way);
    let is_news = !interrupted.is_empty();
    for (dir, new) in interrupted {
        // Killed after the exchange. Before it, the tree is just one that nobody knows. The inode alone may be another's by
        // now.
        if place.inode(&dir) == Some(new.inode) && place.standing(&dir, Some(&new)).is_ok_and(|it| it == Standing::Ours)
        {
            if new.adopts && !place.is_new(&new) {
                match place.keep(&new.tree, &dir) {
                    Ok(kept) => log::warn!("what was at {} is kept in {}", place.path(&dir).display(), kept.display()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(at("move aside", &place.tree(&new.tree))(error)),
                }
            }
            exchanged(place, state, dir, new);
        }
    }
    let retired = state.retired.iter().map(|it| it.tree.clone());
    // A published tree is not among ours: what has its name here was replaced by it, and could not be renamed.
    let indexed = state.published.values().map(|it| it.tree.clone()).chain(retired.clone());
    let known: BTreeSet<String> = indexed.map(|tree| format!("{tree}.index")).chain(retired).collect();
    // First what frees some space: a killed run may have filled the disk.
    place.clear_temporary();
    place.clear_unknown(&known, grace)?;
    if is_news { state.save(place) } else { Ok(()) }
}

/// Notes that `new` is in the place of `dir`, and where the tree is that was there.
fn exchanged(place: &Place, state: &mut State, dir: String, new: Published) {
    if let Some(old) = state.published.get(&dir) {
        // It has the name that the new one had. A crash before the state is written leaves a tree that nobody knows.
        if fs::rename(place.tree(&new.tree), place.tree(&old.tree)).is_ok() {
            let (tree, files) = (old.tree.clone(), old.files);
            state.retired.push(Retired { tree, dir: dir.clone(), files, since: Timestamp::now() });
        }
    }
    state.published.insert(dir, new);
}

/// One publication under way.
pub(super) struct Run<'a> {
    pub(super) publisher: &'a Publisher<'a>,
    pub(super) place: &'a Place,
    pub(super) state: &'a mut State,
    pub(super) outcomes: &'a mut Vec<Outcome>,
}

impl Run<'_> {
    fn problem(&mut self, text: String) {
        self.outcomes.push(Outcome::Problem(text));
    }

    /// Writes the trees that differ from what is published, several at a time. A crash leaves trees that nobody knows.
    pub(super) fn stage_changed<'w>(&mut self, wishes: impl Iterator<Item = &'w Wish>) -> Result<(), Error> {
        let mut tasks = Vec::new();
        for wish in wishes.filter(|wish| !self.is_published(wish)).collect::<Vec<_>>() {
            let path = self.place.path(&wish.dir);
            match self.place.standing(&wish.dir, self.state.published.get(&wish.dir)) {
                Err(error) => self.problem(format!("{} was not published: {error}", wish.reference)),
                Ok(Standing::Foreign) if !self.publisher.adopt => self.problem(format!(
                    "{} is there and was not published from here: move it away, or say `failcake fetch {} --adopt` to have it moved \
                     aside",
                    path.display(),
                    self.publisher.repo.name
                )),
                Ok(standing) => tasks.push((wish, standing, self.take_spare(&wish.dir))),
            }
        }
        let (place, publisher) = (self.place, self.publisher);
        let written = publisher.hands.share(publisher.user, tasks, |(wish, standing, spare)| {
            let stage = Stage { place, publisher, wish, id: uuid::Uuid::new_v4().simple().to_string() };
            (wish, standing, if publisher.is_stopped() { None } else { Some((stage.write(spare), stage)) })
        });
        for (wish, standing, staged) in written {
            let Some((written, stage)) = staged.filter(|_| !publisher.is_stopped()) else { return Err(Error::Stopped) };
            let previous = self.state.published.get(&wish.dir).filter(|_| standing == Standing::Ours);
            match written.and_then(|tree| stage.check(tree, previous.map(|it| it.commit.clone()))) {
                Ok(new) => {
                    let new = Published { adopts: standing == Standing::Foreign, ..new };
                    self.state.under_way.insert(wish.dir.clone(), new);
                }
                Err(Refused { why, lacking }) => {
                    let path = self.place.path(&wish.dir);
                    let why = format!("{} was not published to {}: {why}", wish.reference, path.display());
                    self.outcomes.push(match lacking {
                        Some(clone) => Outcome::Lacking { clone, why },
                        None => Outcome::Problem(why),
                    });
                }
            }
        }
        Ok(())
    }

    /// Is the directory what is wished for, and still the one that was put there?
    fn is_published(&self, wish: &Wish) -> bool {
        self.state.published.get(&wish.dir).is_some_and(|it| {
            it.id == wish.id
                && it.reference == wish.reference.to_string_lossy()
                && matches!(self.place.standing(&wish.dir, Some(it)), Ok(Standing::Ours))
        })
    }

    /// The tree that was in this directory before, when its grace is over and no process stands in it.
    fn take_spare(&mut self, dir: &str) -> Option<Retired> {
        let grace = self.publisher.repo.grace;
        let fits = |it: &Retired| it.dir == dir && it.files >= SPARE_FROM && is_past(it, grace);
        let at = self.state.retired.iter().rposition(fits)?;
        let real = self.place.tree(&self.state.retired[at].tree).canonicalize().ok()?;
        let is_used = process::folders_in_use().iter().any(|used| used.starts_with(&real));
        (!is_used).then(|| self.state.retired.remove(at))
    }

    /// Makes the staged trees durable, then puts each in its place. A crash leaves every directory old or new, and a state
    /// that says for each which one would be the new one.
    pub(super) fn exchange_staged(&mut self) -> Result<(), Error> {
        if self.state.under_way.is_empty() {
            return Ok(());
        }
        let trees = self.place.trees();
        let folder = fs::File::open(&trees).map_err(at("open", &trees))?;
        // One call for all trees, however many files they have.
        nix::unistd::syncfs(&folder).map_err(|errno| at("sync", &trees)(errno.into()))?;
        self.state.save(self.place)?;
        for (dir, new) in std::mem::take(&mut self.state.under_way) {
            let path = self.place.path(&dir);
            let name: Result<RefName, _> = new.reference.parse();
            match self.put(&dir, &new)? {
                Ok(kept) => {
                    self.outcomes.extend(kept);
                    if let Ok(reference) = name {
                        let (commit, previous) = (new.commit.clone(), new.previous.clone());
                        self.outcomes.push(Outcome::Published { path, reference, commit, previous });
                    }
                    exchanged(self.place, self.state, dir, new);
                }
                Err(error) => {
                    self.place.delete_new(&new);
                    self.problem(format!("{} was not published to {}: {error}", new.reference, path.display()));
                }
            }
        }
        self.place.sync_folder()?;
        self.state.save(self.place)
    }

    /// Gives a tree its place, and says what was moved aside; or why not. An error stops everything, and the next run begins with
    /// what was saved before.
    fn put(&mut self, dir: &str, new: &Published) -> Result<Result<Option<Outcome>, String>, Error> {
        let path = self.place.path(dir);
        // Looked at again: staging may have taken a while.
        let standing = match self.place.standing(dir, self.state.published.get(dir)) {
            Ok(standing) => standing,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let old = self.state.published.get(dir).map(|it| it.commit.clone());
        let done = match standing {
            Standing::Free => self.place.change(Move::Put, &new.tree, dir, None),
            Standing::Ours => self.place.change(Move::Exchange, &new.tree, dir, old.as_ref()),
            Standing::Foreign if new.adopts => self.place.change(Move::Exchange, &new.tree, dir, None),
            Standing::Foreign => Err(io::Error::other("something else has been put there meanwhile")),
        };
        if let Err(error) = done {
            return Ok(Err(explain(error)));
        }
        if standing != Standing::Ours {
            self.state.published.remove(dir);
        }
        if standing != Standing::Foreign {
            return Ok(Ok(None));
        }
        match self.place.keep(&new.tree, dir) {
            Ok(kept) => Ok(Ok(Some(Outcome::Adopted { path, kept }))),
            Err(error) => {
                let back = self.place.change(Move::Exchange, &new.tree, dir, Some(&new.commit));
                back.map_err(at("put back", &path))?;
                Ok(Err(format!("what is there can't be moved aside: {error}")))
            }
        }
    }

    /// Takes away the directories whose branch or tag is gone; none of them when they are suspiciously many.
    pub(super) fn remove_gone(&mut self, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
        let gone: Vec<String> = self.state.published.keys().filter(|dir| !stays(dir)).cloned().collect();
        let all = self.state.published.len();
        let allowed = REMOVALS.max(all / 4);
        let is_too_much =
            !self.publisher.allow_mass_removal && (gone.len() > allowed || (gone.len() == all && all > 1));
        if is_too_much {
            self.outcomes.push(Outcome::Held(format!(
                "{} of {all} directories would be removed, so none was: is it the right remote? `failcake fetch {} \
                 --allow-mass-removal` removes them",
                gone.len(),
                self.publisher.repo.name
            )));
            if self.state.held != gone {
                self.state.held = gone;
                self.state.save(self.place)?;
            }
            return Ok(());
        }
        if gone.is_empty() && self.state.held.is_empty() {
            return Ok(());
        }
        self.state.held.clear();
        for dir in gone {
            self.remove(dir)?;
        }
        self.place.sync_folder()?;
        self.state.save(self.place)
    }

    /// A crash leaves a state that speaks of a directory that is not there: then it is only forgotten.
    fn remove(&mut self, dir: String) -> Result<(), Error> {
        let Some(old) = self.state.published.get(&dir).cloned() else { return Ok(()) };
        let path = self.place.path(&dir);
        let standing = match self.place.standing(&dir, Some(&old)) {
            Ok(standing) => standing,
            Err(error) => {
                self.problem(format!("{} is gone, but its directory stays: {error}", old.reference));
                return Ok(());
            }
        };
        match standing {
            Standing::Ours => {
                if let Err(error) = self.place.change(Move::Take, &old.tree, &dir, Some(&old.commit)) {
                    self.problem(format!(
                        "{} is gone, but {} can't be removed: {error}",
                        old.reference,
                        path.display()
                    ));
                    return Ok(());
                }
                let files = old.files;
                self.state.retired.push(Retired { tree: old.tree, dir: dir.clone(), files, since: Timestamp::now() });
                self.outcomes.push(Outcome::Removed { path, reference: old.reference });
            }
            // Somebody removed it, or put something else there, which is theirs.
            Standing::Free | Standing::Foreign => {}
        }
        self.state.published.remove(&dir);
        Ok(())
    }

    /// Runs what is to be run after a publication; what fails is owed, and run again by the next look.
    pub(super) fn run_after(&mut self) -> Result<(), Error> {
        let owed: Vec<String> =
            self.state.published.iter().filter(|(_, it)| it.owes_after).map(|(d, _)| d.clone()).collect();
        for dir in &owed {
            let Some(published) = self.state.published.get(dir).cloned() else { continue };
            let path = self.place.path(dir);
            let scene = Scene {
                key: "after",
                reference: &published.reference,
                commit: &published.commit,
                previous: published.previous.as_ref(),
                target: &path,
                tree: &path,
            };
            match self.publisher.run_exec(&self.publisher.repo.exec.after, &scene) {
                Ok(()) => {
                    if let Some(published) = self.state.published.get_mut(dir) {
                        published.owes_after = false;
                    }
                    self.state.save(self.place)?;
                }
                Err(why) => {
                    self.problem(format!("{} is published to {}, but {why}", published.reference, path.display()))
                }
            }
        }
        Ok(())
    }

    /// Deletes replaced trees whose grace is over, but for the newest of each directory that is worth keeping. A crash leaves
    /// trees that nobody knows.
    pub(super) fn clear_retired(&mut self) -> Result<(), Error> {
        let grace = self.publisher.repo.grace;
        let is_spare = |state: &State, at: usize| {
            let it = &state.retired[at];
            let newer = state.retired[at + 1..].iter().any(|other| other.dir == it.dir);
            it.files >= SPARE_FROM && !newer && state.published.contains_key(&it.dir)
        };
        let over = |at: &usize| is_past(&self.state.retired[*at], grace) && !is_spare(self.state, *at);
        let mut over: Vec<usize> = (0..self.state.retired.len()).filter(over).collect();
        if over.is_empty() {
            return Ok(());
        }
        let used = process::folders_in_use();
        over.retain(|at| {
            let tree = self.place.tree(&self.state.retired[*at].tree);
            let real = tree.canonicalize().unwrap_or(tree);
            !used.iter().any(|used| used.starts_with(&real))
        });
        let gone: Vec<Retired> = over.iter().rev().map(|at| self.state.retired.remove(*at)).collect();
        self.state.save(self.place)?;
        for retired in gone {
            self.place.delete(&self.place.tree(&retired.tree));
            self.place.delete(&self.place.index(&retired.tree));
        }
        Ok(())
    }
}

/// Is its grace over? A clock that was set back begins it anew.
fn is_past(retired: &Retired, grace: Duration) -> bool {
    let age = Timestamp::now().duration_since(retired.since);
    Duration::try_from(age).is_ok_and(|age| age >= grace)
}

fn explain(error: io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => {
            "this file system can't exchange two directories (renameat2): publish to another one"
        }
        Some(libc::EXDEV | libc::EBUSY) => {
            "it is a mount point or on another file system: publish to a folder below it"
        }
        Some(libc::EACCES | libc::EPERM) => "the repository's `user:` may not change the folder that it is in",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}
