//! Free space: each file system that failcake writes to, once.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};

use super::limits::{Limits, Room};
use super::report::{Measure, Unit};
use super::{Finding, Level};
use crate::config::{Config, SpoolPlace};
use crate::spool::{self, Spool};

/// Of a hundred files that a file system can have, so many must be left: without one nothing can be written either.
const FILES: Limits<f64> = Limits { warn: Some(5.0), fail: Some(1.0) };

/// Who writes where.
fn places(config: &Config) -> Vec<(PathBuf, String)> {
    let mut places = vec![(spool_folder(&config.bus.spool), "spool".to_owned())];
    for repo in config.repos.values() {
        places.push((repo.path.clone(), format!("repo {}", repo.name)));
        places.extend(repo.target.clone().map(|target| (target, format!("target of {}", repo.name))));
    }
    places.extend(config.sites.values().map(|site| (site.path.clone(), format!("site {}", site.name))));
    places
}

/// The parent may be missing, and this user's own folder then be elsewhere.
fn spool_folder(place: &SpoolPlace) -> PathBuf {
    let limits = spool::Limits { count: place.max_count, bytes: place.max_bytes };
    let found = Spool::find_all(&place.parent, limits).unwrap_or_default();
    found.first().map_or_else(|| place.parent.clone(), |spool| spool.path().to_owned())
}

pub(super) fn free(config: &Config, limits: Limits<Room>) -> Vec<Finding> {
    let mut systems: BTreeMap<u64, (PathBuf, Vec<String>)> = BTreeMap::new();
    let mut order = Vec::new();
    for (path, user) in places(config) {
        // What can't be looked at is told by what looks at it.
        let Some((path, device)) = nearest(&path) else { continue };
        let (_, users) = systems.entry(device).or_insert_with(|| {
            order.push(device);
            (path, Vec::new())
        });
        users.push(user);
    }
    order.iter().filter_map(|device| systems.get(device)).map(|(path, users)| one(path, users, limits)).collect()
}

/// The nearest folder that is there, and which file system it is on.
fn nearest(path: &Path) -> Option<(PathBuf, u64)> {
    path.ancestors().find_map(|path| Some((path.to_owned(), path.metadata().ok()?.dev())))
}

fn one(path: &Path, users: &[String], limits: Limits<Room>) -> Finding {
    let about = "free space";
    let system = match statvfs(path) {
        Ok(system) => system,
        Err(error) => {
            return Finding::fail(about, format!("of {} can't be told: {}", path.display(), error.desc()), "make it readable");
        }
    };
    let (free, total) = octets(&system);
    let warn = limits.warn.map(|limit| limit.of(total));
    let fail = limits.fail.map(|limit| limit.of(total));
    let below = |limit: Option<u64>| limit.is_some_and(|limit| free < limit);
    // Some file systems (btrfs) make room for files as they need it, and say 0.
    let left = (system.files() > 0).then(|| 100.0 * system.files_available() as f64 / system.files() as f64);
    let few = |limit: Option<f64>| left.is_some_and(|left| limit.is_some_and(|limit| left < limit));
    // Nobody who switches the one off wants the other.
    let counts = limits.warn.is_some() || limits.fail.is_some();
    let level = if free == 0 || below(fail) || (counts && few(FILES.fail)) {
        Level::Fail
    } else if below(warn) || (counts && few(FILES.warn)) {
        Level::Warn
    } else {
        Level::Ok
    };
    let mut text = format!("{} of {} at {} ({})", size(free), size(total), path.display(), list(users));
    if let Some(left) = left.filter(|left| *left < 10.0) {
        text += &format!(", {left:.1} % of its files");
    }
    let remedy = "make room there: old clones (PATH.damaged-…), retired trees, failcake spool list";
    Finding::at(level, about, text, remedy).with(Measure {
        name: format!("free {}", path.display()),
        value: free,
        unit: Unit::Octets,
        warn,
        fail,
        most: Some(total),
    })
}

/// What may be used by this user, and all.
fn octets(system: &Statvfs) -> (u64, u64) {
    (system.blocks_available() * system.fragment_size(), system.blocks() * system.fragment_size())
}

/// Five hundred repositories are not told by name.
fn list(users: &[String]) -> String {
    match users {
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", users.len() - 3),
        few => few.join(", "),
    }
}

fn size(octets: u64) -> String {
    match octets {
        0..0x10_0000 => format!("{} KiB", octets >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", octets >> 20),
        _ => format!("{:.1} GiB", octets as f64 / f64::from(1 << 30)),
    }
}
