mod damage;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use tempfile::TempDir;

use super::*;
use crate::git::local::Kind;

/// A remote, a work tree to push from, and where the clone shall be.
struct Sandbox {
    folder: TempDir,
    clone: PathBuf,
    url: String,
}

impl Sandbox {
    fn new() -> Sandbox {
        Sandbox::with("sha1")
    }

    fn with(format: &str) -> Sandbox {
        let folder = TempDir::new().unwrap();
        let clone = folder.path().join("clones/spog");
        let url = format!("file://{}", folder.path().join("remote").display());
        let sandbox = Sandbox { folder, clone, url };
        let format = format!("--object-format={format}");
        sandbox.git(".", &["init", "-q", "--bare", &format, "remote"]);
        sandbox.git(".", &["init", "-q", &format, "work"]);
        sandbox.git("work", &["remote", "add", "origin", "../remote"]);
        sandbox.commit("first");
        sandbox.git("work", &["push", "-q", "origin", "HEAD:refs/heads/master"]);
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs git for the test itself; gives what it prints.
    fn git(&self, dir: &str, args: &[&str]) -> String {
        let mut command = create_command(None);
        command.current_dir(self.path(dir));
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=master"]);
        command.args(["-c", "safe.directory=*", "-c", "gc.auto=0"]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn commit(&self, text: &str) -> String {
        self.git("work", &["commit", "-q", "--allow-empty", "-m", text]);
        self.git("work", &["rev-parse", "HEAD"])
    }

    fn push(&self, args: &[&str]) {
        self.git("work", &[&["push", "-q", "-f", "origin"], args].concat());
    }

    fn repo(&self) -> Repo<'_> {
        Repo {
            path: &self.clone,
            url: Some(&self.url),
            user: None,
            timeout: Duration::from_secs(60),
            stop: None,
            work_tree: false,
        }
    }

    fn update(&self, look: Look) -> Vec<String> {
        self.repo().update(look).unwrap().changes.iter().map(told).collect()
    }

    fn refs(&self) -> String {
        self.git("clones/spog", &["for-each-ref", "--format=%(refname)"]).replace('\n', " ")
    }

    /// Its folders' names, hidden ones included.
    fn beside_the_clone(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("clones")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// `+name`, `-name` or `name`, without `refs/`.
fn told(change: &Change) -> String {
    let sign = match (&change.old, &change.new) {
        (None, _) => "+",
        (_, None) => "-",
        _ => "",
    };
    format!("{sign}{}", change.name.to_string().trim_start_matches("refs/"))
}

#[test]
fn a_missing_repository_is_cloned_bare_and_left_alone_when_nothing_changed() {
    let sandbox = Sandbox::new();
    sandbox.push(&["HEAD:refs/tags/v1", "HEAD:refs/notes/x"]);
    let updated = sandbox.repo().update(Look::Quick).unwrap();
    assert!(updated.cloned);
    assert_eq!(updated.changes.iter().map(told).collect::<Vec<_>>(), ["+heads/master", "+tags/v1"]);
    assert_eq!(sandbox.beside_the_clone(), ["spog"]);
    assert_eq!(sandbox.git("clones/spog", &["symbolic-ref", "HEAD"]), "refs/heads/master");
    let updated = sandbox.repo().update(Look::Thorough).unwrap();
    assert_eq!(updated, Updated { cloned: false, changes: vec![], replaced: None });
    assert_eq!(fs::read_to_string(sandbox.path("clones/spog/failcake.lock")).unwrap(), "", "a clean end");
}

#[test]
fn sha256_and_empty_remotes_are_cloned_too() {
    let sandbox = Sandbox::with("sha256");
    assert_eq!(sandbox.update(Look::Thorough), ["+heads/master"]);
    let commit = sandbox.commit("second");
    sandbox.push(&["HEAD:master"]);
    let updated = sandbox.repo().update(Look::Quick).unwrap();
    assert_eq!(updated.changes[0].new.as_ref().unwrap().as_str(), commit);

    sandbox.git(".", &["init", "-q", "--bare", "empty"]);
    let (path, url) = (sandbox.path("clones/empty"), sandbox.path("empty"));
    let repo = Repo { path: &path, url: url.to_str(), ..sandbox.repo() };
    assert!(repo.update(Look::Thorough).unwrap().cloned);
    assert!(repo.update(Look::Thorough).unwrap().changes.is_empty());
}

#[test]
fn forced_moved_deleted_and_nested_references_are_followed() {
    let sandbox = Sandbox::new();
    sandbox.push(&["HEAD:foo", "HEAD:keep", "HEAD:refs/tags/v1", "HEAD:refs/tags/old"]);
    sandbox.update(Look::Thorough);
    // A rewrite, a moved tag, deletions, and a branch below a deleted one, all at once.
    sandbox.git("work", &["commit", "-q", "--amend", "--allow-empty", "-m", "rewritten"]);
    sandbox.push(&["HEAD:master", "HEAD:refs/tags/v1", ":foo", ":refs/tags/old"]);
    sandbox.push(&["HEAD:foo/bar"]);
    let expected = ["-heads/foo", "+heads/foo/bar", "heads/master", "-tags/old", "tags/v1"];
    assert_eq!(sandbox.update(Look::Thorough), expected);
    assert_eq!(sandbox.refs(), "refs/heads/foo/bar refs/heads/keep refs/heads/master refs/tags/v1");
    // And back again, found by a quick look, which does not list the remote first.
    sandbox.push(&[":foo/bar"]);
    sandbox.push(&["HEAD:foo"]);
    assert_eq!(sandbox.update(Look::Quick), ["+heads/foo", "-heads/foo/bar"]);
}

#[test]
fn a_quick_look_removes_nothing_and_the_next_thorough_one_does() {
    let sandbox = Sandbox::new();
    sandbox.push(&["HEAD:gone"]);
    sandbox.update(Look::Thorough);
    sandbox.push(&[":gone"]);
    assert!(sandbox.update(Look::Quick).is_empty());
    assert_eq!(sandbox.update(Look::Thorough), ["-heads/gone"]);
}

#[test]
fn a_remote_that_suddenly_lists_no_branch_removes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.push(&["HEAD:refs/tags/v1"]);
    sandbox.update(Look::Thorough);
    fs::remove_dir_all(sandbox.path("remote")).unwrap();
    sandbox.git(".", &["init", "-q", "--bare", "remote"]);
    assert!(matches!(sandbox.repo().update(Look::Thorough), Err(Error::NoBranches(1))));
    assert!(sandbox.update(Look::Quick).is_empty());
    assert_eq!(sandbox.refs(), "refs/heads/master refs/tags/v1");
}

#[test]
fn a_clone_of_somebody_else_keeps_its_own_branches_tags_and_hooks() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("clones")).unwrap();
    sandbox.git(".", &["clone", "-q", "remote", "clones/spog"]);
    sandbox.git("clones/spog", &["branch", "mine"]);
    sandbox.git("clones/spog", &["tag", "mine"]);
    let hook = sandbox.path("clones/spog/.git/hooks/reference-transaction");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.commit("second");
    sandbox.push(&["HEAD:master", "HEAD:new", "HEAD:refs/tags/v1"]);
    assert_eq!(sandbox.update(Look::Thorough), ["heads/master", "+heads/new", "+tags/v1"]);
    sandbox.push(&[":new", ":refs/tags/v1"]);
    assert_eq!(sandbox.update(Look::Thorough), ["-heads/new"]);
    let refs = sandbox.refs();
    assert_eq!(
        refs,
        "refs/heads/master refs/heads/mine refs/remotes/origin/HEAD refs/remotes/origin/master refs/tags/mine refs/tags/v1"
    );
    assert_ne!(
        sandbox.git("clones/spog", &["rev-parse", "master"]),
        sandbox.git("clones/spog", &["rev-parse", "origin/master"]),
        "the branch of its owner stays"
    );
    assert!(!hook.with_file_name("ran").exists());
}

#[test]
fn names_that_are_attacks_are_only_names() {
    let sandbox = Sandbox::new();
    let attacks = ["x;$(touch${IFS}PWNED)", "`touch${IFS}PWNED`", "--upload-pack=touch${IFS}PWNED", "a'b\"c&d|e"];
    for name in attacks {
        sandbox.push(&[&format!("HEAD:refs/heads/{name}")]);
    }
    assert_eq!(sandbox.update(Look::Thorough).len(), 1 + attacks.len());
    sandbox.commit("second");
    for name in attacks {
        sandbox.push(&[&format!("HEAD:refs/heads/{name}")]);
    }
    assert_eq!(sandbox.update(Look::Quick).len(), attacks.len());
    for name in attacks {
        sandbox.push(&[&format!(":refs/heads/{name}")]);
    }
    assert_eq!(sandbox.update(Look::Thorough).len(), attacks.len());
    assert!(!Path::new("/PWNED").exists() && !sandbox.path("clones/spog/PWNED").exists());

    let hostile = [format!("ext::sh -c touch% {}", sandbox.path("PWNED").display()), "--upload-pack=x".to_owned()];
    for url in hostile {
        let path = sandbox.path("clones/hostile");
        let repo = Repo { path: &path, url: Some(&url), ..sandbox.repo() };
        assert!(repo.update(Look::Thorough).is_err());
        assert!(!sandbox.path("PWNED").exists() && !path.exists());
    }
}

#[test]
fn what_killed_runs_left_is_cleared() {
    let sandbox = Sandbox::new();
    // A killed clone: half a folder, locked by nobody.
    let leftover = sandbox.path("clones/.spog.failcake-0123");
    fs::create_dir_all(leftover.join("objects/pack")).unwrap();
    fs::create_dir_all(sandbox.path("clones/.spog.failcake")).unwrap();
    sandbox.update(Look::Thorough);
    assert!(!leftover.exists());
    assert!(sandbox.path("clones/.spog.failcake").exists(), "that is not our name");

    // A killed fetch: its name in the lock file, its git's locks younger than that.
    fs::write(sandbox.path("clones/spog/failcake.lock"), "pid 1\n").unwrap();
    fs::create_dir_all(sandbox.path("clones/spog/refs/heads/new")).unwrap();
    for lock in
        ["packed-refs.lock", "refs/heads/master.lock", "refs/heads/new/x.lock", "objects/info/commit-graph.lock"]
    {
        fs::write(sandbox.path("clones/spog").join(lock), "").unwrap();
    }
    sandbox.commit("second");
    sandbox.push(&["HEAD:master", "HEAD:new/x"]);
    assert_eq!(sandbox.update(Look::Quick), ["heads/master", "+heads/new/x"]);
    assert!(!sandbox.path("clones/spog/packed-refs.lock").exists());
    assert!(!sandbox.path("clones/spog/objects/info/commit-graph.lock").exists());
}

#[test]
fn locks_of_somebody_who_works_there_stay_and_are_told() {
    let sandbox = Sandbox::new();
    sandbox.update(Look::Thorough);
    let lock = sandbox.path("clones/spog/refs/heads/master.lock");
    fs::write(&lock, "").unwrap();
    sandbox.commit("second");
    sandbox.push(&["HEAD:master"]);
    let error = sandbox.repo().update(Look::Thorough).unwrap_err().to_string();
    assert!(error.contains("master.lock") && error.contains("if no git runs there, remove that file"), "{error}");
    assert!(lock.exists());
    // From before this machine was started: nobody can hold it any more.
    fs::File::open(&lock).unwrap().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    assert_eq!(sandbox.update(Look::Thorough), ["heads/master"]);
    assert!(!lock.exists());
}

#[test]
fn one_failcake_at_a_time_and_the_other_says_who() {
    let sandbox = Sandbox::new();
    sandbox.update(Look::Thorough);
    let held = Lock::take(&sandbox.clone, None, Duration::ZERO, None).unwrap();
    let repo = Repo { timeout: Duration::from_millis(100), ..sandbox.repo() };
    let error = repo.update(Look::Thorough).unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    let stop = Stop::new().unwrap();
    stop.set();
    let stopped = Repo { stop: Some(&stop), ..sandbox.repo() }.update(Look::Thorough);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    held.release();
    assert!(sandbox.update(Look::Thorough).is_empty());
}

#[test]
fn two_that_clone_at_once_both_find_a_clone() {
    let sandbox = Sandbox::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| sandbox.repo().update(Look::Thorough).unwrap());
        }
    });
    assert_eq!(sandbox.beside_the_clone(), ["spog"]);
    assert!(sandbox.update(Look::Thorough).is_empty());
}

#[test]
fn what_is_no_repository_is_not_touched() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(&sandbox.clone).unwrap();
    fs::write(sandbox.clone.join("precious"), "").unwrap();
    assert!(matches!(sandbox.repo().update(Look::Thorough), Err(Error::NotRepository(_))));
    fs::remove_file(sandbox.clone.join("precious")).unwrap();
    assert_eq!(sandbox.update(Look::Thorough), ["+heads/master"], "an empty folder is filled");

    let path = sandbox.path("nothing");
    let repo = Repo { path: &path, url: None, ..sandbox.repo() };
    assert!(matches!(repo.update(Look::Thorough), Err(Error::NoUrl(_))));

    let url = format!("{}-that-is-not-there", sandbox.url);
    let repo = Repo { path: &path, url: Some(&url), ..sandbox.repo() };
    let error = repo.update(Look::Thorough).unwrap_err().to_string();
    assert!(
        error.starts_with("git clone: fatal: '") && error.contains("does not appear to be a git repository"),
        "{error}"
    );
    let left: Vec<_> = fs::read_dir(sandbox.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("failcake")), "{left:?}");
}

#[test]
fn a_default_branch_that_goes_is_followed_to_the_new_one() {
    let sandbox = Sandbox::new();
    sandbox.update(Look::Thorough);
    sandbox.git("remote", &["symbolic-ref", "HEAD", "refs/heads/main"]);
    sandbox.push(&["HEAD:main", ":master"]);
    assert_eq!(sandbox.update(Look::Thorough), ["+heads/main", "-heads/master"]);
    assert_eq!(sandbox.git("clones/spog", &["symbolic-ref", "HEAD"]), "refs/heads/main");
}

#[test]
fn an_own_clone_follows_its_url() {
    let mut sandbox = Sandbox::new();
    sandbox.update(Look::Thorough);
    fs::rename(sandbox.path("remote"), sandbox.path("moved")).unwrap();
    assert!(sandbox.repo().update(Look::Thorough).is_err());
    sandbox.url = sandbox.path("moved").to_str().unwrap().to_owned();
    assert!(sandbox.update(Look::Thorough).is_empty());
}

#[test]
fn repacking_happens_when_git_thinks_that_it_should() {
    let sandbox = Sandbox::new();
    sandbox.update(Look::Thorough);
    for n in 0..3 {
        sandbox.commit(&n.to_string());
        sandbox.push(&["HEAD:master"]);
        sandbox.update(Look::Quick);
    }
    let loose = || sandbox.git("clones/spog", &["count-objects"]);
    let before = loose();
    sandbox.repo().tidy().unwrap();
    assert_eq!(loose(), before, "few objects are left as they are");
    sandbox.git("clones/spog", &["config", "gc.auto", "1"]);
    // git estimates the number of loose objects from one of 256 folders.
    fs::create_dir_all(sandbox.path("clones/spog/objects/17")).unwrap();
    for n in 0..10 {
        fs::write(sandbox.path("clones/spog/objects/17").join(format!("{n:038x}")), "").unwrap();
    }
    let _ = sandbox.repo().tidy();
    assert_ne!(loose(), before);
}

#[test]
fn root_works_as_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can become another user");
        return;
    }
    let sandbox = Sandbox::new();
    let user = User::find(Some("nobody")).unwrap().unwrap();
    fs::set_permissions(sandbox.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // What git looks at on the remote's side, where no setting of ours reaches.
    let hand_over = |uid| nix::unistd::chown(&sandbox.path("remote"), Some(uid), None).unwrap();
    hand_over(user.uid);
    let repo = Repo { user: Some(&user), ..sandbox.repo() };
    assert!(repo.update(Look::Thorough).unwrap().cloned);
    assert!(repo.update(Look::Thorough).unwrap().changes.is_empty());
    hand_over(0.into());
    sandbox.commit("second");
    sandbox.push(&["HEAD:master", "HEAD:new"]);
    hand_over(user.uid);
    assert_eq!(repo.update(Look::Quick).unwrap().changes.len(), 2);
    use std::os::unix::fs::MetadataExt as _;
    for path in ["clones/spog", "clones/spog/failcake.lock", "clones/spog/HEAD", "clones/spog/refs/heads/new"] {
        assert_eq!(fs::metadata(sandbox.path(path)).unwrap().uid(), user.uid.as_raw(), "{path}");
    }
    // And when somebody forgets to say whose it is, git's refusal comes with the remedy.
    let error = sandbox.repo().update(Look::Thorough).unwrap_err().to_string();
    assert!(error.contains("set `user:` of the repository to the owner of the clone"), "{error}");

    // A trap that the owner laid for root is not stepped into.
    fs::remove_file(sandbox.path("clones/spog/failcake.lock")).unwrap();
    fs::write(sandbox.path("precious"), "precious").unwrap();
    std::os::unix::fs::symlink(sandbox.path("precious"), sandbox.path("clones/spog/failcake.lock")).unwrap();
    assert!(repo.update(Look::Thorough).is_err());
    assert_eq!(fs::read_to_string(sandbox.path("precious")).unwrap(), "precious");
}

#[test]
fn a_name_is_looked_up_at_the_remote_without_a_clone() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("one");
    // An annotated tag, a plain one, a branch with a tag's name, and one whose name ends like a tag's.
    sandbox.git("work", &["tag", "-a", "v1", "-m", "x"]);
    let second = sandbox.commit("two");
    sandbox.git("work", &["tag", "v2"]);
    sandbox.git("work", &["tag", "-a", "v3", "-m", "a tag of a tag", "v1"]);
    sandbox.push(&["HEAD:refs/heads/v1", "HEAD:refs/heads/refs/tags/v9", "HEAD:refs/heads/main", "--tags"]);
    let look_up = |name: &str| sandbox.repo().look_up(name).unwrap().map(|(kind, rev)| (kind, rev.to_string()));
    assert_eq!(look_up("v1"), Some((Kind::Tag, first.clone())));
    assert_eq!(look_up("v2"), Some((Kind::Tag, second.clone())));
    assert_eq!(look_up("v3"), Some((Kind::Tag, first)));
    assert_eq!(look_up("main"), Some((Kind::Branch, second.clone())));
    assert_eq!(look_up("refs/tags/v9"), Some((Kind::Branch, second)));
    assert_eq!(look_up("v9"), None);
    let some = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(look_up(some), Some((Kind::Commit, some.to_owned())));
    for name in ["", "v1~1", "v*", "-n", "--upload-pack=x", "main\nv1", "aaaaaaa", &"0".repeat(40)] {
        assert_eq!(look_up(name), None, "{name:?}");
    }
    assert!(!sandbox.clone.exists());
    // Without a URL the clone says it, once there is one.
    let here = || Repo { url: None, ..sandbox.repo() }.look_up("v1").map(|found| found.map(|(kind, _)| kind));
    assert!(matches!(here(), Err(Error::NoUrl(_))));
    sandbox.update(Look::Quick);
    assert_eq!(here().unwrap(), Some(Kind::Tag));
    assert!(Repo { url: Some("/nowhere/at/all"), ..sandbox.repo() }.look_up("v1").is_err());
}
