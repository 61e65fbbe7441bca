//! The desk on a real file, thrown away and opened again.

use std::{fs, path::Path};

use proptest::prelude::*;
use rusqlite::{Connection, types::Value};

use super::{LAT, LON, START_MS, alert};
use crate::{
    command::{Desk, News, Settings, UnitInfo},
    model::{
        AlertId, Answer, Body, Finding, Language, LocalText, Outcome, Reason, Record, Settled, Severity, Time,
        Transition, UnitKind, UnitReply, UnitReport, UnitStatus,
    },
    store::{Store, StoreError, Tx},
};

/// One thing that happens, at a time of its own.
#[derive(Clone, Debug)]
enum Step {
    Alert(u8, Severity, bool),
    Unit(u8, u32, UnitStatus),
    Reply(u8, u8, Answer),
    Nothing,
}

const STEP_MS: i64 = 40_000;

fn time_of(index: usize) -> Time {
    Time::from_millis(START_MS + index as i64 * STEP_MS)
}

fn roster() -> Vec<UnitInfo> {
    let unit = |n: u8| UnitInfo {
        unit_id: format!("U{n}").into(),
        name: "unit".into(),
        department: "police".into(),
        kind: if n < 3 { UnitKind::Squad } else { UnitKind::Grid },
        district_id: None,
    };
    (0..4).map(unit).collect()
}

fn record(body: Body, at: Time) -> Record {
    Record { recv_time: at, event_time: at, outcome: Outcome::Evaluated, reason: Reason::Ok, use_position: true, body }
}

/// A step's part of the commit, as the program makes it.
fn enter(desk: &mut Desk, tx: &Tx<'_>, index: usize, step: &Step) -> Result<(), StoreError> {
    let now = time_of(index);
    match step {
        Step::Alert(n, severity, raised) => {
            let alert = alert(&format!("a{n}"), *severity, time_of(0));
            let transition = if *raised { Transition::Raised(alert) } else { Transition::Opened(alert) };
            desk.alerts(tx, &[transition], now)?;
        }
        Step::Unit(n, metres, status) => {
            let (lat, unit_id) = (LAT + f64::from(*metres) / 111_195.0, format!("U{n}").into());
            let report = UnitReport {
                unit_id,
                device_time: now,
                lat: Some(lat),
                lon: Some(LON),
                datum: None,
                status: Some(*status),
            };
            desk.record(tx, &record(Body::Unit(report), now))?;
        }
        Step::Reply(unit, alert, answer) => {
            let reply = UnitReply {
                unit_id: format!("U{unit}").into(),
                dispatch_id: crate::model::dispatch_id(&format!("a{alert}")),
                device_time: now,
                answer: *answer,
                reason: Some("because".into()),
                verdict: Some(Finding::Confirmed),
                note: None,
                media: None,
            };
            desk.record(tx, &record(Body::Reply(reply), now))?;
        }
        Step::Nothing => {
            desk.pass_time(tx, now)?;
        }
    }
    Ok(())
}

fn commit(store: &Store, desk: &mut Desk, index: usize, step: &Step) {
    let whole = |tx: &Tx<'_>| {
        if !tx.advance_to(index as u64 + 1)? {
            return Ok(());
        }
        enter(desk, tx, index, step)
    };
    store.commit(whole).expect("a commit");
}

fn start(store: &Store) -> Desk {
    Desk::open(Settings::default(), roster(), &store.reader()).expect("a desk")
}

/// The first row in which two dumps differ.
fn first_difference<'a>(one: &'a [String], other: &'a [String]) -> Option<(Option<&'a String>, Option<&'a String>)> {
    let longest = one.len().max(other.len());
    (0..longest).map(|n| (one.get(n), other.get(n))).find(|(one, other)| one != other)
}

/// Every row of every table, but for how often outbox rows were taken.
fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("the file");
    let mut lines = Vec::new();
    for (table, columns) in [
        ("meta", "*"),
        ("alerts", "*"),
        ("orders", "*"),
        ("offers", "*"),
        ("replies", "*"),
        ("units", "*"),
        ("outbox", "id, topic, payload"),
    ] {
        let mut statement =
            connection.prepare(&format!("SELECT {columns} FROM {table} ORDER BY 1, 2")).expect("a table");
        let width = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..width).map(|n| row.get::<_, Value>(n)).collect::<Result<Vec<_>, _>>());
        for row in rows.expect("rows") {
            lines.push(format!("{table} {:?}", row.expect("a row")));
        }
    }
    lines
}

/// The file as a crash would leave it: with its log, and without closing anything.
fn crash_image(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    for suffix in ["", "-wal"] {
        let name = |path: &Path| std::path::PathBuf::from(format!("{}{suffix}", path.display()));
        if name(from).exists() {
            fs::copy(name(from), name(to)).expect("a copy");
        }
    }
}

#[test]
fn alerts_and_orders_are_told_in_the_language_that_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("language.sqlite");
    let store = Store::open(&path).expect("a store");
    let settings = Settings { language: Language::Zh, ..Settings::default() };
    let mut desk = Desk::open(settings, roster(), &store.reader()).expect("a desk");
    let mut found = alert("a1", Severity::Critical, time_of(0));
    found.messages = LocalText { zh: "超速".into(), en: found.message.clone() };
    let transitions = [Transition::Opened(found.clone())];
    let news = store.commit(|tx| desk.alerts(tx, &transitions, time_of(0))).expect("a commit");
    let [News::Alert(told, _), News::Order(order), ..] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!((&*told.message, &told.messages, &*order.message), ("超速", &found.messages, "超速"));
    assert_eq!(store.reader().alert("a1").expect("the book"), Some((**told).clone()));
    let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    assert!(order.reason.chars().any(is_chinese), "{}", order.reason);
}

/// A speeding of yesterday that got graver yesterday sent a squad today.
#[test]
fn what_is_for_the_list_only_stays_there_however_grave_it_gets() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("old.sqlite")).expect("a store");
    let mut desk = start(&store);
    for (id, hours, expected) in [("a1", 20, "listed"), ("a2", 0, "waiting")] {
        let now = time_of(0).plus_ms(hours * 3_600_000 + 1);
        let opened = alert(id, Severity::Minor, time_of(0));
        let raised = alert(id, Severity::Critical, time_of(0));
        let mut state = String::new();
        for transition in [Transition::Opened(opened), Transition::Raised(raised)] {
            let news = store.commit(|tx| desk.alerts(tx, std::slice::from_ref(&transition), now)).expect("a commit");
            for one in news {
                if let News::Order(order) = one {
                    state = order.state.to_string();
                }
            }
        }
        assert_eq!(state, expected, "{id}");
    }
}

#[test]
fn of_a_shadow_rule_the_book_alone_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shadow.sqlite");
    let store = Store::open(&path).expect("a store");
    let mut desk = start(&store);
    let mut shadow = alert("a1", Severity::Critical, time_of(0));
    shadow.shadow = true;
    let transitions = [Transition::Opened(shadow.clone()), Transition::Raised(shadow.clone())];
    let news = store.commit(|tx| desk.alerts(tx, &transitions, time_of(1))).expect("a commit");
    assert_eq!(news, [], "neither the stream nor the metrics hear of it");
    assert_eq!(store.reader().alert("a1").expect("the book"), Some(shadow));
    drop(store);
    let rows = dump(&path);
    let told = |row: &&String| ["orders ", "offers ", "outbox "].iter().any(|table| row.starts_with(table));
    assert_eq!(rows.iter().filter(told).count(), 0, "{rows:#?}");
    let marked: i64 = Connection::open(&path)
        .and_then(|file| file.query_row("SELECT count(*) FROM alerts WHERE shadow", [], |row| row.get(0)))
        .expect("the mark");
    assert_eq!(marked, 1);
}

#[test]
fn what_late_data_shows_too_late_is_evidence_and_nobody_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("evidence.sqlite");
    let store = Store::open(&path).expect("a store");
    let mut desk = start(&store);
    let mut late = alert("a1", Severity::Critical, time_of(0));
    late.retrospective = true;
    let known_at = |hours: i64| time_of(0).plus_ms(hours * 3_600_000 + 1);
    let opened = [Transition::Opened(late.clone())];
    assert_eq!(store.commit(|tx| desk.alerts(tx, &opened, known_at(72))).expect("a commit"), []);
    assert_eq!(store.reader().alert("a1").expect("the book"), Some(late.clone()));
    late.alert_id = AlertId("a2".into());
    let news = store.commit(|tx| desk.alerts(tx, &[Transition::Opened(late)], known_at(71))).expect("a commit");
    assert_eq!(news.len(), 2, "the alert, and its order for the list");
}

/// A squad closed the order of U0 as confirmed and finds within the hour that it was wrong; another squad, and the same one after
/// the hour, change nothing and hear why.
#[test]
fn a_verdict_is_corrected_within_an_hour_by_who_gave_it() {
    let cases = [
        (0, 0, true, "at once"),
        (0, 3_600_000, true, "after an hour to the millisecond"),
        (0, 3_600_001, false, "after more than an hour"),
        (1, 60_000, false, "by another"),
    ];
    for (unit, later_ms, corrects, why) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("verdict.sqlite");
        let store = Store::open(&path).expect("a store");
        let mut desk = start(&store);
        let steps = [
            Step::Unit(0, 0, UnitStatus::Available),
            Step::Unit(1, 100, UnitStatus::Available),
            Step::Alert(0, Severity::Major, false),
            Step::Reply(0, 0, Answer::Accept),
            Step::Reply(0, 0, Answer::Resolved),
        ];
        steps.iter().enumerate().for_each(|(index, step)| commit(&store, &mut desk, index, step));
        let id = crate::model::dispatch_id("a0");
        let order = || store.reader().order(&id).expect("the book").expect("the order").order;
        assert_eq!(order().verdict, Some(Finding::Confirmed), "{why}");
        // Closed orders are in the tables only: a desk that knows nothing of it corrects, too.
        let mut desk = start(&store);
        let at = time_of(4).plus_ms(later_ms);
        let reply = UnitReply {
            unit_id: format!("U{unit}").into(),
            dispatch_id: id.clone(),
            device_time: at,
            answer: Answer::Resolved,
            reason: None,
            verdict: Some(Finding::FalseAlarm),
            note: Some("a load of sand".into()),
            media: None,
        };
        store.commit(|tx| desk.record(tx, &record(Body::Reply(reply), at))).expect("a commit");
        let expected = if corrects { Finding::FalseAlarm } else { Finding::Confirmed };
        assert_eq!(order().verdict, Some(expected), "{why}");
        assert_eq!(order().closed_at, Some(time_of(4)), "{why}");
        let answers = "SELECT count(*) FROM outbox WHERE CAST(payload AS TEXT) LIKE '%reason_zh%'";
        let said: i64 =
            Connection::open(&path).and_then(|file| file.query_row(answers, [], |row| row.get(0))).expect("the outbox");
        assert_eq!(said, i64::from(!corrects), "{why}: who changes nothing hears the reason");
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let status = prop::sample::select(vec![UnitStatus::Available, UnitStatus::Available, UnitStatus::Busy]);
    let answer = prop::sample::select(Answer::ALL.to_vec());
    prop_oneof![
        (0..4u8, severity, any::<bool>()).prop_map(|(n, severity, raised)| Step::Alert(n, severity, raised)),
        (0..4u8, 0..2_000u32, status).prop_map(|(n, metres, status)| Step::Unit(n, metres, status)),
        (0..4u8, 0..4u8, answer).prop_map(|(unit, alert, answer)| Step::Reply(unit, alert, answer)),
        Just(Step::Nothing),
    ]
}

fn opening() -> Vec<Step> {
    let mut steps: Vec<Step> = (0..4).map(|n| Step::Unit(n, 100 * u32::from(n), UnitStatus::Available)).collect();
    steps.push(Step::Alert(0, Severity::Minor, false));
    steps.push(Step::Alert(1, Severity::Major, false));
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A crash between any two steps, then a start from what the disk holds: in the end the same rows and the same messages.
    #[test]
    fn a_crash_between_any_two_steps_changes_nothing(more in prop::collection::vec(any_step(), 1..10)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("whole.sqlite");
        let steps: Vec<Step> = opening().into_iter().chain(more).collect();
        let store = Store::open(&path).expect("a store");
        let mut desk = start(&store);
        for (index, step) in steps.iter().enumerate() {
            crash_image(&path, &folder.path().join(format!("{index}/image.sqlite")));
            commit(&store, &mut desk, index, step);
        }
        drop(store);
        let undisturbed = dump(&path);
        for crashed_at in 0..steps.len() {
            let image = folder.path().join(format!("{crashed_at}/image.sqlite"));
            let store = Store::open(&image).expect("the image");
            let mut desk = start(&store);
            // What was read from the journal before the crash is read again: one step more than is missing.
            for (index, step) in steps.iter().enumerate().skip(crashed_at.saturating_sub(1)) {
                commit(&store, &mut desk, index, step);
            }
            drop(store);
            let recovered = dump(&image);
            prop_assert_eq!(first_difference(&recovered, &undisturbed), None, "crash before step {}", crashed_at);
        }
    }

    /// The same commit twice, the second time by a desk that knows nothing of the first and without the journal position to
    /// warn it: no row changes, no message is added, even when the first ones have been sent and struck out.
    #[test]
    fn the_same_commit_twice_changes_nothing(more in prop::collection::vec(any_step(), 1..20)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("twice.sqlite");
        let steps: Vec<Step> = opening().into_iter().chain(more).collect();
        let store = Store::open(&path).expect("a store");
        let mut desk = start(&store);
        for (index, step) in steps.iter().enumerate() {
            let mut behind = start(&store);
            commit(&store, &mut desk, index, step);
            send_all(&store, time_of(index));
            let once = dump(&path);
            store.commit(|tx| enter(&mut behind, tx, index, step)).expect("again");
            let twice = dump(&path);
            prop_assert_eq!(first_difference(&twice, &once), None, "step {}: {:?}", index, step);
        }
    }
}

fn send_all(store: &Store, now: Time) {
    let mut settled: Vec<Settled> = Vec::new();
    loop {
        let leased = store.exchange(&settled, now, now.plus_ms(1_000), 100).expect("an exchange");
        if leased.is_empty() {
            return;
        }
        settled = leased.iter().map(|one| Settled::Sent { seq: one.seq }).collect();
    }
}
