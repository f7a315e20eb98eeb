//! CONNECT: who it is, which version, which heart-beats.

use std::fmt;
use std::time::Duration;

use super::Refusal;
use crate::stomp::dialect::read_login_value;
use crate::stomp::{Frame, Version};

/// The versions, as `version` of an ERROR tells them.
pub(super) const VERSIONS: &str = "1.0,1.1,1.2";

/// No heart-beat is agreed on that is faster: it would cost more than it tells.
const FASTEST_BEAT: Duration = Duration::from_millis(100);
/// Nor slower, which keeps the arithmetic of time safe.
const SLOWEST_BEAT: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may log in. `Debug` shows no passcode.
#[derive(Clone, Default)]
pub struct Users(Vec<(String, String)>);

impl Users {
    /// Nobody is named: everybody may log in, with any words or none.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets a user in, with a passcode.
    pub fn add(&mut self, name: String, passcode: String) {
        self.0.push((name, passcode));
    }

    fn accept(&self, login: &str, passcode: &str) -> bool {
        // Every user is compared, whatever came before: the time tells nothing about who there is.
        let mut accepted = self.is_open();
        for (name, code) in &self.0 {
            accepted |= same(name, login) & same(code, passcode);
        }
        accepted
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Equal? In a time that depends on the length of what the peer said, not on how much of it is right.
fn same(secret: &str, said: &str) -> bool {
    let secret = secret.as_bytes();
    let mut difference = secret.len() ^ said.len();
    for (at, byte) in said.bytes().enumerate() {
        difference |= usize::from(byte ^ secret.get(at).copied().unwrap_or(0));
    }
    std::hint::black_box(difference) == 0
}

/// What a CONNECT comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) version: Version,
    /// The client asked for versions, so it is told which one it has. 1.0 clients know no `version` header.
    pub(super) tell_version: bool,
    pub(super) client_id: Option<String>,
    /// What the broker sends at least every so often.
    pub(super) send_every: Option<Duration>,
    /// What the client promised to send at least every so often.
    pub(super) expect_every: Option<Duration>,
}

impl Login {
    pub(super) fn read(frame: &Frame, users: &Users) -> Result<Login, Refusal> {
        let asked = frame.header("accept-version");
        let version = match asked {
            None => Version::V1_0,
            Some(list) => list.split(',').filter_map(Version::parse).max().ok_or_else(|| {
                Refusal::new("no common protocol version", format!("asked for {list:?}, this broker has {VERSIONS}"))
            })?,
        };
        let login = frame.header("login").unwrap_or_default();
        let passcode = frame.header("passcode").unwrap_or_default();
        // CONNECT is not escaped by the specification, and is unescaped by ActiveMQ and RabbitMQ: a client that
        // doubles its backslashes for them says the same word as one that does not.
        if !users.accept(login, passcode) & !users.accept(&read_login_value(login), &read_login_value(passcode)) {
            return Err(Refusal::new(
                "login refused: wrong user or passcode",
                format!("Access refused for user {login:?}: this broker knows no such user with this passcode"),
            ));
        }
        let (send_every, expect_every) = match (version, frame.header("heart-beat")) {
            (Version::V1_0, _) | (_, None) => (None, None),
            (_, Some(text)) => {
                let (offered, wanted) = beats(text).ok_or_else(|| {
                    Refusal::new("bad heart-beat header", format!("{text:?} is not two numbers of milliseconds"))
                })?;
                (wanted, offered)
            }
        };
        let client_id = frame.header("client-id").map(read_login_value);
        Ok(Login { version, tell_version: asked.is_some(), client_id, send_every, expect_every })
    }

    /// The `heart-beat` of CONNECTED. Both sides come to the same result, because the broker is content with whatever
    /// the client offers and wants (within [`FASTEST_BEAT`]).
    pub(super) fn heart_beat(&self) -> String {
        let millis = |every: Option<Duration>| every.unwrap_or_default().as_millis();
        format!("{},{}", millis(self.send_every), millis(self.expect_every))
    }
}

/// The two sides of a `heart-beat` header; `None` within is "none".
fn beats(text: &str) -> Option<(Option<Duration>, Option<Duration>)> {
    let (offered, wanted) = text.split_once(',')?;
    let side = |text: &str| -> Option<Option<Duration>> {
        let millis: u64 = text.trim().parse().ok()?;
        Some((millis > 0).then(|| Duration::from_millis(millis).clamp(FASTEST_BEAT, SLOWEST_BEAT)))
    };
    Some((side(offered)?, side(wanted)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let mut users = Users::default();
        users.add("git".to_owned(), r"a\b".to_owned());
        users
    }

    #[test]
    fn a_passcode_counts_as_it_is_and_with_doubled_backslashes() {
        for (passcode, good) in [(r"a\b", true), (r"a\\b", true), (r"a\\\\b", false), ("a", false), ("", false)] {
            let frame = Frame::new("CONNECT").with("login", "git").with("passcode", passcode);
            assert_eq!(Login::read(&frame, &users()).is_ok(), good, "{passcode}");
        }
        assert!(Login::read(&Frame::new("CONNECT").with("login", "other").with("passcode", r"a\b"), &users()).is_err());
        assert!(Login::read(&Frame::new("CONNECT"), &users()).is_err());
    }

    #[test]
    fn the_best_common_version_is_taken() {
        for (asked, version) in [
            (None, Some(Version::V1_0)),
            (Some("1.0,1.1"), Some(Version::V1_1)),
            (Some("1.2,1.0, 1.1"), Some(Version::V1_2)),
            (Some("1.1,2.0"), Some(Version::V1_1)),
            (Some("2.0"), None),
            (Some(""), None),
        ] {
            let mut frame = Frame::new("STOMP");
            if let Some(asked) = asked {
                frame = frame.with("accept-version", asked);
            }
            assert_eq!(Login::read(&frame, &Users::default()).ok().map(|login| login.version), version, "{asked:?}");
        }
    }

    #[test]
    fn heart_beats_are_what_the_client_says_within_reason() {
        for (said, answer) in [
            ("0,0", Some("0,0")),
            ("1000,5000", Some("5000,1000")),
            ("1,0", Some("0,100")),
            ("0,99999999999999", Some("86400000,0")),
            ("5", None),
            ("-1,0", None),
            ("a,b", None),
        ] {
            let frame = Frame::new("CONNECT").with("accept-version", "1.2").with("heart-beat", said);
            let login = Login::read(&frame, &Users::default());
            assert_eq!(login.ok().map(|login| login.heart_beat()).as_deref(), answer, "{said}");
        }
    }

    #[test]
    fn debug_shows_no_passcode() {
        assert_eq!(format!("{:?}", users()), r#"["git"]"#);
    }
}
