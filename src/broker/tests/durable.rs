//! Durable subscriptions, in the words of three brokers.

use super::*;

/// CONNECT headers, SUBSCRIBE headers, UNSUBSCRIBE headers that delete.
const WORDS: [(&str, &str, &str); 3] = [
    ("client-id:c1\n", "id:1\nactivemq.subscriptionName:n\n", "id:1\nactivemq.subscriptionName:n\n"),
    ("client-id:c1\n", "id:1\ndurable-subscription-name:n\n", "id:1\ndurable-subscription-name:n\n"),
    ("", "id:stable\ndurable:true\nauto-delete:false\n", "id:stable\ndurable:true\nauto-delete:false\n"),
];

fn send(stage: &mut Stage, text: &str) {
    let sender = stage.log_in(Version::V1_2);
    stage.say(&sender, &format!("SEND\ndestination:/topic/t\n\n{text}\0"));
    stage.hub.handle_lost(sender.id);
}

#[test]
fn they_keep_what_comes_while_nobody_is_there() {
    for version in ALL {
        for (login, words, _) in WORDS {
            let mut stage = Stage::new();
            let subscribe = format!("SUBSCRIBE\ndestination:/topic/t\nack:client-individual\n{words}\n\0");
            let mut client = stage.log_in_with(version, login);
            stage.say(&client, &subscribe);
            send(&mut stage, "acked");
            send(&mut stage, "open");
            let got = stage.hear(&mut client);
            stage.say(&client, &format!("ACK\n{}\n\0", ack_headers(&client, &got[0])));
            stage.hub.handle_lost(client.id);
            send(&mut stage, "missed");

            let mut client = stage.log_in_with(version, login);
            assert!(stage.hear(&mut client).is_empty());
            stage.say(&client, &subscribe);
            let got = stage.hear(&mut client);
            let seen: Vec<_> = got.iter().map(|m| (body(m), m.header("redelivered").is_some())).collect();
            assert_eq!(seen, [("open".to_owned(), true), ("missed".to_owned(), false)], "{version} {words}");
        }
    }
}

#[test]
fn a_second_live_reader_is_refused() {
    for (login, words, _) in WORDS {
        let mut stage = Stage::new();
        let subscribe = format!("SUBSCRIBE\ndestination:/topic/t\n{words}\n\0");
        let first = stage.log_in_with(Version::V1_2, login);
        stage.say(&first, &subscribe);
        let mut second = stage.log_in_with(Version::V1_2, login);
        stage.say(&second, &subscribe);
        assert!(stage.hear_error(&mut second).contains("is in use"), "{words}");
        stage.hub.handle_lost(first.id);
        let mut third = stage.log_in_with(Version::V1_2, login);
        stage.say(&third, &subscribe);
        assert!(stage.hear(&mut third).is_empty());
    }
}

#[test]
fn unsubscribe_leaves_them_and_with_their_words_deletes_them() {
    for (login, words, delete) in WORDS {
        let id = words.lines().next().expect("the id");
        for (unsubscribe, kept) in [(format!("{id}\n"), true), (delete.to_owned(), false)] {
            let mut stage = Stage::new();
            let mut client = stage.log_in_with(Version::V1_2, login);
            stage.say(&client, &format!("SUBSCRIBE\ndestination:/topic/t\n{words}\n\0"));
            stage.say(&client, &format!("UNSUBSCRIBE\n{unsubscribe}receipt:r\n\n\0"));
            assert_eq!(stage.hear_one(&mut client).command, "RECEIPT", "{unsubscribe}");
            send(&mut stage, "later");
            stage.say(&client, &format!("SUBSCRIBE\ndestination:/topic/t\n{words}\n\0"));
            assert_eq!(stage.hear(&mut client).len(), usize::from(kept), "{unsubscribe}");
        }
    }
    // ActiveMQ's clients also delete without having subscribed before.
    let mut stage = Stage::new();
    let before = stage.hub.memory_used();
    let client = stage.log_in_with(Version::V1_1, "client-id:c\n");
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\n\n\0");
    stage.hub.handle_lost(client.id);
    let client = stage.log_in_with(Version::V1_1, "client-id:c\n");
    stage.say(&client, "UNSUBSCRIBE\nactivemq.subscriptionName:n\n\n\0");
    stage.hub.handle_lost(client.id);
    assert_eq!(stage.hub.memory_used(), before, "nothing is left");
}

#[test]
fn the_same_name_on_another_topic_begins_anew() {
    let mut stage = Stage::new();
    let client = stage.log_in_with(Version::V1_2, "client-id:c\n");
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\n\n\0");
    stage.hub.handle_lost(client.id);
    send(&mut stage, "old");
    let mut client = stage.log_in_with(Version::V1_2, "client-id:c\n");
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/u\nactivemq.subscriptionName:n\n\n\0");
    send(&mut stage, "not for me");
    assert!(stage.hear(&mut client).is_empty());
}

#[test]
fn names_belong_to_their_client_id() {
    let mut stage = Stage::new();
    for client_id in ["a", "b"] {
        let mut client = stage.log_in_with(Version::V1_2, &format!("client-id:{client_id}\n"));
        stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\nreceipt:r\n\n\0");
        assert_eq!(stage.hear_one(&mut client).command, "RECEIPT");
    }
    let mut client = stage.log_in(Version::V1_2);
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\n\n\0");
    assert!(stage.hear_error(&mut client).contains("client-id"));
}

#[test]
fn a_full_one_refuses_the_sender_and_keeps_what_it_has() {
    let mut stage = Stage::with(Limits { backlog: 10_000, ..Limits::default() });
    let client = stage.log_in_with(Version::V1_2, "client-id:c\n");
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\n\n\0");
    stage.hub.handle_lost(client.id);
    let mut sender = stage.log_in(Version::V1_2);
    let mut sent = 0;
    let error = loop {
        stage.say(&sender, &format!("SEND\ndestination:/topic/t\nreceipt:{sent}\n\n{}\0", "x".repeat(1000)));
        let answer = stage.hear_one(&mut sender);
        if answer.command == "ERROR" {
            break answer;
        }
        sent += 1;
        assert!(sent < 10);
    };
    assert_eq!(error.header("receipt-id"), Some(sent.to_string().as_str()));
    assert!(body(&error).contains("--max-backlog"), "{error:?}");
    let mut client = stage.log_in_with(Version::V1_2, "client-id:c\n");
    stage.say(&client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:n\n\n\0");
    assert_eq!(stage.hear(&mut client).len(), sent);
}
