//! Frames to bytes and back, in any pieces, from anyone.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::{Decoder, FrameError, Item};
use super::*;

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

fn decoder(version: Version, limits: Limits) -> Decoder {
    let mut decoder = Decoder::new(limits);
    decoder.set_version(version);
    decoder
}

/// All items of a stream that comes in these pieces, and how it ends.
fn decode<'a>(mut decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Item>, Option<FrameError>) {
    let mut items = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.poll() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.buffered(), 0, "a failed decoder keeps nothing");
                    return (items, Some(error));
                }
            }
        }
    }
    (items, None)
}

fn small() -> Limits {
    Limits { line: 40, headers: 5, head: 120, body: 100 }
}

/// Header text that the version can carry as it is. No version can carry a NUL, 1.1 no CR; 1.0 has no escapes.
fn header(version: Version) -> BoxedStrategy<(String, String)> {
    let (name, value) = match version {
        Version::V1_0 => ("[a-zA-Z\\\\ é-]{0,8}", "[^\\x00\\r\\n]{0,12}"),
        Version::V1_1 => ("[a-zA-Z:\\n\\\\é-]{0,8}", "[^\\x00\\r]{0,12}"),
        Version::V1_2 => ("[a-zA-Z:\\r\\n\\\\é-]{0,8}", "[^\\x00]{0,12}"),
    };
    (name, value).prop_map(|(name, value): (String, String)| (name, value)).boxed()
}

fn frame(version: Version) -> BoxedStrategy<Frame> {
    let command = prop_oneof![Just("SEND"), Just("MESSAGE"), Just("ERROR"), Just("RECEIPT")];
    let body = prop_oneof![vec(any::<u8>(), 0..60), vec(Just(0), 0..4)];
    (command, vec(header(version), 0..5), body)
        .prop_map(|(command, headers, body)| Frame { command: command.to_owned(), headers, body })
        .boxed()
}

fn versioned_frames() -> impl Strategy<Value = (Version, Vec<Frame>)> {
    proptest::sample::select(&VERSIONS[..]).prop_flat_map(|version| (Just(version), vec(frame(version), 0..6)))
}

/// Cuts `bytes` at these places, wherever they lie.
fn cut<'a>(bytes: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|at| at % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Bytes that look like STOMP often enough to get somewhere.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                "MESSAGE",
                "SEND",
                "CONNECTED",
                "\n",
                "\r\n",
                "\0",
                ":",
                "a:b\n",
                "content-length:3\n",
                "\\c\\n\\",
                "\n\n",
                "\r",
                "content-length:4294967296\n",
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded((version, frames) in versioned_frames()) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(version, &mut bytes);
            bytes.push(b'\n');
        }
        let (items, error) = decode(decoder(version, Limits::default()), [bytes.as_slice()]);
        prop_assert_eq!(error, None);
        let mut decoded: Vec<Frame> = items.into_iter().filter_map(|item| match item {
            Item::Frame(frame) => Some(frame),
            Item::Eol => None,
        }).collect();
        // content-length is the codec's own header.
        for frame in &mut decoded {
            frame.headers.retain(|(name, _)| name != "content-length");
        }
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn any_split_gives_the_same_items((version, frames) in versioned_frames(), eol in "(\n|\r\n){0,3}", at in vec(any::<usize>(), 0..12)) {
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend_from_slice(eol.as_bytes());
            frame.encode(version, &mut bytes);
        }
        let whole = decode(decoder(version, Limits::default()), [bytes.as_slice()]);
        prop_assert_eq!(&whole.1, &None);
        let pieces = cut(&bytes, &at);
        prop_assert_eq!(&decode(decoder(version, Limits::default()), pieces), &whole);
        prop_assert_eq!(&decode(decoder(version, Limits::default()), bytes.chunks(1)), &whole);
    }

    #[test]
    fn any_split_of_an_enemy_s_bytes_ends_the_same_way(bytes in hostile(), at in vec(any::<usize>(), 0..12)) {
        for version in VERSIONS {
            let whole = decode(decoder(version, small()), [bytes.as_slice()]);
            for pieces in [cut(&bytes, &at), bytes.chunks(1).collect()] {
                let split = decode(decoder(version, small()), pieces);
                prop_assert_eq!(&split.0, &whole.0);
                // The excerpt of a bad command is what had come by then.
                prop_assert_eq!(split.1.as_ref().map(std::mem::discriminant), whole.1.as_ref().map(std::mem::discriminant));
            }
        }
    }

    #[test]
    fn an_unfinished_frame_is_bounded_by_the_limits(bytes in hostile(), fill in any::<u8>(), size in 1usize..50) {
        let limits = small();
        let mut decoder = decoder(Version::V1_2, limits);
        for piece in bytes.chunks(size).chain(std::iter::repeat_n(vec![fill; size].as_slice(), 20)) {
            decoder.push(piece);
            while let Ok(Some(_)) = decoder.poll() {}
            prop_assert!(decoder.buffered() <= limits.head + limits.body + size);
        }
    }

    #[test]
    fn a_session_lives_through_anything(bytes in hostile(), at in vec(any::<usize>(), 0..6), connected in any::<bool>()) {
        let mut wire = if connected { Wire::connected("version:1.2\nheart-beat:1,1\n") } else { Wire::new(Duration::ZERO) };
        for piece in cut(&bytes, &at) {
            wire.session.handle_input(piece, wire.now);
            wire.pass(1);
            wire.session.handle_timeout(wire.now);
        }
        wire.session.handle_eof();
        let events = wire.events();
        let ends = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(matches!(events.last(), Some(Event::Closed(_))));
    }

    #[test]
    fn no_header_begins_another_line(name in any::<String>(), value in any::<String>(), command in "CONNECT|CONNECTED|SEND") {
        for version in VERSIONS {
            let mut bytes = Vec::new();
            Frame::new(&command).with(&name, value.as_str()).with("last", "1").encode(version, &mut bytes);
            let lines = bytes.iter().filter(|b| **b == b'\n').count();
            prop_assert_eq!(lines, 4, "command, two headers, the empty line");
            prop_assert_eq!(bytes.iter().filter(|b| **b == 0).count(), 1);
            prop_assert!(!bytes.contains(&b'\r'));
        }
    }
}

#[test]
fn login_frames_are_never_unescaped() {
    for version in VERSIONS {
        let (items, _) = decode(decoder(version, Limits::default()), [&b"CONNECTED\nsession:a\\c\\\\b:c\n\n\0"[..]]);
        let [Item::Frame(frame)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(frame.header("session"), Some("a\\c\\\\b:c"));
    }
}

#[test]
fn values_are_neither_trimmed_nor_cut_and_unknown_escapes_stay() {
    let bytes = b"MESSAGE\r\nid:ID:h-1:1\r\na: \\t \\cx\\\r\na:second\r\n\r\n\0";
    let (items, error) = decode(decoder(Version::V1_2, Limits::default()), [&bytes[..]]);
    assert_eq!(error, None);
    let [Item::Frame(frame)] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!(frame.header("id"), Some("ID:h-1:1"));
    assert_eq!(frame.header("a"), Some(" \\t :x\\"), "and the first of repeated headers");
}

#[test]
fn octets_that_are_no_utf8_are_replaced_in_headers_and_kept_in_bodies() {
    let (items, error) = decode(decoder(Version::V1_2, Limits::default()), [&b"MESSAGE\na:\xff\xfe\n\n\xff\xfe\0"[..]]);
    assert_eq!(error, None);
    let [Item::Frame(frame)] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!(frame.header("a"), Some("\u{fffd}\u{fffd}"));
    assert_eq!(frame.body, b"\xff\xfe");
}

#[test]
fn content_length_is_written_for_a_nul_only_and_never_lies() {
    let mut bytes = Vec::new();
    Frame::send("/topic/a", vec![("content-length".to_owned(), "1".to_owned())], b"text".to_vec())
        .encode(Version::V1_2, &mut bytes);
    assert_eq!(bytes, b"SEND\ndestination:/topic/a\n\ntext\0");
    bytes.clear();
    Frame::send("/topic/a", vec![("content-length".to_owned(), "1".to_owned())], b"a\0b".to_vec())
        .encode(Version::V1_2, &mut bytes);
    assert_eq!(bytes, b"SEND\ndestination:/topic/a\ncontent-length:3\n\na\0b\0");
}

#[test]
fn each_limit_refuses_what_is_one_over_it() {
    let limit = |what, limit| Some(FrameError::Limit { what, limit });
    let table: [(String, Option<FrameError>); 11] = [
        (format!("MESSAGE\na:{}\n\n\0", "x".repeat(38)), None),
        (format!("MESSAGE\na:{}\n\n\0", "x".repeat(39)), limit("a header line", 40)),
        (format!("MESSAGE\n{}", "x".repeat(40)), None),
        (format!("MESSAGE\n{}", "x".repeat(41)), limit("a header line", 40)),
        (format!("MESSAGE\n{}\n\0", "a:b\n".repeat(5)), None),
        (format!("MESSAGE\n{}\n\0", "a:b\n".repeat(6)), limit("the number of headers", 5)),
        (
            format!("MESSAGE\n{}\n\0", format!("a:{}\n", "x".repeat(30)).repeat(4)),
            limit("the length of the headers", 120),
        ),
        (format!("MESSAGE\n\n{}\0", "x".repeat(100)), None),
        (format!("MESSAGE\n\n{}\0", "x".repeat(101)), limit("the body", 100)),
        (format!("MESSAGE\n\n{}", "x".repeat(101)), limit("the body", 100)),
        ("MESSAGE\ncontent-length:101\n\n".to_owned(), limit("the body", 100)),
    ];
    for (bytes, error) in table {
        assert_eq!(decode(decoder(Version::V1_2, small()), [bytes.as_bytes()]).1, error, "{bytes:?}");
        assert_eq!(decode(decoder(Version::V1_2, small()), bytes.as_bytes().chunks(1)).1, error, "{bytes:?}");
    }
}

#[test]
fn a_peer_that_sends_octet_by_octet_costs_no_more_than_its_octets() {
    // Searching from the beginning for each octet would be some 10^12 steps: this would not end.
    let limits = Limits { line: 1 << 21, headers: 10, head: 1 << 22, body: 1 << 22 };
    let mut bytes = b"MESSAGE\na:".to_vec();
    bytes.resize(1 << 20, b'x');
    bytes.extend_from_slice(b"\n\n");
    bytes.resize(1 << 21, b'y');
    bytes.push(0);
    let (items, error) = decode(decoder(Version::V1_2, limits), bytes.chunks(1));
    assert_eq!((items.len(), error), (1, None));
}

#[test]
fn a_large_frame_s_buffer_is_given_back() {
    let mut decoder = decoder(Version::V1_2, Limits::default());
    let mut bytes = b"MESSAGE\n\n".to_vec();
    bytes.resize(1 << 20, b'x');
    bytes.push(0);
    decoder.push(&bytes);
    assert!(matches!(decoder.poll(), Ok(Some(Item::Frame(_)))));
    assert!(!decoder.is_mid_frame());
    decoder.push(b"\n");
    assert!(decoder.capacity() < 1 << 20);
}
