//! Promises 1 and 2, as a shell sees them: `publish`, `spool`, `keepalive`, and the system calls they make.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sandbox::brokers::{Kind, Listener, shared};
use crate::sandbox::{FAILCAKE, Sandbox};

/// A sandbox with a spool for all users and a broker where nobody listens.
fn world() -> Sandbox {
    let world = Sandbox::new();
    std::fs::create_dir_all(world.path("spool")).unwrap();
    configure(&world, &dead_port());
    world
}

fn configure(world: &Sandbox, url: &str) {
    world.write("failcake.yaml", format!("broker: {url}\nbudget: 10s\n"));
}

fn dead_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("stomp://127.0.0.1:{}", listener.local_addr().unwrap().port())
}

fn own_folder(world: &Sandbox) -> std::path::PathBuf {
    world.path("spool").join(nix::unistd::geteuid().to_string())
}

fn waiting(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().len() > 21 && name.to_string_lossy().as_bytes()[20] == b'-').count()
}

#[test]
fn published_with_a_broker_it_arrives_with_what_was_asked_and_nothing_else() {
    let world = world();
    let broker = world.broker();
    configure(&world, &broker.url);
    let listener = Listener::open(&broker.url, &["/topic/t"]);
    world
        .failcake(["publish", "/topic/t", "--subject", "a: b", "--header", "x-site: www"])
        .stdin("body\n")
        .run()
        .success()
        .stdout("")
        .stderr("");
    let frame = listener.take(1).remove(0);
    assert_eq!(frame.body, b"body\n");
    assert_eq!(frame.header("subject"), Some("a: b"));
    assert_eq!(frame.header("x-site"), Some("www"));
    assert_eq!(frame.header("persistent"), Some("true"));
    assert_eq!(frame.header("event-id"), None);
    world.failcake(["spool", "list"]).run().success().stdout("nothing waits\n");
}

#[test]
fn without_a_broker_it_waits_is_listed_flushed_and_dropped() {
    let world = world();
    for subject in ["one", "two"] {
        let said = world.failcake(["publish", "/topic/t", "--subject", subject]).stdin("x").run().success();
        said.stdout("").stderr_has("warning: 127.0.0.1:").stderr_has("failcake spool flush");
    }
    let said = world.failcake(["spool", "list"]).run().success();
    said.stdout_has("/topic/t  one").stdout_has("2 waiting: 127.0.0.1:").stdout_has("[SANDBOX]/spool/");
    let rows = world.failcake(["spool", "list", "--json"]).run().success().json();
    assert_eq!(rows[0]["subject"], "one");
    assert_eq!(rows[1]["destination"], "/topic/t");
    assert_eq!(rows[1]["state"], "waiting");
    assert!(rows[0]["cause"].as_str().unwrap().contains("127.0.0.1:"));
    let file = rows[0]["file"].as_str().unwrap().replace("[SANDBOX]", world.path("").to_str().unwrap());
    assert!(Path::new(&file).exists(), "{file}");

    world.failcake(["spool", "flush"]).run().code(1).stdout_has("0 sent, 2 still waiting: 127.0.0.1:");
    let id = rows[0]["id"].as_str().unwrap();
    world.failcake(["spool", "drop", id]).run().code(2).stderr_has("--yes");
    world.failcake(["spool", "drop", "nonsense", "--yes"]).run().code(1).stderr_has("failcake spool list");
    world.failcake(["spool", "drop"]).run().code(2);
    world.failcake(["spool", "drop", id, "--yes"]).run().success().stdout("1 dropped\n");

    let broker = world.broker();
    configure(&world, &broker.url);
    let listener = Listener::open(&broker.url, &["/topic/t"]);
    world.failcake(["spool", "flush"]).run().success().stdout("1 sent\n").stderr("");
    assert_eq!(listener.take(1)[0].header("subject"), Some("two"));
    assert_eq!(waiting(&own_folder(&world)), 0);
}

#[test]
fn bad_words_are_usage_errors_and_a_body_without_end_is_refused() {
    let world = world();
    world.failcake(["publish", ""]).run().code(2).stderr_has("/topic/NAME");
    world.failcake(["publish", "/topic/t", "--header", "nocolon"]).run().code(2).stderr_has("NAME:VALUE");
    world.failcake(["publish", "/topic/t", "--header", "receipt:1"]).run().code(2).stderr_has("failcake itself");
    world.failcake(["keepalive", "--every", "0"]).run().code(2).stderr_has("1s");
    let large = vec![b'x'; (16 << 20) + 1];
    world.failcake(["publish", "/topic/t"]).stdin(large).run().code(2).stderr_has("16 MiB");
    assert_eq!(waiting(&own_folder(&world)), 0);
}

#[test]
fn neither_delivered_nor_spooled_is_75() {
    let world = world();
    world.write("elsewhere", "");
    std::os::unix::fs::symlink(world.path("elsewhere"), own_folder(&world)).unwrap();
    let said = world.failcake(["publish", "/topic/t"]).stdin("x").run().code(75);
    said.stderr_has("neither delivered nor spooled").stderr_has("remove it");
    std::fs::remove_file(own_folder(&world)).unwrap();

    world.write("failcake.yaml", format!("broker: {}\nspool-max-count: 1\n", dead_port()));
    world.failcake(["publish", "/topic/t"]).stdin("x").run().success().stderr_has("is kept in");
    world.failcake(["publish", "/topic/t"]).stdin("x").run().code(75).stderr_has("is full");
    assert_eq!(waiting(&own_folder(&world)), 1);
}

#[test]
fn with_no_environment_and_no_spool_folder_it_still_waits() {
    let world = Sandbox::new();
    configure(&world, &dead_port());
    let said = world.failcake(["publish", "/topic/t"]).stdin("x").run().success();
    said.stderr_has("[SANDBOX]/home/.local/state/failcake/spool/");
    let state = world.path("state");
    let said = world.failcake(["publish", "/topic/t"]).env("XDG_STATE_HOME", &state).stdin("x").run().success();
    said.stderr_has("[SANDBOX]/state/failcake/spool/");
}

#[test]
fn a_closed_stderr_neither_kills_nor_fails() {
    let world = world();
    let script =
        format!("echo x | {FAILCAKE} publish /topic/t 2>&-; echo $?; echo x | {FAILCAKE} publish '' 2>&-; echo $?");
    world.program("sh", ["-c", &script]).run().success().stdout("0\n2\n");
    // A pipe whose reader is gone.
    let script = format!(
        "( sleep 0.1; echo x | {FAILCAKE} publish /topic/t; echo $? > code ) 2>&1 >/dev/null | true; sleep 0.01"
    );
    world.program("sh", ["-c", &script]).run().success();
    assert_eq!(world.read("code"), "0\n");
    assert_eq!(waiting(&own_folder(&world)), 2);
}

/// The system calls of one `publish`, by name.
fn system_calls(world: &Sandbox) -> Vec<String> {
    let trace = world.path("trace");
    let words = ["-f", "-o", trace.to_str().unwrap(), FAILCAKE, "publish", "/topic/t"];
    let _ = world.program("strace", words).stdin("x").run().success();
    let lines: Vec<String> = world.read("trace").lines().map(str::to_owned).collect();
    assert!(lines.len() > 20, "{lines:?}");
    lines
}

fn count(calls: &[String], name: &str) -> usize {
    calls.iter().filter(|line| line.contains(&format!(" {name}("))).count()
}

#[test]
fn nothing_is_fsynced_on_the_way_to_a_receipt_and_everything_without_one() {
    let world = world();
    let broker = world.broker();
    // Once without, so that the folder is there.
    world.failcake(["publish", "/topic/t"]).stdin("x").run().success().stderr_has("is kept");
    configure(&world, &broker.url);
    world.failcake(["publish", "/topic/t"]).stdin("x").run().success().stderr("");
    let calls = system_calls(&world);
    let synced = ["fsync", "fdatasync", "sync", "syncfs"].map(|name| count(&calls, name));
    assert_eq!(synced, [0; 4], "{calls:#?}");
    let renamed = count(&calls, "renameat") + count(&calls, "renameat2");
    assert_eq!([renamed, count(&calls, "unlinkat")], [1, 1], "{calls:#?}");
    // One look at the folder: what is there, and its end.
    assert_eq!(count(&calls, "getdents64"), 2, "{calls:#?}");

    configure(&world, &dead_port());
    for _ in 0..2 {
        // Refused, then by the marker: the file and its folder.
        let calls = system_calls(&world);
        assert_eq!(count(&calls, "fsync"), 2, "{calls:#?}");
    }
}

#[test]
fn kill_9_in_the_middle_of_twenty_publishers_loses_nothing() {
    let world = world();
    let broker = world.broker();
    configure(&world, &broker.url);
    let listener = Listener::open(&broker.url, &["/topic/t"]);
    let mut said = BTreeSet::new();
    let mut killed = BTreeSet::new();
    for round in 0..5_u64 {
        let mut running: Vec<_> = (0..20)
            .map(|number| {
                let subject = format!("{round}-{number}");
                let call = world.failcake(["publish", "/topic/t", "--subject", &subject]).stdin("x").start();
                (subject, call)
            })
            .collect();
        for (at, (subject, program)) in running.iter_mut().enumerate() {
            // From "not even spooled" to "almost done".
            if at % 3 == 0 {
                std::thread::sleep(Duration::from_micros(700 * round + 150 * at as u64));
                program.signal(Signal::SIGKILL);
                killed.insert(subject.clone());
            }
        }
        for (subject, program) in &mut running {
            let status = program.wait();
            if !killed.contains(subject) {
                assert!(status.success(), "{subject}: {}", String::from_utf8_lossy(&program.stderr()));
                said.insert(subject.clone());
            }
        }
    }
    // What the killed had spooled goes out with the next; what they had not was never said.
    world.failcake(["spool", "flush"]).run().success().stderr("");
    let rest = std::fs::read_dir(own_folder(&world)).unwrap().map(|entry| entry.unwrap().file_name());
    let rest: BTreeSet<_> = rest.map(|name| name.to_string_lossy().into_owned()).collect();
    let expected: BTreeSet<_> = ["drain.lock", "sequence"].map(str::to_owned).into();
    assert_eq!(rest, expected, "neither an entry nor half of one is left");
    let came: BTreeSet<String> = listener
        .within(Duration::from_secs(1))
        .iter()
        .map(|frame| frame.header("subject").unwrap().to_owned())
        .collect();
    assert!(said.is_subset(&came), "lost: {:?}", said.difference(&came));
    assert!(came.is_subset(&said.union(&killed).cloned().collect()));
    assert!(!came.is_empty() && said.len() == 65);
}

#[test]
fn keepalive_sends_what_waits_and_beats_on_each_destination_with_its_own_broker() {
    let world = world();
    world.failcake(["publish", "/topic/t"]).stdin("waited").run().success().stderr_has("is kept");
    world
        .failcake(["keepalive"])
        .run()
        .code(1)
        .stderr_has("1 events wait")
        .stderr_has("no beat on /topic/failcake.git.commits");

    let (main, other) = (world.broker(), world.broker());
    configure(&world, &main.url);
    let listener = Listener::open(&main.url, &["/topic/t", "/topic/failcake.git.commits", "/topic/beat"]);
    world.failcake(["keepalive"]).run().success().stdout("").stderr("");
    let bodies: Vec<Vec<u8>> = listener.take(2).into_iter().map(|frame| frame.body).collect();
    assert_eq!(bodies, [b"waited".to_vec(), b"\n".to_vec()]);

    let elsewhere = Listener::open(&other.url, &["/topic/elsewhere"]);
    let keepalive = format!(
        "broker: {}\nbudget: 1s\nkeepalive:\n  - {{ destination: /topic/dead, broker: '{}' }}\n  \
         - {{ destination: /topic/beat }}\n  - {{ destination: /topic/elsewhere, broker: '{}' }}\n",
        main.url,
        dead_port(),
        other.url
    );
    world.write("failcake.yaml", keepalive);
    world.failcake(["keepalive"]).run().code(1).stderr_has("no beat on /topic/dead: 127.0.0.1:");
    assert_eq!(listener.take(1)[0].body, b"\n");
    assert_eq!(elsewhere.take(1)[0].body, b"\n");
}

#[test]
fn keepalive_every_goes_on_until_a_signal_and_ends_well() {
    let world = world();
    let broker = world.broker();
    configure(&world, &broker.url);
    let listener = Listener::open(&broker.url, &["/topic/failcake.git.commits"]);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut keepalive = world.failcake(["keepalive", "--every", "1s"]).start();
        let _ = listener.take(2);
        keepalive.signal(signal);
        assert_eq!(keepalive.wait().code(), Some(0));
    }
}

#[test]
fn root_flushes_and_lists_everybodys() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: it needs root to be two users");
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let world = world();
    for folder in ["", "spool"] {
        let mode = std::fs::Permissions::from_mode(if folder.is_empty() { 0o755 } else { 0o1777 });
        std::fs::set_permissions(world.path(folder), mode).unwrap();
    }
    // The other user may not be able to reach the folder of the build.
    std::fs::copy(FAILCAKE, world.path("failcake")).unwrap();
    let publish = "echo x | ./failcake publish /topic/t --subject theirs";
    let said = world.program("setpriv", ["--reuid=65534", "--clear-groups", "sh", "-c", publish]).run().success();
    said.stderr_has("[SANDBOX]/spool/65534");
    let rows = world.failcake(["spool", "list", "--json"]).run().success().json();
    assert_eq!((rows[0]["subject"].as_str(), rows[0]["uid"].as_u64()), (Some("theirs"), Some(65534)));
    let broker = world.broker();
    configure(&world, &broker.url);
    let listener = Listener::open(&broker.url, &["/topic/t"]);
    world.failcake(["keepalive"]).run().success().stderr("");
    assert_eq!(listener.take(1)[0].header("subject"), Some("theirs"));
    // And they can go on with what root left.
    let said = world.program("setpriv", ["--reuid=65534", "--clear-groups", "sh", "-c", publish]).run().success();
    said.stderr("");
    assert_eq!(listener.take(1)[0].header("subject"), Some("theirs"));

    // A neighbour who puts a link in root's way keeps nobody else back.
    std::os::unix::fs::symlink("/etc", world.path("spool/65534/refused")).unwrap();
    configure(&world, &dead_port());
    world.failcake(["publish", "/topic/t", "--subject", "ours"]).stdin("x").run().success().stderr_has("is kept");
    world.failcake(["spool", "list"]).run().code(1).stdout_has("ours").stderr_has("65534/refused");
    configure(&world, &broker.url);
    world.failcake(["spool", "flush", "--refused"]).run().success().stdout("1 sent\n");
    assert_eq!(listener.take(1)[0].header("subject"), Some("ours"));
}

#[test]
fn real_brokers_take_what_waits_and_refuse_one_entry_without_blocking_the_rest() {
    for (kind, refused) in [(Kind::RabbitMq, Some("/exchange/nowhere/x")), (Kind::ActiveMq, None)] {
        let real = shared(kind);
        let world = world();
        for destination in refused.into_iter().chain(["/topic/outbox.real"]) {
            world.failcake(["publish", destination]).stdin("waited").run().success().stderr_has("is kept");
        }
        configure(&world, &real.url);
        let listener = Listener::open(&real.url, &["/topic/outbox.real"]);
        let said = world.failcake(["publish", "/topic/outbox.real"]).stdin("now").run().success();
        if refused.is_some() {
            said.stderr_has("was set aside").stderr_has("flush --refused");
            let rows = world.failcake(["spool", "list", "--json"]).run().success().json();
            assert_eq!((rows.as_array().unwrap().len(), rows[0]["state"].as_str()), (1, Some("refused")));
            world.failcake(["publish", "/exchange/nowhere/y"]).stdin("x").run().code(1).stderr_has("was set aside");
        } else {
            said.stderr("");
        }
        let mut bodies: Vec<_> = listener.take(2).into_iter().map(|frame| frame.body).collect();
        bodies.dedup();
        assert_eq!(bodies, [b"waited".to_vec(), b"now".to_vec()], "{kind:?}");
        assert_eq!(waiting(&own_folder(&world)), 0);
    }
}
