//! The edge, with real sockets. Waits end when something happens; the time-out only ends a test that failed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::{Duration, Limits, Options};
use crate::broker::{BindError, Running, Server, Users};

const PATIENCE: Duration = Duration::from_secs(30);

fn broker(options: Options) -> Running {
    Server::bind("127.0.0.1:0", options).expect("bind").spawn().expect("a thread")
}

/// A socket, and what was read from it beyond the frames that were asked for.
struct Peer {
    stream: TcpStream,
    rest: Vec<u8>,
    /// So much of `rest` has no NUL.
    seen: usize,
}

impl Peer {
    fn connect(broker: &Running) -> Peer {
        let stream = TcpStream::connect(broker.local_addr()).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Peer { stream, rest: Vec::new(), seen: 0 }
    }

    fn log_in(broker: &Running, headers: &str) -> Peer {
        let mut peer = Peer::connect(broker);
        peer.say(&format!("CONNECT\naccept-version:1.2\nhost:/\n{headers}\n\0"));
        let connected = peer.hear();
        assert!(connected.starts_with("CONNECTED\n"), "{connected}");
        peer
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("write");
    }

    /// One frame, without its NUL; empty at the end of the stream.
    fn hear(&mut self) -> String {
        let mut buffer = [0; 65536];
        loop {
            while self.rest.first() == Some(&b'\n') {
                self.rest.remove(0);
            }
            if let Some(nul) = self.rest[self.seen..].iter().position(|byte| *byte == 0) {
                let nul = self.seen + nul;
                self.seen = 0;
                let frame = self.rest.drain(..=nul).take(nul).collect();
                return String::from_utf8(frame).expect("text");
            }
            self.seen = self.rest.len();
            match self.stream.read(&mut buffer) {
                Ok(0) => return String::new(),
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }
}

#[test]
fn it_serves_until_it_is_dropped() {
    let broker = broker(Options::default());
    let mut reader = Peer::log_in(&broker, "");
    reader.say("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:s\n\n\0");
    assert_eq!(reader.hear(), "RECEIPT\nreceipt-id:s\n\n");
    let mut sender = Peer::log_in(&broker, "");
    sender.say("SEND\ndestination:/topic/t\nreceipt:1\n\nhello\0DISCONNECT\nreceipt:2\n\n\0");
    assert_eq!(sender.hear(), "RECEIPT\nreceipt-id:1\n\n");
    assert_eq!(sender.hear(), "RECEIPT\nreceipt-id:2\n\n");
    assert_eq!(sender.hear(), "", "closed");
    assert!(reader.hear().ends_with("\ndestination:/topic/t\n\nhello"));
    let address = broker.local_addr();
    drop(broker);
    assert_eq!(reader.hear(), "");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_network_is_let_in_only_with_users() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = Server::bind(address, Options::default()).expect_err("open to all");
        assert!(matches!(error, BindError::Open(_)), "{error}");
        assert!(error.to_string().contains("--user"), "{error}");
    }
    let mut users = Users::default();
    users.add("git".to_owned(), r"se\cret".to_owned());
    let options = Options { users, ..Options::default() };
    Server::bind("0.0.0.0:0", options.clone()).expect("with users");
    let broker = broker(options);
    Peer::log_in(&broker, "login:git\npasscode:se\\cret\n");
    Peer::log_in(&broker, "login:git\npasscode:se\\\\cret\n");
    for words in ["", "login:git\n", "login:git\npasscode:wrong\n", "login:other\npasscode:se\\cret\n"] {
        let mut peer = Peer::connect(&broker);
        peer.say(&format!("CONNECT\naccept-version:1.2\nhost:/\n{words}\n\0"));
        let error = peer.hear();
        assert!(error.starts_with("ERROR\nmessage:login refused"), "{error}");
        assert!(!error.contains("se\\cret"));
        assert_eq!(peer.hear(), "", "closed");
    }
}

#[test]
fn a_taken_or_wrong_address_says_which() {
    let first = Server::bind("127.0.0.1:0", Options::default()).expect("bind");
    let taken = first.local_addr().to_string();
    for address in [taken.as_str(), "nowhere", "127.0.0.1:99999"] {
        let error = Server::bind(address, Options::default()).expect_err("can't be");
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[test]
fn who_closes_its_sending_side_gets_all_its_answers() {
    let broker = broker(Options::default());
    let mut peer = Peer::connect(&broker);
    let sends: String = (0..5000).map(|n| format!("SEND\ndestination:/topic/t\nreceipt:{n}\n\nx\0")).collect();
    peer.say(&format!("CONNECT\n\n\0{sends}"));
    peer.stream.shutdown(Shutdown::Write).expect("shut");
    assert!(peer.hear().starts_with("CONNECTED"));
    for number in 0..5000 {
        assert_eq!(peer.hear(), format!("RECEIPT\nreceipt-id:{number}\n\n"));
    }
    assert_eq!(peer.hear(), "");
}

#[test]
fn an_error_is_readable_however_much_is_still_being_sent() {
    let broker = broker(Options::default());
    let mut peer = Peer::log_in(&broker, "");
    let mut other = peer.stream.try_clone().expect("clone");
    let flood = std::thread::spawn(move || {
        // Ends when the broker closes: the error is the expected end.
        while other.write_all(&[b'x'; 65536]).is_ok() {}
    });
    peer.say("NONSENSE\n");
    let error = peer.hear();
    assert!(error.starts_with("ERROR\nmessage:malformed frame"), "{error}");
    assert_eq!(peer.hear(), "", "our side is told that it is over at once");
    drop(broker);
    flood.join().expect("the flood ends");
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let limits = Limits { backlog: 1_000_000, ..Limits::default() };
    let broker = broker(Options { limits, ..Options::default() });
    let mut slow = Peer::log_in(&broker, "");
    let mut good = Peer::log_in(&broker, "");
    for peer in [&mut slow, &mut good] {
        peer.say("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:s\n\n\0");
        peer.hear();
    }
    let mut sender = Peer::log_in(&broker, "");
    let body = "x".repeat(100_000);
    // More than the kernel's buffers and the backlog take.
    for number in 0..160 {
        sender.say(&format!("SEND\ndestination:/topic/t\nreceipt:{number}\n\n{body}\0"));
        assert!(sender.hear().starts_with("RECEIPT"));
        assert!(good.hear().starts_with("MESSAGE"));
    }
    let mut last = String::new();
    loop {
        match slow.hear() {
            frame if frame.is_empty() => break,
            frame => last = frame,
        }
    }
    assert!(last.starts_with("ERROR\nmessage:slow consumer"), "{last:.80}");
}

#[test]
fn large_messages_pass_whole_both_ways() {
    let broker = broker(Options::default());
    let mut peer = Peer::log_in(&broker, "");
    peer.say("SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    let body = "y".repeat(10_000_000);
    for _ in 0..3 {
        peer.say(&format!("SEND\ndestination:/topic/t\n\n{body}\0"));
        assert!(peer.hear().ends_with(&body));
    }
}

#[test]
fn a_lost_client_leaves_its_durable_name_free() {
    let broker = broker(Options::default());
    let subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\nreceipt:s\n\n\0";
    let mut first = Peer::log_in(&broker, "client-id:c\n");
    first.say(subscribe);
    assert!(first.hear().starts_with("RECEIPT"));
    drop(first);
    let mut sender = Peer::log_in(&broker, "");
    sender.say("SEND\ndestination:/topic/t\nreceipt:1\n\nmissed\0");
    sender.hear();
    let mut second = Peer::log_in(&broker, "client-id:c\n");
    second.say(subscribe);
    let answers = [second.hear(), second.hear()];
    assert!(answers.iter().any(|frame| frame.ends_with("missed")), "{answers:?}");
}

#[test]
fn heart_beats_come_by_themselves_and_a_silent_client_is_let_go() {
    let broker = broker(Options::default());
    let mut peer = Peer::connect(&broker);
    peer.say("CONNECT\naccept-version:1.2\nhost:/\nheart-beat:100,200\n\n\0");
    assert!(peer.hear().contains("\nheart-beat:200,100\n"));
    let mut byte = [0];
    for _ in 0..3 {
        peer.stream.read_exact(&mut byte).expect("a heart-beat");
        assert_eq!(&byte, b"\n");
    }
    assert!(peer.hear().starts_with("ERROR\nmessage:heart-beat missing"));
}

#[test]
fn two_hundred_clients_at_once() {
    let broker = broker(Options::default());
    let mut readers: Vec<Peer> = (0..200).map(|_| Peer::log_in(&broker, "")).collect();
    for reader in &mut readers {
        reader.say("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:s\n\n\0");
        assert!(reader.hear().starts_with("RECEIPT"));
    }
    let mut sender = Peer::log_in(&broker, "");
    for number in 0..20 {
        sender.say(&format!("SEND\ndestination:/topic/t\n\nbody {number}\0"));
    }
    for reader in &mut readers {
        for number in 0..20 {
            assert!(reader.hear().ends_with(&format!("\n\nbody {number}")));
        }
    }
}
