//! The body of an event: what is read must be written so that it is read again as the same.

#![no_main]

use failcake::message::push::Push;
use failcake::message::{BODY_MAX, Envelope, EventId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let headers = [("subject".to_owned(), "[spog] refs/heads/master".to_owned())];
    let Ok(Some(envelope)) = Envelope::read(&headers, data) else { return };
    let Ok(push) = Push::parse(&envelope) else { return };
    let event = push.event(EventId::derived([0; 16]), jiff::Timestamp::UNIX_EPOCH);
    assert!(event.body.len() <= BODY_MAX && !event.body.contains('\0'));
    let again = Envelope::read(&event.headers, event.body.as_bytes());
    let again = Push::parse(&again.expect("not too large").expect("no beat")).expect("what we write, we read");
    assert_eq!(
        (again.repo, again.refname, again.old, again.new, again.kind),
        (push.repo, push.refname, push.old, push.new, push.kind)
    );
});
