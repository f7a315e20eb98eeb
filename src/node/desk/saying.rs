//! What is said: to the operator, to people, and on stdout.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Asked, Desk};
use crate::bus::Connection;
use crate::message::deploy::{Action, Answer, Code, Plan, PlanId, RefKind, Step};
use crate::node::errand::about;
use crate::node::plans::Known;
use crate::node::rules::Refusal;
use crate::watch::say;

/// How often it is told that requests were passed over.
const TELL_OVERLOAD: Duration = Duration::from_secs(10);
/// So many outcomes are said again when the broker is back.
const UNHEARD_MAX: usize = 100;

impl Desk {
    pub(super) fn reply(
        &mut self,
        about: PlanId,
        step: Option<Step>,
        answer: Answer,
        words: &str,
        connection: &Connection,
    ) {
        self.say(about, step, None, answer, words, connection);
    }

    fn say(
        &mut self,
        about: PlanId,
        step: Option<Step>,
        refuses: Option<String>,
        answer: Answer,
        words: &str,
        connection: &Connection,
    ) {
        let time = Timestamp::now();
        if let Err(why) = self.voice.refresh(time, Instant::now()) {
            self.problem(&format!("answers can't be signed: {why}"), connection);
        }
        connection.send(self.voice.reply(about, step, refuses, answer, time, words));
    }

    /// After a time without the broker: what came of the plans that are not over may have been lost with it.
    pub(super) fn say_all_again(&mut self, connection: &Connection) {
        let last = |known: &Known| {
            let (step, answer) = known.stands();
            (known.plan.id, step, answer)
        };
        let mut all: Vec<_> = self.plans.live(Timestamp::now()).map(last).collect();
        for (id, step) in std::mem::take(&mut self.unheard) {
            let is_in = all.iter().any(|(other, of, _)| (*other, *of) == (id, step));
            let known = self.plans.get(id).and_then(Result::ok).filter(|_| !is_in);
            let answer = known.and_then(|known| known.lost().or_else(|| known.answer(step).cloned()));
            all.extend(answer.map(|answer| (id, step, answer)));
        }
        for (id, step, answer) in all {
            self.reply(id, Some(step), answer, &format!("is back, and says what came of {step}"), connection);
        }
    }

    pub(super) fn refuse(&mut self, asked: Asked, refusal: Refusal, connection: &Connection, now: Instant) {
        if !self.refused.take(now) {
            return self.pass_over(connection, now);
        }
        let Refusal { code, why } = refusal;
        let Asked { plan, step, fingerprint } = asked;
        match step {
            Some(step) => self.problem(&format!("refused {step} of plan {plan}: {why}"), connection),
            None => self.problem(&format!("refused {plan}: {why}"), connection),
        }
        let words = format!("refuses: {why}");
        self.say(plan, step, Some(fingerprint), Answer::Refused { code, why }, &words, connection);
    }

    /// The outcome of a step, to the operator, to people, and to whoever reads stdout.
    pub(super) fn tell(&mut self, plan: &Plan, step: Step, answer: &Answer, connection: &Connection) {
        let line = self.line(plan, step, answer);
        if !self.is_heard {
            self.unheard.push_back((plan.id, step));
            if self.unheard.len() > UNHEARD_MAX {
                self.unheard.pop_front();
            }
        }
        self.reply(plan.id, Some(step), answer.clone(), &line.text, connection);
        if self.json {
            let json = serde_json::json!({ "plan": plan.id, "site": plan.site, "step": step, "answer": answer });
            say(&mut std::io::stdout(), &json.to_string());
        }
        match (line.is_problem, line.is_news) {
            (true, _) => self.problem(&line.text, connection),
            (false, true) => self.teller.event(&line.text, connection),
            (false, false) => {}
        }
        if !self.json && !line.is_problem {
            say(&mut std::io::stdout(), &line.text);
        }
    }

    fn line(&self, plan: &Plan, step: Step, answer: &Answer) -> Line {
        let what = about(plan);
        let news = |text: String| Line { text, is_problem: false, is_news: true };
        let quiet = |text: String| Line { text, is_problem: false, is_news: false };
        let problem = |text: String| Line { text, is_problem: true, is_news: true };
        let asked = match &plan.action {
            Action::Deploy { reference, kind: RefKind::Tag, .. } => Some(("tag", reference)),
            Action::Deploy { reference, kind: RefKind::Branch, .. } => Some(("branch", reference)),
            Action::Deploy { reference, kind: RefKind::Commit, .. } => Some(("commit", reference)),
            Action::DeploySvn { reference, .. } => Some(("revision", reference)),
            Action::Rollback { .. } => None,
        };
        match (answer, asked) {
            (Answer::Live { .. }, Some((kind, reference))) => {
                let site = self.setup.config.sites.get(&plan.site);
                let (repo, path) =
                    site.map(|site| (site.repo.as_str(), site.path.display().to_string())).unwrap_or_default();
                let reference = reference.escape_debug();
                news(format!("checked out {kind} {reference} from repo {repo} to target {path} request id {}", plan.id))
            }
            (Answer::Live { release, .. } | Answer::RolledBack { release }, _) => {
                news(format!("rolled back {} to release {release} request id {}", plan.site, plan.id))
            }
            (Answer::Refused { code: Code::TakenOver, why }, _) => news(format!("{what} was {why}")),
            (Answer::Refused { why, .. }, _) => problem(format!("refused {step} of {what}: {why}")),
            (Answer::Failed { at, why, .. }, _) => problem(format!("{step} of {what} failed at {at}: {why}")),
            (Answer::RollbackFailed { why }, _) => problem(format!("{what} could not be gone back from: {why}")),
            (Answer::Prepared { .. }, _) => quiet(format!("prepared {what}")),
            (Answer::Aborted, _) => quiet(format!("aborted {what}")),
            _ => quiet(format!("heard the {step} of {what}")),
        }
    }

    pub(super) fn problem(&mut self, line: &str, connection: &Connection) {
        if !self.problems.take(Instant::now()) {
            self.untold += 1;
            return;
        }
        let more = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            more => format!(" (and {more} problems more before)"),
        };
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.teller.problem(&format!("{line}{more}"), connection);
    }

    /// More came than is worth an answer.
    pub(super) fn pass_over(&mut self, connection: &Connection, now: Instant) {
        self.passed_over += 1;
        if self.overload_told.is_some_and(|told| now < told + TELL_OVERLOAD) {
            return;
        }
        self.overload_told = Some(now);
        let count = std::mem::take(&mut self.passed_over);
        self.teller.problem(&format!("too many requests: {count} were passed over without an answer"), connection);
    }
}

struct Line {
    text: String,
    is_problem: bool,
    /// For the events topic.
    is_news: bool,
}
