//! Polygons with holes, and an index over many.

use rstar::{AABB, RTree, RTreeObject};

use super::{
    LocalFrame, Point,
    segments::{Bounds, Segment, Segments},
};

/// Most rows that a polygon's edges are sorted into.
const ROWS: usize = 64;

/// One or more polygons, each an outer ring and its holes. Points exactly on an edge may count as in or out.
#[derive(Clone, Debug)]
pub struct Area {
    parts: Vec<Part>,
}

/// One polygon: its edges, and the same edges sorted into rows of latitude so that a point is tested against the
/// few that its row has.
#[derive(Clone, Debug)]
struct Part {
    bounds: Bounds,
    outline: Segments,
    rows: Rows,
}

#[derive(Clone, Debug)]
struct Rows {
    south: f64,
    /// Rows per degree of latitude.
    per_deg: f64,
    /// Where each row's edges begin in `edges`; one more than there are rows.
    starts: Box<[u32]>,
    edges: Box<[Segment]>,
}

impl Area {
    /// From polygons, each a list of rings (the first the outer one), each a list of points. Rings may be closed or
    /// not. `None` when no polygon has an outer ring of three points.
    pub fn new(polygons: &[Vec<Vec<Point>>]) -> Option<Self> {
        let parts: Vec<Part> = polygons.iter().filter_map(|rings| Part::new(rings)).collect();
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// The middle of its box: near enough to say where it is.
    pub fn middle(&self) -> Point {
        let bounds = self.parts.iter().skip(1).fold(self.parts[0].bounds, |all, part| all.with(&part.bounds));
        Point::new((bounds.min[0] + bounds.max[0]) / 2.0, (bounds.min[1] + bounds.max[1]) / 2.0)
    }

    /// Whether the point lies in it.
    pub fn contains(&self, p: Point) -> bool {
        self.parts.iter().any(|part| part.contains(p))
    }

    /// Metres to the boundary: negative within.
    pub fn signed_distance_m(&self, p: Point) -> f64 {
        self.signed_distance_from(&LocalFrame::at(p))
    }

    fn signed_distance_from(&self, frame: &LocalFrame) -> f64 {
        let nearest = self.parts.iter().filter_map(|part| part.outline.nearest(frame));
        let distance = nearest.map(|found| found.distance2).fold(f64::INFINITY, f64::min).sqrt();
        if self.contains(frame.origin()) { -distance } else { distance }
    }

    /// Whether the straight way from `a` to `b` touches it: begins or ends in it, or crosses its boundary.
    pub fn is_crossed_by(&self, a: Point, b: Point) -> bool {
        let way = Segment { a, b };
        let bounds = way.bounds();
        self.parts.iter().any(|part| part.bounds.overlaps(&bounds) && (part.contains(a) || part.outline.meets(&way)))
    }
}

impl Part {
    fn new(rings: &[Vec<Point>]) -> Option<Self> {
        if rings.first()?.len() < 3 {
            return None;
        }
        let edges: Vec<Segment> = rings.iter().flat_map(|ring| ring_edges(ring)).collect();
        let bounds = Bounds::around(&edges);
        Some(Self { bounds, rows: Rows::new(&edges, &bounds), outline: Segments::new(edges) })
    }

    /// By the even-odd rule over all rings: holes are out.
    fn contains(&self, p: Point) -> bool {
        self.bounds.holds(p) && self.rows.of(p.lat).iter().filter(|edge| is_crossed_eastward(edge, p)).count() % 2 == 1
    }
}

/// A ring's edges, closing it when it is open.
fn ring_edges(ring: &[Point]) -> impl Iterator<Item = Segment> + '_ {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).filter(|(a, b)| a != b).map(|(a, b)| Segment { a: *a, b: *b })
}

/// Whether a ray from `p` to the east crosses the edge; of its two ends only the lower belongs to it, so that a ray
/// through a corner counts once.
fn is_crossed_eastward(edge: &Segment, p: Point) -> bool {
    let (a, b) = (edge.a, edge.b);
    (a.lat > p.lat) != (b.lat > p.lat) && p.lon < a.lon + (b.lon - a.lon) * (p.lat - a.lat) / (b.lat - a.lat)
}

impl Rows {
    fn new(edges: &[Segment], bounds: &Bounds) -> Self {
        let count = (edges.len() / 4).clamp(1, ROWS);
        let (south, height) = (bounds.min[1], bounds.max[1] - bounds.min[1]);
        let per_deg = if height > 0.0 { count as f64 / height } else { 0.0 };
        let mut rows = Self { south, per_deg, starts: vec![0; count + 1].into(), edges: Box::default() };
        let mut of_row: Vec<Vec<Segment>> = vec![Vec::new(); count];
        for edge in edges {
            let (a, b) = (rows.row(edge.a.lat), rows.row(edge.b.lat));
            (a.min(b)..=a.max(b)).for_each(|row| of_row[row].push(*edge));
        }
        for (row, edges) in of_row.iter().enumerate() {
            rows.starts[row + 1] = rows.starts[row] + edges.len() as u32;
        }
        rows.edges = of_row.concat().into();
        rows
    }

    /// The row of a latitude; monotonic, so an edge lies in the rows between those of its ends.
    fn row(&self, lat: f64) -> usize {
        (((lat - self.south) * self.per_deg) as usize).min(self.starts.len() - 2)
    }

    /// The edges that reach into the row of this latitude.
    fn of(&self, lat: f64) -> &[Segment] {
        let row = self.row(lat);
        &self.edges[self.starts[row] as usize..self.starts[row + 1] as usize]
    }
}

/// Areas by number, under an R-tree of the boxes of their parts.
#[derive(Clone, Debug, Default)]
pub struct AreaIndex {
    areas: Vec<Area>,
    tree: RTree<PartBox>,
}

#[derive(Clone, Copy, Debug)]
struct PartBox {
    area: u32,
    part: u32,
    bounds: Bounds,
}

impl RTreeObject for PartBox {
    type Envelope = AABB<[f64; 2]>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_corners(self.bounds.min, self.bounds.max)
    }
}

impl AreaIndex {
    /// Over `areas`; their places in the list are the numbers that queries give.
    pub fn new(areas: Vec<Area>) -> Self {
        let boxes = areas.iter().enumerate().flat_map(|(area, shape)| {
            let parts = shape.parts.iter().enumerate();
            parts.map(move |(part, polygon)| PartBox { area: area as u32, part: part as u32, bounds: polygon.bounds })
        });
        let tree = RTree::bulk_load(boxes.collect());
        Self { areas, tree }
    }

    pub fn len(&self) -> usize {
        self.areas.len()
    }

    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// One area.
    pub fn area(&self, index: usize) -> &Area {
        &self.areas[index]
    }

    /// Calls `found` once for every area in which the point lies.
    pub fn containing(&self, p: Point, mut found: impl FnMut(usize)) {
        let here = AABB::from_point([p.lon, p.lat]);
        for candidate in self.tree.locate_in_envelope_intersecting(here) {
            let (index, part) = (candidate.area as usize, candidate.part as usize);
            let parts = &self.areas[index].parts;
            if parts[part].contains(p) && !parts[..part].iter().any(|earlier| earlier.contains(p)) {
                found(index);
            }
        }
    }

    /// Calls `found` with every area whose signed distance (metres, negative within) is at most `buffer_m`: 50 takes
    /// those up to 50 m away, -30 only those entered by 30 m.
    pub fn within_m(&self, p: Point, buffer_m: f64, mut found: impl FnMut(usize, f64)) {
        let frame = LocalFrame::at(p);
        let (min, max) = frame.square(buffer_m.max(0.0));
        let reach = AABB::from_corners(min, max);
        for candidate in self.tree.locate_in_envelope_intersecting(reach) {
            let (index, part) = (candidate.area as usize, candidate.part as usize);
            let area = &self.areas[index];
            let seen = area.parts[..part].iter().any(|earlier| earlier.bounds.overlaps(&Bounds { min, max }));
            let distance = if seen { f64::INFINITY } else { area.signed_distance_from(&frame) };
            if distance <= buffer_m {
                found(index, distance);
            }
        }
    }

    /// Calls `found` once for every area that the straight way from `a` to `b` touches.
    pub fn crossed_by(&self, a: Point, b: Point, mut found: impl FnMut(usize)) {
        let way = Segment { a, b }.bounds();
        for candidate in self.tree.locate_in_envelope_intersecting(AABB::from_corners(way.min, way.max)) {
            let (index, part) = (candidate.area as usize, candidate.part as usize);
            let area = &self.areas[index];
            let seen = area.parts[..part].iter().any(|earlier| earlier.bounds.overlaps(&way));
            if !seen && area.is_crossed_by(a, b) {
                found(index);
            }
        }
    }
}
