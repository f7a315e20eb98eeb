//! Who may come in, and what a refusal says.

use failcake::bus::{Error, Publisher};
use failcake::stomp::ErrorKind;

use super::*;

matrix! {
    on all: wrong_passcode, no_login, wrong_passcode_on_a_lasting_connection, odd_words;
    on rabbitmq: unknown_vhost;
    on real: forbidden_to_send, forbidden_to_listen;
}

#[track_caller]
fn refusal(target: &Target) -> failcake::stomp::ServerError {
    match Publisher::connect(target, Instant::now() + PATIENCE).map(|publisher| publisher.peer().clone()) {
        Err(Error::Login(error)) => error,
        other => panic!("not refused as a login: {other:?}"),
    }
}

fn wrong_passcode(on: Which) {
    let broker = on.shared();
    let refused = refusal(&target(&broker.url().replace(LOGIN, "gituser:wr0ng@"), None));
    assert_eq!(refused.kind, ErrorKind::Login);
    assert!(refused.text.starts_with(&broker.address()), "it tells which broker: {refused}");
    assert!(!refused.text.contains("wr0ng"), "it tells no passcode: {refused}");
}

fn no_login(on: Which) {
    let broker = on.shared();
    let refused = refusal(&target(&broker.url().replace(LOGIN, ""), None));
    assert!(refused.text.starts_with(&broker.address()), "{refused}");
}

fn wrong_passcode_on_a_lasting_connection(on: Which) {
    let broker = on.shared();
    let target = target(&broker.url().replace(LOGIN, "gituser:wr0ng@"), None);
    let connection = Connection::open(target, vec![subscription("/topic/matrix.login")]).unwrap();
    let cause = await_lost(&connection);
    assert!(cause.contains("refused the login") && cause.contains(&broker.address()), "{cause}");
}

/// Colons, backslashes, at signs and UTF-8 in the words of a login are neither lost nor do they break the frame: the
/// refusal is about the login, and comes at once.
fn odd_words(on: Which) {
    let broker = on.shared();
    let refused = refusal(&target(&broker.url().replace(LOGIN, "git%3Auser%5C:p%5Cn%3A%40w%C3%BC@"), None));
    assert_eq!(refused.kind, ErrorKind::Login, "{refused}");
}

fn unknown_vhost(on: Which) {
    let broker = on.shared();
    let refused = refusal(&Target { vhost: "nowhere".to_owned(), ..broker.target() });
    assert!(refused.text.starts_with(&broker.address()) && refused.text.contains("nowhere"), "{refused}");
    let by_url = refusal(&target(&format!("{}/elsewhere", broker.url()), None));
    assert!(by_url.text.contains("elsewhere"), "{by_url}");
}

fn forbidden_to_send(on: Which) {
    let broker = on.shared();
    match publish(&broker.target(), vec![text("/queue/forbidden.x", "x")]) {
        Err(Error::Refused(error)) => {
            assert_eq!(error.kind, ErrorKind::Permission, "{error}");
            assert!(error.text.starts_with(&broker.address()), "{error}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn forbidden_to_listen(on: Which) {
    let broker = on.shared();
    let connection = Connection::open(broker.target(), vec![subscription("/queue/forbidden.x")]).unwrap();
    let cause = await_lost(&connection);
    assert!(cause.contains("refused the subscription to /queue/forbidden.x"), "{cause}");
    assert!(cause.starts_with(&broker.address()), "{cause}");
}
