//! Checked names: the only way a word from outside becomes a path or an argument.
//!
//! Words from the bus, a payload, a push or the command line are parsed here once, at the door. Past it nobody
//! checks again: a [`RepoName`] joined to a folder stays below that folder, a [`RefName`] is a name git itself
//! accepts, and none of them begins with `-`, so none is ever taken for an option.

mod glob;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

pub use debian::{Architecture, Distribution, PackageFile, PackageName, PackageVersion};
pub use glob::{Glob, NoGlob};

/// Why a word is not the name it was given for. The text says which rule it breaks; the word itself is quoted, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    word: String,
    rule: &'static str,
}

fn refuse(what: &'static str, word: &str, rule: &'static str) -> NameError {
    NameError { what, word: word.chars().take(300).collect(), rule }
}

/// Longest name accepted, in bytes: what one path component may be on every Linux file system.
const COMPONENT_MAX: usize = 255;

/// One path component of letters, digits, `.`, `_`, `-` (and what `extra` allows), not beginning with `.` or `-`.
fn check_component(what: &'static str, word: &str, extra: fn(char) -> bool) -> Result<(), NameError> {
    if word.is_empty() {
        return Err(refuse(what, word, "it is empty"));
    }
    if word.len() > COMPONENT_MAX {
        return Err(refuse(what, word, "it is longer than 255 bytes"));
    }
    if word.starts_with(['.', '-']) {
        return Err(refuse(what, word, "it begins with '.' or '-'"));
    }
    if !word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || extra(c)) {
        return Err(refuse(what, word, "only letters, digits, '.', '_' and '-' are allowed"));
    }
    Ok(())
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The checked word.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(word: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(word)?;
                Ok(Self(word.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

mod debian;

text_name!(
    /// A repository as the bus calls it: `spog`, or with groups `web/spog`. Safe to join to a folder.
    RepoName, "repository name", |word| {
        if word.len() > 1024 {
            return Err(refuse("repository name", word, "it is longer than 1024 bytes"));
        }
        // A letter of any script is fine; a space would break the subject line, which old daemons split at spaces.
        word.split('/').try_for_each(|part| {
            check_component("repository name", part, |c| (c.is_alphanumeric() && !c.is_ascii()) || matches!(c, '+' | '~' | '@'))
        })
    }
);

text_name!(
    /// A site as the configuration calls it: one path component, such as `www.example.org`.
    SiteName, "site name", |word| check_component("site name", word, |_| false)
);

text_name!(
    /// A machine on the bus: a host name or what `node:` says.
    NodeName, "node name", |word| check_component("node name", word, |_| false)
);

text_name!(
    /// Who signs, as an `allowed_signers` file calls them: `ops@example.org`. It is one name: no pattern, no list.
    ///
    /// Source: ssh-keygen(1), "ALLOWED SIGNERS".
    Principal, "principal", |word| {
        if word.is_empty() {
            return Err(refuse("principal", word, "it is empty"));
        }
        if word.len() > COMPONENT_MAX {
            return Err(refuse("principal", word, "it is longer than 255 bytes"));
        }
        if word.starts_with('-') {
            return Err(refuse("principal", word, "it begins with '-'"));
        }
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+' | '=' | ':' | '/' | '%' | '~');
        if !word.chars().all(plain) {
            return Err(refuse("principal", word, "only letters, digits and ._-@+=:/%~ are allowed"));
        }
        Ok(())
    }
);

text_name!(
    /// What `failcake tail` is called by brokers and on disk: one path component.
    ChainName, "name of a chain", |word| {
        if word.len() > 64 {
            return Err(refuse("name of a chain", word, "it is longer than 64 bytes"));
        }
        check_component("name of a chain", word, |_| false)
    }
);

text_name!(
    /// Who logs in to a site: a word that ends no field and begins no comment in any file of logins.
    LoginName, "login name", |word| {
        if word.len() > 64 {
            return Err(refuse("login name", word, "it is longer than 64 bytes"));
        }
        check_component("login name", word, |c| matches!(c, '@' | '+'))
    }
);

text_name!(
    /// A hashed password, as crypt(5) writes SHA-512: `$6$rounds=1000$SALT$HASH`. A web server computes it at every
    /// request, so the rounds are bounded; a word with none means 5000.
    PasswordHash, "password hash", |word| {
        let no = |rule| Err(refuse("password hash", word, rule));
        let Some(rest) = word.strip_prefix("$6$") else { return no("it is not crypt's SHA-512 ($6$)") };
        let rest = match rest.strip_prefix("rounds=") {
            None => rest,
            Some(rest) => match rest.split_once('$') {
                Some((rounds, rest)) if !rounds.starts_with('+') && matches!(rounds.parse(), Ok(1000..=10_000_u32)) => rest,
                _ => return no("its rounds are not from 1000 to 10000"),
            },
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/');
        match rest.split_once('$') {
            Some((salt, hash))
                if (1..=16).contains(&salt.len()) && hash.len() == 86 && (salt.to_owned() + hash).chars().all(is_plain) =>
            {
                Ok(())
            }
            _ => no("it is not a salt of up to 16 letters and a hash of 86"),
        }
    }
);

/// A full object id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev(String);

impl Rev {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is it the id that git writes for "no object": all zeros?
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }

    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl FromStr for Rev {
    type Err = NameError;
    fn from_str(word: &str) -> Result<Self, NameError> {
        if !matches!(word.len(), 40 | 64) || !word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("object id", word, "it is not 40 or 64 hexadecimal digits"));
        }
        Ok(Self(word.to_ascii_lowercase()))
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Rev {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Rev {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rev({})", self.0)
    }
}

/// A full reference name (`refs/heads/master`) that passes git's own rules. Its bytes need not be UTF-8.
///
/// Source: git-check-ref-format(1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Vec<u8>);

/// What a reference is, by the folder it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// Below `refs/heads/`.
    Branch,
    /// Below `refs/tags/`.
    Tag,
    /// Notes, pull requests, changes and whatever else lives below `refs/`.
    Other,
}

impl RefName {
    /// Checks `bytes` against git's rules for a full reference name.
    ///
    /// # Errors
    /// Says which of git's rules it breaks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        let no = |rule| Err(refuse("ref name", &String::from_utf8_lossy(bytes), rule));
        if !bytes.starts_with(b"refs/") {
            return no("it does not begin with refs/");
        }
        if bytes.len() > 4096 {
            return no("it is longer than 4096 bytes");
        }
        if bytes.iter().any(|b| b.is_ascii_control() || b" ~^:?*[\\".contains(b)) {
            return no("it holds a control character, a space or one of ~^:?*[\\");
        }
        if bytes.windows(2).any(|w| w == b".." || w == b"@{") || bytes.ends_with(b".") {
            return no("it holds '..' or '@{', or ends with '.'");
        }
        for part in bytes.split(|b| *b == b'/') {
            if part.is_empty() || part.starts_with(b".") || part.ends_with(b".lock") {
                return no("a part is empty, begins with '.' or ends with .lock");
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The branch `name` as a full name.
    ///
    /// # Errors
    /// When `name` is no legal branch name.
    pub fn branch(name: &str) -> Result<Self, NameError> {
        Self::from_bytes(format!("refs/heads/{name}").as_bytes())
    }

    /// The tag `name` as a full name.
    ///
    /// # Errors
    /// When `name` is no legal tag name.
    pub fn tag(name: &str) -> Result<Self, NameError> {
        Self::from_bytes(format!("refs/tags/{name}").as_bytes())
    }

    /// The bytes as git stores them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For a child process's argument list; begins with `refs/`, so it is never an option.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The name as text, if it is UTF-8. Only such a name may become a directory.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The name for people: what is not UTF-8 shows as U+FFFD.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Branch, tag or other.
    pub fn kind(&self) -> RefKind {
        if self.0.starts_with(b"refs/heads/") {
            RefKind::Branch
        } else if self.0.starts_with(b"refs/tags/") {
            RefKind::Tag
        } else {
            RefKind::Other
        }
    }

    /// Without `refs/heads/` or `refs/tags/`; other names stay whole. The rest may begin with `-`: not for arguments.
    pub fn short_bytes(&self) -> &[u8] {
        let cut = match self.kind() {
            RefKind::Branch => "refs/heads/".len(),
            RefKind::Tag => "refs/tags/".len(),
            RefKind::Other => 0,
        };
        &self.0[cut..]
    }

    /// [`short_bytes`](Self::short_bytes) for people.
    pub fn short(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.short_bytes())
    }
}

impl FromStr for RefName {
    type Err = NameError;
    fn from_str(word: &str) -> Result<Self, NameError> {
        Self::from_bytes(word.as_bytes())
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefName({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for word in
            ["", ".", "..", "../x", "a/../b", "/etc", "a//b", "a/", "-fr", "a/-b", "a b", "a\nb", "a;b", "a\0b", ".git"]
        {
            assert!(word.parse::<RepoName>().is_err(), "{word:?}");
            assert!(word.parse::<SiteName>().is_err(), "{word:?}");
        }
        assert_eq!("web/spog-2.0".parse::<RepoName>().unwrap().as_str(), "web/spog-2.0");
        assert!("web/spog".parse::<SiteName>().is_err());
    }

    #[test]
    fn a_principal_is_one_name_and_no_pattern() {
        for word in ["ops@example.org", "web01", "é", "spiffe://example.org/ops", "Ops+x@h"] {
            assert_eq!(word.parse::<Principal>().unwrap().as_str(), word);
        }
        let long = "a".repeat(256);
        for word in
            ["", "-n", "*", "a*", "?", "!a", "a,b", "a b", "a\nb", "a\0", "a\u{1b}[m", "\"a\"", "#a", "a@[::1]", &long]
        {
            assert!(word.parse::<Principal>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_login_is_one_word_in_every_file_of_logins() {
        for word in ["ann", "ann@example.org", "web.team+x_1-2", "42"] {
            assert!(word.parse::<LoginName>().is_ok(), "{word:?}");
        }
        let long = "a".repeat(65);
        for word in
            ["", "#ann", "ann:x", "ann x", "ann\nroot", "ann\r", "ann#", "-ann", ".", "a\"b", "a\\b", "a$b", "é", &long]
        {
            assert!(word.parse::<LoginName>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_hash_is_sha_512_with_bounded_rounds_and_nothing_else() {
        let hash = "a".repeat(86);
        for begin in ["$6$salt$", "$6$rounds=1000$0123456789abcdef$", "$6$rounds=10000$s$"] {
            assert!(format!("{begin}{hash}").parse::<PasswordHash>().is_ok(), "{begin}");
        }
        for begin in [
            "",
            "$1$salt$",
            "$y$j9T$salt$",
            "$6$$",
            "$6$rounds=999$s$",
            "$6$rounds=10001$s$",
            "$6$rounds=999999999$s$",
            "$6$rounds=+1000$s$",
            "$6$rounds=$s$",
            "$6$0123456789abcdefg$",
            "$6$s:t$",
            "$6$s t$",
            "$6$s\nt$",
            "{PLAIN}",
        ] {
            assert!(format!("{begin}{hash}").parse::<PasswordHash>().is_err(), "{begin}");
        }
        for end in ["", "a", " ", "\n", ":"] {
            assert!(format!("$6$salt${}{end}", &hash[..85]).parse::<PasswordHash>().is_ok() == (end == "a"), "{end:?}");
        }
        assert!("plain".parse::<PasswordHash>().is_err());
    }

    #[test]
    fn ref_names_pass_gits_own_rules_and_no_others() {
        for word in [
            "refs/heads/x;$(touch${IFS}PWNED)",
            "refs/heads/-fr",
            "refs/heads/été",
            "refs/heads/refs/heads/odd",
            "refs/notes/commits",
            "refs/heads/`id`&'\"",
        ] {
            assert!(word.parse::<RefName>().is_ok(), "{word:?}");
        }
        for word in [
            "master",
            "refs/heads/",
            "refs/heads/../../etc",
            "refs/heads/a b",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a@{1}",
            "refs/heads/a\n",
            "refs/heads/a.",
            "refs//heads",
        ] {
            assert!(word.parse::<RefName>().is_err(), "{word:?}");
        }
        let odd = RefName::from_bytes(b"refs/heads/caf\xe9").unwrap();
        assert_eq!(odd.to_str(), None);
        assert_eq!(odd.to_string_lossy(), "refs/heads/caf\u{fffd}");
    }

    #[test]
    fn object_ids_are_sha1_or_sha256_in_full() {
        assert!("0".repeat(40).parse::<Rev>().unwrap().is_zero());
        assert!("a".repeat(64).parse::<Rev>().is_ok());
        for word in ["", "abc", "HEAD", &"g".repeat(40), &"a".repeat(41)] {
            assert!(word.parse::<Rev>().is_err(), "{word:?}");
        }
    }
}
