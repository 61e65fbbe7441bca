//! The device's clock, held against the arrival of what it reports.
//!
//! A report that was kept back arrives late and says nothing of the clock. Live is one that comes after the one before
//! it at about the interval at which both were measured: a backlog comes in a burst.

use serde::{Deserialize, Serialize};

use crate::model::{DeviceReport, Facts, Time};

/// The last report: what its device's clock said, and when it arrived.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Clock {
    measured: Time,
    arrived: Time,
}

/// Between two live reports arrival may take so many times the interval of measurement, or its inverse.
const JITTER: i64 = 2;
/// After a longer silence nobody knows what is live, milliseconds.
const MAX_INTERVAL_MS: i64 = 3_600_000;

impl Clock {
    /// Takes a report and fills `clock_skew_s`.
    pub fn step(&mut self, row: &mut Facts, report: &DeviceReport, recv_time: Time) {
        let (measured, arrived) = (report.device_time, recv_time);
        let (between_ms, came_ms) = (measured.ms_since(self.measured), arrived.ms_since(self.arrived));
        *self = Self { measured, arrived };
        let is_live = (1..=MAX_INTERVAL_MS).contains(&between_ms)
            && came_ms <= between_ms.saturating_mul(JITTER)
            && between_ms <= came_ms.saturating_mul(JITTER);
        if is_live && !report.hist {
            row.clock_skew_s = Some(measured.s_since(arrived));
        }
    }
}
