//! Temporary logins to a site: a file of them that nginx or HAProxy reads, and what is known of each beside it.
//!
//! ```text
//! /etc/nginx/preview.access              the logins of `preview`; lines that failcake did not write are left alone
//! /etc/nginx/.preview.access.failcake/   0700, of whoever owns the file
//!   logins.json                          who was let in by whom until when, and who no longer: decides, the file follows
//!   lock                                 flock'ed by whoever changes either
//!   .tmp-…                               a file that has no place yet
//! ```
//!
//! | room | what it does |
//! |---|---|
//! | `trust` | may this order be taken at all: signature, rules, times |
//! | `ledger` | what an order makes of what is known: a machine without clock and disk |
//! | `file` | the two formats: text in, text out |
//! | `keep` | the disk: ledger first, then the file, its check and its reload |
//! | `password` | a new password, and its hash |
//!
//! The folder stands beside the file, not below a user's own state: root and a service's user that keep one file must know
//! the same of it.

mod file;
mod keep;
mod ledger;
mod password;
mod trust;

use jiff::SignedDuration;

pub use keep::{Error, Kept, Survey, keep, survey};
pub use ledger::{How, Login, Refusal, State, Verdict, Wish};
pub use password::{NoRandom, Password, hash_of_unknown};
pub use trust::{Distrust, trust};

/// Clocks may be so far apart.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The longest that an order to let somebody in may wait for a node that is away. For so long (and a little more) what
/// came last is remembered of each login, so that nothing older counts again.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The longest that somebody may be let in for.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
/// How long a login that nobody signed is good for: the old tools say no time.
pub const CLEAR: SignedDuration = SignedDuration::from_hours(14 * 24);
