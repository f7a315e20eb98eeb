//! Killed at every system call that touches the disk, and what several runs at once do to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use super::*;
use crate::sandbox::FAILCAKE;

/// Calls by which failcake changes the disk or starts a program; `connect` and `sendto` are the bus.
const CALLS: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,copy_file_range,sendfile,write,\
    fsync,fdatasync,pidfd_open,connect,sendto";

/// What the killed run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// reprepro takes it.
    Good,
    /// It is of an architecture that reprepro does not know.
    Bad,
}

impl Upload {
    fn put(self, host: &Host) -> PathBuf {
        let architecture = if self == Upload::Good { "all" } else { "i386" };
        build(&host.world, "incoming/sid", "myapp", "1.0", architecture, "")
    }
}

/// Each call, as often as it is made in a run that takes that upload.
fn points(upload: Upload) -> Vec<(String, usize)> {
    let host = host();
    upload.put(&host);
    let log = host.path("strace.log");
    let trace = format!("trace={CALLS}");
    let words = ["-qq", "-o", log.to_str().unwrap(), "-e", &trace, FAILCAKE, "notify-package", "--incoming"];
    let _ = host.world.program("strace", words).run().code(i32::from(upload == Upload::Bad));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in host.world.read("strace.log").lines() {
        if let Some((call, _)) = line.split_once('(') {
            *counts.entry(call.to_owned()).or_default() += 1;
        }
    }
    counts.into_iter().flat_map(|(call, count)| (1..=count).map(move |nth| (call.clone(), nth))).collect()
}

/// A run that dies there, and then one that does not.
fn killed_at(upload: Upload, call: &str, nth: usize) {
    let host = host();
    let listener = host.listen();
    let file = upload.put(&host);
    let (name, sum) = (file.file_name().unwrap().to_str().unwrap().to_owned(), sha256(&file));
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let trace = ["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject, FAILCAKE];
    let words = [&trace[..], &["notify-package", "--incoming"]].concat();
    let _ = host.world.program("strace", words).start().wait();

    // The next run has something of its own to do.
    host.package("incoming/bookworm", "other", "1.0");
    let place = format!("{upload:?} killed at {call} {nth}");
    let mut again = host.notify(&["--incoming"]).start();
    let (status, said) = (again.wait(), String::from_utf8_lossy(&again.stderr()).into_owned());
    assert!(status.success() || upload == Upload::Bad, "{place}: {said}");
    host.is_tidy();
    let _ = host.world.failcake(["spool", "flush"]).run().success();
    let mut frames = listener.take(if upload == Upload::Good { 4 } else { 3 });
    frames.extend(listener.within(Duration::from_millis(200)));
    let told: BTreeSet<_> = frames
        .iter()
        .filter(|frame| body(frame).contains("myapp"))
        .map(|frame| (frame.header("destination").unwrap(), frame.header("event-id").unwrap()))
        .collect();
    match upload {
        Upload::Good => {
            assert_eq!(host.has("sid"), ["myapp 1.0"], "{place}");
            assert_eq!(host.files("incoming/sid"), [format!("archive/{name}")], "{place}");
            assert_eq!(sha256(&host.path("incoming/sid/archive").join(name)), sum, "{place}");
            let index = host.world.read("repository/dists/sid/main/binary-amd64/Packages");
            assert!(index.contains("Package: myapp\n"), "{place}: {index}");
            assert_eq!(told.len(), 2, "{place}: an event and a line, however often they were said: {told:?}");
        }
        Upload::Bad => {
            assert_eq!(host.has("sid"), [""; 0], "{place}");
            assert_eq!(
                host.files("incoming/sid"),
                [format!("refused/{name}"), format!("refused/{name}.reason")],
                "{place}"
            );
            assert_eq!(sha256(&host.path("incoming/sid/refused").join(name)), sum, "{place}");
            assert_eq!(told.len(), 1, "{place}: one line, however often it was said: {told:?}");
            assert!(told.iter().all(|(destination, _)| *destination == EVENTS), "{place}: it is not announced");
        }
    }
}

/// Each waits for two seconds that an upload must be at rest: several at a time.
fn sweep(upload: Upload, points: &[(String, usize)]) {
    println!("{} kills", points.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some((call, nth)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    killed_at(upload, call, *nth);
                }
            });
        }
    });
}

#[test]
fn killed_anywhere_the_next_run_takes_archives_and_tells_it() {
    let points = points(Upload::Good);
    assert!(points.len() > 40, "{points:?}");
    sweep(Upload::Good, &points);
}

#[test]
fn killed_anywhere_the_next_run_refuses_explains_and_tells_it() {
    let mut points = points(Upload::Bad);
    // What comes before the verdict is the same for both.
    points.retain(|(call, _)| ["rename", "renameat", "renameat2", "unlink", "mkdirat"].contains(&call.as_str()));
    assert!(points.len() > 8, "{points:?}");
    sweep(Upload::Bad, &points);
}

/// A distribution whose indices are written by a script that waits for the file `go`.
fn slow(host: &Host) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = format!(
        "#!/bin/sh\ntouch {started}\nn=0\nwhile [ ! -e {go} ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done\n",
        started = host.path("started").display(),
        go = host.path("go").display()
    );
    let path = host.world.write("slow", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    host.distributions(&format!("DebIndices: Packages Release . .gz {}\n", path.display()));
}

#[test]
fn killed_while_reprepro_runs_its_lock_does_not_outlive_it() {
    let host = host();
    let listener = host.listen();
    slow(&host);
    host.package("incoming/sid", "myapp", "1.0");
    let mut running = host.notify(&["--incoming"]).start();
    wait_for("reprepro", || host.path("started").exists());
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(host.path("repository/db/lockfile").exists(), "reprepro died with its lock");
    host.world.write("go", "");
    host.distributions("");
    // The script that reprepro had started ends too; until then reprepro may still be seen.
    host.take()
        .stdout("taken: myapp_1.0_all.deb into sid\n")
        .stderr_has("repository/db/lockfile: a reprepro that failcake had started was killed");
    assert_eq!(on(&listener.take(2), PACKAGES).len(), 1);
    host.is_tidy();
}

#[test]
fn a_reprepro_that_hangs_is_ended_and_nothing_is_lost() {
    let host = host();
    host.configure("  timeout: 1s\n");
    slow(&host);
    host.package("incoming/sid", "myapp", "1.0");
    let said = host.notify(&["--incoming"]).run().code(1).stdout("");
    said.stderr_has("was ended after 1 s").stderr_has("the next run tries again");
    host.world.write("go", "");
    host.distributions("");
    host.configure("");
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
    host.is_tidy();
}

#[test]
fn told_to_stop_it_ends_reprepro_and_the_next_run_goes_on() {
    let host = host();
    slow(&host);
    host.package("incoming/sid", "myapp", "1.0");
    let mut running = host.notify(&["--incoming"]).start();
    wait_for("reprepro", || host.path("started").exists());
    running.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    host.world.write("go", "");
    assert_eq!(running.wait().code(), Some(1));
    assert!(!host.path("repository/db/lockfile").exists(), "reprepro was let finish");
    host.distributions("");
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
    host.is_tidy();
}

#[test]
fn one_run_at_a_time() {
    let host = host();
    let listener = host.listen();
    slow(&host);
    host.package("incoming/sid", "myapp", "1.0");
    let mut first = host.notify(&["--incoming"]).start();
    wait_for("reprepro", || host.path("started").exists());
    // cron is patient for ten seconds, and then content.
    let second = host.notify(&["--incoming"]).run().success().stdout("");
    second.stderr_has("another notify-package works on [SANDBOX]/repository, and takes what is there");
    let file = host.package("build", "other", "1.0");
    let third = host.notify(&["sid", file.to_str().unwrap()]).run().code(1);
    third.stderr_has("another notify-package works on").stderr_has("try again");
    host.world.write("go", "");
    assert!(first.wait().success());
    assert_eq!(listener.take(2).len(), 2);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
}

#[test]
fn ten_runs_at_once_take_and_tell_each_package_once() {
    let host = host();
    let listener = host.listen();
    for number in 0..10 {
        host.package("incoming/sid", &format!("myapp{number}"), "1.0");
    }
    let mut runs: Vec<_> = (0..10).map(|_| host.notify(&["--incoming"]).start()).collect();
    for run in &mut runs {
        assert!(run.wait().success(), "{}", String::from_utf8_lossy(&run.stderr()));
    }
    let frames = listener.take(20);
    let told: BTreeSet<_> =
        on(&frames, PACKAGES).iter().map(|frame| frame.header("subject").unwrap().to_owned()).collect();
    assert_eq!(told.len(), 10);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.has("sid").len(), 10);
    host.is_tidy();
}

#[test]
fn a_full_disk_loses_nothing() {
    if !is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let host = host();
    let listener = host.listen();
    let noise: Vec<u8> = (0_u32..200_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    host.world.write("build-myapp-1.0-all/usr/share/myapp/noise", noise);
    host.package("incoming/sid", "myapp", "1.0");
    let content = std::fs::read(host.path("incoming/sid/myapp_1.0_all.deb")).unwrap();
    assert!(content.len() > 500_000, "{}", content.len());
    // The repository's disk has room for the one copy, then for both, then for the indices too. Whatever it says, the
    // upload is somewhere, whole, and is told when reprepro has it.
    let script = format!(
        "set -e; F={FAILCAKE}; cd {folder}; cp -a repository/conf conf
         mount -t tmpfs -o size=300k tmpfs repository; cp -a conf repository/conf
         for kib in 300 700 900 1000 1700 1750 1800 2400; do
           mount -o remount,size=${{kib}}k repository
           if $F notify-package --incoming; then echo took at $kib; break; fi
           n=$(find incoming repository/.failcake -name 'myapp_1.0_all.deb' -size +500k | wc -l)
           [ $n -ge 1 ] || {{ echo lost at $kib; exit 90; }}
           [ -z \"$(ls incoming/sid/refused 2>/dev/null)\" ] || {{ echo refused at $kib; exit 91; }}
           echo full at $kib
         done
         grep -q '^Package: myapp$' repository/dists/sid/main/binary-amd64/Packages
         ls -A repository/.failcake",
        folder = host.path("").display(),
    );
    let said = host.world.program("unshare", ["-m", "sh", "-c", &script]).run().success();
    said.stdout_has("full at 300")
        .stdout_has("full at 900")
        .stdout_has("took at ")
        .stderr_has("No space left on device");
    assert_eq!(on(&listener.take(2), PACKAGES).len(), 1);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(std::fs::read(host.path("incoming/sid/archive/myapp_1.0_all.deb")).unwrap(), content);
}

#[test]
fn a_full_archive_keeps_the_upload_and_tells_it_once() {
    if !is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let host = host();
    let listener = host.listen();
    host.configure(&format!("  archive: {}\n", host.path("kept").display()));
    std::fs::create_dir(host.path("kept")).unwrap();
    host.package("incoming/sid", "myapp", "1.0");
    let script = format!(
        "cd {folder}; mount -t tmpfs -o size=8k tmpfs kept; head -c 8192 /dev/zero > kept/fill
         {FAILCAKE} notify-package --incoming; echo first $?; {FAILCAKE} notify-package --incoming; echo second $?
         rm kept/fill; {FAILCAKE} notify-package --incoming; echo third $?; ls kept/sid; ls -A repository/.failcake",
        folder = host.path("").display()
    );
    let said = host.world.program("unshare", ["-m", "sh", "-c", &script]).run().success();
    said.stdout_has("first 1\n").stdout_has("second 1\n").stdout_has("third 0\nmyapp_1.0_all.deb\nlock\n");
    assert_eq!(listener.take(2).len(), 2);
    assert!(listener.within(Duration::from_millis(300)).is_empty(), "what was told is not told again");
}
