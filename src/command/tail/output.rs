//! An event as a line for people, and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::ears::Event;
use crate::message::terminal::{printable, printable_json};

/// Topics' keys are shorter.
const WIDTH: usize = 17;

/// Prints them in one piece.
pub(super) fn print(events: &[Event], as_json: bool) -> io::Result<()> {
    let mut text = String::new();
    for event in events {
        if as_json {
            text.push_str(&json_line(event));
        } else {
            line(&mut text, event);
        }
        text.push('\n');
    }
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn line(out: &mut String, event: &Event) {
    let time = event.summary.time.unwrap_or(event.received).to_zoned(TimeZone::system());
    let time = time.strftime("%Y-%m-%d %H:%M:%S");
    let topic = printable(event.topic.as_deref().unwrap_or(&event.destination));
    let (faint, colour) = (Style::new().dimmed(), colour(&topic));
    let _ = write!(out, "{faint}{time}{faint:#}  {colour}{topic:WIDTH$}{colour:#}  {}", event.summary.line);
}

/// What somebody should look at stands out, and what only tells of something else does not.
fn colour(topic: &str) -> Style {
    match topic {
        "jenkins-failure" => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        "jenkins-success" => Style::new().fg_color(Some(AnsiColor::Green.into())),
        topic if topic.starts_with("events-") => Style::new().dimmed(),
        _ => Style::new().fg_color(Some(AnsiColor::Cyan.into())),
    }
}

/// One line, without its end.
pub(super) fn json_line(event: &Event) -> String {
    let summary = &event.summary;
    let mut headers = Map::new();
    for (name, value) in &event.frame.headers {
        // Of repeated ones the first counts.
        headers.entry(name.clone()).or_insert_with(|| Value::from(value.as_str()));
    }
    let json = json!({
        "id": summary.id.map(|id| id.to_string()),
        "type": summary.kind,
        "time": summary.time.map(|time| time.to_string()),
        "received": format!("{:.3}", event.received),
        "destination": event.destination,
        "topic": event.topic,
        "subject": summary.subject,
        "repo": summary.repo,
        "ref": summary.reference.as_ref().map(|name| name.to_string_lossy()),
        "commit": summary.commit,
        "headers": headers,
        "body": String::from_utf8_lossy(&event.frame.body),
        "data": summary.json,
    });
    printable_json(json.to_string())
}
