//! A password that a machine made, and the hash that goes over the bus.

use ring::rand::{SecureRandom as _, SystemRandom};
use sha_crypt::{Algorithm, Params, PasswordHasher as _, ShaCrypt};

use crate::name::PasswordHash;

/// Without what people take for each other: no i, l, o, u. 32 of them: five bits each.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Four groups of five: 100 bits.
const GROUPS: usize = 4;
const GROUP: usize = 5;
/// HAProxy computes the hash at every request, while its other requests wait: 0.7 ms here. Rounds make guessing dear where
/// few passwords are likely; of 100 random bits none is guessed, at any price.
const ROUNDS: u32 = 1000;
/// What crypt(5) takes when nothing is said: for a password that a person may have chosen.
const ROUNDS_UNKNOWN: u32 = 5000;

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// A new password. `Debug` does not show it.
pub struct Password(String);

impl Password {
    /// A new one.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn generate() -> Result<Password, NoRandom> {
        let mut octets = [0; GROUPS * GROUP];
        SystemRandom::new().fill(&mut octets).map_err(|_| NoRandom)?;
        let letters: Vec<u8> = octets.iter().map(|octet| LETTERS[usize::from(octet % 32)]).collect();
        let groups: Vec<String> = letters.chunks(GROUP).map(|group| String::from_utf8_lossy(group).into()).collect();
        Ok(Password(groups.join("-")))
    }

    /// For the one who is let in.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With a new salt.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn hash(&self) -> Result<PasswordHash, NoRandom> {
        hash(&self.0, ROUNDS)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The hash of a password that came from elsewhere.
///
/// # Errors
/// [`NoRandom`].
pub fn hash_of_unknown(password: &str) -> Result<PasswordHash, NoRandom> {
    hash(password, ROUNDS_UNKNOWN)
}

fn hash(password: &str, rounds: u32) -> Result<PasswordHash, NoRandom> {
    // As 16 letters, the longest salt that crypt(5) takes.
    let mut salt = [0; 12];
    SystemRandom::new().fill(&mut salt).map_err(|_| NoRandom)?;
    let params = Params::new(rounds).unwrap_or_default();
    let hash = ShaCrypt::new(Algorithm::Sha512Crypt, params).hash_password_with_salt(password.as_bytes(), &salt);
    // It fails on salts that are too long, and gives nothing that is no hash.
    hash.ok().and_then(|hash| hash.as_str().parse().ok()).ok_or(NoRandom)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// crypt(3) of the C library: what nginx and HAProxy ask.
    fn crypt(password: &str, hash: &str) -> String {
        let output = Command::new("perl").args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    #[test]
    fn the_c_library_finds_the_same_hash() {
        for _ in 0..20 {
            let password = Password::generate().unwrap();
            let hash = password.hash().unwrap();
            assert!(hash.as_str().starts_with("$6$rounds=1000$"), "{hash}");
            assert_eq!(crypt(password.as_str(), hash.as_str()), hash.as_str());
            assert_ne!(crypt("wrong", hash.as_str()), hash.as_str());
        }
        for password in ["x", "a b:c#d", "pässwörd", &"long".repeat(64)] {
            let hash = hash_of_unknown(password).unwrap();
            assert_eq!(crypt(password, hash.as_str()), hash.as_str());
        }
    }

    #[test]
    fn no_two_are_the_same_and_none_is_shown() {
        let (one, two) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_ne!(one.as_str(), two.as_str());
        assert_ne!(one.hash().unwrap(), one.hash().unwrap(), "each hash has its own salt");
        assert_eq!(one.as_str().len(), 23);
        assert!(!format!("{one:?}").contains(one.as_str()));
    }
}
