//! Takes letters in: told before? If not, spooled so that it survives a power loss, then remembered, then answered.
//!
//! In that order: killed between spooling and remembering, the forge has no answer and delivers again; the event then
//! goes out twice with the same event-id, which receivers drop. The other way round it would be lost.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::Answer;
use super::delivery::Letter;
use crate::outbox::Outbox;
use crate::seen::{Key, Seen};
use crate::spool::{self, Spool};
use crate::stomp::Frame;

/// How long a delivery's id counts as told: forges that get no answer try again within minutes.
const WINDOW: Duration = Duration::from_secs(600);
/// Longest wait for another process that takes deliveries in: its turn lasts one fsync.
const TURN: Duration = Duration::from_secs(5);
/// The file that remembers, in the user's spool folder.
const SEEN: &str = "deliveries.seen";

/// Where letters are taken in.
#[derive(Debug)]
pub struct Desk {
    outbox: Outbox,
}

impl Desk {
    /// Opens nothing yet.
    pub fn new(outbox: Outbox) -> Desk {
        Desk { outbox }
    }

    /// Is there a place for what will come?
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn try_spool(&self) -> Result<(), spool::Error> {
        self.outbox.open().map(drop)
    }

    /// Takes in letters that came at about the same time, with one fsync for all; one answer for each, in their order.
    pub fn take(&self, letters: Vec<Letter>) -> Vec<Answer> {
        let spool = match self.outbox.open() {
            Ok(spool) => spool,
            Err(error) => return vec![unable(&error); letters.len()],
        };
        let seen = Seen::open(&spool.path().join(SEEN), WINDOW)
            .inspect_err(|error| log::warn!("can't remember what was delivered: {error}; a repetition is told again"))
            .ok();
        let _turn = seen.as_ref().and_then(|seen| seen.lock(TURN));
        let now = SystemTime::now();

        let mut keys = HashSet::new();
        let (mut frames, mut labels, mut is_new) = (Vec::new(), Vec::new(), Vec::new());
        for letter in letters {
            let told = letter.key.is_some_and(|key| !keys.insert(key) || was_told(seen.as_ref(), &key, now));
            is_new.push(!told);
            if !told {
                frames.extend(letter.frames);
                labels.push(letter.label);
            }
        }
        let taken = self.keep(&spool, &frames, &labels);
        if taken.is_ok()
            && let Some(seen) = &seen
        {
            for key in &keys {
                if let Err(error) = seen.remember(key, now) {
                    log::warn!("can't remember a delivery: {error}; a repetition is told again");
                }
            }
        }
        let answer = |is_new: bool| match (&taken, is_new) {
            (Err(error), _) => unable(error),
            (Ok(()), true) => Answer::new(202, "accepted"),
            (Ok(()), false) => Answer::new(200, "it was told before"),
        };
        is_new.into_iter().map(answer).collect()
    }

    fn keep(&self, spool: &Spool, frames: &[Frame], labels: &[String]) -> Result<(), spool::Error> {
        match labels {
            [] => Ok(()),
            [label] => self.outbox.keep_for_later(spool, frames, label),
            [first, rest @ ..] => {
                self.outbox.keep_for_later(spool, frames, &format!("{first} and {} more deliveries", rest.len()))
            }
        }
    }
}

fn was_told(seen: Option<&Seen>, key: &Key, now: SystemTime) -> bool {
    seen.is_some_and(|seen| seen.holds(key, now).unwrap_or(false))
}

/// The forge keeps it: GitLab and Gitea try again, GitHub shows it with a button to do so.
fn unable(error: &spool::Error) -> Answer {
    log::error!("a delivery was not accepted: {error}");
    Answer::new(503, "it can't be kept here now; the log of failcake says why")
}
