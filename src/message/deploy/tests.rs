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
