//! What a forge delivers. The first octet chooses the headers, the rest is the body.

#![no_main]

use failcake::forge::{self, Happened, Headers, Provider};
use failcake::message::{BODY_MAX, EventId};
use libfuzzer_sys::fuzz_target;

const EVENTS: [&str; 7] = ["push", "Push Hook", "Tag Push Hook", "System Hook", "create", "delete", "pull_request"];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let provider = [Provider::Github, Provider::Gitlab, Provider::Gitea][usize::from(choice & 0x0f) % 3];
    let event = EVENTS.get(usize::from(choice >> 5)).copied();
    let kind = if choice & 0x10 == 0 { "application/json" } else { "application/x-www-form-urlencoded" };
    let name = match provider {
        Provider::Github => "X-GitHub-Event",
        Provider::Gitlab => "X-Gitlab-Event",
        Provider::Gitea => "X-Gitea-Event",
    };
    let pairs = event.map(|event| (name.to_owned(), event.to_owned())).into_iter();
    let headers = Headers::new(pairs.chain([("Content-Type".to_owned(), kind.to_owned())]));

    let _ = Provider::detect_body(body);
    assert!(!forge::is_authentic(provider, "secret", &headers, body));
    let Ok(Some(origin)) = forge::origin(provider, &headers, body) else { return };
    let Ok(repo) = origin.own_name() else { return };
    if let Ok(Happened::Push(push)) = forge::read(provider, &headers, body, repo) {
        let event = push.event(EventId::derived([0; 16]), jiff::Timestamp::UNIX_EPOCH);
        assert!(event.body.len() <= BODY_MAX);
    }
});
