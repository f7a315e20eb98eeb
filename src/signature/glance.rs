//! A look at a signature without ssh-keygen: not whether it holds, but whether it is worth the process.
//!
//! Source: OpenSSH's PROTOCOL.sshsig.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::SIGNATURE_MAX;

/// Can it be that `allowed_signers` (its content) takes this as a signature by `principal`? `false`: ssh-keygen will refuse it.
/// `true` is no proof of anything: patterns, options and kinds of keys that are not looked into here count as good.
pub fn looks_good(document: &[u8], signature: &str, namespace: &str, allowed_signers: &[u8], principal: &str) -> bool {
    let Some(signed) = Sshsig::parse(signature) else { return false };
    signed.namespace == namespace.as_bytes()
        && is_listed(&signed.key, &String::from_utf8_lossy(allowed_signers), principal)
        && signed.holds(document)
}

/// What is in the armor.
struct Sshsig {
    key: Vec<u8>,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: Vec<u8>,
    signature: Vec<u8>,
}

impl Sshsig {
    fn parse(armored: &str) -> Option<Sshsig> {
        if armored.len() > SIGNATURE_MAX {
            return None;
        }
        let inside = armored.trim().strip_prefix("-----BEGIN SSH SIGNATURE-----")?;
        let inside = inside.strip_suffix("-----END SSH SIGNATURE-----")?;
        let octets = BASE64.decode(inside.split_whitespace().collect::<String>()).ok()?;
        let mut rest = octets.strip_prefix(b"SSHSIG\0\0\0\x01")?;
        let mut next = || string(&mut rest).map(<[u8]>::to_vec);
        Some(Sshsig { key: next()?, namespace: next()?, reserved: next()?, hash: next()?, signature: next()? })
    }

    /// By the key that it names; only for Ed25519, any other kind counts as good.
    fn holds(&self, document: &[u8]) -> bool {
        let (mut key, mut signature) = (&self.key[..], &self.signature[..]);
        let (Some(kind), Some(key)) = (string(&mut key), string(&mut key)) else { return false };
        if kind != b"ssh-ed25519" {
            return true;
        }
        let (Some(by), Some(signature)) = (string(&mut signature), string(&mut signature)) else { return false };
        let hash = match &self.hash[..] {
            b"sha256" => digest(&SHA256, document),
            b"sha512" => digest(&SHA512, document),
            _ => return false,
        };
        let mut message = b"SSHSIG".to_vec();
        for part in [&self.namespace[..], &self.reserved, &self.hash, hash.as_ref()] {
            message.extend((part.len() as u32).to_be_bytes());
            message.extend(part);
        }
        by == kind && UnparsedPublicKey::new(&ED25519, key).verify(&message, signature).is_ok()
    }
}

/// An SSH string: its length in four octets, then itself.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

/// On a line of `principal`, or of a pattern. Whose certificate it is, ssh-keygen may say.
fn is_listed(key: &[u8], allowed_signers: &str, principal: &str) -> bool {
    let is_certificate = string(&mut &key[..]).is_some_and(|kind| String::from_utf8_lossy(kind).contains("-cert-"));
    let key = BASE64.encode(key);
    let may_be = |line: &str| {
        let whom = line.split_whitespace().next().unwrap_or_default().trim_matches('"');
        let mut whom = whom.split(',');
        let is_key = line.contains(&key) || is_certificate && line.to_lowercase().contains("cert-authority");
        is_key && whom.any(|word| word == principal || word.contains(['*', '?']))
    };
    allowed_signers.lines().any(may_be)
}
