//! The process that does one [`Errand`]: it becomes the site's user, works, and says what came of it.

use std::io::{Read as _, Write as _};

use super::errand::{Errand, Line, TEXT_MAX, Work};
use crate::deploy::{self, Error, Here, Left, Origin, Owner, Request, Said, drop_prepared, fetch_missing, place};
use crate::message::deploy::{Action, Answer, Code, Step};
use crate::process::{self, Stop};
use crate::release::{self, Record, ReleaseName, State, Target, When};

/// An errand is not longer.
const INPUT_MAX: u64 = 64 * 1024 * 1024;

/// Does the errand that stdin holds, and tells on stdout.
///
/// # Errors
/// It could not even begin.
pub fn run() -> anyhow::Result<()> {
    // Before anything else: the one who waits for this may be killed at any time.
    let parent = nix::unistd::getppid();
    let mut text = Vec::new();
    std::io::stdin().lock().take(INPUT_MAX).read_to_end(&mut text)?;
    let errand: Errand = serde_json::from_slice(&text)?;
    let stop = Stop::on_signals()?;
    let answer = Child { errand: &errand, stop, parent }.work();
    say(&Line::Answer(answer));
    Ok(())
}

/// Whoever does not listen any more is dead, and this process soon as well.
fn say(line: &Line) {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn cut(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = text.floor_char_boundary(TEXT_MAX.min(text.len()));
    text[..end].to_owned()
}

fn tell(said: Said<'_>) {
    say(&match said {
        Said::Step(text) => Line::Step(cut(text)),
        Said::Script(name, line) => Line::Script(name.to_owned(), cut(line)),
        Said::Ran(name, exit) => Line::Ran(name.to_owned(), exit),
    });
}

struct Child<'a> {
    errand: &'a Errand,
    stop: Stop,
    parent: nix::unistd::Pid,
}

impl Child<'_> {
    fn work(&self) -> Answer {
        let done = match self.errand.work {
            Work::Prepare => self.prepare(),
            Work::Switch => self.with_owner(|here| self.switch(here)),
            Work::Undrain => self.with_owner(|here| self.undrain(here)),
            Work::Drop => self.with_owner(|here| self.drop_staged(here)),
            Work::TakeBack => self.with_owner(|here| self.take_back(here)),
            Work::Look(step) => self.with_owner(|here| self.look(here, step)),
        };
        done.unwrap_or_else(|error| match self.errand.work {
            // Before anything was done.
            Work::Prepare | Work::Switch => self.refused_or_failed("begin", &error),
            _ => self.failed("begin", &error),
        })
    }

    /// From here on this is the site's user.
    fn with_owner(&self, work: impl FnOnce(&Here<'_>) -> Answer) -> Result<Answer, Error> {
        let errand = self.errand;
        let makes = matches!(errand.work, Work::Prepare | Work::Switch) && !self.is_rollback();
        // A password is read before.
        let origin = Origin::among(&errand.repos, errand.svn.as_ref(), &errand.site)?;
        let owner = Owner::become_of(&errand.site, makes, self.stop.clone())?;
        // Who becomes another user would outlive whoever started it.
        process::die_with(self.parent)?;
        Ok(work(&owner.here(&errand.site, &origin, &errand.repos, errand.host.as_str())))
    }

    fn is_rollback(&self) -> bool {
        matches!(self.errand.action, Action::Rollback { .. })
    }

    /// Of a farm, the clone of what was asked for; the others are as they are.
    fn fetch(&self, mut request: Request) -> Result<(), Error> {
        let errand = self.errand;
        let name = match request.reference.clone().split_once('=').filter(|_| errand.site.farm.is_some()) {
            Some((repo, reference)) => {
                request.reference = reference.to_owned();
                repo.to_owned()
            }
            None => errand.site.repo.to_string(),
        };
        // One that is none of the farm's is found by what resolves it.
        let repo = errand.repos.iter().find(|(known, _)| known.as_str() == name);
        repo.map_or(Ok(()), |(_, repo)| fetch_missing(repo, &request, Some(&self.stop)))
    }

    fn prepare(&self) -> Result<Answer, Error> {
        let (errand, request) = (self.errand, self.errand.request());
        if matches!(errand.action, Action::Deploy { .. }) {
            tell(Said::Step("fetching"));
            if let Err(error) = self.fetch(request.clone()) {
                return Ok(self.failed("fetch", &error));
            }
        }
        self.with_owner(|here| {
            let prepared = match &errand.action {
                Action::Deploy { .. } | Action::DeploySvn { .. } => {
                    here.prepare(&request, When(errand.until), &mut tell)
                }
                Action::Rollback { to } => {
                    let to = to.as_ref().map(|to| to.parse::<Target>()).transpose();
                    match to {
                        Ok(to) => here.prepare_rollback(to.as_ref(), &request),
                        // The node's rules would have found it.
                        Err(error) => {
                            return Answer::Refused { code: Code::NotPossible, why: cut(&error.to_string()) };
                        }
                    }
                }
            };
            match prepared {
                Ok(prepared) => Answer::Prepared {
                    release: prepared.release.map(String::from).unwrap_or_default(),
                    previous_commit: prepared.previous_commit,
                },
                Err(error) => self.refused_or_failed("stage", &error),
            }
        })
    }

    fn switch(&self, here: &Here<'_>) -> Answer {
        let (errand, request) = (self.errand, self.errand.request());
        let place = place(&errand.site);
        // Before anything is taken out of a load balancer for nothing.
        if let Err(error) = place.check_hold() {
            return self.refused_or_failed("begin", &error.into());
        }
        if let Some(holder) = place.holder() {
            return self.refused_or_failed("begin", &release::Error::Busy { holder }.into());
        }
        if let Some(answer) = self.is_there_already() {
            return answer;
        }
        if let Err(why) = here.drain(&request, errand.target(), &mut tell) {
            return self.failed_at("drain", &why.to_string(), self.serving());
        }
        let done = match &errand.action {
            Action::Deploy { .. } | Action::DeploySvn { .. } => here.deploy(&request, &mut tell),
            Action::Rollback { .. } => {
                let to = errand.prepared.clone().map(Target::from);
                here.rollback(to.as_ref(), &request, &mut tell)
            }
        };
        match done {
            Ok(done) => Answer::Live {
                release: done.release.into(),
                reference: Some(done.reference.into()),
                commit: done.commit,
                previous: done.previous.map(String::from),
                scripts: Vec::new(),
                milliseconds: 0,
            },
            Err(error) if errand.site.drain.is_empty() => self.refused_or_failed("begin", &error),
            Err(error) => self.failed("begin", &error),
        }
    }

    /// What was asked for by name is live: there is nothing to go back from, and no reason to take the host out of anything.
    fn is_there_already(&self) -> Option<Answer> {
        let Action::Rollback { to: Some(_) } = self.errand.action else { return None };
        let place = place(&self.errand.site);
        let live = place.current().ok().flatten().filter(|live| self.errand.target() == Some(live))?;
        let record = place.record(&live).filter(|record| record.state == State::Live)?;
        Some(Answer::Live {
            release: live.to_string(),
            reference: Some(record.reference.into()),
            commit: record.commit,
            previous: Some(live.into()),
            scripts: Vec::new(),
            milliseconds: 0,
        })
    }

    fn undrain(&self, here: &Here<'_>) -> Answer {
        match here.undrain(&self.errand.request(), self.errand.target(), &mut tell) {
            Ok(()) => Answer::Noted,
            Err(why) => self.failed_at("undrain", &why.to_string(), self.serving()),
        }
    }

    fn drop_staged(&self, here: &Here<'_>) -> Answer {
        match drop_prepared(here.site, &self.errand.request(), here.stop) {
            Ok(()) => Answer::Aborted,
            Err(error) => self.failed("abort", &error),
        }
    }

    fn take_back(&self, here: &Here<'_>) -> Answer {
        let errand = self.errand;
        let is_ours = |live: &Record| self.is_ours(live);
        // A deploy goes back to the last release that was good; a rollback to what it came from.
        let to = errand.target().and_then(|_| errand.previous.clone().or_else(|| here.last_left()));
        match here.take_back(is_ours, to.as_ref(), &errand.request(), &mut tell) {
            Ok(done) => Answer::RolledBack { release: done.release.into() },
            // Nothing was done about it.
            Err(error @ Error::Release(_)) => {
                let live = self.serving().map_or_else(String::new, |live| format!("; release {live} serves on"));
                Answer::RollbackFailed { why: cut(&format!("{error}{live}")) }
            }
            Err(error) => Answer::RollbackFailed { why: cut(&error.to_string()) },
        }
    }

    /// Did the plan make that release live?
    fn is_ours(&self, live: &Record) -> bool {
        match self.errand.target() {
            Some(target) => live.release == *target,
            None => live.request_id == self.errand.plan.to_string(),
        }
    }

    /// What came of a step whose process was killed, by what the site's own records say.
    fn look(&self, here: &Here<'_>, step: Step) -> Answer {
        const KILLED: &str = "failcake was killed in the middle of it";
        let request = self.errand.request();
        let left = match here.left_of(&request) {
            Ok(left) => left,
            Err(error) => return self.failed("begin", &error),
        };
        let serving = left.current.clone().map(String::from);
        match step {
            Step::Prepare => match left.record {
                Some(record) if record.state == State::Staged => {
                    let previous_commit = left.current.and_then(|current| place(here.site).commit(&current));
                    Answer::Prepared { release: record.release.into(), previous_commit }
                }
                _ => self.failed_at("stage", KILLED, serving),
            },
            Step::Switch => self.look_at_turn(here, left, KILLED),
            Step::Rollback => Answer::RollbackFailed {
                why: match serving {
                    Some(live) => format!("{KILLED}; release {live} is live, and its post-deploy may not have run"),
                    None => format!("{KILLED}; nothing is live"),
                },
            },
            Step::Abort | Step::Verdict => self.drop_staged(here),
        }
    }

    fn look_at_turn(&self, here: &Here<'_>, left: Left, killed: &str) -> Answer {
        let serving = left.current.clone().map(String::from);
        let unsure = || format!("{killed}, after the switch: post-deploy may not have run");
        if let Some(target) = self.errand.target() {
            let is_back = left.current.as_ref() == Some(target);
            let (at, why) =
                if is_back { ("post-deploy", unsure()) } else { ("switch", format!("{killed}, before the switch")) };
            return self.failed_at(at, &why, serving);
        }
        let Some(record) = left.record else {
            return self.failed_at("switch", &format!("{killed}, before the switch"), serving);
        };
        let is_live = left.current.as_ref() == Some(&record.release);
        match record.state {
            State::Failed => {
                let at = record.failed_at.map_or("switch", release::Step::as_str);
                let why = record.why.as_deref().unwrap_or(killed);
                self.failed_at(at, why, serving)
            }
            State::Live if is_live && record.unfinished => self.failed_at("post-deploy", &unsure(), serving),
            State::Live if is_live => Answer::Live {
                release: record.release.into(),
                reference: Some(record.reference.into()),
                commit: record.commit,
                previous: record.previous.map(String::from),
                scripts: Vec::new(),
                milliseconds: 0,
            },
            State::Live => {
                let why = format!("{killed}; release {} was live, and another one is since", record.release);
                self.failed_at("switch", &why, serving)
            }
            // On hold nothing was put in order: it may be live all the same.
            _ if is_live => self.failed_at("post-deploy", &unsure(), serving),
            state => {
                if state == State::Staged {
                    // Its turn was taken and comes no more. What can't be dropped goes when its time is over.
                    let _ = drop_prepared(here.site, &self.errand.request(), here.stop);
                }
                self.failed_at("switch", &format!("{killed}, before the switch"), serving)
            }
        }
    }

    fn serving(&self) -> Option<String> {
        place(&self.errand.site).current().ok().flatten().map(String::from)
    }

    fn failed_at(&self, at: &str, why: &str, serving: Option<String>) -> Answer {
        let in_turn = matches!(self.errand.work, Work::Switch | Work::Undrain | Work::Look(Step::Switch));
        let live = serving.as_deref().filter(|_| in_turn).and_then(|name| name.parse().ok());
        let record = live.and_then(|live: ReleaseName| place(&self.errand.site).record(&live));
        let switched = record.is_some_and(|record| self.is_ours(&record));
        Answer::Failed { at: at.to_owned(), why: cut(why), serving, switched, scripts: Vec::new() }
    }

    fn failed(&self, at: &str, error: &Error) -> Answer {
        let at = match error {
            Error::Step { step, .. } => step.as_str(),
            Error::Kept { .. } | Error::AfterRollback { .. } => release::Step::PostDeploy.as_str(),
            Error::CheckOut { .. } => release::Step::Stage.as_str(),
            Error::Unrecorded { .. } => "record",
            _ => at,
        };
        self.failed_at(at, &error.to_string(), self.serving())
    }

    /// What was found before anything was done is a refusal.
    fn refused_or_failed(&self, at: &str, error: &Error) -> Answer {
        match code_of(error) {
            Some(code) => Answer::Refused { code, why: cut(&refusal(error)) },
            None => self.failed(at, error),
        }
    }
}

/// For people who are elsewhere: a plan has no `--wait`.
fn refusal(error: &deploy::Error) -> String {
    match error {
        Error::Release(release::Error::Busy { holder }) => format!("busy: {holder} has the lock; try again later"),
        error => error.to_string(),
    }
}

fn code_of(error: &deploy::Error) -> Option<Code> {
    use release::Error as Site;
    Some(match error {
        Error::Release(Site::Busy { .. }) => Code::Busy,
        Error::Release(Site::OnHold(_)) => Code::OnHold,
        Error::NoSuchRef { .. } | Error::NoSuchLine { .. } | Error::Moved { .. } | Error::NotContained { .. } => {
            Code::WrongCommit
        }
        Error::OtherOrigin { .. } | Error::NoSpace { .. } | Error::Prepare { .. } | Error::Process(_) => {
            Code::NotPossible
        }
        // The disk, or the wish to stop.
        Error::Release(Site::Io { .. } | Site::Stopped) => return None,
        Error::Release(_) => Code::NotPossible,
        _ => return None,
    })
}
