//! Asks the bus, after the answer: one thread that sends what waits in the spool.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::outbox::Outbox;

/// The first pause after the bus was not reached; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The thread, seen by who has something to send. Dropping it ends the thread after one more try.
#[derive(Debug)]
pub struct Sender {
    wake: SyncSender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// Starts it; what waits from before is sent at once.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(outbox: Outbox) -> std::io::Result<Sender> {
        let (wake, woken) = sync_channel(1);
        let (end, ended) = sync_channel(0);
        let run = move || {
            send(&outbox, &woken);
            drop(end);
        };
        let thread = std::thread::Builder::new().name("sender".to_owned()).spawn(run)?;
        let sender = Sender { wake, ended, thread };
        sender.wake();
        Ok(sender)
    }

    /// Says that something waits. Never blocks: one word is enough for any number of entries.
    pub fn wake(&self) {
        if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
            log::error!("the thread that sends is gone; what is accepted waits in the spool");
        }
    }

    /// Lets it send once more, for at most `patience`. What it does not manage waits in the spool.
    pub fn finish(self, patience: Duration) {
        drop(self.wake);
        // Nothing is ever sent: the other end is dropped with the thread.
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
            let _ = self.thread.join();
        }
    }
}

fn send(outbox: &Outbox, woken: &Receiver<()>) {
    let mut pause = PAUSE;
    let mut complained = false;
    while woken.recv().is_ok() {
        let mut left = attempt(outbox, &mut complained);
        pause = if left { pause } else { PAUSE };
        while left {
            if !wait(woken, pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
            left = attempt(outbox, &mut complained);
        }
    }
    // Whatever came with the last word.
    attempt(outbox, &mut complained);
}

/// Waits, and lets nobody hurry it: each delivery asks. `false` when nobody is left to ask.
fn wait(woken: &Receiver<()>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        match woken.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Must it be tried again? Said once when it begins, and once when it is over.
fn attempt(outbox: &Outbox, complained: &mut bool) -> bool {
    let (left, cause) = match outbox.send_waiting() {
        Ok(sent) => (sent.left, sent.cause),
        Err(error) => (0, Some(error.to_string())),
    };
    match (&cause, *complained) {
        (Some(cause), false) => {
            log::warn!("{cause}; {left} entries wait in the spool and are tried again, `failcake check` tells more");
            *complained = true;
        }
        (None, true) => {
            log::warn!("the bus is there again");
            *complained = false;
        }
        _ => {}
    }
    // Without a cause it came while the last ones were sent, and who put it there has said so.
    cause.is_some()
}
