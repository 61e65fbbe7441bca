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
    /// Less accurate than [`Settings::max_accuracy_m`].
    #[serde(default)]
    pub is_rough: bool,
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

    /// Whether a truck that was so fast at its beginning would be farther, however hard it braked.
    pub fn contradicts_start(&self, kmh: f64, accuracy_m: Option<f64>) -> bool {
        self.s > 0.0 && self.is_too_short(kmh, MOST_BRAKE_MPS2, error_m(accuracy_m))
    }

    /// A position to the last digit the same is the old one once more, and contradicts nothing that may be.
    fn is_too_short(&self, kmh: f64, mps2: f64, error_m: f64) -> bool {
        let is_new = self.m > 0.0 || kmh > SURELY_SEEN_KMH;
        is_new && least_m(kmh / 3.6, mps2, self.s) > WINDING * (self.m + error_m)
    }

    /// Whether it is short enough to say what lay between.
    pub fn is_short(&self, settings: &Settings) -> bool {
        self.s <= settings.max_gap_s
    }
}

/// Error of a fix whose accuracy nobody tells, metres: of a good receiver among houses.
const USUAL_ERROR_M: f64 = 10.0;
/// How hard a truck can gather speed, m/s²: an empty one does 1, none does more than this.
const MOST_MPS2: f64 = 3.0;
/// How hard a truck can brake, m/s²: a loaded one does 5, none more than this.
const MOST_BRAKE_MPS2: f64 = 8.0;
/// Faster, a truck is believed only when its fixes show that it goes, km/h: no load of muck was ever driven so fast for long.
const SURELY_SEEN_KMH: f64 = 120.0;
/// A truck's way is longer than the straight line by this at most, while it is fast.
const WINDING: f64 = 1.2;

/// Fills `gap_*`.
pub(super) fn tell(row: &mut Facts, gap: Option<&Gap>, report: &DeviceReport) {
    row.speed_kmh = report.speed_kmh;
    row.gap_s = gap.map(|gap| gap.s);
    row.gap_m = gap.map(|gap| gap.m);
}

/// Fills `implied_speed_kmh`, `speed_kmh` and `acceleration_mps2`, once it is told whether it moves.
///
/// No speed is implied of what stands or may stand, nor from a way that the errors of two fixes explain. A reported speed that the fixes
/// contradict is unknown: to have it now, the truck must have come farther.
pub(super) fn tell_speed(
    row: &mut Facts,
    gap: Option<&Gap>,
    report: &DeviceReport,
    may_stand: bool,
    settings: &Settings,
) {
    let Some(gap) = gap else { return };
    let error_m = error_m(report.accuracy_m);
    row.implied_speed_kmh = gap.kmh().filter(|_| !may_stand && gap.m > error_m);
    if !gap.is_short(settings) {
        return;
    }
    let is_contradicted = |kmh: f64| gap.is_too_short(kmh, MOST_MPS2, error_m);
    row.speed_kmh = match report.speed_kmh {
        Some(kmh) if gap.s > 0.0 && is_contradicted(kmh) => None,
        told => told.or(row.implied_speed_kmh),
    };
    if let (Some(now), Some(before), true) = (report.speed_kmh, gap.from.speed_kmh, gap.s > 0.0) {
        row.acceleration_mps2 = Some((now - before) / 3.6 / gap.s);
    }
}

/// Of the way between two fixes, metres.
fn error_m(accuracy_m: Option<f64>) -> f64 {
    2.0 * accuracy_m.unwrap_or(USUAL_ERROR_M)
}

/// How far a truck has come at least in so many seconds, metres, when it is so fast at their end and gathers speed by so many m/s² at
/// most: it may have stood until it had to set off. So fast at their beginning, it may have braked as hard.
fn least_m(mps: f64, mps2: f64, s: f64) -> f64 {
    let changing_s = (mps / mps2).min(s);
    mps * changing_s - mps2 * changing_s * changing_s / 2.0
}
