//! One socket to one broker, with its TLS and its STOMP session, all of it nonblocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt};
use rustls::ClientConnection;

use super::Peer;
use super::tls::Trust;
use crate::stomp::{Dialect, Limits, Login, Session, Version};

/// A connection, from the first SYN on. Errors are causes for people; the caller names the host.
pub(super) struct Link {
    socket: TcpStream,
    tls: Option<(Box<ClientConnection>, Trust)>,
    pub(super) session: Session,
    /// `host:port` as the URL has it.
    pub(super) address: String,
    /// The socket took bytes, so the connection stands.
    stands: bool,
    /// The broker said something.
    heard: bool,
    /// Writing failed; what the broker said before it went away may still be there to read.
    deaf: Option<String>,
}

impl Link {
    /// Begins to connect; [`flush`](Self::flush) goes on with it.
    pub(super) fn open(
        address: String,
        to: SocketAddr,
        tls: Option<(ClientConnection, Trust)>,
        login: Login,
        now: Instant,
    ) -> Result<Link, String> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, flags, None).map_err(|error| format!("no socket: {error}"))?;
        // Small frames wait for nothing: an ACK must not stand behind another's TCP acknowledgement.
        setsockopt(&socket, sockopt::TcpNoDelay, &true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(error) => return Err(unconnected(&error.into())),
        }
        let session = Session::new(login, Limits::default(), now);
        let tls = tls.map(|(client, trust)| (Box::new(client), trust));
        Ok(Link { socket: TcpStream::from(socket), tls, session, address, stands: false, heard: false, deaf: None })
    }

    /// What to poll for. A caller that has no room for more leaves reading out.
    pub(super) fn interest(&self, read: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, read);
        let tls = self.tls.as_ref().is_some_and(|(tls, _)| tls.wants_write());
        flags.set(PollFlags::POLLOUT, self.deaf.is_none() && (tls || !self.session.poll_transmit().is_empty()));
        flags
    }

    /// Writes what the socket takes now.
    ///
    /// A write before the connection stands just has to wait, and one to a host that refused gives its error: so no
    /// call asks how the connecting went.
    pub(super) fn flush(&mut self, now: Instant) -> Result<(), String> {
        while self.deaf.is_none() {
            let bytes = self.session.poll_transmit();
            let written = match &mut self.tls {
                None if bytes.is_empty() => return Ok(()),
                None => self.socket.write(bytes),
                Some((tls, _)) => {
                    // Only what is in rustls' buffer is out of the session's hands; it is bounded.
                    let taken = tls.writer().write(bytes).map_err(|error| words(&error))?;
                    self.session.transmitted(taken, now);
                    if !tls.wants_write() {
                        return Ok(());
                    }
                    tls.write_tls(&mut self.socket)
                }
            };
            match written {
                Ok(count) => {
                    self.stands = true;
                    if self.tls.is_none() {
                        self.session.transmitted(count, now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if !self.stands => return Err(unconnected(&error)),
                // A broker that refuses a frame says ERROR and closes: that word is worth more than EPIPE. Reading
                // finds it, and then the end of the stream.
                Err(error) => self.deaf = Some(words(&error)),
            }
        }
        Ok(())
    }

    /// Reads once, at most `buffer`; the session's events tell what came.
    pub(super) fn fill(&mut self, buffer: &mut [u8], now: Instant) -> Result<(), String> {
        let Some((tls, trust)) = &mut self.tls else {
            let count = match self.socket.read(buffer) {
                Ok(count) => count,
                Err(error) => return self.unread(&error),
            };
            // The header of a TLS alert or handshake record (RFC 8446, 5.1): no STOMP frame begins so.
            if !self.heard && matches!(buffer[..count], [0x15 | 0x16, 0x03, ..]) {
                return Err("this port speaks TLS: use stomp+ssl:// for it".to_owned());
            }
            return self.take(&buffer[..count], now);
        };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return self.take(&[], now),
            Ok(_) => {}
            Err(error) => return self.unread(&error),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert tells the broker's log why; where it can't be sent, nothing is lost.
            let _ = tls.write_tls(&mut self.socket);
            return Err(trust.explain(&error));
        }
        loop {
            let Some((tls, _)) = &mut self.tls else { return Ok(()) };
            match tls.reader().read(buffer) {
                Ok(0) => return self.take(&[], now),
                Ok(count) => self.take(&buffer[..count], now)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Closed without close_notify. STOMP has its own ends, so nothing can be cut off unseen.
                Err(_) => return self.take(&[], now),
            }
        }
    }

    /// Gives bytes to the session; none are the end of the stream.
    fn take(&mut self, bytes: &[u8], now: Instant) -> Result<(), String> {
        if !bytes.is_empty() {
            self.heard = true;
            self.session.handle_input(bytes, now);
            return Ok(());
        }
        match (&self.deaf, self.heard) {
            (Some(cause), _) => Err(format!("lost the connection: {cause}")),
            (None, false) => Err(self.hung_up("closed the connection")),
            (None, true) => {
                self.session.handle_eof();
                Ok(())
            }
        }
    }

    fn unread(&self, error: &io::Error) -> Result<(), String> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
            _ if !self.stands => Err(unconnected(error)),
            ErrorKind::ConnectionReset if !self.heard => Err(self.hung_up("reset the connection")),
            _ => Err(format!("lost the connection: {}", words(error))),
        }
    }

    fn hung_up(&self, how: &str) -> String {
        match &self.tls {
            Some((tls, _)) if tls.is_handshaking() => {
                format!("{how} in the TLS handshake: does this port speak TLS? If not, use stomp://")
            }
            Some(_) => format!("{how} without an answer to the login"),
            None => format!("{how} without an answer to the login: is it a TLS port? Then use stomp+ssl://"),
        }
    }

    /// Writes what the socket takes now, and the end of TLS: without it some brokers log an attack.
    pub(super) fn finish(&mut self) {
        let flushed = self.flush(Instant::now());
        if let (Ok(()), Some((tls, _))) = (flushed, &mut self.tls) {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
    }

    /// What did not come when the time was up.
    pub(super) fn missing(&self) -> String {
        match &self.tls {
            _ if !self.stands => {
                "no answer to the attempt to connect: is the host up, or a firewall between?".to_owned()
            }
            Some((tls, _)) if tls.is_handshaking() => {
                "took the connection and does not answer the TLS handshake: does this port speak TLS?".to_owned()
            }
            _ if self.session.version().is_none() => {
                "took the connection and does not answer the login: is this a STOMP port, does the broker hang?"
                    .to_owned()
            }
            _ => "does not answer any more".to_owned(),
        }
    }

    /// Did the host take the connection?
    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Do bytes wait in the socket that were not read on purpose?
    pub(super) fn has_unread(&self) -> bool {
        self.socket.peek(&mut [0]).is_ok_and(|count| count > 0)
    }

    /// Who answered. After CONNECTED only: before, it is a 1.0 broker without a name.
    pub(super) fn peer(&self) -> Peer {
        Peer {
            address: self.address.clone(),
            version: self.session.version().unwrap_or(Version::V1_0),
            dialect: self.session.dialect().unwrap_or(Dialect::Other),
            server: self.session.server().map(str::to_owned),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why no connection came to be.
fn unconnected(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            "refused the connection: is the broker running, and is this its STOMP port?".to_owned()
        }
        _ => format!("can't be reached: {}", words(error)),
    }
}

/// The system's own words, without the number that `io::Error` adds.
fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_owned())
}

/// Polls until something is ready or `until` has come; a signal ends it early.
pub(super) fn wait(fds: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            // Rounded up: poll's milliseconds would otherwise end just before the moment, again and again.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Is there anything to do at this descriptor? Errors and hang-ups count: the next read or write tells which.
pub(super) fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.revents().is_some_and(|flags| !flags.is_empty())
}
