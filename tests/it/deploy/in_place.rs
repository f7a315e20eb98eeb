//! Sites in one folder.

use std::fs;
use std::os::unix::fs::symlink;

use super::sandbox::Sandbox;

fn in_place() -> Sandbox {
    Sandbox::new().config("", "mode: in-place")
}

#[test]
fn the_tree_is_changed_where_it_is_and_what_others_put_there_stays() {
    let site = in_place();
    let log = "#!/bin/sh\necho \"$(basename $0) $FAILCAKE_REF $FAILCAKE_ROLLBACK $(cat index.html)\" >> ../../order\n";
    let scripts = [("deploy/pre-deploy", log), ("deploy/post-deploy", log)];
    fs::create_dir(site.path("current")).unwrap();
    fs::write(site.path("current/upload"), "mine").unwrap();
    fs::write(site.path("current/index.html"), "theirs").unwrap();
    site.commit("one", &[("index.html", "one"), ("gone", "x"), scripts[0], scripts[1]]);
    site.deploy("v-one").ok();
    fs::remove_file(site.root.join("work/gone")).unwrap();
    let two = site.commit("two", &[("index.html", "two")]);
    site.deploy("v-two").ok();
    assert_eq!(site.list("current"), ["REVISION", "deploy", "index.html", "upload"]);
    assert_eq!((site.read("current/index.html"), site.read("current/upload")), ("two".into(), "mine".into()));
    assert_eq!(site.read("current/REVISION"), format!("{two}\n"));
    assert_eq!(site.read("revisions.log").lines().count(), 2);
    let state = site.run(&["state", "www"]).ok().out;
    assert!(state.contains("v-two") && state.contains(": live since"), "{state}");

    fs::write(site.path("current/index.html"), "edited by hand").unwrap();
    site.run(&["rollback", "www"]).ok();
    assert_eq!((site.read("current/index.html"), site.read("current/gone")), ("one".into(), "x".into()));
    assert_eq!(
        fs::read_to_string(site.root.join("order")).unwrap(),
        "post-deploy v-one 0 one\npre-deploy v-two 0 one\npost-deploy v-two 0 two\npost-deploy v-one 1 one\n"
    );
    assert!(site.run(&["rollback", "www"]).fails(1).err.contains("no earlier good release"));
    site.run(&["rollback", "www", "--to", "v-two"]).ok();
    assert_eq!(site.read("current/index.html"), "two");
    let said = site.run(&["rollback", "www", "--to", "v-none"]).fails(1);
    assert!(said.err.contains("there is no release v-none here") && said.err.contains("v-one ("), "{}", said.err);
    assert!(!site.path("releases").exists());
}

#[test]
fn a_post_deploy_that_fails_brings_the_files_back() {
    let site = in_place();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    site.commit_script("bad", "post-deploy", "exit 1");
    let said = site.deploy("master").fails(1);
    assert!(
        said.err.contains("post-deploy failed: it exited with status 1") && said.err.contains("serves on"),
        "{}",
        said.err
    );
    assert_eq!(site.read("current/index.html"), "good");
    assert!(!site.path("current/deploy").exists());
    let state = site.run(&["state", "www"]).ok().out;
    assert!(state.contains("v-good") || state.contains("master"), "{state}");
    assert!(state.lines().any(|line| line.starts_with('*') && line.contains("live since")), "{state}");
}

#[test]
fn a_link_is_refused_and_so_is_a_site_of_the_other_kind() {
    let site = Sandbox::new();
    site.commit("one", &[("index.html", "one")]);
    site.deploy("master").ok();
    let other = site.clone_with("mode: in-place");
    let said = other.deploy("master").fails(1);
    assert!(said.err.contains("is no folder, and mode: in-place changes a folder"), "{}", said.err);
    let fresh = in_place();
    fresh.commit("one", &[("index.html", "one")]);
    symlink("/etc", fresh.path("current")).unwrap();
    fresh.deploy("master").fails(1);
}

#[test]
fn only_keep_records_stay() {
    let site = in_place().keep(2);
    for name in ["a", "b", "c", "d"] {
        site.commit(name, &[("index.html", name)]);
        site.deploy("master").ok();
    }
    assert_eq!(site.list(".failcake/releases").iter().filter(|name| name.ends_with(".json")).count(), 2);
    assert_eq!(site.read("current/index.html"), "d");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "c");
}
