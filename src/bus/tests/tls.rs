use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::bus::{Connection, Error, Incoming, Publisher};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn ca_file(ca: &Ca) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.pem()).unwrap();
    file
}

fn certificate(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn server(ca: &Ca, params: CertificateParams) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let chain = vec![params.signed_by(&key, ca).unwrap().into()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// A TLS broker for one client, which may refuse it.
fn tls_broker(config: Arc<ServerConfig>, script: impl FnOnce(Client) + Send + 'static) -> Broker {
    broker(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        let mut tls = ServerConnection::new(config).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut stream).is_err() {
                return;
            }
        }
        script(Client::over(StreamOwned::new(tls, stream)));
    })
}

fn one_message(mut client: Client) {
    client.log_in();
    let sent = client.expect("SEND");
    assert_eq!(sent.body.len(), 100_000);
    client.confirm(&sent);
    client.expect("DISCONNECT");
}

fn publish(url: &str, ca_file: Option<&Path>, verify: bool) -> Result<(), Error> {
    let mut target = target(url);
    target.tls = config::Tls { ca_file: ca_file.map(Path::to_owned), verify };
    let mut publisher = Publisher::connect(&target, soon())?;
    publisher.publish(vec![send(&"x".repeat(100_000))], soon())?;
    publisher.close();
    Ok(())
}

/// The words of a refusal, without the address that stands before them.
fn refusal(broker: Broker, host: &str, ca_file: Option<&Path>) -> String {
    let port = broker.port;
    let error = publish(&format!("stomp+ssl://{host}:{port}"), ca_file, true).unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    broker.join();
    let text = error.to_string();
    text.strip_prefix(&format!("{host}:{port}: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_certificate_of_the_ca_file_is_trusted_by_name_and_by_address() {
    let ca = ca("ours");
    let file = ca_file(&ca);
    for host in ["localhost", "127.0.0.1"] {
        let broker = tls_broker(server(&ca, certificate(&["localhost", "127.0.0.1"])), one_message);
        publish(&format!("stomp+ssl://{host}:{}", broker.port), Some(file.path()), true).unwrap();
        broker.join();
    }
}

#[test]
fn a_lasting_connection_works_over_tls() {
    let ca = ca("ours");
    let file = ca_file(&ca);
    let broker = tls_broker(server(&ca, certificate(&["localhost"])), |mut client| {
        client.log_in();
        let id = client.subscribed();
        for number in 0..3000 {
            client.say(&message(&id, &number.to_string(), &"y".repeat(1000)));
        }
        client.leave();
    });
    let mut target = target(&format!("stomp+ssl://localhost:{}", broker.port));
    target.tls.ca_file = Some(file.path().to_owned());
    let connection = Connection::open(target, vec![super::connection::topic("/topic/a")]).unwrap();
    let mut messages = 0;
    while messages < 3000 {
        match connection.receive(Some(LONG)).expect("something comes") {
            Incoming::Connected(_) => {}
            Incoming::Message(message) => {
                assert_eq!(message.frame.header("ack"), Some(messages.to_string().as_str()));
                messages += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    connection.close();
    broker.join();
}

#[test]
fn a_certificate_of_an_unknown_ca_is_refused_unless_verification_is_off() {
    let (theirs, ours) = (ca("theirs"), ca("ours"));
    let file = ca_file(&ours);
    let broker = tls_broker(server(&theirs, certificate(&["localhost"])), one_message);
    let text = refusal(broker, "localhost", Some(file.path()));
    let expected = format!("none of the CAs in {} signed it; set ca-file", file.path().display());
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains("refused the connection"), "that nobody listens on ::1 is no news: {text}");

    let broker = tls_broker(server(&theirs, certificate(&["somebody else"])), one_message);
    publish(&format!("stomp+ssl://localhost:{}", broker.port), None, false).unwrap();
    broker.join();
}

#[test]
fn a_ca_that_was_made_anew_is_told() {
    let (old, new) = (ca("ours"), ca("ours"));
    let file = ca_file(&old);
    let broker = tls_broker(server(&new, certificate(&["127.0.0.1"])), one_message);
    let text = refusal(broker, "127.0.0.1", Some(file.path()));
    assert!(text.contains("same name as the CA that signed it, but with another key"), "{text}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let ca = ca("ours");
    let file = ca_file(&ca);
    let broker = tls_broker(server(&ca, certificate(&["broker.example.org"])), one_message);
    let text = refusal(broker, "localhost", Some(file.path()));
    assert!(text.contains("broker.example.org") && text.contains("not for \"localhost\""), "{text}");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let ca = ca("ours");
    let file = ca_file(&ca);
    let mut old = certificate(&["localhost"]);
    old.not_after = rcgen::date_time_ymd(2020, 2, 3);
    let text = refusal(tls_broker(server(&ca, old), one_message), "localhost", Some(file.path()));
    assert!(text.contains("expired at 2020-02-03"), "{text}");
    let mut early = certificate(&["localhost"]);
    early.not_before = rcgen::date_time_ymd(4000, 1, 1);
    let text = refusal(tls_broker(server(&ca, early), one_message), "localhost", Some(file.path()));
    assert!(text.contains("not valid before 4000-01-01") && text.contains("clock"), "{text}");
}

#[test]
fn a_cas_own_certificate_is_no_servers() {
    let mut params = certificate(&["localhost"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca("ours");
    let file = ca_file(&ca);
    let text = refusal(tls_broker(server(&ca, params), one_message), "localhost", Some(file.path()));
    assert!(text.contains("it is a CA's own"), "{text}");
}

#[test]
fn tls_to_a_port_without_it_is_told() {
    let file = ca_file(&ca("ours"));
    // One that answers in STOMP, one that closes, and one that waits for the end of a line.
    let answers = broker(|listener| {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 1000]).unwrap();
        stream.write_all(b"ERROR\nmessage:what is this\n\n\0").unwrap();
        let _ = stream.read(&mut [0; 1000]);
    });
    assert!(refusal(answers, "localhost", Some(file.path())).starts_with("this port does not speak TLS"));
    let closes = broker(|listener| {
        let _ = listener.accept().unwrap().0.read(&mut [0; 10_000]).unwrap();
    });
    let text = refusal(closes, "localhost", Some(file.path()));
    assert!(text.starts_with("closed the connection in the TLS handshake: does this port speak TLS?"), "{text}");
    let (_listener, silent) = silent();
    let mut target = target(&format!("stomp+ssl://{silent}"));
    target.tls.ca_file = Some(file.path().to_owned());
    let Err(error) = Publisher::connect(&target, Instant::now() + Duration::from_millis(300)) else { panic!() };
    assert!(error.to_string().ends_with("does this port speak TLS?"), "{error}");
}

#[test]
fn a_tls_port_without_tls_is_told() {
    let ca = ca("ours");
    let broker = broker({
        let config = server(&ca, certificate(&["localhost"]));
        move |listener| {
            let mut stream: TcpStream = listener.accept().unwrap().0;
            let mut tls = ServerConnection::new(config).unwrap();
            assert!(tls.complete_io(&mut stream).is_err());
            let _ = tls.write_tls(&mut stream);
        }
    });
    let error = publish(&broker.url(), None, true).unwrap_err();
    let text = format!("{}: this port speaks TLS: use stomp+ssl:// for it", broker.address());
    assert_eq!(error.to_string(), text);
    broker.join();
}

#[test]
fn a_ca_file_that_is_none_is_told_by_its_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let port = dead_port();
    let error = publish(&format!("stomp+ssl://localhost:{port}"), Some(file.path()), true).unwrap_err();
    let expected = format!("localhost:{port}: ca-file {}: holds no certificate in PEM", file.path().display());
    assert_eq!(error.to_string(), expected);
    let missing = file.path().with_extension("missing");
    let error = publish(&format!("stomp+ssl://localhost:{port}"), Some(&missing), true).unwrap_err();
    assert!(error.to_string().contains(&format!("ca-file {}: ", missing.display())), "{error}");
}
