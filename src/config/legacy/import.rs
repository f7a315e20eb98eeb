//! `config import`: several old files become one new one, their secrets files of their own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::New;
use super::new::Secrets;
use crate::config::{Error, Secret, file};
use crate::stomp::url::BrokerUrl;

/// Reads old files and joins what they say.
///
/// # Errors
/// One can't be read, is no old file, or says something that is not allowed; two of them contradict each other.
pub fn import(files: &[PathBuf]) -> Result<Import, Error> {
    let mut all: Option<Import> = None;
    for path in files {
        let one = Import::parse(path, &file::read_text(path, "configuration")?)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => all.new.join(one.new)?,
        }
    }
    all.ok_or_else(|| Error("no file to import".to_owned()))
}

/// What old files say, ready to be written.
#[derive(Debug)]
pub struct Import {
    new: New,
}

/// A new file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is there, and may hold what nobody wants to lose.
    #[error("{0} is there already: name another file, or say --force to replace it")]
    Exists(PathBuf),
    /// Something in the file system.
    #[error("can't write {path}: {source}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration has no text.
    #[error(transparent)]
    Config(#[from] Error),
}

impl Import {
    /// Reads the text of one old file; `path` is its name in messages, and tells whose it is.
    ///
    /// # Errors
    /// It is no old file, or says something that is not allowed.
    pub fn parse(path: &Path, text: &str) -> Result<Import, Error> {
        let Some(new) = super::read(path, text, true)? else {
            return Err(Error(format!(
                "{} is no old file: it has neither rserver nor stompconnector nor stompserver1",
                path.display()
            )));
        };
        // Whatever is written can be read.
        new.clone().file::<true>(Path::new("the imported configuration"))?;
        Ok(Import { new })
    }

    /// What a person should look at, each with file and line.
    pub fn warnings(&self) -> &[String] {
        self.new.warnings()
    }

    /// The new file for a terminal: a comment stands for each secret.
    ///
    /// # Errors
    /// The text can't be made.
    pub fn text(&self) -> Result<String, Error> {
        let mut secrets = Comments::default();
        let yaml = self.new.yaml(&mut secrets)?;
        Ok(self.head(&secrets.0) + &yaml)
    }

    /// Writes the new file and, beside it, one for each secret, which only the caller can read. Returns what it wrote.
    ///
    /// # Errors
    /// A file is there and `force` is false; the file system.
    pub fn write(&self, output: &Path, force: bool) -> Result<Vec<PathBuf>, WriteError> {
        let mut secrets = Files::new(output);
        let yaml = self.new.yaml(&mut secrets)?;
        if !force && output.symlink_metadata().is_ok() {
            return Err(WriteError::Exists(output.to_owned()));
        }
        // The secrets first: killed anywhere here, no configuration names a file that is not there, and the same
        // command may be said again, since a secret's file that is there and holds it is left as it is.
        let mut written = Vec::new();
        for (name, secret) in &secrets.files {
            let path = output.with_file_name(name);
            let text = format!("{}\n", secret.0);
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            place(&path, text.as_bytes(), 0o600, force)?;
            written.push(path);
        }
        let mode = if secrets.inline { 0o600 } else { 0o644 };
        place(output, (self.head(&[]) + &yaml).as_bytes(), mode, force)?;
        written.push(output.to_owned());
        Ok(written)
    }

    /// The comments above the keys.
    fn head(&self, secrets: &[String]) -> String {
        let mut head = String::new();
        let mut comment = |text: &str| {
            // Names come from files; a line's end in one would leave the comment.
            head.push_str("# ");
            head.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
            head.push('\n');
        };
        for source in &self.new.sources {
            comment(&format!("Made by failcake config import from {}", source.display()));
        }
        for (key, reason) in &self.new.dropped {
            comment(&format!("Left out: {key}: {reason}"));
        }
        for secret in secrets {
            comment(secret);
        }
        head
    }
}

/// For a terminal, where a secret would stay on the screen and in the scroll-back.
#[derive(Default)]
struct Comments(Vec<String>);

impl Secrets for Comments {
    fn file(&mut self, purpose: &str, _: &Secret) -> Option<String> {
        let (word, key) =
            if purpose.starts_with("jenkins ") { ("token", "token-file") } else { ("passcode", "passcode-file") };
        self.0.push(format!(
            "Left out: the {word} for {purpose}: write it into a file and say {key}: (--output FILE does both)"
        ));
        None
    }

    fn broker(&mut self, broker: &BrokerUrl) -> String {
        self.0.push(
            "Left out: the passcodes of the brokers, which differ: write them into the URL (--output FILE does)"
                .to_owned(),
        );
        broker.to_string()
    }
}

/// For a file: each different secret gets a file beside it.
struct Files {
    stem: String,
    files: Vec<(String, Secret)>,
    inline: bool,
}

impl Files {
    fn new(output: &Path) -> Files {
        let stem = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Files { stem, files: Vec::new(), inline: false }
    }
}

impl Secrets for Files {
    fn file(&mut self, purpose: &str, secret: &Secret) -> Option<String> {
        // Secrets of one kind that are the same share a file.
        let kind = if purpose.starts_with("jenkins ") { "token" } else { "passcode" };
        let same = self.files.iter().find(|(name, there)| there == secret && name.ends_with(kind));
        if let Some((name, _)) = same {
            return Some(name.clone());
        }
        let number = self.files.iter().filter(|(name, _)| name.ends_with(kind)).count() + 1;
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let name = format!("{}{number}.{kind}", self.stem);
        self.files.push((name.clone(), secret.clone()));
        Some(name)
    }

    fn broker(&mut self, broker: &BrokerUrl) -> String {
        self.inline = true;
        broker.reveal()
    }
}

/// Writes a whole file or none. Killed before the end it leaves a hidden file whose name has this process's number in it.
fn place(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), WriteError> {
    let failed = |source| WriteError::Failed { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(io::Error::other("it names no file")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if force { fs::rename(&temporary, path) } else { fs::hard_link(&temporary, path) }
    })();
    // After a rename there is none.
    let _ = fs::remove_file(&temporary);
    match written {
        Ok(()) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(WriteError::Exists(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}
