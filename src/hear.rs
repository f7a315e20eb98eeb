//! Who answered: replies of nodes, checked before anybody believes them.
//!
//! A node's SSH key vouches for an Ed25519 key, and that one signs its reports. ssh-keygen is asked once for each vouch; what
//! it found good is kept in a file, so that the next command asks for none of a hundred nodes.
//!
//! Whoever may write to the replies' topic can send rubbish in a node's name. It costs that message and nothing else: only
//! a vouch whose own signature is bad is remembered as bad, never a node, nor a vouch that came with somebody's bad report.

mod clocks;
mod known;
mod namesakes;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::config::Config;
use crate::message::deploy::{Document as _, REPLY_NAMESPACE, Reply, Report, Signed, Vouch};
use crate::name::{NodeName, Principal};
use crate::signature::{self, verify_step};
use known::{Known, Seal};
use namesakes::Namesakes;
use waiting::{Held, Waiting};

pub use clocks::apart;

/// Calls of ssh-keygen at a time.
const AT_ONCE: usize = 4;
/// And for each [`Ear::check_some`].
const IN_A_TURN: usize = 2 * AT_ONCE;

/// What to make of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The node that it names said so.
    Verified(Report),
    /// Nobody can tell who said so: it is not signed, or there is nothing here to check it by. For eyes only.
    Unsigned(Report),
    /// Not what that node said. To be dropped; the node itself may well say something else.
    Doubted {
        /// In whose name it came.
        node: Option<NodeName>,
        /// For people.
        why: String,
    },
}

/// Checks replies.
#[derive(Debug)]
pub struct Ear {
    allowed_signers: Option<PathBuf>,
    known: Known,
    waiting: Waiting,
    namesakes: Namesakes,
    /// Of which there are two, and nobody was told yet.
    doubles: Vec<NodeName>,
}

/// A reply on its way through the checks that cost next to nothing.
enum Sorted {
    Done(Heard),
    /// All but the vouch's own signature is good.
    Vouched {
        report: Report,
        vouch: Vouch,
        seal: Seal,
    },
}

impl Ear {
    /// By the allowed signers of `config`; with none of them everything is [`Heard::Unsigned`].
    ///
    /// # Errors
    /// The file of allowed signers can't be read.
    pub fn new(config: &Config) -> Result<Ear, signature::Error> {
        let allowed_signers = config.signing.allowed_signers.clone();
        let known = match &allowed_signers {
            Some(path) => Known::open(path, &config.bus.spool)?,
            None => Known::default(),
        };
        Ok(Ear {
            allowed_signers,
            known,
            waiting: Waiting::default(),
            namesakes: Namesakes::default(),
            doubles: Vec::new(),
        })
    }

    /// Checks one reply without asking ssh-keygen: one with a vouch that was not checked yet is kept for
    /// [`check_some`](Self::check_some) if `is_meant` says that it is worth it, and gives `None` for now. What is kept has its
    /// bounds: whoever floods the topic pushes out what came in the same name, and nobody else's; what ssh-keygen is sure to
    /// refuse comes after the rest; and of more names than a plan can have nothing is kept.
    pub fn hear(
        &mut self,
        reply: &Reply,
        now: jiff::Timestamp,
        is_meant: impl FnOnce(&Report) -> bool,
    ) -> Option<Heard> {
        let (report, vouch, seal) = match self.sort(reply, now) {
            Sorted::Done(heard) => return Some(heard),
            Sorted::Vouched { report, vouch, seal } => (report, vouch, seal),
        };
        match (self.known.verdict(&seal), &reply.vouch) {
            (None, Some(signed)) if is_meant(&report) => {
                let looks_good = self.known.looks_good(&vouch, signed);
                let kept = self.waiting.push(Held::new(seal, vouch, signed, report, looks_good));
                kept.err().map(|node| doubted(Some(node), "too many others wait to be checked"))
            }
            _ => Some(self.judge(report, &seal, &BTreeMap::new())),
        }
    }

    /// Names in which two machines answer with one key, as was seen since this was asked last; each once.
    pub fn doubles(&mut self) -> Vec<NodeName> {
        std::mem::take(&mut self.doubles)
    }

    /// Does [`check_some`](Self::check_some) have anything to do?
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Checks a few of the vouches that wait, one name after another, and gives what was said with them. It takes as long as
    /// a few runs of ssh-keygen, however many wait.
    pub fn check_some(&mut self) -> Vec<Heard> {
        let held: Vec<Held> = std::iter::from_fn(|| self.waiting.pop()).take(IN_A_TURN).collect();
        let unknown = held.iter().map(|held| (held.seal, (&held.vouch, &held.signed))).collect();
        let failed = self.find_out(unknown);
        let reports = held.into_iter().flat_map(|held| held.reports.into_iter().map(move |report| (held.seal, report)));
        reports.map(|(seal, report)| self.judge(report, &seal, &failed)).collect()
    }

    /// Time is over: of what waits, the most promising of each name that is `meant` is still to be checked. Gives the names of
    /// which something was dropped.
    pub fn narrow(&mut self, meant: impl Fn(&NodeName) -> bool) -> Vec<NodeName> {
        self.waiting.narrow(meant)
    }

    /// Asks ssh-keygen, and remembers what it said. Gives what is wrong with those that are not good.
    fn find_out(&mut self, unknown: BTreeMap<Seal, (&Vouch, &Signed)>) -> BTreeMap<Seal, String> {
        let mut failed = BTreeMap::new();
        for (seal, vouch, result) in self.verify(unknown) {
            match result {
                Ok(()) => self.known.good(seal, vouch.not_after),
                Err(error) => {
                    failed.insert(seal, error.to_string());
                    // Otherwise this machine is to blame: the next time it may be found out.
                    if error.is_refusal() {
                        self.known.bad(seal, error.to_string());
                    }
                }
            }
        }
        failed
    }

    /// `failed`: what was found out just now, and may not be remembered.
    fn judge(&mut self, report: Report, seal: &Seal, failed: &BTreeMap<Seal, String>) -> Heard {
        match (self.known.verdict(seal), failed.get(seal)) {
            (Some(Ok(())), _) => {
                if self.namesakes.hear(&report.node, *seal, report.time) {
                    self.doubles.push(report.node.clone());
                }
                Heard::Verified(report)
            }
            (Some(Err(why)), _) => doubted(Some(report.node), &format!("its vouch: {why}")),
            (None, why) => doubted(Some(report.node), why.map_or("its vouch was not checked", String::as_str)),
        }
    }

    fn sort(&self, reply: &Reply, now: jiff::Timestamp) -> Sorted {
        let report = match Report::from_text(&reply.report.document) {
            Ok(report) => report,
            Err(error) => return Sorted::Done(doubted(None, &error.to_string())),
        };
        let (Some(signed), Some(_)) = (&reply.vouch, &self.allowed_signers) else {
            return Sorted::Done(Heard::Unsigned(report));
        };
        match vouch_for(&report, signed, &reply.report, now) {
            Ok(vouch) => Sorted::Vouched { report, vouch, seal: self.known.seal(signed) },
            Err(why) => Sorted::Done(doubted(Some(report.node), &why)),
        }
    }

    /// Asks ssh-keygen.
    fn verify<'a>(
        &self,
        unknown: BTreeMap<Seal, (&'a Vouch, &'a Signed)>,
    ) -> Vec<(Seal, &'a Vouch, Result<(), signature::Error>)> {
        let Some(allowed_signers) = &self.allowed_signers else { return Vec::new() };
        let (threads, left) = (AT_ONCE.min(unknown.len()), Mutex::new(unknown.into_iter()));
        let work = || {
            let mut done = Vec::new();
            // A lock is poisoned when another thread panicked: then this one ends too.
            while let Some((seal, (vouch, signed))) = left.lock().ok().and_then(|mut left| left.next()) {
                let result = principal(&vouch.node).and_then(|principal| {
                    let document = signed.document.as_bytes();
                    signature::verify(document, &signed.signature, REPLY_NAMESPACE, allowed_signers, &principal)
                });
                done.push((seal, vouch, result.map(drop)));
            }
            done
        };
        match threads {
            0 => Vec::new(),
            1 => work(),
            _ => std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
            }),
        }
    }
}

impl Drop for Ear {
    /// Keeps what was found good.
    fn drop(&mut self) {
        self.known.keep();
    }
}

/// The vouch, when the report is by the key that it names; whether it is the node's own is still to be seen.
fn vouch_for(report: &Report, signed: &Signed, said: &Signed, now: jiff::Timestamp) -> Result<Vouch, String> {
    let vouch = Vouch::from_text(&signed.document).map_err(|error| error.to_string())?;
    if vouch.node != report.node {
        return Err(format!("it comes with a vouch of {}", vouch.node));
    }
    // When it begins does not matter: a node whose clock is ahead must be able to say so.
    if vouch.not_after <= now {
        return Err(format!("its vouch ended at {} (do the clocks differ?)", vouch.not_after));
    }
    verify_step(&vouch.key, said.document.as_bytes(), &said.signature).map_err(|error| error.to_string())?;
    Ok(vouch)
}

fn principal(node: &NodeName) -> Result<Principal, signature::Error> {
    node.as_str().parse().map_err(|error| signature::Error::Refused { principal: None, said: format!("{error}") })
}

fn doubted(node: Option<NodeName>, why: &str) -> Heard {
    Heard::Doubted { node, why: why.to_owned() }
}
