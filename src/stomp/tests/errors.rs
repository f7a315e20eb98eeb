//! What brokers refuse, in their own words, and what enemies send.

use super::*;

const LOGGED_IN: &str = "version:1.2\nserver:any/1\n";

fn refused(wire: &mut Wire) -> (ServerError, Option<ReceiptId>) {
    match wire.events().as_slice() {
        [Event::Refused { error, receipt }, Event::Closed(CloseReason::Refused(last))] if error == last => {
            (error.clone(), *receipt)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_are_told_apart_by_the_brokers_own_words() {
    // Recorded from ActiveMQ 5.17.2 and RabbitMQ 3.10.8, or read in the sources of Artemis.
    let before_login = [
        (
            "ERROR\ncontent-type:text/plain\nmessage:User name [git] or password is invalid.\n\nUser name [git] or password is invalid.\0\n",
            ErrorKind::Login,
            "User name [git] or password is invalid.",
        ),
        (
            "ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:30\n\nAccess refused for user 'git'\n\0\n",
            ErrorKind::Login,
            "Bad CONNECT: Access refused for user 'git'",
        ),
        (
            "ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\nversion:1.0,1.1,1.2\ncontent-length:32\n\nVirtual host 'nix' access denied\0\n",
            ErrorKind::Login,
            "Bad CONNECT: Virtual host 'nix' access denied",
        ),
        (
            "ERROR\nmessage:Bad CONNECT\n\nnon-loopback access denied\n\0",
            ErrorKind::Login,
            "Bad CONNECT: non-loopback access denied",
        ),
        (
            "ERROR\nmessage:Bad CONNECT\n\nConnection refused: vhost connection limit reached\n\0",
            ErrorKind::Other,
            "Bad CONNECT: Connection refused: vhost connection limit reached",
        ),
        (
            "ERROR\nmessage:Version mismatch\ncontent-length:35\n\nSupported versions are 1.0,1.1,1.2\n\0",
            ErrorKind::Other,
            "Version mismatch: Supported versions are 1.0,1.1,1.2",
        ),
        (
            "ERROR\nmessage:Broker: test - Client: c1 already connected from tcp://127.0.0.1:42874\n\njavax.jms.InvalidClientIDException: Broker: test - Client: c1 already connected from tcp://127.0.0.1:42874\n\tat org.apache.activemq.broker\n\0",
            ErrorKind::InUse,
            "Broker: test - Client: c1 already connected from tcp://127.0.0.1:42874",
        ),
        (
            "ERROR\nmessage:Security Error occurred\\c User name [git] or password is invalid\n\n\0",
            ErrorKind::Login,
            "Security Error occurred: User name [git] or password is invalid",
        ),
    ];
    for (frame, kind, text) in before_login {
        let mut wire = Wire::new(Duration::ZERO);
        wire.hear(frame);
        assert_eq!(refused(&mut wire), (ServerError { text: text.to_owned(), kind }, None));
    }
    let after_login = [
        (
            "ERROR\nmessage:access_refused\n\nACCESS_REFUSED - access to exchange 'amq.topic' in vhost '/' refused for user 'git'\0",
            ErrorKind::Permission,
            "access_refused: ACCESS_REFUSED - access to exchange 'amq.topic' in vhost '/' refused for user 'git'",
        ),
        (
            "ERROR\nmessage:User git is not authorized to write to\\c topic\\c//a\n\njava.lang.SecurityException: User git is not authorized to write to: topic://a\n\tat x\0",
            ErrorKind::Permission,
            "User git is not authorized to write to: topic://a",
        ),
        (
            "ERROR\nmessage:AMQ229032\\c User\\c git does not have permission='SEND' on address a\n\n\0",
            ErrorKind::Permission,
            "AMQ229032: User: git does not have permission='SEND' on address a",
        ),
        (
            "ERROR\nmessage:Durable consumer is in use for client\\c c1 and subscriptionName\\c w\n\njavax.jms.JMSException: Durable consumer is in use for client: c1 and subscriptionName: w\n\tat org.apache\n\0",
            ErrorKind::InUse,
            "Durable consumer is in use for client: c1 and subscriptionName: w",
        ),
        ("ERROR\nmessage:Credential expired\n\n\0", ErrorKind::Login, "Credential expired"),
        (
            "ERROR\nmessage:not_found\n\nNOT_FOUND - no exchange 'nix' in vhost '/'\0",
            ErrorKind::Other,
            "not_found: NOT_FOUND - no exchange 'nix' in vhost '/'",
        ),
        ("ERROR\n\n\0", ErrorKind::Other, "ERROR without a reason"),
        ("ERROR\nmessage:\x1b[31mred\\nnext\n\n\r\n\r\n\x07detail\r\n\0", ErrorKind::Other, "[31mred next: detail"),
    ];
    for (frame, kind, text) in after_login {
        let mut wire = Wire::connected(LOGGED_IN);
        wire.hear(frame);
        assert_eq!(refused(&mut wire), (ServerError { text: text.to_owned(), kind }, None));
    }
}

#[test]
fn a_refusal_names_the_receipt_or_the_only_one_that_is_open() {
    let send = || Frame::send("/topic/a", vec![], vec![]);
    let mut wire = Wire::connected(LOGGED_IN);
    wire.session.send(send(), true);
    let second = wire.session.send(send(), true);
    wire.hear("ERROR\nreceipt-id:2\nmessage:no\n\n\0");
    assert_eq!(refused(&mut wire).1, second);

    let mut wire = Wire::connected(LOGGED_IN);
    let only = wire.session.send(send(), true);
    wire.session.send(send(), false);
    wire.hear("ERROR\nmessage:no\n\n\0");
    assert_eq!(refused(&mut wire).1, only);

    for error in ["ERROR\nmessage:no\n\n\0", "ERROR\nreceipt-id:77\nmessage:no\n\n\0"] {
        let mut wire = Wire::connected(LOGGED_IN);
        wire.session.send(send(), true);
        wire.session.send(send(), true);
        wire.hear(error);
        assert_eq!(refused(&mut wire).1, None, "either could be meant");
    }
}

#[test]
fn after_a_refusal_a_receipt_means_nothing() {
    // RabbitMQ answers a SUBSCRIBE to a missing exchange so.
    let mut wire = Wire::connected(LOGGED_IN);
    wire.session.send(Frame::send("/exchange/nix/a", vec![], vec![]), true);
    wire.hear("ERROR\nmessage:not_found\n\nNOT_FOUND\0RECEIPT\nreceipt-id:1\n\n\0");
    refused(&mut wire);
    wire.session.handle_eof();
    assert!(wire.events().is_empty());
}

#[test]
fn a_broker_s_words_are_bounded() {
    let mut wire = Wire::connected(LOGGED_IN);
    wire.hear(&format!("ERROR\nmessage:{}\n\n{}\0", "é".repeat(4000), "ß".repeat(1_000_000)));
    assert_eq!(refused(&mut wire).0.text.chars().count(), 602);
}

#[test]
fn frames_that_have_no_place_end_the_connection() {
    for (frame, text) in [
        ("MESSAGE\nsubscription:0\n\nx\0", "the broker sent MESSAGE before CONNECTED, which has no place here"),
        ("RECEIPT\nreceipt-id:1\n\n\0", "the broker sent RECEIPT before CONNECTED, which has no place here"),
        (
            "CONNECTED\nversion:2.0\n\n\0",
            "the broker sent CONNECTED in a version that was not offered, which has no place here",
        ),
    ] {
        let mut wire = Wire::new(Duration::ZERO);
        wire.hear(frame);
        assert_eq!(wire.closed().to_string(), text);
        assert_eq!(wire.sent(), "");
    }
    for frame in ["CONNECTED\nversion:1.2\n\n\0", "SEND\ndestination:/topic/a\n\n\0", "ACK\nid:1\n\n\0"] {
        let mut wire = Wire::connected(LOGGED_IN);
        wire.hear(frame);
        assert!(matches!(wire.closed(), CloseReason::Unexpected(_)), "{frame:?}");
    }
}

#[test]
fn an_end_of_stream_is_told_apart_from_one_in_a_frame() {
    let mut wire = Wire::connected(LOGGED_IN);
    wire.hear("\n\nMESSAGE\nsubscription:0\n\nwhole\0\n");
    wire.events();
    wire.session.handle_eof();
    assert_eq!(wire.closed(), CloseReason::EndOfStream);
    for part in ["M", "MESSAGE\n", "MESSAGE\na:b\n\n", "MESSAGE\n\nbod", "MESSAGE\ncontent-length:4\n\nbody"] {
        let mut wire = Wire::connected(LOGGED_IN);
        wire.hear(part);
        wire.session.handle_eof();
        assert_eq!(wire.closed(), CloseReason::MidFrame, "{part:?}");
    }
    let mut wire = Wire::new(Duration::ZERO);
    wire.session.handle_eof();
    assert_eq!(wire.closed(), CloseReason::EndOfStream, "a port that closes at once");
}

#[test]
fn bytes_that_are_no_stomp_end_the_connection_and_are_named() {
    for (bytes, text) in [
        ("HTTP/1.1 400 Bad Request\r\n", "\"HTTP/1.1 400 Bad Request\\r\" is no STOMP command; is this a STOMP port?"),
        ("\0\0\0\0", "\"\\0\\0\\0\\0\" is no STOMP command; is this a STOMP port?"),
        ("MESSAGE\nno colon here\n\n\0", "header line \"no colon here\" has no colon"),
        ("MESSAGE\na:b\0", "a NUL stands among the headers"),
        ("MESSAGE\ncontent-length:many\n\n\0", "content-length \"many\" is no number"),
        ("MESSAGE\ncontent-length:-1\n\n\0", "content-length \"-1\" is no number"),
        ("MESSAGE\ncontent-length:3\n\nfour\0", "no NUL after the 3 octets that content-length promised"),
        ("MESSAGE\ncontent-length:18446744073709551615\n\n", "the body is over the limit of 16777216"),
    ] {
        let mut wire = Wire::connected(LOGGED_IN);
        wire.hear(bytes);
        assert_eq!(wire.closed().to_string(), text);
        wire.hear("MESSAGE\n\n\0");
        assert!(wire.events().is_empty());
    }
}

#[test]
fn a_line_without_a_colon_is_passed_over_on_1_0() {
    // ActiveMQ writes a 1.2 sender's escaped LF as it is to a 1.0 client.
    let mut wire = Wire::connected("version:1.0\n");
    wire.session.subscribe(&Subscription {
        destination: "/topic/t".to_owned(),
        durable: None,
        ack: AckMode::Auto,
        prefetch: None,
    });
    wire.hear("MESSAGE\ndestination:/topic/t\nsubject:a\nsecond line\nmessage-id:1\n\nhi\0");
    let events = wire.events();
    let [Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(message.frame.header("message-id"), Some("1"));
    assert!(message.subscription.is_some());
}
