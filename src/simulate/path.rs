//! Paths: ways through the network with all that a driver, and a judge, must know at each point.

use super::{
    network::{Leg, Light, Network},
    plane::{Spot, turn_deg},
};

/// How fast a truck takes a bend, km/h, by the least angle in degrees to which it applies.
const TURNS: [(f64, f64); 3] = [(55.0, 15.0), (30.0, 25.0), (15.0, 40.0)];

/// One point of a path. What concerns a stretch holds from this point to the next.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub spot: Spot,
    /// Metres from the path's start.
    pub s: f64,
    /// Of the stretch, degrees.
    pub heading_deg: f64,
    /// What holds on the stretch, m/s.
    pub limit_mps: f64,
    /// Whether a faster road is so near that nobody can tell whether the truck is on that one.
    pub under_faster: bool,
    /// The most at this point, m/s.
    pub turn_mps: f64,
    /// Lights at this point, and whether they are met along the row.
    pub light: Option<(Light, bool)>,
    /// Metres to the nearest permitted line; 0 on it.
    pub deviation_m: f64,
    /// The forbidden zone in which the stretch lies.
    pub zone: Option<usize>,
    /// Whether a place is so near that stopping here could be taken for being in it.
    pub near_place: bool,
}

/// What the city knows of a stretch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ground {
    /// The lowest limit of a speed zone, km/h.
    pub zone_kmh: Option<f64>,
    pub forbidden: Option<usize>,
    pub near_place: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Path {
    pub vertices: Vec<Vertex>,
    pub legs: Vec<Leg>,
    /// The nodes passed, the first and last included, each with the vertex that it is.
    pub nodes: Vec<(usize, usize)>,
}

impl Path {
    /// Along legs from a node; `ground` is asked for each stretch.
    pub fn along(network: &Network, start: usize, legs: &[Leg], ground: impl Fn(Spot, Spot) -> Ground) -> Self {
        let mut vertices: Vec<Vertex> = Vec::new();
        let mut nodes = vec![(start, 0)];
        for leg in legs {
            let (edge, forward) = *leg;
            let mut shape = network.edges[edge].shape.clone();
            if !forward {
                shape.reverse();
            }
            let (limit_kmh, under_faster) = (network.limit_kmh(edge), network.edges[edge].under_faster);
            for (number, pair) in shape.windows(2).enumerate() {
                let at_node = (number == 0 && !vertices.is_empty()).then_some(nodes[nodes.len() - 1].0);
                let light = at_node.and_then(|node| network.nodes[node].light);
                let vertex = vertex(vertices.last(), pair, limit_kmh, light, ground(pair[0], pair[1]));
                vertices.push(Vertex { under_faster, ..vertex });
            }
            nodes.push((network.end(*leg), vertices.len()));
        }
        let last = vertices.last().cloned();
        if let (Some(last), Some((end, _))) = (last, nodes.last()) {
            let spot = network.nodes[*end].spot;
            vertices.push(Vertex { s: last.s + last.spot.distance_m(spot), spot, light: None, turn_mps: 0.0, ..last });
        }
        Self { vertices, legs: legs.to_vec(), nodes }
    }

    pub fn length_m(&self) -> f64 {
        self.vertices.last().map_or(0.0, |last| last.s)
    }

    /// The stretch on which `s` lies, looking from stretch `from` on.
    pub fn stretch(&self, s: f64, from: usize) -> usize {
        let mut at = from;
        while at + 2 < self.vertices.len() && self.vertices[at + 1].s <= s {
            at += 1;
        }
        at
    }

    /// Where `s` on stretch `at` lies.
    pub fn spot(&self, s: f64, at: usize) -> Spot {
        let (a, b) = (&self.vertices[at], &self.vertices[at + 1]);
        let length_m = b.s - a.s;
        a.spot.towards(b.spot, if length_m > 0.0 { ((s - a.s) / length_m).clamp(0.0, 1.0) } else { 0.0 })
    }

    /// Metres to the nearest permitted line at `s` on stretch `at`.
    pub fn deviation_m(&self, s: f64, at: usize) -> f64 {
        let (a, b) = (&self.vertices[at], &self.vertices[at + 1]);
        let t = if b.s > a.s { ((s - a.s) / (b.s - a.s)).clamp(0.0, 1.0) } else { 0.0 };
        a.deviation_m + (b.deviation_m - a.deviation_m) * t
    }

    /// Seconds of the longest time on end for which stretches qualify, at a usual pace.
    pub fn longest_s(&self, qualifies: impl Fn(&Vertex, &Vertex) -> bool) -> f64 {
        let (mut longest, mut now) = (0.0f64, 0.0);
        for pair in self.vertices.windows(2) {
            now = if qualifies(&pair[0], &pair[1]) {
                now + (pair[1].s - pair[0].s) / (pair[0].limit_mps * USUAL_PACE)
            } else {
                0.0
            };
            longest = longest.max(now);
        }
        longest
    }

    pub fn spots(&self) -> Vec<Spot> {
        self.vertices.iter().map(|vertex| vertex.spot).collect()
    }
}

/// The fastest drivers' share of the limit: times reckoned with it are lower bounds.
const USUAL_PACE: f64 = 0.97;

fn vertex(before: Option<&Vertex>, pair: &[Spot], limit_kmh: f64, light: Option<Light>, ground: Ground) -> Vertex {
    let heading_deg = pair[0].heading_deg(pair[1]);
    let turn = before.map_or(0.0, |before| turn_deg(before.heading_deg, heading_deg));
    let turn_kmh = TURNS.iter().find(|(least, _)| turn >= *least).map_or(f64::INFINITY, |(_, kmh)| *kmh);
    let coming_deg = before.map_or(heading_deg, |before| before.heading_deg);
    let along_row = turn_deg(coming_deg, 90.0).min(turn_deg(coming_deg, 270.0)) < 45.0;
    Vertex {
        spot: pair[0],
        s: before.map_or(0.0, |before| before.s + before.spot.distance_m(pair[0])),
        heading_deg,
        limit_mps: ground.zone_kmh.map_or(limit_kmh, |zone| zone.min(limit_kmh)) / 3.6,
        under_faster: false,
        turn_mps: turn_kmh / 3.6,
        light: light.map(|light| (light, along_row)),
        deviation_m: 0.0,
        zone: ground.forbidden,
        near_place: ground.near_place,
    }
}
