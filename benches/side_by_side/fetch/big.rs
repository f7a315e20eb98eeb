//! A tree of 50,000 files of which ten change, beside what `git checkout` takes for it in a work tree that is there: that one
//! is a mixture while it runs, and not durable when it ends.

use std::fs;
use std::path::Path;

use crate::measure::{Contender, once, race};
use crate::place::{FAILCAKE, Place};

const FILES: usize = 50_000;
const CHANGED: usize = 10;
const ROUNDS: usize = 7;
/// Until a replaced tree is there to be used again.
const WARM_UP: usize = 3;

pub fn run(place: &Place) {
    let (work, bare) = (place.path("big-work"), place.path("big.git"));
    fs::create_dir(&work).expect("a work tree");
    place.git(&work, &["init", "--quiet", "--initial-branch=master"]);
    let file = |number: usize| work.join(format!("d{:02}/e{:02}/f{number}.txt", number % 50, number / 50 % 20));
    for number in 0..FILES {
        fs::create_dir_all(file(number).parent().expect("a folder")).expect("a folder");
        fs::write(file(number), format!("{number} {}\n", "some text ".repeat(number % 300))).expect("a file");
    }
    let ids: Vec<String> = (0..WARM_UP + ROUNDS)
        .map(|turn| {
            for number in 0..CHANGED {
                fs::write(file(number), format!("{turn}\n")).expect("a file");
            }
            place.git(&work, &["add", "."]);
            place.git(&work, &["commit", "--quiet", "--message", "a change"]);
            place.git(&work, &["rev-parse", "HEAD"])
        })
        .collect();
    let bare_text = bare.to_str().expect("UTF-8");
    place.git(&place.path(""), &["init", "--quiet", "--bare", "--initial-branch=master", bare_text]);
    let push = |turn: usize| {
        place.git(&work, &["push", "--quiet", bare_text, &format!("{}:refs/heads/master", ids[turn])]);
    };
    push(0);
    let (site, clone) = (place.path("big-site"), place.path("big-clone.git"));
    let rest = format!(
        "repos:\n  big: {{ path: {}, url: 'file://{}', mode: branch, target: {}, grace: 0s }}\n",
        clone.display(),
        bare.display(),
        site.display()
    );
    let config = place.config("big", "stomp://localhost:1", &rest);
    let publish = || once(place.command(FAILCAKE).arg("-c").arg(&config).arg("fetch"), b"");
    let in_place = |name: &str| {
        let tree = place.path(name);
        place
            .git(&place.path(""), &["clone", "--quiet", &format!("file://{bare_text}"), tree.to_str().expect("UTF-8")]);
        tree
    };
    let (tree, other) = (in_place("big-tree"), in_place("big-other"));
    let git = |tree: &Path, words: &[&str]| once(place.command("git").current_dir(tree).args(words), b"");
    for turn in 0..WARM_UP {
        push(turn);
        assert!(publish().status.success(), "failcake fetch");
    }
    nix::unistd::sync();
    let mut turn = WARM_UP - 1;
    let runs = vec![
        Contender::new("git checkout in a work tree", || {
            turn += 1;
            push(turn);
            place.git(&tree, &["fetch", "--quiet", "origin"]);
            git(&tree, &["checkout", "--quiet", "origin/master"])
        }),
        Contender::new("git fetch, then git checkout", || {
            let script = "git fetch --quiet origin && git checkout --quiet origin/master";
            once(place.command("sh").current_dir(&other).args(["-ec", script]), b"")
        }),
        Contender::new("failcake fetch: look, fetch, publish, sync", || {
            let sample = publish();
            let head = place.git(&bare, &["rev-parse", "refs/heads/master"]);
            assert_eq!(fs::read_to_string(site.join("REVISION")).expect("a site").trim_end(), head);
            sample
        }),
    ];
    race(&format!("{FILES} files, {CHANGED} changed, published steadily"), ROUNDS, runs);
}
