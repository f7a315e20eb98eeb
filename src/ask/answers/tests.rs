//! An enemy who may write to the replies' topic.

use super::*;
use crate::config::Source;
use crate::message::deploy::{Document as _, Signed, Vouch};
use crate::signature::StepKey;

const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

/// By allowed signers that allow nobody, so that ssh-keygen is asked about nothing.
fn ear(folder: &tempfile::TempDir) -> Ear {
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("signers"), "").unwrap();
    let signers = path("signers");
    std::fs::write(path("failcake.yaml"), format!("signing: {{ allowed-signers: {} }}\n", signers.display())).unwrap();
    Ear::new(&Source { file: Some(path("failcake.yaml")) }.load().unwrap()).unwrap()
}

fn names(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn report(about: PlanId, node: &str, answer: Answer) -> Report {
    Report { about, step: None, node: node.parse().unwrap(), time: NOW, refuses: None, answer }
}

fn unsigned(report: &Report) -> Reply {
    Reply { vouch: None, report: Signed { document: report.to_text(), signature: String::new() } }
}

/// Only the vouch itself is not signed, which ssh-keygen is asked about.
fn forged(about: PlanId, node: &str) -> Reply {
    let key = StepKey::generate().unwrap();
    let not_after = jiff::Timestamp::MAX;
    let vouch = Vouch { node: node.parse().unwrap(), key: key.public_base64(), issued: NOW, not_after };
    let vouch = Signed { document: vouch.to_text(), signature: "none".to_owned() };
    let Reply { report, .. } = unsigned(&report(about, node, Answer::Noted));
    Reply { vouch: Some(vouch), report: Signed { signature: key.sign(report.document.as_bytes()), ..report } }
}

#[test]
fn what_is_not_signed_ends_no_question_and_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let (id, mut ear, expected) = (PlanId::new(), ear(&folder), names(&["web01", "web02"]));
    let mut listening = Listening::new(id, &expected, true);
    for node in ["web01", "web02", "db01"] {
        listening.came(&unsigned(&report(id, node, Answer::Noted)), &mut ear, NOW);
    }
    assert!(!listening.is_complete());
    assert_eq!(listening.count(), 0);
    listening.take(Heard::Verified(report(id, "web02", Answer::UnknownPlan)));
    listening.came(&unsigned(&report(id, "web02", Answer::Noted)), &mut ear, NOW);
    assert!(!listening.is_complete());
    assert_eq!(listening.count(), 1);
    let answers = listening.end();
    let heard: Vec<_> = answers.heard.iter().map(|(node, told)| (node.as_str(), told.counts, &told.answer)).collect();
    assert_eq!(heard, [("web01", false, &Answer::Noted), ("web02", true, &Answer::UnknownPlan)]);
    assert!(answers.silent.is_empty() && answers.doubted.is_empty(), "{answers:?}");

    // Nobody can tell: whoever answers counts.
    let mut listening = Listening::new(id, &expected[..1], false);
    listening.came(&unsigned(&report(id, "web01", Answer::Noted)), &mut ear, NOW);
    assert!(listening.is_complete());
}

#[test]
fn who_floods_in_one_name_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (id, mut ear, expected) = (PlanId::new(), ear(&folder), names(&["web01", "web02"]));
    let mut listening = Listening::new(id, &expected, true);
    for _ in 0..100 {
        listening.came(&forged(id, "web01"), &mut ear, NOW);
        listening.came(&forged(id, "nobody"), &mut ear, NOW);
        listening.came(&forged(PlanId::new(), "web02"), &mut ear, NOW);
    }
    listening.came(&forged(id, "web02"), &mut ear, NOW);
    listening.check(&mut ear);
    assert!(!ear.is_behind());

    // Who has answered is not asked for again, whatever comes in that name.
    listening.take(Heard::Verified(report(id, "web01", Answer::Noted)));
    listening.came(&forged(id, "web01"), &mut ear, NOW);
    assert!(!ear.is_behind());
    let doubted = listening.end().doubted;
    assert_eq!(doubted.len(), 2, "{doubted:?}");
    for (line, node) in doubted.iter().zip(["web01", "web02"]) {
        assert!(line.starts_with(&format!("a reply in the name of {node} was dropped: its vouch")), "{line}");
    }
}

#[test]
fn when_time_is_over_each_that_is_expected_is_looked_at_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let (id, mut ear) = (PlanId::new(), ear(&folder));
    let mut listening = Listening::new(id, &names(&["web01", "web02"]), true);
    for node in ["web01", "web01", "web02"] {
        listening.came(&forged(id, node), &mut ear, NOW);
    }
    listening.close(&mut ear);
    listening.check(&mut ear);
    assert!(!ear.is_behind());
    let answers = listening.end();
    assert_eq!(answers.silent, names(&["web01", "web02"]));
    assert_eq!(answers.doubted.len(), 2, "{answers:?}");
    assert!(answers.doubted[0].contains("web01") && answers.doubted[0].contains(UNCHECKED), "{answers:?}");
}

#[test]
fn rubbish_is_told_once_for_each_name_and_made_up_names_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let (id, mut ear) = (PlanId::new(), ear(&folder));
    let mut listening = Listening::new(id, &[], true);
    for n in 0..HOSTS_MAX + 10 {
        let name = format!("made-up-{n}");
        listening.came(&unsigned(&report(id, &name, Answer::Noted)), &mut ear, NOW);
        listening.came(&forged(id, &name), &mut ear, NOW);
        listening.doubt(Some(name.parse().unwrap()), "\u{1b}[2J\u{202e}");
        listening.doubt(None, "x");
    }
    assert!(listening.heard.len() <= HOSTS_MAX);
    listening.close(&mut ear);
    assert!(!ear.is_behind());
    let doubted = listening.end().doubted;
    assert!(doubted.len() <= NAMES_TOLD + 1, "{doubted:?}");
    assert!(
        doubted.contains(&r"a reply in the name of made-up-0 was dropped: \u{1b}[2J\u{202e} (told once)".to_owned()),
        "{doubted:?}"
    );
}
