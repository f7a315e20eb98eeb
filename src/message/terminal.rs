//! Outside words on a terminal: seen, and nothing else.

use std::fmt::Write as _;

/// Would it do something to a terminal other than be seen: controls (C1 too), and what hides text or turns its direction?
fn is_disturbing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` for a terminal: what would disturb it is written out, `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disturbing(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// JSON text for a terminal: all that JSON lets stand in its strings and would disturb one is escaped.
pub fn printable_json(text: String) -> String {
    if !text.contains(is_disturbing) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disturbing(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_disturb_is_written_out_and_json_stays_what_it_was() {
        let hostile = "\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}gpj.\u{200b}\u{e0041}";
        assert_eq!(printable(hostile), r"\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}gpj.\u{200b}\u{e0041}");
        assert_eq!(printable("naïve …"), "naïve …");
        let json = serde_json::json!({ "a": hostile });
        let text = printable_json(json.to_string());
        assert!(!text.contains(is_disturbing), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
    }
}
