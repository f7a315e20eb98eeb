//! How careful a rollout is.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

/// Longer than any rollout: what is added to a moment never overflows it.
pub(super) const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How careful, and how patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// So many hosts go first, and all of them must be live before another begins, whatever `max_failures` says. 0: none.
    pub canary: usize,
    /// How long a live canary is watched before the batches begin.
    pub bake: Duration,
    /// How many hosts are in their turn at once after the canary.
    pub batches: Batches,
    /// More failed, silent, refusing and unreachable hosts than this stop the rollout.
    pub max_failures: usize,
    /// What becomes of the hosts that are live when a failure stops the rollout.
    pub on_failure: OnFailure,
    /// At most so many hosts prepare at once; `None`: all.
    pub prepare_parallel: Option<NonZeroUsize>,
    /// A host that never said anything for so long after it was asked to prepare is unreachable.
    pub answer_within: Duration,
    /// A host that is at work and says nothing for so long went silent.
    pub silence: Duration,
    /// Longest preparation of a host.
    pub prepare_within: Duration,
    /// Longest turn of a host.
    pub turn_within: Duration,
    /// An order that nothing answers is repeated after this, then after twice as long, and so on.
    pub resend: Duration,
    /// The longest wait between such repetitions.
    pub resend_most: Duration,
    /// A host at work says so at least this often; one that is quieter is asked again.
    pub progress: Duration,
}

impl Default for Policy {
    /// One canary, no bake, batches of a quarter, no failure.
    fn default() -> Policy {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Policy {
            canary: 1,
            bake: Duration::ZERO,
            batches: Batches::default(),
            max_failures: 0,
            on_failure: OnFailure::Stop,
            prepare_parallel: None,
            answer_within: Duration::from_secs(10),
            silence: minutes(1),
            prepare_within: minutes(15),
            turn_within: minutes(15),
            resend: Duration::from_secs(1),
            resend_most: Duration::from_secs(5),
            progress: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// With times that the machine can work with: none so short that it would only repeat itself, none that overflows.
    pub(super) fn sound(mut self) -> Policy {
        let least = Duration::from_millis(1);
        for time in [
            &mut self.answer_within,
            &mut self.silence,
            &mut self.prepare_within,
            &mut self.turn_within,
            &mut self.resend,
            &mut self.resend_most,
            &mut self.progress,
        ] {
            *time = (*time).clamp(least, FOREVER);
        }
        self.resend_most = self.resend_most.max(self.resend);
        self.bake = self.bake.min(FOREVER);
        self
    }
}

/// What becomes of the hosts that are live when a failure stops the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They stay.
    Stop,
    /// They go back to the release that they came from.
    Rollback,
}

/// The word is neither of the two.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither 'stop' (hosts that are done stay) nor 'rollback' (they go back)")]
pub struct NoOnFailure(String);

impl FromStr for OnFailure {
    type Err = NoOnFailure;

    fn from_str(word: &str) -> Result<OnFailure, NoOnFailure> {
        match word {
            "stop" => Ok(OnFailure::Stop),
            "rollback" => Ok(OnFailure::Rollback),
            _ => Err(NoOnFailure(word.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnFailure::Stop => "stop",
            OnFailure::Rollback => "rollback",
        })
    }
}

/// Sizes of batches, one after another: `5`, `25%`, `1,5,25%`. The last one repeats until every host had its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches(Vec<Size>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Hosts(usize),
    Percent(usize),
}

/// The text is no list of sizes.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no batch size: {rule}; write a number of hosts, a share of them, or a list: 5, 25% or 1,5,25%")]
pub struct NoBatches {
    text: String,
    rule: &'static str,
}

impl Batches {
    /// How many hosts batch `number` (from 1) has, of a rollout to `hosts` hosts in all; at least one.
    pub fn size(&self, number: usize, hosts: usize) -> usize {
        match self.0[number.saturating_sub(1).min(self.0.len() - 1)] {
            Size::Hosts(count) => count,
            Size::Percent(share) => hosts.saturating_mul(share).div_ceil(100).max(1),
        }
    }

    /// How many batches `left` hosts still need after batch `number`, of a rollout to `hosts` hosts in all.
    pub(super) fn after(&self, mut number: usize, mut left: usize, hosts: usize) -> usize {
        let before = number;
        while left > 0 && number < self.0.len() {
            number += 1;
            left = left.saturating_sub(self.size(number, hosts));
        }
        number - before + left.div_ceil(self.size(number + 1, hosts))
    }
}

impl Default for Batches {
    fn default() -> Batches {
        Batches(vec![Size::Percent(25)])
    }
}

impl FromStr for Batches {
    type Err = NoBatches;

    fn from_str(text: &str) -> Result<Batches, NoBatches> {
        let refuse = |rule| NoBatches { text: text.chars().take(64).collect(), rule };
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            // Any larger one means all hosts just as well.
            true if !digits.is_empty() => Ok(digits.parse::<u32>().unwrap_or(u32::MAX) as usize),
            _ => Err(refuse("it holds something else than numbers")),
        };
        let size = |word: &str| match word.strip_suffix('%') {
            Some(digits) => match number(digits.trim_end())? {
                0 => Err(refuse("a batch of nobody never ends")),
                share @ 1..=100 => Ok(Size::Percent(share)),
                _ => Err(refuse("there are no more than 100% of the hosts")),
            },
            None => match number(word)? {
                0 => Err(refuse("a batch of nobody never ends")),
                count => Ok(Size::Hosts(count)),
            },
        };
        text.split(',').map(|word| size(word.trim())).collect::<Result<_, _>>().map(Batches)
    }
}

impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, size) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match size {
                Size::Hosts(count) => write!(f, "{comma}{count}")?,
                Size::Percent(share) => write!(f, "{comma}{share}%")?,
            }
        }
        Ok(())
    }
}
