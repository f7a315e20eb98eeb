//! `failcake deploy --watch`: what a host does when plans come over the bus, looked at on its disk as well as in its answers.

mod brokers;
mod killed;
pub mod operator;
mod queries;
mod refusals;
mod taken;
mod turn;
mod user;

use failcake::message::deploy::{Answer, Step, Subject};

use operator::World;

#[test]
fn a_signed_plan_is_prepared_then_made_live_in_its_turn() {
    let world = World::new();
    let commit =
        world.release("v1", &[("pre-deploy", "echo getting ready"), ("post-deploy", "echo canary $FAILCAKE_CANARY")]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &commit, &["web01"]);

    let Answer::Prepared { release, previous_commit: None } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert_eq!(host.serves(), None, "no script runs and nothing is switched");
    let staged = std::fs::read_to_string(host.path(&format!("sites/www/releases/{release}/index.html"))).unwrap();
    assert_eq!(staged, "v1");

    let Answer::Live { release: live, commit: Some(served), scripts, .. } = ann.run(&plan, Step::Switch) else {
        panic!()
    };
    assert_eq!((live, served), (release.clone(), commit.to_string()));
    assert_eq!(host.serves().unwrap(), "v1");
    let said: Vec<_> =
        scripts.iter().map(|run| (run.name.as_str(), run.exit, run.output.lines().last().unwrap())).collect();
    assert_eq!(said, [("pre-deploy", Some(0), "getting ready"), ("post-deploy", Some(0), "canary 0")]);

    assert_eq!(ann.run(&plan, Step::Verdict), Answer::Noted);
    let Answer::Node(state) = ann.ask(Subject::Nodes, "web01").answer else { panic!() };
    assert_eq!(state.sites[0].release, Some(release));
    assert_eq!(state.sites[0].plan, None);
}
