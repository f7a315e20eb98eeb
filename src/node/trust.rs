//! Whether a plan was signed by who it says. ssh-keygen tells, and it costs: so it is asked so often a second at most,
//! and no plan twice.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use super::limit::Allowance;
use crate::message::deploy::{PLAN_NAMESPACE, Signed};
use crate::name::Principal;
use crate::signature;

/// ssh-keygen is run so often a second, in the long run.
const CHECKS: u32 = 5;
/// And so often at once.
const BURST: u32 = 10;
/// So many plans are remembered with what was found.
const REMEMBERED: usize = 512;
/// For so long: keys have dates.
const FOR: Duration = Duration::from_secs(600);

/// What a plan is remembered by.
pub(super) type Mark = [u8; 32];

/// What is known of plans' signatures.
#[derive(Debug)]
pub(super) struct Trust {
    allowed_signers: Option<PathBuf>,
    /// What the file looked like, and what is in it.
    stamp: Option<(i64, i64, u64, u64)>,
    signers: Vec<u8>,
    found: VecDeque<(Mark, Instant, Result<(), String>)>,
    allowance: Allowance,
}

/// Why it can't be told whether a signature holds: this machine is to blame.
pub(super) struct Blind(pub(super) String);

impl Trust {
    pub(super) fn new(allowed_signers: Option<&Path>, now: Instant) -> Trust {
        Trust {
            allowed_signers: allowed_signers.map(Path::to_owned),
            stamp: None,
            signers: Vec::new(),
            found: VecDeque::new(),
            allowance: Allowance::new(CHECKS, BURST, now),
        }
    }

    pub(super) fn mark(signed: &Signed, who: &Principal) -> Mark {
        let mut context = Context::new(&SHA256);
        for part in [who.as_str(), &signed.signature, &signed.document] {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.finish().as_ref());
        mark
    }

    /// Was it looked at already, with what result?
    pub(super) fn known(&mut self, mark: &Mark, now: Instant) -> Option<Result<(), String>> {
        self.look_at_signers();
        let found = self.found.iter().find(|(known, at, _)| known == mark && now < *at + FOR)?;
        Some(found.2.clone())
    }

    /// May ssh-keygen find it good? For the order in which it is asked.
    pub(super) fn looks_good(&mut self, signed: &Signed, who: &Principal) -> bool {
        self.look_at_signers();
        let document = signed.document.as_bytes();
        signature::looks_good(document, &signed.signature, PLAN_NAMESPACE, &self.signers, who.as_str())
    }

    fn look_at_signers(&mut self) {
        let look = |path: &PathBuf| fs::metadata(path).ok();
        let stamp = self.allowed_signers.as_ref().and_then(look);
        let stamp = stamp.map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino()));
        if stamp != self.stamp {
            // Somebody came or went.
            self.found.clear();
            self.signers = self.allowed_signers.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
            self.stamp = stamp;
        }
    }

    pub(super) fn remember(&mut self, mark: Mark, result: Result<(), String>, now: Instant) {
        if self.found.len() >= REMEMBERED {
            self.found.pop_front();
        }
        self.found.push_back((mark, now, result));
    }

    /// May ssh-keygen be run now?
    pub(super) fn may_check(&mut self, now: Instant) -> bool {
        self.allowance.take(now)
    }

    pub(super) fn next_check(&mut self, now: Instant) -> Instant {
        self.allowance.next(now)
    }

    /// What [`check`] needs.
    pub(super) fn allowed_signers(&self) -> Option<PathBuf> {
        self.allowed_signers.clone()
    }
}

/// Asks ssh-keygen, which takes its time.
pub(super) fn check(
    signed: &Signed,
    who: &Principal,
    allowed_signers: Option<&Path>,
) -> Result<Result<(), String>, Blind> {
    let Some(allowed_signers) = allowed_signers else {
        return Err(Blind("it has no `signing: allowed-signers:`, so it trusts nobody".to_owned()));
    };
    match signature::verify(signed.document.as_bytes(), &signed.signature, PLAN_NAMESPACE, allowed_signers, who) {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.is_refusal() => Ok(Err(error.to_string())),
        Err(error) => Err(Blind(error.to_string())),
    }
}
