//! What a host refuses, with which reason; and that nothing of it is done.

use std::time::{Duration, Instant};

use failcake::message::deploy::{
    Action, Answer, Code, Document as _, Order, Plan, PlanId, RefKind, Request, Signed, Step,
};
use failcake::name::Rev;
use jiff::{SignedDuration, Timestamp};

use super::operator::{Host, Operator, World, refused};
use crate::sandbox::brokers::Listener;

/// What the host of a test has: no release but the one that was made live by hand.
#[track_caller]
fn assert_untouched(host: &Host<'_>) {
    assert_eq!(host.serves(), None);
    assert!(!host.path("sites/www").exists(), "not even its folder was made");
}

fn send(ann: &Operator<'_>, plan: Option<Signed>, order: Signed, id: PlanId) {
    ann.send(&Request::Order { plan, order }, id);
}

/// The refusal of a plan that is sent with its first order.
#[track_caller]
fn try_plan(ann: &Operator<'_>, plan: &Plan, signed: Signed) -> (Code, String) {
    send(ann, Some(signed), ann.sign_order(&ann.order(plan, Step::Prepare)), plan.id);
    refused(ann.answer_of(plan, Step::Prepare, "web01"))
}

#[test]
fn signatures_that_do_not_hold() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "  - { who: web01, sites: ['w*'], hosts: ['web*'] }");
    let mut node = host.watch();
    let events = Listener::open(&world.url, &[&world.topic("events.deploys")]);
    let ann = world.operator();

    // Forged: by somebody who is not in the file, in Ann's name.
    let eve = Operator::new(&world, "ann@example.org", "eve");
    let plan = eve.plan("v1", &v1, &["web01"]);
    let (code, why) = try_plan(&eve, &plan, eve.sign(&plan));
    assert_eq!(code, Code::BadSignature, "{why}");
    let line = node.stderr_line("problem: refused prepare");
    assert!(line.contains(&plan.id.to_string()) && line.contains(&why), "{line}");
    let told = String::from_utf8(events.take(1).remove(0).body).unwrap();
    assert_eq!(told, line.replace("failcake: ", "web01 "));

    // Altered after it was signed.
    let plan = ann.plan("v1", &v1, &["web01"]);
    let mut signed = ann.sign(&plan);
    signed.document = signed.document.replace("\"v1\"", "\"v2\"");
    assert_eq!(try_plan(&ann, &plan, signed).0, Code::BadSignature);
    // Signed for another purpose.
    let plan = ann.plan("v1", &v1, &["web01"]);
    let signed = ann.sign_for(&plan, "file");
    assert_eq!(try_plan(&ann, &plan, signed).0, Code::BadSignature);
    // By a node, whose key is for replies.
    let web = Operator::new(&world, "web01", "web01");
    let plan = web.plan("v1", &v1, &["web01"]);
    assert_eq!(try_plan(&web, &plan, web.sign(&plan)).0, Code::BadSignature);
    // In the name of nobody, or of an option.
    for who in ["", "-f/etc/passwd", "a\nb", "*"] {
        let plan = Plan { who: who.to_owned(), ..ann.plan("v1", &v1, &["web01"]) };
        let (code, why) = try_plan(&ann, &plan, ann.sign(&plan));
        assert_eq!(code, Code::BadSignature, "{who:?}: {why}");
    }
    // No signature at all.
    let plan = ann.plan("v1", &v1, &["web01"]);
    let nothing = Signed { document: plan.to_text(), signature: String::new() };
    assert_eq!(try_plan(&ann, &plan, nothing).0, Code::BadSignature);
    // An order that the plan's key did not sign, and one that was altered.
    let plan = ann.plan("v1", &v1, &["web01"]);
    let order = ann.order(&plan, Step::Prepare);
    send(&ann, Some(ann.sign(&plan)), eve.sign_order(&order), plan.id);
    assert_eq!(refused(ann.answer(&plan, Step::Prepare)).0, Code::BadSignature);
    let mut signed = ann.sign_order(&ann.order(&plan, Step::Prepare));
    signed.document = signed.document.replace("prepare", "switch");
    send(&ann, Some(ann.sign(&plan)), signed, plan.id);
    assert_eq!(refused(ann.answer(&plan, Step::Switch)).0, Code::BadSignature);
    // A plan in the place of another.
    let (one, other) = (ann.plan("v1", &v1, &["web01"]), ann.plan("v1", &v1, &["web01"]));
    send(&ann, Some(ann.sign(&other)), ann.sign_order(&ann.order(&one, Step::Prepare)), one.id);
    assert_eq!(refused(ann.answer(&one, Step::Prepare)).0, Code::BadSignature);
    assert_untouched(&host);
}

#[test]
fn what_is_not_allowed_or_not_for_this_host() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    world.allow_signers(&[
        "ann@example.org ann failcake-plan",
        "eve@example.org eve failcake-plan",
        "web01 web01 failcake-reply",
    ]);
    let host = world.host("web01", "", "  - { who: eve@example.org, sites: ['w*'], hosts: ['db*'] }");
    let _node = host.watch();
    let (ann, eve) = (world.operator(), Operator::new(&world, "eve@example.org", "eve"));
    let plan = eve.plan("v1", &v1, &["web01"]);
    let (code, why) = refused(eve.run(&plan, Step::Prepare));
    assert_eq!(code, Code::NotAllowed);
    assert!(why.contains("eve@example.org") && why.contains("www"), "{why}");
    let plan = Plan { site: "other".parse().unwrap(), ..ann.plan("v1", &v1, &["web01"]) };
    assert_eq!(refused(ann.run(&plan, Step::Prepare)).0, Code::NotAllowed);
    let plan = Plan { site: "wiki".parse().unwrap(), ..ann.plan("v1", &v1, &["web01"]) };
    assert_eq!(refused(ann.run(&plan, Step::Prepare)).0, Code::NoSuchSite);
    // The order names this host, the plan does not.
    let plan = ann.plan("v1", &v1, &["web02"]);
    let order = Order { hosts: vec!["web01".parse().unwrap()], ..ann.order(&plan, Step::Prepare) };
    send(&ann, Some(ann.sign(&plan)), ann.sign_order(&order), plan.id);
    assert_eq!(refused(ann.answer_of(&plan, Step::Prepare, "web01")).0, Code::WrongHost);
    // The other way round it is none of its business.
    let plan = ann.plan("v1", &v1, &["web01", "web02"]);
    let order = Order { hosts: vec!["web02".parse().unwrap()], ..ann.order(&plan, Step::Prepare) };
    send(&ann, Some(ann.sign(&plan)), ann.sign_order(&order), plan.id);
    let answers = ann.within(Duration::from_millis(500));
    assert!(answers.iter().all(|report| report.about != plan.id), "{answers:?}");
    // Unknown, and no plan with it.
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::UnknownPlan);
    let action = Action::Rollback { to: Some("../../etc".to_owned()) };
    let plan = ann.plan_to(action, &["web01"]);
    assert_eq!(refused(ann.run(&plan, Step::Prepare)).0, Code::BadSignature);
    assert_untouched(&host);
}

#[test]
fn no_entry_means_nobody_and_a_reload_counts_at_once() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let config = world.sandbox.read("web01/failcake.yaml");
    let nobody = config.split("allow:").next().unwrap();
    world.sandbox.write("web01/failcake.yaml", nobody);
    let mut node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert_eq!(refused(ann.run(&plan, Step::Prepare)).0, Code::NotAllowed);
    // A bad configuration changes nothing.
    world.sandbox.write("web01/failcake.yaml", "nonsense: 1\n");
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.stderr_line("the new configuration is bad");
    world.sandbox.write("web01/failcake.yaml", &config);
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.stderr_line("the configuration was read again");
    node.stderr_line("listening to");
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }), "it was never begun, so it may be now");
    world.sandbox.write("web01/failcake.yaml", nobody);
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.stderr_line("listening to");
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::NotAllowed);
    assert_eq!(host.serves(), None);
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted, "to end it nobody needs to be allowed");
}

#[test]
fn too_late_and_too_early() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let now = Timestamp::now();
    let at = |from: i64, to: i64| (now + SignedDuration::from_secs(from), now + SignedDuration::from_secs(to));
    let dated = |(issued, not_after)| Plan { issued, not_after, ..ann.plan("v1", &v1, &["web01"]) };

    let plan = dated(at(-120, -60));
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::Expired, "{why}");
    let plan = dated(at(300, 600));
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::NotYetValid);
    let seconds: i64 = why.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!((230..=300).contains(&seconds), "it says by how much: {why}");
    // A minute is nothing.
    let plan = dated(at(40, 600));
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    ann.run(&plan, Step::Abort);
    let plan = dated(at(0, 40 * 24 * 3600));
    assert_eq!(refused(ann.run(&plan, Step::Prepare)).0, Code::NotPossible, "nobody remembers it for so long");

    // The order has times of its own.
    let plan = ann.plan("v1", &v1, &["web01"]);
    for ((issued, not_after), code) in [(at(-60, -1), Code::Expired), (at(300, 400), Code::NotYetValid)] {
        let order = Order { issued, not_after, ..ann.order(&plan, Step::Prepare) };
        send(&ann, Some(ann.sign(&plan)), ann.sign_order(&order), plan.id);
        assert_eq!(refused(ann.answer(&plan, Step::Prepare)).0, code);
    }
    // Somebody says once more what is too old to be done: it is a question by then, whatever it asks for.
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    for step in [Step::Prepare, Step::Switch, Step::Rollback] {
        let (issued, not_after) = at(-60, -1);
        send(&ann, None, ann.sign_order(&Order { issued, not_after, ..ann.order(&plan, step) }), plan.id);
        assert!(matches!(ann.answer(&plan, Step::Prepare), Answer::Prepared { .. }), "{step}");
    }
    assert_eq!(host.serves(), None);
    ann.run(&plan, Step::Abort);
    // A plan whose time ends between two steps.
    let end = Timestamp::now() + SignedDuration::from_secs(15);
    let plan = dated((now, end));
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    super::operator::wait_for(|| Timestamp::now() > end);
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::Expired);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }), "what came of it can still be asked");
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted, "what ends it may come later");
    assert_eq!(host.serves(), None);
}

#[test]
fn steps_in_the_wrong_order_and_the_same_ones_again() {
    let world = World::new();
    let v1 = world.release("v1", &[("pre-deploy", "echo ran >>../../../../ran")]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    for step in [Step::Switch, Step::Rollback, Step::Abort] {
        assert_eq!(refused(ann.run(&plan, step)).0, Code::UnknownPlan);
    }
    let prepare = || (ann.sign(&plan), ann.sign_order(&ann.order(&plan, Step::Prepare)));
    // Said three times at once: done once, answered each time.
    let (signed, order) = prepare();
    for _ in 0..3 {
        send(&ann, Some(signed.clone()), order.clone(), plan.id);
    }
    let prepared = ann.answer(&plan, Step::Prepare);
    assert!(matches!(prepared, Answer::Prepared { .. }), "{prepared:?}");
    ann.within(Duration::from_millis(300));
    let switch = ann.sign_order(&ann.order(&plan, Step::Switch));
    for _ in 0..3 {
        send(&ann, None, switch.clone(), plan.id);
    }
    let live = ann.answer(&plan, Step::Switch);
    assert!(matches!(live, Answer::Live { .. }), "{live:?}");
    assert_eq!(ann.within(Duration::from_millis(300)).iter().filter(|report| report.answer == live).count(), 0);
    // Replayed, the very same message: the stored answer.
    send(&ann, None, switch.clone(), plan.id);
    assert_eq!(ann.answer(&plan, Step::Switch), live);
    let (signed, order) = prepare();
    send(&ann, Some(signed), order, plan.id);
    assert_eq!(ann.answer(&plan, Step::Switch), live, "to prepare again is to ask how it stands");
    assert_eq!(ann.within(Duration::from_millis(300)), []);
    assert_eq!(std::fs::read_to_string(host.path("ran")).unwrap(), "ran\n");
    // Another plan with the same name: signed well, and refused.
    let other = Plan {
        action: Action::Deploy { reference: "v1".to_owned(), kind: RefKind::Commit, commit: v1.clone() },
        ..plan.clone()
    };
    send(&ann, Some(ann.sign(&other)), ann.sign_order(&ann.order(&other, Step::Prepare)), plan.id);
    assert_eq!(refused(ann.answer(&plan, Step::Prepare)).0, Code::BadSignature);
    ann.run(&plan, Step::Verdict);
    assert_eq!(refused(ann.run(&plan, Step::Rollback)).0, Code::OutOfOrder);
    // An abort that came before its prepare.
    let plan = ann.plan("v1", &v1, &["web01"]);
    send(&ann, Some(ann.sign(&plan)), ann.sign_order(&ann.order(&plan, Step::Abort)), plan.id);
    assert_eq!(ann.answer(&plan, Step::Abort), Answer::Aborted);
    ann.say(&plan, Step::Prepare);
    assert_eq!(ann.answer(&plan, Step::Abort), Answer::Aborted);
    assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::OutOfOrder);
    assert_eq!(std::fs::read_dir(host.path("sites/www/releases")).unwrap().count(), 1);
}

#[test]
fn what_was_refused_once_stays_refused() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let first = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&first, Step::Prepare), Answer::Prepared { .. }));
    let second = ann.plan("v1", &v1, &["web01"]);
    assert_eq!(refused(ann.run(&second, Step::Prepare)).0, Code::Busy);
    ann.run(&first, Step::Abort);
    // Somebody says it again, after the operator has given it up.
    assert_eq!(refused(ann.run(&second, Step::Prepare)).0, Code::Busy);
    assert_eq!(refused(ann.run(&second, Step::Switch)).0, Code::OutOfOrder);
    // So does one from the future, when its time comes.
    let now = Timestamp::now();
    let early = Plan { issued: now + SignedDuration::from_secs(62), ..ann.plan("v1", &v1, &["web01"]) };
    assert_eq!(refused(ann.run(&early, Step::Prepare)).0, Code::NotYetValid);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(refused(ann.run(&early, Step::Prepare)).0, Code::NotYetValid);
    assert_eq!(host.serves(), None);
}

#[test]
fn another_version_is_answered_and_garbage_is_not() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    let ann = world.operator();
    let raw = |subject: &str, body: &str| {
        ann.send_raw(vec![("subject".to_owned(), subject.to_owned())], body.as_bytes().to_vec());
    };
    let id = PlanId::new();
    raw(&id.to_string(), "x\nJSON: {\"version\":2,\"order\":{\"somehow\":\"else\"}}\n");
    let report = ann.find(|report| report.about == id);
    let (code, why) = refused(report.answer);
    assert_eq!(code, Code::UnknownVersion);
    assert!(why.contains("version 2") && why.contains("version 1"), "{why}");
    // Versions of what is inside.
    let plan = ann.plan("v1", &v1, &["web01"]);
    let newer = |text: String| text.replacen("\"version\":1", "\"version\":3", 1);
    let document = newer(plan.to_text());
    let signed = Signed { document, signature: ann.sign(&plan).signature };
    assert_eq!(try_plan(&ann, &plan, signed).0, Code::UnknownVersion);
    let document = newer(ann.order(&plan, Step::Prepare).to_text());
    let signature = ann.step_key.sign(document.as_bytes());
    send(&ann, Some(ann.sign(&plan)), Signed { document, signature }, plan.id);
    assert_eq!(refused(ann.find(|report| report.about == plan.id).answer).0, Code::UnknownVersion);

    for body in [
        "\n",
        "hello",
        "x\nJSON: {\"version\":1}\n",
        "x\nJSON: {\"version\":1,\"order\":{\"order\":{\"document\":\"{}\",\"signature\":\"\"}}}\n",
        "x\nJSON: {\"version\":1,\"query\":{\"id\":\"../../etc/passwd\",\"subject\":\"nodes\"}}\n",
        "x\nJSON: [[[[[[",
        &format!("x\nJSON: {}", "[".repeat(200_000)),
    ] {
        raw("nothing", body);
    }
    ann.send_raw(Vec::new(), vec![0xff; 2_000_000]);
    node.stderr_line("dropped a malformed message");
    assert!(matches!(ann.run(&ann.plan("v1", &v1, &["web01"]), Step::Prepare), Answer::Prepared { .. }), "it lives");
}

#[test]
fn a_flood_of_garbage_eats_neither_the_cpu_nor_the_answers() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let v1: Rev = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    // Each run of ssh-keygen leaves a line.
    let log = world.sandbox.path("runs");
    let real = world.sandbox.program("which", ["ssh-keygen"]).run().success().text();
    let counted = format!("#!/bin/sh\necho >>{}\nexec {} \"$@\"\n", log.display(), real.trim());
    let program = world.sandbox.write("bin/ssh-keygen", counted);
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", world.sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    std::fs::create_dir_all(host.path("spool")).unwrap();
    let mut node = host.failcake(&["deploy", "--watch"]).env("PATH", path).start();
    node.stderr_line("listening to");
    let runs = || std::fs::read_to_string(&log).unwrap_or_default().len();

    let ann = world.operator();
    let eve = Operator::new(&world, "ann@example.org", "eve");
    // One that is said again and again is checked once.
    let plan = eve.plan("v1", &v1, &["web01"]);
    let (signed, order) = (eve.sign(&plan), eve.sign_order(&eve.order(&plan, Step::Prepare)));
    let before = runs();
    for _ in 0..20 {
        send(&ann, Some(signed.clone()), order.clone(), plan.id);
        assert_eq!(refused(ann.answer(&plan, Step::Prepare)).0, Code::BadSignature);
    }
    assert_eq!(runs() - before, 1);
    // Each another one: most are passed over.
    let (before, begun) = (runs(), Instant::now());
    for _ in 0..500 {
        let plan = eve.plan("v1", &v1, &["web01"]);
        let order = eve.sign_order(&eve.order(&plan, Step::Prepare));
        let signed = Signed { document: plan.to_text(), signature: signed.signature.clone() };
        send(&ann, Some(signed), order, plan.id);
    }
    // One that can hold, said once behind them all, is not among those.
    let good = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&good, Step::Prepare), Answer::Prepared { .. }));
    node.stderr_line("too many requests");
    let mut refusals = ann.within(Duration::from_secs(2));
    refusals.retain(|report| report.about != good.id);
    assert!(refusals.iter().all(|report| matches!(report.answer, Answer::Refused { code: Code::BadSignature, .. })));
    let most = 10 + 5 * (begun.elapsed().as_secs() as usize + 1);
    assert!(runs() - before <= most, "{} runs, more than {most}", runs() - before);
    assert!(refusals.len() <= most, "{} answers", refusals.len());
    let plans = host.path(&format!("spool/{}/plans", nix::unistd::geteuid()));
    assert_eq!(std::fs::read_dir(plans).unwrap().count(), 2, "the lock and the one good plan");
}

#[test]
fn a_node_that_can_trust_nobody_says_so() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let config = world.sandbox.read("web01/failcake.yaml");
    let without: String =
        config.lines().filter(|line| !line.contains("allowed-signers")).map(|line| format!("{line}\n")).collect();
    world.sandbox.write("web01/failcake.yaml", without);
    let node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let (code, why) = refused(ann.run(&plan, Step::Prepare));
    assert_eq!(code, Code::NotPossible);
    assert!(why.contains("allowed-signers"), "{why}");
    drop(node);
    // A file that is missing is not the operator's fault either; when it is there, the same plan is good.
    world.sandbox.write("web01/failcake.yaml", config);
    let signers = world.sandbox.path("allowed_signers");
    let away = world.sandbox.path("away");
    std::fs::rename(&signers, &away).unwrap();
    let _node = host.watch();
    send(&ann, Some(ann.sign(&plan)), ann.sign_order(&ann.order(&plan, Step::Prepare)), plan.id);
    std::thread::sleep(Duration::from_millis(500));
    std::fs::rename(&away, &signers).unwrap();
    let (code, why) = refused(ann.answer(&plan, Step::Prepare));
    assert_eq!(code, Code::NotPossible);
    assert!(why.contains("allowed_signers"), "{why}");
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
}
