//! The package repository, what comes into it, and the source lists of interest.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Finding;
use super::place::{become_user, nearest_existing, writable};
use crate::config::Packages;
use crate::process::{self, Limits, User};

/// A person waits for the answer.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), grace: Duration::from_secs(1), output: 64 * 1024 };

/// Nothing where no repository is configured.
pub fn repository(packages: &Packages) -> Vec<Finding> {
    let Some(base) = &packages.repository else {
        let lacks = || {
            let remedy = "say repository: below packages:, where reprepro's conf/ and db/ are";
            Finding::fail("packages", "an incoming folder is configured and no repository", remedy)
        };
        return packages.incoming.iter().map(|_| lacks()).collect();
    };
    let user = match become_user("packages", packages.user.as_deref()) {
        Ok(user) => user,
        Err(finding) => return vec![finding],
    };
    let known = match distributions(base) {
        Ok(known) => known,
        Err(error) => {
            let text = format!("{}/conf/distributions: {error}", base.display());
            return vec![Finding::fail("packages", text, "make the repository there, or correct repository:")];
        }
    };
    let mut findings = vec![program(base, user.as_ref(), &known)];
    let left = entries(&base.join(".failcake")).filter(|name| name.to_string_lossy().starts_with("taken-")).count();
    if left > 0 {
        let text = format!("{left} uploads are taken and not in the repository yet");
        findings.push(Finding::warn("packages", text, "failcake notify-package --incoming goes on, and says what is wrong"));
    }
    if let Some(archive) = &packages.archive
        && let Err(text) = writable(Some(archive), user.as_ref())
    {
        findings.push(Finding::fail("packages", format!("archive: {text}"), "make it, and let that user write there"));
    }
    findings.extend(packages.incoming.iter().flat_map(|incoming| shelves(incoming, user.as_ref(), &known)));
    findings
}

fn program(base: &Path, user: Option<&User>, known: &[String]) -> Finding {
    let Some(version) = answers("reprepro") else {
        return Finding::fail("packages", "there is no reprepro here", "install it (apt-get install reprepro)");
    };
    let database = base.join("db");
    let places = [Some(base), nearest_existing(&database)];
    match places.into_iter().try_for_each(|place| writable(place, user)) {
        Ok(()) => {
            let known = known.join(", ");
            Finding::ok("packages", format!("{} is writable, {version}, distributions: {known}", base.display()))
        }
        Err(text) => Finding::fail("packages", text, "give the repository to the user who runs notify-package, or say user:"),
    }
}

/// The incoming folder and those in it.
fn shelves(incoming: &Path, user: Option<&User>, known: &[String]) -> Vec<Finding> {
    let names = match std::fs::read_dir(incoming) {
        Ok(_) => entries(incoming),
        Err(error) => {
            let text = format!("{}: {error}", incoming.display());
            return vec![Finding::fail("incoming", text, "make it readable, or correct incoming:")];
        }
    };
    let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let folders: Vec<PathBuf> =
        names.filter(|name| !is_hidden(name)).map(|name| incoming.join(name)).filter(|path| path.is_dir()).collect();
    let mut findings = Vec::new();
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let about = format!("incoming {name}");
        let is_known = known.iter().any(|known| *known == name);
        if let Err(text) = writable(Some(folder), user) {
            findings.push(Finding::fail(about.as_str(), text, "let the user who runs notify-package move files out of it"));
        } else if !is_known {
            let text = format!("{} is for no distribution of the repository", folder.display());
            findings.push(Finding::warn(about.as_str(), text, "add it to conf/distributions, or remove the folder"));
        }
        let refused = folder.join("refused");
        let count = entries(&refused).filter(|name| Path::new(name).extension().is_none_or(|end| end != "reason")).count();
        if count > 0 {
            let text = format!("{count} files were refused");
            findings.push(Finding::warn(about, text, format!("see why in {}/*.reason, and remove them", refused.display())));
        }
    }
    if findings.is_empty() {
        let text = format!("{} is readable, {} distributions", incoming.display(), folders.len());
        findings.push(Finding::ok("incoming", text));
    }
    findings
}

/// Nothing where no package is of interest.
pub fn interest(packages: &Packages) -> Vec<Finding> {
    if packages.interest.is_empty() {
        return Vec::new();
    }
    let Some(version) = answers("apt-get") else {
        let remedy = "run apt-update on machines with apt, or take interest: out of this configuration";
        return vec![Finding::fail("apt", "there is no apt-get here", remedy)];
    };
    let mut findings = Vec::new();
    for list in packages.interest.iter().filter_map(|it| it.list.as_ref()) {
        if let Err(error) = std::fs::File::open(list) {
            let text = format!("list {}: {error}", list.display());
            findings.push(Finding::fail("apt", text, "write that source list, or correct list: below interest:"));
        }
    }
    // Where apt's lists are elsewhere, that is somebody's purpose.
    let lists = Path::new("/var/lib/apt/lists");
    if std::env::var_os("APT_CONFIG").is_none()
        && let Err(text) = writable(Some(lists), None)
    {
        findings.push(Finding::warn("apt", text, "run apt-update as root"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("apt", format!("{version}, {} of interest", packages.interest.len())));
    }
    findings
}

/// The codenames and suites that reprepro knows.
fn distributions(base: &Path) -> std::io::Result<Vec<String>> {
    let path = base.join("conf/distributions");
    // It may be a folder of such files.
    let text = match path.is_dir() {
        false => std::fs::read_to_string(&path)?,
        true => entries(&path).filter_map(|name| std::fs::read_to_string(path.join(name)).ok()).collect::<Vec<_>>().join("\n"),
    };
    let names = text.lines().filter_map(|line| line.strip_prefix("Codename:").or_else(|| line.strip_prefix("Suite:")));
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

fn entries(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
}

/// The first line that it says of itself; `None`: it can't be run.
fn answers(program: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").env("LC_ALL", "C");
    let outcome = process::run(command, None, None, LIMITS).ok()?;
    // reprepro says it on stderr.
    let said = [outcome.stdout, outcome.stderr].concat();
    let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
    Some(line.strip_prefix("reprepro: This is ").map_or(line.clone(), |rest| rest.replace(" version", "")))
}
