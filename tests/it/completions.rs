//! What real shells offer at a Tab, by the files that are installed.

use crate::sandbox::Sandbox;

const CONFIG: &str = "\
spool: SANDBOX/spool
inventory: { web01: { groups: [web] }, web02: {}, db01: {} }
repos: { spog: { path: SANDBOX/clone, url: SANDBOX/spog.git } }
sites:
  www.example.org: { repo: spog, path: SANDBOX/site }
  stage.example.org: { repo: spog, path: SANDBOX/stage }
";

/// A site that serves v1, of a repository that has more.
fn world() -> Sandbox {
    let world = Sandbox::new();
    world.repository("spog");
    world.git("spog", ["tag", "v1"]).run().success();
    world.git("spog", ["push", "-q", "origin", "v1", "master:refs/heads/side/track"]).run().success();
    std::fs::create_dir(world.path("spool")).unwrap();
    world.write("failcake.yaml", CONFIG.replace("SANDBOX", world.path("").to_str().unwrap().trim_end_matches('/')));
    world.failcake(["fetch", "spog"]).run().success();
    world.failcake(["deploy", "-q", "www.example.org", "v1"]).run().success();
    world
}

fn file(name: &str) -> String {
    format!("{}/completions/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// With the failcake of this build before any other.
fn path() -> String {
    let own = std::path::Path::new(crate::sandbox::FAILCAKE).parent().unwrap().display().to_string();
    format!("{own}:{}", std::env::var("PATH").unwrap())
}

fn fish(world: &Sandbox, line: &str) -> Vec<String> {
    let script = "source $argv[1]; complete -C $argv[2]";
    let call = world.program("fish", ["--no-config", "-c", script, &file("failcake.fish"), line]).env("PATH", path());
    let said = call.run().success().stderr("").text();
    said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn bash(world: &Sandbox, words: &[&str]) -> Vec<String> {
    let script = r#"
        . "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_failcake failcake "${COMP_WORDS[COMP_CWORD]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let registration = file("failcake.bash");
    let words = [&["-c", script, "bash", &registration], words].concat();
    let said = world.program("bash", words).env("PATH", path()).run().success().stderr("").text();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn the_names_of_this_machine_are_completed() {
    let world = world();
    assert_eq!(fish(&world, "failcake dep"), ["deploy"]);
    for verb in ["deploy", "rollback", "hold", "access grant"] {
        assert_eq!(fish(&world, &format!("failcake {verb} ")), ["stage.example.org", "www.example.org"], "{verb}");
    }
    assert_eq!(fish(&world, "failcake tags "), ["spog"]);
    assert_eq!(fish(&world, "failcake deploy www.example.org s"), ["side/track"]);
    assert_eq!(fish(&world, "failcake deploy www.example.org v1 --on web"), ["web01", "web02", "web"]);
    assert!(fish(&world, "failcake deploy www.example.org v1 --on web01,").contains(&"web01,db01".to_owned()));
    let release = std::fs::read_link(world.path("site/current")).unwrap();
    let release = release.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(fish(&world, "failcake rollback www.example.org --to 2"), [release]);
    assert!(fish(&world, "failcake tail /topic/failcake.g").contains(&"/topic/failcake.git.commits".to_owned()));
    assert_eq!(fish(&world, "failcake --config fail"), ["failcake.yaml"]);

    // Options when one is begun, none that only old hooks use, and nothing that only failcake itself calls.
    assert!(fish(&world, "failcake deploy www.example.org --wa").contains(&"--watch".to_owned()));
    assert!(!fish(&world, "failcake jenkins-status --").contains(&"--cake".to_owned()));
    assert!(!fish(&world, "failcake ").contains(&"node-step".to_owned()));
}

#[test]
fn another_shell_offers_the_same() {
    let world = world();
    assert_eq!(bash(&world, &["failcake", "deploy", "www"]), ["www.example.org"]);
    let offered = bash(&world, &["failcake", "deploy", "www.example.org", ""]);
    assert_eq!(offered, ["v1", "side/track", "master"]);
}

#[test]
fn without_a_configuration_that_can_be_read_nothing_is_offered_and_nothing_is_said() {
    let world = world();
    world.write("failcake.yaml", "sites: [");
    assert_eq!(fish(&world, "failcake deploy www"), [""; 0]);
    assert_eq!(fish(&world, "failcake --config /does/not/exist deploy www"), [""; 0]);
    // What it says is no option to whoever hooks it up.
    assert_eq!(fish(&world, "failcake dep"), ["deploy"]);
}
