use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::bus::{Error, Publisher};
use crate::config::Secret;
use crate::stomp::Dialect;

fn briefly() -> Instant {
    Instant::now() + Duration::from_millis(400)
}

fn connect(url: &str) -> Result<Publisher, Error> {
    Publisher::connect(&target(url), soon())
}

/// A client that was reset, not closed, when this is dropped.
fn accept_to_reset(listener: &TcpListener) -> Client {
    let stream = listener.accept().unwrap().0;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    // What was said before the reset is not to be kept back and dropped with it.
    stream.set_nodelay(true).unwrap();
    Client::over(stream)
}

#[test]
fn one_receipt_stands_behind_all_frames() {
    let broker = broker_for_one(|mut client| {
        let connect = client.log_in();
        assert_eq!(connect.header("login"), Some("git"));
        assert_eq!(connect.header("passcode"), Some("from the file"));
        assert_eq!(connect.header("heart-beat"), Some("0,0"));
        assert_eq!(connect.header("client-id"), None);
        for round in 0..2 {
            let bodies: Vec<Frame> = (0..3).map(|_| client.expect("SEND")).collect();
            let asked: Vec<bool> = bodies.iter().map(|frame| frame.header("receipt").is_some()).collect();
            assert_eq!(asked, [false, false, true]);
            assert_eq!(bodies[2].body, format!("{round} third").as_bytes());
            client.confirm(&bodies[2]);
        }
        assert_eq!(client.expect("DISCONNECT").header("receipt"), None);
        assert_eq!(client.item(), None);
    });
    let mut target = target(&format!("stomp://git@127.0.0.1:{}", broker.port));
    target.passcode = Some(Secret("from the file".to_owned()));
    target.client_id = Some("the watcher's".to_owned());
    let mut publisher = Publisher::connect(&target, soon()).unwrap();
    assert_eq!(publisher.peer().address, broker.address());
    assert_eq!(publisher.peer().dialect, Dialect::ActiveMq);
    assert_eq!(publisher.peer().server.as_deref(), Some("ActiveMQ/5.17.2"));
    for round in 0..2 {
        let frames = ["first", "second", "third"].map(|word| send(&format!("{round} {word}")));
        publisher.publish(frames.to_vec(), soon()).unwrap();
    }
    publisher.publish(Vec::new(), soon()).unwrap();
    publisher.close();
    broker.join();
}

#[test]
fn a_dead_port_is_unreachable_by_name() {
    let port = dead_port();
    let Err(error) = connect(&format!("stomp://127.0.0.1:{port}")) else { panic!("connected") };
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    let cause = "refused the connection: is the broker running, and is this its STOMP port?";
    assert_eq!(error.to_string(), format!("127.0.0.1:{port}: {cause}"));
}

#[test]
fn every_host_has_its_line() {
    let (a, b) = (dead_port(), dead_port());
    let (_listener, silent) = silent();
    let url = format!("failover:(stomp://127.0.0.1:{a},stomp://{silent},stomp://localhost:{b})");
    let Err(error) = Publisher::connect(&target(&url), briefly()) else { panic!("connected") };
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with(&format!("127.0.0.1:{a}: refused")), "{text}");
    assert!(lines[1].starts_with(&format!("{silent}: took the connection and does not answer the login")), "{text}");
    assert!(lines[2].starts_with(&format!("localhost:{b}: refused")), "{text}");
}

#[test]
fn a_silent_host_costs_no_more_than_the_deadline_and_loses_to_a_later_one() {
    let (_listener, silent) = silent();
    let broker = broker_for_one(|mut client| drop(client.log_in()));
    let publisher = connect(&format!("failover:(stomp://{silent},{})", broker.url())).unwrap();
    assert_eq!(publisher.peer().address, broker.address());
    broker.join();
}

#[test]
fn the_first_of_two_good_hosts_is_taken() {
    let first = broker_for_one(|mut client| drop(client.log_in()));
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    second.set_nonblocking(true).unwrap();
    let url = format!("failover:({},stomp://{})", first.url(), second.local_addr().unwrap());
    let publisher = connect(&url).unwrap();
    assert_eq!(publisher.peer().address, first.address());
    first.join();
    assert!(second.accept().is_err(), "the second host was not to be asked");
}

#[test]
fn a_slow_login_is_overtaken_and_may_still_win() {
    let slow = broker_for_one(|mut client| {
        client.expect("CONNECT");
        thread::sleep(Duration::from_millis(600));
        client.say(&connected("0,0"));
        assert_eq!(client.item(), None);
    });
    let (_listener, silent) = silent();
    let publisher = connect(&format!("failover:({},stomp://{silent})", slow.url())).unwrap();
    assert_eq!(publisher.peer().address, slow.address());
    drop(publisher);
    slow.join();
}

#[test]
fn a_refused_login_is_told_when_no_other_host_helps() {
    let refuse = |mut client: Client| {
        client.expect("CONNECT");
        client.say(&error("User name [git] or password is invalid."));
        // As RabbitMQ does, it leaves the connection open.
        assert_eq!(client.item(), None);
    };
    let (bad, dead) = (broker_for_one(refuse), dead_port());
    let Err(error) = connect(&format!("failover:({},stomp://127.0.0.1:{dead})", bad.url())) else {
        panic!("logged in")
    };
    let address = bad.address();
    assert!(matches!(error, Error::Login(_)), "{error:?}");
    let expected = format!("{address}: User name [git] or password is invalid.; 127.0.0.1:{dead}: refused");
    assert!(error.to_string().contains(&expected), "{error}");
    bad.join();

    let (bad, good) = (broker_for_one(refuse), broker_for_one(|mut client| drop(client.log_in())));
    let publisher = connect(&format!("failover:({},{})", bad.url(), good.url())).unwrap();
    assert_eq!(publisher.peer().address, good.address());
    bad.join();
    good.join();
}

#[test]
fn a_refused_message_is_told_even_if_the_broker_closes_before_it_has_read_all() {
    let broker = broker_for_one(|mut client| {
        client.log_in();
        // One read, then ERROR and a close with megabytes unread, which resets the connection.
        let _ = client.stream.read(&mut [0; 100]).unwrap();
        client.say(&error("The maximum data length was exceeded"));
    });
    let mut publisher = connect(&broker.url()).unwrap();
    let result = publisher.publish(vec![send(&"x".repeat(20_000_000))], soon());
    let Err(error) = result else { panic!("{result:?}") };
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    let expected =
        format!("the broker refused the message: {}: The maximum data length was exceeded", broker.address());
    assert_eq!(error.to_string(), expected);
    broker.join();
}

#[test]
fn the_last_word_of_a_broker_that_is_gone_is_read_though_writing_fails() {
    let (tell, told) = std::sync::mpsc::channel();
    let broker = broker(move |listener| {
        let mut client = accept_to_reset(&listener);
        client.log_in();
        told.recv().unwrap();
        client.say(&error("this user may send no more"));
    });
    let mut publisher = connect(&broker.url()).unwrap();
    tell.send(()).unwrap();
    broker.join();
    let Err(error) = publisher.publish(vec![send("x")], soon()) else { panic!("published") };
    assert!(error.to_string().ends_with("this user may send no more"), "{error:?}");
}

#[test]
fn death_in_the_middle_of_the_receipt_is_a_loss() {
    let broker = broker_for_one(|mut client| {
        client.log_in();
        client.expect("SEND");
        client.say_raw(b"RECEIPT\nreceipt-i");
    });
    let mut publisher = connect(&broker.url()).unwrap();
    let Err(error) = publisher.publish(vec![send("x")], soon()) else { panic!("published") };
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
    assert!(error.to_string().starts_with(&broker.address()), "{error}");
    assert!(error.to_string().contains("in the middle of a frame"), "{error}");
    broker.join();
}

#[test]
fn a_reset_is_a_loss() {
    let broker = broker(|listener| {
        let mut client = accept_to_reset(&listener);
        client.log_in();
        client.expect("SEND");
    });
    let mut publisher = connect(&broker.url()).unwrap();
    let Err(error) = publisher.publish(vec![send("x")], soon()) else { panic!("published") };
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
    assert_eq!(error.to_string(), format!("{}: lost the connection: Connection reset by peer", broker.address()));
    broker.join();
}

#[test]
fn a_reset_or_a_close_before_the_login_names_the_port() {
    let reset = broker(|listener| drop(accept_to_reset(&listener).expect("CONNECT")));
    let Err(error) = connect(&reset.url()) else { panic!("connected") };
    assert!(error.to_string().starts_with(&format!("{}: reset the connection", reset.address())), "{error}");
    reset.join();
    let closed = broker_for_one(|mut client| drop(client.expect("CONNECT")));
    let Err(error) = connect(&closed.url()) else { panic!("connected") };
    assert!(error.to_string().starts_with(&format!("{}: closed the connection", closed.address())), "{error}");
    closed.join();
}

#[test]
fn a_broker_that_stops_answering_is_a_time_out() {
    let broker = broker_for_one(|mut client| {
        client.log_in();
        client.expect("SEND");
        assert_eq!(client.item(), None);
    });
    let mut publisher = connect(&broker.url()).unwrap();
    let Err(error) = publisher.publish(vec![send("x")], briefly()) else { panic!("published") };
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{}: no receipt", broker.address())), "{error}");
    drop(publisher);
    broker.join();
}

#[test]
fn bytes_may_come_one_by_one() {
    let broker = broker(|listener| {
        let mut client = Client::accept(&listener);
        client.expect("CONNECT");
        let drip = |client: &mut Client, frame: &Frame| {
            let mut bytes = b"\r\n\n".to_vec();
            frame.encode(Version::V1_2, &mut bytes);
            for byte in bytes {
                client.say_raw(&[byte]);
                thread::sleep(Duration::from_micros(500));
            }
        };
        drip(&mut client, &connected("0,0"));
        let sent = client.expect("SEND");
        drip(&mut client, &Frame::new("RECEIPT").with("receipt-id", sent.header("receipt").unwrap()));
    });
    connect(&broker.url()).unwrap().publish(vec![send("x")], soon()).unwrap();
    broker.join();
}

#[test]
fn something_else_on_the_port_is_told() {
    let http = broker(|listener| {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1000]);
    });
    let Err(error) = connect(&http.url()) else { panic!("connected") };
    assert!(error.to_string().contains("is this a STOMP port?"), "{error}");
    http.join();
}

#[test]
fn all_addresses_of_localhost_are_tried() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address.parse::<SocketAddr>().unwrap()) else {
            assert!(address.starts_with('['), "no IPv4 here");
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        let script = thread::spawn(move || drop(Client::accept(&listener).log_in()));
        let publisher = connect(&format!("stomp://localhost:{port}")).unwrap();
        assert_eq!(publisher.peer().address, format!("localhost:{port}"));
        script.join().unwrap();
    }
}

#[test]
fn a_name_is_looked_up() {
    let broker = broker_for_one(|mut client| drop(client.log_in()));
    // Not an address by RFC 4291 or our own parser, but getaddrinfo knows it without any name server.
    let publisher = connect(&format!("stomp://127.1:{}", broker.port)).unwrap();
    assert_eq!(publisher.peer().address, format!("127.1:{}", broker.port));
    broker.join();
}

#[test]
fn a_name_that_nobody_knows_neither_hangs_nor_stands_in_the_way() {
    let Err(error) = Publisher::connect(&target("stomp://nowhere.invalid"), briefly()) else { panic!("connected") };
    assert!(error.to_string().starts_with("nowhere.invalid:61613: "), "{error}");
    let broker = broker_for_one(|mut client| drop(client.log_in()));
    let publisher = connect(&format!("failover:(stomp://nowhere.invalid,{})", broker.url())).unwrap();
    assert_eq!(publisher.peer().address, broker.address());
    broker.join();
}
