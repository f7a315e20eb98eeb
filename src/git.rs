//! git, the program: one way to call it, and readers of what it says.
//!
//! Architecture invariant: every call of git goes through [`create_command`] and [`Call::run`], so none can ask for a
//! password, run a hook of the clone, be led astray by the environment of a hook that calls us, or hang.

pub mod history;
pub mod hook;
pub mod local;
mod lock;
pub mod remote;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::name::{RefName, Rev};
use crate::process::{self, Limits, Outcome, QUIET_SSH, Run, Stop, User};

/// Octets kept of what git says: the refs of a repository with half a million of them fit.
const OUTPUT_MAX: usize = 64 * 1024 * 1024;
/// From TERM to KILL: git removes its locks and temporary files on TERM.
const GRACE: Duration = Duration::from_secs(5);

/// What an operator may say to git by environment. Everything else that begins with `GIT_` is dropped: inside a hook
/// it names the pushed repository (`GIT_DIR`, `GIT_QUARANTINE_PATH`, …) or settings of the command that runs the hook
/// (`GIT_CONFIG_PARAMETERS`, `GIT_CONFIG_COUNT`), and all of it would turn our call on another repository.
const KEPT: [&str; 12] = [
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_PROXY_",
    "GIT_HTTP_",
    "GIT_TRACE",
    "GIT_CURL_VERBOSE",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_ALLOW_PROTOCOL",
    "GIT_PROTOCOL_FROM_USER",
];

/// Settings of each call, stronger than any configuration file, and why.
const SETTINGS: [(&str, &str); 10] = [
    // A clone's hooks are its owner's, for the owner's own commands.
    ("core.hooksPath", "/dev/null"),
    // A URL from a configuration file names a repository, never a command line.
    ("protocol.ext.allow", "never"),
    // Nothing is left running behind us; `Repo::tidy` repacks when it suits.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    // By default loose objects are not made durable but the refs to them are: after a power cut the clone would be
    // broken. `batch` makes them durable with one flush for all.
    ("core.fsync", "committed"),
    ("core.fsyncMethod", "batch"),
    // A server that stalls is given up before the time-out of the whole call.
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
    // The text that is read here is not for eyes.
    ("color.ui", "false"),
    // Names are read as they are, not C-quoted.
    ("core.quotePath", "false"),
];

/// Why git did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// git ran and failed.
    #[error("git {verb}: {why}{}", .remedy.map(|r| format!(" ({r})")).unwrap_or_default())]
    Failed {
        /// `fetch`, `clone`, ….
        verb: String,
        /// The first lines of its stderr.
        why: String,
        /// What to do, for causes that are known.
        remedy: Option<&'static str>,
    },
    /// git was ended by a signal that was not ours: killed by somebody, or out of memory.
    #[error("git {verb} was killed by signal {signal}")]
    Killed {
        /// `fetch`, `clone`, ….
        verb: String,
        /// Which.
        signal: i32,
    },
    /// It took longer than `timeout:` of the repository.
    #[error("git {verb} was ended after {} s: the remote is slow or hangs (`timeout:` of the repository)", .after.as_secs_f64())]
    TimedOut {
        /// `fetch`, `clone`, ….
        verb: String,
        /// The time-out.
        after: Duration,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
    /// It says more than is kept.
    #[error("git {verb} says more than {} MiB", OUTPUT_MAX >> 20)]
    TooMuch {
        /// `ls-remote`, ….
        verb: String,
    },
    /// A folder or file of the repository.
    #[error("can't {what} {path:?}: {source}")]
    Io {
        /// `create`, `lock`, ….
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is something at the path, but no repository.
    #[error("{0:?} is no git repository: move it away, or correct `path:`")]
    NotRepository(PathBuf),
    /// Nothing is at the path, and nothing is known to clone.
    #[error("there is no repository at {0:?}, and no `url:` to clone it from")]
    NoUrl(PathBuf),
    /// A clone is read before it was made.
    #[error("there is no clone at {0:?}: `failcake fetch` makes it")]
    NotCloned(PathBuf),
    /// Another failcake works in it, and did not end in time.
    #[error("another failcake works in {path:?} ({holder})")]
    Busy {
        /// The repository.
        path: PathBuf,
        /// Who, as the lock file has it.
        holder: String,
    },
    /// The remote lists no branch, the clone has some.
    #[error("the remote lists no branch any more, the clone has {0}: nothing was removed; is it the right remote?")]
    NoBranches(usize),
    /// git can't read a clone, and it stays where it is.
    #[error("git can't read the clone {path:?} ({why}): {remedy}")]
    Damaged {
        /// The clone.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Why it stays, and what to do.
        remedy: String,
    },
    /// A file of the work tree is not as its commit has it.
    #[error(
        "{path:?} has local changes ({files}): commit or revert them, or set `force: true` to have them overwritten"
    )]
    LocalChanges {
        /// The work tree.
        path: PathBuf,
        /// The first of them.
        files: String,
    },
    /// The work tree is on commits that the remote has not.
    #[error("{path:?} has local commits: push them, or set `force: true` to have them left behind")]
    LocalCommits {
        /// The work tree.
        path: PathBuf,
    },
    /// It is bare.
    #[error("{0:?} is a bare repository, and mode in-place needs a work tree: move it away, and one is cloned")]
    NoWorkTree(PathBuf),
    /// git could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

impl Error {
    /// Was git ended in the middle of its work, so that it may have left locks?
    fn was_cut(&self) -> bool {
        matches!(self, Error::Killed { .. } | Error::TimedOut { .. } | Error::Stopped)
    }
}

/// git with its environment cleaned and its settings made, standing in `dir` (or nowhere).
fn create_command(dir: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    for (key, _) in std::env::vars_os() {
        let name = key.as_bytes();
        if name.starts_with(b"GIT_") && !KEPT.iter().any(|kept| name.starts_with(kept.as_bytes())) {
            command.env_remove(key);
        }
    }
    // Its messages are read here.
    command.env("LC_ALL", "C");
    // Credentials come from a helper or a key, never from a person: nobody sits there.
    command.env("GIT_TERMINAL_PROMPT", "0");
    // Set and empty: git asks no askpass program, not the configured one either.
    command.env("GIT_ASKPASS", "").env_remove("SSH_ASKPASS").env("SSH_ASKPASS_REQUIRE", "never");
    // Wherever we were started, git must be allowed to stand there.
    command.current_dir("/");
    for (key, value) in SETTINGS {
        command.arg("-c").arg(format!("{key}={value}"));
    }
    if let Some(dir) = dir {
        // Not --git-dir: that would switch off git's check that the repository belongs to who runs git. So git looks
        // for it itself, but not in the folders above: a folder that is no repository must not become another one.
        command.env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap_or(dir)).arg("-C").arg(dir);
    }
    command
}

/// How a call of git is to be run.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    user: Option<&'a User>,
    timeout: Duration,
    stop: Option<&'a Stop>,
}

impl Call<'_> {
    /// Runs it to its end; gives its stdout. `verb` is for messages.
    fn run(self, verb: &str, command: Command, input: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let outcome = self.outcome(verb, command, input)?;
        if !outcome.status.success() {
            return Err(failure(verb, &outcome.stderr));
        }
        if outcome.stdout.len() >= OUTPUT_MAX {
            return Err(Error::TooMuch { verb: verb.to_owned() });
        }
        Ok(outcome.stdout)
    }

    /// As [`run`](Self::run), but an exit status of its own is no error.
    fn outcome(self, verb: &str, command: Command, input: Option<&[u8]>) -> Result<Outcome, Error> {
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: OUTPUT_MAX };
        let outcome = Run { user: self.user, input, limits, stop: self.stop, lines: None }.run(command)?;
        let verb = verb.to_owned();
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut { verb, after: self.timeout });
        }
        match outcome.status.signal() {
            Some(signal) => Err(Error::Killed { verb, signal }),
            None => Ok(outcome),
        }
    }

    /// The `GIT_SSH_COMMAND` to set: none where somebody has chosen a command, by environment or in git's own
    /// configuration (which the variable would hide).
    fn ssh_command(self, dir: Option<&Path>) -> Result<Option<&'static str>, Error> {
        if ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| std::env::var_os(name).is_some()) {
            return Ok(None);
        }
        let mut command = create_command(dir);
        command.args(["config", "--get", "core.sshCommand"]);
        let configured = self.outcome("config", command, None)?.status.success();
        Ok((!configured).then_some(QUIET_SSH))
    }
}

/// Turns git's stderr into an error: its first two lines that say something, and the remedy for known causes.
fn failure(verb: &str, stderr: &[u8]) -> Error {
    let text = String::from_utf8_lossy(&stderr[..stderr.len().min(16 * 1024)]);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("warning:") && !line.starts_with("hint:"));
    let said: Vec<String> = lines.take(2).map(one_line).collect();
    let why = if said.is_empty() { "it failed and said nothing".to_owned() } else { said.join("; ") };
    Error::Failed { verb: verb.to_owned(), why, remedy: remedy(&text) }
}

/// Words from outside as part of one line for people: no control characters, and not too many.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn remedy(stderr: &str) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 7] = [
        ("dubious ownership", "set `user:` of the repository to the owner of the clone"),
        ("Host key verification failed", "add the git server to known_hosts of the user that fetches"),
        ("Permission denied (publickey", "give the user that fetches an SSH key that the git server accepts"),
        ("terminal prompts disabled", "give the user that fetches a git credential helper"),
        ("No space left on device", "free some space; the next run continues"),
        (".lock': File exists", "if no git runs there, remove that file"),
        ("Permission denied", "is `user:` of the repository the owner of the clone?"),
    ];
    REMEDIES.iter().find(|(cause, _)| stderr.contains(cause)).map(|(_, remedy)| *remedy)
}

/// References and what they point at, by name.
pub type Refs = BTreeMap<RefName, Rev>;

/// Reads `ID <white space> NAME` lines, as `ls-remote` and `for-each-ref` write them. What is no legal name, peeled
/// (`^{}`) or symbolic (a third word) is left out: git would not fetch it either.
fn parse_refs(output: &[u8]) -> Refs {
    let parse = |line: &[u8]| {
        let (id, name) = line.split_at_checked(line.iter().position(|b| b.is_ascii_whitespace())?)?;
        Some((RefName::from_bytes(&name[1..]).ok()?, std::str::from_utf8(id).ok()?.parse().ok()?))
    };
    output.split(|b| *b == b'\n').filter_map(parse).collect()
}

/// Reads the target of a symbolic reference as `ls-remote --symref` writes it: `ref: NAME<tab>HEAD`.
fn parse_symref(output: &[u8]) -> Option<RefName> {
    let line = output.split(|b| *b == b'\n').next()?.strip_prefix(b"ref: ")?;
    RefName::from_bytes(line.split(|b| *b == b'\t').next()?).ok()
}

/// Is it on this machine: a path or `file://`? Then no ssh is involved.
fn is_local(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file://")
}

/// Input for `update-ref -z --stdin` that deletes references which are still where they were.
fn deletions<'a>(refs: impl Iterator<Item = (&'a [u8], &'a Rev)>) -> Vec<u8> {
    let mut input = Vec::new();
    for (name, old) in refs {
        input.extend_from_slice(&[b"delete ", name, b"\0", old.as_str().as_bytes(), b"\0"].concat());
    }
    input
}

/// Bytes as a path or argument.
fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn refs_are_read_and_what_is_no_legal_name_is_left_out() {
        let text = format!(
            "{A}\trefs/heads/x;$(touch${{IFS}}PWNED)\n{A}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n{A}\trefs/heads/../../etc\n\
             {A} refs/remotes/origin/HEAD refs/remotes/origin/master\nnonsense\n{A}\n"
        );
        let names: Vec<String> = parse_refs(text.as_bytes()).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["refs/heads/x;$(touch${IFS}PWNED)", "refs/tags/v1"]);
        assert_eq!(parse_symref(b"ref: refs/heads/main\tHEAD\nabc\tHEAD\n").unwrap().to_str(), Some("refs/heads/main"));
        assert_eq!(parse_symref(b"abc\tHEAD\n"), None);
    }

    #[test]
    fn deletions_name_the_old_value() {
        let rev = A.parse().unwrap();
        let input = deletions([(&b"refs/heads/a"[..], &rev)].into_iter());
        assert_eq!(input, format!("delete refs/heads/a\0{A}\0").as_bytes());
    }

    #[test]
    fn a_failure_says_what_git_said_and_what_to_do() {
        let text = "warning: x\nssh: connect\x1b[31m refused\nfatal: Could not read from remote repository.\n\nmore\n";
        assert_eq!(
            failure("fetch", text.as_bytes()).to_string(),
            "git fetch: ssh: connect[31m refused; fatal: Could not read from remote repository."
        );
        let owned = failure("fetch", b"fatal: detected dubious ownership in repository at '/x'\n").to_string();
        assert!(owned.ends_with("(set `user:` of the repository to the owner of the clone)"), "{owned}");
        assert_eq!(failure("gc", b"").to_string(), "git gc: it failed and said nothing");
    }

    #[test]
    fn the_environment_of_a_hook_does_not_reach_git() {
        // The environment of this process is shared by all tests: only what is set on the command is looked at.
        let command = create_command(Some(Path::new("/srv/git/x.git")));
        let env: BTreeMap<_, _> = command.get_envs().collect();
        assert_eq!(env[OsStr::new("GIT_TERMINAL_PROMPT")], Some(OsStr::new("0")));
        assert_eq!(env[OsStr::new("GIT_CEILING_DIRECTORIES")], Some(OsStr::new("/srv/git")));
    }
}
