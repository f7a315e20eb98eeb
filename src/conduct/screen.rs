//! A block of lines on a terminal that is drawn again and again, below the lines that stay.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use super::view::{Details, FRAME};
use crate::rollout::{Host, Rollout, State};

/// Seconds that pass are shown too.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Screen {
    start: Instant,
    /// `NO_COLOR` and its like were heeded.
    color: bool,
    /// Lines of the block as it is on the terminal.
    drawn: usize,
    last: Option<(Instant, Vec<String>)>,
    /// Lines that are to stay, not written yet.
    said: Vec<String>,
}

impl Screen {
    pub fn new() -> Screen {
        let color = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        Screen { start: Instant::now(), color, drawn: 0, last: None, said: Vec::new() }
    }

    /// A line above the block.
    pub fn say(&mut self, text: &str) {
        self.said.push(format!("{:8.3}s {text}", self.start.elapsed().as_secs_f64()));
        let block = self.last.take().map(|(_, lines)| lines).unwrap_or_default();
        self.write(&block);
    }

    /// Draws how things stand, not more often than eyes see; says when to draw again.
    pub fn draw(&mut self, rollout: &Rollout, details: &Details, bake: Option<Instant>) -> Instant {
        let now = Instant::now();
        if let Some((at, _)) = self.last.as_ref().filter(|(at, _)| now < *at + FRAME) {
            return *at + FRAME;
        }
        let (columns, rows) = size();
        let lines = picture(rollout, details, bake, now, columns, rows.saturating_sub(2).max(3));
        if self.last.as_ref().is_none_or(|(_, last)| *last != lines) {
            self.write(&lines);
        }
        self.last = Some((now, lines));
        now + TICK
    }

    /// Takes the block away.
    pub fn clear(&mut self) {
        self.write(&[]);
        self.last = None;
    }

    /// In one piece, so that nothing flickers. Nobody who stopped reading may stop the rollout.
    fn write(&mut self, block: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        text.push_str("\r\x1b[J");
        for line in self.said.drain(..) {
            text.push_str(&line);
            text.push('\n');
        }
        for line in block {
            // Colours only: `anstream` would take the movements away as well.
            match self.color {
                true => text.push_str(line),
                false => text.extend(anstream::adapter::strip_str(line)),
            }
            text.push('\n');
        }
        self.drawn = block.len();
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// Columns and rows.
fn size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and what it is given is one.
    let result = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size) };
    if result == 0 && size.ws_col > 0 && size.ws_row > 0 { (size.ws_col.into(), size.ws_row.into()) } else { (80, 24) }
}

/// How far a state is, of [`CELLS`].
fn progress(state: State) -> usize {
    match state {
        State::Waiting | State::Unreachable | State::Refused => 0,
        State::Asked => 1,
        State::Preparing | State::Aborting | State::Aborted => 2,
        State::Prepared => 3,
        State::Switching | State::RollingBack | State::Silent | State::Failed | State::RollbackFailed => 4,
        State::Live | State::RolledBack => CELLS,
    }
}

/// Of a host's bar.
const CELLS: usize = 5;

fn style(state: State) -> Style {
    let color = match state {
        State::Live => AnsiColor::Green,
        State::Unreachable | State::Silent | State::Failed | State::Refused | State::RollbackFailed => AnsiColor::Red,
        State::Preparing | State::Switching | State::RollingBack | State::Aborting => AnsiColor::Cyan,
        State::RolledBack | State::Aborted => AnsiColor::Yellow,
        State::Waiting | State::Asked | State::Prepared => return Style::new(),
    };
    Style::new().fg_color(Some(color.into()))
}

/// Where more hosts are than lines, those that something happens to come first.
fn rank(host: &Host) -> u8 {
    match host.state() {
        State::Switching | State::RollingBack => 0,
        State::Failed | State::Silent | State::Unreachable | State::Refused | State::RollbackFailed => 1,
        State::Preparing | State::Aborting => 2,
        State::Asked => 3,
        State::Live | State::RolledBack => 4,
        State::Prepared | State::Aborted | State::Waiting => 5,
    }
}

fn picture(
    rollout: &Rollout,
    details: &Details,
    bake: Option<Instant>,
    now: Instant,
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let hosts = rollout.hosts();
    let mut shown: Vec<(usize, &Host)> = hosts.iter().enumerate().collect();
    if shown.len() > rows {
        shown.sort_by_key(|(at, host)| (rank(host), *at));
        shown.truncate(rows - 1);
        shown.sort_by_key(|(at, _)| *at);
    }
    let width = shown.iter().map(|(_, host)| host.name().as_str().len()).max().unwrap_or(0).min(columns / 3);
    let mut lines: Vec<String> = shown.iter().map(|(_, host)| line(host, details, width, columns)).collect();
    if lines.len() < hosts.len() {
        lines.push(cut(&format!("… {} more", hosts.len() - lines.len()), columns));
    }
    lines.push(cut(&summary(rollout, bake, now), columns));
    lines
}

fn line(host: &Host, details: &Details, width: usize, columns: usize) -> String {
    let (state, style) = (host.state(), style(host.state()));
    let doing = match (host.why(), details.get(host.name())) {
        (Some(why), _) if !why.is_empty() => why,
        (_, Some(detail)) if matches!(state, State::Preparing | State::Switching | State::RollingBack) => &detail.doing,
        _ => "",
    };
    let filled = progress(state);
    let name = cut(host.name().as_str(), width);
    let bar = format!("{}{}", "=".repeat(filled), " ".repeat(CELLS - filled));
    let mark = if host.is_canary() { '*' } else { ' ' };
    let parts = [
        (Style::new(), format!("{name:width$} {mark}[")),
        (style, bar),
        (Style::new(), "] ".to_owned()),
        (style, format!("{state:STATE$}")),
        (Style::new(), format!(" {doing}")),
    ];
    // Colour takes no room, so each is cut before it is coloured. A line that is too long would be two of the terminal's.
    let mut left = columns;
    let mut line = String::new();
    for (style, text) in parts {
        let text = cut(&text, left);
        left = left.saturating_sub(cells(&text));
        let _ = write!(line, "{style}{text}{style:#}");
    }
    line
}

/// The longest word for a state.
const STATE: usize = 15;

fn summary(rollout: &Rollout, bake: Option<Instant>, now: Instant) -> String {
    let done = rollout.count(State::Live);
    let mut text = format!("{done} of {} live", rollout.hosts().len());
    for state in [State::Switching, State::Failed, State::Silent, State::Unreachable, State::Refused, State::RolledBack]
    {
        if rollout.count(state) > 0 {
            let _ = write!(text, ", {} {state}", rollout.count(state));
        }
    }
    if let Some(why) = rollout.stopping() {
        let _ = write!(text, "; stopping: {why}");
    } else if let Some(left) = bake.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero()) {
        let _ = write!(text, "; the canary is watched for {} s more", left.as_secs() + 1);
    }
    text
}

/// At most so many cells of a terminal.
fn cut(text: &str, width: usize) -> String {
    if cells(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let rest = left.checked_sub(wide(*c));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    text.chars().take_while(fits).chain((width > 0).then_some('…')).collect()
}

fn cells(text: &str) -> usize {
    text.chars().map(wide).sum()
}

/// Of the others some take two cells: none is counted for less.
fn wide(c: char) -> usize {
    if c.is_ascii() || c == '…' { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Answer, Policy};

    fn picture_of(hosts: usize, columns: usize, rows: usize) -> Vec<String> {
        let names = (0..hosts).map(|n| format!("web{n:03}").parse().unwrap());
        let now = Instant::now();
        let mut rollout = Rollout::new(names.collect(), Policy::default(), now).unwrap();
        while rollout.poll_order().is_some() {}
        let last = rollout.hosts()[hosts - 1].name().clone();
        rollout.handle_answer(&last, Answer::Refused { why: "no ".repeat(100) }, now);
        picture(&rollout, &Details::new(), None, now, columns, rows)
    }

    #[test]
    fn a_line_for_each_host_and_none_is_too_long() {
        let lines = picture_of(3, 60, 20);
        assert_eq!(lines.len(), 3 + 1);
        let plain: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(plain[0], "web000  [==   ] dropping        ");
        assert!(plain[2].starts_with("web002  [     ] refused         no no no"), "{plain:?}");
        assert!(plain.iter().all(|line| line.chars().count() <= 60), "{plain:?}");
        assert!(plain[3].starts_with("0 of 3 live, 1 refused; stopping: web002 refused: no"), "{plain:?}");
    }

    #[test]
    fn of_more_hosts_than_lines_those_that_something_happens_to_are_shown() {
        let lines = picture_of(100, 80, 10);
        let plain: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(plain.len(), 11);
        assert!(plain[8].starts_with("web099 "), "{plain:?}");
        assert_eq!(plain[9], "… 91 more");
    }

    #[test]
    fn on_a_narrow_terminal_no_line_becomes_two() {
        for columns in 1..60 {
            for line in picture_of(5, columns, 3) {
                let plain = anstream::adapter::strip_str(&line).to_string();
                assert!(plain.chars().count() <= columns, "{columns}: {plain:?}");
            }
        }
        let plain = anstream::adapter::strip_str(&picture_of(1, 20, 3)[0]).to_string();
        assert_eq!(plain, "web000  [     ] ref…");
        assert_eq!([cut("進捗を報告", 10), cut("進捗を報告", 8), cut("ab", 0)], ["進捗を報告", "進捗を…", ""]);
    }
}
