//! Settled facts: of the report before, as seen from this one.
//!
//! Half of the errors in naming a road are right again one fix later, so what accuses somebody reads these. Each report is settled
//! once, by the next, whatever that brings: no row waits. One without a position settles what came before it by what was known.

use serde::{Deserialize, Serialize};

use super::{Settings, exact, gap::Gap, road::Roads};
use crate::model::{Facts, Text, Time};

/// A report that the next one settles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unsettled {
    pub at: Time,
    #[serde(with = "exact::option")]
    lat: Option<f64>,
    #[serde(with = "exact::option")]
    lon: Option<f64>,
    #[serde(with = "exact::option")]
    speed_kmh: Option<f64>,
    #[serde(with = "exact::option")]
    zone_kmh: Option<f64>,
    /// As matched without the next.
    road: Option<SeenRoad>,
}

/// A road that it was on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SeenRoad {
    pub road_id: Text,
    pub name: Option<Text>,
    /// The highest of the roads that explain the fixes about as well, km/h.
    #[serde(with = "exact")]
    pub limit_kmh: f64,
}

/// What limits the speed, here and at the fix before.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub zone_kmh: Option<f64>,
    pub roads: Roads,
}

/// The lower of what a zone and a road allow.
pub(super) fn lower(zone_kmh: Option<f64>, road_kmh: Option<f64>) -> Option<f64> {
    zone_kmh.into_iter().chain(road_kmh).reduce(f64::min)
}

/// Fills `settled_*` of the report before and keeps this one, whose other facts the row holds already. Over a gap longer than
/// [`Settings::max_gap_s`] nothing is settled.
pub(super) fn step(
    unsettled: &mut Option<Box<Unsettled>>,
    row: &mut Facts,
    at: Time,
    gap: Option<&Gap>,
    limits: Limits,
    settings: &Settings,
) {
    let Limits { zone_kmh, roads } = limits;
    let now = Unsettled { at, lat: row.lat, lon: row.lon, speed_kmh: row.speed_kmh, zone_kmh, road: roads.here };
    let Some(kept) = unsettled else {
        *unsettled = Some(Box::new(now));
        return;
    };
    let before = std::mem::replace(&mut **kept, now);
    if at.s_since(before.at) > settings.max_gap_s {
        return;
    }
    let gap = gap.filter(|gap| gap.from.at == before.at);
    let road = roads.before.or(before.road);
    row.settled_time = Some(before.at);
    (row.settled_lat, row.settled_lon) = (before.lat, before.lon);
    row.settled_speed_kmh =
        before.speed_kmh.filter(|kmh| !gap.is_some_and(|gap| gap.contradicts_start(*kmh, row.accuracy_m)));
    row.settled_speed_limit_kmh = lower(before.zone_kmh, road.as_ref().map(|road| road.limit_kmh));
    (row.settled_road_id, row.settled_road_name) = road.map_or((None, None), |road| (Some(road.road_id), road.name));
}
