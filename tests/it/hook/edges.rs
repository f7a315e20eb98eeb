//! Repositories, environments and circumstances that are not the usual ones.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use super::{BINARY, Server, refs, summary, titles, zeros};

#[test]
fn sha256_repositories() {
    let server = Server::with(&["--object-format=sha256"]);
    let one = server.commit("one");
    assert_eq!(one.len(), 64);
    let told = server.push_one(&["master"]);
    assert_eq!((summary(&told), titles(&told)), (("create", 1), vec!["one"]));
    assert_eq!(told["before"].as_str(), Some(&*"0".repeat(64)));
    server.commit("two");
    server.git(&["tag", "-a", "-m", "t", "v1"]);
    let told = server.push(&["master", "v1"]);
    assert_eq!((summary(&told[0]), told[0]["commits"][0]["added"][0].as_str()), (("update", 1), Some("two")));
    assert_eq!(told[1]["peeled"].as_str(), Some(&*server.id("HEAD")));
    assert_eq!(server.push_one(&["--delete", "v1"])["after"].as_str(), Some(&*"0".repeat(64)));
}

#[test]
fn reftable_repositories() {
    let folder = tempfile::tempdir().unwrap();
    let init = std::process::Command::new("git")
        .args(["init", "-q", "--ref-format=reftable"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .status();
    if !init.unwrap().success() {
        eprintln!("NOT RUN: reftable_repositories: this git has no reftable (2.45 and later have)");
        return;
    }
    let server = Server::with(&["--ref-format=reftable"]);
    server.commit("one");
    assert_eq!(summary(&server.push_one(&["master"])), ("create", 1));
    server.commit("two");
    assert_eq!(summary(&server.push_one(&["master"])), ("update", 1));
    assert_eq!(summary(&server.push_one(&["master~1:refs/heads/old"])), ("create", 0), "other branches are seen");
    let output =
        server.command(BINARY, &server.path("work")).args(["notify-commit", "post-commit", "--dry-run"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains(&format!("newrev: {}\nrefname: refs/heads/master\n", server.id("HEAD"))), "{text}");
}

#[test]
fn a_shallow_server() {
    let server = Server::new();
    for name in ["one", "two", "three"] {
        server.commit(name);
    }
    server.push(&["master"]);
    let source = format!("file://{}", server.path("spog.git").display());
    server.git_in(server.folder.path(), &["clone", "-q", "--bare", "--depth=1", &source, "shallow.git"]);
    fs::copy(server.path("spog.git/hooks/post-receive"), server.path("shallow.git/hooks/post-receive")).unwrap();
    let push = |arguments: &[&str]| {
        server.git(&[&["push", "-q", "--force", "../shallow.git"], arguments].concat());
        server.told().pop().unwrap()
    };
    server.commit("four");
    let told = push(&["master"]);
    assert_eq!((summary(&told), titles(&told)), (("update", 1), vec!["four"]));
    assert_eq!((told["repository"]["name"].as_str(), told.get("note")), (Some("shallow"), None));
    let told = push(&["master~1:refs/heads/boundary"]);
    assert_eq!((summary(&told), told.get("note")), (("create", 0), None));
    server.git(&["checkout", "-q", "--orphan", "fresh"]);
    server.commit("fresh");
    let told = push(&["fresh:master"]);
    assert_eq!((summary(&told), told.get("note")), (("rewrite", 1), None));
}

#[test]
fn a_server_with_alternates() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    server.git_in(server.folder.path(), &["clone", "-q", "--bare", "--shared", "spog.git", "fork.git"]);
    fs::copy(server.path("spog.git/hooks/post-receive"), server.path("fork.git/hooks/post-receive")).unwrap();
    server.commit("two");
    server.git(&["push", "-q", "../fork.git", "master"]);
    let told = server.told().pop().unwrap();
    assert_eq!((summary(&told), titles(&told), told.get("note")), (("update", 1), vec!["two"], None));
}

#[test]
fn a_repository_of_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: a_repository_of_somebody_else: only root can make one");
        return;
    }
    let server = Server::new();
    server.commit("one");
    let status = server.command("chown", server.folder.path()).args(["-R", "65534", "spog.git"]).status().unwrap();
    assert!(status.success());
    let told = server.push_one(&["master"]);
    assert_eq!((summary(&told), told.get("note")), (("create", 1), None));
}

#[test]
fn missing_objects_cost_the_log_and_not_the_event() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let gone = "d".repeat(40);
    for (old, new, kind) in [
        (&*zeros(&one), &*gone, "create"),
        (&*one, &*gone, "rewrite"),
        (&*gone, &*one, "rewrite"),
        (&*gone, &*zeros(&one), "delete"),
    ] {
        let (told, stderr) = server.says(&[], &[], &format!("{old} {new} refs/heads/master\n"));
        assert_eq!((told["kind"].as_str(), told["after"].as_str()), (Some(kind), Some(new)));
        let delete = kind == "delete";
        assert_eq!(told.get("note").is_none() && stderr.is_empty(), delete, "{told} {stderr}");
        assert!(delete || stderr.contains(&format!("object {gone} is missing")), "{stderr}");
    }
    // In the middle of what is new.
    server.commit("two");
    let two = server.id("HEAD");
    let three = server.commit("three");
    server.push(&["master"]);
    let object = server.path("spog.git/objects").join(&two[..2]).join(&two[2..]);
    fs::remove_file(object).unwrap();
    let (told, _) = server.says(&[], &[], &format!("{one} {three} refs/heads/master\n"));
    assert_eq!(titles(&told), ["three"]);
    assert!(told["note"].as_str().unwrap().contains(&two));
}

#[test]
fn a_repository_that_cannot_be_read_is_told_all_the_same() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    server.git_in(&server.path("spog.git"), &["config", "extensions.fromTheFuture", "true"]);
    server.git_in(&server.path("spog.git"), &["config", "core.repositoryFormatVersion", "1"]);
    let (told, stderr) = server.says(&[], &[("GIT_DIR", ".")], &format!("{} {one} refs/heads/x\n", zeros(&one)));
    assert_eq!((summary(&told), told["repository"]["name"].as_str()), (("create", 0), Some("spog")));
    assert!(stderr.contains("can't open the repository"), "{stderr}");
}

#[test]
fn lines_that_git_never_sends_cost_only_themselves() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let zero = zeros(&one);
    let lines = format!("garbage\n{zero} {one} ../../etc/passwd\n\n{zero} {one} refs/heads/good\n{zero} {one}");
    let output = server.hook(&["--dry-run", "--json"], &[], lines.as_bytes());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ref"], "refs/heads/good");

    let output = server.hook(&[], &[], b"");
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), vec![], vec![]), "nothing to tell");
}

#[test]
fn who_pushed() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let line = format!("{} {one} refs/heads/x\n", zeros(&one));
    let user = |environment: &[(&str, &str)]| server.says(&[], environment, &line).0["user_name"].clone();
    assert_eq!(user(&[("GL_USER", "ada"), ("GL_USERNAME", "bob"), ("REMOTE_USER", "eve")]), "ada");
    assert_eq!(user(&[("GL_USERNAME", "bob"), ("REMOTE_USER", "eve")]), "bob");
    assert_eq!(user(&[("GL_USER", ""), ("REMOTE_USER", "eve\nrepo: x")]), "eve\nrepo: x");
    let login = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    assert_eq!(user(&[]), login);
}

#[test]
fn what_the_repository_is_called() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let line = format!("{} {one} refs/heads/x\n", zeros(&one));
    let name = |options: &[&str], environment: &[(&str, &str)]| {
        server.says(options, environment, &line).0["repository"]["name"].as_str().unwrap().to_owned()
    };
    let gitolite = [("GL_REPO", "web/spog"), ("GL_PROJECT_PATH", "group/spog")];
    assert_eq!(name(&[], &[]), "spog");
    assert_eq!(name(&[], &gitolite[1..]), "group/spog");
    assert_eq!(name(&[], &gitolite), "web/spog");
    server.git_in(&server.path("spog.git"), &["config", "failcake.repo-name", "configured"]);
    assert_eq!(name(&[], &gitolite), "configured");
    assert_eq!(name(&["--repo-name", "said"], &gitolite), "said");

    server.git_in(&server.path("spog.git"), &["config", "failcake.repo-name", "no good"]);
    let output = server.hook(&["--dry-run"], &[], line.as_bytes());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("no good") && stderr.contains("git config failcake.repo-name NAME"), "{stderr}");
}

#[test]
fn two_pushes_at_once() {
    let server = Server::new();
    server.commit("one");
    server.push(&["master"]);
    let pushes: Vec<_> = (0..6)
        .map(|number| {
            let refspec = format!("master:refs/heads/b{number}");
            server.command("git", &server.path("work")).args(["push", "-q", "origin", &refspec]).spawn().unwrap()
        })
        .collect();
    for mut push in pushes {
        assert!(push.wait().unwrap().success());
    }
    let told = server.told();
    let mut names = refs(&told);
    names.sort_unstable();
    assert_eq!(names, (0..6).map(|number| format!("refs/heads/b{number}")).collect::<Vec<_>>());
}

#[test]
fn nobody_reads_what_the_hook_prints() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let mut command = server.command(BINARY, &server.path("spog.git"));
    command.args(["notify-commit", "post-receive", "--dry-run"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "garbage\n{} {one} refs/heads/x", zeros(&one)).unwrap();
    drop(stdin);
    let status = child.wait().unwrap();
    assert_eq!((status.signal(), status.code()), (None, Some(1)), "neither a signal nor a panic");
}

#[test]
fn the_next_hook_gets_the_same_lines_and_has_the_last_word() {
    let server = Server::new();
    let one = server.commit("one");
    server.push(&["master"]);
    let next = server.path("next");
    let seen = server.path("seen");
    let script = |body: &str| {
        // By a rename: a file that was written a moment ago may be held open by a sibling test's child (ETXTBSY).
        server.install_script(body);
        fs::rename(server.path("spog.git/hooks/post-receive"), &next).unwrap();
    };
    let line = format!("{} {one} refs/heads/x\n", zeros(&one));
    let run = |lines: &[u8]| {
        server.hook(&["--dry-run", "--json", "--next", next.to_str().unwrap()], &[("GIT_DIR", ".")], lines)
    };

    script(&format!("echo $GIT_DIR >{0}; cat >>{0}; exit 7", seen.display()));
    let output = run(line.as_bytes());
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(fs::read_to_string(&seen).unwrap(), format!(".\n{line}"));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["ref"], "refs/heads/x");

    script("kill -9 $$");
    assert_eq!(run(line.as_bytes()).status.code(), Some(137));

    script("exec <&-; exit 0");
    let many = line.repeat(5000);
    assert_eq!(run(many.as_bytes()).status.code(), Some(0), "it need not read them");

    script("cat >/dev/null");
    assert_eq!(run(b"garbage\n").status.code(), Some(1), "a fault of ours is told when the next hook has none");

    fs::remove_file(&next).unwrap();
    let output = run(line.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("can't run the next hook"));
}

#[test]
fn a_configuration_with_a_mistake_is_told_with_how_to_tell_the_push_afterwards() {
    let server = Server::new();
    let config = server.path("failcake.yaml");
    fs::write(&config, "brokr: stomp://broker01\n").unwrap();
    let one = server.commit("one");
    server.git(&["branch", "it's"]);
    server.push(&["master", "it's"]);
    let lines = format!("{0} {one} refs/heads/master\n{0} {one} refs/heads/it's\n", zeros(&one));
    let hook = server.hook(&[], &[("FAILCAKE_CONFIG", config.to_str().unwrap())], lines.as_bytes());
    let stderr = String::from_utf8(hook.stderr).unwrap();
    assert_eq!(hook.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("unknown key \"brokr\": did you mean \"broker\"?"), "{stderr}");
    assert!(stderr.contains("what happened to 2 refs of spog is told to nobody and kept nowhere"), "{stderr}");

    // What it says works, word for word.
    fs::write(&config, "prefix: future\n").unwrap();
    let (_, said) = stderr.trim_end().split_once("then tell it in ").unwrap();
    let (folder, command) = said.split_once(": ").unwrap();
    let binary = std::path::Path::new(BINARY).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let command = format!("{command} --dry-run --json");
    let mut shell = server.command("sh", std::path::Path::new(folder));
    let told = shell.args(["-c", &command]).env("PATH", path).env("FAILCAKE_CONFIG", &config).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let refs: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = refs.iter().map(|told| told["ref"].as_str().unwrap()).collect();
    assert_eq!(names, ["refs/heads/master", "refs/heads/it's"], "{text}");
}
