//! The Subversion hook: real repositories, real commits through `file://`, the hook installed as Subversion runs it.
//!
//! Most tests look at what the hook would say (`--dry-run --json`), which needs no broker.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::brokers::Listener;
use crate::sandbox::{FAILCAKE, Sandbox};

/// What is copied to a server.
const HOOK: &str = include_str!("../../hooks/svn-post-commit");

/// A repository with the hook.
struct Server {
    world: Sandbox,
    repos: PathBuf,
}

impl Server {
    /// The repository `code`; its hook writes what it would say to the file `told`.
    fn new() -> Server {
        Server::at("code".as_ref())
    }

    fn at(name: &std::ffi::OsStr) -> Server {
        let world = Sandbox::new();
        let repos = world.path(name);
        world.program("svnadmin", ["create".as_ref(), repos.as_os_str()]).run().success();
        let server = Server { world, repos };
        let told = server.world.path("told");
        server.install(&format!("exec {FAILCAKE} notify-commit svn --dry-run --json \"$@\" >>{}", told.display()));
        server
    }

    fn install(&self, line: &str) {
        let hook = self.repos.join("hooks/post-commit");
        fs::write(&hook, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Installs hooks/svn-post-commit with a configuration of its own.
    fn install_real(&self, broker: &str) {
        let config = self.world.path("failcake.yaml");
        let spool = self.world.path("spool");
        fs::create_dir_all(&spool).unwrap();
        fs::write(&config, format!("broker: {broker}\nspool: {}\nprefix: future\n", spool.display())).unwrap();
        let line = HOOK.lines().last().unwrap();
        assert!(line.contains("/usr/local/bin/failcake "), "an empty environment has no PATH: {line}");
        self.install(&line.replace("/usr/local/bin/failcake", &format!("{FAILCAKE} -c {}", config.display())));
    }

    /// One commit of `actions`, as svnmucc takes them: one word of words each, `~` for a file with a line of text.
    fn commit(&self, message: &str, actions: &[&[&str]]) -> String {
        let file = self.world.write("text", format!("{message}\n"));
        let mut words = vec!["--non-interactive", "-u", "ada", "-U"];
        let url = format!("file://{}", self.repos.to_str().unwrap());
        words.extend([url.as_str(), "-m", message]);
        for action in actions {
            words.extend(action.iter().map(|word| if *word == "~" { file.to_str().unwrap() } else { word }));
        }
        self.world.program("svnmucc", words).run().success().text()
    }

    /// What the hook said since it was last asked.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.world.path("told")).unwrap_or_default();
        let _ = fs::remove_file(self.world.path("told"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Commits; what the hook said.
    fn says(&self, message: &str, actions: &[&[&str]]) -> Vec<Value> {
        self.commit(message, actions);
        let told = self.told();
        assert!(!told.is_empty(), "the hook said nothing");
        told
    }

    /// Commits; the one thing that the hook said.
    fn says_one(&self, message: &str, actions: &[&[&str]]) -> Value {
        let told = self.says(message, actions);
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter().next().unwrap()
    }

    /// trunk, branches and tags of the project `web/spog` in revision 1.
    fn layout(&self) {
        let dirs = ["web", "web/spog", "web/spog/trunk", "web/spog/branches", "web/spog/tags"];
        self.commit("layout", &dirs.map(|dir| ["mkdir", dir]).each_ref().map(|action| &action[..]));
        self.told();
    }
}

fn projects(told: &[Value]) -> Vec<&str> {
    told.iter().map(|value| value["repository"]["name"].as_str().unwrap()).collect()
}

fn texts<'a>(value: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    value[list].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_commit_arrives_at_the_broker_as_the_old_hook_said_it() {
    let server = Server::new();
    let broker = server.world.broker();
    server.install_real(&broker.url);
    let commits = Listener::open(&broker.url, &["/topic/future.git.commits"]);
    let people = Listener::open(&broker.url, &["/topic/future.events.svnserver"]);
    let log = "First\nrepo: evil\nJSON: {}";
    server.commit(log, &[&["mkdir", "spog"], &["mkdir", "spog/trunk"], &["put", "~", "spog/trunk/é \"a\".txt"]]);

    let frame = commits.take(1).remove(0);
    assert_eq!(frame.header("subject"), Some("[code] 1 "));
    assert_eq!(frame.header("event-type"), Some("revision"));
    assert!(frame.header("event-id").is_some() && frame.header("event-time").is_some());
    let body = String::from_utf8(frame.body).unwrap();
    let (text, json) = body.split_once("JSON: {\"kind\"").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[1], lines[2]), ("repo: code", "revname: 1", "Author: ada"));
    assert!(lines[3].starts_with("Date: 2") && lines[3].contains(" +0000 ("), "{text}");
    assert_eq!((lines[4], lines[6]), ("Project: spog", "Dirs:"));
    assert!(text.contains("\n    First\n    repo: evil\n    JSON: {}\n"), "{text}");
    assert!(text.contains("    A   spog/trunk/é \"a\".txt\n"), "{text}");
    let value: Value = serde_json::from_str(&format!("{{\"kind\"{json}")).unwrap();
    assert_eq!((&value["before"], &value["after"], &value["ref"]), (&"0".into(), &"1".into(), &"trunk".into()));

    let human = people.take(1).remove(0);
    assert_eq!(human.header("subject"), Some("Talking to eventbot"));
    assert_eq!(human.body, b"[code] 1 ");
}

#[test]
fn without_a_broker_the_commit_goes_on_and_the_event_waits() {
    let server = Server::new();
    server.install_real("stomp://127.0.0.1:1");
    server.commit("First", &[&["mkdir", "trunk"]]);
    server.world.failcake(["spool", "list"]).run().success().stdout_has("r1 of code").stdout_has("1 waiting");

    let broker = server.world.broker();
    let listener = Listener::open(&broker.url, &["/topic/future.git.commits"]);
    server.install_real(&broker.url);
    server.commit("Second", &[&["mkdir", "trunk/a"]]);
    let subjects: Vec<_> = listener.take(2).iter().map(|frame| frame.header("subject").unwrap().to_owned()).collect();
    assert_eq!(subjects, ["[code] 1 ", "[code] 2 "]);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
}

/// The old hook knew only /trunk, and took the last changed directory for the project.
#[test]
fn several_projects_in_one_revision_are_several_events() {
    let server = Server::new();
    server.layout();
    let told = server.says(
        "Everywhere",
        &[
            &["put", "~", "web/spog/trunk/page"],
            &["mkdir", "other"],
            &["mkdir", "other/trunk"],
            &["put", "~", "other/trunk/page"],
            &["mkdir", "docs"],
            &["put", "~", "docs/zebra"],
        ],
    );
    assert_eq!(projects(&told), ["code", "other", "web/spog"]);
    assert_eq!(texts(&told[0], "paths", "path"), ["docs/", "docs/zebra"]);
    assert_eq!(texts(&told[1], "paths", "path"), ["other/", "other/trunk/", "other/trunk/page"]);
    assert_eq!(texts(&told[2], "paths", "path"), ["web/spog/trunk/page"]);
    assert_eq!(told[2]["dirs"], serde_json::json!(["web/spog/trunk/"]));
    assert_eq!((&told[0]["ref"], &told[0]["total_lines_count"]), (&"".into(), &0.into()));
    for value in &told {
        assert_eq!(
            (&value["svn_repository"], &value["rev"], &value["author"]),
            (&"code".into(), &2.into(), &"ada".into())
        );
        assert_eq!((&value["message"], &value["user_name"]), (&"Everywhere".into(), &"ada".into()));
    }
}

#[test]
fn trunk_branches_and_tags_are_told_apart() {
    let server = Server::new();
    server.layout();
    let tag = server.says_one("tag", &[&["cp", "HEAD", "web/spog/trunk", "web/spog/tags/v1"]]);
    let expected = serde_json::json!([{"type": "tag", "name": "v1", "change": "create",
        "copy_from": "web/spog/trunk/", "copy_from_rev": 1}]);
    assert_eq!((&tag["lines"], &tag["ref"]), (&expected, &"tags/v1".into()));
    assert_eq!(tag["paths"][0]["copy_from"], "web/spog/trunk/");

    server.says_one("branch", &[&["cp", "HEAD", "web/spog/trunk", "web/spog/branches/x y"]]);
    let both = server.says_one("both", &[&["put", "~", "web/spog/trunk/f"], &["put", "~", "web/spog/branches/x y/f"]]);
    assert_eq!(texts(&both, "lines", "type"), ["trunk", "branch"]);
    assert_eq!(texts(&both, "lines", "name"), ["", "x y"]);
    assert_eq!(texts(&both, "lines", "change"), ["update", "update"]);

    let moved = server.says_one("move", &[&["mv", "web/spog/trunk/f", "web/spog/trunk/g"]]);
    assert_eq!(texts(&moved, "paths", "change"), ["delete", "add"]);
    assert_eq!(moved["paths"][1]["copy_from"], "web/spog/trunk/f");

    let replaced = ["rm", "web/spog/branches/x y"];
    let replaced = server.says_one("replace", &[&replaced, &["cp", "HEAD", "web/spog/trunk", "web/spog/branches/x y"]]);
    assert_eq!(texts(&replaced, "lines", "change"), ["replace"]);

    let gone = server.says_one("gone", &[&["rm", "web/spog/tags/v1"]]);
    assert_eq!((texts(&gone, "lines", "change"), texts(&gone, "lines", "name")), (vec!["delete"], vec!["v1"]));
    // A project that goes as a whole has no trunk in the revision any more: it is told of the repository.
    let all = server.says_one("all", &[&["rm", "web/spog"]]);
    assert_eq!((projects(std::slice::from_ref(&all)), texts(&all, "paths", "path")), (vec!["code"], vec!["web/spog/"]));
}

#[test]
fn changes_of_properties_only_are_told() {
    let server = Server::new();
    server.layout();
    server.commit("file", &[&["put", "~", "web/spog/trunk/f"]]);
    server.told();
    let told = server.says(
        "props",
        &[
            &["propset", "p", "v", "web/spog/trunk"],
            &["propset", "p", "v", "web/spog/trunk/f"],
            &["propset", "p", "v", "."],
        ],
    );
    assert_eq!(projects(&told), ["code", "web/spog"]);
    assert_eq!((texts(&told[0], "paths", "path"), &told[0]["dirs"]), (vec!["/"], &serde_json::json!(["/"])));
    assert_eq!(texts(&told[1], "paths", "change"), ["properties", "properties"]);
    assert_eq!(texts(&told[1], "lines", "change"), ["update"]);
    assert_eq!(told[1]["dirs"], serde_json::json!(["web/spog/", "web/spog/trunk/"]));
}

#[test]
fn a_trunk_at_the_root_is_the_repositorys_own() {
    let server = Server::new();
    let told = server.says_one("root", &[&["mkdir", "trunk"], &["put", "~", "trunk/f"], &["put", "~", "README"]]);
    assert_eq!(
        (&told["project"], &told["ref"], &told["total_paths_count"]),
        (&"code".into(), &"trunk".into(), &3.into())
    );
    server.install(&format!(
        "exec {FAILCAKE} notify-commit svn --dry-run --json --repo-name www \"$@\" >>{}",
        server.world.path("told").display()
    ));
    let told = server.says_one("named", &[&["put", "~", "trunk/g"]]);
    assert_eq!((&told["project"], &told["svn_repository"]), (&"www".into(), &"www".into()));
}

#[test]
fn odd_names_are_told_as_they_are() {
    let server = Server::new();
    let project = "my \"pröject\" '$(touch PWNED)'; `id` & 日本";
    let trunk = format!("{project}/trunk");
    let file = format!("{trunk}/- ü @ %.txt");
    // svnmucc reads URLs, so a % is written as one does there.
    let told = server
        .says_one("Größe 日本", &[&["mkdir", project], &["mkdir", &trunk], &["put", "~", &file.replace('%', "%25")]]);
    assert_eq!(told["repository"]["name"], project);
    assert_eq!(texts(&told, "paths", "path")[2], file);
    assert_eq!(told["message"], "Größe 日本");
    let said =
        server.world.failcake(["notify-commit", "svn", "--dry-run", server.repos.to_str().unwrap(), "1", "0-0"]).run();
    let text = said.success().text();
    let shown = text.lines().find_map(|line| line.strip_prefix("Project: ")).unwrap();
    assert!(!shown.contains([' ', '$', ';', '"']) && shown.contains("pr\u{f6}ject"), "{shown}");
    assert!(!server.world.path("PWNED").exists() && !server.repos.join("PWNED").exists());
}

/// The old hook pasted the repository's path into a shell's command line.
#[test]
fn the_repositorys_path_is_never_a_command() {
    let server = Server::at("-r \"my\" repo's; $(touch PWNED) `touch PWNED` & é".as_ref());
    let repos = server.repos.to_str().unwrap().to_owned();
    // The commit goes through a link: the URL of such a path is svn's affair, not the hook's.
    std::os::unix::fs::symlink(&server.repos, server.world.path("plain")).unwrap();
    let plain = format!("file://{}", server.world.path("plain").display());
    server.world.program("svn", ["mkdir", "-q", "-m", "First", &format!("{plain}/trunk")]).run().success();
    assert_eq!(server.told()[0]["svn_repository"], server.repos.file_name().unwrap().to_str().unwrap());

    let called = server.world.failcake(["notify-commit", "svn", "--dry-run", "--json", &repos, "1"]).run().success();
    assert_eq!(called.json()["project"], server.repos.file_name().unwrap().to_str().unwrap());
    for folder in [server.world.path(""), server.repos.clone()] {
        assert!(!folder.join("PWNED").exists(), "{}", folder.display());
    }
}

#[test]
fn a_path_that_is_not_utf8_and_an_empty_environment_are_no_obstacle() {
    let server = Server::new();
    server.layout();
    let odd = server.world.path(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::rename(&server.repos, &odd).unwrap();
    let mut call = std::process::Command::new(FAILCAKE);
    call.env_clear().current_dir("/").args(["notify-commit", "svn", "--dry-run", "--json"]).arg(&odd).arg("1");
    let output = call.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["svn_repository"], &told["project"]), (&"caf\u{fffd}".into(), &"web/spog".into()));
}

#[test]
fn what_is_no_revision_is_refused_clearly() {
    let server = Server::new();
    let repos = server.repos.to_str().unwrap();
    let call = |words: &[&str]| server.world.failcake([&["notify-commit", "svn"], words].concat()).run();
    call(&[repos, "0"]).success().stdout("").stderr("failcake: revision 0 is the empty repository: nothing to tell\n");
    call(&[repos, "7"]).code(1).stderr_has("svnlook info -r 7").stderr_has("No such revision 7");
    call(&["/nowhere", "1"]).code(1).stderr_has("can't open the repository \"/nowhere\"");
    let home = server.world.path("home");
    call(&[home.to_str().unwrap(), "1"]).code(1).stderr_has("it is no Subversion repository");
    call(&[repos, "HEAD"]).code(2).stderr_has("HEAD");
    call(&[repos]).code(2);
    call(&["--svnlook", "/nowhere/svnlook", repos, "1"]).code(1).stderr_has("there is no svnlook");
    fs::write(server.repos.join("format"), "99\n").unwrap();
    call(&[repos, "1"]).code(1).stderr_has("svnlook info -r 1");
}

#[test]
fn revisions_without_author_date_or_paths_are_told() {
    let server = Server::new();
    let dump = "SVN-fs-dump-format-version: 2\n\nRevision-number: 1\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n";
    let repos = server.repos.to_str().unwrap();
    server.world.program("svnadmin", ["load", "-q", "--bypass-prop-validation", repos]).stdin(dump).run().success();
    // Subversion adds a date of its own.
    server.world.program("svnadmin", ["delrevprop", repos, "-r", "1", "svn:date"]).run().success();
    let told =
        server.world.failcake(["notify-commit", "svn", "--dry-run", "--json", repos, "1"]).run().success().json();
    assert_eq!((&told["author"], &told["message"], &told["total_paths_count"]), (&Value::Null, &"".into(), &0.into()));
    assert_eq!((&told["project"], &told["date"]), (&"code".into(), &Value::Null));
}

#[test]
fn a_large_revision_is_one_bounded_event_with_exact_totals() {
    let server = Server::new();
    let mut dump = "SVN-fs-dump-format-version: 2\n\nRevision-number: 1\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n".to_owned();
    let node = |path: &str, kind: &str| format!("Node-path: {path}\nNode-kind: {kind}\nNode-action: add\n\n\n");
    dump += &node("app", "dir");
    dump += &node("app/trunk", "dir");
    for number in 0..1500 {
        if number % 100 == 0 {
            dump += &node(&format!("app/trunk/{}", number / 100), "dir");
        }
        dump += &node(&format!("app/trunk/{}/file {number} {}", number / 100, "long ".repeat(40)), "file");
    }
    let repos = server.repos.to_str().unwrap();
    server.world.program("svnadmin", ["load", "-q", "--no-flush-to-disk", repos]).stdin(dump).run().success();
    let told =
        server.world.failcake(["notify-commit", "svn", "--dry-run", "--json", repos, "1"]).run().success().text();
    assert!(told.len() <= 256 * 1024, "{}", told.len());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["total_paths_count"], &told["total_dirs_count"]), (&1517.into(), &18.into()));
    assert!(told["paths"].as_array().unwrap().len() > 100);
}

/// Some machines know no C.UTF-8, and svnlook then warns and writes `e` for `é`.
#[test]
fn another_utf8_locale_serves_where_the_first_is_unknown() {
    let server = Server::new();
    server.commit("é", &[&["mkdir", "é"]]);
    let odd = |known: &str| {
        let script = format!(
            "#!/bin/sh\n[ \"$LC_ALL\" = {known} ] || echo 'svnlook: warning: cannot set LC_CTYPE locale' >&2\n\
             case $LC_ALL in {known}) LC_ALL=C.UTF-8;; *) LC_ALL=C;; esac\nexec /usr/bin/svnlook \"$@\"\n"
        );
        let file = server.world.write(&format!("look-{known}"), script);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let repos = server.repos.to_str().unwrap();
        server.world.failcake([
            "notify-commit",
            "svn",
            "--dry-run",
            "--json",
            "--svnlook",
            file.to_str().unwrap(),
            repos,
            "1",
        ])
    };
    let told = odd("en_US.UTF-8").run().success().stderr("").json();
    assert_eq!((&told["message"], &told["paths"][0]["path"]), (&"é".into(), &"é/".into()));
    let told = odd("nothing").run().success().stderr_has("no UTF-8 locale").json();
    assert!(told["note"].as_str().unwrap().contains("told wrongly"));
}
