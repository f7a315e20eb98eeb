//! Child processes: as another user, in a group of their own, with a time limit, bounded output and a sure end.
//!
//! A child's process group ends with the child: whatever it left behind in the group is killed. A daemon that is to
//! outlive the script that starts it must leave the group (`setsid`, `start-stop-daemon`, the service manager).
//!
//! Killed here with KILL: the kernel kills the child too (`PR_SET_PDEATHSIG`), though not what the child had started.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

mod left;
mod memory;
mod stop;
mod user;

pub use left::{end_left, session};
pub use memory::let_go_of_code;
pub use stop::Stop;
pub use user::{User, as_root};

/// How long the pipes may stay open after the child's end, held by what it left behind.
const LINGER: Duration = Duration::from_millis(250);
/// How long after KILL a child may take to be gone; longer only in an uninterruptible system call (a dead NFS server).
const BURIAL: Duration = Duration::from_secs(10);
/// The longest line given to a [`Run::lines`] in one piece, in octets.
const LINE_MAX: usize = 8 * 1024;

/// ssh as others' programs (git, svn) shall call it when nobody configured another: it asks nothing and gives up on a dead
/// peer.
pub const QUIET_SSH: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=3";

/// How long a child may take and how much of what it says is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start to TERM for its process group.
    pub timeout: Duration,
    /// From TERM to KILL.
    pub grace: Duration,
    /// Octets kept of stdout and of stderr each; the rest is read and dropped.
    pub output: usize,
}

/// What became of a child.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// At most [`Limits::output`] octets.
    pub stdout: Vec<u8>,
    /// At most [`Limits::output`] octets.
    pub stderr: Vec<u8>,
    /// It was ended because its time was up.
    pub timed_out: bool,
    /// It was ended because of [`Run::stop`].
    pub stopped: bool,
}

/// Why a child could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such user here.
    #[error("there is no user {0:?} on this machine")]
    NoUser(String),
    /// Only root can become another user.
    #[error("{user:?} is configured, but this runs as {me:?}: only root can become another user")]
    NotRoot {
        /// Who is configured.
        user: String,
        /// Who runs.
        me: String,
    },
    /// The program can't be started.
    #[error("can't run {program}: {source}")]
    Spawn {
        /// What was to run.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It was started, but lost from sight: a system call that should not fail did, or KILL had no effect.
    #[error("lost {program}: {source}")]
    Lost {
        /// What ran.
        program: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// Which of a child's outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its stdout.
    Out,
    /// Its stderr.
    Err,
}

/// Who gets a child's lines while it runs.
pub type Lines<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// One run of a child with all that can be said about it.
pub struct Run<'a> {
    /// Whom to become; see [`User::find`]. One that this process is already sets only the environment.
    pub user: Option<&'a User>,
    /// Its stdin; `None` is `/dev/null`.
    pub input: Option<&'a [u8]>,
    /// Its limits.
    pub limits: Limits,
    /// Ends it early, as a time-out would.
    pub stop: Option<&'a Stop>,
    /// Gets every line (without its line feed) as it comes, also those over [`Limits::output`]; lines over 8 KiB in pieces.
    pub lines: Option<Lines<'a>>,
}

/// A program for whom this process' own affairs are none of its business: it gets our environment without `FAILCAKE_…` (a
/// broker's password) and without `GIT_…` (the repository of a hook that called us).
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.as_bytes().starts_with(b"FAILCAKE_") || key.as_bytes().starts_with(b"GIT_") {
            command.env_remove(key);
        }
    }
    command
}

/// Starts a program that lives beside this one: in a process group of its own, so that a terminal's Ctrl-C is ours to
/// answer, and killed by the kernel when the calling thread ends, however that happens.
///
/// # Errors
/// As [`Command::spawn`].
pub fn start(mut command: Command) -> io::Result<Child> {
    prepare(&mut command, None, None);
    command.spawn()
}

/// Has the kernel kill this process when `parent`, which started it by a [`Run`], ends. It does so from the start; who
/// becomes another user by itself has to say so again.
///
/// # Errors
/// `parent` is gone already.
pub fn die_with(parent: Pid) -> Result<(), Error> {
    let lost = |source| Error::Lost { program: "the parent".to_owned(), source };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| lost(errno.into()))?;
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(lost(io::Error::other("it has ended"))) }
}

/// Takes the terminal away from what `command` will start, so that no program finds one to ask a person on. It stays in
/// this session, by which a later run knows what this one left behind.
pub fn without_terminal(command: &mut Command) {
    let in_child = || {
        // SAFETY: system calls on a constant and on integers. A process that leads no session gives up the terminal for
        // itself alone: ioctl_tty(2), TIOCNOTTY.
        unsafe {
            let terminal = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK);
            if terminal >= 0 {
                libc::ioctl(terminal, libc::TIOCNOTTY);
                libc::close(terminal);
            }
        }
        Ok(())
    };
    // SAFETY: see `in_child`.
    unsafe { command.pre_exec(in_child) };
}

/// Runs `command` to its end: stdin is `input` or nothing, its own process group, killed with this process.
///
/// # Errors
/// [`Error::Spawn`], [`Error::Lost`]. A child that ran and failed is an [`Outcome`].
pub fn run(command: Command, user: Option<&User>, input: Option<&[u8]>, limits: Limits) -> Result<Outcome, Error> {
    Run { user, input, limits, stop: None, lines: None }.run(command)
}

impl Run<'_> {
    /// Runs `command` to its end. Its working directory, arguments and environment are the caller's; stdio, group and
    /// user are set here.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(self, command: Command) -> Result<Outcome, Error> {
        self.run_keeping(None, command)
    }

    /// As [`Run::run`], with `file` open in the child under the same number: `/proc/self/fd/N` is its path there.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run_with(self, file: BorrowedFd<'_>, command: Command) -> Result<Outcome, Error> {
        self.run_keeping(Some(file.as_raw_fd()), command)
    }

    fn run_keeping(mut self, file: Option<RawFd>, mut command: Command) -> Result<Outcome, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        prepare(&mut command, self.user, file);
        let started = Instant::now();
        let child = command.spawn().map_err(|source| Error::Spawn { program: program.clone(), source })?;
        let mut child = Group(child);
        let outcome = self.attend(&mut child.0, started);
        drop(child);
        outcome.map_err(|source| Error::Lost { program, source })
    }

    /// Moves the bytes and watches the clock until the child is gone and its group with it.
    fn attend(&mut self, child: &mut Child, started: Instant) -> io::Result<Outcome> {
        let group = Pid::from_raw(child.id().cast_signed());
        let mut stdin = self.input.and_then(|input| child.stdin.take().map(|pipe| (pipe, input)));
        let mut out = Output::new(child.stdout.take().map(OwnedFd::from), Stream::Out)?;
        let mut err = Output::new(child.stderr.take().map(OwnedFd::from), Stream::Err)?;
        if let Some((pipe, _)) = &stdin {
            set_nonblocking(pipe.as_fd())?;
        }
        let pidfd = open_pidfd(group);
        let mut next = Step::Term { at: started + self.limits.timeout };
        let mut exited = false;
        let (mut timed_out, mut stopped) = (false, false);
        loop {
            if exited && out.pipe.is_none() && err.pipe.is_none() {
                break;
            }
            // Without a pidfd (Linux before 5.3, some sandboxes) the end is looked for 50 times a second.
            let tick =
                if exited || pidfd.is_some() { next.at() } else { next.at().min(after(Duration::from_millis(20))) };
            let stop = self.stop.filter(|_| matches!(next, Step::Term { .. }) && !exited);
            let mut fds = Vec::with_capacity(5);
            fds.extend(pidfd.as_ref().filter(|_| !exited).map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            fds.extend(stop.map(|stop| PollFd::new(stop.as_fd(), PollFlags::POLLIN)));
            fds.extend(out.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            fds.extend(err.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            fds.extend(stdin.as_ref().map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
            match poll(&mut fds, poll_time(tick)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            drop(fds);

            out.read(self.limits.output, &mut self.lines)?;
            err.read(self.limits.output, &mut self.lines)?;
            stdin = stdin.take().and_then(|(pipe, rest)| feed(pipe, rest));
            if !exited && is_gone(group)? {
                exited = true;
                stdin = None;
                next = Step::Close { at: after(LINGER) };
            }
            if stop.is_some_and(Stop::is_set) && !exited {
                stopped = true;
                next = next.at_once();
            }
            if Instant::now() < next.at() {
                continue;
            }
            next = match next {
                Step::Term { .. } => {
                    timed_out = !stopped;
                    signal(group, Signal::SIGTERM);
                    // One that is stopped (it read from the terminal) would never see the TERM.
                    signal(group, Signal::SIGCONT);
                    Step::Kill { at: after(self.limits.grace) }
                }
                Step::Kill { .. } => {
                    signal(group, Signal::SIGKILL);
                    Step::Bury { at: after(BURIAL) }
                }
                Step::Bury { .. } => {
                    return Err(io::Error::other("it is stuck in the kernel and does not die of KILL"));
                }
                // What still holds the pipes is no longer listened to; the group is killed below.
                Step::Close { .. } => break,
            };
        }
        // The child is not reaped yet, so its number can't have become somebody else's group.
        signal(group, Signal::SIGKILL);
        let status = child.wait()?;
        Ok(Outcome {
            status,
            stdout: out.finish(&mut self.lines),
            stderr: err.finish(&mut self.lines),
            timed_out,
            stopped,
        })
    }
}

/// What the clock brings next.
#[derive(Clone, Copy)]
enum Step {
    /// The time is up: TERM for the group.
    Term { at: Instant },
    /// So is the grace: KILL.
    Kill { at: Instant },
    /// It should be long gone.
    Bury { at: Instant },
    /// It is gone; what it left behind held the pipes long enough.
    Close { at: Instant },
}

impl Step {
    fn at(self) -> Instant {
        let (Step::Term { at } | Step::Kill { at } | Step::Bury { at } | Step::Close { at }) = self;
        at
    }

    fn at_once(self) -> Step {
        if let Step::Term { .. } = self { Step::Term { at: Instant::now() } } else { self }
    }
}

/// A started child that is never left behind: whichever way its scope ends, its group is killed and it is reaped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `try_wait` after a `wait` answers from memory, so a number that is free again is never signalled.
        if let Ok(None) = self.0.try_wait() {
            signal(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
            let _ = self.0.try_wait();
        }
    }
}

/// One of the child's outputs.
struct Output {
    pipe: Option<std::fs::File>,
    stream: Stream,
    kept: Vec<u8>,
    line: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, stream: Stream) -> io::Result<Output> {
        if let Some(pipe) = &pipe {
            set_nonblocking(pipe.as_fd())?;
        }
        Ok(Output { pipe: pipe.map(std::fs::File::from), stream, kept: Vec::new(), line: Vec::new() })
    }

    /// Takes one piece, so that a flood on one pipe starves neither the other nor the clock.
    fn read(&mut self, keep: usize, lines: &mut Option<Lines<'_>>) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut buffer = [0; 64 * 1024];
        let piece = match pipe.read(&mut buffer) {
            Ok(0) => {
                self.pipe = None;
                return Ok(());
            }
            Ok(n) => &buffer[..n],
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Ok(()),
            Err(e) => return Err(e),
        };
        self.kept.extend_from_slice(&piece[..piece.len().min(keep - self.kept.len())]);
        let Some(lines) = lines else { return Ok(()) };
        for part in piece.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                self.line.pop();
            } else if self.line.len() < LINE_MAX {
                continue;
            }
            for line in self.line.chunks(LINE_MAX) {
                lines(self.stream, line);
            }
            if self.line.is_empty() {
                lines(self.stream, b"");
            }
            self.line.clear();
        }
        Ok(())
    }

    /// What was kept; a last line without its line feed is told.
    fn finish(self, lines: &mut Option<Lines<'_>>) -> Vec<u8> {
        if let (false, Some(lines)) = (self.line.is_empty(), lines) {
            lines(self.stream, &self.line);
        }
        self.kept
    }
}

/// The processes of this machine (of this PID namespace): number and folder in `/proc`.
pub fn all() -> impl Iterator<Item = (i32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// Where the processes stand that we may look at: working folder, root and program.
pub fn folders_in_use() -> Vec<PathBuf> {
    let links = |(_, proc): (i32, PathBuf)| ["cwd", "root", "exe"].map(|link| std::fs::read_link(proc.join(link)));
    all().flat_map(links).flatten().collect()
}

/// Everything between fork and exec: allocated here, before the fork; after it only async-signal-safe calls are made.
fn prepare(command: &mut Command, user: Option<&User>, keep: Option<RawFd>) {
    // The service manager talks with this process alone: a daemon that a script starts must not speak for it.
    for key in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"] {
        command.env_remove(key);
    }
    let become_user = user.map(|user| {
        command.envs(user.variables());
        for key in user::OF_ANOTHER {
            command.env_remove(key);
        }
        let groups: Vec<libc::gid_t> = user.groups.iter().map(|gid| gid.as_raw()).collect();
        (user.uid != nix::unistd::geteuid()).then(|| (groups, user.gid.as_raw(), user.uid.as_raw()))
    });
    let become_user = become_user.flatten();
    let parent = std::process::id().cast_signed();
    let in_child = move || {
        let check = |result: libc::c_int| if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
        // SAFETY: plain system calls on integers and on a vector allocated before the fork.
        unsafe {
            check(libc::setpgid(0, 0))?;
            if let Some((groups, gid, uid)) = &become_user {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setgid(*gid))?;
                check(libc::setuid(*uid))?;
            }
            // After setuid, which clears it. It is bound to the thread that forked: `run` keeps that thread until the end.
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // What is opened here is close-on-exec, but descriptors inherited from whoever started this may not be.
            // Linux before 5.11 does not know it: then only those leak.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if let Some(file) = keep {
                check(libc::fcntl(file, libc::F_SETFD, 0))?;
            }
        }
        Ok(())
    };
    // SAFETY: see `in_child`.
    unsafe { command.pre_exec(in_child) };
}

fn open_pidfd(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: a system call on integers; the descriptor it returns (close-on-exec by definition) is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Has the child ended? It is left as a zombie, which keeps its process group's number taken.
fn is_gone(pid: Pid) -> io::Result<bool> {
    match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
        Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::EINTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn signal(group: Pid, signal: Signal) {
    // It fails when nobody is left in the group (fine) or for what became another user by itself (not ours to end).
    let _ = killpg(group, signal);
}

/// Writes what the pipe takes; gives back what is to be written later, or closes it.
fn feed(mut pipe: std::process::ChildStdin, rest: &[u8]) -> Option<(std::process::ChildStdin, &[u8])> {
    match pipe.write(rest) {
        Ok(n) => (n < rest.len()).then(|| (pipe, &rest[n..])),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Some((pipe, rest)),
        // A child that does not want its input is no error: its exit status counts.
        Err(_) => None,
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn after(time: Duration) -> Instant {
    Instant::now() + time
}

/// Until `at`, rounded up to milliseconds: rounded down, the last one would be a busy loop.
fn poll_time(at: Instant) -> PollTimeout {
    let left = at.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(left.min(3_600_000)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests;
