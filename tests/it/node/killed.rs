//! A node, or the process that does a step, is killed in the middle: what came of the step is on the disk, in the answer,
//! and at the load balancer.

use std::path::Path;

use failcake::message::deploy::{Answer, Code, Plan, Step, Subject};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::operator::{Host, Operator, World, refused, wait_for};
use crate::sandbox::{FAILCAKE, Running};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Node,
    Child,
}

/// A program that says where it is and waits there for as long as `stay` exists.
const STOP_HERE: &str = "touch AT/reached-$1; while test -e AT/stay-$1; do sleep 0.02; done";

/// One host with `v1` live; `v2` has scripts that can be held up, and so can its balancer.
struct Scene<'a> {
    world: &'a World,
    host: Host<'a>,
    node: Running,
    ann: Operator<'a>,
    first: String,
}

impl<'a> Scene<'a> {
    fn new(world: &'a World) -> Scene<'a> {
        use std::os::unix::fs::PermissionsExt as _;
        let at = world.sandbox.path("web01").display().to_string();
        let stop = |name: &str| STOP_HERE.replace("AT", &at).replace("$1", name);
        let lb = format!("#!/bin/sh\n{}\necho $1 >>{at}/lb.log\n", stop("$2"));
        let program = world.sandbox.write("web01/lb", lb);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.display();
        let host =
            world.host("web01", &format!("drain: [{program}, out, drain]\nundrain: [{program}, in, undrain]"), "");
        let v1 =
            world.release("v1", &[("post-deploy", &format!("test $FAILCAKE_ROLLBACK = 0 || {{ {}; }}", stop("back")))]);
        let node = host.watch();
        let ann = world.operator();
        let plan = ann.plan("v1", &v1, &["web01"]);
        ann.run(&plan, Step::Prepare);
        let Answer::Live { release: first, .. } = ann.run(&plan, Step::Switch) else { panic!() };
        ann.run(&plan, Step::Verdict);
        for file in ["reached-drain", "reached-undrain", "lb.log"] {
            std::fs::remove_file(host.path(file)).unwrap();
        }
        Scene { world, host, node, ann, first }
    }

    fn plan(&self) -> Plan {
        let at = self.host.path("").display().to_string();
        let stop = |name: &str| STOP_HERE.replace("AT/", &at).replace("$1", name);
        let scripts = ["pre-deploy", "pre-link", "post-deploy"].map(|name| (name, stop(name)));
        let v2 = self.world.release("v2", &scripts.each_ref().map(|(name, text)| (*name, text.as_str())));
        self.ann.plan("v2", &v2, &["web01"])
    }

    /// Has `name` wait for its end.
    fn hold_up(&self, name: &str) {
        std::fs::write(self.host.path(&format!("stay-{name}")), "").unwrap();
    }

    /// Kills when `name` is reached, and starts a node again if that is what it takes.
    fn kill_at(&mut self, name: &str, victim: Victim) {
        wait_for(|| self.host.path(&format!("reached-{name}")).exists());
        match victim {
            Victim::Node => {
                let child = child_of(self.node.id());
                self.node.signal(Signal::SIGKILL);
                self.node.wait();
                wait_for(|| !Path::new(&format!("/proc/{child}")).exists());
            }
            Victim::Child => kill(Pid::from_raw(child_of(self.node.id())), Signal::SIGKILL).unwrap(),
        }
        std::fs::remove_file(self.host.path(&format!("stay-{name}"))).unwrap();
        if victim == Victim::Node {
            self.node = self.host.watch();
        }
    }

    /// The answer that is given when the order is said again, and the one that is stored.
    fn outcome(&self, plan: &Plan, step: Step) -> Answer {
        let answer = self.ann.run(plan, step);
        let report = self.ann.ask(Subject::Plan { plan: plan.id }, "web01");
        assert_eq!((report.step, &report.answer), (Some(step), &answer));
        let kept = std::fs::read_to_string(self.host.plan_file(plan)).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["steps"].as_array().unwrap().last().unwrap()["answer"], serde_json::to_value(&answer).unwrap());
        answer
    }

    fn balanced(&self) -> String {
        std::fs::read_to_string(self.host.path("lb.log")).unwrap_or_default().replace('\n', " ")
    }
}

/// The process that does a step for a node.
pub fn child_of(node: u32) -> i32 {
    let is_ours = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parent == Some(node)
            && std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.contains("node-step"))
    };
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(is_ours).expect("a step is under way")
}

/// In a turn: whoever is killed, the old release serves before the switch and the new one after it, undrain runs, and the
/// site is free again after the verdict.
fn kill_in_turn(name: &str, victim: Victim) {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let plan = scene.plan();
    let Answer::Prepared { release, .. } = scene.ann.run(&plan, Step::Prepare) else { panic!() };
    scene.hold_up(name);
    scene.ann.say(&plan, Step::Switch);
    scene.kill_at(name, victim);
    let answer = scene.outcome(&plan, Step::Switch);
    let what = format!("{name}, {victim:?} killed: {answer:?}");
    let (at, serving, is_new) = match &answer {
        Answer::Failed { at, serving, .. } => {
            (at.as_str(), serving.clone().unwrap(), scene.host.serves().unwrap() == "v2")
        }
        Answer::Live { release, .. } => ("", release.clone(), scene.host.serves().unwrap() == "v2"),
        _ => panic!("{what}"),
    };
    match name {
        "drain" | "pre-deploy" | "pre-link" => {
            assert_eq!((at, serving.as_str(), is_new), ("switch", scene.first.as_str(), false), "{what}");
        }
        "post-deploy" => assert_eq!((at, &serving, is_new), ("post-deploy", &release, true), "{what}"),
        _ => assert_eq!((at, &serving, is_new), ("", &release, true), "{what}"),
    }
    assert!(scene.balanced().ends_with("in "), "{what}: {}", scene.balanced());
    if let (Answer::Failed { scripts, .. }, Victim::Child, "pre-link") = (&answer, victim, name) {
        let ran: Vec<_> = scripts.iter().map(|run| (run.name.as_str(), run.exit)).collect();
        let wanted = [("drain", Some(0)), ("pre-deploy", Some(0)), ("pre-link", None), ("undrain", Some(0))];
        assert_eq!(ran, wanted, "what ran before is not forgotten");
    }
    // Said again, it is not done again.
    assert_eq!(scene.ann.run(&plan, Step::Switch), answer);
    let next = scene.ann.plan("v2", &"b".repeat(40).parse().unwrap(), &["web01"]);
    assert_eq!(refused(scene.ann.run(&next, Step::Prepare)).0, Code::Busy, "{what}");
    scene.ann.run(&plan, Step::Verdict);
    let (code, why) = refused(scene.ann.run(&scene.ann.plan_to(next.action, &["web01"]), Step::Prepare));
    assert_eq!(code, Code::WrongCommit, "{why}");
    // Nothing is left but whole releases.
    let state = scene.host.state();
    for record in state["releases"].as_array().unwrap() {
        assert!(["live", "failed"].contains(&record["state"].as_str().unwrap()), "{what}: {state}");
    }
}

#[test]
fn in_drain() {
    kill_in_turn("drain", Victim::Node);
    kill_in_turn("drain", Victim::Child);
}

#[test]
fn in_pre_deploy() {
    kill_in_turn("pre-deploy", Victim::Node);
    kill_in_turn("pre-deploy", Victim::Child);
}

#[test]
fn in_pre_link() {
    kill_in_turn("pre-link", Victim::Node);
    kill_in_turn("pre-link", Victim::Child);
}

#[test]
fn in_post_deploy() {
    kill_in_turn("post-deploy", Victim::Node);
    kill_in_turn("post-deploy", Victim::Child);
}

#[test]
fn in_undrain() {
    kill_in_turn("undrain", Victim::Node);
    kill_in_turn("undrain", Victim::Child);
}

/// The kernel ends a script whose process was killed, but not what the script had started.
#[test]
fn what_the_script_had_started_ends_as_well() {
    for victim in [Victim::Node, Victim::Child] {
        let world = World::new();
        let mut scene = Scene::new(&world);
        let at = scene.host.path("").display().to_string();
        let script = format!("sleep 1000 & echo $! >{at}/left; {}; wait", STOP_HERE.replace("AT/", &at))
            .replace("$1", "pre-deploy");
        let commit = world.release("v2", &[("pre-deploy", &script)]);
        let plan = scene.ann.plan("v2", &commit, &["web01"]);
        scene.ann.run(&plan, Step::Prepare);
        scene.hold_up("pre-deploy");
        scene.ann.say(&plan, Step::Switch);
        scene.kill_at("pre-deploy", victim);
        let Answer::Failed { at, why, .. } = scene.outcome(&plan, Step::Switch) else { panic!() };
        assert_eq!(at, "switch");
        let cause = "its process was killed by signal 9: failcake was killed in the middle of it, before the switch";
        assert!(why == cause || victim == Victim::Node, "{why}");
        let left = std::fs::read_to_string(scene.host.path("left")).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{victim:?}: {stat}");
    }
}

/// What `drain:` had started could take the host out once more when `undrain:` has brought it back.
#[test]
fn what_drain_or_undrain_had_started_ends_before_undrain_runs() {
    for victim in [Victim::Node, Victim::Child] {
        for name in ["drain", "undrain"] {
            let world = World::new();
            let mut scene = Scene::new(&world);
            let at = scene.host.path("").display().to_string();
            let tell = format!("ended $(cat {at}/left 2>/dev/null) || echo \"alive at $2\" >>{at}/lb.log");
            let start =
                format!("sleep 1000 & echo $! >{at}/left; [ $FAILCAKE_STEP = $2 ] || echo not $2 >>{at}/lb.log");
            let lb = format!(
                "#!/bin/sh\nended() {{ [ -z \"$1\" ] || [ ! -e /proc/$1 ] || grep -q ') Z ' /proc/$1/stat; }}\n\
                 {tell}\nif [ $2 = {name} ] && [ ! -e {at}/left ]; then {start}; {}; fi\necho $1 >>{at}/lb.log\n",
                STOP_HERE.replace("AT/", &at).replace("$1", "$2"),
            );
            world.sandbox.write("web01/lb", lb);
            let plan = scene.plan();
            scene.ann.run(&plan, Step::Prepare);
            scene.hold_up(name);
            scene.ann.say(&plan, Step::Switch);
            scene.kill_at(name, victim);
            scene.outcome(&plan, Step::Switch);
            let balanced = scene.balanced();
            assert_eq!(balanced, if name == "drain" { "in " } else { "out in " }, "{name}, {victim:?} killed");
            // Nobody holds anything up for the next plan, and what is run by itself is left in peace.
            scene.ann.run(&plan, Step::Verdict);
        }
    }
}

#[test]
fn while_it_prepares() {
    for victim in [Victim::Node, Victim::Child] {
        let world = World::new();
        let v1 = world.release("v1", &[]);
        let host = world.host("web01", "", "");
        let gate = world.block_fetches();
        let mut node = host.watch_through(&gate);
        let ann = world.operator();
        let plan = ann.plan("v1", &v1, &["web01"]);
        ann.say(&plan, Step::Prepare);
        wait_for(|| gate.is_reached());
        match victim {
            Victim::Node => {
                node.signal(Signal::SIGKILL);
                node.wait();
                node = host.watch_through(&gate);
            }
            Victim::Child => kill(Pid::from_raw(child_of(node.id())), Signal::SIGKILL).unwrap(),
        }
        let answer = ann.run(&plan, Step::Prepare);
        let Answer::Failed { at, serving: None, .. } = &answer else { panic!("{victim:?}: {answer:?}") };
        assert_eq!(at, "stage");
        assert_eq!(refused(ann.run(&plan, Step::Switch)).0, Code::OutOfOrder);
        gate.open();
        // It has no site: the next plan may have it.
        let next = ann.plan("v1", &v1, &["web01"]);
        let answer = ann.run(&next, Step::Prepare);
        assert!(matches!(answer, Answer::Prepared { .. }), "{victim:?}: {answer:?}");
        drop(node);
    }
}

#[test]
fn after_it_prepared() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let plan = scene.plan();
    let prepared = scene.ann.run(&plan, Step::Prepare);
    scene.node.signal(Signal::SIGKILL);
    scene.node.wait();
    scene.node = scene.host.watch();
    assert_eq!(scene.ann.run(&plan, Step::Prepare), prepared);
    let other = scene.ann.plan("v1", &"b".repeat(40).parse().unwrap(), &["web01"]);
    assert_eq!(refused(scene.ann.run(&other, Step::Prepare)).0, Code::Busy, "the site is still the plan's");
    assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Live { .. }));
    assert_eq!(scene.host.serves().unwrap(), "v2");
}

#[test]
fn while_it_goes_back() {
    for victim in [Victim::Node, Victim::Child] {
        let world = World::new();
        let mut scene = Scene::new(&world);
        let plan = scene.plan();
        scene.ann.run(&plan, Step::Prepare);
        assert!(matches!(scene.ann.run(&plan, Step::Switch), Answer::Live { .. }));
        scene.hold_up("back");
        scene.ann.say(&plan, Step::Rollback);
        scene.kill_at("back", victim);
        let Answer::RollbackFailed { why } = scene.outcome(&plan, Step::Rollback) else { panic!() };
        assert!(why.contains("killed") && why.contains(&scene.first), "{why}");
        assert_eq!(scene.host.serves().unwrap(), "v1");
    }
}

#[test]
fn a_node_that_is_told_to_stop_ends_its_turns_well() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let plan = scene.plan();
    scene.ann.run(&plan, Step::Prepare);
    scene.hold_up("pre-link");
    scene.ann.say(&plan, Step::Switch);
    wait_for(|| scene.host.path("reached-pre-link").exists());
    scene.node.signal(Signal::SIGTERM);
    let Answer::Failed { at, serving, .. } = scene.ann.answer(&plan, Step::Switch) else { panic!() };
    assert_eq!((at.as_str(), serving), ("pre-link", Some(scene.first.clone())));
    assert_eq!(scene.node.wait().code(), Some(0));
    assert_eq!((scene.host.serves().unwrap().as_str(), scene.balanced().as_str()), ("v1", "out in "));
    // A reload in the middle changes nothing for the turn.
    scene.node = scene.host.watch();
    scene.ann.run(&plan, Step::Verdict);
    let plan = scene.ann.plan_to(plan.action, &["web01"]);
    scene.ann.run(&plan, Step::Prepare);
    scene.ann.say(&plan, Step::Switch);
    std::fs::remove_file(scene.host.path("reached-pre-link")).unwrap();
    wait_for(|| scene.host.path("reached-pre-link").exists());
    scene.node.signal(Signal::SIGHUP);
    scene.node.stderr_line("the configuration was read again");
    assert!(matches!(scene.ann.ask(Subject::Nodes, "web01").answer, Answer::Node(_)), "it is not deaf meanwhile");
    std::fs::remove_file(scene.host.path("stay-pre-link")).unwrap();
    assert!(matches!(scene.ann.answer(&plan, Step::Switch), Answer::Live { .. }));
    scene.node.stderr_line("listening to");
    assert_eq!(scene.host.serves().unwrap(), "v2");
}

#[test]
fn one_node_for_one_store() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let _node = host.watch();
    host.failcake(&["deploy", "--watch"]).run().code(1).stderr_has("another `failcake deploy --watch` works with");
}

/// A disk that is not mounted yet, say.
#[test]
fn a_store_that_is_elsewhere_is_told() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let call = host.failcake(&["deploy", "--watch"]);
    let mut node = call.env("FAILCAKE_SPOOL", host.path("nowhere")).env("XDG_STATE_HOME", host.path("state")).start();
    node.stderr_line("/nowhere (`spool:`) is not there: plans are remembered in ");
    node.stderr_line("listening to");
}

#[test]
fn a_record_that_cannot_be_read_is_never_done_again() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let plan = scene.plan();
    scene.ann.run(&plan, Step::Prepare);
    scene.node.signal(Signal::SIGKILL);
    scene.node.wait();
    std::fs::write(scene.host.plan_file(&plan), "{\"version\":1,").unwrap();
    scene.node = scene.host.watch();
    for step in [Step::Prepare, Step::Switch] {
        let (code, why) = refused(scene.ann.run(&plan, step));
        assert_eq!(code, Code::NotPossible, "{why}");
    }
    let said = scene.ann.ask(Subject::Plan { plan: plan.id }, "web01");
    let (_, why) = refused(said.answer);
    assert!(why.starts_with("what is known of the plan here can't be read: "), "{why}");
    assert_eq!(scene.host.serves().unwrap(), "v1");
}

#[test]
fn what_cannot_be_written_down_is_not_begun() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let spool = host.path("spool");
    std::fs::create_dir_all(&spool).unwrap();
    let run = format!("mount -t tmpfs -o size=200k tmpfs {} && exec {FAILCAKE} deploy --watch", spool.display());
    let words = ["-m", "sh", "-c", &run];
    let call = world.sandbox.program("unshare", words);
    let mut node = call.env("FAILCAKE_CONFIG", host.path("failcake.yaml")).env("FAILCAKE_SPOOL", &spool).start();
    node.stderr_line("listening to");
    // Its own view of the disk.
    let fill = std::path::PathBuf::from(format!("/proc/{}/root{}/fill", node.id(), spool.display()));
    let full = || drop(std::fs::write(&fill, vec![0; 400 * 1024]));
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&plan, Step::Prepare), Answer::Prepared { .. }));
    full();
    let (code, why) = refused(ann.run(&plan, Step::Switch));
    assert_eq!(code, Code::NotPossible, "{why}");
    assert!(why.contains("No space left"), "{why}");
    let other = ann.plan("v1", &v1, &["web01"]);
    assert!(matches!(ann.run(&other, Step::Prepare), Answer::Refused { .. }));
    std::fs::remove_file(&fill).unwrap();
    for (plan, step) in [(&plan, Step::Switch), (&other, Step::Prepare)] {
        assert!(matches!(ann.run(plan, step), Answer::Refused { .. }), "not when there is room again either");
    }
    assert_eq!(host.serves(), None);
    assert_eq!(ann.run(&plan, Step::Abort), Answer::Aborted);
    let next = ann.plan("v1", &v1, &["web01"]);
    ann.run(&next, Step::Prepare);
    assert!(matches!(ann.run(&next, Step::Switch), Answer::Live { .. }));
}

/// At moments that nobody chose: what is answered is what is on the disk, and the host is back at its balancer.
#[test]
fn at_any_moment_of_a_turn() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let rounds = 12;
    let (mut before, mut after) = (0, 0);
    for round in 0..rounds {
        let tag = format!("r{round}");
        let commit = world.release(&tag, &[("pre-deploy", "true"), ("post-deploy", "true")]);
        let plan = scene.ann.plan(&tag, &commit, &["web01"]);
        let answer = scene.ann.run(&plan, Step::Prepare);
        let Answer::Prepared { release, .. } = &answer else { panic!("{answer:?}") };
        let served = scene.host.serves();
        scene.ann.say(&plan, Step::Switch);
        std::thread::sleep(std::time::Duration::from_millis(round * 120 / rounds));
        scene.node.signal(Signal::SIGKILL);
        scene.node.wait();
        scene.node = scene.host.watch();
        let answer = scene.ann.run(&plan, Step::Switch);
        let current = std::fs::read_link(scene.host.path("sites/www/current")).unwrap();
        let current = current.file_name().unwrap().to_str().unwrap().to_owned();
        match &answer {
            Answer::Live { release: live, .. } => {
                assert_eq!((live, &current), (release, release));
                after += 1;
            }
            Answer::Failed { at, serving, .. } => {
                assert_eq!(serving.as_ref(), Some(&current), "{answer:?}");
                assert_eq!(current == *release, at == "post-deploy", "{answer:?}");
                before += 1;
            }
            other => panic!("round {round}: {other:?}"),
        }
        let wanted = if current == *release { Some(tag) } else { served };
        assert_eq!(scene.host.serves(), wanted, "round {round}: {answer:?}");
        let balanced = scene.balanced();
        assert!(balanced.is_empty() || balanced.ends_with("in "), "round {round}: {balanced}");
        assert_eq!(scene.ann.run(&plan, Step::Verdict), Answer::Noted);
    }
    eprintln!("{before} killed before they had ended, {after} after it");
}
