//! The STOMP codec: any octets, in pieces of any size. The first octet chooses version and size.

#![no_main]

use failcake::stomp::frame::{Decoder, Item, Limits, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let version = [Version::V1_0, Version::V1_1, Version::V1_2][usize::from(choice) % 3];
    let limits = Limits { line: 1024, headers: 64, head: 8192, body: 64 * 1024 };
    let mut decoder = Decoder::new(limits);
    decoder.set_version(version);
    for piece in bytes.chunks(usize::from(choice >> 2) + 1) {
        decoder.push(piece);
        loop {
            match decoder.poll() {
                Ok(Some(Item::Frame(frame))) => {
                    let mut again = Vec::new();
                    frame.encode(version, &mut again);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.buffered() <= limits.head + limits.body + 2 * piece.len() + 1024);
    }
});
