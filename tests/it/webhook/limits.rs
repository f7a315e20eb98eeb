//! What a sender can do wrong, or wants to.

use super::*;

/// A listener that nobody's broker stands behind.
fn listener(more: &[&str]) -> (Sandbox, Listener) {
    let world = world("stomp://127.0.0.1:9");
    let listener = Listener::start(&world, more);
    (world, listener)
}

fn spooled(world: &Sandbox) -> usize {
    let list = world.failcake(["spool", "list", "--json"]).run().success().text();
    list.matches("refs/heads/master").count()
}

#[test]
fn each_mistake_has_its_answer_and_leaves_nothing() {
    let (world, listener) = listener(&["--max-body", "20000"]);
    let push = Delivery::push("1");
    let refused = |delivery: &Delivery| listener.deliver(delivery).status;
    assert_eq!(refused(&push.clone().with("X-Hub-Signature-256", "sha256=00")), 401);
    assert_eq!(refused(&push.clone().with("X-Hub-Signature-256", &format!("sha256={}", hmac(b"other")))), 401);
    assert_eq!(refused(&Delivery { headers: Vec::new(), body: push.body.clone() }), 401);
    assert_eq!(refused(&Delivery::of("gitlab", "Push Hook", "1", b"{}".to_vec()).with("X-Gitlab-Token", "x")), 401);
    assert_eq!(refused(&Delivery::of("github", "push", "1", b"no json".to_vec())), 400);
    let answer = listener.deliver(&Delivery::of("github", "push", "1", br#"{"repository":{"name":"a;b"}}"#.to_vec()));
    assert!(answer.status == 400 && answer.text.contains("repository name"), "{answer:?}");
    let large = Delivery::of("github", "push", "1", vec![b' '; 20_001]).with("X-Hub-Signature-256", "wrong");
    assert_eq!(refused(&large), 413, "before the signature");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = exchange(
            &listener.address,
            format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.status == 405 && answer.text.to_lowercase().contains("allow: post"), "{method}: {answer:?}");
    }
    assert_eq!(spooled(&world), 0);
    listener.stop();
}

#[test]
fn the_size_counts_whatever_the_header_says() {
    let (world, listener) = listener(&["--max-body", "20000"]);
    // Larger, in chunks, with no length at all.
    let mut request =
        Delivery::push("1").head(0).replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..30 {
        request.extend_from_slice(format!("400\r\n{}\r\n", " ".repeat(0x400)).as_bytes());
    }
    request.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(exchange(&listener.address, &request).status, 413);
    // A length that no memory has.
    assert_eq!(
        exchange(
            &listener.address,
            format!(
                "{}x",
                Delivery::push("1").head(usize::MAX / 4).replace("Connection: close", "Expect: 100-continue")
            )
            .as_bytes()
        )
        .status,
        413
    );
    // A small one in chunks is as good as any.
    let push = Delivery::push("1");
    let mut request = push.head(0).replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n").into_bytes();
    for chunk in push.body.chunks(1000) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(exchange(&listener.address, &request).status, 202);
    assert_eq!(spooled(&world), 1);
    listener.stop();
}

#[test]
fn a_body_of_the_wrong_length_is_no_delivery() {
    let (world, listener) = listener(&[]);
    let push = Delivery::push("1");
    // Longer than it says: the signature is of the whole.
    let short = [push.head(push.body.len() - 1).as_bytes(), &push.body].concat();
    assert_eq!(exchange(&listener.address, &short).status, 401);
    // Shorter than it says, and then nothing.
    let mut stream = TcpStream::connect(&listener.address).unwrap();
    stream.write_all(push.head(push.body.len() + 10).as_bytes()).unwrap();
    stream.write_all(&push.body).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(spooled(&world), 0);
    listener.stop();
}

#[test]
fn who_is_slow_is_let_go_and_keeps_nobody_else_waiting() {
    let (world, listener) = listener(&["--patience", "2s", "--max-connections", "8"]);
    let push = Delivery::push("slow");
    let slow_header = TcpStream::connect(&listener.address).unwrap();
    (&slow_header).write_all(b"POST / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let slow_body = TcpStream::connect(&listener.address).unwrap();
    (&slow_body).write_all(push.head(push.body.len()).as_bytes()).unwrap();
    (&slow_body).write_all(&push.body[..100]).unwrap();
    let silent = TcpStream::connect(&listener.address).unwrap();
    assert_eq!(listener.deliver(&Delivery::push("quick")).status, 202, "meanwhile");

    let end = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert!(end(slow_body).starts_with("HTTP/1.1 408 "));
    assert!(!end(slow_header).contains(" 202 "));
    assert!(!end(silent).contains(" 202 "));

    // More than there are places: the others wait in the kernel's queue, and are served when the first are let go.
    let crowd: Vec<_> = (0..12).map(|_| TcpStream::connect(&listener.address).unwrap()).collect();
    assert_eq!(listener.deliver(&Delivery::push("patient")).status, 202);
    drop(crowd);
    assert_eq!(spooled(&world), 2);
    listener.stop();
}

#[test]
fn a_header_without_end_is_refused() {
    let (_world, listener) = listener(&[]);
    let mut stream = TcpStream::connect(&listener.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\n").unwrap();
    let line = format!("X-Long: {}\r\n", "x".repeat(8000));
    // The listener hangs up at some point: the rest can't be written.
    for _ in 0..100 {
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    assert_eq!(listener.deliver(&Delivery::push("next")).status, 202);
    listener.stop();
}

#[test]
fn several_on_one_connection() {
    let (world, listener) = listener(&[]);
    let mut stream = TcpStream::connect(&listener.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for id in ["1", "2", "1"] {
        let push = Delivery::push(id);
        let head = push.head(push.body.len()).replace("Connection: close\r\n", "");
        stream.write_all(&[head.as_bytes(), &push.body].concat()).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let statuses: Vec<_> = text.lines().filter(|line| line.starts_with("HTTP/1.1 ")).map(|line| &line[9..12]).collect();
    assert_eq!(statuses, ["202", "202", "200"], "{text}");
    assert_eq!(spooled(&world), 2);
    listener.stop();
}

#[test]
fn the_same_delivery_is_known_after_a_kill_and_to_every_process() {
    let (world, mut first) = listener(&[]);
    assert_eq!(first.deliver(&Delivery::push("1")).status, 202);
    first.running.signal(Signal::SIGKILL);
    first.running.wait();
    let second = Listener::start(&world, &[]);
    assert_eq!(second.deliver(&Delivery::push("1")).status, 200);
    assert_eq!(second.deliver(&Delivery::push("2")).status, 202);
    let third = Listener::start(&world, &[]);
    assert_eq!(third.deliver(&Delivery::push("2")).status, 200);
    second.stop();
    third.stop();
    assert_eq!(spooled(&world), 2);
}
