//! What waits on disk, so that no build is forgotten and none is started for an event that comes again.
//!
//! ```text
//! SPOOL/UID/jenkins/             orders that wait for Jenkins; refused/ holds those that were set aside
//! SPOOL/UID/jenkins/started      which orders are done with: seen.rs
//! SPOOL/UID/jenkins-builds/      builds that are followed
//! ```
//!
//! An order goes through these steps, and may be killed between any two:
//!
//! 1. it is written, made durable and renamed into its place; *then* its event is acknowledged. Killed before: the
//!    broker sends the event again, and an order with that name is there or not;
//! 2. Jenkins gets the POST;
//! 3. `started` remembers it; *then* it is written as a build to follow; *then* it leaves its place.
//!
//! So from its first step on an order is in its place or in `started`, and an event that comes again finds it in one of
//! them. What can happen twice is the POST alone: killed (or cut off) between Jenkins' yes and step 3. Jenkins' API has no
//! way to ask. It merges equal items of its queue, so with the event's id among the parameters even that is one build
//! while the first still waits there. A power loss may also forget the last lines of `started`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::config::SpoolPlace;
use crate::jenkins::FOLDER;
use crate::seen::Seen;
use crate::spool::{Content, DrainLock, Error, Limits, Name, Spool, Waiting};

/// Longer than any broker keeps an event for somebody who does not come.
const REMEMBERED: Duration = Duration::from_secs(60 * 86_400);
/// For the lock under which numbers are given: its holders write one small file.
const PATIENCE: Duration = Duration::from_millis(500);

/// What happened to an order, as `started` remembers it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fact {
    /// Jenkins said yes.
    Started,
    /// It was set aside.
    SetAside,
}

impl Fact {
    fn word(self) -> &'static str {
        match self {
            Fact::Started => "started",
            Fact::SetAside => "set aside",
        }
    }
}

/// A build that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Followed {
    pub(super) order: Order,
    /// The item of the queue that it was.
    pub(super) item: Option<u64>,
    /// The build that the item became.
    pub(super) number: Option<u64>,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
}

/// The folders. Each thread has its own.
pub(super) struct Store {
    orders: Spool,
    builds: Spool,
    seen: Seen,
}

impl Store {
    pub(super) fn open(place: &SpoolPlace) -> anyhow::Result<Store> {
        let limits = Limits { count: place.max_count, bytes: place.max_bytes };
        let spool = Spool::open(&place.parent, limits)?;
        let (orders, builds) = (spool.inner(FOLDER)?, spool.inner("jenkins-builds")?);
        let path = orders.path().join("started");
        let seen = Seen::open(&path, REMEMBERED).with_context(|| format!("can't open {}", path.display()))?;
        Ok(Store { orders, builds, seen })
    }

    /// Keeps an order, durably; `false`: it is kept already, or done with.
    pub(super) fn keep(&self, order: &Order) -> Result<bool, Error> {
        let id = order.id();
        let waits = || self.orders.list().map(|listing| listing.entries.iter().any(|name| name.id == id));
        if self.remembers(order, Fact::Started) || self.remembers(order, Fact::SetAside) || waits()? {
            return Ok(false);
        }
        let about = format!("{} for {}", order.job, order.about());
        let entry = self.orders.put(&id, &about, &encode(order), PATIENCE)?;
        self.orders.make_durable(&entry)?;
        Ok(true)
    }

    /// Takes the right to send; `None` while another process has it.
    pub(super) fn lock(&self) -> Result<Option<DrainLock>, Error> {
        self.orders.lock_drain()
    }

    /// What waits, oldest first.
    pub(super) fn orders(&self) -> Result<Vec<Name>, Error> {
        let listing = self.orders.list()?;
        self.orders.clear_leftovers(&listing);
        Ok(listing.entries)
    }

    /// `None`: it is gone.
    pub(super) fn order(&self, name: &Name) -> Result<Option<Order>, Error> {
        self.orders.read(name)?.map(|content| decode(&content)).transpose()
    }

    pub(super) fn done(&self, name: &Name) -> Result<(), Error> {
        self.orders.remove(name)
    }

    pub(super) fn set_aside(&self, name: &Name, order: Option<&Order>, reason: &str) -> Result<(), Error> {
        if let Some(order) = order {
            self.remember(order, Fact::SetAside);
        }
        self.orders.set_aside(name, reason)
    }

    /// Lets what was set aside wait again.
    pub(super) fn readmit(&self) -> Result<usize, Error> {
        self.orders.readmit()
    }

    /// What waits and what was set aside, for people.
    pub(super) fn survey(&self) -> Result<Vec<Waiting>, Error> {
        self.orders.survey()
    }

    pub(super) fn remembers(&self, order: &Order, fact: Fact) -> bool {
        // What can't be read is not remembered: a build too many is better than one that never comes.
        self.seen.holds(&order.hash(fact.word()), SystemTime::now()).unwrap_or(false)
    }

    pub(super) fn remember(&self, order: &Order, fact: Fact) {
        if let Err(error) = self.seen.remember(&order.hash(fact.word()), SystemTime::now()) {
            log::warn!("{}: should its event come again, it is taken for new: {error}", order.about());
        }
    }

    /// Remembers a build to follow; of one order the last counts.
    pub(super) fn follow(&self, followed: &Followed) -> Result<Name, Error> {
        let about = format!("{} for {}", followed.order.job, followed.order.about());
        let entry = self.builds.put(&followed.order.id(), &about, &encode(followed), PATIENCE)?;
        self.builds.make_durable(&entry)?;
        Ok(entry.name)
    }

    pub(super) fn builds(&self) -> Result<Vec<Name>, Error> {
        let listing = self.builds.list()?;
        self.builds.clear_leftovers(&listing);
        Ok(listing.entries)
    }

    pub(super) fn build(&self, name: &Name) -> Result<Option<Followed>, Error> {
        self.builds.read(name)?.map(|content| decode(&content)).transpose()
    }

    pub(super) fn unfollow(&self, name: &Name) -> Result<(), Error> {
        self.builds.remove(name)
    }

    /// Whether something was added to the builds since.
    pub(super) fn last_build(&self) -> Option<u64> {
        self.builds.last_number()
    }

    /// Only one process follows; `None` while another does.
    pub(super) fn lock_builds(&self) -> Result<Option<DrainLock>, Error> {
        self.builds.lock_drain()
    }
}

/// How long an entry waits already: its number is the clock's when it was made.
pub(super) fn age(name: &Name) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_nanos(name.number))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Strings and numbers only: serde_json fails on maps with other keys and on failing writers.
    serde_json::to_vec(value).unwrap_or_default()
}

fn decode<T: serde::de::DeserializeOwned>(content: &Content) -> Result<T, Error> {
    serde_json::from_slice(&content.payload).map_err(|error| Error::Damaged(format!("it is of another failcake: {error}")))
}
