//! The whole room without sockets: bytes and a clock of our own.

mod codec;
mod errors;
mod session;
mod url;

use std::time::{Duration, Instant};

use super::*;

/// A session, its clock, and the broker's side of the wire.
struct Wire {
    session: Session,
    now: Instant,
}

impl Wire {
    fn new(heart_beat: Duration) -> Wire {
        let login = Login {
            login: Some("git".to_owned()),
            passcode: Some("pw".to_owned()),
            vhost: "/".to_owned(),
            client_id: Some("web01".to_owned()),
            heart_beat,
        };
        let now = Instant::now();
        Wire { session: Session::new(login, Limits::default(), now), now }
    }

    /// Logged in at a broker that says these headers in CONNECTED; the CONNECT frame is gone.
    fn connected(headers: &str) -> Wire {
        let mut wire = Wire::new(Duration::from_secs(10));
        wire.sent();
        wire.hear(&format!("CONNECTED\n{headers}\n\0"));
        assert!(matches!(wire.events().as_slice(), [Event::Connected]), "{headers:?}");
        wire
    }

    /// What the session has for the broker, as text; taken.
    fn sent(&mut self) -> String {
        let text = String::from_utf8(self.session.poll_transmit().to_vec()).unwrap();
        self.session.transmitted(text.len(), self.now);
        text
    }

    fn hear(&mut self, text: &str) {
        self.session.handle_input(text.as_bytes(), self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The only event, which ends the connection.
    fn closed(&mut self) -> CloseReason {
        match self.events().as_slice() {
            [Event::Closed(reason)] => reason.clone(),
            other => panic!("{other:?}"),
        }
    }
}
