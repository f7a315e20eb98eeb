//! The demo's stage: a scratch folder, the programs in it, and what was seen of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use anstyle::{AnsiColor, Style};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bus::{Connection, Incoming, Target};
use crate::command::quote;
use crate::config::{self, Topics};
use crate::message::{Envelope, push::Push};
use crate::name::{RefName, Rev};
use crate::process::{self, Stop};
use crate::stomp::{AckMode, Subscription};

/// How long any one step may take before the demo says that it did not happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a program may take to end after TERM; then it is killed.
const GOODBYE: Duration = Duration::from_secs(5);
const SITE: &str = "www.example.org";
const REPO: &str = "spog";

/// What was pushed: a tag of one commit.
pub struct Pushed {
    tag: &'static str,
    commit: Rev,
}

/// The folder, the programs running in it, and the clock of the timeline.
pub struct Stage {
    folder: PathBuf,
    servers: Vec<(&'static str, u16)>,
    programs: Vec<Child>,
    begun: Instant,
    broker: String,
    listener: Option<Connection>,
    /// Set by Ctrl-C.
    stop: Stop,
    /// Left in place at the end; a failed demo keeps it too, for a look at what went wrong.
    keep: bool,
}

impl Stage {
    /// Makes the scratch folder.
    pub fn set(servers: &[&'static str]) -> anyhow::Result<Stage> {
        let folder = std::env::temp_dir().join(format!("failcake-demo-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).with_context(|| format!("can't make the scratch folder {}", folder.display()))?;
        anstream::println!("failcake demo, in {}", folder.display());
        Ok(Stage {
            folder,
            servers: servers.iter().map(|name| (*name, 0)).collect(),
            programs: Vec::new(),
            begun: Instant::now(),
            broker: String::new(),
            listener: None,
            stop: Stop::on_signals()?,
            keep: true,
        })
    }

    /// A headline of the story.
    pub fn scene(&self, headline: &str) {
        let bold = Style::new().bold();
        anstream::println!("\n{bold}{headline}{bold:#}");
    }

    /// A line of the timeline.
    fn tell(&self, who: &str, what: &str) {
        let (dim, cyan) = (Style::new().dimmed(), AnsiColor::Cyan.on_default());
        let seconds = self.begun.elapsed().as_secs_f64();
        anstream::println!("{dim}{seconds:7.3}s{dim:#}  {cyan}{who:<8}{cyan:#} {what}");
    }

    /// Starts the embedded broker, and listens to it as the demo's own pair of eyes.
    pub fn start_broker(&mut self) -> anyhow::Result<()> {
        let mut command = self.failcake(None);
        command.args(["broker", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(self.log("broker")?);
        let mut broker = process::start(command).context("can't start the embedded broker")?;
        let mut line = String::new();
        let stdout = broker.stdout.take().context("the broker has no stdout")?;
        self.programs.push(broker);
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("stomp://"));
        self.broker = url.with_context(|| format!("the broker did not say where it listens: {line:?}"))?.to_owned();
        self.tell("broker", &format!("the embedded broker listens on {}", self.broker));

        let topics = Topics { prefix: "failcake".to_owned(), renamed: Default::default() };
        let subscriptions = ["commits", "jenkins-success", "events-fetch"].map(|key| Subscription {
            destination: topics.get(key),
            durable: None,
            ack: AckMode::Auto,
            prefetch: None,
        });
        let target = Target {
            url: self.broker.parse().context("the broker's own URL")?,
            tls: config::Tls { ca_file: None, verify: true },
            passcode: None,
            vhost: "/".to_owned(),
            heart_beat: Duration::from_secs(10),
            client_id: None,
        };
        self.listener = Some(Connection::open(target, subscriptions.to_vec())?);
        self.hear("the broker's welcome", |incoming| matches!(incoming, Incoming::Connected(_)).then_some(()))
    }

    /// A bare repository with the real hook, and a work tree to push from.
    pub fn create_repository(&mut self) -> anyhow::Result<()> {
        let bare = self.bare();
        self.git(&self.folder, &["init", "--quiet", "--bare", "--initial-branch=master", path(&bare)?])?;
        self.write_config("git", &format!("repos:\n  {REPO}: {{ path: {} }}\n", bare.display()))?;
        let hook = bare.join("hooks/post-receive");
        let program = std::env::current_exe()?;
        // The path of the program and of the folder are ours, yet may hold anything: quoted as sh(1) wants it.
        let text = format!(
            "#!/bin/sh\nexec {} --config {} notify-commit post-receive\n",
            quote(path(&program)?),
            quote(path(&self.config("git"))?)
        );
        fs::write(&hook, text)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        let work = self.folder.join("work");
        self.git(&self.folder, &["clone", "--quiet", path(&bare)?, path(&work)?])?;
        self.tell("git", &format!("{REPO}.git has the post-receive hook: failcake notify-commit post-receive"));
        Ok(())
    }

    /// A "server": its own configuration, clone, site, watcher, and a web server that reads from `current`.
    pub fn start_server(&mut self, name: &'static str) -> anyhow::Result<()> {
        let home = self.folder.join(name);
        fs::create_dir(&home)?;
        let text = format!(
            "node: {name}\nrepos:\n  {REPO}:\n    path: {home}/{REPO}.git\n    url: {bare}\nsites:\n  {SITE}:\n    repo: {REPO}\n    path: {home}/site\n    scripts: deploy/\n",
            home = home.display(),
            bare = self.bare().display(),
        );
        self.write_config(name, &text)?;
        let mut watch = self.failcake(Some(name));
        watch.args(["fetch", "--watch"]).stdout(Stdio::null()).stderr(self.log(name)?);
        self.programs.push(process::start(watch).context("can't start fetch --watch")?);
        let current = home.join("site/current");
        let port = serve(current)?;
        if let Some(server) = self.servers.iter_mut().find(|(server, _)| *server == name) {
            server.1 = port;
        }
        self.tell(name, &format!("watches the bus (failcake fetch --watch); its web server is http://127.0.0.1:{port}/"));
        Ok(())
    }

    /// Commits a page (and a pre-deploy script that passes or not), tags it and pushes both in one push.
    pub fn push(&mut self, tag: &'static str, page: &str, good: bool) -> anyhow::Result<Pushed> {
        let work = self.folder.join("work");
        fs::write(work.join("index.html"), format!("<!doctype html><title>{tag}</title><h1>{page}</h1>\n"))?;
        fs::create_dir_all(work.join("deploy"))?;
        let script = work.join("deploy/pre-deploy");
        let verdict = if good { "exit 0" } else { "echo 'the database migration is missing' >&2\nexit 1" };
        fs::write(&script, format!("#!/bin/sh\n# runs in the new release before the switch\n{verdict}\n"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        self.git(&work, &["add", "--all"])?;
        self.git(&work, &["commit", "--quiet", "--message", page])?;
        self.git(&work, &["tag", tag])?;
        let commit = self.git(&work, &["rev-parse", "HEAD"])?.trim().parse()?;
        let before = Instant::now();
        self.git(&work, &["push", "--quiet", "origin", "HEAD:refs/heads/master", tag])?;
        self.tell("you", &format!("git push origin master {tag}    ({} ms, hook included)", before.elapsed().as_millis()));
        Ok(Pushed { tag, commit })
    }

    /// Waits for the two events of the push: the branch and the tag.
    pub fn expect_push(&mut self, pushed: &Pushed) -> anyhow::Result<()> {
        let mut missing = vec![RefName::branch("master")?, RefName::tag(pushed.tag)?];
        let seen = self.hear("the push on the commits topic", |incoming| {
            let Incoming::Message(message) = incoming else { return None };
            let frame = &message.frame;
            let push = Push::parse(&Envelope::read(&frame.headers, &frame.body).ok()??).ok()?;
            missing.retain(|name| *name != push.refname || push.new != pushed.commit);
            missing.is_empty().then(|| frame.header("destination").unwrap_or_default().to_owned())
        })?;
        self.tell("bus", &format!("{seen}: [{REPO}] refs/heads/master {}, refs/tags/{}", pushed.commit.short(), pushed.tag));
        Ok(())
    }

    /// Waits until each server has said that it fetched, then looks into its clone.
    pub fn expect_fetched(&mut self, pushed: &Pushed) -> anyhow::Result<()> {
        for (name, _) in self.servers.clone() {
            let clone = self.folder.join(name).join(format!("{REPO}.git"));
            let reference = format!("refs/tags/{}^{{commit}}", pushed.tag);
            let found = self.until(|stage| {
                stage.git(&clone, &["rev-parse", "--verify", "--quiet", &reference]).ok().filter(|id| id.trim() == pushed.commit.as_str())
            });
            ensure!(!self.stop.is_set(), "interrupted");
            ensure!(found.is_some(), "{name} did not fetch {} (its log: {})", pushed.tag, self.log_path(name).display());
            self.tell(name, &format!("fetched {} ({}); nobody asked it to", pushed.tag, pushed.commit.short()));
        }
        Ok(())
    }

    /// Says that the build passed, in place of a Jenkins job's shell step.
    pub fn report_build(&mut self, pushed: &Pushed) -> anyhow::Result<()> {
        let mut command = self.failcake(Some("git"));
        command.args(["jenkins-status", "success"]).envs([
            ("JOB_NAME", "spog-tests"),
            ("BUILD_NUMBER", pushed.tag.trim_start_matches('v')),
            ("BUILD_URL", "http://jenkins.example.org/job/spog-tests/"),
            ("GIT_URL", "git@git.example.org:spog.git"),
            ("GIT_BRANCH", "origin/master"),
            ("GIT_COMMIT", pushed.commit.as_str()),
        ]);
        succeed(command.output()?, "jenkins-status success")?;
        let subject = self.hear("the build's success", |incoming| {
            let Incoming::Message(message) = incoming else { return None };
            let frame = &message.frame;
            let subject = frame.header("subject")?;
            (subject.contains("spog-tests") && subject.contains(pushed.commit.as_str())).then(|| subject.to_owned())
        })?;
        self.tell("build", &format!("{subject}    (a stand-in for Jenkins: the real job's shell step says the same)"));
        Ok(())
    }

    /// Deploys on one server.
    pub fn deploy(&mut self, server: &str, pushed: &Pushed) -> anyhow::Result<()> {
        let before = Instant::now();
        let mut command = self.failcake(Some(server));
        succeed(command.args(["deploy", SITE, pushed.tag]).output()?, "deploy")?;
        self.tell(server, &format!("failcake deploy {SITE} {}    ({} ms)", pushed.tag, before.elapsed().as_millis()));
        Ok(())
    }

    /// Deploys what must not go live, and makes sure that it says so.
    pub fn expect_refusal(&mut self, server: &str, pushed: &Pushed) -> anyhow::Result<()> {
        let output = self.failcake(Some(server)).args(["deploy", SITE, pushed.tag]).output()?;
        ensure!(output.status.code() == Some(1), "the bad release {} was not refused: {}", pushed.tag, output.status);
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().rfind(|line| line.starts_with("failcake:")).unwrap_or("no reason given");
        let red = AnsiColor::Red.on_default();
        self.tell(server, &format!("{red}refused {}{red:#}: {}", pushed.tag, reason.trim_start_matches("failcake: ")));
        Ok(())
    }

    /// Rolls one server back.
    pub fn rollback(&mut self, server: &str) -> anyhow::Result<()> {
        let before = Instant::now();
        let mut command = self.failcake(Some(server));
        succeed(command.args(["rollback", SITE]).output()?, "rollback")?;
        self.tell(server, &format!("failcake rollback {SITE}    ({} ms)", before.elapsed().as_millis()));
        Ok(())
    }

    /// Asks the server's web server for the page.
    pub fn expect_page(&self, server: &str, words: &str) -> anyhow::Result<()> {
        let (_, port) = self.servers.iter().find(|(name, _)| *name == server).context("no such server")?;
        let mut stream = TcpStream::connect(("127.0.0.1", *port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains(words), "{server} does not serve {words:?} but {answer:?}");
        let green = AnsiColor::Green.on_default();
        self.tell(server, &format!("GET / -> {green}{words}{green:#}"));
        Ok(())
    }

    /// The end of the story.
    pub fn finish(mut self, keep: bool) -> anyhow::Result<()> {
        self.keep = keep;
        let seconds = self.begun.elapsed().as_secs_f64();
        anstream::println!("\nEvery step did what it says, in {seconds:.1} s.");
        if keep {
            let address = self.broker.trim_start_matches("stomp://");
            let folder = self.folder.display();
            anstream::println!("The folder stays. To play on:");
            anstream::println!("  failcake broker --listen {address} &");
            for (server, _) in &self.servers {
                anstream::println!("  failcake -c {folder}/{server}.yaml fetch --watch &");
            }
            anstream::println!("  cd {folder}/work && git commit --allow-empty -m 'mine' && git push origin HEAD:master");
            anstream::println!("  failcake -c {folder}/web01.yaml deploy {SITE} v2");
            anstream::println!("  failcake -c {folder}/web01.yaml rollback {SITE}");
        }
        Ok(())
    }

    /// Waits for what `recognise` is looking for, in everything the bus says.
    fn hear<T>(&self, what: &str, mut recognise: impl FnMut(&Incoming) -> Option<T>) -> anyhow::Result<T> {
        let listener = self.listener.as_ref().context("nobody listens yet")?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            ensure!(!self.stop.is_set(), "interrupted");
            match listener.receive(Some(Duration::from_millis(100))) {
                Some(Incoming::Lost { cause, .. }) => bail!("lost the broker while waiting for {what}: {cause}"),
                Some(incoming) => {
                    if let Some(found) = recognise(&incoming) {
                        return Ok(found);
                    }
                }
                None => {}
            }
        }
        bail!("{what} did not come within {} s", PATIENCE.as_secs())
    }

    fn until<T>(&self, mut look: impl FnMut(&Stage) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            match look(self) {
                Some(found) => return Some(found),
                None if Instant::now() > end || self.stop.wait(Duration::from_millis(20)) => return None,
                None => {}
            }
        }
    }

    fn bare(&self) -> PathBuf {
        self.folder.join(format!("{REPO}.git"))
    }

    fn config(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> anyhow::Result<Stdio> {
        Ok(fs::File::create(self.log_path(name))?.into())
    }

    fn write_config(&self, name: &str, rest: &str) -> anyhow::Result<()> {
        let text = format!("broker: {}\nspool: {}/spool\n{rest}", self.broker, self.folder.display());
        fs::create_dir_all(self.folder.join("spool"))?;
        Ok(fs::write(self.config(name), text)?)
    }

    /// This very program, with nothing of the caller's configuration.
    fn failcake(&self, config: Option<&str>) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| PathBuf::from("failcake")));
        self.shield(&mut command);
        command.stdin(Stdio::null());
        if let Some(name) = config {
            command.arg("--config").arg(self.config(name));
        }
        command
    }

    /// The caller's FAILCAKE_* and git settings stay outside.
    fn shield(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("FAILCAKE_") || name.starts_with("GIT_") || name.starts_with("GL_")) {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.envs([("GIT_AUTHOR_NAME", "You"), ("GIT_AUTHOR_EMAIL", "you@example.org")]);
        command.envs([("GIT_COMMITTER_NAME", "You"), ("GIT_COMMITTER_EMAIL", "you@example.org")]);
    }

    fn git(&self, folder: &Path, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("git");
        self.shield(&mut command);
        let output = command.current_dir(folder).args(words).stdin(Stdio::null()).output();
        let output = output.context("can't run git; the demo needs it (apt-get install git)")?;
        succeed(output, &format!("git {}", words.join(" ")))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // With TERM first: a watcher that is killed leaves the git it runs to write into the folder for a moment longer.
        for program in &self.programs {
            let _ = kill(Pid::from_raw(program.id().cast_signed()), Signal::SIGTERM);
        }
        let patience = Instant::now() + GOODBYE;
        for program in &mut self.programs {
            while matches!(program.try_wait(), Ok(None)) && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = program.kill();
            let _ = program.wait();
        }
        if self.keep && !self.stop.is_set() {
            anstream::println!("The folder is {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The text on stdout of a program that succeeded.
fn succeed(output: Output, what: &str) -> anyhow::Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what} failed ({}): {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8; set TMPDIR to another folder", path.display()))
}

/// A web server of one page: each request opens `current/index.html` by its path, as a real one would.
fn serve(current: PathBuf) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let answer = match fs::read_to_string(current.join("index.html")) {
                Ok(page) => format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{page}"),
                Err(error) => format!("HTTP/1.0 404 Not Found\r\n\r\n{error}\n"),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(port)
}
