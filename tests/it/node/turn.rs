//! A host's turn, and what follows it: looked at on its disk.

use std::time::Duration;

use failcake::message::deploy::{Action, Answer, Code, Order, Outcome, RefKind, Request, ScriptRun, Step, Subject};

use super::operator::{World, refused, wait_for};

/// `drain:` and `undrain:` that write what they are told into `lb.log` of the host.
fn balancer(world: &World, node: &str, more: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let log = world.sandbox.path(format!("{node}/lb.log"));
    let text = format!(
        "#!/bin/sh\necho \"$1 $FAILCAKE_REF $FAILCAKE_HOST $FAILCAKE_ROLLBACK $(basename \"$FAILCAKE_RELEASE\")\" >>{}\n\
         echo \"$1 done\"\n{more}\n",
        log.display()
    );
    let program = world.sandbox.write(&format!("{node}/lb"), text);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("drain: [{0}, out]\nundrain: [{0}, in]", program.display())
}

fn names(scripts: &[ScriptRun]) -> Vec<(&str, Option<i32>)> {
    scripts.iter().map(|run| (run.name.as_str(), run.exit)).collect()
}

#[test]
fn a_turn_is_drained_before_and_undrained_after() {
    let world = World::new();
    let commit = world.release("v1", &[("pre-link", "cat ../../../../lb.log")]);
    let host = world.host("web01", &balancer(&world, "web01", ""), "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &commit, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert!(!host.path("lb.log").exists());
    let Answer::Live { scripts, .. } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!(names(&scripts), [("drain", Some(0)), ("pre-link", Some(0)), ("undrain", Some(0))]);
    assert!(scripts[1].output.contains(&format!("out v1 web01 0 {release}\n")), "{scripts:?}");
    assert!(scripts[2].output.ends_with("in done\n"));
    let log = std::fs::read_to_string(host.path("lb.log")).unwrap();
    assert_eq!(log, format!("out v1 web01 0 {release}\nin v1 web01 0 {release}\n"));
}

#[test]
fn a_drain_that_fails_ends_the_turn_and_the_host_is_brought_back() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    let ann = world.operator();
    let first = ann.plan("v1", &v1, &["web01"]);
    ann.run(&first, Step::Prepare);
    let Answer::Live { release, .. } = ann.run(&first, Step::Switch) else { panic!() };
    ann.run(&first, Step::Verdict);
    node.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(node.wait().code(), Some(0));

    let v2 = world.release("v2", &[("pre-deploy", "touch ran")]);
    let host = world.host("web01", &balancer(&world, "web01", "test $1 = in || exit 7"), "");
    let _node = host.watch();
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    let Answer::Failed { at, why, serving, switched, scripts } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!((at.as_str(), serving, switched), ("drain", Some(release), false));
    assert!(why.contains("status 7"), "{why}");
    assert_eq!(names(&scripts), [("drain", Some(7)), ("undrain", Some(0))], "nothing else ran");
    assert_eq!(host.serves().unwrap(), "v1");
    // The site stays the plan's until it is over.
    let next = ann.plan("v2", &v2, &["web01"]);
    let (code, why) = refused(ann.run(&next, Step::Prepare));
    assert_eq!(code, Code::Busy, "{why}");
    assert!(why.contains(&plan.id.to_string()) && why.contains("ann@example.org"), "{why}");
    assert_eq!(ann.run(&plan, Step::Verdict), Answer::Noted);
    let after = ann.plan("v2", &v2, &["web01"]);
    assert!(matches!(ann.run(&after, Step::Prepare), Answer::Prepared { .. }));
}

#[test]
fn an_undrain_that_fails_is_told_whatever_else_happened() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", &balancer(&world, "web01", "test $1 = out || exit 9"), "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    let Answer::Failed { at, why, serving, switched, scripts } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!((at.as_str(), serving, switched), ("undrain", Some(release), true));
    assert!(why.contains("status 9"), "{why}");
    assert_eq!(names(&scripts), [("drain", Some(0)), ("undrain", Some(9))]);
    assert_eq!(host.serves().unwrap(), "v1", "it is live all the same");
    ann.run(&plan, Step::Verdict);

    let v2 = world.release("v2", &[("pre-deploy", "exit 3")]);
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    let Answer::Failed { at, why, .. } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!(at, "pre-deploy");
    assert!(why.contains("status 3") && why.contains("undrain failed too") && why.contains("status 9"), "{why}");
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_post_deploy_that_fails_switches_back_and_both_runs_are_in_the_answer() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let v1 = world.release("v1", &[("post-deploy", "echo back $FAILCAKE_ROLLBACK")]);
    let plan = ann.plan("v1", &v1, &["web01"]);
    ann.run(&plan, Step::Prepare);
    let Answer::Live { release, .. } = ann.run(&plan, Step::Switch) else { panic!() };
    ann.run(&plan, Step::Verdict);
    let v2 = world.release("v2", &[("post-deploy", "seq 1 100000; exit 4")]);
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    let Answer::Failed { at, serving, scripts, .. } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!((at.as_str(), serving), ("post-deploy", Some(release)));
    assert_eq!(names(&scripts), [("post-deploy", Some(4)), ("post-deploy", Some(0))]);
    assert!(scripts[0].output.len() <= 4096 && scripts[0].output.ends_with("100000\n"), "{scripts:?}");
    assert!(scripts[1].output.ends_with("back 1\n"));
    assert_eq!(host.serves().unwrap(), "v1");
    // Neither is anything left to be dropped nor to be gone back from: how it stands is the answer.
    for step in [Step::Abort, Step::Rollback] {
        ann.say(&plan, step);
        assert!(matches!(ann.answer(&plan, Step::Switch), Answer::Failed { at, .. } if at == "post-deploy"));
    }
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_step_back_waits_for_the_turn_and_drops_what_was_only_prepared() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let wait = "touch ../../../../at-work; while test ! -e ../../../../go; do sleep 0.02; done";
    let v1 = world.release("v1", &[]);
    let first = ann.plan("v1", &v1, &["web01"]);
    ann.run(&first, Step::Prepare);
    assert!(matches!(ann.run(&first, Step::Switch), Answer::Live { .. }));
    ann.run(&first, Step::Verdict);

    let v2 = world.release("v2", &[("pre-deploy", wait)]);
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    ann.say(&plan, Step::Switch);
    wait_for(|| host.path("at-work").exists());
    ann.say(&plan, Step::Rollback);
    // In the middle of its turn it is only asked how it stands, and an abort ends nothing half-way.
    for step in [Step::Prepare, Step::Abort] {
        ann.within(std::time::Duration::from_millis(300));
        ann.say(&plan, step);
        let stands = ann.find(|report| report.answer == Answer::Accepted);
        assert_eq!(stands.step, Some(Step::Switch), "{step}");
    }
    std::fs::write(host.path("go"), "").unwrap();
    assert!(matches!(ann.answer(&plan, Step::Switch), Answer::Live { .. }));
    assert!(matches!(ann.answer(&plan, Step::Rollback), Answer::RolledBack { .. }));
    assert_eq!(host.serves().unwrap(), "v1");
    ann.run(&plan, Step::Verdict);
    let report = ann.ask(Subject::Plan { plan: plan.id }, "web01");
    assert_eq!(report.step, Some(Step::Rollback), "what came before the verdict");

    let plan = ann.plan("v2", &v2, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert_eq!(ann.run(&plan, Step::Rollback), Answer::Aborted);
    assert!(!host.path(&format!("sites/www/releases/{release}")).exists());
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::OutOfOrder);
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_verdict_that_says_all_went_back_means_this_host_too() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    for (tag, went_live) in [("v1", true), ("v2", true), ("v3", false)] {
        let script = if went_live { "true" } else { "false" };
        let commit = world.release(tag, &[("pre-deploy", script)]);
        let plan = ann.plan(tag, &commit, &["web01"]);
        ann.run(&plan, Step::Prepare);
        assert_eq!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }), went_live);
        if tag == "v1" {
            ann.run(&plan, Step::Verdict);
            continue;
        }
        let order = Order { outcome: Some(Outcome::RolledBack), ..ann.order(&plan, Step::Verdict) };
        let request = Request::Order { plan: None, order: ann.sign_order(&order) };
        ann.send(&request, plan.id);
        assert_eq!(ann.answer(&plan, Step::Verdict), Answer::Noted);
        if went_live {
            assert!(matches!(ann.answer(&plan, Step::Rollback), Answer::RolledBack { .. }));
        }
        assert_eq!(host.serves().unwrap(), "v1");
        // Said again it does nothing more.
        ann.send(&request, plan.id);
        assert_eq!(ann.answer(&plan, Step::Verdict), Answer::Noted);
        assert_eq!(host.serves().unwrap(), "v1");
    }
}

/// The plan's signature takes ssh-keygen a moment, and what comes with no plan none.
#[test]
fn an_order_right_behind_the_first_one_waits_for_it() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    for _ in 0..3 {
        let plan = ann.plan("v1", &v1, &["web01"]);
        ann.say(&plan, Step::Prepare);
        ann.say(&plan, Step::Abort);
        assert_eq!(ann.answer(&plan, Step::Abort), Answer::Aborted);
        ann.run(&plan, Step::Verdict);
    }
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }), "nobody has the site");
    assert_eq!(host.serves(), None);
}

#[test]
fn abort_drops_what_was_prepared_and_nothing_follows() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert!(host.path(&format!("sites/www/releases/{release}")).is_dir());
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted);
    assert!(!host.path(&format!("sites/www/releases/{release}")).exists());
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::OutOfOrder);
    assert_eq!(host.serves(), None);
    // The site is free at once.
    let next = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&next, Step::Prepare), Answer::Prepared { .. }));
    // A verdict drops it as well.
    assert_eq!(ann.run(&next, Step::Verdict), Answer::Noted);
    let left: Vec<_> = std::fs::read_dir(host.path("sites/www/releases")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    ann.say(&next, Step::Prepare);
    assert_eq!(ann.answer(&next, Step::Prepare), Answer::Aborted, "which is how it ended here");
}

#[test]
fn an_abort_ends_a_preparation_that_is_under_way() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let gate = world.block_fetches();
    let _node = host.watch_through(&gate);
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    ann.say(&plan, Step::Prepare);
    wait_for(|| gate.is_reached());
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted);
    let Answer::Failed { at, .. } = ann.answer(&plan, Step::Prepare) else { panic!() };
    assert_eq!(at, "fetch");
    gate.open();
    let next = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&next, Step::Prepare), Answer::Prepared { .. }));
}

#[test]
fn a_rollback_step_goes_back_only_from_this_plans_release() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let mut plans = Vec::new();
    for tag in ["v1", "v2"] {
        let commit = world.release(tag, &[]);
        let plan = ann.plan(tag, &commit, &["web01"]);
        ann.run(&plan, Step::Prepare);
        assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
        if tag == "v1" {
            ann.run(&plan, Step::Verdict);
        }
        plans.push(plan);
    }
    let (code, why) = refused(ann.run(&plans[0], Step::Rollback));
    assert_eq!(code, Code::Busy, "{why}");
    let first = host.state()["releases"][0]["release"].as_str().unwrap().to_owned();
    assert_eq!(ann.run(&plans[1], Step::Rollback), Answer::RolledBack { release: first });
    assert_eq!(host.serves().unwrap(), "v1");
    // Once only.
    assert!(matches!(ann.run(&plans[1], Step::Rollback), Answer::RolledBack { .. }));
    assert_eq!(host.serves().unwrap(), "v1");
    ann.run(&plans[1], Step::Verdict);

    // A person at the host goes on in the middle of a plan: what they made live stays.
    let v3 = world.release("v3", &[]);
    let plan = ann.plan("v3", &v3, &["web01"]);
    ann.run(&plan, Step::Prepare);
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    host.failcake(&["deploy", "www", "v1"]).run().success();
    let Answer::RollbackFailed { why } = ann.run(&plan, Step::Rollback) else { panic!() };
    assert!(why.contains("somebody deployed since"), "{why}");
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_rollback_plan_goes_back_and_can_be_taken_back() {
    let world = World::new();
    let host = world.host("web01", &balancer(&world, "web01", ""), "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan_to(Action::Rollback { to: None }, &["web01"]);
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::NotPossible, "{why}");
    for tag in ["v1", "v2"] {
        world.release(tag, &[]);
        host.failcake(&["fetch"]).run().success();
        host.failcake(&["deploy", "www", tag]).run().success();
    }
    let releases = host.state()["releases"].clone();
    let name = |at: usize| releases[at]["release"].as_str().unwrap().to_owned();
    let plan = ann.plan_to(Action::Rollback { to: None }, &["web01"]);
    let Answer::Prepared { release, previous_commit } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert_eq!((release, previous_commit.as_deref()), (name(0), releases[1]["commit"].as_str()));
    assert_eq!(host.serves().unwrap(), "v2");
    let Answer::Live { release, previous, .. } = ann.run(&plan, Step::Switch) else { panic!() };
    assert_eq!((release, previous), (name(0), Some(name(1))));
    assert_eq!(host.serves().unwrap(), "v1");
    assert_eq!(ann.run(&plan, Step::Rollback), Answer::RolledBack { release: name(1) });
    assert_eq!(host.serves().unwrap(), "v2");
    let log = std::fs::read_to_string(host.path("lb.log")).unwrap();
    assert_eq!(log, format!("out v1 web01 1 {0}\nin v1 web01 1 {0}\n", name(0)), "a step back is not drained");
}

#[test]
fn a_site_in_place_is_only_looked_at_before_its_turn() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "mode: in-place", "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert_eq!(ann.run(&plan, Step::Prepare), Answer::Prepared { release: String::new(), previous_commit: None });
    assert!(!host.path("sites/www/current").exists());
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    assert_eq!(host.serves().unwrap(), "v1");
    ann.run(&plan, Step::Verdict);
    let v2 = world.release("v2", &[]);
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    assert_eq!(host.serves().unwrap(), "v1");
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    assert_eq!(host.serves().unwrap(), "v2");
    assert!(matches!(ann.run(&plan, Step::Rollback), Answer::RolledBack { .. }));
    assert_eq!(host.serves().unwrap(), "v1");
    ann.run(&plan, Step::Verdict);
    let plan = ann.plan("v2", &v2, &["web01"]);
    ann.run(&plan, Step::Prepare);
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted);
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_branch_must_contain_the_commit_and_a_tag_must_be_it() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let v2 = world.release("v2", &[]);
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    let ann = world.operator();
    let to = |reference: &str, kind, commit: &failcake::name::Rev| Action::Deploy {
        reference: reference.to_owned(),
        kind,
        commit: commit.clone(),
    };
    // master is at v2, and v1 is in it: the operator saw it before the last push.
    let plan = ann.plan_to(to("master", RefKind::Branch, &v1), &["web01"]);
    ann.run(&plan, Step::Prepare);
    assert!(
        matches!(ann.run(&plan, Step::Switch), Answer::Live { commit: Some(commit), .. } if commit == v1.to_string())
    );
    let line = node.stdout_line("checked out branch");
    let path = host.path("sites/www").display().to_string();
    assert_eq!(line, format!("checked out branch master from repo spog to target {path} request id {}", plan.id));
    ann.run(&plan, Step::Verdict);
    for (reference, kind, commit) in [
        ("v1", RefKind::Tag, &v2),
        ("master", RefKind::Branch, &"a".repeat(40).parse().unwrap()),
        ("v1", RefKind::Branch, &v1),
        ("nowhere", RefKind::Tag, &v1),
        ("-x", RefKind::Tag, &v1),
        ("v1\nv2", RefKind::Tag, &v1),
    ] {
        let plan = ann.plan_to(to(reference, kind, commit), &["web01"]);
        let answer = ann.run(&plan, Step::Prepare);
        // A tag of that name that is the same commit is as good as a branch.
        if (reference, kind) == ("v1", RefKind::Branch) {
            assert!(matches!(answer, Answer::Prepared { .. }), "{answer:?}");
            ann.run(&plan, Step::Abort);
            continue;
        }
        let (code, why) = refused(answer);
        assert_eq!(code, Code::WrongCommit, "{reference:?}: {why}");
    }
    assert_eq!(host.serves().unwrap(), "v1");
}

#[test]
fn a_freeze_and_a_person_at_work_are_named() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    host.failcake(&["hold", "www", "--reason", "migration"]).run().success();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::OnHold);
    assert!(why.contains("migration"), "{why}");
    host.failcake(&["unhold", "www"]).run().success();

    let plan = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    host.failcake(&["hold", "www", "--reason", "lunch"]).run().success();
    let (code, why) = refused(ann.run(&plan, Step::Switch));
    assert_eq!(code, Code::OnHold);
    assert!(why.contains("lunch"), "{why}");
    assert_eq!(host.serves(), None);
    host.failcake(&["unhold", "www"]).run().success();
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::OnHold, "a step is done once, this one was refused");
    ann.run(&plan, Step::Verdict);

    // A person deploys, which no plan keeps them from.
    let v2 = world.release(
        "v2",
        &[("pre-deploy", "touch ../../../../at-work; while test ! -e ../../../../go; do sleep 0.05; done")],
    );
    host.failcake(&["fetch"]).run().success();
    let mut person = host.failcake(&["deploy", "www", "v2"]).start();
    wait_for(|| host.path("at-work").exists());
    let plan = ann.plan("v2", &v2, &["web01"]);
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::Busy);
    assert!(why.contains("deploy v2") && why.ends_with("try again later"), "{why}");
    std::fs::write(host.path("go"), "").unwrap();
    assert_eq!(person.wait().code(), Some(0));
}

#[test]
fn other_sites_go_on_while_one_works() {
    let world = World::new();
    let slow = world.release(
        "slow",
        &[("pre-deploy", "touch ../../../../at-work; while test ! -e ../../../../go; do sleep 0.05; done")],
    );
    let quick = world.release("quick", &[]);
    let other = world.sandbox.path("web01/sites/w2").display().to_string();
    let host = world.host("web01", "", "");
    let config = world.sandbox.read("web01/failcake.yaml");
    let config = config.replace("allow:\n", &format!("  w2: {{ repo: spog, path: {other} }}\nallow:\n"));
    world.sandbox.write("web01/failcake.yaml", config);
    let _node = host.watch();
    let ann = world.operator();
    let first = ann.plan("slow", &slow, &["web01"]);
    ann.run(&first, Step::Prepare);
    ann.say(&first, Step::Switch);
    wait_for(|| host.path("at-work").exists());
    let second =
        failcake::message::deploy::Plan { site: "w2".parse().unwrap(), ..ann.plan("quick", &quick, &["web01"]) };
    ann.run(&second, Step::Prepare);
    assert!(matches!(ann.run(&second, Step::Switch), Answer::Live { .. }));
    assert_eq!(host.serves(), None);
    // What is under way is never silent for longer than ten seconds.
    let beat = ann.find(|report| {
        report.about == first.id && matches!(&report.answer, Answer::Progress { text } if text.is_empty())
    });
    assert_eq!(beat.step, Some(Step::Switch));
    std::fs::write(host.path("go"), "").unwrap();
    assert!(matches!(ann.answer(&first, Step::Switch), Answer::Live { .. }));
}

/// Sixteen others are in their turn: it is told to abort, or asked how it stands, while its own stands in line.
#[test]
fn a_turn_that_stands_in_line_is_not_called_off() {
    let world = World::new();
    let busy = "touch ../../../../at-$FAILCAKE_SITE; while test ! -e ../../../../go; do sleep 0.05; done";
    let slow = world.release("slow", &[("pre-deploy", busy)]);
    let quick = world.release("quick", &[]);
    let host = world.host("web01", "", "");
    let names: Vec<String> = (0..16).map(|number| format!("w{number}")).collect();
    let line = |name: &String| {
        format!("  {name}: {{ repo: spog, path: {} }}\n", world.sandbox.path(format!("web01/sites/{name}")).display())
    };
    let sites: String = names.iter().map(line).collect();
    let config = world.sandbox.read("web01/failcake.yaml");
    world.sandbox.write("web01/failcake.yaml", config.replace("allow:\n", &format!("{sites}allow:\n")));
    let _node = host.watch();
    let ann = world.operator();
    let late = ann.plan("quick", &quick, &["web01"]);
    ann.run(&late, Step::Prepare);
    for name in &names {
        let plan =
            failcake::message::deploy::Plan { site: name.parse().unwrap(), ..ann.plan("slow", &slow, &["web01"]) };
        ann.run(&plan, Step::Prepare);
        ann.say(&plan, Step::Switch);
    }
    wait_for(|| names.iter().all(|name| host.path(&format!("at-{name}")).exists()));
    // What was said so far is of no interest.
    ann.within(Duration::ZERO);
    for step in [Step::Switch, Step::Prepare, Step::Abort] {
        ann.say(&late, step);
        let said = ann.find(|report| report.about == late.id && !matches!(report.answer, Answer::Progress { .. }));
        assert_eq!((said.step, said.answer), (Some(Step::Switch), Answer::Accepted), "{step}");
    }
    assert_eq!(host.serves(), None);
    std::fs::write(host.path("go"), "").unwrap();
    assert!(matches!(ann.answer(&late, Step::Switch), Answer::Live { .. }));
    assert_eq!(host.serves().unwrap(), "quick");
}
