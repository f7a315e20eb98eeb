//! A plan that says that it takes the site over from another one, at a host that has it in that one.

use std::time::Duration;

use failcake::message::deploy::{
    Action, Answer, Code, Document as _, Order, Outcome, Plan, PlanId, Request, Signed, Step, Subject,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::operator::{Host, Operator, World, refused, wait_for};
use crate::sandbox::{FAILCAKE, Running};

/// Ann and Bob may deploy.
struct Scene<'a> {
    world: &'a World,
    host: Host<'a>,
    node: Running,
    ann: Operator<'a>,
    bob: Operator<'a>,
}

const BOB: &str = "  - { who: bob@example.org, sites: ['w*'], hosts: ['web*'] }";

impl<'a> Scene<'a> {
    fn new(world: &'a World) -> Scene<'a> {
        Scene::of(world, BOB)
    }

    fn of(world: &'a World, allow: &str) -> Scene<'a> {
        world.key("bob");
        let signers = ["ann@example.org ann failcake-plan", "bob@example.org bob failcake-plan"];
        world.allow_signers(&[signers[0], signers[1], "web01 web01 failcake-reply"]);
        let host = world.host("web01", "", allow);
        let node = host.watch();
        let bob = Operator::new(world, "bob@example.org", "bob");
        Scene { world, host, node, ann: world.operator(), bob }
    }

    /// Ann's plan for a new release, prepared.
    fn prepared(&self, tag: &str, scripts: &[(&str, &str)]) -> (Plan, String) {
        let commit = self.world.release(tag, scripts);
        let plan = self.ann.plan(tag, &commit, &["web01"]);
        match self.ann.run(&plan, Step::Prepare) {
            Answer::Prepared { release, .. } => (plan, release),
            other => panic!("{other:?}"),
        }
    }

    /// Bob's plan, instead of that one.
    fn instead(&self, of: PlanId, tag: &str) -> Plan {
        let commit = self.world.sandbox.git("spog", ["rev-parse", tag]).run().success().text();
        let plan = self.bob.plan(tag, &commit.trim().parse().unwrap(), &["web01"]);
        Plan { takes_over: Some(of), ..plan }
    }

    fn has(&self, release: &str) -> bool {
        self.host.path(&format!("sites/www/releases/{release}")).exists()
    }

    fn restart(&mut self) {
        self.node.signal(Signal::SIGKILL);
        self.node.wait();
        self.node = self.host.watch();
    }

    /// Whatever Ann orders is answered with who has it, and nothing of it is done.
    #[track_caller]
    fn is_lost(&self, plan: &Plan, to: &Plan, when: &str) {
        let served = self.host.serves();
        let wanted = format!("taken over by plan {} of bob@example.org at ", to.id);
        for step in [Step::Prepare, Step::Switch, Step::Abort, Step::Rollback, Step::Verdict] {
            let _ = self.ann.within(Duration::ZERO);
            let (code, why) = refused(self.ann.run(plan, step));
            assert_eq!(code, Code::TakenOver, "{step}: {why}");
            assert!(why.starts_with(&wanted) && why.ends_with(when), "{step}: {why}");
        }
        // With the verdict of a rollout that went back as well.
        let order = Order { outcome: Some(Outcome::RolledBack), ..self.ann.order(plan, Step::Verdict) };
        self.ann.send(&Request::Order { plan: None, order: self.ann.sign_order(&order) }, plan.id);
        assert_eq!(refused(self.ann.answer(plan, Step::Verdict)).0, Code::TakenOver);
        let asked = self.ann.ask(Subject::Plan { plan: plan.id }, "web01");
        assert_eq!(refused(asked.answer).0, Code::TakenOver);
        assert_eq!(self.host.serves(), served);
    }

    fn holder(&self) -> Option<PlanId> {
        match self.bob.ask(Subject::State { site: None }, "web01").answer {
            Answer::State { sites } => sites[0].plan,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_was_only_prepared_is_dropped_and_the_new_plan_goes_on() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let (plan, staged) = scene.prepared("v1", &[]);
    world.release("v2", &[]);
    let next = scene.instead(plan.id, "v2");
    let Answer::Prepared { release, .. } = scene.bob.run(&next, Step::Prepare) else { panic!() };
    assert!(scene.has(&release) && !scene.has(&staged));
    assert_eq!(scene.holder(), Some(next.id));
    // Whoever conducts the old one hears it unasked.
    let (code, why) = refused(scene.ann.answer(&plan, Step::Abort));
    assert!(code == Code::TakenOver && why.contains(&next.id.to_string()), "{why}");
    scene.node.stdout_line(&format!("of ann@example.org was taken over by plan {} of bob@example.org at ", next.id));
    scene.is_lost(&plan, &next, "before its turn");
    scene.restart();
    scene.is_lost(&plan, &next, "before its turn");
    assert_eq!(scene.holder(), Some(next.id));
    assert!(matches!(scene.bob.run(&next, Step::Switch), Answer::Live { .. }));
    scene.is_lost(&plan, &next, "before its turn");
    assert_eq!(scene.bob.run(&next, Step::Verdict), Answer::Noted);
    assert_eq!(scene.holder(), None);
    // The site is free, and Ann's old plan does not come back to it.
    scene.is_lost(&plan, &next, "before its turn");
    assert_eq!(scene.host.serves().unwrap(), "v2");
}

#[test]
fn what_was_live_and_not_ended_is_settled_and_never_goes_back_from_what_came_after() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let (first, _) = scene.prepared("v0", &[]);
    scene.ann.run(&first, Step::Switch);
    scene.ann.run(&first, Step::Verdict);
    let (plan, _) = scene.prepared("v1", &[]);
    assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Live { .. }));
    world.release("v2", &[]);
    let next = scene.instead(plan.id, "v2");
    assert!(matches!(scene.bob.run(&next, Step::Prepare), Answer::Prepared { .. }));
    scene.is_lost(&plan, &next, "after its turn, which made it live");
    assert_eq!(scene.host.serves().unwrap(), "v1", "what it made live stays until the next one's turn");
    assert!(matches!(scene.bob.run(&next, Step::Switch), Answer::Live { .. }));
    scene.restart();
    scene.is_lost(&plan, &next, "after its turn, which made it live");
    // The new plan's own way back goes to what served before it.
    assert!(matches!(scene.bob.run(&next, Step::Rollback), Answer::RolledBack { .. }));
    assert_eq!(scene.host.serves().unwrap(), "v1");
}

#[test]
fn what_failed_in_its_turn_is_settled() {
    let world = World::new();
    let scene = Scene::new(&world);
    let (plan, staged) = scene.prepared("v1", &[("pre-deploy", "exit 1")]);
    assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Failed { .. }));
    world.release("v2", &[]);
    let next = scene.instead(plan.id, "v2");
    assert!(matches!(scene.bob.run(&next, Step::Prepare), Answer::Prepared { .. }));
    scene.is_lost(&plan, &next, "after its turn, which failed");
    assert!(matches!(scene.bob.run(&next, Step::Switch), Answer::Live { .. }));
    let state = scene.host.state().to_string();
    assert!(!scene.has(&staged) || state.contains("failed"), "{state}");
}

#[test]
fn a_turn_is_never_cut_short() {
    let world = World::new();
    let scene = Scene::new(&world);
    let at = scene.host.path("").display().to_string();
    let wait = format!("touch {at}at-work; while test ! -e {at}go; do sleep 0.02; done");
    let (plan, _) = scene.prepared("v1", &[("pre-deploy", &wait)]);
    scene.ann.say(&plan, Step::Switch);
    wait_for(|| scene.host.path("at-work").exists());
    world.release("v2", &[]);
    let next = scene.instead(plan.id, "v2");
    let (code, why) = refused(scene.bob.run(&next, Step::Prepare));
    assert_eq!(code, Code::Busy);
    let wanted = format!(
        "www can't be taken over from plan {} now: it is in its turn here (switch), which ends by itself; try again then",
        plan.id
    );
    assert_eq!(why, wanted);
    std::fs::write(scene.host.path("go"), "").unwrap();
    assert!(matches!(scene.ann.answer(&plan, Step::Switch), Answer::Live { .. }));
    assert_eq!(scene.host.serves().unwrap(), "v1");
    // That plan stays refused, as any that was refused for the site's sake; another one goes on.
    assert_eq!(refused(scene.bob.run(&next, Step::Prepare)).0, Code::Busy);
    let next = scene.instead(plan.id, "v2");
    assert!(matches!(scene.bob.run(&next, Step::Prepare), Answer::Prepared { .. }));
    assert!(matches!(scene.bob.run(&next, Step::Switch), Answer::Live { .. }));
    scene.is_lost(&plan, &next, "after its turn, which made it live");
}

#[test]
fn a_preparation_that_is_under_way_is_ended() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let commit = world.release("v1", &[]);
    let gate = world.block_fetches();
    scene.node.signal(Signal::SIGKILL);
    scene.node.wait();
    scene.node = scene.host.watch_through(&gate);
    let plan = scene.ann.plan("v1", &commit, &["web01"]);
    scene.ann.say(&plan, Step::Prepare);
    wait_for(|| gate.is_reached());
    let next = scene.instead(plan.id, "v1");
    scene.bob.say(&next, Step::Prepare);
    let (code, _) = refused(scene.ann.answer(&plan, Step::Abort));
    assert_eq!(code, Code::TakenOver);
    gate.open();
    assert!(matches!(scene.bob.answer(&next, Step::Prepare), Answer::Prepared { .. }));
    scene.is_lost(&plan, &next, "before its turn");
    assert_eq!(std::fs::read_dir(scene.host.path("sites/www/releases")).unwrap().count(), 1);
}

#[test]
fn another_plan_than_the_named_one_keeps_its_site_and_one_that_is_not_there_is_no_objection() {
    let world = World::new();
    let scene = Scene::new(&world);
    let (plan, staged) = scene.prepared("v1", &[]);
    world.release("v2", &[]);
    let next = scene.instead(PlanId::new(), "v2");
    let (code, why) = refused(scene.bob.run(&next, Step::Prepare));
    assert_eq!(code, Code::Busy);
    assert!(why.starts_with(&format!("www is in plan {} of ann@example.org (deploy v1 (", plan.id)), "{why}");
    let hint = format!("or, if nobody conducts it any more, add --take-over {}", plan.id);
    assert!(why.ends_with(&hint), "{why}");
    assert!(scene.has(&staged));
    assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Live { .. }));
    scene.ann.run(&plan, Step::Verdict);
    // Over, or never heard of.
    for of in [plan.id, PlanId::new()] {
        let next = scene.instead(of, "v2");
        assert!(matches!(scene.bob.run(&next, Step::Prepare), Answer::Prepared { .. }));
        assert_eq!(scene.bob.run(&next, Step::Abort), Answer::Aborted);
    }
    scene.ann.say(&plan, Step::Prepare);
    assert!(matches!(scene.ann.answer(&plan, Step::Switch), Answer::Live { .. }), "it ended by itself");
}

#[test]
fn nobody_takes_over_what_they_may_not_deploy_and_nobody_unsigned_anything() {
    let world = World::new();
    let scene = Scene::of(&world, "");
    let (plan, staged) = scene.prepared("v1", &[]);
    let take = |operator: &Operator<'_>, next: &Plan, signed: Signed| {
        let order = operator.sign_order(&operator.order(next, Step::Prepare));
        operator.send(&Request::Order { plan: Some(signed), order }, next.id);
        refused(operator.answer_of(next, Step::Prepare, "web01")).0
    };
    let next = scene.instead(plan.id, "v1");
    assert_eq!(take(&scene.bob, &next, scene.bob.sign(&next)), Code::NotAllowed);
    // In Ann's name, with Bob's key; and of Ann's own plan, with another word in it than she signed.
    let forged = Plan { who: "ann@example.org".to_owned(), ..scene.instead(plan.id, "v1") };
    assert_eq!(take(&scene.bob, &forged, scene.bob.sign(&forged)), Code::BadSignature);
    let own = scene.ann.plan_to(plan.action.clone(), &["web01"]);
    let signature = scene.ann.sign(&own).signature;
    let altered = Plan { takes_over: Some(plan.id), ..own };
    let signed = Signed { document: altered.to_text(), signature };
    assert_eq!(take(&scene.ann, &altered, signed), Code::BadSignature);
    // The signed plan of somebody who may, with an order of somebody else.
    let good = Plan { takes_over: Some(plan.id), ..scene.ann.plan_to(plan.action.clone(), &["web01"]) };
    assert_eq!(take(&scene.bob, &good, scene.ann.sign(&good)), Code::BadSignature);
    assert!(scene.has(&staged));
    assert_eq!(scene.holder(), Some(plan.id));
    assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Live { .. }));
}

#[test]
fn a_rollback_takes_over_as_well_and_so_does_a_third_from_the_second() {
    let world = World::new();
    let scene = Scene::new(&world);
    for tag in ["v1", "v2"] {
        let (plan, _) = scene.prepared(tag, &[]);
        scene.ann.run(&plan, Step::Switch);
        scene.ann.run(&plan, Step::Verdict);
    }
    let (plan, staged) = scene.prepared("v3", &[]);
    let back = Action::Rollback { to: None };
    let second = Plan { takes_over: Some(plan.id), ..scene.bob.plan_to(back, &["web01"]) };
    assert!(matches!(scene.bob.run(&second, Step::Prepare), Answer::Prepared { .. }));
    assert!(!scene.has(&staged));
    let third = scene.instead(second.id, "v3");
    assert!(matches!(scene.bob.run(&third, Step::Prepare), Answer::Prepared { .. }));
    assert_eq!(refused(scene.bob.run(&second, Step::Switch)).0, Code::TakenOver);
    assert!(matches!(scene.bob.run(&third, Step::Switch), Answer::Live { .. }));
    assert_eq!(scene.host.serves().unwrap(), "v3");
}

/// The node dies before and after each file that it writes on the way, until it comes through.
#[test]
fn killed_at_each_write_the_site_is_one_plans() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    world.release("next", &[]);
    let (mut kept, mut lost, mut round) = (0, 0, 0);
    loop {
        round += 1;
        assert!(round < 60, "it never came through");
        let (plan, staged) = scene.prepared(&format!("r{round}"), &[]);
        scene.node.signal(Signal::SIGKILL);
        scene.node.wait();
        // Of the loop's own thread alone: it is the one that writes plans.
        let words = ["-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"];
        let kill_at = format!("inject=fsync:signal=KILL:when={round}");
        let words = [&words[..], &[&kill_at, FAILCAKE, "deploy", "--watch"]].concat();
        let call = world.sandbox.program("strace", words);
        let call = call.env("FAILCAKE_CONFIG", scene.host.path("failcake.yaml"));
        let traced = call.env("FAILCAKE_SPOOL", scene.host.path("spool")).start();
        let is_dead = || std::fs::read_to_string(format!("/proc/{}/stat", traced.id())).unwrap().contains(") Z ");
        let next = scene.instead(plan.id, "next");
        let about_it = |answer: &Answer| !matches!(answer, Answer::Accepted | Answer::Progress { .. });
        let mut came_through = false;
        while !is_dead() && !came_through {
            scene.bob.say(&next, Step::Prepare);
            let heard = scene.bob.within(Duration::from_millis(150));
            came_through = heard.iter().any(|report| report.about == next.id && about_it(&report.answer));
        }
        if came_through {
            let children = format!("/proc/{0}/task/{0}/children", traced.id());
            let node = std::fs::read_to_string(children).unwrap();
            kill(Pid::from_raw(node.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
            wait_for(is_dead);
        }
        scene.node = scene.host.watch();
        let _ = (scene.ann.within(Duration::from_millis(50)), scene.bob.within(Duration::ZERO));

        // One of them has it, and that is what is staged there.
        let stands = scene.ann.run(&plan, Step::Prepare);
        match &stands {
            Answer::Prepared { .. } => {
                kept += 1;
                assert_eq!(scene.holder(), Some(plan.id), "round {round}");
                assert!(scene.has(&staged) && !scene.host.plan_file(&next).exists(), "round {round}");
            }
            Answer::Refused { code: Code::TakenOver, .. } => {
                lost += 1;
                assert_ne!(scene.holder(), Some(plan.id), "round {round}");
            }
            other => panic!("round {round}: {other:?}"),
        }
        let mut next = next;
        if !matches!(scene.bob.run(&next, Step::Prepare), Answer::Prepared { .. }) {
            // It was killed while it prepared.
            next = scene.instead(plan.id, "next");
            let answer = scene.bob.run(&next, Step::Prepare);
            assert!(matches!(answer, Answer::Prepared { .. }), "round {round}: {answer:?}");
        }
        assert!(!scene.has(&staged), "round {round}");
        assert_eq!(scene.holder(), Some(next.id), "round {round}");
        assert_eq!(refused(scene.ann.run(&plan, Step::Switch)).0, Code::TakenOver, "round {round}");
        let answer = scene.bob.run(&next, Step::Switch);
        assert!(matches!(answer, Answer::Live { .. }), "round {round}: {answer:?}");
        assert_eq!(scene.host.serves().unwrap(), "next");
        assert_eq!(scene.bob.run(&next, Step::Verdict), Answer::Noted);
        if came_through {
            break;
        }
    }
    eprintln!("{kept} killed before it was taken over, {lost} after");
    assert!(kept > 0 && lost > 2, "{kept} before, {lost} after, in {round} rounds");
}
