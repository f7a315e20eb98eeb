//! `fetch`: branches as directories beside r10k, a big tree beside `git checkout`, from the event to the fresh clone beside
//! `git fetch`, and a watcher over many repositories.

mod big;
mod branches;
mod crowd;
mod fresh;

use crate::place::Place;

/// Runs all of them.
pub fn run(place: &Place) {
    branches::run(place);
    big::run(place);
    fresh::run(place);
    crowd::run(place);
}
