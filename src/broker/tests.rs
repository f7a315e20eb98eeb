//! The machine, without sockets and without waiting. What clients say is written as it stands on the wire.

mod durable;
mod hostile;
mod session;
mod sockets;

use std::time::{Duration, Instant};

use super::{ConnectionId, Hub, Limits, Options, Status};
use crate::stomp::frame::{Decoder, Item};
use crate::stomp::{Frame, Version};

const ALL: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// A hub and a clock that stands still until it is told.
struct Stage {
    hub: Hub,
    now: Instant,
}

/// A connection as its client sees it.
struct Client {
    id: ConnectionId,
    version: Version,
    decoder: Decoder,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(Limits::default())
    }

    fn with(limits: Limits) -> Stage {
        let options = Options { limits, ..Options::default() };
        Stage { hub: Hub::new(options, "test"), now: Instant::now() }
    }

    fn connect(&mut self) -> Client {
        let id = self.hub.handle_connection(self.now);
        let decoder = Decoder::new(crate::stomp::Limits::default());
        Client { id, version: Version::V1_0, decoder }
    }

    fn log_in_with(&mut self, version: Version, headers: &str) -> Client {
        let mut client = self.connect();
        let asked = if version == Version::V1_0 { String::new() } else { format!("accept-version:{version}\n") };
        self.say(&client, &format!("CONNECT\n{asked}host:/\n{headers}\n\0"));
        let connected = self.hear(&mut client).remove(0);
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        client.version = version;
        client.decoder.set_version(version);
        client
    }

    fn log_in(&mut self, version: Version) -> Client {
        self.log_in_with(version, "")
    }

    fn say(&mut self, client: &Client, text: &str) {
        self.hub.handle_input(client.id, text.as_bytes(), self.now);
    }

    /// Everything that waits for the client.
    fn hear(&mut self, client: &mut Client) -> Vec<Frame> {
        self.hear_bytes(client, usize::MAX)
    }

    /// At most so many octets of it, as a socket that is full afterwards.
    fn hear_bytes(&mut self, client: &mut Client, mut most: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let chunk = self.hub.poll_transmit(client.id);
            let chunk = &chunk[..chunk.len().min(most)];
            if chunk.is_empty() {
                return frames;
            }
            most -= chunk.len();
            client.decoder.push(chunk);
            let count = chunk.len();
            self.hub.transmitted(client.id, count, self.now);
            while let Some(item) = client.decoder.poll().expect("the broker speaks STOMP") {
                if let Item::Frame(frame) = item {
                    frames.push(frame);
                }
            }
        }
    }

    /// One frame and no other.
    fn hear_one(&mut self, client: &mut Client) -> Frame {
        let mut frames = self.hear(client);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.remove(0)
    }

    fn hear_bodies(&mut self, client: &mut Client) -> Vec<String> {
        self.hear(client).iter().map(body).collect()
    }

    /// An ERROR and the end. Gives its message and its body in one.
    fn hear_error(&mut self, client: &mut Client) -> String {
        let frames = self.hear(client);
        let error = frames.last().expect("an ERROR");
        assert_eq!(error.command, "ERROR", "{frames:?}");
        assert_eq!(self.hub.status(client.id), Status::Finished);
        format!("{}: {}", error.header("message").expect("a message"), body(error))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
    }
}

fn body(frame: &Frame) -> String {
    String::from_utf8_lossy(&frame.body).into_owned()
}

/// What the version at hand needs to acknowledge this message.
fn ack_headers(client: &Client, message: &Frame) -> String {
    let header = |name| message.header(name).expect("a header of MESSAGE").to_owned();
    match client.version {
        Version::V1_0 => format!("message-id:{}\n", header("message-id")),
        Version::V1_1 => format!("message-id:{}\nsubscription:{}\n", header("message-id"), header("subscription")),
        Version::V1_2 => format!("id:{}\n", header("ack")),
    }
}

#[test]
fn connected_says_who_and_which_version() {
    let mut stage = Stage::new();
    for (command, asked, version) in [
        ("CONNECT", "", None),
        ("CONNECT", "accept-version:1.0,1.1\n", Some("1.1")),
        ("STOMP", "accept-version:1.2\n", Some("1.2")),
    ] {
        let mut client = stage.connect();
        stage.say(&client, &format!("{command}\n{asked}host:any\nlogin:who\npasscode:ever\n\n\0"));
        let connected = stage.hear_one(&mut client);
        assert_eq!(connected.command, "CONNECTED");
        assert_eq!(connected.header("version"), version);
        assert!(connected.header("server").is_some_and(|server| server.starts_with("failcake/")));
        assert!(connected.header("session").is_some());
        assert_eq!(connected.header("heart-beat"), version.map(|_| "0,0"));
    }
    let mut client = stage.connect();
    stage.say(&client, "CONNECT\naccept-version:3.0\nhost:/\n\n\0");
    let error = stage.hear_one(&mut client);
    assert_eq!((error.command.as_str(), error.header("version")), ("ERROR", Some("1.0,1.1,1.2")));
    assert_eq!(stage.hub.status(client.id), Status::Finished);
}

#[test]
fn a_topic_reaches_every_subscriber_in_every_version() {
    for sender_version in ALL {
        let mut stage = Stage::new();
        let mut readers: Vec<Client> = ALL.iter().map(|version| stage.log_in(*version)).collect();
        for reader in &readers {
            stage.say(reader, "SUBSCRIBE\nid:s\\1\ndestination:/topic/t\n\n\0".replace("\\1", "1").as_str());
        }
        let sender = stage.log_in(sender_version);
        stage.say(&sender, "SEND\ndestination:/topic/t\nsubject:x\nreceipt:no-1\n\nhello\0");
        stage.say(&sender, "SEND\ndestination:/topic/other\n\nnot this\0");
        for reader in &mut readers {
            let message = stage.hear_one(reader);
            assert_eq!(message.command, "MESSAGE");
            assert_eq!(message.header("destination"), Some("/topic/t"));
            assert_eq!(message.header("subscription"), Some("s1"));
            assert_eq!(message.header("subject"), Some("x"));
            assert!(message.header("message-id").is_some());
            for private in ["receipt", "content-length", "redelivered", "ack"] {
                assert_eq!(message.header(private), None, "{private}");
            }
            assert_eq!(body(&message), "hello");
        }
    }
}

#[test]
fn headers_pass_from_any_version_to_any_and_nothing_is_injected() {
    let evil = [
        ("1.0 can't say it", Version::V1_0, "k:a:b\\n\n", ["a:b\\n", "a:b\\n", "a:b\\n"]),
        (
            "a line end",
            Version::V1_2,
            "k:a\\nb\\rsubscription\\cfake\n",
            ["a b subscription:fake", "a\nb subscription:fake", "a\nb\rsubscription:fake"],
        ),
    ];
    for (what, from, header, arrives) in evil {
        let mut stage = Stage::new();
        let sender = stage.log_in(from);
        for (to, expected) in ALL.into_iter().zip(arrives) {
            let mut reader = stage.log_in(to);
            stage.say(&reader, "SUBSCRIBE\nid:mine\ndestination:/topic/t\n\n\0");
            stage.say(&sender, &format!("SEND\ndestination:/topic/t\n{header}\nbody\0"));
            let message = stage.hear_one(&mut reader);
            assert_eq!(message.header("k"), Some(expected), "{what} to {to}");
            assert_eq!(message.header("subscription"), Some("mine"), "{what} to {to}");
            assert_eq!(body(&message), "body");
            stage.hub.handle_lost(reader.id);
        }
    }
    // A header name that would be two headers, or lie about the length, on 1.0.
    let mut stage = Stage::new();
    let sender = stage.log_in(Version::V1_2);
    let mut reader = stage.log_in(Version::V1_0);
    stage.say(&reader, "SUBSCRIBE\nid:mine\ndestination:/topic/t\n\n\0");
    for name in [
        "content-length\\c2\\nx",
        "content-length\\c2",
        "message-id\\cfake",
        "message-id",
        "subscription",
        "redelivered",
    ] {
        stage.say(&sender, &format!("SEND\ndestination:/topic/t\n{name}:fake\n\nbody\0"));
        let message = stage.hear_one(&mut reader);
        assert_eq!(body(&message), "body", "{name}");
        assert_eq!(message.header("subscription"), Some("mine"), "{name}");
        assert!(message.header("message-id").is_some_and(|id| id.starts_with("test-")), "{name}");
        assert_eq!(message.header("redelivered"), None);
    }
}

#[test]
fn content_length_goes_on_when_it_came_or_is_needed() {
    let mut stage = Stage::new();
    let mut client = stage.log_in(Version::V1_2);
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    for (header, content, length) in [
        ("", "text", None),
        ("content-length:4\n", "text", Some("4")),
        ("content-length:3\n", "a\0b", Some("3")),
        ("", "", None),
    ] {
        stage.say(&client, &format!("SEND\ndestination:/topic/t\n{header}\n{content}\0"));
        let message = stage.hear_one(&mut client);
        assert_eq!((message.header("content-length"), body(&message).as_str()), (length, content));
    }
}

#[test]
fn large_bodies_are_shared_and_whole() {
    let mut stage = Stage::new();
    let sender = stage.log_in(Version::V1_2);
    let mut readers: Vec<Client> = (0..20).map(|_| stage.log_in(Version::V1_1)).collect();
    for reader in &readers {
        stage.say(reader, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    }
    let before = stage.hub.memory_used();
    let large = "x".repeat(1_000_000);
    stage.say(&sender, &format!("SEND\ndestination:/topic/t\n\n{large}\0SEND\ndestination:/topic/t\n\nafter\0"));
    let used = stage.hub.memory_used() - before;
    assert!((1_000_000..1_100_000).contains(&used), "one body for all: {used}");
    for reader in &mut readers {
        let mut bodies = stage.hear_bytes(reader, 700_000);
        bodies.extend(stage.hear(reader));
        assert_eq!(bodies.iter().map(|frame| frame.body.len()).collect::<Vec<_>>(), [1_000_000, 5]);
    }
    assert_eq!(stage.hub.memory_used(), before);
}

#[test]
fn a_queue_waits_and_goes_round() {
    for version in ALL {
        let mut stage = Stage::new();
        let mut sender = stage.log_in(version);
        for number in 0..4 {
            stage.say(&sender, &format!("SEND\ndestination:/queue/q\nreceipt:{number}\n\n{number}\0"));
        }
        assert_eq!(stage.hear(&mut sender).len(), 4);
        let mut first = stage.log_in(version);
        stage.say(&first, "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0");
        assert_eq!(stage.hear_bodies(&mut first), ["0", "1", "2", "3"]);
        let mut second = stage.log_in(version);
        stage.say(&second, "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0");
        for number in 4..8 {
            stage.say(&sender, &format!("SEND\ndestination:/queue/q\n\n{number}\0"));
        }
        assert_eq!(stage.hear_bodies(&mut first), ["4", "6"]);
        assert_eq!(stage.hear_bodies(&mut second), ["5", "7"]);
        stage.say(&first, "UNSUBSCRIBE\nid:1\n\n\0");
        stage.say(&sender, "SEND\ndestination:/queue/q\n\n8\0");
        assert_eq!(stage.hear_bodies(&mut second), ["8"]);
        assert!(stage.hear(&mut first).is_empty());
    }
}

#[test]
fn on_1_0_a_destination_is_name_enough() {
    let mut stage = Stage::new();
    let mut client = stage.log_in(Version::V1_0);
    stage.say(&client, "SUBSCRIBE\ndestination:/topic/t\n\n\0SEND\ndestination:/topic/t\n\nx\0");
    let message = stage.hear_one(&mut client);
    assert_eq!((message.header("subscription"), body(&message).as_str()), (None, "x"));
    stage.say(&client, "UNSUBSCRIBE\ndestination:/topic/t\n\n\0SEND\ndestination:/topic/t\n\nx\0");
    assert!(stage.hear(&mut client).is_empty());
    stage.say(&client, "SUBSCRIBE\ndestination:/topic/t\n\n\0SUBSCRIBE\ndestination:/topic/t\n\n\0");
    assert!(stage.hear_error(&mut client).contains("subscription exists"));
}

#[test]
fn what_is_left_unacknowledged_comes_again_in_order() {
    for version in ALL {
        for leave in ["close", "unsubscribe", "disconnect"] {
            let mut stage = Stage::new();
            let sender = stage.log_in(version);
            let mut first = stage.log_in(version);
            stage.say(&first, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client-individual\n\n\0");
            for number in 0..3 {
                stage.say(&sender, &format!("SEND\ndestination:/queue/q\n\n{number}\0"));
            }
            let got = stage.hear(&mut first);
            assert_eq!(got.len(), 3);
            stage.say(&first, &format!("ACK\n{}\n\0", ack_headers(&first, &got[1])));
            match leave {
                "close" => stage.hub.handle_lost(first.id),
                "unsubscribe" => stage.say(&first, "UNSUBSCRIBE\nid:1\n\n\0"),
                _ => stage.say(&first, "DISCONNECT\n\n\0"),
            }
            let mut second = stage.log_in(version);
            stage.say(&second, "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0");
            let again = stage.hear(&mut second);
            let seen: Vec<_> = again.iter().map(|m| (body(m), m.header("redelivered").map(str::to_owned))).collect();
            let yes = Some("true".to_owned());
            assert_eq!(seen, [("0".to_owned(), yes.clone()), ("2".to_owned(), yes)], "{version} {leave}");
        }
    }
}

#[test]
fn ack_modes() {
    // mode, which of three messages is acknowledged, what comes again.
    for (mode, acked, again) in [
        ("auto", None, &[][..]),
        ("client", Some(1), &["2"][..]),
        ("client", Some(2), &[][..]),
        ("client-individual", Some(1), &["0", "2"][..]),
        ("client-individual", None, &["0", "1", "2"][..]),
    ] {
        for version in ALL {
            let mut stage = Stage::new();
            let mut client = stage.log_in(version);
            stage.say(&client, &format!("SUBSCRIBE\nid:1\ndestination:/queue/q\nack:{mode}\n\n\0"));
            for number in 0..3 {
                stage.say(&client, &format!("SEND\ndestination:/queue/q\n\n{number}\0"));
            }
            let got = stage.hear(&mut client);
            if let Some(acked) = acked {
                stage.say(&client, &format!("ACK\n{}receipt:r\n\n\0", ack_headers(&client, &got[acked])));
                assert_eq!(stage.hear_one(&mut client).header("receipt-id"), Some("r"));
            }
            stage.hub.handle_lost(client.id);
            let mut next = stage.log_in(version);
            stage.say(&next, "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0");
            assert_eq!(stage.hear_bodies(&mut next), again, "{mode} {version}");
        }
    }
}

#[test]
fn an_ack_that_means_nothing_is_an_error() {
    for (what, version, ack) in [
        ("made up", Version::V1_2, "id:test-99-1\n"),
        ("no number", Version::V1_2, "id:test-x-1\n"),
        ("another run's", Version::V1_2, "id:other-1-1\n"),
        ("none", Version::V1_2, ""),
        ("1.1 without message-id", Version::V1_1, "id:test-1-1\n"),
    ] {
        let mut stage = Stage::new();
        let mut client = stage.log_in(version);
        stage.say(&client, &format!("ACK\n{ack}receipt:r\n\n\0"));
        let frames = stage.hear(&mut client);
        assert_eq!(frames[0].command, "ERROR", "{what}");
        assert_eq!(frames[0].header("receipt-id"), Some("r"), "{what}");
    }
    // Another connection's message is not mine to acknowledge.
    let mut stage = Stage::new();
    let mut owner = stage.log_in(Version::V1_2);
    stage.say(&owner, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\n\n\0SEND\ndestination:/queue/q\n\nx\0");
    let message = stage.hear_one(&mut owner);
    let mut thief = stage.log_in(Version::V1_2);
    stage.say(&thief, &format!("ACK\n{}\n\0", ack_headers(&owner, &message)));
    assert!(stage.hear_error(&mut thief).contains("nothing to acknowledge"));
}

#[test]
fn nack_gives_it_to_the_next_or_drops_it() {
    for version in [Version::V1_1, Version::V1_2] {
        let mut stage = Stage::new();
        let mut first = stage.log_in(version);
        let mut second = stage.log_in(version);
        for client in [&first, &second] {
            stage.say(client, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client-individual\n\n\0");
        }
        stage.say(&first, "SEND\ndestination:/queue/q\n\nx\0");
        let message = stage.hear_one(&mut first);
        stage.say(&first, &format!("NACK\n{}\n\0", ack_headers(&first, &message)));
        let again = stage.hear_one(&mut second);
        assert_eq!((body(&again).as_str(), again.header("redelivered")), ("x", Some("true")));
        stage.say(&second, &format!("NACK\n{}requeue:false\n\n\0", ack_headers(&second, &again)));
        assert!(stage.hear(&mut first).is_empty() && stage.hear(&mut second).is_empty());
        stage.hub.handle_lost(second.id);
        assert!(stage.hear(&mut first).is_empty());
    }
}

#[test]
fn prefetch_bounds_what_is_ahead_of_the_acks() {
    for word in ["activemq.prefetchSize", "prefetch-count"] {
        let mut stage = Stage::new();
        let mut client = stage.log_in(Version::V1_2);
        stage.say(&client, &format!("SUBSCRIBE\nid:1\ndestination:/topic/t\nack:client\n{word}:2\n\n\0"));
        for number in 0..5 {
            stage.say(&client, &format!("SEND\ndestination:/topic/t\n\n{number}\0"));
        }
        let got = stage.hear(&mut client);
        assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["0", "1"]);
        stage.say(&client, &format!("ACK\n{}\n\0", ack_headers(&client, &got[0])));
        let got = stage.hear(&mut client);
        assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["2"]);
        stage.say(&client, &format!("ACK\n{}\n\0", ack_headers(&client, &got[0])));
        assert_eq!(stage.hear_bodies(&mut client), ["3", "4"]);
    }
}

#[test]
fn transactions_are_all_or_nothing() {
    for version in ALL {
        let mut stage = Stage::new();
        let mut reader = stage.log_in(version);
        stage.say(&reader, "SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client-individual\n\n\0");
        let mut sender = stage.log_in(version);
        stage.say(&sender, "BEGIN\ntransaction:a\n\n\0BEGIN\ntransaction:b\n\n\0");
        stage.say(&sender, "SEND\ndestination:/queue/q\ntransaction:a\nreceipt:1\n\nkept\0");
        stage.say(&sender, "SEND\ndestination:/queue/q\ntransaction:b\n\ndropped\0");
        assert_eq!(stage.hear_one(&mut sender).header("receipt-id"), Some("1"));
        assert!(stage.hear(&mut reader).is_empty());
        stage.say(&sender, "ABORT\ntransaction:b\n\n\0COMMIT\ntransaction:a\nreceipt:2\n\n\0");
        assert_eq!(stage.hear_one(&mut sender).header("receipt-id"), Some("2"));
        let message = stage.hear_one(&mut reader);
        assert_eq!((body(&message).as_str(), message.header("transaction")), ("kept", None));

        // An ACK counts when it is committed; an aborted one never was.
        let ack = ack_headers(&reader, &message);
        stage.say(
            &reader,
            &format!("BEGIN\ntransaction:t\n\n\0ACK\n{ack}transaction:t\n\n\0ABORT\ntransaction:t\n\n\0"),
        );
        stage.say(
            &reader,
            &format!("BEGIN\ntransaction:t\n\n\0ACK\n{ack}transaction:t\n\n\0COMMIT\ntransaction:t\n\n\0"),
        );
        stage.say(&reader, "UNSUBSCRIBE\nid:1\n\n\0SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0");
        assert!(stage.hear(&mut reader).is_empty());

        // Who leaves in the middle has said nothing, and leaves nothing behind.
        let used = stage.hub.memory_used();
        stage.say(&sender, "BEGIN\ntransaction:c\n\n\0SEND\ndestination:/queue/q\ntransaction:c\n\ngone\0");
        assert!(stage.hub.memory_used() > used);
        stage.hub.handle_lost(sender.id);
        assert_eq!(stage.hub.memory_used(), used);
        assert!(stage.hear(&mut reader).is_empty());
    }
}

#[test]
fn every_frame_that_asks_gets_its_receipt_in_order() {
    for version in ALL {
        let mut stage = Stage::new();
        let mut client = stage.log_in(version);
        let frames = [
            "SUBSCRIBE\nid:1\ndestination:/topic/t\n",
            "SEND\ndestination:/topic/nobody\n",
            "BEGIN\ntransaction:t\n",
            "ABORT\ntransaction:t\n",
            "BEGIN\ntransaction:t\n",
            "COMMIT\ntransaction:t\n",
            "UNSUBSCRIBE\nid:1\n",
            "DISCONNECT\n",
        ];
        for (number, frame) in frames.iter().enumerate() {
            stage.say(&client, &format!("{frame}receipt:r\\c{number}\n\n\0"));
        }
        let receipts = stage.hear(&mut client);
        let ids: Vec<_> = receipts.iter().map(|f| (f.command.as_str(), f.header("receipt-id").unwrap_or(""))).collect();
        let sign = if version == Version::V1_0 { "\\c" } else { ":" };
        let wanted: Vec<_> = (0..frames.len()).map(|number| format!("r{sign}{number}")).collect();
        assert_eq!(ids, wanted.iter().map(|id| ("RECEIPT", id.as_str())).collect::<Vec<_>>());
        assert_eq!(stage.hub.status(client.id), Status::Finished);
        stage.hub.handle_eof(client.id, stage.now);
        assert_eq!(stage.hub.status(client.id), Status::Gone);
        assert_eq!(stage.hub.connections(), 0);
    }
}

#[test]
fn heart_beats_both_ways() {
    let second = Duration::from_secs(1);
    let mut stage = Stage::new();
    let mut client = stage.log_in_with(Version::V1_2, "heart-beat:4000,10000\n");
    // At half of the ten seconds, and not before.
    stage.say(&client, "\n");
    stage.pass(4 * second);
    assert_eq!(stage.hub.poll_transmit(client.id), b"");
    stage.say(&client, "\n");
    stage.pass(second);
    assert_eq!(stage.hub.poll_transmit(client.id), b"\n");
    stage.hub.transmitted(client.id, 1, stage.now);
    // Twice four seconds and one more after the last word, which was a second ago.
    stage.pass(7 * second + Duration::from_millis(900));
    assert!(matches!(stage.hub.status(client.id), Status::Open { .. }));
    stage.pass(Duration::from_millis(200));
    assert!(stage.hear_error(&mut client).contains("heart-beat"));

    // Nobody asked for any: only time itself passes.
    let quiet = stage.log_in(Version::V1_2);
    stage.pass(1_000_000 * second);
    assert!(matches!(stage.hub.status(quiet.id), Status::Open { .. }));
    assert_eq!(stage.hub.poll_timeout(), None, "no wake-ups");
}
