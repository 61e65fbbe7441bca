//! Where vehicles were last seen.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    engine::LastPosition,
    model::{Text, Time, limits},
};

/// Where a vehicle was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Position {
    #[schema(value_type = String)]
    pub vehicle_id: Text,
    #[schema(value_type = String)]
    pub plate: Text,
    /// Event time.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// Degrees, WGS-84.
    pub lat: f64,
    pub lon: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_kmh: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<f64>,
}

impl From<LastPosition> for Position {
    fn from(seen: LastPosition) -> Self {
        let LastPosition { vehicle_id, plate, at, lat, lon, speed_kmh, heading_deg } = seen;
        Self { vehicle_id, plate, at, lat, lon, speed_kmh, heading_deg }
    }
}

/// The last position of every vehicle. Beyond [`limits::POSITIONS`] vehicles new ones are not kept.
#[derive(Debug, Default)]
pub struct LastPositions {
    kept: Mutex<FxHashMap<Text, Kept>>,
}

#[derive(Debug)]
struct Kept {
    position: Position,
    told_at: Time,
}

/// A vehicle's position is told to the stream at most this often, by the clock of arrival.
const TELL_EVERY_MS: i64 = 5_000;

impl LastPositions {
    /// All of them.
    pub fn all(&self) -> Vec<LastPosition> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |Position { vehicle_id, plate, at, lat, lon, speed_kmh, heading_deg }: Position| LastPosition {
            vehicle_id,
            plate,
            at,
            lat,
            lon,
            speed_kmh,
            heading_deg,
        };
        kept.values().map(|kept| seen(kept.position.clone())).collect()
    }

    /// Keeps a position unless a newer one is known; whether the stream should be told.
    pub fn see(&self, position: Position, now: Time) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = kept.get_mut(&position.vehicle_id) else {
            let has_room = kept.len() < limits::POSITIONS;
            if has_room {
                kept.insert(position.vehicle_id.clone(), Kept { position, told_at: now });
            }
            return has_room;
        };
        if position.at < known.position.at {
            return false;
        }
        known.position = position;
        let is_due = !(0..TELL_EVERY_MS).contains(&now.ms_since(known.told_at));
        if is_due {
            known.told_at = now;
        }
        is_due
    }

    /// Where a vehicle was last seen.
    pub fn of(&self, vehicle_id: &str) -> Option<Position> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(vehicle_id).map(|known| known.position.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_when_newer_and_told_seldom() {
        let positions = LastPositions::default();
        let at = Time::from_millis;
        let see = |event_ms: i64, now_ms: i64| {
            let position = Position {
                vehicle_id: "V1".into(),
                plate: "P".into(),
                at: at(event_ms),
                lat: 22.0,
                lon: 114.0,
                speed_kmh: None,
                heading_deg: None,
            };
            positions.see(position, at(now_ms))
        };
        let told = [(0, 0), (1_000, 1_000), (4_999, 4_999), (5_000, 5_000), (4_000, 20_000), (9_000, 9_999)];
        assert_eq!(told.map(|(event, now)| see(event, now)), [true, false, false, true, false, false]);
        assert_eq!(positions.of("V1").map(|position| position.at), Some(at(9_000)));
        assert!(see(10_000, 1_000), "a clock that went back does not silence anybody");
        assert_eq!(positions.of("V2"), None);
    }
}
