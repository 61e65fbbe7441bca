//! Zones driven right through between two fixes, with neither of them inside.
//!
//! The straight way between the fixes is not the way driven: a road may lead round a corner of the zone that the straight way
//! cuts. A way of a length leaves the straight one by no more than an ellipse allows, half of √(way² − straight²); a zone is
//! told only when the straight way leads deeper into it than that. Where a road runs all along the straight way, and the way
//! driven was hardly longer, that road is the way.

use std::{cell::OnceCell, sync::Arc};

use super::{Settings, gap::Gap};
use crate::{
    model::{DeviceReport, Facts, Text, Time},
    registry::{Registry, Zone, ZoneKind},
    spatial::{Area, Point, distance_m, heading_deg, heading_difference_deg},
};

/// A longer straight way says too little of what lies beside it, metres: at 80 km/h, a report in 90 s.
const MAX_STRAIGHT_M: f64 = 2_000.0;
/// It must lead so deep into a zone, metres: more than the error of two fixes and of a fence's line.
const DEEP_M: f64 = 30.0;
/// How much longer than the straight way the way driven is at least taken to be, and where neither odometer nor speeds tell:
/// city streets are seldom straighter than that.
const LEAST_DETOUR: f64 = 1.05;
const USUAL_DETOUR: f64 = 1.1;
/// A way driven that is longer than the straight one by no more is the straight one, where a road runs along it.
const STRAIGHT_ON: f64 = 1.15;
/// How near a road must run, metres (a carriageway's half width and the map's error), and at what angle at most, degrees.
const ALONG_M: f64 = 20.0;
const ALONG_DEG: f64 = 30.0;
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

    /// Whether a road runs all along the straight way.
    fn is_along_a_road(&self, registry: &Registry) -> bool {
        let course_deg = heading_deg(self.gap.from.point, self.fix);
        self.looks().all(|look| {
            let mut is_along = false;
            registry.roads().near(look, ALONG_M, self.at, |_, hit| {
                let turn_deg = heading_difference_deg(hit.heading_deg, course_deg);
                is_along |= turn_deg.min(180.0 - turn_deg) <= ALONG_DEG;
            });
            is_along
        })
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
    let is_straight = OnceCell::new();
    let is_deep = |depth_m: f64| {
        let straight = || driven_m <= way.gap.m * STRAIGHT_ON && way.is_along_a_road(registry);
        depth_m >= DEEP_M && (depth_m >= way.beside_m(driven_m) || *is_straight.get_or_init(straight))
    };
    let holds = |zone: &Zone, at: Time| zone.valid.contains(at) && zone.schedule.contains(settings.zone.local(at));
    let mut crossed: Vec<&Zone> = Vec::new();
    zones.crossed_by(from, way.fix, way.at, |number, zone| {
        let area = zones.index().area(number);
        if holds(zone, from_at)
            && holds(zone, way.at)
            && !area.contains(from)
            && !area.contains(way.fix)
            && is_deep(way.depth_m(area))
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
