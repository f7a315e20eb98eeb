//! Other people's clients use the embedded broker: Debian's ruby-stomp, PyPI's stomp.py, the crate stomp-rs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use failcake::broker::{Options, Running, Server};
use stomp_rs::client::{Client, ClientBuilder};
use stomp_rs::protocol::frame::{AckMode, Send, Subscribe};
use tokio::sync::mpsc::{Receiver, channel};

const CAN: &str = "login\ntopic\nescapes\nack\ntransaction\ndurable\nheart-beat\ngoodbye\nerror\n";

fn broker() -> Running {
    Server::bind("127.0.0.1:0", Options::default()).expect("bind").spawn().expect("a thread")
}

/// Runs a script of tests/it/interop with each version, and wants every line of [`CAN`].
fn run(interpreter: &Path, script: &str, install: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop").join(script);
    for version in ["1.0", "1.1", "1.2"] {
        let broker = broker();
        let port = broker.local_addr().port().to_string();
        let output = Command::new(interpreter)
            .arg(&script)
            .args([port.as_str(), version])
            .output()
            .unwrap_or_else(|error| panic!("can't run {}: {error}; {install}", interpreter.display()));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let missing = err.contains("cannot load such file") || err.contains("No module named");
        assert!(!missing, "{install}\n{err}");
        assert_eq!(out, CAN, "STOMP {version}: {err}");
        assert!(output.status.success(), "STOMP {version}: {err}");
    }
}

#[test]
fn ruby_stomp() {
    run(Path::new("ruby"), "client.rb", "install it: apt-get install ruby-stomp");
}

#[test]
fn stomp_py() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    run(&python, "client.py", "install it: python3 -m venv target/venv && target/venv/bin/pip install stomp.py");
}

/// It has no login, never sends heart-beats and unescapes nothing; the rest of it must work.
#[test]
fn stomp_rs() {
    let broker = broker();
    let address = broker.local_addr().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), use_stomp_rs(address)).await.expect("in time");
    });
    // It turns for ever on a closed connection.
    runtime.shutdown_background();
}

async fn use_stomp_rs(address: String) {
    // The second number wants heart-beats from the broker; without them this client would give up.
    let client = Client::connect(ClientBuilder::new(address.clone()).heartbeat(0, 1000)).await.expect("connect");

    let (sender, mut topic) = channel(16);
    client.subscribe(Subscribe::new("t", "/topic/rust"), sender).await.expect("subscribe");
    client.send(Send::new("/topic/rust").header("subject", "hello").body("body\n")).await.expect("send");
    let message = topic.recv().await.expect("a message");
    assert_eq!((message.body.as_str(), message.headers["subject"].as_str()), ("body\n", "hello"));

    let (sender, mut queue) = channel(16);
    let subscribe = Subscribe::new("q", "/queue/rust").ack(AckMode::ClientIndividual);
    client.subscribe(subscribe, sender).await.expect("subscribe");
    client.send(Send::new("/queue/rust").body("work")).await.expect("send");
    let message = queue.recv().await.expect("a message");
    client.nack(message.nack().expect("an ack id")).await.expect("nack");
    let message = queue.recv().await.expect("again");
    assert_eq!((message.body.as_str(), message.headers["redelivered"].as_str()), ("work", "true"));
    client.ack(message.ack().expect("an ack id")).await.expect("ack");

    for (body, commit) in [("aborted", false), ("committed", true)] {
        let transaction = client.begin().await.expect("begin");
        transaction.send(Send::new("/topic/rust").body(body)).await.expect("send");
        if commit {
            transaction.commit().await.expect("commit");
        } else {
            transaction.abort().await.expect("abort");
        }
    }
    assert_eq!(topic.recv().await.expect("a message").body, "committed");

    tokio::time::sleep(Duration::from_millis(2500)).await;
    client.send(Send::new("/topic/rust").body("alive")).await.expect("send");
    assert_eq!(topic.recv().await.expect("a message").body, "alive");
    assert_nothing_more(&mut queue);
}

fn assert_nothing_more<T: std::fmt::Debug>(receiver: &mut Receiver<T>) {
    let more = receiver.try_recv();
    assert!(more.is_err(), "{more:?}");
}
