//! Which branch or tag goes into which directory.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
use super::{Error, Outcome, Wanted};
use crate::config::{DirNames, Mode, Repo};
use crate::name::{Glob, RefKind, RefName, Rev};

/// Longer names are refused by file systems; the flat mode's and our own additions need some room.
const NAME_MAX: usize = 200;

/// What a directory is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Its name; nothing in mode `branch`.
    pub(super) dir: String,
    pub(super) reference: RefName,
    /// What the reference names.
    pub(super) id: Rev,
}

#[derive(Debug, Default)]
pub(super) struct Choice {
    /// By directory.
    pub(super) wishes: BTreeMap<String, Wish>,
    /// References that have no directory, each with its reason.
    pub(super) refused: Vec<Outcome>,
    /// Directories that stay as they are, though nothing is wished for them: their reference is refused now.
    pub(super) kept: BTreeSet<String>,
}

pub(super) fn choose(repo: &Repo, wanted: &Wanted, state: &State) -> Result<Choice, Error> {
    let mut choice = Choice::default();
    if repo.mode == Mode::Branch {
        let reference = wanted.branch.clone().ok_or(Error::NoBranch)?;
        let Some(id) = wanted.refs.get(&reference) else {
            // The last tree goes on serving: a target that vanishes helps nobody.
            choice
                .refused
                .push(Outcome::Problem(format!("{reference} is not there (yet, or any more), nothing was published")));
            choice.kept.insert(String::new());
            return Ok(choice);
        };
        let wish = Wish { dir: String::new(), id: id.clone(), reference };
        choice.wishes.insert(String::new(), wish);
        return Ok(choice);
    }
    let kind = if repo.mode == Mode::Tags { RefKind::Tag } else { RefKind::Branch };
    let mut by_dir: BTreeMap<String, Vec<Wish>> = BTreeMap::new();
    for (reference, id) in wanted.refs.iter().filter(|(reference, _)| reference.kind() == kind) {
        let short = std::str::from_utf8(reference.short_bytes());
        let Ok(short) = short else {
            log::warn!("[{}] {} is not UTF-8 and has no directory", repo.name, reference.to_string_lossy());
            continue;
        };
        if !is_wanted(repo, short) {
            continue;
        }
        match dir_name(short, &repo.prefix, repo.names) {
            Ok(dir) => {
                let wish = Wish { dir: dir.clone(), reference: reference.clone(), id: id.clone() };
                by_dir.entry(dir).or_default().push(wish);
            }
            Err(why) => choice.refused.push(Outcome::Problem(format!("{reference} has no directory: {why}"))),
        }
    }
    let waiting: BTreeSet<String> = (wanted.waiting.iter())
        .filter(|name| std::str::from_utf8(name.short_bytes()).is_ok_and(|short| is_wanted(repo, short)))
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let held = state.published.iter().filter(|(_, published)| waiting.contains(&published.reference));
    choice.kept.extend(held.map(|(dir, _)| dir.clone()));
    for (dir, mut wishes) in by_dir {
        if choice.kept.contains(&dir) {
            let holder = &state.published[&dir].reference;
            let text = format!("{} would be the directory {dir}, which is {holder}'s: rename it", wishes[0].reference);
            choice.refused.push(Outcome::Problem(text));
            continue;
        }
        let names: Vec<String> = wishes.iter().map(|wish| wish.reference.to_string_lossy().into_owned()).collect();
        if wishes.len() > 1 {
            // Whoever has the directory keeps it, else whoever has its name as it is.
            let holder = state.published.get(&dir).map(|published| published.reference.clone());
            let has_name = |wish: &Wish| format!("{}{}", repo.prefix, wish.reference.short()) == dir;
            let first =
                wishes.iter().position(|wish| Some(wish.reference.to_string_lossy().as_ref()) == holder.as_deref());
            let first = first.or_else(|| wishes.iter().position(has_name));
            let text = format!("{} would all be the directory {dir}", names.join(", "));
            let Some(first) = first else {
                choice.refused.push(Outcome::Problem(format!("{text}: none is published; rename all but one")));
                choice.kept.insert(dir);
                continue;
            };
            choice.refused.push(Outcome::Problem(format!("{text}: {} is; rename the others", names[first])));
            wishes.swap(0, first);
        }
        choice.wishes.insert(dir, wishes.swap_remove(0));
    }
    Ok(choice)
}

/// Is it among those that the configuration wants?
fn is_wanted(repo: &Repo, short: &str) -> bool {
    let is_in = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(short));
    (repo.only.is_empty() || is_in(&repo.only)) && !is_in(&repo.ignore)
}

/// A branch or tag as one directory's name.
fn dir_name(short: &str, prefix: &str, names: DirNames) -> Result<String, String> {
    let keeps = |c: char| match names {
        DirNames::Plain => c.is_alphanumeric() || "._-+@=,".contains(c),
        DirNames::Puppet => c.is_ascii_alphanumeric() || c == '_',
    };
    let mut dir: String = short.chars().map(|c| if keeps(c) { c } else { '_' }).collect();
    // A hidden directory, or one that a program takes for an option.
    if dir.starts_with(['.', '-']) {
        dir.replace_range(..1, "_");
    }
    dir.insert_str(0, prefix);
    if dir.len() > NAME_MAX { Err(format!("its name has more than {NAME_MAX} bytes")) } else { Ok(dir) }
}

#[cfg(test)]
mod tests;
