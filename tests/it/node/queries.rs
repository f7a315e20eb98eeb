//! Who is there, what is live, what could be deployed.

use std::time::Duration;

use failcake::message::deploy::{Answer, PlanId, Query, Request, Step, Subject};

use super::operator::World;

#[test]
fn a_node_says_who_it_is_and_what_it_serves() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let facts = world.sandbox.write("facts.json", r#"{"dc":"lon","rack":12}"#);
    let host = world.host("web01", "", &format!("facts-file: {}", facts.display()));
    let mut node = host.watch();
    let ann = world.operator();
    let Answer::Node(state) = ann.ask(Subject::Nodes, "web01").answer else { panic!() };
    assert_eq!(state.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(state.facts, [("dc".into(), "lon".into()), ("rack".into(), "12".into())].into());
    assert_eq!((state.sites[0].site.as_str(), &state.sites[0].release, &state.sites[0].plan), ("www", &None, &None));

    let plan = ann.plan("v1", &v1, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    let Answer::State { sites } = ann.ask(Subject::State { site: None }, "web01").answer else { panic!() };
    assert_eq!((&sites[0].release, sites[0].plan), (&None, Some(plan.id)), "the plan has it");
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    host.failcake(&["hold", "www", "--reason", "migration"]).run().success();
    let site = Some("www".parse().unwrap());
    let Answer::State { sites } = ann.ask(Subject::State { site }, "web01").answer else { panic!() };
    let live = &sites[0];
    assert_eq!((live.release.as_ref(), live.reference.as_deref()), (Some(&release), Some("v1")));
    assert_eq!(live.commit, Some(v1.to_string()));
    assert!(live.since.is_some() && live.note.as_ref().unwrap().contains("migration"));
    let site = Some("unknown".parse().unwrap());
    assert_eq!(ann.ask(Subject::State { site }, "web01").answer, Answer::State { sites: Vec::new() });

    world.release("v2", &[]);
    host.failcake(&["fetch"]).run().success();
    let Answer::Tags { tags, problem: None } = ann.ask(Subject::Tags { repo: "spog".parse().unwrap() }, "web01").answer
    else {
        panic!()
    };
    let seen: Vec<_> = tags.iter().map(|it| (it.tag.as_str(), it.live.len())).collect();
    assert_eq!(seen, [("v2", 0), ("v1", 1)]);
    let Answer::Tags { problem: Some(problem), .. } =
        ann.ask(Subject::Tags { repo: "other".parse().unwrap() }, "web01").answer
    else {
        panic!()
    };
    assert!(problem.contains("other"), "{problem}");

    let report = ann.ask(Subject::Plan { plan: plan.id }, "web01");
    assert_eq!(report.step, Some(Step::Switch));
    assert!(matches!(report.answer, Answer::Live { .. }));
    let report = ann.ask(Subject::Plan { plan: PlanId::new() }, "web01");
    assert_eq!((report.step, report.answer), (None, Answer::UnknownPlan));

    // The facts are read again with the configuration; bad ones leave the old.
    std::fs::write(&facts, "dc: [").unwrap();
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.stderr_line("the new configuration is bad");
    std::fs::write(&facts, "dc: ams").unwrap();
    node.signal(nix::sys::signal::Signal::SIGHUP);
    node.stderr_line("listening to");
    let Answer::Node(state) = ann.ask(Subject::Nodes, "web01").answer else { panic!() };
    assert_eq!(state.facts, [("dc".into(), "ams".into())].into());
}

#[test]
fn a_fifo_in_the_place_of_a_file_holds_no_answer_up() {
    let world = World::new();
    let v1 = world.release("v1", &[]);
    let host = world.host("web01", "", "");
    let _node = host.watch();
    let ann = world.operator();
    let plan = ann.plan("v1", &v1, &["web01"]);
    let Answer::Prepared { release, .. } = ann.run(&plan, Step::Prepare) else { panic!() };
    assert!(matches!(ann.run(&plan, Step::Switch), Answer::Live { .. }));
    let at = |name: &str| host.path(&format!("sites/www/.failcake/{name}"));
    let record = at(&format!("releases/{release}.json"));
    std::fs::remove_file(&record).unwrap();
    for path in [record, at("hold")] {
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    for _ in 0..10 {
        let Answer::State { sites } = ann.ask(Subject::State { site: None }, "web01").answer else { panic!() };
        assert_eq!(sites[0].release, Some(release.clone()));
        assert!(sites[0].note.as_ref().unwrap().contains("does not say why"));
    }
}

#[test]
fn only_who_is_asked_answers_and_a_flood_is_cut_short() {
    let world = World::new();
    let host = world.host("web01", "", "");
    let mut node = host.watch();
    let ann = world.operator();
    let query = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        Query { id: PlanId::new(), subject: Subject::Nodes, hosts }
    };
    let (others, ours) = (query(&["web02"]), query(&["web02", "web01"]));
    for query in [&others, &ours] {
        ann.send(&Request::Query(query.clone()), query.id);
    }
    let answers = ann.within(Duration::from_millis(500));
    let about: Vec<_> = answers.iter().map(|report| report.about).collect();
    assert_eq!(about, [ours.id]);

    for _ in 0..3000 {
        let query = query(&[]);
        ann.send(&Request::Query(query.clone()), query.id);
    }
    node.stderr_line("too many requests");
    let answers = ann.within(Duration::from_secs(3));
    assert!((1..1000).contains(&answers.len()), "{} answers", answers.len());
    ann.ask(Subject::Nodes, "web01");
}

#[test]
fn a_node_without_a_key_answers_unsigned_and_says_so() {
    let world = World::new();
    let host = world.host("web07", "", "");
    std::fs::create_dir_all(host.path("spool")).unwrap();
    let mut node = host.failcake(&["deploy", "--watch"]).start();
    node.stderr_line("what this node answers is not signed");
    node.stderr_line("listening to");
    let ann = world.operator();
    assert!(matches!(ann.ask(Subject::Nodes, "web07").answer, Answer::Node(_)));
}
