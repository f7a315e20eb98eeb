//! A .changes file in an incoming folder: what it names are files of that folder, and no beginning of it is taken for another
//! whole one.

#![no_main]

use failcake::reprepro::changes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for file in changes::files(&text) {
        assert!(!file.as_str().starts_with(['-', '.']) && !file.as_str().contains('/'), "{file}");
    }
    let Ok(named) = changes::parse(&text) else { return };
    assert!(!named.is_empty());
    for (at, one) in named.iter().enumerate() {
        assert!(!one.file.as_str().starts_with(['-', '.']) && !one.file.as_str().contains('/'), "{one:?}");
        assert!(one.sha256.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f')), "{one:?}");
        assert!(named[..at].iter().all(|before| before.file != one.file), "{one:?} twice");
    }
    for (end, _) in text.match_indices('\n') {
        if let Ok(before) = changes::parse(&text[..=end]) {
            assert_eq!(before, named);
        }
    }
});
