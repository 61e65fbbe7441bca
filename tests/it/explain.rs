//! Alerts are explained: from history judged again, which must give each of them byte for byte.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value as Json, json};

use crate::{
    city::{City, START_MS},
    late::{delayed, fleet},
    line::{publish, run},
    support::{Mosquitto, Served, alerts, alerts_of_file, program, real_data, replay, root, wait_for},
};

/// A replay that was run.
struct Replay {
    registry: PathBuf,
    rules: PathBuf,
    input: PathBuf,
    alerts: PathBuf,
}

impl Replay {
    /// Told in Chinese, which is not what comes of itself.
    fn run(registry: PathBuf, rules: PathBuf, input: PathBuf, alerts: PathBuf) -> Self {
        replay(&["--set", "language=zh"], &registry, &rules, &input, &alerts);
        Self { registry, rules, input, alerts }
    }

    fn explain(&self, registry: &Path, more: &[&str]) -> Output {
        let mut command = program();
        command.arg("explain").args(more);
        let of_replay =
            [("--registry", registry), ("--rules", &self.rules), ("--input", &self.input), ("--alerts", &self.alerts)];
        of_replay.iter().for_each(|(name, path)| _ = command.arg(name).arg(path));
        command.output().unwrap()
    }

    fn json(&self, registry: &Path, id: &str) -> Json {
        let output = self.explain(registry, &[id, "--json"]);
        assert_ne!(output.status.code(), Some(2), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Every alert comes again; how many.
    fn all(&self) -> usize {
        let output = self.explain(&self.registry, &["--all"]);
        let said = text(&output.stdout);
        let count = alerts_of_file(&self.alerts).len();
        assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
        assert!(said.contains(&format!("{count} of {count} alerts reproduced byte for byte, 0 differ")), "{said}");
        eprintln!("{}", said.trim());
        count
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A fleet that breaks rules on purpose, replayed.
fn simulated(folder: &Path) -> Replay {
    let output = program()
        .args(["simulate", "--duration", "60m", "--interval", "10s", "--seed", "12", "--cameras", "--write-city"])
        .arg(folder.join("registry"))
        .arg("--output")
        .arg(folder.join("reports.jsonl"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Replay::run(
        folder.join("registry"),
        root().join("rules"),
        folder.join("reports.jsonl"),
        folder.join("alerts.jsonl"),
    )
}

#[test]
fn every_alert_of_a_fleet_comes_again_and_each_rule_tells_its_story() {
    let folder = tempfile::tempdir().unwrap();
    let run = simulated(folder.path());
    assert!(run.all() > 40);
    let mut seen = BTreeSet::new();
    for (id, alert) in alerts_of_file(&run.alerts) {
        let rule = alert["rule_id"].as_str().unwrap();
        if !seen.insert(rule.to_owned()) {
            continue;
        }
        let found = run.json(&run.registry, &id);
        assert_eq!((&found["reproduced"], &found["alert"]), (&json!(true), &alert), "{rule}: {}", found["differences"]);
        assert!(found["rule"]["text"].as_str().unwrap().contains(&format!("id: {rule}\n")), "{}", found["rule"]);
        let steps = found["steps"].as_array().unwrap();
        let firing = steps.iter().find(|step| step["event_time"] == alert["fired_at"]).unwrap();
        let fires =
            firing["happened"].as_array().unwrap().iter().any(|what| what.as_str().unwrap().starts_with("fires"));
        assert!(fires && firing["verdict"] == "true", "{rule}: {firing}");
        assert!(firing["clauses"].as_array().unwrap().iter().all(|clause| clause["verdict"] == "true"), "{firing}");
        for (name, value) in alert["facts"].as_object().unwrap() {
            assert_eq!(&firing["facts"][name], value, "{rule}: {name}");
        }
        assert_eq!(found["track"]["type"], "FeatureCollection");
        let vehicle = found["registered"].as_array().unwrap().iter().any(|one| one["entity"] == "vehicles");
        assert!(vehicle, "{rule}: {}", found["registered"]);
    }
    assert!(seen.len() > 10, "{seen:?}");
    let unknown = run.explain(&run.registry, &["no-such-alert"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no alert \"no-such-alert\""), "{}", text(&unknown.stderr));
}

/// Tells which of an alert's clauses fail when one cell of its permit is another.
fn flipped(run: &Replay, folder: &Path, permit: &str, change: impl Fn(&mut Vec<String>)) -> PathBuf {
    let other = folder.join("flipped");
    fs::create_dir_all(&other).unwrap();
    for entry in fs::read_dir(&run.registry).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    let file = other.join("permits.csv");
    let before = fs::read_to_string(&file).unwrap();
    let row = |line: &str| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        if cells[0] == permit {
            change(&mut cells);
        }
        cells.join(",") + "\n"
    };
    let after: String = before.lines().map(row).collect();
    assert_ne!(before, after);
    fs::write(&file, after).unwrap();
    other
}

#[test]
fn one_field_of_a_permit_flips_the_verdict_and_the_clause_that_fails_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = simulated(folder.path());
    let header = fs::read_to_string(run.registry.join("permits.csv")).unwrap();
    let column = |name: &str| header.lines().next().unwrap().split(',').position(|one| one == name).unwrap();
    let all = alerts_of_file(&run.alerts);
    let of_rule = |rule: &str| all.iter().find(|(_, alert)| alert["rule_id"] == rule).unwrap();

    // At any hour instead of some.
    let (id, alert) = of_rule("outside-permit-hours");
    let windows = column("windows");
    let permit = alert["permit_id"].as_str().unwrap();
    let other = flipped(&run, folder.path(), permit, |cells| cells[windows].clear());
    let found = run.json(&other, id);
    assert_eq!((&found["reproduced"], &found["found"]), (&json!(false), &Json::Null));
    let failed = &found["failed_clauses"];
    assert_eq!(failed.as_array().unwrap().len(), 1, "{failed}");
    assert_eq!((&failed[0]["text"], &failed[0]["verdict"]), (&json!("not in_permit_window"), &json!("false")));
    assert_eq!(failed[0]["values"], json!({"in_permit_window": true}));
    let told = run.explain(&other, &[id]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stdout).contains("what fails: false   not in_permit_window (in_permit_window=true)"));

    // And the other way round: a permit that ended before.
    let (id, alert) = of_rule("outside-permit-hours");
    let valid_to = column("valid_to");
    let permit = alert["permit_id"].as_str().unwrap();
    let other = flipped(&run, folder.path(), permit, |cells| cells[valid_to] = "2025-06-01T00:00:00+08:00".to_owned());
    let found = run.json(&other, id);
    let failed = &found["failed_clauses"];
    assert_eq!((&failed[0]["text"], &failed[0]["verdict"]), (&json!("not in_permit_window"), &json!("unknown")));
    let held = found["registered"].as_array().unwrap().iter().find(|one| one["id"] == permit).unwrap();
    assert_eq!((&held["held"], &held["valid_to"]), (&json!(false), &json!("2025-05-31T16:00:00.000Z")));
}

#[test]
fn what_came_late_is_explained_as_such() {
    use rand::SeedableRng as _;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut reports = fleet(folder, "12");
    let devices: BTreeSet<String> = reports.iter().map(|(_, report)| report["device_id"].to_string()).collect();
    let some: BTreeSet<String> = devices.into_iter().take(20).collect();
    reports.retain(|(_, report)| some.contains(&report["device_id"].to_string()));
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let lines: Vec<String> = delayed(&reports, &mut rng).iter().map(Json::to_string).collect();
    let input = folder.join("late.jsonl");
    fs::write(&input, lines.join("\n")).unwrap();
    let run = Replay::run(folder.join("registry"), root().join("rules"), input, folder.join("late-alerts.jsonl"));
    assert!(run.all() > 10);
    let all = alerts_of_file(&run.alerts);
    let (id, alert) = all.iter().find(|(_, alert)| alert["retrospective"] == true).unwrap();
    let found = run.json(&run.registry, id);
    assert_eq!((&found["reproduced"], &found["alert"]), (&json!(true), alert));
    assert!(
        found["told"].as_array().unwrap().iter().any(|change| change["retrospective"] == true),
        "{}",
        found["told"]
    );
    assert!(text(&run.explain(&run.registry, &[id]).stdout).contains("shown by late reports only"));
}

#[test]
fn what_late_reports_withdrew_is_explained_with_the_reason() {
    let city = City::new(1);
    let report = |s: i64, speed_kmh: f64, recv_s: i64| {
        json!({"device_id": "D0", "device_time": START_MS + s * 1_000, "recv_time": START_MS + recv_s * 1_000,
            "lat": 22.5, "lon": 113.9, "speed_kmh": speed_kmh})
    };
    let fast = [0, 10, 20].map(|s| report(s, 80.0, s));
    let reports = [&fast[..], &[report(30, 40.0, 30), report(50, 40.0, 50), report(15, 40.0, 90)]].concat();
    let input = city.file("reports.jsonl", &reports);
    let run = |more: &[&str]| {
        let mut command = program();
        command.arg("explain").args(more).arg("--registry").arg(city.registry()).arg("--rules").arg(city.rules());
        command.arg("--input").arg(&input).output().unwrap()
    };
    // There is but one, so every beginning is enough.
    let output = run(&["", "--json"]);
    let found: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!((&found["alert"]["state"], &found["reproduced"]), (&json!("withdrawn"), &Json::Null));
    let changes: Vec<&Json> = found["told"].as_array().unwrap().iter().map(|told| &told["change"]).collect();
    assert_eq!(changes.first().zip(changes.last()), Some((&&json!("opened"), &&json!("withdrawn"))), "{changes:?}");
    let late = found["steps"].as_array().unwrap().iter().find(|step| step["verdict"] == "false").unwrap();
    let times = [&late["event_time"], &late["recv_time"]].map(|time| time.as_str().unwrap());
    assert_eq!(times, ["2026-03-01T14:00:15.000Z", "2026-03-01T14:01:30.000Z"], "the late report stands in its place");
    let told = text(&run(&[""]).stdout);
    for part in ["withdrawn: a late report of", "it was not so", "arrived 1 min 15 s later", "used (out of order)"] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn every_alert_of_real_trucks_comes_again() {
    let Some(athens) = real_data("athens-concrete-trucks") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = Replay::run(
        athens.join("registry"),
        root().join("rules"),
        athens.join("reports.jsonl.gz"),
        folder.path().join("alerts.jsonl"),
    );
    assert!(run.all() > 500);
}

fn explain(data: &Path, more: &[&str]) -> Output {
    program().arg("explain").args(more).arg("--data").arg(data).output().unwrap()
}

fn register(served: &Served, entity: &str, rows: &Json) {
    let answer = served.post(&format!("/api/v1/registry/{entity}"), rows);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_a_running_engine_told_comes_again_by_what_was_in_force() {
    let (city, broker) = (City::new(3), Mosquitto::start());
    let data = city.folder.path().join("data");
    // What is older than three days would not be judged when it comes late.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start_ms = now.as_millis() as i64 - 3_600_000;
    let reports = city.reports(60, start_ms);
    let served = Served::start(&broker.address(), &data, &city.registry(), &city.rules());
    let send = |part: &[Json], sent: usize| {
        run(publish(&broker, part));
        wait_for("the part to be committed", || (served.received() == sent as u64).then_some(()));
    };
    send(&reports[..60], 60);
    register(
        &served,
        "vehicles",
        &json!([{"vehicle_id": "V1", "plate": "粤B99999", "device_id": "D1", "company_id": "C1", "status": "active"}]),
    );
    send(&reports[60..100], 100);
    let rules = city.rules().join("speed.yaml");
    let before = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, before.replace("speed_kmh > 60\n    for: 20s", "speed_kmh > 70\n    for: 30s")).unwrap();
    let version = |served: &Served| served.json("/api/v1/rules")["rules"][0]["version"].clone();
    let first = version(&served);
    wait_for("the rules to be loaded again", || (version(&served) != first).then_some(()));
    // Of the last truck some come late, when all else is there.
    let is_late = |report: &Json| report["device_id"] == "D2" && report["speed_kmh"].as_f64() > Some(60.0);
    let (late, in_time): (Vec<Json>, Vec<Json>) = reports[100..].iter().cloned().partition(is_late);
    send(&in_time, 100 + in_time.len());
    send(&late, 180);

    let mut known = alerts(&served);
    let versions: BTreeSet<String> = known.values().map(|alert| alert["rule_version"].to_string()).collect();
    assert_eq!(versions.len(), 2, "alerts by both sets of rules: {known:?}");
    let all = known.clone();
    let (old, new) = (
        all.iter().find(|(_, alert)| alert["rule_version"] == first).unwrap(),
        all.iter().find(|(_, alert)| alert["rule_version"] != first).unwrap(),
    );
    for (id, alert) in [old, new] {
        let found = served.json(&format!("/api/v1/alerts/{id}/evidence"));
        assert_eq!((&found["reproduced"], &found["alert"]), (&json!(true), alert), "{}", found["differences"]);
        assert_eq!(found["rule"]["version"], alert["rule_version"]);
        let limit = if alert["rule_version"] == first { "speed_kmh > 60" } else { "speed_kmh > 70" };
        assert!(found["rule"]["text"].as_str().unwrap().contains(limit), "{}", found["rule"]);
    }
    let (status, body) = served.get("/api/v1/alerts/nothing/evidence");
    assert!(status == 404 && body.contains("there is no alert"), "{status} {body}");
    let check = |when: &str, count: usize| {
        let output = explain(&data, &["--all"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{when}: {said}{}", text(&output.stderr));
        assert!(said.contains(&format!("{count} of {count} alerts reproduced")), "{when}: {said}");
    };
    check("beside it", known.len());
    assert_eq!(served.stop(), Some(0));
    check("after it", known.len());
    let served = Served::start(&broker.address(), &data, &city.registry(), &city.rules());
    run(publish(&broker, &city.reports(90, start_ms)[180..]));
    wait_for("the rest to be committed", || (served.received() == 270).then_some(()));
    known = alerts(&served);
    assert!(known.values().any(|alert| alert["retrospective"] == true), "nothing was found late");
    check("after another start", known.len());
    assert_eq!(served.stop(), Some(0));
    let told = text(&explain(&data, &[&old.0[..10]]).stdout);
    for part in ["REPRODUCED byte for byte", "speed_kmh > 60", "FIRES AS", "vehicles V"] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}
