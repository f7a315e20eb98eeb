//! What old files say, in the keys of today: joined when several are imported, and written as a new file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::farm::Farm;
use crate::config::word::{Broker, show_duration};
use crate::config::{AccessKind, Error, Mode, Secret, Topics, file};
use crate::name::{RepoName, SiteName};
use crate::stomp::url::BrokerUrl;

/// What one or more old files say. Passcodes and tokens are in it; no text that it makes shows one.
#[derive(Debug, Clone)]
pub struct New {
    /// The old files.
    pub(super) sources: Vec<PathBuf>,
    pub(super) broker: Option<BrokerUrl>,
    /// The broker has no login since the file has one for each destination: any other file's counts more.
    pub(super) weak_broker: bool,
    pub(super) vhost: Option<String>,
    pub(super) heart_beat: Option<Duration>,
    pub(super) ca_file: Option<PathBuf>,
    /// Destinations by the keys of [`Topics::KEYS`].
    pub(super) topics: BTreeMap<&'static str, String>,
    pub(super) repos: BTreeMap<RepoName, Repo>,
    pub(super) farms: BTreeMap<SiteName, Farm>,
    pub(super) beats: Vec<Beat>,
    pub(super) access: BTreeMap<SiteName, Access>,
    pub(super) incoming: Option<PathBuf>,
    pub(super) jenkins_url: Option<String>,
    pub(super) projects: BTreeMap<RepoName, Project>,
    /// Keys that mean nothing any more, with the reason.
    pub(super) dropped: Vec<(String, &'static str)>,
    /// What a person should look at; each with file and line.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Repo {
    pub path: PathBuf,
    pub user: Option<String>,
    pub mode: Mode,
    pub target: Option<PathBuf>,
    pub branch: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beat {
    pub destination: String,
    pub broker: BrokerUrl,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Access {
    pub kind: AccessKind,
    pub file: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Project {
    pub job: String,
    pub ignore_refs: Option<String>,
    pub ticket: Option<Secret>,
}

/// Where reprepro's repository was in the old tool's code.
const OLD_REPOSITORY: &str = "/var/www/repo";

/// How the text tells a secret.
pub(super) trait Secrets {
    /// The file's name for a secret of that purpose, if it is to be written into one.
    fn file(&mut self, purpose: &str, secret: &Secret) -> Option<String>;
    /// The broker's URL when its hosts have different passcodes, which no one file can hold.
    fn broker(&mut self, broker: &BrokerUrl) -> String;
}

/// No secret is written; [`New::file`] puts them in their places afterwards.
struct Nowhere;

impl Secrets for Nowhere {
    fn file(&mut self, _: &str, _: &Secret) -> Option<String> {
        None
    }

    fn broker(&mut self, broker: &BrokerUrl) -> String {
        broker.to_string()
    }
}

impl New {
    pub(super) fn of(source: &Path) -> New {
        New {
            sources: vec![source.to_owned()],
            broker: None,
            weak_broker: false,
            vhost: None,
            heart_beat: None,
            ca_file: None,
            topics: BTreeMap::new(),
            repos: BTreeMap::new(),
            farms: BTreeMap::new(),
            beats: Vec::new(),
            access: BTreeMap::new(),
            incoming: None,
            jenkins_url: None,
            projects: BTreeMap::new(),
            dropped: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What a person should look at, each with file and line.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// As the reader of new files has it.
    pub fn file<const ALL: bool>(self, path: &Path) -> Result<file::File<ALL>, Error> {
        let text = self.yaml(&mut Nowhere)?;
        let mut file = file::parse::<ALL>(path, &text)?;
        file.broker = self.broker.map(Broker);
        for (entry, beat) in file.keepalive.0.iter_mut().flatten().zip(self.beats) {
            entry.broker = Some(Broker(beat.broker));
        }
        let mut projects = self.projects;
        let entries = file.jenkins.0.iter_mut().flat_map(|jenkins| jenkins.projects.iter_mut().flatten());
        for (name, entry) in entries {
            entry.keys.token = projects.remove(name).and_then(|project| project.ticket);
        }
        Ok(file)
    }

    /// Adds what another file says.
    ///
    /// # Errors
    /// They say different things of one key.
    pub(super) fn join(&mut self, other: New) -> Result<(), Error> {
        let sources = self.sources.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let source = other.sources.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let differ =
            |what: &str| Error(format!("{source} and {sources} differ in {what}: import them apart, into a file each"));
        fn one<T: PartialEq>(own: &mut Option<T>, other: Option<T>) -> bool {
            match (&own, other) {
                (Some(own), Some(other)) => *own == other,
                (None, other) => {
                    *own = other;
                    true
                }
                (Some(_), None) => true,
            }
        }
        fn named<K: Ord + ToString, T: PartialEq>(
            own: &mut BTreeMap<K, T>,
            other: BTreeMap<K, T>,
        ) -> Result<(), String> {
            for (key, value) in other {
                if own.get(&key).is_some_and(|own| *own != value) {
                    return Err(key.to_string());
                }
                own.insert(key, value);
            }
            Ok(())
        }
        match (self.weak_broker, other.weak_broker) {
            (true, false) => (self.broker, self.weak_broker) = (other.broker, false),
            (false, true) => {}
            _ if one(&mut self.broker, other.broker) => {}
            _ => return Err(differ("broker, its login, passcode or options")),
        }
        if !one(&mut self.vhost, other.vhost) {
            return Err(differ("host of connect_headers"));
        }
        if !one(&mut self.heart_beat, other.heart_beat) {
            return Err(differ("heart-beat"));
        }
        if !one(&mut self.ca_file, other.ca_file) {
            return Err(differ("ts_files"));
        }
        if !one(&mut self.incoming, other.incoming) {
            return Err(differ("incoming-dir"));
        }
        if !one(&mut self.jenkins_url, other.jenkins_url) {
            return Err(differ("jenkins-url"));
        }
        named(&mut self.topics, other.topics).map_err(|key| differ(&format!("the topic {key}")))?;
        named(&mut self.repos, other.repos).map_err(|key| differ(&format!("the repository {key}")))?;
        named(&mut self.farms, other.farms).map_err(|key| differ(&format!("the site {key}")))?;
        self.clones().map_err(|key| differ(&format!("the repository {key}")))?;
        named(&mut self.access, other.access).map_err(|key| differ(&format!("the site {key}")))?;
        named(&mut self.projects, other.projects).map_err(|key| differ(&format!("the project {key}")))?;
        for beat in other.beats {
            if !self.beats.contains(&beat) {
                self.beats.push(beat);
            }
        }
        self.sources.extend(other.sources);
        self.dropped.extend(other.dropped);
        self.warnings.extend(other.warnings);
        Ok(())
    }

    /// As a new file, without comments.
    pub(super) fn yaml(&self, secrets: &mut impl Secrets) -> Result<String, Error> {
        let mut out = String::new();
        let mut section = |key: &str, value: Value| -> Result<(), Error> {
            let empty = match &value {
                Value::Null => true,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if !empty {
                // A long URL stays on its line.
                let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
                let text = serde_saphyr::to_string_with_options(&json!({ key: value }), options)
                    .map_err(|error| Error(format!("can't write {key}: {error}")))?;
                out.push_str(&text);
            }
            Ok(())
        };
        if let Some(broker) = &self.broker {
            let (url, passcode) = login(broker, "broker", secrets);
            section("broker", url.into())?;
            section("passcode-file", passcode.into())?;
        }
        section("ca-file", json!(self.ca_file))?;
        section("vhost", json!(self.vhost))?;
        section("heart-beat", json!(self.heart_beat.map(show_duration)))?;
        let prefix = self.prefix();
        section("prefix", json!(prefix))?;
        let named = |(key, name): (&&str, &String)| {
            let default = prefix.as_ref().map(|prefix| default_name(prefix, key));
            (default.as_ref() != Some(name)).then(|| ((*key).to_owned(), Value::from(name.as_str())))
        };
        section("topics", Value::Object(self.topics.iter().filter_map(named).collect()))?;
        let clones = self.clones().map_err(|key| Error(format!("the repository {key} has two paths")))?;
        let repos = clones.into_iter().map(|(name, path)| {
            let bare = || json!({ "path": path });
            (name.to_string(), self.repos.get(name).map_or_else(bare, Repo::json))
        });
        section("repos", object(repos))?;
        section("sites", object(self.farms.iter().map(|(name, farm)| (name.to_string(), farm.json()))))?;
        let beats = self.beats.iter().map(|beat| {
            let (url, passcode) = login(&beat.broker, &beat.destination, secrets);
            sparse(json!({ "destination": beat.destination, "broker": url, "passcode-file": passcode }))
        });
        section("keepalive", Value::Array(beats.collect()))?;
        let access = |(name, it): (&SiteName, &Access)| {
            let kind = match it.kind {
                AccessKind::Nginx => "nginx",
                AccessKind::Haproxy => "haproxy",
            };
            (name.to_string(), json!({ "type": kind, "file": it.file }))
        };
        section("access", object(self.access.iter().map(access)))?;
        if let Some(incoming) = &self.incoming {
            section("packages", json!({ "repository": OLD_REPOSITORY, "incoming": incoming }))?;
        }
        let projects = self.projects.iter().map(|(name, project)| {
            let token = project.ticket.as_ref().and_then(|ticket| secrets.file(&format!("jenkins {name}"), ticket));
            let keys = json!({ "job": project.job, "ignore-refs": project.ignore_refs, "token-file": token });
            (name.to_string(), sparse(keys))
        });
        let projects = object(projects);
        section("jenkins", sparse(json!({ "url": self.jenkins_url, "projects": projects })))?;
        Ok(out)
    }

    /// All repositories and where their clones are; the name of one for which there are two places.
    fn clones(&self) -> Result<BTreeMap<&RepoName, &Path>, &RepoName> {
        let mut clones: BTreeMap<&RepoName, &Path> =
            self.repos.iter().map(|(name, repo)| (name, repo.path.as_path())).collect();
        for placed in self.farms.values().flat_map(|farm| &farm.repos) {
            if *clones.entry(&placed.repo).or_insert(&placed.path) != placed.path {
                return Err(&placed.repo);
            }
        }
        Ok(clones)
    }

    /// The one prefix of all names that are a prefix and their default's rest.
    fn prefix(&self) -> Option<String> {
        let prefixes: Vec<&str> = self
            .topics
            .iter()
            .filter_map(|(key, name)| {
                let (_, rest) = Topics::KEYS.iter().find(|(known, _)| known == key)?;
                let prefix = name.strip_prefix("/topic/")?.strip_suffix(rest)?.strip_suffix('.')?;
                let sound =
                    !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
                sound.then_some(prefix)
            })
            .collect();
        let first = prefixes.first()?;
        prefixes.iter().all(|prefix| prefix == first).then(|| (*first).to_owned())
    }
}

impl Repo {
    fn json(&self) -> Value {
        sparse(json!({
            "path": self.path,
            "user": self.user,
            "mode": self.mode.to_string(),
            "target": self.target,
            "branch": self.branch,
        }))
    }
}

fn default_name(prefix: &str, key: &str) -> String {
    Topics { prefix: prefix.to_owned(), renamed: BTreeMap::new() }.get(key)
}

/// The URL to write and the file that holds the passcode, if it is to be in one.
fn login(broker: &BrokerUrl, purpose: &str, secrets: &mut impl Secrets) -> (String, Option<String>) {
    let first = broker.hosts.first().and_then(|host| host.passcode.as_ref());
    if broker.hosts.iter().any(|host| host.passcode.as_ref() != first) {
        return (secrets.broker(broker), None);
    }
    let file = first.and_then(|passcode| secrets.file(purpose, &Secret(passcode.clone())));
    (broker.to_string(), file)
}

fn object(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Without what is not there.
pub(super) fn sparse(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    value
}
