//! With the real ssh-keygen, and an enemy who may write to the topic.

use std::process::{Command, Stdio};

use super::*;
use crate::config::Source;
use crate::message::deploy::{Answer, PlanId, Step};
use crate::signature::{Key, PATIENCE, StepKey, sign};

struct World {
    folder: tempfile::TempDir,
    signers: String,
}

/// A node as it signs.
struct Node {
    name: &'static str,
    key: StepKey,
    vouch: Signed,
}

impl World {
    fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap(), signers: String::new() };
        std::fs::create_dir(world.path("spool")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn allow(&mut self, line: &str) {
        self.signers.push_str(line);
        std::fs::write(self.path("allowed_signers"), &self.signers).unwrap();
    }

    fn ear(&self) -> Ear {
        let (spool, signers) = (self.path("spool"), self.path("allowed_signers"));
        let text = format!("spool: {}\nsigning: {{ allowed-signers: {} }}\n", spool.display(), signers.display());
        std::fs::write(self.path("failcake.yaml"), text).unwrap();
        Ear::new(&Source { file: Some(self.path("failcake.yaml")) }.load().unwrap()).unwrap()
    }

    /// An SSH key that signs vouches for `name`; allowed to if `known`.
    fn node(&mut self, name: &'static str, known: bool) -> Node {
        let file = self.path(&format!("key-{}", uuid::Uuid::new_v4()));
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file);
        assert!(command.stdin(Stdio::null()).status().unwrap().success());
        if known {
            let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
            self.allow(&format!("{name} namespaces=\"{REPLY_NAMESPACE}\" {public}"));
        }
        let key = StepKey::generate().unwrap();
        let vouch = vouch(name, &key, 3600, &file);
        Node { name, key, vouch }
    }
}

fn vouch(name: &str, key: &StepKey, seconds: i64, file: &std::path::Path) -> Signed {
    let (now, span) = (jiff::Timestamp::now(), jiff::SignedDuration::from_secs(seconds));
    let vouch =
        Vouch { node: name.parse().unwrap(), key: key.public_base64(), issued: now - span, not_after: now + span };
    let document = vouch.to_text();
    let signature = sign(document.as_bytes(), REPLY_NAMESPACE, &Key::File(file.to_owned()), PATIENCE).unwrap();
    Signed { document, signature }
}

fn report(name: &str, answer: Answer) -> Report {
    let (about, step) = (PlanId::new(), Some(Step::Switch));
    Report { about, step, node: name.parse().unwrap(), time: jiff::Timestamp::now(), refuses: None, answer }
}

impl Node {
    fn says(&self, answer: Answer) -> (Reply, Report) {
        let report = report(self.name, answer);
        let document = report.to_text();
        let signature = self.key.sign(document.as_bytes());
        (Reply { vouch: Some(self.vouch.clone()), report: Signed { document, signature } }, report)
    }
}

#[track_caller]
fn why(heard: Heard) -> String {
    match heard {
        Heard::Doubted { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[test]
fn what_a_node_signed_is_its_own_and_costs_one_call_of_ssh_keygen_for_good() {
    let mut world = World::new();
    let nodes = [world.node("web01", true), world.node("web02", true)];
    let said: Vec<_> = [&nodes[0], &nodes[1], &nodes[0]].map(|node| node.says(Answer::Aborted)).to_vec();
    let replies: Vec<Reply> = said.iter().map(|(reply, _)| reply.clone()).collect();
    let verified: Vec<Heard> = said.into_iter().map(|(_, report)| Heard::Verified(report)).collect();
    let mut ear = world.ear();
    assert_eq!(ear.hear_all(&replies, now()), verified);
    drop(ear);
    // Were ssh-keygen asked once more, it would find a folder where the file was.
    let mut ear = world.ear();
    std::fs::rename(world.path("allowed_signers"), world.path("away")).unwrap();
    std::fs::create_dir(world.path("allowed_signers")).unwrap();
    assert_eq!(ear.hear_all(&replies, now()), verified);
    drop(ear);
    std::fs::remove_dir(world.path("allowed_signers")).unwrap();

    // Another file of signers is another question, whoever was in the one before.
    world.signers.clear();
    world.allow("# nobody\n");
    assert!(why(world.ear().hear(&replies[0], now())).contains("gives that key to no web01"));
}

#[test]
fn a_key_with_an_end_is_asked_about_each_time() {
    let mut world = World::new();
    let node = world.node("web01", true);
    world.allow("web09 valid-before=\"20200101\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    let (reply, report) = node.says(Answer::Aborted);
    let mut ear = world.ear();
    assert_eq!(ear.hear(&reply, now()), Heard::Verified(report.clone()));
    // Within one command it is remembered all the same.
    std::fs::rename(world.path("allowed_signers"), world.path("away")).unwrap();
    assert_eq!(ear.hear(&reply, now()), Heard::Verified(report));
    drop(ear);
    assert!(!world.path("spool").join(nix::unistd::geteuid().to_string()).join("hear/vouches").exists());
}

#[test]
fn an_enemy_is_doubted_and_the_honest_node_is_heard_all_the_same() {
    let mut world = World::new();
    let (honest, enemy, stranger) = (world.node("web01", true), world.node("web66", true), world.node("web01", false));
    let (good, report) = honest.says(Answer::Aborted);
    let (forged, _) = stranger.says(Answer::Aborted);
    let mut ear = world.ear();
    let mut check = |reply: &Reply| ear.hear(reply, now());

    assert!(why(check(&forged)).contains("gives that key to no web01"));
    // The honest vouch, with somebody else's words, and under another name.
    let replayed = Reply { vouch: good.vouch.clone(), report: forged.report.clone() };
    assert_eq!(why(check(&replayed)), "the signature is not by that key, or not over these bytes");
    let (other, _) = enemy.says(Answer::Aborted);
    assert_eq!(why(check(&Reply { vouch: good.vouch.clone(), ..other.clone() })), "it comes with a vouch of web01");
    assert_eq!(
        why(check(&Reply { vouch: other.vouch, report: good.report.clone() })),
        "it comes with a vouch of web66"
    );
    // An allowed node's key vouches for its own name only.
    let key = StepKey::generate().unwrap();
    let posing = Vouch { node: "web01".parse().unwrap(), ..Vouch::from_text(&enemy.vouch.document).unwrap() };
    let posing = Signed { document: Vouch { key: key.public_base64(), ..posing }.to_text(), ..enemy.vouch.clone() };
    let signature = key.sign(good.report.document.as_bytes());
    let posed = Reply { vouch: Some(posing), report: Signed { signature, ..good.report.clone() } };
    assert!(why(check(&posed)).starts_with("its vouch: the signature does not hold as one by web01"));
    // Altered on the way: the vouch's signature, the vouch, the report.
    let mut altered = good.clone();
    altered.vouch.as_mut().unwrap().signature = stranger.vouch.signature.clone();
    assert!(why(check(&altered)).starts_with("its vouch: "));
    let mut altered = good.clone();
    altered.vouch.as_mut().unwrap().document.push(' ');
    assert!(why(check(&altered)).starts_with("its vouch: "));
    let mut altered = good.clone();
    altered.report.document = altered.report.document.replace("aborted", "noted");
    assert_eq!(why(check(&altered)), "the signature is not by that key, or not over these bytes");
    for nonsense in ["", "{}", "{\"version\":1}", "{\"version\":2,\"new\":1}"] {
        let document = nonsense.to_owned();
        let reply = Reply { report: Signed { document: document.clone(), ..good.report.clone() }, ..good.clone() };
        assert!(matches!(check(&reply), Heard::Doubted { node: None, .. }), "{nonsense}");
        let vouch = Some(Signed { document, ..honest.vouch.clone() });
        assert!(matches!(check(&Reply { vouch, ..good.clone() }), Heard::Doubted { node: Some(_), .. }), "{nonsense}");
    }
    // After all that, and all at once.
    assert_eq!(check(&good), Heard::Verified(report.clone()));
    let heard = world.ear().hear_all(&[forged, replayed, posed, good.clone()], now());
    assert_eq!(heard[3], Heard::Verified(report.clone()));
    assert!(heard[..3].iter().all(|heard| matches!(heard, Heard::Doubted { node: Some(_), .. })), "{heard:?}");
    // What is not signed is never the node's word.
    let unsigned = Reply { vouch: None, ..good };
    assert_eq!(check(&unsigned), Heard::Unsigned(report));
}

#[test]
fn a_vouch_ends() {
    let mut world = World::new();
    let node = world.node("web01", true);
    let (reply, _) = node.says(Answer::Noted);
    let later = now() + jiff::SignedDuration::from_secs(3601);
    let mut ear = world.ear();
    assert!(why(ear.hear(&reply, later)).starts_with("its vouch ended at "));
    assert!(matches!(ear.hear(&reply, now()), Heard::Verified(_)));
    assert!(why(ear.hear(&reply, later)).starts_with("its vouch ended at "));
}

#[test]
fn without_allowed_signers_nobody_can_tell() {
    let mut world = World::new();
    let (reply, report) = world.node("web01", true).says(Answer::Noted);
    std::fs::write(world.path("failcake.yaml"), format!("spool: {}\n", world.path("spool").display())).unwrap();
    let config = Source { file: Some(world.path("failcake.yaml")) }.load().unwrap();
    assert_eq!(Ear::new(&config).unwrap().hear(&reply, now()), Heard::Unsigned(report));
}
