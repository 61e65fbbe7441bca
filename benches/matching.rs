//! Map matching against drives whose true route is known: Kubicka et al., "Dataset for testing and training of
//! map-matching algorithms" (IEEE IV 2015).
//!
//! `cargo bench --bench matching`. The drives lie where `MUCKWATCH_REAL_DATA` (default `../shared/data`) says, in
//! `kubicka-map-matching`: of each the network (`.nodes`, `.arcs`), the fixes (`.track`) and the route driven
//! (`.route`). Fixes have no speed and no heading.
//!
//! Counted are fixes at least 5 m from the one before: where it stands, one error would count a hundred times. `matched` is told at
//! once, by the past alone; `later` one fix later (`settled_road_id`). Beside them stand the figures of others for the 28 drives of the set
//! whose routes are not public, with parameters tuned on the public ones.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, path::PathBuf, sync::Arc, time::Instant};

use muckwatch::{
    facts::{Fold, Input, Settings, VehicleState},
    model::{Column, ColumnSet, DeviceReport, Text, Time},
    registry::Registry,
    spatial::{Point, Reach, Spot, Walk, distance_m, heading_deg, heading_difference_deg},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seconds between fixes.
const RATES_S: [i64; 3] = [1, 10, 30];
/// Nearer to the fix before it has not moved, metres.
const MOVED_M: f64 = 5.0;
/// Of others at these rates: by the past alone, one fix later, and seeing all of the drive.
const PEERS: [(i64, &str); 3] = [
    (1, "Valhalla 0.977 / - / 0.992, OSRM 0.975 / - / 0.986"),
    (10, "Valhalla 0.969 / 0.977 / 0.984, OSRM 0.964 / - / 0.975"),
    (30, "Valhalla 0.954 / 0.972 / 0.977, OSRM 0.953 / - / 0.974"),
];

/// One drive.
struct Drive {
    name: String,
    registry: Arc<Registry>,
    /// When, milliseconds, and where.
    track: Vec<(i64, Point)>,
    route: BTreeSet<usize>,
}

/// Fixes on an arc of the true route.
#[derive(Clone, Copy, Default)]
struct Score {
    fixes: usize,
    nearest: usize,
    with_heading: usize,
    plain: usize,
    matched: usize,
    later: usize,
    /// Fixes that have a later one.
    followed: usize,
    seconds: f64,
}

fn main() {
    let data = std::env::var("MUCKWATCH_REAL_DATA").unwrap_or_else(|_| "../shared/data".into());
    let folder = PathBuf::from(data).join("kubicka-map-matching");
    let Ok(entries) = fs::read_dir(&folder) else {
        return println!("no drives in {}: nothing measured", folder.display());
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let drives: Vec<Drive> = folders.iter().map(|folder| drive(folder)).collect();
    for rate_s in RATES_S {
        println!(
            "a fix every {rate_s} s          moved  nearest  with heading  plain filter  matched    later   per fix"
        );
        let mut all = Score::default();
        for drive in &drives {
            let score = score(drive, rate_s);
            print(&drive.name, &score);
            all = all.with(&score);
        }
        print("all", &all);
        let peers = PEERS.iter().filter(|(rate, _)| *rate == rate_s);
        peers.for_each(|(_, peers)| println!("others (past / later / all)  {peers}"));
    }
}

fn print(name: &str, score: &Score) {
    let share = |hits: usize| hits as f64 / score.fixes.max(1) as f64;
    let (nearest, with_heading, plain) = (share(score.nearest), share(score.with_heading), share(score.plain));
    let (matched, later) = (share(score.matched), score.later as f64 / score.followed.max(1) as f64);
    let us = score.seconds * 1e6 / score.fixes.max(1) as f64;
    println!(
        "{name:<20} {:>9}    {nearest:.3}         {with_heading:.3}         {plain:.3}    {matched:.3}    {later:.3}  {us:>5.1} us",
        score.fixes
    );
}

impl Score {
    fn with(self, other: &Self) -> Self {
        Self {
            fixes: self.fixes + other.fixes,
            nearest: self.nearest + other.nearest,
            with_heading: self.with_heading + other.with_heading,
            plain: self.plain + other.plain,
            matched: self.matched + other.matched,
            later: self.later + other.later,
            followed: self.followed + other.followed,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// Lines of numbers.
fn numbers(folder: &Path, kind: &str) -> Vec<Vec<f64>> {
    let name = folder.file_name().expect("a folder has a name");
    let path = folder.join(name).with_extension(kind);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{}: {word}", path.display()));
    text.lines()
        .map(|line| line.split_whitespace().map(number).collect())
        .filter(|row: &Vec<f64>| !row.is_empty())
        .collect()
}

fn drive(folder: &Path) -> Drive {
    let nodes = numbers(folder, "nodes");
    let mut roads = String::from(r#"{"type":"FeatureCollection","datum":"wgs84","features":["#);
    for (arc, ends) in numbers(folder, "arcs").iter().enumerate() {
        let (from, to) = (&nodes[ends[0] as usize], &nodes[ends[1] as usize]);
        // Some arcs of the set have no length: a registry refuses them.
        if from == to {
            continue;
        }
        let comma = if roads.ends_with('}') { "," } else { "" };
        write!(
            roads,
            r#"{comma}{{"type":"Feature","properties":{{"road_id":"{arc}","name":"","class":"secondary","oneway":true}},"geometry":{{"type":"LineString","coordinates":[[{},{}],[{},{}]]}}}}"#,
            from[0], from[1], to[0], to[1]
        )
        .expect("writing to a String cannot fail");
    }
    roads.push_str("]}");
    let registry = Registry::parse(&[("roads.geojson", &roads)]).unwrap_or_else(|error| panic!("{error}"));
    let fix = |row: &Vec<f64>| ((row[2] * 1000.0) as i64, Point::new(row[0], row[1]));
    Drive {
        name: folder.file_name().expect("a folder has a name").to_string_lossy().into_owned(),
        registry: Arc::new(registry),
        track: numbers(folder, "track").iter().map(fix).collect(),
        route: numbers(folder, "route").iter().flatten().map(|arc| *arc as usize).collect(),
    }
}

/// Every fix of the track that is at least so long after the one before.
fn thinned(track: &[(i64, Point)], rate_s: i64) -> Vec<(i64, Point)> {
    let mut kept: Vec<(i64, Point)> = Vec::new();
    for fix in track {
        if kept.last().is_none_or(|last| fix.0 - last.0 >= rate_s * 1000) {
            kept.push(*fix);
        }
    }
    kept
}

fn score(drive: &Drive, rate_s: i64) -> Score {
    let track = thinned(&drive.track, rate_s);
    let has_moved = |index: usize| {
        index.checked_sub(1).is_some_and(|before| distance_m(track[before].1, track[index].1) >= MOVED_M)
    };
    let is_true = |index: usize, arc: Option<usize>| {
        usize::from(has_moved(index) && arc.is_some_and(|arc| drive.route.contains(&arc)))
    };
    let mut score = Score { fixes: (0..track.len()).filter(|index| has_moved(*index)).count(), ..Score::default() };
    for (index, (ms, fix)) in track.iter().enumerate() {
        let at = Time::from_millis(*ms);
        let before = index.checked_sub(1).map(|index| track[index].1);
        score.nearest += is_true(index, nearest(&drive.registry, *fix, at, None));
        score.with_heading +=
            is_true(index, nearest(&drive.registry, *fix, at, before.map(|before| heading_deg(before, *fix))));
    }
    let mut plain = Plain::default();
    for (index, (ms, fix)) in track.iter().enumerate() {
        score.plain += is_true(index, plain.step(&drive.registry, *ms, *fix));
    }
    let columns: ColumnSet = ["road_id", "settled_road_id"].iter().filter_map(|name| Column::named(name)).collect();
    let fold = Fold::new(Arc::clone(&drive.registry), columns, settings());
    let mut state = VehicleState::default();
    let began = Instant::now();
    for (index, (ms, fix)) in track.iter().enumerate() {
        let at = Time::from_millis(*ms);
        let report = DeviceReport {
            device_id: "d".into(),
            device_time: at,
            lon: Some(fix.lon),
            lat: Some(fix.lat),
            ..DeviceReport::default()
        };
        let row =
            fold.step(&mut state, Input::Report { report: &report, event_time: at, recv_time: at, use_position: true });
        let arc = |id: Option<Text>| id.and_then(|id| id.parse().ok());
        score.matched += is_true(index, arc(row.road_id));
        if let Some(before) = index.checked_sub(1) {
            score.later += is_true(before, arc(row.settled_road_id));
            score.followed += usize::from(has_moved(before));
        }
    }
    score.seconds = began.elapsed().as_secs_f64();
    score
}

fn settings() -> Settings {
    Settings::default()
}

/// The nearest arc; with a course, a degree off it weighs as much as a quarter of a metre.
fn nearest(registry: &Registry, fix: Point, at: Time, course_deg: Option<f64>) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    registry.roads().near(fix, 50.0, at, |road, hit| {
        let turn_deg = course_deg.map_or(0.0, |course| heading_difference_deg(hit.heading_deg, course));
        let found = (hit.distance_m + turn_deg / 4.0, road.road_id.parse().unwrap_or(usize::MAX));
        if best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    });
    best.map(|(_, arc)| arc)
}

/// A hidden Markov filter as in the textbook (Newson & Krumm 2009, forward half): every fix is a step, the emission Gaussian with a
/// sigma of 10 m, the transition exponential in the difference between way and straight way with 3 m and 1 m/s.
#[derive(Default)]
struct Plain {
    last: Option<(i64, Point)>,
    /// Where it may be, with the logarithm of its likelihood.
    beliefs: Vec<(Spot, f64)>,
    walk: Walk,
}

impl Plain {
    fn step(&mut self, registry: &Registry, ms: i64, fix: Point) -> Option<usize> {
        let network = registry.network();
        let mut found: Vec<(usize, Spot, f64)> = Vec::new();
        registry.roads().near(fix, 50.0, Time::from_millis(ms), |road, hit| {
            let Some(spot) = network.spot(&hit) else { return };
            found.push((road.road_id.parse().unwrap_or(usize::MAX), spot, -(hit.distance_m / 10.0).powi(2) / 2.0));
        });
        if let Some((before_ms, before)) = self.last.filter(|_| !found.is_empty() && !self.beliefs.is_empty()) {
            let straight_m = distance_m(before, fix);
            let beta_m = 3.0 + (ms - before_ms) as f64 / 1000.0;
            let reach = Reach { limit_m: straight_m + 20.0 * beta_m, turn_m: 0.0, nodes: 10_000 };
            let spots: Vec<Spot> = found.iter().map(|(_, spot, _)| *spot).collect();
            let (mut ways, mut sums) = (Vec::new(), vec![0.0_f64; found.len()]);
            for (from, log) in &self.beliefs {
                self.walk.measure(network, *from, &spots, reach, |_| true, &mut ways);
                let likelihood = |way_m: &f64| (log - (way_m - straight_m).abs() / beta_m).exp();
                sums.iter_mut().zip(&ways).for_each(|(sum, way_m)| *sum += likelihood(way_m));
            }
            if sums.iter().any(|sum| *sum > 0.0) {
                found.iter_mut().zip(sums).for_each(|((_, _, log), sum)| *log += sum.ln());
            }
        }
        self.last = Some((ms, fix));
        let best = found.iter().map(|(_, _, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        self.beliefs = found.iter().map(|(_, spot, log)| (*spot, log - best)).filter(|(_, log)| *log > -20.0).collect();
        found.iter().max_by(|a, b| a.2.total_cmp(&b.2).then(b.0.cmp(&a.0))).map(|(arc, _, _)| *arc)
    }
}
