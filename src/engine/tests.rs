//! A device in no register was kept for ever, with all that it had sent: whoever invented ids filled the memory.

use std::sync::Arc;

use super::{
    LateSettings, Reference,
    judge::{Found, Judge, Seen},
};
use crate::{
    facts,
    model::{Body, DeviceReport, Record, Text, Time, Transition},
    registry::Registry,
    rules::RuleSet,
};

const HOUR_MS: i64 = 3_600_000;

fn report(device_id: &str, hour: i64) -> Record {
    let at = Time::from_millis(hour * HOUR_MS);
    let report =
        DeviceReport { device_id: device_id.into(), device_time: at, speed_kmh: Some(80.0), ..DeviceReport::default() };
    Record::judged(Body::Device(report), at)
}

fn reference(registry: Registry, rules: &str) -> Reference {
    Reference {
        registry: Arc::new(registry),
        rules: Arc::new(RuleSet::parse(&[("a.yaml", rules)]).unwrap()),
        facts: facts::Settings::default(),
        tick_ms: 60_000,
        late: LateSettings::default(),
    }
}

/// Whose truck it is may be unknown though the truck is registered: orders about it were counted with those about invented ones.
#[test]
fn an_alert_says_whether_its_truck_is_in_no_register() {
    let vehicles = "vehicle_id,plate,device_id,status\nV1,粤B10001,D1,active\n";
    let registry = Registry::parse(&[("vehicles.csv", vehicles)]).unwrap();
    let mut judge = Judge::new(reference(registry, "rules:\n  - { id: fast, when: speed_kmh > 60 }\n"));
    let (records, mine) = ([report("D1", 1), report("D2", 1)], [(0, Text::from("V1")), (1, Text::from("D2"))]);
    let found = judge.judge(&records, &mine, &mut Seen::default()).unwrap();
    let told = found.into_iter().map(|finding| match finding.what {
        Found::Change(change) => (change.alert().vehicle_id.to_string(), change.alert().unregistered),
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), [("V1".to_owned(), false), ("D2".to_owned(), true)]);
}

#[test]
fn what_was_never_registered_is_forgotten_when_nothing_late_of_it_is_taken_any_more() {
    let text = "rules:\n  - { id: fast, when: speed_kmh > 60, clear: { when: speed_kmh < 50 }, max_open: 90d }\n";
    let reference = reference(Registry::default(), text);
    let start = 500_000;
    let horizon = start - reference.late.too_old(Time::from_millis(start * HOUR_MS)).as_millis() / HOUR_MS;
    let mut judge = Judge::new(reference);
    let mut judge_one = |record: Record, id: &str| {
        let found = judge.judge(&[record], &[(0, Text::from(id))], &mut Seen::default()).unwrap();
        let told: Vec<String> = found
            .into_iter()
            .map(|finding| match finding.what {
                Found::Change(change) => match *change {
                    Transition::Opened(alert) => format!("opened {}", alert.vehicle_id),
                    Transition::Cleared(alert) => {
                        format!("ended {} {}", alert.vehicle_id, alert.cleared_because.unwrap_or_default())
                    }
                    other => format!("{other:?}"),
                },
                other => format!("{other:?}"),
            })
            .collect();
        (told, judge.vehicles())
    };
    let told = |words: &[&str]| words.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let tick = |hour: i64| Record::clock(Body::Tick, Time::from_millis(hour * HOUR_MS));
    assert_eq!(judge_one(report("X1", start), "X1"), (told(&["opened X1"]), 1));
    assert_eq!(judge_one(report("X2", start + 5), "X2"), (told(&["opened X2"]), 2));
    assert_eq!(judge_one(tick(start + horizon), ""), (told(&[]), 2), "what comes late may still change it");
    assert_eq!(judge_one(tick(start + horizon + 1), ""), (told(&["ended X1 forgotten"]), 2));
    assert_eq!(judge_one(tick(start + horizon + 2), ""), (told(&[]), 1));
    assert_eq!(judge_one(report("X2", start + horizon + 3), "X2"), (told(&[]), 1), "the one that is left goes on");
}
