//! The part of Jenkins' remote API that starts builds and follows them.
//!
//! | call | Jenkins' documentation |
//! |---|---|
//! | `POST /job/NAME/build`, `/buildWithParameters` | "Remote Access API", "Submitting jobs"; "Parameterized Build" |
//! | `GET /queue/item/ID/api/json` | "Remote Access API", "Queue item" |
//! | `GET /job/NAME/NUMBER/api/json` | the same of a build |
//! | `GET /crumbIssuer/api/json` | "CSRF Protection", "Working with scripted clients" |
//!
//! Only numbers are taken from what Jenkins answers, and addresses are made from the configured URL: no answer, and no
//! redirect, leads the credentials elsewhere. No secret is part of an address; errors are scrubbed of them all the same.

mod answer;
mod job;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config::{self, Secret};

use answer::Answer;
pub use job::Job;

/// The folder inside a user's spool in which builds wait for Jenkins.
pub const FOLDER: &str = "jenkins";

/// One request with its answer. Jenkins may be busy, but a person may also want to stop us.
const TIME: Duration = Duration::from_secs(30);
/// TCP and TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// Jetty closes idle connections after 30 s; a POST into one that is being closed could be lost or doubled.
const IDLE: Duration = Duration::from_secs(5);
/// No answer that we ask for is larger, in octets.
const BODY: u64 = 1 << 20;
/// Builds of a job among which one is looked for by its queue item.
const RECENT: usize = 100;

/// Why Jenkins did not do it. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It can't be reached, is starting or overloaded: the same request will do later.
    #[error("{0}")]
    Unavailable(String),
    /// This request broke something in it; others may pass, and this one later.
    #[error("{0}")]
    Failed(String),
    /// The credential is not accepted.
    #[error("{0}")]
    Login(String),
    /// It will say the same until somebody changes something.
    #[error("{0}")]
    Refused(String),
}

/// What became of an item of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// It waits; the text is Jenkins' reason.
    Waits(Option<String>),
    /// Somebody took it out of the queue.
    Cancelled,
    /// It is this build.
    Build(u64),
    /// Jenkins knows it no more: it forgets items five minutes after they left the queue.
    Gone,
}

/// How a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Building,
    /// It passed.
    Success,
    /// It was built, and tests failed.
    Unstable,
    /// It failed.
    Failure,
    /// It was ended by somebody, or never really began (`NOT_BUILT`).
    Aborted,
    /// Its record was deleted.
    Gone,
}

/// Who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `anonymous` without a credential.
    pub name: String,
    /// Jenkins' own version, as it says.
    pub version: Option<String>,
}

/// A Jenkins controller. One request at a time, however many threads ask.
pub struct Controller {
    /// Without a slash at its end.
    base: String,
    agent: ureq::Agent,
    /// `Authorization`, when there is a user.
    login: Option<Secret>,
    user: Option<String>,
    token: Option<Secret>,
    session: Mutex<Session>,
}

/// What Jenkins wants to see again: a crumb is good for the session that it was given to.
#[derive(Default)]
struct Session {
    crumb: Option<(String, String)>,
    cookie: Option<String>,
}

#[derive(Deserialize)]
struct Crumb {
    crumb: String,
    #[serde(rename = "crumbRequestField")]
    field: String,
}

#[derive(Deserialize)]
struct WireItem {
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    cancelled: bool,
    #[serde(default)]
    executable: Option<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
    #[serde(default, rename = "queueId")]
    queue_id: u64,
}

#[derive(Deserialize)]
struct WireBuild {
    building: bool,
    #[serde(default)]
    result: Option<String>,
}

#[derive(Deserialize)]
struct WireJob {
    #[serde(default)]
    builds: Vec<Numbered>,
}

#[derive(Deserialize)]
struct WireUser {
    name: String,
}

impl Controller {
    /// Reads the token and the roots; connects to nothing yet.
    ///
    /// # Errors
    /// What the configuration lacks; a file can't be read.
    pub fn new(config: &config::Jenkins) -> Result<Controller, config::Error> {
        let refuse = |what: &str| Err(config::Error(format!("jenkins: {what}")));
        let Some(url) = &config.url else {
            return refuse(
                "no url is configured: say where the controller is, such as url: https://jenkins.example.org/",
            );
        };
        let token = config.token.as_ref().map(config::SecretFile::read).transpose()?;
        let login = match (&config.user, &token) {
            (Some(user), Some(token)) => {
                Some(Secret(format!("Basic {}", BASE64.encode(format!("{user}:{}", token.0)))))
            }
            (None, None) => None,
            (Some(_), None) => return refuse("user: is there without token-file: its API token is wanted"),
            (None, Some(_)) => return refuse("token-file: is there without user: say whose API token it is"),
        };
        let mut agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIME))
            .timeout_connect(Some(CONNECT))
            .max_idle_age(IDLE)
            .user_agent(concat!("failcake/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https:") {
            let roots = RootCerts::new_with_certs(&roots(config)?);
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
                .root_certs(roots);
            agent = agent.tls_config(tls.build());
        }
        Ok(Controller {
            base: url.trim_end_matches('/').to_owned(),
            agent: agent.build().new_agent(),
            login,
            user: config.user.clone(),
            token,
            session: Mutex::default(),
        })
    }

    /// Puts a build into the queue, and returns the item's number; `None` when Jenkins took it and did not tell one.
    ///
    /// `token` is the job's own build token. It goes in the body: addresses end in logs.
    ///
    /// # Errors
    /// [`Error`]. After [`Error::Unavailable`] and [`Error::Failed`] the build may be in the queue all the same.
    pub fn start(
        &self,
        job: &Job,
        parameters: &[(String, String)],
        token: Option<&Secret>,
    ) -> Result<Option<u64>, Error> {
        let verb = if parameters.is_empty() { "build" } else { "buildWithParameters" };
        let path = format!("{}/{verb}", job.path());
        let token = token.map(|token| ("token", token.0.as_str()));
        let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = form(parameters.chain(token));
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = self.post(&path, &body, &session)?;
        // Only a POST without an API token needs one, so it is not asked for before Jenkins does.
        if answer.wants_crumb() && self.find_crumb(&mut session)? {
            answer = self.post(&path, &body, &session)?;
        }
        answer.started(job, self.user.as_deref()).map_err(|error| self.scrubbed(error, token.map(|(_, token)| token)))
    }

    /// Looks at an item of the queue.
    ///
    /// # Errors
    /// [`Error`].
    pub fn item(&self, id: u64) -> Result<Item, Error> {
        let path = format!("/queue/item/{id}/api/json?tree=why,cancelled,executable%5Bnumber%5D");
        Ok(match self.get::<WireItem>(&path)? {
            None => Item::Gone,
            Some(item) if item.cancelled => Item::Cancelled,
            Some(WireItem { executable: Some(build), .. }) => Item::Build(build.number),
            Some(item) => Item::Waits(item.why),
        })
    }

    /// Which of the job's newest builds was this item of the queue.
    ///
    /// # Errors
    /// [`Error`].
    pub fn build_of_item(&self, job: &Job, id: u64) -> Result<Option<u64>, Error> {
        let path = format!("{}/api/json?tree=builds%5Bnumber,queueId%5D%7B0,{RECENT}%7D", job.path());
        let builds = self.get::<WireJob>(&path)?.map(|job| job.builds).unwrap_or_default();
        Ok(builds.iter().find(|build| build.queue_id == id).map(|build| build.number))
    }

    /// Looks at a build.
    ///
    /// # Errors
    /// [`Error`].
    pub fn build(&self, job: &Job, number: u64) -> Result<State, Error> {
        let path = format!("{}/{number}/api/json?tree=building,result", job.path());
        let Some(build) = self.get::<WireBuild>(&path)? else { return Ok(State::Gone) };
        // A pipeline may have a result before its end.
        Ok(match build.result.as_deref() {
            _ if build.building => State::Building,
            None => State::Building,
            Some("SUCCESS") => State::Success,
            Some("UNSTABLE") => State::Unstable,
            Some("FAILURE") => State::Failure,
            Some(_) => State::Aborted,
        })
    }

    /// A build's page, for people.
    pub fn build_url(&self, job: &Job, number: u64) -> String {
        format!("{}{}/{number}/", self.base, job.path())
    }

    /// Who we are to Jenkins: whether the credential is good.
    ///
    /// # Errors
    /// [`Error`].
    pub fn identity(&self) -> Result<Identity, Error> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.ask("/whoAmI/api/json?tree=name", &session)?;
        let version = answer.version.clone();
        let user: Option<WireUser> = self.read(answer)?;
        match user {
            Some(user) => Ok(Identity { name: user.name, version }),
            None => Err(Error::Refused(format!("{} is no Jenkins: correct url:", self.base))),
        }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.ask(path, &session)?;
        self.read(answer)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: Answer) -> Result<Option<T>, Error> {
        answer.read(self.user.as_deref()).map_err(|error| self.scrubbed(error, None))
    }

    /// `false`: it has no crumbs (404), so that was not what it refused for.
    fn find_crumb(&self, session: &mut Session) -> Result<bool, Error> {
        *session = Session::default();
        let answer = self.ask("/crumbIssuer/api/json", session)?;
        session.cookie = answer.cookie.clone();
        let crumb: Option<Crumb> = self.read(answer)?;
        // A field's name that is no header's name would be an error of ours later.
        let crumb = crumb.filter(|crumb| {
            let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            word(&crumb.field) && word(&crumb.crumb)
        });
        session.crumb = crumb.map(|crumb| (crumb.field, crumb.crumb));
        Ok(session.crumb.is_some())
    }

    fn post(&self, path: &str, body: &str, session: &Session) -> Result<Answer, Error> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(login) = &self.login {
            request = request.header("Authorization", &login.0);
        }
        if let Some((field, crumb)) = &session.crumb {
            request = request.header(field, crumb);
        }
        if let Some(cookie) = &session.cookie {
            request = request.header("Cookie", cookie);
        }
        let request = request.content_type("application/x-www-form-urlencoded");
        Answer::of(&self.base, request.send(body), BODY)
    }

    fn ask(&self, path: &str, session: &Session) -> Result<Answer, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(login) = &self.login {
            request = request.header("Authorization", &login.0);
        }
        if let Some(cookie) = &session.cookie {
            request = request.header("Cookie", cookie);
        }
        Answer::of(&self.base, request.call(), BODY)
    }

    /// Whatever a page of Jenkins repeated of what it was sent.
    fn scrubbed(&self, error: Error, token: Option<&str>) -> Error {
        let secrets: Vec<&str> = self.token.iter().map(|token| token.0.as_str()).chain(token).collect();
        let clean = |text: String| secrets.iter().fold(text, |text, secret| text.replace(secret, "***"));
        match error {
            Error::Unavailable(text) => Error::Unavailable(clean(text)),
            Error::Failed(text) => Error::Failed(clean(text)),
            Error::Login(text) => Error::Login(clean(text)),
            Error::Refused(text) => Error::Refused(clean(text)),
        }
    }
}

/// `ca-file` and nothing else, or the system's roots.
fn roots(config: &config::Jenkins) -> Result<Vec<Certificate<'static>>, config::Error> {
    let Some(file) = &config.ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            let text = "jenkins: this system has no CA certificates: install ca-certificates or set ca-file";
            return Err(config::Error(text.to_owned()));
        }
        return Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect());
    };
    let told = |what: String| config::Error(format!("jenkins: ca-file {}: {what}", file.display()));
    let read = CertificateDer::pem_file_iter(file).map_err(|error| told(error.to_string()))?;
    let read: Result<Vec<_>, _> = read.map(|der| der.map(|der| Certificate::from_der(&der).to_owned())).collect();
    let read = read.map_err(|error| told(format!("is no sound PEM: {error}")))?;
    if read.is_empty() { Err(told("holds no certificate in PEM".to_owned())) } else { Ok(read) }
}

/// `application/x-www-form-urlencoded`.
fn form<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        let separator = if body.is_empty() { "" } else { "&" };
        let _ = write!(body, "{separator}{}={}", percent(name), percent(value));
    }
    body
}

/// All but RFC 3986's unreserved characters as `%XX`: right in a path and in a form.
fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}
