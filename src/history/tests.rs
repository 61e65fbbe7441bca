use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMillisecondType, UInt64Type},
    util::pretty::pretty_format_batches,
};
use tempfile::TempDir;

use super::*;
use crate::{
    journal::{Journal, JournalSettings},
    model::{Body, DeadLetter, DeviceReport, Outcome, Reason, Record, Time},
};

/// 2026-03-01T00:00:00Z.
const START_MS: i64 = 1_772_323_200_000;
const HOUR_MS: i64 = 3_600_000;

/// A report of one of five trucks each hour; each eleventh message is a dead letter, each thirteenth the clock's.
fn record(i: i64) -> Record {
    let at = Time::from_millis(START_MS + i * HOUR_MS);
    let report = DeviceReport {
        device_id: format!("D{}", i % 5).into(),
        device_time: at,
        seq: Some(i),
        speed_kmh: Some(i as f64),
        alarms: vec!["sos".into()],
        ..DeviceReport::default()
    };
    let body = match i {
        i if i % 11 == 10 => {
            Body::DeadLetter(DeadLetter { topic: "t".into(), payload: vec![1, 2], problem: format!("bad {i}") })
        }
        i if i % 13 == 12 => Body::Tick,
        _ => Body::Device(report),
    };
    Record { recv_time: at, event_time: at, outcome: Outcome::Evaluated, reason: Reason::Ok, use_position: true, body }
}

/// Five days, of which the first ones are sealed and the last is open.
fn journal(dir: &TempDir) -> Vec<Record> {
    let records: Vec<Record> = (0..120).map(record).collect();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    records[..60].chunks(7).for_each(|chunk| assert!(!journal.append(chunk).unwrap().is_empty()));
    journal.close().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    records[60..].chunks(60).for_each(|chunk| assert!(!journal.append(chunk).unwrap().is_empty()));
    records
}

async fn ask(dir: &TempDir, query: &str) -> String {
    pretty_format_batches(&sql(dir.path(), query).await.unwrap()).unwrap().to_string()
}

/// One number.
async fn count(dir: &TempDir, query: &str) -> i64 {
    let batches = sql(dir.path(), query).await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn sql_gives_the_rows_that_reading_gives() {
    let dir = TempDir::new().unwrap();
    let records = journal(&dir);
    let batches =
        sql(dir.path(), "select position, event_time, source_id from journal order by position").await.unwrap();
    let rows: Vec<(u64, i64, Option<String>)> = batches.iter().flat_map(rows).collect();
    let read = Journal::read(dir.path(), 0).unwrap().map(Result::unwrap);
    let expected: Vec<_> = read
        .map(|(position, record)| {
            let source = match &record.body {
                Body::Device(report) => Some(report.device_id.to_string()),
                _ => None,
            };
            (position, record.event_time.as_millis(), source)
        })
        .collect();
    assert_eq!(rows.len(), records.len());
    assert_eq!(rows, expected);
}

fn rows(batch: &RecordBatch) -> Vec<(u64, i64, Option<String>)> {
    let positions = batch.column(0).as_primitive::<UInt64Type>();
    let times = batch.column(1).as_primitive::<TimestampMillisecondType>();
    let sources = batch.column(2);
    (0..batch.num_rows())
        .map(|row| {
            let source = datafusion::common::ScalarValue::try_from_array(sources, row).unwrap();
            (positions.value(row), times.value(row), source.try_as_str().flatten().map(str::to_owned))
        })
        .collect()
}

#[tokio::test]
async fn every_kind_has_its_view_and_no_row_is_there_twice() {
    let dir = TempDir::new().unwrap();
    journal(&dir);
    for (query, expected) in [
        ("select count(*) from journal", 120),
        ("select count(distinct position) from journal", 120),
        ("select count(*) from telemetry", 101),
        ("select count(*) from dead_letters", 10),
        ("select count(*) from sightings", 0),
        ("select count(*) from unit_reports", 0),
        ("select count(*) from unit_replies", 0),
        ("select count(*) from telemetry where array_has(alarms, 'sos')", 101),
        ("select count(*) from telemetry where device_id = 'D0'", 20),
        ("select count(*) from telemetry where event_time < '2026-03-02T00:00:00Z'", 21),
        ("select count(*) from telemetry where event_time >= '2026-03-05T00:00:00+08:00' and speed_kmh > 100", 16),
    ] {
        assert_eq!(count(&dir, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn days_that_are_not_asked_for_are_not_opened() {
    let dir = TempDir::new().unwrap();
    journal(&dir);
    for (filter, expected) in [
        ("true", 3),
        ("event_time < '2026-03-02T00:00:00Z'", 2),
        ("event_time < timestamp '2026-03-01T23:00:00'", 1),
        ("event_time >= '2026-03-02T00:00:00Z'", 2),
        ("event_time between '2026-03-02T01:00:00Z' and '2026-03-02T02:00:00Z'", 1),
        ("event_time = '2026-03-02T01:00:00Z'", 1),
        ("'2026-03-03T00:00:00Z' <= event_time", 1),
        ("event_time > '2026-04-01T00:00:00Z'", 0),
        ("event_time < '2026-03-02T00:00:00Z' or speed_kmh > 3", 3),
    ] {
        let plan = ask(&dir, &format!("explain select position from journal where {filter}")).await;
        let opened = ["day=2026-03-01", "day=2026-03-02", "day=2026-03-03"].iter().filter(|day| plan.contains(**day));
        assert_eq!(opened.count(), expected, "{filter}\n{plan}");
    }
}

#[tokio::test]
async fn a_journal_that_is_not_there_yet_is_empty_and_nothing_can_be_written() {
    let dir = TempDir::new().unwrap();
    assert_eq!(count(&dir, "select count(*) from telemetry").await, 0);
    for bad in [
        "create table x as select 1",
        "drop view telemetry",
        "copy (select 1) to 'x.csv'",
        "set datafusion.execution.batch_size = 1",
        "select nothing from telemetry",
    ] {
        assert!(sql(dir.path(), bad).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_table_sees_what_came_since_it_was_registered() {
    let dir = TempDir::new().unwrap();
    let session = session(dir.path()).await.unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    for _ in 0..2 {
        journal.append(&[record(1)]).unwrap();
        let rows = session.sql("select * from telemetry").await.unwrap().count().await.unwrap();
        assert_eq!(rows as u64, journal.next_position());
    }
    journal.close().unwrap();
    assert_eq!(session.sql("select * from telemetry").await.unwrap().count().await.unwrap(), 2);
}
