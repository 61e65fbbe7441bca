//! Trips, as the fold tells them, over records.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    facts::{Fold, Input, Settings, VehicleState},
    model::{Body, Column, ColumnSet, Facts, Outcome, Record, Text, Time},
    registry::Registry,
};

/// A trip: it opens on leaving a source and closes in a sink or a backfill site.
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    /// As alerts name it.
    pub trip_id: Text,
    pub vehicle_id: Text,
    pub plate: Option<Text>,
    pub source_id: Text,
    /// The place in which it closed.
    pub sink_id: Option<Text>,
    pub started_at: Time,
    /// `None`: it has not closed; another one may have opened since.
    pub ended_at: Option<Time>,
    /// Until it closed, else until its last report.
    pub distance_m: f64,
    pub duration_s: f64,
    /// The first permit that the truck had on it.
    pub permit_id: Option<Text>,
    /// The first manifest that was open on it.
    pub manifest_id: Option<Text>,
}

/// The facts that a trip is made of.
const FACTS: [&str; 8] =
    ["trip_id", "trip_source_id", "trip_s", "trip_distance_m", "trip_ended", "place_id", "permit_id", "manifest_id"];

/// The trips in records, which come in order of arrival: each when it closes or gives way to the next, at the end those that
/// are under way, by start. Judged by the same fold over the same reports as when they came, so ids are those of the alerts.
pub struct Trips<I> {
    records: I,
    fold: Fold,
    vehicles: FxHashMap<Text, Vehicle>,
    ready: VecDeque<Trip>,
}

struct Vehicle {
    state: VehicleState,
    last_event: Time,
    trip: Option<Trip>,
}

impl<I> Trips<I> {
    /// The trips in `records`, by what was registered when they were driven.
    pub fn of(registry: Arc<Registry>, settings: Settings, records: I) -> Self {
        let needed: ColumnSet = FACTS.iter().filter_map(|name| Column::named(name)).collect();
        let fold = Fold::new(registry, needed, settings);
        Self { records, fold, vehicles: FxHashMap::default(), ready: VecDeque::new() }
    }

    fn take(&mut self, record: &Record) {
        let Body::Device(report) = &record.body else { return };
        let Record { event_time, recv_time, use_position, .. } = *record;
        if record.outcome != Outcome::Evaluated {
            return;
        }
        let vehicle_id = self.fold.vehicle_id(&report.device_id, event_time);
        let new = || Vehicle { state: VehicleState::default(), last_event: event_time, trip: None };
        let vehicle = self.vehicles.entry(vehicle_id.clone()).or_insert_with(new);
        // As the judge does when two devices on one vehicle interleave.
        if event_time < vehicle.last_event {
            return;
        }
        vehicle.last_event = event_time;
        let row = self.fold.step(&mut vehicle.state, Input::Report { report, event_time, recv_time, use_position });
        vehicle.follow(&vehicle_id, &row, event_time, &mut self.ready);
    }

    fn finish(&mut self) {
        let mut under_way: Vec<Trip> = self.vehicles.drain().filter_map(|(_, vehicle)| vehicle.trip).collect();
        under_way.sort_by(|a, b| (a.started_at, &a.trip_id).cmp(&(b.started_at, &b.trip_id)));
        self.ready.extend(under_way);
    }
}

impl Vehicle {
    fn follow(&mut self, vehicle_id: &Text, row: &Facts, at: Time, ready: &mut VecDeque<Trip>) {
        let (Some(trip_id), Some(source_id)) = (&row.trip_id, &row.trip_source_id) else { return };
        ready.extend(self.trip.take_if(|trip| trip.trip_id != *trip_id));
        let trip = self.trip.get_or_insert_with(|| Trip {
            trip_id: trip_id.clone(),
            vehicle_id: vehicle_id.clone(),
            plate: row.plate.clone(),
            source_id: source_id.clone(),
            sink_id: None,
            started_at: at,
            ended_at: None,
            distance_m: 0.0,
            duration_s: 0.0,
            permit_id: None,
            manifest_id: None,
        });
        trip.distance_m = row.trip_distance_m.unwrap_or(trip.distance_m);
        trip.duration_s = row.trip_s.unwrap_or(trip.duration_s);
        trip.permit_id = trip.permit_id.take().or_else(|| row.permit_id.clone());
        trip.manifest_id = trip.manifest_id.take().or_else(|| row.manifest_id.clone());
        if row.trip_ended == Some(true) {
            (trip.ended_at, trip.sink_id) = (Some(at), row.place_id.clone());
            ready.extend(self.trip.take());
        }
    }
}

impl<E, I: Iterator<Item = Result<Record, E>>> Iterator for Trips<I> {
    type Item = Result<Trip, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(trip) = self.ready.pop_front() {
                return Some(Ok(trip));
            }
            match self.records.next() {
                Some(Ok(record)) => self.take(&record),
                Some(Err(error)) => return Some(Err(error)),
                None if self.vehicles.is_empty() => return None,
                None => self.finish(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceReport, Reason};

    /// 2026-03-01T14:00:00Z.
    const START_MS: i64 = 1_772_373_600_000;

    fn square(id: &str, kind: &str, west: f64) -> String {
        let (east, ring) = (west + 0.01, |x: f64, y: f64| format!("[{x},{y}]"));
        let corners = [ring(west, 22.0), ring(east, 22.0), ring(east, 22.01), ring(west, 22.01), ring(west, 22.0)];
        format!(
            r#"{{"type":"Feature","properties":{{"place_id":"{id}","kind":"{kind}"}},"geometry":{{"type":"Polygon","coordinates":[[{}]]}}}}"#,
            corners.join(",")
        )
    }

    fn registry() -> Arc<Registry> {
        let places = format!(
            r#"{{"type":"FeatureCollection","datum":"wgs84","features":[{},{}]}}"#,
            square("SITE", "source", 114.0),
            square("TIP", "sink", 114.1)
        );
        let vehicles = "vehicle_id,plate,device_id,status\nV1,粤B1,D1,active\n";
        Arc::new(Registry::parse(&[("vehicles.csv", vehicles), ("places.geojson", &places)]).unwrap())
    }

    fn report(minute: i64, lon: f64) -> Result<Record, ()> {
        let at = Time::from_millis(START_MS + minute * 60_000);
        let report = DeviceReport {
            device_id: "D1".into(),
            device_time: at,
            lat: Some(22.005),
            lon: Some(lon),
            speed_kmh: Some(40.0),
            odometer_m: Some(minute as f64 * 1_000.0),
            ..DeviceReport::default()
        };
        let body = Body::Device(report);
        let outcome = Outcome::Evaluated;
        Ok(Record { recv_time: at, event_time: at, outcome, reason: Reason::Ok, use_position: true, body })
    }

    #[test]
    fn a_trip_closes_in_a_sink_and_one_that_does_not_is_there_all_the_same() {
        let lons = [114.005, 114.02, 114.06, 114.105, 114.06, 114.005, 114.03, 114.005, 114.02];
        let records = (0..).zip(lons).map(|(minute, lon)| report(minute * 2, lon));
        let trips: Vec<Trip> = Trips::of(registry(), Settings::default(), records).map(Result::unwrap).collect();
        let told: Vec<_> = trips
            .iter()
            .map(|trip| {
                (&*trip.trip_id, &*trip.source_id, trip.sink_id.as_deref(), trip.duration_s, trip.distance_m.round())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("V1@2026-03-01T14:02:00.000Z", "SITE", Some("TIP"), 240.0, 4_000.0),
                ("V1@2026-03-01T14:12:00.000Z", "SITE", None, 120.0, 2_000.0),
                ("V1@2026-03-01T14:16:00.000Z", "SITE", None, 0.0, 0.0),
            ]
        );
        assert_eq!(trips[0].ended_at.map(|at| at.to_string()).as_deref(), Some("2026-03-01T14:06:00.000Z"));
        assert!(trips.iter().all(|trip| trip.plate.as_deref() == Some("粤B1") && &*trip.vehicle_id == "V1"));
    }

    #[test]
    fn what_was_not_evaluated_or_came_too_late_makes_no_trip() {
        let odd =
            |minute: i64, lon: f64, outcome: Outcome| report(minute, lon).map(|record| Record { outcome, ..record });
        let records = [
            odd(0, 114.005, Outcome::Evaluated),
            odd(2, 114.02, Outcome::Filtered),
            odd(1, 114.02, Outcome::Late),
            odd(4, 114.006, Outcome::Evaluated),
        ];
        assert_eq!(Trips::of(registry(), Settings::default(), records.into_iter()).count(), 0);
    }
}
