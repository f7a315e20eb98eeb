use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::access::{State, Wish};
use crate::config::AccessKind;
use crate::message::EventId;
use crate::message::access::{Action, Order};

struct World {
    folder: tempfile::TempDir,
    access: Access,
    site: SiteName,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

impl World {
    fn new(kind: AccessKind) -> World {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("preview.access");
        let access = Access { kind, file, check: Vec::new(), reload: Vec::new(), accept_cleartext: false };
        World { folder, access, site: "preview".parse().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn keep(&self, wishes: &[Wish], now: i64) -> Result<Kept, Error> {
        keep(&self.site, &self.access, wishes, at(now), None)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.access.file).unwrap()
    }

    fn hidden(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(".preview.access.failcake")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn grant(user: &str, expires: i64) -> Wish {
    let hash = format!("$6$rounds=1000$salt${}", "a".repeat(86)).parse().unwrap();
    order(user, Action::Grant { hash, expires: at(expires) })
}

fn order(user: &str, action: Action) -> Wish {
    Wish::Order(Order {
        id: EventId::new(),
        site: "preview".parse().unwrap(),
        user: user.parse().unwrap(),
        action,
        who: "ops@example.org".parse().unwrap(),
        issued: at(0),
        not_after: at(1000),
    })
}

#[test]
fn the_file_follows_what_is_known_and_keeps_its_mode() {
    let world = World::new(AccessKind::Nginx);
    fs::write(&world.access.file, "root:theirs").unwrap();
    fs::set_permissions(&world.access.file, fs::Permissions::from_mode(0o644)).unwrap();
    let kept = world.keep(&[grant("ann", 100), grant("bob", 200), grant("root", 200)], 0).unwrap();
    assert_eq!(kept.verdicts[..2], [Verdict::Granted(at(100)), Verdict::Granted(at(200))]);
    assert!(matches!(kept.verdicts[2], Verdict::Refused(_)));
    assert!(kept.changed && kept.trouble.is_none());
    assert_eq!(kept.next_end, Some(at(100)));
    assert!(world.text().starts_with("root:theirs\nann:$6$") && world.text().contains("\nbob:$6$"));
    assert_eq!(fs::metadata(&world.access.file).unwrap().mode() & 0o777, 0o644);
    assert_eq!(world.hidden(), ["lock", "logins.json"]);
    let folder = fs::metadata(world.path(".preview.access.failcake")).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);

    let kept = world.keep(&[], 50).unwrap();
    assert!(!kept.changed && kept.ended.is_empty());
    let kept = world.keep(&[], 100).unwrap();
    assert_eq!(kept.ended, ["ann".parse().unwrap()]);
    assert!(!world.text().contains("ann:") && world.text().contains("bob:"));
}

#[test]
fn a_new_file_is_nobody_elses_to_read_and_a_link_stays_one() {
    let world = World::new(AccessKind::Haproxy);
    world.keep(&[], 0).unwrap();
    assert_eq!(world.text(), "userlist preview\n");
    assert_eq!(fs::metadata(&world.access.file).unwrap().mode() & 0o007, 0);
    fs::rename(&world.access.file, world.path("real")).unwrap();
    std::os::unix::fs::symlink("real", &world.access.file).unwrap();
    world.keep(&[grant("ann", 100)], 0).unwrap();
    assert!(fs::symlink_metadata(&world.access.file).unwrap().is_symlink());
    assert!(fs::read_to_string(world.path("real")).unwrap().contains("user ann"));
}

/// By hand, by a backup that was played back, or because the ledger was lost.
#[test]
fn what_somebody_else_did_to_our_lines_is_mended() {
    let world = World::new(AccessKind::Nginx);
    world.keep(&[grant("ann", 100)], 0).unwrap();
    let with_ann = world.text();
    fs::write(&world.access.file, "").unwrap();
    assert!(world.keep(&[], 1).unwrap().changed);
    assert_eq!(world.text(), with_ann);
    world.keep(&[order("ann", Action::Revoke)], 2).unwrap();
    fs::write(&world.access.file, &with_ann).unwrap();
    world.keep(&[], 3).unwrap();
    assert_eq!(world.text(), "");
    fs::write(&world.access.file, &with_ann).unwrap();
    fs::remove_file(world.path(".preview.access.failcake/logins.json")).unwrap();
    world.keep(&[], 4).unwrap();
    assert_eq!(world.text(), "", "nobody knows that login");
    fs::write(world.path(".preview.access.failcake/.tmp-of-a-killed-run"), "short").unwrap();
    world.keep(&[], 5).unwrap();
    assert_eq!(world.hidden(), ["lock"], "and nothing is written where nothing is known");
}

#[test]
fn a_file_that_its_check_refuses_never_counts() {
    let mut world = World::new(AccessKind::Haproxy);
    world.keep(&[], 0).unwrap();
    let old = world.text();
    let check = world.script("check", "if grep -q 'user ann' \"$1\"; then echo no ann here >&2; exit 3; fi");
    let reload = world.script("reload", "echo again >> $0.log");
    world.access.reload = vec![reload];
    for words in
        [vec![check.clone(), "{file}".to_owned()], vec![check.clone(), world.access.file.display().to_string()]]
    {
        world.access.check = words;
        let kept = world.keep(&[grant("ann", 100)], 0).unwrap();
        let trouble = kept.trouble.unwrap().to_string();
        assert!(trouble.contains("`check:` refuses the new file, and the old one stays"), "{trouble}");
        assert!(trouble.contains("no ann here"), "{trouble}");
        assert!(!kept.changed);
        assert_eq!(world.text(), old);
    }
    assert!(!world.path("reload.log").exists());
    // Known all the same: when the check takes it, it counts.
    world.access.check = vec![world.script("check", "true")];
    assert!(world.keep(&[], 1).unwrap().trouble.is_none());
    assert!(world.text().contains("user ann"));
    assert_eq!(fs::read_to_string(world.path("reload.log")).unwrap(), "again\n");
}

#[test]
fn a_reload_is_owed_until_it_succeeded() {
    let mut world = World::new(AccessKind::Haproxy);
    let reload = world.script("reload", "echo called >> $0.log; [ -e $0.ok ] || { echo no bus >&2; exit 1; }");
    world.access.reload = vec![reload];
    let kept = world.keep(&[grant("ann", 100)], 0).unwrap();
    let trouble = kept.trouble.unwrap().to_string();
    assert!(trouble.contains("`reload:` failed, which is tried again") && trouble.contains("no bus"), "{trouble}");
    assert!(world.text().contains("user ann"));
    assert!(survey(&world.site, &world.access, at(1)).unwrap().owes_reload);
    assert!(world.keep(&[], 1).unwrap().trouble.is_some());
    fs::write(world.path("reload.ok"), "").unwrap();
    assert!(world.keep(&[], 2).unwrap().trouble.is_none());
    assert!(world.keep(&[], 3).unwrap().trouble.is_none());
    assert_eq!(fs::read_to_string(world.path("reload.log")).unwrap().lines().count(), 3, "and no more after that");
}

#[test]
fn a_ledger_that_makes_no_sense_takes_nothing_and_changes_nothing() {
    let world = World::new(AccessKind::Nginx);
    world.keep(&[grant("ann", 100)], 0).unwrap();
    let (text, ledger) = (world.text(), world.path(".preview.access.failcake/logins.json"));
    let written = fs::read_to_string(&ledger).unwrap();
    for nonsense in
        ["", "{}", "[1]", &written.replace("\"version\": 1", "\"version\": 2"), &written.replace("ann", "an:n")]
    {
        fs::write(&ledger, nonsense).unwrap();
        let error = world.keep(&[grant("bob", 100)], 1).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("move it away"), "{error}");
        assert_eq!(world.text(), text);
        assert_eq!(fs::read_to_string(&ledger).unwrap(), *nonsense);
    }
}

#[test]
fn a_survey_tells_and_changes_nothing() {
    let world = World::new(AccessKind::Nginx);
    let seen = survey(&world.site, &world.access, at(0)).unwrap();
    assert!(seen.logins.is_empty() && seen.mode.is_none());
    assert_eq!(fs::read_dir(world.folder.path()).unwrap().count(), 0);
    fs::write(&world.access.file, "root:theirs\n").unwrap();
    world.keep(&[grant("ann", 100)], 0).unwrap();
    let seen = survey(&world.site, &world.access, at(99)).unwrap();
    assert_eq!((seen.in_file, seen.foreign, seen.differs), (1, 1, false));
    assert!(matches!(seen.logins[&"ann".parse().unwrap()].state, State::Live { .. }));
    assert!(survey(&world.site, &world.access, at(100)).unwrap().differs, "overdue");
}

#[test]
fn many_at_once_lose_nothing() {
    let world = World::new(AccessKind::Nginx);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for each in 0..5 {
                    world.keep(&[grant(&format!("user{number}.{each}"), 100)], 0).unwrap();
                }
            });
        }
    });
    assert_eq!(world.text().lines().count(), 40);
}
