//! Documents that are signed, and the messages that carry them: a line for people, and a JSON line with a version.
//!
//! Documents travel as text inside the JSON line, so what was signed is octet for octet what is checked. Nothing here
//! signs or checks: whoever trusts has to.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Envelope, Error, json_line, one_line};

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
        serde_json::from_str(text).map_err(|error| Error::Bad { key: Self::WHAT, why: error.to_string() })
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
    let wire: Wire<T> = serde_json::from_str(text).map_err(|error| Error::Bad { key, why: error.to_string() })?;
    Ok(wire.rest)
}
