//! On real folders. What needs another user needs root; without it those tests say that they did not run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

const ROOMY: Limits = Limits { count: 1000, bytes: 1 << 20 };
const PATIENCE: Duration = Duration::from_secs(30);
/// A user of whom this machine need not know.
const STRANGER: u32 = 54321;

fn open(parent: &TempDir) -> Spool {
    Spool::open(parent.path(), ROOMY).unwrap()
}

fn put(spool: &Spool, id: &str) -> Name {
    spool.put(id, &format!("/topic/t\t{id}"), id.as_bytes(), PATIENCE).unwrap().name
}

fn ids(spool: &Spool) -> Vec<String> {
    spool.list().unwrap().entries.into_iter().map(|name| name.id).collect()
}

fn own_path(parent: &TempDir) -> PathBuf {
    parent.path().join(geteuid().to_string())
}

fn files(spool: &Spool) -> BTreeSet<String> {
    fs::read_dir(spool.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn is_root() -> bool {
    if !geteuid().is_root() {
        eprintln!("not run: it needs root to make another user's files");
    }
    geteuid().is_root()
}

#[test]
fn an_entry_comes_back_as_it_was_put_and_goes_when_removed() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    let payload: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let entry = spool.put("0193-a", "/topic/t\tline\nbreak \u{1b}[31m", &payload, PATIENCE).unwrap();
    let content = spool.read(&entry.name).unwrap().unwrap();
    assert_eq!(content.payload, payload);
    assert_eq!(content.about, "/topic/t\tline break  [31m");
    assert_eq!(files(&spool), BTreeSet::from([entry.name.to_string(), "sequence".to_owned()]));
    assert_eq!(entry.name.to_string().len(), 20 + 1 + "0193-a".len());
    spool.make_durable(&entry).unwrap();
    spool.remove(&entry.name).unwrap();
    assert!(!spool.holds(&entry.name));
    assert_eq!(spool.read(&entry.name).unwrap(), None);
    spool.remove(&entry.name).unwrap();
}

#[test]
fn the_folder_and_its_files_are_for_their_user_only() {
    let parent = TempDir::new().unwrap();
    fs::create_dir(own_path(&parent)).unwrap();
    fs::set_permissions(own_path(&parent), fs::Permissions::from_mode(0o777)).unwrap();
    let spool = open(&parent);
    let name = put(&spool, "a");
    assert_eq!(fs::metadata(spool.path()).unwrap().mode() & 0o7777, 0o700);
    for file in [name.to_string(), "sequence".to_owned()] {
        assert_eq!(fs::metadata(spool.path().join(file)).unwrap().mode() & 0o7777, 0o600);
    }
}

#[test]
fn a_link_or_a_file_in_the_folders_place_is_refused_with_the_remedy() {
    let elsewhere = TempDir::new().unwrap();
    for make in [&(|path: &Path| symlink(elsewhere.path(), path).unwrap()) as &dyn Fn(&Path), &|path: &Path| {
        fs::write(path, "").unwrap()
    }] {
        let parent = TempDir::new().unwrap();
        make(&own_path(&parent));
        let error = Spool::open(parent.path(), ROOMY).unwrap_err();
        assert!(matches!(error, Error::NotOurs { .. }), "{error}");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn another_users_folder_in_our_place_is_refused() {
    if !is_root() {
        return;
    }
    let parent = TempDir::new().unwrap();
    fs::create_dir(own_path(&parent)).unwrap();
    chown(own_path(&parent), Some(STRANGER), None).unwrap();
    let error = Spool::open(parent.path(), ROOMY).unwrap_err().to_string();
    assert!(error.contains("a folder of user 54321"), "{error}");
}

#[test]
fn the_fallback_follows_xdg_then_home_then_the_user_database() {
    let from = |state: &str, home: &str| {
        let word = |text: &str| (!text.is_empty()).then(|| text.into());
        folder::fallback_from(word(state), word(home), Uid::from_raw(0)).unwrap()
    };
    assert_eq!(from("/s", "/h"), Path::new("/s/failcake/spool"));
    assert_eq!(from("relative", "/h"), Path::new("/h/.local/state/failcake/spool"));
    assert_eq!(from("", "/h"), Path::new("/h/.local/state/failcake/spool"));
    assert_eq!(from("", ""), Path::new("/root/.local/state/failcake/spool"));
    let nobody_knows = folder::fallback_from(None, None, Uid::from_raw(STRANGER)).unwrap_err();
    assert!(nobody_knows.to_string().contains("install -d -m 1777"), "{nobody_knows}");
}

#[test]
fn twenty_writers_at_once_get_twenty_numbers_in_the_order_of_appearance() {
    let parent = TempDir::new().unwrap();
    drop(open(&parent));
    std::thread::scope(|scope| {
        for writer in 0..20 {
            let parent = &parent;
            scope.spawn(move || {
                let spool = open(parent);
                let numbers: Vec<u64> = (0..10).map(|turn| put(&spool, &format!("{writer}-{turn}")).number).collect();
                assert!(numbers.is_sorted());
            });
        }
    });
    let spool = open(&parent);
    let entries = spool.list().unwrap().entries;
    let numbers: BTreeSet<u64> = entries.iter().map(|name| name.number).collect();
    assert_eq!((entries.len(), numbers.len()), (200, 200));
    assert_eq!(files(&spool).iter().filter(|name| name.starts_with("tmp-")).count(), 0);
}

#[test]
fn numbers_go_on_over_a_torn_sequence_and_a_clock_that_was_set_back() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    let future = Name { number: u64::MAX / 2, id: "future".to_owned() };
    fs::write(spool.path().join(future.to_string()), entry::encode("", b"x")).unwrap();
    for torn in ["", "0000", "nonsense", "\0\0\0\0", &"9".repeat(63)] {
        fs::write(spool.path().join("sequence"), torn).unwrap();
        let spool = open(&parent);
        let name = put(&spool, "next");
        assert!(name > future, "after {torn:?}: {name}");
        spool.remove(&name).unwrap();
    }
    // Whole, with a number that the clock has not reached.
    let (first, second) = (put(&spool, "z"), put(&spool, "a"));
    assert_eq!(second.number, first.number + 1);
}

#[test]
fn a_stopped_holder_of_the_lock_costs_the_order_not_the_event() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    put(&spool, "a");
    let holder = File::open(spool.path().join("sequence")).unwrap();
    holder.lock().unwrap();
    let other = open(&parent);
    other.put("b", "", b"b", Duration::from_millis(20)).unwrap();
    assert_eq!(ids(&spool), ["a", "b"]);
}

#[test]
fn how_full_it_is_is_told_before_and_when_the_next_is_refused() {
    let parent = TempDir::new().unwrap();
    let spool = Spool::open(parent.path(), Limits { count: 100, bytes: 10_000 }).unwrap();
    let concern = || spool.used(&spool.survey().unwrap()).concern().unwrap_or_default();
    let put = |id: &str| spool.put(id, "", &[b'x'; 900], PATIENCE);
    assert_eq!(concern(), "");
    let mut seen = Vec::new();
    while put("a").is_ok() {
        seen.push(concern().split(':').next().unwrap().to_owned());
    }
    assert_eq!(seen.pop().unwrap(), "full", "{}", concern());
    assert!(
        seen.contains(&"nearly full".to_owned()) && seen[0].is_empty() && !seen.contains(&"full".to_owned()),
        "{seen:?}"
    );
}

#[test]
fn limits_refuse_in_words_and_leave_room_again() {
    let parent = TempDir::new().unwrap();
    let spool = Spool::open(parent.path(), Limits { count: 3, bytes: 10_000 }).unwrap();
    let names: Vec<Name> = ["a", "b", "c"].map(|id| put(&spool, id)).into();
    let full = spool.put("d", "", b"d", PATIENCE).unwrap_err().to_string();
    for words in ["3 events wait or were set aside, 3 may", "failcake spool flush", "spool-max-count"] {
        assert!(full.contains(words), "{full}");
    }
    assert_eq!(files(&spool).len(), 4, "nothing is left of what was refused");
    // What was set aside takes its room too: a broker that refuses everything fills no disk.
    spool.set_aside(&names[0], "no").unwrap();
    assert!(matches!(spool.put("d", "", b"d", PATIENCE), Err(Error::Full { .. })));
    spool.remove(&names[1]).unwrap();
    put(&spool, "d");

    let parent = TempDir::new().unwrap();
    let spool = Spool::open(parent.path(), Limits { count: 100, bytes: 1000 }).unwrap();
    let first = spool.put("a", "", &[b'x'; 600], PATIENCE).unwrap().name;
    let full = spool.put("b", "", &[b'x'; 600], PATIENCE).unwrap_err().to_string();
    assert!(full.contains("octets are used of 1000"), "{full}");
    spool.remove(&first).unwrap();
    spool.put("b", "", &[b'x'; 600], PATIENCE).unwrap();
}

#[test]
fn leftovers_of_the_dead_are_cleared_and_those_of_the_living_are_not() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    put(&spool, "a");
    let leftover = spool.path().join("tmp-1-x");
    fs::write(&leftover, "half").unwrap();
    let writer = File::open(spool.path().join("sequence")).unwrap();
    writer.lock().unwrap();
    spool.clear_leftovers(&spool.list().unwrap());
    assert!(leftover.exists(), "its writer holds the lock");
    drop(writer);
    spool.clear_leftovers(&spool.list().unwrap());
    assert!(!leftover.exists());
    // Of a dead process that had our number and wrote the same event.
    fs::write(spool.path().join(format!("tmp-{}-b", std::process::id())), "half").unwrap();
    put(&spool, "b");
    assert_eq!(ids(&spool), ["a", "b"]);
}

#[test]
fn every_damage_is_told_and_none_is_taken_for_an_entry() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    let whole = entry::encode("/topic/t\tsubject", b"payload that matters");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let newer = String::from_utf8(whole.clone()).unwrap().replace("spool 1 ", "spool 2 ").into_bytes();
    let damages: [(Vec<u8>, &str); 7] = [
        (Vec::new(), "empty"),
        (vec![0; whole.len()], "does not begin"),
        (flipped, "sum is wrong"),
        (newer, "another failcake"),
        (b"failcake-spool 1 many 0 x\n".to_vec(), "does not begin"),
        (vec![b'x'; 5000], "does not begin"),
        ([whole.as_slice(), b"more"].concat(), "octets are there"),
    ];
    let cuts = (1..whole.len()).map(|at| (whole[..at].to_vec(), ""));
    for (bytes, words) in damages.into_iter().chain(cuts) {
        let name = Name { number: 7, id: "damaged".to_owned() };
        fs::write(spool.path().join(name.to_string()), &bytes).unwrap();
        match spool.read(&name) {
            Err(Error::Damaged(damage)) => assert!(damage.contains(words), "{damage}"),
            other => panic!("{bytes:?} gave {other:?}"),
        }
        assert_eq!(spool.survey().unwrap().len(), 1);
    }
}

#[test]
fn what_is_no_regular_file_of_the_owner_is_never_read() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    let secret = parent.path().join("secret");
    fs::write(&secret, entry::encode("", b"secret")).unwrap();
    let [link, fifo, folder] = [1, 2, 3].map(|number| Name { number, id: "x".to_owned() });
    symlink(&secret, spool.path().join(link.to_string())).unwrap();
    mkfifo(&spool.path().join(fifo.to_string()), Mode::S_IRWXU).unwrap();
    fs::create_dir(spool.path().join(folder.to_string())).unwrap();
    for name in [&link, &fifo, &folder] {
        assert!(matches!(spool.read(name), Err(Error::Damaged(_))), "{name}");
        spool.set_aside(name, "no file").unwrap();
    }
    assert_eq!(ids(&spool), [""; 0]);
    assert!(secret.exists());
}

#[test]
fn what_is_set_aside_keeps_its_reason_and_comes_back_in_its_place() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    let names: Vec<Name> = ["a", "b", "c"].map(|id| put(&spool, id)).into();
    spool.set_aside(&names[1], "not authorized\u{1b}").unwrap();
    assert_eq!(ids(&spool), ["a", "c"]);
    assert_eq!(spool.reason(&names[1]).as_deref(), Some("not authorized "));
    assert_eq!(spool.reason(&names[0]), None);
    let survey = spool.survey().unwrap();
    let seen: Vec<_> = survey.iter().map(|entry| (entry.name.id.as_str(), entry.refused.is_some())).collect();
    assert_eq!(seen, [("a", false), ("c", false), ("b", true)]);
    assert_eq!(survey[2].about, "/topic/t\tb");
    assert!(spool.file(&survey[2]).exists());
    assert_eq!(spool.readmit().unwrap(), 1);
    assert_eq!(ids(&spool), ["a", "b", "c"]);
    assert_eq!(fs::read_dir(spool.path().join("refused")).unwrap().count(), 0, "no reason is left over");
    spool.set_aside(&names[1], "again").unwrap();
    for entry in spool.survey().unwrap() {
        spool.discard(&entry).unwrap();
    }
    assert!(spool.survey().unwrap().is_empty());
    assert_eq!(fs::read_dir(spool.path().join("refused")).unwrap().count(), 0);
    // Gone meanwhile: nothing to set aside, and no reason stays behind.
    spool.set_aside(&names[0], "late").unwrap();
    assert_eq!(fs::read_dir(spool.path().join("refused")).unwrap().count(), 0);
}

#[test]
fn a_marker_counts_for_fifteen_seconds_and_for_its_broker_only() {
    let parent = TempDir::new().unwrap();
    let spool = open(&parent);
    assert_eq!(spool.marker("one"), None);
    spool.set_marker("one", "connection refused");
    assert_eq!(spool.marker("one").as_deref(), Some("connection refused"));
    assert_eq!(spool.marker("two"), None);
    let file = spool.list().unwrap().markers[0].clone();
    let set = |seconds_ago: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let time = TimeSpec::new(now - seconds_ago, 0);
        utimensat(&spool.folder.fd, file.as_str(), &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
        spool.marker("one").is_some()
    };
    assert!(set(10));
    assert!(!set(16));
    assert!(!set(-60), "a time in the future does not count");
    assert!(!set(-100_000_000));
    // Expired, it still tells why things wait.
    assert_eq!(spool.last_failure(&spool.list().unwrap()).unwrap().1, "connection refused");
    spool.set_marker("one", "silent");
    assert_eq!(spool.marker("one").as_deref(), Some("silent"), "set anew");
    spool.clear_marker("one", &spool.list().unwrap());
    assert_eq!(spool.marker("one"), None);
}

#[test]
fn one_drains_at_a_time_and_the_lock_dies_with_its_holder() {
    let parent = TempDir::new().unwrap();
    let (one, two) = (open(&parent), open(&parent));
    let lock = one.lock_drain().unwrap().unwrap();
    assert!(two.lock_drain().unwrap().is_none());
    drop(lock);
    assert!(two.lock_drain().unwrap().is_some());
}

#[test]
fn root_sees_real_folders_of_others_and_nothing_else() {
    if !is_root() {
        return;
    }
    let parent = TempDir::new().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    put(&open(&parent), "ours");
    let theirs = parent.path().join(STRANGER.to_string());
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();
    let entry = theirs.join(Name { number: 5, id: "theirs".to_owned() }.to_string());
    fs::write(&entry, entry::encode("/topic/t\ttheirs", b"payload")).unwrap();
    chown(&entry, Some(STRANGER), None).unwrap();
    // A file that is not theirs, as a hard link to one of root's would be.
    let planted = theirs.join(Name { number: 6, id: "planted".to_owned() }.to_string());
    fs::write(&planted, entry::encode("", b"root's")).unwrap();
    chown(&theirs, Some(STRANGER), None).unwrap();
    // Names that lie: a link, a folder of another user, a file.
    symlink("/etc", parent.path().join("54322")).unwrap();
    fs::create_dir(parent.path().join("54323")).unwrap();
    fs::write(parent.path().join("54324"), "").unwrap();

    let all = Spool::find_all(parent.path(), ROOMY).unwrap();
    let owners: Vec<u32> = all.iter().map(|spool| spool.owner().as_raw()).collect();
    assert_eq!(owners, [0, STRANGER]);
    let spool = &all[1];
    let listing = spool.list().unwrap();
    assert_eq!(listing.entries.len(), 2);
    assert_eq!(spool.read(&listing.entries[0]).unwrap().unwrap().payload, b"payload");
    assert!(spool.read(&listing.entries[1]).is_err(), "root's own file can't be planted");

    // What root makes there is theirs, so that they can go on.
    drop(spool.lock_drain().unwrap().unwrap());
    spool.set_aside(&listing.entries[0], "refused").unwrap();
    for made in ["drain.lock", "refused", &format!("refused/{}.reason", listing.entries[0])] {
        assert_eq!(fs::symlink_metadata(theirs.join(made)).unwrap().uid(), STRANGER, "{made}");
    }
    // A link in place of a folder leads nowhere.
    fs::rename(theirs.join("refused"), theirs.join("old")).unwrap();
    let outside = TempDir::new().unwrap();
    symlink(outside.path(), theirs.join("refused")).unwrap();
    assert!(spool.set_aside(&listing.entries[1], "refused").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(nix::unistd::geteuid().is_root() && fs::read("/etc/shadow").is_ok(), "root's own rights are back");
}

#[test]
fn a_full_or_read_only_disk_is_told_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let parent = TempDir::new().unwrap();
    let mounted =
        nix::mount::mount(Some("tmpfs"), parent.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=64k"));
    if let Err(errno) = mounted {
        eprintln!("not run: no mount here ({errno})");
        return;
    }
    let spool = open(&parent);
    put(&spool, "small");
    let full = spool.put("large", "", &[b'x'; 100_000], PATIENCE).unwrap_err().to_string();
    let small_goes_on = spool.put("small2", "", b"x", PATIENCE).is_ok();
    let left = files(&spool);
    drop(spool);
    let flags = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(None::<&str>, parent.path(), None::<&str>, flags, None::<&str>).unwrap();
    let read_only = Spool::open(parent.path(), ROOMY).unwrap().put("c", "", b"x", PATIENCE).unwrap_err().to_string();
    nix::mount::umount2(parent.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert!(full.contains("No space left") && full.contains("make room"), "{full}");
    assert!(small_goes_on);
    assert!(!left.iter().any(|name| name.starts_with("tmp-")), "{left:?}");
    assert!(read_only.contains("Read-only") && read_only.contains("mount it writable"), "{read_only}");
}
