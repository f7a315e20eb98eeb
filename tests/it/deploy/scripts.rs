//! What scripts are told, and what they may do wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::sandbox::{Sandbox, is_root};

const SPY: &str = "#!/bin/sh\necho \"$(basename $0) $* live=$(cat $FAILCAKE_CURRENT/index.html 2>/dev/null)\" >> $FAILCAKE_SHARED/../../order\n\
                   env | grep ^FAILCAKE_ | sort > ../../../env-$(basename $0); pwd >> ../../../env-$(basename $0); readlink /proc/$$/fd/0 >> ../../../env-$(basename $0)\n";

#[test]
fn they_run_in_order_and_are_told_everything() {
    let site = Sandbox::new();
    let scripts = [("deploy/pre-deploy", SPY), ("deploy/pre-link.sh", SPY), ("deploy/post-deploy", SPY)];
    let one = site.commit("one", &[("index.html", "one"), scripts[0], scripts[1], scripts[2]]);
    site.deploy("v-one").ok();
    let first = site.current();
    let two = site.commit("two", &[("index.html", "two")]);
    let said = site.run(&["deploy", "www", "v-two", "--json"]).ok();
    let done: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&done["commit"], &done["previous"]), (&two.clone().into(), &first.clone().into()));
    assert_eq!(
        fs::read_to_string(site.root.join("order")).unwrap_or_default(),
        "pre-deploy -t v-one live=\npre-link.sh -t v-one live=\npost-deploy -t v-one live=one\n\
         pre-deploy -t v-two live=one\npre-link.sh -t v-two live=one\npost-deploy -t v-two live=two\n"
    );
    let env = fs::read_to_string(site.root.join("env-post-deploy")).unwrap();
    let path = |path: &str| site.path(path).display().to_string();
    let second = path(&format!("releases/{}", site.current()));
    let mut lines: Vec<&str> = env.lines().collect();
    lines.retain(|line| !line.starts_with("FAILCAKE_REQUEST_ID=") && !line.starts_with("FAILCAKE_HOST="));
    assert_eq!(lines.len() + 2, env.lines().count());
    let wanted = [
        "FAILCAKE_ATTEMPT=1".into(),
        "FAILCAKE_CANARY=0".into(),
        format!("FAILCAKE_COMMIT={two}"),
        format!("FAILCAKE_CURRENT={}", path("current")),
        format!("FAILCAKE_PREVIOUS_COMMIT={one}"),
        format!("FAILCAKE_PREVIOUS_RELEASE={}", path(&format!("releases/{first}"))),
        "FAILCAKE_REF=v-two".into(),
        format!("FAILCAKE_RELEASE={second}"),
        format!("FAILCAKE_REPO={}", site.root.join("repo.git").display()),
        "FAILCAKE_ROLLBACK=0".into(),
        format!("FAILCAKE_SHARED={}", path("shared")),
        "FAILCAKE_SITE=www".into(),
        format!("FAILCAKE_WHO={}", super::sandbox::me()),
        second,
        "/dev/null".into(),
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn one_that_fails_stops_it_and_the_old_release_serves_on() {
    let site = Sandbox::new();
    site.commit_script(
        "good",
        "post-deploy",
        "echo \"$FAILCAKE_REF rollback=$FAILCAKE_ROLLBACK\" >> $FAILCAKE_CURRENT/../../posts",
    );
    site.deploy("v-good").ok();
    let good = site.current();
    for step in ["pre-deploy", "pre-link", "post-deploy"] {
        site.commit_script(step, step, "echo the cause; exit 3");
        let said = site.deploy(&format!("v-{step}")).fails(1);
        let wanted =
            format!("failcake: www: {step} failed: it exited with status 3. Release {good} serves on (what it said: ");
        assert!(said.err.contains(&wanted) && said.err.contains(&format!("{step}: the cause")), "{}", said.err);
        let log = said.err.rsplit_once("what it said: ").unwrap().1.trim_end().trim_end_matches(')').to_owned();
        assert!(fs::read_to_string(log).unwrap().contains("\nthe cause\n"));
        assert_eq!((site.current(), site.read("current/index.html").as_str()), (good.clone(), "good"));
        assert_eq!(site.became().last().unwrap(), &(format!("v-{step}"), format!("failed at {step}")));
    }
    assert_eq!(
        site.read("posts"),
        "v-good rollback=0\nv-good rollback=1\n",
        "post-deploy of the old one, after the switch back"
    );
    assert_eq!(site.read("revisions.log").lines().count(), 1);
    fs::remove_file(site.path("posts")).unwrap();
    site.assert_tidy();
}

#[test]
fn the_first_release_whose_post_deploy_fails_leaves_no_current() {
    let site = Sandbox::new();
    site.commit_script("bad", "post-deploy", "exit 1");
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("No release is live"), "{}", said.err);
    assert!(fs::symlink_metadata(site.path("current")).is_err());
}

#[test]
fn one_that_can_not_be_run_is_told_before_the_first_runs() {
    let site = Sandbox::new();
    let first = ("deploy/pre-deploy", "#!/bin/sh\ntouch ../../../ran\n");
    site.commit("mode", &[first, ("deploy/post-deploy", "echo hi\n")]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("deploy/post-deploy is not executable: chmod +x it"), "{}", said.err);
    fs::remove_file(site.root.join("work/deploy/post-deploy")).unwrap();
    symlink("/bin/true", site.root.join("work/deploy/post-deploy")).unwrap();
    site.commit("link", &[]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("leads out of the release, to /"), "{}", said.err);
    fs::remove_file(site.root.join("work/deploy/post-deploy")).unwrap();
    site.commit("folder", &[("deploy/post-deploy/x", "x")]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("is no regular file"), "{}", said.err);
    assert!(!site.root.join("ran").exists() && !site.path("current").exists());
    fs::remove_dir_all(site.root.join("work/deploy/post-deploy")).unwrap();
    site.commit("interpreter", &[("deploy/pre-deploy", "#!/no/such/interpreter\n")]);
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("is the program of its first line, #!…, installed?"), "{}", said.err);
}

#[test]
fn a_control_directory_outside_the_release_is_used_when_it_is_absolute() {
    let site = Sandbox::new();
    site.commit_script("one", "pre-deploy", "exit 1");
    let control = site.root.join("control");
    fs::create_dir(&control).unwrap();
    // Written by a process that has ended: one of ours, forked by another test, could still hold it open for writing.
    site.git(&["-C", site.root.to_str().unwrap(), "init", "-q", "control"]);
    std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\ntouch here\\n' > pre-deploy; chmod +x pre-deploy"])
        .current_dir(&control)
        .status()
        .unwrap();
    let site = site.config("", &format!("scripts: {}", control.display()));
    site.deploy("master").ok();
    assert!(site.path("current/here").exists());
}

#[test]
fn one_that_hangs_is_ended_and_its_children_with_it() {
    let site = Sandbox::new().config("", "timeout: 1s");
    site.commit_script("hang", "pre-deploy", "sleep 1000 & echo $! > ../../../child; wait");
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("pre-deploy failed: it took longer than 1 s and was ended"), "{}", said.err);
    assert!(gone_soon(&site, "child"));
}

#[test]
fn what_one_leaves_in_its_group_dies_and_a_daemon_of_its_own_session_lives() {
    let site = Sandbox::new();
    site.commit_script(
        "daemon",
        "post-deploy",
        "sleep 1000 & echo $! > ../../../child; setsid sleep 1001 & echo $! > ../../../daemon",
    );
    let started = Instant::now();
    site.deploy("master").ok();
    assert!(started.elapsed() < Duration::from_secs(60), "it does not wait for whoever holds the pipes");
    assert!(gone_soon(&site, "child"));
    let daemon = fs::read_to_string(site.root.join("daemon")).unwrap();
    assert!(fs::read_to_string(format!("/proc/{}/stat", daemon.trim())).is_ok());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.trim().parse().unwrap()), nix::sys::signal::SIGKILL)
        .unwrap();
}

#[test]
fn of_a_flood_the_beginning_and_the_end_are_told_and_kept() {
    let site = Sandbox::new();
    site.commit_script("flood", "pre-deploy", "yes | head -c 8000000; printf '\\033]0;title\\007\\n'; echo end");
    let said = site.deploy("master").ok();
    assert!(said.err.contains("pre-deploy: end") && !said.err.contains('\u{1b}'));
    let log = site.read(&format!(".failcake/releases/{}.log", site.current()));
    assert!(log.len() < 1_100_000 && log.contains(" lines left out)\n") && log.ends_with("]0;title\u{7}\nend\n"));
}

#[test]
fn one_that_removes_the_release_does_not_make_it_live() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    let good = site.current();
    for script in ["pre-deploy", "post-deploy"] {
        site.commit_script(&format!("rm-{script}"), script, "rm -rf \"$FAILCAKE_RELEASE\"");
        let said = site.deploy("master").fails(1);
        assert!(
            said.err.contains(&format!("{script} failed: release")) && said.err.contains("is no longer whole"),
            "{}",
            said.err
        );
        assert_eq!((site.current(), site.read("current/index.html").as_str()), (good.clone(), "good"));
    }
}

#[test]
fn a_stop_ends_the_script_and_switches_back() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    site.commit_script("slow", "post-deploy", "echo $$ > ../../../script; sleep 1000");
    let child = site.command(&["deploy", "www", "master"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_for(|| fs::read_to_string(site.root.join("script")).is_ok_and(|pid| pid.ends_with('\n')));
    assert_eq!(site.read("current/index.html"), "slow");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGTERM).unwrap();
    let said = super::sandbox::Said::of(child.wait_with_output().unwrap()).fails(1);
    assert!(said.err.contains("failcake was told to stop"), "{}", said.err);
    assert_eq!(site.read("current/index.html"), "good");
    assert!(gone_soon(&site, "script"));
    site.assert_tidy();
}

pub fn wait_for(mut sign: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !sign() {
        assert!(Instant::now() < end, "it did not happen within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn gone_soon(site: &Sandbox, file: &str) -> bool {
    let pid = fs::read_to_string(site.root.join(file)).unwrap();
    wait_for(|| fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z ")));
    true
}

#[test]
fn one_that_is_required_and_missing_stops_it_before_any_runs() {
    let site = Sandbox::new().config("", "required: [post-deploy]");
    site.commit_script("one", "pre-deploy", "touch ../../../ran");
    let said = site.deploy("master").fails(1);
    assert!(said.err.contains("post-deploy failed: it is required, and "), "{}", said.err);
    assert!(!site.root.join("ran").exists() && !site.path("current").exists());
    site.commit_script("two", "post-deploy.sh", "true");
    site.deploy("master").ok();
}

#[test]
fn a_failed_post_deploy_can_be_kept_live() {
    let site = Sandbox::new();
    site.commit("good", &[("index.html", "good")]);
    site.deploy("master").ok();
    let good = site.current();
    let site = site.config("", "on-post-failure: keep");
    site.commit_script("bad", "post-deploy", "exit 1");
    let said = site.deploy("v-bad").fails(1);
    assert!(said.err.contains("is live all the same (on-post-failure: keep)"), "{}", said.err);
    assert_eq!(site.read("current/index.html"), "bad");
    assert_eq!(site.became().last().unwrap(), &("v-bad".to_owned(), "failed at post-deploy".to_owned()));
    assert_eq!(site.read("revisions.log").lines().count(), 2, "it was deployed");
    site.assert_tidy();
    let bad = site.current();
    site.run(&["rollback", "www"]).ok();
    assert_eq!(site.current(), good);
    let said = site.run(&["rollback", "www", "--to", &bad]).fails(1);
    assert!(said.err.contains("it failed at post-deploy"), "{}", said.err);
    site.assert_tidy();
}

#[test]
fn what_a_killed_run_left_in_a_rollbacks_script_is_ended_by_the_next() {
    let site = Sandbox::new();
    let script = "[ $FAILCAKE_ROLLBACK = 1 ] || exit 0; sleep 1000 & echo $! > ../../../child; wait";
    site.commit_script("one", "post-deploy", script);
    site.deploy("master").ok();
    site.commit("two", &[("index.html", "two")]);
    site.deploy("master").ok();
    let mut back = site.command(&["rollback", "www"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for(|| fs::read_to_string(site.root.join("child")).is_ok_and(|pid| pid.ends_with('\n')));
    back.kill().unwrap();
    back.wait().unwrap();
    let alive = || {
        let pid = fs::read_to_string(site.root.join("child")).unwrap();
        fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    };
    assert!(alive(), "it was left behind");
    site.deploy("v-two").ok();
    assert!(!alive());
}

/// `docker exec` and `unshare` start a program in a session that begins outside its PID namespace: getsid says 0.
#[test]
fn so_it_is_where_the_session_has_no_number() {
    if !is_root() {
        return;
    }
    let site = Sandbox::new();
    let script = "[ $FAILCAKE_REF = v-two ] || exit 0; sleep 1000 & echo $! > ../../../child; wait";
    site.commit_script("one", "pre-deploy", "exit 0");
    site.commit_script("two", "pre-deploy", script);
    site.deploy("v-one").ok();
    let inside = "[ $(ps -o sid= -p $$) = 0 ] || exit 7
        $F -c c.yaml deploy www v-two & until [ -s child ]; do sleep 0.01; done
        kill -9 $!; wait $!
        $F -c c.yaml deploy www v-one || exit 8
        ! grep -v ') Z ' /proc/$(cat child)/stat";
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", inside]).current_dir(&site.root);
    command.env("F", env!("CARGO_BIN_EXE_failcake")).env("HOME", &site.root);
    super::sandbox::Said::of(command.output().unwrap()).ok();
}

#[test]
fn quiet_is_quiet_and_an_error_names_the_site() {
    let site = Sandbox::new();
    site.commit_script("good", "post-deploy", "echo hello");
    let said = site.run(&["-q", "deploy", "www", "v-good"]).ok();
    assert_eq!(said.err, "");
    assert!(said.out.starts_with("www serves v-good as release "), "{}", said.out);
    site.commit_script("bad", "post-deploy", "echo oh; exit 1");
    let said = site.run(&["-q", "deploy", "www", "v-bad"]).fails(1);
    assert!(
        said.err.starts_with("failcake: www: post-deploy failed: ") && said.err.lines().count() == 1,
        "{}",
        said.err
    );
    site.run(&["deploy", "www", "v-good"]).ok();
    assert_eq!(site.run(&["rollback", "www", "-q"]).ok().err, "");
}
