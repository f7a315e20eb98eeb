//! `failcake demo`: it tells the truth, and leaves nothing behind.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Runs the demo with a scratch folder of its own, in a home where nothing else is configured.
fn demo(scratch: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_failcake"));
    // A configuration that would break it, if it were read.
    command.env("FAILCAKE_BROKER", "stomp://127.0.0.1:1").env("FAILCAKE_CONFIG", "/nonexistent");
    command.env("TMPDIR", scratch).env("HOME", scratch).arg("demo").args(words);
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_step_does_what_it_says() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(scratch.path(), &[]).output().unwrap();
    let (out, err) = text(&output);
    assert!(output.status.success(), "{out}{err}");
    for words in ["git push origin master v1", "GET / -> Hello from release two", "refused v3", "failcake rollback"] {
        assert!(out.contains(words), "{words:?} is missing in {out}");
    }
    assert_eq!(out.matches("GET / -> Hello from release one").count(), 5, "{out}");
    assert!(!out.contains('\x1b'), "no colour in a pipe: {out:?}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_kept_demo_can_be_played_on() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(scratch.path(), &["--keep"]).output().unwrap();
    let (out, err) = text(&output);
    assert!(output.status.success(), "{out}{err}");
    let line = out
        .lines()
        .find(|line| line.trim_start().starts_with("failcake -c") && line.contains("deploy"))
        .expect("a command to play on");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let again = Command::new(env!("CARGO_BIN_EXE_failcake")).args(&words).output().unwrap();
    assert!(again.status.success(), "{line}: {}", text(&again).1);
}

#[test]
fn interrupted_it_takes_everything_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = demo(scratch.path(), &[]).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    child.wait().unwrap();
    let still = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let command = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let scratch = scratch.path().as_os_str().as_encoded_bytes();
        command.windows(scratch.len()).any(|part| part == scratch)
    });
    assert_eq!(still.count(), 0, "no program of it runs on");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left");
}
