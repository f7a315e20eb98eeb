//! Real nginx and real HAProxy: the login works, and then it does not.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use nix::unistd::{Group, geteuid};

use super::*;

/// A web server on a socket in the sandbox.
struct Server {
    socket: PathBuf,
    running: Running,
}

impl Server {
    /// The status of a request with that login; 0 when nobody answers.
    fn status(&self, login: Option<(&str, &str)>) -> u16 {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(LONG))?;
            let login = login.map(|(user, password)| {
                format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}")))
            });
            write!(stream, "GET / HTTP/1.0\r\nHost: preview\r\n{}\r\n", login.unwrap_or_default())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    #[track_caller]
    fn becomes(&self, status: u16, login: (&str, &str)) {
        let until = Instant::now() + LONG;
        loop {
            let now = self.status(Some(login));
            if now == status {
                return;
            }
            assert!(Instant::now() < until, "the status stays {now}, and was to become {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// nginx as it is run: workers of another user, who may read the file by its group.
fn nginx(world: &World) -> Server {
    let program = "/usr/sbin/nginx";
    assert!(Path::new(program).exists(), "nginx is missing: apt-get install nginx-light");
    let root = world.sandbox.path("").display().to_string();
    std::fs::set_permissions(world.sandbox.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    world.sandbox.write("www/index.html", "hello\n");
    let file = world.sandbox.write("web01/preview.access", "# people\n");
    let user = if geteuid().is_root() { "user www-data;\n" } else { "" };
    if geteuid().is_root() {
        let group = Group::from_name("www-data").unwrap().expect("the group of Debian's web servers").gid;
        std::os::unix::fs::chown(&file, None, Some(group.as_raw())).unwrap();
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let config = format!(
        "daemon off;\n{user}pid {root}/nginx.pid;\nerror_log {root}/nginx.log;\nevents {{}}\nhttp {{\n access_log off;\n \
         client_body_temp_path {root}/t1;\n proxy_temp_path {root}/t2;\n fastcgi_temp_path {root}/t3;\n \
         uwsgi_temp_path {root}/t4;\n scgi_temp_path {root}/t5;\n server {{\n  listen unix:{root}/nginx.sock;\n  root {root}/www;\n  \
         auth_basic preview;\n  auth_basic_user_file {};\n }}\n}}\n",
        file.display()
    );
    let config = world.sandbox.write("nginx.conf", config);
    let running = world.sandbox.program(program, ["-c", config.to_str().unwrap()]).start();
    let server = Server { socket: world.sandbox.path("nginx.sock"), running };
    wait_for("nginx", || server.status(None) == 401);
    server
}

/// HAProxy with a master, which starts new workers on USR2: what `systemctl reload haproxy` does.
fn haproxy(world: &World) -> Server {
    let program = "/usr/sbin/haproxy";
    assert!(Path::new(program).exists(), "haproxy is missing: apt-get install haproxy");
    let root = world.sandbox.path("").display().to_string();
    let config = format!(
        "global\n  maxconn 50\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 60s\n\
         frontend web\n  bind {root}/haproxy.sock\n  http-request auth realm preview unless {{ http_auth(preview) }}\n  \
         http-request return status 200 content-type text/plain string hello\n"
    );
    let config = world.sandbox.write("haproxy.cfg", config);
    let file = world.file("web01", "preview");
    let words = ["-W", "-f", config.to_str().unwrap(), "-f", file.to_str().unwrap()];
    let running = world.sandbox.program(program, words).start();
    world.sandbox.write("haproxy.pid", running.id().to_string());
    let server = Server { socket: world.sandbox.path("haproxy.sock"), running };
    wait_for("haproxy", || server.status(None) == 401);
    server
}

fn script(world: &World, name: &str, text: &str) -> String {
    let path = world.sandbox.write(name, format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// What both are asked.
fn comes_and_goes(world: &World, server: &Server) {
    let mut watcher = world.watch("web01");
    let heard = Listener::open(&world.url, &[&world.topic, &world.events]);

    let password = world.grant("preview", "ann", &["--for", "1h"]);
    watcher.stdout_line("allowed access to preview for ann until ");
    server.becomes(200, ("ann", &password));
    assert_eq!(server.status(Some(("ann", "wrong"))), 401);
    assert_eq!(server.status(Some(("bob", &password))), 401);
    assert_eq!(server.status(None), 401);
    // On the bus: the order, its line for people, and what the node said.
    for frame in heard.take(3) {
        let text = format!("{frame:?}{}", String::from_utf8_lossy(&frame.body));
        assert!(!text.contains(&password), "the password is on the bus: {text}");
    }
    let list = world.access("web01", &["list"]).success().text();
    assert!(list.starts_with("preview  ann  until ") && !list.contains(&password) && !list.contains("$6$"), "{list}");

    let second = world.grant("preview", "ann", &[]);
    server.becomes(200, ("ann", &second));
    assert_eq!(server.status(Some(("ann", &password))), 401, "a new password takes the place of the old one");

    world
        .access("ops", &["revoke", "preview", "ann"])
        .success()
        .stdout("revoked: ann at preview, on every node that hears it\n");
    watcher.stdout_line("ended access to preview for ann (revoked by ops@example.org)");
    server.becomes(401, ("ann", &second));

    // Its time is up, and nothing else happens.
    world.send(world.signed(&world.order("eve", SignedDuration::from_secs(4))));
    server.becomes(200, ("eve", "open sesame"));
    server.becomes(401, ("eve", "open sesame"));
    watcher.stdout_line("ended access to preview for eve (expired)");
    assert!(!world.text("web01", "preview").contains("eve"));
}

#[test]
fn nginx_lets_in_and_no_longer() {
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    let mut server = nginx(&world);
    let before = world.file("web01", "preview").metadata().unwrap();
    comes_and_goes(&world, &server);
    assert_eq!(world.text("web01", "preview"), "# people\n", "no header, and what was there is there");
    let after = world.file("web01", "preview").metadata().unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    server.running.signal(nix::sys::signal::Signal::SIGTERM);
    server.running.wait();
}

#[test]
fn haproxy_lets_in_and_no_longer() {
    let world = World::new();
    let root = world.sandbox.path("").display().to_string();
    let reload = script(&world, "reload", &format!("kill -USR2 $(cat {root}/haproxy.pid)"));
    let more = format!(", check: [/usr/sbin/haproxy, -c, -f, {root}/haproxy.cfg, -f, '{{file}}'], reload: [{reload}]");
    world.node("web01", &world.entry("web01", "preview", "haproxy", &more));
    world.sandbox.write("web01/preview.access", "userlist preview\n");
    let server = haproxy(&world);
    comes_and_goes(&world, &server);
    assert_eq!(world.text("web01", "preview"), "userlist preview\n");

    // Somebody breaks the configuration: the real check says no, and who is in stays in.
    let mut watcher = world.watch("web01");
    let password = world.grant("preview", "ann", &[]);
    server.becomes(200, ("ann", &password));
    let broken = world.sandbox.read("haproxy.cfg").replace("mode http", "mode httpp");
    let whole = world.sandbox.read("haproxy.cfg");
    world.sandbox.write("haproxy.cfg", broken);
    let bobs = world.grant("preview", "bob", &[]);
    let said = watcher.stderr_line("problem: access preview: ");
    assert!(said.contains("`check:` refuses the new file") && said.contains("httpp"), "{said}");
    assert!(!world.text("web01", "preview").contains("bob"));
    assert_eq!(server.status(Some(("ann", &password))), 200);
    world.sandbox.write("haproxy.cfg", whole);
    server.becomes(200, ("bob", &bobs));
    // Its workers end with their master, which ends with the test.
}
