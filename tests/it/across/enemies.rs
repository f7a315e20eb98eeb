//! Somebody else writes to the topics: in another's name, unsigned, with what was said before.

use failcake::bus::Publisher;
use failcake::message::deploy::{
    Answer, Document as _, PlanId, REPLY_NAMESPACE, Reply, Report, Request, Signed, Step, Vouch,
};
use failcake::message::{Envelope, Event};
use failcake::signature::{Key, PATIENCE, StepKey, sign};
use failcake::stomp::Frame;
use nix::sys::signal::Signal;

use super::fleet::Fleet;
use crate::sandbox::brokers::{Listener, target};

const REPLIES: &str = "/topic/failcake.deploy.replies";
const REQUESTS: &str = "/topic/failcake.deploy.requests";

struct Enemy<'a> {
    fleet: &'a Fleet,
    plan: PlanId,
    url: String,
}

impl Enemy<'_> {
    fn report(&self, node: &str, step: Step, answer: Answer) -> String {
        let (about, node, time) = (self.plan, node.parse().unwrap(), jiff::Timestamp::now());
        Report { about, step: Some(step), node, time, refuses: None, answer }.to_text()
    }

    fn live(&self, node: &str) -> String {
        let (release, commit, previous) = ("20260101000000-1234567".to_owned(), None, None);
        self.report(
            node,
            Step::Switch,
            Answer::Live { release, reference: None, commit, previous, scripts: Vec::new(), milliseconds: 1 },
        )
    }

    /// A vouch for `node`, signed with the SSH key of `who`, and the key that it vouches for.
    fn vouch(&self, node: &str, who: &str) -> (Signed, StepKey) {
        let (key, now) = (StepKey::generate().unwrap(), jiff::Timestamp::now());
        let not_after = now + jiff::SignedDuration::from_hours(1);
        let vouch = Vouch { node: node.parse().unwrap(), key: key.public_base64(), issued: now, not_after };
        let document = vouch.to_text();
        let file = Key::File(self.fleet.world.path(format!("{who}/id")));
        let signature = sign(document.as_bytes(), REPLY_NAMESPACE, &file, PATIENCE).unwrap();
        (Signed { document, signature }, key)
    }

    fn say(&self, vouch: Option<Signed>, document: String, signature: String) {
        self.send(&Reply { vouch, report: Signed { document, signature } }, &self.plan.to_string());
    }

    fn send(&self, reply: &Reply, subject: &str) {
        self.send_all([reply.clone()], subject);
    }

    /// With vouches for `node`, each another one, none of them by its key.
    fn flood(&self, node: &str) {
        let (signed, key) = self.vouch(node, "web03");
        let (vouch, document) = (Vouch::from_text(&signed.document).unwrap(), self.live(node));
        let said = Signed { signature: key.sign(document.as_bytes()), document };
        let made_up = |number: i64| {
            let not_after = vouch.not_after + jiff::SignedDuration::from_secs(number);
            let document = Vouch { not_after, ..vouch.clone() }.to_text();
            Reply { vouch: Some(Signed { document, ..signed.clone() }), report: said.clone() }
        };
        self.send_all((0..4000).map(made_up), &self.plan.to_string());
    }

    fn send_all(&self, replies: impl IntoIterator<Item = Reply>, subject: &str) {
        let event = |reply: Reply| reply.event(jiff::Timestamp::now(), subject, "trust me");
        self.publish(REPLIES, replies.into_iter().map(event));
    }

    fn ask(&self, plan: Option<&Signed>, order: &Signed) {
        let request = Request::Order { plan: plan.cloned(), order: order.clone() };
        self.publish(REQUESTS, [request.event(jiff::Timestamp::now(), &self.plan.to_string(), "do it")]);
    }

    fn publish(&self, topic: &str, events: impl IntoIterator<Item = Event>) {
        let frame = |event: Event| Frame::send(topic, event.headers, event.body.into_bytes());
        let until = std::time::Instant::now() + PATIENCE;
        let mut publisher = Publisher::connect(&target(&self.url, None), until).unwrap();
        publisher.publish(events.into_iter().map(frame).collect(), until).unwrap();
    }
}

#[test]
fn nobody_else_can_say_done() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let gate = fleet.gate("turn");
    fleet.release("v0", &[]);
    fleet.start();
    let heard = Listener::open(&url, &[REPLIES]);
    fleet.deploy("v0", "web*", &[]).run().success();
    let before: Vec<Reply> = heard.within(std::time::Duration::from_millis(300)).iter().filter_map(read).collect();
    assert!(before.len() > 4);
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST = web02 ] || {{ {}; }}", gate.script()))]);
    let mut operator = fleet.deploy("v1", "web*", &[]).start();
    gate.wait_for("web01");
    let enemy = Enemy { fleet: &fleet, plan: fleet.newest_plan().parse().unwrap(), url };

    // Not signed; signed with a key that nobody knows; with another node's key, which is good for its own name only.
    enemy.say(None, enemy.live("web01"), String::new());
    operator.stderr_line("a reply in the name of web01 was dropped: it is not signed (told once)");
    let stranger = StepKey::generate().unwrap();
    fleet.world.program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", "stranger-id"]).run().success();
    std::fs::create_dir(fleet.world.path("stranger")).unwrap();
    std::fs::rename(fleet.world.path("stranger-id"), fleet.world.path("stranger/id")).unwrap();
    for who in ["stranger", "web02", "operator"] {
        let (vouch, key) = enemy.vouch("web01", who);
        let document = enemy.live("web01");
        let signature = key.sign(document.as_bytes());
        enemy.say(Some(vouch), document, signature);
    }
    // What web01 itself vouched for, with other words, under another name, and in another plan's replies.
    let genuine = before.iter().find(|reply| reply.report.document.contains("\"node\":\"web01\"")).unwrap();
    let document = enemy.live("web01");
    enemy.say(genuine.vouch.clone(), document.clone(), stranger.sign(document.as_bytes()));
    enemy.say(genuine.vouch.clone(), document.clone(), genuine.report.signature.clone());
    let (vouch, key) = enemy.vouch("web02", "web02");
    enemy.say(Some(vouch), document.clone(), key.sign(document.as_bytes()));
    for reply in &before {
        enemy.send(reply, &enemy.plan.to_string());
    }
    // A node that is not in the plan, and no reply at all.
    let (vouch, key) = enemy.vouch("web99", "web02");
    let document = enemy.live("web99");
    enemy.say(Some(vouch), document.clone(), key.sign(document.as_bytes()));
    enemy.say(None, "{\"version\":9}".to_owned(), String::new());
    operator.stderr_line("a reply in the name of somebody was dropped: ");

    // Whatever of it counted would have begun web02's turn by now.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(fleet.all_serve(), ["v0", "v0"]);
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1", "v1"]);
    let told = String::from_utf8(operator.stderr()).unwrap();
    assert_eq!(told.matches("in the name of web01").count(), 0, "once is enough: {told}");
}

#[test]
fn nobody_else_can_say_failed_and_a_repetition_changes_nothing() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST = web02 ] || {{ {}; }}", gate.script()))]);
    fleet.start();
    let heard = Listener::open(&url, &[REPLIES]);
    let mut operator = fleet.deploy("v1", "web*", &[]).start();
    gate.wait_for("web01");
    let enemy = Enemy { fleet: &fleet, plan: fleet.newest_plan().parse().unwrap(), url };
    let (vouch, key) = enemy.vouch("web02", "web01");
    let why = "the disk is full".to_owned();
    let document = enemy.report(
        "web02",
        Step::Prepare,
        Answer::Failed { at: "stage".to_owned(), why, serving: None, switched: false, scripts: Vec::new() },
    );
    enemy.say(Some(vouch), document.clone(), key.sign(document.as_bytes()));
    // All that was said in earnest, again and backwards.
    let said: Vec<Reply> = heard.within(std::time::Duration::from_millis(300)).iter().filter_map(read).collect();
    for reply in said.iter().rev() {
        enemy.send(reply, &enemy.plan.to_string());
    }
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1", "v1"]);
}

/// A broken-in node makes up vouches, thousands of them, and each would cost the operator a process.
#[test]
fn a_flood_in_one_hosts_name_makes_no_other_silent() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST != web01 ] || {{ {}; }}", gate.script()))]);
    fleet.start();
    let more = ["--patience", "3s", "--batch", "1", "--on-failure", "rollback"];
    let mut operator = fleet.deploy("v1", "web*", &more).start();
    gate.wait_for("web01");
    let enemy = Enemy { fleet: &fleet, plan: fleet.newest_plan().parse().unwrap(), url };
    enemy.flood("web02");
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

#[test]
fn a_flood_in_its_name_does_not_keep_a_host_from_being_heard_for_the_first_time() {
    let mut fleet = Fleet::new(&["web01", "web02", "web03"]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    fleet.release("v1", &[]);
    fleet.start();
    fleet.node("web02").signal(Signal::SIGSTOP);
    let mut operator = fleet.deploy("v1", "web*", &["--patience", "6s"]).start();
    operator.stderr_line("web01 prepared");
    let enemy = Enemy { fleet: &fleet, plan: fleet.newest_plan().parse().unwrap(), url };
    enemy.flood("web02");
    fleet.node("web02").signal(Signal::SIGCONT);
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1"; 3]);
}

fn read(frame: &Frame) -> Option<Reply> {
    Reply::parse(&Envelope::read(&frame.headers, &frame.body).ok()??).ok()
}

/// Each is answered with a refusal about the plan, signed by the node itself.
#[test]
fn nobody_else_can_make_a_host_refuse_the_plan() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let url = fleet.embedded.as_ref().unwrap().url.clone();
    let gate = fleet.gate("turn");
    fleet.release("v1", &[("pre-deploy", &format!("[ $FAILCAKE_HOST = web02 ] || {{ {}; }}", gate.script()))]);
    fleet.start();
    let (requests, replies) = (Listener::open(&url, &[REQUESTS]), Listener::open(&url, &[REPLIES]));
    let mut operator = fleet.deploy("v1", "web*", &[]).start();
    gate.wait_for("web01");
    let enemy = Enemy { fleet: &fleet, plan: fleet.newest_plan().parse().unwrap(), url };
    let said = requests.within(std::time::Duration::from_millis(300));
    let asked = said.iter().find_map(|frame| {
        match Request::parse(&Envelope::read(&frame.headers, &frame.body).ok()??).ok()? {
            Request::Order { plan: Some(plan), order } => Some((plan, order)),
            _ => None,
        }
    });
    let (plan, order) = asked.expect("an order with its plan");
    let _ = replies.within(std::time::Duration::from_millis(300));
    let mut next = Event::human(jiff::Timestamp::now(), "x");
    next.headers[0].1 = enemy.plan.to_string();
    next.body = "x\nJSON: {\"version\":2,\"new\":{}}\n".to_owned();
    assert_eq!(next.headers[0].0, "subject");
    enemy.publish(REQUESTS, [next]);
    let stranger = StepKey::generate().unwrap();
    let signature = stranger.sign(order.document.as_bytes());
    enemy.ask(None, &Signed { signature: signature.clone(), ..order.clone() });
    enemy.ask(Some(&plan), &Signed { signature, ..order.clone() });
    enemy.ask(Some(&Signed { document: plan.document.replace("web02", "web03"), ..plan.clone() }), &order);
    for _ in ["web01", "web02"] {
        operator.stderr_line(" was dropped: it refuses a message that was not sent from here (told once)");
    }
    let refused = |frame: &Frame| read(frame).is_some_and(|reply| reply.report.document.contains("\"is\":\"refused\""));
    let refusals = replies.within(std::time::Duration::from_millis(500)).iter().filter(|frame| refused(frame)).count();
    assert_eq!(refusals, 8, "each of the four by both");
    // Word for word what the operator said, it changes nothing.
    enemy.ask(Some(&plan), &order);
    enemy.ask(None, &order);
    gate.open();
    assert_eq!(operator.wait().code(), Some(0), "{}", String::from_utf8_lossy(&operator.stderr()));
    assert_eq!(fleet.all_serve(), ["v1", "v1"]);
}

/// Such as a machine and one that was made of its image.
#[test]
fn two_machines_of_one_name_stop_the_plan_and_are_told() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    // Both have said something long before it is over.
    fleet.release("v1", &[("pre-deploy", "sleep 10")]);
    fleet.start();
    let config = fleet.world.read("web01/failcake.yaml");
    let (paths, key) = (config.replace("/web01/", "/clone/"), "/clone/id,");
    fleet.world.write("clone/failcake.yaml", paths.replace(key, "/web01/id,"));
    std::fs::create_dir_all(fleet.world.path("clone/spool")).unwrap();
    let mut clone = fleet.as_who("clone", ["deploy", "--watch"]).start();
    clone.stderr_line("listening to");

    let said = fleet.deploy("v1", "web*", &[]).run().code(1);
    said.stderr_has("two machines answer as web01, with one key: look at both").stdout_has("web02  dropped");
    assert_eq!(fleet.serves("web02"), "");
    // One that is started again is one.
    drop(clone);
    let _ = fleet.running.remove("web01");
    fleet.start_node("web01");
    fleet.listens("web01");
    fleet.release("v2", &[]);
    fleet.deploy("v2", "web*", &[]).run().success();
}
