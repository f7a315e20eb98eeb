//! `systemd/` and `cron/`: what they run is what the command line takes, and systemd understands them.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use failcake::command::Cli;

const INSTALLED: &str = "/usr/local/bin/failcake";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn units() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("systemd")).unwrap().map(|entry| entry.unwrap().path());
    let is_unit = |path: &PathBuf| path.extension().is_some_and(|end| end == "service" || end == "timer");
    let units: Vec<PathBuf> = entries.filter(is_unit).collect();
    assert!(units.len() >= 7, "{units:?}");
    units
}

/// Does the command line take these words?
#[track_caller]
fn takes(words: &str, from: &str) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let parsed = Cli::command().try_get_matches_from([&["failcake"], words.as_slice()].concat());
    parsed.unwrap_or_else(|error| panic!("{from}: {words:?}: {error}"));
}

#[test]
fn what_units_run_is_what_the_command_line_takes() {
    for unit in units() {
        let text = std::fs::read_to_string(&unit).unwrap();
        for command in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let words = command.strip_prefix(INSTALLED).unwrap_or_else(|| panic!("{}: {command}", unit.display()));
            takes(&words.replace("%i", "name"), &unit.display().to_string());
        }
    }
}

#[test]
fn what_cron_runs_is_what_the_command_line_takes() {
    let text = std::fs::read_to_string(root().join("cron/failcake")).unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches('#')).filter(|line| line.starts_with('*'));
    let mut seen = 0;
    for line in lines {
        let (_, command) = line.split_once(" failcake ").unwrap_or_else(|| panic!("{line}"));
        let command = command.trim_start_matches("failcake ");
        takes(command.split('>').next().unwrap(), line);
        seen += 1;
    }
    assert!(seen >= 3, "{text}");
}

#[test]
fn systemd_understands_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("there is no systemd-analyze here (Debian's package systemd): the units were not looked at");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for unit in units() {
        let text = std::fs::read_to_string(&unit).unwrap().replace(INSTALLED, env!("CARGO_BIN_EXE_failcake"));
        let name = unit.file_name().unwrap().to_str().unwrap().replace("@.", "@name.");
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for unit in std::fs::read_dir(folder.path()).unwrap() {
        let unit = unit.unwrap().path();
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Other units of this machine are not our business.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("failcake")).collect();
        assert!(output.status.success() && ours.is_empty(), "{}: {said}", unit.display());
    }
}

#[test]
fn what_is_installed_runs_from_where_it_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    // `make install` copies what was built: here a stand-in.
    let copy = folder.path().join("source");
    std::fs::create_dir(&copy).unwrap();
    for part in ["Makefile", "man", "completions", "hooks", "systemd", "cron"] {
        assert!(Command::new("cp").arg("-r").arg(root().join(part)).arg(&copy).status().unwrap().success());
    }
    std::fs::create_dir_all(copy.join("target/release")).unwrap();
    std::fs::copy("/bin/true", copy.join("target/release/failcake")).unwrap();
    let to = folder.path().join("root");
    let mut make = Command::new("make");
    make.args(["-s", "install", "PREFIX=/usr"]).arg(format!("DESTDIR={}", to.display())).current_dir(&copy);
    let output = make.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let installed = to.join("usr/lib/systemd/system/failcake-fetch.service");
    let text = std::fs::read_to_string(installed).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/failcake fetch --watch\n"), "{text}");
    assert!(to.join("usr/lib/sysusers.d/failcake.conf").exists() && to.join("usr/share/failcake/cron").exists());
    assert!(to.join("usr/bin/failcake").exists());
}
