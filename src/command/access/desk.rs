//! Orders that came and wait for their turn: trusted or not, taken, and the files made to follow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::report::Report;
use crate::access::{Error, Verdict, Wish, hash_of_unknown, keep, trust};
use crate::bus::AckToken;
use crate::config::Config;
use crate::message::EventId;
use crate::message::access::{Action, Clear, Heard, Order};
use crate::name::{LoginName, SiteName};
use crate::process::Stop;

/// So many wait at most, where the broker does not keep them: each costs a process, and anybody may send them.
const MOST: usize = 1000;

/// An order that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) heard: Heard,
    /// The message's name, for what has none of its own.
    pub(super) id: EventId,
    pub(super) token: Option<AckToken>,
}

/// The queue. An order leaves it when it is on the disk, or refused.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<VecDeque<Pending>>);

/// What a round has to tell.
pub(super) enum Told {
    Report(Report),
    /// The broker need not send it again.
    Done(AckToken),
    /// When the next login ends.
    NextEnd(Timestamp),
}

impl Desk {
    /// `false`: there is no room.
    pub(super) fn put(&self, pending: Pending) -> bool {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = queue.len() < MOST;
        if has_room {
            queue.push_back(pending);
        }
        has_room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take_all(&self) -> VecDeque<Pending> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, pending: Vec<Pending>) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pending in pending.into_iter().rev() {
            queue.push_front(pending);
        }
    }

    /// Takes what waits, ends what is over, and mends what an earlier round left; `false`: something is left for the next.
    pub(super) fn round(&self, config: &Config, stop: &Stop, mut tell: impl FnMut(Told)) -> bool {
        let mut is_good = true;
        let mut by_site: BTreeMap<&SiteName, Vec<(Pending, Wish)>> = BTreeMap::new();
        let mut later = Vec::new();
        for pending in self.take_all() {
            // A site that a reload took away.
            let Some((site, _)) = config.access.get_key_value(pending.heard.site()) else {
                pending.token.into_iter().for_each(|token| tell(Told::Done(token)));
                continue;
            };
            if stop.is_set() {
                later.push(pending);
                continue;
            }
            match wish(&pending, config) {
                Ok(wish) => by_site.entry(site).or_default().push((pending, wish)),
                Err(Trouble::Order(why)) => {
                    tell(Told::Report(Report::Refused { what: about(&pending.heard), why }));
                    pending.token.into_iter().for_each(|token| tell(Told::Done(token)));
                }
                Err(Trouble::Machine(why)) => {
                    is_good = false;
                    tell(Told::Report(Report::problem("orders", &format!("{}: {why}", about(&pending.heard)))));
                    later.push(pending);
                }
            }
        }
        if is_good {
            tell(Told::Report(Report::Fine { about: "orders".to_owned() }));
        }
        let mut next = None;
        for (site, access) in &config.access {
            let (pending, wishes): (Vec<Pending>, Vec<Wish>) = by_site.remove(site).unwrap_or_default().into_iter().unzip();
            match keep(site, access, &wishes, Timestamp::now(), Some(stop)) {
                Ok(kept) => {
                    for user in kept.ended {
                        tell(Told::Report(Report::Expired { site: site.clone(), user }));
                    }
                    for ((pending, wish), verdict) in pending.into_iter().zip(&wishes).zip(kept.verdicts) {
                        outcome(site, wish, verdict, about(&pending.heard)).into_iter().for_each(|report| tell(Told::Report(report)));
                        pending.token.into_iter().for_each(|token| tell(Told::Done(token)));
                    }
                    next = next.into_iter().chain(kept.next_end).min();
                    is_good &= kept.trouble.is_none();
                    match kept.trouble {
                        // Our own end is no problem of the site.
                        Some(Error::Stopped) => {}
                        Some(trouble) => tell(Told::Report(Report::problem(site.as_str(), &trouble))),
                        None => tell(Told::Report(Report::Fine { about: site.to_string() })),
                    }
                }
                Err(error) => {
                    is_good = false;
                    if !matches!(error, Error::Stopped) {
                        tell(Told::Report(Report::problem(site.as_str(), &error)));
                    }
                    later.extend(pending);
                }
            }
        }
        next.into_iter().for_each(|next| tell(Told::NextEnd(next)));
        self.put_back(later);
        is_good
    }
}

/// Why a message does not become a wish.
enum Trouble {
    /// It is to blame.
    Order(String),
    /// This machine is.
    Machine(String),
}

fn wish(pending: &Pending, config: &Config) -> Result<Wish, Trouble> {
    match &pending.heard {
        Heard::Order { order, signed } => match trust(order, signed, config, Timestamp::now()) {
            Ok(()) => Ok(Wish::Order((**order).clone())),
            Err(distrust) if distrust.is_final() => Err(Trouble::Order(distrust.to_string())),
            Err(trouble) => Err(Trouble::Machine(trouble.to_string())),
        },
        Heard::Clear(Clear { site, user, password }) => {
            if !config.access.get(site).is_some_and(|access| access.accept_cleartext) {
                let why = "the password is in the clear, and `accept-cleartext:` is off: let `failcake access grant` do it";
                return Err(Trouble::Order(why.to_owned()));
            }
            let hash = hash_of_unknown(password).map_err(|error| Trouble::Machine(error.to_string()))?;
            Ok(Wish::Clear { id: pending.id, user: user.clone(), hash })
        }
    }
}

fn outcome(site: &SiteName, wish: &Wish, verdict: Verdict, what: String) -> Option<Report> {
    let site = site.clone();
    let who = |order: &Order| order.who.clone();
    let user: &LoginName = match wish {
        Wish::Order(order) => &order.user,
        Wish::Clear { user, .. } => user,
    };
    let user = user.clone();
    match (verdict, wish) {
        (Verdict::Known, _) => None,
        (Verdict::Refused(refusal), _) => Some(Report::Refused { what, why: refusal.to_string() }),
        (Verdict::Granted(until), Wish::Order(order)) => Some(Report::Granted { site, user, until, who: Some(who(order)) }),
        (Verdict::Granted(until), Wish::Clear { .. }) => Some(Report::Granted { site, user, until, who: None }),
        (Verdict::Revoked(had), Wish::Order(order)) => Some(Report::Revoked { site, user, who: who(order), had }),
        (Verdict::Revoked(_), Wish::Clear { .. }) => None,
    }
}

/// The order in few words; its names were checked when it was read.
fn about(heard: &Heard) -> String {
    match heard {
        Heard::Order { order, .. } => {
            let Order { site, user, who, action, .. } = &**order;
            let what = if matches!(action, Action::Revoke) { "the end of access" } else { "access" };
            format!("{what} to {site} for {user} by {who}")
        }
        Heard::Clear(Clear { site, user, .. }) => format!("access to {site} for {user}, which nobody signed"),
    }
}
