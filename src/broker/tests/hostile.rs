//! Clients that are broken, greedy, slow or mean.

use super::*;

#[test]
fn what_is_no_stomp_or_not_allowed_gets_an_error_that_says_so() {
    let long = format!("SEND\nk:{}\n\n\0", "x".repeat(20_000));
    let many = format!("SEND\n{}\n\0", "k:v\n".repeat(300));
    let large = format!("SEND\ndestination:/topic/t\nk:{}\n\n\0", "\\c".repeat(5115));
    let heavy = format!("SEND\ndestination:/topic/t\n{}\n\0", format!("k:{}\n", "x".repeat(2000)).repeat(40));
    for (said, answer) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "STOMP"),
        ("\x16\x03\x01\x02\x00\x01", "STOMP"),
        ("send\n\n\0", "STOMP"),
        ("SEND\nno colon\n\n\0", "colon"),
        ("SEND\ncontent-length:x\n\n\0", "content-length"),
        ("SEND\ncontent-length:99999999999999999999\n\n\0", "content-length"),
        ("SEND\ncontent-length:999999999\n\n\0", "limit"),
        ("SEND\ndestination:/topic/t\ncontent-length:1\n\nabc\0", "NUL"),
        (&long, "limit"),
        (&many, "number of headers"),
        (&large, "use the body"),
        (&heavy, "use the body"),
        ("MESSAGE\n\n\0", "unknown command"),
        ("CONNECTED\n\n\0", "unknown command"),
        ("CONNECT\n\n\0", "logged in already"),
        ("SEND\n\n\0", "no destination"),
        ("SEND\ndestination:/topic/\n\n\0", "name is missing"),
        ("SEND\ndestination:orders\n\n\0", "/queue/ or /topic/"),
        ("SEND\ndestination:/exchange/e/k\n\n\0", "/queue/ or /topic/"),
        ("SEND\ndestination:/topic/a.>\n\n\0", "wildcards"),
        ("SUBSCRIBE\ndestination:/topic/t\n\n\0", "without id"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/t\nselector:a=1\n\n\0", "selector"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/t\nack:maybe\n\n\0", "bad ack"),
        (
            "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0SUBSCRIBE\nid:1\ndestination:/queue/p\n\n\0",
            "subscription exists",
        ),
        ("UNSUBSCRIBE\nid:1\n\n\0", "no such subscription"),
        ("BEGIN\n\n\0", "without transaction"),
        ("BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0", "transaction exists"),
        ("COMMIT\ntransaction:t\n\n\0", "no such transaction"),
        ("ABORT\n\n\0", "no such transaction"),
        ("SEND\ndestination:/topic/t\ntransaction:t\n\n\0", "no such transaction"),
    ] {
        let mut stage = Stage::new();
        let mut client = stage.log_in(Version::V1_2);
        stage.say(&client, said);
        let error = stage.hear_error(&mut client);
        assert!(error.contains(answer), "{said:.80?}: {error}");
        // It is over: nothing that comes after it counts.
        stage.say(&client, "SEND\ndestination:/queue/q\nreceipt:1\n\nx\0");
        assert!(stage.hear(&mut client).is_empty());
    }
}

#[test]
fn nothing_goes_before_the_login() {
    let flood = "x".repeat(100_000);
    for said in [
        "SEND\ndestination:/queue/q\n\nx\0",
        "SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0",
        &format!("CONNECT\ncontent-length:200000\n\n{flood}"),
        &format!("CONNECT\n\n{flood}"),
    ] {
        let mut stage = Stage::new();
        let mut client = stage.connect();
        stage.say(&client, said);
        assert!(stage.hear_error(&mut client).contains("log in first"), "{said:.40}");
    }
}

#[test]
fn a_login_must_come_in_time_however_slowly_it_trickles() {
    let mut stage = Stage::new();
    let mut silent = stage.connect();
    let mut slow = stage.connect();
    for byte in "CONNECT\n".chars().chain(std::iter::repeat('x')).take(99) {
        stage.say(&slow, &byte.to_string());
        stage.pass(Duration::from_millis(100));
    }
    assert!(matches!(stage.hub.status(slow.id), Status::Open { .. }));
    stage.pass(Duration::from_millis(100));
    assert!(stage.hear_error(&mut silent).contains("login timed out"));
    assert!(stage.hear_error(&mut slow).contains("login timed out"));
    // Neither closes its side: the broker does not wait for ever.
    stage.pass(Duration::from_secs(5));
    assert_eq!((stage.hub.status(slow.id), stage.hub.connections()), (Status::Gone, 0));
}

#[test]
fn one_connection_too_many_is_told() {
    let mut stage = Stage::with(Limits { connections: 2, ..Limits::default() });
    let first = stage.log_in(Version::V1_2);
    let _second = stage.log_in(Version::V1_2);
    let mut third = stage.connect();
    assert!(stage.hear_error(&mut third).contains("--max-connections"));
    stage.hub.handle_eof(third.id, stage.now);
    stage.hub.handle_lost(first.id);
    assert_eq!(stage.hub.status(third.id), Status::Gone);
    stage.log_in(Version::V1_2);
}

#[test]
fn any_octets_in_any_pieces_never_break_it() {
    // A cheap generator with a fixed seed: what fails here fails again.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).expect("small")
    };
    let words: [&[u8]; 24] = [
        b"CONNECT\naccept-version:1.2\nhost:/\n\n\0",
        b"SEND\n",
        b"SUBSCRIBE\n",
        b"ACK\n",
        b"NACK\n",
        b"BEGIN\n",
        b"COMMIT\n",
        b"UNSUBSCRIBE\n",
        b"destination:/topic/t\n",
        b"destination:/queue/q\n",
        b"id:1\n",
        b"id:test-3-1\n",
        b"transaction:t\n",
        b"ack:client\n",
        b"receipt:r\n",
        b"\n\0",
        b"\n\n\0",
        b"body",
        b"\0",
        b"\r\n",
        b"\xff\xfe",
        b"content-length:4\n",
        b"durable:true\nauto-delete:false\n",
        b"message-id:test-3-1\n",
    ];
    let mut stage = Stage::new();
    for _ in 0..3000 {
        let mut client = stage.connect();
        let mut bytes = words[0].to_vec();
        for _ in 0..random(40) {
            bytes.extend_from_slice(words[random(words.len())]);
        }
        while !bytes.is_empty() {
            let rest = bytes.split_off(random(bytes.len()) + 1);
            stage.hub.handle_input(client.id, &bytes, stage.now);
            bytes = rest;
        }
        stage.hear(&mut client);
        if random(2) == 0 {
            stage.hub.handle_eof(client.id, stage.now);
        }
        stage.hub.handle_lost(client.id);
    }
    // What the accidental durable subscription and the queue still keep is read, deleted, and then nothing is left.
    let mut last = stage.log_in(Version::V1_2);
    stage.say(&last, "SUBSCRIBE\nid:9\ndestination:/queue/q\n\n\0UNSUBSCRIBE\nid:9\n\n\0");
    stage.say(&last, "UNSUBSCRIBE\nid:1\ndestination:/topic/t\ndurable:true\nauto-delete:false\n\n\0");
    stage.hear(&mut last);
    assert_eq!((stage.hub.memory_used(), stage.hub.connections()), (0, 1));
}

#[test]
fn ten_thousand_subscriptions_and_one_message() {
    let mut stage = Stage::new();
    let mut clients: Vec<Client> = (0..10).map(|_| stage.log_in(Version::V1_2)).collect();
    for client in &clients {
        for number in 0..1000 {
            stage.say(client, &format!("SUBSCRIBE\nid:{number}\ndestination:/topic/t\n\n\0"));
        }
    }
    let used = stage.hub.memory_used();
    let sender = stage.log_in(Version::V1_2);
    stage.say(&sender, "SEND\ndestination:/topic/t\n\nx\0");
    for client in &mut clients {
        assert_eq!(stage.hear(client).len(), 1000);
    }
    assert_eq!(stage.hub.memory_used(), used);
    stage.say(&clients[0], "SUBSCRIBE\nid:more\ndestination:/topic/t\n\n\0");
    assert!(stage.hear_error(&mut clients[0]).contains("too many subscriptions"));
    for client in &clients {
        stage.hub.handle_lost(client.id);
    }
    assert_eq!(stage.hub.memory_used(), 0);
}

#[test]
fn a_topic_subscriber_that_does_not_read_is_let_go_and_nobody_else_feels_it() {
    let mut stage = Stage::with(Limits { backlog: 2_000_000, ..Limits::default() });
    let mut slow = stage.log_in(Version::V1_2);
    let mut good = stage.log_in(Version::V1_2);
    let mut sender = stage.log_in(Version::V1_2);
    for client in [&slow, &good] {
        stage.say(client, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    }
    let text = "x".repeat(1000);
    for number in 0..3000 {
        stage.say(&sender, &format!("SEND\ndestination:/topic/t\nreceipt:{number}\n\n{text}\0"));
        assert_eq!(stage.hear_one(&mut good).command, "MESSAGE");
        assert_eq!(stage.hear_one(&mut sender).command, "RECEIPT");
        assert!(stage.hub.memory_used() < 2_100_000);
    }
    assert!(stage.hear_error(&mut slow).contains("slow consumer"));
}

#[test]
fn a_full_socket_holds_messages_back_and_loses_none() {
    let mut stage = Stage::new();
    let mut reader = stage.log_in(Version::V1_2);
    // Two on one connection: neither starves.
    stage.say(&reader, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0SUBSCRIBE\nid:2\ndestination:/queue/q\n\n\0");
    let sender = stage.log_in(Version::V1_2);
    for number in 0..2000 {
        let text = format!("{number:0>1000}");
        stage.say(&sender, &format!("SEND\ndestination:/topic/t\n\n{text}\0SEND\ndestination:/queue/q\n\n{text}\0"));
    }
    let mut got = Vec::new();
    loop {
        let some = stage.hear_bytes(&mut reader, 7001);
        if some.is_empty() && stage.hub.poll_transmit(reader.id).is_empty() {
            break;
        }
        got.extend(some);
    }
    for id in ["1", "2"] {
        let bodies: Vec<String> = got.iter().filter(|m| m.header("subscription") == Some(id)).map(body).collect();
        let wanted: Vec<String> = (0..2000).map(|number| format!("{number:0>1000}")).collect();
        assert_eq!(bodies, wanted);
    }
}

#[test]
fn who_asks_for_receipts_and_reads_none_is_not_read_from() {
    let mut stage = Stage::new();
    let mut client = stage.log_in(Version::V1_2);
    let asks = "SEND\ndestination:/topic/nobody\nreceipt:0123456789012345678901234567890123456789\n\n\0".repeat(100);
    let mut rounds = 0;
    while stage.hub.status(client.id) == (Status::Open { read: true }) {
        stage.say(&client, &asks);
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert_eq!(stage.hear(&mut client).len(), rounds * 100);
    assert_eq!(stage.hub.status(client.id), Status::Open { read: true });
}

#[test]
fn memory_has_an_end() {
    let limits = || Limits { memory: 1_000_000, backlog: 10_000_000, ..Limits::default() };
    let text = "x".repeat(10_000);
    // A queue: the sender is refused. So is a transaction, and a frame that is half here.
    for (prepare, send) in [
        ("", format!("SEND\ndestination:/queue/q\n\n{text}\0")),
        ("BEGIN\ntransaction:t\n\n\0", format!("SEND\ndestination:/queue/q\ntransaction:t\n\n{text}\0")),
        ("SEND\ndestination:/queue/q\n\n", text.clone()),
        ("", "SUBSCRIBE\nid:ID\ndestination:/queue/qID\n\n\0".to_owned()),
    ] {
        let mut stage = Stage::with(Limits { subscriptions: usize::MAX, ..limits() });
        let mut sender = stage.log_in(Version::V1_2);
        stage.say(&sender, prepare);
        let mut rounds = 0;
        while stage.hub.poll_transmit(sender.id).is_empty() {
            stage.say(&sender, &send.replace("ID", &rounds.to_string()));
            assert!(stage.hub.memory_used() < 1_100_000);
            rounds += 1;
            assert!(rounds < 10_000);
        }
        assert!(stage.hear_error(&mut sender).contains("--max-memory"), "{send:.60}");
    }
    // A topic subscriber that does not read makes room by going.
    let mut stage = Stage::with(limits());
    let mut slow = stage.log_in(Version::V1_2);
    stage.say(&slow, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    let mut sender = stage.log_in(Version::V1_2);
    for number in 0..300 {
        stage.say(&sender, &format!("SEND\ndestination:/topic/t\nreceipt:{number}\n\n{text}\0"));
        assert_eq!(stage.hear_one(&mut sender).command, "RECEIPT");
    }
    assert!(stage.hear_error(&mut slow).contains("slow consumer"));
}

#[test]
fn it_may_be_too_slow_for_its_own_messages() {
    let mut stage = Stage::with(Limits { backlog: 100_000, ..Limits::default() });
    let mut client = stage.log_in(Version::V1_2);
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\n\n\0");
    let send = format!("SEND\ndestination:/topic/t\n\n{}\0", "x".repeat(10_000));
    stage.say(&client, &send.repeat(100));
    assert!(stage.hear_error(&mut client).contains("slow consumer"));
}
