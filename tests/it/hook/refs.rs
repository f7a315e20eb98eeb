//! Every kind of ref update that a hook meets.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::{Server, refs, summary, titles, zeros};

#[test]
fn a_branchs_life() {
    let server = Server::new();
    let one = server.commit("one");
    let told = server.push_one(&["master"]);
    assert_eq!((summary(&told), titles(&told)), (("create", 1), vec!["one"]));
    assert_eq!((told["repository"]["name"].as_str(), told["ref"].as_str()), (Some("spog"), Some("refs/heads/master")));
    assert_eq!((told["before"].as_str(), told["after"].as_str()), (Some(&*zeros(&one)), Some(&*one)));
    assert_eq!((told["peeled"].as_str(), told.get("tag_object")), (Some(&*one), None));

    server.commit("two");
    let three = server.commit("three");
    let told = server.push_one(&["master"]);
    assert_eq!((summary(&told), titles(&told)), (("update", 2), vec!["three", "two"]));
    assert_eq!(told["commits"][0]["added"][0], "three");

    assert_eq!(server.push(&["master"]), Vec::<serde_json::Value>::new(), "git runs no hook when nothing changes");

    let told = server.push_one(&["--force", &format!("{one}:master")]);
    assert_eq!((summary(&told), told["before"].as_str()), (("rewind", 0), Some(&*three)));

    server.git(&["reset", "-q", "--hard", &three]);
    server.push_one(&["master"]);
    server.git(&["reset", "-q", "--hard", &one]);
    server.commit("other");
    let told = server.push_one(&["--force", "master"]);
    assert_eq!((summary(&told), titles(&told)), (("rewrite", 1), vec!["other"]));

    let told = server.push_one(&["master:again"]);
    assert_eq!(summary(&told), ("create", 0), "a new branch at a known commit brings nothing new");
    let told = server.push_one(&[&format!("{one}:refs/heads/older")]);
    assert_eq!(summary(&told), ("create", 0), "also below the tip of another branch");

    server.git(&["checkout", "-q", "--orphan", "pages"]);
    server.commit("index");
    let told = server.push_one(&["pages"]);
    assert_eq!((summary(&told), titles(&told)), (("create", 1), vec!["index"]));
    let told = server.push_one(&["--force", "pages:master"]);
    assert_eq!((told["kind"].as_str(), titles(&told)), (Some("rewrite"), vec!["index"]), "unrelated histories");

    let told = server.push_one(&["--delete", "again"]);
    assert_eq!((summary(&told), told["after"].as_str()), (("delete", 0), Some(&*zeros(&one))));
    assert_eq!(told.get("note"), None);
}

#[test]
fn a_missing_ref_deleted_is_told_as_git_tells_it() {
    let server = Server::new();
    let id = server.commit("one");
    server.push(&["master"]);
    // A clone that still believes in the branch asks for it; git warns, and runs the hook for the other ref at least.
    let mut command = server.command("git", &server.path("work"));
    let output = command.args(["push", "origin", ":refs/heads/never", "master:other"]).output().unwrap();
    let told = server.told();
    assert!(output.status.success() || told.is_empty(), "{output:?}");
    let zero = zeros(&id);
    let (said, _) = server.says(&[], &[], &format!("{zero} {zero} refs/heads/never\n"));
    assert_eq!((summary(&said), said["ref"].as_str()), (("delete", 0), Some("refs/heads/never")));
}

#[test]
fn tags_of_every_kind() {
    let server = Server::new();
    let one = server.commit("one");
    let two = server.commit("two");
    server.push(&["master"]);

    let peeled = |told: &serde_json::Value| told["peeled"].as_str().map(str::to_owned);
    server.git(&["tag", "light", &one]);
    let told = server.push_one(&["light"]);
    assert_eq!((summary(&told), peeled(&told), told.get("tag_object")), (("create", 0), Some(one.clone()), None));
    server.git(&["tag", "--force", "light", &two]);
    let told = server.push_one(&["--force", "light"]);
    assert_eq!((summary(&told), peeled(&told)), (("update", 0), Some(two.clone())), "its commits are the branch's");
    assert_eq!(summary(&server.push_one(&["--delete", "light"])), ("delete", 0));

    server.git(&["tag", "-a", "-m", "Version 1\n\nrepo: evil", "v1", &one]);
    let object = server.id("v1");
    let told = server.push_one(&["v1"]);
    assert_eq!((told["after"].as_str(), told["tag_object"].as_str()), (Some(&*object), Some(&*object)));
    assert_eq!((summary(&told), peeled(&told)), (("create", 0), Some(one.clone())));
    assert_eq!(told["message"], "Version 1\n\nrepo: evil\n");
    server.git(&["tag", "--force", "-a", "-m", "again", "v1", &two]);
    let told = server.push_one(&["--force", "v1"]);
    assert_eq!((summary(&told), peeled(&told)), (("update", 0), Some(two.clone())));
    server.git(&["tag", "--force", "-a", "-m", "back", "v1", &one]);
    assert_eq!(summary(&server.push_one(&["--force", "v1"])), ("rewind", 0));
    let told = server.push_one(&["--delete", "v1"]);
    assert_eq!((summary(&told), told.get("tag_object")), (("delete", 0), None));

    let three = server.commit("three");
    server.git(&["tag", "-a", "-m", "brings", "v3"]);
    let told = server.push_one(&["v3"]);
    assert_eq!((summary(&told), titles(&told), peeled(&told)), (("create", 1), vec!["three"], Some(three.clone())));

    server.git(&["tag", "-a", "-m", "nested", "nested", "v3"]);
    let told = server.push_one(&["nested"]);
    assert_eq!((told["tag_object"].as_str(), peeled(&told)), (Some(&*server.id("nested")), Some(three)));
    assert_eq!(told["message"], "nested\n");

    for object in ["HEAD^{tree}", "HEAD:one"] {
        server.git(&["tag", "--force", "-a", "-m", "odd", "odd", object]);
        server.git(&["tag", "--force", "lightodd", object]);
        for told in server.push(&["--force", "odd", "lightodd"]) {
            assert_eq!((peeled(&told), told.get("note")), (None, None), "{told}");
            assert_eq!(told.get("tag_object").is_some(), told["ref"] == "refs/tags/odd");
        }
    }
}

#[test]
fn a_commit_in_several_refs_is_told_once() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    server.commit("two");
    server.git(&["tag", "-a", "-m", "t", "a-tag"]);
    server.git(&["branch", "a-branch"]);
    server.git(&["checkout", "-q", "-b", "side"]);
    server.commit("three");
    let told = server.push(&["a-tag", "side", "a-branch", "master"]);
    assert_eq!(told.len(), 4);
    let find = |name: &str| told.iter().find(|value| value["ref"] == name).unwrap();
    assert_eq!(titles(find("refs/heads/master")), ["two"], "the branch that moved tells it");
    assert_eq!(titles(find("refs/heads/side")), ["three"]);
    assert_eq!(summary(find("refs/heads/a-branch")), ("create", 0));
    assert_eq!(summary(find("refs/tags/a-tag")), ("create", 0));
}

#[test]
fn more_commits_than_the_limit_cost_no_other_ref() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    for number in 0..105 {
        server.git(&["commit", "-q", "--allow-empty", "-m", &format!("number {number}")]);
    }
    server.git(&["branch", "later", "master~50"]);
    server.git(&["checkout", "-q", "-b", "side", "master~105"]);
    server.commit("aside");
    let told = server.push(&["master", "later", "side"]);
    assert_eq!(refs(&told), ["refs/heads/master", "refs/heads/later", "refs/heads/side"]);
    assert_eq!((summary(&told[0]), titles(&told[0]).len(), titles(&told[0])[0]), (("update", 105), 100, "number 104"));
    assert_eq!(summary(&told[1]), ("create", 0));
    assert_eq!(titles(&told[2]), ["aside"]);

    server.install("--limit 3");
    server.git(&["checkout", "-q", "master"]);
    for number in 0..5 {
        server.commit(&format!("file {number}"));
    }
    let told = server.push_one(&["master"]);
    assert_eq!((summary(&told), titles(&told)), (("update", 5), vec!["file 4", "file 3", "file 2"]));
}

#[test]
fn hundreds_of_tags_are_one_run_of_the_hook() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let script = std::fs::read_to_string(server.path("spog.git/hooks/post-receive")).unwrap();
    server.install_script(&format!("echo run >>{}\n{script}", server.path("runs").display()));
    let mut commands = String::new();
    for number in 0..301 {
        commands += &format!("create refs/tags/v{number} {}\n", server.id("HEAD"));
    }
    std::fs::write(server.path("refs"), commands).unwrap();
    let input = std::fs::File::open(server.path("refs")).unwrap();
    assert!(
        server
            .command("git", &server.path("work"))
            .args(["update-ref", "--stdin"])
            .stdin(input)
            .status()
            .unwrap()
            .success()
    );
    let told = server.push(&["--tags"]);
    assert_eq!(told.len(), 301);
    assert!(told.iter().all(|tag| summary(tag) == ("create", 0)));
    assert_eq!(std::fs::read_to_string(server.path("runs")).unwrap(), "run\n");
}

#[test]
fn a_deleted_branch_makes_room_for_one_below_it() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master", "master:a"]);
    server.git(&["push", "-q", "--atomic", "origin", "master:b", ":a"]);
    assert_eq!(refs(&server.told()), ["refs/heads/a", "refs/heads/b"], "the deleted one first, also --atomic");
    // git itself takes the two only one after the other; the hook must not depend on the order of the lines.
    let (id, zero) = (server.id("HEAD"), zeros(&server.id("HEAD")));
    let lines = format!("{zero} {id} refs/heads/a/x\n{id} {zero} refs/heads/a\n");
    let output = server.hook(&["--dry-run", "--json"], &[], lines.as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(refs(&told), ["refs/heads/a", "refs/heads/a/x"]);
}

#[test]
fn push_options_are_told() {
    let server = Server::new();
    server.commit("one");
    let told = server.push_one(&["-o", "ci.skip", "-o", "note=\"é\"", "master"]);
    assert_eq!(told["push_options"], serde_json::json!(["ci.skip", "note=\"é\""]));
}

#[test]
fn refs_that_are_no_branch_and_no_tag_are_told_on_request() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    server.git(&["notes", "add", "-m", "seen", "HEAD"]);
    let all = ["refs/notes/commits", "HEAD:refs/pull/1/head", "HEAD:refs/changes/01/1/1"];
    assert_eq!(server.push(&all), Vec::<serde_json::Value>::new());
    server.git(&["notes", "append", "-m", "again", "HEAD"]);
    server.install("--all-refs");
    let told = server.push(&["refs/notes/commits", "HEAD:refs/pull/2/head", "HEAD:refs/changes/01/1/2"]);
    let mut names = refs(&told);
    names.sort_unstable();
    assert_eq!(names, ["refs/changes/01/1/2", "refs/notes/commits", "refs/pull/2/head"]);
}

#[test]
fn names_that_would_hurt_a_shell_a_directory_or_an_encoding() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let long = format!("{}/{}", "x".repeat(200), "y".repeat(200));
    let names: Vec<&[u8]> = vec![
        b"refs/heads/x;$(touch${IFS}PWNED)",
        b"refs/heads/`id`&'\"",
        b"refs/heads/-fr",
        b"refs/heads/refs/heads/odd",
        "refs/heads/été/日本".as_bytes(),
        b"refs/tags/--upload-pack=x",
        b"refs/heads/caf\xe9",
    ];
    for name in names.into_iter().map(<[u8]>::to_vec).chain([format!("refs/heads/{long}").into_bytes()]) {
        let mut refspec = b"HEAD:".to_vec();
        refspec.extend(&name);
        let mut push = server.command("git", &server.path("work"));
        let status = push.args(["push", "-q", "origin"]).arg(OsStr::from_bytes(&refspec)).status().unwrap();
        assert!(status.success());
        let told = server.told();
        assert_eq!(refs(&told), [String::from_utf8_lossy(&name)]);
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let utf8 = std::str::from_utf8(&name).is_ok();
        assert_eq!(told[0].get("ref_hex").and_then(|hex| hex.as_str()), (!utf8).then_some(&*hex));
    }
    assert!(!server.path("spog.git/PWNED").exists() && !server.path("work/PWNED").exists());
}
