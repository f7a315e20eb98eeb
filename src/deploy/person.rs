//! A person at a terminal: which site is meant, who asks, and telling how it goes.

use std::io::Write as _;
use std::time::Instant;

use super::{Origin, Plan, Request, Said};
use crate::config::{self, Config, Site};
use crate::name::SiteName;
use crate::release::Part;

/// The site and where its files come from.
///
/// # Errors
/// There is no such site; the ones there are are named.
pub fn find<'a>(config: &'a Config, name: &SiteName) -> Result<(&'a Site, Origin<'a>), config::Error> {
    let known = || match config.sites.len() {
        0 => "no site is configured".to_owned(),
        _ => format!("known are {}", config.sites.keys().map(SiteName::as_str).collect::<Vec<_>>().join(", ")),
    };
    let site = config.sites.get(name).ok_or_else(|| config::Error(format!("there is no site {name}: {}", known())))?;
    Ok((site, Origin::of(config, site)?))
}

/// Who runs this, or who called sudo to run it. To be asked before this process becomes the site's user.
pub fn me() -> String {
    let me = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    // Only where somebody became another user on purpose: who is asked for by revisions.log is the person.
    let sudo = std::env::var("SUDO_USER").ok().filter(|who| !who.is_empty() && !who.contains(char::is_control));
    sudo.or_else(me).unwrap_or_else(|| nix::unistd::getuid().to_string())
}

/// A request of the person or program that runs this.
pub fn ask(reference: String, wait: bool) -> Request {
    Request {
        reference,
        expected: None,
        who: me(),
        id: uuid::Uuid::now_v7().to_string(),
        wait,
        canary: false,
        attempt: 1,
    }
}

/// The parts of a link farm, a line each.
///
/// # Errors
/// Of `out`.
pub fn print_parts(out: &mut impl std::io::Write, parts: &[Part]) -> std::io::Result<()> {
    for part in parts {
        let (repo, reference, target) = (&part.repo, &part.reference, part.target.display());
        writeln!(out, "    {repo} {reference} ({}) at {target}", part.commit.short())?;
    }
    Ok(())
}

/// What would be done, on stdout.
///
/// # Errors
/// Of stdout.
pub fn print_plan(plan: &Plan, json: bool) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if json {
        return writeln!(stdout, "{}", serde_json::to_string(plan)?);
    }
    let from = plan.previous.as_ref().map_or("nothing", |name| name.as_str());
    let from_commit = plan.previous_commit.as_deref().unwrap_or("unknown commit");
    let back = plan.release.as_ref().map_or_else(String::new, |name| format!("back to {name}, "));
    let to = if back.is_empty() { "to " } else { "" };
    let (site, reference, commit) = (&plan.site, &plan.reference, &plan.commit);
    writeln!(stdout, "{site}: would go from {from} ({from_commit}) {back}{to}{reference} ({commit})")?;
    print_parts(&mut stdout, &plan.parts)?;
    for change in &plan.changes {
        writeln!(stdout, "{change}")?;
    }
    writeln!(stdout, "{} files change", plan.changes.len())
}

/// With --quiet: only errors are wanted.
pub fn is_quiet() -> bool {
    log::max_level() < log::LevelFilter::Warn
}

/// Tells people on stderr, each line with the time since `start`; with --quiet, nothing: what failed is in the error.
pub fn tell(start: Instant) -> impl FnMut(Said<'_>) {
    move |said| {
        if is_quiet() {
            return;
        }
        let time = start.elapsed().as_secs_f64();
        // Nobody who stopped reading may stop the deploy.
        let _ = match said {
            Said::Step(text) => writeln!(anstream::stderr(), "{time:8.3}s {text}"),
            Said::Script(name, line) => writeln!(anstream::stderr(), "{time:8.3}s {name}: {line}"),
            // That one failed is in the error.
            Said::Ran(..) => Ok(()),
        };
    }
}
