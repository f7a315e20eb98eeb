//! How careful to be, as a person says it on the command line: the same for each verb that works on several hosts.

use std::time::Duration;

use crate::config::parse_duration;
use crate::message::deploy::{OnFailure, PlanId, Policy};
use crate::rollout;

/// A quiet host is asked again so often before it counts as silent.
const REMINDERS: u32 = 4;

/// On which hosts, how many at a time, and when to stop.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "On several hosts, over the bus")]
pub struct Options {
    /// These hosts: names, patterns (web*), groups, facts (role=web), joined by and, or, not and commas; or @FILE.
    #[arg(long, value_name = "FILTER")]
    pub on: Option<String>,
    /// So many hosts go first, alone, and all of them must succeed [default: 1].
    #[arg(long, value_name = "N", requires = "on")]
    canary: Option<usize>,
    /// How long the canary is watched before the others follow [default: 0].
    #[arg(long, value_name = "D", requires = "on", value_parser = parse_duration)]
    bake: Option<Duration>,
    /// How many at a time after it: 5, 25%, or one size after another (1,5,25%) [default: 25%].
    #[arg(long, value_name = "N|N%|LIST", requires = "on")]
    batch: Option<rollout::Batches>,
    /// Stop when more hosts than that failed, refused, fell silent or were never reached [default: 0].
    #[arg(long, value_name = "N", requires = "on")]
    max_failures: Option<usize>,
    /// What becomes of the hosts that are done when it stops [default: stop].
    #[arg(long, value_name = "WHAT", requires = "on")]
    on_failure: Option<OnFailure>,
    /// No host begins later than that from now [default: 1h].
    #[arg(long, value_name = "D", requires = "on", value_parser = parse_duration)]
    within: Option<Duration>,
    /// Where this plan of somebody else has the site, end it and go on: for one that nobody conducts any more. What it only
    /// staged is dropped there, what it made live is left; a host in its turn refuses.
    #[arg(long, value_name = "PLAN-ID", requires = "on")]
    pub(super) take_over: Option<PlanId>,
    /// A host at work that says nothing for so long went silent [default: 1m].
    #[arg(long, value_name = "D", requires = "on", value_parser = parse_duration)]
    pub(super) patience: Option<Duration>,
}

impl Options {
    /// What goes into the plan.
    pub(super) fn policy(&self) -> Policy {
        let bake = self.bake.unwrap_or_default();
        Policy {
            canary: self.canary.unwrap_or(1),
            bake_seconds: bake.as_secs() + u64::from(bake.subsec_nanos() > 0),
            batches: self.batch.clone().unwrap_or_default().to_string(),
            max_failures: self.max_failures.unwrap_or(0),
            on_failure: self.on_failure.unwrap_or(OnFailure::Stop),
        }
    }

    pub(super) fn within(&self) -> Duration {
        self.within.unwrap_or(Duration::from_secs(3600))
    }
}

/// How the machine is to go about a plan; `patience` is what a person said of it, `script` how long one script of the site
/// may take as far as is known here.
///
/// # Errors
/// The plan is of a failcake that knows other batches.
pub(super) fn for_machine(
    plan: &Policy,
    patience: Option<Duration>,
    script: Option<Duration>,
) -> Result<rollout::Policy, rollout::NoBatches> {
    let default = rollout::Policy::default();
    let silence = patience.unwrap_or(default.silence);
    let on_failure = match plan.on_failure {
        OnFailure::Stop => rollout::OnFailure::Stop,
        OnFailure::Rollback => rollout::OnFailure::Rollback,
    };
    Ok(rollout::Policy {
        canary: plan.canary,
        bake: Duration::from_secs(plan.bake_seconds),
        batches: plan.batches.parse()?,
        max_failures: plan.max_failures,
        on_failure,
        silence,
        answer_within: default.answer_within.min(silence),
        progress: default.progress.min(silence / REMINDERS),
        // A turn is a long script and short ones. Hosts end scripts by themselves, and one that is dead falls silent.
        turn_within: default.turn_within.max(script.unwrap_or_default() * 3 / 2),
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_may_take_as_long_as_the_sites_scripts_may() {
        let plan = Policy {
            canary: 1,
            bake_seconds: 0,
            batches: "1".to_owned(),
            max_failures: 0,
            on_failure: OnFailure::Stop,
        };
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let turn = |script| for_machine(&plan, None, script).unwrap().turn_within;
        assert_eq!([None, Some(minutes(10)), Some(minutes(60))].map(turn), [15, 15, 90].map(minutes));
    }
}
