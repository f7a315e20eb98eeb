//! A clone that git can't read: what a power loss, a full disk years ago or a person has left of it.
//!
//! One of our own holds nothing that the remote does not have, so a new clone takes its place, and it is set aside. What
//! somebody else made may hold more: that is told. Neither happens for a remote that is away, for files that may not be
//! read, or for a disk that is full: the damage must be seen in the clone itself.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::lock::Lock;
use super::super::{Error, create_command, one_line};
use super::{Layout, Refs, Replaced, Repo, Updated, diff, io_error, new_folder, sync_folder};
use crate::process::Outcome;

/// Clones set aside of one repository that are kept: they are for whoever wants to know what happened.
const KEPT: usize = 2;

/// Words of a git that could not read what is here. They may be of the remote's, so they prove nothing; but without
/// them a remote that is away costs no reading of the whole clone.
const HINTS: [&str; 17] = [
    "bad object",
    "bad config",
    "cannot lock ref",
    "corrupt",
    "does not point to a valid object",
    "failed to read",
    "index file",
    "inflate",
    "invalid object",
    "loose object",
    "missing",
    "not a git repository",
    "packed-refs",
    "packfile",
    "unable to read",
    "unable to resolve reference",
    "unable to unpack",
];

/// Words of what is no damage, or must not be answered by writing more.
const ELSEWHERE: [&str; 9] = [
    "Permission denied",
    "Operation not permitted",
    "dubious ownership",
    "Input/output error",
    "No space left",
    "Read-only file system",
    "Too many open files",
    "ut of memory",
    "Cannot allocate memory",
];

/// How closely a clone is worth to be looked at, after git failed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A few small files.
    Slight,
    /// Everything.
    Strong,
}

/// May it be that git failed because it can't read the clone?
pub(super) fn doubt(error: &Error) -> Option<Doubt> {
    let Error::Failed { verb, why, .. } = error else { return None };
    if ELSEWHERE.iter().any(|word| why.contains(word)) {
        return None;
    }
    let asks_the_remote = matches!(verb.as_str(), "fetch" | "ls-remote");
    let is_hinted = HINTS.iter().any(|hint| why.contains(hint));
    Some(if asks_the_remote && !is_hinted { Doubt::Slight } else { Doubt::Strong })
}

impl Repo<'_> {
    /// Puts a new clone in the place of one of our own that git can't read. `error` is what it said, and is given back
    /// when the clone is sound.
    pub(super) fn replace_damaged(&self, layout: &Layout, doubt: Doubt, error: Error) -> Result<Updated, Error> {
        // Nobody else works in it, nor replaces it meanwhile.
        let _lock = Lock::take(&layout.git_dir, self.user, self.timeout, self.stop)?;
        let Some(why) = self.damage(layout, doubt)? else { return Err(error) };
        let stays = |why, remedy| Error::Damaged { path: layout.repo.clone(), why, remedy };
        if !layout.own {
            let remedy = "somebody else made it, so it stays; repair it, or move it away and it is cloned anew";
            return Err(stays(why, remedy.to_owned()));
        }
        let Some(url) = self.url else {
            return Err(stays(why, "there is no `url:` to clone it from anew".to_owned()));
        };
        match self.exchange(&layout.repo, url) {
            Ok((refs, aside)) => {
                let changes = diff(&Refs::new(), &refs);
                Ok(Updated { cloned: true, changes, replaced: Some(Replaced { aside, why }) })
            }
            Err(Error::Stopped) => Err(Error::Stopped),
            Err(error) => Err(stays(why, format!("it stays until it can be cloned anew: {error}"))),
        }
    }

    /// Clones, then exchanges: as long as no new clone can be had the old one stays where it is.
    ///
    /// A crash leaves the half clone beside it, or, after the exchange, the old one under that name: the next clone of
    /// the same path removes either.
    fn exchange(&self, place: &Path, url: &str) -> Result<(Refs, PathBuf), Error> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(Error::NotRepository(place.to_owned()));
        };
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".failcake-");
        self.others_are_done(parent, &prefix)?;
        let (folder, _lock) = new_folder(parent, &prefix)?;
        let exchanged = self.clone_into(&folder, url).and_then(|refs| {
            let new = Layout { repo: folder.clone(), git_dir: folder.clone(), own: true };
            self.inherit_passed(&new, place)?;
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let done = nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &folder, nix::fcntl::AT_FDCWD, place, flags);
            done.map(|()| refs).map_err(|errno| io_error("put the new clone at", place)(errno.into()))
        });
        let refs = match exchanged {
            Ok(refs) => refs,
            Err(error) => {
                // What can't be removed now is removed as a leftover next time.
                let _ = fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        let aside = aside(parent, name, &folder);
        sync_folder(parent)?;
        Ok((refs, aside))
    }

    /// How the clone is damaged, as far as that can be told from here; `None` when it is sound or can't be told.
    fn damage(&self, layout: &Layout, doubt: Doubt) -> Result<Option<String>, Error> {
        let mut why = structure(&layout.git_dir);
        // First what is quick: is everything there? Then every octet.
        for how in ["--connectivity-only", "--full"] {
            if why.is_none() && doubt == Doubt::Strong {
                let mut command = create_command(Some(&layout.repo));
                command.args(["fsck", how, "--no-dangling", "--no-progress"]);
                let outcome = self.call().outcome("fsck", command, None)?;
                why = (!outcome.status.success()).then(|| unreadable(&outcome)).flatten();
            }
        }
        let uid = self.user.map_or_else(nix::unistd::geteuid, |user| user.uid).as_raw();
        Ok(why.filter(|_| is_readable(&layout.git_dir, uid)))
    }
}

/// Renames the old clone to where a person finds it, and removes those of earlier times over [`KEPT`]. Gives where it
/// is.
fn aside(parent: &Path, name: &std::ffi::OsStr, folder: &Path) -> PathBuf {
    let mut prefix = name.to_owned();
    prefix.push(".damaged-");
    let mut earlier: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()))
        .map(|entry| entry.path())
        .collect();
    // Their names hold the time.
    earlier.sort();
    for path in earlier.iter().rev().skip(KEPT - 1) {
        let _ = fs::remove_dir_all(path);
    }
    let mut new = prefix;
    new.push(format!(
        "{}-{}",
        jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"),
        &uuid::Uuid::new_v4().simple().to_string()[..8]
    ));
    let new = parent.join(new);
    match fs::rename(folder, &new) {
        Ok(()) => new,
        Err(_) => folder.to_owned(),
    }
}

/// What is wrong with the files that make a folder a repository.
pub(super) fn structure(git_dir: &Path) -> Option<String> {
    let is_missing =
        |name: &str| matches!(fs::metadata(git_dir.join(name)), Err(error) if error.kind() == ErrorKind::NotFound);
    if let Some(name) = ["HEAD", "objects", "refs", "config"].into_iter().find(|name| is_missing(name)) {
        return Some(format!("{name} is missing"));
    }
    // Reading a pipe that the owner put there would not end.
    if !git_dir.join("HEAD").is_file() {
        return Some("HEAD is no file".to_owned());
    }
    let mut head = Vec::new();
    let read = fs::File::open(git_dir.join("HEAD")).and_then(|file| file.take(4096).read_to_end(&mut head));
    let head = head.trim_ascii_end();
    let is_head = head.strip_prefix(b"ref: ").map_or_else(
        || head.len() >= 40 && head.iter().all(u8::is_ascii_hexdigit),
        |name| name.trim_ascii_start().starts_with(b"refs/"),
    );
    if read.is_ok() && !is_head {
        return Some("HEAD names nothing".to_owned());
    }
    let config = git_dir.join("config");
    let no_config =
        config.is_file() && git2::Config::open(&config).and_then(|config| config.get_bool("core.bare")).is_err();
    no_config.then(|| "its config is damaged".to_owned())
}

/// May the user read all of it? git says of what it may not read that it is not there.
fn is_readable(folder: &Path, uid: u32) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| {
        let Ok(found) = entry.metadata() else { return false };
        // Groups are left out: what only they may read is not worth a guess.
        let may = uid == 0 || found.mode() & (if found.uid() == uid { 0o400 } else { 0o004 }) != 0;
        may && (!found.is_dir() || is_readable(&entry.path(), uid))
    })
}

/// The first thing that `fsck` can't read. What it only finds to be against the rules (`error in commit …`) was pushed
/// like that, and can be read.
fn unreadable(outcome: &Outcome) -> Option<String> {
    let said = [outcome.stderr.as_slice(), outcome.stdout.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    if ELSEWHERE.iter().any(|word| said.contains(word)) || said.contains("not a git repository") {
        return None;
    }
    let harmless = ["error in ", "warning", "notice:", "dangling ", "hint:", "Checking "];
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| !harmless.iter().any(|word| line.starts_with(word))).map(one_line)
}
