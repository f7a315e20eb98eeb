//! The releases of a site: their folders, the link to the one that is live, and the record of what became of each.
//!
//! ```text
//! SITE/current -> releases/20260131120000-1a2b3c4     switched by rename, so it is never missing
//! SITE/releases/…                                     whole trees; one that is being built has a record that says so
//! SITE/shared/…                                       linked into each release
//! SITE/trees/…                                        what link farms lead to
//! SITE/revisions.log                                  a line per deploy and rollback
//! SITE/.failcake/lock                                 held (flock) while anything here is changed
//! SITE/.failcake/hold                                 a person's freeze: who, since when, why
//! SITE/.failcake/releases/RELEASE.json .log .index    its record, what its scripts said, its git index
//! SITE/.failcake/spare/tree index                     a retired release of which the next one is made
//! SITE/.failcake/trash/…                              being deleted
//! ```
//!
//! A site that is changed in place has a folder `current/` instead of the link, no `releases/`, and one index,
//! `.failcake/in-place.index`; a release is then no more than its record.
//!
//! Everything that changes something takes a [`Held`], which only [`Place::lock`] gives: it has the lock, and what
//! an earlier run left when it was killed is repaired.

mod held;
mod hold;
mod lock;
mod record;
mod revision;
mod target;
mod tidy;
mod trees;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

pub use held::{Begun, Held};
pub use hold::Hold;
pub use lock::{Holder, Lock};
pub use record::{NoReleaseName, Record, ReleaseName, RolledBack, State, Step, When};
pub use revision::{Part, Revision, short};
pub use target::{NoTarget, Target};
pub use tidy::AROUND;
pub use trees::TreeName;

use crate::process::Stop;

/// Releases that failed or were rolled back from are kept, this many, for whoever looks for the cause.
pub const KEEP_FAILED: usize = 2;
/// Octets of a record; what failed and why is the longest part of it.
const RECORD_MAX: u64 = 1024 * 1024;
/// Names of temporary links to be renamed to `current` begin so.
const NEW_LINK: &str = ".current-";

/// What can go wrong with a site's folders.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("can't {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is a {kind}, not a link to a release, so it can't be switched. Make it the first release: mkdir -p {site}/releases \
         && mv {site}/current {site}/releases/initial && ln -s releases/initial {site}/current", path.display()
    )]
    NotALink { path: PathBuf, kind: &'static str, site: String },
    #[error(
        "can't make the site's folder {path}: {source}. Make it for its user first: install -d -o {user} {path}",
        path = path.display()
    )]
    NoFolder { path: PathBuf, user: String, source: io::Error },
    #[error("there is no {} yet: nothing was ever deployed there", .0.display())]
    NothingHere(PathBuf),
    #[error(
        "{} is no folder, and mode: in-place changes a folder. Is it a site with releases? Then leave the mode out; else \
         make the folder in its place", .0.display()
    )]
    NotAFolder(PathBuf),
    #[error("{0}. `failcake unhold {site}` lifts that", site = .0.site)]
    OnHold(Hold),
    #[error("{0}")]
    HeldAlready(Hold),
    #[error("busy: {holder} has the lock; try again later, or wait with --wait")]
    Busy { holder: String },
    #[error("stopped by a signal")]
    Stopped,
    #[error("{} is missing, and every release is to have a link to it: create it first, then deploy again", .0.display())]
    NoSharedFile(PathBuf),
    #[error("shared path {}: {why}", name.display())]
    BadShared { name: PathBuf, why: String },
    #[error("{} can't be put into the release: the commit has something that is no folder at {}", name.display(), part.display())]
    InTheWay { name: PathBuf, part: PathBuf },
    #[error("there is no release {target} here, and none that was live and is good was deployed as that: {known}")]
    NoRelease { target: Target, known: String },
    #[error("{0}")]
    Unfit(String),
    #[error("there is no earlier good release to roll back to")]
    NothingBefore,
    #[error("release {0} is no longer whole: {1}")]
    NotWhole(ReleaseName, String),
}

/// For `map_err`: which operation failed on what.
fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// A site's folder. Reading needs no lock: every file in it is replaced as a whole.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    /// For messages.
    site: String,
    in_place: bool,
}

impl Place {
    /// The site of that name at `root`, which need not be there yet.
    pub fn new(root: &Path, site: &str) -> Place {
        Place { root: root.to_owned(), site: site.to_owned(), in_place: false }
    }

    /// The site of that name at `root`, whose one tree, `current/`, is changed in place.
    pub fn in_place(root: &Path, site: &str) -> Place {
        Place { root: root.to_owned(), site: site.to_owned(), in_place: true }
    }

    /// The link, or the tree that is changed in place.
    pub fn current_link(&self) -> PathBuf {
        self.root.join("current")
    }

    /// What releases share.
    pub fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    /// A release's folder.
    pub fn release(&self, name: &ReleaseName) -> PathBuf {
        if self.in_place { self.current_link() } else { self.root.join("releases").join(name.as_str()) }
    }

    /// What a release's scripts said.
    pub fn log(&self, name: &ReleaseName) -> PathBuf {
        self.records().join(format!("{name}.log"))
    }

    /// A release's git index.
    pub fn index(&self, name: &ReleaseName) -> PathBuf {
        if self.in_place { self.in_place_index() } else { self.records().join(format!("{name}.index")) }
    }

    /// For the index of one of a release's submodules while that is staged.
    pub fn part_index(&self, name: &ReleaseName) -> PathBuf {
        self.records().join(format!("{name}.part"))
    }

    fn in_place_index(&self) -> PathBuf {
        self.root.join(".failcake/in-place.index")
    }

    fn records(&self) -> PathBuf {
        self.root.join(".failcake/releases")
    }

    fn spare(&self) -> PathBuf {
        self.root.join(".failcake/spare")
    }

    fn trash(&self) -> PathBuf {
        self.root.join(".failcake/trash")
    }

    /// Where `current` points, or `None` before the first release.
    ///
    /// # Errors
    /// [`Error::NotALink`].
    pub fn current_target(&self) -> Result<Option<PathBuf>, Error> {
        let link = self.current_link();
        match fs::read_link(&link) {
            Ok(target) => Ok(Some(target)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                let kind = if link.is_dir() { "directory" } else { "file" };
                Err(Error::NotALink { path: link, kind, site: self.root.display().to_string() })
            }
            Err(e) => Err(at("read", &link)(e)),
        }
    }

    /// The release that is live, if `current` points to one of `releases/`.
    ///
    /// # Errors
    /// As [`current_target`](Self::current_target).
    pub fn current(&self) -> Result<Option<ReleaseName>, Error> {
        if self.in_place {
            let live =
                self.history()?.into_iter().filter(|record| record.left.is_none() && record.live_since.is_some());
            return Ok(live.max_by_key(|record| record.live_since).map(|record| record.release));
        }
        let Some(target) = self.current_target()? else { return Ok(None) };
        let inside = target.strip_prefix(&self.root).unwrap_or(&target);
        let mut parts = inside.components().filter(|part| *part != Component::CurDir);
        let name = match (parts.next(), parts.next(), parts.next()) {
            (Some(Component::Normal(folder)), Some(Component::Normal(name)), None) if folder == "releases" => name,
            _ => return Ok(None),
        };
        let name = name.to_str().and_then(|name| name.parse::<ReleaseName>().ok());
        Ok(name.filter(|name| self.release(name).is_dir()))
    }

    /// The record of a release, `None` if it has none that can be understood.
    pub fn record(&self, name: &ReleaseName) -> Option<Record> {
        let mut text = Vec::new();
        open(&self.records().join(format!("{name}.json"))).ok()?.take(RECORD_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice::<Record>(&text).ok().filter(|record| record.release == *name)
    }

    /// All records, oldest release first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn history(&self) -> Result<Vec<Record>, Error> {
        let names = list(&self.records())?;
        let names = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse::<ReleaseName>().ok());
        let mut history: Vec<Record> = names.filter_map(|name| self.record(&name)).collect();
        history.sort_by(|a, b| a.release.cmp(&b.release));
        Ok(history)
    }

    /// Who holds the lock now, for people.
    pub fn holder(&self) -> Option<String> {
        Lock::holder(&self.root.join(".failcake/lock"))
    }

    /// The release that a rollback from `current` goes to: live once, good, and older; the one that was live last.
    ///
    /// # Errors
    /// [`Error::NothingBefore`].
    pub fn before(&self, current: &ReleaseName) -> Result<ReleaseName, Error> {
        let history = self.history()?;
        let born = history.iter().find(|record| record.release == *current).and_then(|record| record.first_live);
        history
            .iter()
            .filter(|record| record.release != *current && record.is_good() && self.release(&record.release).is_dir())
            .filter(|record| born.is_none_or(|born| record.first_live < Some(born)))
            .max_by_key(|record| record.live_since)
            .map(|record| record.release.clone())
            .ok_or(Error::NothingBefore)
    }

    /// A release's [`Revision::id`], from its record or its `REVISION`.
    pub fn commit(&self, name: &ReleaseName) -> Option<String> {
        let read = || read_revision(&self.release(name)).map(|revision| revision.id());
        self.record(name).map_or_else(read, |record| record.commit)
    }

    /// The parts of a release that is a link farm, from its record or its `REVISION`; none of any other.
    pub fn parts(&self, name: &ReleaseName) -> Vec<Part> {
        if let Some(record) = self.record(name).filter(|record| !record.parts.is_empty()) {
            return record.parts;
        }
        let folder = self.release(name);
        let Some(Revision::Farm(parts)) = read_revision(&folder) else { return Vec::new() };
        let tree = |part: &Part| {
            let link = fs::read_link(folder.join(&part.target)).ok()?;
            link.parent()?.ends_with("trees").then(|| link.file_name()?.to_str()?.parse().ok()).flatten()
        };
        parts.into_iter().map(|part| Part { tree: tree(&part), ..part }).collect()
    }

    /// Are the shared paths there, as far as they can't be made? A path whose last part has no dot (`uploads`) is taken for
    /// a folder, which is made when it is missing; any other for a file. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NoSharedFile`], [`Error::BadShared`].
    pub fn check_shared(&self, shared: &[PathBuf]) -> Result<(), Error> {
        for name in shared {
            let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || name.as_os_str().is_empty() {
                return Err(Error::BadShared {
                    name: name.clone(),
                    why: "it is not a relative path without ..".into(),
                });
            }
            let path = self.shared().join(name);
            if !path.exists() && !is_folder_by_name(name) {
                return Err(Error::NoSharedFile(path));
            }
        }
        Ok(())
    }

    /// Makes the site's own folder, where its parent is: a path with more missing is more likely a mistake.
    ///
    /// # Errors
    /// [`Error::NoFolder`] says what to do.
    pub fn make(&self) -> Result<(), Error> {
        match fs::create_dir(&self.root) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
                let user = me.map_or_else(|| nix::unistd::geteuid().to_string(), |me| me.name);
                Err(Error::NoFolder { path: self.root.clone(), user, source: e })
            }
            _ => Ok(()),
        }
    }

    /// Takes the lock, makes the folders and repairs what a killed run left.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::OnHold`], [`Error::NotALink`], and whatever the disk says.
    pub fn lock(&self, who: &str, what: &str, wait: bool, stop: Option<&Stop>) -> Result<Held, Error> {
        if self.in_place {
            self.check_folder()?;
        } else {
            self.current_target()?;
        }
        self.check_hold()?;
        if !self.root.is_dir() {
            return Err(Error::NothingHere(self.root.clone()));
        }
        let folders = [self.records(), self.trash(), self.root.join("releases"), self.shared()];
        for folder in &folders[..if self.in_place { 2 } else { 4 }] {
            fs::create_dir_all(folder).map_err(at("create", folder))?;
        }
        let lock = Lock::take(&self.root.join(".failcake/lock"), who, what, wait, stop)?;
        let held = Held::new(self.clone(), lock);
        held.repair()?;
        // Again: it may have been put there while we waited.
        held.check_hold()?;
        Ok(held)
    }

    /// A link would be followed, and whatever it leads to changed.
    fn check_folder(&self) -> Result<(), Error> {
        let tree = self.current_link();
        match fs::symlink_metadata(&tree) {
            Ok(meta) if !meta.is_dir() => Err(Error::NotAFolder(tree)),
            _ => Ok(()),
        }
    }
}

/// The familiar line of `revisions.log` for a deploy.
pub fn deployed_line(record: &Record) -> String {
    let commit = record.commits();
    format!("Branch {} (at {commit}) deployed as release {} by {}", record.reference, record.release, record.who)
}

/// The familiar line of `revisions.log` for a rollback.
pub fn rolled_back_line(who: &str, to: &ReleaseName) -> String {
    format!("{who} rolled back to release {to}")
}

/// Is it a folder that may be made when it is missing (`uploads`), or a file that only a person can (`local.php`)?
fn is_folder_by_name(name: &Path) -> bool {
    !name.file_name().unwrap_or_default().as_bytes().contains(&b'.')
}

fn read_revision(folder: &Path) -> Option<Revision> {
    let path = folder.join("REVISION");
    // A commit's own link could lead to anything.
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    // A farm of a thousand parts fits.
    open(&path).ok()?.take(1024 * 1024).read_to_string(&mut text).ok()?;
    Revision::parse(&text)
}

/// To read from. A FIFO that somebody laid in the file's place holds nobody up: it is empty.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// A folder's names; none when it is not there.
fn list(folder: &Path) -> Result<Vec<OsString>, Error> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(at("read", folder)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(at("read", folder)(e)),
    }
}
