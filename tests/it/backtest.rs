//! Other rules over what came: over a file, and over the history of a data folder.

use std::{fs, path::Path, process::Output};

use muckwatch::{
    ingest::{Admission, AdmissionSettings, Decoder, Format},
    journal::{Journal, JournalSettings},
    model::{Body, Datum, Record, Time},
    registry::Registry,
};
use serde_json::{Value as Json, json};

use crate::{
    city::{City, START_MS},
    support::{alerts_of_file, program, replay},
};

/// Three trucks that drive at 65, 75 and 85 km/h for a while in each hundred seconds, and rules beside those in force.
struct Trial {
    city: City,
    input: std::path::PathBuf,
}

impl Trial {
    fn new() -> Self {
        let city = City::new(3);
        let input = city.file("reports.jsonl", &city.reports(80, START_MS));
        Self { city, input }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.city.folder.path().join(name)
    }

    /// The rules in force with something else in them.
    fn rules(&self, name: &str, from: &str, to: &str) -> std::path::PathBuf {
        let text = fs::read_to_string(self.city.rules().join("speed.yaml")).unwrap();
        assert!(text.contains(from));
        fs::create_dir_all(self.path(name)).unwrap();
        fs::write(self.path(name).join("speed.yaml"), text.replace(from, to)).unwrap();
        self.path(name)
    }

    fn run(&self, rules: &Path, against: &Path, more: &[&str]) -> Output {
        let mut command = program();
        command.args(["rules", "backtest"]).args(more);
        for (name, path) in [("--rules", rules), ("--against", against), ("--json", &self.path("out.json"))] {
            command.arg(name).arg(path);
        }
        command.output().unwrap()
    }

    fn over_file(&self, rules: &Path, more: &[&str]) -> Output {
        self.over_file_against(&self.city.rules(), rules, more)
    }

    fn over_file_against(&self, against: &Path, rules: &Path, more: &[&str]) -> Output {
        let (registry, input) = (self.city.registry(), self.input.clone());
        let paths = ["--registry", registry.to_str().unwrap(), "--input", input.to_str().unwrap()];
        self.run(rules, against, &[&paths, more].concat())
    }

    fn json(&self) -> Json {
        serde_json::from_str(&fs::read_to_string(self.path("out.json")).unwrap()).unwrap()
    }

    /// The reports as `serve` would have kept them.
    fn write_history(&self, data: &Path) {
        let registry = Registry::read_dir(&self.city.registry(), &muckwatch::model::Zone::china()).unwrap();
        let decoder = Decoder::new(Format::Native, "", Datum::Wgs84);
        let mut admission = Admission::new(AdmissionSettings::default());
        let mut decoded = Vec::new();
        let text = fs::read_to_string(&self.input).unwrap();
        text.lines().for_each(|line| decoder.decode_line(line.as_bytes(), "line", &mut decoded));
        let admit = |one: muckwatch::ingest::Decoded| {
            let Body::Device(report) = &one.body else { panic!("a report") };
            let at = report.device_time;
            admission.admit(one, at, |device: &str| registry.device_is_registered(device))
        };
        let records: Vec<Record> = decoded.into_iter().map(admit).collect();
        let (mut journal, _) = Journal::open(&data.join("journal"), JournalSettings::default()).unwrap();
        records.chunks(50).for_each(|batch| assert_eq!(journal.append(batch).unwrap().count(), batch.len()));
        journal.close().unwrap();
        let import = program().args(["registry", "import"]).arg(self.city.registry()).arg("--data").arg(data).output();
        assert!(import.unwrap().status.success());
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_higher_limit_loses_exactly_the_slowest_trucks_alerts_and_a_lower_one_gains_them() {
    let trial = Trial::new();
    let faster = trial.rules("faster", "when: speed_kmh > 60\n", "when: speed_kmh > 70\n");
    let alerts = trial.path("alerts.jsonl");
    replay(&[], &trial.city.registry(), &trial.city.rules(), &trial.input, &alerts);
    let all = alerts_of_file(&alerts);
    let slowest: Vec<&str> = all.iter().filter(|(_, alert)| alert["vehicle_id"] == "V0").map(|(id, _)| &**id).collect();
    assert!(slowest.len() > 6, "{slowest:?}");

    let output = trial.over_file(&faster, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "a difference alone is no failure\n{text}");
    let told = trial.json();
    let comparison = &told["comparison"];
    let ids = |alerts: &Json| {
        let mut ids: Vec<String> =
            alerts.as_array().unwrap().iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&comparison["lost"]), slowest);
    let (before, lost) = (all.len(), slowest.len());
    let counts = json!({ "before": before, "after": before - lost, "gained": 0, "lost": lost, "changed": 0 });
    for (part, name) in [("rules", "fast"), ("days", "2026-03-01"), ("departments", "traffic_police")] {
        assert_eq!(comparison[part][name], counts, "{part}");
    }
    assert_eq!(comparison["all"], counts);
    assert_eq!(comparison["vehicles"]["V0"]["lost"], lost);
    assert_eq!(comparison["vehicles"]["V1"]["lost"], 0);
    // Six orders about one truck within an hour are enough.
    let load = json!({ "before": 18, "after": 12 });
    assert_eq!(comparison["orders"]["2026-03-01"]["departments"]["traffic_police"], load, "{text}");
    assert_eq!(comparison["orders"]["2026-03-01"]["kinds"]["squad"], load);
    assert_eq!(told["rule_changes"], json!({ "changed": ["fast"] }));
    assert!(
        text.contains(&format!("0 gained, {lost} lost, 0 changed")) && text.contains("240 reports of 3 vehicles"),
        "{text}"
    );

    // The other way round, in parallel.
    fs::rename(trial.city.rules(), trial.path("slower")).unwrap();
    fs::rename(&faster, trial.city.rules()).unwrap();
    assert_eq!(trial.over_file(&trial.path("slower"), &["--shards", "2", "--fail-on-diff"]).status.code(), Some(1));
    let comparison = &trial.json()["comparison"];
    assert_eq!(ids(&comparison["gained"]), slowest);
    assert_eq!(comparison["all"]["lost"], 0);
}

#[test]
fn judging_only_what_changed_finds_the_same_differences() {
    let trial = Trial::new();
    let other = "  - { id: far, when: speed_kmh > 70, departments: [water] }\n";
    let rules = |name: &str, limit: &str| {
        let folder = trial.rules(name, "when: speed_kmh > 60\n", limit);
        let file = folder.join("speed.yaml");
        fs::write(&file, format!("{}{other}", fs::read_to_string(&file).unwrap())).unwrap();
        folder
    };
    let same = rules("same", "when: speed_kmh > 60\n");
    let faster = rules("faster", "when: speed_kmh > 70\n");
    let found = |more: &[&str]| {
        let output = trial.over_file_against(&same, &faster, more);
        (trial.json()["comparison"].take(), said(&output))
    };
    let (whole, _) = found(&[]);
    let (narrow, text) = found(&["--only-changed"]);
    assert!(text.contains("judged, of both sets: fast\n"), "{text}");
    assert!(!whole["lost"].as_array().unwrap().is_empty());
    for part in ["gained", "lost", "changed"] {
        assert_eq!(narrow[part], whole[part], "{part}");
    }
    assert_eq!(narrow["rules"]["fast"], whole["rules"]["fast"]);
    assert!(whole["rules"]["far"]["before"].as_u64() > Some(0) && narrow["rules"]["far"].is_null(), "{narrow}");
    // Where nothing differs there is nothing to judge, and all is as it was.
    let output = trial.over_file_against(&same, &same, &["--only-changed", "--fail-on-diff"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("judged, of both sets: none"), "{}", said(&output));
}

#[test]
fn what_changed_is_named_and_the_status_says_whether_all_is_as_it_was() {
    let trial = Trial::new();
    let same = trial.rules("same", "when: speed_kmh > 60\n", "when:   speed_kmh > 60 # as before\n");
    let output = trial.over_file(&same, &["--fail-on-diff"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("none differs"), "{}", said(&output));
    let graver = trial.rules("graver", "speed_kmh > 90", "speed_kmh > 80");
    let output = trial.over_file(&graver, &["--fail-on-diff"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let comparison = &trial.json()["comparison"];
    assert_eq!([&comparison["all"]["gained"], &comparison["all"]["lost"]], [0, 0]);
    for changed in comparison["changed"].as_array().unwrap() {
        assert_eq!((&changed["fields"], &changed["before"]["vehicle_id"]), (&json!(["severity"]), &json!("V2")));
    }
    assert!(text.contains(r#"severity: "major" -> "critical""#), "{text}");
    // The cap of orders is not for the critical.
    assert!(comparison["orders"]["2026-03-01"]["after"].as_u64() > Some(18), "{text}");
    let shadow = trial.rules("shadow", "id: fast\n", "id: fast\n    shadow: true\n");
    trial.over_file(&shadow, &[]);
    let comparison = &trial.json()["comparison"];
    assert_eq!(comparison["orders"]["2026-03-01"]["after"], 0, "a shadow rule sends nobody");
    assert_eq!(comparison["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["shadow"]);
}

#[test]
fn history_says_the_same_as_the_file_it_came_from() {
    let trial = Trial::new();
    let faster = trial.rules("faster", "when: speed_kmh > 60\n", "when: speed_kmh > 70\n");
    trial.over_file(&faster, &[]);
    let of_file = trial.json();
    let data = trial.path("data");
    trial.write_history(&data);
    let since =
        |since: &str| trial.run(&faster, &trial.city.rules(), &["--since", since, "--data", data.to_str().unwrap()]);
    let output = since("2026-03-01T00:00:00+08:00");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(trial.json(), of_file);
    // Of the second half only.
    let middle = Time::from_millis(START_MS + 400_000).to_string();
    assert!(since(&middle).status.success());
    assert_eq!(trial.json()["reports"], 120);
    let output = since("2026-03-02T00:00:00Z");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("holds no report since 2026-03-02 08:00:00"), "{}", said(&output));
}

#[test]
fn a_simulated_history_holds_what_the_file_of_the_same_fleet_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let rules = crate::support::root().join("rules").to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| program().args(arguments).output().unwrap();
    let simulate = |to: &[&str]| {
        let fleet = ["simulate", "--trucks", "12", "--interval", "5s", "--duration", "20m", "--seed", "3", "--late"];
        run(&[&fleet, to].concat())
    };
    assert!(simulate(&["--output", &path("reports.jsonl"), "--write-city", &path("city")]).status.success());
    let kept = simulate(&["--history", &path("data")]);
    assert!(kept.status.success(), "{}", said(&kept));
    let compare = |of: &[&str], to: &str| -> Json {
        let sets =
            ["rules", "backtest", "--rules", &rules, "--against", &rules, "--registry", &path("city"), "--json", to];
        let output = run(&[&sets, of].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_str(&fs::read_to_string(to).unwrap()).unwrap()
    };
    let file = compare(&["--input", &path("reports.jsonl")], &path("file.json"));
    let history = compare(&["--since", "2026-01-01T00:00:00Z", "--data", &path("data")], &path("history.json"));
    assert!(file["comparison"]["all"]["before"].as_u64() > Some(0), "{file}");
    assert_eq!(history["comparison"]["rules"], file["comparison"]["rules"]);
    assert_eq!((&history["reports"], &history["to"]), (&file["reports"], &file["to"]));
    let again = simulate(&["--history", &path("data")]);
    assert!(!again.status.success() && said(&again).contains("holds a history already"), "{}", said(&again));
}

/// A folder with one new rule, tried beside those in force: the alerts of these stay, and only the new ones come.
#[test]
fn a_folder_may_add_to_the_rules_in_force() {
    let trial = Trial::new();
    let extra = trial.path("extra");
    fs::create_dir(&extra).unwrap();
    fs::write(extra.join("mine.yaml"), "rules:\n  - { id: my-rule, when: speed_kmh > 80, for: 5s }\n").unwrap();
    let output = trial.over_file(&extra, &["--add"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = trial.json();
    let all = &told["comparison"]["all"];
    assert_eq!((&all["lost"], &all["changed"]), (&json!(0), &json!(0)), "{all}");
    assert!(all["gained"].as_u64() > Some(0), "{all}");
    assert_eq!(told["rule_changes"], json!({ "added": ["my-rule"] }));
    // A rule that is there already is named.
    fs::copy(trial.city.rules().join("speed.yaml"), extra.join("speed.yaml")).unwrap();
    let output = trial.over_file(&extra, &["--add"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn what_cannot_be_done_is_said() {
    let trial = Trial::new();
    let bad = trial.rules("bad", "speed_kmh > 60\n", "sped_kmh > 60\n");
    let output = trial.over_file(&bad, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("speed.yaml:4:") && text.contains("did you mean `speed_kmh`?"), "{text}");
    let missing = trial.path("missing");
    for (more, expected) in [
        (&["--since", "7d", "--data", missing.to_str().unwrap()][..], "registry.sqlite is missing"),
        (&["--since", "often"], "neither a duration such as 7d nor a time"),
        (&[], "--since"),
    ] {
        let output = trial.run(&trial.city.rules(), &trial.city.rules(), more);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(expected), "{expected} is not in:\n{}", said(&output));
    }
    let empty = trial.city.file("empty.jsonl", &[]);
    let paths = ["--registry", &trial.city.registry().display().to_string(), "--input", empty.to_str().unwrap()];
    let output = trial.run(&trial.city.rules(), &trial.city.rules(), &paths);
    assert_eq!((output.status.code(), said(&output).contains("the input holds no report")), (Some(2), true));
}
