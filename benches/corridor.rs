//! Route deviation against buses whose true doing is known (route B63 of New York, from onebusaway-nyc), and what a
//! route costs by its vertices.
//!
//! `cargo bench --bench corridor`. The set lies where `MUCKWATCH_REAL_DATA` (default `../shared/data`) says, in
//! `b63-route-oracle`: fixes at about 29 s without speed or course, each with the phase of duty it was in, and the shapes
//! of the route. Each run is a truck whose permit names the shapes of that run's own trips. Reports go the whole way:
//! admission, facts with default settings, rules, alerts.
//!
//! A *stretch* is three minutes or more of fixes in `AT_BASE` or `DEADHEAD_*`, all over 100 m from every shape. It is found
//! when an alert that began by its end fires before the fix after it, or is still open from before. An alert that fires in `IN_PROGRESS` or `LAYOVER_*` is a false one, unless every fix
//! that it rests on is over 100 m from the shapes: there the label lags, or the bus made a detour.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    hint::black_box,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use muckwatch::{
    engine::{EngineError, LateSettings, Reference, replay},
    facts::{Fold, Input, Settings, VehicleState},
    ingest::{Admission, AdmissionSettings, Decoder, Format},
    model::{Alert, Column, Datum, DeviceReport, Record, Time},
    registry::Registry,
    rules::RuleSet,
    spatial::{LocalFrame, Point, Polyline},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What counts as truly off the shape, metres and seconds.
const OFF_M: f64 = 100.0;
const STRETCH_S: f64 = 180.0;
/// A longer gap between two fixes is no time in service, seconds.
const GAP_S: f64 = 300.0;

/// The deviation alone, and when it is over; each must hold for 180 s and for 60 s.
const RULES: [(&str, &str); 2] =
    [("off_route", "not off_route"), ("route_deviation_m > 100", "route_deviation_m < 60")];

fn main() {
    let data = std::env::var("MUCKWATCH_REAL_DATA").unwrap_or_else(|_| "../shared/data".into());
    let folder = PathBuf::from(data).join("b63-route-oracle");
    if folder.is_dir() {
        measure(&folder);
    } else {
        println!("no set in {}: deviations are not measured", folder.display());
    }
    growth();
}

/// One fix and what is known of it.
struct Fix {
    at: Time,
    point: Point,
    is_serving: bool,
    /// Over [`OFF_M`] from every permitted shape.
    is_off: bool,
}

struct Run {
    name: String,
    shapes: BTreeSet<String>,
    fixes: Vec<Fix>,
}

#[derive(serde::Deserialize)]
struct Row {
    run: String,
    local_time: String,
    lat: f64,
    lon: f64,
    phase: String,
    trip_id: String,
}

fn measure(folder: &Path) {
    let shapes = fs::read_to_string(folder.join("b63_shapes.geojson")).expect("the shapes");
    let runs = runs(folder, &lines(&shapes));
    let registry = Arc::new(registry(&shapes, &runs));
    let records = records(&registry, &runs);
    let fixes: usize = runs.iter().map(|run| run.fixes.len()).sum();
    println!("{} runs, {fixes} fixes, {:.1} truck-hours in service", runs.len(), service_h(&runs));
    let own = RULES.map(|(when, clear)| {
        let rule = format!(
            "rules: [{{ id: away, name: {{ en: away }}, description: away, severity: minor, departments: [urban_mgmt], \
             message: away, when: {when}, for: 180s, min_samples: 3, clear: {{ when: {clear}, for: 60s }} }}]"
        );
        (format!("`{when}` for 180 s, cleared by `{clear}` for 60 s"), vec![("bench.yaml".to_owned(), rule)])
    });
    let named = ("the pack's, loaded and with a manifest all the time, without its cool-down".to_owned(), pack());
    for (what, files) in own.into_iter().chain([named]) {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let reference = Reference {
            registry: Arc::clone(&registry),
            rules: Arc::new(RuleSet::parse(&files).unwrap_or_else(|errors| panic!("{errors}"))),
            facts: Settings::default(),
            tick_ms: 60_000,
            late: LateSettings::default(),
        };
        let replayed = replay::<EngineError>(&reference, 1, records.iter().cloned().map(Ok)).expect("a replay");
        let alerts: Vec<&Alert> =
            replayed.alerts.iter().filter(|alert| matches!(&*alert.rule_id, "away" | "route-deviation")).collect();
        println!("rule: {what}");
        score(&runs, &alerts);
    }
}

/// The files of the pack, without cool-downs of two hours.
fn pack() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let names =
        fs::read_dir(&folder).expect("the pack").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| name.ends_with(".yaml") && !name.ends_with("_test.yaml"));
    let mut files: Vec<(String, String)> = names
        .map(|name| (fs::read_to_string(folder.join(&name)).expect("a file of the pack"), name))
        .map(|(text, name)| (name, text.replace("cooldown: 2h", "cooldown: 0s")))
        .collect();
    files.sort();
    files
}

fn lines(shapes: &str) -> BTreeMap<String, Polyline> {
    let json: serde_json::Value = serde_json::from_str(shapes).expect("GeoJSON");
    let number = |value: &serde_json::Value| value.as_f64().expect("a coordinate");
    let shape = |feature: &serde_json::Value| {
        let points = feature["geometry"]["coordinates"].as_array().expect("coordinates");
        let points: Vec<Point> = points.iter().map(|point| Point::new(number(&point[0]), number(&point[1]))).collect();
        let name = feature["properties"]["shape_id"].as_str().expect("an id").to_owned();
        (name, Polyline::new(&points).expect("a line"))
    };
    json["features"].as_array().expect("features").iter().map(shape).collect()
}

fn runs(folder: &Path, lines: &BTreeMap<String, Polyline>) -> Vec<Run> {
    let trips = fs::read_to_string(folder.join("trip_to_shape.json")).expect("the trips");
    let trips: BTreeMap<String, String> = serde_json::from_str(&trips).expect("trips to shapes");
    let packed = fs::File::open(folder.join("labelled.csv.gz")).expect("the fixes");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("packed fixes");
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for row in csv::Reader::from_reader(text.as_bytes()).deserialize::<Row>() {
        let row = row.expect("a fix");
        let run = runs.entry(row.run.clone()).or_insert(Run { name: row.run, shapes: BTreeSet::new(), fixes: vec![] });
        run.shapes.extend(trips.get(&row.trip_id).cloned());
        // New York in winter.
        let at = format!("{}-05:00", row.local_time.replace(' ', "T")).parse().expect("a time");
        let is_serving = row.phase == "IN_PROGRESS" || row.phase.starts_with("LAYOVER");
        run.fixes.push(Fix { at, point: Point::new(row.lon, row.lat), is_serving, is_off: false });
    }
    let all: BTreeSet<String> = runs.values().flat_map(|run| run.shapes.iter().cloned()).collect();
    for run in runs.values_mut() {
        if run.shapes.is_empty() {
            run.shapes.clone_from(&all);
        }
        let permitted: Vec<&Polyline> = run.shapes.iter().map(|shape| &lines[shape]).collect();
        for fix in &mut run.fixes {
            fix.is_off = permitted.iter().all(|line| line.distance_m(fix.point) > OFF_M);
        }
    }
    runs.into_values().collect()
}

fn registry(shapes: &str, runs: &[Run]) -> Registry {
    let routes = shapes.replace("shape_id", "route_id").replacen('{', r#"{"datum":"wgs84","#, 1);
    let mut vehicles =
        "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors\n".to_owned();
    let mut permits = "permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status\n".to_owned();
    let mut manifests =
        "manifest_id,vehicle_id,permit_id,opened_at,closed_at,driver_id,planned_distance_m,planned_duration_s\n"
            .to_owned();
    for Run { name, shapes, .. } in runs {
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        let wrote = writeln!(vehicles, "{name},{name},yellow,{name},,active,31000,12000,load")
            .and_then(|()| writeln!(permits, "{name},{name},,,{},,valid", shapes.join(" ")))
            .and_then(|()| writeln!(manifests, "{name},{name},{name},2010-01-01T00:00:00Z,,,,"));
        wrote.expect("writing to a String cannot fail");
    }
    let files = [
        ("vehicles.csv", vehicles),
        ("permits.csv", permits),
        ("manifests.csv", manifests),
        ("routes.geojson", routes),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Registry::parse(&files).unwrap_or_else(|error| panic!("{error}"))
}

/// As admitted, in order of time.
fn records(registry: &Registry, runs: &[Run]) -> Vec<Record> {
    let mut fixes: Vec<(&Fix, &str)> =
        runs.iter().flat_map(|run| run.fixes.iter().map(|fix| (fix, &*run.name))).collect();
    fixes.sort_by_key(|(fix, name)| (fix.at, *name));
    let decoder = Decoder::new(Format::Native, "", Datum::Wgs84);
    let mut admission = Admission::new(AdmissionSettings::default());
    let mut decoded = Vec::new();
    let mut records = Vec::new();
    for (fix, name) in fixes {
        let (at, Point { lon, lat }) = (fix.at, fix.point);
        let line = format!(r#"{{"device_id":"{name}","device_time":"{at}","lat":{lat},"lon":{lon},"load":"full"}}"#);
        decoder.decode_line(line.as_bytes(), "set", &mut decoded);
        let admitted =
            decoded.drain(..).map(|one| admission.admit(one, at, |id: &str| registry.device_is_registered(id)));
        records.extend(admitted);
    }
    records
}

fn service_h(runs: &[Run]) -> f64 {
    let pairs = runs.iter().flat_map(|run| run.fixes.windows(2));
    let spans = pairs.filter(|pair| pair.iter().all(|fix| fix.is_serving)).map(|pair| pair[1].at.s_since(pair[0].at));
    spans.filter(|s| *s <= GAP_S).sum::<f64>() / 3600.0
}

fn score(runs: &[Run], alerts: &[&Alert]) {
    let (mut stretches, mut found, mut delays) = (0, 0, Vec::new());
    let (mut labelled, mut false_ones) = (0, 0);
    for run in runs {
        let own: Vec<&&Alert> = alerts.iter().filter(|alert| *alert.vehicle_id == *run.name).collect();
        let mut next = 0;
        for stretch in run.fixes.chunk_by(|a, b| (a.is_off && !a.is_serving) == (b.is_off && !b.is_serving)) {
            next += stretch.len();
            let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
            if !first.is_off || first.is_serving || last.at.s_since(first.at) < STRETCH_S {
                continue;
            }
            let ended = run.fixes.get(next).map_or(last.at, |fix| fix.at);
            stretches += 1;
            let tells = |alert: &&&&Alert| {
                alert.started_at <= last.at
                    && alert.fired_at <= ended
                    && alert.cleared_at.is_none_or(|at| at > first.at)
            };
            if let Some(alert) = own.iter().find(tells) {
                found += 1;
                // Off since before the label says so, as often as not.
                let before = run.fixes.iter().rev().skip_while(|fix| fix.at > first.at).take_while(|fix| fix.is_off);
                let began = before.last().map_or(first.at, |fix| fix.at);
                delays.push(alert.fired_at.s_since(began).max(0.0));
            } else {
                println!("  missed: {} at {}, {:.0} s", run.name, first.at, last.at.s_since(first.at));
            }
        }
        for alert in own {
            let Some(fix) = run.fixes.iter().find(|fix| fix.at == alert.fired_at).filter(|fix| fix.is_serving) else {
                continue;
            };
            labelled += 1;
            let mut rests_on = run.fixes.iter().filter(|other| other.at >= alert.started_at && other.at <= fix.at);
            false_ones += usize::from(!rests_on.all(|fix| fix.is_off));
        }
    }
    delays.sort_by(f64::total_cmp);
    let quantile = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let per_100_h = |count: usize| 100.0 * count as f64 / service_h(runs);
    println!(
        "  {found} of {stretches} stretches found; delay from the first fix off: median {:.0} s, p95 {:.0} s",
        quantile(0.5),
        quantile(0.95)
    );
    println!(
        "  false: {false_ones}, {:.1} in 100 truck-hours in service; {labelled} alerts fired there, the others on three minutes and more truly off",
        per_100_h(false_ones)
    );
}

/// What the fold spends on routes, by their vertices.
fn growth() {
    println!("vertices of each of 4 permitted routes    a fix on its route    one 5 km off");
    let none = [false, true].map(|is_off| time(0, is_off));
    for vertices in [50, 500, 5_000] {
        let [on, off] = [false, true].map(|is_off| time(vertices, is_off) - none[usize::from(is_off)]);
        println!("{vertices:>8}                                  {on:>8.0} ns         {off:>8.0} ns");
    }
}

/// Nanoseconds a fix: the best of five.
fn time(vertices: usize, is_off: bool) -> f64 {
    const FIXES: usize = 5_000;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let frame = LocalFrame::at(Point::new(114.0, 22.6));
    let mut routes: Vec<Vec<Point>> = Vec::new();
    for number in 0..if vertices > 0 { 4 } else { 0 } {
        // 50 km in bends, the routes from one gate in four directions.
        let step_m = 50_000.0 / (vertices - 1) as f64;
        let (mut x, mut y, mut course) = (0.0, 0.0, f64::from(number) * std::f64::consts::FRAC_PI_2);
        let walk = (0..vertices).map(|_| {
            let here = frame.to_point(x, y);
            course += (random.random::<f64>() - 0.5) * (step_m / 1_000.0).sqrt();
            (x, y) = (x + step_m * course.cos(), y + step_m * course.sin());
            here
        });
        routes.push(walk.collect());
    }
    let line = Polyline::new(routes.first().map_or(&[frame.origin(), frame.to_point(50_000.0, 0.0)], Vec::as_slice))
        .expect("a line");
    let features: Vec<String> = routes.iter().enumerate().map(|(number, points)| {
        let points: Vec<String> = points.iter().map(|p| format!("[{},{}]", p.lon, p.lat)).collect();
        format!(r#"{{"type":"Feature","properties":{{"route_id":"r{number}","name":""}},"geometry":{{"type":"LineString","coordinates":[{}]}}}}"#, points.join(","))
    }).collect();
    let text = format!(r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{}]}}"#, features.join(","));
    let names: Vec<String> = (0..routes.len()).map(|number| format!("r{number}")).collect();
    let permits =
        format!("permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status\np,v,,,{},,valid\n", names.join(" "));
    let vehicles =
        "vehicle_id,plate,plate_color,device_id,company_id,status,max_gross_kg,tare_kg,sensors\nv,v,,d,,active,,,\n";
    let files = [("vehicles.csv", vehicles), ("permits.csv", &*permits), ("routes.geojson", &*text)];
    let registry = Arc::new(Registry::parse(&files).unwrap_or_else(|error| panic!("{error}")));
    let fold = Fold::new(registry, ["off_route"].into_iter().filter_map(Column::named).collect(), Settings::default());
    let away = LocalFrame::at(frame.origin());
    let reports: Vec<DeviceReport> = (0..FIXES)
        .map(|number| {
            let on = line.point_at(line.length_m() * number as f64 / FIXES as f64);
            let (x, y) = away.to_m(on);
            let point = if is_off { away.to_point(x, y + 5_000.0) } else { on };
            DeviceReport {
                device_id: "d".into(),
                device_time: Time::from_millis(number as i64 * 1_000),
                lon: Some(point.lon),
                lat: Some(point.lat),
                ..DeviceReport::default()
            }
        })
        .collect();
    let run = |_| {
        let mut state = VehicleState::default();
        let began = Instant::now();
        for report in &reports {
            let input = Input::Report {
                report,
                event_time: report.device_time,
                recv_time: report.device_time,
                use_position: true,
            };
            black_box(fold.step(&mut state, input));
        }
        began.elapsed().as_secs_f64() * 1e9 / FIXES as f64
    };
    (0..5).map(run).fold(f64::INFINITY, f64::min)
}
