//! A line on the ground: how far from it, how far along it.

use super::{
    LocalFrame, Point, distance_m, heading_deg,
    segments::{Segment, Segments},
};

/// A line of one or more parts; progress runs through the parts in order, the gaps between them count nothing.
#[derive(Clone, Debug)]
pub struct Polyline {
    segments: Segments,
    /// Metres along the line at which each segment begins.
    starts_m: Box<[f64]>,
    length_m: f64,
}

/// The nearest spot of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Metres from the asked point.
    pub distance_m: f64,
    /// Metres along the line from its start.
    pub along_m: f64,
    /// The line's course there, degrees from north.
    pub heading_deg: f64,
    /// The spot itself.
    pub point: Point,
    /// Which segment it lies on.
    pub segment: usize,
}

impl Polyline {
    /// Through `points`, in order. `None` with fewer than two.
    pub fn new(points: &[Point]) -> Option<Self> {
        Self::from_parts(&[points.to_vec()])
    }

    /// Of several parts, in order. `None` when none has two points.
    pub fn from_parts(parts: &[Vec<Point>]) -> Option<Self> {
        let pairs = parts.iter().flat_map(|part| part.windows(2));
        let segments: Vec<Segment> = pairs.map(|pair| Segment { a: pair[0], b: pair[1] }).collect();
        let mut length_m = 0.0;
        let starts_m = segments.iter().map(|segment| {
            let start = length_m;
            length_m += distance_m(segment.a, segment.b);
            start
        });
        let starts_m: Box<[f64]> = starts_m.collect();
        (!segments.is_empty()).then(|| Self { segments: Segments::new(segments), starts_m, length_m })
    }

    /// Its length, metres.
    pub fn length_m(&self) -> f64 {
        self.length_m
    }

    /// Its first point.
    pub fn start(&self) -> Point {
        self.segments.as_slice().first().map_or(Point::default(), |segment| segment.a)
    }

    /// Its last point.
    pub fn end(&self) -> Point {
        self.segments.as_slice().last().map_or(Point::default(), |segment| segment.b)
    }

    /// The spot of the line nearest to `p`. A tie goes to the earlier segment of the nearer run.
    pub fn nearest(&self, p: Point) -> Nearest {
        let frame = LocalFrame::at(p);
        let found = self.segments.nearest(&frame).expect("a polyline has a segment by construction");
        let segment = &self.segments.as_slice()[found.index];
        let end_m = self.starts_m.get(found.index + 1).copied().unwrap_or(self.length_m);
        let start_m = self.starts_m[found.index];
        Nearest {
            distance_m: found.distance2.sqrt(),
            along_m: start_m + found.t * (end_m - start_m),
            heading_deg: heading_deg(segment.a, segment.b),
            point: segment.at(found.t),
            segment: found.index,
        }
    }

    /// Metres from `p` to the line.
    pub fn distance_m(&self, p: Point) -> f64 {
        self.nearer_than_m(f64::INFINITY, p).unwrap_or(f64::INFINITY)
    }

    /// Metres from `p` to the line if less than `limit_m`, which spares looking closer at a line that is not.
    pub fn nearer_than_m(&self, limit_m: f64, p: Point) -> Option<f64> {
        let found = self.segments.nearer_than(limit_m * limit_m, &LocalFrame::at(p));
        found.map(|nearest| nearest.distance2.sqrt())
    }

    /// The point `along_m` metres along, held within the line.
    pub fn point_at(&self, along_m: f64) -> Point {
        let index = self.starts_m.partition_point(|start| *start <= along_m).saturating_sub(1);
        let end_m = self.starts_m.get(index + 1).copied().unwrap_or(self.length_m);
        let span = end_m - self.starts_m[index];
        let t = if span > 0.0 { ((along_m - self.starts_m[index]) / span).clamp(0.0, 1.0) } else { 0.0 };
        self.segments.as_slice()[index].at(t)
    }
}
