//! Carries out a step in a process of its own, looks what came of it when that process is killed, and runs what is to be
//! run whatever happened.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use super::errand::{Errand, Line, TEXT_MAX, Work};
use super::rules::Source;
use crate::message::deploy::{Answer, Code, ScriptRun, Step};
use crate::process::{Limits, Run, Stop, Stream};

/// Octets of a script's output in an answer: its end.
const OUTPUT_MAX: usize = 4 * 1024;
/// Scripts in an answer; a turn runs six at most.
const SCRIPTS_MAX: usize = 12;
/// From TERM to KILL: a script is given ten seconds, and what is to be mended after it some more.
const GRACE: Duration = Duration::from_secs(20);
/// Octets of what a process that failed to begin says for people.
const COMPLAINT_MAX: usize = 4 * 1024;
/// What a turn takes beside scripts and git: copying files, waiting for the disk.
const SLACK: Duration = Duration::from_secs(300);

/// No turn takes longer, prepared or not: each script and each call of git has its own limit, this is all of them together.
pub(super) fn limit(source: &Source<'_>) -> Duration {
    // drain, undrain, pre-deploy, pre-link, post-deploy twice; ls-remote, fetch, and git or svn for the files.
    (source.site.timeout * 6 + source.timeout * 6).saturating_add(SLACK)
}

/// What is told on the way.
pub(super) type Tell<'a> = &'a mut dyn FnMut(String);

/// Does a step to its end. `killed`: it was begun by a node that was killed; only what came of it is looked for.
pub(super) fn carry_out(errand: &Errand, step: Step, killed: bool, stop: &Stop, tell: Tell<'_>) -> Answer {
    let begun = Instant::now();
    let mut scripts = Scripts::default();
    let done = if killed { Err(String::new()) } else { call(errand, Some(stop), &mut scripts, tell) };
    let answer = done.unwrap_or_else(|ended| {
        let how = if !killed && stop.is_set() { "stopped" } else { "killed" };
        tell(format!("it was {how}; looking what came of it"));
        let look = errand.but(Work::Look(step));
        let found = call(&look, None, &mut scripts, tell)
            .unwrap_or_else(|why| failed("begin", format!("what came of it is not known: {why}")));
        because(&ended, found)
    });
    let answer = match step {
        // Nothing was drained.
        Step::Switch if !matches!(answer, Answer::Refused { .. }) => undrain(errand, answer, &mut scripts, tell),
        _ => answer,
    };
    scripts.add_to(answer, begun.elapsed())
}

/// Brings the host back, however its turn ended. It is not to be stopped: nothing else would do it.
fn undrain(errand: &Errand, answer: Answer, scripts: &mut Scripts, tell: Tell<'_>) -> Answer {
    if errand.site.undrain.is_empty() {
        return answer;
    }
    let mut again = None;
    // Killed, it is tried once more.
    let ended = call(&errand.but(Work::Undrain), None, scripts, tell)
        .or_else(|_| call(&errand.but(Work::Undrain), None, scripts, tell));
    match ended {
        Ok(Answer::Noted) => {}
        Ok(Answer::Failed { why, .. }) | Err(why) => again = Some(why),
        Ok(other) => again = Some(format!("its process answered {other:?}")),
    }
    match (answer, again) {
        (answer, None) => answer,
        (Answer::Live { release, .. }, Some(why)) => Answer::Failed {
            at: "undrain".to_owned(),
            why: format!("{why}; the switch is done"),
            serving: Some(release),
            switched: true,
            scripts: Vec::new(),
        },
        (Answer::Failed { at, why, serving, switched, scripts }, Some(undrained)) => {
            Answer::Failed { at, why: format!("{why}; undrain failed too: {undrained}"), serving, switched, scripts }
        }
        (answer, Some(_)) => answer,
    }
}

pub(super) fn failed(at: &str, why: String) -> Answer {
    Answer::Failed { at: at.to_owned(), why, serving: None, switched: false, scripts: Vec::new() }
}

/// A failure, with what is behind it.
fn because(cause: &str, answer: Answer) -> Answer {
    match answer {
        Answer::Failed { at, why, serving, switched, scripts } if !cause.is_empty() => {
            Answer::Failed { at, why: format!("{cause}: {why}"), serving, switched, scripts }
        }
        Answer::RollbackFailed { why } if !cause.is_empty() => {
            Answer::RollbackFailed { why: format!("{cause}: {why}") }
        }
        answer => answer,
    }
}

/// Runs one process. An error says how it ended without an answer.
fn call(errand: &Errand, stop: Option<&Stop>, scripts: &mut Scripts, tell: Tell<'_>) -> Result<Answer, String> {
    let input = serde_json::to_vec(errand).map_err(|error| error.to_string())?;
    // The very program that runs, also when another one was installed since.
    let mut command = Command::new("/proc/self/exe");
    command.arg("node-step").current_dir("/");
    // A broker's password is not the site's user's to read.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.as_encoded_bytes().starts_with(b"FAILCAKE_")) {
        command.env_remove(key);
    }
    attend(command, &input, errand.limit, stop, scripts, tell)
}

/// Hears such a process to its end.
fn attend(
    command: Command,
    input: &[u8],
    timeout: Duration,
    stop: Option<&Stop>,
    scripts: &mut Scripts,
    tell: Tell<'_>,
) -> Result<Answer, String> {
    let mut answer = None;
    let mut complaint = Tail::new(COMPLAINT_MAX);
    let mut lines = |stream: Stream, text: &[u8]| match (stream, serde_json::from_slice::<Line>(text)) {
        (Stream::Err, _) => complaint.add(&String::from_utf8_lossy(text)),
        // Not ours: some library's.
        (_, Err(_)) => {}
        (_, Ok(Line::Step(text))) => tell(text),
        (_, Ok(Line::Script(name, line))) => {
            scripts.say(&name, &line);
            tell(format!("{name}: {line}"));
        }
        (_, Ok(Line::Ran(name, exit))) => scripts.end(&name, exit),
        (_, Ok(Line::Answer(said))) => answer = Some(said),
    };
    let limits = Limits { timeout, grace: GRACE, output: 0 };
    let run = Run { user: None, input: Some(input), limits, stop, lines: Some(&mut lines) };
    let outcome = run.run(command).map_err(|error| error.to_string())?;
    let late = format!("it took longer than {} s in all and was ended", timeout.as_secs_f64());
    if outcome.timed_out {
        // What it says itself is that it was told to stop.
        return answer.map(|answer| because(&late, answer)).ok_or(late);
    }
    answer.ok_or_else(|| {
        let said = complaint.text();
        match (outcome.status.signal(), said.trim()) {
            (Some(signal), _) => format!("its process was killed by signal {signal}"),
            (None, "") => format!("its process ended with {} and no answer", outcome.status),
            (None, said) => said.to_owned(),
        }
    })
}

/// What scripts said, from their lines.
#[derive(Default)]
struct Scripts {
    ended: Vec<ScriptRun>,
    /// The one that runs.
    running: Option<(String, Tail)>,
}

impl Scripts {
    fn say(&mut self, name: &str, line: &str) {
        if self.running.as_ref().is_some_and(|(running, _)| running != name) {
            self.end_running(None);
        }
        let (_, tail) = self.running.get_or_insert_with(|| (name.to_owned(), Tail::new(OUTPUT_MAX)));
        tail.add(line);
    }

    fn end(&mut self, name: &str, exit: Option<i32>) {
        if self.running.is_none() {
            self.running = Some((name.to_owned(), Tail::new(OUTPUT_MAX)));
        }
        self.end_running(exit);
    }

    fn end_running(&mut self, exit: Option<i32>) {
        if let Some((name, tail)) = self.running.take()
            && self.ended.len() < SCRIPTS_MAX
        {
            self.ended.push(ScriptRun { name, exit, output: tail.text() });
        }
    }

    /// The answer, with the scripts that ran and how long it took.
    fn add_to(mut self, answer: Answer, took: Duration) -> Answer {
        self.end_running(None);
        let ran = self.ended;
        match answer {
            Answer::Live { release, reference, commit, previous, .. } => {
                let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                Answer::Live { release, reference, commit, previous, scripts: ran, milliseconds }
            }
            Answer::Failed { at, why, serving, switched, .. } => {
                Answer::Failed { at, why, serving, switched, scripts: ran }
            }
            other => other,
        }
    }
}

/// The last lines of a text that may be long.
struct Tail {
    lines: VecDeque<String>,
    octets: usize,
    most: usize,
}

impl Tail {
    fn new(most: usize) -> Tail {
        Tail { lines: VecDeque::new(), octets: 0, most }
    }

    fn add(&mut self, line: &str) {
        // Of a line that alone is too long, the end.
        let from = line.ceil_char_boundary(line.len().saturating_sub(self.most.min(TEXT_MAX) - 1));
        self.lines.push_back(line[from..].to_owned());
        self.octets += line.len() - from + 1;
        while self.octets > self.most
            && let Some(first) = self.lines.pop_front()
        {
            self.octets -= first.len() + 1;
        }
    }

    fn text(self) -> String {
        self.lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// What to answer when no thread can be had.
pub(super) fn no_thread(error: &std::io::Error) -> Answer {
    Answer::Refused { code: Code::NotPossible, why: format!("this node can't begin anything: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process that says `last` when it is told to end comes to.
    fn ended_in_time(last: &str) -> Result<Answer, String> {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'echo \"$LAST\"; exit' TERM; cat >&2; sleep 1000 & wait"]).env("LAST", last);
        let limit = Duration::from_millis(300);
        attend(command, b"{}", limit, None, &mut Scripts::default(), &mut |_| {})
    }

    #[test]
    fn one_that_takes_too_long_is_ended_and_its_answer_says_so() {
        const LATE: &str = "it took longer than 0.3 s in all and was ended";
        assert_eq!(ended_in_time(""), Err(LATE.to_owned()));
        let said = failed("pre-link", "it was told to stop".to_owned());
        let answer = ended_in_time(&serde_json::to_string(&Line::Answer(said)).unwrap());
        assert_eq!(answer, Ok(failed("pre-link", format!("{LATE}: it was told to stop"))));
        // One that came to its end all the same is what it says.
        assert_eq!(ended_in_time("{\"answer\":{\"is\":\"noted\"}}"), Ok(Answer::Noted));
    }

    #[test]
    fn the_end_of_each_scripts_output_is_kept() {
        let mut scripts = Scripts::default();
        scripts.end("drain", Some(0));
        for number in 0..10_000 {
            scripts.say("pre-deploy", &format!("line {number}"));
        }
        scripts.end("pre-deploy", Some(3));
        scripts.say("post-deploy", &"é".repeat(20_000));
        let answer = scripts.add_to(failed("pre-deploy", "x".to_owned()), Duration::ZERO);
        let Answer::Failed { scripts, .. } = answer else { panic!("{answer:?}") };
        let ran: Vec<_> = scripts.iter().map(|run| (run.name.as_str(), run.exit)).collect();
        assert_eq!(ran, [("drain", Some(0)), ("pre-deploy", Some(3)), ("post-deploy", None)]);
        assert!(scripts.iter().all(|run| run.output.len() <= OUTPUT_MAX), "{scripts:?}");
        assert!(scripts[1].output.ends_with("line 9998\nline 9999\n") && scripts[1].output.len() > 4000);
        assert!(scripts[2].output.starts_with('é'));
    }
}
