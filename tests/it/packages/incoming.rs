//! `INCOMING/DIST/`: what is whole is taken, archived and told; what is not waits; what never will be is set aside.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use super::*;
use crate::old_machines::{RUBY, ruby_url};
use crate::sandbox::brokers::{Kind, shared};

#[test]
fn what_comes_in_is_taken_archived_and_told() {
    let (host, sums) = (host(), |path: PathBuf| sha256(&path));
    let listener = host.listen();
    let sum = sums(host.package("incoming/bookworm", "myapp", "1.0-1"));
    host.package("incoming/sid", "libmyapp", "2:2.0");
    let said = host.take().stderr("");
    said.stdout("taken: myapp_1.0-1_all.deb into bookworm\ntaken: libmyapp_2:2.0_all.deb into sid\n");

    let frames = listener.take(4);
    let (packages, events) = (on(&frames, PACKAGES), on(&frames, EVENTS));
    assert_eq!(packages[0].header("subject"), Some("Package update: [myapp_1.0-1_all.deb]"));
    assert_eq!(packages[0].header("event-type"), Some("package"));
    assert_eq!(packages[0].header("persistent"), Some("true"));
    assert!(
        body(packages[0]).starts_with("Package: myapp\nVersion: 1.0-1\nArchitecture: all\nDistribution: bookworm\n")
    );
    let told = json(packages[0]);
    assert_eq!(
        (&told["name"], &told["distribution"], &told["sha256"]),
        (&"myapp".into(), &"bookworm".into(), &sum.into())
    );
    assert_eq!(events[0].header("subject"), Some("Talking to eventbot"));
    assert_eq!(body(events[0]), "Package myapp_1.0-1_all.deb / bookworm added to repository.");
    assert_eq!(body(events[1]), "Package libmyapp_2:2.0_all.deb / sid added to repository.");

    assert_eq!(host.has("bookworm"), ["myapp 1.0-1"]);
    assert_eq!(host.has("sid"), ["libmyapp 2:2.0"]);
    assert_eq!(host.files("incoming"), ["bookworm/archive/myapp_1.0-1_all.deb", "sid/archive/libmyapp_2:2.0_all.deb"]);
    host.is_tidy();
    host.take().stdout("").stderr("");
    assert!(listener.within(Duration::from_millis(300)).is_empty(), "nothing came in, nothing is told");
}

#[test]
fn it_is_told_over_activemq_and_rabbitmq() {
    for kind in [Kind::ActiveMq, Kind::RabbitMq] {
        let (host, broker) = (host(), shared(kind));
        let topic = format!("/topic/packages{}", std::process::id());
        host.configure_with(&broker.url, "");
        let config = host.world.read("failcake.yaml");
        host.world.write("failcake.yaml", format!("{config}topics: {{ packages: {topic} }}\n"));
        let listener = Listener::open(&broker.url, &[&topic]);
        host.package("incoming/sid", "myapp", "1.0");
        host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
        assert_eq!(json(&listener.take(1)[0])["version"], "1.0", "{kind:?}");
    }
}

#[test]
fn the_machines_of_2012_hear_what_they_always_heard() {
    let embedded = host();
    let url = embedded.broker.url.clone();
    for (name, url) in
        [("embedded", &url), ("activemq", &shared(Kind::ActiveMq).url), ("rabbitmq", &shared(Kind::RabbitMq).url)]
    {
        let host = host();
        host.configure_with(url, "");
        let prefix = format!("future.{name}{}", std::process::id());
        let config = host.world.read("failcake.yaml");
        host.world.write("failcake.yaml", format!("{config}prefix: {prefix}\n"));
        let (packages, events) = (format!("{prefix}.package.updates"), format!("{prefix}.events.repository"));
        let words = [RUBY, &ruby_url(url), "listen", &packages, &events, "2"];
        let mut daemon = host.world.program("ruby", words).start();
        daemon.stdout_line("ready");
        host.package("incoming/sid", "myapp", "1.0");
        host.take().stderr("");
        let mut heard: Vec<serde_json::Value> =
            (0..2).map(|_| serde_json::from_str(&daemon.stdout_line("{")).unwrap()).collect();
        heard.sort_by_key(|heard| heard["subject"] == "Talking to eventbot");
        assert_eq!(heard[0]["subject"], "Package update: [myapp_1.0_all.deb]", "{name}");
        assert_eq!(heard[0]["topic"], format!("/topic/{packages}"), "{name}");
        assert_eq!(heard[1]["text"], "Package myapp_1.0_all.deb / sid added to repository.", "{name}");
        assert!(daemon.wait().success());
    }
}

#[test]
fn what_is_printed_for_programs_is_one_object_on_a_line() {
    let host = host();
    host.package("incoming/sid", "myapp", "1.0");
    build(&host.world, "incoming/sid", "other", "1", "i386", "");
    std::fs::write(host.path("incoming/sid/half_1_all.deb"), b"!<arch>\n").unwrap();
    let said = host.notify(&["--incoming", "--json"]).run().code(1).text();
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<_> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["waits", "taken", "refused"]);
    assert_eq!((&lines[1]["name"], &lines[1]["place"]), (&"myapp".into(), &"[SANDBOX]/incoming/sid/archive".into()));
    assert_eq!(lines[2]["place"], "[SANDBOX]/incoming/sid/refused");
    assert!(lines[2]["why"].as_str().unwrap().contains("'i386' is not one of the valid architectures"));
}

#[test]
fn of_two_versions_that_come_together_the_newer_is_told_and_neither_is_refused() {
    let host = host();
    let listener = host.listen();
    host.package("incoming/sid", "myapp", "1.0");
    host.package("incoming/sid", "myapp", "1.1");
    let said = host.take().stderr("");
    said.stdout(
        "taken: myapp_1.0_all.deb into sid, which has a newer one already\ntaken: myapp_1.1_all.deb into sid\n",
    );
    assert_eq!(on(&listener.take(2), PACKAGES)[0].header("subject"), Some("Package update: [myapp_1.1_all.deb]"));
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.files("incoming/sid"), ["archive/myapp_1.0_all.deb", "archive/myapp_1.1_all.deb"]);
}

#[test]
fn the_same_file_again_is_the_same_event_and_both_are_in_the_archive() {
    let host = host();
    let listener = host.listen();
    let file = host.package("incoming/sid", "myapp", "1.0");
    let content = std::fs::read(&file).unwrap();
    host.take().stderr("");
    let id = |frames: Vec<Frame>| on(&frames, PACKAGES)[0].header("event-id").unwrap().to_owned();
    let first = id(listener.take(2));
    std::fs::write(&file, content).unwrap();
    host.take().stderr("");
    assert_eq!(id(listener.take(2)), first, "who heard the first drops the second");
    assert_eq!(host.files("incoming/sid"), ["archive/myapp_1.0_all.deb", "archive/myapp_1.0_all.deb.1"]);
}

#[test]
fn a_half_uploaded_package_waits_until_it_is_whole() {
    let host = host();
    let whole = std::fs::read(host.package("elsewhere", "myapp", "1.0")).unwrap();
    let file = host.path("incoming/sid/myapp_1.0_all.deb");
    let members_end = whole.windows(8).position(|window| window == b"data.tar").unwrap();
    // reprepro itself would take each of these but the first two.
    for length in [0, 4, 100, members_end, members_end + 30, whole.len() - 200, whole.len() - 2] {
        std::fs::write(&file, &whole[..length]).unwrap();
        host.take().stdout("").stderr("");
        assert_eq!(host.has("sid"), [""; 0], "{length} of {} octets", whole.len());
    }
    // Room that was made for it.
    std::fs::write(&file, vec![0; whole.len()]).unwrap();
    host.take().stdout("").stderr("");
    let said = host.notify(&["--incoming", "--json"]).run().success().json();
    assert_eq!((&said["what"], &said["why"]), (&"waits".into(), &"its end is missing".into()));
    std::fs::write(&file, &whole).unwrap();
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
}

#[test]
fn a_package_that_somebody_has_open_to_write_waits() {
    let host = host();
    let file = host.package("incoming/sid", "myapp", "1.0");
    let writer = File::options().append(true).open(&file).unwrap();
    let said = host.notify(&["--incoming", "--json"]).run().success().json();
    assert_eq!(said["why"], "somebody has myapp_1.0_all.deb open to write");
    let reader = File::open(&file).unwrap();
    drop(writer);
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
    drop(reader);
}

#[test]
fn a_package_that_grows_while_it_is_looked_at_waits() {
    let host = host();
    host.configure("  rest: 2s\n");
    let file = host.package("incoming/sid", "myapp", "1.0");
    let whole = std::fs::read(&file).unwrap();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            // Closed after each piece, as some servers do; whole and wrong each time.
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(100));
                std::fs::write(&file, &whole).unwrap();
            }
        });
        host.take().stdout("");
        assert!(!slow.is_finished(), "the run took longer than the upload: nothing was shown");
    });
    assert_eq!(host.has("sid"), [""; 0]);
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
}

#[test]
fn what_is_not_whole_for_too_long_is_set_aside_and_told() {
    let host = host();
    host.configure("  patience: 50ms\n");
    let listener = host.listen();
    std::fs::write(host.path("incoming/sid/myapp_1.0_all.deb"), b"!<arch>\ndebian-binary").unwrap();
    let said = host.notify(&["--incoming"]).run().code(1);
    said.stdout("").stderr_has("refused: myapp_1.0_all.deb for sid: not whole for ").stderr_has("its end is missing");
    let told = body(&listener.take(1)[0]);
    assert!(told.starts_with("Package myapp_1.0_all.deb / sid refused: not whole for "), "{told}");
    assert_eq!(host.files("incoming/sid"), ["refused/myapp_1.0_all.deb", "refused/myapp_1.0_all.deb.reason"]);
}

#[test]
fn what_is_no_package_is_set_aside_with_the_reason() {
    let host = host();
    let listener = host.listen();
    let whole = std::fs::read(host.package("elsewhere", "myapp", "1.0")).unwrap();
    let put = |name: &str, content: &[u8]| std::fs::write(host.path("incoming/sid").join(name), content).unwrap();
    put("rubbish_1_all.deb", b"this is not the file that you are looking for\n");
    let mut broken = whole.clone();
    let end = broken.len();
    broken[end - 60..end - 20].fill(0);
    put("broken_1_all.deb", &broken);
    build(&host.world, "incoming/sid", "x", "1", "all", "");
    host.notify(&["--incoming"]).run().code(1).stdout("");
    let reason = |name: &str| host.world.read(format!("incoming/sid/refused/{name}.reason"));
    assert_eq!(reason("rubbish_1_all.deb"), "it is no package (no ar archive)\n");
    assert!(reason("broken_1_all.deb").starts_with("it can't be unpacked: "), "{}", reason("broken_1_all.deb"));
    assert!(reason("x_1_all.deb").contains("\"x\" is no package name"), "{}", reason("x_1_all.deb"));
    assert_eq!(on(&listener.take(3), EVENTS).len(), 3);
    assert_eq!(host.files("incoming/sid").len(), 6);
    host.take().stdout("").stderr("");
    host.is_tidy();
}

#[test]
fn file_names_that_are_attacks_are_only_names() {
    let host = host();
    let listener = host.listen();
    let content = std::fs::read(host.package("elsewhere", "myapp", "1.0")).unwrap();
    let names: [&[u8]; 9] = [
        b"-x.deb",
        b"--basedir=.deb",
        b"a;touch PWNED;b.deb",
        b"$(touch PWNED).deb",
        b"a\nPackage update: [evil].deb",
        b"a b.deb",
        b"\xff\xfe.deb",
        b"\x1b[2J.deb",
        &[b"x y".to_vec(), b"z".repeat(248), b".deb".to_vec()].concat(),
    ];
    for name in names {
        std::fs::write(host.path("incoming/sid").join(std::ffi::OsStr::from_bytes(name)), &content).unwrap();
    }
    let said = host.notify(&["--incoming"]).run().code(1).stdout("");
    said.stderr_has("refused: a Package update: [evil].deb for sid");
    assert_eq!(host.files("incoming/sid").len(), 2 * names.len(), "each is set aside with its reason");
    assert_eq!(host.has("sid"), [""; 0]);
    let frames = listener.take(names.len());
    assert!(
        frames.iter().all(|frame| !body(frame).contains(['\n', '\x1b']) && frame.header("destination") == Some(EVENTS))
    );
    let said = host.world.program("find", [".", "-name", "PWNED*"]).run().success();
    said.stdout("");
}

#[test]
fn links_are_not_followed() {
    let host = host();
    let real = host.package("elsewhere", "myapp", "1.0");
    std::os::unix::fs::symlink(&real, host.path("incoming/sid/myapp_1.0_all.deb")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", host.path("incoming/sid/zero_1_all.deb")).unwrap();
    std::fs::create_dir(host.path("incoming/sid/folder_1_all.deb")).unwrap();
    nix::unistd::mkfifo(&host.path("incoming/sid/pipe_1_all.deb"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // A distribution that leads out of the incoming folder.
    std::os::unix::fs::symlink(host.path("elsewhere"), host.path("incoming/bullseye")).unwrap();
    // What is put away goes where it should.
    std::fs::create_dir(host.path("outside")).unwrap();
    std::os::unix::fs::symlink(host.path("outside"), host.path("incoming/bookworm/archive")).unwrap();
    host.package("incoming/bookworm", "other", "1.0");
    let said = host.notify(&["--incoming"]).run().code(1).stderr_has("it is a link or a folder, no file");
    said.stderr_has("incoming/bookworm/archive");
    assert_eq!(host.has("sid"), [""; 0]);
    assert!(real.is_file() && host.path("incoming/sid/refused/myapp_1.0_all.deb").is_symlink());
    assert_eq!(host.files("outside"), [""; 0]);
    assert_eq!(host.files("elsewhere"), ["myapp_1.0_all.deb"]);
    // With the link out of the way it goes on.
    std::fs::remove_file(host.path("incoming/bookworm/archive")).unwrap();
    host.take().stderr("");
    assert_eq!(host.files("incoming/bookworm"), ["archive/other_1.0_all.deb"]);
    host.is_tidy();
}

#[test]
fn hidden_files_and_other_files_are_left_alone() {
    let host = host();
    let content = std::fs::read(host.package("elsewhere", "myapp", "1.0")).unwrap();
    for name in [
        "sid/.myapp_1.0_all.deb.Xy12",
        "sid/.hidden.deb",
        "sid/myapp.deb.filepart",
        "sid/README",
        "top.deb",
        ".ssh/x.deb",
    ] {
        host.world.write(&format!("incoming/{name}"), &content);
    }
    let before = host.files("incoming");
    host.take().stdout("").stderr("");
    assert_eq!(host.files("incoming"), before);
}

#[test]
fn every_goes_on_until_it_is_told_to_stop() {
    let host = host();
    let listener = host.listen();
    let mut running = host.notify(&["--incoming", "--every", "1s"]).start();
    for version in ["1.0", "1.1"] {
        host.package("incoming/sid", "myapp", version);
        running.stdout_line(&format!("taken: myapp_{version}_all.deb into sid"));
    }
    listener.take(4);
    // What is wrong with a round ends no loop.
    host.world.write("repository/conf/distributions", "");
    host.package("incoming/sid", "myapp", "1.2");
    running.stderr_line("No distribution definitions found");
    std::thread::sleep(Duration::from_secs(5));
    host.distributions("");
    running.stdout_line("taken: myapp_1.2_all.deb into sid");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(running.wait().success());
    assert_eq!(String::from_utf8(running.stderr()).unwrap(), "", "what goes on is told once");
    assert_eq!(host.has("sid"), ["myapp 1.2"]);
}

#[test]
fn an_upload_that_is_written_out_in_the_middle_of_the_run_is_not_lost() {
    let host = host();
    let first = std::fs::read(host.package("elsewhere", "myapp", "1.0")).unwrap();
    let second = std::fs::read(host.package("elsewhere", "myapp", "1.1")).unwrap();
    let file = host.path("incoming/sid/current.deb");
    std::fs::write(&file, first).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    let (work, new) = (host.path("repository/.failcake"), host.path("incoming/sid/.new"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Put there by a rename while the other is being copied, looked at, or included.
            wait_for("a copy", || files_of(&work).iter().any(|file| file.ends_with("current.deb")));
            std::fs::write(&new, &second).unwrap();
            std::fs::rename(&new, &file).unwrap();
        });
        host.take().stdout_has("taken: current.deb into sid");
    });
    host.take().stderr("");
    assert_eq!(host.has("sid"), ["myapp 1.1"]);
    assert_eq!(host.files("incoming/sid"), ["archive/current.deb", "archive/current.deb.1"]);
}
