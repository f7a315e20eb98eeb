//! What goes over the bus: an envelope of headers around a text body that people and the older Ruby daemons read,
//! with one JSON line at its end for programs.
//!
//! Nothing here knows STOMP: an [`Event`] yields headers and a body, an [`Envelope`] reads them.

pub mod access;
pub mod build;
pub mod deploy;
pub mod package;
pub mod push;
pub mod revision;
pub mod signed;
pub mod summary;
pub mod terminal;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// No event's body is larger, in octets.
pub const BODY_MAX: usize = 256 * 1024;

/// A received body that is larger, in octets, is refused unread: four times what any emitter sends.
pub const READ_MAX: usize = 4 * BODY_MAX;

/// The subject of every human line: the old chat bot tells its messages from others by it.
const HUMAN_SUBJECT: &str = "Talking to eventbot";

/// The name of one event, the same however often it is delivered: receivers drop what they have seen. A UUID of
/// version 7, so that names sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventId(uuid::Uuid);

impl EventId {
    /// A new one; reads the clock and the kernel's random numbers.
    pub fn new() -> EventId {
        EventId(uuid::Uuid::now_v7())
    }
}

impl EventId {
    /// The name that follows from `seed`, the same each time: what is told again after a crash is then known as told.
    /// A UUID of version 8 (RFC 9562, section 5.8).
    pub fn derived(seed: [u8; 16]) -> EventId {
        EventId(uuid::Builder::from_custom_bytes(seed).into_uuid())
    }
}

impl Default for EventId {
    fn default() -> EventId {
        EventId::new()
    }
}

impl FromStr for EventId {
    type Err = Error;
    fn from_str(word: &str) -> Result<EventId, Error> {
        let uuid = uuid::Uuid::try_parse(word).map_err(|_| Error::bad("event-id", word, "it is no UUID"))?;
        Ok(EventId(uuid))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an event is about: the `event-type` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// A ref of a repository changed: [`push::Push`].
    Push,
    /// A revision of a Subversion repository touched a project: [`revision::Revision`].
    Revision,
    /// A build began or ended: [`build::Build`].
    Build,
    /// An operator orders or asks something: [`deploy::Request`].
    DeployRequest,
    /// A node answers: [`deploy::Reply`].
    DeployReply,
    /// A package came into a repository: [`package::Package`].
    Package,
    /// Somebody is let in, or no longer: [`access::Order`].
    Access,
    /// One line for people.
    Human,
}

impl EventType {
    /// As the header has it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Push => "push",
            EventType::Revision => "revision",
            EventType::Build => "build",
            EventType::DeployRequest => "deploy-request",
            EventType::DeployReply => "deploy-reply",
            EventType::Package => "package",
            EventType::Access => "access",
            EventType::Human => "human",
        }
    }
}

/// Something that happened, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// One line; control characters are spaces.
    pub subject: String,
    /// The whole envelope, `subject` included, in the order of the wire. Never a `content-length`: ActiveMQ makes bytes
    /// of a message that has one, and the old daemons could then not read the text.
    pub headers: Vec<(String, String)>,
    /// Text without NUL.
    pub body: String,
}

impl Event {
    /// Puts the envelope around `body`. A NUL in it, which only a broken object can bring, becomes U+FFFD.
    pub fn new(id: EventId, kind: EventType, time: jiff::Timestamp, subject: &str, body: String) -> Event {
        let subject = one_line(subject).into_owned();
        let body = if body.contains('\0') { body.replace('\0', "\u{fffd}") } else { body };
        let headers = vec![
            ("subject".to_owned(), subject.clone()),
            ("event-id".to_owned(), id.to_string()),
            ("event-type".to_owned(), kind.as_str().to_owned()),
            ("event-time".to_owned(), format!("{time:.3}")),
            ("persistent".to_owned(), "true".to_owned()),
        ];
        Event { subject, headers, body }
    }

    /// The line for people that goes to an events topic beside the event itself. It is an event of its own, with its
    /// own name: who listens to both topics must not take one for the other's repetition.
    pub fn human(time: jiff::Timestamp, line: &str) -> Event {
        Event::human_with(EventId::new(), time, line)
    }

    /// [`human`](Self::human) with a name that the caller has for it.
    pub fn human_with(id: EventId, time: jiff::Timestamp, line: &str) -> Event {
        Event::new(id, EventType::Human, time, HUMAN_SUBJECT, one_line(line).into_owned())
    }
}

/// `text` without anything that would begin another line or disturb a terminal.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { Cow::Owned(text.replace(char::is_control, " ")) } else { Cow::Borrowed(text) }
}

/// Why a message is not what it should be. It is reported and dropped; the watcher lives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More octets than any emitter sends.
    #[error("the body has {0} octets, more than the {READ_MAX} that are read")]
    TooLarge(usize),
    /// Of another failcake.
    #[error(
        "it is written in version {version}, and failcake {me} knows version {known}: update the older of the two",
        version = .0, me = env!("CARGO_PKG_VERSION"), known = signed::VERSION
    )]
    Version(u32),
    /// A value that must be there is not.
    #[error("the message has no {0:?}")]
    Missing(&'static str),
    /// A value that is not what it should be.
    #[error("{key}: {why}")]
    Bad {
        /// Which value.
        key: &'static str,
        /// Which rule it breaks.
        why: String,
    },
}

impl Error {
    fn bad(key: &'static str, word: &str, rule: &str) -> Error {
        let word: String = word.chars().take(100).collect();
        Error::Bad { key, why: format!("{word:?}: {rule}") }
    }
}

/// A received message that is no beat.
#[derive(Debug)]
pub struct Envelope<'a> {
    headers: &'a [(String, String)],
    text: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Takes what came. `None` for a beat (a body of one newline), which keeps idle links open and says nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn read(headers: &'a [(String, String)], body: &'a [u8]) -> Result<Option<Envelope<'a>>, Error> {
        if matches!(body, b"" | b"\n" | b"\r\n") {
            return Ok(None);
        }
        if body.len() > READ_MAX {
            return Err(Error::TooLarge(body.len()));
        }
        // The old hooks send a log in whatever encoding it has.
        Ok(Some(Envelope { headers, text: String::from_utf8_lossy(body) }))
    }

    /// The first header of that name: the one that counts (STOMP 1.2, "Repeated Header Entries").
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The event's name, if it has a sound one; the old daemons send none.
    pub fn event_id(&self) -> Option<EventId> {
        self.header("event-id")?.parse().ok()
    }

    /// The value of `key: value` among the lines before the first that is none; of two the first counts.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.text.lines().map_while(key_and_value).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The JSON text: what follows `JSON: ` on the last line, or a body that is JSON as a whole. Only the last line: what
    /// looks like one further up is somebody's commit message.
    pub fn json(&self) -> Option<&str> {
        let text = self.text.trim();
        if text.starts_with('{') {
            return Some(text);
        }
        text.lines().next_back()?.strip_prefix("JSON:").map(str::trim)
    }
}

/// Splits `key: value`; a key is a word of letters, digits, `-` and `_` that begins the line.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    word.then(|| (key, value.trim()))
}

/// Appends `text`, each line indented, so that none of what somebody else wrote can pose as a header or as the JSON line.
fn indent(out: &mut String, text: &str) {
    // All that some language's "next line" splits at.
    for line in text.replace("\r\n", "\n").split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']) {
        if !line.is_empty() {
            out.push_str("    ");
            out.extend(line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }));
        }
        out.push('\n');
    }
}

/// Cuts to at most `max` octets, between characters, and says so.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

/// Appends the last line of a body: `JSON: {…}`.
fn json_line(out: &mut String, wire: &impl serde::Serialize) {
    // Strings and numbers only: serde_json fails on maps with other keys and on failing writers.
    let mut json = serde_json::to_string(wire).unwrap_or_default();
    // JSON lets these stand in strings, where some readers see a line's end.
    for c in ['\u{85}', '\u{2028}', '\u{2029}'] {
        if json.contains(c) {
            json = json.replace(c, &format!("\\u{:04x}", u32::from(c)));
        }
    }
    out.push_str("JSON: ");
    out.push_str(&json);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_complete_and_cannot_be_broken_out_of() {
        let id = EventId::new();
        let time = "2024-02-29T12:00:00.5Z".parse().unwrap();
        let event = Event::new(id, EventType::Push, time, "[a]\nevil:header\0 b", "x\0y\n".to_owned());
        assert_eq!(event.subject, "[a] evil:header  b");
        assert_eq!(event.body, "x\u{fffd}y\n");
        let header = |name| event.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(header("subject"), Some("[a] evil:header  b"));
        assert_eq!(header("event-id"), Some(id.to_string().as_str()));
        assert_eq!(header("event-type"), Some("push"));
        assert_eq!(header("event-time"), Some("2024-02-29T12:00:00.500Z"));
        assert_eq!(header("persistent"), Some("true"));
        assert_eq!(header("content-length"), None);
    }

    #[test]
    fn the_human_line_is_one_line_and_another_event() {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let (one, two) = (Event::human(time, "[spog] a\nb"), Event::human(time, "[spog] a\nb"));
        assert_eq!(one.subject, "Talking to eventbot");
        assert_eq!(one.body, "[spog] a b");
        assert_ne!(one.headers, two.headers, "two lines are two events");
    }

    #[test]
    fn ids_are_of_version_7_and_sort_by_time() {
        let (one, two) = (EventId::new(), EventId::new());
        assert!(one < two);
        assert_eq!(one.to_string().as_bytes()[14], b'7');
        assert_eq!(one.to_string().parse::<EventId>(), Ok(one));
        assert!("not-a-uuid".parse::<EventId>().is_err());
    }

    #[test]
    fn a_beat_is_no_message_and_a_flood_is_refused() {
        assert!(Envelope::read(&[], b"\n").unwrap().is_none());
        assert!(Envelope::read(&[], b"").unwrap().is_none());
        assert!(Envelope::read(&[], b"\n\n").unwrap().is_some());
        let flood = vec![b'x'; READ_MAX + 1];
        assert_eq!(Envelope::read(&[], &flood).unwrap_err(), Error::TooLarge(READ_MAX + 1));
    }

    #[test]
    fn fields_end_at_the_first_line_that_is_none() {
        let read = |body: &'static str| Envelope::read(&[], body.as_bytes()).unwrap().unwrap();
        let envelope = read("repo: spog\nurl: http://a:80/b\nrepo: other\n\noldrev: hidden\n");
        assert_eq!(envelope.field("repo"), Some("spog"));
        assert_eq!(envelope.field("url"), Some("http://a:80/b"));
        assert_eq!(envelope.field("oldrev"), None);
        assert_eq!(read("repo: spog\n    newrev: x\n").field("newrev"), None);
        assert_eq!(read("no colon\nrepo: x\n").field("repo"), None);
    }

    #[test]
    fn json_is_the_last_line_or_the_whole_body() {
        let read = |body: &'static str| Envelope::read(&[], body.as_bytes()).unwrap().unwrap();
        assert_eq!(read("repo: a\nJSON: {\"a\":1}\n").json(), Some("{\"a\":1}"));
        assert_eq!(read("{\"a\":\n1}\n").json(), Some("{\"a\":\n1}"));
        assert_eq!(read("repo: a\nJSON: {\"evil\":1}\n    more\n").json(), None);
        assert_eq!(read("repo: a\n    JSON: {\"evil\":1}\n").json(), None);
    }
}
