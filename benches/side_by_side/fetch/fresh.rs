//! From the event to the fresh clone, beside `git fetch` of the same change.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::measure::{median, ms};
use crate::place::{FAILCAKE, Place};
use crate::watch::{commit, event, has, publisher, text, wait_for};

const ROUNDS: usize = 21;
/// The git server is asked once a second for one repository.
const GAP: Duration = Duration::from_millis(1200);

pub fn run(place: &Place) {
    let broker = place.embedded();
    let (work, ids) = place.history("fresh-work", 2);
    let origin = place.path("fresh-origin.git");
    place.git(&place.path(""), &["clone", "--quiet", "--bare", text(&work), text(&origin)]);
    let url = format!("file://{}", origin.display());
    let (ours, plain) = (place.path("fresh-ours.git"), place.path("fresh-plain.git"));
    place.git(&place.path(""), &["clone", "--quiet", "--mirror", &url, text(&plain)]);
    let rest = format!("reconcile: 1h\nrepos:\n  spog: {{ path: {}, url: '{url}' }}\n", ours.display());
    let config = place.config("fresh", &broker.url, &rest);
    let mut watcher =
        place.command(FAILCAKE).arg("-c").arg(config).args(["fetch", "--watch"]).spawn().expect("fetch --watch");
    wait_for("the first clone", || ours.join("HEAD").exists());
    let mut publisher = publisher(&broker);
    // It listens, and its look after the connect is over.
    std::thread::sleep(Duration::from_secs(4));
    let (mut by_event, mut by_git) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let new = commit(place, &work, &origin, &format!("round {round}"));
        // Turn about, since whoever is second finds the origin's files in memory.
        for ours_now in if round % 2 == 0 { [true, false] } else { [false, true] } {
            if ours_now {
                let frame = event("spog", &ids[0], &new, round);
                let begun = Instant::now();
                publisher.publish(vec![frame], begun + Duration::from_secs(60)).expect("published");
                until_there(&ours, &new);
                by_event.push(begun.elapsed());
            } else {
                let mut command = place.command("git");
                command.arg("--git-dir").arg(&plain).args(["fetch", "--quiet", "origin"]);
                let begun = Instant::now();
                let mut child = command.spawn().expect("git");
                until_there(&plain, &new);
                by_git.push(begun.elapsed());
                assert!(child.wait().is_ok_and(|status| status.success()), "git fetch");
            }
            assert!(has(place, if ours_now { &ours } else { &plain }, &new));
        }
        std::thread::sleep(GAP);
    }
    let _ = watcher.kill();
    let _ = watcher.wait();
    let (event, git) = (median(&mut by_event), median(&mut by_git));
    println!("\nFrom the change to its reference in a clone ({ROUNDS} rounds, turn about)");
    println!("  {:<60} {:>10} {:>10}", "", "median ms", "fastest");
    for (name, middle, fastest) in [
        ("git fetch, from its start", git, by_git[0]),
        ("fetch --watch, from the sending of the event (embedded)", event, by_event[0]),
    ] {
        println!("  {name:<60} {:>10.2} {:>10.2}", ms(middle), ms(fastest));
    }
    println!("  {:<60} {:>+10.2}", "difference", ms(event) - ms(git));
    println!("  (not run here: git-sync looks every 10 s by default, so it is fresh after 5 s on average)");
}

/// Waits for the loose reference that a fetch writes.
fn until_there(clone: &Path, commit: &str) {
    let (file, end) = (clone.join("refs/heads/master"), Instant::now() + Duration::from_secs(60));
    while !fs::read_to_string(&file).is_ok_and(|id| id.trim_end() == commit) {
        assert!(Instant::now() < end, "{commit} did not come to {}", clone.display());
        std::thread::sleep(Duration::from_micros(100));
    }
}
