//! The hook post-commit.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{BINARY, Server, summary, titles};

impl Server {
    fn install_post_commit(&self) {
        let hook = self.path("work/.git/hooks/post-commit");
        let told = self.path("told");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        let line = format!("exec {BINARY} notify-commit post-commit --dry-run --json >>{}", told.display());
        fs::write(&hook, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn each_commit_is_told_against_its_first_parent() {
    let server = Server::new();
    server.install_post_commit();
    let one = server.commit("one");
    let told = server.told().pop().unwrap();
    assert_eq!((summary(&told), titles(&told)), (("create", 1), vec!["one"]));
    assert_eq!((told["ref"].as_str(), told["repository"]["name"].as_str()), (Some("refs/heads/master"), Some("work")));

    let two = server.commit("two");
    let told = server.told().pop().unwrap();
    assert_eq!((summary(&told), titles(&told)), (("update", 1), vec!["two"]));
    assert_eq!((told["before"].as_str(), told["after"].as_str()), (Some(&*one), Some(&*two)));

    let tree = server.path("tree");
    server.git(&["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]);
    fs::create_dir(tree.join("deep")).unwrap();
    server.git_in(&tree.join("deep"), &["commit", "-q", "--allow-empty", "-m", "beside"]);
    let told = server.told().pop().unwrap();
    assert_eq!((told["ref"].as_str(), titles(&told)), (Some("refs/heads/side"), vec!["beside"]));
    assert_eq!(told["repository"]["name"], "work", "a work tree is called like its repository");
}

#[test]
fn commits_on_no_branch_are_not_told() {
    let server = Server::new();
    server.commit("one");
    server.commit("two");
    server.git(&["checkout", "-q", "--detach"]);
    server.install_post_commit();
    let commit = ["commit", "--allow-empty", "-m", "nowhere"];
    let output = server.command("git", &server.path("work")).args(commit).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("HEAD is on no branch"));
    assert!(server.told().is_empty());

    server.git(&["checkout", "-q", "-b", "moving", "master~1"]);
    server.commit("three");
    server.told();
    let output = server.command("git", &server.path("work")).args(["rebase", "master"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !stderr.contains("failcake"), "a rebase is not disturbed: {stderr}");
    assert!(server.told().is_empty());
}

#[test]
fn no_commit_yet() {
    let server = Server::new();
    let mut command = server.command(BINARY, &server.path("work"));
    let output = command.args(["notify-commit", "post-commit", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no commit yet"));
}
