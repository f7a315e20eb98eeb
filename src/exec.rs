//! A program of the administrator's, run for something that happened: no shell, a clean environment, an end in time, and
//! another try when it failed.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::process::{self, Limits, Run, Stop, Stream, User};

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(5);
/// The wait before the first retry; it doubles, up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Characters of its last line that a failure's text has.
const SAID_MAX: usize = 300;

/// Why a run was no success: the text goes on after the program's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error("could not be run: {}", why(.0))]
    Process(#[from] process::Error),
    /// Its time was up.
    #[error("was ended after {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// This process is to end.
    #[error("was ended, because failcake was told to stop")]
    Stopped,
    /// Its exit status says so.
    #[error("failed ({status}){}{said}", if said.is_empty() { "" } else { ": " })]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        said: String,
    },
}

/// The program's name stands before it already.
fn why(error: &process::Error) -> String {
    match error {
        process::Error::Spawn { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// One run.
pub struct Call<'a> {
    /// Whom to become.
    pub user: Option<&'a User>,
    /// Its stdin.
    pub input: Option<&'a [u8]>,
    /// How long it may take.
    pub timeout: Duration,
    /// Ends it early.
    pub stop: Option<&'a Stop>,
}

impl Call<'_> {
    /// Runs it to its end. `tell` gets each line that it says, without control characters: no escape sequence of a
    /// stranger's, which a program repeats, reaches a terminal.
    ///
    /// # Errors
    /// Its exit status is not 0, or it has none.
    pub fn run(&self, command: Command, tell: &mut dyn FnMut(Stream, &str)) -> Result<(), Error> {
        let mut last = String::new();
        let mut lines = |stream: Stream, line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            tell(stream, &text);
            if !text.trim().is_empty() {
                last = text;
            }
        };
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: 0 };
        let run = Run { user: self.user, input: self.input, limits, stop: self.stop, lines: Some(&mut lines) };
        let outcome = run.run(command)?;
        if outcome.timed_out {
            return Err(Error::TimedOut(self.timeout));
        }
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.status.success() {
            return Ok(());
        }
        let said = last.trim().chars().take(SAID_MAX).collect();
        Err(Error::Failed { status: outcome.status, said })
    }
}

/// Does `once` until it succeeds or its retries are used up, with growing waits. It gets the number of the attempt, from
/// 1; `again` hears of each failure that is tried again, and after how long.
///
/// # Errors
/// The last failure; or the one before the wish to stop.
pub fn retry<E>(
    retries: u32,
    stop: Option<&Stop>,
    mut once: impl FnMut(u32) -> Result<(), E>,
    mut again: impl FnMut(&E, Duration),
) -> Result<(), E> {
    let mut wait = WAIT;
    let mut attempt = 1;
    loop {
        let Err(error) = once(attempt) else { return Ok(()) };
        if attempt > retries || stop.is_some_and(Stop::is_set) {
            return Err(error);
        }
        again(&error, wait);
        let stopped = match stop {
            Some(stop) => stop.wait(wait),
            None => {
                std::thread::sleep(wait);
                false
            }
        };
        if stopped {
            return Err(error);
        }
        wait = (wait * 2).min(WAIT_MAX);
        attempt += 1;
    }
}

/// Is there such a program: at that path, or in `$PATH`?
pub fn is_there(program: &OsStr) -> bool {
    let is_program =
        |path: &std::path::Path| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        return is_program(program.as_ref());
    }
    // Without the variable the C library has a path of its own: what is not found there fails when it is run.
    let Some(folders) = std::env::var_os("PATH") else { return true };
    std::env::split_paths(&folders).any(|folder| is_program(&folder.join(program)))
}
