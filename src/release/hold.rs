//! A person's freeze of a site: a file that says who, since when and why. No lock: it is meant to outlive who made it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::record::When;
use super::{Error, Place, at, open};

/// Who wants nothing deployed or rolled back, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold {
    /// What is held; the file stands in its folder and does not say it.
    #[serde(skip)]
    pub(super) site: String,
    /// Who.
    pub who: String,
    /// Since when.
    pub since: When,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "held by {} since {}: {}", self.who, self.since, self.reason)
    }
}

impl Place {
    fn hold_file(&self) -> PathBuf {
        self.root.join(".failcake/hold")
    }

    /// The freeze that is on, if any. A file that can't be understood freezes as well: somebody put it there.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub fn hold(&self) -> Result<Option<Hold>, Error> {
        let path = self.hold_file();
        let file = match open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at("read", &path)(e)),
        };
        let made = file.metadata().and_then(|meta| meta.modified()).map_err(at("read", &path))?;
        let mut text = String::new();
        file.take(64 * 1024).read_to_string(&mut text).map_err(at("read", &path))?;
        let hold = serde_json::from_str(&text).unwrap_or_else(|_| Hold {
            site: String::new(),
            who: "somebody".to_owned(),
            since: jiff::Timestamp::try_from(made).map_or_else(|_| When::now(), When),
            reason: format!("{} does not say why", path.display()),
        });
        Ok(Some(Hold { site: self.site.clone(), ..hold }))
    }

    /// Refuses when a freeze is on.
    ///
    /// # Errors
    /// [`Error::OnHold`].
    pub fn check_hold(&self) -> Result<(), Error> {
        self.hold()?.map_or(Ok(()), |hold| Err(Error::OnHold(hold)))
    }

    /// Freezes the site. What is under way goes on, but does not switch any more. Killed here, it leaves a file that is
    /// empty, and freezes as well.
    ///
    /// # Errors
    /// [`Error::HeldAlready`]: two people's freezes would be lifted by one of them.
    pub fn put_on_hold(&self, who: &str, reason: &str) -> Result<Hold, Error> {
        self.make()?;
        let path = self.hold_file();
        let folder = self.root.join(".failcake");
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let hold = Hold { site: self.site.clone(), who: who.to_owned(), since: When::now(), reason: reason.to_owned() };
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.hold()?.map_or_else(|| at("create", &path)(e), Error::HeldAlready));
            }
            Err(e) => return Err(at("create", &path)(e)),
        };
        let written = serde_json::to_vec(&hold).map_err(io::Error::from).and_then(|text| {
            file.write_all(&text)?;
            file.sync_all()?;
            File::open(&folder)?.sync_all()
        });
        written.map_err(at("write", &path))?;
        Ok(hold)
    }

    /// Lifts the freeze; gives it, or `None` when there was none.
    ///
    /// # Errors
    /// The disk says no.
    pub fn lift_hold(&self) -> Result<Option<Hold>, Error> {
        let path = self.hold_file();
        let hold = self.hold()?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &path)(e)),
            _ => {}
        }
        Ok(hold)
    }
}
