//! A scratch world: a folder, a git that knows nothing of the machine's, the real failcake.
//!
//! ```ignore
//! let world = Sandbox::new();
//! world.write("failcake.yaml", "prefix: future\n");
//! world.failcake(["config", "show"]).run().success().stdout_has("prefix: future").stderr("");
//! ```

#![allow(dead_code, reason = "a kit: what one test leaves another needs")]

pub mod brokers;
pub mod clock;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No program of a test takes longer, however busy the machine is; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
pub const FAILCAKE: &str = env!("CARGO_BIN_EXE_failcake");

/// A world of its own, gone when it is dropped.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let sandbox = Sandbox { folder: tempfile::Builder::new().prefix("failcake-it-").tempdir().unwrap() };
        sandbox.write(
            "gitconfig",
            "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = master\n[advice]\n\tdetachedHead = false\n\
             [gc]\n\tauto = 0\n[protocol \"file\"]\n\tallow = always\n",
        );
        std::fs::create_dir(sandbox.path("home")).unwrap();
        sandbox
    }

    /// A path in the sandbox; it need not exist.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// failcake with those words. Its configuration is `failcake.yaml` of the sandbox if that exists, else none; its
    /// spool is `spool`.
    pub fn failcake<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call<'_> {
        self.program(FAILCAKE, words)
    }

    /// git with those words, in the folder `at`.
    pub fn git<S: AsRef<OsStr>>(&self, at: &str, words: impl IntoIterator<Item = S>) -> Call<'_> {
        self.program("git", words).at(at)
    }

    /// Any program, in the sandbox's environment and folder.
    pub fn program<S: AsRef<OsStr>>(&self, program: &str, words: impl IntoIterator<Item = S>) -> Call<'_> {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.folder.path()).env_clear();
        for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.path("home")).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("FAILCAKE_SPOOL", self.path("spool"));
        if self.path("failcake.yaml").exists() {
            command.env("FAILCAKE_CONFIG", self.path("failcake.yaml"));
        }
        Call { sandbox: self, command, stdin: None }
    }

    /// A bare repository `NAME.git` and a work tree `NAME` with one commit on master, pushed.
    pub fn repository(&self, name: &str) {
        self.git("", ["init", "-q", "--bare", &format!("{name}.git")]).run().success();
        self.git("", ["clone", "-q", &format!("{name}.git"), name]).run().success();
        self.commit(name, "first", &[("file", "one\n")]);
        self.git(name, ["push", "-q", "origin", "master"]).run().success();
    }

    /// Commits those files in the work tree `at`; the new commit's id.
    pub fn commit(&self, at: &str, message: &str, files: &[(&str, &str)]) -> String {
        for (file, text) in files {
            self.write(&format!("{at}/{file}"), text);
        }
        self.git(at, ["add", "-A"]).run().success();
        self.git(at, ["commit", "-q", "-m", message]).run().success();
        self.git(at, ["rev-parse", "HEAD"]).run().success().text().trim().to_owned()
    }

    /// Makes the bare repository `NAME.git` run failcake on each push, as a server would.
    pub fn install_hook(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let script = format!("#!/bin/sh\nexec {FAILCAKE} notify-commit post-receive\n");
        let hook = self.write(&format!("{name}.git/hooks/post-receive"), script);
        std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A program about to be run.
#[must_use = "nothing runs before run() or start()"]
pub struct Call<'a> {
    sandbox: &'a Sandbox,
    command: Command,
    stdin: Option<Vec<u8>>,
}

impl Call<'_> {
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in that folder of the sandbox.
    pub fn at(mut self, folder: &str) -> Self {
        self.command.current_dir(self.sandbox.path(folder));
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Ran {
        let words = format!("{:?}", self.command);
        let folder = self.sandbox.folder.path().display().to_string();
        let mut running = self.start();
        let status = running.wait();
        let show = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&folder, "[SANDBOX]");
        Ran { words, status, stdout: show(running.rest()), stderr: show(running.stderr()) }
    }

    /// Runs to the end, with a stdout whose reader is gone, as that of `| head` soon is.
    pub fn run_unread(mut self) -> Ran {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let words = format!("{:?}", self.command);
        let said = self.command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        Ran {
            words,
            status: said.status,
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        }
    }

    /// Starts and goes on; the program is killed when what comes back is dropped.
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        die_with_the_test(&mut self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), self.stdin) {
            // A program that does not read its input is no failure of the test.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let stdout = Stream::of(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }
}

/// A killed test leaves nothing running.
fn die_with_the_test(command: &mut Command) {
    // SAFETY: prctl(2) is a single system call, safe between fork and exec.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into))
    };
}

/// A program that runs.
pub struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until stdout says a line that holds `words`; that line.
    pub fn stdout_line(&mut self, words: &str) -> String {
        self.stdout.line(words)
    }

    /// Waits until stderr says a line that holds `words`; that line.
    pub fn stderr_line(&mut self, words: &str) -> String {
        self.stderr.line(words)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(id, signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it hangs; stderr: {}", String::from_utf8_lossy(&self.stderr()));
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What stdout said and nobody read yet, to its end.
    pub fn rest(&mut self) -> Vec<u8> {
        self.stdout.rest()
    }

    /// What stderr said and nobody read yet, to its end.
    pub fn stderr(&mut self) -> Vec<u8> {
        self.stderr.rest()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        clock::clear(self.child.id());
    }
}

/// Lines as they come.
struct Stream(Receiver<Vec<u8>>);

impl Stream {
    fn of(pipe: impl Read + Send + 'static) -> Stream {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = Vec::new();
                match pipe.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if sender.send(line).is_err() => return,
                    Ok(_) => {}
                }
            }
        });
        Stream(receiver)
    }

    fn line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if line.contains(words) {
                        return line.trim_end().to_owned();
                    }
                    seen.push_str(&line);
                }
                Err(error) => panic!("no line with {words:?} came ({error}), only:\n{seen}"),
            }
        }
    }

    /// A grandchild that still holds the pipe (a hook's broker, say) ends the wait too, but not the test.
    fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.0.recv_timeout(Duration::from_secs(5)) {
                Ok(line) => all.extend(line),
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return all,
            }
        }
    }
}

/// A program that ended. What it said has `[SANDBOX]` for the sandbox's folder.
#[must_use = "look at how it ended: success() or code()"]
pub struct Ran {
    words: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn success(self) -> Said {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Said {
        let Ran { words, status, stdout, stderr } = self;
        let ended = status.code();
        assert!(
            ended == Some(code),
            "{words}\nended with {ended:?} (signal {:?}), not {code}\nstdout:\n{stdout}\nstderr:\n{stderr}",
            status.signal()
        );
        Said { words, stdout, stderr }
    }
}

/// What a program said that ended as it should.
pub struct Said {
    words: String,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    pub fn stdout(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "stdout of {}\nstderr:\n{}", self.words, self.stderr);
        self
    }

    #[track_caller]
    pub fn stderr(self, text: &str) -> Self {
        assert_eq!(self.stderr, text, "stderr of {}\nstdout:\n{}", self.words, self.stdout);
        self
    }

    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in stdout of {}\n{}\n{}",
            self.words,
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in stderr of {}\n{}\n{}",
            self.words,
            self.stderr,
            self.stdout
        );
        self
    }

    #[track_caller]
    pub fn stderr_lacks(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "{text:?} in stderr of {}\n{}", self.words, self.stderr);
        self
    }

    /// stderr.
    pub fn told(&self) -> &str {
        &self.stderr
    }

    /// stdout.
    pub fn text(self) -> String {
        self.stdout
    }

    /// stdout, parsed.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.words, self.stdout))
    }
}
