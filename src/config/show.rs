//! The effective configuration for people and programs: the keys of the file, the values that count, no secrets.

use serde_json::{Map, Value, json};

use super::word::show_duration;
use super::{
    AccessKind, Config, DirNames, Exec, JobName, Pattern, PostFailure, Project, Repo, SecretFile, SecretPlace, Site,
    SiteMode, Topics,
};
use super::{farm, svn};
use crate::name::{Glob, RepoName};

impl Config {
    /// As an object with the keys of the file. Passcodes and tokens are left out, files that hold them are named.
    pub fn to_json(&self) -> Value {
        let bus = &self.bus;
        let topics = Topics::KEYS.iter().map(|(key, _)| ((*key).to_owned(), bus.topics.get(key).into()));
        sparse(json!({
            "broker": bus.broker.to_string(),
            "ca-file": bus.tls.ca_file,
            "tls-verify": bus.tls.verify,
            "vhost": bus.vhost,
            "heart-beat": show_duration(bus.heart_beat),
            "budget": show_duration(bus.budget),
            "prefix": bus.topics.prefix,
            "topics": topics.collect::<Map<_, _>>(),
            "spool": bus.spool.parent,
            "spool-max-count": bus.spool.max_count,
            "spool-max-bytes": bus.spool.max_bytes,
            "durable": self.durable,
            "reconcile": show_duration(self.reconcile),
            "node": self.node,
            "repos": object(
                (self.repos.iter().map(|(name, it)| (name.as_str(), repo(it))))
                    .chain(self.svn.iter().map(|(name, it)| (name.as_str(), svn::show(it)))),
            ),
            "sites": object(self.sites.iter().map(|(name, it)| (name.as_str(), site(it)))),
            "inventory": object(self.inventory.iter().map(|(name, it)| {
                (name.as_str(), json!({ "groups": it.groups, "facts": it.facts }))
            })),
            "signing": sparse(json!({
                "key": self.signing.key,
                "principal": self.signing.principal,
                "allowed-signers": self.signing.allowed_signers,
            })),
            "facts-file": self.facts_file,
            "allow": self.allow.iter().map(|it| sparse(json!({
                "who": it.who,
                "sites": patterns(&it.sites),
                "access": patterns(&it.access),
                "hosts": patterns(&it.hosts),
            }))).collect::<Vec<_>>(),
            "keepalive": self.keepalive.iter().map(|it| sparse(json!({
                "destination": it.destination,
                "broker": it.broker.as_ref().map(ToString::to_string),
                "passcode-file": file(it.passcode.as_ref()),
            }))).collect::<Vec<_>>(),
            "webhook": sparse(json!({ "secret-file": file(self.webhook.secret.as_ref()) })),
            "access": object(self.access.iter().map(|(name, it)| {
                let kind = match it.kind {
                    AccessKind::Nginx => "nginx",
                    AccessKind::Haproxy => "haproxy",
                };
                (name.as_str(), sparse(json!({
                    "type": kind,
                    "file": it.file,
                    "check": words(&it.check),
                    "reload": words(&it.reload),
                    "accept-cleartext": it.accept_cleartext.then_some(true),
                })))
            })),
            "packages": sparse(json!({
                "repository": self.packages.repository,
                "incoming": self.packages.incoming,
                "archive": self.packages.archive,
                "user": self.packages.user,
                "rest": show_duration(self.packages.rest),
                "patience": show_duration(self.packages.patience),
                "timeout": show_duration(self.packages.timeout),
                "splay": show_duration(self.packages.splay),
                "interest": self.packages.interest.iter().map(|it| sparse(json!({
                    "name": it.name.as_str(), "distribution": it.distribution, "list": it.list,
                }))).collect::<Vec<_>>(),
            })),
            "jenkins": sparse(json!({
                "url": self.jenkins.url.as_deref().map(without_password),
                "user": self.jenkins.user,
                "token-file": file(self.jenkins.token.as_ref()),
                "ca-file": self.jenkins.ca_file,
                "projects": object(self.jenkins.projects.iter().map(|(name, it)| (name.as_str(), project(name, it)))),
            })),
        }))
    }
}

fn repo(repo: &Repo) -> Value {
    sparse(json!({
        "path": repo.path,
        "url": repo.url.as_deref().map(without_password),
        "user": repo.user,
        "mode": repo.mode.to_string(),
        "target": repo.target,
        "branch": repo.branch,
        "listen": repo.listen,
        "timeout": show_duration(repo.timeout),
        "secret-file": file(repo.webhook_secret.as_ref()),
        "only": patterns(&repo.only),
        "ignore": patterns(&repo.ignore),
        "prefix": (!repo.prefix.is_empty()).then_some(&repo.prefix),
        "names": (repo.names == DirNames::Puppet).then_some("puppet"),
        "force": repo.force.then_some(true),
        "grace": show_duration(repo.grace),
        "exec": exec(&repo.exec),
    }))
}

fn patterns(globs: &[Glob]) -> Option<Vec<&str>> {
    (!globs.is_empty()).then(|| globs.iter().map(Glob::as_str).collect())
}

fn exec(exec: &Exec) -> Option<Value> {
    let is_set = !exec.before.is_empty() || !exec.after.is_empty();
    is_set.then(|| {
        sparse(json!({
            "before": words(&exec.before),
            "after": words(&exec.after),
            "timeout": show_duration(exec.timeout),
            "retries": exec.retries,
        }))
    })
}

fn words(words: &[String]) -> Option<&[String]> {
    (!words.is_empty()).then_some(words)
}

fn site(site: &Site) -> Value {
    sparse(json!({
        "repo": site.farm.is_none().then_some(&site.repo),
        "farm": site.farm.as_ref().map(farm::show),
        "path": site.path,
        "user": site.user,
        "keep": site.keep,
        "shared": site.shared,
        "scripts": site.scripts,
        "grace": show_duration(site.grace),
        "timeout": show_duration(site.timeout),
        "mode": if site.mode == SiteMode::InPlace { "in-place" } else { "releases" },
        "required": site.required,
        "drain": words(&site.drain),
        "undrain": words(&site.undrain),
        "on-post-failure": if site.on_post_failure == PostFailure::Keep { "keep" } else { "switch-back" },
    }))
}

fn project(name: &RepoName, project: &Project) -> Value {
    let jobs: Vec<&str> = project.jobs.iter().map(JobName::as_str).collect();
    let (job, jobs) = if let [job] = jobs[..] { (Some(job), Vec::new()) } else { (None, jobs) };
    let parameters = project.parameters.iter().map(|(name, value)| (name.as_str(), json!(value.to_string())));
    sparse(json!({
        "repo": (project.repo != *name).then_some(&project.repo),
        "job": job,
        "jobs": jobs,
        "ignore-refs": project.ignore_refs.as_ref().map(Pattern::as_str),
        "only-refs": project.only_refs.as_ref().map(Pattern::as_str),
        "parameters": object(parameters),
        "token-file": token_file(project.token.as_ref()),
    }))
}

fn file(secret: Option<&SecretFile>) -> Value {
    json!(secret.map(|secret| &secret.0))
}

fn token_file(place: Option<&SecretPlace>) -> Value {
    match place {
        Some(SecretPlace::File(secret)) => file(Some(secret)),
        Some(SecretPlace::Here(_)) | None => Value::Null,
    }
}

fn object<'a>(entries: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Without what is not configured and has no default.
pub(super) fn sparse(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| match value {
            Value::Null => false,
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
    }
    value
}

/// `https://ann:token@host/` is how some put a token into a URL.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@').map(|(user, _)| user) {
        Some(user) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***{}", &rest[user.len()..])
        }
        _ => url.to_owned(),
    }
}
