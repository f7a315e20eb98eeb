//! A package's file: is it whole, and what is in it?
//!
//! reprepro reads no further than the control file, so it takes the first half of a package for a package. Here the
//! archive's own table says where the file must end, and dpkg-deb unpacks all of it once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, one_line, reason};
use crate::name::{Architecture, NameError, PackageName, PackageVersion};
use crate::process::{Limits, Outcome, Run, Stop};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: u64 = 60;
/// deb(5): debian-binary, control.tar, data.tar, and `_` members of others before these. More is no package.
const MEMBERS: usize = 20;
/// Octets kept of what dpkg-deb says.
const OUTPUT_MAX: usize = 64 * 1024;
const GRACE: Duration = Duration::from_secs(2);

/// How much of a package's archive is there. Source: deb(5), ar(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// From its first octet to its last.
    Whole,
    /// More must come.
    Short,
    /// This becomes no package, whatever comes.
    Other(&'static str),
}

/// Looks at the archive's table.
pub(super) fn shape(file: &File) -> io::Result<Shape> {
    let size = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    let there = read(file, &mut magic, 0)?;
    if magic[..there] != MAGIC[..there] {
        // Room that was made for an upload before it came holds zeros.
        let is_room = magic[..there].iter().all(|octet| *octet == 0);
        return Ok(if is_room { Shape::Short } else { Shape::Other("it is no package (no ar archive)") });
    }
    let (mut place, mut seen) = (MAGIC.len() as u64, Vec::new());
    while place < size {
        let mut header = [0; HEADER as usize];
        if read(file, &mut header, place)? < header.len() || header.iter().all(|octet| *octet == 0) {
            return Ok(Shape::Short);
        }
        let length = std::str::from_utf8(&header[48..58]).ok().and_then(|digits| digits.trim_end().parse::<u64>().ok());
        let Some(length) = length.filter(|_| header[58..] == *b"`\n") else {
            return Ok(Shape::Other("it is no package (its ar archive is damaged)"));
        };
        let name = header[..16].trim_ascii_end();
        seen.push(name.strip_suffix(b"/").unwrap_or(name).to_owned());
        if seen.len() > MEMBERS || (seen.len() == 1 && seen[0] != b"debian-binary") {
            return Ok(Shape::Other("it is no package (not these members)"));
        }
        let end = place.saturating_add(HEADER).saturating_add(length);
        if end > size {
            return Ok(Shape::Short);
        }
        // Members begin at even places; the last octet of the file may be missing for that.
        place = end + length % 2;
    }
    let has = |begin: &[u8]| seen.iter().any(|name| name.starts_with(begin));
    Ok(if has(b"control.tar") && has(b"data.tar") { Shape::Whole } else { Shape::Short })
}

fn read(file: &File, buffer: &mut [u8], place: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read_at(&mut buffer[have..], place + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// What a package says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// What it is built for.
    pub architecture: Architecture,
}

/// What a whole package is; `Ok(Err(…))` says why it is none. Unpacks all of it, into nothing.
///
/// # Errors
/// It can't be read, dpkg-deb can't be run or does not end in time.
pub fn read_facts(path: &Path, timeout: Duration, stop: &Stop) -> Result<Result<Facts, String>, Error> {
    let call = |words: &[&str]| -> Result<Outcome, Error> {
        let mut command = Command::new("dpkg-deb");
        // Its messages, which people read, then name the file and not our folder; and `./-x` is no option.
        let folder = path.parent().unwrap_or(Path::new("/"));
        command.args(words).arg(Path::new(".").join(path.file_name().unwrap_or_default()));
        command.env("LC_ALL", "C").current_dir(folder);
        let limits = Limits { timeout, grace: GRACE, output: OUTPUT_MAX };
        let outcome = Run { user: None, input: None, limits, stop: Some(stop), lines: None }.run(command);
        let outcome = outcome.map_err(Error::Process)?;
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut { verb: "(dpkg-deb)", after: timeout });
        }
        Ok(outcome)
    };
    let said = call(&["--show", "--showformat=${Package}\\n${Version}\\n${Architecture}\\n"])?;
    if !said.status.success() {
        return Ok(Err(reason(&said)));
    }
    // Lengths and checksums of the packed data are looked at by who unpacks it.
    let unpacked = call(&["--contents"])?;
    if !unpacked.status.success() {
        let said = reason(&Outcome { stdout: Vec::new(), ..unpacked });
        return Ok(Err(format!("it can't be unpacked: {said}")));
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = text.lines();
    let mut word = || lines.next().unwrap_or_default();
    let mut facts = || -> Result<Facts, NameError> {
        Ok(Facts { name: word().parse()?, version: word().parse()?, architecture: word().parse()? })
    };
    Ok(facts().map_err(|error| one_line(&error.to_string(), 500)))
}
