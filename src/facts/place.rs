//! Places: in which site, sink or depot, and for how long.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Settings, around::Around, gap::Gap};
use crate::{
    model::{Facts, Text, Time},
    registry::{Permit, PlaceKind, Registry},
    spatial::Point,
};

/// The place it is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stay {
    pub place_id: Text,
    #[serde(serialize_with = "write_kind", deserialize_with = "read_kind")]
    pub kind: PlaceKind,
    since: Time,
}

fn write_kind<S: Serializer>(kind: &PlaceKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.as_str())
}

fn read_kind<'de, D: Deserializer<'de>>(from: D) -> Result<PlaceKind, D::Error> {
    let word = String::deserialize(from)?;
    PlaceKind::parse(&word).ok_or_else(|| serde::de::Error::custom(format!("not a kind of place: {word:?}")))
}

/// Follows the truck into and out of places. Of several places at a spot the one it is in already counts, else the
/// first by kind and id. It leaves a place when it is well beyond its fence ([`Settings::place_margin_m`]): a fix that wanders at
/// the gate is no way out and in. Until then the place is among those around.
pub(super) fn follow(
    stay: &mut Option<Stay>,
    around: &mut Around,
    registry: &Registry,
    spot: Point,
    at: Time,
    settings: &Settings,
) {
    let all = registry.places().all();
    if let Some(stay) = stay {
        let is_it = |number: &u32| all[*number as usize].place_id == stay.place_id;
        if around.places.iter().any(is_it) {
            return;
        }
        let known = registry.places().named(&stay.place_id, at);
        let left_m = known.map(|(number, _)| (number, registry.places().index().area(number).signed_distance_m(spot)));
        if let Some((number, _)) = left_m.filter(|(_, metres)| *metres <= settings.place_margin_m) {
            around.places.push(number as u32);
            around.places.sort_unstable_by_key(|number| {
                let place = &all[*number as usize];
                (place.kind as u8, &place.place_id)
            });
            return;
        }
    }
    let here = around.places.first().map(|number| &all[*number as usize]);
    *stay = here.map(|place| Stay { place_id: place.place_id.clone(), kind: place.kind, since: at });
}

/// Side of a cell of [`cell_id`], metres.
const CELL_M: f64 = 200.0;
/// Metres in a degree of latitude (a sixtieth of it is a nautical mile).
const DEGREE_M: f64 = 111_120.0;

/// The cell of 200 m by 200 m at a point: rows from the south pole, columns from the antimeridian, as wide at the middle of
/// their row as they are high.
pub(super) fn cell_id(point: Point) -> Text {
    let row = ((point.lat + 90.0) * DEGREE_M / CELL_M).floor();
    let middle_deg = (row + 0.5) * CELL_M / DEGREE_M - 90.0;
    let column = ((point.lon + 180.0) * DEGREE_M * middle_deg.to_radians().cos() / CELL_M).floor();
    format!("{}_{}", row as i64, column as i64).into()
}

/// Fills `place_*` with the place it is in, and `last_place_id`.
pub(super) fn tell(row: &mut Facts, stay: Option<&Stay>, left: Option<&Text>, at: Time) {
    row.last_place_id = left.cloned();
    row.place_dwell_s = Some(stay.map_or(0.0, |stay| at.s_since(stay.since)));
    row.place_id = stay.map(|stay| stay.place_id.clone());
    row.place_kind = stay.map(|stay| stay.kind.as_str());
}

/// Fills `nearest_*_m`.
pub(super) fn tell_nearest(row: &mut Facts, around: &Around) {
    let metres = |kind: PlaceKind| around.nearest_m.as_ref().and_then(|nearest| nearest[kind as usize]);
    row.nearest_source_m = metres(PlaceKind::Source);
    row.nearest_sink_m = metres(PlaceKind::Sink);
    row.nearest_backfill_m = metres(PlaceKind::Backfill);
    row.nearest_transfer_m = metres(PlaceKind::Transfer);
    row.nearest_depot_m = metres(PlaceKind::Depot);
    row.nearest_workshop_m = metres(PlaceKind::Workshop);
}

/// Fills `in_source`, `in_sink`, `in_approved_place` and `sink_permitted` from all places at the spot.
pub(super) fn tell_flags(row: &mut Facts, around: &Around, registry: &Registry, allows: impl Fn(&str) -> bool) {
    let all = registry.places().all();
    let here = || around.places.iter().map(|number| &all[*number as usize]);
    row.in_source = Some(here().any(|place| place.kind == PlaceKind::Source));
    row.in_approved_place = Some(here().next().is_some());
    let mut sinks = here().filter(|place| place.kind == PlaceKind::Sink).peekable();
    row.in_sink = Some(sinks.peek().is_some());
    row.sink_permitted = sinks.peek().is_some().then(|| sinks.any(|sink| allows(&sink.place_id)));
}

/// Fills `place_status` and `place_approved` of the place it is in.
pub(super) fn tell_standing(row: &mut Facts, stay: Option<&Stay>, around: &Around, registry: &Registry, at: Time) {
    let Some(stay) = stay else { return };
    let all = registry.places().all();
    let mut here = around.places.iter().map(|number| &all[*number as usize]);
    row.place_status = here.find(|place| place.place_id == stay.place_id).map(|place| place.status.as_str());
    let is_end = matches!(stay.kind, PlaceKind::Source | PlaceKind::Sink);
    row.place_approved = is_end.then(|| registry.place_approved(&stay.place_id, at)).flatten();
}

/// A place that was crossed between two fixes though neither lies in it: a visit of no dwell. It is told in `place_id`,
/// `place_kind` and the flags of the row that ends the crossing; it opens and closes no trip.
pub(super) fn tell_crossed(
    row: &mut Facts,
    gap: &Gap,
    fix: Point,
    registry: &Registry,
    at: Time,
    allows: impl Fn(&str) -> bool,
) {
    let places = registry.places();
    let mut crossed: Option<(PlaceKind, &Text)> = None;
    places.crossed_by(gap.from.point, fix, at, |number, place| {
        // The place that was left is crossed too, but it was no visit.
        let left = places.index().area(number).contains(gap.from.point);
        let first = crossed.is_none_or(|(kind, id)| (place.kind as u8, &place.place_id) < (kind as u8, id));
        if !left && first {
            crossed = Some((place.kind, &place.place_id));
        }
    });
    let Some((kind, place_id)) = crossed else { return };
    row.place_id = Some(place_id.clone());
    row.place_kind = Some(kind.as_str());
    row.in_source = Some(kind == PlaceKind::Source);
    row.in_sink = Some(kind == PlaceKind::Sink);
    row.in_approved_place = Some(true);
    row.sink_permitted = (kind == PlaceKind::Sink).then(|| allows(place_id));
}

/// The permits' side of a visit: whether a place is one of their ends.
pub(super) fn is_end_of(permit: &Permit, place_id: &str) -> bool {
    *permit.source_id == *place_id || permit.sink_ids.iter().any(|sink| **sink == *place_id)
}
