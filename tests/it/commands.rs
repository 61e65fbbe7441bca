//! The commands as a newcomer types them.

use std::{fs, path::Path, process::Output};

use serde_json::json;

use crate::{
    city::{City, START_MS},
    support::{self, program, real_data, root},
};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn replay(registry: &Path, rules: &Path, input: &Path, shards: &str) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let alerts = folder.path().join("alerts.jsonl");
    let said = support::replay(&["--shards", shards], registry, rules, input, &alerts);
    (fs::read(&alerts).unwrap(), said)
}

#[test]
fn help_names_every_command_and_says_where_to_begin() {
    let output = program().arg("--help").output().unwrap();
    let text = said(&output);
    for word in ["serve", "replay", "facts", "demo", "simulate", "registry", "rules", "ledger", "sql", "New here?"] {
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

/// Trying a setting needs no other build, only a file or a word.
#[test]
fn facts_and_replay_take_settings() {
    let city = City::new(1);
    let input = city.file("reports.jsonl", &city.reports(12, START_MS));
    let settings = city.folder.path().join("settings.toml");
    fs::write(&settings, "time_zone = \"UTC\"").unwrap();
    let out = city.folder.path().join("out.jsonl");
    let rules = root().join("rules");
    let run = |command: &str, more: &[&str]| {
        let mut program = program();
        program.arg(command).arg("--registry").arg(city.registry()).arg("--input").arg(&input).args(more);
        let ran = program.output().unwrap();
        (ran.status.success(), said(&ran))
    };
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (out_path, rules_path, settings_path) = (path(&out), path(&rules), path(&settings));
    let facts = ["--columns", "local_hour", "--output", &out_path];
    let replay = ["--rules", &rules_path, "--alerts", &out_path];
    let hour = || fs::read_to_string(&out).unwrap().contains("\"local_hour\":14");
    for (more, is_utc) in [
        (&[] as &[&str], false),
        (&["--config", &settings_path], true),
        (&["--set", "time_zone=UTC"], true),
        (&["--config", &settings_path, "--set", "time_zone=Asia/Shanghai"], false),
    ] {
        let (done, words) = run("facts", &[&facts[..], more].concat());
        assert!(done && hour() == is_utc, "{more:?}: {words}");
        let (done, words) = run("replay", &[&replay[..], more].concat());
        assert!(done, "{more:?}: {words}");
    }
    for (wrong, expected) in [
        ("facts.road_sigma=8", "the nearest is road_sigma_m"),
        ("facts.road_sigma_m=wide", "--set: facts.road_sigma_m: found \"wide\", expected a number"),
        ("road_sigma_m", "expected KEY=VALUE"),
    ] {
        for (command, args) in [("facts", facts), ("replay", replay)] {
            let (done, words) = run(command, &[&args[..], &["--set", wrong]].concat());
            assert!(!done && words.contains(expected), "{command} {wrong}: {words}");
        }
    }
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

const WATCHED: &str = "\
fast
  when speed_kmh > 60 and loaded
  for 20 s, at least 3 reports, max_gap 60 s
  clear when speed_kmh <= 60, for 10 s; cool-down 60 s
2026-03-01 22:00:00 粤B00000 true    held for 0 of 20 s, 1 of 3 samples | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true)
2026-03-01 22:00:10 粤B00000 unknown held for 0 of 20 s, 1 of 3 samples, clock stopped by unknown | true: speed_kmh > 60 (speed_kmh=70) | unknown: loaded (loaded=null)
2026-03-01 22:00:20 粤B00000 false   hold broken by false; idle | false: speed_kmh > 60 (speed_kmh=40) | true: loaded (loaded=true)
2026-03-01 22:00:30 粤B00000 true    held for 0 of 20 s, 1 of 3 samples | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true)
2026-03-01 22:02:00 粤B00000 true    hold begun anew: 90 s since the last true, max_gap is 60 s; held for 0 of 20 s, 1 of 3 samples | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true)
2026-03-01 22:02:10 粤B00000 true    held for 10 of 20 s, 2 of 3 samples | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true)
2026-03-01 22:02:20 粤B00000 true    FIRES as major: 粤B00000 70 km/h; open since 2026-03-01 22:02:20 as major | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true) | clear false: speed_kmh <= 60 (speed_kmh=70)
2026-03-01 22:02:30 粤B00000 true    RAISED to critical; open since 2026-03-01 22:02:20 as critical | true: speed_kmh > 60 (speed_kmh=95) | true: loaded (loaded=true) | clear false: speed_kmh <= 60 (speed_kmh=95)
2026-03-01 22:02:50 粤B00000 false   open since 2026-03-01 22:02:20 as critical, clearing: held for 0 of 10 s | false: speed_kmh > 60 (speed_kmh=50) | true: loaded (loaded=true) | clear true: speed_kmh <= 60 (speed_kmh=50)
2026-03-01 22:03:00 粤B00000 false   CLEARED; cooling down until 2026-03-01 22:04:00 | false: speed_kmh > 60 (speed_kmh=50) | true: loaded (loaded=true)
2026-03-01 22:03:20 粤B00000 true    held for 0 of 20 s, 1 of 3 samples, cooling down until 2026-03-01 22:04:00 | true: speed_kmh > 60 (speed_kmh=70) | true: loaded (loaded=true)
2026-03-01 22:04:10 粤B00000 false   hold broken by false; idle | false: speed_kmh > 60 (speed_kmh=50) | true: loaded (loaded=true)
";

#[test]
fn a_rule_is_watched_from_hold_to_cool_down() {
    let city = City::new(2);
    let rule = "rules:\n  - id: fast\n    when: speed_kmh > 60\n      and loaded\n    for: 20s\n    min_samples: 3\n    max_gap: 60s\n    clear: { when: speed_kmh <= 60, for: 10s }\n    cooldown: 60s\n    severity:\n      - { critical: speed_kmh > 90 }\n      - major\n    departments: [traffic_police]\n    message: \"{plate} {speed_kmh:.0} km/h\"\n";
    fs::write(city.rules().join("speed.yaml"), rule).unwrap();
    let report = |(s, speed_kmh, load): (i64, i64, &str)| {
        json!({"device_id": "D0", "device_time": START_MS + s * 1000, "lat": 22.5, "lon": 113.9, "speed_kmh": speed_kmh,
            "load": load})
    };
    let sparse = [(0, 70, "full"), (10, 70, "fault"), (20, 40, "full"), (30, 70, "full"), (120, 70, "full")];
    let dense = [(130, 70, "full"), (140, 70, "full"), (150, 95, "full"), (160, 72, "full"), (170, 50, "full")];
    let after = [(180, 50, "full"), (190, 50, "full"), (200, 70, "full"), (250, 50, "full"), (260, 50, "full")];
    let reports: Vec<_> = sparse.into_iter().chain(dense).chain(after).map(report).collect();
    let input = city.file("reports.jsonl", &reports);
    let run = |rule: &str, input: &Path, more: &[&str]| {
        let folders = [Path::new("--registry"), &city.registry(), Path::new("--rules"), &city.rules()];
        let mut command = program();
        command.args(["rules", "watch", rule]).args(folders).args([Path::new("--input"), input]).args(more);
        command.stdin(fs::File::open(city.folder.path().join("reports.jsonl")).unwrap()).output().unwrap()
    };
    let shown = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(shown(&run("fast", &input, &[])), WATCHED);
    assert_eq!(shown(&run("fast", Path::new("-"), &["--vehicle", "粤B00000"])), WATCHED);
    assert_eq!(shown(&run("fast", &input, &["--all", "--vehicle", "V0"])).lines().count(), 4 + reports.len());
    let nobody = run("fast", &input, &["--vehicle", "V1"]);
    assert!(said(&nobody).contains("nothing that was judged is of a vehicle \"V1\""), "{}", said(&nobody));
    let wrong = run("fats", &input, &[]);
    assert!(!wrong.status.success() && said(&wrong).contains("did you mean fast?"), "{}", said(&wrong));
}

#[test]
fn a_watched_rule_says_what_other_rules_and_trucks_do_to_it() {
    let city = City::new(2);
    let rule = |text: &str| format!("  - {{ {text}, severity: minor, departments: [company] }}\n");
    let rules: String = [
        "id: fast, when: speed_kmh > 60, incident: { name: speed, within: 1m }",
        "id: faster, when: speed_kmh > 90, incident: { name: speed, within: 1m }",
        "id: slowly, when: speed_kmh > 50, inhibited_by: [fast]",
        "id: many, when: speed_kmh > 60, key: [company_id], count: { vehicles: 2, within: 1m }",
        "id: again, over: [fast], count: { at_least: 1, per: day }",
    ]
    .map(rule)
    .concat();
    let mute = "mute:\n  - { reason: test, when: speed_kmh > 110 }\n";
    fs::write(city.rules().join("speed.yaml"), format!("{mute}rules:\n{rules}")).unwrap();
    let report = |(s, truck, speed_kmh): (i64, u32, i64)| json!({"device_id": format!("D{truck}"), "device_time": START_MS + s * 1000, "speed_kmh": speed_kmh});
    let input = city.file("reports.jsonl", &[(0, 0, 70), (1, 1, 70), (2, 0, 95), (3, 0, 115), (4, 0, 40)].map(report));
    let watched = |rule: &str| {
        let folders = [Path::new("--registry"), &city.registry(), Path::new("--rules"), &city.rules()];
        let output =
            program().args(["rules", "watch", rule]).args(folders).arg("--input").arg(&input).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (rule, parts) in [
        ("fast", &["FIRES as minor: 粤B00000 fast", "muted; open since"][..]),
        ("faster", &["JOINS the alert of fast", "CLEARED, and the alert of fast with it"]),
        ("slowly", &["inhibited by fast; idle"]),
        ("many", &["粤B00000 true    HIT, counted over many", "22:00:01 FIRES as minor: 粤B00001"]),
        ("again", &["22:00:00 FIRES as minor: 粤B00000"]),
    ] {
        let shown = watched(rule);
        for part in parts {
            assert!(shown.contains(part), "{part} is not in:\n{shown}");
        }
    }
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
