//! Who said it: SSH signatures, made and checked by the real `ssh-keygen -Y`, against an `allowed_signers` file as
//! OpenSSH and git write it. What has to be signed often is signed with a [`StepKey`] that such a signature vouches for.
//!
//! Nothing here touches the disk: documents go through a pipe, signatures and public keys through memory (`memfd`), so a
//! kill leaves nothing behind. Nothing here asks a person: a key with a passphrase belongs into an ssh-agent.
//!
//! Sources: ssh-keygen(1) ("ALLOWED SIGNERS"), OpenSSH's PROTOCOL.sshsig.

mod glance;
mod step;

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::name::Principal;
use crate::process::{self, Limits, Outcome, Run};

pub use glance::looks_good;
pub use step::{StepError, StepKey, verify_step};

/// How long a signature may take where nothing says otherwise: an agent may ask its person, a security key waits for a touch.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A check needs no person and no network.
const CHECK: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
/// Octets of an answer; a signature has a few hundred, an agent's list of keys a few thousand.
const OUTPUT_MAX: usize = 256 * 1024;
/// Octets of a signature that is worth being looked at: an RSA one with a certificate has about four thousand.
const SIGNATURE_MAX: usize = 32 * 1024;

/// What to sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A private key, or the public key of one that the ssh-agent holds.
    File(PathBuf),
    /// The first key of the ssh-agent.
    Agent,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::File(path) => path.display().fmt(f),
            Key::Agent => f.write_str("the first key of the ssh-agent"),
        }
    }
}

impl From<Option<&Path>> for Key {
    /// As `signing.key` says; an agent where it says nothing.
    fn from(key: Option<&Path>) -> Key {
        key.map_or(Key::Agent, |key| Key::File(key.to_owned()))
    }
}

/// A signature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who signed.
    pub principal: Principal,
    /// Of the key: `SHA256:…`.
    pub fingerprint: String,
}

/// Why nothing was signed, or why a signature counts for nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(
        "there is no key to sign with: {said}; start an ssh-agent and `ssh-add` a key, or name a key file in `signing.key`"
    )]
    NoKey { said: String },
    #[error(
        "can't sign with {key}: {said} (it is to be a private key without a passphrase, or a key that the ssh-agent holds: ssh-add)"
    )]
    Sign { key: String, said: String },
    #[error("{program} did not end within {} s{hint}", after.as_secs_f64())]
    TimedOut { program: &'static str, after: Duration, hint: &'static str },
    #[error("{source}{}", install(source))]
    Process {
        #[from]
        source: process::Error,
    },
    #[error("can't read {} (`signing.allowed-signers`): {source}", path.display())]
    AllowedSigners { path: PathBuf, source: io::Error },
    #[error("no memory for a signature: {0}")]
    Memory(#[from] io::Error),
    #[error("{key} is the key of {}: say which of them signs in `signing.principal`", names(principals))]
    Several { key: String, principals: Vec<Principal> },
    /// The signature, or what was signed, is to blame, and will be next time.
    #[error("the signature does not hold{}: {said}", by(principal.as_ref()))]
    Refused { principal: Option<Principal>, said: String },
}

impl Error {
    /// Is the message to blame, rather than this machine?
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Refused { .. })
    }
}

fn install(error: &process::Error) -> &'static str {
    match error {
        process::Error::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            " (is the package openssh-client installed?)"
        }
        _ => "",
    }
}

fn names(principals: &[Principal]) -> String {
    principals.iter().map(Principal::as_str).collect::<Vec<_>>().join(" and ")
}

fn by(principal: Option<&Principal>) -> String {
    principal.map_or_else(String::new, |principal| format!(" as one by {principal}"))
}

/// Signs `document` for one purpose, the `namespace`: a signature made for one is worth nothing in another. What comes
/// back is armored text (`-----BEGIN SSH SIGNATURE-----`).
///
/// # Errors
/// There is no key, it can't be used without asking a person, or it took longer than `patience`.
pub fn sign(document: &[u8], namespace: &str, key: &Key, patience: Duration) -> Result<String, Error> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "sign", "-n", namespace, "-f"]);
    let held = match key {
        Key::File(path) => {
            command.arg(path);
            None
        }
        Key::Agent => {
            let file = in_memory(&first_of_agent(patience)?)?;
            command.arg(path_of(&file));
            Some(file)
        }
    };
    let outcome = run(
        command,
        document,
        held.as_ref(),
        patience,
        "; is the ssh-agent (SSH_AUTH_SOCK) alive, or does it wait for a person?",
    )?;
    let signature = String::from_utf8_lossy(&outcome.stdout);
    if !outcome.status.success() || !signature.starts_with("-----BEGIN SSH SIGNATURE-----") {
        return Err(Error::Sign { key: key.to_string(), said: said(&outcome) });
    }
    Ok(signature.into_owned())
}

/// Did `principal` sign exactly `document` for `namespace`, with a key that `allowed_signers` gives that name now? Its
/// options (`namespaces=`, `valid-after=`, `valid-before=`, `cert-authority`) count.
///
/// # Errors
/// [`Error::Refused`] when not; others when that can't be found out.
pub fn verify(
    document: &[u8],
    signature: &str,
    namespace: &str,
    allowed_signers: &Path,
    principal: &Principal,
) -> Result<Verified, Error> {
    let refused = |said| Error::Refused { principal: Some(principal.clone()), said };
    let file = signature_in_memory(signature, allowed_signers, Some(principal))?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-n", namespace, "-I", principal.as_str(), "-f"]).arg(allowed_signers);
    command.arg("-s").arg(path_of(&file));
    let outcome = run(command, document, Some(&file), CHECK, "")?;
    let good = String::from_utf8_lossy(&outcome.stdout);
    if !outcome.status.success() {
        let said = said(&outcome);
        let unknown = said.is_empty();
        return Err(refused(if unknown {
            format!("{} gives that key to no {principal}", allowed_signers.display())
        } else {
            said
        }));
    }
    let fingerprint = good.trim_end().rsplit(' ').next().filter(|word| word.starts_with("SHA256:"));
    let fingerprint = fingerprint.ok_or_else(|| refused("ssh-keygen says so, but not for which key".to_owned()))?;
    Ok(Verified { principal: principal.clone(), fingerprint: fingerprint.to_owned() })
}

/// Whose signature could it be? The names that the first line of `allowed_signers` with that key gives it now; patterns
/// among them, which are no names, are left out. [`verify`] tells then whether it holds.
///
/// # Errors
/// [`Error::Refused`] when nobody is left; others when that can't be found out.
pub fn find_principals(signature: &str, allowed_signers: &Path) -> Result<Vec<Principal>, Error> {
    let file = signature_in_memory(signature, allowed_signers, None)?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "find-principals", "-f"]).arg(allowed_signers).arg("-s").arg(path_of(&file));
    let outcome = run(command, b"", Some(&file), CHECK, "")?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    let found: Vec<Principal> = text.split(['\n', ',']).filter_map(|word| word.parse().ok()).collect();
    if !outcome.status.success() || found.is_empty() {
        let said = said(&outcome);
        let nobody = || format!("{} gives that key to nobody by name", allowed_signers.display());
        return Err(Error::Refused { principal: None, said: if said.is_empty() { nobody() } else { said } });
    }
    Ok(found)
}

/// As whom does `key` sign for `namespace`? The one name that `allowed_signers` gives it, in its first line with that key.
///
/// # Errors
/// As [`sign`]; [`Error::Refused`] when there is no such name, [`Error::Several`] when there are more.
pub fn principal_of(
    key: &Key,
    namespace: &str,
    allowed_signers: &Path,
    patience: Duration,
) -> Result<Principal, Error> {
    let signature = sign(b"", namespace, key, patience)?;
    let mut refusal = None;
    let mut principals = Vec::new();
    for principal in find_principals(&signature, allowed_signers)? {
        match verify(b"", &signature, namespace, allowed_signers, &principal) {
            Ok(_) => principals.push(principal),
            Err(error) if error.is_refusal() => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (principals.len(), refusal) {
        (0, Some(refusal)) => Err(refusal),
        (1, _) => Ok(principals.remove(0)),
        _ => Err(Error::Several { key: key.to_string(), principals }),
    }
}

/// What is no signature at all, and a file that can't be read here, are told apart before ssh-keygen mixes them up.
fn signature_in_memory(
    signature: &str,
    allowed_signers: &Path,
    principal: Option<&Principal>,
) -> Result<OwnedFd, Error> {
    if let Err(source) = std::fs::File::open(allowed_signers) {
        return Err(Error::AllowedSigners { path: allowed_signers.to_owned(), source });
    }
    if signature.len() > SIGNATURE_MAX {
        return Err(Error::Refused { principal: principal.cloned(), said: "it is longer than 32 KiB".to_owned() });
    }
    Ok(in_memory(signature.as_bytes())?)
}

/// The public key, as one line, that the agent names first.
fn first_of_agent(patience: Duration) -> Result<Vec<u8>, Error> {
    let mut command = Command::new("ssh-add");
    command.arg("-L");
    let outcome = run(command, b"", None, patience, "; is the ssh-agent (SSH_AUTH_SOCK) alive?")?;
    let first = outcome.stdout.split_inclusive(|byte| *byte == b'\n').next();
    match first {
        Some(line) if outcome.status.success() => Ok(line.to_vec()),
        _ => Err(Error::NoKey { said: first.map_or_else(|| said(&outcome), one_line) }),
    }
}

fn run(
    mut command: Command,
    input: &[u8],
    file: Option<&OwnedFd>,
    timeout: Duration,
    hint: &'static str,
) -> Result<Outcome, Error> {
    let program = if command.get_program() == "ssh-add" { "ssh-add" } else { "ssh-keygen" };
    // A passphrase or a PIN would be asked for on the terminal or in a window: nobody is there.
    process::without_terminal(&mut command);
    command.env("SSH_ASKPASS_REQUIRE", "never").env_remove("DISPLAY");
    #[cfg(test)]
    tests::choose_agent(&mut command);
    let limits = Limits { timeout, grace: GRACE, output: OUTPUT_MAX };
    let run = Run { user: None, input: Some(input), limits, stop: None, lines: None };
    let outcome = match file {
        Some(file) => run.run_with(file.as_fd(), command)?,
        None => run.run(command)?,
    };
    if outcome.timed_out {
        return Err(Error::TimedOut { program, after: timeout, hint });
    }
    Ok(outcome)
}

/// A file that no other user sees and that ends with us.
fn in_memory(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(c"failcake", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file.into())
}

/// Its path in the child that is given it.
fn path_of(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// What the program gave as its reason. It may quote what came from the bus.
fn said(outcome: &Outcome) -> String {
    one_line(&outcome.stderr)
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // ssh-keygen frames what it has to say of a key that others may read.
    let framed = |c: char| c == '@' || c.is_whitespace();
    let lines = text.lines().map(|line| line.trim_start_matches("Enter passphrase: ").trim_matches(framed));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && *line != "Signing data on standard input").collect();
    lines.join("; ").chars().take(400).flat_map(|c| c.is_control().then_some('\u{fffd}').or(Some(c))).collect()
}

#[cfg(test)]
mod tests;
