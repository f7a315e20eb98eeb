//! Patterns of names, as people write them in configuration and on command lines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pattern in which `*` stands for any characters, also none, and `?` for one. `/` is a character like others, so
/// `release/*` means all branches below `release/`, however deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

/// The pattern means nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no pattern: write a name, with * for any characters and ? for one")]
pub struct NoGlob(String);

impl Glob {
    /// Does the whole name match?
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut on) = (0, 0);
        // Where to go back to when what follows the last star does not fit here.
        let mut star: Option<(usize, usize)> = None;
        while on < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, on));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[on] => (at, on) = (at + 1, on + 1),
                _ => match &mut star {
                    Some((starred, from)) => {
                        *from += 1;
                        (at, on) = (*starred + 1, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }

    /// What every name that matches begins with.
    pub fn beginning(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = NoGlob;

    fn from_str(text: &str) -> Result<Glob, NoGlob> {
        let bad = text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control);
        if bad { Err(NoGlob(text.chars().take(64).collect())) } else { Ok(Glob(text.to_owned())) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, yes, no) in [
            ("main", &["main"][..], &["mai", "main2", "", "x/main"][..]),
            ("*", &["", "a", "a/b"], &[]),
            ("web*", &["web", "web01", "web*"], &["awe", "we"]),
            ("*.example.org", &["www.example.org", "a.b.example.org"], &["example.org", "www.example.orgs"]),
            ("release/*", &["release/1", "release/1/2"], &["release", "releases/1"]),
            ("v?.?", &["v1.2", "vä.ö"], &["v1.", "v10.2"]),
            ("a*b*c", &["abc", "a-b-b-c", "abcbc"], &["acb", "ab"]),
            ("*a*a*a*b", &["aaab"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            yes.iter().for_each(|name| assert!(glob.matches(name), "{pattern} is to match {name}"));
            no.iter().for_each(|name| assert!(!glob.matches(name), "{pattern} is not to match {name}"));
        }
        let beginning = |pattern: &str| pattern.parse::<Glob>().unwrap().beginning().to_owned();
        assert_eq!(["main", "web*", "v?.*", "*x"].map(beginning), ["main", "web", "v", ""]);
        assert!("".parse::<Glob>().is_err() && "a\nb".parse::<Glob>().is_err());
    }
}
