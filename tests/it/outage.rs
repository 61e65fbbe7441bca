//! Many terminals that fall silent at once are one outage, told once; one terminal is one alert.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value as Json;

use crate::{
    city::START_MS,
    support::{replay, root},
};

const OPERATORS: [(&str, usize); 2] = [("C1", 3_000), ("C2", 1_000)];

/// Everybody reports every 20 s in his own second for ten minutes; then those fall silent that `is_silent` names, for half an hour.
fn city(folder: &Path, is_silent: impl Fn(&str, usize) -> bool) {
    let mut vehicles = "vehicle_id,plate,device_id,company_id,status\n".to_owned();
    let mut companies = "company_id,name\n".to_owned();
    for (company, trucks) in OPERATORS {
        let _ = writeln!(companies, "{company},{company}");
        (0..trucks).for_each(|n| _ = writeln!(vehicles, "{company}-{n},{company}P{n},{company}-D{n},{company},active"));
    }
    fs::create_dir_all(folder.join("registry")).unwrap();
    fs::write(folder.join("registry/vehicles.csv"), vehicles).unwrap();
    fs::write(folder.join("registry/companies.csv"), companies).unwrap();
    let mut reports = String::new();
    for second in (0..2_400).step_by(20) {
        for slot in 0..20 {
            for (company, trucks) in OPERATORS {
                for n in (slot..trucks).step_by(20) {
                    // Once in the half hour is enough for those who go on: only the clock is needed of them.
                    let is_due = second < 600 || second % 120 == 0 && !is_silent(company, n);
                    if is_due {
                        let at = START_MS + (second + slot) as i64 * 1000;
                        let _ = writeln!(
                            reports,
                            r#"{{"device_id":"{company}-D{n}","device_time":{at},"speed_kmh":0,"ignition":true}}"#
                        );
                    }
                }
            }
        }
    }
    fs::write(folder.join("reports.jsonl"), reports).unwrap();
}

fn alerts(folder: &Path, shards: &str) -> Vec<Json> {
    let out = folder.join(format!("alerts-{shards}.jsonl"));
    let (registry, input) = (folder.join("registry"), folder.join("reports.jsonl"));
    replay(&["--shards", shards], &registry, &root().join("rules"), &input, &out);
    let text = fs::read_to_string(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn trap_13_three_thousand_devices_of_one_operator_silent_at_once_are_one_alert() {
    let folder = tempfile::tempdir().unwrap();
    city(folder.path(), |company, _| company == "C1");
    let told = alerts(folder.path(), "1");
    assert_eq!(told.len(), 1, "{:?}", &told[..told.len().min(5)]);
    assert_eq!((&told[0]["rule_id"], &told[0]["company_id"]), (&"mass-offline".into(), &"C1".into()));
    assert_eq!((&told[0]["vehicle_id"], &told[0]["state"]), (&"".into(), &"open".into()));
    assert_eq!(alerts(folder.path(), "4"), told, "whatever the number of shards");
}

#[test]
fn one_truck_silent_is_one_alert_about_that_truck() {
    let folder = tempfile::tempdir().unwrap();
    city(folder.path(), |company, n| company == "C1" && n == 1_234);
    let told = alerts(folder.path(), "2");
    let said: Vec<(&str, &str)> =
        told.iter().map(|alert| (alert["rule_id"].as_str().unwrap(), alert["vehicle_id"].as_str().unwrap())).collect();
    assert_eq!(said, [("terminal-offline", "C1-1234")]);
}
