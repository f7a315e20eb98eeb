//! What a node refuses: rules over what came and what is known, without disk, clock or network.

use jiff::{SignedDuration, Timestamp};

use super::plans::{Known, later};
use crate::config::Allow;
use crate::message::deploy::{Action, Answer, Code, Order, Plan, Step};
use crate::name::{Glob, NodeName, Principal, SiteName};
use crate::release::ReleaseName;

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
        to.parse::<ReleaseName>().map_err(|error| bad(error.to_string()))?;
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
    let matches = |patterns: &[Glob], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let is_allowed = |entry: &Allow| {
        entry.who.as_str() == plan.who
            && matches(&entry.sites, plan.site.as_str())
            && matches(&entry.hosts, node.as_str())
    };
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

/// No host begins after the plan's time; what ends it may come later.
pub(super) fn begins(plan: &Plan, step: Step, now: Timestamp) -> Result<(), Refusal> {
    match step {
        Step::Prepare | Step::Switch => timely("the plan", plan.issued, plan.not_after, now),
        Step::Abort | Step::Rollback | Step::Verdict => Ok(()),
    }
}

/// Does the step make sense now? `known`: what was done of the plan, `None` for one that is new.
pub(super) fn in_order(step: Step, known: Option<&Known>) -> Result<(), Refusal> {
    let taken = |step| known.and_then(|known| known.taken(step));
    let no = |why: &str| refuse(Code::OutOfOrder, why);
    let is_over = [Step::Verdict, Step::Abort].into_iter().find(|step| taken(*step).is_some());
    match (step, is_over) {
        (Step::Verdict, _) => {}
        (_, Some(Step::Abort)) => return no("the plan was aborted here"),
        (Step::Prepare | Step::Switch | Step::Rollback, Some(_)) => return no("the plan is over: its verdict came"),
        _ => {}
    }
    match step {
        Step::Prepare | Step::Verdict => Ok(()),
        Step::Switch => match taken(Step::Prepare) {
            None => no("it was not prepared"),
            Some(taken) if taken.answer.is_none() => no("it is still being prepared"),
            Some(_) if known.is_some_and(|known| known.prepared().is_some()) => Ok(()),
            Some(_) => no("it could not be prepared"),
        },
        Step::Abort => match taken(Step::Switch).map(|taken| &taken.answer) {
            None | Some(Some(Answer::Refused { .. })) => Ok(()),
            Some(_) => no("its turn has begun"),
        },
        Step::Rollback => match taken(Step::Switch) {
            None => no("it had no turn to go back from"),
            Some(taken) if taken.answer.is_none() => no("its turn is still under way"),
            Some(_) => Ok(()),
        },
    }
}

/// Who has the site.
pub(super) fn busy(site: &SiteName, holder: &Known) -> Refusal {
    let plan = &holder.plan;
    let since = holder.steps().first().map_or(plan.issued, |taken| taken.begun);
    let until = holder.until();
    Refusal {
        code: Code::Busy,
        why: format!(
            "{site} is in plan {} of {} ({}) since {since:.0}, until its verdict or {until:.0}",
            plan.id, plan.who, plan.action
        ),
    }
}

/// The order and the plan belong together.
pub(super) fn belongs(order: &Order, plan: &Plan) -> Result<(), Refusal> {
    if order.plan == plan.id {
        return Ok(());
    }
    refuse(Code::BadSignature, "the plan that came with the order is another one")
}
