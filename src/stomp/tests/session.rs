//! One connection from login to leave, per version and per broker.

use super::*;

fn to(destination: &str) -> Subscription {
    Subscription { destination: destination.to_owned(), durable: None, ack: AckMode::Auto, prefetch: None }
}

fn durable() -> Subscription {
    Subscription {
        destination: "/topic/t".to_owned(),
        durable: Some("web01".to_owned()),
        ack: AckMode::Individual,
        prefetch: Some(10),
    }
}

#[test]
fn login_says_who_and_asks_for_whole_seconds() {
    let mut wire = Wire::new(Duration::from_millis(1500));
    assert_eq!(
        wire.sent(),
        "CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\nheart-beat:2000,2000\nlogin:git\npasscode:pw\nclient-id:web01\n\n\0"
    );
    assert_eq!(wire.session.poll_timeout(), None, "no heart-beats before they are agreed");
    assert_eq!((wire.session.version(), wire.session.dialect(), wire.session.server()), (None, None, None));
}

#[test]
fn login_doubles_backslashes_and_lets_no_line_end_in() {
    let login = Login {
        login: Some("a\\b".to_owned()),
        passcode: Some("x\\\\y\r\nevil:1\n\n\0SEND".to_owned()),
        vhost: "v:w\n".to_owned(),
        client_id: None,
        heart_beat: Duration::ZERO,
    };
    let session = Session::new(login, Limits::default(), Instant::now());
    assert_eq!(
        String::from_utf8(session.poll_transmit().to_vec()).unwrap(),
        "CONNECT\naccept-version:1.0,1.1,1.2\nhost:v:w \nheart-beat:0,0\nlogin:a\\\\b\npasscode:x\\\\\\\\y  evil:1   SEND\n\n\0"
    );
}

#[test]
fn login_values_survive_a_broker_that_unescapes() {
    for value in ["", "plain", "a\\b", "\\\\server\\share\\", "\\n\\c"] {
        assert_eq!(dialect::read_login_value(&dialect::write_login_value(value)), value);
    }
    assert_eq!(dialect::read_login_value("a\\d:b"), "a\\d:b", "a client that keeps to the specification");
}

#[test]
fn debug_shows_no_passcode() {
    let login = Login {
        login: Some("git".to_owned()),
        passcode: Some("S3cret".to_owned()),
        vhost: "/".to_owned(),
        client_id: None,
        heart_beat: Duration::ZERO,
    };
    assert!(!format!("{login:?}").contains("S3cret"));
    let session = format!("{:?}", Session::new(login, Limits::default(), Instant::now()));
    assert!(!session.contains("S3cret") && !session.contains("83, 51"), "{session}");
}

#[test]
fn each_broker_is_told_apart_and_subscribed_to_in_its_own_words() {
    let words = [
        (
            "version:1.2\nserver:ActiveMQ/5.17.2\n",
            Dialect::ActiveMq,
            "id:0\ndestination:/topic/t\nack:client-individual\nactivemq.subscriptionName:web01\nactivemq.prefetchSize:10",
        ),
        (
            "version:1.1\nserver:ActiveMQ-Artemis/2.31.2 ActiveMQ Artemis Messaging Engine\n",
            Dialect::Artemis,
            "id:0\ndestination:/topic/t\nack:client-individual\nsubscription-type:MULTICAST\n\
             durable-subscription-name:web01\nconsumer-window-size:40960",
        ),
        (
            "version:1.2\nserver:RabbitMQ/3.10.8\n",
            Dialect::RabbitMq,
            "id:web01@/topic/t\ndestination:/topic/t\nack:client-individual\ndurable:true\nauto-delete:false\nprefetch-count:10",
        ),
        (
            "version:1.0\nserver:RabbitMQ/3.10.8\n",
            Dialect::RabbitMq,
            "id:web01@/topic/t\ndestination:/topic/t\nack:client\ndurable:true\nauto-delete:false\nprefetch-count:10",
        ),
        (
            "version:1.2\nserver:failcake/0.1.0\n",
            Dialect::Failcake,
            "id:0\ndestination:/topic/t\nack:client-individual\nactivemq.subscriptionName:web01\nactivemq.prefetchSize:10",
        ),
        (
            "version:1.2\n",
            Dialect::Other,
            "id:web01@/topic/t\ndestination:/topic/t\nack:client-individual\nactivemq.subscriptionName:web01\n\
             durable-subscription-name:web01\ndurable:true\nauto-delete:false",
        ),
        (
            "",
            Dialect::Other,
            "id:web01@/topic/t\ndestination:/topic/t\nack:client\nactivemq.subscriptionName:web01\n\
             durable-subscription-name:web01\ndurable:true\nauto-delete:false",
        ),
    ];
    for (connected, dialect, subscribe) in words {
        let mut wire = Wire::connected(connected);
        assert_eq!(wire.session.dialect(), Some(dialect), "{connected:?}");
        let (_, receipt) = wire.session.subscribe(&durable());
        // 1.1 and 1.2 escape the colon of a value, of which these have none.
        assert_eq!(wire.sent(), format!("SUBSCRIBE\n{subscribe}\nreceipt:{}\n\n\0", receipt.0), "{connected:?}");
    }
}

#[test]
fn a_queue_needs_no_durable_name_and_prefetch_is_never_zero() {
    let mut wire = Wire::connected("version:1.2\nserver:ActiveMQ/5.17.2\n");
    let queue = Subscription { destination: "/queue/q".to_owned(), prefetch: Some(0), ..durable() };
    wire.session.subscribe(&queue);
    assert_eq!(
        wire.sent(),
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\nactivemq.prefetchSize:1\nreceipt:1\n\n\0"
    );
}

#[test]
fn artemis_is_told_what_kind_of_address_a_send_means() {
    let mut wire = Wire::connected("version:1.2\nserver:ActiveMQ-Artemis/2.31.2\n");
    wire.session.send(Frame::send("/queue/q", vec![], b"x".to_vec()), false);
    wire.session.send(Frame::send("plain", vec![], b"x".to_vec()), false);
    assert_eq!(
        wire.sent(),
        "SEND\ndestination:/queue/q\ndestination-type:ANYCAST\n\nx\0SEND\ndestination:plain\n\nx\0"
    );
}

#[test]
fn a_durable_id_is_the_same_on_each_connection_and_finds_its_subscription() {
    let mut ids = Vec::new();
    for others in [0, 3] {
        let mut wire = Wire::connected("version:1.2\nserver:RabbitMQ/3.10.8\n");
        for n in 0..others {
            wire.session.subscribe(&to(&format!("/topic/{n}")));
        }
        let (id, _) = wire.session.subscribe(&durable());
        let again = wire.sent();
        ids.push(again[again.find("id:web01").unwrap()..].lines().next().unwrap().to_owned());
        wire.hear("MESSAGE\nsubscription:web01@/topic/t\nmessage-id:T_1\nack:T_1\ndestination:/topic/t\n\nhi\0");
        let events = wire.events();
        let [Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(message.subscription, Some(id));
    }
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn acks_are_written_in_each_version_s_way() {
    let ways = [
        (
            "version:1.2\nserver:ActiveMQ/5.17.2\n",
            "MESSAGE\nack:ID\\cvm-4\\c2\nsubscription:0\nmessage-id:ID\\cvm-3\ndestination:/topic/t\n\nhi\0",
            "ACK\nid:ID\\cvm-4\\c2\n\n\0",
        ),
        (
            "version:1.1\nserver:ActiveMQ/5.17.2\n",
            "MESSAGE\nsubscription:0\nmessage-id:ID\\cvm-3\ndestination:/topic/t\n\nhi\0",
            "ACK\nsubscription:0\nmessage-id:ID\\cvm-3\n\n\0",
        ),
        (
            "server:ActiveMQ/5.17.2\n",
            "MESSAGE\nmessage-id:ID:vm-3\ndestination:/topic/t\n\nhi\0",
            "ACK\nmessage-id:ID:vm-3\n\n\0",
        ),
    ];
    for (connected, message, ack) in ways {
        let mut wire = Wire::connected(connected);
        let (id, _) = wire.session.subscribe(&Subscription { ack: AckMode::Individual, ..to("/topic/t") });
        wire.sent();
        wire.hear(message);
        let events = wire.events();
        let [Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(message.subscription, Some(id), "{connected:?}");
        assert_eq!(message.frame.body, b"hi");
        wire.session.ack(message.ack.as_ref().unwrap());
        assert_eq!(wire.sent(), ack, "{connected:?}");
    }
}

#[test]
fn a_message_before_its_receipt_is_known_already() {
    let mut wire = Wire::connected("version:1.2\n");
    let (id, receipt) = wire.session.subscribe(&to("/topic/t"));
    wire.hear("MESSAGE\nsubscription:0\nmessage-id:1\nack:1\ndestination:/topic/t\n\nhi\0RECEIPT\nreceipt-id:1\n\n\0");
    let events = wire.events();
    let [Event::Message(message), Event::Receipt(confirmed)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((message.subscription, *confirmed), (Some(id), receipt));
    assert_eq!(message.ack, None, "the broker acknowledged it");
}

#[test]
fn messages_that_name_nothing_known_are_told_as_such() {
    let mut wire = Wire::connected("version:1.2\n");
    wire.session.subscribe(&Subscription { ack: AckMode::Individual, ..to("/topic/t") });
    for message in [
        "MESSAGE\nsubscription:77\nmessage-id:1\nack:1\ndestination:/topic/t\n\nhi\0",
        "MESSAGE\nmessage-id:1\nack:1\ndestination:/topic/t\n\nhi\0",
        "MESSAGE\n\n\0",
    ] {
        wire.hear(message);
        let events = wire.events();
        let [Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((message.subscription, &message.ack), (None, &None));
    }
    wire.hear("MESSAGE\nsubscription:0\ndestination:/topic/t\n\nno message-id, no ack\0");
    let events = wire.events();
    let [Event::Message(message)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((message.subscription.is_some(), &message.ack), (true, &None));
}

#[test]
fn on_1_0_the_destination_tells_whatever_a_sender_put_into_the_headers() {
    let mut wire = Wire::connected("server:RabbitMQ/3.10.8\nversion:1.0\n");
    let (a, _) = wire.session.subscribe(&to("/topic/a"));
    let (b, _) = wire.session.subscribe(&to("/topic/b"));
    assert!(!wire.sent().contains("\nid:"));
    // RabbitMQ hands the sender's own `subscription` and `receipt` on.
    wire.hear("MESSAGE\ndestination:/topic/b\nmessage-id:Q_1\nsubscription:evil\nreceipt:2\n\nhi\0");
    wire.hear("MESSAGE\ndestination:/topic/a\nmessage-id:Q_1\n\nhi\0");
    wire.hear("MESSAGE\ndestination:/topic/c\nmessage-id:Q_1\n\nhi\0");
    let found: Vec<_> = wire
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Message(message) => message.subscription,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, [Some(b), Some(a), None]);
}

#[test]
fn on_1_0_an_only_subscription_gets_what_a_wildcard_brings() {
    let mut wire = Wire::connected("server:ActiveMQ/5.17.2\n");
    let (id, _) = wire.session.subscribe(&to("/topic/t.>"));
    wire.hear("MESSAGE\ndestination:/topic/t.a\nmessage-id:1\n\nhi\0");
    assert!(matches!(wire.events().as_slice(), [Event::Message(m)] if m.subscription == Some(id)));
}

#[test]
fn receipts_are_told_once_and_only_when_asked_for() {
    let mut wire = Wire::connected("version:1.2\n");
    let first = wire.session.send(Frame::send("/topic/a", vec![], vec![]), true).unwrap();
    assert_eq!(wire.session.send(Frame::send("/topic/a", vec![], vec![]), false), None);
    let second = wire.session.send(Frame::send("/topic/a", vec![], vec![]), true).unwrap();
    assert_eq!(wire.sent().matches("receipt:").count(), 2);
    wire.hear("RECEIPT\nreceipt-id:2\n\n\0RECEIPT\nreceipt-id:2\n\n\0RECEIPT\nreceipt-id:9\n\n\0RECEIPT\n\n\0");
    wire.hear("RECEIPT\nreceipt-id:nix\n\n\0RECEIPT\nreceipt-id:1\n\n\0");
    let told: Vec<_> = wire
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Receipt(id) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [second, first]);
}

#[test]
fn a_receipt_header_of_the_sender_s_own_does_not_hide_ours() {
    let mut wire = Wire::connected("version:1.2\n");
    wire.session.send(Frame::send("/topic/a", vec![("receipt".to_owned(), "77".to_owned())], vec![]), true);
    assert_eq!(wire.sent(), "SEND\ndestination:/topic/a\nreceipt:1\n\n\0");
}

#[test]
fn what_is_sent_before_login_waits_for_the_version() {
    let mut wire = Wire::new(Duration::ZERO);
    wire.session.send(Frame::send("/topic/a", vec![("subject".to_owned(), "a:b".to_owned())], b"x".to_vec()), true);
    assert!(!wire.sent().contains("SEND"));
    wire.hear("CONNECTED\nversion:1.1\n\n\0");
    assert_eq!(wire.sent(), "SEND\ndestination:/topic/a\nsubject:a\\cb\nreceipt:1\n\nx\0");
}

#[test]
fn leaving_waits_for_the_receipt_and_says_nothing_more() {
    let mut wire = Wire::connected("version:1.2\n");
    wire.session.disconnect();
    wire.session.disconnect();
    wire.session.send(Frame::send("/topic/a", vec![], vec![]), true);
    assert_eq!(wire.sent(), "DISCONNECT\nreceipt:1\n\n\0");
    wire.hear("RECEIPT\nreceipt-id:1\n\n\0RECEIPT\nreceipt-id:1\n\n\0");
    assert_eq!(wire.closed(), CloseReason::Disconnected);
    wire.session.handle_eof();
    wire.hear("MESSAGE\n\n\0");
    wire.session.send(Frame::send("/topic/a", vec![], vec![]), true);
    assert!(wire.events().is_empty() && wire.sent().is_empty() && wire.session.poll_timeout().is_none());
}

#[test]
fn a_broker_that_closes_instead_of_the_last_receipt_has_agreed_too() {
    let mut wire = Wire::connected("version:1.2\n");
    wire.session.disconnect();
    wire.session.handle_eof();
    assert_eq!(wire.closed(), CloseReason::Disconnected);

    let mut wire = Wire::connected("version:1.2\n");
    wire.session.send(Frame::send("/topic/a", vec![], vec![]), true);
    wire.session.disconnect();
    wire.session.handle_eof();
    assert_eq!(wire.closed(), CloseReason::EndOfStream, "a SEND is unanswered");
}

#[test]
fn leaving_before_login_is_over_at_once() {
    let mut wire = Wire::new(Duration::ZERO);
    wire.session.disconnect();
    assert_eq!(wire.closed(), CloseReason::Disconnected);
    assert_eq!(wire.sent(), "");
}

#[test]
fn heart_beats_go_out_at_half_the_agreed_interval() {
    let mut wire = Wire::connected("version:1.2\nheart-beat:0,20000\n");
    let start = wire.now;
    assert_eq!(wire.session.poll_timeout(), Some(start + Duration::from_secs(10)));
    wire.pass(9);
    wire.session.handle_timeout(wire.now);
    assert_eq!(wire.sent(), "", "too early");
    wire.pass(1);
    wire.session.handle_timeout(wire.now);
    wire.session.handle_timeout(wire.now);
    assert_eq!(wire.session.poll_timeout(), None, "the beat waits for the socket; nothing else is due");
    assert_eq!(wire.sent(), "\n", "one, however often");
    assert_eq!(wire.session.poll_timeout(), Some(wire.now + Duration::from_secs(10)));
    // Any bytes will do.
    wire.pass(5);
    wire.session.send(Frame::send("/topic/a", vec![], vec![]), false);
    wire.sent();
    assert_eq!(wire.session.poll_timeout(), Some(wire.now + Duration::from_secs(10)));
}

#[test]
fn bytes_that_the_socket_does_not_take_pile_up_no_beats() {
    let mut wire = Wire::connected("version:1.2\nheart-beat:0,10000\n");
    wire.session.send(Frame::send("/topic/a", vec![], vec![]), false);
    let waiting = wire.session.poll_transmit().len();
    for _ in 0..100 {
        wire.pass(10);
        wire.session.handle_timeout(wire.now);
    }
    assert_eq!(wire.session.poll_transmit().len(), waiting);
}

#[test]
fn silence_of_twice_the_interval_and_a_margin_is_the_end() {
    let mut wire = Wire::connected("version:1.2\nheart-beat:10000,0\n");
    assert_eq!(wire.session.poll_timeout(), Some(wire.now + Duration::from_secs(21)));
    wire.pass(20);
    wire.hear("\n");
    wire.pass(20);
    wire.session.handle_timeout(wire.now);
    assert!(wire.events().is_empty());
    // Half a frame is a sign of life as well.
    wire.hear("MESS");
    wire.pass(20);
    wire.session.handle_timeout(wire.now);
    assert!(wire.events().is_empty());
    wire.pass(1);
    wire.session.handle_timeout(wire.now);
    assert_eq!(wire.closed(), CloseReason::Silent(Duration::from_secs(21)));
    assert_eq!(wire.session.poll_timeout(), None);
}

#[test]
fn a_driver_that_stops_reading_keeps_the_connection_and_its_own_beat() {
    let mut wire = Wire::connected("version:1.2\nheart-beat:10000,10000\n");
    for _ in 0..20 {
        wire.pass(5);
        wire.session.handle_input_waits(wire.now);
        wire.session.handle_timeout(wire.now);
        assert_eq!(wire.sent(), "\n");
    }
    assert!(wire.events().is_empty());
}

#[test]
fn heart_beats_are_agreed_as_the_specification_has_it() {
    // What the broker offers and wants; then what is sent at latest and missed at latest, in seconds.
    let table = [
        ("heart-beat:0,0\n", None, None),
        ("", None, None),
        ("heart-beat:nonsense\n", None, None),
        ("heart-beat:-5,99999999999999999999\n", None, None),
        ("heart-beat:1,1\n", Some(5), Some(21)),
        ("heart-beat: 30000 , 60000 \n", Some(30), Some(61)),
        ("heart-beat:0,4294967295\n", Some(4_294_967_295 / 2000), None),
    ];
    for (header, send, missed) in table {
        let mut wire = Wire::connected(&format!("version:1.2\n{header}"));
        let mut due = wire.session.poll_timeout().map(|at| (at - wire.now).as_secs());
        assert_eq!(due, send.into_iter().chain(missed).min(), "{header:?}");
        // With bytes waiting, only the broker's silence counts.
        wire.session.send(Frame::new("BEGIN"), false);
        due = wire.session.poll_timeout().map(|at| (at - wire.now).as_secs());
        assert_eq!(due, missed, "{header:?}");
    }
    let mut wire = Wire::new(Duration::ZERO);
    wire.hear("CONNECTED\nversion:1.2\nheart-beat:5000,5000\n\n\0");
    wire.sent();
    assert_eq!(wire.session.poll_timeout(), None, "we asked for none");
}

#[test]
fn partial_writes_lose_and_repeat_nothing() {
    let mut wire = Wire::connected("version:1.2\n");
    let mut all = Vec::new();
    for n in 0..50 {
        wire.session.send(Frame::send("/topic/a", vec![], vec![b'x'; n]), false);
        for _ in 0..3 {
            let part = wire.session.poll_transmit();
            let take = part.len().min(7 + n);
            all.extend_from_slice(&part[..take]);
            wire.session.transmitted(take, wire.now);
        }
    }
    all.extend_from_slice(wire.sent().as_bytes());
    let mut expected = Vec::new();
    for n in 0..50 {
        Frame::send("/topic/a", vec![], vec![b'x'; n]).encode(Version::V1_2, &mut expected);
    }
    assert_eq!(all, expected);
}
