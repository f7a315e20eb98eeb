//! What Jenkins says no to, and with which words.

use super::*;

const SPOG: &str = "spog: { job: spog-tests }";

/// `failcake jenkins-trigger spog master`.
fn now(machine: &Machine, words: &[&str]) -> super::super::sandbox::Ran {
    machine.world.failcake([&["jenkins-trigger", "spog", "master"], words].concat()).run()
}

#[test]
fn a_jobs_own_token_goes_in_the_body_with_a_crumb_of_the_session() {
    let machine = Machine::new("");
    machine.world.write("job-token", "open & secret\n");
    machine.configure("", "spog: { job: spog-tests, token-file: job-token }");
    machine.jenkins.job("spog-tests", Job { token: Some("open & secret".to_owned()), ..Job::default() });
    now(&machine, &[]).success().stdout("triggered job spog-tests for [spog] refs/heads/master\n");
    let requests = machine.jenkins.state().requests.clone();
    let seen: Vec<_> = requests.iter().map(|request| (request.method.as_str(), request.target.as_str())).collect();
    let build = ("POST", "/ci/job/spog-tests/build");
    assert_eq!(seen, [build, ("GET", "/ci/crumbIssuer/api/json"), build]);
    assert_eq!(requests[2].body, "token=open%20%26%20secret");
    assert_eq!(machine.jenkins.waiting(), 1);
    // Without crumbs there is nothing to ask for.
    machine.jenkins.state().crumbs = false;
    now(&machine, &[]).success();
    assert_eq!(machine.jenkins.state().requests.len(), 4);
}

#[test]
fn a_wrong_token_is_told_without_it() {
    let machine = Machine::new("");
    machine.world.write("job-token", "mistaken\n");
    machine.configure("", "spog: { job: spog-tests, token-file: job-token }");
    machine.jenkins.job("spog-tests", Job { token: Some("other".to_owned()), ..Job::default() });
    let said = now(&machine, &["--verbose", "--verbose"]).code(1).stderr_has("no job spog-tests is there");
    assert!(!said.text().contains("mistaken"));
    assert!(!machine.listed().contains("mistaken"));
    for entry in std::fs::read_dir(machine.orders()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(8).any(|window| window == b"mistaken"), "{}", path.display());
    }
}

#[test]
fn each_refusal_has_its_remedy_and_the_order_waits() {
    let machine = Machine::new(SPOG);
    let refused = |words: &str| {
        now(&machine, &[]).code(1).stderr_has(words).stdout("");
        assert!(machine.listed().starts_with("kept for "), "{}", machine.listed());
        std::fs::remove_dir_all(machine.orders()).unwrap();
    };
    refused("no job spog-tests is there, or ann may not see it");
    machine.jenkins.job("spog-tests", Job { disabled: true, ..Job::default() });
    refused("enable it");
    machine.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    refused("name its parameters below parameters:");
    machine.jenkins.job("spog-tests", Job::default());
    machine.jenkins.state().may_build = false;
    refused("ann lacks the permission hudson.model.Item.Build");
    machine.jenkins.state().api_token = "renewed".to_owned();
    refused("write a new API token");
    machine.jenkins.mood(Mood::Login);
    refused("sends us to its login page");
    machine.jenkins.mood(Mood::Moved);
    refused("set url:");
    machine.jenkins.mood(Mood::Broken);
    refused("answered 500: Oops! - Jenkins");
    machine.configure("user: ann, token-file: token, ", "spog: { job: spog-tests, parameters: { A: b } }");
    machine.jenkins.mood(Mood::Up);
    let mut state = machine.jenkins.state();
    (state.may_build, state.api_token) = (true, "sesame".to_owned());
    drop(state);
    refused("remove parameters:");
    let elsewhere = machine.jenkins.state().requests.iter().any(|request| !request.target.starts_with("/ci/"));
    assert!(!elsewhere, "no redirect was followed");
}

#[test]
fn what_is_refused_for_long_is_set_aside_and_blocks_nothing() {
    let machine = Machine::new("spog: { job: gone }, other: { job: there }");
    machine.jenkins.job("there", Job::default());
    now(&machine, &[]).code(1).stderr_has("is kept and tried again");
    machine.world.failcake(["jenkins-trigger", "other", "master"]).run().code(1).stdout_has("triggered job there");
    machine.age_orders();
    machine.world.failcake(["jenkins-trigger"]).run().code(1).stderr_has("was set aside: ");
    assert!(machine.listed().starts_with("set aside after 36"), "{}", machine.listed());
    // Whoever looks elsewhere finds it too.
    let listed = machine.world.failcake(["spool", "list"]).run().success().text();
    assert!(listed.contains("  gone for [spog] refs/heads/master\n    set aside: "), "{listed}");
    assert!(listed.contains("1 set aside; `failcake jenkins-trigger --retry` tries again"), "{listed}");
    let row = machine.world.failcake(["spool", "list", "--json"]).run().success().json();
    assert_eq!((&row[0]["for"], &row[0]["state"]), (&"jenkins".into(), &"refused".into()), "{row}");
    let checked = machine.world.failcake(["check"]).run().success();
    checked
        .stdout_has("jenkins builds")
        .stdout_has("none waits; 1 were set aside; see why with failcake jenkins-trigger --list");
    machine.world.failcake(["spool", "flush", "--refused"]).run().success().stdout("0 sent\n");
    machine.world.failcake(["jenkins-trigger"]).run().success().stderr("");
    // Somebody made the job meanwhile.
    machine.jenkins.job("gone", Job::default());
    machine.world.failcake(["jenkins-trigger", "--retry"]).run().success().stdout_has("triggered job gone");
    assert_eq!(machine.listed(), "");
}

#[test]
fn what_is_kept_for_jenkins_is_seen_by_check_and_can_be_dropped() {
    let machine = Machine::new(SPOG);
    machine.jenkins.mood(Mood::Starting);
    now(&machine, &[]).code(1);
    let check = |oldest: &str| machine.world.failcake(["check", "--oldest", oldest]).run().code(1).text();
    assert!(check("1ms,1h").contains("warn  jenkins builds"), "{}", check("1ms,1h"));
    assert!(check("1ms").contains("FAIL  jenkins builds"), "{}", check("1ms"));
    let row = machine.world.failcake(["spool", "list", "--json"]).run().success().json();
    assert_eq!(
        (&row[0]["state"], &row[0]["cause"]),
        (&"waiting".into(), &"Jenkins has not taken it yet".into()),
        "{row}"
    );
    machine
        .world
        .failcake(["spool", "drop", row[0]["id"].as_str().unwrap(), "--yes"])
        .run()
        .success()
        .stdout("1 dropped\n");
    assert_eq!(machine.listed(), "");
}

#[test]
fn a_refused_credential_is_not_hammered() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    machine.jenkins.state().api_token = "renewed".to_owned();
    let mut watcher = machine.watch(&[]);
    for number in 1..20 {
        machine.push("refs/heads/master", &other(number));
    }
    watcher.stderr_line("does not accept the credential of ann");
    let deadline = Instant::now() + PATIENCE;
    while machine.listed().lines().count() < 19 {
        assert!(Instant::now() < deadline);
    }
    assert!(machine.jenkins.asked("/build").len() <= 3);
}

#[test]
fn damage_on_disk_is_set_aside_and_the_rest_goes_on() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    machine.jenkins.mood(Mood::Starting);
    now(&machine, &["--commit", COMMIT]).code(1);
    now(&machine, &["--commit", &other(2)]).code(1);
    let mut entries: Vec<_> = std::fs::read_dir(machine.orders()).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("01"));
    entries.sort();
    std::fs::write(&entries[0], "rubbish").unwrap();
    machine.jenkins.mood(Mood::Up);
    machine.world.failcake(["jenkins-trigger"]).run().code(1).stderr_has("set aside").stdout_has(&other(2));
    assert!(machine.listed().starts_with("set aside"));
}

#[test]
fn mistakes_of_the_command_line_and_the_configuration_are_told() {
    let machine = Machine::new("spog: { job: spog-tests, only-refs: '^refs/tags/' }");
    now(&machine, &[]).code(1).stderr_has("refs/heads/master of spog starts nothing: see only-refs");
    machine.world.failcake(["jenkins-trigger", "spg", "master"]).run().code(1).stderr_has("is it \"spog\"?");
    machine.world.failcake(["jenkins-trigger", "spog"]).run().code(2);
    machine.world.failcake(["jenkins-trigger", "spog", "a b"]).run().code(1).stderr_has("REF is a branch");
    machine.configure("user: ann, ", SPOG);
    now(&machine, &[]).code(2).stderr_has("user: is there without token-file:");
    machine.configure("", "");
    now(&machine, &[]).code(2).stderr_has("no project is configured");
}

#[test]
fn check_tells_whether_jenkins_takes_the_credential() {
    let machine = Machine::new(SPOG);
    let check = || machine.world.failcake(["check"]).run();
    let line = format!("{} is Jenkins 2.492.3, we are ann", machine.jenkins.url);
    check().success().stdout_has(&line).stdout_has("tokens go to");
    machine.jenkins.state().api_token = "renewed".to_owned();
    check().code(1).stdout_has("does not accept the credential of ann (401): write a new API token");
    machine.jenkins.mood(Mood::Starting);
    check().code(1).stdout_has("is starting (503)");
    machine.world.write("token", "");
    check().code(1).stdout_has("is empty: write the secret into it");
}
