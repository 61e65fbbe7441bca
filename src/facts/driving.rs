//! Driving time: without a rest, and of the last day.
//!
//! Continuous driving ends with a rest of 20 minutes (道路交通安全法实施条例, article 62: no more than 4 hours without
//! one). A silence in which the truck went elsewhere counts as neither driving nor rest.

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::model::{Facts, Time};

/// Hours kept: the running one and the 23 before it.
const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

/// What is known of a vehicle's driving.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Driving {
    last: Option<(Time, bool)>,
    /// Since the last rest, ms.
    driven_ms: i64,
    /// Standing without a break, ms.
    rested_ms: i64,
    /// Seconds driven in each hour, by hour modulo [`HOURS`].
    hours: [u16; HOURS],
    /// The latest hour counted, since 1970.
    hour: i64,
}

impl Driving {
    /// Takes a report whose motion is told, and fills `driving_s` and `driving_day_s`.
    pub fn step(&mut self, row: &mut Facts, at: Time, settings: &Settings) {
        self.turn_to(at.as_millis().div_euclid(HOUR_MS));
        if let Some(moving) = row.moving {
            if let Some((last, was_moving)) = self.last {
                self.pass(last, at, was_moving, moving, settings);
            }
            self.last = Some((at, moving));
        }
        row.driving_s = Some(self.driven_ms as f64 / 1000.0);
        row.driving_day_s = Some(self.hours.iter().map(|s| f64::from(*s)).sum());
    }

    /// The time since the last report: driven when it moves now and was heard of lately, rested while it stands on.
    fn pass(&mut self, last: Time, at: Time, was_moving: bool, moving: bool, settings: &Settings) {
        let ms = at.ms_since(last);
        if moving {
            self.rested_ms = 0;
            if at.s_since(last) <= settings.max_gap_s {
                self.driven_ms += ms;
                self.count(ms);
            }
        } else if !was_moving {
            self.rested_ms += ms;
        }
        if self.rested_ms >= (settings.rest_s * 1000.0) as i64 {
            self.driven_ms = 0;
        }
    }

    /// Whole to the hour in which it ends.
    fn count(&mut self, ms: i64) {
        let slot = &mut self.hours[self.hour.rem_euclid(HOURS as i64) as usize];
        *slot = slot.saturating_add(u16::try_from((ms + 500) / 1000).unwrap_or(u16::MAX));
    }

    /// Forgets the hours that are over a day old.
    fn turn_to(&mut self, hour: i64) {
        let passed = (hour - self.hour).clamp(0, HOURS as i64);
        for back in 0..passed {
            self.hours[(hour - back).rem_euclid(HOURS as i64) as usize] = 0;
        }
        self.hour = self.hour.max(hour);
    }
}
