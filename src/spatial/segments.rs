//! A run of segments with boxes over every few of them: nearest segment without looking at all.

use super::{LocalFrame, Point};

/// Segments under one box: at 500 segments about as many boxes as segments in a box are looked at.
const RUN: usize = 16;

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

/// Segments in order, with a box over every [`RUN`] of them.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    segments: Box<[Segment]>,
    boxes: Box<[Bounds]>,
}

impl Segments {
    pub fn new(segments: Vec<Segment>) -> Self {
        let boxes = segments.chunks(RUN).map(Bounds::around).collect();
        Self { segments: segments.into(), boxes }
    }

    pub fn as_slice(&self) -> &[Segment] {
        &self.segments
    }

    /// The nearest to the frame's origin; `None` when there are no segments.
    pub fn nearest(&self, frame: &LocalFrame) -> Option<NearestSegment> {
        let nearness = |run: &usize| self.boxes[*run].distance2(frame);
        let first = (0..self.boxes.len()).min_by(|a, b| nearness(a).total_cmp(&nearness(b)))?;
        let mut best = NearestSegment { index: 0, distance2: f64::INFINITY, t: 0.0 };
        self.look(first, frame, &mut best);
        for run in 0..self.boxes.len() {
            if run != first && self.boxes[run].distance2(frame) < best.distance2 {
                self.look(run, frame, &mut best);
            }
        }
        Some(best)
    }

    fn look(&self, run: usize, frame: &LocalFrame, best: &mut NearestSegment) {
        let start = run * RUN;
        for (offset, segment) in self.segments[start..].iter().take(RUN).enumerate() {
            let (distance2, t) = segment.nearest(frame);
            if distance2 < best.distance2 {
                *best = NearestSegment { index: start + offset, distance2, t };
            }
        }
    }

    /// Whether any of them shares a point with `segment`.
    pub fn meets(&self, segment: &Segment) -> bool {
        let bounds = segment.bounds();
        let runs = self.boxes.iter().zip(self.segments.chunks(RUN));
        runs.filter(|(run, _)| run.overlaps(&bounds)).any(|(_, run)| run.iter().any(|own| own.meets(segment)))
    }
}
