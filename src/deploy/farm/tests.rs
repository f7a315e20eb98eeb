//! What was asked for elsewhere must be what is found here.

use std::path::Path;
use std::process::Command;

use crate::config::{Config, Source};

use crate::deploy::person::{ask, find};
use crate::deploy::{Error, Expected, Here, Request};
use crate::git::local::Kind;
use crate::name::Rev;

fn git(at: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(args).current_dir(at);
    let output = command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", at).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The farm `farm` and the site `svn`; the commits of the farm's repositories.
fn world(folder: &Path) -> (Config, [Rev; 2]) {
    let commits = ["app", "lib"].map(|name| {
        let repo = folder.join(name);
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", "--bare", "-b", "master"]);
        let tree = git(&repo, &["hash-object", "-t", "tree", "-w", "--stdin"]);
        let commit = git(&repo, &["commit-tree", "-m", name, &tree]);
        git(&repo, &["tag", "v1", &commit]);
        commit.parse().unwrap()
    });
    let at = folder.display();
    let text = format!(
        "repos: {{ app: {{ path: {at}/app }}, lib: {{ path: {at}/lib }}, code: {{ svn: 'svn://127.0.0.1:1/p' }} }}\nsites:\n\
         \x20 farm: {{ path: {at}/farm, farm: {{ repos: [ {{ repo: app, target: . }}, {{ repo: lib, target: lib, base: v1 }} ] }} }}\n\
         \x20 svn: {{ path: {at}/svn, repo: code }}\n"
    );
    let path = folder.join("c.yaml");
    std::fs::write(&path, text).unwrap();
    (Source { file: Some(path) }.load().unwrap(), commits)
}

fn plan(config: &Config, site: &str, reference: &str, expected: &Rev) -> Result<Vec<String>, Error> {
    let (site, origin) = find(config, &site.parse().unwrap()).unwrap();
    let here = Here { site, repo: &origin, repos: &config.repos, host: "web01", user: None, stop: None };
    let request =
        Request { expected: Some(Expected::Git(Kind::Tag, expected.clone())), ..ask(reference.to_owned(), false) };
    let plan = here.plan(&request)?;
    Ok(plan.parts.iter().map(|part| format!("{} {}", part.asked(), part.commit)).collect())
}

#[test]
fn an_expected_commit_is_of_the_one_repository_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (config, [app, lib]) = world(folder.path());
    let parts = plan(&config, "farm", "app=v1", &app).unwrap();
    assert_eq!(parts, [format!("app=v1 {app}"), format!("lib=v1 {lib}")]);
    let moved = plan(&config, "farm", "app=v1", &lib).unwrap_err();
    assert!(matches!(&moved, Error::Moved { found, .. } if *found == app), "{moved}");
    let several = plan(&config, "farm", "app=v1 lib=v1", &app).unwrap_err().to_string();
    assert!(several.contains("deploy one at a time"), "{several}");
    let other = plan(&config, "svn", "tags/v1", &app).unwrap_err().to_string();
    assert!(other.contains("was asked for, and this site's files come from svn://"), "{other}");
}
