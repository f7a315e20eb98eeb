//! `failcake demo`: the whole story on one machine, each step checked.

use std::process::ExitCode;

use crate::config::Source;

mod stage;

use stage::Stage;

/// Shows the whole story on this machine: a push travels over a bus and comes out as a deployed release.
///
/// Everything happens in a scratch folder, on the embedded broker, with no configuration, no root and no network: a
/// bare repository with the real hook, two "servers" that watch the bus, a build, a deploy on each, a bad release that
/// is refused, and a rollback. It clears every FAILCAKE_* variable for itself and exits non-zero if a step did not do
/// what it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  failcake demo --keep      # leave the folder, and print the commands to play on")]
pub struct Args {
    /// Leave the scratch folder, and print the commands to play on.
    #[arg(long)]
    keep: bool,
}

const SERVERS: [&str; 2] = ["web01", "web02"];

/// Tells the story.
///
/// # Errors
/// The first step that did not do what it says.
pub fn run(args: Args, _source: &Source) -> anyhow::Result<ExitCode> {
    let mut stage = Stage::set(&SERVERS)?;

    stage.scene("A bus, a git server, two web servers");
    stage.start_broker()?;
    stage.create_repository()?;
    for server in SERVERS {
        stage.start_server(server)?;
    }

    stage.scene("A push becomes an event; the servers already have the code");
    let first = stage.push("v1", "Hello from release one", true)?;
    stage.expect_push(&first)?;
    stage.expect_fetched(&first)?;

    stage.scene("The build passes; both servers deploy");
    stage.report_build(&first)?;
    for server in SERVERS {
        stage.deploy(server, &first)?;
        stage.expect_page(server, "Hello from release one")?;
    }

    stage.scene("A second release, one server first");
    let second = stage.push("v2", "Hello from release two", true)?;
    stage.expect_push(&second)?;
    stage.expect_fetched(&second)?;
    stage.report_build(&second)?;
    stage.deploy(SERVERS[0], &second)?;
    stage.expect_page(SERVERS[0], "Hello from release two")?;
    stage.expect_page(SERVERS[1], "Hello from release one")?;
    stage.deploy(SERVERS[1], &second)?;
    stage.expect_page(SERVERS[1], "Hello from release two")?;

    stage.scene("A bad release is refused by its own pre-deploy script; the old one serves on");
    let bad = stage.push("v3", "Hello from release three", false)?;
    stage.expect_push(&bad)?;
    stage.expect_fetched(&bad)?;
    stage.expect_refusal(SERVERS[0], &bad)?;
    stage.expect_page(SERVERS[0], "Hello from release two")?;

    stage.scene("Rollback: one rename");
    for server in SERVERS {
        stage.rollback(server)?;
        stage.expect_page(server, "Hello from release one")?;
    }

    stage.finish(args.keep)?;
    Ok(ExitCode::SUCCESS)
}
