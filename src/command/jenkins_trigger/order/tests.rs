use std::path::Path;

use super::*;
use crate::config::Source;
use crate::message::push::{Author, Commit, Kind};
use crate::message::revision::LineKind;
use crate::name::Rev;

const TIP: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";

fn jenkins(projects: &str) -> Jenkins {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("failcake.yaml");
    std::fs::write(&file, format!("jenkins:\n  url: http://j\n  projects:\n{projects}")).unwrap();
    load(&file)
}

fn load(file: &Path) -> Jenkins {
    Source { file: Some(file.to_owned()) }.load().unwrap().jenkins
}

fn push(refname: &str, message: &str) -> Push {
    let tip: Rev = TIP.parse().unwrap();
    let commit = Commit {
        id: tip.clone(),
        message: message.to_owned(),
        timestamp: String::new(),
        author: Author::default(),
        added: Vec::new(),
        modified: Vec::new(),
        removed: Vec::new(),
    };
    Push {
        repo: "spog".parse().unwrap(),
        refname: refname.parse().unwrap(),
        old: "b".repeat(40).parse().unwrap(),
        new: tip.clone(),
        kind: Kind::Update,
        commits: vec![commit],
        total: 1,
        tag_object: None,
        peeled: Some(tip),
        tag_message: None,
        user_name: Some("Ada".to_owned()),
        options: Vec::new(),
        note: None,
    }
}

fn asked(projects: &str, push: Push) -> Wish {
    Change::of_push(push, EventId::derived([7; 16])).map_or(Wish::Nothing, |change| of_change(&change, &jenkins(projects)))
}

fn jobs(wish: Wish) -> Vec<String> {
    match wish {
        Wish::Orders(orders) => orders.iter().map(|order| order.job.to_string()).collect(),
        Wish::Nothing => vec!["nothing".to_owned()],
        Wish::Skipped(why) => vec![why],
    }
}

#[test]
fn unset_filters_ignore_nothing() {
    for refname in ["refs/heads/master", "refs/tags/v1", "refs/notes/commits", "refs/heads/x;$(touch${IFS}PWNED)"] {
        assert_eq!(jobs(asked("    spog: { job: tests }\n", push(refname, ""))), ["tests"]);
    }
    assert_eq!(asked("    other: { job: tests }\n", push("refs/heads/master", "")), Wish::Nothing);
}

#[test]
fn filters_and_several_projects_of_one_repository() {
    let projects = "    spog: { jobs: [tests, team/lint], ignore-refs: '^refs/tags/jenkins-' }\n    \
                    docs: { repo: spog, job: docs, only-refs: '^refs/heads/master$' }\n";
    assert_eq!(jobs(asked(projects, push("refs/heads/master", ""))), ["docs", "tests", "team/lint"]);
    assert_eq!(jobs(asked(projects, push("refs/heads/x", ""))), ["tests", "team/lint"]);
    assert_eq!(asked(projects, push("refs/tags/jenkins-12", "")), Wish::Nothing);
}

#[test]
fn deletions_start_nothing_and_who_asks_for_no_build_gets_none() {
    let projects = "    spog: { job: tests }\n";
    let deleted = Push { new: "0".repeat(40).parse().unwrap(), peeled: None, ..push("refs/heads/master", "") };
    assert_eq!(asked(projects, deleted), Wish::Nothing);
    for message in ["typo [skip ci]", "[CI skip] typo", "typo\n\n[skip ci]\n"] {
        assert!(jobs(asked(projects, push("refs/heads/master", message)))[0].contains("[skip ci]"));
    }
    let mut asks = push("refs/heads/master", "");
    asks.options = vec!["ci.skip".to_owned()];
    assert!(jobs(asked(projects, asks))[0].contains("ci.skip"));
    // An older commit's word does not count for the tip.
    let mut older = push("refs/heads/master", "[skip ci]");
    older.commits[0].id = "c".repeat(40).parse().unwrap();
    assert_eq!(jobs(asked(projects, older)), ["tests"]);
}

#[test]
fn parameters_and_branches_are_filled_in() {
    let projects = "    spog: { job: 'team/spog/{branch}', parameters: { REF: '{ref}', ID: '{event-id}', WHAT: '{repo}@{commit} {branch} by {who}' } }\n";
    let Wish::Orders(orders) = asked(projects, push("refs/heads/feature/x", "")) else { panic!() };
    assert_eq!(orders[0].job, Job(vec!["team".into(), "spog".into(), "feature%2Fx".into()]));
    let values: Vec<_> = orders[0].parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let id = format!("ID={}", EventId::derived([7; 16]));
    assert_eq!(values, [id, "REF=refs/heads/feature/x".into(), format!("WHAT=spog@{TIP} feature/x by Ada")]);
    assert!(jobs(asked(projects, push("refs/notes/commits", "")))[0].contains("another job for each branch"));
    let odd = Push { refname: crate::name::RefName::from_bytes(b"refs/heads/caf\xe9").unwrap(), ..push("refs/heads/x", "") };
    assert!(jobs(asked(projects, odd))[0].contains("another job for each branch"));
}

#[test]
fn an_orders_name_is_the_same_each_time_and_another_for_each_job() {
    let projects = "    spog: { jobs: [a, b] }\n";
    let Wish::Orders(first) = asked(projects, push("refs/heads/master", "")) else { panic!() };
    let Wish::Orders(again) = asked(projects, push("refs/heads/master", "")) else { panic!() };
    assert_eq!(first, again);
    assert!(first[0].id() == again[0].id() && first[0].id() != first[1].id());
    assert!(first.iter().all(|order| crate::spool::is_id(&order.id())));
}

#[test]
fn subversions_projects_are_found_by_both_names_and_built_once() {
    let line = |kind, name: &str, change| Line { kind, name: name.to_owned(), change, copy_from: None, copy_from_rev: None };
    let revision = Revision {
        repository: "old".to_owned(),
        project: "spog".to_owned(),
        rev: 12,
        message: "typo".to_owned(),
        lines: vec![
            line(LineKind::Branch, "gone", LineChange::Delete),
            line(LineKind::Trunk, "", LineChange::Update),
            line(LineKind::Branch, "x", LineChange::Update),
        ],
        ..Revision::default()
    };
    let wish = |projects: &str, revision: &Revision| of_revision(revision, EventId::derived([1; 16]), &jenkins(projects));
    let Wish::Orders(orders) = wish("    old/spog: { job: '{branch}' }\n    spog: { job: never }\n", &revision) else { panic!() };
    assert_eq!((orders.len(), orders[0].job.to_string(), orders[0].about()), (1, "trunk".into(), "[spog] trunk 12".into()));
    assert_eq!(jobs(wish("    spog: { job: tests, only-refs: ^branches/ }\n", &revision)), ["tests"]);
    assert_eq!(wish("    spog: { job: tests, only-refs: ^tags/ }\n", &revision), Wish::Nothing);
    assert_eq!(wish("    old: { job: tests }\n", &revision), Wish::Nothing);
    let bare = Revision { lines: Vec::new(), ..revision.clone() };
    assert_eq!(jobs(wish("    old/spog: { job: tests }\n", &bare)), ["tests"]);
    let evil = Revision { lines: vec![line(LineKind::Branch, "..", LineChange::Update)], ..revision };
    assert!(jobs(wish("    spog: { job: 'a/{branch}' }\n", &evil))[0].contains("impossible name"));
}
