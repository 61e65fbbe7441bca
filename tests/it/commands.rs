//! The commands as a newcomer types them.

use std::{fs, path::Path, process::Output};

use serde_json::json;

use crate::{
    city::{City, START_MS},
    support::{program, real_data, root},
};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn replay(registry: &Path, rules: &Path, input: &Path, shards: &str) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let alerts = folder.path().join("alerts.jsonl");
    let output = program()
        .args(["replay", "--shards", shards])
        .arg("--registry")
        .arg(registry)
        .arg("--rules")
        .arg(rules)
        .arg("--input")
        .arg(input)
        .arg("--alerts")
        .arg(&alerts)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    (fs::read(&alerts).unwrap(), said(&output))
}

#[test]
fn help_names_every_command_and_says_where_to_begin() {
    let output = program().arg("--help").output().unwrap();
    let text = said(&output);
    for word in ["serve", "replay", "facts", "demo", "simulate", "registry", "rules", "ledger", "New here?"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn a_replay_gives_the_same_bytes_with_any_number_of_shards_packed_or_not() {
    let city = City::new(15);
    let reports = city.reports(80, START_MS);
    let plain = city.file("reports.jsonl", &reports);
    let packed = city.folder.path().join("reports.jsonl.zst");
    fs::write(&packed, zstd::encode_all(&*fs::read(&plain).unwrap(), 1).unwrap()).unwrap();
    let (alerts, summary) = replay(&city.registry(), &city.rules(), &plain, "1");
    assert!(alerts.len() > 1_000, "{summary}");
    assert!(summary.contains("balanced") && !summary.contains("NOT"), "{summary}");
    assert_eq!(replay(&city.registry(), &city.rules(), &plain, "4").0, alerts);
    assert_eq!(replay(&city.registry(), &city.rules(), &packed, "3").0, alerts);
}

#[test]
fn a_recording_of_another_dialect_is_replayed() {
    let city = City::new(1);
    let message = |s: i64| {
        let position = json!({"fixTime": START_MS + s * 1000, "latitude": 22.5, "longitude": 113.9, "speed": 40.0});
        json!({"tst": "2026-03-01T22:00:30.000000+0800", "topic": "positions", "qos": 1,
            "payload": {"position": position, "device": {"uniqueId": "D0"}}})
    };
    let input = city.file("recorded.jsonl", &[0, 10, 20].map(message));
    let folder = tempfile::tempdir().unwrap();
    let alerts = folder.path().join("alerts.jsonl");
    let run = |format: &str| {
        program()
            .args(["replay", "--format", format])
            .args([Path::new("--registry"), &city.registry(), Path::new("--rules"), &city.rules()])
            .args([Path::new("--input"), &input, Path::new("--alerts"), &alerts])
            .output()
            .unwrap()
    };
    let output = run("traccar");
    assert!(output.status.success(), "{}", said(&output));
    let found = fs::read_to_string(&alerts).unwrap();
    assert!(found.contains("\"vehicle_id\":\"V0\"") && found.contains("74 km/h"), "{found}{}", said(&output));
    let wrong = said(&run("nmea"));
    assert!(wrong.contains("native, emqx-jt808, owntracks, traccar, teltonika"), "{wrong}");
}

#[test]
fn fifty_real_trucks_replay_to_the_same_bytes_and_a_balanced_ledger() {
    let Some(data) = real_data("athens-concrete-trucks") else { return };
    let (registry, input) = (data.join("registry"), data.join("reports.jsonl.gz"));
    let (alerts, summary) = replay(&registry, &root().join("rules"), &input, "1");
    assert!(
        summary.contains("112203  received") && summary.contains("balanced") && !summary.contains("NOT"),
        "{summary}"
    );
    assert_eq!(replay(&registry, &root().join("rules"), &input, "4").0, alerts);
}

#[test]
fn facts_come_one_a_report_in_the_order_asked_for() {
    let city = City::new(2);
    let input = city.file("reports.jsonl", &city.reports(3, START_MS));
    let out = city.folder.path().join("facts.jsonl");
    let run = |columns: &str| {
        program()
            .args(["facts", "--columns", columns])
            .arg("--registry")
            .arg(city.registry())
            .arg("--input")
            .arg(&input)
            .arg("--output")
            .arg(&out)
            .output()
            .unwrap()
    };
    assert!(run("vehicle_id,speed_kmh,road_id").status.success());
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count(), 6);
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        r#"{"device_id":"D0","device_time":"2026-03-01T14:00:00.000Z","vehicle_id":"V0","speed_kmh":65.0,"road_id":null}"#
    );
    let wrong = run("speed");
    assert!(!wrong.status.success());
    assert!(said(&wrong).contains("speed_kmh"), "{}", said(&wrong));
}

#[test]
fn a_bad_rule_is_said_with_its_place_and_the_nearest_name() {
    let city = City::new(1);
    let rules = city.rules().join("bad.yaml");
    fs::write(&rules, "rules:\n  - id: bad\n    when: sped_kmh > 3\n    severity: minor\n    departments: [company]\n")
        .unwrap();
    let output = program().args(["rules", "check"]).arg(city.rules()).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("bad.yaml:3:") && text.contains("speed_kmh"), "{text}");
}

#[test]
fn a_bad_registry_changes_nothing_and_every_problem_is_said() {
    let city = City::new(1);
    let data = city.folder.path().join("data");
    let import =
        || program().args(["registry", "import"]).arg(city.registry()).arg("--data").arg(&data).output().unwrap();
    assert!(import().status.success());
    fs::write(city.registry().join("zones.geojson"), r#"{"type":"FeatureCollection","features":[]}"#).unwrap();
    fs::write(
        city.registry().join("permits.csv"),
        "permit_id,vehicle_id,source_id,sink_ids,status\nP1,V9,S1,S2,valid\n",
    )
    .unwrap();
    let output = import();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["zones.geojson", "datum", "permits.csv:2", "V9", "nothing was changed"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn a_fact_is_explained_by_name_and_a_wrong_name_gives_the_nearest() {
    let run = |name: &[&str]| {
        program().args(["rules", "explain-fact"]).args(name).arg("--rules").arg(root().join("rules")).output().unwrap()
    };
    let cover = said(&run(&["cover"]));
    for part in ["closed, open, moving", "NULL when", "cover-open-loaded"] {
        assert!(cover.contains(part), "{part} is not in:\n{cover}");
    }
    assert!(said(&run(&[])).lines().count() > 60);
    let wrong = run(&["covr"]);
    assert!(!wrong.status.success() && said(&wrong).contains("`cover`"), "{}", said(&wrong));
}

#[test]
fn tests_are_completed_with_what_came_and_pass_from_then_on() {
    let city = City::new(1);
    let tests = city.rules().join("new_test.yaml");
    fs::write(
        &tests,
        "# Mine.\ntests:\n  - name: nothing comes of a report without anything\n    reports:\n      - { device_id: D0, device_time: \"2026-03-01T14:00:00Z\" }\n  # The end.\n",
    )
    .unwrap();
    let run = |more: &[&str]| program().args(["rules", "test"]).arg(city.rules()).args(more).output().unwrap();
    let before = run(&[]);
    assert!(!before.status.success() && said(&before).contains("--complete"), "{}", said(&before));
    let filled = run(&["--complete"]);
    assert!(filled.status.success() && said(&filled).contains("filled in: nothing comes"), "{}", said(&filled));
    let text = fs::read_to_string(&tests).unwrap();
    assert!(
        text.starts_with("# Mine.\n") && text.contains("    expect:") && text.ends_with("  # The end.\n"),
        "{text}"
    );
    assert!(run(&[]).status.success(), "{}", said(&run(&[])));
    assert!(said(&run(&["--complete"])).contains("0 tests filled in"));
    assert_eq!(fs::read_to_string(&tests).unwrap(), text);
}
