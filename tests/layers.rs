//! Dependencies between the rooms run one way. This is the table; docs/architecture.md says why.
//!
//! It reads `crate::room` in the sources. Test code is held to it as well, except that a room's own tests may use what
//! they like of `command`'s neighbours: they live in `tests/it` when they need more than their room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may know.
const MAY_USE: &[(&str, &[&str])] = &[
    ("name", &[]),
    ("stomp", &[]),
    ("process", &[]),
    ("durable", &[]),
    ("spool", &[]),
    ("journal", &[]),
    // ssh-keygen is a process; who signed is a name.
    ("signature", &["name", "process"]),
    ("seen", &[]),
    ("message", &["name"]),
    ("forge", &["name", "message"]),
    ("script", &["process"]),
    ("exec", &["process"]),
    ("git", &["name", "process"]),
    ("svn", &["name", "process"]),
    ("tree", &["git", "svn", "name", "process"]),
    ("release", &["tree", "name", "process", "durable"]),
    ("config", &["name", "stomp"]),
    ("publish", &["tree", "git", "exec", "config", "name", "process", "durable"]),
    ("bus", &["stomp", "config"]),
    ("broker", &["stomp"]),
    ("outbox", &["spool", "bus", "config", "stomp"]),
    // Of the spool, its folder: there is the lock that durable subscribers of one name share.
    ("watch", &["bus", "message", "outbox", "spool", "seen", "config", "stomp", "name", "process"]),
    ("deploy", &["release", "tree", "git", "svn", "script", "config", "name", "process"]),
    // Its own end of the bus, and the steps that it carries out: the one room that puts both together.
    (
        "node",
        &[
            "message",
            "config",
            "signature",
            "deploy",
            "release",
            "git",
            "durable",
            "process",
            "name",
            "watch",
            "bus",
            "stomp",
            "spool",
        ],
    ),
    ("jenkins", &["config"]),
    ("apt", &["name", "process"]),
    ("reprepro", &["config", "name", "process", "durable"]),
    // Orders are messages, trusted by their signature and the rules of the configuration, which also names the files, the
    // check and the reload (processes).
    ("access", &["name", "message", "config", "signature", "durable", "process"]),
    ("rollout", &["name"]),
    // Signatures for its tests alone, where an enemy signs.
    ("ask", &["hear", "signature", "message", "bus", "stomp", "config", "name", "process"]),
    ("fleet", &["ask", "hear", "select", "signature", "message", "config", "name", "process"]),
    (
        "conduct",
        &[
            "rollout",
            "fleet",
            "ask",
            "hear",
            "message",
            "signature",
            "git",
            "svn",
            "deploy",
            "bus",
            "stomp",
            "config",
            "spool",
            "durable",
            "name",
            "process",
        ],
    ),
    ("hear", &["message", "signature", "config", "spool", "durable", "name"]),
    ("select", &["name"]),
];

/// Any of them.
const AT_THE_TOP: &[&str] = &["command", "http"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named in `crate::room`, and in `crate::{room, other::Thing}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(rooms.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        c if begins && c.is_alphabetic() => {
                            rooms.insert(word(&list[at..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

/// Who uses whom, with a file that shows it.
fn uses() -> BTreeMap<(String, String), PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut uses = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if matches!(room.as_str(), "lib" | "bin") {
            continue;
        }
        for used in rooms_named(&std::fs::read_to_string(&file).unwrap()) {
            if used != room {
                uses.insert((room.clone(), used), inside.to_owned());
            }
        }
    }
    uses
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let uses = uses();
    assert!(uses.contains_key(&("bus".to_owned(), "stomp".to_owned())), "the reader of sources is broken: {uses:?}");
    let mut wrong = Vec::new();
    for ((room, used), file) in uses {
        if AT_THE_TOP.contains(&room.as_str()) {
            if used == "command" {
                wrong.push(format!("{}: {room} uses {used}", file.display()));
            }
            continue;
        }
        match MAY_USE.iter().find(|(name, _)| *name == room) {
            None => wrong.push(format!("{}: the room {room} is not in the table of tests/layers.rs", file.display())),
            Some((_, allowed)) if allowed.contains(&used.as_str()) => {}
            Some(_) => wrong.push(format!("{}: {room} uses {used}", file.display())),
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "dependencies that the house does not have:\n{}", wrong.join("\n"));
}

/// What two verbs share is a room.
#[test]
fn verbs_do_not_know_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "{files:?}");
    let verbs: BTreeSet<String> = std::fs::read_dir(&root)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().path().file_name()?.to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for other in verbs.iter().filter(|other| **other != own) {
            let direct = inside.components().count() == 1 && text.contains(&format!("super::{other}::"));
            if direct || text.contains(&format!("command::{other}")) {
                wrong.push(format!("{}: {own} uses {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "a verb uses another:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|file| (std::fs::read_to_string(file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
}
