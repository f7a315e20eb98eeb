//! The matrix: the same cases on the embedded broker, real ActiveMQ and real RabbitMQ.
//!
//! Each case is one function; [`matrix!`] makes a test of it for each broker, so that `matrix::frames::order::activemq`
//! tells which one failed. A case that stops, kills or freezes its broker takes its [`own`](Which::own), the others share.

mod burst;
mod durable;
mod failover;
mod frames;
mod login;
mod pushes;
mod tls;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use failcake::bus::{Connection, Error, Incoming, Message, Publisher, Target};
use failcake::stomp::{AckMode, Frame, Subscription};
use nix::sys::signal::{Signal, kill};

use crate::sandbox::brokers::{Kind, Listener, Real, shared, target};
use crate::sandbox::{Running, Sandbox};

/// Makes tests of cases: `on all: case, …;`, `on real: …;` (the two that are not ours), `on rabbitmq: …;`.
macro_rules! matrix {
    (@all $case:ident) => { matrix!(@each $case embedded activemq rabbitmq); };
    (@real $case:ident) => { matrix!(@each $case activemq rabbitmq); };
    (@rabbitmq $case:ident) => { matrix!(@each $case rabbitmq); };
    (@each $case:ident $($broker:ident)*) => {
        mod $case {
            $(
                #[test]
                fn $broker() {
                    super::$case(crate::matrix::Which::$broker());
                }
            )*
        }
    };
    ($(on $brokers:ident: $($case:ident),* $(,)?;)*) => { $($(matrix!(@$brokers $case);)*)* };
}
use matrix;

/// For what must happen: long, since the machine may be busy. No case waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The login that all three know.
const LOGIN: &str = "gituser:gitpw@";

/// A broker of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Embedded,
    Real(Kind),
}

impl Which {
    fn embedded() -> Which {
        Which::Embedded
    }

    fn activemq() -> Which {
        Which::Real(Kind::ActiveMq)
    }

    fn rabbitmq() -> Which {
        Which::Real(Kind::RabbitMq)
    }

    /// One that other tests use at the same time: use destinations of your own. (The embedded one starts in no time,
    /// so it is never shared.)
    fn shared(self) -> Broker {
        match self {
            Which::Embedded => self.own(),
            Which::Real(kind) => Broker { which: self, place: Place::Shared(shared(kind)) },
        }
    }

    /// One that may be stopped, killed and frozen. A real one takes seconds to start: such cases come one after
    /// another, each to the same.
    fn own(self) -> Broker {
        static ACTIVEMQ: Mutex<Option<Real>> = Mutex::new(None);
        static RABBITMQ: Mutex<Option<Real>> = Mutex::new(None);
        let slot = match self {
            Which::Embedded => return Broker { which: self, place: Place::Embedded(Box::new(Embedded::start())) },
            Which::Real(Kind::ActiveMq) => &ACTIVEMQ,
            Which::Real(Kind::RabbitMq) => &RABBITMQ,
        };
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Own { slot, up: true };
        let Which::Real(kind) = self else { unreachable!("returned above") };
        own.slot.get_or_insert_with(|| Real::start(kind));
        Broker { which: self, place: Place::Own(own) }
    }
}

/// A broker that runs, or that a case has stopped.
struct Broker {
    which: Which,
    place: Place,
}

enum Place {
    Embedded(Box<Embedded>),
    Shared(&'static Real),
    Own(Own),
}

/// The embedded broker as a program of its own, with the same login as the real ones.
struct Embedded {
    world: Sandbox,
    running: Option<Running>,
    address: String,
}

impl Embedded {
    fn start() -> Embedded {
        let world = Sandbox::new();
        world.write("passcode", "gitpw\n");
        let mut embedded = Embedded { world, running: None, address: "127.0.0.1:0".to_owned() };
        embedded.restart();
        embedded
    }

    fn restart(&mut self) {
        let user = format!("gituser={}", self.world.path("passcode").display());
        let mut running = self.world.failcake(["broker", "--listen", &self.address, "--user", &user]).start();
        let line = running.stdout_line("stomp://");
        self.address = line.trim_start_matches("stomp://").to_owned();
        self.running = Some(running);
    }
}

/// A real broker that one case at a time may do anything to.
struct Own {
    slot: MutexGuard<'static, Option<Real>>,
    up: bool,
}

impl Drop for Own {
    /// The next case finds it running and sound, or starts another.
    fn drop(&mut self) {
        if !self.up || std::thread::panicking() {
            *self.slot = None;
        }
    }
}

impl Broker {
    fn real(&self) -> Option<&Real> {
        match &self.place {
            Place::Embedded(_) => None,
            Place::Shared(real) => Some(real),
            Place::Own(own) => own.slot.as_ref(),
        }
    }

    /// With login and passcode.
    fn url(&self) -> String {
        match &self.place {
            Place::Embedded(embedded) => format!("stomp://{LOGIN}{}", embedded.address),
            _ => self.real().unwrap().url.clone(),
        }
    }

    /// `host:port`.
    fn address(&self) -> String {
        self.url().split_once('@').unwrap().1.to_owned()
    }

    fn target(&self) -> Target {
        target(&self.url(), None)
    }

    /// Ends it: with TERM as an administrator does, with KILL as a power loss does.
    fn stop(&mut self, signal: Signal) {
        match &mut self.place {
            Place::Embedded(embedded) => {
                let mut running = embedded.running.take().unwrap();
                running.signal(signal);
                running.wait();
            }
            Place::Own(own) => {
                own.up = false;
                own.slot.as_mut().unwrap().stop(signal.as_str().trim_start_matches("SIG"));
            }
            Place::Shared(_) => unreachable!("others use it: take Which::own"),
        }
    }

    /// Comes back at the same place.
    fn restart(&mut self) {
        match &mut self.place {
            Place::Embedded(embedded) => embedded.restart(),
            Place::Own(own) => {
                own.slot.as_mut().unwrap().restart();
                own.up = true;
            }
            Place::Shared(_) => unreachable!("others use it: take Which::own"),
        }
    }

    /// SIGSTOP: its sockets stay and it says nothing; until SIGCONT.
    fn signal(&self, signal: Signal) {
        match &self.place {
            Place::Embedded(embedded) => embedded.running.as_ref().unwrap().signal(signal),
            Place::Own(own) => kill(own.slot.as_ref().unwrap().pid(), signal).unwrap(),
            Place::Shared(_) => unreachable!("others use it: take Which::own"),
        }
    }

    /// Publishes until the receipt.
    fn publish(&self, frames: Vec<Frame>) {
        publish(&self.target(), frames).unwrap_or_else(|error| panic!("{:?}: {error}", self.which));
    }

    /// Collects what passes from here on.
    fn listen(&self, destinations: &[&str]) -> Listener {
        Listener::open(&self.url(), destinations)
    }
}

fn publish(target: &Target, frames: Vec<Frame>) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut publisher = Publisher::connect(target, deadline)?;
    publisher.publish(frames, deadline)?;
    publisher.close();
    Ok(())
}

/// A persistent message.
fn text(destination: &str, body: &str) -> Frame {
    Frame::send(destination, vec![("persistent".to_owned(), "true".to_owned())], body.as_bytes().to_vec())
}

fn subscription(destination: &str) -> Subscription {
    Subscription { destination: destination.to_owned(), durable: None, ack: AckMode::Auto, prefetch: None }
}

/// The next thing that `pick` takes; the rest is passed over.
#[track_caller]
fn await_on<T>(connection: &Connection, what: &str, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while let Some(incoming) = connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
        let told = format!("{incoming:?}");
        if let Some(picked) = pick(incoming) {
            return picked;
        }
        seen.push(told);
    }
    panic!("no {what}; seen: {seen:#?}");
}

#[track_caller]
fn await_connected(connection: &Connection) -> failcake::bus::Peer {
    await_on(connection, "connection", |incoming| match incoming {
        Incoming::Connected(peer) => Some(peer),
        _ => None,
    })
}

#[track_caller]
fn await_lost(connection: &Connection) -> String {
    await_on(connection, "loss", |incoming| match incoming {
        Incoming::Lost { cause, .. } => Some(cause),
        _ => None,
    })
}

#[track_caller]
fn await_message(connection: &Connection) -> Message {
    await_on(connection, "message", |incoming| match incoming {
        Incoming::Message(message) => Some(message),
        _ => None,
    })
}

fn body(frame: &Frame) -> &str {
    std::str::from_utf8(&frame.body).unwrap()
}
