//! Zones in number: how the evaluator's cost grows with zones and with rules, and two public workloads of geofence engines.
//!
//! `cargo bench --bench geofence`. From decoded reports to transitions (facts, rules, alerts), on one core. The workloads are those of
//! Tile38's issues #491 (23,000 clustered circles of 5 km) and #245 (400 complex polygons, 40,000 vehicles that needed 3,333
//! reports/s); there every circle and polygon is a zone that is forbidden, and an alert opens on entering one.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{f64::consts::TAU, fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

use muckwatch::{
    engine::{Judge, LateSettings, Reference, Seen},
    facts::Settings,
    model::{Body, DeviceReport, Outcome, Reason, Record, Text, Time},
    registry::Registry,
    rules::RuleSet,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 1_024;
const FORBIDDEN: &str = "rules:\n  - { id: forbidden, when: in_forbidden, for: 0s }\n";
/// Metres in a degree of latitude.
const DEGREE_M: f64 = 111_120.0;

/// A world: where its middle is and how far it reaches from there, degrees.
#[derive(Clone, Copy)]
struct World {
    lon: f64,
    lat: f64,
    half_deg: f64,
}

const CITY: World = World { lon: 104.0, lat: 30.6, half_deg: 0.35 };

fn main() {
    println!("zones of 40 corners in a city of 70 by 70 km; 16,000 trucks; one rule");
    let mut first = None;
    for zones in [10, 100, 1_000, 10_000, 100_000] {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let rings = (0..zones).map(|_| circle(CITY.any(&mut random), 300.0, 40)).collect::<Vec<_>>();
        let ns = run(&format!("{zones:>7} zones"), &registry(&rings), FORBIDDEN, &CITY, 16_000, 20, first);
        first.get_or_insert(ns);
    }
    println!("rules over the same rows; 1,000 zones");
    let mut first = None;
    for rules in [10, 50, 500] {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let rings = (0..1_000).map(|_| circle(CITY.any(&mut random), 300.0, 40)).collect::<Vec<_>>();
        let ns = run(&format!("{rules:>7} rules"), &registry(&rings), &many(rules), &CITY, 16_000, 20, first);
        first.get_or_insert(ns);
    }
    println!(
        "the workload of Tile38 #491: 23,000 circles of 5 km in 230 clusters over 1,000 by 1,000 km, 10,000 objects"
    );
    let country = World { lon: 112.0, lat: 30.0, half_deg: 4.5 };
    let mut random = ChaCha8Rng::seed_from_u64(491);
    let middles: Vec<(f64, f64)> = (0..230).map(|_| country.any(&mut random)).collect();
    let cluster = |n: usize, random: &mut ChaCha8Rng| {
        let (lon, lat) = middles[n % middles.len()];
        (lon + random.random_range(-0.3..0.3), lat + random.random_range(-0.3..0.3))
    };
    let rings = (0..23_000).map(|n| circle(cluster(n, &mut random), 5_000.0, 32)).collect::<Vec<_>>();
    run("  #491", &registry(&rings), FORBIDDEN, &country, 10_000, 20, None);
    println!("the workload of Tile38 #245: 400 polygons of 1,000 corners in a city, 40,000 vehicles");
    let mut random = ChaCha8Rng::seed_from_u64(245);
    let rings = (0..400).map(|_| rugged(CITY.any(&mut random), 2_500.0, 1_000, &mut random)).collect::<Vec<_>>();
    run("  #245", &registry(&rings), FORBIDDEN, &CITY, 40_000, 10, None);
}

impl World {
    fn any(&self, random: &mut ChaCha8Rng) -> (f64, f64) {
        let mut within = || random.random_range(-self.half_deg..self.half_deg);
        (self.lon + within(), self.lat + within())
    }
}

/// Rules that each ask something else of a row.
fn many(rules: usize) -> String {
    let mut text = String::from("rules:\n");
    for n in 0..rules {
        let when = match n % 5 {
            0 => format!("speed_kmh > {} and not in_forbidden", 90 + n),
            1 => format!("in_forbidden and speed_kmh < {:.2}", 1.0 / (n + 1) as f64),
            2 => format!("stopped_s > {} and ignition", 900 + n),
            3 => format!("gap_s > {} or heading_deg > {}", 300 + n, 361 + n),
            _ => format!("cardinality(zone_ids) > {} and moving", 20 + n),
        };
        let _ = writeln!(text, "  - {{ id: rule-{n}, when: '{when}', for: 30s }}");
    }
    text
}

/// Judges rounds of reports of objects that move; prints and returns nanoseconds a report.
fn run(
    what: &str,
    registry: &Arc<Registry>,
    rules: &str,
    world: &World,
    objects: usize,
    rounds: usize,
    first: Option<f64>,
) -> f64 {
    let rules = RuleSet::parse(&[("bench.yaml", rules)]).unwrap_or_else(|error| panic!("{error}"));
    let reference = Reference {
        registry: Arc::clone(registry),
        rules: Arc::new(rules),
        facts: Settings::default(),
        tick_ms: 60_000,
        late: LateSettings::default(),
    };
    let records = reports(world, objects, rounds);
    let (mut best, mut changes) = (f64::INFINITY, 0);
    for _ in 0..3 {
        let mut judge = Judge::new(reference.clone());
        let began = Instant::now();
        changes = records.chunks(BATCH).map(|batch| judged(&mut judge, batch)).sum();
        best = best.min(began.elapsed().as_secs_f64());
    }
    // Latency: the last round once more, later, each report by itself.
    let mut judge = Judge::new(reference);
    records.chunks(BATCH).for_each(|batch| _ = judged(&mut judge, batch));
    let mut alone: Vec<f64> = records[records.len() - objects..]
        .iter()
        .take(20_000)
        .map(|(id, record)| {
            let one = [(id.clone(), later(record))];
            let began = Instant::now();
            judged(&mut judge, &one);
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    alone.sort_by(f64::total_cmp);
    let (p50, p99) = (alone[alone.len() / 2], alone[alone.len() * 99 / 100]);
    let ns = best * 1e9 / records.len() as f64;
    let ratio = first.map_or(String::new(), |first| format!("  {:>6.2} times the first", ns / first));
    println!(
        "{what:<14} {:>9.0} reports/s  {ns:>7.0} ns a report  alone p50 {p50:>4.0} us p99 {p99:>4.0} us  {changes:>6} alerts opened or cleared{ratio}",
        1e9 / ns
    );
    ns
}

fn judged(judge: &mut Judge, batch: &[(Text, Record)]) -> usize {
    let mine: Vec<(u32, Text)> = (0_u32..).zip(batch).map(|(index, (id, _))| (index, id.clone())).collect();
    let records: Vec<Record> = batch.iter().map(|(_, record)| record.clone()).collect();
    black_box(judge.judge(&records, &mine, &mut Seen::default()).expect("a judgement")).len()
}

/// The same object 10 s and 100 m on.
fn later(record: &Record) -> Record {
    let mut record = record.clone();
    record.event_time = record.event_time.plus_ms(10_000);
    if let Body::Device(report) = &mut record.body {
        report.lat = report.lat.map(|lat| lat + 100.0 / DEGREE_M);
    }
    record
}

/// Objects that drive straight on, 10 s and some 100 m between a truck's own reports; each with its vehicle.
fn reports(world: &World, objects: usize, rounds: usize) -> Vec<(Text, Record)> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut moving: Vec<(Text, f64, f64, f64)> = (0..objects)
        .map(|n| {
            let (lon, lat) = world.any(&mut random);
            (Text::from(format!("V{n}")), lon, lat, random.random_range(0.0..TAU))
        })
        .collect();
    let mut records = Vec::with_capacity(objects * rounds);
    for round in 0..rounds {
        for (n, (id, lon, lat, course)) in moving.iter_mut().enumerate() {
            *lon += 100.0 / DEGREE_M * course.sin() / lat.to_radians().cos();
            *lat += 100.0 / DEGREE_M * course.cos();
            let at = Time::from_millis(1_772_373_600_000 + round as i64 * 10_000 + (n % 10_000) as i64);
            let report = DeviceReport {
                device_id: id.clone(),
                device_time: at,
                lat: Some(*lat),
                lon: Some(*lon),
                speed_kmh: Some(36.0),
                heading_deg: Some(course.to_degrees()),
                ignition: Some(true),
                ..DeviceReport::default()
            };
            let record = Record {
                recv_time: at,
                event_time: at,
                outcome: Outcome::Evaluated,
                reason: Reason::Ok,
                use_position: true,
                body: Body::Device(report),
            };
            records.push((id.clone(), record));
        }
    }
    records
}

fn registry(rings: &[String]) -> Arc<Registry> {
    let mut zones = String::from(r#"{"type":"FeatureCollection","datum":"wgs84","features":["#);
    for (n, ring) in rings.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            zones,
            r#"{comma}{{"type":"Feature","properties":{{"zone_id":"Z{n}","name":"{n}","kind":"forbidden"}},"geometry":{{"type":"Polygon","coordinates":[[{ring}]]}}}}"#
        );
    }
    Arc::new(Registry::parse(&[("zones.geojson", &(zones + "]}"))]).expect("a registry"))
}

fn circle(middle: (f64, f64), radius_m: f64, corners: usize) -> String {
    closed(middle, corners, |_| radius_m)
}

/// A ring whose radius wanders.
fn rugged(middle: (f64, f64), radius_m: f64, corners: usize, random: &mut ChaCha8Rng) -> String {
    let mut radius = radius_m;
    let radii: Vec<f64> = (0..corners)
        .map(|_| {
            radius = (radius * random.random_range(0.97..1.03)).clamp(radius_m / 3.0, radius_m * 2.0);
            radius
        })
        .collect();
    closed(middle, corners, |n| radii[n])
}

fn closed((lon, lat): (f64, f64), corners: usize, radius_m: impl Fn(usize) -> f64) -> String {
    let corner = |n: usize| {
        let (angle, deg) = (TAU * (n % corners) as f64 / corners as f64, radius_m(n % corners) / DEGREE_M);
        format!("[{:.6},{:.6}]", lon + deg * angle.cos() / lat.to_radians().cos(), lat + deg * angle.sin())
    };
    (0..=corners).map(corner).collect::<Vec<_>>().join(",")
}
