//! What a push costs with the hook: broker up, refused, silent.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::measure::{Contender, Sample, ms, once, race};
use crate::place::{FAILCAKE, Place};

const ROUNDS: usize = 40;

/// Races pushes of one commit each into repositories with and without the hook.
pub fn run(place: &Place) {
    let (work, ids) = place.history("push-work", ROUNDS + 3);
    let broker = place.embedded();
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let silent_url = format!("stomp://127.0.0.1:{}", silent.local_addr().expect("bound").port());
    let refused_url = {
        let gone = TcpListener::bind("127.0.0.1:0").expect("loopback");
        format!("stomp://127.0.0.1:{}", gone.local_addr().expect("bound").port())
    };
    let repository = |name: &str, hook: Option<String>| {
        let bare = place.path(&format!("push-{name}.git"));
        place.git(&place.path(""), &["init", "--quiet", "--bare", bare.to_str().expect("UTF-8")]);
        if let Some(text) = hook {
            let file = bare.join("hooks/post-receive");
            std::fs::write(&file, text).expect("a hook");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        bare
    };
    let hook = |name: &str, url: &str| {
        let config = place.config(&format!("push-{name}"), url, "");
        Some(format!("#!/bin/sh\nexec {FAILCAKE} -c {} notify-commit post-receive\n", config.display()))
    };
    let push = |bare: &std::path::Path, number: usize| -> Sample {
        let spec = format!("{}:refs/heads/master", ids[number]);
        once(place.command("git").current_dir(&work).args(["push", "--quiet", "--force"]).arg(bare).arg(spec), b"")
    };
    let plain = repository("plain", None);
    let shell = repository("shell", Some("#!/bin/sh\nexec /bin/true\n".to_owned()));
    let up = repository("up", hook("up", &broker.url));
    let refused = repository("refused", hook("refused", &refused_url));
    let quiet = repository("silent", hook("silent", &silent_url));
    println!("\nThe first push at a silent broker (it pays the budget once): {:.0} ms", ms(push(&quiet, 0).wall));
    println!("The first push at a broker that refuses: {:.0} ms", ms(push(&refused, 0).wall));
    let mut counters = [0; 5];
    let mut runs = Vec::new();
    for ((name, bare), counter) in [
        ("no hook", &plain),
        ("a hook that does nothing", &shell),
        ("failcake, broker up", &up),
        ("failcake, broker refuses", &refused),
        ("failcake, broker silent", &quiet),
    ]
    .into_iter()
    .zip(&mut counters)
    {
        let push = &push;
        runs.push(Contender::new(name, move || {
            *counter += 1;
            push(bare, *counter)
        }));
    }
    race("git push of one commit", ROUNDS, runs);
}
