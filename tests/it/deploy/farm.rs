//! Sites that are built of several repositories and of users' directories.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::sandbox::{Said, Sandbox, is_root, me};

/// The site `www`: `app` at `.`, `lib` in its `plugins/`, `theme` beside it, and `uploads` with users' files.
pub struct Farm {
    pub site: Sandbox,
}

/// As a site file of the old days would place them.
const REPOS: &str = "[ { repo: lib, target: plugins/lib, base: v-1 }, { repo: app, target: ., base: v-1 }, \
                     { repo: theme, target: plugins/theme, base: v-1 } ]";

impl Farm {
    /// Three repositories with a tag `v-1` each.
    pub fn new() -> Farm {
        let farm = Farm::of(REPOS, "uploads");
        for repo in ["app", "lib", "theme"] {
            farm.commit(repo, "1", &[("index.html", "1")]);
        }
        farm
    }

    /// The same three, still empty, placed by `repos`; the users' files at `uploads`.
    pub fn of(repos: &str, uploads: &str) -> Farm {
        let site = Sandbox::new();
        for repo in ["app", "lib", "theme"] {
            let bare = site.root.join(format!("{repo}.git"));
            site.git(&["init", "-q", "--bare", "-b", "master", bare.to_str().unwrap()]);
            let work = site.root.join(repo);
            site.git(&["init", "-q", "-b", "master", work.to_str().unwrap()]);
        }
        fs::create_dir_all(site.root.join("user/files")).unwrap();
        let path = |repo: &str| format!("{repo}: {{ path: {}/{repo}.git }}", site.root.display());
        let all = format!("repos: {{ {}, {}, {} }}", path("app"), path("lib"), path("theme"));
        let farm = format!(
            "farm: {{ repos: {repos}, user-root: {}/user, directories: [ {{ source: files, target: {uploads} }} ] }}",
            site.root.display()
        );
        let site = site.config(&all, &farm);
        let text = fs::read_to_string(&site.config).unwrap().replace("    repo: spog\n", "");
        fs::write(&site.config, text).unwrap();
        Farm { site }
    }

    pub fn git(&self, repo: &str, args: &[&str]) -> String {
        let work = self.site.root.join(repo);
        self.site.git(&[&["-C", work.to_str().unwrap()], args].concat())
    }

    /// Writes files (one that begins with `#!` is executable), commits, tags it `v-NAME` and pushes; gives the commit.
    pub fn commit(&self, repo: &str, name: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.site.root.join(repo).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        self.git(repo, &["add", "-A", "."]);
        self.git(repo, &["commit", "-q", "--allow-empty", "-m", name]);
        self.git(repo, &["tag", "-f", &format!("v-{name}")]);
        let bare = self.site.root.join(format!("{repo}.git"));
        let refs = ["HEAD:refs/heads/master".to_owned(), format!("refs/tags/v-{name}")];
        self.git(repo, &["push", "-q", "-f", bare.to_str().unwrap(), &refs[0], &refs[1]]);
        self.git(repo, &["rev-parse", "HEAD"])
    }

    fn deploy(&self, words: &[&str]) -> Said {
        self.site.run(&[&["deploy", "www", "--"], words].concat())
    }

    /// What is served: app, lib, theme.
    fn served(&self) -> [String; 3] {
        ["current/index.html", "current/plugins/lib/index.html", "current/plugins/theme/index.html"]
            .map(|path| self.site.read(path))
    }

    fn link(&self, path: &str) -> PathBuf {
        fs::read_link(self.site.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}

#[test]
fn a_farm_is_a_release_of_files_and_links() {
    let farm = Farm::new();
    let site = &farm.site;
    let commits = ["app", "lib", "theme"].map(|repo| farm.git(repo, &["rev-parse", "HEAD"]));
    let said = farm.deploy(&["app=v-1"]).ok();
    let current = site.current();
    assert_eq!(said.out, format!("www serves app=v-1 as release {current}\n"));
    assert_eq!(farm.served(), ["1", "1", "1"], "the others begin at their base");
    let tree = format!("lib-{}", commits[1]);
    assert_eq!(farm.link("current/plugins/lib"), Path::new("../../../trees").join(&tree));
    assert_eq!(farm.link("current/uploads"), site.root.join("user/files"));
    assert!(fs::symlink_metadata(site.path("current/index.html")).unwrap().is_file());
    assert_eq!(site.list("trees"), [tree, format!("theme-{}", commits[2])], "app is in the farm itself");
    let revision = format!(
        "lib v-1 {} plugins/lib\napp v-1 {} .\ntheme v-1 {} plugins/theme\n",
        commits[1], commits[0], commits[2]
    );
    assert_eq!(site.read("current/REVISION"), revision);
    assert_eq!(site.read("current/plugins/lib/REVISION"), format!("{}\n", commits[1]));
    let line = format!("Branch app=v-1 (at {}) deployed as release {current} by {}\n", commits[0], me());
    assert_eq!(site.read("revisions.log"), line);

    let state = site.run(&["state", "www"]).ok().out;
    assert!(state.contains(&format!("    lib v-1 ({}) at plugins/lib\n", &commits[1][..7])), "{state}");
    let json: serde_json::Value = serde_json::from_str(&site.run(&["state", "--json"]).ok().out).unwrap();
    let record = &json[0]["releases"][0];
    assert_eq!((&record["ref"], &record["parts"][1]["repo"]), (&"app=v-1".into(), &"app".into()));
    assert_eq!(
        (&record["parts"][0]["ref"], &record["parts"][0]["commit"]),
        (&"v-1".into(), &commits[1].as_str().into())
    );
    let sum = std::process::Command::new("sha256sum").arg(site.path("current/REVISION")).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(record["commit"].as_str().unwrap()));
    let tags = site.run(&["tags", "lib"]).ok().out;
    assert!(tags.starts_with("v-1  ") && tags.ends_with("  live on www\n"), "{tags}");
    site.assert_tidy();
}

/// What PHP does with `__FILE__`, and why a repository that holds others is no link: its neighbours are found from a
/// file's real path.
#[test]
fn a_program_finds_its_plugins_from_its_own_real_path() {
    let farm = Farm::new();
    fs::write(farm.site.root.join("user/files/photo"), "photo").unwrap();
    let script = "#!/bin/sh\ncd \"$(dirname \"$(readlink -f \"$0\")\")\"; cat plugins/lib/index.html uploads/photo\n";
    farm.commit("app", "2", &[("bin", script)]);
    farm.deploy(&["app=v-2"]).ok();
    let output = std::process::Command::new(farm.site.path("current/bin")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1photo");
}

#[test]
fn a_new_tag_of_one_repository_leaves_the_others_as_they_are() {
    let farm = Farm::new();
    let site = &farm.site;
    farm.deploy(&["app=master"]).ok();
    let (first, theme) = (site.current(), farm.link("current/plugins/theme"));
    for repo in ["app", "lib", "theme"] {
        farm.commit(repo, "2", &[("index.html", "2")]);
    }
    farm.deploy(&["lib=v-2"]).ok();
    assert_eq!(farm.served(), ["1", "2", "1"], "neither a branch nor a base moves by itself");
    assert_eq!(farm.link("current/plugins/theme"), theme, "one tree for both");
    let old = fs::read_to_string(site.path(&format!("releases/{first}/plugins/lib/index.html"))).unwrap();
    assert_eq!(old, "1", "the release before is as it was");
    farm.deploy(&["theme=v-2", "app=v-2"]).ok();
    assert_eq!(farm.served(), ["2", "2", "2"]);
    assert!(site.run(&["state", "www"]).ok().out.contains("  theme=v-2 app=v-2 ("));
    site.run(&["rollback", "www"]).ok();
    assert_eq!(farm.served(), ["1", "2", "1"]);
    site.run(&["rollback", "www"]).ok();
    assert_eq!((farm.served(), site.current()), (["1", "1", "1"].map(str::to_owned), first));
    // From what is live, not from what was deployed last.
    farm.deploy(&["theme=v-2"]).ok();
    assert_eq!(farm.served(), ["1", "1", "2"]);
    site.assert_tidy();
}

#[test]
fn a_request_says_which_repository_or_is_refused_with_those_it_could_be() {
    let farm = Farm::new();
    farm.commit("lib", "only-lib", &[("index.html", "only")]);
    let odd = "x;$(touch${IFS}PWNED)`id`";
    farm.git("theme", &["branch", odd]);
    let bare = farm.site.root.join("theme.git");
    farm.git("theme", &["push", "-q", bare.to_str().unwrap(), &format!("refs/heads/{odd}")]);
    for (words, why) in [
        (
            &["v-1"][..],
            "several repositories of the farm have \"v-1\": say which one you mean: lib=v-1 or app=v-1 or theme=v-1",
        ),
        (&["nope"], "no repository of the farm has a tag, a branch or a full commit id \"nope\""),
        (&["ap=v-1"], "the farm has no repository \"ap\": it has lib=REF, app=REF, theme=REF"),
        (&["app=nope"], "\"nope\" is no tag, no branch of the remote and no full commit id"),
        (&["app=v-1", "app=master"], "app is named twice"),
        (&["app="], "\"\" is no tag"),
        (&[""], "say which repository: lib=REF, app=REF"),
        (&["../lib=v-1"], "the farm has no repository \"../lib\""),
        (&["app=--upload-pack=x"], "\"--upload-pack=x\" is no tag"),
    ] {
        let said = farm.deploy(words).fails(1);
        assert!(said.err.contains(why), "{words:?}: {}", said.err);
    }
    assert_eq!(farm.site.list(""), [".failcake", "releases", "shared"], "no more than a lock needs");
    assert!(farm.site.list("releases").is_empty());
    farm.deploy(&["v-only-lib"]).ok();
    assert_eq!(farm.served(), ["1", "only", "1"]);
    assert!(
        farm.site.read("revisions.log").contains("Branch lib=v-only-lib (at "),
        "{}",
        farm.site.read("revisions.log")
    );
    farm.deploy(&[&format!("theme={odd}")]).ok();
    farm.deploy(&["lib=v-1"]).ok();
    farm.deploy(&[&farm.git("lib", &["rev-parse", "v-only-lib"])]).ok();
    assert_eq!(farm.served(), ["1", "only", "1"]);
    assert!(!farm.site.root.join("PWNED").exists() && !farm.site.path("current").join("PWNED").exists());

    // One without a base, and a site that takes only one word.
    let farm = Farm::of("[ { repo: app, target: . }, { repo: lib, target: lib } ]", "uploads");
    farm.commit("app", "1", &[("index.html", "1")]);
    farm.commit("lib", "1", &[("index.html", "1")]);
    let said = farm.deploy(&["app=v-1"]).fails(1);
    assert!(said.err.contains("there is no base: to begin with: name lib=REF too"), "{}", said.err);
    farm.deploy(&["app=v-1", "lib=v-1"]).ok();
    let plain = Sandbox::new();
    plain.commit("one", &[("a", "a")]);
    let said = plain.run(&["deploy", "www", "v-one", "v-one"]).fails(1);
    assert!(said.err.contains("\"v-one v-one\" is no tag"), "{}", said.err);
}

#[test]
fn places_inside_places_are_made_in_the_right_order() {
    let repos = "[ { repo: theme, target: a/app/x/lib/theme }, { repo: lib, target: a/app/x/lib }, { repo: app, target: a/app } ]";
    let farm = Farm::of(repos, "a/app/x/lib/theme/deep/files");
    let site = &farm.site;
    farm.commit("app", "1", &[("index.html", "app"), ("x/lib/from-app", "gone"), ("x/other", "app")]);
    farm.commit("lib", "1", &[("index.html", "lib"), ("theme", "a file, and gone")]);
    farm.commit("theme", "1", &[("index.html", "theme")]);
    for _ in 0..3 {
        farm.deploy(&["app=v-1", "lib=v-1", "theme=v-1"]).ok();
        assert_eq!(site.list("current"), ["REVISION", "a"]);
        assert_eq!(site.list("current/a/app/x"), ["lib", "other"]);
        assert_eq!(site.list("current/a/app/x/lib"), ["index.html", "theme"], "in place of what app has there");
        assert_eq!(site.read("current/a/app/x/lib/theme/index.html"), "theme");
        assert_eq!(farm.link("current/a/app/x/lib/theme/deep/files"), site.root.join("user/files"));
    }
    assert!(site.list("trees").is_empty(), "all of them hold something");
    site.assert_tidy();
}

#[test]
fn what_a_commit_has_in_the_way_is_replaced_and_a_link_is_not_followed() {
    let farm = Farm::new();
    let site = Sandbox::keep(farm.site.clone_with(""), 1);
    let farm = Farm { site };
    farm.commit(
        "app",
        "2",
        &[("plugins/lib/index.html", "app's own"), ("plugins/lib/more", "x"), ("uploads/kept", "x")],
    );
    for _ in 0..4 {
        farm.deploy(&["app=v-2"]).ok();
        assert_eq!(farm.served()[1], "1");
    }
    // The next release is made of a retired one, whose index lists files where now a link leads to the shared tree.
    fs::remove_dir_all(farm.site.root.join("app/plugins")).unwrap();
    fs::remove_dir_all(farm.site.root.join("app/uploads")).unwrap();
    fs::write(farm.site.root.join("user/files/kept"), "a user's").unwrap();
    farm.commit("app", "3", &[("index.html", "3")]);
    for _ in 0..3 {
        farm.deploy(&["app=v-3"]).ok();
        assert_eq!(farm.served(), ["3", "1", "1"]);
        assert_eq!(farm.site.read("current/uploads/kept"), "a user's");
    }

    let outside = farm.site.root.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, farm.site.root.join("app/plugins")).unwrap();
    farm.commit("app", "4", &[]);
    let said = farm.deploy(&["app=v-4"]).fails(1);
    assert!(
        said.err.contains("plugins/lib can't be put into the release") && said.err.contains("no folder at plugins")
    );
    assert_eq!((farm.served(), fs::read_dir(outside).unwrap().count()), (["3", "1", "1"].map(str::to_owned), 0));
    farm.site.assert_tidy();
}

#[test]
fn users_directories_are_there_and_below_their_root_or_nothing_begins() {
    let farm = Farm::new();
    let (user, files) = (farm.site.root.join("user"), farm.site.root.join("user/files"));
    let refused = |why: &str| {
        let said = farm.deploy(&["app=v-1"]).fails(1);
        assert!(said.err.contains(why), "{}", said.err);
        let said = farm.site.run(&["deploy", "www", "app=v-1", "--dry-run"]).fails(1);
        assert!(said.err.contains(why), "{}", said.err);
        let check = farm.site.run(&["check"]).out;
        assert!(check.lines().any(|line| line.starts_with("FAIL  site www") && line.contains(why)), "{check}");
        assert!(farm.site.list("releases").is_empty() && farm.site.list("trees").is_empty());
    };
    fs::remove_dir(&files).unwrap();
    refused("make it first, for failcake makes none below user-root:");
    fs::write(&files, "").unwrap();
    refused("user/files: ");
    fs::remove_file(&files).unwrap();
    symlink("/etc", &files).unwrap();
    refused("leads to /etc, out of user-root:");
    fs::remove_file(&files).unwrap();
    symlink("../user-elsewhere", &files).unwrap();
    fs::create_dir(farm.site.root.join("user-elsewhere")).unwrap();
    refused("out of user-root:");
    fs::remove_file(&files).unwrap();
    fs::create_dir(user.join("disk2")).unwrap();
    symlink("disk2", &files).unwrap();
    farm.deploy(&["app=v-1"]).ok();
    assert_eq!(farm.link("current/uploads"), files);
    fs::rename(&user, farm.site.root.join("away")).unwrap();
    assert!(farm.deploy(&["app=v-1"]).fails(1).err.contains("make it first"));
}

#[test]
fn scripts_get_the_tag_as_ever_and_what_else_there_is_to_know() {
    let farm = Farm::new();
    let site = &farm.site;
    farm.deploy(&["app=v-1"]).ok();
    let old = farm.git("lib", &["rev-parse", "HEAD"]);
    let script =
        "#!/bin/sh\n{ env | grep ^FAILCAKE_ | sort; echo \"args $@\"; cat REVISION plugins/lib/index.html; } > env\n";
    farm.commit("app", "2", &[("deploy/pre-link.sh", script), ("deploy/post-deploy", "#!/bin/sh\ntouch posted\n")]);
    farm.deploy(&["app=v-2"]).ok();
    let new = farm.commit("lib", "2", &[("index.html", "2")]);
    farm.deploy(&["lib=v-2"]).ok();
    let env = site.read("current/env");
    for wanted in [
        "FAILCAKE_REF=v-2\n".to_owned(),
        "args -t v-2\n".to_owned(),
        format!("FAILCAKE_COMMIT={new}\n"),
        format!("FAILCAKE_PREVIOUS_COMMIT={old}\n"),
        format!("FAILCAKE_REPO={}/lib.git\n", site.root.display()),
        "FAILCAKE_PARTS=lib=v-2\n".to_owned(),
        format!("lib v-2 {new} plugins/lib\n"),
    ] {
        assert!(env.contains(&wanted), "{wanted}: {env}");
    }
    assert!(env.ends_with("plugins/theme\n2") && site.path("current/posted").exists(), "{env}");

    farm.commit("app", "3", &[("index.html", "3"), ("deploy/post-deploy", "#!/bin/sh\nexit 4\n")]);
    let said = farm.deploy(&["app=v-3"]).fails(1);
    assert!(said.err.contains("post-deploy failed: it exited with status 4"), "{}", said.err);
    assert_eq!(farm.served(), ["1", "2", "1"]);
    site.assert_tidy();

    // A control directory in a repository that is a link; what leads out of it is refused.
    let site = farm.site.clone_with("scripts: plugins/lib/control");
    farm.commit("lib", "3", &[("control/pre-deploy.sh", "#!/bin/sh\ntouch controlled\n")]);
    let outside = site.root.join("outside.sh");
    fs::write(&outside, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
    site.run(&["deploy", "www", "lib=v-3", "app=v-2"]).ok();
    assert!(site.path("current/controlled").exists() && !site.path("current/env").exists());
    symlink(&outside, site.root.join("lib/control/pre-link")).unwrap();
    farm.commit("lib", "4", &[]);
    let said = site.run(&["deploy", "www", "lib=v-4"]).fails(1);
    assert!(said.err.contains("leads out of the release"), "{}", said.err);
}

#[test]
fn trees_go_with_the_last_release_that_has_them() {
    let farm = Farm::new();
    let site = Sandbox::keep(farm.site.clone_with(""), 1);
    let farm = Farm { site };
    let site = &farm.site;
    farm.deploy(&["app=v-1"]).ok();
    let first = site.path("trees").join(farm.link("current/plugins/lib").file_name().unwrap());
    for n in 2..6 {
        farm.commit("lib", &n.to_string(), &[("index.html", &n.to_string())]);
    }
    let mut stands = std::process::Command::new("sleep").arg("600").current_dir(&first).spawn().unwrap();
    for n in 2..6 {
        farm.deploy(&[&format!("lib=v-{n}")]).ok();
    }
    assert_eq!(farm.served(), ["1", "5", "1"]);
    assert_eq!(site.list("trees").len(), 4, "the live one, the one before, theme, and the one that is stood in");
    stands.kill().unwrap();
    stands.wait().unwrap();
    farm.deploy(&["lib=v-5"]).ok();
    assert!(!first.exists());
    site.run(&["rollback", "www"]).ok();
    assert!(["4", "5"].contains(&farm.served()[1].as_str()));

    // A rollback to what is no longer whole is refused, and a deploy makes it whole.
    farm.deploy(&["lib=v-3"]).ok();
    farm.deploy(&["lib=v-4"]).ok();
    let gone = format!("lib-{}", farm.git("lib", &["rev-parse", "v-3"]));
    fs::remove_dir_all(site.path("trees").join(&gone)).unwrap();
    let said = site.run(&["rollback", "www"]).fails(1);
    assert!(said.err.contains(&format!("trees/{gone}, to which it leads, is gone")), "{}", said.err);
    farm.deploy(&["lib=v-3"]).ok();
    assert_eq!(farm.served()[1], "3");

    // What could not be staged leaves none behind.
    fs::remove_dir_all(site.root.join("theme/.git")).unwrap();
    fs::write(site.root.join("theme.git/config"), "nonsense").unwrap();
    let before = site.list("trees");
    farm.commit("lib", "6", &[(".gitmodules", "[submodule \"x\"]\npath = x\nurl = https://example.org/x\n")]);
    farm.git("lib", &["update-index", "--add", "--cacheinfo", &format!("160000,{},x", "a".repeat(40))]);
    farm.git("lib", &["commit", "-q", "-m", "x"]);
    let bare = site.root.join("lib.git");
    farm.git("lib", &["push", "-q", bare.to_str().unwrap(), "HEAD:refs/heads/sub"]);
    let said = farm.deploy(&["lib=sub"]).fails(1);
    assert!(said.err.contains("no repository of `repos:` has that url"), "{}", said.err);
    assert_eq!((site.list("trees"), farm.served()[1].as_str()), (before, "3"));
    site.assert_tidy();
}

#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let farm = Farm::new();
    let said = farm.site.run(&["deploy", "www", "lib=v-1", "--dry-run"]).ok();
    assert!(said.out.contains("would go from nothing") && said.out.contains(") at plugins/lib\n"), "{}", said.out);
    assert!(farm.site.list("").is_empty());
    farm.deploy(&["app=v-1"]).ok();
    farm.commit("lib", "2", &[("index.html", "2"), ("new", "x")]);
    let (before, live) = (farm.site.list("trees"), farm.site.current());
    let said = farm.site.run(&["deploy", "www", "lib=v-2", "--dry-run"]).ok();
    assert!(said.out.ends_with("M\tplugins/lib/index.html\nA\tplugins/lib/new\n2 files change\n"), "{}", said.out);
    assert_eq!((farm.site.list("trees"), farm.site.current()), (before, live));
}

/// Records are not all that knows what is live.
#[test]
fn a_farm_whose_record_is_lost_is_known_by_its_revision() {
    let farm = Farm::new();
    let site = &farm.site;
    for repo in ["app", "lib"] {
        farm.commit(repo, "2", &[("index.html", "2")]);
    }
    farm.deploy(&["app=v-2", "lib=v-2"]).ok();
    fs::remove_dir_all(site.path(".failcake/releases")).unwrap();
    farm.deploy(&["theme=v-1"]).ok();
    assert_eq!(farm.served(), ["2", "2", "1"], "not back to the base");
    site.run(&["rollback", "www"]).ok();
    assert_eq!(farm.served(), ["2", "2", "1"], "its trees are still there");
}

#[test]
fn a_site_becomes_a_farm_and_a_farm_a_site_again() {
    let farm = Farm::new();
    let text = fs::read_to_string(&farm.site.config).unwrap();
    let line = text.lines().find(|line| line.starts_with("    farm:")).unwrap();
    let plain = text.replace(line, "    repo: app\n    keep: 1");
    let leaf = text.replace(line, "    keep: 1\n    farm: { repos: [ { repo: lib, target: lib, base: v-1 } ] }");
    let site = &farm.site;
    let mut last = String::new();
    for round in 0..9 {
        let (config, word) = match round % 3 {
            0 => (&plain, "master"),
            1 => (&text, "app=v-1"),
            _ => (&leaf, "lib=v-1"),
        };
        fs::write(&site.config, config).unwrap();
        for _ in 0..3 {
            site.deploy(word).ok();
        }
        assert_ne!(site.current(), std::mem::replace(&mut last, site.current()));
        let wanted: &[&str] = match round % 3 {
            0 => &["REVISION", "index.html"],
            1 => &["REVISION", "index.html", "plugins", "uploads"],
            _ => &["REVISION", "lib"],
        };
        assert_eq!(site.list("current"), wanted, "{round}");
        site.assert_tidy();
    }
}

#[test]
fn root_becomes_the_sites_user_for_trees_as_well() {
    if !is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let farm = Farm::new();
    fs::set_permissions(&farm.site.root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir(farm.site.path("")).unwrap();
    let site = farm.site.clone_with("user: nobody");
    site.run(&["deploy", "www", "app=v-1"]).ok();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    for path in ["trees", "current/index.html", "current/plugins/lib/index.html"] {
        assert_eq!(fs::metadata(site.path(path)).unwrap().uid(), nobody, "{path}");
    }
}

/// The file of a site as the old agent had it in /etc/facts.d, with the scripts that it required.
#[test]
fn an_old_site_file_is_deployed_as_it_is_and_as_imported() {
    let farm = Farm::new();
    let root = &farm.site.root;
    for (bare, clone) in [("app.git", "repo/app"), ("lib.git", "repo/lib")] {
        fs::create_dir_all(root.join("repo")).unwrap();
        symlink(root.join(bare), root.join(clone)).unwrap();
    }
    fs::create_dir_all(root.join("deploy")).unwrap();
    let at = root.display();
    let text = format!(
        "---\nsite-root: {at}/site-root\nrepo-root: {at}/repo\ndeploy-root: {at}/deploy\nuser-root: {at}/user\n\n\
         repo-list:\n  - name: app\n    target: www.example.org\n    base_tag: v-1\n\n\
         \x20 - name: lib\n    target: www.example.org/plugins/lib\n    base_tag: v-1\n\n\
         controldir: {at}/deploy/app_v-1/control\n\n\
         directorymap:\n  - source: files\n    target: uploads\n"
    );
    let old = root.join("www.example.org.yaml");
    fs::write(&old, text).unwrap();
    let new = root.join("imported.yaml");
    let import = farm.site.run(&["config", "import", old.to_str().unwrap(), "--output", new.to_str().unwrap()]).ok();
    assert!(import.err.is_empty(), "{}", import.err);
    assert!(fs::read_to_string(&new).unwrap().contains("# Left out: site-root: the web server is to serve current/"));

    let current = root.join("deploy/www.example.org/current");
    let with = |config: &Path, args: &[&str]| {
        let config = Sandbox::at_config(&farm.site, config);
        config.run(args)
    };
    let said = with(&old, &["deploy", "www.example.org", "app=v-1"]).fails(1);
    assert!(said.err.contains("it is required, and") && said.err.contains("control has no pre-deploy"), "{}", said.err);
    let script = |name: &str| format!("#!/bin/sh\necho {name} $1 $2 >> log\n");
    let scripts: Vec<(String, String)> =
        ["pre-deploy", "pre-link", "post-deploy"].map(|name| (format!("control/{name}.sh"), script(name))).to_vec();
    let files: Vec<(&str, &str)> = scripts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    farm.commit("app", "2", &files);
    farm.commit("lib", "2", &[("index.html", "2")]);
    with(&old, &["deploy", "www.example.org", "app=v-2"]).ok();
    let read = |path: &str| fs::read_to_string(current.join(path)).unwrap();
    assert_eq!(read("log"), "pre-deploy -t v-2\npre-link -t v-2\npost-deploy -t v-2\n");
    assert_eq!((read("index.html"), read("plugins/lib/index.html")), ("1".to_owned(), "1".to_owned()));
    with(&new, &["deploy", "www.example.org", "lib=v-2"]).ok();
    assert_eq!(read("plugins/lib/index.html"), "2");
    assert_eq!(fs::read_link(current.join("uploads")).unwrap(), root.join("user/files"));
    with(&old, &["rollback", "www.example.org"]).ok();
    assert_eq!(read("plugins/lib/index.html"), "1");
    let state = with(&new, &["state"]).ok().out;
    assert!(state.starts_with("www.example.org: ") && state.contains("    lib v-1 ("), "{state}");
    assert!(with(&old, &["tags", "lib"]).ok().out.contains("v-1"));
}
