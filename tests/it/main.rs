//! One integration binary: each module reads like a terminal session with the real programs.

mod broker;
mod broker_interop;
mod hook;
mod matrix;
mod old_defects;
mod outbox;
mod sandbox;
