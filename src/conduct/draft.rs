//! From what was asked for to a signed plan.

use std::path::Path;
use std::time::Duration;

use super::{Error, usage};
use crate::config::{Config, Farm, Repo};
use crate::deploy::Project;
use crate::git::local::Kind;
use crate::git::remote;
use crate::message::deploy::{Action, Document as _, PLAN_NAMESPACE, Plan, RefKind, Signed};
use crate::name::Principal;
use crate::process::{Stop, User};
use crate::signature::{self, Key, PATIENCE, StepKey};
use crate::svn::reference::Reference;

/// What a person's REF is right now, at the repository itself: every host gets this commit and no other.
///
/// # Errors
/// The repository can't be asked, or knows no such name.
pub(super) fn resolve(repo: &Repo, reference: &str, stop: &Stop) -> Result<Action, Error> {
    // Root asks with the keys of the clone's user; anybody else with their own.
    let user = if nix::unistd::geteuid().is_root() { User::find(repo.user.as_deref())? } else { None };
    let (url, timeout) = (repo.url.as_deref(), repo.timeout);
    let asked =
        remote::Repo { path: &repo.path, url, user: user.as_ref(), timeout, stop: Some(stop), work_tree: false };
    let Some((kind, commit)) = asked.look_up(reference)? else {
        let place = url.map_or_else(|| repo.path.display().to_string(), str::to_owned);
        return Err(Error::NoSuchRef { reference: reference.to_owned(), place });
    };
    let kind = match kind {
        Kind::Tag => RefKind::Tag,
        Kind::Branch => RefKind::Branch,
        Kind::Commit => RefKind::Commit,
    };
    Ok(Action::Deploy { reference: reference.to_owned(), kind, commit })
}

/// The revision of REF at the project's server right now: every host gets it as it is there.
///
/// # Errors
/// The server can't be asked, or knows no such name.
pub(super) fn resolve_svn(project: &Project<'_>, reference: &str, stop: &Stop) -> Result<Action, Error> {
    let user = User::find(project.repo.user.as_deref().filter(|_| nix::unistd::geteuid().is_root()))?;
    let asked: Reference = reference.parse().map_err(|error| usage(&format!("{error}")))?;
    let remote = project.remote(user.as_ref(), Some(stop)).map_err(Error::Config)?;
    match remote.resolve(&asked, None)? {
        Some(found) => Ok(Action::DeploySvn { reference: asked.to_string(), revision: found.at }),
        None => Err(Error::NoSuchLine { reference: reference.to_owned(), url: project.repo.url.clone() }),
    }
}

/// The same for one repository of a farm: `REPO=REF`. The others stay what they are on each host.
///
/// # Errors
/// As [`resolve`]; another form.
pub(super) fn resolve_part(config: &Config, farm: &Farm, word: &str, stop: &Stop) -> Result<Action, Error> {
    let part = word.split_once('=').filter(|_| !word.contains(char::is_whitespace));
    let placed = part.and_then(|(repo, _)| farm.repos.iter().find(|placed| placed.repo.as_str() == repo));
    let repo = placed.and_then(|placed| config.repos.get(&placed.repo));
    let (Some((_, reference)), Some(repo)) = (part, repo) else {
        let known: Vec<&str> = farm.repos.iter().map(|placed| placed.repo.as_str()).collect();
        return Err(usage(&format!(
            "{word:?}: --on deploys one repository of a farm at a time, as REPO=REF, where REPO is one of {}",
            known.join(", ")
        )));
    };
    match resolve(repo, reference, stop)? {
        Action::Deploy { kind, commit, .. } => Ok(Action::Deploy { reference: word.to_owned(), kind, commit }),
        other => Ok(other),
    }
}

/// Signs `plan` with the operator's key, and sees that nodes with the same allowed signers will take it.
///
/// # Errors
/// There is no key, or the allowed signers give it to nobody or not for plans.
pub(super) fn sign(config: &Config, mut plan: Plan) -> Result<(Plan, Signed, StepKey), Error> {
    let signing = &config.signing;
    let Some(allowed_signers) = &signing.allowed_signers else {
        return Err(usage(
            "signing: allowed-signers: is not configured: without that file nobody can tell who answers. It has a line \
             for you and one for each node, docs/rollouts.md shows it",
        ));
    };
    let ssh_key = Key::from(signing.key.as_deref());
    let who: Principal = match &signing.principal {
        Some(principal) => principal.clone(),
        None => match signature::principal_of(&ssh_key, PLAN_NAMESPACE, allowed_signers, PATIENCE) {
            Err(error) if error.is_refusal() => return Err(nobodys(&ssh_key, allowed_signers, &error)),
            Err(error @ signature::Error::Several { .. }) => return Err(usage(&error.to_string())),
            result => result?,
        },
    };
    let key = StepKey::generate()?;
    plan.who = who.to_string();
    plan.key = key.public_base64();
    let document = plan.to_text();
    let signature = signature::sign(document.as_bytes(), PLAN_NAMESPACE, &ssh_key, PATIENCE)?;
    match signature::verify(document.as_bytes(), &signature, PLAN_NAMESPACE, allowed_signers, &who) {
        Err(error) if error.is_refusal() => Err(nobodys(&ssh_key, allowed_signers, &error)),
        result => result.map(|_| (plan, Signed { document, signature }, key)).map_err(Error::from),
    }
}

fn nobodys(key: &Key, allowed_signers: &Path, error: &signature::Error) -> Error {
    let file = allowed_signers.display();
    usage(&format!(
        "no node would take a plan signed with {key}: {error}; {file} needs a line `NAME namespaces=\"{PLAN_NAMESPACE}\" \
         KEY` (and signing: principal: the name, where NAME is a pattern)"
    ))
}

/// No node remembers a plan for longer.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Until when hosts may begin, on the operator's clock.
pub(super) fn not_after(issued: jiff::Timestamp, within: Duration) -> Result<jiff::Timestamp, Error> {
    if within.is_zero() {
        return Err(usage("--within 0: no host could begin in that time"));
    }
    let span = jiff::SignedDuration::try_from(within).ok().filter(|_| within <= LONGEST);
    let until = span.and_then(|span| issued.checked_add(span).ok());
    until.ok_or_else(|| usage("--within: a plan is good for 30 days at most"))
}
