//! Events that this process has heard, by their ids.

use std::collections::{HashSet, VecDeque};

use ring::digest::{Context, SHA256};

use crate::message::EventId;
use crate::stomp::Frame;

/// The name of a frame's event. The old hooks give their events none: then it follows from the frame. What ActiveMQ sends
/// again has the message-id that it had, and the same words said anew (a branch put back to where it was) have another.
/// RabbitMQ's message-ids are of the session: there such an event is taken for a new one when it comes again.
pub fn name_of(frame: &Frame) -> EventId {
    if let Some(id) = frame.header("event-id").and_then(|id| id.parse().ok()) {
        return id;
    }
    let mut context = Context::new(&SHA256);
    context.update(frame.header("message-id").unwrap_or_default().as_bytes());
    context.update(b"\n");
    context.update(&frame.body);
    let mut seed = [0; 16];
    seed.copy_from_slice(&context.finish().as_ref()[..16]);
    EventId::derived(seed)
}

/// So many ids are remembered, 32 octets each. A broker that repeats does so within its prefetch, or after a
/// reconnect that asks for a look at everything anyway.
const MOST: usize = 8192;

/// The last ids. Good for work that is harmless to repeat; what must not be done twice is remembered on disk, by
/// [`Seen`](crate::seen::Seen).
#[derive(Debug, Default)]
pub struct Recent {
    ids: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl Recent {
    /// Is the frame's event heard for the first time? One without an id (the old daemons' have none) always is.
    pub fn is_new(&mut self, frame: &Frame) -> bool {
        let Some(id) = frame.header("event-id").and_then(|id| id.parse().ok()) else { return true };
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str) -> Frame {
        Frame::new("MESSAGE").with("event-id", id)
    }

    #[test]
    fn an_event_is_new_once_and_what_has_no_id_always() {
        let mut recent = Recent::default();
        let id = EventId::new().to_string();
        assert_eq!([0; 3].map(|_| recent.is_new(&frame(&id))), [true, false, false]);
        assert!(recent.is_new(&Frame::new("MESSAGE")) && recent.is_new(&Frame::new("MESSAGE")));
        assert!(recent.is_new(&frame("x")) && recent.is_new(&frame("x")), "no id of ours is no id");
    }

    #[test]
    fn a_flood_of_ids_costs_bounded_memory_and_the_newest_are_kept() {
        let mut recent = Recent::default();
        let ids: Vec<String> = (0..3 * MOST).map(|_| EventId::new().to_string()).collect();
        assert!(ids.iter().all(|id| recent.is_new(&frame(id))));
        assert_eq!((recent.ids.len(), recent.order.len()), (MOST, MOST));
        assert!(!recent.is_new(&frame(&ids[2 * MOST])));
        assert!(recent.is_new(&frame(&ids[0])));
    }
}
