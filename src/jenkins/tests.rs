use super::*;

fn answer(status: u16, location: &str, body: &str) -> Answer {
    Answer {
        base: "https://j/ci".to_owned(),
        status,
        location: Some(location.to_owned()),
        body: body.to_owned(),
        ..Answer::default()
    }
}

fn job(name: &str) -> Job {
    Job(name.split('/').map(str::to_owned).collect())
}

#[test]
fn jobs_have_addresses_whatever_their_names() {
    for (items, path) in [
        (vec!["spog"], "/job/spog"),
        (vec!["team", "name containing spaces"], "/job/team/job/name%20containing%20spaces"),
        (vec!["spog", &Job::item_of_branch("feature/x")], "/job/spog/job/feature%252Fx"),
        (vec!["spog", &Job::item_of_branch("été#1")], "/job/spog/job/%C3%A9t%C3%A9%25231"),
        (vec!["a?b&c=d"], "/job/a%3Fb%26c%3Dd"),
    ] {
        assert_eq!(Job(items.iter().map(|item| (*item).to_owned()).collect()).path(), path);
    }
}

#[test]
fn forms_are_encoded() {
    assert_eq!(form([("A B", "1&2=3"), ("c", "é\n")].into_iter()), "A%20B=1%262%3D3&c=%C3%A9%0A");
}

#[test]
fn every_way_to_say_yes_is_understood() {
    let started = |status, location| answer(status, location, "").started(&job("team/spog"), None);
    assert_eq!(started(201, "https://j/ci/queue/item/7/"), Ok(Some(7)));
    assert_eq!(started(201, "/ci/queue/item/7"), Ok(Some(7)));
    assert_eq!(started(201, "https://elsewhere/steal"), Ok(None));
    assert_eq!(started(201, ""), Ok(None));
    assert_eq!(started(302, "https://j/ci/job/team/job/spog/"), Ok(None));
    assert_eq!(started(303, "."), Ok(None));
}

#[test]
fn every_way_to_say_no_has_its_kind_and_its_remedy() {
    let no = |status, location: &str, body: &str| {
        answer(status, location, body).started(&job("spog"), Some("ann")).unwrap_err()
    };
    let kind = |error: &Error| match error {
        Error::Unavailable(_) => 'u',
        Error::Failed(_) => 'f',
        Error::Login(_) => 'l',
        Error::Refused(_) => 'r',
    };
    for (status, location, body, expected, words) in [
        (401, "", "", 'l', "token-file"),
        (302, "https://j/ci/login?from=%2F", "", 'l', "login page"),
        (302, "https://evil/job/other/", "", 'r', "set url:"),
        (302, "https://evil/job/spog/", "", 'r', "set url:"),
        (302, "//evil/job/spog/", "", 'r', "set url:"),
        (301, "https://j2/ci/job/spog/build", "", 'r', "set url:"),
        (403, "", "<html><title>Forbidden</title>", 'r', "403: Forbidden"),
        (404, "", "", 'r', "no job spog"),
        (409, "", "", 'r', "enable it"),
        (400, "", "Nothing is submitted", 'r', "parameters:"),
        (500, "", "x This build is not parameterized! x", 'r', "remove parameters:"),
        (500, "", "<title>Oops</title>", 'f', "500: Oops"),
        (502, "", "", 'u', "502"),
        (503, "", "<TITLE>Jenkins is getting ready to work</TITLE>", 'u', "starting"),
        (429, "", "", 'u', "429"),
        (200, "", "<html>login here</html>", 'r', "no Jenkins"),
    ] {
        let error = no(status, location, body);
        assert!(kind(&error) == expected && error.to_string().contains(words), "{status} {location}: {error:?}");
    }
}

#[test]
fn what_jenkins_repeats_of_a_secret_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "sesame\n").unwrap();
    let config = config::Jenkins {
        url: Some("http://j".to_owned()),
        user: Some("ann".to_owned()),
        token: Some(config::SecretFile(file)),
        ..config::Jenkins::default()
    };
    let controller = Controller::new(&config).unwrap();
    let error = controller.scrubbed(Error::Refused("you said sesame and open".to_owned()), Some("open"));
    assert_eq!(error.to_string(), "you said *** and ***");
}

#[test]
fn a_page_of_any_kind_is_shortened_to_words() {
    let long = "x".repeat(10_000);
    for body in [long.as_str(), "<title>", "</title><title>", "<TITLE>é\n</title>", "\u{1b}[31m"] {
        let error = answer(503, "", body).started(&job("spog"), None).unwrap_err().to_string();
        assert!(error.len() < 300 && !error.contains(char::is_control), "{error:?}");
    }
}

/// Answers one request over TLS, as somebody whose certificate `ca.pem` in that folder signed.
fn tls_server(folder: &std::path::Path) -> String {
    use std::io::{Read as _, Write as _};
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket.unwrap());
            let mut heard = Vec::new();
            // A caller that does not trust us goes away.
            while !heard.ends_with(b"\r\n\r\n") {
                let mut octet = [0];
                match stream.read(&mut octet) {
                    Ok(1) => heard.push(octet[0]),
                    _ => break,
                }
            }
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-Jenkins: 2\r\nContent-Length: 14\r\n\r\n{\"name\":\"ann\"}");
            let _ = stream.flush();
        }
    });
    url
}

#[test]
fn a_controller_behind_tls_is_trusted_by_its_ca_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = tls_server(folder.path());
    let config = |ca: Option<&str>| config::Jenkins {
        url: Some(url.clone()),
        ca_file: ca.map(|name| folder.path().join(name)),
        ..config::Jenkins::default()
    };
    let identity = |config| Controller::new(&config).unwrap().identity();
    assert_eq!(identity(config(Some("ca.pem"))).unwrap().name, "ann");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.cert.pem()).unwrap();
    let error = identity(config(Some("other.pem"))).unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("set ca-file:")), "{error:?}");
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    assert!(Controller::new(&config(Some("empty.pem"))).err().unwrap().0.contains("no certificate"));
}
