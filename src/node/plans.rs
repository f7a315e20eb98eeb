//! The plans that this node has seen, on the disk: what makes each of their steps happen once.
//!
//! ```text
//! SPOOL/UID/plans/ID.json      the plan as it was signed, each step that was begun, and what came of it
//! SPOOL/UID/plans/lock         held (flock) by the one node that works here
//! ```
//!
//! A step is written down before it is begun, and its answer before it is told; each time as a whole file, durably. Killed
//! between the two, a step without an answer is left: [`Plans::unfinished`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::durable::{self, Durable};
use crate::message::deploy::{Action, Answer, Code, Document as _, Plan, PlanId, Signed, Step};
use crate::name::SiteName;
use crate::spool::{self, Limits, Spool};

/// How long a plan is remembered when nobody can use it any more.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So many are remembered; more only while each of them could still be used.
const MOST: usize = 1000;
/// More than that, as long as the clock can't be believed.
const MOST_IN_DOUBT: usize = 2 * MOST;
/// For so long the clock has to go with the time that passes before plans are forgotten by it.
const SETTLED: Duration = Duration::from_secs(2 * 3600);
/// A clock that is set by no more than that is not set anew.
const STEP: SignedDuration = SignedDuration::from_secs(60);
/// A plan that is over its time by so much is not usable by any clock that a node accepts.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);

/// Why plans can't be remembered: then none is taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("can't {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "another `failcake deploy --watch` works with {}: one of them is enough, or give each its own `spool:`", .0.display()
    )]
    Taken(PathBuf),
    #[error("this node remembers {0} plans that could all still be used: more are not taken")]
    Full(usize),
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) step: Step,
    #[serde(default)]
    pub(super) canary: bool,
    pub(super) begun: Timestamp,
    /// `None`: it is under way, or its node was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
}

/// Another plan has the site instead of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TakenOver {
    pub(super) by: PlanId,
    /// Who signed that plan.
    pub(super) who: String,
    pub(super) at: Timestamp,
}

/// A plan and how far it came here.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) plan: Plan,
    kept: Kept,
}

/// As it is in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    version: u32,
    plan: Signed,
    /// Unless it ends before, it has its site until then.
    until: Timestamp,
    steps: Vec<Taken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_over: Option<TakenOver>,
}

const VERSION: u32 = 1;

/// What is kept in memory of a plan that is over.
#[derive(Debug, Clone, Copy)]
struct Past {
    not_after: Timestamp,
}

/// Whether the machine's clock can be believed. One that was ahead by months, at the start perhaps, and was set back would have
/// plans forgotten that can be used after that.
#[derive(Debug)]
struct Clock {
    last: (Timestamp, Instant),
    /// Since when it goes with the time that passes.
    since: Instant,
}

impl Clock {
    fn new(time: Timestamp, now: Instant) -> Clock {
        Clock { last: (time, now), since: now }
    }

    fn is_settled(&mut self, time: Timestamp, now: Instant) -> bool {
        let (then, at) = std::mem::replace(&mut self.last, (time, now));
        let passed = SignedDuration::try_from(now.saturating_duration_since(at)).unwrap_or(SignedDuration::MAX);
        if time.duration_since(then).saturating_sub(passed).abs() > STEP {
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= SETTLED
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Plans {
    clock: Clock,
    folder: PathBuf,
    #[expect(dead_code, reason = "closing it unlocks")]
    lock: Flock<File>,
    /// Those that have their site, or of which a step is under way.
    live: BTreeMap<PlanId, Known>,
    past: BTreeMap<PlanId, Past>,
}

impl Known {
    /// As it was signed.
    pub(super) fn document(&self) -> &str {
        &self.kept.plan.document
    }

    /// The steps, in the order in which they were begun.
    pub(super) fn steps(&self) -> &[Taken] {
        &self.kept.steps
    }

    pub(super) fn taken(&self, step: Step) -> Option<&Taken> {
        self.steps().iter().find(|taken| taken.step == step)
    }

    /// What came of a step; `None` also while it is under way.
    pub(super) fn answer(&self, step: Step) -> Option<&Answer> {
        self.taken(step)?.answer.as_ref()
    }

    /// How the host stands: the last step but the verdict, and what came of it; [`Answer::Accepted`] while it is under way.
    pub(super) fn stands(&self) -> (Step, Answer) {
        let last = self.steps().iter().rfind(|taken| taken.step != Step::Verdict).or_else(|| self.steps().last());
        let Some(last) = last else { return (Step::Prepare, Answer::UnknownPlan) };
        if let Some(answer) = self.lost() {
            return (last.step, answer);
        }
        match (&last.answer, self.answer(Step::Verdict)) {
            (None, _) => (last.step, Answer::Accepted),
            // With the verdict it was dropped.
            (Some(Answer::Prepared { .. }), Some(_)) => (last.step, Answer::Aborted),
            (Some(answer), _) => (last.step, answer.clone()),
        }
    }

    /// Has its turn made the plan's release live? `None`: that is not sure, or not over.
    pub(super) fn went_live(&self) -> Option<bool> {
        match self.taken(Step::Switch).map(|taken| &taken.answer) {
            None | Some(Some(Answer::Refused { .. })) => Some(false),
            Some(Some(Answer::Live { .. })) => Some(true),
            Some(Some(Answer::Failed { switched, .. })) => Some(*switched),
            Some(_) => None,
        }
    }

    /// The release that stands ready, or that is to be gone back to.
    pub(super) fn prepared(&self) -> Option<&str> {
        match self.answer(Step::Prepare) {
            Some(Answer::Prepared { release, .. }) => Some(release),
            _ => None,
        }
    }

    /// May a release of it be staged still, that nobody will switch to when it ends?
    pub(super) fn may_be_staged(&self) -> bool {
        self.prepared().is_some_and(|release| !release.is_empty())
            && !matches!(self.plan.action, Action::Rollback { .. })
            && match self.taken(Step::Switch) {
                None => true,
                // A turn that ended early may have left it.
                Some(taken) => !matches!(taken.answer, None | Some(Answer::Live { .. })),
            }
    }

    /// The answer to whatever is ordered of it, when another plan has taken the site over.
    pub(super) fn lost(&self) -> Option<Answer> {
        let TakenOver { by, who, at } = self.kept.taken_over.as_ref()?;
        let when = match (self.taken(Step::Rollback), self.taken(Step::Switch), self.went_live()) {
            (Some(_), _, _) => "after it went back",
            (None, None, _) => "before its turn",
            (None, Some(_), Some(true)) => "after its turn, which made it live",
            (None, Some(_), _) => "after its turn, which failed",
        };
        let why = format!("taken over by plan {by} of {who} at {at:.0}, {when}");
        Some(Answer::Refused { code: Code::TakenOver, why })
    }

    /// Has it the site? One that was taken over has it no more, though what it staged may still have to be dropped.
    pub(super) fn has_site(&self, now: Timestamp) -> bool {
        let is_over = [Step::Abort, Step::Verdict].iter().any(|step| self.answer(*step).is_some());
        let holds = self.works() || (!is_over && self.prepared().is_some() && now < self.kept.until);
        holds && self.kept.taken_over.is_none()
    }

    /// Is a step of it under way?
    fn works(&self) -> bool {
        self.steps().iter().any(|taken| taken.answer.is_none())
    }

    /// Is it to be kept in memory?
    fn is_open(&self, now: Timestamp) -> bool {
        self.works() || self.has_site(now)
    }

    /// Until when it has the site, unless it ends before.
    pub(super) fn until(&self) -> Timestamp {
        self.kept.until
    }
}

impl Plans {
    /// Opens the folder of whoever runs this, for this node alone. Files that can't be read are told: their plans are
    /// taken for known, and never done again.
    ///
    /// # Errors
    /// Another node has it; the disk says no.
    pub(super) fn open(
        parent: &Path,
        limits: Limits,
        now: Timestamp,
        moment: Instant,
    ) -> Result<(Plans, Vec<String>), Error> {
        let folder = Spool::open(parent, limits)?.inner("plans")?.path().to_owned();
        // A folder that was just made could be lost with its first plans.
        for above in folder.ancestors().skip(1).take(2) {
            let _ = File::open(above).and_then(|above| above.sync_all());
        }
        let lock_path = folder.join("lock");
        let at = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { what, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&lock_path).map_err(at("open", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => Error::Taken(folder.clone()),
            errno => at("lock", &lock_path)(errno.into()),
        })?;
        let (mut live, mut past, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let entry = entry.map_err(at("read", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".tmp-") {
                // Of a node that was killed while it wrote: the lock says that nobody writes now.
                let _ = fs::remove_file(entry.path());
            }
            let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse::<PlanId>().ok()) else { continue };
            match read(&entry.path(), id) {
                Ok(known) if known.is_open(now) => drop(live.insert(id, known)),
                Ok(known) => drop(past.insert(id, Past { not_after: known.plan.not_after })),
                Err(why) => {
                    problems.push(format!("what is known of plan {id} can't be read, so it is never done: {why}"));
                    // As if it had been made for as long as any.
                    let changed = entry.metadata().and_then(|meta| meta.modified()).ok();
                    let changed = changed.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(now);
                    past.insert(id, Past { not_after: later(changed, super::rules::LONGEST) });
                }
            }
        }
        // Nothing is forgotten yet: the clock may be set any moment.
        Ok((Plans { clock: Clock::new(now, moment), folder, lock, live, past }, problems))
    }

    /// Where they are kept.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of a plan; `None`: this node never saw it.
    ///
    /// # Errors
    /// It was seen, but what came of it can't be read.
    pub(super) fn get(&self, id: PlanId) -> Option<Result<Known, String>> {
        match self.live.get(&id) {
            Some(known) => Some(Ok(known.clone())),
            None if self.past.contains_key(&id) => {
                let known = read(&self.path(id), id);
                Some(known.map_err(|why| format!("what is known of the plan here can't be read: {why}")))
            }
            None => None,
        }
    }

    /// The plan that has the site.
    pub(super) fn holder(&self, site: &SiteName, now: Timestamp) -> Option<&Known> {
        self.live.values().find(|known| known.plan.site == *site && known.has_site(now))
    }

    /// The plans that have their site.
    pub(super) fn live(&self, now: Timestamp) -> impl Iterator<Item = &Known> {
        self.live.values().filter(move |known| known.has_site(now))
    }

    /// Steps that were begun and came to no end, because this node was killed.
    pub(super) fn unfinished(&self) -> Vec<(PlanId, Step)> {
        let steps = |known: &Known| -> Vec<(PlanId, Step)> {
            let open = known.steps().iter().filter(|taken| taken.answer.is_none());
            open.map(|taken| (known.plan.id, taken.step)).collect()
        };
        self.live.values().flat_map(steps).collect()
    }

    /// Remembers a plan, not yet on the disk: with its first step it is.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn meet(
        &mut self,
        plan: Plan,
        signed: Signed,
        turn: Duration,
        now: Timestamp,
        moment: Instant,
    ) -> Result<Known, Error> {
        let most = if self.forget(now, moment) { MOST } else { MOST_IN_DOUBT };
        let count = self.live.len() + self.past.len();
        if count >= most {
            return Err(Error::Full(count));
        }
        let until = later(plan.not_after, SignedDuration::try_from(turn).unwrap_or_default());
        let kept = Kept { version: VERSION, plan: signed, until, steps: Vec::new(), taken_over: None };
        Ok(Known { plan, kept })
    }

    /// Writes down that a step begins, durably. With `answer` it ends at once.
    ///
    /// # Errors
    /// The disk says no: then it must not begin, now or later. As long as this node runs it remembers that.
    pub(super) fn begin(
        &mut self,
        mut known: Known,
        step: Step,
        canary: bool,
        answer: Option<Answer>,
        now: Timestamp,
    ) -> Result<(), Error> {
        known.kept.steps.push(Taken { step, canary, begun: now, answer });
        let written = self.write(&known);
        if let (Err(error), Some(taken)) = (&written, known.kept.steps.last_mut()) {
            taken.answer = Some(Answer::Refused { code: Code::NotPossible, why: error.to_string() });
        }
        self.keep(known, now);
        written
    }

    /// Writes down what came of a step, durably. When the disk says no it is remembered all the same, until this node
    /// ends; the next one looks what came of it.
    ///
    /// # Errors
    /// The disk says no.
    pub(super) fn answer(&mut self, id: PlanId, step: Step, answer: Answer, now: Timestamp) -> Result<(), Error> {
        let Some(mut known) = self.live.remove(&id) else { return Ok(()) };
        if let Some(taken) = known.kept.steps.iter_mut().find(|taken| taken.step == step && taken.answer.is_none()) {
            taken.answer = Some(answer);
        }
        let written = self.write(&known);
        match &written {
            Ok(()) => self.keep(known, now),
            // In memory alone it must stay there.
            Err(_) => drop(self.live.insert(id, known)),
        }
        written
    }

    /// Writes down, durably and at once, that another plan has the site from here on and that a step begins which ends this
    /// one: no order of it is carried out any more. With `answer` it has ended already.
    ///
    /// # Errors
    /// The disk says no: it goes on having its site, as long as this node runs.
    pub(super) fn hand_over(
        &mut self,
        id: PlanId,
        step: Step,
        answer: Option<Answer>,
        to: TakenOver,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(mut known) = self.live.get(&id).cloned() else { return Ok(()) };
        known.kept.steps.push(Taken { step, canary: false, begun: now, answer });
        known.kept.taken_over = Some(to);
        self.write(&known)?;
        self.keep(known, now);
        Ok(())
    }

    fn keep(&mut self, known: Known, now: Timestamp) {
        let id = known.plan.id;
        // What is not on the disk is to be found here, for as long as nothing else needs the room.
        if known.is_open(now) || !self.path(id).exists() {
            self.past.remove(&id);
            self.live.insert(id, known);
        } else {
            self.live.remove(&id);
            self.past.insert(id, Past { not_after: known.plan.not_after });
        }
    }

    /// Killed here, the file is the old one or the new one.
    fn write(&self, known: &Known) -> Result<(), Error> {
        let name = format!("{}.json", known.plan.id);
        let text = serde_json::to_vec(&known.kept).map_err(io::Error::from);
        let written = text.and_then(|text| durable::replace_private(&self.folder, &name, &text, Durable::Now));
        written.map_err(|source| Error::Io { what: "write", path: self.folder.join(name), source })
    }

    /// Forgets plans that nobody can use any more; the oldest first, where they are too many. `false`: the clock can't be
    /// believed yet, and nothing is forgotten by it.
    fn forget(&mut self, now: Timestamp, moment: Instant) -> bool {
        // Whose time with their site is over.
        let lapsed: Vec<PlanId> =
            self.live.values().filter(|known| !known.is_open(now)).map(|known| known.plan.id).collect();
        for id in lapsed {
            if let Some(known) = self.live.remove(&id) {
                self.past.insert(id, Past { not_after: known.plan.not_after });
            }
        }
        if !self.clock.is_settled(now, moment) {
            return false;
        }
        let mut gone: Vec<(Timestamp, PlanId)> = self
            .past
            .iter()
            .filter(|(_, past)| later(past.not_after, CLOCKS) < now)
            .map(|(id, past)| (past.not_after, *id))
            .collect();
        gone.sort_unstable();
        let surplus = (self.live.len() + self.past.len() + 1).saturating_sub(MOST);
        for (at, (not_after, id)) in gone.into_iter().enumerate() {
            if at < surplus || later(not_after, REMEMBERED) < now {
                // What can't be removed stays known until the next start.
                let _ = fs::remove_file(self.path(id));
                self.past.remove(&id);
            }
        }
        true
    }

    fn path(&self, id: PlanId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

fn read(path: &Path, id: PlanId) -> Result<Known, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if kept.version != VERSION {
        return Err(format!("it was written by another failcake (version {})", kept.version));
    }
    let plan = Plan::from_text(&kept.plan.document).map_err(|error| error.to_string())?;
    if plan.id == id { Ok(Known { plan, kept }) } else { Err(format!("it holds plan {}", plan.id)) }
}

/// The end of time is soon enough.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(super) mod tests;
