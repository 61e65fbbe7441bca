//! Tracks in a small notation: one report a line, `seconds east north [name=value ...]`, in metres around a point in
//! Shenzhen; `-` for both coordinates is a report without a position. Values are fields of the device report.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{Column, ColumnSet, DeviceReport, Facts, Time},
    registry::Registry,
    spatial::{LocalFrame, Point},
};

const ORIGIN: Point = Point::new(114.0, 22.6);
/// 21:00 on Sunday 2026-03-01 in Shenzhen.
const START: &str = "2026-03-01T13:00:00Z";

fn at(seconds: f64) -> Time {
    START.parse::<Time>().unwrap().plus_ms((seconds * 1000.0) as i64)
}

fn point(x: f64, y: f64) -> Point {
    LocalFrame::at(ORIGIN).to_point(x, y)
}

fn report(line: &str) -> (DeviceReport, Time) {
    let mut words = line.split_whitespace();
    let time = at(words.next().unwrap().parse().unwrap());
    let mut json = serde_json::json!({ "device_id": "d1", "device_time": time });
    let (x, y) = (words.next().unwrap(), words.next().unwrap());
    if x != "-" {
        let p = point(x.parse().unwrap(), y.parse().unwrap());
        (json["lon"], json["lat"]) = (p.lon.into(), p.lat.into());
    }
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        json[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    (serde_json::from_value(json).expect(line), time)
}

fn square(properties: &str, x: f64, y: f64, side: f64) -> String {
    let corner = |dx: f64, dy: f64| {
        let p = point(x + dx * side, y + dy * side);
        format!("[{},{}]", p.lon, p.lat)
    };
    let ring = [(0., 0.), (1., 0.), (1., 1.), (0., 1.), (0., 0.)].map(|(dx, dy)| corner(dx, dy)).join(",");
    format!(
        r#"{{"type":"Feature","properties":{{{properties}}},"geometry":{{"type":"Polygon","coordinates":[[{ring}]]}}}}"#
    )
}

fn line(properties: &str, points: &[(f64, f64)]) -> String {
    let list = points.iter().map(|(x, y)| point(*x, *y)).map(|p| format!("[{},{}]", p.lon, p.lat));
    let list = list.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"type":"Feature","properties":{{{properties}}},"geometry":{{"type":"LineString","coordinates":[{list}]}}}}"#
    )
}

fn collection(features: &[String]) -> String {
    format!(r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{}]}}"#, features.join(","))
}

/// Source at 0, sinks at 5 and 10 km, a route along the x axis with one straight of 1.2 km, two parallel roads.
fn registry() -> Arc<Registry> {
    let places = collection(&[
        square(r#""place_id":"src","name":"s","kind":"source""#, -150., -150., 300.),
        square(r#""place_id":"sink","name":"k","kind":"sink","status":"full""#, 5000., -150., 300.),
        square(r#""place_id":"other","name":"o","kind":"sink""#, 10000., -150., 300.),
        square(r#""place_id":"yard","name":"y","kind":"depot""#, 0., 20000., 300.),
    ]);
    let zones = collection(&[
        square(
            r#""zone_id":"night","name":"n","kind":"forbidden","schedule":"22:00-06:00","speed_limit_kmh":30,"tags":["school"]"#,
            2000.,
            -200.,
            400.,
        ),
        square(r#""zone_id":"lake","name":"l","kind":"water","tags":"school reservoir""#, 2200., -200., 400.),
        square(r#""zone_id":"city","name":"c","kind":"operating_area""#, -20000., -20000., 60000.),
        square(r#""zone_id":"bend","name":"b","kind":"forbidden""#, 4000., -4300., 300.),
        square(r#""zone_id":"fork","name":"f","kind":"forbidden""#, 4000., -8300., 300.),
    ]);
    let routes = collection(&[line(
        r#""route_id":"r1","name":"r","buffer_m":100"#,
        &[(0., 0.), (1000., 0.), (2200., 0.), (5150., 0.)],
    )]);
    let roads = collection(&[
        line(r#""road_id":"a","name":"A","class":"trunk","speed_limit_kmh":50"#, &[(-1000., 0.), (9000., 0.)]),
        line(r#""road_id":"b","name":"B","class":"residential""#, &[(-1000., 20.), (9000., 20.)]),
        line(r#""road_id":"x","name":"X","class":"primary""#, &[(3000., -500.), (3000., 500.)]),
        line(r#""road_id":"w","name":"W","class":"primary","oneway":true"#, &[(0., 3000.), (9000., 3000.)]),
        line(r#""road_id":"bend","name":"","class":"primary""#, &[(3500., -4500.), (4150., -4050.), (4800., -4500.)]),
        line(r#""road_id":"north","name":"","class":"primary""#, &[(3500., -8500.), (4150., -8050.), (4800., -8500.)]),
        line(r#""road_id":"south","name":"","class":"primary""#, &[(3500., -8500.), (4150., -8950.), (4800., -8500.)]),
    ]);
    let districts = collection(&[square(r#""district_id":"dist","name":"d""#, -20000., -20000., 60000.)]);
    let files: Vec<(&str, String)> = vec![
        (
            "vehicles.csv",
            "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors\n\
             v1,粤B1,yellow,d1 cam1,co,active,31000,12000,cover lift load\n"
                .into(),
        ),
        ("companies.csv", "company_id,name\nco,Co\n".into()),
        (
            "permits.csv",
            "permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status,valid_from,valid_to\n\
             p1,v1,src,sink,r1,22:00-06:00,valid,,2026-03-01T15:10:00Z\n\
             p1,v1,src,sink,r1,22:00-06:00,revoked,2026-03-01T15:10:00Z,2026-03-02T16:00:00Z\n"
                .into(),
        ),
        (
            "manifests.csv",
            "manifest_id,vehicle_id,permit_id,opened_at,closed_at,driver_id,planned_distance_m,planned_duration_s\n\
             m1,v1,p1,2026-03-01T13:10:00Z,2026-03-01T14:00:00Z,dr1,12000,3600\n"
                .into(),
        ),
        ("drivers.csv", "driver_id,name,company_id,status\ndr1,D,co,active\ndr2,E,co,active\n".into()),
        ("blacklist.csv", "subject,subject_id,reason\ndriver,dr2,fraud\n".into()),
        (
            "outages.csv",
            "vehicle_id,reason,valid_from,valid_to\nv1,repair,2026-03-01T20:00:00Z,2026-03-01T21:00:00Z\n".into(),
        ),
        ("places.geojson", places),
        ("zones.geojson", zones),
        ("routes.geojson", routes),
        ("roads.geojson", roads),
        ("districts.geojson", districts),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Arc::new(Registry::parse(&files).unwrap_or_else(|error| panic!("{error}")))
}

fn fold_of(columns: ColumnSet) -> Fold {
    Fold::new(registry(), columns, Settings::default())
}

fn run(fold: &Fold, state: &mut VehicleState, reports: &[(DeviceReport, Time)]) -> Vec<Facts> {
    let inputs = reports.iter().map(|(report, event_time)| Input::Report {
        report,
        event_time: *event_time,
        recv_time: *event_time,
        use_position: report.lat.is_some(),
    });
    inputs.map(|input| fold.step(state, input)).collect()
}

fn rows(track: &str) -> Vec<Facts> {
    let reports: Vec<_> = track.lines().filter(|line| !line.trim().is_empty()).map(report).collect();
    run(&fold_of(ColumnSet::all()), &mut VehicleState::default(), &reports)
}

fn value(row: &Facts, column: &str) -> String {
    match row.value(Column::named(column).expect(column)).to_json() {
        serde_json::Value::Number(n) => format!("{:.0}", n.as_f64().unwrap() + 0.0),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What the columns (separated by spaces) hold in each row, rows separated by ` | `.
#[track_caller]
fn check(track: &str, columns: &str, expected: &str) {
    let told: Vec<String> = rows(track)
        .iter()
        .map(|row| columns.split(' ').map(|column| value(row, column)).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(told.join(" | "), expected, "{columns} of\n{track}");
}

#[test]
fn a_stand_counts_from_its_first_fix() {
    for (track, expected) in [
        ("0 0 0", "null 0"),
        ("0 0 0 speed_kmh=0", "false 0"),
        ("0 0 0 speed_kmh=40", "true 0"),
        ("0 0 0\n30 0 0\n60 0 0", "null 0 | null 0 | false 60"),
        ("0 0 0\n30 400 0\n60 402 0\n90 401 0", "null 0 | true 0 | true 0 | false 60"),
        (
            "0 0 0 speed_kmh=40\n10 90 0 speed_kmh=0\n40 90 0 speed_kmh=0\n70 91 0 speed_kmh=1",
            "true 0 | true 0 | true 0 | false 60",
        ),
        ("0 0 0 speed_kmh=0\n60 5 0 speed_kmh=0\n120 3 0 speed_kmh=0", "false 0 | false 60 | false 120"),
    ] {
        check(track, "moving stopped_s", expected);
    }
}

/// A tracker and a dashcam whose receivers are 30 m apart, a second after each other: the truck would leap at 100 km/h where it stands.
#[test]
fn a_second_device_changes_nothing_of_what_the_first_one_tells() {
    let fold = fold_of(Column::all().collect());
    let tracker: Vec<(DeviceReport, Time)> = (0..240)
        .map(|number| {
            // It stands in the source, drives to the sink, and stands there.
            let x = ((f64::from(number) - 60.0) * 50.0).clamp(0.0, 5100.0);
            let speed = if x > 0.0 && x < 5100.0 { 60.0 } else { 0.0 };
            report(&format!("{} {x} 0 speed_kmh={speed} odometer_m={}", f64::from(number) * 3.0, 1000.0 + x))
        })
        .collect();
    let camera = |(tracked, event_time): &(DeviceReport, Time)| {
        let (lat, lon) = tracked.lat.zip(tracked.lon).unwrap();
        let seen = DeviceReport {
            device_id: "cam1".into(),
            lat: Some(lat + 30.0 / 111_000.0),
            lon: Some(lon - 20.0 / 111_000.0),
            speed_kmh: tracked.speed_kmh,
            ..DeviceReport::default()
        };
        (seen, event_time.plus_ms(1_000))
    };
    let alone = run(&fold, &mut VehicleState::default(), &tracker);
    let both: Vec<_> = tracker.iter().flat_map(|report| [report.clone(), camera(report)]).collect();
    let together = run(&fold, &mut VehicleState::default(), &both);
    for (number, (one, other)) in alone.iter().zip(together.iter().step_by(2)).enumerate() {
        let differ: Vec<&str> = Column::all()
            .filter(|column| value(one, column.name()) != value(other, column.name()))
            .map(Column::name)
            .collect();
        assert_eq!(differ, Vec::<&str>::new(), "row {number}: {one:?}\n{other:?}");
    }
    let aside = &together[121];
    let told = ["vehicle_id", "lat", "place_id", "odometer_m", "no_fix_s"].map(|column| value(aside, column));
    assert_eq!(told, ["v1", "null", "src", "null", "null"], "a dashcam's alarm is in the place that is known");
}

/// A box on the body tells load and hoist, a tracker the rest: only together they say that a full truck drives.
#[test]
fn what_one_device_tells_is_known_of_the_truck_until_it_is_old() {
    let fold = fold_of(Column::all().collect());
    let of = |device: &str, line: &str| {
        let (told, event_time) = report(line);
        (DeviceReport { device_id: device.into(), ..told }, event_time)
    };
    let rows = run(
        &fold,
        &mut VehicleState::default(),
        &[
            of("cam1", "0 - - load=full lift=flat driver_id=dr1"),
            of("d1", "10 0 0 speed_kmh=40"),
            of("cam1", "20 - - load=empty"),
            of("d1", "30 300 0 speed_kmh=40"),
            of("d1", "150 1500 0 speed_kmh=40"),
            of("d1", "210 2100 0 speed_kmh=40"),
        ],
    );
    let told = |row: &Facts| ["load", "lift", "load_drop", "driver_id"].map(|column| value(row, column)).join(" ");
    assert_eq!(told(&rows[1]), "full flat false dr1");
    assert_eq!(told(&rows[3]), "empty flat true dr1", "what the box saw is a drop where the truck is");
    assert_eq!(told(&rows[4]), "empty flat false dr1");
    assert_eq!(told(&rows[5]), "null null false null", "after three minutes nobody knows");
}

/// The tracker's clock is right and the dashcam's an hour ahead: somebody should look at it, whoever guides.
#[test]
fn of_the_clocks_of_a_vehicle_the_one_that_is_wrong_by_most_is_told() {
    let fold = fold_of(Column::all().collect());
    let mut state = VehicleState::default();
    let mut rows = Vec::new();
    for number in 0..4 {
        for (device, ahead_ms) in [("d1", 0), ("cam1", 3_600_000)] {
            let (told, event_time) = report(&format!("{} 0 0 speed_kmh=0", number * 30));
            let device_time = event_time.plus_ms(ahead_ms);
            let told = DeviceReport { device_id: device.into(), device_time, ..told };
            let recv_time = event_time.plus_ms(300);
            rows.push(
                fold.step(&mut state, Input::Report { report: &told, event_time, recv_time, use_position: true }),
            );
        }
    }
    let told = |row: &Facts| (row.clock_skew_s.map(|s| s.round()), row.clock_fault);
    assert_eq!(told(&rows[0]), (None, None), "one report says nothing of a clock");
    assert_eq!(told(&rows[6]), (Some(3600.0), Some("time_zone")));
}

#[test]
fn a_dashcam_leads_while_the_tracker_says_nothing_of_where_it_is() {
    let fold = fold_of(Column::all().collect());
    let of = |device: &str, s: f64, x: f64| {
        let (told, event_time) = report(&format!("{s} {x} 0 speed_kmh=50"));
        (DeviceReport { device_id: device.into(), ..told }, event_time)
    };
    let rows = run(
        &fold,
        &mut VehicleState::default(),
        &[
            of("d1", 0.0, 0.0),
            of("cam1", 10.0, 100.0),
            of("cam1", 170.0, 1700.0),
            of("cam1", 200.0, 2000.0),
            of("cam1", 210.0, 2100.0),
            of("d1", 220.0, 2200.0),
            of("cam1", 230.0, 2300.0),
        ],
    );
    let has_fix: Vec<bool> = rows.iter().map(|row| row.lat.is_some()).collect();
    assert_eq!(has_fix, [true, false, false, true, true, true, false]);
    // Between two receivers nothing was driven.
    let has_gap: Vec<bool> = rows.iter().map(|row| row.gap_m.is_some()).collect();
    assert_eq!(has_gap, [false, false, false, false, true, false, false]);
}

#[test]
fn stop_and_go_at_walking_pace_is_no_stand() {
    let creeping = rows("0 0 0\n30 33 0\n60 66 0\n90 99 0\n120 133 0\n150 166 0\n180 199 0");
    assert!(creeping.iter().all(|row| row.moving != Some(false)));
    assert_eq!(creeping[6].moving, Some(true));
}

#[test]
fn one_jump_ends_no_stand_and_two_fixes_away_do() {
    let stand = "0 0 0\n30 0 0\n60 0 0\n";
    for (rest, expected) in [
        ("90 400 0\n120 2 0", "false 90 | false 120"),
        ("90 400 0\n120 800 0", "false 90 | true 0"),
        ("90 30 0 speed_kmh=20\n100 90 0 speed_kmh=25", "false 90 | true 0"),
        ("90 60 0 speed_kmh=30\n120 10 0 speed_kmh=0", "false 90 | false 120"),
        ("90 - -\n120 0 0", "false 90 | false 120"),
        ("90 - - speed_kmh=40", "true 0"),
        // Back from a silence, driving across and then towards the old stand.
        ("900 2000 0 speed_kmh=50\n910 2000 139 speed_kmh=50", "null null | true 0"),
        ("900 2000 0 speed_kmh=50\n910 1861 0 speed_kmh=50", "null null | true 0"),
        // Two jumps to the same place are still jumps; what a jump says is unknown, and the stand goes on.
        ("900 2000 0 speed_kmh=50\n910 2001 0 speed_kmh=50\n920 0 0 speed_kmh=0", "null null | null null | false 920"),
    ] {
        let all = rows(&format!("{stand}{rest}"));
        let told: Vec<String> =
            all[3..].iter().map(|row| format!("{} {}", value(row, "moving"), value(row, "stopped_s"))).collect();
        assert_eq!(told.join(" | "), expected, "{rest}");
    }
}

/// Jumps of up to 100 m, 80 m typically, with noise in the speed.
fn drift(seed: u64, hours: f64, step_s: f64, with_speed: bool, x: f64, y: f64) -> Vec<(DeviceReport, Time)> {
    let mut bits = seed | 1;
    let mut random = move || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    };
    let count = (hours * 3600.0 / step_s) as usize;
    (0..count)
        .map(|index| {
            let (angle, far) = (random() * std::f64::consts::TAU, 20.0 + 65.0 * random());
            let far = if random() < 0.5 { far } else { 5.0 };
            let speed = if with_speed { format!("speed_kmh={:.1}", random() * 6.0) } else { String::new() };
            let (dx, dy) = (x + far * angle.cos(), y + far * angle.sin());
            report(&format!("{} {dx} {dy} {speed}", 120.0 + index as f64 * step_s))
        })
        .collect()
}

#[test]
fn a_parked_receiver_that_jumps_for_eight_hours_is_one_stop_and_enters_nothing() {
    for seed in 1..=12 {
        for (with_speed, step_s) in [(true, 10.0), (true, 30.0), (false, 30.0)] {
            // Parked 60 m outside the lake's zone and in the source, near its border.
            for (x, y, place) in [(2125.0, -260.0, "null"), (90.0, 0.0, "src")] {
                let mut reports: Vec<_> = [0.0, 40.0, 80.0].map(|s| report(&format!("{s} {x} {y} speed_kmh=0"))).into();
                reports.extend(drift(seed, 8.0, step_s, with_speed, x, y));
                let all = run(&fold_of(ColumnSet::all()), &mut VehicleState::default(), &reports);
                for row in &all {
                    assert_eq!(row.moving, Some(false), "seed {seed} {with_speed} at {:?}", row.event_time);
                    assert_eq!(value(row, "place_id"), place);
                    assert_eq!((row.in_water, &row.trip_id), (Some(false), &None));
                }
                let stopped_s = all.last().unwrap().stopped_s.unwrap();
                assert_eq!(stopped_s, reports.last().unwrap().1.s_since(at(0.0)));
            }
        }
    }
}

#[test]
fn speed_is_as_reported_else_implied() {
    check("0 0 0\n10 100 0\n20 300 0 speed_kmh=50\n400 300 0", "speed_kmh", "null | 36 | 50 | null");
    check(
        "0 0 0 speed_kmh=0\n10 50 0 speed_kmh=36",
        "gap_s gap_m implied_speed_kmh acceleration_mps2",
        "null null null null | 10 50 null 1",
    );
    check("0 0 0\n0 50 0", "gap_s implied_speed_kmh", "null null | 0 null");
    check("0 0 0\n10 - -\n20 100 0", "lat gap_s gap_m", "23 null null | null null null | 23 20 100");
}

#[test]
fn faults_and_unknowns_are_null_and_forget_nothing() {
    check(
        "0 0 0 cover=fault load=loaded\n9 0 0 cover=open load=fault\n19 0 0 cover=unknown load=empty lift=fault",
        "cover cover_fault loaded load_fault load_drop lift_fault",
        "null true true false false false | open false null true false false | null false false false true true",
    );
    check(
        "0 0 0 load=empty\n9 0 0 load=half\n10 0 0\n11 0 0 load=empty\n12 0 0 load=empty",
        "load load_drop",
        "empty false | half false | null false | empty true | empty false",
    );
    check(
        r#"0 0 0 alarms=["sos"] events=[{"kind":"fatigue","phase":"start"},{"kind":"phone","phase":"end"}]"#,
        "alarms events",
        r#"["sos"] ["fatigue"]"#,
    );
}

#[test]
fn places_are_entered_left_and_crossed() {
    check(
        "0 4900 0\n30 5100 0\n60 5200 0\n90 5500 0",
        "place_id place_dwell_s in_sink sink_permitted",
        "null 0 false null | sink 0 true true | sink 30 true true | null 0 false null",
    );
    check("0 10100 0", "place_id place_kind in_sink sink_permitted in_approved_place", "other sink true false true");
    // 30 s apart, over the corner of a sink of 300 m.
    check("0 4950 0\n30 5150 300", "place_id place_dwell_s in_sink", "null 0 false | sink 0 true");
    check("0 5150 0\n30 5150 400", "place_id", "sink | null");
    check("0 4950 0\n400 5150 300", "place_id", "null | null");
}

#[test]
fn zones_hold_by_the_local_clock() {
    // 21:00, 22:00 and 00:30, which is still the day before in UTC.
    for (seconds, expected) in [
        (0, r#"21 7 false true ["city","lake"] 50"#),
        (3600, r#"22 7 true true ["city","lake","night"] 30"#),
        (12600, r#"0 1 true true ["city","lake","night"] 30"#),
    ] {
        check(
            &format!("{seconds} 2300 0 speed_kmh=40 heading_deg=90"),
            "local_hour local_weekday in_forbidden in_water zone_ids speed_limit_kmh",
            expected,
        );
    }
    check("0 0 0\n60 90000 0", "outside_operating_area district_id", "false dist | true null");
}

/// Who made a zone may say of it what its kind does not, and a rule may ask for that.
#[test]
fn zones_tell_their_tags_each_once_while_their_schedule_holds() {
    check("0 2300 0\n60 2500 900", "zone_tags", r#"["reservoir","school"] | []"#);
    check("0 2100 0\n3600 2100 0", "zone_tags", r#"[] | ["school"]"#);
}

/// A rule may be judged for each zone apart. How long it has been in one goes on through reports without a position, and begins
/// anew when the zone's schedule does.
#[test]
fn each_zone_is_told_for_itself() {
    let told = |track: &str| {
        let each = rows(track).into_iter().map(|row| {
            let zones = row.zones.as_ref().map(|zones| {
                let zone = |zone: &crate::model::InZone| format!("{}:{}:{:.0}", zone.zone_id, zone.kind, zone.dwell_s);
                zones.iter().filter(|zone| zone.kind != "operating_area").map(zone).collect::<Vec<_>>().join(" ")
            });
            zones.unwrap_or_else(|| "?".into())
        });
        each.collect::<Vec<_>>().join(" | ")
    };
    for (track, expected) in [
        ("0 1900 0\n30 2250 0\n60 2350 0\n90 2550 0\n120 2700 0", " | lake:water:0 | lake:water:30 | lake:water:60 | "),
        (
            "3600 2100 0\n3630 2300 0\n3660 - -\n3690 2350 0\n3720 2500 0",
            "night:forbidden:0 | lake:water:0 night:forbidden:30 | ? | lake:water:60 night:forbidden:90 | lake:water:90",
        ),
        (
            "3570 2300 0\n3630 2350 0\n3660 2380 0",
            "lake:water:0 | lake:water:60 night:forbidden:0 | lake:water:90 night:forbidden:30",
        ),
    ] {
        assert_eq!(told(track), expected, "{track}");
    }
    let only = run(&fold_of(ColumnSet::default()), &mut VehicleState::default(), &[report("0 2300 0")]);
    assert_eq!(only[0].zones, None, "what no rule reads is not computed");
}

/// Zones of 400 m, `night` from 2,000 m east on, `lake` from 2,200 m on, both from 200 m south to 200 m north; `night` holds
/// from 22:00, an hour after the tracks' beginning. The fixes of a minute lie before and behind them: it drove through. Where
/// the straight way only clips a corner it may as well have driven round, and is not accused.
#[test]
fn a_zone_driven_through_between_two_fixes_was_driven_through() {
    for (track, expected) in [
        // By the odometer, by the speeds, by what roads usually are.
        ("3600 1900 0 odometer_m=0\n3660 2700 0 odometer_m=830", r#"["lake","night"] true"#),
        ("3600 1900 0 speed_kmh=48\n3660 2700 0 speed_kmh=48", r#"["lake","night"] true"#),
        ("3600 1900 0\n3660 2700 0", r#"["lake","night"] true"#),
        // The schedule does not hold yet.
        ("3500 1900 0\n3560 2700 0", r#"["lake"] false"#),
        ("3570 1900 0\n3630 2700 0", r#"["lake"] false"#),
        // A fix within is a visit and no crossing.
        ("3600 1900 0\n3660 2100 0", "[] false"),
        ("3600 2100 0\n3660 2190 250", "[] false"),
        // Only the corner, or along the fence.
        ("3600 1900 100 speed_kmh=30\n3660 2150 350 speed_kmh=30", "[] false"),
        ("3600 1900 190 speed_kmh=48\n3660 2700 190 speed_kmh=48", "[] false"),
        // It drove far more than the straight way: it may have gone round.
        ("3600 1900 0 odometer_m=0\n3660 2700 0 odometer_m=1400", "[] false"),
        ("3600 1900 0 speed_kmh=90\n3660 2700 0 speed_kmh=90", "[] false"),
        // It drove a little more than the straight way, and may have kept 110 m north of it. But a road leads straight on, along
        // the x axis as far as 9,000 m; 100 m north of it there is none.
        ("3600 1500 0 odometer_m=0\n3690 3100 0 odometer_m=1700", r#"["lake","night"] true"#),
        ("3600 1500 100 odometer_m=0\n3690 3100 100 odometer_m=1700", "[] false"),
        // A road bends through a zone that the straight way passes 200 m to the south. It drove as far as that road leads.
        ("3600 3510 -4493\n3720 4790 -4493", r#"["bend"] true"#),
        ("3600 3510 -4493 odometer_m=0\n3720 4790 -4493 odometer_m=1560", r#"["bend"] true"#),
        // Much farther, or no farther than the straight way: it did not keep to that road.
        ("3600 3510 -4493 odometer_m=0\n3720 4790 -4493 odometer_m=2200", "[] false"),
        ("3600 3510 -4493 odometer_m=0\n3720 4790 -4493 odometer_m=1285", "[] false"),
        // Another road leads round the zone and is as long.
        ("3600 3510 -8493 odometer_m=0\n3720 4790 -8493 odometer_m=1560", "[] false"),
        // Too far, too long or too rough to say.
        ("3600 1500 0\n3690 3600 0", "null null"),
        ("3600 1900 0\n4000 2700 0", "null null"),
        ("3600 1900 0\n3660 2700 0 accuracy_m=300", "null null"),
        ("3600 1900 0 accuracy_m=60\n3660 2700 0 accuracy_m=5", "null null"),
        ("3600 1900 0\n3660 - -", "null null"),
    ] {
        let rows = rows(track);
        let told = format!("{} {}", value(&rows[1], "zones_crossed"), value(&rows[1], "crossed_forbidden"));
        assert_eq!(told, expected, "{track}");
    }
}

proptest! {
    /// A city of blocks of 300 m, a drive along its streets from any spot to any, and a zone anywhere: whatever lies between the
    /// two fixes, only who drove through the zone is said to have.
    #[test]
    fn nobody_is_said_to_have_driven_through_what_he_drove_round(
        turns in prop::collection::vec(0..4_usize, 1..7),
        (starts_m, ends_m) in (0.0..300.0, 0.0..300.0),
        (zone_x, zone_y, side) in (-900.0..900.0, -900.0..900.0, 80.0..600.0),
    ) {
        let blocks = (-6..=6).map(|number| f64::from(number) * 300.0);
        let streets = blocks.clone().flat_map(|x| blocks.clone().map(move |y| (x, y))).filter(|(x, y)| *x < 1800.0 && *y < 1800.0);
        let streets = streets.enumerate().flat_map(|(number, (x, y))| {
            let street = |way: &str, to| line(&format!(r#""road_id":"{way}{number}","name":"","class":"primary""#), &[(x, y), to]);
            [street("e", (x + 300.0, y)), street("n", (x, y + 300.0))]
        });
        let zone = square(r#""zone_id":"zone","name":"z","kind":"forbidden""#, zone_x, zone_y, side);
        let vehicles = "vehicle_id,plate,plate_color,device_id,status\nv1,粤B1,yellow,d1,active\n".to_owned();
        let files = [
            ("roads.geojson", collection(&streets.collect::<Vec<_>>())),
            ("zones.geojson", collection(&[zone])),
            ("vehicles.csv", vehicles),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let fold = Fold::new(Arc::new(Registry::parse(&files).unwrap()), ColumnSet::all(), Settings::default());
        // Where it is every three metres.
        let (mut at, mut drive) = ((0.0, 0.0), Vec::new());
        for turn in turns {
            let (dx, dy) = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][turn];
            drive.extend((0..100).map(|step| (at.0 + dx * f64::from(step) * 3.0, at.1 + dy * f64::from(step) * 3.0)));
            at = (at.0 + dx * 300.0, at.1 + dy * 300.0);
        }
        let (skipped, cut) = ((starts_m / 3.0) as usize, (ends_m / 3.0) as usize);
        let drive = &drive[skipped.min(drive.len() - 2)..];
        let drive = &drive[..drive.len().saturating_sub(cut).max(2)];
        let (from, to) = (drive[0], drive[drive.len() - 1]);
        let driven_m = (drive.len() - 1) as f64 * 3.0;
        let track = format!("0 {} {} odometer_m=0\n120 {} {} odometer_m={driven_m}", from.0, from.1, to.0, to.1);
        let rows = run(&fold, &mut VehicleState::default(), &track.lines().map(report).collect::<Vec<_>>());
        let is_in = |(x, y): &(f64, f64)| (zone_x..zone_x + side).contains(x) && (zone_y..zone_y + side).contains(y);
        let is_told = rows[1].zones_crossed.as_ref().is_some_and(|zones| !zones.is_empty());
        prop_assert!(!is_told || drive.iter().any(is_in), "{track}");
    }
}

/// The source at 0, sinks 5 and 10 km east, a depot 20 km north; 300 m wide each.
#[test]
fn the_nearest_place_of_each_kind_is_told_and_the_one_left_last() {
    check(
        "0 0 0\n60 1000 0\n120 7000 0\n180 0 10000\n240 - -\n300 0 80000",
        "nearest_source_m nearest_sink_m nearest_depot_m nearest_workshop_m",
        "0 5000 null null | 850 4000 null null | 6850 1700 null null | 9850 11045 10000 null | null null null null | null null null null",
    );
    check(
        "0 0 0\n60 1000 0\n120 5100 0\n180 7000 0\n240 - -\n300 5100 0",
        "place_id last_place_id",
        "src null | null src | sink src | null sink | null sink | sink sink",
    );
    check("0 0 0", "company_id company_name", "co Co");
}

/// It stands at the lights for two minutes, at a roadside for four, and once more for four; then it is in the sink.
#[test]
fn a_trip_tells_how_often_it_stood() {
    let mut track = "0 0 0\n60 1000 0 speed_kmh=40\n".to_owned();
    for (from, x, stands) in [(120, 1500, 4), (300, 2000, 8), (600, 3000, 8)] {
        (0..=stands).for_each(|step| track += &format!("{} {x} 0 speed_kmh=0\n", from + step * 30));
        track += &format!("{} {} 0 speed_kmh=40\n", from + stands * 30 + 10, x + 150);
        track += &format!("{} {} 0 speed_kmh=40\n", from + stands * 30 + 20, x + 300);
    }
    let told: Vec<String> = rows(&track).iter().map(|row| value(row, "trip_stops")).collect();
    let mut counts = told.clone();
    counts.dedup();
    assert_eq!(counts, ["null", "0", "1", "2"], "{told:?}");
}

/// The bay of the source sees it washed. That counts for the trip that follows, and not for the next one.
#[test]
fn a_trip_tells_whether_the_truck_was_washed_before_it_left() {
    let fold = fold_of(ColumnSet::all());
    let mut state = VehicleState::default();
    let mut told = Vec::new();
    for line in [
        "0 0 0",
        "wash 30 plate=粤B1 place_id=src kind=wash washed=true",
        "60 1000 0",
        "120 5100 0",
        "600 0 0",
        "660 1000 0",
        // Seen only after the truck's own fix was out already.
        "wash 661 plate=粤B1 place_id=src kind=wash washed=true",
        "690 1400 0",
        "720 5100 0",
        "1200 0 0",
        "wash 1210 plate=粤B1 place_id=other kind=wash washed=true",
        "1260 1000 0",
    ] {
        if let Some(line) = line.strip_prefix("wash ") {
            let (sighting, event_time) = sighting(line);
            fold.step(&mut state, Input::Sighting { sighting: &sighting, event_time, lag_s: 0.0 });
        } else {
            told.extend(run(&fold, &mut state, &[report(line)]).iter().map(|row| value(row, "trip_washed")));
        }
    }
    assert_eq!(told.join(" "), "null true true null false true true null false");
}

#[test]
fn the_permit_is_judged_at_event_time() {
    for (seconds, expected) in [
        (0, "p1 valid false"),
        (3600, "p1 valid true"),
        (7799, "p1 valid true"),
        (7800, "p1 revoked null"),
        (12600, "p1 revoked null"),
        (97_200, "p1 expired null"),
    ] {
        check(&format!("{seconds} 0 0"), "permit_id permit_status in_permit_window", expected);
    }
    let stranger = r#"0 0 0 device_id=d9 driver_id=dr2"#;
    check(stranger, "vehicle_id vehicle_status permit_id permit_status company_id", "d9 unregistered null none ");
}

/// Matching leaves its beliefs in the state: without a rule that reads roads there are none, so no road was looked for.
#[test]
fn where_nobody_asks_for_roads_none_is_matched() {
    for (columns, is_matched) in [("speed_kmh off_route place_id", false), ("road_id", true), ("speed_limit_kmh", true)]
    {
        let asked: ColumnSet = columns.split(' ').map(|name| Column::named(name).expect(name)).collect();
        let (fold, mut state) = (Fold::new(registry(), asked, Settings::default()), VehicleState::default());
        let (report, event_time) = report("0 2000 0 speed_kmh=40 heading_deg=90");
        run(&fold, &mut state, &[(report, event_time)]);
        let remembered = serde_json::to_value(&state).expect("a state is serialised");
        assert_eq!(remembered["on_road"]["anchor"].is_object(), is_matched, "{columns}: {remembered}");
    }
}

#[test]
fn manifests_drivers_and_blacklist() {
    check(
        "0 0 0\n600 0 0\n660 0 0 driver_id=dr2\n3600 0 0",
        "manifest_id manifest_open_s driver_id blacklisted",
        "null null null false | m1 0 dr1 false | m1 60 dr2 true | null null null false",
    );
}

#[test]
fn off_route_needs_several_fixes_and_clears_nearer_than_it_is_raised() {
    for (track, expected) in [
        ("0 1600 0\n10 1650 40\n20 1700 99", "false | false | false"),
        ("0 1600 150\n10 1650 150", "false | true"),
        ("0 1600 150\n10 1650 0\n20 1700 0", "false | false | false"),
        ("0 1600 150\n10 1650 80\n20 1700 150", "false | false | true"),
        ("0 1600 150\n10 1650 80\n20 1700 80\n30 1750 150", "false | false | false | false"),
        (
            "0 1600 150\n10 1650 150\n20 1700 70\n30 1750 80\n40 1800 70\n50 1850 50\n60 1900 40",
            "false | true | true | true | true | true | false",
        ),
        ("0 1600 300 accuracy_m=90\n10 1650 300 accuracy_m=90\n20 1700 300 accuracy_m=90", "false | false | false"),
        // Within 500 m of the source.
        ("0 500 200\n10 520 200\n20 540 200\n30 560 200", "false | false | false | false"),
        ("0 1600 150\n10 1400 150\n100 500 200", "false | true | false"),
        ("7800 1600 150\n7810 1650 150\n7820 1700 150", "null | null | null"),
        ("0 - -", "null"),
    ] {
        check(track, "off_route", expected);
    }
    check("0 1600 30", "route_id route_deviation_m", "r1 30");
}

/// Routes with their points, each of a permit of its own, and no place; one letter a report: `x` off route, `.` not, `?`
/// unknown. From a state that goes through serde at every step as well as from one that does not.
fn off_routes_of(routes: &[&[(f64, f64)]], track: &str) -> String {
    let permits = (0..routes.len()).map(|number| format!("p{number},v1,,,r{number},,valid\n")).collect::<String>();
    let feature =
        |(number, points): (usize, &&[(f64, f64)])| line(&format!(r#""route_id":"r{number}","name":"""#), points);
    let features: Vec<String> = routes.iter().enumerate().map(feature).collect();
    let registry = Registry::parse(&[
        (
            "vehicles.csv",
            "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors\nv1,B1,,d1,,active,,,\n",
        ),
        ("permits.csv", &format!("permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status\n{permits}")),
        ("routes.geojson", &collection(&features)),
    ]);
    let registry = Arc::new(registry.unwrap_or_else(|error| panic!("{error}")));
    let columns = ["off_route", "off_route_s"].into_iter().filter_map(Column::named).collect();
    let fold = Fold::new(registry, columns, Settings::default());
    let (mut state, mut restored) = (VehicleState::default(), VehicleState::default());
    let step = |text: &str| {
        let (report, event_time) = report(text.trim());
        let input =
            Input::Report { report: &report, event_time, recv_time: event_time, use_position: report.lat.is_some() };
        restored = serde_json::from_str(&serde_json::to_string(&restored).unwrap()).unwrap();
        let row = fold.step(&mut state, input);
        assert_eq!(row, fold.step(&mut restored, input), "{text}");
        assert!(row.off_route_s.is_none_or(|s| s <= 0.0 || row.off_route == Some(true)), "{text}");
        row.off_route.map_or('?', |off| if off { 'x' } else { '.' })
    };
    track.split('|').map(step).collect()
}

const EAST: &[(f64, f64)] = &[(0., 0.), (1200., 0.), (5000., 0.)];
/// Leaves [`EAST`] for the north.
const NORTH: &[(f64, f64)] = &[(0., 0.), (2000., 0.), (2000., 4000.)];
/// Out and back on the same road.
const THERE_AND_BACK: &[(f64, f64)] = &[(0., 0.), (5000., 0.), (0., 0.)];

#[test]
fn a_truck_is_back_on_its_route_when_it_goes_along_it() {
    let off = "0 1000 300 | 10 1000 250";
    for (routes, then, expected) in [
        // Either way; without a course, and with one that never changes.
        (&[EAST][..], "20 1100 20 | 30 1200 10 | 40 1300 0", ".xx.."),
        (&[EAST], "20 900 20 | 30 800 10", ".xx."),
        (&[EAST], "20 1100 20 speed_kmh=40 heading_deg=0 | 30 1200 10 speed_kmh=40 heading_deg=0", ".xx."),
        (&[THERE_AND_BACK], "20 900 20 | 30 800 10", ".xx."),
        // The course tells before the way can.
        (&[EAST], "20 1000 20 speed_kmh=36 heading_deg=80 | 21 1010 20 speed_kmh=36 heading_deg=265", ".xx."),
        (&[EAST], "20 1000 20 speed_kmh=36 heading_deg=10 | 21 1010 20 speed_kmh=36 heading_deg=185", ".xxx"),
        // A crossing road: every ten seconds, then every second, which is many fixes near the line.
        (&[EAST], "20 1000 150 | 30 1000 50 | 40 1000 -50 | 50 1000 -150", ".xxxxx"),
        (&[THERE_AND_BACK], "20 1000 150 | 30 1000 50 | 40 1000 -50 | 50 1000 -150", ".xxxxx"),
        (
            &[EAST],
            "20 1000 55 | 21 1003 42 | 22 999 30 | 23 1004 18 | 24 1000 4 | 25 997 -10 | 26 1001 -25",
            ".xxxxxxxx",
        ),
        (
            &[EAST],
            "20 1000 50 speed_kmh=40 heading_deg=180 | 22 1000 25 speed_kmh=40 heading_deg=180 | 24 1000 0 speed_kmh=40 heading_deg=180",
            ".xxxx",
        ),
        // It waits before it crosses, and it turns into the route where it seemed to cross.
        (&[EAST], "20 1000 40 | 30 1000 40 | 50 1000 40 | 60 1000 -60 | 70 1000 -150", ".xxxxxx"),
        (&[EAST], "20 1000 40 | 30 1000 10 | 40 1060 0 | 50 1130 0", ".xxx.."),
        // Resting at the route is being on it.
        (&[EAST], "20 1000 40 | 50 1000 41 | 80 1001 40", ".xxx."),
        // On another permit's route, and from one to the other.
        (&[EAST, NORTH], "20 1990 800 | 30 2000 900 | 40 2010 1000", ".xx.."),
        (&[EAST], "20 1990 800 | 30 2000 900 | 40 2010 1000", ".xxxx"),
        (&[NORTH, EAST], "20 1800 20 | 30 1900 10 | 40 2000 90 | 50 2000 300 | 60 2000 2000", ".xx...."),
        // One fix does nothing, nor does one without a position or without accuracy.
        (&[EAST], "20 1100 20 | 30 1200 300 | 40 1300 20 | 50 1400 20", ".xxxx."),
        (&[EAST], "20 1100 20 | 25 - - | 30 1200 20 | 40 - -", ".xx?.?"),
        (&[EAST], "20 1100 20 accuracy_m=50 | 30 1200 20 accuracy_m=36 | 40 1300 20 accuracy_m=35", ".xxxx"),
        // After a silence.
        (&[EAST], "20 1100 20 | 900 3000 20 | 910 3100 20", ".xx.."),
        (&[EAST], "4000 3000 0 | 4010 3100 0", ".xx."),
    ] {
        assert_eq!(off_routes_of(routes, &format!("{off} | {then}")), expected, "{then}");
    }
}

#[test]
fn a_truck_on_its_route_is_not_off_it() {
    for (routes, track, expected) in [
        // One outlier, and two that are far apart in time.
        (&[EAST][..], "0 500 0 | 10 600 0 | 20 700 900 | 30 800 0 | 40 900 0 | 50 1000 900 | 60 1100 0", "......."),
        // A device that reports every ten minutes.
        (&[EAST], "0 500 300 | 600 900 300 | 1200 1900 300", ".xx"),
        // Turning round on it, and standing off it no farther than its buffer.
        (&[EAST], "0 500 0 | 10 600 0 | 20 610 15 | 30 500 10 | 40 400 10", "....."),
        (&[EAST], "0 500 90 speed_kmh=0 | 60 500 90 speed_kmh=0 | 120 500 90 speed_kmh=0", "..."),
        // A parallel road, near and not.
        (&[EAST], "0 500 50 | 10 600 50 | 20 700 50 | 30 800 50", "...."),
        (&[EAST], "0 500 150 | 10 600 150 | 20 700 150 | 30 800 150", ".xxx"),
        // From the route of one permit to that of another.
        (
            &[EAST, NORTH],
            "0 1500 0 | 10 1900 0 | 20 2000 150 | 30 2000 400 | 40 2000 100 | 50 2300 0 | 60 2600 0",
            ".......",
        ),
        (&[EAST], "0 1500 0 | 10 1900 0 | 20 2000 150 | 30 2000 400 | 40 2000 100", "...xx"),
        // Without places nowhere is an end.
        (&[EAST], "0 0 200 | 10 0 210 | 20 0 220", ".xx"),
        (&[], "0 0 200 | 10 0 210", "??"),
    ] {
        assert_eq!(off_routes_of(routes, track), expected, "{track}");
    }
}

#[test]
fn a_deviation_lasts_from_its_first_fix_without_silences() {
    let far = "10 1600 300\n20 1700 300\n30 1800 300 accuracy_m=90\n40 - -\n50 1900 300";
    check(&format!("0 1500 0\n{far}"), "off_route_s", "0 | 0 | 10 | 10 | null | 40");
    check(&format!("{far}\n650 2000 300\n680 2100 300"), "off_route_s", "0 | 10 | 10 | null | 40 | 40 | 70");
    check(
        &format!("{far}\n60 2000 0\n70 2100 0\n80 2200 300\n90 2300 300"),
        "off_route_s",
        "0 | 10 | 10 | null | 40 | 50 | 0 | 0 | 10",
    );
}

#[test]
fn a_manifest_keeps_the_routes_of_its_permit() {
    check("900 1600 30", "route_id manifest_id", "r1 m1");
}

#[test]
fn roads_give_their_limits() {
    for (track, expected) in [
        ("0 500 2 speed_kmh=40 heading_deg=90", "a 50"),
        ("0 500 2 speed_kmh=40 heading_deg=90\n10 600 13 speed_kmh=40 heading_deg=90", "a 50 | a 50"),
        // Which of two streets 20 m apart only some fixes tell; until then the higher limit counts.
        (
            "0 500 2 speed_kmh=40 heading_deg=90\n10 600 19 speed_kmh=40 heading_deg=90\n20 700 20 speed_kmh=40 heading_deg=90\n\
             30 800 20 speed_kmh=40 heading_deg=90\n40 900 20 speed_kmh=40 heading_deg=90",
            "a 50 | b 50 | b 50 | b 40 | b 40",
        ),
        // Over a crossing road, nearer to it than to ours.
        ("0 2900 6 speed_kmh=40 heading_deg=90\n10 3001 6 speed_kmh=40 heading_deg=90", "a 50 | a 50"),
        ("0 500 3000 speed_kmh=40 heading_deg=90", "w 40"),
        // Against a one-way street: rare, not impossible.
        ("0 500 3000 speed_kmh=40 heading_deg=270", "w 40"),
        ("0 500 8000", "null null"),
    ] {
        check(track, "road_id speed_limit_kmh", expected);
    }
}

/// Roads as `id` or `id>` (one-way) with their points; the roads on which the fixes were, from a state that goes through
/// serde at every step as well as from one that does not.
fn roads_of(roads: &[(&str, &[(f64, f64)])], track: &str) -> String {
    let feature = |(name, points): &(&str, &[(f64, f64)])| {
        let (id, oneway) = (name.trim_end_matches('>'), name.ends_with('>'));
        line(&format!(r#""road_id":"{id}","name":"","class":"primary","oneway":{oneway}"#), points)
    };
    let text = collection(&roads.iter().map(feature).collect::<Vec<_>>());
    let registry = Arc::new(Registry::parse(&[("roads.geojson", &text)]).unwrap_or_else(|error| panic!("{error}")));
    let columns = Column::named("road_id").into_iter().collect();
    let fold = Fold::new(registry, columns, Settings::default());
    let (mut state, mut restored) = (VehicleState::default(), VehicleState::default());
    let step = |text: &str| {
        let (report, event_time) = report(text.trim());
        let input = Input::Report { report: &report, event_time, recv_time: event_time, use_position: true };
        restored = serde_json::from_str(&serde_json::to_string(&restored).unwrap()).unwrap();
        let row = fold.step(&mut state, input);
        assert_eq!(row.road_id, fold.step(&mut restored, input).road_id, "{text}");
        assert_eq!(serde_json::to_string(&state).unwrap(), serde_json::to_string(&restored).unwrap(), "{text}");
        row.road_id.map_or_else(|| "-".to_owned(), |id| id.to_string())
    };
    track.split('|').map(step).collect::<Vec<_>>().join(" ")
}

const CROSSING: &[(&str, &[(f64, f64)])] =
    &[("a", &[(-900., 0.), (0., 0.), (900., 0.)]), ("x", &[(0., -500.), (0., 0.), (0., 500.)])];
const PARALLEL: &[(&str, &[(f64, f64)])] = &[("a", &[(-900., 0.), (900., 0.)]), ("b", &[(-900., 20.), (900., 20.)])];
const OPPOSITE: &[(&str, &[(f64, f64)])] = &[("e>", &[(-900., 0.), (900., 0.)]), ("w>", &[(900., 0.), (-900., 0.)])];
/// `x` branches off `a`; `n` runs beside `x` and meets nothing.
const BRANCH: &[(&str, &[(f64, f64)])] = &[
    ("a", &[(-900., 0.), (300., 0.), (900., 0.)]),
    ("x", &[(300., 0.), (300., 500.)]),
    ("n", &[(312., 30.), (312., 500.)]),
];

#[test]
fn roads_follow_from_the_way_driven() {
    for (roads, track, expected) in [
        // The crossing road is the nearest for a moment.
        (CROSSING, "0 -60 4 | 2 -30 4 | 4 -1 6 | 6 30 4 | 8 60 4", "a a a a a"),
        (CROSSING, "0 -60 0 | 2 -30 0 | 4 -3 2 | 6 1 30 | 8 0 60", "a a a x x"),
        // The neighbour is nearer, and nothing else speaks for it.
        (PARALLEL, "0 0 -3 | 2 30 -3 | 4 60 -3 | 6 90 13 | 8 120 13 | 10 150 13", "a a a a a a"),
        // It was long ago.
        (PARALLEL, "0 0 -3 | 2 30 -3 | 4 60 -3 | 400 800 13 speed_kmh=40", "a a a b"),
        // It must have changed roads, though the map shows no link.
        (
            PARALLEL,
            "0 0 -3 | 2 30 -3 | 4 60 23 | 6 90 23 | 8 120 23 | 10 150 23 | 12 180 23 | 14 210 23",
            "a a a b b b b b",
        ),
        // The first fix alone cannot tell: the smaller id. Then the way can.
        (OPPOSITE, "0 0 0 | 2 -30 0 | 4 -60 0 | 34 -500 0 | 64 -800 0", "e w w w w"),
        (OPPOSITE, "0 0 0 | 2 30 0 | 4 60 0 | 34 500 0 | 64 800 0", "e e e e e"),
        (OPPOSITE, "0 0 0 speed_kmh=40 heading_deg=270", "w"),
        (BRANCH, "0 0 0 | 30 308 250", "a x"),
        (BRANCH, "0 308 250", "n"),
        (PARALLEL, "0 0 -80 | 30 0 -3 | 60 300 -80 | 90 600 -3", "- a - a"),
    ] {
        assert_eq!(roads_of(roads, track), expected, "{track}");
        let reversed: Vec<_> = roads.iter().rev().copied().collect();
        assert_eq!(roads_of(&reversed, track), expected, "in another order: {track}");
    }
}

/// A slip road leaves the trunk road at a small angle: at their parting nobody can tell which it is, one fix later everybody can.
const FORK: &[(&str, &[(f64, f64)])] =
    &[("slip", &[(0., 0.), (300., -30.), (600., -160.)]), ("trunk", &[(-900., 0.), (0., 0.), (900., 0.)])];

#[test]
fn the_road_of_the_fix_before_is_told_by_where_it_led() {
    let settled = |roads: &[(&str, &[(f64, f64)])], track: &str| {
        settled_of(roads, track).iter().map(|row| value(row, "settled_road_id")).collect::<Vec<_>>().join(" ")
    };
    for (roads, track, here, before) in [
        // Nearer to the slip road, and yet it drove on; and the other way round.
        (FORK, "0 -300 0 | 10 -100 0 | 20 100 -8 | 30 300 0", "trunk trunk slip trunk", "null trunk trunk trunk"),
        (FORK, "0 -300 0 | 10 -100 0 | 20 100 -2 | 30 300 -30", "trunk trunk trunk slip", "null trunk trunk slip"),
        // By fixes a second apart, too, which are not all witnesses to the match.
        (CROSSING, "0 -60 4 | 2 -30 4 | 3 -15 2 | 4 -1 6 | 6 30 4", "a a a a a", "null a a a a"),
        // Without a position, far from roads or after a silence there is nothing to see it from.
        (
            FORK,
            "0 -300 0 | 10 - - | 20 100 0 | 30 0 3000 | 400 0 0",
            "trunk - trunk - slip",
            "null trunk null trunk null",
        ),
    ] {
        assert_eq!(roads_of(roads, track), here, "{track}");
        assert_eq!(settled(roads, track), before, "{track}");
    }
}

#[test]
fn each_report_is_settled_once_by_the_next() {
    let track = "0 -300 0 speed_kmh=72 | 10 -100 0 speed_kmh=71 | 20 - - speed_kmh=70 | 30 300 0 speed_kmh=69 | 331 300 0 speed_kmh=0";
    let told = |name: &str| settled_of(FORK, track).iter().map(|row| value(row, name)).collect::<Vec<_>>().join(" ");
    let times: Vec<_> = settled_of(FORK, track).iter().map(|row| row.settled_time).collect();
    assert_eq!(times, [None, Some(at(0.0)), Some(at(10.0)), Some(at(20.0)), None]);
    assert_eq!(told("settled_speed_kmh"), "null 72 71 70 null");
    assert_eq!(told("settled_speed_limit_kmh"), "null 40 40 null null");
}

/// Whatever it says it drives, who came only so far did not drive so fast: neither up to a fix nor on from it.
#[test]
fn a_speed_that_the_next_fix_contradicts_is_unknown() {
    for (track, expected) in [
        ("0 0 0 speed_kmh=100 | 10 270 0 speed_kmh=95", "null 100"),
        ("0 0 0 speed_kmh=100 | 10 20 0 speed_kmh=5", "null null"),
        // It braked as hard as it could.
        ("0 0 0 speed_kmh=60 | 10 20 0 speed_kmh=0", "null 60"),
        // The same position to the last digit is no other fix.
        ("0 0 0 speed_kmh=100 | 10 0 0 speed_kmh=100", "null 100"),
    ] {
        let told: Vec<_> = settled_of(FORK, track).iter().map(|row| value(row, "settled_speed_kmh")).collect();
        assert_eq!(told.join(" "), expected, "{track}");
    }
}

fn settled_of(roads: &[(&str, &[(f64, f64)])], track: &str) -> Vec<Facts> {
    let feature = |(id, points): &(&str, &[(f64, f64)])| {
        line(&format!(r#""road_id":"{id}","name":"","class":"primary","speed_limit_kmh":60"#), points)
    };
    let text = collection(&roads.iter().map(feature).collect::<Vec<_>>());
    let registry = Arc::new(Registry::parse(&[("roads.geojson", &text)]).unwrap_or_else(|error| panic!("{error}")));
    let reports: Vec<_> = track.split('|').map(|text| report(text.trim())).collect();
    run(&Fold::new(registry, ColumnSet::all(), Settings::default()), &mut VehicleState::default(), &reports)
}

#[test]
fn a_trip_opens_on_leaving_a_source_and_closes_in_a_sink() {
    check(
        "0 0 0\n30 400 0\n60 900 0\n90 5100 0\n120 5100 0",
        "trip_source_id trip_s trip_distance_m",
        "null null null | src 0 0 | src 30 500 | src 60 4700 | null null null",
    );
    check(
        "0 0 0 odometer_m=1000\n30 400 0 odometer_m=1400\n60 900 0 odometer_m=2000",
        "trip_id trip_distance_m",
        "null null | v1@2026-03-01T13:00:30.000Z 0 | v1@2026-03-01T13:00:30.000Z 600",
    );
}

#[test]
fn a_trip_tells_that_it_ends_and_what_the_load_lost_on_the_way() {
    check(
        "0 0 0 gross_kg=30000\n30 1000 0 gross_kg=30500\n60 2000 0\n90 3000 0 gross_kg=27000\n120 5100 0 gross_kg=27000\n150 5100 0",
        "trip_ended trip_gross_change_kg",
        "false null | false 0 | false null | false -3500 | true -3500 | false null",
    );
}

#[test]
fn the_load_comes_and_goes_at_one_report() {
    check(
        "0 0 0 load=empty\n10 0 0 load=fault\n20 0 0 load=full\n30 0 0 load=half\n40 0 0 load=empty\n50 0 0",
        "load_gain load_drop",
        "false false | false false | true false | false false | false true | false false",
    );
}

#[test]
fn ignition_is_on_since_it_was_seen_to_go_on() {
    for (track, expected) in [
        ("0 0 0 ignition=true\n9 0 0 ignition=true", "null | null"),
        (
            "0 0 0 ignition=false\n9 0 0\n10 0 0 ignition=true\n30 0 0\n70 0 0 ignition=true\n80 0 0 ignition=false",
            "null | null | 0 | null | 60 | null",
        ),
    ] {
        check(track, "ignition_on_s", expected);
    }
}

#[test]
fn a_turn_is_told_where_fixes_come_often_enough_and_a_truck_can_drive_it() {
    let turn = "turn_deg turn_s turn_min_speed_kmh";
    for (track, expected) in [
        ("0 0 0 speed_kmh=36 heading_deg=350\n2 0 20 speed_kmh=36 heading_deg=0", "null null null | 10 2 36"),
        (
            "0 0 0 speed_kmh=36 heading_deg=0\n2 0 20 speed_kmh=30 heading_deg=20\n4 9 30 speed_kmh=34 heading_deg=45\n\
             6 20 35 speed_kmh=36 heading_deg=46\n8 40 35 speed_kmh=36 heading_deg=30",
            "null null null | 20 2 30 | 45 4 30 | 0 0 36 | -16 2 36",
        ),
        ("0 0 0 speed_kmh=36 heading_deg=0\n4 0 40 speed_kmh=36 heading_deg=40", "null null null | null null null"),
        // On 8 m no truck turns; at a crawl courses are chance; what is not told is unknown.
        ("0 0 0 speed_kmh=28 heading_deg=0\n1 0 8 speed_kmh=28 heading_deg=56", "null null null | null null null"),
        ("0 0 0 speed_kmh=4 heading_deg=0\n1 0 1 speed_kmh=4 heading_deg=90", "null null null | 0 0 4"),
        ("0 0 0 speed_kmh=28 heading_deg=0\n1 0 8 speed_kmh=28", "null null null | null null null"),
    ] {
        check(track, turn, expected);
    }
    let rows = rows("0 0 0 speed_kmh=36 heading_deg=0\n2 0 20 speed_kmh=36 heading_deg=45");
    let sideways = rows[1].turn_acceleration_mps2.unwrap();
    assert!((sideways - 10.0 * 45f64.to_radians() / 2.0).abs() < 1e-9, "{sideways}");
}

#[test]
fn a_place_says_whether_it_takes_trucks_and_whether_any_permit_names_it() {
    for (track, expected) in [
        ("0 0 0\n9 5100 0", "open true | full true"),
        // Nobody's permit names it, or none does any more (revoked at 15:10Z); a depot needs none.
        ("0 10100 0\n7800 0 0", "open false | open false"),
        ("0 50 20050\n9 700 700\n10 - -", "open null | null null | null null"),
    ] {
        check(track, "place_status place_approved", expected);
    }
}

#[test]
fn who_stood_off_the_road_and_comes_back_half_the_way_is_returning() {
    let out = "0 0 0 speed_kmh=0\n60 2000 0 speed_kmh=40\n120 4000 0 speed_kmh=40\n";
    let stand = |y: f64| format!("180 4000 {y} speed_kmh=0\n240 4000 {y} speed_kmh=0\n420 4000 {y} speed_kmh=0\n");
    for (y, back, expected) in [
        (
            200.,
            "450 3000 0 speed_kmh=40\n480 2100 0 speed_kmh=40\n540 1900 0 speed_kmh=40\n600 - -",
            "240 null | 240 false | 240 true | 240 null",
        ),
        (
            200.,
            "450 4500 0 speed_kmh=40\n480 4800 0 speed_kmh=40\n510 5100 0 speed_kmh=40\n840 1900 0 speed_kmh=40",
            "240 null | 240 false | null null | null null",
        ),
        // By the road, as in a jam or at a pump.
        (30., "480 2100 0 speed_kmh=40\n540 1900 0 speed_kmh=40", "0 false | 0 false"),
    ] {
        let all = rows(&format!("{out}{}{back}", stand(y)));
        let told: Vec<String> = all[6..]
            .iter()
            .map(|row| format!("{} {}", value(row, "trip_aside_s"), value(row, "trip_returning")))
            .collect();
        assert_eq!(told.join(" | "), expected, "{y} {back}");
    }
}

#[test]
fn a_cover_that_never_moves_and_a_load_that_disagrees_are_counted_by_the_trip() {
    let trip = |hour: u32, load: &str, cover: &str| {
        let spots = [
            (0, 0.),
            (300, 0.),
            (600, 2000.),
            (660, 2500.),
            (1200, 5100.),
            (1500, 5100.),
            (1800, 3000.),
            (1860, 2500.),
        ];
        let line = |(s, x): (u32, f64)| format!("{} {x} 0 speed_kmh=20 load={load} cover={cover}\n", hour * 3600 + s);
        spots.map(line).concat()
    };
    for (load, cover, expected) in [
        ("empty", "closed", "2 2"),
        ("loaded", "open", "2 2"),
        ("unknown", "fault", "null 0"),
        ("fault", "open", "2 0"),
    ] {
        let rows = rows(&(trip(0, load, cover) + &trip(1, load, cover)));
        let last = rows.last().unwrap();
        let told = format!("{} {}", value(last, "cover_still_trips"), value(last, "load_disagreed_trips"));
        assert_eq!(told, expected, "{load} {cover}");
    }
}

#[test]
fn the_driver_is_held_against_the_manifest() {
    check(
        "600 0 0 driver_id=dr1\n630 0 0 driver_id=dr2\n660 0 0\n3700 0 0 driver_id=dr2",
        "manifest_driver_id driver_mismatch manifest_planned_s manifest_planned_m",
        "dr1 false 3600 12000 | dr1 true 3600 12000 | dr1 null 3600 12000 | null null null null",
    );
}

#[test]
fn an_odometer_says_how_far_it_went_unseen() {
    check(
        "0 0 0 odometer_m=1000\n30 - - odometer_m=1400\n60 - -\n90 - - odometer_m=2500\n120 900 0 odometer_m=2600\n150 900 0 odometer_m=100",
        "no_fix_s no_fix_odometer_m gap_odometer_m",
        "0 0 null | 30 400 400 | 60 null null | 90 1500 1100 | 0 0 100 | 0 0 null",
    );
    check("0 0 0\n10 0 0\n20 0 0\n30 0 0\n100 0 0\n110 0 0", "usual_gap_s", "null | null | 10 | 10 | 10 | 12");
    check("0 - - odometer_m=5\n60 - - odometer_m=905", "no_fix_s no_fix_odometer_m", "0 0 | 60 900");
}

/// Legs of (minutes, whether it drives), a report a minute.
fn shift(legs: &[(usize, bool)]) -> Vec<Facts> {
    let (mut lines, mut minute, mut x) = (Vec::new(), 0, 0.0);
    for (minutes, drives) in legs {
        for _ in 0..*minutes {
            minute += 1;
            x += if *drives { 600.0 } else { 0.0 };
            lines.push(format!("{} {x} 40000 speed_kmh={}", minute * 60, if *drives { 36 } else { 0 }));
        }
    }
    rows(&lines.join("\n"))
}

#[test]
fn driving_adds_up_until_a_rest_of_twenty_minutes() {
    // What a leg adds is told by the report that ends it; how long a stand takes to be recognised is no driving.
    for (legs, driving_min, day_min) in [
        (&[(60, true)][..], 59.0, 59.0),
        (&[(60, true), (10, false), (60, true)], 118.0, 118.0),
        (&[(60, true), (25, false), (60, true)], 59.0, 118.0),
        (&[(60, true), (25, false)], 0.0, 59.0),
        (&[(5, false), (30, true)], 29.0, 29.0),
        (&[(600, true)], 599.0, 599.0),
    ] {
        let all = shift(legs);
        let last = &all[all.len() - 1];
        let told = [last.driving_s, last.driving_day_s].map(|s| s.unwrap() / 60.0);
        assert!((told[0] - driving_min).abs() <= 3.0, "{legs:?}: {told:?}");
        assert!((told[1] - day_min).abs() <= 3.0, "{legs:?}: {told:?}");
    }
}

#[test]
fn driving_is_forgotten_after_a_day_and_not_made_up_over_a_silence() {
    let told = |track: &str| {
        let all = rows(track);
        let last = &all[all.len() - 1];
        [last.driving_s, last.driving_day_s].map(|s| s.unwrap().round())
    };
    let hour: String = (0..61).map(|minute| format!("{} {} 40000 speed_kmh=36\n", minute * 60, minute * 600)).collect();
    assert_eq!(told(&hour), [3600.0, 3600.0]);
    assert_eq!(told(&format!("{hour}7200 60000 40000 speed_kmh=36")), [3600.0, 3600.0], "an hour of silence");
    assert_eq!(told(&format!("{hour}{} 60000 40000 speed_kmh=36", 26 * 3600))[1], 0.0, "a day later");
}

#[test]
fn a_timer_row_keeps_what_lasts_and_knows_nothing_of_the_moment() {
    let fold = fold_of(ColumnSet::all());
    let mut state = VehicleState::default();
    let reports = ["0 0 0 speed_kmh=0 load=full ignition=true cover=open".to_owned(), "30 0 0 speed_kmh=0".into()];
    run(&fold, &mut state, &reports.map(|line| report(&line)));
    let row =
        fold.step(&mut state, Input::Timer { vehicle_id: &"v1".into(), at: at(25_500.0), silent_s: Some(1900.0) });
    let told = |columns: &str| columns.split(' ').map(|name| value(&row, name)).collect::<Vec<_>>().join(" ");
    assert_eq!(
        told("row_kind silent_s vehicle_id place_id place_dwell_s load ignition"),
        "timer 1900 v1 src 25500 full true"
    );
    assert_eq!(told("permit_status outage_filed district_id lat"), "revoked true dist 23");
    assert_eq!(told("speed_kmh moving cover in_source in_forbidden off_route events alarms"), ["null"; 8].join(" "));
}

fn sighting(line: &str) -> (crate::model::Sighting, Time) {
    let (seconds, fields) = line.split_once(' ').unwrap();
    let time = at(seconds.parse().unwrap());
    let mut json = serde_json::json!({ "sensor_id": "g", "device_time": time, "kind": "anpr" });
    for (name, value) in fields.split(' ').map(|word| word.split_once('=').unwrap()) {
        json[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    (serde_json::from_value(json).expect(line), time)
}

#[test]
fn a_sighting_tells_what_was_seen_and_what_is_registered_and_forgets_nothing() {
    let fold = fold_of(ColumnSet::all());
    let mut state = VehicleState::default();
    run(&fold, &mut state, &[report("0 0 0 speed_kmh=0 load=full")]);
    let mut seen = |line: &str, columns: &str| {
        let (sighting, event_time) = sighting(line);
        let row = fold.step(&mut state, Input::Sighting { sighting: &sighting, event_time, lag_s: 0.0 });
        columns.split(' ').map(|name| value(&row, name)).collect::<Vec<_>>().join(" ")
    };
    let told =
        "row_kind vehicle_id plate permit_status sighting_kind sighting_direction sighting_washed speed_kmh moving";
    assert_eq!(
        seen("60 plate=粤B1 place_id=src direction=out washed=false", told),
        "sighting v1 粤B1 valid anpr out false null null"
    );
    assert_eq!(
        seen("90 plate=粤B1 lon=114.3 lat=22.5 kind=weigh gross_kg=32000", "sighting_kind sighting_gross_kg"),
        "weigh 32000"
    );
    assert_eq!(
        seen("90 plate=粤X9 place_id=src", "vehicle_id plate vehicle_status permit_status"),
        "粤X9 粤X9 unregistered null"
    );
    let after = run(&fold, &mut state, &[report("120 0 0 speed_kmh=0 load=full")]);
    assert_eq!((after[0].stopped_s, after[0].gap_s), (Some(120.0), Some(120.0)));
}

#[test]
fn a_sighting_is_of_the_vehicle_whose_plate_was_read_well_enough() {
    let fold = fold_of(ColumnSet::all());
    for (line, expected) in [
        ("0 plate=粤B1", Some("v1")),
        ("0 plate=粤B1 plate_confidence=0.8", Some("v1")),
        ("0 plate=粤B1 plate_confidence=0.79", None),
        ("0 plate=粤X9", Some("粤X9")),
        ("0 place_id=src", None),
    ] {
        let (sighting, at) = sighting(line);
        assert_eq!(fold.vehicle_seen(&sighting, at).as_deref(), expected, "{line}");
    }
}

#[test]
fn settings_are_read_strictly() {
    let read = serde_json::from_str::<Settings>;
    assert_eq!(read(r#"{"stop_s": 90, "zone": "UTC"}"#).unwrap().stop_s, 90.0);
    assert!(read(r#"{"stop_seconds": 90}"#).is_err());
    assert!(read(r#"{"zone": "Asia/Atlantis"}"#).is_err());
}

#[test]
fn the_state_of_a_vehicle_is_small() {
    let bytes = size_of::<VehicleState>() + size_of::<super::identity::Held>();
    assert!(bytes <= 1_216, "{bytes}");
}

fn tracks() -> impl Strategy<Value = Vec<(DeviceReport, Time)>> {
    let step =
        (1u32..120, -300.0..900.0f64, -120.0..120.0f64, proptest::option::of(0.0..60.0f64), 0u8..12, any::<bool>());
    proptest::collection::vec(step, 1..60).prop_map(|steps| {
        let (mut s, mut x, mut y) = (0u32, 0.0, 0.0);
        let lines = steps.into_iter().map(|(ds, dx, dy, speed, kind, jump)| {
            s += ds * if kind == 0 { 60 } else { 1 };
            if jump {
                (x, y) = (x + dx, y + dy);
            }
            let load = ["empty", "full", "fault", "half"][usize::from(kind % 4)];
            let speed =
                speed.map_or(String::new(), |kmh| format!("speed_kmh={kmh} heading_deg={}", u16::from(kind) * 9));
            let spot = if kind == 11 { "- -".to_owned() } else { format!("{x} {y}") };
            report(&format!("{s} {spot} load={load} accuracy_m={} {speed}", 5 * kind))
        });
        lines.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_goes_on_after_a_restart_as_if_nothing_had_been(track in tracks(), cut in 0usize..60) {
        let fold = fold_of(ColumnSet::all());
        let whole = run(&fold, &mut VehicleState::default(), &track);
        prop_assert_eq!(&whole, &run(&fold, &mut VehicleState::default(), &track));
        let (before, after) = track.split_at(cut.min(track.len()));
        let mut state = VehicleState::default();
        let mut parts = run(&fold, &mut state, before);
        let kept = serde_json::to_string(&state).unwrap();
        let mut state: VehicleState = serde_json::from_str(&kept).unwrap();
        parts.extend(run(&fold_of(ColumnSet::all()), &mut state, after));
        prop_assert_eq!(whole, parts);
    }

    /// A straight of 1.2 km between two vertices, however it is driven.
    #[test]
    fn no_truck_within_the_buffer_is_off_its_route(
        fixes in proptest::collection::vec((1u32..900, 0.0..1200.0f64, -99.0..99.0f64, 0.0..360.0f64), 1..40),
    ) {
        let mut s = 0;
        let track = fixes.iter().map(|(ds, x, y, course)| {
            s += ds;
            format!("{s} {x} {y} speed_kmh=40 heading_deg={course}")
        });
        let told = off_routes_of(&[EAST], &track.collect::<Vec<_>>().join("|"));
        prop_assert!(!told.contains('x'), "{}", told);
    }

    /// Its points may come in either order, and a second permit for it adds nothing.
    #[test]
    fn a_route_is_the_same_from_both_ends(
        steps in proptest::collection::vec((1u32..60, -200.0..400.0f64, -150.0..150.0f64, 0u32..36), 1..40),
    ) {
        let (mut s, mut x, mut y) = (0, 1000.0, 0.0);
        let lines = steps.iter().map(|(ds, dx, dy, course)| {
            (s, x, y) = (s + ds, x + dx, y + dy);
            format!("{s} {x} {y} speed_kmh=40 heading_deg={}", course * 10 + 3)
        });
        let track = lines.collect::<Vec<_>>().join("|");
        let back: Vec<(f64, f64)> = EAST.iter().rev().copied().collect();
        let told = off_routes_of(&[EAST], &track);
        prop_assert_eq!(&told, &off_routes_of(&[&back], &track));
        prop_assert_eq!(&told, &off_routes_of(&[EAST, &back], &track));
    }

    #[test]
    fn columns_asked_alone_are_as_among_all(track in tracks(), wanted in any::<u64>()) {
        let set: ColumnSet = Column::all().enumerate().filter(|(n, _)| wanted >> (n % 64) & 1 == 1).map(|(_, c)| c).collect();
        let all = run(&fold_of(ColumnSet::all()), &mut VehicleState::default(), &track);
        let some = run(&fold_of(set), &mut VehicleState::default(), &track);
        for (all, some) in all.iter().zip(&some) {
            for column in set.iter() {
                prop_assert_eq!(all.value(column), some.value(column), "{}", column.name());
            }
        }
    }
}
