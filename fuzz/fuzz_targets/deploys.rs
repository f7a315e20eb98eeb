//! A message of the topics for deploys, or one of the documents in it: what is read is written so that it is read again as
//! the same, and what people are shown of it is one line.

#![no_main]

use failcake::message::deploy::{Document, Order, Plan, Reply, Report, Request, Vouch, hosts_in_words};
use failcake::message::{Envelope, Event};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fn again(event: &Event) -> Envelope<'_> {
    assert_eq!(event.body.lines().count(), 2, "{}", event.body);
    Envelope::read(&event.headers, event.body.as_bytes()).expect("not too large").expect("no beat")
}

fn document<T: Document + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
    let read = T::from_text(text).ok()?;
    assert_eq!(T::from_text(&read.to_text()).as_ref(), Ok(&read));
    Some(read)
}

fn documents(text: &str) {
    if let Some(plan) = document::<Plan>(text) {
        let words = format!("{} {}", plan.action, hosts_in_words(&plan.hosts));
        assert!(!words.contains(char::is_control), "{words}");
    }
    let _ = document::<Order>(text);
    let _ = document::<Vouch>(text);
    let _ = document::<Report>(text);
}

fuzz_target!(|data: &[u8]| {
    documents(&String::from_utf8_lossy(data));
    let Ok(Some(envelope)) = Envelope::read(&[], data) else { return };
    if let Ok(request) = Request::parse(&envelope) {
        let event = request.event(Timestamp::UNIX_EPOCH, "subject", "to\nall");
        assert_eq!(Request::parse(&again(&event)).as_ref(), Ok(&request));
        if let Request::Order { plan, order } = request {
            plan.iter().chain([&order]).for_each(|signed| documents(&signed.document));
        }
    }
    if let Ok(reply) = Reply::parse(&envelope) {
        let event = reply.event(Timestamp::UNIX_EPOCH, "subject", "to\nall");
        assert_eq!(Reply::parse(&again(&event)).as_ref(), Ok(&reply));
        reply.vouch.iter().chain([&reply.report]).for_each(|signed| documents(&signed.document));
    }
});
