//! The STOMP machine on a plain socket, for what the bus does not do: an older version, and a look at the octets.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use failcake::stomp::url::BrokerUrl;
use failcake::stomp::{Event, Frame, Limits, Login, Message, ReceiptId, Session, SubscriptionId, Version};

use super::{Broker, PATIENCE, subscription};

pub struct Wire {
    socket: TcpStream,
    session: Session,
    /// Messages that came while something else was awaited.
    messages: VecDeque<Message>,
    /// All that the broker has said.
    pub octets: Vec<u8>,
}

impl Wire {
    /// Logs in, offering that one version only.
    pub fn open(broker: &Broker, version: Version) -> Wire {
        let url: BrokerUrl = broker.url().parse().unwrap();
        let host = &url.hosts[0];
        let socket = TcpStream::connect((host.host.as_str(), host.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let login = Login {
            login: host.login.clone(),
            passcode: host.passcode.clone(),
            vhost: "/".to_owned(),
            client_id: None,
            heart_beat: std::time::Duration::ZERO,
        };
        let session = Session::new(login, Limits::default(), Instant::now());
        let mut wire = Wire { socket, session, messages: VecDeque::new(), octets: Vec::new() };
        let connect = String::from_utf8(wire.session.poll_transmit().to_vec()).unwrap();
        let connect = connect.replace("accept-version:1.0,1.1,1.2\n", &format!("accept-version:{version}\n"));
        wire.session.transmitted(usize::MAX - 1, Instant::now());
        wire.socket.write_all(connect.as_bytes()).unwrap();
        assert!(matches!(wire.event(), Event::Connected));
        assert_eq!(wire.session.version(), Some(version));
        wire
    }

    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.session.poll_event() {
                return event;
            }
            let out = self.session.poll_transmit().to_vec();
            self.socket.write_all(&out).unwrap();
            self.session.transmitted(out.len(), Instant::now());
            let mut buffer = [0; 64 * 1024];
            match self.socket.read(&mut buffer).expect("the broker answers") {
                0 => self.session.handle_eof(),
                count => {
                    self.octets.extend(&buffer[..count]);
                    self.session.handle_input(&buffer[..count], Instant::now());
                }
            }
        }
    }

    #[track_caller]
    fn await_receipt(&mut self, wanted: ReceiptId) {
        loop {
            match self.event() {
                Event::Receipt(receipt) if receipt == wanted => return,
                Event::Message(message) => self.messages.push_back(message),
                other => panic!("no receipt but {other:?}"),
            }
        }
    }

    /// Subscribes; returns when the broker has confirmed it.
    #[track_caller]
    pub fn subscribe(&mut self, destination: &str) -> SubscriptionId {
        let (id, receipt) = self.session.subscribe(&subscription(destination));
        self.await_receipt(receipt);
        id
    }

    /// Sends; returns with the receipt.
    #[track_caller]
    pub fn send(&mut self, frame: Frame) {
        let receipt = self.session.send(frame, true).unwrap();
        self.await_receipt(receipt);
    }

    #[track_caller]
    pub fn message(&mut self) -> Message {
        if let Some(message) = self.messages.pop_front() {
            return message;
        }
        match self.event() {
            Event::Message(message) => message,
            other => panic!("no message but {other:?}"),
        }
    }

    /// DISCONNECT, and the broker's goodbye.
    #[track_caller]
    pub fn close(mut self) {
        self.session.disconnect();
        match self.event() {
            Event::Closed(failcake::stomp::CloseReason::Disconnected) => {}
            other => panic!("no goodbye but {other:?}"),
        }
    }
}
