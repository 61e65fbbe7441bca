use super::*;
use crate::ingest::{
    EmbeddedBroker, Publisher,
    mosquitto::{LIMIT, Mosquitto},
};

fn settings(address: Address, id: &str) -> SourceSettings {
    SourceSettings {
        address,
        client_id: id.into(),
        credentials: None,
        tls: None,
        filters: vec!["t/#".into()],
        wide: None,
        connections: 1,
        group: "g".into(),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

async fn next(receiver: &mut mpsc::Receiver<Incoming>) -> Incoming {
    timeout(LIMIT, receiver.recv()).await.expect("a message in time").expect("an open channel")
}

/// Publishes `n` messages and returns when the broker has them all.
async fn publish(publisher: &Publisher, from: usize, n: usize) {
    for number in from..from + n {
        let sent = timeout(LIMIT, publisher.publish("t/1", number.to_string().as_bytes())).await;
        sent.expect("an acknowledgement in time").unwrap();
    }
}

async fn take(receiver: &mut mpsc::Receiver<Incoming>, n: usize) -> (Vec<String>, Vec<Ack>) {
    let mut found = (Vec::new(), Vec::new());
    for _ in 0..n {
        let incoming = next(receiver).await;
        found.0.push(String::from_utf8_lossy(incoming.payload()).into_owned());
        found.1.push(incoming.ack);
    }
    found
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_it_is_told_and_all_in_order_of_receipt() {
    let broker = Mosquitto::start();
    let (source, mut receiver) = Source::start(&settings(broker.address(), "a")).unwrap();
    let stats = source.stats();
    until("subscribed", || stats.connected() == 1).await;
    let publisher = Publisher::start("p", &broker.address(), None, None).unwrap();
    publish(&publisher, 0, 50).await;
    let (payloads, mut acks) = take(&mut receiver, 50).await;
    assert_eq!(payloads, numbers(0..50));
    assert_eq!(stats.acknowledged(), 0);

    // Told backwards, but the first: none may leave, since the first is missing.
    let first = acks.remove(0);
    acks.reverse();
    source.acknowledge(acks);
    publish(&publisher, 50, 1).await;
    let last = next(&mut receiver).await;
    assert_eq!(stats.acknowledged(), 0, "the first was not told");
    source.acknowledge([first, last.ack]);
    until("all acknowledged", || stats.acknowledged() == 51).await;
    assert_eq!(stats.received(), 51);
    source.disconnect().await;
    assert_eq!(stats.connected(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again_after_the_broker_restarts_and_old_acks_are_dropped() {
    let mut broker = Mosquitto::start();
    let (source, mut receiver) = Source::start(&settings(broker.address(), "a")).unwrap();
    let stats = source.stats();
    until("subscribed", || stats.connected() == 1).await;
    let publisher = Publisher::start("p", &broker.address(), None, None).unwrap();
    publish(&publisher, 0, 10).await;
    let (_, acks) = take(&mut receiver, 10).await;
    source.acknowledge(acks[..4].iter().copied());
    until("four acknowledged", || stats.acknowledged() == 4).await;
    broker.down();
    until("lost", || stats.connected() == 0).await;
    assert_eq!(stats.reconnects(), 1);
    broker.up();
    // Our acknowledgements may have been on their way still when the broker went: it may begin again before the fifth.
    let (mut again, mut fresh) = take(&mut receiver, 1).await;
    let first: usize = again[0].parse().unwrap();
    assert!(first <= 4, "{first} is the first to come again");
    let (rest, more) = take(&mut receiver, 9 - first).await;
    again.extend(rest);
    fresh.extend(more);
    assert_eq!(again, numbers(first..10));

    source.acknowledge(acks[4..].iter().copied());
    publish(&publisher, 10, 1).await;
    let last = next(&mut receiver).await;
    assert_eq!(stats.acknowledged(), 4, "acknowledgements of a lost connection are dropped");
    source.acknowledge(fresh.into_iter().chain([last.ack]));
    until("the rest acknowledged", || stats.acknowledged() == 4 + (11 - first as u64)).await;
    source.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_outlives_the_process() {
    let broker = Mosquitto::start();
    let (source, mut receiver) = Source::start(&settings(broker.address(), "a")).unwrap();
    let stats = source.stats();
    until("subscribed", || stats.connected() == 1).await;
    let publisher = Publisher::start("p", &broker.address(), None, None).unwrap();
    publish(&publisher, 0, 3).await;
    let (_, acks) = take(&mut receiver, 3).await;
    source.stop_receiving();
    assert!(timeout(LIMIT, receiver.recv()).await.unwrap().is_none(), "the channel ends");
    source.acknowledge(acks);
    source.disconnect().await;
    assert_eq!(stats.acknowledged(), 3, "acknowledgements told before leaving still go out");
    publish(&publisher, 3, 2).await;

    let (source, mut receiver) = Source::start(&settings(broker.address(), "a")).unwrap();
    assert_eq!(take(&mut receiver, 2).await.0, numbers(3..5));
    source.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_the_messages() {
    let broker = Mosquitto::start();
    let settings = SourceSettings { connections: 3, ..settings(broker.address(), "a") };
    let (source, mut receiver) = Source::start(&settings).unwrap();
    let stats = source.stats();
    until("subscribed", || stats.connected() == 3).await;
    let publisher = Publisher::start("p", &broker.address(), None, None).unwrap();
    publish(&publisher, 0, 30).await;
    let (mut payloads, acks) = take(&mut receiver, 30).await;
    payloads.sort_by_key(|payload| payload.parse::<usize>().unwrap());
    assert_eq!(payloads, numbers(0..30));
    source.acknowledge(acks);
    until("all acknowledged", || stats.acknowledged() == 30).await;
    source.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_serves_both_clients() {
    let broker = EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let address: Address = broker.address().to_string().parse().unwrap();
    let (source, mut receiver) = Source::start(&settings(address.clone(), "a")).unwrap();
    let stats = source.stats();
    until("subscribed", || stats.connected() == 1).await;
    let publisher = Publisher::start("p", &address, None, None).unwrap();
    publish(&publisher, 0, 20).await;
    let (payloads, acks) = take(&mut receiver, 20).await;
    assert_eq!(payloads, numbers(0..20));
    source.acknowledge(acks);
    until("all acknowledged", || stats.acknowledged() == 20).await;
    source.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_keeps_what_the_broker_has_not_acknowledged() {
    let mut broker = Mosquitto::start();
    let publisher = Publisher::start("p", &broker.address(), None, None).unwrap();
    publish(&publisher, 0, 1).await;
    broker.down();
    until("lost", || !publisher.is_connected()).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let publisher = publisher.clone();
        waiting.push(tokio::spawn(async move { publisher.publish("t/1", b"x").await }));
    }
    broker.up();
    for sent in waiting {
        timeout(LIMIT, sent).await.unwrap().unwrap().unwrap();
    }
    for topic in ["", "a/+", "#", "a\0b"] {
        assert!(publisher.publish(topic, b"").await.is_err(), "{topic:?}");
    }
}

/// Two that use one id take the session from each other again and again: both say so, and wait longer each time.
#[tokio::test(flavor = "multi_thread")]
async fn two_clients_with_one_id_are_seen_and_slow_down() {
    let broker = Mosquitto::start();
    let (one, _inbox) = Source::start(&settings(broker.address(), "twin")).unwrap();
    let stats = one.stats();
    until("one is subscribed", || stats.connected() == 1).await;
    let (other, _others) = Source::start(&settings(broker.address(), "twin")).unwrap();
    let others = other.stats();
    until("both see that they are two", || stats.contested() == 1 && others.contested() == 1).await;
    let lost = stats.reconnects() + others.reconnects();
    // The n-th wait is at least half of 0.1 s times 2^n: that many cannot have come about quicker.
    assert!(lost <= 16, "{lost} times");
    other.disconnect().await;
    one.disconnect().await;
}

#[test]
fn waits_grow_until_a_connection_was_steady() {
    let mut backoff = Backoff::default();
    let mut waits = Vec::new();
    for _ in 0..12 {
        backoff.stands();
        waits.push(backoff.next());
    }
    assert_eq!(backoff.contested(), Some(12));
    assert!(waits[11] >= Duration::from_secs(15) && waits[0] <= Duration::from_millis(100), "{waits:?}");
    // The broker was away: nobody took the session.
    backoff.next();
    assert_eq!(backoff.contested(), None);
    backoff.settle();
    backoff.stands();
    assert!(backoff.next() <= Duration::from_millis(100));
    assert_eq!(backoff.contested(), None);
}
