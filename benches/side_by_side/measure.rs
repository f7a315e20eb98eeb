//! Runs contenders turn by turn, so that whatever else the machine does is shared between them, and prints medians.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What one run cost.
pub struct Sample {
    /// From before fork to after wait.
    pub wall: Duration,
    /// Largest resident set, KiB, as the kernel counts it for the child.
    pub max_rss: i64,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs `command` once with `input` on stdin.
#[expect(clippy::zombie_processes, reason = "wait4 waits, and gives the usage with it")]
pub fn once(command: &mut Command, input: &[u8]) -> Sample {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: plain out-parameters; wait4 is the only call that gives the usage of one child.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    assert_eq!(waited, child.id() as i32, "wait4");
    Sample { wall: begun.elapsed(), max_rss: usage.ru_maxrss, status: ExitStatus::from_raw(status) }
}

/// One row of a race.
pub struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut() -> Sample + 'a>,
    walls: Vec<Duration>,
    max_rss: i64,
}

impl<'a> Contender<'a> {
    /// `run` is called once a round.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Sample + 'a) -> Contender<'a> {
        Contender { name: name.into(), run: Box::new(run), walls: Vec::new(), max_rss: 0 }
    }
}

/// Median of durations.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs all contenders `rounds` times, turn by turn, and prints the table; ratios are against the first row.
pub fn race(title: &str, rounds: usize, mut contenders: Vec<Contender<'_>>) {
    for _ in 0..rounds {
        for contender in &mut contenders {
            let sample = (contender.run)();
            assert!(sample.status.success(), "{title}: {} ended with {}", contender.name, sample.status);
            contender.walls.push(sample.wall);
            contender.max_rss = contender.max_rss.max(sample.max_rss);
        }
    }
    println!("\n{title} ({rounds} rounds, turn by turn)");
    println!("  {:<44} {:>10} {:>10} {:>8} {:>9}", "", "median ms", "fastest", "ratio", "peak MB");
    let base = median(&mut contenders[0].walls);
    for contender in &mut contenders {
        let middle = median(&mut contender.walls);
        println!(
            "  {:<44} {:>10.2} {:>10.2} {:>8.2} {:>9.1}",
            contender.name,
            ms(middle),
            ms(contender.walls[0]),
            middle.as_secs_f64() / base.as_secs_f64(),
            contender.max_rss as f64 / 1024.0
        );
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
