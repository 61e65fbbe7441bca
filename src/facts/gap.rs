//! Gaps: seconds, metres and speed between a fix and the one before it.

use serde::{Deserialize, Serialize};

use super::{Settings, exact};
use crate::{
    model::{DeviceReport, Facts, Time},
    spatial::{Point, distance_m},
};

/// The last fix that was good enough for geometry.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct LastFix {
    pub at: Time,
    #[serde(with = "exact::point")]
    pub point: Point,
    /// As reported with it.
    #[serde(with = "exact::option")]
    pub speed_kmh: Option<f64>,
    /// Hundredths of a degree from north.
    #[serde(default)]
    pub course: Option<u16>,
}

/// From the previous fix to this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub from: LastFix,
    /// Seconds.
    pub s: f64,
    /// Metres, in a straight line.
    pub m: f64,
}

impl Gap {
    pub fn since(from: LastFix, at: Time, point: Point) -> Self {
        Self { from, s: at.s_since(from.at), m: distance_m(from.point, point) }
    }

    /// Metres over seconds, km/h; `None` between two fixes of one instant.
    pub fn kmh(&self) -> Option<f64> {
        (self.s > 0.0).then(|| self.m / self.s * 3.6)
    }

    /// Whether it is short enough to say what lay between.
    pub fn is_short(&self, settings: &Settings) -> bool {
        self.s <= settings.max_gap_s
    }
}

/// Fills `gap_*`, `implied_speed_kmh`, `speed_kmh` and `acceleration_mps2`.
pub(super) fn tell(row: &mut Facts, gap: Option<&Gap>, report: &DeviceReport, settings: &Settings) {
    row.speed_kmh = report.speed_kmh;
    let Some(gap) = gap else { return };
    row.gap_s = Some(gap.s);
    row.gap_m = Some(gap.m);
    row.implied_speed_kmh = gap.kmh();
    if gap.is_short(settings) {
        row.speed_kmh = report.speed_kmh.or(row.implied_speed_kmh);
        if let (Some(now), Some(before), true) = (report.speed_kmh, gap.from.speed_kmh, gap.s > 0.0) {
            row.acceleration_mps2 = Some((now - before) / 3.6 / gap.s);
        }
    }
}
