//! Sites whose files are not those of one git repository.

use std::process::Command;

use super::fleet::Fleet;

/// Runs a program; what it said.
#[track_caller]
fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).env("LC_ALL", "C.UTF-8").args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A revision in which trunk's page says this, and a tag of trunk.
fn tag(project: &str, fleet: &Fleet, name: &str) {
    let page = fleet.world.write("page", name);
    let mucc = |words: &[&str]| run("svnmucc", &[&["--non-interactive", "-m", "x", "-U", project], words].concat());
    mucc(&["put", page.to_str().unwrap(), "trunk/index.html"]);
    mucc(&["cp", "HEAD", "trunk", &format!("tags/{name}")]);
}

#[test]
fn a_tag_of_subversion_on_each_host_as_it_was_when_it_was_asked_for() {
    let fleet = Fleet::new(&["web01", "web02"]);
    let code = fleet.world.path("code");
    run("svnadmin", &["create", code.to_str().unwrap()]);
    let project = format!("file://{}", code.display());
    run("svnmucc", &["--non-interactive", "-m", "x", "-U", &project, "mkdir", "trunk", "mkdir", "tags"]);
    let mut fleet = fleet.of(&format!("spog: {{ svn: '{project}' }}"), "repo: spog");
    tag(&project, &fleet, "v1");
    fleet.start();
    let said = fleet.deploy("tags/v1", "web*", &["--dry-run"]).run().success();
    said.stdout_has("www: would deploy tags/v1 (r3) on 2 hosts\n");
    let said = fleet.deploy("tags/v1", "web*", &[]).run().success();
    said.stdout_has("www: deploy tags/v1 (r3): 2 of 2 hosts live; success\n");
    assert_eq!(fleet.all_serve(), ["v1"; 2]);
    assert_eq!(fleet.world.read("web01/site/current/REVISION"), "3\n");

    // Between the two hosts' turns somebody changes what is asked for; both serve what it was.
    let gate = fleet.gate("turn");
    let script =
        fleet.world.write("pre", format!("#!/bin/sh\n[ $FAILCAKE_HOST = web02 ] || {{ {}; }}\n", gate.script()));
    let put = ["put", script.to_str().unwrap(), "trunk/deploy/pre-deploy"];
    let words = ["--non-interactive", "-m", "x", "-U", &project, "mkdir", "trunk/deploy"];
    run("svnmucc", &[&words, &put[..], &["propset", "svn:executable", "on", "trunk/deploy/pre-deploy"]].concat());
    tag(&project, &fleet, "v2");
    let mut operator = fleet.deploy("trunk", "web*", &[]).start();
    gate.wait_for("web01");
    tag(&project, &fleet, "v3");
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v2"; 2]);
    fleet.operator(["rollback", "www", "--on", "web*"]).run().success();
    assert_eq!(fleet.all_serve(), ["v1"; 2]);
    fleet.operator(["rollback", "www", "--on", "web*", "--to", "trunk"]).run().success();
    assert_eq!(fleet.all_serve(), ["v2"; 2]);
    let said = fleet.operator(["rollback", "www", "--on", "web*", "--to", "tags/v1"]).run().success();
    said.stdout_has("www: rollback to tags/v1: 2 of 2 hosts live; success\n");
    assert_eq!(fleet.all_serve(), ["v1"; 2]);

    fleet.deploy("tags/v9", "web*", &[]).run().code(1).stderr_has("there is no tags/v9 in file://[SANDBOX]/code\n");
    fleet.deploy("v1", "web*", &[]).run().code(2).stderr_has("say which of them it is");
}

#[test]
fn one_repository_of_a_farm_changes_and_the_others_stay() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.world.repository("lib");
    let url = |fleet: &Fleet, name: &str| fleet.world.path(format!("{name}.git")).display().to_string();
    let repos = ["app", "lib"].map(|name| format!("{name}: {{ path: WHO/{name}.git, url: '{}' }}", url(&fleet, name)));
    let farm = "farm: { repos: [ { repo: app, target: . }, { repo: lib, target: lib, base: v0 } ] }";
    fleet = fleet.of(&repos.join("\n  "), farm);
    fleet.release("v1", &[]);
    let push = |fleet: &Fleet, tag: &str| {
        fleet.world.commit("lib", tag, &[("which", tag)]);
        fleet.world.git("lib", ["tag", tag]).run().success();
        fleet.world.git("lib", ["push", "-q", "origin", "master", tag]).run().success();
    };
    push(&fleet, "v0");
    // The clones that are not asked for are kept fresh by whoever keeps them.
    for node in ["web01", "web02"] {
        run(
            "git",
            &[
                "clone",
                "--quiet",
                "--mirror",
                &url(&fleet, "lib"),
                fleet.world.path(format!("{node}/lib.git")).to_str().unwrap(),
            ],
        );
    }
    fleet.start();
    fleet.deploy("app=v1", "web*", &[]).run().success().stdout_has("www: deploy app=v1 (");
    push(&fleet, "v2");
    fleet.deploy("lib=v2", "web*", &[]).run().success();
    for node in ["web01", "web02"] {
        let read = |path: &str| fleet.world.read(format!("{node}/site/current/{path}"));
        assert_eq!((fleet.serves(node).as_str(), read("lib/which").as_str()), ("v1", "v2"));
    }
    fleet.operator(["rollback", "www", "--on", "web*"]).run().success();
    assert_eq!(fleet.world.read("web02/site/current/lib/which"), "v0");
    fleet.operator(["rollback", "www", "--on", "web*", "--to", "lib=v2"]).run().success();
    assert_eq!(fleet.world.read("web02/site/current/lib/which"), "v2");
    let said = fleet.deploy("v1", "web*", &[]).run().code(2);
    said.stderr_has("--on deploys one repository of a farm at a time, as REPO=REF, where REPO is one of app, lib\n");
}

#[test]
fn a_host_whose_site_is_of_another_kind_refuses() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    fleet.start();
    let text = fleet.world.read("web02/failcake.yaml");
    let line = text.lines().find(|line| line.starts_with("  app: ")).unwrap();
    fleet.world.write("web02/failcake.yaml", text.replace(line, "  app: { svn: 'file:///nowhere' }"));
    fleet.node("web02").signal(nix::sys::signal::Signal::SIGHUP);
    fleet.listens("web02");
    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    said.stdout_has("stopped: web02 refused: here the files of www come from Subversion\n");
    assert_eq!(fleet.all_serve(), ["", ""]);
}
