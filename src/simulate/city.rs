//! The city: roads, places, zones, routes, and who is registered in it. Made from a seed, the same every time.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    chance::Chance,
    names,
    network::{Leg, Network},
    path::{Ground, Path},
    plane::{Rectangle, Spot},
};

/// What the committed city was made from.
const CITY_SEED: u64 = 440_300;
/// Trucks of the committed city.
pub const CITY_TRUCKS: usize = 60;
/// Share of an octagon's radius at which its sides lie.
const SIDE: f64 = 0.92;
/// Between a road and the side of a place, metres.
const SET_BACK_M: f64 = 60.0;

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub place_id: String,
    pub name: String,
    pub kind: &'static str,
    pub middle: Spot,
    pub radius_m: f64,
    /// The node in its middle.
    pub node: usize,
}

impl Place {
    /// An octagon.
    pub fn ring(&self) -> Vec<Spot> {
        let corner = |number: usize| {
            let angle = (number % 8) as f64 * std::f64::consts::FRAC_PI_4 + std::f64::consts::FRAC_PI_8;
            let (east, north) = (angle.cos() * self.radius_m, angle.sin() * self.radius_m);
            Spot::new(self.middle.x + east, self.middle.y + north).snapped()
        };
        (0..=8).map(corner).collect()
    }

    /// Whether a spot is surely inside.
    pub fn holds(&self, spot: Spot) -> bool {
        spot.distance_m(self.middle) < self.radius_m * SIDE
    }
}

#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub zone_id: String,
    pub name: &'static str,
    pub kind: &'static str,
    pub area: Rectangle,
    pub speed_limit_kmh: Option<f64>,
    pub schedule: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub route_id: String,
    pub name: String,
    pub source: usize,
    pub sink: usize,
    pub buffer_m: f64,
    pub path: Arc<Path>,
}

/// What a truck stands for in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Worker,
    /// Some sensors are missing, so that it cannot be seen to break some rules.
    Bare,
    Blacklisted,
    NoPermit,
    ExpiredPermit,
    /// May carry from 06:00 to 18:00 only.
    DayOnly,
    /// May carry from 18:00 to 06:00 only.
    NightOnly,
    Suspended,
    Maintenance,
}

impl Role {
    /// By place in the fleet: the few special trucks come first and last among the committed sixty.
    fn of(number: usize) -> Self {
        match number {
            0 => Self::Blacklisted,
            1 => Self::NoPermit,
            2 => Self::ExpiredPermit,
            3 => Self::DayOnly,
            4 => Self::NightOnly,
            52..=56 => Self::Bare,
            57 => Self::Suspended,
            58 => Self::Maintenance,
            _ => Self::Worker,
        }
    }

    /// The windows of its permit.
    pub fn windows(self) -> &'static str {
        match self {
            Self::DayOnly => "06:00-18:00",
            Self::NightOnly => "18:00-06:00",
            _ => "",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Vehicle {
    pub vehicle_id: String,
    pub plate: String,
    pub plate_color: &'static str,
    pub device_id: String,
    /// The dashcam that one truck in three has, too.
    pub camera_id: Option<String>,
    pub driver_id: String,
    pub driver_name: String,
    pub company: usize,
    pub role: Role,
    pub source: usize,
    pub sinks: Vec<usize>,
}

impl Vehicle {
    pub fn sensors(&self) -> &'static str {
        if self.role == Role::Bare { "driver" } else { "cover lift load driver" }
    }
}

/// A way that leaves the permitted one for a while.
#[derive(Clone, Debug)]
pub(super) struct Detour {
    pub path: Arc<Path>,
    /// How far along it leaves the permitted way, metres.
    pub leave_m: f64,
    /// How far along it first offends, metres.
    pub offend_m: f64,
}

/// What a detour is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DetourKind {
    /// 150 to 400 m beside the route.
    Near,
    /// Over 600 m away.
    Far,
    /// Through a forbidden zone.
    Zone,
}

/// A city with its roads, places and zones, and a fleet registered in it.
#[derive(Clone, Debug)]
pub struct City {
    pub(super) network: Network,
    /// Sources, sinks, the depot, the workshop.
    pub(super) places: Vec<Place>,
    pub(super) zones: Vec<Zone>,
    pub(super) routes: Vec<Route>,
    pub(super) vehicles: Vec<Vehicle>,
    /// Permitted and free ways between places.
    paths: FxHashMap<(usize, usize), Arc<Path>>,
}

impl City {
    /// The committed city with its sixty trucks.
    pub fn demo() -> Self {
        Self::with_trucks(CITY_TRUCKS)
    }

    /// The same city with a fleet of another size; the first sixty trucks are the committed ones.
    pub fn with_trucks(trucks: usize) -> Self {
        let mut network = Network::lay(&mut Chance::new(CITY_SEED, 0));
        let zones = zones(&network);
        for (number, zone) in zones.iter().enumerate().filter(|(_, zone)| zone.kind == "forbidden") {
            network.forbid(number, &zone.area, 120.0);
        }
        let places = places(&mut network, &zones);
        for (road, name, offset_m) in names::BESIDE {
            network.lay_beside(road, *name, *offset_m);
        }
        let (routes, vehicles, paths) = (Vec::new(), Vec::new(), FxHashMap::default());
        let mut city = Self { network, places, zones, routes, vehicles, paths };
        city.lay_paths();
        city.vehicles = vehicles_of(&city, trucks);
        city
    }

    /// How many trucks are registered.
    pub fn trucks(&self) -> usize {
        self.vehicles.len()
    }

    pub(super) fn depot(&self) -> usize {
        names::SOURCES.len() + names::SINKS.len()
    }

    pub(super) fn workshop(&self) -> usize {
        self.depot() + 1
    }

    /// The way between two places: the permitted one from a source to a sink, else a free choice.
    pub(super) fn path(&self, from: usize, to: usize) -> Option<&Arc<Path>> {
        self.paths.get(&(from, to))
    }

    /// The sinks to which routes lead from a source.
    pub(super) fn sinks_of(&self, source: usize) -> impl Iterator<Item = usize> {
        let count = names::SINKS.len();
        let first = names::SOURCES.len();
        [first + source % count, first + (source + 1 + source / count) % count].into_iter()
    }

    fn lay_paths(&mut self) {
        let mut chance = Chance::new(CITY_SEED, 2);
        let taste: Vec<f64> = self.network.edges.iter().map(|_| chance.between(0.8, 1.3)).collect();
        let sources = 0..names::SOURCES.len();
        for source in sources.clone() {
            for sink in self.sinks_of(source).collect::<Vec<_>>() {
                let Some(path) = self.lay(source, sink, |_| 1.0) else { continue };
                let path = Arc::new(path);
                self.paths.insert((source, sink), Arc::clone(&path));
                let number = self.routes.len() + 1;
                let short = |place: &Place| place.name.split(' ').next().unwrap_or_default().to_owned();
                let name = format!("{}—{}", short(&self.places[source]), short(&self.places[sink]));
                let route_id = format!("RT{number:02}");
                self.routes.push(Route { route_id, name, source, sink, buffer_m: 100.0, path });
            }
        }
        let sinks = names::SOURCES.len()..self.depot();
        let free = sinks.clone().flat_map(|sink| sources.clone().map(move |source| (sink, source)));
        let depot = self.depot();
        let home = sinks.clone().map(|sink| (sink, depot)).chain(sources.clone().map(|source| (depot, source)));
        let laid_up = [(depot, self.workshop())];
        for (from, to) in free.chain(home).chain(laid_up).collect::<Vec<_>>() {
            if let Some(path) = self.lay(from, to, |edge| taste[edge]) {
                self.paths.insert((from, to), Arc::new(path));
            }
        }
    }

    /// The quickest way that touches no forbidden zone.
    fn lay(&self, from: usize, to: usize, taste: impl Fn(usize) -> f64) -> Option<Path> {
        let (start, end) = (self.places[from].node, self.places[to].node);
        let legs = self.network.way(start, end, |number, edge| {
            // Loaded trucks are kept off motorways where the way round is not much longer.
            let motorway = self.network.roads[edge.road].class == "motorway";
            let dislike = if motorway { 1.3 } else { 1.0 };
            edge.forbidden.is_none().then(|| edge.length_m / self.network.limit_kmh(number) * taste(number) * dislike)
        })?;
        Some(self.along(start, &legs))
    }

    /// A path along legs.
    pub(super) fn along(&self, start: usize, legs: &[Leg]) -> Path {
        Path::along(&self.network, start, legs, |a, b| self.ground(a, b))
    }

    fn ground(&self, a: Spot, b: Spot) -> Ground {
        let middle = a.towards(b, 0.5);
        let mut ground = Ground::default();
        for (number, zone) in self.zones.iter().enumerate() {
            match zone.kind {
                "forbidden" if zone.area.holds(middle, 0.0) => ground.forbidden = Some(number),
                // Slow in good time: a stretch that comes near counts as inside.
                "speed" if [a, middle, b].iter().any(|spot| zone.area.holds(*spot, 60.0)) => {
                    ground.zone_kmh = zone.speed_limit_kmh;
                }
                _ => {}
            }
        }
        let near = |place: &Place| place.middle.distance_to_segment_m(a, b) < place.radius_m + 200.0;
        ground.near_place = self.places.iter().any(near);
        ground
    }

    /// The routes that a vehicle's permit names.
    pub(super) fn routes_of<'a>(&'a self, vehicle: &'a Vehicle) -> impl Iterator<Item = &'a Route> {
        let named = |route: &&Route| route.source == vehicle.source && vehicle.sinks.contains(&route.sink);
        self.routes.iter().filter(named)
    }

    /// The shortest detour of a kind that a vehicle can take on the way to a sink.
    pub(super) fn detour(&self, vehicle: &Vehicle, sink: usize, kind: DetourKind) -> Option<Detour> {
        let path = self.path(vehicle.source, sink)?;
        let lines: Vec<Vec<Spot>> = self.routes_of(vehicle).map(|route| route.path.spots()).collect();
        let end_m = path.length_m() - 1_000.0;
        let inner =
            || path.nodes.iter().enumerate().filter(|(_, (_, at))| within(path.vertices[*at].s, 1_000.0, end_m));
        let mut best: Option<Detour> = None;
        for (first, (_, at)) in inner() {
            for (last, (_, until)) in inner().filter(|(last, _)| *last > first) {
                let (leave, back) = (&path.vertices[*at], &path.vertices[*until]);
                let kept_m = path.length_m() - (back.s - leave.s);
                let shortest_m = kept_m + leave.spot.distance_m(back.spot);
                let best_m = best.as_ref().map_or(f64::INFINITY, |known| known.path.length_m());
                if within(back.s - leave.s, 500.0, 12_000.0) && shortest_m < best_m {
                    let found = self.detour_between(vehicle, path, &lines, (first, last), kind, best_m - kept_m);
                    best = found.or(best);
                }
            }
        }
        best
    }

    /// The detour that leaves the way at one of its nodes and is back at another, if it is shorter in between than
    /// `shorter_m`.
    fn detour_between(
        &self,
        vehicle: &Vehicle,
        path: &Path,
        lines: &[Vec<Spot>],
        (first, last): (usize, usize),
        kind: DetourKind,
        shorter_m: f64,
    ) -> Option<Detour> {
        let (from, to) = (path.nodes[first].0, path.nodes[last].0);
        let taken: Vec<usize> = path.legs.iter().map(|(edge, _)| self.network.trunk_of(*edge)).collect();
        let around = self.network.way(from, to, |number, edge| match edge.forbidden {
            _ if taken.contains(&self.network.trunk_of(number)) => None,
            None => Some(edge.length_m),
            Some(zone) if kind == DetourKind::Zone && self.zones[zone].schedule.is_empty() => Some(edge.length_m * 0.2),
            Some(_) => None,
        })?;
        if around.iter().map(|(edge, _)| self.network.edges[*edge].length_m).sum::<f64>() >= shorter_m {
            return None;
        }
        let legs: Vec<Leg> = path.legs[..first].iter().chain(&around).chain(&path.legs[last..]).copied().collect();
        let mut detour = self.along(path.nodes[0].0, &legs);
        if kind == DetourKind::Zone {
            offends(&detour, kind)?;
        }
        self.measure(&mut detour, vehicle, lines);
        let offend_m = offends(&detour, kind)?;
        let leave_m = path.vertices[path.nodes[first].1].s;
        Some(Detour { path: Arc::new(detour), leave_m, offend_m })
    }

    /// Fills in how far each point is from the nearest of the permitted lines; near the ends it does not count.
    fn measure(&self, path: &mut Path, vehicle: &Vehicle, lines: &[Vec<Spot>]) {
        let ends = || std::iter::once(vehicle.source).chain(vehicle.sinks.iter().copied());
        for vertex in &mut path.vertices {
            let near =
                ends().any(|end| vertex.spot.distance_m(self.places[end].middle) < self.places[end].radius_m + 520.0);
            let distances = lines.iter().map(|line| vertex.spot.distance_to_line_m(line));
            vertex.deviation_m = if near { 0.0 } else { distances.fold(f64::INFINITY, f64::min) };
        }
    }
}

fn within(value: f64, low: f64, high: f64) -> bool {
    (low..=high).contains(&value)
}

/// Where a detour begins to be what it is taken for; `None` when it is not, or not for long enough.
fn offends(path: &Path, kind: DetourKind) -> Option<f64> {
    let least = |m: f64| move |pair: &super::path::Vertex| pair.deviation_m > m;
    let most_m = path.vertices.iter().map(|vertex| vertex.deviation_m).fold(0.0, f64::max);
    let (long_enough, begins) = match kind {
        DetourKind::Near => {
            let off = least(140.0);
            let long = path.longest_s(|a, b| off(a) && off(b)) >= 250.0 && most_m < 430.0;
            (long, path.vertices.iter().find(|vertex| vertex.deviation_m > 140.0))
        }
        DetourKind::Far => {
            let off = least(620.0);
            let long = path.longest_s(|a, b| off(a) && off(b)) >= 250.0 && most_m < 4_000.0;
            (long, path.vertices.iter().find(|vertex| vertex.deviation_m > 620.0))
        }
        DetourKind::Zone => {
            let long = path.longest_s(|a, _| a.zone.is_some()) >= 100.0;
            (long, path.vertices.iter().find(|vertex| vertex.zone.is_some()))
        }
    };
    begins.filter(|_| long_enough).map(|vertex| vertex.s)
}

/// Name, kind, middle, half its width and height in metres, speed limit in km/h, schedule.
type ZoneRow = (&'static str, &'static str, Spot, f64, f64, Option<f64>, &'static str);

fn zones(network: &Network) -> Vec<Zone> {
    let crossing = |x: f64, y: f64| network.nodes[network.nearest_node(Spot::new(x, y))].spot;
    let plain = |x: f64, y: f64| Spot::new(x, y);
    let rows: [ZoneRow; 11] = [
        ("北站核心区禁行 Shenzhen North core", "forbidden", crossing(3_200.0, -1_400.0), 800.0, 800.0, None, ""),
        ("宝安中心禁行 Bao'an centre", "forbidden", crossing(-7_200.0, 3_800.0), 800.0, 800.0, None, ""),
        (
            "科技园高峰禁行 Science Park at peak hours",
            "forbidden",
            crossing(-3_100.0, -6_500.0),
            700.0,
            700.0,
            None,
            "Mon-Fri 07:00-09:00 17:30-19:30",
        ),
        ("学校限速区 School at Songbai Road", "speed", crossing(-1_000.0, 6_000.0), 320.0, 320.0, Some(30.0), ""),
        ("医院限速区 Hospital at Heping Road", "speed", crossing(7_300.0, -6_000.0), 320.0, 320.0, Some(30.0), ""),
        ("污染天气管控区 Pollution control", "control", plain(6_000.0, 4_000.0), 2_500.0, 2_500.0, None, ""),
        ("西丽水库 Xili Reservoir", "water", plain(-1_000.0, 1_000.0), 450.0, 350.0, None, ""),
        ("铁岗水库 Tiegang Reservoir", "water", plain(-9_300.0, 5_400.0), 400.0, 350.0, None, ""),
        ("塘朗山生态区 Tanglang Mountain", "eco", plain(1_000.0, -4_600.0), 700.0, 400.0, None, ""),
        (
            "会展片区限行 Convention quarter",
            "restricted",
            plain(-10_500.0, 8_500.0),
            700.0,
            700.0,
            None,
            "Sat-Sun 08:00-22:00",
        ),
        ("作业范围 Operating area", "operating_area", plain(0.0, 0.0), 12_700.0, 11_000.0, None, ""),
    ];
    let zone = |(number, (name, kind, middle, width, height, speed_limit_kmh, schedule)): (usize, _)| Zone {
        zone_id: format!("Z{:02}", number + 1),
        name,
        kind,
        area: Rectangle::around(middle, width, height),
        speed_limit_kmh,
        schedule,
    };
    rows.into_iter().enumerate().map(zone).collect()
}

/// Sources, sinks, the depot and the workshop, each beside a road near where it is wanted.
fn places(network: &mut Network, zones: &[Zone]) -> Vec<Place> {
    let sources = names::SOURCES.iter().map(|place| (*place, "source", "S", 170.0));
    let sinks = names::SINKS.iter().map(|place| (*place, "sink", "K", 260.0));
    let others = [(names::DEPOT, "depot", "P", 190.0), (names::WORKSHOP, "workshop", "W", 150.0)];
    let mut places: Vec<Place> = Vec::new();
    for ((name, x, y), kind, letter, radius_m) in sources.chain(sinks).chain(others) {
        let Some((edge, at, middle)) = site(network, zones, &places, Spot::new(x, y), radius_m) else { continue };
        let gate = network.split(edge, at);
        let node = network.add_access(gate, middle, format!("{} 进场道", name.split(' ').next().unwrap_or(name)));
        let number = places.iter().filter(|place| place.kind == kind).count() + 1;
        let place_id = format!("{letter}{number:02}");
        places.push(Place { place_id, name: name.into(), kind, middle, radius_m, node });
    }
    places
}

/// The edge, the point of its shape and the middle of a place that is clear of everything else, nearest to where it is
/// wanted.
fn site(
    network: &Network,
    zones: &[Zone],
    places: &[Place],
    wanted: Spot,
    radius_m: f64,
) -> Option<(usize, usize, Spot)> {
    let mut best: Option<(f64, (usize, usize, Spot))> = None;
    for (number, edge) in network.edges.iter().enumerate() {
        let class = network.roads[edge.road].class;
        if edge.forbidden.is_some() || matches!(class, "motorway" | "service") || edge.shape.len() < 7 {
            continue;
        }
        for at in 3..edge.shape.len() - 3 {
            for side in [1.0, -1.0] {
                let middle = beside(&edge.shape, at, side * (radius_m + SET_BACK_M));
                let away_m = middle.distance_m(wanted);
                let better = best.as_ref().is_none_or(|(known, _)| away_m < *known);
                if better && is_clear(network, zones, places, middle, radius_m) {
                    best = Some((away_m, (number, at, middle)));
                }
            }
        }
    }
    best.map(|(_, site)| site)
}

/// A spot square to the road at one of its points.
fn beside(shape: &[Spot], at: usize, offset_m: f64) -> Spot {
    let (before, after) = (shape[at - 1], shape[at + 1]);
    let length_m = before.distance_m(after);
    let (east, north) = ((after.x - before.x) / length_m, (after.y - before.y) / length_m);
    Spot::new(shape[at].x + north * offset_m, shape[at].y - east * offset_m).snapped()
}

fn is_clear(network: &Network, zones: &[Zone], places: &[Place], middle: Spot, radius_m: f64) -> bool {
    let room_m = radius_m + SET_BACK_M - 8.0;
    let off_zones = zones
        .iter()
        .all(|zone| matches!(zone.kind, "operating_area" | "control") || !zone.area.holds(middle, radius_m + 500.0));
    off_zones
        && places.iter().all(|place| place.middle.distance_m(middle) > place.radius_m + radius_m + 1_500.0)
        && network
            .edges
            .iter()
            .all(|edge| edge.shape[0].distance_m(middle) > 4_000.0 || middle.distance_to_line_m(&edge.shape) >= room_m)
}

fn vehicles_of(city: &City, trucks: usize) -> Vec<Vehicle> {
    let mut chance = Chance::new(CITY_SEED, 3);
    (0..trucks).map(|number| vehicle(city, number, &mut chance)).collect()
}

fn vehicle(city: &City, number: usize, chance: &mut Chance) -> Vehicle {
    let source = chance.below(names::SOURCES.len());
    let sinks: Vec<usize> = city.sinks_of(source).collect();
    let sinks = match chance.below(3) {
        0 => sinks,
        one => vec![sinks[one - 1]],
    };
    let name = |of: &'static [&'static str], chance: &mut Chance| chance.pick(of).copied().unwrap_or_default();
    let family = name(names::FAMILY_NAMES, chance);
    let driver_name = format!("{family}{}", name(names::GIVEN_NAMES, chance));
    // Every plate is its own: the step shares no factor with the number of plates, so none comes twice.
    let plate = (31_337 + number * 40_009) % 100_000;
    Vehicle {
        vehicle_id: format!("V{:05}", number + 1),
        plate: format!("粤B{plate:05}D"),
        plate_color: if chance.happens(0.6) { "yellow" } else { "yellow_green" },
        device_id: format!("GD{:06}", 100_001 + number),
        camera_id: (number % 3 == 1).then(|| format!("CM{:06}", 100_001 + number)),
        driver_id: format!("DR{:05}", number + 1),
        driver_name,
        company: number % names::COMPANIES.len(),
        role: Role::of(number),
        source,
        sinks,
    }
}
