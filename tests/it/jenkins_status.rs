//! `failcake jenkins-status` as a job's shell step calls it.

use super::sandbox::Sandbox;
use super::sandbox::brokers::{Embedded, Listener};

const COMMIT: &str = "aa79e31f0d50bd8b46a2aa6a4be38d3ee8b0c8f1";

/// The variables of a freestyle job with the Git plugin.
const JOB: [(&str, &str); 6] = [
    ("JOB_NAME", "spog-tests"),
    ("BUILD_NUMBER", "12"),
    ("BUILD_URL", "https://jenkins.example.org/job/spog-tests/12/"),
    ("GIT_URL", "git@git.example.org:web/spog.git"),
    ("GIT_BRANCH", "origin/feature/x"),
    ("GIT_COMMIT", COMMIT),
];

struct Controller {
    world: Sandbox,
    broker: Embedded,
}

impl Controller {
    fn new() -> Controller {
        let world = Sandbox::new();
        let broker = world.broker();
        world.write("failcake.yaml", format!("broker: {}\nprefix: future\n", broker.url));
        Controller { world, broker }
    }

    fn listen(&self, topic: &str) -> Listener {
        Listener::open(&self.broker.url, &[topic])
    }

    /// What is told on `topic`: subject and body.
    fn tells(&self, topic: &str, words: &[&str], variables: &[(&str, &str)]) -> (String, String) {
        let listener = self.listen(topic);
        let mut call = self.world.failcake([&["jenkins-status"], words].concat());
        for (name, value) in variables {
            call = call.env(name, value);
        }
        call.run().success().stdout("").stderr("");
        let frame = listener.take(1).remove(0);
        (frame.header("subject").unwrap().to_owned(), String::from_utf8(frame.body.clone()).unwrap())
    }
}

#[test]
fn each_fate_has_its_topic_under_the_new_words_and_the_old_flags() {
    let controller = Controller::new();
    for (words, topic, verb, status) in [
        (["started", "--begin"], "/topic/future.jenkins.started", "Begin", "Start job"),
        (["success", "--profit"], "/topic/future.jenkins.success", "Complete", "Success"),
        (["failure", "--cake"], "/topic/future.jenkins.failure", "Fail", "Cake"),
        (["unstable"; 2], "/topic/future.jenkins.failure", "Fail", "Unstable"),
        (["aborted"; 2], "/topic/future.jenkins.failure", "Fail", "Aborted"),
    ] {
        for word in words {
            let (subject, body) = controller.tells(topic, &[word], &JOB);
            assert_eq!(subject, format!("{verb} job 12 - [spog-tests] feature/x {COMMIT}"), "{word}");
            let status =
                format!("Repo: spog\nURL: https://jenkins.example.org/job/spog-tests/12/\nStatus: {status}\nJSON: ");
            assert!(body.starts_with(&status), "{word}: {body}");
        }
    }
}

#[test]
fn a_line_for_people_goes_to_the_events() {
    let controller = Controller::new();
    let (subject, body) = controller.tells("/topic/future.events.jenkins", &["success"], &JOB);
    assert_eq!(subject, "Talking to eventbot");
    assert_eq!(body, format!("Complete job 12 - [spog-tests] feature/x {COMMIT}"));
}

#[test]
fn without_a_branch_or_any_variable_it_tells_what_it_knows() {
    let controller = Controller::new();
    let without_branch: Vec<_> = JOB.into_iter().filter(|(name, _)| *name != "GIT_BRANCH").collect();
    let (subject, body) = controller.tells("/topic/future.jenkins.success", &["success"], &without_branch);
    assert_eq!(subject, format!("Complete job 12 - [spog-tests] ? {COMMIT}"));
    assert!(body.starts_with("Repo: spog\n"), "{body}");
    let (subject, body) = controller.tells("/topic/future.jenkins.started", &["started"], &[]);
    assert_eq!(subject, "Begin job ? - [unknown] ? ?");
    assert!(body.starts_with("Repo: \nURL: \nStatus: Start job\n"), "{body}");
}

#[test]
fn the_remotes_name_is_neither_the_repository_nor_the_branch() {
    let controller = Controller::new();
    let (subject, body) =
        controller.tells("/topic/future.jenkins.success", &["success"], &[("GIT_BRANCH", "origin/x")]);
    assert!(subject.ends_with(" x ?"), "{subject}");
    assert!(body.starts_with("Repo: \n"), "{body}");
    let words = ["success", "--repo", "spog"];
    let (_, body) = controller.tells("/topic/future.jenkins.success", &words, &[("GIT_BRANCH", "origin/x")]);
    assert!(body.starts_with("Repo: spog\n"), "{body}");
}

#[test]
fn the_old_tools_file_says_where_the_broker_is() {
    let controller = Controller::new();
    let address = controller.broker.url.trim_start_matches("stomp://");
    let text =
        format!("---\nrserver: failover://(stomp://gituser:gitpw@{address},stomp://gituser:gitpw@{address})\n#\n");
    let file = controller.world.write("jenkins-helper.yaml", text);
    let words = ["--cake", "-c", file.to_str().unwrap()];
    let (subject, _) = controller.tells("/topic/failcake.jenkins.failure", &words, &JOB);
    assert!(subject.starts_with("Fail job 12"), "{subject}");
}

#[test]
fn a_build_never_fails_because_of_the_bus() {
    let world = Sandbox::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.write("failcake.yaml", format!("broker: stomp://{dead}\n"));
    world.failcake(["jenkins-status", "started"]).run().success().stderr_has("spool");
    world.failcake(["spool", "list"]).run().success().stdout_has("Begin job");
}
