use proptest::prelude::*;

use super::*;

fn revision() -> Revision {
    Revision {
        repository: "code".to_owned(),
        project: "web/spog".to_owned(),
        rev: 42,
        author: Some("ada".to_owned()),
        date: Some("2024-02-29T12:00:00Z".parse().unwrap()),
        message: "One line\n\nrepo: other\r\nJSON: {}\n".to_owned(),
        lines: vec![Line {
            kind: LineKind::Tag,
            name: "v1".to_owned(),
            change: LineChange::Create,
            copy_from: Some("web/spog/trunk/".to_owned()),
            copy_from_rev: Some(41),
        }],
        total_lines: 1,
        dirs: vec!["web/spog/tags/".to_owned()],
        total_dirs: 1,
        paths: vec![changed("web/spog/tags/v1/")],
        total_paths: 1,
        note: None,
    }
}

fn changed(path: &str) -> Changed {
    Changed {
        change: Action::Add,
        path: path.to_owned(),
        properties: false,
        copy_from: Some("web/spog/trunk/".to_owned()),
        copy_from_rev: Some(41),
    }
}

fn parse(body: &[u8]) -> Result<Revision, Error> {
    Revision::parse(&Envelope::read(&[], body).unwrap().unwrap())
}

#[test]
fn the_body_is_what_people_and_old_daemons_read() {
    let id = EventId::new();
    let event = revision().event(id, Timestamp::UNIX_EPOCH);
    assert_eq!(event.subject, "[code] 42 ");
    assert!(event.headers.contains(&("event-type".to_owned(), "revision".to_owned())));
    let (text, json) = event.body.split_once("JSON: {\"").unwrap();
    assert_eq!(
        text,
        "repo: code\nrevname: 42\nAuthor: ada\nDate: 2024-02-29 12:00:00 +0000 (Thu, 29 Feb 2024)\nProject: web/spog\n\n\
         Dirs:\n    web/spog/tags/\n\n    One line\n\n    repo: other\n    JSON: {}\n\n    \
         create tags/v1 (from web/spog/trunk/:r41)\n    A   web/spog/tags/v1/ (from web/spog/trunk/:r41)\n"
    );
    let value: serde_json::Value = serde_json::from_str(&format!("{{\"{json}")).unwrap();
    assert_eq!((&value["kind"], &value["repository"]["name"]), (&"svn".into(), &"web/spog".into()));
    assert_eq!((&value["before"], &value["after"], &value["rev"]), (&"41".into(), &"42".into(), &42.into()));
    assert_eq!((&value["ref"], &value["user_name"]), (&"tags/v1".into(), &"ada".into()));
    assert_eq!(value["date"], "2024-02-29T12:00:00Z");
    assert_eq!(value["event_id"], id.to_string());
}

#[test]
fn the_older_hooks_text_is_understood() {
    let body = "repo: code\nrevname: 42\n Author: ada\nDate: 2024-02-29 13:00:00 +0100 (Thu, 29 Feb 2024)\nProject: spog\n\n\
                Dirs:\nspog/trunk/\nspog/trunk/a b/\n\nFix it\n\nrepo: evil\nJSON: {\n\n";
    let read = parse(body.as_bytes()).unwrap();
    let expected = Revision {
        repository: "code".to_owned(),
        project: "spog".to_owned(),
        rev: 42,
        author: Some("ada".to_owned()),
        date: Some("2024-02-29T12:00:00Z".parse().unwrap()),
        message: "Fix it\n\nrepo: evil\nJSON: {".to_owned(),
        dirs: vec!["spog/trunk/".to_owned(), "spog/trunk/a b/".to_owned()],
        total_dirs: 2,
        ..Revision::default()
    };
    assert_eq!(read, expected);
    // It knew no project outside of a trunk.
    let bare = parse(b"repo: code\nrevname: 1\n Author: \nDate: \nProject: \n\nDirs:\n/\n\n\n\n").unwrap();
    assert_eq!((bare.project.as_str(), bare.author, bare.date), ("code", None, None));
}

#[test]
fn no_name_and_no_line_can_pose_as_another() {
    for evil in ["spog] 99 x", "a\nrepo: spog", "a\u{2028}repo: spog", ".spog", "my project", "a: b", "-x", "spog/"] {
        let event = Revision {
            repository: evil.to_owned(),
            project: evil.to_owned(),
            author: Some(evil.to_owned()),
            message: evil.to_owned(),
            dirs: vec![evil.to_owned()],
            paths: vec![changed(evil)],
            note: Some(evil.to_owned()),
            ..revision()
        }
        .event(EventId::new(), Timestamp::UNIX_EPOCH);
        let words: Vec<&str> = event.subject.split(' ').collect();
        assert!(matches!(words[..], [name, "42", ""] if name.contains('\u{fffd}')), "{words:?}");
        let splits = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
        let heads: Vec<&str> = event.body.split(splits).filter(|line| line.starts_with("repo:")).collect();
        assert!(matches!(heads[..], [head] if head.contains('\u{fffd}')), "{heads:?}");
        // What it is truly called is in the JSON.
        let read = parse(event.body.as_bytes()).unwrap();
        assert_eq!((read.repository.as_str(), read.project.as_str(), read.project_name()), (evil, evil, None));
    }
}

#[test]
fn a_huge_revision_is_shortened_and_keeps_its_totals() {
    let mut huge = Revision { message: "\u{1}é\n".repeat(100_000), ..revision() };
    huge.paths = vec![changed(&"long ".repeat(100)); LISTED];
    huge.dirs = vec!["x".repeat(500); LISTED];
    (huge.total_paths, huge.total_dirs) = (100_000, 5_000);
    let body = huge.format(EventId::new());
    assert!(body.len() <= BODY_MAX, "{}", body.len());
    let read = parse(body.as_bytes()).unwrap();
    assert_eq!((read.total_paths, read.total_dirs, read.total_lines), (100_000, 5_000, 1));
    assert!(read.paths.len() > 50 && read.message.ends_with('…'));

    let vain = "\u{1}".repeat(BODY_MAX);
    let name = Some(vain.clone());
    let vain = Revision { repository: vain.clone(), project: vain, author: name.clone(), note: name, ..revision() };
    let body = vain.format(EventId::new());
    assert!(body.len() <= BODY_MAX, "{}", body.len());
    assert_eq!(parse(body.as_bytes()).unwrap().rev, 42);
}

#[test]
fn hostile_messages_give_typed_errors() {
    for (body, expected) in [
        ("hello\n", "no \"repo\""),
        ("repo: a\n", "no \"revname\""),
        ("repo: a\nrevname: -1\n", "revname"),
        ("repo: a\nrevname: 99999999999999999999\n", "revname"),
        ("JSON: {\"kind\":\"svn\"}", "no \"repo\""),
    ] {
        let error = parse(body.as_bytes()).expect_err(body).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    "\\PC{0,40}|(\r?\n|repo: x|JSON: \\{\\}|[\u{0}-\u{1f}]){0,5}"
}

prop_compose! {
    fn paths()(change in prop_oneof![Just(Action::Add), Just(Action::Modify), Just(Action::Delete), Just(Action::Properties)],
               path in texts(), properties: bool, from in prop::option::of((texts(), any::<u64>()))) -> Changed {
        let (copy_from, copy_from_rev) = from.unzip();
        Changed { change, path, properties, copy_from, copy_from_rev }
    }
}

prop_compose! {
    fn lines()(kind in prop_oneof![Just(LineKind::Trunk), Just(LineKind::Branch), Just(LineKind::Tag)], name in texts(),
               change in prop_oneof![Just(LineChange::Create), Just(LineChange::Update), Just(LineChange::Delete),
                                     Just(LineChange::Replace)],
               from in prop::option::of((texts(), any::<u64>()))) -> Line {
        let (copy_from, copy_from_rev) = from.unzip();
        Line { kind, name, change, copy_from, copy_from_rev }
    }
}

prop_compose! {
    fn revisions()(repository in texts(), project in texts(), rev: u64, author in prop::option::of(texts()),
                   date in prop::option::of(0i64..4_000_000_000), message in texts(), lines in prop::collection::vec(lines(), 0..3),
                   dirs in prop::collection::vec(texts(), 0..3), paths in prop::collection::vec(paths(), 0..3), more in 0u64..1000,
                   note in prop::option::of(texts())) -> Revision {
        let total = |listed: usize| listed as u64 + more;
        Revision { repository, project, rev, author, date: date.map(|second| Timestamp::from_second(second).unwrap()), message,
                   total_lines: total(lines.len()), lines, total_dirs: total(dirs.len()), dirs,
                   total_paths: total(paths.len()), paths, note }
    }
}

proptest! {
    #[test]
    fn what_is_formatted_is_parsed(revision in revisions()) {
        let event = revision.event(EventId::new(), Timestamp::UNIX_EPOCH);
        prop_assert!(event.body.len() <= BODY_MAX);
        prop_assert_eq!(event.body.lines().filter(|line| line.starts_with("JSON:")).count(), 1);
        prop_assert_eq!(parse(event.body.as_bytes()).unwrap(), revision);
    }

    #[test]
    fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..300),
                      text in "(repo: |revname: |Date: |Dirs:\n|JSON: |\\{|\"|1|:|\n|\\PC){0,60}") {
        for bytes in [&body[..], text.as_bytes()] {
            if let Ok(Some(envelope)) = Envelope::read(&[], bytes) {
                let _ = Revision::parse(&envelope);
            }
        }
    }
}
