//! What trips say of the sensors of the body: a truck is loaded at a source, comes back empty, and opens its cover for
//! both. A sensor that never says so is stuck, or was tampered with.

use serde::{Deserialize, Serialize};

use crate::model::{Cover, Facts, Load};

/// Who is in a source for less passes through, seconds.
const LOADING_S: f64 = 180.0;

/// What is remembered from trip to trip.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sensors {
    cover: Option<Cover>,
    /// Trips that ended since the cover's reading changed.
    still_trips: u8,
    in_source: bool,
    /// Whether it has been in there for long enough to load.
    may_load: bool,
    /// Whether the load's sensor said loaded when it came into the source.
    came_loaded: Option<bool>,
    disagreed_trips: u8,
}

/// What a report says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub cover: Option<Cover>,
    /// The last that is known.
    pub load: Option<Load>,
    /// Whether it is in a source; `None` when nobody knows where it is.
    pub in_source: Option<bool>,
}

impl Sensors {
    /// Takes a report of which `trip_ended` is told, and fills `cover_still_trips` and `load_disagreed_trips`.
    pub fn step(&mut self, row: &mut Facts, reading: Reading) {
        let cover = reading.cover.filter(|cover| !matches!(cover, Cover::Fault | Cover::Unknown));
        let is_new = cover.is_some_and(|cover| self.cover.is_some_and(|known| known != cover));
        self.cover = cover.or(self.cover);
        let ended = u8::from(row.trip_ended == Some(true));
        self.still_trips = if is_new { 0 } else { self.still_trips.saturating_add(ended) };
        if let Some(in_source) = reading.in_source {
            self.pass(in_source, reading.load.map(|load| load != Load::Empty));
            self.may_load |= in_source && row.place_dwell_s.is_some_and(|dwell_s| dwell_s >= LOADING_S);
        }
        row.cover_still_trips = self.cover.map(|_| i64::from(self.still_trips));
        row.load_disagreed_trips = Some(i64::from(self.disagreed_trips));
    }

    /// Into a source, or out of it.
    fn pass(&mut self, in_source: bool, loaded: Option<bool>) {
        if in_source && !self.in_source {
            self.came_loaded = loaded;
        }
        if !in_source && std::mem::take(&mut self.may_load) {
            self.leave(loaded);
        }
        self.in_source = in_source;
    }

    fn leave(&mut self, loaded: Option<bool>) {
        match (self.came_loaded, loaded) {
            (Some(true), _) | (_, Some(false)) => self.disagreed_trips = self.disagreed_trips.saturating_add(1),
            (_, Some(true)) => self.disagreed_trips = 0,
            (_, None) => {}
        }
    }
}
