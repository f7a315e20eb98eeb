//! Host names to addresses.
//!
//! `getaddrinfo` has no time limit that a caller can set, and a dead name server holds it for half a minute. So it
//! runs in a thread of its own, which is left behind when the time is up: it ends by itself, or with the process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::stomp::url::Host;

/// A name that leads to more addresses than this is a mistake or an attack; the rest is left out.
const MOST: usize = 8;

/// The addresses of a host that needs no name server: a literal address, or `localhost`.
pub(super) fn at_once(host: &Host) -> Option<Vec<SocketAddr>> {
    if let Ok(ip) = host.host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(ip, host.port)]);
    }
    // RFC 6761, 6.3: always the loopback addresses. IPv4 first: brokers that listen on one of the two listen there.
    host.host.eq_ignore_ascii_case("localhost").then(|| {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        both.map(|ip| SocketAddr::new(ip, host.port)).to_vec()
    })
}

/// What a look-up found, for the host of that index.
type Found = (usize, io::Result<Vec<SocketAddr>>);

/// Look-ups on their way. Dropping it abandons them.
pub(super) struct LookUps {
    wake: Arc<EventFd>,
    sender: Sender<Found>,
    found: Receiver<Found>,
}

impl LookUps {
    pub(super) fn new() -> io::Result<LookUps> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (sender, found) = channel();
        Ok(LookUps { wake, sender, found })
    }

    /// Starts one; [`next`](Self::next) has its result after the descriptor became readable.
    pub(super) fn start(&self, index: usize, host: &Host) -> io::Result<()> {
        let (wake, sender) = (self.wake.clone(), self.sender.clone());
        let (name, port) = (host.host.clone(), host.port);
        thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(|all| all.take(MOST).collect());
            // Nobody waits any more when the other side is gone, and then nothing is lost.
            let _ = sender.send((index, found));
            let _ = wake.write(1);
        })?;
        Ok(())
    }

    pub(super) fn next(&self) -> Option<Found> {
        let _ = self.wake.read();
        self.found.try_recv().ok()
    }
}

impl AsFd for LookUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
