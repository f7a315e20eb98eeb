//! With the real ssh-keygen, ssh-add and ssh-agent.

use std::cell::RefCell;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::Instant;

use super::*;

const NS: &str = "failcake-test";

thread_local! {
    /// `SSH_AUTH_SOCK` as this test has it: the environment itself is shared by all.
    static AGENT: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

pub(super) fn choose_agent(command: &mut Command) {
    AGENT.with_borrow(|agent| match agent {
        Some(socket) => command.env("SSH_AUTH_SOCK", socket),
        None => command.env_remove("SSH_AUTH_SOCK"),
    });
}

struct World(tempfile::TempDir);

impl World {
    fn new() -> World {
        World(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a key pair; its public half.
    fn key(&self, name: &str, kind: &str, passphrase: &str) -> String {
        let path = self.path(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", kind, "-N", passphrase, "-C", name, "-f"]).arg(&path);
        assert!(command.stdin(Stdio::null()).status().unwrap().success());
        std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
    }

    fn signers(&self, lines: &str) -> PathBuf {
        let path = self.path("allowed_signers");
        std::fs::write(&path, lines).unwrap();
        path
    }

    fn sign(&self, document: &[u8], key: &str) -> Result<String, Error> {
        sign(document, NS, &Key::File(self.path(key)), PATIENCE)
    }
}

/// As the room's own; and what holds looked good before.
fn verify(
    document: &[u8],
    signature: &str,
    namespace: &str,
    allowed_signers: &Path,
    principal: &Principal,
) -> Result<Verified, Error> {
    let result = super::verify(document, signature, namespace, allowed_signers, principal);
    let signers = std::fs::read(allowed_signers).unwrap_or_default();
    assert!(result.is_err() || looks_good(document, signature, namespace, &signers, principal.as_str()), "{result:?}");
    result
}

fn ops() -> Principal {
    "ops@example.org".parse().unwrap()
}

#[track_caller]
fn refused(result: Result<Verified, Error>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_refusal(), "{error}");
    error.to_string()
}

#[test]
fn what_every_kind_of_key_signed_is_verified() {
    let world = World::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let public = world.key(kind, kind, "");
        let signers = world.signers(&format!("# people\nops@example.org,adm@example.org {public}\n"));
        for document in [&b""[..], b"a document\n", &vec![b'x'; 1024 * 1024]] {
            let signature = world.sign(document, kind).unwrap();
            let verified = verify(document, &signature, NS, &signers, &ops()).unwrap();
            assert_eq!(verified.principal, ops());
            assert!(verified.fingerprint.starts_with("SHA256:"), "{verified:?}");
        }
        let signature = world.sign(b"", kind).unwrap();
        let found = find_principals(&signature, &signers).unwrap();
        assert_eq!(found, [ops(), "adm@example.org".parse().unwrap()]);
    }
}

#[test]
fn an_altered_document_a_wrong_namespace_and_an_unknown_signer_are_refused_with_the_reason() {
    let world = World::new();
    let (public, other) = (world.key("ours", "ed25519", ""), world.key("theirs", "ed25519", ""));
    let signature = world.sign(b"deploy v1", "ours").unwrap();
    let signers = world.signers(&format!("ops@example.org {public}\n"));
    verify(b"deploy v1", &signature, NS, &signers, &ops()).unwrap();

    let said = refused(verify(b"deploy v2", &signature, NS, &signers, &ops()));
    assert!(
        said.starts_with("the signature does not hold as one by ops@example.org: ")
            && said.contains("incorrect signature"),
        "{said}"
    );
    let said = refused(verify(b"deploy v1", &signature, "git", &signers, &ops()));
    assert!(said.contains("namespace"), "{said}");
    let said = refused(verify(b"deploy v1", &signature, NS, &signers, &"root@example.org".parse().unwrap()));
    assert!(said.contains("allowed_signers gives that key to no root@example.org"), "{said}");
    let signers = world.signers(&format!("ops@example.org {other}\n"));
    refused(verify(b"deploy v1", &signature, NS, &signers, &ops()));
    assert!(find_principals(&signature, &signers).unwrap_err().is_refusal());
    for nonsense in [
        "",
        "nonsense",
        &signature[..100],
        &"x".repeat(40_000),
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
    ] {
        refused(verify(b"deploy v1", nonsense, NS, &signers, &ops()));
        assert!(find_principals(nonsense, &signers).unwrap_err().is_refusal());
    }
}

#[test]
fn a_glance_tells_what_is_not_worth_a_process() {
    let world = World::new();
    let (public, other) = (world.key("ours", "ed25519", ""), world.key("theirs", "ed25519", ""));
    let signers = format!("# {other}\nops@example.org namespaces=\"{NS}\" {public}\nother@example.org {other}\n");
    let looks = |document: &[u8], signature: &str, namespace: &str| {
        looks_good(document, signature, namespace, signers.as_bytes(), "ops@example.org")
    };
    let signature = world.sign(b"deploy v1", "ours").unwrap();
    assert!(looks(b"deploy v1", &signature, NS));
    assert!(!looks(b"deploy v2", &signature, NS) && !looks(b"deploy v1", &signature, "git"));
    // Somebody else's, who is known under another name.
    assert!(!looks(b"deploy v1", &world.sign(b"deploy v1", "theirs").unwrap(), NS));
    for at in (0..signature.len()).step_by(7) {
        let mut altered = signature.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        assert!(!looks(b"deploy v1", std::str::from_utf8(&altered).unwrap(), NS), "{at}");
        assert!(!looks(b"deploy v1", &signature[..at], NS), "{at}");
    }
    // Of other kinds of keys it is not looked into what they signed.
    let public = world.key("old", "rsa", "");
    let signature = world.sign(b"deploy v1", "old").unwrap();
    assert!(looks_good(b"deploy v2", &signature, NS, format!("ops@* {public}\n").as_bytes(), "ops@example.org"));
}

#[test]
fn the_options_of_allowed_signers_count() {
    let world = World::new();
    let public = world.key("key", "ed25519", "");
    let signature = world.sign(b"x", "key").unwrap();
    for (options, holds) in [
        ("valid-before=\"20200101\"", Err("expired")),
        ("valid-after=\"20990101\"", Err("not yet valid")),
        ("namespaces=\"git,file\"", Err("not permitted for use in signature namespace")),
        ("namespaces=\"failcake-*\",valid-after=\"20200101\",valid-before=\"20990101\"", Ok(())),
    ] {
        let signers = world.signers(&format!("ops@example.org {options} {public}\n"));
        match (verify(b"x", &signature, NS, &signers, &ops()), holds) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(reason)) => {
                assert!(error.is_refusal() && error.to_string().contains(reason), "{options}: {error}");
            }
            (got, _) => panic!("{options}: {got:?}"),
        }
    }
    // A pattern gives the key to every name that fits, but is nobody's name.
    let signers = world.signers(&format!("*@example.org {public}\n"));
    verify(b"x", &signature, NS, &signers, &ops()).unwrap();
    let nobody = find_principals(&signature, &signers).unwrap_err();
    assert!(nobody.is_refusal() && nobody.to_string().contains("to nobody by name"), "{nobody}");
}

#[test]
fn a_certificate_speaks_for_its_principals_alone() {
    let world = World::new();
    let authority = world.key("ca", "ed25519", "");
    world.key("key", "ed25519", "");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-I", "ops", "-n", "ops@example.org", "-V", "-1h:+1h", "-s"]);
    assert!(command.arg(world.path("ca")).arg(world.path("key.pub")).status().unwrap().success());
    let agent = RealAgent::start(&world);
    agent.add(&world.path("key"));
    let signature = sign(b"x", NS, &Key::File(world.path("key-cert.pub")), PATIENCE).unwrap();
    let signers = world.signers(&format!("*@example.org cert-authority {authority}\n"));
    verify(b"x", &signature, NS, &signers, &ops()).unwrap();
    refused(verify(b"x", &signature, NS, &signers, &"adm@example.org".parse().unwrap()));
}

#[test]
fn this_machines_own_trouble_is_no_refusal() {
    let world = World::new();
    world.key("key", "ed25519", "");
    let signature = world.sign(b"x", "key").unwrap();
    let error = verify(b"x", &signature, NS, &world.path("none"), &ops()).unwrap_err();
    assert!(!error.is_refusal() && error.to_string().contains("`signing.allowed-signers`"), "{error}");
    let error = world.sign(b"x", "none").unwrap_err();
    assert!(matches!(error, Error::Sign { .. }) && error.to_string().contains("No such file"), "{error}");
}

/// The document on stdin must not be taken for the answer to "Enter passphrase", and nothing may wait for a person.
#[test]
fn a_passphrase_is_asked_of_nobody() {
    let world = World::new();
    world.key("locked", "ed25519", "secret");
    let started = Instant::now();
    let error = world.sign(b"x\n", "locked").unwrap_err();
    assert!(error.to_string().contains("passphrase") && error.to_string().contains("ssh-add"), "{error}");
    assert!(started.elapsed() < PATIENCE);
}

/// A real ssh-agent in `SSH_AUTH_SOCK`, gone with this.
struct RealAgent(Child);

impl RealAgent {
    fn start(world: &World) -> RealAgent {
        let socket = world.path("agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = RealAgent(child);
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        AGENT.set(Some(socket));
        agent
    }

    fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        choose_agent(command.arg("-q").arg(key).stdin(Stdio::null()));
        assert!(command.status().unwrap().success());
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_signs_with_its_first_key_or_with_the_one_named() {
    let world = World::new();
    let (first, second) = (world.key("first", "ed25519", ""), world.key("second", "ecdsa", ""));
    let error = sign(b"x", NS, &Key::Agent, PATIENCE).unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }) && error.to_string().contains("ssh-add"), "{error}");

    let agent = RealAgent::start(&world);
    let error = sign(b"x", NS, &Key::Agent, PATIENCE).unwrap_err();
    assert!(error.to_string().contains("no identities"), "{error}");
    agent.add(&world.path("first"));
    agent.add(&world.path("second"));
    std::fs::remove_file(world.path("first")).unwrap();
    std::fs::remove_file(world.path("second")).unwrap();
    let signers = world.signers(&format!("ops@example.org {first}\nadm@example.org {second}\n"));
    let signature = sign(b"x", NS, &Key::from(None), PATIENCE).unwrap();
    verify(b"x", &signature, NS, &signers, &ops()).unwrap();
    let signature = sign(b"x", NS, &Key::File(world.path("second.pub")), PATIENCE).unwrap();
    verify(b"x", &signature, NS, &signers, &"adm@example.org".parse().unwrap()).unwrap();
}

#[test]
fn an_agent_that_never_answers_is_given_up() {
    let world = World::new();
    let public = world.key("key", "ed25519", "");
    std::fs::write(world.path("alone.pub"), public).unwrap();
    let socket = world.path("deaf");
    let _deaf = UnixListener::bind(&socket).unwrap();
    AGENT.set(Some(socket));
    for key in [Key::Agent, Key::File(world.path("alone.pub"))] {
        let error = sign(b"x", NS, &key, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }) && error.to_string().contains("SSH_AUTH_SOCK"), "{error}");
    }
}

#[test]
fn a_key_is_known_by_the_one_name_that_may_use_it() {
    let world = World::new();
    let public = world.key("key", "ed25519", "");
    let key = Key::File(world.path("key"));
    let whose = |lines: &str| principal_of(&key, NS, &world.signers(lines), PATIENCE);
    assert_eq!(whose(&format!("# people\nops@example.org {public}\n")).unwrap(), ops());
    let error = whose(&format!("ops@example.org,adm@example.org {public}\n")).unwrap_err();
    assert!(error.to_string().contains("ops@example.org and adm@example.org"), "{error}");
    let error = whose(&format!("ops@example.org namespaces=\"git\" {public}\n")).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("namespace"), "{error}");
    assert!(whose("# nobody\n").unwrap_err().is_refusal());
}
