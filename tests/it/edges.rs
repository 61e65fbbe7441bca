//! What a receiver, a clock or a map cannot tell is held against nobody: small worlds, each with a story, judged as a user would judge a
//! file.

use std::fs;

use serde_json::{Value as Json, json};

use crate::support::program;

/// A folder with a registry, rules and reports.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new(registry: &[(&str, &str)], rules: &str, lines: &[Json]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("city")).unwrap();
        fs::create_dir(at("rules")).unwrap();
        registry.iter().for_each(|(name, text)| fs::write(at("city").join(name), text).unwrap());
        fs::write(at("rules/a.yaml"), rules).unwrap();
        fs::write(at("reports.jsonl"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        Self { folder }
    }

    fn run(&self, words: &[&str], output: &str) -> Vec<Json> {
        let shared = ["--registry", "city", "--input", "reports.jsonl"];
        let ran = program().args(words).args(shared).current_dir(self.folder.path()).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        let text = fs::read_to_string(self.folder.path().join(output)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Rule, vehicle and day of each alert.
    fn alerts(&self, format: &str) -> Vec<String> {
        let found =
            self.run(&["replay", "--format", format, "--rules", "rules", "--alerts", "alerts.jsonl"], "alerts.jsonl");
        let text = |alert: &Json, field: &str| alert[field].as_str().unwrap().to_owned();
        found
            .iter()
            .map(|alert| {
                format!("{} {} {}", text(alert, "rule_id"), text(alert, "vehicle_id"), &text(alert, "fired_at")[..10])
            })
            .collect()
    }

    fn facts(&self, columns: &str) -> Vec<Json> {
        self.run(&["facts", "--columns", columns, "--output", "facts.jsonl"], "facts.jsonl")
    }
}

const VEHICLES: &str = "vehicle_id,plate,device_id,company_id,status\nT1,粤B10001,D1,,active\n";
const START_MS: i64 = 1_772_373_600_000; // 2026-03-01T14:00:00Z, 22:00 in China

fn square(id: &str, kind: &str, lon: f64, lat: f64, side: f64) -> String {
    let (east, north) = (lon + side, lat + side);
    format!(
        r#"{{"type":"Feature","properties":{{"place_id":"{id}","name":"{id}","kind":"{kind}"}},"geometry":{{"type":"Polygon","coordinates":[[[{lon},{lat}],[{east},{lat}],[{east},{north}],[{lon},{north}],[{lon},{lat}]]]}}}}"#
    )
}

fn collection(features: &[String]) -> String {
    format!(r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{}]}}"#, features.join(","))
}

/// A report of D1 so many seconds on.
fn report(s: i64, lon: f64, lat: f64, more: Json) -> Json {
    let mut line = json!({"device_id": "D1", "device_time": START_MS + s * 1000, "lon": lon, "lat": lat});
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

fn rule(id: &str, when: &str) -> String {
    format!("rules:\n  - id: {id}\n    when: {when}\n    severity: critical\n    departments: [urban_mgmt]\n")
}

/// The raised body shades the antenna, and the device falls back to cell towers: a kilometre off, as it says itself.
#[test]
fn a_fix_that_may_be_a_mile_off_does_not_put_a_tipping_truck_out_of_its_sink() {
    let places = collection(&[square("SNK", "sink", 114.05, 22.5, 0.004)]);
    let tips = rule("tips-outside", "lift = 'full' and not in_approved_place");
    for (lon, accuracy_m, expected) in [(114.062, 1200, 0), (114.062, 900, 0), (114.062, 12, 1), (114.2, 1200, 1)] {
        let lines: Vec<Json> = (0..12)
            .map(|n| match n {
                0..4 => report(n * 30, 114.052, 22.502, json!({"speed_kmh": 0, "lift": "flat", "accuracy_m": 6})),
                _ => report(n * 30, lon, 22.502, json!({"speed_kmh": 0, "lift": "full", "accuracy_m": accuracy_m})),
            })
            .collect();
        let found =
            World::new(&[("vehicles.csv", VEHICLES), ("places.geojson", &places)], &tips, &lines).alerts("native");
        // A leap of fifteen kilometres is none that a truck makes.
        let expected = if lon > 114.1 { 0 } else { expected };
        assert_eq!(found.len(), expected, "{lon} ±{accuracy_m} m: {found:?}");
    }
}

/// An expressway on stilts over a street: no receiver tells them apart.
#[test]
fn of_two_roads_above_one_another_the_higher_limit_counts() {
    let road = |id: &str, class: &str, limit: u32, lat: f64| {
        format!(
            r#"{{"type":"Feature","properties":{{"road_id":"{id}","name":"{id}","class":"{class}","speed_limit_kmh":{limit}}},"geometry":{{"type":"LineString","coordinates":[[114.0,{lat}],[114.1,{lat}]]}}}}"#
        )
    };
    let fast = rule("fast", "speed_kmh > speed_limit_kmh * 1.1");
    for (apart, kmh, expected) in [(0.000_03, 57.0, 0), (0.000_03, 75.0, 1), (0.002, 57.0, 1)] {
        let roads = collection(&[road("below", "primary", 40, 22.5), road("above", "trunk", 60, 22.5 + apart)]);
        let lines: Vec<Json> = (0..20)
            .map(|n| {
                let lon = 114.01 + kmh / 3.6 * (n * 10) as f64 / 102_800.0;
                report(n * 10, lon, 22.500_01, json!({"speed_kmh": kmh, "heading_deg": 90}))
            })
            .collect();
        let found =
            World::new(&[("vehicles.csv", VEHICLES), ("roads.geojson", &roads)], &fast, &lines).alerts("native");
        assert_eq!(found.len(), expected, "{apart}° apart at {kmh} km/h: {found:?}");
    }
}

/// A queue creeps along the fence while fixes wander over it by twelve metres; then the truck leaves.
#[test]
fn a_truck_leaves_a_site_once_however_its_fix_wanders_at_the_gate() {
    let places = collection(&[square("SRC", "source", 114.05, 22.5, 0.004)]);
    for seed in 1..6_u32 {
        let mut chance = seed;
        let mut jitter = || {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(chance >> 16) / 65_535.0 - 0.5) * 24.0 / 102_800.0
        };
        let lines: Vec<Json> = (0..90)
            .map(|n| {
                let away = if n < 80 { 0.0 } else { f64::from(n - 79) * 0.001 };
                let kmh = if n < 80 { 3 } else { 37 };
                let lon = 114.054 - 0.000_04 + f64::from(n.min(80)) * 0.000_000_3 + away + jitter();
                report(i64::from(n) * 10, lon, 22.502, json!({"speed_kmh": kmh}))
            })
            .collect();
        let facts = World::new(&[("vehicles.csv", VEHICLES), ("places.geojson", &places)], "", &lines)
            .facts("trip_id,place_id");
        let trips: std::collections::BTreeSet<&str> = facts.iter().filter_map(|row| row["trip_id"].as_str()).collect();
        let leaves = facts.windows(2).filter(|two| two[0]["place_id"] == "SRC" && two[1]["place_id"].is_null()).count();
        assert_eq!((trips.len(), leaves), (1, 1), "seed {seed}");
    }
}

/// A truck has a permit for the morning and another for the night; what it carries is the morning's.
#[test]
fn the_permit_that_the_open_manifest_names_is_the_one_whose_hours_count() {
    let permits = "permit_id,vehicle_id,source_id,sink_ids,windows,status\nAM,T1,,,06:00-10:00,valid\nPM,T1,,,21:00-23:00,valid\n";
    let line = [report(60, 114.0, 22.5, json!({"speed_kmh": 30, "load": "full"}))];
    for (named, expected) in [("AM", json!(["AM", false])), ("PM", json!(["PM", true])), ("", json!(["PM", true]))] {
        let manifests = format!("manifest_id,vehicle_id,permit_id,opened_at,closed_at\nM,T1,{named},{START_MS},\n");
        let files = [("vehicles.csv", VEHICLES), ("permits.csv", permits), ("manifests.csv", &manifests)];
        let facts = World::new(&files, "", &line).facts("permit_id,in_permit_window");
        assert_eq!(
            json!([facts[0]["permit_id"], facts[0]["in_permit_window"]]),
            expected,
            "the manifest names {named:?}"
        );
    }
}

/// One camera's clock is nine minutes behind: the truck would have driven 600 km/h between two gates.
#[test]
fn a_plate_is_on_two_trucks_only_where_no_clock_explains_it() {
    let cloned = rule("cloned", "sighting_implied_kmh > 200");
    let seen = |gate: &str, device_s: i64, recv_s: i64, lon: f64| {
        json!({"type": "sighting", "sensor_id": gate, "kind": "anpr", "plate": "粤B10001", "lon": lon, "lat": 22.5,
            "device_time": START_MS + device_s * 1000, "recv_time": START_MS + recv_s * 1000})
    };
    for (second, expected) in [
        // Ten minutes for ten kilometres, but the second clock says one minute.
        (seen("B", 60, 601, 114.1), 0),
        (seen("B", 600, 601, 114.1), 0),
        (seen("B", 60, 61, 114.1), 1),
    ] {
        let lines = [seen("A", 0, 1, 114.0), second.clone()];
        let found = World::new(&[("vehicles.csv", VEHICLES)], &cloned, &lines).alerts("native");
        assert_eq!(found.len(), expected, "{second}: {found:?}");
    }
}

/// Weeks are counted from anew after 1,024, a clock that lost its power begins in 1980, and others were never set: on live reports all
/// of them are judged as of now, and who presses the button is heard.
#[test]
fn a_wrong_clock_costs_no_alarm_and_dates_none_back() {
    let sos = rule("sos", "array_has(alarms, 'sos')");
    let weeks = 1_024 * 7 * 86_400;
    for (what, off_s) in [
        ("right", 0),
        ("a week rollover", -weeks),
        ("a reset to 1980", 315_964_800 - START_MS / 1000),
        ("hours behind", -8 * 3600),
    ] {
        let lines: Vec<Json> = (0..10)
            .map(|n| {
                let alarms = if n == 9 { json!(["sos"]) } else { json!([]) };
                let mut line = report(
                    n * 10,
                    114.0,
                    22.5,
                    json!({"speed_kmh": 0, "alarms": alarms, "recv_time": START_MS + n * 10_000 + 300}),
                );
                line["device_time"] = json!(START_MS + (n * 10 + off_s) * 1000);
                line
            })
            .collect();
        let found = World::new(&[("vehicles.csv", VEHICLES)], &sos, &lines).alerts("native");
        assert_eq!(found, ["sos T1 2026-03-01"], "{what}");
    }
}

/// A tracker and a dashcam of one truck, ten reports of each, and the button of the dashcam is pressed.
fn two_devices(tracker_off_s: i64, camera_off_s: i64) -> World {
    let rules = format!(
        "{}  - id: clock\n    when: clock_skew_s < -120\n    min_samples: 10\n    severity: notice\n    departments: [company]\n",
        rule("sos", "array_has(alarms, 'sos')")
    );
    let line = |n: i64, device: &str, off_s: i64, lon: f64, alarms: Json| {
        let came_ms = START_MS + n * 10_000 + 300;
        let more = json!({"device_id": device, "speed_kmh": 40, "alarms": alarms, "recv_time": came_ms,
            "device_time": START_MS + (n * 10 + off_s) * 1_000});
        report(0, lon, 22.5, more)
    };
    let of_both = |n: i64| {
        let lon = 114.0 + n as f64 * 0.001;
        let alarms = if n == 25 { json!(["sos"]) } else { json!([]) };
        [line(n, "D1", tracker_off_s, lon, json!([])), line(n, "C1", camera_off_s, lon + 0.0003, alarms)]
    };
    let lines: Vec<Json> = (0..30).flat_map(of_both).collect();
    World::new(&[("vehicles.csv", &VEHICLES.replace("D1", "D1 C1"))], &rules, &lines)
}

/// Beside a dashcam whose clock is a second ahead, all that a tracker sends with a wrong clock comes a second too late.
#[test]
fn a_wrong_clock_is_told_beside_one_that_is_a_little_ahead() {
    for (off_s, expected) in [(-8 * 3600, 1), (0, 0)] {
        let found = two_devices(off_s, 1).alerts("native");
        let clocks = found.iter().filter(|alert| **alert == "clock T1 2026-03-01").count();
        assert_eq!((clocks, found.len()), (expected, expected + 1), "{off_s}: {found:?}");
    }
}

/// Where the truck was, the tracker told; the dashcam told that the button was pressed. The evidence says which is which.
#[test]
fn evidence_shows_whose_positions_were_followed() {
    let world = two_devices(0, 0);
    assert_eq!(world.alerts("native"), ["sos T1 2026-03-01"]);
    let files = ["--registry", "city", "--rules", "rules", "--input", "reports.jsonl", "--alerts", "alerts.jsonl"];
    let alert = fs::read_to_string(world.folder.path().join("alerts.jsonl")).unwrap();
    let alert: Json = serde_json::from_str(alert.trim()).unwrap();
    let id = alert["alert_id"].as_str().unwrap();
    let ran = program().args(["explain", id, "--json"]).args(files).current_dir(world.folder.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let evidence: Json = serde_json::from_slice(&ran.stdout).unwrap();
    let reports = evidence["reports"].as_array().unwrap();
    let of = |device: &str| reports.iter().filter(|one| one["content"]["device_id"] == device).collect::<Vec<_>>();
    assert!(of("D1").len() > 10 && of("D1").iter().all(|one| one["position_used"] == true), "{reports:#?}");
    assert!(of("C1").len() > 10 && of("C1").iter().all(|one| one["position_used"] == false), "{reports:#?}");
    let used: Vec<_> = of("C1").into_iter().filter(|one| one["used"] == true).collect();
    assert!(matches!(&used[..], [one] if one["content"]["alarms"][0] == "sos"), "{used:#?}");
}

/// It stands with its engine on and says where it is twice an hour, but lives every minute.
#[test]
fn a_terminal_that_sends_heartbeats_is_not_silent() {
    let silent = rule("silent", "silent_s >= 300");
    let vehicles = VEHICLES.replace("D1", "13900000001");
    let message = |s: i64, header: i64, body: Json| {
        json!({"tst": format!("2026-03-01T22:{:02}:{:02}.000000+0800", s / 60, s % 60), "topic": "jt808/c/013900000001/up",
            "payload": {"header": {"msg_id": header, "phone": "013900000001", "msg_sn": s}, "body": body}})
    };
    let place = json!({"alarm": 0, "status": 3, "latitude": 22_500_000, "longitude": 114_000_000, "altitude": 5, "speed": 0,
        "direction": 0, "time": "260301220000"});
    for (every_s, expected) in [(60, 0), (0, 1)] {
        let mut lines = vec![message(0, 0x200, place.clone())];
        lines.extend((1..40).filter(|_| every_s > 0).map(|n| message(n * every_s, 2, json!({}))));
        // Somebody else goes on, so that time passes.
        let other = |n: i64| {
            let mut other = message(n * 60, 2, json!({}));
            other["topic"] = "jt808/c/013900000002/up".into();
            other["payload"]["header"]["phone"] = "013900000002".into();
            other
        };
        lines.extend((1..40).map(other));
        lines.sort_by_key(|line| line["tst"].as_str().unwrap().to_owned());
        let found = World::new(&[("vehicles.csv", &vehicles)], &silent, &lines).alerts("emqx-jt808");
        let of_ours = found.iter().filter(|alert| alert.contains("T1")).count();
        assert_eq!(of_ours, expected, "a heartbeat every {every_s} s: {found:?}");
    }
}
