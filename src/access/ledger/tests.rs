use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn hash() -> PasswordHash {
    format!("$6$rounds=1000$salt${}", "a".repeat(86)).parse().unwrap()
}

fn order(issued: i64, action: Action) -> Wish {
    Wish::Order(Order {
        id: EventId::new(),
        site: "preview".parse().unwrap(),
        user: "ann".parse().unwrap(),
        action,
        who: "ops@example.org".parse().unwrap(),
        issued: at(issued),
        not_after: at(issued) + LONGEST_WAIT,
    })
}

fn grant(issued: i64, expires: i64) -> Wish {
    order(issued, Action::Grant { hash: hash(), expires: at(expires) })
}

fn revoke(issued: i64) -> Wish {
    order(issued, Action::Revoke)
}

fn clear() -> Wish {
    Wish::Clear { id: EventId::new(), user: "ann".parse().unwrap(), hash: hash() }
}

fn take(ledger: &mut Ledger, wish: &Wish, now: i64) -> Verdict {
    ledger.take(wish, &BTreeSet::new(), at(now))
}

fn is_live(ledger: &Ledger) -> bool {
    ledger.live().next().is_some()
}

#[test]
fn let_in_until_its_time_is_up() {
    let mut ledger = Ledger::default();
    assert_eq!(take(&mut ledger, &grant(0, 100), 1), Verdict::Granted(at(100)));
    assert_eq!(ledger.next_end(), Some(at(100)));
    assert!(ledger.expire(at(99)).is_empty() && is_live(&ledger));
    assert_eq!(ledger.expire(at(100)), ["ann".parse().unwrap()]);
    assert!(!is_live(&ledger) && ledger.next_end().is_none());
    assert!(ledger.expire(at(100)).is_empty(), "told once");
    // A clock that is set back brings it not back.
    assert!(ledger.expire(at(0)).is_empty() && !is_live(&ledger));
}

#[test]
fn the_same_order_again_changes_nothing_whenever_it_comes() {
    let mut ledger = Ledger::default();
    let (first, second) = (grant(0, 100_000), grant(10, 50));
    take(&mut ledger, &first, 1);
    assert_eq!(take(&mut ledger, &first, 2), Verdict::Known);
    take(&mut ledger, &second, 11);
    assert!(matches!(take(&mut ledger, &first, 12), Verdict::Refused(Refusal::Superseded { .. })));
    ledger.expire(at(50));
    assert!(matches!(take(&mut ledger, &first, 51), Verdict::Refused(Refusal::Superseded { .. })));
    assert_eq!(take(&mut ledger, &second, 51), Verdict::Known);
    assert!(!is_live(&ledger));
}

#[test]
fn revoked_is_revoked_in_whatever_order_it_comes() {
    let (given, ended) = (grant(0, 100_000), revoke(10));
    let mut ledger = Ledger::default();
    take(&mut ledger, &given, 1);
    assert_eq!(take(&mut ledger, &ended, 11), Verdict::Revoked(true));
    assert_eq!(take(&mut ledger, &ended, 11), Verdict::Known);
    assert!(matches!(take(&mut ledger, &given, 12), Verdict::Refused(Refusal::Superseded { .. })));
    let mut ledger = Ledger::default();
    assert_eq!(take(&mut ledger, &ended, 11), Verdict::Revoked(false));
    assert!(matches!(take(&mut ledger, &given, 12), Verdict::Refused(Refusal::Superseded { .. })));
    assert!(!is_live(&ledger));
}

#[test]
fn a_new_login_after_a_revocation_counts_and_the_revocation_again_ends_nothing() {
    let mut ledger = Ledger::default();
    let ended = revoke(10);
    take(&mut ledger, &ended, 11);
    assert_eq!(take(&mut ledger, &grant(20, 1000), 21), Verdict::Granted(at(1000)));
    assert_eq!(take(&mut ledger, &ended, 22), Verdict::Known);
    assert!(is_live(&ledger));
    let old = revoke(-1000);
    assert!(matches!(take(&mut ledger, &old, 23), Verdict::Refused(Refusal::Superseded { .. })));
    assert!(is_live(&ledger));
}

/// The revoker's clock is behind the giver's.
#[test]
fn clocks_that_are_a_little_apart_save_nobody_from_being_revoked() {
    let mut ledger = Ledger::default();
    let given = grant(30, 100_000);
    take(&mut ledger, &given, 5);
    assert_eq!(take(&mut ledger, &revoke(6), 6), Verdict::Revoked(true));
    assert!(matches!(take(&mut ledger, &given, 7), Verdict::Refused(Refusal::Superseded { .. })));
    assert!(!is_live(&ledger));
}

#[test]
fn what_has_passed_is_not_given_and_other_peoples_logins_are_left_alone() {
    let mut ledger = Ledger::default();
    assert_eq!(take(&mut ledger, &grant(0, 10), 10), Verdict::Refused(Refusal::Expired(at(10))));
    let foreign = ["ann".to_owned()].into();
    assert_eq!(ledger.take(&grant(0, 10), &foreign, at(1)), Verdict::Refused(Refusal::Foreign));
    assert_eq!(ledger.take(&clear(), &foreign, at(1)), Verdict::Refused(Refusal::Foreign));
    assert!(!is_live(&ledger));
}

#[test]
fn what_nobody_signed_stands_back_behind_what_somebody_did() {
    let mut ledger = Ledger::default();
    let unsigned = clear();
    assert_eq!(take(&mut ledger, &unsigned, 100), Verdict::Granted(at(100) + CLEAR));
    assert_eq!(take(&mut ledger, &unsigned, 100), Verdict::Known);
    assert_eq!(take(&mut ledger, &grant(0, 1000), 101), Verdict::Granted(at(1000)), "though it was given before");
    assert_eq!(take(&mut ledger, &clear(), 102), Verdict::Refused(Refusal::Unsigned));
    assert_eq!(take(&mut ledger, &revoke(110), 110), Verdict::Revoked(true));
    assert_eq!(take(&mut ledger, &clear(), 111), Verdict::Refused(Refusal::Unsigned));
    let mut ledger = Ledger::default();
    take(&mut ledger, &clear(), 0);
    assert_eq!(take(&mut ledger, &revoke(-10_000), 1), Verdict::Revoked(true));
}

#[test]
fn a_flood_is_bounded_and_what_ended_is_forgotten_when_nothing_older_can_come() {
    let mut ledger = Ledger::default();
    for number in 0..=MOST {
        let Wish::Order(mut order) = grant(0, 100) else { unreachable!() };
        order.user = format!("user{number}").parse().unwrap();
        let verdict = ledger.take(&Wish::Order(order), &BTreeSet::new(), at(1));
        assert_eq!(verdict, if number < MOST { Verdict::Granted(at(100)) } else { Verdict::Refused(Refusal::Full) });
    }
    ledger.expire(at(100));
    let week = LONGEST_WAIT.as_secs();
    ledger.forget(at(week));
    assert_eq!(ledger.logins.len(), MOST);
    let settled = SETTLED.as_secs();
    ledger.forget(at(week + 121));
    // The clock was wrong.
    ledger.forget(at(week));
    ledger.forget(at(week + 121 + settled));
    ledger.forget(at(week + 120 + settled * 2));
    assert_eq!(ledger.logins.len(), MOST);
    ledger.forget(at(week + 121 + settled * 2));
    assert!(ledger.logins.is_empty());
}

#[test]
fn it_is_read_as_it_was_written() {
    let mut ledger = Ledger { owes_reload: true, ..Ledger::default() };
    take(&mut ledger, &revoke(0), 0);
    take(&mut ledger, &grant(61, 100), 70);
    let text = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger, "{text}");
}

proptest! {
    /// However a day's orders for one login are delayed, doubled, reordered and lost in between, a node that got the last
    /// one (and no earlier than it was given) agrees with a node that got each once and in order.
    #[test]
    fn nodes_agree_on_the_last_order(
        kinds in proptest::collection::vec(any::<bool>(), 1..8),
        deliveries in proptest::collection::vec(0_usize..8, 0..30),
        ends in 0_usize..31,
    ) {
        // More than the skew apart: within it a revocation wins.
        let wish = |(n, grants): (usize, &bool)| {
            let issued = 100 * i64::try_from(n).unwrap();
            if *grants { grant(issued, issued + 100_000) } else { revoke(issued) }
        };
        let wishes: Vec<Wish> = kinds.iter().enumerate().map(wish).collect();
        let (mut orderly, mut other) = (Ledger::default(), Ledger::default());
        for wish in &wishes {
            take(&mut orderly, wish, 1000);
        }
        let mut deliveries: Vec<usize> = deliveries.into_iter().map(|n| n % wishes.len()).collect();
        deliveries.insert(ends.min(deliveries.len()), wishes.len() - 1);
        for n in deliveries {
            take(&mut other, &wishes[n], 1000);
        }
        let live = |ledger: &Ledger| ledger.live().map(|(user, _, until)| (user.clone(), *until)).collect::<Vec<_>>();
        prop_assert_eq!(live(&orderly), live(&other));
        prop_assert_eq!(is_live(&orderly), *kinds.last().unwrap());
    }
}
