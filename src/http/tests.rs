use std::path::Path;

use super::delivery::Door;
use super::desk::Desk;
use super::*;
use crate::config::{Config, Source};
use crate::forge::Headers;
use crate::outbox::Outbox;

struct Place {
    folder: tempfile::TempDir,
    config: Config,
}

impl Place {
    /// A configuration with secrets `general` and `own`, and a broker that nobody listens at.
    fn new(yaml: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        for secret in ["general", "own"] {
            std::fs::write(folder.path().join(secret), format!("{secret}\n")).unwrap();
        }
        std::fs::create_dir(folder.path().join("spool")).unwrap();
        let file = folder.path().join("failcake.yaml");
        std::fs::write(&file, format!("broker: stomp://127.0.0.1:1\n{yaml}")).unwrap();
        let mut config = Source { file: Some(file) }.load().unwrap();
        config.bus.spool.parent = folder.path().join("spool");
        Place { folder, config }
    }

    fn door(&self) -> Door {
        Door::new(&self.config, false).unwrap()
    }

    fn desk(&self) -> Desk {
        Desk::new(Outbox::new(&self.config.bus))
    }

    /// Entries of the spool, with their whole text.
    fn spooled(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                } else if entry.file_name().to_str().unwrap().starts_with("0") {
                    found.push(String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.folder.path().join("spool"), &mut found);
        found
    }
}

const GENERAL: &str = "webhook: { secret-file: general }\n";
const OWN: &str = "repos: { spog: { path: /srv/spog, url: 'git@git.example.org:web/spog.git', secret-file: own } }\n";

fn body(full_name: &str) -> String {
    format!(
        r#"{{"object_kind":"push","ref":"refs/heads/master","before":"{}","after":"{}",
            "project":{{"path_with_namespace":"{full_name}","git_ssh_url":"ssh://git@git.example.org/{full_name}.git"}}}}"#,
        "a".repeat(40),
        "b".repeat(40)
    )
}

fn headers(token: &str, id: &str) -> Headers {
    let pairs = [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", token), ("Idempotency-Key", id)];
    Headers::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn status(door: &Door, token: &str, body: &str) -> u16 {
    door.judge(None, &headers(token, "1"), body.as_bytes()).map_or_else(|answer| answer.status, |_| 202)
}

#[test]
fn without_any_secret_it_does_not_start() {
    let place = Place::new("");
    let error = Door::new(&place.config, false).unwrap_err().to_string();
    assert!(error.contains("secret-file") && error.contains("--insecure"), "{error}");
    let door = Door::new(&place.config, true).unwrap();
    assert_eq!(status(&door, "", &body("web/spog")), 202);
}

#[test]
fn the_repositorys_own_secret_counts_before_the_general_one() {
    let place = Place::new(&format!("{GENERAL}{OWN}"));
    let door = place.door();
    assert_eq!(status(&door, "own", &body("web/spog")), 202);
    assert_eq!(status(&door, "general", &body("web/spog")), 401);
    assert_eq!(status(&door, "general", &body("web/other")), 202);
    assert_eq!(status(&door, "own", &body("web/other")), 401);
}

#[test]
fn who_knows_another_secret_can_not_speak_for_a_repository_that_has_its_own() {
    let place = Place::new(&format!("{GENERAL}{OWN}"));
    let door = place.door();
    // Of another group or host, but its own name would be `spog` on the bus.
    assert_eq!(status(&door, "general", &body("evil/spog")), 401);
    assert_eq!(status(&door, "own", &body("evil/spog")), 202);
}

#[test]
fn an_unknown_repository_is_refused_where_only_repositories_have_secrets() {
    let place = Place::new(OWN);
    let door = place.door();
    assert_eq!(status(&door, "own", &body("web/spog")), 202);
    assert_eq!(status(&door, "own", &body("web/other")), 401);
    assert_eq!(status(&door, "", &body("web/other")), 401);
    assert_eq!(status(&door, "own", "no json"), 401, "the signature comes before the body");
}

#[test]
fn the_signature_counts_before_the_body() {
    let place = Place::new(GENERAL);
    let door = place.door();
    assert_eq!(status(&door, "wrong", "no json"), 401);
    assert_eq!(status(&door, "general", "no json"), 400);
    assert_eq!(status(&door, "general", r#"{"project":{"path_with_namespace":"a/b;rm"}}"#), 400);
    assert_eq!(status(&door, "general", "{}"), 200);
    let nobody = door.judge(None, &Headers::default(), b"{}").unwrap_err();
    assert_eq!(nobody.status, 401);
}

#[test]
fn a_new_secret_counts_at_once_and_a_missing_one_is_our_fault() {
    let place = Place::new(GENERAL);
    let door = place.door();
    std::fs::write(place.folder.path().join("general"), "new\n").unwrap();
    assert_eq!(status(&door, "new", &body("web/spog")), 202);
    std::fs::remove_file(place.folder.path().join("general")).unwrap();
    assert!(door.try_secrets().is_err());
    assert_eq!(status(&door, "new", &body("web/spog")), 500);
}

#[test]
fn it_is_told_under_the_configured_name() {
    let place = Place::new(&format!(
        "{GENERAL}{}",
        OWN.replace("spog:", "ours:")
            .replace("url: 'git@git.example.org:web/ours", "url: 'git@git.example.org:web/spog")
    ));
    let letter = place.door().judge(None, &headers("own", "1"), body("web/spog").as_bytes()).unwrap();
    assert_eq!(letter.label, format!("[ours] refs/heads/master {}", "b".repeat(40)));
    let destinations: Vec<_> = letter.frames.iter().map(|frame| frame.header("destination").unwrap()).collect();
    assert_eq!(destinations, ["/topic/failcake.git.commits", "/topic/failcake.events.gitlab"]);
}

#[test]
fn a_repetition_is_told_once_and_has_the_same_name() {
    let place = Place::new(GENERAL);
    let (door, desk) = (place.door(), place.desk());
    let letter = |id: &str| door.judge(None, &headers("general", id), body("web/spog").as_bytes()).unwrap();
    let ids = |letter: &delivery::Letter| -> Vec<String> {
        letter.frames.iter().map(|frame| frame.header("event-id").unwrap().to_owned()).collect()
    };
    let (one, again, two) = (letter("1"), letter("1"), letter("2"));
    assert_eq!(ids(&one), ids(&again));
    assert!(ids(&one)[0] != ids(&one)[1] && ids(&one) != ids(&two));
    let statuses = |letters| desk.take(letters).iter().map(|answer| answer.status).collect::<Vec<_>>();
    assert_eq!(statuses(vec![one, again, two]), [202, 200, 202]);
    assert_eq!(place.spooled().len(), 1, "one file, one fsync");
    // As another process would, after this one was killed.
    assert_eq!(place.desk().take(vec![letter("1")])[0].status, 200);
    assert_eq!(statuses(vec![letter(""), letter("")]), [202, 202], "without an id each is its own");
}

#[test]
fn what_can_not_be_kept_is_not_remembered() {
    let mut place = Place::new(GENERAL);
    let max = std::mem::replace(&mut place.config.bus.spool.max_count, 0);
    let letter = || place.door().judge(None, &headers("general", "1"), body("web/spog").as_bytes()).unwrap();
    assert_eq!(place.desk().take(vec![letter()])[0].status, 503);
    assert_eq!(place.spooled().len(), 0);
    let retried = letter();
    place.config.bus.spool.max_count = max;
    assert_eq!(place.desk().take(vec![retried])[0].status, 202, "the forge tries again, and it is told");
}

#[test]
fn an_answer_is_one_line_whatever_it_quotes() {
    let place = Place::new(GENERAL);
    let long = format!(r#"{{"project":"{}\u001b[31m\nx"}}"#, "é".repeat(1_000_000));
    let answer = place.door().judge(None, &headers("general", "1"), long.as_bytes()).unwrap_err();
    assert_eq!(answer.status, 400);
    assert!(answer.text.len() < 600 && !answer.text.contains(char::is_control), "{}", answer.text);
    assert_eq!(Answer::new(200, "a\u{1b}[31m\nb").text, "a [31m b");
}
