//! A project on its server, read with the program `svn`: nothing of it is kept here.
//!
//! Architecture invariant: every call goes through [`Remote::create_command`] and [`Remote::run`], so none asks for a
//! password, stores one, runs an editor, or hangs; no name is taken for an option or for a peg revision.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::reference::Reference;
use super::xml::{Piece, pieces};
use crate::process::{self, Limits, Outcome, QUIET_SSH, Run, Stop, User};

/// Octets kept of what svn says: the properties of a hundred thousand folders fit.
const OUTPUT_MAX: usize = 64 * 1024 * 1024;
/// From TERM to KILL: svn leaves by itself when it is told.
const GRACE: Duration = Duration::from_secs(5);
/// Programs that svn would start for a person.
const NOT_FOR_PEOPLE: [&str; 4] = ["SVN_EDITOR", "SVN_MERGE", "VISUAL", "EDITOR"];

/// Why svn did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// svn ran and failed.
    #[error("svn {verb} {url}: {why}{}", .remedy.map(|r| format!(" ({r})")).unwrap_or_default())]
    Failed {
        /// `info`, `export`, ….
        verb: &'static str,
        /// Of what.
        url: String,
        /// The first lines of its stderr.
        why: String,
        /// What to do, for causes that are known.
        remedy: Option<&'static str>,
    },
    /// It took longer than `timeout:` of the repository.
    #[error("svn {verb} {url} was ended after {} s: the server is slow or hangs (`timeout:` of the repository)", .after.as_secs_f64())]
    TimedOut {
        /// `info`, `export`, ….
        verb: &'static str,
        /// Of what.
        url: String,
        /// The time-out.
        after: Duration,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
    /// What it said is not what svn says.
    #[error("svn {verb} {url} says something that makes no sense")]
    Nonsense {
        /// `info`, `list`, ….
        verb: &'static str,
        /// Of what.
        url: String,
    },
    /// A file has that name.
    #[error("{0} is a file, and only a folder can be deployed")]
    NoFolder(String),
    /// The folder to export to.
    #[error("can't write {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// svn could not be started.
    #[error("{source}{}", if is_missing(source) { ": apt-get install subversion" } else { "" })]
    Process {
        /// Why.
        #[from]
        source: process::Error,
    },
}

fn is_missing(error: &process::Error) -> bool {
    matches!(error, process::Error::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// A project on its server.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// Its URL, without a slash at its end.
    pub url: &'a str,
    /// Name and password for the server; `None`: what svn knows of its own.
    pub login: Option<(&'a str, Option<&'a str>)>,
    /// Who runs svn.
    pub user: Option<&'a User>,
    /// How long one call of it may take.
    pub timeout: Duration,
    /// Ends a call early.
    pub stop: Option<&'a Stop>,
}

/// What a reference turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The reference.
    pub reference: Reference,
    /// The revision at which it was looked up, and at which it is exported: nobody can exchange it in between.
    pub at: u64,
    /// The last revision that changed something in it.
    pub changed: u64,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name, without `tags/`.
    pub name: String,
    /// The last revision that changed something in it: as a rule the one that made it.
    pub changed: u64,
    /// When that was, as svn writes it; empty where nobody knows.
    pub date: String,
}

impl Remote<'_> {
    /// Looks up a reference, as it was in the revision `at`, or as it is; `None` when there is nothing of that name.
    ///
    /// # Errors
    /// svn failed: the server does not answer, or refuses the login.
    pub fn resolve(&self, reference: &Reference, at: Option<u64>) -> Result<Option<Found>, Error> {
        let own = if let Reference::Revision(number) = reference { Some(*number) } else { None };
        let peg = at.or(own).map_or_else(|| "HEAD".to_owned(), |number| number.to_string());
        let mut command = self.create_command("info");
        command.args(["--xml", "--", &format!("{}/{}@{peg}", self.url, reference.path())]);
        let outcome = self.run("info", command)?;
        if !outcome.status.success() {
            // Source: svn_error_codes.h. No such path in that revision, in two spellings, and no such revision.
            const NOTHING: [&str; 4] = ["W170000:", "E170000:", "E160013:", "E160006:"];
            let text = String::from_utf8_lossy(&outcome.stderr);
            return match NOTHING.iter().any(|code| text.contains(code)) {
                true => Ok(None),
                false => Err(self.failure("info", &outcome)),
            };
        }
        match read_info(&outcome.stdout) {
            Some((kind, ..)) if kind != "dir" => Err(Error::NoFolder(format!("{}/{}", self.url, reference.path()))),
            Some((_, at, changed)) => Ok(Some(Found { reference: reference.clone(), at, changed })),
            None => Err(Error::Nonsense { verb: "info", url: self.url.to_owned() }),
        }
    }

    /// The tags, newest first.
    ///
    /// # Errors
    /// svn failed: there is no `tags/`, for one.
    pub fn tags(&self) -> Result<Vec<Tag>, Error> {
        let mut command = self.create_command("list");
        command.args(["--xml", "--", &format!("{}/tags@HEAD", self.url)]);
        let outcome = self.succeed("list", command)?;
        let mut tags = read_list(&outcome.stdout);
        tags.sort_by(|a, b| (b.changed, &b.name).cmp(&(a.changed, &a.name)));
        Ok(tags)
    }

    /// The folders in it that have `svn:externals`.
    ///
    /// # Errors
    /// svn failed.
    pub fn externals(&self, found: &Found) -> Result<Vec<String>, Error> {
        let mut command = self.create_command("propget");
        command.args(["svn:externals", "--recursive", "--xml", "--", &self.pegged(found)]);
        let outcome = self.succeed("propget", command)?;
        Ok(read_externals(&outcome.stdout, &format!("{}/{}", self.url, found.reference.path())))
    }

    /// Writes its files into the folder `tree`: no externals, since svn would follow a link of the tree to wherever it leads.
    ///
    /// Keywords, line ends, links and modes come out as in a checkout. Killed, it leaves a part of the files.
    ///
    /// # Errors
    /// svn failed, or the disk is full.
    pub fn export(&self, found: &Found, tree: &Path) -> Result<(), Error> {
        let name = tree.file_name().unwrap_or_default();
        let mut command = self.create_command("export");
        command.args(["--quiet", "--force", "--ignore-externals", "--native-eol", "LF"]);
        command.args(["-r", &found.at.to_string(), "--", &self.pegged(found)]);
        // Standing beside it: what the way there is called (an `@`, a leading `-`) svn never sees.
        command.arg(Path::new(".").join(name)).current_dir(tree.parent().unwrap_or(tree));
        self.succeed("export", command).map(drop)
    }

    /// Which files differ: svn's status letter, a tab, the name; one per line.
    ///
    /// # Errors
    /// svn failed.
    pub fn changes(&self, from: &Found, to: &Found) -> Result<String, Error> {
        let mut command = self.create_command("diff");
        command.args(["--summarize", "--xml", "--old", &self.pegged(from), "--new", &self.pegged(to)]);
        let outcome = self.succeed("diff", command)?;
        Ok(read_changes(&outcome.stdout, &format!("{}/{}", self.url, from.reference.path())))
    }

    /// With the peg revision, behind which nothing is one: a name's own `@` is none then.
    fn pegged(&self, found: &Found) -> String {
        format!("{}/{}@{}", self.url, found.reference.path(), found.at)
    }

    /// Every call of svn is made here.
    fn create_command(&self, verb: &str) -> Command {
        let mut command = Command::new("svn");
        command.arg(verb);
        // Nobody sits there, and what is stored is the administrator's to store.
        command.args(["--non-interactive", "--no-auth-cache"]);
        // A server that stalls is given up before the time-out of the whole call.
        command.args(["--config-option", "servers:global:http-timeout=60"]);
        if let Some((name, password)) = self.login {
            command.arg(format!("--username={name}"));
            if password.is_some() {
                command.arg("--password-from-stdin");
            }
        }
        // Names as the UTF-8 that they are, messages in English.
        command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE");
        for name in NOT_FOR_PEOPLE {
            command.env_remove(name);
        }
        if std::env::var_os("SVN_SSH").is_none() {
            command.env("SVN_SSH", QUIET_SSH);
        }
        // Not in a working copy, whose settings would count.
        command.current_dir("/");
        command
    }

    fn succeed(&self, verb: &'static str, command: Command) -> Result<Outcome, Error> {
        let outcome = self.run(verb, command)?;
        if outcome.status.success() { Ok(outcome) } else { Err(self.failure(verb, &outcome)) }
    }

    fn run(&self, verb: &'static str, command: Command) -> Result<Outcome, Error> {
        let limits = Limits { timeout: self.timeout, grace: GRACE, output: OUTPUT_MAX };
        let input = self.login.and_then(|(_, password)| password).map(str::as_bytes);
        let outcome = Run { user: self.user, input, limits, stop: self.stop, lines: None }.run(command)?;
        if outcome.stopped {
            return Err(Error::Stopped);
        }
        if outcome.timed_out {
            return Err(Error::TimedOut { verb, url: self.url.to_owned(), after: self.timeout });
        }
        // Half an answer would be another one.
        if outcome.stdout.len() >= OUTPUT_MAX {
            return Err(Error::Nonsense { verb, url: self.url.to_owned() });
        }
        Ok(outcome)
    }

    fn failure(&self, verb: &'static str, outcome: &Outcome) -> Error {
        let text = String::from_utf8_lossy(&outcome.stderr[..outcome.stderr.len().min(16 * 1024)]);
        let lines = text.lines().map(|line| line.trim().trim_start_matches("svn: ")).filter(|line| !line.is_empty());
        let said: Vec<&str> = lines.filter(|line| !line.starts_with("warning: cannot set LC_")).take(2).collect();
        let why = match outcome.status.signal() {
            Some(signal) => format!("it was killed by signal {signal}"),
            None if said.is_empty() => "it failed and said nothing".to_owned(),
            None => said.join("; ").chars().filter(|c| !c.is_control()).take(500).collect(),
        };
        Error::Failed { verb, url: self.url.to_owned(), why, remedy: remedy(&text) }
    }
}

fn remedy(stderr: &str) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 6] = [
        ("E170001", "say login: and password-file: of the repository, or let its user log in once by hand"),
        ("E215004", "say login: and password-file: of the repository, or let its user log in once by hand"),
        ("E230001", "let svn trust the server's certificate: ssl-authority-files in /etc/subversion/servers"),
        ("Host key verification failed", "add the server to known_hosts of the user that runs svn"),
        ("Permission denied (publickey", "give the user that runs svn an SSH key that the server accepts"),
        ("No space left on device", "free some space, and try again"),
    ];
    REMEDIES.iter().find(|(cause, _)| stderr.contains(cause)).map(|(_, remedy)| *remedy)
}

/// Kind, revision and last changed revision of the one entry of `svn info --xml`.
fn read_info(said: &[u8]) -> Option<(String, u64, u64)> {
    let (mut entry, mut changed) = (None, None);
    for piece in pieces(said) {
        if let Piece::Begin(name, values) = piece {
            let value = |key: &str| values.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            match name.as_str() {
                "entry" => entry = Some((value("kind")?, value("revision")?.parse().ok()?)),
                "commit" => changed = value("revision")?.parse().ok(),
                _ => {}
            }
        }
    }
    let (kind, revision) = entry?;
    Some((kind, revision, changed?))
}

/// The folders of `svn list --xml`.
fn read_list(said: &[u8]) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut tag: Option<Tag> = None;
    let mut inside = String::new();
    for piece in pieces(said) {
        match piece {
            Piece::Begin(name, values) => {
                let value = |key: &str| values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
                if name == "entry" && value("kind") == Some("dir") {
                    tag = Some(Tag { name: String::new(), changed: 0, date: String::new() });
                }
                if name == "commit"
                    && let Some(tag) = &mut tag
                {
                    tag.changed = value("revision").and_then(|number| number.parse().ok()).unwrap_or_default();
                }
                inside = name;
            }
            Piece::Text(text) => match (&mut tag, inside.as_str()) {
                (Some(tag), "name") => tag.name = text,
                (Some(tag), "date") => tag.date = text,
                _ => {}
            },
            Piece::End(name) => {
                if name == "entry" {
                    // One with an odd name can't be named on a command line either.
                    tags.extend(tag.take().filter(|tag| format!("tags/{}", tag.name).parse::<Reference>().is_ok()));
                }
                inside.clear();
            }
        }
    }
    tags
}

/// The folders of `svn propget --xml`, relative to `root`; `.` for itself. A property that says nothing is none.
fn read_externals(said: &[u8], root: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut folder = String::new();
    let mut is_property = false;
    for piece in pieces(said) {
        let was_property = std::mem::replace(&mut is_property, false);
        match piece {
            Piece::Begin(name, _) if name == "property" => is_property = true,
            Piece::Begin(name, mut values) if name == "target" => {
                let path = values.iter_mut().find(|(key, _)| key == "path").map(|(_, path)| std::mem::take(path));
                folder = path.unwrap_or_default();
            }
            Piece::Text(text) if was_property && has_words(&text) => {
                let inside = below(&folder, root);
                if folders.last() != Some(&inside) {
                    folders.push(inside);
                }
            }
            _ => {}
        }
    }
    folders
}

fn has_words(externals: &str) -> bool {
    externals.lines().any(|line| !matches!(line.trim().chars().next(), None | Some('#')))
}

/// The paths of `svn diff --summarize --xml`, relative to `root`.
fn read_changes(said: &[u8], root: &str) -> String {
    let mut changes = String::new();
    let mut status = "?";
    for piece in pieces(said) {
        match piece {
            Piece::Begin(name, values) if name == "path" => {
                let value = |key: &str| values.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value);
                status = match (value("item"), value("props")) {
                    ("added", _) => "A",
                    ("deleted", _) => "D",
                    ("none", "modified") | ("modified", _) => "M",
                    _ => "?",
                };
            }
            Piece::Text(text) if !text.trim().is_empty() => {
                changes.push_str(&format!("{status}\t{}\n", below(&text, root).replace(char::is_control, "?")));
            }
            _ => {}
        }
    }
    changes
}

/// A URL that svn wrote, for people: relative to `root`, without its escapes.
fn below(url: &str, root: &str) -> String {
    let (url, root) = (unescape(url), unescape(root));
    // svn escapes fewer characters than we do, so both are compared as what they mean.
    match url.strip_prefix(&root).unwrap_or(&url).trim_matches('/') {
        "" => ".".to_owned(),
        inside => inside.to_owned(),
    }
}

fn unescape(url: &str) -> String {
    let mut bytes = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_has_folders_only_and_no_name_that_can_not_be_said() {
        let entry = |kind: &str, name: &str, rev: u64| {
            format!(
                "<entry kind=\"{kind}\"><name>{name}</name><commit revision=\"{rev}\"><date>2026</date></commit></entry>"
            )
        };
        let said =
            [entry("dir", "v1 &amp; é", 3), entry("file", "README", 4), entry("dir", "..", 5), entry("dir", "", 6)];
        let tags = read_list(format!("<lists><list path=\"x\">{}</list></lists>", said.concat()).as_bytes());
        assert_eq!(tags, [Tag { name: "v1 & é".to_owned(), changed: 3, date: "2026".to_owned() }]);
    }

    #[test]
    fn paths_are_told_below_their_root_whatever_was_escaped() {
        let root = "file:///r/tags/%C3%A9%3F%24%28id%29%20x";
        assert_eq!(below("file:///r/tags/%C3%A9%3F$(id)%20x/n%20%C3%A9", root), "n é");
        assert_eq!(below("file:///r/tags/%C3%A9%3F$(id)%20x", root), ".");
        assert_eq!(below("file:///elsewhere/100%", root), "file:///elsewhere/100%");
    }

    #[test]
    fn externals_of_comments_and_blank_lines_are_none() {
        let target = |path: &str, text: &str| {
            format!(
                "<target path=\"svn://h/p/trunk{path}\"><property name=\"svn:externals\">{text}</property></target>\n"
            )
        };
        let said = [
            target("", "# nothing\n\n"),
            target("/a%20b", "^/lib/trunk lib\n"),
            target("/c", " ^/x y"),
            "r4".to_owned(),
        ]
        .concat();
        let said = format!("<?xml version=\"1.0\"?>\n<properties>\n{said}</properties>\n");
        assert_eq!(read_externals(said.as_bytes(), "svn://h/p/trunk"), ["a b", "c"]);
    }

    proptest! {
        #[test]
        fn readers_take_anything(text in "[<>/a-z\"= ]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for said in [text.as_bytes(), bytes.as_slice()] {
                let _ = (read_info(said), read_list(said), read_externals(said, &text), read_changes(said, &text));
            }
        }
    }
}
