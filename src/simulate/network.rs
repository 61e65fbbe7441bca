//! The road network: named lines that cross at junctions, laid out on a gently bent grid.
//!
//! Every road is a run of edges between nodes; roads that meet share the node's coordinates to the last digit.

use std::collections::BinaryHeap;

use super::{
    chance::Chance,
    names::{self, RoadName},
    plane::{Rectangle, Spot},
};
use crate::registry::class_limit_kmh;

/// Metres between the points of a road.
const SHAPE_M: f64 = 150.0;
/// Metres between the lines of the grid.
const COLUMN_STEP_M: f64 = 2_060.0;
const ROW_STEP_M: f64 = 1_980.0;
/// How far a back street lies behind its row or column, metres.
const BACK_STREET_M: f64 = 290.0;

/// A crossing, a gate or the middle of a place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub spot: Spot,
    pub light: Option<Light>,
}

/// Traffic lights: one pair of approaches has red for the first part of each cycle, the other pair for the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    pub number: usize,
    pub cycle_ms: i64,
    pub first_ms: i64,
    pub offset_ms: i64,
}

impl Light {
    /// Whether it is red for the approaches along the rows (`true`) or the columns (`false`).
    pub fn is_red(&self, along_row: bool, now_ms: i64) -> bool {
        let first = (now_ms + self.offset_ms).rem_euclid(self.cycle_ms) < self.first_ms;
        first == along_row
    }
}

/// A stretch of road from node to node.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    pub road: usize,
    /// From the first node to the second, both included.
    pub shape: Vec<Spot>,
    pub length_m: f64,
    /// The forbidden zone that it touches.
    pub forbidden: Option<usize>,
    /// The edge that it runs beside or above, so near that a fix cannot tell which of the two a truck is on.
    pub beside: Option<usize>,
    /// Whether a road with a higher limit is so near.
    pub under_faster: bool,
}

impl Edge {
    fn new(from: usize, to: usize, road: usize, shape: Vec<Spot>) -> Self {
        Self { from, to, road, length_m: length_m(&shape), shape, forbidden: None, beside: None, under_faster: false }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Road {
    pub road_id: String,
    pub name: String,
    pub class: &'static str,
    pub posted_kmh: f64,
    /// In order along it.
    pub edges: Vec<usize>,
}

impl Road {
    /// What holds for a muck truck, km/h.
    pub fn limit_kmh(&self) -> f64 {
        self.posted_kmh.min(class_limit_kmh(self.class))
    }
}

/// An edge and whether it is driven from its first node to its second.
pub(super) type Leg = (usize, bool);

#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub roads: Vec<Road>,
    /// The legs that leave each node.
    ways: Vec<Vec<Leg>>,
    pub lights: usize,
}

/// A line of the grid: where it lies across, and from where to where it runs along.
#[derive(Clone, Debug)]
struct Line {
    name: RoadName,
    across: f64,
    from: f64,
    to: f64,
}

impl Line {
    fn covers(&self, along: f64) -> bool {
        (self.from - 1.0..=self.to + 1.0).contains(&along)
    }
}

impl Network {
    /// Lays the roads out.
    pub fn lay(chance: &mut Chance) -> Self {
        let (columns, rows) = lines(chance);
        let mut network = Self::default();
        let mut crossings = vec![vec![None; columns.len()]; rows.len()];
        for (r, row) in rows.iter().enumerate() {
            for (c, column) in columns.iter().enumerate() {
                if row.covers(column.across) && column.covers(row.across) {
                    crossings[r][c] = Some(network.nodes.len());
                    network.nodes.push(Node { spot: bend(column.across, row.across), light: None });
                }
            }
        }
        for (r, row) in rows.iter().enumerate() {
            let mut stops: Vec<(f64, usize)> =
                (0..columns.len()).filter_map(|c| Some((columns[c].across, crossings[r][c]?))).collect();
            stops.sort_by(|a, b| a.0.total_cmp(&b.0));
            network.lay_road(row.name, &stops, |along| bend(along, row.across));
        }
        for (c, column) in columns.iter().enumerate() {
            let mut stops: Vec<(f64, usize)> =
                (0..rows.len()).filter_map(|r| Some((rows[r].across, crossings[r][c]?))).collect();
            stops.sort_by(|a, b| a.0.total_cmp(&b.0));
            network.lay_road(column.name, &stops, |along| bend(column.across, along));
        }
        network.place_lights(chance);
        network.connect();
        network
    }

    fn lay_road(&mut self, name: RoadName, stops: &[(f64, usize)], spot: impl Fn(f64) -> Spot) {
        let number = self.roads.len();
        let mut edges = Vec::new();
        for pair in stops.windows(2) {
            let ((start, from), (end, to)) = (pair[0], pair[1]);
            let pieces = ((end - start) / SHAPE_M).ceil().max(1.0) as usize;
            let along = |piece: usize| start + (end - start) * piece as f64 / pieces as f64;
            let mut shape: Vec<Spot> = (0..=pieces).map(|piece| spot(along(piece))).collect();
            (shape[0], shape[pieces]) = (self.nodes[from].spot, self.nodes[to].spot);
            edges.push(self.edges.len());
            self.edges.push(Edge::new(from, to, number, shape));
        }
        let road_id = format!("R{:03}", number + 1);
        self.roads.push(Road { road_id, name: name.0.into(), class: name.1, posted_kmh: name.2, edges });
    }

    /// Lights stand at a part of the crossings, never on a motorway.
    fn place_lights(&mut self, chance: &mut Chance) {
        let mut motorway = vec![false; self.nodes.len()];
        let mut arms = vec![0; self.nodes.len()];
        for edge in &self.edges {
            for node in [edge.from, edge.to] {
                motorway[node] |= self.roads[edge.road].class == "motorway";
                arms[node] += 1;
            }
        }
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let cycle_s = chance.between(60.0, 120.0).round();
            let first_s = (cycle_s * chance.between(0.4, 0.6)).round();
            let offset_ms = chance.span_ms(0.0, cycle_s);
            if !motorway[number] && arms[number] == 4 && chance.happens(0.5) {
                let (cycle_ms, first_ms) = (cycle_s as i64 * 1000, first_s as i64 * 1000);
                node.light = Some(Light { number: self.lights, cycle_ms, first_ms, offset_ms });
                self.lights += 1;
            }
        }
    }

    /// Notes which legs leave each node.
    fn connect(&mut self) {
        self.ways = vec![Vec::new(); self.nodes.len()];
        for (number, edge) in self.edges.iter().enumerate() {
            self.ways[edge.from].push((number, true));
            self.ways[edge.to].push((number, false));
        }
    }

    /// Makes the point `at` of an edge's shape a node, and gives it.
    pub fn split(&mut self, edge: usize, at: usize) -> usize {
        let node = self.nodes.len();
        let whole = self.edges[edge].clone();
        self.nodes.push(Node { spot: whole.shape[at], light: None });
        let (head, tail) = (whole.shape[..=at].to_vec(), whole.shape[at..].to_vec());
        let second = self.edges.len();
        self.edges.push(Edge { from: node, length_m: length_m(&tail), shape: tail, ..whole.clone() });
        self.edges[edge] = Edge { to: node, length_m: length_m(&head), shape: head, ..whole.clone() };
        let road = &mut self.roads[whole.road];
        let place = road.edges.iter().position(|known| *known == edge).map_or(road.edges.len(), |place| place + 1);
        road.edges.insert(place, second);
        self.connect();
        node
    }

    /// An access way from a node to a new one, and the new one.
    pub fn add_access(&mut self, from: usize, to: Spot, name: String) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Node { spot: to, light: None });
        let shape = vec![self.nodes[from].spot, to];
        let (number, edge) = (self.roads.len(), self.edges.len());
        self.edges.push(Edge::new(from, node, number, shape));
        let road_id = format!("R{:03}", number + 1);
        self.roads.push(Road { road_id, name, class: "service", posted_kmh: 20.0, edges: vec![edge] });
        self.connect();
        node
    }

    /// Lays a road along each edge of another, from node to node, `offset_m` to its right.
    pub fn lay_beside(&mut self, road: &str, name: RoadName, offset_m: f64) {
        let Some(main) = self.roads.iter().position(|known| known.name == road) else { return };
        let number = self.roads.len();
        let road_id = format!("R{:03}", number + 1);
        let (first, count) = (self.edges.len(), self.roads[main].edges.len());
        let edges = (first..first + count).collect();
        self.roads.push(Road { road_id, name: name.0.into(), class: name.1, posted_kmh: name.2, edges });
        let is_faster = self.roads[number].limit_kmh() > self.roads[main].limit_kmh();
        for edge in self.roads[main].edges.clone() {
            let along = &mut self.edges[edge];
            along.under_faster |= is_faster;
            let shape = shifted(&along.shape, offset_m);
            let beside = Edge {
                forbidden: along.forbidden,
                beside: Some(edge),
                under_faster: !is_faster,
                ..Edge::new(along.from, along.to, number, shape)
            };
            self.edges.push(beside);
        }
        self.connect();
    }

    /// The edge itself, or the one that it runs beside.
    pub fn trunk_of(&self, edge: usize) -> usize {
        self.edges[edge].beside.unwrap_or(edge)
    }

    /// Marks the edges that come within `margin_m` of a zone.
    pub fn forbid(&mut self, zone: usize, area: &Rectangle, margin_m: f64) {
        for edge in &mut self.edges {
            if edge.shape.iter().any(|spot| area.holds(*spot, margin_m)) {
                edge.forbidden = Some(zone);
            }
        }
    }

    /// Where a leg ends.
    pub fn end(&self, (edge, forward): Leg) -> usize {
        if forward { self.edges[edge].to } else { self.edges[edge].from }
    }

    /// The legs that leave a node.
    #[cfg(test)]
    pub fn ways(&self, node: usize) -> &[Leg] {
        &self.ways[node]
    }

    /// What a muck truck may drive on an edge, km/h.
    pub fn limit_kmh(&self, edge: usize) -> f64 {
        self.roads[self.edges[edge].road].limit_kmh()
    }

    /// The cheapest way from node to node; `cost` of an edge is `None` where none may drive.
    pub fn way(&self, from: usize, to: usize, cost: impl Fn(usize, &Edge) -> Option<f64>) -> Option<Vec<Leg>> {
        let mut best = vec![(f64::INFINITY, None::<(usize, Leg)>); self.nodes.len()];
        let mut open = BinaryHeap::from([Open { cost: 0.0, node: from }]);
        best[from].0 = 0.0;
        while let Some(Open { cost: so_far, node }) = open.pop() {
            if node == to {
                break;
            }
            if so_far > best[node].0 {
                continue;
            }
            for leg in &self.ways[node] {
                let Some(more) = cost(leg.0, &self.edges[leg.0]) else { continue };
                let (next, total) = (self.end(*leg), so_far + more);
                if total < best[next].0 {
                    best[next] = (total, Some((node, *leg)));
                    open.push(Open { cost: total, node: next });
                }
            }
        }
        let mut legs = Vec::new();
        let mut node = to;
        while node != from {
            let (before, leg) = best[node].1?;
            legs.push(leg);
            node = before;
        }
        legs.reverse();
        Some(legs)
    }

    /// The node nearest to a spot.
    pub fn nearest_node(&self, spot: Spot) -> usize {
        let distance = |number: &usize| self.nodes[*number].spot.distance_m(spot);
        (0..self.nodes.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    }

    /// The points of a road in order.
    pub fn line(&self, road: &Road) -> Vec<Spot> {
        let mut line: Vec<Spot> = Vec::new();
        for edge in &road.edges {
            let shape = &self.edges[*edge].shape;
            line.extend(&shape[usize::from(!line.is_empty())..]);
        }
        line
    }
}

/// A node to look at next, the cheapest first.
struct Open {
    cost: f64,
    node: usize,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.cost.total_cmp(&self.cost).then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}

/// Metres within which a road that runs beside another has left it, or joins it.
const RAMP_M: f64 = 40.0;

/// A line that begins and ends where another does, and else lies to the right of it.
fn shifted(shape: &[Spot], offset_m: f64) -> Vec<Spot> {
    let right = |at: Spot, pair: &[Spot]| {
        let share = offset_m / pair[0].distance_m(pair[1]);
        Spot::new(at.x + (pair[1].y - pair[0].y) * share, at.y - (pair[1].x - pair[0].x) * share).snapped()
    };
    let ramp = |from: Spot, to: Spot| from.towards(to, (RAMP_M / from.distance_m(to)).min(0.4));
    let last = shape.len() - 1;
    let mut line = vec![shape[0], right(ramp(shape[0], shape[1]), &shape[..2])];
    line.extend(shape[..last].windows(2).map(|pair| right(pair[1], pair)));
    line.push(right(ramp(shape[last], shape[last - 1]), &shape[last - 1..]));
    line.push(shape[last]);
    line
}

fn length_m(shape: &[Spot]) -> f64 {
    shape.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum()
}

/// Bends the grid, so that roads curve and no two junctions look alike.
fn bend(x: f64, y: f64) -> Spot {
    let east = x + 260.0 * (y / 3_100.0 + 0.7).sin() + 90.0 * (x / 2_300.0).sin();
    let north = y + 300.0 * (x / 3_700.0 + 1.1).sin() + 80.0 * (y / 2_700.0).sin();
    Spot::new(east, north).snapped()
}

/// The columns and the rows.
fn lines(chance: &mut Chance) -> (Vec<Line>, Vec<Line>) {
    let middle = |count: usize| (count as f64 - 1.0) / 2.0;
    let mut spread = |count: usize, step_m: f64| -> Vec<f64> {
        (0..count).map(|n| (n as f64 - middle(count)) * step_m + chance.between(-140.0, 140.0)).collect()
    };
    let xs = spread(names::COLUMNS.len(), COLUMN_STEP_M);
    let ys = spread(names::ROWS.len(), ROW_STEP_M);
    let full = |names: &[RoadName], across: &[f64], along: &[f64]| -> Vec<Line> {
        let (from, to) = (along[0], along[along.len() - 1]);
        names.iter().zip(across).map(|(name, across)| Line { name: *name, across: *across, from, to }).collect()
    };
    let mut columns = full(names::COLUMNS, &xs, &ys);
    let mut rows = full(names::ROWS, &ys, &xs);
    let behind = |streets: &[(RoadName, usize, usize)], across: &[f64], along: &[f64]| -> Vec<Line> {
        let street = |(name, line, first): &(RoadName, usize, usize)| {
            let across = across[*line] + BACK_STREET_M;
            Line { name: *name, across, from: along[*first], to: along[first + 3] }
        };
        streets.iter().map(street).collect()
    };
    rows.extend(behind(names::ROW_BACK_STREETS, &ys, &xs));
    columns.extend(behind(names::COLUMN_BACK_STREETS, &xs, &ys));
    rows.extend(between(names::ROW_STREETS, &ys, &xs, chance));
    columns.extend(between(names::COLUMN_STREETS, &xs, &ys, chance));
    (columns, rows)
}

/// Streets in the middle of blocks, one to three blocks long.
fn between(names: &[RoadName], across: &[f64], along: &[f64], chance: &mut Chance) -> Vec<Line> {
    let street = |(number, name): (usize, &RoadName)| {
        let blocks = 1 + chance.below(3);
        let first = chance.below(along.len() - blocks);
        let share = chance.between(0.5, 0.62);
        let across = across[number] + (across[number + 1] - across[number]) * share;
        Line { name: *name, across, from: along[first], to: along[first + blocks] }
    };
    names.iter().enumerate().map(street).collect()
}
