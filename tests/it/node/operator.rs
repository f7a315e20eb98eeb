//! An operator as small as can be, on failcake's own messages and real SSH keys; and the hosts that it talks to.

#![allow(dead_code, reason = "a kit: what one test leaves another needs")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use failcake::bus::{Connection, Incoming};
use failcake::message::Envelope;
use failcake::message::deploy::{
    Action, Answer, Code, Document, OnFailure, Order, Outcome, PLAN_NAMESPACE, Plan, PlanId, Policy, Query,
    REPLY_NAMESPACE, RefKind, Reply, Report, Request, Signed, Step, Subject, Vouch,
};
use failcake::name::Rev;
use failcake::signature::{self, Key, StepKey, verify_step};
use failcake::stomp::{AckMode, Frame, Subscription};
use jiff::{SignedDuration, Timestamp};

use crate::sandbox::brokers::{Embedded, target};
use crate::sandbox::{FAILCAKE, Running, Sandbox};

/// No answer takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a repository, keys, and a broker.
pub struct World {
    pub sandbox: Sandbox,
    pub broker: Option<Embedded>,
    pub url: String,
    /// Of topics: several worlds may share a broker.
    pub prefix: String,
}

impl World {
    /// With the embedded broker.
    pub fn new() -> World {
        let sandbox = Sandbox::new();
        let broker = sandbox.broker();
        let url = broker.url.clone();
        World::on(sandbox, Some(broker), url)
    }

    pub fn on(sandbox: Sandbox, broker: Option<Embedded>, url: String) -> World {
        let prefix = format!("t{}", uuid::Uuid::new_v4().simple());
        let world = World { sandbox, broker, url, prefix };
        world.sandbox.repository("spog");
        for who in ["ann", "eve", "web01"] {
            world.key(who);
        }
        world.allow_signers(&["ann@example.org ann failcake-plan", "web01 web01 failcake-reply"]);
        world
    }

    /// Makes an SSH key called `NAME.key`.
    pub fn key(&self, name: &str) -> PathBuf {
        let path = self.sandbox.path(format!("{name}.key"));
        let file = path.to_str().unwrap();
        self.sandbox.program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file]).run().success();
        path
    }

    /// Writes `allowed_signers` of `PRINCIPAL KEY NAMESPACE` lines.
    pub fn allow_signers(&self, lines: &[&str]) {
        let line = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let key = self.sandbox.read(format!("{}.key.pub", words[1]));
            format!("{} namespaces=\"{}\" {key}", words[0], words[2])
        };
        self.sandbox.write("allowed_signers", lines.iter().map(line).collect::<String>());
    }

    /// A commit whose `index.html` says `name`, tagged `name` and pushed; `scripts` are executable, below `deploy/`.
    pub fn release(&self, name: &str, scripts: &[(&str, &str)]) -> Rev {
        use std::os::unix::fs::PermissionsExt as _;
        let _ = std::fs::remove_dir_all(self.sandbox.path("spog/deploy"));
        for (script, text) in scripts {
            let path = self.sandbox.write(&format!("spog/deploy/{script}"), format!("#!/bin/sh\n{text}\n"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let commit = self.sandbox.commit("spog", name, &[("index.html", name)]);
        self.sandbox.git("spog", ["tag", name]).run().success();
        self.sandbox.git("spog", ["push", "-q", "origin", "master", name]).run().success();
        commit.parse().unwrap()
    }

    /// A host's configuration; `more` are lines at its end, `site` lines of its site.
    pub fn host(&self, node: &str, site: &str, more: &str) -> Host<'_> {
        let at = |name: &str| self.sandbox.path(name).display().to_string();
        std::fs::create_dir_all(self.sandbox.path(format!("{node}/sites"))).unwrap();
        let key = match self.sandbox.path(format!("{node}.key")).exists() {
            true => format!("  key: {}\n", at(&format!("{node}.key"))),
            false => String::new(),
        };
        let site: String = site.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "broker: {}\nprefix: {}\nnode: {node}\nsigning:\n  allowed-signers: {}\n{key}repos:\n  spog: {{ path: {}, url: {} }}\n\
             sites:\n  www:\n    repo: spog\n    path: {}\n    grace: 0s\n{site}\
             allow:\n  - {{ who: ann@example.org, sites: ['w*'], hosts: ['web*'] }}\n{more}\n",
            self.url,
            self.prefix,
            at("allowed_signers"),
            at(&format!("{node}/spog.git")),
            at("spog.git"),
            at(&format!("{node}/sites/www")),
        );
        self.sandbox.write(&format!("{node}/failcake.yaml"), text);
        Host { world: self, node: node.to_owned() }
    }

    pub fn topic(&self, name: &str) -> String {
        format!("/topic/{}.{name}", self.prefix)
    }

    /// Ann, who may deploy.
    pub fn operator(&self) -> Operator<'_> {
        Operator::new(self, "ann@example.org", "ann")
    }
}

/// Where all fetches wait until it is opened: an ssh that does nothing before.
pub struct Gate {
    folder: PathBuf,
}

impl Gate {
    pub fn is_reached(&self) -> bool {
        self.folder.join("reached").exists()
    }

    pub fn open(&self) {
        std::fs::write(self.folder.join("open"), "").unwrap();
    }

    fn ssh(&self) -> PathBuf {
        self.folder.join("ssh")
    }
}

impl World {
    /// Makes hosts fetch through a gate, with [`Host::watch_through`].
    pub fn block_fetches(&self) -> Gate {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.sandbox.path("gate");
        let at = folder.display();
        let program = "#!/bin/sh\ntouch AT/reached\nwhile test ! -e AT/open; do sleep 0.05; done\nshift $(($# - 1))\nexec sh -c \"$1\"\n";
        let ssh = self.sandbox.write("gate/ssh", program.replace("AT", &at.to_string()));
        std::fs::set_permissions(ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
        Gate { folder }
    }
}

/// Waits until it is so.
#[track_caller]
pub fn wait_for(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A machine that is to be deployed to.
pub struct Host<'a> {
    pub world: &'a World,
    pub node: String,
}

impl Host<'_> {
    /// failcake there.
    pub fn failcake(&self, words: &[&str]) -> crate::sandbox::Call<'_> {
        let call = self.world.sandbox.program(FAILCAKE, words);
        let path = |name: &str| self.world.sandbox.path(format!("{}/{name}", self.node));
        call.env("FAILCAKE_CONFIG", path("failcake.yaml")).env("FAILCAKE_SPOOL", path("spool"))
    }

    /// `deploy --watch`, and it listens.
    pub fn watch(&self) -> Running {
        std::fs::create_dir_all(self.path("spool")).unwrap();
        let mut node = self.failcake(&["deploy", "--watch"]).start();
        node.stderr_line("listening to");
        node
    }

    /// The same, with a clone that is fetched through the gate.
    pub fn watch_through(&self, gate: &Gate) -> Running {
        let config = self.world.sandbox.read(format!("{}/failcake.yaml", self.node));
        let url = format!("url: {}", self.world.sandbox.path("spog.git").display());
        let through = url.replace("url: ", "url: host:");
        self.world.sandbox.write(&format!("{}/failcake.yaml", self.node), config.replace(&url, &through));
        std::fs::create_dir_all(self.path("spool")).unwrap();
        let mut node = self.failcake(&["deploy", "--watch"]).env("GIT_SSH", gate.ssh()).start();
        node.stderr_line("listening to");
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.world.sandbox.path(format!("{}/{name}", self.node))
    }

    /// What the site serves; nothing before its first release.
    pub fn serves(&self) -> Option<String> {
        std::fs::read_to_string(self.path("sites/www/current/index.html")).ok()
    }

    /// `state --json` of the site.
    pub fn state(&self) -> serde_json::Value {
        self.failcake(&["state", "www", "--json"]).run().success().json()[0].clone()
    }

    /// A file that the node keeps of a plan.
    pub fn plan_file(&self, plan: &Plan) -> PathBuf {
        let uid = nix::unistd::geteuid();
        self.path(&format!("spool/{uid}/plans/{}.json", plan.id))
    }
}

/// Who signs plans.
pub struct Operator<'a> {
    world: &'a World,
    pub who: String,
    pub key: PathBuf,
    /// Of the plan.
    pub step_key: StepKey,
    connection: Connection,
    heard: RefCell<VecDeque<(Report, bool)>>,
}

impl<'a> Operator<'a> {
    pub fn new(world: &'a World, who: &str, key: &str) -> Operator<'a> {
        let replies = world.topic("deploy.replies");
        let subscription = Subscription { destination: replies, durable: None, ack: AckMode::Auto, prefetch: None };
        let connection = Connection::open(target(&world.url, None), vec![subscription]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !matches!(connection.receive(Some(deadline - Instant::now())), Some(Incoming::Connected(_))) {}
        Operator {
            world,
            who: who.to_owned(),
            key: world.sandbox.path(format!("{key}.key")),
            step_key: StepKey::generate().unwrap(),
            connection,
            heard: RefCell::default(),
        }
    }

    /// To make a tag live on these hosts.
    pub fn plan(&self, tag: &str, commit: &Rev, hosts: &[&str]) -> Plan {
        let action = Action::Deploy { reference: tag.to_owned(), kind: RefKind::Tag, commit: commit.clone() };
        self.plan_to(action, hosts)
    }

    pub fn plan_to(&self, action: Action, hosts: &[&str]) -> Plan {
        let now = Timestamp::now();
        Plan {
            id: PlanId::new(),
            site: "www".parse().unwrap(),
            action,
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            policy: Policy {
                canary: 1,
                bake_seconds: 0,
                batches: "100%".to_owned(),
                max_failures: 0,
                on_failure: OnFailure::Stop,
            },
            who: self.who.clone(),
            issued: now,
            not_after: now + SignedDuration::from_mins(10),
            key: self.step_key.public_base64(),
            takes_over: None,
        }
    }

    pub fn order(&self, plan: &Plan, step: Step) -> Order {
        let now = Timestamp::now();
        Order {
            plan: plan.id,
            step,
            hosts: plan.hosts.clone(),
            canary: false,
            outcome: (step == Step::Verdict).then_some(Outcome::Success),
            issued: now,
            not_after: now + SignedDuration::from_secs(60),
        }
    }

    pub fn sign(&self, plan: &Plan) -> Signed {
        self.sign_for(plan, PLAN_NAMESPACE)
    }

    pub fn sign_for(&self, plan: &Plan, namespace: &str) -> Signed {
        let document = plan.to_text();
        let key = Key::File(self.key.clone());
        let signature = signature::sign(document.as_bytes(), namespace, &key, PATIENCE).unwrap();
        Signed { document, signature }
    }

    pub fn sign_order(&self, order: &Order) -> Signed {
        let document = order.to_text();
        let signature = self.step_key.sign(document.as_bytes());
        Signed { document, signature }
    }

    /// Sends anything.
    pub fn send(&self, request: &Request, subject: PlanId) {
        let event = request.event(Timestamp::now(), &subject.to_string(), "said by a test");
        self.send_raw(event.headers, event.body.into_bytes());
    }

    pub fn send_raw(&self, headers: Vec<(String, String)>, body: Vec<u8>) {
        self.connection.send(Frame::send(&self.world.topic("deploy.requests"), headers, body));
    }

    /// Sends an order, with its plan if it is to prepare.
    pub fn say(&self, plan: &Plan, step: Step) {
        let signed = (step == Step::Prepare).then(|| self.sign(plan));
        let order = self.sign_order(&self.order(plan, step));
        self.send(&Request::Order { plan: signed, order }, plan.id);
    }

    /// Sends it, and waits for what comes of it on the one host of the plan.
    pub fn run(&self, plan: &Plan, step: Step) -> Answer {
        self.say(plan, step);
        self.answer(plan, step)
    }

    /// What came of a step on the first host of a plan.
    pub fn answer(&self, plan: &Plan, step: Step) -> Answer {
        self.answer_of(plan, step, plan.hosts[0].as_str())
    }

    pub fn answer_of(&self, plan: &Plan, step: Step, node: &str) -> Answer {
        self.find(|report| {
            let is_end = !matches!(report.answer, Answer::Accepted | Answer::Progress { .. });
            report.about == plan.id && report.step == Some(step) && report.node.as_str() == node && is_end
        })
        .answer
    }

    /// Waits for such a report; what comes before it is kept for others.
    pub fn find(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut heard = self.heard.borrow_mut();
            if let Some(at) = heard.iter().position(|(report, _)| wanted(report)) {
                return heard.remove(at).unwrap().0;
            }
            drop(heard);
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connection.receive(Some(left)) {
                Some(Incoming::Message(message)) => {
                    let report = self.read(&message.frame);
                    self.heard.borrow_mut().push_back(report);
                }
                Some(_) => {}
                None => panic!("no such answer came, only {:#?}", self.heard.borrow()),
            }
        }
    }

    /// What comes within `time`, and what came before and was not looked for.
    pub fn within(&self, time: Duration) -> Vec<Report> {
        let deadline = Instant::now() + time;
        while let Some(incoming) = self.connection.receive(Some(deadline.saturating_duration_since(Instant::now()))) {
            if let Incoming::Message(message) = incoming {
                let report = self.read(&message.frame);
                self.heard.borrow_mut().push_back(report);
            }
        }
        self.heard.borrow_mut().drain(..).map(|(report, _)| report).collect()
    }

    /// A reply; was it signed? A signature that does not hold fails the test.
    fn read(&self, frame: &Frame) -> (Report, bool) {
        let envelope = Envelope::read(&frame.headers, &frame.body).unwrap().unwrap();
        let reply = Reply::parse(&envelope).unwrap();
        let report = Report::from_text(&reply.report.document).unwrap();
        assert_eq!(frame.header("subject"), Some(report.about.to_string().as_str()));
        let Some(vouch) = reply.vouch else {
            assert_eq!(reply.report.signature, "");
            return (report, false);
        };
        let allowed = self.world.sandbox.path("allowed_signers");
        let node = report.node.as_str().parse().unwrap();
        signature::verify(vouch.document.as_bytes(), &vouch.signature, REPLY_NAMESPACE, &allowed, &node).unwrap();
        let vouch = Vouch::from_text(&vouch.document).unwrap();
        assert_eq!(vouch.node, report.node);
        assert!(vouch.issued <= report.time && report.time <= vouch.not_after);
        verify_step(&vouch.key, reply.report.document.as_bytes(), &reply.report.signature).unwrap();
        (report, true)
    }

    /// Asks, and waits for the answer of that node.
    pub fn ask(&self, subject: Subject, node: &str) -> Report {
        let query = Query { id: PlanId::new(), subject, hosts: Vec::new() };
        self.send(&Request::Query(query.clone()), query.id);
        self.find(|report| report.about == query.id && report.node.as_str() == node)
    }
}

/// The code and the reason of a refusal.
#[track_caller]
pub fn refused(answer: Answer) -> (Code, String) {
    match answer {
        Answer::Refused { code, why } => (code, why),
        other => panic!("not refused: {other:?}"),
    }
}
