//! `deploy --watch`: a node.

use std::process::ExitCode;

use crate::config::Source;
use crate::node::{self, Setup};

/// Is one until TERM or INT.
pub(super) fn run(source: &Source, json: bool) -> anyhow::Result<ExitCode> {
    let since = jiff::Timestamp::now();
    let load = || -> anyhow::Result<Setup> { Ok(Setup::new(source.load()?, since)?) };
    node::run(load()?, load, json)?;
    Ok(ExitCode::SUCCESS)
}
