//! Lines as a network: where their segments meet, and how far it is along them from one spot to another.

use std::{cmp::Reverse, collections::BinaryHeap};

use rustc_hash::FxHashMap;

use super::{LineHit, LineIndex, LocalFrame, Point, distance_m, heading_deg};

/// Ends of segments that lie so near to each other are one node, metres: what rounding coordinates to seven decimals makes.
const MEET_M: f64 = 0.05;
/// Side of a cell in which nodes are looked for, degrees: over twice [`MEET_M`] up to 75 degrees of latitude.
const MEET_DEG: f64 = 4e-6;

/// The segments of many lines and the nodes at which their ends meet. Lines that cross without a common end are not
/// connected there: one may pass over the other.
#[derive(Clone, Debug, Default)]
pub struct Network {
    stretches: Box<[Stretch]>,
    /// Where each node lies.
    nodes: Box<[Point]>,
    /// The place of each line's first segment.
    first: Box<[u32]>,
    /// Where each node's list of segments to leave by begins.
    starts: Box<[u32]>,
    leaving: Box<[u32]>,
}

/// One segment.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u32,
    to: u32,
    line: u32,
    length_m: f32,
    /// Its course as a vector of length one, east and north.
    course: (f32, f32),
    oneway: bool,
}

/// A spot on a segment of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// The segment's place in the network ([`Network::segment`]).
    pub segment: u32,
    /// Metres from the segment's first point.
    pub along_m: f64,
}

/// Part of a segment, in the direction in which a way leads over it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// As in [`Spot::segment`].
    pub segment: u32,
    /// Metres from the segment's first point, where the way comes onto it and where it leaves it.
    pub from_m: f64,
    pub to_m: f64,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Longer ways are not looked for, metres.
    pub limit_m: f64,
    /// What turning round at a node costs, metres; a right angle costs half of it, straight on nothing.
    pub turn_m: f64,
    /// Nodes that are visited at most; beyond them all counts as out of reach.
    pub nodes: usize,
}

impl Network {
    /// Of the lines of an index; `oneway` says whether a line leads only in the order of its points.
    pub fn new(index: &LineIndex, oneway: impl Fn(usize) -> bool) -> Self {
        let mut counts: Vec<u32> = Vec::new();
        index.segments_of(|line, number, _, _| {
            if counts.len() <= line {
                counts.resize(line + 1, 0);
            }
            counts[line] = counts[line].max(number as u32 + 1);
        });
        let first = running_sum(&counts);
        let mut ends = vec![(0, Point::default(), Point::default()); first.last().map_or(0, |last| *last as usize)];
        index.segments_of(|line, number, a, b| ends[first[line] as usize + number] = (line, a, b));
        let mut nodes = Nodes::default();
        let stretches: Box<[Stretch]> = ends
            .into_iter()
            .map(|(line, a, b)| Stretch {
                from: nodes.at(a),
                to: nodes.at(b),
                line: line as u32,
                length_m: distance_m(a, b) as f32,
                course: course(a, b),
                oneway: oneway(line),
            })
            .collect();
        let (starts, leaving) = lists(&stretches, nodes.points.len());
        Self { stretches, nodes: nodes.points.into(), first, starts, leaving }
    }

    /// The place of a line's segment; `None` when the line has no such segment.
    pub fn segment(&self, line: usize, number: usize) -> Option<u32> {
        let (first, end) = (*self.first.get(line)?, *self.first.get(line + 1)?);
        let place = first.checked_add(u32::try_from(number).ok()?)?;
        (place < end).then_some(place)
    }

    /// The line of a segment: its place in the list.
    pub fn line(&self, segment: u32) -> usize {
        self.stretches[segment as usize].line as usize
    }

    /// The spot that was found on a line; `None` when the network has no such segment.
    pub fn spot(&self, hit: &LineHit) -> Option<Spot> {
        let segment = self.segment(hit.line, hit.segment)?;
        Some(Spot { segment, along_m: hit.share * self.length_m(segment) })
    }

    /// Where a spot lies.
    pub fn point(&self, spot: Spot) -> Point {
        let stretch = self.stretches[spot.segment as usize];
        let (from, to) = (self.nodes[stretch.from as usize], self.nodes[stretch.to as usize]);
        let share = (spot.along_m / f64::from(stretch.length_m)).clamp(0.0, 1.0);
        Point::new(from.lon + (to.lon - from.lon) * share, from.lat + (to.lat - from.lat) * share)
    }

    /// The segment's length, metres.
    pub fn length_m(&self, segment: u32) -> f64 {
        f64::from(self.stretches[segment as usize].length_m)
    }

    /// The segment's course, degrees from north.
    pub fn heading_deg(&self, segment: u32) -> f64 {
        let (east, north) = self.stretches[segment as usize].course;
        f64::from(east).atan2(f64::from(north)).to_degrees().rem_euclid(360.0)
    }

    /// How much a way turns that comes to a node by one segment and leaves it by another: 0 straight on, 1 back.
    fn turn(&self, by: u32, onto: u32, node: u32) -> f64 {
        let (by, onto) = (self.stretches[by as usize], self.stretches[onto as usize]);
        let cos = by.course.0 * onto.course.0 + by.course.1 * onto.course.1;
        let is_reversed = (by.to == node) != (onto.from == node);
        f64::from(1.0 - if is_reversed { -cos } else { cos }) / 2.0
    }

    /// Of a segment, from one of its nodes to so many metres from its first point.
    fn onto(&self, segment: u32, node: u32, to_m: f64) -> Piece {
        let stretch = self.stretches[segment as usize];
        Piece { segment, from_m: if stretch.from == node { 0.0 } else { f64::from(stretch.length_m) }, to_m }
    }

    fn leaving(&self, node: u32) -> &[u32] {
        &self.leaving[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }
}

fn course(a: Point, b: Point) -> (f32, f32) {
    let (sin, cos) = heading_deg(a, b).to_radians().sin_cos();
    (sin as f32, cos as f32)
}

/// The start of each run, and the end of the last.
fn running_sum(counts: &[u32]) -> Box<[u32]> {
    let mut sum = 0;
    let ends = counts.iter().map(|count| {
        sum += count;
        sum
    });
    std::iter::once(0).chain(ends).collect()
}

/// For each node the segments that may be entered there.
fn lists(stretches: &[Stretch], nodes: usize) -> (Box<[u32]>, Box<[u32]>) {
    let mut entries: Vec<(u32, u32)> = Vec::with_capacity(stretches.len() * 2);
    for (place, stretch) in (0u32..).zip(stretches) {
        entries.push((stretch.from, place));
        if !stretch.oneway {
            entries.push((stretch.to, place));
        }
    }
    entries.sort_unstable();
    entries.dedup();
    let mut counts = vec![0; nodes];
    entries.iter().for_each(|(node, _)| counts[*node as usize] += 1);
    (running_sum(&counts), entries.into_iter().map(|(_, place)| place).collect())
}

/// The nodes found so far.
#[derive(Default)]
struct Nodes {
    points: Vec<Point>,
    exact: FxHashMap<(u64, u64), u32>,
    cells: FxHashMap<(i64, i64), Vec<u32>>,
}

impl Nodes {
    /// The node at a point: a known one within [`MEET_M`], else a new one.
    fn at(&mut self, p: Point) -> u32 {
        let key = (p.lon.to_bits(), p.lat.to_bits());
        if let Some(node) = self.exact.get(&key) {
            return *node;
        }
        let cell = ((p.lon / MEET_DEG).floor() as i64, (p.lat / MEET_DEG).floor() as i64);
        let node = self.near(p, cell).unwrap_or_else(|| {
            self.points.push(p);
            let node = self.points.len() as u32 - 1;
            self.cells.entry(cell).or_default().push(node);
            node
        });
        self.exact.insert(key, node);
        node
    }

    fn near(&self, p: Point, (column, row): (i64, i64)) -> Option<u32> {
        let around = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (column + dx, row + dy)));
        let nodes = around.filter_map(|cell| self.cells.get(&cell)).flatten().copied();
        let frame = LocalFrame::at(p);
        let away = |node: &u32| {
            let (x, y) = frame.to_m(self.points[*node as usize]);
            x.hypot(y)
        };
        nodes.filter(|node| away(node) <= MEET_M).min_by(|a, b| away(a).total_cmp(&away(b)).then(a.cmp(b)))
    }
}

/// The shortest ways from one spot to others (Dijkstra 1959), with buffers that are used again.
#[derive(Debug, Default)]
pub struct Walk {
    /// Metres as bits (the order of positive floats is that of their bits), node, segment that led there.
    open: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// For each node the search that settled it last.
    settled: Vec<u32>,
    /// The number of this search, and how many nodes it has settled.
    search: u32,
    count: usize,
}

impl Walk {
    /// Metres from `from` to each of `to`, into `ways`; infinite when out of reach. What is not `passable` leads
    /// nowhere. Backwards on a one-way segment is a negative way: a fix that fell back.
    pub fn measure(
        &mut self,
        network: &Network,
        from: Spot,
        to: &[Spot],
        reach: Reach,
        passable: impl Fn(Piece) -> bool,
        ways: &mut Vec<f64>,
    ) {
        ways.clear();
        ways.extend(to.iter().map(|spot| {
            let way_m = within_segment(network, from, *spot);
            let piece = Piece { segment: from.segment, from_m: from.along_m, to_m: spot.along_m };
            if way_m.is_finite() && passable(piece) { way_m } else { f64::INFINITY }
        }));
        self.set_out(network, from, &passable);
        while let Some(Reverse((bits, node, by))) = self.open.pop() {
            let m = f64::from_bits(bits);
            let all_known = || ways.iter().all(|way| *way <= m);
            if m > reach.limit_m || self.count >= reach.nodes || all_known() {
                break;
            }
            if std::mem::replace(&mut self.settled[node as usize], self.search) == self.search {
                continue;
            }
            self.count += 1;
            for (spot, way) in to.iter().zip(ways.iter_mut()).filter(|(spot, _)| spot.segment != from.segment) {
                let way_m = m + enter_m(network, *spot, node, by, reach.turn_m);
                if way_m < *way && passable(network.onto(spot.segment, node, spot.along_m)) {
                    *way = way_m;
                }
            }
            for place in network.leaving(node) {
                let stretch = network.stretches[*place as usize];
                let (other, end_m) =
                    if stretch.from == node { (stretch.to, stretch.length_m) } else { (stretch.from, 0.0) };
                if self.settled[other as usize] != self.search && passable(network.onto(*place, node, f64::from(end_m)))
                {
                    let turn_m = reach.turn_m * network.turn(by, *place, node);
                    self.open.push(Reverse(((m + f64::from(stretch.length_m) + turn_m).to_bits(), other, *place)));
                }
            }
        }
    }

    /// Whether the last search visited as many nodes as it may, so that there can be shorter ways than it found.
    pub fn gave_up(&self, reach: Reach) -> bool {
        self.count >= reach.nodes
    }

    /// To the ends of the segment that it is on.
    fn set_out(&mut self, network: &Network, from: Spot, passable: &impl Fn(Piece) -> bool) {
        self.open.clear();
        self.count = 0;
        let nodes = network.nodes.len();
        if self.settled.len() < nodes || self.search == u32::MAX {
            self.settled.clear();
            self.settled.resize(nodes, 0);
            self.search = 0;
        }
        self.search += 1;
        let stretch = network.stretches[from.segment as usize];
        let length_m = f64::from(stretch.length_m);
        let mut leave = |node: u32, to_m: f64| {
            if passable(Piece { segment: from.segment, from_m: from.along_m, to_m }) {
                self.open.push(Reverse(((to_m - from.along_m).abs().to_bits(), node, from.segment)));
            }
        };
        leave(stretch.to, length_m.max(from.along_m));
        if !stretch.oneway {
            leave(stretch.from, from.along_m.min(0.0));
        }
    }
}

fn within_segment(network: &Network, from: Spot, to: Spot) -> f64 {
    if from.segment != to.segment {
        return f64::INFINITY;
    }
    let ahead_m = to.along_m - from.along_m;
    if network.stretches[from.segment as usize].oneway { ahead_m } else { ahead_m.abs() }
}

/// From a node to a spot on a segment that may be entered there; infinite when it may not.
fn enter_m(network: &Network, spot: Spot, node: u32, by: u32, turn_m: f64) -> f64 {
    let stretch = network.stretches[spot.segment as usize];
    let within_m = if stretch.from == node {
        spot.along_m.max(0.0)
    } else if stretch.to == node && !stretch.oneway {
        (f64::from(stretch.length_m) - spot.along_m).max(0.0)
    } else {
        return f64::INFINITY;
    };
    within_m + turn_m * network.turn(by, spot.segment, node)
}
