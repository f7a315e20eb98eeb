//! `notify-commit payload` as a CGI program: by hand, under Apache, under nginx with fcgiwrap.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::sandbox::FAILCAKE;

/// As a web server would call it.
fn call(world: &Sandbox, delivery: &Delivery, more: &[(&str, &str)]) -> String {
    let mut call = world.failcake(["notify-commit", "payload", "--max-body", "20000"]).stdin(delivery.body.clone());
    call = call.env("GATEWAY_INTERFACE", "CGI/1.1").env("REQUEST_METHOD", "POST");
    call = call.env("CONTENT_LENGTH", delivery.body.len().to_string()).env("CONTENT_TYPE", "application/json");
    for (name, value) in &delivery.headers {
        call = call.env(&format!("HTTP_{}", name.to_uppercase().replace('-', "_")), value);
    }
    for (name, value) in more {
        call = call.env(name, value);
    }
    call.run().success().text()
}

#[test]
fn each_mistake_has_its_status() {
    let world = world("stomp://127.0.0.1:9");
    let push = Delivery::push("1");
    let said = |delivery: &Delivery, more: &[(&str, &str)]| {
        let text = call(&world, delivery, more);
        let status = text.lines().next().unwrap().trim_end().to_owned();
        assert!(text.contains("\r\n\r\n"), "{text:?}");
        status
    };
    assert_eq!(said(&push, &[("REQUEST_METHOD", "GET")]), "Status: 405 Method Not Allowed");
    assert_eq!(said(&push, &[("CONTENT_LENGTH", "20001")]), "Status: 413 Content Too Large");
    assert_eq!(said(&push, &[("CONTENT_LENGTH", "many")]), "Status: 400 Bad Request");
    assert_eq!(said(&push, &[("CONTENT_LENGTH", "19999")]), "Status: 400 Bad Request");
    assert_eq!(said(&push, &[("CONTENT_LENGTH", "100")]), "Status: 401 Unauthorized");
    assert_eq!(said(&push, &[("HTTP_X_HUB_SIGNATURE_256", "sha256=00")]), "Status: 401 Unauthorized");
    assert_eq!(said(&Delivery::of("github", "push", "1", b"[]".to_vec()), &[]), "Status: 400 Bad Request");
    assert_eq!(said(&Delivery::of("github", "ping", "1", fixture("github-ping")), &[]), "Status: 200 OK");
    assert_eq!(said(&push, &[]), "Status: 202 Accepted");
    assert_eq!(said(&push, &[]), "Status: 200 OK", "told before");
    let list = world.failcake(["spool", "list", "--json"]).run().success().json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_for_the_log_and_not_for_the_world() {
    let world = Sandbox::new();
    world.write("failcake.yaml", "broker: stomp://127.0.0.1:9\n");
    let ran = world.failcake(["notify-commit", "payload"]).env("GATEWAY_INTERFACE", "CGI/1.1").run();
    let said = ran.code(2).stderr_has("secret-file").text();
    assert!(said.starts_with("Status: 500 ") && !said.contains("secret"), "{said}");
}

#[test]
fn the_listener_and_cgi_know_the_same_deliveries() {
    let world = world("stomp://127.0.0.1:9");
    let listener = Listener::start(&world, &[]);
    assert!(call(&world, &Delivery::push("1"), &[]).starts_with("Status: 202 "));
    assert_eq!(listener.deliver(&Delivery::push("1")).status, 200);
    assert_eq!(listener.deliver(&Delivery::push("2")).status, 202);
    assert!(call(&world, &Delivery::push("2"), &[]).starts_with("Status: 200 "));
    listener.stop();
}

/// A sandbox that a web server's own user can use, with the program as `cgi/webhook`.
fn served_world(broker: &str) -> Sandbox {
    let world = world(broker);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&world.path(""), 0o755);
    mode(&world.path("spool"), 0o1777);
    // The folder of the build may be closed to that user.
    std::fs::create_dir(world.path("cgi")).unwrap();
    let program = world.path("cgi/failcake");
    std::fs::hard_link(FAILCAKE, &program).or_else(|_| std::fs::copy(FAILCAKE, &program).map(drop)).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} -c {} notify-commit payload\n",
        program.display(),
        world.path("failcake.yaml").display()
    );
    mode(&world.write("cgi/webhook", script), 0o755);
    world
}

/// Nobody listens there now. Neither server can take a port of the kernel's choice and say which.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn installed(program: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(program);
    assert!(path.exists(), "{} is missing: apt-get install apache2 nginx-light fcgiwrap", path.display());
    path
}

/// Waits until it answers at all, and then delivers.
fn deliver_through(world: &Sandbox, server: &mut Running, port: u16, url: &str) {
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < deadline, "no server: {}", String::from_utf8_lossy(&server.stderr()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let commits = Ears::open(url, &[COMMITS]);
    let ask = |delivery: &Delivery| {
        let request = delivery.request();
        let answer = exchange(&address, &request);
        let log = || std::fs::read_to_string(world.path("error.log")).unwrap_or_default();
        assert!(answer.status != 500 && answer.status != 502 && answer.status != 403, "{answer:?}\n{}", log());
        answer.status
    };
    let push = Delivery::push("1");
    assert_eq!(ask(&push.clone().with("X-Hub-Signature-256", "sha256=00")), 401);
    assert_eq!(ask(&Delivery::of("github", "push", "1", b"[]".to_vec())), 400);
    assert_eq!(ask(&push), 202);
    assert_eq!(json(&commits.take(1)[0].body)["repository"]["name"], "Hello-World");
    assert_eq!(ask(&push), 200, "another process, the same delivery");
    let gitlab = Delivery::of("gitlab", "Push Hook", "1", fixture("gitlab-push"));
    assert_eq!(ask(&gitlab), 202);
    assert_eq!(json(&commits.take(1)[0].body)["repository"]["name"], "diaspora");
    let get = exchange(&address, b"GET /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(get.status, 405, "{get:?}");
}

#[test]
fn under_apache() {
    let apache = installed("apache2");
    let broker = Sandbox::new();
    let broker = broker.broker();
    let world = served_world(&broker.url);
    let port = free_port();
    let modules = ["mpm_event", "authz_core", "alias", "cgid"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let at = world.path("").display().to_string();
    let at = at.trim_end_matches('/');
    let user = if nix::unistd::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
    let config = format!(
        "ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/apache.pid\nErrorLog {at}/error.log\n{user}{}\
         ScriptSock {at}/cgid.sock\nScriptAlias / {at}/cgi/webhook/\n\
         <Directory {at}/cgi>\nRequire all granted\nOptions +ExecCGI\n</Directory>\n",
        modules.concat()
    );
    let file = world.write("apache.conf", config);
    let words = ["-d", at, "-f", file.to_str().unwrap(), "-DFOREGROUND"];
    let mut server = world.program(apache.to_str().unwrap(), words).start();
    deliver_through(&world, &mut server, port, &broker.url);
    server.signal(Signal::SIGTERM);
    server.wait();
}

#[test]
fn under_nginx_with_fcgiwrap() {
    let (nginx, fcgiwrap) = (installed("nginx"), installed("fcgiwrap"));
    let broker = Sandbox::new();
    let broker = broker.broker();
    let world = served_world(&broker.url);
    let port = free_port();
    let at = world.path("").display().to_string();
    let at = at.trim_end_matches('/');
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {at}/{name};\n"));
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let config = format!(
        "daemon off;\n{user}pid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{ }}\nhttp {{\naccess_log off;\n{}\
         server {{ listen 127.0.0.1:{port}; location / {{\n\
         fastcgi_pass unix:{at}/fcgi.sock;\ninclude /etc/nginx/fastcgi_params;\n\
         fastcgi_param SCRIPT_FILENAME {at}/cgi/webhook;\n}} }}\n}}\n",
        temporary.concat()
    );
    let file = world.write("nginx.conf", config);
    let socket = format!("unix:{at}/fcgi.sock");
    let _wrap = world.program(fcgiwrap.to_str().unwrap(), ["-s", &socket]).start();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.path("fcgi.sock").exists() {
        assert!(Instant::now() < deadline, "fcgiwrap makes no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    let words = ["-p", at, "-c", file.to_str().unwrap(), "-e", "stderr"];
    let mut server = world.program(nginx.to_str().unwrap(), words).start();
    deliver_through(&world, &mut server, port, &broker.url);
    server.signal(Signal::SIGTERM);
    server.wait();
}
