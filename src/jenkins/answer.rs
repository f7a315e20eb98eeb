//! What Jenkins answered, and what that means.

use super::{Error, Job};

/// An answer, read whole.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The controller's URL, for messages.
    pub base: String,
    pub status: u16,
    pub location: Option<String>,
    /// `X-Jenkins`: nothing else sends it.
    pub version: Option<String>,
    /// `X-Required-Permission`.
    pub permission: Option<String>,
    /// The session's cookies, as they are to be sent back.
    pub cookie: Option<String>,
    pub body: String,
}

impl Answer {
    /// Reads at most `most` octets of the body.
    pub(super) fn of(
        base: &str,
        got: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        most: u64,
    ) -> Result<Answer, Error> {
        let fail = |error: ureq::Error| Error::Unavailable(format!("{base}: {}", transport(&error)));
        let mut got = got.map_err(fail)?;
        let status = got.status().as_u16();
        let body = got.body_mut().with_config().limit(most).read_to_vec().map_err(fail)?;
        let header = |name: &str| {
            let value = got.headers().get(name)?.to_str().ok()?;
            Some(value.chars().take(2000).collect::<String>())
        };
        let cookies = got.headers().get_all("set-cookie").iter().take(8);
        let cookies = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next().map(str::trim));
        let cookies: Vec<&str> = cookies.filter(|cookie| cookie.len() < 4096 && cookie.contains('=')).collect();
        Ok(Answer {
            base: base.to_owned(),
            status,
            location: header("location"),
            version: header("x-jenkins"),
            permission: header("x-required-permission"),
            cookie: (!cookies.is_empty()).then(|| cookies.join("; ")),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// "No valid crumb was included in the request": HTML or plain, depending on the version.
    pub(super) fn wants_crumb(&self) -> bool {
        self.status == 403 && self.body.to_ascii_lowercase().contains("no valid crumb")
    }

    /// What the answer to a POST says of the build: the number of its queue item.
    pub(super) fn started(&self, job: &Job, user: Option<&str>) -> Result<Option<u64>, Error> {
        let location = self.location.as_deref().unwrap_or_default();
        match self.status {
            201 => Ok(item_in(location)),
            // Before 1.519, and where it has nothing to tell, Jenkins sends a browser back to the job's page.
            302 | 303 if self.is_page_of(job, location) => Ok(None),
            404 => Err(Error::Refused(format!(
                "{}: no job {job} is there{}: correct job:, or let the user see it (permission Job/Read)",
                self.base,
                user.map_or_else(String::new, |user| format!(", or {user} may not see it")),
            ))),
            409 => Err(Error::Refused(format!("{}: the job {job} takes no builds now: enable it", self.base))),
            400 | 405 => Err(Error::Refused(format!(
                "{}: the job {job} refused the request ({}{}): if it is parameterized, name its parameters below \
                 parameters:",
                self.base,
                self.status,
                self.words()
            ))),
            500 if self.body.contains("is not parameterized") => Err(Error::Refused(format!(
                "{}: the job {job} has no parameters: let it have them (\"This project is parameterized\"), or remove \
                 parameters:",
                self.base
            ))),
            _ => Err(self.error(user)),
        }
    }

    /// The JSON of a GET; `None` for 404.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, user: Option<&str>) -> Result<Option<T>, Error> {
        match self.status {
            200 => serde_json::from_str(&self.body).map(Some).map_err(|_| {
                let text = "answered with a page where its remote API answers with JSON";
                Error::Failed(format!(
                    "{} {text}: does url: lead to Jenkins itself, and not to a login page?",
                    self.base
                ))
            }),
            404 => Ok(None),
            _ => Err(self.error(user)),
        }
    }

    /// What any answer but the one that was hoped for means.
    fn error(&self, user: Option<&str>) -> Error {
        let (base, status, words) = (&self.base, self.status, self.words());
        let who = user.unwrap_or("anonymous");
        let location = self.location.as_deref().unwrap_or_default();
        let login = |what: &str| {
            let remedy = match user {
                Some(_) => "write a new API token (not the password) into token-file:",
                None => "set user: and token-file:",
            };
            Error::Login(format!("{base} {what}: {remedy}"))
        };
        match status {
            300..=399 if location.contains("login") || location.contains("securityRealm") => {
                login("sends us to its login page")
            }
            300..=399 => Error::Refused(format!("{base} sends us to {location:?}: set url: to where Jenkins is")),
            401 => login(&format!("does not accept the credential of {who} (401)")),
            403 => match &self.permission {
                Some(permission) => {
                    Error::Refused(format!("{base}: {who} lacks the permission {permission} (403): give it"))
                }
                None => Error::Refused(format!(
                    "{base} forbids it to {who} (403{words}): give the permissions Job/Build and Job/Read, and see \
                     whether the token is right"
                )),
            },
            404 => Error::Refused(format!("{base} has no such page (404): correct url:")),
            503 if self.body.contains("getting ready to work") => {
                Error::Unavailable(format!("{base} is starting (503)"))
            }
            429 | 501..=599 => Error::Unavailable(format!("{base} answered {status}{words}")),
            500 => Error::Failed(format!("{base} answered 500{words}: its log says more")),
            _ if self.version.is_none() => {
                Error::Refused(format!("{base} answered {status} as no Jenkins does: correct url:"))
            }
            _ => Error::Refused(format!("{base} answered {status}{words}: is this version of Jenkins very old?")),
        }
    }

    /// `: its words`, the title or the text of a page, shortened.
    fn words(&self) -> String {
        let lower = self.body.to_ascii_lowercase();
        let title = lower.find("<title>").and_then(|from| {
            let from = from + "<title>".len();
            Some(&self.body[from..from + lower[from..].find("</title>")?])
        });
        // Some put their reason into a paragraph of its own, below a title that says nothing.
        let text = title.unwrap_or(if self.body.contains('<') { "" } else { &self.body });
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        let text = text.trim();
        if text.is_empty() { String::new() } else { format!(": {text}") }
    }

    /// A redirect to the job's own page, absolute or not, but on this controller.
    fn is_page_of(&self, job: &Job, location: &str) -> bool {
        let own = location.starts_with('/') && !location.starts_with("//");
        let rest = location.strip_prefix(&self.base).or_else(|| own.then_some(location));
        matches!(location, "." | "./" | "..")
            || rest.is_some_and(|rest| rest.trim_end_matches('/').ends_with(&job.path()))
    }
}

/// `https://jenkins.example.org/queue/item/123/`, or that path alone.
fn item_in(location: &str) -> Option<u64> {
    let (_, rest) = location.rsplit_once("/queue/item/")?;
    rest.split('/').next()?.parse().ok()
}

/// A transport's error in words that say what to do.
fn transport(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::Timeout(_) => return "it did not answer in time: is it running, and is url: right?".to_owned(),
        ureq::Error::HostNotFound => return "its name has no address: correct url:".to_owned(),
        ureq::Error::BodyExceedsLimit(most) => return format!("its answer is larger than {most} octets"),
        other => other.to_string(),
    };
    let remedy = if text.to_ascii_lowercase().contains("certificate") || text.contains("UnknownIssuer") {
        "set ca-file: to the PEM of the CA that signed its certificate"
    } else {
        "is it running, and is url: right?"
    };
    format!("{text}: {remedy}")
}
