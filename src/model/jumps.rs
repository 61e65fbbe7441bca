//! Which fixes of a truck are believed.
//!
//! A truck gets only so far in so much time. A fix it cannot have driven to is doubted; a first fix that was wrong must not
//! condemn all that follow, so after [`AGREEING_FIXES`] doubted ones in a row between which it could have driven the next such
//! fix is believed. Admission asks in order of arrival, to say at once what became of a report; the fold asks again in order of
//! event time, which is what is judged.

use serde::{Deserialize, Serialize};

use super::Time;

/// Doubted fixes in a row that agree with each other, after which the next is believed.
const AGREEING_FIXES: u8 = 3;
/// Mean radius of the earth (IUGG), in metres.
const EARTH_M: f64 = 6_371_008.8;

/// How far a truck gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct JumpLimits {
    /// Faster between two fixes is a jump, km/h.
    pub max_implied_speed_kmh: f64,
    /// Shorter jumps are drift, however quick, metres.
    pub jump_floor_m: f64,
}

impl Default for JumpLimits {
    fn default() -> Self {
        Self { max_implied_speed_kmh: 200.0, jump_floor_m: 200.0 }
    }
}

/// A fix: when, and where in degrees, WGS-84.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fixed {
    pub at: Time,
    pub lat: f64,
    pub lon: f64,
}

/// The last fix that was believed, and the last that was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Jumps {
    believed: Option<Fixed>,
    /// How many in a row agree with it.
    doubted: Option<(Fixed, u8)>,
}

impl Jumps {
    /// Whether the next fix is believed.
    pub fn believes(&self, fix: &Fixed, limits: JumpLimits) -> bool {
        let agrees = |(doubted, n): (Fixed, u8)| n >= AGREEING_FIXES && is_drivable(&doubted, fix, limits);
        self.believed.is_none_or(|believed| is_drivable(&believed, fix, limits)) || self.doubted.is_some_and(agrees)
    }

    /// Goes on from a fix that is believed.
    pub fn believe(&mut self, fix: Fixed) {
        *self = Self { believed: Some(fix), doubted: None };
    }

    /// Remembers a fix that is not.
    pub fn doubt(&mut self, fix: Fixed, limits: JumpLimits) {
        let before = self.doubted.filter(|(before, _)| is_drivable(before, &fix, limits)).map_or(0, |(_, n)| n);
        self.doubted = Some((fix, before.saturating_add(1)));
    }
}

/// Whether a truck, or drift, gets from one place to the other in that time.
fn is_drivable(from: &Fixed, to: &Fixed, limits: JumpLimits) -> bool {
    let distance_m = distance_m(from, to);
    let hours = to.at.s_since(from.at).abs() / 3600.0;
    distance_m <= limits.jump_floor_m || distance_m / 1000.0 <= limits.max_implied_speed_kmh * hours
}

/// Great-circle distance by the haversine formula, which is exact on a sphere also for near points.
fn distance_m(from: &Fixed, to: &Fixed) -> f64 {
    let (lat_a, lat_b) = (from.lat.to_radians(), to.lat.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((to.lon - from.lon).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    2.0 * EARTH_M * chord.sqrt().min(1.0).asin()
}
