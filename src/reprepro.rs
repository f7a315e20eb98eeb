//! reprepro: one way to call it, and the way of an upload into its repository.
//!
//! ```text
//! INCOMING/DIST/x.deb     ─ whole? ─▶  .failcake/taken-ID  ─ reprepro ─▶  told  ─▶  INCOMING/DIST/archive/x.deb
//!    └ never whole, no package ──────────────────────────────── no ─▶    told  ─▶  INCOMING/DIST/refused/x.deb, x.deb.reason
//! ```
//!
//! [`desk::Desk`] is the story; [`job`] what of it is on disk. Architecture invariant: every call of reprepro goes
//! through [`Repository::run`], so none can ask for a passphrase for ever, hang, or block the next one by the lock that
//! it left when it was killed.

pub mod changes;
mod deb;
pub mod desk;
mod folder;
mod incoming;
mod job;
mod named;
mod upload;

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::name::{Distribution, PackageName};
use crate::process::{self, Limits, Outcome, Run, Stop};

pub use deb::Facts;
pub use named::{Seen, look_at};

/// Octets kept of what reprepro says.
const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// From TERM to KILL: on TERM it finishes what it must not leave half done, and removes its lock.
const GRACE: Duration = Duration::from_secs(30);
/// Asked for in one call of `listfilter`.
const ASKED: usize = 50;

/// Why reprepro did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not installed.
    #[error("there is no reprepro here: install it (Debian's package is called reprepro)")]
    Missing,
    /// `conf/distributions` has no such distribution.
    #[error(
        "the repository {base:?} has no distribution {distribution}: add it to conf/distributions, or correct the name"
    )]
    NoDistribution {
        /// The repository.
        base: PathBuf,
        /// What it lacks.
        distribution: Distribution,
    },
    /// Somebody else's reprepro works on it.
    #[error("another reprepro works on {0:?}; if none does, one was killed: remove db/lockfile there")]
    Busy(PathBuf),
    /// It ran and failed.
    #[error("reprepro {verb}: {why}")]
    Failed {
        /// `includedeb`, `export`, ….
        verb: &'static str,
        /// What it said.
        why: String,
    },
    /// It was ended because its time was up.
    #[error("reprepro {verb} was ended after {} s: it hangs, or the disk is slow (`timeout:` below `packages:`)", .after.as_secs())]
    TimedOut {
        /// `includedeb`, `export`, ….
        verb: &'static str,
        /// The time.
        after: Duration,
    },
    /// A signal that was not ours ended it.
    #[error("reprepro {verb} was killed by signal {signal}")]
    Killed {
        /// `includedeb`, `export`, ….
        verb: &'static str,
        /// Which.
        signal: i32,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
    /// A file or folder.
    #[error("can't {what} {path:?}: {source}")]
    Io {
        /// `read`, `make`, ….
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It could not be started.
    #[error(transparent)]
    Process(process::Error),
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// What the disk or the machine says, in reprepro's words: of no package's making.
const MACHINE: [&str; 9] = [
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Operation not permitted",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
    "Stale file handle",
];

impl Error {
    /// Would another package have fared better? If not, the repository or the machine has to be seen to.
    fn is_of_the_package(&self) -> bool {
        matches!(self, Error::Failed { why, .. } if !MACHINE.iter().any(|words| why.contains(words)))
    }
}

/// A repository on this machine.
#[derive(Debug)]
pub struct Repository<'a> {
    base: PathBuf,
    /// Is there while a reprepro runs that was started here.
    running: PathBuf,
    timeout: Duration,
    stop: &'a Stop,
}

/// A package that can be had from a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served {
    name: String,
    version: String,
    sha256: String,
}

impl Repository<'_> {
    /// Does reprepro know the distribution, and can it read its database?
    fn probe(&self, distribution: &Distribution) -> Result<(), Error> {
        let said = self.run("list", distribution, ["failcake-looks-whether-all-is-well"])?;
        // Before anything came into it, `list` does not even look at the distribution.
        if said.contains("there is no database yet") { self.export(distribution) } else { Ok(()) }
    }

    /// Adds packages, and writes the indices once; what it says. A failure may have added some of them, which only
    /// [`export`](Self::export) makes visible.
    fn include_debs(&self, distribution: &Distribution, files: &[PathBuf]) -> Result<String, Error> {
        self.run("includedeb", distribution, files)
    }

    /// The same for installer packages.
    fn include_udebs(&self, distribution: &Distribution, files: &[PathBuf]) -> Result<String, Error> {
        self.run("includeudeb", distribution, files)
    }

    /// Adds what a .changes names; what it says.
    fn include_changes(&self, distribution: &Distribution, file: &Path) -> Result<String, Error> {
        self.run("include", distribution, [file])
    }

    /// Writes the indices, whether anything changed or not.
    fn export(&self, distribution: &Distribution) -> Result<(), Error> {
        self.run("export", distribution, [""; 0]).map(drop)
    }

    /// What the distribution has under these names.
    fn served(&self, distribution: &Distribution, names: &[&PackageName]) -> Result<Vec<Served>, Error> {
        let mut all = Vec::new();
        for names in names.chunks(ASKED) {
            let condition = names.iter().map(|name| format!("Package (== {name})")).collect::<Vec<_>>().join(" | ");
            let text = self.run("listfilter", distribution, [condition])?;
            all.extend(text.lines().filter_map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                Some(Served { name: words.next()?, version: words.next()?, sha256: words.next()? })
            }));
        }
        Ok(all)
    }

    /// Every call of reprepro. Killed meanwhile, with this process: `running` is left, and reprepro's own lock with it.
    fn run<A: AsRef<std::ffi::OsStr>>(
        &self,
        verb: &'static str,
        distribution: &Distribution,
        words: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        let mut command = Command::new("reprepro");
        // The configuration says where it is, not the environment.
        command.env_remove("REPREPRO_BASE_DIR").arg("--basedir").arg(&self.base);
        // Somebody at a terminal may be adding a package: asked again once, after 10 s.
        command.args(["--waitforlock", "1"]);
        command.args(["--list-format", "${package} ${version} ${SHA256}\\n"]);
        // Its messages are read here.
        command.env("LC_ALL", "C");
        // gpg shall not find a terminal or a screen to ask for a passphrase on.
        command.env_remove("GPG_TTY").env_remove("DISPLAY").current_dir("/");
        // It knows no `--`: file names are absolute, and no distribution's name begins with `-`.
        command.arg(verb).arg(distribution.as_str()).args(words);
        let is_lock_in_doubt = self.running.exists();
        File::create(&self.running).map_err(at("make", &self.running))?;
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: OUTPUT_MAX };
        let ran = Run { user: None, input: None, limits, stop: Some(self.stop), lines: None }.run(command);
        let was_killed = ran.as_ref().is_ok_and(|outcome| outcome.status.signal().is_some());
        let said = match ran {
            Err(process::Error::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing)
            }
            Err(error) => Err(Error::Process(error)),
            Ok(outcome) => self.judge(verb, distribution, &outcome),
        };
        if was_killed {
            self.clear_stale_lock()?;
        } else if !(is_lock_in_doubt && matches!(said, Err(Error::Busy(_)))) {
            let _ = std::fs::remove_file(&self.running);
        }
        said
    }

    fn judge(&self, verb: &'static str, distribution: &Distribution, outcome: &Outcome) -> Result<String, Error> {
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut { verb, after: self.timeout });
        }
        if let Some(signal) = outcome.status.signal() {
            return Err(Error::Killed { verb, signal });
        }
        if outcome.status.success() {
            // "Skipping inclusion of …" is on stderr, a listing on stdout.
            let said = [outcome.stdout.as_slice(), outcome.stderr.as_slice()].concat();
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
        let why = reason(outcome);
        if why.contains("The lock file") {
            return Err(Error::Busy(self.base.clone()));
        }
        if why.contains("Cannot find definition of distribution") || why.contains("No distribution definition of") {
            return Err(Error::NoDistribution { base: self.base.clone(), distribution: distribution.clone() });
        }
        Err(Error::Failed { verb, why })
    }

    /// A reprepro that was killed leaves `db/lockfile`, and every later one gives up on it. It is removed when it must be
    /// ours: one that was started here did not come to its end, and none that runs on this machine has the database open.
    /// While one may have, it stays in doubt.
    fn clear_stale_lock(&self) -> Result<(), Error> {
        let database = self.base.join("db");
        let database = database.canonicalize().unwrap_or(database);
        if !self.running.exists() || has_reprepro_at(&database) {
            return Ok(());
        }
        let lock = database.join("lockfile");
        if std::fs::remove_file(&lock).is_ok() {
            log::warn!("removed {}: a reprepro that failcake had started was killed and left it", lock.display());
        }
        std::fs::remove_file(&self.running).map_err(at("remove", &self.running))
    }
}

/// Does a reprepro run that has files of this database open, or that may not be looked at?
fn has_reprepro_at(database: &Path) -> bool {
    process::all().any(|(_, folder)| {
        let is_reprepro = std::fs::read(folder.join("comm")).is_ok_and(|name| name.trim_ascii() == b"reprepro");
        // One that is dead and not yet waited for holds nothing.
        let is_dead = || {
            let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
        };
        let has_it_open = || match std::fs::read_dir(folder.join("fd")) {
            Ok(open) => {
                open.flatten().filter_map(|entry| entry.path().read_link().ok()).any(|to| to.starts_with(database))
            }
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        };
        is_reprepro && !is_dead() && has_it_open()
    })
}

/// What of its words says why, in one line.
fn reason(outcome: &Outcome) -> String {
    const EMPTY: [&str; 5] =
        ["There have been errors!", "Exporting indices", "Deleting files", "(to avoid use", "To ignore use"];
    let text = [outcome.stderr.as_slice(), outcome.stdout.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !EMPTY.iter().any(|words| line.starts_with(words)));
    let said = one_line(&lines.take(8).collect::<Vec<_>>().join("; "), 1000);
    if said.is_empty() { format!("it ended with {}", outcome.status) } else { said }
}

/// `text` without what would begin another line or disturb a terminal, and not too long.
fn one_line(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}
