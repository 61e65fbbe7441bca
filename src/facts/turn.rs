//! Turns: how far, how long, how fast. Only for devices that report about every second; at less a turn is over
//! before it is seen.

use serde::{Deserialize, Serialize};

use super::{exact, gap::Gap};
use crate::model::{DeviceReport, Facts, Time};

/// Fixes farther apart say nothing of a turn, seconds.
const MAX_GAP_S: f64 = 3.0;
/// Slower changes of course are bends and noise, degrees per second: 60 degrees in 15 s is 4.
const TURNING_DEG_S: f64 = 3.0;
/// Receivers report courses at random when slower, km/h.
const CREEPING_KMH: f64 = 5.0;
/// No four-axle truck turns on a smaller radius, metres: it is the course that jumped.
const MIN_RADIUS_M: f64 = 10.0;

/// The turn under way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    since: Time,
    /// To the right positive.
    #[serde(with = "exact")]
    deg: f64,
    #[serde(with = "exact")]
    min_kmh: f64,
    #[serde(with = "exact")]
    driven_m: f64,
}

/// The course that a report tells, hundredths of a degree.
pub(super) fn course(report: &DeviceReport) -> Option<u16> {
    report.heading_deg.filter(|deg| (0.0..=360.0).contains(deg)).map(|deg| (deg * 100.0).round() as u16)
}

/// Takes a fix and fills `turn_*`.
pub(super) fn follow(
    turn: &mut Option<Box<Turn>>,
    row: &mut Facts,
    gap: Option<&Gap>,
    report: &DeviceReport,
    at: Time,
) {
    let before = turn.take();
    let Some(gap) = gap.filter(|gap| gap.s > 0.0 && gap.s <= MAX_GAP_S) else { return };
    let (Some(from), Some(to)) = (gap.from.course, course(report)) else { return };
    let (Some(from_kmh), Some(to_kmh)) = (gap.from.speed_kmh, report.speed_kmh) else { return };
    let deg = f64::from((i32::from(to) - i32::from(from) + 18_000).rem_euclid(36_000) - 18_000) / 100.0;
    let (min_kmh, driven_m) = (from_kmh.min(to_kmh), (from_kmh + to_kmh) / 2.0 / 3.6 * gap.s);
    if min_kmh < CREEPING_KMH || deg.abs() < TURNING_DEG_S * gap.s {
        (row.turn_deg, row.turn_s, row.turn_acceleration_mps2) = (Some(0.0), Some(0.0), Some(0.0));
        row.turn_min_speed_kmh = Some(to_kmh);
        return;
    }
    if driven_m < deg.abs().to_radians() * MIN_RADIUS_M {
        return;
    }
    let same = before.filter(|turn| turn.deg.signum() == deg.signum());
    let mut now = same.unwrap_or_else(|| Box::new(Turn { since: gap.from.at, deg: 0.0, min_kmh, driven_m: 0.0 }));
    now.deg += deg;
    now.driven_m += driven_m;
    now.min_kmh = now.min_kmh.min(min_kmh);
    let turn_s = at.s_since(now.since);
    row.turn_deg = Some(now.deg);
    row.turn_s = Some(turn_s);
    row.turn_min_speed_kmh = Some(now.min_kmh);
    row.turn_acceleration_mps2 = Some(now.driven_m / turn_s * now.deg.abs().to_radians() / turn_s);
    *turn = Some(now);
}
