//! Entities with a shape, under an index.

use rustc_hash::FxHashMap;

use super::entity::Versioned;
use crate::{
    model::{Text, Time},
    spatial::{Area, AreaIndex, LineHit, LineIndex, Point},
};

/// Areas of one kind with their index; the index's numbers are places in [`Areas::all`].
#[derive(Clone, Debug)]
pub struct Areas<T> {
    rows: Vec<T>,
    by_key: FxHashMap<Text, Vec<u32>>,
    index: AreaIndex,
}

impl<T> Default for Areas<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), by_key: FxHashMap::default(), index: AreaIndex::default() }
    }
}

impl<T: Versioned> Areas<T> {
    pub(super) fn new(rows: Vec<(T, Area)>) -> Self {
        let (rows, shapes): (Vec<T>, Vec<Area>) = rows.into_iter().unzip();
        Self { by_key: numbers_by(&rows, T::key), rows, index: AreaIndex::new(shapes) }
    }

    /// Every version.
    pub fn all(&self) -> &[T] {
        &self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One by its number.
    pub fn get(&self, index: usize) -> &T {
        &self.rows[index]
    }

    /// The bare index, which knows nothing of validity.
    pub fn index(&self) -> &AreaIndex {
        &self.index
    }

    /// By key, as of `at`, with its number.
    pub fn named(&self, key: &str, at: Time) -> Option<(usize, &T)> {
        let numbers = self.by_key.get(key)?.iter().map(|number| *number as usize);
        numbers.map(|number| (number, &self.rows[number])).find(|(_, row)| row.valid().contains(at))
    }

    /// Calls `found(number, row)` for every area that holds at `at` and contains the point.
    pub fn containing<'a>(&'a self, p: Point, at: Time, mut found: impl FnMut(usize, &'a T)) {
        self.index.containing(p, |index| {
            if self.rows[index].valid().contains(at) {
                found(index, &self.rows[index]);
            }
        });
    }

    /// Calls `found(number, row, metres)` for every area that holds at `at` and whose signed distance (negative
    /// within) is at most `buffer_m`.
    pub fn within_m<'a>(&'a self, p: Point, buffer_m: f64, at: Time, mut found: impl FnMut(usize, &'a T, f64)) {
        self.index.within_m(p, buffer_m, |index, distance_m| {
            if self.rows[index].valid().contains(at) {
                found(index, &self.rows[index], distance_m);
            }
        });
    }

    /// Calls `found(number, row)` for every area that holds at `at` and that the straight way touches.
    pub fn crossed_by<'a>(&'a self, a: Point, b: Point, at: Time, mut found: impl FnMut(usize, &'a T)) {
        self.index.crossed_by(a, b, |index| {
            if self.rows[index].valid().contains(at) {
                found(index, &self.rows[index]);
            }
        });
    }
}

/// The numbers of rows by key; rows whose key is empty have none.
pub(super) fn numbers_by<T>(rows: &[T], key: impl Fn(&T) -> &Text) -> FxHashMap<Text, Vec<u32>> {
    let mut numbers: FxHashMap<Text, Vec<u32>> = FxHashMap::default();
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| !key(row).is_empty()) {
        numbers.entry(key(row).clone()).or_default().push(number as u32);
    }
    numbers
}

/// Lines of one kind with their index; the index's numbers are places in [`Lines::all`].
#[derive(Clone, Debug)]
pub struct Lines<T> {
    rows: Vec<T>,
    index: LineIndex,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: LineIndex::default() }
    }
}

impl<T: Versioned> Lines<T> {
    pub(super) fn new(rows: Vec<(T, Vec<Vec<Point>>)>) -> Self {
        let (rows, shapes): (Vec<T>, Vec<Vec<Vec<Point>>>) = rows.into_iter().unzip();
        Self { rows, index: LineIndex::new(shapes.iter().map(Vec::as_slice)) }
    }

    /// Every version.
    pub fn all(&self) -> &[T] {
        &self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One by its number ([`LineHit::line`]).
    pub fn get(&self, index: usize) -> &T {
        &self.rows[index]
    }

    /// The bare index, which knows nothing of validity.
    pub fn index(&self) -> &LineIndex {
        &self.index
    }

    /// Calls `found(row, hit)` for every segment within `radius_m` of the point whose line holds at `at`.
    pub fn near<'a>(&'a self, p: Point, radius_m: f64, at: Time, mut found: impl FnMut(&'a T, LineHit)) {
        self.index.near(p, radius_m, |hit| {
            let row = &self.rows[hit.line];
            if row.valid().contains(at) {
                found(row, hit);
            }
        });
    }
}
