//! `INCOMING/DIST/`: what lies there at rest.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::stat::SFlag;

use super::folder::Folder;
use super::upload::{Stamp, is_changes, is_package, is_upload, read_changes};
use super::{Error, at, changes};
use crate::name::Distribution;
use crate::process::Stop;

/// What was written to within this time, or within that of rest if it is longer, is looked at twice.
const YOUNG: Duration = Duration::from_secs(60);

/// Something that may be an upload.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: OsString,
    pub(super) stamp: Stamp,
    /// It is no file: a link, a folder, a pipe.
    pub(super) is_odd: bool,
}

/// A distribution's folder, and what is in it.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) distribution: Distribution,
    pub(super) folder: Folder,
    pub(super) found: Vec<Found>,
    /// Packages that a .changes file there names, whether it is whole or not: they come with it, or with none.
    pub(super) spoken_for: BTreeSet<OsString>,
}

/// The distributions' folders, and why some can't be looked at. What is young is there only if it did not change while
/// this waited.
pub(super) fn look(incoming: &Path, rest: Duration, stop: &Stop) -> Result<(Vec<Shelf>, Vec<Error>), Error> {
    let (mut shelves, mut errors) = shelves(incoming)?;
    let now = SystemTime::now();
    // A time in the future is of a clock that was set back, or of a server with another: it says nothing.
    let is_young = |found: &Found| {
        now.duration_since(found.stamp.changed()).is_ok_and(|age| age < YOUNG.max(rest)) || found.stamp.changed() > now
    };
    if !shelves.iter().flat_map(|shelf| &shelf.found).any(is_young) {
        return Ok((shelves, errors));
    }
    if stop.wait(rest) {
        return Err(Error::Stopped);
    }
    for shelf in &mut shelves {
        let again = find(&shelf.folder).unwrap_or_else(|error| {
            errors.push(at("list", &shelf.folder.path)(error));
            Vec::new()
        });
        shelf.found.retain(|found| again.iter().any(|now| now.name == found.name && now.stamp == found.stamp));
        // One that came just now speaks for its packages too.
        shelf.spoken_for.extend(spoken_for(&shelf.folder, &again));
    }
    Ok((shelves, errors))
}

fn shelves(incoming: &Path) -> Result<(Vec<Shelf>, Vec<Error>), Error> {
    let above = Folder::open(incoming).map_err(at("open", incoming))?;
    let (mut shelves, mut errors) = (Vec::new(), Vec::new());
    for name in above.names().map_err(at("list", incoming))? {
        // Whatever else lies there, such as a home's hidden folders, is nobody's distribution.
        let Some(distribution) = name.to_str().and_then(|name| name.parse::<Distribution>().ok()) else { continue };
        let looked = above.below(&name).and_then(|folder| Ok((find(&folder)?, folder)));
        let (mut found, folder) = match looked {
            Ok(looked) => looked,
            // A file, or a link.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP | libc::ENOENT)) => continue,
            Err(error) => {
                errors.push(at("list", &incoming.join(&name))(error));
                continue;
            }
        };
        // The order that they were uploaded in: of two versions the newer one shall come last.
        found.sort_by_key(|found| found.stamp.modified());
        let spoken_for = spoken_for(&folder, &found);
        shelves.push(Shelf { distribution, folder, found, spoken_for });
    }
    Ok((shelves, errors))
}

fn find(folder: &Folder) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in folder.names()?.into_iter().filter(|name| is_upload(name)) {
        let stat = match folder.stat(&name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_file = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
        found.push(Found { name, stamp: Stamp::of(&stat), is_odd: !is_file });
    }
    Ok(found)
}

fn spoken_for(folder: &Folder, found: &[Found]) -> BTreeSet<OsString> {
    let mut names = BTreeSet::new();
    for found in found.iter().filter(|found| !found.is_odd && is_changes(&found.name)) {
        names.extend(named_in(folder, &found.name).into_iter().filter(|name| is_package(name)));
    }
    names
}

/// What a .changes file seems to name, however damaged it is; only what may be an upload's.
pub(super) fn named_in(folder: &Folder, name: &OsStr) -> Vec<OsString> {
    let text = folder.read(name).and_then(|file| read_changes(&file)).unwrap_or_default();
    changes::files(&text).map(|file| OsString::from(file.as_str())).collect()
}
