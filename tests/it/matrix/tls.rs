//! `stomp+ssl://` on the real brokers' own TLS listeners.

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use failcake::bus::Publisher;
use failcake::config::Tls;

use super::*;

matrix! {
    on real: known_ca, unknown_ca, another_name, unverified, plain_port, the_binary;
}

#[track_caller]
fn refusal(target: &Target) -> String {
    match Publisher::connect(target, Instant::now() + PATIENCE).map(|publisher| publisher.peer().clone()) {
        Err(error) => error.to_string(),
        Ok(peer) => panic!("{peer:?} was trusted"),
    }
}

fn tls_target(broker: &Broker) -> Target {
    let real = broker.real().unwrap();
    target(&real.tls_url, Some(&real.ca))
}

fn known_ca(on: Which) {
    let broker = on.shared();
    let target = tls_target(&broker);
    let connection = Connection::open(target.clone(), vec![subscription("/topic/matrix.tls")]).unwrap();
    await_connected(&connection);
    // More than one TLS record, and back.
    let long = "0123456789abcdef".repeat(200 * 64);
    publish(&target, vec![text("/topic/matrix.tls", &long)]).unwrap();
    assert_eq!(body(&await_message(&connection).frame), long);
    // By name as by address.
    let mut by_name = target;
    by_name.url.hosts[0].host = "localhost".to_owned();
    publish(&by_name, vec![text("/topic/matrix.tls", "by name")]).unwrap();
    assert_eq!(body(&await_message(&connection).frame), "by name");
}

fn unknown_ca(on: Which) {
    let broker = on.shared();
    let folder = tempfile::tempdir().unwrap();
    let other = other_ca(folder.path());
    let mut target = tls_target(&broker);
    target.tls.ca_file = Some(other.clone());
    let error = refusal(&target);
    assert!(error.contains("certificate is refused") && error.contains("ca-file"), "{error}");
    assert!(error.contains(&target.url.hosts[0].port.to_string()), "{error}");
    // Nor does any system's own.
    target.tls.ca_file = None;
    refusal(&target);
}

/// A sound root that signed nothing here.
fn other_ca(folder: &Path) -> std::path::PathBuf {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "another CA");
    let path = folder.join("other.pem");
    std::fs::write(&path, parameters.self_signed(&key).unwrap().pem()).unwrap();
    path
}

fn another_name(on: Which) {
    let broker = on.shared();
    let mut target = tls_target(&broker);
    // The certificate is for 127.0.0.1 and localhost; the same broker is behind this door.
    let door = TcpListener::bind("127.0.0.2:0").unwrap();
    let behind = target.url.hosts[0].port;
    target.url.hosts[0].host = "127.0.0.2".to_owned();
    target.url.hosts[0].port = door.local_addr().unwrap().port();
    std::thread::spawn(move || relay(&door, behind));
    let error = refusal(&target);
    assert!(error.contains("127.0.0.2") && error.contains("not for"), "{error}");
    // The door itself is sound.
    target.tls.verify = false;
    publish(&target, vec![text("/topic/matrix.door", "x")]).unwrap();
}

fn relay(door: &TcpListener, port: u16) {
    for outside in door.incoming().map(Result::unwrap) {
        let inside = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for (mut from, mut to) in [(outside.try_clone().unwrap(), inside.try_clone().unwrap()), (inside, outside)] {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

fn unverified(on: Which) {
    let broker = on.shared();
    let target = Target { tls: Tls { ca_file: None, verify: false }, ..tls_target(&broker) };
    publish(&target, vec![text("/topic/matrix.unverified", "x")]).unwrap();
}

/// The two ways to mix up the ports.
fn plain_port(on: Which) {
    let broker = on.shared();
    let mut tls_to_plain = tls_target(&broker);
    tls_to_plain.url.hosts[0].port = broker.target().url.hosts[0].port;
    let error = refusal(&tls_to_plain);
    assert!(error.contains("TLS") || error.contains("closed"), "{error}");
    let mut plain_to_tls = broker.target();
    plain_to_tls.url.hosts[0].port = tls_target(&broker).url.hosts[0].port;
    let soon = Instant::now() + Duration::from_secs(5);
    let error = Publisher::connect(&plain_to_tls, soon).map(|_| "connected").unwrap_err().to_string();
    assert!(error.contains(&plain_to_tls.url.hosts[0].port.to_string()), "{error}");
}

fn the_binary(on: Which) {
    let broker = on.shared();
    let real = broker.real().unwrap();
    let world = Sandbox::new();
    let listener = broker.listen(&["/topic/matrix.tls.binary"]);
    let (url, passcode) = (real.tls_url.replace(":gitpw@", "@"), world.write("passcode", "gitpw\n"));
    let configure = |more: &str| {
        let common = format!("broker: {url}\npasscode-file: {}\nbudget: 10s\n", passcode.display());
        world.write("failcake.yaml", format!("{common}{more}"));
    };
    let say = |body: &str| world.failcake(["publish", "/topic/matrix.tls.binary"]).stdin(body).run();
    configure(&format!("ca-file: {}\n", real.ca.display()));
    say("verified").success().stderr("");
    configure("tls-verify: false\n");
    say("unverified").success().stderr("");
    let came: Vec<Vec<u8>> = listener.take(2).into_iter().map(|frame| frame.body).collect();
    assert_eq!(came, [b"verified".to_vec(), b"unverified".to_vec()]);
    configure("");
    say("nobody signed it").success().stderr_has("certificate is refused").stderr_has("is kept in");
    // What waited goes out once the CA is known.
    configure(&format!("ca-file: {}\n", real.ca.display()));
    world.failcake(["spool", "flush"]).run().success().stderr("");
    assert_eq!(listener.take(1)[0].body, b"nobody signed it");
}
