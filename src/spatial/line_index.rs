//! Which of many lines run near a point.

use std::ops::{Range, RangeInclusive};

use rustc_hash::FxHashMap;

use super::{
    LocalFrame, Point, heading_deg,
    segments::{Bounds, Segment},
};

/// Side of a cell, degrees: some 125 m, so that a search for roads looks into a few, each with few segments.
const CELL_DEG: f64 = 0.00125;
/// Segments are entered this much beyond themselves, degrees (a centimetre): no rounding puts a point of one outside its cells.
const PAD_DEG: f64 = 1e-7;

/// The segments of many lines, under a grid of cells. Roads are many, short and spread evenly: a point finds those
/// near it in one place of memory, where a tree would be climbed.
#[derive(Clone, Debug, Default)]
pub struct LineIndex {
    /// Side by side for each cell; a segment that reaches into several is there several times.
    pieces: Box<[Piece]>,
    cells: FxHashMap<Cell, Range<u32>>,
    segments: usize,
}

/// Column and row, counted from the equator and Greenwich.
type Cell = (i32, i32);

#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: Segment,
    heading_deg: f32,
    line: u32,
    number: u32,
}

/// A segment near the asked point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineHit {
    /// The line's place in the list.
    pub line: usize,
    /// The segment's number within the line, through its parts.
    pub segment: usize,
    /// Metres from the asked point.
    pub distance_m: f64,
    /// The segment's course in the order of its points, degrees from north.
    pub heading_deg: f64,
    /// The nearest spot on it.
    pub point: Point,
    /// How far along the segment that is, 0 to 1.
    pub share: f64,
}

/// What is looked for: all that is within the radius of the frame's origin, and so within the square.
struct Search {
    frame: LocalFrame,
    square: Bounds,
    radius_m: f64,
}

impl LineIndex {
    /// Over lines, each of one or more parts.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a [Vec<Point>]>) -> Self {
        let mut entries: Vec<(Cell, Piece)> = Vec::new();
        let mut segments = 0;
        for (line, parts) in lines.into_iter().enumerate() {
            for (number, pair) in parts.iter().flat_map(|part| part.windows(2)).enumerate() {
                let piece = Piece {
                    segment: Segment { a: pair[0], b: pair[1] },
                    heading_deg: heading_deg(pair[0], pair[1]) as f32,
                    line: line as u32,
                    number: number as u32,
                };
                cells_of(&piece.segment, |cell| entries.push((cell, piece)));
                segments += 1;
            }
        }
        entries.sort_by_key(|(cell, _)| *cell);
        let mut cells: FxHashMap<Cell, Range<u32>> = FxHashMap::default();
        for (place, (cell, _)) in (0u32..).zip(&entries) {
            cells.entry(*cell).or_insert(place..place).end = place + 1;
        }
        Self { pieces: entries.into_iter().map(|(_, piece)| piece).collect(), cells, segments }
    }

    /// How many segments it holds.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Calls `each(line, number, first point, last point)` for every segment, more than once for one in several cells.
    pub(super) fn segments_of(&self, mut each: impl FnMut(usize, usize, Point, Point)) {
        for piece in &self.pieces {
            each(piece.line as usize, piece.number as usize, piece.segment.a, piece.segment.b);
        }
    }

    /// Calls `found` once for every segment within `radius_m` of the point, in no particular order.
    pub fn near(&self, p: Point, radius_m: f64, mut found: impl FnMut(LineHit)) {
        let frame = LocalFrame::at(p);
        let (min, max) = frame.square(radius_m);
        let search = Search { frame, square: Bounds { min, max }, radius_m };
        let (columns, rows) = (span(min[0], max[0]), span(min[1], max[1]));
        let asked = size(&columns).saturating_mul(size(&rows));
        if asked <= self.cells.len() as u64 {
            for row in rows {
                for column in columns.clone() {
                    if let Some(range) = self.cells.get(&(column, row)) {
                        self.look((column, row), range, &search, &mut found);
                    }
                }
            }
        } else {
            let within = self.cells.iter().filter(|((column, row), _)| columns.contains(column) && rows.contains(row));
            within.for_each(|(cell, range)| self.look(*cell, range, &search, &mut found));
        }
    }

    /// The segments of one cell. One that lies in several cells is told by that in which its nearest spot lies.
    fn look(&self, cell: Cell, range: &Range<u32>, search: &Search, found: &mut impl FnMut(LineHit)) {
        for piece in &self.pieces[range.start as usize..range.end as usize] {
            if !piece.segment.bounds().overlaps(&search.square) {
                continue;
            }
            let (distance2, t) = piece.segment.nearest(&search.frame);
            let point = piece.segment.at(t);
            if distance2 <= search.radius_m * search.radius_m && cell_of(point) == cell {
                found(LineHit {
                    line: piece.line as usize,
                    segment: piece.number as usize,
                    distance_m: distance2.sqrt(),
                    heading_deg: f64::from(piece.heading_deg),
                    point,
                    share: t,
                });
            }
        }
    }
}

fn step(deg: f64) -> i32 {
    (deg / CELL_DEG).floor() as i32
}

fn cell_of(p: Point) -> Cell {
    (step(p.lon), step(p.lat))
}

fn span(from: f64, to: f64) -> RangeInclusive<i32> {
    step(from - PAD_DEG)..=step(to + PAD_DEG)
}

fn size(span: &RangeInclusive<i32>) -> u64 {
    (i64::from(*span.end()) - i64::from(*span.start()) + 1).max(0).unsigned_abs()
}

/// Calls `enter` for every cell through which the segment runs: row by row, those between where it enters and leaves the row.
fn cells_of(segment: &Segment, mut enter: impl FnMut(Cell)) {
    let (south, north) = if segment.a.lat <= segment.b.lat { (segment.a, segment.b) } else { (segment.b, segment.a) };
    let lon_at = |lat: f64| {
        let t = if north.lat > south.lat { ((lat - south.lat) / (north.lat - south.lat)).clamp(0.0, 1.0) } else { 0.0 };
        south.lon + t * (north.lon - south.lon)
    };
    for row in span(south.lat, north.lat) {
        let (from, to) = if north.lat - south.lat > PAD_DEG {
            let (low, high) = (f64::from(row) * CELL_DEG, f64::from(row + 1) * CELL_DEG);
            (lon_at(low - PAD_DEG), lon_at(high + PAD_DEG))
        } else {
            (south.lon, north.lon)
        };
        span(from.min(to), from.max(to)).for_each(|column| enter((column, row)));
    }
}
