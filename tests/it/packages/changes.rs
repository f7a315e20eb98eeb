//! .changes files: an upload comes as a whole or not at all.

use super::*;

/// Writes `source_1.0_amd64.changes` for those files of the folder.
fn changes(host: &Host, folder: &str, files: &[&str]) -> PathBuf {
    let content = |file: &&str| std::fs::read(host.path(folder).join(file)).unwrap();
    let sums = |name: &str, program: &str, more: &str| {
        let line = |file: &&str| {
            let said = host.world.program(program, [host.path(folder).join(file)]).run().success().text();
            format!(" {} {} {more}{file}\n", said.split(' ').next().unwrap(), content(file).len())
        };
        format!("{name}:\n{}", files.iter().map(line).collect::<String>())
    };
    let names: Vec<&str> = files.iter().filter_map(|file| file.split_once('_')).map(|(name, _)| name).collect();
    let text = format!(
        "Format: 1.8\nDate: Thu, 29 Feb 2024 12:00:00 +0000\nSource: source\nBinary: {}\nArchitecture: all\nVersion: 1.0\n\
         Distribution: {}\nUrgency: medium\nMaintainer: Ada <ada@example.org>\nChanged-By: Ada <ada@example.org>\n\
         Description:\n myapp - a package\nChanges:\n source (1.0) sid; urgency=medium\n .\n   * Everything.\n{}{}{}",
        names.join(" "),
        folder.rsplit('/').next().unwrap(),
        sums("Checksums-Sha1", "sha1sum", ""),
        sums("Checksums-Sha256", "sha256sum", ""),
        sums("Files", "md5sum", "misc optional "),
    );
    host.world.write(&format!("{folder}/source_1.0_amd64.changes"), text)
}

fn package(host: &Host, name: &str, to: &str) -> String {
    let file = build(&host.world, to, name, "1.0", "all", "Source: source\n");
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Two packages and their .changes file.
fn upload(host: &Host) -> PathBuf {
    let files = ["myapp", "libmyapp"].map(|name| package(host, name, "incoming/sid"));
    changes(host, "incoming/sid", &files.each_ref().map(String::as_str))
}

#[test]
fn an_upload_is_taken_as_a_whole_and_each_package_is_told() {
    let host = host();
    let listener = host.listen();
    upload(&host);
    host.take().stderr("").stdout("taken: myapp_1.0_all.deb into sid\ntaken: libmyapp_1.0_all.deb into sid\n");
    let frames = listener.take(4);
    let told: Vec<_> =
        on(&frames, PACKAGES).iter().map(|frame| json(frame)["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["myapp", "libmyapp"]);
    assert_eq!(host.has("sid"), ["libmyapp 1.0", "myapp 1.0"]);
    let archive = ["archive/libmyapp_1.0_all.deb", "archive/myapp_1.0_all.deb", "archive/source_1.0_amd64.changes"];
    assert_eq!(host.files("incoming/sid"), archive);
    host.is_tidy();
}

#[test]
fn it_waits_for_all_that_it_names_and_its_packages_wait_with_it() {
    let host = host();
    let file = upload(&host);
    let whole = std::fs::read_to_string(&file).unwrap();
    let package = host.path("incoming/sid/libmyapp_1.0_all.deb");
    let away = host.path("away.deb");
    std::fs::rename(&package, &away).unwrap();
    let why = || host.notify(&["--incoming", "--json"]).run().success().json()["why"].as_str().unwrap().to_owned();
    assert_eq!(why(), "libmyapp_1.0_all.deb is not there");
    let mut content = std::fs::read(&away).unwrap();
    content.push(b'\n');
    std::fs::write(&package, &content).unwrap();
    assert!(why().contains("octets, and should have"));
    content.truncate(content.len() - 2);
    content.push(b'!');
    std::fs::write(&package, &content).unwrap();
    assert_eq!(why(), "libmyapp_1.0_all.deb is not what its .changes says (SHA-256)");
    std::fs::rename(&away, &package).unwrap();
    // The .changes file itself comes last, and bit by bit.
    for cut in
        [0, 20, whole.find("Checksums-Sha256").unwrap() + 30, whole.len() - 1, whole.rfind(" libmyapp").unwrap() - 60]
    {
        std::fs::write(&file, &whole[..cut]).unwrap();
        if cut > whole.find("Checksums-Sha1").unwrap() {
            host.take().stdout("").stderr("");
        }
    }
    std::fs::write(&file, &whole).unwrap();
    host.take().stdout("taken: myapp_1.0_all.deb into sid\ntaken: libmyapp_1.0_all.deb into sid\n");
}

#[test]
fn one_that_never_becomes_whole_is_set_aside_with_its_packages() {
    let host = host();
    host.configure("  patience: 50ms\n");
    let listener = host.listen();
    upload(&host);
    std::fs::remove_file(host.path("incoming/sid/libmyapp_1.0_all.deb")).unwrap();
    host.notify(&["--incoming"]).run().code(1).stderr_has("libmyapp_1.0_all.deb is not there");
    let refused =
        ["refused/myapp_1.0_all.deb", "refused/source_1.0_amd64.changes", "refused/source_1.0_amd64.changes.reason"];
    assert_eq!(host.files("incoming/sid"), refused);
    let told = body(&listener.take(1)[0]);
    assert!(told.starts_with("Package source_1.0_amd64.changes / sid refused: not whole for "), "{told}");
    assert_eq!(host.has("sid"), [""; 0]);
}

#[test]
fn a_changes_file_that_comes_after_its_packages_finds_them_in_the_archive() {
    let host = host();
    let file = upload(&host);
    let text = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    host.take().stderr("");
    assert_eq!(host.has("sid"), ["libmyapp 1.0", "myapp 1.0"]);
    std::fs::write(&file, text).unwrap();
    host.take().stderr("").stdout_has("taken: myapp_1.0_all.deb into sid");
    let archive = ["archive/libmyapp_1.0_all.deb", "archive/myapp_1.0_all.deb", "archive/source_1.0_amd64.changes"];
    assert_eq!(host.files("incoming/sid"), archive);
    host.is_tidy();
}

#[test]
fn what_reprepro_refuses_of_an_upload_is_refused_as_a_whole() {
    let host = host();
    let listener = host.listen();
    let file = upload(&host);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("Distribution: sid", "Distribution: bookworm")).unwrap();
    let said = host.notify(&["--incoming"]).run().code(1).stdout("");
    said.stderr_has(
        "refused: source_1.0_amd64.changes for sid: reprepro include: .changes put in a distribution not listed",
    );
    assert_eq!(host.files("incoming/sid").len(), 4);
    assert_eq!(listener.take(1)[0].header("destination"), Some(EVENTS));
    assert!(listener.within(Duration::from_millis(300)).is_empty());
    assert_eq!(host.has("sid"), [""; 0]);
    host.is_tidy();
}

#[test]
fn a_changes_file_that_names_strange_files_touches_none_of_them() {
    let host = host();
    let secret = host.world.write("secret", "nobody's business\n");
    let file = upload(&host);
    let text = std::fs::read_to_string(&file).unwrap();
    for name in ["../../secret", secret.to_str().unwrap(), "-x.deb", "a;b.deb", ".hidden"] {
        upload(&host);
        std::fs::write(&file, text.replace("libmyapp_1.0_all.deb", name)).unwrap();
        host.notify(&["--incoming"]).run().code(1).stderr_has("is no package file");
    }
    assert_eq!(host.world.read("secret"), "nobody's business\n");
    assert_eq!(host.has("sid"), ["libmyapp 1.0"], "the package that no .changes file names is one by itself");
}

#[test]
fn a_signed_changes_file_is_read_within_its_signature() {
    let host = host();
    let gnupg = reprepro::key(&host);
    let file = upload(&host);
    let sign =
        ["--batch", "--homedir", gnupg.to_str().unwrap(), "--clearsign", "--output", "signed", file.to_str().unwrap()];
    let _ = host.world.program("gpg", sign).run().success();
    let signed = host.world.read("signed");
    // A signature that is not there in full is an upload that is not.
    std::fs::write(&file, &signed[..signed.len() - 40]).unwrap();
    host.take().stdout("");
    std::fs::write(&file, &signed).unwrap();
    host.take().stdout_has("taken: myapp_1.0_all.deb into sid");
}

#[test]
fn sources_are_taken_too() {
    let host = host();
    let listener = host.listen();
    host.world.write("incoming/sid/source_1.0.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0");
    let tar = host.path("incoming/sid/source_1.0.tar.gz");
    let size = std::fs::metadata(&tar).unwrap().len();
    let md5 = host.world.program("md5sum", [&tar]).run().success().text();
    let dsc = format!(
        "Format: 1.0\nSource: source\nBinary: myapp\nArchitecture: all\nVersion: 1.0\nMaintainer: Ada <ada@example.org>\n\
         Standards-Version: 4.6.0\nChecksums-Sha256:\n {} {size} source_1.0.tar.gz\nFiles:\n {} {size} source_1.0.tar.gz\n",
        sha256(&tar),
        md5.split(' ').next().unwrap(),
    );
    host.world.write("incoming/sid/source_1.0.dsc", dsc);
    let file = changes(&host, "incoming/sid", &["source_1.0.dsc", "source_1.0.tar.gz"]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("Architecture: all", "Architecture: source").replace("Binary: source source", "Binary: myapp"),
    )
    .unwrap();
    host.take().stderr("").stdout("taken: source_1.0_amd64.changes into sid\n");
    assert_eq!(body(&listener.take(1)[0]), "Package source_1.0_amd64.changes / sid added to repository.");
    assert_eq!(host.has("sid"), ["source 1.0"]);
    assert_eq!(host.files("incoming/sid").len(), 3);
}
