//! What a watcher does with what the bus tells.

use nix::sys::signal::Signal;

use super::*;

const SPOG: &str = "spog: { job: spog-tests }";

#[test]
fn a_push_starts_its_job_and_it_is_told() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    let events = machine.events();
    let mut watcher = machine.watch(&[]);
    machine.push("refs/heads/master", COMMIT);
    let line = watcher.stdout_line("triggered");
    assert_eq!(line, format!("triggered job spog-tests for [spog] refs/heads/master {COMMIT}"));
    assert_eq!(String::from_utf8(events.take(1).remove(0).body).unwrap(), format!("ci01 {line}"));
    let [post] = &machine.jenkins.asked("/build")[..] else { panic!() };
    assert_eq!(
        (post.method.as_str(), post.target.as_str(), post.body.as_str()),
        ("POST", "/ci/job/spog-tests/build", "")
    );
    assert!(machine.jenkins.asked("crumb").is_empty(), "an API token needs none");
    assert_eq!(machine.listed(), "");
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), Some(0));
}

#[test]
fn what_is_none_of_our_business_starts_nothing_and_garbage_is_told() {
    let machine = Machine::new("spog: { job: spog-tests, ignore-refs: '^refs/tags/jenkins-' }");
    machine.jenkins.job("spog-tests", Job::default());
    let events = machine.events();
    let mut watcher = machine.watch(&[]);
    let skipped = Push {
        commits: vec![Commit {
            message: "typo [skip ci]".to_owned(),
            ..push("spog", "refs/heads/x", COMMIT).commits[0].clone()
        }],
        ..push("spog", "refs/heads/x", COMMIT)
    };
    let deleted = Push { new: other(0).parse().unwrap(), peeled: None, ..push("spog", "refs/heads/x", COMMIT) };
    let sound = |push: &Push| frame(push, EventId::new());
    let garbage = |body: &[u8]| Frame::send(COMMITS, Vec::new(), body.to_vec());
    machine.publish(vec![
        sound(&push("other", "refs/heads/master", COMMIT)),
        sound(&push("spog", "refs/tags/jenkins-12", COMMIT)),
        sound(&deleted),
        sound(&skipped),
        garbage(b"\n"),
        garbage(b"\xff\xfe\0repo: spog\n"),
        garbage(b"{\"repository\":{\"name\":\"../../etc\"}}"),
        sound(&push("spog", "refs/heads/last", COMMIT)),
    ]);
    watcher.stdout_line("refs/heads/last");
    let told: Vec<String> = events.take(3).into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect();
    let about = format!("[spog] refs/heads/x {COMMIT}");
    assert_eq!(told[0], format!("ci01 no build of {about}: its commit's message says [skip ci]"));
    assert!(told[1].starts_with("ci01 problem: dropped a malformed message: "), "{told:?}");
    assert_eq!(machine.jenkins.asked("/build").len(), 1);
}

#[test]
fn two_quick_pushes_are_two_builds_with_parameters_and_one_without() {
    let machine = Machine::new(
        "spog: { jobs: [plain, 'team a/with'], parameters: { REF: '{ref}', COMMIT: '{commit}', WHO: '{who}', ID: '{event-id}' } }, \
         bare: { repo: spog, job: bare }",
    );
    for name in ["plain", "team a/with"] {
        machine.jenkins.job(name, Job { parameterized: true, ..Job::default() });
    }
    machine.jenkins.job("bare", Job::default());
    let _watcher = machine.watch(&[]);
    let first = machine.push("refs/heads/master", COMMIT);
    machine.push("refs/heads/master", &other(2));
    machine.jenkins.wait_for("six requests", |state| state.requests.len() == 6);
    machine.jenkins.wait_for_waiting(5);
    machine.jenkins.leave_queue();
    let state = machine.jenkins.state();
    assert_eq!(state.jobs["bare"].builds.len(), 1, "Jenkins merges equal items of its queue");
    for name in ["plain", "team a/with"] {
        let value = |build: usize, name: &str, key: &str| {
            let parameters = &state.jobs[name].builds[build].parameters;
            parameters.iter().find(|(name, _)| name == key).unwrap().1.clone()
        };
        assert_eq!(value(0, name, "COMMIT"), COMMIT);
        assert_eq!((value(0, name, "REF"), value(0, name, "WHO")), ("refs/heads/master".into(), "Ada L".into()));
        assert_eq!(value(0, name, "ID"), first.to_string());
        assert_eq!(value(1, name, "COMMIT"), other(2));
    }
}

#[test]
fn multibranch_jobs_are_found_by_their_encoded_names() {
    let machine = Machine::new("spog: { job: 'team/spog/{branch}' }");
    machine.jenkins.job("team/spog/feature%2Fx", Job::default());
    machine.jenkins.job("team/spog/x;$(touch${IFS}PWNED)", Job::default());
    machine.jenkins.job("team/spog/x%3B%24(touch%24{IFS}PWNED)", Job::default());
    let mut watcher = machine.watch(&[]);
    machine.push("refs/heads/feature/x", COMMIT);
    watcher.stdout_line("triggered job team/spog/feature%2Fx for");
    assert_eq!(machine.jenkins.asked("/build")[0].target, "/ci/job/team/job/spog/job/feature%252Fx/build");
    machine.push("refs/heads/x;$(touch${IFS}PWNED)", COMMIT);
    watcher.stdout_line("triggered job team/spog/x%3B%24(touch%24{IFS}PWNED) for");
}

#[test]
fn an_event_that_comes_twice_builds_once() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    let id = EventId::new();
    let event = || frame(&push("spog", "refs/heads/master", COMMIT), id);
    let mut watcher = machine.watch(&[]);
    machine.publish(vec![event(), event()]);
    watcher.stdout_line("triggered");
    machine.publish(vec![event()]);
    machine.push("refs/heads/other", COMMIT);
    watcher.stdout_line("refs/heads/other");
    drop(watcher);
    // Nor after a restart.
    let mut watcher = machine.watch(&[]);
    machine.publish(vec![event()]);
    machine.push("refs/heads/third", COMMIT);
    watcher.stdout_line("refs/heads/third");
    assert_eq!(machine.jenkins.asked("/build").len(), 3);
}

#[test]
fn jenkins_down_loses_nothing_and_its_return_is_no_storm() {
    let machine = Machine::new("spog: { job: spog-tests, parameters: { COMMIT: '{commit}' } }");
    machine.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    let mut watcher = machine.watch(&[]);
    machine.jenkins.mood(Mood::Starting);
    machine.push("refs/heads/master", &other(1));
    assert!(watcher.stderr_line("problem: builds are kept").contains("is starting (503)"));
    for number in 2..=12 {
        machine.push("refs/heads/master", &other(number));
    }
    let deadline = Instant::now() + PATIENCE;
    while machine.listed().lines().count() < 12 {
        assert!(Instant::now() < deadline, "{}", machine.listed());
    }
    assert!(machine.jenkins.asked("/build").len() <= 3, "however many pushes come, the clock alone asks");
    // SIGKILL, at no special moment: all of it is on disk.
    watcher.signal(Signal::SIGKILL);
    watcher.wait();
    assert_eq!(machine.listed().lines().count(), 12);
    machine.jenkins.mood(Mood::Up);
    machine.world.failcake(["jenkins-trigger"]).run().success().stdout_has(&other(12)).stderr("");
    machine.jenkins.leave_queue();
    let state = machine.jenkins.state();
    let built: Vec<_> = state.jobs["spog-tests"].builds.iter().map(|build| build.parameters[0].1.clone()).collect();
    assert_eq!(built, (1..=12).map(other).collect::<Vec<_>>(), "all, once, in their order");
    assert_eq!(state.most_at_once, 1);
}

#[test]
fn a_watcher_finds_by_itself_that_jenkins_is_back() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    for mood in [Mood::Broken, Mood::Cut] {
        machine.jenkins.mood(mood);
        let mut watcher = machine.watch(&[]);
        let commit = other(mood as u32);
        machine.push("refs/heads/master", &commit);
        watcher.stderr_line("problem: ");
        machine.jenkins.mood(Mood::Up);
        watcher.stdout_line(&commit);
    }
}

#[test]
fn what_waits_for_jenkins_does_not_keep_the_broker_waiting() {
    let machine = Machine::new(SPOG);
    machine.world.write("durable", "");
    let text = machine.world.read("failcake.yaml");
    machine.world.write("failcake.yaml", format!("durable: true\n{text}"));
    machine.jenkins.mood(Mood::Starting);
    let watcher = machine.watch(&[]);
    // More than the broker may send ahead of the acks.
    let frames = (0..150).map(|number| frame(&push("spog", "refs/heads/master", &other(number + 1)), EventId::new()));
    machine.publish(frames.collect());
    let deadline = Instant::now() + PATIENCE;
    while machine.listed().lines().count() < 150 {
        assert!(Instant::now() < deadline);
    }
    drop(watcher);
}

#[test]
fn hup_reads_the_configuration_again_and_a_bad_file_changes_nothing() {
    let machine = Machine::new(SPOG);
    for job in ["spog-tests", "other-tests"] {
        machine.jenkins.job(job, Job::default());
    }
    let mut watcher = machine.watch(&[]);
    machine.configure("user: ann, token-file: token, ", "spog: { job: '' }");
    watcher.signal(Signal::SIGHUP);
    let told = watcher.stderr_line("the new configuration is bad, the old one goes on");
    assert!(told.contains("failcake.yaml:4"), "{told}");
    machine.push("refs/heads/one", COMMIT);
    watcher.stdout_line("triggered job spog-tests for");
    machine.configure("user: ann, token-file: token, ", "spog: { job: other-tests }");
    watcher.signal(Signal::SIGHUP);
    watcher.stderr_line("read again");
    watcher.stderr_line("listening to");
    machine.push("refs/heads/two", COMMIT);
    watcher.stdout_line("triggered job other-tests for");
}

/// Not the projects alone: broker, topics, node and spool are the new ones too.
#[test]
fn hup_moves_the_watcher_to_another_broker_and_topic() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    let mut watcher = machine.watch(&[]);
    let other = machine.world.broker();
    let moved = Machine { broker: other.url.clone(), commits: "/topic/moved".to_owned(), ..machine };
    moved.configure("user: ann, token-file: token, ", SPOG);
    let text = moved.world.read("failcake.yaml").replace("node: moved", "node: ci02");
    moved.world.write("failcake.yaml", text);
    let events = moved.events();
    watcher.signal(Signal::SIGHUP);
    let address = other.url.trim_start_matches("stomp://");
    watcher.stderr_line(&format!("listening to {address}"));
    moved.push("refs/heads/master", COMMIT);
    watcher.stdout_line("triggered job spog-tests for");
    assert!(String::from_utf8(events.take(1).remove(0).body).unwrap().starts_with("ci02 triggered job"));
}

/// A build that takes all day, and a queue that is long, are no reason to go on with the old configuration.
#[test]
fn hup_waits_neither_for_builds_that_are_followed_nor_for_all_that_is_kept() {
    let machine = Machine::new("spog: { job: spog-tests, parameters: { ID: '{event-id}' } }");
    machine.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    machine.jenkins.mood(Mood::Starting);
    let mut watcher = machine.watch(&["--follow"]);
    // At four a second they take longer than any patience here.
    machine.publish((0..400).map(|_| frame(&push("spog", "refs/heads/x", COMMIT), EventId::new())).collect());
    let deadline = Instant::now() + PATIENCE;
    while machine.listed().lines().count() < 400 {
        assert!(Instant::now() < deadline);
    }
    machine.jenkins.mood(Mood::Up);
    watcher.stdout_line("triggered");
    machine.jenkins.leave_queue();
    watcher.stdout_line("build 1 started");
    watcher.signal(Signal::SIGHUP);
    watcher.stderr_line("read again");
    watcher.stderr_line("listening to");
    watcher.stdout_line("triggered");
    machine.jenkins.finish("spog-tests", 1, "SUCCESS");
    watcher.stdout_line("build 1 success");
}

#[test]
fn drain_takes_what_waited_and_says_whether_all_is_started() {
    let machine = Machine::new(SPOG);
    machine.jenkins.job("spog-tests", Job::default());
    let drain = || machine.world.failcake(["jenkins-trigger", "--drain"]).run();
    drain().success();
    machine.push("refs/heads/master", COMMIT);
    machine.jenkins.mood(Mood::Starting);
    drain().code(1).stderr_has("is starting");
    machine.jenkins.mood(Mood::Up);
    drain().success().stdout_has(&format!("triggered job spog-tests for [spog] refs/heads/master {COMMIT}"));
    drain().success().stdout("");
    machine.world.write("failcake.yaml", "broker: stomp://127.0.0.1:1\n");
    drain().code(2).stderr_has("no url is configured");
}

#[test]
fn events_of_the_older_hooks_and_of_subversion_start_builds() {
    let machine = Machine::new("spog: { job: git-job }, old/awful: { job: 'name containing spaces' }");
    for job in ["git-job", "name containing spaces"] {
        machine.jenkins.job(job, Job::default());
    }
    let mut watcher = machine.watch(&[]);
    let old = format!("repo: spog\noldrev: {}\nnewrev: {COMMIT}\nrefname: refs/heads/master\n\nlog\n", other(3));
    machine.publish(vec![Frame::send(COMMITS, Vec::new(), old.clone().into_bytes())]);
    watcher.stdout_line("triggered job git-job");
    // A branch that was put back to where it was is pushed with the same words.
    machine.publish(vec![Frame::send(COMMITS, Vec::new(), old.into_bytes())]);
    watcher.stdout_line("triggered job git-job");
    let svn = "repo: old\nrevname: 12\n Author: ann\nProject: awful\n\nDirs:\ntrunk/\n\ntypo\n";
    machine.publish(vec![Frame::send(COMMITS, Vec::new(), svn.as_bytes().to_vec())]);
    watcher.stdout_line("triggered job name containing spaces for [awful]");
    assert_eq!(machine.jenkins.asked("/build").last().unwrap().target, "/ci/job/name%20containing%20spaces/build");
}

/// Jenkins merges equal items, and the event's id is a parameter: what was asked for twice shows as more requests than
/// items, and what was lost as fewer items than pushes.
#[test]
fn killed_at_any_moment_and_run_once_more_every_push_is_one_build() {
    let machine = Machine::new("spog: { job: spog-tests, parameters: { ID: '{event-id}' } }");
    let text = machine.world.read("failcake.yaml");
    machine.world.write("failcake.yaml", format!("durable: true\n{text}"));
    machine.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    let (mut pushes, mut kills) = (Vec::new(), 0);
    for round in 0..12_u64 {
        let mut watcher = machine.watch(&[]);
        let ids: Vec<EventId> = (0..3).map(|_| EventId::new()).collect();
        machine.publish(ids.iter().map(|id| frame(&push("spog", "refs/heads/master", COMMIT), *id)).collect());
        pushes.extend(ids);
        std::thread::sleep(Duration::from_millis(round * 17));
        watcher.signal(Signal::SIGKILL);
        watcher.wait();
        kills += 1;
    }
    machine.world.failcake(["jenkins-trigger", "--drain"]).run().success();
    assert_eq!(machine.listed(), "");
    machine.jenkins.leave_queue();
    let state = machine.jenkins.state();
    let mut built: Vec<_> = state.jobs["spog-tests"].builds.iter().map(|build| build.parameters[0].1.clone()).collect();
    let mut pushed: Vec<_> = pushes.iter().map(ToString::to_string).collect();
    built.sort();
    pushed.sort();
    assert_eq!(built, pushed);
    let posts = state.requests.len();
    assert!(posts <= pushes.len() + kills, "{posts} requests for {} pushes", pushes.len());
}

#[test]
fn what_finds_no_room_on_disk_waits_in_memory_and_is_not_acknowledged() {
    let machine = Machine::new("spog: { job: spog-tests, parameters: { ID: '{event-id}' } }");
    let text = machine.world.read("failcake.yaml");
    machine.world.write("failcake.yaml", format!("durable: true\nspool-max-count: 2\n{text}"));
    machine.jenkins.job("spog-tests", Job { parameterized: true, ..Job::default() });
    machine.jenkins.mood(Mood::Starting);
    let mut watcher = machine.watch(&[]);
    for _ in 0..5 {
        machine.push("refs/heads/master", COMMIT);
    }
    watcher.stderr_line("waits in memory: the spool ");
    watcher.signal(Signal::SIGKILL);
    watcher.wait();
    assert_eq!(machine.listed().lines().count(), 2);
    machine.jenkins.mood(Mood::Up);
    let _watcher = machine.watch(&[]);
    machine.jenkins.wait_for_waiting(5);
}
