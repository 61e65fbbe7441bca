//! From bytes to transitions on one core: the whole, and what each station takes of it.
//!
//! `cargo bench --bench evaluator`. Roads: those of Chengdu where `MUCKWATCH_REAL_DATA` (default `../shared/data`) has
//! them, else a grid of as many segments. 16,000 trucks, 2,000 zones of 40 corners, the first pack of rules.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{fmt::Write as _, hint::black_box, io::Read as _, path::PathBuf, sync::Arc, time::Instant};

use muckwatch::{
    engine::{Judge, LateSettings, Reference, Seen},
    facts::{Fold, Input, Settings, VehicleState},
    ingest::{Admission, AdmissionSettings, Decoder, Format},
    model::{Body, Datum, Facts, Record, Text, Time},
    registry::Registry,
    rules::RuleSet,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TRUCKS: usize = 16_000;
const ROUNDS: usize = 40;
const ZONES: usize = 2_000;
const SEGMENTS: usize = 173_424;
const BATCH: usize = 1_024;

type Line = Vec<(f64, f64)>;

fn main() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (roads_file, roads) = roads();
    let registry = Arc::new(registry(&roads_file, &roads, &mut random));
    let rules = Arc::new(RuleSet::load(&root().join("rules")).expect("the first pack"));
    println!("{} road segments, {ZONES} zones, {TRUCKS} trucks, {} rules", segments(&roads), rules.rules().len());
    let messages = messages(&roads, &mut random);
    let decoder = Decoder::new(Format::Native, "mw/v1", Datum::Wgs84);

    let reports = messages.len() as f64;
    let whole = {
        let reference = Reference {
            registry: Arc::clone(&registry),
            rules: Arc::clone(&rules),
            facts: Settings::default(),
            tick_ms: 60_000,
            late: LateSettings::default(),
        };
        println!(
            "{:.0} bytes a vehicle, of admission and judge, resident",
            vehicle_bytes(&decoder, &registry, &reference, &messages)
        );
        time("decode, admit, facts, rules, alerts", reports, None, || {
            whole(&decoder, &registry, reference.clone(), &messages);
        })
    };
    time("  decode", reports, Some(whole), || {
        let mut decoded = Vec::new();
        for (topic, payload) in &messages {
            decoded.clear();
            decoder.decode(topic, payload, &mut decoded);
            black_box(&decoded);
        }
    });
    let records = records(&decoder, &registry, &messages);
    let fold = Fold::new(Arc::clone(&registry), rules.columns(), Settings::default());
    let mut states = FxHashMap::default();
    time("  facts", reports, Some(whole), || {
        for batch in records.chunks(BATCH) {
            black_box(facts(&fold, &mut states, batch));
        }
    });
    let rows = facts(&fold, &mut states, &records[records.len() - BATCH..]);
    time("  rules", reports, Some(whole), || {
        for _ in 0..records.len() / BATCH {
            black_box(rules.evaluate(&rows).expect("rules evaluate"));
        }
    });
}

/// The best of five: what disturbs a run only ever makes it longer.
fn time(what: &str, reports: f64, whole: Option<f64>, mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    let s = (0..5).map(run).fold(f64::INFINITY, f64::min);
    let share = whole.map_or(String::new(), |whole| format!("  {:>5.1} % of the whole", 100.0 * s / whole));
    println!("{what:<40} {:>9.0} reports/s  {:>7.0} ns a report{share}", reports / s, s * 1e9 / reports);
    s
}

/// Resident bytes of this process, where /proc tells.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(f64::NAN) * 4096.0
}

/// What each of the second half of the trucks adds, once the first half has filled all buffers.
fn vehicle_bytes(decoder: &Decoder, registry: &Registry, reference: &Reference, messages: &[(String, Vec<u8>)]) -> f64 {
    let of_half = |half: usize| messages.chunks(TRUCKS / 2).skip(half).step_by(2).flatten();
    let (mut admission, mut judge) = (Admission::new(AdmissionSettings::default()), Judge::new(reference.clone()));
    let fold = reference.fold();
    feed(decoder, registry, &fold, &mut admission, &mut judge, of_half(0));
    let before = resident();
    feed(decoder, registry, &fold, &mut admission, &mut judge, of_half(1));
    (resident() - before) / (TRUCKS / 2) as f64
}

fn whole(decoder: &Decoder, registry: &Registry, reference: Reference, messages: &[(String, Vec<u8>)]) {
    let fold = reference.fold();
    let mut judge = Judge::new(reference);
    feed(decoder, registry, &fold, &mut Admission::new(AdmissionSettings::default()), &mut judge, messages.iter());
}

fn feed<'a>(
    decoder: &Decoder,
    registry: &Registry,
    fold: &Fold,
    admission: &mut Admission,
    judge: &mut Judge,
    messages: impl Iterator<Item = &'a (String, Vec<u8>)>,
) {
    let (mut decoded, mut batch, mut mine, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Seen::default());
    let mut messages = messages.peekable();
    while let Some((topic, payload)) = messages.next() {
        decoder.decode(topic, payload, &mut decoded);
        for one in decoded.drain(..) {
            let at = device_time(&one.body);
            let record = admission.admit(one, at, |device: &str| registry.device_is_registered(device));
            mine.push((batch.len() as u32, vehicle_of(fold, &record)));
            batch.push(record);
        }
        if batch.len() >= BATCH || messages.peek().is_none() {
            black_box(judge.judge(&batch, &mine, &mut seen).expect("a judgement"));
            batch.clear();
            mine.clear();
            seen = Seen::default();
        }
    }
}

fn records(decoder: &Decoder, registry: &Registry, messages: &[(String, Vec<u8>)]) -> Vec<Record> {
    let mut admission = Admission::new(AdmissionSettings::default());
    let mut decoded = Vec::new();
    messages.iter().for_each(|(topic, payload)| decoder.decode(topic, payload, &mut decoded));
    decoded
        .into_iter()
        .map(|one| {
            let at = device_time(&one.body);
            admission.admit(one, at, |device: &str| registry.device_is_registered(device))
        })
        .collect()
}

fn facts(fold: &Fold, states: &mut FxHashMap<Text, VehicleState>, records: &[Record]) -> Vec<Facts> {
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let Body::Device(report) = &record.body else { continue };
        let state = states.entry(vehicle_of(fold, record)).or_default();
        let Record { event_time, recv_time, use_position, .. } = *record;
        let input = Input::Report { report, event_time, recv_time, use_position };
        rows.push(fold.step(state, input));
    }
    rows
}

fn vehicle_of(fold: &Fold, record: &Record) -> Text {
    match &record.body {
        Body::Device(report) => fold.vehicle_id(&report.device_id, record.event_time),
        _ => Text::from(""),
    }
}

fn device_time(body: &Body) -> Time {
    match body {
        Body::Device(report) => report.device_time,
        _ => Time::default(),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The roads file and its lines, as (lon, lat).
fn roads() -> (String, Vec<Line>) {
    let data = std::env::var("MUCKWATCH_REAL_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let file = root().join(data).join("chengdu/roads.geojson.gz");
    let mut text = String::new();
    match std::fs::File::open(&file) {
        Ok(packed) => {
            flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("packed roads");
        }
        Err(_) => {
            println!("no real roads at {}: a grid instead", file.display());
            text = grid();
        }
    }
    let json: serde_json::Value = serde_json::from_str(&text).expect("GeoJSON");
    let lines = json["features"].as_array().expect("features").iter().map(|feature| {
        let points = feature["geometry"]["coordinates"].as_array().expect("coordinates");
        points.iter().map(|point| (point[0].as_f64().unwrap_or(0.0), point[1].as_f64().unwrap_or(0.0))).collect()
    });
    let lines = lines.collect();
    (text, lines)
}

fn segments(roads: &[Line]) -> usize {
    roads.iter().map(|line| line.len() - 1).sum()
}

fn grid() -> String {
    let mut text = String::from(r#"{"type":"FeatureCollection","datum":"wgs84","features":["#);
    let per_line = 400;
    for line in 0..SEGMENTS / per_line {
        let points: Vec<String> = (0..=per_line)
            .map(|step| {
                let (along, across) = (step as f64 * 0.001, line as f64 * 0.002 / 2.0);
                let (x, y) = if line % 2 == 0 { (along, across) } else { (across, along) };
                format!("[{:.6},{:.6}]", 103.9 + x, 30.5 + y)
            })
            .collect();
        let comma = if line == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"type":"Feature","properties":{{"road_id":"G{line}","class":"secondary"}},"geometry":{{"type":"LineString","coordinates":[{}]}}}}"#,
            points.join(",")
        );
    }
    text + "]}"
}

fn registry(roads_file: &str, roads: &[Line], random: &mut ChaCha8Rng) -> Registry {
    let mut vehicles = String::from("vehicle_id,plate,device_id,company_id,status\n");
    let mut permits = String::from("permit_id,vehicle_id,source_id,sink_ids,route_ids,windows,status\n");
    for truck in 0..TRUCKS {
        let _ = writeln!(vehicles, "V{truck},B{truck:05},D{truck},C1,active");
        let _ = writeln!(permits, "P{truck},V{truck},S1,S2,,,valid");
    }
    let mut zones = String::from(r#"{"type":"FeatureCollection","datum":"wgs84","features":["#);
    for zone in 0..ZONES {
        let road = &roads[random.random_range(0..roads.len())];
        let ring = ring(road[0], 0.003);
        let kind = ["forbidden", "restricted", "speed", "control"][zone % 4];
        let comma = if zone == 0 { "" } else { "," };
        let _ = write!(
            zones,
            r#"{comma}{{"type":"Feature","properties":{{"zone_id":"Z{zone}","name":"zone {zone}","kind":"{kind}","speed_limit_kmh":60,"schedule":"22:00-06:00"}},"geometry":{{"type":"Polygon","coordinates":[[{ring}]]}}}}"#
        );
    }
    zones += "]}";
    let places = format!(
        r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{},{}]}}"#,
        place("S1", "source", roads[0][0]),
        place("S2", "sink", roads[roads.len() / 2][0])
    );
    let files = [
        ("vehicles.csv", vehicles.as_str()),
        ("companies.csv", "company_id,name\nC1,one\n"),
        ("permits.csv", permits.as_str()),
        ("zones.geojson", zones.as_str()),
        ("places.geojson", places.as_str()),
        ("roads.geojson", roads_file),
    ];
    Registry::parse(&files).expect("a registry")
}

fn place(id: &str, kind: &str, at: (f64, f64)) -> String {
    format!(
        r#"{{"type":"Feature","properties":{{"place_id":"{id}","name":"{id}","kind":"{kind}"}},"geometry":{{"type":"Polygon","coordinates":[[{}]]}}}}"#,
        ring(at, 0.002)
    )
}

/// A ring of 40 corners.
fn ring((lon, lat): (f64, f64), radius_deg: f64) -> String {
    let corner = |n: usize| {
        let angle = std::f64::consts::TAU * (n % 40) as f64 / 40.0;
        format!("[{:.6},{:.6}]", lon + radius_deg * angle.cos(), lat + radius_deg * angle.sin())
    };
    (0..=40).map(corner).collect::<Vec<_>>().join(",")
}

/// Trucks that drive along roads at 20 to 45 km/h and back again, a report each in turn, ten seconds between a truck's own; a few
/// metres of noise.
fn messages(roads: &[Line], random: &mut ChaCha8Rng) -> Vec<(String, Vec<u8>)> {
    let long: Vec<&Line> = roads.iter().filter(|line| length_m(line) > 500.0).collect();
    let mut trucks: Vec<Drive<'_>> = (0..TRUCKS)
        .map(|_| {
            let line = long[random.random_range(0..long.len())];
            Drive { line, at_m: random.random_range(0.0..length_m(line)), kmh: random.random_range(20.0..45.0) }
        })
        .collect();
    let mut messages = Vec::with_capacity(TRUCKS * ROUNDS);
    let start_ms = 1_772_373_600_000_i64;
    for round in 0..ROUNDS {
        for (truck, drive) in trucks.iter_mut().enumerate() {
            let (lon, lat, heading) = drive.spot();
            let mut noise = || random.random_range(-5e-5..5e-5);
            let payload = format!(
                r#"{{"device_time":{},"lat":{:.6},"lon":{:.6},"speed_kmh":{:.1},"heading_deg":{heading:.0},"ignition":true,"load":"full","cover":"closed","lift":"flat","sats":11}}"#,
                start_ms + round as i64 * 10_000 + (truck % 10_000) as i64,
                lat + noise(),
                lon + noise(),
                drive.kmh,
            );
            messages.push((format!("mw/v1/device/D{truck}/report"), payload.into_bytes()));
            drive.at_m += drive.kmh / 3.6 * 10.0;
        }
    }
    messages
}

/// A truck on its road.
struct Drive<'a> {
    line: &'a Line,
    /// Metres driven; beyond the road's end it comes back.
    at_m: f64,
    kmh: f64,
}

impl Drive<'_> {
    /// Longitude, latitude, course.
    fn spot(&self) -> (f64, f64, f64) {
        let length_m = length_m(self.line);
        let (lap, rest_m) = ((self.at_m / length_m) as u64, self.at_m % length_m);
        let is_back = lap % 2 == 1;
        let mut left_m = if is_back { length_m - rest_m } else { rest_m };
        for pair in self.line.windows(2) {
            let (x, y) = metres(pair[0], pair[1]);
            let long_m = x.hypot(y);
            if left_m <= long_m && long_m > 0.0 {
                let share = left_m / long_m;
                let course = if is_back { (-x).atan2(-y) } else { x.atan2(y) };
                let along = |a: f64, b: f64| a + (b - a) * share;
                let heading_deg = course.to_degrees().rem_euclid(360.0);
                return (along(pair[0].0, pair[1].0), along(pair[0].1, pair[1].1), heading_deg);
            }
            left_m -= long_m;
        }
        (self.line[0].0, self.line[0].1, 0.0)
    }
}

/// Metres east and north from one point to another.
fn metres(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    ((b.0 - a.0) * 111_120.0 * a.1.to_radians().cos(), (b.1 - a.1) * 111_120.0)
}

fn length_m(line: &Line) -> f64 {
    let long_m = |pair: &[(f64, f64)]| {
        let (x, y) = metres(pair[0], pair[1]);
        x.hypot(y)
    };
    line.windows(2).map(long_m).sum()
}
