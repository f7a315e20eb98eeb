use super::*;
use crate::message::deploy::{Action, OnFailure, Policy};

const LIMITS: Limits = Limits { count: 10, bytes: 1_000_000 };

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// When it was [`now`].
fn moment() -> Instant {
    static MOMENT: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *MOMENT.get_or_init(Instant::now)
}

pub(in crate::node) fn plan(not_after: Timestamp) -> Plan {
    Plan {
        id: PlanId::new(),
        site: "www".parse().unwrap(),
        action: Action::Rollback { to: None },
        hosts: vec!["web01".parse().unwrap()],
        policy: Policy {
            canary: 1,
            bake_seconds: 0,
            batches: "1".to_owned(),
            max_failures: 0,
            on_failure: OnFailure::Stop,
        },
        who: "ann@example.org".to_owned(),
        issued: now(),
        not_after,
        key: String::new(),
        takes_over: None,
    }
}

/// A plan of which these steps were begun, with what came of them.
pub(in crate::node) fn known(plan: Plan, steps: &[(Step, Option<Answer>)]) -> Known {
    let signed = Signed { document: plan.to_text(), signature: String::new() };
    let taken = |(step, answer): &(Step, Option<Answer>)| Taken {
        step: *step,
        canary: false,
        begun: now(),
        answer: answer.clone(),
    };
    let steps = steps.iter().map(taken).collect();
    Known { kept: Kept { version: VERSION, until: plan.not_after, plan: signed, steps, taken_over: None }, plan }
}

fn open(folder: &Path, time: Timestamp) -> (Plans, Vec<String>) {
    Plans::open(folder, LIMITS, time, moment()).unwrap()
}

/// Remembers a plan with a prepare and what came of it.
fn prepared(plans: &mut Plans, plan: &Plan, answer: Option<Answer>) {
    let signed = Signed { document: plan.to_text(), signature: "x".to_owned() };
    let known = plans.meet(plan.clone(), signed, Duration::from_secs(3600), now(), moment()).unwrap();
    plans.begin(known, Step::Prepare, false, answer, now()).unwrap();
}

fn ready() -> Answer {
    Answer::Prepared { release: "20260301120000-1234567".to_owned(), previous_commit: None }
}

#[test]
fn what_was_written_down_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, problems) = open(folder.path(), now());
    assert_eq!(problems, [] as [String; 0]);
    let plan = plan(now() + hours(1));
    assert!(plans.get(plan.id).is_none());
    prepared(&mut plans, &plan, None);
    assert!(matches!(Plans::open(folder.path(), LIMITS, now(), moment()), Err(Error::Taken(_))), "one node at a time");
    drop(plans);

    // Killed in the middle of it.
    let (mut plans, _) = open(folder.path(), now());
    assert_eq!(plans.unfinished(), [(plan.id, Step::Prepare)]);
    plans.answer(plan.id, Step::Prepare, ready(), now()).unwrap();
    drop(plans);

    let (mut plans, _) = open(folder.path(), now());
    assert_eq!(plans.unfinished(), []);
    let known = plans.get(plan.id).unwrap().unwrap();
    assert_eq!((known.plan.clone(), known.answer(Step::Prepare)), (plan.clone(), Some(&ready())));
    assert_eq!(plans.holder(&plan.site, now()).unwrap().plan.id, plan.id);
    plans.begin(known, Step::Verdict, false, Some(Answer::Noted), now()).unwrap();
    assert!(plans.holder(&plan.site, now()).is_none());
    assert_eq!(plans.get(plan.id).unwrap().unwrap().steps().len(), 2);
}

#[test]
fn a_site_is_a_plans_until_its_time_and_a_turn_are_over_but_never_while_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let plan = plan(now() + hours(1));
    prepared(&mut plans, &plan, Some(ready()));
    let has_site = |plans: &Plans, after| plans.holder(&plan.site, now() + after).is_some();
    assert!(has_site(&plans, SignedDuration::from_mins(119)));
    assert!(!has_site(&plans, SignedDuration::from_mins(121)), "one hour, and the hour of a turn");
    let known = plans.get(plan.id).unwrap().unwrap();
    plans.begin(known, Step::Switch, true, None, now()).unwrap();
    assert!(has_site(&plans, hours(1000)));
    plans.answer(plan.id, Step::Switch, Answer::Noted, now()).unwrap();
    assert!(!has_site(&plans, hours(1000)));
}

#[test]
fn a_plan_that_could_still_be_used_is_never_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let refused = || Some(Answer::Refused { code: Code::Busy, why: String::new() });
    let old = plan(now() + hours(1));
    prepared(&mut plans, &old, refused());
    let long = plan(now() + hours(24 * 30));
    prepared(&mut plans, &long, refused());
    let week = hours(24 * 7);
    for (later, is_known) in [(hours(2), true), (week, true), (week + hours(2), false)] {
        assert!(plans.forget(now() + later, moment() + later.unsigned_abs()));
        assert_eq!(plans.get(old.id).is_some(), is_known, "{later}");
        assert!(plans.get(long.id).unwrap().is_ok());
    }
    let file = |plan: &Plan| plans.path(plan.id).exists();
    assert!(!file(&old) && file(&long));
}

#[test]
fn too_many_are_forgotten_from_the_oldest_on_and_then_no_more_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    // As after a restart: nothing but their times in memory.
    let past = |at| (PlanId::new(), Past { not_after: at });
    plans.past = (0..600).map(|minute| past(now() - hours(20) + SignedDuration::from_mins(minute))).collect();
    let oldest = plans.past.iter().min_by_key(|(_, past)| past.not_after).map(|(id, _)| *id).unwrap();
    plans.past.extend((0..600).map(|_| past(now() + hours(1))));
    let signed = || Signed { document: String::new(), signature: String::new() };
    assert!(plans.meet(plan(now()), signed(), Duration::ZERO, now() + hours(2), moment() + SETTLED).is_ok());
    assert_eq!(plans.past.len(), MOST - 1);
    assert!(!plans.past.contains_key(&oldest));
    plans.past.extend((0..600).map(|_| past(now() + hours(1))));
    let error = plans.meet(plan(now()), signed(), Duration::ZERO, now() + hours(2), moment() + SETTLED).unwrap_err();
    assert!(matches!(error, Error::Full(1200)), "{error}");
}

#[test]
fn a_clock_that_was_far_ahead_and_is_set_back_makes_nothing_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let old = plan(now() + hours(1));
    prepared(&mut plans, &old, Some(Answer::Refused { code: Code::Busy, why: String::new() }));
    drop(plans);
    let year = hours(24 * 365);
    let after = |minutes: u64| moment() + Duration::from_secs(minutes * 60);
    // At the start; and while it runs, however long it was right before.
    let (mut plans, _) = open(folder.path(), now() + year);
    assert!(!plans.forget(now() + year + hours(1), after(60)));
    assert!(!plans.forget(now() + hours(2), after(120)), "it was set back");
    assert!(!plans.forget(now() + hours(3), after(180)));
    assert!(plans.forget(now() + hours(4), after(240)));
    assert!(!plans.forget(now() + year, after(241)), "it went ahead");
    assert!(plans.get(old.id).is_some());
    assert!(plans.forget(now() + year + hours(2), after(361)));
    assert!(plans.get(old.id).is_none(), "for good, it seems");
}

#[test]
fn what_can_not_be_read_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let plan = plan(now() + hours(1));
    prepared(&mut plans, &plan, Some(ready()));
    let (path, plans_folder) = (plans.path(plan.id), plans.folder.clone());
    drop(plans);
    std::fs::write(&path, "{").unwrap();
    std::fs::write(plans_folder.join(".tmp-x"), "half").unwrap();
    std::fs::write(plans_folder.join("README"), "not ours").unwrap();
    let (mut plans, problems) = open(folder.path(), now());
    assert!(problems.len() == 1 && problems[0].contains(&plan.id.to_string()), "{problems:?}");
    assert!(plans.get(plan.id).unwrap().is_err());
    assert!(plans.holder(&plan.site, now()).is_none());
    assert!(!plans_folder.join(".tmp-x").exists() && plans_folder.join("README").exists());
    plans.forget(now() + hours(24 * 7), moment() + hours(24 * 7).unsigned_abs());
    assert!(plans.get(plan.id).is_some());
}

#[test]
fn what_the_disk_does_not_take_is_refused_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let (one, two) = (plan(now() + hours(1)), plan(now() + hours(1)));
    prepared(&mut plans, &one, Some(ready()));
    // Gone, and no place to write to.
    std::fs::rename(&plans.folder, folder.path().join("away")).unwrap();
    let known = plans.get(one.id).unwrap().unwrap();
    assert!(plans.begin(known, Step::Switch, false, None, now()).is_err());
    assert!(matches!(plans.get(one.id).unwrap().unwrap().answer(Step::Switch), Some(Answer::Refused { .. })));
    let signed = Signed { document: two.to_text(), signature: String::new() };
    let known = plans.meet(two.clone(), signed, Duration::ZERO, now(), moment()).unwrap();
    assert!(plans.begin(known, Step::Prepare, false, None, now()).is_err());
    assert!(matches!(plans.get(two.id).unwrap().unwrap().answer(Step::Prepare), Some(Answer::Refused { .. })));
    assert!(plans.holder(&two.site, now()).is_some_and(|holder| holder.plan.id == one.id));
}

#[test]
fn a_plan_that_was_taken_over_has_its_site_no_more_though_its_end_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let plan = plan(now() + hours(1));
    prepared(&mut plans, &plan, Some(ready()));
    let to = || TakenOver { by: PlanId::new(), who: "bob@example.org".to_owned(), at: now() };
    plans.hand_over(plan.id, Step::Abort, None, to(), now()).unwrap();
    assert!(plans.holder(&plan.site, now()).is_none() && plans.live(now()).next().is_none());
    drop(plans);

    // Killed in the middle of it: what it staged is still to be dropped.
    let (mut plans, _) = open(folder.path(), now());
    assert_eq!(plans.unfinished(), [(plan.id, Step::Abort)]);
    assert!(plans.holder(&plan.site, now()).is_none());
    plans.answer(plan.id, Step::Abort, Answer::Aborted, now()).unwrap();
    drop(plans);
    let (plans, _) = open(folder.path(), now());
    assert_eq!(plans.unfinished(), []);
    let (step, answer) = plans.get(plan.id).unwrap().unwrap().stands();
    let Answer::Refused { code: Code::TakenOver, why } = answer else { panic!("{answer:?}") };
    assert_eq!(step, Step::Abort);
    assert!(why.contains(" of bob@example.org at 2026-03-01T12:00:00Z, before its turn"), "{why}");
}

#[test]
fn what_the_disk_does_not_take_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plans, _) = open(folder.path(), now());
    let plan = plan(now() + hours(1));
    prepared(&mut plans, &plan, Some(ready()));
    std::fs::rename(&plans.folder, folder.path().join("away")).unwrap();
    let to = TakenOver { by: PlanId::new(), who: "bob@example.org".to_owned(), at: now() };
    assert!(plans.hand_over(plan.id, Step::Abort, None, to, now()).is_err());
    assert!(plans.holder(&plan.site, now()).is_some_and(|holder| holder.lost().is_none()));
    assert_eq!(plans.get(plan.id).unwrap().unwrap().stands(), (Step::Prepare, ready()));
}
