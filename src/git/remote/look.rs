//! What became of the last look at a repository, for whoever asks later: one line in a file in its git directory.
//!
//! Killed here: the line before, or half of one, which counts as none; the next look writes it anew.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Repo};

const NAME: &str = "failcake.look";
/// Longest line, in octets.
const LINE_MAX: usize = 4096;
/// Characters of a problem's text.
const TEXT_MAX: usize = 500;

/// The last looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Looked {
    /// When all was well the last time: looked at, and published.
    pub good: Option<Timestamp>,
    /// What has been wrong since.
    pub problem: Option<Problem>,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The first time after all was well.
    pub since: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// What, the last time.
    pub text: String,
    /// The remote suddenly has too little, so nothing was removed: a person is to decide.
    pub is_mass_removal: bool,
}

impl Looked {
    /// All is well.
    pub fn well(now: Timestamp) -> Looked {
        Looked { good: Some(now), problem: None }
    }

    /// It is not.
    #[must_use]
    pub fn failed(&self, now: Timestamp, text: &str, is_mass_removal: bool) -> Looked {
        let since = self.problem.as_ref().map_or(now, |problem| problem.since);
        Looked { good: self.good, problem: Some(Problem { since, last: now, text: clean(text), is_mass_removal }) }
    }
}

/// Who owns the repository may write into it what they like; it comes to root's terminal.
fn clean(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Repo<'_> {
    /// What became of the last looks; nothing is known where there is no repository yet.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn looked(&self) -> Result<Looked, Error> {
        let Some(layout) = self.find()? else { return Ok(Looked::default()) };
        let path = layout.git_dir.join(NAME);
        read(&path).map_err(|source| Error::Io { what: "read", path, source })
    }

    /// Notes what became of a look. Where there is no repository there is no place for it.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn note_look(&self, looked: impl FnOnce(&Looked) -> Looked) -> Result<(), Error> {
        let Some(layout) = self.find()? else { return Ok(()) };
        let path = layout.git_dir.join(NAME);
        let note = || write(&path, &looked(&read(&path).unwrap_or_default()));
        // The folder is the user's, who may have laid a link there.
        let noted = match self.user {
            Some(user) => user.with_rights(note).and_then(|noted| noted),
            None => note(),
        };
        noted.map_err(|source| Error::Io { what: "write", path: path.clone(), source })
    }
}

/// What is no such line says nothing.
fn read(path: &Path) -> io::Result<Looked> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match open {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Looked::default()),
        open => open?,
    };
    let mut text = Vec::new();
    file.take(LINE_MAX as u64).read_to_end(&mut text)?;
    let line = text.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let mut looked: Looked = serde_json::from_slice(line).unwrap_or_default();
    if let Some(problem) = &mut looked.problem {
        problem.text = clean(&problem.text);
    }
    Ok(looked)
}

fn write(path: &Path, looked: &Looked) -> io::Result<()> {
    // Strings and times only: it can't fail.
    let mut line = serde_json::to_vec(looked).unwrap_or_default();
    line.push(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("it is no plain file: remove it"));
    }
    // In one write, and then cut: a full disk has room for what it had, and a reader finds a whole line first.
    file.write_all_at(&line, 0)?;
    file.set_len(line.len() as u64)
}
