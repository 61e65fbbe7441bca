//! The simulated fleet says what it truly did: every planted violation must be found, and none invented, with noise on.

use std::{collections::BTreeMap, fs, path::Path};

use muckwatch::{
    model::{Joined, Time},
    simulate::Truth,
};
use serde_json::Value as Json;

use crate::support::{program, replay, root};

/// How far a judgement may lie from the truth: holds, lights, and reports lost in tunnels.
const SLACK_MS: i64 = 180_000;

#[derive(Default)]
struct Score {
    planted: u32,
    found: u32,
    alerts: u32,
    justified: u32,
}

struct Raised {
    vehicle_id: String,
    rule_id: String,
    /// Rules that found the same incident.
    joined: Vec<Joined>,
    from: Time,
    to: Option<Time>,
    line: String,
}

fn simulate(folder: &Path, seed: &str) {
    let output = program()
        .args(["simulate", "--duration", "45m", "--interval", "2s", "--seed", seed])
        .arg("--write-city")
        .arg(folder.join("registry"))
        .arg("--output")
        .arg(folder.join("reports.jsonl"))
        .arg("--truth")
        .arg(folder.join("truth.jsonl"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn judge(folder: &Path) {
    let (registry, rules) = (folder.join("registry"), root().join("rules"));
    let (input, alerts) = (folder.join("reports.jsonl"), folder.join("alerts.jsonl"));
    let summary = replay(&[], &registry, &rules, &input, &alerts);
    assert!(summary.contains("balanced") && !summary.contains("NOT"), "{summary}");
}

fn truths(folder: &Path) -> Vec<Truth> {
    let text = fs::read_to_string(folder.join("truth.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn raised(folder: &Path) -> Vec<Raised> {
    let text = fs::read_to_string(folder.join("alerts.jsonl")).unwrap();
    let time = |value: &Json| value.as_str().map(|text| text.parse().unwrap());
    let read = |line: &str| {
        let alert: Json = serde_json::from_str(line).unwrap();
        Raised {
            vehicle_id: alert["vehicle_id"].as_str().unwrap().to_owned(),
            rule_id: alert["rule_id"].as_str().unwrap().to_owned(),
            joined: serde_json::from_value(alert["joined"].clone()).unwrap_or_default(),
            from: time(&alert["started_at"]).unwrap(),
            to: time(&alert["cleared_at"]),
            line: line.to_owned(),
        }
    };
    text.lines().map(read).collect()
}

fn is_near(alert: &Raised, truth: &Truth) -> bool {
    let ends_after = alert.to.is_none_or(|to| to.plus_ms(SLACK_MS) >= truth.started_at);
    *alert.vehicle_id == *truth.vehicle_id && ends_after && alert.from <= truth.ended_at.plus_ms(SLACK_MS)
}

fn is_about(alert: &Raised, truth: &Truth) -> bool {
    let has_joined = alert.joined.iter().any(|one| one.rule_id == truth.rule_id);
    (*alert.rule_id == *truth.rule_id || has_joined) && is_near(alert, truth)
}

/// Rules that add up what others found, at any time and of any truck: they are justified by what they add up.
const ADDING_UP: &[&str] = &[
    "pre-departure-risk",
    "repeat-overspeed-vehicle",
    "repeat-overspeed-company",
    "suspect-black-sink",
    "suspect-black-source",
];

fn is_justified(alert: &Raised, truths: &[Truth]) -> bool {
    if ADDING_UP.contains(&&*alert.rule_id) {
        return truths.iter().any(|truth| alert.vehicle_id.is_empty() || *alert.vehicle_id == *truth.vehicle_id);
    }
    truths.iter().any(|truth| {
        is_about(alert, truth) || (is_near(alert, truth) && truth.may_also.iter().any(|rule| **rule == *alert.rule_id))
    })
}

fn scores(truths: &[Truth], alerts: &[Raised]) -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for truth in truths.iter().filter(|truth| truth.planted) {
        let score = scores.entry(truth.rule_id.to_string()).or_default();
        score.planted += 1;
        score.found += u32::from(alerts.iter().any(|alert| is_about(alert, truth)));
    }
    for alert in alerts {
        let score = scores.entry(alert.rule_id.clone()).or_default();
        score.alerts += 1;
        score.justified += u32::from(is_justified(alert, truths));
    }
    scores
}

#[test]
fn every_planted_violation_is_found_and_none_invented() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    simulate(folder, "7");
    judge(folder);
    let (truths, alerts) = (truths(folder), raised(folder));
    let scores = scores(&truths, &alerts);
    println!("{:<24} {:>8} {:>6} {:>7} {:>10} {:>7}", "rule", "planted", "found", "recall", "alerts", "precision");
    for (rule, score) in &scores {
        let share = |part: u32, whole: u32| if whole == 0 { 1.0 } else { f64::from(part) / f64::from(whole) };
        println!(
            "{rule:<24} {:>8} {:>6} {:>7.2} {:>10} {:>7.2}",
            score.planted,
            score.found,
            share(score.found, score.planted),
            score.alerts,
            share(score.justified, score.alerts)
        );
    }
    let missed: Vec<String> = truths
        .iter()
        .filter(|truth| truth.planted && !alerts.iter().any(|alert| is_about(alert, truth)))
        .map(|truth| serde_json::to_string(truth).unwrap())
        .collect();
    let invented: Vec<&str> =
        alerts.iter().filter(|alert| !is_justified(alert, &truths)).map(|alert| &*alert.line).collect();
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
    assert!(invented.is_empty(), "invented:\n{}", invented.join("\n"));
    let planted = scores.values().filter(|score| score.planted > 0).count();
    assert_eq!(planted, 14, "each rule that the fleet breaks on purpose is broken by somebody");
}
