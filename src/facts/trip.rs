//! Trips: opened on leaving a source, closed in a sink or a backfill site.

use serde::{Deserialize, Serialize};

use super::{dark::is_possible, exact, place::Stay};
use crate::{
    model::{Facts, Text, Time},
    registry::{PlaceKind, Registry},
    spatial::{Point, distance_m},
};

/// Farther from a road's or a route's line is off it, metres.
const ASIDE_M: f64 = 50.0;
/// To have come back takes half the way and so many metres: roads wind.
const BACK_M: f64 = 500.0;

/// A shorter stand may be a red light or a queue at one, seconds.
const STAND_S: f64 = 180.0;

/// The trip under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trip {
    trip_id: Text,
    source_id: Text,
    opened_at: Time,
    /// The odometer when it opened and last, metres.
    #[serde(with = "exact::option")]
    odometer_start_m: Option<f64>,
    #[serde(with = "exact::option")]
    odometer_m: Option<f64>,
    #[serde(default)]
    odometer_told: Option<Time>,
    /// Metres between fixes while moving.
    #[serde(with = "exact")]
    driven_m: f64,
    /// The first gross mass that was told on it, kg.
    #[serde(default, with = "exact::option")]
    gross_kg: Option<f64>,
    #[serde(default)]
    aside: Option<Box<Aside>>,
    /// When it came to the source.
    #[serde(default)]
    came_at: Time,
    /// Stands of [`STAND_S`] so far, and whether the last goes on.
    #[serde(default)]
    stops: u32,
    #[serde(default)]
    stands: bool,
}

/// The longest stand of a trip away from everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Aside {
    #[serde(with = "exact")]
    stood_s: f64,
    /// The middle of the trip's source, and how far away it was, metres.
    #[serde(with = "exact::point")]
    source: Point,
    #[serde(with = "exact")]
    source_m: f64,
}

/// Where the vehicle stands between source and sink.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Trips {
    /// The source it is in.
    source_id: Option<Text>,
    /// When it came there.
    came_at: Time,
    trip: Option<Box<Trip>>,
}

/// What a report adds to a trip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leg<'a> {
    pub vehicle_id: &'a str,
    pub at: Time,
    pub odometer_m: Option<f64>,
    /// Metres from the previous fix while moving, else 0.
    pub driven_m: f64,
    pub gross_kg: Option<f64>,
    /// At which place's bay it was last seen washed, and when.
    pub washed: Option<(&'a Text, Time)>,
}

impl Trips {
    /// Takes a report and fills `trip_*`. The report that closes a trip still tells it, with its final length.
    pub fn step(&mut self, row: &mut Facts, stay: Option<&Stay>, leg: Leg<'_>) {
        let source = stay.filter(|stay| stay.kind == PlaceKind::Source).map(|stay| &stay.place_id);
        if let Some(left) = self.source_id.take_if(|known| Some(&*known) != source) {
            self.trip = Some(Box::new(Trip::new(left, self.came_at, leg)));
            row.source_gate = Some("out");
        } else if let Some(trip) = &mut self.trip {
            trip.add(leg);
        }
        if let Some(trip) = &mut self.trip {
            trip.count_stands(row, leg.at);
        }
        if self.source_id.is_none() {
            (self.source_id, self.came_at) = (source.cloned(), leg.at);
            row.source_gate = source.map(|_| "in").or(row.source_gate);
        }
        self.tell(row, leg.washed, leg.at);
        let told = self.trip.as_ref().and_then(|trip| trip.gross_kg);
        row.trip_gross_change_kg = leg.gross_kg.zip(told).map(|(now, first)| now - first);
        let is_over = stay.is_some_and(|stay| matches!(stay.kind, PlaceKind::Sink | PlaceKind::Backfill));
        row.trip_ended = Some(is_over && self.trip.is_some());
        if is_over {
            self.trip = None;
        }
    }

    /// Takes the spot of a report whose motion, place, road and route are told, and fills `trip_aside_s` and
    /// `trip_returning`.
    pub fn look_aside(&mut self, row: &mut Facts, registry: &Registry, spot: Option<Point>, at: Time) {
        let Some(trip) = &mut self.trip else { return };
        if let Some(spot) = spot.filter(|_| is_aside(row, registry)) {
            trip.stand_aside(row.stopped_s.unwrap_or(0.0), spot, registry, at);
        }
        let aside = trip.aside.as_ref();
        row.trip_aside_s = Some(aside.map_or(0.0, |aside| aside.stood_s));
        row.trip_returning = match (aside, spot) {
            (None, _) => Some(false),
            (Some(_), None) => None,
            (Some(aside), Some(spot)) => Some(aside.is_left_for_source(spot)),
        };
    }

    /// Fills `trip_*`.
    pub fn tell(&self, row: &mut Facts, washed: Option<(&Text, Time)>, at: Time) {
        let Some(trip) = &self.trip else { return };
        row.trip_id = Some(trip.trip_id.clone());
        row.trip_source_id = Some(trip.source_id.clone());
        row.trip_s = Some(at.s_since(trip.opened_at));
        row.trip_distance_m = Some(trip.distance_m());
        row.trip_washed =
            Some(washed.is_some_and(|(place_id, washed_at)| *place_id == trip.source_id && washed_at >= trip.came_at));
        row.trip_stops = Some(i64::from(trip.stops));
    }

    /// The source that the load comes from: where it is, else what the trip left.
    pub fn source_id(&self) -> Option<&str> {
        self.source_id.as_deref().or(self.trip.as_ref().map(|trip| &*trip.source_id))
    }
}

impl Trip {
    fn new(source_id: Text, came_at: Time, leg: Leg<'_>) -> Self {
        Self {
            trip_id: format!("{}@{}", leg.vehicle_id, leg.at).into(),
            source_id,
            opened_at: leg.at,
            odometer_start_m: leg.odometer_m,
            odometer_m: leg.odometer_m,
            odometer_told: leg.odometer_m.map(|_| leg.at),
            driven_m: 0.0,
            gross_kg: leg.gross_kg,
            aside: None,
            came_at,
            stops: 0,
            stands: false,
        }
    }

    /// Counts a stand that began on the trip, once.
    fn count_stands(&mut self, row: &Facts, at: Time) {
        let stood_s = row.stopped_s.unwrap_or(0.0);
        let stands = stood_s >= STAND_S && at.s_since(self.opened_at) >= stood_s;
        self.stops += u32::from(stands && !self.stands);
        if stands || row.moving == Some(true) {
            self.stands = stands;
        }
    }

    fn stand_aside(&mut self, stood_s: f64, spot: Point, registry: &Registry, at: Time) {
        if let Some(aside) = &mut self.aside {
            if stood_s > aside.stood_s {
                (aside.stood_s, aside.source_m) = (stood_s, distance_m(spot, aside.source));
            }
        } else if let Some((number, _)) = registry.places().named(&self.source_id, at) {
            let source = registry.places().index().area(number).middle();
            self.aside = Some(Box::new(Aside { stood_s, source, source_m: distance_m(spot, source) }));
        }
    }

    fn add(&mut self, leg: Leg<'_>) {
        self.driven_m += leg.driven_m;
        self.gross_kg = self.gross_kg.or(leg.gross_kg);
        if let (Some(now_m), Some(before_m), Some(start_m)) = (leg.odometer_m, self.odometer_m, self.odometer_start_m)
            && !is_possible(now_m - before_m, leg.at.s_since(self.odometer_told.unwrap_or(self.opened_at)))
        {
            // A new origin: the way so far still counts, and of this step what the fixes say.
            self.odometer_start_m = Some(now_m - (before_m - start_m) - leg.driven_m);
        }
        self.odometer_told = leg.odometer_m.map(|_| leg.at).or(self.odometer_told);
        self.odometer_m = leg.odometer_m.or(self.odometer_m);
    }

    /// By the odometer when there is one (paths of fixes are biased high), else the sum between fixes; an odometer
    /// that ran backwards is none.
    fn distance_m(&self) -> f64 {
        let by_odometer = self.odometer_start_m.zip(self.odometer_m).map(|(start, last)| last - start);
        by_odometer.filter(|metres| *metres >= 0.0).unwrap_or(self.driven_m)
    }
}

impl Aside {
    fn is_left_for_source(&self, spot: Point) -> bool {
        let now_m = distance_m(spot, self.source);
        now_m <= self.source_m / 2.0 && self.source_m - now_m >= BACK_M
    }
}

/// Whether it stands outside every place and away from road and route, as far as these are registered; of neither,
/// nobody knows.
fn is_aside(row: &Facts, registry: &Registry) -> bool {
    let from_road = (!registry.roads().is_empty()).then(|| row.road_distance_m.is_none_or(|metres| metres > ASIDE_M));
    let from_route = row.route_deviation_m.map(|metres| metres > ASIDE_M);
    row.moving == Some(false)
        && row.in_approved_place == Some(false)
        && (from_road.is_some() || from_route.is_some())
        && from_road.unwrap_or(true)
        && from_route.unwrap_or(true)
}
