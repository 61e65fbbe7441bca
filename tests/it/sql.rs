//! What was kept, asked in SQL: beside the running engine and after it.

use std::{fs, path::Path, process::Output};

use serde_json::{Value as Json, json};

use crate::{
    city::{City, START_MS},
    line::{publish, run},
    support::{Mosquitto, Served, alerts, program, wait_for},
};

fn sql(data: &Path, more: &[&str]) -> Output {
    program().arg("sql").args(more).arg("--data").arg(data).output().unwrap()
}

/// The answer to a query, a value for each row.
fn rows(data: &Path, query: &str) -> Vec<Json> {
    let output = sql(data, &["--format", "json", query]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{query}\n{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn refused(data: &Path, more: &[&str]) -> String {
    let output = sql(data, more);
    assert!(!output.status.success() && output.stdout.is_empty(), "{more:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A source and a sink on the way of the first truck.
fn add_places(city: &City) {
    let place = |id: &str, kind: &str, west: f64| {
        let (east, south, north) = (west + 0.004, 22.498, 22.502);
        let ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
        json!({"type": "Feature", "properties": {"place_id": id, "kind": kind},
            "geometry": {"type": "Polygon", "coordinates": [ring]}})
    };
    let places = [place("SITE", "source", 113.8985), place("TIP", "sink", 113.9195)];
    let file = json!({"type": "FeatureCollection", "datum": "wgs84", "features": places});
    fs::write(city.registry().join("places.geojson"), file.to_string()).unwrap();
}

fn has_merged(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.to_str().unwrap().contains("-to-") || has_merged(&path))
}

#[test]
fn what_was_kept_is_asked_beside_the_running_engine_and_after_it() {
    let (city, broker) = (City::new(3), Mosquitto::start());
    add_places(&city);
    let data = city.folder.path().join("data");
    let reports = city.reports(40, START_MS);
    let mut serve = program();
    // Small segments, and merged soon.
    serve.env("MUCKWATCH_JOURNAL__SEGMENT_BYTES", "4096").env("MUCKWATCH_JOURNAL__COMPACT_BYTES", "60000");
    let served = Served::start_with(serve, &broker.address(), &data, &city.registry(), &city.rules());
    let mut sent = 0;
    for part in reports.chunks(15) {
        run(publish(&broker, part));
        sent += part.len() as u64;
        wait_for("the part to be committed", || (served.received() == sent).then_some(()));
        assert_eq!(rows(&data, "select count(*) n from telemetry"), [json!({"n": sent})]);
    }
    wait_for("segments to be merged", || has_merged(&data.join("journal/history")).then_some(()));
    let known = alerts(&served);
    assert!(known.len() > 5, "only {} alerts", known.len());

    let ask_all = || {
        assert_eq!(rows(&data, "select count(*) n from telemetry"), [json!({"n": reports.len()})]);
        let listed =
            rows(&data, "select alert_id, fired_at, departments, facts, severity from alerts order by fired_at");
        assert_eq!(listed.len(), known.len());
        for alert in &listed {
            let api = &known[alert["alert_id"].as_str().unwrap()];
            for name in ["fired_at", "departments", "severity"] {
                assert_eq!(alert[name], api[name], "{name} of {alert}");
            }
            let facts: Json = serde_json::from_str(alert["facts"].as_str().unwrap()).unwrap();
            assert_eq!(facts, api["facts"]);
        }
        assert_eq!(
            rows(&data, "select count(*) n from dispatches join alerts using (alert_id)"),
            [json!({"n": known.len()})]
        );
        let trips = rows(&data, "select * from trips");
        assert_eq!(trips.len(), 1, "{trips:?}");
        let told =
            ["vehicle_id", "plate", "source_id", "sink_id", "started_at", "ended_at"].map(|name| &trips[0][name]);
        assert_eq!(told, ["V0", "粤B00000", "SITE", "TIP", "2026-03-01T14:00:30.000Z", "2026-03-01T14:03:20.000Z"]);
        assert_eq!(trips[0]["duration_s"], 170.0);
        assert!((1_700.0..1_800.0).contains(&trips[0]["distance_m"].as_f64().unwrap()), "{trips:?}");
        let of_trip = "select count(*) n from alerts join trips using (trip_id)";
        let with_trip = known.values().filter(|alert| alert.get("trip_id").is_some()).count();
        assert!(with_trip > 0);
        assert_eq!(rows(&data, of_trip), [json!({"n": with_trip})]);
    };
    ask_all();
    assert_eq!(served.stop(), Some(0));
    ask_all();

    // Every version of what was registered.
    let file = city.registry().join("vehicles.csv");
    let vehicles = fs::read_to_string(&file).unwrap();
    fs::write(&file, vehicles.replace("V1,粤B00001", "V1,粤B99999")).unwrap();
    let import = program().args(["registry", "import", "--data"]).arg(&data).arg(city.registry()).output().unwrap();
    assert!(import.status.success());
    let plates =
        rows(&data, "select plate, valid_to is null as now from vehicles where vehicle_id = 'V1' order by now");
    assert_eq!(plates, [json!({"plate": "粤B00001", "now": false}), json!({"plate": "粤B99999", "now": true})]);
    let place = rows(&data, "select geometry from places where place_id = 'TIP'");
    assert!(place[0]["geometry"].as_str().unwrap().contains("[113.9195,22.498]"), "{place:?}");
}

#[test]
fn answers_are_written_in_each_format_and_a_bad_question_is_answered_plainly() {
    let city = City::new(2);
    let data = city.folder.path().join("data");
    let import = program().args(["registry", "import", "--data"]).arg(&data).arg(city.registry()).output().unwrap();
    assert!(import.status.success());
    let query = "select vehicle_id, plate, max_gross_kg from vehicles order by 1";
    let text = |more: &[&str]| String::from_utf8(sql(&data, more).stdout).unwrap();
    assert_eq!(text(&["--format", "csv", query]), "vehicle_id,plate,max_gross_kg\nV0,粤B00000,\nV1,粤B00001,\n");
    assert!(text(&[query]).contains("| V0         | 粤B00000 |"), "{}", text(&[query]));
    assert_eq!(rows(&data, "select count(*) n from alerts"), [json!({"n": 0})]);
    assert_eq!(rows(&data, "select count(*) n from trips"), [json!({"n": 0})]);
    let file = city.folder.path().join("vehicles.parquet");
    let name = file.to_str().unwrap();
    assert_eq!(text(&["--format", "parquet", "--output", name, query]), "");
    let parquet = fs::read(&file).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));

    let unknown = refused(&data, &["--output", name, "select * from vehicle"]);
    assert!(unknown.contains("no table \"vehicle\"; there are alerts, blacklist"), "{unknown}");
    assert_eq!(fs::read(&file).unwrap(), parquet, "a query that is none writes nothing");
    assert!(refused(&data, &["drop table vehicles"]).contains("DDL not supported"));
    assert!(refused(&data, &["select colour from vehicles"]).contains("No field named colour"));
    assert!(refused(&data, &["--format", "parquet", query]).contains("--output"));
    assert!(refused(&data.join("nowhere"), &[query]).contains("there is no folder"));
    assert!(refused(&city.rules(), &[query]).contains("is no data folder of muckwatch"));
}

/// 20,000 terms ended the process by stack overflow; what is allowed is answered, in a debug build too.
#[test]
fn a_query_as_deep_as_is_allowed_is_answered_and_a_deeper_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("journal")).unwrap();
    let terms = |n: usize, word: &str| vec!["position > 1"; n].join(&format!(" {word} "));
    for (query, is_fine) in [
        // Each has a comparison and a word.
        (format!("select count(*) from journal where {}", terms(990, "or")), true),
        (format!("select count(*) from journal where {}", terms(990, "and")), true),
        (format!("select {}1{}", "(".repeat(40), ")".repeat(40)), true),
        (format!("select 1{}", "+1".repeat(1_900)), true),
        (format!("select count(*) from journal where {}", terms(4_000, "or")), false),
        (format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)), false),
        (format!("select {}1", "- ".repeat(10_001)), false),
        (format!("select {}true", "not ".repeat(10_000)), false),
        (format!("select 1 {}", "union all select 1 ".repeat(3_000)), false),
        (format!("select '{}'", "x".repeat(70_000)), false),
    ] {
        let output = sql(&data, &["--format", "csv", &query]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let begin: String = query.chars().take(60).collect();
        assert_eq!(output.status.code(), Some(if is_fine { 0 } else { 2 }), "{begin}: {said}");
        assert!(is_fine || said.contains("expected at most"), "{begin}: {said}");
    }
    let numbers = |name: &str| format!("(select unnest(range(0, 100000)) as {name})");
    let slow = format!("select count(*) from {} cross join {} where x * y % 7 = 3", numbers("x"), numbers("y"));
    let said = refused(&data, &["--timeout", "1s", &slow]);
    assert!(said.contains("longer than 1s: narrow it by event_time"), "{said}");
}
