//! Killed, or refused by the disk, at every system call: the file is the old one or the new one, never a short one, which
//! would lock everybody out.

use std::process::Command;

use failcake::access::{Wish, keep};
use failcake::config::{Access, AccessKind};

use super::*;
use crate::sandbox::FAILCAKE;

/// A node with one login that is over and one that is not, and a file that has both.
struct Overdue {
    world: World,
    old: String,
    new: String,
}

impl Overdue {
    fn new(kind: AccessKind) -> Overdue {
        let world = World::at(Sandbox::new(), "stomp://127.0.0.1:1".to_owned(), "x", None);
        let (word, reload) = match kind {
            AccessKind::Nginx => ("nginx", String::new()),
            AccessKind::Haproxy => (
                "haproxy",
                format!(", reload: [/bin/sh, -c, 'echo again >> {}']", world.sandbox.path("reloads").display()),
            ),
        };
        world.node("web01", &world.entry("web01", "preview", word, &reload));
        let file = world.file("web01", "preview");
        std::fs::write(&file, "# people\n").unwrap();
        let access = Access { kind, file, check: Vec::new(), reload: Vec::new(), accept_cleartext: false };
        let wish = |user, lasts| {
            let mut order = world.order(user, lasts);
            order.issued -= SignedDuration::from_mins(10);
            Wish::Order(order)
        };
        let before = Timestamp::now() - SignedDuration::from_mins(5);
        let wishes = [wish("ann", SignedDuration::from_hours(9)), wish("bob", SignedDuration::from_secs(-1))];
        let site = "preview".parse().unwrap();
        keep(&site, &access, &wishes, before, None).unwrap();
        let old = world.text("web01", "preview");
        assert!(old.contains("ann") && old.contains("bob"), "{old}");
        let new = old.lines().filter(|line| !line.contains("bob")).map(|line| format!("{line}\n")).collect();
        let overdue = Overdue { world, old, new };
        overdue.world.sandbox.program("cp", ["-a", "web01", "template"]).run().success();
        overdue
    }

    /// As it was in the beginning.
    fn again(&self) {
        self.world.sandbox.program("rm", ["-rf", "web01", "reloads"]).run().success();
        self.world.sandbox.program("cp", ["-a", "template", "web01"]).run().success();
    }

    fn reloads(&self) -> usize {
        std::fs::read_to_string(self.world.sandbox.path("reloads")).unwrap_or_default().lines().count()
    }

    /// Runs `access expire` with a fault at the `nth` of these calls; was it met?
    fn run(&self, call: &str, nth: usize, fault: &str) -> bool {
        let mut strace = Command::new("strace");
        strace.current_dir(self.world.sandbox.path("")).env("HOME", self.world.sandbox.path("home"));
        strace.args(["-qq", "-o", "trace", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:{fault}:when={nth}")]);
        let output = strace.args([FAILCAKE, "-c", "web01.yaml", "access", "expire"]).output();
        let output = output.expect("strace is needed: apt-get install strace");
        let calls = self.world.sandbox.read("trace");
        // 127 is the loader's, before there is a failcake; 101 would be a panic.
        let code = output.status.code();
        assert!(matches!(code, None | Some(0 | 1 | 2 | 127)), "{output:?}");
        calls.lines().filter(|line| line.starts_with(call)).count() >= nth
    }
}

/// Calls by which failcake changes the disk, or begins something.
const CALLS: [&str; 9] = ["openat", "write", "fchmod", "fsync", "rename", "unlink", "flock", "mkdir", "clone3"];

fn sweep(kind: AccessKind, fault: &str) {
    let overdue = Overdue::new(kind);
    let mut met = 0;
    for call in CALLS {
        for nth in 1.. {
            overdue.again();
            if !overdue.run(call, nth, fault) {
                break;
            }
            met += 1;
            let text = overdue.world.text("web01", "preview");
            let place = || format!("{call} {nth} {fault}");
            assert!(text == overdue.old || text == overdue.new, "{}: {text:?}", place());
            // The next run finds what the killed one left, and does the rest.
            overdue.world.access("web01", &["expire"]).success();
            assert_eq!(overdue.world.text("web01", "preview"), overdue.new, "{}", place());
            if kind == AccessKind::Haproxy {
                assert!(overdue.reloads() >= 1, "{}: nobody reloaded", place());
            }
            let hidden =
                std::fs::read_dir(overdue.world.sandbox.path("web01/.preview.access.failcake")).unwrap().count();
            assert_eq!(hidden, 2, "{}: something is left lying about", place());
        }
    }
    assert!(met > 20, "only {met} places were met");
}

#[test]
fn killed_at_every_call_the_old_file_or_the_new_one_serves() {
    sweep(AccessKind::Haproxy, "signal=KILL");
}

#[test]
fn refused_by_the_disk_at_every_call_the_old_file_or_the_new_one_serves() {
    sweep(AccessKind::Nginx, "error=ENOSPC");
}

#[test]
fn a_full_disk_keeps_the_old_file_and_says_so() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let overdue = Overdue::new(AccessKind::Nginx);
    let folder = overdue.world.sandbox.path("").display().to_string();
    let run = format!(
        "cd {folder} && mount -t tmpfs -o size=64k tmpfs web01 && cp -a template/. web01/ || exit 90
         cat /dev/zero > web01/fill 2>/dev/null
         {FAILCAKE} -c web01.yaml access expire && exit 91
         cmp web01/preview.access template/preview.access || exit 92
         rm web01/fill
         {FAILCAKE} -c web01.yaml access expire || exit 93
         cat web01/preview.access; ls -A web01/.preview.access.failcake"
    );
    let ran = overdue.world.sandbox.program("unshare", ["-m", "sh", "-c", &run]).run().success();
    let ran = ran.stderr_has("the disk is full: free some space");
    assert_eq!(ran.text(), format!("ended access to preview for bob (expired)\n{}lock\nlogins.json\n", overdue.new));
}

/// An order that the disk does not take waits, and is taken when there is room.
#[test]
fn an_order_that_could_not_be_written_is_taken_later() {
    if nix::unistd::geteuid().is_root() && !nix::unistd::User::from_name("nobody").is_ok_and(|user| user.is_some()) {
        eprintln!("not run: needs a user without rights");
        return;
    }
    let world = World::new();
    world.node("web01", &world.entry("web01", "preview", "nginx", ""));
    let mut watcher = world.watch("web01");
    world.grant("preview", "ann", &[]);
    watcher.stdout_line("allowed access to preview for ann");
    // What nobody may write, not even root: a folder in the ledger's place.
    let ledger = world.sandbox.path("web01/.preview.access.failcake/logins.json");
    let kept = std::fs::read(&ledger).unwrap();
    std::fs::remove_file(&ledger).unwrap();
    std::fs::create_dir(&ledger).unwrap();
    world.access("ops", &["revoke", "preview", "ann"]).success();
    watcher.stderr_line("problem: access preview: can't read");
    assert!(world.text("web01", "preview").starts_with("ann:"));
    std::fs::remove_dir(&ledger).unwrap();
    std::fs::write(&ledger, kept).unwrap();
    watcher.stdout_line("ended access to preview for ann (revoked by ops@example.org)");
    assert_eq!(world.text("web01", "preview"), "");
}
