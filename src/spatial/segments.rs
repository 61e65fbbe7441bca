//! Segments under a tree of boxes: the nearest of thousands by looking at a few dozen.

use super::{LocalFrame, Point};

/// Segments under one box, and boxes under one box.
const RUN: usize = 8;

/// A straight piece, in degrees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub a: Point,
    pub b: Point,
}

impl Segment {
    /// The nearest point to the frame's origin: square of its distance in metres, and how far along (0 to 1).
    pub fn nearest(&self, frame: &LocalFrame) -> (f64, f64) {
        let (ax, ay) = frame.to_m(self.a);
        let (bx, by) = frame.to_m(self.b);
        let (dx, dy) = (bx - ax, by - ay);
        let length2 = dx * dx + dy * dy;
        let t = if length2 > 0.0 { (-(ax * dx + ay * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
        let (x, y) = (ax + t * dx, ay + t * dy);
        (x * x + y * y, t)
    }

    /// The point a fraction `t` along.
    pub fn at(&self, t: f64) -> Point {
        Point::new(self.a.lon + t * (self.b.lon - self.a.lon), self.a.lat + t * (self.b.lat - self.a.lat))
    }

    /// Whether the two share a point.
    pub fn meets(&self, other: &Segment) -> bool {
        let d1 = side(other.a, other.b, self.a);
        let d2 = side(other.a, other.b, self.b);
        let d3 = side(self.a, self.b, other.a);
        let d4 = side(self.a, self.b, other.b);
        if d1 * d2 < 0.0 && d3 * d4 < 0.0 {
            return true;
        }
        (d1 == 0.0 && other.bounds().holds(self.a))
            || (d2 == 0.0 && other.bounds().holds(self.b))
            || (d3 == 0.0 && self.bounds().holds(other.a))
            || (d4 == 0.0 && self.bounds().holds(other.b))
    }

    pub fn bounds(&self) -> Bounds {
        Bounds {
            min: [self.a.lon.min(self.b.lon), self.a.lat.min(self.b.lat)],
            max: [self.a.lon.max(self.b.lon), self.a.lat.max(self.b.lat)],
        }
    }
}

/// On which side of `a`-`b` the point lies: the sign of the cross product.
fn side(a: Point, b: Point, p: Point) -> f64 {
    (b.lon - a.lon) * (p.lat - a.lat) - (b.lat - a.lat) * (p.lon - a.lon)
}

/// A box in degrees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub min: [f64; 2],
    pub max: [f64; 2],
}

impl Bounds {
    const EMPTY: Self = Self { min: [f64::INFINITY; 2], max: [f64::NEG_INFINITY; 2] };

    /// The box around all of them.
    pub fn around(segments: &[Segment]) -> Self {
        segments.iter().fold(Self::EMPTY, |all, segment| all.with(&segment.bounds()))
    }

    pub fn with(&self, other: &Self) -> Self {
        Self {
            min: [self.min[0].min(other.min[0]), self.min[1].min(other.min[1])],
            max: [self.max[0].max(other.max[0]), self.max[1].max(other.max[1])],
        }
    }

    pub fn holds(&self, p: Point) -> bool {
        self.min[0] <= p.lon && p.lon <= self.max[0] && self.min[1] <= p.lat && p.lat <= self.max[1]
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        (0..2).all(|axis| self.min[axis] <= other.max[axis] && other.min[axis] <= self.max[axis])
    }

    /// The square of the metres from the frame's origin to the box; 0 within.
    fn distance2(&self, frame: &LocalFrame) -> f64 {
        let p = frame.origin();
        let (lon, lat) = (p.lon.clamp(self.min[0], self.max[0]), p.lat.clamp(self.min[1], self.max[1]));
        let (x, y) = frame.offset_m(lon, lat);
        x * x + y * y
    }
}

/// The nearest of a run of segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearestSegment {
    pub index: usize,
    /// Square of the distance, m².
    pub distance2: f64,
    /// Fraction along the segment.
    pub t: f64,
}

/// Segments in order, with a box over every [`RUN`] of them, a box over every [`RUN`] of those, and so on.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    segments: Box<[Segment]>,
    /// The lowest first; the highest is one run.
    levels: Vec<Box<[Bounds]>>,
}

impl Segments {
    pub fn new(segments: Vec<Segment>) -> Self {
        let mut levels: Vec<Box<[Bounds]>> = vec![segments.chunks(RUN).map(Bounds::around).collect()];
        while let Some(level) = levels.last().filter(|level| level.len() > RUN) {
            let over = level.chunks(RUN).map(|run| run.iter().fold(Bounds::EMPTY, |all, one| all.with(one)));
            let over = over.collect();
            levels.push(over);
        }
        Self { segments: segments.into(), levels }
    }

    pub fn as_slice(&self) -> &[Segment] {
        &self.segments
    }

    /// The nearest to the frame's origin; `None` when there are no segments.
    pub fn nearest(&self, frame: &LocalFrame) -> Option<NearestSegment> {
        self.nearer_than(f64::INFINITY, frame)
    }

    /// The nearest of those whose square of the distance is less than `limit2`, m².
    pub fn nearer_than(&self, limit2: f64, frame: &LocalFrame) -> Option<NearestSegment> {
        let mut best = NearestSegment { index: usize::MAX, distance2: limit2, t: 0.0 };
        self.look(self.levels.len(), 0, frame, &mut best);
        (best.index < self.segments.len()).then_some(best)
    }

    /// Looks at one run of a level: of boxes, the nearest is opened first, so that most others are passed over. Level 0
    /// is the segments.
    fn look(&self, level: usize, run: usize, frame: &LocalFrame, best: &mut NearestSegment) {
        let start = run * RUN;
        let Some(below) = level.checked_sub(1) else {
            for (offset, segment) in self.segments[start..].iter().take(RUN).enumerate() {
                let (distance2, t) = segment.nearest(frame);
                if distance2 < best.distance2 {
                    *best = NearestSegment { index: start + offset, distance2, t };
                }
            }
            return;
        };
        let mut nearness = [f64::INFINITY; RUN];
        let mut first = 0;
        for (offset, bounds) in self.levels[below][start..].iter().take(RUN).enumerate() {
            nearness[offset] = bounds.distance2(frame);
            first = if nearness[offset] < nearness[first] { offset } else { first };
        }
        for offset in std::iter::once(first).chain((0..RUN).filter(|offset| *offset != first)) {
            if nearness[offset] < best.distance2 {
                self.look(below, start + offset, frame, best);
            }
        }
    }

    /// Whether any of them shares a point with `segment`.
    pub fn meets(&self, segment: &Segment) -> bool {
        let bounds = segment.bounds();
        let runs = self.levels[0].iter().zip(self.segments.chunks(RUN));
        runs.filter(|(run, _)| run.overlaps(&bounds)).any(|(_, run)| run.iter().any(|own| own.meets(segment)))
    }
}
