//! A message of the topic for packages, the first line its subject: what is read is written so that it is read again as the
//! same, and no name in it is an option, a path, or more than a word.

#![no_main]

use failcake::message::package::Package;
use failcake::message::{Envelope, EventId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (subject, body) = data.split_at(data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len()));
    let headers = [("subject".to_owned(), String::from_utf8_lossy(subject).into_owned())];
    let Ok(Some(envelope)) = Envelope::read(&headers, body) else { return };
    let Ok(package) = Package::parse(&envelope) else { return };
    let distribution = package.distribution.as_ref().map_or("sid", |distribution| distribution.as_str());
    let words = [package.file.as_str(), package.name.as_str(), package.version.as_str(), package.architecture.as_str()];
    for word in words.into_iter().chain([distribution]) {
        assert!(!word.is_empty() && !word.starts_with(['-', '.']), "{word:?}");
        assert!(!word.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()), "{word:?}");
    }
    let event = package.event(EventId::derived([0; 16]), jiff::Timestamp::UNIX_EPOCH);
    let again = Envelope::read(&event.headers, event.body.as_bytes()).expect("not too large").expect("no beat");
    assert_eq!(Package::parse(&again), Ok(package));
});
