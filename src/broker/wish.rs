//! SUBSCRIBE and destinations: the words of three brokers, read into one meaning.

use super::Refusal;
use super::store::{Ack, DurableKey, Wish};
use crate::stomp::Frame;

/// Messages that a consumer gets ahead of its acks, unless it says how many: ActiveMQ's for durable topics and queues.
const WINDOW: usize = 1000;

/// SUBSCRIBE headers that change what is delivered and that this broker does not have. A value of `false` asks for
/// nothing.
const NOT_HERE: [&str; 6] =
    ["selector", "browser", "no-local", "activemq.noLocal", "activemq.exclusive", "activemq.retroactive"];

/// Is it a topic? `None` of a header counts as an empty one.
pub(super) fn is_topic(destination: Option<&str>) -> Result<bool, Refusal> {
    let refuse = |detail: &str| {
        let text = format!("{:?}: {detail}", destination.unwrap_or_default());
        Err(Refusal::new("bad destination", text))
    };
    let Some(destination) = destination else { return refuse("the frame has no destination header") };
    let (topic, name) = match (destination.strip_prefix("/topic/"), destination.strip_prefix("/queue/")) {
        (Some(name), _) => (true, name),
        (_, Some(name)) => (false, name),
        _ => return refuse("destinations begin with /queue/ or /topic/ here"),
    };
    if name.is_empty() {
        return refuse("the name is missing");
    }
    if name.split('.').any(|word| matches!(word, "*" | ">" | "#")) {
        return refuse("this broker has no wildcards; name each destination");
    }
    Ok(topic)
}

/// Reads a SUBSCRIBE.
pub(super) fn read(frame: &Frame, needs_id: bool, client_id: Option<&str>) -> Result<Wish, Refusal> {
    let destination = frame.header("destination");
    let is_topic = is_topic(destination)?;
    let id = frame.header("id");
    if needs_id && id.is_none() {
        return Err(Refusal::new("SUBSCRIBE without id", "from STOMP 1.1 on a subscription needs an id header"));
    }
    let asks = |name: &&&str| frame.header(name).is_some_and(|value| value != "false");
    if let Some(name) = NOT_HERE.iter().find(asks) {
        let text =
            format!("{name:?} is not in the embedded broker; leave it out, or use ActiveMQ, Artemis or RabbitMQ");
        return Err(Refusal::new("unsupported SUBSCRIBE header", text));
    }
    let ack = match frame.header("ack") {
        None | Some("auto") => Ack::Auto,
        Some("client") => Ack::Cumulative,
        Some("client-individual") => Ack::Individual,
        Some(other) => {
            let text = format!("{other:?}: it is auto, client or client-individual");
            return Err(Refusal::new("bad ack header", text));
        }
    };
    Ok(Wish {
        destination: destination.unwrap_or_default().to_owned(),
        is_topic,
        durable: if is_topic { durable(frame, client_id)? } else { None },
        ack,
        window: window(frame)?,
        id: id.map(str::to_owned),
    })
}

/// What the durable subscription that a SUBSCRIBE or UNSUBSCRIBE speaks of is known by, if it speaks of one.
pub(super) fn durable(frame: &Frame, client_id: Option<&str>) -> Result<Option<DurableKey>, Refusal> {
    // The second is a misspelling that ActiveMQ once had, and takes to this day.
    let names = ["activemq.subscriptionName", "activemq.subcriptionName", "durable-subscription-name"];
    if let Some(name) = names.iter().find_map(|name| frame.header(name)) {
        let Some(client) = client_id else {
            let text = "a durable subscription belongs to a client: say client-id in CONNECT";
            return Err(Refusal::new("durable subscription without client-id", text));
        };
        return Ok(Some(DurableKey::Client { client: client.to_owned(), name: name.to_owned() }));
    }
    if frame.header("durable") != Some("true") {
        return Ok(None);
    }
    match (frame.header("auto-delete"), frame.header("destination"), frame.header("id")) {
        (Some("false"), Some(destination), Some(id)) => {
            Ok(Some(DurableKey::Subscription { destination: destination.to_owned(), id: id.to_owned() }))
        }
        _ => {
            let text = "durable:true needs auto-delete:false, a destination and an id that stays the same";
            Err(Refusal::new("bad durable subscription", text))
        }
    }
}

fn window(frame: &Frame) -> Result<usize, Refusal> {
    let names = ["activemq.prefetchSize", "prefetch-count"];
    let Some((name, text)) = names.iter().find_map(|name| Some((*name, frame.header(name)?))) else {
        return Ok(WINDOW);
    };
    match (name, text.parse()) {
        // RabbitMQ: no limit. The backlog's limit counts what is unacknowledged, too.
        ("prefetch-count", Ok(0)) => Ok(usize::MAX),
        (_, Ok(window)) if window > 0 => Ok(window),
        _ => Err(Refusal::new("bad prefetch", format!("{name}:{text:?} lets no message through; say 1 or more"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        assert_eq!(is_topic(Some("/topic/a.b")), Ok(true));
        assert_eq!(is_topic(Some("/queue/a*b.c>")), Ok(false));
        for bad in [None, Some(""), Some("/topic/"), Some("topic/a"), Some("/exchange/e/k"), Some("/temp-queue/x")] {
            assert!(is_topic(bad).is_err(), "{bad:?}");
        }
        for wild in ["/topic/>", "/topic/a.*", "/topic/a.#", "/queue/*.b"] {
            assert!(is_topic(Some(wild)).is_err_and(|r| r.detail.contains("wildcards")), "{wild}");
        }
    }

    #[test]
    fn durable_in_three_languages() {
        let base = || Frame::new("SUBSCRIBE").with("destination", "/topic/t").with("id", "7");
        let client = DurableKey::Client { client: "c".to_owned(), name: "n".to_owned() };
        for word in ["activemq.subscriptionName", "activemq.subcriptionName", "durable-subscription-name"] {
            let frame = base().with(word, "n");
            assert_eq!(read(&frame, true, Some("c")).map(|w| w.durable), Ok(Some(client.clone())), "{word}");
            assert!(read(&frame, true, None).is_err_and(|r| r.detail.contains("client-id")));
        }
        let frame = base().with("durable", "true").with("auto-delete", "false");
        let key = DurableKey::Subscription { destination: "/topic/t".to_owned(), id: "7".to_owned() };
        assert_eq!(read(&frame, true, None).map(|w| w.durable), Ok(Some(key)));
        assert!(read(&base().with("durable", "true"), true, None).is_err());
        assert_eq!(read(&base().with("durable", "false"), true, None).map(|w| w.durable), Ok(None));
    }

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        for name in NOT_HERE {
            let base = || Frame::new("SUBSCRIBE").with("destination", "/topic/t").with("id", "7");
            let refusal = read(&base().with(name, "a > 1"), true, None).expect_err(name);
            assert!(refusal.detail.contains(name), "{refusal:?}");
            assert!(read(&base().with(name, "false"), true, None).is_ok(), "{name}");
        }
    }

    #[test]
    fn prefetch_words() {
        for (name, value, window) in [
            ("activemq.prefetchSize", "5", Some(5)),
            ("activemq.prefetchSize", "0", None),
            ("activemq.prefetchSize", "-1", None),
            ("prefetch-count", "7", Some(7)),
            ("prefetch-count", "0", Some(usize::MAX)),
            ("other", "x", Some(WINDOW)),
        ] {
            let frame = Frame::new("SUBSCRIBE").with("destination", "/queue/q").with("id", "7").with(name, value);
            assert_eq!(read(&frame, true, None).ok().map(|w| w.window), window, "{name}:{value}");
        }
    }
}
