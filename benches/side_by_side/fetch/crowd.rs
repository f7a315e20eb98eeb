//! One watcher over 500 repositories: its size, what wakes it, and how soon it has caught up.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::measure::{ms, once};
use crate::place::{FAILCAKE, Place};
use crate::watch::{Counters, text, wait_for};

const REPOS: usize = 500;
const IDLE: Duration = Duration::from_secs(10);

pub fn run(place: &Place) {
    let broker = place.embedded();
    let (work, ids) = place.history("crowd-work", 4);
    let origin = |number: usize| place.path(&format!("crowd/origin-{number}.git"));
    let clone = |number: usize| place.path(&format!("crowd/clone-{number}.git"));
    fs::create_dir(place.path("crowd")).expect("a folder");
    let first = origin(0);
    let words = ["-c", "init.templateDir=", "clone", "--quiet", "--bare", text(&work), text(&first)];
    place.git(&place.path(""), &words);
    move_to(&first, &ids[0]);
    (1..REPOS).for_each(|number| copy(&first, &origin(number)));
    let mut rest = "reconcile: 1h\nrepos:\n".to_owned();
    for number in 0..REPOS {
        let (path, url) = (clone(number), origin(number));
        rest.push_str(&format!("  repo{number}: {{ path: {}, url: 'file://{}' }}\n", path.display(), url.display()));
    }
    let config = place.config("crowd", &broker.url, &rest);
    let fetch = || {
        let sample = once(place.command(FAILCAKE).arg("-c").arg(&config).arg("fetch"), b"");
        assert!(sample.status.success(), "failcake fetch");
        sample
    };
    let all_move = |id: &str| (0..REPOS).for_each(|number| move_to(&origin(number), id));
    let are_at = |id: &str| (0..REPOS).all(|number| at(&clone(number)).as_deref() == Some(id));
    println!("\n{REPOS} repositories with one change each");
    let cloned = fetch();
    println!("  failcake fetch, cloning all: {:.1} s, peak {:.1} MB", cloned.wall.as_secs_f64(), megabytes(&cloned));
    let mut all = String::new();
    for number in 0..REPOS {
        all.push_str(&format!(
            "git --git-dir {} fetch --quiet origin '+refs/heads/*:refs/heads/*'\n",
            clone(number).display()
        ));
    }
    all_move(&ids[1]);
    let one_by_one = once(place.command("sh").args(["-ec", &all]), b"");
    assert!(one_by_one.status.success() && are_at(&ids[1]), "git fetch");
    println!("  git fetch in each, one by one: {:.1} s", one_by_one.wall.as_secs_f64());
    all_move(&ids[2]);
    let fetched = fetch();
    assert!(are_at(&ids[2]), "fetched");
    println!("  failcake fetch: {:.1} s, peak {:.1} MB", fetched.wall.as_secs_f64(), megabytes(&fetched));

    all_move(&ids[3]);
    let mut command = place.command(FAILCAKE);
    let begun = Instant::now();
    let mut watcher = command.arg("-c").arg(&config).args(["fetch", "--watch"]).spawn().expect("fetch --watch");
    wait_for("all repositories", || are_at(&ids[3]));
    let caught_up = begun.elapsed();
    println!(
        "  fetch --watch, from start to caught up: {:.1} s (its looks are spread over 30 s, to spare the git server)",
        caught_up.as_secs_f64()
    );
    // The look after the connect may be a second one.
    std::thread::sleep(Duration::from_secs(30).saturating_sub(caught_up) + Duration::from_secs(5));
    let before = Counters::of(&watcher);
    std::thread::sleep(IDLE);
    let after = Counters::of(&watcher);
    println!(
        "  then, idle for {} s: wake-ups {}, CPU {:.0} ms, resident {:.1} MB, peak {:.1} MB",
        IDLE.as_secs(),
        after.switches - before.switches,
        after.cpu_ms - before.cpu_ms,
        after.rss_mb,
        after.peak_mb
    );
    println!("  start of failcake with these {REPOS} in its configuration: {:.1} ms", ms(check(place, &config)));
    let _ = watcher.kill();
    let _ = watcher.wait();
}

/// The shortest of some runs that read the configuration and do nothing.
fn check(place: &Place, config: &Path) -> Duration {
    let show = || once(place.command(FAILCAKE).arg("-c").arg(config).args(["config", "show"]), b"").wall;
    (0..5).map(|_| show()).min().unwrap_or_default()
}

fn megabytes(sample: &crate::measure::Sample) -> f64 {
    sample.max_rss as f64 / 1024.0
}

/// Moves master of a bare repository that has the commit, without a process.
fn move_to(bare: &Path, id: &str) {
    fs::create_dir_all(bare.join("refs/heads")).expect("a folder");
    fs::write(bare.join("refs/heads/master"), format!("{id}\n")).expect("a reference");
}

fn at(clone: &Path) -> Option<String> {
    let loose = fs::read_to_string(clone.join("refs/heads/master")).ok()?;
    Some(loose.trim_end().to_owned())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), &target).map(drop).expect("a copy")
        }
    }
}
