//! What goes in comes out: versions, receipts, header escapes, bodies.

use failcake::bus::Publisher;
use failcake::stomp::{Dialect, Frame, Version};

use super::wire::Wire;
use super::*;

matrix! {
    on all: every_version, escapes, bodies, text_stays_text, persistent, order, who_answers;
}

/// A header value that needs every escape.
const ODD: &str = "a:b \\c\\ d\\n e\nf\rg ü→日本 end";

/// What a sender of that version can say of it.
fn odd(version: Version, on: Which) -> String {
    match version {
        // 1.0 has no escapes, and a line break would begin another header. Both real brokers unescape all the same, and
        // RabbitMQ escapes too (and hangs up on an odd backslash); no program of ours speaks 1.0 to them.
        Version::V1_0 if on == Which::Embedded => ODD.replace(['\n', '\r'], " "),
        Version::V1_0 => ODD.replace(['\n', '\r', '\\', ':'], " "),
        Version::V1_1 => ODD.replace('\r', " "),
        Version::V1_2 => ODD.to_owned(),
    }
}

fn every_version(on: Which) {
    let broker = on.shared();
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let topic = format!("/topic/matrix.version.{version}");
        let mut wire = Wire::open(&broker, version);
        let subscription = wire.subscribe(&topic);
        wire.send(text(&topic, "hello"));
        let message = wire.message();
        assert_eq!((message.subscription, body(&message.frame)), (Some(subscription), "hello"), "{version}");
        assert_eq!(message.frame.header("destination"), Some(&*topic), "{version}");
        wire.close();
    }
}

fn escapes(on: Which) {
    let broker = on.shared();
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let topic = format!("/topic/matrix.escapes.{version}");
        let mut wire = Wire::open(&broker, version);
        wire.subscribe(&topic);
        // The encoding makes spaces of line breaks where there is no escape for them.
        let sent = if version == Version::V1_0 { odd(version, on) } else { ODD.to_owned() };
        wire.send(text(&topic, "x").with("subject", sent).with("x-empty", "").with("x-last", "last"));
        let frame = wire.message().frame;
        assert_eq!(frame.header("subject"), Some(&*odd(version, on)), "{version}: {frame:?}");
        assert_eq!(frame.header("x-empty").unwrap_or_default(), "", "{version}");
        assert_eq!(frame.header("x-last"), Some("last"), "{version}: {frame:?}");
        assert_eq!(frame.body, b"x", "{version}");
    }
    // And as our own programs do it.
    let listener = broker.listen(&["/topic/matrix.escapes.bus"]);
    broker.publish(vec![text("/topic/matrix.escapes.bus", "x").with("subject", ODD).with("x:name", "1")]);
    let frame = listener.take(1).remove(0);
    assert_eq!((frame.header("subject"), frame.header("x:name")), (Some(ODD), Some("1")));
}

fn bodies(on: Which) {
    let broker = on.shared();
    let listener = broker.listen(&["/topic/matrix.bodies"]);
    let bodies: [Vec<u8>; 6] = [
        Vec::new(),
        b"\n".to_vec(),
        "text with ü, 日本 and \"quotes\": a\r\nb\n\n".as_bytes().to_vec(),
        b"before\0after\0\n".to_vec(),
        "0123456789abcdeü\n".repeat(200 * 1024 / 17).into_bytes(),
        (0..=255).cycle().take(200 * 1024).collect(),
    ];
    let frames = bodies.iter().map(|body| Frame::send("/topic/matrix.bodies", Vec::new(), body.clone()));
    broker.publish(frames.collect());
    for (came, sent) in listener.take(bodies.len()).iter().zip(&bodies) {
        let shown = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(
            came.body == *sent,
            "{} octets {:?} became {} octets {:?}",
            sent.len(),
            shown(sent),
            came.body.len(),
            shown(&came.body)
        );
        if sent.contains(&0) {
            assert_eq!(came.header("content-length"), Some(&*sent.len().to_string()));
        }
    }
}

/// ActiveMQ makes bytes of what has a content-length, and the old daemons could then not read it.
fn text_stays_text(on: Which) {
    let broker = on.shared();
    let mut wire = Wire::open(&broker, Version::V1_2);
    wire.subscribe("/topic/matrix.text");
    broker.publish(vec![text("/topic/matrix.text", "plain ü text")]);
    assert_eq!(body(&wire.message().frame), "plain ü text");
    let octets = String::from_utf8(wire.octets.clone()).unwrap();
    let message = &octets[octets.find("MESSAGE\n").unwrap()..];
    // RabbitMQ counts whatever it delivers; it knows no text, so nothing is lost there.
    let counted = on == Which::rabbitmq();
    assert_eq!(message.contains("content-length:"), counted, "{message}");
}

fn persistent(on: Which) {
    let broker = on.shared();
    let listener = broker.listen(&["/topic/matrix.persistent"]);
    broker.publish(vec![
        text("/topic/matrix.persistent", "kept"),
        Frame::send("/topic/matrix.persistent", Vec::new(), b"not".to_vec()),
    ]);
    let frames = listener.take(2);
    assert_eq!(frames[0].header("persistent"), Some("true"), "{:?}", frames[0]);
    assert_ne!(frames[1].header("persistent"), Some("true"), "{:?}", frames[1]);
}

fn order(on: Which) {
    let broker = on.shared();
    let listener = broker.listen(&["/topic/matrix.order"]);
    broker.publish((0..500).map(|number| text("/topic/matrix.order", &number.to_string())).collect());
    let came: Vec<String> =
        listener.take(500).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    assert_eq!(came, (0..500).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

fn who_answers(on: Which) {
    let broker = on.shared();
    let publisher = Publisher::connect(&broker.target(), Instant::now() + PATIENCE).unwrap();
    let peer = publisher.peer();
    let (dialect, name) = match on {
        Which::Embedded => (Dialect::Failcake, "failcake"),
        Which::Real(Kind::ActiveMq) => (Dialect::ActiveMq, "ActiveMQ/"),
        Which::Real(Kind::RabbitMq) => (Dialect::RabbitMq, "RabbitMQ/"),
    };
    assert_eq!((peer.dialect, peer.version), (dialect, Version::V1_2));
    assert!(peer.server.as_deref().unwrap().starts_with(name), "{peer:?}");
    assert_eq!(peer.address, broker.address());
}
