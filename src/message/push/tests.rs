use proptest::prelude::*;

use super::*;

const OLD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn commit(digit: char, message: &str) -> Commit {
    Commit {
        id: digit.to_string().repeat(40).parse().unwrap(),
        message: message.to_owned(),
        timestamp: "2024-02-29T12:00:00+01:00".to_owned(),
        author: Author { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
        added: vec!["new.txt".to_owned()],
        modified: vec!["a b".to_owned()],
        removed: vec![],
    }
}

fn push(commits: Vec<Commit>) -> Push {
    Push {
        repo: "spog".parse().unwrap(),
        refname: "refs/heads/master".parse().unwrap(),
        old: OLD.parse().unwrap(),
        new: NEW.parse().unwrap(),
        kind: Kind::Update,
        total: commits.len() as u64,
        commits,
        tag_object: None,
        peeled: None,
        tag_message: None,
        user_name: Some("ada".to_owned()),
        options: vec!["ci.skip".to_owned()],
        note: None,
    }
}

fn parse(body: &[u8]) -> Result<Push, Error> {
    Push::parse(&Envelope::read(&[], body).unwrap().unwrap())
}

#[test]
fn the_body_is_what_people_and_old_daemons_read() {
    let id = EventId::new();
    let body = push(vec![commit('b', "One line\n\nrepo: other\r\nJSON: {}\n")]).format(id);
    let (text, json) = body.split_once("JSON: {\"").unwrap();
    assert_eq!(
        text,
        format!(
            "repo: spog\noldrev: {OLD}\nnewrev: {NEW}\nrefname: refs/heads/master\n\n\
             commit {NEW}\n    Author: Ada <ada@example.org>\n    Date: 2024-02-29T12:00:00+01:00\n\n    One line\n\n    \
             repo: other\n    JSON: {{}}\n    A\tnew.txt\n    M\ta b\n\n"
        )
    );
    assert!(json.ends_with("}\n"));
    let value: serde_json::Value = serde_json::from_str(&format!("{{\"{json}")).unwrap();
    assert_eq!(value["repository"]["name"], "spog");
    assert_eq!((&value["before"], &value["after"]), (&OLD.into(), &NEW.into()));
    assert_eq!((&value["ref"], &value["user_name"]), (&"refs/heads/master".into(), &"ada".into()));
    assert_eq!(value["kind"], "update");
    assert_eq!(value["commits"][0]["author"]["email"], "ada@example.org");
    assert_eq!(value["commits"][0]["added"][0], "new.txt");
    assert_eq!(value["total_commits_count"], 1);
    assert_eq!(value["push_options"][0], "ci.skip");
    assert_eq!(value["event_id"], id.to_string());
    assert_eq!(value.get("ref_hex"), None);
}

/// As the 2012 daemon reads: each line split at its first colon, keys trimmed, of a key the first counts.
#[test]
fn no_line_of_a_message_can_pose_as_a_header() {
    let evil = "x\nrepo: evil\rrepo: evil\u{85}repo: evil\u{2028}repo: evil\u{b}repo: evil\nJSON: {\"ref\":1}\n\0";
    let body = push(vec![commit('b', evil)]).event(EventId::new(), jiff::Timestamp::UNIX_EPOCH).body;
    for line in body.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']).skip(1) {
        assert!(!line.starts_with("repo"), "{line:?}");
    }
    assert_eq!(body.lines().filter(|line| line.starts_with("JSON:")).count(), 1);
    assert!(!body.contains('\0'));
    assert_eq!(parse(body.as_bytes()).unwrap().repo.as_str(), "spog");
}

#[test]
fn a_large_push_is_shortened_and_keeps_its_total() {
    let many = push(vec![commit('b', &"x".repeat(3000)); 100]);
    let body = many.format(EventId::new());
    assert!(body.len() <= BODY_MAX && body.len() > BODY_MAX / 2, "{}", body.len());
    let read = parse(body.as_bytes()).unwrap();
    assert!((10..100).contains(&read.commits.len()), "{}", read.commits.len());
    assert_eq!((read.total, &read.commits[0]), (100, &many.commits[0]));
    assert!(body.contains(&format!("({} more, 100 in all)", 100 - read.commits.len())));

    let huge = push(vec![commit('b', &"\u{1}é".repeat(200_000)); 3]);
    let body = huge.format(EventId::new());
    assert!(body.len() <= BODY_MAX);
    let read = parse(body.as_bytes()).unwrap();
    assert_eq!((read.total, read.commits.len()), (3, 1));
    assert!(read.commits[0].message.ends_with('…'));

    let mut vain = push(vec![]);
    vain.options = vec!["\u{1}".repeat(70_000); 8];
    vain.user_name = Some("x".repeat(BODY_MAX));
    vain.tag_message = Some("x".repeat(BODY_MAX));
    let body = vain.format(EventId::new());
    assert!(body.len() <= BODY_MAX);
    assert_eq!(parse(body.as_bytes()).unwrap().new, vain.new);
}

#[test]
fn a_name_that_is_not_utf8_survives_in_hex() {
    let mut odd = push(vec![]);
    odd.refname = RefName::from_bytes(b"refs/heads/caf\xe9").unwrap();
    let event = odd.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(event.subject, format!("[spog] refs/heads/caf\u{fffd} {NEW}"));
    assert!(event.body.contains("refname: refs/heads/caf\u{fffd}\n"));
    assert!(event.body.contains("\"ref_hex\":\"726566732f68656164732f636166e9\""));
    assert_eq!(parse(event.body.as_bytes()).unwrap().refname, odd.refname);
}

#[test]
fn the_older_hooks_text_is_understood() {
    let body = format!(
        "repo: web/spog\noldrev: {OLD}\nnewrev: {NEW}\nrefname: refs/heads/x\ncommit {NEW}\nAuthor: \
         caf\u{fffd}\n\n    repo: evil\n"
    );
    let mut bytes = body.into_bytes();
    bytes.extend(b"    latin \xe9\n");
    let push = parse(&bytes).unwrap();
    assert_eq!((push.repo.as_str(), push.refname.to_str()), ("web/spog", Some("refs/heads/x")));
    assert_eq!((push.old.as_str(), push.new.as_str(), push.kind), (OLD, NEW, Kind::Update));

    let zero = "0".repeat(40);
    let deleted = format!("repo: a\noldrev: {OLD}\nnewrev: {zero}\nrefname: refs/tags/v1\n");
    assert_eq!(parse(deleted.as_bytes()).unwrap().kind, Kind::Delete);
}

#[test]
fn a_forges_json_is_understood() {
    let json = format!(
        r#"{{"object_kind":"push","before":"{OLD}","after":"{NEW}","ref":"refs/heads/master","user_name":"Ada",
        "project_id":15,"push_options":{{"ci":{{"skip":true}}}},"repository":{{"name":"Diaspora","url":"git@x:y"}},
        "commits":[{{"id":"{NEW}","message":"m","timestamp":"2011-12-12T14:27:31+02:00","url":"http://x",
        "author":{{"name":"J","email":"j@x"}},"added":["a"],"modified":[],"removed":[]}}],"total_commits_count":4}}"#
    );
    for body in [json.clone(), format!("repo: Diaspora\nJSON: {}\n", json.replace('\n', " "))] {
        let push = parse(body.as_bytes()).unwrap();
        assert_eq!((push.repo.as_str(), push.user_name.as_deref()), ("Diaspora", Some("Ada")));
        assert_eq!((push.commits.len(), push.total, push.kind), (1, 4, Kind::Update));
    }
    // A forge's own name that is none of ours does not hide the line above it.
    let named = format!(
        "repo: spog\noldrev: {OLD}\nnewrev: {NEW}\nrefname: refs/heads/a\nJSON: {}\n",
        json.replace('\n', " ").replace("Diaspora", "My Project")
    );
    assert_eq!(parse(named.as_bytes()).unwrap().repo.as_str(), "spog");
}

#[test]
fn hostile_messages_give_typed_errors() {
    let zero = "0".repeat(40);
    for (body, expected) in [
        ("hello\n".to_owned(), "no \"repo\""),
        ("repo: a\n".to_owned(), "no \"oldrev\""),
        (format!("repo: ../x\noldrev: {OLD}\nnewrev: {NEW}\nrefname: refs/heads/a\n"), "repo: \"..\""),
        (format!("repo: a\noldrev: {OLD}\nnewrev: $(id)\nrefname: refs/heads/a\n"), "newrev"),
        (format!("repo: a\noldrev: {OLD}\nnewrev: {NEW}\nrefname: refs/heads/../../etc\n"), "refname"),
        (
            format!(
                "JSON: {{\"repository\":{{\"name\":\"a\"}},\"before\":\"{zero}\",\"after\":\"{NEW}\",\"ref\":\"-x\"}}"
            ),
            "ref:",
        ),
        (format!("JSON: {}", "[".repeat(100_000)), "no \"repo\""),
        ("JSON: {\"repository\":null}".to_owned(), "no \"repo\""),
    ] {
        let error = parse(body.as_bytes()).map(|push| push.subject());
        let text = error.as_ref().map_err(ToString::to_string).expect_err(&body);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_kind_that_the_values_contradict_is_not_believed() {
    let zero = "0".repeat(40);
    let body = format!(
        "JSON: {{\"repository\":{{\"name\":\"a\"}},\"before\":\"{OLD}\",\"after\":\"{zero}\",\"ref\":\"refs/heads/a\",\
         \"kind\":\"update\"}}"
    );
    assert_eq!(parse(body.as_bytes()).unwrap().kind, Kind::Delete);
}

fn revs() -> impl Strategy<Value = Rev> {
    "[0-9a-f]{40}|[0-9a-f]{64}".prop_map(|digits| digits.parse().unwrap())
}

fn texts() -> impl Strategy<Value = String> {
    "\\PC{0,40}|(\r?\n|repo: x|JSON: \\{\\}|[\u{0}-\u{1f}]){0,5}"
}

prop_compose! {
    fn commits()(id in revs(), message in texts(), timestamp in texts(), name in texts(), email in texts(),
                 added in prop::collection::vec(texts(), 0..3), removed in prop::collection::vec(texts(), 0..3)) -> Commit {
        Commit { id, message, timestamp, author: Author { name, email }, added, modified: vec![], removed }
    }
}

prop_compose! {
    fn pushes()(repo in "[a-z0-9]{1,9}(/[a-z]{1,9})?", tail in prop::collection::vec(any::<u8>(), 1..30), old in revs(),
                new in revs(), kind in prop_oneof![Just(Kind::Update), Just(Kind::Rewind), Just(Kind::Rewrite)],
                commits in prop::collection::vec(commits(), 0..4), more in 0u64..1000, tag_object in prop::option::of(revs()),
                peeled in prop::option::of(revs()), tag_message in prop::option::of(texts()),
                user_name in prop::option::of(texts()), options in prop::collection::vec(texts(), 0..3),
                note in prop::option::of(texts())) -> Push {
        let refname = RefName::from_bytes(&[b"refs/heads/", &tail[..]].concat())
            .unwrap_or_else(|_| "refs/heads/x".parse().unwrap());
        let total = commits.len() as u64 + more;
        Push { repo: repo.parse().unwrap(), refname, old, new, kind, commits, total, tag_object, peeled, tag_message,
               user_name, options, note }
    }
}

proptest! {
    #[test]
    fn what_is_formatted_is_parsed(push in pushes()) {
        let event = push.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        prop_assert!(event.body.len() <= BODY_MAX);
        prop_assert_eq!(parse(event.body.as_bytes()).unwrap(), push);
    }

    #[test]
    fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..300), text in "(repo: |JSON: |\\{|\"|ref|:|\n|\\PC){0,60}") {
        for bytes in [&body[..], text.as_bytes()] {
            if let Ok(Some(envelope)) = Envelope::read(&[], bytes) {
                let _ = Push::parse(&envelope);
                let _ = envelope.event_id();
            }
        }
    }
}
