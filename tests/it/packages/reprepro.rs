//! What reprepro says, and the signed repository.

use super::*;

/// A key to sign with; its home.
pub(super) fn key(host: &Host) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let home = host.path("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let words =
        ["--batch", "--homedir", home.to_str().unwrap(), "--passphrase", "", "--quick-gen-key", "repo@example.org"];
    let _ = host.world.program("gpg", [&words[..], &["ed25519", "sign", "never"]].concat()).run().success();
    home
}

#[test]
fn what_reprepro_refuses_is_set_aside_with_its_words_and_never_announced() {
    let host = host();
    let listener = host.listen();
    host.package("incoming/sid", "myapp", "2.0");
    host.take().stderr("");
    listener.take(2);
    // Of another architecture, older than what is there, and another file under a version that is there.
    build(&host.world, "incoming/sid", "wrong", "1.0", "i386", "");
    host.package("incoming/sid", "myapp", "1.0");
    let other = build(&host.world, "incoming/sid", "myapp", "2.0", "all", "Homepage: https://example.org\n");
    let good = host.package("incoming/sid", "libmyapp", "1.0");
    assert!(other.exists() && good.exists());
    let said = host.notify(&["--incoming"]).run().code(1).stdout("taken: libmyapp_1.0_all.deb into sid\n");
    said.stderr_has("'i386' is not one of the valid architectures").stderr_has("as it has already '2.0'");
    let reason = |name: &str| host.world.read(format!("incoming/sid/refused/{name}.reason"));
    assert!(reason("wrong_1.0_i386.deb").contains("'i386' is not one of the valid architectures: 'amd64 source'"));
    // reprepro ends with 0 and says "Skipping": still nobody can have it.
    assert!(reason("myapp_1.0_all.deb").starts_with("Skipping inclusion of 'myapp' '1.0'"));
    assert!(
        reason("myapp_2.0_all.deb").contains("Already existing files can only be included again, if they are the same")
    );
    let frames = listener.take(5);
    let told: Vec<_> = on(&frames, PACKAGES).iter().map(|frame| frame.header("subject").unwrap().to_owned()).collect();
    assert_eq!(told, ["Package update: [libmyapp_1.0_all.deb]"]);
    let refused = on(&frames, EVENTS).iter().filter(|frame| body(frame).contains(" / sid refused: ")).count();
    assert_eq!(refused, 3);
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.has("sid"), ["libmyapp 1.0", "myapp 2.0"]);
    host.is_tidy();
}

#[test]
fn a_signed_repository_is_signed_anew() {
    let host = host();
    let home = key(&host);
    host.distributions("SignWith: repo@example.org\n");
    let take = || host.notify(&["--incoming"]).env("GNUPGHOME", &home).run();
    let verifies = || {
        let release = host.path("repository/dists/sid/InRelease");
        let words = ["--batch", "--homedir", home.to_str().unwrap(), "--verify", release.to_str().unwrap()];
        let _ = host.world.program("gpg", words).run().success();
        host.world.read("repository/dists/sid/main/binary-amd64/Packages")
    };
    for version in ["1.0", "1.1"] {
        host.package("incoming/sid", "myapp", version);
        let _ = take().success().stderr("");
        assert!(verifies().contains(&format!("\nVersion: {version}\n")));
    }
}

#[test]
fn with_a_repository_that_cant_be_signed_nothing_is_announced_nothing_refused_and_nothing_lost() {
    let host = host();
    let home = key(&host);
    let listener = host.listen();
    host.distributions("SignWith: nobody@example.org\n");
    host.package("incoming/sid", "myapp", "1.0");
    host.package("incoming/sid", "libmyapp", "1.0");
    // The second time reprepro says "Skipping" and ends with 0: it has the packages, and its indices have not.
    for _ in 0..2 {
        let said = host.notify(&["--incoming"]).env("GNUPGHOME", &home).run().code(1).stdout("");
        said.stderr_has("Could not find any key matching 'nobody@example.org'").stderr_has("the next run tries again");
    }
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.files("incoming"), [""; 0]);
    let found = host.world.failcake(["check"]).run().success();
    found.stdout_has("warn  packages").stdout_has("2 uploads are taken and not in the repository yet");
    host.distributions("SignWith: repo@example.org\n");
    let said = host.notify(&["--incoming"]).env("GNUPGHOME", &home).run().success().stderr("");
    said.stdout("taken: myapp_1.0_all.deb into sid\ntaken: libmyapp_1.0_all.deb into sid\n");
    assert_eq!(on(&listener.take(4), PACKAGES).len(), 2);
    let index = host.world.read("repository/dists/sid/main/binary-amd64/Packages");
    assert!(index.contains("Package: myapp\n") && index.contains("Package: libmyapp\n"), "{index}");
    host.is_tidy();
}

#[test]
fn a_repository_that_nothing_ever_came_into_is_one() {
    let host = host();
    for made in ["db", "dists"] {
        std::fs::remove_dir_all(host.path("repository").join(made)).unwrap();
    }
    std::fs::create_dir(host.path("incoming/bullseye")).unwrap();
    host.package("incoming/bullseye", "myapp", "1.0");
    host.notify(&["--incoming"]).run().code(1).stderr_has("has no distribution bullseye");
    assert_eq!(host.files("incoming/bullseye"), ["myapp_1.0_all.deb"]);
    std::fs::remove_dir_all(host.path("incoming/bullseye")).unwrap();
    host.package("incoming/sid", "myapp", "1.0");
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n").stderr("");
    assert_eq!(host.has("sid"), ["myapp 1.0"]);
}

#[test]
fn trouble_of_one_distribution_holds_up_no_other() {
    let host = host();
    std::fs::create_dir(host.path("incoming/bullseye")).unwrap();
    host.package("incoming/bullseye", "myapp", "1.0");
    host.package("incoming/sid", "myapp", "1.0");
    let said = host.notify(&["--incoming"]).run().code(1).stdout("taken: myapp_1.0_all.deb into sid\n");
    assert_eq!(host.files("incoming/bullseye"), ["myapp_1.0_all.deb"], "it is left where people see it");
    said.stderr_has("the repository \"[SANDBOX]/repository\" has no distribution bullseye");
    let found = host.world.failcake(["check"]).run().success();
    found.stdout_has("warn  incoming bullseye").stdout_has("is for no distribution of the repository");
}

#[test]
fn a_lock_of_somebody_elses_reprepro_is_respected() {
    let host = host();
    host.package("incoming/sid", "myapp", "1.0");
    host.world.write("repository/db/lockfile", "");
    let said = host.notify(&["--incoming"]).run().code(1).stdout("");
    said.stderr_has(
        "another reprepro works on \"[SANDBOX]/repository\"; if none does, one was killed: remove db/lockfile there",
    );
    assert!(host.path("repository/db/lockfile").exists());
    std::fs::remove_file(host.path("repository/db/lockfile")).unwrap();
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n");
}

#[test]
fn it_is_no_other_repository_because_the_environment_says_so() {
    let host = host();
    host.package("incoming/sid", "myapp", "1.0");
    let said = host.notify(&["--incoming"]).env("REPREPRO_BASE_DIR", "/nowhere").run().success();
    said.stdout("taken: myapp_1.0_all.deb into sid\n");
}

#[test]
fn root_becomes_the_user_who_owns_the_repository() {
    if !is_root() {
        eprintln!("not run: needs root to become another user");
        return;
    }
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let host = host();
    host.configure("  user: nobody\n");
    std::fs::set_permissions(host.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(host.path("spool"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    host.package("incoming/sid", "myapp", "1.0");
    let _ = host.world.program("chown", ["-R", "nobody", "repository", "incoming"]).run().success();
    let listener = host.listen();
    host.take().stdout("taken: myapp_1.0_all.deb into sid\n").stderr("");
    listener.take(2);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    let owner = |name: &str| std::fs::metadata(host.path(name)).unwrap().uid();
    assert_eq!(owner("repository/dists/sid/Release"), nobody);
    assert_eq!(owner("incoming/sid/archive/myapp_1.0_all.deb"), nobody);
    assert!(host.path("spool").join(nobody.to_string()).is_dir());
}

#[test]
fn check_tells_what_is_wrong_with_a_repository() {
    let host = host();
    let check = || host.world.failcake(["check"]).run();
    let said = check().success().stdout_has("ok    packages").stdout_has("distributions: bookworm, sid");
    said.stdout_has("ok    incoming").stdout_has("[SANDBOX]/incoming is readable, 2 distributions");
    build(&host.world, "incoming/sid", "wrong", "1.0", "i386", "");
    host.notify(&["--incoming"]).run().code(1).stdout("");
    let said = check().success().stdout_has("warn  incoming sid");
    said.stdout_has("1 files were refused; see why in [SANDBOX]/incoming/sid/refused/*.reason");
    host.configure("  archive: /nowhere\n");
    check().code(1).stdout_has("FAIL  packages").stdout_has("archive: /nowhere can't be written");
    host.configure("");
    std::fs::rename(host.path("incoming"), host.path("away")).unwrap();
    check().code(1).stdout_has("FAIL  incoming").stdout_has("No such file");
    std::fs::remove_file(host.path("repository/conf/distributions")).unwrap();
    check().code(1).stdout_has("[SANDBOX]/repository/conf/distributions: No such file");
    // A machine without reprepro.
    host.distributions("");
    check().code(1).stdout_has("reprepro 5.");
    let said = host.world.failcake(["check"]).env("PATH", "/nowhere").run().code(1);
    said.stdout_has("there is no reprepro here; install it (apt-get install reprepro)");
}
