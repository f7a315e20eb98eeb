//! One delivery, from headers and body to the messages that tell it. Nothing is written here.

use std::collections::BTreeMap;

use ring::digest;

use super::Answer;
use super::naming::{self, Known};
use crate::config::{self, Config, SecretFile};
use crate::forge::{self, Happened, Headers, Origin, Provider};
use crate::message::{Event, EventId};
use crate::name::RepoName;
use crate::seen::Key;
use crate::stomp::Frame;

/// Who may say what, and where it goes.
#[derive(Debug)]
pub struct Door {
    known: Vec<Known>,
    /// Of the repositories that have their own.
    secrets: BTreeMap<RepoName, SecretFile>,
    /// Of all others.
    secret: Option<SecretFile>,
    insecure: bool,
    commits: String,
    humans: String,
}

/// A delivery that was believed and understood.
#[derive(Debug)]
pub struct Letter {
    /// By which a repetition is known; `None` when the forge gave it no id.
    pub key: Option<Key>,
    /// What is said on the bus.
    pub frames: Vec<Frame>,
    /// One line, for `spool list`.
    pub label: String,
}

impl Door {
    /// Takes what is configured. The secrets themselves are read for each delivery, so a new one counts at once.
    ///
    /// # Errors
    /// There is no secret at all, and it is not to be `insecure`.
    pub fn new(config: &Config, insecure: bool) -> Result<Door, config::Error> {
        let own = |repo: &config::Repo| Some((repo.name.clone(), repo.webhook_secret.clone()?));
        let door = Door {
            known: config.repos.values().map(|repo| Known::new(repo.name.clone(), repo.url.as_deref())).collect(),
            secrets: config.repos.values().filter_map(own).collect(),
            secret: config.webhook.secret.clone(),
            insecure,
            commits: config.bus.topics.get("commits"),
            humans: config.bus.topics.get("events-webhook"),
        };
        if door.secret.is_none() && door.secrets.is_empty() && !insecure {
            return Err(config::Error(
                "no webhook secret is configured, so anybody could say anything: put one into a file, name it with \
                 `webhook: { secret-file: FILE }` (or `secret-file:` of a repository) and give it to the forge; or \
                 accept everything with --insecure"
                    .to_owned(),
            ));
        }
        Ok(door)
    }

    /// Reads every secret once, so that a missing file is told at the start and not by the first delivery.
    ///
    /// # Errors
    /// As [`SecretFile::read`].
    pub fn try_secrets(&self) -> Result<(), config::Error> {
        self.secret.iter().chain(self.secrets.values()).try_for_each(|file| file.read().map(drop))
    }

    /// Believes a delivery or not, and reads it. `provider` is who must have sent it; `None`: whoever the headers name.
    ///
    /// # Errors
    /// The answer when there is nothing to tell: 401, 400, 200 for a ping, 500 when a secret can't be read.
    pub fn judge(&self, provider: Option<Provider>, headers: &Headers, body: &[u8]) -> Result<Letter, Answer> {
        let provider = provider.or_else(|| Provider::detect(headers));
        // Looked at before it is believed, but only for whose secret it must be signed with.
        let origin = provider.and_then(|provider| forge::origin(provider, headers, body).ok().flatten());
        let repo = origin.and_then(|origin| self.name(&origin).ok());
        self.believe(provider, repo.as_ref(), headers, body)?;
        self.read(provider, headers, body)
    }

    /// Reads a delivery that is believed.
    ///
    /// # Errors
    /// The answer when there is nothing to tell: 400, 200 for a ping.
    pub fn read(&self, provider: Option<Provider>, headers: &Headers, body: &[u8]) -> Result<Letter, Answer> {
        let wrong = |error: forge::Error| Answer::new(400, error.to_string());
        let provider = provider.ok_or_else(|| wrong(forge::Error::Provider))?;
        let Some(origin) = forge::origin(provider, headers, body).map_err(wrong)? else {
            return Err(Answer::new(200, "nothing to tell: it names no repository"));
        };
        let repo = self.name(&origin).map_err(wrong)?;
        let happened = forge::read(provider, headers, body, repo.clone()).map_err(wrong)?;
        self.letter(identity(provider, &repo, headers), happened)
    }

    /// What the bus calls the repository.
    fn name(&self, origin: &Origin) -> Result<RepoName, forge::Error> {
        naming::find(&self.known, origin).map_or_else(|| origin.own_name(), |known| Ok(known.name.clone()))
    }

    /// The secret is that of the name under which it will be told, so that who knows one repository's secret can't
    /// speak for another, whatever URL or name the body pretends.
    fn believe(
        &self,
        provider: Option<Provider>,
        repo: Option<&RepoName>,
        headers: &Headers,
        body: &[u8],
    ) -> Result<(), Answer> {
        let file = repo.and_then(|repo| self.secrets.get(repo)).or(self.secret.as_ref());
        let Some(file) = file else {
            return match self.insecure {
                true => Ok(()),
                false => Err(Answer::new(401, "no secret is configured for this repository")),
            };
        };
        let secret = file.read().map_err(|error| {
            log::error!("a delivery could not be checked: {error}");
            Answer::new(500, "the secret can't be read here; the log of failcake says why")
        })?;
        match provider {
            None => Err(Answer::new(401, "it has no X-GitHub-Event, X-Gitlab-Event or X-Gitea-Event header")),
            Some(provider) if forge::is_authentic(provider, &secret.0, headers, body) => Ok(()),
            Some(_) => Err(Answer::new(401, "its signature or token is missing or wrong")),
        }
    }

    fn letter(&self, key: Option<Key>, happened: Happened) -> Result<Letter, Answer> {
        let now = jiff::Timestamp::now();
        let id = |part| key.map_or_else(EventId::new, |key| EventId::derived(hash(&[&key, part])));
        let (event, line) = match happened {
            Happened::Nothing(why) => return Err(Answer::new(200, format!("nothing to tell: {why}"))),
            Happened::Human(line) => (None, line),
            Happened::Push(push) => (Some(push.event(id(b"event"), now)), push.subject()),
        };
        let human = Event::human_with(id(b"human"), now, &line);
        let mut frames = Vec::with_capacity(2);
        frames.extend(event.map(|event| Frame::send(&self.commits, event.headers, event.body.into_bytes())));
        frames.push(Frame::send(&self.humans, human.headers, human.body.into_bytes()));
        Ok(Letter { key, frames, label: line })
    }
}

/// What the forge calls this delivery. The repository belongs to it: who may speak for one repository must not be able
/// to make another's delivery look like a repetition.
fn identity(provider: Provider, repo: &RepoName, headers: &Headers) -> Option<Key> {
    let id = provider.delivery_id(headers)?;
    let provider: &[u8] = match provider {
        Provider::Github => b"github",
        Provider::Gitlab => b"gitlab",
        Provider::Gitea => b"gitea",
    };
    Some(hash(&[provider, repo.as_str().as_bytes(), id.as_bytes()]))
}

fn hash(parts: &[&[u8]]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // With its length, so that no two lists of parts read the same.
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut key = Key::default();
    key.copy_from_slice(&context.finish().as_ref()[..16]);
    key
}
