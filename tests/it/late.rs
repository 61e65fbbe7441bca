//! What comes late is judged as if it had come in time.

use std::{collections::BTreeSet, fs, path::Path};

use muckwatch::{
    model::{Column, Time},
    rules::RuleSet,
};
use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value as Json;

use crate::support::{program, replay, root};

const MAX_DELAY_MS: i64 = 72 * 3_600_000;

/// A fleet that breaks rules on purpose: its registry and what it reported, in order of event time.
pub fn fleet(folder: &Path, seed: &str) -> Vec<(Time, Json)> {
    fleet_of(folder, seed, &[])
}

fn fleet_of(folder: &Path, seed: &str, more: &[&str]) -> Vec<(Time, Json)> {
    let output = program()
        .args(["simulate", "--duration", "90m", "--interval", "10s", "--seed", seed])
        .args(more)
        .arg("--write-city")
        .arg(folder.join("registry"))
        .arg("--output")
        .arg(folder.join("reports.jsonl"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.join("reports.jsonl")).unwrap();
    let mut reports: Vec<(Time, Json)> = text
        .lines()
        .map(|line| {
            let mut report: Json = serde_json::from_str(line).unwrap();
            report.as_object_mut().unwrap().remove("recv_time");
            (serde_json::from_value(report["device_time"].clone()).unwrap(), report)
        })
        .collect();
    // A clock that counts its weeks from anew is judged at arrival, so that the order of arrival matters.
    let possible: Time = "2015-01-01T00:00:00Z".parse().unwrap();
    reports.retain(|(at, _)| *at >= possible);
    reports.sort_by_key(|(at, _)| *at);
    reports
}

/// Each report some time after it was measured, some of them twice, in order of arrival.
pub fn delayed(reports: &[(Time, Json)], rng: &mut impl Rng) -> Vec<Json> {
    let mut arrivals: Vec<(Time, usize)> = Vec::new();
    for (index, (at, _)) in reports.iter().enumerate() {
        for _ in 0..if rng.random_bool(0.05) { 2 } else { 1 } {
            // Some come in time, some a little late, some very late.
            let most = [1, 60_000, 3_600_000, MAX_DELAY_MS][rng.random_range(0..4)];
            arrivals.push((at.plus_ms(rng.random_range(0..most)), index));
        }
    }
    arrivals.shuffle(rng);
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals.into_iter().map(|(at, index)| with_arrival(&reports[index].1, at)).collect()
}

fn with_arrival(report: &Json, at: Time) -> Json {
    let mut report = report.clone();
    report["recv_time"] = serde_json::to_value(at).unwrap();
    report
}

/// The final alerts, but for `retrospective` and for rules that judge arrival itself.
fn finals(folder: &Path, name: &str, reports: &[Json], shards: &str) -> (Vec<String>, usize) {
    let (input, alerts) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}-alerts.jsonl")));
    let mut lines: Vec<String> = reports.iter().map(Json::to_string).collect();
    // Both runs last until whatever is silent has ended.
    let end = "2026-03-20T00:00:00Z";
    lines.push(serde_json::json!({ "device_id": "last", "device_time": end, "recv_time": end }).to_string());
    fs::write(&input, lines.join("\n")).unwrap();
    let said = replay(&["--shards", shards], &folder.join("registry"), &root().join("rules"), &input, &alerts);
    assert!(said.contains("balanced") && !said.contains("NOT"), "{said}");
    let about_arrival = about_arrival();
    let (mut all, mut late) = (Vec::new(), 0);
    for line in fs::read_to_string(alerts).unwrap().lines() {
        let mut alert: Json = serde_json::from_str(line).unwrap();
        late += usize::from(alert["retrospective"] == true);
        alert["retrospective"] = Json::Null;
        if !about_arrival.contains(alert["rule_id"].as_str().unwrap()) {
            all.push(alert.to_string());
        }
    }
    (all, late)
}

/// Rules about silence and about device clocks.
fn about_arrival() -> BTreeSet<String> {
    let rules = RuleSet::load(&root().join("rules")).unwrap();
    let skew = Column::named("clock_skew_s").unwrap();
    let is_about_arrival = |rule: &&muckwatch::rules::Rule| rule.asks_timer || rule.columns.contains(&skew);
    rules.rules().iter().filter(is_about_arrival).map(|rule| rule.id.to_string()).collect()
}

/// A tracker and a dashcam of one truck come by two networks, each when it can.
#[test]
fn reports_of_two_devices_in_any_order_end_with_the_same_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let reports = fleet_of(folder, "3", &["--cameras", "--without", "clocks"]);
    let cameras = reports
        .iter()
        .filter(|(_, report)| report["device_id"].as_str().is_some_and(|id| id.starts_with("CM")))
        .count();
    assert!(cameras > 5_000, "{cameras}");
    let in_time: Vec<Json> = reports.iter().map(|(at, report)| with_arrival(report, *at)).collect();
    let (expected, _) = finals(folder, "in-time", &in_time, "1");
    assert!(expected.len() > 20, "{} alerts", expected.len());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Within the half hour in which nobody takes them for live reports of a clock that is behind.
    let mut late: Vec<(Time, &Json)> =
        reports.iter().map(|(at, report)| (at.plus_ms(rng.random_range(0..1_500_000)), report)).collect();
    late.sort_by_key(|(at, _)| *at);
    let late: Vec<Json> = late.into_iter().map(|(at, report)| with_arrival(report, at)).collect();
    let (found, retrospective) = finals(folder, "late", &late, "2");
    assert!(retrospective > 0, "nothing was found late");
    assert_eq!(found, expected);
}

#[test]
fn reports_in_any_order_end_with_the_same_alerts() {
    for seed in ["12"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let reports = fleet(folder, seed);
        let in_time: Vec<Json> = reports.iter().map(|(at, report)| with_arrival(report, *at)).collect();
        let (expected, none) = finals(folder, "in-time", &in_time, "1");
        assert!(expected.len() > 20, "{} alerts", expected.len());
        assert_eq!(none, 0, "nothing was late");
        for order in 0..2 {
            let mut rng = ChaCha8Rng::seed_from_u64(order);
            let (found, late) = finals(folder, &format!("late-{order}"), &delayed(&reports, &mut rng), "2");
            assert!(late > 0, "seed {seed}, order {order}: nothing was found late");
            let (lost, gained): (Vec<_>, Vec<_>) = (
                expected.iter().filter(|alert| !found.contains(alert)).collect(),
                found.iter().filter(|alert| !expected.contains(alert)).collect(),
            );
            assert!(
                lost.is_empty() && gained.is_empty(),
                "seed {seed}, order {order}: of {} lost {} {:#?}, gained {} {:#?}",
                expected.len(),
                lost.len(),
                &lost[..lost.len().min(3)],
                gained.len(),
                &gained[..gained.len().min(3)]
            );
        }
    }
}
