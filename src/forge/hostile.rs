//! Whatever comes: an answer or an error, no panic, and nothing that a name forbids.

use proptest::prelude::*;

use super::*;

const FIXTURES: [&str; 15] = [
    include_str!("../../tests/fixtures/forge/gitea-create.json"),
    include_str!("../../tests/fixtures/forge/gitea-delete.json"),
    include_str!("../../tests/fixtures/forge/gitea-pull-request.json"),
    include_str!("../../tests/fixtures/forge/gitea-push.json"),
    include_str!("../../tests/fixtures/forge/github-branch-deleted.json"),
    include_str!("../../tests/fixtures/forge/github-create.json"),
    include_str!("../../tests/fixtures/forge/github-force.json"),
    include_str!("../../tests/fixtures/forge/github-ping.json"),
    include_str!("../../tests/fixtures/forge/github-pull-request.json"),
    include_str!("../../tests/fixtures/forge/github-push.json"),
    include_str!("../../tests/fixtures/forge/github-tag.json"),
    include_str!("../../tests/fixtures/forge/gitlab-branch-deleted.json"),
    include_str!("../../tests/fixtures/forge/gitlab-merge-request.json"),
    include_str!("../../tests/fixtures/forge/gitlab-push.json"),
    include_str!("../../tests/fixtures/forge/gitlab-tag.json"),
];

/// Everything that is ever done with a delivery. What it says must be fit for the wire.
fn take(headers: &Headers, body: &[u8]) {
    let _ = Provider::detect(headers);
    let _ = Provider::detect_body(body);
    for provider in [Provider::Github, Provider::Gitlab, Provider::Gitea] {
        let _ = provider.delivery_id(headers);
        let _ = is_authentic(provider, "secret", headers, body);
        let Ok(Some(from)) = origin(provider, headers, body) else { continue };
        let Ok(repo) = from.own_name() else { continue };
        match read(provider, headers, body, repo) {
            Ok(Happened::Push(push)) => {
                let event = push.event(crate::message::EventId::new(), jiff::Timestamp::UNIX_EPOCH);
                assert!(event.body.len() <= crate::message::BODY_MAX && push.commits.len() <= 100);
                let again = crate::message::Envelope::read(&event.headers, event.body.as_bytes()).unwrap().unwrap();
                assert_eq!(Push::parse(&again).unwrap().subject(), push.subject());
            }
            Ok(Happened::Human(line)) => assert!(line.len() < 4096, "{}", line.len()),
            Ok(Happened::Nothing(_)) | Err(_) => {}
        }
    }
}

fn headers() -> impl Strategy<Value = Headers> {
    let event = prop_oneof![
        Just("push".to_owned()),
        Just("Push Hook".to_owned()),
        Just("System Hook".to_owned()),
        Just("delete".to_owned()),
        Just("create".to_owned()),
        Just("pull_request".to_owned()),
        ".{0,12}",
    ];
    let kind = prop_oneof![Just("application/json"), Just("application/x-www-form-urlencoded")];
    (event, kind, ".{0,80}").prop_map(|(event, kind, signature)| {
        Headers::new(
            [
                ("X-GitHub-Event", event.as_str()),
                ("X-Gitlab-Event", &event),
                ("X-Gitea-Event", &event),
                ("Content-Type", kind),
                ("X-Hub-Signature-256", &format!("sha256={signature}")),
                ("X-Gitea-Signature", &signature),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    })
}

proptest! {
    #[test]
    fn octets(headers in headers(), body in proptest::collection::vec(any::<u8>(), 0..512)) {
        take(&headers, &body);
        take(&headers, &[b"payload=".as_slice(), &body].concat());
    }

    #[test]
    fn real_bodies_with_a_hole_or_a_patch(
        headers in headers(),
        which in 0..FIXTURES.len(),
        at in any::<prop::sample::Index>(),
        gone in 0_usize..40,
        patch in prop_oneof![
            ".{0,8}",
            Just("null".to_owned()),
            Just("[]".to_owned()),
            Just("\"\\ud800\"".to_owned()),
            Just("-1e999".to_owned()),
            Just("\"../../etc\"".to_owned()),
        ],
    ) {
        let mut body = FIXTURES[which].as_bytes().to_vec();
        let at = at.index(body.len());
        let end = (at + gone).min(body.len());
        body.splice(at..end, patch.into_bytes());
        take(&headers, &body);
        take(&Headers::default(), &body);
    }
}

#[test]
fn sizes() {
    let push = |repository: &str, commits: &str| {
        format!(
            r#"{{"ref":"refs/heads/a","before":"{0}","after":"{0}","repository":{{"full_name":"a/b"{repository}}},"commits":[{commits}]}}"#,
            "a".repeat(40)
        )
    };
    let commit = |message: &str| format!(r#"{{"id":"{}","message":"{message}","added":["x"]}}"#, "b".repeat(40));
    let many = vec![commit("m"); 10_000].join(",");
    for body in [
        push("", &many),
        push("", &commit(&"m".repeat(3_000_000))),
        push(&format!(r#","x":[{}0]"#, "0,".repeat(500_000)), ""),
        push(&format!(r#","x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)), ""),
        "[".repeat(1_000_000),
        format!("{{\"repository\":{}", "{\"repository\":".repeat(100_000)),
        format!(r#"{{"repository":{{"full_name":"{}"}}}}"#, "a/".repeat(1_000_000)),
    ] {
        take(&Headers::new([("X-GitHub-Event".to_owned(), "push".to_owned())]), body.as_bytes());
    }
    let headers = Headers::new([("X-GitHub-Event".to_owned(), "push".to_owned())]);
    match read(Provider::Github, &headers, push("", &many).as_bytes(), "b".parse().unwrap()).unwrap() {
        Happened::Push(push) => assert_eq!((push.commits.len(), push.total), (100, 10_000), "the total stays exact"),
        other => panic!("{other:?}"),
    }
    let title = "t".repeat(2_000_000);
    let body = format!(
        r#"{{"action":"opened","number":1,"pull_request":{{"title":"{title}"}},"repository":{{"full_name":"a/b"}}}}"#
    );
    let headers = Headers::new([("X-GitHub-Event".to_owned(), "pull_request".to_owned())]);
    match read(Provider::Github, &headers, body.as_bytes(), "b".parse().unwrap()).unwrap() {
        Happened::Human(line) => assert!(line.len() < 1000),
        other => panic!("{other:?}"),
    }
}
