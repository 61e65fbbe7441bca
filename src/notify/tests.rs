//! Delivery against an outbox in memory and a sink that does as it is told.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Notify;

use super::*;
use crate::model::{Leased, Message, Settled, Time};

/// The table, as the store keeps it.
#[derive(Default)]
struct Table(Mutex<BTreeMap<i64, Row>>);

struct Row {
    message: Message,
    until: Time,
    attempts: u32,
}

impl Table {
    fn with(messages: &[(&str, &str)]) -> Arc<Self> {
        let table = Self::default();
        messages.iter().for_each(|(topic, payload)| table.add(topic, payload));
        Arc::new(table)
    }

    fn add(&self, topic: &str, payload: &str) {
        let mut rows = self.0.lock().unwrap();
        let seq = rows.last_key_value().map_or(1, |(seq, _)| seq + 1);
        let message = Message::new(topic, payload.as_bytes());
        rows.insert(seq, Row { message, until: Time::default(), attempts: 0 });
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Outbox for Table {
    type Error = Infallible;

    fn exchange(&self, settled: &[Settled], now: Time, until: Time, most: usize) -> Result<Vec<Leased>, Infallible> {
        let mut rows = self.0.lock().unwrap();
        for one in settled {
            match one {
                Settled::Sent { seq } | Settled::Refused { seq, .. } => drop(rows.remove(seq)),
                Settled::Released { seq } => rows.get_mut(seq).unwrap().until = Time::default(),
                Settled::Later { seq, at, .. } => {
                    let row = rows.get_mut(seq).unwrap();
                    (row.until, row.attempts) = (*at, row.attempts + 1);
                }
            }
        }
        let mut held: Vec<Arc<str>> = Vec::new();
        let mut leased = Vec::new();
        for (seq, row) in rows.iter_mut() {
            if row.until > now {
                held.push(row.message.topic.clone());
            } else if leased.len() < most && !held.contains(&row.message.topic) {
                row.until = until;
                leased.push(Leased {
                    seq: *seq,
                    message: row.message.clone(),
                    attempts: row.attempts,
                    created_at: now,
                });
            }
        }
        Ok(leased)
    }

    fn next_due(&self, now: Time) -> Result<Option<Time>, Infallible> {
        Ok(self.0.lock().unwrap().values().map(|row| row.until).filter(|until| *until > now).min())
    }

    fn will_pass(error: &Infallible) -> bool {
        match *error {}
    }
}

/// Answers by payload: `bad…` is refused, `flaky…` fails until the sink is mended, `slow` never answers.
#[derive(Default)]
struct Script {
    took: Mutex<Vec<String>>,
    mended: Mutex<bool>,
}

impl Sink for Script {
    type Receipt = BoxFuture<'static, Result<(), SendError>>;

    async fn send(&self, topic: &str, payload: &[u8]) -> Result<Self::Receipt, SendError> {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        if payload.starts_with("bad") {
            return Err(SendError::Refused("too large".into()));
        }
        if payload.starts_with("flaky") && !*self.mended.lock().unwrap() {
            return Err(SendError::TryAgain("no connection".into()));
        }
        if payload == "slow" {
            return Ok(std::future::pending().boxed());
        }
        self.took.lock().unwrap().push(format!("{topic} {payload}"));
        Ok(std::future::ready(Ok(())).boxed())
    }
}

fn at(ms: i64) -> Time {
    Time::from_millis(1_000_000 + ms)
}

fn took(sink: &Script) -> Vec<String> {
    std::mem::take(&mut *sink.took.lock().unwrap())
}

#[tokio::test]
async fn what_is_sent_is_struck_out_with_the_next_turn_and_not_before() {
    let (table, sink) = (Table::with(&[("a", "1"), ("a", "2"), ("b", "3")]), Arc::new(Script::default()));
    let mut courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    let turn = courier.turn(at(0)).await.unwrap();
    assert_eq!(turn, Turn { taken: 3, sent: 3, ..Turn::default() });
    assert_eq!(took(&sink), ["a 1", "a 2", "b 3"]);
    assert_eq!(table.len(), 3, "a crash here sends them again");
    assert_eq!(courier.turn(at(0)).await.unwrap(), Turn::default());
    assert_eq!(table.len(), 0);
}

#[tokio::test]
async fn a_crash_after_sending_sends_the_same_bytes_again() {
    let (table, sink) = (Table::with(&[("a", "1")]), Arc::new(Script::default()));
    let mut courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    courier.turn(at(0)).await.unwrap();
    drop(courier);
    let mut courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    let after_the_lease = at(Settings::default().lease_ms);
    assert_eq!(courier.turn(at(1)).await.unwrap().taken, 0, "still under lease");
    assert_eq!(courier.turn(after_the_lease).await.unwrap().sent, 1);
    assert_eq!(took(&sink), ["a 1", "a 1"]);
}

#[tokio::test]
async fn a_failure_holds_its_topic_back_in_order_and_no_other() {
    let (table, sink) =
        (Table::with(&[("a", "1"), ("a", "flaky"), ("a", "3"), ("b", "4")]), Arc::new(Script::default()));
    let mut courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    assert_eq!(courier.turn(at(0)).await.unwrap(), Turn { taken: 4, sent: 2, held: 2, refused: 0 });
    assert_eq!(took(&sink), ["a 1", "b 4"]);
    assert_eq!(courier.turn(at(999)).await.unwrap().taken, 0, "not before the wait is over");
    assert_eq!(courier.turn(at(1_000)).await.unwrap().held, 2);
    // The second wait is twice as long.
    assert_eq!(courier.turn(at(2_999)).await.unwrap().taken, 0);
    *sink.mended.lock().unwrap() = true;
    assert_eq!(courier.turn(at(3_000)).await.unwrap().sent, 2);
    assert_eq!(took(&sink), ["a flaky", "a 3"]);
}

#[tokio::test]
async fn what_is_refused_is_put_aside_and_its_topic_goes_on() {
    let (table, sink) = (Table::with(&[("a", "bad"), ("a", "2")]), Arc::new(Script::default()));
    let mut courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    assert_eq!(courier.turn(at(0)).await.unwrap(), Turn { taken: 2, sent: 1, held: 0, refused: 1 });
    courier.turn(at(0)).await.unwrap();
    assert_eq!((took(&sink), table.len()), (vec!["a 2".to_owned()], 0));
}

#[tokio::test]
async fn a_sink_that_never_answers_counts_as_a_failure() {
    let (table, sink) = (Table::with(&[("a", "slow"), ("b", "2")]), Arc::new(Script::default()));
    let settings = Settings { answer_ms: 1, ..Settings::default() };
    let mut courier = Courier::new(table, sink.clone(), settings);
    assert_eq!(courier.turn(at(0)).await.unwrap(), Turn { taken: 2, sent: 1, held: 1, refused: 0 });
}

#[tokio::test]
async fn behind_one_without_an_answer_a_topic_is_sent_again_in_order() {
    let (table, sink) = (Table::with(&[("a", "1"), ("a", "slow"), ("a", "3")]), Arc::new(Script::default()));
    let settings = Settings { answer_ms: 1, ..Settings::default() };
    let mut courier = Courier::new(table.clone(), sink.clone(), settings);
    assert_eq!(courier.turn(at(0)).await.unwrap(), Turn { taken: 3, sent: 1, held: 2, refused: 0 });
    assert_eq!(courier.turn(at(0)).await.unwrap().taken, 0, "held back");
    assert_eq!(
        (took(&sink), table.len()),
        (vec!["a 1".to_owned(), "a 3".to_owned()], 2),
        "3 was on its way, and goes again"
    );
}

#[test]
fn waits_double_up_to_a_bound() {
    let settings = Settings::default();
    let waits: Vec<i64> = [0, 1, 2, 5, 6, 40, u32::MAX].map(|attempts| settings.retry_ms(attempts)).into();
    assert_eq!(waits, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000]);
}

#[tokio::test]
async fn running_delivers_what_is_woken_for_and_drains_at_the_end() {
    let (table, sink, wake) = (Table::with(&[("a", "1")]), Arc::new(Script::default()), Arc::new(Notify::new()));
    let courier = Courier::new(table.clone(), sink.clone(), Settings::default());
    let counts = courier.delivered();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let running = tokio::spawn(run(courier, || at(0), wake.clone(), shutdown));
    while table.len() > 0 {
        tokio::task::yield_now().await;
    }
    table.add("a", "2");
    wake.notify_one();
    while table.len() > 0 {
        tokio::task::yield_now().await;
    }
    table.add("a", "3");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(took(&sink), ["a 1", "a 2", "a 3"]);
    assert_eq!((table.len(), counts.sent.load(std::sync::atomic::Ordering::Relaxed)), (0, 3));
}

#[test]
fn an_alert_goes_to_each_of_its_departments() {
    let alert: crate::model::Alert = serde_json::from_value(serde_json::json!({
        "alert_id": "00ff", "rule_id": "overspeed", "rule_version": "1", "vehicle_id": "V1", "plate": "P1", "company_id": "C1",
        "severity": "major", "departments": ["police", "water"], "message": "fast", "started_at": 0, "fired_at": 0,
        "state": "open", "retrospective": false, "facts": {}
    }))
    .unwrap();
    let messages = alert_messages("mw/v1", &alert).unwrap();
    let topics: Vec<&str> = messages.iter().map(|message| &*message.topic).collect();
    assert_eq!(topics, ["mw/v1/alert/police", "mw/v1/alert/water"]);
    assert_eq!(serde_json::from_slice::<crate::model::Alert>(&messages[0].payload).unwrap(), alert);
    assert_ne!(messages[0].id, messages[1].id);
}
