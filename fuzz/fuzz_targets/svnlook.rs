//! What svnlook says, and the bodies of the events made of it.

#![no_main]

use failcake::message::revision::Revision;
use failcake::message::{BODY_MAX, Envelope, EventId};
use failcake::svn::{parse_changed, parse_info, projects};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse_info(data);
    let paths = parse_changed(data).count() as u64;
    let found = projects(|| parse_changed(data), usize::MAX, 3);
    assert_eq!(found.listed.iter().map(|project| project.total_paths).sum::<u64>(), paths);
    assert!(found.listed.iter().all(|project| project.paths.len() <= 3 && project.dirs.len() <= 3));

    let Ok(Some(envelope)) = Envelope::read(&[], data) else { return };
    let Ok(revision) = Revision::parse(&envelope) else { return };
    let event = revision.event(EventId::derived([0; 16]), jiff::Timestamp::UNIX_EPOCH);
    assert!(event.body.len() <= BODY_MAX && !event.body.contains('\0'));
    let again = Envelope::read(&event.headers, event.body.as_bytes());
    let again = Revision::parse(&again.expect("not too large").expect("no beat")).expect("what we write, we read");
    assert_eq!((again.rev, again.date, again.total_paths), (revision.rev, revision.date, revision.total_paths));
});
