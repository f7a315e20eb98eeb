//! Files that somebody names: whole, or not said a word of.

use std::path::Path;
use std::time::Duration;

use super::folder::Folder;
use super::upload::{Not, Upload};
use super::{Error, Facts, at, deb};
use crate::name::PackageFile;
use crate::process::Stop;

/// A package's file, looked at where it lies.
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub file: PackageFile,
    /// What is in it.
    pub facts: Facts,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Links are followed: whoever names one means what it leads to.
pub(super) fn open(path: &Path) -> Result<Upload, Not> {
    let real = path.canonicalize().map_err(at("open", path))?;
    let (Some(above), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(Not::Ever("it is no file".to_owned()));
    };
    let folder = Folder::open(above).map_err(at("open", above))?;
    Upload::open(&folder, name, None)
}

/// What a package is, where nothing is to be done with it but to tell; `Ok(Err(…))` says why it is none.
///
/// # Errors
/// The disk or the machine says no.
pub fn look_at(path: &Path, timeout: Duration, stop: &Stop) -> Result<Result<Seen, String>, Error> {
    let seen = || -> Result<Seen, Not> {
        let upload = open(path)?;
        let [part] = upload.parts.as_slice() else {
            return Err(Not::Ever(
                "a .changes file is for a repository: say `repository:` below `packages:`".to_owned(),
            ));
        };
        let sha256 = part.copy(&mut std::io::sink())?;
        let real = path.canonicalize().map_err(at("open", path))?;
        let facts = deb::read_facts(&real, timeout, stop)?.map_err(Not::Ever)?;
        Ok(Seen { file: part.name.clone(), facts, sha256 })
    };
    match seen() {
        Ok(seen) => Ok(Ok(seen)),
        Err(Not::Yet(why) | Not::Ever(why)) => Ok(Err(why)),
        Err(Not::Now(error)) => Err(error),
    }
}
