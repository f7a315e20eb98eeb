//! One pass over the orders that wait: each gets its POST, one after the other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Setup;
use super::order::Order;
use super::report::Report;
use super::store::{Fact, Followed, Store, age};
use crate::config::SecretPlace;
use crate::jenkins::Error;
use crate::process::Stop;
use crate::spool::{self, Name};

/// Between two POSTs: after a night without Jenkins the morning brings it four builds a second, not four thousand.
const PAUSE: Duration = Duration::from_millis(250);
/// An order that Jenkins refuses is set aside when it is this old, …
const REFUSED_FOR: Duration = Duration::from_secs(15 * 60);
/// … and was tried so often, …
const TRIES: u32 = 3;
/// … the first time after so long; it doubles up to the last.
const RETRY: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Why orders were not taken, as far as this process has seen. A restart forgets it, so that each start tries anew.
#[derive(Default)]
pub(super) struct Refusals {
    orders: HashMap<String, (u32, Instant)>,
    /// All orders fail with a bad credential, so those that wait behind the first need no tries of their own.
    logins: u32,
    /// And no credential that was refused is tried again before this.
    login_not_before: Option<Instant>,
}

/// Tries each once, oldest first. Says whether something is left that can be tried again.
///
/// `alone`: nobody comes back soon, so what is old enough is set aside at its first refusal.
pub(super) fn pass(
    setup: &Setup,
    store: &Store,
    refusals: &mut Refusals,
    stop: &Stop,
    alone: bool,
    mut tell: impl FnMut(Report),
) -> Result<bool, spool::Error> {
    if refusals.login_not_before.is_some_and(|not_before| Instant::now() < not_before) {
        return Ok(true);
    }
    let Some(_lock) = store.lock()? else { return Ok(true) };
    let names = store.orders()?;
    refusals.orders.retain(|id, _| names.iter().any(|name| name.id == *id));
    let mut left = false;
    let mut first = true;
    for name in names {
        if refusals.orders.get(&name.id).is_some_and(|(_, not_before)| Instant::now() < *not_before) {
            left = true;
            continue;
        }
        let order = match store.order(&name) {
            Ok(None) => continue,
            Ok(Some(order)) => order,
            Err(spool::Error::Damaged(why)) => {
                store.set_aside(&name, None, &why)?;
                tell(Report::Problem { key: name.id, text: format!("set aside {}: {why}", name.number) });
                continue;
            }
            Err(error) => return Err(error),
        };
        // Killed after Jenkins' yes and before the entry was removed.
        if store.remembers(&order, Fact::Started) {
            store.done(&name)?;
            continue;
        }
        if stop.wait(if first { Duration::ZERO } else { PAUSE }) {
            return Ok(true);
        }
        first = false;
        match start(setup, &order) {
            Ok(item) => {
                (refusals.logins, refusals.login_not_before) = (0, None);
                started(setup, store, &name, order, item, &mut tell)?;
            }
            Err(error @ Error::Unavailable(_)) => {
                tell(Report::Down(error.to_string()));
                return Ok(true);
            }
            Err(error) => {
                let tries = refusals.count(&name, matches!(error, Error::Login(_)));
                let is_final = matches!(error, Error::Login(_) | Error::Refused(_));
                if is_final && age(&name) >= REFUSED_FOR && (alone || tries >= TRIES) {
                    store.set_aside(&name, Some(&order), &error.to_string())?;
                    tell(Report::SetAside { order, why: error.to_string() });
                } else {
                    left = true;
                    tell(Report::Kept { order, why: error.to_string() });
                }
                if let Error::Login(_) = error {
                    return Ok(true);
                }
            }
        }
    }
    Ok(left)
}

fn start(setup: &Setup, order: &Order) -> Result<Option<u64>, Error> {
    let project = setup.jenkins.projects.get(&order.project);
    let token = project.and_then(|project| project.token.as_ref()).map(SecretPlace::read).transpose();
    let token = token.map_err(|error| Error::Refused(error.to_string()))?;
    setup.controller.start(&order.job, &order.parameters, token.as_ref())
}

/// Steps 3 of `store.rs`, in their order.
fn started(
    setup: &Setup,
    store: &Store,
    name: &Name,
    order: Order,
    item: Option<u64>,
    tell: &mut impl FnMut(Report),
) -> Result<(), spool::Error> {
    store.remember(&order, Fact::Started);
    if setup.follow && item.is_some() {
        let since = jiff::Timestamp::now().as_second().unsigned_abs();
        let followed = Followed { order: order.clone(), item, number: None, since };
        if let Err(error) = store.follow(&followed) {
            let text = format!("the build of {} for {} is not followed: {error}", order.job, order.about());
            tell(Report::Problem { key: order.id(), text });
        }
    }
    store.done(name)?;
    tell(Report::Started { order, item });
    Ok(())
}

impl Refusals {
    /// Notes one more; returns how many there were.
    fn count(&mut self, name: &Name, login: bool) -> u32 {
        let (tries, not_before) = self.orders.entry(name.id.clone()).or_insert((0, Instant::now()));
        let wait = RETRY.saturating_mul(1 << (*tries).min(16)).min(RETRY_MAX);
        (*tries, *not_before) = (tries.saturating_add(1), Instant::now() + wait);
        if !login {
            (self.logins, self.login_not_before) = (0, None);
            return *tries;
        }
        self.logins = self.logins.saturating_add(1);
        self.login_not_before = Some(*not_before);
        self.logins.max(*tries)
    }
}
