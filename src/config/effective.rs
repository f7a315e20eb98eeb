//! From what the files say to what counts: the environment, the defaults, and what only shows when all is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::farm;
use super::file::{self, Entry, File};
use super::svn::{self, SvnRepo};
use super::word::{Near, nearest, parse_broker};
use super::{
    Access, Allow, Bus, Config, DirNames, Env, Error, Exec, Interest, Jenkins, JobName, Keepalive, Machine, Mode,
    Packages, PostFailure, Project, Repo, Secret, SecretFile, SecretPlace, Signing, Site, SiteMode, SpoolPlace,
    Template, Tls, Topics, Webhook,
};
use crate::name::{NodeName, RepoName, SiteName};
use crate::stomp::url::BrokerUrl;

const DEFAULT_BROKER: &str = "stomp://localhost:61613";
/// Where events wait when nobody says.
pub const DEFAULT_SPOOL: &str = "/var/spool/failcake";
pub(super) const TEN_MINUTES: Duration = Duration::from_secs(600);

impl<const ALL: bool> File<ALL> {
    /// What an emitter needs. Opens the passcode's file only when some host has no passcode of its own.
    pub(super) fn bus(&mut self, env: Env) -> Result<Bus, Error> {
        let broker = self.broker(env)?;
        let vhost = self.vhost.take().unwrap_or_else(|| "/".to_owned());
        let topics = self.topics.take().map(|topics| topics.renamed()).unwrap_or_default();
        let prefix = self.prefix.take().map_or_else(|| "failcake".to_owned(), |prefix| prefix.0);
        Ok(Bus {
            passcode: if broker.hosts.iter().all(|host| host.passcode.is_some()) { None } else { self.passcode(env)? },
            broker,
            tls: Tls { ca_file: self.ca_file.take().map(|near| near.0), verify: self.tls_verify.unwrap_or(true) },
            vhost,
            heart_beat: self.heart_beat.as_ref().map_or(Duration::from_secs(10), |span| span.0),
            budget: self.budget.as_ref().map_or(Duration::from_secs(2), |span| span.0),
            topics: Topics { prefix, renamed: topics },
            spool: SpoolPlace {
                parent: self.spool_parent(env)?,
                max_count: self.spool_max_count.unwrap_or(10_000),
                max_bytes: self.spool_max_bytes.as_ref().map_or(256 << 20, |size| size.0),
            },
        })
    }

    fn broker(&mut self, env: Env) -> Result<BrokerUrl, Error> {
        if let Some(word) = env("FAILCAKE_BROKER") {
            let word = word.into_string().map_err(|_| Error("$FAILCAKE_BROKER is not UTF-8 text".to_owned()))?;
            return parse_broker(&word).map_err(|error| Error(format!("$FAILCAKE_BROKER: {error}")));
        }
        match self.broker.take() {
            Some(broker) => Ok(broker.0),
            None => parse_broker(DEFAULT_BROKER).map_err(Error),
        }
    }

    fn passcode(&mut self, env: Env) -> Result<Option<Secret>, Error> {
        if let Some(word) = env("FAILCAKE_PASSCODE") {
            let word = word.into_string().map_err(|_| Error("$FAILCAKE_PASSCODE is not UTF-8 text".to_owned()))?;
            return Ok(Some(Secret(word)));
        }
        match (&self.passcode_file, self.passcode.take()) {
            (Some(_), Some(_)) => Err(Error("passcode: and passcode-file: are both there: keep one".to_owned())),
            (Some(Near(path)), None) => SecretFile(path.clone()).read().map(Some),
            (None, Some(passcode)) => Ok(Some(Secret(passcode))),
            (None, None) => Ok(None),
        }
    }

    fn spool_parent(&self, env: Env) -> Result<PathBuf, Error> {
        match env("FAILCAKE_SPOOL").map(PathBuf::from) {
            Some(path) if path.is_absolute() => Ok(path),
            Some(path) => Err(Error(format!("$FAILCAKE_SPOOL: {} is no absolute path", path.display()))),
            None => Ok(self.spool.as_ref().map_or_else(|| PathBuf::from(DEFAULT_SPOOL), |path| path.0.clone())),
        }
    }
}

impl File<true> {
    /// Everything.
    pub(super) fn config(mut self, env: Env, files: Vec<PathBuf>) -> Result<Config, Error> {
        let bus = self.bus(env)?;
        let (mut repos, mut svn) = (BTreeMap::new(), BTreeMap::new());
        for (name, entry) in self.repos.0.unwrap_or_default() {
            match svn::repo(&name, &entry)? {
                Some(found) => drop(svn.insert(name, found)),
                None => drop(repos.insert(name.clone(), repo(&name, entry)?)),
            }
        }
        let sites = each(self.sites.0, |name, entry| site(name, entry, &repos, &svn))?;
        let signing = self.signing.0.unwrap_or_default();
        Ok(Config {
            bus,
            durable: self.durable.0.unwrap_or(false),
            reconcile: self.reconcile.0.map_or(Duration::from_secs(300), |span| span.0),
            repos,
            svn,
            sites,
            node: self.node.0.map_or_else(host_name, Ok)?,
            inventory: each(self.inventory.0, |_, entry| {
                let keys = entry.keys;
                Ok(Machine { groups: keys.groups.unwrap_or_default(), facts: keys.facts.unwrap_or_default() })
            })?,
            signing: Signing {
                key: path(signing.key),
                principal: signing.principal,
                allowed_signers: path(signing.allowed_signers),
            },
            facts_file: path(self.facts_file.0),
            allow: self.allow.0.unwrap_or_default().into_iter().map(allow).collect::<Result<_, _>>()?,
            keepalive: self.keepalive.0.unwrap_or_default().into_iter().map(keepalive).collect(),
            webhook: Webhook { secret: self.webhook.0.and_then(|webhook| secret(webhook.secret_file)) },
            access: one_file_each(each(self.access.0, access)?)?,
            packages: packages(self.packages.0.unwrap_or_default()),
            jenkins: self.jenkins.0.map(jenkins).transpose()?.unwrap_or_default(),
            files,
        })
    }
}

/// Makes the real thing of each named entry.
fn each<K: Ord + Clone, E, T>(
    entries: Option<BTreeMap<K, Entry<E>>>,
    make: impl Fn(&K, Entry<E>) -> Result<T, Error>,
) -> Result<BTreeMap<K, T>, Error> {
    entries.unwrap_or_default().into_iter().map(|(name, entry)| Ok((name.clone(), make(&name, entry)?))).collect()
}

fn path(near: Option<Near>) -> Option<PathBuf> {
    near.map(|near| near.0)
}

fn secret(near: Option<Near>) -> Option<SecretFile> {
    path(near).map(SecretFile)
}

fn repo(name: &RepoName, entry: Entry<file::RepoKeys>) -> Result<Repo, Error> {
    let place = entry.place();
    let keys = entry.keys;
    let Some(path) = keys.path else {
        return Err(Error(format!("{place}: repository {name} has no path: say where its clone is")));
    };
    let mode = keys.mode.map_or(Mode::Fetch, |mode| mode.0);
    if mode.has_target() && keys.target.is_none() {
        return Err(Error(format!("{place}: repository {name} has mode {mode} and no target: say where to publish")));
    }
    Ok(Repo {
        name: name.clone(),
        path: path.0,
        url: keys.url.map(|url| url.0),
        user: keys.user.map(|user| user.0),
        mode,
        target: keys.target.map(|target| target.0),
        branch: keys.branch.map(|branch| branch.0),
        listen: keys.listen.map_or_else(|| "commits".to_owned(), |key| key.0),
        timeout: keys.timeout.map_or(TEN_MINUTES, |span| span.0),
        webhook_secret: secret(keys.secret_file),
        only: keys.only.unwrap_or_default(),
        ignore: keys.ignore.unwrap_or_default(),
        prefix: keys.prefix.map_or_else(String::new, |prefix| prefix.0),
        names: keys.names.map_or(DirNames::Plain, |names| names.0),
        force: keys.force.unwrap_or(false),
        grace: keys.grace.map_or(Duration::from_secs(60), |span| span.0),
        exec: exec(&place, name, keys.exec.unwrap_or_default())?,
    })
}

fn exec(place: &str, name: &RepoName, keys: file::ExecKeys) -> Result<Exec, Error> {
    Ok(Exec {
        before: command(place, &format!("exec: before: of repository {name}"), keys.before)?,
        after: command(place, &format!("exec: after: of repository {name}"), keys.after)?,
        timeout: keys.timeout.map_or(Duration::from_secs(300), |span| span.0),
        retries: keys.retries.unwrap_or(2),
    })
}

/// A program and its arguments, which no shell will see.
fn command(place: &str, key: &str, words: Option<Vec<String>>) -> Result<Vec<String>, Error> {
    match words {
        Some(words) if words.first().is_none_or(|program| !program.starts_with('/')) => Err(Error(format!(
            "{place}: {key} is no command: name a program by its absolute path, then its arguments, as a list"
        ))),
        words => Ok(words.unwrap_or_default()),
    }
}

fn site(
    name: &SiteName,
    entry: Entry<file::SiteKeys>,
    repos: &BTreeMap<RepoName, Repo>,
    svn: &BTreeMap<RepoName, SvnRepo>,
) -> Result<Site, Error> {
    let place = entry.place();
    let keys = entry.keys;
    let Some(path) = keys.path else {
        return Err(Error(format!("{place}: site {name} has no path: say where its releases live")));
    };
    let shared: Vec<PathBuf> = keys.shared.unwrap_or_default().into_iter().map(|below| below.0).collect();
    let farm = keys.farm.map(|keys| farm::farm(keys, &shared, repos, svn)).transpose();
    let farm = farm.map_err(|what| Error(format!("{place}: farm: of site {name}: {what}")))?;
    let repo = match (keys.repo, &farm) {
        (Some(_), Some(_)) => {
            return Err(Error(format!("{place}: site {name} has repo: and farm:, keep one")));
        }
        (repo, farm) => repo.or_else(|| farm.as_ref()?.repos.first().map(|placed| placed.repo.clone())),
    };
    let Some(repo) = repo else {
        return Err(Error(format!("{place}: site {name} has no repo: name one of repos")));
    };
    if !repos.contains_key(&repo) && !svn.contains_key(&repo) {
        let hint = match nearest(repo.as_str(), repos.keys().chain(svn.keys()).map(RepoName::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "add it there".to_owned(),
        };
        return Err(Error(format!(
            "{place}: site {name} deploys the repository {repo}, which is not in repos: {hint}"
        )));
    }
    let keep = keys.keep.unwrap_or(5);
    if keep == 0 {
        return Err(Error(format!(
            "{place}: site {name} has keep: 0, which leaves no release to serve: say 1 or more"
        )));
    }
    if let Some((inner, outer)) = nested(&shared) {
        return Err(Error(format!(
            "{place}: site {name} shares {} and {}, one inside the other: keep the outer",
            outer.display(),
            inner.display()
        )));
    }
    let mode = keys.mode.map_or(SiteMode::Releases, |mode| mode.0);
    let required: Vec<String> = keys.required.unwrap_or_default().into_iter().map(|script| script.0).collect();
    if mode == SiteMode::InPlace && !shared.is_empty() {
        return Err(Error(format!(
            "{place}: site {name} has mode: in-place, where nothing is replaced and shared: has no use: leave it out"
        )));
    }
    if mode == SiteMode::InPlace && farm.is_some() {
        return Err(Error(format!(
            "{place}: site {name} has mode: in-place, and a farm is switched: leave the mode out"
        )));
    }
    if mode == SiteMode::InPlace && svn.contains_key(&repo) {
        return Err(Error(format!(
            "{place}: site {name} has mode: in-place, which is git's: deploy the Subversion repository {repo} in releases"
        )));
    }
    if mode == SiteMode::InPlace && required.iter().any(|script| script == "pre-link") {
        return Err(Error(format!("{place}: site {name} has mode: in-place, which has no pre-link to be required")));
    }
    Ok(Site {
        name: name.clone(),
        repo,
        farm,
        path: path.0,
        user: keys.user.map(|user| user.0),
        keep,
        shared,
        scripts: keys.scripts.map_or_else(|| PathBuf::from("deploy/"), |scripts| scripts.0),
        grace: keys.grace.map_or(Duration::from_secs(60), |span| span.0),
        timeout: keys.timeout.map_or(TEN_MINUTES, |span| span.0),
        mode,
        required,
        on_post_failure: keys.on_post_failure.map_or(PostFailure::SwitchBack, |word| word.0),
        drain: command(&place, &format!("drain: of site {name}"), keys.drain)?,
        undrain: command(&place, &format!("undrain: of site {name}"), keys.undrain)?,
    })
}

/// A link inside a linked folder would be made in the shared folder itself.
fn nested(paths: &[PathBuf]) -> Option<(&Path, &Path)> {
    let pairs = paths.iter().enumerate().flat_map(|(i, a)| paths.iter().skip(i + 1).map(move |b| (a, b)));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).find(|(a, b)| a.starts_with(b)).map(|(a, b)| (a.as_path(), b.as_path()))
}

fn allow(keys: file::AllowKeys) -> Result<Allow, Error> {
    if keys.sites.is_none() && keys.access.is_none() {
        return Err(Error(format!(
            "allow: {} may do nothing: say sites: (which they may deploy), access: (which they may let people into), or both",
            keys.who
        )));
    }
    let (sites, access) = (keys.sites.unwrap_or_default(), keys.access.unwrap_or_default());
    Ok(Allow { who: keys.who, sites, access, hosts: keys.hosts })
}

fn keepalive(keys: file::KeepaliveKeys) -> Keepalive {
    Keepalive {
        destination: keys.destination.0,
        broker: keys.broker.map(|broker| broker.0),
        passcode: secret(keys.passcode_file),
    }
}

fn access(name: &SiteName, entry: Entry<file::AccessKeys>) -> Result<Access, Error> {
    let place = entry.place();
    let keys = entry.keys;
    let (Some(kind), Some(file)) = (keys.r#type, keys.file) else {
        return Err(Error(format!("{place}: access {name} needs type (nginx or haproxy) and file")));
    };
    Ok(Access {
        kind: kind.0,
        file: file.0,
        check: command(&place, &format!("check: of access {name}"), keys.check)?,
        reload: command(&place, &format!("reload: of access {name}"), keys.reload)?,
        accept_cleartext: keys.accept_cleartext.unwrap_or(false),
    })
}

/// Two that keep one file would each take the other's logins for leftovers.
fn one_file_each(access: BTreeMap<SiteName, Access>) -> Result<BTreeMap<SiteName, Access>, Error> {
    let mut seen: BTreeMap<&Path, &SiteName> = BTreeMap::new();
    for (name, entry) in &access {
        if let Some(other) = seen.insert(&entry.file, name) {
            return Err(Error(format!(
                "access {other} and access {name} have the same file {}: give each its own",
                entry.file.display()
            )));
        }
    }
    Ok(access)
}

fn packages(keys: file::PackagesKeys) -> Packages {
    let interest = keys.interest.unwrap_or_default().into_iter().map(|keys| Interest {
        name: keys.name,
        distribution: keys.distribution,
        list: keys.list.map(|list| list.0),
    });
    Packages {
        repository: keys.repository.map(|path| path.0),
        incoming: keys.incoming.map(|path| path.0),
        archive: keys.archive.map(|path| path.0),
        user: keys.user.map(|user| user.0),
        rest: keys.rest.map_or(Duration::from_secs(2), |span| span.0),
        patience: keys.patience.map_or(Duration::from_secs(3600), |span| span.0),
        timeout: keys.timeout.map_or(TEN_MINUTES, |span| span.0),
        splay: keys.splay.map_or(Duration::from_secs(5), |span| span.0),
        interest: interest.collect(),
    }
}

fn jenkins(keys: file::JenkinsKeys) -> Result<Jenkins, Error> {
    Ok(Jenkins {
        url: keys.url.map(|url| url.0),
        user: keys.user.map(|user| user.0),
        token: secret(keys.token_file),
        ca_file: path(keys.ca_file),
        projects: each(keys.projects, project)?,
    })
}

fn project(name: &RepoName, entry: Entry<file::ProjectKeys>) -> Result<Project, Error> {
    let place = entry.place();
    let keys = entry.keys;
    let refuse = |what: &str| Err(Error(format!("{place}: jenkins project {name} {what}")));
    let jobs: Vec<JobName> = match (keys.job, keys.jobs) {
        (Some(_), Some(_)) => return refuse("has job: and jobs:, keep one"),
        (Some(job), None) => vec![job.0],
        (None, jobs) => jobs.unwrap_or_default().into_iter().map(|job| job.0).collect(),
    };
    if jobs.is_empty() {
        return refuse("has no job: say which one to start");
    }
    let parameters: BTreeMap<String, Template> =
        keys.parameters.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0)).collect();
    // Jenkins takes both from the same form.
    if parameters.contains_key("token") || parameters.keys().any(String::is_empty) {
        return refuse("has a parameter without a name, or one called token, which Jenkins takes for the build token");
    }
    Ok(Project {
        repo: keys.repo.unwrap_or_else(|| name.clone()),
        jobs,
        ignore_refs: keys.ignore_refs.map(|pattern| pattern.0),
        only_refs: keys.only_refs.map(|pattern| pattern.0),
        parameters,
        token: secret(keys.token_file).map(SecretPlace::File).or(keys.token.map(SecretPlace::Here)),
    })
}

/// The kernel's name for this machine up to the first dot, as the inventory calls it.
fn host_name() -> Result<NodeName, Error> {
    let name = nix::unistd::gethostname().map_err(|error| Error(format!("can't tell this host's name: {error}")))?;
    let name = name.to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    short
        .parse()
        .map_err(|error| Error(format!("the host name can't name a node: {error}: say node: in the configuration")))
}
