//! What of an upload's way is on disk, in a folder of the repository that nobody else enters.
//!
//! ```text
//! REPOSITORY/.failcake/
//!   lock           flock'ed by who takes packages in
//!   running        a reprepro was started and has not ended
//!   new-ID/        is being filled; of a dead run: removed, for the originals are still where they were
//!   taken-ID/      all of it is here and durable: the originals are removed, reprepro gets it
//!   told-ID/       reprepro said yes, and the bus was told: its files go to the archive
//!   refused-ID/    reprepro said no, and the bus was told: its files go beside the incoming ones
//!     job.json     what it is, and where it came from
//!     reason       why it was refused
//!     files/       copies: whatever becomes of the originals, this is what was looked at, added and told
//! ```
//!
//! Killed anywhere, the next run goes on where the folder's name says. What is done twice then is harmless: reprepro takes
//! the same file twice, and what is told twice has the same event-id.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::upload::{Not, Stamp, Upload, is_changes, is_package};
use super::{Error, Facts, at, deb};
use crate::durable::{self, Durable};
use crate::name::{Distribution, PackageFile};
use crate::process::Stop;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    New,
    Taken,
    Told,
    Refused,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::New => "new-",
            State::Taken => "taken-",
            State::Told => "told-",
            State::Refused => "refused-",
        }
    }
}

/// One file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub file: PackageFile,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// What is in it, if it is a package.
    pub facts: Option<Facts>,
    /// The file that it was copied from, to be removed; none where that lies in the archive.
    original: Option<Stamp>,
}

/// `job.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    distribution: Distribution,
    /// The incoming folder above the distribution's; none where somebody named the file, which then stays theirs.
    incoming: Option<PathBuf>,
    /// The .changes file first.
    items: Vec<Item>,
}

/// An upload that was taken.
#[derive(Debug)]
pub struct Job {
    id: String,
    note: Note,
    /// It was taken by an earlier run, which may have given it to reprepro.
    pub(super) is_old: bool,
}

impl Job {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where it goes.
    pub fn distribution(&self) -> &Distribution {
        &self.note.distribution
    }

    /// Its first file: the package, or the .changes file.
    pub fn file(&self) -> &PackageFile {
        &self.note.items[0].file
    }

    /// Its files.
    pub fn items(&self) -> &[Item] {
        &self.note.items
    }

    /// Its packages.
    pub fn packages(&self) -> impl Iterator<Item = (&Item, &Facts)> {
        self.note.items.iter().filter_map(|item| Some((item, item.facts.as_ref()?)))
    }

    /// What tells the coming of this file from another's, whenever it is told: of what came in, where it went and its
    /// content, so that an upload that came twice is one event; of what somebody named, that it was named this time.
    pub fn identity(&self, item: &Item) -> String {
        match self.came_in() {
            true => format!("{} {} {}", self.distribution(), item.file, item.sha256),
            false => format!("{} {}", self.id, item.file),
        }
    }

    /// Did it come from the incoming folder? Else somebody named it.
    pub fn came_in(&self) -> bool {
        self.note.incoming.is_some()
    }

    /// Was that file copied from there?
    pub(super) fn lies_in_archive(&self, name: &OsStr) -> bool {
        let is_it = |item: &&Item| OsStr::new(item.file.as_str()) == name;
        self.came_in() && self.note.items.iter().find(is_it).is_some_and(|item| item.original.is_none())
    }

    pub(super) fn is_changes(&self) -> bool {
        is_changes(OsStr::new(self.file().as_str()))
    }

    /// The folder that it came from.
    pub(super) fn origin(&self) -> Option<Result<Folder, Error>> {
        let incoming = self.note.incoming.as_ref()?;
        let open = || Folder::open(incoming)?.below(OsStr::new(self.note.distribution.as_str()));
        Some(open().map_err(at("open", &incoming.join(self.note.distribution.as_str()))))
    }
}

/// The folder of jobs, and the right to work on them. The lock ends with this process, however that ends.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    _lock: File,
}

impl Work {
    /// `None`: another has the lock and keeps it for longer than `patience`.
    pub(super) fn open(base: &Path, patience: Duration, stop: &Stop) -> Result<Option<Work>, Error> {
        let folder = base.join(".failcake");
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at("make", &folder)(error)),
            _ => {}
        }
        let path = folder.join("lock");
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let lock = options.open(&path).map_err(at("open", &path))?;
        let until = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
                Err(TryLockError::WouldBlock) if stop.wait(Duration::from_millis(50)) => return Err(Error::Stopped),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let work = Work { folder, _lock: lock };
        for name in work.names(State::New)? {
            let left = work.folder.join(name);
            fs::remove_dir_all(&left).map_err(at("remove", &left))?;
        }
        Ok(Some(work))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Copies an upload into a job of its own. Without success nothing is left, and the originals are untouched.
    pub(super) fn fill(
        &self,
        upload: Upload,
        distribution: &Distribution,
        incoming: Option<&Path>,
        timeout: Duration,
        stop: &Stop,
    ) -> Result<Job, Not> {
        let id = uuid::Uuid::now_v7().to_string();
        let folder = self.place(State::New, &id);
        let filled = self.fill_folder(&folder, upload, distribution, incoming, timeout, stop).and_then(|note| {
            let taken = self.place(State::Taken, &id);
            fs::rename(&folder, &taken).map_err(at("rename", &folder))?;
            self.sync()?;
            Ok(Job { id, note, is_old: false })
        });
        if filled.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        filled
    }

    fn fill_folder(
        &self,
        folder: &Path,
        upload: Upload,
        distribution: &Distribution,
        incoming: Option<&Path>,
        timeout: Duration,
        stop: &Stop,
    ) -> Result<Note, Not> {
        let files = folder.join("files");
        fs::create_dir_all(&files).map_err(at("make", &files))?;
        let mut items = Vec::new();
        let are_many = upload.parts.len() > 1;
        for part in upload.parts {
            let path = files.join(part.name.as_str());
            let mut copy = fs::File::create_new(&path).map_err(at("make", &path))?;
            let sha256 = part.copy(&mut copy)?;
            copy.sync_all().map_err(at("write", &path))?;
            let facts = match is_package(OsStr::new(part.name.as_str())) {
                true => {
                    let which = if are_many { format!("{}: ", part.name) } else { String::new() };
                    Some(deb::read_facts(&path, timeout, stop)?.map_err(|why| Not::Ever(which + &why))?)
                }
                false => None,
            };
            let original = (incoming.is_some() && !part.is_archived).then_some(part.stamp);
            items.push(Item { file: part.name, sha256, facts, original });
        }
        let note = Note { distribution: distribution.clone(), incoming: incoming.map(Path::to_owned), items };
        let text = serde_json::to_vec(&note).map_err(io::Error::from).map_err(at("write", folder))?;
        durable::replace(folder, "job.json", &text, Durable::Now).map_err(at("write a note in", folder))?;
        for folder in [&files, folder] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("write", folder))?;
        }
        Ok(note)
    }

    /// The jobs that stand there, in the order that they were taken in.
    pub(super) fn jobs(&self, state: State) -> Result<Vec<Job>, Error> {
        let mut jobs = Vec::new();
        for name in self.names(state)? {
            let path = self.folder.join(&name).join("job.json");
            let text = fs::read(&path).map_err(at("read", &path))?;
            let note: Note = serde_json::from_slice(&text).map_err(io::Error::from).map_err(at("understand", &path))?;
            if note.items.is_empty() {
                return Err(at("understand", &path)(io::Error::other("it names no file")));
            }
            let id = name.strip_prefix(state.word()).unwrap_or_default().to_owned();
            jobs.push(Job { id, note, is_old: true });
        }
        Ok(jobs)
    }

    /// The copy of one of a job's files, while it is taken.
    pub(super) fn file(&self, job: &Job, item: &Item) -> PathBuf {
        self.place(State::Taken, &job.id).join("files").join(item.file.as_str())
    }

    /// Removes what was copied, from where it came from; what was put in its place meanwhile stays.
    pub(super) fn remove_originals(&self, job: &Job) -> Result<(), Error> {
        let Some(origin) = job.origin() else { return Ok(()) };
        let origin = origin?;
        for item in &job.note.items {
            let Some(original) = &item.original else { continue };
            let removed = origin.remove_if(OsStr::new(item.file.as_str()), |stat| Stamp::of(stat).is_same(original));
            removed.map_err(at("remove", &origin.path.join(item.file.as_str())))?;
        }
        origin.sync().map_err(at("write", &origin.path))
    }

    /// The bus was told: from here on it is not told again.
    pub(super) fn step(&self, job: &Job, to: State, reason: Option<&str>) -> Result<(), Error> {
        let from = self.place(State::Taken, &job.id);
        if let Some(reason) = reason {
            let text = format!("{reason}\n");
            durable::replace(&from, "reason", text.as_bytes(), Durable::Now).map_err(at("write a reason in", &from))?;
        }
        fs::rename(&from, self.place(to, &job.id)).map_err(at("rename", &from))?;
        self.sync()
    }

    /// Why it was refused.
    pub(super) fn reason(&self, job: &Job) -> Result<String, Error> {
        let path = self.place(State::Refused, &job.id).join("reason");
        fs::read_to_string(&path).map_err(at("read", &path))
    }

    /// The copies of a job, to be moved out of it.
    pub(super) fn copies(&self, job: &Job, state: State) -> Result<Folder, Error> {
        let path = self.place(state, &job.id).join("files");
        Folder::open(&path).map_err(at("open", &path))
    }

    /// The job is done.
    pub(super) fn forget(&self, job: &Job, state: State) -> Result<(), Error> {
        // Half removed it would be no job any more; what is new is cleared by the next run.
        let (path, doomed) = (self.place(state, &job.id), self.place(State::New, &job.id));
        fs::rename(&path, &doomed).and_then(|()| fs::remove_dir_all(&doomed)).map_err(at("remove", &path))
    }

    fn place(&self, state: State, id: &str) -> PathBuf {
        self.folder.join(format!("{}{id}", state.word()))
    }

    fn names(&self, state: State) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(at("list", &self.folder))? {
            let name = entry.map_err(at("list", &self.folder))?.file_name();
            names.extend(name.into_string().ok().filter(|name| name.starts_with(state.word())));
        }
        names.sort();
        Ok(names)
    }

    fn sync(&self) -> Result<(), Error> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at("write", &self.folder))
    }
}
