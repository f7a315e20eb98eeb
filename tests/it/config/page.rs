//! docs/configuration.md: every key that a file may hold is on it and no other, and its examples are configurations.

use std::collections::{BTreeMap, BTreeSet};

use crate::sandbox::{FAILCAKE, Sandbox};

/// A key that no section has, nor one that is near it.
const NONE: &str = "qqqqqqqqqqqq";

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

/// The keys that may stand where `at` leads, as failcake itself tells them; `None` where no section is. `at` is written as
/// the page's headings are: `repos: NAME: exec:`, `allow: -`.
fn keys(world: &Sandbox, at: &str) -> Option<BTreeSet<String>> {
    let mut text = format!("{{ {NONE}: 1 }}");
    for part in at.split_whitespace().rev() {
        text = if part == "-" { format!("[ {text} ]") } else { format!("{{ {part} {text} }}") };
    }
    world.write("failcake.yaml", text);
    let said = world.program("sh", ["-c", &format!("{FAILCAKE} config show 2>&1; true")]).run().success().text();
    let (_, keys) = said.split_once(&format!("unknown key \"{NONE}\": here may stand "))?;
    Some(keys.trim_end().split(", ").map(str::to_owned).collect())
}

/// Each section that there is, found by trying what each key holds.
fn sections(world: &Sandbox) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let mut to_try = vec![String::new()];
    while let Some(at) = to_try.pop() {
        let Some(keys) = keys(world, &at) else { continue };
        for key in &keys {
            to_try.extend(["", " NAME:", " -"].map(|what| format!("{at} {key}:{what}").trim_start().to_owned()));
        }
        found.insert(at, keys);
    }
    found
}

/// The keys in the first column of the tables below each heading that is a place in the file.
fn sections_of_the_page(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut at = None;
    for line in page.lines() {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim();
            at = match heading {
                "The whole file" => Some(""),
                _ => heading.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')),
            };
        } else if let (Some(at), Some(row)) = (at, line.strip_prefix("| `")) {
            let cell = row.split('|').next().unwrap().trim().trim_matches('`');
            found.entry(at.to_owned()).or_default().extend(cell.split("`, `").map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_key_is_on_the_page_and_no_other() {
    let world = Sandbox::new();
    let (told, there) = (sections(&world), sections_of_the_page(&std::fs::read_to_string(PAGE).unwrap()));
    assert!(told.contains_key("sites: NAME: farm: directories: -"), "{told:?}");
    for at in told.keys().chain(there.keys()) {
        assert_eq!(there.get(at), told.get(at), "left docs/configuration.md, right failcake, at {at:?}");
    }
}

#[test]
fn its_examples_are_configurations() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 10);
    for example in examples {
        let world = Sandbox::new();
        world.write("passcode", "geheim\n");
        world.write("failcake.yaml", example);
        world.failcake(["config", "show"]).run().success().stderr("");
    }
}
