//! What forges deliver: real signatures over real sockets, and under a real Apache and nginx.

mod cgi;
mod limits;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::brokers::Listener as Ears;
use crate::sandbox::{Running, Sandbox};

const SECRET: &str = "It's a Secret to Everybody";

/// A sandbox whose broker is at `url`.
fn world(url: &str) -> Sandbox {
    let world = Sandbox::new();
    world.write("secret", format!("{SECRET}\n"));
    let spool = world.path("spool");
    std::fs::create_dir(&spool).unwrap();
    let yaml = format!(
        "broker: {url}\nspool: {}\nwebhook: {{ secret-file: {} }}\n",
        spool.display(),
        world.path("secret").display()
    );
    world.write("failcake.yaml", yaml);
    world
}

/// `failcake webhook`, and where it listens.
struct Listener {
    running: Running,
    address: String,
}

impl Listener {
    fn start(world: &Sandbox, more: &[&str]) -> Listener {
        let words = [&["webhook", "--listen", "127.0.0.1:0"], more].concat();
        let mut running = world.failcake(words).start();
        let line = running.stdout_line("http://");
        let address = line.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Listener { running, address }
    }

    fn deliver(&self, delivery: &Delivery) -> Answer {
        exchange(&self.address, &delivery.request())
    }

    fn stop(mut self) {
        self.running.signal(Signal::SIGTERM);
        assert_eq!(self.running.wait().code(), Some(0));
    }
}

/// One delivery of a forge.
#[derive(Clone)]
struct Delivery {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/forge/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn hmac(body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    ring::hmac::sign(&key, body).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Delivery {
    fn of(forge: &str, event: &str, id: &str, body: Vec<u8>) -> Delivery {
        let hex = hmac(&body);
        let headers = match forge {
            "github" => vec![
                ("X-GitHub-Event", event.to_owned()),
                ("X-GitHub-Delivery", id.to_owned()),
                ("X-Hub-Signature-256", format!("sha256={hex}")),
            ],
            "gitlab" => vec![
                ("X-Gitlab-Event", event.to_owned()),
                ("Idempotency-Key", id.to_owned()),
                ("X-Gitlab-Token", SECRET.to_owned()),
            ],
            "gitea" => vec![
                ("X-Gitea-Event", event.to_owned()),
                ("X-GitHub-Event", event.to_owned()),
                ("X-Gitea-Delivery", id.to_owned()),
                ("X-Gitea-Signature", hex),
            ],
            "forgejo" => vec![
                ("X-Forgejo-Event", event.to_owned()),
                ("X-Forgejo-Delivery", id.to_owned()),
                ("X-Forgejo-Signature", hex),
            ],
            other => panic!("{other}"),
        };
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Delivery { headers, body }
    }

    fn push(id: &str) -> Delivery {
        Delivery::of("github", "push", id, fixture("github-push"))
    }

    fn with(mut self, name: &str, value: &str) -> Delivery {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn head(&self, length: usize) -> String {
        let mut head =
            format!("POST /any/path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
        if !self.headers.iter().any(|(name, _)| name == "Content-Type") {
            head.push_str("Content-Type: application/json\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    fn request(&self) -> Vec<u8> {
        [self.head(self.body.len()).as_bytes(), &self.body].concat()
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
}

/// Says something, and reads to the end.
fn exchange(address: &str, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> Answer {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|word| word.parse().ok());
    Answer { status: status.unwrap_or_else(|| panic!("no answer: {text:?}")), text }
}

/// The JSON line of an event's body.
fn json(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).unwrap();
    serde_json::from_str(text.lines().last().unwrap().strip_prefix("JSON: ").unwrap()).unwrap()
}

const COMMITS: &str = "/topic/failcake.git.commits";
const HUMANS: &str = "/topic/failcake.events.gitlab";

#[test]
fn a_push_on_each_forge_is_an_event_and_a_line_for_people() {
    let broker = Sandbox::new();
    let broker = broker.broker();
    let world = world(&broker.url);
    let (commits, humans) = (Ears::open(&broker.url, &[COMMITS]), Ears::open(&broker.url, &[HUMANS]));
    let listener = Listener::start(&world, &[]);
    for (forge, event, file, repo) in [
        ("github", "push", "github-push", "Hello-World"),
        ("gitlab", "Push Hook", "gitlab-push", "diaspora"),
        ("gitea", "push", "gitea-push", "webhooks"),
        ("forgejo", "push", "gitea-push", "webhooks"),
    ] {
        let answer = listener.deliver(&Delivery::of(forge, event, forge, fixture(file)));
        assert_eq!(answer.status, 202, "{forge}: {answer:?}");
        let frame = commits.take(1).remove(0);
        let said = json(&frame.body);
        assert_eq!(said["repository"]["name"], repo, "{forge}");
        assert_eq!(frame.header("subject").unwrap().split(' ').next(), Some(format!("[{repo}]").as_str()));
        let line = humans.take(1).remove(0);
        assert_eq!(line.header("subject"), Some("Talking to eventbot"));
        assert_eq!(String::from_utf8_lossy(&line.body).trim_end(), frame.header("subject").unwrap());
    }
    listener.stop();
}

#[test]
fn a_merge_request_is_a_line_for_people_and_nothing_else() {
    let broker = Sandbox::new();
    let broker = broker.broker();
    let world = world(&broker.url);
    let (commits, humans) = (Ears::open(&broker.url, &[COMMITS]), Ears::open(&broker.url, &[HUMANS]));
    let listener = Listener::start(&world, &[]);
    for (forge, event, file) in [
        ("github", "pull_request", "github-pull-request"),
        ("gitlab", "Merge Request Hook", "gitlab-merge-request"),
        ("gitea", "pull_request", "gitea-pull-request"),
    ] {
        assert_eq!(listener.deliver(&Delivery::of(forge, event, file, fixture(file))).status, 202);
        assert!(String::from_utf8_lossy(&humans.take(1)[0].body).contains("change "), "{forge}");
    }
    assert_eq!(listener.deliver(&Delivery::of("github", "ping", "p", fixture("github-ping"))).status, 200);
    assert_eq!(listener.deliver(&Delivery::push("last")).status, 202);
    assert_eq!(json(&commits.take(1)[0].body)["repository"]["name"], "Hello-World", "the first and only event");
    listener.stop();
}

#[test]
fn the_broker_is_not_waited_for() {
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let world = world(&format!("stomp://{}", silent.local_addr().unwrap()));
    let listener = Listener::start(&world, &[]);
    for number in 0..20 {
        let answer = listener.deliver(&Delivery::push(&number.to_string()));
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    listener.stop();
    let waiting = world.failcake(["spool", "list"]).run().success().text();
    assert!(waiting.contains("[Hello-World] refs/heads/master"), "{waiting}");
}

#[test]
fn nothing_that_was_accepted_is_lost_by_kill_9() {
    let broker_home = Sandbox::new();
    let world = world("stomp://127.0.0.1:9");
    let mut listener = Listener::start(&world, &[]);
    let address = listener.address.clone();
    // Several at a time, and killed in the middle of it.
    let accepted: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let address = address.clone();
                scope.spawn(move || {
                    let told = (0..).step_by(4).map(|number| number + worker).take_while(|number| {
                        let body = fixture("github-push");
                        let text = String::from_utf8(body)
                            .unwrap()
                            .replace("refs/heads/master", &format!("refs/heads/n{number}"));
                        let delivery = Delivery::of("github", "push", &number.to_string(), text.into_bytes());
                        let Ok(mut stream) = TcpStream::connect(&address) else { return false };
                        let mut text = String::new();
                        let done =
                            stream.write_all(&delivery.request()).is_ok() && stream.read_to_string(&mut text).is_ok();
                        done && text.starts_with("HTTP/1.1 202 ")
                    });
                    told.collect::<Vec<_>>()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(400));
        listener.running.signal(Signal::SIGKILL);
        listener.running.wait();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(!accepted.is_empty());

    let broker = broker_home.broker();
    let commits = Ears::open(&broker.url, &[COMMITS]);
    world.failcake(["spool", "flush"]).env("FAILCAKE_BROKER", &broker.url).run().success();
    let mut missing: std::collections::BTreeSet<String> =
        accepted.iter().map(|number| format!("refs/heads/n{number}")).collect();
    while !missing.is_empty() {
        // Panics when nothing comes any more.
        missing.remove(json(&commits.take(1)[0].body)["ref"].as_str().unwrap());
    }
}

#[test]
fn without_a_secret_it_does_not_start() {
    let world = Sandbox::new();
    world.write("failcake.yaml", "broker: stomp://127.0.0.1:9\n");
    let ran = world.failcake(["webhook", "--listen", "127.0.0.1:0"]).run();
    ran.code(2).stderr_has("secret-file").stderr_has("--insecure");
    std::fs::create_dir(world.path("spool")).unwrap();
    let listener = Listener::start(&world, &["--insecure"]);
    let unsigned = Delivery::push("1").with("X-Hub-Signature-256", "none");
    assert_eq!(listener.deliver(&unsigned).status, 202);
    listener.stop();
}

#[test]
fn a_body_on_stdin_is_believed() {
    let broker = Sandbox::new();
    let broker = broker.broker();
    let world = world(&broker.url);
    let commits = Ears::open(&broker.url, &[COMMITS]);
    for (provider, file, repo) in [
        ("auto", "github-push", "Hello-World"),
        ("gitlab", "gitlab-push", "diaspora"),
        ("auto", "gitea-push", "webhooks"),
    ] {
        let call = world.failcake(["notify-commit", "payload", "--provider", provider]).stdin(fixture(file));
        call.run().success().stdout("");
        assert_eq!(json(&commits.take(1)[0].body)["repository"]["name"], repo);
    }
    let payload = || world.failcake(["notify-commit", "payload"]);
    payload().stdin(fixture("github-ping")).run().success();
    payload().stdin("no json").run().code(1).stderr_has("--provider");
    payload().stdin("").run().code(1);
    let hostile = String::from_utf8(fixture("github-push")).unwrap().replace("refs/heads/master", "refs/heads/../x");
    payload().stdin(hostile).run().code(1).stderr_has("refs/heads/../x");
    world.failcake(["notify-commit", "payload", "--max-body", "9"]).stdin("0123456789").run().code(1);
}
