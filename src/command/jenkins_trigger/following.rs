//! Builds followed from the queue to their result, and told to the bus as `jenkins-status` would.
//!
//! What is followed is on disk. A build is told first and noted as told then: killed between the two, the next run tells
//! it again under the same name, and receivers drop what they have seen.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Setup;
use super::order::Order;
use super::report::Report;
use super::store::{Followed, Store, age};
use crate::config::Bus;
use crate::jenkins::{Error, Item, State};
use crate::message::build::{Build, Status};
use crate::message::{Event, EventId};
use crate::outbox::Outbox;
use crate::process::Stop;
use crate::spool::{self, Name};
use crate::stomp::Frame;

/// From one look at a build to the next: it doubles from the first to the second.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
/// What waits in the queue for longer is told, with Jenkins' reason.
const WAITS: Duration = Duration::from_secs(60);
/// No build is followed for longer: one that waits for a person over the weekend still is.
const FOLLOWED_FOR: Duration = Duration::from_secs(3 * 86_400);
/// How soon a build that was added by another thread or process is seen.
const NOTICE: Duration = Duration::from_secs(1);

/// When to stop following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing is left to follow.
    Ended,
    /// Each was looked at once: for cron, whose next run goes on.
    LookedAt,
}

/// What it takes to look at one.
struct Eye<'a> {
    setup: &'a Setup,
    bus: &'a Bus,
    outbox: &'a Outbox,
    store: &'a Store,
}

struct Pace {
    next: Instant,
    wait: Duration,
    told_wait: bool,
}

/// What one look at a build brought.
enum Look {
    /// Later again.
    Again,
    /// Again at once, under this name.
    Moved(Name),
    /// It is over.
    Over,
}

/// Follows all, one request after the other.
pub(super) fn follow(
    setup: &Setup,
    bus: &Bus,
    store: &Store,
    stop: &Stop,
    until: Until,
    mut tell: impl FnMut(Report),
) -> Result<(), spool::Error> {
    let Some(_lock) = store.lock_builds()? else { return Ok(()) };
    let outbox = Outbox::new(bus);
    let mut paces: HashMap<Name, Pace> = HashMap::new();
    loop {
        // Read before the folder: what is added after it is seen next time.
        let number = store.last_build();
        let names = store.builds()?;
        let there: HashSet<&Name> = names.iter().collect();
        paces.retain(|name, _| there.contains(name));
        for name in names {
            // Spread: builds of one push are not all looked at in the same instant for ever.
            let pace = paces.entry(name.clone()).or_insert_with(|| Pace {
                next: Instant::now(),
                wait: FIRST.mul_f64(0.9 + 0.2 * crate::watch::random()),
                told_wait: false,
            });
            let due = Instant::now() >= pace.next;
            if stop.is_set() {
                return Ok(());
            }
            if due {
                Eye { setup, bus, outbox: &outbox, store }.step(name, pace, &mut tell)?;
            }
        }
        let left = store.builds()?;
        if left.is_empty() || until == Until::LookedAt {
            return Ok(());
        }
        while store.last_build() == number && !paces.values().any(|pace| pace.next <= Instant::now()) {
            let next = paces.values().map(|pace| pace.next).min();
            let time = next.map_or(NOTICE, |next| next.saturating_duration_since(Instant::now())).min(NOTICE);
            if stop.wait(time + Duration::from_millis(1)) {
                return Ok(());
            }
        }
    }
}

enum Failure {
    Jenkins(Error),
    Disk(spool::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Jenkins(error)
    }
}

impl From<spool::Error> for Failure {
    fn from(error: spool::Error) -> Failure {
        Failure::Disk(error)
    }
}

impl Eye<'_> {
/// Looks at one until there is nothing more to see for now.
fn step(
    &self,
    mut name: Name,
    pace: &mut Pace,
    tell: &mut impl FnMut(Report),
) -> Result<(), spool::Error> {
    loop {
        let followed = match self.store.build(&name) {
            Ok(Some(followed)) => followed,
            Ok(None) => return Ok(()),
            Err(spool::Error::Damaged(why)) => {
                tell(Report::Problem { key: name.id.clone(), text: format!("a followed build is forgotten: {why}") });
                return self.store.unfollow(&name);
            }
            Err(error) => return Err(error),
        };
        match self.look(&name, &followed, pace, tell) {
            Ok(Look::Moved(next)) => name = next,
            Ok(Look::Over) => return self.store.unfollow(&name),
            Ok(Look::Again) => {
                let since = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs())
                    .saturating_sub(Duration::from_secs(followed.since));
                if since >= FOLLOWED_FOR {
                    let why = "it has not ended in three days, and is not followed any more".to_owned();
                    tell(Report::Lost { order: followed.order, why });
                    return self.store.unfollow(&name);
                }
                pace.next = Instant::now() + pace.wait;
                pace.wait = (pace.wait * 2).min(LAST);
                return Ok(());
            }
            Err(Failure::Disk(error)) => return Err(error),
            Err(Failure::Jenkins(error)) => {
                tell(Report::Problem { key: "follow".to_owned(), text: format!("builds can't be followed: {error}") });
                pace.next = Instant::now() + LAST;
                return Ok(());
            }
        }
    }
}

fn look(
    &self,
    name: &Name,
    followed: &Followed,
    pace: &mut Pace,
    tell: &mut impl FnMut(Report),
) -> Result<Look, Failure> {
    let order = &followed.order;
    let lost = |tell: &mut dyn FnMut(Report), why: &str| {
        tell(Report::Lost { order: order.clone(), why: why.to_owned() });
        Ok(Look::Over)
    };
    let mut report = |number: u64, status: Status| {
        let url = self.setup.controller.build_url(&order.job, number);
        self.publish(order, number, status, &url);
        tell(Report::Build { order: order.clone(), number, status, url });
    };
    if let Some(number) = followed.number {
        let status = match self.setup.controller.build(&order.job, number)? {
            State::Building => return Ok(Look::Again),
            State::Gone => return lost(tell, "its build was deleted before its result was seen"),
            State::Success => Status::Success,
            State::Unstable => Status::Unstable,
            State::Failure => Status::Failure,
            State::Aborted => Status::Aborted,
        };
        report(number, status);
        return Ok(Look::Over);
    }
    let Some(item) = followed.item else { return lost(tell, "it has no item of the queue to follow") };
    let number = match self.setup.controller.item(item)? {
        Item::Build(number) => number,
        Item::Cancelled => return lost(tell, "somebody took it out of Jenkins' queue"),
        Item::Gone => match self.setup.controller.build_of_item(&order.job, item)? {
            Some(number) => number,
            None => return lost(tell, "Jenkins has forgotten its item of the queue, and no recent build came of it"),
        },
        Item::Waits(why) => {
            if !pace.told_wait && age(name) >= WAITS {
                pace.told_wait = true;
                let why = why.unwrap_or_else(|| "it does not say why".to_owned());
                let why: String = why.chars().filter(|c| !c.is_control()).take(300).collect();
                tell(Report::Lost { order: order.clone(), why: format!("it waits in Jenkins' queue: {why}") });
            }
            return Ok(Look::Again);
        }
    };
    report(number, Status::Started);
    // Killed between the two: both are there, the older is looked at again and becomes the same build.
    let moved = self.store.follow(&Followed { number: Some(number), ..followed.clone() })?;
    self.store.unfollow(name)?;
    (pace.wait, pace.next) = (FIRST, Instant::now());
    Ok(Look::Moved(moved))
}

/// As `jenkins-status` says it; it waits in the spool when the broker is away.
fn publish(&self, order: &Order, number: u64, status: Status, url: &str) {
    let build = Build {
        status,
        job: Some(order.job.to_string()),
        number: Some(number.to_string()),
        url: Some(url.to_owned()),
        repo: order.repo.parse().ok(),
        refname: order.refname.parse().ok(),
        commit: order.commit.parse().ok(),
        change: None,
        cause: order.event.parse().ok(),
    };
    let now = jiff::Timestamp::now();
    let id = |of: &str| EventId::derived(order.hash(&format!("{of} {number} {status:?}")));
    let frame = |key: &str, event: Event| Frame::send(&self.bus.topics.get(key), event.headers, event.body.into_bytes());
    let frames = vec![
        frame(status.topic(), build.event(id("build"), now)),
        frame("events-jenkins", Event::human_with(id("human"), now, &build.subject())),
    ];
    if let Err(error) = self.outbox.emit(frames, &build.subject()) {
        crate::command::complain(&format!("warning: {error}"));
    }
}
}
