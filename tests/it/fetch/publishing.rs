//! The modes that publish: directories that are always whole, and nobody else's ever touched.

use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::*;

/// A machine whose repository has more keys.
pub(super) fn publishing(keys: &str) -> Machine {
    let machine = Machine::new();
    configure(&machine, keys);
    machine
}

pub(super) fn configure(machine: &Machine, keys: &str) {
    let spog = machine.spog();
    let keys = keys.replace("ROOT", machine.folder.path().to_str().unwrap());
    machine
        .configure("broker: stomp://127.0.0.1:1\n", &format!("{}, {keys} }}\n", spog.trim_end().trim_end_matches('}')));
}

/// Commits these files, and only these, and pushes them to a branch.
pub(super) fn push(machine: &Machine, branch: &str, files: &[(&str, &str)]) -> String {
    machine.git("work", &["rm", "-rq", "--ignore-unmatch", "."]);
    for (name, text) in files {
        machine.write(&format!("work/{name}"), text);
    }
    machine.git("work", &["add", "-A", "."]);
    machine.git("work", &["commit", "-q", "--allow-empty", "-m", "x"]);
    machine.git("work", &["push", "-q", "-f", "origin", &format!("HEAD:refs/heads/{branch}")]);
    machine.git("work", &["rev-parse", "HEAD"])
}

pub(super) fn list(machine: &Machine, folder: &str) -> Vec<String> {
    let names = fs::read_dir(machine.path(folder)).unwrap();
    let mut names: Vec<String> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn each_branch_has_a_directory_that_follows_it() {
    let machine = publishing("mode: branches, target: ROOT/env");
    push(&machine, "master", &[("a", "1"), ("old", "1")]);
    push(&machine, "feature/x", &[("a", "x")]);
    push(&machine, "-fr", &[("a", "x")]);
    push(&machine, "x;$(touch${IFS}PWNED)", &[("a", "x")]);
    machine.fetch(&[]).ok();
    let names = [".failcake", "_fr", "feature_x", "master", "x___touch__IFS_PWNED_"];
    assert_eq!(list(&machine, "env"), names);
    assert!(!machine.path("PWNED").exists() && !machine.path("env/master/PWNED").exists());

    let _ = fs::remove_file(machine.path("calls"));
    assert_eq!(machine.fetch(&[]).ok(), "unchanged: [spog]\n");
    assert_eq!(machine.read("calls").lines().count(), 1, "one ls-remote: {}", machine.read("calls"));

    let untouched = fs::metadata(machine.path("env/feature_x")).unwrap().ino();
    let commit = push(&machine, "master", &[("a", "2"), ("new/b", "2")]);
    machine.git("work", &["push", "-q", "origin", ":refs/heads/-fr"]);
    let said = machine.fetch(&[]).ok();
    let path = machine.path("env/master");
    assert!(said.contains(&format!("published: [spog] refs/heads/master {commit} to {}\n", path.display())), "{said}");
    assert!(said.contains("removed: [spog] refs/heads/-fr from "), "{said}");
    assert_eq!(list(&machine, "env/master"), ["REVISION", "a", "new"]);
    assert_eq!(machine.read("env/master/REVISION").trim(), commit);
    assert_eq!(fs::metadata(machine.path("env/feature_x")).unwrap().ino(), untouched);
    assert!(!machine.path("env/_fr").exists());
}

#[test]
fn names_for_puppet_with_a_prefix_and_only_what_is_wanted() {
    let machine = publishing(
        "mode: branches, target: ROOT/env, names: puppet, prefix: web_, only: ['rel*', master], ignore: ['*-wip']",
    );
    for branch in ["rel-1.0", "rel-2-wip", "other", "master"] {
        push(&machine, branch, &[("a", "1")]);
    }
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "env"), [".failcake", "web_master", "web_rel_1_0"]);
}

#[test]
fn two_branches_never_share_a_directory() {
    let machine = publishing("mode: branches, target: ROOT/env");
    push(&machine, "a/b", &[("a", "first")]);
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("env/a_b/a"), "first");
    push(&machine, "a_b", &[("a", "second")]);
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("would all be the directory a_b: refs/heads/a/b is"), "{}", said.err);
    assert_eq!(machine.read("env/a_b/a"), "first", "whoever has it keeps it");
}

#[test]
fn what_somebody_else_put_there_is_never_touched() {
    let machine = publishing("mode: branches, target: ROOT/env");
    machine.write("env/master/mine", "mine");
    machine.write("env/manual/mine", "mine");
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("was not published from here") && said.err.contains("--adopt"), "{}", said.err);
    assert_eq!(machine.read("env/master/mine"), "mine");

    let said = machine.fetch(&["--adopt"]).ok();
    assert!(said.contains("moved aside: [spog] "), "{said}");
    assert!(machine.path("env/master/REVISION").exists() && !machine.path("env/master/mine").exists());
    let kept = &list(&machine, "env/.failcake/spog/adopted")[0];
    assert_eq!(machine.read(&format!("env/.failcake/spog/adopted/{kept}/mine")), "mine");
    assert_eq!(machine.read("env/manual/mine"), "mine");

    // Somebody replaces what was published by something of their own; then the branch goes.
    fs::remove_dir_all(machine.path("env/master")).unwrap();
    machine.write("env/master/theirs", "theirs");
    push(&machine, "other", &[("a", "1")]);
    machine.git("spog.git", &["symbolic-ref", "HEAD", "refs/heads/other"]);
    machine.git("work", &["push", "-q", "origin", ":refs/heads/master"]);
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("env/master/theirs"), "theirs");
}

#[test]
fn a_remote_that_lost_most_of_its_branches_removes_nothing() {
    let machine = publishing("mode: branches, target: ROOT/env");
    for n in 0..8 {
        push(&machine, &format!("b{n}"), &[("a", "1")]);
    }
    machine.fetch(&[]).ok();
    for n in 0..4 {
        machine.git("work", &["push", "-q", "origin", &format!(":refs/heads/b{n}")]);
    }
    for _ in 0..2 {
        let said = machine.fetch(&[]);
        assert_eq!(said.status, Some(1));
        assert!(said.err.contains("4 of 9 directories would be removed, so none was"), "{}", said.err);
    }
    assert_eq!(list(&machine, "env").len(), 10);
    machine.fetch(&["--allow-mass-removal"]).ok();
    assert_eq!(list(&machine, "env").len(), 6);
}

#[test]
fn one_branch_is_the_target_itself() {
    let machine = publishing("mode: branch, target: ROOT/www/site");
    fs::create_dir_all(machine.path("www/site")).unwrap();
    let commit = push(&machine, "master", &[("index.html", "one")]);
    push(&machine, "other", &[("index.html", "other")]);
    machine.fetch(&[]).ok();
    assert_eq!((machine.read("www/site/index.html"), machine.read("www/site/REVISION")), ("one".into(), commit + "\n"));
    configure(&machine, "mode: branch, branch: other, target: ROOT/www/site");
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("www/site/index.html"), "other");
    assert_eq!(list(&machine, "www"), [".site.failcake", "site"]);
    configure(&machine, "mode: branch, branch: missing, target: ROOT/www/site");
    let said = machine.fetch(&[]);
    assert!(said.err.contains("refs/heads/missing is not there"), "{}", said.err);
    assert_eq!(machine.read("www/site/index.html"), "other", "the last good tree serves on");
}

#[test]
fn branches_side_by_side_and_tags() {
    let machine = publishing("mode: branches-flat, target: ROOT/www/site");
    fs::create_dir(machine.path("www")).unwrap();
    let commit = push(&machine, "master", &[("a", "1")]);
    push(&machine, "dev", &[("a", "2")]);
    machine.git("work", &["tag", "-a", "-m", "text", "v1", &commit]);
    machine.git("work", &["push", "-q", "origin", "v1"]);
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "www"), [".site.failcake", "site_dev", "site_master"]);
    configure(&machine, "mode: tags, target: ROOT/tags");
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("tags/v1/REVISION").trim(), commit, "the commit, not the tag's own object");
    machine.git("work", &["tag", "-f", "v1", "HEAD"]);
    machine.git("work", &["push", "-qf", "origin", "v1"]);
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("tags/v1/a"), "2", "a tag that was moved");
}

/// Files of the tree that is read: one that git writes first, one that it writes last, and some between.
const READ: [&str; 5] = ["a", "deep/b", "deep/er/c", "m", "z"];
/// Of two readers together.
const READS: u32 = 1_000_000;

#[test]
fn in_a_million_reads_no_reader_sees_a_mixed_or_missing_tree() {
    let machine = publishing("mode: branch, target: ROOT/site, grace: 60s");
    let files = |text: &'static str| READ.map(|name| (name, text));
    let commits = ["1", "2"].map(|text| push(&machine, "master", &files(text)));
    machine.fetch(&[]).ok();
    let site = machine.path("site");
    let (read, exchanges, failed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let is_enough = || read.load(Ordering::Relaxed) >= READS && exchanges.load(Ordering::Relaxed) >= 10;
    let is_over = || is_enough() || failed.load(Ordering::Relaxed);
    let open = |folder: Option<&fs::File>, path: &std::path::Path| {
        let dir = folder.map_or(nix::fcntl::AT_FDCWD, AsFd::as_fd);
        let file = nix::fcntl::openat(dir, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        fs::File::from(file.unwrap_or_else(|errno| panic!("{}: {errno}", path.display())))
    };
    let text = |folder: Option<&fs::File>, path: &std::path::Path| {
        let (mut file, mut octets) = (open(folder, path), [0; 64]);
        let length = file.read(&mut octets).unwrap();
        read.fetch_add(1, Ordering::Relaxed);
        octets[..length].to_vec()
    };
    std::thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                while !is_over() {
                    // Through one descriptor: what a reader sees who opened the directory once.
                    let folder = open(None, &site);
                    let seen = READ.map(|name| text(Some(&folder), name.as_ref()));
                    assert!(seen[0].len() == 1 && seen.iter().all(|it| *it == seen[0]), "a mixed view: {seen:?}");
                    // By its path: each file is there, and whole, of whichever tree.
                    for name in READ {
                        let seen = text(None, &site.join(name));
                        assert!(seen == b"1" || seen == b"2", "{name}: {seen:?}");
                    }
                }
            })
        });
        while readers.iter().all(|reader| !reader.is_finished()) {
            let commit = &commits[usize::from(exchanges.load(Ordering::Relaxed) % 2 == 1)];
            machine.write("spog.git/refs/heads/master", &format!("{commit}\n"));
            assert!(machine.fetch(&[]).ok().contains("published: "));
            exchanges.fetch_add(1, Ordering::Relaxed);
        }
        failed.store(!is_enough(), Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(is_enough());
}

#[test]
fn a_big_tree_is_made_of_the_one_that_was_replaced() {
    let machine = publishing("mode: branch, target: ROOT/site, grace: 0s");
    let texts: Vec<(String, String)> = (0..2100).map(|n| (format!("d{}/f{n}", n % 20), n.to_string())).collect();
    let mut files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    push(&machine, "master", &files);
    machine.fetch(&[]).ok();
    let first = fs::metadata(machine.path("site")).unwrap().ino();
    files[0].1 = "changed";
    push(&machine, "master", &files);
    machine.fetch(&[]).ok();
    // What people do to a tree that is no longer theirs to change.
    let trees = machine.path("").join(".site.failcake/spog/trees");
    let spare = fs::read_dir(trees).unwrap().map(|it| it.unwrap().path()).find(|path| path.is_dir()).unwrap();
    fs::write(spare.join("d1/f1"), "scribbled").unwrap();
    fs::write(spare.join("stray"), "stray").unwrap();
    files.remove(5);
    push(&machine, "master", &files);
    machine.fetch(&[]).ok();
    assert_eq!(fs::metadata(machine.path("site")).unwrap().ino(), first, "the first tree is back");
    assert_eq!((machine.read("site/d0/f0"), machine.read("site/d1/f1")), ("changed".into(), "1".into()));
    assert!(!machine.path("site/stray").exists() && !machine.path("site/d5/f5").exists());
}

#[test]
fn killed_at_any_moment_it_leaves_a_whole_tree_and_the_next_run_finishes() {
    let machine = publishing("mode: branch, target: ROOT/site, grace: 0s");
    let texts: Vec<String> = (0..300).map(|n| format!("f{n}")).collect();
    let files = |text: &'static str| texts.iter().map(|name| (name.as_str(), text)).collect::<Vec<_>>();
    push(&machine, "master", &files("0"));
    machine.fetch(&[]).ok();
    for round in 0..25_u64 {
        let text = ["1", "2"][usize::from(round % 2 == 0)];
        push(&machine, "master", &files(text));
        let mut child = machine.command_fetch(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(4 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let first = machine.read("site/f0");
        for name in &texts {
            assert_eq!(machine.read(&format!("site/{name}")), first, "a mixture after a kill");
        }
        machine.fetch(&[]).ok();
        assert_eq!(machine.read("site/f299"), text);
    }
    machine.fetch(&[]).ok();
    let left = list(&machine, ".site.failcake/spog/trees");
    assert!(left.len() <= 2, "only the live tree's index, and what was just replaced: {left:?}");
}

#[test]
fn in_place_refuses_to_destroy_local_changes() {
    let machine = publishing("mode: in-place");
    let first = push(&machine, "master", &[("a", "1"), ("b", "1")]);
    machine.fetch(&[]).ok();
    assert_eq!((machine.read("clones/spog/a"), machine.read("clones/spog/b")), ("1".into(), "1".into()));
    push(&machine, "master", &[("a", "2")]);
    machine.write("clones/spog/untracked", "mine");
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "clones/spog"), [".git", "a", "untracked"]);

    machine.write("clones/spog/a", "edited");
    push(&machine, "master", &[("a", "3")]);
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("has local changes (a)") && said.err.contains("force: true"), "{}", said.err);
    assert_eq!(machine.read("clones/spog/a"), "edited");
    machine.git("clones/spog", &["commit", "-qam", "local"]);
    let said = machine.fetch(&[]);
    assert!(said.err.contains("has local commits"), "{}", said.err);

    configure(&machine, "mode: in-place, force: true");
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("clones/spog/a"), "3");
    configure(&machine, "mode: in-place");
    // A history that was rewritten is no local commit: what was there was put there from the remote.
    machine.git("work", &["push", "-qf", "origin", &format!("{first}:refs/heads/master")]);
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("clones/spog/b"), "1");
}

#[test]
fn programs_run_before_and_after_a_publication() {
    let exec = "exec: { before: [ROOT/before, x], after: [ROOT/after], retries: 1, timeout: 20s }";
    let machine = publishing(&format!("mode: branches, target: ROOT/env, {exec}"));
    machine.script(
        "before",
        "env | grep ^FAILCAKE_ | sort >../../../../../before.env; [ ! -e refuse ] || { echo no good >&2; exit 1; }",
    );
    machine.script("after", "cd ..; echo \"$FAILCAKE_ATTEMPT $(cat master/a)\" >>../after.log; [ -e ../mended ]");
    let commit = push(&machine, "master", &[("a", "1")]);
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("is published to ") && said.err.contains("exec: after:"), "{}", said.err);
    assert_eq!((machine.read("env/master/a"), machine.read("after.log")), ("1".into(), "1 1\n2 1\n".into()));
    let told = machine.read("before.env");
    for line in
        [format!("FAILCAKE_COMMIT={commit}"), "FAILCAKE_REF=refs/heads/master".into(), "FAILCAKE_REPO=spog".into()]
    {
        assert!(told.lines().any(|it| it == line), "{line} in {told}");
    }
    machine.write("mended", "");
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("after.log"), "1 1\n2 1\n1 1\n", "what is owed is run by the next look");
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("after.log").lines().count(), 3, "and once");
    push(&machine, "master", &[("a", "2"), ("refuse", "")]);
    let said = machine.fetch(&[]);
    assert!(said.err.contains("exec: before:") && said.err.contains("no good"), "{}", said.err);
    assert_eq!(machine.read("env/master/a"), "1", "the old tree serves on");
}

/// A machine of root's with `user: nobody` and folders that only root may change; what nobody's git and failcake need is
/// theirs. `None` where this is not root.
pub(super) fn of_nobody(keys: &str) -> Option<(Machine, u32)> {
    if !nix::unistd::geteuid().is_root() {
        println!("not run: only root can become another user");
        return None;
    }
    let machine = publishing(&format!("{keys}, user: nobody"));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    for folder in ["", "spog.git"] {
        fs::set_permissions(machine.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for folder in ["clones", "www"] {
        fs::create_dir(machine.path(folder)).unwrap();
    }
    std::os::unix::fs::chown(machine.path("clones"), Some(nobody), None).unwrap();
    machine.write("gitconfig", &(machine.read("gitconfig") + "[safe]\ndirectory = *\n"));
    // Where its git writes what it was called for.
    machine.script("bin/git", "PATH=${PATH#*:}\nexec git \"$@\"");
    Some((machine, nobody))
}

#[test]
fn the_tree_is_its_users_in_a_folder_that_only_root_may_change() {
    let Some((machine, nobody)) = of_nobody("mode: branch, target: ROOT/www/site") else { return };
    machine.fetch(&[]).ok();
    push(&machine, "master", &[("a", "1")]);
    machine.fetch(&[]).ok();
    for path in
        ["www/site", "www/site/a", "www/site/REVISION", "www/.site.failcake", "www/.site.failcake/spog/state.json"]
    {
        assert_eq!(fs::metadata(machine.path(path)).unwrap().uid(), nobody, "{path}");
    }
    assert_eq!(fs::metadata(machine.path("www")).unwrap().uid(), 0);
}

#[test]
fn several_trees_at_a_time_are_their_users_too() {
    let Some((machine, nobody)) = of_nobody("mode: branches-flat, target: ROOT/www/site") else { return };
    for branch in ["a", "b", "c", "d", "e", "f"] {
        push(&machine, branch, &[("file", branch), ("folder/file", branch)]);
    }
    machine.fetch(&[]).ok();
    for branch in ["a", "b", "c", "d", "e", "f"] {
        for path in ["", "/file", "/folder", "/folder/file", "/REVISION"] {
            let path = format!("www/site_{branch}{path}");
            assert_eq!(fs::metadata(machine.path(&path)).unwrap().uid(), nobody, "{path}");
        }
    }
}

#[test]
fn root_moves_nothing_to_where_its_user_would_like_to_have_it() {
    let Some((machine, _)) = of_nobody("mode: branches-flat, target: ROOT/www/site") else { return };
    push(&machine, "a", &[("profile", "mine")]);
    push(&machine, "b", &[("profile", "mine")]);
    machine.fetch(&[]).ok();
    machine.git("work", &["push", "-q", "origin", ":refs/heads/a"]);
    fs::create_dir(machine.path("secret")).unwrap();
    let (work, state) = (machine.path("www/.site.failcake/spog"), "www/.site.failcake/spog/state.json");
    let good = machine.read(state);
    let json: serde_json::Value = serde_json::from_str(&good).unwrap();
    let tree = json["published"]["a"]["tree"].as_str().unwrap();
    // The user writes another place into what root reads.
    let secret = machine.path("secret/x").display().to_string();
    for place in [secret.as_str(), "../../../../secret/x", "..", ""] {
        machine.write(state, &good.replace(tree, place));
        let said = machine.fetch(&[]);
        assert!(said.status == Some(1) && said.err.contains("is no state of ours"), "{said:?}");
    }
    machine.write(state, &good.replace("\"a\": {", "\"../secret\": {"));
    let said = machine.fetch(&[]);
    assert!(said.status == Some(1) && said.err.contains("is no directory"), "{said:?}");
    machine.write(state, &good);
    // Or lays a link where root works.
    fs::rename(work.join("trees"), work.join("away")).unwrap();
    std::os::unix::fs::symlink(machine.path("secret"), work.join("trees")).unwrap();
    let said = machine.fetch(&[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(list(&machine, "secret"), [""; 0], "{said:?}");
    assert_eq!(machine.read("www/site_a/profile"), "mine");
    fs::remove_file(work.join("trees")).unwrap();
    fs::rename(work.join("away"), work.join("trees")).unwrap();
    machine.fetch(&[]).ok();
    assert_eq!(list(&machine, "www"), [".site.failcake", "site_b", "site_master"]);
}

#[test]
fn a_tree_moves_only_to_what_has_passed_its_tests() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let url = format!("file://{}", machine.path("spog.git").display());
    let keys = format!("mode: branch, listen: jenkins-success, target: {}", machine.path("site").display());
    let spog = machine.spog();
    let repos = format!("{}, {keys} }}\n", spog.trim_end().trim_end_matches('}'));
    machine.configure(&broker.configuration(), &repos);
    let first = push(&machine, "master", &[("a", "1")]);
    let _watcher = machine.watch(&[]);
    machine.says("listening to");
    machine.says("cloned: [spog]");
    machine.says("refs/heads/master is not there (yet, or any more), nothing was published");
    let passed = |commit: &str| {
        let mut command = machine.command(BINARY);
        command.arg("-c").arg(machine.path("failcake.yaml")).args(["jenkins-status", "success"]);
        command.env("JOB_NAME", "spog-tests").env("BUILD_NUMBER", "7").env("GIT_URL", &url);
        command.env("GIT_BRANCH", "origin/master").env("GIT_COMMIT", commit);
        assert_eq!(Said::new(&command.output().unwrap()).status, Some(0));
    };
    passed(&first);
    machine.says(&format!("published: [spog] refs/heads/master {first} to "));
    let second = push(&machine, "master", &[("a", "2")]);
    broker.tell("spog", &second);
    let third = push(&machine, "master", &[("a", "3")]);
    passed(&third);
    machine.says(&format!("published: [spog] refs/heads/master {third} to "));
    // Late, and of no commit at all.
    passed(&second);
    passed(&"a".repeat(40));
    let fourth = push(&machine, "master", &[("a", "4")]);
    passed(&fourth);
    machine.says(&format!("published: [spog] refs/heads/master {fourth} to "));
    assert!(!machine.read("log").contains(&format!("master {second} to ")), "{}", machine.read("log"));
    push(&machine, "master", &[("a", "5")]);
    machine.fetch(&[]).ok();
    assert_eq!(machine.read("site/a"), "4", "a look by hand or by the clock publishes nothing untested");
}

#[test]
fn a_full_disk_leaves_the_old_tree_and_the_next_run_repairs() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let machine = publishing("mode: branch, target: ROOT/disk/site, grace: 0s");
    push(&machine, "master", &[("a", "one")]);
    fs::create_dir(machine.path("disk")).unwrap();
    let big = "x".repeat(3 << 20);
    push(&machine, "two", &[("a", "two"), ("big", &big)]);
    // In a mount namespace of its own, which takes the disk away at its end.
    let run = "mount -t tmpfs -o size=2m tmpfs disk && $F fetch && [ $(cat disk/site/a) = one ] || exit 90
        git -C work push -qf origin two:master || exit 91
        $F fetch && exit 92
        [ $(cat disk/site/a) = one ] && [ -s disk/site/REVISION ] || exit 93
        mount -o remount,ro disk && $F fetch && exit 94
        [ $(cat disk/site/a) = one ] || exit 95
        mount -o remount,rw,size=16m disk && $F fetch && [ $(cat disk/site/a) = two ] || exit 96
        $F fetch && [ $(ls disk/.site.failcake/spog/trees | wc -l) = 1 ] || exit 97";
    machine.git("work", &["branch", "two"]);
    let mut command = machine.command("unshare");
    let failcake = format!("{BINARY} -c {}", machine.path("failcake.yaml").display());
    let output = command.args(["-m", "sh", "-c", run]).env("F", failcake).output().unwrap();
    let said = Said::new(&output);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(said.err.contains("the disk is full: free some space"), "{}", said.err);
    assert!(said.err.to_lowercase().contains("read-only"), "{}", said.err);
}
