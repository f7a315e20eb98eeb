//! With the real ssh-keygen, and an enemy who may write to the topic.

use std::process::{Command, Stdio};

use super::*;
use crate::config::Source;
use crate::message::deploy::{Answer, HOSTS_MAX, PlanId, Step};
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

/// At once or after ssh-keygen was asked.
fn hear(ear: &mut Ear, reply: &Reply, now: jiff::Timestamp) -> Heard {
    ear.hear(reply, now, |_| true).unwrap_or_else(|| ear.check_some().remove(0))
}

/// All before ssh-keygen is asked: first what needs none.
fn hear_all(ear: &mut Ear, replies: &[Reply]) -> Vec<Heard> {
    let mut heard: Vec<Heard> = replies.iter().filter_map(|reply| ear.hear(reply, now(), |_| true)).collect();
    heard.extend(ear.check_some());
    heard
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[test]
fn what_a_node_signed_is_its_own_and_costs_one_call_of_ssh_keygen_for_good() {
    let mut world = World::new();
    let nodes = [world.node("web01", true), world.node("web02", true)];
    let said: Vec<_> = [&nodes[0], &nodes[0], &nodes[1]].map(|node| node.says(Answer::Aborted)).to_vec();
    let replies: Vec<Reply> = said.iter().map(|(reply, _)| reply.clone()).collect();
    let verified: Vec<Heard> = said.into_iter().map(|(_, report)| Heard::Verified(report)).collect();
    let mut ear = world.ear();
    assert_eq!(hear_all(&mut ear, &replies), verified);
    drop(ear);
    // Were ssh-keygen asked once more, it would find a folder where the file was.
    let mut ear = world.ear();
    std::fs::rename(world.path("allowed_signers"), world.path("away")).unwrap();
    std::fs::create_dir(world.path("allowed_signers")).unwrap();
    assert_eq!(hear_all(&mut ear, &replies), verified);
    drop(ear);
    std::fs::remove_dir(world.path("allowed_signers")).unwrap();

    // Another file of signers is another question, whoever was in the one before.
    world.signers.clear();
    world.allow("# nobody\n");
    assert!(why(hear(&mut world.ear(), &replies[0], now())).contains("gives that key to no web01"));
}

#[test]
fn a_key_with_an_end_is_asked_about_each_time() {
    let mut world = World::new();
    let node = world.node("web01", true);
    world.allow("web09 valid-before=\"20200101\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    let (reply, report) = node.says(Answer::Aborted);
    let mut ear = world.ear();
    assert_eq!(hear(&mut ear, &reply, now()), Heard::Verified(report.clone()));
    // Within one command it is remembered all the same.
    std::fs::rename(world.path("allowed_signers"), world.path("away")).unwrap();
    assert_eq!(hear(&mut ear, &reply, now()), Heard::Verified(report));
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
    let mut check = |reply: &Reply| hear(&mut ear, reply, now());

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
    let heard = hear_all(&mut world.ear(), &[forged, replayed, posed, good.clone()]);
    let (doubted, verified): (Vec<_>, Vec<_>) =
        heard.iter().partition(|it| matches!(it, Heard::Doubted { node: Some(_), .. }));
    assert_eq!((doubted.len(), verified), (3, vec![&Heard::Verified(report.clone())]));
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
    assert!(why(hear(&mut ear, &reply, later)).starts_with("its vouch ended at "));
    assert!(matches!(hear(&mut ear, &reply, now()), Heard::Verified(_)));
    assert!(why(hear(&mut ear, &reply, later)).starts_with("its vouch ended at "));
}

#[test]
fn without_allowed_signers_nobody_can_tell() {
    let mut world = World::new();
    let (reply, report) = world.node("web01", true).says(Answer::Noted);
    std::fs::write(world.path("failcake.yaml"), format!("spool: {}\n", world.path("spool").display())).unwrap();
    let config = Source { file: Some(world.path("failcake.yaml")) }.load().unwrap();
    assert_eq!(hear(&mut Ear::new(&config).unwrap(), &reply, now()), Heard::Unsigned(report));
}

/// With vouches that nobody would have to check twice: each is another.
fn flood(name: &str, count: i64, signature: &str) -> Vec<Reply> {
    let (key, now) = (StepKey::generate().unwrap(), jiff::Timestamp::now());
    let document = report(name, Answer::Aborted).to_text();
    let said = Signed { signature: key.sign(document.as_bytes()), document };
    let vouch = |number| {
        let not_after = now + jiff::SignedDuration::from_secs(3600 + number);
        let vouch = Vouch { node: name.parse().unwrap(), key: key.public_base64(), issued: now, not_after };
        Signed { document: vouch.to_text(), signature: signature.to_owned() }
    };
    (0..count).map(|number| Reply { vouch: Some(vouch(number)), report: said.clone() }).collect()
}

#[test]
fn a_flood_of_made_up_vouches_holds_up_nobody() {
    let mut world = World::new();
    let (known, new) = (world.node("web01", true), world.node("web02", true));
    let (other, stranger) = (world.node("web03", true), world.node("web02", false));
    let mut ear = world.ear();
    let (of_known, known_report) = known.says(Answer::Noted);
    assert_eq!(hear(&mut ear, &of_known, now()), Heard::Verified(known_report.clone()));

    // One by a stranger's key, and one that was taken from the node itself and is of another document.
    let mut flood_of = flood("web02", 500, &stranger.vouch.signature);
    flood_of.extend(flood("web02", 500, &new.vouch.signature));
    let ((of_new, new_report), (of_other, other_report)) = (new.says(Answer::Aborted), other.says(Answer::Noted));
    flood_of.insert(500, of_new.clone());
    flood_of.insert(700, of_other);
    for reply in &flood_of {
        assert_eq!(ear.hear(reply, now(), |_| true), None);
        // Said again.
        assert_eq!(ear.hear(reply, now(), |_| true), None);
    }
    assert_eq!(ear.hear(&of_known, now(), |_| true), Some(Heard::Verified(known_report)));
    // In a name that nobody waits for.
    let heard = ear.hear(&flood("web99", 1, &stranger.vouch.signature)[0], now(), |_| false).unwrap();
    assert_eq!(why(heard), "its vouch was not checked");

    // All that is checked, of a thousand; and the nodes themselves are among it.
    assert!(ear.is_behind());
    let heard = ear.check_some();
    assert!(!ear.is_behind());
    assert!(heard.len() <= IN_A_TURN, "{heard:?}");
    let verified: Vec<_> = heard.iter().filter(|heard| matches!(heard, Heard::Verified(_))).collect();
    assert_eq!(verified, [&Heard::Verified(new_report.clone()), &Heard::Verified(other_report)]);
    assert_eq!(ear.hear(&of_new, now(), |_| true), Some(Heard::Verified(new_report)));
    // What was found bad stays so, without being checked again.
    let again = flood_of.iter().filter_map(|reply| ear.hear(reply, now(), |_| true));
    assert!(again.into_iter().any(|heard| matches!(heard, Heard::Doubted { node: Some(_), .. })));
}

#[test]
fn each_name_has_its_turn_and_what_was_said_first_is_told_first() {
    let mut world = World::new();
    let names = ["web01", "web02", "web03", "web04", "web05", "web06", "web07", "web08", "web09", "web10"];
    let nodes: Vec<Node> = names.into_iter().map(|name| world.node(name, true)).collect();
    let mut ear = world.ear();
    let mut said = Vec::new();
    for answer in [Answer::Accepted, Answer::Aborted] {
        for node in &nodes {
            let (reply, report) = node.says(answer.clone());
            assert_eq!(ear.hear(&reply, now(), |_| true), None);
            said.push(Heard::Verified(report));
        }
    }
    let (first, second) = (ear.check_some(), ear.check_some());
    assert_eq!((first.len(), second.len(), ear.is_behind()), (2 * IN_A_TURN, 2 * (names.len() - IN_A_TURN), false));
    let expected: Vec<&Heard> = (0..names.len()).flat_map(|at| [&said[at], &said[names.len() + at]]).collect();
    assert_eq!(first.iter().chain(&second).collect::<Vec<_>>(), expected);
}

#[test]
fn of_what_waits_the_best_of_each_name_is_left_at_the_end_and_made_up_names_have_one() {
    let mut world = World::new();
    let (node, stranger) = (world.node("web01", true), world.node("web01", false));
    let mut ear = world.ear();
    let (good, report) = node.says(Answer::Noted);
    let mut of_one = flood("web01", 2, &stranger.vouch.signature);
    of_one.insert(1, good);
    for reply in of_one {
        assert_eq!(ear.hear(&reply, now(), |_| true), None);
    }
    let mut names = (0..HOSTS_MAX).map(|n| flood(&format!("made-up-{n}"), 1, &stranger.vouch.signature).remove(0));
    for reply in names.by_ref().take(HOSTS_MAX - 1) {
        assert_eq!(ear.hear(&reply, now(), |_| true), None);
    }
    let one_too_many = ear.hear(&names.next().unwrap(), now(), |_| true).unwrap();
    assert_eq!(why(one_too_many), "too many others wait to be checked");

    let dropped = ear.narrow(|node| node.as_str() == "web01" || node.as_str() == "made-up-0");
    assert_eq!(dropped.len(), HOSTS_MAX - 1);
    assert!(
        dropped.iter().any(|node| node.as_str() == "web01") && !dropped.iter().any(|node| node.as_str() == "made-up-0")
    );
    let heard = ear.check_some();
    assert_eq!((heard.len(), ear.is_behind()), (2, false));
    assert!(heard.contains(&Heard::Verified(report)), "{heard:?}");
}
