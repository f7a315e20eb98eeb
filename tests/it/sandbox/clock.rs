//! Clocks that are apart, and step while programs run: libfaketime before the C library. Time that passes stays as it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Call, Sandbox};

/// Debian's libfaketime, by where its packages put it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// One machine's clock. Programs that were started [by](Call::by) it see at once what it is set to.
#[derive(Debug, Clone)]
pub struct Clock {
    file: PathBuf,
}

impl Sandbox {
    /// A clock that is so many seconds ahead; negative: behind.
    pub fn clock(&self, seconds: i64) -> Clock {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let clock = Clock { file: self.path(format!("clock-{}", COUNT.fetch_add(1, Ordering::Relaxed))) };
        clock.set(seconds);
        clock
    }
}

impl Clock {
    /// Steps it, as NTP does.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

impl Call<'_> {
    /// Runs by that clock, with all that it starts.
    pub fn by(self, clock: &Clock) -> Self {
        let library = LIBRARIES.iter().find(|path| std::path::Path::new(path).exists());
        let library = library.expect("libfaketime is needed: apt-get install faketime");
        self.env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// What libfaketime leaves behind of a process that was killed.
pub(super) fn clear(id: u32) {
    for name in [format!("faketime_shm_{id}"), format!("sem.faketime_sem_{id}")] {
        let _ = std::fs::remove_file(PathBuf::from("/dev/shm").join(name));
    }
}
