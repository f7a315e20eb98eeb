use proptest::prelude::*;

use super::*;

fn plan() -> Plan {
    Plan {
        id: PlanId::new(),
        site: "www.example.org".parse().unwrap(),
        action: Action::Deploy {
            reference: "v1".to_owned(),
            kind: RefKind::Tag,
            commit: "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1".parse().unwrap(),
        },
        hosts: vec!["web01".parse().unwrap(), "web02".parse().unwrap()],
        policy: Policy {
            canary: 1,
            bake_seconds: 0,
            batches: "25%".to_owned(),
            max_failures: 0,
            on_failure: OnFailure::Stop,
        },
        who: "ops@example.org".to_owned(),
        issued: jiff::Timestamp::UNIX_EPOCH,
        not_after: jiff::Timestamp::UNIX_EPOCH,
        key: "a2V5".to_owned(),
        takes_over: None,
    }
}

fn read(event: &Event) -> Envelope<'_> {
    Envelope::read(&event.headers, event.body.as_bytes()).unwrap().unwrap()
}

fn signed(document: String) -> Signed {
    Signed { document, signature: "-----BEGIN\nx\n".to_owned() }
}

#[test]
fn what_was_signed_arrives_octet_for_octet() {
    let plan = plan();
    let order = Order {
        plan: plan.id,
        step: Step::Prepare,
        hosts: plan.hosts.clone(),
        canary: false,
        outcome: None,
        issued: plan.issued,
        not_after: plan.not_after,
    };
    let text = plan.to_text();
    assert!(text.starts_with(r#"{"version":1,"id":""#), "{text}");
    let request = Request::Order { plan: Some(signed(text.clone())), order: signed(order.to_text()) };
    let event = request.event(jiff::Timestamp::UNIX_EPOCH, &plan.id.to_string(), "deploy v1\nto all");
    assert_eq!(event.body.lines().count(), 2, "{}", event.body);
    let back = Request::parse(&read(&event)).unwrap();
    assert_eq!(back, request);
    let Request::Order { plan: Some(carried), .. } = back else { panic!("{back:?}") };
    assert_eq!(carried.document, text);
    assert_eq!(Plan::from_text(&carried.document).unwrap(), plan);
}

#[test]
fn replies_and_queries_come_back_as_they_went() {
    let query = Query { id: PlanId::new(), subject: Subject::State { site: None }, hosts: Vec::new() };
    let request = Request::Query(query.clone());
    let event = request.event(jiff::Timestamp::UNIX_EPOCH, &query.id.to_string(), "state?");
    assert_eq!(Request::parse(&read(&event)).unwrap(), request);
    let report = Report {
        about: query.id,
        step: None,
        node: "web01".parse().unwrap(),
        time: jiff::Timestamp::UNIX_EPOCH,
        refuses: Some(fingerprint(b"")),
        answer: Answer::Node(NodeState { version: "0.1.0".to_owned(), ..NodeState::default() }),
    };
    assert_eq!(Report::from_text(&report.to_text()).unwrap(), report);
    let reply = Reply { vouch: None, report: signed(report.to_text()) };
    let event = reply.event(jiff::Timestamp::UNIX_EPOCH, &query.id.to_string(), "web01 is there");
    assert_eq!(Reply::parse(&read(&event)).unwrap(), reply);
}

#[test]
fn another_version_is_told_from_nonsense() {
    let body = "x\nJSON: {\"version\":2,\"new\":{}}\n";
    let envelope = Envelope::read(&[], body.as_bytes()).unwrap().unwrap();
    assert_eq!(Request::parse(&envelope).unwrap_err(), Error::Version(2));
    assert_eq!(Plan::from_text(r#"{"version":7}"#).unwrap_err(), Error::Version(7));
    for body in ["x\n", "x\nJSON: {}\n", "x\nJSON: [1]\n", "x\nJSON: {\"version\":1,\"order\":{}}\n"] {
        let envelope = Envelope::read(&[], body.as_bytes()).unwrap().unwrap();
        assert!(matches!(Request::parse(&envelope), Err(Error::Missing(_) | Error::Bad { .. })), "{body}");
    }
    let hostile = plan().to_text().replace("web01", "../web01");
    assert!(matches!(Plan::from_text(&hostile), Err(Error::Bad { key: "plan", .. })));
}

#[test]
fn the_largest_plan_fits_into_one_message() {
    let mut plan = plan();
    plan.hosts = (0..HOSTS_MAX).map(|n| format!("web{n:04}.rack{n:04}.example.org").parse().unwrap()).collect();
    let order = Order {
        plan: plan.id,
        step: Step::Prepare,
        hosts: plan.hosts.clone(),
        canary: false,
        outcome: None,
        issued: plan.issued,
        not_after: plan.not_after,
    };
    let request = Request::Order { plan: Some(signed(plan.to_text())), order: signed(order.to_text()) };
    let event = request.event(jiff::Timestamp::UNIX_EPOCH, "x", "x");
    assert!(event.body.len() <= crate::message::BODY_MAX, "{}", event.body.len());
}

/// What is read is written so that it is read again as the same.
fn comes_back<T: Document + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(read) = T::from_text(text) {
        assert_eq!(T::from_text(&read.to_text()).as_ref(), Ok(&read), "{text}");
    }
}

fn all_come_back(text: &str) {
    comes_back::<Plan>(text);
    comes_back::<Order>(text);
    comes_back::<Vouch>(text);
    comes_back::<Report>(text);
    let Ok(Some(envelope)) = Envelope::read(&[], text.as_bytes()) else { return };
    if let Ok(request) = Request::parse(&envelope) {
        let event = request.event(jiff::Timestamp::UNIX_EPOCH, "x", "x");
        assert_eq!(Request::parse(&read(&event)), Ok(request), "{text}");
    }
    if let Ok(reply) = Reply::parse(&envelope) {
        let event = reply.event(jiff::Timestamp::UNIX_EPOCH, "x", "x");
        assert_eq!(Reply::parse(&read(&event)), Ok(reply), "{text}");
    }
}

/// One of each, as it goes over the bus.
fn originals() -> Vec<String> {
    let plan = plan();
    let (issued, not_after, node) = (plan.issued, plan.not_after, plan.hosts[0].clone());
    let order = Order {
        plan: plan.id,
        step: Step::Verdict,
        hosts: plan.hosts.clone(),
        canary: true,
        outcome: Some(Outcome::RolledBack),
        issued,
        not_after,
    };
    let vouch = Vouch { node: node.clone(), key: "a2V5".to_owned(), issued, not_after };
    let scripts = vec![ScriptRun { name: "drain".to_owned(), exit: None, output: "x\u{2028}\u{1b}[0m\n".to_owned() }];
    let answer =
        Answer::Failed { at: "drain".to_owned(), why: "no".to_owned(), serving: None, switched: false, scripts };
    let report = Report { about: plan.id, step: Some(Step::Switch), node, time: issued, refuses: None, answer };
    let body = |event: Event| event.body;
    let query = Query { id: plan.id, subject: Subject::Plan { plan: plan.id }, hosts: Vec::new() };
    let asked = Request::Order { plan: Some(signed(plan.to_text())), order: signed(order.to_text()) };
    let reply = Reply { vouch: Some(signed(vouch.to_text())), report: signed(report.to_text()) };
    vec![
        plan.to_text(),
        order.to_text(),
        vouch.to_text(),
        report.to_text(),
        body(asked.event(issued, "x", "x")),
        body(Request::Query(query).event(issued, "x", "x")),
        body(reply.event(issued, "x", "x")),
    ]
}

#[test]
fn originals_are_read() {
    let texts = originals();
    let (plan, order) = (Plan::from_text(&texts[0]).unwrap(), Order::from_text(&texts[1]).unwrap());
    assert_eq!((order.canary, order.outcome, order.plan), (true, Some(Outcome::RolledBack), plan.id));
    assert_eq!(Vouch::from_text(&texts[2]).unwrap().key, "a2V5");
    let report = Report::from_text(&texts[3]).unwrap();
    assert!(matches!(report.answer, Answer::Failed { scripts, .. } if scripts[0].output.ends_with("\u{1b}[0m\n")));
    texts.iter().for_each(|text| all_come_back(text));
}

proptest! {
    #[test]
    fn what_is_altered_is_read_as_something_whole_or_not_at_all(
        which in 0_usize..7,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, "(\"|,|\\{|\\}|\\[|\\]|:|\\\\u0000|null|-1|\\PC){0,3}"), 1..4),
    ) {
        let mut text = originals().swap_remove(which);
        for (at, length, new) in cuts {
            let from = text.floor_char_boundary(at.index(text.len()));
            let to = text.ceil_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to, &new);
            if text.is_empty() {
                return Ok(());
            }
        }
        all_come_back(&text);
    }

    #[test]
    fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..300), text in "(JSON: |\\{|\"version\":1|\"order\":|\"query\":|\"report\":|,|:|\n|\\PC){0,40}") {
        for text in [String::from_utf8_lossy(&body).as_ref(), &text] {
            all_come_back(text);
        }
    }
}

#[test]
fn a_plan_that_takes_nothing_over_is_the_text_that_it_was() {
    let plan = plan();
    let text = plan.to_text();
    assert!(text.ends_with(r#","key":"a2V5"}"#), "{text}");
    assert_eq!(Plan::from_text(&text).unwrap().takes_over, None);
    let takes = Plan { takes_over: Some(PlanId::new()), ..plan };
    assert_eq!(Plan::from_text(&takes.to_text()).unwrap(), takes);
    assert!(Plan::from_text(&text.replace(r#""a2V5"}"#, r#""a2V5","takes_over":"x"}"#)).is_err());
}
