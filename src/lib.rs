//! failcake: one binary that turns a message broker into a deploy bus.
//!
//! The map, from the wire inwards; `docs/architecture.md` says why it is so:
//!
//! | room | what it does |
//! |---|---|
//! | [`name`] | checked names: how an outside word becomes a path or an argument |
//! | [`stomp`] | the STOMP client, a machine without sockets |
//! | [`apt`] | apt: which packages could be had, never an install |
//! | [`bus`] | connections: failover, TLS, publish until receipt, receive |
//! | [`broker`] | the embedded broker, for one machine |
//! | [`config`] | the one reader of files and environment |
//! | [`outbox`] | spool first, then send over the bus, oldest first |
//! | [`spool`] | a folder of waiting messages, one per user |
//! | [`journal`] | where the log goes: stderr, or systemd's journal |
//! | [`jenkins`] | the part of Jenkins' remote API that starts and follows builds |
//! | [`select`] | which hosts `--on` means: names, patterns, groups, facts |
//! | [`rollout`] | a deploy across hosts, a machine without clock and network |
//! | [`reprepro`] | uploads into a package repository |
//! | [`seen`] | what was seen in the last minutes, shared by processes |
//! | [`forge`] | what forges say in their webhooks, told apart and checked |
//! | [`http`] | webhook deliveries, over HTTP and CGI: the only room with an async runtime |
//! | [`message`] | events: envelope, text for people, JSON for programs |
//! | [`access`] | temporary logins in the files that nginx and HAProxy read |
//! | [`durable`] | a file replaced as a whole |
//! | [`process`] | child processes with an end |
//! | [`ask`] | one question to the nodes, and answers from whoever is there |
//! | [`fleet`] | which machines `--on` means, and what they say |
//! | [`hear`] | who answered: replies of nodes, checked before anybody believes them |
//! | [`exec`] | a program of the administrator's, run for something that happened |
//! | [`git`] | git: keep a clone like its remote, read what a push brought |
//! | [`svn`] | Subversion: what a revision changed, by project |
//! | [`signature`] | SSH signatures against allowed_signers, and keys for one plan's steps |
//! | [`tree`] | a commit as a directory |
//! | [`publish`] | branches or tags as directories that are always whole |
//! | [`release`] | releases/, current and their recorded state: stage, switch, prune, roll back |
//! | [`script`] | pre-deploy, pre-link, post-deploy |
//! | [`deploy`] | make one revision live here, or go back |
//! | [`node`] | a machine that deploys when it is told to over the bus |
//! | [`conduct`] | the operator's side of a deploy on several hosts |
//! | [`watch`] | the loop that every reacting verb shares |

pub mod access;
pub mod apt;
pub mod ask;
pub mod broker;
pub mod bus;
pub mod command;
pub mod conduct;
pub mod config;
pub mod deploy;
pub mod durable;
pub mod exec;
pub mod fleet;
pub mod forge;
pub mod git;
pub mod hear;
pub mod http;
pub mod jenkins;
pub mod journal;
pub mod message;
pub mod name;
pub mod node;
pub mod outbox;
pub mod process;
pub mod publish;
pub mod release;
pub mod reprepro;
pub mod rollout;
pub mod script;
pub mod seen;
pub mod select;
pub mod signature;
pub mod spool;
pub mod stomp;
pub mod svn;
pub mod tree;
pub mod watch;
