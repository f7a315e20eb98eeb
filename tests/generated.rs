//! The manual and the completions in the tree are what the definitions of the command line say.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const REFRESH: &str = "run `make generated` and commit what it changed";

fn failcake(words: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_failcake")).args(words).output().unwrap();
    assert!(output.status.success(), "failcake {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}; {REFRESH}", folder.display()));
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_manual_is_fresh() {
    let scratch = tempfile::tempdir().unwrap();
    failcake(&["man", "--dir", scratch.path().to_str().unwrap()]);
    let (fresh, stale) = (pages(scratch.path()), pages(&tree().join("man")));
    assert!(fresh.contains_key("failcake.1") && fresh.contains_key("failcake-check.1"), "{:?}", fresh.keys());
    assert_eq!(fresh.keys().collect::<Vec<_>>(), stale.keys().collect::<Vec<_>>(), "man/ is stale: {REFRESH}");
    for (name, text) in fresh {
        assert!(stale[&name] == text, "man/{name} is stale: {REFRESH}");
    }
}

#[test]
fn the_completions_are_fresh() {
    for (shell, file) in [("bash", "failcake.bash"), ("zsh", "_failcake"), ("fish", "failcake.fish")] {
        let path = tree().join("completions").join(file);
        let stale = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; {REFRESH}", path.display()));
        assert!(failcake(&["completions", shell]) == stale, "completions/{file} is stale: {REFRESH}");
    }
}
