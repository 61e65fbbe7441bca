//! Rules on trial: what they find is kept, and nobody and nothing else is moved by it.

use std::{collections::BTreeMap, fs};

use serde_json::Value as Json;

use crate::{
    city::{City, START_MS},
    support::{alerts_of_file, replay},
};

/// Rules that would all take notice of one another, were the second not a shadow.
const PACK: &str = "rules:
  - { id: fast, when: speed_kmh > 60, severity: major, incident: haste, inhibited_by: [trial], departments: [traffic_police] }
  - { id: trial, when: speed_kmh > 50, severity: critical, incident: haste, departments: [housing], shadow: true }
  - { id: often, over: [fast, trial], key: [vehicle_id], count: { at_least: 2, within: 1h }, severity: minor }
  - { id: trial-often, over: [fast], key: [vehicle_id], count: { at_least: 2, within: 1h }, severity: minor, shadow: true }
";

/// The rules of a file's alerts, each with how many it has.
fn counted(alerts: &BTreeMap<String, Json>) -> BTreeMap<String, usize> {
    alerts.values().fold(BTreeMap::new(), |mut counts, alert| {
        *counts.entry(alert["rule_id"].as_str().unwrap().to_owned()).or_default() += 1;
        counts
    })
}

#[test]
fn a_shadow_rule_changes_nothing_that_people_see_and_is_written_on_request() {
    let city = City::new(3);
    let input = city.file("reports.jsonl", &city.reports(60, START_MS));
    let run = |rules: &str, more: &[&str]| {
        fs::write(city.rules().join("speed.yaml"), rules).unwrap();
        let out = city.folder.path().join("alerts.jsonl");
        let said = replay(more, &city.registry(), &city.rules(), &input, &out);
        (alerts_of_file(&out), said)
    };
    let without: String = PACK
        .replace("[trial]", "[]")
        .replace("fast, trial", "fast")
        .lines()
        .filter(|line| !line.contains("shadow"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (plain, _) = run(&without, &[]);
    assert!(plain.values().any(|alert| alert["rule_id"] == "often"), "{:?}", counted(&plain));
    let (hidden, said) = run(PACK, &[]);
    // Only the digest of a rule that names a shadow rule is another.
    let but_version = |alerts: &BTreeMap<String, Json>| {
        let mut alerts = alerts.clone();
        alerts.values_mut().for_each(|alert| alert["rule_version"] = Json::Null);
        alerts
    };
    assert_eq!(but_version(&hidden), but_version(&plain));
    assert!(said.contains("of shadow rules not written; --shadow writes them"), "{said}");
    let (all, said) = run(PACK, &["--shadow"]);
    assert!(!said.contains("not written"), "{said}");
    let marked = |alert: &Json| alert["shadow"] == true;
    for alert in all.values() {
        assert_eq!(marked(alert), alert["rule_id"].as_str().unwrap().starts_with("trial"), "{alert}");
    }
    let (shadows, visible): (BTreeMap<_, _>, BTreeMap<_, _>) = all.into_iter().partition(|(_, alert)| marked(alert));
    assert_eq!(visible, hidden);
    assert!(counted(&shadows).len() == 2 && shadows.values().all(|alert| alert["joined"].is_null()), "{shadows:?}");
}
