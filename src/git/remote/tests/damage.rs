//! Clones that are really damaged.

use super::*;

/// A remote with a history, its clone, and something new to fetch that builds on it.
fn cloned() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("work/file"), "text\n".repeat(1000)).unwrap();
    sandbox.git("work", &["add", "file"]);
    sandbox.commit("second");
    sandbox.push(&["HEAD:refs/heads/master", "HEAD:refs/heads/other"]);
    sandbox.update(Look::Thorough);
    sandbox
}

fn news(sandbox: &Sandbox) -> String {
    let commit = sandbox.commit("third");
    sandbox.push(&["HEAD:refs/heads/master"]);
    commit
}

/// All files below a folder of the clone.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn objects(sandbox: &Sandbox) -> Vec<PathBuf> {
    let objects = files(&sandbox.clone.join("objects"));
    assert!(!objects.is_empty());
    objects
}

/// Loose objects become one pack, as after a repack.
fn packed(sandbox: &Sandbox) -> PathBuf {
    sandbox.git("clones/spog", &["repack", "-adq"]);
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|end| end == "pack");
    objects(sandbox).into_iter().find(is_pack).unwrap()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn set_aside(sandbox: &Sandbox) -> Vec<String> {
    let mut names = sandbox.beside_the_clone();
    names.retain(|name| name != "spog");
    names
}

#[test]
fn whatever_is_damaged_is_set_aside_and_cloned_anew() {
    type Damage = fn(&Sandbox);
    let damages: [(&str, Damage); 17] = [
        ("empty objects", |s| objects(s).iter().for_each(|path| overwrite(path, b""))),
        ("garbage in objects", |s| objects(s).iter().for_each(|path| overwrite(path, b"garbage, not zlib"))),
        ("no objects", |s| fs::remove_dir_all(s.clone.join("objects")).unwrap()),
        ("no object", |s| objects(s).iter().for_each(|path| fs::remove_file(path).unwrap())),
        ("a pack without its index and the index without its pack", |s| fs::remove_file(packed(s)).unwrap()),
        ("a truncated pack", |s| {
            let pack = packed(s);
            let bytes = fs::read(&pack).unwrap();
            overwrite(&pack, &bytes[..bytes.len() / 3]);
        }),
        ("a pack of zeros", |s| {
            let pack = packed(s);
            let length = fs::read(&pack).unwrap().len();
            overwrite(&pack, &vec![0; length]);
        }),
        ("an empty index", |s| overwrite(&packed(s).with_extension("idx"), b"")),
        ("an empty HEAD", |s| overwrite(&s.clone.join("HEAD"), b"")),
        ("HEAD of zeros", |s| overwrite(&s.clone.join("HEAD"), &[0; 24])),
        ("a pipe for HEAD", |s| {
            fs::remove_file(s.clone.join("HEAD")).unwrap();
            nix::unistd::mkfifo(&s.clone.join("HEAD"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("no HEAD", |s| fs::remove_file(s.clone.join("HEAD")).unwrap()),
        ("an empty configuration", |s| overwrite(&s.clone.join("config"), b"")),
        ("a mangled configuration", |s| overwrite(&s.clone.join("config"), b"[core\nbare = ")),
        ("mangled packed-refs", |s| {
            s.git("clones/spog", &["pack-refs", "--all"]);
            overwrite(&s.clone.join("packed-refs"), &[0; 200]);
        }),
        ("an empty reference", |s| {
            fs::create_dir_all(s.clone.join("refs/heads")).unwrap();
            fs::write(s.clone.join("refs/heads/master"), "").unwrap();
        }),
        ("a reference to nowhere", |s| {
            fs::create_dir_all(s.clone.join("refs/heads")).unwrap();
            fs::write(s.clone.join("refs/heads/other"), format!("{}\n", "1".repeat(40))).unwrap();
        }),
    ];
    for (what, damage) in damages {
        for look in [Look::Quick, Look::Thorough] {
            let sandbox = cloned();
            damage(&sandbox);
            let commit = news(&sandbox);
            // What a look does not see a later one does, at the latest when it fetches.
            let updated = sandbox.repo().update(look).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(sandbox.git("clones/spog", &["rev-parse", "master"]), commit, "{what}");
            sandbox.git("clones/spog", &["fsck", "--no-progress"]);
            let names = set_aside(&sandbox);
            let Some(replaced) = updated.replaced else { panic!("{what}, {look:?}: nothing was set aside: {names:?}") };
            assert!(updated.cloned && names.len() == 1 && names[0].starts_with("spog.damaged-"), "{what}: {names:?}");
            assert!(replaced.aside.ends_with(&names[0]) && !replaced.why.is_empty(), "{what}: {replaced:?}");
            assert_eq!(sandbox.repo().update(Look::Thorough).unwrap().replaced, None, "{what}");
        }
    }
}

#[test]
fn a_clone_that_lost_everything_but_is_up_to_date_is_found_out() {
    let sandbox = cloned();
    fs::remove_file(packed(&sandbox)).unwrap();
    assert!(sandbox.repo().update(Look::Thorough).unwrap().replaced.is_some());
}

#[test]
fn what_has_passed_its_tests_is_not_forgotten() {
    for pack in [false, true] {
        let sandbox = cloned();
        let commit = sandbox.git("work", &["rev-parse", "HEAD"]).parse().unwrap();
        let name = "refs/heads/master".parse().unwrap();
        assert!(sandbox.repo().pass(&name, &commit).unwrap());
        if pack {
            sandbox.git("clones/spog", &["pack-refs", "--all"]);
        }
        news(&sandbox);
        overwrite(&sandbox.clone.join("HEAD"), b"");
        assert!(sandbox.repo().update(Look::Thorough).unwrap().replaced.is_some());
        assert_eq!(sandbox.repo().passed().unwrap().get(&name), Some(&commit), "{pack}");
    }
}

#[test]
fn a_damaged_clone_stays_while_no_new_one_can_be_had() {
    let sandbox = cloned();
    overwrite(&sandbox.clone.join("HEAD"), b"");
    fs::rename(sandbox.path("remote"), sandbox.path("away")).unwrap();
    for _ in 0..3 {
        let error = sandbox.repo().update(Look::Thorough).unwrap_err().to_string();
        assert!(
            error.contains("HEAD names nothing") && error.contains("it stays until it can be cloned anew"),
            "{error}"
        );
        assert_eq!(sandbox.beside_the_clone(), ["spog"]);
    }
    fs::rename(sandbox.path("away"), sandbox.path("remote")).unwrap();
    assert!(sandbox.repo().update(Look::Quick).unwrap().replaced.is_some());
}

#[test]
fn a_remote_that_is_away_or_damaged_costs_no_clone() {
    let sandbox = cloned();
    news(&sandbox);
    for object in files(&sandbox.path("remote/objects")) {
        overwrite(&object, b"garbage");
    }
    for look in [Look::Quick, Look::Thorough] {
        sandbox.repo().update(look).unwrap_err();
    }
    fs::rename(sandbox.path("remote"), sandbox.path("away")).unwrap();
    sandbox.repo().update(Look::Quick).unwrap_err();
    assert_eq!(sandbox.beside_the_clone(), ["spog"]);
}

#[test]
fn what_somebody_else_made_stays_and_is_told_with_the_remedy() {
    let sandbox = cloned();
    fs::remove_dir_all(&sandbox.clone).unwrap();
    sandbox.git(".", &["clone", "-q", "--no-hardlinks", "remote", "clones/spog"]);
    overwrite(&sandbox.clone.join(".git/HEAD"), b"");
    news(&sandbox);
    let error = sandbox.repo().update(Look::Quick).unwrap_err().to_string();
    assert!(error.contains("somebody else made it") && error.contains("move it away"), "{error}");
    assert_eq!(sandbox.beside_the_clone(), ["spog"]);
    assert!(sandbox.clone.join("file").exists());
}

#[test]
fn a_person_may_take_a_clone_over() {
    let sandbox = cloned();
    sandbox.git("clones/spog", &["config", "failcake.own", "false"]);
    overwrite(&sandbox.clone.join("HEAD"), b"");
    sandbox.repo().update(Look::Thorough).unwrap_err();
    assert_eq!(sandbox.beside_the_clone(), ["spog"]);
}

#[test]
fn only_the_last_that_were_set_aside_are_kept() {
    let sandbox = cloned();
    for _ in 0..4 {
        overwrite(&sandbox.clone.join("HEAD"), b"");
        assert!(sandbox.repo().update(Look::Thorough).unwrap().replaced.is_some());
        // Their names count seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
    let names = set_aside(&sandbox);
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn files_that_may_not_be_read_are_no_damage() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can become another user");
        return;
    }
    let nobody = User::find(Some("nobody")).unwrap().unwrap();
    let sandbox = cloned();
    fs::set_permissions(sandbox.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(&sandbox.clone).unwrap();
    // The user may read the remote and write beside the clone.
    let open = |folder: &Path| nix::unistd::chown(folder, Some(nobody.uid), Some(nobody.gid)).unwrap();
    open(&sandbox.path("clones"));
    let all = |folder: &Path| {
        open(folder);
        files(folder).iter().for_each(|file| open(file));
    };
    all(&sandbox.path("remote"));
    let repo = Repo { user: Some(&nobody), ..sandbox.repo() };
    repo.update(Look::Thorough).unwrap();
    let before = sandbox.beside_the_clone();
    for name in ["HEAD", "packed-refs", "config"] {
        let file = sandbox.clone.join(name);
        nix::unistd::chown(&file, Some(nix::unistd::Uid::from_raw(0)), None).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let _ = repo.update(Look::Thorough);
        assert_eq!(sandbox.beside_the_clone(), before, "{name}");
        open(&file);
    }
}
