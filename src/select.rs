//! Which hosts are meant: the filter behind `--on`.
//!
//! | filter | hosts |
//! |---|---|
//! | `web01` | the host of that name; if there is none, those of the group `web01` |
//! | `web*`, `db?` | by pattern of the name: `*` for any characters, `?` for one; `*` alone is all |
//! | `web01,db*` | any of them, in this order |
//! | `@FILE` | a name, group or pattern a line; `#` begins a comment |
//! | `role=web and dc!=lon` | by facts; `or`, `not` and parentheses; values may be patterns, or `'quoted'` to be taken as they are |
//! | `name=web*`, `group=web` | the first two forms, written out |
//!
//! `and` binds before `or`. A comma means `or`, but beside `and` and `not` it wants parentheses: people read
//! `web*,db* and dc=lon` in both ways. A host without the fact is not in `dc=lon`, so it is in `dc!=lon`.
//!
//! A mistyped name must not become fewer hosts, or, after `not`, more of them: [`Filter::select`] tells every word that
//! means nothing among the hosts that there are.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

pub use parse::BadFilter;

use crate::name::{Glob, NodeName};

/// A host that could be meant, as the inventory has it or as it told of itself.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Its groups.
    pub groups: &'a [String],
    /// Its facts.
    pub facts: &'a BTreeMap<String, String>,
}

/// Which hosts are meant.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    root: Term,
}

#[derive(Debug, Clone)]
enum Term {
    Words(Words),
    Is(Subject, Pattern),
    Not(Box<Term>),
    All(Vec<Term>),
    Any(Vec<Term>),
}

/// Names, groups and patterns, each with its place in the list.
#[derive(Debug, Clone, Default)]
struct Words {
    exact: HashMap<String, usize>,
    globs: Vec<(usize, Glob)>,
    /// Where they come from, if not from the filter itself.
    file: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Name,
    Group,
    Fact(String),
}

#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    Glob(Glob),
}

/// What a filter means among the hosts that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The hosts, in the order of the words that mean them, then of the candidates. The first is a rollout's canary.
    pub hosts: Vec<NodeName>,
    /// Words that mean nothing here: a reason to refuse, since they are most likely mistyped.
    pub unknown: Vec<Unknown>,
}

/// A word of a filter that means nothing among the candidates. Its text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What it could have been.
    pub kind: UnknownKind,
    /// As it was written.
    pub word: String,
    /// The file of names that it stands in.
    pub file: Option<String>,
    /// What was probably meant.
    pub near: Option<String>,
}

/// What a word could have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKind {
    /// A host's name, or a group.
    Word,
    /// A host's name (`name=…`).
    Name,
    /// A pattern of names.
    Pattern,
    /// A group (`group=…`).
    Group,
    /// The name of a fact.
    Fact,
}

impl Filter {
    /// Reads a filter; `read` gives the text of each `@FILE`.
    ///
    /// # Errors
    /// Says what is wrong, quotes the place and says what to write instead.
    pub fn parse(text: &str, read: &mut dyn FnMut(&Path) -> io::Result<String>) -> Result<Filter, BadFilter> {
        Ok(Filter { text: text.to_owned(), root: parse::parse(text, read)? })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Is this host meant? Alone it can't be known whether a bare word that is one of its groups is also the name of
    /// another host, which would win: [`select`](Self::select) knows.
    pub fn matches(&self, candidate: &Candidate<'_>) -> bool {
        self.root.rank(candidate, &HashSet::new()).is_some()
    }

    /// Bare words without a pattern, and the values of `name=`: names that a person wrote out, or groups. Where no
    /// inventory says which hosts to expect, those that are no group are hosts to expect.
    pub fn literals(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.root.visit(&mut |term| match term {
            Term::Words(words) => found.extend(words.exact.keys().map(String::as_str)),
            Term::Is(Subject::Name, Pattern::Exact(name)) => drop(found.insert(name.as_str())),
            _ => {}
        });
        found
    }

    /// Does it ask for facts, which machines tell of themselves?
    pub fn asks_facts(&self) -> bool {
        let mut asks = false;
        self.root.visit(&mut |term| asks |= matches!(term, Term::Is(Subject::Fact(_), _)));
        asks
    }

    /// Which of `candidates` are meant, and which words mean none.
    pub fn select(&self, candidates: &[Candidate<'_>]) -> Selection {
        let names: HashSet<&str> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
        let ranked = candidates.iter().filter_map(|it| Some((self.root.rank(it, &names)?, it.name)));
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let hosts = ranked.into_iter().map(|(_, name)| name.clone()).collect();
        Selection { hosts, unknown: self.unknown(candidates, &names) }
    }

    fn unknown(&self, candidates: &[Candidate<'_>], names: &HashSet<&str>) -> Vec<Unknown> {
        let groups: HashSet<&str> = candidates.iter().flat_map(|it| it.groups).map(String::as_str).collect();
        let facts: HashSet<&str> = candidates.iter().flat_map(|it| it.facts.keys()).map(String::as_str).collect();
        let mut found: Vec<Unknown> = Vec::new();
        let mut tell = |kind: UnknownKind, word: &str, file: Option<&String>| {
            if found.iter().any(|told| told.kind == kind && told.word == word) {
                return;
            }
            let known: &mut dyn Iterator<Item = &&str> = match kind {
                UnknownKind::Word => &mut names.iter().chain(&groups),
                UnknownKind::Name => &mut names.iter(),
                UnknownKind::Group => &mut groups.iter(),
                UnknownKind::Fact => &mut facts.iter(),
                UnknownKind::Pattern => &mut std::iter::empty(),
            };
            // A file of another fleet would be all unknown, and costs more than the answer is worth.
            let near = (found.len() < SUGGESTIONS).then(|| nearest(word, known)).flatten();
            found.push(Unknown { kind, word: word.to_owned(), file: file.cloned(), near });
        };
        self.root.visit(&mut |term| match term {
            Term::Words(words) => {
                let exact =
                    words.exact.iter().filter(|(word, _)| !names.contains(&***word) && !groups.contains(&***word));
                let exact = exact.map(|(word, at)| (*at, UnknownKind::Word, word.as_str()));
                let globs = words.globs.iter().filter(|(_, glob)| !names.iter().any(|name| glob.matches(name)));
                let globs = globs.map(|(at, glob)| (*at, UnknownKind::Pattern, glob.as_str()));
                let mut all: Vec<_> = exact.chain(globs).collect();
                all.sort_by_key(|(at, ..)| *at);
                all.into_iter().for_each(|(_, kind, word)| tell(kind, word, words.file.as_ref()));
            }
            Term::Is(Subject::Name, Pattern::Exact(name)) if !names.contains(&**name) => {
                tell(UnknownKind::Name, name, None);
            }
            Term::Is(Subject::Name, Pattern::Glob(glob)) if !names.iter().any(|name| glob.matches(name)) => {
                tell(UnknownKind::Pattern, glob.as_str(), None);
            }
            Term::Is(Subject::Group, pattern) if !groups.iter().any(|group| pattern.matches(group)) => {
                tell(UnknownKind::Group, pattern.as_str(), None);
            }
            Term::Is(Subject::Fact(key), _) if !facts.contains(&**key) => tell(UnknownKind::Fact, key, None),
            _ => {}
        });
        found
    }
}

/// So many unknown words are compared with all that are known.
const SUGGESTIONS: usize = 5;

fn nearest(word: &str, known: &mut dyn Iterator<Item = &&str>) -> Option<String> {
    let far = if word.chars().count() < 4 { 1 } else { 2 };
    let best = known.map(|known| (strsim::damerau_levenshtein(word, known), *known)).min()?;
    (best.0 <= far).then(|| best.1.to_owned())
}

impl Term {
    /// Where among the alternatives the host is meant first; `None`: not at all.
    fn rank(&self, host: &Candidate<'_>, names: &HashSet<&str>) -> Option<(usize, usize)> {
        match self {
            Term::Any(terms) => {
                let mut ranks = terms.iter().enumerate().filter_map(|(at, term)| Some((at, term.rank(host, names)?.1)));
                ranks.next()
            }
            Term::Words(words) => Some((0, words.place(host, names)?)),
            _ => self.holds(host, names).then_some((0, 0)),
        }
    }

    fn holds(&self, host: &Candidate<'_>, names: &HashSet<&str>) -> bool {
        match self {
            Term::Words(words) => words.place(host, names).is_some(),
            Term::Is(Subject::Name, pattern) => pattern.matches(host.name.as_str()),
            Term::Is(Subject::Group, pattern) => host.groups.iter().any(|group| pattern.matches(group)),
            Term::Is(Subject::Fact(key), pattern) => host.facts.get(key).is_some_and(|value| pattern.matches(value)),
            Term::Not(term) => !term.holds(host, names),
            Term::All(terms) => terms.iter().all(|term| term.holds(host, names)),
            Term::Any(terms) => terms.iter().any(|term| term.holds(host, names)),
        }
    }

    fn visit<'a>(&'a self, look: &mut dyn FnMut(&'a Term)) {
        look(self);
        match self {
            Term::Words(_) | Term::Is(..) => {}
            Term::Not(term) => term.visit(look),
            Term::All(terms) | Term::Any(terms) => terms.iter().for_each(|term| term.visit(look)),
        }
    }
}

impl Words {
    fn push(&mut self, pattern: Pattern) {
        let at = self.exact.len() + self.globs.len();
        match pattern {
            Pattern::Exact(word) => drop(self.exact.entry(word).or_insert(at)),
            Pattern::Glob(glob) => self.globs.push((at, glob)),
        }
    }

    fn place(&self, host: &Candidate<'_>, names: &HashSet<&str>) -> Option<usize> {
        let name = host.name.as_str();
        let named = self.exact.get(name).copied();
        let globs = self.globs.iter().filter(|(_, glob)| glob.matches(name)).map(|(at, _)| *at);
        let groups = host.groups.iter().filter(|group| !names.contains(group.as_str()));
        let groups = groups.filter_map(|group| self.exact.get(group).copied());
        named.into_iter().chain(globs).chain(groups).min()
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(word) => word == text,
            Pattern::Glob(glob) => glob.matches(text),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Pattern::Exact(word) => word,
            Pattern::Glob(glob) => glob.as_str(),
        }
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    /// Without files: `@FILE` is an error.
    fn from_str(text: &str) -> Result<Filter, BadFilter> {
        Filter::parse(text, &mut |_| Err(io::Error::new(io::ErrorKind::Unsupported, "files are not read here")))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, what) = (&self.word, self.kind);
        match what {
            UnknownKind::Word => write!(f, "{word:?} is neither a known host nor a group")?,
            UnknownKind::Name => write!(f, "{word:?} is no known host")?,
            UnknownKind::Pattern => write!(f, "no known host's name matches {word:?}")?,
            UnknownKind::Group => write!(f, "no known host is in a group {word:?}")?,
            UnknownKind::Fact => write!(f, "no known host has a fact {word:?}")?,
        }
        if let Some(file) = &self.file {
            write!(f, " (in {file})")?;
        }
        match &self.near {
            Some(near) => write!(f, ": did you mean {near:?}?"),
            None => f.write_str(": correct it, or add it to the inventory"),
        }
    }
}
