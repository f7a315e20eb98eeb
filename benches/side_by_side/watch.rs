//! `fetch --watch`: what it costs idle, what a burst makes it do, how fast it passes over what is not its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use failcake::bus::{Publisher, Target};
use failcake::config::Tls;
use failcake::stomp::Frame;

use crate::measure::ms;
use crate::place::{Broker, FAILCAKE, Place};

const IDLE: Duration = Duration::from_secs(20);
const FOREIGN: usize = 100_000;
const BURST: usize = 1_000;
/// The old daemon works off one event after another: a fifth is enough to see it.
const RIVAL_BURST: usize = 200;

/// Measures the watcher on the embedded broker.
pub fn run(place: &Place) {
    let broker = place.embedded();
    let (work, ids) = place.history("watch-work", 2);
    let origin = place.path("watch-origin.git");
    place.git(&place.path(""), &["clone", "--quiet", "--bare", text(&work), text(&origin)]);
    let counted = counting_git(place);
    let clone = place.path("watch-clone.git");
    let rest = format!("repos:\n  spog: {{ path: {}, url: {} }}\n", clone.display(), origin.display());
    let config = place.config("watch", &broker.url, &rest);
    let mut command = place.command(FAILCAKE);
    counted.use_in(&mut command);
    let mut watcher = command.arg("-c").arg(config).args(["fetch", "--watch"]).spawn().expect("fetch --watch");
    wait_for("the first clone", || clone.join("HEAD").exists());
    std::thread::sleep(Duration::from_secs(3));

    let before = Counters::of(&watcher);
    std::thread::sleep(IDLE);
    let idle = Counters::of(&watcher);
    println!("\nfetch --watch, idle for {} s", IDLE.as_secs());
    println!(
        "  wake-ups {}, CPU {:.0} ms, resident {:.1} MB",
        idle.switches - before.switches,
        idle.cpu_ms - before.cpu_ms,
        idle.rss_mb
    );

    let mut publisher = publisher(&broker);
    let mut send = |repo: &str, count: usize| {
        for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
            let frames = chunk.iter().map(|number| event(repo, &ids[0], &ids[1], *number)).collect();
            publisher.publish(frames, Instant::now() + Duration::from_secs(60)).expect("published");
        }
    };

    // A commit behind the crowd tells when the watcher has read all of it.
    let begun = Instant::now();
    send("not-ours", FOREIGN);
    let sent = begun.elapsed();
    let new = commit(place, &work, &origin, "after the crowd");
    send("spog", 1);
    wait_for("the commit behind the crowd", || has(place, &clone, &new));
    let crowd = Counters::of(&watcher);
    let cpu = crowd.cpu_ms - idle.cpu_ms;
    println!("\n{FOREIGN} events for repositories that are not ours");
    println!(
        "  published in {:.0} ms; the watcher took {cpu:.0} ms of CPU: {:.0} events a second on one core",
        ms(sent),
        FOREIGN as f64 / cpu * 1000.0
    );
    println!("  resident {:.1} MB before, {:.1} MB after", idle.rss_mb, crowd.rss_mb);

    counted.reset();
    let begun = Instant::now();
    let new = commit(place, &work, &origin, "the burst");
    send("spog", BURST);
    wait_for("the burst's commit", || has(place, &clone, &new));
    let fresh = begun.elapsed();
    std::thread::sleep(Duration::from_secs(4));
    println!("\n{BURST} events for one repository");
    println!("  failcake: {} fetches, fresh after {:.0} ms", counted.fetches(), ms(fresh));
    let _ = watcher.kill();
    let _ = watcher.wait();

    let mut command = place.command("ruby");
    counted.use_in(&mut command);
    command.arg(place.rival("fetch_daemon.rb")).args(["spog", text(&clone)]).stdout(Stdio::piped());
    command.env("BENCH_PORT", broker.port.to_string()).env("BENCH_LOGIN", "gituser").env("BENCH_PASSCODE", "gitpw");
    let mut daemon = command.spawn().expect("ruby");
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().expect("piped")).read_line(&mut line).expect("ready");
    std::thread::sleep(Duration::from_secs(1));
    counted.reset();
    let begun = Instant::now();
    send("spog", RIVAL_BURST);
    wait_for("the Ruby daemon", || counted.fetches() >= 2 * RIVAL_BURST || begun.elapsed() > Duration::from_secs(90));
    println!("  Ruby daemon, {RIVAL_BURST} events: {} fetches in {:.0} ms", counted.fetches(), ms(begun.elapsed()));
    let _ = daemon.kill();
    let _ = daemon.wait();
}

/// What the kernel counted for a process.
pub struct Counters {
    pub switches: u64,
    pub cpu_ms: f64,
    pub rss_mb: f64,
    pub peak_mb: f64,
}

impl Counters {
    /// All threads together.
    pub fn of(child: &Child) -> Counters {
        let folder = PathBuf::from(format!("/proc/{}", child.id()));
        let field = |file: &Path, key: &str| -> u64 {
            let text = fs::read_to_string(file).expect("the process lives");
            let line = text.lines().find(|line| line.starts_with(key)).expect("a field of /proc/PID/status");
            line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
        };
        let threads = fs::read_dir(folder.join("task")).expect("the process lives").flatten();
        let switches = threads.map(|thread| field(&thread.path().join("status"), "voluntary_ctxt_switches")).sum();
        let stat = fs::read_to_string(folder.join("stat")).expect("the process lives");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("after the name").split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        // SAFETY: a number, from no memory of ours.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        Counters {
            switches,
            cpu_ms: ticks as f64 * 1000.0 / per_second,
            rss_mb: field(&folder.join("status"), "VmRSS") as f64 / 1024.0,
            peak_mb: field(&folder.join("status"), "VmHWM") as f64 / 1024.0,
        }
    }
}

/// A `git` in front of the real one that writes down each call.
struct CountingGit {
    bin: PathBuf,
    log: PathBuf,
}

impl CountingGit {
    fn use_in(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.bin.display()));
    }

    fn reset(&self) {
        fs::write(&self.log, "").expect("the log");
    }

    fn fetches(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').any(|word| word == "fetch")).count()
    }
}

fn counting_git(place: &Place) -> CountingGit {
    let git = std::env::split_paths(&std::env::var_os("PATH").expect("PATH"))
        .map(|dir| dir.join("git"))
        .find(|file| file.exists());
    let counted = CountingGit { bin: place.path("bin"), log: place.path("git.log") };
    fs::create_dir(&counted.bin).expect("a folder");
    let file = counted.bin.join("git");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>'{}'\nexec '{}' \"$@\"\n",
        counted.log.display(),
        git.expect("git").display()
    );
    fs::write(&file, script).expect("a script");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
    counted
}

pub fn publisher(broker: &Broker) -> Publisher {
    let target = Target {
        url: broker.url.parse().expect("our own URL"),
        tls: Tls { ca_file: None, verify: true },
        passcode: None,
        vhost: "/".to_owned(),
        heart_beat: Duration::from_secs(10),
        client_id: None,
    };
    Publisher::connect(&target, Instant::now() + Duration::from_secs(10)).expect("the broker answers")
}

/// A push event as the hook writes it, small.
pub fn event(repo: &str, old: &str, new: &str, number: usize) -> Frame {
    let body = format!(
        "repo: {repo}\noldrev: {old}\nnewrev: {new}\nrefname: refs/heads/master\n\ncommit {new}\n    a change\n\nJSON: {{\"repository\":{{\"name\":\"{repo}\"}},\"before\":\"{old}\",\"after\":\"{new}\",\"ref\":\"refs/heads/master\"}}\n"
    );
    let headers = [
        ("subject", format!("[{repo}] refs/heads/master {new}")),
        ("event-id", format!("00000000-0000-7000-8000-{number:012x}")),
        ("event-type", "push".to_owned()),
        ("persistent", "true".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Frame::send("/topic/failcake.git.commits", headers, body.into_bytes())
}

pub fn commit(place: &Place, work: &Path, origin: &Path, what: &str) -> String {
    fs::write(work.join("page.txt"), what).expect("a file");
    place.git(work, &["commit", "--quiet", "--all", "--message", what]);
    place.git(work, &["push", "--quiet", text(origin), "HEAD:refs/heads/master"]);
    place.git(work, &["rev-parse", "HEAD"])
}

pub fn has(place: &Place, clone: &Path, commit: &str) -> bool {
    let mut command = place.command("git");
    command.arg("--git-dir").arg(clone).args(["rev-parse", "refs/heads/master"]).stdout(Stdio::piped());
    command.output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == commit)
}

pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !there() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a scratch folder in UTF-8")
}
