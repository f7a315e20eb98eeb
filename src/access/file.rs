//! The two formats. Our lines carry a mark, so that they are known as ours whatever became of the ledger; all others are
//! somebody else's and stay as they are, octet for octet.
//!
//! ```text
//! nginx     ann:$6$…:failcake until 2026-03-15T12:00:00Z
//! haproxy   userlist preview
//!               user ann password $6$… # failcake until 2026-03-15T12:00:00Z
//! ```
//!
//! Sources: nginx, `auth_basic_user_file` (what follows a second colon is a comment); HAProxy, "Userlists".

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config::AccessKind;
use crate::name::{LoginName, PasswordHash, SiteName};

/// Begins the comment of each line that is ours.
const MARK: &str = "failcake until ";

/// One line of ours.
pub(super) type Line<'a> = (&'a LoginName, &'a PasswordHash, &'a Timestamp);

/// `text` with exactly `logins` as our lines.
pub(super) fn render<'a>(
    kind: AccessKind,
    site: &SiteName,
    text: &[u8],
    logins: impl Iterator<Item = Line<'a>>,
) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = lines(text).filter(|line| !is_ours(kind, line)).collect();
    let ours: Vec<String> = logins.map(|login| write(kind, login)).collect();
    let header = format!("userlist {site}");
    let at = match kind {
        AccessKind::Nginx => kept.len(),
        AccessKind::Haproxy => match kept.iter().position(|line| begins_list(line, site)) {
            Some(at) => at + 1,
            None => {
                kept.push(header.as_bytes());
                kept.len()
            }
        },
    };
    let (before, after) = kept.split_at(at);
    let all = before.iter().copied().chain(ours.iter().map(String::as_bytes)).chain(after.iter().copied());
    let mut new = Vec::with_capacity(text.len() + 200 * ours.len());
    for line in all {
        new.extend_from_slice(line);
        new.push(b'\n');
    }
    // A last line without its line feed gets one only when something changes.
    if new.strip_suffix(b"\n") == Some(text) { text.to_vec() } else { new }
}

/// Who has a login there that is not ours.
pub(super) fn foreign(kind: AccessKind, site: &SiteName, text: &[u8]) -> BTreeSet<String> {
    let word = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let others = lines(text).filter(|line| !is_ours(kind, line));
    match kind {
        AccessKind::Nginx => {
            let login = |line: &[u8]| {
                let colon = line.iter().position(|octet| *octet == b':')?;
                (!line.starts_with(b"#")).then(|| word(&line[..colon]))
            };
            others.filter_map(login).collect()
        }
        AccessKind::Haproxy => {
            let inside = others.skip_while(|line| !begins_list(line, site)).skip(1);
            let inside = inside.take_while(|line| !matches!(words(line).next(), Some(word) if is_section(word)));
            let login = |line: &[u8]| {
                let mut words = words(line);
                (words.next() == Some(b"user")).then(|| words.next().map(word)).flatten()
            };
            inside.filter_map(login).collect()
        }
    }
}

/// How many lines of ours there are.
pub(super) fn count(kind: AccessKind, text: &[u8]) -> usize {
    lines(text).filter(|line| is_ours(kind, line)).count()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_empty = text.is_empty();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|octet| *octet == b'\n').filter(move |_| !is_empty)
}

fn write(kind: AccessKind, (user, hash, until): Line<'_>) -> String {
    match kind {
        AccessKind::Nginx => format!("{user}:{hash}:{MARK}{until:.0}"),
        AccessKind::Haproxy => format!("    user {user} password {hash} # {MARK}{until:.0}"),
    }
}

fn is_ours(kind: AccessKind, line: &[u8]) -> bool {
    let comment = match kind {
        AccessKind::Nginx if line.starts_with(b"#") => None,
        AccessKind::Nginx => line.splitn(3, |octet| *octet == b':').nth(2),
        AccessKind::Haproxy if words(line).next() != Some(b"user") => None,
        AccessKind::Haproxy => line.splitn(2, |octet| *octet == b'#').nth(1).map(<[u8]>::trim_ascii_start),
    };
    comment.is_some_and(|comment| comment.starts_with(MARK.as_bytes()))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn begins_list(line: &[u8], site: &SiteName) -> bool {
    let mut words = words(line);
    words.next() == Some(b"userlist") && words.next() == Some(site.as_str().as_bytes())
}

/// What ends a userlist: the beginning of another section.
fn is_section(word: &[u8]) -> bool {
    // Within one only these stand; all else begins something new.
    !matches!(word, b"user" | b"group") && !word.starts_with(b"#") && !word.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn site() -> SiteName {
        "preview".parse().unwrap()
    }

    fn hash() -> PasswordHash {
        format!("$6$rounds=1000$salt${}", "a".repeat(86)).parse().unwrap()
    }

    fn rendered(kind: AccessKind, text: &str, users: &[&str]) -> String {
        let users: Vec<LoginName> = users.iter().map(|user| user.parse().unwrap()).collect();
        let until: Timestamp = "2026-03-15T12:00:00Z".parse().unwrap();
        let hash = hash();
        let new = render(kind, &site(), text.as_bytes(), users.iter().map(|user| (user, &hash, &until)));
        String::from_utf8(new).unwrap().replace(hash.as_str(), "HASH")
    }

    #[test]
    fn nginx_has_no_header_and_a_comment_behind_the_second_colon() {
        let new = rendered(AccessKind::Nginx, "", &["ann", "bob"]);
        assert_eq!(new, "ann:HASH:failcake until 2026-03-15T12:00:00Z\nbob:HASH:failcake until 2026-03-15T12:00:00Z\n");
        assert_eq!(rendered(AccessKind::Nginx, &new, &[]), "");
        assert_eq!(rendered(AccessKind::Nginx, "", &[]), "");
    }

    #[test]
    fn haproxy_has_its_header_once_and_keeps_it() {
        let new = rendered(AccessKind::Haproxy, "", &["ann"]);
        assert_eq!(new, "userlist preview\n    user ann password HASH # failcake until 2026-03-15T12:00:00Z\n");
        assert_eq!(rendered(AccessKind::Haproxy, &new, &[]), "userlist preview\n");
        let text = "userlist other\n  user x password y\nuserlist preview # ours\n\tuser root password z\nbackend b\n";
        assert_eq!(
            rendered(AccessKind::Haproxy, text, &["ann"]),
            "userlist other\n  user x password y\nuserlist preview # ours\n    user ann password HASH # failcake until \
             2026-03-15T12:00:00Z\n\tuser root password z\nbackend b\n"
        );
    }

    #[test]
    fn what_others_wrote_stays_and_is_theirs() {
        let text = "# people\nroot:$apr1$x:failcake is great\n\nold:plain";
        assert_eq!(rendered(AccessKind::Nginx, text, &[]), text, "nothing to do: not even a line feed");
        assert!(rendered(AccessKind::Nginx, text, &["ann"]).starts_with(&format!("{text}\nann:")));
        let found = foreign(AccessKind::Nginx, &site(), rendered(AccessKind::Nginx, text, &["ann"]).as_bytes());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["old", "root"]);
        let text = "userlist other\n user x password y\nuserlist preview\n user bob insecure-password z # failcake\n \
                    group g users bob\n user eve password q\nfrontend f\n user mallory password q\n";
        let found = foreign(AccessKind::Haproxy, &site(), rendered(AccessKind::Haproxy, text, &["ann"]).as_bytes());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["bob", "eve"]);
    }

    proptest! {
        #[test]
        fn whatever_is_there_only_our_lines_change(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            words in "(userlist preview\n|user a b\n|user a b # failcake until x\n|a:b:failcake until x\n|a:b\n|#\n|\n| ){0,12}",
        ) {
            for text in [text.as_slice(), words.as_bytes()] {
                for kind in [AccessKind::Nginx, AccessKind::Haproxy] {
                    let ann: LoginName = "ann".parse().unwrap();
                    let (hash, until) = (hash(), Timestamp::UNIX_EPOCH);
                    let one = || std::iter::once((&ann, &hash, &until));
                    let new = render(kind, &site(), text, one());
                    prop_assert_eq!(count(kind, &new), 1);
                    prop_assert_eq!(&render(kind, &site(), &new, one()), &new, "a second time changes nothing");
                    let theirs = |text: &[u8]| -> Vec<Vec<u8>> {
                        let header = format!("userlist {}", site()).into_bytes();
                        let line = |line: &[u8]| (!is_ours(kind, line) && line != header).then(|| line.to_vec());
                        lines(text).filter_map(line).collect()
                    };
                    prop_assert_eq!(theirs(&new), theirs(text));
                    let none = render(kind, &site(), &new, std::iter::empty());
                    prop_assert_eq!(count(kind, &none), 0);
                    prop_assert_eq!(theirs(&none), theirs(text));
                    prop_assert_eq!(foreign(kind, &site(), &none), foreign(kind, &site(), &new));
                }
            }
        }
    }
}
