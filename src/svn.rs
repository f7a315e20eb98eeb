//! Subversion: one way to call `svnlook`, on the server, and readers of what it says; `remote` is the same for `svn`, on
//! machines that deploy.
//!
//! Architecture invariant: every call goes through [`Repository::create_command`] and has an end. Subversion gives its hooks
//! an empty environment, so nothing here relies on one.

mod layout;
mod look;
pub mod reference;
pub mod remote;
#[cfg(test)]
mod tests;
mod xml;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Limits, Outcome};

pub use layout::{Line, LineChange, LineKind, Project, Projects, projects};
pub use look::{Action, Changed, Copied, Info, parse_changed, parse_info};

/// Octets kept of what svnlook says: some 600,000 changed paths, or the longest log message.
const OUTPUT_MAX: usize = 64 * 1024 * 1024;
/// A revision with 100,000 paths takes 2 s on an idle machine. The committer waits for this.
const TIMEOUT: Duration = Duration::from_secs(30);
/// It holds no locks and has nothing to tidy.
const GRACE: Duration = Duration::from_secs(1);
/// Where packages put svnlook, for hooks without a `PATH`.
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];
/// Without a UTF-8 locale svnlook writes `e` for `é`. The first is part of glibc since 2.35 and of Debian long before.
const LOCALES: [&str; 3] = ["C.UTF-8", "en_US.UTF-8", "C"];

/// Why nothing can be said about a revision.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not installed, or somewhere else.
    #[error(
        "there is no svnlook in /usr/bin, /usr/local/bin and PATH: install subversion, or say where it is with --svnlook"
    )]
    NoSvnlook,
    /// No folder there, or one that may not be entered.
    #[error("can't open the repository {path:?}: {source}")]
    Repository {
        /// As it was given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// svnlook ran and failed.
    #[error("svnlook {verb} -r {rev} {path:?}: {why}")]
    Failed {
        /// `info`, `changed`.
        verb: &'static str,
        /// Which revision.
        rev: u64,
        /// Which repository.
        path: PathBuf,
        /// Its first words on stderr.
        why: String,
    },
    /// It took too long.
    #[error("svnlook {verb} -r {rev} {path:?} was ended after {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// `info`, `changed`.
        verb: &'static str,
        /// Which revision.
        rev: u64,
        /// Which repository.
        path: PathBuf,
    },
    /// What it said is not what svnlook says.
    #[error("svnlook info of r{0} makes no sense: it is not author, date, size and log")]
    Nonsense(u64),
    /// It could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A repository on this machine, to be looked at.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    svnlook: PathBuf,
}

/// What svnlook said.
#[derive(Debug)]
pub struct Said {
    /// Its stdout, as far as it was kept.
    pub text: Vec<u8>,
    /// More was said than is kept.
    pub cut: bool,
    /// No UTF-8 locale was found: what is not ASCII is written as something else.
    pub lossy: bool,
}

impl Repository {
    /// The repository in the folder `path`, looked at with `svnlook` or the one that is found.
    ///
    /// # Errors
    /// [`Error::Repository`] when there is no such folder, [`Error::NoSvnlook`].
    pub fn open(path: &Path, svnlook: Option<&Path>) -> Result<Repository, Error> {
        let failed = |source| Error::Repository { path: path.to_owned(), source };
        let folder = path.canonicalize().map_err(failed)?;
        // What every repository has; svnlook's own words for its lack are hard to read.
        std::fs::metadata(folder.join("format")).map_err(|_| {
            failed(io::Error::other("it is no Subversion repository (there is no file `format` in it)"))
        })?;
        let svnlook = match svnlook {
            Some(given) => given.canonicalize().map_err(|_| Error::NoSvnlook)?,
            None => find_svnlook(std::env::var_os("PATH").as_deref()).ok_or(Error::NoSvnlook)?,
        };
        Ok(Repository { path: folder, svnlook })
    }

    /// Its folder, absolute and without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Author, date and log of a revision.
    ///
    /// # Errors
    /// What svnlook says, for example that there is no such revision.
    pub fn info(&self, rev: u64) -> Result<Info, Error> {
        let said = self.look("info", &[], rev)?;
        parse_info(&said.text).ok_or(Error::Nonsense(rev))
    }

    /// The text that [`parse_changed`] reads.
    ///
    /// # Errors
    /// What svnlook says.
    pub fn changed(&self, rev: u64) -> Result<Said, Error> {
        self.look("changed", &["--copy-info"], rev)
    }

    fn look(&self, verb: &'static str, flags: &[&str], rev: u64) -> Result<Said, Error> {
        let limits = Limits { timeout: TIMEOUT, grace: GRACE, output: OUTPUT_MAX };
        for (at, locale) in LOCALES.iter().enumerate() {
            let outcome = process::run(self.create_command(verb, flags, rev, locale), None, None, limits)?;
            // svnlook goes on in the C locale when it does not know the one it is told.
            let unknown = contains(&outcome.stderr, b"cannot set LC_");
            if unknown && at + 1 < LOCALES.len() && !outcome.timed_out {
                continue;
            }
            return self.judge(verb, rev, outcome, unknown || *locale == "C");
        }
        Err(Error::Nonsense(rev))
    }

    /// Every call of svnlook is made here.
    fn create_command(&self, verb: &str, flags: &[&str], rev: u64, locale: &str) -> Command {
        let mut command = Command::new(&self.svnlook);
        command.arg(verb).args(flags);
        command.arg("-r").arg(rev.to_string());
        // The folder is named by standing in it: whatever its name holds (spaces, quotes, a leading '-', no UTF-8),
        // svnlook never sees it.
        command.arg(".").current_dir(&self.path);
        // As Subversion runs its hooks: nothing of the caller's changes what is read.
        command.env_clear();
        // Paths and logs as the UTF-8 that they are, messages in English.
        command.env("LC_ALL", locale);
        // Dates in UTC.
        command.env("TZ", "UTC");
        command
    }

    fn judge(&self, verb: &'static str, rev: u64, outcome: Outcome, lossy: bool) -> Result<Said, Error> {
        let path = self.path.clone();
        if outcome.timed_out {
            return Err(Error::TimedOut { verb, rev, path });
        }
        if !outcome.status.success() {
            return Err(Error::Failed { verb, rev, path, why: reason(&outcome) });
        }
        let mut text = outcome.stdout;
        let cut = text.len() >= OUTPUT_MAX;
        if cut {
            // Half a line would be another path.
            text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        }
        Ok(Said { text, cut, lossy })
    }
}

/// The first of `PATH`'s absolute folders and of [`PLACES`] that holds svnlook.
fn find_svnlook(path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = path.into_iter().flat_map(std::env::split_paths).filter(|folder| folder.is_absolute());
    folders.chain(PLACES.map(PathBuf::from)).map(|folder| folder.join("svnlook")).find(|file| file.is_file())
}

/// What it said on stderr without the warnings about the locale, in one line.
fn reason(outcome: &Outcome) -> String {
    let text = String::from_utf8_lossy(&outcome.stderr);
    let lines = text.lines().filter(|line| !line.contains(": warning: ")).take(3);
    let said = lines.map(|line| line.strip_prefix("svnlook: ").unwrap_or(line)).collect::<Vec<_>>().join("; ");
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    if said.is_empty() { format!("it ended with {}", outcome.status) } else { said }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
