//! Against small brokers in threads, each a script over the frame codec, on ports that the kernel chose.

mod connection;
mod publisher;
mod tls;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Target;
use crate::config;
use crate::stomp::frame::{Decoder, Item};
use crate::stomp::{Frame, Limits, Version};

/// Long enough for any machine; no test waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + LONG
}

fn target(url: &str) -> Target {
    Target {
        url: url.parse().unwrap(),
        tls: config::Tls { ca_file: None, verify: true },
        passcode: None,
        vhost: "/".to_owned(),
        heart_beat: Duration::from_secs(10),
        client_id: None,
    }
}

/// A broker that runs `script`; a panic in it fails the test that joins it.
struct Broker {
    port: u16,
    script: JoinHandle<()>,
}

fn broker(script: impl FnOnce(TcpListener) + Send + 'static) -> Broker {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    Broker { port, script: thread::spawn(move || script(listener)) }
}

/// A broker for one client.
fn broker_for_one(script: impl FnOnce(Client) + Send + 'static) -> Broker {
    broker(|listener| script(Client::accept(&listener)))
}

impl Broker {
    fn url(&self) -> String {
        format!("stomp://127.0.0.1:{}", self.port)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn join(self) {
        self.script.join().unwrap();
    }
}

/// A port where nobody listens.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port that takes connections and never says a word.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The broker's side of one connection.
struct Client {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    /// EOLs seen since the last frame.
    beats: usize,
}

impl Client {
    fn accept(listener: &TcpListener) -> Client {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client::over(stream)
    }

    fn over(stream: impl Stream + 'static) -> Client {
        let mut decoder = Decoder::new(Limits::default());
        decoder.set_version(Version::V1_2);
        Client { stream: Box::new(stream), decoder, beats: 0 }
    }

    /// `None` is the end of the stream.
    fn item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.decoder.poll().unwrap() {
                return Some(item);
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the client said nothing: {error}"),
            }
        }
    }

    fn frame(&mut self) -> Option<Frame> {
        self.beats = 0;
        loop {
            match self.item()? {
                Item::Frame(frame) => return Some(frame),
                Item::Eol => self.beats += 1,
            }
        }
    }

    fn expect(&mut self, command: &str) -> Frame {
        let frame = self.frame().unwrap_or_else(|| panic!("closed, where {command} was expected"));
        assert_eq!(frame.command, command, "{frame:?}");
        frame
    }

    fn say(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(Version::V1_2, &mut bytes);
        self.say_raw(&bytes);
    }

    fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// CONNECT and CONNECTED.
    fn log_in(&mut self) -> Frame {
        let connect = self.expect("CONNECT");
        self.say(&connected("0,0"));
        connect
    }

    fn confirm(&mut self, frame: &Frame) {
        let id = frame.header("receipt").expect("a receipt was asked for");
        self.say(&Frame::new("RECEIPT").with("receipt-id", id));
    }

    /// Reads SUBSCRIBE and confirms it; gives its id.
    fn subscribed(&mut self) -> String {
        let frame = self.expect("SUBSCRIBE");
        self.confirm(&frame);
        frame.header("id").unwrap().to_owned()
    }

    /// Confirms DISCONNECT, and waits for the end.
    fn leave(&mut self) {
        let frame = self.expect("DISCONNECT");
        self.confirm(&frame);
        assert_eq!(self.item(), None, "nothing comes after DISCONNECT");
    }
}

fn connected(heart_beat: &str) -> Frame {
    Frame::new("CONNECTED").with("version", "1.2").with("server", "ActiveMQ/5.17.2").with("heart-beat", heart_beat)
}

fn error(message: &str) -> Frame {
    Frame::new("ERROR").with("message", message)
}

fn message(subscription: &str, ack: &str, body: &str) -> Frame {
    let mut frame = Frame::new("MESSAGE")
        .with("subscription", subscription)
        .with("message-id", format!("m-{ack}"))
        .with("ack", ack)
        .with("destination", "/topic/a");
    frame.body = body.as_bytes().to_vec();
    frame
}

fn send(body: &str) -> Frame {
    Frame::send("/topic/a", vec![("persistent".to_owned(), "true".to_owned())], body.as_bytes().to_vec())
}
