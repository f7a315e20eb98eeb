use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::poll::{PollFd, PollFlags, poll};

use super::*;
use crate::bus::{AckToken, Connection, Incoming, Message, Peer};
use crate::stomp::{AckMode, Subscription, SubscriptionId};

pub(super) fn topic(destination: &str) -> Subscription {
    Subscription { destination: destination.to_owned(), durable: None, ack: AckMode::Individual, prefetch: None }
}

fn open(url: &str) -> Connection {
    Connection::open(target(url), vec![topic("/topic/a")]).unwrap()
}

fn next(connection: &Connection) -> Incoming {
    connection.receive(Some(LONG)).expect("something comes")
}

fn next_connected(connection: &Connection) -> Peer {
    match next(connection) {
        Incoming::Connected(peer) => peer,
        other => panic!("{other:?} instead of Connected"),
    }
}

fn next_message(connection: &Connection) -> Message {
    match next(connection) {
        Incoming::Message(message) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

fn next_lost(connection: &Connection) -> String {
    match next(connection) {
        Incoming::Lost { cause, .. } => cause,
        other => panic!("{other:?} instead of Lost"),
    }
}

fn next_ack(connection: &Connection) -> AckToken {
    next_message(connection).ack.expect("it is to be acknowledged")
}

#[test]
fn connected_is_told_when_every_subscription_is_confirmed() {
    let broker = broker_for_one(|mut client| {
        let connect = client.log_in();
        assert_eq!(connect.header("client-id"), Some("node"));
        let first = client.expect("SUBSCRIBE");
        let second = client.expect("SUBSCRIBE");
        assert_eq!(second.header("destination"), Some("/topic/b"));
        client.confirm(&first);
        client.say(&message(first.header("id").unwrap(), "1", "early"));
        thread::sleep(Duration::from_millis(200));
        client.confirm(&second);
        client.say(&message(second.header("id").unwrap(), "2", "late"));
        assert_eq!(client.expect("SEND").body, b"ours");
        // Both acks, and before DISCONNECT, though close followed at once.
        assert_eq!(client.expect("ACK").header("id"), Some("1"));
        assert_eq!(client.expect("ACK").header("id"), Some("2"));
        client.leave();
    });
    let mut target = target(&broker.url());
    target.client_id = Some("node".to_owned());
    let connection = Connection::open(target, vec![topic("/topic/a"), topic("/topic/b")]).unwrap();
    let early = next_message(&connection);
    assert_eq!((early.subscription, early.frame.body.as_slice()), (Some(SubscriptionId(0)), b"early".as_slice()));
    assert_eq!(next_connected(&connection).address, broker.address());
    let late = next_message(&connection);
    assert_eq!(late.subscription, Some(SubscriptionId(1)));
    connection.send(send("ours"));
    connection.ack(early.ack.unwrap());
    connection.ack(late.ack.unwrap());
    connection.close();
    broker.join();
}

#[test]
fn it_comes_back_and_leaves_acks_of_the_connection_before() {
    let broker = broker(|listener| {
        let mut client = Client::accept(&listener);
        client.log_in();
        let id = client.subscribed();
        client.say(&message(&id, "old", "x"));
        client.say_raw(b"MESSAGE\nhalf-a-fra");
        drop(client);
        let mut client = Client::accept(&listener);
        client.log_in();
        let id = client.subscribed();
        client.say(&message(&id, "new", "x"));
        assert_eq!(client.expect("ACK").header("id"), Some("new"));
        client.leave();
    });
    let connection = open(&broker.url());
    next_connected(&connection);
    let old = next_ack(&connection);
    let cause = next_lost(&connection);
    assert!(cause.starts_with(&format!("{}: ", broker.address())), "{cause}");
    assert!(cause.contains("in the middle of a frame"), "{cause}");
    next_connected(&connection);
    let new = next_ack(&connection);
    connection.ack(old);
    connection.ack(new);
    connection.close();
    broker.join();
}

#[test]
fn the_other_host_takes_over() {
    let (other, address) = silent();
    let other_broker = thread::spawn(move || {
        let mut client = Client::accept(&other);
        client.log_in();
        client.subscribed();
        client.leave();
    });
    let (tell, told) = std::sync::mpsc::channel();
    let first = broker_for_one(move |mut client| {
        client.log_in();
        client.subscribed();
        told.recv().unwrap();
    });
    let connection = open(&format!("failover:({},stomp://{address})", first.url()));
    assert_eq!(next_connected(&connection).address, first.address());
    tell.send(()).unwrap();
    next_lost(&connection);
    first.join();
    assert_eq!(next_connected(&connection).address, address);
    connection.close();
    other_broker.join().unwrap();
}

#[test]
fn a_refused_subscription_is_told_and_tried_again() {
    let broker = broker(|listener| {
        let mut client = Client::accept(&listener);
        client.log_in();
        let subscribe = client.expect("SUBSCRIBE");
        let receipt = subscribe.header("receipt").unwrap();
        client.say(&error("Durable consumer is in use for client: node").with("receipt-id", receipt));
        drop(client);
        let mut client = Client::accept(&listener);
        client.log_in();
        client.subscribed();
        client.leave();
    });
    let connection = open(&broker.url());
    let cause = next_lost(&connection);
    let words = "refused the subscription to /topic/a: Durable consumer is in use for client: node";
    assert_eq!(cause, format!("{}: {words}", broker.address()));
    next_connected(&connection);
    connection.close();
    broker.join();
}

#[test]
fn a_subscription_without_receipt_is_not_waited_for_for_ever() {
    let broker = broker_for_one(|mut client| {
        client.log_in();
        client.expect("SUBSCRIBE");
        assert_eq!(client.item(), None);
    });
    let connection =
        open(&format!("failover:({})?timeout=0.3&initialReconnectDelay=60&maxReconnectDelay=60", broker.url()));
    let cause = next_lost(&connection);
    assert_eq!(cause, format!("{}: does not confirm the subscription to /topic/a", broker.address()));
    broker.join();
}

#[test]
fn a_silent_broker_is_left() {
    let broker = broker_for_one(|mut client| {
        client.expect("CONNECT");
        client.say(&connected("1000,1000"));
        client.subscribed();
        while client.item().is_some() {}
    });
    let mut target = target(&format!("failover:({})?initialReconnectDelay=60&maxReconnectDelay=60", broker.url()));
    target.heart_beat = Duration::from_secs(1);
    let connection = Connection::open(target, vec![topic("/topic/a")]).unwrap();
    next_connected(&connection);
    let cause = next_lost(&connection);
    assert!(cause.contains("silent"), "{cause}");
    broker.join();
}

#[test]
fn it_gives_up_after_the_tries_that_the_url_allows() {
    let port = dead_port();
    let connection = open(&format!("failover:(stomp://127.0.0.1:{port})?maxReconnectAttempts=3"));
    let mut lost = 0;
    let cause = loop {
        match next(&connection) {
            Incoming::Lost { .. } => lost += 1,
            Incoming::GaveUp { cause } => break cause,
            other => panic!("{other:?}"),
        }
    };
    assert!(lost <= 2, "{lost} tries failed before the last");
    assert!(cause.starts_with(&format!("127.0.0.1:{port}: refused the connection")), "{cause}");
    assert!(connection.receive(None).is_none(), "nothing comes after it, and nobody waits for it");
    connection.close();
}

#[test]
fn close_ends_a_rest_and_a_login() {
    let begun = Instant::now();
    let connection =
        open(&format!("failover:(stomp://127.0.0.1:{})?initialReconnectDelay=600&maxReconnectDelay=600", dead_port()));
    next_lost(&connection);
    connection.close();
    let (_listener, address) = silent();
    let connection = open(&format!("failover:(stomp://{address})?timeout=600"));
    assert!(connection.receive(Some(Duration::from_millis(100))).is_none());
    connection.close();
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn close_does_not_wait_for_a_broker_that_hangs() {
    let (listener, address) = silent();
    let (tell, told) = std::sync::mpsc::channel();
    let script = thread::spawn(move || {
        let mut client = Client::accept(&listener);
        client.log_in();
        client.subscribed();
        told.recv().unwrap();
        // Only now what the client said at the end is looked at.
        client.expect("DISCONNECT");
        assert_eq!(client.item(), None);
    });
    let connection = open(&format!("stomp://{address}"));
    next_connected(&connection);
    connection.close();
    tell.send(()).unwrap();
    script.join().unwrap();
}

#[test]
fn the_descriptor_is_readable_while_something_waits() {
    let (tell, told) = std::sync::mpsc::channel();
    let broker = broker_for_one(move |mut client| {
        client.log_in();
        let id = client.subscribed();
        told.recv().unwrap();
        client.say(&message(&id, "1", "x"));
        client.leave();
    });
    let connection = open(&broker.url());
    let readable = |milliseconds: u16| {
        let mut fds = [PollFd::new(connection.wake_fd(), PollFlags::POLLIN)];
        poll(&mut fds, milliseconds).unwrap() == 1
    };
    assert!(readable(60_000));
    next_connected(&connection);
    assert!(connection.receive(Some(Duration::ZERO)).is_none());
    assert!(!readable(50));
    tell.send(()).unwrap();
    assert!(readable(60_000));
    next_message(&connection);
    connection.close();
    broker.join();
}

/// 200 MB for an owner that is busy for longer than the heart-beats allow: the broker is held back by TCP, it hears
/// beats all the time, its silence (it can't get a word out) is not held against it, and nothing is lost.
#[test]
fn a_busy_owner_holds_the_broker_back_and_the_heart_beats_go_on() {
    const COUNT: usize = 200_000;
    let written = Arc::new(AtomicUsize::new(0));
    let beats = Arc::new(AtomicUsize::new(0));
    let broker = broker({
        let (written, beats) = (written.clone(), beats.clone());
        move |listener| {
            let stream = listener.accept().unwrap().0;
            let mut client = Client::over(stream.try_clone().unwrap());
            client.expect("CONNECT");
            client.say(&connected("1000,1000"));
            let id = client.subscribed();
            let mut writer = Client::over(stream);
            let writing = thread::spawn(move || {
                let body = "z".repeat(1000);
                for number in 0..COUNT {
                    writer.say(&message(&id, &number.to_string(), &body));
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
            let disconnect = loop {
                match client.item().expect("the connection stands") {
                    Item::Eol => drop(beats.fetch_add(1, Ordering::Relaxed)),
                    Item::Frame(frame) => break frame,
                }
            };
            assert_eq!(disconnect.command, "DISCONNECT");
            writing.join().unwrap();
            client.confirm(&disconnect);
        }
    });
    let mut target = target(&broker.url());
    target.heart_beat = Duration::from_secs(1);
    let connection = Connection::open(target, vec![topic("/topic/a")]).unwrap();
    next_connected(&connection);
    thread::sleep(Duration::from_millis(4500));
    // The inbox (8 MiB), one read, and what the kernel keeps for both sockets.
    let held = written.load(Ordering::Relaxed);
    assert!(held < COUNT / 2, "{held} messages were taken for an owner that looked at none");
    let heard = beats.load(Ordering::Relaxed);
    assert!(heard >= 4, "{heard} heart-beats in 4.5 s");
    for number in 0..COUNT {
        let message = next_message(&connection);
        assert_eq!(message.frame.header("ack"), Some(number.to_string().as_str()));
    }
    connection.close();
    broker.join();
}

#[test]
fn an_owner_that_sleeps_through_many_tries_finds_the_last() {
    let connection = open(&format!(
        "failover:(stomp://127.0.0.1:{})?initialReconnectDelay=0.01&maxReconnectDelay=0.02",
        dead_port()
    ));
    thread::sleep(Duration::from_millis(500));
    next_lost(&connection);
    let more = (0..50).take_while(|_| connection.receive(Some(Duration::ZERO)).is_some()).count();
    assert!(more <= 2, "{more} more of them waited");
    connection.close();
}
