//! Deploys over the bus: who is trusted, who is allowed, and what this machine signs with.

use std::path::Path;
use std::time::Duration;

use super::{Finding, Role};
use crate::config::{Allow, Config};
use crate::message::access::NAMESPACE as ACCESS_NAMESPACE;
use crate::message::deploy::{PLAN_NAMESPACE, REPLY_NAMESPACE};
use crate::name::{Glob, Principal};
use crate::signature::{self, Key};

/// A person waits for the answer.
const TIME: Duration = Duration::from_secs(10);

/// Nothing where none of it is configured.
pub fn node(config: &Config) -> Vec<Finding> {
    let signers = config.signing.allowed_signers.as_deref();
    let key = config.signing.key.as_deref();
    let mut findings = Vec::new();
    findings.extend(signers.map(trusted));
    if signers.is_none() && !config.allow.is_empty() {
        findings.push(Finding::fail(
            "signing",
            "allow: has entries, and no plan's signature can be checked",
            "name the file in allowed-signers: below signing:",
        ));
    }
    // Others let people into sites, which is access.rs' to tell.
    let mut rules = config.allow.iter().filter(|rule| !rule.sites.is_empty()).peekable();
    if rules.peek().is_some() {
        findings.extend(rules.map(allowed));
    } else if signers.is_some() && !config.sites.is_empty() {
        let text = "nobody may deploy here over the bus";
        findings.push(match Role::of(config) {
            Role::Operator => Finding::ok("allow", format!("{text}: right for an operator")),
            _ => Finding::warn("allow", text, "if `failcake deploy --watch` is to run here, say below allow: who may deploy what"),
        });
    }
    findings.extend(key.map(|key| signs(key, signers, config)));
    findings.extend(config.facts_file.as_deref().map(|path| facts(path, config)));
    findings
}

fn trusted(path: &Path) -> Finding {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let signers = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
            Finding::ok("signing", format!("{} has {signers} signers", path.display()))
        }
        Err(error) => Finding::fail(
            "signing",
            format!("can't read {}: {error}", path.display()),
            "write it as in ssh-keygen(1), ALLOWED SIGNERS, or correct allowed-signers:",
        ),
    }
}

fn allowed(entry: &Allow) -> Finding {
    let words = |patterns: &[Glob]| patterns.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ");
    Finding::ok("allow", format!("{} may deploy {} on {}", entry.who, words(&entry.sites), words(&entry.hosts)))
}

/// Does the key sign, and would an operator who has the same file believe it?
fn signs(key: &Path, signers: Option<&Path>, config: &Config) -> Finding {
    let (about, text) = ("signing", b"failcake check");
    let path = key.display();
    let signature = match signature::sign(text, REPLY_NAMESPACE, &Key::File(key.to_owned()), TIME) {
        Ok(signature) => signature,
        Err(error) => return Finding::fail(about, error.to_string(), "then run failcake check again"),
    };
    let Some(signers) = signers else { return Finding::ok(about, format!("{path} signs")) };
    // Whoever allows nobody is no node, and signs as somebody else.
    if config.allow.is_empty() {
        return known(key, signers, config);
    }
    let believed = config.node.as_str().parse().map_err(|error| format!("{error}")).and_then(|node| {
        signature::verify(text, &signature, REPLY_NAMESPACE, signers, &node).map_err(|error| error.to_string())
    });
    match believed {
        Ok(known) => Finding::ok(about, format!("{path} signs as {} ({})", known.principal, known.fingerprint)),
        Err(why) => Finding::warn(
            about,
            format!("{path} signs, but no operator believes it: {why}"),
            format!("add `{} namespaces=\"{REPLY_NAMESPACE}\" KEY` to {}", config.node, signers.display()),
        ),
    }
}

/// Would a node that has the same file believe what an operator signs with it: plans, or temporary logins?
fn known(key: &Path, signers: &Path, config: &Config) -> Finding {
    let about = "signing";
    let ssh_key = Key::File(key.to_owned());
    let mut refusal = None;
    for namespace in [PLAN_NAMESPACE, ACCESS_NAMESPACE, REPLY_NAMESPACE] {
        match who(&ssh_key, namespace, signers, config) {
            Ok(who) => return Finding::ok(about, format!("{} signs as {who}", key.display())),
            Err(error) if error.is_refusal() => drop(refusal.get_or_insert(error)),
            // That the file can't be read has a line of its own.
            Err(signature::Error::AllowedSigners { .. }) => return Finding::ok(about, format!("{} signs", key.display())),
            Err(error) => return Finding::warn(about, error.to_string(), "then run failcake check again"),
        }
    }
    let why = refusal.map(|error| format!(": {error}")).unwrap_or_default();
    let name = config.signing.principal.as_ref().map_or("NAME", |principal| principal.as_str());
    // ssh-keygen puts it beside the key.
    let public = std::fs::read_to_string(format!("{}.pub", key.display())).unwrap_or_default();
    let public = match public.split_whitespace().take(2).collect::<Vec<_>>() {
        words if words.len() == 2 && !public.contains(|c: char| c.is_control() && c != '\n') => words.join(" "),
        _ => "KEY".to_owned(),
    };
    Finding::warn(
        about,
        format!("{} signs, but no node believes it{why}", key.display()),
        format!("add `{name} namespaces=\"{PLAN_NAMESPACE}\" {public}` to {} here and on the nodes", signers.display()),
    )
}

fn who(key: &Key, namespace: &str, signers: &Path, config: &Config) -> Result<Principal, signature::Error> {
    let Some(principal) = &config.signing.principal else {
        return signature::principal_of(key, namespace, signers, TIME);
    };
    let text = b"failcake check";
    let signature = signature::sign(text, namespace, key, TIME)?;
    signature::verify(text, &signature, namespace, signers, principal).map(|known| known.principal)
}

fn facts(path: &Path, config: &Config) -> Finding {
    match config.facts() {
        Ok(facts) => Finding::ok("facts", format!("{} has {}", path.display(), facts.len())),
        Err(error) => Finding::fail("facts", error.0, "correct it there; until then no node starts here"),
    }
}
