//! Zones driven right through between two fixes, with neither of them inside.
//!
//! The straight way between the fixes is not the way driven: a road may lead round a corner of the zone that the straight way
//! cuts. A way of a length leaves the straight one by no more than an ellipse allows, half of √(way² − straight²); a zone is
//! told only when the straight way leads deeper into it than that.

use std::sync::Arc;

use super::{Settings, gap::Gap};
use crate::{
    model::{DeviceReport, Facts, Text, Time},
    registry::{Registry, Zone, ZoneKind},
    spatial::{Area, Point, distance_m},
};

/// A longer straight way says too little of what lies beside it, metres: at 60 km/h, a report a minute.
const MAX_STRAIGHT_M: f64 = 1_000.0;
/// It must lead so deep into a zone, metres: more than the error of two fixes and of a fence's line.
const DEEP_M: f64 = 30.0;
/// How much longer than the straight way the way driven is at least taken to be, and where neither odometer nor speeds tell:
/// city streets are seldom straighter than that.
const LEAST_DETOUR: f64 = 1.02;
const USUAL_DETOUR: f64 = 1.1;
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
        is_accurate && self.gap.is_short(settings) && self.gap.m <= MAX_STRAIGHT_M
    }

    /// How far beside the straight way it may have driven, metres. `odometer_m`: what the odometer ran in between.
    fn beside_m(&self, odometer_m: Option<f64>) -> f64 {
        let straight_m = self.gap.m;
        let by_odometer = odometer_m.filter(|metres| *metres >= straight_m);
        let speeds = self.report.speed_kmh.zip(self.gap.from.speed_kmh);
        let by_speed = speeds.map(|(now, before)| (now + before) / 2.0 / 3.6 * self.gap.s);
        let way_m = by_odometer.or(by_speed).unwrap_or(straight_m * USUAL_DETOUR).max(straight_m * LEAST_DETOUR);
        (way_m.powi(2) - straight_m.powi(2)).sqrt() / 2.0
    }

    /// How deep the straight way leads into an area, metres; 0 when it stays out.
    fn depth_m(&self, area: &Area) -> f64 {
        let (from, to) = (self.gap.from.point, self.fix);
        let looks = (distance_m(from, to) / 10.0).ceil().clamp(1.0, LOOKS);
        let spot =
            |share: f64| Point::new(from.lon + (to.lon - from.lon) * share, from.lat + (to.lat - from.lat) * share);
        let depths = (1..looks as u32).map(|look| -area.signed_distance_m(spot(f64::from(look) / looks)));
        depths.fold(0.0, f64::max)
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
    let (zones, deep_m) = (registry.zones(), DEEP_M.max(way.beside_m(row.gap_odometer_m)));
    let holds = |zone: &Zone, at: Time| zone.valid.contains(at) && zone.schedule.contains(settings.zone.local(at));
    let mut crossed: Vec<&Zone> = Vec::new();
    zones.crossed_by(from, way.fix, way.at, |number, zone| {
        let area = zones.index().area(number);
        if holds(zone, from_at)
            && holds(zone, way.at)
            && !area.contains(from)
            && !area.contains(way.fix)
            && way.depth_m(area) >= deep_m
        {
            crossed.push(zone);
        }
    });
    crossed.sort_unstable_by(|a, b| a.zone_id.cmp(&b.zone_id));
    row.crossed_forbidden = Some(crossed.iter().any(|zone| zone.kind == ZoneKind::Forbidden));
    row.zones_crossed = Some(if crossed.is_empty() {
        Arc::clone(none)
    } else {
        crossed.iter().map(|zone| zone.zone_id.clone()).collect()
    });
}
