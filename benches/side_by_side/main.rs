//! failcake beside what users would pick instead, in the same run: `make bench`, or `make bench ONLY=hook`.
//!
//! Times are medians of turn-by-turn rounds with ratios; nothing here passes or fails by a time.

mod deploy;
mod fetch;
mod fleet;
mod hook;
mod measure;
mod packages;
mod place;
mod push;
mod rollout;
mod watch;
mod webhook;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    if wanted("rollout") {
        rollout::run();
    }
    if only.iter().all(|word| word == "rollout") && !only.is_empty() {
        return;
    }
    let place = place::Place::new();
    if wanted("hook") {
        hook::run(&place);
    }
    if wanted("push") {
        push::run(&place);
    }
    if wanted("watch") {
        watch::run(&place);
    }
    // Before what deletes many files: ext4 is slow to make new ones for some minutes after that.
    if wanted("fetch") {
        fetch::run(&place);
    }
    if wanted("deploy") {
        deploy::run(&place);
    }
    if wanted("fleet") {
        fleet::run(&place);
    }
    if wanted("packages") {
        packages::run(&place);
    }
    if wanted("webhook") {
        webhook::run(&place);
    }
}
