//! Sightings: what a gate camera, weighbridge, wash bay or spill camera saw of a truck, told by its plate.
//!
//! A sighting is a row of its own (`row_kind` is `sighting`). It changes nothing of what devices report; what is
//! remembered is where the truck was seen, for two sightings too far apart are two trucks with one plate.

use serde::{Deserialize, Serialize};

use super::{exact, gap::LastFix};
use crate::{
    model::{Facts, Sighting, SightingKind, Text, Time},
    spatial::{Point, distance_m},
};

/// Where and when it was seen last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    last: Option<Spotted>,
    washed: Option<Box<Wash>>,
}

/// The last wash, and the place whose bay saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wash {
    place_id: Text,
    at: Time,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spotted {
    at: Time,
    #[serde(with = "exact::point")]
    point: Point,
    #[serde(default)]
    lag_s: f64,
}

impl Seen {
    /// Fills `sighting_*`; `fix` is the last of the truck's own device. Of that and the last sighting the one that asks
    /// for the greater speed counts. By what its sighting arrived later (or earlier) than a clock says, that clock may be wrong:
    /// the time between is longer by that, so that no speed is implied which two clocks can explain.
    pub fn step(
        &mut self,
        row: &mut Facts,
        sighting: &Sighting,
        place: Option<Point>,
        fix: Option<&LastFix>,
        (at, lag_s): (Time, f64),
    ) {
        row.sighting_kind = sighting.kind.map(SightingKind::as_str);
        row.sighting_sensor_id = Some(sighting.sensor_id.clone());
        row.sighting_place_id = sighting.place_id.clone();
        row.sighting_direction = sighting.direction.clone();
        row.sighting_cover = sighting.cover.map(|cover| cover.as_str());
        row.sighting_dirty = sighting.dirty;
        row.sighting_washed = sighting.washed;
        row.sighting_gross_kg = sighting.gross_kg;
        row.sighting_cloned = sighting.cloned;
        self.follow_wash(row, sighting, at);
        (row.lon, row.lat) = (place.map(|point| point.lon), place.map(|point| point.lat));
        let Some(point) = place else { return };
        let own = fix.filter(|fix| at.s_since(fix.at).abs() <= SAME_MINUTE_S);
        row.sighting_distance_m = own.map(|fix| distance_m(fix.point, point));
        let known = [self.last.map(|last| (last.at, last.point, last.lag_s)), fix.map(|fix| (fix.at, fix.point, 0.0))];
        let speed = |(then, there, its_lag_s): (Time, Point, f64)| {
            implied_kmh(distance_m(there, point), at.s_since(then).abs() + its_lag_s + lag_s)
        };
        row.sighting_implied_kmh = known.into_iter().flatten().filter_map(speed).reduce(f64::max);
        if self.last.is_none_or(|last| last.at <= at) {
            self.last = Some(Spotted { at, point, lag_s });
        }
    }
}

impl Seen {
    /// At which place's bay it was last seen washed, and when.
    pub fn washed(&self) -> Option<(&Text, Time)> {
        self.washed.as_ref().map(|wash| (&wash.place_id, wash.at))
    }

    /// Remembers a wash and fills `sighting_wash_s`.
    fn follow_wash(&mut self, row: &mut Facts, sighting: &Sighting, at: Time) {
        let Some(place_id) = &sighting.place_id else { return };
        if sighting.kind == Some(SightingKind::Wash) && sighting.washed == Some(true) {
            self.washed = Some(Box::new(Wash { place_id: place_id.clone(), at }));
        }
        let here = self.washed.as_ref().filter(|wash| wash.place_id == *place_id);
        row.sighting_wash_s = here.map(|wash| at.s_since(wash.at));
    }
}

/// A fix so near in time says where the truck takes itself to be, seconds: in a minute it drives no two kilometres.
const SAME_MINUTE_S: f64 = 60.0;

/// Nearer than this is the same place, whatever the clocks say, metres: reach of a camera, drift and a minute's skew.
const NEAR_M: f64 = 2_000.0;

/// The speed that it takes; `None` when it is near or the time says nothing.
fn implied_kmh(metres: f64, seconds: f64) -> Option<f64> {
    (metres > NEAR_M).then(|| metres / seconds.max(1.0) * 3.6)
}
