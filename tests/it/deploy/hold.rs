//! A person's freeze, and what could be deployed.

use std::fs;
use std::process::Stdio;

use super::sandbox::{Said, Sandbox, me};
use super::scripts::wait_for;

#[test]
fn nothing_is_deployed_or_rolled_back_while_somebody_holds_the_site() {
    let site = Sandbox::new();
    for name in ["one", "two"] {
        site.commit(name, &[("index.html", name)]);
        site.deploy("master").ok();
    }
    let said = site.run(&["hold", "www", "--reason", "database\nmigration"]).ok();
    assert!(said.out.starts_with(&format!("www is held by {} since 2", me())), "{}", said.out);
    let wanted = format!("held by {} since 2", me());
    for args in [&["deploy", "www", "v-one"][..], &["deploy", "www", "v-one", "--dry-run"], &["rollback", "www"]] {
        let said = site.run(args).fails(1);
        assert!(
            said.err.contains(&format!("www: {wanted}"))
                && said.err.contains(": database migration. `failcake unhold www`"),
            "{}",
            said.err
        );
    }
    let said = site.run(&["hold", "www", "--reason", "mine"]).fails(1);
    assert!(said.err.contains(&wanted), "{}", said.err);
    assert!(site.run(&["state", "www"]).ok().out.contains(&format!("\n  {wanted}")));
    let state: serde_json::Value = serde_json::from_str(&site.run(&["state", "--json"]).ok().out).unwrap();
    assert_eq!(state[0]["hold"]["reason"], "database migration");
    assert_eq!(site.read("current/index.html"), "two");

    let said = site.run(&["unhold", "www"]).ok();
    assert!(said.out.starts_with("www is free again; it was held by"), "{}", said.out);
    assert_eq!(site.run(&["unhold", "www"]).ok().out, "www was not held\n");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "one");
    // What somebody who was killed left half written holds as well.
    fs::write(site.path(".failcake/hold"), "").unwrap();
    let said = site.deploy("v-two").fails(1);
    assert!(said.err.contains("held by somebody since 2"), "{}", said.err);
    site.run(&["hold", "www", "--reason", ""]).fails(2);
}

#[test]
fn a_hold_that_comes_while_scripts_run_or_others_wait_is_heeded() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    site.commit_script("slow", "pre-deploy", "touch ../../../started; while [ ! -e ../../../go ]; do sleep 0.02; done");
    let spawn = |args: &[&str]| site.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let slow = spawn(&["deploy", "www", "v-slow"]);
    wait_for(|| site.root.join("started").exists());
    let waits = spawn(&["rollback", "www", "--wait"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    site.run(&["hold", "www", "--reason", "stop"]).ok();
    fs::write(site.root.join("go"), "").unwrap();
    for child in [slow, waits] {
        let said = Said::of(child.wait_with_output().unwrap()).fails(1);
        assert!(said.err.contains("held by"), "{}", said.err);
    }
    assert_eq!(site.read("current/index.html"), "good");
}

#[test]
fn a_site_can_be_held_before_its_first_deploy() {
    let site = Sandbox::new();
    site.commit("one", &[("index.html", "one")]);
    fs::remove_dir(site.path("")).unwrap();
    site.run(&["hold", "www", "--reason", "not yet"]).ok();
    site.deploy("master").fails(1);
    site.run(&["unhold", "www"]).ok();
    site.deploy("master").ok();
}

#[test]
fn tags_tells_what_could_be_deployed_and_what_is_live_where() {
    let site = Sandbox::new();
    let one = site.commit("one", &[("index.html", "one")]);
    site.git(&["tag", "-a", "-m", "x", "annotated", &one]);
    site.git(&["tag", "tree", "HEAD^{tree}"]);
    site.git(&["push", "-q", "origin", "annotated", "tree"]);
    site.commit("two", &[("index.html", "two")]);
    site.deploy("v-one").ok();
    let said = site.run(&["tags", "spog", "--json"]).ok();
    let tags: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let mut names: Vec<&str> = tags.iter().map(|tag| tag["tag"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["annotated", "v-one", "v-two"]);
    for tag in &tags {
        let is_one = tag["tag"] != "v-two";
        assert_eq!(tag["live"].as_array().unwrap().len(), usize::from(is_one), "{tag}");
        assert_eq!(tag["commit"] == one.as_str(), is_one, "{tag}");
    }
    let text = site.run(&["tags", "spog"]).ok().out;
    assert!(
        text.lines().any(|l| l.starts_with(&format!("v-one  {}  2", &one[..7])) && l.ends_with("live on www")),
        "{text}"
    );
    let said = site.run(&["tags", "spgo"]).fails(2);
    assert!(said.err.contains("there is no repository spgo: known are spog"), "{}", said.err);
}
