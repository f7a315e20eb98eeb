//! The broker's edge: one thread that owns the sockets and the clock, and drives a [`Hub`].

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

use super::hub::{Hub, Status};
use super::{ConnectionId, Options};

/// Epoll's word for the listener; connections count from 1.
const LISTENER: u64 = 0;
/// Epoll's word for the end.
const STOP: u64 = u64::MAX;
/// Octets read from one connection before the others have their turn.
const READ: usize = 64 * 1024;
/// Octets written to one connection before the others have their turn.
const WRITE: usize = 1024 * 1024;
/// Connections over the limit that are told so; more are closed without a word.
const TOLD: usize = 64;
/// How long no connection is taken in when the system has no file descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the broker can't begin.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Anybody could publish and read.
    #[error(
        "{0} can be reached from other machines, and no user is configured: anybody could read and publish. \
         Give it users (--user NAME=PASSCODE_FILE), or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// No such address, or it is taken.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// Why not.
        source: io::Error,
    },
}

/// A broker that has its address and does not run yet. Connections wait in the kernel until it does.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

impl Server {
    /// Takes the address; port 0 lets the kernel choose, see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: &str, options: Options) -> Result<Server, BindError> {
        let failed = |source| BindError::Listen { address: address.to_owned(), source };
        let candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
        if let Some(public) = candidates.iter().find(|candidate| !candidate.ip().to_canonical().is_loopback())
            && options.users.is_open()
        {
            return Err(BindError::Open(*public));
        }
        let listener = TcpListener::bind(candidates.as_slice()).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Server { listener, address, options })
    }

    /// The address with the port that it really has.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves in this thread until `stop` can be read from, or its other end is closed.
    ///
    /// # Errors
    /// Epoll fails, which needs a system that is out of memory. A connection that fails is no error.
    pub fn run(self, stop: &UnixStream) -> io::Result<()> {
        let mut edge = Edge::new(self.listener, stop, self.options)?;
        while edge.turn()? {}
        Ok(())
    }

    /// Serves in a thread of its own until the result is dropped.
    ///
    /// # Errors
    /// No thread, no socket pair.
    pub fn spawn(self) -> io::Result<Running> {
        let address = self.address;
        let (stop, other) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name("broker".to_owned()).spawn(move || self.run(&other))?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }
}

/// A broker in a thread of its own; dropped, it ends and its address is free again.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Closed: that is what the thread waits for.
        self.stop.take();
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            log::error!("the broker failed: {error}");
        }
    }
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    interest: EpollFlags,
    /// All is said: our sending side is closed.
    shut: bool,
}

struct Edge {
    hub: Hub,
    epoll: Epoll,
    listener: TcpListener,
    sockets: HashMap<ConnectionId, Socket>,
    /// The listener is not looked at until then.
    paused: Option<Instant>,
    buffer: Vec<u8>,
}

impl Edge {
    fn new(listener: TcpListener, stop: &UnixStream, options: Options) -> io::Result<Edge> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        // Message ids of this run must not be those of the run before.
        let instance = uuid::Uuid::new_v4().simple().to_string();
        Ok(Edge {
            hub: Hub::new(options, &instance[..12]),
            epoll,
            listener,
            sockets: HashMap::new(),
            paused: None,
            buffer: vec![0; READ],
        })
    }

    /// Waits for something to do and does it; `false` when it is to end. All that came is taken in before anything is
    /// written, so that many small frames leave in one packet; and all answers leave in the turn that made them.
    fn turn(&mut self) -> io::Result<bool> {
        let due = self.hub.poll_timeout().into_iter().chain(self.paused).min();
        let timeout = due.map_or(EpollTimeout::NONE, |due| {
            // Rounded up: woken before the time, it would turn without a rest until then.
            let millis = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            i32::try_from(millis).ok().and_then(|millis| millis.try_into().ok()).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        for event in &events[..count] {
            match event.data() {
                STOP => return Ok(false),
                LISTENER => self.accept(now)?,
                token => self.handle_ready(ConnectionId(token), event.events(), now),
            }
        }
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        }
        self.hub.handle_timeout(now);
        while let Some(id) = self.hub.poll_dirty() {
            // Where epoll is to say when there is room again, another try now would be in vain, or unfair.
            match self.sockets.get(&id) {
                Some(socket) if socket.interest.contains(EpollFlags::EPOLLOUT) => self.settle(id, true),
                _ => self.flush(id, now),
            }
        }
        Ok(true)
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        // Not for ever: who is connected has a turn, too.
        for _ in 0..64 {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if self.hub.connections() >= self.limit() + TOLD {
                        continue;
                    }
                    if let Err(error) = self.welcome(stream, peer, now) {
                        log::warn!("connection from {peer} lost at once: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error)
                    if matches!(
                        error.raw_os_error().map(Errno::from_raw),
                        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
                    ) =>
                {
                    log::error!("no connection can be taken in for {PAUSE:?}: {error}");
                    self.paused = Some(now + PAUSE);
                    self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::empty(), LISTENER))?;
                    break;
                }
                // The peer is gone before it was taken in, or the network failed: the next one may be well.
                Err(error) => log::debug!("accept: {error}"),
            }
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        self.hub.options().limits.connections
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        if !peer.ip().is_loopback() {
            // A machine that is gone without a word must not keep its durable subscriptions in use for ever.
            setsockopt(&stream, sockopt::KeepAlive, &true)?;
            setsockopt(&stream, sockopt::TcpKeepIdle, &60)?;
            setsockopt(&stream, sockopt::TcpKeepInterval, &20)?;
            setsockopt(&stream, sockopt::TcpKeepCount, &3)?;
        }
        let id = self.hub.handle_connection(now);
        let interest = EpollFlags::EPOLLIN;
        if let Err(error) = self.epoll.add(&stream, EpollEvent::new(interest, id.0)) {
            self.hub.handle_lost(id);
            return Err(error.into());
        }
        log::debug!("connection {} from {peer}", id.0);
        self.sockets.insert(id, Socket { stream, interest, shut: false });
        Ok(())
    }

    fn handle_ready(&mut self, id: ConnectionId, events: EpollFlags, now: Instant) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.interest.contains(EpollFlags::EPOLLIN) {
            if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                match socket.stream.read(&mut self.buffer) {
                    Ok(0) => self.hub.handle_eof(id, now),
                    Ok(count) => self.hub.handle_input(id, &self.buffer[..count], now),
                    Err(error) if is_passing(&error) => {}
                    Err(_) => self.hub.handle_lost(id),
                }
            }
        } else if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            self.hub.handle_lost(id);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.flush(id, now);
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn flush(&mut self, id: ConnectionId, now: Instant) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let mut written = 0;
        let wait = loop {
            let chunk = self.hub.poll_transmit(id);
            if chunk.is_empty() {
                break false;
            }
            if written >= WRITE {
                break true;
            }
            match socket.stream.write(chunk) {
                Ok(count) => {
                    written += count;
                    self.hub.transmitted(id, count, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => {
                    self.hub.handle_lost(id);
                    break false;
                }
            }
        };
        self.settle(id, wait);
    }

    /// Asks epoll for what the connection needs next, or lets it go.
    fn settle(&mut self, id: ConnectionId, write: bool) {
        let status = self.hub.status(id);
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLOUT, write);
        match status {
            Status::Open { read } => interest.set(EpollFlags::EPOLLIN, read),
            Status::Finished => {
                if !socket.shut {
                    socket.shut = true;
                    // A socket that can't be shut is closed already; the next read tells.
                    let _ = socket.stream.shutdown(Shutdown::Write);
                }
                interest = EpollFlags::EPOLLIN;
            }
            Status::Gone => {
                // Closed by being dropped, which takes it out of epoll, too.
                self.sockets.remove(&id);
                return;
            }
        }
        if interest != socket.interest {
            socket.interest = interest;
            if self.epoll.modify(&socket.stream, &mut EpollEvent::new(interest, id.0)).is_err() {
                self.sockets.remove(&id);
                self.hub.handle_lost(id);
            }
        }
    }
}

/// Try again when epoll says so.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
