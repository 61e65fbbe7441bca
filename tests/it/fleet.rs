//! The simulated fleet says what it truly did: every planted violation must be found, and none invented, with noise on.

use std::{fs, path::Path};

use muckwatch::{
    model::Alert,
    simulate::{Truth, score},
};

use crate::support::{program, replay, root};

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

fn alerts(folder: &Path) -> Vec<Alert> {
    let text = fs::read_to_string(folder.join("alerts.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_planted_violation_is_found_and_none_invented() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    simulate(folder, "7");
    judge(folder);
    let verdict = score(&truths(folder), &alerts(folder));
    assert!(verdict.missed.is_empty(), "missed: {:#?}", verdict.missed);
    assert!(verdict.invented.is_empty(), "invented: {:#?}", verdict.invented);
    let planted = verdict.rules.values().filter(|score| score.planted > 0).count();
    assert_eq!(planted, 14, "each rule that the fleet breaks on purpose is broken by somebody");
}
