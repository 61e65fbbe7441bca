//! The device's clock, held against the arrival of what it reports.
//!
//! A report that was kept back arrives late and says nothing of the clock. Live is one that comes after the one before
//! it at about the interval at which both were measured: a backlog comes in a burst.

use serde::{Deserialize, Serialize};

use crate::model::{DeviceReport, Facts, Time, clock_fault};

/// The last report: what its device's clock said, and when it arrived.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Clock {
    measured: Time,
    arrived: Time,
}

/// Of the interval of measurement, the arrival of live reports strays at most so many parts of a hundred.
const JITTER_PERCENT: i64 = 25;
/// After a longer silence nobody knows what is live, milliseconds.
const MAX_INTERVAL_MS: i64 = 3_600_000;

/// A clock that is less off is right, seconds.
const MOST_SKEW_S: f64 = 120.0;

/// Whether a clock that is so far off is wrong.
pub(super) fn is_wrong(skew_s: f64) -> bool {
    skew_s.abs() > MOST_SKEW_S
}

impl Clock {
    /// Takes a report and fills `clock_skew_s` and `clock_fault`.
    pub fn step(&mut self, row: &mut Facts, report: &DeviceReport, recv_time: Time) {
        let (measured, arrived) = (report.device_time, recv_time);
        let (between_ms, came_ms) = (measured.ms_since(self.measured), arrived.ms_since(self.arrived));
        *self = Self { measured, arrived };
        let is_live = (1..=MAX_INTERVAL_MS).contains(&between_ms)
            && (came_ms - between_ms).abs() * 100 <= between_ms * JITTER_PERCENT;
        if is_live && !report.hist {
            let skew_s = measured.s_since(arrived);
            row.clock_skew_s = Some(skew_s);
            row.clock_fault = is_wrong(skew_s).then(|| clock_fault(skew_s, measured));
        }
    }
}
