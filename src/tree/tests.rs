use super::*;
use std::process::Command;
use std::time::Duration;

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(args).current_dir(dir);
    let output = command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(dir: &Path, files: &[(&str, &str)]) -> Rev {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "--allow-empty", "-m", "x"]);
    git(dir, &["rev-parse", "HEAD"]).parse().unwrap()
}

fn local(path: &Path) -> Local<'_> {
    Local { path, user: None, timeout: Duration::from_secs(60), stop: None }
}

#[test]
fn a_tree_is_weighed_by_its_index_whatever_the_hash() {
    for format in ["sha1", "sha256"] {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", &format!("--object-format={format}")]);
        let nothing = commit(&repo, &[]);
        let long = "n".repeat(200);
        let some = commit(&repo, &[("a", "12345"), ("ab", ""), ("abcdefgh", "1"), (&long, "1234")]);
        for (name, rev, files, bytes) in [("t0", nothing, 0, 0), ("t1", some, 4, 10)] {
            let (tree, index) = (dir.path().join(name), dir.path().join(format!("{name}.index")));
            fs::create_dir(&tree).unwrap();
            assert_eq!(
                write(&local(&repo), &rev, &tree, &index).unwrap(),
                Listing { files, bytes, ..Listing::default() },
                "{format}"
            );
            assert_eq!(fs::read_to_string(tree.join("REVISION")).unwrap(), format!("{rev}\n"));
            assert_eq!(fs::read_dir(&tree).unwrap().count() as u64, files + 1);
        }
    }
}

#[test]
fn what_is_no_index_is_an_error_and_not_a_panic() {
    for bytes in [&b""[..], b"DIRC", b"DIRC\0\0\0\x02\xff\xff\xff\xff", &[b'x'; 300], b"DIRC\0\0\0\x04\0\0\0\0"] {
        assert_eq!(add_up(bytes), None, "{bytes:?}");
    }
}

#[test]
fn settings_of_the_clone_do_not_make_another_tree_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q"]);
    let rev = commit(&repo, &[("kept", "1"), ("sparse", "2")]);
    for setting in
        [["core.sparseCheckout", "true"], ["core.splitIndex", "true"], ["index.version", "4"], ["core.bare", "true"]]
    {
        git(&repo, &["config", setting[0], setting[1]]);
    }
    fs::create_dir_all(repo.join(".git/info")).unwrap();
    fs::write(repo.join(".git/info/sparse-checkout"), "/kept\n").unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let weight = write(&local(&repo), &rev, &tree, &dir.path().join("index")).unwrap();
    assert_eq!(weight, Listing { files: 2, bytes: 2, ..Listing::default() });
    assert!(tree.join("sparse").exists());
}
