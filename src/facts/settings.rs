//! The thresholds of the fold.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::Zone;

/// Thresholds. The defaults are the field's: GNSS error and drift of parked receivers (20–100 m), and what systems
/// in use take for standing, for a corridor and for its ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where schedules and local times are read: an IANA name. Default `Asia/Shanghai`.
    #[serde(skip_serializing, deserialize_with = "named_zone")]
    pub zone: Zone,
    /// Slower is standing, km/h. Default 3.
    pub stop_speed_kmh: f64,
    /// A standing truck that reports at least this twice in a row while it gets farther away has left, km/h; slower
    /// readings of a standing truck are noise. Default 10.
    pub leave_speed_kmh: f64,
    /// A stand lies within this radius, metres. Default 50.
    pub stop_radius_m: f64,
    /// How long it takes to tell a stand, seconds. Default 60.
    pub stop_s: f64,
    /// How far a parked receiver may jump, metres. Default 100.
    pub drift_m: f64,
    /// Speeds and segments are not implied over a longer gap between fixes, seconds. Default 300.
    pub max_gap_s: f64,
    /// A stand of this length is a rest, seconds. Default 1,200.
    pub rest_s: f64,
    /// Roads are looked for within this radius, metres: five sigmas. Default 50.
    pub road_radius_m: f64,
    /// Standard deviation of a fix from the road it was taken on, metres: the receiver's error, half the road's width and
    /// the map's error together. Default 10.
    pub road_sigma_m: f64,
    /// Standard deviation of a course from that of the road, degrees. Default 25.
    pub road_course_deg: f64,
    /// By how much the way along the roads differs from the straight one between two fixes of one instant, metres: the
    /// mean. Default 3.
    pub road_detour_m: f64,
    /// What each second between two fixes adds to that, metres per second. Newson & Krumm (2009) measured 0.5 m at 1 s
    /// to 35 m at 30 s. Default 1.
    pub road_detour_mps: f64,
    /// What a step costs at most that no road allows, as a difference of logarithms: 8 is 1 in 3000. Default 8.
    pub road_break: f64,
    /// What turning round costs between two fixes a second apart, metres of detour; a right angle costs half of it. With the gap
    /// it grows as the root of what detours do, else turning would be nearly free after 30 s. Default 30.
    pub road_turn_m: f64,
    /// How far from a route's line is still on it where the route does not say, metres. Default 100.
    pub route_buffer_m: f64,
    /// Back on the route within this share of the buffer. Default 0.6.
    pub route_clear_share: f64,
    /// Off the route after so many of the last [`Self::route_window`] fixes lay beyond the buffer: more than one outlier,
    /// and no more, since how long it must last is a rule's matter. Default 2.
    pub route_off_fixes: u32,
    /// Of how many fixes, at most 8. Default 3.
    pub route_window: u32,
    /// A truck that left its route is back when it goes along the line, either way, within this angle, degrees. Default 45.
    pub route_course_deg: f64,
    /// This near to a permit's source or sinks no truck is off its route, metres. Default 500.
    pub route_end_grace_m: f64,
    /// A plate read with less confidence than this names nobody. Default 0.8.
    pub plate_confidence: f64,
    /// A fix less accurate than this changes nothing about the route, and says of places and zones only what holds wherever
    /// it may truly be, metres. Default 35.
    pub max_accuracy_m: f64,
    /// A truck has left a place when it is so far beyond its fence, metres: what a fix wanders at a gate. Default 20.
    pub place_margin_m: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zone: Zone::china(),
            stop_speed_kmh: 3.0,
            leave_speed_kmh: 10.0,
            stop_radius_m: 50.0,
            stop_s: 60.0,
            drift_m: 100.0,
            max_gap_s: 300.0,
            rest_s: 1_200.0,
            road_radius_m: 50.0,
            road_sigma_m: 10.0,
            road_course_deg: 25.0,
            road_detour_m: 3.0,
            road_detour_mps: 1.0,
            road_break: 8.0,
            road_turn_m: 30.0,
            route_buffer_m: 100.0,
            route_clear_share: 0.6,
            route_off_fixes: 2,
            route_window: 3,
            route_course_deg: 45.0,
            route_end_grace_m: 500.0,
            plate_confidence: 0.8,
            max_accuracy_m: 35.0,
            place_margin_m: 20.0,
        }
    }
}

fn named_zone<'de, D: Deserializer<'de>>(from: D) -> Result<Zone, D::Error> {
    let name = String::deserialize(from)?;
    Zone::named(&name).map_err(serde::de::Error::custom)
}
