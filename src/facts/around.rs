//! What lies around a spot: its places, zones and district, looked up once per spot.

use std::sync::Arc;

use super::fold::Needs;
use crate::{
    model::{Text, Time},
    registry::{PlaceKind, Registry},
    spatial::Point,
};

/// The areas that contain a spot, by number: a cache, good for one registry lookup and one spot.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    spot: Option<Point>,
    /// By kind, then id.
    pub places: Vec<u32>,
    /// Metres to the nearest place of each kind, 0 in one; `None` without one near.
    pub nearest_m: Option<Box<[Option<f64>; PlaceKind::ALL.len()]>>,
    /// By id.
    pub zones: Vec<u32>,
    zones_before: Vec<u32>,
    pub district: Option<u32>,
    /// The list of zones last told, and which of `zones` it names.
    pub listed: Option<(u64, Arc<[Text]>)>,
}

/// Zones at one spot whose schedules are told apart; more are told but make a new list each time.
pub(super) const LISTED: usize = 64;

impl Around {
    /// Forgets the spot: the registry changed.
    pub fn forget(&mut self) {
        (self.spot, self.listed) = (None, None);
    }

    /// Looks around `spot`, unless it was the last.
    pub fn look(&mut self, registry: &Registry, spot: Point, at: Time, needs: Needs) {
        if self.spot == Some(spot) {
            return;
        }
        self.spot = Some(spot);
        self.places.clear();
        if needs.place {
            registry.places().containing(spot, at, |number, _| self.places.push(number as u32));
            if self.places.len() > 1 {
                let all = registry.places().all();
                self.places.sort_unstable_by_key(|number| {
                    let place = &all[*number as usize];
                    (place.kind as u8, &place.place_id)
                });
            }
        }
        if needs.nearest {
            self.nearest_m = Some(Box::new(nearest_m(registry, spot, at)));
        }
        if needs.zone {
            self.look_for_zones(registry, spot, at);
        }
        if needs.district {
            self.district = None;
            let all = registry.districts().all();
            registry.districts().containing(spot, at, |number, district| {
                if self.district.is_none_or(|known| district.district_id < all[known as usize].district_id) {
                    self.district = Some(number as u32);
                }
            });
        }
    }

    fn look_for_zones(&mut self, registry: &Registry, spot: Point, at: Time) {
        std::mem::swap(&mut self.zones, &mut self.zones_before);
        self.zones.clear();
        registry.zones().containing(spot, at, |number, _| self.zones.push(number as u32));
        let all = registry.zones().all();
        self.zones.sort_unstable_by_key(|number| &all[*number as usize].zone_id);
        if self.zones != self.zones_before {
            self.listed = None;
        }
    }
}

/// Within which distances the nearest places are looked for, one after the other, metres: most are found in the first.
const NEAR_M: [f64; 3] = [1_000.0, 5_000.0, 20_000.0];

/// Metres to the nearest place of each kind.
fn nearest_m(registry: &Registry, spot: Point, at: Time) -> [Option<f64>; PlaceKind::ALL.len()] {
    let mut nearest = [None; PlaceKind::ALL.len()];
    for near_m in NEAR_M {
        registry.places().within_m(spot, near_m, at, |_, place, metres| {
            let known: &mut Option<f64> = &mut nearest[place.kind as usize];
            *known = Some(known.map_or(metres, |known| known.min(metres)).max(0.0));
        });
        if nearest.iter().all(Option::is_some) {
            break;
        }
    }
    nearest
}
