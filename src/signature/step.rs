//! Keys for one plan's steps: fresh Ed25519 keys, which an SSH signature over their public half vouches for.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Why a step's key or signature is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StepError {
    #[error("the system gives no random numbers")]
    NoRandom,
    #[error("it is no Ed25519 key in PKCS#8")]
    NoKey,
    #[error("the public key is not 32 octets in base64")]
    NoPublicKey,
    #[error("the signature is not 64 octets in base64")]
    NoSignature,
    #[error("the signature is not by that key, or not over these bytes")]
    Wrong,
}

/// The private half. It is never shown: `Debug` has the public half.
pub struct StepKey {
    pkcs8: Vec<u8>,
    pair: Ed25519KeyPair,
}

impl StepKey {
    /// A new one.
    ///
    /// # Errors
    /// [`StepError::NoRandom`].
    pub fn generate() -> Result<StepKey, StepError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| StepError::NoRandom)?;
        StepKey::from_pkcs8(document.as_ref())
    }

    /// One that was kept.
    ///
    /// # Errors
    /// [`StepError::NoKey`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<StepKey, StepError> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| StepError::NoKey)?;
        Ok(StepKey { pkcs8: bytes.to_vec(), pair })
    }

    /// To be kept in a file that only its owner may read.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, for a document that is signed.
    pub fn public_base64(&self) -> String {
        BASE64.encode(self.pair.public_key())
    }

    /// A signature over `bytes`, in base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.pair.sign(bytes))
    }
}

impl std::fmt::Debug for StepKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StepKey").field(&self.public_base64()).finish()
    }
}

/// Is `signature` the one by `public` over `bytes`?
///
/// # Errors
/// Says what is wrong with which of them.
pub fn verify_step(public: &str, bytes: &[u8], signature: &str) -> Result<(), StepError> {
    let decode = |text: &str, length| BASE64.decode(text).ok().filter(|octets| octets.len() == length);
    let public = decode(public, 32).ok_or(StepError::NoPublicKey)?;
    let signature = decode(signature, 64).ok_or(StepError::NoSignature)?;
    UnparsedPublicKey::new(&ED25519, public).verify(bytes, &signature).map_err(|_| StepError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_signs_as_before_and_only_its_own_signature_over_the_same_bytes_holds() {
        let key = StepKey::generate().unwrap();
        let kept = StepKey::from_pkcs8(key.pkcs8()).unwrap();
        let (public, signature) = (key.public_base64(), kept.sign(b"plan 1, switch"));
        assert_eq!(verify_step(&public, b"plan 1, switch", &signature), Ok(()));
        assert_eq!(verify_step(&public, b"plan 2, switch", &signature), Err(StepError::Wrong));
        let other = StepKey::generate().unwrap();
        assert_eq!(verify_step(&other.public_base64(), b"plan 1, switch", &signature), Err(StepError::Wrong));
        assert_eq!(verify_step(&public, b"plan 1, switch", &other.sign(b"plan 1, switch")), Err(StepError::Wrong));
    }

    #[test]
    fn nonsense_is_refused_by_name_and_the_private_half_is_not_shown() {
        let key = StepKey::generate().unwrap();
        let (public, signature) = (key.public_base64(), key.sign(b""));
        assert_eq!(StepKey::from_pkcs8(b"nonsense").unwrap_err(), StepError::NoKey);
        for bad in ["", "AAAA", "not base64!", &signature, &format!("{public}\n")] {
            assert_eq!(verify_step(bad, b"", &signature), Err(StepError::NoPublicKey), "{bad:?}");
        }
        for bad in ["", "AAAA", "not base64!", &public] {
            assert_eq!(verify_step(&public, b"", bad), Err(StepError::NoSignature), "{bad:?}");
        }
        let shown = format!("{key:?}");
        assert!(shown.contains(&public) && !shown.contains(&BASE64.encode(key.pkcs8())), "{shown}");
    }
}
