//! What was found, for people, for programs, and for a monitor.

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{Finding, Level};

/// Octets of a monitor's line that are text: some cut it at 1024, numbers included.
const TEXT: usize = 500;

/// Something counted or measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) value: u64,
    pub(super) unit: Unit,
    pub(super) warn: Option<u64>,
    pub(super) fail: Option<u64>,
    pub(super) most: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    /// An age: the more the worse.
    #[serde(rename = "s")]
    Seconds,
    /// Free ones: the less the worse.
    #[serde(rename = "B")]
    Octets,
    #[serde(rename = "")]
    Count,
    /// Used ones: the more the worse.
    #[serde(rename = "%")]
    Percent,
}

/// For people.
pub(super) fn lines(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or_default();
    for finding in findings {
        let (word, style) = match finding.level {
            Level::Ok => ("ok  ", Style::new().fg_color(Some(AnsiColor::Green.into()))),
            Level::Warn => ("warn", Style::new().fg_color(Some(AnsiColor::Yellow.into()))),
            Level::Fail => ("FAIL", Style::new().fg_color(Some(AnsiColor::Red.into())).bold()),
        };
        write!(out, "{style}{word}{style:#}  {:width$}  {}", finding.about, finding.text)?;
        if let Some(remedy) = &finding.remedy {
            write!(out, "; {remedy}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What a monitor's plugin ends with. Source: the Monitoring Plugins' development guidelines, "Plugin Return Codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    /// Nothing could be looked at.
    Unknown = 3,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// One line: status, what is wrong (the worst first), and what was measured.
pub(super) fn monitor(findings: &[Finding], could_look: bool) -> (String, Status) {
    let of = |level: Level| findings.iter().filter(move |finding| finding.level == level);
    let status = match (could_look, of(Level::Fail).next(), of(Level::Warn).next()) {
        (false, ..) => Status::Unknown,
        (_, Some(_), _) => Status::Critical,
        (_, None, Some(_)) => Status::Warning,
        (_, None, None) => Status::Ok,
    };
    let wrong = of(Level::Fail).chain(of(Level::Warn)).map(|finding| {
        let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{}: {}{remedy}", finding.about, finding.text)
    });
    let wrong: Vec<String> = wrong.collect();
    let text = if wrong.is_empty() { format!("{} things are well", findings.len()) } else { wrong.join(" / ") };
    (monitor_line(status, &text, &merged(findings)), status)
}

/// The line of a check that could not be made.
pub(crate) fn unknown(text: &str) -> String {
    monitor_line(Status::Unknown, text, &[])
}

fn monitor_line(status: Status, text: &str, measures: &[Measure]) -> String {
    let word = format!("{status:?}").to_uppercase();
    // A bar begins the numbers.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else if c == '|' { '/' } else { c }).collect();
    let end = text.floor_char_boundary(TEXT.min(text.len()));
    let more = if end < text.len() { "…" } else { "" };
    let mut line = format!("FAILCAKE {word} - {}{more}", &text[..end]);
    for (at, measure) in measures.iter().enumerate() {
        line.push_str(if at == 0 { " | " } else { " " });
        line.push_str(&measure.number());
    }
    line
}

/// Of one name the worst: five hundred repositories are one number.
fn merged(findings: &[Finding]) -> Vec<Measure> {
    let mut all: Vec<Measure> = Vec::new();
    for measure in findings.iter().flat_map(|finding| &finding.measures) {
        match all.iter_mut().find(|known| known.name == measure.name) {
            None => all.push(measure.clone()),
            Some(known) => {
                known.value = match measure.unit {
                    Unit::Seconds | Unit::Percent => known.value.max(measure.value),
                    Unit::Octets => known.value.min(measure.value),
                    Unit::Count => known.value.saturating_add(measure.value),
                }
            }
        }
    }
    all
}

impl Measure {
    /// `'label'=value[unit];[warn];[crit];[min];[max]`; `N:` is a limit that is to be reached.
    fn number(&self) -> String {
        let label: String = self.name.chars().map(|c| if matches!(c, '\'' | '=' | '|') || c.is_control() { '_' } else { c }).collect();
        let unit = match self.unit {
            Unit::Seconds => "s",
            Unit::Octets => "B",
            Unit::Count => "",
            Unit::Percent => "%",
        };
        let limit = |limit: Option<u64>| match (limit, self.unit) {
            (None, _) => String::new(),
            (Some(limit), Unit::Octets) => format!("{limit}:"),
            (Some(limit), _) => limit.to_string(),
        };
        let most = self.most.map(|most| most.to_string()).unwrap_or_default();
        format!("'{label}'={}{unit};{};{};0;{most}", self.value, limit(self.warn), limit(self.fail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(value: u64) -> Measure {
        Measure { name: "look".to_owned(), value, unit: Unit::Seconds, warn: Some(900), fail: None, most: None }
    }

    #[test]
    fn the_worst_decides_and_comes_first() {
        let findings = [
            Finding::ok("a", "x").with(age(3)),
            Finding::warn("b", "odd | thing\u{1b}", "do").with(age(7)),
            Finding::fail("c", "broken", "mend"),
        ];
        let (line, status) = monitor(&findings, true);
        assert_eq!(line, "FAILCAKE CRITICAL - c: broken; mend / b: odd / thing ; do | 'look'=7s;900;;0;");
        assert_eq!(status as u8, 2);
        assert_eq!(monitor(&findings[..2], true).1, Status::Warning);
        let (line, status) = monitor(&findings[..1], true);
        assert_eq!((line.as_str(), status), ("FAILCAKE OK - 1 things are well | 'look'=3s;900;;0;", Status::Ok));
        assert_eq!(monitor(&findings, false).1, Status::Unknown);
    }

    #[test]
    fn numbers_are_in_the_form_that_monitors_read() {
        let free = |value| Measure {
            name: "free /it's=odd".to_owned(),
            value,
            unit: Unit::Octets,
            warn: Some(10),
            fail: Some(5),
            most: Some(100),
        };
        let waiting = |value| Measure { name: "w".to_owned(), value, unit: Unit::Count, warn: None, fail: None, most: None };
        let findings = [Finding::ok("a", "").with(free(7)).with(waiting(1)), Finding::ok("b", "").with(free(6)).with(waiting(2))];
        let (line, _) = monitor(&findings, true);
        assert!(line.ends_with(" | 'free /it_s_odd'=6B;10:;5:;0;100 'w'=3;;;0;"), "{line}");
    }

    #[test]
    fn a_long_text_leaves_room_for_the_numbers() {
        let findings = [Finding::fail("c", "é".repeat(2000), "mend").with(age(1))];
        let (line, _) = monitor(&findings, true);
        assert!(line.len() < 600 && line.ends_with("… | 'look'=1s;900;;0;"), "{line}");
        assert_eq!(unknown("no\nfile"), "FAILCAKE UNKNOWN - no file");
    }
}
