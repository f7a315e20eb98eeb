//! What may be deployed of a project: a revision of its trunk, its trunk, a branch or a tag.

use std::fmt;
use std::str::FromStr;

use super::layout::LineKind;

/// A word that names one of them, checked: nothing in it leaves the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `1234` or `r1234`: the trunk as it was then.
    Revision(u64),
    /// `trunk`, `branches/NAME`, `tags/NAME`; the name is empty for trunk.
    Line(LineKind, String),
}

/// Why a word is none of them.
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is no revision, and neither trunk nor branches/NAME nor tags/NAME: {why}")]
pub struct NoReference {
    word: String,
    why: &'static str,
}

impl Reference {
    /// Below the project's URL, escaped for a URL.
    pub fn path(&self) -> String {
        match self {
            Reference::Revision(_) | Reference::Line(LineKind::Trunk, _) => "trunk".to_owned(),
            Reference::Line(LineKind::Branch, name) => format!("branches/{}", escape(name)),
            Reference::Line(LineKind::Tag, name) => format!("tags/{}", escape(name)),
        }
    }
}

impl FromStr for Reference {
    type Err = NoReference;
    fn from_str(word: &str) -> Result<Reference, NoReference> {
        let no = |why| Err(NoReference { word: word.chars().take(300).collect(), why });
        if word == "trunk" {
            return Ok(Reference::Line(LineKind::Trunk, String::new()));
        }
        let digits = word.strip_prefix('r').unwrap_or(word);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            // svn counts in 32 bits with a sign.
            return match digits.parse::<u64>() {
                Ok(number) if number <= i32::MAX as u64 => Ok(Reference::Revision(number)),
                _ => no("no repository has so many revisions"),
            };
        }
        let (kind, name) = match word.split_once('/') {
            Some(("branches", name)) => (LineKind::Branch, name),
            Some(("tags", name)) => (LineKind::Tag, name),
            _ => return no("say which of them it is"),
        };
        if name.len() > 1024 || name.chars().any(char::is_control) {
            return no("the name is too long, or holds a control character");
        }
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return no("a part of the name is empty, '.' or '..'");
        }
        Ok(Reference::Line(kind, name.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Revision(number) => write!(f, "{number}"),
            Reference::Line(LineKind::Trunk, _) => f.write_str("trunk"),
            Reference::Line(LineKind::Branch, name) => write!(f, "branches/{name}"),
            Reference::Line(LineKind::Tag, name) => write!(f, "tags/{name}"),
        }
    }
}

/// Everything but letters, digits and what can mean nothing in a URL as `%41`; so is `@`, which svn takes for the begin of
/// a peg revision.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_written_and_their_paths_are_escaped() {
        for (word, path) in [
            ("trunk", "trunk"),
            ("tags/v1.2", "tags/v1.2"),
            ("branches/2012/summer sale", "branches/2012/summer%20sale"),
            ("tags/v@2", "tags/v%402"),
            ("tags/v2@HEAD", "tags/v2%40HEAD"),
            ("tags/100%41", "tags/100%2541"),
            ("tags/-rf", "tags/-rf"),
            ("tags/é?#;$(id)", "tags/%C3%A9%3F%23%3B%24%28id%29"),
        ] {
            let reference: Reference = word.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.path().as_str()), (word, path));
        }
        assert_eq!("r12".parse::<Reference>().unwrap(), Reference::Revision(12));
        assert_eq!("0012".parse::<Reference>().unwrap().to_string(), "12");
    }

    #[test]
    fn what_would_leave_the_project_is_no_reference() {
        for word in [
            "",
            "v1",
            "tags",
            "tags/",
            "tags/..",
            "tags/../../etc",
            "tags//x",
            "tags/./x",
            "tags/x/",
            "/tags/x",
            "trunk/x",
            "HEAD",
            "-1",
            "1:2",
            "{2012-01-01}",
            "tags/a\nb",
            "tags/a\0",
            "99999999999",
            "r",
            "branches",
            "../trunk",
        ] {
            assert!(word.parse::<Reference>().is_err(), "{word:?}");
        }
    }
}
