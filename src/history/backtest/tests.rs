//! The comparison told in lines: `rule vehicle start-fired-cleared severity departments`, seconds from the beginning, `-` for open.

use super::*;
use crate::{
    engine::LateSettings,
    facts,
    model::{AlertState, Body, DeviceReport, Joined, Severity},
};

/// 2026-03-01 22:00 in China.
const START_MS: i64 = 1_772_373_600_000;

fn s(seconds: i64) -> Time {
    Time::from_millis(START_MS + seconds * 1_000)
}

fn alert(line: &str) -> Alert {
    let words: Vec<&str> = line.split_whitespace().collect();
    let times: Vec<&str> = words[2].split('-').collect();
    let at = |index: usize| times[index].parse().map(s).ok();
    let (started_at, fired_at) = (at(0).expect("a start"), at(1).expect("when it fired"));
    let cleared_at = times.get(2).and_then(|text| text.parse().ok()).map(s);
    Alert {
        alert_id: AlertId::derive(words[0], &[Some(words[1])], started_at),
        rule_id: words[0].into(),
        rule_version: "1".into(),
        vehicle_id: words[1].into(),
        plate: words[1].into(),
        company_id: "C1".into(),
        driver_id: None,
        permit_id: None,
        manifest_id: None,
        trip_id: None,
        severity: Severity::parse(words[3]).expect("a severity"),
        departments: words[4].split(',').map(Text::from).collect(),
        message: "told".into(),
        messages: crate::model::LocalText::default(),
        rule_name: crate::model::LocalText::default(),
        rule_code: None,
        started_at,
        fired_at,
        cleared_at,
        cleared_because: None,
        state: if cleared_at.is_some() { AlertState::Cleared } else { AlertState::Open },
        retrospective: false,
        withdrawn_because: None,
        withdrawn_reasons: LocalText::default(),
        shadow: words.contains(&"shadow"),
        lat: None,
        lon: None,
        district_id: None,
        place_id: None,
        road_id: None,
        sensor_id: None,
        unregistered: false,
        facts: serde_json::Map::new(),
        joined: words.iter().filter_map(|word| word.strip_prefix('+')).map(joined).collect(),
    }
}

fn joined(rule: &str) -> Joined {
    Joined {
        rule_id: rule.into(),
        rule_version: "1".into(),
        severity: Severity::Minor,
        message: "too".into(),
        messages: crate::model::LocalText::default(),
        started_at: s(0),
        fired_at: s(0),
        facts: serde_json::Map::new(),
    }
}

fn found(lines: &str) -> Found {
    let lines = lines.split(';').filter(|line| !line.trim().is_empty());
    Found { alerts: lines.map(alert).map(|alert| (alert.alert_id.clone(), alert)).collect(), orders: Vec::new() }
}

fn rules() -> RuleSet {
    let text = "rules: [{ id: fast, when: speed_kmh > 60 }, { id: dump, when: moving }, { id: tip, when: moving }]";
    RuleSet::parse(&[("a.yaml", text)]).unwrap()
}

fn compared(before: &str, after: &str) -> Comparison {
    let ran = Ran { before: found(before), after: found(after), ..Ran::default() };
    Comparison::of(&ran, &rules(), &rules(), &Zone::china())
}

/// Gained, lost, and the fields of what changed.
fn told(comparison: &Comparison) -> String {
    let name = |alert: &Alert| format!("{} {}", alert.rule_id, alert.started_at.ms_since(s(0)) / 1_000);
    let mut words: Vec<String> = comparison.gained.iter().map(|alert| format!("+{}", name(alert))).collect();
    words.extend(comparison.lost.iter().map(|alert| format!("-{}", name(alert))));
    words.extend(
        comparison
            .changed
            .iter()
            .map(|one| format!("{}>{}: {}", name(&one.before), name(&one.after), one.fields.join(" "))),
    );
    words.join(", ")
}

#[test]
fn alerts_are_paired_by_id_then_by_key_and_time() {
    for (before, after, expected) in [
        ("", "", ""),
        ("fast V1 0-20-60 major a", "fast V1 0-20-60 major a", ""),
        ("", "fast V1 0-20-60 major a", "+fast 0"),
        ("fast V1 0-20-60 major a", "", "-fast 0"),
        // The same id: whatever differs is named.
        ("fast V1 0-20-60 major a", "fast V1 0-30-60 minor b", "fast 0>fast 0: severity fired_at departments"),
        ("fast V1 0-20-60 major a", "fast V1 0-20-- major a", "fast 0>fast 0: cleared_at state"),
        ("fast V1 0-20-60 major a", "fast V1 0-20-60 major a shadow", "fast 0>fast 0: shadow"),
        // Another start, but at the same time.
        ("fast V1 0-20-60 major a", "fast V1 10-30-60 major a", "fast 0>fast 10: started_at fired_at"),
        (
            "fast V1 0-20-- major a",
            "fast V1 500-520-600 major a",
            "fast 0>fast 500: started_at fired_at cleared_at state",
        ),
        // Not at the same time, not of the same truck, not of the same rule.
        ("fast V1 0-20-60 major a", "fast V1 61-80-90 major a", "+fast 61, -fast 0"),
        ("fast V1 0-20-60 major a", "fast V2 10-30-60 major a", "+fast 10, -fast 0"),
        ("fast V1 0-20-60 major a", "dump V1 0-20-60 major a", "+dump 0, -fast 0"),
        // One that became two: the longer half is it, the other is new.
        (
            "fast V1 0-20-100 major a",
            "fast V1 5-20-30 major a; fast V1 40-50-100 major a",
            "+fast 5, fast 0>fast 40: started_at fired_at",
        ),
        // What has its own other self is not taken for another.
        ("fast V1 0-20-60 major a; fast V1 70-80-100 major a", "fast V1 70-80-100 major a", "-fast 0"),
    ] {
        assert_eq!(told(&compared(before, after)), expected, "{before} => {after}");
    }
}

#[test]
fn one_incident_is_one_alert_whichever_rule_was_first() {
    for (before, after, expected) in [
        (
            "dump V1 0-20-60 major a +tip",
            "tip V1 5-25-60 major a +dump",
            "dump 0>tip 5: rule_id started_at fired_at joined",
        ),
        ("dump V1 0-20-60 major a +tip", "tip V1 5-25-60 major a", "dump 0>tip 5: rule_id started_at fired_at joined"),
        ("dump V1 0-20-60 major a", "tip V1 5-25-60 major a", "+tip 5, -dump 0"),
        ("dump V1 0-20-60 major a +tip", "fast V1 5-25-60 major a", "+fast 5, -dump 0"),
        ("dump V1 0-20-60 major a +tip", "tip V1 5-25-60 major a shadow", "+tip 5, -dump 0"),
    ] {
        assert_eq!(told(&compared(before, after)), expected, "{before} => {after}");
    }
}

#[test]
fn differences_are_counted_by_rule_day_vehicle_and_department() {
    let comparison = compared(
        // The last is fired after midnight.
        "fast V1 0-20-60 major a,b; fast V2 0-20-60 major a; fast V3 7190-7210-7300 minor b",
        "fast V1 0-20-60 minor a; fast V2 0-20-60 major a; dump V2 0-20-60 major c; dump V2 100-120-160 major c shadow",
    );
    let counts = |before, after, gained, lost, changed| Counts { before, after, gained, lost, changed };
    assert_eq!(comparison.all, counts(3, 4, 2, 1, 1));
    let rules: Vec<_> = comparison.rules.iter().map(|(id, counts)| (&**id, *counts)).collect();
    assert_eq!(rules, [("dump", counts(0, 2, 2, 0, 0)), ("fast", counts(3, 2, 0, 1, 1))]);
    let days: Vec<_> = comparison.days.iter().map(|(day, counts)| (&**day, *counts)).collect();
    assert_eq!(days, [("2026-03-01", counts(2, 4, 2, 0, 1)), ("2026-03-02", counts(1, 0, 0, 1, 0))]);
    let vehicles: Vec<_> = comparison.vehicles.iter().map(|(id, counts)| (&**id, *counts)).collect();
    assert_eq!(vehicles, [("V1", counts(1, 1, 0, 0, 1)), ("V2", counts(1, 3, 2, 0, 0)), ("V3", counts(1, 0, 0, 1, 0))]);
    let departments: Vec<_> = comparison.departments.iter().map(|(code, counts)| (&**code, *counts)).collect();
    assert_eq!(
        departments,
        [("a", counts(2, 2, 0, 0, 1)), ("b", counts(2, 0, 0, 1, 1)), ("c", counts(0, 1, 1, 0, 0))],
        "nobody is told of what a shadow rule finds"
    );
    assert_eq!(
        comparison.fields.iter().map(|(field, n)| format!("{field} {n}")).collect::<Vec<_>>(),
        ["departments 1", "severity 1"]
    );
    assert!(comparison.differs() && !compared("fast V1 0-20-60 major a", "fast V1 0-20-60 major a").differs());
}

#[test]
fn orders_are_counted_by_local_day_department_and_kind() {
    let sent = |at: i64, departments: &str, kind| Sent {
        at: s(at),
        departments: departments.split(',').map(Text::from).collect(),
        kind: Some(kind),
    };
    let orders = |orders: Vec<Sent>| Found { orders, ..Found::default() };
    let ran = Ran {
        before: orders(vec![sent(0, "a", UnitKind::Squad), sent(7_200, "a,b", UnitKind::Grid)]),
        after: orders(vec![sent(1, "a", UnitKind::Squad), sent(2, "a", UnitKind::Squad)]),
        ..Ran::default()
    };
    let comparison = Comparison::of(&ran, &rules(), &rules(), &Zone::china());
    let json = serde_json::to_value(&comparison.orders).unwrap();
    let expected = serde_json::json!({
        "2026-03-01": { "before": 1, "after": 2, "departments": { "a": { "before": 1, "after": 2 } },
            "kinds": { "squad": { "before": 1, "after": 2 } } },
        "2026-03-02": { "before": 1, "after": 0,
            "departments": { "a": { "before": 1, "after": 0 }, "b": { "before": 1, "after": 0 } },
            "kinds": { "grid": { "before": 1, "after": 0 } } },
    });
    assert_eq!(json, expected);
}

#[test]
fn both_sides_judge_the_same_records_with_any_number_of_shards() {
    let record = |step: i64, truck: i64| {
        let at = s(step * 10);
        let body = Body::Device(DeviceReport {
            device_id: format!("D{truck}").into(),
            device_time: at,
            speed_kmh: Some(40.0 + ((step / 6 + truck) % 5) as f64 * 10.0),
            ..DeviceReport::default()
        });
        Record::judged(body, at)
    };
    let records: Vec<Record> = (0..2_000).flat_map(|step| (0..10).map(move |truck| record(step, truck))).collect();
    let reference = |text: &str| Reference {
        registry: Arc::default(),
        rules: Arc::new(RuleSet::parse(&[("a.yaml", text)]).unwrap()),
        facts: facts::Settings::default(),
        tick_ms: 60_000,
        late: LateSettings::default(),
    };
    let (before, after) = (
        reference("rules: [{ id: fast, when: speed_kmh > 75, for: 20s }]"),
        reference("rules: [{ id: fast, when: speed_kmh > 65, for: 20s }]"),
    );
    let run = |shards: usize| {
        let mut last = [Time::from_millis(i64::MIN); 2];
        let ran =
            run::<EngineError>(&before, &after, shards, records.iter().cloned().map(Ok), |side, transition, at| {
                let last = &mut last[usize::from(side == Side::After)];
                assert!(at >= *last && at >= transition.alert().fired_at, "time goes on");
                *last = at;
                let opens = matches!(transition, Transition::Opened(_));
                opens.then(|| Sent { at, departments: Arc::from([]), kind: None })
            })
            .unwrap();
        assert_eq!((ran.ledger.received(), ran.vehicles, ran.span), (20_000, 10, Some((s(0), s(19_990)))));
        assert_eq!(
            [ran.before.orders.len(), ran.after.orders.len()],
            [ran.before.alerts.len(), ran.after.alerts.len()]
        );
        Comparison::of(&ran, &before.rules, &after.rules, &Zone::china())
    };
    let comparison = run(1);
    assert_eq!(run(3), comparison);
    // A truck drives at 80 for 60 s of each 300; by the lower limit its alert begins 60 s earlier, at 70. Two trucks are at 80 at
    // the beginning, two at 70 at the end.
    let expected = Counts { before: 666, after: 668, gained: 2, lost: 0, changed: 664 };
    assert_eq!(comparison.all, expected);
}

#[test]
fn what_differs_is_judged_with_what_it_depends_on() {
    let before = "rules:
  - { id: a, when: speed_kmh > 60, inhibited_by: [b] }
  - { id: b, when: speed_kmh > 80, incident: fast }
  - { id: c, when: speed_kmh > 90, incident: fast }
  - { id: d, when: in_forbidden }
  - { id: e, when: in_water }
  - { id: many, over: [d, e], count: { at_least: 3, within: 1h } }
  - { id: often, when: recent_alerts >= 3 }
  - { id: silent, when: moving, enabled: false, inhibited_by: [e] }
";
    let after = before.replace("inhibited_by: [b]", "inhibited_by: [d]");
    let sets = [before, &after].map(|text| RuleSet::parse(&[("rules.yaml", text)]).unwrap());
    for (differing, expected) in [
        ("", Some("")),
        ("c", Some("a b c d e many")),
        ("e", Some("a b c d e many")),
        ("silent", Some("silent")),
        ("new", Some("new")),
        ("often", None),
    ] {
        let ids = differing.split_whitespace().map(Text::from).collect();
        let found = tied([&sets[0], &sets[1]], ids).map(|ids| ids.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), expected, "{differing}");
    }
    let alone = tied([&sets[0], &sets[0]], ["d".into()].into()).unwrap();
    assert_eq!(alone.into_iter().collect::<Vec<_>>().join(" "), "d e many", "on one side d inhibits nothing");
    let narrowed = sets[0].only(["a".into(), "silent".into()].into()).unwrap();
    assert_eq!(narrowed.enabled().map(|rule| &*rule.id).collect::<Vec<_>>(), ["a"], "what is off stays off");
    assert_eq!(narrowed.rules()[0].version, sets[0].rules()[0].version);
}
