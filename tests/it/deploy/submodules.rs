//! What git leaves out of a tree: submodules, and files in LFS.

use std::fs;
use std::path::Path;

use super::sandbox::Sandbox;

const URL: &str = "https://git.example.org/group/lib.git";

/// A commit in the repository that `work` has as a submodule, in its clone `lib.git` as well.
fn commit_lib(site: &Sandbox, text: &str) {
    let lib = site.root.join("work/vendor/lib");
    let at = lib.to_str().unwrap();
    fs::write(lib.join("lib.txt"), text).unwrap();
    site.git(&["-C", at, "add", "."]);
    site.git(&["-C", at, "commit", "-q", "-m", text]);
    site.git(&["-C", at, "push", "-q", site.root.join("lib.git").to_str().unwrap(), "HEAD:refs/heads/master"]);
}

fn with_submodule(url: &str) -> Sandbox {
    let site = Sandbox::new();
    let lib = site.root.join("work/vendor/lib");
    fs::create_dir_all(&lib).unwrap();
    site.git(&["-C", lib.to_str().unwrap(), "init", "-q", "-b", "master"]);
    site.git(&["init", "-q", "--bare", site.root.join("lib.git").to_str().unwrap()]);
    commit_lib(&site, "1");
    site.commit(
        "one",
        &[(".gitmodules", &format!("[submodule \"x\"]\n\tpath = vendor/lib\n\turl = {url}\n")), ("a", "a")],
    );
    site
}

fn repos(site: &Sandbox) -> String {
    let path = |name: &str| site.root.join(name).display().to_string();
    let app = "https://git.example.org/group/app";
    format!(
        "repos: {{ spog: {{ path: {}, url: {app} }}, lib: {{ path: {}, url: {URL} }} }}",
        path("repo.git"),
        path("lib.git")
    )
}

#[test]
fn a_submodule_comes_from_the_clone_of_its_url_and_follows_its_commit() {
    for url in [URL, "https://git.example.org/group/lib/", "../lib"] {
        let site = with_submodule(url).keep(1);
        let site = {
            let repos = repos(&site);
            site.config(&repos, "")
        };
        site.deploy("v-one").ok();
        assert_eq!(site.list("current/vendor/lib"), ["lib.txt"]);
        assert_eq!(site.read("current/vendor/lib/lib.txt"), "1");
        commit_lib(&site, "2");
        site.commit("two", &[]);
        // Often enough for a retired tree to be used again.
        for (tag, text) in [("two", "2"), ("one", "1"), ("two", "2"), ("one", "1"), ("two", "2")] {
            site.deploy(&format!("v-{tag}")).ok();
            assert_eq!(site.read("current/vendor/lib/lib.txt"), text);
            assert_eq!(site.list("current/vendor/lib"), ["lib.txt"]);
            site.assert_tidy();
        }
        // And one that is a submodule no longer.
        fs::remove_dir_all(site.root.join("work/vendor")).unwrap();
        site.commit("none", &[("vendor/lib", "a file")]);
        for tag in ["v-none", "v-one", "v-none"] {
            site.deploy(tag).ok();
        }
        assert_eq!(site.read("current/vendor/lib"), "a file");
    }
}

#[test]
fn a_submodule_that_can_not_be_had_is_an_error_that_names_it_and_no_empty_folder() {
    let site = with_submodule(URL);
    let said = site.deploy("v-one").fails(1);
    let wanted = format!("submodule vendor/lib is of {URL}, and no repository of `repos:` has that url: add it there");
    assert!(said.err.contains(&wanted), "{}", said.err);
    assert!(!site.path("current").exists());
    let site = {
        let repos = repos(&site);
        site.config(&repos, "")
    };
    let at = site.root.join("work/vendor/lib");
    site.git(&["-C", at.to_str().unwrap(), "commit", "-q", "--allow-empty", "-m", "not pushed"]);
    site.commit("two", &[]);
    let said = site.deploy("v-two").fails(1);
    assert!(said.err.contains("submodule vendor/lib at ") && said.err.contains("`failcake fetch lib`"), "{}", said.err);
    fs::remove_file(site.root.join("work/.gitmodules")).unwrap();
    site.commit("three", &[]);
    let said = site.deploy("v-three").fails(1);
    assert!(said.err.contains("submodules: git config"), "{}", said.err);
}

#[test]
fn pointers_are_not_deployed_in_the_stead_of_files() {
    let site = Sandbox::new();
    site.commit(
        "one",
        &[("sub/.gitattributes", "# none\n*.bin  filter=lfs diff=lfs -text\n"), ("sub/a.bin", "version https://…")],
    );
    let deploy = || {
        let mut command = site.command(&["deploy", "www", "master"]);
        // Whatever this machine's git knows.
        command.env("GIT_CONFIG_SYSTEM", "/dev/null").env("HOME", Path::new("/nonexistent"));
        super::sandbox::Said::of(command.output().unwrap())
    };
    let said = deploy().fails(1);
    assert!(
        said.err.contains("sub/.gitattributes keeps files in Git LFS, which git here does not know"),
        "{}",
        said.err
    );
    // With a program for it, that program decides.
    site.git(&["-C", site.root.join("repo.git").to_str().unwrap(), "config", "filter.lfs.smudge", "tr a-z A-Z"]);
    deploy().ok();
    assert_eq!(site.read("current/sub/a.bin"), "VERSION HTTPS://…");
}
