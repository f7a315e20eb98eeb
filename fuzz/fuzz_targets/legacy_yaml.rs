//! The Ruby daemons' configuration files: none is too strange to be refused, and what is taken can be written.

#![no_main]

use std::path::Path;

use failcake::config::Import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(import) = Import::parse(Path::new("stomp-git.yaml"), text) else { return };
    let text = import.text().expect("what was taken can be written");
    assert!(!text.is_empty());
});
