mod across;
mod watching;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use crate::conduct;
use crate::config::Source;
use crate::deploy::person::{ask, find, print_plan, tell};
use crate::deploy::Owner;
use crate::name::SiteName;
use crate::process::Stop;

/// Make a tag, branch or commit live on this machine, or with --on on others.
///
/// Stages a release from the local clone (no network), or of a Subversion site by an export from its server; links what is shared, runs pre-deploy and pre-link, switches
/// `current` by one rename, runs post-deploy. Whatever fails or is killed, the site serves the old release or the new
/// one, whole. A post-deploy that fails switches back.
///
/// Scripts stand in the release's `deploy/` folder (or `scripts:` of the site) and get `-t REF` and FAILCAKE_… in their
/// environment. What a script leaves running in its process group is ended with it: a daemon leaves it (setsid).
///
/// A link farm takes `REPO=REF` for each repository that changes, and leaves the others as they are. A REF without REPO is
/// taken where only one of its repositories has it.
///
/// With --on it goes over the bus to machines that run `failcake deploy --watch`: REF is resolved once, all of them fetch,
/// check and stage it, then one has its turn, and the rest only if that worked. Ctrl-C stops before the next host begins,
/// twice leaves; `failcake rollout` tells and goes on. The exit status is 0 if every host serves it. Of a link farm it takes
/// one `REPO=REF`. A site that is held by the plan of somebody who is gone is taken over with --take-over and that plan's id.
///
/// With --watch it is such a machine: it checks who signed a plan against `allow:`, does each step once, and answers. Steps
/// run as the site's user, in a process of their own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  failcake deploy www.example.org v1.2\n  \
                        failcake deploy www.example.org v1.2 --on 'web*' --bake 30s --batch 1,25%\n  \
                        failcake deploy www.example.org v1.2 --on 'web*' --take-over 0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17\n  \
                        failcake deploy --watch")]
pub struct Args {
    /// One of `sites:`.
    #[arg(required_unless_present = "watch")]
    site: Option<SiteName>,
    /// A tag, else a branch of the remote, else a full commit id; of a Subversion site `tags/NAME`, `branches/NAME`, `trunk`, or
    /// a revision of trunk; of a link farm `REPO=REF`, one or more.
    #[arg(value_name = "REF", required_unless_present = "watch")]
    references: Vec<String>,
    /// Stay, and deploy what signed plans on the bus ask for, until TERM; HUP reads the configuration again.
    #[arg(long, conflicts_with_all = ["site", "references", "dry_run", "wait", "Options"])]
    watch: bool,
    /// Say what would be done, from what to what, and which files change; touch nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait while another deploy or rollback of the site is under way, instead of giving up.
    #[arg(long, conflicts_with = "on")]
    wait: bool,
    /// Print the result as JSON; with --on, an event on each line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    across: conduct::Options,
}

/// Runs it.
///
/// # Errors
/// Nothing was deployed: the old release serves on.
pub fn run(args: Args, source: &Source) -> anyhow::Result<ExitCode> {
    let Some(site) = args.site.filter(|_| !args.watch) else { return watching::run(source, args.json) };
    let reference = args.references.join(" ");
    if args.across.on.is_some() {
        return across::run(source, &site, reference, &args.across, args.dry_run, args.json);
    }
    let config = source.load()?;
    let (site, origin) = find(&config, &site)?;
    let request = ask(reference, args.wait);
    let owner = Owner::become_of(site, !args.dry_run, Stop::on_signals()?)?;
    let here = owner.here(site, &origin, &config.repos, config.node.as_str());
    if args.dry_run {
        print_plan(&here.plan(&request).with_context(|| site.name.to_string())?, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let done = here.deploy(&request, &mut tell(Instant::now())).with_context(|| site.name.to_string())?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&done)?)?;
    } else {
        writeln!(stdout, "{} serves {} as release {}", done.site, done.reference, done.release)?;
    }
    Ok(ExitCode::SUCCESS)
}
