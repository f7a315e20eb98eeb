//! The words of the configuration: each type refuses, where it is read, what it can't mean.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{AccessKind, DirNames, JobName, Mode, Pattern, PostFailure, SCRIPTS, SiteMode, Template, Topics};
use crate::stomp::url::BrokerUrl;

/// Derives `Deserialize` from a function that reads the word.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                let word = String::deserialize(deserializer)?;
                parse(&word).map($name).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use word;

word!(
    /// `90s`, `5m`, `1h30m`, `14d`, `250ms`.
    Span(Duration), parse_duration
);
word!(
    /// A number of octets, or `64KiB`, `256MiB`, `1GiB`.
    Size(u64), parse_size
);
word!(
    /// An absolute path without `..`.
    Absolute(PathBuf), |word| {
        let path = Path::new(word);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{word:?} is no absolute path: begin it with / and leave out '..'"));
        }
        Ok(path.to_owned())
    }
);
word!(
    /// A path below some folder: relative, no `..`, nothing left over.
    Below(PathBuf), |word| {
        // Joined part by part: what comes out holds no './' and no '//', so that equal paths are equal.
        let mut path = PathBuf::new();
        for part in Path::new(word).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                _ => return Err(format!("{word:?} leaves its folder: name a relative path without '..'")),
            }
        }
        if path.as_os_str().is_empty() {
            return Err(format!("{word:?} names nothing: name a relative path"));
        }
        Ok(path)
    }
);
word!(
    /// Absolute, or below some folder.
    AbsoluteOrBelow(PathBuf), |word| {
        let path = Path::new(word);
        if word.is_empty() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{word:?} is no folder: name one in the release, or an absolute one, without '..'"));
        }
        Ok(path.to_owned())
    }
);
word!(
    /// A file named relative to the one that names it.
    Near(PathBuf), |word| if word.is_empty() { Err("a file's name is empty".to_owned()) } else { Ok(word.into()) }
);
word!(
    /// One or more brokers.
    Broker(BrokerUrl), parse_broker
);
word!(
    /// Something that a header can carry.
    Destination(String), |word| {
        if word.is_empty() || word.chars().any(char::is_control) {
            return Err(format!("{word:?} is no destination: write one such as /topic/failcake.git.commits"));
        }
        Ok(word.to_owned())
    }
);
word!(
    /// What destinations begin with.
    Prefix(String), |word| {
        if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Err(format!("{word:?} is no prefix: letters, digits, '.', '_' and '-' are allowed"));
        }
        Ok(word.to_owned())
    }
);
word!(
    /// What `fetch` does, by its new name or its old one.
    ModeWord(Mode), |word| {
        MODES.iter().find(|(name, _)| *name == word).map(|(_, mode)| *mode).ok_or_else(|| one_of("mode", word, MODES.iter().map(|(name, _)| *name)))
    }
);
word!(
    /// What published directories' names begin with.
    DirPrefix(String), |word| {
        if word.starts_with(['.', '-']) || !word.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
            return Err(format!("{word:?} is no prefix: letters, digits, '.', '_' and '-' are allowed, not '.' or '-' first"));
        }
        Ok(word.to_owned())
    }
);
word!(
    /// Which names a published directory may have.
    DirNamesWord(DirNames), |word| match word {
        "plain" => Ok(DirNames::Plain),
        "puppet" => Ok(DirNames::Puppet),
        _ => Err(one_of("names", word, ["plain", "puppet"].into_iter())),
    }
);
word!(
    /// How a site is changed.
    SiteModeWord(SiteMode), |word| match word {
        "releases" => Ok(SiteMode::Releases),
        "in-place" => Ok(SiteMode::InPlace),
        _ => Err(one_of("mode", word, ["releases", "in-place"].into_iter())),
    }
);
word!(
    /// What a failed `post-deploy` leads to.
    PostFailureWord(PostFailure), |word| match word {
        "switch-back" => Ok(PostFailure::SwitchBack),
        "keep" => Ok(PostFailure::Keep),
        _ => Err(one_of("on-post-failure", word, ["switch-back", "keep"].into_iter())),
    }
);
word!(
    /// A script of a deploy.
    ScriptWord(String), |word| {
        if SCRIPTS.contains(&word) { Ok(word.to_owned()) } else { Err(one_of("script", word, SCRIPTS.into_iter())) }
    }
);
word!(
    /// A key of the topics table that a repository may listen to.
    TopicKey(String), |word| {
        if Topics::KEYS.iter().any(|(key, _)| *key == word) {
            return Ok(word.to_owned());
        }
        Err(one_of("topic", word, Topics::KEYS.iter().map(|(key, _)| *key)))
    }
);
word!(
    /// Whose format.
    AccessWord(AccessKind), |word| match word {
        "nginx" => Ok(AccessKind::Nginx),
        "haproxy" => Ok(AccessKind::Haproxy),
        _ => Err(one_of("type", word, ["nginx", "haproxy"].into_iter())),
    }
);
word!(
    /// A name in passwd, or in any such table: not empty, no option, no control characters.
    UserName(String), |word| {
        if word.is_empty() || word.starts_with('-') || word.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':') {
            return Err(format!("{word:?} is no user name"));
        }
        Ok(word.to_owned())
    }
);
word!(
    /// What git clones from. A leading `-` would be read as an option.
    GitUrl(String), |word| {
        if word.is_empty() || word.starts_with('-') || word.chars().any(char::is_control) {
            return Err(format!("{word:?} is no url that git can clone from"));
        }
        Ok(word.to_owned())
    }
);
word!(
    /// A branch's short name, by git's own rules.
    Branch(String), |word| {
        crate::name::RefName::branch(word).map_err(|error| error.to_string())?;
        Ok(word.to_owned())
    }
);

word!(
    /// A regular expression for refs.
    PatternWord(Pattern), Pattern::parse
);
word!(
    /// A job with its folders.
    JobWord(JobName), JobName::parse
);
word!(
    /// A parameter's value.
    TemplateWord(Template), Template::parse
);
word!(
    /// Where a web server is. The error does not repeat it, since it may hold a password.
    WebUrl(String), |word| {
        let rest = word.strip_prefix("https://").or_else(|| word.strip_prefix("http://")).unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return Err("a url with a login in it: move it to user: and token-file:".to_owned());
        }
        if host.is_empty() || word.chars().any(|c| c.is_control() || c.is_whitespace() || "?#".contains(c)) {
            return Err("no url of a web server: write one such as https://jenkins.example.org/".to_owned());
        }
        Ok(word.to_owned())
    }
);

const MODES: [(&str, Mode); 11] = [
    ("fetch", Mode::Fetch),
    ("branch", Mode::Branch),
    ("in-place", Mode::InPlace),
    ("branches", Mode::Branches),
    ("branches-flat", Mode::BranchesFlat),
    ("tags", Mode::Tags),
    ("normal", Mode::Fetch),
    ("trusting", Mode::Branch),
    ("dangerous", Mode::InPlace),
    ("puppetmaster", Mode::Branches),
    ("atomic", Mode::BranchesFlat),
];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = MODES.iter().find(|(_, mode)| mode == self).unwrap_or(&MODES[0]);
        f.write_str(name)
    }
}

/// The word among `known` that `word` was most likely meant to be.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Old files and other tools write snake_case.
    let word = word.to_lowercase().replace('_', "-");
    let best = known.map(|known| (strsim::damerau_levenshtein(&word, known), known)).min()?;
    (best.0 <= word.chars().count().max(3) / 2).then_some(best.1)
}

/// That `word` is none of `known`, and which it may have been meant to be.
pub fn one_of<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    match nearest(word, known) {
        Some(near) => format!("there is no {what} {word:?}: did you mean {near:?}? (one of {all})"),
        None => format!("there is no {what} {word:?}: it is one of {all}"),
    }
}

/// Reads a broker URL; the error does not repeat it, since it may hold a passcode.
pub fn parse_broker(word: &str) -> Result<BrokerUrl, String> {
    word.parse::<BrokerUrl>().map_err(|error| error.to_string())
}

/// A duration with its units: `90s`, `5m`, `1h30m`, `14d`, `250ms`.
///
/// # Errors
/// Says what is no duration and what one looks like.
pub fn parse_duration(word: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let refuse = || format!("{word:?} is no duration: write one with its unit, such as 30s, 5m, 1h30m or 14d");
    let mut rest = word.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(refuse());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = rest[..length].trim_end();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        total = number.checked_mul(*factor).and_then(|part| total.checked_add(part)).ok_or_else(refuse)?;
        rest = &rest[length..];
    }
    // Longer than a person lives is a slip of the finger, and would overflow what clocks can add.
    if total > 100 * 365 * 86_400_000 {
        return Err(refuse());
    }
    Ok(Duration::from_millis(total))
}

/// A size as the configuration writes it: octets, `100MiB`, `1GiB`.
///
/// # Errors
/// In words for people.
pub fn parse_size(word: &str) -> Result<u64, String> {
    let refuse = || format!("{word:?} is no size: write octets, or a number with KiB, MiB or GiB");
    let word = word.trim();
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let shift = match word[digits..].trim() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(refuse()),
    };
    let number: u64 = word[..digits].parse().map_err(|_| refuse())?;
    number.checked_mul(1 << shift).ok_or_else(refuse)
}

/// A duration as the configuration writes it.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut out = String::new();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= factor {
            out.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_come_back_as_written() {
        for word in ["30s", "5m", "14d", "1h30m", "250ms", "1d2h3m4s5ms", "0s"] {
            assert_eq!(show_duration(parse_duration(word).unwrap()), word);
        }
        assert_eq!(parse_duration("90s"), parse_duration("1m30s"));
        for word in ["", "5", "5 parsecs", "m", "-5s", "1.5h", "99999999999999999999s", "40000d", "s5", "5m 3"] {
            let error = parse_duration(word).unwrap_err();
            assert!(error.contains("30s, 5m"), "{word:?}: {error}");
        }
    }

    #[test]
    fn sizes_are_octets_or_binary_multiples() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("256 MiB"), Ok(256 << 20));
        for word in ["", "-1", "1TB", "99999999999GiB", "1.5M"] {
            assert!(parse_size(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = || ["passcode-file", "passcode", "prefix", "ca-file"].into_iter();
        assert_eq!(nearest("pascode", known()), Some("passcode"));
        assert_eq!(nearest("passcode_file", known()), Some("passcode-file"));
        assert_eq!(nearest("prefx", known()), Some("prefix"));
        assert_eq!(nearest("zebra", known()), None);
    }
}
