use super::*;
use std::os::unix::process::ExitStatusExt;

const SOON: Limits = Limits { timeout: Duration::from_secs(60), grace: Duration::from_secs(1), output: 1000 };

fn sh(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", text]);
    command
}

fn lives(pid: &str) -> bool {
    // A zombie whose parent is not us is as good as gone.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

fn gone_soon(pid: &str) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !lives(pid)
    })
}

#[test]
fn it_gets_its_input_and_both_outputs_are_kept_up_to_the_limit() {
    let input = vec![b'x'; 300_000];
    let outcome = run(sh("cat; echo said >&2; exit 3"), None, Some(&input), SOON).unwrap();
    assert_eq!(outcome.stdout, vec![b'x'; 1000]);
    assert_eq!(outcome.stderr, b"said\n");
    assert_eq!(outcome.status.code(), Some(3));
    assert!(!outcome.timed_out && !outcome.stopped);
}

#[test]
fn without_input_stdin_is_empty_and_unread_input_is_no_error() {
    assert_eq!(run(sh("wc -c"), None, None, SOON).unwrap().stdout, b"0\n");
    assert!(run(sh("exit 0"), None, Some(&vec![b'x'; 300_000]), SOON).unwrap().status.success());
}

#[test]
fn a_program_that_is_not_there_is_a_spawn_error_that_names_it() {
    let error = run(Command::new("/no/such/program"), None, None, SOON).unwrap_err().to_string();
    assert!(error.starts_with("can't run /no/such/program: No such file"), "{error}");
}

#[test]
fn time_is_up_term_first_then_kill_for_the_whole_group() {
    let limits = Limits { timeout: Duration::from_millis(300), grace: Duration::from_millis(300), output: 1000 };
    let polite = run(sh("trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done"), None, None, limits).unwrap();
    assert!(polite.timed_out);
    assert_eq!((polite.stdout.as_slice(), polite.status.code()), (&b"bye\n"[..], Some(7)));

    let deaf = run(sh("trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000"), None, None, limits).unwrap();
    assert!(deaf.timed_out);
    assert_eq!(deaf.status.signal(), Some(libc::SIGKILL));
    assert!(gone_soon(std::str::from_utf8(&deaf.stdout).unwrap()));
}

#[test]
fn what_it_leaves_in_its_group_is_killed_and_holds_nobody_up() {
    let started = Instant::now();
    let outcome = run(sh("sleep 1000 & echo $!"), None, None, SOON).unwrap();
    assert!(outcome.status.success() && !outcome.timed_out);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(gone_soon(std::str::from_utf8(&outcome.stdout).unwrap()));
}

#[test]
fn a_daemon_of_its_own_session_lives_on_and_holds_nobody_up() {
    let outcome = run(sh("setsid sleep 20 & echo $!"), None, None, SOON).unwrap();
    let pid: i32 = String::from_utf8(outcome.stdout).unwrap().trim().parse().unwrap();
    assert!(lives(&pid.to_string()));
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn lines_come_as_they_are_said_also_those_over_the_limit_and_without_an_end() {
    let mut lines = Vec::new();
    let mut each = |stream: Stream, line: &[u8]| lines.push((stream, line.to_vec()));
    let limits = Limits { output: 2, ..SOON };
    let outcome = Run { user: None, input: None, limits, stop: None, lines: Some(&mut each) }
        .run(sh("echo one; echo; head -c 20000 /dev/zero; echo; printf last; sleep 0.2; echo bad >&2"))
        .unwrap();
    assert_eq!(outcome.stdout, b"on");
    let out: Vec<_> = lines.iter().filter(|l| l.0 == Stream::Out).map(|l| l.1.as_slice()).collect();
    assert_eq!(out[..2], [&b"one"[..], b""]);
    assert_eq!(out.last(), Some(&&b"last"[..]));
    assert_eq!(out.iter().map(|l| l.len()).sum::<usize>(), 20_000 + 7);
    assert!(lines.contains(&(Stream::Err, b"bad".to_vec())));
}

#[test]
fn a_flood_is_bounded_and_does_not_stop_the_clock() {
    let limits = Limits { timeout: Duration::from_millis(500), ..SOON };
    let outcome = run(Command::new("yes"), None, None, limits).unwrap();
    assert!(outcome.timed_out);
    assert_eq!(outcome.stdout.len(), 1000);
}

#[test]
fn a_stop_ends_it_and_whoever_else_waits() {
    let stop = Stop::new().unwrap();
    assert!(!stop.is_set() && !stop.wait(Duration::from_millis(10)));
    let later = stop.clone();
    let setter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        later.set();
    });
    let run = Run { user: None, input: None, limits: SOON, stop: Some(&stop), lines: None };
    let outcome = run.run(sh("sleep 1000")).unwrap();
    setter.join().unwrap();
    assert!(outcome.stopped && !outcome.timed_out);
    assert_eq!(outcome.status.signal(), Some(libc::SIGTERM));
    assert!(stop.is_set() && stop.wait(Duration::from_secs(60)));
}

#[test]
fn no_descriptor_reaches_it_but_its_three() {
    // One that whoever started us forgot to mark close-on-exec.
    let file = std::fs::File::open("/dev/null").unwrap();
    let leaked = nix::unistd::dup(&file).unwrap();
    let outcome = run(sh("ls /proc/$$/fd"), None, None, SOON).unwrap();
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), "0\n1\n2\n");
    drop(leaked);
}

#[test]
fn it_runs_as_the_user_with_nothing_of_ours() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let user = User::find(Some("nobody")).unwrap().unwrap();
    let mut command = sh("id -un; id -G; echo $HOME $USER $LOGNAME ${XDG_CONFIG_HOME-none}");
    command.env("XDG_CONFIG_HOME", "/root/.config").current_dir("/");
    let outcome = run(command, Some(&user), None, SOON).unwrap();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    let wanted = format!("nobody\n{}\n{} nobody nobody none\n", groups.join(" "), user.home.display());
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), wanted);
    assert!(User::find(Some("root")).unwrap().is_none());
}

#[test]
fn an_unknown_user_is_named() {
    let error = User::find(Some("no-such-user")).unwrap_err();
    assert_eq!(error.to_string(), "there is no user \"no-such-user\" on this machine");
}

#[test]
fn a_narrower_wish_is_set_with_the_wider_one_and_by_itself() {
    let wide = Stop::new().unwrap();
    let (narrow, other) = (wide.narrower().unwrap(), wide.narrower().unwrap());
    let deeper = narrow.narrower().unwrap();
    narrow.set();
    assert_eq!([&wide, &narrow, &other, &deeper].map(Stop::is_set), [false, true, false, true]);
    wide.set();
    assert_eq!([&wide, &narrow, &other, &deeper].map(Stop::is_set), [true; 4]);
    let outcome = Run { user: None, input: None, limits: SOON, stop: Some(&other), lines: None };
    assert!(outcome.run(sh("sleep 60")).unwrap().stopped);
}
