//! What differs between the brokers: told by the `server` header of CONNECTED.
//!
//! Sources: the brokers' own STOMP code (ActiveMQ `ProtocolConverter`, Artemis `VersionedStompFrameHandler`, RabbitMQ
//! `rabbit_stomp_processor`) and what ActiveMQ 5.17 and RabbitMQ 3.10 were seen to do.

use super::{AckMode, ErrorKind, Frame, ServerError, Subscription, Version};

/// A broker's habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// ActiveMQ classic.
    ActiveMq,
    /// ActiveMQ Artemis.
    Artemis,
    /// RabbitMQ with its STOMP plugin.
    RabbitMq,
    /// failcake's own embedded broker: ActiveMQ's words.
    Failcake,
    /// Anything else, or a broker that hides its name (RabbitMQ's `hide_server_info`): the specification's words,
    /// and for a durable subscription those of all brokers, since each ignores what it does not know.
    Other,
}

/// Roughly one event. Artemis counts what it may send ahead in octets, everyone else in messages.
const ARTEMIS_OCTETS_PER_MESSAGE: u64 = 4 * 1024;

impl Dialect {
    /// Told by the `server` header of CONNECTED.
    pub fn from_server(server: Option<&str>) -> Dialect {
        let server = server.unwrap_or_default().to_ascii_lowercase();
        // Artemis calls itself `ActiveMQ-Artemis/2.x ActiveMQ Artemis Messaging Engine`.
        if server.contains("artemis") {
            Dialect::Artemis
        } else if server.starts_with("activemq") {
            Dialect::ActiveMq
        } else if server.starts_with("rabbitmq") {
            Dialect::RabbitMq
        } else if server.starts_with("failcake") {
            Dialect::Failcake
        } else {
            Dialect::Other
        }
    }

    /// A SUBSCRIBE in this broker's words, without its `receipt`, and the `id` that its MESSAGEs will name; none on
    /// 1.0, where the destination has to tell.
    ///
    /// `number` is unique on the connection. RabbitMQ finds a durable subscription again by `id` and destination
    /// alone, so there the id comes from the durable name and not from the number.
    pub(super) fn subscribe(self, version: Version, number: u32, wanted: &Subscription) -> (Frame, Option<String>) {
        let destination = wanted.destination.as_str();
        // A queue keeps its messages by itself, and ActiveMQ refuses a durable subscription to one.
        let durable = wanted.durable.as_deref().filter(|_| !destination.starts_with("/queue/"));
        let id = match durable {
            Some(name) if matches!(self, Dialect::RabbitMq | Dialect::Other) => Some(format!("{name}@{destination}")),
            _ if version == Version::V1_0 => None,
            _ => Some(number.to_string()),
        };
        let mut frame = Frame::new("SUBSCRIBE");
        if let Some(id) = &id {
            frame = frame.with("id", id.as_str());
        }
        frame = frame.with("destination", destination).with(
            "ack",
            match (wanted.ack, version) {
                (AckMode::Auto, _) => "auto",
                (AckMode::Individual, Version::V1_0) => "client",
                (AckMode::Individual, _) => "client-individual",
            },
        );
        if let Some(routing) = self.routing_type(destination) {
            frame = frame.with("subscription-type", routing);
        }
        if let Some(name) = durable {
            if matches!(self, Dialect::ActiveMq | Dialect::Failcake | Dialect::Other) {
                frame = frame.with("activemq.subscriptionName", name);
            }
            if matches!(self, Dialect::Artemis | Dialect::Other) {
                frame = frame.with("durable-subscription-name", name);
            }
            if matches!(self, Dialect::RabbitMq | Dialect::Other) {
                frame = frame.with("durable", "true").with("auto-delete", "false");
            }
        }
        if let Some(prefetch) = wanted.prefetch {
            // Zero would be silence on ActiveMQ and "no limit" on RabbitMQ.
            let prefetch = u64::from(prefetch.max(1));
            frame = match self {
                Dialect::ActiveMq | Dialect::Failcake => frame.with("activemq.prefetchSize", prefetch.to_string()),
                Dialect::Artemis => {
                    frame.with("consumer-window-size", (prefetch * ARTEMIS_OCTETS_PER_MESSAGE).to_string())
                }
                Dialect::RabbitMq => frame.with("prefetch-count", prefetch.to_string()),
                Dialect::Other => frame,
            };
        }
        (frame, id)
    }

    /// What this broker has to be told on a SEND beside what everyone is.
    pub(super) fn complete_send(self, frame: &mut Frame) {
        let routing = frame.header("destination").and_then(|destination| self.routing_type(destination));
        if let Some(routing) = routing
            && frame.command == "SEND"
            && frame.header("destination-type").is_none()
        {
            frame.headers.push(("destination-type".to_owned(), routing.to_owned()));
        }
    }

    /// Artemis makes an address on first use; without this word a `/queue/` would become a topic by its default.
    fn routing_type(self, destination: &str) -> Option<&'static str> {
        match self {
            Dialect::Artemis if destination.starts_with("/topic/") => Some("MULTICAST"),
            Dialect::Artemis if destination.starts_with("/queue/") => Some("ANYCAST"),
            _ => None,
        }
    }
}

/// A value for the CONNECT frame.
///
/// By the specification nothing is escaped there, but ActiveMQ and RabbitMQ unescape it all the same (RabbitMQ closes
/// the connection without a word at a backslash that begins no escape), and which broker it is nobody knows before its
/// CONNECTED. So a backslash is doubled: right for those two and the embedded broker, wrong for Artemis, where a
/// passcode with a backslash can't be used. CR, LF and NUL, which would begin another
/// header or end the frame, become spaces in [`Frame::encode`]; whoever reads a passcode refuses them before.
pub fn write_login_value(value: &str) -> String {
    value.replace('\\', "\\\\")
}

/// The other side of [`write_login_value`], for a broker: undoes `\\` and leaves every other backslash, so that a
/// client that keeps to the specification is understood too, as long as it has no two backslashes in a row.
pub fn read_login_value(value: &str) -> String {
    value.replace("\\\\", "\\")
}

/// Reads an ERROR frame. `logged_in`: it came after CONNECTED.
pub(super) fn read_error(frame: &Frame, logged_in: bool) -> ServerError {
    let message = one_line(frame.header("message").unwrap_or_default());
    let body = String::from_utf8_lossy(&frame.body[..frame.body.len().min(2048)]).into_owned();
    let detail = one_line(body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default());
    let kind = match kind_of(&message, logged_in) {
        ErrorKind::Other => kind_of(&detail, logged_in),
        kind => kind,
    };
    // ActiveMQ's body is the same text as the first line of a Java stack trace.
    let text = match (message.as_str(), detail.as_str()) {
        ("", "") => "ERROR without a reason".to_owned(),
        ("", detail) => detail.to_owned(),
        (message, detail) if detail.is_empty() || detail.contains(message) || message.contains(detail) => {
            message.to_owned()
        }
        (message, detail) => format!("{message}: {detail}"),
    };
    ServerError { text, kind }
}

/// No control character of a broker's reaches a terminal or begins a line of a log.
fn one_line(text: &str) -> String {
    let text: String = text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// The brokers tell kinds only in words for people; these are theirs.
fn kind_of(text: &str, logged_in: bool) -> ErrorKind {
    let text = text.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // ActiveMQ: `Broker: b - Client: c already connected from tcp://…`, `Durable consumer is in use for client: …`;
    // RabbitMQ: `RESOURCE_LOCKED`.
    if any(&["already connected", "is in use", "already in use", "resource_locked"]) {
        return ErrorKind::InUse;
    }
    // ActiveMQ and Artemis: `User name [u] or password is invalid`; Artemis: `AMQ229031: Unable to validate user`;
    // RabbitMQ: `The credential used to authenticate this connection has expired`.
    if any(&["password is invalid", "unable to validate user", "login refused", "credential"]) {
        return ErrorKind::Login;
    }
    // ActiveMQ: `User u is not authorized to write to: topic://…`; RabbitMQ: `ACCESS_REFUSED - access to … refused for
    // user 'u'`; Artemis: `AMQ229032: User: u does not have permission='SEND' on address …`.
    if logged_in && any(&["not authorized", "access_refused", "refused for user", "not have permission"]) {
        return ErrorKind::Permission;
    }
    // RabbitMQ's `Bad CONNECT`: `Access refused for user 'u'`, `Virtual host 'v' access denied`, `non-loopback access
    // denied`. Its `Connection refused: … limit reached` is none of these: the next try may pass.
    if !logged_in && any(&["access refused", "access denied", "not authorized", "not have permission"]) {
        return ErrorKind::Login;
    }
    ErrorKind::Other
}
