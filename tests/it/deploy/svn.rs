//! Sites of Subversion: real repositories, real svn, and svnserve where a login matters.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::sandbox::{Said, Sandbox, is_root, me};

/// The site `www` of the project `web/spog` in a repository on this machine.
pub struct Project {
    pub site: Sandbox,
}

impl Project {
    pub fn new() -> Project {
        let site = Sandbox::new();
        run(Command::new("svnadmin").arg("create").arg(site.root.join("code")));
        let url = url(&site);
        let project = Project { site: site.config(&format!("repos: {{ spog: {{ svn: '{url}' }} }}"), "") };
        let dirs = ["web", "web/spog", "web/spog/trunk", "web/spog/branches", "web/spog/tags"];
        project.mucc(&dirs.map(|dir| ["mkdir".to_owned(), format!("../../{dir}")]).concat());
        project
    }

    /// Sets keys of the repository.
    fn keys(self, keys: &str) -> Project {
        let url = url(&self.site);
        Project { site: self.site.config(&format!("repos: {{ spog: {{ svn: '{url}', {keys} }} }}"), "") }
    }

    /// One revision of svnmucc's actions, on paths below the project; its number.
    fn mucc(&self, actions: &[String]) -> u64 {
        let actions = actions.iter().map(|word| word.strip_prefix("../../").map_or(word.clone(), str::to_owned));
        let root = if actions.clone().any(|word| word == "web") { "" } else { "/web/spog" };
        let mut svnmucc = Command::new("svnmucc");
        svnmucc.args(["--non-interactive", "-u", "ada", "-m", "x", "-U"]);
        svnmucc.arg(format!("file://{}/code{root}", self.site.root.display())).args(actions);
        let said = run(&mut svnmucc);
        said.out.split_whitespace().next().unwrap().trim_start_matches('r').parse().unwrap()
    }

    /// Puts files into a line (one that begins with `#!` is executable) with the folders that they need; gives the
    /// revision.
    pub fn commit(&self, line: &str, files: &[(&str, &str)]) -> u64 {
        let wc = self.check_out(line);
        for (path, text) in files {
            let path = wc.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        self.check_in()
    }

    fn check_out(&self, line: &str) -> std::path::PathBuf {
        let wc = self.site.root.join("wc");
        let _ = fs::remove_dir_all(&wc);
        run(Command::new("svn").args(["checkout", "-q", &format!("{}/{line}@", url(&self.site))]).arg(&wc));
        wc
    }

    /// Commits what is in the working copy.
    fn check_in(&self) -> u64 {
        let wc = self.site.root.join("wc");
        run(Command::new("svn").args(["add", "-q", "--force", "."]).current_dir(&wc));
        let said = run(Command::new("svn").args(["commit", "-m", "x"]).current_dir(&wc));
        let number = said.out.split_whitespace().last().unwrap_or_default().trim_end_matches('.');
        number.parse().unwrap_or_else(|_| panic!("{}", said.out))
    }

    /// Tags trunk; the name is as a URL has it.
    pub fn tag(&self, name: &str) -> u64 {
        self.mucc(&["cp", "HEAD", "trunk", &format!("tags/{name}")].map(str::to_owned))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.site.path(path)).unwrap().mode() & 0o777
    }
}

fn url(site: &Sandbox) -> String {
    format!("file://{}/code/web/spog", site.root.display())
}

fn run(command: &mut Command) -> Said {
    let program = command.get_program().to_owned();
    let output = command.env("LC_ALL", "C.UTF-8").output();
    Said::of(output.unwrap_or_else(|e| panic!("{program:?} is needed: apt-get install subversion: {e}"))).ok()
}

#[test]
fn a_tag_a_branch_the_trunk_and_a_revision_are_releases_like_any_other() {
    let svn = Project::new();
    let svn = Project { site: svn.site.keep(9) };
    let one = svn.commit("trunk", &[("index.html", "one")]);
    let tag = svn.tag("v1");
    svn.commit("trunk", &[("index.html", "two")]);
    svn.mucc(&["cp", "HEAD", "trunk", "branches/summer"].map(str::to_owned));
    let branch = svn.commit("branches/summer", &[("index.html", "summer")]);
    let site = &svn.site;

    let said = site.deploy("tags/v1").ok();
    let current = site.current();
    assert!(current.ends_with(&format!("-r{tag}")), "{current}");
    assert_eq!(said.out, format!("www serves tags/v1 as release {current}\n"));
    assert_eq!(
        (site.read("current/index.html"), site.read("current/REVISION")),
        ("one".to_owned(), format!("{tag}\n"))
    );
    let line = format!("Branch tags/v1 (at {tag}) deployed as release {current} by {}\n", me());
    assert_eq!(site.read("revisions.log"), line);
    assert_eq!(site.list("current"), ["REVISION", "index.html"], "no .svn");

    for (reference, text) in [
        ("trunk", "two"),
        ("branches/summer", "summer"),
        (one.to_string().as_str(), "one"),
        (&format!("r{one}"), "one"),
    ] {
        site.deploy(reference).ok();
        assert_eq!(site.read("current/index.html"), text, "{reference}");
    }
    // The trunk as it was then: what changed it last is the older revision.
    site.deploy(&branch.to_string()).ok();
    assert_eq!((site.read("current/index.html"), site.read("current/REVISION").trim()), ("two".to_owned(), "4"));

    let state = site.run(&["state", "www"]).ok().out;
    assert!(state.contains("  tags/v1 (3) by ") && state.contains(": was live since"), "{state}");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "one");
    site.assert_tidy();
}

#[test]
fn what_is_no_tag_branch_or_revision_is_refused_and_names_are_data() {
    let svn = Project::new();
    svn.commit("trunk", &[("index.html", "one")]);
    svn.mucc(&["put", svn.site.config.to_str().unwrap(), "tags/file"].map(str::to_owned));
    let site = &svn.site;
    for (reference, why) in [
        ("v1", "say which of them it is"),
        ("", "say which of them it is"),
        ("tags/", "a part of the name is empty"),
        ("tags/../../../etc", "is empty, '.' or '..'"),
        ("tags/a\nb", "control character"),
        ("--upload-pack=x", "say which"),
        ("HEAD", "say which"),
        ("{2012-01-01}", "say which"),
        ("9999999999999999999999", "no repository has so many"),
        ("77", "there is no 77 in file://"),
        ("tags/nope", "there is no tags/nope in file://"),
        ("tags/nope@1", "there is no tags/nope@1 in"),
        ("branches/-r", "there is no branches/-r in"),
        ("tags/$(touch PWNED)", "there is no tags/$(touch PWNED) in"),
        ("tags/file", "is a file, and only a folder"),
    ] {
        let said = site.run(&["deploy", "www", "--", reference]).fails(1);
        assert!(said.err.contains(why), "{reference:?}: {}", said.err);
    }
    assert!(site.list("releases").is_empty() && !site.path("current").exists());

    // What svn allows works: an @ begins no peg revision, a % no escape, a ; no command.
    let names = [
        ("v@2", "v%402"),
        ("v2@HEAD", "v2%40HEAD"),
        ("100%41", "100%2541"),
        ("é ;$(touch PWNED)`id`&'\"", "%C3%A9%20%3B%24%28touch%20PWNED%29%60id%60%26%27%22"),
        ("-rf", "-rf"),
        ("2012/v1", "2012/v1"),
    ];
    svn.mucc(&["mkdir".to_owned(), "tags/2012".to_owned()]);
    for (name, escaped) in names {
        svn.commit("trunk", &[("index.html", name)]);
        svn.tag(escaped);
        let reference = format!("tags/{name}");
        site.deploy(&reference).ok();
        assert_eq!(site.read("current/index.html"), name);
        assert!(site.run(&["state", "www"]).ok().out.contains(&reference));
    }
    for folder in [&site.root, &std::env::current_dir().unwrap(), &site.path("current")] {
        assert!(!folder.join("PWNED").exists(), "{}", folder.display());
    }
}

#[test]
fn files_come_out_as_svn_means_them() {
    let svn = Project::new();
    let outside = svn.site.root.join("outside");
    fs::write(&outside, "mine").unwrap();
    let wc = svn.check_out("trunk");
    for (name, text) in
        [("run", "#!/bin/sh\n"), ("id", "$Rev$ $Id$"), ("lines", "a\nb\n"), ("d/é \"x", "odd"), ("-rf", "x")]
    {
        fs::create_dir_all(wc.join(name).parent().unwrap()).unwrap();
        fs::write(wc.join(name), text).unwrap();
    }
    symlink("d/é \"x", wc.join("link")).unwrap();
    // Never written through.
    symlink(&outside, wc.join("REVISION")).unwrap();
    run(Command::new("svn").args(["add", "-q", "--force", "."]).current_dir(&wc));
    for (name, key, value) in
        [("run", "svn:executable", "*"), ("id", "svn:keywords", "Rev Id"), ("lines", "svn:eol-style", "CRLF")]
    {
        run(Command::new("svn").args(["propset", "-q", key, value, name]).current_dir(&wc));
    }
    let number = svn.check_in();
    let site = &svn.site;
    site.deploy("trunk").ok();
    assert_eq!((svn.mode("current/run") & 0o111, svn.mode("current/lines") & 0o111), (0o111, 0));
    assert!(site.read("current/id").starts_with(&format!("$Rev: {number} $ $Id: id {number} ")));
    assert_eq!((site.read("current/lines"), site.read("current/d/é \"x")), ("a\r\nb\r\n".to_owned(), "odd".to_owned()));
    assert_eq!(fs::read_link(site.path("current/link")).unwrap().to_str(), Some("d/é \"x"));
    assert_eq!(
        (site.read("current/REVISION"), fs::read_to_string(outside).unwrap()),
        (format!("{number}\n"), "mine".into())
    );
}

#[test]
fn scripts_shared_paths_and_a_failure_are_as_with_git() {
    let svn = Project::new();
    let svn = Project { site: svn.site.shared("[uploads]") };
    let site = &svn.site;
    svn.commit("trunk", &[("index.html", "one"), ("uploads/from-svn", "x")]);
    site.deploy("trunk").ok();
    fs::write(site.path("current/uploads/new"), "kept").unwrap();
    let script = "#!/bin/sh\nenv | grep ^FAILCAKE_ | sort > env; echo $@ >> env\n";
    let two = svn.commit("trunk", &[("index.html", "two"), ("deploy/pre-deploy", script)]);
    site.deploy("trunk").ok();
    assert_eq!(
        (site.list("current/uploads"), site.read("current/index.html").as_str()),
        (vec!["new".to_owned()], "two")
    );
    let env = site.read("current/env");
    for wanted in [
        format!("FAILCAKE_COMMIT={two}\n"),
        "FAILCAKE_PREVIOUS_COMMIT=2\n".to_owned(),
        format!("FAILCAKE_REPO={}\n", url(site)),
        "FAILCAKE_REF=trunk\n".to_owned(),
        "-t trunk\n".to_owned(),
    ] {
        assert!(env.contains(&wanted), "{wanted}: {env}");
    }
    svn.commit("trunk", &[("index.html", "three"), ("deploy/post-deploy", "#!/bin/sh\nexit 3\n")]);
    let said = site.deploy("trunk").fails(1);
    assert!(said.err.contains("post-deploy failed: it exited with status 3"), "{}", said.err);
    assert_eq!(site.read("current/index.html"), "two");
    site.assert_tidy();
}

#[test]
fn externals_are_refused_or_left_out_and_never_followed_through_a_link() {
    let svn = Project::new();
    svn.commit("trunk", &[("index.html", "one")]);
    let outside = svn.site.root.join("outside");
    fs::create_dir(&outside).unwrap();
    let wc = svn.check_out("trunk");
    symlink(&outside, wc.join("out")).unwrap();
    fs::create_dir(wc.join("lib")).unwrap();
    run(Command::new("svn").args(["add", "-q", "--force", "."]).current_dir(&wc));
    let externals = "^/web/spog/trunk@2 out/evil\n^/web/spog/trunk@2 own";
    run(Command::new("svn").args(["propset", "-q", "svn:externals", externals, ".", "lib"]).current_dir(&wc));
    svn.check_in();
    let said = svn.site.deploy("trunk").fails(1);
    assert!(said.err.contains("svn:externals on ., lib") && said.err.contains("externals: leave-out"), "{}", said.err);
    assert!(svn.site.list("releases").is_empty());
    let svn = svn.keys("externals: leave-out");
    let said = svn.site.deploy("trunk").ok();
    assert!(said.err.contains("left out: svn:externals on ., lib"), "{}", said.err);
    assert_eq!(svn.site.list("current"), ["REVISION", "index.html", "lib", "out"]);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

/// Whoever moves a tag between the look and the export: the release is what was looked at.
#[test]
fn a_tag_that_is_exchanged_meanwhile_is_deployed_as_it_was_found() {
    let svn = Project::new();
    let site = &svn.site;
    svn.commit("trunk", &[("index.html", "one")]);
    let tag = svn.tag("v1");
    let bin = site.root.join("bin");
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in propget) /usr/bin/svnmucc --non-interactive -m x -U {} rm tags/v1 put {} tags/v1 >&2;; esac\n\
         exec /usr/bin/svn \"$@\"\n",
        url(site),
        site.config.display(),
    );
    fs::write(bin.join("svn"), script).unwrap();
    fs::set_permissions(bin.join("svn"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Said::of(site.command(&["deploy", "www", "tags/v1"]).env("PATH", path).output().unwrap()).ok();
    assert_eq!(
        (site.read("current/index.html"), site.read("current/REVISION")),
        ("one".to_owned(), format!("{tag}\n"))
    );
    site.deploy("tags/v1").fails(1);
}

#[test]
fn tags_fetch_check_and_a_dry_run_ask_the_server_and_touch_nothing() {
    let svn = Project::new();
    let site = &svn.site;
    svn.commit("trunk", &[("index.html", "one"), ("gone", "x")]);
    svn.tag("v1");
    svn.mucc(&["rm", "trunk/gone"].map(str::to_owned));
    svn.commit("trunk", &[("index.html", "two"), ("new é", "x")]);
    svn.tag("v@2".replace('@', "%40").as_str());
    let said = site.run(&["deploy", "www", "tags/v1", "--dry-run"]).ok();
    assert!(said.out.contains("would go from nothing (unknown commit) to tags/v1 (3)"), "{}", said.out);
    assert!(site.list("").is_empty());
    site.deploy("tags/v1").ok();
    let said = site.run(&["deploy", "www", "tags/v@2", "--dry-run"]).ok();
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(&lines[..4], ["3 files change", "A\tnew é", "D\tgone", "M\tindex.html"]);

    let tags = site.run(&["tags", "spog"]).ok().out;
    let tags: Vec<&str> = tags.lines().collect();
    assert!(tags[0].starts_with("tags/v@2  6  20") && tags[1].starts_with("tags/v1  3  20"), "{tags:?}");
    assert!(tags[1].ends_with("Z  live on www") && !tags[0].contains("live"), "{tags:?}");
    let json: serde_json::Value = serde_json::from_str(&site.run(&["tags", "spog", "--json"]).ok().out).unwrap();
    assert_eq!(
        (&json[1]["tag"], &json[1]["commit"], &json[1]["live"][0]),
        (&"tags/v1".into(), &"3".into(), &"www".into())
    );

    for args in [&["fetch"][..], &["fetch", "spog"]] {
        assert_eq!(site.run(args).ok().out, "nothing to fetch: [spog] a deploy exports from its Subversion server\n");
    }
    let json: serde_json::Value = serde_json::from_str(&site.run(&["fetch", "--json"]).ok().out).unwrap();
    assert_eq!(json, serde_json::json!({ "repo": "spog", "svn": true, "ok": true }));
    let said = site.run(&["fetch", "--watch"]).fails(2);
    assert!(said.err.contains("there is nothing to watch"), "{}", said.err);

    let row = |site: &Sandbox| {
        let said = site.run(&["check", "--json"]).out;
        let all: serde_json::Value = serde_json::from_str(&said).unwrap();
        let row = all.as_array().unwrap().iter().find(|row| row["about"] == "repo spog").unwrap();
        (row["level"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned())
    };
    let (level, text) = row(site);
    assert!(level == "ok" && text.ends_with("/code/web/spog, trunk changed in r5"), "{text}");
    let away = site.root.join("away");
    fs::rename(site.root.join("code"), &away).unwrap();
    assert_eq!(row(site).0, "fail");

    // The server is gone: what serves goes on serving, and goes back all the same.
    fs::rename(&away, site.root.join("code")).unwrap();
    site.deploy("tags/v@2").ok();
    fs::rename(site.root.join("code"), &away).unwrap();
    let said = site.deploy("tags/v1").fails(1);
    assert!(said.err.contains("svn info file://") && said.err.contains("Unable to"), "{}", said.err);
    assert_eq!(site.read("current/index.html"), "two");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.read("current/index.html"), "one");
    site.assert_tidy();
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let svn = Project::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let repos = format!("repos: {{ spog: {{ svn: 'svn://{}/spog', timeout: 500ms }} }}", silent.local_addr().unwrap());
    let site = svn.site.config(&repos, "");
    let said = site.deploy("trunk").fails(1);
    assert!(said.err.contains("was ended after 0.5 s: the server is slow or hangs"), "{}", said.err);
}

/// svnserve on a free port, with a login; a connection each, as inetd would start it.
fn server(site: &Sandbox) -> u16 {
    let conf = site.root.join("code/conf");
    fs::write(conf.join("svnserve.conf"), "[general]\nanon-access = none\npassword-db = passwd\nrealm = code\n")
        .unwrap();
    fs::write(conf.join("passwd"), "[users]\nada = s3cret word\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = site.root.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket: std::os::fd::OwnedFd = socket.unwrap().into();
            let mut svnserve = Command::new("svnserve");
            svnserve.arg("-i").arg("-r").arg(&root).stdin(Stdio::from(socket.try_clone().unwrap()));
            svnserve.stdout(Stdio::from(socket)).stderr(Stdio::null()).status().unwrap();
        }
    });
    port
}

#[test]
fn a_login_comes_from_a_file_and_is_neither_shown_nor_stored() {
    let svn = Project::new();
    svn.commit("trunk", &[("index.html", "one")]);
    let port = server(&svn.site);
    let home = svn.site.root.join("home");
    fs::create_dir(&home).unwrap();
    let password = svn.site.root.join("svn.password");
    let site = svn.site.config(
        &format!(
            "repos: {{ spog: {{ svn: 'svn://127.0.0.1:{port}/code/web/spog', login: ada, password-file: '{}' }} }}",
            password.display()
        ),
        "",
    );
    let deploy = || Said::of(site.command(&["deploy", "www", "trunk"]).env("HOME", &home).output().unwrap());
    let said = deploy().fails(2);
    assert!(said.err.contains("can't read the secret file"), "{}", said.err);
    fs::write(&password, "wrong\n").unwrap();
    let said = deploy().fails(1);
    assert!(said.err.contains("say login: and password-file:") && !said.err.contains("wrong"), "{}", said.err);
    fs::write(&password, "s3cret word\n").unwrap();
    deploy().ok();
    assert_eq!(site.read("current/index.html"), "one");
    let stored = home.join(".subversion/auth/svn.simple");
    assert_eq!(fs::read_dir(stored).map_or(0, Iterator::count), 0, "nothing is stored");
    // A rollback needs no password.
    deploy().ok();
    fs::remove_file(&password).unwrap();
    site.run(&["rollback", "www"]).ok();
}

#[test]
fn root_reads_the_password_before_it_becomes_the_sites_user() {
    if !is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let svn = Project::new();
    svn.commit("trunk", &[("index.html", "one")]);
    let port = server(&svn.site);
    let password = svn.site.root.join("svn.password");
    fs::write(&password, "s3cret word\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&svn.site.root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir(svn.site.path("")).unwrap();
    let repos = format!(
        "repos: {{ spog: {{ svn: 'svn://127.0.0.1:{port}/code/web/spog', login: ada, password-file: '{}' }} }}",
        password.display()
    );
    let site = svn.site.config(&repos, "user: nobody");
    site.deploy("trunk").ok();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(fs::metadata(site.path("current/index.html")).unwrap().uid(), nobody);
    assert!(site.run(&["check"]).out.contains("ok    repo spog"));
}

#[test]
fn ssh_is_called_so_that_it_asks_nothing() {
    let svn = Project::new();
    svn.commit("trunk", &[("index.html", "one")]);
    let bin = svn.site.root.join("bin");
    fs::create_dir(&bin).unwrap();
    let log = svn.site.root.join("ssh.log");
    fs::write(bin.join("ssh"), format!("#!/bin/sh\necho \"$@\" >> {}\nexec svnserve -t\n", log.display())).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let repos =
        format!("repos: {{ spog: {{ svn: 'svn+ssh://svn.example.org{}/code/web/spog' }} }}", svn.site.root.display());
    let site = svn.site.config(&repos, "");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Said::of(site.command(&["deploy", "www", "trunk"]).env("PATH", path).output().unwrap()).ok();
    assert_eq!(site.read("current/index.html"), "one");
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.lines().all(|line| line.contains("BatchMode=yes") && line.contains("svn.example.org svnserve -t")),
        "{log}"
    );
}
