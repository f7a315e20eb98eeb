//! What one file of the spool is: its name and its first line.
//!
//! `failcake-spool 1 OCTETS SUM ABOUT`, LF, then that many octets. Nothing is fsynced on the way that gets its
//! receipt, so a power loss may leave any entry empty, short or full of zeros: length and sum tell.

use std::fmt;

use super::fnv64;

/// Name of a waiting entry: `<20-digit number>-<event id>`. Names sort in the order of spooling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Place in the order.
    pub number: u64,
    /// What identifies the event on the bus.
    pub id: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{}", self.number, self.id)
    }
}

impl Name {
    /// Reads a file name; `None` for what is no entry.
    pub(super) fn parse(text: &str) -> Option<Name> {
        let (number, id) = (text.get(..20)?, text.get(20..)?.strip_prefix('-')?);
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        (digits && is_id(id)).then(|| Some(Name { number: number.parse().ok()?, id: id.to_owned() }))?
    }
}

/// May `id` be part of a file name? Letters, digits, `-` and `_`, at most 64.
pub fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// One line for `spool list`.
    pub about: String,
    /// As it was given to [`super::Spool::put`].
    pub payload: Vec<u8>,
}

/// Longest first line that is read or written, in octets.
pub(super) const HEAD: usize = 1024;
const MAGIC: &str = "failcake-spool";

pub(super) fn encode(about: &str, payload: &[u8]) -> Vec<u8> {
    let mut line = format!("{MAGIC} 1 {} {:016x} ", payload.len(), fnv64(payload));
    for c in printable(about).chars() {
        if line.len() + c.len_utf8() >= HEAD {
            break;
        }
        line.push(c);
    }
    line.push('\n');
    let mut bytes = Vec::with_capacity(line.len() + payload.len());
    bytes.extend_from_slice(line.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads the whole entry.
///
/// # Errors
/// Says in words how it is damaged.
pub(super) fn decode(bytes: &[u8]) -> Result<Content, String> {
    let (length, sum, about, rest) = head(bytes)?;
    if rest.len() != length {
        return Err(format!("{} of {length} octets are there: a power loss cut it short", rest.len()));
    }
    if fnv64(rest) != sum {
        return Err("its sum is wrong: the file was damaged".to_owned());
    }
    Ok(Content { about, payload: rest.to_vec() })
}

/// The line for `spool list`, from the first [`HEAD`] octets.
pub(super) fn about(bytes: &[u8]) -> Result<String, String> {
    head(bytes).map(|(_, _, about, _)| about)
}

fn head(bytes: &[u8]) -> Result<(usize, u64, String, &[u8]), String> {
    if bytes.is_empty() {
        return Err("it is empty: a power loss came before it was on disk".to_owned());
    }
    let no_entry = || "it does not begin as an entry of the spool".to_owned();
    let eol = bytes.iter().take(HEAD).position(|b| *b == b'\n').ok_or_else(no_entry)?;
    let line = std::str::from_utf8(&bytes[..eol]).map_err(|_| no_entry())?;
    let mut words = line.splitn(5, ' ');
    if words.next() != Some(MAGIC) {
        return Err(no_entry());
    }
    match words.next() {
        Some("1") => {}
        other => return Err(format!("its format {other:?} is of another failcake; this one knows 1")),
    }
    let length = words.next().and_then(|word| word.parse().ok()).ok_or_else(no_entry)?;
    let sum = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()).ok_or_else(no_entry)?;
    Ok((length, sum, printable(words.next().unwrap_or_default()), &bytes[eol + 1..]))
}

/// Other users' lines come to root's terminal: no escape sequence passes.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', " ")
}
