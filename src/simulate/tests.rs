//! The city is whole; trucks are bodies; what the truth says they did can be measured in what they reported.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{
    city::Role,
    drive::{EMPTY_MPS2, HARD_BRAKE_MPS2},
    plane::{Rectangle, Spot},
    *,
};
use crate::registry::{Registry, class_limit_kmh};

/// Ten in the morning in Shenzhen, on a Monday.
const START: &str = "2026-03-02T02:00:00Z";

fn start() -> Time {
    START.parse().unwrap()
}

fn registry() -> Registry {
    let files = City::demo().files();
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Registry::read_dir(dir.path(), &crate::model::Zone::china()).unwrap()
}

/// Runs the sixty trucks and hands every message to `say`.
fn run(settings: Settings, minutes: i64, mut say: impl FnMut(Message)) -> Simulation {
    let mut simulation = Simulation::new(Arc::new(City::demo()), Settings { start: start(), ..settings }).unwrap();
    simulation.advance(start().plus_ms(minutes * 60_000), &mut say);
    simulation
}

fn exact() -> Settings {
    Settings { noise: Noise::NONE, units: false, ..Settings::default() }
}

// --- The city --------------------------------------------------------------------------------------------------------

#[test]
fn the_committed_city_is_what_is_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo-city");
    for (name, text) in City::demo().files() {
        let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == text, "{name} differs: write the city anew (muckwatch simulate --write-city)");
    }
}

#[test]
fn the_city_has_what_a_city_needs() {
    let (city, registry) = (City::demo(), registry());
    let named = city.network.roads.iter().filter(|road| road.class != "service").map(|road| &road.name);
    assert!(named.collect::<BTreeSet<_>>().len() >= 40);
    let classes: BTreeSet<&str> = city.network.roads.iter().map(|road| road.class).collect();
    for class in ["motorway", "trunk", "primary", "secondary", "tertiary", "residential"] {
        assert!(classes.contains(class), "no {class}");
    }
    let kinds = |kind: &str| city.places.iter().filter(|place| place.kind == kind).count();
    assert_eq!(["source", "sink", "depot", "workshop"].map(kinds), [8, 4, 1, 1]);
    assert_eq!(registry.vehicles().count(), 60);
    assert_eq!(registry.units(start()).count(), 12);
    let plates: BTreeSet<&str> = city.vehicles.iter().map(|vehicle| &*vehicle.plate).collect();
    assert_eq!(plates.len(), 60);
    let bytes: usize = city.files().iter().map(|(_, text)| text.len()).sum();
    assert!(bytes < 1_000_000, "{bytes} bytes");
}

#[test]
fn one_can_drive_from_everywhere_to_everywhere() {
    let network = City::demo().network;
    let (mut seen, mut open) = (BTreeSet::from([0]), vec![0]);
    while let Some(node) = open.pop() {
        for leg in network.ways(node) {
            if seen.insert(network.end(*leg)) {
                open.push(network.end(*leg));
            }
        }
    }
    assert_eq!(seen.len(), network.nodes.len());
}

#[test]
fn every_needed_way_exists_and_keeps_out_of_forbidden_zones() {
    let city = City::demo();
    assert_eq!(city.routes.len(), 16);
    let (sources, sinks) = (0..8, 8..12);
    let mut ways: Vec<(usize, usize)> = city.routes.iter().map(|route| (route.source, route.sink)).collect();
    ways.extend(sinks.clone().flat_map(|sink| sources.clone().map(move |source| (sink, source))));
    ways.extend(sinks.map(|sink| (sink, city.depot())));
    ways.extend(sources.map(|source| (city.depot(), source)));
    for (from, to) in ways {
        let path = city.path(from, to).unwrap_or_else(|| panic!("no way from {from} to {to}"));
        assert!(path.vertices.iter().all(|vertex| vertex.zone.is_none()), "{from} to {to} enters a forbidden zone");
    }
}

#[test]
fn roads_meet_in_the_very_same_points() {
    let city = City::demo();
    let ends = |edge: &super::network::Edge| [(edge.from, edge.shape[0]), (edge.to, edge.shape[edge.shape.len() - 1])];
    for (node, spot) in city.network.edges.iter().flat_map(ends) {
        assert_eq!(spot, city.network.nodes[node].spot);
    }
}

#[test]
fn routes_run_along_roads() {
    let (city, registry) = (City::demo(), registry());
    for route in &city.routes {
        for pair in route.path.spots().windows(2) {
            let middle = pair[0].towards(pair[1], 0.5);
            let mut nearest_m = f64::INFINITY;
            let point = crate::spatial::Point::new(middle.lon(), middle.lat());
            registry.roads().near(point, 30.0, start(), |_, hit| nearest_m = hit.distance_m.min(nearest_m));
            assert!(nearest_m < 0.5, "{} leaves the roads by {nearest_m} m", route.route_id);
        }
    }
}

#[test]
fn a_larger_fleet_begins_with_the_committed_trucks() {
    let (small, large) = (City::demo(), City::with_trucks(1_000));
    let line = |city: &City, file: usize, row: usize| city.files()[file].1.lines().nth(row).unwrap().to_owned();
    for (file, rows) in [(0, 61), (2, 61), (3, 60), (4, 59)] {
        assert!((0..rows).all(|row| line(&small, file, row) == line(&large, file, row)), "file {file}");
    }
    let plates: BTreeSet<&str> = large.vehicles.iter().map(|vehicle| &*vehicle.plate).collect();
    assert_eq!(plates.len(), 1_000);
}

// --- Bytes -----------------------------------------------------------------------------------------------------------

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed: u64, pace_ms: i64| {
        let settings = Settings { seed, start: start(), ..Settings::default() };
        let mut simulation = Simulation::new(Arc::new(City::demo()), settings).unwrap();
        let mut out = Vec::new();
        for step in 1..=600_000 / pace_ms {
            simulation.advance(start().plus_ms(step * pace_ms), |message| write_line(&mut out, &message).unwrap());
        }
        (out, simulation.truths())
    };
    let first = bytes(7, 600_000);
    assert!(first == bytes(7, 600_000));
    assert!(first == bytes(7, 250), "however the clock is moved on");
    assert!(first.0 != bytes(8, 600_000).0);
}

#[test]
fn lines_are_what_replay_reads_in_order_of_arrival() {
    let (mut out, mut units) = (Vec::new(), 0);
    let noise = Noise { damaged: 0.0, ..Noise::default() };
    run(Settings { noise, ..Settings::default() }, 2, |message| {
        units += usize::from(message.topic.starts_with("unit/"));
        write_line(&mut out, &message).unwrap();
    });
    let mut last = start();
    for line in String::from_utf8(out).unwrap().lines() {
        let json: Json = serde_json::from_str(line).unwrap();
        let arrived: Time = json["recv_time"].as_str().unwrap().parse().unwrap();
        assert!(arrived >= last, "{line}");
        last = arrived;
        if json["type"] == "unit" {
            serde_json::from_str::<crate::model::UnitReport>(line).unwrap();
        } else {
            let report: crate::model::DeviceReport = serde_json::from_str(line).unwrap();
            assert!(report.lat.is_some() && report.odometer_m.is_some() && !report.device_id.is_empty());
        }
    }
    assert!(units >= 12 * 11, "{units} reports of units");
}

#[test]
fn noise_of_each_kind_can_be_switched_on_alone() {
    let count = |noise: Noise| {
        let (mut messages, mut late, mut weak, mut seen) = (0, 0, 0, BTreeSet::new());
        let (mut ahead, mut behind, mut damaged) = (0, 0, 0);
        run(Settings { noise, units: false, ..Settings::default() }, 20, |message| {
            let json: Json = serde_json::from_slice(&message.payload).unwrap();
            let time: Time = json["device_time"].as_str().unwrap().parse().unwrap();
            messages += 1;
            late += usize::from(json["hist"] == true);
            weak += usize::from(json["sats"].as_u64().is_some_and(|sats| sats < 4));
            ahead += usize::from(time.ms_since(message.at) > 120_000);
            behind += usize::from(message.at.ms_since(time) > 8 * 3_600_000);
            damaged += usize::from(serde_json::from_value::<crate::model::DeviceReport>(json.clone()).is_err());
            seen.insert((json["device_id"].to_string(), json["seq"].as_u64()));
        });
        (messages, messages - seen.len(), late, weak, ahead, behind, damaged)
    };
    let none = count(Noise::NONE);
    assert_eq!((none.1, none.2, none.3, none.4, none.5, none.6), (0, 0, 0, 0, 0, 0));
    assert!(count(Noise { gap_every_s: 300.0, ..Noise::NONE }).0 < none.0 * 97 / 100, "gaps");
    assert!(count(Noise { duplicates: 0.01, ..Noise::NONE }).1 > 300, "duplicates");
    assert!(count(Noise { late_every_s: 600.0, ..Noise::NONE }).2 > 1_000, "late reports");
    assert!(count(Noise { weak_fixes: 0.01, ..Noise::NONE }).3 > 300, "weak fixes");
    assert!(count(Noise { clock_ahead_s: 3_600.0, ..Noise::NONE }).4 > 600, "a clock far ahead");
    assert!(count(Noise { clock_behind_s: 28_800.0, ..Noise::NONE }).5 > 1_200, "two clocks far behind");
    assert!(count(Noise { damaged: 0.01, ..Noise::NONE }).6 > 100, "damaged fields");
}

// --- Bodies ----------------------------------------------------------------------------------------------------------

/// What a judge needs of one report.
#[derive(Clone, Copy, Debug)]
struct Fix {
    at: Time,
    spot: Spot,
    speed_kmh: f64,
    odometer_m: f64,
    ignition: bool,
    loaded: bool,
    open: bool,
    lifted: bool,
}

/// All fixes by vehicle.
type Tracks = BTreeMap<String, Vec<Fix>>;

fn tracks(settings: Settings, minutes: i64) -> (Tracks, Simulation) {
    let vehicles: BTreeMap<String, String> =
        City::demo().vehicles.into_iter().map(|vehicle| (vehicle.device_id, vehicle.vehicle_id)).collect();
    let mut tracks = Tracks::new();
    let simulation = run(settings, minutes, |message| {
        let report: crate::model::DeviceReport = serde_json::from_slice(&message.payload).unwrap();
        let fix = Fix {
            at: report.device_time,
            spot: Spot::at(report.lon.unwrap(), report.lat.unwrap()),
            speed_kmh: report.speed_kmh.unwrap(),
            odometer_m: report.odometer_m.unwrap(),
            ignition: report.ignition.unwrap(),
            loaded: report.load.is_some_and(|load| load.as_str() != "empty"),
            open: report.cover.is_some_and(|cover| cover.as_str() == "open"),
            lifted: report.lift.is_some_and(|lift| lift.as_str() != "flat"),
        };
        tracks.entry(vehicles[&*report.device_id].clone()).or_default().push(fix);
    });
    (tracks, simulation)
}

/// Three quarters of an hour without noise, once for all tests that only look at it.
struct Run {
    tracks: Tracks,
    truths: Vec<Truth>,
    now: Time,
}

static RUN: std::sync::LazyLock<Run> = std::sync::LazyLock::new(|| {
    let (tracks, simulation) = tracks(exact(), 45);
    Run { tracks, truths: simulation.truths(), now: simulation.now() }
});

#[test]
fn trucks_move_like_trucks() {
    let tracks = &RUN.tracks;
    assert_eq!(tracks.len(), 60);
    let mut driven_m = 0.0;
    for (vehicle, track) in tracks {
        for pair in track.windows(2).filter(|pair| pair[1].at.ms_since(pair[0].at) == 1_000) {
            let (before, after) = (pair[0].speed_kmh / 3.6, pair[1].speed_kmh / 3.6);
            // Speeds are told to a tenth of a km/h.
            assert!(after - before <= EMPTY_MPS2 + 0.03, "{vehicle} gathers speed too fast: {pair:?}");
            assert!(before - after <= HARD_BRAKE_MPS2 + 0.5, "{vehicle} brakes too hard: {pair:?}");
            let (moved_m, expected_m) = (pair[0].spot.distance_m(pair[1].spot), (before + after) / 2.0);
            // As the crow flies it is shorter round a corner, down to the root of a half for a right angle.
            assert!(moved_m < expected_m + 0.7, "{vehicle} jumps {moved_m} m, expected {expected_m}: {pair:?}");
            assert!(moved_m > expected_m * 0.62 - 0.7, "{vehicle} moved {moved_m} m, expected {expected_m}: {pair:?}");
            let by_odometer_m = pair[1].odometer_m - pair[0].odometer_m;
            assert!((by_odometer_m - expected_m).abs() < 1.6, "{vehicle}: odometer {by_odometer_m} m: {pair:?}");
            assert!(after <= 150.5 / 3.6);
            driven_m += moved_m;
        }
    }
    assert!(driven_m > 500_000.0, "{driven_m} m by all");
}

#[test]
fn trucks_work_and_wait_and_keep_to_the_roads() {
    let (city, tracks) = (City::demo(), &RUN.tracks);
    let shapes: Vec<&[Spot]> = city.network.edges.iter().map(|edge| &edge.shape[..]).collect();
    let (mut loads, mut unloads, mut waits) = (0, 0, 0);
    for track in tracks.values() {
        for fix in track.iter().step_by(203) {
            let off_m = shapes.iter().map(|shape| fix.spot.distance_to_line_m(shape)).fold(f64::INFINITY, f64::min);
            assert!(off_m < 0.5, "{off_m} m off the roads: {fix:?}");
        }
        loads += track.windows(2).filter(|pair| !pair[0].loaded && pair[1].loaded).count();
        unloads += track.windows(2).filter(|pair| pair[0].loaded && !pair[1].loaded).count();
        let stands: Vec<bool> = track.iter().map(|fix| fix.speed_kmh == 0.0 && fix.ignition).collect();
        waits += stands.split(|stands| !stands).filter(|stand| (5..100).contains(&stand.len())).count();
    }
    assert!(loads > 20 && unloads > 20 && waits > 50, "{loads} loads, {unloads} unloads, {waits} waits");
}

#[test]
fn some_queue_at_the_gate_and_jitter_there() {
    let city = City::demo();
    let sites: Vec<_> = city.places.iter().filter(|place| matches!(place.kind, "source" | "sink")).collect();
    let at_fence =
        |fix: &Fix| sites.iter().any(|site| (fix.spot.distance_m(site.middle) / site.radius_m - 0.96).abs() < 0.02);
    let stands = RUN
        .tracks
        .values()
        .filter(|track| track.windows(25).any(|some| some.iter().all(|fix| fix.speed_kmh == 0.0 && at_fence(fix))));
    let count = stands.count();
    assert!(count > 10, "{count} trucks queue at a fence");
    let noise = Noise { gate_m: 12.0, ..Noise::NONE };
    let (jittery, _) = tracks(Settings { noise, ..exact() }, 10);
    let jumps = jittery
        .values()
        .flat_map(|track| track.windows(2))
        .filter(|pair| pair[1].speed_kmh == 0.0 && pair[0].spot.distance_m(pair[1].spot) > 5.0);
    let count = jumps.count();
    assert!(count > 100, "{count} fixes of standing trucks wander");
}

#[test]
fn roads_that_nobody_can_tell_apart_have_other_limits() {
    let network = City::demo().network;
    for (main, name, offset_m) in super::names::BESIDE {
        let of = |name: &str| network.roads.iter().find(|road| road.name == name).unwrap();
        let (main, beside) = (of(main), of(name.0));
        assert!(main.limit_kmh() != beside.limit_kmh(), "{}", beside.name);
        let line = network.line(main);
        let away = network.line(beside).into_iter().map(|spot| spot.distance_to_line_m(&line)).fold(0.0, f64::max);
        assert!((away - offset_m.abs()).abs() < 1.0, "{} lies {away} m off, expected {offset_m}", beside.name);
    }
}

// --- Scores ----------------------------------------------------------------------------------------------------------

/// An alert of a rule on a truck, from one minute to another; `joined` found the same.
fn alert(rule: &str, minutes: (i64, i64), joined: &[&str]) -> crate::model::Alert {
    let at = |minute: i64| start().plus_ms(minute * 60_000).to_string();
    let joined: Vec<Json> = joined
        .iter()
        .map(|rule| {
            serde_json::json!({"rule_id": rule, "rule_version": "v", "severity": "minor", "message": "", "facts": {},
                "started_at": at(minutes.0), "fired_at": at(minutes.0)})
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "alert_id": "00".repeat(16), "rule_id": rule, "rule_version": "v", "vehicle_id": "V1", "plate": "", "company_id": "",
        "severity": "minor", "departments": [], "message": "", "state": "cleared", "retrospective": false, "facts": {},
        "started_at": at(minutes.0), "fired_at": at(minutes.0), "cleared_at": at(minutes.1), "joined": joined
    }))
    .unwrap()
}

#[test]
fn a_score_counts_what_was_found_and_what_was_invented() {
    let truth = |rule: &str, minutes: (i64, i64), planted| Truth {
        vehicle_id: "V1".into(),
        rule_id: rule.into(),
        started_at: start().plus_ms(minutes.0 * 60_000),
        ended_at: start().plus_ms(minutes.1 * 60_000),
        planted,
        may_also: vec!["permit-not-valid".into()],
    };
    let truths = [
        truth("overspeed", (10, 12), true),
        truth("route-deviation", (30, 40), true),
        truth("track-gap", (60, 61), false),
    ];
    /// Rule, minutes, rules that joined, how many were found, how many invented.
    type Case = (&'static str, (i64, i64), &'static [&'static str], u32, u32);
    let cases: &[Case] = &[
        ("overspeed", (11, 12), &[], 1, 0),
        ("overspeed-severe", (11, 12), &["overspeed"], 1, 0),
        ("overspeed-severe", (11, 12), &[], 0, 1),
        ("overspeed", (16, 17), &[], 0, 1),
        ("permit-not-valid", (10, 12), &[], 0, 0),
        ("track-gap", (60, 60), &[], 0, 0),
        ("repeat-overspeed-vehicle", (500, 501), &[], 0, 0),
    ];
    for (rule, minutes, joined, found, invented) in cases {
        let total = score(&truths, &[alert(rule, *minutes, joined)]).total();
        assert_eq!(
            (total.planted, total.found, total.alerts, total.invented),
            (2, *found, 1, *invented),
            "{rule} {minutes:?}"
        );
    }
    assert_eq!(score(&truths, &[]).missed.len(), 2);
    assert_eq!(score(&truths, &[]).total().recall(), 0.0);
    assert_eq!(score(&[], &[]).total().recall(), 1.0);
}

// --- The little judge ------------------------------------------------------------------------------------------------

/// Judges tracks by nothing but what was reported and how the city is written.
struct Judge {
    city: City,
    /// Every edge: its box, its limit in km/h, its shape.
    edges: Vec<(Rectangle, f64, Vec<Spot>)>,
    /// Every route's points.
    lines: Vec<Vec<Spot>>,
}

impl Judge {
    fn new() -> Self {
        let city = City::demo();
        let edge = |edge: &super::network::Edge| {
            let road = &city.network.roads[edge.road];
            let low =
                edge.shape.iter().fold(edge.shape[0], |low, spot| Spot::new(low.x.min(spot.x), low.y.min(spot.y)));
            let high = edge.shape.iter().fold(low, |high, spot| Spot::new(high.x.max(spot.x), high.y.max(spot.y)));
            (Rectangle { low, high }, road.posted_kmh.min(class_limit_kmh(road.class)), edge.shape.clone())
        };
        let edges = city.network.edges.iter().map(edge).collect();
        let lines = city.routes.iter().map(|route| route.path.spots()).collect();
        Self { city, edges, lines }
    }

    /// The lowest and the highest limit of the roads at a spot, km/h: several at a crossing.
    fn limits_kmh(&self, spot: Spot) -> (f64, f64) {
        let near = self.edges.iter().filter(|(area, _, _)| area.holds(spot, 2.0));
        let here = near.filter(|(_, _, shape)| spot.distance_to_line_m(shape) < 1.0);
        here.fold((f64::INFINITY, 0.0), |(low, high), (_, limit, _)| (low.min(*limit), high.max(*limit)))
    }

    fn in_place(&self, spot: Spot) -> bool {
        self.city.places.iter().any(|place| place.holds(spot))
    }

    fn in_forbidden(&self, spot: Spot) -> bool {
        let zones = self.city.zones.iter().filter(|zone| zone.kind == "forbidden" && zone.schedule.is_empty());
        zones.into_iter().any(|zone| zone.area.holds(spot, 0.0))
    }

    /// Metres to the nearest route of the vehicle's permit; 0 near its ends.
    fn deviation_m(&self, vehicle: &super::city::Vehicle, spot: Spot) -> f64 {
        let mut ends = std::iter::once(vehicle.source).chain(vehicle.sinks.iter().copied());
        if ends.any(|end| spot.distance_m(self.city.places[end].middle) < self.city.places[end].radius_m + 500.0) {
            return 0.0;
        }
        let named = |route: &super::city::Route| route.source == vehicle.source && vehicle.sinks.contains(&route.sink);
        let routes = self.city.routes.iter().zip(&self.lines).filter(|(route, _)| named(route));
        routes.map(|(_, line)| spot.distance_to_line_m(line)).fold(f64::INFINITY, f64::min)
    }

    /// The longest time, in seconds, for which a track did something on end, looked at every so many fixes.
    fn longest_s(track: &[Fix], every: usize, does: impl Fn(&Fix) -> bool) -> f64 {
        let (mut longest, mut since) = (0.0f64, None);
        for fix in track.iter().step_by(every) {
            match (does(fix), since) {
                (false, _) => since = None,
                (true, None) => since = Some(fix.at),
                (true, Some(since)) => longest = longest.max(fix.at.s_since(since)),
            }
        }
        longest
    }

    /// What the rule asks of a track, measured on it: the seconds for which it held, and those that it must.
    fn measure(&self, rule: &str, vehicle: &super::city::Vehicle, track: &[Fix]) -> (f64, f64) {
        let out = |fix: &Fix| !self.in_place(fix.spot);
        let faster = |share: f64| move |fix: &Fix| fix.speed_kmh > self.limits_kmh(fix.spot).0 * share;
        let off = |m: f64| move |fix: &Fix| fix.loaded && self.deviation_m(vehicle, fix.spot) > m;
        let silence = track.windows(2).map(|pair| pair[1].at.s_since(pair[0].at)).fold(0.0, f64::max);
        let moves = |fix: &Fix| fix.speed_kmh > 5.0 && fix.loaded;
        match rule {
            "overspeed" => (Self::longest_s(track, 1, faster(1.1)), 40.0),
            "overspeed-severe" => (Self::longest_s(track, 1, faster(1.2)), 22.0),
            "route-deviation" => {
                (Self::longest_s(track, 5, |fix| off(100.0)(fix) && !self.in_forbidden(fix.spot)), 200.0)
            }
            "route-deviation-severe" => (Self::longest_s(track, 5, off(500.0)), 200.0),
            "forbidden-zone" => (Self::longest_s(track, 1, |fix| self.in_forbidden(fix.spot)), 75.0),
            "unpermitted-transport" => (Self::longest_s(track, 1, moves), 135.0),
            "outside-permit-hours" => (Self::longest_s(track, 1, moves), 320.0),
            "abnormal-stop" => (Self::longest_s(track, 1, |fix| fix.speed_kmh < 1.0 && fix.loaded && out(fix)), 960.0),
            "lift-outside-site" => {
                (Self::longest_s(track, 1, |fix| fix.lifted && fix.speed_kmh < 5.0 && out(fix)), 15.0)
            }
            "cover-open-loaded" => (Self::longest_s(track, 1, |fix| fix.open && moves(fix) && out(fix)), 75.0),
            "terminal-offline" => (silence, 420.0),
            "overspeed-unsealed" => {
                (Self::longest_s(track, 1, |fix| fix.open && fix.speed_kmh > 20.0 && out(fix)), 40.0)
            }
            "blacklisted" => (Self::longest_s(track, 1, moves), 5.0),
            _ => panic!("no such rule: {rule}"),
        }
    }
}

/// The part of a track in which a truth lies, with a minute before and after.
fn part<'a>(track: &'a [Fix], truth: &Truth) -> &'a [Fix] {
    let (from, to) = (truth.started_at.plus_ms(-60_000), truth.ended_at.plus_ms(60_000));
    // Silence lies before its truth begins.
    let from = if &*truth.rule_id == "terminal-offline" { from.plus_ms(-400_000) } else { from };
    let first = track.partition_point(|fix| fix.at < from);
    &track[first..track.partition_point(|fix| fix.at <= to)]
}

#[test]
fn what_was_planted_can_be_measured_and_every_rule_is_broken() {
    let (judge, tracks) = (Judge::new(), &RUN.tracks);
    let vehicles: BTreeMap<&str, &super::city::Vehicle> =
        judge.city.vehicles.iter().map(|vehicle| (&*vehicle.vehicle_id, vehicle)).collect();
    let mut broken = BTreeSet::new();
    // A silence that still goes on has no second end to be measured by.
    let now = RUN.now;
    for truth in RUN.truths.iter().filter(|truth| truth.planted) {
        let rule = &*truth.rule_id;
        if rule == "terminal-offline" && now.s_since(truth.ended_at) < 5.0 {
            continue;
        }
        let part = part(&tracks[&*truth.vehicle_id], truth);
        let stands = rule == "abnormal-stop";
        let part = if stands { &tracks[&*truth.vehicle_id][..] } else { part };
        let (lasted_s, least_s) = judge.measure(rule, vehicles[&*truth.vehicle_id], part);
        assert!(
            lasted_s >= least_s,
            "{rule} of {}: measured {lasted_s} s, expected {least_s}: {truth:?}",
            truth.vehicle_id
        );
        broken.insert(rule);
    }
    let certain = Offence::ALL.iter().filter(|offence| offence.patience().margin_s.is_finite());
    // A wrong clock is noise, of which this run has none.
    let planned = certain.filter(|offence| **offence != Offence::ClockSkew);
    let all: BTreeSet<&str> = planned.map(|offence| offence.rule_id()).collect();
    assert_eq!(broken, all, "rules that were broken, and all rules");
}

#[test]
fn who_is_not_told_to_offend_never_does() {
    let settings = Settings { offences: false, ..exact() };
    let (judge, (tracks, simulation)) = (Judge::new(), tracks(settings, 45));
    assert_eq!(simulation.truths(), []);
    for vehicle in &judge.city.vehicles {
        let track = &tracks[&vehicle.vehicle_id];
        let working = matches!(vehicle.role, Role::Worker | Role::Bare);
        let sampled: Vec<Fix> = track.iter().step_by(10).copied().collect();
        for fix in &sampled {
            assert!(fix.speed_kmh <= judge.limits_kmh(fix.spot).1 + 0.1, "too fast: {fix:?}");
            assert!(!judge.in_forbidden(fix.spot), "forbidden: {fix:?}");
            assert!(!fix.lifted || judge.in_place(fix.spot), "tips outside: {fix:?}");
            assert!(!(fix.loaded && fix.open) || judge.in_place(fix.spot), "open: {fix:?}");
            assert!(!fix.loaded || judge.deviation_m(vehicle, fix.spot) < 1.0, "off its route: {fix:?}");
            assert!(working || judge.in_place(fix.spot), "at work: {fix:?}");
        }
        let stood_s = Judge::longest_s(track, 5, |fix| fix.loaded && fix.speed_kmh < 1.0 && !judge.in_place(fix.spot));
        assert!(stood_s < 240.0, "{} stands loaded for {stood_s} s", vehicle.vehicle_id);
        let silent_s = track.windows(2).map(|pair| pair[1].at.s_since(pair[0].at)).fold(0.0, f64::max);
        assert!(silent_s <= 1.0, "{} is silent for {silent_s} s", vehicle.vehicle_id);
    }
}

#[test]
fn something_is_wrong_at_once_and_at_any_hour() {
    for hour in [0, 5, 6, 12, 17, 18, 23] {
        let begin = start().plus_ms(hour * 3_600_000);
        let settings = Settings { start: begin, ..exact() };
        let mut simulation = Simulation::new(Arc::new(City::demo()), settings).unwrap();
        simulation.advance(begin.plus_ms(20_000), |_| {});
        let rules: Vec<Arc<str>> = simulation.truths().into_iter().filter(|t| t.planted).map(|t| t.rule_id).collect();
        for rule in ["blacklisted", "lift-outside-site"] {
            assert!(rules.iter().any(|known| &**known == rule), "no {rule} within 20 s of hour {hour}: {rules:?}");
        }
        simulation.advance(begin.plus_ms(900_000), |_| {});
        let late = |truth: &Truth| truth.planted && &*truth.rule_id == "outside-permit-hours";
        assert_eq!(simulation.truths().iter().filter(|truth| late(truth)).count(), 1, "hour {hour}");
    }
}

// --- Units -----------------------------------------------------------------------------------------------------------

#[test]
fn units_answer_like_people() {
    let settings = Settings { start: start(), noise: Noise::NONE, ..Settings::default() };
    let mut simulation = Simulation::new(Arc::new(City::with_trucks(0)), settings).unwrap();
    let (mut positions, mut replies) = (BTreeMap::<String, (f64, f64)>::new(), Vec::<Json>::new());
    let (mut now, mut sent) = (start(), 0);
    for round in 0..40 {
        for unit in 1..=12 {
            let (lon, lat) = positions.get(&format!("U{unit:02}")).copied().unwrap_or((113.97, 22.6));
            let offer = serde_json::json!({"dispatch_id": format!("o-{round}-{unit}"), "lat": lat + 0.003, "lon": lon});
            simulation.on_dispatch(&format!("U{unit:02}"), offer.to_string().as_bytes(), now);
            sent += 1;
        }
        simulation.on_dispatch("U01", b"{\"no\": \"offer\"}", now);
        simulation.on_dispatch("nobody", b"{}", now);
        now = now.plus_ms(600_000);
        simulation.advance(now, |message| {
            let json: Json = serde_json::from_slice(&message.payload).unwrap();
            if message.topic.ends_with("/reply") {
                serde_json::from_value::<crate::model::UnitReply>(json.clone()).unwrap();
                replies.push(json);
            } else {
                let place = (json["lon"].as_f64().unwrap(), json["lat"].as_f64().unwrap());
                positions.insert(json["unit_id"].as_str().unwrap().to_owned(), place);
            }
        });
    }
    let count = |answer: &str| replies.iter().filter(|reply| reply["answer"] == answer).count();
    let (accepted, declined) = (count("accept"), count("decline"));
    assert!(accepted * 2 > sent && declined * 20 > sent, "{accepted} accepted, {declined} declined of {sent}");
    assert!(sent - accepted - declined > sent / 20, "nobody is silent");
    assert!(count("arrived") * 10 > accepted * 9 && count("resolved") * 10 > accepted * 9);
    for reply in replies.iter().filter(|reply| reply["answer"] == "resolved") {
        assert!(reply["verdict"].is_string(), "{reply}");
    }
    for reply in replies.iter().filter(|reply| reply["answer"] == "decline") {
        assert!(reply["reason"].is_string(), "{reply}");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    for interval_ms in [0, 99, -5, 60_001] {
        let settings = Settings { interval_ms, ..Settings::default() };
        assert!(Simulation::new(Arc::new(City::with_trucks(1)), settings).is_err(), "{interval_ms}");
    }
    let missing = std::path::Path::new("/dev/null/nowhere");
    assert!(City::with_trucks(1).write(missing).unwrap_err().to_string().starts_with("write /dev/null/nowhere: "));
}
