//! What git tells a hook: lines on stdin, and the environment.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::name::{NameError, RefName, RepoName, Rev};

/// One ref's change, as git feeds it to `post-receive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which ref.
    pub refname: RefName,
    /// Before; zeros when it was not there.
    pub old: Rev,
    /// Now; zeros when it is gone.
    pub new: Rev,
}

/// A line that git would never send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not three words.
    #[error("{0:?} is not \"<old> <new> <ref>\"")]
    Shape(String),
    /// One of the three is not what it should be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Ids of two hash functions.
    #[error("{0}: one id is SHA-1, the other SHA-256")]
    Mixed(RefName),
}

impl Update {
    /// Parses `<old> SP <new> SP <ref>` (githooks(5), "post-receive"), without the line's end.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(line: &[u8]) -> Result<Update, LineError> {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(old), Some(new), Some(refname)) = (words.next(), words.next(), words.next()) else {
            return Err(LineError::Shape(String::from_utf8_lossy(line).chars().take(200).collect()));
        };
        let rev = |word| String::from_utf8_lossy(word).parse::<Rev>();
        let update = Update { refname: RefName::from_bytes(refname)?, old: rev(old)?, new: rev(new)? };
        if update.old.as_str().len() != update.new.as_str().len() {
            return Err(LineError::Mixed(update.refname));
        }
        Ok(update)
    }

    /// Is the ref gone?
    pub fn is_delete(&self) -> bool {
        self.new.is_zero()
    }
}

/// Parses all lines; deletes come first, so that a receiver that mirrors the refs as directories makes room for `a/x`
/// before it needs it. A ref named twice counts once, with its last line. What is no line comes back as errors.
pub fn parse_lines(input: &[u8]) -> (Vec<Update>, Vec<LineError>) {
    let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (mut updates, mut errors) = (Vec::new(), Vec::new());
    for line in lines {
        match Update::parse(line) {
            Ok(update) => updates.push(update),
            Err(error) => errors.push(error),
        }
    }
    let mut seen = HashSet::new();
    updates.reverse();
    updates.retain(|update: &Update| seen.insert(update.refname.clone()));
    updates.reverse();
    updates.sort_by_key(|update| !update.is_delete());
    (updates, errors)
}

/// Looks up an environment variable; an empty one is an unset one.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// This process's environment.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Most push options kept, and most octets of each: the rest is cut, for the pusher decides about them.
const OPTIONS_MAX: (usize, usize) = (64, 1024);

/// `git push -o`, from `GIT_PUSH_OPTION_COUNT` and `GIT_PUSH_OPTION_<N>` (githooks(5), "pre-receive").
pub fn push_options(lookup: Lookup<'_>) -> Vec<String> {
    let count = lookup("GIT_PUSH_OPTION_COUNT").and_then(|n| n.to_str()?.parse::<usize>().ok()).unwrap_or(0);
    (0..count.min(OPTIONS_MAX.0))
        .map(|n| lookup(&format!("GIT_PUSH_OPTION_{n}")).unwrap_or_default())
        .map(|value| cut(&value.to_string_lossy(), OPTIONS_MAX.1))
        .collect()
}

/// Who pushed, as the server that let them in calls them: gitolite's `GL_USER`, GitLab's `GL_USERNAME`, the web
/// server's `REMOTE_USER`. `None`: nobody but the login knows.
pub fn pusher(lookup: Lookup<'_>) -> Option<String> {
    let value = ["GL_USER", "GL_USERNAME", "REMOTE_USER"].iter().find_map(|name| lookup(name))?;
    Some(cut(&value.to_string_lossy(), 256))
}

/// The repository's name by gitolite's `GL_REPO` or GitLab's `GL_PROJECT_PATH`; `None` when neither is set.
pub fn name_by_server(lookup: Lookup<'_>) -> Option<Result<RepoName, NameError>> {
    let value = ["GL_REPO", "GL_PROJECT_PATH"].iter().find_map(|name| lookup(name))?;
    Some(value.to_string_lossy().parse())
}

/// The repository's name by its folder: without `.git`, or the folder that a `.git` stands in.
///
/// # Errors
/// The folder's name is no repository name.
pub fn name_by_folder(git_dir: &Path) -> Result<RepoName, NameError> {
    let folder = match git_dir.file_name() {
        Some(name) if name == ".git" => git_dir.parent().and_then(Path::file_name),
        name => name,
    };
    let bytes = folder.unwrap_or_default().as_bytes();
    let bytes = bytes.strip_suffix(b".git").unwrap_or(bytes);
    OsString::from_vec(bytes.to_vec()).to_string_lossy().parse()
}

fn cut(text: &str, max: usize) -> String {
    text.chars()
        .scan(0, |size, c| {
            *size += c.len_utf8();
            (*size <= max).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const Z: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn lines_are_read_as_bytes_and_bad_ones_cost_only_themselves() {
        let long = "a".repeat(64);
        let input = [
            format!("{Z} {A} refs/heads/a/x\n").into_bytes(),
            b"nonsense\n".to_vec(),
            format!("{A} {Z} refs/heads/a\n").into_bytes(),
            format!("{A} {long} refs/heads/mixed\n").into_bytes(),
            format!("{Z} {A} ../etc/passwd\n").into_bytes(),
            format!("{Z} xyz refs/heads/b\n").into_bytes(),
            [format!("{Z} {A} refs/heads/caf").as_bytes(), b"\xe9\n"].concat(),
            format!("{Z} {A} refs/tags/-rf").into_bytes(),
        ]
        .concat();
        let (updates, errors) = parse_lines(&input);
        let names: Vec<_> = updates.iter().map(|update| update.refname.as_bytes()).collect();
        let expected: [&[u8]; 4] = [b"refs/heads/a", b"refs/heads/a/x", b"refs/heads/caf\xe9", b"refs/tags/-rf"];
        assert_eq!(names, expected, "deletes first, then the order of the push");
        assert_eq!(errors.len(), 4, "{errors:?}");
    }

    #[test]
    fn a_ref_named_twice_counts_once() {
        let b = "b".repeat(40);
        let (updates, _) = parse_lines(format!("{Z} {A} refs/heads/a\n{A} {b} refs/heads/a\n").as_bytes());
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0].new.as_str(), b);
    }

    #[test]
    fn options_and_pusher_come_from_the_environment_within_bounds() {
        let lookup = |name: &str| match name {
            "GIT_PUSH_OPTION_COUNT" => Some("9999999999".into()),
            "GIT_PUSH_OPTION_0" => Some("ci.skip".into()),
            "GIT_PUSH_OPTION_1" => Some("é".repeat(1000).into()),
            "GL_USERNAME" => Some("ada".into()),
            "REMOTE_USER" => Some("other".into()),
            "GL_REPO" => Some("web/spog".into()),
            _ => None,
        };
        let options = push_options(&lookup);
        assert_eq!((options.len(), options[0].as_str(), options[1].len()), (64, "ci.skip", 1024));
        assert_eq!(pusher(&lookup).as_deref(), Some("ada"));
        assert_eq!(name_by_server(&lookup).unwrap().unwrap().as_str(), "web/spog");
        assert_eq!((push_options(&|_| None), pusher(&|_| None)), (Vec::new(), None));
    }

    #[test]
    fn the_folder_names_the_repository() {
        for (folder, name) in [
            ("/srv/git/spog.git", "spog"),
            ("/srv/git/spog", "spog"),
            ("/home/ada/spog/.git", "spog"),
            ("/home/ada/spog.git/.git", "spog"),
        ] {
            assert_eq!(name_by_folder(Path::new(folder)).unwrap().as_str(), name);
        }
        for folder in ["/", "/srv/my repo.git", "/.git", "/srv/-x.git"] {
            assert!(name_by_folder(Path::new(folder)).is_err(), "{folder}");
        }
    }
}
