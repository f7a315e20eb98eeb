//! How a mistake in a file is told: file, line, key, what is wrong, what was probably meant.

use std::path::Path;

use serde_saphyr::MessageFormatter as _;

use super::Error;
use super::word::nearest;

/// The parser's error in our words.
pub fn tell(path: &Path, text: &str, error: &serde_saphyr::Error) -> Error {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line() as usize, at.column() as usize));
    let place = if line == 0 { path.display().to_string() } else { format!("{}:{line}", path.display()) };
    let text = match error {
        Yaml::SerdeUnknownField { field, expected, .. } => match nearest(field, expected.iter().copied()) {
            Some(near) => format!("unknown key {field:?}: did you mean {near:?}?"),
            None => format!("unknown key {field:?}: here may stand {}", expected.join(", ")),
        },
        Yaml::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} stands there twice"),
        Yaml::SerdeMissingField { field, .. } => format!("the key {field:?} is missing"),
        other => {
            let message = serde_saphyr::UserMessageFormatter.format_message(other).into_owned();
            match key_at(text, line, column) {
                Some(key) => format!("{key}: {message}"),
                None => message,
            }
        }
    };
    Error(format!("{place}: {text}"))
}

/// The key whose value stands at `line` and `column` (both from 1): the last `key:` before it on its line, or the one
/// of the nearest line above that is indented less.
fn key_at(text: &str, line: usize, column: usize) -> Option<&str> {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let last = lines.get(line.checked_sub(1)?)?;
    let cut = last.char_indices().nth(column.saturating_sub(1)).map_or(last.len(), |(at, _)| at);
    if let Some(key) = last_key(&last[..cut]) {
        return Some(key);
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let deep = indent(last);
    // A list may stand as deep as the key it belongs to.
    let above = lines[..line - 1].iter().rev().find(|above| {
        !above.trim().is_empty() && !above.trim_start().starts_with(['#', '-']) && indent(above) <= deep
    })?;
    last_key(above)
}

fn last_key(text: &str) -> Option<&str> {
    let end = text.rfind(": ").or_else(|| text.trim_end().strip_suffix(':').map(str::len))?;
    let start = text[..end].rfind([' ', '{', ',', '[']).map_or(0, |at| at + 1);
    let key = text[start..end].trim_matches(['"', '\'']);
    (!key.is_empty()).then_some(key)
}
