//! Where the log goes: stderr, for a person or for systemd's journal.

use std::io::Write as _;
use std::os::linux::fs::MetadataExt as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr {
    /// sd-daemon(3): a line may begin with its priority.
    priorities: bool,
}

/// Sends the log of this process to stderr. A second call changes nothing.
pub fn start(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Stderr { priorities: is_journal() })).is_ok() {
        log::set_max_level(level);
    }
}

/// Is stderr the stream that systemd says goes to its journal? systemd.exec(5): `JOURNAL_STREAM` is inherited, so only
/// the same device and inode mean yes.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino())
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Other crates' wire details are nobody's business here.
        metadata.level() <= Level::Warn || metadata.target().starts_with("failcake")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (priority, word) = match record.level() {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<6>", ""),
            Level::Debug | Level::Trace => ("<7>", "debug: "),
        };
        let line = if self.priorities {
            format!("{priority}{}\n", record.args())
        } else {
            format!("failcake: {word}{}\n", record.args())
        };
        // One write, so that lines of several processes on one terminal stay whole. A closed stderr stops nothing.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
