//! `notify-package DIST FILE…`: files that somebody names.

use super::*;

#[test]
fn named_files_are_taken_and_stay_where_they_are() {
    let host = host();
    let listener = host.listen();
    let file = host.package("build", "myapp", "1.0");
    let other = host.package("build", "libmyapp", "1.0");
    let words = ["sid", file.to_str().unwrap(), other.to_str().unwrap()];
    host.notify(&words)
        .run()
        .success()
        .stdout("taken: myapp_1.0_all.deb into sid\ntaken: libmyapp_1.0_all.deb into sid\n");
    assert_eq!(on(&listener.take(4), PACKAGES).len(), 2);
    assert!(file.exists() && other.exists());
    assert_eq!(host.files("incoming"), [""; 0]);
    // Said again by hand it is told again: somebody wants it heard.
    host.notify(&["sid", file.to_str().unwrap()]).run().success();
    let again = listener.take(2);
    assert_eq!(on(&again, PACKAGES)[0].header("subject"), Some("Package update: [myapp_1.0_all.deb]"));
    // By a link, under the name that it really has.
    std::os::unix::fs::symlink(&file, host.path("latest.deb")).unwrap();
    host.notify(&["bookworm", "latest.deb"]).run().success().stdout("taken: myapp_1.0_all.deb into bookworm\n");
    host.is_tidy();
}

#[test]
fn with_an_archive_configured_a_copy_of_them_goes_there() {
    let host = host();
    std::fs::create_dir(host.path("kept")).unwrap();
    host.configure(&format!("  archive: {}\n", host.path("kept").display()));
    let file = host.package("build", "myapp", "1.0");
    host.notify(&["sid", file.to_str().unwrap()]).run().success();
    host.package("incoming/bookworm", "libmyapp", "1.0");
    host.take().stderr("");
    assert_eq!(host.files("kept"), ["bookworm/libmyapp_1.0_all.deb", "sid/myapp_1.0_all.deb"]);
    assert_eq!(host.files("incoming"), [""; 0]);
    assert_eq!(sha256(&host.path("kept/sid/myapp_1.0_all.deb")), sha256(&file));
}

#[test]
fn an_archive_on_another_disk_gets_whole_files() {
    let host = host();
    let Ok(disk) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("not run: there is no /dev/shm here, which is another file system");
        return;
    };
    host.configure(&format!("  archive: {}\n", disk.path().display()));
    let sum = sha256(&host.package("incoming/sid", "myapp", "1.0"));
    host.take().stderr("");
    assert_eq!(files_of(disk.path()), ["sid/myapp_1.0_all.deb"]);
    assert_eq!(sha256(&disk.path().join("sid/myapp_1.0_all.deb")), sum);
    host.is_tidy();
}

#[test]
fn one_that_is_refused_does_not_keep_the_others_and_is_told() {
    let host = host();
    let listener = host.listen();
    let good = host.package("build", "myapp", "1.0");
    let wrong = build(&host.world, "build", "wrong", "1.0", "i386", "");
    let rubbish = host.world.write("build/rubbish.deb", "rubbish, and not a little of it\n");
    let half = host.world.write("build/half_1_all.deb", &std::fs::read(&good).unwrap()[..200]);
    let files = [&half, &wrong, &good, &rubbish].map(|file| file.to_str().unwrap().to_owned());
    let words: Vec<&str> = [&["sid"][..], &files.each_ref().map(String::as_str)].concat();
    let said = host.notify(&words).run().code(1).stdout("taken: myapp_1.0_all.deb into sid\n");
    said.stderr_has("build/half_1_all.deb for sid: its end is missing")
        .stderr_has("build/rubbish.deb for sid: it is no package")
        .stderr_has("refused: wrong_1.0_i386.deb for sid: reprepro includedeb: Error looking at 'wrong_1.0_i386.deb'");
    let frames = listener.take(5);
    assert_eq!((on(&frames, PACKAGES).len(), on(&frames, EVENTS).len()), (1, 4));
    assert!(files.iter().all(|file| Path::new(file).exists()));
    host.notify(&["sid", "build/gone.deb"]).run().code(1).stderr_has("build/gone.deb").stderr_has("No such file");
    host.is_tidy();
}

#[test]
fn without_a_repository_packages_are_only_told() {
    let host = host();
    host.world.write("failcake.yaml", format!("broker: {}\n", host.broker.url));
    let listener = host.listen();
    let file = host.package("build", "myapp", "1:1.0");
    let said = host.notify(&["sid", file.to_str().unwrap(), "--json"]).run().success().stderr("").json();
    assert_eq!((&said["what"], &said["version"]), (&"told".into(), &"1:1.0".into()));
    let frames = listener.take(2);
    assert_eq!(json(frames.first().unwrap())["sha256"], sha256(&file).as_str());
    assert_eq!(host.has("sid"), [""; 0]);
    assert!(!host.path("repository/.failcake").exists());
    let half = host.world.write("build/half_1_all.deb", &std::fs::read(&file).unwrap()[..200]);
    host.notify(&["sid", half.to_str().unwrap()]).run().code(1).stderr_has("is not told: its end is missing");
    host.notify(&["sid", "gone.deb"]).run().code(1).stderr_has("No such file");
    host.notify(&["--incoming"]).run().code(2).stderr_has("there is no repository");
}

#[test]
fn wrong_words_are_usage_errors() {
    let host = host();
    host.notify(&[]).run().code(2).stderr_has("DIST");
    host.notify(&["sid"]).run().code(2).stderr_has("FILE");
    host.notify(&["../sid", "x.deb"]).run().code(2).stderr_has("is no distribution");
    host.notify(&["sid", "x.deb", "--every", "5s"]).run().code(2).stderr_has("cannot be used with '--every");
    host.notify(&["--incoming", "--every", "0"]).run().code(2).stderr_has("1s");
    host.notify(&["--incoming", "nowhere"]).run().code(1).stderr_has("can't open the incoming folder nowhere");
    host.notify(&["bullseye", host.package("build", "myapp", "1").to_str().unwrap()])
        .run()
        .code(1)
        .stderr_has("has no distribution bullseye: add it to conf/distributions");
    host.take().stdout("").stderr("");
}

#[test]
fn with_no_broker_it_is_spooled_and_with_no_spool_the_next_run_tells_it() {
    let host = host();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("stomp://{}", dead.local_addr().unwrap());
    drop(dead);
    host.configure_with(&url, "");
    host.package("incoming/sid", "myapp", "1.0");
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n").stderr_has("the event is kept in");
    let list = host.world.failcake(["spool", "list"]).run().success();
    list.stdout_has("/topic/failcake.package.updates  packages for sid: 1");

    // Neither: somebody made the spool a link.
    let spool = host.path("spool").join(nix::unistd::geteuid().to_string());
    std::fs::rename(&spool, host.path("spool-of-before")).unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere"), &spool).unwrap();
    host.package("incoming/sid", "myapp", "1.1");
    host.notify(&["--incoming"]).run().code(75).stdout("").stderr_has("neither delivered nor spooled");
    assert_eq!(host.has("sid"), ["myapp 1.1"], "reprepro took it, and nobody was told");
    std::fs::remove_file(&spool).unwrap();
    std::fs::rename(host.path("spool-of-before"), &spool).unwrap();
    host.configure("");
    let listener = host.listen();
    host.take().stdout("taken: myapp_1.1_all.deb into sid\n");
    let subjects: Vec<_> =
        on(&listener.take(4), PACKAGES).iter().map(|frame| frame.header("subject").unwrap().to_owned()).collect();
    assert_eq!(subjects, ["Package update: [myapp_1.0_all.deb]", "Package update: [myapp_1.1_all.deb]"]);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.files("incoming/sid"), ["archive/myapp_1.0_all.deb", "archive/myapp_1.1_all.deb"]);
    host.is_tidy();
}
