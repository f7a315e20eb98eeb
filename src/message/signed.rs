//! Documents that are signed, and the messages that carry them: a line for people, and a JSON line with a version.
//!
//! Documents travel as text inside the JSON line, so what was signed is octet for octet what is checked. Nothing here
//! signs or checks: whoever trusts has to.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::terminal::printable;
use super::{Envelope, Error, cut, json_line, one_line};

/// Octets of what is wrong with a document: the error may quote a word of it, however long that is.
const WHY_MAX: usize = 300;

/// The version of all such documents and messages. Another one is refused politely: see [`Error::Version`].
pub const VERSION: u32 = 1;

/// A document as it was signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// JSON text.
    pub document: String,
    /// An armored SSH signature (plan, vouch), or an Ed25519 signature in base64 (order, report).
    pub signature: String,
}

/// Anything that is signed: one JSON object with the version in it.
pub trait Document: Serialize + DeserializeOwned {
    /// For messages: `plan`, `order`.
    const WHAT: &'static str;

    /// The text that is to be signed.
    fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            rest: &'a T,
        }
        // Strings, numbers and lists: serde_json fails on maps with other keys and on failing writers.
        serde_json::to_string(&Versioned { version: VERSION, rest: self }).unwrap_or_default()
    }

    /// Reads what [`to_text`](Self::to_text) wrote. The signature is to be checked by the caller, over the same text.
    ///
    /// # Errors
    /// [`Error::Version`] of a newer failcake; [`Error::Bad`].
    fn from_text(text: &str) -> Result<Self, Error> {
        check_version(text)?;
        serde_json::from_str(text).map_err(|error| bad(Self::WHAT, &error))
    }
}

fn check_version(text: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Only {
        version: u32,
    }
    let only: Only = serde_json::from_str(text).map_err(|_| Error::Missing("version"))?;
    if only.version == VERSION { Ok(()) } else { Err(Error::Version(only.version)) }
}

/// What does not parse is anybody's, and the error that quotes it is read on terminals and in logs.
fn bad(key: &'static str, error: &serde_json::Error) -> Error {
    let mut why = printable(&error.to_string());
    cut(&mut why, WHY_MAX);
    Error::Bad { key, why }
}

#[derive(Serialize, Deserialize)]
struct Wire<T> {
    version: u32,
    #[serde(flatten)]
    rest: T,
}

/// The body of a message: `about` for people, then `rest` for programs.
pub(super) fn body(about: &str, rest: &impl Serialize) -> String {
    let mut body = one_line(about).into_owned();
    body.push('\n');
    json_line(&mut body, &Wire { version: VERSION, rest });
    body
}

/// Reads what [`body`] wrote; `key` names it in errors.
pub(super) fn parse<T: DeserializeOwned>(envelope: &Envelope<'_>, key: &'static str) -> Result<T, Error> {
    let text = envelope.json().ok_or(Error::Missing("JSON line"))?;
    check_version(text)?;
    let wire: Wire<T> = serde_json::from_str(text).map_err(|error| bad(key, &error))?;
    Ok(wire.rest)
}

#[cfg(test)]
mod tests {
    use super::super::deploy::{PlanId, Report};
    use super::*;

    #[test]
    fn what_is_wrong_with_a_document_disturbs_no_terminal_and_has_an_end() {
        for word in ["\\u001b[2J\\u202e".to_owned(), "x".repeat(100_000)] {
            let id = PlanId::new();
            let text = format!(
                r#"{{"version":1,"about":"{id}","node":"web01","time":"2026-01-01T00:00:00Z","answer":{{"is":"{word}"}}}}"#
            );
            let why = Report::from_text(&text).unwrap_err().to_string();
            assert!(why.starts_with("report: unknown variant `"), "{why}");
            assert!(!why.contains(['\u{1b}', '\u{202e}']) && why.len() < 400, "{why}");
        }
    }
}
