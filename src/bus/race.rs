//! All hosts of a URL and all their addresses, staggered; the first that logs in wins, the others are dropped.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use uuid::Uuid;

use super::link::{Link, is_ready, wait};
use super::look_up::{self, LookUps};
use super::tls::Trust;
use super::{Error, Target, named};
use crate::stomp::url::Host;
use crate::stomp::{ErrorKind, Event, ServerError};

/// How long the race may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long the newest attempt may be silent before the next host is tried beside it.
    pub(super) stagger: Duration,
    /// What each address may take.
    pub(super) each: Duration,
    /// When all is over.
    pub(super) deadline: Option<Instant>,
}

/// Connects and logs in. `None` when `stop` became readable first.
///
/// # Errors
/// [`Error::Login`] when a host refused the login and no other could be used; [`Error::TimedOut`] when one of them
/// was still silent in the end; else [`Error::Unreachable`].
pub(super) fn log_in(target: &Target, pace: Pace, stop: Option<BorrowedFd<'_>>) -> Result<Option<Link>, Error> {
    let mut race = Race::new(target, pace);
    loop {
        race.start_due(Instant::now());
        if race.runners.is_empty() && race.waiting.is_empty() {
            return Err(race.verdict());
        }
        if race.sleep(stop).map_err(|error| Error::Unreachable(format!("poll: {error}")))? {
            return Ok(None);
        }
        let now = Instant::now();
        race.take_addresses();
        if let Some(winner) = race.advance(now) {
            return Ok(Some(winner));
        }
        race.drop_late(now);
        if pace.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(race.verdict());
        }
    }
}

struct Race<'a> {
    target: &'a Target,
    pace: Pace,
    /// What was not started yet, in order.
    waiting: VecDeque<Start>,
    runners: Vec<Runner>,
    /// When the next of `waiting` may start.
    next_start: Instant,
    look_ups: Option<LookUps>,
    trust: Option<Result<Trust, String>>,
    failures: Vec<Failure>,
    refusal: Option<(usize, ServerError)>,
    timed_out: bool,
    buffer: [u8; 8 * 1024],
}

enum Start {
    Host(usize),
    Address(usize, SocketAddr),
}

/// What a host, or one of its addresses, failed of.
struct Failure {
    host: usize,
    address: Option<IpAddr>,
    /// It took the connection.
    answered: bool,
    cause: String,
}

struct Runner {
    host: usize,
    address: Option<IpAddr>,
    /// `None`: its name is looked up.
    link: Option<Link>,
    since: Instant,
    ready: bool,
}

impl Runner {
    fn failed(self, cause: String) -> Failure {
        let answered = self.link.is_some_and(|link| link.stands());
        Failure { host: self.host, address: self.address, answered, cause }
    }
}

impl<'a> Race<'a> {
    fn new(target: &'a Target, pace: Pace) -> Race<'a> {
        let hosts = target.url.hosts.len();
        let mut waiting: VecDeque<Start> = (0..hosts).map(Start::Host).collect();
        if target.url.reconnect.randomize && hosts > 1 {
            waiting.rotate_left((Uuid::new_v4().as_u64_pair().0 % hosts as u64) as usize);
        }
        Race {
            target,
            pace,
            waiting,
            runners: Vec::new(),
            next_start: Instant::now(),
            look_ups: None,
            trust: None,
            failures: Vec::new(),
            refusal: None,
            timed_out: false,
            buffer: [0; 8 * 1024],
        }
    }

    fn host(&self, index: usize) -> &'a Host {
        &self.target.url.hosts[index]
    }

    /// Starts the next one, if it is time, and more of them while they fail at once.
    fn start_due(&mut self, now: Instant) {
        while now >= self.next_start || self.runners.is_empty() {
            let Some(start) = self.waiting.pop_front() else { return };
            match start {
                Start::Host(index) => self.start_host(index, now),
                Start::Address(index, address) => match self.open(index, address, now) {
                    Ok(link) => self.run(index, Some((address.ip(), link)), now),
                    Err(cause) => self.fail(index, Some(address.ip()), cause),
                },
            }
        }
    }

    fn start_host(&mut self, index: usize, now: Instant) {
        if let Some(addresses) = look_up::at_once(self.host(index)) {
            self.add_addresses(index, addresses);
            return;
        }
        match self.look_up(index) {
            Ok(()) => self.run(index, None, now),
            Err(error) => self.fail(index, None, format!("can't look up its name: {error}")),
        }
    }

    fn look_up(&mut self, index: usize) -> io::Result<()> {
        let look_ups = match self.look_ups.take() {
            Some(look_ups) => look_ups,
            None => LookUps::new()?,
        };
        let host = self.host(index);
        self.look_ups.insert(look_ups).start(index, host)
    }

    fn run(&mut self, host: usize, link: Option<(IpAddr, Link)>, now: Instant) {
        let (address, link) = link.unzip();
        self.runners.push(Runner { host, address, link, since: now, ready: false });
        self.next_start = now + self.pace.stagger;
    }

    fn add_addresses(&mut self, index: usize, addresses: Vec<SocketAddr>) {
        for address in addresses.into_iter().rev() {
            self.waiting.push_front(Start::Address(index, address));
        }
    }

    fn open(&mut self, index: usize, address: SocketAddr, now: Instant) -> Result<Link, String> {
        let host = self.host(index);
        let tls = if host.tls {
            let trust = self.trust.get_or_insert_with(|| Trust::load(&self.target.tls)).clone()?;
            Some((trust.client(&host.host)?, trust))
        } else {
            None
        };
        let mut link = Link::open(name(host), address, tls, self.target.login(host), now)?;
        link.flush(now)?;
        Ok(link)
    }

    fn fail(&mut self, host: usize, address: Option<IpAddr>, cause: String) {
        self.note(Failure { host, address, answered: false, cause });
    }

    fn note(&mut self, failure: Failure) {
        self.failures.push(failure);
        // It is of no use to wait for one that has failed.
        self.next_start = Instant::now();
    }

    /// Waits for bytes, addresses, the next start or the end; true when the caller is to stop.
    fn sleep(&mut self, stop: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let mut until = self.pace.deadline;
        let mut sooner = |moment: Instant| until = Some(until.map_or(moment, |until| until.min(moment)));
        if !self.waiting.is_empty() {
            sooner(self.next_start);
        }
        for runner in &self.runners {
            sooner(runner.since + self.pace.each);
        }
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(self.runners.len() + 2);
        let links = || self.runners.iter().filter_map(|runner| runner.link.as_ref());
        fds.extend(links().map(|link| PollFd::new(link.as_fd(), link.interest(true))));
        fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        fds.extend(self.look_ups.as_ref().map(|look_ups| PollFd::new(look_ups.as_fd(), PollFlags::POLLIN)));
        wait(&mut fds, until)?;
        let ready: Vec<bool> = fds.iter().map(is_ready).collect();
        let links = self.runners.iter_mut().filter(|runner| runner.link.is_some());
        let mut count = 0;
        for (runner, ready) in links.zip(&ready) {
            runner.ready = *ready;
            count += 1;
        }
        Ok(stop.is_some() && ready[count])
    }

    fn take_addresses(&mut self) {
        while let Some((index, found)) = self.look_ups.as_ref().and_then(LookUps::next) {
            let before = self.runners.len();
            self.runners.retain(|runner| runner.host != index || runner.link.is_some());
            match found {
                // Its time was up before the name server answered.
                _ if self.runners.len() == before => {}
                Ok(addresses) if addresses.is_empty() => self.fail(index, None, "its name has no address".to_owned()),
                Ok(addresses) => {
                    self.add_addresses(index, addresses);
                    self.next_start = Instant::now();
                }
                Err(error) => self.fail(index, None, format!("can't look up its name: {error}")),
            }
        }
    }

    /// Moves bytes; gives the link that is logged in.
    fn advance(&mut self, now: Instant) -> Option<Link> {
        let mut at = 0;
        while at < self.runners.len() {
            let step = match &mut self.runners[at] {
                Runner { link: Some(link), ready: true, .. } => step(link, &mut self.buffer, now),
                _ => Step::On,
            };
            match step {
                Step::On => at += 1,
                Step::LoggedIn => return self.runners.swap_remove(at).link,
                Step::Failed(cause) => {
                    let runner = self.runners.remove(at);
                    self.note(runner.failed(cause));
                }
                Step::Refused(error) => {
                    let runner = self.runners.remove(at);
                    // The host's other addresses know the same logins.
                    let host = runner.host;
                    self.waiting.retain(|start| !matches!(start, Start::Address(index, _) if *index == host));
                    self.note(runner.failed(format!("refused the login: {}", error.text)));
                    self.refusal.get_or_insert((host, error));
                }
            }
        }
        None
    }

    fn drop_late(&mut self, now: Instant) {
        let over = self.pace.deadline.is_some_and(|deadline| now >= deadline);
        let late = |runner: &mut Runner| over || now >= runner.since + self.pace.each;
        let late: Vec<Runner> = self.runners.extract_if(.., late).collect();
        for runner in late {
            self.timed_out = true;
            let no_name = || "its name server does not answer".to_owned();
            let missing = runner.link.as_ref().map_or_else(no_name, Link::missing);
            self.note(runner.failed(missing));
        }
    }

    fn verdict(mut self) -> Error {
        let untried: Vec<usize> = self
            .waiting
            .drain(..)
            .filter_map(|start| match start {
                Start::Host(index) => Some(index),
                Start::Address(..) => None,
            })
            .collect();
        for index in untried {
            self.fail(index, None, "was not tried, the time was up before".to_owned());
        }
        if let Some((index, error)) = self.refusal.take() {
            let others: Vec<String> = self.lines(Some(index)).into_iter().map(|line| format!("; {line}")).collect();
            let text = error.text + &others.concat();
            return Error::Login(named(&name(self.host(index)), ServerError { text, kind: error.kind }));
        }
        let text = self.lines(None).join("\n");
        if self.timed_out { Error::TimedOut(text) } else { Error::Unreachable(text) }
    }

    /// A line for each host but one, in the URL's order, with all its causes; where its addresses failed of different
    /// ones, with the addresses too. Where one took the connection it is of no interest that another did not: few
    /// brokers listen on both addresses of `localhost`.
    fn lines(&self, without: Option<usize>) -> Vec<String> {
        let line = |index: usize| {
            let mut of_host: Vec<&Failure> = self.failures.iter().filter(|failure| failure.host == index).collect();
            if of_host.iter().any(|failure| failure.answered) {
                of_host.retain(|failure| failure.answered);
            }
            let first = of_host.first()?;
            let text = if of_host.iter().all(|failure| failure.cause == first.cause) {
                first.cause.clone()
            } else {
                let told = of_host.iter().map(|failure| match failure.address {
                    Some(address) => format!("{} (at {address})", failure.cause),
                    None => failure.cause.clone(),
                });
                told.collect::<Vec<String>>().join("; ")
            };
            Some(format!("{}: {text}", name(self.host(index))))
        };
        (0..self.target.url.hosts.len()).filter(|index| Some(*index) != without).filter_map(line).collect()
    }
}

enum Step {
    On,
    LoggedIn,
    Failed(String),
    Refused(ServerError),
}

fn step(link: &mut Link, buffer: &mut [u8], now: Instant) -> Step {
    if let Err(cause) = link.flush(now).and_then(|()| link.fill(buffer, now)) {
        return Step::Failed(cause);
    }
    while let Some(event) = link.session.poll_event() {
        match event {
            Event::Connected => return Step::LoggedIn,
            Event::Refused { error, .. } if error.kind == ErrorKind::Login => return Step::Refused(error),
            Event::Refused { error, .. } => return Step::Failed(format!("refused the connection: {}", error.text)),
            Event::Closed(reason) => return Step::Failed(reason.to_string()),
            Event::Receipt(_) | Event::Message(_) => {}
        }
    }
    // The handshake's next words, and then the CONNECT that waited for it, go out without another round of poll.
    link.flush(now).map_or_else(Step::Failed, |()| Step::On)
}

/// `host:port`, as people know it from the URL; an IPv6 address in brackets.
fn name(host: &Host) -> String {
    if host.host.contains(':') {
        format!("[{}]:{}", host.host, host.port)
    } else {
        format!("{}:{}", host.host, host.port)
    }
}
