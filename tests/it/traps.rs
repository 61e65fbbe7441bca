//! What has fooled others: each a story in reports, run through the whole line by `muckwatch replay` or `facts`, against
//! the pack and the city of the rules' tests (`rules/test-city`).

use std::{fs, path::PathBuf};

use muckwatch::model::Time;
use serde_json::{Value as Json, json};

use crate::support::{program, replay, root};

/// Degrees east and north.
type Spot = [f64; 2];

/// So many reports, evenly spread in time and along a straight way, each with the fields of `more`.
fn series(device_id: &str, from: &str, every_s: i64, count: usize, way: [Spot; 2], more: Json) -> Vec<Json> {
    let from: Time = from.parse().unwrap();
    let report = |n: usize| {
        let share = n as f64 / (count - 1).max(1) as f64;
        let [lon, lat] = [0, 1].map(|axis| way[0][axis] + (way[1][axis] - way[0][axis]) * share);
        let time = from.plus_ms(n as i64 * every_s * 1_000).to_string();
        let mut report = json!({ "device_id": device_id, "device_time": time, "lon": lon, "lat": lat });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    };
    (0..count).map(report).collect()
}

/// The same, arriving together at `recv_time`.
fn arriving(mut reports: Vec<Json>, recv_time: &str) -> Vec<Json> {
    reports.iter_mut().for_each(|report| report["recv_time"] = recv_time.into());
    reports
}

/// What came of reports: alerts as lines, and what was said of them.
struct Came {
    alerts: Vec<Json>,
    said: String,
}

impl Came {
    /// `rule vehicle state`, sorted, of what was judged in time.
    fn told(&self) -> Vec<String> {
        let in_time = self.alerts.iter().filter(|alert| alert["retrospective"] != true);
        let word = |alert: &Json, field: &str| alert[field].as_str().unwrap_or("-").to_owned();
        let mut told: Vec<String> =
            in_time.map(|alert| ["rule_id", "vehicle_id", "state"].map(|field| word(alert, field)).join(" ")).collect();
        told.sort();
        told
    }

    /// How many reports came to this outcome.
    fn counted(&self, outcome: &str) -> u64 {
        let mut lines = self.said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.get(1) == Some(&outcome)).unwrap_or_default();
        line.first().and_then(|count| count.parse().ok()).unwrap_or_default()
    }
}

struct City {
    folder: tempfile::TempDir,
    registry: PathBuf,
}

impl City {
    /// That of the rules' tests.
    fn of_tests() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), registry: root().join("rules/test-city") }
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = folder.path().join("registry");
        fs::create_dir(&registry).unwrap();
        files.iter().for_each(|(name, text)| fs::write(registry.join(name), text).unwrap());
        Self { folder, registry }
    }

    fn input(&self, reports: &[Json]) -> PathBuf {
        let path = self.folder.path().join("reports.jsonl");
        let lines: String = reports.iter().map(|report| format!("{report}\n")).collect();
        fs::write(&path, lines).unwrap();
        path
    }

    fn replay(&self, reports: &[Json]) -> Came {
        let alerts = self.folder.path().join("alerts.jsonl");
        let said = replay(&[], &self.registry, &root().join("rules"), &self.input(reports), &alerts);
        assert!(said.contains("balanced") && !said.contains("NOT"), "{said}");
        let lines = fs::read_to_string(alerts).unwrap();
        Came { alerts: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), said }
    }

    fn told(&self, reports: &[Json]) -> Vec<String> {
        self.replay(reports).told()
    }

    /// These columns of every report.
    fn facts(&self, reports: &[Json], columns: &str) -> Vec<Json> {
        let output = self.folder.path().join("facts.jsonl");
        let status = program()
            .arg("facts")
            .arg("--registry")
            .arg(&self.registry)
            .arg("--input")
            .arg(self.input(reports))
            .args(["--columns", columns])
            .arg("--output")
            .arg(&output)
            .status()
            .unwrap();
        assert!(status.success());
        fs::read_to_string(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The road, the route and the source of the test city lie on this parallel, from 114.0 to 114.1.
const ROAD: f64 = 22.5;

/// A batch of the hour around midnight comes after newer points: it is judged as if it had come in time. What is open now stays
/// open, and what the truck did meanwhile is found.
#[test]
fn trap_01_a_batch_across_midnight_after_newer_points_is_judged_where_it_belongs() {
    let city = City::of_tests();
    let live = |from: &str, count: usize| {
        let way = [[114.01, 22.61], [114.02, 22.61]];
        series("D6", from, 20, count, way, json!({ "speed_kmh": 15, "load": "full", "cover": "open" }))
    };
    let here = [[114.01, 22.61], [114.01, 22.61]];
    let mut batch =
        series("D6", "2026-03-01T15:50:00Z", 10, 60, here, json!({ "speed_kmh": 0, "lift": "full", "load": "empty" }));
    batch.extend(series("D6", "2026-03-01T16:00:00Z", 10, 30, here, json!({ "speed_kmh": 0, "cover": "closed" })));
    batch.iter_mut().for_each(|report| report["hist"] = true.into());
    let (before, after) = (live("2026-03-01T16:05:00Z", 6), live("2026-03-01T16:07:00Z", 6));
    let in_order = city.replay(&[batch.clone(), before.clone(), after.clone()].concat());
    let mixed = city.replay(&[before, arriving(batch, "2026-03-01T16:06:50Z"), after].concat());
    let finals = |came: &Came| -> Vec<Json> {
        let plain = |alert: &Json| {
            let mut alert = alert.clone();
            alert["retrospective"] = Json::Null;
            alert
        };
        came.alerts.iter().map(plain).collect()
    };
    assert!(mixed.told().contains(&"cover-open-loaded T6 open".to_owned()), "{:?}", mixed.told());
    assert_eq!(finals(&mixed), finals(&in_order));
    assert!(mixed.alerts.len() > 1 && mixed.alerts.iter().any(|alert| alert["retrospective"] == true));
    assert_eq!(mixed.counted("late"), 0, "{}", mixed.said);
}

#[test]
fn trap_02_a_point_sent_three_times_over_two_days_is_kept_once() {
    let city = City::of_tests();
    let way = [[114.01, 22.61], [114.02, 22.61]];
    let first =
        series("D6", "2026-03-01T08:00:00Z", 20, 6, way, json!({ "speed_kmh": 15, "load": "full", "cover": "open" }));
    let rest =
        series("D6", "2026-03-02T20:00:00Z", 20, 3, way, json!({ "speed_kmh": 15, "load": "full", "cover": "closed" }));
    let again = |recv_time| arriving(first.clone(), recv_time);
    let once = city.replay(&[first.clone(), rest.clone()].concat());
    let thrice =
        city.replay(&[first.clone(), again("2026-03-01T09:00:00Z"), again("2026-03-02T19:59:00Z"), rest].concat());
    assert!(once.told().contains(&"cover-open-loaded T6 cleared".to_owned()), "{:?}", once.told());
    let known = |came: &Came| -> Vec<Json> {
        // That it says something again is not silence.
        came.alerts.iter().filter(|alert| alert["rule_id"] != "terminal-offline").cloned().collect()
    };
    assert_eq!(known(&thrice), known(&once));
    assert_eq!((thrice.counted("duplicate"), thrice.counted("evaluated")), (12, 9), "{}", thrice.said);
}

#[test]
fn trap_03_ninety_seconds_at_a_red_light_in_a_forbidden_zone_do_not_reset_the_hold() {
    let drive =
        |from: &str, count, way| series("D6", from, 10, count, way, json!({ "speed_kmh": 20, "ignition": true }));
    let lights = [[114.0440, 22.518], [114.0440, 22.518]];
    let reports = [
        drive("2026-03-01T14:00:00Z", 4, [[114.0425, 22.518], [114.0439, 22.518]]),
        series("D6", "2026-03-01T14:00:40Z", 10, 9, lights, json!({ "speed_kmh": 0, "ignition": true })),
        drive("2026-03-01T14:02:10Z", 4, [[114.0445, 22.518], [114.0460, 22.518]]),
    ];
    let came = City::of_tests().replay(&reports.concat());
    assert_eq!(came.told(), ["forbidden-zone T6 open"]);
    assert_eq!(came.alerts[0]["started_at"], "2026-03-01T14:00:00.000Z");
}

/// Its ends are kilometres away, its line is not.
#[test]
fn trap_04_a_truck_on_a_long_straight_segment_is_on_its_route() {
    let city = City::of_tests();
    let drive = |lat: f64| {
        let way = [[114.02, lat], [114.07, lat]];
        city.told(&series(
            "D1",
            "2026-03-01T14:00:00Z",
            20,
            30,
            way,
            json!({ "speed_kmh": 30, "load": "full", "cover": "closed" }),
        ))
    };
    assert_eq!(drive(ROAD), [""; 0]);
    assert_eq!(drive(ROAD + 0.002), ["route-deviation T1 open"]);
}

#[test]
fn trap_05_a_third_companys_sink_passed_at_40_is_no_wrong_sink() {
    let square = |id: &str, kind: &str, lon: f64| {
        let (east, south, north) = (lon + 0.003, 22.498, 22.502);
        format!(
            r#"{{"type":"Feature","properties":{{"place_id":"{id}","kind":"{kind}"}},"geometry":{{"type":"Polygon","coordinates":[[[{lon},{south}],[{east},{south}],[{east},{north}],[{lon},{north}],[{lon},{south}]]]}}}}"#
        )
    };
    let places = ["A", "B", "C"].iter().zip([114.00, 114.05, 114.10]).map(|(id, lon)| square(id, "sink", lon));
    let places = [places.collect::<Vec<_>>().join(","), square("S", "source", 113.9)].join(",");
    let places = format!(r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{places}]}}"#);
    let city = City::of(&[
        ("vehicles.csv", "vehicle_id,plate,device_id,company_id,status\nT1,粤B1,D1,,active\n"),
        ("permits.csv", "permit_id,vehicle_id,source_id,sink_ids,status\nP1,T1,S,A,valid\nP2,T1,S,C,valid\n"),
        ("places.geojson", &places),
    ]);
    let passes =
        series("D1", "2026-03-01T14:00:00Z", 10, 40, [[114.035, ROAD], [114.070, ROAD]], json!({ "speed_kmh": 40 }));
    assert_eq!(city.told(&passes), [""; 0]);
    let stays = |lon: f64| series("D1", "2026-03-01T14:00:00Z", 30, 8, [[lon, ROAD]; 2], json!({ "speed_kmh": 0 }));
    assert_eq!(city.told(&stays(114.0015)), [""; 0], "a sink of its first permit");
    assert_eq!(city.told(&stays(114.1015)), [""; 0], "a sink of its second permit");
    assert_eq!(city.told(&stays(114.0515)), ["wrong-sink T1 open"]);
}

#[test]
fn trap_06_a_fence_without_a_datum_is_refused_by_its_files_name() {
    let tests = fs::read_to_string(root().join("rules/test-city/places.geojson")).unwrap();
    let untagged = tests.replace("\"datum\": \"wgs84\",", "");
    assert_ne!(untagged, tests);
    let city = City::of(&[("places.geojson", &untagged)]);
    let output =
        program().args(["registry", "import"]).arg(&city.registry).current_dir(city.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("places.geojson") && said.contains("datum"), "{said}");
}

#[test]
fn trap_07_a_faulty_cover_is_its_own_matter_and_clears_nothing() {
    let city = City::of_tests();
    let drive = |from: &str, every_s, count, way, cover: &str| {
        series("D6", from, every_s, count, way, json!({ "speed_kmh": 15, "load": "full", "cover": cover }))
    };
    let fault = drive("2026-03-01T14:05:00Z", 60, 21, [[114.02, 22.61], [114.07, 22.61]], "fault");
    assert_eq!(city.told(&fault), ["cover-sensor-fault T6 open"]);
    let open = drive("2026-03-01T14:00:00Z", 20, 10, [[114.01, 22.61], [114.02, 22.61]], "open");
    let told = city.told(&[open, fault].concat());
    assert_eq!(told, ["cover-open-loaded T6 open", "cover-sensor-fault T6 open"]);
}

/// 00:30 in Shenzhen is 16:30 of the day before in UTC; the window of 22:00-06:00 wraps midnight.
#[test]
fn trap_09_half_past_midnight_lies_in_a_window_that_wraps_midnight() {
    let city = City::of_tests();
    let haul = |from: &str| {
        let way = [[114.01, 22.61], [114.05, 22.61]];
        city.told(&series("D3", from, 30, 12, way, json!({ "speed_kmh": 30, "load": "full", "cover": "closed" })))
    };
    assert_eq!(haul("2026-02-28T16:30:00Z"), [""; 0]);
    assert_eq!(haul("2026-02-28T22:30:00Z"), ["outside-permit-hours T3 open"]);
}

/// Jumps of up to 80 m, for eight hours, some of them into the source beside which it is parked or the zone.
#[test]
fn trap_11_a_parked_truck_that_jumps_for_eight_hours_enters_nothing_and_stops_once() {
    let city = City::of_tests();
    for seed in 1..=6u64 {
        // 30 m east of the source; 30 m west of a zone that is closed.
        let [lon, lat] = if seed % 2 == 0 { [114.0023, 22.5] } else { [114.0397, 22.518] };
        let mut bits = seed;
        let mut chance = move || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 33) as f64 / (1u64 << 31) as f64
        };
        let mut reports = series("D6", "2026-03-01T08:00:00Z", 30, 960, [[lon, lat]; 2], json!({ "ignition": false }));
        for report in reports.iter_mut().skip(4) {
            let (angle, far_m) =
                (chance() * std::f64::consts::TAU, if chance() < 0.3 { 20.0 + 60.0 * chance() } else { 6.0 });
            report["lon"] = json!(lon + far_m * angle.cos() / 102_900.0);
            report["lat"] = json!(lat + far_m * angle.sin() / 111_200.0);
            report["speed_kmh"] = json!(chance() * 4.0);
        }
        assert_eq!(city.told(&reports), [""; 0], "seed {seed}");
        let facts = city.facts(&reports, "moving,stopped_s,in_forbidden,place_id,trip_id");
        let settled = &facts[4..];
        let stands: Vec<f64> = settled.iter().filter_map(|row| row["stopped_s"].as_f64()).collect();
        assert!(stands.is_sorted() && *stands.last().unwrap() >= 28_000.0, "seed {seed}: one stop");
        for row in settled {
            let elsewhere = row["moving"] == true || row["in_forbidden"] == true;
            assert!(!elsewhere && row["place_id"].is_null() && row["trip_id"].is_null(), "seed {seed}: {row}");
        }
    }
}

/// A sink of 400 m whose corner lies between two fixes of a truck at 45 km/h that reports every 30 s.
#[test]
fn trap_12_a_corner_crossed_between_two_fixes_is_seen() {
    let way = [[114.0470, 22.7005], [114.0495, 22.7030]];
    let rows = City::of_tests().facts(
        &series("D6", "2026-03-01T14:00:00Z", 30, 2, way, json!({ "speed_kmh": 45 })),
        "place_id,in_sink,place_dwell_s",
    );
    assert_eq!([&rows[0]["place_id"], &rows[0]["in_sink"]], [&Json::Null, &json!(false)]);
    assert_eq!(
        [&rows[1]["place_id"], &rows[1]["in_sink"], &rows[1]["place_dwell_s"]],
        [&json!("OTH"), &json!(true), &json!(0.0)]
    );
}

/// Its permit is revoked at 23:10 local time. What it drove before comes at 23:20 and stays legal; from 23:10 on it is not.
#[test]
fn trap_14_what_was_driven_before_the_revocation_stays_legal() {
    let city = City::of_tests();
    let haul = |from: &str, count, way| {
        series("D4", from, 30, count, way, json!({ "speed_kmh": 30, "load": "full", "cover": "closed" }))
    };
    let before = arriving(haul("2026-03-01T15:00:00Z", 19, [[114.01, 22.61], [114.05, 22.61]]), "2026-03-01T15:20:00Z");
    assert_eq!(city.told(&before), [""; 0]);
    let after = arriving(haul("2026-03-01T15:10:00Z", 12, [[114.05, 22.61], [114.08, 22.61]]), "2026-03-01T15:20:00Z");
    let came = city.replay(&[before, after].concat());
    assert_eq!(came.told(), ["unpermitted-transport T4 open"]);
    assert_eq!(came.alerts[0]["started_at"], "2026-03-01T15:10:00.000Z");
}

/// Two forbidden zones overlap. A truck drives from the first into the second: each is told for itself, with its own beginning and
/// end, its name and how long the truck was in it; so it is when a part of the way arrives late.
#[test]
fn a_truck_that_drives_from_one_zone_into_an_overlapping_one_is_told_of_each() {
    let square = |id: &str, west: f64, east: f64| {
        json!({
            "type": "Feature", "properties": { "zone_id": id, "name": format!("zone {id}"), "kind": "forbidden", "tags": ["school"] },
            "geometry": { "type": "Polygon", "coordinates":
                [[[west, 22.49], [east, 22.49], [east, 22.51], [west, 22.51], [west, 22.49]]] },
        })
    };
    let zones = json!({
        "type": "FeatureCollection", "datum": "wgs84",
        "features": [square("A", 114.0095, 114.0305), square("B", 114.0245, 114.0455)],
    });
    let city = City::of(&[("zones.geojson", &zones.to_string())]);
    let rules = city.folder.path().join("rules");
    fs::create_dir(&rules).unwrap();
    let rule = "rules:\n  - id: in-zone\n    key: [vehicle_id, zone_id]\n    when: zone_kind = 'forbidden' and zone_dwell_s >= 60\n    \
                message: \"{plate}: in {zone_name} ({zone_tags}) for {zone_dwell_s:.0} s\"\n";
    fs::write(rules.join("zones.yaml"), rule).unwrap();
    let judged = |reports: &[Json]| -> Vec<Json> {
        let alerts = city.folder.path().join("alerts.jsonl");
        replay(&[], &city.registry, &rules, &city.input(reports), &alerts);
        let plain = |line: &str| {
            let mut alert: Json = serde_json::from_str(line).unwrap();
            alert["retrospective"] = Json::Null;
            alert
        };
        fs::read_to_string(alerts).unwrap().lines().map(plain).collect()
    };
    let way = [[114.0, ROAD], [114.06, ROAD]];
    let reports = series("D1", "2026-03-01T14:00:00Z", 10, 61, way, json!({ "speed_kmh": 37 }));
    let in_order = judged(&reports);
    let told: Vec<String> = in_order
        .iter()
        .map(|alert| {
            let word = |field: &str| alert[field].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", alert["facts"]["zone_id"], word("message"), word("fired_at"), word("cleared_at"))
        })
        .collect();
    let mut told = told;
    told.sort();
    assert_eq!(
        told,
        [
            "\"A\" D1: in zone A (school) for 60 s 2026-03-01T14:02:40.000Z 2026-03-01T14:05:10.000Z",
            "\"B\" D1: in zone B (school) for 60 s 2026-03-01T14:05:10.000Z 2026-03-01T14:07:40.000Z",
        ]
    );
    let late = arriving(reports[12..35].to_vec(), "2026-03-01T14:09:55Z");
    let mixed = judged(&[reports[..12].to_vec(), reports[35..60].to_vec(), late, reports[60..].to_vec()].concat());
    assert_eq!(mixed, in_order);
}
