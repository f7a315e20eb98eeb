//! A node of root's and a site of somebody else's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use failcake::message::deploy::{Answer, Code, Step};
use nix::sys::signal::Signal;

use super::killed::child_of;
use super::operator::{Host, World, refused, wait_for};

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("not run: only root becomes another user");
    }
    is_root
}

/// A host whose site is nobody's, with `more` lines for the site.
fn host<'a>(world: &'a World, more: &str) -> Host<'a> {
    let host = world.host("web01", &format!("user: nobody\n{more}"), "");
    for folder in ["", "web01", "web01/sites"] {
        fs::set_permissions(world.sandbox.path(folder), Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(host.path("open")).unwrap();
    fs::set_permissions(host.path("open"), Permissions::from_mode(0o777)).unwrap();
    host
}

#[test]
fn a_step_is_its_users_and_knows_no_secret_of_the_nodes() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let secrets =
        "echo passcode ${FAILCAKE_PASSCODE-none}; tr '\\0' '\\n' </proc/$PPID/environ | grep PASSCODE; id -un";
    let v1 = world.release("v1", &[("post-deploy", secrets)]);
    let who = world.sandbox.write("who", "#!/bin/sh\nid -un\n");
    fs::set_permissions(&who, Permissions::from_mode(0o755)).unwrap();
    let host = host(&world, &format!("drain: [{0}]\nundrain: [{0}]", who.display()));
    fs::create_dir_all(host.path("spool")).unwrap();
    let mut node = host.failcake(&["deploy", "--watch"]).env("FAILCAKE_PASSCODE", "secret").start();
    node.stderr_line("listening to");
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let answer = ann.run(&plan, Step::Prepare);
    assert!(matches!(answer, Answer::Prepared { .. }), "{answer:?}");
    let answer = ann.run(&plan, Step::Switch);
    let Answer::Live { scripts, .. } = answer else { panic!("{answer:?}") };
    let names: Vec<_> = scripts.iter().map(|run| (run.name.as_str(), run.exit)).collect();
    assert_eq!(names, [("drain", Some(0)), ("post-deploy", Some(0)), ("undrain", Some(0))]);
    for run in &scripts {
        assert!(run.output.ends_with("nobody\n") && !run.output.contains("secret"), "{scripts:?}");
    }
    assert!(scripts[1].output.contains("passcode none\n"), "{scripts:?}");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    for path in ["sites/www", "sites/www/current/index.html", "sites/www/.failcake/releases"] {
        assert_eq!(fs::metadata(host.path(path)).unwrap().uid(), nobody, "{path}");
    }
    let plans = fs::metadata(host.plan_file(&plan)).unwrap();
    assert_eq!((plans.uid(), plans.permissions().mode() & 0o777), (0, 0o600));
}

#[test]
fn a_process_that_became_another_user_dies_with_its_node() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let v1 = world.release("v1", &[("pre-deploy", "echo $$ >../../../../open/pid; sleep 1000")]);
    let host = host(&world, "");
    let mut node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    ann.say(&plan, Step::Switch);
    let pid = || fs::read_to_string(host.path("open/pid")).unwrap_or_default().trim().parse::<i32>().ok();
    wait_for(|| pid().is_some());
    let (child, script) = (child_of(node.id()), pid().unwrap());
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(fs::metadata(format!("/proc/{script}")).unwrap().uid(), nobody);
    node.signal(Signal::SIGKILL);
    node.wait();
    let is_gone = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')))
    };
    wait_for(|| is_gone(child) && is_gone(script));
    let _node = host.watch();
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Failed { at, serving: None, .. } if at == "switch"));
}

#[test]
fn a_user_that_is_not_there_is_a_refusal() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "user: no-such-user", "");
    let _node = host.watch();
    let ann = world.operator();
    let (code, why) = refused(ann.run(&ann.plan("v1", &v1, &["web01"]), Step::Prepare));
    assert_eq!(code, Code::NotPossible);
    assert!(why.contains("no-such-user"), "{why}");
}
