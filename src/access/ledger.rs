//! What is known of one site's logins, and what an order makes of it: a machine without clock and disk.
//!
//! Of each login the last order is remembered, also when it ended, until no older one could be taken any more. So the
//! same order again changes nothing, and an older one that comes late is refused, however orders are lost, doubled,
//! delayed and reordered.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{CLEAR, LONGEST_WAIT, SKEW};
use crate::message::EventId;
use crate::message::access::{Action, Order};
use crate::name::{LoginName, PasswordHash, Principal};

/// Another one is not read.
const VERSION: u32 = 1;
/// For so long a clock has to say the same before anything is forgotten by it.
const SETTLED: SignedDuration = SignedDuration::from_hours(24);
/// So many logins of one site are remembered: HAProxy reads them all at each reload, nginx at each request.
const MOST: usize = 1000;

/// All that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Ledger {
    version: u32,
    logins: BTreeMap<LoginName, Login>,
    /// The file was changed, and who reads it may not know yet.
    pub(super) owes_reload: bool,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { version: VERSION, logins: BTreeMap::new(), owes_reload: false }
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Login {
    /// Of the last order.
    pub id: EventId,
    /// Who gave it; `None`: nobody signed it.
    pub who: Option<Principal>,
    /// When.
    pub issued: Timestamp,
    /// How it is now.
    pub state: State,
    /// The revocation that it came after, whose repetition ends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<EventId>,
    /// Since then it could be forgotten, by a clock that may have been wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle: Option<Timestamp>,
}

/// How a login is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It lets in.
    Live {
        /// Of its password.
        hash: PasswordHash,
        /// Until then.
        expires: Timestamp,
    },
    /// It lets in no longer.
    Ended {
        /// Since then.
        at: Timestamp,
        /// Why.
        how: How,
    },
}

/// Why a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its time was up.
    Expired,
    /// Somebody ended it.
    Revoked,
}

/// What is wanted of a login. It is trusted already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A signed order.
    Order(Order),
    /// One of the old tools'.
    Clear {
        /// A name for it.
        id: EventId,
        /// Who logs in.
        user: LoginName,
        /// Of its password.
        hash: PasswordHash,
    },
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in until then.
    Granted(Timestamp),
    /// Let in no longer; `false`: nor was it before.
    Revoked(bool),
    /// It was taken before.
    Known,
    /// It is not taken.
    Refused(Refusal),
}

/// Why a wish is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("it would have ended at {0:.0}, which has passed")]
    Expired(Timestamp),
    #[error("it is of {issued:.0}, and a later order of {later:.0} counts (clocks apart?)")]
    Superseded { issued: Timestamp, later: Timestamp },
    #[error("the file has a login of that name that is not failcake's: choose another, or take that one out")]
    Foreign,
    #[error("{MOST} logins are remembered already: revoke some, or wait until they are forgotten")]
    Full,
    #[error("it is in the clear, and a signed order for that login counts")]
    Unsigned,
}

impl Ledger {
    pub(super) fn is_of_this_version(&self) -> bool {
        self.version == VERSION
    }

    /// Takes a wish. `foreign`: who has a login in the file that is not ours.
    pub(super) fn take(&mut self, wish: &Wish, foreign: &BTreeSet<String>, now: Timestamp) -> Verdict {
        match wish {
            Wish::Clear { id, user, hash } => self.take_clear(*id, user, hash, foreign, now),
            Wish::Order(order) => match &order.action {
                Action::Grant { hash, expires } => self.grant(order, hash, *expires, foreign, now),
                Action::Revoke => self.revoke(order, now),
            },
        }
    }

    fn grant(
        &mut self,
        order: &Order,
        hash: &PasswordHash,
        expires: Timestamp,
        foreign: &BTreeSet<String>,
        now: Timestamp,
    ) -> Verdict {
        let known = self.logins.get(&order.user);
        if known.is_some_and(|known| known.id == order.id) {
            return Verdict::Known;
        }
        // What nobody signed stands back.
        if let Some(known) = known.filter(|known| known.who.is_some() && order.issued <= known.issued) {
            return Verdict::Refused(Refusal::Superseded { issued: order.issued, later: known.issued });
        }
        if expires <= now {
            return Verdict::Refused(Refusal::Expired(expires));
        }
        if let Some(refusal) = self.no_room(&order.user, foreign) {
            return Verdict::Refused(refusal);
        }
        let after = known.and_then(|known| match known.state {
            State::Ended { how: How::Revoked, .. } => Some(known.id),
            _ => known.after,
        });
        let state = State::Live { hash: hash.clone(), expires };
        let login =
            Login { id: order.id, who: Some(order.who.clone()), issued: order.issued, state, after, idle: None };
        self.logins.insert(order.user.clone(), login);
        Verdict::Granted(expires)
    }

    fn revoke(&mut self, order: &Order, now: Timestamp) -> Verdict {
        let known = self.logins.get(&order.user);
        if known.is_some_and(|known| known.id == order.id || known.after == Some(order.id)) {
            return Verdict::Known;
        }
        // In doubt, when clocks are apart, it ends what was given at about the same time.
        let later = known.filter(|known| {
            known.who.is_some() && known.issued > order.issued.saturating_add(SKEW).unwrap_or(order.issued)
        });
        if let Some(known) = later {
            return Verdict::Refused(Refusal::Superseded { issued: order.issued, later: known.issued });
        }
        let was_live = known.is_some_and(|known| matches!(known.state, State::Live { .. }));
        // What it ended must not come again, though its giver's clock may be ahead.
        let issued = known.map_or(order.issued, |known| known.issued.max(order.issued));
        let state = State::Ended { at: now, how: How::Revoked };
        let login = Login { id: order.id, who: Some(order.who.clone()), issued, state, after: None, idle: None };
        self.logins.insert(order.user.clone(), login);
        Verdict::Revoked(was_live)
    }

    fn take_clear(
        &mut self,
        id: EventId,
        user: &LoginName,
        hash: &PasswordHash,
        foreign: &BTreeSet<String>,
        now: Timestamp,
    ) -> Verdict {
        let known = self.logins.get(user);
        if known.is_some_and(|known| known.id == id) {
            return Verdict::Known;
        }
        if known.is_some_and(|known| known.who.is_some()) {
            return Verdict::Refused(Refusal::Unsigned);
        }
        if let Some(refusal) = self.no_room(user, foreign) {
            return Verdict::Refused(refusal);
        }
        let expires = now.saturating_add(CLEAR).unwrap_or(now);
        let state = State::Live { hash: hash.clone(), expires };
        self.logins.insert(user.clone(), Login { id, who: None, issued: now, state, after: None, idle: None });
        Verdict::Granted(expires)
    }

    fn no_room(&self, user: &LoginName, foreign: &BTreeSet<String>) -> Option<Refusal> {
        if foreign.contains(user.as_str()) {
            return Some(Refusal::Foreign);
        }
        (self.logins.len() >= MOST && !self.logins.contains_key(user)).then_some(Refusal::Full)
    }

    /// Ends what is over now, and says what that is.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<LoginName> {
        let mut ended = Vec::new();
        for (user, login) in &mut self.logins {
            if matches!(login.state, State::Live { expires, .. } if expires <= now) {
                login.state = State::Ended { at: now, how: How::Expired };
                ended.push(user.clone());
            }
        }
        ended
    }

    /// Forgets what ended so long ago that nothing older could be taken; a day after it first seemed so. A clock that was far
    /// ahead for a while must not let a recorded order in again.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.logins.retain(|_, login| {
            let last = login.issued.saturating_add(LONGEST_WAIT + SKEW * 2).unwrap_or(Timestamp::MAX);
            let is_over = matches!(login.state, State::Ended { .. }) && last < now;
            login.idle = match login.idle {
                Some(since) if is_over && since <= now => Some(since),
                _ => is_over.then_some(now),
            };
            login.idle.is_none_or(|since| now.duration_since(since) < SETTLED)
        });
    }

    /// When the next login ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.live().map(|(_, _, expires)| *expires).min()
    }

    /// Who is let in.
    pub(super) fn live(&self) -> impl Iterator<Item = (&LoginName, &PasswordHash, &Timestamp)> {
        self.logins.iter().filter_map(|(user, login)| match &login.state {
            State::Live { hash, expires } => Some((user, hash, expires)),
            State::Ended { .. } => None,
        })
    }

    pub(super) fn into_logins(self) -> BTreeMap<LoginName, Login> {
        self.logins
    }
}

#[cfg(test)]
mod tests;
