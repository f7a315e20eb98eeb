//! Going back, what is kept for it, and one at a time.

use std::process::Stdio;

use super::sandbox::{Said, Sandbox, me};
use super::scripts::wait_for;

#[test]
fn it_goes_to_the_last_good_release_then_further_back() {
    let site = Sandbox::new();
    let log = "echo \"$FAILCAKE_REF rollback=$FAILCAKE_ROLLBACK from=$(basename \"$FAILCAKE_PREVIOUS_RELEASE\")\" >> ../../../posts";
    site.commit_script("good0", "post-deploy", log);
    site.deploy("v-good0").ok();
    site.commit("good1", &[("index.html", "good1"), ("deploy/pre-deploy", "#!/bin/sh\ntouch ../../../pre\n")]);
    site.deploy("v-good1").ok();
    site.commit_script("bad2", "pre-deploy", "exit 1");
    site.deploy("v-bad2").fails(1);
    site.commit_script("bad3", "post-deploy", "exit 1");
    site.deploy("v-bad3").fails(1);
    site.commit("good4", &[("index.html", "good4"), ("deploy/post-deploy", "#!/bin/sh\n")]);
    site.deploy("v-good4").ok();
    let good4 = site.current();
    let _ = std::fs::remove_file(site.root.join("posts"));
    let _ = std::fs::remove_file(site.root.join("pre"));

    let said = site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "good1");
    assert_eq!(said.out, format!("www serves v-good1 as release {} again\n", site.current()));
    assert_eq!(std::fs::read_to_string(site.root.join("posts")).unwrap(), format!("v-good1 rollback=1 from={good4}\n"));
    assert!(!site.root.join("pre").exists(), "only post-deploy runs");
    let line = format!("{} rolled back to release {}\n", me(), site.current());
    assert!(site.read("revisions.log").ends_with(&line));

    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "good0");
    let said = site.run(&["rollback", "www"]).fails(1);
    assert!(said.err.contains("no earlier good release"), "{}", said.err);
    let became = |what: &str, how: &str| (format!("v-{what}"), how.to_owned());
    assert_eq!(
        site.became(),
        [
            became("good0", "live"),
            became("good1", "rolled back"),
            became("bad2", "failed at pre-deploy"),
            became("bad3", "failed at post-deploy"),
            became("good4", "rolled back"),
        ]
    );

    site.run(&["rollback", "www", "--to", &good4]).ok();
    assert_eq!(site.current(), good4);
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "good0", "where it came from; good1 was rolled back from");
    site.assert_tidy();
}

#[test]
fn a_release_that_failed_or_is_not_there_is_refused() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    site.commit_script("bad", "post-deploy", "exit 1");
    site.deploy("master").fails(1);
    let bad = site.list("releases").pop().unwrap();
    for (to, why) in [
        (bad.as_str(), "it failed at post-deploy"),
        ("20200101000000-abcdef0", "there is no release"),
        (&site.current(), "is live already"),
    ] {
        let said = site.run(&["rollback", "www", "--to", to]).fails(1);
        assert!(said.err.contains(why), "{}", said.err);
    }
    site.run(&["rollback", "www", "--to", "../../etc"]).fails(2);
    assert_eq!(site.read("current/index.html"), "good");
}

#[test]
fn a_post_deploy_that_fails_after_a_rollback_is_told_but_it_stays() {
    let site = Sandbox::new();
    site.commit_script("one", "post-deploy", "exit $FAILCAKE_ROLLBACK");
    site.deploy("v-one").ok();
    site.commit("two", &[("index.html", "two")]);
    site.deploy("v-two").ok();
    let said = site.run(&["rollback", "www"]).fails(1);
    assert!(said.err.contains("rolled back to release") && said.err.contains("post-deploy failed"), "{}", said.err);
    assert_eq!(site.read("current/index.html"), "one");
}

#[test]
fn keep_counts_good_releases_only() {
    let site = Sandbox::new().keep(2);
    for good in ["g1", "g2", "g3"] {
        site.commit(good, &[("index.html", good)]);
        site.deploy("master").ok();
    }
    for bad in ["b1", "b2", "b3", "b4"] {
        site.commit_script(bad, if bad < "b3" { "pre-deploy" } else { "post-deploy" }, "exit 1");
        site.deploy("master").fails(1);
    }
    site.commit_script("g4", "pre-deploy", "exit 0");
    site.deploy("master").ok();
    let live = site.list("releases").iter().map(|r| site.read(&format!("releases/{r}/index.html"))).collect::<Vec<_>>();
    assert_eq!(live, ["g3", "b3", "b4", "g4"], "two good ones, and two failed ones to look at");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "g3");
    site.assert_tidy();
}

#[test]
fn one_at_a_time_and_the_holder_is_named() {
    let site = Sandbox::new();
    site.commit_script("slow", "pre-deploy", "touch ../../../started; while [ ! -e ../../../go ]; do sleep 0.02; done");
    let spawn = |args: &[&str]| site.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let slow = spawn(&["deploy", "www", "v-slow"]);
    wait_for(|| site.root.join("started").exists());
    for args in [&["deploy", "www", "master"][..], &["rollback", "www"]] {
        let said = site.run(args).fails(1);
        let wanted = format!("busy: {} (deploy v-slow, process {}, since 2", me(), slow.id());
        assert!(said.err.contains(&wanted), "{}", said.err);
    }
    let state = site.run(&["state", "www"]).ok().out;
    assert!(state.contains("busy: ") && state.contains("being built"), "{state}");
    let waits = [spawn(&["deploy", "www", "v-slow", "--wait"]), spawn(&["deploy", "www", "v-slow", "--wait"])];
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::fs::write(site.root.join("go"), "").unwrap();
    for child in [slow].into_iter().chain(waits) {
        let _ = Said::of(child.wait_with_output().unwrap()).ok();
    }
    assert_eq!(site.read("revisions.log").lines().count(), 3);
    site.assert_tidy();
}

#[test]
fn the_lock_dies_with_its_holder_and_so_do_its_children() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    site.commit_script("slow", "pre-deploy", "sleep 1000 & echo $! > ../../../child; echo $$ > ../../../script; wait");
    let mut slow = site.command(&["deploy", "www", "master"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| std::fs::read_to_string(site.root.join("script")).is_ok_and(|pid| pid.ends_with('\n')));
    slow.kill().unwrap();
    slow.wait().unwrap();
    super::scripts::gone_soon(&site, "script");
    let said = site.deploy("v-good").ok();
    assert!(said.err.contains("live"), "{}", said.err);
    super::scripts::gone_soon(&site, "child");
    assert_eq!(site.became().len(), 2, "nothing is left of the one that was killed");
    site.assert_tidy();
}

#[test]
fn a_rollback_that_waits_for_a_deploy_goes_back_from_what_that_made_live() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    let good = site.current();
    site.commit_script("slow", "pre-deploy", "touch ../../../started; while [ ! -e ../../../go ]; do sleep 0.02; done");
    let spawn = |args: &[&str]| site.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let slow = spawn(&["deploy", "www", "v-slow"]);
    wait_for(|| site.root.join("started").exists());
    let back = spawn(&["rollback", "www", "--wait"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::fs::write(site.root.join("go"), "").unwrap();
    let said = Said::of(slow.wait_with_output().unwrap()).ok();
    let _ = Said::of(back.wait_with_output().unwrap()).ok();
    assert!(said.out.contains("www serves v-slow"), "{}", said.out);
    assert_eq!((site.current(), site.became()[1].1.as_str()), (good, "rolled back"));
    site.assert_tidy();
}

#[test]
fn it_goes_to_what_was_deployed_by_its_tag_branch_or_commit() {
    let site = Sandbox::new();
    let one = site.commit("one", &[("index.html", "one")]);
    site.deploy("v-one").ok();
    site.deploy("v-one").ok();
    let newest = site.current();
    site.commit("two", &[("index.html", "two")]);
    site.deploy("master").ok();
    let two = site.current();
    site.commit_script("bad", "post-deploy", "exit 1");
    site.deploy("v-bad").fails(1);
    site.commit("three", &[("index.html", "three"), ("deploy/post-deploy", "#!/bin/sh\n")]);
    site.deploy("v-three").ok();
    let three = site.current();

    let said = site.run(&["rollback", "www", "--to", "v-one"]).ok();
    assert_eq!(said.out, format!("www serves v-one as release {newest} again\n"));
    site.run(&["rollback", "www", "--to", "v-three"]).ok();
    assert_eq!(site.current(), three, "that was rolled back from, and is asked for");
    site.run(&["rollback", "www", "--to", "master"]).ok();
    assert_eq!(site.current(), two);
    site.run(&["rollback", "www", "--to", &one[..7]]).ok();
    assert_eq!(site.current(), newest);
    let said = site.run(&["rollback", "www", "--to", &one]).fails(1);
    assert!(said.err.contains(&format!("release {newest} (v-one) is live already")), "{}", said.err);

    for lacking in ["v-bad", "v-none", &one[..6], "20200101000000-abcdef0"] {
        let said = site.run(&["rollback", "www", "--to", lacking]).fails(1);
        let why =
            format!("there is no release {lacking} here, and none that was live and is good was deployed as that");
        assert!(said.err.contains(&why), "{}", said.err);
        let known = [format!("there are v-one ({}, release ", &one[..7]), format!("release {two})")];
        assert!(known.iter().all(|known| said.err.contains(known)) && !said.err.contains("v-bad ("), "{}", said.err);
    }
    for bad in ["", "/etc", "a/../b", "v\u{1b}[m", "x\ny"] {
        site.run(&["rollback", "www", "--to", bad]).fails(2);
    }
    assert_eq!(site.current(), newest);
    site.assert_tidy();
}

#[test]
fn a_dry_run_says_from_what_to_what_and_touches_nothing() {
    let site = Sandbox::new();
    let one = site.commit("one", &[("index.html", "one"), ("gone", "x")]);
    site.deploy("v-one").ok();
    let old = site.current();
    std::fs::remove_file(site.root.join("work/gone")).unwrap();
    let two = site.commit("two", &[("index.html", "two"), ("new", "x")]);
    site.deploy("v-two").ok();
    let live = site.current();
    let before = site.read(".failcake/lock");
    let wanted = format!(
        "www: would go from {live} ({two}) back to {old}, v-one ({one})\nA\tgone\nM\tindex.html\nD\tnew\n3 files change\n"
    );
    for to in [&["rollback", "www", "--dry-run"][..], &["rollback", "www", "--dry-run", "--to", "v-one"]] {
        assert_eq!(site.run(to).ok().out, wanted);
    }
    let json = site.run(&["rollback", "www", "--to", &one, "--dry-run", "--json"]).ok().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    assert_eq!([text("release"), text("ref"), text("previous")], [old, "v-one".to_owned(), live.clone()]);
    site.run(&["rollback", "www", "--to", "v-none", "--dry-run"]).fails(1);
    assert_eq!((site.current(), site.read(".failcake/lock")), (live, before));
    site.run(&["hold", "www", "--reason", "noon"]).ok();
    assert!(site.run(&["rollback", "www", "--dry-run"]).fails(1).err.contains("noon"));
}
