//! Against brokers that do as they are told, over real sockets.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::*;
use crate::config::{SpoolPlace, Tls, Topics};

/// What a broker does with a SEND, by its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Receipt,
    /// ERROR, then the connection is closed.
    Error,
    /// The connection is closed, without a word.
    HangUp,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    RefusesLogin,
    /// Accepts the connection and says nothing.
    Silent,
}

/// A broker that keeps what it gave a receipt for.
struct Broker {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    door: Door,
    answers: HashMap<String, Answer>,
    /// Subjects, in the order of their receipts.
    kept: Vec<String>,
    /// All that came, receipted or not.
    came: usize,
    connections: usize,
}

impl Broker {
    fn start(door: Door) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { door, answers: HashMap::new(), kept: Vec::new(), came: 0, connections: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(serve(stream.unwrap(), &shared)));
            }
        });
        Broker { port, state }
    }

    fn answers(self, subject: &str, answer: Answer) -> Broker {
        self.set(subject, answer);
        self
    }

    fn set(&self, subject: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(subject.to_owned(), answer);
    }

    fn kept(&self) -> Vec<String> {
        self.state.lock().unwrap().kept.clone()
    }

    fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    fn url(&self) -> String {
        format!("stomp://127.0.0.1:{}", self.port)
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let door = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.door
    };
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_version(Version::V1_2);
    let mut buffer = [0; 65536];
    let mut unconfirmed = Vec::new();
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        decoder.push(&buffer[..length]);
        while let Some(item) = decoder.poll().unwrap() {
            let Item::Frame(frame) = item else { continue };
            let mut answer = Answer::Receipt;
            if frame.command == "SEND" {
                let subject = frame.header("subject").unwrap_or_default().to_owned();
                let mut state = state.lock().unwrap();
                state.came += 1;
                answer = state.answers.get(&subject).copied().unwrap_or(Answer::Receipt);
                unconfirmed.push(subject);
            }
            let reply = match (frame.command.as_str(), door, answer) {
                (_, Door::Silent, _) => continue,
                ("CONNECT" | "STOMP", Door::RefusesLogin, _) => Frame::new("ERROR").with("message", "Access refused"),
                ("CONNECT" | "STOMP", Door::Open, _) => Frame::new("CONNECTED").with("version", "1.2"),
                (_, _, Answer::Nothing) => continue,
                (_, _, Answer::HangUp) => return stream.shutdown(Shutdown::Both),
                (_, _, Answer::Error) => Frame::new("ERROR").with("message", "not authorized\u{1b}[31m"),
                _ => match frame.header("receipt") {
                    Some(id) => Frame::new("RECEIPT").with("receipt-id", id),
                    None => continue,
                },
            };
            let mut bytes = Vec::new();
            reply.encode(Version::V1_2, &mut bytes);
            if reply.command == "RECEIPT" {
                state.lock().unwrap().kept.append(&mut unconfirmed);
            }
            stream.write_all(&bytes)?;
            if reply.command == "ERROR" {
                return stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// A port where nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("stomp://127.0.0.1:{}", listener.local_addr().unwrap().port())
}

struct World {
    parent: TempDir,
    bus: config::Bus,
}

impl World {
    fn new(url: &str) -> World {
        let parent = TempDir::new().unwrap();
        let bus = config::Bus {
            broker: url.parse().unwrap(),
            tls: Tls { ca_file: None, verify: true },
            passcode: None,
            vhost: "/".to_owned(),
            heart_beat: Duration::ZERO,
            budget: Duration::from_secs(20),
            topics: Topics { prefix: "failcake".to_owned(), renamed: Default::default() },
            spool: SpoolPlace { parent: parent.path().to_owned(), max_count: 1000, max_bytes: 1 << 20 },
        };
        World { parent, bus }
    }

    fn budget(mut self, milliseconds: u64) -> World {
        self.bus.budget = Duration::from_millis(milliseconds);
        self
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(&self.bus)
    }

    fn emit(&self, subject: &str) -> Result<Delivery, Error> {
        self.outbox().emit(vec![event(subject)], "")
    }

    /// As an emission that was killed behind its rename leaves it.
    fn leave(&self, subject: &str) -> Name {
        let frame = event(subject);
        let about = describe(&frame, "");
        self.spool().put(subject, &about, &encode(&[frame]), LOCK_PATIENCE).unwrap().name
    }

    fn spool(&self) -> Spool {
        Spool::open(self.parent.path(), self.outbox().limits()).unwrap()
    }

    fn waiting(&self) -> Vec<String> {
        self.spool().list().unwrap().entries.into_iter().map(|name| name.id).collect()
    }

    fn set_aside(&self) -> Vec<String> {
        let survey = self.spool().survey().unwrap();
        survey.into_iter().filter(|entry| entry.refused.is_some()).map(|entry| entry.name.id).collect()
    }

    fn has_marker(&self) -> bool {
        self.spool().marker(&self.outbox().broker).is_some()
    }
}

fn event(subject: &str) -> Frame {
    Frame::send("/topic/t", vec![], b"body\n".to_vec()).with("subject", subject).with("event-id", subject)
}

#[track_caller]
fn spooled(delivery: Result<Delivery, Error>) -> String {
    match delivery.unwrap() {
        Delivery::Spooled { cause, remedy } => {
            assert!(remedy.contains("failcake spool flush"), "{remedy}");
            cause
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delivered_event_leaves_nothing() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    assert_eq!(world.emit("a").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["a"]);
    assert!(world.waiting().is_empty() && !world.has_marker());
}

#[test]
fn many_frames_are_one_entry_and_one_connection() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    let subjects: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let frames: Vec<Frame> = subjects.iter().map(|subject| event(subject)).collect();
    assert_eq!(world.outbox().emit(frames, "301 refs").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), subjects);
    assert_eq!(broker.connections(), 1);
}

#[test]
fn what_a_killed_emission_left_goes_first() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    for subject in ["a", "b", "c"] {
        world.leave(subject);
    }
    assert_eq!(world.emit("d").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["a", "b", "c", "d"]);
    assert_eq!(broker.connections(), 1);
    assert!(world.waiting().is_empty());
}

#[test]
fn frames_come_back_from_a_file_as_they_went_in() {
    let frame =
        Frame::send("/topic/t", vec![], vec![0, 1, 0, b'\n']).with("a:b", "c\\d\r\ne").with("long", "x".repeat(20_000));
    let mut back = decode(&encode(&[frame.clone(), frame.clone()])).unwrap();
    for frame in &mut back {
        frame.headers.retain(|(name, _)| name != "content-length");
    }
    assert_eq!(back, [frame.clone(), frame]);
    // Other users' files are data: what is no message goes nowhere.
    for bad in ["", "SUBSCRIBE\ndestination:/queue/x\n\n\0", "SEND\n\nbody\0", "SEND\ndestination:/t\n\nhalf", "\0\0"] {
        assert!(decode(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let sly = decode(b"SEND\ndestination:/t\nreceipt:1\ntransaction:2\n\n\0").unwrap();
    assert_eq!(sly[0].headers, [("destination".to_owned(), "/t".to_owned())]);
}

#[test]
fn a_refused_connection_spools_warns_and_is_not_asked_again_for_a_while() {
    let world = World::new(&closed_port());
    let cause = spooled(world.emit("a"));
    assert!(cause.contains("127.0.0.1:"), "{cause}");
    assert!(world.has_marker());
    let again = spooled(world.emit("b"));
    assert!(again.contains(&cause) && again.contains("not asked again"), "{again}");
    assert_eq!(world.waiting(), ["a", "b"]);
}

#[test]
fn the_marker_is_for_one_url_and_flush_ignores_it() {
    let mut world = World::new(&closed_port());
    spooled(world.emit("a"));
    let broker = Broker::start(Door::Open);
    let other = World { parent: TempDir::new().unwrap(), bus: world.bus.clone() };
    world.bus.broker = broker.url().parse().unwrap();
    assert!(!world.has_marker(), "a changed URL has a marker of its own");
    assert_eq!(world.emit("b").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["a", "b"]);

    // The same URL, with the marker set: a hook does not ask, flush does, and its success removes the marker.
    drop(other);
    world.spool().set_marker(&world.outbox().broker, "down");
    assert!(spooled(world.emit("c")).contains("down"));
    let flushed = world.outbox().flush(false, |_, _| {}).unwrap();
    assert_eq!(flushed, Flushed { sent: 1, ..Flushed::default() });
    assert!(!world.has_marker());
    assert_eq!(broker.kept(), ["a", "b", "c"]);
}

#[test]
fn a_silent_broker_costs_the_budget_once() {
    let broker = Broker::start(Door::Silent);
    let world = World::new(&broker.url()).budget(300);
    let start = Instant::now();
    spooled(world.emit("a"));
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert!(world.has_marker());
    spooled(world.emit("b"));
    assert_eq!(broker.connections(), 1, "the second was not even tried");
    assert_eq!(world.waiting(), ["a", "b"]);
}

#[test]
fn a_broker_that_logs_in_and_then_says_nothing_costs_the_budget_too() {
    let broker = Broker::start(Door::Open).answers("a", Answer::Nothing);
    let world = World::new(&broker.url()).budget(300);
    spooled(world.emit("a"));
    assert!(world.has_marker());
    assert_eq!(world.waiting(), ["a"]);
}

#[test]
fn of_two_hosts_the_one_that_answers_gets_it() {
    let (silent, open) = (Broker::start(Door::Silent), Broker::start(Door::Open));
    let world = World::new(&format!("failover:({},{})", silent.url(), open.url()));
    assert_eq!(world.emit("a").unwrap(), Delivery::Delivered);
    assert_eq!(open.kept(), ["a"]);
    assert!(!world.has_marker());
}

#[test]
fn a_refused_login_is_told_and_keeps_the_event() {
    let broker = Broker::start(Door::RefusesLogin);
    let world = World::new(&broker.url());
    let cause = spooled(world.emit("a"));
    assert!(cause.contains("login") && cause.contains("Access refused"), "{cause}");
    assert!(world.has_marker());
    assert_eq!(world.waiting(), ["a"]);
    assert!(world.set_aside().is_empty());
}

#[test]
fn one_refused_entry_of_three_blocks_nothing() {
    let broker = Broker::start(Door::Open).answers("b", Answer::Error);
    let world = World::new(&broker.url());
    for subject in ["a", "b", "c"] {
        world.leave(subject);
    }
    assert_eq!(world.emit("d").unwrap(), Delivery::Delivered);
    let mut kept = broker.kept();
    kept.dedup();
    assert_eq!(kept, ["a", "c", "d"]);
    assert!(world.waiting().is_empty() && !world.has_marker());
    assert_eq!(world.set_aside(), ["b"]);
    let reason = world.spool().survey().unwrap()[0].refused.clone().unwrap();
    assert!(reason.contains("not authorized") && !reason.contains('\u{1b}'), "{reason}");

    broker.set("b", Answer::Receipt);
    assert_eq!(world.outbox().flush(false, |_, _| {}).unwrap().sent, 0, "not tried again by itself");
    assert_eq!(world.outbox().flush(true, |_, _| {}).unwrap().sent, 1);
    assert_eq!(broker.kept().last().unwrap(), "b");
    assert!(world.set_aside().is_empty());
}

#[test]
fn an_emission_hears_that_its_own_event_was_refused() {
    let broker = Broker::start(Door::Open).answers("a", Answer::Error);
    let world = World::new(&broker.url());
    match world.emit("a").unwrap() {
        Delivery::Refused { cause, remedy } => {
            assert!(cause.contains("not authorized"), "{cause}");
            assert!(remedy.contains("--refused"), "{remedy}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.set_aside(), ["a"]);
    assert!(!world.has_marker());
}

#[test]
fn a_message_on_which_the_broker_hangs_up_is_set_aside_once_another_passes() {
    let broker = Broker::start(Door::Open).answers("large", Answer::HangUp);
    let world = World::new(&broker.url());
    world.leave("large");
    world.leave("b");
    assert_eq!(world.emit("c").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["b", "c"]);
    assert_eq!(world.set_aside(), ["large"]);
}

#[test]
fn a_broker_that_hangs_up_on_everything_costs_no_event() {
    let broker = Broker::start(Door::Open);
    for subject in ["a", "b", "c"] {
        broker.set(subject, Answer::HangUp);
    }
    let world = World::new(&broker.url());
    world.leave("a");
    world.leave("b");
    spooled(world.emit("c"));
    assert!(broker.kept().is_empty() && world.set_aside().is_empty());
    assert_eq!(world.waiting(), ["a", "b", "c"]);
    assert!(world.has_marker());
}

#[test]
fn damaged_entries_are_set_aside_and_the_rest_goes_out() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    let names: Vec<Name> = ["empty", "cut", "good"].map(|subject| world.leave(subject)).into();
    let file = |name: &Name| world.spool().path().join(name.to_string());
    fs::write(file(&names[0]), "").unwrap();
    let whole = fs::read(file(&names[1])).unwrap();
    fs::write(file(&names[1]), &whole[..whole.len() - 9]).unwrap();
    assert_eq!(world.emit("d").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["good", "d"]);
    assert_eq!(world.set_aside(), ["empty", "cut"]);
}

#[test]
fn an_unusable_spool_sends_directly_and_tells_when_that_fails_too() {
    let broker = Broker::start(Door::Open);
    for (url, delivered) in [(broker.url(), true), (closed_port(), false)] {
        let world = World::new(&url);
        symlink("/nonexistent", world.parent.path().join(geteuid().to_string())).unwrap();
        match world.emit("a") {
            Ok(delivery) => assert!(delivered && delivery == Delivery::Delivered),
            Err(error) => {
                let text = error.to_string();
                assert!(!delivered && text.contains("neither delivered nor spooled"), "{text}");
                assert!(text.contains("remove it") && text.contains("127.0.0.1"), "{text}");
            }
        }
    }
    assert_eq!(broker.kept(), ["a"]);
}

#[test]
fn a_full_spool_is_emptied_when_the_bus_is_back_and_told_when_it_is_not() {
    let broker = Broker::start(Door::Open);
    let mut world = World::new(&closed_port());
    world.bus.spool.max_count = 2;
    world.leave("a");
    world.leave("b");
    let error = world.emit("lost").unwrap_err().to_string();
    assert!(error.contains("is full") && error.contains("2 may"), "{error}");
    assert_eq!(world.waiting(), ["a", "b"]);
    world.bus.broker = broker.url().parse().unwrap();
    assert_eq!(world.emit("c").unwrap(), Delivery::Delivered);
    assert_eq!(broker.kept(), ["a", "b", "c"]);
}

#[test]
fn whoever_finds_the_lock_held_waits_until_its_event_is_gone() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    let spool = world.spool();
    let lock = spool.lock_drain().unwrap().unwrap();
    thread::scope(|scope| {
        let emission = scope.spawn(|| world.emit("a").unwrap());
        while world.waiting().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        // As if the holder had sent it.
        let names = spool.list().unwrap().entries;
        spool.remove(&names[0]).unwrap();
        assert_eq!(emission.join().unwrap(), Delivery::Delivered);
    });
    assert!(broker.kept().is_empty());
    // A holder that does not come to an end costs the budget.
    let world = World { bus: config::Bus { budget: Duration::from_millis(200), ..world.bus.clone() }, ..world };
    let cause = spooled(world.emit("b"));
    assert!(cause.contains("another failcake"), "{cause}");
    assert!(!world.has_marker(), "that says nothing of the broker");
    drop(lock);
}

#[test]
fn whoever_drains_looks_again_for_those_who_gave_up_waiting() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    world.leave("a");
    let outbox = world.outbox();
    let spool = world.spool();
    // While "a" is being sent, somebody spools "b", finds the lock held and gives up.
    let mut late = |sent: usize| {
        if sent == 1 {
            world.leave("b");
            assert!(world.spool().lock_drain().unwrap().is_none());
        }
    };
    let mut drain = Drain::new(&outbox, Pace::Each(Duration::from_secs(20)), &mut late);
    drain.folder(&spool, spool.lock_drain().unwrap().unwrap(), None);
    drain.close();
    assert_eq!(broker.kept(), ["a", "b"]);
    assert!(world.waiting().is_empty());
}

#[test]
fn twenty_emitters_at_once_are_all_delivered_each_once() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    thread::scope(|scope| {
        for emitter in 0..20 {
            let world = &world;
            scope.spawn(move || {
                for turn in 0..5 {
                    assert_eq!(world.emit(&format!("{emitter}-{turn}")).unwrap(), Delivery::Delivered);
                }
            });
        }
    });
    let mut kept = broker.kept();
    let own_order = (0..20).all(|emitter| {
        let prefix = format!("{emitter}-");
        kept.iter().filter(|subject| subject.starts_with(&prefix)).is_sorted()
    });
    assert!(own_order, "{kept:?}");
    kept.sort();
    kept.dedup();
    assert_eq!(kept.len(), 100);
    assert_eq!(broker.state.lock().unwrap().came, 100);
    assert!(world.waiting().is_empty());
}

#[test]
fn ten_thousand_that_wait_go_out_in_order_and_few_receipts() {
    let broker = Broker::start(Door::Open);
    let mut world = World::new(&broker.url());
    world.bus.spool = SpoolPlace { max_count: 20_000, max_bytes: 1 << 30, ..world.bus.spool };
    let spool = world.spool();
    let count = 10_000;
    for number in 0..count {
        let frame = event(&format!("{number:05}"));
        let _ = spool.put(&format!("{number:05}"), "", &encode(&[frame]), LOCK_PATIENCE).unwrap();
    }
    let mut heard = 0;
    let flushed = world.outbox().flush(false, |sent, all| heard = heard.max(sent.min(all))).unwrap();
    assert_eq!((flushed.sent, flushed.left, heard), (count, 0, count));
    assert!(broker.kept().is_sorted() && broker.kept().len() == count);
}

#[test]
fn a_folder_that_cant_be_made_sends_directly() {
    if geteuid().is_root() {
        eprintln!("not run: root may write everywhere");
        return;
    }
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    fs::set_permissions(world.parent.path(), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(world.emit("a").unwrap(), Delivery::Delivered);
}

#[test]
fn of_an_entry_of_many_events_only_the_refused_one_is_set_aside() {
    let broker = Broker::start(Door::Open).answers("b", Answer::Error);
    let world = World::new(&broker.url());
    let outbox = world.outbox();
    let frames: Vec<Frame> = ["a", "b", "c"].map(event).into();
    outbox.keep_for_later(&outbox.open().unwrap(), &frames, "three").unwrap();
    assert_eq!(world.waiting(), ["a"], "one file, called like its first event");
    assert_eq!(broker.kept().len(), 0, "the bus is not asked");

    let flushed = outbox.send_waiting().unwrap();
    assert_eq!((flushed.left, flushed.set_aside.len()), (0, 1));
    assert_eq!(world.set_aside(), ["b"]);
    let mut kept = broker.kept();
    kept.sort();
    kept.dedup();
    assert_eq!(kept, ["a", "c"]);
}

#[test]
fn a_broker_that_is_marked_as_down_is_not_asked_in_passing() {
    let broker = Broker::start(Door::Open);
    let world = World::new(&broker.url());
    let outbox = world.outbox();
    world.leave("a");
    world.spool().set_marker(&outbox.broker, "down");
    assert_eq!(outbox.send_briefly().unwrap().sent, 0);
    assert_eq!(outbox.send_waiting().unwrap().sent, 1);
    world.leave("b");
    assert_eq!(outbox.send_briefly().unwrap().sent, 1, "the marker is gone");
}
