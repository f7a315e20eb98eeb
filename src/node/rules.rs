//! What a node refuses: rules over what came and what is known, without disk, clock or network.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::plans::{Known, later};
use crate::config::{Allow, Config, Site, SvnRepo};
use crate::message::deploy::{Action, Answer, Code, Order, Plan, PlanId, Step};
use crate::name::{NodeName, Principal, SiteName};
use crate::release::Target;

/// How far another clock may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// No plan may be usable for longer: it is remembered until nobody can use it.
pub(super) const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) why: String,
}

pub(super) fn refuse<T>(code: Code, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, why: why.into() })
}

/// Does the plan make sense, whoever signed it? Gives who it says that is.
pub(super) fn sound(plan: &Plan) -> Result<Principal, Refusal> {
    let bad = |why: String| Refusal { code: Code::BadSignature, why };
    // It goes into logs and records.
    let who = plan.who.parse::<Principal>().map_err(|error| bad(format!("the plan names nobody: {error}")))?;
    if let Action::Rollback { to: Some(to) } = &plan.action {
        to.parse::<Target>().map_err(|error| bad(error.to_string()))?;
    }
    if later(plan.issued, LONGEST) < plan.not_after {
        return refuse(
            Code::NotPossible,
            "the plan is to be good for more than 31 days, which is too long to remember it",
        );
    }
    Ok(who)
}

/// Do both name this node?
pub(super) fn names(plan: &Plan, node: &NodeName) -> Result<(), Refusal> {
    if plan.hosts.contains(node) {
        return Ok(());
    }
    refuse(Code::WrongHost, format!("the plan does not name {node}"))
}

/// May who signed the plan do that here? To end what was begun nobody needs to be allowed.
pub(super) fn allowed(plan: &Plan, step: Step, allow: &[Allow], node: &NodeName) -> Result<(), Refusal> {
    // A name that is none is nobody's.
    let who = plan.who.parse::<Principal>().ok();
    let is_allowed = |rule: &Allow| who.as_ref().is_some_and(|who| rule.deploys(who, &plan.site, node));
    if matches!(step, Step::Abort | Step::Verdict) || allow.iter().any(is_allowed) {
        return Ok(());
    }
    let site = &plan.site;
    refuse(Code::NotAllowed, format!("`allow:` of {node} has no entry for {} on {site}", plan.who))
}

/// Has its time come, and not gone?
pub(super) fn timely(what: &str, issued: Timestamp, not_after: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if issued > later(now, AHEAD) {
        let ahead = issued.duration_since(now).as_secs();
        return refuse(Code::NotYetValid, format!("{what} is from {ahead} s in the future: the clocks differ by that"));
    }
    if not_after < now {
        let ago = now.duration_since(not_after).as_secs();
        return refuse(Code::Expired, format!("{what} was good until {not_after:.0}, which was {ago} s ago here"));
    }
    Ok(())
}

/// An order is given again and again while it is meant: one whose time is over was said by somebody else, was long on its
/// way, or the clocks differ.
pub(super) fn in_time(order: &Order, now: Timestamp) -> Result<(), Refusal> {
    timely("the order", order.issued, order.not_after, now).map_err(|refusal| match refusal.code {
        Code::Expired => {
            let age = now.duration_since(order.issued).as_secs();
            let why =
                format!("{}; it was given {age} s ago by this clock: late, or the clocks differ by that", refusal.why);
            Refusal { why, ..refusal }
        }
        _ => refusal,
    })
}

/// Does the step end what was begun here? Once that is decided it is so for good, and whoever hears it late is late enough.
pub(super) fn is_due(step: Step, known: &Known) -> bool {
    matches!(step, Step::Abort | Step::Verdict) || step == Step::Rollback && owes_rollback(known)
}

/// No host begins after the plan's time; what ends it may come later.
pub(super) fn begins(plan: &Plan, step: Step, now: Timestamp) -> Result<(), Refusal> {
    match step {
        Step::Prepare | Step::Switch => timely("the plan", plan.issued, plan.not_after, now),
        Step::Abort | Step::Rollback | Step::Verdict => Ok(()),
    }
}

/// What is to be done about an order whose step was not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Begin,
    /// It comes too late to do anything: how the host stands is the answer.
    Stands,
}

/// Does the step make sense now? `known`: what was done of the plan, `None` for one that is new.
pub(super) fn in_order(step: Step, known: Option<&Known>) -> Result<Next, Refusal> {
    let no = |why: &str| refuse(Code::OutOfOrder, why);
    let Some(known) = known else {
        return match step {
            Step::Switch => no("it was not prepared"),
            Step::Rollback => no("it had no turn to go back from"),
            Step::Prepare | Step::Abort | Step::Verdict => Ok(Next::Begin),
        };
    };
    let is_taken = |step| known.taken(step).is_some();
    let is_over = is_taken(Step::Verdict);
    match step {
        Step::Verdict => Ok(Next::Begin),
        // Whoever prepares a plan that is known asks how the host stands.
        Step::Prepare => Ok(Next::Stands),
        Step::Switch if is_over => no("the plan is over: its verdict came"),
        Step::Switch if is_taken(Step::Abort) => no("the plan was aborted here"),
        Step::Switch if is_taken(Step::Rollback) => no("the plan was gone back from here"),
        Step::Switch => match known.taken(Step::Prepare).map(|taken| &taken.answer) {
            None => no("it was not prepared"),
            Some(None) => no("it is still being prepared"),
            Some(Some(Answer::Prepared { .. })) => Ok(Next::Begin),
            Some(Some(_)) => no("it could not be prepared"),
        },
        Step::Abort if is_over => Ok(Next::Stands),
        Step::Abort => match known.taken(Step::Switch).map(|taken| &taken.answer) {
            None | Some(Some(Answer::Refused { .. })) => Ok(Next::Begin),
            // A turn is not ended half-way.
            Some(_) => Ok(Next::Stands),
        },
        Step::Rollback if is_over => no("the plan is over: its verdict came"),
        Step::Rollback if is_taken(Step::Abort) => Ok(Next::Stands),
        // A turn that made nothing live has nothing to go back from; while it lasts it is waited for.
        Step::Rollback if is_taken(Step::Switch) && known.went_live() == Some(false) => Ok(Next::Stands),
        Step::Rollback => Ok(Next::Begin),
    }
}

/// Did its turn make the plan's release live, or may it, and nobody told it to go back?
pub(super) fn owes_rollback(known: &Known) -> bool {
    let is_taken = |step| known.taken(step).is_some();
    is_taken(Step::Switch) && !is_taken(Step::Abort) && !is_taken(Step::Rollback) && known.went_live() != Some(false)
}

/// What a plan works on, by this node's configuration.
pub(super) struct Source<'a> {
    pub(super) site: &'a Site,
    /// Its project, if it is one of Subversion.
    pub(super) svn: Option<&'a SvnRepo>,
    /// How long one call of git or svn may take.
    pub(super) timeout: Duration,
}

/// The plan's site, if what is to be done can be done to it.
pub(super) fn source<'a>(plan: &Plan, config: &'a Config) -> Result<Source<'a>, Refusal> {
    let name = &plan.site;
    let Some(site) = config.sites.get(name) else {
        return refuse(Code::NoSuchSite, format!("this node has no site {name}"));
    };
    let svn = config.svn.get(&site.repo).filter(|_| site.farm.is_none());
    let files = match (&site.farm, svn) {
        (Some(_), _) => "git, several repositories",
        (None, Some(_)) => "Subversion",
        (None, None) => "git",
    };
    match (&plan.action, svn) {
        (Action::Rollback { .. }, _) | (Action::Deploy { .. }, None) | (Action::DeploySvn { .. }, Some(_)) => {}
        _ => return refuse(Code::NotPossible, format!("here the files of {name} come from {files}")),
    }
    let timeouts = config.repos.values().map(|repo| repo.timeout).max();
    let timeout = svn.map(|svn| svn.timeout).or(timeouts).unwrap_or_default();
    Ok(Source { site, svn, timeout })
}

/// Who has the site.
pub(super) fn busy(site: &SiteName, holder: &Known) -> Refusal {
    let plan = &holder.plan;
    let since = holder.steps().first().map_or(plan.issued, |taken| taken.begun);
    let (id, until) = (plan.id, holder.until());
    Refusal {
        code: Code::Busy,
        why: format!(
            "{site} is in plan {id} of {} ({}) since {since:.0}, until its verdict or {until:.0}: where it was begun, \
             `failcake rollout resume {id}` goes on with it, or says that it is over; or, if nobody conducts it any more, add \
             --take-over {id}",
            plan.who, plan.action
        ),
    }
}

/// What is under way on the site for another plan, if that one is to end first. The one that is taken over is ended like with
/// an abort: a preparation is cut short, and what ends it is waited for. Its turn, or its way back, is never cut short.
pub(super) fn in_the_way<'a>(plan: &Plan, jobs: impl Iterator<Item = (PlanId, Step)> + 'a) -> Option<Refusal> {
    let is_left = |id: PlanId| plan.takes_over == Some(id);
    let ends = |step| matches!(step, Step::Prepare | Step::Abort | Step::Verdict);
    let mut others = jobs.filter(|(id, _)| *id != plan.id);
    let (id, step) = others.find(|(id, step)| !(is_left(*id) && ends(*step)))?;
    let site = &plan.site;
    let why = match is_left(id) {
        true => format!(
            "{site} can't be taken over from plan {id} now: it is in its turn here ({step}), which ends by itself; try again then"
        ),
        false => format!("{step} of plan {id} is still under way on {site}"),
    };
    Some(Refusal { code: Code::Busy, why })
}

/// The order and the plan belong together.
pub(super) fn belongs(order: &Order, plan: &Plan) -> Result<(), Refusal> {
    if order.plan == plan.id {
        return Ok(());
    }
    refuse(Code::BadSignature, "the plan that came with the order is another one")
}

#[cfg(test)]
mod tests;
