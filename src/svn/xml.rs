//! The XML that svn writes, as a flat list: what begins, what ends, and the text between. It refuses nothing: what is no
//! XML is text, and a reader that misses what it looks for says so.

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// `<name key="value">`; of `<name/>` the end follows.
    Begin(String, Vec<(String, String)>),
    /// `</name>`
    End(String),
    /// What stands between, with its entities resolved.
    Text(String),
}

/// The pieces of `said`, white space around text included. Declarations and comments are left out.
pub fn pieces(said: &[u8]) -> Vec<Piece> {
    let said = String::from_utf8_lossy(said);
    let mut rest: &str = &said;
    let mut pieces = Vec::new();
    while let Some(at) = rest.find('<') {
        if at > 0 {
            pieces.push(Piece::Text(resolve(&rest[..at])));
        }
        rest = &rest[at + 1..];
        // svn writes `>` in a value as an entity.
        let Some(end) = rest.find('>') else { return pieces };
        let inside = &rest[..end];
        rest = &rest[end + 1..];
        if inside.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = inside.strip_prefix('/') {
            pieces.push(Piece::End(name.trim().to_owned()));
            continue;
        }
        let (inside, is_empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        let (name, values) = inside.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((inside, ""));
        pieces.push(Piece::Begin(name.to_owned(), attributes(values)));
        if is_empty {
            pieces.push(Piece::End(name.to_owned()));
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(resolve(rest)));
    }
    pieces
}

fn attributes(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, after)) = text.split_once("=\"") {
        let Some((value, rest)) = after.split_once('"') else { break };
        found.push((key.trim().to_owned(), resolve(value)));
        text = rest;
    }
    found
}

/// `&amp;`, `&#233;`, `&#xe9;` and their like as what they stand for.
fn resolve(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let character = end.and_then(|end| match &rest[1..end] {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)
            }
        });
        match (character, end) {
            (Some(character), Some(end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_svn_writes_is_read() {
        let said = b"<?xml version=\"1.0\"?>\n<list>\n<entry\n   kind=\"dir\"\n   revision=\"5\">\n<name>a &lt;b&gt; &amp;amp; &#233;&quot;</name>\n<empty/></entry>";
        let told: Vec<Piece> = pieces(said)
            .into_iter()
            .filter(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()))
            .collect();
        let begin = |name: &str| Piece::Begin(name.to_owned(), Vec::new());
        let end = |name: &str| Piece::End(name.to_owned());
        let keys = [("kind", "dir"), ("revision", "5")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            told,
            [
                begin("list"),
                Piece::Begin("entry".to_owned(), keys.to_vec()),
                begin("name"),
                Piece::Text("a <b> &amp; é\"".to_owned()),
                end("name"),
                begin("empty"),
                end("empty"),
                end("entry"),
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[<>&;#x/=\"a-z0-9é ]{0,80}") {
            pieces(&bytes);
            pieces(text.as_bytes());
        }
    }
}
