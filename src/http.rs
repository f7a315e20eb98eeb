//! What comes over HTTP: webhook deliveries. The only room with an async runtime, and only in `listener`.
//!
//! | room | what it does |
//! |---|---|
//! | [`delivery`] | who sent it, is it authentic, what does it say: no file is written |
//! | [`naming`] | which configured repository a forge means |
//! | [`desk`] | told before? spool it, durably; answer |
//! | [`sender`] | asks the bus afterwards, one thread |
//! | [`listener`] | sockets, limits, a graceful stop |
//!
//! The order is the same for the listener and for CGI: size (413), signature or token (401), parse (400), told before
//! (200), spooled (202), and only then the bus.

pub mod delivery;
pub mod desk;
pub mod listener;
pub mod naming;
pub mod sender;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::message::cut;

/// Octets of a body that are read by default: GitHub sends no more ("Payload cap").
pub const BODY_MAX: usize = 25 * 1024 * 1024;

/// Octets of an answer's text.
const TEXT_MAX: usize = 500;

/// What a sender is told: a status of HTTP and one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200, 202, 400, ….
    pub status: u16,
    /// For people who look at the forge's list of deliveries.
    pub text: Cow<'static, str>,
}

impl Answer {
    /// An answer. It may quote what came, and goes to a log as well: one line, and not a long one.
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Answer {
        let mut text = text.into();
        if text.len() > TEXT_MAX {
            cut(text.to_mut(), TEXT_MAX);
        }
        if text.contains(char::is_control) {
            text = Cow::Owned(text.replace(char::is_control, " "));
        }
        Answer { status, text }
    }

    /// 413, for a body of more than `max` octets.
    pub fn too_large(max: usize) -> Answer {
        Answer::new(413, format!("the body has more than {max} octets"))
    }

    /// 405.
    pub fn only_post() -> Answer {
        Answer::new(405, "a webhook is delivered by POST")
    }

    /// Headers that a status must or should bring, beside type and length (RFC 9110, sections 15.5.2, 15.5.6, 15.6.4).
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.status {
            401 => &[("WWW-Authenticate", "Webhook-Signature")],
            405 => &[("Allow", "POST")],
            503 => &[("Retry-After", "10")],
            _ => &[],
        }
    }

    /// What the status is called.
    pub fn reason(&self) -> &'static str {
        match self.status {
            200 => "OK",
            202 => "Accepted",
            400 => "Bad Request",
            401 => "Unauthorized",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "",
        }
    }
}
