//! Signed deliveries a second, and the memory that they take: failcake, each durable before its 202, beside Debian's
//! `webhook`, which checks the signature and runs a program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{median, ms};
use crate::place::{FAILCAKE, Place, ROOT, free_port};

/// Deliveries of one round. The first round is a warm-up and does not count.
const DELIVERIES: usize = 4000;
/// Connections that are kept alive.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 3;
const SECRET: &str = "It's a Secret to Everybody";

/// A server under load.
struct Server<'a> {
    name: &'a str,
    path: &'a str,
    port: u16,
    child: Child,
    deliveries: usize,
    rates: Vec<f64>,
    answers: Vec<Duration>,
}

/// Runs them turn by turn.
pub fn run(place: &Place) {
    let broker = place.embedded();
    let body = std::fs::read(Path::new(ROOT).join("tests/fixtures/forge/github-push.json")).expect("the fixture");
    let secret = place.path("webhook.secret");
    std::fs::write(&secret, SECRET).expect("a secret");
    let rest = format!("webhook: {{ secret-file: {} }}\nspool-max-count: 1000000\n", secret.display());

    let ours = failcake(place, "webhook", &broker.url, &rest);
    let mut servers = vec![
        server("failcake webhook, durable, then 202", "/", ours),
        server("webhook 2.8: /bin/true, answered before it ran", "/hooks/quick", rival(place, "quick")),
        server("webhook 2.8: printf | dd conv=fsync, waited for", "/hooks/durable", rival(place, "durable")),
    ];
    // A process for each: fewer, so that the bench ends.
    servers[2].deliveries = DELIVERIES / 20;
    for round in 0..=ROUNDS {
        for server in &mut servers {
            let (rate, answers) = load(server.port, server.path, &body, server.deliveries, &format!("{round}"));
            if round > 0 {
                server.rates.push(rate);
                server.answers.extend(answers);
            }
        }
    }
    println!("\nSigned deliveries, {CONNECTIONS} connections ({ROUNDS} rounds of {DELIVERIES}, turn by turn)");
    println!("  {:<48} {:>9} {:>10} {:>10} {:>8}", "", "a second", "median ms", "99 % ms", "peak MB");
    for server in &mut servers {
        server.rates.sort_by(f64::total_cmp);
        let middle = median(&mut server.answers);
        let slow = server.answers[server.answers.len() * 99 / 100];
        let rate = server.rates[server.rates.len() / 2];
        let peak = peak_mb(server.child.id());
        println!("  {:<48} {rate:>9.0} {:>10.2} {:>10.2} {peak:>8.1}", server.name, ms(middle), ms(slow));
    }
    drop(servers);
    kill_9(place, &body, &rest);
}

/// All that was answered with 202 is there after `kill -9` in the middle of the load.
fn kill_9(place: &Place, body: &[u8], rest: &str) {
    let (port, mut child) = failcake(place, "webhook-kill", "stomp://127.0.0.1:9", rest);
    let accepted = std::thread::scope(|scope| {
        let load = scope.spawn(|| count_accepted(port, body));
        std::thread::sleep(Duration::from_secs(2));
        child.kill().expect("kill");
        load.join().expect("the load")
    });
    let _ = child.wait();
    let mut found = 0;
    count_events(&place.path("webhook-kill.spool"), &mut found);
    println!(
        "  kill -9 under load: {accepted} answered with 202, {found} in the spool, {} lost",
        accepted.saturating_sub(found)
    );
    assert!(found >= accepted, "a delivery that was accepted is lost");
}

fn failcake(place: &Place, name: &str, broker: &str, rest: &str) -> (u16, Child) {
    let config = place.config(name, broker, rest);
    let mut command = place.command(FAILCAKE);
    command.arg("-c").arg(config).args(["webhook", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("failcake webhook");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
    let port = line.trim_end().trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    (port.unwrap_or_else(|| panic!("no address: {line:?}")), child)
}

/// Debian's webhook with the hook `id`.
fn rival(place: &Place, id: &str) -> (u16, Child) {
    let folder = place.path("webhook-written");
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = place.path("webhook-durable");
    let text = "#!/bin/sh\nprintf %s \"$1\" | dd of=\"$2/$$\" conv=fsync status=none\n";
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let rule = format!(
        r#"{{"match":{{"type":"payload-hmac-sha256","secret":"{SECRET}","parameter":{{"source":"header","name":"X-Hub-Signature-256"}}}}}}"#
    );
    let hook = match id {
        "quick" => format!(r#"{{"id":"quick","execute-command":"/bin/true","trigger-rule":{rule}}}"#),
        _ => format!(
            r#"{{"id":"durable","execute-command":"{}","include-command-output-in-response":true,"trigger-rule":{rule},
                "pass-arguments-to-command":[{{"source":"entire-payload"}},{{"source":"string","name":"{}"}}]}}"#,
            script.display(),
            folder.display()
        ),
    };
    let hooks = place.path(&format!("webhook-{id}.json"));
    std::fs::write(&hooks, format!("[{hook}]")).expect("hooks");
    let port = free_port();
    let mut command = place.command("webhook");
    command.arg("-hooks").arg(hooks).args(["-ip", "127.0.0.1", "-port", &port.to_string()]);
    let child = command.spawn().expect("webhook: apt-get install webhook");
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "webhook does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    (port, child)
}

fn server<'a>(name: &'a str, path: &'a str, (port, child): (u16, Child)) -> Server<'a> {
    Server { name, path, port, child, deliveries: DELIVERIES, rates: Vec::new(), answers: Vec::new() }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Deliveries a second, and how long each answer took. Every one is accepted, or the bench ends.
fn load(port: u16, path: &str, body: &[u8], count: usize, round: &str) -> (f64, Vec<Duration>) {
    let begun = Instant::now();
    let answers = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    (0..count / CONNECTIONS)
                        .map(|delivery| {
                            let begun = Instant::now();
                            let status = client.deliver(path, &format!("{round}-{number}-{delivery}"), body);
                            assert!(matches!(status, Some(200 | 202)), "{path}: {status:?}");
                            begun.elapsed()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        connections.into_iter().flat_map(|connection| connection.join().expect("a connection")).collect::<Vec<_>>()
    });
    (answers.len() as f64 / begun.elapsed().as_secs_f64(), answers)
}

/// Delivers until nobody answers any more; how many were accepted.
fn count_accepted(port: u16, body: &[u8]) -> usize {
    std::thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    (0..)
                        .take_while(|delivery| client.deliver("/", &format!("{number}-{delivery}"), body) == Some(202))
                        .count()
                })
            })
            .collect();
        connections.into_iter().map(|connection| connection.join().expect("a connection")).sum()
    })
}

/// One connection that is kept alive.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        Client { stream: BufReader::new(stream) }
    }

    /// The status; `None` when nobody answers.
    fn deliver(&mut self, path: &str, id: &str, body: &[u8]) -> Option<u16> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
        let hex: String = ring::hmac::sign(&key, body).as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-GitHub-Event: push\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: sha256={hex}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).ok()?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).ok()?;
        status
    }
}

/// Largest resident set so far.
fn peak_mb(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// Push events in the files below `folder`.
fn count_events(folder: &Path, found: &mut usize) {
    for entry in std::fs::read_dir(folder).expect("a spool").flatten() {
        if entry.path().is_dir() {
            count_events(&entry.path(), found);
        } else if entry.file_name().to_string_lossy().starts_with('0') {
            let bytes = std::fs::read(entry.path()).expect("an entry");
            *found += String::from_utf8_lossy(&bytes).matches("event-type:push").count();
        }
    }
}
