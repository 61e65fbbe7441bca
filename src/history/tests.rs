use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMillisecondType, UInt64Type},
    util::pretty::pretty_format_batches,
};
use tempfile::TempDir;

use super::*;
use crate::{
    engine::Trip,
    journal::{Journal, JournalSettings},
    model::{
        Alert, AlertId, AlertState, Body, DeadLetter, DeviceReport, Outcome, Reason, Record, Severity, Time, Validity,
        limits,
    },
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
        i if i % 11 == 10 => Body::DeadLetter(DeadLetter {
            device_id: None,
            topic: "t".into(),
            payload: vec![1, 2],
            problem: format!("bad {i}"),
        }),
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

/// A flipped bit made a row another truck's, and the answer said nothing of it.
#[tokio::test]
async fn what_is_no_longer_what_was_sealed_is_refused_and_other_days_are_answered() {
    let dir = TempDir::new().unwrap();
    journal(&dir);
    let first = crate::journal::Catalogue::of(dir.path()).unwrap().sealed.remove(0);
    let bytes = std::fs::read(&first.path).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&first.path, flipped).unwrap();
        let error = sql(dir.path(), "select count(distinct source_id) from journal").await.unwrap_err().to_string();
        assert!(error.contains("it is not what was sealed") && error.contains("day=2026-03-01"), "{at}: {error}");
        let later = "select count(*) from journal where event_time >= timestamp '2026-03-02T00:00:00Z'";
        assert_eq!(count(&dir, later).await, 96);
    }
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

fn alert(i: i64) -> Alert {
    let at = Time::from_millis(START_MS + i * HOUR_MS);
    Alert {
        alert_id: AlertId(format!("a{i}").into()),
        rule_id: "overspeed".into(),
        rule_version: "1".into(),
        vehicle_id: format!("V{}", i % 2).into(),
        plate: "粤B1".into(),
        company_id: "C1".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: (i == 1).then(|| "T1".into()),
        severity: if i == 2 { Severity::Critical } else { Severity::Minor },
        departments: ["housing".into(), "police".into()].into(),
        message: "fast, \"very\"".to_owned(),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at: at,
        fired_at: at.plus_ms(500),
        cleared_at: (i > 0).then(|| at.plus_ms(60_000)),
        cleared_because: None,
        state: AlertState::Open,
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: crate::model::LocalText::default(),
        shadow: false,
        lat: Some(22.5),
        lon: None,
        district_id: None,
        place_id: None,
        road_id: None,
        sensor_id: None,
        unregistered: false,
        facts: [("speed_kmh".to_owned(), 90.0.into())].into_iter().collect(),
        joined: Vec::new(),
    }
}

fn trip() -> Trip {
    Trip {
        trip_id: "T1".into(),
        vehicle_id: "V1".into(),
        plate: None,
        source_id: "S".into(),
        sink_id: Some("K".into()),
        started_at: Time::from_millis(START_MS),
        ended_at: None,
        distance_m: 12.5,
        duration_s: 60.0,
        permit_id: None,
        manifest_id: None,
    }
}

/// A session with three alerts on two pages, a trip, and a vehicle of two versions.
async fn supplied(dir: &TempDir) -> datafusion::prelude::SessionContext {
    let session = session(dir.path()).await.unwrap();
    let pages = || Box::new([vec![alert(2), alert(1)], vec![alert(0)]].into_iter().map(Ok)) as Parts<Alert>;
    add(&session, "alerts", alerts_table(pages)).unwrap();
    add(&session, "trips", trips_table(|| Box::new([Ok(vec![trip()])].into_iter()))).unwrap();
    let version = |max: &str, from: Option<i64>, to: Option<i64>| Version {
        cells: vec![Some("V1".to_owned()), Some(max.to_owned()), Some("2026-03-01T08:00:00+08:00".to_owned())],
        geometry: Some("{}".to_owned()),
        valid: Validity { from: from.map(Time::from_millis), to: to.map(Time::from_millis) },
    };
    let versions = move || {
        let rows = vec![version("31000", None, Some(START_MS)), version("none", Some(START_MS), None)];
        Box::new([Ok(rows)].into_iter()) as Parts<Version>
    };
    let columns = ["vehicle_id", "max_gross_kg", "opened_at"];
    add(&session, "vehicles", versions_table(columns, true, versions)).unwrap();
    let broken = || Box::new([Err("the disk is on fire".into())].into_iter()) as Parts<Alert>;
    add(&session, "broken", alerts_table(broken)).unwrap();
    session
}

/// An answer as it is written.
async fn written(dir: &TempDir, format: Format, query: &str) -> String {
    let mut bytes = Vec::new();
    write(super::ask(&supplied(dir).await, query).await.unwrap(), format, &mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_is_supplied_is_asked_with_its_types() {
    let dir = TempDir::new().unwrap();
    for (query, expected) in [
        ("select count(*) n from alerts", "3"),
        ("select alert_id from alerts where array_has(departments, 'police') and severity = 'critical'", "a2"),
        ("select alert_id from alerts where fired_at < '2026-03-01T01:00:00Z'", "a0"),
        ("select fired_at from alerts where alert_id = 'a0'", "2026-03-01T00:00:00.500Z"),
        ("select alert_id from alerts where cleared_at is null", "a0"),
        ("select t.source_id from alerts join trips t using (trip_id)", "S"),
        ("select count(*) from (select * from alerts limit 2) as some", "2"),
        ("select max_gross_kg from vehicles where valid_from is null", "31000.0"),
        ("select count(max_gross_kg) from vehicles", "1"),
        ("select opened_at from vehicles where valid_to is null", "2026-03-01T00:00:00.000Z"),
    ] {
        let text = written(&dir, Format::Csv, query).await;
        assert_eq!(text.lines().nth(1).unwrap_or_default().trim_matches('"'), expected, "{query}");
    }
    let session = supplied(&dir).await;
    let broken = super::ask(&session, "select * from broken").await.unwrap();
    let error = write(broken, Format::Json, &mut Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("the disk is on fire"), "{error}");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_answered_with_those_that_are() {
    let dir = TempDir::new().unwrap();
    let session = supplied(&dir).await;
    let error = super::ask(&session, "select * from telemetri").await.err().unwrap().to_string();
    assert!(error.contains("no table \"telemetri\"; there are alerts, broken, dead_letters, journal"), "{error}");
    let error = super::ask(&session, "with t as (select 1 x) select y from t").await.err().unwrap().to_string();
    assert!(error.contains("No field named y"), "{error}");
    assert!(super::ask(&session, "show tables").await.is_ok());
    assert!(super::ask(&session, "describe alerts").await.is_ok());
}

#[tokio::test]
async fn answers_are_written_for_people_and_for_programs() {
    let dir = TempDir::new().unwrap();
    let query =
        "select alert_id, departments, message, started_at, lat, lon, retrospective from alerts where alert_id = 'a1'";
    assert_eq!(
        written(&dir, Format::Csv, query).await,
        "alert_id,departments,message,started_at,lat,lon,retrospective\n\
         a1,housing police,\"fast, \"\"very\"\"\",2026-03-01T01:00:00.000Z,22.5,,false\n"
    );
    assert_eq!(
        written(&dir, Format::Json, query).await,
        "{\"alert_id\":\"a1\",\"departments\":[\"housing\",\"police\"],\"message\":\"fast, \\\"very\\\"\",\
         \"started_at\":\"2026-03-01T01:00:00.000Z\",\"lat\":22.5,\"lon\":null,\"retrospective\":false}\n"
    );
    let table = written(&dir, Format::Table, query).await;
    assert!(table.contains("| a1       | housing police |"), "{table}");
    let nothing = "select alert_id, departments from alerts where false";
    assert_eq!(written(&dir, Format::Csv, nothing).await, "alert_id,departments\n");
    assert_eq!(written(&dir, Format::Json, nothing).await, "");
    assert!(written(&dir, Format::Table, nothing).await.contains("| alert_id | departments |"));
}

#[tokio::test]
async fn parquet_keeps_the_types_and_a_table_is_cut() {
    let dir = TempDir::new().unwrap();
    let session = supplied(&dir).await;
    let file = dir.path().join("alerts.parquet");
    let answer = super::ask(&session, "select * from alerts").await.unwrap();
    let schema = answer.schema();
    let mut bytes = Vec::new();
    assert_eq!(write(answer, Format::Parquet, &mut bytes).await.unwrap(), (3, false));
    std::fs::write(&file, bytes).unwrap();
    let read = session.read_parquet(file.to_str().unwrap(), Default::default()).await.unwrap();
    let kinds = |fields: &datafusion::arrow::datatypes::Fields| {
        fields.iter().map(|field| (field.name().clone(), field.data_type().is_nested())).collect::<Vec<_>>()
    };
    assert_eq!(kinds(read.schema().fields()), kinds(schema.fields()));
    assert_eq!(read.count().await.unwrap(), 3);
    let many = format!("select * from generate_series(1, {})", limits::QUERY_TABLE_ROWS + 5);
    let shown = write(super::ask(&session, &many).await.unwrap(), Format::Table, &mut Vec::new()).await.unwrap();
    assert_eq!(shown, (limits::QUERY_TABLE_ROWS, true));
    let all = write(super::ask(&session, &many).await.unwrap(), Format::Csv, &mut Vec::new()).await.unwrap();
    assert_eq!(all, (limits::QUERY_TABLE_ROWS + 5, false));
}

#[tokio::test]
async fn a_file_that_goes_while_a_query_reads_is_told_from_other_failures() {
    let dir = TempDir::new().unwrap();
    journal(&dir);
    let session = session(dir.path()).await.unwrap();
    let answer = super::ask(&session, "select * from telemetry").await.unwrap();
    std::fs::remove_dir_all(dir.path().join("history/day=2026-03-01")).unwrap();
    let error = write(answer, Format::Json, &mut Vec::new()).await.unwrap_err();
    assert!(error.is_outrun(), "{error}");
    let again = super::ask(&session, "select * from telemetry").await.unwrap();
    assert!(write(again, Format::Json, &mut Vec::new()).await.is_ok());
    let other = super::ask(&session, "select 1 / (position - position) from journal").await.unwrap();
    assert!(!write(other, Format::Json, &mut Vec::new()).await.unwrap_err().is_outrun());
}
