//! What nodes say, for the machine and for people.

use serde::Serialize;

use crate::message::deploy::{Answer, Code, Report, ScriptRun, Step};
use crate::message::terminal::printable;
use crate::rollout;

/// Octets of one reason.
const WHY_MAX: usize = 700;
/// Lines of a script's output that are shown.
const LINES: usize = 10;

/// What fails in a host's turn, as a node calls it.
const TURN: [&str; 7] = ["drain", "pre-deploy", "pre-link", "switch", "post-deploy", "undrain", "shared"];

/// What one host said of its part, beside how it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Detail {
    /// Live, or staged.
    pub release: Option<String>,
    /// The tag, branch or commit that it was deployed as, if it is live.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its commit.
    pub commit: Option<String>,
    /// What was served before.
    pub previous: Option<String>,
    /// The step that failed.
    pub failed_at: Option<String>,
    /// Why it refuses, for programs.
    pub refused: Option<Code>,
    /// What was run.
    pub scripts: Vec<ScriptRun>,
    /// How long its turn took.
    pub milliseconds: Option<u64>,
    /// The last step that it spoke of.
    #[serde(skip)]
    pub furthest: Option<Step>,
    /// What it does right now.
    #[serde(skip)]
    pub doing: String,
}

impl Detail {
    /// Takes in what a report says. `None`: nothing that the machine has to know.
    pub fn take(&mut self, report: &Report) -> Option<rollout::Answer> {
        let during = report.step.map_or(rollout::Step::Prepare, step);
        let is_past = report.step < self.furthest;
        self.furthest = self.furthest.max(report.step);
        Some(match &report.answer {
            // Said of an order that came twice or late: it is further than that.
            Answer::Prepared { .. } if is_past => {
                rollout::Answer::Progress { step: self.furthest.map_or(during, step) }
            }
            Answer::Accepted => {
                self.doing.clear();
                rollout::Answer::Accepted { step: during }
            }
            Answer::Progress { text } => {
                if !text.is_empty() {
                    self.doing = plain(text);
                }
                rollout::Answer::Progress { step: during }
            }
            Answer::Prepared { release, .. } => {
                self.release = Some(plain(release));
                rollout::Answer::Prepared
            }
            Answer::Refused { code, why } => {
                self.refused = Some(*code);
                match code {
                    Code::TakenOver => rollout::Answer::TakenOver { why: plain(why) },
                    _ => rollout::Answer::Refused { why: plain(why) },
                }
            }
            Answer::Live { release, reference, commit, previous, scripts, milliseconds } => {
                self.reference = reference.as_deref().map(plain);
                self.release = Some(plain(release));
                self.commit = commit.as_deref().map(plain);
                self.previous = previous.as_deref().map(plain);
                self.scripts.clone_from(scripts);
                self.milliseconds = Some(*milliseconds);
                rollout::Answer::Live { summary: self.summary().unwrap_or_default() }
            }
            Answer::Failed { at, why, serving, switched, scripts } => {
                self.failed_at = Some(plain(at));
                self.serves_again(serving.as_deref());
                self.scripts.clone_from(scripts);
                // A node that is asked again how it stands may name the question's step.
                let during = if TURN.contains(&at.as_str()) { rollout::Step::Switch } else { during };
                rollout::Answer::Failed { during, switched: *switched, why: failure(at, why) }
            }
            Answer::RolledBack { release } => {
                self.serves_again(Some(release));
                rollout::Answer::RolledBack
            }
            Answer::RollbackFailed { why } => rollout::Answer::RollbackFailed { why: plain(why) },
            Answer::Aborted => {
                self.release = None;
                rollout::Answer::Aborted
            }
            Answer::UnknownPlan => rollout::Answer::Refused { why: "it knows no such plan".to_owned() },
            // The verdict was heard: it need not be said again.
            Answer::Noted => rollout::Answer::Progress { step: during },
            Answer::Node(_) | Answer::State { .. } | Answer::Tags { .. } => return None,
        })
    }

    /// Not what the plan brought, or not well: what was said of that is not said of this release.
    fn serves_again(&mut self, release: Option<&str>) {
        self.release = release.map(plain);
        (self.reference, self.commit, self.previous) = (None, None, None);
    }

    /// What went live, in words.
    pub fn summary(&self) -> Option<String> {
        let release = self.release.as_deref()?;
        let reference = self.reference.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
        if self.previous.as_deref() == Some(release) {
            return Some(format!("release {release}{reference} already"));
        }
        let before = self.previous.as_deref().map_or_else(String::new, |name| format!(", {name} before"));
        let took = self.milliseconds.map_or_else(String::new, |time| format!(", in {}", seconds(time)));
        Some(format!("release {release}{reference}{before}{took}"))
    }

    /// The end of what the script said that went wrong first: what failed after it was to mend that.
    pub fn last_words(&self) -> Option<(&ScriptRun, Vec<String>)> {
        let script = self.scripts.iter().find(|script| script.exit != Some(0))?;
        let lines: Vec<String> = script.output.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(LINES);
        Some((script, lines[from..].to_vec()))
    }
}

/// A failed step and its reason, which may name it already.
pub(super) fn failure(at: &str, why: &str) -> String {
    let (at, why) = (plain(at), plain(why));
    if why.starts_with(&at) { why } else { format!("{at}: {why}") }
}

/// `35 ms`, `1.2 s`.
pub(super) fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
    }
}

/// Outside words as part of a line: what would move a terminal's cursor is a space, what hides text is written out.
pub(super) fn plain(text: &str) -> String {
    let mut text = printable(&text.replace(char::is_control, " "));
    crate::message::cut(&mut text, WHY_MAX);
    text
}

/// The machine has words of its own: it knows no messages.
pub(super) fn step(step: Step) -> rollout::Step {
    match step {
        Step::Prepare => rollout::Step::Prepare,
        Step::Switch => rollout::Step::Switch,
        Step::Abort => rollout::Step::Abort,
        Step::Rollback => rollout::Step::Rollback,
        Step::Verdict => rollout::Step::Verdict,
    }
}

/// And back.
pub(super) fn wire(step: rollout::Step) -> Step {
    match step {
        rollout::Step::Prepare => Step::Prepare,
        rollout::Step::Switch => Step::Switch,
        rollout::Step::Abort => Step::Abort,
        rollout::Step::Rollback => Step::Rollback,
        rollout::Step::Verdict => Step::Verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_of_a_release_that_was_gone_back_from_is_not_that_of_the_one_before() {
        let said = |step, answer| {
            let (about, node) = (crate::message::deploy::PlanId::new(), "web01".parse().unwrap());
            Report { about, step: Some(step), node, time: jiff::Timestamp::now(), refuses: None, answer }
        };
        let live = Answer::Live {
            release: "2".to_owned(),
            reference: Some("v2".into()),
            commit: Some("c2".to_owned()),
            previous: Some("1".to_owned()),
            scripts: Vec::new(),
            milliseconds: 1,
        };
        let mut detail = Detail::default();
        detail.take(&said(Step::Switch, live)).unwrap();
        assert_eq!((detail.release.as_deref(), detail.commit.as_deref()), (Some("2"), Some("c2")));
        detail.take(&said(Step::Rollback, Answer::RolledBack { release: "1".to_owned() })).unwrap();
        assert_eq!(detail.release.as_deref(), Some("1"));
        assert_eq!((detail.reference, detail.commit, detail.previous), (None, None, None));
    }

    #[test]
    fn the_last_words_are_those_of_the_script_that_failed_first() {
        let ran = |name: &str, exit, output: &str| ScriptRun { name: name.to_owned(), exit, output: output.to_owned() };
        let scripts = vec![
            ran("pre-deploy", Some(0), "fine\n"),
            ran("post-deploy", Some(1), "1\n\n2\nof the new release\u{1b}[2J\n"),
            ran("post-deploy", Some(1), "of the old release\n"),
        ];
        let detail = Detail { scripts, ..Detail::default() };
        let (script, lines) = detail.last_words().unwrap();
        assert_eq!((script.name.as_str(), lines.last().unwrap().as_str()), ("post-deploy", "of the new release [2J"));
        assert_eq!(Detail::default().last_words(), None);
    }
}
