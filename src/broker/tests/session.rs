//! The product's own client against its own broker: two machines and one clock.

use super::*;
use crate::stomp::{AckMode, AckToken, Dialect, ErrorKind, Event, Login, Session, Subscription};

fn login(client_id: Option<&str>) -> Login {
    Login {
        login: Some("git".to_owned()),
        passcode: Some(r"a\b:c".to_owned()),
        vhost: "/".to_owned(),
        client_id: client_id.map(str::to_owned),
        heart_beat: Duration::from_secs(10),
    }
}

/// A client and its connection.
struct Pair {
    session: Session,
    id: ConnectionId,
}

fn connect(stage: &mut Stage, client_id: Option<&str>) -> Pair {
    let session = Session::new(login(client_id), crate::stomp::Limits::default(), stage.now);
    let mut pair = Pair { session, id: stage.hub.handle_connection(stage.now) };
    assert!(matches!(talk(stage, &mut pair).as_slice(), [Event::Connected]));
    pair
}

/// Moves octets until both are silent.
fn talk(stage: &mut Stage, pair: &mut Pair) -> Vec<Event> {
    loop {
        let said = pair.session.poll_transmit().to_vec();
        pair.session.transmitted(said.len(), stage.now);
        stage.hub.handle_input(pair.id, &said, stage.now);
        let answer = stage.hub.poll_transmit(pair.id).to_vec();
        stage.hub.transmitted(pair.id, answer.len(), stage.now);
        pair.session.handle_input(&answer, stage.now);
        if said.is_empty() && answer.is_empty() {
            return std::iter::from_fn(|| pair.session.poll_event()).collect();
        }
    }
}

fn messages(events: Vec<Event>) -> Vec<(String, Option<AckToken>)> {
    let message = |event| if let Event::Message(message) = event { Some(message) } else { None };
    events.into_iter().filter_map(message).map(|message| (body(&message.frame), message.ack)).collect()
}

#[test]
fn they_understand_each_other() {
    let mut options = Options::default();
    options.users.add("git".to_owned(), r"a\b:c".to_owned());
    let mut stage = Stage::new();
    stage.hub = Hub::new(options, "test");
    let mut reader = connect(&mut stage, Some("web01"));
    assert_eq!((reader.session.version(), reader.session.dialect()), (Some(Version::V1_2), Some(Dialect::Failcake)));
    let wanted = Subscription {
        destination: "/topic/failcake.git.commits".to_owned(),
        durable: Some("fetch".to_owned()),
        ack: AckMode::Individual,
        prefetch: Some(2),
    };
    let (_, receipt) = reader.session.subscribe(&wanted);
    assert!(matches!(talk(&mut stage, &mut reader).as_slice(), [Event::Receipt(got)] if *got == receipt));

    let mut sender = connect(&mut stage, None);
    for text in ["one", "two", "three"] {
        let frame = Frame::send(&wanted.destination, vec![("subject".to_owned(), "a:b\n".to_owned())], text.into());
        let receipt = sender.session.send(frame, true).expect("asked for");
        assert!(matches!(talk(&mut stage, &mut sender).as_slice(), [Event::Receipt(got)] if *got == receipt));
    }
    let got = messages(talk(&mut stage, &mut reader));
    assert_eq!(got.iter().map(|(body, _)| body.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    reader.session.ack(got[0].1.as_ref().expect("to acknowledge"));
    assert_eq!(messages(talk(&mut stage, &mut reader))[0].0, "three");

    // A second reader of the name is told in words that the client knows; after the first is lost, all that was not
    // acknowledged comes again.
    let mut second = connect(&mut stage, Some("web01"));
    second.session.subscribe(&wanted);
    let events = talk(&mut stage, &mut second);
    assert!(
        matches!(events.first(), Some(Event::Refused { error, receipt: Some(_) }) if error.kind == ErrorKind::InUse),
        "{events:?}"
    );
    stage.hub.handle_lost(reader.id);
    let mut third = connect(&mut stage, Some("web01"));
    third.session.subscribe(&wanted);
    let got = messages(talk(&mut stage, &mut third));
    assert_eq!(got.iter().map(|(body, _)| body.as_str()).collect::<Vec<_>>(), ["two", "three"]);
    third.session.disconnect();
    talk(&mut stage, &mut third);
    assert_eq!(stage.hub.status(third.id), Status::Finished);
}

#[test]
fn a_wrong_passcode_is_told_as_one() {
    let mut options = Options::default();
    options.users.add("git".to_owned(), "other".to_owned());
    let mut stage = Stage::new();
    stage.hub = Hub::new(options, "test");
    let session = Session::new(login(None), crate::stomp::Limits::default(), stage.now);
    let mut pair = Pair { session, id: stage.hub.handle_connection(stage.now) };
    let events = talk(&mut stage, &mut pair);
    assert!(
        matches!(events.first(), Some(Event::Refused { error, .. }) if error.kind == ErrorKind::Login),
        "{events:?}"
    );
}

#[test]
fn an_idle_connection_lives_on_heart_beats_alone() {
    let mut stage = Stage::new();
    let mut pair = connect(&mut stage, None);
    for _ in 0..100 {
        let due = stage.hub.poll_timeout().into_iter().chain(pair.session.poll_timeout()).min().expect("a heart-beat");
        stage.now = stage.now.max(due);
        stage.hub.handle_timeout(stage.now);
        pair.session.handle_timeout(stage.now);
        assert!(talk(&mut stage, &mut pair).is_empty());
    }
    assert!(matches!(stage.hub.status(pair.id), Status::Open { .. }));
}
