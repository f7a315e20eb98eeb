//! Which vouches ssh-keygen was asked about, and what it said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::digest::{Context, SHA256};

use crate::config::SpoolPlace;
use crate::durable::{self, Durable};
use crate::message::deploy::{REPLY_NAMESPACE, Signed, Vouch};
use crate::signature;
use crate::spool::{Limits, Spool};

/// Stands for one vouch, its signature and the allowed signers of this moment: when any of them changes it is another.
pub(super) type Seal = [u8; 32];

/// The file, in the user's spool folder.
const FILE: &str = "vouches";
/// So many bad ones are remembered: whoever makes them up makes as many as they like.
const BAD_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Allowed signers as they were read.
    signers: Vec<u8>,
    place: Option<PathBuf>,
    /// With the second (since 1970) after which the vouch is worth nothing anyway.
    good: BTreeMap<Seal, i64>,
    bad: BTreeMap<Seal, String>,
    /// Found good and not in the file.
    fresh: bool,
    path: PathBuf,
}

impl Known {
    /// What earlier commands found good, if the file can be read: without it ssh-keygen is asked again.
    pub fn open(allowed_signers: &Path, spool: &SpoolPlace) -> Result<Known, signature::Error> {
        let signers = read(allowed_signers)?;
        let mut known = Known { signers, path: allowed_signers.to_owned(), ..Known::default() };
        if !is_timeless(&known.signers) {
            return Ok(known);
        }
        let limits = Limits { count: spool.max_count, bytes: spool.max_bytes };
        let place = Spool::open(&spool.parent, limits).and_then(|spool| spool.inner("hear"));
        known.place = place.ok().map(|place| place.path().to_owned());
        known.good = known.read();
        Ok(known)
    }

    pub fn seal(&self, signed: &Signed) -> Seal {
        let mut context = Context::new(&SHA256);
        for part in [signed.document.as_bytes(), signed.signature.as_bytes(), &self.signers] {
            // With their lengths, so that no octet of one can be taken for another's.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut seal = Seal::default();
        seal.copy_from_slice(context.finish().as_ref());
        seal
    }

    pub fn verdict(&self, seal: &Seal) -> Option<Result<(), &str>> {
        if self.good.contains_key(seal) {
            return Some(Ok(()));
        }
        self.bad.get(seal).map(|why| Err(why.as_str()))
    }

    /// May ssh-keygen find it good? For the order in which it is asked.
    pub fn looks_good(&self, vouch: &Vouch, signed: &Signed) -> bool {
        let document = signed.document.as_bytes();
        signature::looks_good(document, &signed.signature, REPLY_NAMESPACE, &self.signers, vouch.node.as_str())
    }

    pub fn good(&mut self, seal: Seal, not_after: jiff::Timestamp) {
        self.good.insert(seal, not_after.as_second());
        self.fresh = true;
    }

    pub fn bad(&mut self, seal: Seal, why: String) {
        if self.bad.len() < BAD_MAX {
            self.bad.insert(seal, why);
        }
    }

    /// Writes the good ones down, with those that another command wrote meanwhile. Two that write at once lose one's:
    /// that costs a few calls of ssh-keygen. So does a crash, which leaves the old file or none.
    pub fn keep(&mut self) {
        let Some(place) = self.place.as_ref().filter(|_| self.fresh) else { return };
        // Found good by a file that is another now: not to be believed when the old content comes back.
        if read(&self.path).ok().as_ref() != Some(&self.signers) {
            return;
        }
        let mut all = self.read();
        all.extend(&self.good);
        let mut text = String::new();
        for (seal, not_after) in all {
            let _ = writeln!(text, "{} {not_after}", BASE64.encode(seal));
        }
        durable::clear_leftovers(place);
        // Best effort: what is not there is found out again.
        if durable::replace(place, FILE, text.as_bytes(), Durable::Later).is_ok() {
            self.fresh = false;
        }
    }

    fn read(&self) -> BTreeMap<Seal, i64> {
        let text = self.place.as_ref().and_then(|place| std::fs::read_to_string(place.join(FILE)).ok());
        let now = jiff::Timestamp::now().as_second();
        let parse = |line: &str| {
            let (seal, not_after) = line.split_once(' ')?;
            let not_after: i64 = not_after.parse().ok()?;
            let seal = Seal::try_from(BASE64.decode(seal).ok()?).ok()?;
            (not_after > now).then_some((seal, not_after))
        };
        text.unwrap_or_default().lines().filter_map(parse).collect()
    }
}

fn read(allowed_signers: &Path) -> Result<Vec<u8>, signature::Error> {
    std::fs::read(allowed_signers)
        .map_err(|source| signature::Error::AllowedSigners { path: allowed_signers.to_owned(), source })
}

/// Is what these allowed signers say the same at any time? Not with keys that begin and end, nor with certificates.
fn is_timeless(signers: &[u8]) -> bool {
    let text = String::from_utf8_lossy(signers).to_lowercase();
    !["valid-before", "valid-after", "cert-authority"].iter().any(|option| text.contains(option))
}
