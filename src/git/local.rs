//! Reading a local clone: which commit a name means, and its files. No network, and nothing in the clone is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Call, Error, create_command};
use crate::name::{RefName, Rev};
use crate::process::{Stop, User};

/// Settings of a clone's owner that would make a tree differ from its commit, or its index unreadable without the clone.
const SETTINGS: [&str; 7] = [
    "core.sparseCheckout=false",
    "core.splitIndex=false",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "submodule.recurse=false",
    // The room `tree` reads it.
    "index.version=2",
    // Nobody checks it, and it takes a tenth of the time that a big tree needs.
    "index.skipHash=true",
];

/// A clone on this machine, to be read.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Its folder: bare (a mirror) or with a `.git`.
    pub path: &'a Path,
    /// Who reads it.
    pub user: Option<&'a User>,
    /// How long one call of git may take.
    pub timeout: Duration,
    /// Ends a call early.
    pub stop: Option<&'a Stop>,
}

/// What a name turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tag.
    Tag,
    /// A branch of the remote.
    Branch,
    /// A full commit id.
    Commit,
}

/// A tag of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The commit that it leads to.
    pub commit: Rev,
    /// When it was made; its commit's time when it has no text of its own. ISO 8601, as git writes it.
    pub date: String,
}

impl Local<'_> {
    /// The commit that `reference` means: a tag, else a branch of the remote, else a full commit id. One call of git.
    ///
    /// # Errors
    /// git failed. A name that means nothing is `None`.
    pub fn resolve(&self, reference: &str) -> Result<Option<(Kind, Rev)>, Error> {
        self.exists()?;
        let remote = self.branches();
        let names = [(Kind::Tag, format!("refs/tags/{reference}")), (Kind::Branch, format!("{remote}/{reference}"))];
        // Checked by git's own rules, so no name can be an expression (`v1~3`) or a second line.
        let legal = names.into_iter().filter(|(_, name)| name.parse::<RefName>().is_ok());
        let mut asked: Vec<(Kind, String)> = legal.collect();
        asked.extend(reference.parse::<Rev>().ok().map(|rev| (Kind::Commit, rev.to_string())));
        if asked.is_empty() {
            return Ok(None);
        }
        let input: String = asked.iter().map(|(_, name)| format!("{name}^{{commit}}\n")).collect();
        let mut command = self.command();
        command.args(["cat-file", "--batch-check=%(objectname)"]);
        let said = self.call().run("cat-file", command, Some(input.as_bytes()))?;
        let said = String::from_utf8_lossy(&said);
        // What is missing is told as `NAME missing`, which is no object id.
        let found =
            asked.iter().zip(said.lines()).find_map(|((kind, _), line)| Some((*kind, line.parse::<Rev>().ok()?)));
        Ok(found)
    }

    /// Makes the files of the folder `tree` those of `commit`, and the index file `index` a list of them; what an earlier
    /// index says is up to date is not written again. What no index names stays.
    ///
    /// git does the work, so filters, LFS, line ends, links and modes come out as in a checkout. Killed, it leaves a
    /// part of the files, the old index and `INDEX.lock`.
    ///
    /// # Errors
    /// git failed.
    pub fn read_tree(&self, commit: &Rev, tree: &Path, index: &Path) -> Result<(), Error> {
        let mut command = self.command_on(tree, index);
        command.args(["read-tree", "--reset", "-u", commit.as_str()]);
        self.call().run("read-tree", command, None).map(drop)
    }

    /// Is `commit` in the history of `tip`, or `tip` itself? Not when the clone lacks one of them.
    ///
    /// # Errors
    /// git could not be run.
    pub fn contains(&self, tip: &Rev, commit: &Rev) -> Result<bool, Error> {
        let mut command = self.command();
        command.args(["merge-base", "--is-ancestor", commit.as_str(), tip.as_str()]);
        Ok(self.call().outcome("merge-base", command, None)?.status.success())
    }

    /// Which files differ between two commits: git's status letter, a tab, the name; one per line.
    ///
    /// # Errors
    /// git failed.
    pub fn changes(&self, from: &Rev, to: &Rev) -> Result<String, Error> {
        let mut command = self.command();
        command.args(["diff-tree", "-r", "--no-renames", "--no-ext-diff", "--name-status", from.as_str(), to.as_str()]);
        Ok(String::from_utf8_lossy(&self.call().run("diff-tree", command, None)?).into_owned())
    }

    /// The tags that lead to a commit, newest first.
    ///
    /// # Errors
    /// git failed.
    pub fn tags(&self) -> Result<Vec<Tag>, Error> {
        self.exists()?;
        let mut command = self.command();
        const FORMAT: &str =
            "%(objecttype) %(objectname) %(*objecttype) %(*objectname) %(creatordate:iso-strict) %(refname:strip=2)";
        // The last key counts first; of one second, `v10` is newer than `v9`.
        command.args(["for-each-ref", "--sort=-version:refname", "--sort=-creatordate"]);
        command.args([&format!("--format={FORMAT}"), "refs/tags/"]);
        let said = self.call().run("for-each-ref", command, None)?;
        Ok(String::from_utf8_lossy(&said).lines().filter_map(parse_tag).collect())
    }

    /// The tags, then the branches of the remote, newest first.
    ///
    /// # Errors
    /// git failed.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        self.exists()?;
        let mut command = self.command();
        let branches = self.branches();
        command.args(["for-each-ref", "--sort=-version:refname", "--sort=-creatordate", "--format=%(refname)"]);
        command.args(["refs/tags", branches]);
        let said = self.call().run("for-each-ref", command, None)?;
        let text = String::from_utf8_lossy(&said);
        let of = |folder: &'static str| {
            text.lines().filter_map(move |name| name.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned))
        };
        Ok(of("refs/tags").chain(of(branches)).collect())
    }

    fn exists(&self) -> Result<(), Error> {
        if self.path.exists() { Ok(()) } else { Err(Error::NotCloned(self.path.to_owned())) }
    }

    /// Where the branches of the remote are: an existing clone's own are somebody's work, only a bare mirror's are the remote's.
    fn branches(&self) -> &'static str {
        if self.path.join(".git").exists() { "refs/remotes/origin" } else { "refs/heads" }
    }

    /// Where the submodules of `commit` come from, by their path.
    ///
    /// # Errors
    /// git failed: it has no `.gitmodules`, for one.
    pub fn submodule_urls(&self, commit: &Rev) -> Result<BTreeMap<PathBuf, String>, Error> {
        let mut command = self.command();
        command.args(["config", "--null", "--blob", &format!("{commit}:.gitmodules")]);
        command.args(["--get-regexp", r"^submodule\..*\.(path|url)$"]);
        Ok(parse_submodules(&self.call().run("config", command, None)?))
    }

    /// Does git know a program for `filter=NAME` of the attributes? Without one it checks out what is stored, in silence.
    ///
    /// # Errors
    /// git could not be run.
    pub fn has_filter(&self, name: &str) -> Result<bool, Error> {
        let mut command = self.command();
        command.args(["config", "--get-regexp", &format!(r"^filter\.{name}\.(smudge|process)$")]);
        Ok(self.call().outcome("config", command, None)?.status.success())
    }

    fn command(&self) -> Command {
        let mut command = create_command(Some(self.path));
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        // The configuration names this clone for this site, so it may belong to another user than the site's.
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.to_owned());
        for path in [real.join(".git"), real, self.path.to_owned()] {
            let mut setting = std::ffi::OsString::from("safe.directory=");
            setting.push(path);
            command.arg("-c").arg(setting);
        }
        // What a partial clone lacks is an error here: a deploy needs no network.
        command.env("GIT_NO_LAZY_FETCH", "1");
        command
    }

    fn command_on(&self, tree: &Path, index: &Path) -> Command {
        let mut command = self.command();
        command.env("GIT_WORK_TREE", tree).env("GIT_INDEX_FILE", index);
        command
    }

    fn call(&self) -> Call<'_> {
        Call { user: self.user, timeout: self.timeout, stop: self.stop }
    }
}

/// Reads a line of [`Local::tags`]. A tag of a tree, a blob or another tag is none of a commit.
fn parse_tag(line: &str) -> Option<Tag> {
    let mut words = line.splitn(6, ' ');
    let mut word = || words.next();
    let (kind, id, peeled_kind, peeled, date, name) = (word()?, word()?, word()?, word()?, word()?, word()?);
    let commit = match (kind, peeled_kind) {
        ("commit", _) => id,
        ("tag", "commit") => peeled,
        _ => return None,
    };
    Some(Tag { name: name.to_owned(), commit: commit.parse().ok()?, date: date.to_owned() })
}

/// Reads `submodule.NAME.path` and `.url` as `git config --null` writes them: key, line feed, value, NUL.
fn parse_submodules(output: &[u8]) -> BTreeMap<PathBuf, String> {
    let mut found: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for entry in output.split(|b| *b == 0) {
        let Some((key, value)) = std::str::from_utf8(entry).ok().and_then(|text| text.split_once('\n')) else {
            continue;
        };
        let Some((name, key)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        let both = found.entry(name).or_default();
        if key == "path" { both.0 = Some(value) } else { both.1 = Some(value) }
    }
    found.into_values().filter_map(|(path, url)| Some((PathBuf::from(path?), url?.to_owned()))).collect()
}
