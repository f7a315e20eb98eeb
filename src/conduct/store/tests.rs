use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use super::*;
use crate::message::deploy::{Action, Answer, OnFailure, Policy, Step};

fn store(folder: &Path) -> Store {
    Store::open(&SpoolPlace { parent: folder.to_owned(), max_count: 10, max_bytes: 1000 }).unwrap()
}

fn plan(key: &StepKey) -> Plan {
    Plan {
        id: PlanId::new(),
        site: "www".parse().unwrap(),
        action: Action::Rollback { to: None },
        hosts: vec!["web01".parse().unwrap()],
        policy: Policy {
            canary: 1,
            bake_seconds: 0,
            batches: "25%".to_owned(),
            max_failures: 0,
            on_failure: OnFailure::Stop,
        },
        who: "ops@example.org".to_owned(),
        issued: jiff::Timestamp::UNIX_EPOCH,
        not_after: jiff::Timestamp::UNIX_EPOCH,
        key: key.public_base64(),
        takes_over: None,
    }
}

fn keep(store: &Store) -> Kept {
    let key = StepKey::generate().unwrap();
    let plan = plan(&key);
    let signed = Signed { document: plan.to_text(), signature: "armored".to_owned() };
    store.keep(plan, signed, key).unwrap()
}

fn heard(plan: &Plan) -> Note {
    let (node, time) = (plan.hosts[0].clone(), jiff::Timestamp::UNIX_EPOCH);
    Note::Heard(Report {
        about: plan.id,
        step: Some(Step::Prepare),
        node,
        time,
        refuses: None,
        answer: Answer::Accepted,
    })
}

#[test]
fn another_process_goes_on_with_what_was_kept_once_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(matches!(store.newest(), Err(Error::None(_))));
    let mut first = keep(&store);
    let (id, plan, public) = (first.plan.id, first.plan.clone(), first.key.public_base64());
    let stopped = Note::Stopped { why: "web01 failed".to_owned(), rolls_back: true };
    first.note(&[heard(&plan), stopped.clone()]).unwrap();
    assert!(matches!(store.take(id), Err(Error::Busy(_))));
    let seen = store.look(id).unwrap();
    assert_eq!((seen.plan, seen.notes.len(), seen.is_conducted), (plan.clone(), 2, true));
    drop(first);

    let (mut second, notes) = store.take(id).unwrap();
    assert_eq!((second.plan.clone(), notes), (plan.clone(), vec![heard(&plan), stopped]));
    assert_eq!(second.key.public_base64(), public);
    assert_eq!(second.signed, Signed { document: plan.to_text(), signature: "armored".to_owned() });
    second.note(&[Note::Ended(Outcome::Stopped)]).unwrap();
    drop(second);
    let seen = store.look(id).unwrap();
    assert_eq!((seen.notes.last(), seen.is_conducted), (Some(&Note::Ended(Outcome::Stopped)), false));

    let newer = keep(&store).plan.id;
    assert_eq!((store.list().unwrap(), store.newest().unwrap()), (vec![newer, id], newer));
    assert!(matches!(store.take(PlanId::new()), Err(Error::NoPlan(..))));
}

#[test]
fn half_a_line_of_a_crash_costs_that_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let kept = keep(&store);
    let (plan, path) = (kept.plan.clone(), kept.path.clone());
    drop(kept);
    let line = serde_json::to_string(&heard(&plan)).unwrap();
    for cut in 0..line.len() {
        fs::write(&path, &line[..cut]).unwrap();
        let (mut kept, notes) = store.take(plan.id).unwrap();
        assert_eq!(notes, [], "{cut}");
        kept.note(&[heard(&plan)]).unwrap();
        assert_eq!(store.look(plan.id).unwrap().notes, [heard(&plan)], "{cut}");
    }
}

#[test]
fn the_last_stop_counts_and_one_without_the_word_rolls_nothing_back() {
    let line = r#"{"stopped":{"why":"the operator stopped it"}}"#;
    let first: Note = serde_json::from_str(line).unwrap();
    let then = Note::Stopped { why: "then web01 failed".to_owned(), rolls_back: true };
    assert_eq!(stopped(&[]), None);
    assert_eq!(stopped(std::slice::from_ref(&first)), Some(("the operator stopped it", false)));
    assert_eq!(stopped(&[first, then, Note::Ended(Outcome::Stopped)]), Some(("then web01 failed", true)));
}

#[test]
fn only_its_owner_reads_it_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let kept = keep(&store);
    let (id, place) = (kept.plan.id, kept.path.parent().unwrap().to_owned());
    drop(kept);
    for (name, mode) in [("", 0o700), ("plan", 0o600), ("key", 0o600), ("journal", 0o600)] {
        let path = if name.is_empty() { place.clone() } else { place.join(name) };
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    for name in ["key", "plan"] {
        let whole = fs::read(place.join(name)).unwrap();
        for bad in [&b""[..], b"{}", &whole[..whole.len() / 2]] {
            fs::write(place.join(name), bad).unwrap();
            let error = store.take(id).unwrap_err();
            assert!(error.to_string().contains(name) && matches!(error, Error::Damaged { .. }), "{error}");
        }
        fs::write(place.join(name), whole).unwrap();
    }
    // Another plan's folder under this name.
    let other = keep(&store);
    fs::copy(other.path.with_file_name("plan"), place.join("plan")).unwrap();
    assert!(matches!(store.take(id), Err(Error::Damaged { .. })));
}

#[test]
fn what_is_old_goes_and_what_is_conducted_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (old, kept, young) = {
        let store = store(folder.path());
        (keep(&store), keep(&store), keep(&store))
    };
    let age = |kept: &Kept, age| kept.journal.set_modified(SystemTime::now() - age).unwrap();
    [&old, &kept].into_iter().for_each(|plan| age(plan, KEPT + Duration::from_secs(60)));
    age(&young, KEPT - Duration::from_secs(60));
    let left = folder.path().join(nix::unistd::geteuid().to_string()).join("rollouts/.tmp-x");
    fs::create_dir(&left).unwrap();
    let (id, young) = (old.plan.id, young.plan.id);
    drop(old);
    assert_eq!(store(folder.path()).list().unwrap(), [young, kept.plan.id]);
    assert!(left.exists(), "it may be one that is being made");
    assert!(matches!(store(folder.path()).take(id), Err(Error::NoPlan(..))));
}

#[test]
fn who_may_not_know_that_a_plan_is_over_is_remembered_for_as_long_as_it_matters() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut kept = keep(&store);
    let (id, site, hosts) = (kept.plan.id, kept.plan.site.clone(), kept.plan.hosts.clone());
    let then = kept.plan.not_after;
    let owed = |site: &SiteName, hosts: &[NodeName], hours| {
        let now = then + SignedDuration::from_hours(hours);
        store
            .owed(site, hosts, now)
            .unwrap()
            .iter()
            .map(|owed| (owed.kept.plan.id, owed.hosts.clone()))
            .collect::<Vec<_>>()
    };
    kept.note(&[heard(&kept.plan)]).unwrap();
    assert_eq!(owed(&site, &hosts, 0), [], "somebody is at it");
    drop(kept);
    assert_eq!(owed(&site, &hosts, 0), [], "it is not over");
    let (mut kept, _) = store.take(id).unwrap();
    kept.note(&[Note::Ended(Outcome::Stopped)]).unwrap();
    drop(kept);
    assert_eq!(owed(&site, &hosts, 23), [(id, hosts.clone())]);
    assert_eq!(owed(&site, &hosts, 25), [], "no host has its site any more");
    assert_eq!(owed(&"other".parse().unwrap(), &hosts, 0), []);
    assert_eq!(owed(&site, &["web09".parse().unwrap()], 0), []);
    let (mut kept, _) = store.take(id).unwrap();
    kept.note(&[Note::Parted(hosts.clone())]).unwrap();
    drop(kept);
    assert_eq!(owed(&site, &hosts, 0), []);
}
