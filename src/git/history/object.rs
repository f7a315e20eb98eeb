//! git's objects, read from their bytes.
//!
//! libgit2's own commit reader refuses a commit whose author line it dislikes, and its tree diff lists a first import
//! of 70,000 files before it returns. These parsers take what is there and stop where they are told to.

use git2::{ObjectFormat, ObjectType, Oid, Repository};

/// A larger tag or tree, in octets, is not read: a pusher decides about its size, and all of it would be held.
const OBJECT_MAX: usize = 16 * 1024 * 1024;

/// Octets kept of a commit's or tag's message.
const MESSAGE_MAX: usize = 64 * 1024;

/// Deepest folder that the list of changed paths looks into.
const DEPTH_MAX: usize = 256;

/// Why an object can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not in the repository.
    #[error("object {0} is missing in the repository")]
    Missing(Oid),
    /// It can't be read, or is not of the kind that it should be.
    #[error("object {0} can't be read: {1}")]
    Broken(Oid, String),
}

/// Reads one tag or tree.
pub fn read(repo: &Repository, id: Oid, kind: ObjectType) -> Result<Vec<u8>, Error> {
    let (size, _) = header(repo, id)?;
    if size > OBJECT_MAX {
        return Err(Error::Broken(id, format!("it has {size} octets")));
    }
    with(repo, id, kind, <[u8]>::to_vec)
}

/// Reads what `parse` makes of a commit. Its size is not asked for first, which would cost as much again: a walk reads
/// many, and git itself has held each as a whole when it took the push in.
pub fn commit<T>(repo: &Repository, id: Oid, parse: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
    with(repo, id, ObjectType::Commit, parse)
}

fn with<T>(repo: &Repository, id: Oid, kind: ObjectType, parse: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
    let odb = repo.odb().map_err(|error| Error::Broken(id, error.message().to_owned()))?;
    let object = odb.read(id).map_err(|error| refuse(id, &error))?;
    if object.kind() != kind {
        return Err(Error::Broken(id, format!("it is a {}, not a {kind}", object.kind())));
    }
    Ok(parse(object.data()))
}

/// An object's size and kind.
pub fn header(repo: &Repository, id: Oid) -> Result<(usize, ObjectType), Error> {
    repo.odb().and_then(|odb| odb.read_header(id)).map_err(|error| refuse(id, &error))
}

fn refuse(id: Oid, error: &git2::Error) -> Error {
    match error.code() {
        git2::ErrorCode::NotFound => Error::Missing(id),
        _ => Error::Broken(id, error.message().to_owned()),
    }
}

/// The header lines of a commit or a tag (a continued line is part of none), and the message.
fn split(data: &[u8]) -> (impl Iterator<Item = (&[u8], &[u8])>, &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, message) = end.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let lines = head.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b" "));
    let words = lines.filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        Some((&line[..space], &line[space + 1..]))
    });
    (words, message)
}

fn id(word: &[u8], format: ObjectFormat) -> Option<Oid> {
    Oid::from_str_ext(std::str::from_utf8(word).ok()?, format).ok()
}

/// What a walk needs of a commit: when it was made, in seconds since 1970, and from what.
pub fn links(data: &[u8], format: ObjectFormat) -> (i64, Vec<Oid>) {
    let (mut time, mut parents) = (0, Vec::new());
    for (key, value) in split(data).0 {
        match key {
            b"parent" => parents.extend(id(value, format)),
            b"committer" => {
                time = person(value).time.map_or(0, |(seconds, _)| seconds);
                break;
            }
            _ => {}
        }
    }
    (time, parents)
}

/// A name, an address and a time, as commits and tags have them; each part may be missing.
#[derive(Debug, Default)]
struct Person<'a> {
    name: &'a [u8],
    email: &'a [u8],
    time: Option<(i64, i32)>,
}

/// Splits `Ada Lovelace <ada@example.org> 1700000000 +0100`.
fn person(line: &[u8]) -> Person<'_> {
    let open = line.iter().position(|byte| *byte == b'<').unwrap_or(line.len());
    let close = line.iter().rposition(|byte| *byte == b'>').filter(|close| *close > open);
    let name = line[..open].trim_ascii();
    let Some(close) = close else { return Person { name, ..Person::default() } };
    let mut numbers = line[close + 1..].trim_ascii().splitn(2, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(numbers.next()?).ok()?.trim().parse::<i64>().ok();
    let time = number().map(|seconds| {
        let zone = number().and_then(|zone| i32::try_from(zone).ok()).unwrap_or(0);
        (seconds, (zone / 100 * 60 + zone % 100) * 60)
    });
    Person { name, email: line[open + 1..close].trim_ascii(), time }
}

/// RFC 3339 with the author's offset; a time or offset that no calendar has gives an empty text.
fn timestamp(time: Option<(i64, i32)>) -> String {
    let text = time.and_then(|(seconds, offset)| {
        let offset = jiff::tz::Offset::from_seconds(offset).ok()?;
        Some(jiff::Timestamp::from_second(seconds).ok()?.display_with_offset(offset).to_string())
    });
    text.unwrap_or_default()
}

/// Text in the commit's own `encoding` (gitformat: UTF-8 when it has none). Latin-1 and its relatives are decoded,
/// they are what old clients on Windows write; of others the ASCII part survives.
fn decode(bytes: &[u8], encoding: &[u8]) -> String {
    let encoding = encoding.to_ascii_lowercase();
    match &encoding[..] {
        b"iso-8859-1" | b"iso8859-1" | b"iso-8859-15" | b"latin1" | b"latin-1" | b"windows-1252" | b"cp1252" => {
            bytes.iter().map(|byte| char::from(*byte)).collect()
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn message(bytes: &[u8], encoding: &[u8]) -> String {
    let mut text = decode(&bytes[..bytes.len().min(MESSAGE_MAX)], encoding);
    if bytes.len() > MESSAGE_MAX {
        text.push('…');
    }
    text
}

/// What an event tells of a commit, but for its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitText {
    /// The tree it records, if it says so.
    pub tree: Option<Oid>,
    /// Its parents.
    pub parents: Vec<Oid>,
    /// The author's name; may be empty.
    pub name: String,
    /// The author's address; may be empty.
    pub email: String,
    /// When the author wrote it, RFC 3339; may be empty.
    pub timestamp: String,
    /// The message, or its first 64 KiB.
    pub message: String,
}

/// Reads a commit for people.
pub fn commit_text(data: &[u8], format: ObjectFormat) -> CommitText {
    let (mut tree, mut parents, mut author, mut encoding) = (None, Vec::new(), Person::default(), &b""[..]);
    let (lines, text) = split(data);
    for (key, value) in lines {
        match key {
            b"tree" => tree = id(value, format),
            b"parent" => parents.extend(id(value, format)),
            b"author" => author = person(value),
            b"encoding" => encoding = value,
            _ => {}
        }
    }
    CommitText {
        tree,
        parents,
        name: decode(author.name, encoding),
        email: decode(author.email, encoding),
        timestamp: timestamp(author.time),
        message: message(text, encoding),
    }
}

/// What a tag object points to, and its message.
pub fn tag_text(data: &[u8], format: ObjectFormat) -> (Option<Oid>, String) {
    let (mut lines, text) = split(data);
    let target = lines.find(|(key, _)| *key == b"object").and_then(|(_, value)| id(value, format));
    (target, message(text, b""))
}

/// Paths by what happened to them, like `git log --name-status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// New.
    pub added: Vec<String>,
    /// Other content or mode.
    pub modified: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
}

impl Paths {
    fn len(&self) -> usize {
        self.added.len() + self.modified.len() + self.removed.len()
    }
}

/// The paths that differ between two trees, at most `limit` of them. Only trees are read, never a blob: two entries
/// with the same id are the same, so a rename shows as one path gone and one new, and a huge file costs nothing.
pub fn changed_paths(repo: &Repository, old: Option<Oid>, new: Option<Oid>, limit: usize) -> Result<Paths, Error> {
    let mut paths = Paths::default();
    compare(repo, old, new, &mut Vec::new(), limit, &mut paths)?;
    Ok(paths)
}

/// Recursion ends at [`DEPTH_MAX`] folders.
fn compare(
    repo: &Repository,
    old: Option<Oid>,
    new: Option<Oid>,
    folder: &mut Vec<u8>,
    limit: usize,
    paths: &mut Paths,
) -> Result<(), Error> {
    if old == new || folder.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
        return Ok(());
    }
    let tree = |id: Option<Oid>| id.map_or(Ok(Vec::new()), |id| read(repo, id, ObjectType::Tree));
    let (old, new) = (tree(old)?, tree(new)?);
    let format = repo.object_format();
    let (mut left, mut right) = (Entries::new(&old, format).peekable(), Entries::new(&new, format).peekable());
    while paths.len() < limit {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(l), Some(r)) => l.sort_key().cmp(r.sort_key()),
        };
        let l = if order.is_le() { left.next() } else { None };
        let r = if order.is_ge() { right.next() } else { None };
        if l.as_ref().map(|entry| (entry.id, entry.mode)) == r.as_ref().map(|entry| (entry.id, entry.mode)) {
            continue;
        }
        let Some(entry) = r.as_ref().or(l.as_ref()) else { break };
        let length = folder.len();
        folder.extend_from_slice(entry.name);
        if entry.is_tree() {
            folder.push(b'/');
            compare(repo, l.as_ref().map(|entry| entry.id), r.as_ref().map(|entry| entry.id), folder, limit, paths)?;
        } else {
            let path = String::from_utf8_lossy(folder).into_owned();
            match (l, r) {
                (None, _) => paths.added.push(path),
                (Some(_), None) => paths.removed.push(path),
                (Some(_), Some(_)) => paths.modified.push(path),
            }
        }
        folder.truncate(length);
    }
    Ok(())
}

struct Entry<'a> {
    mode: &'a [u8],
    name: &'a [u8],
    id: Oid,
}

impl Entry<'_> {
    fn is_tree(&self) -> bool {
        matches!(self.mode, b"40000" | b"040000")
    }

    /// git sorts a folder as if its name ended with `/`.
    fn sort_key(&self) -> impl Iterator<Item = u8> {
        self.name.iter().copied().chain(self.is_tree().then_some(b'/'))
    }
}

/// The entries of a tree object: `MODE SP NAME NUL ID`, in order. What is no entry ends them.
struct Entries<'a> {
    rest: &'a [u8],
    id_len: usize,
}

impl<'a> Entries<'a> {
    fn new(data: &'a [u8], format: ObjectFormat) -> Entries<'a> {
        let id_len = match format {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        };
        Entries { rest: data, id_len }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;
    fn next(&mut self) -> Option<Entry<'a>> {
        let space = self.rest.iter().position(|byte| *byte == b' ')?;
        let nul = space + self.rest[space..].iter().position(|byte| *byte == 0)?;
        let id = self.rest.get(nul + 1..nul + 1 + self.id_len)?;
        let entry =
            Entry { mode: &self.rest[..space], name: &self.rest[space + 1..nul], id: Oid::from_bytes(id).ok()? };
        self.rest = &self.rest[nul + 1 + self.id_len..];
        Some(entry)
    }
}
