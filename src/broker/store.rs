//! Topics, queues, durable subscriptions and who consumes them.
//!
//! One idea carries all of it: every subscription reads from a queue. `/queue/X` is a queue that many consumers
//! share; a topic subscription is a queue of its own, bound to the topic, that goes with its consumer; a durable one
//! is the same, but stays. So order, round robin, acknowledgement and limits are written once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use super::message::{Charge, Entry, Memory, Message, header_lines};
use super::output::Outputs;
use super::{ConnectionId, Limits, Refusal};
use crate::stomp::Frame;

/// Names a queue, for as long as the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct QueueId(u64);

/// Names a subscription of a connection, for as long as the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConsumerId(u64);

/// What a durable subscription is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum DurableKey {
    /// ActiveMQ and Artemis: a name that belongs to a client id.
    Client {
        /// `client-id` of CONNECT.
        client: String,
        /// `activemq.subscriptionName` or `durable-subscription-name`.
        name: String,
    },
    /// RabbitMQ: the subscription's id, per destination.
    Subscription {
        /// `destination`.
        destination: String,
        /// `id`.
        id: String,
    },
}

impl std::fmt::Display for DurableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DurableKey::Client { client, name } => write!(f, "client: {client} and subscriptionName: {name}"),
            DurableKey::Subscription { destination, id } => write!(f, "destination: {destination} and id: {id}"),
        }
    }
}

/// The `ack` header of SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// Sent is done.
    Auto,
    /// `client`: an ACK counts for all that was delivered before it, too.
    Cumulative,
    /// `client-individual`.
    Individual,
}

/// What a client wants to read, and how.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) destination: String,
    pub(super) is_topic: bool,
    pub(super) durable: Option<DurableKey>,
    pub(super) ack: Ack,
    /// Unacknowledged messages at a time.
    pub(super) window: usize,
    /// `subscription` of every MESSAGE; 1.0 may have none.
    pub(super) id: Option<String>,
}

#[derive(Debug)]
enum Kind {
    /// `/queue/X`: there while it has messages or consumers.
    Named { destination: String },
    /// One subscriber's, there as long as it is.
    Exclusive { topic: String, connection: ConnectionId },
    /// One subscriber's, there until it is deleted by name.
    Durable { topic: String, key: DurableKey },
}

#[derive(Debug)]
struct Queue {
    kind: Kind,
    /// Not delivered yet, the oldest first.
    waiting: VecDeque<Entry>,
    /// Octets of all messages in it, also of those that are delivered and not acknowledged.
    bytes: usize,
    consumers: usize,
    /// Consumers that can take a message now, the one whose turn it is first.
    ready: VecDeque<ConsumerId>,
    _charge: Charge,
}

#[derive(Debug)]
struct Consumer {
    connection: ConnectionId,
    queue: QueueId,
    ack: Ack,
    window: usize,
    /// The line that names the subscription, escaped; empty where it has no name.
    line: Vec<u8>,
    unacked: BTreeMap<u64, Entry>,
    delivered: u64,
    /// Neither in its queue's `ready` nor in its connection's `blocked`: its window is full.
    parked: bool,
    _charge: Charge,
}

/// One delivery, as its ack id names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) consumer: ConsumerId,
    tag: u64,
}

/// What becomes of delivered messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// ACK, or NACK with RabbitMQ's `requeue:false`: gone.
    Done,
    /// NACK: back to the head of the queue.
    Again,
}

/// What a queue or a consumer costs beside its names, in octets.
const COST: usize = 512;

/// All that is kept.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) memory: Memory,
    /// Octets that one queue may hold.
    backlog: usize,
    /// What message ids begin with.
    instance: String,
    queues: HashMap<QueueId, Queue>,
    /// Which queues get what is sent to a topic.
    topics: HashMap<String, Vec<QueueId>>,
    named: HashMap<String, QueueId>,
    durables: HashMap<DurableKey, QueueId>,
    consumers: HashMap<ConsumerId, Consumer>,
    numbers: u64,
}

impl Store {
    pub(super) fn new(limits: &Limits, instance: &str) -> Store {
        Store {
            memory: Memory::new(limits.memory),
            backlog: limits.backlog,
            instance: instance.to_owned(),
            queues: HashMap::new(),
            topics: HashMap::new(),
            named: HashMap::new(),
            durables: HashMap::new(),
            consumers: HashMap::new(),
            numbers: 0,
        }
    }

    /// The queues that a SEND to `destination` reaches now.
    fn targets(&self, destination: &str) -> &[QueueId] {
        match self.named.get(destination) {
            Some(queue) => std::slice::from_ref(queue),
            None => self.topics.get(destination).map_or(&[], Vec::as_slice),
        }
    }

    /// May `bytes` be sent to `destination`? `slow` gets the topic subscribers that have to go because they do not
    /// keep up; what keeps messages by contract (queues, durable subscriptions) refuses instead.
    ///
    /// # Errors
    /// A limit, by name.
    pub(super) fn check_room(
        &self,
        destination: &str,
        bytes: usize,
        slow: &mut Vec<ConnectionId>,
    ) -> Result<(), Refusal> {
        for queue in self.targets(destination).iter().filter_map(|id| self.queues.get(id)) {
            if queue.bytes.saturating_add(bytes) <= self.backlog {
                continue;
            }
            let full = match &queue.kind {
                // One message alone, however large, is no sign of being slow.
                Kind::Exclusive { connection, .. } => {
                    slow.extend((queue.bytes > 0).then_some(*connection));
                    continue;
                }
                Kind::Named { destination } => format!("queue {destination}"),
                Kind::Durable { key, topic } => format!("the durable subscription to {topic} of {key}"),
            };
            return Err(Refusal::new(
                "backlog limit reached",
                format!("{full} holds {} of at most {} octets (--max-backlog)", queue.bytes, self.backlog),
            ));
        }
        Ok(())
    }

    /// Is there memory for `bytes` more?
    ///
    /// # Errors
    /// The limit.
    pub(super) fn check_memory(&self, bytes: usize) -> Result<(), Refusal> {
        if self.memory.has_room(bytes) {
            return Ok(());
        }
        let (used, limit) = (self.memory.used(), self.memory.limit());
        let text = format!("{used} of at most {limit} octets are in use (--max-memory); {bytes} more were asked for");
        Err(Refusal::new("memory limit reached", text))
    }

    /// The topic subscriber that holds the most memory by being slow, if it holds a sixteenth of all there is.
    pub(super) fn slowest(&self) -> Option<ConnectionId> {
        let slow = self.queues.values().filter_map(|queue| match queue.kind {
            Kind::Exclusive { connection, .. } => Some((queue.bytes, connection)),
            _ => None,
        });
        slow.filter(|(bytes, _)| *bytes >= self.memory.limit() / 16).max().map(|(_, connection)| connection)
    }

    /// Puts the message where its destination says and hands it to whoever can take it now.
    pub(super) fn publish(&mut self, message: Message, is_topic: bool, outputs: &mut Outputs) {
        let message = Rc::new(message);
        if !is_topic && !self.named.contains_key(message.destination()) {
            self.open_named(message.destination());
        }
        // Taken out for the loop, which needs all of the store; nothing in it binds or unbinds a queue.
        let many = self.topics.get_mut(message.destination()).map(std::mem::take).unwrap_or_default();
        let one = self.named.get(message.destination()).copied();
        for id in many.iter().chain(one.iter()) {
            if let Some(queue) = self.queues.get_mut(id) {
                let entry = Entry::new(&message);
                queue.bytes += entry.size();
                queue.waiting.push_back(entry);
                self.pump(*id, outputs);
            }
        }
        if let Some(queues) = self.topics.get_mut(message.destination()) {
            *queues = many;
        }
    }

    /// Delivers what waits in a queue, round robin, until nothing waits or nobody can take more.
    fn pump(&mut self, id: QueueId, outputs: &mut Outputs) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        while !queue.waiting.is_empty() {
            let Some(turn) = queue.ready.pop_front() else { return };
            let Some(consumer) = self.consumers.get_mut(&turn) else { continue };
            let Some(output) = outputs.get_mut(consumer.connection) else { continue };
            if output.is_full() {
                output.blocked.push_back(turn);
                continue;
            }
            let Some(entry) = queue.waiting.pop_front() else { return };
            consumer.delivered += 1;
            let tag = consumer.delivered;
            let message_id = format!("{}-{}-{tag}", self.instance, turn.0);
            output.message(&entry, &consumer.line, &message_id, consumer.ack != Ack::Auto);
            outputs.touch(consumer.connection);
            if consumer.ack == Ack::Auto {
                queue.bytes -= entry.size();
            } else {
                consumer.unacked.insert(tag, entry);
            }
            consumer.parked = consumer.unacked.len() >= consumer.window;
            if !consumer.parked {
                queue.ready.push_back(turn);
            }
        }
    }

    /// A connection's socket took something: goes on where [`pump`](Self::pump) had to stop.
    pub(super) fn resume(&mut self, connection: ConnectionId, outputs: &mut Outputs) {
        while let Some(output) = outputs.get_mut(connection) {
            if output.is_full() {
                return;
            }
            let Some(id) = output.blocked.pop_front() else { return };
            let Some(consumer) = self.consumers.get(&id) else { continue };
            let queue_id = consumer.queue;
            if let Some(queue) = self.queues.get_mut(&queue_id) {
                queue.ready.push_back(id);
                self.pump(queue_id, outputs);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn open_queue(&mut self, kind: Kind) -> QueueId {
        let id = QueueId(self.number());
        let (names, topic) = match &kind {
            Kind::Named { destination } => (2 * destination.len(), None),
            Kind::Exclusive { topic, .. } => (2 * topic.len(), Some(topic.clone())),
            Kind::Durable { topic, key } => (2 * (topic.len() + key.to_string().len()), Some(topic.clone())),
        };
        if let Some(topic) = topic {
            self.topics.entry(topic).or_default().push(id);
        }
        let queue = Queue {
            kind,
            waiting: VecDeque::new(),
            bytes: 0,
            consumers: 0,
            ready: VecDeque::new(),
            _charge: self.memory.charge(COST + names),
        };
        self.queues.insert(id, queue);
        id
    }

    fn open_named(&mut self, destination: &str) -> QueueId {
        let id = self.open_queue(Kind::Named { destination: destination.to_owned() });
        self.named.insert(destination.to_owned(), id);
        id
    }

    fn delete_queue(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else { return };
        let topic = match &queue.kind {
            Kind::Named { destination } => {
                self.named.remove(destination);
                return;
            }
            Kind::Exclusive { topic, .. } => topic,
            Kind::Durable { topic, key } => {
                self.durables.remove(key);
                topic
            }
        };
        if let Some(bound) = self.topics.get_mut(topic) {
            if let Some(at) = bound.iter().position(|other| *other == id) {
                bound.swap_remove(at);
            }
            if bound.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Adds a consumer and gives it what already waits.
    ///
    /// # Errors
    /// The durable name is in use, or memory is out.
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        wish: &Wish,
        outputs: &mut Outputs,
    ) -> Result<ConsumerId, Refusal> {
        self.check_memory(4 * COST)?;
        let topic = wish.destination.clone();
        let queue_id = match (&wish.durable, wish.is_topic) {
            (Some(key), _) => self.durable(key, topic)?,
            (None, true) => self.open_queue(Kind::Exclusive { topic, connection }),
            (None, false) => match self.named.get(&wish.destination) {
                Some(id) => *id,
                None => self.open_named(&wish.destination),
            },
        };
        let line = match (&wish.id, outputs.get(connection)) {
            (Some(id), Some(output)) => header_lines(&Frame::new("MESSAGE").with("subscription", id), output.version),
            _ => Vec::new(),
        };
        let id = ConsumerId(self.number());
        let consumer = Consumer {
            connection,
            queue: queue_id,
            ack: wish.ack,
            window: wish.window,
            unacked: BTreeMap::new(),
            delivered: 0,
            parked: false,
            _charge: self.memory.charge(COST + line.len()),
            line,
        };
        self.consumers.insert(id, consumer);
        if let Some(queue) = self.queues.get_mut(&queue_id) {
            queue.consumers += 1;
            queue.ready.push_back(id);
        }
        self.pump(queue_id, outputs);
        Ok(id)
    }

    /// Finds or makes the queue of a durable subscription. On another topic than before it is begun anew, as JMS and
    /// ActiveMQ have it.
    fn durable(&mut self, key: &DurableKey, topic: String) -> Result<QueueId, Refusal> {
        if let Some(id) = self.durables.get(key).copied()
            && let Some(queue) = self.queues.get(&id)
        {
            if queue.consumers > 0 {
                return Err(in_use(key));
            }
            if matches!(&queue.kind, Kind::Durable { topic: before, .. } if *before == topic) {
                return Ok(id);
            }
            self.delete_queue(id);
        }
        let id = self.open_queue(Kind::Durable { topic, key: key.clone() });
        self.durables.insert(key.clone(), id);
        Ok(id)
    }

    /// Deletes a durable subscription with what waits in it. One that is not there is deleted already.
    ///
    /// # Errors
    /// A connection still reads from it.
    pub(super) fn forget_durable(&mut self, key: &DurableKey) -> Result<(), Refusal> {
        let Some(id) = self.durables.get(key).copied() else { return Ok(()) };
        if self.queues.get(&id).is_some_and(|queue| queue.consumers > 0) {
            return Err(in_use(key));
        }
        self.delete_queue(id);
        Ok(())
    }

    /// Takes a consumer away. What it did not acknowledge goes back to the head of its queue, in order. Gives the name
    /// of the durable subscription that it read from.
    pub(super) fn unsubscribe(&mut self, id: ConsumerId, outputs: &mut Outputs) -> Option<DurableKey> {
        let mut consumer = self.consumers.remove(&id)?;
        if let Some(output) = outputs.get_mut(consumer.connection) {
            output.blocked.retain(|other| *other != id);
        }
        let queue = self.queues.get_mut(&consumer.queue)?;
        queue.consumers -= 1;
        queue.ready.retain(|other| *other != id);
        give_back(queue, std::mem::take(&mut consumer.unacked));
        let (over, durable) = match &queue.kind {
            Kind::Named { .. } => (queue.consumers == 0 && queue.bytes == 0, None),
            Kind::Exclusive { .. } => (true, None),
            Kind::Durable { key, .. } => (false, Some(key.clone())),
        };
        if over {
            self.delete_queue(consumer.queue);
        } else {
            self.pump(consumer.queue, outputs);
        }
        durable
    }

    /// Reads an ack id (which is also the message id) and finds what it names, if that is still unacknowledged.
    pub(super) fn delivery(&self, ack_id: &str) -> Option<(ConnectionId, Delivery)> {
        let mut numbers = ack_id.strip_prefix(&self.instance)?.strip_prefix('-')?.splitn(2, '-');
        let id = ConsumerId(numbers.next()?.parse().ok()?);
        let tag = numbers.next()?.parse().ok()?;
        let consumer = self.consumers.get(&id)?;
        consumer.unacked.contains_key(&tag).then_some((consumer.connection, Delivery { consumer: id, tag }))
    }

    /// Acknowledges, or not, by the ack mode of the subscription. A delivery that is settled already stays so.
    pub(super) fn settle(&mut self, delivery: Delivery, verdict: Verdict, outputs: &mut Outputs) {
        let Some(consumer) = self.consumers.get_mut(&delivery.consumer) else { return };
        if !consumer.unacked.contains_key(&delivery.tag) {
            return;
        }
        let settled = if consumer.ack == Ack::Cumulative {
            let later = consumer.unacked.split_off(&(delivery.tag + 1));
            std::mem::replace(&mut consumer.unacked, later)
        } else {
            consumer.unacked.remove_entry(&delivery.tag).into_iter().collect()
        };
        let Some(queue) = self.queues.get_mut(&consumer.queue) else { return };
        match verdict {
            Verdict::Done => queue.bytes -= settled.values().map(Entry::size).sum::<usize>(),
            Verdict::Again => give_back(queue, settled),
        }
        if consumer.parked {
            consumer.parked = false;
            queue.ready.push_back(delivery.consumer);
        }
        let queue_id = consumer.queue;
        self.pump(queue_id, outputs);
    }
}

fn give_back(queue: &mut Queue, entries: BTreeMap<u64, Entry>) {
    for mut entry in entries.into_values().rev() {
        entry.redelivered = true;
        queue.waiting.push_front(entry);
    }
}

fn in_use(key: &DurableKey) -> Refusal {
    // ActiveMQ's words, which clients know.
    Refusal::new(&format!("Durable consumer is in use for {key}"), "another live connection reads from it".to_owned())
}
