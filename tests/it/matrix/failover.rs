//! Several hosts, hosts that are away, and a broker that goes and comes back under a running connection.

use std::net::TcpListener;

use failcake::bus::{Error, Publisher};

use super::*;

matrix! {
    on all: past_a_silent_host, past_a_refusing_host, a_lasting_connection_finds_the_one_that_lives, restarted, frozen;
}

/// Takes connections and says nothing, as a firewall or a broker out of memory does.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("stomp://{LOGIN}{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Nobody listens there any more.
fn refused() -> String {
    silent().1
}

/// With and without the slashes, which the old Ruby configurations have.
fn spellings(hosts: &str) -> [String; 2] {
    [format!("failover:({hosts})"), format!("failover://({hosts})?initialReconnectDelay=0.1&randomize=false")]
}

fn past_a_silent_host(on: Which) {
    let broker = on.shared();
    let (_silent, silent) = silent();
    for url in spellings(&format!("{silent},{}", broker.url())) {
        let publisher = Publisher::connect(&target(&url, None), Instant::now() + PATIENCE).unwrap();
        assert_eq!(publisher.peer().address, broker.address(), "{url}");
        publisher.close();
    }
}

fn past_a_refusing_host(on: Which) {
    let broker = on.shared();
    let listener = broker.listen(&["/topic/matrix.failover"]);
    for url in spellings(&format!("{},{}", refused(), broker.url())) {
        publish(&target(&url, None), vec![text("/topic/matrix.failover", &url)]).unwrap();
        assert_eq!(String::from_utf8_lossy(&listener.take(1)[0].body), url);
    }
}

fn a_lasting_connection_finds_the_one_that_lives(on: Which) {
    let broker = on.shared();
    let (_silent, silent) = silent();
    for url in spellings(&format!("{silent},{},{}", refused(), broker.url())) {
        let connection = Connection::open(target(&url, None), vec![subscription("/topic/matrix.lives")]).unwrap();
        assert_eq!(await_connected(&connection).address, broker.address(), "{url}");
        broker.publish(vec![text("/topic/matrix.lives", "hello")]);
        assert_eq!(body(&await_message(&connection).frame), "hello");
    }
}

fn restarted(on: Which) {
    let mut broker = on.own();
    let url = format!("failover:({})?maxReconnectDelay=1", broker.url());
    let connection = Connection::open(target(&url, None), vec![subscription("/topic/matrix.restarted")]).unwrap();
    await_connected(&connection);
    for (signal, message) in [(Signal::SIGKILL, "after a crash"), (Signal::SIGTERM, "after a stop")] {
        // A real broker takes seconds to come back: once is enough.
        if on != Which::Embedded && signal == Signal::SIGTERM {
            break;
        }
        broker.stop(signal);
        let cause = await_lost(&connection);
        assert!(cause.contains(&broker.address()), "{cause}");
        let error = publish(&broker.target(), vec![text("/topic/matrix.restarted", "x")]).unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        broker.restart();
        await_connected(&connection);
        broker.publish(vec![text("/topic/matrix.restarted", message)]);
        assert_eq!(body(&await_message(&connection).frame), message);
    }
}

/// The sockets stay and nothing comes: only heart-beats tell.
fn frozen(on: Which) {
    let broker = on.own();
    let url = format!("failover:({})?maxReconnectDelay=1&timeout=5", broker.url());
    let target = Target { heart_beat: Duration::from_secs(2), ..target(&url, None) };
    let connection = Connection::open(target, vec![subscription("/topic/matrix.frozen")]).unwrap();
    await_connected(&connection);
    // Longer than the silence that is allowed: what beats is not taken for dead.
    let idle = connection.receive(Some(Duration::from_secs(6)));
    assert!(idle.is_none(), "{idle:?}");

    broker.signal(Signal::SIGSTOP);
    let cause = await_lost(&connection);
    assert!(cause.contains("silent") && cause.contains(&broker.address()), "{cause}");
    let soon = Instant::now() + Duration::from_millis(500);
    let stopped = Publisher::connect(&broker.target(), soon).map(|publisher| publisher.peer().clone());
    assert!(matches!(stopped, Err(Error::TimedOut(_))), "{stopped:?}");
    broker.signal(Signal::SIGCONT);
    await_connected(&connection);
    broker.publish(vec![text("/topic/matrix.frozen", "thawed")]);
    assert_eq!(body(&await_message(&connection).frame), "thawed");
}
