use super::super::plans::tests::{known, plan};
use super::*;
use crate::message::deploy::Answer;

const STEPS: [Step; 5] = [Step::Prepare, Step::Switch, Step::Abort, Step::Rollback, Step::Verdict];

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn prepared() -> Option<Answer> {
    Some(Answer::Prepared { release: "new".to_owned(), previous_commit: None })
}

fn failed(switched: bool) -> Option<Answer> {
    let (at, why) = ("post-deploy".to_owned(), String::new());
    Some(Answer::Failed { at, why, serving: None, switched, scripts: Vec::new() })
}

fn live() -> Option<Answer> {
    let (release, previous) = ("new".to_owned(), Some("old".to_owned()));
    Some(Answer::Live { release, reference: None, commit: None, previous, scripts: Vec::new(), milliseconds: 1 })
}

fn refused() -> Option<Answer> {
    Some(Answer::Refused { code: Code::OnHold, why: String::new() })
}

/// What becomes of each of [`STEPS`] that was not done yet: begun (b), answered with how the host stands (s), refused (x).
/// A step that was done (-) is answered with what came of it, before anybody asks here.
#[test]
fn each_step_in_each_state() {
    use Step::{Abort, Prepare, Rollback, Switch, Verdict};
    let ended = |answer| Some(answer);
    let table = [
        ("nothing known", vec![], "bxbxb"),
        ("being prepared", vec![(Prepare, None)], "-xbbb"),
        ("prepared", vec![(Prepare, prepared())], "-bbbb"),
        ("not to be prepared", vec![(Prepare, refused())], "-xbbb"),
        ("in its turn", vec![(Prepare, prepared()), (Switch, None)], "--sbb"),
        ("live", vec![(Prepare, prepared()), (Switch, live())], "--sbb"),
        ("failed before the switch", vec![(Prepare, prepared()), (Switch, failed(false))], "--ssb"),
        ("failed and live", vec![(Prepare, prepared()), (Switch, failed(true))], "--sbb"),
        ("its turn was refused", vec![(Prepare, prepared()), (Switch, refused())], "--bsb"),
        ("being aborted", vec![(Prepare, prepared()), (Abort, None)], "-x-sb"),
        ("aborted", vec![(Prepare, prepared()), (Abort, ended(Answer::Aborted))], "-x-sb"),
        ("aborted before it was prepared", vec![(Abort, ended(Answer::Aborted))], "sx-sb"),
        ("back", vec![(Prepare, prepared()), (Switch, live()), (Rollback, None)], "--s-b"),
        ("given back before its turn", vec![(Prepare, prepared()), (Rollback, ended(Answer::Aborted))], "-xb-b"),
        ("over", vec![(Prepare, prepared()), (Switch, live()), (Verdict, ended(Answer::Noted))], "--sx-"),
        ("over before its turn", vec![(Prepare, prepared()), (Verdict, None)], "-xsx-"),
        ("over before it began", vec![(Verdict, ended(Answer::Noted))], "sxsx-"),
    ];
    for (state, steps, wanted) in table {
        let known = (!steps.is_empty()).then(|| known(plan(now()), &steps));
        let letter = |step: Step| match in_order(step, known.as_ref()) {
            _ if steps.iter().any(|(taken, _)| *taken == step) => '-',
            Ok(Next::Begin) => 'b',
            Ok(Next::Stands) => 's',
            Err(refusal) => {
                assert_eq!(refusal.code, Code::OutOfOrder);
                'x'
            }
        };
        assert_eq!(STEPS.map(letter).iter().collect::<String>(), wanted, "{state}");
    }
}

#[test]
fn how_a_host_stands_says_nothing_of_the_verdict() {
    let stands = |steps: &[(Step, Option<Answer>)]| known(plan(now()), steps).stands();
    let verdict = (Step::Verdict, Some(Answer::Noted));
    let ready = (Step::Prepare, prepared());
    assert_eq!(stands(std::slice::from_ref(&ready)), (Step::Prepare, prepared().unwrap()));
    assert_eq!(stands(&[ready.clone(), (Step::Switch, None)]), (Step::Switch, Answer::Accepted));
    assert_eq!(stands(&[ready.clone(), (Step::Switch, live()), verdict.clone()]), (Step::Switch, live().unwrap()));
    assert_eq!(stands(&[ready, verdict.clone()]), (Step::Prepare, Answer::Aborted), "it was dropped");
    assert_eq!(stands(&[verdict]), (Step::Verdict, Answer::Noted));
}

#[test]
fn clocks_may_differ_by_a_minute_and_it_is_said_by_how_much() {
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    assert_eq!(timely("it", at(60), at(100), now()), Ok(()));
    let early = timely("it", at(61), at(100), now()).unwrap_err();
    assert_eq!(
        (early.code, early.why.as_str()),
        (Code::NotYetValid, "it is from 61 s in the future: the clocks differ by that")
    );
    assert_eq!(timely("it", at(-100), at(0), now()), Ok(()));
    let late = timely("it", at(-100), at(-7), now()).unwrap_err();
    assert_eq!((late.code, late.why.contains("7 s ago")), (Code::Expired, true), "{late:?}");
    assert_eq!(timely("it", Timestamp::MIN, Timestamp::MAX, Timestamp::MAX), Ok(()));
}

#[test]
fn who_is_allowed_what_where() {
    let entry = |who: &str, sites: &[&str], hosts: &[&str]| {
        let globs = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        Allow { who: who.parse().unwrap(), sites: globs(sites), access: globs(&["*"]), hosts: globs(hosts) }
    };
    let plan = plan(now());
    let may = |allow: &[Allow], step| allowed(&plan, step, allow, &"web01".parse().unwrap()).is_ok();
    assert!(may(&[entry("ann@example.org", &["w*"], &["web*"])], Step::Switch));
    for entry in [
        entry("ann@example.or", &["*"], &["*"]),
        entry("ann@example.org", &["wiki"], &["*"]),
        entry("ann@example.org", &["*"], &["db*"]),
        entry("ann@example.org", &[], &["*"]),
        entry("ann@example.org", &["*"], &[]),
    ] {
        assert!(!may(std::slice::from_ref(&entry), Step::Switch), "{entry:?}");
        assert!(may(&[entry], Step::Abort), "whoever began it may end it");
    }
    assert!(!may(&[], Step::Prepare) && !may(&[], Step::Rollback) && may(&[], Step::Verdict));
}

#[test]
fn what_is_gone_back_to_is_a_name_and_no_path() {
    let to = |word: &str| Plan { action: Action::Rollback { to: Some(word.to_owned()) }, ..plan(now()) };
    for word in ["20260301120000-1234567", "v7", "tags/v7", "lib=v2", "1234567"] {
        assert!(sound(&to(word)).is_ok(), "{word}");
    }
    for word in ["", "../../etc", "/etc/passwd", "-v7", "v7\n", "v\u{1b}[31m", &"v".repeat(5000)] {
        assert_eq!(sound(&to(word)).unwrap_err().code, Code::BadSignature, "{word:?}");
    }
}

#[test]
fn only_what_ends_the_named_plan_is_waited_for() {
    let named = PlanId::new();
    let new = Plan { takes_over: Some(named), ..plan(now()) };
    let why = |jobs: &[(PlanId, Step)]| in_the_way(&new, jobs.iter().copied()).map(|refusal| refusal.why);
    for step in STEPS {
        let its = why(&[(named, step)]).unwrap_or_default();
        let ends = matches!(step, Step::Prepare | Step::Abort | Step::Verdict);
        assert_eq!(its.is_empty(), ends, "{step}: {its}");
        assert!(ends || its.contains(&format!("in its turn here ({step}), which ends by itself")), "{its}");
        let others = why(&[(named, Step::Abort), (new.id, Step::Prepare), (PlanId::new(), step)]);
        assert!(others.is_some_and(|why| why.contains(" is still under way on www")), "{step}");
        assert!(why(&[(new.id, step)]).is_none());
        // Who names nobody waits for nobody.
        let plain = plan(now());
        assert!(in_the_way(&plain, [(named, step)].into_iter()).is_some());
    }
}
