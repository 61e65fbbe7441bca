//! The store on real files.

use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::model::{
    Alert, AlertId, AlertState, Body, DeviceReport, Ledger, Message, Record, Settled, Severity, Text, Time, limits,
};

fn at(s: i64) -> Time {
    Time::from_millis(1_772_373_909_000 + s * 1_000)
}

fn alert(id: &str, severity: Severity, state: AlertState, fired: i64) -> Alert {
    Alert {
        alert_id: AlertId(id.into()),
        rule_id: if fired % 2 == 0 { "overspeed" } else { "blacklisted" }.into(),
        rule_version: "1".into(),
        vehicle_id: format!("V{}", fired % 3).into(),
        plate: format!("粤B{}", fired % 3).into(),
        company_id: "C1".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        severity,
        departments: if fired % 4 == 0 { vec![Text::from("water"), "police".into()] } else { vec!["police".into()] }
            .into(),
        message: "fast".into(),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at: at(fired - 30),
        fired_at: at(fired),
        cleared_at: None,
        cleared_because: None,
        state,
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
        facts: serde_json::Map::from_iter([("speed_kmh".to_owned(), 88.5.into())]),
        joined: Vec::new(),
    }
}

fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("muckwatch.sqlite")).expect("a store");
    (folder, store)
}

fn message(topic: &str, payload: &str) -> Message {
    Message::new(topic, payload.as_bytes())
}

#[test]
fn a_file_of_a_newer_version_or_another_program_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, sql: &str, expected: &str| {
        let path = folder.path().join(name);
        Connection::open(&path).and_then(|file| file.execute_batch(sql)).expect("a file");
        let before = std::fs::read(&path).expect("bytes");
        let problem = Store::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(problem.contains(expected) && problem.contains(name), "{problem}");
        assert_eq!(std::fs::read(&path).expect("bytes"), before, "{name} was touched");
    };
    check(
        "newer.sqlite",
        "PRAGMA application_id = 1836542769; PRAGMA user_version = 999",
        "newer version of muckwatch (schema 999",
    );
    check("other.sqlite", "CREATE TABLE wallets (id)", "another program");
    check("named.sqlite", "PRAGMA application_id = 7; CREATE TABLE t (id)", "another program");
    let text = folder.path().join("text.sqlite");
    std::fs::write(&text, "not a database at all, but long enough to have a header of one hundred bytes, if that is what it takes to see.")
        .expect("a file");
    assert!(matches!(Store::open(&text), Err(StoreError::Foreign { .. })));
    assert!(Reader::open(&folder.path().join("absent.sqlite")).is_err());
}

#[test]
fn a_file_from_before_shadow_rules_is_brought_up_to_date() {
    let (folder, store) = open();
    store.commit(|tx| tx.put_alert(&alert("a1", Severity::Major, AlertState::Open, 0)).map(drop)).expect("a commit");
    drop(store);
    let path = folder.path().join("muckwatch.sqlite");
    Connection::open(&path)
        .and_then(|file| file.execute_batch("ALTER TABLE alerts DROP COLUMN shadow; DROP TABLE in_force; DROP TABLE rule_sets; DROP TABLE IF EXISTS waiting; DROP TABLE sealed_files; DROP INDEX replies_unasked; PRAGMA user_version = 1"))
        .expect("an old file");
    let reader = Store::open(&path).expect("a store").reader();
    let ids = |shadow: Option<bool>| {
        let filter = AlertFilter { shadow, ..AlertFilter::default() };
        reader.alerts(&filter, 10, None).expect("a page").rows.len()
    };
    assert_eq!((ids(None), ids(Some(false)), ids(Some(true))), (1, 1, 0));
}

#[test]
fn what_is_committed_is_there_after_opening_again() {
    let (folder, store) = open();
    let mut ledger = Ledger::default();
    let mut record = Record::clock(Body::Tick, at(0));
    record.body = Body::Device(DeviceReport::default());
    ledger.count(&record);
    let alert = alert("a1", Severity::Major, AlertState::Open, 0);
    store
        .commit(|tx| {
            assert!(tx.advance_to(7)?);
            tx.put_ledger(&ledger)?;
            tx.put_fact("first_start", "2026-03-01")?;
            tx.put_alert(&alert).map(drop)
        })
        .expect("a commit");
    drop(store);
    let store = Store::open(&folder.path().join("muckwatch.sqlite")).expect("again");
    let reader = store.reader();
    assert_eq!(reader.position().expect("position"), Some(7));
    assert_eq!(reader.ledger().expect("ledger"), ledger);
    assert_eq!(reader.alert("a1").expect("alert"), Some(alert));
    assert_eq!(reader.alert("a2").expect("none"), None);
    assert_eq!(reader.fact("first_start").expect("fact").as_deref(), Some("2026-03-01"));
    let again = store.commit(|tx| Ok((tx.advance_to(7)?, tx.advance_to(3)?, tx.advance_to(8)?))).expect("a commit");
    assert_eq!(again, (false, false, true));
}

#[test]
fn an_alert_never_goes_backwards() {
    use AlertState::{Cleared, Open, Withdrawn};
    use Change::{Changed, Known, New};
    use Severity::{Critical, Major, Minor};
    let cases: &[(Severity, AlertState, Change, Severity, AlertState)] = &[
        (Major, Open, New, Major, Open),
        (Major, Open, Known, Major, Open),
        (Minor, Open, Known, Major, Open),
        (Critical, Open, Changed, Critical, Open),
        (Major, Cleared, Changed, Critical, Cleared),
        (Critical, Open, Known, Critical, Cleared),
        (Critical, Cleared, Known, Critical, Cleared),
        (Critical, Withdrawn, Changed, Critical, Withdrawn),
        // Late data takes it away, and later data may bring it back.
        (Critical, Cleared, Changed, Critical, Cleared),
    ];
    let (_folder, store) = open();
    for (number, (severity, state, change, then_severity, then_state)) in cases.iter().enumerate() {
        let found = store.commit(|tx| tx.put_alert(&alert("a1", *severity, *state, 0))).expect("a commit");
        let held = store.reader().alert("a1").expect("alert").expect("there");
        assert_eq!((found, held.severity, held.state), (*change, *then_severity, *then_state), "case {number}");
    }
}

#[test]
fn an_alert_that_late_data_moved_stands_where_it_is_now() {
    let (_folder, store) = open();
    let put = |id: &str, second: i64| {
        let moved = alert(id, Severity::Major, AlertState::Open, second);
        store.commit(|tx| tx.put_alert_again(&moved)).expect("a commit")
    };
    (0..5).for_each(|n| _ = put(&format!("a{n}"), n));
    assert_eq!(put("a3", -10), Change::Changed);
    let (mut ids, mut cursor): (Vec<String>, _) = (Vec::new(), None);
    loop {
        let page = store.reader().alerts(&AlertFilter::default(), 1, cursor.as_deref()).expect("a page");
        ids.extend(page.rows.iter().map(|alert| alert.alert_id.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["a4", "a2", "a1", "a0", "a3"], "each once, the newest first");
}

#[test]
fn a_commit_that_fails_leaves_nothing_and_ends_all_work() {
    let (_folder, store) = open();
    let failed: Result<(), _> = store.commit(|tx| {
        tx.put_alert(&alert("a1", Severity::Major, AlertState::Open, 0))?;
        tx.enqueue(&message("t", "1"), at(0))?;
        Err(StoreError::Busy)
    });
    assert!(matches!(failed, Err(StoreError::Busy)));
    assert_eq!(store.reader().alert("a1").expect("a read"), None);
    assert_eq!(store.reader().outbox().expect("a read"), OutboxSize::default());
    assert!(matches!(store.commit(|_| Ok(())), Err(StoreError::Stopped)));
    assert!(matches!(store.exchange(&[], at(0), at(1), 1), Err(StoreError::Stopped)));
}

#[test]
fn a_full_disk_passes_and_the_same_commit_goes_through() {
    let (_folder, store) = open();
    let pages = |most: &str| {
        let limit = |connection: &Connection| Ok(connection.query_row(most, [], |row| row.get::<_, i64>(0))?);
        store.read(limit).expect("a limit")
    };
    let write = || {
        store.commit(|tx| {
            (0..400).try_for_each(|number| {
                tx.put_alert(&alert(&format!("a{number}"), Severity::Major, AlertState::Open, 0))?;
                tx.enqueue(&message("t", &number.to_string()), at(0)).map(drop)
            })
        })
    };
    pages("PRAGMA max_page_count = 1");
    let failed = write().expect_err("no room");
    assert!(failed.will_pass(), "{failed}");
    assert!(matches!(store.commit(|_| Ok(())), Err(StoreError::Stopped)), "memory may be ahead");
    store.resume().expect("work goes on");
    assert!(write().is_err(), "still no room");
    store.resume().expect("work goes on");
    pages("PRAGMA max_page_count = 1000000");
    write().expect("room");
    assert_eq!(store.reader().outbox().expect("a read").waiting, 400);
}

#[test]
fn a_panic_in_a_commit_ends_all_work_too() {
    let (_folder, store) = open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.commit(|tx| -> Result<(), StoreError> {
            tx.put_alert(&alert("a1", Severity::Major, AlertState::Open, 0))?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert!(matches!(store.commit(|_| Ok(())), Err(StoreError::Stopped)));
    assert!(store.resume().is_err(), "nobody knows what it left");
    assert_eq!(store.reader().alert("a1").expect("a read"), None);
}

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let (folder, store) = open();
    let other = Connection::open(folder.path().join("muckwatch.sqlite")).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("its lock");
    let (entered, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| {
            entered.send(()).expect("a listener");
            store.commit(|tx| tx.advance_to(1))
        });
        waiting.recv().expect("the commit is on its way");
        other.execute_batch("COMMIT").expect("its end");
        assert!(commit.join().expect("no panic").expect("a commit"));
    });
}

/// Alert `n` fired at second `n`, in turn open and cleared.
fn book() -> (TempDir, Store) {
    let (folder, store) = open();
    let severities = [Severity::Minor, Severity::Major, Severity::Critical];
    store
        .commit(|tx| {
            for n in 0..60 {
                let state = if n % 5 == 0 { AlertState::Open } else { AlertState::Cleared };
                tx.put_alert(&alert(&format!("{n:04x}"), severities[n as usize % 3], state, n))?;
            }
            Ok(())
        })
        .expect("a commit");
    (folder, store)
}

#[test]
fn filters_narrow_and_pages_join_without_gap_or_overlap() {
    let (_folder, store) = book();
    let reader = store.reader();
    let none = AlertFilter::default();
    type Holds = fn(i64) -> bool;
    let cases: Vec<(AlertFilter, Holds)> = vec![
        (none.clone(), |_| true),
        (AlertFilter { since: Some(at(10)), until: Some(at(20)), ..none.clone() }, |n| (10..20).contains(&n)),
        (AlertFilter { state: Some(AlertState::Open), ..none.clone() }, |n| n % 5 == 0),
        (AlertFilter { state: Some(AlertState::Cleared), ..none.clone() }, |n| n % 5 != 0),
        (AlertFilter { rule: Some("overspeed".into()), ..none.clone() }, |n| n % 2 == 0),
        (AlertFilter { severity: Some(Severity::Critical), ..none.clone() }, |n| n % 3 == 2),
        (AlertFilter { vehicles: vec!["V1".into()], ..none.clone() }, |n| n % 3 == 1),
        (AlertFilter { vehicles: vec!["粤B2".into()], ..none.clone() }, |n| n % 3 == 2),
        (AlertFilter { department: Some("water".into()), ..none.clone() }, |n| n % 4 == 0),
        (AlertFilter { department: Some("wat".into()), ..none.clone() }, |_| false),
        (
            AlertFilter {
                department: Some("water".into()),
                rule: Some("overspeed".into()),
                since: Some(at(30)),
                ..none
            },
            |n| n % 4 == 0 && n >= 30,
        ),
    ];
    for (filter, holds) in cases {
        let expected: Vec<Time> = (0..60).rev().filter(|n| holds(*n)).map(at).collect();
        for limit in [1, 7, 1_000] {
            let mut found = Vec::new();
            let mut cursor: Option<String> = None;
            loop {
                let page = reader.alerts(&filter, limit, cursor.as_deref()).expect("a page");
                assert!(page.rows.len() <= limit);
                found.extend(page.rows.iter().map(|alert| alert.fired_at));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} by {limit}");
        }
    }
}

#[test]
fn a_cursor_that_no_page_gave_is_an_error_that_says_so() {
    let (_folder, store) = book();
    for bad in ["", "x", ".", "12", "12.", ".ab", "zz.ab", "12.z;DROP TABLE alerts", "fffffffffffffffff.ab"] {
        let found = store.reader().alerts(&AlertFilter::default(), 10, Some(bad));
        assert!(matches!(found, Err(StoreError::Cursor(_))), "{bad:?}");
        assert!(matches!(store.reader().orders(&OrderFilter::default(), 10, Some(bad)), Err(StoreError::Cursor(_))));
    }
}

#[test]
fn readers_see_the_last_commit_while_another_is_being_made() {
    let (_folder, store) = book();
    let reader = store.reader();
    store
        .commit(|tx| {
            tx.put_alert(&alert("ffff", Severity::Major, AlertState::Open, 99))?;
            assert_eq!(reader.clone().alert("ffff")?, None);
            Ok(())
        })
        .expect("a commit");
    assert!(reader.alert("ffff").expect("a read").is_some());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(reader.alerts(&AlertFilter::default(), 1_000, None).expect("a page").rows.len(), 61)
            });
        }
    });
}

/// Takes what is due, as `topic payload`.
fn take(store: &Store, settled: &[Settled], now: i64, most: usize) -> Vec<(i64, String)> {
    let leased = store.exchange(settled, at(now), at(now + 60), most).expect("an exchange");
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    leased.iter().map(|one| (one.seq, format!("{} {}", one.message.topic, text(&one.message.payload)))).collect()
}

fn told(taken: &[(i64, String)]) -> Vec<&str> {
    taken.iter().map(|(_, line)| line.as_str()).collect()
}

fn outbox_of(lines: &[(&str, &str)]) -> (TempDir, Store) {
    let (folder, store) = open();
    store
        .commit(|tx| {
            lines.iter().try_for_each(|(topic, payload)| tx.enqueue(&message(topic, payload), at(0)).map(drop))
        })
        .expect("a commit");
    (folder, store)
}

#[test]
fn a_message_is_queued_once_while_it_waits() {
    let (_folder, store) = outbox_of(&[("a", "1"), ("a", "1"), ("b", "1"), ("a", "2")]);
    assert_eq!(store.reader().outbox().expect("size").waiting, 3);
    assert_eq!(store.reader().outbox().expect("size").oldest, Some(at(0)));
    assert_eq!(told(&take(&store, &[], 0, 10)), ["a 1", "a 2", "b 1"]);
}

#[test]
fn leases_keep_a_topics_order_and_end() {
    let (_folder, store) = outbox_of(&[("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")]);
    let first = take(&store, &[], 0, 2);
    assert_eq!(told(&first), ["a 1", "b 3"], "each topic its share");
    assert_eq!(told(&take(&store, &[], 1, 10)), [] as [&str; 0], "a 2 waits for a 1");
    let settled = [Settled::Sent { seq: first[0].0 }, Settled::Sent { seq: first[1].0 }];
    let second = take(&store, &settled, 2, 10);
    assert_eq!(told(&second), ["a 2", "a 4"]);
    assert_eq!(told(&take(&store, &[], 61, 10)), [] as [&str; 0]);
    assert_eq!(told(&take(&store, &[], 62, 10)), ["a 2", "a 4"], "the lease is over");
}

#[test]
fn what_failed_waits_and_what_is_refused_is_put_aside() {
    let (_folder, store) = outbox_of(&[("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")]);
    let taken = take(&store, &[], 0, 10);
    let seq = |line: &str| taken.iter().find(|(_, found)| found == line).expect("taken").0;
    let settled = [
        Settled::Later { seq: seq("a 1"), at: at(30), error: "no connection".into() },
        Settled::Released { seq: seq("a 2") },
        Settled::Refused { seq: seq("b 3"), error: "too large".into() },
        Settled::Sent { seq: seq("b 4") },
    ];
    assert_eq!(told(&take(&store, &settled, 1, 10)), [] as [&str; 0]);
    assert_eq!(store.next_due(at(1)).expect("due"), Some(at(30)));
    let size = store.reader().outbox().expect("size");
    assert_eq!((size.waiting, size.refused, size.dropped), (2, 1, 0));
    let again = store.exchange(&[], at(30), at(90), 10).expect("an exchange");
    assert_eq!(again.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_crash_between_sending_and_striking_out_sends_the_same_again() {
    let (folder, store) = outbox_of(&[("a", "1")]);
    let before = store.exchange(&[], at(0), at(600), 10).expect("an exchange");
    drop(store);
    let store = Store::open(&folder.path().join("muckwatch.sqlite")).expect("again");
    let after = store.exchange(&[], at(1), at(600), 10).expect("an exchange");
    assert_eq!(before, after, "free again after a start, the same bytes under the same id");
    store.exchange(&[Settled::Sent { seq: after[0].seq }], at(1), at(600), 10).expect("an exchange");
    drop(store);
    let store = Store::open(&folder.path().join("muckwatch.sqlite")).expect("again");
    assert_eq!(store.exchange(&[], at(2), at(600), 10).expect("an exchange"), []);
}

#[test]
fn a_full_outbox_counts_what_it_cannot_take() {
    let (_folder, store) = outbox_of(&[("a", "1")]);
    let fill = |tx: &Tx<'_>| {
        tx.waiting.set(limits::OUTBOX_ROWS);
        Ok((tx.enqueue(&message("a", "2"), at(0))?, tx.enqueue(&message("a", "3"), at(0))?))
    };
    assert_eq!(store.commit(fill).expect("a commit"), (false, false));
    assert_eq!(store.reader().outbox().expect("size").dropped, 2);
}

#[test]
fn pages_use_an_index() {
    let (folder, _store) = book();
    let file = Connection::open(Path::new(&folder.path().join("muckwatch.sqlite"))).expect("the file");
    let plan = |sql: &str| -> String {
        let mut statement = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let rows = statement.query_map([], |row| row.get::<_, String>(3)).expect("rows");
        rows.map(|row| row.expect("a row")).collect::<Vec<_>>().join("; ")
    };
    let order = "ORDER BY fired_at DESC, alert_id DESC LIMIT 10";
    for condition in [
        "",
        "WHERE (fired_at, alert_id) < (5, 'a')",
        "WHERE state = 0",
        "WHERE rule_id = 'x'",
        "WHERE vehicle_id = 'x'",
    ] {
        let found = plan(&format!("SELECT json FROM alerts {condition} {order}"));
        assert!(found.contains("USING INDEX") && !found.contains("TEMP B-TREE"), "{condition}: {found}");
    }
}

#[test]
fn what_was_in_force_is_kept_once_and_read_back() {
    let (_folder, store) = open();
    let from =
        |position, rules: &str, registry| InForce { position, at: at(position as i64), rules: rules.into(), registry };
    let files = |name: &str| vec![(Text::from(name), Text::from("rules: []"))];
    let put = |from: &InForce, name| store.commit(|tx| tx.put_in_force(from, &files(name))).unwrap();
    assert!(put(&from(0, "r1", 1), "a.yaml"));
    assert!(!put(&from(5, "r1", 1), "b.yaml"), "nothing changed");
    assert!(put(&from(7, "r2", 1), "c.yaml"));
    assert!(put(&from(7, "r2", 2), "c.yaml"), "the later of two at one position holds");
    assert!(put(&from(9, "r1", 2), "d.yaml"));
    let reader = store.reader();
    assert_eq!(reader.in_force().unwrap(), [from(0, "r1", 1), from(7, "r2", 2), from(9, "r1", 2)]);
    assert_eq!(reader.rule_files("r1").unwrap(), Some(files("a.yaml")));
    assert_eq!(reader.rule_files("r3").unwrap(), None);
    store
        .commit(|tx| {
            (0..limits::IN_FORCE as u64).try_for_each(|n| tx.put_in_force(&from(10 + n, "r4", n as i64), &[]).map(drop))
        })
        .unwrap();
    assert_eq!(reader.in_force().unwrap().len(), limits::IN_FORCE);
    assert_eq!(reader.rule_files("r1").unwrap(), None, "it went with the last that named it");
}

/// Whoever can publish can answer what nobody asked, as often as he likes: the table is bounded all the same.
#[test]
fn replies_that_came_to_nothing_are_bounded_and_those_that_did_are_kept() {
    use crate::model::{Answer, Replied, ReplyOutcome};
    let (_folder, store) = open();
    let reply = |n: usize, unit: &str, order: &str, outcome: ReplyOutcome| Replied {
        reply_id: format!("{unit}-{order}-{n}").into(),
        dispatch_id: order.into(),
        unit_id: unit.into(),
        answer: Answer::Accept,
        device_time: at(n as i64),
        received_at: at(n as i64),
        outcome,
        reason: None,
        verdict: None,
        note: None,
    };
    let kept = store.commit(|tx| {
        let mut kept = (0, 0, 0);
        for n in 0..limits::REPLIES_PER_ORDER + 50 {
            kept.0 += usize::from(tx.put_reply(&reply(n, &format!("X{n}"), "o1", ReplyOutcome::NotOffered))?);
        }
        for n in 0..5 {
            kept.1 += usize::from(tx.put_reply(&reply(n, "U1", "o1", ReplyOutcome::Taken))?);
        }
        for n in 0..limits::REPLIES_UNASKED + 50 {
            kept.2 += usize::from(tx.put_reply(&reply(n, "U1", &format!("none{n}"), ReplyOutcome::UnknownDispatch))?);
        }
        Ok(kept)
    });
    assert_eq!(kept.expect("a commit"), (limits::REPLIES_PER_ORDER, 5, limits::REPLIES_UNASKED));
}
