//! May an order be taken at all? What is cheap is asked first; the signature costs a process.

use jiff::Timestamp;

use super::{LONGEST, LONGEST_WAIT, SKEW};
use crate::config::Config;
use crate::message::access::{Action, NAMESPACE, Order};
use crate::message::signed::Signed;
use crate::name::{NodeName, Principal, SiteName};
use crate::signature;

/// Why not.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Distrust {
    #[error("no rule of `allow:` lets {who} grant access to {site} on {node}")]
    NoRule { who: Principal, site: SiteName, node: NodeName },
    #[error("it was given {0} s from now: clocks are apart, look at the one of this machine and at its giver's")]
    Future(i64),
    #[error(
        "it could be taken until {until:.0}, {late} s ago: this machine was away for too long, or clocks are apart"
    )]
    Stale { until: Timestamp, late: i64 },
    #[error("it asks for more time than failcake gives: let in for 366 days, taken within 7")]
    TooLong,
    #[error("`signing.allowed-signers` is not configured on {0}: nobody's signature counts")]
    NoSigners(NodeName),
    #[error("{0}")]
    Signature(signature::Error),
}

impl Distrust {
    /// Is the order to blame, rather than this machine?
    pub fn is_final(&self) -> bool {
        !matches!(self, Distrust::Signature(error) if !error.is_refusal())
    }
}

/// Takes `order` for what it is when `signed`, from which it was read, holds. A revocation may be taken for as long as any
/// login lasts: a machine that was away for long must hear of it all the same.
///
/// # Errors
/// [`Distrust`] that is final, or trouble of this machine: then it may be asked again.
pub fn trust(order: &Order, signed: &Signed, config: &Config, now: Timestamp) -> Result<(), Distrust> {
    let Order { who, site, issued, not_after, .. } = order;
    let node = &config.node;
    if !config.allow.iter().any(|rule| rule.grants(who, site, node)) {
        return Err(Distrust::NoRule { who: who.clone(), site: site.clone(), node: node.clone() });
    }
    let (ahead, late) = (issued.duration_since(now), now.duration_since(*not_after));
    if ahead > SKEW {
        return Err(Distrust::Future(ahead.as_secs()));
    }
    if late.is_positive() {
        return Err(Distrust::Stale { until: *not_after, late: late.as_secs() });
    }
    let (wait, lasts) = (not_after.duration_since(*issued), |until: Timestamp| until.duration_since(*issued));
    let is_too_long = match order.action {
        Action::Grant { expires, .. } => wait > LONGEST_WAIT || lasts(expires) > LONGEST,
        Action::Revoke => wait > LONGEST,
    };
    if is_too_long {
        return Err(Distrust::TooLong);
    }
    let signers = config.signing.allowed_signers.as_deref().ok_or_else(|| Distrust::NoSigners(node.clone()))?;
    signature::verify(signed.document.as_bytes(), &signed.signature, NAMESPACE, signers, who)
        .map(drop)
        .map_err(Distrust::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::message::EventId;
    use crate::message::signed::Document as _;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("failcake.yaml");
        std::fs::write(&file, format!("node: web01\n{text}")).unwrap();
        Source { file: Some(file) }.load().unwrap()
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn hours(hours: i64) -> jiff::SignedDuration {
        jiff::SignedDuration::from_hours(hours)
    }

    fn grant(issued: Timestamp) -> Order {
        let hash = format!("$6$rounds=1000$salt${}", "a".repeat(86)).parse().unwrap();
        Order {
            id: EventId::new(),
            site: "preview".parse().unwrap(),
            user: "ann".parse().unwrap(),
            action: Action::Grant { hash, expires: issued + hours(24) },
            who: "ops@example.org".parse().unwrap(),
            issued,
            not_after: issued + hours(1),
        }
    }

    fn said(order: &Order, config: &Config) -> String {
        let signed = Signed { document: order.to_text(), signature: String::new() };
        let distrust = trust(order, &signed, config, now()).unwrap_err();
        assert!(distrust.is_final() || matches!(distrust, Distrust::Signature(_)), "{distrust}");
        distrust.to_string()
    }

    #[test]
    fn no_rule_means_nobody() {
        for rules in [
            "",
            "allow: [ { who: ops@example.org, sites: ['*'], hosts: ['*'] } ]\n",
            "allow: [ { who: ops@example.org, access: [other], hosts: ['*'] } ]\n",
            "allow: [ { who: ops@example.org, access: ['*'], hosts: ['db*'] } ]\n",
            "allow: [ { who: adm@example.org, access: ['*'], hosts: ['*'] } ]\n",
        ] {
            let said = said(&grant(now()), &config(rules));
            assert_eq!(said, "no rule of `allow:` lets ops@example.org grant access to preview on web01", "{rules}");
        }
    }

    #[test]
    fn times_are_told_with_how_far_they_are_off() {
        let config = config("allow: [ { who: ops@example.org, access: ['pre*'], hosts: ['*'] } ]\n");
        let at = |order: &Order| said(order, &config);
        assert!(at(&grant(now() + SKEW + SKEW)).starts_with("it was given 120 s from now: clocks are apart"));
        assert!(at(&grant(now() - hours(3))).starts_with("it could be taken until 2026-03-01T10:00:00Z, 7200 s ago"));
        let mut order = grant(now());
        order.not_after = now() + LONGEST_WAIT + SKEW;
        assert!(at(&order).contains("more time than failcake gives"));
        order = grant(now());
        if let Action::Grant { expires, .. } = &mut order.action {
            *expires = now() + LONGEST + SKEW;
        }
        assert!(at(&order).contains("more time than failcake gives"));
        // In time, at the edges.
        for order in [grant(now() + SKEW), grant(now() - hours(1)), grant(now())] {
            assert!(at(&order).contains("nobody's signature counts"), "{}", at(&order));
        }
        // A revocation waits longer.
        order = grant(now() - hours(24 * 300));
        (order.action, order.not_after) = (Action::Revoke, order.issued + LONGEST);
        assert!(at(&order).contains("nobody's signature counts"));
        order.not_after += SKEW;
        assert!(at(&order).contains("more time than failcake gives"));
    }

    #[test]
    fn a_file_that_is_not_there_is_this_machines_trouble() {
        let config = config(
            "allow: [ { who: ops@example.org, access: ['*'], hosts: ['*'] } ]\nsigning: { allowed-signers: gone }\n",
        );
        let order = grant(now());
        let signed = Signed { document: order.to_text(), signature: String::new() };
        assert!(!trust(&order, &signed, &config, now()).unwrap_err().is_final());
    }
}
