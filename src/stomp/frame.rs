//! The STOMP frame codec: bytes to frames and back, for all three versions, with limits. No sockets, no clocks.
//!
//! Sources: STOMP 1.0, 1.1 and 1.2 specifications, sections "Frames" and "Value Encoding".

use std::fmt;

/// A protocol version that this client and the embedded broker speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// No escapes, no heart-beats, no `host`.
    V1_0,
    /// Escapes `\n`, `\c`, `\\`.
    V1_1,
    /// 1.1 and `\r`; an EOL may be CR LF.
    V1_2,
}

impl Version {
    /// As the `version` header writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V1_0 => "1.0",
            Version::V1_1 => "1.1",
            Version::V1_2 => "1.2",
        }
    }

    /// Reads one item of `accept-version`, or `version`.
    pub fn parse(word: &str) -> Option<Version> {
        match word.trim() {
            "1.0" => Some(Version::V1_0),
            "1.1" => Some(Version::V1_1),
            "1.2" => Some(Version::V1_2),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One STOMP frame. Headers keep their order; of repeated ones the first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `SEND`, `MESSAGE`, ….
    pub command: String,
    /// In the order of the wire.
    pub headers: Vec<(String, String)>,
    /// Octets; empty for most commands.
    pub body: Vec<u8>,
}

impl Frame {
    /// A frame with no headers and no body.
    pub fn new(command: &str) -> Frame {
        Frame { command: command.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A SEND to `destination`.
    pub fn send(destination: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Frame {
        let mut frame = Frame::new("SEND").with("destination", destination);
        frame.headers.extend(headers);
        frame.body = body;
        frame
    }

    /// The same frame with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Frame {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The first header of that name: the one that counts (STOMP 1.2, "Repeated Header Entries").
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Appends the frame's bytes to `out`.
    ///
    /// content-length is written only when the body holds a NUL: ActiveMQ and Artemis make a BytesMessage of any
    /// frame that has one, and old daemons could then not read the text. A content-length among the headers is
    /// dropped first, so it can never lie.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let version = if is_login(&self.command) { Version::V1_0 } else { version };
        out.extend_from_slice(self.command.as_bytes());
        out.push(b'\n');
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "content-length") {
            escape(name, version, out);
            out.push(b':');
            escape(value, version, out);
            out.push(b'\n');
        }
        if self.body.contains(&0) {
            out.extend_from_slice(format!("content-length:{}\n", self.body.len()).as_bytes());
        }
        out.push(b'\n');
        out.extend_from_slice(&self.body);
        out.push(0);
    }
}

/// 1.0 and the login frames know no escapes. There a LF, which would begin another header, becomes a space.
fn escape(text: &str, version: Version, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match (byte, version) {
            (0, _) => out.push(b' '),
            (b'\n' | b'\r', Version::V1_0) => out.push(b' '),
            (b'\n', _) => out.extend_from_slice(b"\\n"),
            (b'\r', Version::V1_2) => out.extend_from_slice(b"\\r"),
            // 1.1 has no escape for CR, and a 1.2 reader would take it for part of the EOL.
            (b'\r', Version::V1_1) => out.push(b' '),
            (b':', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\c"),
            (b'\\', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\\\"),
            (other, _) => out.push(other),
        }
    }
}

/// How much of a peer's frame is kept before it is refused, so that no peer decides how much memory is used.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of one header line or of the command.
    pub line: usize,
    /// Number of headers.
    pub headers: usize,
    /// Octets of the command and all headers together.
    pub head: usize,
    /// Octets of the body.
    pub body: usize,
}

impl Default for Limits {
    /// ActiveMQ's own for lines and headers; 256 KiB of them in all; 16 MiB of body, sixty-four times the largest
    /// event.
    fn default() -> Limits {
        Limits { line: 10 * 1024, headers: 1000, head: 256 * 1024, body: 16 * 1024 * 1024 }
    }
}

/// Why the bytes are no STOMP. The connection can't be used after it: where the next frame begins is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The command is none that STOMP has.
    #[error("{0:?} is no STOMP command; is this a STOMP port?")]
    Command(String),
    /// A header line without a colon.
    #[error("header line {0:?} has no colon")]
    Header(String),
    /// The frame ends before its headers do.
    #[error("a NUL stands among the headers")]
    Nul,
    /// content-length is no number.
    #[error("content-length {0:?} is no number")]
    Length(String),
    /// After content-length octets there is no NUL.
    #[error("no NUL after the {0} octets that content-length promised")]
    NoNul(usize),
    /// A limit is exceeded.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit, in octets or headers.
        limit: usize,
    },
}

/// What stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole frame.
    Frame(Frame),
    /// An EOL between frames: a heart-beat, or nothing.
    Eol,
}

/// Takes bytes in any pieces, gives frames.
///
/// No byte is searched twice, however small the pieces are, and what is kept of an unfinished frame is bounded by
/// [`Limits`] plus the last piece pushed.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the frame at hand begins in `buffer`.
    start: usize,
    /// How far behind `start` the search for the end of the line or of the body has come.
    seen: usize,
    part: Part,
    version: Version,
    limits: Limits,
    /// After an error nothing else is ever said.
    failed: Option<FrameError>,
}

/// Which part of a frame is awaited. Positions count from `start`.
#[derive(Debug)]
enum Part {
    Between,
    Command,
    Headers { frame: Frame, line: usize },
    Body { frame: Frame, from: usize, length: Option<usize> },
}

const COMMANDS: [&str; 15] = [
    "CONNECT",
    "STOMP",
    "CONNECTED",
    "SEND",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
    "MESSAGE",
    "RECEIPT",
    "ERROR",
];

/// A buffer that grew for one large frame is given back when it is empty again.
const KEPT_CAPACITY: usize = 256 * 1024;

impl Decoder {
    /// An empty decoder. Until [`set_version`](Self::set_version) it reads as 1.0: nothing is unescaped.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            part: Part::Between,
            version: Version::V1_0,
            limits,
            failed: None,
        }
    }

    /// The version that the two sides agreed on: from the next frame on its escapes are undone.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Adds what came from the peer. Call [`poll`](Self::poll) until it has no more before the next push: what is
    /// not polled is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > KEPT_CAPACITY {
                self.buffer = Vec::new();
            }
        } else if self.start > self.buffer.len() / 2 {
            // Moves less than was read since the last move, so that the sum of all moves stays linear.
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Is the peer in the middle of a frame? Then an end of stream here is a loss. Meant for when
    /// [`poll`](Self::poll) has no more.
    pub fn is_mid_frame(&self) -> bool {
        self.buffered() > 0
    }

    /// Octets held back for a frame that is not whole yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Octets that are set aside for input.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next whole item, or `None` until more bytes come.
    ///
    /// # Errors
    /// When the bytes are no STOMP or pass a limit; the connection is then to be closed, and every later call says
    /// the same.
    pub fn poll(&mut self) -> Result<Option<Item>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.read().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
            self.start = 0;
            self.part = Part::Between;
        })
    }

    fn read(&mut self) -> Result<Option<Item>, FrameError> {
        loop {
            let bytes = &self.buffer[self.start..];
            let limits = self.limits;
            match &mut self.part {
                Part::Between => match bytes {
                    // The LF of a CR LF may be in the next piece.
                    [] | [b'\r'] => return Ok(None),
                    [b'\n', ..] => {
                        self.start += 1;
                        return Ok(Some(Item::Eol));
                    }
                    [b'\r', b'\n', ..] => {
                        self.start += 2;
                        return Ok(Some(Item::Eol));
                    }
                    _ => {
                        self.seen = 0;
                        self.part = Part::Command;
                    }
                },
                Part::Command => {
                    let Some(frame) = read_command(bytes)? else { return Ok(None) };
                    // A short line: looking for its end once more costs nothing.
                    self.seen = bytes.iter().position(|b| *b == b'\n').map_or(0, |eol| eol + 1);
                    self.part = Part::Headers { frame, line: self.seen };
                }
                Part::Headers { frame, line } => {
                    let eol = bytes[self.seen..].iter().position(|b| matches!(b, b'\n' | 0)).map(|at| self.seen + at);
                    let end = eol.unwrap_or(bytes.len());
                    if end - *line > limits.line {
                        return Err(FrameError::Limit { what: "a header line", limit: limits.line });
                    }
                    if end > limits.head {
                        return Err(FrameError::Limit { what: "the length of the headers", limit: limits.head });
                    }
                    self.seen = end;
                    let Some(eol) = eol else { return Ok(None) };
                    if bytes[eol] == 0 {
                        return Err(FrameError::Nul);
                    }
                    let text = &bytes[*line..eol];
                    let text = text.strip_suffix(b"\r").unwrap_or(text);
                    *line = eol + 1;
                    self.seen = eol + 1;
                    if !text.is_empty() {
                        read_header(text, frame, self.version, limits)?;
                        continue;
                    }
                    let length = content_length(frame, limits)?;
                    let frame = std::mem::replace(frame, Frame::new(""));
                    self.part = Part::Body { frame, from: eol + 1, length };
                }
                Part::Body { frame, from, length } => {
                    let end = match *length {
                        Some(length) => match bytes.get(*from + length) {
                            None => return Ok(None),
                            Some(0) => *from + length,
                            Some(_) => return Err(FrameError::NoNul(length)),
                        },
                        None => {
                            let nul = find_nul(&bytes[self.seen..]).map(|at| self.seen + at);
                            self.seen = nul.unwrap_or(bytes.len());
                            if self.seen - *from > limits.body {
                                return Err(FrameError::Limit { what: "the body", limit: limits.body });
                            }
                            let Some(nul) = nul else { return Ok(None) };
                            nul
                        }
                    };
                    frame.body = bytes[*from..end].to_vec();
                    let frame = std::mem::replace(frame, Frame::new(""));
                    self.start += end + 1;
                    self.part = Part::Between;
                    return Ok(Some(Item::Frame(frame)));
                }
            }
        }
    }
}

/// The frame's first line, once it is there. Refuses at the first byte that no command has: a TLS or HTTP peer may
/// never send an LF.
fn read_command(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or(bytes);
    let complete = line.len() < bytes.len();
    let name = line.strip_suffix(b"\r").unwrap_or(line);
    let possible = if complete {
        COMMANDS.iter().find(|command| command.as_bytes() == name)
    } else {
        COMMANDS.iter().find(|command| command.as_bytes().starts_with(name))
    };
    match possible {
        Some(command) => Ok(complete.then(|| Frame::new(command))),
        None => Err(FrameError::Command(excerpt(line))),
    }
}

fn read_header(line: &[u8], frame: &mut Frame, version: Version, limits: Limits) -> Result<(), FrameError> {
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        // To a 1.0 client ActiveMQ writes the LF of a 1.2 sender's header as it is: the rest of that value stands
        // here alone, and refusing it would refuse the message again after each reconnect.
        return if version == Version::V1_0 { Ok(()) } else { Err(FrameError::Header(excerpt(line))) };
    };
    if frame.headers.len() == limits.headers {
        return Err(FrameError::Limit { what: "the number of headers", limit: limits.headers });
    }
    let version = if is_login(&frame.command) { Version::V1_0 } else { version };
    frame.headers.push((unescape(&line[..colon], version), unescape(&line[colon + 1..], version)));
    Ok(())
}

fn content_length(frame: &Frame, limits: Limits) -> Result<Option<usize>, FrameError> {
    let Some(text) = frame.header("content-length") else { return Ok(None) };
    let digits = text.trim();
    let length = digits.parse::<usize>().map_err(|_| FrameError::Length(excerpt(text.as_bytes())))?;
    if length > limits.body {
        return Err(FrameError::Limit { what: "the body", limit: limits.body });
    }
    Ok(Some(length))
}

/// In blocks without a branch per octet, which the compiler turns into vector instructions.
fn find_nul(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let block = bytes.chunks(BLOCK).position(|block| block.iter().fold(false, |found, b| found | (*b == 0)))?;
    let from = block * BLOCK;
    bytes[from..].iter().position(|b| *b == 0).map(|at| from + at)
}

/// CONNECT, STOMP and CONNECTED are never escaped (STOMP 1.2, "Value Encoding"): they settle the version.
fn is_login(command: &str) -> bool {
    matches!(command, "CONNECT" | "STOMP" | "CONNECTED")
}

/// The beginning of what a peer sent, for a message to people.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(320)]).chars().take(80).collect()
}

/// Tolerant, as a receiver of many brokers must be: an escape that the version does not define stays as it is.
fn unescape(bytes: &[u8], version: Version) -> String {
    let text = String::from_utf8_lossy(bytes);
    if version == Version::V1_0 || !text.contains('\\') {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') if version == Version::V1_2 => out.push('\r'),
            Some('c') => out.push(':'),
            Some('\\') => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
