//! What is told of commits, however odd they are.

use std::io::Write as _;
use std::process::Stdio;

use super::{Server, summary, titles};

impl Server {
    /// Writes a commit object as it is; its id.
    fn raw_commit(&self, data: &[u8]) -> String {
        let mut command = self.command("git", &self.path("work"));
        command.args(["hash-object", "-t", "commit", "-w", "--stdin", "--literally"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(data).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The text of the event for one new branch at `id`.
    fn body(&self, id: &str) -> String {
        self.git(&["push", "-q", "--force", "origin", &format!("{id}:refs/heads/odd")]);
        self.told();
        let zero = "0".repeat(id.len());
        let output = self.hook(&["--dry-run"], &[], format!("{zero} {id} refs/heads/odd\n").as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_text_is_a_log_as_people_know_it() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    std::fs::create_dir_all(server.path("work/dir/deep")).unwrap();
    std::fs::write(server.path("work/dir/deep/file"), "x").unwrap();
    std::fs::write(server.path("work/one"), "changed").unwrap();
    let two = server.commit("two");
    server.git(&["rm", "-q", "one"]);
    server.git(&["mv", "dir", "moved"]);
    let three = server.commit("three");
    server.push(&["master"]);
    let output =
        server.hook(&["--dry-run"], &[], format!("{} {three} refs/heads/master\n", server.id("HEAD~2")).as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    let date = |id: &str| server.git(&["log", "-1", "--format=%aI", id]).replace('Z', "+00:00");
    let expected = format!(
        "repo: spog\noldrev: {}\nnewrev: {three}\nrefname: refs/heads/master\n\n\
         commit {three}\n    Author: Ada <ada@example.org>\n    Date: {}\n\n    three\n    A\tmoved/deep/file\n    \
         A\tthree\n    D\tdir/deep/file\n    D\tone\n\n\
         commit {two}\n    Author: Ada <ada@example.org>\n    Date: {}\n\n    two\n    A\tdir/deep/file\n    A\ttwo\n    \
         M\tone\n\nJSON: ",
        server.id("HEAD~2"),
        date(&three),
        date(&two)
    );
    assert!(text.starts_with(&expected), "{text}\n\n{expected}");
}

#[test]
fn messages_of_every_kind() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let tree = server.id("HEAD^{tree}");
    let head = format!("tree {tree}\nauthor A <a@x> 1700000000 +0100\ncommitter A <a@x> 1700000000 +0100\n");
    let huge = "x".repeat(3 * 1024 * 1024);
    let table: [(&str, &[u8], &str); 7] = [
        ("empty", b"\n", "\n\n"),
        ("none", b"", "\n\n"),
        ("header-like", b"\nrepo: other\nJSON: {}\n", "\n    repo: other\n    JSON: {}\n"),
        ("CR", b"\na\rrepo: x\r\nrepo: y\n", "\n    a\n    repo: x\n    repo: y\n"),
        ("latin-1", b"encoding ISO-8859-1\n\ncaf\xe9\n", "    café\n"),
        ("not UTF-8", b"\ncaf\xe9\n", "    caf\u{fffd}\n"),
        ("NUL", b"\na\0b\n", "    a\u{fffd}b\n"),
    ];
    for (what, rest, expected) in table {
        let body = server.body(&server.raw_commit(&[head.as_bytes(), rest].concat()));
        assert!(body.contains(expected), "{what}: {body:?}");
        assert!(body.contains("    Date: 2023-11-14T23:13:20+01:00\n"), "{what}");
        assert_eq!(body.lines().filter(|line| line.starts_with("repo:")).count(), 1, "{what}");
        assert_eq!(body.lines().filter(|line| line.starts_with("JSON:")).count(), 1, "{what}");
    }
    let body = server.body(&server.raw_commit(&[head.as_bytes(), b"\n", huge.as_bytes()].concat()));
    assert!(body.len() > 100_000 && body.len() <= 256 * 1024, "{}", body.len());
    assert!(body.contains("\"total_commits_count\":1"));
}

#[test]
fn authors_of_every_kind() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let tree = server.id("HEAD^{tree}");
    for (line, expected) in [
        ("author <a@x> 1700000000 +0000", "Author:  <a@x>\n    Date: 2023-11-14T22:13:20+00:00"),
        ("author A <> 1700000000 -0330", "Author: A <>\n    Date: 2023-11-14T18:43:20-03:30"),
        ("author A <a@x> 99999999999999999999 +0000", "Author: A <a@x>\n    Date: \n"),
        ("author A <a@x> 1700000000 +9999999", "Author: A <a@x>\n    Date: \n"),
        ("author A <a@x>", "Author: A <a@x>\n    Date: \n"),
        ("author", "Author:  <>\n    Date: \n"),
        ("author A", "Author: A <>\n    Date: \n"),
    ] {
        let data = format!("tree {tree}\n{line}\ncommitter C <c@x> 1700000000 +0000\n\nm {line}\n");
        let id = server.raw_commit(data.as_bytes());
        // git would refuse some of them at the door, but they stand in repositories that are older than its checks.
        let pack = server.path("spog.git/objects").join(&id[..2]);
        std::fs::create_dir_all(&pack).unwrap();
        std::fs::copy(server.path("work/.git/objects").join(&id[..2]).join(&id[2..]), pack.join(&id[2..])).unwrap();
        let output = server.hook(&["--dry-run"], &[], format!("{} {id} refs/heads/odd\n", "0".repeat(40)).as_bytes());
        let body = String::from_utf8(output.stdout).unwrap();
        assert!(body.contains(expected), "{line}: {body}");
    }
}

#[test]
fn merges_bring_what_they_merge() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    for name in ["a", "b", "c"] {
        server.git(&["checkout", "-q", "-b", name, "master"]);
        server.commit(&format!("on {name}"));
    }
    server.git(&["checkout", "-q", "master"]);
    server.git(&["merge", "-q", "--no-ff", "-m", "merge", "a"]);
    server.git(&["merge", "-q", "-m", "octopus", "b", "c"]);
    let told = server.push_one(&["master"]);
    assert_eq!(summary(&told), ("update", 5));
    let mut found = titles(&told);
    assert_eq!(found[0], "octopus");
    found.sort_unstable();
    assert_eq!(found, ["merge", "octopus", "on a", "on b", "on c"]);
    assert_eq!(told["commits"][0]["added"], serde_json::json!([]), "a merge lists no paths, as in git log");
    assert_eq!(summary(&server.push_one(&["a"])), ("create", 0));
}

#[test]
fn clocks_that_were_wrong_hide_and_double_nothing() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let old = server.id("HEAD");
    for (number, date) in ["@4000000000 +0000", "@100 +0000", "@3000000000 +0000", "@200 +0000"].iter().enumerate() {
        let mut commit = server.command("git", &server.path("work"));
        commit.args(["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
        assert!(commit.env("GIT_COMMITTER_DATE", date).env("GIT_AUTHOR_DATE", date).status().unwrap().success());
    }
    let told = server.push_one(&["master"]);
    assert_eq!(summary(&told), ("update", 4));
    assert_eq!(summary(&server.push_one(&["--force", &format!("{old}:master")])), ("rewind", 0));
    assert_eq!(summary(&server.push_one(&["master"])), ("update", 4));
    assert_eq!(summary(&server.push_one(&["master~2:refs/heads/below"])), ("create", 0));
}
