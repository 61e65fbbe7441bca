//! Where the units are: an R-tree over points of the unit sphere.
//!
//! The straight line through the globe grows with the way around it, so that the nearest by the one is the nearest by the other:
//! exact at every latitude, without a projection.

use std::collections::BTreeMap;

use rstar::{RTree, primitives::GeomWithData};

use crate::model::{Text, UnitState};

/// Mean radius of the earth in metres (IUGG).
const RADIUS_M: f64 = 6_371_008.8;

type Pin = GeomWithData<[f64; 3], Text>;

/// Units by last position.
#[derive(Debug, Default)]
pub(super) struct Globe {
    units: BTreeMap<Text, UnitState>,
    tree: RTree<Pin>,
}

impl Globe {
    pub fn of(units: Vec<UnitState>) -> Self {
        let tree = RTree::bulk_load(units.iter().map(pin).collect());
        Self { units: units.into_iter().map(|unit| (unit.unit_id.clone(), unit)).collect(), tree }
    }

    pub fn get(&self, unit_id: &str) -> Option<&UnitState> {
        self.units.get(unit_id)
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Forgets all but these.
    pub fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        if self.units.keys().all(|unit_id| is_kept(unit_id)) {
            return;
        }
        let units = std::mem::take(&mut self.units);
        *self = Self::of(units.into_values().filter(|unit| is_kept(&unit.unit_id)).collect());
    }

    /// Puts a unit where it now is.
    pub fn put(&mut self, unit: UnitState) {
        if let Some(before) = self.units.get(&unit.unit_id) {
            self.tree.remove(&pin(before));
        }
        self.tree.insert(pin(&unit));
        self.units.insert(unit.unit_id.clone(), unit);
    }

    /// Every unit that ever reported, nearest first, with its great-circle distance in metres. Equal distances by id.
    pub fn nearest(&self, lat: f64, lon: f64) -> impl Iterator<Item = (&Text, f64)> {
        let mut by_distance = self
            .tree
            .nearest_neighbor_iter_with_distance_2(on_sphere(lat, lon))
            .map(|(pin, chord_2)| (&pin.data, around_m(chord_2)))
            .peekable();
        let mut equal: Vec<(&Text, f64)> = Vec::new();
        std::iter::from_fn(move || {
            if equal.is_empty() {
                let first = by_distance.next()?;
                equal.push(first);
                while let Some(next) = by_distance.next_if(|next| next.1 == first.1) {
                    equal.push(next);
                }
                equal.sort_unstable_by(|a, b| b.0.cmp(a.0));
            }
            equal.pop()
        })
    }
}

fn pin(unit: &UnitState) -> Pin {
    GeomWithData::new(on_sphere(unit.lat, unit.lon), unit.unit_id.clone())
}

fn on_sphere(lat: f64, lon: f64) -> [f64; 3] {
    let ((sin_lat, cos_lat), (sin_lon, cos_lon)) = (lat.to_radians().sin_cos(), lon.to_radians().sin_cos());
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

/// From the square of the chord of the unit sphere to metres along the globe.
fn around_m(chord_2: f64) -> f64 {
    2.0 * RADIUS_M * (chord_2.sqrt() / 2.0).min(1.0).asin()
}
