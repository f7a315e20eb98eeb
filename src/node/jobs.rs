//! Steps that are under way or wait for their turn: one at a time on a site, so many on the machine.

use std::time::{Duration, Instant};

use super::limit::Allowance;
use crate::message::deploy::{PlanId, Step};
use crate::name::SiteName;
use crate::process::Stop;

/// Steps that run at a time: processes, disks and the network have other work too.
const RUNNING_MAX: usize = 16;
/// Preparations that run at a time: git servers have other clients.
const PREPARES_MAX: usize = 4;
/// A step that is under way is never silent for longer than ten seconds.
const BEAT: Duration = Duration::from_secs(8);
/// Lines of progress that are passed on, in the long run and at once.
const LINES: (u32, u32) = (5, 30);

/// Octets of such a line.
const LINE_MAX: usize = 500;

/// One step of one plan.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) plan: PlanId,
    pub(super) site: SiteName,
    pub(super) step: Step,
    pub(super) canary: bool,
    /// It was begun by a node that was killed.
    pub(super) killed: bool,
    /// Ends it early.
    pub(super) stop: Stop,
    running: bool,
    /// When something was last said of it.
    said: Instant,
}

/// Which lines of what a step says are passed on.
#[derive(Debug)]
pub(super) struct Lines {
    allowance: Allowance,
    left_out: u64,
}

impl Job {
    pub(super) fn new(
        plan: PlanId,
        site: SiteName,
        (step, canary): (Step, bool),
        killed: bool,
        now: Instant,
    ) -> std::io::Result<Job> {
        let stop = Stop::new()?;
        Ok(Job { plan, site, step, canary, killed, stop, running: false, said: now })
    }

    /// Something is said of it.
    pub(super) fn is_said(&mut self, now: Instant) {
        self.said = now;
    }
}

impl Lines {
    pub(super) fn new(now: Instant) -> Lines {
        Lines { allowance: Allowance::new(LINES.0, LINES.1, now), left_out: 0 }
    }

    /// A line of progress, if it may be passed on: as much of it as fits on a screen.
    pub(super) fn pass(&mut self, mut text: String, now: Instant) -> Option<String> {
        text.truncate(text.floor_char_boundary(LINE_MAX.min(text.len())));
        if !self.allowance.take(now) {
            self.left_out += 1;
            return None;
        }
        Some(match std::mem::take(&mut self.left_out) {
            0 => text,
            more => format!("({more} lines left out) {text}"),
        })
    }
}

/// All of them, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Jobs(Vec<Job>);

impl Jobs {
    pub(super) fn add(&mut self, job: Job) {
        self.0.push(job);
    }

    pub(super) fn find(&mut self, plan: PlanId, step: Step) -> Option<&mut Job> {
        self.0.iter_mut().find(|job| job.plan == plan && job.step == step)
    }

    /// What works on the site or is about to.
    pub(super) fn on<'a>(&'a self, site: &'a SiteName) -> impl Iterator<Item = &'a Job> {
        self.0.iter().filter(move |job| job.site == *site)
    }

    /// The next one that may begin; it counts as begun.
    pub(super) fn begin(&mut self, now: Instant) -> Option<&Job> {
        let running = self.0.iter().filter(|job| job.running);
        let prepares = running.clone().filter(|job| job.step == Step::Prepare).count();
        if running.count() >= RUNNING_MAX {
            return None;
        }
        let is_first = |at: usize| self.0[..at].iter().all(|before| before.site != self.0[at].site);
        let may = |at: &usize| {
            let job = &self.0[*at];
            !job.running && is_first(*at) && (job.step != Step::Prepare || prepares < PREPARES_MAX)
        };
        let at = (0..self.0.len()).find(may)?;
        self.0[at].running = true;
        self.0[at].said = now;
        Some(&self.0[at])
    }

    /// It has ended.
    pub(super) fn end(&mut self, plan: PlanId, step: Step) -> Option<Job> {
        let at = self.0.iter().position(|job| job.plan == plan && job.step == step)?;
        Some(self.0.remove(at))
    }

    /// All that runs is to end.
    pub(super) fn stop_all(&self) {
        self.0.iter().for_each(|job| job.stop.set());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of which nothing was said for long; they count as spoken for.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<(PlanId, Step)> {
        let silent = self.0.iter_mut().filter(|job| now >= job.said + BEAT);
        silent
            .map(|job| {
                job.said = now;
                (job.plan, job.step)
            })
            .collect()
    }

    /// When [`silent`](Self::silent) has one.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.0.iter().map(|job| job.said + BEAT).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(site: &str, step: Step, now: Instant) -> Job {
        Job::new(PlanId::new(), site.parse().unwrap(), (step, false), false, now).unwrap()
    }

    #[test]
    fn one_thing_at_a_time_on_a_site_and_other_sites_go_on() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        let (first, second, other) =
            (job("a", Step::Switch, now), job("a", Step::Verdict, now), job("b", Step::Switch, now));
        let (plan, next, last) = (first.plan, second.plan, other.plan);
        for job in [first, second, other] {
            jobs.add(job);
        }
        assert_eq!(jobs.begin(now).unwrap().plan, plan);
        assert_eq!(jobs.begin(now).unwrap().plan, last);
        assert!(jobs.begin(now).is_none());
        jobs.end(plan, Step::Switch).unwrap();
        assert_eq!(jobs.begin(now).unwrap().plan, next);
    }

    #[test]
    fn only_so_many_prepare_at_a_time_and_turns_do_not_wait_for_them() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        for number in 0..10 {
            jobs.add(job(&format!("p{number}"), Step::Prepare, now));
        }
        for number in 0..20 {
            jobs.add(job(&format!("s{number}"), Step::Switch, now));
        }
        let mut begun = Vec::new();
        while let Some(job) = jobs.begin(now) {
            begun.push(job.step);
        }
        assert_eq!(begun.iter().filter(|step| **step == Step::Prepare).count(), PREPARES_MAX);
        assert_eq!(begun.len(), RUNNING_MAX);
    }

    #[test]
    fn what_says_much_is_cut_short_and_what_says_nothing_is_spoken_for() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        let passed = (0..1000).filter_map(|number| lines.pass(number.to_string(), now)).count();
        assert_eq!(passed, 30);
        let later = now + Duration::from_secs(1);
        assert_eq!(lines.pass("é".repeat(1000), later).unwrap(), format!("(970 lines left out) {}", "é".repeat(250)));
        let mut job = job("a", Step::Switch, now);
        job.is_said(later);
        let (plan, mut jobs) = (job.plan, Jobs::default());
        jobs.add(job);
        assert_eq!(jobs.next_beat(), Some(later + BEAT));
        assert!(jobs.silent(later).is_empty());
        assert_eq!(jobs.silent(later + BEAT), [(plan, Step::Switch)]);
        assert!(jobs.silent(later + BEAT).is_empty());
    }
}
