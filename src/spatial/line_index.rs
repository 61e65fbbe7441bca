//! Which of many lines run near a point.

use rstar::{AABB, RTree, RTreeObject};

use super::{LocalFrame, Point, heading_deg, segments::Segment};

/// The segments of many lines under an R-tree.
#[derive(Clone, Debug, Default)]
pub struct LineIndex {
    tree: RTree<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: Segment,
    heading_deg: f32,
    line: u32,
    number: u32,
}

impl RTreeObject for Piece {
    type Envelope = AABB<[f64; 2]>;

    fn envelope(&self) -> Self::Envelope {
        let bounds = self.segment.bounds();
        AABB::from_corners(bounds.min, bounds.max)
    }
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
}

impl LineIndex {
    /// Over lines, each of one or more parts.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a [Vec<Point>]>) -> Self {
        let pieces = lines.into_iter().enumerate().flat_map(|(line, parts)| {
            let pairs = parts.iter().flat_map(|part| part.windows(2)).enumerate();
            pairs.map(move |(number, pair)| Piece {
                segment: Segment { a: pair[0], b: pair[1] },
                heading_deg: heading_deg(pair[0], pair[1]) as f32,
                line: line as u32,
                number: number as u32,
            })
        });
        Self { tree: RTree::bulk_load(pieces.collect()) }
    }

    /// How many segments it holds.
    pub fn segments(&self) -> usize {
        self.tree.size()
    }

    /// Calls `found` for every segment within `radius_m` of the point, in no particular order.
    pub fn near(&self, p: Point, radius_m: f64, mut found: impl FnMut(LineHit)) {
        let frame = LocalFrame::at(p);
        let (min, max) = frame.square(radius_m);
        for piece in self.tree.locate_in_envelope_intersecting(AABB::from_corners(min, max)) {
            let (distance2, t) = piece.segment.nearest(&frame);
            if distance2 <= radius_m * radius_m {
                found(LineHit {
                    line: piece.line as usize,
                    segment: piece.number as usize,
                    distance_m: distance2.sqrt(),
                    heading_deg: f64::from(piece.heading_deg),
                    point: piece.segment.at(t),
                });
            }
        }
    }
}
