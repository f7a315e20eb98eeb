use super::*;
use crate::message::push::Kind;

/// A delivery as a forge sends it: the event's header and the recorded body.
fn delivery(event: &str, file: &str) -> (Provider, Headers, Vec<u8>) {
    let provider = match file.split('-').next() {
        Some("github") => Provider::Github,
        Some("gitlab") => Provider::Gitlab,
        _ => Provider::Gitea,
    };
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    match provider {
        Provider::Github => headers.push(("x-github-event".to_owned(), event.to_owned())),
        Provider::Gitlab => headers.push(("x-gitlab-event".to_owned(), event.to_owned())),
        Provider::Gitea => {
            headers.extend(["x-gitea-event", "x-github-event"].map(|n| (n.to_owned(), event.to_owned())))
        }
    }
    let path = format!("{}/tests/fixtures/forge/{file}.json", env!("CARGO_MANIFEST_DIR"));
    (provider, Headers::new(headers), std::fs::read(path).unwrap())
}

/// Reads it under the name that the forge itself has for the repository.
fn read_as_named(provider: Provider, headers: &Headers, body: &[u8]) -> Result<Happened, Error> {
    match origin(provider, headers, body)? {
        Some(origin) => read(provider, headers, body, origin.own_name()?),
        None => Ok(Happened::Nothing("no repository".to_owned())),
    }
}

fn happened(event: &str, file: &str) -> Happened {
    let (provider, headers, body) = delivery(event, file);
    assert_eq!(Provider::detect(&headers), Some(provider), "{file}");
    read_as_named(provider, &headers, &body).unwrap()
}

fn pushed(event: &str, file: &str) -> Push {
    match happened(event, file) {
        Happened::Push(push) => *push,
        other => panic!("{file}: {other:?}"),
    }
}

const OLD: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
const NEW: &str = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c";

#[test]
fn a_push_of_each_forge() {
    let push = pushed("push", "github-push");
    assert_eq!(push.subject(), format!("[Hello-World] refs/heads/master {NEW}"));
    assert_eq!((push.old.as_str(), push.kind, push.total), (OLD, Kind::Update, 2));
    assert_eq!(push.user_name.as_deref(), Some("Codertocat"));
    assert_eq!(push.commits[0].id.as_str(), NEW, "the newest first");
    assert_eq!(push.commits[0].added, ["docs/née.md"]);

    let push = pushed("Push Hook", "gitlab-push");
    assert_eq!(push.subject(), format!("[diaspora] refs/heads/master {NEW}"));
    assert_eq!((push.kind, push.total, push.commits.len()), (Kind::Update, 34, 2));
    assert_eq!(push.user_name.as_deref(), Some("jsmith"));

    let push = pushed("push", "gitea-push");
    assert_eq!(push.subject(), format!("[webhooks] refs/heads/develop {NEW}"));
    assert_eq!((push.kind, push.total, push.user_name.as_deref()), (Kind::Update, 1, Some("gitea")));
}

#[test]
fn a_system_hook_of_gitlab_tells_by_its_body() {
    assert_eq!(pushed("System Hook", "gitlab-push").repo.as_str(), "diaspora");
    assert_eq!(pushed("System Hook", "gitlab-tag").refname.to_string(), "refs/tags/v1.0.0");
}

#[test]
fn tags_and_branches_that_come_and_go() {
    let tag = pushed("push", "github-tag");
    assert_eq!((tag.refname.to_string().as_str(), tag.kind), ("refs/tags/simple-tag", Kind::Create));
    assert_eq!(pushed("Tag Push Hook", "gitlab-tag").kind, Kind::Create);
    assert_eq!(pushed("push", "github-force").kind, Kind::Rewrite);
    for (event, file) in
        [("push", "github-branch-deleted"), ("Push Hook", "gitlab-branch-deleted"), ("delete", "gitea-delete")]
    {
        let gone = pushed(event, file);
        assert_eq!(gone.kind, Kind::Delete, "{file}");
        assert!(gone.new.is_zero(), "{file}");
    }
}

#[test]
fn what_only_people_care_about_is_a_line() {
    for (event, file, line) in [
        ("create", "github-create", "[Hello-World] tag simple-tag created by Codertocat"),
        ("create", "gitea-create", "[webhooks] branch develop created by gitea"),
        (
            "pull_request",
            "github-pull-request",
            "[Hello-World] change 2 merged by Codertocat: Update the README with new information.",
        ),
        ("Merge Request Hook", "gitlab-merge-request", "[diaspora] change 1 open by root: MS-Viewport"),
        ("pull_request", "gitea-pull-request", "[webhooks] change 3 opened by gitea: A fix"),
    ] {
        assert_eq!(happened(event, file), Happened::Human(line.to_owned()), "{file}");
    }
    assert_eq!(happened("ping", "github-ping"), Happened::Nothing("[Hello-World] ping".to_owned()));
}

#[test]
fn the_body_alone_tells_the_forge() {
    for file in ["github-push", "github-ping", "gitlab-push", "gitlab-merge-request", "gitea-push", "gitea-create"] {
        let (provider, _, body) = delivery("push", file);
        assert_eq!(Provider::detect_body(&body), Some(provider), "{file}");
    }
    assert_eq!(Provider::detect_body(b"{}"), None);
}

#[test]
fn where_a_delivery_comes_from() {
    let (provider, headers, body) = delivery("Push Hook", "gitlab-push");
    let from = origin(provider, &headers, &body).unwrap().unwrap();
    assert_eq!(from.full_name, "mike/diaspora");
    assert!(from.urls.contains(&"git@example.com:mike/diaspora.git".to_owned()));
    let board = br#"{"project":{"name":"spog"},"repository":{"full_name":"a/b"}}"#;
    assert_eq!(origin(Provider::Github, &Headers::default(), board).unwrap().unwrap().full_name, "a/b");
}

#[test]
fn a_form_carries_the_same_json() {
    let (provider, _, body) = delivery("push", "github-push");
    let form: String = body
        .iter()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let form = format!("payload={form}").replace("%20", "+");
    let headers = Headers::from_cgi(
        [("HTTP_X_GITHUB_EVENT", "push"), ("CONTENT_TYPE", "application/x-www-form-urlencoded"), ("PATH", "/bin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let Happened::Push(push) = read_as_named(provider, &headers, form.as_bytes()).unwrap() else { panic!("no push") };
    assert_eq!(push, pushed("push", "github-push").into());
    assert!(matches!(read_as_named(provider, &headers, b"other=1"), Err(Error::Form)));
}

#[test]
fn a_body_alone_says_what_happened() {
    for (file, word) in [
        ("github-push", "push"),
        ("github-ping", "ping"),
        ("github-create", "created"),
        ("github-pull-request", "change 2"),
        ("gitlab-tag", "push"),
        ("gitlab-merge-request", "change 1"),
        ("gitea-create", "created"),
        ("gitea-delete", "push"),
        ("gitea-pull-request", "change 3"),
    ] {
        let (provider, _, body) = delivery("", file);
        let said = match read_as_named(provider, &Headers::default(), &body).unwrap() {
            Happened::Push(_) => "push".to_owned(),
            Happened::Human(line) | Happened::Nothing(line) => line,
        };
        assert!(said.contains(word), "{file}: {said}");
    }
}

#[test]
fn an_annotated_tag_and_the_commit_behind_it() {
    let (provider, headers, body) = delivery("Tag Push Hook", "gitlab-tag");
    let text = String::from_utf8(body).unwrap();
    let mut body: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (tag, commit) = ("a".repeat(40), "b".repeat(40));
    body["after"] = tag.clone().into();
    body["checkout_sha"] = commit.clone().into();
    body["message"] = "the first".into();
    let Happened::Push(push) = read_as_named(provider, &headers, body.to_string().as_bytes()).unwrap() else {
        panic!("no push")
    };
    assert_eq!(push.tag_object.unwrap().as_str(), tag);
    assert_eq!(push.peeled.unwrap().as_str(), commit);
    assert_eq!(push.tag_message.as_deref(), Some("the first"));
    let light = pushed("push", "github-tag");
    assert_eq!((light.tag_object, light.peeled.as_ref()), (None, Some(&light.new)));
}

#[test]
fn refs_that_are_no_branch_and_no_tag_are_nobodys_deploy() {
    let (provider, headers, body) = delivery("push", "github-push");
    let text = String::from_utf8(body).unwrap().replace("refs/heads/master", "refs/notes/commits");
    assert!(matches!(read_as_named(provider, &headers, text.as_bytes()).unwrap(), Happened::Nothing(_)));
}

#[test]
fn forgejo_is_gitea_with_names_of_its_own() {
    let (_, _, body) = delivery("push", "gitea-push");
    let headers = [("X-Forgejo-Event", "push"), ("X-Forgejo-Delivery", "f6266f16-1bf3-46a5-9ea4-602e06ead473")];
    let headers = Headers::new(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(Provider::detect(&headers), Some(Provider::Gitea));
    assert!(Provider::Gitea.delivery_id(&headers).is_some());
    assert!(matches!(read_as_named(Provider::Gitea, &headers, &body).unwrap(), Happened::Push(_)));
}

#[test]
fn gitea_signs_the_json_of_a_form() {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    let signature = ring::hmac::sign(&key, br#"{"a": 1}"#);
    let hex: String = signature.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let headers = |header: &str| {
        let pairs = [(header, hex.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        Headers::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    let form = b"payload=%7B%22a%22%3A+1%7D";
    assert!(is_authentic(Provider::Gitea, "secret", &headers("X-Gitea-Signature"), form));
    assert!(is_authentic(Provider::Gitea, "secret", &headers("X-Forgejo-Signature"), form));
    assert!(!is_authentic(Provider::Gitea, "other", &headers("X-Gitea-Signature"), form));
    assert!(!is_authentic(Provider::Gitea, "secret", &headers("X-Gitea-Signature"), b"payload=%7B%7D"));
}

#[test]
fn hostile_bodies_are_refused_with_the_reason() {
    let (provider, headers, body) = delivery("push", "github-push");
    let text = String::from_utf8(body).unwrap();
    for (from, to) in [
        ("refs/heads/master", "refs/heads/../../etc"),
        (NEW, "$(touch PWNED)"),
        ("\"commits\": [", "\"commits\": ["),
        ("Codertocat/Hello-World\"", "x/..\""),
        ("Codertocat/Hello-World\"", "x/-rf\""),
    ] {
        let hostile = text.replace(from, to);
        let hostile = if from == to { hostile[..hostile.len() / 2].to_owned() } else { hostile };
        assert!(read_as_named(provider, &headers, hostile.as_bytes()).is_err(), "{from} -> {to}");
    }
    assert_eq!(origin(provider, &headers, b"{}").unwrap(), None);
}

#[test]
fn signatures_of_each_forge() {
    // The example of GitHub's documentation.
    let github = |signature: &str| Headers::new([("X-Hub-Signature-256".to_owned(), signature.to_owned())]);
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(is_authentic(Provider::Github, secret, &github(&format!("sha256={hex}")), body));
    assert!(!is_authentic(Provider::Github, "other", &github(&format!("sha256={hex}")), body));
    assert!(!is_authentic(Provider::Github, secret, &github(&format!("sha256={hex}")), b"Hello, World"));
    for bad in ["", "sha256=", "sha1=aa", hex, &format!("sha256={}", &hex[..62]), "sha256=é"] {
        assert!(!is_authentic(Provider::Github, secret, &github(bad), body), "{bad:?}");
    }
    let gitea = Headers::new([("X-Gitea-Signature".to_owned(), hex.to_owned())]);
    assert!(is_authentic(Provider::Gitea, secret, &gitea, body));
    let gitlab = Headers::new([("X-Gitlab-Token".to_owned(), secret.to_owned())]);
    assert!(is_authentic(Provider::Gitlab, secret, &gitlab, body));
    assert!(!is_authentic(Provider::Gitlab, "It's a Secret to Everybodx", &gitlab, body));
    for provider in [Provider::Github, Provider::Gitlab, Provider::Gitea] {
        assert!(!is_authentic(provider, secret, &Headers::default(), body), "nothing proves nothing");
        assert!(!is_authentic(provider, "", &Headers::new([("X-Gitlab-Token".to_owned(), String::new())]), body));
    }
}
