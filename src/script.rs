//! The scripts of a deploy: found in the release or in a control directory, run without a shell, ended in time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{self, Limits, Run, Stop, Stream, User};

/// From TERM to KILL when a script's time is up.
const GRACE: Duration = Duration::from_secs(10);
/// Octets of one script's output that are told and kept as they come. Of what follows, only the end is.
const OUTPUT_MAX: usize = 1024 * 1024;
/// Lines of that end: where the cause of a failure stands.
const END_LINES: usize = 50;

/// Why a script can't be run, or that it failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{} is not executable: chmod +x it (in git: git update-index --chmod=+x)", .0.display())]
    NotExecutable(PathBuf),
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    #[error("{} leads out of the release, to {}: a script outside belongs into an absolute `scripts:` folder", path.display(), to.display())]
    Outside { path: PathBuf, to: PathBuf },
    #[error("{} can't be followed: {source}", path.display())]
    Lost { path: PathBuf, source: io::Error },
    #[error("{source}{}", no_interpreter(source))]
    Process {
        #[from]
        source: process::Error,
    },
    #[error("it took longer than {} s and was ended (`timeout:` of the site)", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("it was ended, because failcake was told to stop")]
    Stopped,
    #[error("it exited with status {0}")]
    Failed(i32),
    #[error("it was killed by signal {0}")]
    Killed(i32),
}

impl Error {
    /// The exit status of one that ended by itself.
    pub fn exit(&self) -> Option<i32> {
        if let Error::Failed(status) = self { Some(*status) } else { None }
    }
}

fn no_interpreter(error: &process::Error) -> &'static str {
    match error {
        process::Error::Spawn { source, .. } if source.raw_os_error() == Some(libc::ENOEXEC) => {
            " (does it begin with a line like #!/bin/sh?)"
        }
        process::Error::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            " (is the program of its first line, #!…, installed?)"
        }
        _ => "",
    }
}

/// Looks for the script `name`, or `name.sh`, in `folder`: one of the release, or an absolute one. That there is none is
/// fine. `inside` is the release, and where links of it may lead.
///
/// # Errors
/// There is one that must not or can't be run.
pub fn find(folder: &Path, inside: &[PathBuf; 2], name: &str) -> Result<Option<PathBuf>, Error> {
    for name in [name.to_owned(), format!("{name}.sh")] {
        let path = inside[0].join(folder).join(name);
        // Through a link in the middle of the path it is found too, wherever that leads: looked at below.
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let lost = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Lost { path, source }
        };
        let real = path.canonicalize().map_err(lost(&path))?;
        let is_inside = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
        if folder.is_relative() && !inside.iter().any(is_inside) {
            return Err(Error::Outside { path, to: real });
        }
        if !fs::metadata(&real).is_ok_and(|meta| meta.is_file()) {
            return Err(Error::NoFile(path));
        }
        if nix::unistd::access(&real, nix::unistd::AccessFlags::X_OK).is_err() {
            return Err(Error::NotExecutable(path));
        }
        return Ok(Some(path));
    }
    Ok(None)
}

/// One run of a script.
pub struct Call<'a> {
    /// What [`find`] found.
    pub program: &'a Path,
    /// Where it is run.
    pub folder: &'a Path,
    /// Its arguments.
    pub args: &'a [&'a str],
    /// Its `FAILCAKE_…` environment. The rest is what [`process::command`] leaves of ours.
    pub env: &'a [(&'static str, OsString)],
    /// Where what it says is added.
    pub log: Option<&'a Path>,
    /// Whose environment it gets.
    pub user: Option<&'a User>,
    /// How long it may take.
    pub timeout: Duration,
    /// Ends it early.
    pub stop: Option<&'a Stop>,
}

impl Call<'_> {
    /// Runs it to its end; `tell` gets each line that it says.
    ///
    /// # Errors
    /// It failed: its exit status decides.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut command = process::command(self.program);
        command.args(self.args).current_dir(self.folder);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));

        // A log that can't be written (full disk) is not worth a failed deploy: the caller is told all the same.
        let mut log = self.log.and_then(|log| OpenOptions::new().create(true).append(true).open(log).ok());
        let mut say = |line: &[u8]| {
            if let Some(log) = &mut log {
                let _ = log.write_all(&[line, b"\n"].concat());
            }
            // Escape sequences of a script must not reach the terminal of whoever reads along.
            let text = String::from_utf8_lossy(line);
            tell(&text.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>());
        };
        let words = self.args.iter().map(|word| format!(" {word}")).collect::<String>();
        say(format!("{}{words}", self.program.display()).as_bytes());
        let mut room = OUTPUT_MAX;
        let mut flood = Flood::default();
        let mut lines = |_: Stream, line: &[u8]| {
            room = room.saturating_sub(line.len() + 1);
            if room > 0 { say(line) } else { flood.add(line) }
        };
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: 0 };
        let run = Run { user: self.user, input: None, limits, stop: self.stop, lines: Some(&mut lines) };
        let outcome = run.run(command);
        flood.finish(&mut say);
        let outcome = outcome?;
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut(self.timeout));
        }
        match (outcome.status.code(), outcome.status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(Error::Failed(code)),
            (None, signal) => Err(Error::Killed(signal.unwrap_or(0))),
        }
    }
}

/// What a script says beyond all measure: counted, and its last lines kept.
#[derive(Default)]
struct Flood {
    left_out: u64,
    end: VecDeque<Vec<u8>>,
}

impl Flood {
    fn add(&mut self, line: &[u8]) {
        if self.end.len() == END_LINES {
            self.end.pop_front();
            self.left_out += 1;
        }
        self.end.push_back(line.to_vec());
    }

    fn finish(self, say: &mut dyn FnMut(&[u8])) {
        if self.left_out > 0 {
            say(format!("({} lines left out)", self.left_out).as_bytes());
        }
        for line in &self.end {
            say(line);
        }
    }
}
