//! A message of the topic for access: an order that is read is written so that it is read again as the same.

#![no_main]

use failcake::message::Envelope;
use failcake::message::access::Heard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(envelope)) = Envelope::read(&[], data) else { return };
    let Ok(Heard::Order { order, signed }) = Heard::parse(&envelope) else { return };
    let event = order.event(signed.signature.clone());
    let again = Envelope::read(&event.headers, event.body.as_bytes());
    let again = Heard::parse(&again.expect("not too large").expect("no beat")).expect("what we write, we read");
    let Heard::Order { order: same, signed: carried } = again else { panic!("it was an order") };
    assert_eq!((same, carried.signature), (order, signed.signature));
});
