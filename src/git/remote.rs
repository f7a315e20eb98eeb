//! A local repository kept like its remote: clone it when it is missing, fetch, prune, repack.
//!
//! Two kinds are told apart. A clone of our own (bare, `failcake.own` in its configuration) mirrors the remote's
//! branches and tags name by name. A clone that somebody else made keeps its own branches: the remote's go to
//! `refs/remotes/origin/*`, its tags to `refs/tags/*`, and tags that only it has are left alone.
//!
//! What has gone from the remote is never pruned by `git fetch`, which would do it before anybody could see that the
//! remote suddenly lists nothing. It is deleted by name after a look at the remote's list, and before the fetch, so
//! that `foo` can make room for `foo/bar`.

mod damage;
mod look;
mod look_up;
mod refs;
mod work_tree;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::lock::{self, Lock};
use super::{Call, Error, Refs, create_command, deletions, is_local, os, parse_refs, parse_symref};
use crate::name::{RefKind, RefName, Rev};
use crate::process::{Stop, User};
use damage::Doubt;
pub use look::{Looked, Problem};

/// A file in clones of our own.
const OWN: &str = "failcake.own";

/// A repository to keep fresh.
#[derive(Debug, Clone, Copy)]
pub struct Repo<'a> {
    /// Where it is or shall be; absolute.
    pub path: &'a Path,
    /// Where to clone it from. A clone of somebody else's is fetched from its own `origin`.
    pub url: Option<&'a str>,
    /// Whose it is: git runs as that user.
    pub user: Option<&'a User>,
    /// For each call of git, and for the wait until another failcake is done with it.
    pub timeout: Duration,
    /// Ends git early.
    pub stop: Option<&'a Stop>,
    /// What is cloned anew gets a work tree, for [`check_out`](Self::check_out), instead of being a bare mirror.
    pub work_tree: bool,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Fetch at once: something is new there. What is gone from the remote stays until a thorough look.
    Quick,
    /// Compare with the remote's list first. Nothing is fetched when nothing changed.
    Thorough,
}

/// One reference that moved, by its name at the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Full name at the remote.
    pub name: RefName,
    /// What it was; `None` when it is new.
    pub old: Option<Rev>,
    /// What it is; `None` when it is gone.
    pub new: Option<Rev>,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The repository was missing and has been cloned; every reference is then a change.
    pub cloned: bool,
    /// In the order of their names.
    pub changes: Vec<Change>,
    /// git could not read the clone that was here before: it was set aside, and this is a new one.
    pub replaced: Option<Replaced>,
}

/// A clone that git could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Where it is now.
    pub aside: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Where things are in an existing repository.
struct Layout {
    /// The repository, free of symbolic links.
    repo: PathBuf,
    git_dir: PathBuf,
    /// We made it.
    own: bool,
}

impl Layout {
    /// The folder of references that holds the remote's branches here.
    fn branches(&self) -> &'static str {
        if self.own { "refs/heads/" } else { "refs/remotes/origin/" }
    }

    /// The remote's name for a reference here; `None` for those that are not the remote's.
    fn remote_name(&self, local: &[u8]) -> Option<RefName> {
        if local.starts_with(b"refs/tags/") {
            return RefName::from_bytes(local).ok();
        }
        let branch = local.strip_prefix(self.branches().as_bytes())?;
        RefName::from_bytes(&[b"refs/heads/", branch].concat()).ok()
    }

    /// The other way round.
    fn local_name<'a>(&self, name: &'a RefName) -> Cow<'a, [u8]> {
        if self.own || name.kind() == RefKind::Tag {
            return Cow::Borrowed(name.as_bytes());
        }
        Cow::Owned([self.branches().as_bytes(), name.short_bytes()].concat())
    }

    /// What the remote has no more, of that which only the remote can have put here.
    fn gone(&self, local: &Refs, listing: &Refs) -> Refs {
        let ours = |name: &RefName| self.own || name.kind() == RefKind::Branch;
        let missing = |(name, _): &(&RefName, &Rev)| ours(name) && !listing.contains_key(*name);
        local.iter().filter(missing).map(|(name, rev)| (name.clone(), rev.clone())).collect()
    }
}

impl Repo<'_> {
    /// Makes the repository like its remote.
    ///
    /// # Errors
    /// Whatever git, the file system or another failcake in the same repository brings; the repository is then as it
    /// was or nearer to the remote, and the next update continues.
    pub fn update(&self, look: Look) -> Result<Updated, Error> {
        let Some(layout) = self.find()? else { return self.clone_missing() };
        // These few files are not looked at by all of git's verbs, so an emptied HEAD may go unnoticed until a push comes.
        if layout.own && damage::structure(&layout.git_dir).is_some() {
            let error = Error::NotRepository(self.path.to_owned());
            return self.replace_damaged(&layout, Doubt::Slight, error);
        }
        let result = self.locked(&layout, || match look {
            Look::Thorough => self.converge(&layout),
            Look::Quick => match self.fetch_news(&layout) {
                // Most likely `foo` is in the way of `foo/bar`. Whatever it is, the list tells.
                Err(Error::Failed { why, .. }) if why.contains("cannot lock ref") => self.converge(&layout),
                other => other,
            },
        });
        match result {
            Err(error) => match damage::doubt(&error) {
                Some(doubt) => self.replace_damaged(&layout, doubt, error),
                None => Err(error),
            },
            ok => ok,
        }
    }

    /// Lets git repack when it thinks that it should (`gc.auto`), so that a clone does not grow for ever. Call it
    /// when an update brought something and has been told: it may take a while.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn tidy(&self) -> Result<(), Error> {
        let Some(layout) = self.find()? else { return Ok(()) };
        self.locked(&layout, || {
            let mut command = create_command(Some(&layout.repo));
            // Not `git maintenance`: that would have gc as its child, and only our own children die with us.
            command.args(["gc", "--auto", "--quiet"]);
            self.call().run("gc", command, None).map(drop)
        })
    }

    fn call(&self) -> Call<'_> {
        Call { user: self.user, timeout: self.timeout, stop: self.stop }
    }

    /// `None` when there is nothing at the path yet.
    fn find(&self) -> Result<Option<Layout>, Error> {
        let fail = |source| Error::Io { what: "look at", path: self.path.to_owned(), source };
        let repo = match fs::canonicalize(self.path) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let dot_git = repo.join(".git");
        let git_dir = if dot_git.is_dir() {
            dot_git
        } else if dot_git.is_file() {
            // A linked work tree or a submodule: git knows where its repository is.
            let mut command = create_command(Some(&repo));
            command.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
            let output = self.call().run("rev-parse", command, None)?;
            PathBuf::from(os(output.trim_ascii_end()))
        } else if repo.join("HEAD").is_file() && repo.join("objects").is_dir() {
            repo.clone()
        } else if is_own(&repo) {
            // What makes it a repository is missing: the first look at it tells.
            repo.clone()
        } else if fs::read_dir(&repo).map_err(fail)?.next().is_none() {
            return Ok(None);
        } else {
            return Err(Error::NotRepository(self.path.to_owned()));
        };
        let own = is_own(&git_dir);
        Ok(Some(Layout { repo, git_dir, own }))
    }

    /// Does `work` with the repository to ourselves, after what a killed run left locked has been cleared; once more
    /// when a lock from before the machine's start was in the way.
    fn locked<T>(&self, layout: &Layout, work: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let lock = Lock::take(&layout.git_dir, self.user, self.timeout, self.stop)?;
        if let Some(since) = lock.interrupted {
            lock::clear_stale(&layout.git_dir, &layout.repo, Some(since));
        }
        let mut result = work();
        if let Err(Error::Failed { why, .. }) = &result
            && why.contains(".lock': File exists")
            && lock::clear_stale(&layout.git_dir, &layout.repo, None) > 0
        {
            result = work();
        }
        // After a git that was cut off the lock is only dropped: the next run then looks for what it left.
        if !result.as_ref().is_err_and(Error::was_cut) {
            lock.release();
        }
        result
    }

    /// Fetches without looking first.
    fn fetch_news(&self, layout: &Layout) -> Result<Updated, Error> {
        let before = self.local_refs(layout)?;
        self.fetch(layout)?;
        self.finish(layout, &before)
    }

    /// Looks at the remote's list and does what is to be done.
    fn converge(&self, layout: &Layout) -> Result<Updated, Error> {
        let listing = self.list_remote(layout)?;
        let before = self.local_refs(layout)?;
        let branches = |refs: &Refs| refs.keys().filter(|name| name.kind() == RefKind::Branch).count();
        if branches(&listing) == 0 && branches(&before) > 0 {
            return Err(Error::NoBranches(branches(&before)));
        }
        let gone = layout.gone(&before, &listing);
        let news = listing.iter().any(|(name, rev)| before.get(name) != Some(rev));
        if gone.is_empty() && !news {
            return Ok(Updated { cloned: false, changes: Vec::new(), replaced: None });
        }
        if !gone.is_empty() {
            let names: Vec<_> = gone.iter().map(|(name, rev)| (layout.local_name(name), rev)).collect();
            self.delete_refs(layout, names.iter().map(|(name, rev)| (&**name, *rev)))?;
        }
        if news {
            self.fetch(layout)?;
        }
        self.finish(layout, &before)
    }

    /// What an update has brought; in a clone of our own HEAD names a branch that is there.
    fn finish(&self, layout: &Layout, before: &Refs) -> Result<Updated, Error> {
        let after = self.local_refs(layout)?;
        if layout.own && !after.is_empty() && !has_head(&layout.git_dir, &after) {
            self.follow_head(layout, &after)?;
        }
        Ok(Updated { cloned: false, changes: diff(before, &after), replaced: None })
    }

    /// Deletes those that are still where they were.
    fn delete_refs<'a>(&self, layout: &Layout, refs: impl Iterator<Item = (&'a [u8], &'a Rev)>) -> Result<(), Error> {
        let mut command = create_command(Some(&layout.repo));
        command.args(["update-ref", "-z", "--stdin"]);
        self.call().run("update-ref", command, Some(&deletions(refs))).map(drop)
    }

    fn fetch(&self, layout: &Layout) -> Result<(), Error> {
        let mut command = self.remote_command(Some(layout))?;
        command.args(["fetch", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules"]);
        // Exactly what the refspecs below say: no pruning (see above), no tags by the way, no second mapping from the
        // clone's configuration. Repacking has its own time.
        command.args(["--no-prune", "--no-tags", "--refmap=", "--no-auto-maintenance"]);
        command.arg("--").arg(self.remote(layout));
        command.arg(format!("+refs/heads/*:{}*", layout.branches())).arg("+refs/tags/*:refs/tags/*");
        self.call().run("fetch", command, None).map(drop)
    }

    /// The remote's branches and tags.
    fn list_remote(&self, layout: &Layout) -> Result<Refs, Error> {
        let mut command = self.remote_command(Some(layout))?;
        command.args(["ls-remote", "--quiet", "--heads", "--tags", "--"]).arg(self.remote(layout));
        let mut refs = parse_refs(&self.call().run("ls-remote", command, None)?);
        // A branch called HEAD has no place among remote-tracking references: there HEAD is the default branch.
        refs.retain(|name, _| layout.own || name.as_bytes() != b"refs/heads/HEAD");
        Ok(refs)
    }

    /// Makes HEAD the remote's default branch, if that is known and here.
    fn follow_head(&self, layout: &Layout, refs: &Refs) -> Result<(), Error> {
        let mut command = self.remote_command(Some(layout))?;
        command.args(["ls-remote", "--quiet", "--symref", "--"]).arg(self.remote(layout)).arg("HEAD");
        let output = self.call().run("ls-remote", command, None)?;
        if let Some(head) = parse_symref(&output).filter(|head| refs.contains_key(head)) {
            let mut command = create_command(Some(&layout.repo));
            command.args(["symbolic-ref", "HEAD"]).arg(head.as_os_str());
            self.call().run("symbolic-ref", command, None)?;
        }
        Ok(())
    }

    /// The remote as an argument. Our own clone follows `url:` when that changes.
    fn remote(&self, layout: &Layout) -> &str {
        self.url.filter(|_| layout.own).unwrap_or("origin")
    }

    /// A command that may have to talk to a remote over ssh.
    fn remote_command(&self, layout: Option<&Layout>) -> Result<Command, Error> {
        let dir = layout.map(|layout| layout.repo.as_path());
        let mut command = create_command(dir);
        let is_url = layout.is_none_or(|layout| layout.own);
        if !self.url.is_some_and(|url| is_url && is_local(url))
            && let Some(ssh) = self.call().ssh_command(dir)?
        {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        Ok(command)
    }

    /// The remote's references as they are here, by their names at the remote.
    fn local_refs(&self, layout: &Layout) -> Result<Refs, Error> {
        // In this process where that is possible, which saves one. Not so for another user's repository, which
        // libgit2 refuses like git does, and for the formats (reftable) that it does not know.
        if let Ok(refs) = read_refs(layout) {
            return Ok(refs);
        }
        let mut command = create_command(Some(&layout.repo));
        // The type is asked for, and not printed, because git then looks for the object: references alone may all be
        // like the remote's in a clone that has lost a pack.
        let look = if layout.own { "%(if)%(objecttype)%(then)%(end)" } else { "" };
        let format = format!("--format=%(objectname) %(refname)%(if)%(symref)%(then) %(symref)%(end){look}");
        command.args(["for-each-ref", &format, "--"]);
        command.args([layout.branches().trim_end_matches('/'), "refs/tags"]);
        let refs = parse_refs(&self.call().run("for-each-ref", command, None)?);
        Ok(refs.into_iter().filter_map(|(name, rev)| Some((layout.remote_name(name.as_bytes())?, rev))).collect())
    }

    /// Clones into a folder beside the path and renames it: there is never half a clone at the path.
    ///
    /// A crash leaves that folder; the next clone of the same path removes it. While a clone is under way its folder
    /// is locked, so nobody takes it for a leftover.
    fn clone_missing(&self) -> Result<Updated, Error> {
        let Some(url) = self.url else { return Err(Error::NoUrl(self.path.to_owned())) };
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Error::NotRepository(self.path.to_owned()));
        };
        fs::create_dir_all(parent).map_err(io_error("create", parent))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".failcake-");
        if self.others_are_done(parent, &prefix)? {
            return self.update(Look::Thorough);
        }
        let (folder, _lock) = new_folder(parent, &prefix)?;
        let result = self.clone_to(&folder, url, parent);
        if !matches!(result, Ok(Some(_))) {
            // What can't be removed now is removed as a leftover next time.
            let _ = fs::remove_dir_all(&folder);
        }
        match result? {
            Some(updated) => Ok(updated),
            None => self.update(Look::Thorough),
        }
    }

    /// `None` when somebody else had put something at the path meanwhile.
    fn clone_to(&self, folder: &Path, url: &str, parent: &Path) -> Result<Option<Updated>, Error> {
        let refs = self.clone_into(folder, url)?;
        match fs::rename(folder, self.path) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => return Ok(None),
            Err(e) => return Err(io_error("rename the new clone to", self.path)(e)),
        }
        sync_folder(parent)?;
        Ok(Some(Updated { cloned: true, changes: diff(&Refs::new(), &refs), replaced: None }))
    }

    /// A clone of our own, durable, in an empty folder.
    fn clone_into(&self, folder: &Path, url: &str) -> Result<Refs, Error> {
        if let Some(user) = self.user {
            let owner = (Some(user.uid), Some(user.gid));
            nix::unistd::chown(folder, owner.0, owner.1).map_err(|e| io_error("hand over", folder)(e.into()))?;
        }
        let mut command = self.remote_command(None)?;
        command.args(["clone", "--quiet", "--origin", "origin"]);
        command.args(if self.work_tree { &["--no-checkout"][..] } else { &["--bare", "-c", "failcake.own=true"] });
        // A path is cloned like a URL, not by hard links into somebody else's objects; no hooks from templates.
        command.args(["--no-local", "--template=", "--"]).arg(url).arg(folder);
        self.call().run("clone", command, None)?;
        let git_dir = if self.work_tree { folder.join(".git") } else { folder.to_owned() };
        let layout = Layout { repo: folder.to_owned(), git_dir, own: !self.work_tree };
        // git has made the objects and references durable. The mark outlives a configuration that a crash has emptied.
        if layout.own {
            let mark = folder.join(OWN);
            fs::File::create(&mark).and_then(|file| file.sync_all()).map_err(io_error("create", &mark))?;
            sync_folder(folder)?;
        }
        self.local_refs(&layout)
    }

    /// Removes what killed clones have left. When one is under way, waits for its end and says `true`.
    fn others_are_done(&self, parent: &Path, prefix: &OsString) -> Result<bool, Error> {
        let until = Instant::now() + self.timeout;
        let mut waited = false;
        for entry in fs::read_dir(parent).map_err(io_error("read", parent))?.flatten() {
            if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                continue;
            }
            loop {
                match lock_folder(&entry.path()) {
                    // Best effort: what a git that is just dying still writes there is removed next time.
                    Ok(_lock) => drop(fs::remove_dir_all(entry.path())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        waited = true;
                        if Instant::now() >= until {
                            let holder = format!("it clones to {:?}", entry.file_name());
                            return Err(Error::Busy { path: self.path.to_owned(), holder });
                        }
                        match self.stop {
                            Some(stop) if stop.wait(Duration::from_millis(50)) => return Err(Error::Stopped),
                            Some(_) => {}
                            None => std::thread::sleep(Duration::from_millis(50)),
                        }
                        continue;
                    }
                    Err(_) => {}
                }
                break;
            }
        }
        Ok(waited && self.path.exists())
    }
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// A new folder to clone into, locked. Between the two steps another run may take it for a leftover, lock it and remove
/// it: then there is no folder to lock, or none behind the lock, and another one is made.
fn new_folder(parent: &Path, prefix: &OsString) -> Result<(PathBuf, Flock<fs::File>), Error> {
    loop {
        let mut name = prefix.clone();
        name.push(uuid::Uuid::new_v4().simple().to_string());
        let folder = parent.join(name);
        fs::create_dir(&folder).map_err(io_error("create", &folder))?;
        match lock_folder(&folder) {
            Ok(lock) if folder.exists() => return Ok((folder, lock)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(io_error("lock", &folder)(error)),
        }
    }
}

/// Locks a folder until the result is dropped; `WouldBlock` when somebody has.
fn lock_folder(path: &Path) -> std::io::Result<Flock<fs::File>> {
    let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
    let folder = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Did we make it? Its configuration says so; a person who takes it over writes `failcake.own = false` there. Where it
/// says nothing any more, the mark does.
fn is_own(git_dir: &Path) -> bool {
    let path = git_dir.join("config");
    // Reading a pipe that the owner put there would not end.
    let said = path.is_file().then(|| git2::Config::open(&path).and_then(|config| config.get_bool("failcake.own")));
    match said {
        Some(Ok(own)) => own,
        _ => git_dir.join(OWN).is_file(),
    }
}

/// Reads references with libgit2.
fn read_refs(layout: &Layout) -> Result<Refs, git2::Error> {
    let flags = git2::RepositoryOpenFlags::NO_SEARCH;
    let repo = git2::Repository::open_ext(&layout.repo, flags, &[] as &[&std::ffi::OsStr])?;
    let mut refs = Refs::new();
    let objects = repo.odb()?;
    for reference in repo.references()? {
        let reference = reference?;
        if let (Some(name), Some(id)) = (layout.remote_name(reference.name_bytes()), reference.target()) {
            if layout.own && !objects.exists(id) {
                return Err(git2::Error::from_str("a reference without its object"));
            }
            refs.extend(id.to_string().parse().map(|rev| (name, rev)));
        }
    }
    Ok(refs)
}

/// Does HEAD name one of these references?
fn has_head(git_dir: &Path, refs: &Refs) -> bool {
    let Ok(head) = fs::read(git_dir.join("HEAD")) else { return false };
    match head.strip_prefix(b"ref: ") {
        Some(name) => RefName::from_bytes(name.trim_ascii()).is_ok_and(|name| refs.contains_key(&name)),
        None => true,
    }
}

fn diff(before: &Refs, after: &Refs) -> Vec<Change> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut changes: Vec<Change> = gone
        .chain(after.keys())
        .map(|name| Change { name: name.clone(), old: before.get(name).cloned(), new: after.get(name).cloned() })
        .filter(|change| change.old != change.new)
        .collect();
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

#[cfg(test)]
mod tests;
