//! Repositories that are being written, locks, enemies.

use super::apt::server;
use super::*;

#[test]
fn a_hash_mismatch_is_tried_again_until_the_repository_is_whole() {
    let server = server();
    server.release("bookworm", "myapp", "1.0");
    let folder = server.host.path("repository/dists/bookworm/main/binary-amd64");
    let kept = server.host.path("kept");
    let copy = |from: &Path, to: &Path| {
        let _ = server.host.world.program("cp", ["-a", from.to_str().unwrap(), to.to_str().unwrap()]).run().success();
    };
    copy(&folder, &kept);
    // As in the middle of an upload to a mirror: the indices are of another state than their Release.
    let index = std::fs::read_to_string(folder.join("Packages")).unwrap();
    std::fs::write(folder.join("Packages"), index.replace("a package", "a parcel!")).unwrap();
    let _ = server.host.world.program("gzip", ["-kf", folder.join("Packages").to_str().unwrap()]).run().success();
    let mut running = server.update(&["-v"]).start();
    running.stderr_line("Hash Sum mismatch; the next try follows");
    running.stderr_line("Hash Sum mismatch; the next try follows");
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&kept, &folder);
    running.stdout_line("package myapp: candidate 1.0, installed none");
    assert!(running.wait().success());
}

#[test]
fn a_lock_of_another_apt_is_waited_for() {
    let server = server();
    server.release("bookworm", "myapp", "1.0");
    let lock = std::fs::File::create(server.host.path("apt/var/lib/apt/lists/lock")).unwrap();
    let mut whole = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_SETLK(&whole)).unwrap();
    let mut running = server.update(&["-v"]).start();
    running.stderr_line("Could not get lock");
    whole.l_type = libc::F_UNLCK as i16;
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_SETLK(&whole)).unwrap();
    running.stdout_line("package myapp: candidate 1.0");
    assert!(running.wait().success());
}

#[test]
fn what_does_not_pass_by_itself_is_told_and_fails() {
    let server = server();
    server.release("sid", "libmyapp", "1.0");
    // Not trusted, and not signed.
    let list = server.list("bookworm.list");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("[trusted=yes] ", "")).unwrap();
    let said =
        server.update(&[]).run().code(1).stderr_has("bookworm.list: apt-get update: ").stderr_has("is not signed");
    said.stdout_has("package libmyapp: candidate 1.0");
    std::fs::remove_file(&list).unwrap();
    server.update(&[]).run().code(1).stderr_has("there is no source list").stderr_has("correct `list:`");
    let said = server.host.world.failcake(["check"]).run().code(1);
    said.stdout_has("FAIL  apt").stdout_has("bookworm.list: No such file");
    let said = server.host.world.failcake(["check"]).env("PATH", "/nowhere").run().code(1);
    said.stdout_has("there is no apt-get here");
    let said = server.update(&[]).env("PATH", "/nowhere").run().code(1);
    said.stderr_has("there is no apt-get here: this is for machines with apt").stdout("");
    server.host.configure("");
    server.update(&[]).run().code(2).stderr_has("name a package and its list below `interest:`");
}

#[test]
fn a_failing_repository_is_told_once_and_what_was_heard_is_told_when_it_is_back() {
    let server = server();
    let events = Listener::open(&server.host.broker.url, &[EVENTS]);
    let mut running = server.watch();
    let list = server.list("bookworm.list");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("[trusted=yes] ", "")).unwrap();
    server.release("bookworm", "myapp", "1.0");
    running.stderr_line("is not signed");
    let lines: Vec<String> = events.take(2).iter().map(body).collect();
    assert!(
        lines.iter().any(|line| line.starts_with("web01 problem: ") && line.contains("is not signed")),
        "{lines:?}"
    );
    std::fs::write(&list, text).unwrap();
    // By itself: the clock tries again.
    let told: serde_json::Value = serde_json::from_str(&running.stdout_line("\"what\":\"candidate\"")).unwrap();
    assert_eq!((&told["name"], &told["told"]), (&"myapp".into(), &"1.0".into()));
}

#[test]
fn names_and_versions_from_the_bus_are_only_names() {
    let server = server();
    let mut running = server.watch();
    let names =
        ["-oDir::Etc=x", "--help", "myapp;touch PWNED", "myapp$(touch PWNED)", "../../etc/passwd", "myapp\tx", "*"];
    for name in names {
        let file = format!("{name}_1.0_all.deb");
        let subject = format!("Package update: [{file}]");
        let json = serde_json::json!({
            "kind": "package", "file": "myapp_1.0_all.deb", "name": name, "version": "1.0", "architecture": "all",
            "distribution": "bookworm",
        });
        for body in ["x\n".to_owned(), format!("Package: {name}\nJSON: {json}\n")] {
            let _ =
                server.host.world.failcake(["publish", PACKAGES, "--subject", &subject]).stdin(body).run().success();
        }
    }
    running.stderr_line("dropped a malformed message");
    let said = server.host.world.failcake(["spool", "list"]).run().success();
    said.stdout_has("heard-");
    // A version that no repository ever had, for a package that is of interest: told as what it is.
    let json = r#"JSON: {"kind":"package","file":"myapp_9_all.deb","name":"myapp","version":"9","architecture":"all","distribution":"bookworm"}"#;
    let _ =
        server.host.world.failcake(["publish", PACKAGES]).stdin(format!("Package: myapp\n{json}\n")).run().success();
    let told: serde_json::Value = serde_json::from_str(&running.stdout_line("\"what\":\"candidate\"")).unwrap();
    assert_eq!((&told["name"], &told["told"]), (&"myapp".into(), &"9".into()));
    assert!(told["candidate"].is_null());
    let _ = server.host.world.program("find", [".", "-name", "PWNED*"]).run().success().stdout("");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(running.wait().success());
}

#[test]
fn an_apt_that_hangs_is_ended() {
    let server = server();
    // A repository that takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("deb [trusted=yes] http://{} bookworm main\n", silent.local_addr().unwrap());
    std::fs::write(server.list("bookworm.list"), uri).unwrap();
    server.configure("");
    let config = server.host.world.read("failcake.yaml");
    server.host.world.write("failcake.yaml", config.replace("  splay:", "  timeout: 1s\n  splay:"));
    let said = server.update(&[]).run().code(1);
    said.stderr_has("bookworm.list: apt-get update was ended after 1 s").stdout_has("sid.sources");
}
