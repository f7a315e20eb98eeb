//! One integration binary: each module reads like a terminal session with the real programs.

mod access;
mod across;
mod asking;
mod broker;
mod broker_interop;
mod check;
mod completions;
mod config;
mod demo;
mod deploy;
mod fetch;
mod hook;
mod jenkins_status;
mod jenkins_trigger;
mod matrix;
mod node;
mod old_defects;
mod old_machines;
mod outbox;
mod packages;
mod sandbox;
mod svn;
mod tail;
mod units;
mod webhook;
