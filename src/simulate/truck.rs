//! One truck: what it is about, and how it loads, hauls, tips, returns and rests. How it drives is in [`super::drive`],
//! how it offends in [`super::misdeed`].

use std::sync::Arc;

use super::{
    chance::Chance,
    city::{City, Role, Vehicle},
    offence::Offence,
    path::Path,
    plane::Spot,
};
use crate::model::{Cover, Lift, Load};

/// What a truck is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Loading {
        from_ms: i64,
        until_ms: i64,
    },
    Hauling,
    Tipping {
        from_ms: i64,
    },
    Returning,
    /// To the depot.
    Homing,
    Resting {
        until_ms: i64,
    },
    /// From the depot to the source.
    SettingOut,
    /// At the roadside, to tip there or to stand.
    Roadside {
        from_ms: i64,
        until_ms: i64,
        tips: bool,
    },
}

/// Faster than allowed, until the clock or the road ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rush {
    pub share: f64,
    pub until_ms: i64,
    /// Where the road ahead ends that is good for it, metres along the way.
    pub until_m: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub light: usize,
    pub along_row: bool,
    /// How many wait before it.
    pub rank: u16,
    /// The vertex at which the lights stand.
    pub vertex: usize,
}

/// At the gate of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// It will stand there for so long.
    Ahead {
        wait_ms: i64,
    },
    Standing {
        until_ms: i64,
    },
    /// Nobody is before it.
    None,
}

/// Half of the trucks find others at the gate, and stand there for up to so many seconds.
const QUEUE_S: (f64, f64) = (30.0, 150.0);
/// Where the queue ends, as a share of a site's radius: about at its fence.
const FENCE: f64 = 0.96;

/// What trucks share.
pub(super) struct Street<'a> {
    pub city: &'a City,
    /// Trucks that wait at each light, on the columns and on the rows.
    pub waiting: &'a mut [[u16; 2]],
    pub now_ms: i64,
    /// Between two reports of a truck.
    pub interval_s: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Truck {
    pub chance: Chance,
    pub stage: Stage,
    pub(super) path: Arc<Path>,
    pub(super) stretch: usize,
    pub(super) s: f64,
    pub speed_mps: f64,
    /// From where to where, as places.
    pub(super) from: usize,
    pub(super) to: usize,
    /// The driver's share of the limit.
    pub(super) pace: f64,
    pub load: Load,
    pub cover: Cover,
    pub lift: Lift,
    pub ignition: bool,
    pub odometer_m: f64,
    pub still_since_ms: i64,
    pub(super) waiting: Option<Waiting>,
    pub(super) rush: Option<Rush>,
    /// Whether it still has to queue at the gate of the site that it drives to, and until when it stands there.
    pub(super) queue: Queue,
    /// Where it will stand at the roadside, and for what.
    pub(super) stop: Option<(f64, Offence)>,
    pub(super) leaves_open: bool,
    /// No report leaves the truck before then.
    pub dark_until_ms: i64,
    pub(super) offence: Option<Offence>,
}

impl Truck {
    /// At rest at the end of a way.
    fn at_end_of(path: &Arc<Path>, ends: (usize, usize), chance: Chance) -> Self {
        let mut truck = Self {
            chance,
            stage: Stage::Resting { until_ms: i64::MAX },
            path: Arc::clone(path),
            stretch: path.vertices.len().saturating_sub(2),
            s: path.length_m(),
            speed_mps: 0.0,
            from: ends.0,
            to: ends.1,
            pace: 0.0,
            load: Load::Empty,
            cover: Cover::Closed,
            lift: Lift::Flat,
            ignition: false,
            odometer_m: 0.0,
            still_since_ms: i64::MIN,
            waiting: None,
            rush: None,
            queue: Queue::None,
            stop: None,
            leaves_open: false,
            dark_until_ms: i64::MIN,
            offence: None,
        };
        truck.pace = truck.chance.between(0.82, 0.97);
        truck.odometer_m = truck.chance.between(20_000_000.0, 280_000_000.0).round();
        truck
    }

    /// Somewhere in its day's work.
    pub fn somewhere(city: &City, vehicle: &Vehicle, at_work: bool, mut chance: Chance, now_ms: i64) -> Option<Self> {
        let (depot, sink) = (city.depot(), *chance.pick(&vehicle.sinks)?);
        let mut truck = if vehicle.role == Role::Maintenance {
            Self::at_end_of(city.path(depot, city.workshop())?, (depot, city.workshop()), chance)
        } else {
            Self::at_end_of(city.path(sink, depot)?, (sink, depot), chance)
        };
        truck.still_since_ms = now_ms - 600_000;
        if !at_work || matches!(vehicle.role, Role::Maintenance | Role::Suspended) {
            return Some(truck);
        }
        truck.ignition = true;
        let lot = truck.chance.unit();
        if lot < 0.42 || !matches!(vehicle.role, Role::Worker | Role::Bare) {
            let path = Arc::clone(city.path(vehicle.source, sink)?);
            let s = truck.chance.between(0.08, 0.55) * path.length_m();
            truck.haul_from(path, s, (vehicle.source, sink));
        } else if lot < 0.55 {
            truck.take(city.path(sink, vehicle.source)?, (sink, vehicle.source));
            truck.jump_to(truck.path.length_m());
            let ago_ms = truck.chance.span_ms(0.0, 120.0);
            truck.begin_loading(now_ms - ago_ms);
        } else if lot < 0.66 {
            truck.haul_from(Arc::clone(city.path(vehicle.source, sink)?), 0.0, (vehicle.source, sink));
            truck.jump_to(truck.path.length_m());
            truck.begin_tipping(now_ms);
        } else if lot < 0.92 {
            truck.take(city.path(sink, vehicle.source)?, (sink, vehicle.source));
            truck.stage = Stage::Returning;
            let s = truck.chance.between(0.05, 0.85) * truck.path.length_m();
            truck.jump_to(s);
        } else {
            truck.ignition = false;
            truck.stage = Stage::Resting { until_ms: now_ms + truck.chance.span_ms(120.0, 1_200.0) };
        }
        Some(truck)
    }

    /// On the road, loaded and covered.
    pub fn haul_from(&mut self, path: Arc<Path>, s: f64, ends: (usize, usize)) {
        self.take(&path, ends);
        (self.stage, self.ignition) = (Stage::Hauling, true);
        (self.load, self.cover, self.lift) = (Load::Full, Cover::Closed, Lift::Flat);
        self.jump_to(s);
        self.speed_mps = if s > 0.0 { 5.0 } else { 0.0 };
    }

    /// Farther along the way that it is on.
    pub fn haul_from_here(&mut self, s: f64) {
        self.jump_to(s);
        self.speed_mps = 5.0;
    }

    fn take(&mut self, path: &Arc<Path>, ends: (usize, usize)) {
        (self.path, self.stretch, self.s) = (Arc::clone(path), 0, 0.0);
        (self.from, self.to) = ends;
        let wait_ms = self.chance.span_ms(QUEUE_S.0, QUEUE_S.1);
        self.queue = if self.chance.happens(0.5) { Queue::Ahead { wait_ms } } else { Queue::None };
    }

    /// Where it stands in the queue at the gate of the site that it drives to, metres along its way; `None` when it need
    /// not, or no longer can.
    pub(super) fn gate_m(&self, city: &City) -> Option<f64> {
        let site = &city.places[self.to];
        let at_m = self.path.length_m() - site.radius_m * FENCE;
        let is_site = matches!(site.kind, "source" | "sink");
        (is_site && self.queue != Queue::None && at_m > self.s - 0.1).then_some(at_m)
    }

    /// Whether it is within some metres of the fence of the site that it comes from or drives to.
    pub fn is_at_gate(&self, city: &City) -> bool {
        let near = |end: usize, away_m: f64| {
            let site = &city.places[end];
            matches!(site.kind, "source" | "sink") && (away_m - site.radius_m * FENCE).abs() < 40.0
        };
        near(self.from, self.s) || near(self.to, self.path.length_m() - self.s)
    }

    pub(super) fn jump_to(&mut self, s: f64) {
        self.s = s.clamp(0.0, self.path.length_m());
        self.stretch = self.path.stretch(self.s, 0);
    }

    pub fn spot(&self) -> Spot {
        self.path.spot(self.s, self.stretch)
    }

    pub fn heading_deg(&self) -> f64 {
        self.path.vertices[self.stretch].heading_deg
    }

    pub fn limit_mps(&self) -> f64 {
        self.path.vertices[self.stretch].limit_mps
    }

    pub fn is_loaded(&self) -> bool {
        matches!(self.load, Load::Half | Load::Full | Load::Loaded)
    }

    /// Metres to the nearest permitted line; 0 on the way back.
    pub fn deviation_m(&self) -> f64 {
        if self.stage == Stage::Hauling { self.path.deviation_m(self.s, self.stretch) } else { 0.0 }
    }

    /// The forbidden zone that it is in.
    pub fn zone(&self) -> Option<usize> {
        self.path.vertices[self.stretch].zone
    }

    /// The place that it is in.
    pub fn place(&self, city: &City) -> Option<usize> {
        let reach_m = 400.0;
        let end = if self.s < reach_m {
            self.from
        } else if self.path.length_m() - self.s < reach_m {
            self.to
        } else {
            return None;
        };
        city.places[end].holds(self.spot()).then_some(end)
    }

    /// Whether it drives, or would but for the traffic.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Hauling | Stage::Returning | Stage::Homing | Stage::SettingOut)
    }

    /// What it has been told to do wrong and still does.
    pub fn offence(&self) -> Option<Offence> {
        self.offence
    }

    /// One step of `dt_s` seconds, at whose end it is `street.now_ms`.
    pub fn step(&mut self, street: &mut Street<'_>, vehicle: &Vehicle, dt_s: f64) {
        let now_ms = street.now_ms;
        if self.offence == Some(Offence::TerminalOffline) && now_ms >= self.dark_until_ms {
            self.offence = None;
        }
        match self.stage {
            Stage::Loading { from_ms, until_ms } => self.load_up(street.city, vehicle, from_ms, until_ms, now_ms),
            Stage::Tipping { from_ms } => self.tip(street.city, vehicle, from_ms, now_ms),
            Stage::Resting { until_ms } => {
                if now_ms >= until_ms
                    && let Some(path) = street.city.path(street.city.depot(), vehicle.source)
                {
                    self.take(path, (street.city.depot(), vehicle.source));
                    (self.stage, self.ignition) = (Stage::SettingOut, true);
                }
            }
            Stage::Roadside { from_ms, until_ms, tips } => self.stand_by(from_ms, until_ms, tips, now_ms),
            Stage::Hauling | Stage::Returning | Stage::Homing | Stage::SettingOut => {
                self.drive(street, dt_s, vehicle.role);
                if self.s >= self.path.length_m() - 0.5 && self.speed_mps < 0.5 {
                    self.arrive(street.city, now_ms);
                }
            }
        }
        if self.speed_mps > 0.3 {
            self.still_since_ms = now_ms;
        }
    }

    fn arrive(&mut self, city: &City, now_ms: i64) {
        self.speed_mps = 0.0;
        match self.stage {
            Stage::Hauling if self.load == Load::Empty => self.begin_tipping(now_ms - 80_000),
            Stage::Hauling => self.begin_tipping(now_ms),
            Stage::Homing => {
                self.ignition = false;
                self.stage = Stage::Resting { until_ms: now_ms + self.chance.span_ms(600.0, 1_800.0) };
            }
            _ if city.places[self.to].kind == "source" => self.begin_loading(now_ms),
            _ => {}
        }
    }

    fn begin_loading(&mut self, now_ms: i64) {
        let until_ms = now_ms + self.chance.span_ms(180.0, 420.0);
        self.stage = Stage::Loading { from_ms: now_ms, until_ms };
        self.cover = Cover::Open;
    }

    /// The load grows; the cover is closed at the end.
    fn load_up(&mut self, city: &City, vehicle: &Vehicle, from_ms: i64, until_ms: i64, now_ms: i64) {
        let share = (now_ms - from_ms) as f64 / (until_ms - from_ms) as f64;
        self.load = match share {
            share if share < 0.45 => Load::Empty,
            share if share < 0.8 => Load::Half,
            _ => Load::Full,
        };
        self.cover = match until_ms - now_ms {
            ..4_000 => Cover::Closed,
            4_000..15_000 => Cover::Moving,
            _ => Cover::Open,
        };
        if now_ms >= until_ms
            && let Some(sink) = self.chance.pick(&vehicle.sinks).copied()
            && let Some(path) = city.path(vehicle.source, sink)
        {
            self.take(path, (vehicle.source, sink));
            self.stage = Stage::Hauling;
        }
    }

    fn begin_tipping(&mut self, now_ms: i64) {
        self.stage = Stage::Tipping { from_ms: now_ms };
        self.leaves_open = false;
        if matches!(
            self.offence,
            Some(
                Offence::CoverOpenLoaded
                    | Offence::RouteDeviation
                    | Offence::RouteDeviationSevere
                    | Offence::ForbiddenZone
            )
        ) {
            self.offence = None;
        }
    }

    /// Cover open, body up, empty, body down, cover closed; then back for more, or home.
    fn tip(&mut self, city: &City, vehicle: &Vehicle, from_ms: i64, now_ms: i64) {
        let since_s = (now_ms - from_ms) / 1000;
        (self.lift, self.cover) = match since_s {
            ..8 => (Lift::Flat, Cover::Moving),
            8..22 => (Lift::Lifting, Cover::Open),
            22..55 => (Lift::Full, Cover::Open),
            55..70 => (Lift::Lifting, Cover::Open),
            70..80 => (Lift::Flat, Cover::Moving),
            _ => (Lift::Flat, Cover::Closed),
        };
        if since_s >= 38 {
            self.load = Load::Empty;
        }
        if since_s < 90 {
            return;
        }
        let home = self.chance.happens(0.1);
        let (to, stage) = if home { (city.depot(), Stage::Homing) } else { (vehicle.source, Stage::Returning) };
        if let Some(path) = city.path(self.to, to) {
            let from = self.to;
            self.take(path, (from, to));
            self.stage = stage;
        }
    }
}
