//! apt: renew what it knows of a source, and ask which version it would install. Nothing here installs.
//!
//! Which apt that is, is the administrator's to say: `APT_CONFIG` in the environment passes through.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::name::{Glob, PackageName};
use crate::process::{self, Limits, Outcome, Run, Stop};

/// Octets kept of what it says: the names of all packages of Debian are one MiB.
const OUTPUT_MAX: usize = 8 * 1024 * 1024;
/// From TERM to KILL: it holds a lock that ends with it.
const GRACE: Duration = Duration::from_secs(5);
/// Asked for in one call.
const ASKED: usize = 200;

/// What passes by itself: a repository that is being written, another apt, a network that is away. Source: apt's
/// messages in English.
const PASSING: [&str; 14] = [
    "Hash Sum mismatch",
    "File has unexpected size",
    "Mirror sync in progress",
    "Clearsigned file isn't valid",
    "Could not get lock",
    "Unable to lock",
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Cannot initiate the connection",
    "Connection failed",
    "Connection timed out",
    "Error reading from server",
    "Undetermined Error",
];

/// Why apt did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a Debian.
    #[error("there is no {0} here: this is for machines with apt")]
    Missing(String),
    /// It ran and failed.
    #[error("{program}: {why}")]
    Failed {
        /// `apt-get update`, ….
        program: &'static str,
        /// Its errors.
        why: String,
    },
    /// It was ended because its time was up.
    #[error("{program} was ended after {} s: the repository is slow or hangs (`timeout:` below `packages:`)", .after.as_secs())]
    TimedOut {
        /// `apt-get update`, ….
        program: &'static str,
        /// The time.
        after: Duration,
    },
    /// The list to update is not there.
    #[error("there is no source list {0:?}: correct `list:` below `packages: interest:`")]
    NoList(PathBuf),
    /// Its cache could not be removed.
    #[error("the cache {path:?} may be behind the lists and can't be removed: {source}")]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
    /// It could not be started.
    #[error(transparent)]
    Process(process::Error),
}

impl Error {
    /// May it be gone in a moment?
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Failed { why, .. } if PASSING.iter().any(|words| why.contains(words)))
    }
}

/// One package as apt sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The version that is installed.
    pub installed: Option<String>,
    /// The version that an install would bring.
    pub candidate: Option<String>,
}

/// This machine's apt.
#[derive(Debug, Clone)]
pub struct Apt {
    /// For one call.
    pub timeout: Duration,
    /// Ends it early.
    pub stop: Stop,
}

impl Apt {
    /// Renews what is known of the sources in `list`, or of all.
    ///
    /// # Errors
    /// [`Error`]; one that [passes](Error::is_passing) is worth another try.
    pub fn update(&self, list: Option<&Path>) -> Result<(), Error> {
        let mut words: Vec<OsString> = ["-q", "-o", "APT::Update::Error-Mode=any"].map(OsString::from).into();
        if let Some(list) = list {
            // apt takes a list that is not there for an empty one.
            if !list.exists() {
                return Err(Error::NoList(list.to_owned()));
            }
            let mut only = OsString::from("Dir::Etc::sourcelist=");
            only.push(list);
            words.extend(["-o".into(), only]);
            // No other list, and what is known of the others stays. The cache is made by whoever asks next, from all lists.
            for option in ["Dir::Etc::sourceparts=-", "APT::Get::List-Cleanup=0", "pkgCacheFile::Generate=0"] {
                words.extend(["-o".into(), option.into()]);
            }
        }
        words.push("update".into());
        self.run("apt-get", "apt-get update", &words)?;
        self.forget()
    }

    /// Removes the cache, which whoever asks next makes anew.
    ///
    /// apt tells a cache that is behind its lists by their size and the second they were written: of two packages that
    /// come within one it would show the first until the next change. An update of all lists removes it for that
    /// reason, one with `pkgCacheFile::Generate=0` does not. Source: apt's apt-private/private-update.cc.
    fn forget(&self) -> Result<(), Error> {
        let words =
            ["shell", "FILE", "Dir::Cache::pkgcache/f", "FILE", "Dir::Cache::srcpkgcache/f"].map(OsString::from);
        for path in parse_files(&self.run("apt-config", "apt-config shell", &words)?) {
            // `/dev/null` is a way to have none.
            if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                match std::fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::Cache { path, source });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What each of these would be; those that apt does not know are left out.
    ///
    /// # Errors
    /// [`Error`].
    pub fn policies(&self, names: &[PackageName]) -> Result<BTreeMap<PackageName, Policy>, Error> {
        let mut all = BTreeMap::new();
        for names in names.chunks(ASKED) {
            let begin = ["-q", "policy", "--"].map(OsString::from);
            let words: Vec<OsString> = begin.into_iter().chain(names.iter().map(|name| name.as_str().into())).collect();
            let text = self.run("apt-cache", "apt-cache policy", &words)?;
            all.extend(parse_policies(&text));
        }
        Ok(all)
    }

    /// The packages that apt knows whose name matches.
    ///
    /// # Errors
    /// [`Error`].
    pub fn names(&self, pattern: &Glob) -> Result<Vec<PackageName>, Error> {
        // A pattern that can match no package's name is no beginning of one either.
        let words: Vec<OsString> = ["-q", "pkgnames", "--", pattern.beginning()].map(OsString::from).into();
        let text = self.run("apt-cache", "apt-cache pkgnames", &words)?;
        let mut names: Vec<PackageName> =
            text.lines().filter(|name| pattern.matches(name)).filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn run(&self, program: &str, what: &'static str, words: &[OsString]) -> Result<String, Error> {
        let mut command = Command::new(program);
        // Its messages are read here, and nobody answers a question.
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").current_dir("/").args(words);
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: OUTPUT_MAX };
        let ran = Run { user: None, input: None, limits, stop: Some(&self.stop), lines: None }.run(command);
        let outcome = match ran {
            Err(process::Error::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(program.to_owned()));
            }
            other => other.map_err(Error::Process)?,
        };
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut { program: what, after: self.timeout });
        }
        if !outcome.status.success() {
            return Err(Error::Failed { program: what, why: reason(&outcome) });
        }
        Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
    }
}

/// Its errors, else its warnings, in one line.
fn reason(outcome: &Outcome) -> String {
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let of = |begin: &str| {
        let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.dedup();
        let said = lines.into_iter().filter_map(|line| line.strip_prefix(begin));
        // It says which before that.
        let said = said.filter(|line| !line.starts_with("Some index files failed"));
        said.take(4).collect::<Vec<_>>().join("; ")
    };
    let said = [of("E: "), of("W: ")].into_iter().find(|said| !said.is_empty());
    // The lines below an error say which file it was.
    let detail = text.lines().map(str::trim).find(|line| PASSING.iter().any(|words| line.starts_with(words)));
    let said = match (said, detail) {
        (Some(said), Some(detail)) if !said.contains(detail) => format!("{said}; {detail}"),
        (Some(said), _) => said,
        (None, _) => format!("it ended with {}: {text}", outcome.status),
    };
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

/// Reads what `apt-config shell` says of files named `FILE`; an empty name is no file.
fn parse_files(text: &str) -> Vec<PathBuf> {
    let quoted = text.lines().filter_map(|line| line.strip_prefix("FILE='")?.strip_suffix('\''));
    quoted.filter(|path| !path.is_empty()).map(|path| path.replace(r"'\''", "'").into()).collect()
}

/// Reads what `apt-cache policy` says in English.
fn parse_policies(text: &str) -> BTreeMap<PackageName, Policy> {
    let mut all = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        if !line.starts_with(' ') {
            name = line.strip_suffix(':').and_then(|word| word.parse::<PackageName>().ok());
            if let Some(name) = &name {
                all.insert(name.clone(), Policy::default());
            }
            continue;
        }
        let Some(policy) = name.as_ref().and_then(|name| all.get_mut(name)) else { continue };
        let version = |word: &str| (word.trim() != "(none)").then(|| word.trim().to_owned());
        if let Some(word) = line.strip_prefix("  Installed: ") {
            policy.installed = version(word);
        } else if let Some(word) = line.strip_prefix("  Candidate: ") {
            policy.candidate = version(word);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_cache_policy_says_is_read() {
        let text = "myapp:\n  Installed: (none)\n  Candidate: 1:1.0-1\n  Version table:\n     1:1.0-1 500\n        500 file:/x bookworm/main amd64 Packages\n\
                    gone:\n  Installed: 1.0\n  Candidate: (none)\n  Version table:\n *** 1.0 100\n        100 /var/lib/dpkg/status\n";
        let all = parse_policies(text);
        let of = |name: &str| all[&name.parse::<PackageName>().unwrap()].clone();
        assert_eq!(of("myapp"), Policy { installed: None, candidate: Some("1:1.0-1".to_owned()) });
        assert_eq!(of("gone"), Policy { installed: Some("1.0".to_owned()), candidate: None });
        assert_eq!(all.len(), 2);
        assert!(parse_policies("").is_empty());
    }

    #[test]
    fn the_names_of_caches_are_read() {
        let text = "FILE=''\nFILE='/var/cache/apt/it'\\''s one.bin'\n";
        assert_eq!(parse_files(text), [PathBuf::from("/var/cache/apt/it's one.bin")]);
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let failed = |why: &str| Error::Failed { program: "apt-get update", why: why.to_owned() };
        assert!(failed("Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)").is_passing());
        assert!(failed("Failed to fetch file:/x/Packages.gz  Hash Sum mismatch").is_passing());
        assert!(!failed("The repository 'file:/x bookworm Release' is not signed.").is_passing());
        assert!(!Error::Stopped.is_passing());
    }
}
