//! Readers of svnlook's words: functions over bytes that refuse nothing but nonsense and never panic.

use std::borrow::Cow;

use jiff::Timestamp;

/// What is known of a revision besides its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Who committed; `None` for an anonymous commit.
    pub author: Option<String>,
    /// When, to the second; `None` where somebody removed the property.
    pub date: Option<Timestamp>,
    /// The log message as it was written.
    pub log: String,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is new.
    Add,
    /// Its text changed.
    Modify,
    /// It is gone, with all below it.
    Delete,
    /// Only its properties changed.
    Properties,
}

/// One path that a revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed<'a> {
    /// What happened to it.
    pub action: Action,
    /// Its properties changed (also) ; svnlook does not tell of those that came with an [`Action::Add`].
    pub properties: bool,
    /// Below the repository's root, without a leading `/`; a directory ends with `/`, and the root is `/`.
    pub path: Cow<'a, str>,
    /// Where it was copied from.
    pub copied: Option<Copied<'a>>,
}

/// The origin of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied<'a> {
    /// As [`Changed::path`].
    pub path: Cow<'a, str>,
    /// Of which revision.
    pub rev: u64,
}

/// Reads `svnlook info`: author, date, size of the log, the log. `None` when it is something else.
pub fn parse_info(said: &[u8]) -> Option<Info> {
    let text = String::from_utf8_lossy(said);
    // An author is whatever the server's administrator made it, line feeds included: the date tells where it ends.
    let mut author_end = text.find('\n')?;
    let (date, log) = loop {
        let (date, rest) = text[author_end + 1..].split_once('\n')?;
        if let (Some(date), Some((size, log))) = (parse_date(date), rest.split_once('\n'))
            && !size.is_empty()
            && size.bytes().all(|byte| byte.is_ascii_digit())
        {
            break (date, log);
        }
        author_end += 1 + date.len();
    };
    let author = &text[..author_end];
    Some(Info {
        author: (!author.is_empty()).then(|| author.to_owned()),
        date,
        log: log.strip_suffix('\n').unwrap_or(log).to_owned(),
    })
}

/// `2026-11-22 22:00:07 +0000 (Sun, 22 Nov 2026)`, or nothing.
fn parse_date(line: &str) -> Option<Option<Timestamp>> {
    if line.is_empty() {
        return Some(None);
    }
    let moment = line.split_once(" (").map_or(line, |(moment, _)| moment);
    Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", moment).ok().map(Some)
}

/// Reads `svnlook changed --copy-info`, path by path, without keeping any. Lines that are something else are left out.
pub fn parse_changed(said: &[u8]) -> impl Iterator<Item = Changed<'_>> {
    let mut lines = said.split(|byte| *byte == b'\n').peekable();
    std::iter::from_fn(move || {
        loop {
            let Some(mut changed) = parse_path(lines.next()?) else { continue };
            changed.copied = lines.next_if(|line| line.starts_with(b"    (from ")).and_then(parse_origin);
            return Some(changed);
        }
    })
}

/// `A   path`, `A + path`, `D   path`, `U   path`, `_U  path`, `UU  path`.
fn parse_path(line: &[u8]) -> Option<Changed<'_>> {
    let (status, path) = line.split_at_checked(4)?;
    let action = match (status[0], status[1]) {
        (b'A', _) => Action::Add,
        (b'D', _) => Action::Delete,
        (b'U', _) => Action::Modify,
        (b'_', b'U') => Action::Properties,
        _ => return None,
    };
    if path.is_empty() || !matches!(status[2], b' ' | b'+') || status[3] != b' ' {
        return None;
    }
    Some(Changed { action, properties: status[1] == b'U', path: String::from_utf8_lossy(path), copied: None })
}

/// `    (from web/spog/trunk/:r2)`
fn parse_origin(line: &[u8]) -> Option<Copied<'_>> {
    let inner = line.strip_prefix(b"    (from ")?.strip_suffix(b")")?;
    let colon = inner.iter().rposition(|byte| *byte == b':')?;
    let rev = std::str::from_utf8(&inner[colon + 1..]).ok()?.strip_prefix('r')?.parse().ok()?;
    Some(Copied { path: String::from_utf8_lossy(&inner[..colon]), rev })
}
