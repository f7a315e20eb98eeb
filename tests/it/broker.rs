//! `failcake broker`, the program.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn failcake(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_failcake"));
    command.arg("broker").args(words);
    command
}

/// Starts one on a free port, does something with its address, ends it with a signal.
fn serve(words: &[&str], signal: Signal, act: impl FnOnce(&str)) -> ExitStatus {
    let mut child = failcake(words).stdout(Stdio::piped()).spawn().expect("start");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("its URL");
    act(url.trim_end().strip_prefix("stomp://").expect("a URL"));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("kill");
    child.wait().expect("wait")
}

/// What the broker answers to those octets, up to a NUL.
fn ask(address: &str, say: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream.write_all(say.as_bytes()).expect("write");
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(0, &mut answer).expect("an answer");
    String::from_utf8(answer).expect("text")
}

#[test]
fn it_tells_its_url_and_ends_well_on_either_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let status = serve(&["--listen", "127.0.0.1:0"], signal, |address| {
            assert!(ask(address, "CONNECT\nlogin:any\n\n\0").starts_with("CONNECTED\n"));
        });
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn users_log_in_from_anywhere_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passcode");
    std::fs::write(&file, "se cret\n").expect("write");
    let user = format!("git={}", file.display());
    serve(&["--listen", "0.0.0.0:0", "--user", &user], Signal::SIGTERM, |address| {
        let address = address.replace("0.0.0.0", "127.0.0.1");
        assert!(ask(&address, "CONNECT\nlogin:git\npasscode:se cret\n\n\0").starts_with("CONNECTED\n"));
        assert!(ask(&address, "CONNECT\nlogin:git\npasscode:secret\n\n\0").starts_with("ERROR\n"));
    });
}

#[test]
fn what_it_cannot_do_it_says_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").expect("write");
    let empty = format!("git={}", empty.display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().expect("its address").to_string();
    for (words, code, reason) in [
        (["--listen", "0.0.0.0:0"].as_slice(), 2, "--user"),
        (&["--listen", "127.0.0.1:0", "--user", "git"], 2, "NAME=PASSCODE_FILE"),
        (&["--listen", "127.0.0.1:0", "--user", "git=/nowhere"], 2, "/nowhere"),
        (&["--listen", "127.0.0.1:0", "--user", &empty], 2, "empty"),
        (&["--listen", &taken], 1, &taken),
    ] {
        let output = failcake(words).output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(reason), "{words:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_says_when_to_move_on() {
    let output = failcake(&["--help"]).output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout);
    for word in ["failcake broker --listen", "RabbitMQ", "Nothing else changes"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn more_connections_than_it_takes_are_told_so_and_leave_no_trace() {
    let status = serve(&["--listen", "127.0.0.1:0", "--max-connections", "3"], Signal::SIGTERM, |address| {
        let held: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).expect("connect")).collect();
        let mut told = 0;
        for stream in &held {
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
            let mut text = [0; 64];
            told += usize::from((&mut &*stream).read(&mut text).is_ok_and(|count| text[..count].starts_with(b"ERROR")));
        }
        assert!(told >= 60, "{told} were told");
        drop(held);
        let mut tries = 0;
        while !ask(address, "CONNECT\n\n\0").starts_with("CONNECTED") {
            tries += 1;
            assert!(tries < 100, "it never comes back");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(status.success());
}

#[test]
fn more_connections_than_the_system_has_files_for_wait_their_turn() {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 32; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_failcake"),
            "broker",
            "--listen",
            "127.0.0.1:0",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("its URL");
    let address = url.trim_end().strip_prefix("stomp://").expect("a URL");
    let held: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let waits = TcpStream::connect(address).expect("connect");
    drop(held);
    drop(waits);
    assert!(ask(address, "CONNECT\n\n\0").starts_with("CONNECTED"));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM).expect("kill");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
}
