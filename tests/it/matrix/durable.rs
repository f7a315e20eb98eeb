//! Durable subscriptions: what is said while nobody listens.

use super::*;

matrix! {
    on all: what_was_missed_comes_once_when_acked, what_was_not_acked_comes_again, two_names_are_two_subscriptions,
        a_name_in_use_is_told_or_shared;
    on real: survives_a_crash;
}

/// A durable subscription of one name to one topic, each message acknowledged by the case.
struct Reader {
    connection: Connection,
    /// What came before the subscription was confirmed.
    early: Vec<Message>,
}

impl Reader {
    fn open(broker: &Broker, name: &str) -> Reader {
        Reader::of(broker, name, name)
    }

    fn of(broker: &Broker, name: &str, topic: &str) -> Reader {
        let connection = connect(broker, name, topic);
        let mut early = Vec::new();
        await_on(&connection, "confirmation", |incoming| match incoming {
            Incoming::Connected(_) => Some(()),
            Incoming::Message(message) => {
                early.push(message);
                None
            }
            other => panic!("{other:?}"),
        });
        Reader { connection, early }
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<Message> {
        let mut taken: Vec<Message> = self.early.drain(..count.min(self.early.len())).collect();
        while taken.len() < count {
            taken.push(await_message(&self.connection));
        }
        taken
    }

    fn ack(&self, messages: &[Message]) {
        for message in messages {
            self.connection.ack(message.ack.clone().expect("acknowledged one by one"));
        }
    }

    #[track_caller]
    fn gets_nothing(&self) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        let more = self.connection.receive(Some(Duration::from_millis(700)));
        assert!(more.is_none(), "{more:?}");
    }

    fn close(self) {
        self.connection.close();
    }
}

fn connect(broker: &Broker, name: &str, topic: &str) -> Connection {
    let target = Target { client_id: Some(format!("matrix-{name}")), ..broker.target() };
    let wanted = Subscription {
        durable: Some(format!("matrix-{name}")),
        ack: AckMode::Individual,
        prefetch: Some(100),
        ..subscription(&format!("/topic/matrix.durable.{topic}"))
    };
    Connection::open(target, vec![wanted]).unwrap()
}

fn say(broker: &Broker, topic: &str, bodies: &[&str]) {
    broker.publish(bodies.iter().map(|body| text(&format!("/topic/matrix.durable.{topic}"), body)).collect());
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| body(&message.frame)).collect()
}

fn what_was_missed_comes_once_when_acked(on: Which) {
    let broker = on.shared();
    Reader::open(&broker, "once").close();
    say(&broker, "once", &["one", "two", "three"]);
    let mut reader = Reader::open(&broker, "once");
    let came = reader.take(3);
    assert_eq!(bodies(&came), ["one", "two", "three"]);
    reader.ack(&came);
    reader.gets_nothing();
    reader.close();
    let mut reader = Reader::open(&broker, "once");
    reader.gets_nothing();
    say(&broker, "once", &["four"]);
    assert_eq!(bodies(&reader.take(1)), ["four"]);
}

fn what_was_not_acked_comes_again(on: Which) {
    let broker = on.shared();
    let mut reader = Reader::open(&broker, "again");
    say(&broker, "again", &["one", "two", "three"]);
    let came = reader.take(3);
    assert!(came.iter().all(|message| message.frame.header("redelivered") != Some("true")), "{came:?}");
    reader.ack(&came[..1]);
    reader.ack(&came[2..]);
    reader.close();
    let mut reader = Reader::open(&broker, "again");
    let came = reader.take(1);
    assert_eq!(bodies(&came), ["two"]);
    // ActiveMQ forgets with the connection that it sent it before: event-id has to tell.
    let told = (on != Which::activemq()).then_some("true");
    assert_eq!(came[0].frame.header("redelivered"), told, "{:?}", came[0]);
    reader.gets_nothing();
    reader.ack(&came);
    reader.close();
    Reader::open(&broker, "again").gets_nothing();
}

fn two_names_are_two_subscriptions(on: Which) {
    let broker = on.shared();
    Reader::of(&broker, "web01", "names").close();
    let web02 = Reader::of(&broker, "web02", "names");
    say(&broker, "names", &["for both"]);
    for mut reader in [Reader::of(&broker, "web01", "names"), web02] {
        let came = reader.take(1);
        assert_eq!(bodies(&came), ["for both"]);
        reader.ack(&came);
        reader.gets_nothing();
    }
}

/// Two machines that were given one name. ActiveMQ and the embedded broker refuse the second, and say why; RabbitMQ lets
/// them share what comes.
fn a_name_in_use_is_told_or_shared(on: Which) {
    let broker = on.shared();
    let mut first = Reader::open(&broker, "taken");
    if on == Which::rabbitmq() {
        let mut second = Reader::open(&broker, "taken");
        say(&broker, "taken", &["one", "two"]);
        let came = [first.take(1), second.take(1)].concat();
        let mut said = bodies(&came);
        said.sort_unstable();
        assert_eq!(said, ["one", "two"]);
        return;
    }
    let cause = await_lost(&connect(&broker, "taken", "taken"));
    assert!(cause.contains("already") || cause.contains("in use"), "{cause}");
    // Which does the first no harm.
    say(&broker, "taken", &["for the first"]);
    assert_eq!(bodies(&first.take(1)), ["for the first"]);
}

fn survives_a_crash(on: Which) {
    let mut broker = on.own();
    let mut reader = Reader::open(&broker, "crash");
    say(&broker, "crash", &["acked", "not acked"]);
    let came = reader.take(2);
    assert_eq!(bodies(&came), ["acked", "not acked"]);
    reader.ack(&came[..1]);
    reader.close();
    say(&broker, "crash", &["while away"]);
    broker.stop(Signal::SIGKILL);
    broker.restart();
    let mut reader = Reader::open(&broker, "crash");
    let came = reader.take(2);
    let mut said = bodies(&came);
    said.sort_unstable();
    assert_eq!(said, ["not acked", "while away"]);
    reader.ack(&came);
    reader.gets_nothing();
}
