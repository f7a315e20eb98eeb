//! Somebody is let into a site for a while, or no longer: a signed order, or, from the old tools, a password in the clear.
//!
//! An order is a command: it is never spooled, it names who gives it and until when it may be taken, and nodes check
//! its signature. docs/access.md is the page for people.

use serde::{Deserialize, Serialize};

pub use super::signed::{Document, Signed};

use super::signed::{body, parse};
use super::{Envelope, Error, Event, EventId, EventType};
use crate::name::{LoginName, PasswordHash, Principal, SiteName};

/// The namespace of an order's SSH signature.
pub const NAMESPACE: &str = "failcake-access";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name; a node takes it once.
    pub id: EventId,
    /// Into which site.
    pub site: SiteName,
    /// Who logs in.
    pub user: LoginName,
    /// Let in, or no longer.
    pub action: Action,
    /// Who gives the order, a principal of the allowed signers file.
    pub who: Principal,
    /// When it was given. Of two orders for one login the later counts, in whatever order they come.
    pub issued: jiff::Timestamp,
    /// Who gets it later does nothing.
    pub not_after: jiff::Timestamp,
}

/// What an order does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Lets in.
    Grant {
        /// Of the password, which only the giver has.
        hash: PasswordHash,
        /// Until then.
        expires: jiff::Timestamp,
    },
    /// Ends it before its time.
    Revoke,
}

impl Document for Order {
    const WHAT: &'static str = "order";
}

impl Order {
    /// The line for people.
    pub fn subject(&self) -> String {
        let Order { site, user, .. } = self;
        match self.action {
            Action::Grant { .. } => format!("Allow access to {site} for {user}"),
            Action::Revoke => format!("Revoke access to {site} for {user}"),
        }
    }

    /// The message that carries it; `signature` is over [`Document::to_text`].
    pub fn event(&self, signature: String) -> Event {
        let wire = Wire { access: Signed { document: self.to_text(), signature } };
        Event::new(self.id, EventType::Access, self.issued, &self.subject(), body(&self.subject(), &wire))
    }
}

/// A login as the old tools give it: `Site:`, `User:`, `Password:`. Everybody on the bus has read it. `Debug` shows no
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct Clear {
    /// Into which site.
    pub site: SiteName,
    /// Who logs in.
    pub user: LoginName,
    /// With this.
    pub password: String,
}

impl std::fmt::Debug for Clear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clear").field("site", &self.site).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    access: Signed,
}

/// A message of the topic `access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An order, not checked: what it says counts when `signed` holds.
    Order {
        /// What it says.
        order: Box<Order>,
        /// What was signed.
        signed: Signed,
    },
    /// One of the old tools'.
    Clear(Clear),
}

impl Heard {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::Version`] of another failcake; [`Error::Bad`] and [`Error::Missing`].
    pub fn parse(envelope: &Envelope<'_>) -> Result<Heard, Error> {
        if envelope.json().is_some() {
            let Wire { access: signed } = parse(envelope, "access")?;
            let order = Box::new(Order::from_text(&signed.document)?);
            return Ok(Heard::Order { order, signed });
        }
        let field = |key| envelope.field(key).filter(|value| !value.is_empty()).ok_or(Error::Missing(key));
        // The errors of names quote what they refuse, and that is not the password.
        let site = field("Site")?.parse().map_err(|error: crate::name::NameError| bad("Site", &error))?;
        let user = field("User")?.parse().map_err(|error: crate::name::NameError| bad("User", &error))?;
        let password = field("Password")?;
        if password.len() > 256 || password.contains(char::is_control) {
            return Err(Error::Bad { key: "Password", why: "it is longer than 256 bytes, or not one line".to_owned() });
        }
        Ok(Heard::Clear(Clear { site, user, password: password.to_owned() }))
    }

    /// Into which site.
    pub fn site(&self) -> &SiteName {
        match self {
            Heard::Order { order, .. } => &order.site,
            Heard::Clear(clear) => &clear.site,
        }
    }
}

fn bad(key: &'static str, error: &crate::name::NameError) -> Error {
    Error::Bad { key, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(action: Action) -> Order {
        let time: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        Order {
            id: EventId::new(),
            site: "preview".parse().unwrap(),
            user: "ann".parse().unwrap(),
            action,
            who: "ops@example.org".parse().unwrap(),
            issued: time,
            not_after: time,
        }
    }

    fn grant() -> Order {
        let hash = format!("$6$rounds=1000$salt${}", "a".repeat(86)).parse().unwrap();
        order(Action::Grant { hash, expires: "2026-03-15T12:00:00Z".parse().unwrap() })
    }

    fn read(body: &str) -> Result<Heard, Error> {
        Heard::parse(&Envelope::read(&[], body.as_bytes()).unwrap().unwrap())
    }

    #[test]
    fn what_was_signed_arrives_octet_for_octet() {
        for (order, subject) in
            [(grant(), "Allow access to preview for ann"), (order(Action::Revoke), "Revoke access to preview for ann")]
        {
            let event = order.event("SIGNATURE\nLINES\n".to_owned());
            assert_eq!(event.subject, subject);
            let envelope = Envelope::read(&event.headers, event.body.as_bytes()).unwrap().unwrap();
            assert_eq!(envelope.event_id(), Some(order.id));
            let Heard::Order { order: heard, signed } = Heard::parse(&envelope).unwrap() else { panic!() };
            assert_eq!((*heard, signed.document), (order.clone(), order.to_text()));
            assert_eq!(signed.signature, "SIGNATURE\nLINES\n");
        }
    }

    /// The old daemon takes what stands behind these words.
    #[test]
    fn an_order_says_nothing_that_the_old_daemon_takes() {
        let event = grant().event(String::new());
        for word in ["Site:", "User:", "Password:"] {
            assert!(!event.body.contains(word), "{}", event.body);
        }
    }

    #[test]
    fn the_old_tools_words_are_read_and_the_password_is_shown_nowhere() {
        let heard = read("Site: preview\nUser: ann\nPassword: s3cret:word\n").unwrap();
        let Heard::Clear(clear) = &heard else { panic!("{heard:?}") };
        assert_eq!((clear.user.as_str(), clear.password.as_str()), ("ann", "s3cret:word"));
        assert!(!format!("{heard:?}").contains("s3cret"));
        for (body, said) in [
            ("Site: ../x\nUser: ann\nPassword: s3cret\n", "Site"),
            ("Site: preview\nUser: an:n\nPassword: s3cret\n", "User"),
            ("Site: preview\nUser: # ann\nPassword: s3cret\n", "User"),
            ("Site: preview\nPassword: s3cret\n", "User"),
            ("Site: preview\nUser: ann\nPassword: s3\u{1b}cret\n", "Password"),
            ("Site: preview\nUser: ann\nPassword:\n", "Password"),
            ("hello s3cret\n", "Site"),
        ] {
            let error = read(body).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("s3cret"), "{body:?}: {error}");
        }
    }

    #[test]
    fn hostile_and_foreign_orders_are_refused_by_name() {
        let text = grant().to_text();
        let carry = |document: &str| {
            let wire = serde_json::json!({ "version": 1, "access": { "document": document, "signature": "" } });
            read(&format!("x\nJSON: {wire}\n"))
        };
        carry(&text).unwrap();
        for (from, to) in [
            ("\"ann\"", "\"an:n\""),
            ("\"ann\"", "\"ann\\nroot:x\""),
            ("\"ann\"", "\"#\""),
            ("\"preview\"", "\"../../etc\""),
            ("\"preview\"", "\"a b\""),
            ("$6$rounds=1000", "$6$rounds=999999"),
            ("ops@example.org", "-Oprint"),
            ("ops@example.org", "*"),
        ] {
            let hostile = text.replace(from, to);
            assert_ne!(hostile, text);
            assert!(matches!(carry(&hostile), Err(Error::Bad { .. })), "{hostile}");
        }
        assert!(matches!(carry(&text.replace("\"version\":1", "\"version\":2")), Err(Error::Version(2))));
        assert!(matches!(read("x\nJSON: {\"version\":7}\n"), Err(Error::Version(7))));
        assert!(carry(&text.replace("\"user\":\"ann\"", "\"user\":\"ann\",\"user\":\"bob\"")).is_err(), "said twice");
    }
}
