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
    let ours = place.path("fresh-ours.git");
    let [plain, durable] = ["fresh-plain.git", "fresh-durable.git"].map(|name| place.path(name));
    for clone in [&plain, &durable] {
        place.git(&place.path(""), &["clone", "--quiet", "--mirror", &url, text(clone)]);
    }
    // As failcake has it: a clone that a power cut does not break.
    place.git(&durable, &["config", "core.fsync", "committed"]);
    place.git(&durable, &["config", "core.fsyncMethod", "batch"]);
    let rest = format!("reconcile: 1h\nrepos:\n  spog: {{ path: {}, url: '{url}' }}\n", ours.display());
    let config = place.config("fresh", &broker.url, &rest);
    let mut watcher =
        place.command(FAILCAKE).arg("-c").arg(config).args(["fetch", "--watch"]).spawn().expect("fetch --watch");
    wait_for("the first clone", || ours.join("HEAD").exists());
    let mut publisher = publisher(&broker);
    // It listens, and its look after the connect is over.
    std::thread::sleep(Duration::from_secs(4));
    let mut rows = [
        ("git fetch, from its start", Some(&plain), Vec::new()),
        ("the same, made as durable (core.fsync=committed)", Some(&durable), Vec::new()),
        ("fetch --watch, from the sending of the event (embedded)", None, Vec::new()),
    ];
    for round in 0..ROUNDS {
        let new = commit(place, &work, &origin, &format!("round {round}"));
        // Turn about, since whoever is second finds the origin's files in memory.
        rows.rotate_left(1);
        for (_, clone, times) in &mut rows {
            let begun = Instant::now();
            match clone {
                None => {
                    let frame = event("spog", &ids[0], &new, round);
                    publisher.publish(vec![frame], begun + Duration::from_secs(60)).expect("published");
                    until_there(&ours, &new);
                    times.push(begun.elapsed());
                }
                Some(clone) => {
                    let mut command = place.command("git");
                    command.arg("--git-dir").arg(*clone).args(["fetch", "--quiet", "origin"]);
                    let mut child = command.spawn().expect("git");
                    until_there(clone, &new);
                    times.push(begun.elapsed());
                    assert!(child.wait().is_ok_and(|status| status.success()), "git fetch");
                }
            }
            assert!(has(place, clone.unwrap_or(&ours), &new));
        }
        std::thread::sleep(GAP);
    }
    let _ = watcher.kill();
    let _ = watcher.wait();
    rows.sort_by_key(|(_, clone, _)| (clone.is_none(), *clone == Some(&durable)));
    println!("\nFrom the change to its reference in a clone ({ROUNDS} rounds, turn about)");
    println!("  {:<60} {:>10} {:>10} {:>10}", "", "median ms", "fastest", "more");
    let base = median(&mut rows[0].2);
    for (name, _, times) in &mut rows {
        let middle = median(times);
        println!("  {name:<60} {:>10.2} {:>10.2} {:>+10.2}", ms(middle), ms(times[0]), ms(middle) - ms(base));
    }
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
