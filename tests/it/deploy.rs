//! `deploy`, `rollback` and `state` with real git, scripts and disks.

mod farm;
mod faults;
mod hold;
mod in_place;
mod rollback;
mod sandbox;
mod scripts;
mod submodules;
mod svn;
mod sweep;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox::{Sandbox, is_root};

#[test]
fn a_release_is_laid_out_as_people_know_it() {
    let site = Sandbox::new();
    let commit = site.commit("one", &[("index.html", "one"), ("config/app.php", "<?php")]);
    let said = site.deploy("v-one").ok();
    let current = site.current();
    assert!(current.ends_with(&format!("-{}", &commit[..7])) && current.len() == 22, "{current}");
    assert_eq!(said.out, format!("www serves v-one as release {current}\n"));
    assert_eq!(fs::read_link(site.path("current")).unwrap().to_str().unwrap(), format!("releases/{current}"));
    assert_eq!(site.read("current/REVISION"), format!("{commit}\n"));
    assert_eq!(site.read("current/index.html"), "one");
    assert_eq!(
        site.read("revisions.log"),
        format!("Branch v-one (at {commit}) deployed as release {current} by {}\n", sandbox::me())
    );
    site.assert_tidy();
}

#[test]
fn a_ref_is_a_tag_then_a_branch_then_a_full_commit() {
    let site = Sandbox::new();
    let one = site.commit("one", &[("index.html", "one")]);
    let two = site.commit("two", &[("index.html", "two")]);
    site.git(&["tag", "both", &one]);
    site.git(&["branch", "both", &two]);
    site.git(&["tag", "-a", "-m", "x", "annotated", &two]);
    site.git(&["push", "-q", "origin", "refs/tags/both", "refs/heads/both", "refs/tags/annotated"]);
    for (reference, text) in [("both", "one"), ("master", "two"), (&one, "one"), ("annotated", "two")] {
        site.deploy(reference).ok();
        assert_eq!(site.read("current/index.html"), text, "{reference}");
    }
    for reference in [
        "nope",
        &one[..10],
        "HEAD",
        "both^",
        "master~1",
        "--upload-pack=x",
        "a b",
        "x\ny",
        "../../etc",
        "",
        "refs/heads/both",
    ] {
        let said = site.run(&["deploy", "www", "--", reference]).fails(1);
        assert!(
            said.err.contains("is no tag, no branch of the remote and no full commit id"),
            "{reference:?}: {}",
            said.err
        );
    }
    assert_eq!(site.read("current/index.html"), "two");
}

#[test]
fn an_existing_clone_is_read_by_its_remote_tracking_refs() {
    let site = Sandbox::new();
    site.commit("one", &[("index.html", "one")]);
    let clone = site.root.join("clone");
    site.git(&["clone", "-q", site.root.join("repo.git").to_str().unwrap(), clone.to_str().unwrap()]);
    site.git(&["-C", clone.to_str().unwrap(), "branch", "-q", "local-only"]);
    let site = site.config(&format!("repos: {{ spog: {{ path: {} }} }}", clone.display()), "");
    site.deploy("master").ok();
    assert_eq!(site.read("current/index.html"), "one");
    site.deploy("local-only").fails(1);
    let status = site.git(&["-C", clone.to_str().unwrap(), "status", "--porcelain"]);
    assert_eq!(status, "", "the clone's own work tree and index are left alone");
}

#[test]
fn site_names_are_checked_and_unknown_ones_named() {
    let site = Sandbox::new();
    site.commit("one", &[("a", "a")]);
    let said = site.run(&["deploy", "wwx", "master"]).fails(2);
    assert!(said.err.contains("there is no site wwx: known are www"), "{}", said.err);
    for name in ["../www", "-x", "a/b", "www;id", ""] {
        site.run(&["deploy", "--", name, "master"]).fails(2);
    }
    assert!(!site.path("releases").exists());
}

#[test]
fn a_real_directory_at_current_is_refused_before_anything_is_touched() {
    let site = Sandbox::new();
    site.commit("one", &[("a", "a")]);
    fs::create_dir(site.path("current")).unwrap();
    let said = site.deploy("master").fails(1);
    assert!(
        said.err.contains("is a directory, not a link") && said.err.contains("ln -s releases/initial"),
        "{}",
        said.err
    );
    assert_eq!(site.list(""), ["current"]);
}

#[test]
fn what_is_shared_is_linked_and_a_missing_file_stops_before_anything_starts() {
    let site = Sandbox::new().shared("[uploads, config/local.php]");
    site.commit("one", &[("a", "a"), ("uploads/from-git", "x"), ("config/app.php", "x")]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("shared/config/local.php is missing"), "{}", said.err);
    assert!(site.list("releases").is_empty());

    fs::create_dir_all(site.path("shared/config")).unwrap();
    fs::write(site.path("shared/config/local.php"), "secret").unwrap();
    site.deploy("master").ok();
    assert_eq!(site.read("current/config/local.php"), "secret");
    fs::write(site.path("current/uploads/new"), "kept").unwrap();
    site.deploy("master").ok();
    site.deploy("master").ok();
    site.deploy("master").ok();
    assert_eq!(site.list("current/uploads"), ["new"]);
    assert_eq!(site.read("shared/uploads/new"), "kept");
    assert_eq!(site.read("shared/config/local.php"), "secret");
}

#[test]
fn a_link_of_the_commit_does_not_lead_a_shared_path_outside() {
    let site = Sandbox::new().shared("[config/data]");
    let outside = site.root.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, site.root.join("work/config")).unwrap();
    site.commit("one", &[("a", "a")]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("shared failed") && said.err.contains("no folder at config"), "{}", said.err);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    assert!(!site.path("current").exists());
}

#[test]
fn a_revision_link_of_the_commit_is_replaced_and_not_followed() {
    let site = Sandbox::new();
    let outside = site.root.join("outside");
    fs::write(&outside, "mine").unwrap();
    symlink(&outside, site.root.join("work/REVISION")).unwrap();
    let commit = site.commit("one", &[("a", "a")]);
    for _ in 0..4 {
        site.deploy("master").ok();
        assert_eq!(site.read("current/REVISION"), format!("{commit}\n"));
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "mine");
}

#[test]
fn an_empty_commit_and_odd_files_come_out_right() {
    let site = Sandbox::new();
    site.git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
    site.git(&["push", "-q", "origin", "HEAD:master"]);
    site.deploy("master").ok();
    assert_eq!(site.list("current"), ["REVISION"]);
    symlink("target/of link", site.root.join("work/link")).unwrap();
    site.commit("odd", &[("run", "#!/bin/sh\n"), ("d/ü \n\"x", "odd"), ("-rf", "x"), ("plain", "")]);
    site.deploy("v-odd").ok();
    assert_eq!(site.read("current/d/ü \n\"x"), "odd");
    assert_eq!(fs::read_link(site.path("current/link")).unwrap().to_str(), Some("target/of link"));
    assert_eq!(fs::metadata(site.path("current/run")).unwrap().mode() & 0o111, 0o111);
    assert_eq!(fs::metadata(site.path("current/plain")).unwrap().mode() & 0o111, 0);
}

#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let site = Sandbox::new();
    site.commit("one", &[("a", "1"), ("b", "1")]);
    let said = site.run(&["deploy", "www", "master", "--dry-run"]).ok();
    assert!(said.out.contains("would go from nothing"), "{}", said.out);
    assert!(site.list("").is_empty());
    site.deploy("master").ok();
    let before = site.list("releases");
    site.commit("two", &[("a", "2"), ("c", "1")]);
    let said = site.run(&["deploy", "www", "master", "--dry-run"]).ok();
    assert!(said.out.ends_with("M\ta\nA\tc\n2 files change\n"), "{}", said.out);
    assert_eq!((site.list("releases"), site.read("current/a").as_str()), (before, "1"));
}

#[test]
fn a_release_made_of_a_retired_one_is_exactly_its_commit_and_shares_no_inode() {
    let site = Sandbox::new().shared("[uploads]").keep(1);
    let script =
        "#!/bin/sh\ntouch built; mkdir -p cache/deep; touch cache/deep/x; chmod 600 same; echo app > app-data\n";
    site.commit(
        "1",
        &[("same", "same"), ("gone", "x"), ("dir/file", "x"), (".gitignore", "built\n"), ("deploy/pre-deploy", script)],
    );
    site.deploy("master").ok();
    site.deploy("master").ok();
    site.deploy("master").ok();
    assert!(site.path(".failcake/spare/tree").is_dir(), "keep 1 and its predecessor, and one to make the next of");
    let spare = fs::metadata(site.path(".failcake/spare/tree")).unwrap().ino();
    fs::write(site.path(".failcake/spare/tree/same"), "SAME").unwrap();
    fs::remove_file(site.root.join("work/gone")).unwrap();
    fs::remove_dir_all(site.root.join("work/dir")).unwrap();
    fs::remove_dir_all(site.root.join("work/deploy")).unwrap();
    site.commit("2", &[("dir", "a file now"), ("new/one", "1")]);
    site.deploy("master").ok();
    assert_eq!(fs::metadata(site.path("current/")).unwrap().ino(), spare, "it was made of the spare");
    assert_eq!(site.list("current"), [".gitignore", "REVISION", "dir", "new", "same", "uploads"]);
    assert_eq!(site.read("current/same"), "same");
    assert_eq!(fs::metadata(site.path("current/same")).unwrap().mode() & 0o777, 0o644);
    for release in site.list("releases") {
        assert_eq!(fs::metadata(site.path(&format!("releases/{release}/same"))).unwrap().nlink(), 1);
    }
}

#[test]
fn a_replaced_release_is_not_touched_within_its_grace_or_while_a_process_stands_in_it() {
    let site = Sandbox::new().keep(1);
    site.commit("one", &[("a", "a")]);
    site.deploy("master").ok();
    let first = site.current();
    let mut stands = std::process::Command::new("sleep").arg("600").current_dir(site.path("current/")).spawn().unwrap();
    for _ in 0..3 {
        site.deploy("master").ok();
    }
    assert!(site.list("releases").contains(&first));
    stands.kill().unwrap();
    stands.wait().unwrap();
    site.deploy("master").ok();
    assert!(!site.list("releases").contains(&first));

    let site = site.config("", "grace: 1h");
    let before = site.list("releases");
    for _ in 0..3 {
        site.deploy("master").ok();
    }
    assert_eq!(site.list("releases").len(), before.len() + 3);
}

#[test]
fn a_reader_never_sees_a_missing_or_mixed_release() {
    let site = Sandbox::new().keep(2);
    for n in 0..2 {
        let name = n.to_string();
        let files: Vec<(String, &str)> = (0..20).map(|f| (format!("f{f}"), name.as_str())).collect();
        site.commit(&name, &files.iter().map(|(f, t)| (f.as_str(), *t)).collect::<Vec<_>>());
    }
    site.deploy("v-0").ok();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                // By path: never a missing file. Through one opened folder: one release.
                fs::read(site.path("current/f0")).unwrap();
                let folder = fs::File::open(site.path("current/")).unwrap();
                let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
                let read = |f| fs::read_to_string(format!("/proc/self/fd/{fd}/f{f}")).unwrap();
                let first = read(0);
                assert!((1..20).all(|f| read(f) == first));
                seen += 1;
            }
            seen
        });
        // The grace of 0 s would let a release go that the reader has just opened.
        let site = site.clone_with("grace: 60s");
        for n in 0..50 {
            site.deploy(&format!("v-{}", n % 2)).ok();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 50);
    });
}

#[test]
fn the_sites_folder_is_made_where_its_parent_is_and_only_for_a_deploy() {
    let site = Sandbox::new();
    site.commit("one", &[("a", "a")]);
    fs::remove_dir(site.path("")).unwrap();
    site.run(&["deploy", "www", "master", "--dry-run"]).ok();
    let said = site.run(&["rollback", "www"]).fails(1);
    assert!(said.err.contains("nothing was ever deployed there"), "{}", said.err);
    site.deploy("mastre").fails(1);
    assert!(!site.path("").exists());
    site.deploy("master").ok();
    assert_eq!(site.read("current/a"), "a");
    let deep = site.clone_with(&format!("path: {}", site.root.join("no/such/site").display()));
    let said = deep.deploy("master").fails(1);
    let wanted = format!("install -d -o {} {}", me_now(), site.root.join("no/such/site").display());
    assert!(said.err.contains(&wanted), "{}", said.err);
}

fn me_now() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

#[test]
fn root_becomes_the_sites_user_for_files_and_scripts() {
    if !is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let site = Sandbox::new();
    site.commit(
        "one",
        &[("a", "a"), ("deploy/pre-deploy", "#!/bin/sh\nid -un > who; id -G >> who; echo $HOME >> who\n")],
    );
    fs::set_permissions(&site.root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_dir(site.path("")).unwrap();
    let site = site.config("", "user: nobody");
    site.run(&["deploy", "www", "master", "--dry-run"]).ok();
    assert!(!site.path("").exists(), "a dry run touches nothing");
    site.deploy("master").ok();
    assert_eq!(site.read("current/who").lines().next(), Some("nobody"));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    let asked_by = format!("by {}\n", sandbox::me());
    assert!(site.read("revisions.log").ends_with(&asked_by), "who asked, not whom it became");
    for path in ["", "releases", "current/", "current/a", "revisions.log", ".failcake/lock"] {
        assert_eq!(fs::metadata(site.path(path)).unwrap().uid(), nobody, "{path}");
    }
}

#[test]
fn a_release_that_capistrano_left_is_adopted_and_can_be_gone_back_to() {
    let site = Sandbox::new();
    let commit = site.commit("one", &[("a", "a")]);
    fs::create_dir_all(site.path("releases/20200101000000")).unwrap();
    fs::write(site.path("releases/20200101000000/REVISION"), &commit).unwrap();
    symlink(site.path("releases/20200101000000"), site.path("current")).unwrap();
    site.deploy("master").ok();
    assert_ne!(site.current(), "20200101000000");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.current(), "20200101000000");
}
