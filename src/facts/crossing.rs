//! Zones driven right through between two fixes, with neither of them inside.
//!
//! The straight way between the fixes is not the way driven: a road may lead round a corner of the zone that the straight way
//! cuts, or through a zone that the straight way passes by. A zone was driven through
//!
//! - where the roads say so: some way along them is about as long as what was driven, and each that is no longer leads deep into
//!   the zone;
//! - wherever they lead: a way of a length leaves the straight one by no more than an ellipse allows, half of √(way² − straight²),
//!   and the straight way leads deeper into the zone than that.

use std::{
    cell::{OnceCell, RefCell},
    sync::Arc,
};

use super::{Settings, gap::Gap};
use crate::{
    model::{DeviceReport, Facts, Text, Time, limits},
    registry::{Registry, Zone, ZoneKind},
    spatial::{Area, Network, Piece, Point, Reach, Spot, Walk, distance_m},
};

/// A longer straight way says too little of what lies beside it, metres: at 80 km/h, a report in 90 s.
const MAX_STRAIGHT_M: f64 = 2_000.0;
/// It must lead so deep into a zone, metres: more than the error of two fixes and of a fence's line.
const DEEP_M: f64 = 30.0;
/// How much longer than the straight way the way driven is at least taken to be, and where neither odometer nor speeds tell:
/// city streets are seldom straighter than that.
const LEAST_DETOUR: f64 = 1.05;
const USUAL_DETOUR: f64 = 1.1;
/// By how much the length of a way along the roads may differ from what was driven: errors of odometers, and of speeds between two
/// reports. A truck may have taken any way that is no longer than that.
const MAY_DIFFER: f64 = 1.15;
/// How near to a fix the road is that it was taken on, metres: a carriageway's half width, the fix's and the map's error.
const ON_ROAD_M: f64 = 25.0;
/// The least step along a way that is looked at for how deep it leads into a zone, metres.
const LOOK_M: f64 = 5.0;
/// Points of the way that are looked at, at most.
const LOOKS: f64 = 64.0;

/// From one fix to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub gap: &'a Gap,
    pub fix: Point,
    pub at: Time,
    pub report: &'a DeviceReport,
}

impl Way<'_> {
    /// Whether it is short and sure enough to say what lay on it.
    fn is_sure(&self, settings: &Settings) -> bool {
        let is_accurate = self.report.accuracy_m.is_none_or(|metres| metres <= settings.max_accuracy_m);
        is_accurate && !self.gap.from.is_rough && self.gap.is_short(settings) && self.gap.m <= MAX_STRAIGHT_M
    }

    /// Metres that it drove. `odometer_m`: what the odometer ran in between.
    fn driven_m(&self, odometer_m: Option<f64>) -> f64 {
        let straight_m = self.gap.m;
        let by_odometer = odometer_m.filter(|metres| *metres >= straight_m);
        let speeds = self.report.speed_kmh.zip(self.gap.from.speed_kmh);
        let by_speed = speeds.map(|(now, before)| (now + before) / 2.0 / 3.6 * self.gap.s);
        by_odometer.or(by_speed).unwrap_or(straight_m * USUAL_DETOUR).max(straight_m * LEAST_DETOUR)
    }

    /// How far beside the straight way it may have driven, metres.
    fn beside_m(&self, driven_m: f64) -> f64 {
        (driven_m.powi(2) - self.gap.m.powi(2)).sqrt() / 2.0
    }

    /// Points between the two fixes.
    fn looks(&self) -> impl Iterator<Item = Point> {
        let (from, to) = (self.gap.from.point, self.fix);
        let looks = (distance_m(from, to) / 10.0).ceil().clamp(2.0, LOOKS);
        let at = move |share: f64| {
            Point::new(from.lon + (to.lon - from.lon) * share, from.lat + (to.lat - from.lat) * share)
        };
        (1..looks as u32).map(move |look| at(f64::from(look) / looks))
    }

    /// Where on the roads it may have set out and arrived, when some way between is about as long as what it drove.
    fn along_roads(&self, driven_m: f64, registry: &Registry) -> Option<Ends> {
        let ends = Ends { from: spots(registry, self.gap.from.point, self.at), to: spots(registry, self.fix, self.at) };
        let shortest_m =
            ends.shortest_m(registry.network(), driven_m * MAY_DIFFER, |piece| registry.is_open(piece, self.at))?;
        (shortest_m.is_finite() && driven_m <= shortest_m * MAY_DIFFER).then_some(ends)
    }

    /// Whether each way along the roads that it may have driven leads deep into an area.
    fn is_led_into(&self, area: &Area, ends: &Ends, driven_m: f64, registry: &Registry) -> bool {
        let network = registry.network();
        let round = |piece: Piece| registry.is_open(piece, self.at) && !is_deep(network, piece, area);
        ends.shortest_m(network, driven_m * MAY_DIFFER, round) == Some(f64::INFINITY)
    }

    /// How deep the straight way leads into an area, metres; 0 when it stays out.
    fn depth_m(&self, area: &Area) -> f64 {
        self.looks().map(|look| -area.signed_distance_m(look)).fold(0.0, f64::max)
    }
}

/// Fills `zones_crossed` and `crossed_forbidden`.
pub(super) fn tell(
    row: &mut Facts,
    way: Option<Way<'_>>,
    registry: &Registry,
    settings: &Settings,
    none: &Arc<[Text]>,
) {
    let Some(way) = way else {
        (row.zones_crossed, row.crossed_forbidden) = (Some(Arc::clone(none)), Some(false));
        return;
    };
    if !way.is_sure(settings) {
        return;
    }
    let (from, from_at) = (way.gap.from.point, way.gap.from.at);
    let (zones, driven_m) = (registry.zones(), way.driven_m(row.gap_odometer_m));
    let roads = OnceCell::new();
    let is_through = |area: &Area| {
        let by_roads = || roads.get_or_init(|| way.along_roads(driven_m, registry)).as_ref();
        way.depth_m(area) >= way.beside_m(driven_m).max(DEEP_M)
            || by_roads().is_some_and(|ends| way.is_led_into(area, ends, driven_m, registry))
    };
    let holds = |zone: &Zone, at: Time| zone.valid.contains(at) && zone.schedule.contains(settings.zone.local(at));
    let mut crossed: Vec<&Zone> = Vec::new();
    let middle = Point::new((from.lon + way.fix.lon) / 2.0, (from.lat + way.fix.lat) / 2.0);
    // No way so long gets farther from the middle, nor, there and back, deeper into anything.
    let farthest_m = driven_m * MAY_DIFFER / 2.0 - DEEP_M;
    if farthest_m > 0.0 {
        zones.within_m(middle, farthest_m, way.at, |number, zone, _| {
            let area = zones.index().area(number);
            let is_passed = || !area.contains(from) && !area.contains(way.fix);
            if holds(zone, from_at) && holds(zone, way.at) && is_passed() && is_through(area) {
                crossed.push(zone);
            }
        });
    }
    crossed.sort_unstable_by(|a, b| a.zone_id.cmp(&b.zone_id));
    row.crossed_forbidden = Some(crossed.iter().any(|zone| zone.kind == ZoneKind::Forbidden));
    row.zones_crossed = Some(if crossed.is_empty() {
        Arc::clone(none)
    } else {
        crossed.iter().map(|zone| zone.zone_id.clone()).collect()
    });
}

/// Spots on roads from which and to which it may have driven.
#[derive(Debug)]
struct Ends {
    from: Vec<Spot>,
    to: Vec<Spot>,
}

/// The spots on roads that a fix may have been taken on.
fn spots(registry: &Registry, fix: Point, at: Time) -> Vec<Spot> {
    let mut spots = Vec::new();
    registry.roads().near(fix, ON_ROAD_M, at, |_, hit| spots.extend(registry.network().spot(&hit)));
    spots
}

impl Ends {
    /// Metres of the shortest way; infinite when each is longer than `limit_m`, `None` when there are too many ways to look at.
    fn shortest_m(&self, network: &Network, limit_m: f64, passable: impl Fn(Piece) -> bool) -> Option<f64> {
        WALK.with_borrow_mut(|(walk, ways)| {
            let mut shortest_m = f64::INFINITY;
            for spot in &self.from {
                let reach = Reach { limit_m: limit_m.min(shortest_m), turn_m: 0.0, nodes: limits::WAY_NODES };
                walk.measure(network, *spot, &self.to, reach, &passable, ways);
                if walk.gave_up(reach) {
                    return None;
                }
                // Backwards on a one-way road is as long.
                let within = ways.iter().map(|way_m| way_m.abs()).filter(|way_m| *way_m <= limit_m);
                shortest_m = within.fold(shortest_m, f64::min);
            }
            Some(shortest_m)
        })
    }
}

/// Whether a piece of road leads deep into an area. Nothing within the metres that are missing can be deep.
fn is_deep(network: &Network, piece: Piece, area: &Area) -> bool {
    let (from_m, to_m) = (piece.from_m.min(piece.to_m), piece.from_m.max(piece.to_m));
    let mut along_m = from_m;
    loop {
        let missing_m = DEEP_M + area.signed_distance_m(network.point(Spot { segment: piece.segment, along_m }));
        if missing_m <= 0.0 || along_m >= to_m {
            return missing_m <= 0.0;
        }
        along_m = (along_m + missing_m.max(LOOK_M)).min(to_m);
    }
}

thread_local! {
    /// Buffers that are used again.
    static WALK: RefCell<(Walk, Vec<f64>)> = RefCell::default();
}
