//! failcake: one binary that turns a message broker into a deploy bus.
//!
//! The map, from the wire inwards; `docs/architecture.md` says why it is so:
//!
//! | room | what it does |
//! |---|---|
//! | [`name`] | checked names: how an outside word becomes a path or an argument |
//! | [`stomp`] | the STOMP client, a machine without sockets |
//! | [`bus`] | connections: failover, TLS, publish until receipt, receive |
//! | [`broker`] | the embedded broker, for one machine |
//! | [`config`] | the one reader of files and environment |
//! | [`spool`] | a folder of waiting messages, one per user |
//! | [`process`] | child processes with an end |

pub mod broker;
pub mod bus;
pub mod config;
pub mod name;
pub mod process;
pub mod spool;
pub mod stomp;
